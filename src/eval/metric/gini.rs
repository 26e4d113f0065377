//! Gini coefficient of exposure.

use super::AllLists;

/// Sum over j = 1..I of (2 j - I - 1) f_j, divided by I times the sum of f, where f are the items' frequencies in
/// ascending order, zeros included: 0 if all items are recommended equally often, 1 - 1/I if one takes every place.
/// 0 if nothing is recommended.
pub(super) fn gini(lists: &AllLists<'_>) -> f64 {
    let mut frequency = lists.frequency.to_vec();
    frequency.sort_unstable();
    let items = frequency.len() as i128;
    let total: i128 = frequency.iter().map(|&f| i128::from(f)).sum();
    if total == 0 {
        return 0.0;
    }
    let weighted: i128 =
        frequency.iter().zip(1i128..).map(|(&f, place)| (2 * place - items - 1) * i128::from(f)).sum();
    weighted as f64 / (items * total) as f64
}
