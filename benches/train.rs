//! Training steps: samples per second of each objective on problems with the shapes of two of the paper's datasets.

mod shapes;

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use macr::{
    backend::{Backend, Settings, cpu::Cpu},
    objective::{self, BranchKind, ObjectiveConfig, Pairing},
    optim::{Adam, CatchUp},
    sampling::{Negatives, Sampler, SamplerKind},
    storage::Storage,
    train::sequence::minibatch,
};
use shapes::Shape;

fn train(c: &mut Criterion) {
    for (shape, batch) in Shape::ALL.into_iter().zip([1024, 4096]) {
        let (_, data) = shape.generate();
        let mut group = c.benchmark_group(format!("train/{}/{batch}", shape.name));
        group.throughput(Throughput::Elements(u64::from(batch)));
        group.sample_size(20).measurement_time(Duration::from_secs(4));
        for (objective, pairing, storage) in [
            ("bce", Pairing::Rows, Storage::F32),
            ("bce", Pairing::Rows, Storage::F16),
            ("bce", Pairing::Rows, Storage::Bf16),
            ("bpr", Pairing::Rows, Storage::F32),
            ("macr", Pairing::Rows, Storage::F32),
            ("macr", Pairing::AllPairs, Storage::F32),
            ("bs", Pairing::Rows, Storage::F32),
            ("ipw", Pairing::Rows, Storage::F32),
            ("reg", Pairing::Rows, Storage::F32),
            ("cause", Pairing::Rows, Storage::F32),
            ("dice", Pairing::Rows, Storage::F32),
        ] {
            let config = ObjectiveConfig { alpha: 1e-3, beta: 1e-3, pairing, ..ObjectiveConfig::default() };
            let sampler = Sampler::new(&data, SamplerKind::UserUniform, Negatives::Uniform, batch, 1)
                .expect("the batch fits");
            let settings = Settings {
                dim: 64,
                storage,
                lightgcn: None,
                adam: Adam::default(),
                catch_up: CatchUp::Quadrature,
                branch: BranchKind::Linear,
                branch_input: Default::default(),
                l2: 1e-5,
                seed: 1,
            };
            let objective_ = objective::build(objective, &config, &sampler).expect("it is in the registry");
            let mut engine =
                Cpu::new((shape.users, shape.items), sampler, objective_, settings).expect("it fits");
            engine.repeat(500, &minibatch).expect("no device to fail");
            let form = if storage == Storage::F32 { String::new() } else { format!("/{storage}") };
            group.bench_function(format!("{objective}/{pairing}{form}"), |b| {
                b.iter_custom(|steps| {
                    let start = Instant::now();
                    engine.repeat(steps, &minibatch).expect("no device to fail");
                    start.elapsed()
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, train);
criterion_main!(benches);
