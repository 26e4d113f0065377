//! ExpoMF (Liang et al., WWW 2016): its constants, its state, and what a device does for it.
//!
//! A user has seen an item with probability mu_i; what was seen is consumed as matrix factorisation says, what was not
//! is not. Training is expectation maximisation: nothing is sampled, and every user meets every item.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Exchange, Snapshot, streams};
use crate::{
    error::{Error, Result},
    names::named,
    sampling::philox::philox,
    storage::Storage,
};

/// The constant of the Gaussian that an unobserved pair's exposure is weighed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ExposureConstant {
    /// sqrt(lambda_y / (2 pi)), the density's own.
    #[default]
    Exact,
    /// sqrt(lambda_y pi / 2), pi times that, and 1e-8 added to the density: what the reference code computes.
    Repo,
}

named!(ExposureConstant, "exposure constant", Exact = "exact", Repo = "repo");

/// The model's constants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Embedding size D.
    pub dim: usize,
    /// Precision of the users' embeddings.
    pub lambda_theta: f32,
    /// Precision of the items' embeddings.
    pub lambda_beta: f32,
    /// Precision of the observations.
    pub lambda_y: f32,
    /// First parameter of mu's Beta prior.
    pub a0: f32,
    /// Second parameter of mu's Beta prior.
    pub b0: f32,
    /// Initial mu of every item.
    pub exposure: f32,
    /// Standard deviation of the initial embeddings.
    pub init_std: f32,
    /// Constant of the density.
    pub constant: ExposureConstant,
    /// The form in which models keep embeddings; training has them in f32.
    pub storage: Storage,
    /// Seed of the initial embeddings.
    pub seed: u64,
}

/// Added to the density by the reference code.
pub const REPO_EPSILON: f64 = 1e-8;
/// mu keeps this far from 1: the rounding of an f32 just below it.
pub const MU_MARGIN: f64 = 1.0 / (1 << 24) as f64;

impl Settings {
    /// Logarithm of the density's constant c.
    pub fn ln_c(&self) -> f64 {
        let half = 0.5 * f64::from(self.lambda_y);
        0.5 * libm::log(match self.constant {
            ExposureConstant::Exact => half / std::f64::consts::PI,
            ExposureConstant::Repo => half * std::f64::consts::PI,
        })
    }

    /// The new mu of an item to which `exposed` of `users` users are expected to have been exposed.
    pub fn updated_mu(&self, exposed: f64, users: usize) -> f32 {
        let (a0, b0) = (f64::from(self.a0), f64::from(self.b0));
        let mu = (a0 - 1.0 + exposed) / (a0 + b0 - 2.0 + users as f64);
        mu.clamp(f64::from(f32::MIN_POSITIVE), 1.0 - MU_MARGIN) as f32
    }

    /// The part of the log posterior that no pair has: of the priors, without their constants.
    pub fn ln_prior(&self, state: &State) -> f64 {
        let square = |x: &[f32]| x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
        let beta = |&mu: &f32| {
            let mu = f64::from(mu);
            (f64::from(self.a0) - 1.0) * libm::log(mu) + (f64::from(self.b0) - 1.0) * libm::log1p(-mu)
        };
        state.mu.iter().map(beta).sum::<f64>()
            - 0.5 * f64::from(self.lambda_theta) * square(&state.theta)
            - 0.5 * f64::from(self.lambda_beta) * square(&state.beta)
    }
}

/// Everything that an iteration changes.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Users' embeddings, `[U, D]`.
    pub theta: Vec<f32>,
    /// Items' embeddings, `[I, D]`.
    pub beta: Vec<f32>,
    /// Probability of exposure to each item, `[I]`.
    pub mu: Vec<f32>,
    /// Iterations done.
    pub iteration: u64,
}

impl State {
    /// Normal embeddings of the settings' deviation, and one mu for all.
    pub fn new(users: usize, items: usize, settings: &Settings) -> Self {
        let &Settings { dim, init_std, seed, exposure, .. } = settings;
        let table = |rows: usize, stream| {
            let mut values = vec![0f32; rows * dim];
            for (row, values) in (0..).zip(values.chunks_exact_mut(dim)) {
                fill_normal(values, f64::from(init_std), seed, stream, row);
            }
            values
        };
        State {
            theta: table(users, streams::USERS),
            beta: table(items, streams::ITEMS),
            mu: vec![exposure; items],
            iteration: 0,
        }
    }

