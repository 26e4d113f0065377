//! Negatives much more or much less popular than the positive (Zheng et al., WWW 2021).

use super::{
    negatives::{below, unseen},
    philox::philox,
};
use crate::{data::Csr, optim::power};

/// Fewest unseen items of a pool that is drawn from while the other one has as many.
pub const POOL: u32 = 40;
/// The margin's factor from epoch to epoch.
const DECAY: f64 = 0.9;
/// Rejections after which a draw is replaced by a walk through the pool.
const ATTEMPTS: u32 = 64;

/// Draws from the items with more than n + margin interactions (up) or with fewer than n / 2 (down), where n is the
/// positive's number: by a fair coin, or from one of them if the other has fewer than [`POOL`] unseen items.
#[derive(Debug)]
pub struct Margin {
    /// In the first epoch.
    pub margin: u32,
    /// `[I]`: n of each item.
    pub count: Vec<u32>,
    /// `[I]`: items by n, ascending: up is a suffix, down a prefix.
    pub order: Vec<u32>,
    /// `[largest n + 2]`: items with fewer than n interactions.
    pub before: Vec<u32>,
}

impl Margin {
    /// For the items of `by_item` and a margin of so many interactions in the first epoch.
    pub fn new(margin: u32, by_item: Csr<'_>) -> Self {
        let count: Vec<u32> = (0..by_item.rows() as u32).map(|item| by_item.degree(item)).collect();
        let mut before = vec![0; count.iter().max().map_or(0, |&n| n as usize) + 2];
        count.iter().for_each(|&n| before[n as usize + 1] += 1);
        for n in 1..before.len() {
            before[n] += before[n - 1];
        }
        let mut order: Vec<u32> = (0..count.len() as u32).collect();
        order.sort_by_key(|&item| (count[item as usize], item));
        Margin { margin, count, order, before }
    }

    /// The margin of an epoch (from 0).
    pub fn at(&self, epoch: u64) -> u32 {
        (f64::from(self.margin) * power(DECAY, epoch)) as u32
    }

    /// Items with fewer than `n` interactions.
    fn fewer(&self, n: u64) -> u32 {
        self.before[(n as usize).min(self.before.len() - 1)]
    }

    /// An item outside `seen` (ascending, shorter than the catalogue) for `positive` and the epoch's `margin`; of all
    /// unseen items alike if up and down are both empty.
    pub fn draw(
        &self,
        seen: &[u32],
        positive: u32,
        margin: u32,
        words: [u32; 4],
        counter: [u32; 4],
        key: [u32; 2],
    ) -> u32 {
        let n = u64::from(self.count[positive as usize]);
        let (enough, few) = (n + u64::from(margin) + 1, n.div_ceil(2));
        let items = self.order.len() as u32;
        let (up, down) = (self.fewer(enough)..items, 0..self.fewer(few));
        let (mut more, mut fewer) = (up.len() as u32, down.len() as u32);
        for &item in seen {
            let n = u64::from(self.count[item as usize]);
            more -= u32::from(n >= enough);
            fewer -= u32::from(n < few);
        }
        let coin = words[2] >> 31 == 1;
        let pool = match (more, fewer) {
            (0, 0) => return unseen(seen, below(words[1], items - seen.len() as u32)),
            (..POOL, 1..) => down,
            (POOL.., POOL..) if coin => down,
            _ => up,
        };
        let mut word = words[1];
        for attempt in 1..=ATTEMPTS {
            let item = self.order[(pool.start + below(word, pool.len() as u32)) as usize];
            if seen.binary_search(&item).is_err() {
                return item;
            }
            word = philox([counter[0], counter[1], counter[2], counter[3] + attempt], key)[0];
        }
        let left = if pool.start == 0 { fewer } else { more };
        self.walk(seen, &self.order[pool.start as usize..pool.end as usize], below(word, left))
    }

