//! Evaluation, model files and the two subcommands, from the outside.

use std::{fs, path::Path};

use assert_cmd::Command;
use macr::{
    Branch, Edges, Error, Evaluator, Interactions, InteractionsBuilder, Metadata, Model, Ranking,
    Recommender, Split, Tables,
    eval::{GroupBy, Hit, Mask},
    model::save_ids,
    objective::BranchInput,
};

/// One dimension, so that scores are products that a person can check.
fn model(users: &[f32], items: &[f32], popularity: &[u32], gate: Option<f32>) -> Model {
    Model {
        dim: 1,
        user_embedding: users.to_vec(),
        item_embedding: items.to_vec(),
        user_branch: None,
        ego: None,
        kept: macr::model::Kept::default(),
        item_branch: gate.map(|weight| Branch::Linear { weight: vec![weight] }),
        item_popularity: popularity.to_vec(),
        metadata: Metadata {
            backbone: "mf".into(),
            objective: "macr".into(),
            pairing: Some("rows".into()),
            branch_input: Default::default(),
            ranking: Ranking { c: 0.1, tau: 0.0 },
            data: "0".repeat(32),
            carved: None,
            storage: Default::default(),
            seed: u64::MAX,
            version: "0.1.0".into(),
        },
    }
}

/// Three users, five items: user 0 ranks items 4, 3, 2, 1, 0, user 1 the other way round.
fn small() -> (Model, Interactions) {
    let model = model(&[1.0, -1.0, 1.0], &[1.0, 2.0, 3.0, 4.0, 5.0], &[0, 0, 1, 0, 600], None);
    let data = InteractionsBuilder::new(3, 5)
        .split(Split::Train, Edges::from_pairs([(0, 4), (1, 2)]))
        .split(Split::Valid, Edges::from_pairs([(0, 3)]))
        .split(Split::Test, Edges::from_pairs([(0, 2), (0, 0), (1, 3), (1, 4)]))
        .ids(["ann", "bob", "cy"].iter().collect(), ["v", "w", "x", "y", "z"].iter().collect())
        .build()
        .unwrap();
    (model, data)
}

#[track_caller]
fn close(value: Option<f64>, expected: f64) {
    assert!(value.is_some_and(|value| (value - expected).abs() < 1e-12), "{value:?} is not {expected}");
}

#[test]
fn metrics_of_known_lists() {
    let (model, data) = small();
    // Lists: user 0: 3 2 1 0 (4 is seen), user 1: 0 1 3 4 (2 is seen); user 2 has no test items.
    let evaluation = Evaluator::new(&data, Split::Test).ks(&[2, 3]).evaluate(&model).unwrap();
    assert_eq!(evaluation.users, 2);
    assert_eq!(evaluation.user_ids(), [0, 1]);
    let [at2, at3] = &evaluation.results[..] else { panic!("two results") };
    assert_eq!((at2.k, at2.c, at3.k), (2, 0.1, 3));
    close(at2.metrics.get("hit_rate"), 0.5);
    close(at2.metrics.get("recall"), 0.25);
    close(at2.metrics.get("mrr"), 0.25);
    close(at2.metrics.get("coverage"), 0.8);
    close(at3.metrics.get("hit_rate"), 1.0);
    close(at3.metrics.get("precision"), 1.0 / 3.0);
    close(at3.metrics.get("map"), (0.5 / 2.0 + 1.0 / 3.0 / 2.0) / 2.0);
    close(at3.metrics.get("arp"), 1.0 / 6.0);
    assert_eq!(evaluation.hits_of(0, 0), [Hit { rank: 2, item: 2 }]);
    assert_eq!(evaluation.frequency(0), [1, 1, 1, 1, 0]);
    assert_eq!(evaluation.frequency(1), [1, 2, 1, 2, 0]);
    assert_eq!(evaluation.per_user("recall", 0, 3).unwrap(), [0.5, 0.5]);
    assert_eq!(evaluation.per_user("mrr", 0, 3).unwrap(), [0.5, 1.0 / 3.0]);
    assert!(evaluation.per_user("mr", 0, 3).unwrap_err().to_string().contains("did you mean `mrr`"));
}

