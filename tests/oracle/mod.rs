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

    /// Every parameter in one list: p, q, v, w.
    pub fn flat(&mut self) -> impl Iterator<Item = &mut f64> {
        self.p.iter_mut().chain(&mut self.q).chain(&mut self.v).chain(&mut self.w)
    }
}

/// The whole loss of a batch: main + alpha L_I + beta L_U + L2.
pub fn loss(objective: &str, c: &ObjectiveConfig, l2: f64, params: &Params, [us, is, js]: &Batch) -> f64 {
    let b = us.len();
    let n = b as f64;
    let score = |r: usize, items: &[u32]| dot(params.user(us[r]), params.item(items[r]));
    let gate = |r: usize, items: &[u32]| {
        let s_i = if c.item_branch { sigma(dot(&params.w, params.item(items[r]))) } else { 1.0 };
        let s_u = if c.user_branch { sigma(dot(&params.v, params.user(us[r]))) } else { 1.0 };
        s_i * s_u
    };
    let mut total = 0.0;
    for r in 0..b {
        match objective {
            "bce" => total += (softplus(-score(r, is)) + softplus(score(r, js))) / n,
            "bpr" => total += softplus(score(r, js) - score(r, is)) / n,
            "macr" => {
                match c.pairing {
                    Pairing::Rows => {
                        total += softplus(-score(r, is) * gate(r, is)) / n;
                        total += softplus(score(r, js) * gate(r, js)) / n;
                    }
                    Pairing::AllPairs => {
                        for s in 0..b {
                            total += softplus(-score(s, is) * gate(r, is)) / (n * n);
                            total += softplus(score(s, js) * gate(r, js)) / (n * n);
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

/// Gradient of [`loss`] by central differences, in the order of [`Params::flat`].
pub fn gradient(objective: &str, c: &ObjectiveConfig, l2: f64, params: &Params, batch: &Batch) -> Vec<f64> {
    const H: f64 = 1e-5;
    let mut moved = params.clone();
    let n = moved.flat().count();
    (0..n)
        .map(|k| {
            let mut at = |x: f64| {
                *moved.flat().nth(k).unwrap() += x;
                let value = loss(objective, c, l2, &moved, batch);
                *moved.flat().nth(k).unwrap() -= x;
                value
            };
            (at(H) - at(-H)) / (2.0 * H)
        })
        .collect()
}
