//! Whole LightGCN trainings on the device, through recorded and replayed sequences, against the CPU.
#![cfg(feature = "cuda")]

mod emulator;
mod parameters;
mod trainings;

use std::hash::Hasher;

use macr::{
    Branch, Config, Edges, Interactions, InteractionsBuilder, Split, Trainer,
    backbone::{Backbone, Form, LightGcn},
    backend::{
        Backend, Losses, Settings,
        cpu::Cpu,
        cuda::{Cuda, Device, memory},
    },
    device::Resolved,
    eval::Evaluator,
    objective::{self, BranchInput, BranchKind, Pairing},
    optim::{Adam, CatchUp},
    sampling::{Negatives, Sampler, SamplerKind},
    storage::Storage,
    train::sequence::propagated_minibatch,
};
use parameters::{close, distance, flat, one_unit};

const USERS: u32 = 700;
const ITEMS: u32 = 211;
const SIZE: (u32, u32) = (USERS, ITEMS);

/// Item 7 has every other user, which is more than a unit of spmm takes; the last user and some items have nothing.
fn world() -> Interactions {
    let pairs = (0..USERS - 1).flat_map(|u| {
        let own = (0..1 + u % 9).map(move |k| (u, (u * 7 + k * k * (k + 3)) % (ITEMS - 2)));
        own.chain((u % 2 == 0).then_some((u, 7)))
    });
    InteractionsBuilder::new(USERS, ITEMS).split(Split::Train, Edges::from_pairs(pairs)).build().unwrap()
}

#[derive(Debug, Clone, Copy)]
struct Training {
    objective: &'static str,
    pairing: Pairing,
    kind: SamplerKind,
    layers: usize,
    form: Form,
    batch: u32,
    dim: usize,
    storage: Storage,
    branch: BranchKind,
    branch_input: BranchInput,
    /// Compared with the CPU.
    steps: u64,
}

impl Training {
    fn sampler<'a>(&self, data: &'a Interactions) -> Sampler<'a> {
        Sampler::new(data, self.kind, Negatives::Popularity(0.5), self.batch, 3).unwrap()
    }

    fn config(&self) -> Config {
        Config { pairing: self.pairing, ..trainings::weights(self.objective) }
    }

    fn settings(&self) -> Settings {
        Settings {
            dim: self.dim,
            storage: self.storage,
            lightgcn: Some(LightGcn { layers: self.layers, form: self.form }),
            adam: Adam::default(),
            catch_up: CatchUp::Quadrature,
            branch: self.branch,
            branch_input: self.branch_input,
            l2: 1e-3,
            seed: 3,
        }
    }

    fn cpu<'a>(&self, data: &'a Interactions) -> Cpu<'a> {
        let objective = objective::build(&self.config(), &self.sampler(data)).unwrap();
        Cpu::new(SIZE, self.sampler(data), objective, self.settings()).unwrap()
    }

    fn cuda<'a>(&self, data: &'a Interactions, device: &Device) -> Cuda<'a> {
        let config = self.config();
        let objective = objective::build(&config, &self.sampler(data)).unwrap();
        Cuda::new(device, SIZE, self.sampler(data), objective.as_ref(), self.settings()).unwrap()
    }
}

fn trainings() -> Vec<Training> {
    let base = Training {
        objective: "macr",
        pairing: Pairing::Rows,
        kind: SamplerKind::UserUniform,
        layers: 2,
        form: Form::Layers,
        batch: 130,
        dim: 12,
        storage: Storage::F32,
        branch: BranchKind::Linear,
        branch_input: BranchInput::Propagated,
        steps: 100,
    };
    let ego = Training { branch_input: BranchInput::Ego, kind: SamplerKind::Interaction, ..base };
    let mut all = vec![
        base,
        ego,
        Training { form: Form::Gram, pairing: Pairing::AllPairs, dim: 9, steps: 20, ..ego },
        Training { branch: BranchKind::Mlp(5), layers: 1, dim: 7, steps: 20, ..ego },
        Training { storage: Storage::F16, form: Form::Gram, dim: 17, steps: 10, ..ego },
        Training { storage: Storage::Bf16, layers: 3, batch: 40, dim: 7, steps: 20, ..ego },
        Training { objective: "bce", layers: 1, dim: 5, ..base },
        Training { objective: "bpr", kind: SamplerKind::Interaction, layers: 3, dim: 17, batch: 77, ..base },
        Training { form: Form::Gram, kind: SamplerKind::Interaction, batch: 300, dim: 70, steps: 10, ..base },
        Training { form: Form::Gram, objective: "bpr", batch: 40, dim: 7, ..base },
        Training { pairing: Pairing::AllPairs, dim: 9, steps: 20, ..base },
        Training { layers: 4, batch: 40, dim: 130, steps: 5, ..base },
        Training {
            storage: Storage::F16,
            objective: "bpr",
            layers: 3,
            dim: 17,
            batch: 77,
            steps: 20,
            ..base
        },
        Training { storage: Storage::F16, form: Form::Gram, dim: 9, steps: 10, ..base },
        Training { storage: Storage::Bf16, steps: 20, ..base },
        Training { storage: Storage::Bf16, form: Form::Gram, batch: 40, dim: 7, steps: 20, ..base },
    ];
    for (k, (objective, ..)) in objective::REGISTRY.iter().enumerate() {
        let base = Training { objective, batch: 50, dim: 10, ..base };
        let [form, other] = if k % 2 == 0 { [Form::Layers, Form::Gram] } else { [Form::Gram, Form::Layers] };
        let storage = [Storage::F16, Storage::Bf16][k / 2 % 2];
        all.push(Training { form, ..base });
        all.push(Training { form: other, storage, steps: 20, ..base });
    }
    all
}

