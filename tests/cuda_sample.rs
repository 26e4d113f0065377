//! `sample` on the device against the CPU: the same integers, and the same samples put together by row.
#![cfg(feature = "cuda")]

mod emulator;

use macr::{
    Config, Edges, Interactions, InteractionsBuilder, Split,
    backend::cuda::{
        Device, Purpose,
        sample::{Groups, Samples, Touched},
    },
    objective::{self, POSITIVE, TILE, Tile},
    sampling::{Negatives, Sampler, SamplerKind},
};

const TEST: Purpose = Purpose { what: "a test", lower: "nothing" };

/// Datasets by (users, items). User 3 has nothing.
fn world(users: u32, items: u32, degree: impl Fn(u32) -> u32) -> Interactions {
    let mut pairs = Vec::new();
    for u in (0..users).filter(|&u| u != 3) {
        // Mostly the first items: popular ones are drawn by many.
        let mut row: Vec<u32> =
            (0..degree(u).min(items)).map(|k| (u * 7 + k * 13) % items.min(1 + k * 3)).collect();
        row.sort_unstable();
        row.dedup();
        pairs.extend(row.into_iter().map(|i| (u, i)));
    }
    InteractionsBuilder::new(users, items).split(Split::Train, Edges::from_pairs(pairs)).build().unwrap()
}

/// 44 items, of which nobody has 40 and 41, and few have 42 and 43. User 5 has all others, and user 6 has all but these
/// four: by popularity, rejection rarely ends for them, and the exact draw finds weights of 0 alone, or small ones.
fn crowded() -> Interactions {
    let has = |u: u32, i: u32| match i {
        40 | 41 => false,
        42 => [5, 7].contains(&u),
        43 => [5, 8, 9].contains(&u),
        _ => [5, 6].contains(&u) || (i * 7 + u).is_multiple_of(11),
    };
    let pairs =
        (0..300).filter(|&u| u != 3).flat_map(|u| (0..44).filter(move |&i| has(u, i)).map(move |i| (u, i)));
    InteractionsBuilder::new(300, 44).split(Split::Train, Edges::from_pairs(pairs)).build().unwrap()
}

/// What one side should be: the samples, stably sorted by row.
struct Expected {
    rows: Vec<u32>,
    starts: Vec<u32>,
    samples: Vec<u32>,
    slot: Vec<u32>,
}

impl Expected {
    fn new(ids: &[u32]) -> Self {
        let mut samples: Vec<u32> = (0..ids.len() as u32).collect();
        samples.sort_by_key(|&s| ids[s as usize]);
        let mut rows = ids.to_vec();
        rows.sort_unstable();
        rows.dedup();
        let first = |row: u32| samples.partition_point(|&s| ids[s as usize] < row) as u32;
        let starts = rows.iter().map(|&row| first(row)).chain([ids.len() as u32]).collect();
        let slot = ids.iter().map(|id| rows.binary_search(id).unwrap() as u32).collect();
        Expected { rows, starts, samples, slot }
    }
}

/// [`Touched`] on the host.
struct Downloaded {
    rows: Vec<u32>,
    starts: Vec<u32>,
    samples: Vec<u32>,
    slot: Vec<u32>,
    count: Vec<u32>,
}

impl Downloaded {
    fn new(touched: &Touched) -> Self {
        Downloaded {
            rows: touched.rows.read().unwrap(),
            starts: touched.starts.read().unwrap(),
            samples: touched.samples.read().unwrap(),
            slot: touched.slot.read().unwrap(),
            count: touched.count.read().unwrap(),
        }
    }

    fn check(&self, k: usize, batch: usize, ids: &[u32], case: &str) {
        let expected = Expected::new(ids);
        let part = |values: &[u32], stride: usize, expected: &[u32], what: &str| {
            let got = &values[k * stride..][..expected.len()];
            if let Some(at) = got.iter().zip(expected).position(|(a, b)| a != b) {
                panic!("{case}, step {k} of the chunk: {what}[{at}] is {}, not {}", got[at], expected[at]);
            }
        };
        part(&self.count, 1, &[expected.rows.len() as u32], "count");
        part(&self.rows, 2 * batch, &expected.rows, "rows");
        part(&self.starts, 2 * batch + 1, &expected.starts, "starts");
        part(&self.samples, 2 * batch, &expected.samples, "samples");
        part(&self.slot, 2 * batch, &expected.slot, "slot");
    }
}

