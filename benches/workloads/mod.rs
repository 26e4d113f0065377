//! What is measured on a GPU. `tests/cuda_workloads.rs` trains the same on the device and on the CPU, and compares.
#![allow(dead_code)]

use std::path::Path;

use macr::{
    Config, Interactions,
    backend::{Backend, Settings, cpu::Cpu},
    data::synth::{self, Preset, Spec},
    objective::{self, BranchKind, Objective, Pairing},
    optim::{Adam, CatchUp},
    sampling::{Negatives, Sampler, SamplerKind},
    storage::Storage,
};

/// A dataset and the size of a batch and of an embedding.
#[derive(Debug, Clone, Copy)]
pub struct Workload {
    /// Of the dataset, and of its file without extension.
    pub name: &'static str,
    preset: Preset,
    /// Rows of a batch.
    pub batch: u32,
    /// Embedding size D.
    pub dim: usize,
    /// Form of the parameters.
    pub storage: Storage,
    /// The dataset is so many times smaller than the one that is named.
    shrunk: u32,
}

/// An objective and its pairing.
pub type Loss = (&'static str, Pairing);

impl Workload {
    /// News reading: small tables, in the cache of a GPU.
    pub const ADRESSA: Workload = Workload {
        name: "adressa-like",
        preset: Preset::AdressaLike,
        batch: 1024,
        dim: 64,
        storage: Storage::F32,
        shrunk: 1,
    };
    /// Film ratings: large batches, tables beyond the cache.
    pub const ML10M: Workload = Workload {
        name: "ml10m-like",
        preset: Preset::Ml10mLike,
        batch: 8192,
        dim: 64,
        storage: Storage::F32,
        shrunk: 1,
    };
    /// The same with half the bytes of parameters.
    pub const ML10M_F16: Workload = Workload { storage: Storage::F16, ..Workload::ML10M };
    pub const ALL: [Workload; 3] = [Workload::ADRESSA, Workload::ML10M, Workload::ML10M_F16];

    /// Those whose kernels are measured one by one.
    pub const LOSSES: [Loss; 3] =
        [("bce", Pairing::Rows), ("macr", Pairing::Rows), ("macr", Pairing::AllPairs)];

    /// Every objective, and what pairs all rows.
    pub fn losses() -> Vec<Loss> {
        let by_rows = objective::REGISTRY.iter().map(|&(name, ..)| (name, Pairing::Rows));
        by_rows.chain([("macr", Pairing::AllPairs)]).collect()
    }

    /// The same in small, for the emulator.
    pub fn small(self) -> Workload {
        Workload { batch: 96, shrunk: 20, ..self }
    }

    /// As records name it.
    pub fn shape(&self) -> String {
        let form = if self.storage == Storage::F32 { String::new() } else { format!(" {}", self.storage) };
        format!("{} B={} D={}{form}", self.sized_name(), self.batch, self.dim)
    }

    /// As records name what depends on no batch.
    pub fn tables(&self) -> String {
        format!("{} D={}", self.sized_name(), self.dim)
    }

    /// As records name lists of `k` for all users.
    pub fn ranked(&self, k: usize) -> String {
        format!("{} D={} K={k}", self.sized_name(), self.dim)
    }

    fn sized_name(&self) -> String {
        format!("{}{}", if self.shrunk > 1 { "small " } else { "" }, self.name)
    }

    /// The dataset's settings; `macr synth --preset` makes the same.
    fn spec(&self) -> Spec {
        let (spec, n) = (self.preset.spec(), self.shrunk);
        let test_per_item = if n > 1 { 1 } else { spec.test_per_item };
        Spec {
            users: spec.users / n,
            items: spec.items / n,
            interactions: spec.interactions / u64::from(n),
            test_per_item,
            ..spec
        }
    }

    /// The dataset, from its file in `folder` or else generated.
    pub fn data(&self, folder: Option<&Path>) -> Interactions {
        let file =
            folder.filter(|_| self.shrunk == 1).map(|folder| folder.join(self.name).with_extension("macr"));
        match file.filter(|file| file.is_file()) {
            Some(file) => Interactions::open(file).expect("an interaction file"),
            None => synth::generate(&self.spec()).expect("a preset").0,
        }
    }

    pub fn sampler<'a>(&self, data: &'a Interactions) -> Sampler<'a> {
        Sampler::new(data, SamplerKind::UserUniform, Negatives::Uniform, self.batch, 1).expect("it fits")
    }

    /// With the paper's weights of the branches' losses.
    pub fn objective(&self, data: &Interactions, (objective, pairing): Loss) -> Box<dyn Objective> {
        let config =
            Config { objective: objective.into(), alpha: 1e-3, beta: 1e-3, pairing, ..Config::default() };
        objective::build(&config, &self.sampler(data)).expect("it is in the registry")
    }

    pub fn settings(&self) -> Settings {
        Settings {
            dim: self.dim,
            storage: self.storage,
            lightgcn: None,
            adam: Adam::default(),
            catch_up: CatchUp::Quadrature,
            branch: BranchKind::Linear,
            branch_input: Default::default(),
            l2: 1e-5,
            seed: 1,
        }
    }

    /// A training on the CPU.
    pub fn cpu<'a>(&self, data: &'a Interactions, loss: Loss) -> impl Backend + 'a {
        let size = (data.users(), data.items());
        Cpu::new(size, self.sampler(data), self.objective(data, loss), self.settings()).expect("it fits")
    }
}
