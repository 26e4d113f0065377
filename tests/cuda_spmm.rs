//! `spmm` and `mark` on the device against sums and Adam in f64.
#![cfg(feature = "cuda")]

mod batches;
mod emulator;

use std::hash::Hasher;

use batches::{GUARD, Random, TEST, guard, near, near_stored, unit, untouched};
use macr::{
    backend::cuda::{
        Buffer, Device, Stored,
        adam::Optimiser,
        batch::Batch,
        params::NO_SLOT,
        sample::Touched,
        spmm::{Base, Edges, Finish, Half, Input, Move, Output, Spmm},
        table::{Table, stride, whole},
    },
    data::Csr,
    optim::{Adam, CatchUp},
    storage::{Noise, Storage},
};

/// Which rows of the other side the edges lead to.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Ids {
    /// All to one.
    One,
    /// To the last three.
    Last,
    Uniform,
}

#[derive(Debug, Clone, Copy)]
struct Case {
    others: usize,
    dim: usize,
    storage: Storage,
    ids: Ids,
}

/// Edges of the rows of every case: none, few, one unit full, one more than that, several units, and none at the end.
const DEGREES: [usize; 23] =
    [0, 700, 1, 2, 256, 3, 257, 5, 16, 17, 0, 33, 64, 1025, 4, 7, 8, 9, 31, 32, 255, 512, 0];
const ROWS: usize = DEGREES.len();
/// Rows of the batch on the side of the sums.
const TOUCHED: [u32; 9] = [0, 1, 4, 6, 7, 13, 18, 21, 22];

fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for (k, dim) in [1, 7, 32, 64, 65, 128, 300].into_iter().enumerate() {
        let ids = [Ids::Uniform, Ids::One, Ids::Last][k % 3];
        let other = if ids == Ids::Last { Ids::Uniform } else { Ids::Last };
        all.push(Case { others: 90, dim, storage: Storage::F32, ids });
        all.push(Case { others: 90, dim, storage: Storage::F32, ids: other });
        let storage = [Storage::F16, Storage::Bf16][k % 2];
        all.push(Case { others: 90, dim, storage, ids });
        all.push(Case { others: 90, dim, storage: storage.of_gradients(), ids: other });
    }
    for storage in Storage::ALL {
        all.push(Case { others: 90, dim: 1000, storage, ids: Ids::Uniform });
        // The last with two bytes an edge, and the first with four.
        all.push(Case { others: 1 << 16, dim: 3, storage, ids: Ids::Last });
        all.push(Case { others: (1 << 16) + 1, dim: 3, storage, ids: Ids::Last });
    }
    all.push(Case { others: (1 << 16) + 1, dim: 17, storage: Storage::F32, ids: Ids::Uniform });
    all
}

/// A case on the host.
struct World {
    case: Case,
    stride: usize,
    offsets: Vec<u64>,
    indices: Vec<u32>,
    scale: Vec<f32>,
    /// `[others]`, as if those had other edges too.
    other_scale: Vec<f32>,
    /// `[others, stride]`: numbers that the form of the tables has, and that of gradients.
    x: Vec<f32>,
    /// Every third other row is in the batch: `[others]`, and `[n, stride]`.
    other_slot: Vec<u32>,
    values: Vec<f32>,
    /// `[rows, stride]`.
    base: Vec<f32>,
    /// `[touched, stride]`.
    gradient: Vec<f32>,
}

