//! Recall.

use super::UserList;

/// Relevant items in the list / relevant items. The denominator is not cut at K, as in the papers.
pub(super) fn recall(list: &UserList<'_>) -> f64 {
    list.hits.len() as f64 / list.relevant as f64
}
