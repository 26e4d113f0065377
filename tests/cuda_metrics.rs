//! `metrics` on the device: what is counted is what stands in the lists.
#![cfg(feature = "cuda")]

mod emulator;
mod tables;

use std::collections::HashSet;

use macr::{
    Csr, Ranking,
    backend::{
        Ranks,
        cpu::rank::Ranker as CpuRanker,
        cuda::rank::Ranker,
        lists::{Audience, Hit, Hits, Measured, TopK},
    },
    device::Resolved,
};
use tables::{Case, Random, grid};

/// Every item is relevant to its user with this probability.
fn relevant(users: usize, items: usize, seed: u64, share: f64) -> (Vec<u64>, Vec<u32>) {
    let mut random = Random(seed | 1);
    let (mut offsets, mut indices) = (vec![0], Vec::new());
    for _ in 0..users {
        indices.extend((0..items as u32).filter(|_| random.uniform() < share));
        offsets.push(indices.len() as u64);
    }
    (offsets, indices)
}

/// Term by term from the lists.
fn by_definition(
    lists: &TopK,
    users: &[u32],
    relevant: Csr<'_>,
    (variants, items): (usize, usize),
    cuts: &[usize],
) -> (Vec<Vec<Hit>>, Vec<Vec<u32>>) {
    let (mut hits, mut frequency) = (Vec::new(), vec![vec![0; items]; variants * cuts.len()]);
    for (position, &user) in users.iter().enumerate() {
        let relevant: HashSet<u32> = relevant.row(user).iter().copied().collect();
        for variant in 0..variants {
            let ranked = (1u32..).zip(lists.list(position, variant).iter().map(|c| c.item()));
            let found = ranked.clone().filter(|(_, item)| relevant.contains(item));
            hits.push(found.map(|(rank, item)| Hit { rank, item }).collect());
            for (rank, item) in ranked {
                for (cut, &k) in cuts.iter().enumerate() {
                    frequency[variant * cuts.len() + cut][item as usize] += u32::from(rank as usize <= k);
                }
            }
        }
    }
    (hits, frequency)
}

#[test]
fn counts_are_those_of_the_lists() {
    let Some(device) = emulator::device() else { return };
    let on_device = Resolved::Cuda(device.clone());
    // More users than a chunk; lists longer than a warp, and longer than what some users have left; cuts in any order.
    for (users, items, share, cuts) in [
        (150, 90, 0.05, &[20][..]),
        (40, 90, 0.3, &[50, 1, 20, 90, 20]),
        (3, 1300, 0.2, &[1024, 3]),
        (20, 40, 0.0, &[7]),
    ] {
        let case = Case::random(users as u64, users, items, 6, true);
        let (offsets, indices) = relevant(users, items, 5, share);
        let relevant = Csr { offsets: &offsets, indices: &indices };
        let (tables, rankings) = (case.tables(), grid(2, 2));
        let k = *cuts.iter().max().unwrap();
        let cpu = CpuRanker::new(&tables, &rankings, k).unwrap();
        let cuda = Ranker::new(&device, &tables, &rankings, k).unwrap();
        for asked in [case.everybody(), (0..users as u32).step_by(3).collect(), vec![]] {
            let audience =
                |on: &Resolved| Audience::new(on, asked.clone(), vec![case.seen()], relevant).unwrap();
            let (there, here) = (audience(&on_device), audience(&Resolved::Cpu));
            let lists = cpu.top_k(&asked, &[case.seen()]).unwrap();
            let shape = (rankings.len(), items);
            let (hits, frequency) = by_definition(&lists, &asked, relevant, shape, cuts);
            let check = |measured: Measured| {
                let got: Vec<&[Hit]> = (0..hits.len()).map(|list| measured.hits.of(list)).collect();
                assert_eq!(got, hits.iter().map(Vec::as_slice).collect::<Vec<_>>());
                assert_eq!(measured.frequency, frequency);
            };
            check(cpu.measure(&here, cuts).unwrap());
            // The second time what is there is used again, and then what is not there is copied.
            for audience in [&there, &there, &here] {
                check(cuda.measure(audience, cuts).unwrap());
            }
        }
    }
}

#[test]
fn many_chunks_are_counted_together() {
    let Some(device) = emulator::device() else { return };
    // Both lanes are used again.
    let (users, items) = (5 * 8 * 128 + 77, 30);
    let mut case = Case::random(3, users, items, 2, false);
    (case.seen_offsets, case.seen) = relevant(users, items, 9, 0.1);
    let (offsets, indices) = relevant(users, items, 5, 0.1);
    let relevant = Csr { offsets: &offsets, indices: &indices };
    let (tables, rankings) = (case.tables(), [Ranking::default(), Ranking { c: 0.0, tau: 0.1 }]);
    let measured = |on: &Resolved, ranker: &dyn Ranks| {
        let audience = Audience::new(on, case.everybody(), vec![case.seen()], relevant).unwrap();
        ranker.measure(&audience, &[5, 2]).unwrap()
    };
    let cpu = measured(&Resolved::Cpu, &CpuRanker::new(&tables, &rankings, 5).unwrap());
    let cuda =
        measured(&Resolved::Cuda(device.clone()), &Ranker::new(&device, &tables, &rankings, 5).unwrap());
    assert!(cuda == cpu);
    let none = |hits: &Hits| (0..2 * users).all(|list| hits.of(list).is_empty());
    assert!(!none(&cuda.hits));
}

#[test]
fn users_beyond_the_relevant_items_are_refused() {
    let relevant = Csr { offsets: &[0, 1], indices: &[0] };
    let error = Audience::new(&Resolved::Cpu, vec![0, 1], vec![], relevant).unwrap_err().to_string();
    assert!(error.contains("1 users, not for user 1"), "{error}");
}
