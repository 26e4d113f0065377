//! `gram` on the device against products in f64.
#![cfg(feature = "cuda")]

mod batches;
mod emulator;

use std::hash::Hasher;

use batches::{Random, TEST, guard, near, near_stored, untouched};
use macr::{
    Edges, InteractionsBuilder, Split,
    backend::{
        cpu::{gram, team::Team},
        cuda::{
            Buffer, Device, Stored,
            adam::Optimiser,
            batch::Batch,
            gram::{Gram, pitch, product},
            params::NO_SLOT,
            sample::Touched,
            spmm::{self, Base, Finish, Input, Move, Output},
            table::{Table, stride, whole},
        },
    },
    data::graph::Graph,
    optim::{Adam, CatchUp},
    storage::{Noise, Storage},
};

/// Items and columns: one tile and several, of rows, of columns, and of both; lone items; odd numbers of items.
const CASES: [(usize, usize); 9] =
    [(1, 1), (7, 3), (61, 7), (130, 32), (131, 64), (64, 65), (259, 16), (70, 128), (33, 300)];
const SIZE: usize = 200;

/// Every case in one form, and in f32.
fn cases() -> impl Iterator<Item = ((usize, usize), Storage)> {
    let forms = [Storage::F16, Storage::Bf16].into_iter().cycle();
    CASES.into_iter().zip(forms).flat_map(|(case, form)| [(case, Storage::F32), (case, form)])
}

const NOW: u64 = 3;

/// A case on the host and on the device.
struct World {
    items: usize,
    dim: usize,
    /// Of x and of tables.
    storage: Storage,
    stride: usize,
    /// `[I, I]`
    matrix: Vec<f32>,
    scale: Vec<f32>,
    x: Vec<f32>,
    base: Vec<f32>,
    /// The batch's items, every third from the last one on, and their rows.
    touched: Vec<u32>,
    values: Vec<f32>,
}

impl World {
    fn new((items, dim): (usize, usize), storage: Storage) -> Self {
        let (mut random, stride) = (Random::new(items as u64), stride(dim));
        let mut rows = |n: usize| -> Vec<f32> {
            let padded = |k: usize| if k % stride < dim { random.signed() } else { 0.0 };
            (0..n * stride).map(padded).collect()
        };
        let mut touched: Vec<u32> = (0..items as u32).rev().step_by(3).collect();
        touched.reverse();
        World {
            x: {
                let mut x = rows(items);
                storage.round(&mut x);
                x
            },
            base: rows(items),
            values: rows(touched.len()),
            matrix: (0..items * items).map(|_| random.signed()).collect(),
            scale: (0..items)
                .map(|i| if i % 11 == 5 { 0.0 } else { 1.0 / (1.0 + i as f32 % 5.0).sqrt() })
                .collect(),
            touched,
            items,
            dim,
            storage,
            stride,
        }
    }

    /// Base and product, and what rounding errors are bounded by.
    fn y(&self, item: usize, column: usize, sparse: bool) -> (f64, f64) {
        let (mut sum, mut size) = (0.0, 0.0f64);
        let mut add = |other: usize, x: f64| {
            let term = f64::from(self.matrix[item * self.items + other]) * x;
            sum += term;
            size += term.abs();
        };
        if sparse {
            for (slot, &other) in self.touched.iter().enumerate() {
                let x = f64::from(self.values[slot * self.stride + column]);
                add(other as usize, f64::from(self.scale[other as usize]) * x);
            }
        } else {
            (0..self.items).for_each(|other| add(other, f64::from(self.x[other * self.stride + column])));
        }
        let base = f64::from(self.base[item * self.stride + column]);
        (base + sum, rounding(self.items) * size + 1.2e-7 * base.abs())
    }
}

/// What the error of a product of so many items is bounded by, as a share of its terms' magnitudes.
///
/// The parts that factors are split in leave out 2^-21 of each (the small one, up to 2^-11, is cut to 11 bits), and the
/// product of the small ones 2^-22. An mma adds eight products and a sum, each cut to no less than 24 bits of the
/// largest: 9 2^-23, twice for large products, and for the small ones, 2^-10 of those, four times. Before, a sparse
/// factor was scaled; after, a term goes through the f32 additions of slices of 16 items and of up to 16 splits. In
/// units of 2^-24: 20, 36 and less than 1, 1, and 1 for each addition.
fn rounding(items: usize) -> f64 {
    0.5f64.powi(24) * (20 + 37 + 1 + items.div_ceil(16) + 16) as f64
}

/// As the device has it.
fn padded(matrix: &[f32], items: usize) -> Vec<f32> {
    let row = |row: &[f32]| [row, &vec![0.0; pitch(items) - items]].concat();
    matrix.chunks_exact(items).flat_map(row).collect()
}

