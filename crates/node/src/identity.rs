//! The identity file: where a node keeps its key from one run to the next.
//!
//! Three files lie side by side. `identity.pem` is the Ed25519 key as PKCS#8 PEM (RFC 8410,
//! RFC 7468), which `openssl pkey` reads too. `identity.pem.incarnation` is the number of the last
//! session, as text. `identity.pem.lock` is empty and only locked: two nodes that start with one
//! key at the same moment must not get the same incarnation.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use circlet_core::identity::{Identity, Incarnation};
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey, KeypairBytes};
use rand::TryRng;
use rand::rngs::SysRng;
use tracing::{info, warn};

/// The largest identity or incarnation file that is read, in bytes; a key takes 119.
const MAX_FILE: u64 = 16 * 1024;

/// How long others may hold the lock. They hold it while they write a few bytes.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest incarnation believed: 2^53 - 1 milliseconds are 285,000 years.
const MAX_INCARNATION: u64 = (1 << 53) - 1;

/// A place on disk for a node's key and the number of its last session.
///
/// ```no_run
/// # fn main() -> Result<(), circlet_node::IdentityError> {
/// use circlet_node::IdentityFile;
///
/// let file = IdentityFile::new("ada.pem");
/// println!("{}", file.load_or_create()?.node_id());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityFile {
    path: PathBuf,
}

/// Why an identity file cannot be used. Each is one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// There is no default place.
    #[error("there is no place for the identity: set HOME or XDG_DATA_HOME, or name a file")]
    NoHome,
    /// It is there but cannot be read.
    #[error("cannot read identity file {path}: {source}; make it readable or name another file")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A directory, a device, a pipe.
    #[error("identity file {path} is {what}; name a file")]
    NotAFile {
        /// What was named.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Others than its owner may read or write it.
    #[error("identity file {path} is open to others (mode {mode:04o}); run: chmod 600 {path}")]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Truncated, another kind of key, or something else altogether.
    #[error(
        "identity file {path} holds no Ed25519 key in PKCS#8 PEM ({reason}); restore it from a \
         copy, or move it away to get a new identity"
    )]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The directory it should lie in is missing.
    #[error("directory {path} of the identity file does not exist; create it or name another file")]
    NoDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// It or a file beside it cannot be written.
    #[error("cannot write {path}: {source}; make its directory writable or name another identity")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another process does not let go of the lock.
    #[error("{path} has been locked for {} s by another process; end it or name another identity",
        LOCK_TIMEOUT.as_secs())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The system gives no random numbers.
    #[error("cannot make a key: the system gives no random numbers: {0}")]
    Random(String),
}

impl IdentityFile {
    /// The identity kept in the file at `path`. Nothing is read yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The identity kept in `circlet/identity.pem` under the user's data directory:
    /// `$XDG_DATA_HOME`, else `~/.local/share` (XDG Base Directory Specification 0.8). The
    /// directory is made if there is none.
    ///
    /// # Errors
    /// [`IdentityError::NoHome`] if neither is known, [`IdentityError::Write`] if the directory
    /// cannot be made.
    pub fn in_data_dir() -> Result<Self, IdentityError> {
        let data = data_dir(env::var_os("XDG_DATA_HOME"), env::home_dir());
        let directory = data.ok_or(IdentityError::NoHome)?.join("circlet");
        match create_private_dir(&directory) {
            Ok(()) => Ok(Self::new(directory.join("identity.pem"))),
            Err(source) => Err(IdentityError::Write {
                path: directory,
                source,
            }),
        }
    }

    /// Where the key is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the key; makes one, with mode 0600, if there is no file.
    ///
    /// # Errors
    /// [`IdentityError`], saying what to do.
    pub fn load_or_create(&self) -> Result<Identity, IdentityError> {
        if let Some(identity) = self.load()? {
            return Ok(identity);
        }
        let _lock = self.lock()?;
        // Somebody else may have been faster.
        if let Some(identity) = self.load()? {
            return Ok(identity);
        }
        let mut seed = [0; 32];
        SysRng
            .try_fill_bytes(&mut seed)
            .map_err(|error| IdentityError::Random(error.to_string()))?;
        // Without the public key: OpenSSL reads version 1 of the format only.
        let pem = KeypairBytes {
            secret_key: seed,
            public_key: None,
        }
        .to_pkcs8_pem(LineEnding::LF)
        .map_err(|error| self.not_a_key(error))?;
        self.replace(&self.path, pem.as_bytes())?;
        let identity = Identity::from_seed(&seed);
        info!(id = %identity.node_id(), path = %self.path.display(), "made an identity");
        Ok(identity)
    }

