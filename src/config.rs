//! The settings of a training: defaults, recipes and flags resolved into one value that is written to the run.

use serde::{Deserialize, Serialize};

use crate::{
    backbone::{Backbone, Propagation},
    backend::expomf::{self, ExposureConstant},
    data::{Interactions, Split},
    error::{Error, Result},
    model::Ranking,
    objective::{
        self, BranchInput, BranchKind, DiceLoss, EXPOMF, IpwScope, IpwVariant, Layout, Objective, Pairing,
        RegForm, RegNorm, cause::TREATMENT_SHARE,
    },
    optim::{Adam, CatchUp},
    sampling::{Negatives, Sampler, SamplerKind},
    storage::Storage,
};

/// Rankings that a training may choose among: their lists are all made at every evaluation.
const MOST_RANKINGS: usize = 10_000;

/// Everything that decides what a training computes; with the data it is the identity of a result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How final embeddings come from the parameters.
    pub backbone: Backbone,
    /// LightGCN: layers L.
    pub layers: usize,
    /// LightGCN: how the layers are computed.
    pub propagation: Propagation,
    /// Name of the objective, see [`crate::objective::REGISTRY`], or [`EXPOMF`].
    pub objective: String,
    /// MACR: which gates a match score meets in the main loss.
    pub pairing: Pairing,
    /// MACR: weight of the item branch's loss.
    pub alpha: f32,
    /// MACR: weight of the user branch's loss.
    pub beta: f32,
    /// MACR: form of the branches.
    pub branch: BranchKind,
    /// MACR on LightGCN: which embeddings the branches score.
    pub branch_input: BranchInput,
    /// MACR: false is the ablation without the user branch.
    pub user_branch: bool,
    /// MACR: false is the ablation without the item branch.
    pub item_branch: bool,
    /// IPW: how weights come from inverse propensities.
    pub ipw_variant: IpwVariant,
    /// IPW: whose weight a sample has.
    pub ipw_scope: IpwScope,
    /// IPW: true scales the weights to a mean of 1 over drawn positives.
    pub ipw_rescale: bool,
    /// IPW: exponent of the propensity.
    pub eta: f32,
    /// IPW: exponent s of the smoothed weights.
    pub smoothing: f32,
    /// Reg: weight of the regulariser.
    pub mu: f32,
    /// Reg: what is regularised.
    pub reg_form: RegForm,
    /// Reg: scale of the pairwise forms.
    pub reg_norm: RegNorm,
    /// CausE: most that the probability of an interaction to be in the debiased set may be.
    pub treatment_cap: f32,
    /// CausE: strength of the tie between the two sets' vectors; DICE: of what pushes the halves apart.
    pub nu: f32,
    /// DICE: form of the main loss.
    pub dice_loss: DiceLoss,
    /// DICE: weight of the interest loss.
    pub lambda_int: f32,
    /// DICE: weight of the conformity loss.
    pub lambda_pop: f32,
    /// ExpoMF: probability of exposure to every item that training begins with.
    pub exposure: f32,
    /// ExpoMF: constant of the density that exposures are computed with.
    pub exposure_constant: ExposureConstant,
    /// ExpoMF: first parameter of the Beta prior of an item's exposure.
    pub a0: f32,
    /// ExpoMF: second parameter of that prior.
    pub b0: f32,
    /// ExpoMF: precision of the users' embeddings.
    pub lambda_theta: f32,
    /// ExpoMF: precision of the items' embeddings.
    pub lambda_beta: f32,
    /// ExpoMF: precision of the observations.
    pub lambda_y: f32,
    /// ExpoMF: standard deviation of the initial embeddings.
    pub init_std: f32,
    /// Counterfactual reference scores to rank by; of several the best on the selection split is taken.
    #[serde(deserialize_with = "one_or_many")]
    pub c: Vec<f32>,
    /// Strengths of the popularity adjustment to rank by; of several the best on the selection split is taken.
    #[serde(deserialize_with = "one_or_many")]
    pub tau: Vec<f32>,
    /// How positives are drawn.
    pub sampler: SamplerKind,
    /// How negatives are drawn.
    pub negatives: Negatives,
    /// Embedding size D.
    pub dim: usize,
    /// The form in which embeddings are kept.
    pub storage: Storage,
    /// Rows of a batch B.
    pub batch_size: u32,
    /// Adam's learning rate.
    pub learning_rate: f32,
    /// Adam's decay of the first moment.
    pub adam_beta1: f32,
    /// Adam's decay of the second moment.
    pub adam_beta2: f32,
    /// L2 coefficient on the embeddings of a batch's rows.
    pub l2: f32,
    /// Most epochs to train.
    pub epochs: u64,
    /// Epochs from one evaluation to the next.
    pub eval_every: u64,
    /// Evaluations without improvement after which training stops; 0 never stops early.
    pub patience: u64,
    /// Split on which the epoch, c and tau are chosen; `test` is the paper's protocol.
    pub select: Split,
    /// Length of the lists that decide the selection.
    pub k: usize,
    /// Seed of initialisation and samples.
    pub seed: u64,
    /// The reference code's log(sigma + 1e-10), in its plain models log(sigma + 1e-9), instead of the stable form.
    pub eps_compat: bool,
    /// How Adam keeps up rows that a step does not touch.
    pub catch_up: CatchUp,
}

