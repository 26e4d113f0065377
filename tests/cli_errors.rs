//! What people get wrong on the command line: the exit code, the remedy, and that nothing is left behind.

mod command;

use command::{Place, QUICK, SMALL};

/// Runs a table of command lines that must fail: arguments (separated by spaces), exit code, words of the message.
fn table(place: &Place, cases: &[(&str, i32, &[&str])]) {
    for (line, code, words) in cases {
        place.fails(&line.split(' ').collect::<Vec<_>>(), *code, words);
    }
}

#[test]
fn usage() {
    let place = Place::with_run();
    table(
        &place,
        &[
            ("bogus", 2, &["unrecognized subcommand"]),
            ("trian data.macr", 2, &["'train'"]),
            ("train", 2, &["<DATA>"]),
            ("train data.macr --batchsize 3", 2, &["--batch-size"]),
            ("train data.macr --c x", 2, &["'x'", "invalid float"]),
            ("train data.macr --epochs -1", 2, &["unexpected argument '-1'"]),
            ("train data.macr --device gpu", 2, &["did you mean `cuda`?"]),
            (
                "train data.macr --objective mcar",
                2,
                &["possible values: bce, bpr, macr,", "expomf]", "'macr'"],
            ),
            ("train data.macr --backbone lightgnc", 2, &["[possible values: mf, lightgcn]", "'lightgcn'"]),
            ("train data.macr --sampler user", 2, &["[possible values: user-uniform, interaction]"]),
            ("train data.macr --storage fp16", 2, &["[possible values: f32, f16, bf16]", "'f16'"]),
            ("train data.macr --catch-up reply", 2, &["'replay'"]),
            ("train data.macr --pairing columns", 2, &["[possible values: rows, all_pairs]"]),
            ("recommend run --data data.macr --seen tset", 2, &["'test'"]),
            ("recommend run --seen train --include-seen", 2, &["cannot be used with"]),
            ("train data.macr --select train", 2, &["valid", "test"]),
            ("evaluate run", 2, &["--data"]),
            ("evaluate run --data data.macr --c x", 2, &["'x'", "invalid float"]),
            ("evaluate run --data data.macr --k 0.5", 2, &["invalid digit"]),
            ("recommend run --data data.macr -k x", 2, &["invalid digit"]),
            ("inspect data.macr --threads 0", 2, &["1..=1024"]),
            ("inspect data.macr --threads 1000000", 2, &["--threads"]),
            ("split data.macr", 2, &["--out"]),
            ("split data.macr -o x.macr --kind rnadom", 2, &["random"]),
            ("split data.macr -o x.macr --test 0.1 --test-per-item 1", 2, &["cannot be used with"]),
            ("synth -o x.macr --preset adresa-like", 2, &["adressa-like"]),
            ("import a.csv -o x.macr --format cvs", 2, &["csv"]),
            ("doctor run", 2, &["unexpected argument"]),
        ],
    );
}