    /// Reads the key; `None` if there is no file.
    ///
    /// # Errors
    /// [`IdentityError`], saying what to do.
    pub fn load(&self) -> Result<Option<Identity>, IdentityError> {
        // Looked at before it is opened: opening a pipe would wait for a writer.
        let metadata = match fs::metadata(&self.path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.unreadable(error)),
        };
        if !metadata.is_file() {
            return Err(IdentityError::NotAFile {
                path: self.path.clone(),
                what: if metadata.is_dir() {
                    "a directory"
                } else {
                    "no regular file"
                },
            });
        }
        let file = File::open(&self.path).map_err(|error| self.unreadable(error))?;
        self.check_mode(&file)?;
        let pem = read_text(file).map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => self.not_a_key(error),
            _ => self.unreadable(error),
        })?;
        if pem.trim().is_empty() {
            return Err(self.not_a_key("it is empty"));
        }
        let key = SigningKey::from_pkcs8_pem(&pem).map_err(|error| self.not_a_key(error))?;
        Ok(Some(Identity::from_seed(key.as_bytes())))
    }

    /// The incarnation of a session that starts now; see [`Incarnation::next`]. It is on disk
    /// before this returns, and no other call, in whatever process, gets the same.
    ///
    /// An incarnation file that cannot be understood is replaced, with a warning: the clock alone
    /// is enough as long as it has not been set back since.
    ///
    /// # Errors
    /// [`IdentityError::Write`] if it cannot be kept, [`IdentityError::Locked`] if somebody else
    /// does not let go of it for 5 s.
    pub fn next_incarnation(&self) -> Result<Incarnation, IdentityError> {
        self.incarnation_at(unix_ms())
    }

    fn incarnation_at(&self, unix_ms: u64) -> Result<Incarnation, IdentityError> {
        let _lock = self.lock()?;
        let path = self.beside(".incarnation");
        let last = match File::open(&path).and_then(read_text) {
            Ok(text) => {
                let last = text
                    .trim()
                    .parse()
                    .ok()
                    .filter(|last| *last <= MAX_INCARNATION);
                if last.is_none() {
                    warn!(path = %path.display(), "not an incarnation: the clock decides alone");
                }
                last
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                warn!(path = %path.display(), "not an incarnation: the clock decides alone");
                None
            }
            Err(source) => return Err(IdentityError::Read { path, source }),
        };
        let next = Incarnation::next(unix_ms, last.map(Incarnation));
        self.replace(&path, format!("{next}\n").as_bytes())?;
        Ok(next)
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(suffix);
        name.into()
    }

    /// Holds the lock until the file is dropped.
    fn lock(&self) -> Result<File, IdentityError> {
        let path = self.beside(".lock");
        let directory = directory_of(&self.path);
        if !directory.is_dir() {
            return Err(IdentityError::NoDirectory {
                path: directory.to_owned(),
            });
        }
        let mut options = private();
        let file = match options.create(true).truncate(false).open(&path) {
            Ok(file) => file,
            Err(source) => return Err(IdentityError::Write { path, source }),
        };
        let deadline = Instant::now() + LOCK_TIMEOUT;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(10));
                }
                Err(TryLockError::WouldBlock) => return Err(IdentityError::Locked { path }),
                Err(TryLockError::Error(source)) => {
                    return Err(IdentityError::Write { path, source });
                }
            }
        }
    }

    /// Replaces `path` as a whole or not at all. The lock must be held: there is one temporary
    /// name.
    fn replace(&self, path: &Path, content: &[u8]) -> Result<(), IdentityError> {
        let temporary = self.beside(".tmp");
        let write = || {
            // What an interrupted run has left may have another mode.
            match fs::remove_file(&temporary) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = private().create_new(true).open(&temporary)?;
            file.write_all(content)?;
            file.sync_all()?;
            fs::rename(&temporary, path)?;
            sync_directory(path)
        };
        write().map_err(|source| IdentityError::Write {
            path: path.to_owned(),
            source,
        })
    }

    #[cfg(unix)]
    fn check_mode(&self, file: &File) -> Result<(), IdentityError> {
        use std::os::unix::fs::PermissionsExt;

        let metadata = file.metadata().map_err(|error| self.unreadable(error))?;
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & 0o077 == 0 {
            return Ok(());
        }
        Err(IdentityError::OpenToOthers {
            path: self.path.clone(),
            mode,
        })
    }

    #[cfg(not(unix))]
    fn check_mode(&self, _: &File) -> Result<(), IdentityError> {
        Ok(())
    }

    fn unreadable(&self, source: io::Error) -> IdentityError {
        IdentityError::Read {
            path: self.path.clone(),
            source,
        }
    }

    fn not_a_key(&self, reason: impl ToString) -> IdentityError {
        IdentityError::NotAKey {
            path: self.path.clone(),
            reason: reason.to_string(),
        }
    }
}

