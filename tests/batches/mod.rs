//! Batches and tables for tests of the kernels of a step: one table of cases for all of them.
#![allow(dead_code)]

use macr::{
    Config, Edges, InteractionsBuilder, Split,
    backend::{
        cpu::table::Parts,
        cuda::{
            Buffer, Device, Purpose,
            batch::Batch,
            sample::Touched,
            table::{Table, whole},
        },
    },
    objective::{self, Objective},
    optim::Adam,
    sampling::{Negatives, Sampler, SamplerKind},
    storage::{Noise, RowNoise, Storage},
};

pub const TEST: Purpose = Purpose { what: "a test", lower: "nothing" };

/// Which rows a batch touches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ids {
    /// All samples on item 2; users in turn.
    OneItem,
    /// Row k with probability proportional to 1 / (k + 1), users and items.
    Zipf,
    /// The last rows of both tables.
    Last,
    /// Uniform.
    Uniform,
}

/// One case: rows of the batch, rows of a full batch, embedding size, form of the tables, ids, steps done.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub rows: usize,
    pub size: usize,
    pub dim: usize,
    pub storage: Storage,
    pub ids: Ids,
    pub now: u64,
}

/// Steps that rows have been idle for; `None`: never touched.
pub const IDLE: [Option<u64>; 7] = [None, Some(0), Some(1), Some(5), Some(256), Some(300), Some(5000)];

pub fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for (k, dim) in [1, 7, 32, 64, 65, 128, 300, 520].into_iter().enumerate() {
        for (j, ids) in [Ids::OneItem, Ids::Zipf, Ids::Last, Ids::Uniform].into_iter().enumerate() {
            // Before and after the rates have settled.
            let now = [5100, 40_000][(k + j) % 2];
            let (rows, size) = [(1, 1), (33, 33), (200, 231), (64, 64)][(k + j) % 4];
            all.push(Case { rows, size, dim, storage: Storage::F32, ids, now });
            // One of the others, so that each meets every size.
            let storage = [Storage::F16, Storage::Bf16][(k / 2 + j) % 2];
            all.push(Case { rows, size, dim, storage, ids, now });
        }
    }
    for storage in Storage::ALL {
        all.push(Case { rows: 17, size: 17, dim: 1024, storage, ids: Ids::OneItem, now: 7000 });
        all.push(Case { rows: 9, size: 10, dim: 20, storage, ids: Ids::Zipf, now: 3 });
    }
    let storage = Storage::F32;
    all.push(Case { rows: 1200, size: 1200, dim: 16, storage, ids: Ids::OneItem, now: 6000 });
    all.push(Case { rows: 9, size: 10, dim: 20, storage, ids: Ids::Uniform, now: 0 });
    all
}

/// Distance of the neighbours of x in a form of 16 bits.
pub fn unit(storage: Storage, x: f64) -> f64 {
    let exponent = x.abs().log2().floor();
    match storage {
        Storage::F32 => unreachable!("its rounding is counted with the arithmetic's"),
        Storage::F16 => 2f64.powf(exponent.max(-14.0) - 10.0),
        Storage::Bf16 => 2f64.powf(exponent.max(-126.0) - 7.0),
    }
}

/// x rounded at random by `word`: |x| down to a whole number of units, after so much of a unit is added.
pub fn rounded_at_random(storage: Storage, x: f64, word: u32) -> f64 {
    let (unit, bits) = (unit(storage, x), if storage == Storage::F16 { 13 } else { 16 });
    let share = f64::from(word >> (32 - bits)) / 2f64.powi(bits);
    x.signum() * (x.abs() / unit + share).floor() * unit
}

