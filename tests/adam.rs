//! Catching rows up: the two-node rule and the replay against step-by-step sums in f64, and against dense Adam bit by
//! bit.

use macr::{
    backend::cpu::{
        adam::{adam_step, current},
        table::Record,
    },
    optim::{Adam, CatchUp, Rules},
};

/// Deterministic numbers in [0, 1).
fn uniform(state: &mut u64) -> f64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 11) as f64 / (1u64 << 53) as f64
}

/// The missed steps in f64, one at a time.
fn exact(adam: &Adam, p: f32, m: f32, v: f32, last: u64, now: u64) -> f64 {
    let (b1, b2) = (f64::from(adam.beta1), f64::from(adam.beta2));
    let (mut p, mut m, mut v) = (f64::from(p), f64::from(m), f64::from(v));
    for t in last + 1..=now {
        m *= b1;
        v *= b2;
        let rate =
            f64::from(adam.learning_rate) * (1.0 - b2.powf(t as f64)).sqrt() / (1.0 - b1.powf(t as f64));
        p -= rate * m / (v.sqrt() + f64::from(adam.epsilon));
    }
    p
}

#[test]
fn two_nodes_are_the_sum_of_the_missed_steps() {
    let defaults = Adam::default();
    for adam in [
        defaults,
        Adam { beta1: 0.5, beta2: 0.99, ..defaults },
        Adam { beta1: 0.1, beta2: 0.98, ..defaults },
        Adam { beta1: 0.9, beta2: 0.9976, ..defaults },
    ] {
        assert!(adam.has_quadrature());
        check_two_nodes(adam);
    }
    for (beta1, beta2) in [(0.9, 0.99), (0.95, 0.9999), (0.0, 0.999), (0.5, 0.98)] {
        assert!(!Adam { beta1, beta2, ..defaults }.has_quadrature());
    }
}

fn check_two_nodes(adam: Adam) {
    let mut state = 1;
    for last in [1u64, 10, 300, 1000, 100_000] {
        for n in [1u64, 2, 3, 5, 13, 50, 255, 256, 257, 400, 5000] {
            let rules = Rules::new(adam, last + n);
            let rows = 256;
            let v: Vec<f32> =
                (0..rows).map(|_| 10f64.powf(-18.0 + 12.0 * uniform(&mut state)) as f32).collect();
            let m: Vec<f32> = v.iter().map(|v| v.sqrt() * (4.0 * uniform(&mut state) - 2.0) as f32).collect();
            let p: Vec<f32> = (0..rows).map(|_| (0.1 * uniform(&mut state) - 0.05) as f32).collect();
            let mut out = vec![0f32; rows];
            current(Record { p: &p, m: &m, v: &v }, last, &rules, &adam, CatchUp::Quadrature, &mut out);
            for k in 0..rows {
                let expected = exact(&adam, p[k], m[k], v[k], last, last + n);
                // Half a unit in the last place of the result, of the parameter, and 2^-20 of the movement itself.
                let moved = (expected - f64::from(p[k])).abs();
                let tolerance = 1.2e-7 * f64::from(p[k]).abs().max(expected.abs()) + 1e-6 * moved;
                let error = (f64::from(out[k]) - expected).abs();
                assert!(
                    error <= tolerance,
                    "{adam:?}, last {last}, n {n}, row {k}: {} for {expected}, off by {error:e}",
                    out[k]
                );
            }
        }
    }
}

#[test]
fn the_replay_is_dense_adam_bit_by_bit() {
    let adam = Adam::default();
    let mut state = 2;
    for last in [1u64, 7, 40_000] {
        for n in [1u64, 2, 17, 300] {
            let (p, m, v) = (0.03f32, 1e-4f32, (1e-9 * uniform(&mut state)) as f32);
            let mut dense = (p, m, v);
            for t in last + 1..=last + n {
                dense = adam_step(dense.0, dense.1, dense.2, 0.0, adam.rate(t) as f32, &adam);
            }
            let mut out = [0f32];
            current(
                Record { p: &[p], m: &[m], v: &[v] },
                last,
                &Rules::new(adam, last + n),
                &adam,
                CatchUp::Replay,
                &mut out,
            );
            assert_eq!(out[0].to_bits(), dense.0.to_bits());
        }
    }
}

#[test]
fn rules_do_not_depend_on_the_way_there() {
    let adam = Adam::default();
    let mut walked = Rules::new(adam, 0);
    for now in (0..1000).chain(20_500..21_500) {
        walked.advance(now);
        let fresh = Rules::new(adam, now);
        for last in [now.saturating_sub(1), now.saturating_sub(40), now.saturating_sub(700), 1] {
            if last > 0 && last <= now {
                assert_eq!(walked.get(last), fresh.get(last), "now {now}, last {last}");
            }
        }
    }
}
