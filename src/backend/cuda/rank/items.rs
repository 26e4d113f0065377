//! Tables in the form that the kernels stage.

use std::{borrow::Borrow, ops::Range, ptr};

use super::{
    super::{
        Buffer, Device, Kernel, Purpose, Shape,
        params::{RANK_SLICE, RANK_THREADS, RANK_VARIANTS, RankPack},
    },
    TABLES, TILE,
};
use crate::{
    backend::{
        cpu::rank::{NO_ITEM, PANEL, offset, order, popularity},
        lists::check,
    },
    error::Result,
    model::Ranking,
};

/// A table of `count` rows of D numbers, `stride` apart.
#[derive(Debug)]
pub(super) struct Rows<T> {
    pub(super) table: T,
    pub(super) count: usize,
    pub(super) dim: usize,
    pub(super) stride: usize,
}

/// D rounded up to whole slices.
pub(super) fn depth(dim: usize) -> usize {
    dim.next_multiple_of(RANK_SLICE as usize)
}

impl<T: Borrow<Buffer<f32>>> Rows<T> {
    /// Numbers of a packed row.
    pub(super) fn depth(&self) -> usize {
        depth(self.dim)
    }

    /// Queues packing of the rows whose numbers are in `range` of `rows`, each times its `scale`.
    pub(super) fn pack(
        &self,
        device: &Device,
        kernel: &Kernel<RankPack>,
        (rows, range): (&Buffer<u32>, Range<usize>),
        scale: Option<&Buffer<f32>>,
        to: &mut Packed,
    ) -> Result<()> {
        let (tiles, depth) = (range.len().div_ceil(TILE), self.depth());
        assert!(self.table.borrow().len() >= self.count * self.stride && self.dim <= self.stride);
        assert!(range.end <= rows.len() && tiles <= to.tiles && depth == to.depth);
        assert!(scale.is_none_or(|scale| scale.len() >= self.count));
        let params = RankPack {
            table: self.table.borrow().ptr(),
            scale: scale.map_or(ptr::null(), Buffer::ptr),
            rows: rows.ptr().wrapping_add(range.start),
            exact: to.exact.ptr_mut(),
            packed: to.rounded.ptr_mut(),
            norms: to.norms.ptr_mut(),
            largest: to.largest.ptr_mut(),
            table_rows: self.count as u32,
            count: range.len() as u32,
            dim: self.dim as u32,
            stride: self.stride as u32,
            depth: depth as u32,
            unused: 0,
        };
        // SAFETY: all arrays are as long as was just checked, and no row beyond the table is read.
        unsafe { device.launch(kernel, Shape::linear(tiles as u32, RANK_THREADS), params) }
    }
}

/// Rows in tiles.
#[derive(Debug)]
pub(super) struct Packed {
    tiles: usize,
    depth: usize,
    /// `[T, TILE, depth]`.
    pub(super) exact: Buffer<f32>,
    /// `[T, depth / SLICE, TILE, SLICE]`.
    pub(super) rounded: Buffer<u16>,
    /// `[T, TILE]`: bounds of the rows' norms.
    pub(super) norms: Buffer<f32>,
    /// `[1]`: bits of the largest magnitude.
    pub(super) largest: Buffer<u32>,
}

impl Packed {
    /// Bytes of device memory.
    pub(super) fn memory(tiles: usize, depth: usize) -> u64 {
        (tiles * TILE * ((size_of::<f32>() + size_of::<u16>()) * depth + size_of::<f32>()) + size_of::<u32>())
            as u64
    }

    pub(super) fn new(device: &Device, purpose: Purpose, tiles: usize, depth: usize) -> Result<Self> {
        Ok(Packed {
            tiles,
            depth,
            exact: device.alloc(purpose, tiles * TILE * depth)?,
            rounded: device.alloc(purpose, tiles * TILE * depth)?,
            norms: device.alloc(purpose, tiles * TILE)?,
            largest: device.zeros(purpose, 1)?,
        })
    }
}

/// The item side, in tiles.
#[derive(Debug)]
pub(super) struct Items {
    pub(super) count: usize,
    pub(super) tiles: usize,
    pub(super) packed: Packed,
    /// `[J, TILE]`.
    pub(super) ids: Buffer<u32>,
    pub(super) passes: Vec<Pass>,
    /// No component and no offset is larger.
    pub(super) largest_component: f64,
    pub(super) largest_offset: f64,
}

/// Rankings that share a scoring pass.
#[derive(Debug)]
pub(super) struct Pass {
    pub(super) variants: usize,
    /// `[J, V, TILE]`.
    pub(super) offsets: Buffer<f32>,
}

impl Items {
    /// Tiles of so many items.
    pub(super) fn tiles(count: usize) -> usize {
        (count.div_ceil(PANEL) * PANEL).div_ceil(TILE)
    }

    /// Bytes of device memory for `count` items whose rows are `depth` deep, under `variants` rankings.
    pub(super) fn memory(count: usize, depth: usize, variants: usize) -> u64 {
        let tiles = Self::tiles(count);
        Packed::memory(tiles, depth)
            + (tiles * TILE * (size_of::<u32>() + size_of::<f32>() * variants)) as u64
    }

    pub(super) fn new(
        device: &Device,
        kernel: &Kernel<RankPack>,
        rows: &Rows<&Buffer<f32>>,
        (gates, scale): (Option<&[f32]>, Option<&Buffer<f32>>),
        counts: &[u32],
        rankings: &[Ranking],
    ) -> Result<Self> {
        let (zeros, popularity) =
            (vec![0.0; if gates.is_some() { 0 } else { counts.len() }], popularity(counts));
        let gates = gates.unwrap_or(&zeros);
        // Halves of a panel, whose items are alike, become the eight items of a thread: two of each product of its
        // warp.
        let order = order(gates, &popularity, rankings);
        let tiles = Self::tiles(counts.len());
        let mut ids = vec![NO_ITEM; tiles * TILE];
        for (at, &id) in order.as_flattened().iter().enumerate() {
            let (tile, thread, item) = (at / TILE, at % TILE / 8, at % 8);
            let place = thread / 4 * 32 + item / 2 * 8 + thread % 4 * 2 + item % 2;
            ids[tile * TILE + place] = id;
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
        let mut packed = Packed::new(device, TABLES, tiles, rows.depth())?;
        rows.pack(device, kernel, (&ids, 0..ids.len()), scale, &mut packed)?;
        let largest_component = f64::from(f32::from_bits(packed.largest.read()?[0]));
        Ok(Items { count: counts.len(), tiles, packed, ids, passes, largest_component, largest_offset })
    }
}