#[test]
fn settings() {
    let place = Place::with_run();
    place.write("bad.toml", "batchsize = 3\n");
    place.write("torn.toml", "dim = \n");
    place.write("type.toml", "dim = \"many\"\n");
    place.write("name.toml", "objective = \"mcar\"\n");
    place.write("batch.toml", "batch_size = 400\n");
    place.write("latin.toml", b"# \xe9t\xe9\n");
    table(
        &place,
        &[
            (
                "train data.macr --out new --batch-size 301",
                3,
                &["batch-size = 301", "only 300 users", "--batch-size 300 or less", "--sampler interaction"],
            ),
            ("train data.macr --out new --batch-size 0", 3, &["batch-size = 0", "at least 1"]),
            ("train data.macr --out new --k 81", 3, &["k = 81", "80 items", "from 1 to 80"]),
            ("train data.macr --out new --k 0", 3, &["k = 0", "at least 1"]),
            ("train data.macr --out new --c 1,nan", 3, &["c = 1,NaN: ", "finite"]),
            ("train data.macr --out new --tau inf", 3, &["tau = inf: ", "finite"]),
            ("train data.macr --out new --dim 5000", 3, &["dim = 5000", "at most 4096"]),
            ("train data.macr --out new --learning-rate 0", 3, &["learning-rate = 0", "positive"]),
            ("train data.macr --out new --l2 -1", 3, &["l2 = -1", "0 or more"]),
            ("train data.macr --out new --epochs 0", 3, &["epochs = 0", "1 or more"]),
            (
                "train data.macr --out new --negatives popularty:1",
                3,
                &["setting `negatives`: ", "`popularity:A`"],
            ),
            (
                "train data.macr --out new --config name.toml",
                3,
                &["unknown objective", "did you mean `macr`?"],
            ),
            ("train data.macr --out new --config batch.toml", 3, &["--batch-size 300 or less"]),
            ("train data.macr --out new --recipe macr_mg", 3, &["unknown recipe", "did you mean `macr_mf`?"]),
            ("train data.macr --out new --recipe adresa/mf", 3, &["unknown dataset", "`adressa`"]),
            ("train data.macr --out new --config no.toml", 3, &["no.toml", "check the path"]),
            ("train data.macr --out new --config bad.toml", 3, &["bad.toml", "did you mean `batch_size`?"]),
            ("train data.macr --out new --config torn.toml", 3, &["torn.toml", "line 1", "config.toml"]),
            (
                "train data.macr --out new --config type.toml",
                3,
                &["type.toml", "setting `dim`: invalid type"],
            ),
            ("train data.macr --out new --config latin.toml", 3, &["latin.toml: the file is not UTF-8 text"]),
            ("train data.macr --out run", 3, &["a run is there already", "--force"]),
            ("train data.macr --out data.macr", 3, &["this is a file", "--out"]),
            ("evaluate run --data data.macr --k 81", 3, &["k = 81", "from 1 to 80"]),
            ("evaluate run --data data.macr --k 0", 3, &["k = 0", "at least 1"]),
            ("evaluate run --data data.macr --c nan", 3, &["c = NaN", "finite"]),
            ("evaluate run --data data.macr --split train", 2, &["invalid value 'train'", "valid, test"]),
            ("recommend run --data data.macr -k 81", 3, &["k = 81", "from 1 to 80"]),
            ("recommend run --data data.macr -k 0", 3, &["k = 0", "from 1 to 80"]),
            ("recommend run --data data.macr --tau inf", 3, &["tau = inf", "finite"]),
            ("recommend run", 3, &["--data FILE", "--include-seen"]),
            ("split data.macr -o x.macr --test nan", 3, &["test = NaN", "0.1"]),
            (
                "split data.macr -o x.macr --test 0.6 --valid 0.6",
                3,
                &["test = 0.6 and valid = 0.6: nothing would be left", "lower --test"],
            ),
            ("split data.macr -o x.macr --kind temporal", 3, &["times", "another kind"]),
            ("split data.macr -o x.macr --kind random --test-per-item 1", 3, &["only uniform-item"]),
            ("split data.macr -o x.macr --from train", 3, &["valid split already", "--from all"]),
            ("split data.macr -o run", 3, &["macr: run: this is a folder"]),
            ("split data.macr -o no/x.macr", 3, &["macr: no/x.macr: its folder does not exist"]),
            ("split data.macr -o data.macr", 3, &["macr: data.macr: it holds other data", "--force"]),
            ("synth -o x.macr --users 0", 3, &["at least one user"]),
            ("synth -o x.macr --interactions 9", 3, &["interactions = 9", "every user"]),
            ("synth -o x.macr --conformity nan", 3, &["conformity = NaN", "up to 1"]),
        ],
    );
    // A setting that only a training can find wrong.
    let diverges = ["train", "data.macr", "--out", "new", "--learning-rate", "1e30"];
    place.fails(&[&diverges[..], QUICK].concat(), 1, &["loss became NaN in epoch 1", "--learning-rate"]);
    // An old run stays whole when what replaces it fails.
    let diverges = ["train", "data.macr", "--out", "run", "--force", "--learning-rate", "1e30"];
    place.fails(&[&diverges[..], QUICK].concat(), 1, &["loss became NaN in epoch 1"]);
}

#[test]
fn users() {
    let place = Place::with_run();
    place.write("users.txt", "1\n\n2\nnobody\n");
    place.write("none.txt", "\n\n");
    place.write("latin.txt", b"\xe9\n");
    table(
        &place,
        &[
            (
                "recommend run --data data.macr --users 1,300",
                3,
                &["unknown user `300`", "0 to 299", "--skip-unknown"],
            ),
            (
                "recommend run --data data.macr --users users.txt",
                3,
                &["users.txt:4: unknown user `nobody` (users are called 0 to 299); correct the id"],
            ),
            (
                "recommend run --data data.macr --users none.txt",
                3,
                &["no user is named", "leave --users out"],
            ),
            ("recommend run --data data.macr --users latin.txt", 3, &["latin.txt", "UTF-8"]),
            ("recommend run --data data.macr --users nofile.txt", 3, &["unknown user `nofile.txt`"]),
        ],
    );
    let skipped =
        ["recommend", "run", "--data", "data.macr", "--users", "users.txt", "-k1", "--skip-unknown"];
    assert_eq!(place.works(&skipped, &[]).lines().count(), 3);

    // Names instead of numbers: the nearest is told.
    place.write("named.csv", "user,item\nann,x\nbob,y\nann,y\nbob,z\n");
    place.works(&["import", "named.csv", "-o", "named.macr"], &["-q"]);
    let split = ["split", "named.macr", "-o", "named.macr", "--force", "--kind", "random", "--test", "0.3"];
    place.works(&split, &["--valid", "0"]);
    let train =
        ["train", "named.macr", "--out", "named", "--select", "test", "--batch-size", "1", "--k", "1"];
    place.works(&train, &["--epochs", "1", "-q"]);
    let ask = ["recommend", "named", "--include-seen", "-k1", "--users", "anne"];
    place.fails(&ask, 3, &["unknown user `anne` (did you mean `ann`?); correct the id"]);
    // None is near.
    let ask = ["recommend", "named", "--include-seen", "-k1", "--users", "bob,zed"];
    place.fails(&ask, 3, &["macr: unknown user `zed`; correct the id"]);
}

