//! Mean reciprocal rank.

use super::UserList;

/// 1 / rank of the first hit, 0 if there is none among the first K.
pub(super) fn mrr(list: &UserList<'_>) -> f64 {
    list.hits.first().map_or(0.0, |&rank| 1.0 / f64::from(rank))
}
