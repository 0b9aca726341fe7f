//! What is wrong with a scenario file.

use std::fmt;
use std::ops::Range;

use toml::de::DeTable;

use super::key::{Wrong, key_at};
use crate::nesting::TooDeep;

/// Why a text is no scenario: which file, line and key, and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioError {
    /// The file as it was named.
    pub file: String,
    /// The line, from 1; `None` if it is about the file as a whole.
    pub line: Option<usize>,
    /// The key: `faults[2].share`, its lists counted from 0; may be empty.
    pub key: String,
    /// What is wrong, for people, in one line.
    pub why: String,
}

impl ScenarioError {
    /// About the file as a whole.
    pub(super) fn of_file(file: &str, why: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: None,
            key: String::new(),
            why: one_line(&why.into()),
        }
    }

    /// What the parser or a type says.
    pub(super) fn of_toml(file: &str, text: &str, error: &toml::de::Error) -> Self {
        let span = error.span().unwrap_or(0..0);
        let key = DeTable::parse(text)
            .ok()
            .filter(|_| !span.is_empty())
            .map(|root| one_line(&key_at(root.get_ref(), span.start)))
            .unwrap_or_default();
        Self {
            file: file.to_owned(),
            line: line_of(text, &span),
            key,
            why: one_line(&error.message().trim().replace('\n', "; ")),
        }
    }

    /// It cannot be given to the parser.
    pub(super) fn of_nesting(file: &str, text: &str, deep: TooDeep) -> Self {
        Self {
            line: line_of(text, &(deep.at..deep.at)),
            ..Self::of_file(file, deep.to_string())
        }
    }

    /// A value that cannot be.
    pub(super) fn of_value(file: &str, text: &str, wrong: &Wrong) -> Self {
        let span = DeTable::parse(text)
            .map(|root| wrong.key.find(root.get_ref()))
            .unwrap_or_default();
        Self {
            file: file.to_owned(),
            line: line_of(text, &span),
            key: wrong.key.to_string(),
            why: one_line(&wrong.why),
        }
    }
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if self.key.is_empty() {
            write!(f, ": {}", self.why)
        } else {
            write!(f, ": key `{}`: {}", self.key, self.why)
        }
    }
}

impl std::error::Error for ScenarioError {}

/// Keys and texts of the file that are quoted may have line ends in them, or steer a terminal.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

fn line_of(text: &str, span: &Range<usize>) -> Option<usize> {
    let before = text.as_bytes().get(..span.start)?;
    Some(1 + before.iter().filter(|byte| **byte == b'\n').count())
}