#[test]
fn validation_items_are_masked_on_request_only() {
    let (model, data) = small();
    let at1 = Evaluator::new(&data, Split::Test).ks(&[1]);
    close(at1.evaluate(&model).unwrap().results[0].metrics.get("hit_rate"), 0.0);
    let masked = at1.clone().mask(Mask::TrainAndValid).evaluate(&model).unwrap();
    close(masked.results[0].metrics.get("hit_rate"), 0.5);
    // When validating, they are what is looked for.
    let valid = Evaluator::new(&data, Split::Valid).ks(&[1]).mask(Mask::TrainAndValid);
    close(valid.evaluate(&model).unwrap().results[0].metrics.get("recall"), 1.0);
}

#[test]
fn results_by_group_of_items() {
    let (model, data) = small();
    let evaluator = Evaluator::new(&data, Split::Test).ks(&[3]).groups(GroupBy::Counts);
    let evaluation = evaluator.evaluate(&model).unwrap();
    let groups = evaluation.results[0].groups.as_ref().unwrap();
    let (rare, popular) = (&groups[0], &groups[5]);
    assert_eq!((rare.items, rare.interactions, rare.recall), (4, 3, Some(2.0 / 3.0)));
    assert_eq!((popular.items, popular.interactions, popular.recall), (1, 1, Some(0.0)));
    assert_eq!((groups[1].items, groups[1].recall), (0, None));
    assert_eq!((rare.frequency, popular.frequency), (1.5, 0.0));
}

#[test]
fn many_rankings_equal_each_alone() {
    let (model, data) = random(200, 150, 16);
    let rankings: Vec<Ranking> =
        (0..11).flat_map(|c| [0.0, 0.5].map(|tau| Ranking { c: 0.2 * c as f32, tau })).collect();
    let evaluator = Evaluator::new(&data, Split::Test).ks(&[1, 5, 20]);
    let together = evaluator.clone().rankings(&rankings).evaluate(&model).unwrap();
    for (variant, ranking) in rankings.iter().enumerate() {
        let alone = evaluator.clone().rankings(&[*ranking]).evaluate(&model).unwrap();
        assert_eq!(together.results[3 * variant..][..3], alone.results);
    }
    let recall = together.per_user("recall", 4, 5).unwrap();
    let mean = recall.iter().sum::<f64>() / recall.len() as f64;
    assert_eq!(together.results[3 * 4 + 1].metrics.get("recall"), Some(mean));
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let (model, data) = random(500, 150, 8);
    let evaluations = [1, 2, 5].map(|threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let evaluator = Evaluator::new(&data, Split::Test).ks(&[1, 20]).groups(GroupBy::Deciles);
        serde_json::to_string(&pool.install(|| evaluator.evaluate(&model)).unwrap()).unwrap()
    });
    assert_eq!(evaluations[0], evaluations[1]);
    assert_eq!(evaluations[0], evaluations[2]);
}

#[test]
fn tables_need_no_model() {
    let (model, data) = random(100, 60, 8);
    let gates = model.item_gates();
    let tables = Tables::new(
        model.dim,
        &model.user_embedding,
        &model.item_embedding,
        gates.map(Into::into),
        &model.item_popularity,
    )
    .unwrap();
    let evaluator = Evaluator::new(&data, Split::Test).rankings(&[Ranking { c: 0.3, tau: 0.1 }]);
    assert_eq!(evaluator.evaluate(&model).unwrap(), evaluator.evaluate_tables(&tables).unwrap());
}

