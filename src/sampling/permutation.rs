//! Keyed pseudo-random permutations: the k-th element in O(1), without storing or shuffling anything.

use super::philox::philox;

const ROUNDS: usize = 6;

/// A permutation of `0..n`, chosen by a 64-bit seed and a 64-bit stream number.
///
/// A Feistel network over the smallest power of two that holds `n`, with cycle walking: a value beyond the end is
/// permuted again until it falls inside (fewer than two rounds of it on average). Any prefix is a uniform sample
/// without replacement, and every element is a pure function of (seed, stream, index), so neither order nor
/// threads nor devices matter.
#[derive(Debug, Clone, Copy)]
pub struct Permutation {
    n: u32,
    low_bits: u32,
    high_bits: u32,
    keys: [u32; ROUNDS],
}

impl Permutation {
    /// The permutation of `0..n` that belongs to (`seed`, `stream`).
    pub fn new(n: u32, seed: u64, stream: u64) -> Self {
        // Domain tag: keeps these words apart from the per-sample draws of the same seed.
        const TAG: u32 = 0x5045_524d;
        let key = [seed as u32, (seed >> 32) as u32];
        let [a, b, c, d] = philox([stream as u32, (stream >> 32) as u32, 0, TAG], key);
        let [e, f, ..] = philox([stream as u32, (stream >> 32) as u32, 1, TAG], key);
        let bits = 32 - n.saturating_sub(1).leading_zeros();
        Permutation { n, low_bits: bits / 2, high_bits: bits - bits / 2, keys: [a, b, c, d, e, f] }
    }

    /// Element `index` of the permutation.
    #[inline(always)]
    pub fn get(&self, index: u32) -> u32 {
        self.get_lanes([index])[0]
    }

    /// The elements of N indices, all below n.
    #[inline(always)]
    pub fn get_lanes<const N: usize>(&self, index: [u32; N]) -> [u32; N] {
        debug_assert!(index.iter().all(|&x| x < self.n));
        let mut x = self.encrypt(index);
        while x.iter().fold(false, |any, &x| any | (x >= self.n)) {
            let again = self.encrypt(x);
            for lane in 0..N {
                x[lane] = if x[lane] >= self.n { again[lane] } else { x[lane] };
            }
        }
        x
    }

    /// One pass of the network. The halves keep their own widths: each round changes one by a function of the other.
    #[inline(always)]
    fn encrypt<const N: usize>(&self, mut x: [u32; N]) -> [u32; N] {
        let low_mask = (1u32 << self.low_bits) - 1;
        let high_mask = ((1u64 << self.high_bits) - 1) as u32;
        for x in &mut x {
            let (mut low, mut high) = (*x & low_mask, *x >> self.low_bits);
            for pair in self.keys.chunks_exact(2) {
                high ^= mix(low ^ pair[0]) & high_mask;
                low ^= mix(high ^ pair[1]) & low_mask;
            }
            *x = high << self.low_bits | low;
        }
        x
    }
}

/// Well-mixed function of a word (the finaliser of MurmurHash3).
#[inline(always)]
pub(crate) fn mix(mut x: u32) -> u32 {
    x = (x ^ x >> 16).wrapping_mul(0x85eb_ca6b);
    x = (x ^ x >> 13).wrapping_mul(0xc2b2_ae35);
    x ^ x >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_occurs_once() {
        for n in [1, 2, 3, 5, 16, 17, 1000, 4096, 4097, 13_485] {
            for stream in 0..3 {
                let permutation = Permutation::new(n, 42, stream);
                let mut seen = vec![false; n as usize];
                for k in 0..n {
                    let x = permutation.get(k) as usize;
                    assert!(!std::mem::replace(&mut seen[x], true), "n {n} stream {stream}: {x} twice");
                }
            }
        }
    }

    #[test]
    fn known_elements_alone_and_in_lanes() {
        // From an implementation of its own, in integers of any size.
        let expected = [1298, 11_785, 11_433, 872, 12_837, 7158, 759, 6839];
        let permutation = Permutation::new(13_485, 42, 3);
        let index: [u32; 8] = std::array::from_fn(|k| k as u32);
        assert_eq!(index.map(|k| permutation.get(k)), expected);
        assert_eq!(permutation.get_lanes(index), expected);
    }

    #[test]
    fn a_prefix_is_a_uniform_sample() {
        // Draws of 10 out of 50, 20,000 times: each element, and each pair of positions, as often as any other.
        let (n, draws, prefix) = (50u32, 20_000u64, 10);
        let mut hits = vec![0f64; n as usize];
        let mut ordered = 0f64;
        for stream in 0..draws {
            let permutation = Permutation::new(n, 7, stream);
            for k in 0..prefix {
                hits[permutation.get(k) as usize] += 1.0;
            }
            ordered += f64::from(permutation.get(0) < permutation.get(1));
        }
        let p = f64::from(prefix) / f64::from(n);
        let (mean, sd) = (draws as f64 * p, (draws as f64 * p * (1.0 - p)).sqrt());
        for (element, &count) in hits.iter().enumerate() {
            assert!((count - mean).abs() < 4.5 * sd, "element {element}: {count}, expected {mean} +- {sd}");
        }
        let (mean, sd) = (draws as f64 / 2.0, (draws as f64 / 4.0).sqrt());
        assert!((ordered - mean).abs() < 4.5 * sd, "first < second in {ordered} of {draws}");
    }
}
