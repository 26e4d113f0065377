//! A branch: the logit y of one row, its derivatives, and Adam on its parameters.

use super::{adam::adam_step, table::fill_uniform};
use crate::{
    backend::state::{Exchange, Place, pad, unpadded},
    error::Result,
    model,
    objective::BranchKind,
    optim::Adam,
    simd::{LANES, dot},
};

/// Parameters of a branch with their moments; dense Adam.
#[derive(Debug)]
pub struct Branch {
    dim: usize,
    hidden: usize,
    parameters: Vec<f32>,
    moments: [Vec<f32>; 2],
}

/// The parameters of a branch, to be read by many.
///
/// Linear: `w [stride]`. MLP: `W1 [H, stride], b1 [H], w2 [H], b2`, one after the other. Columns beyond D are zero and
/// stay so.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    hidden: usize,
    stride: usize,
    parameters: &'a [f32],
}

impl Branch {
    /// Xavier-uniform matrices, +-sqrt(6 / (inputs + outputs)); biases 0. `stream` tells branches of one seed apart.
    pub fn new(kind: BranchKind, dim: usize, seed: u64, stream: u32) -> Self {
        let (stride, hidden) = (dim.next_multiple_of(LANES), kind.hidden());
        let mut parameters = vec![0f32; if hidden == 0 { stride } else { hidden * (stride + 2) + 1 }];
        let bound = |inputs: usize, outputs: usize| (6.0 / (inputs + outputs) as f64).sqrt();
        let outputs = hidden.max(1);
        for (row, w) in parameters.chunks_exact_mut(stride).take(outputs).enumerate() {
            fill_uniform(&mut w[..dim], bound(dim, outputs), seed, stream, row as u64);
        }
        if hidden > 0 {
            let w2 = &mut parameters[hidden * (stride + 1)..][..hidden];
            fill_uniform(w2, bound(hidden, 1), seed, stream, hidden as u64);
        }
        Branch {
            dim,
            hidden,
            moments: [vec![0.0; parameters.len()], vec![0.0; parameters.len()]],
            parameters,
        }
    }

    /// The parameters.
    pub fn head(&self) -> Head<'_> {
        Head { hidden: self.hidden, stride: self.dim.next_multiple_of(LANES), parameters: &self.parameters }
    }

    /// Step `step` (from 1) of Adam.
    pub fn update(&mut self, gradient: &[f32], adam: &Adam, step: u64) {
        let rate = adam.rate(step) as f32;
        let [m, v] = &mut self.moments;
        for (((p, m), v), &g) in self.parameters.iter_mut().zip(m).zip(v).zip(gradient) {
            (*p, *m, *v) = adam_step(*p, *m, *v, g, rate, adam);
        }
    }

    /// The branch without padding.
    pub fn export(&self) -> model::Branch {
        self.unpad(&self.parameters)
    }

    /// The first moments, laid out as the branch.
    pub fn first_moments(&self) -> model::Branch {
        self.unpad(&self.moments[0])
    }

    /// True if all parameters are finite.
    pub fn is_finite(&self) -> bool {
        self.parameters.iter().all(|x| x.is_finite())
    }

    /// Shows `exchange` the branch, which is called `name`: each part `[D]` of a linear branch, of an MLP
    /// `[H (D + 2) + 1]`, laid out as [`Head`] without its padding.
    ///
    /// # Errors
    /// As [`Exchange::tensor`].
    pub fn exchange(&mut self, name: &str, exchange: &mut Exchange<'_>) -> Result<()> {
        let (dim, rows) = (self.dim, self.hidden.max(1));
        let size = self.parameters.len() - rows * (dim.next_multiple_of(LANES) - dim);
        let [m, v] = &mut self.moments;
        for (part, values) in [("p", &mut self.parameters), ("m", m), ("v", v)] {
            exchange.tensor(format!("{name}.{part}"), &[size], &mut Part { values, rows, dim })?;
        }
        Ok(())
    }

    fn unpad(&self, values: &[f32]) -> model::Branch {
        let stride = self.dim.next_multiple_of(LANES);
        if self.hidden == 0 {
            return model::Branch::Linear { weight: values[..self.dim].to_vec() };
        }
        let (w1, rest) = values.split_at(self.hidden * stride);
        let (b1, rest) = rest.split_at(self.hidden);
        let (w2, b2) = rest.split_at(self.hidden);
        model::Branch::Mlp {
            w1: w1.chunks_exact(stride).flat_map(|row| &row[..self.dim]).copied().collect(),
            b1: b1.to_vec(),
            w2: w2.to_vec(),
            b2: b2[0],
        }
    }
}

