//! The metrics, one file each, and the registry.
//!
//! A list is cut at k for every k asked for, so all k come from one list. `relevant` items are a user's items in the
//! evaluated split. Users without relevant items are left out, never counted as 0.

mod aplt;
mod arp;
mod coverage;
mod gini;
mod hit_rate;
mod map;
mod mrr;
mod ndcg;
mod precision;
mod recall;

use libm::log2;

/// A user's list, as far as a metric of accuracy needs to know it.
#[derive(Debug, Clone, Copy)]
pub struct UserList<'a> {
    /// Ranks (from 1, ascending, at most k) at which the list has relevant items.
    pub hits: &'a [u32],
    /// Number of relevant items, at least 1.
    pub relevant: usize,
    /// Cut-off, K. The list itself may be shorter.
    pub k: usize,
    /// `ideal[n]`: DCG of n relevant items at the first n ranks, for n up to k.
    pub ideal: &'a [f64],
}

/// The lists of all evaluated users, as far as a metric of exposure needs to know them.
#[derive(Debug, Clone, Copy)]
pub struct AllLists<'a> {
    /// `[I]`: number of lists that have the item.
    pub frequency: &'a [u32],
    /// `[I]`: training interactions, n_i.
    pub popularity: &'a [u32],
}

/// A metric that is the mean over users of a value per user.
#[derive(Debug, Clone, Copy)]
pub struct UserMetric {
    /// Name in results and on the command line.
    pub name: &'static str,
    /// The value for one user.
    pub value: fn(&UserList<'_>) -> f64,
}

/// A metric of all lists together.
#[derive(Debug, Clone, Copy)]
pub struct ListMetric {
    /// Name in results and on the command line.
    pub name: &'static str,
    /// The value.
    pub value: fn(&AllLists<'_>) -> f64,
}

/// Metrics of accuracy, in the order of reports.
pub const USER_METRICS: [UserMetric; 6] = [
    UserMetric { name: "hit_rate", value: hit_rate::hit_rate },
    UserMetric { name: "recall", value: recall::recall },
    UserMetric { name: "ndcg", value: ndcg::ndcg },
    UserMetric { name: "precision", value: precision::precision },
    UserMetric { name: "mrr", value: mrr::mrr },
    UserMetric { name: "map", value: map::map },
];

/// Metrics of exposure, in the order of reports.
pub const LIST_METRICS: [ListMetric; 4] = [
    ListMetric { name: "coverage", value: coverage::coverage },
    ListMetric { name: "gini", value: gini::gini },
    ListMetric { name: "arp", value: arp::arp },
    ListMetric { name: "aplt", value: aplt::aplt },
];

/// What a relevant item at `rank` (from 1) adds to the DCG.
pub fn discount(rank: u32) -> f64 {
    1.0 / log2(f64::from(rank) + 1.0)
}

/// See [`UserList::ideal`].
pub fn ideal(k: usize) -> Vec<f64> {
    let mut sum = 0.0;
    let rest = (1..=k as u32).map(|rank| {
        sum += discount(rank);
        sum
    });
    std::iter::once(0.0).chain(rest).collect()
}
