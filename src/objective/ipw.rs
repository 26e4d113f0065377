//! IPW: cross-entropy weighted by inverse propensities of the items (Liang et al. 2016; Bottou et al. 2013 and Gruson
//! et al. 2019 for clipping, normalisation and smoothing).

use serde::{Deserialize, Serialize};

use super::{NEGATIVE, Objective, POSITIVE, TILE, Tile, bce::Bce};
use crate::{
    config::Config, data::popularity::item_counts, names::named, sampling::Sampler, simd::vectorised,
};

/// How weights come from inverse propensities; each form is the one before and one thing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum IpwVariant {
    /// 1 / rho.
    Ips,
    /// Clipped at their median.
    C,
    /// Normalised by their maximum.
    #[default]
    Cn,
    /// Smoothed: to the power of s, and normalised again.
    Cnsr,
}

named!(IpwVariant, "ipw variant", Ips = "ips", C = "c", Cn = "cn", Cnsr = "cnsr");

/// Whose weight a sample has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum IpwScope {
    /// Both samples of a row that of the positive item.
    #[default]
    Pair,
    /// The positive its own, the negative 1.
    Positive,
    /// Each its own.
    Own,
}

named!(IpwScope, "ipw scope", Pair = "pair", Positive = "positive", Own = "own");

/// L = 1/B sum_r [w+_r softplus(-a+_r) + w-_r softplus(a-_r)].
#[derive(Debug, Clone)]
pub struct Ipw {
    bce: Bce,
    scope: IpwScope,
    /// `[I]`.
    weights: Vec<f32>,
}

impl Ipw {
    /// IPW with these settings, for the train counts and the positives of `sampler`.
    pub fn new(config: &Config, sampler: &Sampler<'_>) -> Self {
        let mut weights = weights(config, &item_counts(sampler.data()));
        if config.ipw_rescale {
            // The scale of the loss against that of L2.
            let mean: f64 = weights.iter().zip(sampler.positive_shares()).map(|(w, share)| w * share).sum();
            weights.iter_mut().for_each(|w| *w /= mean);
        }
        Ipw {
            bce: Bce { eps_compat: config.eps_compat },
            scope: config.ipw_scope,
            weights: weights.into_iter().map(|w| w as f32).collect(),
        }
    }
}

/// Weights of the items with these train counts, with rho_i = (max(n_i, 1) / n_max)^eta.
fn weights(config: &Config, counts: &[u32]) -> Vec<f64> {
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    let rho = |n: u32| libm::pow(f64::from(n.max(1)) / f64::from(most), f64::from(config.eta));
    let mut weights: Vec<f64> = counts.iter().map(|&n| 1.0 / rho(n)).collect();
    if config.ipw_variant == IpwVariant::Ips {
        return weights;
    }
    let median = median(&weights);
    weights.iter_mut().for_each(|w| *w = w.min(median));
    let normalise = |weights: &mut [f64]| {
        let largest = weights.iter().fold(f64::MIN_POSITIVE, |a, &w| a.max(w));
        weights.iter_mut().for_each(|w| *w /= largest);
    };
    if config.ipw_variant != IpwVariant::C {
        normalise(&mut weights);
    }
    if config.ipw_variant == IpwVariant::Cnsr {
        weights.iter_mut().for_each(|w| *w = libm::pow(*w, f64::from(config.smoothing)));
        normalise(&mut weights);
    }
    weights
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) { (sorted[half - 1] + sorted[half]) / 2.0 } else { sorted[half] }
}

impl Objective for Ipw {
    fn name(&self) -> &'static str {
        "ipw"
    }

    fn kernel_settings(&self) -> Vec<f32> {
        vec![f32::from(self.bce.eps_compat), f32::from(self.scope as u8)]
    }

    fn item_constants(&self) -> Option<&[f32]> {
        Some(&self.weights)
    }

    fn stage(&self, tile: &mut Tile) {
        stage(self, tile);
    }
}

vectorised! {
    fn stage(this: &Ipw, tile: &mut Tile) {
        for r in 0..TILE {
            let positive_weight = tile.item_constant[POSITIVE][r] * tile.weight;
            let negative_weight = match this.scope {
                IpwScope::Pair => positive_weight,
                IpwScope::Positive => tile.weight,
                IpwScope::Own => tile.item_constant[NEGATIVE][r] * tile.weight,
            };
            let (positive, d_positive) = this.bce.term(tile.score[POSITIVE][r], 1.0);
            let (negative, d_negative) = this.bce.term(tile.score[NEGATIVE][r], 0.0);
            tile.loss[0][r] = positive * positive_weight + negative * negative_weight;
            tile.score_gradient[POSITIVE][r] = d_positive * positive_weight;
            tile.score_gradient[NEGATIVE][r] = d_negative * negative_weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_follow_their_definitions() {
        // Inverse propensities 1, 2, 8, 8, 4 with median 4.
        let counts = [8, 4, 1, 0, 2];
        let of = |ipw_variant, smoothing| {
            weights(&Config { ipw_variant, eta: 1.0, smoothing, ..Config::default() }, &counts)
        };
        assert_eq!(of(IpwVariant::Ips, 1.0), [1.0, 2.0, 8.0, 8.0, 4.0]);
        assert_eq!(of(IpwVariant::C, 1.0), [1.0, 2.0, 4.0, 4.0, 4.0]);
        assert_eq!(of(IpwVariant::Cn, 1.0), [0.25, 0.5, 1.0, 1.0, 1.0]);
        assert_eq!(of(IpwVariant::Cnsr, 0.5), [0.5, 0.5f64.sqrt(), 1.0, 1.0, 1.0]);
        let half = Config { ipw_variant: IpwVariant::Ips, eta: 0.5, ..Config::default() };
        assert!((weights(&half, &counts)[2] - 8f64.sqrt()).abs() < 1e-12);
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
    }
}
