//! What a training needs in memory, before it begins; of a GPU's own memory [`crate::backend::cuda::memory`] tells.

use serde::Serialize;

use crate::{
    backbone::{Form, LightGcn},
    backend::cpu::{expomf, rank},
    config::Config,
    data::{Interactions, Split},
    error::Result,
    model::Ranking,
    objective::{self, BranchInput, EXPOMF, ItemHead, Objective, Shape, TILE, Tile},
    sampling::SamplerKind,
};

/// Floats that rows of a table are padded to.
const LANES: u64 = 16;
/// Steps whose samples are drawn together.
const DRAWN_AHEAD: u64 = 16;
/// Touched rows of one task.
const TASK_ROWS: u64 = 64;
/// Code, libraries, stacks and small things: measured on x86-64 Linux.
const PROGRAM: u64 = 6 << 20;
/// What a thread needs to rank a block of users, apart from its users' packed embeddings.
const RANKING_SCRATCH: u64 = 2 << 20;
/// What the writing of a checkpoint needs beside its tensors.
const CHECKPOINT_SCRATCH: u64 = 2 << 20;
/// Users of such a block.
const RANKED_USERS: u64 = 96;

/// Bytes by what they are for, all of them needed at the same time: in an evaluation that finds a better model.
#[derive(Debug, Clone, Serialize)]
pub struct Estimate {
    /// The mapped interaction file; its pages can be taken back when memory is short.
    pub data: u64,
    /// Embeddings and branches, and Adam's two moments of each.
    pub tables: u64,
    /// Samples drawn ahead, gathered rows, scalars.
    pub batch: u64,
    /// LightGCN: layers, gradients, and the item-item product.
    pub propagation: u64,
    /// What users, items and interactions are drawn from.
    pub sampler: u64,
    /// The model under evaluation, the best one so far, and ranking.
    pub evaluation: u64,
    /// The program itself.
    pub program: u64,
    /// All of these, or more if a checkpoint and the gradients of large branches, which are there while nothing is
    /// evaluated, need more, or taking a validation split from train.
    pub peak: u64,
    /// What the same training takes of the host's memory when it runs on a GPU, apart from what the driver takes: the
    /// tables on their way, the model under evaluation, the best one so far, and a checkpoint while it is written.
    pub beside_gpu: u64,
}

impl Estimate {
    /// For a training of `config`, whose backbone is given, with `threads` threads on `data`, which took the place of
    /// data of `original_bytes` (0 if it did not).
    ///
    /// # Errors
    /// If settings cannot be used.
    pub fn new(
        data: &Interactions,
        original_bytes: u64,
        config: &Config,
        lightgcn: Option<LightGcn>,
        threads: u64,
    ) -> Result<Self> {
        if config.objective == EXPOMF {
            return Ok(Self::expomf(data, original_bytes, config, threads));
        }
        let sampler = config.sampler(data)?;
        let objective = objective::build(config, &sampler)?;
        Ok(Self::steps(data, original_bytes, config, objective.as_ref(), lightgcn, threads))
    }

