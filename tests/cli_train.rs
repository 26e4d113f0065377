//! `macr train`: what it says before it begins, what it records, how it ends when stopped.

mod command;

use std::process::{Command, Stdio};

use command::{Place, QUICK, SMALL};
use macr::Model;
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[test]
fn a_dry_run_counts_and_writes_nothing() {
    let place = Place::empty();
    place.works(&["synth", "-o", "data.macr", "--valid-per-item", "3"], SMALL);
    let before = place.files();
    let dry = ["train", "data.macr", "--dry-run", "--batch-size", "64", "--epochs", "5", "--out", "run"];
    let plan = json(&place.works(&dry, &["--json", "-q"]));
    let inspected = json(&place.works(&["inspect", "data.macr", "--json"], &[]));
    let train = inspected["splits"][0]["interactions"].as_u64().unwrap();
    assert_eq!(plan["interactions"], train);
    assert_eq!(plan["steps_per_epoch"], train / 64 + 1);
    assert_eq!(plan["samples"], 5 * 64 * (train / 64 + 1));
    assert_eq!((&plan["run"], &plan["config"]["batch_size"]), (&"run".into(), &64.into()));
    let parts = ["data", "tables", "batch", "sampler", "evaluation", "program"];
    let sum: u64 = parts.iter().map(|part| plan["memory"][part].as_u64().unwrap()).sum();
    assert_eq!(plan["memory"]["peak"], sum);
    let text = place.works(&dry, &["-q"]);
    for words in ["steps of an epoch", "tables and optimiser state", "batch_size = 64"] {
        assert!(text.contains(words), "{text}");
    }
    place.unchanged(&before, &dry);
}

/// Peak of the resident memory of a command, as the kernel counted it.
#[cfg(target_os = "linux")]
#[allow(clippy::zombie_processes)] // waited for by wait4, which also gives its usage
fn peak(command: &mut Command) -> u64 {
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: both pointers are to live variables of the types that wait4 fills; the child is ours and waited for once.
    let usage = unsafe {
        let waited = libc::wait4(child.id() as i32, &mut status, 0, usage.as_mut_ptr());
        assert_eq!(waited, child.id() as i32);
        usage.assume_init()
    };
    assert_eq!(status, 0);
    1024 * usage.ru_maxrss as u64
}

#[cfg(target_os = "linux")]
#[test]
fn the_memory_estimate_is_what_is_used() {
    let place = Place::empty();
    let sizes = ["--users", "60000", "--items", "20000", "--interactions", "800000", "-q"];
    place.works(&["synth", "-o", "data.macr", "--valid-per-item", "1"], &sizes);
    place.works(&["synth", "-o", "whole.macr"], &sizes);
    let tiny =
        ["--users", "8000", "--items", "5000", "--interactions", "45000", "--test-per-item", "2", "-q"];
    place.works(&["synth", "-o", "tiny.macr", "--valid-per-item", "1"], &tiny);
    let cases: [(&str, &[&str]); 5] = [
        ("data.macr", &["--dim", "128", "--batch-size", "8192"]),
        ("data.macr", &["--dim", "64", "--batch-size", "32768", "--objective", "macr", "--c", "0,10,20,30"]),
        // Not larger: steps may go on while a checkpoint is written, or not, and the estimate is for both at once.
        ("tiny.macr", &["--batch-size", "2048", "--objective", "macr", "--branch", "mlp:256"]),
        ("tiny.macr", &["--dim", "32", "--objective", "expomf"]),
        ("whole.macr", &["--dim", "32", "--batch-size", "2048", "--sampler", "interaction"]),
    ];
    for (data, settings) in cases {
        let fixed = [
            "train",
            data,
            "--out",
            "run",
            "--epochs",
            "2",
            "--eval-every",
            "1",
            "--threads",
            "2",
            "--force",
        ];
        let train = [&fixed[..], settings].concat();
        let estimate =
            json(&place.works(&train, &["--dry-run", "--json", "-q"]))["memory"]["peak"].as_f64().unwrap();
        let measured = peak(&mut place.command(&train)) as f64;
        println!("{settings:?}: estimated {estimate}, measured {measured}, {:.3}", estimate / measured);
        // A tenth: allocators, page tables and libraries differ between machines, and growing buffers round up.
        assert!(
            (estimate / measured - 1.0).abs() < 0.1,
            "{settings:?}: estimated {estimate}, measured {measured}"
        );
    }
}

