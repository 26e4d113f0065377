//! A training that was put down and taken up again gives the same bits as one that was not.
#![cfg(feature = "cuda")]

mod emulator;
mod parameters;
mod trainings;

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{Mutex, PoisonError},
};

use macr::{
    Checkpoint, Config, Edges, Error, Interactions, InteractionsBuilder, Model, Observer, Result, Split,
    Trainer,
    backbone::{Backbone, Form, LightGcn},
    backend::{
        Backend, Losses, Settings, State,
        cpu::Cpu,
        cuda::{Cuda, Device},
    },
    device::Resolved,
    objective::{self, BranchInput, BranchKind, EXPOMF, Pairing},
    optim::{Adam, CatchUp},
    sampling::{Negatives, Sampler, SamplerKind},
    storage::Storage,
    train::{
        Epoch, Evaluated,
        sequence::{minibatch, propagated_minibatch},
    },
};
use parameters::{close, flat};

const SIZE: (u32, u32) = (300, 97);

fn world() -> Interactions {
    let pairs =
        (0..SIZE.0).flat_map(|u| (0..2 + u % 9).map(move |k| (u, (u * 7 + k * k * (k + 3)) % SIZE.1)));
    InteractionsBuilder::new(SIZE.0, SIZE.1).split(Split::Train, Edges::from_pairs(pairs)).build().unwrap()
}

#[derive(Debug, Clone, Copy)]
struct Case {
    objective: &'static str,
    pairing: Pairing,
    kind: SamplerKind,
    lightgcn: Option<LightGcn>,
    branch: BranchKind,
    branch_input: BranchInput,
    catch_up: CatchUp,
    dim: usize,
    storage: Storage,
}

/// Every objective on every backbone; between them, every other setting that has state of its own.
fn cases() -> Vec<Case> {
    let backbones = [
        None,
        Some(LightGcn { layers: 3, form: Form::Layers }),
        Some(LightGcn { layers: 2, form: Form::Gram }),
    ];
    let mut cases = Vec::new();
    for (k, (objective, ..)) in objective::REGISTRY.iter().enumerate() {
        for (b, lightgcn) in backbones.into_iter().enumerate() {
            let base = Case {
                objective,
                pairing: if b == 1 { Pairing::AllPairs } else { Pairing::Rows },
                kind: [SamplerKind::UserUniform, SamplerKind::Interaction][(k + b) % 2],
                lightgcn,
                branch: BranchKind::Linear,
                branch_input: BranchInput::Propagated,
                catch_up: if b == 2 { CatchUp::Replay } else { CatchUp::Quadrature },
                dim: [6, 16, 34][(k + b) % 3],
                storage: Storage::F32,
            };
            cases.push(base);
            cases.push(Case { storage: [Storage::F16, Storage::Bf16][(k + b) % 2], ..base });
            if lightgcn.is_some() && *objective == "macr" {
                cases.push(Case { branch_input: BranchInput::Ego, ..base });
                cases.push(Case { branch_input: BranchInput::Ego, storage: Storage::F16, ..base });
            }
            if lightgcn.is_none() {
                cases.push(Case { pairing: Pairing::AllPairs, catch_up: CatchUp::Replay, ..base });
                cases.push(Case { branch: BranchKind::Mlp(5), ..base });
            }
        }
    }
    cases
}

impl Case {
    fn config(&self) -> Config {
        Config { objective: self.objective.into(), alpha: 1e-2, pairing: self.pairing, ..Config::default() }
    }

    fn sampler<'a>(&self, data: &'a Interactions) -> Sampler<'a> {
        Sampler::new(data, self.kind, Negatives::Popularity(0.5), 70, 3).unwrap()
    }

    /// A training at its first step.
    fn begin<'a>(&self, data: &'a Interactions, device: Option<&Device>) -> Box<dyn Backend + 'a> {
        let &Case { lightgcn, branch, branch_input, catch_up, dim, storage, .. } = self;
        let (adam, l2, seed) = (Adam::default(), 1e-4, 3);
        let settings = Settings { dim, storage, lightgcn, adam, catch_up, branch, branch_input, l2, seed };
        let sampler = self.sampler(data);
        let objective = objective::build(&self.config(), &sampler).unwrap();
        match device {
            None => Box::new(Cpu::new(SIZE, sampler, objective, settings).unwrap()),
            Some(device) => Box::new(Cuda::new(device, SIZE, sampler, objective.as_ref(), settings).unwrap()),
        }
    }

    fn advance(&self, engine: &mut dyn Backend, steps: u64, losses: &mut Losses) {
        let sequence = if self.lightgcn.is_some() { propagated_minibatch } else { minibatch };
        engine.advance(steps, &sequence, losses).unwrap();
    }
}