/// A number, or a list of numbers.
fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<f32>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Grid {
        One(f32),
        Many(Vec<f32>),
    }
    Ok(match Grid::deserialize(deserializer)? {
        Grid::One(x) => vec![x],
        Grid::Many(xs) => xs,
    })
}

impl Default for Config {
    fn default() -> Self {
        Config {
            backbone: Backbone::Mf,
            layers: 2,
            propagation: Propagation::Auto,
            objective: "bce".into(),
            pairing: Pairing::Rows,
            alpha: 1e-3,
            beta: 1e-3,
            branch: BranchKind::Linear,
            branch_input: BranchInput::Propagated,
            user_branch: true,
            item_branch: true,
            ipw_variant: IpwVariant::Cn,
            ipw_scope: IpwScope::Pair,
            ipw_rescale: true,
            eta: 1.0,
            smoothing: 0.5,
            mu: 1e-4,
            reg_form: RegForm::Cross,
            reg_norm: RegNorm::PairMean,
            treatment_cap: 0.5,
            nu: 0.01,
            dice_loss: DiceLoss::Bpr,
            lambda_int: 0.1,
            lambda_pop: 0.1,
            exposure: 0.01,
            exposure_constant: ExposureConstant::Exact,
            a0: 1.0,
            b0: 1.0,
            lambda_theta: 1e-5,
            lambda_beta: 1e-5,
            lambda_y: 1.0,
            init_std: 0.01,
            c: vec![0.0],
            tau: vec![0.0],
            sampler: SamplerKind::UserUniform,
            negatives: Negatives::Uniform,
            dim: 64,
            storage: Storage::F32,
            batch_size: 1024,
            learning_rate: 1e-3,
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            l2: 1e-5,
            epochs: 1000,
            eval_every: 10,
            patience: 10,
            select: Split::Valid,
            k: 20,
            seed: 0,
            eps_compat: false,
            catch_up: CatchUp::Quadrature,
        }
    }
}

impl Config {
    /// This configuration with the keys of `changes` replaced.
    ///
    /// # Errors
    /// [`Error::Unknown`] for a key that does not exist, naming the nearest; [`Error::Data`] for a value of the wrong
    /// type, [`Error::Config`] for one that cannot be used.
    pub fn with(&self, changes: toml::Table) -> Result<Self> {
        let mut table = toml::Table::try_from(self).map_err(|e| unusable(&e.to_string()))?;
        for (key, value) in changes {
            match table.get_mut(&key) {
                Some(slot) => *slot = value,
                None => return Err(Error::unknown("setting", &key, table.keys())),
            }
        }
        let config: Config = table.try_into().map_err(|e: toml::de::Error| unusable(&e.to_string()))?;
        config.check()?;
        Ok(config)
    }