    /// Shows `exchange` everything.
    ///
    /// # Errors
    /// [`Error::Data`] if a state that is put in is of another training.
    pub fn exchange(&mut self, exchange: &mut Exchange<'_>) -> Result<()> {
        let (items, rows) = (self.mu.len(), self.beta.len());
        let dim = rows / items.max(1);
        exchange.step(&mut self.iteration);
        exchange.tensor("users.p", &[self.theta.len() / dim.max(1), dim], self.theta.as_mut_slice())?;
        exchange.tensor("items.p", &[items, dim], self.beta.as_mut_slice())?;
        exchange.tensor("exposure", &[items], self.mu.as_mut_slice())
    }
}

/// Fills `out` with normal numbers of standard deviation `std` (Box and Muller), four to a Philox block keyed by
/// (seed; stream, row).
fn fill_normal(out: &mut [f32], std: f64, seed: u64, stream: u32, row: u64) {
    let key = [seed as u32, (seed >> 32) as u32];
    for (block, out) in out.chunks_mut(4).enumerate() {
        // The last word keeps these counters apart from the samplers'.
        let words = philox([block as u32, row as u32, (row >> 32) as u32, 0x4e4f_524d + stream], key);
        let unit = words.map(|word| (f64::from(word) + 0.5) / 4_294_967_296.0);
        for (pair, out) in out.chunks_mut(2).enumerate() {
            let radius = std * (-2.0 * libm::log(unit[2 * pair])).sqrt();
            let (sin, cos) = libm::sincos(std::f64::consts::TAU * unit[2 * pair + 1]);
            out.iter_mut().zip([cos, sin]).for_each(|(out, x)| *out = (radius * x) as f32);
        }
    }
}

/// A training of ExpoMF on one device.
pub trait Em: fmt::Debug {
    /// One iteration: users' embeddings, items' embeddings, mu, each after an E-step of its own. Returns the log
    /// posterior of the new embeddings under the old mu, without the constants of its priors: no iteration lowers it.
    ///
    /// # Errors
    /// If the device fails, or normal equations cannot be solved.
    fn iterate(&mut self) -> Result<f64>;

    /// The state after the iterations done so far.
    ///
    /// # Errors
    /// If the device fails.
    fn state(&mut self) -> Result<State>;

    /// Continues from `state`.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If the state is of another shape.
    fn set_state(&mut self, state: State) -> Result<()>;

    /// The state in the form of checkpoints.
    ///
    /// # Errors
    /// If the device fails.
    fn save(&mut self) -> Result<super::State> {
        let mut state = super::State::default();
        self.state()?.exchange(&mut Exchange::Save(&mut state))?;
        Ok(state)
    }

    /// Continues from a checkpoint's state.
    ///
    /// # Errors
    /// [`Error::Data`] if it is of another training; if the device fails.
    fn restore(&mut self, state: &super::State) -> Result<()> {
        let mut own = self.state()?;
        let mut exchange = Exchange::Load { state, taken: 0 };
        own.exchange(&mut exchange)?;
        exchange.finish()?;
        self.set_state(own)
    }

    /// The embeddings after the iterations done so far, to rank by.
    ///
    /// # Errors
    /// If the device fails.
    fn snapshot(&mut self) -> Result<Box<dyn Snapshot + '_>>;
}

/// The error of normal equations that no ridge made solvable.
pub(super) fn unsolvable(settings: &Settings, row: usize, side: &'static str) -> Error {
    let (key, value) = match side {
        "user" => ("lambda-theta", settings.lambda_theta),
        _ => ("lambda-beta", settings.lambda_beta),
    };
    Error::config(
        key,
        value,
        format!("the normal equations of {side} {row} cannot be solved: its numbers are no longer finite"),
        "raise it, or lower --lambda-y",
    )
}