#[test]
fn losses_and_parameters_follow_the_cpu() {
    let _alone = emulator::alone();
    let Some(device) = emulator::device() else { return };
    let data = world();
    for training in trainings() {
        let (mut cpu, mut cuda) = (training.cpu(&data), training.cuda(&data, &device));
        let start = [cpu.parameters().unwrap(), cuda.parameters().unwrap()];
        assert_eq!(start[0].ego, start[1].ego, "{training:?}");
        let far = distance(&flat(&start[0]), &flat(&start[1]));
        // A layer's numbers are rounded to either neighbour where two sums in f32 lie on different sides of a middle.
        let nearest = one_unit(training.storage, &flat(&start[0]));
        assert!(far < 1e-6 + nearest, "{training:?}: {far} before the first step");
        for step in 0..training.steps {
            let expected = cpu.repeat(1, &propagated_minibatch).unwrap();
            let got = cuda.repeat(1, &propagated_minibatch).unwrap();
            for (part, (expected, got)) in expected.iter().zip(got).enumerate() {
                let error = (got - expected).abs();
                assert!(
                    error <= 1e-5 * expected.abs(),
                    "{training:?}, step {step}, part {part}: {got}, CPU {expected}"
                );
            }
        }
        // Adam divides by sqrt(v): where v is tiny, rounding grows; a step is 1e-3.
        let [a, b] = [cpu.parameters(), cuda.parameters()].map(|parameters| flat(&parameters.unwrap()));
        close(training.storage, &a, &b, 5e-5, &format!("{training:?}"));
    }
}

fn train(
    device: &Device,
    data: &Interactions,
    training: Training,
    lengths: &[u64],
) -> (Vec<Losses>, Vec<u32>) {
    let mut engine = training.cuda(data, device);
    let losses = lengths.iter().map(|&n| engine.repeat(n, &propagated_minibatch).unwrap()).collect();
    let parameters = flat(&engine.parameters().unwrap());
    (losses, parameters.iter().map(|x| x.to_bits()).collect())
}

#[test]
fn how_steps_are_put_together_changes_no_bit() {
    let _alone = emulator::alone();
    let Some(device) = emulator::device() else { return };
    let data = world();
    for training in [trainings()[2], trainings()[6], trainings()[9]] {
        let (_, expected) = train(&device, &data, training, &[70]);
        for lengths in [&[1; 70][..], &[64, 6], &[3, 65, 2]] {
            assert!(expected == train(&device, &data, training, lengths).1, "{training:?}: {lengths:?}");
        }
    }
}

#[test]
fn parameters_between_steps_change_nothing() {
    let _alone = emulator::alone();
    let Some(device) = emulator::device() else { return };
    let data = world();
    for training in trainings() {
        let (_, expected) = train(&device, &data, training, &[3, 4]);
        let mut engine = training.cuda(&data, &device);
        engine.repeat(3, &propagated_minibatch).unwrap();
        let first = flat(&engine.parameters().unwrap());
        assert_eq!(first, flat(&engine.parameters().unwrap()));
        engine.repeat(4, &propagated_minibatch).unwrap();
        let got: Vec<u32> = flat(&engine.parameters().unwrap()).iter().map(|x| x.to_bits()).collect();
        assert!(expected == got, "{training:?}");
    }
}

