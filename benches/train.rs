//! Training steps: samples per second of each objective on problems with the shapes of two of the paper's datasets.

mod shapes;

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use macr::{
    Config,
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
        for Case { objective, pairing, storage, backbone, branch_input, sampling } in cases() {
            let form = if storage == Storage::F32 { String::new() } else { format!("/{storage}") };
            let input = if branch_input == BranchInput::Ego { "/ego" } else { "" };
            let drawn = if sampling == OF_DICE { "/margin" } else { "" };
            group.bench_function(format!("{backbone}/{objective}/{pairing}{form}{input}{drawn}"), |b| {
                // In here, so that what is filtered out costs nothing.
                let config = Config {
                    objective: objective.into(),
                    alpha: 1e-3,
                    beta: 1e-3,
                    pairing,
                    ..Config::default()
                };
                let (kind, negatives) = sampling;
                let sampler = Sampler::new(&data, kind, negatives, batch, 1).expect("the batch fits");
                let lightgcn = (backbone == Backbone::LightGcn)
                    .then(|| LightGcn::new(&data, 2, batch, Propagation::Auto).expect("there is a way").0);
                let settings = Settings {
                    dim: 64,
                    storage,
                    lightgcn,
                    adam: Adam::default(),
                    catch_up: CatchUp::Quadrature,
                    branch: BranchKind::Linear,
                    branch_input,
                    l2: 1e-5,
                    seed: 1,
                };
                let objective = objective::build(&config, &sampler).expect("it is in the registry");
                let mut engine =
                    Cpu::new((shape.users, shape.items), sampler, objective, settings).expect("it fits");
                let sequence = if lightgcn.is_some() { propagated_minibatch } else { minibatch };
                // Rows of matrix factorisation fall behind at first; LightGCN's never do.
                engine
                    .repeat(if lightgcn.is_some() { 5 } else { 500 }, &sequence)
                    .expect("no device to fail");
                b.iter_custom(|steps| {
                    let start = Instant::now();
                    engine.repeat(steps, &sequence).expect("no device to fail");
                    start.elapsed()
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, train);
criterion_main!(benches);
