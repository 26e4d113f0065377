//! Importing text data: one file per format, each a line in [`FORMATS`].
//!
//! A format only looks at the beginning of a file and says how the rest is to be read: as [`Rows`] (an interaction a
//! line, in columns) or as lists (a user a line, followed by items). Reading itself, in parallel, is common to all.

mod columns;
mod csv;
mod date;
mod dictionary;
mod files;
mod lightgcn;
mod movielens;
mod options;
mod pipeline;
mod read;
mod recbole;
mod report;
mod rows;
mod text;

use crate::error::Result;

pub use files::{Source, find};
pub use options::{ImportOptions, Observer, Progress};
pub(crate) use pipeline::import_opened;
pub use pipeline::{VERSION, import, import_sources, remarks};
pub use report::{BadLine, FileReport, ImportReport, Removed};
pub use rows::Rows;
pub use text::Head;
pub(crate) use text::{Opened, open};

/// A text format that interaction data comes in.
pub trait Format: Sync {
    /// Name for `--format` and reports.
    fn name(&self) -> &'static str;

    /// What such data looks like, in a few words.
    fn description(&self) -> &'static str;

    /// True if a file that begins like this is of this format.
    fn recognizes(&self, head: &Head<'_>) -> bool;

    /// How a file that begins like this is to be read.
    ///
    /// # Errors
    /// If the beginning does not have the form of this format, or does not have the columns that `options` name.
    fn grammar(&self, head: &Head<'_>, options: &ImportOptions) -> Result<Grammar>;
}

/// How the lines of a file are to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Grammar {
    /// One interaction a line.
    Rows(Rows),
    /// `user item item ...`, all of them integers.
    Lists,
}

/// All formats, in the order in which they are tried: the more particular first.
pub const FORMATS: [&dyn Format; 5] =
    [&recbole::RecBole, &movielens::RatingsDat, &movielens::UData, &lightgcn::Lists, &csv::Csv];