struct Uploaded {
    gram: Gram,
    scale: Buffer<f32>,
    x: Stored,
    base: Buffer<f32>,
    values: Buffer<f32>,
    slot: Buffer<u32>,
    step: Buffer<u64>,
    rows: Buffer<u32>,
    touched: Touched,
}

impl Uploaded {
    fn new(device: &Device, world: &World) -> Self {
        let mut slot = vec![NO_SLOT; world.items];
        world.touched.iter().enumerate().for_each(|(k, &id)| slot[id as usize] = k as u32);
        let up = |values: &[f32]| device.upload(TEST, values).unwrap();
        let mut rows = vec![u32::MAX; 2 * SIZE];
        rows[..world.touched.len()].copy_from_slice(&world.touched);
        let starts: Vec<u32> = (0..2 * SIZE as u32 + 1).collect();
        let matrix = up(&padded(&world.matrix, world.items));
        let empty = || device.upload(TEST, &[u32::MAX; 2 * SIZE]).unwrap();
        Uploaded {
            gram: Gram::new(device, matrix, world.items, world.dim, world.storage).unwrap(),
            scale: up(&world.scale),
            x: Stored::upload(device, TEST, world.storage, &world.x).unwrap(),
            base: up(&world.base),
            values: up(&world.values),
            slot: device.upload(TEST, &slot).unwrap(),
            step: device.upload(TEST, &[NOW]).unwrap(),
            rows: device.upload(TEST, &[10u32]).unwrap(),
            touched: Touched {
                rows: device.upload(TEST, &rows).unwrap(),
                starts: device.upload(TEST, &starts).unwrap(),
                samples: empty(),
                slot: empty(),
                count: device.upload(TEST, &[world.touched.len() as u32]).unwrap(),
                id_bits: 32,
            },
        }
    }

    fn launch(&mut self, world: &World, sparse: bool, output: Output<'_>) {
        let Uploaded { gram, scale, x, base, values, slot, step, rows, touched } = self;
        let batch = Batch { step, rows, users: touched, items: touched, k: 0, size: SIZE };
        let of_batch = matches!(output, Output::Batch(..));
        let x = if sparse { Input::Batch { slot, scale, values } } else { Input::Rows(x) };
        let finish = Finish { scale, slot: Some(slot), base: Base::Rows(base), output };
        let slots = (2 * SIZE).min(world.items);
        gram.launch(of_batch.then_some((batch, slots)), x, finish).unwrap();
    }
}

fn check(world: &World, got: &[f32], ids: &[u32], sparse: bool, factor: f64, what: &str) {
    for (got, &item) in got.chunks_exact(world.stride).zip(ids) {
        for (column, &got) in got[..world.dim].iter().enumerate() {
            let (y, error) = world.y(item as usize, column, sparse);
            let tolerance = factor * (error + 1.2e-7 * y.abs());
            near(got, factor * y, tolerance, format_args!("{what}, item {item}, column {column}"));
        }
        assert!(got[world.dim..].iter().all(|&x| x == 0.0), "{what}, item {item}: padding");
    }
}

#[test]
fn products_are_those_of_f64() {
    let Some(device) = emulator::device() else { return };
    for (case, storage) in cases() {
        let world = World::new(case, storage);
        let mut up = Uploaded::new(&device, &world);
        let all: Vec<u32> = (0..world.items as u32).collect();
        let len = world.items * world.stride;
        for sparse in [false, true] {
            let what = format!("{} items, D {}, {storage}, sparse {sparse}", world.items, world.dim);
            let mut buffers = [0, 1].map(|_| device.alloc::<f32>(TEST, len).unwrap());
            buffers.iter_mut().for_each(guard);
            let [every, some] = &mut buffers;
            up.launch(&world, sparse, Output::All(0.5, every));
            up.launch(&world, sparse, Output::Batch(0.5, some));
            let [every, some] = buffers.map(|buffer| buffer.read().unwrap());
            check(&world, &every, &all, sparse, 0.5, &what);
            check(&world, &some, &world.touched, sparse, 0.5, &what);
            assert!(
                untouched(&some, world.touched.len() * world.stride),
                "{what}: rows beyond the last slot"
            );
            // The same sums in the same order, wherever a row lies.
            for (slot, &item) in world.touched.iter().enumerate() {
                let (slot, item) = (slot * world.stride, item as usize * world.stride);
                assert_eq!(some[slot..][..world.stride], every[item..][..world.stride], "{what}");
            }
        }
    }
}

