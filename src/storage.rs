//! The form in which parameters are kept, and how they are rounded to it.
//!
//! Arithmetic is f32, whatever the form. A parameter that an optimiser has moved is rounded at random, to one of its
//! two neighbours in proportion to its distance from the other ([`Element::stochastic`]): on average nothing is lost,
//! whereas rounding to the nearest would lose every move below half the distance of two neighbours, and training would
//! stand still. The random bits are a pure function of (seed, table, step, row, column) ([`Noise`]). What is computed
//! anew at each use is rounded to the nearest ([`Element::nearest`]).

use std::fmt;

use half::{bf16, f16};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    error::Result,
    huge::Zeroed,
    names::named,
    sampling::{permutation::mix, philox::philox},
};

/// An expression, compiled for the elements of each form and run for those of one.
macro_rules! with_storage {
    ($storage:expr, $T:ident => $body:expr) => {
        match $storage {
            $crate::storage::Storage::F32 => {
                type $T = f32;
                $body
            }
            $crate::storage::Storage::F16 => {
                type $T = half::f16;
                $body
            }
            $crate::storage::Storage::Bf16 => {
                type $T = half::bf16;
                $body
            }
        }
    };
}
pub(crate) use with_storage;

/// The form in which parameters are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Storage {
    /// 24 bits of precision.
    #[default]
    F32,
    /// 11 bits of precision down to 6e-5, fixed steps of 6e-8 below; up to 65504.
    F16,
    /// 8 bits of precision, the range of f32.
    Bf16,
}

impl Storage {
    /// Bytes of a number.
    pub const fn bytes(self) -> usize {
        match self {
            Storage::F32 => 4,
            Storage::F16 | Storage::Bf16 => 2,
        }
    }

    /// The form of what is small at places and large at others, such as gradients: f16 would lose the small.
    pub const fn of_gradients(self) -> Storage {
        match self {
            Storage::F32 => Storage::F32,
            Storage::F16 | Storage::Bf16 => Storage::Bf16,
        }
    }

    /// Rounds numbers to the nearest that this form has.
    pub fn round(self, values: &mut [f32]) {
        fn each<T: Element>(values: &mut [f32]) {
            const PIECE: usize = 1 << 14;
            values.par_chunks_mut(PIECE).for_each(|values| {
                values.iter_mut().for_each(|x| *x = T::nearest(*x).widen());
            });
        }
        with_storage!(self, T => each::<T>(values));
    }
}

named!(Storage, "storage", F32 = "f32", F16 = "f16", Bf16 = "bf16");

/// A stored number.
pub trait Element: bytemuck::Pod + Send + Sync + fmt::Debug {
    /// Which form it is of.
    const STORAGE: Storage;

    /// Its value.
    fn widen(self) -> f32;

    /// The nearest of this form; of two as near the even one.
    fn nearest(x: f32) -> Self;

    /// One of the two neighbours of x in this form: the upper with a probability of the distance to the lower, in
    /// units of their distance. `word` is uniform; its upper bits decide.
    fn stochastic(x: f32, word: u32) -> Self;

    /// The values of the first N elements.
    #[inline(always)]
    fn load<const N: usize>(from: &[Self]) -> [f32; N] {
        let (from, mut out) = (&from[..N], [0f32; N]);
        for lane in 0..N {
            out[lane] = from[lane].widen();
        }
        out
    }

    /// Adds the values of the first N elements to `sum`.
    #[inline(always)]
    fn add_to<const N: usize>(from: &[Self], sum: &mut [f32; N]) {
        // One loop: by way of an array, the values would be stored and loaded again.
        let from = &from[..N];
        for lane in 0..N {
            sum[lane] += from[lane].widen();
        }
    }
}

impl Element for f32 {
    const STORAGE: Storage = Storage::F32;

    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    #[inline(always)]
    fn nearest(x: f32) -> f32 {
        x
    }

    #[inline(always)]
    fn stochastic(x: f32, _word: u32) -> f32 {
        x
    }
}

const SIGN: u32 = 0x8000_0000;
const INFINITE: u32 = 0x7f80_0000;

/// f16, from its least normal number on, has 13 bits less than f32, and an exponent that is less by 112.
const F16_BITS: u32 = 13;
const F16_BIAS: u32 = 112 << 23;
const F16_INFINITE: u32 = 0x7c00;
/// The least normal number, 2^-14, as f32; below it are the multiples of 2^-24.
const F16_NORMAL: u32 = 0x3880_0000;
const TWO_TO_MINUS_24: f32 = f32::from_bits((127 - 24) << 23);
const TWO_TO_37: f32 = f32::from_bits((127 + 37) << 23);