/// Draws chunks that begin at the steps `firsts` and compares all of them.
fn check(device: &Device, sampler: &Sampler<'_>, users: u32, steps: u32, firsts: &[u64], case: &str) {
    let batch = sampler.batch() as usize;
    let mut samples = Samples::new(device, sampler, users, steps).unwrap();
    for &first in firsts {
        let case = format!("{case}, from step {first}");
        samples.seek(first).unwrap();
        samples.draw(steps).unwrap();
        let (step, rows) = (samples.step.read().unwrap(), samples.rows.read().unwrap());
        let drawn = [&samples.users, &samples.positives, &samples.negatives].map(|b| b.read().unwrap());
        let (by_user, by_item) =
            (Downloaded::new(&samples.touched_users), Downloaded::new(&samples.touched_items));
        for k in 0..steps as usize {
            let mut cpu = [Vec::new(), Vec::new(), Vec::new()];
            let [users, positives, negatives] = &mut cpu;
            sampler.draw(first + k as u64, users, positives, negatives);
            assert_eq!(step[k], first + k as u64, "{case}");
            assert_eq!(rows[k] as usize, users.len(), "{case}");
            for ((got, expected), what) in drawn.iter().zip(&cpu).zip(["users", "positives", "negatives"]) {
                let got = &got[k * batch..][..expected.len()];
                assert_eq!(got, expected, "{case}, step {k} of the chunk: {what}");
            }
            let [users, positives, negatives] = cpu;
            by_user.check(k, batch, &[users.clone(), users].concat(), &case);
            by_item.check(k, batch, &[positives, negatives].concat(), &case);
        }
    }
}

const KINDS: [SamplerKind; 2] = [SamplerKind::UserUniform, SamplerKind::Interaction];

#[test]
fn draws_and_groups_as_the_cpu() {
    let Some(device) = emulator::device() else { return };
    let data = crowded();
    for kind in KINDS {
        for negatives in [Negatives::Uniform, Negatives::Popularity(0.75), Negatives::Popularity(2.0)] {
            for (batch, seed) in [(1, 0), (33, u64::MAX), (256, 7)] {
                let sampler = Sampler::new(&data, kind, negatives, batch, seed).unwrap();
                // The last step of an epoch, whose batch may be smaller, and the first of the next.
                let end = sampler.steps_per_epoch().max(2) - 2;
                let case = format!("{kind}, {negatives}, batch {batch}, seed {seed}");
                check(&device, &sampler, data.users(), 3, &[0, (1 << 32) - 1, 1 << 40, end], &case);
            }
        }
    }
}

#[test]
fn margins_are_drawn_as_on_the_cpu() {
    let Some(device) = emulator::device() else { return };
    // Pools of some hundred items, and pools that are too small or empty or seen.
    let wide = world(500, 400, |u| 2 + u % 90);
    for (data, margins) in [(&wide, [0, 2, 40]), (&crowded(), [0, 3, 500])] {
        for kind in KINDS {
            for margin in margins {
                for (per_positive, batch) in [(1, 33), (1, 256), (4, 100), (7, 448)] {
                    let negatives = Negatives::Margin { margin, per_positive };
                    let sampler = Sampler::new(data, kind, negatives, batch, 5).unwrap();
                    let end = sampler.steps_per_epoch().max(2) - 2;
                    let case = format!("{kind}, {negatives}, batch {batch}");
                    check(&device, &sampler, data.users(), 3, &[0, 5 * end, 1 << 40, end], &case);
                }
            }
        }
    }
}

