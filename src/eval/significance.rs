//! Whether one system is better than another, from values that belong together in pairs.
//!
//! Over users the values are far from normal (a hit rate is 0 or 1 and mostly 0), so the test is Fisher's randomisation
//! test: it asks how often a difference as large arises when each user's two values are swapped by the toss of a coin,
//! and supposes nothing else. Over seeds there are too few pairs for that (five seeds have 32 swaps), so the test is
//! the paired t-test.

use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::sampling::philox::Rng;

/// Up to so many pairs that differ, every swap is counted.
const EXACT: usize = 16;
/// Random swaps, where there are more pairs.
const SWAPS: u64 = 100_000;

/// A difference and its two-sided p-value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Paired {
    /// Mean of a - b.
    pub difference: f64,
    /// Probability of a difference as large as this if a and b were alike.
    pub p: f64,
}

/// Fisher's randomisation test of the mean of `a - b`: all swaps of up to 16 pairs that differ, else 100,000 random
/// ones (the same for the same number of pairs), of which the observed one counts as another. `None` without pairs.
///
/// # Panics
/// If `a` and `b` differ in length.
pub fn randomisation(a: &[f64], b: &[f64]) -> Option<Paired> {
    let (differences, difference) = differences(a, b)?;
    let moving: Vec<f64> = differences.into_iter().filter(|&d| d != 0.0).collect();
    let observed = moving.iter().sum::<f64>().abs();
    // Sums in another order may differ in their last bits and are as large all the same.
    let enough = observed - 1e-12 * moving.iter().map(|d| d.abs()).sum::<f64>();
    let p = if moving.len() <= EXACT {
        let swaps = 1u32 << moving.len();
        let sum = |signs: u32| -> f64 {
            moving.iter().enumerate().map(|(k, d)| if signs >> k & 1 == 1 { -d } else { *d }).sum()
        };
        let large = (0..swaps).filter(|&signs| sum(signs).abs() >= enough).count();
        large as f64 / f64::from(swaps)
    } else {
        let mut rng = Rng::new(moving.len() as u64, 0);
        let large = (0..SWAPS)
            .filter(|_| {
                let sum: f64 = moving
                    .chunks(64)
                    .map(|chunk| {
                        let signs = rng.word64();
                        let signed = |(k, d): (usize, &f64)| if signs >> k & 1 == 1 { -d } else { *d };
                        chunk.iter().enumerate().map(signed).sum::<f64>()
                    })
                    .sum();
                sum.abs() >= enough
            })
            .count();
        (large + 1) as f64 / (SWAPS + 1) as f64
    };
    Some(Paired { difference, p })
}

/// Student's paired t-test of the mean of `a - b`. `None` with fewer than two pairs, or where all differences are
/// equal.
///
/// # Panics
/// If `a` and `b` differ in length.
pub fn paired_t(a: &[f64], b: &[f64]) -> Option<Paired> {
    let (differences, difference) = differences(a, b)?;
    let n = differences.len() as f64;
    let deviation = deviation(&differences)?;
    if deviation <= 0.0 {
        return None;
    }
    let t = difference / (deviation / n.sqrt());
    let distribution = StudentsT::new(0.0, 1.0, n - 1.0).ok()?;
    Some(Paired { difference, p: 2.0 * distribution.sf(t.abs()) })
}

/// Mean; `None` of nothing.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Standard deviation of a sample (n - 1); `None` of fewer than two values.
pub fn deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values).filter(|_| values.len() > 1)?;
    let squares: f64 = values.iter().map(|x| (x - mean) * (x - mean)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

fn differences(a: &[f64], b: &[f64]) -> Option<(Vec<f64>, f64)> {
    assert_eq!(a.len(), b.len(), "values in pairs");
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    let mean = mean(&differences)?;
    Some((differences, mean))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_swap_of_a_few_pairs_is_counted() {
        // Differences 1, 2, 3, 0: of the eight sums +-1 +-2 +-3 two are as large as 6; of 2, 0.5, -1: all of 1.5 or
        // more.
        let test = randomisation(&[2.0, 2.0, 4.0, 7.0], &[1.0, 0.0, 1.0, 7.0]).unwrap();
        assert_eq!(test, Paired { difference: 1.5, p: 0.25 });
        let sums = [3.5, 1.5, 2.5, 0.5];
        let large = sums.iter().filter(|&&sum| sum >= 1.5).count() as f64 / sums.len() as f64;
        assert_eq!(randomisation(&[2.0, 0.5, 0.0], &[0.0, 0.0, 1.0]).unwrap().p, large);
        assert_eq!(randomisation(&[1.0, 2.0], &[1.0, 2.0]).unwrap(), Paired { difference: 0.0, p: 1.0 });
        assert_eq!(randomisation(&[], &[]), None);
    }

    #[test]
    fn random_swaps_agree_with_the_binomial_distribution() {
        // 100 differences of 1 and 60 of -1: of 160 coins at most 60 or at least 100 show heads.
        let a: Vec<f64> = (0..300).map(|k| f64::from(u8::from(k < 100))).collect();
        let b: Vec<f64> = (0..300).map(|k| f64::from(u8::from((100..160).contains(&k)))).collect();
        let log_choose = |k: u32| -> f64 { (1..=k).map(|j| (f64::from(161 - j) / f64::from(j)).ln()).sum() };
        let p = 2.0 * (0..=60).map(|k| (log_choose(k) - 160.0 * 2f64.ln()).exp()).sum::<f64>();
        let test = randomisation(&a, &b).unwrap();
        assert!((test.difference - 40.0 / 300.0).abs() < 1e-12);
        // Four deviations of the share of random swaps around its expectation.
        assert!((test.p - p).abs() < 4.0 * (p / SWAPS as f64).sqrt(), "{} {p}", test.p);
        assert_eq!(randomisation(&b, &a).unwrap().p, test.p);
    }

    #[test]
    fn the_paired_t_test_of_a_textbook_case() {
        // Differences 1, 2, 3, 4, 5: mean 3, deviation sqrt(2.5), t = 3 / sqrt(2.5 / 5) = 4.2426 with 4 degrees of
        // freedom, whose distribution function is 1/2 + 3/4 u - 1/4 u^3 with u = t / sqrt(4 + t^2): p = .01324.
        let test = paired_t(&[1.0, 2.0, 3.0, 4.0, 5.0], &[0.0; 5]).unwrap();
        assert_eq!(test.difference, 3.0);
        let t: f64 = 3.0 / 0.5_f64.sqrt();
        let u = t / (4.0 + t * t).sqrt();
        let p = 1.0 - (1.5 * u - 0.5 * u * u * u);
        assert!((test.p - p).abs() < 1e-9 && (p - 0.01324).abs() < 1e-4, "{} {p}", test.p);
        assert_eq!(paired_t(&[1.0], &[0.0]), None);
        assert_eq!(paired_t(&[1.0, 2.0], &[0.0, 1.0]), None);
    }
}
