//! The ends of the numbers: nothing at all, everything, the largest ids, and counts whose products do not fit.

mod command;

use command::Place;
use macr::{
    Config, Csr, Edges, Error, Evaluator, Ids, Interactions, InteractionsBuilder, Model, Recommender, Split,
    Trainer,
    backend::lists::Audience,
    data::{filter::k_core, profile::Profile},
    device::Resolved,
    model::{Branch, Kept, save_ids},
};

fn built(users: u32, items: u32, train: Vec<(u32, u32)>, test: Vec<(u32, u32)>) -> Interactions {
    InteractionsBuilder::new(users, items)
        .split(Split::Train, Edges::from_pairs(train))
        .split(Split::Test, Edges::from_pairs(test))
        .build()
        .unwrap()
}

fn config(batch_size: u32) -> Config {
    Config { batch_size, dim: 4, epochs: 2, eval_every: 1, k: 1, select: Split::Test, ..Config::default() }
}

#[test]
fn nothing_at_all() {
    for (users, items) in [(0, 0), (0, 5), (5, 0), (3, 3)] {
        let data = built(users, items, vec![], vec![]);
        let profile = Profile::of(&data);
        assert_eq!((profile.interactions, profile.users, profile.items), (0, users, items));
        assert_eq!(k_core(&data, 1).build().unwrap().users(), 0);
        assert!(Trainer::new(&data, config(1)).is_err());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("empty.macr");
        data.save(&path).unwrap();
        assert_eq!(Interactions::open(&path).unwrap().checksum(), data.checksum());
    }
    // A training split alone is empty, or the one that selects.
    assert!(Trainer::new(&built(3, 3, vec![], vec![(0, 0)]), config(1)).is_err());
    let place = Place::empty();
    built(0, 0, vec![], vec![]).save(place.path("empty.macr")).unwrap();
    place.works(&["inspect", "empty.macr"], &["--json"]);
    place.fails(&["train", "empty.macr", "--out", "run"], 3, &[]);
    place.write("blank.csv", "user,item\n\n\n");
    place.fails(&["import", "blank.csv", "-o", "new.macr"], 3, &["no interactions"]);
}

#[test]
fn a_user_with_every_item_and_an_item_with_every_user() {
    // Of user 0 no negative can be drawn; item 0 is nobody's negative.
    let train: Vec<_> = (0..6).map(|i| (0, i)).chain((1..8).flat_map(|u| [(u, 0), (u, 1 + u % 5)])).collect();
    let data = built(8, 6, train.clone(), vec![(1, 3), (4, 3)]);
    let (model, _) = Trainer::new(&data, config(4)).unwrap().fit(&mut ()).unwrap();
    let results = Evaluator::new(&data, Split::Test).ks(&[6]).evaluate(&model).unwrap().results;
    assert_eq!(results[0].metrics.get("recall"), Some(1.0));
    // Nothing is left to recommend to user 0.
    let lists = Recommender::new(&model).unwrap().seen(&data).recommend(&[0, 1], 6).unwrap();
    assert_eq!((lists.list(0, 0).len(), lists.list(0, 1).len()), (0, 3));
    // Everybody has everything: there is nothing to learn from.
    let all = (0..4).flat_map(|u| (0..3).map(move |i| (u, i))).collect();
    let error = Trainer::new(&built(4, 3, all, vec![(0, 0)]), config(1)).unwrap_err().to_string();
    assert!(error.contains("; "), "{error}");
    // Doubles count once.
    let doubled = [train.clone(), train].concat();
    assert_eq!(built(8, 6, doubled, vec![(1, 3), (4, 3)]).checksum(), data.checksum());
}

#[test]
fn a_small_file_may_name_billions() {
    let folder = tempfile::tempdir().unwrap();
    let most = InteractionsBuilder::new(u32::MAX, u32::MAX);
    // As a run's ids.macr: counts alone.
    let data = most.build().unwrap();
    save_ids(&data, folder.path()).unwrap();
    let path = folder.path().join("ids.macr");
    assert!(path.metadata().unwrap().len() < 1000);
    let data = Interactions::open(&path).unwrap();
    assert_eq!((data.users(), data.items(), data.count(Split::Train)), (u32::MAX, u32::MAX, 0));
    assert_eq!((data.user_ids().len(), &*data.item_ids().get(u32::MAX - 1)), (u32::MAX, "4294967294"));
    assert_eq!(data.user_ids().index().get("4294967295"), None);
    let profile = Profile::of(&data);
    assert_eq!((profile.users_without_train, profile.items_without_train), (u32::MAX, u32::MAX));
    assert_eq!((profile.activity.max, profile.popularity_gini, profile.duplicates.train_test), (0, 0.0, 0));
    // Names for all of them would not fit, and are not what the counts say.
    let short = InteractionsBuilder::new(u32::MAX, 1).ids(Ids::from_iter(["x"]), Ids::Dense(1)).build();
    assert!(short.is_err());
    let beyond =
        InteractionsBuilder::new(u32::MAX, 1).split(Split::Train, Edges::from_pairs([(u32::MAX, 0)]));
    assert!(beyond.build().is_err());
}

