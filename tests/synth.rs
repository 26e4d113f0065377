//! Generated data: counts, the law it is drawn from, and what can be learnt from it.

use std::collections::BTreeSet;

use macr::{
    Error, Interactions, Split,
    data::{
        popularity::{SortedCounts, item_counts},
        split::{Kind, Plan, Source, split},
        synth::{Preset, Spec, Truth, generate},
    },
};

fn small() -> Spec {
    Spec {
        users: 3_000,
        items: 400,
        interactions: 40_000,
        test_per_item: 6,
        valid_per_item: 3,
        ..Spec::default()
    }
}

#[test]
fn counts_are_exact_and_pairs_distinct() {
    let (data, truth) = generate(&small()).unwrap();
    let counts = Split::ALL.map(|s| data.count(s));
    assert_eq!(counts, [40_000 - 400 * 9, 400 * 3, 400 * 6]);
    let mut seen = BTreeSet::new();
    for split in Split::ALL {
        for user in 0..data.users() {
            assert!(data.by_user(split).row(user).iter().all(|&item| seen.insert((user, item))));
        }
    }
    assert_eq!(seen.len(), 40_000);
    assert!((0..3_000).all(|user| (1..=200).contains(&data.by_user(Split::Train).degree(user))));
    assert_eq!(truth.user_vectors.len(), 3_000 * truth.spec.dim);
    assert!(truth.conformity.iter().all(|k| (0.0..=1.0).contains(k)));
    let mean = truth.conformity.iter().map(|&k| f64::from(k)).sum::<f64>() / 3_000.0;
    assert!((mean - truth.spec.conformity).abs() < 0.02, "{mean}");
}

#[test]
fn held_out_items_are_exposed_uniformly() {
    let (data, _) = generate(&small()).unwrap();
    for item in 0..400 {
        assert_eq!(data.by_item(Split::Test).degree(item), 6);
        assert_eq!(data.by_item(Split::Valid).degree(item), 3);
    }
}

/// Where everyone conforms and nobody minds the matching, train popularity is the Zipf weight alone.
#[test]
fn popularity_follows_the_weights() {
    let spec = Spec {
        users: 20_000,
        interactions: 40_000,
        test_per_item: 0,
        valid_per_item: 0,
        conformity: 1.0,
        temperature: 1e6,
        activity_deviation: 0.0,
        ..small()
    };
    let (data, truth) = generate(&spec).unwrap();
    let counts = item_counts(&data);
    let mut by_weight: Vec<usize> = (0..400).collect();
    by_weight.sort_by(|&a, &b| truth.popularity[b].total_cmp(&truth.popularity[a]));
    for band in [0..20, 20..80, 80..400] {
        let drawn: f64 = by_weight[band.clone()].iter().map(|&i| f64::from(counts[i])).sum();
        let law: f64 = by_weight[band.clone()].iter().map(|&i| f64::from(truth.popularity[i]) / 400.0).sum();
        // Two distinct draws for each user flatten the head a little.
        assert!((drawn / 40_000.0 / law - 1.0).abs() < 0.08, "{band:?}: {drawn} against {law}");
    }
}

/// The more a user conforms, the more popular the items; the matching has its say either way.
#[test]
fn conformity_moves_choices_to_popularity() {
    let (data, truth) = generate(&Spec { conformity: 0.5, ..small() }).unwrap();
    let mean = |users: fn(f32) -> bool, value: &dyn Fn(u32, u32) -> f64| {
        let (mut sum, mut n) = (0.0, 0.0);
        for user in (0..data.users()).filter(|&u| users(truth.conformity[u as usize])) {
            for &item in data.by_user(Split::Train).row(user) {
                sum += value(user, item);
                n += 1.0;
            }
        }
        sum / n
    };
    let popularity = |_, i: u32| f64::from(truth.popularity[i as usize]);
    let (sheep, rebels) = (mean(|k| k > 0.8, &popularity), mean(|k| k < 0.2, &popularity));
    assert!(sheep > 1.5 * rebels, "{sheep} against {rebels}");
    // Over random pairs the mean of the matching is 0.
    let matching = |u, i| truth.matching(u, i);
    let (sheep, rebels) = (mean(|k| k > 0.8, &matching), mean(|k| k < 0.2, &matching));
    assert!(sheep > 0.4 && rebels > 0.4, "{sheep} and {rebels}");
}

/// Share of the test pairs that are among the user's best 20 items outside train.
fn recall(data: &Interactions, score: impl Fn(u32, u32) -> f64) -> f64 {
    let (mut hits, mut wanted) = (0, 0);
    for user in 0..data.users() {
        let (train, test) = (data.by_user(Split::Train).row(user), data.by_user(Split::Test).row(user));
        if test.is_empty() {
            continue;
        }
        let mut ranked: Vec<(f64, u32)> = (0..data.items())
            .filter(|item| train.binary_search(item).is_err())
            .map(|item| (score(user, item), item))
            .collect();
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
        hits += ranked[..20].iter().filter(|(_, item)| test.contains(item)).count();
        wanted += test.len();
    }
    hits as f64 / wanted as f64
}

fn oracle_and_popularity(data: &Interactions, truth: &Truth) -> (f64, f64) {
    let counts = item_counts(data);
    (recall(data, |u, i| truth.matching(u, i)), recall(data, |_, i| f64::from(counts[i as usize])))
}

