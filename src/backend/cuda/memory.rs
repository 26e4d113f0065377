//! What a training and its evaluations take of a device's memory, and what a GPU cannot train.

use super::{
    Device, Purpose,
    branch::Mlp,
    metrics::{Counts, OnDevice},
    params::{APPLY_WINDOW, LONGEST_GAP, PENALTY_BLOCKS, STEP_BLOCKS, STEP_THREADS},
    propagation,
    rank::{self, Ranked, Sizes},
    table::{MOST_COLUMNS, parts},
};
use crate::{
    backend::{Settings, cpu::table::Parts},
    config::Config,
    data::{Interactions, Split, graph::Graph},
    error::{Error, Result},
    objective::{BranchKind, ItemHead, Objective, PARTS},
    sampling::{Sampler, negatives::NegativeSampler},
};

/// Most steps of a chunk, and most rows of its batches together: the samples of a chunk are drawn at once, with two
/// blocks of threads a step, and wait in device memory.
const CHUNK_STEPS: u32 = 64;
const CHUNK_ROWS: u32 = 1 << 19;

/// How the rows of users and items are divided.
pub(super) fn divided(objective: &dyn Objective, settings: &Settings) -> [Parts; 2] {
    parts(objective.layout(), settings.dim, settings.lightgcn.is_some())
}

/// Steps of a chunk for batches of up to `batch` rows.
pub(super) fn chunk(batch: u32) -> u32 {
    (CHUNK_ROWS / batch.max(1)).clamp(1, CHUNK_STEPS)
}

/// Most distinct users and items of a batch.
pub(super) fn slots(batch: u32, [users, items]: [u32; 2]) -> [usize; 2] {
    [batch.min(users) as usize, (2 * u64::from(batch)).min(u64::from(items)) as usize]
}

/// Bytes of device memory that a training of `objective` with `sampler` on `users` x `items` takes: tables,
/// interactions, batches, and the copy of the final embeddings that an evaluation makes.
pub fn memory(
    sampler: &Sampler<'_>,
    [users, items]: [u32; 2],
    objective: &dyn Objective,
    settings: &Settings,
) -> u64 {
    let (b, s) = (u64::from(sampler.batch()), u64::from(chunk(sampler.batch())));
    let [user_w, item_w] = divided(objective, settings).map(|parts| parts.stride() as u64);
    let [user_slots, item_slots] = slots(sampler.batch(), [users, items]).map(|n| n as u64);
    let (users, items) = (u64::from(users), u64::from(items));
    let host = sampler.tables();
    let interactions = 8 * host.train.offsets.len() as u64
        + 4 * (host.train.indices.len() + host.eligible.len() + host.block_user.len()) as u64
        + 8 * host.before.len() as u64
        + 20 * items;
    let margin = match host.negatives {
        NegativeSampler::Margin(pools) => 4 * (pools.before.len() as u64 + 2 * items),
        _ => 0,
    };
    let stored = settings.storage.bytes() as u64;
    let table = |rows: u64, w: u64| rows * ((stored + 8) * w + 8 + 4 * w);
    let tables = table(users, user_w) + table(items, item_w);
    let constants = objective.item_constants().map_or(0, |constants| 4 * constants.len() as u64);
    let biases = if objective.item_head() == ItemHead::Bias { 12 * items } else { 0 };
    // Beyond this, some devices group the samples in device memory.
    let scratch = if b > 8192 { 32 * b } else { 0 };
    let groups = if objective.grouped() { b / 8 + 16 } else { 0 };
    let batches = s * (12 * b + 2 * 4 * 8 * b + scratch + groups + 16 * (u64::from(LONGEST_GAP) + 1) + 64);
    let gathered = user_slots * (4 * user_w + 12) + item_slots * (4 * item_w + 12);
    let ego = settings.has_ego_branches(objective);
    // Beside the batch's rows and, in an evaluation, beside the final embeddings.
    let ego_rows = if ego { user_slots * 4 * user_w + (item_slots + items) * 4 * item_w } else { 0 };
    let step_blocks = b.div_ceil(u64::from(STEP_THREADS / 32)).min(u64::from(STEP_BLOCKS));
    let second = if objective.layout().is_divided() { 2 } else { 0 };
    let scalars = 4 * b * (2 + 2 + 1 + 8 + second) + step_blocks * (8 * item_w + 8 * PARTS as u64);
    let windows = (2 * b).div_ceil(u64::from(APPLY_WINDOW)) * (8 * (user_w + item_w) + 24);
    let penalty = match objective.penalty() {
        Some(_) => 2 * u64::from(PENALTY_BLOCKS) * (16 * item_w + 24) + 32 * item_w,
        None => 0,
    };
    let propagation = settings.lightgcn.map_or(0, |lightgcn| {
        // Rows of both sides have as many columns.
        propagation::memory(&Graph::new(sampler.data()), lightgcn, item_w as usize, settings.storage)
            + (user_slots + item_slots) * 4 * item_w
    });
    let mlp = |wanted: bool, slots| match settings.branch {
        BranchKind::Linear if !ego => 0,
        kind if wanted => Mlp::memory(kind.hidden(), item_w, slots),
        _ => 0,
    };
    let mlps = mlp(objective.user_branch(), user_slots) + mlp(objective.item_branch(), item_slots);
    let of_data = interactions + margin + constants;
    let of_steps = batches + gathered + ego_rows + scalars + windows + penalty;
    of_data + tables + biases + of_steps + propagation + mlps + (1 << 20)
}

