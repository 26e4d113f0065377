//! `apply`: per touched row, the sum of coefficient x partner row in the order of the samples, L2, then Adam in place.
//!
//! A row belongs to one slot and a slot to one task, so there are no races and the order of every sum is fixed. A
//! sample moves 4D bytes (a partner row, from the cache), a slot 2 x 3 x 4D.

use super::{
    branch::Head,
    gather::{Gathered, SLOTS, adam_step},
    sample::Touched,
    table::SharedTable,
};
use crate::{
    optim::{Adam, CatchUp, Rules},
    simd::{blocks, vectorised},
};

/// What `apply` needs to know of one side (users or items) of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// The side's own touched rows.
    pub touched: &'a Touched,
    /// Their parameters before the step.
    pub own: &'a Gathered,
    /// Slot of each sample's partner on the other side.
    pub partner_slot: &'a [u32],
    /// The other side's rows before the step, `[n, stride]`.
    pub partners: &'a [f32],
    /// `[2B]`: dL/da by sample.
    pub score_gradient: &'a [f32],
    /// `[2B]`: dL/dy by sample, and what y is, where there is a branch.
    pub branch: Option<(&'a [f32], Head<'a>)>,
    /// L2 coefficient for each sample of a row (lambda / B; half of it for users, who are counted once a row).
    pub l2: f32,
}

/// The optimiser's settings for one step.
#[derive(Debug, Clone, Copy)]
pub struct Update<'a> {
    /// Adam's constants.
    pub adam: &'a Adam,
    /// How missed steps are made up for.
    pub catch_up: CatchUp,
    /// Rules for the state before the step.
    pub rules: &'a Rules,
}

/// [`SLOTS`] touched rows to update.
#[derive(Debug)]
pub struct Task<'a> {
    table: &'a SharedTable<'a>,
    side: &'a Side<'a>,
    first: usize,
    /// `[stride]`: what comes to a row's gradient from the branch; empty without one.
    from_branch: Vec<f32>,
    /// This task's part of the gradient of the branch's parameters; empty without a branch.
    branch_gradient: Vec<f32>,
}

/// Cuts the update of one side's touched rows into tasks.
pub fn tasks<'a>(table: &'a SharedTable<'a>, side: &'a Side<'a>) -> impl Iterator<Item = Task<'a>> {
    let stride = table.stride();
    (0..side.touched.rows.len()).step_by(SLOTS).map(move |first| Task {
        table,
        side,
        first,
        from_branch: vec![0.0; if side.branch.is_some() { stride } else { 0 }],
        branch_gradient: vec![0.0; side.branch.map_or(0, |(_, head)| head.len())],
    })
}

impl Task<'_> {
    /// Updates the rows.
    pub fn run(&mut self, update: &Update<'_>) {
        let rows = &self.side.touched.rows;
        let ids = &rows[self.first..rows.len().min(self.first + SLOTS)];
        apply_chunk(
            self.table,
            ids,
            self.first,
            self.side,
            update,
            &mut self.from_branch,
            &mut self.branch_gradient,
        );
    }
}

/// Gradient of a branch's parameters: the tasks' parts, summed in their order; empty without a branch.
pub fn branch_gradient(tasks: &[Task<'_>]) -> Vec<f32> {
    let mut sum = vec![0f32; tasks.first().map_or(0, |task| task.branch_gradient.len())];
    for task in tasks {
        for (sum, &part) in sum.iter_mut().zip(&task.branch_gradient) {
            *sum += part;
        }
    }
    sum
}

vectorised! {
    fn apply_chunk(
        table: &SharedTable<'_>,
        ids: &[u32],
        first: usize,
        side: &Side<'_>,
        update: &Update<'_>,
        from_branch: &mut [f32],
        branch_gradient: &mut [f32],
    ) {
        const AHEAD: usize = 4;
        let stride = table.stride();
        let rate = update.adam.rate(update.rules.now() + 1) as f32;
        for (k, &id) in ids.iter().enumerate() {
            if let Some(&next) = ids.get(k + AHEAD) {
                table.prefetch(next);
            }
            let slot = first + k;
            let samples = side.touched.samples(slot);
            // SAFETY: slots have distinct rows, and chunks distinct slots.
            let (record, last) = unsafe { table.row_mut(id) };
            let (p, rest) = record.split_at_mut(stride);
            let (m, v) = rest.split_at_mut(stride);
            let [decay1, decay2] = missed(m, v, *last, update);
            let own = &side.own.rows[slot * stride..][..stride];
            let l2 = side.l2 * samples.len() as f32;
            if let Some((logit_gradient, head)) = side.branch {
                let mut upstream = 0.0;
                for &sample in samples {
                    upstream += logit_gradient[sample as usize];
                }
                from_branch.fill(0.0);
                head.backward(own, upstream, from_branch, branch_gradient);
            }
            blocks!(stride, |at, N| {
                let own = &own[at..][..N];
                let mut gradient = [0f32; N];
                for j in 0..N {
                    gradient[j] = l2 * own[j];
                }
                for &sample in samples {
                    let coefficient = side.score_gradient[sample as usize];
                    let partner = side.partner_slot[sample as usize] as usize;
                    let partner = &side.partners[partner * stride + at..][..N];
                    for j in 0..N {
                        gradient[j] = coefficient.mul_add(partner[j], gradient[j]);
                    }
                }
                if side.branch.is_some() {
                    let from_branch = &from_branch[at..][..N];
                    for j in 0..N {
                        gradient[j] += from_branch[j];
                    }
                }
                // By way of registers: the compiler need not ask whether p, m and v overlap.
                let (mut p_new, mut m_new, mut v_new) = ([0f32; N], [0f32; N], [0f32; N]);
                let (m_old, v_old) = (&m[at..][..N], &v[at..][..N]);
                for j in 0..N {
                    (p_new[j], m_new[j], v_new[j]) = adam_step(
                        own[j],
                        m_old[j] * decay1,
                        v_old[j] * decay2,
                        gradient[j],
                        rate,
                        update.adam,
                    );
                }
                p[at..][..N].copy_from_slice(&p_new);
                m[at..][..N].copy_from_slice(&m_new);
                v[at..][..N].copy_from_slice(&v_new);
            });
            *last = update.rules.now() + 1;
        }
    }
}

/// How the steps that a row has missed since step `last` decay its moments: by these factors, or done here.
#[inline(always)]
fn missed(m: &mut [f32], v: &mut [f32], last: u64, update: &Update<'_>) -> [f32; 2] {
    let now = update.rules.now();
    if last == 0 || last == now {
        return [1.0; 2];
    }
    match update.catch_up {
        CatchUp::Quadrature => {
            let rule = update.rules.get(last);
            [rule.decay1, rule.decay2]
        }
        CatchUp::Replay => {
            for (m, v) in m.iter_mut().zip(v) {
                for _ in last..now {
                    (*m, *v) = (update.adam.beta1 * *m, update.adam.beta2 * *v);
                }
            }
            [1.0; 2]
        }
    }
}
