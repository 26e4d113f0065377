//! Full ranking: the best 20 items for every user, under one ranking and under eleven, with the lists on the host; and
//! evaluations, for which they need not come there.

use std::{borrow::Cow, time::Instant};

use macr::{
    Interactions, Ranking, Result, Split, Tables,
    backend::{
        Ranks,
        cuda::Device,
        lists::{Audience, ranker},
    },
    device::Resolved,
    sampling::philox::Rng,
};

use crate::{Options, report::Line, workloads::Workload};

const K: usize = 20;

/// On random tables: what is recommended is nonsense, how long it takes is not.
pub fn measure(device: &Device, options: &Options, workload: &Workload, data: &Interactions) -> Result<()> {
    let mut random = Rng::new(1, 0);
    let mut table = |rows: u32| -> Vec<f32> {
        (0..rows as usize * workload.dim).map(|_| random.normal() as f32).collect()
    };
    let (users, items) = (table(data.users()), table(data.items()));
    let gates: Vec<f32> = (0..data.items()).map(|_| random.unit_f64() as f32).collect();
    let popularity: Vec<u32> =
        (0..data.items()).map(|item| data.by_item(Split::Train).degree(item)).collect();
    let tables = Tables::new(workload.dim, &users, &items, Some(Cow::Owned(gates)), &popularity)?;
    for count in [1, 11] {
        let rankings: Vec<Ranking> =
            (0..count).map(|k| Ranking { c: 20.0 + 2.0 * k as f32, tau: 0.0 }).collect();
        for (name, device) in [("cuda", Resolved::Cuda(device.clone())), ("cpu", Resolved::Cpu)] {
            let repeats = if name == "cpu" { 3 } else { options.repeats() };
            let ranker = ranker(&device, &tables, &rankings, K)?;
            let line = |what: &str| {
                let mut line = Line::new("ranking", format!("{what}/{count}"), workload.ranked(K));
                line.device = name;
                line.elements = Some(u64::from(data.users()) * u64::from(data.items()));
                line
            };
            line("rank").print(lists(ranker.as_ref(), data, repeats)?);
            line("evaluate").print(evaluation(&device, ranker.as_ref(), data, repeats)?);
        }
    }
    Ok(())
}

/// Seconds of all lists, by repeat.
fn lists(ranker: &dyn Ranks, data: &Interactions, repeats: usize) -> Result<Vec<f64>> {
    let everyone: Vec<u32> = (0..data.users()).collect();
    let seen = [data.by_user(Split::Train)];
    repeated(repeats, || ranker.map_blocks(&everyone, &seen, |block| block.list(0, 0)[0].item()).map(|_| ()))
}

/// Seconds of an evaluation on the test items, whose users and items are on the device.
fn evaluation(
    device: &Resolved,
    ranker: &dyn Ranks,
    data: &Interactions,
    repeats: usize,
) -> Result<Vec<f64>> {
    let everyone = (0..data.users()).collect();
    let audience =
        Audience::new(device, everyone, vec![data.by_user(Split::Train)], data.by_user(Split::Test))?;
    repeated(repeats, || ranker.measure(&audience, &[K]).map(|_| ()))
}

/// Seconds by repeat; the first warms up.
fn repeated(repeats: usize, once: impl Fn() -> Result<()>) -> Result<Vec<f64>> {
    once()?;
    (0..repeats)
        .map(|_| {
            let start = Instant::now();
            once()?;
            Ok(start.elapsed().as_secs_f64())
        })
        .collect()
}
