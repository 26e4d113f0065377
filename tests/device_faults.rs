//! Every entry point of the driver fails, early and late in a training: the command says so and ends with the exit code
//! of devices, and the run goes on from its last checkpoint to the same bits.
//!
//! `MACR_FAULTS=all` strikes more often: the usual errors at three places, and every error that the driver has once.
#![cfg(feature = "cuda")]

mod command;
mod emulator;

use std::{
    env, fs,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
};

use command::Place;

/// The usual ones, as the driver's header numbers them: out of memory, device unavailable, ECC, illegal address, launch failed, unknown.
const FAULTS: [u32; 6] = [2, 46, 214, 700, 719, 999];
/// All errors of the driver, from and to.
const EVERY: [(u32, u32); 16] = [
    (1, 8),
    (34, 34),
    (36, 36),
    (46, 46),
    (100, 102),
    (200, 202),
    (205, 226),
    (300, 304),
    (400, 402),
    (500, 500),
    (600, 600),
    (700, 705),
    (708, 721),
    (800, 812),
    (900, 916),
    (999, 999),
];

/// A folder with data, and the model that an undisturbed training on it gives.
struct Stage {
    place: Place,
    model: Vec<u8>,
}

const DATA: &[&str] =
    &["--users", "60", "--items", "24", "--interactions", "400", "--test-per-item", "1", "-q"];
const TRAIN: &[&str] = &[
    "train",
    "data.macr",
    "--objective",
    "macr",
    "--epochs",
    "3",
    "--eval-every",
    "1",
    "--dim",
    "4",
    "--k",
    "5",
    "--batch-size",
    "56",
    "--checkpoint-every",
    "1",
    "--device",
    "cuda",
    "-q",
    "--out",
];

impl Stage {
    /// Runs the command on the emulated device, with `more` in its environment. `None` where there is no such device.
    fn run(&self, arguments: &[&str], more: &[(&str, &str)]) -> Option<(Option<i32>, String)> {
        let mut command = self.place.command(arguments);
        if !emulator::equip(&mut command) {
            return None;
        }
        let output = command.envs(more.iter().copied()).output().unwrap();
        Some((output.status.code(), String::from_utf8(output.stderr).unwrap()))
    }

    /// Strikes the `n`-th call of an entry point. True if the command failed with a run that could be continued; `None`
    /// if there was no such call.
    fn strike(&self, entry: &str, n: u64, status: u32) -> Option<bool> {
        let fault = format!("{entry}:{n}:{status}");
        let run = format!("run-{entry}-{n}-{status}");
        let struck = self.place.path(&format!("{run}.struck"));
        let train = [TRAIN, &[&run]].concat();
        let more =
            [("MACR_EMULATOR_FAIL", fault.as_str()), ("MACR_EMULATOR_FAILED", struck.to_str().unwrap())];
        let (code, message) = self.run(&train, &more).unwrap();
        assert!(!message.contains("panicked"), "{fault}: {message}");
        // Letting go of what is no longer needed may fail unseen.
        assert!(
            code == Some(4) && message.contains("macr: ") || code == Some(0),
            "{fault}: {code:?}: {message}"
        );
        // A run appears with its first model, just before its first checkpoint.
        let checkpoints = fs::read_dir(self.place.path(&format!("{run}/checkpoints")));
        let begun = checkpoints.is_ok_and(|mut folder| folder.next().is_some());
        let again =
            if begun { vec!["train", "--resume", &run, "-q"] } else { [&train[..], &["--force"]].concat() };
        let (again, message) = self.run(&again, &[]).unwrap();
        assert_eq!(again, Some(0), "{fault}: again: {message}");
        assert!(self.place.read(&format!("{run}/model.safetensors")) == self.model, "{fault}: another model");
        fs::remove_dir_all(self.place.path(&run)).unwrap();
        struck.exists().then_some(begun && code == Some(4))
    }
}

#[test]
fn a_failing_device_ends_the_command_and_not_the_run() {
    let mut stage = Stage { place: Place::empty(), model: Vec::new() };
    stage.place.works(&["synth", "-o", "data.macr", "--seed", "3", "--valid-per-item", "1"], DATA);
    let calls = stage.place.path("calls");
    match stage.run(&[TRAIN, &["whole"]].concat(), &[("MACR_EMULATOR_CALLS", calls.to_str().unwrap())]) {
        None => return eprintln!("skipped: no C++ compiler, or a real GPU"),
        Some((code, message)) => assert_eq!(code, Some(0), "{message}"),
    }
    stage.model = stage.place.read("whole/model.safetensors");
    let text = fs::read_to_string(calls).unwrap();
    let calls: Vec<(&str, u64)> = text
        .lines()
        .map(|line| {
            let (entry, number) = line.split_once(' ').unwrap();
            (entry, number.parse().unwrap())
        })
        // These two only put errors into words.
        .filter(|(entry, _)| !entry.starts_with("cuGetError"))
        .collect();
    assert!(calls.len() > 25, "{calls:?}");
    let all = env::var("MACR_FAULTS").is_ok_and(|v| v == "all");
    let mut strikes: Vec<(&str, u64, u32)> = Vec::new();
    for (k, &(entry, number)) in calls.iter().enumerate() {
        let places = [number.div_ceil(2), number, 1];
        if all {
            let mut places = places.to_vec();
            places.sort_unstable();
            places.dedup();
            strikes.extend(places.iter().flat_map(|&n| FAULTS.map(|status| (entry, n, status))));
            let every = EVERY.iter().flat_map(|&(from, to)| from..=to).filter(|n| !FAULTS.contains(n));
            strikes.extend(every.map(|status| (entry, places[status as usize % places.len()], status)));
        } else {
            strikes.push((entry, places[k % 3], FAULTS[k % FAULTS.len()]));
        }
    }
    let [next, hit, kept] = [const { AtomicUsize::new(0) }; 3];
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(&(entry, n, status)) = strikes.get(next.fetch_add(1, Relaxed)) {
                    let Some(continued) = stage.strike(entry, n, status) else { continue };
                    hit.fetch_add(1, Relaxed);
                    kept.fetch_add(usize::from(continued), Relaxed);
                }
            });
        }
    });
    let (n, kept) = (hit.into_inner(), kept.into_inner());
    // How many calls there are depends on which checkpoints the clock lets through.
    assert!(10 * n >= 9 * strikes.len(), "{n} of {} struck", strikes.len());
    let points = calls.len();
    println!(
        "survived: {n} of {n} errors of the driver: a training, at {points} entry points; {kept} runs continued"
    );
    assert!(kept > 3, "{kept} runs continued");
}
