//! Items in groups of similar popularity, and how well each group is found.

use serde::Serialize;

use crate::data::popularity::{Groups, ITEM_CUTS};

/// How items are grouped by their number of training interactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum GroupBy {
    /// Up to 10, 50, 100, 200, 500 training interactions, and more.
    Counts,
    /// Ten groups of equally many items.
    Deciles,
}

impl GroupBy {
    /// Groups items by their training interactions `popularity` `[I]`, least popular first.
    pub fn group(self, popularity: &[u32]) -> Groups {
        match self {
            GroupBy::Counts => Groups::by_cuts(popularity, &ITEM_CUTS),
            GroupBy::Deciles => Groups::equal_size(popularity, 10),
        }
    }
}

/// How well the items of a group are found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupOutcome {
    /// Name of the group.
    pub group: String,
    /// Number of items.
    pub items: u64,
    /// Interactions of the evaluated split with items of the group.
    pub interactions: u64,
    /// Share of these interactions whose item is in its user's list; absent if there are none.
    pub recall: Option<f64>,
    /// Mean number of lists that have an item of the group.
    pub frequency: f64,
}
