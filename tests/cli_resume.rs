//! A run that is stopped, or killed, and continued is the run that was not.
#![cfg(unix)]

mod command;

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use command::{Place, QUICK, SMALL};
use macr::{
    Model,
    objective::{self, EXPOMF},
};
use serde_json::Value;

/// A training of a second or two, in many short epochs.
const LONG: &[&str] =
    &["--epochs", "24", "--eval-every", "5", "--patience", "0", "--dim", "24", "--batch-size", "16"];

fn world() -> Place {
    let place = Place::empty();
    place.works(&["synth", "-o", "data.macr", "--seed", "3", "--valid-per-item", "3"], SMALL);
    place
}

/// The lines of a run's metrics without their times.
fn metrics(place: &Place, run: &str) -> Vec<Value> {
    let text = String::from_utf8(place.read(&format!("{run}/metrics.jsonl"))).unwrap();
    let line = |line: &str| {
        let mut value: Value = serde_json::from_str(line).unwrap();
        assert!(value.as_object_mut().unwrap().remove("seconds").is_some());
        value
    };
    text.lines().map(line).collect()
}

fn same_runs(place: &Place, a: &str, b: &str) {
    assert_eq!(metrics(place, a), metrics(place, b), "metrics of {a} and {b}");
    for file in ["model.safetensors", "config.toml", "ids.macr"] {
        assert!(
            place.read(&format!("{a}/{file}")) == place.read(&format!("{b}/{file}")),
            "{file} of {a} and {b}"
        );
    }
}

