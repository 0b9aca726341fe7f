//! The files that the rules look at, and what a rule has to say.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

/// Files by path from the root, `/` between the parts; what is not text counts as empty.
#[derive(Debug)]
pub struct Tree(BTreeMap<String, String>);

impl Tree {
    /// The files that git tracks or would track: new ones are looked at before they are added.
    ///
    /// # Errors
    /// A sentence if git cannot list them or one cannot be read.
    pub fn read(root: &Path) -> Result<Self, String> {
        let output = Command::new("git")
            // In a container the files may belong to somebody else.
            .args(["-c", "safe.directory=*", "ls-files", "-z"])
            .args(["--cached", "--others", "--exclude-standard"])
            .current_dir(root)
            .output()
            .map_err(|error| format!("cannot start git: {error}"))?;
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            return Err(format!("git cannot list the files: {}", error.trim()));
        }
        let mut files = BTreeMap::new();
        for path in String::from_utf8_lossy(&output.stdout).split_terminator('\0') {
            match fs::read(root.join(path)) {
                Ok(bytes) => {
                    let text = String::from_utf8(bytes).unwrap_or_default();
                    files.insert(path.to_owned(), text);
                }
                // Deleted, and git not told yet; or a directory with a repository of its own.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) if error.kind() == ErrorKind::IsADirectory => {}
                Err(error) => return Err(format!("cannot read {path}: {error}")),
            }
        }
        Ok(Self(files))
    }

    /// The text of one file.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.0.get(path).map(String::as_str)
    }

    /// Every file with its text, in order of paths.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The files whose names end in one of `extensions` (without the dot).
    pub fn with_extension<'a>(
        &'a self,
        extensions: &'a [&str],
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.files().filter(|(path, _)| {
            path.rsplit_once('.')
                .is_some_and(|(_, extension)| extensions.contains(&extension))
        })
    }

    /// The files below a directory, given with its final `/`.
    pub fn below<'a>(&'a self, directory: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.files()
            .filter(move |(path, _)| path.starts_with(directory))
    }
}

#[cfg(test)]
impl<const N: usize> From<[(&str, &str); N]> for Tree {
    fn from(files: [(&str, &str); N]) -> Self {
        let owned = |(path, text): (&str, &str)| (path.to_owned(), text.to_owned());
        Self(files.into_iter().map(owned).collect())
    }
}

/// A breach of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    path: String,
    /// Counted from 1; 0 if it is about the file as a whole.
    line: usize,
    text: String,
}

impl Problem {
    /// A breach by the file as a whole, or by its absence.
    pub fn in_file(path: &str, text: impl Into<String>) -> Self {
        Self::at(path, 0, text)
    }

    /// A breach in one line, counted from 1.
    pub fn at(path: &str, line: usize, text: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            text: text.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self {
                path,
                line: 0,
                text,
            } => write!(f, "{path}: {text}"),
            Self { path, line, text } => write!(f, "{path}:{line}: {text}"),
        }
    }
}

/// What the rules' tests compare: problems as they are printed.
#[cfg(test)]
pub fn shown(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}
