//! The state of a training on the CPU, and the operations of a step.

use std::sync::{Mutex, PoisonError};

use super::{
    adam::export,
    all_pairs::all_pairs,
    apply::{self, Side, Update},
    bias::Bias,
    branch::{Branch, Head},
    gather::{Fetch, Gathered, Logit, Source},
    penalty,
    propagation::{Batch, ITEMS, Propagation, USERS},
    rank::Ranker,
    sample::{Plan, Scratch},
    step::{Rows, Scalars, collect, scores},
    table::Table,
    team::Team,
};
use crate::{
    backend::{
        Backend, Exchange, Losses, Operations, Parameters, Ranks, Sequence, Settings, Snapshot, streams,
    },
    data::graph::Graph,
    error::Result,
    model::{self, Kept, Ranking, Tables},
    objective::{BranchInput, ItemHead, Objective, PARTS},
    optim::Rules,
    sampling::Sampler,
    storage::Storage,
};

/// Steps whose samples are drawn together, in parallel.
const DRAWN_AHEAD: usize = 16;

/// The parameters of a branch, where there is one.
fn head(branch: &Option<Branch>) -> Option<Head<'_>> {
    branch.as_ref().map(Branch::head)
}

/// A training on the CPU.
#[derive(Debug)]
pub struct Cpu<'a> {
    sampler: Sampler<'a>,
    objective: Box<dyn Objective>,
    settings: Settings,
    users: Table,
    items: Table,
    user_branch: Option<Branch>,
    item_branch: Option<Branch>,
    item_bias: Option<Bias>,
    /// LightGCN.
    propagation: Option<Propagation<'a>>,
    /// Steps done.
    step: u64,
    /// Sums of losses, while [`Backend::advance`] lasts.
    losses: Losses,
    /// Plans of steps up to `drawn`, that of step t at t modulo their number.
    plans: Vec<Plan>,
    drawn: u64,
    scratch: Mutex<Vec<Scratch>>,
    gathered_users: Gathered,
    gathered_items: Gathered,
    scalars: Scalars,
}

impl<'a> Cpu<'a> {
    /// A training at its first step.
    ///
    /// # Errors
    /// If the tables do not fit into memory.
    pub fn new(
        (users, items): (u32, u32),
        sampler: Sampler<'a>,
        objective: Box<dyn Objective>,
        settings: Settings,
    ) -> Result<Self> {
        let Settings { dim, storage, branch, seed, adam, .. } = settings;
        let branch = |stream| Branch::new(branch, dim, seed, stream);
        let [user_shape, item_shape] = objective.layout().shapes(dim, settings.lightgcn.is_some());
        let users = Table::xavier(users as usize, dim, user_shape, storage, seed, streams::USERS)?;
        let items = Table::xavier(items as usize, dim, item_shape, storage, seed, streams::ITEMS)?;
        let propagate = |lightgcn| {
            let graph = Graph::new(sampler.data());
            Team::enter(|team| Propagation::new(graph, lightgcn, [&users, &items], team))
        };
        let propagation = settings.lightgcn.map(propagate).transpose()?;
        Ok(Cpu {
            propagation,
            item_bias: (objective.item_head() == ItemHead::Bias).then(|| Bias::new(items.rows())),
            users,
            items,
            user_branch: objective.user_branch().then(|| branch(streams::USER_BRANCH)),
            item_branch: objective.item_branch().then(|| branch(streams::ITEM_BRANCH)),
            sampler,
            objective,
            settings,
            step: 0,
            losses: Losses::default(),
            plans: (0..DRAWN_AHEAD).map(|_| Plan::new(adam)).collect(),
            drawn: 0,
            scratch: Mutex::default(),
            gathered_users: Gathered::default(),
            gathered_items: Gathered::default(),
            scalars: Scalars::default(),
        })
    }

    /// The tables of users and items, as the steps left them.
    pub fn tables(&self) -> [&Table; 2] {
        [&self.users, &self.items]
    }

    /// Which of the branches of users and items score the parameters rather than what these are propagated to.
    fn ego_branches(&self) -> [bool; 2] {
        let ego = self.settings.has_ego_branches(self.objective.as_ref());
        [&self.user_branch, &self.item_branch].map(|branch| ego && branch.is_some())
    }

    /// First moments of the branches of users and items.
    pub fn branch_moments(&self) -> [Option<model::Branch>; 2] {
        [&self.user_branch, &self.item_branch].map(|b| b.as_ref().map(Branch::first_moments))
    }