fn start(place: &Place, arguments: &[&str]) -> Child {
    place.command(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Waits until `path` exists.
fn wait_for(place: &Place, path: &str) {
    let start = Instant::now();
    while !place.path(path).exists() {
        assert!(start.elapsed() < Duration::from_secs(60), "{path} did not appear");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Names in a run folder.
fn names(place: &Place, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(place.path(folder)).unwrap();
    let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

const RUN: [&str; 5] = ["checkpoints", "config.toml", "ids.macr", "metrics.jsonl", "model.safetensors"];

/// Numbers that look random, from a seed.
fn random(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    }
}

#[test]
fn a_killed_run_is_continued_bit_for_bit() {
    let place = world();
    let mut pause = random(7);
    let mut kills = 0;
    // A short form: each objective once, on one of the backbones; more with MACR_ROUNDS.
    let rounds = std::env::var("MACR_ROUNDS").map_or(1, |n| n.parse().unwrap());
    for round in 0..rounds {
        let objectives = objective::REGISTRY.iter().map(|(objective, ..)| *objective).chain([EXPOMF]);
        for (k, objective) in objectives.enumerate() {
            let (whole, cut) = (format!("whole-{round}-{objective}"), format!("cut-{round}-{objective}"));
            let backbone = if objective == EXPOMF { "mf" } else { ["mf", "lightgcn"][(k + round) % 2] };
            let seed = round.to_string();
            let system = ["--objective", objective, "--backbone", backbone, "--seed", &seed, "--c", "0,20"];
            let train = |out| [&["train", "data.macr", "--out", out][..], &system, LONG].concat();
            place.works(&[&train(&whole)[..], &["--threads", "1", "-q"]].concat(), &[]);
            let mut arguments = [&train(&cut)[..], &["--checkpoint-every", "1", "--threads", "2"]].concat();
            for _ in 0..100 {
                let mut child = start(&place, &arguments);
                let patience = Instant::now() + Duration::from_millis(20 + pause(300));
                let ended = loop {
                    match child.try_wait().unwrap() {
                        None if Instant::now() < patience => thread::sleep(Duration::from_millis(1)),
                        ended => break ended,
                    }
                };
                match ended {
                    Some(status) => {
                        let output = child.wait_with_output().unwrap();
                        assert!(status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                        break;
                    }
                    None => {
                        child.kill().unwrap();
                        child.wait().unwrap();
                        kills += 1;
                    }
                }
                let begun = place.path(&format!("{cut}/config.toml")).exists();
                arguments = match begun {
                    // Now with one thread, now with three.
                    true => vec!["train", "--resume", &cut, "--threads", ["1", "3"][kills % 2]],
                    false => arguments,
                };
            }
            same_runs(&place, &whole, &cut);
            assert_eq!(names(&place, &cut), RUN);
        }
    }
    println!(
        "survived: {kills} of {kills} kills: trainings of every objective, to the bits of the undisturbed ones"
    );
}

#[test]
fn a_signal_puts_a_run_down() {
    let place = world();
    let long = [&["train", "data.macr"][..], LONG, &["--out"]].concat();
    place.works(&long, &["whole", "-q"]);
    for (name, run) in [("-INT", "int"), ("-TERM", "term")] {
        let child = start(&place, &[&long[..], &[run, "--checkpoint-every", "1"]].concat());
        wait_for(&place, &format!("{run}/model.safetensors"));
        signal(&child, name);
        let output = child.wait_with_output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(130), "{message}");
        assert!(message.contains(&format!("continue with `macr train --resume {run}`")), "{message}");
        assert_eq!(names(&place, run), RUN);
        place.works(&["evaluate", run, "--data", "data.macr"], &[]);
        place.works(&["train", "--resume", run, "-q"], &[]);
        same_runs(&place, "whole", run);
    }
}

#[test]
fn a_second_signal_ends_it_at_once_and_leaves_a_whole_run() {
    let place = world();
    place.works(&["train", "data.macr", "--out", "run"], QUICK);
    let again =
        ["train", "data.macr", "--out", "run", "--force", "--objective", "macr", "--checkpoint-every", "1"];
    let again = [&again[..], LONG].concat();
    let mut pause = random(11);
    for _ in 0..20 {
        let child = start(&place, &again);
        wait_for(&place, "run/.macr-lock");
        thread::sleep(Duration::from_millis(pause(60)));
        // Once or twice: which one the command sees when is left to chance.
        for _ in 0..2 {
            let _ =
                Command::new("kill").args(["-INT", &child.id().to_string()]).stderr(Stdio::null()).status();
        }
        let status = child.wait_with_output().unwrap().status;
        // It may not have been listening yet, or on a busy machine have been done.
        assert!(matches!(status.code(), Some(0 | 130)) || status.signal() == Some(2), "{status:?}");
        if place.path("run/model.safetensors").exists() || place.path("run/.macr-ready").exists() {
            let outcome = place.run(&["evaluate", "run", "--data", "data.macr"]);
            assert!(outcome.code == Some(0) || outcome.err.contains("--resume run"), "{}", outcome.err);
        } else {
            // The new run has no model yet.
            place.works(&["train", "--resume", "run", "-q"], &[]);
        }
    }
}

#[test]
fn a_run_without_a_model_says_so_and_can_be_continued() {
    let place = world();
    let long =
        ["train", "data.macr", "--epochs", "60", "--eval-every", "60", "--dim", "8", "--batch-size", "16"];
    place.works(&[&long[..], &["--out", "whole", "-q"]].concat(), &[]);
    let child = start(&place, &[&long[..], &["--out", "run", "--checkpoint-every", "1"]].concat());
    wait_for(&place, "run/config.toml");
    signal(&child, "-INT");
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
    assert_eq!(names(&place, "run"), RUN[..4]);
    place.fails(
        &["evaluate", "run", "--data", "data.macr"],
        3,
        &["no run/model.safetensors yet", "macr train --resume run"],
    );
    place.works(&["train", "--resume", "run", "-q"], &[]);
    same_runs(&place, "whole", "run");
}

#[test]
fn a_second_process_is_refused() {
    let place = world();
    let train =
        ["train", "data.macr", "--out", "run", "--eval-every", "1", "--dim", "8", "--batch-size", "64"];
    let endless = ["--checkpoint-every", "1", "--epochs", "1000000", "--patience", "0"];
    let mut child = start(&place, &[&train[..], &endless].concat());
    wait_for(&place, "run/config.toml");
    let holder = format!("process {} on ", child.id());
    for second in [&[&train[..], &["--force"]].concat()[..], &["train", "--resume", "run"]] {
        let outcome = place.run(second);
        assert_eq!(outcome.code, Some(3), "{}", outcome.err);
        assert!(outcome.err.contains(&holder), "{}", outcome.err);
    }
    // Using the model while it is trained is fine. A lock whose process was killed is none.
    wait_for(&place, "run/model.safetensors");
    place.works(&["evaluate", "run", "--data", "data.macr"], &[]);
    child.kill().unwrap();
    child.wait().unwrap();
    place.works(&train, &["--force", "--epochs", "1", "-q"]);
}

/// `run` of two epochs, with a checkpoint after each.
fn stopped() -> Place {
    let place = world();
    let quick = ["--eval-every", "1", "--dim", "8", "--batch-size", "64", "--keep-checkpoints", "5"];
    place.works(&["train", "data.macr", "--out", "run", "--epochs", "1", "-q"], &quick);
    place.works(&["train", "--resume", "run", "--epochs", "2", "-q"], &[]);
    place
}

#[test]
fn what_would_change_the_past_is_refused() {
    let place = stopped();
    let refused = |more: &[&str], words: &[&str]| {
        place.fails(&[&["train", "--resume", "run"], more].concat(), 3, words)
    };
    refused(&["--learning-rate", "0.5"], &["learning_rate = 0.5", "trained with 0.001"]);
    refused(&["--seed", "8"], &["seed = 8", "trained with 0"]);
    refused(&["--c", "0,7"], &["c = [0, 7]", "trained with [0]"]);
    refused(&["--objective", "macr"], &["objective = \"macr\"", "\"bce\""]);
    refused(&["--epochs", "1"], &["epochs = 1", "trained with 2", "2 epochs are done"]);
    place.fails(&["train", "--resume", "run", "--out", "other"], 2, &[]);
    place.fails(&["train"], 2, &[]);
    place.fails(&["train", "--resume", "nowhere"], 3, &["nowhere"]);
    place.works(&["synth", "-o", "other.macr", "--seed", "4", "--valid-per-item", "3"], SMALL);
    place.fails(&["train", "--resume", "run", "other.macr"], 3, &["checksum"]);
    let config = String::from_utf8(place.read("run/config.toml")).unwrap();
    place.write("run/config.toml", config.replace("dim = 8", "dim = 9"));
    refused(&[], &["dim = 9", "trained with 8"]);
    // Nor does its absence let a new run take the place of this one's checkpoints.
    fs::remove_file(place.path("run/config.toml")).unwrap();
    fs::rename(place.path("run/model.safetensors"), place.path("model")).unwrap();
    place.fails(&[&["train", "data.macr", "--out", "run"], QUICK].concat(), 3, &["a run is there already"]);
    fs::rename(place.path("model"), place.path("run/model.safetensors")).unwrap();
    place.write("run/config.toml", config);
    // What was given before may be given again.
    place.works(&["train", "--resume", "run", "--dim", "8", "--learning-rate", "0.001", "-q"], &[]);
}

#[test]
fn more_epochs_and_moved_data() {
    let place = stopped();
    let quick = ["--eval-every", "1", "--dim", "8", "--batch-size", "64"];
    place.works(&["train", "data.macr", "--out", "whole", "--epochs", "4", "-q"], &quick);
    fs::rename(place.path("data.macr"), place.path("moved.macr")).unwrap();
    place.fails(&["train", "--resume", "run", "--epochs", "4"], 3, &["data.macr"]);
    place.works(&["train", "--resume", "run", "moved.macr", "--epochs", "4", "-q"], &[]);
    same_runs(&place, "whole", "run");
}

#[test]
fn checkpoints_are_kept_as_asked_and_damage_is_found() {
    let place = stopped();
    let manifests = |run: &str| {
        let names = names(&place, &format!("{run}/checkpoints"));
        names.into_iter().filter(|name| name.ends_with(".json")).collect::<Vec<_>>()
    };
    let all = manifests("run");
    assert_eq!(all.len(), 2);
    for keep in ["1", "0"] {
        let train = [
            "train",
            "data.macr",
            "--out",
            "few",
            "--force",
            "--checkpoint-every",
            "1",
            "--keep-checkpoints",
            keep,
        ];
        place.works(&train, QUICK);
        match keep {
            "0" => assert_eq!(names(&place, "few"), RUN[1..]),
            _ => assert!(manifests("few").len() <= 2 && !manifests("few").is_empty()),
        }
    }
    // A file without its manifest is no checkpoint.
    place.write("run/checkpoints/step-999999999999.safetensors", "half");
    let resume = ["train", "--resume", "run", "--epochs", "4"];
    let newest = format!("run/checkpoints/{}", all[1]);
    let (manifest, state) = (place.read(&newest), newest.replace("json", "safetensors"));
    let bytes = place.read(&state);
    for place_of_change in [0, 9, 40, bytes.len() / 2, bytes.len() - 1] {
        let mut changed = bytes.clone();
        changed[place_of_change] ^= 1;
        place.write(&state, changed);
        place.fails(&resume, 3, &["damaged", "step-*.json"]);
    }
    place.write(&state, &bytes[..bytes.len() / 3]);
    place.fails(&resume, 3, &["damaged"]);
    place.write(&state, &bytes);
    for place_of_change in (0..manifest.len()).step_by(37) {
        let mut changed = manifest.clone();
        changed[place_of_change] ^= 4;
        place.write(&newest, changed);
        place.fails(&resume, 3, &["damaged"]);
    }
    // The one before is as good, only longer ago.
    fs::remove_file(place.path(&newest)).unwrap();
    place.works(&resume, &["-q"]);
    let quick = ["--eval-every", "1", "--dim", "8", "--batch-size", "64"];
    place.works(&["train", "data.macr", "--out", "whole", "--epochs", "4", "-q"], &quick);
    same_runs(&place, "whole", "run");
}

/// Settings of a training whose steps are so small that no evaluation is better than the first.
const STILL: &[&str] =
    &["--learning-rate", "1e-30", "--l2", "0", "--eval-every", "1", "--dim", "8", "--batch-size", "64", "-q"];

#[test]
fn patience_counts_what_was_waited_before_a_stop() {
    let place = world();
    let train = |out, epochs, patience| {
        let asked = ["train", "data.macr", "--out", out, "--epochs", epochs, "--patience", patience];
        place.works(&asked, STILL);
        metrics(&place, out).iter().filter(|line| line.get("loss").is_some()).count()
    };
    let resume = |run, more: &[&str]| {
        place.works(&["train", "--resume", run, "-q"], more);
        metrics(&place, run).iter().filter(|line| line.get("loss").is_some()).count()
    };
    assert_eq!(train("whole", "20", "4"), 5);
    // Put down when it has waited for two evaluations.
    for run in ["run", "less", "more", "without"] {
        assert_eq!(train(run, "3", "4"), 3);
    }
    for patience in ["1", "2"] {
        let words =
            [&format!("patience = {patience}: ")[..], "trained with 4", "it has waited for 2 evaluations"];
        place.fails(&["train", "--resume", "run", "--epochs", "20", "--patience", patience], 3, &words);
    }
    assert_eq!(resume("run", &["--epochs", "20"]), 5);
    same_runs(&place, "whole", "run");
    assert_eq!(resume("less", &["--epochs", "20", "--patience", "3"]), 4);
    assert_eq!(resume("more", &["--epochs", "20", "--patience", "6"]), 7);
    assert_eq!(resume("without", &["--epochs", "9", "--patience", "0"]), 9);
    // One that stopped goes on with more.
    assert_eq!(resume("less", &["--patience", "5"]), 6);
}

#[test]
fn the_checkpoint_of_the_best_epoch_is_kept_beside_the_last() {
    let place = world();
    let train = ["train", "data.macr", "--patience", "0", "--keep-checkpoints", "2"];
    place.works(&[&train[..], &["--out", "run", "--epochs", "1"], STILL].concat(), &[]);
    for epochs in ["2", "3", "4", "5", "6"] {
        place.works(&["train", "--resume", "run", "-q", "--epochs", epochs], &[]);
    }
    let files = names(&place, "run/checkpoints");
    let manifests: Vec<String> = files
        .iter()
        .filter(|name| name.ends_with(".json"))
        .map(|name| format!("run/checkpoints/{name}"))
        .collect();
    let epochs = manifests.iter().map(|name| {
        let manifest: Value = serde_json::from_slice(&place.read(name)).unwrap();
        manifest["checkpoint"]["progress"]["epochs"].as_u64().unwrap()
    });
    assert_eq!(epochs.collect::<Vec<_>>(), [1, 5, 6]);
    // Three states, and the model of the first epoch.
    assert_eq!((files.len(), &*files[0]), (7, "best-000001.safetensors"));
    assert!(place.read("run/checkpoints/best-000001.safetensors") == place.read("run/model.safetensors"));
    // It can be gone on from.
    for newer in &manifests[1..] {
        fs::remove_file(place.path(newer)).unwrap();
    }
    place.works(&["train", "--resume", "run", "-q", "--epochs", "6"], &[]);
    place.works(&[&train[..], &["--out", "whole", "--epochs", "6"], STILL].concat(), &[]);
    same_runs(&place, "whole", "run");
}

#[test]
fn a_new_run_appears_whole_whenever_it_is_looked_at() {
    let place = stopped();
    place.works(&["train", "data.macr", "--out", "new", "--objective", "macr"], QUICK);
    let parts = ["checkpoints", "model.safetensors", "ids.macr", "metrics.jsonl", "config.toml"];
    // The new run on its way into the old one's place, stopped after each of its files.
    for moved in 0..=parts.len() {
        let copy = format!("copy-{moved}");
        let copied = |from: &str, to: &str| {
            let done =
                Command::new("cp").arg("-r").arg(place.path(from)).arg(place.path(to)).status().unwrap();
            assert!(done.success());
        };
        copied("run", &copy);
        copied("new", &format!("{copy}/.macr-ready"));
        for part in &parts[..moved] {
            let to = place.path(&format!("{copy}/{part}"));
            if to.is_dir() {
                fs::remove_dir_all(&to).unwrap();
            }
            fs::rename(place.path(&format!("{copy}/.macr-ready/{part}")), to).unwrap();
        }
        place.works(&["evaluate", &copy, "--data", "data.macr"], &[]);
        same_runs(&place, "new", &copy);
        assert_eq!(names(&place, &copy), RUN);
        assert_eq!(Model::load(place.path(&copy)).unwrap().metadata.objective, "macr");
    }
}

#[test]
fn a_training_starts_from_another_run() {
    let place = Place::empty();
    let text = |users: std::ops::Range<u32>| -> String {
        let pairs = users.flat_map(|u| (0..8).map(move |k| (u, (u * 7 + k * k * (k + 3)) % 60)));
        pairs.map(|(u, i)| format!("u{u},i{i}\n")).collect()
    };
    place.write("old.csv", text(0..150));
    place.write("new.csv", text(30..200));
    let quick = ["--batch-size", "50", "--dim", "8", "--k", "5", "--eval-every", "1", "--objective", "macr"];
    place.works(&["train", "old.csv", "--out", "old", "--epochs", "6", "-q"], &quick);
    // A step so small that it changes no number: what is found is what was started from.
    let still = ["--epochs", "1", "--learning-rate", "1e-30", "--l2", "0", "--warm-start", "old"];
    let outcome = place.run(&[&["train", "new.csv", "--out", "new"][..], &still, &quick].concat());
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    assert!(
        outcome.err.contains("starting from old: it knows 120 of 170 users and 60 of 60 items"),
        "{}",
        outcome.err
    );
    let (old, new) = (Model::load(place.path("old")).unwrap(), Model::load(place.path("new")).unwrap());
    let ids = |run: &str| macr::model::load_ids(place.path(run)).unwrap().unwrap();
    let (old_ids, new_ids) = (ids("old"), ids("new"));
    let (index, dim) = (old_ids.user_ids().into_owned(), 8);
    let index = index.index();
    let row = |table: &[f32], k: u32| table[k as usize * dim..][..dim].to_vec();
    for user in 0..new_ids.users() {
        let known = index.get(&new_ids.user_ids().get(user));
        let own = row(&new.user_embedding, user);
        match known {
            Some(before) => assert_eq!(own, row(&old.user_embedding, before)),
            None => assert!(own.iter().all(|x| *x != 0.0) && own != row(&old.user_embedding, 0)),
        }
    }
    assert_eq!(old.item_branch, new.item_branch);
    let config = String::from_utf8(place.read("new/config.toml")).unwrap();
    assert!(config.starts_with("# started from \"old\"\n"), "{config}");
    place.works(&["train", "--resume", "new", "--epochs", "2", "-q"], &[]);
    assert!(place.read("new/config.toml").starts_with(b"# started"));
    let other = [
        "train",
        "new.csv",
        "--out",
        "other",
        "--warm-start",
        "old",
        "--dim",
        "9",
        "--batch-size",
        "50",
        "--k",
        "5",
    ];
    place.fails(&other, 3, &["rows have 8 columns, and this training's 9"]);
    place.write("strange.csv", text(0..150).replace('u', "x").replace('i', "y"));
    let other = [
        "train",
        "strange.csv",
        "--out",
        "other",
        "--warm-start",
        "old",
        "--dim",
        "8",
        "--batch-size",
        "50",
        "--k",
        "5",
    ];
    place.fails(&other, 3, &["knows none of the users and items"]);
}

#[test]
fn numbers_that_are_not_finite_are_found_and_the_run_is_kept() {
    let place = world();
    // Steps so large that the scores leave the finite numbers after some epochs.
    let train =
        ["train", "data.macr", "--out", "run", "--dim", "8", "--batch-size", "64", "--patience", "0", "-q"];
    let wild =
        ["--learning-rate", "5e16", "--l2", "0", "--objective", "bpr", "--checkpoint-minutes", "0.000001"];
    let outcome = place.run(&[&train[..], &wild].concat());
    assert_eq!(outcome.code, Some(1), "{}", outcome.err);
    for words in [
        "in epoch ",
        "row ",
        "user `",
        "is not finite",
        "lower --learning-rate (now 5",
        "saved before is kept",
    ] {
        assert!(outcome.err.contains(words), "no `{words}` in: {}", outcome.err);
    }
    // What is left is from before, and comes to the same end again.
    let again = place.run(&["train", "--resume", "run", "-q"]);
    assert_eq!((again.code, again.err), (Some(1), outcome.err));
}
