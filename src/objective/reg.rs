//! Reg: cross-entropy with a regulariser of the items by popularity (after Abdollahpouri et al., RecSys 2017, and
//! Wasilewski and Hurley's LapDQ).

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use super::{Objective, Penalty, Tile, bce::Bce};
use crate::{
    config::Config,
    data::popularity::{SortedCounts, item_counts},
    names::named,
    sampling::Sampler,
};

/// What is regularised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RegForm {
    /// |q_i - q_j|^2 for popular i and unpopular j: pulls the two sets together.
    #[default]
    Cross,
    /// The same for i and j on one side: pulls each set together.
    Same,
    /// |q_i|^2 in proportion to n_i.
    Decay,
}

named!(RegForm, "reg form", Cross = "cross", Same = "same", Decay = "decay");

/// The scale of the pairwise forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RegNorm {
    /// The mean over pairs.
    #[default]
    PairMean,
    /// That mean times the catalogue's number of pairs.
    Sum,
}

named!(RegNorm, "reg norm", PairMean = "pair_mean", Sum = "sum");

/// Share of the interactions that the popular items cover.
const HEAD_SHARE: f64 = 0.8;

/// L = BCE + mu R, with R over the item samples of the batch.
#[derive(Debug, Clone)]
pub struct Reg {
    bce: Bce,
    penalty: Penalty,
    /// `[I]`: 1 for the popular items, or n_i over its mean.
    constants: Vec<f32>,
}

impl Reg {
    /// Reg with these settings, for the train counts of `sampler`'s data.
    pub fn new(config: &Config, sampler: &Sampler<'_>) -> Self {
        let counts = item_counts(sampler.data());
        let head = head(&counts);
        let popular = head.iter().filter(|&&popular| popular).count() as f32;
        let rest = counts.len() as f32 - popular;
        // Of unordered pairs.
        let pairs = |a: f32, b: f32| match config.reg_norm {
            RegNorm::PairMean => 1.0,
            RegNorm::Sum => a * b,
        };
        let mu = config.mu;
        let total: f64 = counts.iter().map(|&n| f64::from(n)).sum();
        let scale = counts.len() as f64 / total.max(1.0);
        let (penalty, constants) = match config.reg_form {
            RegForm::Cross => (Penalty::Across(mu * pairs(popular, rest)), None),
            RegForm::Same => (Penalty::Within([mu * pairs(rest, rest), mu * pairs(popular, popular)]), None),
            RegForm::Decay => {
                (Penalty::Decay(mu), Some(counts.iter().map(|&n| (f64::from(n) * scale) as f32).collect()))
            }
        };
        let constants =
            constants.unwrap_or_else(|| head.into_iter().map(|x| f32::from(u8::from(x))).collect());
        Reg { bce: Bce { eps_compat: config.eps_compat }, penalty, constants }
    }
}

/// The most popular items, as few as cover [`HEAD_SHARE`] of the interactions; ties go to the lower id.
fn head(counts: &[u32]) -> Vec<bool> {
    let mut order: Vec<usize> = (0..counts.len()).collect();
    order.sort_by_key(|&item| (Reverse(counts[item]), item));
    let mut head = vec![false; counts.len()];
    order[..SortedCounts::of(counts).head_size(HEAD_SHARE)].iter().for_each(|&item| head[item] = true);
    head
}

impl Objective for Reg {
    fn name(&self) -> &'static str {
        "reg"
    }

    /// The stage is the cross-entropy's.
    fn kernel(&self) -> &'static str {
        self.bce.kernel()
    }

    fn kernel_settings(&self) -> Vec<f32> {
        self.bce.kernel_settings()
    }

    fn item_constants(&self) -> Option<&[f32]> {
        Some(&self.constants)
    }

    fn penalty(&self) -> Option<Penalty> {
        Some(self.penalty)
    }

    fn stage(&self, tile: &mut Tile) {
        self.bce.stage(tile);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_covers_four_fifths() {
        assert_eq!(head(&[1, 50, 9, 30, 10]), [false, true, false, true, false]);
        assert_eq!(head(&[2, 2, 2, 2, 2]), [true, true, true, true, false]);
        assert_eq!(head(&[0, 0]), [false, false]);
    }
}
