//! Lists of the best items for users, whichever device makes them.

mod candidate;
pub(in crate::backend) mod check;
mod measured;

use std::{
    fmt::Debug,
    sync::{Mutex, PoisonError},
};

pub use candidate::Candidate;
pub(in crate::backend) use measured::Part;
pub use measured::{Audience, Hit, Hits, Measured};

use super::cpu;
#[cfg(feature = "cuda")]
use super::cuda;
use crate::{
    data::Csr,
    device::Resolved,
    error::Result,
    model::{Ranking, Tables},
};

/// A device with a model's tables, ready to rank all items for users under one or many rankings.
/// [`cpu::rank`] says what a score is; lists are the same bits on every device.
pub trait Ranks: Debug + Sync {
    /// Number of rankings.
    fn variants(&self) -> usize;

    /// Ranks for `users` and calls `consume` for each block of them, in any order and from several threads of the
    /// current rayon pool. Items in a user's row of any of `seen` are left out.
    ///
    /// # Errors
    /// [`crate::Error::Data`] if a user or the shape of `seen` does not fit the tables; if the device fails.
    fn for_each_block(
        &self,
        users: &[u32],
        seen: &[Csr<'_>],
        consume: &(dyn Fn(&Block<'_>) + Sync),
    ) -> Result<()>;

    /// Ranks for the users of `audience` and measures their lists, cut at each of `cuts`, the largest of which is K.
    ///
    /// # Errors
    /// As [`Ranks::for_each_block`].
    fn measure(&self, audience: &Audience<'_>, cuts: &[usize]) -> Result<Measured>;

    /// Ranks for `users` and keeps every list.
    ///
    /// # Errors
    /// As [`Ranks::for_each_block`].
    fn top_k(&self, users: &[u32], seen: &[Csr<'_>]) -> Result<TopK> {
        let variants = self.variants();
        let lists = |block: &Block<'_>| {
            let (mut lengths, mut candidates) = (Vec::new(), Vec::new());
            for row in 0..block.users.len() {
                for variant in 0..variants {
                    let list = block.list(row, variant);
                    lengths.push(list.len());
                    candidates.extend_from_slice(list);
                }
            }
            (lengths, candidates)
        };
        let blocks = collect(|consume| self.for_each_block(users, seen, consume), lists)?;
        let mut top = TopK { variants, starts: vec![0], candidates: Vec::new() };
        for (lengths, candidates) in blocks {
            for length in lengths {
                top.starts.push(top.starts.last().copied().unwrap_or(0) + length);
            }
            top.candidates.extend(candidates);
        }
        Ok(top)
    }
}

impl dyn Ranks + '_ {
    /// Ranks for `users` and returns what `consume` makes of each block, in the order of the users.
    ///
    /// # Errors
    /// As [`Ranks::for_each_block`].
    pub fn map_blocks<R: Send>(
        &self,
        users: &[u32],
        seen: &[Csr<'_>],
        consume: impl Fn(&Block<'_>) -> R + Sync,
    ) -> Result<Vec<R>> {
        collect(|consume| self.for_each_block(users, seen, consume), consume)
    }
}

/// What `each` makes of the blocks that `run` passes on, in the order of the users.
fn collect<R: Send>(
    run: impl FnOnce(&(dyn Fn(&Block<'_>) + Sync)) -> Result<()>,
    each: impl Fn(&Block<'_>) -> R + Sync,
) -> Result<Vec<R>> {
    let done = Mutex::new(Vec::new());
    run(&|block| {
        let result = each(block);
        done.lock().unwrap_or_else(PoisonError::into_inner).push((block.first, result));
    })?;
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|&(first, _)| first);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

/// Prepares `device` to rank by `tables`, for lists of length `k` under each of `rankings`.
///
/// # Errors
/// [`crate::Error::Config`] if `k` is 0, more than there are items or more than the device can, or a `c` or `tau` is
/// not a finite number; [`crate::Error::Data`] if a table holds a number that is not finite, or numbers so large that
/// scores overflow; if the device fails.
pub fn ranker<'a>(
    device: &Resolved,
    tables: &'a Tables<'_>,
    rankings: &[Ranking],
    k: usize,
) -> Result<Box<dyn Ranks + 'a>> {
    Ok(match device {
        Resolved::Cpu => Box::new(cpu::rank::Ranker::new(tables, rankings, k)?),
        #[cfg(feature = "cuda")]
        Resolved::Cuda(device) => Box::new(cuda::rank::Ranker::new(device, tables, rankings, k)?),
    })
}

/// The lists of a block of users.
#[derive(Debug)]
pub struct Block<'a> {
    /// Position of the block's first user in the users asked for.
    pub first: usize,
    /// The users of the block.
    pub users: &'a [u32],
    pub(in crate::backend) variants: usize,
    /// Candidates that a list has room for.
    pub(in crate::backend) room: usize,
    /// `[users, V, room]`.
    pub(in crate::backend) candidates: &'a [Candidate],
    /// `[users, V]`.
    pub(in crate::backend) lengths: &'a [usize],
}

impl<'a> Block<'a> {
    /// The list of `self.users[row]` under ranking `variant`, best first; shorter than K where fewer items remain.
    pub fn list(&self, row: usize, variant: usize) -> &'a [Candidate] {
        let slot = row * self.variants + variant;
        &self.candidates[slot * self.room..][..self.lengths[slot]]
    }
}

/// Lists of many users under one or many rankings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopK {
    variants: usize,
    /// `[users x variants + 1]`, ascending, from 0.
    starts: Vec<usize>,
    candidates: Vec<Candidate>,
}

impl TopK {
    /// The list of the user at `position` of those asked for, under ranking `variant`, best first.
    pub fn list(&self, position: usize, variant: usize) -> &[Candidate] {
        let list = position * self.variants + variant;
        &self.candidates[self.starts[list]..self.starts[list + 1]]
    }

    /// Number of users.
    pub fn len(&self) -> usize {
        (self.starts.len() - 1) / self.variants
    }

    /// True when no user was asked for.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