    /// `[I]`: first moments of the items' biases, where there are any.
    pub fn bias_moments(&self) -> Option<&[f32]> {
        self.item_bias.as_ref().map(Bias::first_moments)
    }
}

impl Backend for Cpu<'_> {
    fn sampler(&self) -> &Sampler<'_> {
        &self.sampler
    }

    fn advance(&mut self, steps: u64, sequence: Sequence<'_>, losses: &mut Losses) -> Result<()> {
        self.losses = *losses;
        Team::enter(|team| {
            let mut lead = Lead { engine: self, team };
            (0..steps).try_for_each(|_| sequence(&mut lead))
        })?;
        *losses = self.losses;
        Ok(())
    }

    fn is_finite(&mut self) -> Result<bool> {
        let branches = [&self.user_branch, &self.item_branch].into_iter().flatten();
        Ok(self.users.is_finite()
            && self.items.is_finite()
            && branches.into_iter().all(Branch::is_finite)
            && self.item_bias.iter().all(|bias| bias.values().iter().all(|x| x.is_finite())))
    }

    fn exchange(&mut self, exchange: &mut Exchange<'_>) -> Result<()> {
        exchange.step(&mut self.step);
        self.users.exchange("users", exchange)?;
        self.items.exchange("items", exchange)?;
        for (name, branch) in [("user_branch", &mut self.user_branch), ("item_branch", &mut self.item_branch)]
        {
            if let Some(branch) = branch {
                branch.exchange(name, exchange)?;
            }
        }
        if let Some(bias) = &mut self.item_bias {
            bias.exchange("item_bias", exchange)?;
        }
        if exchange.loads() {
            self.drawn = self.step;
            if let Some(propagation) = &mut self.propagation {
                propagation.scale_parameters([&self.users, &self.items]);
            }
        }
        Ok(())
    }

    fn snapshot(&mut self) -> Result<Box<dyn Snapshot + '_>> {
        let Settings { dim, storage, branch_input, adam, catch_up, .. } = self.settings;
        let rules = Rules::new(adam, self.step);
        let tables = [&self.users, &self.items];
        let own = tables.map(|table| export(table, &rules, &adam, catch_up));
        let ([users, items], ego) = match &mut self.propagation {
            None => (own, None),
            Some(propagation) => (Team::enter(|team| propagation.export(team, tables)), Some(own)),
        };
        let parameters = Parameters {
            users,
            items,
            ego,
            kept: Kept {
                item_bias: self.item_bias.as_ref().map(|bias| bias.values().to_vec()),
                ..Kept::default()
            },
            user_branch: self.user_branch.as_ref().map(Branch::export),
            item_branch: self.item_branch.as_ref().map(Branch::export),
        }
        .ranked(self.objective.layout(), tables.map(Table::parts));
        Ok(Box::new(Exported { dim, storage, branch_input, parameters }))
    }
}

/// A copy of the state.
#[derive(Debug)]
pub(super) struct Exported {
    pub dim: usize,
    pub storage: Storage,
    pub branch_input: BranchInput,
    pub parameters: Parameters,
}

impl Snapshot for Exported {
    fn ranker<'s>(
        &'s self,
        popularity: &'s [u32],
        rankings: &[Ranking],
        k: usize,
    ) -> Result<Box<dyn Ranks + 's>> {
        let Parameters { users, items, item_branch, ego, .. } = &self.parameters;
        let scored = self.branch_input.choose(items, ego.as_ref().map(|[_, items]| items.as_slice()));
        let gates = item_branch.as_ref().map(|branch| branch.gates(scored, self.dim).into());
        let tables = Tables::new(self.dim, users, items, gates, popularity)?;
        Ok(Box::new(Ranker::new(&tables, rankings, k)?))
    }

    fn round(&mut self) -> Result<()> {
        self.storage.round(&mut self.parameters.users);
        self.storage.round(&mut self.parameters.items);
        Ok(())
    }

    fn into_parameters(self: Box<Self>) -> Result<Parameters> {
        Ok(self.parameters)
    }
}

/// The leading thread of a training and the team that helps it.
struct Lead<'l, 'a> {
    engine: &'l mut Cpu<'a>,
    team: &'l Team<'l>,
}