#[test]
fn rows_behind_the_four_billionth_interaction() {
    // Offsets as a file of 2^33 interactions has them. The indices are an empty file's worth of zeros that is never
    // touched but where it is read: no memory and no disk.
    let n = 1usize << 33;
    let Ok(zeros) = memmap2::MmapOptions::new().len(4 * n).no_reserve_swap().map_anon() else {
        return println!("SKIPPED: no 32 GiB of addresses");
    };
    let offsets = [0, 3 << 30, (4 << 30) + 5, n as u64 - 7, n as u64];
    let csr = Csr { offsets: &offsets, indices: bytemuck::cast_slice(&zeros[..4 * n]) };
    assert_eq!((csr.rows(), csr.nnz()), (4, 1 << 33));
    assert_eq!((csr.degree(0), csr.degree(1), csr.degree(3)), (3 << 30, (1 << 30) + 5, 7));
    assert_eq!(csr.range(3), n - 7..n);
    assert_eq!(csr.row(3), [0; 7]);
}

#[test]
fn numbers_as_large_as_they_can_be_given() {
    let place = Place::with_run();
    let most = "4294967295";
    for line in [
        "train data.macr --out new --batch-size 4294967295",
        "train data.macr --out new --batch-size 4294967295 --sampler interaction --dry-run --json",
        "train data.macr --out new --dim 18446744073709551615",
        "train data.macr --out new --k 18446744073709551615",
        "train data.macr --out new --objective macr --branch mlp:18446744073709551615 --batch-size 64",
        "train data.macr --out new --objective macr --branch mlp:4294967295 --batch-size 64",
        "train data.macr --out new --backbone lightgcn --layers 18446744073709551615 --batch-size 64 --dry-run",
        "train data.macr --out new --negatives margin:4294967295:4294967295 --objective dice --batch-size 64",
        "synth -o new.macr --users 4294967295 --items 4294967295 --interactions 18446744073709551615",
        "synth -o new.macr --users 4294967295 --items 2 --interactions 4294967295",
        "split data.macr -o data.macr --from all --test-per-item 4294967295 --valid-per-item 4294967295",
        "evaluate run --data data.macr -k 18446744073709551615",
        "recommend run --data data.macr -k 18446744073709551615",
    ] {
        let before = place.files();
        let arguments: Vec<&str> = line.split(' ').collect();
        let outcome = place.run(&arguments);
        assert!(matches!(outcome.code, Some(0..=3)), "{line}: {:?}: {}", outcome.code, outcome.err);
        assert!(!outcome.err.contains("panicked"), "{line}: {}", outcome.err);
        place.unchanged(&before, &arguments);
    }
    let dry =
        ["train", "data.macr", "--out", "new", "--epochs", most, "--batch-size", "1", "--dry-run", "--json"];
    let plan: serde_json::Value = serde_json::from_str(&place.works(&dry, &[])).unwrap();
    let steps = plan["steps_per_epoch"].as_u64().unwrap();
    assert_eq!(plan["steps"].as_u64(), Some(steps * 4_294_967_295));
    place.write("lists.txt", "4294967295 4294967295 4294967294\n4294967294 0\n");
    place.works(&["import", "lists.txt", "-o", "ids.macr", "--format", "lightgcn", "-q"], &[]);
    place.works(&["import", "lists.txt", "-o", "core.macr", "--k-core", "1", "-q"], &[]);
    place.fails(&["import", "lists.txt", "-o", "new.macr", "--k-core", most, "-q"], 3, &[]);
}

/// What a program may hand over by itself, past the checks of files and settings.
#[test]
fn programs_are_refused_what_does_not_fit() {
    let data = built(4, 3, vec![(0, 0), (1, 1), (2, 2), (3, 0)], vec![(0, 1)]);
    for wrong in [
        Config { dim: 0, ..config(2) },
        Config { adam_beta2: 0.9, ..config(2) },
        Config { layers: 0, ..config(2) },
        Config { c: vec![], ..config(2) },
        Config { learning_rate: -1.0, ..config(2) },
    ] {
        assert!(matches!(Trainer::new(&data, wrong.clone()), Err(Error::Config { .. })), "{wrong:?}");
    }
    let train = || Trainer::new(&data, Config { objective: "macr".into(), ..config(2) }).unwrap();
    let (model, _) = train().fit(&mut ()).unwrap();
    let (users, items) = ([None; 4], [None; 3]);
    for rows in [[&users[..3], &items], [&users, &items[..2]], [&[Some(4); 4], &items]] {
        assert!(train().warm_start(&model, rows).is_err(), "{rows:?}");
    }
    assert!(train().warm_start(&model, [&[Some(3); 4], &items]).is_ok());

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let short = |weight: usize| Some(Branch::Linear { weight: vec![0.0; weight] });
    let kept = Kept { item_bias: Some(vec![0.0; 2]), ..Kept::default() };
    for wrong in [
        Model { item_branch: short(3), ..model.clone() },
        Model { user_branch: short(0), ..model.clone() },
        Model { ego: Some([vec![0.0; 16], vec![0.0; 11]]), ..model.clone() },
        Model { kept, ..model.clone() },
        Model { dim: 0, ..model.clone() },
    ] {
        assert!(matches!(wrong.save(&path), Err(Error::Data { .. })) && !path.exists(), "{wrong:?}");
    }
    model.save(&path).unwrap();

    let relevant = Csr { offsets: &[0, 1, 9, 9, 9], indices: &[1] };
    let audience = Audience::new(&Resolved::Cpu, vec![0, 1], vec![], relevant);
    assert!(audience.unwrap_err().to_string().contains("5 offsets do not fit 1 relevant items"));
}
