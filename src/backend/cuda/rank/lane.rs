//! A chunk of users, from their numbers to their lists on the host.

use std::ops::Range;

use rayon::prelude::*;

use super::{
    super::{
        Buffer, Device, Pinned, Shape,
        metrics::{Counts, Lists, OnDevice},
        params::{RANK_RESIDENT, RANK_SHARED, RANK_THREADS, RANK_VARIANTS, RankLists, RankMerge},
    },
    LISTS, Ranker, Seen, TILE,
    items::Packed,
};
use crate::{
    backend::lists::{Block, Candidate, check},
    error::Result,
};

/// Warps of a block.
const WARPS: usize = RANK_THREADS as usize / 32;
/// Shared memory for the lists that a block's warps merge.
const SCRATCH_BYTES: usize = 34 << 10;
/// Lists in the making of one lane take at most this much memory, and so do finished ones.
const LANE_BYTES: usize = 1 << 30;
/// Users of a block of lists on the host.
const BLOCK_USERS: usize = 256;

/// Rankings that share a scoring pass, at most, of so many.
pub(super) fn pass(variants: usize) -> usize {
    variants.min(RANK_VARIANTS as usize)
}

/// How pending items are merged into lists.
#[derive(Debug, Clone, Copy)]
struct Merging {
    /// Length of lists, L.
    length: usize,
    /// Pending items that are merged.
    full: usize,
    warps: usize,
}

impl Merging {
    /// For lists of length `k` under `variants` rankings.
    fn new(k: usize, variants: usize) -> Self {
        let length = k.next_power_of_two().max(32);
        Merging {
            length,
            // Many rankings share what is pending: each takes part of it.
            full: (length * pass(variants).min(4)).min(TILE.max(length)),
            warps: (SCRATCH_BYTES / Self::room(length)).clamp(1, WARPS),
        }
    }

    fn capacity(self) -> usize {
        self.full + TILE
    }

    /// Bytes for a list and a batch, which may run over by a row of 32.
    fn room(length: usize) -> usize {
        (2 * length + 32) * size_of::<Candidate>()
    }

    /// Dynamic shared memory of the lists that are merged.
    fn scratch(self) -> usize {
        self.warps * Self::room(self.length)
    }
}

/// How many users are ranked at once, and how their work is divided.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// Tiles of users in a chunk.
    pub(super) tiles: usize,
    /// Blocks that work at once: tiles times parts of the items.
    units: usize,
    item_tiles: usize,
    variants: usize,
    k: usize,
    merging: Merging,
}

impl Plan {
    /// For lists of length `k` under `variants` rankings, on a device with so many multiprocessors.
    pub(super) fn new(
        multiprocessors: u32,
        [users, item_tiles]: [usize; 2],
        variants: usize,
        k: usize,
    ) -> Self {
        let (merging, of_pass) = (Merging::new(k, variants), pass(variants));
        let making = TILE * size_of::<u64>() * (merging.capacity() + of_pass * merging.length);
        let made = TILE * size_of::<u64>() * variants * k;
        let blocks = RANK_RESIDENT as usize * multiprocessors as usize;
        let units = blocks.min(LANE_BYTES / making).max(1);
        let tiles = users.div_ceil(TILE).min(units).min(LANE_BYTES / made).max(1);
        Plan { tiles, units, item_tiles, variants, k, merging }
    }

    /// Users of a chunk.
    pub(super) fn chunk(&self) -> usize {
        self.tiles * TILE
    }

    /// Elements of a lane's `pending`, `lists` and `out`.
    fn lengths(&self) -> [usize; 3] {
        let (merging, users) = (self.merging, self.units * TILE);
        let lists = users * pass(self.variants) * merging.length;
        [users * merging.capacity(), lists, self.chunk() * self.variants * self.k]
    }

    /// Bytes of device memory that a lane takes for users whose rows are `depth` deep.
    pub(super) fn lane_memory(&self, depth: usize) -> u64 {
        let elements: usize = self.lengths().iter().sum();
        (size_of::<u64>() * elements) as u64 + Packed::memory(self.tiles, depth)
    }

    /// Parts of the items for so many tiles of users.
    pub(super) fn parts(&self, tiles: usize) -> usize {
        (self.units / tiles).clamp(1, self.item_tiles)
    }
}

/// No product of rounded rows of D components is off by more than this times the rows' norms; see kernels/rank.cu.
fn error(dim: usize) -> f32 {
    (1.0 + 1.0 / 128.0) / 128.0 + dim as f32 / (1 << 20) as f32
}

