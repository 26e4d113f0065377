//! Average recommendation popularity.

use super::AllLists;

/// Mean number of training interactions over all places of all lists; 0 if nothing is recommended.
pub(super) fn arp(lists: &AllLists<'_>) -> f64 {
    let places: u64 = lists.frequency.iter().map(|&f| u64::from(f)).sum();
    let pairs = lists.frequency.iter().zip(lists.popularity);
    let sum: u128 = pairs.map(|(&f, &n)| u128::from(f) * u128::from(n)).sum();
    if places == 0 { 0.0 } else { sum as f64 / places as f64 }
}