    /// The `k`-th item of `pool` outside `seen`.
    #[cold]
    fn walk(&self, seen: &[u32], pool: &[u32], k: u32) -> u32 {
        let mut unseen = pool.iter().filter(|item| seen.binary_search(item).is_err());
        unseen.nth(k as usize).copied().unwrap_or(pool[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 100 items of 0, 1, ..., 99 interactions; ids are shuffled.
    fn margin(margin: u32) -> (Margin, Vec<u32>) {
        let count: Vec<u32> = (0..100).map(|item| item * 37 % 100).collect();
        let mut offsets = vec![0u64];
        offsets.extend(count.iter().scan(0, |sum, &n| {
            *sum += u64::from(n);
            Some(*sum)
        }));
        let indices = vec![0; offsets[100] as usize];
        (Margin::new(margin, Csr { offsets: &offsets, indices: &indices }), count)
    }

    /// Frequencies of the draws for the positive with n interactions, against probabilities by interactions, 4.5
    /// standard deviations.
    fn check(reach: u32, n: u32, seen: &[u32], probability: impl Fn(u32) -> f64) {
        let (margin, count) = margin(reach);
        let positive = count.iter().position(|&x| x == n).unwrap() as u32;
        let mut seen: Vec<u32> =
            seen.iter().map(|n| count.iter().position(|x| x == n).unwrap() as u32).collect();
        seen.sort_unstable();
        let draws = 200_000u32;
        let mut drawn = vec![0u32; 100];
        for index in 0..draws {
            let counter = [index, 0, 0, 0];
            let item = margin.draw(&seen, positive, margin.at(0), philox(counter, [1, 2]), counter, [1, 2]);
            assert!(!seen.contains(&item));
            drawn[count[item as usize] as usize] += 1;
        }
        let total: f64 = (0..100).map(&probability).sum();
        assert!((total - 1.0).abs() < 1e-9, "{total}");
        for (n, &drawn) in (0..).zip(&drawn) {
            let p = probability(n);
            let (mean, sd) = (f64::from(draws) * p, (f64::from(draws) * p * (1.0 - p)).sqrt());
            assert!((f64::from(drawn) - mean).abs() <= 4.5 * sd, "n {n}: {drawn}, expected {mean} +- {sd}");
        }
    }

    #[test]
    fn pools_are_those_of_their_definition() {
        let in_pool = |yes: bool, size: f64| if yes { 1.0 / size } else { 0.0 };
        // Down 0..=41, without the positive's own 83 and with 5 seen: 41 items; up 89..=99: too few.
        check(5, 83, &[83, 5], |n| in_pool(n < 42 && n != 5, 41.0));
        // Down 0..=9: too few; up 31..=99.
        check(10, 20, &[20], |n| in_pool(n > 30, 69.0));
        // Down 0..=5 but seen all: up 52..=99 has the rest, two of it seen.
        check(40, 11, &[11, 0, 1, 2, 3, 4, 5, 60, 61], |n| in_pool(n > 51 && n != 60 && n != 61, 46.0));
        // Few above and nothing below.
        check(95, 1, &[1, 0], |n| in_pool(n > 96, 3.0));
        // Nothing on either side: any unseen item.
        check(99, 1, &[1, 0, 7], |n| in_pool(n > 1 && n != 7, 97.0));
    }

    #[test]
    fn a_fair_coin_chooses_between_two_large_pools() {
        // 67 items of 1 interaction, 67 of 10, 66 of 30; the positive has 10.
        let count: Vec<u32> = (0..200).map(|item| [1, 10, 30][item as usize % 3]).collect();
        let mut offsets = vec![0u64];
        for n in &count {
            offsets.push(offsets[offsets.len() - 1] + u64::from(*n));
        }
        let indices = vec![0; offsets[200] as usize];
        let margin = Margin::new(5, Csr { offsets: &offsets, indices: &indices });
        let draws = 40_000;
        let mut up = 0;
        for index in 0..draws {
            let counter = [index, 3, 0, 0];
            let item = margin.draw(&[1], 1, 5, philox(counter, [1, 2]), counter, [1, 2]);
            assert_ne!(count[item as usize], 10);
            up += u32::from(count[item as usize] == 30);
        }
        assert!((f64::from(up) - 20_000.0).abs() < 4.5 * 100.0, "{up} of {draws}");
    }

    #[test]
    fn all_but_one_of_a_pool_may_be_seen() {
        let (margin, count) = margin(60);
        let at = |n: u32| count.iter().position(|&x| x == n).unwrap() as u32;
        let mut seen: Vec<u32> = (0..100).filter(|&n| n != 17).map(at).collect();
        seen.sort_unstable();
        for index in 0..1000 {
            let counter = [index, 0, 0, 0];
            let item = margin.draw(&seen, at(99), 60, philox(counter, [1, 2]), counter, [1, 2]);
            assert_eq!(item, at(17));
        }
    }

    #[test]
    fn the_margin_decays() {
        let (margin, _) = margin(40);
        assert_eq!([0, 1, 2, 10, 100].map(|epoch| margin.at(epoch)), [40, 36, 32, 13, 0]);
    }
}
