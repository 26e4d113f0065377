//! What tests of whole trainings train on, and with.
#![allow(dead_code)]

use macr::{Config, Edges, Interactions, InteractionsBuilder, Split};

/// Users with `each` interactions, a fifth of which are in the test split.
pub fn split(users: u32, items: u32, each: u32) -> Interactions {
    split_within([users, items], users, items, each)
}

/// The same, with users and items up to `size` that have no interactions.
pub fn split_within(size: [u32; 2], users: u32, items: u32, each: u32) -> Interactions {
    let pairs = (0..users).flat_map(|u| (0..each).map(move |k| (u, (u * 7 + k * k * (k + 3)) % items)));
    let (test, train): (Vec<_>, Vec<_>) = pairs.partition(|(u, i)| (u + i) % 5 == 0);
    InteractionsBuilder::new(size[0], size[1])
        .split(Split::Train, Edges::from_pairs(train))
        .split(Split::Test, Edges::from_pairs(test))
        .build()
        .unwrap()
}

/// Of an objective, with weights with which each of its parts counts.
pub fn weights(objective: &str) -> Config {
    Config {
        objective: objective.into(),
        alpha: 1e-2,
        beta: 1e-3,
        mu: 0.1,
        nu: 0.1,
        lambda_int: 0.4,
        lambda_pop: 0.2,
        ..Config::default()
    }
}
