//! Philox4x32-10, the counter-based generator behind every random choice of the engine.
//!
//! Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). A block of four words is a
//! pure function of a counter and a key, so any draw can be made anywhere, in any order, by any thread. The kernels
//! hold the same function (`kernels/common.cuh`).

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: u32 = 10;

/// Four uniform words from a 128-bit counter and a 64-bit key.
#[inline(always)]
pub fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    philox_lanes(counter.map(|c| [c]), key).map(|[word]| word)
}

/// [`philox`] of N counters under one key: word by word, each with its N lanes.
#[inline(always)]
pub fn philox_lanes<const N: usize>(counter: [[u32; N]; 4], key: [u32; 2]) -> [[u32; N]; 4] {
    let ([mut c0, mut c1, mut c2, mut c3], [mut k0, mut k1]) = (counter, key);
    for _ in 0..ROUNDS {
        for lane in 0..N {
            let p0 = u64::from(MULTIPLIERS[0]) * u64::from(c0[lane]);
            let p1 = u64::from(MULTIPLIERS[1]) * u64::from(c2[lane]);
            (c0[lane], c2[lane]) = ((p1 >> 32) as u32 ^ c1[lane] ^ k0, (p0 >> 32) as u32 ^ c3[lane] ^ k1);
            (c1[lane], c3[lane]) = (p1 as u32, p0 as u32);
        }
        k0 = k0.wrapping_add(WEYL[0]);
        k1 = k1.wrapping_add(WEYL[1]);
    }
    [c0, c1, c2, c3]
}

/// Sequential draws from one of 2^64 independent streams of a seed.
///
/// Draw `4 b + k` is word `k` of block `b`: counter `[b, stream]` under key `seed`, each as low and high word.
/// The floating-point draws use `libm`, not the system's mathematics, and are therefore equal everywhere.
///
/// ```
/// use macr::sampling::philox::Rng;
/// let (mut a, mut b) = (Rng::new(1, 7), Rng::new(1, 7));
/// assert_eq!(a.below(1000), b.below(1000));
/// ```
#[derive(Debug, Clone)]
pub struct Rng {
    key: [u32; 2],
    stream: [u32; 2],
    block: u64,
    words: [u32; 4],
    /// Words of the block that are used up.
    used: usize,
}

impl Rng {
    /// The beginning of `stream` under `seed`.
    pub fn new(seed: u64, stream: u64) -> Self {
        Rng { key: halves(seed), stream: halves(stream), block: 0, words: [0; 4], used: 4 }
    }

    /// A uniform 32-bit word.
    #[inline]
    pub fn word(&mut self) -> u32 {
        if self.used == 4 {
            let [low, high] = halves(self.block);
            self.words = philox([low, high, self.stream[0], self.stream[1]], self.key);
            self.block += 1;
            self.used = 0;
        }
        self.used += 1;
        self.words[self.used - 1]
    }

    /// A uniform 64-bit word: two draws, low half first.
    #[inline]
    pub fn word64(&mut self) -> u64 {
        u64::from(self.word()) | u64::from(self.word()) << 32
    }

    /// Uniform in `0..n`, without bias (Lemire's multiplication with rejection).
    ///
    /// # Panics
    /// If `n` is 0.
    #[inline]
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "a draw from an empty range");
        if let Ok(n) = u32::try_from(n) {
            let product = |word: u32| u64::from(word) * u64::from(n);
            let mut drawn = product(self.word());
            if (drawn as u32) < n {
                let reject = n.wrapping_neg() % n;
                while (drawn as u32) < reject {
                    drawn = product(self.word());
                }
            }
            return drawn >> 32;
        }
        let product = |word: u64| u128::from(word) * u128::from(n);
        let mut drawn = product(self.word64());
        if (drawn as u64) < n {
            let reject = n.wrapping_neg() % n;
            while (drawn as u64) < reject {
                drawn = product(self.word64());
            }
        }
        (drawn >> 64) as u64
    }

    /// Uniform in `[0, 1)`, a multiple of 2^-53.
    #[inline]
    pub fn unit_f64(&mut self) -> f64 {
        (self.word64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Standard normal (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * libm::log(1.0 - self.unit_f64())).sqrt();
        radius * libm::cos(std::f64::consts::TAU * self.unit_f64())
    }

    /// Puts `values` into a uniformly random order.
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        let n = values.len();
        self.choose(values, n);
    }

    /// Moves a uniformly random choice of `k` of the `values` to their front, in random order.
    ///
    /// # Panics
    /// If there are fewer than `k`.
    pub fn choose<T>(&mut self, values: &mut [T], k: usize) {
        for at in 0..k {
            values.swap(at, at + self.below((values.len() - at) as u64) as usize);
        }
    }
}

fn halves(word: u64) -> [u32; 2] {
    [word as u32, (word >> 32) as u32]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_the_known_answers_of_random123() {
        let answers = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, expected) in answers {
            assert_eq!(philox(counter, key), expected);
            // The same counter in the third of five lanes.
            let lanes = philox_lanes(counter.map(|c| [1, 2, c, 3, c]), key);
            assert_eq!(lanes.map(|word| word[2]), expected);
        }
    }

    #[test]
    fn stream_is_the_blocks_in_order() {
        let mut rng = Rng::new(5 | 6 << 32, 7 | 8 << 32);
        for block in 0..3 {
            for word in philox([block, 0, 7, 8], [5, 6]) {
                assert_eq!(rng.word(), word);
            }
        }
    }

    #[test]
    fn below_is_uniform_for_small_and_large_ranges() {
        let mut rng = Rng::new(1, 2);
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[rng.below(7) as usize] += 1;
        }
        assert!(counts.iter().all(|&n| n.abs_diff(10_000) < 500), "{counts:?}");
        let n = 3u64 << 62;
        let high = (0..10_000).filter(|_| rng.below(n) >= n / 2).count();
        assert!(high.abs_diff(5_000) < 250, "{high}");
    }

    #[test]
    fn normals_have_the_right_moments() {
        let mut rng = Rng::new(3, 0);
        let draws: Vec<f64> = (0..100_000).map(|_| rng.normal()).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|x| x * x).sum::<f64>() / draws.len() as f64;
        assert!(mean.abs() < 0.015 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
    }

    #[test]
    fn choosing_is_uniform_and_keeps_every_value() {
        let mut front = [0u32; 5];
        for stream in 0..20_000 {
            let mut values = [0usize, 1, 2, 3, 4];
            Rng::new(9, stream).choose(&mut values, 2);
            front[values[0]] += 1;
            front[values[1]] += 1;
            values.sort_unstable();
            assert_eq!(values, [0, 1, 2, 3, 4]);
        }
        assert!(front.iter().all(|&n| n.abs_diff(8_000) < 400), "{front:?}");
    }
}
