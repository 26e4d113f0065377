//! Binary cross-entropy on the match score: the backbones' own objective (METHODS: mean over rows of the positive's
//! plus the negative's term, divided by B and not 2B).

use super::{
    NEGATIVE, Objective, POSITIVE, TILE, Tile,
    scalar::{bce, bce_eps},
};

/// L = 1/B sum_r [softplus(-a+_r) + softplus(a-_r)].
#[derive(Debug, Clone, Copy)]
pub struct Bce {
    /// log(sigma + 1e-9), as the reference code's plain models have it.
    pub eps_compat: bool,
}

impl Objective for Bce {
    fn name(&self) -> &'static str {
        "bce"
    }

    #[inline(always)]
    fn stage(&self, tile: &mut Tile) {
        for r in 0..TILE {
            let term = |z, y| if self.eps_compat { bce_eps(z, y, 1e-9) } else { bce(z, y) };
            let (positive, d_positive) = term(tile.score[POSITIVE][r], 1.0);
            let (negative, d_negative) = term(tile.score[NEGATIVE][r], 0.0);
            tile.loss[0][r] = (positive + negative) * tile.weight;
            tile.score_gradient[POSITIVE][r] = d_positive * tile.weight;
            tile.score_gradient[NEGATIVE][r] = d_negative * tile.weight;
        }
    }
}
