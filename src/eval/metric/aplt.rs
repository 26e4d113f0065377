//! Average percentage of long-tail items.

use super::AllLists;
use crate::data::popularity;

/// Share of all places of all lists that items of the long tail have; 0 if nothing is recommended. The tail is every
/// item less popular than the least popular of the fewest items that have 80 % of the training interactions.
pub(super) fn aplt(lists: &AllLists<'_>) -> f64 {
    let mut sorted = lists.popularity.to_vec();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    let head = popularity::head_size(lists.popularity, 0.8);
    let least = head.checked_sub(1).map_or(0, |last| sorted[last]);
    let places: u64 = lists.frequency.iter().map(|&f| u64::from(f)).sum();
    let pairs = lists.frequency.iter().zip(lists.popularity);
    let tail: u64 = pairs.filter(|&(_, &n)| n < least).map(|(&f, _)| u64::from(f)).sum();
    if places == 0 { 0.0 } else { tail as f64 / places as f64 }
}
