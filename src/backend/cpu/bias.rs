//! The items' biases: one free scalar for each item.
//!
//! Adam moves all of them in every step. They are a vector of I: a step moves 32 bytes for each, which is less than it
//! would take to keep account of those that were not touched.

use super::{adam::adam_step, sample::Touched, team::Team};
use crate::{backend::Exchange, error::Result, optim::Adam, simd::vectorised};

/// Biases with their moments; they begin at 0.
#[derive(Debug)]
pub struct Bias {
    /// `[I]`.
    values: Vec<f32>,
    /// `[I]` each.
    moments: [Vec<f32>; 2],
    /// `[I]`: zero between steps.
    gradient: Vec<f32>,
}

/// Biases of a task.
const CHUNK: usize = 4096;

impl Bias {
    /// For this many items.
    pub fn new(items: usize) -> Self {
        let zeros = || vec![0f32; items];
        Bias { values: zeros(), moments: [zeros(), zeros()], gradient: zeros() }
    }

    /// `[I]`.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// `[I]`: first moments.
    pub fn first_moments(&self) -> &[f32] {
        &self.moments[0]
    }

    /// Shows `exchange` the biases, which are called `name`.
    ///
    /// # Errors
    /// As [`Exchange::tensor`].
    pub fn exchange(&mut self, name: &str, exchange: &mut Exchange<'_>) -> Result<()> {
        let [m, v] = &mut self.moments;
        for (part, values) in [("p", &mut self.values), ("m", m), ("v", v)] {
            exchange.tensor(format!("{name}.{part}"), &[values.len()], values.as_mut_slice())?;
        }
        Ok(())
    }

    /// Step `step` (from 1) of Adam, where `upstream`, `[2B]`, is dL/db by sample.
    pub fn update(&mut self, team: &Team, touched: &Touched, upstream: &[f32], adam: &Adam, step: u64) {
        let rate = adam.rate(step) as f32;
        for (slot, &item) in touched.rows.iter().enumerate() {
            let samples = touched.samples(slot).iter();
            self.gradient[item as usize] = samples.fold(0.0, |sum, &sample| sum + upstream[sample as usize]);
        }
        let [m, v] = &mut self.moments;
        let chunks = self.values.chunks_mut(CHUNK).zip(m.chunks_mut(CHUNK)).zip(v.chunks_mut(CHUNK));
        let mut tasks: Vec<_> = chunks.zip(self.gradient.chunks(CHUNK)).collect();
        team.for_each(&mut tasks, |(((p, m), v), g)| move_chunk(p, m, v, g, rate, adam));
        for &item in &touched.rows {
            self.gradient[item as usize] = 0.0;
        }
    }
}

vectorised! {
    fn move_chunk(p: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32], rate: f32, adam: &Adam) {
        for (((p, m), v), &g) in p.iter_mut().zip(m).zip(v).zip(g) {
            (*p, *m, *v) = adam_step(*p, *m, *v, g, rate, adam);
        }
    }
}
