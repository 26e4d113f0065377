//! `all_pairs` on the device against scalar f64 sums over all pairs, and against the CPU.
#![cfg(feature = "cuda")]

mod emulator;

use std::hash::Hasher;

use macr::{
    backend::{
        cpu::{
            all_pairs::{self as cpu, Sums},
            team::Team,
        },
        cuda::{
            Buffer, Device, Purpose,
            all_pairs::{AllPairs, Inputs, Outputs},
        },
    },
    objective::AllPairs as Form,
};

const SCRATCH: Purpose = Purpose { what: "a test", lower: "its size" };
/// What outputs hold before, and must still hold where no sample is.
const UNTOUCHED: f32 = -7.25;
/// Elements after the arrays, which are nobody's.
const GUARD: usize = 67;
/// The reference code's.
const EPSILON: f32 = 1e-10;
/// Rounding of one f32 operation.
const ROUNDING: f64 = 6e-8;

/// Scores and gates of positives (label 1) and negatives (label 0), `[n]` each.
#[derive(Debug, Clone)]
struct Batch {
    score: [Vec<f32>; 2],
    gate: [Vec<f32>; 2],
}

const LABELS: [f32; 2] = [1.0, 0.0];

/// A linear congruential sequence in [0, 1).
struct Uniform(u32);

impl Uniform {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as f32 / 16_777_216.0
    }
}

/// Scores between two bounds; gates between two bounds, more often near the lower.
fn batch(rows: usize, scores: (f32, f32), gates: (f32, f32), seed: u32) -> Batch {
    let mut uniform = Uniform(seed);
    let mut list = |(low, high): (f32, f32), skewed: bool| -> Vec<f32> {
        (0..rows)
            .map(|_| {
                let x = uniform.next() * if skewed { uniform.next() } else { 1.0 };
                low + (high - low) * x
            })
            .collect()
    };
    let score = [list(scores, false), list(scores, false)];
    Batch { score, gate: [list(gates, true), list(gates, true)] }
}

/// Device arrays of batches of up to `size` rows.
struct Arrays {
    size: usize,
    rows: Buffer<u32>,
    score: Buffer<f32>,
    gate: Buffer<f32>,
    loss: Buffer<f32>,
    score_gradient: Buffer<f32>,
    gate_gradient: Buffer<f32>,
}

impl Arrays {
    fn new(device: &Device, size: usize) -> Self {
        let array = || device.upload(SCRATCH, &vec![UNTOUCHED; 2 * size + GUARD]).unwrap();
        Arrays {
            size,
            rows: device.zeros(SCRATCH, 2).unwrap(),
            score: array(),
            gate: array(),
            loss: array(),
            score_gradient: array(),
            gate_gradient: array(),
        }
    }

    /// The batch is that of step 1 of a chunk. What lies beyond its rows is NaN, which must not get into any sum.
    fn write(&mut self, batch: &Batch) {
        let size = self.size;
        let padded = |lists: &[Vec<f32>; 2]| -> Vec<f32> {
            let mut all = vec![f32::NAN; 2 * size];
            for (row, list) in all.chunks_mut(size).zip(lists) {
                row[..list.len()].copy_from_slice(list);
            }
            all
        };
        self.rows.write(&[u32::MAX, batch.score[0].len() as u32]).unwrap();
        self.score.write(&padded(&batch.score)).unwrap();
        self.gate.write(&padded(&batch.gate)).unwrap();
    }

    fn launch(&mut self, all_pairs: &mut AllPairs) -> macr::Result<()> {
        all_pairs.launch(
            Inputs { score: &self.score, gate: &self.gate, rows: &self.rows, step: 1 },
            Outputs {
                loss: &mut self.loss,
                score_gradient: &mut self.score_gradient,
                gate_gradient: &mut self.gate_gradient,
            },
        )
    }

