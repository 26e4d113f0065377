//! LightGCN's propagation beside the memory that it cannot do without: rows of 4D bytes gathered per second.
//!
//! `gather` sums as many rows, at random from a table of the same size, and does nothing else: the speed that the
//! caches allow. One layer gathers a row for each edge in each direction.

mod shapes;

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use macr::{
    Csr,
    backbone::{Form, LightGcn},
    backend::cpu::{
        propagation::Propagation,
        spmm::{Rows, Work},
        table::Table,
        team::Team,
    },
    data::graph::Graph,
    objective::Layout,
    storage::{Room, Storage, StoredMut},
};
use shapes::Shape;

fn propagation(c: &mut Criterion) {
    for shape in Shape::ALL {
        let (_, data) = shape.generate();
        let graph = Graph::new(&data);
        let edges = graph.by_user.nnz();
        let [row, _] = Layout::Whole.shapes(Shape::DIM, true);
        let mut group = c.benchmark_group(format!("propagation/{}", shape.name));
        group.sample_size(20).measurement_time(Duration::from_secs(4));

        // The rows of a layer are the other side's, so each table is read once for each edge.
        let bytes = 4 * Shape::DIM as u64 * edges;
        for (name, rows) in [("users", shape.users), ("items", shape.items)] {
            let mut state = 1u64;
            let ids: Vec<u32> = (0..edges)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (((state >> 33) * u64::from(rows)) >> 31) as u32
                })
                .collect();
            // In memory as the layers have it.
            let mut room = Room::new(Storage::F32, rows as usize * Shape::DIM).expect("it fits into memory");
            let StoredMut::F32(values) = room.view_mut(Storage::F32) else { unreachable!() };
            values.fill(1.0);
            let offsets = [0, edges];
            let one_row = Csr { offsets: &offsets, indices: &ids };
            let work = Work::new(one_row, None);
            group.throughput(Throughput::Bytes(bytes));
            group.bench_function(format!("gather from {name}"), |b| {
                b.iter_custom(|times| {
                    timed(times, |team| {
                        work.chunk_sums(team, one_row, Rows::Dense(room.view(Storage::F32)), Shape::DIM);
                    })
                });
            });
        }
        // Two layers without the outermost: one in each direction. Halves are half the bytes.
        let lightgcn = LightGcn { layers: 2, form: Form::Layers };
        for storage in Storage::ALL {
            let table = |rows: u32, stream| {
                Table::xavier(rows as usize, Shape::DIM, row, storage, 1, stream)
                    .expect("it fits into memory")
            };
            let tables = [table(shape.users, 0), table(shape.items, 1)];
            let both = [&tables[0], &tables[1]];
            let mut layers = Team::enter(|team| Propagation::new(graph.clone(), lightgcn, both, team))
                .expect("it fits into memory");
            group.throughput(Throughput::Bytes(2 * bytes / 4 * storage.bytes() as u64));
            group.bench_function(format!("layer in both directions/{storage}"), |b| {
                b.iter_custom(|times| timed(times, |team| layers.forward(team, both)));
            });
        }
        group.finish();
    }
}

fn timed(times: u64, mut work: impl FnMut(&Team) + Send) -> Duration {
    Team::enter(|team| {
        let start = Instant::now();
        for _ in 0..times {
            work(team);
        }
        start.elapsed()
    })
}

criterion_group!(benches, propagation);
criterion_main!(benches);