    /// As TOML, as written to a run's `config.toml`.
    ///
    /// # Errors
    /// [`Error::Config`] if a value has no TOML form.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self)
            .map_err(|e| Error::config("config", e, "it has no TOML form", "use ordinary values"))
    }

    /// Name of the system: `mf`, `macr_mf`, `bpr_mf`, ...
    pub fn system(&self) -> String {
        match self.objective.as_str() {
            "bce" => self.backbone.to_string(),
            objective => format!("{objective}_{}", self.backbone),
        }
    }

    /// Refuses values that no training can use.
    ///
    /// # Errors
    /// [`Error::Config`] that names the first one.
    pub(crate) fn check(&self) -> Result<()> {
        let positive = |key, x: f32| {
            if x > 0.0 && x.is_finite() {
                Ok(())
            } else {
                Err(Error::config(key, x, "it must be positive", "use for example 1e-3"))
            }
        };
        let weight = |key, x: f32| {
            if x >= 0.0 && x.is_finite() {
                Ok(())
            } else {
                Err(Error::config(key, x, "it must not be negative", "use 0 or more"))
            }
        };
        objective::check(&self.objective)?;
        if self.objective == EXPOMF {
            self.expomf()?;
        }
        positive("learning-rate", self.learning_rate)?;
        weight("l2", self.l2)?;
        for (key, x) in [
            ("alpha", self.alpha),
            ("beta", self.beta),
            ("eta", self.eta),
            ("smoothing", self.smoothing),
            ("mu", self.mu),
            ("nu", self.nu),
            ("lambda-int", self.lambda_int),
            ("lambda-pop", self.lambda_pop),
        ] {
            weight(key, x)?;
        }
        let (share, cap) = (TREATMENT_SHARE as f32, self.treatment_cap);
        if !(share..=1.0).contains(&cap) {
            let problem = format!("it is from {share}, the share of the interactions that is debiased, to 1");
            return Err(Error::config("treatment-cap", cap, problem, "use for example 0.5"));
        }
        for (key, x) in [("adam-beta1", self.adam_beta1), ("adam-beta2", self.adam_beta2)] {
            if !(0.0..1.0).contains(&x) {
                return Err(Error::config(key, x, "a decay is from 0 to below 1", "use for example 0.9"));
            }
        }
        if self.catch_up == CatchUp::Quadrature && !self.adam().has_quadrature() {
            let (b1, b2) = (self.adam_beta1, self.adam_beta2);
            return Err(Error::config(
                "catch-up",
                self.catch_up,
                format!(
                    "with decays {b1} and {b2} the two-node rule is not exact to the rounding of a parameter"
                ),
                "use --catch-up replay",
            ));
        }
        for (key, value) in [
            ("dim", self.dim as u64),
            ("layers", self.layers as u64),
            ("k", self.k as u64),
            ("epochs", self.epochs),
            ("eval-every", self.eval_every),
        ] {
            if value == 0 {
                return Err(Error::config(key, value, "it must be at least 1", "use 1 or more"));
            }
        }
        if self.dim > 4096 {
            return Err(Error::config("dim", self.dim, "it is beyond every use", "use at most 4096"));
        }
        for (key, grid) in [("c", &self.c), ("tau", &self.tau)] {
            if grid.is_empty() || grid.iter().any(|x| !x.is_finite()) {
                let given: Vec<String> = grid.iter().map(ToString::to_string).collect();
                return Err(Error::config(
                    key,
                    given.join(","),
                    "it needs finite numbers",
                    "use for example 0,10,20",
                ));
            }
        }
        let rankings = self.c.len().saturating_mul(self.tau.len());
        if rankings > MOST_RANKINGS {
            let problem = format!("with those of c these are {rankings} rankings to choose among");
            let remedy = format!("use at most {MOST_RANKINGS}");
            return Err(Error::config("tau", format!("{} values", self.tau.len()), problem, remedy));
        }
        Ok(())
    }

    /// ExpoMF's part of the configuration.
    ///
    /// # Errors
    /// [`Error::Config`] for values that it cannot be trained with.
    pub fn expomf(&self) -> Result<expomf::Settings> {
        let &Config { dim, storage, seed, exposure, exposure_constant, a0, b0, init_std, .. } = self;
        let &Config { lambda_theta, lambda_beta, lambda_y, .. } = self;
        if self.backbone != Backbone::Mf {
            let problem = "expomf is a model of matrix factorisation alone";
            return Err(Error::config("backbone", self.backbone, problem, "use mf, or another --objective"));
        }
        for (key, x) in [
            ("lambda-theta", lambda_theta),
            ("lambda-beta", lambda_beta),
            ("lambda-y", lambda_y),
            ("init-std", init_std),
        ] {
            if !(x > 0.0 && x.is_finite()) {
                return Err(Error::config(key, x, "it must be positive", "use for example 0.01"));
            }
        }
        for (key, x) in [("a0", a0), ("b0", b0)] {
            if !(x >= 1.0 && x.is_finite()) {
                return Err(Error::config(key, x, "the prior has no mode below 1", "use 1 or more"));
            }
        }
        if !(exposure > 0.0 && exposure < 1.0) {
            let problem = "it is a probability, and neither 0 nor 1";
            return Err(Error::config("exposure", exposure, problem, "use for example 0.01"));
        }
        Ok(expomf::Settings {
            dim,
            lambda_theta,
            lambda_beta,
            lambda_y,
            a0,
            b0,
            exposure,
            init_std,
            constant: exposure_constant,
            storage,
            seed,
        })
    }

    /// Every ranking that the selection chooses among.
    pub fn rankings(&self) -> Vec<Ranking> {
        self.c.iter().flat_map(|&c| self.tau.iter().map(move |&tau| Ranking { c, tau })).collect()
    }

    /// Refuses what `objective` cannot be trained with.
    ///
    /// # Errors
    /// [`Error::Config`] for an embedding size that cannot be halved where the objective divides its rows so.
    pub fn fits(&self, objective: &dyn Objective) -> Result<()> {
        if objective.layout() == Layout::Halves && !self.dim.is_multiple_of(2) {
            let problem = format!("{} has two halves in a row", objective.name());
            return Err(Error::config("dim", self.dim, problem, "use an even number"));
        }
        Ok(())
    }

    /// The sampler of a training on `data`.
    ///
    /// # Errors
    /// As [`Sampler::new`].
    pub fn sampler<'a>(&self, data: &'a Interactions) -> Result<Sampler<'a>> {
        Sampler::new(data, self.sampler, self.negatives, self.batch_size, self.seed)
    }

    /// The optimiser's part of the configuration.
    pub fn adam(&self) -> Adam {
        let &Config { learning_rate, adam_beta1: beta1, adam_beta2: beta2, .. } = self;
        Adam { learning_rate, beta1, beta2, ..Adam::default() }
    }
}