/// As [`near`], of a parameter of the form `storage` that was rounded by `word` after arithmetic with errors below
/// `tolerance`.
pub fn near_stored(
    storage: Storage,
    word: u32,
    got: f32,
    expected: f64,
    tolerance: f64,
    what: impl std::fmt::Display,
) {
    if storage == Storage::F32 {
        return near(got, expected, tolerance, what);
    }
    let [low, high] =
        [expected - tolerance, expected + tolerance].map(|x| rounded_at_random(storage, x, word));
    let got = f64::from(got);
    assert!(
        low <= got && got <= high,
        "{what}: {got} for {expected}, which {word:x} rounds to {low} or {high}"
    );
}

/// Deterministic numbers.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// In [0, 1).
    pub fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.uniform() * n as f64) as usize
    }

    /// In [-1, 1).
    pub fn signed(&mut self) -> f32 {
        (2.0 * self.uniform() - 1.0) as f32
    }
}

/// The objective of `config`, for 60 items of which item i has i / 2 interactions.
pub fn objective(config: &Config) -> Box<dyn Objective> {
    let pairs = (0..60u32).flat_map(|i| (0..i / 2).map(move |u| (u, i)));
    let data =
        InteractionsBuilder::new(30, 60).split(Split::Train, Edges::from_pairs(pairs)).build().unwrap();
    let sampler = Sampler::new(&data, SamplerKind::UserUniform, Negatives::Uniform, 1, 1).unwrap();
    objective::build(config, &sampler).unwrap()
}

/// The columns of a padded row that are no padding.
pub fn columns(parts: Parts) -> impl Iterator<Item = usize> {
    (0..parts.count).flat_map(move |part| part * parts.stride..part * parts.stride + parts.width)
}

/// A table on the host, `[rows, stride]` with zeros for padding.
#[derive(Debug, Clone)]
pub struct HostTable {
    pub rows: usize,
    pub parts: Parts,
    pub storage: Storage,
    noise: Noise,
    pub p: Vec<f32>,
    pub m: Vec<f32>,
    pub v: Vec<f32>,
    pub last: Vec<u64>,
}

impl HostTable {
    fn new(rows: usize, (parts, storage): (Parts, Storage), now: u64, random: &mut Random) -> Self {
        let stride = parts.stride();
        let zeros = vec![0f32; rows * stride];
        let mut table = HostTable {
            rows,
            parts,
            storage,
            noise: Noise::new(9, rows as u32),
            p: zeros.clone(),
            m: zeros.clone(),
            v: zeros,
            last: vec![0; rows],
        };
        for row in 0..rows {
            table.last[row] = match IDLE[row % IDLE.len()] {
                Some(idle) if idle < now => now - idle,
                _ => 0,
            };
            for k in columns(parts).map(|c| row * stride + c) {
                table.p[k] = 0.2 * random.signed();
                if table.last[row] > 0 {
                    table.v[k] = 10f64.powf(-14.0 + 8.0 * random.uniform()) as f32;
                    table.m[k] = table.v[k].sqrt() * random.signed();
                }
            }
        }
        storage.round(&mut table.p);
        table
    }

    /// The random bits that step `step` rounds the parameters of `row` with.
    pub fn noise(&self, step: u64, row: usize) -> RowNoise {
        self.noise.row(step, row as u32)
    }

    pub fn stride(&self) -> usize {
        self.parts.stride()
    }

    /// One row of `values`.
    pub fn row<'a>(&self, values: &'a [f32], row: usize) -> &'a [f32] {
        &values[row * self.stride()..][..self.stride()]
    }

    pub fn upload(&self, device: &Device) -> Table {
        let values = [self.p.as_slice(), &self.m, &self.v];
        Table::upload(device, self.parts, (self.storage, self.noise), values, &self.last).unwrap()
    }

    /// A row's parameters in the state after step `now`: the missed steps in f64, one at a time.
    pub fn caught_up(&self, adam: &Adam, row: usize, now: u64) -> Vec<f64> {
        let (b1, b2) = (f64::from(adam.beta1), f64::from(adam.beta2));
        let last = self.last[row];
        let missed = if last == 0 { now } else { last } + 1..=now;
        let rates: Vec<f64> = missed
            .map(|t| {
                let t = t as f64;
                f64::from(adam.learning_rate) * (1.0 - b2.powf(t)).sqrt() / (1.0 - b1.powf(t))
            })
            .collect();
        let elements = self.row(&self.p, row).iter().zip(self.row(&self.m, row)).zip(self.row(&self.v, row));
        elements
            .map(|((&p, &m), &v)| {
                let (mut p, mut m, mut v) = (f64::from(p), f64::from(m), f64::from(v));
                for rate in &rates {
                    m *= b1;
                    v *= b2;
                    p -= rate * m / (v.sqrt() + f64::from(adam.epsilon));
                }
                p
            })
            .collect()
    }
}

