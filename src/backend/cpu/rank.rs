//! Full ranking: every item scored for every user asked for, seen items masked, the best K kept, for many
//! [`Ranking`]s in one scoring pass.
//!
//! The score of item i for user u under ranking v is `x - o`, rounded once to f32, with
//!
//! - `x = p_u . (s_i q_i)`: `s_i q_i` rounded to f32, then f32 fused multiply-adds in the order of the components,
//!   from 0; it does not depend on the ranking, nor on which users are ranked together;
//! - `o = c s_i + tau ln(n_i + 1)`: the product `c s_i` and the logarithm rounded to f32, then one fused multiply-add.
//!   Without gates `c` shifts all scores of a user alike and is left out.
//!
//! Equal scores are ordered by item id. Hence a list is a pure function of the tables: the same bits for any number
//! of threads, any grouping of users, and on any processor.
//!
//! The `x` of 6 users and a cache-sized block of items are formed at a time; the U x I matrix never exists. Seen items
//! get minus infinity. Then a panel of 16 items is looked at item by item only if its largest `x` minus its smallest
//! `o` could enter a list of some ranking; items with similar `o` share a panel, so that this bound is sharp. What may
//! enter a list is kept, for all rankings together, and the lists are made from these few items at the end.

mod kernel;
mod line;
mod pool;
mod select;
mod table;

use std::ops::Range;

use rayon::prelude::*;

// What the order and the rounding of scores come from: other devices use it too.
#[cfg(feature = "cuda")]
pub(in crate::backend) use self::{
    kernel::LANES as PANEL,
    table::{NO_ITEM, offset, order, popularity},
};
use self::{
    kernel::{LANES, Lanes, PANELS, ROWS},
    line::Line,
    pool::Entry,
    select::Selections,
    table::Table,
};
use crate::{
    backend::{
        cpu::metrics,
        lists::{Audience, Block, Candidate, Measured, Ranks, check},
    },
    data::Csr,
    error::Result,
    model::{Ranking, Tables},
};

/// Users of a block share one pass over the items: enough of them that items come from the outer caches seldom.
const BLOCK_USERS: usize = 16 * ROWS;
/// The candidates of a block share the second-level cache with the items: with many rankings or long lists, blocks
/// have fewer users, but a tile of them as long as they take no more than the second limit.
const BLOCK_CANDIDATE_BYTES: usize = 1 << 20;
const TILE_CANDIDATE_BYTES: usize = 256 << 20;
/// Items that are scored for one tile of users after the other stay in the second-level cache.
const ITEM_BLOCK_BYTES: usize = 192 << 10;

/// Ranks all items for users, under one or many [`Ranking`]s; see the [module](self) for what a score is.
///
/// ```
/// use macr::{Ranking, backend::{Ranks, cpu::rank::Ranker}, model::Tables};
/// let tables = Tables::new(2, &[1.0, 0.0], &[0.5, 0.0, 2.0, 0.0, 2.0, 9.0], None, &[1, 1, 1])?;
/// let top = Ranker::new(&tables, &[Ranking::default()], 2)?.top_k(&[0], &[])?;
/// assert_eq!(top.list(0, 0).iter().map(|c| (c.item(), c.score())).collect::<Vec<_>>(), [(1, 2.0), (2, 2.0)]);
/// # Ok::<(), macr::Error>(())
/// ```
#[derive(Debug)]
pub struct Ranker<'a> {
    dim: usize,
    /// `[U, D]`.
    users: &'a [f32],
    items: usize,
    table: Table,
    variants: usize,
    lines: Vec<Line>,
    k: usize,
}

impl<'a> Ranker<'a> {
    /// Prepares the item side of `tables` for lists of length `k` under each of `variants`.
    ///
    /// # Errors
    /// [`crate::Error::Config`] if `k` is 0 or more than there are items, or a `c` or `tau` is not a finite number;
    /// [`crate::Error::Data`] if a table holds a number that is not finite, or numbers so large that scores overflow.
    pub fn new(tables: &Tables<'a>, variants: &[Ranking], k: usize) -> Result<Self> {
        let items = tables.items() as usize;
        check::request(items, variants, k)?;
        let table = Table::new(tables, variants)?;
        let largest = check::largest("user embedding", tables.user_embedding(), tables.dim())?;
        check::range(largest, table.largest_component, table.largest_offset, tables.dim())?;
        let lines = Line::cover(variants, table.panels() <= PANELS);
        Ok(Ranker {
            dim: tables.dim(),
            users: tables.user_embedding(),
            items,
            table,
            variants: variants.len(),
            lines,
            k,
        })
    }

