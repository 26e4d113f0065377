//! Item coverage.

use super::AllLists;

/// Share of the items that are in at least one list.
pub(super) fn coverage(lists: &AllLists<'_>) -> f64 {
    let covered = lists.frequency.iter().filter(|&&n| n > 0).count();
    covered as f64 / lists.frequency.len() as f64
}
