//! Full ranking beside the matrix product that it cannot do without: scores per second, on all threads.
//!
//! `gemm` forms the same scores, tile by tile, with the same threads, and throws them away.

mod shapes;

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use macr::{Ranking, Split, backend::cpu::rank::Ranker};
use rayon::prelude::*;
use shapes::Shape;

/// Users per measurement: enough for every thread to have several blocks.
const USERS: u32 = 6144;

fn rank(criterion: &mut Criterion) {
    for shape in Shape::ALL {
        let (model, data) = shape.generate();
        let tables = model.tables().expect("tables");
        let users: Vec<u32> = (0..USERS.min(shape.users)).collect();
        let seen = [data.by_user(Split::Train)];

        let mut group = criterion.benchmark_group(format!("rank/{}", shape.name));
        group.sampling_mode(SamplingMode::Flat).sample_size(10);
        group.throughput(Throughput::Elements(users.len() as u64 * u64::from(shape.items)));
        group.bench_function("gemm", |b| {
            b.iter(|| product(model.dim, &model.user_embedding, users.len(), &model.item_embedding));
        });
        for count in [1, 11] {
            let rankings: Vec<Ranking> =
                (0..count).map(|v| Ranking { c: 20.0 + 2.0 * v as f32, tau: 0.0 }).collect();
            let ranker = Ranker::new(&tables, &rankings, 20).expect("ranker");
            group.bench_function(format!("top-20 of {count} rankings"), |b| {
                b.iter(|| {
                    ranker.map_blocks(&users, &seen, |block| block.list(0, 0)[0].item()).expect("lists")
                });
            });
        }
        let ranker = Ranker::new(&tables, &[Ranking::default()], 20).expect("ranker");
        group.bench_function("top-20 by total effect", |b| {
            b.iter(|| ranker.map_blocks(&users, &seen, |block| block.list(0, 0)[0].item()).expect("lists"));
        });
        group.finish();
    }
}

/// The scores of the first `count` users, in tiles that stay in the second-level cache (the fastest of the tile
/// sizes tried).
fn product(dim: usize, users: &[f32], count: usize, items: &[f32]) -> f32 {
    const TILE_USERS: usize = 96;
    const TILE_ITEMS: usize = 512;
    let partial = users[..count * dim].par_chunks(TILE_USERS * dim).map_init(
        || vec![0.0f32; TILE_USERS * TILE_ITEMS],
        |tile, users| {
            items.chunks(TILE_ITEMS * dim).fold(0.0f32, |sum, items| {
                multiply(dim, users, items, tile);
                sum + tile[0]
            })
        },
    );
    partial.sum()
}

/// `out[u, i] = users[u] . items[i]`, with items along the contiguous direction of `out`.
fn multiply(dim: usize, users: &[f32], items: &[f32], out: &mut [f32]) {
    let (rows, columns) = (users.len() / dim, items.len() / dim);
    assert!(out.len() >= rows * columns);
    // SAFETY: the strides describe the slices above; `out` is large enough and borrowed mutably.
    unsafe {
        gemm::gemm(
            columns,
            rows,
            dim,
            out.as_mut_ptr(),
            columns as isize,
            1,
            false,
            items.as_ptr(),
            1,
            dim as isize,
            users.as_ptr(),
            dim as isize,
            1,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

criterion_group!(benches, rank);
criterion_main!(benches);
