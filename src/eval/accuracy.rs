//! Accuracy of one user's list. The mean over the users that have a relevant item is reported; users without one are
//! left out, never counted as 0.

use serde::Serialize;

/// Metrics at a cut-off K, for one user or as means.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Accuracy {
    /// 1 if a relevant item is among the first K. The mean is the share of users with a hit.
    pub hit_rate: f64,
    /// Hits / relevant items.
    pub recall: f64,
    /// sum over hits of 1 / log2(rank + 1), over the same of an ideal list with min(relevant, K) hits.
    pub ndcg: f64,
    /// Hits / K.
    pub precision: f64,
    /// 1 / rank of the first hit within K, else 0.
    pub mrr: f64,
    /// Mean over min(relevant, K) of the precision at each hit's rank.
    pub map: f64,
}

impl Accuracy {
    /// Of one user: `hits` are the ranks (from 1, ascending) of relevant items, `relevant` is how many there are.
    pub fn of(hits: &[u32], relevant: usize, k: usize) -> Self {
        let hits = &hits[..hits.partition_point(|&rank| rank as usize <= k)];
        let gain = |rank: u32| 1.0 / libm::log2(f64::from(rank) + 1.0);
        let ideal_hits = relevant.min(k);
        let ideal: f64 = (1..=ideal_hits as u32).map(gain).sum();
        let precision_at =
            hits.iter().enumerate().map(|(before, &rank)| (before + 1) as f64 / f64::from(rank));
        Accuracy {
            hit_rate: f64::from(!hits.is_empty()),
            recall: hits.len() as f64 / relevant as f64,
            ndcg: hits.iter().map(|&rank| gain(rank)).sum::<f64>() / ideal,
            precision: hits.len() as f64 / k as f64,
            mrr: hits.first().map_or(0.0, |&rank| 1.0 / f64::from(rank)),
            map: precision_at.sum::<f64>() / ideal_hits as f64,
        }
    }

    /// Both, metric by metric.
    pub fn plus(self, other: Accuracy) -> Self {
        Accuracy {
            hit_rate: self.hit_rate + other.hit_rate,
            recall: self.recall + other.recall,
            ndcg: self.ndcg + other.ndcg,
            precision: self.precision + other.precision,
            mrr: self.mrr + other.mrr,
            map: self.map + other.map,
        }
    }

    /// Every metric times `factor`.
    pub fn times(self, factor: f64) -> Self {
        Accuracy {
            hit_rate: self.hit_rate * factor,
            recall: self.recall * factor,
            ndcg: self.ndcg * factor,
            precision: self.precision * factor,
            mrr: self.mrr * factor,
            map: self.map * factor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // Hits at ranks 2 and 5 of K = 5, four relevant items.
        let a = Accuracy::of(&[2, 5, 7], 4, 5);
        assert_eq!((a.hit_rate, a.recall, a.precision, a.mrr), (1.0, 0.5, 0.4, 0.5));
        let gain = |rank: f64| 1.0 / (rank + 1.0).log2();
        let ideal = gain(1.0) + gain(2.0) + gain(3.0) + gain(4.0);
        assert!((a.ndcg - (gain(2.0) + gain(5.0)) / ideal).abs() < 1e-15);
        assert!((a.map - (0.5 + 0.4) / 4.0).abs() < 1e-15);
        // More relevant items than places: the ideal list has K hits.
        let full = Accuracy::of(&[1, 2], 9, 2);
        assert_eq!((full.ndcg, full.map, full.precision), (1.0, 1.0, 1.0));
        assert!((full.recall - 2.0 / 9.0).abs() < 1e-15);
        assert_eq!(Accuracy::of(&[6], 1, 5), Accuracy::default());
        assert_eq!(Accuracy::of(&[], 3, 5), Accuracy::default());
    }
}
