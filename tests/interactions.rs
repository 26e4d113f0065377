//! The builder against a naive oracle, and damaged files.

use std::collections::BTreeMap;

use macr::{Edges, Error, Ids, Interactions, InteractionsBuilder, Split};
use proptest::prelude::*;

const USERS: u32 = 9;
const ITEMS: u32 = 7;

type Edge = (u32, u32, i64, f32);

fn edges(list: &[Edge], timed: bool, weighted: bool) -> Edges {
    Edges {
        users: list.iter().map(|e| e.0).collect(),
        items: list.iter().map(|e| e.1).collect(),
        timestamps: timed.then(|| list.iter().map(|e| e.2).collect()),
        weights: weighted.then(|| list.iter().map(|e| e.3).collect()),
    }
}

proptest! {
    #[test]
    fn building_equals_the_oracle(
        list in prop::collection::vec((0..USERS, 0..ITEMS, -5i64..5, -2i8..3), 0..80),
        cut in 0usize..80,
        timed: bool,
        weighted: bool,
    ) {
        let list: Vec<Edge> = list.into_iter().map(|(u, i, t, w)| (u, i, t, f32::from(w))).collect();
        let (left, right) = list.split_at(cut.min(list.len()));
        let parts = vec![edges(left, timed, weighted), edges(right, timed, weighted)];
        let data = InteractionsBuilder::new(USERS, ITEMS).parts(Split::Train, parts).build()?;

        let mut oracle: BTreeMap<(u32, u32), (i64, f32)> = BTreeMap::new();
        for &(user, item, time, weight) in &list {
            let kept = oracle.entry((user, item)).or_insert((time, weight));
            *kept = (kept.0.max(time), kept.1.max(weight));
        }
        let (rows, columns) = (data.by_user(Split::Train), data.by_item(Split::Train));
        prop_assert_eq!(rows.nnz(), oracle.len() as u64);
        for user in 0..USERS {
            let want: Vec<u32> = oracle.keys().filter(|k| k.0 == user).map(|k| k.1).collect();
            prop_assert_eq!(rows.row(user), &want[..]);
        }
        for item in 0..ITEMS {
            let want: Vec<u32> = oracle.keys().filter(|k| k.1 == item).map(|k| k.0).collect();
            prop_assert_eq!(columns.row(item), &want[..]);
        }
        let times: Vec<i64> = oracle.values().map(|v| v.0).collect();
        let weights: Vec<f32> = oracle.values().map(|v| v.1).collect();
        prop_assert_eq!(data.timestamps(Split::Train), timed.then_some(&times[..]));
        prop_assert_eq!(data.weights(Split::Train), weighted.then_some(&weights[..]));
    }
}

/// Every kind of section.
fn full() -> Interactions {
    let list = [(0, 2, 5, 1.5), (3, 0, 6, 2.5), (0, 1, 7, 3.5)];
    InteractionsBuilder::new(4, 3)
        .ids(Ids::from_iter(["ann", "bob", "", "dörte"]), Ids::from_iter(["x", "y", "z"]))
        .split(Split::Train, edges(&list, true, true))
        .split(Split::Valid, edges(&list[..1], false, true))
        .split(Split::Test, edges(&[], false, false))
        .provenance("made by hand")
        .build()
        .unwrap()
}

#[test]
fn wrong_edges_are_errors() {
    let build = |edges| InteractionsBuilder::new(2, 2).split(Split::Train, edges).build();
    let uneven = Edges { users: vec![0], ..Default::default() };
    for wrong in [Edges::from_pairs([(2, 0)]), Edges::from_pairs([(0, 2)]), uneven] {
        assert!(matches!(build(wrong), Err(Error::Data { .. })));
    }
    for (weight, word) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        let parts = vec![
            edges(&[(0, 0, 0, 1.0), (1, 0, 0, 2.0)], false, true),
            edges(&[(0, 1, 0, weight)], false, true),
        ];
        let error = InteractionsBuilder::new(2, 2).parts(Split::Test, parts).build().unwrap_err();
        let words = format!("the weight of edge 2 of the test split (user 0, item 1) is {word}; ");
        assert!(matches!(error, Error::Data { .. }) && error.to_string().starts_with(&words), "{error}");
    }
    let mixed = vec![edges(&[(0, 0, 0, 0.0)], true, false), edges(&[(0, 1, 0, 0.0)], false, false)];
    let result = InteractionsBuilder::new(2, 2).parts(Split::Train, mixed).build();
    assert!(matches!(result, Err(Error::Data { .. })));
    let result = InteractionsBuilder::new(2, 2).ids(Ids::Dense(3), Ids::Dense(2)).build();
    assert!(matches!(result, Err(Error::Data { .. })));
}

#[test]
fn truncated_and_changed_files_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("d.macr");
    full().save(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(Interactions::open(&path).unwrap().checksum(), full().checksum());
    let refused = |bytes: &[u8], what: &str| {
        std::fs::write(&path, bytes).unwrap();
        match Interactions::open(&path) {
            Err(Error::File { .. }) => {}
            Err(other) => panic!("{what}: {other}"),
            Ok(_) => panic!("{what}: accepted"),
        }
    };
    // Every length covers every section boundary.
    for length in 0..bytes.len() {
        refused(&bytes[..length], &format!("cut to {length}"));
    }
    refused(&[&bytes[..], b"x"].concat(), "one byte more");
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        refused(&changed, &format!("byte {at} changed"));
    }
}
