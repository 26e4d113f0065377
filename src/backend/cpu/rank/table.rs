//! The item side of a ranking, laid out for the kernel.

use std::ops::Range;

use super::{
    kernel::{GROUP, LANES, Lanes},
    largest,
};
use crate::{
    error::Result,
    model::{Ranking, Tables},
};

/// Id in the lanes of the last panel that hold no item.
const NO_ITEM: u32 = u32::MAX;

/// Items in panels of [`LANES`], with what each ranking subtracts from their scores.
///
/// Items are sorted by what the most demanding ranking subtracts, so that the items of a panel are alike, and the
/// panels are then shuffled: otherwise some ranking would meet its best items last and take nearly every item into
/// its lists on the way.
#[derive(Debug)]
pub(super) struct Table {
    dim: usize,
    variants: usize,
    groups: usize,
    /// `[panels, D]`: `s_i q_i`.
    embedding: Vec<Lanes>,
    /// `[panels]`: item ids.
    ids: Vec<[u32; LANES]>,
    positions: Vec<u32>,
    /// `[panels, V]`: offsets `o`.
    offsets: Vec<Lanes>,
    /// `[panels, V]`: largest offset in the panel.
    most: Vec<f32>,
    /// `[V / GROUP, panels]`: smallest offset in the panel, by ranking.
    least: Vec<[f32; GROUP]>,
    pub(super) largest_component: f64,
    pub(super) largest_offset: f64,
}

impl Table {
    pub(super) fn new(tables: &Tables<'_>, variants: &[Ranking]) -> Result<Table> {
        let (dim, items) = (tables.dim(), tables.items() as usize);
        largest("item embedding", tables.item_embedding(), dim)?;
        if let Some(gates) = tables.gates() {
            largest("item gate", gates, 1)?;
        }
        let offset = |ranking: &Ranking, item: usize| -> f32 {
            let gate = tables.gates().map_or(0.0, |gates| f64::from(gates[item]));
            let popularity = libm::log1p(f64::from(tables.popularity()[item]));
            (f64::from(ranking.c) * gate + f64::from(ranking.tau) * popularity) as f32
        };
        // [V, I]
        let by_variant: Vec<Vec<f32>> =
            variants.iter().map(|ranking| (0..items).map(|item| offset(ranking, item)).collect()).collect();
        let mut largest_offset = 0.0;
        for offsets in &by_variant {
            largest_offset = f64::max(largest_offset, largest("popularity correction", offsets, 1)?);
        }

        let order = order(&by_variant, items);
        let (panels, groups) = (order.len(), variants.len().div_ceil(GROUP));
        let mut table = Table {
            dim,
            variants: variants.len(),
            groups,
            embedding: vec![Lanes::ZERO; panels * dim],
            // An infinite offset keeps the lanes without an item out of every list.
            offsets: vec![Lanes([f32::INFINITY; LANES]); panels * variants.len()],
            most: vec![f32::NEG_INFINITY; panels * variants.len()],
            least: vec![[f32::INFINITY; GROUP]; panels * groups],
            ids: order,
            positions: vec![0; items],
            largest_component: 0.0,
            largest_offset,
        };
        for panel in 0..panels {
            for lane in 0..LANES {
                let id = table.ids[panel][lane];
                if id == NO_ITEM {
                    continue;
                }
                let item = id as usize;
                table.positions[item] = (panel * LANES + lane) as u32;
                let gate = tables.gates().map_or(1.0, |gates| gates[item]);
                let row = &tables.item_embedding()[item * dim..][..dim];
                for (lanes, &value) in table.embedding[panel * dim..].iter_mut().zip(row) {
                    lanes.0[lane] = gate * value;
                    table.largest_component =
                        f64::max(table.largest_component, f64::from(gate).abs() * f64::from(value).abs());
                }
                for (variant, offsets) in by_variant.iter().enumerate() {
                    let place = panel * variants.len() + variant;
                    table.offsets[place].0[lane] = offsets[item];
                    table.most[place] = table.most[place].max(offsets[item]);
                    let least = &mut table.least[variant / GROUP * panels + panel][variant % GROUP];
                    *least = least.min(offsets[item]);
                }
            }
        }
        Ok(table)
    }

    /// `[I]`: where each item stands, as panel x [`LANES`] + lane.
    pub(super) fn positions(&self) -> &[u32] {
        &self.positions
    }

    pub(super) fn panels(&self) -> usize {
        self.ids.len()
    }

    /// `[D]`: the embeddings of a panel.
    #[inline(always)]
    pub(super) fn embedding(&self, panel: usize) -> &[Lanes] {
        &self.embedding[panel * self.dim..][..self.dim]
    }

    /// Groups of rankings.
    #[inline(always)]
    pub(super) fn groups(&self) -> usize {
        self.groups
    }

    /// `[panels]`: the smallest offset, by ranking of the group; infinite beyond the last ranking.
    #[inline(always)]
    pub(super) fn least(&self, group: usize, panels: &Range<usize>) -> &[[f32; GROUP]] {
        &self.least[group * self.panels()..][panels.clone()]
    }

    /// The largest offset in a panel.
    #[inline(always)]
    pub(super) fn most(&self, panel: usize, variant: usize) -> f32 {
        self.most[panel * self.variants + variant]
    }

    #[inline(always)]
    pub(super) fn offsets(&self, panel: usize, variant: usize) -> &Lanes {
        &self.offsets[panel * self.variants + variant]
    }

    #[inline(always)]
    pub(super) fn ids(&self, panel: usize) -> &[u32; LANES] {
        &self.ids[panel]
    }
}

/// Which items share a panel, and the order of the panels.
fn order(by_variant: &[Vec<f32>], items: usize) -> Vec<[u32; LANES]> {
    let spread = |offsets: &[f32]| {
        let (low, high) = offsets
            .iter()
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &o| (low.min(o), high.max(o)));
        high - low
    };
    let mut order: Vec<u32> = (0..items as u32).collect();
    if let Some(key) = by_variant.iter().max_by(|a, b| spread(a).total_cmp(&spread(b))) {
        order.sort_by(|&a, &b| key[a as usize].total_cmp(&key[b as usize]));
    }
    let mut panels: Vec<[u32; LANES]> = order
        .chunks(LANES)
        .map(|chunk| {
            let mut ids = [NO_ITEM; LANES];
            ids[..chunk.len()].copy_from_slice(chunk);
            ids
        })
        .collect();
    // Fisher-Yates with a fixed sequence: which panels come first decides the time taken, never a list.
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for last in (1..panels.len()).rev() {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        panels.swap(last, ((u128::from(state) * (last as u128 + 1)) >> 64) as usize);
    }
    panels
}
