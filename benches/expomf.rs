//! ExpoMF's iteration beside the multiply-adds that the machine can do at all: both in elements a second, an element
//! being one multiply-add.

#[allow(dead_code)]
mod shapes;

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use macr::backend::{
    cpu::expomf::ExpoMf,
    expomf::{Em, ExposureConstant, Settings, State},
};
use macr::storage::Storage;
use shapes::Shape;

/// Multiply-adds in registers, as many as the CPU can do: written out, since a loop with nothing but these is not
/// vectorised well.
#[cfg(target_arch = "x86_64")]
mod ceiling {
    use std::{arch::x86_64::*, hint::black_box};

    /// Sums of a thread: enough to hide the latency.
    pub const SUMS: usize = 12;

    pub struct Ceiling {
        pub lanes: usize,
        pub run: fn(u64),
    }

    pub fn multiply_adds() -> Option<Ceiling> {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the CPU has the feature.
            return Some(Ceiling { lanes: 16, run: |times| unsafe { avx512(times) } });
        }
        let fma = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        // SAFETY: the CPU has both features.
        fma.then_some(Ceiling { lanes: 8, run: |times| unsafe { avx2(times) } })
    }

    #[target_feature(enable = "avx512f")]
    fn avx512(times: u64) {
        let factor = _mm512_set1_ps(black_box(0.5));
        let mut sums: [__m512; SUMS] = std::array::from_fn(|n| _mm512_set1_ps(black_box(n as f32)));
        for _ in 0..times {
            for n in 0..SUMS {
                sums[n] = _mm512_fmadd_ps(sums[n], factor, factor);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx2,fma")]
    fn avx2(times: u64) {
        let factor = _mm256_set1_ps(black_box(0.5));
        let mut sums: [__m256; SUMS] = std::array::from_fn(|n| _mm256_set1_ps(black_box(n as f32)));
        for _ in 0..times {
            for n in 0..SUMS {
                sums[n] = _mm256_fmadd_ps(sums[n], factor, factor);
            }
        }
        black_box(sums);
    }
}

fn expomf(c: &mut Criterion) {
    let shape = Shape::ADRESSA;
    let (_, data) = shape.generate();
    let mut group = c.benchmark_group(format!("expomf/{}", shape.name));
    group.sample_size(10).measurement_time(Duration::from_secs(10));

    const TIMES: u64 = 1 << 26;
    #[cfg(target_arch = "x86_64")]
    if let Some(ceiling) = ceiling::multiply_adds() {
        let threads = rayon::current_num_threads();
        group.throughput(Throughput::Elements(TIMES * (threads * ceiling.lanes * ceiling::SUMS) as u64));
        group.bench_function("multiply-adds alone", |b| {
            b.iter(|| rayon::broadcast(|_| (ceiling.run)(TIMES)));
        });
    }

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
