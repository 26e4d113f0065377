//! `rank`: the best K items of users under one or many rankings; lists are the bits of [`crate::backend::cpu::rank`].
//!
//! Users are ranked in chunks that fill the device. Two lanes with a stream each take turns, so that one's lists are
//! copied to the host and consumed there while the other's are made.

use std::{borrow::Borrow, ops::Range, ptr};

use rayon::prelude::*;

use super::{
    Buffer, Device, Kernel, Params, Pinned, Purpose, Shape,
    params::{
        RANK_LONGEST, RANK_SEEN, RANK_SHARED, RANK_SLICE, RANK_THREADS, RANK_TILE, RANK_VARIANTS, RankGates,
        RankLists, RankMerge, RankPack, RankSeen,
    },
};
use crate::{
    backend::{
        cpu::rank::{NO_ITEM, PANEL, offset, order, popularity},
        lists::{Block, Candidate, Ranks, check},
    },
    data::Csr,
    error::{Error, Result},
    model::{Ranking, Tables},
};

// SAFETY: kernels/rank.cu.
unsafe impl Params for RankGates {
    const KERNEL: &'static str = "rank_gates";
}

// SAFETY: kernels/rank.cu.
unsafe impl Params for RankPack {
    const KERNEL: &'static str = "rank_pack";
}

// SAFETY: kernels/rank.cu.
unsafe impl Params for RankLists {
    const KERNEL: &'static str = "rank_lists";
}

// SAFETY: kernels/rank.cu.
unsafe impl Params for RankMerge {
    const KERNEL: &'static str = "rank_merge";
}

const TABLES: Purpose = Purpose { what: "the embeddings to rank by", lower: "the size of the model" };
const LISTS: Purpose = Purpose { what: "the lists", lower: "k, or the number of rankings" };

const TILE: usize = RANK_TILE as usize;
/// Warps of a block.
const WARPS: usize = RANK_THREADS as usize / 32;
/// Blocks that run at once on a multiprocessor: registers allow two.
const RESIDENT: usize = 2;
/// Shared memory for the lists that a block's warps merge.
const SCRATCH_BYTES: usize = 34 << 10;
/// Lists in the making of one lane take at most this much memory, and so do finished ones.
const LANE_BYTES: usize = 1 << 30;
/// Users of a block of lists on the host.
const BLOCK_USERS: usize = 256;

/// Tables that are on the device, as training leaves them: ranked without being copied to the host.
#[derive(Debug, Clone, Copy)]
pub struct DeviceTables<'a> {
    /// Embedding size, D.
    pub dim: usize,
    /// Numbers from one row to the next, at least D.
    pub stride: usize,
    /// `[U, stride]`.
    pub users: &'a Buffer<f32>,
    /// `[I, stride]`.
    pub items: &'a Buffer<f32>,
    /// `[D]` or longer: weight of the linear item branch, where there is one.
    pub item_branch: Option<&'a Buffer<f32>>,
    /// `[I]` training interactions of each item.
    pub popularity: &'a [u32],
}

/// Items that users have seen, on the device, to be used for many rankings.
#[derive(Debug)]
pub struct Seen {
    rows: usize,
    sets: Vec<(Buffer<u64>, Buffer<u32>)>,
}

impl Seen {
    /// Copies sets of seen items to the device.
    ///
    /// # Errors
    /// [`Error::Data`] if there are more than four; [`Error::DeviceMemory`] if they do not fit.
    pub fn new(device: &Device, sets: &[Csr<'_>]) -> Result<Self> {
        if sets.len() > RANK_SEEN as usize {
            return Err(Error::data(
                format!("there are {} sets of seen items", sets.len()),
                format!("a GPU leaves out at most {RANK_SEEN}; put some together, or use --device cpu"),
            ));
        }
        let upload = |csr: &Csr<'_>| -> Result<(Buffer<u64>, Buffer<u32>)> {
            Ok((device.upload(LISTS, csr.offsets)?, device.upload(LISTS, csr.indices)?))
        };
        Ok(Seen {
            rows: sets.first().map_or(0, Csr::rows),
            sets: sets.iter().map(upload).collect::<Result<_>>()?,
        })
    }

    fn params(&self) -> [RankSeen; RANK_SEEN as usize] {
        let mut params = [RankSeen { offsets: ptr::null(), items: ptr::null() }; RANK_SEEN as usize];
        for (params, (offsets, items)) in params.iter_mut().zip(&self.sets) {
            *params = RankSeen { offsets: offsets.ptr(), items: items.ptr() };
        }
        params
    }
}

