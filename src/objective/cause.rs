//! CausE (Bonner and Vasile, RecSys 2018): item vectors of a biased and of a debiased set of interactions, tied.

use super::{Layout, NEGATIVE, Objective, POSITIVE, Penalty, TILE, Tile, bce::Bce};
use crate::{
    config::Config,
    data::popularity::item_counts,
    sampling::{Sampler, philox::philox_lanes},
    simd::vectorised,
};

/// Share of the interactions that are expected to be treatment.
pub const TREATMENT_SHARE: f64 = 0.1;
/// The last word of the counter, which keeps these numbers apart from the samplers' and the tables'.
const TREATMENT: u32 = 0x5452_5400;

/// L = BCE of the control rows with q^c + BCE of the treatment rows with q^t + nu mean (q^c - q^t)^2; ranked by q^c.
#[derive(Debug, Clone)]
pub struct Cause {
    bce: Bce,
    nu: f32,
    key: [u32; 2],
    /// `[I]`: the probability that an interaction of the item is treatment.
    probability: Vec<f32>,
}

impl Cause {
    /// CausE with these settings, for the train counts of `sampler`'s data and its seed.
    pub fn new(config: &Config, sampler: &Sampler<'_>) -> Self {
        let seed = sampler.seed();
        Cause {
            bce: Bce { eps_compat: config.eps_compat },
            nu: config.nu,
            key: [seed as u32, (seed >> 32) as u32],
            probability: probabilities(&item_counts(sampler.data()), config.treatment_cap),
        }
    }
}

/// min(cap, kappa / n_i), with kappa such that the expected number of treatment interactions,
/// sum_i min(cap n_i, kappa), is [`TREATMENT_SHARE`] of all; `cap` is at least as large.
fn probabilities(counts: &[u32], cap: f32) -> Vec<f32> {
    let cap = f64::from(cap);
    let mut sorted: Vec<f64> = counts.iter().filter(|&&n| n > 0).map(|&n| f64::from(n)).collect();
    sorted.sort_by(f64::total_cmp);
    let mut left = TREATMENT_SHARE * sorted.iter().sum::<f64>();
    let mut kappa = 0.0;
    for (k, &n) in sorted.iter().enumerate() {
        // The items from here on share what is left alike, unless this one may give less.
        kappa = left / (sorted.len() - k) as f64;
        if kappa <= cap * n {
            break;
        }
        left -= cap * n;
    }
    counts.iter().map(|&n| (kappa / f64::from(n.max(1))).min(cap) as f32).collect()
}

impl Objective for Cause {
    fn name(&self) -> &'static str {
        "cause"
    }

    fn kernel_settings(&self) -> Vec<f32> {
        self.bce.kernel_settings()
    }

    fn layout(&self) -> Layout {
        Layout::Twins
    }

    fn item_constants(&self) -> Option<&[f32]> {
        Some(&self.probability)
    }

    fn penalty(&self) -> Option<Penalty> {
        Some(Penalty::Halves(self.nu))
    }

    fn parts(&self) -> &'static [&'static str] {
        &["control", "treatment"]
    }

    fn grouped(&self) -> bool {
        true
    }

    /// An interaction is treatment in every step or in none.
    fn second_group(&self, tile: &Tile) -> [bool; TILE] {
        treatment(self, tile)
    }

    fn stage(&self, tile: &mut Tile) {
        stage(self, tile);
    }
}

vectorised! {
    fn treatment(this: &Cause, tile: &Tile) -> [bool; TILE] {
        let [users, positives, _] = tile.ids;
        let word = philox_lanes([users, positives, [0; TILE], [TREATMENT; TILE]], this.key)[0];
        let mut treatment = [false; TILE];
        for r in 0..TILE {
            // In [0, 1), exactly.
            let uniform = (word[r] >> 8) as f32 / 16_777_216.0;
            treatment[r] = uniform < tile.item_constant[POSITIVE][r];
        }
        treatment
    }
}

vectorised! {
    fn stage(this: &Cause, tile: &mut Tile) {
        for r in 0..TILE {
            let treated = tile.second_group[r];
            let weight = tile.group_weight[usize::from(treated)];
            let mut loss = 0.0;
            for (sample, y) in [(POSITIVE, 1.0), (NEGATIVE, 0.0)] {
                let score = if treated { tile.second_score[sample][r] } else { tile.score[sample][r] };
                let (term, slope) = this.bce.term(score, y);
                loss += term * weight;
                tile.score_gradient[sample][r] = if treated { 0.0 } else { slope * weight };
                tile.second_gradient[sample][r] = if treated { slope * weight } else { 0.0 };
            }
            tile.loss[0][r] = if treated { 0.0 } else { loss };
            tile.loss[1][r] = if treated { loss } else { 0.0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worlds() -> [Vec<u32>; 4] {
        [vec![100, 100], vec![1, 2, 3, 1000, 5000, 0], vec![1; 50], (0..700).collect()]
    }

    #[test]
    fn a_tenth_is_expected_to_be_treatment() {
        for (counts, cap) in
            worlds().into_iter().flat_map(|w| [1.0, 0.9, 0.5, 0.1].map(|cap| (w.clone(), cap)))
        {
            let p = probabilities(&counts, cap);
            let total: f64 = counts.iter().map(|&n| f64::from(n)).sum();
            let expected: f64 = counts.iter().zip(&p).map(|(&n, &p)| f64::from(n) * f64::from(p)).sum();
            assert!((expected / total - 0.1).abs() < 1e-6, "{counts:?}, {cap}: {expected} of {total}");
            // As many of every item, unless it may give fewer.
            let most = counts.iter().zip(&p).map(|(&n, &p)| n as f32 * p).fold(0f32, f32::max);
            for (&n, &p) in counts.iter().zip(&p).filter(|(n, _)| **n > 0) {
                assert!(p == cap || p < cap && (n as f32 * p / most - 1.0).abs() < 1e-5, "{n}, {cap}: {p}");
            }
        }
    }

    #[test]
    fn every_item_keeps_control_interactions() {
        let cap = Config::default().treatment_cap;
        for counts in worlds() {
            for (&n, p) in counts.iter().zip(probabilities(&counts, cap)).filter(|(n, _)| **n > 0) {
                let expected = f64::from(n) * (1.0 - f64::from(p));
                assert!(expected >= if n > 1 { 1.0 } else { 0.5 }, "{expected} of {n} in {counts:?}");
            }
        }
        // Without a cap the rarest items keep none.
        assert_eq!(probabilities(&[1, 2, 3, 1000], 1.0)[..3], [1.0; 3]);
    }
}
