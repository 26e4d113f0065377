//! Items in groups of similar popularity, and how well each group is found.

use serde::Serialize;

/// The cuts of the reference code: training interactions up to each, and above the last.
pub const COUNT_CUTS: [u32; 5] = [10, 50, 100, 200, 500];

/// How items are grouped by their number of training interactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum GroupBy {
    /// Up to 10, 50, 100, 200, 500 training interactions, and more.
    Counts,
    /// Ten groups of equally many items.
    Deciles,
}

/// Items in groups, least popular first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemGroups {
    /// Name of each group.
    pub names: Vec<String>,
    /// `[I]`: the group of each item.
    pub of_item: Vec<u32>,
}

impl ItemGroups {
    /// Groups items by their training interactions `popularity` `[I]`.
    pub fn new(by: GroupBy, popularity: &[u32]) -> Self {
        match by {
            GroupBy::Counts => Self::by_counts(popularity, &COUNT_CUTS),
            GroupBy::Deciles => Self::by_quantiles(popularity, 10),
        }
    }

    /// Groups `n <= cuts[0]`, `cuts[0] < n <= cuts[1]`, ..., `n > cuts.last()`; `cuts` ascend.
    pub fn by_counts(popularity: &[u32], cuts: &[u32]) -> Self {
        let mut names: Vec<String> = cuts.iter().map(|cut| format!("<= {cut}")).collect();
        names.push(cuts.last().map_or("all".into(), |cut| format!("> {cut}")));
        let group = |n: &u32| cuts.partition_point(|cut| cut < n) as u32;
        ItemGroups { names, of_item: popularity.iter().map(group).collect() }
    }

    /// `count` groups of equally many items (to within one), by popularity and then id.
    pub fn by_quantiles(popularity: &[u32], count: u32) -> Self {
        let mut items: Vec<u32> = (0..popularity.len() as u32).collect();
        items.sort_by_key(|&item| popularity[item as usize]);
        let mut of_item = vec![0; items.len()];
        for (place, &item) in items.iter().enumerate() {
            of_item[item as usize] = (place as u64 * u64::from(count) / items.len() as u64) as u32;
        }
        ItemGroups { names: (1..=count).map(|group| format!("{group} of {count}")).collect(), of_item }
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
