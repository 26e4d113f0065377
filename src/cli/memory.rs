//! What a training on the CPU needs in memory, before it begins.

use serde::Serialize;

use crate::{
    config::Config,
    data::{Interactions, Split},
    objective::{TILE, Tile},
    sampling::SamplerKind,
};

/// Floats that rows of a table are padded to.
const LANES: u64 = 16;
/// Steps whose samples are drawn together.
const DRAWN_AHEAD: u64 = 16;
/// Code, libraries, stacks and small things: measured on x86-64 Linux.
const PROGRAM: u64 = 6 << 20;
/// What a thread needs to rank a block of users, apart from its users' packed embeddings.
const RANKING_SCRATCH: u64 = 2 << 20;
/// Users of such a block.
const RANKED_USERS: u64 = 96;

/// Bytes by what they are for, all of them needed at the same time: in an evaluation that finds a better model.
#[derive(Debug, Clone, Serialize)]
pub struct Estimate {
    /// The mapped interaction file; its pages can be taken back when memory is short.
    pub data: u64,
    /// Embeddings, and Adam's two moments of each.
    pub tables: u64,
    /// Samples drawn ahead, gathered rows, scalars.
    pub batch: u64,
    /// What users, items and interactions are drawn from.
    pub sampler: u64,
    /// The model under evaluation, the best one so far, and ranking.
    pub evaluation: u64,
    /// The program itself.
    pub program: u64,
    /// All of these, or more if taking a validation split from train needs more.
    pub peak: u64,
}

impl Estimate {
    /// For a training of `config` with `threads` threads on `data`, which took the place of data of `original_bytes`
    /// (0 if it did not).
    pub fn new(data: &Interactions, original_bytes: u64, config: &Config, threads: u64) -> Self {
        let (users, items) = (u64::from(data.users()), u64::from(data.items()));
        let (rows, dim) = (users + items, config.dim as u64);
        let stride = dim.next_multiple_of(LANES);
        let train = data.count(Split::Train);
        let batch = u64::from(config.batch_size);

        let tables = rows * (3 * 4 * stride + 8);
        let (own_users, own_items) = (batch.min(users), (2 * batch).min(items));
        let gathered = (own_users + own_items) * 4 * (stride + 2);
        // Three ids a row; for both sides slots and samples [2B], rows and starts [touched].
        let plan = 4 * (3 * batch + 2 * 2 * 2 * batch + 2 * (own_users + own_items));
        let scalars = batch.div_ceil(TILE as u64) * size_of::<Tile>() as u64 + 3 * 2 * 4 * batch;
        let slots = 4 * rows * threads.min(DRAWN_AHEAD);
        let positions = match config.sampler {
            SamplerKind::UserUniform => 0,
            SamplerKind::Interaction => 8 * users + 4 * train / 64,
        };

        let model = 4 * rows * dim + 4 * items;
        let evaluated =
            (0..data.users()).filter(|&u| data.by_user(config.select).degree(u) > 0).count() as u64;
        let variants = config.rankings().len() as u64;
        // Panels of items with their corrections, a count for every item, starts and hits of every list.
        let ranker = items * (4 * dim + 32) + items * 4 * variants;
        let lists = evaluated * (4 + 12 * variants) + data.count(config.select) * 8 * variants;
        let scratch = threads * (RANKING_SCRATCH + RANKED_USERS * 4 * dim);

        let mut estimate = Estimate {
            data: data.file_bytes(),
            tables,
            batch: gathered + DRAWN_AHEAD * plan + scalars,
            sampler: 4 * users + 4 * items + slots + positions,
            evaluation: 2 * model + ranker + lists + scratch,
            program: PROGRAM,
            peak: 0,
        };
        // Both files, and 17 bytes an interaction: a part, an edge, a place in the order.
        let carving = match original_bytes {
            0 => 0,
            original => original + estimate.data + 17 * train + PROGRAM,
        };
        estimate.peak = estimate.parts().iter().map(|(_, bytes)| bytes).sum::<u64>().max(carving);
        estimate
    }

    /// Names and bytes, without the peak.
    pub fn parts(&self) -> [(&'static str, u64); 6] {
        [
            ("data (mapped file)", self.data),
            ("tables and optimiser state", self.tables),
            ("batch buffers", self.batch),
            ("sampler", self.sampler),
            ("evaluation (two models, ranking)", self.evaluation),
            ("program", self.program),
        ]
    }
}
