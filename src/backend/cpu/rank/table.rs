//! The item side of a ranking, laid out for the kernel.

use std::borrow::Cow;

use rayon::prelude::*;

use super::{
    kernel::{LANES, Lanes},
    largest,
    pool::End,
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
/// panels are then shuffled: otherwise some ranking would meet its best items last and take nearly every item for a
/// candidate on the way.
#[derive(Debug)]
pub(super) struct Table {
    dim: usize,
    pub(super) rankings: Vec<Ranking>,
    /// `[panels, D]`: `s_i q_i`.
    embedding: Vec<Lanes>,
    /// `[panels]`.
    items: Vec<Items>,
    /// `[I]`: where each item stands, as panel x [`LANES`] + lane.
    positions: Vec<u32>,
    /// `[V, panels]`: largest offset in the panel; infinite where lanes are left without an item.
    most: Vec<f32>,
    /// `[V, panels / LANES, rounded up]`: smallest offset in the panel; infinite beyond the last panel.
    least: Vec<Lanes>,
    /// `[V]`: no `|c s_i| + |tau ln(n_i + 1)|` is larger.
    magnitudes: Vec<f32>,
    /// No component of `s_i q_i` and no offset is larger than these.
    pub(super) largest_component: f64,
    pub(super) largest_offset: f64,
}

/// A panel's ids, gates `s_i` (0 where there are none: `c` is then left out) and `ln(n_i + 1)`. Offsets are formed
/// from these when needed: stored for every ranking, they would not stay in the caches.
///
/// Where no item stands, gate and logarithm are NaN, so is every score, and no score reaches a threshold.
#[derive(Debug, Clone)]
pub(super) struct Items {
    ids: [u32; LANES],
    gate: Lanes,
    popularity: Lanes,
}

impl Items {
    /// What a ranking subtracts from the scores.
    #[inline(always)]
    pub(super) fn offsets(&self, ranking: Ranking) -> [f32; LANES] {
        let mut offsets = [0.0; LANES];
        for lane in 0..LANES {
            offsets[lane] = offset(ranking, self.gate.0[lane], self.popularity.0[lane]);
        }
        offsets
    }
}

/// One item of [`Items`].
pub(super) struct Item {
    pub(super) id: u32,
    pub(super) gate: f32,
    pub(super) popularity: f32,
}

/// What `ranking` subtracts from the score of an item with this gate and `ln(n_i + 1)`.
#[inline(always)]
pub(super) fn offset(ranking: Ranking, gate: f32, popularity: f32) -> f32 {
    ranking.tau.mul_add(popularity, ranking.c * gate)
}

impl Table {
    pub(super) fn new(tables: &Tables<'_>, rankings: &[Ranking]) -> Result<Table> {
        let (dim, count) = (tables.dim(), tables.items() as usize);
        let largest_gate = tables.gates().map_or(Ok(1.0), |gates| largest("item gate", gates, 1))?;
        let largest_component = largest_gate * largest("item embedding", tables.item_embedding(), dim)?;

        let gates = tables.gates().map_or_else(|| vec![0.0; count].into(), Cow::Borrowed);
        let popularity: Vec<f32> =
            tables.popularity().iter().map(|&n| libm::log1p(f64::from(n)) as f32).collect();
        let order = order(&gates, &popularity, rankings);
        let panels = order.len();
        let mut positions = vec![0; count];
        for (panel, ids) in order.iter().enumerate() {
            for (position, &id) in (panel as u32 * LANES as u32..).zip(ids) {
                if id != NO_ITEM {
                    positions[id as usize] = position;
                }
            }
        }
        let mut embedding = vec![Lanes::ZERO; panels * dim];
        embedding.par_chunks_mut(dim).zip(&order).for_each(|(embedding, ids)| {
            for (lane, &id) in ids.iter().enumerate().filter(|(_, id)| **id != NO_ITEM) {
                let gate = tables.gates().map_or(1.0, |gates| gates[id as usize]);
                let row = &tables.item_embedding()[id as usize * dim..][..dim];
                embedding.iter_mut().zip(row).for_each(|(lanes, &value)| lanes.0[lane] = gate * value);
            }
        });
        let panel_of = |values: &[f32], ids: &[u32; LANES]| {
            Lanes(ids.map(|id| if id == NO_ITEM { f32::NAN } else { values[id as usize] }))
        };
        let items: Vec<Items> = order
            .into_iter()
            .map(|ids| Items { ids, gate: panel_of(&gates, &ids), popularity: panel_of(&popularity, &ids) })
            .collect();

        let chunks = panels.div_ceil(LANES);
        let mut most = vec![f32::NEG_INFINITY; panels * rankings.len()];
        let mut least = vec![Lanes([f32::INFINITY; LANES]); chunks * rankings.len()];
        for (panel, items) in items.iter().enumerate() {
            let used = items.ids.iter().take_while(|&&id| id != NO_ITEM).count();
            for (variant, &ranking) in rankings.iter().enumerate() {
                let most = &mut most[variant * panels + panel];
                let least = &mut least[variant * chunks + panel / LANES].0[panel % LANES];
                for lane in 0..used {
                    let offset = offset(ranking, items.gate.0[lane], items.popularity.0[lane]);
                    (*least, *most) = (least.min(offset), most.max(offset));
                }
            }
        }
        let finite = |offsets: &[f32]| largest("popularity correction", offsets, 1);
        let reached = least.iter().flat_map(|least| least.0).filter(|&offset| offset != f32::INFINITY);
        let largest_offset = f64::max(finite(&most)?, finite(&reached.collect::<Vec<f32>>())?);
        if count % LANES != 0 {
            let last = items.iter().position(|items| items.ids.contains(&NO_ITEM)).unwrap_or(0);
            most[last..].iter_mut().step_by(panels).for_each(|most| *most = f32::INFINITY);
        }
        let highest = |values: &[f32]| values.iter().fold(0.0f32, |highest, value| highest.max(value.abs()));
        let (gate, popularity) = (highest(&gates), highest(&popularity));
        let magnitudes = rankings.iter().map(|r| r.c.abs() * gate + r.tau.abs() * popularity).collect();
        Ok(Table {
            dim,
            rankings: rankings.to_vec(),
            embedding,
            items,
            positions,
            most,
            least,
            magnitudes,
            largest_component,
            largest_offset,
        })
    }

    /// Number of panels.
    #[inline(always)]
    pub(super) fn panels(&self) -> usize {
        self.items.len()
    }

    /// Where an item stands.
    #[inline(always)]
    pub(super) fn position(&self, item: u32) -> u32 {
        self.positions[item as usize]
    }

    /// `[D]`: the embeddings of a panel.
    #[inline(always)]
    pub(super) fn embedding(&self, panel: usize) -> &[Lanes] {
        &self.embedding[panel * self.dim..][..self.dim]
    }

    /// The item that stands at a position.
    #[inline(always)]
    pub(super) fn item(&self, position: u32) -> Item {
        let (panel, lane) = (&self.items[position as usize / LANES], position as usize % LANES);
        Item { id: panel.ids[lane], gate: panel.gate.0[lane], popularity: panel.popularity.0[lane] }
    }

    /// The items of a panel.
    #[inline(always)]
    pub(super) fn items(&self, panel: usize) -> &Items {
        &self.items[panel]
    }

    /// A ranking as an end of others.
    #[inline(always)]
    pub(super) fn end(&self, variant: usize) -> End {
        End { ranking: self.rankings[variant], magnitude: self.magnitudes[variant] }
    }

    /// The smallest offsets in the [`LANES`] panels from `first` on, a multiple of them; infinite where there is none.
    #[inline(always)]
    pub(super) fn least(&self, variant: usize, first: usize) -> &[f32; LANES] {
        &self.least[variant * self.panels().div_ceil(LANES) + first / LANES].0
    }

    /// `[panels]`: the largest offset in each panel.
    #[inline(always)]
    pub(super) fn most(&self, variant: usize) -> &[f32] {
        &self.most[variant * self.panels()..][..self.panels()]
    }
}

/// Which items share a panel, and the order of the panels.
fn order(gates: &[f32], popularity: &[f32], rankings: &[Ranking]) -> Vec<[u32; LANES]> {
    let range = |values: &[f32]| {
        let bounds = (f32::INFINITY, f32::NEG_INFINITY);
        let (low, high) = values.iter().fold(bounds, |(low, high), &v| (low.min(v), high.max(v)));
        (high - low).max(0.0)
    };
    let (gate_range, popularity_range) = (range(gates), range(popularity));
    let spread = |r: &Ranking| r.c.abs() * gate_range + r.tau.abs() * popularity_range;
    let widest = rankings.iter().copied().max_by(|a, b| spread(a).total_cmp(&spread(b))).unwrap_or_default();
    let key = |item: u32| offset(widest, gates[item as usize], popularity[item as usize]);
    let mut items: Vec<u32> = (0..gates.len() as u32).collect();
    items.par_sort_by(|&a, &b| key(a).total_cmp(&key(b)));
    let mut panels: Vec<[u32; LANES]> = items
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
