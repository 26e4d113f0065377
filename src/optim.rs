//! Adam with dense semantics at the cost of the touched rows.
//!
//! Every row of every table moves at every step, as in the reference code (TensorFlow's form):
//! `m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; p -= lr_t m / (sqrt(v) + eps)` with
//! `lr_t = lr sqrt(1 - b2^t) / (1 - b1^t)`, t counted from 1. A row that steps t+1..=t+n did not touch has g = 0 in
//! them, so it can be caught up when it is next read: step by step ([`CatchUp::Replay`], bitwise equal to the dense
//! form) or by a two-node Gauss rule ([`CatchUp::Quadrature`]): the missed steps move an element by
//! `-m sum_k w_k / (sqrt(v) b2^(k/2) + eps)`, `w_k = lr_{t+k} b1^k`, whose summand is smooth in k and whose weights do
//! not depend on the element. The rule's error is below the rounding of the parameter (`tests/adam.rs`).

use std::{collections::VecDeque, sync::OnceLock};

use serde::{Deserialize, Serialize};

use crate::names::named;

/// Adam's constants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// Learning rate.
    pub learning_rate: f32,
    /// Decay of the first moment, b1.
    pub beta1: f32,
    /// Decay of the second moment, b2.
    pub beta2: f32,
    /// Added to sqrt(v), not bias-corrected.
    pub epsilon: f32,
}

const SETTLED: f64 = 1.0 / (1u64 << 30) as f64;

impl Default for Adam {
    fn default() -> Self {
        Adam { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
    }
}

impl Adam {
    /// `lr_t` of step `t` (from 1); exactly `lr` once the corrections are below 2^-30.
    pub fn rate(&self, t: u64) -> f64 {
        let (c1, c2) = (power(f64::from(self.beta1), t), power(f64::from(self.beta2), t));
        let rate = f64::from(self.learning_rate);
        if c1.max(c2) < SETTLED { rate } else { rate * (1.0 - c2).sqrt() / (1.0 - c1) }
    }

    /// True if the two-node rule is exact to the rounding of a parameter: if b1^n ends within the longest gap with a
    /// rule of its own, and sqrt(b2)^n hardly changes before it does.
    pub fn has_quadrature(&self) -> bool {
        (0.1..=0.9).contains(&self.beta1) && 1.0 - self.beta2 <= 0.025 * (1.0 - self.beta1)
    }

    /// True if every step from `t` on has the same rate.
    fn settled(&self, t: u64) -> bool {
        power(f64::from(self.beta1.max(self.beta2)), t) < SETTLED
    }
}

/// How rows are brought up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum CatchUp {
    /// Two evaluations, whatever the gap.
    #[default]
    Quadrature,
    /// Every missed step, in the order of operations of the dense form.
    Replay,
}

named!(CatchUp, "catch-up", Quadrature = "quadrature", Replay = "replay");

/// `base^exponent` by repeated squaring: the same bits everywhere.
pub fn power(base: f64, mut exponent: u64) -> f64 {
    let (mut result, mut square) = (1.0, base);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result *= square;
        }
        square *= square;
        exponent >>= 1;
    }
    result
}

/// `b1^n`. A first moment that would leave the normal numbers is as good as zero, and denormals are slow.
fn first_decay(b1: f64, n: u64) -> f32 {
    let decay = power(b1, n);
    if decay < 1e-25 { 0.0 } else { decay as f32 }
}

/// A two-node rule for n missed steps, and how the moments decay over them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rule {
    /// Weights of the nodes.
    pub weight: [f32; 2],
    /// b2^(x/2) at the nodes x.
    pub root: [f32; 2],
    /// b1^n.
    pub decay1: f32,
    /// b2^n.
    pub decay2: f32,
}

/// Gaps up to this have their own rule; beyond, b1^n is below 1e-11 and the sum has ended.
const LONGEST: usize = 256;

/// The rules for every gap n before one step; see [`Rules::get`].
#[derive(Debug, Clone)]
pub struct Rules {
    adam: Adam,
    /// Steps done: rows are brought to the state after this one.
    now: u64,
    /// `[LONGEST + 1]` by n: computed when first asked for, since a batch meets only some gaps.
    recent: Vec<OnceLock<Rule>>,
    /// `[LONGEST + 1]` by n: moments 0 to 3 of the weights of n missed steps, about the last touched step.
    moments: Vec<[f64; 4]>,
    decays: Vec<[f32; 2]>,
    /// Rates of the last [`LONGEST`] steps up to `now`, the latest last.
    rates: VecDeque<f64>,
}

impl Rules {
    /// Rules for rows that are to be brought to the state after step `now`.
    pub fn new(adam: Adam, now: u64) -> Self {
        let (b1, b2) = (f64::from(adam.beta1), f64::from(adam.beta2));
        let decays = (0..=LONGEST as u64).map(|n| [first_decay(b1, n), power(b2, n) as f32]).collect();
        let mut rules =
            Rules { adam, now: 0, recent: Vec::new(), moments: Vec::new(), decays, rates: VecDeque::new() };
        rules.advance(now);
        rules
    }

