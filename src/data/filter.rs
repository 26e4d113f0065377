//! Filters that leave out interactions, users and items.
//!
//! Each returns a builder, so that the caller says where the data comes from. Users and items without interactions are
//! left out too; the others keep their order and their external ids.

use super::{Edges, Ids, Interactions, InteractionsBuilder, Split};
use crate::error::{Error, Result};

/// Keeps the interactions whose weight (rating) is at least `least`.
///
/// # Errors
/// [`Error::Config`] if a split has interactions without weights.
pub fn min_weight(data: &Interactions, least: f32) -> Result<InteractionsBuilder> {
    if Split::ALL.into_iter().any(|split| data.count(split) > 0 && data.weights(split).is_none()) {
        return Err(Error::config("min-rating", least, "the data has no ratings", "leave the option out"));
    }
    let keep = |split, k: usize, _, _| data.weights(split).is_some_and(|weights| weights[k] >= least);
    let (mut users, mut items) = (vec![false; data.users() as usize], vec![false; data.items() as usize]);
    for split in Split::ALL {
        for (k, user, item) in edges(data, split) {
            if keep(split, k, user, item) {
                (users[user as usize], items[item as usize]) = (true, true);
            }
        }
    }
    Ok(select(data, &users, &items, keep))
}

/// Keeps the k-core: leaves out users and items with fewer than `k` interactions, over all splits, until every one that
/// is left has `k`.
pub fn k_core(data: &Interactions, k: u32) -> InteractionsBuilder {
    let k = u64::from(k.max(1));
    // Users, then items, as nodes of one graph.
    let users = data.users() as usize;
    let neighbours = |node: usize| {
        let (rows, row, shift) = if node < users {
            (Split::ALL.map(|split| data.by_user(split)), node, users)
        } else {
            (Split::ALL.map(|split| data.by_item(split)), node - users, 0)
        };
        rows.into_iter().flat_map(move |csr| csr.row(row as u32)).map(move |&other| other as usize + shift)
    };
    let nodes = users + data.items() as usize;
    let mut degrees: Vec<u64> = (0..nodes).map(|node| neighbours(node).count() as u64).collect();
    let mut alive: Vec<bool> = degrees.iter().map(|&degree| degree >= k).collect();
    let mut doomed: Vec<usize> = (0..nodes).filter(|&node| !alive[node]).collect();
    // The fixed point is the same in whatever order nodes are taken off.
    while let Some(node) = doomed.pop() {
        for other in neighbours(node) {
            degrees[other] -= 1;
            if alive[other] && degrees[other] < k {
                alive[other] = false;
                doomed.push(other);
            }
        }
    }
    let (users, items) = alive.split_at(users);
    select(data, users, items, |_, _, user, item| users[user as usize] && items[item as usize])
}

/// All interactions of a split: position in the row order, user, item.
fn edges(data: &Interactions, split: Split) -> impl Iterator<Item = (usize, u32, u32)> {
    let csr = data.by_user(split);
    (0..csr.rows() as u32).flat_map(move |user| csr.range(user).map(move |k| (k, user, csr.indices[k])))
}

/// The part of `data` with the users, items and interactions to keep.
fn select(
    data: &Interactions,
    users: &[bool],
    items: &[bool],
    keep: impl Fn(Split, usize, u32, u32) -> bool,
) -> InteractionsBuilder {
    let (user_ids, new_users) = select_ids(&data.user_ids(), users);
    let (item_ids, new_items) = select_ids(&data.item_ids(), items);
    let mut builder = InteractionsBuilder::new(user_ids.len(), item_ids.len()).ids(user_ids, item_ids);
    for split in Split::ALL.into_iter().filter(|&split| data.count(split) > 0) {
        let (timestamps, weights) = (data.timestamps(split), data.weights(split));
        let mut kept = Edges {
            timestamps: timestamps.map(|_| Vec::new()),
            weights: weights.map(|_| Vec::new()),
            ..Default::default()
        };
        for (k, user, item) in edges(data, split).filter(|&(k, user, item)| keep(split, k, user, item)) {
            kept.users.push(new_users[user as usize]);
            kept.items.push(new_items[item as usize]);
            if let (Some(kept), Some(given)) = (&mut kept.timestamps, timestamps) {
                kept.push(given[k]);
            }
            if let (Some(kept), Some(given)) = (&mut kept.weights, weights) {
                kept.push(given[k]);
            }
        }
        builder = builder.split(split, kept);
    }
    builder
}

/// The ids to keep, and the new number of each that is kept.
fn select_ids(ids: &Ids<'_>, keep: &[bool]) -> (Ids<'static>, Vec<u32>) {
    let mut next = 0;
    let numbers = keep
        .iter()
        .map(|&keep| {
            let number = next;
            next += u32::from(keep);
            number
        })
        .collect();
    let kept = (0..).zip(keep).filter(|(_, keep)| **keep).map(|(k, _)| ids.get(k));
    match ids {
        Ids::Dense(n) if *n == next => (Ids::Dense(next), numbers),
        _ => (kept.collect(), numbers),
    }
}
