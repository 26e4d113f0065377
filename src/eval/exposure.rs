//! How recommendations spread over the catalogue.

use serde::Serialize;

/// Spread of the lists at a cut-off K.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Exposure {
    /// Share of the catalogue that is in some list.
    pub coverage: f64,
    /// Gini index of how often each item is listed: 0 all alike, towards 1 a few items only.
    pub gini: f64,
    /// Average recommendation popularity: training interactions of a listed item, mean over all places of the lists.
    pub popularity: f64,
}

impl Exposure {
    /// From how often each item is listed, and the items' training interactions (`[I]` each).
    pub fn of(listed: &[u32], popularity: &[u32]) -> Self {
        let places: u64 = listed.iter().map(|&n| u64::from(n)).sum();
        let seen = listed.iter().filter(|&&n| n > 0).count();
        let weighted: f64 = listed.iter().zip(popularity).map(|(&n, &p)| f64::from(n) * f64::from(p)).sum();
        let mut sorted = listed.to_vec();
        sorted.sort_unstable();
        let items = listed.len() as f64;
        let moment: f64 = sorted.iter().zip(1u32..).map(|(&n, rank)| f64::from(n) * f64::from(rank)).sum();
        let total = (places as f64).max(1.0);
        Exposure {
            coverage: seen as f64 / items.max(1.0),
            gini: if places == 0 { 0.0 } else { 2.0 * moment / (items * total) - (items + 1.0) / items },
            popularity: weighted / total,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let even = Exposure::of(&[2, 2, 2, 2], &[1, 2, 3, 6]);
        assert_eq!((even.coverage, even.popularity), (1.0, 3.0));
        assert!(even.gini.abs() < 1e-15);
        // All places on one of four items: (n - 1) / n.
        let one = Exposure::of(&[0, 8, 0, 0], &[1, 2, 3, 6]);
        assert_eq!((one.coverage, one.popularity), (0.25, 2.0));
        assert!((one.gini - 0.75).abs() < 1e-15);
        assert_eq!(Exposure::of(&[0, 0], &[1, 1]).gini, 0.0);
    }
}
