//! Elementary functions of the scalar stages, in f32, from multiplications, divisions and fused multiply-adds only.
//!
//! They are written so that a loop over lanes vectorises, and give the same bits on every CPU of an architecture,
//! which the C library's do not promise.

use std::f32::consts::LOG2_E;

/// e^-x for x >= 0, relative error below 2e-7; e^-87 beyond 87, where it would leave the normal numbers.
#[inline(always)]
pub fn exp_neg(x: f32) -> f32 {
    // -x = n ln 2 + r, |r| <= ln 2 / 2; ln 2 = HIGH - EXCESS, and n HIGH is exact.
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_EXCESS: f32 = 2.121_944_4e-4;
    /// Adding and subtracting this rounds to an integer.
    const ROUND: f32 = 12_582_912.0;
    let y = -(if x < 87.0 { x } else { 87.0 });
    let shifted = y.mul_add(LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(LN_2_EXCESS, n.mul_add(-LN_2_HIGH, y));
    let p = r.mul_add(1.0 / 5040.0, 1.0 / 720.0);
    let p = r.mul_add(p, 1.0 / 120.0);
    let p = r.mul_add(p, 1.0 / 24.0);
    let p = r.mul_add(p, 1.0 / 6.0);
    let p = r.mul_add(p, 0.5);
    let p = r.mul_add(p, 1.0);
    let p = r.mul_add(p, 1.0);
    // The low bits of `shifted` are n: shift them into the exponent.
    p * f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000))
}

/// ln(1 + t) for t in [0, 1].
#[inline(always)]
pub fn ln_1p(t: f32) -> f32 {
    // 2 artanh(z) with z = t / (2 + t) <= 1/3.
    let z = t / (2.0 + t);
    let s = z * z;
    let p = s.mul_add(1.0 / 15.0, 1.0 / 13.0);
    let p = s.mul_add(p, 1.0 / 11.0);
    let p = s.mul_add(p, 1.0 / 9.0);
    let p = s.mul_add(p, 1.0 / 7.0);
    let p = s.mul_add(p, 1.0 / 5.0);
    let p = s.mul_add(p, 1.0 / 3.0);
    2.0 * z * s.mul_add(p, 1.0)
}

/// The logistic function.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    sigmoid_softplus(x).0
}

/// sigma(x) and softplus(x) = ln(1 + e^x), from one exponential.
#[inline(always)]
pub fn sigmoid_softplus(x: f32) -> (f32, f32) {
    let t = exp_neg(x.abs());
    let upper = 1.0 / (1.0 + t);
    let positive = x >= 0.0;
    (if positive { upper } else { t * upper }, (if positive { x } else { 0.0 }) + ln_1p(t))
}

/// Binary cross-entropy of logit `z` with label `y` (0 or 1): (loss, d loss / d z), in the stable form.
#[inline(always)]
pub fn bce(z: f32, y: f32) -> (f32, f32) {
    let (sigma, softplus) = sigmoid_softplus(z);
    (softplus - y * z, sigma - y)
}

/// The reference code's cross-entropy, -ln(sigma + e) or -ln(1 - sigma + e), rounded in f32 as there: its derivative
/// fades where sigma does, and is 0 for negatives above z = 17.3.
#[inline(always)]
pub fn bce_eps(z: f32, y: f32, e: f32) -> (f32, f32) {
    let s = sigmoid(z);
    let one_minus = 1.0 - s;
    let p = if y > 0.5 { s } else { one_minus } + e;
    let slope = s * one_minus / p;
    (-libm::logf(p), if y > 0.5 { -slope } else { slope })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_to_f64() {
        for k in -40_000..=40_000 {
            let x = k as f32 * 2.5e-3;
            let exact = f64::from(x);
            let e = exp_neg(x.abs().min(86.0));
            let expected = (-exact.abs().min(86.0)).exp();
            assert!((f64::from(e) / expected - 1.0).abs() < 2e-7, "exp(-{x}) = {e}, {expected}");
            let (sigma, softplus) = sigmoid_softplus(x);
            let t = (-exact.abs()).exp();
            let expected = exact.max(0.0) + t.ln_1p();
            assert!(
                (f64::from(softplus) / expected - 1.0).abs() < 4e-7 || x < -87.0,
                "softplus({x}) = {softplus}"
            );
            let expected = if x >= 0.0 { 1.0 / (1.0 + t) } else { t / (1.0 + t) };
            assert!((f64::from(sigma) / expected - 1.0).abs() < 4e-7 || x < -87.0, "sigma({x}) = {sigma}");
        }
        assert_eq!(sigmoid(1000.0), 1.0);
        assert!(sigmoid(-1000.0) < 1e-37);
    }

    #[test]
    fn the_reference_form_has_its_dead_zone() {
        assert_eq!(bce_eps(18.0, 0.0, 1e-10).1, 0.0);
        assert!((f64::from(bce_eps(18.0, 0.0, 1e-10).0) - 23.0259).abs() < 1e-3);
        for z in [-3.0f32, -0.1, 0.0, 2.0] {
            for y in [0.0, 1.0] {
                let ((l, d), (le, de)) = (bce(z, y), bce_eps(z, y, 1e-10));
                assert!((l - le).abs() < 1e-6 && (d - de).abs() < 1e-6);
            }
        }
    }
}
