//! `all_pairs`: MACR's main loss over all B x B pairs of match score and gate, from its rank-one argument.
//!
//! Every sum has the argument a_s g_r, so the match side is a function of one variable,
//! A(a) = sum_r (sigma(a g_r) - y) g_r / B^2, and so is the gate side, G(g) = sum_s (sigma(a_s g) - y) a_s / B^2.
//! sigma(a g) is analytic on the batch's box, so it is interpolated in *both* arguments at Chebyshev nodes: the batch
//! enters by its Chebyshev moments (2 fused multiply-adds a node and sample), the node functions follow from an
//! n x n matrix of sigmoids, and each sample evaluates a polynomial. The loss is the integral of A, known at a = 0.
//! B^2 sigmoids become n^2, n about 30. Term by term (the oracle, and the form with epsilon): [`brute_force`].

use super::{step::Scalars, team::Team};
use crate::{
    objective::{
        AllPairs, Lanes, NEGATIVE, Objective, POSITIVE, TILE,
        scalar::{bce_eps, sigmoid, sigmoid_softplus},
    },
    simd::{LANES, fold, vectorised},
};

/// Beyond this many nodes brute force is used: scores have then left every useful range.
const MOST_NODES: usize = 192;
/// Aimed relative error of the interpolation, below that of the f32 sums.
const TOLERANCE: f64 = 1e-8;

/// Fills every tile's main loss, dL/da and dL/dg from its scores and gates.
pub fn all_pairs(team: &Team, objective: &dyn Objective, form: AllPairs, rows: usize, scalars: &mut Scalars) {
    let gates: Vec<[Lanes; 2]> = scalars.tiles.iter().map(|tile| objective.gates(tile)).collect();
    for sample in [POSITIVE, NEGATIVE] {
        let column = |lanes: &mut dyn Iterator<Item = &Lanes>| -> Vec<f32> {
            let mut all: Vec<f32> = lanes.flatten().copied().collect();
            all.truncate(rows);
            all
        };
        let a = column(&mut scalars.tiles.iter().map(|t| &t.score[sample]));
        let g = column(&mut gates.iter().map(|g| &g[sample]));
        let label = if sample == POSITIVE { 1.0 } else { 0.0 };
        let sums = match form {
            AllPairs::Interpolated => {
                interpolated(team, &a, &g, label).unwrap_or_else(|| brute_force(team, &a, &g, label, None))
            }
            AllPairs::EpsCompat => brute_force(team, &a, &g, label, Some(1e-10)),
        };
        for (k, tile) in scalars.tiles.iter_mut().enumerate() {
            let at = k * TILE..rows.min((k + 1) * TILE);
            let n = at.len();
            tile.score_gradient[sample][..n].copy_from_slice(&sums.score_gradient[at.clone()]);
            tile.gate_gradient[sample][..n].copy_from_slice(&sums.gate_gradient[at.clone()]);
            for (lane, &loss) in sums.loss[at].iter().enumerate() {
                let before = if sample == POSITIVE { 0.0 } else { tile.loss[0][lane] };
                tile.loss[0][lane] = before + loss;
            }
        }
    }
}

/// The all-pairs sums of one label, `[B]` each.
#[derive(Debug, Clone)]
pub struct Sums {
    /// The loss of score s with every gate.
    pub loss: Vec<f32>,
    /// dL/da_s.
    pub score_gradient: Vec<f32>,
    /// dL/dg_r.
    pub gate_gradient: Vec<f32>,
}

/// Term by term; `epsilon` selects the reference code's loss.
pub fn brute_force(team: &Team, a: &[f32], g: &[f32], label: f32, epsilon: Option<f32>) -> Sums {
    let weight = 1.0 / (a.len() as f64 * a.len() as f64);
    let side = |own: &[f32], other: &[f32]| -> Vec<(f32, f32)> {
        let mut out: Vec<(f32, f32)> = own.iter().map(|&x| (x, 0.0)).collect();
        team.for_each(&mut out, |pair| {
            let (loss, slope) = pair_sums(pair.0, other, label, epsilon);
            *pair = ((loss * weight) as f32, (slope * weight) as f32);
        });
        out
    };
    let (loss, score_gradient) = side(a, g).into_iter().unzip();
    Sums { loss, score_gradient, gate_gradient: side(g, a).into_iter().map(|(_, slope)| slope).collect() }
}

vectorised! {
    /// Sums over y of the loss of logit x y and of its slope times y.
    fn pair_sums(x: f32, other: &[f32], label: f32, epsilon: Option<f32>) -> (f64, f64) {
        let mut sums = (0f64, 0f64);
        for block in other.chunks(256) {
            let (mut loss, mut slope) = ([0f32; LANES], [0f32; LANES]);
            for ys in block.chunks(LANES) {
                for (lane, &y) in ys.iter().enumerate() {
                    let (l, d) = match epsilon {
                        Some(e) => bce_eps(x * y, label, e),
                        None => {
                            let (sigma, softplus) = sigmoid_softplus(x * y);
                            (softplus - label * (x * y), sigma - label)
                        }
                    };
                    loss[lane] += l;
                    slope[lane] = d.mul_add(y, slope[lane]);
                }
            }
            sums.0 += loss.iter().map(|&x| f64::from(x)).sum::<f64>();
            sums.1 += slope.iter().map(|&x| f64::from(x)).sum::<f64>();
        }
        sums
    }
}

