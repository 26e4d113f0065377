//! Splits: what is held out, that nothing leaks or is lost, and that seeds mean the same everywhere.

use std::collections::BTreeSet;

use macr::{
    Edges, Error, Interactions, InteractionsBuilder, Split,
    data::split::{Amount, Kind, Plan, Report, Source, carve_valid, split},
    sampling::philox::Rng,
};
use proptest::prelude::*;

type Pairs = BTreeSet<(u32, u32)>;

fn pairs(data: &Interactions, split: Split) -> Pairs {
    let rows = data.by_user(split);
    (0..data.users()).flat_map(|u| rows.row(u).iter().map(move |&i| (u, i))).collect()
}

fn plan(kind: Kind, seed: u64) -> Plan {
    Plan { kind, from: Source::All, seed }
}

fn per_item(test: u32, valid: u32) -> Kind {
    Kind::UniformItem { test: Amount::PerItem(test), valid: Amount::PerItem(valid) }
}

/// Skewed data with times (some equal) and weights that tell the pair.
fn sample(users: u32, items: u32, seed: u64) -> Interactions {
    let mut rng = Rng::new(seed, 99);
    let mut edges = Edges::default();
    let (mut times, mut weights) = (Vec::new(), Vec::new());
    for user in 0..users {
        for item in 0..items {
            if rng.unit_f64() < 0.7 / f64::from(1 + item % 10) {
                edges.users.push(user);
                edges.items.push(item);
                times.push(1_000 + rng.below(500) as i64);
                weights.push((user * items + item) as f32);
            }
        }
    }
    (edges.timestamps, edges.weights) = (Some(times), Some(weights));
    InteractionsBuilder::new(users, items).split(Split::Train, edges).build().unwrap()
}

/// Every interaction is in exactly one split, with its own time and weight.
fn assert_partition(before: &Interactions, after: &Interactions, report: &Report) {
    let parts = Split::ALL.map(|s| pairs(after, s));
    let union: Pairs = parts.iter().flatten().copied().collect();
    assert_eq!(union, pairs(before, Split::Train));
    assert_eq!(parts.iter().map(Pairs::len).sum::<usize>(), union.len(), "splits overlap");
    assert_eq!(parts.map(|p| p.len() as u64), [report.train, report.valid, report.test]);
    let (old, old_times) = (before.by_user(Split::Train), before.timestamps(Split::Train).unwrap());
    for split in Split::ALL.into_iter().filter(|&s| after.count(s) > 0) {
        let rows = after.by_user(split);
        let (times, weights) = (after.timestamps(split).unwrap(), after.weights(split).unwrap());
        for user in 0..after.users() {
            for at in rows.range(user) {
                let item = rows.indices[at];
                let was = old.range(user).start + old.row(user).binary_search(&item).unwrap();
                assert_eq!(times[at], old_times[was]);
                assert_eq!(weights[at], (user * after.items() + item) as f32);
            }
        }
    }
}

#[test]
fn uniform_item_takes_exactly_k_of_each_item() {
    let data = sample(200, 30, 1);
    let (result, report) = split(&data, &plan(per_item(4, 2), 7)).unwrap();
    assert_partition(&data, &result, &report);
    let mut short = 0;
    for item in 0..30 {
        let n = data.by_item(Split::Train).degree(item);
        let test = n.saturating_sub(1).min(4);
        assert_eq!(result.by_item(Split::Test).degree(item), test);
        assert_eq!(result.by_item(Split::Valid).degree(item), (n.saturating_sub(1) - test).min(2));
        short += u32::from(n > 0 && test < 4);
    }
    assert_eq!(report.items_short_in_test, short);
    assert_eq!(report.items_without_train, 0);
}

#[test]
fn an_item_never_gives_its_last_training_interaction() {
    let data = InteractionsBuilder::new(5, 3)
        .split(Split::Train, Edges::from_pairs([(0, 0), (0, 1), (1, 1), (2, 1)]))
        .build()
        .unwrap();
    let (result, report) = split(&data, &plan(per_item(4, 1), 0)).unwrap();
    assert_eq!((report.train, report.valid, report.test), (2, 0, 2));
    assert_eq!((report.items_short_in_test, report.items_short_in_valid), (2, 2));
    assert_eq!(report.items_without_train, 1);
    assert!(pairs(&result, Split::Train).contains(&(0, 0)));
}

