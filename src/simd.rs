//! Vector leaves: loops over fixed lanes, compiled for AVX-512, for AVX2 with FMA and for the baseline, chosen at run
//! time.
//!
//! All compilations execute the same IEEE operations in the same order (fused multiply-add included, in software
//! where the CPU lacks it), so they give the same bits.

use std::ops::{Deref, DerefMut};

use crate::storage::Element;

/// Lanes of every sum; rows are padded to a multiple of it.
pub const LANES: usize = 16;

/// One vector, at the beginning of a cache line: across two lines it would take twice the time.
#[derive(Debug, Clone, Copy, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub struct Line(pub [f32; LANES]);

impl Line {
    /// Zeros.
    pub const ZERO: Line = Line([0.0; LANES]);
}

/// Whole vectors of numbers that grow, each at the beginning of a cache line. A `Vec<f32>` would begin anywhere in one.
#[derive(Debug, Clone, Default)]
pub struct Lines(Vec<Line>);

impl Lines {
    /// `n` zeros.
    pub fn new(n: usize) -> Self {
        let mut lines = Lines::default();
        lines.resize(n);
        lines
    }

    /// Makes it `n` numbers, new ones zero.
    pub fn resize(&mut self, n: usize) {
        debug_assert!(n.is_multiple_of(LANES), "{n}");
        self.0.resize(n / LANES, Line::ZERO);
    }
}

impl Deref for Lines {
    type Target = [f32];

    #[inline(always)]
    fn deref(&self) -> &[f32] {
        bytemuck::cast_slice(&self.0)
    }
}

impl DerefMut for Lines {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}

/// Defines a function whose body is compiled for each of them; callees must be `#[inline(always)]` to take part.
macro_rules! vectorised {
    ($(#[$meta:meta])* $vis:vis fn $name:ident $(<$T:ident: $bound:ident>)? ($($arg:ident: $type:ty),* $(,)?)
     $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name $(<$T: $bound>)? ($($arg: $type),*) $(-> $ret)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn portable $(<$T: $bound>)? ($($arg: $type),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma,f16c")]
                #[allow(clippy::too_many_arguments)]
                fn avx2 $(<$T: $bound>)? ($($arg: $type),*) $(-> $ret)? {
                    portable($($arg),*)
                }
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx512 $(<$T: $bound>)? ($($arg: $type),*) $(-> $ret)? {
                    portable($($arg),*)
                }
                if std::arch::is_x86_feature_detected!("avx512f")
                    && std::arch::is_x86_feature_detected!("avx512bw")
                    && std::arch::is_x86_feature_detected!("avx512dq")
                    && std::arch::is_x86_feature_detected!("avx512vl")
                {
                    // SAFETY: the CPU has all these features; every one with AVX-512 has AVX2, FMA and F16C.
                    return unsafe { avx512($($arg),*) };
                }
                if std::arch::is_x86_feature_detected!("avx2")
                    && std::arch::is_x86_feature_detected!("fma")
                    && std::arch::is_x86_feature_detected!("f16c")
                {
                    // SAFETY: the CPU has these features.
                    return unsafe { avx2($($arg),*) };
                }
            }
            portable($($arg),*)
        }
    };
}
pub(crate) use vectorised;

/// Elements that a loop over a row takes at once where it can: as many independent operations as hide their latency.
pub const WIDE: usize = 4 * LANES;

/// Runs a body for each block of a row of `$length` elements, a multiple of [`LANES`]: `$at` is where the block begins,
/// `$n` its constant length, which lets the body's loops become vector instructions and its arrays registers.
macro_rules! blocks {
    ($length:expr, |$at:ident, $n:ident| $body:block) => {{
        let (length, mut $at) = ($length, 0);
        while $at + $crate::simd::WIDE <= length {
            const $n: usize = $crate::simd::WIDE;
            $body
            $at += $n;
        }
        while $at + $crate::simd::LANES <= length {
            const $n: usize = $crate::simd::LANES;
            $body
            $at += $n;
        }
    }};
}
pub(crate) use blocks;

/// Dot product of two rows of equal length, a multiple of [`LANES`].
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    dot_stored(a, b)
}

/// As [`dot`], of a row with itself.
#[inline(always)]
pub fn squares<T: Element>(row: &[T]) -> f32 {
    dot_stored(row, row)
}

