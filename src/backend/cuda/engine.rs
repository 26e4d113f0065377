//! The state of a training on a GPU, and the operations of a step.

use super::{
    Device, Graph,
    adam::{Optimiser, StepRules},
    all_pairs::{AllPairs, Inputs, Outputs},
    apply::{self, Apply, Before},
    batch::Batch,
    bias::Bias,
    branch::Branch,
    gather::{self, Gather, Gathered},
    params::{APPLY_WINDOW, LONGEST_GAP, PENALTY_BLOCKS, STEP_BLOCKS, STEP_THREADS},
    penalty::Penalty,
    propagation::{self, Propagation},
    sample::{Groups, Samples},
    step::{self, Pairs, Scalars, Step},
    table::{MOST_COLUMNS, Table, parts},
};
use crate::{
    backend::{
        Backend, Losses, Operations, Parameters, Sequence, Settings,
        cpu::{self, table::Parts},
        streams,
    },
    data::graph::Graph as Bipartite,
    error::{Error, Result},
    model,
    objective::{BranchKind, ItemHead, Layout, Objective, ObjectiveConfig, PARTS},
    sampling::{Sampler, negatives::NegativeSampler},
};

/// Most steps of a chunk, and most rows of its batches together: the samples of a chunk are drawn at once, with two
/// blocks of threads a step, and wait in device memory.
const CHUNK_STEPS: u32 = 64;
const CHUNK_ROWS: u32 = 1 << 19;

/// A training on a GPU.
#[derive(Debug)]
pub struct Cuda<'a> {
    /// Recorded chunks by their number of steps; they hold addresses of what follows.
    graphs: Vec<(u32, Graph)>,
    device: Device,
    sampler: Sampler<'a>,
    settings: Settings,
    /// Steps done.
    step: u64,
    chunk: u32,
    optimiser: Optimiser,
    rules: StepRules,
    samples: Samples,
    users: Table,
    items: Table,
    user_branch: Option<Branch>,
    item_branch: Option<Branch>,
    item_bias: Option<Bias>,
    layout: Layout,
    /// LightGCN.
    propagation: Option<Propagation>,
    gathered_users: Gathered,
    gathered_items: Gathered,
    scalars: Scalars,
    gather: Gather,
    /// Of objectives with two groups of rows.
    groups: Option<Groups>,
    score: Step,
    /// Of objectives that pair all rows.
    all_pairs: Option<AllPairs>,
    penalty: Option<Penalty>,
    apply: Apply,
}

/// How the rows of users and items are divided.
fn divided(objective: &dyn Objective, settings: &Settings) -> [Parts; 2] {
    objective.layout().shapes(settings.dim, settings.lightgcn.is_some()).map(parts)
}

/// Steps of a chunk for batches of up to `batch` rows.
fn chunk(batch: u32) -> u32 {
    (CHUNK_ROWS / batch.max(1)).clamp(1, CHUNK_STEPS)
}

/// Most distinct users and items of a batch.
fn slots(batch: u32, [users, items]: [u32; 2]) -> [usize; 2] {
    [batch.min(users) as usize, (2 * u64::from(batch)).min(u64::from(items)) as usize]
}

/// Bytes of device memory that a training of `objective` with `sampler` on `users` x `items` takes: tables, interactions,
/// batches, and the largest copy that an evaluation makes.
pub fn memory(
    sampler: &Sampler<'_>,
    [users, items]: [u32; 2],
    objective: &dyn Objective,
    settings: &Settings,
) -> u64 {
    let (b, s) = (u64::from(sampler.batch()), u64::from(chunk(sampler.batch())));
    let parts = divided(objective, settings);
    let [user_w, item_w] = parts.map(|parts| parts.stride() as u64);
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
    let tables =
        users * (12 * user_w + 8) + items * (12 * item_w + 8) + 4 * (users * user_w).max(items * item_w);
    let constants = objective.item_constants().map_or(0, |constants| 4 * constants.len() as u64);
    let biases = if objective.item_head() == ItemHead::Bias { 12 * items } else { 0 };
    // Beyond this, some devices group the samples in device memory.
    let scratch = if b > 8192 { 32 * b } else { 0 };
    let batches = s * (12 * b + 2 * 4 * 8 * b + scratch + 16 * (u64::from(LONGEST_GAP) + 1) + 64);
    let gathered = user_slots * (4 * user_w + 12) + item_slots * (4 * item_w + 12);
    let step_blocks = b.div_ceil(u64::from(STEP_THREADS / 32)).min(u64::from(STEP_BLOCKS));
    let second = if objective.layout().is_divided() { 2 } else { 0 };
    let groups = if objective.grouped() { s * (b / 8 + 16) } else { 0 };
    let scalars = 4 * b * (2 + 2 + 1 + 8 + second) + step_blocks * (8 * item_w + 8 * PARTS as u64) + groups;
    let windows = (2 * b).div_ceil(u64::from(APPLY_WINDOW)) * (8 * (user_w + item_w) + 24);
    let penalty = match objective.penalty() {
        Some(_) => 2 * u64::from(PENALTY_BLOCKS) * (16 * item_w + 24) + 32 * item_w,
        None => 0,
    };
    let propagation = settings.lightgcn.map_or(0, |lightgcn| {
        // Rows of both sides have as many columns.
        propagation::memory(&Bipartite::new(sampler.data()), lightgcn, item_w as usize)
            + (user_slots + item_slots) * 4 * item_w
    });
    interactions
        + margin
        + tables
        + constants
        + biases
        + batches
        + gathered
        + scalars
        + windows
        + penalty
        + propagation
        + (1 << 20)
}