    fn steps(
        data: &Interactions,
        original_bytes: u64,
        config: &Config,
        objective: &dyn Objective,
        lightgcn: Option<LightGcn>,
        threads: u64,
    ) -> Self {
        let (users, items) = (u64::from(data.users()), u64::from(data.items()));
        let rows = users + items;
        let layout = objective.layout();
        let shapes = layout.shapes(config.dim, lightgcn.is_some());
        let [user_stride, item_stride] =
            shapes.map(|Shape { parts, width }| parts as u64 * (width as u64).next_multiple_of(LANES));
        let train = data.count(Split::Train);
        let batch = u64::from(config.batch_size);

        let bias = if objective.item_head() == ItemHead::Bias { 4 * 4 * items } else { 0 };
        let constants = objective.item_constants().map_or(0, |constants| 4 * constants.len() as u64);
        let stored = config.storage.bytes() as u64;
        let own_users = batch.min(users);
        // As many distinct ones as even draws have on average: skewed draws have fewer.
        let own_items = (items as f64 * -libm::expm1(-2.0 * batch as f64 / items as f64)) as u64;
        let gathered = own_users * 4 * (user_stride + 2) + own_items * 4 * (item_stride + 2);
        // Three ids a row; for both sides slots and samples [2B], rows and starts [touched].
        let plan = 4 * (3 * batch + 2 * 2 * 2 * batch + 2 * (own_users + own_items));
        let scalars = batch.div_ceil(TILE as u64) * size_of::<Tile>() as u64
            + if layout.is_divided() { 4 } else { 3 } * 2 * 4 * batch;
        // In a step, each task of rows has its part of the branches' gradients; in an evaluation these are gone.
        let head = match config.branch.hidden() as u64 {
            0 => user_stride,
            hidden => hidden * (user_stride + 2) + 1,
        };
        let heads = [
            (objective.user_branch(), own_users, user_stride),
            (objective.item_branch(), own_items, item_stride),
        ];
        let branches: u64 = heads.iter().map(|&(has, ..)| if has { 3 * 4 * head } else { 0 }).sum();
        let gradients = |(has, touched, stride): (bool, u64, u64)| {
            4 * touched.div_ceil(TASK_ROWS) * (stride + if has { head } else { 0 })
        };
        // A penalty sums each task's rows, of two kinds, in f64.
        let sums = if objective.penalty().is_some() {
            own_items.div_ceil(TASK_ROWS) * 2 * 8 * item_stride
        } else {
            0
        };
        let step: u64 = heads.into_iter().map(gradients).sum::<u64>() + sums;
        let slots = 4 * rows * threads.min(DRAWN_AHEAD);
        let positions = match config.sampler {
            SamplerKind::UserUniform => 0,
            SamplerKind::Interaction => 8 * users + 4 * train / 64,
        };

        // Where branches score the parameters: these of the batch, and what their gradients have besides.
        let ego_rows = |(has, touched, stride): (bool, u64, u64)| {
            if has && config.branch_input == BranchInput::Ego { 2 * touched * 4 * stride } else { 0 }
        };
        let ego: u64 = heads.into_iter().map(ego_rows).sum();
        // Scaled parameters and two layers; slots; gradients and the same scaled; the product and its three tables.
        let propagation = lightgcn.map_or(0, |LightGcn { form, .. }| {
            // Propagated rows of users and items have one shape.
            let product = if form == Form::Gram { 4 * items * (items + 3 * item_stride) } else { 0 };
            rows * (3 * stored * item_stride + 4 + 8)
                + 2 * (own_users + own_items) * 4 * item_stride
                + ego
                + product
        });
        // A LightGCN model has its parameters too, and leaves its last layer for a moment beside them.
        let [user_columns, item_columns] = shapes.map(|shape| shape.columns() as u64);
        let own = 4 * (users * user_columns + items * item_columns);
        let model = own * if lightgcn.is_some() { 2 } else { 1 } + 4 * items + bias / 4;
        let ranking = ranking(data, config, threads);

        let own = |[user_columns, item_columns]: [u64; 2], parameter: u64| {
            (parameter + 8) * (users * user_columns + items * item_columns) + 8 * rows + branches + bias
        };
        let tables = own([user_stride, item_stride], stored) + constants;
        // A copy of the tables without padding, all in f32, while it is written.
        let checkpoint = own(shapes.map(|shape| shape.columns() as u64), 4) + CHECKPOINT_SCRATCH;
        // A better model is written from a copy of its tables in 16 bits.
        let saved = if stored < 4 { model / 2 } else { 0 };

        let mut estimate = Estimate {
            data: data.file_bytes(),
            tables,
            batch: gathered + DRAWN_AHEAD * plan + scalars,
            propagation,
            sampler: 4 * users + 4 * items + slots + positions,
            evaluation: 2 * model + ranking.max(saved),
            program: PROGRAM,
            peak: 0,
            beside_gpu: 0,
        };
        let sum = estimate.sum();
        let training = sum - estimate.evaluation + model + step + checkpoint;
        let carving = carving(data, original_bytes);
        estimate.peak = sum.max(training).max(carving);
        // Tables arrive with their padding, and stay allocated.
        let arrived = 4 * (users * user_stride + items * item_stride);
        let host = estimate.data + PROGRAM + constants + estimate.sampler - slots + arrived;
        estimate.beside_gpu = (host + model + checkpoint.max(model + saved)).max(carving);
        estimate
    }