    /// The sums of both labels; nothing beyond the batch's rows may have changed.
    fn read(&self, rows: usize) -> [Sums; 2] {
        let [loss, score, gate] = [&self.loss, &self.score_gradient, &self.gate_gradient].map(|buffer| {
            let values = buffer.read().unwrap();
            let (rows_of_labels, guard) = values.split_at(2 * self.size);
            let mut beyond = guard.to_vec();
            let lists = [0, 1].map(|k| {
                let (list, rest) = rows_of_labels[k * self.size..][..self.size].split_at(rows);
                beyond.extend(rest);
                list.to_vec()
            });
            assert!(beyond.iter().all(|x| x.to_bits() == UNTOUCHED.to_bits()), "written beyond {rows} rows");
            lists
        });
        [0, 1].map(|k| Sums {
            loss: loss[k].clone(),
            score_gradient: score[k].clone(),
            gate_gradient: gate[k].clone(),
        })
    }
}

fn run(device: &Device, form: Form, size: usize, batch: &Batch) -> [Sums; 2] {
    let mut arrays = Arrays::new(device, size);
    let mut all_pairs = AllPairs::new(device, form, size as u32).unwrap();
    arrays.write(batch);
    arrays.launch(&mut all_pairs).unwrap();
    arrays.read(batch.score[0].len())
}

/// A sum in f64, and by how much an f32 computation of it may differ.
#[derive(Debug, Clone, Copy, Default)]
struct Exact {
    value: f64,
    error: f64,
}

/// The sums of one label: losses, score gradients, gate gradients.
type Oracle = [Vec<Exact>; 3];

/// Loss and slope of logit z, each as (value, error of an f32 computation).
type Term = fn(z: f64, label: f64) -> [(f64, f64); 2];

fn stable(z: f64, label: f64) -> [(f64, f64); 2] {
    let t = (-z.abs()).exp();
    let sigma = |x: f64| if x >= 0.0 { 1.0 / (1.0 + t) } else { t / (1.0 + t) };
    let against = if label == 1.0 { -z } else { z };
    let loss = against.max(0.0) + t.ln_1p();
    let slope = if label == 1.0 { -sigma(-z) } else { sigma(z) };
    // A dozen operations, and the rounding of z, which counts z times where e^-|z| is what remains.
    let relative = (12.0 + z.abs().min(87.0)) * ROUNDING;
    [(loss, relative * loss), (slope, relative * slope.abs())]
}

/// The reference's form loses what sigma's f32 value loses: the error is the spread over its neighbours.
fn with_epsilon(z: f64, label: f64) -> [(f64, f64); 2] {
    let t = (-z.abs()).exp();
    let epsilon = f64::from(EPSILON);
    let at = |s: f64| {
        let s = s.clamp(0.0, 1.0);
        let p = if label == 1.0 { s } else { 1.0 - s } + epsilon;
        [-p.ln(), (1.0 - 2.0 * label) * s * (1.0 - s) / p]
    };
    let s = if z >= 0.0 { 1.0 / (1.0 + t) } else { t / (1.0 + t) };
    // A few operations, and the rounding of z.
    let off = s * (4.0 + (4.0 + z.abs().min(87.0)) * (1.0 - s)) * ROUNDING;
    let (value, low, high) = (at(s), at(s - off), at(s + off));
    // p is rounded too, and what is relative in it is absolute in its logarithm.
    [0, 1].map(|k| {
        let spread = (low[k] - value[k]).abs().max((high[k] - value[k]).abs());
        (value[k], spread + 12.0 * ROUNDING * value[k].abs() + if k == 0 { ROUNDING } else { 0.0 })
    })
}

/// Term by term; the errors are those of the terms, and of adding them up: 21 additions in f32, the rest in f64.
fn exact(batch: &Batch, k: usize, term: Term) -> Oracle {
    let (a, g, label) = (&batch.score[k], &batch.gate[k], f64::from(LABELS[k]));
    let n = a.len();
    let weight = 1.0 / (n as f64 * n as f64);
    let mut out = [0; 3].map(|_| vec![Exact::default(); n]);
    for (s, &a) in a.iter().enumerate() {
        for (r, &g) in g.iter().enumerate() {
            let (a, g) = (f64::from(a), f64::from(g));
            let [(loss, loss_error), (slope, slope_error)] = term(a * g, label);
            for (list, at, value, error) in [
                (0, s, loss, loss_error),
                (1, s, slope * g, slope_error * g.abs()),
                (2, r, slope * a, slope_error * a.abs()),
            ] {
                let sum = &mut out[list][at];
                sum.value += value * weight;
                sum.error += (error + 21.0 * ROUNDING * value.abs()) * weight;
            }
        }
    }
    // Values below the normal numbers of f32 have fewer digits.
    out.iter_mut().flatten().for_each(|x| x.error += 1e-37);
    out
}

