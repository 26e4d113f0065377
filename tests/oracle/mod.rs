//! Scalar f64 reference of the objectives, as close to the formulas as code can be; one thread, nothing shared with
//! the library.

use macr::objective::{ObjectiveConfig, Pairing};

/// Parameters of MF and the branches, row-major, f64.
#[derive(Debug, Clone)]
pub struct Params {
    pub dim: usize,
    pub p: Vec<f64>,
    pub q: Vec<f64>,
    pub v: Vec<f64>,
    pub w: Vec<f64>,
}

/// A batch: users, positives, negatives.
pub type Batch = [Vec<u32>; 3];

pub fn sigma(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}

fn softplus(z: f64) -> f64 {
    z.max(0.0) + (-z.abs()).exp().ln_1p()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

impl Params {
    fn user(&self, u: u32) -> &[f64] {
        &self.p[u as usize * self.dim..][..self.dim]
    }

    fn item(&self, i: u32) -> &[f64] {
        &self.q[i as usize * self.dim..][..self.dim]
    }

    /// Every parameter: p, q, v, w.
    fn parts(&mut self) -> [&mut Vec<f64>; 4] {
        [&mut self.p, &mut self.q, &mut self.v, &mut self.w]
    }
}

/// The whole loss of a batch: main + alpha L_I + beta L_U + L2.
pub fn loss(objective: &str, c: &ObjectiveConfig, l2: f64, params: &Params, [us, is, js]: &Batch) -> f64 {
    let b = us.len();
    let n = b as f64;
    // Each row's scalars once: a sum over all pairs would ask for them B times.
    let score = |items: &[u32]| -> Vec<f64> {
        (0..b).map(|r| dot(params.user(us[r]), params.item(items[r]))).collect()
    };
    let gate = |items: &[u32]| -> Vec<f64> {
        (0..b)
            .map(|r| {
                let s_i = if c.item_branch { sigma(dot(&params.w, params.item(items[r]))) } else { 1.0 };
                let s_u = if c.user_branch { sigma(dot(&params.v, params.user(us[r]))) } else { 1.0 };
                s_i * s_u
            })
            .collect()
    };
    let (score_i, score_j) = (score(is), score(js));
    let (gate_i, gate_j) = if objective == "macr" { (gate(is), gate(js)) } else { (vec![], vec![]) };
    let mut total = 0.0;
    for r in 0..b {
        match objective {
            "bce" => total += (softplus(-score_i[r]) + softplus(score_j[r])) / n,
            "bpr" => total += softplus(score_j[r] - score_i[r]) / n,
            "macr" => {
                match c.pairing {
                    Pairing::Rows => {
                        total += softplus(-score_i[r] * gate_i[r]) / n;
                        total += softplus(score_j[r] * gate_j[r]) / n;
                    }
                    Pairing::AllPairs => {
                        for s in 0..b {
                            total += softplus(-score_i[s] * gate_i[r]) / (n * n);
                            total += softplus(score_j[s] * gate_j[r]) / (n * n);
                        }
                    }
                }
                if c.item_branch {
                    let y = |i: u32| dot(&params.w, params.item(i));
                    total += f64::from(c.alpha) * (softplus(-y(is[r])) + softplus(y(js[r]))) / n;
                }
                if c.user_branch {
                    let y = dot(&params.v, params.user(us[r]));
                    total += f64::from(c.beta) * (softplus(-y) + softplus(y)) / n;
                }
            }
            other => panic!("the oracle does not know {other}: add it"),
        }
        let norm = |row: &[f64]| dot(row, row);
        total +=
            l2 / n / 2.0 * (norm(params.user(us[r])) + norm(params.item(is[r])) + norm(params.item(js[r])));
    }
    total
}

/// Gradient of [`loss`] by central differences, in one list: p, q, v, w.
pub fn gradient(objective: &str, c: &ObjectiveConfig, l2: f64, params: &Params, batch: &Batch) -> Vec<f64> {
    const H: f64 = 1e-5;
    let mut moved = params.clone();
    let mut all = Vec::new();
    for part in 0..4 {
        for k in 0..moved.parts()[part].len() {
            let mut at = |x: f64| {
                moved.parts()[part][k] += x;
                let value = loss(objective, c, l2, &moved, batch);
                moved.parts()[part][k] -= x;
                value
            };
            all.push((at(H) - at(-H)) / (2.0 * H));
        }
    }
    all
}
