//! The state of a training on a GPU, and the operations of a step.

use super::{
    Buffer, Device, Graph, Pinned,
    adam::{self, Optimiser, StepRules},
    all_pairs::{AllPairs, Inputs, Outputs},
    apply::{self, Apply},
    batch::Batch,
    branch::{Branch, Mlp, Mlps},
    divergence::Divergence,
    gather::{self, Gather, Gathered},
    params::{APPLY_WINDOW, LONGEST_GAP, STEP_BLOCKS, STEP_THREADS},
    propagation::{self, Propagation},
    rank::{DeviceTables, Ranker},
    sample::Samples,
    step::{Pairs, Scalars, Step},
    table::{Table, stride, width},
};
use crate::{
    backend::{
        Backend, Exchange, Losses, Operations, Parameters, Ranks, Sequence, Settings, Snapshot, cpu,
        state::unpadded, streams,
    },
    data::graph::Graph as Bipartite,
    error::{Error, Result},
    model::{self, Ranking},
    objective::{BranchKind, Objective, ObjectiveConfig, PARTS},
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
    /// In their place where they have a hidden layer, or score other rows than match scores come from.
    mlps: Option<Mlps>,
    /// LightGCN.
    propagation: Option<Propagation>,
    gathered_users: Gathered,
    gathered_items: Gathered,
    scalars: Scalars,
    gather: Gather,
    score: Step,
    /// Of objectives that pair all rows.
    all_pairs: Option<AllPairs>,
    apply: Apply,
    divergence: Divergence,
    /// Where parameters arrive on the host, from the first time on that they do.
    host: Option<[Pinned<f32>; 2]>,
}

/// Tables of `dim` columns on the host, without padding.
fn download(
    device: &Device,
    host: &mut Option<[Pinned<f32>; 2]>,
    dim: usize,
    tables: [&Buffer<f32>; 2],
) -> Result<[Vec<f32>; 2]> {
    let host = match host {
        Some(host) => host,
        None => host.insert([device.pinned(tables[0].len())?, device.pinned(tables[1].len())?]),
    };
    // Both are on their way before the first is waited for.
    for (table, host) in tables.iter().zip(&mut *host) {
        table.read_pinned(host)?;
    }
    let [users, items] = host;
    let rows = |host: &Pinned<f32>| Ok(unpadded(host.as_slice()?, stride(dim), dim));
    Ok([rows(users)?, rows(items)?])
}

/// Steps of a chunk for batches of up to `batch` rows.
fn chunk(batch: u32) -> u32 {
    (CHUNK_ROWS / batch.max(1)).clamp(1, CHUNK_STEPS)
}

/// Most distinct users and items of a batch.
fn slots(batch: u32, [users, items]: [u32; 2]) -> [usize; 2] {
    [batch.min(users) as usize, (2 * u64::from(batch)).min(u64::from(items)) as usize]
}