/// Rows of D columns with their padding, and what follows them.
struct Part<'a> {
    values: &'a mut Vec<f32>,
    rows: usize,
    dim: usize,
}

impl Place<f32> for Part<'_> {
    fn get(&self) -> Result<Vec<f32>> {
        let stride = self.dim.next_multiple_of(LANES);
        let (matrix, rest) = self.values.split_at(self.rows * stride);
        Ok([&unpadded(matrix, stride, self.dim), rest].concat())
    }

    fn set(&mut self, values: &[f32]) -> Result<()> {
        let stride = self.dim.next_multiple_of(LANES);
        let (matrix, rest) = self.values.split_at_mut(self.rows * stride);
        let (from, from_rest) = values.split_at(self.rows * self.dim);
        pad(from, matrix, stride, self.dim);
        rest.copy_from_slice(from_rest);
        Ok(())
    }
}

impl<'a> Head<'a> {
    /// Number of parameters, padding included: the length of a gradient.
    #[inline(always)]
    pub fn size(&self) -> usize {
        self.parameters.len()
    }

    /// `W1 [H, stride], b1 [H], w2 [H], b2` of an MLP.
    #[inline(always)]
    fn layers(&self) -> (&'a [f32], &'a [f32], &'a [f32], f32) {
        let (w1, rest) = self.parameters.split_at(self.hidden * self.stride);
        let (b1, rest) = rest.split_at(self.hidden);
        let (w2, b2) = rest.split_at(self.hidden);
        (w1, b1, w2, b2[0])
    }

    /// y of the row `x`, `[stride]`.
    #[inline(always)]
    pub fn logit(&self, x: &[f32]) -> f32 {
        if self.hidden == 0 {
            return dot(self.parameters, x);
        }
        let (w1, b1, w2, b2) = self.layers();
        let mut y = b2;
        for ((w, &b), &out) in w1.chunks_exact(self.stride).zip(b1).zip(w2) {
            y = out.mul_add((dot(w, x) + b).max(0.0), y);
        }
        y
    }

    /// Sets dL/dx and adds the gradient of the parameters, where `upstream` is dL/dy of the row `x`.
    #[inline(always)]
    pub fn backward(&self, x: &[f32], upstream: f32, dx: &mut [f32], gradient: &mut [f32]) {
        if self.hidden == 0 {
            dx.iter_mut().zip(self.parameters).for_each(|(dx, &w)| *dx = upstream * w);
            axpy(upstream, x, gradient);
            return;
        }
        dx.fill(0.0);
        let (w1, b1, w2, _) = self.layers();
        let (d_w1, rest) = gradient.split_at_mut(w1.len());
        let (d_b1, rest) = rest.split_at_mut(self.hidden);
        let (d_w2, d_b2) = rest.split_at_mut(self.hidden);
        d_b2[0] += upstream;
        for (k, (w, d_w)) in w1.chunks_exact(self.stride).zip(d_w1.chunks_exact_mut(self.stride)).enumerate()
        {
            let h = dot(w, x) + b1[k];
            if h > 0.0 {
                let d = upstream * w2[k];
                d_w2[k] = upstream.mul_add(h, d_w2[k]);
                d_b1[k] += d;
                axpy(d, w, dx);
                axpy(d, x, d_w);
            }
        }
    }
}

/// y += a x.
#[inline(always)]
fn axpy(a: f32, x: &[f32], y: &mut [f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = a.mul_add(x, *y);
    }
}