/// Where the sums are interpolated, errors are relative to the greatest that each function can be on the batch's
/// intervals, which hold a = 0: residuals of up to 1 enter the node values. Polynomials of up to 192 terms in f32.
fn interpolated(batch: &Batch, k: usize) -> Oracle {
    let mut out = exact(batch, k, stable);
    let n = batch.score[k].len() as f64;
    let mean = |x: &[f32]| x.iter().map(|&x| f64::from(x).abs()).sum::<f64>() / n;
    let greatest_loss = out[0].iter().fold(std::f64::consts::LN_2 / n, |most, x| most.max(x.value));
    let greatest = [greatest_loss, mean(&batch.gate[k]) / n, mean(&batch.score[k]) / n];
    for (list, greatest) in out.iter_mut().zip(greatest) {
        list.iter_mut().for_each(|x| x.error = INTERPOLATED * greatest + 1e-37);
    }
    out
}

/// Some 16 roundings of f32, as Clenshaw's recurrence piles up near the ends of the interval; the interpolation itself
/// aims at 1e-8.
const INTERPOLATED: f64 = 1e-6;

fn compare(sums: &Sums, oracle: &Oracle, what: &str) {
    let lists = [&sums.loss, &sums.score_gradient, &sums.gate_gradient];
    for ((list, oracle), name) in
        lists.into_iter().zip(oracle).zip(["loss", "score gradient", "gate gradient"])
    {
        for (at, (&x, e)) in list.iter().zip(oracle).enumerate() {
            let off = (f64::from(x) - e.value).abs();
            assert!(off <= e.error, "{what}: {name}[{at}] is {x:e}, not {:e} +- {:e}", e.value, e.error);
        }
    }
}

/// Rows and size of a batch: whole ones, and last ones of an epoch.
const SIZES: [(usize, usize); 10] = [
    (1, 1),
    (1, 31),
    (31, 31),
    (30, 64),
    (64, 64),
    (65, 129),
    (129, 129),
    (1, 1024),
    (1000, 1024),
    (1024, 1024),
];

const GATES: [(f32, f32); 3] = [(0.0, 1.0), (0.7, 0.7), (1.0, 1.0)];

/// Ranges of scores for which interpolation is enough.
const SCORES: [(f32, f32); 9] = [
    (-1e-3, 1e-3),
    (-0.4, 0.3),
    (-5.0, 20.0),
    (-40.0, 10.0),
    (-32.0, 32.0),
    (3.0, 9.0),
    (-12.0, -11.0),
    (2.5, 2.5),
    (0.0, 0.0),
];

#[test]
fn interpolated_sums_are_the_sums() {
    let Some(device) = emulator::device() else { return };
    for (rows, size) in SIZES {
        for (number, scores) in SCORES.into_iter().enumerate() {
            for gates in GATES {
                let what = format!("{rows} of {size} rows, scores {scores:?}, gates {gates:?}");
                let batch = batch(rows, scores, gates, number as u32);
                let sums = run(&device, Form::Interpolated, size, &batch);
                for (k, sums) in sums.iter().enumerate() {
                    let what = format!("{what}, label {}", LABELS[k]);
                    let mut oracle = interpolated(&batch, k);
                    compare(sums, &oracle, &what);
                    // The CPU is as far off at most.
                    let (a, g) = (&batch.score[k], &batch.gate[k]);
                    let cpu = Team::enter(|team| cpu::interpolated(team, a, g, LABELS[k])).unwrap();
                    let lists = [&cpu.loss, &cpu.score_gradient, &cpu.gate_gradient];
                    for (oracle, list) in oracle.iter_mut().zip(lists) {
                        for (oracle, &x) in oracle.iter_mut().zip(list) {
                            *oracle = Exact { value: f64::from(x), error: 2.0 * oracle.error };
                        }
                    }
                    compare(sums, &oracle, &format!("{what}, to the CPU's"));
                }
            }
        }
    }
}