#[test]
fn data_that_does_not_fit() {
    let place = Place::with_run();
    for (file, users, items) in [("users.macr", "301", "80"), ("items.macr", "300", "81")] {
        place.works(&["synth", "-o", file, "--users", users, "--items", items], &SMALL[4..]);
        let words = format!("the model has 300 users and 80 items, the data has {users} and {items}");
        let words = [words.as_str(), "use the data that the model was trained on"];
        place.fails(&["evaluate", "run", "--data", file], 3, &words);
        place.fails(&["recommend", "run", "--data", file], 3, &words);
    }
    // One in the place of the other.
    let model = "this is a model, not interaction data; name a .macr file";
    place.fails(
        &["evaluate", "data.macr", "--data", "data.macr"],
        3,
        &["data.macr: this is interaction data", "run folder"],
    );
    place.fails(&["inspect", "run"], 3, &["run: ", model]);
    place.fails(
        &["evaluate", "run", "--data", "run/model.safetensors"],
        3,
        &["run/model.safetensors: ", model],
    );
    // The same counts, and other names: every list would be of somebody else.
    let lines: String = (0..300).map(|u| format!("u{u},i{}\n", u % 80)).collect();
    place.write("names.csv", format!("user,item\n{lines}"));
    place.works(&["import", "names.csv", "-o", "names.macr"], &["-q"]);
    let words = ["user 0 is `0` to the model and `u0` in names.macr", "in the same order"];
    place.fails(&["evaluate", "run", "--data", "names.macr"], 3, &words);
    place.fails(&["recommend", "run", "--data", "names.macr"], 3, &words);
}

#[test]
fn splits_that_are_missing() {
    let place = Place::empty();
    place.works(&["synth", "-o", "no-valid.macr"], SMALL);
    place.write("train.csv", "user,item\n1,1\n1,2\n2,1\n");
    place.works(&["train", "no-valid.macr", "--out", "run"], QUICK);
    table(
        &place,
        &[
            ("evaluate run --data no-valid.macr --split valid", 3, &["no valid interactions", "--split"]),
            (
                "train train.csv --out new --k 1 --select test",
                3,
                &["no test split", "macr split", "--select"],
            ),
            ("train train.csv --out new --k 1", 3, &["no valid split", "macr split", "--select"]),
        ],
    );
    // A report has no option for the split.
    place.works(&["synth", "-o", "no-test.macr", "--test-per-item", "0"], SMALL);
    let words = "the data has no test interactions; hold some out with `macr split`, as a test split\n";
    place.fails(&["report", "run", "--data", "no-test.macr"], 3, &[words]);
    place.works(&["import", "train.csv", "-o", "one.macr"], &["-q"]);
    place.fails(&["split", "one.macr", "-o", "one.macr"], 3, &["it holds other data", "--force"]);
    place.fails(&["synth", "-o", "train.csv"], 3, &["not a whole interaction file", "--force"]);
    place.fails(&["import", "train.csv", "-o", "train.csv"], 3, &["not a whole interaction file", "--force"]);
}

#[test]
fn odd_data_is_no_error() {
    let place = Place::empty();
    // Numbers that no 32-bit integer holds, a user without items, and an item that only the test split has.
    place.write("train.txt", "18446744073709551616 4294967296 1 2\n7\n4294967295 1 3\n8 2 3\n");
    place.write("test.txt", "8 99999999999\n");
    place.works(&["import", "train.txt", "test.txt", "-o", "odd.macr"], &["-q"]);
    let train = ["train", "odd.macr", "--out", "run", "--select", "test", "--k", "2", "--batch-size", "3"];
    place.works(&train, &["--epochs", "2", "-q"]);
    place.works(&["evaluate", "run", "--data", "odd.macr", "-k", "5"], &[]);
    let lists = place.works(&["recommend", "run", "--include-seen", "-k", "5"], &[]);
    for user in ["18446744073709551616", "7", "4294967295", "8"] {
        assert_eq!(lists.lines().filter(|line| line.starts_with(&format!("{user}\t"))).count(), 5, "{lists}");
    }
    for item in ["4294967296", "99999999999"] {
        assert!(lists.contains(&format!("7\t{item}\t")), "{lists}");
    }
}
