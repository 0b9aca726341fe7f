//! How a command ends when it does not succeed.

use std::fmt;
use std::process::ExitCode;

use crate::output::complain;

/// Why a command ended early.
#[derive(Debug)]
pub enum Failure {
    /// Wrong usage: exit code 2.
    Usage(String),
    /// It failed: exit code 1. One line that says what to do about it.
    Failed(String),
    /// It failed, and why has been said: exit code 1.
    Said,
    /// What clap says, help and version included.
    Clap(Box<clap::Error>),
}

impl Failure {
    /// A [`Failure::Failed`] of anything that can be shown.
    pub fn failed(message: impl fmt::Display) -> Self {
        Self::Failed(message.to_string())
    }

    /// Says why on stderr, in one line; returns the exit code.
    pub fn report(self) -> ExitCode {
        let (code, message) = match self {
            Self::Usage(message) => (2, message),
            Self::Failed(message) => (1, message),
            Self::Said => return ExitCode::FAILURE,
            Self::Clap(error) => {
                // Help and version go to stdout and are no failure. A pipe that nobody reads
                // any more is none either.
                let _ = error.print();
                return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
            }
        };
        // What a tracker or member said may be part of it.
        let message = message.replace(|c: char| c.is_control(), " ");
        complain(&message);
        ExitCode::from(code)
    }
}

impl From<clap::Error> for Failure {
    fn from(error: clap::Error) -> Self {
        Self::Clap(Box::new(error))
    }
}
