//! Normalised discounted cumulative gain.

use super::{UserList, discount};

/// Sum of 1 / log2(rank + 1) over the hits, divided by what min(K, relevant) hits at the first ranks would give.
pub(super) fn ndcg(list: &UserList<'_>) -> f64 {
    let gain: f64 = list.hits.iter().map(|&rank| discount(rank)).sum();
    gain / list.ideal[list.relevant.min(list.k)]
}