#[test]
fn term_by_term_where_scores_have_left_every_useful_range() {
    let Some(device) = emulator::device() else { return };
    for (rows, size) in SIZES {
        for scores in [(-200.0, 200.0), (-1e6, 3e3), (0.0, 1e30)] {
            let mut batch = batch(rows, scores, (0.1, 1.0), 5);
            for k in 0..2 {
                batch.score[k][0] = scores.1;
                batch.gate[k][0] = 1.0;
            }
            let what = format!("{rows} of {size} rows, scores {scores:?}");
            let sums = run(&device, Form::Interpolated, size, &batch);
            for (k, sums) in sums.iter().enumerate() {
                let (a, g) = (&batch.score[k], &batch.gate[k]);
                assert!(Team::enter(|team| cpu::interpolated(team, a, g, LABELS[k])).is_none());
                compare(sums, &exact(&batch, k, stable), &format!("{what}, label {}", LABELS[k]));
            }
        }
    }
}

#[test]
fn one_label_may_be_term_by_term_alone() {
    let Some(device) = emulator::device() else { return };
    for far in [0, 1] {
        let mut batch = batch(150, (-3.0, 4.0), (0.0, 1.0), 9);
        batch.score[far][149] = 1e5;
        let sums = run(&device, Form::Interpolated, 200, &batch);
        compare(&sums[far], &exact(&batch, far, stable), "the far label");
        compare(&sums[1 - far], &interpolated(&batch, 1 - far), "the other");
    }
}

#[test]
fn many_parts_and_large_batches() {
    let Some(device) = emulator::device() else { return };
    // 32 parts of 512 make 16,384: beyond, a block goes through its samples in rounds.
    let batch = batch(17_000, (-6.0, 8.0), (0.0, 1.0), 3);
    let sums = run(&device, Form::Interpolated, 17_100, &batch);
    for (k, sums) in sums.iter().enumerate() {
        // Every pair of so many is much work for the oracle: a few scores and gates of each label.
        let some = |list: &[f32]| list.iter().step_by(997).copied().collect::<Vec<f32>>();
        let n = 17_000.0;
        let (a, g) = (&batch.score[k], &batch.gate[k]);
        let label = f64::from(LABELS[k]);
        let sum = |of: &[f32], term: &dyn Fn(f64) -> f64| {
            of.iter().map(|&x| term(f64::from(x))).sum::<f64>() / (n * n)
        };
        let mean = |x: &[f32]| sum(x, &|x| x.abs());
        for (own, got) in some(a).iter().zip(some(&sums.score_gradient)) {
            let value = sum(g, &|g| stable(f64::from(*own) * g, label)[1].0 * g);
            assert!((f64::from(got) - value).abs() <= INTERPOLATED * mean(g), "{got} for {value}");
        }
        for (own, got) in some(a).iter().zip(some(&sums.loss)) {
            let value = sum(g, &|g| stable(f64::from(*own) * g, label)[0].0);
            // The loss is ln 2 / n and more somewhere.
            assert!((f64::from(got) - value).abs() <= INTERPOLATED * value.max(0.7 / n), "{got} for {value}");
        }
        for (own, got) in some(g).iter().zip(some(&sums.gate_gradient)) {
            let value = sum(a, &|a| stable(a * f64::from(*own), label)[1].0 * a);
            assert!((f64::from(got) - value).abs() <= INTERPOLATED * mean(a), "{got} for {value}");
        }
    }
}

#[test]
fn the_form_with_epsilon() {
    let Some(device) = emulator::device() else { return };
    for (rows, size) in SIZES {
        for scores in [(-1e-3, 1e-3), (-5.0, 9.0), (-40.0, 40.0), (0.0, 0.0), (-1e5, 1e5)] {
            let what = format!("{rows} of {size} rows, scores {scores:?}");
            let batch = batch(rows, scores, (0.0, 1.0), 4);
            let sums = run(&device, Form::EpsCompat, size, &batch);
            for (k, sums) in sums.iter().enumerate() {
                let what = format!("{what}, label {}", LABELS[k]);
                let oracle = exact(&batch, k, with_epsilon);
                compare(sums, &oracle, &what);
                // The CPU's exponential ends at e^-87.
                if scores.1 < 87.0 {
                    let (a, g) = (&batch.score[k], &batch.gate[k]);
                    let cpu = Team::enter(|team| cpu::brute_force(team, a, g, LABELS[k], Some(EPSILON)));
                    compare(&cpu, &oracle, &format!("{what}, the CPU's"));
                }
            }
        }
    }
}