#[test]
fn a_fraction_is_exact_and_level_over_the_items() {
    let data = sample(300, 40, 2);
    let n = data.count(Split::Train);
    let kind = Kind::UniformItem { test: Amount::Fraction(0.1), valid: Amount::Fraction(0.05) };
    let (result, report) = split(&data, &plan(kind, 3)).unwrap();
    assert_partition(&data, &result, &report);
    assert_eq!(report.test, (0.1 * n as f64).round() as u64);
    assert_eq!(report.valid, (0.05 * n as f64).round() as u64);
    let given: Vec<u32> = (0..40).map(|i| result.by_item(Split::Test).degree(i)).collect();
    let spare = |i: usize| data.by_item(Split::Train).degree(i as u32) - 1;
    let most = given.iter().copied().max().unwrap();
    for (item, &k) in given.iter().enumerate() {
        assert!(k + 1 >= most || k == spare(item), "item {item} gives {k}, another {most}");
    }
    let too_much = Kind::UniformItem { test: Amount::Total(n), valid: Amount::PerItem(0) };
    assert!(matches!(split(&data, &plan(too_much, 3)), Err(Error::Data { .. })));
}

#[test]
fn random_takes_exact_numbers_in_proportion_to_popularity() {
    let data = sample(400, 20, 4);
    let n = data.count(Split::Train) as f64;
    let (result, report) = split(&data, &plan(Kind::Random { test: 0.2, valid: 0.1 }, 5)).unwrap();
    assert_partition(&data, &result, &report);
    assert_eq!((report.test, report.valid), ((0.2 * n).round() as u64, (0.1 * n).round() as u64));
    let popular = f64::from(data.by_item(Split::Train).degree(0));
    let held = f64::from(result.by_item(Split::Test).degree(0));
    assert!((held / popular - 0.2).abs() < 0.12, "{held} of {popular}");
}

#[test]
fn leave_one_out_takes_the_latest_of_each_user() {
    let data = sample(150, 25, 6);
    let kind = Kind::LeaveOneOut { test: true, valid: true };
    let (result, report) = split(&data, &plan(kind, 1)).unwrap();
    assert_partition(&data, &result, &report);
    for user in 0..150 {
        let n = data.by_user(Split::Train).degree(user);
        let degree = |s| result.by_user(s).degree(user);
        assert_eq!((degree(Split::Test), degree(Split::Valid)), (u32::from(n > 1), u32::from(n > 2)));
        let times = |s| &result.timestamps(s).unwrap()[result.by_user(s).range(user)];
        let earliest = |s| times(s).iter().min().copied().unwrap_or(i64::MAX);
        let latest = |s| times(s).iter().max().copied().unwrap_or(i64::MIN);
        assert!(latest(Split::Train) <= earliest(Split::Valid));
        assert!(latest(Split::Valid) <= earliest(Split::Test));
    }
}

#[test]
fn temporal_never_trains_on_the_future() {
    let data = sample(150, 25, 8);
    let n = data.count(Split::Train) as f64;
    let (result, report) = split(&data, &plan(Kind::Temporal { test: 0.2, valid: 0.1 }, 0)).unwrap();
    assert_partition(&data, &result, &report);
    let bounds = Split::ALL.map(|s| {
        let times = result.timestamps(s).unwrap();
        (*times.iter().min().unwrap(), *times.iter().max().unwrap())
    });
    assert!(bounds[0].1 < bounds[1].0 && bounds[1].1 < bounds[2].0, "{bounds:?}");
    assert!(report.test as f64 <= 0.2 * n + 1.0 && report.test as f64 > 0.17 * n);

    let timeless = InteractionsBuilder::new(2, 2)
        .split(Split::Train, Edges::from_pairs([(0, 0), (1, 1)]))
        .build()
        .unwrap();
    let error = split(&timeless, &plan(Kind::Temporal { test: 0.5, valid: 0.0 }, 0)).unwrap_err();
    assert!(error.to_string().contains("times"), "{error}");
}

#[test]
fn all_dissolves_and_train_keeps_the_given_splits() {
    let data = sample(200, 30, 9);
    let (given, _) = split(&data, &plan(per_item(4, 0), 1)).unwrap();
    let (again, report) = split(&given, &plan(per_item(2, 2), 2)).unwrap();
    assert_partition(&data, &again, &report);

    let from_train = |kind| Plan { kind, from: Source::Train, seed: 2 };
    let (carved, _) = split(&given, &from_train(per_item(0, 2))).unwrap();
    assert_eq!(pairs(&carved, Split::Test), pairs(&given, Split::Test));
    let train = &pairs(&carved, Split::Train) | &pairs(&carved, Split::Valid);
    assert_eq!(train, pairs(&given, Split::Train));
    assert!(matches!(split(&given, &from_train(per_item(1, 0))), Err(Error::Data { .. })));
}