#[inline(always)]
fn dot_stored<T: Element>(a: &[T], b: &[T]) -> f32 {
    let mut sum = 0.0;
    blocks!(a.len(), |at, N| {
        let (a, b) = (T::load::<N>(&a[at..]), T::load::<N>(&b[at..]));
        let mut product = [0f32; N];
        for j in 0..N {
            product[j] = a[j] * b[j];
        }
        let mut lanes = [0f32; LANES];
        if N == WIDE {
            for lane in 0..LANES {
                lanes[lane] = (product[lane] + product[lane + LANES])
                    + (product[lane + 2 * LANES] + product[lane + 3 * LANES]);
            }
        } else {
            lanes.copy_from_slice(&product[..LANES]);
        }
        sum += fold(lanes);
    });
    sum
}

/// Sum of the lanes, as a tree.
#[inline(always)]
pub fn fold(mut sum: [f32; LANES]) -> f32 {
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            sum[lane] += sum[lane + width];
        }
    }
    sum[0]
}

/// The values of a multiple of 16 numbers in f16. In a function compiled for AVX-512 it is inlined.
///
/// # Safety
/// The CPU has AVX-512F, and N is a multiple of 16.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
#[inline]
pub unsafe fn widen_avx512<const N: usize>(from: &[half::f16]) -> [f32; N] {
    use std::arch::x86_64::{_mm256_loadu_si256, _mm512_cvtph_ps, _mm512_storeu_ps};
    assert!(N.is_multiple_of(16) && from.len() == N);
    let mut out = [0f32; N];
    for lane in (0..N).step_by(16) {
        // SAFETY: both have N elements, of which sixteen begin at `lane`.
        unsafe {
            let wide = _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().add(lane).cast()));
            _mm512_storeu_ps(out.as_mut_ptr().add(lane), wide);
        }
    }
    out
}

/// As [`widen_avx512`], in a function compiled for AVX2.
///
/// # Safety
/// The CPU has F16C, and N is a multiple of 8.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx,f16c")]
#[inline]
pub unsafe fn widen_f16c<const N: usize>(from: &[half::f16]) -> [f32; N] {
    use std::arch::x86_64::{_mm_loadu_si128, _mm256_cvtph_ps, _mm256_storeu_ps};
    assert!(N.is_multiple_of(8) && from.len() == N);
    let mut out = [0f32; N];
    for lane in (0..N).step_by(8) {
        // SAFETY: both have N elements, of which eight begin at `lane`.
        unsafe {
            let wide = _mm256_cvtph_ps(_mm_loadu_si128(from.as_ptr().add(lane).cast()));
            _mm256_storeu_ps(out.as_mut_ptr().add(lane), wide);
        }
    }
    out
}

/// Asks for the cache lines of `n` elements from `start` on. Any address will do: nothing is read.
#[inline(always)]
pub fn prefetch<T>(start: *const T, n: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in 0..(n * size_of::<T>()).div_ceil(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch is a hint and faults on no address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(start.cast::<i8>().wrapping_add(64 * line)) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (start, n);
}

/// True if this CPU runs the compilation for AVX-512, which has twice the registers, of twice the lanes.
pub fn wide() -> bool {
    #[cfg(target_arch = "x86_64")]
    let wide = std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512bw")
        && std::arch::is_x86_feature_detected!("avx512dq")
        && std::arch::is_x86_feature_detected!("avx512vl");
    #[cfg(not(target_arch = "x86_64"))]
    let wide = false;
    wide
}

/// Which compilation of a [`vectorised!`] function this CPU runs.
pub fn kernels() -> &'static str {
    if wide() {
        return "AVX-512";
    }
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2")
        && std::arch::is_x86_feature_detected!("fma")
        && std::arch::is_x86_feature_detected!("f16c")
    {
        return "AVX2 with FMA";
    }
    "portable"
}

/// Vector features of this CPU that matter to kernels, whether used or not.
pub fn features() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    let known = [
        ("avx2", std::arch::is_x86_feature_detected!("avx2")),
        ("fma", std::arch::is_x86_feature_detected!("fma")),
        ("f16c", std::arch::is_x86_feature_detected!("f16c")),
        ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
        ("avx512bw", std::arch::is_x86_feature_detected!("avx512bw")),
        ("avx512dq", std::arch::is_x86_feature_detected!("avx512dq")),
        ("avx512vl", std::arch::is_x86_feature_detected!("avx512vl")),
    ];
    #[cfg(target_arch = "aarch64")]
    let known = [("neon", std::arch::is_aarch64_feature_detected!("neon"))];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let known: [(&str, bool); 0] = [];
    known.into_iter().filter_map(|(name, there)| there.then_some(name)).collect()
}
