//! DICE (Zheng et al., WWW 2021): one half of every embedding for interest, one for conformity.

use super::{Layout, NEGATIVE, Objective, POSITIVE, Penalty, TILE, Tile, scalar::bce};
use crate::{
    config::Config, data::popularity::item_counts, optim::power, sampling::Sampler, simd::vectorised,
};

/// Factor of the two weights from epoch to epoch.
const DECAY: f64 = 0.9;

/// L = mean of softplus(-X - Y) + l_int m softplus(-X) + l_pop (m softplus(Y) + (1 - m) softplus(-Y)), less nu times
/// the mean squared difference of the halves; X and Y are the differences of the positive's and the negative's score by
/// interest and by conformity, and m is 1 where the negative is the more popular item.
#[derive(Debug, Clone)]
pub struct Dice {
    lambda_int: f32,
    lambda_pop: f32,
    nu: f32,
    /// `[I]`: n_i.
    counts: Vec<f32>,
}

impl Dice {
    /// DICE with these settings, for the train counts of `sampler`'s data.
    pub fn new(config: &Config, sampler: &Sampler<'_>) -> Self {
        let &Config { lambda_int, lambda_pop, nu, .. } = config;
        let counts = item_counts(sampler.data()).into_iter().map(|n| n as f32).collect();
        Dice { lambda_int, lambda_pop, nu, counts }
    }
}

impl Objective for Dice {
    fn name(&self) -> &'static str {
        "dice"
    }

    fn layout(&self) -> Layout {
        Layout::Halves
    }

    fn item_constants(&self) -> Option<&[f32]> {
        Some(&self.counts)
    }

    fn penalty(&self) -> Option<Penalty> {
        Some(Penalty::Halves(-self.nu))
    }

    fn parts(&self) -> &'static [&'static str] {
        &["main", "interest", "conformity"]
    }

    fn stage(&self, tile: &mut Tile) {
        let decay = power(DECAY, tile.epoch) as f32;
        stage(self.lambda_int * decay, self.lambda_pop * decay, tile);
    }
}

vectorised! {
    fn stage(lambda_int: f32, lambda_pop: f32, tile: &mut Tile) {
        for r in 0..TILE {
            let w = tile.weight;
            let more_popular = tile.item_constant[NEGATIVE][r] > tile.item_constant[POSITIVE][r];
            let x = tile.score[POSITIVE][r] - tile.score[NEGATIVE][r];
            let y = tile.second_score[POSITIVE][r] - tile.second_score[NEGATIVE][r];
            let (main, d_main) = bce(x + y, 1.0);
            let (interest, d_interest) = bce(x, 1.0);
            let interest_weight = if more_popular { lambda_int } else { 0.0 };
            let (conformity, d_conformity) = bce(y, if more_popular { 0.0 } else { 1.0 });
            let d_x = (d_main + interest_weight * d_interest) * w;
            let d_y = (d_main + lambda_pop * d_conformity) * w;
            tile.loss[0][r] = main * w;
            tile.loss[1][r] = interest_weight * interest * w;
            tile.loss[2][r] = lambda_pop * conformity * w;
            tile.score_gradient[POSITIVE][r] = d_x;
            tile.score_gradient[NEGATIVE][r] = -d_x;
            tile.second_gradient[POSITIVE][r] = d_y;
            tile.second_gradient[NEGATIVE][r] = -d_y;
        }
    }
}
