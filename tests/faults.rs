//! Every file operation of every command fails once, once the process is killed there, and every piece of memory is
//! refused once: no earlier result is lost, no half-written file has a final name, and the next command does the rest.
//!
//! A small library, preloaded into the command, counts the operations on files of its folder and the pieces of memory;
//! nothing in the program knows of it. `MACR_FAULTS=all` strikes each; without it, of the longer commands every few.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

mod command;

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use command::{Place, QUICK, SMALL};

/// The library, or `None`, with the reason printed, where there is no C++ compiler.
fn shim() -> Option<PathBuf> {
    static SHIM: OnceLock<Option<PathBuf>> = OnceLock::new();
    SHIM.get_or_init(build).clone()
}

fn build() -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/shim.cpp");
    let hash = xxhash_rust::xxh3::xxh3_64(&fs::read(&source).unwrap());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let library = folder.join(format!("faults-{hash:016x}.so"));
    if library.exists() {
        return Some(library);
    }
    let partial = folder.join(format!("faults-{hash:016x}.{}", std::process::id()));
    let compiler = env::var("CXX").unwrap_or_else(|_| "c++".into());
    let mut compile = Command::new(&compiler);
    compile
        .args(["-std=c++17", "-O1", "-fPIC", "-shared", "-Wall", "-o"])
        .arg(&partial)
        .arg(&source)
        .arg("-ldl");
    match compile.output() {
        Err(error) => {
            eprintln!("skipped: no C++ compiler ({compiler}: {error})");
            None
        }
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            fs::rename(partial, &library).unwrap();
            Some(library)
        }
    }
}

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// What a command does, and which files it is to leave.
struct Scenario<'a> {
    arguments: Vec<&'a str>,
    /// What brings a place to the end after the command was struck.
    again: Vec<&'a str>,
    /// Files of the result; what holds times is left out.
    results: Vec<&'a str>,
    /// Every so many operations are struck in the short form.
    stride: usize,
}

/// Removes everything from a place and puts `files` in.
fn put_back(place: &Place, files: &Files) {
    for entry in fs::read_dir(place.path("")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }
    // In the order of their paths, a folder comes before what is in it.
    for (path, bytes) in files {
        let inside = files.keys().any(|other| other != path && other.starts_with(path));
        if inside || (bytes.is_empty() && path.extension().is_none()) {
            fs::create_dir_all(path).unwrap();
        } else {
            fs::write(path, bytes).unwrap();
        }
    }
}

fn is_left_over(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_str().unwrap().starts_with(".macr-"))
}

/// The command and what it is given, without what is the same in all.
fn named(scenario: &Scenario<'_>) -> String {
    let how = match () {
        () if scenario.arguments.contains(&"--force") => " over an earlier result",
        () if scenario.arguments.contains(&"--resume") => " --resume",
        () => "",
    };
    format!("macr {}{how}", scenario.arguments[0])
}