#[test]
fn a_carved_validation_split_is_recorded_and_recognised() {
    let place = Place::empty();
    place.works(&["synth", "-o", "data.macr"], SMALL);
    place.works(&["train", "data.macr", "--out", "run", "--seed", "4"], QUICK);
    let inspected = json(&place.works(&["inspect", "data.macr", "--json"], &[]));
    let carved = Model::load(place.path("run")).unwrap().metadata.carved.unwrap();
    assert_eq!(carved.from, inspected["checksum"].as_str().unwrap());
    assert_eq!((carved.interactions, carved.seed), (360, 4));

    let remark = |data: &str| place.run(&["evaluate", "run", "--data", data]).err;
    let told = remark("data.macr");
    assert!(
        told.contains("before 360 of its training interactions were taken for validation (seed 4)"),
        "{told}"
    );
    assert!(!told.contains("not the file"), "{told}");
    // The very data that was trained on: nothing to say. The same split by the command, as the remark's numbers say.
    let split = ["split", "data.macr", "-o", "other.macr", "--from", "train", "--valid-per-item", "2"];
    place.works(&split, &["-q"]);
    assert!(remark("other.macr").contains("not the file that the model was trained on"));
    let train = ["train", "other.macr", "--out", "whole"];
    place.works(&train, QUICK);
    assert_eq!(Model::load(place.path("whole")).unwrap().metadata.carved, None);
    let told = place.run(&["evaluate", "whole", "--data", "other.macr"]).err;
    assert!(!told.contains("trained on"), "{told}");
    let lists = place.run(&["recommend", "run", "--data", "data.macr", "-k1"]);
    assert!(lists.err.contains("taken for validation"), "{}", lists.err);
}

#[test]
fn the_settings_of_a_run_train_it_again() {
    let place = Place::with_run();
    let config = ["train", "data.macr", "--config", "run/config.toml", "--out"];
    place.works(&config, &["again", "-q"]);
    assert_eq!(place.read("again/config.toml"), place.read("run/config.toml"));
    assert_eq!(place.read("again/model.safetensors"), place.read("run/model.safetensors"));
    // Flags have the last word.
    place.works(&config, &["changed", "--seed", "9", "-q"]);
    assert_ne!(place.read("changed/model.safetensors"), place.read("run/model.safetensors"));
}

#[test]
fn a_batch_that_nobody_asked_for_is_no_larger_than_can_be_drawn() {
    let place = Place::empty();
    place.works(&["synth", "-o", "data.macr", "--valid-per-item", "3"], SMALL);
    let quick = ["--eval-every", "1", "--dim", "8"];
    let run = |arguments: &[&str]| place.run(&[&["train", "data.macr"], arguments, &quick].concat());
    let short = run(&["--out", "short", "--epochs", "1"]);
    assert_eq!(short.code, Some(0), "{}", short.err);
    assert!(short.err.contains("batches of 300 rows instead of 1024"), "{}", short.err);
    let config = String::from_utf8(place.read("short/config.toml")).unwrap();
    assert!(config.contains("batch_size = 300\n"), "{config}");
    // The run goes on with what it began with, as one that was told so.
    place.works(&["train", "--resume", "short", "--epochs", "2"], &["-q"]);
    assert_eq!(run(&["--out", "whole", "--epochs", "2", "--batch-size", "300", "-q"]).err, "");
    assert_eq!(place.read("short/model.safetensors"), place.read("whole/model.safetensors"));
    assert_eq!(place.read("short/config.toml"), place.read("whole/config.toml"));
    for settings in ["--recipe mf", "--sampler interaction", "--objective expomf", "--negatives margin:9:4"] {
        let settings: Vec<&str> = settings.split(' ').collect();
        let plan = run(&[&settings[..], &["--dry-run", "--json", "-q"]].concat());
        let expected = match settings[1] {
            "mf" => 300,
            _ => 1024,
        };
        assert_eq!(json(&plan.out)["config"]["batch_size"], expected, "{settings:?}");
    }
}

