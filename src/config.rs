//! The settings of a training: defaults, recipes and flags resolved into one value that is written to the run.

use serde::{Deserialize, Serialize};

use crate::{
    backbone::{Backbone, Propagation},
    data::Split,
    error::{Error, Result},
    model::Ranking,
    objective::{BranchKind, ObjectiveConfig, Pairing},
    optim::{Adam, CatchUp},
    sampling::{Negatives, SamplerKind},
    storage::Storage,
};

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
    /// Name of the objective, see [`crate::objective::REGISTRY`].
    pub objective: String,
    /// MACR: which gates a match score meets in the main loss.
    pub pairing: Pairing,
    /// MACR: weight of the item branch's loss.
    pub alpha: f32,
    /// MACR: weight of the user branch's loss.
    pub beta: f32,
    /// MACR: form of the branches.
    pub branch: BranchKind,
    /// MACR: false is the ablation without the user branch.
    pub user_branch: bool,
    /// MACR: false is the ablation without the item branch.
    pub item_branch: bool,
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
    /// The reference code's log(sigma + 1e-10) instead of the stable form.
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
            user_branch: true,
            item_branch: true,
            c: vec![0.0],
            tau: vec![0.0],
            sampler: SamplerKind::UserUniform,
            negatives: Negatives::Uniform,
            dim: 64,
            storage: Storage::F32,
            batch_size: 1024,
            learning_rate: 1e-3,
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
    fn check(&self) -> Result<()> {
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
        positive("learning-rate", self.learning_rate)?;
        weight("l2", self.l2)?;
        weight("alpha", self.alpha)?;
        weight("beta", self.beta)?;
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
                return Err(Error::config(
                    key,
                    format!("{grid:?}"),
                    "it needs finite numbers",
                    "use for example 0,10,20",
                ));
            }
        }
        Ok(())
    }

    /// Every ranking that the selection chooses among.
    pub fn rankings(&self) -> Vec<Ranking> {
        self.c.iter().flat_map(|&c| self.tau.iter().map(move |&tau| Ranking { c, tau })).collect()
    }

    /// The objective's part of the configuration.
    pub fn objective_config(&self) -> ObjectiveConfig {
        let &Config { alpha, beta, pairing, user_branch, item_branch, eps_compat, .. } = self;
        ObjectiveConfig { alpha, beta, pairing, user_branch, item_branch, eps_compat }
    }

    /// The optimiser's part of the configuration.
    pub fn adam(&self) -> Adam {
        Adam { learning_rate: self.learning_rate, ..Adam::default() }
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
        ] {
            assert!(Config::default().with(bad).is_err());
        }
    }
}
