//! `divergence`: whether a number of a table is no longer finite, by the bits of its form.

use crate::storage::Storage;

/// Bits of the exponents of the two numbers in a word, upper and lower; of 32 bits there is one.
pub fn exponents(storage: Storage) -> [u32; 2] {
    match storage {
        Storage::F32 => [0x7f80_0000; 2],
        Storage::F16 => [0x7c00_0000, 0x7c00],
        Storage::Bf16 => [0x7f80_0000, 0x7f80],
    }
}

/// True if all numbers of `words` are finite.
pub fn all_finite(words: &[u32], storage: Storage) -> bool {
    let [high, low] = exponents(storage);
    // All of them, for a loop that stops early is none of vectors.
    !words.iter().fold(false, |bad, word| bad | (word & high == high) | (word & low == low))
}