#[test]
fn a_carved_validation_split_is_as_large_as_the_test() {
    let data = sample(300, 30, 10);
    let (given, _) = split(&data, &plan(per_item(2, 0), 1)).unwrap();
    let carved = carve_valid(&given, None, 1).unwrap();
    assert_eq!(carved.count(Split::Valid), given.count(Split::Test));
    assert_eq!(carved.count(Split::Test), given.count(Split::Test));
    assert_eq!(carve_valid(&data, None, 1).unwrap().count(Split::Valid), data.count(Split::Train) / 10);
    let two = carve_valid(&data, Some(Amount::PerItem(2)), 1).unwrap();
    assert!(two.by_item(Split::Valid).offsets.windows(2).all(|w| w[1] - w[0] <= 2));
    assert!(matches!(carve_valid(&carved, None, 1), Err(Error::Data { .. })));
}

#[test]
fn ids_and_history_are_kept() {
    let data = InteractionsBuilder::new(2, 3)
        .ids(["ann", "bob"].into_iter().collect(), ["x", "y", "z"].into_iter().collect())
        .split(Split::Train, Edges::from_pairs([(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]))
        .provenance("{\"import\":\"by hand\"}")
        .build()
        .unwrap();
    let (result, report) = split(&data, &plan(per_item(1, 0), 3)).unwrap();
    assert_eq!(result.user_ids().get(1), "bob");
    assert_eq!(result.item_ids().get(2), "z");
    assert_eq!(report.checksum, result.checksum());
    let story: serde_json::Value = serde_json::from_str(&result.provenance()).unwrap();
    assert_eq!(story["split"]["kind"], "uniform-item");
    assert_eq!(story["split"]["seed"], 3);
    assert_eq!(story["of"]["provenance"]["import"], "by hand");
    assert_eq!(story["of"]["checksum"], data.checksum());
}

#[test]
fn senseless_amounts_are_named() {
    let data = sample(20, 10, 0);
    for (test, valid) in [(1.0, 0.0), (-0.1, 0.0), (f64::NAN, 0.1), (0.6, 0.6)] {
        let error = split(&data, &plan(Kind::Random { test, valid }, 0)).unwrap_err();
        assert!(matches!(error, Error::Config { key: "test", .. }), "{error}");
    }
    assert!(matches!(split(&data, &plan(per_item(0, 0), 0)), Err(Error::Data { .. })));
}

/// The same choice at any number of threads, and the same as ever.
#[test]
fn golden_checksums_at_any_number_of_threads() {
    let kinds = [
        per_item(4, 2),
        Kind::Random { test: 0.1, valid: 0.1 },
        Kind::LeaveOneOut { test: true, valid: true },
        Kind::Temporal { test: 0.1, valid: 0.1 },
    ];
    let golden = [
        "63a9e60704d13e1fa597e2b1c9350b49",
        "34b8b0b3de5dba1c5a8fb7805a73a945",
        "f7769211869b553a1c19e78bc5dc8324",
        "0596cde1b9aa5868e88758ddde979327",
    ];
    let data = sample(100, 30, 11);
    for threads in [1, 2, 5] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let checksum = |kind| split(&data, &plan(kind, 42)).unwrap().1.checksum;
        assert_eq!(pool.install(|| kinds.map(checksum)), golden, "{threads} threads");
    }
    let other = split(&data, &plan(per_item(4, 2), 43)).unwrap().1;
    assert_ne!(other.checksum, golden[0]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_kind_partitions_any_data(
        users in 1u32..40,
        items in 1u32..30,
        seed in any::<u64>(),
        test in 0.0f64..0.5,
        valid in 0.01f64..0.4,
        k in 0u32..5,
    ) {
        let data = sample(users, items, seed);
        for kind in [
            per_item(k, 1),
            Kind::UniformItem { test: Amount::Fraction(test), valid: Amount::PerItem(k + 1) },
            Kind::Random { test, valid },
            Kind::LeaveOneOut { test: k % 2 == 0, valid: true },
            Kind::Temporal { test, valid },
        ] {
            // Too little data for what is asked is an error, never a bad split.
            match split(&data, &plan(kind, seed)) {
                Ok((result, report)) => assert_partition(&data, &result, &report),
                Err(error) => prop_assert!(matches!(error, Error::Data { .. }), "{error}"),
            }
        }
    }
}
