//! The state of a training on a GPU, and the operations of a step.

use super::{
    Buffer, Device, Graph, Pinned,
    adam::{self, Optimiser, StepRules},
    all_pairs::{AllPairs, Inputs, Outputs},
    apply::{self, Apply, Before},
    batch::Batch,
    bias::Bias,
    branch::{Branch, Mlp, Mlps},
    divergence::Divergence,
    gather::{self, Gather, Gathered},
    memory::{check, chunk, divided, slots},
    penalty::Penalty,
    propagation::Propagation,
    rank::{DeviceTables, Ranker},
    sample::{Groups, Samples},
    step::{self, Pairs, Scalars, Step},
    table::{Table, without_padding},
};
use crate::{
    backend::{
        Backend, Exchange, Losses, Operations, Parameters, Ranks, Sequence, Settings, Snapshot,
        cpu::{self, table::Parts},
        streams,
    },
    data::graph::Graph as Bipartite,
    error::Result,
    model::{self, Kept, Ranking},
    objective::{BranchKind, ItemHead, Layout, Objective},
    sampling::Sampler,
};

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
    divergence: Divergence,
    /// Where parameters arrive on the host, from the first time on that they do.
    host: Option<[Pinned<f32>; 2]>,
}

/// Tables whose rows are divided into `parts` on the host, without padding.
fn download(
    device: &Device,
    host: &mut Option<[Pinned<f32>; 2]>,
    parts: [Parts; 2],
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
    let rows = |k: usize| Ok(without_padding(host[k].as_slice()?, parts[k]));
    Ok([rows(0)?, rows(1)?])
}