impl World {
    fn new(case: Case) -> Self {
        let (mut random, stride) = (Random::new(case.dim as u64), stride(case.dim));
        let mut offsets = vec![0];
        DEGREES.iter().for_each(|&n| offsets.push(offsets[offsets.len() - 1] + n as u64));
        let edges = offsets[ROWS] as usize;
        let n = case.others;
        let indices = (0..edges).map(|k| match case.ids {
            Ids::One => n as u32 - 1,
            Ids::Last => (n - 1 - k % 3) as u32,
            Ids::Uniform => random.below(n) as u32,
        });
        let indices = indices.collect();
        let scale = DEGREES.map(|n| if n == 0 { 0.0 } else { 1.0 / (n as f32).sqrt() }).to_vec();
        let mut rows = |n: usize| -> Vec<f32> {
            let padded = |k: usize| if k % stride < case.dim { random.signed() } else { 0.0 };
            (0..n * stride).map(padded).collect()
        };
        let stored = |mut values: Vec<f32>| {
            case.storage.of_gradients().round(&mut values);
            case.storage.round(&mut values);
            values
        };
        let in_batch = |k: usize| if k % 3 == 2 { (k / 3) as u32 } else { NO_SLOT };
        World {
            x: stored(rows(n)),
            other_slot: (0..n).map(in_batch).collect(),
            values: rows(n / 3 + 1),
            base: stored(rows(ROWS)),
            gradient: rows(TOUCHED.len()),
            other_scale: (0..n).map(|k| 1.0 / (1.0 + k as f32 % 7.0).sqrt()).collect(),
            case,
            stride,
            offsets,
            indices,
            scale,
        }
    }

    fn csr(&self) -> Csr<'_> {
        Csr { offsets: &self.offsets, indices: &self.indices }
    }

    /// y of a row, and what its rounding errors are bounded by.
    fn y(&self, row: usize, column: usize, sparse: bool, base_of_batch: bool) -> (f64, f64) {
        let (mut sum, mut size) = (0.0, 0.0f64);
        for &other in self.csr().row(row as u32) {
            let other = other as usize;
            let x = if !sparse {
                f64::from(self.x[other * self.stride + column])
            } else if self.other_slot[other] == NO_SLOT {
                0.0
            } else {
                f64::from(self.other_scale[other])
                    * f64::from(self.values[self.other_slot[other] as usize * self.stride + column])
            };
            sum += x;
            size += x.abs();
        }
        let slot = TOUCHED.iter().position(|&id| id as usize == row);
        let base = match (base_of_batch, slot) {
            (false, _) => self.base[row * self.stride + column],
            (true, None) => 0.0,
            (true, Some(slot)) => self.gradient[slot * self.stride + column],
        };
        let (base, scale) = (f64::from(base), f64::from(self.scale[row]));
        // 2^-24 for each addition that a term goes through: in its unit, then the parts, then the base.
        let additions = DEGREES[row].min(256) + DEGREES[row].div_ceil(256) + 4;
        (base + scale * sum, 6e-8 * additions as f64 * scale * size + 1.2e-7 * base.abs())
    }
}

/// A [`World`] on the device.
struct Uploaded {
    edges: Edges,
    /// In the form of the tables, and in that of gradients.
    x: [Stored; 2],
    other_slot: Buffer<u32>,
    other_scale: Buffer<f32>,
    values: Buffer<f32>,
    base: Stored,
    gradient: Buffer<f32>,
    slot: Buffer<u32>,
    step: Buffer<u64>,
    batch_rows: Buffer<u32>,
    touched: Touched,
}

const SIZE: usize = 20;
const NOW: u64 = 6;

impl Uploaded {
    fn new(device: &Device, world: &World) -> Self {
        let mut slot = vec![NO_SLOT; ROWS];
        TOUCHED.iter().enumerate().for_each(|(k, &id)| slot[id as usize] = k as u32);
        let up = |values: &[f32]| device.upload(TEST, values).unwrap();
        let storage = world.case.storage;
        let stored = |form, values: &[f32]| Stored::upload(device, TEST, form, values).unwrap();
        let mut rows = vec![u32::MAX; 2 * SIZE];
        rows[..TOUCHED.len()].copy_from_slice(&TOUCHED);
        // Slot k has k + 1 samples.
        let starts: Vec<u32> = (0..2 * SIZE as u32 + 1).map(|k| k * (k + 1) / 2).collect();
        let empty = || device.upload(TEST, &[u32::MAX; 2 * SIZE]).unwrap();
        Uploaded {
            edges: Edges::new(device, world.csr(), world.case.others, &world.scale).unwrap(),
            x: [stored(storage, &world.x), stored(storage.of_gradients(), &world.x)],
            other_slot: device.upload(TEST, &world.other_slot).unwrap(),
            other_scale: up(&world.other_scale),
            values: up(&world.values),
            base: stored(storage, &world.base),
            gradient: up(&world.gradient),
            slot: device.upload(TEST, &slot).unwrap(),
            step: device.upload(TEST, &[NOW]).unwrap(),
            batch_rows: device.upload(TEST, &[15u32]).unwrap(),
            touched: Touched {
                rows: device.upload(TEST, &rows).unwrap(),
                starts: device.upload(TEST, &starts).unwrap(),
                samples: empty(),
                slot: empty(),
                count: device.upload(TEST, &[TOUCHED.len() as u32]).unwrap(),
                id_bits: 32,
            },
        }
    }

