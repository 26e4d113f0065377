//! The state of a training on the CPU, and the sequence of operations of one step.

use std::sync::{Mutex, PoisonError};

use super::{
    all_pairs::all_pairs,
    apply::{self, Side, Update},
    gather::{Gathered, Source, adam_step, export},
    sample::{Plan, Scratch},
    step::{Scalars, collect, scores},
    table::{Table, fill_uniform},
    team::Team,
};
use crate::{
    error::Result,
    objective::{Objective, PARTS},
    optim::{Adam, CatchUp, Rules},
    sampling::Sampler,
    simd::LANES,
};

/// Steps whose samples are drawn together, in parallel.
const DRAWN_AHEAD: usize = 16;
/// Streams of the initialisation.
const USERS: u32 = 0;
const ITEMS: u32 = 1;
const USER_BRANCH: u32 = 2;
const ITEM_BRANCH: u32 = 3;

/// What a training is made of, apart from its data.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Embedding size D.
    pub dim: usize,
    /// Adam's constants.
    pub adam: Adam,
    /// How rows that a step does not touch are kept up with.
    pub catch_up: CatchUp,
    /// L2 coefficient lambda.
    pub l2: f32,
    /// Seed of initialisation and samples.
    pub seed: u64,
}

/// A branch vector with its moments, `[stride]` each; dense Adam.
#[derive(Debug)]
struct Branch {
    weight: Vec<f32>,
    moments: [Vec<f32>; 2],
}

impl Branch {
    /// Xavier-uniform, +-sqrt(6 / (D + 1)).
    fn new(dim: usize, seed: u64, stream: u32) -> Self {
        let mut weight = vec![0f32; dim.next_multiple_of(LANES)];
        fill_uniform(&mut weight[..dim], (6.0 / (dim + 1) as f64).sqrt(), seed, stream, 0);
        Branch { moments: [vec![0.0; weight.len()], vec![0.0; weight.len()]], weight }
    }

    fn update(&mut self, gradient: &[f32], adam: &Adam, step: u64) {
        let rate = adam.rate(step) as f32;
        let [m, v] = &mut self.moments;
        for (((p, m), v), &g) in self.weight.iter_mut().zip(m).zip(v).zip(gradient) {
            (*p, *m, *v) = adam_step(*p, *m, *v, g, rate, adam);
        }
    }
}

/// The vector of a branch, where there is one.
fn weight(branch: &Option<Branch>) -> Option<&[f32]> {
    branch.as_ref().map(|b| b.weight.as_slice())
}