    /// The step whose state rows are brought to.
    #[inline(always)]
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Moves on (or back) to rows that are to be brought to the state after step `now`.
    pub fn advance(&mut self, now: u64) {
        let before = std::mem::replace(&mut self.now, now);
        if before.min(now) > LONGEST as u64 && self.adam.settled(before.min(now) - LONGEST as u64) {
            return;
        }
        let window = now.min(LONGEST as u64);
        let known = if before <= now && now - before < window { window - (now - before) } else { 0 };
        while self.rates.len() as u64 > known {
            self.rates.pop_front();
        }
        self.rates.extend((now - (window - self.rates.len() as u64) + 1..=now).map(|t| self.adam.rate(t)));
        self.recent.clear();
        self.recent.resize(window as usize + 1, OnceLock::new());
        // The last touched step moves back one at a time: k becomes k + 1 for the terms that were there, and a first
        // term enters.
        let b1 = f64::from(self.adam.beta1);
        let mut moment = [0f64; 4];
        self.moments.clear();
        self.moments.push(moment);
        for n in 1..=window {
            let [m0, m1, m2, m3] = moment;
            let first = self.rates[(window - n) as usize];
            moment = [m0, m0 + m1, m0 + 2.0 * m1 + m2, m0 + 3.0 * (m1 + m2) + m3].map(|m| b1 * (m + first));
            self.moments.push(moment);
        }
    }

    /// The rule for a row that was last touched in step `last`.
    #[inline(always)]
    pub fn get(&self, last: u64) -> Rule {
        let n = self.now - last;
        if n as usize > LONGEST {
            return self.long(last);
        }
        *self.recent[n as usize].get_or_init(|| self.rule(n, self.moments[n as usize]))
    }

    /// A gap beyond the table: the first [`LONGEST`] terms are the sum, the decays go on.
    #[cold]
    fn long(&self, last: u64) -> Rule {
        let (b1, b2) = (f64::from(self.adam.beta1), f64::from(self.adam.beta2));
        let (mut moment, mut decay) = ([0f64; 4], 1.0);
        for k in 1..=LONGEST as u64 {
            decay *= b1;
            let (w, x) = (self.adam.rate(last + k) * decay, k as f64);
            moment = [moment[0] + w, moment[1] + w * x, moment[2] + w * x * x, moment[3] + w * x * x * x];
        }
        let n = self.now - last;
        Rule { decay1: first_decay(b1, n), decay2: power(b2, n) as f32, ..self.rule(LONGEST as u64, moment) }
    }

    /// Gauss rule of two nodes from the first four moments, through mean, variance and third central moment.
    fn rule(&self, n: u64, [m0, m1, m2, m3]: [f64; 4]) -> Rule {
        if n == 0 {
            return Rule { decay1: 1.0, decay2: 1.0, root: [1.0; 2], weight: [0.0; 2] };
        }
        let half_log = 0.5 * libm::log(f64::from(self.adam.beta2));
        let [decay1, decay2] = self.decays[n as usize];
        let mean = m1 / m0;
        let variance = m2 / m0 - mean * mean;
        let (nodes, weights) = if n == 1 || variance <= 0.0 {
            ([mean, mean], [m0, 0.0])
        } else {
            let third = m3 / m0 - 3.0 * mean * m2 / m0 + 2.0 * mean * mean * mean;
            let skew = third / (2.0 * variance);
            let spread = (skew * skew + variance).sqrt();
            let (low, high) = (skew - spread, skew + spread);
            ([mean + low, mean + high], [m0 * high / (high - low), -m0 * low / (high - low)])
        };
        Rule {
            weight: weights.map(|w| w as f32),
            root: nodes.map(|x| libm::exp(half_log * x) as f32),
            decay1,
            decay2,
        }
    }
}

impl Rules {
    /// The rules of gaps beyond the table by the step that touched last, for rates that all are the same from the last
    /// entry on: `[settled + 1]`. Their decays are those of the longest gap inside the table.
    pub fn ended(adam: Adam) -> Vec<Rule> {
        let rules = Rules::new(adam, 0);
        let settled = (1..).find(|&t| adam.settled(t)).unwrap_or(u64::MAX);
        // As in `advance`, backwards from rates without change.
        let (b1, mut moment) = (f64::from(adam.beta1), [0f64; 4]);
        let mut push = |rate: f64| {
            let [m0, m1, m2, m3] = moment;
            moment = [m0, m0 + m1, m0 + 2.0 * m1 + m2, m0 + 3.0 * (m1 + m2) + m3].map(|m| b1 * (m + rate));
            rules.rule(LONGEST as u64, moment)
        };
        for _ in 0..LONGEST {
            push(adam.rate(settled));
        }
        let mut ended: Vec<Rule> = (0..=settled).rev().map(|last| push(adam.rate(last + 1))).collect();
        ended.reverse();
        ended
    }
}
