//! Scalar f64 reference of the objectives, as close to the formulas as code can be; one thread, nothing shared with
//! the library.

use std::borrow::Cow;

use macr::{
    Config,
    objective::{DiceLoss, IpwScope, Pairing},
};

mod methods;

/// Parameters of the backbone and the heads, row-major, f64.
#[derive(Debug, Clone, Default)]
pub struct Params {
    /// Columns of a user's and of an item's row: D, or 2 D where CausE has two vectors in it.
    pub dim: usize,
    pub item_dim: usize,
    /// Hidden units of the branches, 0 if they are linear.
    pub hidden: usize,
    /// LightGCN; without it the parameters are the embeddings.
    pub graph: Option<Graph>,
    /// The branches score the parameters rather than the embeddings.
    pub ego: bool,
    pub p: Vec<f64>,
    pub q: Vec<f64>,
    pub v: Vec<f64>,
    pub w: Vec<f64>,
    /// BS: a bias for each item.
    pub b: Vec<f64>,
}

/// What methods need to know of the training interactions and how they are drawn.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Interactions of each item.
    pub counts: Vec<u32>,
    /// How often each item is drawn as a positive, relative to the others.
    pub drawn: Vec<f64>,
    pub seed: u64,
}

/// The graph that embeddings are propagated along.
#[derive(Debug, Clone)]
pub struct Graph {
    pub edges: Vec<(u32, u32)>,
    pub layers: usize,
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
        &self.q[i as usize * self.item_dim..][..self.item_dim]
    }

    /// Final embeddings of users and items: the mean over layers of A~^l times the parameters.
    fn embeddings(&self) -> [Cow<'_, [f64]>; 2] {
        let Some(Graph { edges, layers }) = &self.graph else {
            return [Cow::Borrowed(&self.p), Cow::Borrowed(&self.q)];
        };
        let d = self.dim;
        let mut degree = [vec![0f64; self.p.len() / d], vec![0f64; self.q.len() / d]];
        for &(u, i) in edges {
            degree[0][u as usize] += 1.0;
            degree[1][i as usize] += 1.0;
        }
        let mut layer = [self.p.clone(), self.q.clone()];
        let mut sum = layer.clone();
        for _ in 0..*layers {
            let mut next = [vec![0f64; self.p.len()], vec![0f64; self.q.len()]];
            for &(u, i) in edges {
                let (u, i) = (u as usize, i as usize);
                let weight = 1.0 / (degree[0][u] * degree[1][i]).sqrt();
                for k in 0..d {
                    next[0][u * d + k] += weight * layer[1][i * d + k];
                    next[1][i * d + k] += weight * layer[0][u * d + k];
                }
            }
            layer = next;
            for side in 0..2 {
                sum[side].iter_mut().zip(&layer[side]).for_each(|(sum, x)| *sum += x);
            }
        }
        sum.map(|sum| sum.into_iter().map(|x| x / (layers + 1) as f64).collect())
    }

    /// The logit of a branch with parameters `w` for the embedding `x`.
    fn logit(&self, w: &[f64], x: &[f64]) -> f64 {
        let (h, d) = (self.hidden, self.dim);
        if h == 0 {
            return dot(w, x);
        }
        let (b1, w2, b2) = (&w[h * d..], &w[h * (d + 1)..], w[h * (d + 2)]);
        b2 + (0..h).map(|k| w2[k] * (dot(&w[k * d..][..d], x) + b1[k]).max(0.0)).sum::<f64>()
    }

    /// Every parameter: p, q, v, w, b.
    fn parts(&mut self) -> [&mut Vec<f64>; 5] {
        [&mut self.p, &mut self.q, &mut self.v, &mut self.w, &mut self.b]
    }
}

