//! Full ranking: the best 20 items for every user, under one ranking and under eleven.

use std::{borrow::Cow, time::Instant};

use macr::{Interactions, Ranking, Result, Split, Tables, backend::cpu::rank::Ranker, sampling::philox::Rng};

use crate::{report::Line, workloads::Workload};

const K: usize = 20;

/// On random tables: what is recommended is nonsense, how long it takes is not.
pub fn measure(workload: &Workload, data: &Interactions) -> Result<()> {
    let mut random = Rng::new(1, 0);
    let mut table = |rows: u32| -> Vec<f32> {
        (0..rows as usize * workload.dim).map(|_| random.normal() as f32).collect()
    };
    let (users, items) = (table(data.users()), table(data.items()));
    let gates: Vec<f32> = (0..data.items()).map(|_| random.unit_f64() as f32).collect();
    let popularity: Vec<u32> =
        (0..data.items()).map(|item| data.by_item(Split::Train).degree(item)).collect();
    let tables = Tables::new(workload.dim, &users, &items, Some(Cow::Owned(gates)), &popularity)?;
    let everyone: Vec<u32> = (0..data.users()).collect();
    let seen = [data.by_user(Split::Train)];
    for count in [1, 11] {
        let rankings: Vec<Ranking> =
            (0..count).map(|k| Ranking { c: 20.0 + 2.0 * k as f32, tau: 0.0 }).collect();
        let ranker = Ranker::new(&tables, &rankings, K)?;
        let mut line = Line::new("ranking", format!("rank/{count}"), workload.ranked(K));
        line.device = "cpu";
        line.elements = Some(u64::from(data.users()) * u64::from(data.items()));
        let once = || {
            let start = Instant::now();
            ranker.map_blocks(&everyone, &seen, |block| block.list(0, 0)[0].item())?;
            Ok(start.elapsed().as_secs_f64())
        };
        line.print((0..3).map(|_| once()).collect::<Result<_>>()?);
    }
    Ok(())
}