fn strike(place: &Place, shim: &Path, scenario: &Scenario<'_>) {
    let before = place.files();
    let end: Vec<Vec<u8>> = {
        place.works(&scenario.arguments, &[]);
        scenario.results.iter().map(|name| place.read(name)).collect()
    };
    let stride = if env::var("MACR_FAULTS").is_ok_and(|v| v == "all") { 1 } else { scenario.stride };
    let log = tempfile::tempdir().unwrap();
    let log = log.path().join("log");
    for kind in ["fail", "kill", "memory"] {
        let mut strikes = 0;
        for at in (1..).step_by(stride) {
            put_back(place, &before);
            let _ = fs::remove_file(&log);
            let mut command = place.command(&scenario.arguments);
            command.env("LD_PRELOAD", shim).env("MACR_FAULT_ROOT", place.path("").canonicalize().unwrap());
            command
                .env("MACR_FAULT_AT", at.to_string())
                .env("MACR_FAULT_KIND", kind)
                .env("MACR_FAULT_LOG", &log);
            let output = command.output().unwrap();
            let Ok(operation) = fs::read_to_string(&log) else { break };
            strikes += 1;
            let message = String::from_utf8(output.stderr).unwrap();
            let case = format!("{:?}, {kind} {at}: {}: {message}", scenario.arguments, operation.trim());
            assert!(!message.contains("panicked"), "{case}");
            let code = output.status.code();
            match kind {
                "kill" => assert_eq!(code, None, "{case}"),
                _ => {
                    assert!(matches!(code, Some(0 | 1 | 3)), "{code:?}: {case}");
                    assert!(code == Some(0) || message.contains("macr: "), "{case}");
                }
            }
            let after = place.files();
            // What the command does not write is as it was.
            for (path, bytes) in &before {
                let written = scenario
                    .results
                    .iter()
                    .any(|name| path.starts_with(place.path(name.split('/').next().unwrap())));
                assert!(written || after.get(path) == Some(bytes), "{case}: {} changed", path.display());
            }
            // What it writes is not there, as it was, or whole.
            for (name, whole) in scenario.results.iter().zip(&end) {
                let now = after.get(&place.path(name));
                let old = before.get(&place.path(name));
                let intact = now.is_none() || now == old || now == Some(whole);
                // A run that trains has its best model so far, which its reader checks.
                // A table is made of the trainings that did not fail.
                let fewer = kind != "kill" && name.starts_with("paper/") && code != Some(0);
                let other = name.ends_with("model.safetensors") || fewer;
                assert!(intact || other, "{case}: {name} is half written");
                assert!(old.is_none() || now.is_some(), "{case}: {name} is gone");
            }
            // Without memory the process ends at once, and the next command cleans.
            let cleaning = ["unlink", "rmdir"].iter().any(|name| operation.starts_with(name));
            if kind == "fail" && !cleaning {
                // A run that was complete, and about to appear, is no rest.
                let rest = |path: &&PathBuf| is_left_over(path) && !path.ends_with(".macr-ready");
                let left: Vec<_> = after.keys().filter(rest).collect();
                assert!(left.is_empty(), "{case}: {left:?} left over");
            }
            if code == Some(0) {
                for (name, whole) in scenario.results.iter().zip(&end) {
                    assert!(place.read(name) == *whole, "{case}: {name} is another");
                }
            }
            // The next command does the rest.
            let begun = ["run/config.toml", "run/.macr-ready"].iter().any(|name| place.path(name).exists());
            let resumable = begun && !before.contains_key(&place.path("run"));
            let again = if resumable { &scenario.again } else { &scenario.arguments };
            let mut outcome = place.run(again);
            if outcome.err.contains("has no checkpoint") {
                outcome = place.run(&[&scenario.arguments[..], &["--force"]].concat());
            }
            assert_eq!(outcome.code, Some(0), "{case}: again: {}", outcome.err);
            for (name, whole) in scenario.results.iter().zip(&end) {
                assert!(place.read(name) == *whole, "{case}: {name} is another after all");
            }
            let left: Vec<_> = place.files().into_keys().filter(|path| is_left_over(path)).collect();
            assert!(left.is_empty(), "{case}: {left:?} left over after all");
        }
        let what = match kind {
            "fail" => "file operations that failed",
            "kill" => "file operations that were the last",
            _ => "pieces of memory that were refused",
        };
        println!("survived: {strikes} of {strikes} {what}: {}", named(scenario));
        assert!(strikes > 2);
    }
    put_back(place, &before);
}