/// Refuses what a GPU cannot train, or what does not fit into the memory that is free; returns [`memory`].
///
/// # Errors
/// [`Error::Config`] and [`Error::DeviceMemory`].
pub fn check(
    device: &Device,
    (users, items): (u32, u32),
    sampler: &Sampler<'_>,
    objective: &dyn Objective,
    settings: &Settings,
) -> Result<u64> {
    let [_, row] = divided(objective, settings);
    if row.stride() > MOST_COLUMNS {
        return Err(Error::config(
            "dim",
            settings.dim,
            "the GPU's kernels are not made for so many columns",
            format!("use at most {}, or --device cpu", settings.dim * MOST_COLUMNS / row.columns()),
        ));
    }
    let branched = objective.user_branch() || objective.item_branch();
    if branched && settings.branch != BranchKind::Linear {
        let remedy = "use --device cpu, or --branch linear";
        return Err(Error::config("branch", settings.branch, "no GPU can do this yet", remedy));
    }
    let asked = memory(sampler, [users, items], objective, settings);
    let free = device.free_memory()? as u64;
    if asked > free {
        return Err(Error::DeviceMemory {
            what: "this training",
            asked,
            free,
            lower: "--dim or --batch-size",
        });
    }
    Ok(asked)
}

impl<'a> Cuda<'a> {
    /// A training at its first step, from the parameters that the CPU begins with. `config` is what `objective` was
    /// built from.
    ///
    /// # Errors
    /// [`Error::Config`] for settings that only the CPU can train with, [`Error::DeviceMemory`] if the training does
    /// not fit, [`Error::Device`] if the device fails.
    pub fn new(
        device: &Device,
        (users, items): (u32, u32),
        sampler: Sampler<'a>,
        objective: &dyn Objective,
        config: &ObjectiveConfig,
        settings: Settings,
    ) -> Result<Self> {
        let Settings { dim, branch, seed, adam, catch_up, .. } = settings;
        check(device, (users, items), &sampler, objective, &settings)?;
        let (batch, chunk) = (sampler.batch() as usize, chunk(sampler.batch()));
        let slots = slots(sampler.batch(), [users, items]);
        let new_branch = |wanted: bool, stream| match wanted
            .then(|| cpu::branch::Branch::new(branch, dim, seed, stream).export())
        {
            Some(model::Branch::Linear { weight }) => Branch::new(device, &weight).map(Some),
            _ => Ok(None),
        };
        let parts = divided(objective, &settings);
        let columns = parts.map(Parts::stride);
        let score = Step::new(device, objective, config, batch, parts, sampler.steps_per_epoch())?;
        let user_table = Table::xavier(device, users as usize, dim, parts[0], seed, streams::USERS)?;
        let item_table = Table::xavier(device, items as usize, dim, parts[1], seed, streams::ITEMS)?;
        let mut gather = Gather::new(device, columns, slots)?;
        let mut apply = Apply::new(device, objective, parts, batch, slots, sampler.users_are_distinct())?;
        let mut propagation = None;
        if let Some(lightgcn) = settings.lightgcn {
            let (graph, tables) = (Bipartite::new(sampler.data()), [&user_table, &item_table]);
            propagation = Some(Propagation::new(device, &graph, lightgcn, tables, slots)?);
            (gather, apply) = (gather.propagated(), apply.propagated()?);
        }
        Ok(Cuda {
            graphs: Vec::new(),
            step: 0,
            chunk,
            optimiser: Optimiser::new(device, adam, catch_up)?,
            rules: StepRules::new(device, chunk as usize)?,
            samples: Samples::new(device, &sampler, users, chunk)?,
            users: user_table,
            items: item_table,
            user_branch: new_branch(objective.user_branch(), streams::USER_BRANCH)?,
            item_branch: new_branch(objective.item_branch(), streams::ITEM_BRANCH)?,
            item_bias: (objective.item_head() == ItemHead::Bias)
                .then(|| Bias::new(device, items as usize))
                .transpose()?,
            layout: objective.layout(),
            gathered_users: Gathered::new(device, slots[0], columns[0])?,
            gathered_items: Gathered::new(device, slots[1], columns[1])?,
            scalars: score.scalars()?,
            propagation,
            gather,
            groups: objective.grouped().then(|| Groups::new(device, chunk, sampler.batch())).transpose()?,
            score,
            penalty: objective
                .penalty()
                .map(|penalty| Penalty::new(device, penalty, parts, slots))
                .transpose()?,
            all_pairs: objective
                .all_pairs()
                .map(|form| AllPairs::new(device, form, sampler.batch()))
                .transpose()?,
            apply,
            device: device.clone(),
            sampler,
            settings,
        })
    }