/// By interpolation; None where it would need more nodes than are worth it.
pub fn interpolated(team: &Team, a: &[f32], g: &[f32], label: f32) -> Option<Sums> {
    // The box holds a = 0, where the loss is known.
    let (a_box, g_box) = (Interval::around(a, true), Interval::around(g, false));
    let n_a = a_box.nodes(g_box.largest())?;
    let n_g = g_box.nodes(a_box.largest())?;
    let batch = a.len() as f64;
    let weight = 1.0 / (batch * batch);
    let label = f64::from(label);

    // sum_r g_r f(g_r) = sum_l nu_l f(gamma_l), and the same for a.
    let (nu_g, nu_a) = (node_weights(team, g, g_box, n_g), node_weights(team, a, a_box, n_a));
    let (alpha, gamma) = (a_box.points(n_a), g_box.points(n_g));
    let residual: Vec<f64> = alpha
        .iter()
        .flat_map(|&a| gamma.iter().map(move |&g| f64::from(sigmoid((a * g) as f32)) - label))
        .collect();
    let match_values: Vec<f64> = residual.chunks_exact(n_g).map(|row| dot64(row, &nu_g) * weight).collect();
    let mut gate_values = vec![0f64; n_g];
    for (row, nu) in residual.chunks_exact(n_g).zip(&nu_a) {
        for (value, r) in gate_values.iter_mut().zip(row) {
            *value += r * nu * weight;
        }
    }
    let match_side = coefficients(&match_values);
    let gate_side = coefficients(&gate_values);
    let mut loss = antiderivative(&match_side, a_box.half);
    // At a = 0 each of the B gates contributes ln 2 to the loss of a score.
    let at_zero = evaluate64(&loss, -a_box.centre / a_box.half);
    loss[0] += std::f64::consts::LN_2 / batch - at_zero;
    Some(Sums {
        loss: evaluate(team, a, a_box, &loss),
        score_gradient: evaluate(team, a, a_box, &match_side),
        gate_gradient: evaluate(team, g, g_box, &gate_side),
    })
}

/// An interval as centre and half-width.
#[derive(Debug, Clone, Copy)]
struct Interval {
    centre: f64,
    half: f64,
}

impl Interval {
    fn around(values: &[f32], with_zero: bool) -> Self {
        let start = if with_zero { 0.0 } else { values[0] };
        let (low, high) = values.iter().fold((start, start), |(low, high), &x| (low.min(x), high.max(x)));
        let (low, high) = (f64::from(low), f64::from(high));
        Interval { centre: (low + high) / 2.0, half: ((high - low) / 2.0).max(1e-6) }
    }

    fn largest(self) -> f64 {
        self.centre.abs() + self.half
    }

    /// Nodes for sigma(x y) as a function of x here, |y| up to `other`: its nearest pole is pi / other away from the
    /// real axis, and the error falls with the sum of the half-axes of the ellipse through it.
    fn nodes(self, other: f64) -> Option<usize> {
        let distance = std::f64::consts::PI / (other * self.half).max(1e-12);
        let rho = distance + (distance * distance + 1.0).sqrt();
        let n = (-TOLERANCE.ln() / rho.ln()).ceil().max(4.0);
        (n <= MOST_NODES as f64).then_some(n as usize)
    }

    /// Chebyshev points of the first kind.
    fn points(self, n: usize) -> Vec<f64> {
        (0..n).map(|k| self.centre + self.half * libm::cos(angle(k, n))).collect()
    }
}

fn angle(k: usize, n: usize) -> f64 {
    (k as f64 + 0.5) * std::f64::consts::PI / n as f64
}

