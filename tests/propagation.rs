//! LightGCN's propagation and its backward against dense f64 algebra: (I + A~ + ... + A~^L) / (L + 1).

use half::{bf16, f16};
use macr::{
    Edges, Interactions, InteractionsBuilder, Split,
    backbone::{Form, LightGcn},
    backend::cpu::{
        propagation::{Batch, ITEMS, Propagation, USERS},
        table::Table,
        team::Team,
    },
    data::graph::Graph,
    objective::Shape,
    optim::Adam,
    storage::Storage,
};

/// `users` x `items`, Zipf-like; the first item has every other user, the last user and the last item nothing.
fn world(users: u32, items: u32) -> Interactions {
    let pairs = (0..users - 1).flat_map(|u| {
        let own = (0..1 + u % 5).map(move |k| (u, (u * 7 + k * k * 3 + k) % (items - 1)));
        own.chain((u % 2 == 0).then_some((u, 0)))
    });
    InteractionsBuilder::new(users, items).split(Split::Train, Edges::from_pairs(pairs)).build().unwrap()
}

/// A row without padding.
fn parameters(table: &Table, row: u32) -> Vec<f32> {
    (0..table.stride())
        .step_by(16)
        .flat_map(|at| table.load::<16>(row, at))
        .take(table.parts().columns())
        .collect()
}

fn first_moments(table: &Table, row: u32) -> &[f32] {
    match table.storage() {
        Storage::F32 => table.record::<f32>(row).m,
        Storage::F16 => table.record::<f16>(row).m,
        Storage::Bf16 => table.record::<bf16>(row).m,
    }
}

/// What rounding to the nearest changes a number by, relative to it.
fn rounding(storage: Storage) -> f64 {
    match storage {
        Storage::F32 => 0.0,
        Storage::F16 => 2f64.powi(-11),
        Storage::Bf16 => 2f64.powi(-8),
    }
}

/// Magnitudes.
fn sizes(x: &[Vec<f64>]) -> Vec<Vec<f64>> {
    x.iter().map(|row| row.iter().map(|x| x.abs()).collect()).collect()
}

/// Both tables in f64, `[U + I][D]`.
fn nodes(tables: [&Table; 2]) -> Vec<Vec<f64>> {
    let row = |table: &Table, r: u32| parameters(table, r).into_iter().map(f64::from).collect();
    tables.into_iter().flat_map(|t| (0..t.rows() as u32).map(move |r| row(t, r))).collect()
}

/// 1/(L+1) sum over l of A~^l x.
fn propagate(data: &Interactions, layers: usize, x: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let (by_user, by_item) = (data.by_user(Split::Train), data.by_item(Split::Train));
    let users = data.users();
    let mut sum = x.to_vec();
    let mut layer = x.to_vec();
    for _ in 0..layers {
        let mut next = vec![vec![0f64; x[0].len()]; x.len()];
        for u in 0..users {
            for &i in by_user.row(u) {
                let weight = 1.0 / (f64::from(by_user.degree(u)) * f64::from(by_item.degree(i))).sqrt();
                let (u, i) = (u as usize, (users + i) as usize);
                for d in 0..x[0].len() {
                    next[u][d] += weight * layer[i][d];
                    next[i][d] += weight * layer[u][d];
                }
            }
        }
        layer = next;
        for (sum, layer) in sum.iter_mut().zip(&layer) {
            sum.iter_mut().zip(layer).for_each(|(sum, x)| *sum += x);
        }
    }
    for row in &mut sum {
        row.iter_mut().for_each(|x| *x /= layers as f64 + 1.0);
    }
    sum
}

fn tables(data: &Interactions, dim: usize, storage: Storage) -> [Table; 2] {
    [
        Table::xavier(data.users() as usize, dim, Shape { parts: 1, width: dim }, storage, 3, 0).unwrap(),
        Table::xavier(data.items() as usize, dim, Shape { parts: 1, width: dim }, storage, 3, 1).unwrap(),
    ]
}

const CASES: [(u32, u32, usize, Form, usize); 9] = [
    (40, 17, 1, Form::Layers, 7),
    (40, 17, 2, Form::Layers, 64),
    (40, 17, 3, Form::Layers, 65),
    (40, 17, 4, Form::Layers, 16),
    // Rows of more edges than a task takes.
    (9000, 61, 2, Form::Layers, 16),
    (9000, 61, 2, Form::Gram, 16),
    (40, 17, 2, Form::Gram, 64),
    (40, 19, 2, Form::Gram, 7),
    (2, 3, 2, Form::Gram, 1),
];

/// Every case in every form.
fn cases() -> impl Iterator<Item = (u32, u32, usize, Form, usize, Storage)> {
    CASES.into_iter().flat_map(|(users, items, layers, form, dim)| {
        Storage::ALL.map(|storage| (users, items, layers, form, dim, storage))
    })
}