/// Bytes of device memory that an evaluation in a training of `config` on `data` takes, beside the copy of the final
/// embeddings: who is ranked for, items in tiles, and lists in the making.
pub fn evaluation(device: &Device, data: &Interactions, config: &Config, ranked: Ranked) -> u64 {
    let relevant = data.by_user(config.select);
    let sizes = Sizes {
        users: (0..data.users()).filter(|&user| relevant.degree(user) > 0).count(),
        items: data.items() as usize,
        variants: config.rankings().len(),
        k: config.k,
    };
    let rows = data.users() as usize;
    let audience =
        OnDevice::memory(rows, sizes.users, &[data.count(Split::Train)], data.count(config.select));
    audience + Counts::memory(sizes, data.count(config.select), 1) + rank::memory(device, sizes, ranked)
}

/// By what `objective` ranks.
pub fn ranked(objective: &dyn Objective, settings: &Settings) -> Ranked {
    let [_, items] = divided(objective, settings);
    Ranked {
        // Padding between two vectors is zero, and adds nothing to a score.
        dim: items.first(objective.layout().ranked()),
        item_branch: objective.item_branch().then_some(settings.branch),
    }
}

/// Refuses what a GPU cannot train, or what does not fit into the memory that is free; returns [`memory`] and the bytes
/// of an `evaluation`.
///
/// # Errors
/// [`Error::Config`] and [`Error::DeviceMemory`].
pub fn check(
    device: &Device,
    (users, items): (u32, u32),
    sampler: &Sampler<'_>,
    objective: &dyn Objective,
    settings: &Settings,
    evaluation: u64,
) -> Result<u64> {
    // A row of the users has no more columns than one of the items.
    let [_, row] = divided(objective, settings);
    if row.stride() > MOST_COLUMNS {
        return Err(Error::config(
            "dim",
            settings.dim,
            "the GPU's kernels are not made for so many columns",
            format!("use at most {}, or --device cpu", settings.dim * MOST_COLUMNS / row.columns()),
        ));
    }
    let asked = memory(sampler, [users, items], objective, settings) + evaluation;
    fits(device, Purpose { what: "this training", lower: "--dim or --batch-size" }, asked)
}

/// Refuses what does not fit into the memory that is free; returns what is asked for.
pub(super) fn fits(device: &Device, purpose: Purpose, asked: u64) -> Result<u64> {
    let Purpose { what, lower } = purpose;
    match device.free_memory()? as u64 {
        free if asked > free => Err(Error::DeviceMemory { what, asked, free, lower }),
        _ => Ok(asked),
    }
}