#[test]
fn what_cannot_be_evaluated_says_so() {
    let (model, data) = small();
    let fails = |evaluator: Evaluator<'_>, words: &str| {
        let error = evaluator.evaluate(&model).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        error
    };
    let test = || Evaluator::new(&data, Split::Test);
    assert!(matches!(fails(test().ks(&[6]), "1 to 5"), Error::Config { key: "k", .. }));
    fails(test().ks(&[0, 3]), "at least 1");
    fails(test().ks(&[]), "--k 20");
    let ranking = Ranking { c: f32::NAN, tau: 0.0 };
    assert!(matches!(fails(test().ks(&[1]).rankings(&[ranking]), "finite"), Error::Config { key: "c", .. }));
    fails(Evaluator::new(&data, Split::Train), "`valid` or `test`");
    let empty = InteractionsBuilder::new(3, 5).build().unwrap();
    assert!(matches!(fails(Evaluator::new(&empty, Split::Test), "macr split"), Error::Data { .. }));
    let other = InteractionsBuilder::new(3, 6).build().unwrap();
    fails(Evaluator::new(&other, Split::Test), "the data has 3 and 6");
}

#[test]
fn recommendations_and_similar_items() {
    let (model, data) = small();
    let recommender = Recommender::new(&model).unwrap();
    let ids = |list: &[macr::backend::lists::Candidate]| list.iter().map(|c| c.item()).collect::<Vec<_>>();
    assert_eq!(ids(recommender.recommend(&[1], 3).unwrap().list(0, 0)), [0, 1, 2]);
    let recommender = recommender.seen(&data);
    assert_eq!(ids(recommender.recommend(&[0], 5).unwrap().list(0, 0)), [1]);
    let every = recommender.clone().seen_in(&data, &[]);
    assert_eq!(every.recommend(&[0], 5).unwrap().list(0, 0).len(), 5);
    let list = recommender.clone().seen_in(&data, &[Split::Train]).recommend(&[0], 5).unwrap();
    assert!(data.by_user(Split::Test).row(0).iter().all(|item| ids(list.list(0, 0)).contains(item)));
    let similar = recommender.similar_items(&[2, 0], 2).unwrap();
    assert_eq!((ids(&similar[0]), ids(&similar[1])), (vec![0, 1], vec![1, 2]));
    assert_eq!(similar[0][0].score(), 1.0);
    assert!(recommender.similar_items(&[0], 5).is_err());
    assert!(recommender.similar_items(&[5], 1).is_err());
}

/// A model without meaning, with data to go with it.
fn random(users: u32, items: u32, dim: usize) -> (Model, Interactions) {
    let mut state = 1u64;
    let mut uniform = || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    let mut splits = [Vec::new(), Vec::new(), Vec::new()];
    for user in 0..users {
        for item in 0..items {
            let split = (uniform() * 20.0) as usize;
            if split < 3 {
                splits[split].push((user, item));
            }
        }
    }
    let [train, valid, test] = splits.map(Edges::from_pairs);
    let data = InteractionsBuilder::new(users, items)
        .split(Split::Train, train)
        .split(Split::Valid, valid)
        .split(Split::Test, test)
        .build()
        .unwrap();
    let popularity: Vec<u32> = (0..items).map(|item| data.by_item(Split::Train).degree(item)).collect();
    let mut model = model(&[0.0], &[0.0], &popularity, None);
    model.dim = dim;
    model.user_embedding = (0..users as usize * dim).map(|_| uniform() - 0.5).collect();
    model.item_embedding = (0..items as usize * dim).map(|_| uniform() - 0.5).collect();
    model.item_branch = Some(Branch::Linear { weight: (0..dim).map(|_| 4.0 * uniform() - 2.0).collect() });
    model.metadata.data = data.checksum();
    (model, data)
}