/// What becomes of lists.
pub(super) enum Goal<'g> {
    /// They are copied to the host and passed on.
    Lists { users: &'g [u32], consume: &'g (dyn Fn(&Block<'_>) + Sync) },
    /// They are counted where they are.
    Counts { counts: &'g mut Counts, audience: &'g OnDevice },
}

/// One of two chunks that are ranked in turns.
#[derive(Debug)]
pub(super) struct Lane {
    device: Device,
    packed: Packed,
    /// `[units, TILE, capacity]`.
    pending: Buffer<u64>,
    /// `[units, TILE, V, L]`.
    lists: Buffer<u64>,
    /// `[users, V, K]`.
    out: Buffer<u64>,
    /// The same on the host; empty where lists are not copied.
    host: Pinned<u64>,
    host_largest: Pinned<u32>,
    chunk: Range<usize>,
}

impl Lane {
    pub(super) fn new(ranker: &Ranker<'_>, plan: &Plan, goal: &Goal<'_>) -> Result<Self> {
        let device = ranker.device.with_own_stream()?;
        let [pending, lists, out] = plan.lengths();
        Ok(Lane {
            packed: Packed::new(&device, LISTS, plan.tiles, ranker.users.depth())?,
            pending: device.alloc(LISTS, pending)?,
            lists: device.alloc(LISTS, lists)?,
            out: device.alloc(LISTS, out)?,
            host: device.pinned(if matches!(goal, Goal::Lists { .. }) { out } else { 0 })?,
            host_largest: device.pinned(1)?,
            chunk: 0..0,
            device,
        })
    }

    /// Queues all that makes the lists of a chunk of the users in `rows`, and what becomes of them.
    pub(super) fn begin(
        &mut self,
        ranker: &Ranker<'_>,
        plan: &Plan,
        (rows, chunk): (&Buffer<u32>, Range<usize>),
        seen: &Seen,
        goal: &mut Goal<'_>,
    ) -> Result<()> {
        let (items, merging) = (&ranker.items, plan.merging);
        let (count, tiles) = (chunk.len(), chunk.len().div_ceil(TILE));
        let parts = plan.parts(tiles);
        assert!(chunk.end <= rows.len() && tiles <= plan.tiles && tiles * parts <= plan.units);
        self.packed.largest.fill_zero()?;
        let which = (rows, chunk.clone());
        ranker.users.pack(&self.device, &ranker.kernels.pack, which, None, &mut self.packed)?;
        let rows = rows.ptr().wrapping_add(chunk.start);
        self.chunk = chunk.clone();
        let mut first = 0;
        for pass in &items.passes {
            self.lists.fill_zero()?;
            let lists = RankLists {
                users: self.packed.rounded.ptr(),
                items: items.packed.rounded.ptr(),
                user_rows: self.packed.exact.ptr(),
                item_rows: items.packed.exact.ptr(),
                user_norms: self.packed.norms.ptr(),
                item_norms: items.packed.norms.ptr(),
                offsets: pass.offsets.ptr(),
                ids: items.ids.ptr(),
                rows,
                seen: seen.params(),
                pending: self.pending.ptr_mut(),
                lists: self.lists.ptr_mut(),
                count: count as u32,
                item_tiles: items.tiles as u32,
                depth: ranker.users.depth() as u32,
                parts: parts as u32,
                variants: pass.variants as u32,
                k: ranker.k as u32,
                length: merging.length as u32,
                full: merging.full as u32,
                capacity: merging.capacity() as u32,
                warps: merging.warps as u32,
                error: error(ranker.users.dim),
                unused: 0,
            };
            let thresholds = pass.variants * TILE * size_of::<f32>();
            let shape = Shape {
                grid: [tiles as u32, parts as u32, 1],
                block: RANK_THREADS,
                shared: RANK_SHARED + (thresholds + merging.scratch()) as u32,
            };
            // SAFETY: all arrays are of this object, the ranker and `seen`, with the shapes that kernels/params.h gives
            // for tiles x parts <= units; `rows` are within the users, and so are the rows of `seen`.
            unsafe { self.device.launch(&ranker.kernels.lists, shape, lists)? };
            let merge = RankMerge {
                lists: self.lists.ptr(),
                out: self.out.ptr_mut().wrapping_add(first * ranker.k),
                count: count as u32,
                parts: parts as u32,
                variants: pass.variants as u32,
                k: ranker.k as u32,
                length: merging.length as u32,
                warps: merging.warps as u32,
                stride: (ranker.variants * ranker.k) as u32,
                unused: 0,
            };
            let shape = Shape {
                grid: [(count * pass.variants).div_ceil(merging.warps) as u32, 1, 1],
                block: RANK_THREADS,
                shared: merging.scratch() as u32,
            };
            // SAFETY: as above; `out` has room for the chunk's users, and each pass writes its own rankings.
            unsafe { self.device.launch(&ranker.kernels.merge, shape, merge)? };
            first += pass.variants;
        }
        match goal {
            Goal::Lists { .. } => self.out.read_pinned(&mut self.host)?,
            Goal::Counts { counts, audience } => {
                let lists = Lists { lists: &self.out, first: chunk.start, count };
                counts.count(&self.device, audience, &lists)?;
            }
        }
        self.packed.largest.read_pinned(&mut self.host_largest)
    }

    /// Waits for the chunk, and passes lists on that are on the host.
    pub(super) fn finish(&mut self, ranker: &Ranker<'_>, goal: &Goal<'_>) -> Result<()> {
        let items = &ranker.items;
        let largest = f64::from(f32::from_bits(self.host_largest.as_slice()?[0]));
        check::range(largest, items.largest_component, items.largest_offset, ranker.users.dim)?;
        let Goal::Lists { users, consume } = goal else { return Ok(()) };
        let (variants, room) = (ranker.variants, ranker.k);
        let users = &users[self.chunk.clone()];
        let candidates: &[Candidate] =
            bytemuck::cast_slice(&self.host.as_slice()?[..users.len() * variants * room]);
        let blocks = users.par_chunks(BLOCK_USERS).zip(candidates.par_chunks(BLOCK_USERS * variants * room));
        blocks.enumerate().for_each(|(index, (users, candidates))| {
            // Where there are fewer items than k, zeros follow.
            let lengths: Vec<usize> = candidates
                .chunks_exact(room)
                .map(|list| list.partition_point(|&candidate| candidate != Candidate::NONE))
                .collect();
            let first = self.chunk.start + index * BLOCK_USERS;
            consume(&Block { first, users, variants, room, candidates, lengths: &lengths });
        });
        Ok(())
    }
}
