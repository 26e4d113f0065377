//! Whatever a training on the device asks memory for may not be there: the error says what it was for.
#![cfg(feature = "cuda")]

mod command;
mod emulator;
mod trainings;

use std::{env, fs};

use command::Place;
use macr::{
    Config, Error, Split, Trainer,
    backbone::{Backbone, Propagation},
    device::Resolved,
    objective::{BranchKind, Pairing},
};

#[test]
fn every_allocation_of_a_training_may_fail() {
    let Some(device) = emulator::device() else { return };
    if !emulator::refuse_allocation(0) {
        return eprintln!("skipped: a GPU refuses no memory that it has");
    }
    let data = trainings::split(40, 24, 6);
    let base = Config {
        objective: "macr".into(),
        c: vec![0.0, 1.0],
        batch_size: 16,
        dim: 4,
        k: 5,
        epochs: 1,
        select: Split::Test,
        ..Config::default()
    };
    let lightgcn =
        |propagation| Config { backbone: Backbone::LightGcn, layers: 2, propagation, ..base.clone() };
    for config in [
        base.clone(),
        Config { branch: BranchKind::Mlp(3), pairing: Pairing::AllPairs, ..base.clone() },
        lightgcn(Propagation::Layers),
        lightgcn(Propagation::Gram),
    ] {
        let resolved = Resolved::Cuda(device.clone());
        let fit = || Trainer::on(&resolved, &data, config.clone())?.fit(&mut ());
        fit().unwrap();
        device.synchronize().unwrap();
        let before = device.free_memory().unwrap();
        let mut refused = 0;
        loop {
            emulator::refuse_allocation(refused + 1);
            let error = match fit() {
                Ok(_) => break,
                Err(error) => error,
            };
            refused += 1;
            let Error::DeviceMemory { what, asked, free, lower } = &error else {
                panic!("allocation {refused}: {error}")
            };
            assert!(*asked > 0 && *free > 0 && !what.is_empty() && !lower.is_empty(), "{error}");
            let words = error.to_string();
            assert!(words.contains(what) && words.contains(lower), "{words}");
            // Nothing stays behind.
            device.synchronize().unwrap();
            assert_eq!(device.free_memory().unwrap(), before, "after allocation {refused}: {what}");
        }
        emulator::refuse_allocation(0);
        assert!(refused > 60, "only {refused} allocations were seen");
    }
}

/// The command on an emulated device with so many bytes of memory: exit code, standard output and error, and how often
/// a kernel was launched.
fn emulated(place: &Place, bytes: u64, arguments: &[&str]) -> (Option<i32>, String, String, u64) {
    let calls = place.path("calls");
    let mut command = place.command(arguments);
    assert!(emulator::equip(&mut command));
    command.env("MACR_EMULATOR_MEMORY", bytes.to_string()).env("MACR_EMULATOR_CALLS", &calls);
    let output = command.output().unwrap();
    let counts = fs::read_to_string(&calls).unwrap_or_default();
    let _ = fs::remove_file(calls);
    let launches = counts
        .lines()
        .filter_map(|line| line.strip_prefix("cuLaunchKernel "))
        .map(|n| n.parse::<u64>().unwrap());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr), launches.sum())
}

