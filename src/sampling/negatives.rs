//! Negative samples: items that a user has not interacted with, uniformly, by popularity^a, or by popularity margin.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{margin::Margin, philox::philox};
use crate::{
    data::Csr,
    error::{Error, Result},
};

/// Distribution that negatives are drawn from, among the items that the user has not seen in training.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Negatives {
    /// All unseen items alike: the paper's sampler.
    #[default]
    Uniform,
    /// In proportion to n_i^a, with n_i the number of training interactions.
    Popularity(f64),
    /// Much more or much less popular than the positive, DICE's sampler: see [`Margin`].
    Margin {
        /// Interactions that a more popular item has more than the positive, in the first epoch.
        margin: u32,
        /// Rows that share a user and a positive.
        per_positive: u32,
    },
}

impl Negatives {
    const MOST_PER_POSITIVE: u32 = 64;

    /// Negatives of a positive, each in a row of its own.
    pub fn per_positive(self) -> u32 {
        match self {
            Negatives::Margin { per_positive, .. } => per_positive,
            _ => 1,
        }
    }
}

impl fmt::Display for Negatives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Negatives::Uniform => f.write_str("uniform"),
            Negatives::Popularity(a) => write!(f, "popularity:{a}"),
            Negatives::Margin { margin, per_positive } => write!(f, "margin:{margin}:{per_positive}"),
        }
    }
}

impl TryFrom<String> for Negatives {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Negatives> for String {
    fn from(value: Negatives) -> String {
        value.to_string()
    }
}

impl FromStr for Negatives {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |problem: &str| {
            Error::config(
                "negatives",
                text,
                problem,
                "use `uniform`, `popularity:A` with A from 0 to 2, as in `popularity:0.5`, or `margin:M:N` with a margin of \
                 M interactions and N negatives for each positive, as in `margin:40:4`",
            )
        };
        match text.split_once(':') {
            None if text == "uniform" => Ok(Negatives::Uniform),
            Some(("popularity", exponent)) => match exponent.parse::<f64>() {
                Ok(a) if (0.0..=2.0).contains(&a) => Ok(Negatives::Popularity(a)),
                _ => Err(bad("the exponent is not a number from 0 to 2")),
            },
            Some(("margin", numbers)) => {
                let (margin, per_positive) = numbers.split_once(':').unwrap_or((numbers, "1"));
                match (margin.parse(), per_positive.parse()) {
                    (Ok(margin), Ok(per_positive @ 1..=Self::MOST_PER_POSITIVE)) => {
                        Ok(Negatives::Margin { margin, per_positive })
                    }
                    _ => Err(bad("a margin is a number from 0, and a positive has 1 to 64 negatives")),
                }
            }
            _ => Err(bad("no such distribution")),
        }
    }
}

/// Draws negatives; built once per training.
#[derive(Debug)]
pub enum NegativeSampler {
    /// The k-th unseen item for a uniform k, found by one binary search: nothing is ever rejected.
    Uniform {
        /// Catalogue size I.
        items: u32,
    },
    /// Walker's alias table over all items, seen items rejected.
    Alias {
        /// Catalogue size I.
        items: u32,
        /// `[I]`: the column's own item is taken when a 32-bit coin is below this.
        threshold: Vec<u64>,
        /// `[I]`: the item taken otherwise.
        alias: Vec<u32>,
        /// `[I]`: n_i^a, for the exact draw when rejection does not end.
        weight: Vec<f64>,
    },
    /// By popularity margin.
    Margin(Margin),
}

/// Rejections after which an alias draw is replaced by an exact draw over the unseen items.
const ATTEMPTS: u32 = 64;

impl NegativeSampler {
    /// The sampler for `negatives` over the items of `by_item` (the training split's columns).
    pub fn new(negatives: Negatives, by_item: Csr<'_>) -> Self {
        let items = by_item.rows() as u32;
        let exponent = match negatives {
            Negatives::Uniform => return NegativeSampler::Uniform { items },
            Negatives::Margin { margin, .. } => return NegativeSampler::Margin(Margin::new(margin, by_item)),
            Negatives::Popularity(exponent) => exponent,
        };
        let weight: Vec<f64> = (0..items)
            .map(|i| match by_item.degree(i) {
                0 if exponent > 0.0 => 0.0,
                n => libm::pow(f64::from(n), exponent),
            })
            .collect();
        let (threshold, alias) = alias_table(&weight);
        NegativeSampler::Alias { items, threshold, alias, weight }
    }

    /// The margin of an epoch (from 0); 0 where there is none.
    pub fn margin(&self, epoch: u64) -> u32 {
        match self {
            NegativeSampler::Margin(margin) => margin.at(epoch),
            _ => 0,
        }
    }

    /// An item outside `seen` (ascending, shorter than the catalogue), from the sample's words and, where more are
    /// needed, from further Philox blocks of the same counter. `positive` is the row's, `margin` the epoch's.
    #[inline(always)]
    pub fn draw(
        &self,
        seen: &[u32],
        (positive, margin): (u32, u32),
        words: [u32; 4],
        counter: [u32; 4],
        key: [u32; 2],
    ) -> u32 {
        match self {
            NegativeSampler::Margin(pools) => pools.draw(seen, positive, margin, words, counter, key),
            NegativeSampler::Uniform { items } => unseen(seen, below(words[1], items - seen.len() as u32)),
            NegativeSampler::Alias { items, threshold, alias, weight } => {
                let mut block = [words[1], words[2], 0, 0];
                for attempt in 0..ATTEMPTS {
                    if attempt > 0 {
                        block = philox([counter[0], counter[1], counter[2], counter[3] + attempt], key);
                    }
                    let column = below(block[0], *items);
                    let own = u64::from(block[1]) < threshold[column as usize];
                    let item = if own { column } else { alias[column as usize] };
                    if seen.binary_search(&item).is_err() {
                        return item;
                    }
                }
                draw_exactly(
                    seen,
                    weight,
                    philox([counter[0], counter[1], counter[2], counter[3] + ATTEMPTS], key),
                )
            }
        }
    }
}

