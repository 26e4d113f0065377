//! ExpoMF's iteration beside the multiply-adds that the machine can do at all: both in elements a second, an element
//! being one multiply-add.

#[allow(dead_code)]
mod shapes;

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use macr::backend::{
    cpu::{ceiling::multiply_add, expomf::ExpoMf},
    expomf::{Em, ExposureConstant, Settings, State},
};
use macr::storage::Storage;
use shapes::Shape;

fn expomf(c: &mut Criterion) {
    let shape = Shape::ADRESSA;
    let (_, data) = shape.generate();
    let mut group = c.benchmark_group(format!("expomf/{}", shape.name));
    group.sample_size(10).measurement_time(Duration::from_secs(10));

    const TIMES: u64 = 1 << 24;
    group.throughput(Throughput::Elements(multiply_add(1).1 * TIMES));
    group.bench_function("multiply-adds alone", |b| b.iter(|| multiply_add(TIMES)));

    let settings = Settings {
        dim: Shape::DIM,
        lambda_theta: 1e-5,
        lambda_beta: 1e-5,
        lambda_y: 1.0,
        a0: 1.0,
        b0: 1.0,
        exposure: 0.01,
        init_std: 0.01,
        constant: ExposureConstant::Exact,
        storage: Storage::F32,
        seed: 1,
    };
    let state = State::new(shape.users as usize, shape.items as usize, &settings);
    let mut engine = ExpoMf::new(&data, settings, state);
    // The normal matrices of both sides alone.
    let (pairs, dim) = (u64::from(shape.users) * u64::from(shape.items), Shape::DIM as u64);
    group.throughput(Throughput::Elements(2 * pairs * dim * (dim + 1) / 2));
    group.bench_function("iteration", |b| {
        b.iter_custom(|times| {
            let start = Instant::now();
            for _ in 0..times {
                engine.iterate().expect("finite numbers");
            }
            start.elapsed()
        });
    });
    group.finish();
}

criterion_group!(benches, expomf);
criterion_main!(benches);
