//! `step`: match scores of every sample, the objective's scalar stage, and what it hands to `apply`.

use super::{gather::Gathered, sample::Plan, table::Parts, team::Team};
use crate::{
    objective::{NEGATIVE, Objective, PARTS, POSITIVE, TILE, Tile},
    simd::{LANES, dot, vectorised},
};

/// Scalars of a batch. Samples s < B are the positives, samples B + r the negatives.
#[derive(Debug, Default)]
pub struct Scalars {
    /// Tiles of up to [`TILE`] rows, in the order of the rows.
    pub tiles: Vec<Tile>,
    /// `[2B]`: dL/da by sample.
    pub score_gradient: Vec<f32>,
    /// `[2B]`: the same of the second scores; of undivided rows empty.
    pub second_gradient: Vec<f32>,
    /// `[2B]`: dL/dy_u by sample: the row's sum at its positive, 0 at its negative.
    pub user_gradient: Vec<f32>,
    /// `[2B]`: dL/dy_i by sample.
    pub item_gradient: Vec<f32>,
}

/// What a batch's scalars are computed from.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// The samples.
    pub plan: &'a Plan,
    /// The users' rows and how they are divided.
    pub users: (&'a Gathered, Parts),
    /// The items'.
    pub items: (&'a Gathered, Parts),
    /// `[I]`, where the objective has item constants.
    pub item_constants: Option<&'a [f32]>,
    /// The epoch, from 0.
    pub epoch: u64,
}

/// Match scores and logits of every tile and, unless it is to come after the sums over all pairs, the scalar stage.
pub fn scores(team: &Team, rows: Rows<'_>, objective: &dyn Objective, out: &mut Scalars) {
    let batch = rows.plan.rows;
    out.tiles.resize_with(batch.div_ceil(TILE), Tile::default);
    let (grouped, pairs) = (objective.grouped(), objective.all_pairs().is_some());
    let mut tasks: Vec<(usize, &mut Tile)> = out.tiles.iter_mut().enumerate().collect();
    team.for_each(&mut tasks, |(k, tile)| {
        score_tile(rows, *k * TILE, tile);
        if grouped {
            tile.second_group = objective.second_group(tile);
        } else if !pairs {
            objective.stage(tile);
        }
    });
    if grouped {
        let second: usize = tasks
            .iter()
            .map(|(k, tile)| tile.second_group[..TILE.min(batch - k * TILE)].iter().filter(|&&x| x).count())
            .sum();
        let weight = |n: usize| if n > 0 { 1.0 / n as f32 } else { 0.0 };
        let weights = [weight(batch - second), weight(second)];
        team.for_each(&mut tasks, |(_, tile)| {
            tile.group_weight = weights;
            objective.stage(tile);
        });
    }
}

vectorised! {
    fn score_tile(rows: Rows<'_>, first: usize, tile: &mut Tile) {
        let Rows { plan, users: (users, user_parts), items: (items, item_parts), item_constants, epoch } = rows;
        let rows = first..plan.rows.min(first + TILE);
        if rows.len() < TILE {
            *tile = Tile::default();
        }
        tile.weight = 1.0 / plan.rows as f32;
        tile.epoch = epoch;
        let (user_stride, item_stride, part) = (user_parts.stride(), item_parts.stride(), item_parts.stride);
        let divided = item_parts.count > 1;
        for (lane, row) in rows.clone().enumerate() {
            let user = plan.users.slot[row] as usize;
            let p = &users.rows[user * user_stride..][..user_stride];
            tile.user_logit[lane] = users.logit[user];
            for sample in [POSITIVE, NEGATIVE] {
                let item = plan.items.slot[sample * plan.rows + row] as usize;
                let q = &items.rows[item * item_stride..][..item_stride];
                tile.score[sample][lane] = dot(&p[..part], &q[..part]);
                if divided {
                    let (p, q) = (&p[user_parts.start(1)..], &q[item_parts.start(1)..]);
                    tile.second_score[sample][lane] = dot(&p[..part], &q[..part]);
                }
                tile.item_logit[sample][lane] = items.logit[item];
            }
        }
        if let Some(constants) = item_constants {
            for (ids, drawn) in tile.ids.iter_mut().zip(&plan.drawn) {
                ids[..rows.len()].copy_from_slice(&drawn[rows.clone()]);
            }
            for (lanes, ids) in tile.item_constant.iter_mut().zip(&tile.ids[1..]) {
                for (constant, &item) in lanes[..rows.len()].iter_mut().zip(ids) {
                    *constant = constants[item as usize];
                }
            }
        }
    }
}

/// Lays the tiles' gradients out by sample, those of the second scores if rows are `divided`. Returns the loss's parts.
pub fn collect(rows: usize, divided: bool, scalars: &mut Scalars) -> [f64; PARTS] {
    let Scalars { tiles, score_gradient, second_gradient, user_gradient, item_gradient } = scalars;
    for gradient in [&mut *score_gradient, &mut *user_gradient, &mut *item_gradient] {
        gradient.resize(2 * rows, 0.0);
    }
    second_gradient.resize(if divided { 2 * rows } else { 0 }, 0.0);
    let mut loss = [0f64; PARTS];
    for (k, tile) in tiles.iter().enumerate() {
        let first = k * TILE;
        let n = TILE.min(rows - first);
        for sample in [POSITIVE, NEGATIVE] {
            let at = sample * rows + first..sample * rows + first + n;
            score_gradient[at.clone()].copy_from_slice(&tile.score_gradient[sample][..n]);
            if divided {
                second_gradient[at.clone()].copy_from_slice(&tile.second_gradient[sample][..n]);
            }
            item_gradient[at].copy_from_slice(&tile.item_gradient[sample][..n]);
        }
        user_gradient[first..first + n].copy_from_slice(&tile.user_gradient[..n]);
        for (sum, lanes) in loss.iter_mut().zip(&tile.loss) {
            // Lanes side by side: one running sum would wait for itself.
            let mut part = [0f64; LANES];
            for chunk in lanes[..n].chunks(LANES) {
                for (part, &loss) in part.iter_mut().zip(chunk) {
                    *part += f64::from(loss);
                }
            }
            *sum += part.iter().sum::<f64>();
        }
    }
    user_gradient[rows..].fill(0.0);
    loss
}