/// Prints a hash of all bits of trainings in every form.
#[test]
fn prints_the_bits_of_trainings() {
    let _alone = emulator::alone();
    let Some(device) = emulator::device() else { return };
    let data = world();
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    for training in trainings() {
        let (losses, parameters) = train(&device, &data, training, &[2, 1]);
        parameters.iter().for_each(|&x| hash.write_u32(x));
        losses.iter().flatten().for_each(|x| hash.write_u64(x.to_bits()));
    }
    println!("bits {:016x}", hash.digest());
}

#[test]
fn any_order_of_blocks_and_threads_gives_the_same_bits() {
    emulator::same_bits_in_any_order("prints_the_bits_of_trainings");
}

#[test]
fn what_it_takes_is_known_before() {
    let _alone = emulator::alone();
    let Some(device) = emulator::device() else { return };
    if device.description().name != emulator::EMULATED {
        return eprintln!("skipped: a GPU hands out memory in granules, and counts code and graphs");
    }
    let data = world();
    for training in trainings() {
        device.synchronize().unwrap();
        let before = device.free_memory().unwrap();
        let mut engine = training.cuda(&data, &device);
        engine.repeat(2, &propagated_minibatch).unwrap();
        // Of an evaluation: final embeddings, of them and the users' parameters there is a copy on the way to the host.
        let copies = 4 * (training.dim.next_multiple_of(4) * (2 * USERS + ITEMS) as usize) as u64;
        let taken = (before - device.free_memory().unwrap()) as u64 + copies;
        let sampler = training.sampler(&data);
        let objective = objective::build(&training.config(), &sampler).unwrap();
        let known = memory(&sampler, [USERS, ITEMS], objective.as_ref(), &training.settings());
        assert!(
            taken <= known && known < taken + (4 << 20),
            "{training:?}: {taken} bytes taken, {known} foretold"
        );
    }
}

#[test]
fn a_trainer_trains_lightgcn_on_the_device() {
    let _alone = emulator::alone();
    let Some(device) = emulator::device() else { return };
    let data = trainings::split(300, 90, 6);
    let config = Config {
        backbone: Backbone::LightGcn,
        batch_size: 100,
        dim: 12,
        epochs: 4,
        eval_every: 2,
        select: Split::Test,
        // With a large c the gates decide much of the ranking.
        c: vec![20.0],
        learning_rate: 0.01,
        ..Config::default()
    };
    let systems = objective::REGISTRY.iter().map(|(objective, ..)| (*objective, config.branch_input));
    for (objective, branch_input) in systems.chain([("macr", BranchInput::Ego)]) {
        let config = Config { objective: objective.into(), branch_input, ..config.clone() };
        let what = format!("{objective}, {branch_input}");
        let fit = |device| Trainer::on(device, &data, config.clone()).unwrap().fit(&mut ()).unwrap();
        let (cpu, on_cpu) = fit(&Resolved::Cpu);
        let (cuda, on_cuda) = fit(&Resolved::Cuda(device.clone()));
        assert_eq!(on_cpu.best_epoch, on_cuda.best_epoch, "{what}");
        assert!((on_cpu.best.hit_rate - on_cuda.best.hit_rate).abs() < 0.01, "{what}");
        assert!(distance(&cpu.user_embedding, &cuda.user_embedding) < 2e-5, "{what}");
        assert!(distance(&cpu.item_embedding, &cuda.item_embedding) < 2e-5, "{what}");
        for (cpu, cuda) in cpu.ego.iter().flatten().zip(cuda.ego.iter().flatten()) {
            assert!(distance(cpu, cuda) < 2e-5, "{what}");
        }
        for (model, found) in [(&cpu, &on_cpu), (&cuda, &on_cuda)] {
            // What was found in training is what the CPU finds for the model.
            let evaluator = Evaluator::new(&data, Split::Test).rankings(&[model.metadata.ranking]);
            let again = &evaluator.ks(&[config.k]).evaluate(model).unwrap().results[0].metrics;
            assert_eq!(again.get("ndcg"), Some(found.best.ndcg), "{what}");
            let (Some(Branch::Linear { weight }), Some([_, ego])) = (&model.item_branch, &model.ego) else {
                assert_ne!(objective, "macr", "no linear branch on LightGCN");
                continue;
            };
            // The gates are of what the branch was trained on.
            let scored = if branch_input == BranchInput::Ego { ego } else { &model.item_embedding };
            let gates = model.item_gates().unwrap();
            for (gate, x) in gates.iter().zip(scored.chunks_exact(model.dim)) {
                let y: f64 = weight.iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum();
                assert!((f64::from(*gate) - 1.0 / (1.0 + (-y).exp())).abs() < 1e-7, "{what}");
            }
        }
    }
}
