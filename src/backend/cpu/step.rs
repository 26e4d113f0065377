//! `step`: match scores of every sample, the objective's scalar stage, and what it hands to `apply`.

use super::{gather::Gathered, sample::Plan, team::Team};
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
    /// `[2B]`: dL/dy_u by sample: the row's sum at its positive, 0 at its negative.
    pub user_gradient: Vec<f32>,
    /// `[2B]`: dL/dy_i by sample.
    pub item_gradient: Vec<f32>,
}

/// Match scores and branch logits of every tile and, where an objective is given, its scalar stage.
pub fn scores(
    team: &Team,
    plan: &Plan,
    (users, items): (&Gathered, &Gathered),
    stride: usize,
    stage: Option<&dyn Objective>,
    out: &mut Scalars,
) {
    out.tiles.resize_with(plan.rows.div_ceil(TILE), Tile::default);
    let mut tasks: Vec<(usize, &mut Tile)> = out.tiles.iter_mut().enumerate().collect();
    team.for_each(&mut tasks, |(k, tile)| {
        score_tile(plan, *k * TILE, users, items, stride, tile);
        if let Some(objective) = stage {
            objective.stage(tile);
        }
    });
}

vectorised! {
    fn score_tile(plan: &Plan, first: usize, users: &Gathered, items: &Gathered, stride: usize, tile: &mut Tile) {
        let rows = first..plan.rows.min(first + TILE);
        if rows.len() < TILE {
            *tile = Tile::default();
        }
        tile.weight = 1.0 / plan.rows as f32;
        for (lane, row) in rows.enumerate() {
            let user = plan.users.slot[row] as usize;
            let p = &users.rows[user * stride..][..stride];
            tile.user_logit[lane] = users.logit[user];
            for sample in [POSITIVE, NEGATIVE] {
                let item = plan.items.slot[sample * plan.rows + row] as usize;
                tile.score[sample][lane] = dot(p, &items.rows[item * stride..][..stride]);
                tile.item_logit[sample][lane] = items.logit[item];
            }
        }
    }
}

/// Lays the tiles' gradients out by sample. Returns the loss's parts.
pub fn collect(rows: usize, scalars: &mut Scalars) -> [f64; PARTS] {
    let Scalars { tiles, score_gradient, user_gradient, item_gradient } = scalars;
    for gradient in [&mut *score_gradient, &mut *user_gradient, &mut *item_gradient] {
        gradient.resize(2 * rows, 0.0);
    }
    let mut loss = [0f64; PARTS];
    for (k, tile) in tiles.iter().enumerate() {
        let first = k * TILE;
        let n = TILE.min(rows - first);
        for sample in [POSITIVE, NEGATIVE] {
            let at = sample * rows + first..sample * rows + first + n;
            score_gradient[at.clone()].copy_from_slice(&tile.score_gradient[sample][..n]);
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