/// The point of the data: popularity is a strong guess on a part of train and a useless one on the debiased test,
/// where the true matching wins by far.
#[test]
fn debiasing_pays() {
    let (data, truth) =
        generate(&Spec { users: 4_000, interactions: 40_000, ..Preset::AdressaLike.spec() }).unwrap();
    let (oracle, popularity) = oracle_and_popularity(&data, &truth);
    assert!(oracle > 0.2 && oracle > 5.0 * popularity, "test: oracle {oracle}, popularity {popularity}");

    let random = Plan { kind: Kind::Random { test: 0.1, valid: 0.0 }, from: Source::All, seed: 1 };
    let (biased, _) = split(&data, &random).unwrap();
    let (oracle, popularity) = oracle_and_popularity(&biased, &truth);
    assert!(popularity > 0.4 && popularity > 2.0 * oracle, "train: oracle {oracle}, popularity {popularity}");
}

#[test]
fn held_out_pairs_match() {
    let (data, truth) = generate(&small()).unwrap();
    let (mut above, mut n) = (0, 0);
    for user in 0..data.users() {
        for &item in data.by_user(Split::Test).row(user) {
            let own = truth.matching(user, item);
            above += (0..400).filter(|&other| truth.matching(user, other) > own).count();
            n += 400;
        }
    }
    let mean_rank = f64::from(above as u32) / f64::from(n);
    assert!(mean_rank < 0.2, "{mean_rank}");
}

#[test]
fn presets_have_the_sizes_of_the_paper() {
    let (data, _) = generate(&Preset::AdressaLike.spec()).unwrap();
    assert_eq!((data.users(), data.items()), (13_485, 744));
    assert_eq!((data.count(Split::Train), data.count(Split::Test)), (113_345, 2_976));
    let counts = item_counts(&data);
    let top = counts.iter().max().copied().unwrap();
    assert!((6_000..8_000).contains(&top), "top item {top}, in the paper's data 7,077");
    let head = SortedCounts::of(&counts).head_size(0.8);
    assert!((57..77).contains(&head), "{head} items cover 80 %, in the paper's data 67");
}

/// The bits depend on the specification alone.
#[test]
fn golden_checksum_at_any_number_of_threads() {
    let truths = [1, 2, 5].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let (data, truth) = pool.install(|| generate(&small())).unwrap();
        assert_eq!(data.checksum(), "8bad4c08115c901e6403467deca581ff", "{threads} threads");
        truth
    });
    assert!(truths[0] == truths[1] && truths[1] == truths[2]);
    let (other, _) = generate(&Spec { seed: 1, ..small() }).unwrap();
    assert_ne!(other.checksum(), "8bad4c08115c901e6403467deca581ff");
}

/// Even where the law leaves hardly any choice the numbers are met.
#[test]
fn extreme_laws_still_give_the_numbers() {
    let base =
        Spec { users: 50, items: 40, interactions: 940, test_per_item: 1, valid_per_item: 0, ..small() };
    for spec in [
        Spec { temperature: 1e-3, ..base.clone() },
        Spec { conformity: 1.0, popularity_exponent: 6.0, popularity_offset: 0.0, ..base.clone() },
        Spec { dim: 1, communities: 1, spread: 0.0, ..base.clone() },
        Spec { activity_deviation: 4.0, communities: 100, ..base.clone() },
    ] {
        let (data, _) = generate(&spec).unwrap();
        assert_eq!(data.count(Split::Train), 900, "{spec:?}");
        // An item that everyone has in train cannot be held out.
        let free = item_counts(&data).iter().filter(|&&n| n < 50).count() as u64;
        assert_eq!(data.count(Split::Test), free, "{spec:?}");
    }
}

#[test]
fn what_cannot_be_met_is_said() {
    for spec in [
        Spec { interactions: 100, ..small() },
        Spec { interactions: 3_000_000, ..small() },
        Spec { conformity: 0.0, ..small() },
        Spec { temperature: f64::NAN, ..small() },
        Spec { dim: 0, ..small() },
        Spec { items: 1, ..small() },
    ] {
        assert!(matches!(generate(&spec), Err(Error::Config { .. })), "{spec:?}");
    }
}

#[test]
fn command_writes_what_split_and_inspect_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let macr = |args: &[&str]| {
        let output = assert_cmd::Command::new(env!("CARGO_BIN_EXE_macr")).args(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let json = |args: &[&str]| serde_json::from_str::<serde_json::Value>(&macr(args)).unwrap();
    let (made, parted) = (path("a.macr"), path("b.macr"));
    let sizes = ["--users", "500", "--items", "100", "--interactions", "6000", "--truth", "--json"];
    let synth = json(&[&["synth", "-o", &made], &sizes[..]].concat());
    assert_eq!((synth["train"].as_u64(), synth["test"].as_u64()), (Some(5_500), Some(500)));

    let truth = std::fs::read(path("a.truth.safetensors")).unwrap();
    let truth = safetensors::SafeTensors::deserialize(&truth).unwrap();
    assert_eq!(truth.tensor("item_vectors").unwrap().shape(), [100, 8]);

    let split = json(&["split", &made, "-o", &parted, "--from", "train", "--valid-per-item", "2", "--json"]);
    assert_eq!((split["report"]["test"].as_u64(), split["report"]["valid"].as_u64()), (Some(500), Some(200)));
    let profile = json(&["inspect", &parted, "--groups", "--json"]);
    assert_eq!(profile["interactions"], 6_000);
    assert_eq!(profile["duplicates"]["train_test"], 0);
    assert_eq!(profile["checksum"], split["report"]["checksum"]);
    assert_eq!(profile["provenance"]["of"]["provenance"]["synth"]["users"], 500);
    assert!(macr(&["inspect", &parted]).contains("5,300"));
}