fn on_threads<T: Send>(threads: usize, f: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(f)
}

/// `steps` and `more` steps, once in one go and once from a state that was put into a fresh training between them.
fn same_bits(case: Case, data: &Interactions, device: Option<&Device>, [steps, more]: [u64; 2]) {
    let whole = || {
        let (mut engine, mut losses) = (case.begin(data, device), Losses::default());
        case.advance(&mut *engine, steps + more, &mut losses);
        (engine.state().unwrap(), engine.parameters().unwrap(), losses)
    };
    let before = || -> (State, Losses) {
        let (mut engine, mut losses) = (case.begin(data, device), Losses::default());
        case.advance(&mut *engine, steps, &mut losses);
        (engine.state().unwrap(), losses)
    };
    let after = |(state, mut losses): (State, Losses)| {
        let mut engine = case.begin(data, device);
        // What a training has drawn ahead must not outlive its state.
        if steps % 2 == 1 {
            case.advance(&mut *engine, 3, &mut Losses::default());
        }
        engine.restore(&state).unwrap();
        assert!(engine.state().unwrap() == state, "{case:?}: another state than was put in");
        case.advance(&mut *engine, more, &mut losses);
        (engine.state().unwrap(), engine.parameters().unwrap(), losses)
    };
    let whole = on_threads(2, whole);
    let (state, parameters, losses) = on_threads(1, || after(on_threads(3, before)));
    assert_eq!(whole.2.map(f64::to_bits), losses.map(f64::to_bits), "{case:?}, {steps} + {more}: losses");
    assert_eq!(state.step, steps + more);
    for (whole, part) in whole.0.tensors.iter().zip(&state.tensors) {
        assert!(whole == part, "{case:?}, {steps} + {more}: {} differs", whole.name);
    }
    assert!(whole.1 == parameters, "{case:?}, {steps} + {more}: parameters differ");
}

#[test]
fn the_cpu_goes_on_with_the_same_bits() {
    let data = world();
    for case in cases() {
        for lengths in [[0, 20], [1, 19], [16, 24], [37, 30]] {
            same_bits(case, &data, None, lengths);
        }
    }
}

/// Held by each test of the device, whose memory they share.
static DEVICE: Mutex<()> = Mutex::new(());

#[test]
fn a_gpu_goes_on_with_the_same_bits() {
    let _alone = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(device) = emulator::device() else { return };
    let data = world();
    for case in cases() {
        same_bits(case, &data, Some(&device), [5, 6]);
    }
}

#[test]
fn states_move_between_backends() {
    let _alone = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(device) = emulator::device() else { return };
    let data = world();
    for case in cases() {
        for [from, to] in [[None, Some(&device)], [Some(&device), None]] {
            let mut first = case.begin(&data, from);
            case.advance(&mut *first, 9, &mut Losses::default());
            let state = first.state().unwrap();
            let mut second = case.begin(&data, to);
            second.restore(&state).unwrap();
            assert!(second.state().unwrap() == state, "{case:?}: changed by the move");
            for engine in [&mut first, &mut second] {
                case.advance(&mut **engine, 5, &mut Losses::default());
            }
            let [here, there] = [first, second].map(|mut engine| flat(&engine.parameters().unwrap()));
            close(case.storage, &here, &there, 2e-5, &format!("{case:?}"));
        }
    }
}

#[test]
fn a_state_of_another_training_is_refused() {
    let data = world();
    let base = Case { objective: "macr", ..cases()[0] };
    let state = base.begin(&data, None).state().unwrap();
    for other in [
        Case { dim: base.dim + 1, ..base },
        Case { objective: "bce", ..base },
        Case { branch: BranchKind::Mlp(2), ..base },
    ] {
        let error = other.begin(&data, None).restore(&state).unwrap_err().to_string();
        assert!(error.contains("another training"), "{error}");
    }
}

/// Notes what a training tells, apart from times, and stops it when it is asked for the `stop_at`-th time.
#[derive(Debug, Default)]
struct Notes {
    lines: Vec<String>,
    asked: std::cell::Cell<u64>,
    stop_at: Option<u64>,
    checkpoint: Option<Checkpoint>,
}