    /// The tables of users and items, as the steps left them.
    pub fn tables(&self) -> [&Table; 2] {
        [&self.users, &self.items]
    }

    /// The branches of users and items, where there are any.
    pub fn branches(&self) -> [Option<&Branch>; 2] {
        [self.user_branch.as_ref(), self.item_branch.as_ref()]
    }

    /// The items' biases, where there are any.
    pub fn item_bias(&self) -> Option<&Bias> {
        self.item_bias.as_ref()
    }

    /// The recorded chunk of `steps` steps.
    fn graph(&mut self, steps: u32, sequence: Sequence<'_>) -> Result<&Graph> {
        let known = self.graphs.iter().position(|&(length, _)| length == steps);
        let at = match known {
            Some(at) => at,
            None => {
                let device = self.device.clone();
                let graph = device.capture(|| {
                    (0..steps).try_for_each(|k| sequence(&mut Recorder { engine: self, k, steps }))
                })?;
                self.graphs.push((steps, graph));
                self.graphs.len() - 1
            }
        };
        Ok(&self.graphs[at].1)
    }
}

impl Backend for Cuda<'_> {
    fn sampler(&self) -> &Sampler<'_> {
        &self.sampler
    }

    /// `sequence` is recorded at its first use, for each number of steps that is left over once, and must be the same
    /// for the whole training.
    fn repeat(&mut self, steps: u64, sequence: Sequence<'_>) -> Result<Losses> {
        self.apply.losses.fill_zero()?;
        let chunk = u64::from(self.chunk);
        for (length, times) in [(chunk, steps / chunk), (steps % chunk, 1)] {
            if length > 0 && times > 0 {
                self.graph(length as u32, sequence)?.replay(times)?;
            }
        }
        self.step += steps;
        let mut losses = Losses::default();
        losses.copy_from_slice(&self.apply.losses.read()?);
        Ok(losses)
    }

    fn parameters(&mut self) -> Result<Parameters> {
        let branch = |branch: &Option<Branch>| match branch {
            Some(branch) => branch.read(self.step).map(|weight| Some(model::Branch::Linear { weight })),
            None => Ok(None),
        };
        let tables = [&self.users, &self.items];
        let own =
            [self.optimiser.export(&self.users, self.step)?, self.optimiser.export(&self.items, self.step)?];
        let ([mut users, mut items], mut ego) = match &mut self.propagation {
            None => (own, None),
            Some(propagation) => (propagation.export(tables)?, Some(own)),
        };
        let item_bias = self.item_bias.as_ref().map(|bias| bias.values.read()).transpose()?;
        let mut kept = model::Kept { item_bias, ..model::Kept::default() };
        if self.layout == Layout::Twins {
            // What is ranked by is the first vectors.
            let [of_users, of_items] = [self.users.parts(), self.items.parts()];
            kept.second_user_embedding = of_users.split_off(&mut users);
            kept.second_item_embedding = of_items.split_off(&mut items);
            for (values, parts) in ego.iter_mut().flatten().zip([of_users, of_items]) {
                parts.split_off(values);
            }
        }
        Ok(Parameters {
            users,
            items,
            user_branch: branch(&self.user_branch)?,
            item_branch: branch(&self.item_branch)?,
            ego,
            kept,
        })
    }
}