fn dot64(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Weights nu such that sum_r x_r f(x_r) = sum_l nu_l f(node_l) for polynomials f of degree below n.
fn node_weights(team: &Team, x: &[f32], interval: Interval, n: usize) -> Vec<f64> {
    const BLOCK: usize = 512;
    let mut partial: Vec<(&[f32], Vec<f64>)> = x.chunks(BLOCK).map(|block| (block, Vec::new())).collect();
    team.for_each(&mut partial, |(block, out)| *out = moments(block, interval, n));
    let mut moment = vec![0f64; n];
    for (_, partial) in &partial {
        for (sum, part) in moment.iter_mut().zip(partial) {
            *sum += part;
        }
    }
    cosine_sums(&moment, |l| if l == 0 { 1.0 } else { 2.0 })
}

/// out_k = 1/n sum_l scale(l) values_l cos(l angle_k).
fn cosine_sums(values: &[f64], scale: impl Fn(usize) -> f64) -> Vec<f64> {
    let n = values.len();
    let scaled: Vec<f64> = values.iter().enumerate().map(|(l, v)| scale(l) * v / n as f64).collect();
    (0..n).map(|k| evaluate64(&scaled, libm::cos(angle(k, n)))).collect()
}

/// Chebyshev coefficients of the polynomial with these values at the nodes.
fn coefficients(values: &[f64]) -> Vec<f64> {
    let n = values.len();
    let mut out = vec![0f64; n];
    for (k, value) in values.iter().enumerate() {
        let x = libm::cos(angle(k, n));
        let (mut before, mut now) = (1.0, x);
        for (l, out) in out.iter_mut().enumerate() {
            *out += value * before * if l == 0 { 1.0 } else { 2.0 } / n as f64;
            (before, now) = (now, 2.0 * x * now - before);
        }
    }
    out
}

/// Coefficients of an antiderivative, for a variable that is `half` times the Chebyshev one.
fn antiderivative(c: &[f64], half: f64) -> Vec<f64> {
    let at = |k: usize| c.get(k).copied().unwrap_or(0.0);
    let mut out = vec![0f64; c.len() + 1];
    for (k, out) in out.iter_mut().enumerate().skip(1) {
        let below = if k == 1 { 2.0 * at(0) } else { at(k - 1) };
        *out = half * (below - at(k + 1)) / (2.0 * k as f64);
    }
    out
}

/// Clenshaw's recurrence.
fn evaluate64(c: &[f64], x: f64) -> f64 {
    let (mut b1, mut b2) = (0.0, 0.0);
    for &c in c.iter().skip(1).rev() {
        (b1, b2) = (c + 2.0 * x * b1 - b2, b1);
    }
    c.first().copied().unwrap_or(0.0) + x * b1 - b2
}

/// The series at every x, in parallel.
fn evaluate(team: &Team, x: &[f32], interval: Interval, c: &[f64]) -> Vec<f32> {
    let c: Vec<f32> = c.iter().map(|&c| c as f32).collect();
    let mut out = vec![0f32; x.len()];
    let mut tasks: Vec<(&mut [f32], &[f32])> = out.chunks_mut(TILE).zip(x.chunks(TILE)).collect();
    team.for_each(&mut tasks, |(out, x)| clenshaw(x, interval, &c, out));
    out
}

vectorised! {
    fn clenshaw(x: &[f32], interval: Interval, c: &[f32], out: &mut [f32]) {
        let (centre, scale) = (interval.centre as f32, (1.0 / interval.half) as f32);
        let mut t = [0f32; TILE];
        for (t, &x) in t.iter_mut().zip(x) {
            *t = (x - centre) * scale;
        }
        // As many independent recurrences as hide the latency of one.
        for (t, out) in t.chunks_exact(2 * LANES).zip(out.chunks_mut(2 * LANES)) {
            let (mut b1, mut b2) = ([0f32; 2 * LANES], [0f32; 2 * LANES]);
            for &c in c[1..].iter().rev() {
                for lane in 0..2 * LANES {
                    let b = (2.0 * t[lane]).mul_add(b1[lane], c - b2[lane]);
                    b2[lane] = b1[lane];
                    b1[lane] = b;
                }
            }
            for (lane, out) in out.iter_mut().enumerate() {
                *out = t[lane].mul_add(b1[lane], c[0] - b2[lane]);
            }
        }
    }
}

vectorised! {
    /// sum_r x_r T_l(x_r) for l below n, T_l in the interval's own variable.
    fn moments(x: &[f32], interval: Interval, n: usize) -> Vec<f64> {
        let (centre, scale) = (interval.centre as f32, (1.0 / interval.half) as f32);
        let mut out = vec![0f64; n];
        for x in x.chunks(2 * LANES) {
            let (mut weight, mut t) = ([0f32; 2 * LANES], [0f32; 2 * LANES]);
            for (lane, &x) in x.iter().enumerate() {
                (weight[lane], t[lane]) = (x, (x - centre) * scale);
            }
            // The recurrence runs on weight x T_l.
            let (mut before, mut now) = ([0f32; 2 * LANES], weight);
            for lane in 0..2 * LANES {
                before[lane] = t[lane] * weight[lane];
            }
            for out in &mut out {
                let mut sum = [0f32; LANES];
                for lane in 0..LANES {
                    sum[lane] = now[lane] + now[lane + LANES];
                }
                *out += f64::from(fold(sum));
                for lane in 0..2 * LANES {
                    // T_{l+1} = 2 t T_l - T_{l-1}, begun with T_{-1} = T_1.
                    let next = (2.0 * t[lane]).mul_add(now[lane], -before[lane]);
                    before[lane] = now[lane];
                    now[lane] = next;
                }
            }
        }
        out
    }
}