impl Observer for Notes {
    fn epoch(&mut self, epoch: &Epoch) -> Result<()> {
        self.lines.push(format!("{:?}", Epoch { seconds: 0.0, ..epoch.clone() }));
        Ok(())
    }

    fn evaluated(&mut self, evaluated: &Evaluated) -> Result<()> {
        self.lines.push(format!("{:?}", Evaluated { seconds: 0.0, ..evaluated.clone() }));
        Ok(())
    }

    fn checkpoint(&mut self, checkpoint: Checkpoint) -> Result<()> {
        self.checkpoint = Some(checkpoint);
        Ok(())
    }

    fn stop(&self) -> bool {
        self.asked.set(self.asked.get() + 1);
        self.stop_at == Some(self.asked.get())
    }
}

/// Trains from the newest checkpoint in `folder`, if there is one, until the `stop_at`-th turn, and then leaves a
/// checkpoint there. Returns what was noted, and the model once it is done.
fn part(
    data: &Interactions,
    config: &Config,
    device: &Resolved,
    folder: &Path,
    stop_at: Option<u64>,
) -> (Notes, Option<Model>) {
    let mut trainer = Trainer::on(device, data, config.clone()).unwrap();
    if let Some(checkpoint) = Checkpoint::newest(folder).unwrap() {
        trainer = trainer.resume(&checkpoint).unwrap();
    }
    let mut notes = Notes { stop_at, ..Notes::default() };
    match trainer.fit(&mut notes) {
        Ok((model, _)) => (notes, Some(model)),
        Err(Error::Interrupted { .. }) => {
            notes.checkpoint.take().unwrap().save(folder).unwrap();
            (notes, None)
        }
        Err(error) => panic!("{} on {device}: {error}", config.system()),
    }
}