/// Bytes of device memory that a training with `sampler` on `users` x `items` takes: tables, interactions, batches,
/// and the copy that an evaluation makes.
pub fn memory(
    sampler: &Sampler<'_>,
    [users, items]: [u32; 2],
    objective: &dyn Objective,
    settings: &Settings,
) -> u64 {
    let (b, s, w) =
        (u64::from(sampler.batch()), u64::from(chunk(sampler.batch())), stride(settings.dim) as u64);
    let [user_slots, item_slots] = slots(sampler.batch(), [users, items]).map(|n| n as u64);
    let (users, items) = (u64::from(users), u64::from(items));
    let host = sampler.tables();
    let interactions = 8 * host.train.offsets.len() as u64
        + 4 * (host.train.indices.len() + host.eligible.len() + host.block_user.len()) as u64
        + 8 * host.before.len() as u64
        + 20 * items;
    let stored = settings.storage.bytes() as u64;
    let tables = (users + items) * ((stored + 8) * w + 8 + 4 * w);
    // Beyond this, some devices group the samples in device memory.
    let scratch = if b > 8192 { 32 * b } else { 0 };
    let batches = s * (12 * b + 2 * 4 * 8 * b + scratch + 16 * (u64::from(LONGEST_GAP) + 1) + 64);
    let gathered = (user_slots + item_slots) * (4 * w + 4 + 8);
    let ego = settings.has_ego_branches(objective);
    // Beside the batch's rows and, in an evaluation, beside the final embeddings.
    let ego_rows = if ego { (user_slots + item_slots + items) * 4 * w } else { 0 };
    let step_blocks = b.div_ceil(u64::from(STEP_THREADS / 32)).min(u64::from(STEP_BLOCKS));
    let scalars = 4 * b * (2 + 2 + 1 + 8) + step_blocks * (8 * w + 8 * PARTS as u64);
    let windows = 2 * (2 * b).div_ceil(u64::from(APPLY_WINDOW)) * (8 * w + 12);
    let propagation = settings.lightgcn.map_or(0, |lightgcn| {
        propagation::memory(&Bipartite::new(sampler.data()), lightgcn, w as usize, settings.storage)
            + (user_slots + item_slots) * 4 * w
    });
    let mlp = |wanted: bool, slots| match settings.branch {
        BranchKind::Linear if !ego => 0,
        kind if wanted => Mlp::memory(kind.hidden(), w, slots),
        _ => 0,
    };
    let mlps = mlp(objective.user_branch(), user_slots) + mlp(objective.item_branch(), item_slots);
    interactions + tables + batches + gathered + ego_rows + scalars + windows + propagation + mlps + (1 << 20)
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
    width(settings.dim)?;
    let refuse = |key, value: &dyn std::fmt::Display, remedy| {
        Err(Error::config(key, value, "no GPU can do this yet", remedy))
    };
    if !objective.has_kernel() {
        return refuse("objective", &objective.name(), "use --device cpu");
    }
    if let NegativeSampler::Margin(_) = sampler.tables().negatives {
        return refuse("negatives", &"margin", "use --device cpu");
    }
    let (asked, free) = (memory(sampler, [users, items], objective, settings), device.free_memory()? as u64);
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
        let Settings { dim, storage, branch, seed, adam, catch_up, .. } = settings;
        check(device, (users, items), &sampler, objective, &settings)?;
        let (batch, chunk) = (sampler.batch() as usize, chunk(sampler.batch()));
        let slots = slots(sampler.batch(), [users, items]);
        let initial = |wanted: bool, stream| {
            wanted.then(|| cpu::branch::Branch::new(branch, dim, seed, stream).export())
        };
        let initial = [
            initial(objective.user_branch(), streams::USER_BRANCH),
            initial(objective.item_branch(), streams::ITEM_BRANCH),
        ];
        let ego = settings.has_ego_branches(objective);
        let linear = |branch: &Option<model::Branch>| match branch {
            Some(model::Branch::Linear { weight }) if !ego => Branch::new(device, weight).map(Some),
            _ => Ok(None),
        };
        let apart = ego || branch != BranchKind::Linear;
        let mlps = match initial.each_ref().map(Option::as_ref) {
            [None, None] => None,
            branches if apart => Some(Mlps::new(device, branches, dim, slots)?),
            _ => None,
        };
        let gathered = if ego { Gathered::with_ego } else { Gathered::new };
        let score = Step::new(device, objective, config, batch, dim)?;
        let user_table = Table::xavier(device, users as usize, dim, storage, seed, streams::USERS)?;
        let item_table = Table::xavier(device, items as usize, dim, storage, seed, streams::ITEMS)?;
        let mut gather = Gather::new(device, dim, storage, slots)?;
        let mut apply = Apply::new(device, dim, storage, batch, slots, sampler.users_are_distinct())?;
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
            user_branch: linear(&initial[0])?,
            item_branch: linear(&initial[1])?,
            mlps,
            gathered_users: gathered(device, slots[0], dim)?,
            gathered_items: gathered(device, slots[1], dim)?,
            scalars: score.scalars()?,
            propagation,
            gather,
            score,
            all_pairs: objective
                .all_pairs()
                .map(|form| AllPairs::new(device, form, sampler.batch()))
                .transpose()?,
            apply,
            divergence: Divergence::new(device)?,
            host: None,
            device: device.clone(),
            sampler,
            settings,
        })
    }

    /// The tables of users and items, as the steps left them.
    pub fn tables(&self) -> [&Table; 2] {
        [&self.users, &self.items]
    }

    /// First moments of the branches of users and items.
    ///
    /// # Errors
    /// [`Error::Device`] if the device fails.
    pub fn branch_moments(&self) -> Result<[Option<model::Branch>; 2]> {
        self.each_branch(Branch::first_moments, Mlp::first_moments)
    }

    /// What is read of the branches of users and items.
    fn each_branch(
        &self,
        linear: impl Fn(&Branch) -> Result<model::Branch>,
        mlp: impl Fn(&Mlp) -> Result<model::Branch>,
    ) -> Result<[Option<model::Branch>; 2]> {
        let of_side = |k: usize| {
            let vector = [&self.user_branch, &self.item_branch][k].as_ref().map(&linear);
            let layers = || self.mlps.as_ref()?.sides[k].as_ref().map(&mlp);
            vector.or_else(layers).transpose()
        };
        Ok([of_side(0)?, of_side(1)?])
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
    fn advance(&mut self, steps: u64, sequence: Sequence<'_>, losses: &mut Losses) -> Result<()> {
        let [parts @ .., _penalty, l2] = *losses;
        let device_losses = [parts.as_slice(), &[l2]].concat();
        self.apply.losses.write(&device_losses)?;
        let chunk = u64::from(self.chunk);
        for (length, times) in [(chunk, steps / chunk), (steps % chunk, 1)] {
            if length > 0 && times > 0 {
                self.graph(length as u32, sequence)?.replay(times)?;
            }
        }
        self.step += steps;
        let read = self.apply.losses.read()?;
        let (parts, l2) = read.split_at(PARTS);
        losses[..PARTS].copy_from_slice(parts);
        losses[PARTS + 1] = l2[0];
        Ok(())
    }

    fn is_finite(&mut self) -> Result<bool> {
        // Branches are small.
        let branches = self.each_branch(|branch| branch.read(self.step), Mlp::read)?;
        let branches = branches.iter().flatten().all(model::Branch::is_finite);
        Ok(self.divergence.all_finite(&[&self.users.p, &self.items.p])? && branches)
    }

    fn exchange(&mut self, exchange: &mut Exchange<'_>) -> Result<()> {
        exchange.step(&mut self.step);
        self.users.exchange("users", exchange)?;
        self.items.exchange("items", exchange)?;
        for (name, branch) in [("user_branch", &mut self.user_branch), ("item_branch", &mut self.item_branch)]
        {
            if let Some(branch) = branch {
                branch.exchange(name, self.step, exchange)?;
            }
        }
        for (name, mlp) in
            ["user_branch", "item_branch"].into_iter().zip(self.mlps.iter_mut().flat_map(|m| &mut m.sides))
        {
            if let Some(mlp) = mlp {
                mlp.exchange(name, exchange)?;
            }
        }
        if exchange.loads() {
            self.samples.seek(self.step)?;
            if let Some(propagation) = &mut self.propagation {
                propagation.scale_parameters([&self.users, &self.items])?;
            }
        }
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Box<dyn Snapshot + '_>> {
        let tables = [&self.users, &self.items];
        let embeddings = match &mut self.propagation {
            None => {
                let export = |table| self.optimiser.export(table, self.step);
                [export(tables[0])?, export(tables[1])?]
            }
            Some(propagation) => propagation.export(tables)?,
        };
        let branches = self.each_branch(|branch| branch.read(self.step), Mlp::read)?;
        let ego_items = match (&self.gathered_items.ego, &branches) {
            (Some(_), [_, Some(_)]) => Some(self.optimiser.export(tables[1], self.step)?),
            _ => None,
        };
        Ok(Box::new(Exported { engine: self, embeddings, ego_items, branches }))
    }
}