#[test]
fn forward_is_the_mean_of_the_layers() {
    for (users, items, layers, form, dim, storage) in cases() {
        let what = format!("{users} x {items}, {layers} layers, {form:?}, D {dim}, {storage}");
        let data = world(users, items);
        let [p, q] = tables(&data, dim, storage);
        let expected = propagate(&data, layers, &nodes([&p, &q]));
        let size = propagate(&data, layers, &sizes(&nodes([&p, &q])));
        Team::enter(|team| {
            let mut propagation =
                Propagation::new(Graph::new(&data), LightGcn { layers, form }, [&p, &q], team).unwrap();
            assert_eq!(propagation.form(), form);
            propagation.forward(team, [&p, &q]);
            for side in [USERS, ITEMS] {
                let (table, first) = ([&p, &q][side], [0, users as usize][side]);
                let some: Vec<u32> = (0..table.rows() as u32).rev().step_by(2).collect();
                for ids in [None, Some(some.as_slice())] {
                    let n = ids.map_or(table.rows(), <[u32]>::len);
                    let mut got = vec![f32::NAN; n * table.stride()];
                    let work = propagation.work(side, ids);
                    propagation.last_layer(team, side, table, &work, ids, &mut got);
                    for (k, got) in got.chunks_exact(table.stride()).enumerate() {
                        let row = ids.map_or(k, |ids| ids[k] as usize);
                        for (d, expected) in expected[first + row].iter().enumerate() {
                            let error = (f64::from(got[d]) - expected).abs();
                            // Sums of up to thousands of f32 of magnitude one, of terms rounded in every layer; f16 has
                            // multiples of 2^-24 at least.
                            let rounded = 1.01 * layers as f64 * rounding(storage) * size[first + row][d];
                            assert!(
                                error < 2e-6 + rounded,
                                "{what}: side {side} row {row}: {} for {expected}",
                                got[d]
                            );
                        }
                        assert!(got[dim..].iter().all(|&x| x == 0.0), "{what}: padding");
                    }
                }
            }
        });
    }
}

#[test]
fn backward_is_the_same_propagation_with_l2_on_the_rows_of_the_batch() {
    for (users, items, layers, form, dim, storage) in cases() {
        let what = format!("{users} x {items}, {layers} layers, {form:?}, D {dim}, {storage}");
        let data = world(users, items);
        let [mut p, mut q] = tables(&data, dim, storage);
        let before = nodes([&p, &q]);
        let (adam, l2) = (Adam::default(), [0.25f32, 0.5]);
        let ids: [Vec<u32>; 2] = [(0..users).step_by(3).collect(), (0..items).rev().step_by(2).collect()];
        let starts =
            ids.clone().map(|ids| (0..=ids.len() as u32).map(|k| k * (k + 1) / 2).collect::<Vec<_>>());
        let batch = [USERS, ITEMS].map(|side| Batch { ids: &ids[side], starts: &starts[side] });
        let mut given = vec![vec![0f64; dim]; before.len()];
        let mut besides = given.clone();
        Team::enter(|team| {
            let mut propagation =
                Propagation::new(Graph::new(&data), LightGcn { layers, form }, [&p, &q], team).unwrap();
            propagation.forward(team, [&p, &q]);
            let stride = p.stride();
            // What parameters have besides is not propagated.
            let ego = [layers != 3, layers != 2];
            for (side, gradients) in propagation.gradients(batch, ego).into_iter().enumerate() {
                assert_eq!(gradients.ego.is_some(), ego[side]);
                let rows = gradients.ego.into_iter().flat_map(|ego| ego.chunks_exact_mut(stride));
                for (row, &id) in rows.zip(&ids[side]) {
                    let node = [0, users as usize][side] + id as usize;
                    for d in 0..dim {
                        row[d] = ((id as usize * 13 + d * 5 + side) % 19) as f32 / 19.0 - 0.5;
                        besides[node][d] = f64::from(row[d]);
                    }
                }
                for (row, &id) in gradients.last.chunks_exact_mut(stride).zip(&ids[side]) {
                    for d in 0..dim {
                        row[d] = ((id as usize * 31 + d * 17 + side) % 23) as f32 / 23.0 - 0.5;
                        given[[0, users as usize][side] + id as usize][d] = f64::from(row[d]);
                    }
                }
            }
            propagation.backward(team, [&mut p, &mut q], batch, l2, &adam, 1);
        });
        let mut expected = propagate(&data, layers, &given);
        let size = propagate(&data, layers, &sizes(&given));
        for side in [USERS, ITEMS] {
            for (slot, &id) in ids[side].iter().enumerate() {
                let node = [0, users as usize][side] + id as usize;
                let weight = f64::from(l2[side]) * (slot as f64 + 1.0);
                for d in 0..dim {
                    expected[node][d] += weight * before[node][d] + besides[node][d];
                }
            }
        }
        // After one step from zero, m = (1 - beta1) g, and p moves by the rate against its sign.
        let largest = expected.iter().flatten().fold(0f64, |a, g| a.max(g.abs()));
        for (node, (expected, before)) in expected.iter().zip(&before).enumerate() {
            let (table, row) = if node < users as usize { (&p, node) } else { (&q, node - users as usize) };
            let (moved, m) = (parameters(table, row as u32), first_moments(table, row as u32));
            for d in 0..dim {
                let g = f64::from(m[d]) / f64::from(1.0 - 0.9f32);
                let rounded = 1.01 * layers as f64 * rounding(storage.of_gradients()) * size[node][d];
                assert!(
                    (g - expected[d]).abs() < 3e-6 * largest + rounded,
                    "{what}: node {node}: {g} for {}",
                    expected[d]
                );
                if expected[d].abs() > 1e-3 + rounded {
                    let step = f64::from(moved[d]) - before[d];
                    // To one of two neighbours, which lie within twice a half each.
                    let unit = 2.0 * rounding(storage) * (before[d].abs() + 1e-3);
                    let error = (step + 1e-3 * expected[d].signum()).abs();
                    assert!(error < 1e-5 + unit, "{what}: node {node}: {step}");
                }
            }
        }
    }
}