#[test]
fn rows_are_treatment_as_on_the_cpu() {
    let Some(device) = emulator::device() else { return };
    let data = world(500, 400, |u| 2 + u % 90);
    for (batch, seed, cap) in [(1, 0, 0.5), (32, 1, 1.0), (77, u64::MAX, 0.5), (450, 3, 0.2)] {
        let sampler = Sampler::new(&data, SamplerKind::UserUniform, Negatives::Uniform, batch, seed).unwrap();
        let config = Config { objective: "cause".into(), treatment_cap: cap, ..Config::default() };
        let cause = objective::build(&config, &sampler).unwrap();
        let constants = cause.item_constants().unwrap();
        let on_device = device.upload(TEST, constants).unwrap();
        let mut samples = Samples::new(&device, &sampler, data.users(), 3).unwrap();
        let mut groups = Groups::new(&device, cause.as_ref(), 3, batch).unwrap();
        samples.draw(3).unwrap();
        groups.launch(&samples, &on_device, 3).unwrap();
        let (bits, weights) = (groups.second.read().unwrap(), groups.weight.read().unwrap());
        let words = batch.div_ceil(32) as usize;
        for step in 0..3 {
            let mut drawn = [Vec::new(), Vec::new(), Vec::new()];
            let [users, positives, negatives] = &mut drawn;
            sampler.draw(step as u64, users, positives, negatives);
            let mut second = Vec::new();
            for first in (0..batch as usize).step_by(TILE) {
                let mut tile = Tile::default();
                let rows = first..(first + TILE).min(batch as usize);
                for (ids, drawn) in tile.ids.iter_mut().zip(&drawn) {
                    ids[..rows.len()].copy_from_slice(&drawn[rows.clone()]);
                }
                for (constant, &item) in tile.item_constant[POSITIVE].iter_mut().zip(&drawn[1][rows.clone()])
                {
                    *constant = constants[item as usize];
                }
                second.extend_from_slice(&cause.second_group(&tile)[..rows.len()]);
            }
            for (row, &second) in second.iter().enumerate() {
                let bit = bits[step * words + row / 32] >> (row % 32) & 1 == 1;
                assert_eq!(bit, second, "batch {batch}, step {step}, row {row}");
            }
            let n = second.iter().filter(|&&x| x).count();
            let expected = [batch as usize - n, n].map(|n| if n > 0 { 1.0 / n as f32 } else { 0.0 });
            assert_eq!(weights[2 * step..2 * step + 2], expected, "batch {batch}, step {step}");
        }
    }
}

#[test]
fn one_item_takes_all_samples() {
    let Some(device) = emulator::device() else { return };
    // All have item 0 and see item 1, the only other.
    let data = world(200, 2, |_| 1);
    let sampler = Sampler::new(&data, SamplerKind::UserUniform, Negatives::Uniform, 100, 3).unwrap();
    check(&device, &sampler, data.users(), 2, &[5], "two items");
    let data = world(2, 40, |u| 20 * u + 3);
    let sampler = Sampler::new(&data, SamplerKind::Interaction, Negatives::Uniform, 100, 3).unwrap();
    check(&device, &sampler, data.users(), 2, &[0], "two users");
}

#[test]
fn batches_of_any_size() {
    let Some(device) = emulator::device() else { return };
    // In shared memory up to 24,000 or so, and beyond.
    let data = world(70_001, 5_003, |u| 1 + u % 4);
    for (kind, batch) in [
        (SamplerKind::UserUniform, 2_048),
        (SamplerKind::Interaction, 8_191),
        (SamplerKind::UserUniform, 24_000),
        (SamplerKind::Interaction, 40_000),
    ] {
        let sampler = Sampler::new(&data, kind, Negatives::Uniform, batch, 11).unwrap();
        check(&device, &sampler, data.users(), 1, &[1], &format!("{kind}, batch {batch}"));
    }
}

#[test]
fn a_recorded_draw_goes_on_at_each_replay() {
    let Some(device) = emulator::device() else { return };
    let data = crowded();
    let sampler = Sampler::new(&data, SamplerKind::UserUniform, Negatives::Uniform, 50, 1).unwrap();
    let mut samples = Samples::new(&device, &sampler, data.users(), 2).unwrap();
    samples.seek(10).unwrap();
    let graph = device.capture(|| samples.draw(2)).unwrap();
    // SAFETY: what was recorded is there until its result is read.
    unsafe { graph.replay(3) }.unwrap();
    assert_eq!(samples.step.read().unwrap(), [14, 15]);
    let mut cpu = [Vec::new(), Vec::new(), Vec::new()];
    let [users, positives, negatives] = &mut cpu;
    sampler.draw(15, users, positives, negatives);
    assert_eq!(&samples.users.read().unwrap()[50..], users);
}