/// Trains in one go, and again stopped at moments that follow from `seed`, each time through files.
fn stopped_at_any_moment(data: &Interactions, config: &Config, device: &Resolved, seed: u64) {
    let case = format!("{} on {device}, seed {seed}", config.system());
    let folder = tempfile::tempdir().unwrap();
    let (whole, expected) = part(data, config, device, folder.path(), None);
    let turns = whole.asked.get();
    let (mut lines, mut random) = (Vec::new(), seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let model = loop {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let stop_at = Some(1 + (random >> 33) % turns);
        let (notes, model) = part(data, config, device, folder.path(), stop_at);
        lines.extend(notes.lines);
        if model.is_some() {
            break model;
        }
    };
    assert_eq!(whole.lines, lines, "{case}");
    assert!(model == expected, "{case}: another model");
}

fn systems() -> impl Iterator<Item = Config> {
    let objectives = objective::REGISTRY.iter().map(|(name, ..)| *name);
    let plain = objectives.flat_map(|objective| {
        [Backbone::Mf, Backbone::LightGcn].map(|backbone| Config {
            objective: objective.into(),
            backbone,
            c: vec![0.0, 10.0],
            tau: vec![0.0, 1.0],
            batch_size: 60,
            dim: 6,
            epochs: 5,
            eval_every: 2,
            select: Split::Test,
            ..Config::default()
        })
    });
    let ego = |config: &Config| config.system() == "macr_lightgcn";
    let plain: Vec<Config> = plain.collect();
    let ego = plain.iter().find(|config| ego(config)).cloned();
    let ego = ego.map(|config| Config { branch_input: BranchInput::Ego, ..config });
    plain.into_iter().chain(ego).chain([expomf()])
}

/// What is trained without batches, and is in no registry.
fn expomf() -> Config {
    Config {
        objective: EXPOMF.into(),
        tau: vec![0.0, 1.0],
        dim: 6,
        epochs: 5,
        eval_every: 2,
        select: Split::Test,
        ..Config::default()
    }
}

#[test]
fn any_training_can_be_stopped_at_any_moment() {
    let data = trainings::split(160, 50, 6);
    for (seed, config) in (0..).zip(systems()) {
        for seed in [seed, seed + 1000] {
            on_threads(1 + seed as usize % 3, || stopped_at_any_moment(&data, &config, &Resolved::Cpu, seed));
        }
    }
}

#[test]
fn any_training_on_a_gpu_can_be_stopped_at_any_moment() {
    let _alone = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(device) = emulator::device() else { return };
    let data = trainings::split(160, 50, 6);
    for (seed, config) in (0..).zip(systems()) {
        let config = Config { epochs: 3, ..config };
        stopped_at_any_moment(&data, &config, &Resolved::Cuda(device.clone()), seed);
    }
}

/// Puts ExpoMF down after each of its iterations, through files. `part` is that of a device; it is told how many parts
/// came before.
fn stopped_after_every_iteration(
    config: &Config,
    part: impl Fn(usize, &Path, Option<u64>) -> (Notes, Option<Model>),
) {
    let folder = tempfile::tempdir().unwrap();
    let (whole, expected) = part(0, folder.path(), None);
    let (mut lines, mut parts) = (Vec::new(), 0);
    let model = loop {
        // Its second turn comes after an iteration.
        let (notes, model) = part(parts, folder.path(), Some(2));
        lines.extend(notes.lines);
        parts += 1;
        if model.is_some() {
            break model;
        }
    };
    assert_eq!((parts as u64, lines), (config.epochs, whole.lines));
    assert!(model == expected, "another model");
}

#[test]
fn expomf_can_be_stopped_after_every_iteration() {
    let (data, config) = (trainings::split(160, 50, 6), expomf());
    stopped_after_every_iteration(&config, |parts, folder, stop_at| {
        on_threads([2, 1, 3][parts % 3], || part(&data, &config, &Resolved::Cpu, folder, stop_at))
    });
}

#[test]
fn expomf_on_a_gpu_can_be_stopped_after_every_iteration() {
    let _alone = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(device) = emulator::device() else { return };
    let (data, config, device) = (trainings::split(160, 50, 6), expomf(), Resolved::Cuda(device));
    stopped_after_every_iteration(&config, |_, folder, stop_at| {
        part(&data, &config, &device, folder, stop_at)
    });
}

#[test]
fn patience_may_not_be_less_than_what_was_waited() {
    let (data, config) = (trainings::split(160, 50, 6), Config { patience: 5, ..expomf() });
    let mut notes = Notes { stop_at: Some(2), ..Notes::default() };
    Trainer::new(&data, config.clone()).unwrap().fit(&mut notes).unwrap_err();
    let mut checkpoint = notes.checkpoint.unwrap();
    // It waited for two evaluations, and the third was better.
    for value in [2.0, 1.0, 1.0, 3.0] {
        checkpoint.progress.stopping.improves(value);
    }
    let folder = tempfile::tempdir().unwrap();
    checkpoint.save(folder.path()).unwrap();
    let checkpoint = Checkpoint::newest(folder.path()).unwrap().unwrap();
    for (patience, admitted) in [(0, true), (1, false), (2, false), (3, true), (5, true), (9, true)] {
        let result = checkpoint.admits(&Config { patience, ..config.clone() });
        assert_eq!(result.is_ok(), admitted, "patience {patience}: {result:?}");
    }
}

#[test]
fn the_command_continues_on_a_gpu_and_says_when_a_run_moves() {
    let folder = tempfile::tempdir().unwrap();
    let pairs = (0..120u32).flat_map(|u| (0..8).map(move |k| (u, (u * 7 + k * k * (k + 3)) % 60)));
    let text: String = pairs.map(|(u, i)| format!("u{u},i{i}\n")).collect();
    fs::write(folder.path().join("pairs.csv"), text).unwrap();
    let run = |arguments: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_macr"));
        command.current_dir(folder.path()).args(arguments.split(' '));
        emulator::equip(&mut command).then(|| {
            let output = command.output().unwrap();
            let words = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.success(), "{arguments}: {words}");
            words
        })
    };
    let train = "train pairs.csv --objective macr --batch-size 50 --dim 8 --k 5 --eval-every 1 --device cuda";
    if run(&format!("{train} --epochs 3 --out whole")).is_none() {
        eprintln!("skipped: no C++ compiler");
        return;
    }
    run(&format!("{train} --epochs 1 --out cut"));
    let words = run("train --resume cut --epochs 2").unwrap();
    assert!(words.contains("CUDA emulator") && !words.contains("until now"), "{words}");
    let model = |name: &str| fs::read(folder.path().join(name).join("model.safetensors")).unwrap();
    run("train --resume cut --epochs 3");
    assert!(model("whole") == model("cut"), "another model");
    let words = run("train --resume cut --epochs 4 --device cpu").unwrap();
    assert!(words.contains("until now the run was trained on CUDA emulator, and from here on"), "{words}");
}