/// A copy of the final embeddings, on the device; the branches are on the host.
#[derive(Debug)]
struct Exported<'e, 'a> {
    engine: &'e mut Cuda<'a>,
    /// `[U, stride]` and `[I, stride]`.
    embeddings: [Buffer<f32>; 2],
    /// `[I, stride]`: the parameters, where the item branch scores these.
    ego_items: Option<Buffer<f32>>,
    branches: [Option<model::Branch>; 2],
}

impl Snapshot for Exported<'_, '_> {
    fn ranker<'s>(
        &'s self,
        popularity: &'s [u32],
        rankings: &[Ranking],
        k: usize,
    ) -> Result<Box<dyn Ranks + 's>> {
        let [users, items] = &self.embeddings;
        let dim = self.engine.settings.dim;
        let scored = self.ego_items.as_ref().unwrap_or(items);
        let item_branch = self.branches[1].as_ref().map(|branch| (branch, scored));
        let tables = DeviceTables { dim, stride: stride(dim), users, items, item_branch, popularity };
        Ok(Box::new(Ranker::on_device(&self.engine.device, &tables, rankings, k)?))
    }

    fn round(&mut self) -> Result<()> {
        let Cuda { device, settings, .. } = &*self.engine;
        self.embeddings.iter_mut().try_for_each(|values| adam::round(device, settings.storage, values))
    }

    fn into_parameters(self: Box<Self>) -> Result<Parameters> {
        let Exported { engine, embeddings, branches: [user_branch, item_branch], .. } = *self;
        let Cuda { device, host, settings, propagation, users, items, .. } = engine;
        let dim = settings.dim;
        // With propagation every step moves all rows: parameters are as they stand in the tables.
        let ego = |table: &Table| Ok(unpadded(&table.p.read()?, stride(dim), dim));
        let ego = propagation.is_some().then(|| Ok([ego(users)?, ego(items)?])).transpose()?;
        let [users, items] = download(device, host, dim, embeddings.each_ref())?;
        Ok(Parameters { users, items, user_branch, item_branch, ego, kept: model::Kept::default() })
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
        let Cuda { samples, optimiser, rules, propagation, .. } = &mut *self.engine;
        samples.draw(self.steps)?;
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
        e.gather.launch(batch, &e.optimiser, &e.rules, e.settings.l2, [users, items])?;
        let Some(mlps) = &mut e.mlps else { return Ok(()) };
        mlps.forward(batch, &e.optimiser, [&mut e.gathered_users, &mut e.gathered_items], &e.scalars)
    }

    fn step(&mut self) -> Result<()> {
        let e = &mut *self.engine;
        let batch = Batch::of(&e.samples, self.k as usize);
        e.score.launch(batch, [&e.gathered_users, &e.gathered_items], &mut e.scalars)
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
        e.score.stage(batch, [&e.gathered_users, &e.gathered_items], &mut e.scalars)
    }

    fn apply(&mut self) -> Result<()> {
        let e = &mut *self.engine;
        let batch = Batch::of(&e.samples, self.k as usize);
        let mut dx = [None, None];
        if let Some(mlps) = &mut e.mlps {
            mlps.backward(batch, &e.optimiser, [&mut e.gathered_users, &mut e.gathered_items], &e.scalars)?;
            // Of the parameters it is no part of the gradients that are propagated.
            if e.gathered_users.ego.is_none() {
                dx = mlps.dx();
            }
        }
        let users = apply::Side {
            table: &mut e.users,
            branch: e.user_branch.as_mut(),
            dx: dx[0],
            own: &e.gathered_users,
        };
        let items = apply::Side {
            table: &mut e.items,
            branch: e.item_branch.as_mut(),
            dx: dx[1],
            own: &e.gathered_items,
        };
        let before = (&e.gather, &e.score, &e.scalars);
        e.apply.launch(batch, &e.optimiser, e.settings.l2, before, [users, items])
    }

    fn backward(&mut self) -> Result<()> {
        let e = &mut *self.engine;
        let batch = Batch::of(&e.samples, self.k as usize);
        let (Some(propagation), Some(gradients)) = (&mut e.propagation, &e.apply.gradients) else {
            return Ok(());
        };
        let tables = [&mut e.users, &mut e.items];
        let ego = e.mlps.as_ref().filter(|_| e.gathered_users.ego.is_some());
        let ego = ego.map_or([None, None], Mlps::dx);
        propagation.backward(batch, tables, gradients.each_ref(), ego, e.settings.l2, &e.optimiser)
    }
}