#[test]
fn imports_splits_and_lists() {
    let Some(shim) = shim() else { return };
    let place = Place::with_run();
    let lines: String = (0..300).map(|k| format!("user{},item{}\n", k % 40, k % 37)).collect();
    place.write("pairs.csv", lines);
    let one = |arguments: &[&'static str], result: &'static str| Scenario {
        arguments: arguments.to_vec(),
        again: arguments.to_vec(),
        results: vec![result],
        stride: 1,
    };
    for scenario in [
        one(&["import", "pairs.csv", "-o", "new.macr", "-q"], "new.macr"),
        one(&["import", "pairs.csv", "-o", "data.macr", "--force", "-q"], "data.macr"),
        one(&["split", "pairs.csv", "-o", "new.macr", "--test-per-item", "1", "-q"], "new.macr"),
        one(&["recommend", "run", "--data", "data.macr", "-k1", "-o", "lists.tsv", "-q"], "lists.tsv"),
        one(
            &["synth", "-o", "new.macr", "--users", "90", "--items", "40", "--interactions", "900", "-q"],
            "new.macr",
        ),
    ] {
        strike(&place, &shim, &scenario);
    }
}

#[test]
fn reproductions() {
    let Some(shim) = shim() else { return };
    let place = Place::empty();
    place.works(&["synth", "-o", "world.macr", "--seed", "3"], SMALL);
    place.write("quick.toml", "dim = 8\nbatch_size = 64\nepochs = 2\neval_every = 1\n");
    let options = ["--config", "quick.toml", "-o", "paper", "--device", "cpu", "--threads", "1", "-q"];
    let arguments = [&["reproduce", "table4", "--data", "world.macr"], &options[..]].concat();
    let results = vec!["paper/table4.json", "paper/table4.md", "paper/table4.csv", "paper/table4.tex"];
    strike(&place, &shim, &Scenario { again: arguments.clone(), arguments, results, stride: 29 });
}

#[test]
fn evaluations() {
    let Some(shim) = shim() else { return };
    let place = Place::with_run();
    let before = place.files();
    let log = tempfile::tempdir().unwrap();
    for (kind, what) in
        [("fail", "file operations that failed"), ("memory", "pieces of memory that were refused")]
    {
        let mut strikes = 0;
        for at in 1.. {
            let log = log.path().join(format!("{kind}-{at}"));
            let mut command = place.command(&["evaluate", "run", "--data", "data.macr"]);
            command.env("LD_PRELOAD", &shim).env("MACR_FAULT_ROOT", place.path("").canonicalize().unwrap());
            command.env("MACR_FAULT_AT", at.to_string()).env("MACR_FAULT_LOG", &log);
            let output = command.env("MACR_FAULT_KIND", kind).output().unwrap();
            let Ok(operation) = fs::read_to_string(&log) else { break };
            let message = String::from_utf8(output.stderr).unwrap();
            assert!(matches!(output.status.code(), Some(0 | 1 | 3)), "{operation} {at}: {message}");
            assert!(output.status.success() || message.contains("macr: "), "{operation} {at}: {message}");
            assert!(!message.contains("panicked"), "{operation} {at}: {message}");
            place.unchanged(&before, &[&operation]);
            strikes += 1;
        }
        println!("survived: {strikes} of {strikes} {what}: macr evaluate");
    }
}

#[test]
fn trainings() {
    let Some(shim) = shim() else { return };
    let place = Place::empty();
    place.works(&["synth", "-o", "data.macr", "--seed", "3", "--valid-per-item", "3"], SMALL);
    let results = vec!["run/model.safetensors", "run/ids.macr"];
    let train = ["train", "data.macr", "--out", "run", "--checkpoint-every", "1"];
    let again = vec!["train", "--resume", "run", "-q"];
    let new = Scenario { arguments: [&train[..], QUICK].concat(), again, results, stride: 3 };
    strike(&place, &shim, &new);
    // In the place of another run, which is there until the new one is.
    place.works(&train[..4], QUICK);
    let go_on = vec!["train", "--resume", "run", "--epochs", "4", "-q"];
    strike(
        &place,
        &shim,
        &Scenario { arguments: go_on.clone(), again: go_on, results: new.results.clone(), ..new },
    );
    let replace = Scenario {
        arguments: [&new.arguments[..], &["--force", "--objective", "bpr"]].concat(),
        again: Vec::new(),
        stride: 5,
        ..new
    };
    strike(&place, &shim, &replace);
}