#[test]
fn names_are_taken_with_either_dash() {
    let place = Place::empty();
    place.works(&["synth", "-o", "data.macr", "--valid-per-item", "3"], SMALL);
    let names = ["--objective", "macr", "--pairing", "all-pairs", "--sampler", "user_uniform"];
    let plan = place.works(&["train", "data.macr", "--dry-run", "--json"], &names);
    let config = &json(&plan)["config"];
    assert_eq!((&config["pairing"], &config["sampler"]), (&"all_pairs".into(), &"user-uniform".into()));
}

#[test]
fn the_doctor_reports() {
    let place = Place::empty();
    let report = json(&place.works(&["doctor", "--json", "--threads", "3"], &[]));
    assert_eq!(report["program"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(report["cpu"]["threads"], 3);
    let number = |section: &str, key: &str| report[section][key].as_u64().unwrap();
    assert!(number("memory", "available") <= number("memory", "total"));
    assert!(number("memory", "total") > 1 << 28);
    assert!(number("disk", "free") > 0);
    assert!(report["device"]["auto"].is_string() && report["gpu"].is_object());
    let text = place.works(&["doctor"], &[]);
    for words in ["Program\n", "CPU\n", "Memory\n", "GPU\n", "--device auto"] {
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn what_is_not_as_one_may_think_is_said() {
    let place = Place::empty();
    place.works(&["synth", "-o", "data.macr", "--valid-per-item", "3"], SMALL);
    let said = |more: &[&str]| {
        let quick = &["--epochs", "1", "--eval-every", "1", "--dim", "8", "--batch-size", "64"];
        let outcome =
            place.run(&[&["train", "data.macr", "--force", "--out", "run"], &quick[..], more].concat());
        assert_eq!(outcome.code, Some(0), "{more:?}: {}", outcome.err);
        outcome.err
    };
    for (more, words) in [
        (&["--alpha", "0.1"][..], "--alpha has no effect on mf"),
        (&["--objective", "bpr", "--eps-compat"], "--eps-compat has no effect on bpr_mf"),
        (&["--objective", "expomf", "--l2", "0.1"], "--l2 has no effect on expomf_mf"),
        (&["--layers", "3"], "--layers has no effect on mf"),
        (&["--c", "10"], "c has no effect on mf"),
        (&["--objective", "dice"], "--negatives margin:40:4"),
        (&["--objective", "macr"], "c = 0 ranks by the total effect"),
        (&["--select", "test"], "too high as a forecast"),
    ] {
        assert!(said(more).contains(words), "{more:?}: {}", said(more));
    }
    let used = said(&["--objective", "macr", "--alpha", "0.1", "--c", "1", "--l2", "0.1", "--eps-compat"]);
    assert!(!used.contains("no effect") && !used.contains("forecast"), "{used}");
    let evaluated = place.run(&["evaluate", "run", "--data", "data.macr", "--c", "0,1"]);
    assert!(evaluated.code == Some(0) && !evaluated.err.contains("no effect"), "{}", evaluated.err);
    let split =
        place.run(&["split", "data.macr", "--kind", "leave-one-out", "--from", "all", "-o", "new.macr"]);
    assert!(split.code == Some(0) && split.err.contains("no times"), "{:?}: {}", split.code, split.err);
}