    fn batch(&self) -> Batch<'_> {
        Batch {
            step: &self.step,
            rows: &self.batch_rows,
            users: &self.touched,
            items: &self.touched,
            k: 0,
            size: SIZE,
        }
    }

    /// Gradients are what a batch's rows are added to.
    fn input(&self, sparse: bool, gradients: bool) -> Input<'_> {
        match sparse {
            false => Input::Rows(&self.x[usize::from(gradients)]),
            true => Input::Batch { slot: &self.other_slot, scale: &self.other_scale, values: &self.values },
        }
    }

    fn base(&self, of_batch: bool) -> Base<'_> {
        if of_batch { Base::Batch(&self.gradient) } else { Base::Table(&self.base) }
    }

    fn half<'a>(&'a self, sparse: bool, base_of_batch: bool, output: Output<'a>) -> Half<'a> {
        let finish = Finish {
            scale: &self.edges.scale,
            slot: Some(&self.slot),
            base: self.base(base_of_batch),
            output,
        };
        Half { edges: &self.edges, x: self.input(sparse, base_of_batch), finish }
    }
}

/// Compares `[rows, stride]`, which were stored in the form `form`, with `factor(row)` times y of the rows `ids`.
#[allow(clippy::too_many_arguments)]
fn check_rows(
    world: &World,
    form: Storage,
    got: &[f32],
    ids: &[u32],
    sparse: bool,
    base_of_batch: bool,
    factor: impl Fn(usize) -> f64,
    what: &str,
) {
    for (got, &row) in got.chunks_exact(world.stride).zip(ids) {
        let row = row as usize;
        for (column, &got) in got[..world.case.dim].iter().enumerate() {
            let (y, error) = world.y(row, column, sparse, base_of_batch);
            let factor = factor(row);
            // To the nearest is half a unit, of the next size where the sum's errors reach it.
            let nearest = if form == Storage::F32 { 0.0 } else { 0.5001 * unit(form, 1.001 * factor * y) };
            near(
                got,
                factor * y,
                factor.abs() * (error + 1.2e-7 * y.abs()) + nearest,
                format_args!("{what}, row {row}, column {column}"),
            );
        }
        assert!(got[world.case.dim..].iter().all(|&x| x == 0.0), "{what}, row {row}: padding");
    }
}

