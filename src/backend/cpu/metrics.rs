//! `metrics`: which items of lists are relevant, and how often each item is listed.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::{
    backend::{
        Ranks,
        lists::{Audience, Block, Hit, Hits, Measured, Part},
    },
    data::Csr,
    error::Result,
};

/// Measures the lists of a ranker of `items` items, cut at each of `cuts`.
///
/// # Errors
/// As [`Ranks::for_each_block`].
pub fn measure(
    ranker: &dyn Ranks,
    items: usize,
    audience: &Audience<'_>,
    cuts: &[usize],
) -> Result<Measured> {
    let exposure = Exposure::new(ranker.variants(), cuts, items);
    let relevant = audience.relevant();
    let parts = ranker.map_blocks(audience.users(), audience.seen(), |block| {
        exposure.count(block);
        hits(block, relevant)
    })?;
    Ok(Measured { hits: Hits::concat(parts), frequency: exposure.into_frequencies() })
}

/// The hits of a block's lists, and how many each list has, by user and ranking.
fn hits(block: &Block<'_>, relevant: Csr<'_>) -> Part {
    let (mut lengths, mut hits) = (Vec::with_capacity(block.users.len() * block.variants), Vec::new());
    for (row, &user) in block.users.iter().enumerate() {
        let relevant = relevant.row(user);
        for variant in 0..block.variants {
            let before = hits.len();
            for (rank, candidate) in (1..).zip(block.list(row, variant)) {
                if relevant.binary_search(&candidate.item()).is_ok() {
                    hits.push(Hit { rank, item: candidate.item() });
                }
            }
            lengths.push((hits.len() - before) as u32);
        }
    }
    (lengths, hits)
}

/// Counts in how many lists each item is. Sums of integers are the same in any order.
struct Exposure<'a> {
    cuts: &'a [usize],
    /// `[V x cuts, I]`.
    counts: Vec<Vec<AtomicU32>>,
}

impl<'a> Exposure<'a> {
    fn new(variants: usize, cuts: &'a [usize], items: usize) -> Self {
        let zeros = || (0..items).map(|_| AtomicU32::new(0)).collect();
        Exposure { cuts, counts: (0..variants * cuts.len()).map(|_| zeros()).collect() }
    }

    fn count(&self, block: &Block<'_>) {
        for row in 0..block.users.len() {
            for (index, counts) in self.counts.iter().enumerate() {
                let (variant, k) = (index / self.cuts.len(), self.cuts[index % self.cuts.len()]);
                for candidate in block.list(row, variant).iter().take(k) {
                    counts[candidate.item() as usize].fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    fn into_frequencies(self) -> Vec<Vec<u32>> {
        self.counts.into_iter().map(|c| c.into_iter().map(AtomicU32::into_inner).collect()).collect()
    }
}
