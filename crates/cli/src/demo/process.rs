//! Members as processes of their own, spoken to in JSON lines.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, io};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::node::protocol::{Report, Request};

/// Commands that may wait for one process: more than the demo ever has under way.
const COMMANDS: usize = 1024;

/// Time that a process gets to leave before it is killed.
const LEAVING: Duration = Duration::from_secs(3);

/// A running `circlet node --json`.
pub struct Process {
    child: Child,
    /// Dropping it closes stdin, which is a clean leave.
    commands: mpsc::Sender<String>,
    /// `None` if it has the demo's own.
    stderr: Option<PathBuf>,
}

/// Something that a process told, or its end.
pub struct Told {
    /// Which process, by the number it was started with.
    pub member: usize,
    pub at: Instant,
    /// `None`: stdout has ended.
    pub report: Option<Report>,
}

impl Process {
    /// Starts `circlet node --json` with `arguments`; what it tells goes to `told`. It finds its
    /// settings in `directory`, that is none, and its stderr goes to a file there; with `verbose`
    /// it logs as much to the demo's stderr.
    pub fn start(
        member: usize,
        arguments: Vec<OsString>,
        directory: &Path,
        verbose: u8,
        told: mpsc::Sender<Told>,
    ) -> io::Result<Self> {
        let stderr = (verbose == 0).then(|| directory.join(format!("{member}.stderr")));
        let mut command = Command::new(env::current_exe()?);
        command
            .args(["node", "--json"])
            .args((0..verbose).map(|_| "-v"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(match &stderr {
                Some(path) => Stdio::from(File::create(path)?),
                None => Stdio::inherit(),
            })
            .kill_on_drop(true);
        // Ctrl-C is for the demo, which then tells its processes to leave.
        #[cfg(unix)]
        command.process_group(0);
        // The user's own settings are not for these.
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("CIRCLET_") {
                command.env_remove(name);
            }
        }
        command.env("XDG_CONFIG_HOME", directory);
        let mut child = command.spawn()?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("the process has no stdin and stdout"));
        };
        let (commands, waiting) = mpsc::channel(COMMANDS);
        tokio::spawn(write(stdin, waiting));
        tokio::spawn(read(member, stdout, told));
        Ok(Self {
            child,
            commands,
            stderr,
        })
    }

    /// Tells it to do something. `false` if it does not take commands.
    pub fn tell(&self, request: &Request) -> bool {
        // No map with keys that are not text, no failing serializer: this cannot fail.
        let mut line = serde_json::to_string(request).unwrap_or_default();
        line.push('\n');
        self.commands.try_send(line).is_ok()
    }

    /// Kills it (SIGKILL).
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.start_kill()
    }

    /// The last thing it said on stderr.
    pub fn last_words(&self) -> String {
        let Some(path) = &self.stderr else {
            return "its log says why".to_owned();
        };
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().last().unwrap_or("it said nothing").to_owned()
    }

    /// Lets it leave; kills it if it takes too long.
    pub async fn end(mut self) -> io::Result<ExitStatus> {
        drop(self.commands);
        if let Ok(status) = timeout(LEAVING, self.child.wait()).await {
            return status;
        }
        self.child.start_kill()?;
        self.child.wait().await
    }
}

async fn write(mut stdin: ChildStdin, mut lines: mpsc::Receiver<String>) {
    while let Some(line) = lines.recv().await {
        // A process that has ended shows by the end of its stdout.
        if stdin.write_all(line.as_bytes()).await.is_err() {
            break;
        }
    }
}

async fn read(member: usize, stdout: ChildStdout, told: mpsc::Sender<Told>) {
    let mut lines = BufReader::new(stdout).lines();
    loop {
        let line = lines.next_line().await;
        let at = Instant::now();
        // A line that is no event of this version is a broken process: taken for its end.
        let report = match line {
            Ok(Some(line)) => serde_json::from_str(&line).ok(),
            Ok(None) | Err(_) => None,
        };
        let ended = report.is_none();
        let told_all = told.send(Told { member, at, report }).await.is_err();
        if ended || told_all {
            break;
        }
    }
}
