//! Results as files and pages: JSON for programs, CSV for spreadsheets, one HTML file with plots
//! for people, a summary for the terminal.
//!
//! All of them say the same for the same [`Results`], byte for byte. The HTML needs nothing from
//! anywhere: no script, no font, no picture. Names and titles come from scenario files, so nothing
//! in them is trusted.

mod axis;
mod charts;
mod compare;
mod csv;
mod drawing;
mod figures;
mod format;
mod html;
mod plot;
#[cfg(test)]
mod tests;
mod text;

use std::fs;
use std::io;
use std::path::Path;

use crate::results::Results;

/// The results in one line of JSON, which [`serde_json`] reads back as [`Results`].
///
/// # Errors
/// None that these types can cause.
pub fn json(results: &Results) -> serde_json::Result<String> {
    serde_json::to_string(results)
}

/// Writes `figures.csv`, `series.csv`, `members.csv` and `distributions.csv` into a directory,
/// which is made if there is none.
///
/// # Errors
/// If the directory or a file cannot be written.
pub fn csv(results: &Results, directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    for (name, content) in csv::tables(results)? {
        fs::write(directory.join(name), content)?;
    }
    Ok(())
}

/// What a person wants to know of the run, in some twenty lines of plain text.
#[must_use]
pub fn text(results: &Results) -> String {
    text::summary(results)
}

/// A page that shows everything about the run: figures, expectations, plots, the overlay.
#[must_use]
pub fn html(results: &Results) -> String {
    html::report(results)
}

/// Several runs side by side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// A page: figures beside each other, plots over each other.
    pub html: String,
    /// The figures as a table of plain text.
    pub text: String,
}

/// Compares runs: of two, each figure's difference of the second from the first as well.
#[must_use]
pub fn compare(runs: &[Results]) -> Comparison {
    Comparison {
        html: compare::page_of(runs),
        text: compare::text_of(runs),
    }
}
