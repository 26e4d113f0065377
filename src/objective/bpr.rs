//! Bayesian personalised ranking (Rendle et al., UAI 2009).

use super::{NEGATIVE, Objective, POSITIVE, TILE, Tile, scalar::bce};
use crate::simd::vectorised;

/// L = 1/B sum_r softplus(-(a+_r - a-_r)).
#[derive(Debug, Clone, Copy)]
pub struct Bpr;

impl Objective for Bpr {
    fn name(&self) -> &'static str {
        "bpr"
    }

    fn stage(&self, tile: &mut Tile) {
        stage(tile);
    }
}

vectorised! {
    fn stage(tile: &mut Tile) {
        for r in 0..TILE {
            let (loss, slope) = bce(tile.score[POSITIVE][r] - tile.score[NEGATIVE][r], 1.0);
            tile.loss[0][r] = loss * tile.weight;
            tile.score_gradient[POSITIVE][r] = slope * tile.weight;
            tile.score_gradient[NEGATIVE][r] = -slope * tile.weight;
        }
    }
}
