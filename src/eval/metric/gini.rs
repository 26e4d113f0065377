//! Gini coefficient of exposure.

use super::AllLists;
use crate::data::popularity;

/// [`popularity::gini`] of how often each item is listed, items that never are included.
pub(super) fn gini(lists: &AllLists<'_>) -> f64 {
    popularity::gini(lists.frequency)
}
