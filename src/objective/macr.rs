//! MACR (Wei et al., KDD 2021): the match score gated by sigma(y_i) sigma(y_u), trained with three cross-entropies.

use serde::{Deserialize, Serialize};

use super::{
    AllPairs, ItemHead, Lanes, NEGATIVE, Objective, POSITIVE, TILE, Tile,
    scalar::{bce, bce_eps, sigmoid},
};
use crate::{config::Config, names::named, simd::vectorised};

/// Which gates a match score meets in the main loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Pairing {
    /// Its own row's: the paper's equation 7.
    #[default]
    Rows,
    /// Every row's of the batch: what the reference code computes, by broadcasting `[B]` with `[B, 1]`.
    AllPairs,
}

named!(Pairing, "pairing", Rows = "rows", AllPairs = "all_pairs");

/// L = L_O + alpha L_I + beta L_U (equation 7), with the main loss over rows or over all pairs.
///
/// Without a branch its gate is 1 and its loss is gone: the ablations of Table 3. (The other two ablations are
/// alpha = 0 and beta = 0.)
#[derive(Debug, Clone, Copy)]
pub struct Macr {
    alpha: f32,
    beta: f32,
    pairing: Pairing,
    user_branch: bool,
    item_branch: bool,
    eps_compat: bool,
}

/// Labels of the positive and the negative sample.
const LABEL: [f32; 2] = [1.0, 0.0];

impl Macr {
    /// MACR with these settings.
    pub fn new(config: &Config) -> Self {
        let &Config { alpha, beta, pairing, user_branch, item_branch, eps_compat, .. } = config;
        Macr { alpha, beta, pairing, user_branch, item_branch, eps_compat }
    }

    /// The cross-entropy of the form that was asked for.
    #[inline(always)]
    fn term(&self, z: f32, y: f32) -> (f32, f32) {
        if self.eps_compat { bce_eps(z, y, 1e-10) } else { bce(z, y) }
    }
}

impl Objective for Macr {
    fn name(&self) -> &'static str {
        "macr"
    }

    fn kernel_settings(&self) -> Vec<f32> {
        vec![self.alpha, self.beta, f32::from(self.eps_compat)]
    }

    fn parts(&self) -> &'static [&'static str] {
        &["main", "item", "user"]
    }

    fn user_branch(&self) -> bool {
        self.user_branch
    }

    fn item_head(&self) -> ItemHead {
        if self.item_branch { ItemHead::Branch } else { ItemHead::None }
    }

    fn pairing(&self) -> Option<Pairing> {
        Some(self.pairing)
    }

    fn all_pairs(&self) -> Option<AllPairs> {
        match (self.pairing, self.eps_compat) {
            (Pairing::Rows, _) => None,
            (Pairing::AllPairs, false) => Some(AllPairs::Interpolated),
            (Pairing::AllPairs, true) => Some(AllPairs::EpsCompat),
        }
    }

    fn gates(&self, tile: &Tile) -> [Lanes; 2] {
        gates(self, tile)
    }

    fn stage(&self, tile: &mut Tile) {
        stage(self, tile);
    }
}

vectorised! {
    fn gates(this: &Macr, tile: &Tile) -> [Lanes; 2] {
        let mut gates = [[1.0; TILE]; 2];
        for (gate, logit) in gates.iter_mut().zip(&tile.item_logit) {
            for r in 0..TILE {
                let user = if this.user_branch { sigmoid(tile.user_logit[r]) } else { 1.0 };
                gate[r] = user * if this.item_branch { sigmoid(logit[r]) } else { 1.0 };
            }
        }
        gates
    }
}

vectorised! {
    fn stage(this: &Macr, tile: &mut Tile) {
        for r in 0..TILE {
            let w = tile.weight;
            let user = if this.user_branch { sigmoid(tile.user_logit[r]) } else { 1.0 };
            let (mut main, mut item_loss, mut user_loss, mut user_gradient) = (0.0, 0.0, 0.0, 0.0);
            for sample in [POSITIVE, NEGATIVE] {
                let y = LABEL[sample];
                let item = if this.item_branch { sigmoid(tile.item_logit[sample][r]) } else { 1.0 };
                let gate = user * item;
                // dL/da and dL/dg: from the row itself, or given by the sums over all pairs.
                let gate_gradient = match this.pairing {
                    Pairing::Rows => {
                        let a = tile.score[sample][r];
                        let (loss, slope) = this.term(a * gate, y);
                        main += loss * w;
                        tile.score_gradient[sample][r] = slope * gate * w;
                        slope * a * w
                    }
                    Pairing::AllPairs => tile.gate_gradient[sample][r],
                };
                if this.item_branch {
                    let (loss, slope) = this.term(tile.item_logit[sample][r], y);
                    item_loss += this.alpha * loss * w;
                    tile.item_gradient[sample][r] =
                        gate_gradient * gate * (1.0 - item) + this.alpha * slope * w;
                }
                if this.user_branch {
                    let (loss, slope) = this.term(tile.user_logit[r], y);
                    user_loss += this.beta * loss * w;
                    user_gradient += gate_gradient * gate * (1.0 - user) + this.beta * slope * w;
                }
            }
            if this.pairing == Pairing::Rows {
                tile.loss[0][r] = main;
            }
            tile.loss[1][r] = item_loss;
            tile.loss[2][r] = user_loss;
            tile.user_gradient[r] = user_gradient;
        }
    }
}
