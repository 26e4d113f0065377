//! Average percentage of long-tail items.

use super::AllLists;
use crate::data::popularity::SortedCounts;

/// Share of all places of all lists that items of the long tail have; 0 if nothing is recommended. The tail is every
/// item less popular than the least popular of the fewest items that have 80 % of the training interactions.
pub(super) fn aplt(lists: &AllLists<'_>) -> f64 {
    let popularity = SortedCounts::of(lists.popularity);
    let least = match popularity.head_size(0.8) as u64 {
        0 => 0,
        head => popularity.at(popularity.len() - head),
    };
    let places: u64 = lists.frequency.iter().map(|&f| u64::from(f)).sum();
    let pairs = lists.frequency.iter().zip(lists.popularity);
    let tail: u64 = pairs.filter(|&(_, &n)| n < least).map(|(&f, _)| u64::from(f)).sum();
    if places == 0 { 0.0 } else { tail as f64 / places as f64 }
}
