//! `sample` on the device against the CPU: the same integers, and the same samples put together by row.

mod emulator;

use macr::{
    Edges, Interactions, InteractionsBuilder, Split,
    backend::cuda::sample::{Samples, Touched},
    sampling::{Negatives, Sampler, SamplerKind},
};

/// `users` x `items`; user 3 has nothing, user 5 everything but item 1, the others a few, mostly the first items.
fn world(users: u32, items: u32) -> Interactions {
    let mut pairs = Vec::new();
    for u in 0..users {
        match u {
            3 => {}
            5 => pairs.extend((0..items).filter(|&i| i != 1).map(|i| (u, i))),
            _ => {
                let mut row: Vec<u32> =
                    (0..1 + u % 9).map(|k| (u * 7 + k * k * 13) % items % (1 + k * 3)).collect();
                row.sort_unstable();
                row.dedup();
                pairs.extend(row.into_iter().map(|i| (u, i)));
            }
        }
    }
    InteractionsBuilder::new(users, items).split(Split::Train, Edges::from_pairs(pairs)).build().unwrap()
}

/// Compares one side of one step with a plain sort.
fn check_touched(touched: &Touched, k: usize, batch: usize, ids: &[u32], case: &str) {
    let (b2, n) = (2 * batch, ids.len());
    let mut order: Vec<u32> = (0..n as u32).collect();
    order.sort_by_key(|&s| ids[s as usize]);
    let mut rows: Vec<u32> = ids.to_vec();
    rows.sort_unstable();
    rows.dedup();
    let starts: Vec<u32> = rows
        .iter()
        .map(|&row| order.iter().position(|&s| ids[s as usize] == row).unwrap() as u32)
        .chain([n as u32])
        .collect();
    let slot: Vec<u32> = ids.iter().map(|id| rows.binary_search(id).unwrap() as u32).collect();
    let part = |values: Vec<u32>, stride: usize, len: usize| values[k * stride..k * stride + len].to_vec();
    assert_eq!(touched.count.read().unwrap()[k] as usize, rows.len(), "{case}");
    assert_eq!(part(touched.rows.read().unwrap(), b2, rows.len()), rows, "{case}");
    assert_eq!(part(touched.starts.read().unwrap(), b2 + 1, starts.len()), starts, "{case}");
    assert_eq!(part(touched.samples.read().unwrap(), b2, n), order, "{case}");
    assert_eq!(part(touched.slot.read().unwrap(), b2, n), slot, "{case}");
}

#[test]
fn draws_and_groups_as_the_cpu() {
    let Some(device) = emulator::device() else { return };
    let data = world(300, 40);
    for kind in [SamplerKind::UserUniform, SamplerKind::Interaction] {
        for negatives in [Negatives::Uniform, Negatives::Popularity(0.75)] {
            for batch in [1, 33, 256] {
                let sampler = Sampler::new(&data, kind, negatives, batch, 7).unwrap();
                let steps = 3;
                let mut samples = Samples::new(&device, &sampler, data.users(), steps).unwrap();
                for first in [0, (1 << 32) - 1, sampler.steps_per_epoch().max(2) - 2] {
                    let case = format!("{kind} {negatives} batch {batch} first {first}");
                    samples.seek(first).unwrap();
                    samples.draw().unwrap();
                    for k in 0..steps as usize {
                        let mut cpu = [Vec::new(), Vec::new(), Vec::new()];
                        let [users, positives, negatives] = &mut cpu;
                        sampler.draw(first + k as u64, users, positives, negatives);
                        let n = users.len();
                        assert_eq!(samples.step.read().unwrap()[k], first + k as u64, "{case}");
                        assert_eq!(samples.rows.read().unwrap()[k] as usize, n, "{case}");
                        let part = |v: Vec<u32>| v[k * batch as usize..][..n].to_vec();
                        assert_eq!(&part(samples.users.read().unwrap()), users, "{case}");
                        assert_eq!(&part(samples.positives.read().unwrap()), positives, "{case}");
                        assert_eq!(&part(samples.negatives.read().unwrap()), negatives, "{case}");
                        let twice = [users.clone(), users.clone()].concat();
                        check_touched(&samples.touched_users, k, batch as usize, &twice, &case);
                        let items = [positives.clone(), negatives.clone()].concat();
                        check_touched(&samples.touched_items, k, batch as usize, &items, &case);
                    }
                }
            }
        }
    }
}

#[test]
fn a_captured_draw_goes_on_at_each_replay() {
    let Some(device) = emulator::device() else { return };
    let data = world(300, 40);
    let sampler = Sampler::new(&data, SamplerKind::UserUniform, Negatives::Uniform, 50, 1).unwrap();
    let mut samples = Samples::new(&device, &sampler, data.users(), 2).unwrap();
    samples.seek(10).unwrap();
    let graph = device.capture(|| samples.draw()).unwrap();
    graph.replay(3).unwrap();
    assert_eq!(samples.step.read().unwrap(), [14, 15]);
    let mut cpu = [Vec::new(), Vec::new(), Vec::new()];
    let [users, positives, negatives] = &mut cpu;
    sampler.draw(15, users, positives, negatives);
    assert_eq!(&samples.users.read().unwrap()[50..], users);
}
