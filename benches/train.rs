//! Training steps: samples per second of each objective on problems with the shapes of two of the paper's datasets.

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use macr::{
    Edges, Interactions, InteractionsBuilder, Split,
    backend::cpu::{Cpu, Settings},
    objective::{self, ObjectiveConfig, Pairing},
    optim::{Adam, CatchUp},
    sampling::{Negatives, Sampler, SamplerKind},
};

/// Users at random, items by a power of a uniform number: a long tail.
fn world(users: u32, items: u32, interactions: u32) -> Interactions {
    let mut state = 1u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let pairs = (0..interactions).map(|_| {
        let item = uniform().powi(3) * f64::from(items);
        ((uniform() * f64::from(users)) as u32, item as u32)
    });
    let edges = Edges::from_pairs(pairs);
    InteractionsBuilder::new(users, items).split(Split::Train, edges).build().expect("the edges are in range")
}

fn train(c: &mut Criterion) {
    for (name, (users, items, interactions), batch) in
        [("adressa-shape", (13_485, 744, 113_345), 1024), ("gowalla-shape", (29_858, 40_981, 822_000), 4096)]
    {
        let data = world(users, items, interactions);
        let mut group = c.benchmark_group(format!("train/{name}/{batch}"));
        group.throughput(Throughput::Elements(u64::from(batch)));
        group.sample_size(20).measurement_time(Duration::from_secs(4));
        for (objective, pairing) in [
            ("bce", Pairing::Rows),
            ("bpr", Pairing::Rows),
            ("macr", Pairing::Rows),
            ("macr", Pairing::AllPairs),
        ] {
            let config = ObjectiveConfig {
                alpha: 1e-3,
                beta: 1e-3,
                pairing,
                user_branch: true,
                item_branch: true,
                eps_compat: false,
            };
            let sampler = Sampler::new(&data, SamplerKind::UserUniform, Negatives::Uniform, batch, 1)
                .expect("the batch fits");
            let settings =
                Settings { dim: 64, adam: Adam::default(), catch_up: CatchUp::Quadrature, l2: 1e-5, seed: 1 };
            let objective_ = objective::build(objective, &config).expect("it is in the registry");
            let mut engine = Cpu::new((users, items), sampler, objective_, settings).expect("it fits");
            engine.run(500);
            group.bench_function(format!("{objective}/{pairing}"), |b| {
                b.iter_custom(|steps| {
                    let start = Instant::now();
                    engine.run(steps);
                    start.elapsed()
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, train);
criterion_main!(benches);