/// Sign, and what the rounded magnitude is if it was normal or below; not finite stays so, too large becomes infinite.
#[inline(always)]
fn f16_of(bits: u32, normal: u32, below: u32) -> f16 {
    let magnitude = bits & !SIGN;
    let rounded = (normal.wrapping_sub(F16_BIAS) >> F16_BITS).min(F16_INFINITE);
    let rounded = if magnitude < F16_NORMAL { below } else { rounded };
    let rounded = if magnitude > INFINITE { 0x7e00 } else { rounded };
    f16::from_bits(((bits & SIGN) >> 16 | rounded) as u16)
}

// The crate's own conversions take one number at a time; these become vector instructions.
impl Element for f16 {
    const STORAGE: Storage = Storage::F16;

    #[inline(always)]
    fn widen(self) -> f32 {
        let (bits, magnitude) = (u32::from(self.to_bits()), u32::from(self.to_bits()) & 0x7fff);
        let normal = (magnitude << F16_BITS).wrapping_add(F16_BIAS);
        let wide = if magnitude < F16_INFINITE { normal } else { magnitude << F16_BITS | INFINITE };
        // A multiple of 2^-24.
        let below = (magnitude as i32 as f32 * TWO_TO_MINUS_24).to_bits();
        f32::from_bits((bits & 0x8000) << 16 | if magnitude < 0x400 { below } else { wide })
    }

    #[inline(always)]
    fn nearest(x: f32) -> f16 {
        let (bits, magnitude) = (x.to_bits(), x.to_bits() & !SIGN);
        let normal = magnitude + 0xfff + (magnitude >> F16_BITS & 1);
        // The last bit of a number from 0.5 to 1 is 2^-24.
        let below = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
        f16_of(bits, normal, below)
    }

    #[inline(always)]
    fn stochastic(x: f32, word: u32) -> f16 {
        let (bits, magnitude, noise) = (x.to_bits(), x.to_bits() & !SIGN, word >> (32 - F16_BITS));
        let normal = magnitude + noise;
        // Units of 2^-37, 13 bits below 2^-24: a number from 2^23 to 2^24 has them as its last bits.
        let units = (f32::from_bits(magnitude) * TWO_TO_37 + 8_388_608.0).to_bits().wrapping_sub(0x4b00_0000);
        f16_of(bits, normal, units.wrapping_add(noise) >> F16_BITS)
    }

    #[inline(always)]
    fn add_to<const N: usize>(from: &[f16], sum: &mut [f32; N]) {
        let values = f16::load::<N>(from);
        for lane in 0..N {
            sum[lane] += values[lane];
        }
    }

    #[inline(always)]
    fn load<const N: usize>(from: &[f16]) -> [f32; N] {
        let from = &from[..N];
        #[cfg(target_arch = "x86_64")]
        if N.is_multiple_of(16) {
            if std::arch::is_x86_feature_detected!("avx512f") {
                // SAFETY: the CPU has the feature; N is a multiple of 16.
                return unsafe { crate::simd::widen_avx512(from) };
            }
            if std::arch::is_x86_feature_detected!("f16c") {
                // SAFETY: the CPU has the feature; N is a multiple of 8.
                return unsafe { crate::simd::widen_f16c(from) };
            }
        }
        let mut out = [0f32; N];
        for lane in 0..N {
            out[lane] = from[lane].widen();
        }
        out
    }
}

#[inline(always)]
fn bf16_of(bits: u32, rounded: u32) -> bf16 {
    let rounded = if bits & !SIGN > INFINITE { 0x7fc0 } else { rounded >> 16 };
    bf16::from_bits(((bits & SIGN) >> 16 | rounded) as u16)
}

impl Element for bf16 {
    const STORAGE: Storage = Storage::Bf16;

    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    #[inline(always)]
    fn nearest(x: f32) -> bf16 {
        let (bits, magnitude) = (x.to_bits(), x.to_bits() & !SIGN);
        bf16_of(bits, magnitude + 0x7fff + (magnitude >> 16 & 1))
    }

    #[inline(always)]
    fn stochastic(x: f32, word: u32) -> bf16 {
        let bits = x.to_bits();
        bf16_of(bits, (bits & !SIGN) + (word >> 16))
    }
}

/// Random bits for rounding a table's parameters: counters, hashed.
///
/// A word is the finaliser of MurmurHash3 over a row's word plus a multiple of the golden ratio by column, and a row's
/// word two more of them over row, step and two words of Philox from (seed, table). `tests/storage.rs` tests means,
/// and correlations between neighbours of every kind.
#[derive(Debug, Clone, Copy)]
pub struct Noise {
    key: [u32; 2],
}