/// Queues the operations of step `k` of a chunk of `steps` steps, while they are recorded.
struct Recorder<'r, 'a> {
    engine: &'r mut Cuda<'a>,
    k: u32,
    steps: u32,
}

impl Operations for Recorder<'_, '_> {
    /// Once a chunk: what depends on no parameter is done for all of its steps.
    fn sample(&mut self) -> Result<()> {
        if self.k > 0 {
            return Ok(());
        }
        let Cuda { samples, optimiser, rules, propagation, groups, score, .. } = &mut *self.engine;
        samples.draw(self.steps)?;
        if let (Some(groups), Some(constants)) = (groups, score.constants()) {
            groups.launch(samples, constants, self.steps)?;
        }
        if propagation.is_some() {
            // Every step moves all rows.
            return Ok(());
        }
        optimiser.rules(&samples.step, self.steps, rules)
    }

    fn propagate(&mut self) -> Result<()> {
        let Cuda { samples, users, items, propagation, .. } = &mut *self.engine;
        let Some(propagation) = propagation else { return Ok(()) };
        propagation.begin(Batch::of(samples, self.k as usize))?;
        propagation.forward([users, items])
    }

    fn gather(&mut self) -> Result<()> {
        let e = &mut *self.engine;
        let batch = Batch::of(&e.samples, self.k as usize);
        if let Some(propagation) = &mut e.propagation {
            let rows = [&mut e.gathered_users.rows, &mut e.gathered_items.rows];
            propagation.last_layer(Some(batch), [&e.users, &e.items], rows)?;
        }
        let users =
            gather::Side { table: &e.users, branch: e.user_branch.as_ref(), out: &mut e.gathered_users };
        let items =
            gather::Side { table: &e.items, branch: e.item_branch.as_ref(), out: &mut e.gathered_items };
        e.gather.launch(batch, &e.optimiser, &e.rules, e.settings.l2, [users, items])
    }

    fn step(&mut self) -> Result<()> {
        let e = &mut *self.engine;
        let batch = Batch::of(&e.samples, self.k as usize);
        let inputs = step::Inputs {
            bias: e.item_bias.as_ref(),
            groups: e.groups.as_ref(),
            ..step::Inputs::new([&e.gathered_users, &e.gathered_items], &e.samples)
        };
        e.score.launch(batch, inputs, &mut e.scalars)
    }

    fn all_pairs(&mut self) -> Result<()> {
        let e = &mut *self.engine;
        let Scalars { score_gradient, pairs, .. } = &mut e.scalars;
        let (Some(sums), Some(Pairs { score, gate, loss, gate_gradient })) = (&mut e.all_pairs, pairs) else {
            return Ok(());
        };
        let inputs = Inputs { score, gate, rows: &e.samples.rows, step: self.k as usize };
        sums.launch(inputs, Outputs { loss, score_gradient, gate_gradient })?;
        let batch = Batch::of(&e.samples, self.k as usize);
        let inputs = step::Inputs::new([&e.gathered_users, &e.gathered_items], &e.samples);
        e.score.stage(batch, inputs, &mut e.scalars)
    }

    fn apply(&mut self) -> Result<()> {
        let e = &mut *self.engine;
        let batch = Batch::of(&e.samples, self.k as usize);
        if let Some(penalty) = &mut e.penalty {
            let gathered = [&e.gathered_users, &e.gathered_items];
            penalty.launch(batch, gathered, e.score.constants(), &mut e.apply.losses)?;
        }
        let users = apply::Side {
            table: &mut e.users,
            branch: e.user_branch.as_mut(),
            bias: None,
            own: &e.gathered_users,
        };
        let items = apply::Side {
            table: &mut e.items,
            branch: e.item_branch.as_mut(),
            bias: e.item_bias.as_mut(),
            own: &e.gathered_items,
        };
        let before =
            Before { gather: &e.gather, step: &e.score, scalars: &e.scalars, penalty: e.penalty.as_ref() };
        e.apply.launch(batch, &e.optimiser, e.settings.l2, before, [users, items])
    }

    fn backward(&mut self) -> Result<()> {
        let e = &mut *self.engine;
        let batch = Batch::of(&e.samples, self.k as usize);
        let (Some(propagation), Some(gradients)) = (&mut e.propagation, &e.apply.gradients) else {
            return Ok(());
        };
        let tables = [&mut e.users, &mut e.items];
        propagation.backward(batch, tables, gradients.each_ref(), e.settings.l2, &e.optimiser)
    }
}
