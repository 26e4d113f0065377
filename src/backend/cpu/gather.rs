//! `gather`: the touched rows of a table, caught up to the state before the step, side by side in a buffer.
//!
//! A row moves 8D bytes in for its moments, 4D or 2D for its parameters, and 4D out; the buffer of a batch stays in the
//! cache for `step` and `apply`.

use super::{adam::catch_up_rows, branch::Head, sample::Touched, table::Table};
use crate::{
    optim::{Adam, CatchUp, Rules},
    simd::{Lines, dot, squares, vectorised},
    storage::with_storage,
};

/// Slots per task.
pub const SLOTS: usize = 64;

/// The touched rows of one table, by slot.
#[derive(Debug, Default)]
pub struct Gathered {
    /// `[n, stride]`: final embeddings before the step.
    pub rows: Lines,
    /// `[n, stride]`: the parameters, where the branch scores these rather than `rows`; else empty.
    ego: Lines,
    /// `[n]`: logit of the side's head, 0 without one.
    pub logit: Vec<f32>,
    /// `[tasks]`: squared norms of each task's rows, each as often as it has samples.
    norms: Vec<f64>,
}

/// One table's part in a phase of gathering.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The parameters.
    pub table: &'a Table,
    /// What is fetched from it.
    pub fetch: Fetch,
    /// Which of them are wanted.
    pub touched: &'a Touched,
    /// What gives its rows a logit.
    pub logit: Logit<'a>,
}

/// What is fetched from a table, caught up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetch {
    /// The rows: the parameters are the final embeddings.
    Rows,
    /// Nothing: the rows are in the buffer already, as LightGCN's last layer has left them.
    Nothing,
    /// The parameters, for the branch to score: the rows are in the buffer already.
    Ego,
}

/// Where the logits of a side come from.
#[derive(Debug, Clone, Copy)]
pub enum Logit<'a> {
    /// They are 0.
    None,
    /// A branch.
    Branch(Head<'a>),
    /// `[rows of the table]`: a bias for each.
    Bias(&'a [f32]),
}

/// [`SLOTS`] rows to fetch, and where to.
#[derive(Debug)]
pub struct Task<'a> {
    source: Source<'a>,
    /// The first slot.
    first: usize,
    /// Those that are fetched, or that are there.
    rows: &'a mut [f32],
    logits: &'a mut [f32],
    norm: &'a mut f64,
}

impl Gathered {
    /// Makes room for the rows of `source` and cuts the work into tasks.
    pub fn tasks<'a>(&'a mut self, source: Source<'a>) -> impl Iterator<Item = Task<'a>> {
        let (n, stride) = (source.touched.rows.len(), source.table.stride());
        self.rows_of(&source);
        // Without a head the logits stay what they are: 0.
        self.logit.resize(n, 0.0);
        self.norms.resize(n.div_ceil(SLOTS), 0.0);
        let rows = if source.fetch == Fetch::Ego {
            self.ego.resize(n * stride);
            &mut self.ego
        } else {
            &mut self.rows
        };
        let tasks = rows
            .chunks_mut(SLOTS * stride)
            .zip(self.logit.chunks_mut(SLOTS))
            .zip(&mut self.norms)
            .enumerate();
        tasks.map(move |(k, ((rows, logits), norm))| Task { source, first: k * SLOTS, rows, logits, norm })
    }

    /// The rows of `source`, to be filled before its tasks.
    pub fn rows_of(&mut self, source: &Source<'_>) -> &mut [f32] {
        self.rows.resize(source.touched.rows.len() * source.table.stride());
        &mut self.rows
    }

    /// `[n, stride]`: what the side's branch scores.
    pub fn scored(&self) -> &[f32] {
        if self.ego.is_empty() { &self.rows } else { &self.ego }
    }

    /// Squared norms of the rows, each as often as it has samples.
    pub fn norm(&self) -> f64 {
        self.norms.iter().sum()
    }
}

impl Task<'_> {
    /// Fetches the rows.
    pub fn run(&mut self, rules: &Rules, adam: &Adam, catch_up: CatchUp) {
        let Source { table, fetch, touched, logit } = self.source;
        let slots = self.first..self.first + self.logits.len();
        let (ids, starts) = (&touched.rows[slots.clone()], &touched.starts[slots.start..=slots.end]);
        if fetch != Fetch::Nothing {
            catch_up_rows(table, ids, rules, adam, catch_up, self.rows);
        }
        match logit {
            Logit::None => {}
            Logit::Branch(branch) => branch_logits(branch, self.rows, self.logits),
            Logit::Bias(bias) => {
                for (logit, &id) in self.logits.iter_mut().zip(ids) {
                    *logit = bias[id as usize];
                }
            }
        }
        // L2 is on the parameters.
        *self.norm = match fetch {
            Fetch::Nothing => parameter_norm(table, ids, starts),
            Fetch::Rows | Fetch::Ego => norm(self.rows, starts),
        };
    }
}

vectorised! {
    /// Squared norms of the rows, each times the distance of its two `starts`.
    fn norm(rows: &[f32], starts: &[u32]) -> f64 {
        let stride = rows.len() / (starts.len() - 1);
        let mut sum = 0.0;
        for (k, row) in rows.chunks_exact(stride).enumerate() {
            sum += f64::from(starts[k + 1] - starts[k]) * f64::from(dot(row, row));
        }
        sum
    }
}

vectorised! {
    fn branch_logits(branch: Head<'_>, rows: &[f32], logits: &mut [f32]) {
        let stride = rows.len() / logits.len();
        for (logit, row) in logits.iter_mut().zip(rows.chunks_exact(stride)) {
            *logit = branch.logit(row);
        }
    }
}

vectorised! {
    /// As [`norm`], of rows of a table that are up to date.
    fn parameter_norm(table: &Table, ids: &[u32], starts: &[u32]) -> f64 {
        let mut sum = 0.0;
        for (k, &id) in ids.iter().enumerate() {
            let squares = with_storage!(table.storage(), T => squares(table.record::<T>(id).p));
            sum += f64::from(starts[k + 1] - starts[k]) * f64::from(squares);
        }
        sum
    }
}