#[test]
fn a_model_file_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let (mut model, _) = random(6, 9, 5);
    model.user_branch = Some(Branch::Mlp {
        w1: (0..15).map(|n| n as f32 / 7.0).collect(),
        b1: vec![-1.0, 0.5, f32::MIN_POSITIVE],
        w2: vec![1e30, -0.0, 3.0],
        b2: 0.25,
    });
    model.metadata.ranking = Ranking { c: 0.1 + 0.2, tau: 1e-20 };
    model.save(folder.path().join("model.safetensors")).unwrap();
    // By folder and by file.
    assert_eq!(Model::load(folder.path()).unwrap(), model);
    assert_eq!(Model::load(folder.path().join("model.safetensors")).unwrap(), model);
    model.user_branch = None;
    model.item_branch = None;
    model.metadata.pairing = None;
    model.save(folder.path().join("other")).unwrap();
    assert_eq!(Model::load(folder.path().join("other")).unwrap(), model);
    // Branches that score the parameters say so, and have them.
    let (mut model, _) = random(6, 9, 5);
    model.metadata.branch_input = BranchInput::Ego;
    let before = model.item_gates().unwrap();
    model.save(folder.path().join("ego")).unwrap();
    let error = Model::load(folder.path().join("ego")).unwrap_err().to_string();
    assert!(error.contains("`item_ego`"), "{error}");
    model.ego = Some([vec![0.5; 6 * 5], vec![0.0; 9 * 5]]);
    model.save(folder.path().join("ego")).unwrap();
    assert_eq!(Model::load(folder.path().join("ego")).unwrap(), model);
    assert!(before.iter().all(|&gate| gate != 0.5) && model.item_gates().unwrap() == [0.5; 9]);
}

/// Where a model file has its checksum: after its length and `{"__metadata__":{"checksum":"`.
const CHECKSUM: std::ops::Range<usize> = 37..69;

/// XXH3-128 of the file with zeros for the checksum itself.
fn checksum_of(file: &[u8]) -> String {
    let mut file = file.to_vec();
    file[CHECKSUM].fill(b'0');
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(&file))
}

#[test]
fn equal_models_are_equal_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (model, _) = random(6, 9, 5);
    let save = |name: &str| {
        let path = folder.path().join(name);
        model.save(&path).unwrap();
        fs::read(path).unwrap()
    };
    let first = save("0");
    assert!((1..20).all(|n| save(&n.to_string()) == first));
    // Nothing in the header depends on a hash seed, which differs from process to process: it is this text.
    let length = u64::from_le_bytes(first[..8].try_into().unwrap()) as usize;
    let header = std::str::from_utf8(&first[8..8 + length]).unwrap();
    let data = &model.metadata.data;
    let checksum = &header[CHECKSUM.start - 8..CHECKSUM.end - 8];
    assert_eq!(checksum, checksum_of(&first));
    assert_eq!(
        header.trim_end(),
        format!(
            "{{\"__metadata__\":{{\"checksum\":\"{checksum}\",\"backbone\":\"mf\",\"objective\":\"macr\",\"pairing\":\"rows\",\"c\":\"0.1\",\
             \"tau\":\"0\",\"data\":\"{data}\",\"seed\":\"18446744073709551615\",\"version\":\"0.1.0\"}},\
             \"user_embedding\":{{\"dtype\":\"F32\",\"shape\":[6,5],\"data_offsets\":[0,120]}},\
             \"item_embedding\":{{\"dtype\":\"F32\",\"shape\":[9,5],\"data_offsets\":[120,300]}},\
             \"item_branch\":{{\"dtype\":\"F32\",\"shape\":[5],\"data_offsets\":[300,320]}},\
             \"item_popularity\":{{\"dtype\":\"U32\",\"shape\":[9],\"data_offsets\":[320,356]}}}}"
        )
    );
}