/// Sums that are numbers of f32, and all of whose parts are: they come out exactly, in whatever order tensor cores add
/// and however they round, if every number meets its own. Small integers; and one factor of each sum with all the bits
/// that two parts have.
#[test]
fn sums_without_rounding_are_exact() {
    let Some(device) = emulator::device() else { return };
    for (case, storage) in cases() {
        let mut world = World::new(case, storage);
        let (items, stride) = (world.items, world.stride);
        world.base.fill(0.0);
        world.scale.fill(1.0);
        let expect_exact = |world: &World, what: &str| {
            let mut up = Uploaded::new(&device, world);
            let mut out = device.alloc::<f32>(TEST, items * stride).unwrap();
            up.launch(world, false, Output::All(1.0, &mut out));
            for (at, got) in out.read().unwrap().into_iter().enumerate() {
                let expected = world.y(at / stride, at % stride, false).0;
                assert_eq!(f64::from(got), expected, "{case:?}, {storage}, {what}, {at}");
            }
        };
        let small = |k: usize, many: usize| (k * 37 % many) as f32 - (many / 2) as f32;
        for (k, x) in world.x.iter_mut().enumerate() {
            *x = if k % stride < world.dim { small(k, 101) } else { 0.0 };
        }
        world.matrix.iter_mut().enumerate().for_each(|(k, g)| *g = small(k, 127));
        expect_exact(&world, "integers");

        // Item i takes the row of item 5 i + 1, or what is that among so many, and a power of two of it.
        let from = |i: usize| (5 * i + 1) % items;
        world.matrix.fill(0.0);
        (0..items).for_each(|i| world.matrix[i * items + from(i)] = 0.5f32.powi(i as i32 % 9));
        if storage == Storage::F32 {
            // 22 significant bits.
            for (k, x) in world.x.iter_mut().enumerate().filter(|(k, _)| k % stride < world.dim) {
                *x = ((1 << 21) + k * 7919 % (1 << 21)) as f32 * if k % 3 == 0 { -1.0 } else { 1.0 };
            }
        }
        expect_exact(&world, "one term");
        if storage == Storage::F32 {
            world.matrix.iter_mut().enumerate().filter(|(_, g)| **g != 0.0).for_each(|(k, g)| {
                *g = ((1 << 21) + k * 104729 % (1 << 21)) as f32;
            });
            world.x.iter_mut().enumerate().for_each(|(k, x)| {
                *x = if k % stride < world.dim { 0.5f32.powi(k as i32 % 7) } else { 0.0 };
            });
            expect_exact(&world, "one term of the matrix");
        }
    }
}

#[test]
fn items_move_by_adam_with_l2_on_those_of_the_batch() {
    let Some(device) = emulator::device() else { return };
    let (adam, l2, factor) = (Adam::default(), 0.2f32, 0.5f32);
    let optimiser = Optimiser::new(&device, adam, CatchUp::Quadrature).unwrap();
    for (case, storage) in cases() {
        let world = World::new(case, storage);
        let mut up = Uploaded::new(&device, &world);
        // From zero moments, m is (1 - beta1) g.
        let zeros = vec![0f32; world.x.len()];
        let noise = Noise::new(4, 1);
        let row = whole(world.dim);
        let values = [world.x.as_slice(), &zeros, &zeros];
        let mut table = Table::upload(&device, row, (storage, noise), values, &vec![0; world.items]).unwrap();
        let mut scaled = Stored::alloc(&device, TEST, storage, zeros.len()).unwrap();
        // What the batch's rows have besides, by slot.
        let besides: Vec<f32> =
            (0..world.touched.len() * world.stride).map(|k| (k % 7) as f32 / 7.0 - 0.4).collect();
        let ego = device.upload(TEST, &besides).unwrap();
        {
            let Uploaded { gram, scale, base, values, slot, step, rows, touched, .. } = &mut up;
            let batch = Batch { step, rows, users: touched, items: touched, k: 0, size: SIZE };
            let to = Move {
                factor,
                table: &mut table,
                scaled: &mut scaled,
                batch,
                touched,
                l2,
                ego: Some(&ego),
                optimiser: &optimiser,
            };
            let finish = Finish { scale, slot: Some(slot), base: Base::Rows(base), output: Output::Move(to) };
            gram.launch(None, Input::Batch { slot, scale, values }, finish).unwrap();
        }
        let (p, m, scaled) = (table.p.read().unwrap(), table.m.read().unwrap(), scaled.read().unwrap());
        for item in 0..world.items {
            let slot = world.touched.iter().position(|&id| id as usize == item);
            let weight = if slot.is_some() { f64::from(l2) / 10.0 } else { 0.0 };
            for column in 0..world.dim {
                let what = format!("{case:?}, {storage}, item {item}, column {column}");
                let at = item * world.stride + column;
                let before = f64::from(world.x[at]);
                let (y, error) = world.y(item, column, true);
                let besides = slot.map_or(0.0, |slot| f64::from(besides[slot * world.stride + column]));
                let g = 0.5 * y + weight * before + besides;
                let tolerance =
                    0.1 * (0.5 * error + 3e-7 * (g.abs() + weight + besides.abs())) + 3e-7 * g.abs();
                near(m[at], f64::from(1.0 - adam.beta1) * g, tolerance, format_args!("{what}, m"));
                if g.abs() > 1e-2 {
                    let v = f64::from(1.0 - adam.beta2) * g * g;
                    let step = adam.rate(NOW + 1) * f64::from(1.0 - adam.beta1) * g / (v.sqrt() + 1e-8);
                    let word = noise.row(NOW + 1, item as u32).word(column);
                    near_stored(storage, word, p[at], before - step, 1e-6, format_args!("{what}, p"));
                }
                let mut expected = [world.scale[item] * p[at]];
                storage.round(&mut expected);
                assert_eq!(scaled[at], expected[0], "{what}, scaled");
            }
        }
    }
}