    fn expomf(data: &Interactions, original_bytes: u64, config: &Config, threads: u64) -> Self {
        let (users, items, dim) = (u64::from(data.users()), u64::from(data.items()), config.dim as u64);
        let tables = 4 * (users + items) * dim + 4 * items;
        let saved = if config.storage.bytes() < 4 { tables / 2 } else { 0 };
        let mut estimate = Estimate {
            data: data.file_bytes(),
            tables,
            batch: 0,
            propagation: 0,
            sampler: 0,
            evaluation: 2 * tables + ranking(data, config, threads).max(saved),
            program: PROGRAM,
            peak: 0,
            beside_gpu: 0,
        };
        // In an iteration, the larger side in panels; in a checkpoint, two copies; in an evaluation both are gone.
        let iteration = 4 * users.max(items) * dim + threads * expomf::scratch_bytes(config.dim);
        let checkpoint = 2 * tables + CHECKPOINT_SCRATCH;
        let sum = estimate.sum();
        let training = sum - estimate.evaluation + tables + iteration.max(checkpoint);
        let carving = carving(data, original_bytes);
        estimate.peak = sum.max(training).max(carving);
        estimate.beside_gpu =
            (data.file_bytes() + PROGRAM + tables + checkpoint.max(tables + saved)).max(carving);
        estimate
    }

    /// What the training needs of the host's memory, by what it takes of a GPU's: `None` on the CPU.
    pub fn of_host(&self, gpu_memory: Option<u64>) -> u64 {
        if gpu_memory.is_some() { self.beside_gpu } else { self.peak }
    }

    fn sum(&self) -> u64 {
        self.parts().iter().map(|(_, bytes)| bytes).sum()
    }

    /// Names and bytes, without the peak.
    pub fn parts(&self) -> [(&'static str, u64); 7] {
        [
            ("data (mapped file)", self.data),
            ("tables and optimiser state", self.tables),
            ("batch buffers", self.batch),
            ("propagation", self.propagation),
            ("sampler", self.sampler),
            ("evaluation (two models, ranking)", self.evaluation),
            ("program", self.program),
        ]
    }
}

/// What the evaluations of a training need apart from its models.
fn ranking(data: &Interactions, config: &Config, threads: u64) -> u64 {
    evaluating(data, config.select, config.dim, &config.rankings(), &[config.k], threads)
}

/// What an evaluation on a split of `data` needs apart from its model, whose embeddings have size `dim`: `rankings`,
/// lists cut at each of `ks`.
pub fn evaluating(
    data: &Interactions,
    split: Split,
    dim: usize,
    rankings: &[Ranking],
    ks: &[usize],
    threads: u64,
) -> u64 {
    let by_user = data.by_user(split);
    let evaluated = (0..data.users()).filter(|&u| by_user.degree(u) > 0).count() as u64;
    let (items, variants) = (u64::from(data.items()), rankings.len() as u64);
    // A count for every item, starts and hits of every list.
    let counts = items * 4 * variants * ks.len() as u64;
    let lists = evaluated * (4 + 12 * variants) + data.count(split) * 8 * variants;
    let longest = ks.iter().copied().max().unwrap_or(0);
    listing(data.items(), dim, rankings, longest, threads) + counts + lists
}

/// What the making of lists of `k` of so many items needs apart from the model and the lists.
pub fn listing(items: u32, dim: usize, rankings: &[Ranking], k: usize, threads: u64) -> u64 {
    // Panels of items with their corrections.
    let panels = u64::from(items) * (4 * dim as u64 + 32);
    let scratch = RANKING_SCRATCH.max(rank::scratch_bytes(rankings, k, items as usize));
    panels + threads * (scratch + RANKED_USERS * 4 * dim as u64)
}

/// What splitting `data` needs beside it: another such file; 17 bytes an interaction for a part, an edge and a place in
/// the order; and where rows begin. That is, of a user, in the file and twice in the table of each of three splits, and
/// in the one being filled; of an item, in the file, twice in the split being filled, and in those that `data` lacks.
pub fn splitting(data: &Interactions) -> u64 {
    let (users, items) = (u64::from(data.users()), u64::from(data.items()));
    let begins = (3 * 3 + 1) * users + (3 + 2 + 1) * items;
    data.file_bytes() + 17 * data.count(Split::Train) + 8 * begins
}

/// What [`crate::data::profile::groupings`] needs beside `data`: of each row a count in three splits, where it begins
/// in those that `data` lacks, its group, and its place in the order.
pub fn grouping(data: &Interactions) -> u64 {
    (3 * 4 + 8 + 1 + 4) * (u64::from(data.users()) + u64::from(data.items()))
}

fn carving(data: &Interactions, original_bytes: u64) -> u64 {
    match original_bytes {
        0 => 0,
        original => original + splitting(data) + PROGRAM,
    }
}
