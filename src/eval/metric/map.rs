//! Mean average precision.

use super::UserList;

/// Sum over the hits of the precision at their rank, divided by min(K, relevant).
pub(super) fn map(list: &UserList<'_>) -> f64 {
    let precisions = list.hits.iter().zip(1u32..).map(|(&rank, hits)| f64::from(hits) / f64::from(rank));
    precisions.sum::<f64>() / list.relevant.min(list.k) as f64
}
