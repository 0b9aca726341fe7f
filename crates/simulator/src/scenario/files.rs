//! The files that a scenario names.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Reads the files that a scenario names, relative to its own directory.
#[derive(Clone, Debug, Default)]
pub struct Files {
    directory: Option<PathBuf>,
}

impl Files {
    /// No files: the scenario is in no directory.
    #[must_use]
    pub const fn none() -> Self {
        Self { directory: None }
    }

    /// The files of a directory.
    #[must_use]
    pub fn of(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: Some(directory.into()),
        }
    }

    /// The text of a file of at most `limit` bytes.
    pub(super) fn read(&self, path: &str, limit: u64) -> Result<String, String> {
        match &self.directory {
            Some(directory) => read(&directory.join(path), limit),
            None => Err("only a scenario that is a file itself can name others".to_owned()),
        }
    }
}

/// The text of a file of at most `limit` bytes.
pub(super) fn read(path: &Path, limit: u64) -> Result<String, String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_string(&mut text))
        .map_err(|error| error.to_string())?;
    if text.len() as u64 > limit {
        return Err(format!("it is larger than {} KiB", limit >> 10));
    }
    Ok(text)
}