/// Puts the setting's name, which toml tells on a line of its own, before the message.
fn unusable(error: &str) -> Error {
    let problem = match error.trim().rsplit_once("\nin `") {
        Some((message, key)) => format!("setting `{}: {message}", key.trim_end()),
        None => error.trim().to_owned(),
    };
    Error::data(problem, "see `macr train --help`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_checked_and_values_kept() {
        let config = Config::default()
            .with(toml::toml! { objective = "macr"
            pairing = "all_pairs"
            negatives = "popularity:0.5"
            c = [40.0] })
            .unwrap();
        assert_eq!((config.system().as_str(), config.pairing), ("macr_mf", Pairing::AllPairs));
        let again: Config = toml::from_str(&config.to_toml().unwrap()).unwrap();
        assert_eq!(again, config);
        let error = Config::default().with(toml::toml! { batchsize = 3 }).unwrap_err();
        assert!(error.to_string().contains("did you mean `batch_size`?"), "{error}");
        for bad in [
            toml::toml! { l2 = -1.0 },
            toml::toml! { dim = 0 },
            toml::toml! { c = [nan] },
            toml::toml! { dim = "x" },
            toml::toml! { nu = -0.1 },
            toml::toml! { treatment_cap = 0.09 },
            toml::toml! { treatment_cap = 1.01 },
            toml::toml! { treatment_cap = nan },
            toml::toml! { adam_beta1 = 1.0 },
            toml::toml! { adam_beta2 = 0.9 },
            toml::toml! { reg_form = "both" },
            toml::toml! { dice_loss = "both" },
            toml::toml! { objective = "expomf"
            exposure = 1.0 },
            toml::toml! { objective = "expomf"
            a0 = 0.5 },
            toml::toml! { objective = "expomf"
            backbone = "lightgcn" },
        ] {
            assert!(Config::default().with(bad).is_err());
        }
        let replay = toml::toml! { adam_beta2 = 0.9
        catch_up = "replay" };
        assert!(Config::default().with(replay).is_ok());
    }
}
