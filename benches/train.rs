//! Training steps: samples per second of each objective on problems with the shapes of two of the paper's datasets.

mod shapes;

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use macr::{
    Config, Interactions,
    backbone::{Backbone, LightGcn, Propagation},
    backend::{Backend, Settings, cpu::Cpu},
    objective::{self, BranchInput, BranchKind, Pairing},
    optim::{Adam, CatchUp},
    sampling::{Negatives, Sampler, SamplerKind},
    storage::Storage,
    train::sequence::{minibatch, propagated_minibatch},
};
use shapes::Shape;

#[derive(Debug, Clone, Copy)]
struct Case {
    objective: &'static str,
    pairing: Pairing,
    storage: Storage,
    backbone: Backbone,
    branch_input: BranchInput,
    sampling: (SamplerKind, Negatives),
}

impl Case {
    fn name(&self) -> String {
        let Case { objective, pairing, storage, backbone, branch_input, sampling } = self;
        let form = if *storage == Storage::F32 { String::new() } else { format!("/{storage}") };
        let input = if *branch_input == BranchInput::Ego { "/ego" } else { "" };
        let drawn = if *sampling == OF_DICE { "/margin" } else { "" };
        format!("{backbone}/{objective}/{pairing}{form}{input}{drawn}")
    }

    /// A training that has gone on for a while.
    fn engine<'a>(&self, data: &'a Interactions, batch: u32) -> Cpu<'a> {
        let (alpha, beta, pairing) = (1e-3, 1e-3, self.pairing);
        let config = Config { objective: self.objective.into(), alpha, beta, pairing, ..Config::default() };
        let (kind, negatives) = self.sampling;
        let sampler = Sampler::new(data, kind, negatives, batch, 1).expect("the batch fits");
        let lightgcn = (self.backbone == Backbone::LightGcn)
            .then(|| LightGcn::new(data, 2, batch, Propagation::Auto).expect("there is a way").0);
        let settings = Settings {
            dim: Shape::DIM,
            storage: self.storage,
            lightgcn,
            adam: Adam::default(),
            catch_up: CatchUp::Quadrature,
            branch: BranchKind::Linear,
            branch_input: self.branch_input,
            l2: 1e-5,
            seed: 1,
        };
        let objective = objective::build(&config, &sampler).expect("it is in the registry");
        let size = (data.users(), data.items());
        let mut engine = Cpu::new(size, sampler, objective, settings).expect("it fits");
        // Rows of matrix factorisation fall behind at first; LightGCN's never do.
        self.train(&mut engine, if lightgcn.is_some() { 5 } else { 500 });
        engine
    }

    fn train(&self, engine: &mut Cpu<'_>, steps: u64) {
        let done = match self.backbone {
            Backbone::Mf => engine.repeat(steps, &minibatch),
            Backbone::LightGcn => engine.repeat(steps, &propagated_minibatch),
        };
        done.expect("no device to fail");
    }
}

/// As the authors of DICE draw: a pass over the interactions, with four negatives for each.
const OF_DICE: (SamplerKind, Negatives) =
    (SamplerKind::Interaction, Negatives::Margin { margin: 40, per_positive: 4 });

/// Every objective on either backbone, and what else there is to choose, where it costs something.
fn cases() -> Vec<Case> {
    let mf = Case {
        objective: "bce",
        pairing: Pairing::Rows,
        storage: Storage::F32,
        backbone: Backbone::Mf,
        branch_input: BranchInput::Propagated,
        sampling: (SamplerKind::UserUniform, Negatives::Uniform),
    };
    let macr = Case { objective: "macr", ..mf };
    let mut cases = vec![
        Case { storage: Storage::F16, ..mf },
        Case { storage: Storage::Bf16, ..mf },
        Case { backbone: Backbone::LightGcn, branch_input: BranchInput::Ego, ..macr },
    ];
    for backbone in Backbone::ALL {
        cases.push(Case { pairing: Pairing::AllPairs, backbone, ..macr });
        cases.push(Case { objective: "dice", sampling: OF_DICE, backbone, ..mf });
        cases.extend(objective::REGISTRY.iter().map(|&(objective, ..)| Case { objective, backbone, ..mf }));
    }
    cases
}

fn train(c: &mut Criterion) {
    for (shape, batch) in Shape::ALL.into_iter().zip([1024, 4096]) {
        let (_, data) = shape.generate();
        let mut group = c.benchmark_group(format!("train/{}/{batch}", shape.name));
        group.throughput(Throughput::Elements(u64::from(batch)));
        group.sample_size(20).measurement_time(Duration::from_secs(4));
        for case in cases() {
            group.bench_function(case.name(), |b| {
                let mut engine = case.engine(&data, batch);
                b.iter_custom(|steps| {
                    let start = Instant::now();
                    case.train(&mut engine, steps);
                    start.elapsed()
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, train);
criterion_main!(benches);