    /// Ranks for `users`, block by block, and returns what `consume` makes of each block, in the order of the users.
    ///
    /// Items in a user's row of any of `seen` are left out. Blocks run on the current rayon pool; memory is bounded
    /// by what `consume` returns.
    ///
    /// # Errors
    /// [`crate::Error::Data`] if a user or the shape of `seen` does not fit the tables.
    pub fn map_blocks<R: Send>(
        &self,
        users: &[u32],
        seen: &[Csr<'_>],
        consume: impl Fn(&Block<'_>) -> R + Sync,
    ) -> Result<Vec<R>> {
        check::users(users, seen, self.users.len() / self.dim, self.items)?;
        let size = self.block_users();
        let blocks = users.par_chunks(size).enumerate().map_init(
            || Scratch::new(self, size),
            |scratch, (index, users)| {
                self.rank_block(users, seen, scratch);
                consume(&scratch.selections.block(index * size, users))
            },
        );
        Ok(blocks.collect())
    }

    /// Users per block.
    fn block_users(&self) -> usize {
        block_users(candidate_bytes(&self.lines, self.variants, self.k, self.items))
    }

    fn rank_block(&self, users: &[u32], seen: &[Csr<'_>], scratch: &mut Scratch) {
        let (table, stride) = (&self.table, scratch.stride);
        scratch.pack(self, users);
        scratch.find_seen(table, users, seen);
        scratch.selections.clear();
        for first in (0..table.panels()).step_by(stride) {
            let panels = first..table.panels().min(first + stride);
            for tile in 0..users.len().div_ceil(ROWS) {
                let packed = &scratch.packed[tile * self.dim..][..self.dim];
                kernel::score(table, panels.clone(), packed, stride, &mut scratch.x, &mut scratch.highest);
                let rows = tile * ROWS..users.len().min((tile + 1) * ROWS);
                let scores = scratch.x.chunks_exact_mut(stride).zip(scratch.highest.chunks_exact_mut(stride));
                for (row, (x, highest)) in rows.zip(scores) {
                    scratch.seen[row].mask(&panels, x, highest);
                    scratch.selections.add(table, &self.lines, row, panels.clone(), x, highest);
                }
            }
        }
        scratch.selections.finish(table, &self.lines, users.len());
    }
}

/// Bytes that the candidates of a user may take.
fn candidate_bytes(lines: &[Line], variants: usize, k: usize, items: usize) -> usize {
    let entries = |line| Selections::capacity(line, k, items) * size_of::<Entry>();
    variants * k * size_of::<Candidate>() + lines.iter().map(entries).sum::<usize>()
}

/// Users per block, by what the candidates of one may take.
fn block_users(candidate_bytes: usize) -> usize {
    (BLOCK_CANDIDATE_BYTES / candidate_bytes)
        .clamp(ROWS, BLOCK_USERS)
        .min(TILE_CANDIDATE_BYTES / candidate_bytes)
        .max(1)
}

/// Bytes that a thread needs for its block of users, of `items` items in lists of `k` under each of `rankings`, apart
/// from the users' embeddings.
pub(crate) fn scratch_bytes(rankings: &[Ranking], k: usize, items: usize) -> u64 {
    let k = k.min(items).max(1);
    let panels = items.div_ceil(LANES);
    let lines = Line::cover(rankings, panels <= PANELS);
    let user = candidate_bytes(&lines, rankings.len(), k, items).max(1);
    let longest = lines.iter().map(|line| Selections::capacity(line, k, items)).max().unwrap_or(0);
    // Of the entries that lists are made from, numbers and what their scores depend on.
    let pool = longest * 8 * size_of::<f32>() + (k + 1) * 4 * size_of::<Candidate>();
    let scores = ROWS * PANELS * (size_of::<Lanes>() + size_of::<f32>());
    (block_users(user) * (user + rankings.len() * 16) + pool + scores) as u64
}

impl Ranks for Ranker<'_> {
    fn variants(&self) -> usize {
        self.variants
    }

    fn for_each_block(
        &self,
        users: &[u32],
        seen: &[Csr<'_>],
        consume: &(dyn Fn(&Block<'_>) + Sync),
    ) -> Result<()> {
        self.map_blocks(users, seen, consume).map(|_| ())
    }

    fn measure(&self, audience: &Audience<'_>, cuts: &[usize]) -> Result<Measured> {
        metrics::measure(self, self.items, audience, cuts)
    }
}

/// What one thread needs for one block; reused from block to block.
struct Scratch {
    /// Panels that are scored at once, a multiple of [`LANES`].
    stride: usize,
    /// `[tiles, D]` of [`ROWS`] users each; what stands in rows beyond the last user is not looked at.
    packed: Vec<[f32; ROWS]>,
    /// `[users]`.
    seen: Vec<Seen>,
    /// `[ROWS, stride]`: the scores of a tile.
    x: Vec<Lanes>,
    /// `[ROWS, stride]`: the highest score of each panel.
    highest: Vec<f32>,
    selections: Selections,
}

impl Scratch {
    fn new(ranker: &Ranker<'_>, users: usize) -> Self {
        let panel_bytes = ranker.dim * size_of::<Lanes>();
        // A catalogue that fits is one block: this is what lines with a pivot rely on.
        let panels = match ranker.table.panels() {
            panels if panels <= PANELS => panels,
            _ => (ITEM_BLOCK_BYTES / panel_bytes).min(PANELS) / LANES * LANES,
        };
        let stride = panels.next_multiple_of(LANES).max(LANES);
        Scratch {
            stride,
            packed: vec![[0.0; ROWS]; users.div_ceil(ROWS) * ranker.dim],
            seen: (0..users).map(|_| Seen::default()).collect(),
            x: vec![Lanes::ZERO; ROWS * stride],
            highest: vec![0.0; ROWS * stride],
            selections: Selections::new(users, &ranker.lines, ranker.variants, ranker.k, ranker.items),
        }
    }

    fn pack(&mut self, ranker: &Ranker<'_>, users: &[u32]) {
        let dim = ranker.dim;
        for (tile, users) in self.packed.chunks_exact_mut(dim).zip(users.chunks(ROWS)) {
            for (row, &user) in users.iter().enumerate() {
                let embedding = &ranker.users[user as usize * dim..][..dim];
                tile.iter_mut().zip(embedding).for_each(|(packed, &value)| packed[row] = value);
            }
        }
    }

    fn find_seen(&mut self, table: &Table, users: &[u32], seen: &[Csr<'_>]) {
        for (found, &user) in self.seen.iter_mut().zip(users) {
            found.positions.clear();
            found
                .positions
                .extend(seen.iter().flat_map(|csr| csr.row(user)).map(|&item| table.position(item)));
            if table.panels() > self.stride {
                found.positions.sort_unstable();
            }
            found.next = 0;
        }
    }
}

/// Where in the table the items stand that a user has seen.
#[derive(Debug, Default)]
struct Seen {
    /// Ascending, unless there is but one block of panels.
    positions: Vec<u32>,
    /// The first that is not masked yet.
    next: usize,
}

impl Seen {
    /// Gives the seen items of `panels` the score minus infinity; to be called for ascending panels.
    fn mask(&mut self, panels: &Range<usize>, x: &mut [Lanes], highest: &mut [f32]) {
        while let Some(&position) = self.positions.get(self.next) {
            let (panel, lane) = (position as usize / LANES, position as usize % LANES);
            if panel >= panels.end {
                break;
            }
            let place = panel - panels.start;
            let x = &mut x[place].0;
            let was_highest = x[lane] >= highest[place];
            x[lane] = f32::NEG_INFINITY;
            if was_highest {
                highest[place] = kernel::maximum(x);
            }
            self.next += 1;
        }
    }
}
