//! Commands that are killed (`kill -9`) at random moments, again and again: nothing that was there is lost, nothing
//! that is half written has a final name, and the last run of the command leaves what an undisturbed one leaves.
//!
//! `MACR_KILLS` is how many kills each command has to survive, `MACR_SEED` the seed of the moments.
#![cfg(unix)]

mod command;

use std::{
    env, fs,
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use command::{Place, SMALL};
use macr::Interactions;

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// Numbers that look random, from a seed: below 1.
fn random(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Runs the command and kills it after `patience`. True if it was not done by then.
fn killed(place: &Place, arguments: &[&str], patience: Duration) -> bool {
    let mut child = place.command(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let end = Instant::now() + patience;
    while Instant::now() < end {
        if child.try_wait().unwrap().is_some() {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
            return false;
        }
        thread::sleep(Duration::from_micros(500));
    }
    child.kill().unwrap();
    !child.wait().unwrap().success()
}

/// Kills `command` until it has survived as many kills as asked for, each time after a random part of the time that an
/// undisturbed run takes; `next` says what to run after a kill, and `look` looks at what is left.
fn survive<'a>(
    place: &Place,
    name: &str,
    command: &[&'a str],
    next: impl Fn() -> Vec<&'a str>,
    look: impl Fn(),
    done: impl Fn(),
) {
    let (seed, asked) = (number("MACR_SEED", 1), number("MACR_KILLS", 3));
    let start = Instant::now();
    place.works(command, &[]);
    let whole = start.elapsed();
    done();
    let (mut moment, mut kills, mut ends) = (random(seed), 0, 0);
    let mut arguments = command.to_vec();
    while kills < asked {
        if killed(place, &arguments, whole.mul_f64(moment())) {
            kills += 1;
            look();
            arguments = next();
        } else {
            // It came to its end between kills.
            ends += 1;
            done();
            arguments = command.to_vec();
        }
        assert!(ends < 10 * (asked + 5), "{name} is faster than it can be killed");
    }
    place.works(&arguments, &[]);
    done();
    println!("survived: {kills} of {kills} kills: {name} (seed {seed})");
}

fn no_rests(place: &Place) {
    for path in place.files().into_keys() {
        let name = path.file_name().unwrap().to_string_lossy();
        assert!(!name.starts_with(".macr-"), "{} is left over", path.display());
    }
}

fn remove(path: &Path) {
    if path.is_dir() {
        fs::remove_dir_all(path).unwrap()
    } else if path.exists() {
        fs::remove_file(path).unwrap()
    }
}

#[test]
fn an_import() {
    let place = Place::empty();
    let text: String = (0..60_000).map(|k| format!("user{},item{}\n", k % 7001, k * k % 1009)).collect();
    place.write("pairs.csv", text);
    let import = ["import", "pairs.csv", "-o", "new.macr", "-q"];
    place.works(&import, &[]);
    let new = place.path("new.macr");
    let whole = place.read("new.macr");
    remove(&new);
    let look = || assert!(!new.exists() || place.read("new.macr") == whole, "half a file");
    let done = || {
        look();
        no_rests(&place);
        remove(&new);
    };
    let next = || {
        remove(&new);
        import.to_vec()
    };
    survive(&place, "import", &import, next, look, done);
    // In the place of other data, which is there until the new is.
    place.works(&["synth", "-o", "old.macr", "--seed", "3"], SMALL);
    let old = place.read("old.macr");
    let put_old = || place.write("new.macr", &old);
    let import = [&import[..], &["--force"]].concat();
    let look = || {
        let now = place.read("new.macr");
        assert!(now == old || now == whole, "neither the old file nor the new one");
        Interactions::open(&new).unwrap();
    };
    put_old();
    let done = || {
        assert!(place.read("new.macr") == whole);
        no_rests(&place);
        put_old();
    };
    survive(&place, "import over another file", &import, || import.clone(), look, done);
}

#[test]
fn a_training_and_its_checkpoints() {
    let place = Place::empty();
    place.works(&["synth", "-o", "data.macr", "--seed", "3", "--valid-per-item", "3"], SMALL);
    let settings =
        ["--epochs", "16", "--eval-every", "3", "--patience", "0", "--dim", "24", "--batch-size", "32", "-q"];
    let train = |out| {
        [&["train", "data.macr", "--objective", "macr", "--c", "0,20", "--out", out][..], &settings].concat()
    };
    place.works(&train("whole"), &[]);
    let model = place.read("whole/model.safetensors");
    // Many checkpoints, or hardly any: then most kills meet steps and evaluations.
    for (name, every) in
        [("training, a checkpoint an epoch", "1"), ("training, no checkpoint before its end", "0")]
    {
        let run = place.path("run");
        let command = [&train("run")[..], &["--checkpoint-every", every]].concat();
        let look = || {
            if run.join("model.safetensors").exists() {
                place.works(&["evaluate", "run", "--data", "data.macr"], &[]);
            }
        };
        let continued = |folder: &str| {
            let names = fs::read_dir(run.join(folder)).into_iter().flatten().flatten();
            names.map(|entry| entry.path()).any(|path| path.extension() == Some("json".as_ref()))
        };
        let next = || match continued("checkpoints") || continued(".macr-ready/checkpoints") {
            true => vec!["train", "--resume", "run", "-q"],
            false => [&command[..], &["--force"]].concat(),
        };
        let done = || {
            assert!(place.read("run/model.safetensors") == model, "another model");
            no_rests(&place);
            remove(&run);
        };
        survive(&place, name, &command, next, look, done);
    }
}

#[test]
fn a_reproduction() {
    let place = Place::empty();
    place.works(&["synth", "-o", "world.macr", "--seed", "3"], SMALL);
    place.write("quick.toml", "dim = 8\nbatch_size = 64\nepochs = 6\neval_every = 1\n");
    let reproduce = [
        "reproduce",
        "table4",
        "--data",
        "world.macr",
        "--config",
        "quick.toml",
        "-o",
        "paper",
        "--device",
        "cpu",
        "-q",
    ];
    let mut whole = reproduce;
    whole[7] = "whole";
    place.works(&whole, &[]);
    let table = place.read("whole/table4.json");
    let paper = place.path("paper");
    let done = || {
        assert!(place.read("paper/table4.json") == table, "another table");
        no_rests(&place);
        remove(&paper);
    };
    let look = || {
        let there = paper.join("table4.json").exists();
        assert!(!there || place.read("paper/table4.json") == table, "half a table");
    };
    survive(&place, "reproduction of a table", &reproduce, || reproduce.to_vec(), look, done);
}