#[test]
fn a_product_on_the_graph_is_two_halves() {
    let Some(device) = emulator::device() else { return };
    let (users, items, dim) = (60u32, 37u32, 9);
    let pairs =
        (0..users - 1).flat_map(|u| (0..1 + u % 6).map(move |k| (u, (u * 5 + k * k * 3) % (items - 1))));
    let data =
        InteractionsBuilder::new(users, items).split(Split::Train, Edges::from_pairs(pairs)).build().unwrap();
    let graph = Graph::new(&data);
    let mut world = World::new((items as usize, dim), Storage::F32);
    world.matrix = Team::enter(|team| gram::product(team, &graph));
    let mut up = Uploaded::new(&device, &world);
    let mut out = device.alloc::<f32>(TEST, world.x.len()).unwrap();
    up.launch(&world, false, Output::All(1.0, &mut out));
    let out = out.read().unwrap();
    for item in 0..items {
        for column in 0..dim {
            let mut expected = f64::from(world.base[item as usize * world.stride + column]);
            for &user in graph.by_item.row(item) {
                let of_user = f64::from(graph.user_scale[user as usize]).powi(2);
                for &other in graph.by_user.row(user) {
                    let x = f64::from(world.x[other as usize * world.stride + column]);
                    expected += f64::from(graph.item_scale[item as usize]) * of_user * x;
                }
            }
            let got = out[item as usize * world.stride + column];
            near(got, expected, 4e-6, format_args!("item {item}, column {column}"));
        }
    }
}

/// The CPU's to the bit. Graphs of more columns than a block makes, of users and items without edges, of an item with
/// more users than a block has threads and a user with as many items, and of more users than 16 bits number.
#[test]
fn the_matrix_is_that_of_the_cpu() {
    let Some(device) = emulator::device() else { return };
    let mut random = Random::new(7);
    for (users, items, edges) in [(1, 1, 1), (300, 40, 2000), (30, 2300, 900), (66_000, 5, 900), (3, 4, 0)] {
        let mut skewed = |n: u32| random.below(n as usize).min(random.below(n as usize)) as u32;
        let mut pairs: Vec<_> = (0..edges).map(|_| (skewed(users), skewed(items))).collect();
        // Everything but the last user and the last item.
        if users.min(items) > 1 && edges > 0 {
            pairs.extend((0..users.min(200)).map(|user| (user, 0)));
            pairs.extend((0..items).map(|item| (0, item)));
            pairs.retain(|&(user, item)| user < users - 1 && item < items - 1);
        }
        let data = InteractionsBuilder::new(users, items)
            .split(Split::Train, Edges::from_pairs(pairs))
            .build()
            .unwrap();
        let graph = Graph::new(&data);
        let side =
            |csr, others: u32, scale: &[f32]| spmm::Edges::new(&device, csr, others as usize, scale).unwrap();
        let sides =
            [side(graph.by_user, items, &graph.user_scale), side(graph.by_item, users, &graph.item_scale)];
        let got = product(&device, &graph, sides.each_ref()).unwrap().read().unwrap();
        let expected = padded(&Team::enter(|team| gram::product(team, &graph)), items as usize);
        let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert!(bits(&got) == bits(&expected), "{users} users, {items} items");
    }
}

/// Prints a hash of the products of all cases.
#[test]
fn prints_the_bits_of_products() {
    let Some(device) = emulator::device() else { return };
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    for (case, storage) in cases() {
        let world = World::new(case, storage);
        let mut up = Uploaded::new(&device, &world);
        for sparse in [false, true] {
            let mut out = device.alloc::<f32>(TEST, world.x.len()).unwrap();
            up.launch(&world, sparse, Output::All(1.0, &mut out));
            out.read().unwrap().iter().for_each(|x| hash.write_u32(x.to_bits()));
        }
    }
    println!("bits {:016x}", hash.digest());
}

#[test]
fn any_order_of_blocks_and_threads_gives_the_same_bits() {
    emulator::same_bits_in_any_order("prints_the_bits_of_products");
}
