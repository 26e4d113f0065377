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
    simd::{LANES, prefetch, vectorised},
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
    gradient: Vec<f32>,
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
        gradient: vec![0.0; stride],
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
            &mut self.gradient,
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
        gradient: &mut [f32],
        branch_gradient: &mut [f32],
    ) {
        const AHEAD: usize = 4;
        let stride = gradient.len();
        let adam = update.adam;
        let rate = adam.rate(update.rules.now() + 1) as f32;
        for (k, &id) in ids.iter().enumerate() {
            if let Some(&next) = ids.get(k + AHEAD) {
                // SAFETY: slots have distinct rows, and chunks distinct slots; the borrow ends here.
                prefetch(unsafe { table.row_mut(next) }.0);
            }
            let slot = first + k;
            let own = &side.own.rows[slot * stride..][..stride];
            let samples = side.touched.samples(slot);
            sum_partners(samples, side, stride, gradient);
            let l2 = side.l2 * samples.len() as f32;
            for (g, &own) in gradient.iter_mut().zip(own) {
                *g = l2.mul_add(own, *g);
            }
            if let Some((logit_gradient, head)) = side.branch {
                let mut upstream = 0.0;
                for &sample in samples {
                    upstream += logit_gradient[sample as usize];
                }
                head.backward(own, upstream, gradient, branch_gradient);
            }
            // SAFETY: as above.
            let (record, last) = unsafe { table.row_mut(id) };
            let (p, rest) = record.split_at_mut(stride);
            let (m, v) = rest.split_at_mut(stride);
            decay(m, v, *last, update);
            for ((((p, m), v), &own), &g) in p.iter_mut().zip(m).zip(v).zip(own).zip(&*gradient) {
                (*p, *m, *v) = adam_step(own, *m, *v, g, rate, adam);
            }
            *last = update.rules.now() + 1;
        }
    }
}

/// gradient = sum over the samples of coefficient x partner row, in registers for four vectors at a time.
#[inline(always)]
fn sum_partners(samples: &[u32], side: &Side<'_>, stride: usize, gradient: &mut [f32]) {
    const WIDE: usize = 4 * LANES;
    let wide = stride / WIDE * WIDE;
    for column in (0..wide).step_by(WIDE) {
        sum_columns::<WIDE>(samples, side, stride, column, &mut gradient[column..column + WIDE]);
    }
    for column in (wide..stride).step_by(LANES) {
        sum_columns::<LANES>(samples, side, stride, column, &mut gradient[column..column + LANES]);
    }
}

#[inline(always)]
fn sum_columns<const N: usize>(
    samples: &[u32],
    side: &Side<'_>,
    stride: usize,
    column: usize,
    out: &mut [f32],
) {
    let mut sum = [0f32; N];
    for &sample in samples {
        let coefficient = side.score_gradient[sample as usize];
        let partner = &side.partners[side.partner_slot[sample as usize] as usize * stride + column..][..N];
        for lane in 0..N {
            sum[lane] = coefficient.mul_add(partner[lane], sum[lane]);
        }
    }
    out.copy_from_slice(&sum);
}

/// Moments of a row last touched in step `last`, decayed by the steps that it missed.
#[inline(always)]
fn decay(m: &mut [f32], v: &mut [f32], last: u64, update: &Update<'_>) {
    let (now, adam) = (update.rules.now(), update.adam);
    if last == 0 || last == now {
        return;
    }
    match update.catch_up {
        CatchUp::Quadrature => {
            let rule = update.rules.get(last);
            for (m, v) in m.iter_mut().zip(v) {
                (*m, *v) = (*m * rule.decay1, *v * rule.decay2);
            }
        }
        CatchUp::Replay => {
            for (m, v) in m.iter_mut().zip(v) {
                for _ in last..now {
                    (*m, *v) = (adam.beta1 * *m, adam.beta2 * *v);
                }
            }
        }
    }
}