/// A word scaled to `0..n` (n > 0); the bias is below n / 2^32.
#[inline(always)]
pub(super) fn below(word: u32, n: u32) -> u32 {
    ((u64::from(word) * u64::from(n)) >> 32) as u32
}

/// The `k`-th (from 0) item that is not in `seen`: `k + m`, with m the number of seen items before it.
#[inline(always)]
pub(super) fn unseen(seen: &[u32], k: u32) -> u32 {
    // seen[m] - m unseen items precede seen[m], and that is ascending in m.
    let (mut low, mut length) = (0, seen.len());
    while length > 0 {
        let half = length / 2;
        let before = seen[low + half] - (low + half) as u32 <= k;
        low = if before { low + half + 1 } else { low };
        length = if before { length - half - 1 } else { half };
    }
    k + low as u32
}

/// One pass over all unseen items by weight; for users whose unseen items are very unlikely, or all of weight 0.
#[cold]
fn draw_exactly(seen: &[u32], weight: &[f64], words: [u32; 4]) -> u32 {
    let unseen_items = || (0..weight.len() as u32).filter(|i| seen.binary_search(i).is_err());
    let total: f64 = unseen_items().map(|i| weight[i as usize]).sum();
    let left = (weight.len() - seen.len()) as u32;
    if total <= 0.0 {
        return unseen(seen, below(words[0], left));
    }
    let mut target = total * (f64::from(words[0]) + 0.5) / 4_294_967_296.0;
    let mut last = 0;
    for item in unseen_items().filter(|&i| weight[i as usize] > 0.0) {
        last = item;
        target -= weight[item as usize];
        if target < 0.0 {
            break;
        }
    }
    last
}

/// Vose's construction: column k holds item k with probability threshold[k] / 2^32 and alias[k] otherwise.
fn alias_table(weight: &[f64]) -> (Vec<u64>, Vec<u32>) {
    let n = weight.len();
    let total: f64 = weight.iter().sum();
    let mut threshold = vec![1u64 << 32; n];
    let mut alias: Vec<u32> = (0..n as u32).collect();
    if total <= 0.0 {
        return (threshold, alias);
    }
    let mut scaled: Vec<f64> = weight.iter().map(|w| w * n as f64 / total).collect();
    let (mut small, mut large): (Vec<u32>, Vec<u32>) = (0..n as u32).partition(|&k| scaled[k as usize] < 1.0);
    while let (Some(&s), Some(&l)) = (small.last(), large.last()) {
        small.pop();
        threshold[s as usize] = (scaled[s as usize] * 4_294_967_296.0) as u64;
        alias[s as usize] = l;
        scaled[l as usize] -= 1.0 - scaled[s as usize];
        if scaled[l as usize] < 1.0 {
            large.pop();
            small.push(l);
        }
    }
    (threshold, alias)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unseen_counts_around_the_seen() {
        let seen = [0, 3, 4, 9];
        let expected = [1, 2, 5, 6, 7, 8];
        for (k, &item) in expected.iter().enumerate() {
            assert_eq!(unseen(&seen, k as u32), item);
        }
        assert_eq!(unseen(&[], 5), 5);
        assert_eq!(unseen(&[0, 1, 2], 0), 3);
    }

    /// Frequencies of draws against their probabilities, 4.5 standard deviations.
    fn check(sampler: &NegativeSampler, seen: &[u32], probability: &[f64]) {
        let draws = 200_000u32;
        let mut count = vec![0u32; probability.len()];
        for index in 0..draws {
            let counter = [index, 0, 0, 0];
            count[sampler.draw(seen, (0, 0), philox(counter, [1, 2]), counter, [1, 2]) as usize] += 1;
        }
        for (item, (&count, &p)) in count.iter().zip(probability).enumerate() {
            let (mean, sd) = (f64::from(draws) * p, (f64::from(draws) * p * (1.0 - p)).sqrt());
            assert!(
                (f64::from(count) - mean).abs() <= 4.5 * sd,
                "item {item}: {count}, expected {mean} +- {sd}"
            );
        }
    }

    #[test]
    fn uniform_over_the_unseen() {
        check(&NegativeSampler::Uniform { items: 6 }, &[1, 4], &[0.25, 0.0, 0.25, 0.25, 0.0, 0.25]);
    }

    #[test]
    fn popularity_over_the_unseen() {
        // Counts 4, 0, 9, 1, 16 with exponent 1/2: weights 2, 0, 3, 1, 4; item 4 is seen.
        let offsets = [0, 4, 4, 13, 14, 30];
        let indices = vec![0; 30];
        let sampler =
            NegativeSampler::new(Negatives::Popularity(0.5), Csr { offsets: &offsets, indices: &indices });
        check(&sampler, &[4], &[2.0 / 6.0, 0.0, 3.0 / 6.0, 1.0 / 6.0, 0.0]);
        // Only the item of weight 0 is left: it is drawn all the same.
        check(&sampler, &[0, 2, 3, 4], &[0.0, 1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn names_round_trip() {
        for text in ["uniform", "popularity:0.5", "margin:40:4"] {
            assert_eq!(text.parse::<Negatives>().unwrap().to_string(), text);
        }
        for text in [
            "popular",
            "popularity",
            "popularity:x",
            "popularity:-1",
            "popularity:NaN",
            "margin",
            "margin:-1:4",
            "margin:40:0",
        ] {
            assert!(text.parse::<Negatives>().is_err(), "{text}");
        }
    }
}