impl<'a> Cuda<'a> {
    /// A training at its first step, from the parameters that the CPU begins with.
    ///
    /// # Errors
    /// [`crate::Error::Config`] for settings that only the CPU can train with, [`crate::Error::DeviceMemory`] if the
    /// training does not fit, [`crate::Error::Device`] if the device fails.
    pub fn new(
        device: &Device,
        (users, items): (u32, u32),
        sampler: Sampler<'a>,
        objective: &dyn Objective,
        settings: Settings,
    ) -> Result<Self> {
        let Settings { dim, storage, branch, seed, adam, catch_up, .. } = settings;
        let data = sampler.data();
        assert!(users >= data.users() && items >= data.items(), "tables smaller than the data");
        let constants = objective.item_constants().map_or(items as usize, <[f32]>::len);
        assert!(constants == items as usize, "{constants} constants for {items} items");
        // Who evaluates it, and how, is not known here.
        check(device, (users, items), &sampler, objective, &settings, 0)?;
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
        let parts = divided(objective, &settings);
        let columns = parts.map(Parts::stride);
        let score = Step::new(device, objective, batch, parts, sampler.steps_per_epoch())?;
        let user_table = Table::xavier(device, users as usize, dim, parts[0], storage, seed, streams::USERS)?;
        let item_table = Table::xavier(device, items as usize, dim, parts[1], storage, seed, streams::ITEMS)?;
        let mut gather = Gather::new(device, columns, storage, slots)?;
        let distinct_users = sampler.users_are_distinct();
        let mut apply = Apply::new(device, objective, parts, storage, batch, slots, distinct_users)?;
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
            item_bias: (objective.item_head() == ItemHead::Bias)
                .then(|| Bias::new(device, items as usize))
                .transpose()?,
            layout: objective.layout(),
            gathered_users: gathered(device, slots[0], columns[0])?,
            gathered_items: gathered(device, slots[1], columns[1])?,
            scalars: score.scalars()?,
            propagation,
            gather,
            groups: objective
                .grouped()
                .then(|| Groups::new(device, objective, chunk, sampler.batch()))
                .transpose()?,
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
    /// [`crate::Error::Device`] if the device fails.
    pub fn branch_moments(&self) -> Result<[Option<model::Branch>; 2]> {
        self.each_branch(Branch::first_moments, Mlp::first_moments)
    }

    /// The items' biases, where there are any.
    pub fn item_bias(&self) -> Option<&Bias> {
        self.item_bias.as_ref()
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
        self.apply.losses.write(losses)?;
        let chunk = u64::from(self.chunk);
        for (length, times) in [(chunk, steps / chunk), (steps % chunk, 1)] {
            if length > 0 && times > 0 {
                let graph = self.graph(length as u32, sequence)?;
                // SAFETY: what was recorded is of this engine, which outlives its graphs; it holds no page-locked
                // memory that steps write.
                unsafe { graph.replay(times)? };
            }
        }
        self.step += steps;
        losses.copy_from_slice(&self.apply.losses.read()?);
        Ok(())
    }

    fn is_finite(&mut self) -> Result<bool> {
        // Branches and biases are small beside the tables.
        let branches = self.each_branch(|branch| branch.read(self.step), Mlp::read)?;
        let branches = branches.iter().flatten().all(model::Branch::is_finite);
        let biases = match &self.item_bias {
            Some(bias) => bias.values.read()?.iter().all(|x| x.is_finite()),
            None => true,
        };
        Ok(self.divergence.all_finite(&[&self.users.p, &self.items.p])? && branches && biases)
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
        if let Some(bias) = &mut self.item_bias {
            bias.exchange("item_bias", exchange)?;
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
        let scored = self.ego_items.as_ref().unwrap_or(items);
        let parts = self.engine.tables().map(Table::parts);
        let tables = DeviceTables {
            // Padding between two vectors is zero, and adds nothing to a score.
            dim: parts[1].first(self.engine.layout.ranked()),
            strides: parts.map(Parts::stride),
            users,
            items,
            item_branch: self.branches[1].as_ref().map(|branch| (branch, scored)),
            popularity,
        };
        Ok(Box::new(Ranker::on_device(&self.engine.device, &tables, rankings, k)?))
    }

    fn round(&mut self) -> Result<()> {
        let Cuda { device, settings, .. } = &*self.engine;
        self.embeddings.iter_mut().try_for_each(|values| adam::round(device, settings.storage, values))
    }

    fn into_parameters(self: Box<Self>) -> Result<Parameters> {
        let Exported { engine, embeddings, branches: [user_branch, item_branch], .. } = *self;
        let Cuda { device, host, propagation, users, items, item_bias, layout, .. } = engine;
        let parts = [users.parts(), items.parts()];
        // With propagation every step moves all rows: parameters are as they stand in the tables.
        let ego = |table: &Table| Ok(without_padding(&table.p.read()?, table.parts()));
        let ego = propagation.is_some().then(|| Ok([ego(users)?, ego(items)?])).transpose()?;
        let item_bias = item_bias.as_ref().map(|bias| bias.values.read()).transpose()?;
        let kept = Kept { item_bias, ..Kept::default() };
        let [users, items] = download(device, host, parts, embeddings.each_ref())?;
        let parameters = Parameters { users, items, user_branch, item_branch, ego, kept };
        Ok(parameters.ranked(*layout, parts))
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
        e.gather.launch(batch, &e.optimiser, &e.rules, e.settings.l2, [users, items])?;
        let Some(mlps) = &mut e.mlps else { return Ok(()) };
        mlps.forward(batch, &e.optimiser, [&mut e.gathered_users, &mut e.gathered_items], &e.scalars)
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
        let mut dx = [None, None];
        if let Some(mlps) = &mut e.mlps {
            mlps.backward(batch, &e.optimiser, [&mut e.gathered_users, &mut e.gathered_items], &e.scalars)?;
            // Of the parameters it is no part of the gradients that are propagated.
            if e.gathered_users.ego.is_none() {
                dx = mlps.dx();
            }
        }
        if let Some(penalty) = &mut e.penalty {
            let gathered = [&e.gathered_users, &e.gathered_items];
            penalty.launch(batch, gathered, e.score.constants(), &mut e.apply.losses)?;
        }
        let users = apply::Side {
            table: &mut e.users,
            branch: e.user_branch.as_mut(),
            dx: dx[0],
            bias: None,
            own: &e.gathered_users,
        };
        let items = apply::Side {
            table: &mut e.items,
            branch: e.item_branch.as_mut(),
            dx: dx[1],
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
        let ego = e.mlps.as_ref().filter(|_| e.gathered_users.ego.is_some());
        let ego = ego.map_or([None, None], Mlps::dx);
        propagation.backward(batch, tables, gradients.each_ref(), ego, e.settings.l2, &e.optimiser)
    }
}