#[test]
fn damaged_models_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let (model, _) = random(6, 9, 5);
    let fails = |words: &str| {
        let error = Model::load(&path).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        error
    };
    assert!(matches!(fails("check the path"), Error::Io { .. }));
    model.save(&path).unwrap();
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(matches!(fails("whole safetensors"), Error::File { .. }));
    }
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert!(matches!(Model::load(&path), Err(Error::File { .. })), "byte {at} changed");
    }
    // Files that are whole and are no models.
    let replace = |from: &str, to: &str| {
        let at = whole.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
        let mut bytes = whole.clone();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        let checksum = checksum_of(&bytes);
        bytes[CHECKSUM].copy_from_slice(checksum.as_bytes());
        fs::write(&path, bytes).unwrap();
    };
    replace("\"item_branch\"", "\"item_brench\"");
    assert!(Model::load(&path).unwrap().item_branch.is_none());
    replace("\"item_embedding\"", "\"item_embeddinX\"");
    fails("`item_embedding` is missing");
    replace("[9,5]", "[5,9]");
    fails("expected F32 [any, 5]");
    replace("\"seed\":\"1", "\"seed\":\"x");
    fails("not a number");
    let mut broken = model.clone();
    broken.item_embedding[7] = f32::NAN;
    broken.save(&path).unwrap();
    fails("`item_embedding` has the value NaN at place 7");
    broken.item_embedding.pop();
    assert!(broken.save(&path).is_err());
}

fn macr(arguments: &[&str], folder: &Path) -> (Option<i32>, String, String) {
    let output = Command::cargo_bin("macr").unwrap().args(arguments).current_dir(folder).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A run folder `run` and its data `data.macr`.
fn run_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (mut model, data) = small();
    model.metadata.data = data.checksum();
    fs::create_dir(folder.path().join("run")).unwrap();
    model.save(folder.path().join("run/model.safetensors")).unwrap();
    save_ids(&data, folder.path().join("run")).unwrap();
    data.save(folder.path().join("data.macr")).unwrap();
    folder
}

#[test]
fn evaluate_prints_json() {
    let folder = run_folder();
    let arguments = ["evaluate", "run", "--data", "data.macr", "--k", "2,3", "--c", "0,5", "--tau=0,-1"];
    let (code, out, err) = macr(&[&arguments[..], &["--json", "--groups"]].concat(), folder.path());
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["users"], 2);
    assert_eq!(json["results"].as_array().unwrap().len(), 8);
    let first = &json["results"][0];
    assert_eq!(
        (&first["c"], &first["tau"], &first["k"], &first["recall"]),
        (&0.0.into(), &0.0.into(), &2.into(), &0.25.into())
    );
    assert_eq!(first["groups"][0]["group"], "<=10");
    assert_eq!((&json["results"][7]["c"], &json["results"][7]["tau"]), (&5.0.into(), &(-1.0).into()));
}

#[test]
fn evaluate_prints_a_table() {
    let folder = run_folder();
    let arguments =
        ["evaluate", "run", "--data", "data.macr", "-k", "2,3", "--tau", "0,9", "--groups", "deciles"];
    let (code, out, err) = macr(&arguments, folder.path());
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("hit_rate") && out.contains('*') && out.contains("1/10"), "{out}");
    // Markdown that a terminal has room for.
    for line in out.lines().filter(|line| !line.is_empty()) {
        assert!(line.starts_with('|') && line.ends_with('|') && line.len() <= 80, "{line}");
    }
    assert!(err.contains("2 users"), "{err}");
}

