//! What the caller of an import may choose.

/// Options of [`import`](super::import); the default detects everything and filters nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ImportOptions {
    /// Name of a format in [`FORMATS`](super::FORMATS); detected when absent.
    pub format: Option<String>,
    /// What stands between the columns (`csv` only); detected when absent.
    pub separator: Option<String>,
    /// Whether the first line names the columns (`csv` only); detected when absent.
    pub header: Option<bool>,
    /// Column of the users: a name in the header, or a number from 1.
    pub user: Option<String>,
    /// Column of the items: a name in the header, or a number from 1.
    pub item: Option<String>,
    /// Column of the ratings: a name in the header, a number from 1, or `none`.
    pub rating: Option<String>,
    /// Column of the times: a name in the header, a number from 1, or `none`.
    pub timestamp: Option<String>,
    /// Leaves out interactions rated below this.
    pub min_rating: Option<f32>,
    /// Leaves out users and items with fewer interactions, until none is left that has fewer.
    pub k_core: Option<u32>,
    /// Leaves out lines that cannot be read instead of failing at the first.
    pub skip_bad_lines: bool,
}

impl ImportOptions {
    /// True if any option is set that only makes sense for a file with columns.
    pub(super) fn names_columns(&self) -> bool {
        let mut optional = [&self.rating, &self.timestamp].into_iter().flatten();
        self.separator.is_some()
            || self.header.is_some()
            || self.user.is_some()
            || self.item.is_some()
            || optional.any(|column| column != "none")
    }
}

/// Where an import stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Lines are being read.
    Reading {
        /// Bytes read so far.
        done: u64,
        /// Bytes in all (decompressed).
        total: u64,
    },
    /// Users and items are being numbered.
    Numbering,
    /// Interactions are being sorted.
    Sorting,
    /// Filters are being applied.
    Filtering,
}

/// Is told of progress, from several threads.
pub type Observer<'a> = &'a (dyn Fn(Progress) + Sync);