#[test]
fn sums_are_those_of_f64() {
    let Some(device) = emulator::device() else { return };
    let all: Vec<u32> = (0..ROWS as u32).collect();
    for (k, case) in cases().into_iter().enumerate() {
        let world = World::new(case);
        let up = Uploaded::new(&device, &world);
        let mut spmm = Spmm::new(&device, case.dim, case.storage, [&up.edges, &up.edges]).unwrap();
        let len = ROWS * world.stride;
        let room = |len| {
            let mut buffer = device.alloc::<f32>(TEST, len).unwrap();
            guard(&mut buffer);
            buffer
        };
        for (sparse, base_of_batch) in [(false, false), (true, true), (true, false), (false, true)] {
            let what = format!("{case:?}, sparse {sparse}, base of the batch {base_of_batch}");
            // Both sides at once, one of them for the batch alone; the sides change places.
            let form = if base_of_batch { case.storage.of_gradients() } else { case.storage };
            let mut scaled = Stored::alloc(&device, TEST, form, len).unwrap();
            let (mut plain, mut of_batch) = (room(len), room(len));
            let layer = up.half(sparse, base_of_batch, Output::Layer(&mut scaled, Some(&mut plain)));
            let last = up.half(sparse, base_of_batch, Output::Batch(0.25, &mut of_batch));
            let halves = if k % 2 == 0 { [Some(layer), Some(last)] } else { [Some(last), Some(layer)] };
            spmm.launch(halves).unwrap();
            let (scaled, plain, of_batch) =
                (scaled.read().unwrap(), plain.read().unwrap(), of_batch.read().unwrap());
            let scale = |row: usize| f64::from(world.scale[row]);
            check_rows(&world, form, &scaled, &all, sparse, base_of_batch, scale, &what);
            check_rows(&world, Storage::F32, &plain, &all, sparse, base_of_batch, |_| 1.0, &what);
            check_rows(&world, Storage::F32, &of_batch, &TOUCHED, sparse, base_of_batch, |_| 0.25, &what);
            assert!(untouched(&of_batch, TOUCHED.len() * world.stride), "{what}: rows beyond the last slot");
            // Again, to the bit: what is counted was left at zero. One side alone.
            let mut again = room(len);
            let all_rows = up.half(sparse, base_of_batch, Output::All(1.0, &mut again));
            spmm.launch(if k % 2 == 0 { [None, Some(all_rows)] } else { [Some(all_rows), None] }).unwrap();
            assert_eq!(again.read().unwrap(), plain, "{what}");
        }
        // Nothing that is read has been written to.
        up.x.iter().for_each(|x| assert_eq!(x.read().unwrap(), world.x));
        assert_eq!(up.base.read().unwrap(), world.base);
        assert_eq!(up.gradient.read().unwrap(), world.gradient);
    }
}

#[test]
fn rows_move_by_adam_with_l2_on_the_rows_of_the_batch() {
    let Some(device) = emulator::device() else { return };
    let (adam, l2, factor) = (Adam::default(), 0.06f32, 0.5f32);
    let optimiser = Optimiser::new(&device, adam, CatchUp::Quadrature).unwrap();
    for case in cases() {
        let world = World::new(case);
        let up = Uploaded::new(&device, &world);
        let (dim, stride) = (case.dim, world.stride);
        let mut random = Random::new(5);
        let mut rows = |size: f32| -> Vec<f32> {
            let padded = |k: usize| if k % stride < dim { size * random.signed() } else { 0.0 };
            (0..ROWS * stride).map(padded).collect()
        };
        let (mut p, m) = (rows(0.3), rows(0.1));
        case.storage.round(&mut p);
        let noise = Noise::new(5, 1);
        let v: Vec<f32> = rows(0.1).into_iter().map(|x| x * x).collect();
        let (row, last) = (whole(dim), [0; ROWS]);
        let mut table = Table::upload(&device, row, (case.storage, noise), [&p, &m, &v], &last).unwrap();
        let mut spmm = Spmm::new(&device, dim, case.storage, [&up.edges, &up.edges]).unwrap();
        let mut scaled = Stored::alloc(&device, TEST, case.storage, p.len()).unwrap();
        let besides: Vec<f32> = (0..2 * SIZE * stride)
            .map(|k| if k % stride < dim { 0.3 * random.signed() } else { 0.0 })
            .collect();
        let ego = device.upload(TEST, &besides).unwrap();
        // In every other case the parameters have nothing besides.
        let has_ego = case.dim % 2 == 0;
        let to = Move {
            factor,
            table: &mut table,
            scaled: &mut scaled,
            batch: up.batch(),
            touched: &up.touched,
            l2,
            ego: has_ego.then_some(&ego),
            optimiser: &optimiser,
        };
        spmm.launch([Some(up.half(false, true, Output::Move(to))), None]).unwrap();
        let [m_got, v_got] = [&table.m, &table.v].map(|buffer| buffer.read().unwrap());
        let got = [table.p.read().unwrap(), m_got, v_got, scaled.read().unwrap()];
        let (b1, b2) = (f64::from(adam.beta1), f64::from(adam.beta2));
        let rate = adam.rate(NOW + 1);
        for row in 0..ROWS {
            let slot = TOUCHED.iter().position(|&id| id as usize == row);
            let weight = slot.map_or(0.0, |slot| f64::from(l2) / 15.0 * (slot + 1) as f64);
            for column in 0..stride {
                let at = row * stride + column;
                let what = format!("{case:?}, row {row}, column {column}");
                if column >= dim {
                    assert!(got.iter().all(|values| values[at] == 0.0), "{what}: padding");
                    continue;
                }
                let [p, m, v] = [p[at], m[at], v[at]].map(f64::from);
                let (y, error) = world.y(row, column, false, true);
                let besides =
                    slot.filter(|_| has_ego).map_or(0.0, |slot| f64::from(besides[slot * stride + column]));
                let g = f64::from(factor) * y + weight * p + besides;
                let error = f64::from(factor) * error + 3e-7 * (g.abs() + weight * p.abs() + besides.abs());
                let (new_m, new_v) = (b1 * m + (1.0 - b1) * g, b2 * v + (1.0 - b2) * g * g);
                let new_p = p - rate * new_m / (new_v.sqrt() + f64::from(adam.epsilon));
                let of_m = (1.0 - b1) * error + 3e-7 * (m.abs() + g.abs());
                let of_v = (1.0 - b2) * 2.0 * g.abs() * error + 3e-7 * new_v + 1e-12;
                near(got[1][at], new_m, of_m, format_args!("{what}, m"));
                near(got[2][at], new_v, of_v, format_args!("{what}, v"));
                let step = (p - new_p).abs();
                let moved = rate * of_m / new_v.sqrt().max(1e-6) + step * (of_v / new_v.max(1e-12) + 1e-6);
                let word = noise.row(NOW + 1, row as u32).word(column);
                let tolerance = moved + 1.2e-7 * p.abs();
                near_stored(case.storage, word, got[0][at], new_p, tolerance, format_args!("{what}, p"));
                let mut scaled = [world.scale[row] * got[0][at]];
                case.storage.round(&mut scaled);
                assert_eq!(got[3][at], scaled[0], "{what}, scaled");
            }
        }
    }
}

