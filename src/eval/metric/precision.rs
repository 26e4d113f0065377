//! Precision.

use super::UserList;

/// Relevant items in the list / K, also where the list is shorter than K.
pub(super) fn precision(list: &UserList<'_>) -> f64 {
    list.hits.len() as f64 / list.k as f64
}
