//! BS: an item bias that takes popularity up in training and is dropped for ranking.

use super::{ItemHead, NEGATIVE, Objective, POSITIVE, TILE, Tile, bce::Bce};
use crate::simd::vectorised;

/// L = 1/B sum_r [softplus(-z+_r) + softplus(z-_r)] with z = a + b_i; ranked by a.
#[derive(Debug, Clone, Copy)]
pub struct Bs {
    /// The cross-entropy.
    pub bce: Bce,
}

impl Objective for Bs {
    fn name(&self) -> &'static str {
        "bs"
    }

    fn kernel_settings(&self) -> Vec<f32> {
        self.bce.kernel_settings()
    }

    fn item_head(&self) -> ItemHead {
        ItemHead::Bias
    }

    fn stage(&self, tile: &mut Tile) {
        stage(self, tile);
    }
}

vectorised! {
    fn stage(this: &Bs, tile: &mut Tile) {
        for r in 0..TILE {
            let mut loss = 0.0;
            for (sample, y) in [(POSITIVE, 1.0), (NEGATIVE, 0.0)] {
                let (term, slope) = this.bce.term(tile.score[sample][r] + tile.item_logit[sample][r], y);
                loss += term;
                tile.score_gradient[sample][r] = slope * tile.weight;
                tile.item_gradient[sample][r] = slope * tile.weight;
            }
            tile.loss[0][r] = loss * tile.weight;
        }
    }
}
