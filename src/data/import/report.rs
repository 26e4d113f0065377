//! What an import found.

use serde::Serialize;

use crate::data::Split;

/// Outcome of an import, for people and for `--json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ImportReport {
    /// Name of the format.
    pub format: &'static str,
    /// True if the format was detected and not asked for.
    pub detected: bool,
    /// The files read, in order.
    pub files: Vec<FileReport>,
    /// Number of users.
    pub users: u32,
    /// Number of items.
    pub items: u32,
    /// Distinct interactions in train, valid and test.
    pub interactions: [u64; 3],
    /// Interactions that stood in a split more than once and were left out.
    pub duplicates: u64,
    /// Lines that could not be read.
    pub skipped_lines: u64,
    /// The first few of them.
    pub bad_lines: Vec<BadLine>,
    /// What the filters left out.
    pub removed: Removed,
    /// Things that are legal but that one should know.
    pub remarks: Vec<String>,
}

/// One source file of an import.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileReport {
    /// File name, without folders.
    pub name: String,
    /// Split that it went to.
    pub split: Split,
    /// Size of the text in bytes, decompressed.
    pub bytes: u64,
    /// Interactions read from it, duplicates included.
    pub interactions: u64,
    /// How its lines were understood.
    pub columns: String,
}

/// A line that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BadLine {
    /// File name, without folders.
    pub file: String,
    /// Line, from 1.
    pub line: u64,
    /// Column (bytes), from 1.
    pub column: u64,
    /// What the format asks for there.
    pub expected: String,
    /// What stands there, shortened.
    pub found: String,
}

/// What the filters of an import left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Users.
    pub users: u32,
    /// Items.
    pub items: u32,
    /// Interactions.
    pub interactions: u64,
}