/// The incarnation of a session whose identity is not on disk: by the clock, and greater than
/// any that this process was given here before.
pub(crate) fn unkept_incarnation() -> Incarnation {
    static LAST: Mutex<Option<Incarnation>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let next = Incarnation::next(unix_ms(), *last);
    *last = Some(next);
    next
}

/// The calendar: milliseconds since 1970, 0 before.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the calendar"
)]
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}

fn data_dir(xdg: Option<OsString>, home: Option<PathBuf>) -> Option<PathBuf> {
    // "All paths set in these environment variables must be absolute", others are ignored.
    xdg.map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| {
            home.filter(|home| home.is_absolute())
                .map(|home| home.join(".local/share"))
        })
}

/// Reads a small text; `InvalidData` if it is none or not small.
fn read_text(file: File) -> io::Result<String> {
    let mut text = String::new();
    file.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is far too large",
        ));
    }
    Ok(text)
}

/// Options for a file that its owner alone may read and write.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn create_private_dir(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Makes a rename last (rename(2) alone may be undone by a power cut).
fn sync_directory(path: &Path) -> io::Result<()> {
    // Elsewhere directories cannot be opened.
    #[cfg(unix)]
    File::open(directory_of(path))?.sync_all()?;
    Ok(())
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        // The root itself, which is its own directory.
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn with_content(content: &[u8]) -> (tempfile::TempDir, IdentityFile) {
        let directory = directory();
        let file = IdentityFile::new(directory.path().join("identity.pem"));
        private()
            .create_new(true)
            .open(file.path())
            .unwrap()
            .write_all(content)
            .unwrap();
        (directory, file)
    }

    /// The error, which must be one line that names the file and says what to do.
    fn error_of<T: std::fmt::Debug>(result: Result<T, IdentityError>, advice: &str) -> String {
        let text = result.unwrap_err().to_string();
        assert!(!text.contains('\n'), "{text}");
        assert!(text.contains(advice), "{text:?} should say {advice:?}");
        text
    }

    #[test]
    fn a_made_key_is_private_and_survives() {
        let directory = directory();
        let file = IdentityFile::new(directory.path().join("identity.pem"));
        assert!(file.load().unwrap().is_none());
        let made = file.load_or_create().unwrap();
        let mode = fs::metadata(file.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert_eq!(file.load_or_create().unwrap().node_id(), made.node_id());
        assert_eq!(file.load().unwrap().unwrap().to_seed(), made.to_seed());
        let pem = fs::read_to_string(file.path()).unwrap();
        assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\n"), "{pem}");
        let left: BTreeSet<_> = fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert!(!left.contains("identity.pem.tmp"), "{left:?}");
    }

    /// The example keys of RFC 8410, sections 10.1 and 10.3: as OpenSSL writes them, and with
    /// attributes and the public key.
    #[test]
    fn keys_of_other_programs_are_read() {
        let public: [u8; 32] = [
            0x19, 0xbf, 0x44, 0x09, 0x69, 0x84, 0xcd, 0xfe, 0x85, 0x41, 0xba, 0xc1, 0x67, 0xdc,
            0x3b, 0x96, 0xc8, 0x50, 0x86, 0xaa, 0x30, 0xb6, 0xb6, 0xcb, 0x0c, 0x5c, 0x38, 0xad,
            0x70, 0x31, 0x66, 0xe1,
        ];
        for body in [
            "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n",
            "MHICAQEwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
             oB8wHQYKKoZIhvcNAQkJFDEPDA1DdXJkbGUgQ2hhaXJzgSEAGb9ECWmEzf6FQbrB\n\
             Z9w7lshQhqowtrbLDFw4rXAxZuE=\n",
        ] {
            let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}-----END PRIVATE KEY-----\n");
            let (_directory, file) = with_content(pem.as_bytes());
            let identity = file.load().unwrap().unwrap();
            assert_eq!(identity.node_id().as_bytes(), &public);
        }
    }

    #[test]
    fn what_is_no_key_is_said_to_be_none() {
        let (_directory, file) = with_content(b"");
        assert!(error_of(file.load(), "move it away").contains("it is empty"));

        let whole = {
            let directory = directory();
            let file = IdentityFile::new(directory.path().join("identity.pem"));
            file.load_or_create().unwrap();
            fs::read(file.path()).unwrap()
        };
        for len in 1..whole.len() - 1 {
            let (_directory, file) = with_content(&whole[..len]);
            error_of(file.load(), "holds no Ed25519 key");
        }
        for bad in [&b"\xff\xfe\x00"[..], b"hello\n", &vec![b'a'; 20_000]] {
            let (_directory, file) = with_content(bad);
            error_of(file.load_or_create(), "holds no Ed25519 key");
            assert_eq!(fs::read(file.path()).unwrap(), bad, "left as it was");
        }
    }

    #[test]
    fn a_key_open_to_others_is_refused() {
        let directory = directory();
        let file = IdentityFile::new(directory.path().join("identity.pem"));
        file.load_or_create().unwrap();
        for mode in [0o640, 0o604, 0o620, 0o601, 0o777] {
            fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
            let text = error_of(file.load_or_create(), "chmod 600");
            assert!(text.contains(&format!("{mode:04o}")), "{text}");
        }
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o400)).unwrap();
        file.load_or_create().unwrap();
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let directory = directory();
        error_of(
            IdentityFile::new(directory.path()).load_or_create(),
            "is a directory; name a file",
        );
        error_of(IdentityFile::new("/dev/null").load(), "no regular file");
        let (_directory, file) = with_content(b"x");
        error_of(
            IdentityFile::new(file.path().join("below")).load(),
            "cannot read identity file",
        );
    }

    #[test]
    fn a_directory_that_is_missing_or_closed_is_named() {
        let directory = directory();
        let missing = directory.path().join("missing");
        let file = IdentityFile::new(missing.join("identity.pem"));
        assert!(error_of(file.load_or_create(), "create it").contains("missing"));
        error_of(file.next_incarnation(), "create it");
        // Nobody makes files here, not even root.
        error_of(
            IdentityFile::new("/proc/identity.pem").load_or_create(),
            "make its directory writable",
        );
    }

    /// Root reads everything: the check is skipped then.
    #[test]
    fn an_unreadable_key_is_said_to_be_unreadable() {
        let (_directory, file) = with_content(b"x");
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o000)).unwrap();
        if File::open(file.path()).is_err() {
            error_of(file.load(), "cannot read identity file");
        }
    }

    #[test]
    fn an_incarnation_grows_even_if_the_clock_is_set_back() {
        let (_directory, file) = with_content(b"x");
        assert_eq!(file.incarnation_at(1000).unwrap(), Incarnation(1000));
        assert_eq!(file.incarnation_at(1000).unwrap(), Incarnation(1001));
        assert_eq!(file.incarnation_at(500).unwrap(), Incarnation(1002));
        assert_eq!(file.incarnation_at(2000).unwrap(), Incarnation(2000));
        let kept = fs::read_to_string(file.beside(".incarnation")).unwrap();
        assert_eq!(kept, "2000\n");
    }

    #[test]
    fn a_corrupt_incarnation_is_replaced() {
        let (_directory, file) = with_content(b"x");
        for bad in [
            &b""[..],
            b"abc",
            b"-1",
            b"\xff\xff",
            b"18446744073709551615",
            &[b'9'; 20_000],
        ] {
            fs::write(file.beside(".incarnation"), bad).unwrap();
            assert_eq!(file.incarnation_at(1000).unwrap(), Incarnation(1000));
            assert_eq!(file.incarnation_at(1000).unwrap(), Incarnation(1001));
        }
    }

    #[test]
    fn concurrent_starts_share_a_key_and_no_incarnation() {
        let directory = directory();
        let path = directory.path().join("identity.pem");
        let starts: Vec<_> = (0..16)
            .map(|_| {
                let file = IdentityFile::new(&path);
                thread::spawn(move || {
                    let id = file.load_or_create().unwrap().node_id();
                    (id, file.incarnation_at(1000).unwrap())
                })
            })
            .collect();
        let (ids, incarnations): (BTreeSet<_>, BTreeSet<_>) = starts
            .into_iter()
            .map(|start| start.join().unwrap())
            .unzip();
        assert_eq!(ids.len(), 1);
        assert_eq!(incarnations, (1000..1016).map(Incarnation).collect());
    }

    #[test]
    fn a_held_lock_is_waited_for() {
        let (_directory, file) = with_content(b"x");
        let lock = file.lock().unwrap();
        let waiting = {
            let file = file.clone();
            thread::spawn(move || file.incarnation_at(1))
        };
        assert!(matches!(
            private().open(file.beside(".lock")).unwrap().try_lock(),
            Err(TryLockError::WouldBlock)
        ));
        assert!(!file.beside(".incarnation").exists());
        drop(lock);
        assert_eq!(waiting.join().unwrap().unwrap(), Incarnation(1));
    }

    #[test]
    fn incarnations_that_are_not_kept_differ_within_a_process() {
        let given: BTreeSet<_> = (0..100).map(|_| unkept_incarnation()).collect();
        assert_eq!(given.len(), 100);
    }

    #[test]
    fn the_data_directory_follows_xdg() {
        let home = || Some(PathBuf::from("/users/ada"));
        let under = |xdg: &str| data_dir(Some(xdg.into()), home());
        assert_eq!(under("/data"), Some("/data".into()));
        for ignored in ["", "relative"] {
            assert_eq!(under(ignored), Some("/users/ada/.local/share".into()));
        }
        assert_eq!(
            data_dir(None, home()),
            Some("/users/ada/.local/share".into())
        );
        assert_eq!(data_dir(None, None), None);
    }
}