#[test]
fn the_form_with_epsilon_has_its_dead_zone() {
    let Some(device) = emulator::device() else { return };
    let batch = batch(40, (20.0, 20.0), (1.0, 1.0), 1);
    let [_, negatives] = run(&device, Form::EpsCompat, 40, &batch);
    // sigma(20) is 1 in f32.
    let loss = -f64::from(EPSILON).ln() / 40.0;
    assert!(negatives.loss.iter().all(|&x| (f64::from(x) / loss - 1.0).abs() < 1e-6), "{negatives:?}");
    assert!(negatives.score_gradient.iter().chain(&negatives.gate_gradient).all(|&x| x == 0.0));
}

#[test]
fn what_is_not_a_number_stays_visible() {
    let Some(device) = emulator::device() else { return };
    for form in [Form::Interpolated, Form::EpsCompat] {
        for value in [f32::NAN, f32::INFINITY] {
            let mut batch = batch(70, (-1.0, 1.0), (0.0, 1.0), 1);
            batch.score[1][33] = value;
            // The gate of 0 makes a score without bound no number.
            batch.gate[1][3] = 0.0;
            let [_, negatives] = run(&device, form, 70, &batch);
            assert!(negatives.gate_gradient.iter().any(|x| !x.is_finite()), "{form:?}, {value}");
            assert!(negatives.loss.iter().any(|x| !x.is_finite()), "{form:?}, {value}");
        }
    }
}

/// All bits of some sums.
fn bits(sums: &[Sums; 2]) -> Vec<u32> {
    let lists = sums.iter().flat_map(|s| [&s.loss, &s.score_gradient, &s.gate_gradient]);
    lists.flatten().map(|x| x.to_bits()).collect()
}

#[test]
fn a_record_goes_by_what_lies_on_the_device() {
    let Some(device) = emulator::device() else { return };
    for form in [Form::Interpolated, Form::EpsCompat] {
        let mut arrays = Arrays::new(&device, 300);
        let mut all_pairs = AllPairs::new(&device, form, 300).unwrap();
        let graph = device.capture(|| arrays.launch(&mut all_pairs)).unwrap();
        // More nodes and rows than the one before left, and none but term by term in the third.
        for (rows, scores) in
            [(90, (-1.0, 1.0)), (131, (-20.0, 30.0)), (205, (-900.0, 30.0)), (300, (-3.0, 3.0))]
        {
            let batch = batch(rows, scores, (0.0, 1.0), 2);
            arrays.write(&batch);
            // SAFETY: what was recorded is there until its result is read.
            unsafe { graph.replay(2) }.unwrap();
            let again = run(&device, form, 300, &batch);
            assert_eq!(bits(&arrays.read(rows)), bits(&again), "{form:?}, {rows} rows, scores {scores:?}");
        }
    }
}

/// Prints a hash of sums in both forms.
#[test]
fn prints_the_bits_of_sums() {
    let Some(device) = emulator::device() else { return };
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    for (rows, size, scores) in [(129, 200, (-5.0, 20.0)), (1100, 1100, (-1.0, 1.0)), (65, 65, (-1e4, 10.0))]
    {
        for form in [Form::Interpolated, Form::EpsCompat] {
            let sums = run(&device, form, size, &batch(rows, scores, (0.0, 1.0), 8));
            bits(&sums).into_iter().for_each(|x| hash.write_u32(x));
        }
    }
    println!("bits {:016x}", hash.digest());
}

#[test]
fn any_order_of_blocks_and_threads_gives_the_same_bits() {
    emulator::same_bits_in_any_order("prints_the_bits_of_sums");
}
