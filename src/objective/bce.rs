//! Binary cross-entropy on the match score: the backbones' own objective (METHODS: mean over rows of the positive's
//! plus the negative's term, divided by B and not 2B).

use super::{
    NEGATIVE, Objective, POSITIVE, TILE, Tile,
    scalar::{bce, bce_eps},
};
use crate::simd::vectorised;

/// L = 1/B sum_r [softplus(-a+_r) + softplus(a-_r)].
#[derive(Debug, Clone, Copy)]
pub struct Bce {
    /// log(sigma + 1e-9), as the reference code's plain models have it.
    pub eps_compat: bool,
}

impl Bce {
    /// The cross-entropy of the form that was asked for.
    #[inline(always)]
    pub(super) fn term(&self, z: f32, y: f32) -> (f32, f32) {
        if self.eps_compat { bce_eps(z, y, 1e-9) } else { bce(z, y) }
    }
}

impl Objective for Bce {
    fn name(&self) -> &'static str {
        "bce"
    }

    fn kernel_settings(&self) -> Vec<f32> {
        vec![f32::from(self.eps_compat)]
    }

    fn stage(&self, tile: &mut Tile) {
        stage(self, tile);
    }
}

vectorised! {
    fn stage(this: &Bce, tile: &mut Tile) {
        for r in 0..TILE {
            let (positive, d_positive) = this.term(tile.score[POSITIVE][r], 1.0);
            let (negative, d_negative) = this.term(tile.score[NEGATIVE][r], 0.0);
            tile.loss[0][r] = (positive + negative) * tile.weight;
            tile.score_gradient[POSITIVE][r] = d_positive * tile.weight;
            tile.score_gradient[NEGATIVE][r] = d_negative * tile.weight;
        }
    }
}