#[test]
fn a_training_that_does_not_fit_is_refused_before_its_first_step() {
    let place = Place::empty();
    if !emulator::equip(&mut place.command(&[])) {
        return eprintln!("skipped: no C++ compiler, or a real GPU");
    }
    let sizes = ["--users", "900", "--items", "300", "--interactions", "3000", "--valid-per-item", "1", "-q"];
    place.works(&["synth", "-o", "data.macr", "--seed", "3"], &sizes);
    let lightgcn = ["--backbone", "lightgcn", "--layers", "2", "--propagation"];
    for more in [
        &["--objective", "macr"][..],
        // More rankings than one pass makes, in long lists.
        &["--objective", "macr", "--c", "0,1,2,3,4,5,6,7,8,9,10", "--tau", "0,0.5,1", "--k", "150"],
        &["--objective", "macr", "--branch", "mlp:8"],
        &[&["--objective", "macr"], &lightgcn[..], &["layers"]].concat(),
        &[&["--objective", "bce"], &lightgcn[..], &["gram"]].concat(),
        &["--objective", "expomf"],
    ] {
        let train = |folder: &'static str, device: &'static str| {
            let settings =
                ["--dim", "48", "--batch-size", "256", "--epochs", "1", "--eval-every", "1", "--out"];
            [&["train", "data.macr"][..], &settings, &[folder, "--device", device], more].concat()
        };
        let (code, plan, said, _) =
            emulated(&place, 1 << 30, &[&train("run", "cuda")[..], &["--dry-run", "--json"]].concat());
        assert_eq!(code, Some(0), "{more:?}: {said}");
        let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
        let need = plan["gpu_memory"].as_u64().unwrap();
        let before = place.files();

        let (code, _, said, launches) = emulated(&place, need - 1, &train("run", "cuda"));
        assert_eq!((code, launches), (Some(4), 0), "{more:?}: {said}");
        let mebibytes = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
        for words in [
            "the GPU has too little memory for ".to_owned(),
            format!("{} are needed, ", mebibytes(need)),
            format!("{} are free; lower --dim", mebibytes(need - 1)),
        ] {
            assert!(said.contains(&words), "{more:?}: no `{words}` in: {said}");
        }
        place.unchanged(&before, &train("run", "cuda"));

        // By itself the program takes the CPU then, and says why.
        let (code, _, said, launches) = emulated(&place, need - 1, &train("on-cpu", "auto"));
        assert_eq!((code, launches), (Some(0), 0), "{more:?}: {said}");
        assert!(said.contains("the CPU, since the GPU cannot be used for this"), "{more:?}: {said}");

        let (code, _, said, launches) = emulated(&place, need, &train("on-gpu", "cuda"));
        assert!(code == Some(0) && launches > 0, "{more:?}: {launches} launches: {said}");

        // Lists, for which there is too little: the error names what is asked for and what is free.
        let lists =
            ["recommend", "on-gpu", "--data", "data.macr", "--device", "cuda", "-o", "lists.tsv", "-q"];
        let (code, _, said, _) = emulated(&place, 100_000, &lists);
        assert!(
            code == Some(4) && said.contains(" are needed, ") && said.contains(" are free"),
            "{more:?}: {said}"
        );
        assert!(!place.path("lists.tsv").exists(), "{more:?}");
        for folder in ["on-cpu", "on-gpu"] {
            fs::remove_dir_all(place.path(folder)).unwrap();
        }
    }
}

/// A training on a GPU has models, tables on their way and checkpoints in the host's memory.
#[cfg(target_os = "linux")]
#[test]
fn a_training_on_a_gpu_is_refused_where_the_host_has_too_little_memory() {
    let place = Place::empty();
    if !emulator::equip(&mut place.command(&[])) {
        return eprintln!("skipped: no C++ compiler, or a real GPU");
    }
    if env::var_os("MACR_EMULATOR_SANITIZE").is_some() {
        return eprintln!("skipped: a sanitizer's own addresses are more than any limit");
    }
    let sizes =
        ["--users", "9000", "--items", "300", "--interactions", "30000", "--valid-per-item", "1", "-q"];
    place.works(&["synth", "-o", "data.macr"], &sizes);
    let train = ["train", "data.macr", "--dim", "512", "--device", "cuda", "--out", "run"];
    let (code, plan, said, _) = emulated(&place, 1 << 30, &[&train[..], &["--dry-run", "--json"]].concat());
    assert_eq!(code, Some(0), "{said}");
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    let [need, on_cpu] = ["beside_gpu", "peak"].map(|key| plan["memory"][key].as_u64().unwrap());
    // Two models, at least; but no moments of Adam beside them, except in a checkpoint.
    let model = 4 * (9000 + 300) * 512;
    assert!(need > 2 * model && need < on_cpu, "{need} of the host, {on_cpu} on the CPU");

    // The least that the plan is made in is too little for the training.
    let limited = |kibibytes: u64, more: &[&str]| {
        let mut command = place.limited(kibibytes, &[&train[..], more].concat());
        assert!(emulator::equip(&mut command));
        command.output().unwrap()
    };
    let least = (1..200)
        .map(|k| k << 13)
        .find(|&limit| limited(limit, &["--dry-run", "--threads", "1"]).status.success())
        .unwrap();
    let output = limited(least, &["--threads", "1"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("the training needs about ") && said.contains("(ulimit -v)"), "{said}");
    assert!(!place.path("run").exists());
}