/// Ranks all items for users on a device.
#[derive(Debug)]
pub struct Ranker<'a> {
    device: Device,
    kernels: Kernels,
    users: Rows<Users<'a>>,
    items: Items,
    variants: usize,
    k: usize,
    merging: Merging,
}

#[derive(Debug)]
struct Kernels {
    pack: Kernel<RankPack>,
    lists: Kernel<RankLists>,
    merge: Kernel<RankMerge>,
}

impl Kernels {
    fn new(device: &Device) -> Result<Self> {
        Ok(Kernels { pack: device.kernel()?, lists: device.kernel()?, merge: device.kernel()? })
    }
}

#[derive(Debug)]
enum Users<'a> {
    Owned(Buffer<f32>),
    Borrowed(&'a Buffer<f32>),
}

impl Borrow<Buffer<f32>> for Users<'_> {
    fn borrow(&self) -> &Buffer<f32> {
        match self {
            Users::Owned(buffer) => buffer,
            Users::Borrowed(buffer) => buffer,
        }
    }
}

/// A table of `count` rows of D numbers, `stride` apart.
#[derive(Debug)]
struct Rows<T> {
    table: T,
    count: usize,
    dim: usize,
    stride: usize,
}

impl<T: Borrow<Buffer<f32>>> Rows<T> {
    /// D rounded up to whole slices.
    fn depth(&self) -> usize {
        self.dim.next_multiple_of(RANK_SLICE as usize)
    }

    /// Queues packing of `count` rows, whose numbers are at `rows` on the device, into tiles.
    fn pack(
        &self,
        device: &Device,
        kernel: &Kernel<RankPack>,
        (rows, count): (*const u32, usize),
        scale: *const f32,
        packed: &mut Buffer<f32>,
        largest: &mut Buffer<u32>,
    ) -> Result<()> {
        let (tiles, depth) = (count.div_ceil(TILE), self.depth());
        assert!(
            packed.len() >= tiles * depth * TILE && self.table.borrow().len() >= self.count * self.stride
        );
        let params = RankPack {
            table: self.table.borrow().ptr(),
            scale,
            rows,
            packed: packed.ptr_mut(),
            largest: largest.ptr_mut(),
            table_rows: self.count as u32,
            count: count as u32,
            dim: self.dim as u32,
            stride: self.stride as u32,
            depth: depth as u32,
            unused: 0,
        };
        let grid = [tiles as u32, depth as u32 / RANK_SLICE, 1];
        // SAFETY: `table` and `packed` are as long as was just checked, and callers give `count` rows, and a scale for
        // every row of the table.
        unsafe { device.launch(kernel, Shape { grid, block: RANK_THREADS, shared: 0 }, params) }
    }
}

/// The item side, in tiles.
#[derive(Debug)]
struct Items {
    count: usize,
    tiles: usize,
    /// `[J, depth, TILE]`.
    packed: Buffer<f32>,
    /// `[J, TILE]`.
    ids: Buffer<u32>,
    passes: Vec<Pass>,
    /// No component and no offset is larger.
    largest_component: f64,
    largest_offset: f64,
}

/// Rankings that share a scoring pass.
#[derive(Debug)]
struct Pass {
    variants: usize,
    /// `[J, V, TILE]`.
    offsets: Buffer<f32>,
}