/// Final embeddings and branch vectors, without padding.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameters {
    /// `[U, D]`.
    pub users: Vec<f32>,
    /// `[I, D]`.
    pub items: Vec<f32>,
    /// `[D]`.
    pub user_branch: Option<Vec<f32>>,
    /// `[D]`.
    pub item_branch: Option<Vec<f32>>,
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
    /// Steps done.
    step: u64,
    plans: Vec<Plan>,
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
        let Settings { dim, seed, adam, .. } = settings;
        Ok(Cpu {
            users: Table::xavier(users as usize, dim, seed, USERS)?,
            items: Table::xavier(items as usize, dim, seed, ITEMS)?,
            user_branch: objective.user_branch().then(|| Branch::new(dim, seed, USER_BRANCH)),
            item_branch: objective.item_branch().then(|| Branch::new(dim, seed, ITEM_BRANCH)),
            sampler,
            objective,
            settings,
            step: 0,
            plans: (0..DRAWN_AHEAD).map(|_| Plan::new(adam)).collect(),
            scratch: Mutex::default(),
            gathered_users: Gathered::default(),
            gathered_items: Gathered::default(),
            scalars: Scalars::default(),
        })
    }

    /// Where samples come from.
    pub fn sampler(&self) -> &Sampler<'a> {
        &self.sampler
    }

    /// Runs `steps` steps. Returns the parts of the loss and, last, its L2 term, summed over the steps.
    pub fn run(&mut self, steps: u64) -> [f64; PARTS + 1] {
        Team::enter(|team| {
            let mut total = [0f64; PARTS + 1];
            let end = self.step + steps;
            while self.step < end {
                let ahead = DRAWN_AHEAD.min((end - self.step) as usize);
                self.draw(team, ahead);
                let plans = std::mem::take(&mut self.plans);
                for plan in &plans[..ahead] {
                    for (total, loss) in total.iter_mut().zip(self.one_step(team, plan)) {
                        *total += loss;
                    }
                }
                self.plans = plans;
            }
            total
        })
    }

    fn draw(&mut self, team: &Team, ahead: usize) {
        let (step, sampler, scratch) = (self.step, &self.sampler, &self.scratch);
        let (users, items) = (self.users.rows(), self.items.rows());
        let mut tasks: Vec<(u64, &mut Plan)> = (step..).zip(&mut self.plans[..ahead]).collect();
        team.for_each(&mut tasks, |(step, plan)| {
            let pool = || scratch.lock().unwrap_or_else(PoisonError::into_inner);
            let taken = pool().pop();
            let mut mine = taken.unwrap_or_else(|| Scratch::new(users, items));
            plan.draw(*step, sampler, &mut mine);
            pool().push(mine);
        });
    }

    fn one_step(&mut self, team: &Team, plan: &Plan) -> [f64; PARTS + 1] {
        let Settings { adam, catch_up, l2, .. } = self.settings;
        let (stride, rows, rules) = (self.users.stride(), plan.rows, &plan.rules);
        let objective = self.objective.as_ref();

        let user_source =
            Source { table: &self.users, touched: &plan.users, branch: weight(&self.user_branch) };
        let item_source =
            Source { table: &self.items, touched: &plan.items, branch: weight(&self.item_branch) };
        let mut tasks: Vec<_> = self.gathered_users.tasks(user_source).collect();
        tasks.extend(self.gathered_items.tasks(item_source));
        team.for_each(&mut tasks, |task| task.run(rules, &adam, catch_up));
        drop(tasks);

        let gathered = (&self.gathered_users, &self.gathered_items);
        match objective.all_pairs() {
            None => scores(team, plan, gathered, stride, Some(objective), &mut self.scalars),
            Some(form) => {
                scores(team, plan, gathered, stride, None, &mut self.scalars);
                all_pairs(team, objective, form, rows, &mut self.scalars);
                team.for_each(&mut self.scalars.tiles, |tile| objective.stage(tile));
            }
        }
        let [main, item, user] = collect(rows, &mut self.scalars);

        // A user is counted once a row, and so half for each of the row's two samples.
        let l2_item = l2 / rows as f32;
        let l2_user = l2_item / 2.0;
        let l2_loss = 0.5
            * (f64::from(l2_user) * self.gathered_users.norm()
                + f64::from(l2_item) * self.gathered_items.norm());

        let (user_vector, item_vector) = (weight(&self.user_branch), weight(&self.item_branch));
        let Scalars { score_gradient, user_gradient, item_gradient, .. } = &self.scalars;
        let user_side = Side {
            touched: &plan.users,
            own: &self.gathered_users,
            partner_slot: &plan.items.slot,
            partners: &self.gathered_items.rows,
            score_gradient,
            branch: user_vector.map(|v| (user_gradient.as_slice(), v)),
            l2: l2_user,
        };
        let item_side = Side {
            touched: &plan.items,
            own: &self.gathered_items,
            partner_slot: &plan.users.slot,
            partners: &self.gathered_users.rows,
            score_gradient,
            branch: item_vector.map(|w| (item_gradient.as_slice(), w)),
            l2: l2_item,
        };
        let update = Update { adam: &adam, catch_up, rules };
        let (users, items) = (self.users.shared(), self.items.shared());
        // In the order of gathering, so that a row is updated by the thread whose cache it is in.
        let mut tasks: Vec<_> = apply::tasks(&users, &user_side).collect();
        let user_tasks = tasks.len();
        tasks.extend(apply::tasks(&items, &item_side));
        team.for_each(&mut tasks, |task| task.run(&update));
        let user_gradient = apply::branch_gradient(&tasks[..user_tasks], stride);
        let item_gradient = apply::branch_gradient(&tasks[user_tasks..], stride);
        self.step += 1;
        for (branch, gradient) in
            [(&mut self.user_branch, user_gradient), (&mut self.item_branch, item_gradient)]
        {
            if let Some(branch) = branch {
                branch.update(&gradient, &adam, self.step);
            }
        }
        [main, item, user, l2_loss]
    }

    /// The parameters after the steps done so far, every row caught up; the training's own state is not touched.
    pub fn parameters(&self) -> Parameters {
        let Settings { dim, adam, catch_up, .. } = self.settings;
        let rules = Rules::new(adam, self.step);
        let vector = |branch: &Option<Branch>| branch.as_ref().map(|b| b.weight[..dim].to_vec());
        Parameters {
            users: export(&self.users, &rules, &adam, catch_up),
            items: export(&self.items, &rules, &adam, catch_up),
            user_branch: vector(&self.user_branch),
            item_branch: vector(&self.item_branch),
        }
    }

    /// The tables of users and items, as the steps left them.
    pub fn tables(&self) -> [&Table; 2] {
        [&self.users, &self.items]
    }

    /// First moments of the branch vectors (users, items), `[D]`.
    pub fn branch_moments(&self) -> [Option<&[f32]>; 2] {
        let dim = self.settings.dim;
        [&self.user_branch, &self.item_branch].map(|b| b.as_ref().map(|b| &b.moments[0][..dim]))
    }
}