#[test]
fn evaluate_checks_what_it_is_given() {
    let folder = run_folder();
    let fails = |arguments: &[&str], words: &str| {
        let (code, out, err) = macr(arguments, folder.path());
        assert_eq!((code, out.as_str()), (Some(3), ""), "{err}");
        assert!(err.contains(words), "{err}");
    };
    fails(&["evaluate", "run", "--data", "data.macr"], "k = 20: a list takes 1 to 5");
    fails(&["evaluate", "none", "--data", "data.macr"], "check the path");
    fails(&["evaluate", "run", "--data", "data.macr", "-k1", "--c", "nan"], "finite");
    // Same counts and ids, other interactions: a remark.
    let (_, data) = small();
    let ids = (data.user_ids().into_owned(), data.item_ids().into_owned());
    let other =
        InteractionsBuilder::new(3, 5).ids(ids.0, ids.1).split(Split::Test, Edges::from_pairs([(0, 1)]));
    other.build().unwrap().save(folder.path().join("other.macr")).unwrap();
    let (code, _, err) = macr(&["evaluate", "run", "--data", "other.macr", "-k1"], folder.path());
    assert!(code == Some(0) && err.contains("not the file that the model was trained on"), "{err}");
    InteractionsBuilder::new(3, 6).build().unwrap().save(folder.path().join("six.macr")).unwrap();
    fails(&["evaluate", "run", "--data", "six.macr", "-k1"], "the data has 3 and 6");
}

#[test]
fn recommend_writes_external_ids() {
    let folder = run_folder();
    let run = |arguments: &[&str]| macr(&[&["recommend", "run"], arguments].concat(), folder.path());
    let (code, out, _) = run(&["-k2", "--data", "data.macr", "--users", "bob,ann", "--c", "0"]);
    assert_eq!(code, Some(0));
    assert_eq!(out, "user\titem\trank\tscore\nbob\tv\t1\t-1.0\nbob\tw\t2\t-2.0\nann\tw\t1\t2.0\n");
    fs::write(folder.path().join("users.txt"), "ann\r\nnobody\n\nbob\n").unwrap();
    let (code, out, err) =
        run(&["-k1", "--include-seen", "--users", "users.txt", "--skip-unknown", "--json"]);
    assert_eq!(code, Some(0));
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json[0]["items"][0], serde_json::json!({"item": "z", "score": 5.0}));
    assert_eq!(json[1]["user"], "bob");
    assert!(err.contains("left out 1 user, unknown to the model"), "{err}");
    let (code, out, _) = run(&["-k5", "--data", "data.macr", "-o", "recs.tsv"]);
    assert_eq!((code, out.as_str()), (Some(0), ""));
    let written = fs::read_to_string(folder.path().join("recs.tsv")).unwrap();
    assert_eq!(written.lines().count(), 1 + 1 + 2 + 5);
    assert!(written.ends_with("cy\tv\t5\t1.0\n"), "{written}");
}

#[test]
fn recommend_checks_what_it_is_given() {
    let folder = run_folder();
    let fails = |arguments: &[&str], words: &str| {
        let (code, out, err) = macr(&[&["recommend", "run"], arguments].concat(), folder.path());
        assert_eq!((code, out.as_str()), (Some(3), ""), "{err}");
        assert!(err.contains(words), "{err}");
    };
    fails(&["-k2"], "--include-seen");
    fails(&["-k2", "--include-seen", "--users", "anne"], "did you mean `ann`?");
    fails(&["-k9", "--include-seen"], "1 to 5");
    InteractionsBuilder::new(3, 6).build().unwrap().save(folder.path().join("six.macr")).unwrap();
    fails(&["-k2", "--data", "six.macr"], "the data has 3 and 6");
}

#[test]
fn a_model_has_the_ids_beside_it_or_numbers() {
    let folder = run_folder();
    let arguments = ["recommend", "run/model.safetensors", "-k1", "--include-seen", "--users"];
    let of = |user: &str| macr(&[&arguments[..], &[user]].concat(), folder.path());
    let (code, out, err) = of("cy");
    assert_eq!((code, out.as_str()), (Some(0), "user\titem\trank\tscore\ncy\tz\t1\t5.0\n"), "{err}");
    assert_eq!(err, "");
    fs::remove_file(folder.path().join("run/ids.macr")).unwrap();
    let (code, out, err) = of("2");
    assert_eq!((code, out.as_str()), (Some(0), "user\titem\trank\tscore\n2\t4\t1\t5.0\n"), "{err}");
    assert!(err.contains("no ids.macr beside the model"), "{err}");
}
