//! A training that was put down and taken up again gives the same bits as one that was not.

mod emulator;

use std::sync::{Mutex, PoisonError};

use macr::{
    Edges, Interactions, InteractionsBuilder, Split,
    backbone::{Form, LightGcn},
    backend::{
        Backend, Losses, Settings, State,
        cpu::Cpu,
        cuda::{Cuda, Device},
    },
    objective::{self, BranchKind, ObjectiveConfig, Pairing},
    optim::{Adam, CatchUp},
    sampling::{Negatives, Sampler, SamplerKind},
    train::sequence::{minibatch, propagated_minibatch},
};

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
    catch_up: CatchUp,
    dim: usize,
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
                catch_up: if b == 2 { CatchUp::Replay } else { CatchUp::Quadrature },
                dim: [6, 16, 34][(k + b) % 3],
            };
            cases.push(base);
            if lightgcn.is_none() {
                cases.push(Case { pairing: Pairing::AllPairs, catch_up: CatchUp::Replay, ..base });
                cases.push(Case { branch: BranchKind::Mlp(5), ..base });
            }
        }
    }
    cases
}

impl Case {
    fn config(&self) -> ObjectiveConfig {
        ObjectiveConfig { alpha: 1e-2, pairing: self.pairing, ..ObjectiveConfig::default() }
    }

    /// True if a GPU can train it.
    fn has_kernel(&self, data: &Interactions) -> bool {
        let sampler = self.sampler(data);
        let objective = objective::build(self.objective, &self.config(), &sampler).unwrap();
        objective.has_kernel() && self.branch == BranchKind::Linear
    }

    fn sampler<'a>(&self, data: &'a Interactions) -> Sampler<'a> {
        Sampler::new(data, self.kind, Negatives::Popularity(0.5), 70, 3).unwrap()
    }

    /// A training at its first step.
    fn begin<'a>(&self, data: &'a Interactions, device: Option<&Device>) -> Box<dyn Backend + 'a> {
        let &Case { lightgcn, branch, catch_up, dim, .. } = self;
        let settings = Settings { dim, lightgcn, adam: Adam::default(), catch_up, branch, l2: 1e-4, seed: 3 };
        let sampler = self.sampler(data);
        let objective = objective::build(self.objective, &self.config(), &sampler).unwrap();
        match device {
            None => Box::new(Cpu::new(SIZE, sampler, objective, settings).unwrap()),
            Some(device) => Box::new(
                Cuda::new(device, SIZE, sampler, objective.as_ref(), &self.config(), settings).unwrap(),
            ),
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
    for case in cases().into_iter().filter(|case| case.has_kernel(&data)) {
        same_bits(case, &data, Some(&device), [5, 6]);
    }
}

#[test]
fn states_move_between_backends() {
    let _alone = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(device) = emulator::device() else { return };
    let data = world();
    for case in cases().into_iter().filter(|case| case.has_kernel(&data)).step_by(2) {
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
            let (here, there) = (first.parameters().unwrap(), second.parameters().unwrap());
            let far = here.users.iter().zip(&there.users).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
            assert!(far < 2e-5, "{case:?}: {far}");
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