impl Operations for Lead<'_, '_> {
    /// Draws several steps' samples at once, a step a task.
    fn sample(&mut self) -> Result<()> {
        let Cpu { sampler, users, items, step, plans, drawn, scratch, .. } = &mut *self.engine;
        if *drawn > *step {
            return Ok(());
        }
        let (scratch, first, ahead) = (&*scratch, *step, plans.len() as u64);
        plans.rotate_left((first % ahead) as usize);
        let mut tasks: Vec<(u64, &mut Plan)> = (first..).zip(&mut *plans).collect();
        self.team.for_each(&mut tasks, |(step, plan)| {
            let pool = || scratch.lock().unwrap_or_else(PoisonError::into_inner);
            let taken = pool().pop();
            let mut mine = taken.unwrap_or_else(|| Scratch::new(users.rows(), items.rows()));
            plan.draw(*step, sampler, &mut mine);
            pool().push(mine);
        });
        plans.rotate_right((first % ahead) as usize);
        *drawn = first + ahead;
        Ok(())
    }

    fn propagate(&mut self) -> Result<()> {
        let Cpu { users, items, propagation, .. } = &mut *self.engine;
        if let Some(propagation) = propagation {
            propagation.forward(self.team, [users, items]);
        }
        Ok(())
    }

    fn gather(&mut self) -> Result<()> {
        let ego = self.engine.ego_branches();
        let Cpu {
            settings,
            users,
            items,
            user_branch,
            item_branch,
            item_bias,
            propagation,
            step,
            plans,
            gathered_users,
            gathered_items,
            ..
        } = &mut *self.engine;
        let Settings { adam, catch_up, .. } = *settings;
        let plan = plan(plans, *step);
        let fetch = |ego| match propagation {
            None => Fetch::Rows,
            Some(_) if ego => Fetch::Ego,
            Some(_) => Fetch::Nothing,
        };
        let [fetch_users, fetch_items] = ego.map(fetch);
        let branch = |branch| head(branch).map_or(Logit::None, Logit::Branch);
        let user_logit = branch(user_branch);
        let user_source =
            Source { table: users, fetch: fetch_users, touched: &plan.users, logit: user_logit };
        let item_logit = item_bias.as_ref().map_or(branch(item_branch), |bias| Logit::Bias(bias.values()));
        let item_source =
            Source { table: items, fetch: fetch_items, touched: &plan.items, logit: item_logit };
        if let Some(propagation) = propagation {
            for (side, source, gathered) in
                [(USERS, &user_source, &mut *gathered_users), (ITEMS, &item_source, &mut *gathered_items)]
            {
                let ids = Some(source.touched.rows.as_slice());
                let out = gathered.rows_of(source);
                propagation.last_layer(self.team, side, source.table, &propagation.work(side, ids), ids, out);
            }
        }
        let mut tasks: Vec<_> = gathered_users.tasks(user_source).collect();
        tasks.extend(gathered_items.tasks(item_source));
        self.team.for_each(&mut tasks, |task| task.run(&plan.rules, &adam, catch_up));
        Ok(())
    }

    fn step(&mut self) -> Result<()> {
        let Cpu {
            sampler,
            objective,
            users,
            items,
            step,
            plans,
            gathered_users,
            gathered_items,
            scalars,
            ..
        } = &mut *self.engine;
        let rows = Rows {
            plan: plan(plans, *step),
            users: (gathered_users, users.parts()),
            items: (gathered_items, items.parts()),
            item_constants: objective.item_constants(),
            epoch: *step / sampler.steps_per_epoch(),
        };
        scores(self.team, rows, objective.as_ref(), scalars);
        Ok(())
    }

    fn all_pairs(&mut self) -> Result<()> {
        let Cpu { objective, step, plans, scalars, .. } = &mut *self.engine;
        let objective = objective.as_ref();
        if let Some(form) = objective.all_pairs() {
            all_pairs(self.team, objective, form, plan(plans, *step).rows, scalars);
            self.team.for_each(&mut scalars.tiles, |tile| objective.stage(tile));
        }
        Ok(())
    }