impl Items {
    fn new(
        device: &Device,
        kernel: &Kernel<RankPack>,
        rows: &Rows<&Buffer<f32>>,
        (gates, scale): (Option<&[f32]>, *const f32),
        counts: &[u32],
        rankings: &[Ranking],
    ) -> Result<Self> {
        let (zeros, popularity) =
            (vec![0.0; if gates.is_some() { 0 } else { counts.len() }], popularity(counts));
        let gates = gates.unwrap_or(&zeros);
        // Halves of a panel, whose items are alike, become the items of a thread: the g-th four of a tile's first half
        // and the g-th four of its second.
        let order = order(gates, &popularity, rankings);
        let tiles = (order.len() * PANEL).div_ceil(TILE);
        let mut ids = vec![NO_ITEM; tiles * TILE];
        for (at, &id) in order.as_flattened().iter().enumerate() {
            let (tile, thread, item) = (at / TILE, at % TILE / 8, at % 8);
            ids[tile * TILE + item / 4 * (TILE / 2) + thread * 4 + item % 4] = id;
        }

        let mut largest_offset = 0.0f64;
        let mut passes = Vec::new();
        for rankings in rankings.chunks(RANK_VARIANTS as usize) {
            let mut offsets = vec![f32::INFINITY; tiles * rankings.len() * TILE];
            for (v, &ranking) in rankings.iter().enumerate() {
                let by_item: Vec<f32> =
                    gates.iter().zip(&popularity).map(|(&gate, &n)| offset(ranking, gate, n)).collect();
                largest_offset = largest_offset.max(check::largest("popularity correction", &by_item, 1)?);
                for (tile, ids) in ids.chunks_exact(TILE).enumerate() {
                    let offsets = &mut offsets[(tile * rankings.len() + v) * TILE..][..TILE];
                    for (offset, &id) in offsets.iter_mut().zip(ids).filter(|(_, id)| **id != NO_ITEM) {
                        *offset = by_item[id as usize];
                    }
                }
            }
            passes.push(Pass { variants: rankings.len(), offsets: device.upload(TABLES, &offsets)? });
        }

        let ids = device.upload(TABLES, &ids)?;
        let mut packed = device.alloc(TABLES, tiles * rows.depth() * TILE)?;
        let mut largest = device.zeros(TABLES, 1)?;
        rows.pack(device, kernel, (ids.ptr(), ids.len()), scale, &mut packed, &mut largest)?;
        let largest_component = f64::from(f32::from_bits(largest.read()?[0]));
        Ok(Items { count: counts.len(), tiles, packed, ids, passes, largest_component, largest_offset })
    }
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
    fn new(k: usize, variants: usize) -> Self {
        let length = k.next_power_of_two().max(32);
        Merging {
            length,
            // Many rankings share what is pending: each takes part of it.
            full: (length * variants.min(4)).min(TILE.max(length)),
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

impl<'a> Ranker<'a> {
    /// Prepares `device` to rank by `tables`, for lists of length `k` under each of `rankings`.
    ///
    /// # Errors
    /// [`Error::Config`] if `k` is 0, more than there are items or than 1024, or a `c` or `tau` is not a finite number;
    /// [`Error::Data`] if a table holds a number that is not finite, or numbers so large that scores overflow;
    /// [`Error::DeviceMemory`] if the tables do not fit.
    pub fn new(device: &Device, tables: &Tables<'_>, rankings: &[Ranking], k: usize) -> Result<Self> {
        Self::check(tables.items() as usize, rankings, k)?;
        let dim = tables.dim();
        let gate = tables.gates().map_or(Ok(1.0), |gates| check::largest("item gate", gates, 1))?;
        let component = gate * check::largest("item embedding", tables.item_embedding(), dim)?;
        let kernels = Kernels::new(device)?;
        let items = device.upload(TABLES, tables.item_embedding())?;
        let gates = tables.gates().map(|gates| device.upload(TABLES, gates)).transpose()?;
        let scale = gates.as_ref().map_or(ptr::null(), Buffer::ptr);
        let rows = Rows { table: &items, count: tables.items() as usize, dim, stride: dim };
        let items =
            Items::new(device, &kernels.pack, &rows, (tables.gates(), scale), tables.popularity(), rankings)?;
        let user = check::largest("user embedding", tables.user_embedding(), dim)?;
        check::range(user, component, items.largest_offset, dim)?;
        let users = Users::Owned(device.upload(TABLES, tables.user_embedding())?);
        let users = Rows { table: users, count: tables.users() as usize, dim, stride: dim };
        Ok(Self::assemble(device, kernels, users, items, rankings, k))
    }

    /// Prepares to rank by tables that are on `device`.
    ///
    /// Item gates are formed there, in f64, and rounded to f32; they may differ in the last bit from those of
    /// [`crate::Model::item_gates`], whose exponential is another. Everything else is the same bits.
    ///
    /// # Errors
    /// As [`Ranker::new`]; that users' embeddings are not finite is found when they are ranked.
    ///
    /// # Panics
    /// If a buffer is too short.
    pub fn on_device(
        device: &Device,
        tables: &DeviceTables<'a>,
        rankings: &[Ranking],
        k: usize,
    ) -> Result<Self> {
        let DeviceTables { dim, stride, .. } = *tables;
        let (items, users) = (tables.popularity.len(), tables.users.len() / stride);
        Self::check(items, rankings, k)?;
        let kernels = Kernels::new(device)?;
        let gates = tables.item_branch.map(|weight| gates(device, tables, weight)).transpose()?;
        let downloaded = gates.as_ref().map(Buffer::read).transpose()?;
        if let Some(gates) = &downloaded {
            check::largest("item gate", gates, 1)?;
        }
        let scale = gates.as_ref().map_or(ptr::null(), Buffer::ptr);
        let rows = Rows { table: tables.items, count: items, dim, stride };
        let source = (downloaded.as_deref(), scale);
        let items = Items::new(device, &kernels.pack, &rows, source, tables.popularity, rankings)?;
        check::range(0.0, items.largest_component, items.largest_offset, dim)?;
        let users = Rows { table: Users::Borrowed(tables.users), count: users, dim, stride };
        Ok(Self::assemble(device, kernels, users, items, rankings, k))
    }

    fn check(items: usize, rankings: &[Ranking], k: usize) -> Result<()> {
        check::request(items, rankings, k)?;
        if k > RANK_LONGEST as usize {
            return Err(Error::config(
                "k",
                k,
                format!("a GPU makes lists of at most {RANK_LONGEST}"),
                "choose a smaller k, or use --device cpu",
            ));
        }
        Ok(())
    }

    fn assemble(
        device: &Device,
        kernels: Kernels,
        users: Rows<Users<'a>>,
        items: Items,
        rankings: &[Ranking],
        k: usize,
    ) -> Self {
        let merging = Merging::new(k, rankings.len().min(RANK_VARIANTS as usize));
        Ranker { device: device.clone(), kernels, users, items, variants: rankings.len(), k, merging }
    }

    /// As [`Ranks::for_each_block`], with seen items that are on the device.
    ///
    /// # Errors
    /// [`Error::Data`] if a user or `seen` does not fit the tables, or scores are not finite; if the device fails.
    pub fn rank(&self, users: &[u32], seen: &Seen, consume: &(dyn Fn(&Block<'_>) + Sync)) -> Result<()> {
        check::users(users, &[], self.users.count, self.items.count)?;
        if !seen.sets.is_empty() && seen.rows != self.users.count {
            return Err(Error::data(
                format!("seen items are given for {} users, the model has {}", seen.rows, self.users.count),
                "use the data that the model was trained on",
            ));
        }
        if users.is_empty() {
            return Ok(());
        }
        let plan = Plan::new(self, users.len());
        let rows = self.device.upload(LISTS, users)?;
        // Lanes have streams of their own: what they read must be there.
        self.device.synchronize()?;
        let mut lanes: [Option<Lane>; 2] = [None, None];
        let chunk = plan.tiles * TILE;
        for (index, first) in (0..users.len()).step_by(chunk).enumerate() {
            let slot = &mut lanes[index % 2];
            let lane = match slot {
                Some(lane) => {
                    lane.finish(self, users, consume)?;
                    lane
                }
                None => slot.insert(Lane::new(self, &plan)?),
            };
            lane.begin(self, &plan, &rows, seen, first..users.len().min(first + chunk))?;
        }
        // The older chunk first.
        let chunks = users.len().div_ceil(chunk);
        for index in [chunks, chunks + 1] {
            if let Some(lane) = &mut lanes[index % 2] {
                lane.finish(self, users, consume)?;
            }
        }
        Ok(())
    }
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
        check::users(users, seen, self.users.count, self.items.count)?;
        self.rank(users, &Seen::new(&self.device, seen)?, consume)
    }
}

/// The gates `[I]` of a linear item branch.
fn gates(device: &Device, tables: &DeviceTables<'_>, weight: &Buffer<f32>) -> Result<Buffer<f32>> {
    let count = tables.popularity.len();
    assert!(tables.items.len() >= count * tables.stride && weight.len() >= tables.dim);
    let mut gates = device.alloc(TABLES, count)?;
    let params = RankGates {
        items: tables.items.ptr(),
        weight: weight.ptr(),
        gates: gates.ptr_mut(),
        count: count as u32,
        dim: tables.dim as u32,
        stride: tables.stride as u32,
        unused: 0,
    };
    let shape = Shape::linear((count as u32).div_ceil(RANK_THREADS), RANK_THREADS);
    // SAFETY: the lengths were just checked.
    unsafe { device.launch(&device.kernel()?, shape, params)? };
    Ok(gates)
}

/// How many users are ranked at once, and how their work is divided.
#[derive(Debug, Clone, Copy)]
struct Plan {
    /// Tiles of users in a chunk.
    tiles: usize,
    /// Blocks that work at once: tiles times parts of the items.
    units: usize,
    item_tiles: usize,
}

impl Plan {
    fn new(ranker: &Ranker<'_>, users: usize) -> Self {
        let merging = ranker.merging;
        let variants = ranker.items.passes.iter().map(|pass| pass.variants).max().unwrap_or(0);
        let making = TILE * size_of::<u64>() * (merging.capacity() + variants * merging.length);
        let made = TILE * size_of::<u64>() * ranker.variants * ranker.k;
        let blocks = RESIDENT * ranker.device.description().multiprocessors as usize;
        let units = blocks.min(LANE_BYTES / making).max(1);
        let tiles = users.div_ceil(TILE).min(units).min((LANE_BYTES / made).max(1));
        Plan { tiles, units, item_tiles: ranker.items.tiles }
    }

    /// Parts of the items for so many tiles of users.
    fn parts(&self, tiles: usize) -> usize {
        (self.units / tiles).clamp(1, self.item_tiles)
    }
}

/// One of two chunks that are ranked in turns.
#[derive(Debug)]
struct Lane {
    device: Device,
    /// `[T, depth, TILE]`.
    packed: Buffer<f32>,
    largest: Buffer<u32>,
    /// `[units, TILE, capacity]`.
    pending: Buffer<u64>,
    /// `[units, TILE, V, L]`.
    lists: Buffer<u64>,
    /// `[users, V, K]`.
    out: Buffer<u64>,
    host: Pinned<u64>,
    host_largest: Pinned<u32>,
    chunk: Range<usize>,
}

impl Lane {
    fn new(ranker: &Ranker<'_>, plan: &Plan) -> Result<Self> {
        let device = ranker.device.with_own_stream()?;
        let (merging, passes) = (ranker.merging, &ranker.items.passes);
        let variants = passes.iter().map(|pass| pass.variants).max().unwrap_or(0);
        let users = plan.units * TILE;
        let out = plan.tiles * TILE * ranker.variants * ranker.k;
        Ok(Lane {
            packed: device.alloc(LISTS, plan.tiles * ranker.users.depth() * TILE)?,
            largest: device.alloc(LISTS, 1)?,
            pending: device.alloc(LISTS, users * merging.capacity())?,
            lists: device.alloc(LISTS, users * variants * merging.length)?,
            out: device.alloc(LISTS, out)?,
            host: device.pinned(out)?,
            host_largest: device.pinned(1)?,
            chunk: 0..0,
            device,
        })
    }

    /// Queues all that makes the lists of a chunk of the users in `rows`.
    fn begin(
        &mut self,
        ranker: &Ranker<'_>,
        plan: &Plan,
        rows: &Buffer<u32>,
        seen: &Seen,
        chunk: Range<usize>,
    ) -> Result<()> {
        let (items, merging) = (&ranker.items, ranker.merging);
        let (count, tiles) = (chunk.len(), chunk.len().div_ceil(TILE));
        let parts = plan.parts(tiles);
        assert!(chunk.end <= rows.len() && tiles <= plan.tiles && tiles * parts <= plan.units);
        let rows = rows.ptr().wrapping_add(chunk.start);
        self.chunk = chunk;
        self.largest.fill_zero()?;
        let (packed, largest) = (&mut self.packed, &mut self.largest);
        ranker.users.pack(&self.device, &ranker.kernels.pack, (rows, count), ptr::null(), packed, largest)?;
        let mut first = 0;
        for pass in &items.passes {
            self.lists.fill_zero()?;
            let lists = RankLists {
                users: self.packed.ptr(),
                items: items.packed.ptr(),
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
        self.out.read_pinned(&mut self.host)?;
        self.largest.read_pinned(&mut self.host_largest)
    }

    /// Waits for the chunk and passes its lists on.
    fn finish(
        &mut self,
        ranker: &Ranker<'_>,
        users: &[u32],
        consume: &(dyn Fn(&Block<'_>) + Sync),
    ) -> Result<()> {
        let items = &ranker.items;
        let largest = f64::from(f32::from_bits(self.host_largest.as_slice()?[0]));
        check::range(largest, items.largest_component, items.largest_offset, ranker.users.dim)?;
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