/// The whole loss of a batch: main + alpha L_I + beta L_U + penalty + L2.
pub fn loss(objective: &str, c: &Config, l2: f64, facts: &Facts, params: &Params, batch: &Batch) -> f64 {
    let [us, is, js] = batch;
    let b = us.len();
    let n = b as f64;
    let [e_users, e_items] = params.embeddings();
    let user = |u: u32| &e_users[u as usize * params.dim..][..params.dim];
    let item = |i: u32| &e_items[i as usize * params.item_dim..][..params.item_dim];
    let y_user = |u: u32| params.logit(&params.v, if params.ego { params.user(u) } else { user(u) });
    let y_item = |i: u32| params.logit(&params.w, if params.ego { params.item(i) } else { item(i) });
    // Each row's scalars once: a sum over all pairs would ask for them B times.
    let score = |items: &[u32]| -> Vec<f64> { (0..b).map(|r| dot(user(us[r]), item(items[r]))).collect() };
    // Of two vectors in a row, the scores of the first and of the second ones.
    let h = params.item_dim / 2;
    let halves = |r: usize, i: u32| {
        let (p, q) = (user(us[r]), item(i));
        [dot(&p[..h], &q[..h]), dot(&p[p.len() - h..], &q[h..])]
    };
    let treated: Vec<bool> = match objective {
        "cause" => (0..b).map(|r| methods::is_treatment(c, facts, us[r], is[r])).collect(),
        _ => vec![],
    };
    let in_group = |group: bool| treated.iter().filter(|&&t| t == group).count() as f64;
    let weights = if objective == "ipw" { methods::weights(c, facts) } else { vec![] };
    let gate = |items: &[u32]| -> Vec<f64> {
        (0..b)
            .map(|r| {
                let s_i = if c.item_branch { sigma(y_item(items[r])) } else { 1.0 };
                let s_u = if c.user_branch { sigma(y_user(us[r])) } else { 1.0 };
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
            "reg" => total += (softplus(-score_i[r]) + softplus(score_j[r])) / n,
            "bs" => {
                let z = [(is, &score_i), (js, &score_j)].map(|(items, a)| a[r] + params.b[items[r] as usize]);
                total += (softplus(-z[0]) + softplus(z[1])) / n;
            }
            "ipw" => {
                let (w_i, w_j) = (weights[is[r] as usize], weights[js[r] as usize]);
                let w_j = match c.ipw_scope {
                    IpwScope::Pair => w_i,
                    IpwScope::Positive => 1.0,
                    IpwScope::Own => w_j,
                };
                total += (w_i * softplus(-score_i[r]) + w_j * softplus(score_j[r])) / n;
            }
            "cause" => {
                let set = usize::from(treated[r]);
                let (a_i, a_j) = (halves(r, is[r])[set], halves(r, js[r])[set]);
                total += (softplus(-a_i) + softplus(a_j)) / in_group(treated[r]);
            }
            "dice" => {
                let ([x_i, y_i], [x_j, y_j]) = (halves(r, is[r]), halves(r, js[r]));
                let (x, y) = (x_i - x_j, y_i - y_j);
                total += match c.dice_loss {
                    DiceLoss::Bpr => softplus(-x - y),
                    DiceLoss::Bce => softplus(-x_i - y_i) + softplus(x_j + y_j),
                } / n;
                if facts.counts[js[r] as usize] > facts.counts[is[r] as usize] {
                    total += f64::from(c.lambda_int) * softplus(-x) / n;
                    total += f64::from(c.lambda_pop) * softplus(y) / n;
                } else {
                    total += f64::from(c.lambda_pop) * softplus(-y) / n;
                }
            }
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
                    total += f64::from(c.alpha) * (softplus(-y_item(is[r])) + softplus(y_item(js[r]))) / n;
                }
                if c.user_branch {
                    let y = y_user(us[r]);
                    total += f64::from(c.beta) * (softplus(-y) + softplus(y)) / n;
                }
            }
            other => panic!("the oracle does not know {other}: add it"),
        }
        // On the parameters, not on what they are propagated to.
        let norm = |row: &[f64]| dot(row, row);
        total +=
            l2 / n / 2.0 * (norm(params.user(us[r])) + norm(params.item(is[r])) + norm(params.item(js[r])));
    }
    total + methods::penalty(objective, c, facts, [params.dim, params.item_dim], [&e_users, &e_items], batch)
}

/// Gradient of [`loss`] by central differences, in one list: p, q, v, w, b.
pub fn gradient(
    objective: &str,
    c: &Config,
    l2: f64,
    facts: &Facts,
    params: &Params,
    batch: &Batch,
) -> Vec<f64> {
    const H: f64 = 1e-5;
    let mut moved = params.clone();
    let mut all = Vec::new();
    for part in 0..5 {
        for k in 0..moved.parts()[part].len() {
            let mut at = |x: f64| {
                moved.parts()[part][k] += x;
                let value = loss(objective, c, l2, facts, &moved, batch);
                moved.parts()[part][k] -= x;
                value
            };
            all.push((at(H) - at(-H)) / (2.0 * H));
        }
    }
    all
}