impl HostTable {
    /// Fails unless `got`, `[stride]`, is the row in the state after step `now`; padding is exactly zero.
    pub fn check_row(&self, adam: &Adam, row: usize, now: u64, got: &[f32], what: &str) {
        let expected = self.caught_up(adam, row, now);
        for (k, (&expected, &p)) in expected.iter().zip(self.row(&self.p, row)).enumerate() {
            // Half a unit in the last place of the result, of the parameter, and 2^-20 of the movement itself.
            let moved = (expected - f64::from(p)).abs();
            let tolerance = 1.2e-7 * f64::from(p).abs().max(expected.abs()) + 1e-6 * moved;
            let last = self.last[row];
            near(got[k], expected, tolerance, format_args!("{what}, row {row} of step {last}, column {k}"));
        }
    }
}

/// The samples of one side put together by row.
#[derive(Debug, Clone)]
pub struct Grouped {
    /// Rows of the samples.
    pub ids: Vec<u32>,
    /// Distinct rows, ascending.
    pub rows: Vec<u32>,
    pub slot: Vec<u32>,
    starts: Vec<u32>,
    samples: Vec<u32>,
}

impl Grouped {
    fn new(ids: Vec<u32>) -> Self {
        let mut samples: Vec<u32> = (0..ids.len() as u32).collect();
        samples.sort_by_key(|&s| ids[s as usize]);
        let mut rows = ids.clone();
        rows.sort_unstable();
        rows.dedup();
        let slot: Vec<u32> = ids.iter().map(|id| rows.binary_search(id).unwrap() as u32).collect();
        let mut starts = vec![0u32; rows.len() + 1];
        slot.iter().for_each(|&s| starts[s as usize + 1] += 1);
        for k in 1..starts.len() {
            starts[k] += starts[k - 1];
        }
        Grouped { ids, rows, slot, starts, samples }
    }

    /// Samples of a slot, ascending.
    pub fn samples(&self, slot: usize) -> &[u32] {
        &self.samples[self.starts[slot] as usize..self.starts[slot + 1] as usize]
    }

    /// As step 1 of a chunk of two; what belongs to step 0 must not be looked at.
    fn upload(&self, device: &Device, size: usize) -> Touched {
        let second = |values: &[u32], stride: usize| {
            let mut all = vec![u32::MAX; 2 * stride];
            all[stride..stride + values.len()].copy_from_slice(values);
            device.upload(TEST, &all).unwrap()
        };
        Touched {
            rows: second(&self.rows, 2 * size),
            starts: second(&self.starts, 2 * size + 1),
            samples: second(&self.samples, 2 * size),
            slot: second(&self.slot, 2 * size),
            count: device.upload(TEST, &[u32::MAX, self.rows.len() as u32]).unwrap(),
            id_bits: 32,
        }
    }
}

/// A case on the host: tables of users and items, and a batch.
#[derive(Debug, Clone)]
pub struct World {
    pub case: Case,
    pub tables: [HostTable; 2],
    pub sides: [Grouped; 2],
    /// `[D]` of users and items.
    pub branches: [Vec<f32>; 2],
}

pub const SIDES: usize = 2;

