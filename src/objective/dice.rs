//! DICE (Zheng et al., WWW 2021): one half of every embedding for interest, one for conformity.

use serde::{Deserialize, Serialize};

use super::{Layout, NEGATIVE, Objective, POSITIVE, Penalty, TILE, Tile, scalar::bce};
use crate::{
    config::Config, data::popularity::item_counts, names::named, optim::power, sampling::Sampler,
    simd::vectorised,
};

/// The main loss, on the scores a by both halves together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DiceLoss {
    /// softplus(a- - a+): its authors'.
    #[default]
    Bpr,
    /// softplus(-a+) + softplus(a-): what MACR's paper says of all its systems.
    Bce,
}

named!(DiceLoss, "dice loss", Bpr = "bpr", Bce = "bce");

/// Factor of the two weights from epoch to epoch.
const DECAY: f64 = 0.9;

/// L = mean of main + l_int m softplus(-X) + l_pop (m softplus(Y) + (1 - m) softplus(-Y)), less nu times the mean squared
/// difference of the halves; X and Y are the differences of the positive's and the negative's score by interest and by
/// conformity, m is 1 where the negative is the more popular item, and main is a [`DiceLoss`].
#[derive(Debug, Clone)]
pub struct Dice {
    main: DiceLoss,
    lambda_int: f32,
    lambda_pop: f32,
    nu: f32,
    /// `[I]`: n_i.
    counts: Vec<f32>,
}

impl Dice {
    /// DICE with these settings, for the train counts of `sampler`'s data.
    pub fn new(config: &Config, sampler: &Sampler<'_>) -> Self {
        let &Config { dice_loss: main, lambda_int, lambda_pop, nu, .. } = config;
        let counts = item_counts(sampler.data()).into_iter().map(|n| n as f32).collect();
        Dice { main, lambda_int, lambda_pop, nu, counts }
    }
}

impl Objective for Dice {
    fn name(&self) -> &'static str {
        "dice"
    }

    fn kernel_settings(&self) -> Vec<f32> {
        vec![self.lambda_int, self.lambda_pop, f32::from(self.main == DiceLoss::Bce)]
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
        stage(self.main, self.lambda_int * decay, self.lambda_pop * decay, tile);
    }
}

vectorised! {
    fn stage(main: DiceLoss, lambda_int: f32, lambda_pop: f32, tile: &mut Tile) {
        for r in 0..TILE {
            let w = tile.weight;
            let more_popular = tile.item_constant[NEGATIVE][r] > tile.item_constant[POSITIVE][r];
            let x = tile.score[POSITIVE][r] - tile.score[NEGATIVE][r];
            let y = tile.second_score[POSITIVE][r] - tile.second_score[NEGATIVE][r];
            let (main, d_main) = match main {
                DiceLoss::Bpr => {
                    let (loss, slope) = bce(x + y, 1.0);
                    (loss, [slope, -slope])
                }
                DiceLoss::Bce => {
                    let score = |sample: usize| tile.score[sample][r] + tile.second_score[sample][r];
                    let (positive, d_positive) = bce(score(POSITIVE), 1.0);
                    let (negative, d_negative) = bce(score(NEGATIVE), 0.0);
                    (positive + negative, [d_positive, d_negative])
                }
            };
            let (interest, d_interest) = bce(x, 1.0);
            let interest_weight = if more_popular { lambda_int } else { 0.0 };
            let (conformity, d_conformity) = bce(y, if more_popular { 0.0 } else { 1.0 });
            let (d_x, d_y) = (interest_weight * d_interest, lambda_pop * d_conformity);
            tile.loss[0][r] = main * w;
            tile.loss[1][r] = interest_weight * interest * w;
            tile.loss[2][r] = lambda_pop * conformity * w;
            tile.score_gradient[POSITIVE][r] = (d_main[POSITIVE] + d_x) * w;
            tile.score_gradient[NEGATIVE][r] = (d_main[NEGATIVE] - d_x) * w;
            tile.second_gradient[POSITIVE][r] = (d_main[POSITIVE] + d_y) * w;
            tile.second_gradient[NEGATIVE][r] = (d_main[NEGATIVE] - d_y) * w;
        }
    }
}