/// The part of [`Noise`] for one row in one step.
#[derive(Debug, Clone, Copy)]
pub struct RowNoise(u32);

impl Noise {
    /// For the table of number `stream` ([`crate::backend::streams`]).
    pub fn new(seed: u64, stream: u32) -> Self {
        // The last word keeps this counter apart from all others.
        let [a, b, ..] = philox([0, 0, stream, 0x524f_554e], [seed as u32, (seed >> 32) as u32]);
        Noise { key: [a, b] }
    }

    /// The two words that differ by seed and table.
    pub fn key(self) -> [u32; 2] {
        self.key
    }

    /// For the parameters that step `step` (from 1) gives `row`.
    #[inline(always)]
    pub fn row(self, step: u64, row: u32) -> RowNoise {
        let [a, b] = self.key;
        let step = mix(step as u32 ^ a) ^ (step >> 32) as u32;
        RowNoise(mix(mix(row ^ b) ^ step))
    }
}

impl RowNoise {
    /// A uniform word.
    #[inline(always)]
    pub fn word(self, column: usize) -> u32 {
        mix(self.0.wrapping_add((column as u32).wrapping_mul(0x9e37_79b9)))
    }
}

/// Stored numbers, whichever they are.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub enum Stored<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
    Bf16(&'a [bf16]),
}

/// The same, to be changed.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum StoredMut<'a> {
    F32(&'a mut [f32]),
    F16(&'a mut [f16]),
    Bf16(&'a mut [bf16]),
}

/// An expression on the slice in a [`Stored`] or [`StoredMut`], compiled for each kind of elements.
macro_rules! for_stored {
    ($kind:ident, $stored:expr, |$values:ident| $body:expr) => {
        match $stored {
            $crate::storage::$kind::F32($values) => $body,
            $crate::storage::$kind::F16($values) => $body,
            $crate::storage::$kind::Bf16($values) => $body,
        }
    };
}
pub(crate) use for_stored;

impl<'a> Stored<'a> {
    /// Numbers of the form `storage` in memory.
    ///
    /// # Panics
    /// If it is not aligned for them, or no whole number of them.
    #[inline(always)]
    pub fn new(storage: Storage, bytes: &'a [u8]) -> Self {
        match storage {
            Storage::F32 => Stored::F32(bytemuck::cast_slice(bytes)),
            Storage::F16 => Stored::F16(bytemuck::cast_slice(bytes)),
            Storage::Bf16 => Stored::Bf16(bytemuck::cast_slice(bytes)),
        }
    }

    /// Elements `at` to `at + N`.
    #[inline(always)]
    pub fn load<const N: usize>(self, at: usize) -> [f32; N] {
        for_stored!(Stored, self, |values| Element::load(&values[at..][..N]))
    }

    /// All values.
    pub fn to_vec(self) -> Vec<f32> {
        for_stored!(Stored, self, |values| values.iter().map(|x| x.widen()).collect())
    }
}

impl<'a> StoredMut<'a> {
    /// As [`Stored::new`].
    ///
    /// # Panics
    /// If it is not aligned for them, or no whole number of them.
    #[inline(always)]
    pub fn new(storage: Storage, bytes: &'a mut [u8]) -> Self {
        match storage {
            Storage::F32 => StoredMut::F32(bytemuck::cast_slice_mut(bytes)),
            Storage::F16 => StoredMut::F16(bytemuck::cast_slice_mut(bytes)),
            Storage::Bf16 => StoredMut::Bf16(bytemuck::cast_slice_mut(bytes)),
        }
    }
}

/// Room for numbers, stored in one form or another, at the beginning of a page.
#[derive(Debug, Default)]
pub struct Room(Zeroed<u8>);

impl Room {
    /// For `n` numbers of the form `storage`, all zero.
    ///
    /// # Errors
    /// [`Error::Io`] if there is not enough memory.
    ///
    /// [`Error::Io`]: crate::Error::Io
    pub fn new(storage: Storage, n: usize) -> Result<Self> {
        Zeroed::new(n * storage.bytes()).map(Room)
    }

    /// The numbers, as of the form `storage`.
    pub fn view(&self, storage: Storage) -> Stored<'_> {
        Stored::new(storage, &self.0)
    }

    /// As [`Room::view`], to be changed.
    pub fn view_mut(&mut self, storage: Storage) -> StoredMut<'_> {
        StoredMut::new(storage, &mut self.0)
    }
}