impl World {
    pub fn new(case: Case) -> Self {
        Self::divided(case, [whole(case.dim); SIDES])
    }

    /// With rows of users and items that are divided into `parts`.
    pub fn divided(case: Case, parts: [Parts; SIDES]) -> Self {
        let mut random = Random::new(case.dim as u64 * 1000 + case.rows as u64);
        let (users, items) = (case.size.max(40) + 3, 60);
        let [of_users, of_items] = parts;
        let tables = [(users, of_users), (items, of_items)]
            .map(|(rows, parts)| HostTable::new(rows, (parts, case.storage), case.now, &mut random));
        let mut draw = |side: usize, k: usize, n: usize| match case.ids {
            Ids::OneItem => [k % n, 2][side],
            Ids::Zipf => {
                let x = random.uniform();
                ((n as f64 + 1.0).powf(x) - 1.0) as usize % n
            }
            // Two guard rows stay behind the last one.
            Ids::Last => n - 1 - k % 3,
            Ids::Uniform => random.below(n),
        };
        // The last two rows of each table are touched by nobody.
        let us: Vec<u32> = (0..case.rows).map(|k| draw(0, k, users - 2) as u32).collect();
        let is: Vec<u32> = (0..2 * case.rows).map(|k| draw(1, k, items - 2) as u32).collect();
        let sides = [Grouped::new([us.clone(), us].concat()), Grouped::new(is)];
        let branches = [0, 1].map(|_| (0..case.dim).map(|_| 0.3 * random.signed()).collect());
        World { case, tables, sides, branches }
    }

    /// Most distinct users and items of a batch.
    pub fn slots(&self) -> [usize; SIDES] {
        [self.case.size.min(self.tables[0].rows), (2 * self.case.size).min(self.tables[1].rows)]
    }

    pub fn upload(&self, device: &Device) -> Uploaded {
        Uploaded {
            step: device.upload(TEST, &[u64::MAX, self.case.now]).unwrap(),
            rows: device.upload(TEST, &[u32::MAX, self.case.rows as u32]).unwrap(),
            touched: [0, 1].map(|side| self.sides[side].upload(device, self.case.size)),
            tables: [0, 1].map(|side| self.tables[side].upload(device)),
            items: [0, 1].map(|k| {
                let mut all = vec![u32::MAX; 2 * self.case.size];
                let drawn = &self.sides[1].ids[k * self.case.rows..][..self.case.rows];
                all[self.case.size..][..self.case.rows].copy_from_slice(drawn);
                device.upload(TEST, &all).unwrap()
            }),
            size: self.case.size,
        }
    }
}

/// A [`World`] on the device.
pub struct Uploaded {
    pub step: Buffer<u64>,
    pub rows: Buffer<u32>,
    pub touched: [Touched; SIDES],
    pub tables: [Table; SIDES],
    /// Positives and negatives.
    pub items: [Buffer<u32>; 2],
    size: usize,
}

impl Uploaded {
    pub fn batch(&self) -> Batch<'_> {
        let [users, items] = &self.touched;
        Batch { step: &self.step, rows: &self.rows, users, items, k: 1, size: self.size }
    }
}

/// What guards bear.
pub const GUARD: f32 = -7.5e33;

/// Fills a buffer with guards.
pub fn guard(buffer: &mut Buffer<f32>) {
    buffer.write(&vec![GUARD; buffer.len()]).unwrap();
}

/// True from `first` on for all guards.
pub fn untouched(values: &[f32], first: usize) -> bool {
    values[first..].iter().all(|&x| x == GUARD)
}

/// Fails unless `got` is as near to `expected` as `tolerance`; NaN never is.
pub fn near(got: f32, expected: f64, tolerance: f64, what: impl std::fmt::Display) {
    let error = (f64::from(got) - expected).abs();
    assert!(
        error <= tolerance,
        "{what}: {got} for {expected}, off by {error:e} where {tolerance:e} is allowed"
    );
}