#[test]
fn the_rows_of_a_batch_are_marked_and_unmarked() {
    let Some(device) = emulator::device() else { return };
    let world = World::new(cases()[0]);
    let up = Uploaded::new(&device, &world);
    let spmm = Spmm::new(&device, world.case.dim, Storage::F32, [&up.edges, &up.edges]).unwrap();
    let fresh = || device.upload(TEST, &[NO_SLOT; ROWS]).unwrap();
    let (mut users, mut items) = (fresh(), fresh());
    spmm.mark(up.batch(), [SIZE, 2 * SIZE], [&mut users, &mut items], true).unwrap();
    let expected = up.slot.read().unwrap();
    assert_eq!(users.read().unwrap(), expected);
    assert_eq!(items.read().unwrap(), expected);
    spmm.mark(up.batch(), [SIZE, 2 * SIZE], [&mut users, &mut items], false).unwrap();
    assert_eq!(users.read().unwrap(), [NO_SLOT; ROWS]);
    assert_eq!(items.read().unwrap(), [NO_SLOT; ROWS]);
}

/// Prints a hash of the sums of all cases.
#[test]
fn prints_the_bits_of_sums() {
    let Some(device) = emulator::device() else { return };
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    for case in cases() {
        let world = World::new(case);
        let up = Uploaded::new(&device, &world);
        let mut spmm = Spmm::new(&device, case.dim, case.storage, [&up.edges, &up.edges]).unwrap();
        let mut out = [0, 1].map(|_| device.upload(TEST, &vec![GUARD; ROWS * world.stride]).unwrap());
        let [users, items] = &mut out;
        let halves =
            [up.half(false, false, Output::All(1.0, users)), up.half(true, true, Output::All(1.0, items))];
        spmm.launch(halves.map(Some)).unwrap();
        for out in out {
            out.read().unwrap().iter().for_each(|x| hash.write_u32(x.to_bits()));
        }
    }
    println!("bits {:016x}", hash.digest());
}

#[test]
fn any_order_of_blocks_and_threads_gives_the_same_bits() {
    emulator::same_bits_in_any_order("prints_the_bits_of_sums");
}