    fn apply(&mut self) -> Result<()> {
        let ego = self.engine.ego_branches();
        let Cpu {
            objective,
            settings,
            users,
            items,
            user_branch,
            item_branch,
            item_bias,
            propagation,
            step,
            losses,
            plans,
            gathered_users,
            gathered_items,
            scalars,
            ..
        } = &mut *self.engine;
        let Settings { adam, catch_up, l2, .. } = *settings;
        let plan = plan(plans, *step);
        let rows = plan.rows;
        let divided = objective.layout().is_divided();
        let parts = collect(rows, divided, scalars);
        let constants = objective.item_constants().unwrap_or(&[]);
        let pulls = objective.penalty().map(|penalty| {
            let of = |table: &Table, touched, gathered, constants| {
                let rows = penalty::Rows { parts: table.parts(), touched, gathered, constants };
                penalty.pull(self.team, rows, plan.rows)
            };
            [of(users, &plan.users, gathered_users, &[]), of(items, &plan.items, gathered_items, constants)]
        });
        let pulls = pulls.unwrap_or([None, None]);
        let penalty_loss: f64 = pulls.iter().flatten().map(|(value, _)| value).sum();
        let pull = |side: usize| pulls[side].as_ref().map(|(_, pull)| (pull, [&[], constants][side]));

        let [l2_user, l2_item] = l2_of_sample(l2, rows);
        let l2_loss =
            0.5 * (f64::from(l2_user) * gathered_users.norm() + f64::from(l2_item) * gathered_items.norm());

        let Scalars { score_gradient, second_gradient, user_gradient, item_gradient, .. } = &*scalars;
        let second_gradient = divided.then_some(second_gradient.as_slice());
        let user_side = Side {
            parts: users.parts(),
            touched: &plan.users,
            own: gathered_users,
            partner_slot: &plan.items.slot,
            partners: &gathered_items.rows,
            partner_parts: items.parts(),
            score_gradient,
            second_gradient,
            pull: pull(USERS),
            branch: head(user_branch).map(|head| (user_gradient.as_slice(), head)),
            l2: l2_user,
        };
        let item_side = Side {
            parts: items.parts(),
            touched: &plan.items,
            own: gathered_items,
            partner_slot: &plan.users.slot,
            partners: &gathered_users.rows,
            partner_parts: users.parts(),
            score_gradient,
            second_gradient,
            pull: pull(ITEMS),
            branch: head(item_branch).map(|head| (item_gradient.as_slice(), head)),
            l2: l2_item,
        };
        let update = Update { adam: &adam, catch_up, rules: &plan.rules };
        // In the order of gathering, so that a row is updated by the thread whose cache it is in.
        let (user_table, item_table) = (users.shared(), items.shared());
        let mut tasks: Vec<_>;
        let user_tasks;
        match propagation {
            None => {
                tasks = apply::tasks(&user_table, &user_side).collect();
                user_tasks = tasks.len();
                tasks.extend(apply::tasks(&item_table, &item_side));
            }
            Some(propagation) => {
                let [users, items] = propagation.gradients(batch(plan), ego);
                tasks = apply::gradient_tasks(users, &user_side).collect();
                user_tasks = tasks.len();
                tasks.extend(apply::gradient_tasks(items, &item_side));
            }
        }
        self.team.for_each(&mut tasks, |task| task.run(&update));
        let of_users = apply::branch_gradient(&tasks[..user_tasks]);
        let of_items = apply::branch_gradient(&tasks[user_tasks..]);
        for (branch, gradient) in [(user_branch, of_users), (item_branch, of_items)] {
            if let Some(branch) = branch {
                branch.update(&gradient, &adam, *step + 1);
            }
        }
        if let Some(bias) = item_bias {
            bias.update(self.team, &plan.items, item_gradient, &adam, *step + 1);
        }
        let (of_parts, others) = losses.split_at_mut(PARTS);
        for (sum, part) in
            of_parts.iter_mut().zip(parts).chain(others.iter_mut().zip([penalty_loss, l2_loss]))
        {
            *sum += part;
        }
        *step += u64::from(settings.lightgcn.is_none());
        Ok(())
    }

    fn backward(&mut self) -> Result<()> {
        let Cpu { settings, users, items, propagation, step, plans, .. } = &mut *self.engine;
        if let Some(propagation) = propagation {
            let plan = plan(plans, *step);
            let l2 = l2_of_sample(settings.l2, plan.rows);
            *step += 1;
            propagation.backward(self.team, [users, items], batch(plan), l2, &settings.adam, *step);
        }
        Ok(())
    }
}

/// The rows that a step touches, of users and items.
fn batch(plan: &Plan) -> [Batch<'_>; 2] {
    [&plan.users, &plan.items].map(|touched| Batch { ids: &touched.rows, starts: &touched.starts })
}

/// L2 coefficient of each sample of a user and of an item: a user is counted once a row, and so half for each of the
/// row's two samples.
fn l2_of_sample(l2: f32, rows: usize) -> [f32; 2] {
    let item = l2 / rows as f32;
    [item / 2.0, item]
}

/// The plan of step `step`.
fn plan(plans: &[Plan], step: u64) -> &Plan {
    &plans[(step % plans.len() as u64) as usize]
}
