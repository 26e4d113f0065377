//! Gini coefficient of exposure.

use super::AllLists;
use crate::data::popularity::SortedCounts;

/// [`SortedCounts::gini`] of how often each item is listed, items that never are included.
pub(super) fn gini(lists: &AllLists<'_>) -> f64 {
    SortedCounts::of(lists.frequency).gini()
}
