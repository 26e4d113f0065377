//! `apply`: per touched row, the sum of coefficient x partner row in the order of the samples, L2, then Adam in place.
//!
//! A row belongs to one slot and a slot to one task, so there are no races and the order of every sum is fixed. A
//! sample moves 4D bytes (a partner row, from the cache), a slot twice 8D for its moments and 4D or 2D for its parameters.

use std::marker::PhantomData;

use super::{
    adam::adam_step,
    branch::Head,
    gather::{Gathered, SLOTS},
    sample::Touched,
    table::{RecordMut, SharedTable},
};
use crate::{
    optim::{Adam, CatchUp, Rules},
    simd::{blocks, vectorised},
    storage::{Element, RowNoise, with_storage},
};

/// What `apply` needs to know of one side (users or items) of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// D padded to the lanes of a vector loop.
    pub stride: usize,
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

/// Where the gradients of [`SLOTS`] touched rows go.
#[derive(Debug)]
enum Target<'a> {
    /// Into the optimiser, which updates these rows of the table.
    Table(&'a SharedTable<'a>, &'a [u32]),
    /// To a buffer, `[n, stride]`.
    Buffer(&'a mut [f32]),
}

/// [`SLOTS`] touched rows.
#[derive(Debug)]
pub struct Task<'a> {
    side: &'a Side<'a>,
    first: usize,
    target: Target<'a>,
    /// This task's part of the gradient of the branch's parameters; empty without a branch.
    branch_gradient: Vec<f32>,
}

/// Cuts the update of one side's touched rows into tasks.
pub fn tasks<'a>(table: &'a SharedTable<'a>, side: &'a Side<'a>) -> impl Iterator<Item = Task<'a>> {
    let targets = side.touched.rows.chunks(SLOTS).map(|ids| Target::Table(table, ids));
    cut(side, targets)
}

/// Cuts the gradients of one side's touched rows, without L2, into tasks; `out` is `[n, stride]`.
pub fn gradient_tasks<'a>(out: &'a mut [f32], side: &'a Side<'a>) -> impl Iterator<Item = Task<'a>> {
    let targets = out.chunks_mut(SLOTS * side.stride).map(Target::Buffer);
    cut(side, targets)
}

fn cut<'a>(side: &'a Side<'a>, targets: impl Iterator<Item = Target<'a>>) -> impl Iterator<Item = Task<'a>> {
    targets.enumerate().map(|(k, target)| Task {
        side,
        first: k * SLOTS,
        target,
        branch_gradient: vec![0.0; side.branch.map_or(0, |(_, head)| head.size())],
    })
}

impl Task<'_> {
    /// Updates the rows, or stores their gradients.
    pub fn run(&mut self, update: &Update<'_>) {
        let Task { side, first, target, branch_gradient } = self;
        let mut dx = vec![0.0; if side.branch.is_some() { side.stride } else { 0 }];
        match target {
            Target::Table(table, ids) => {
                with_storage!(table.storage(), T => {
                    let elements = PhantomData::<T>;
                    apply_chunk(table, ids, elements, *first, side, update, &mut dx, branch_gradient);
                });
            }
            Target::Buffer(out) => gradient_chunk(*first, side, out, &mut dx, branch_gradient),
        }
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

/// dL/dx of a touched row x: coefficient x partner row over its samples, and what its branch adds.
#[derive(Debug, Clone, Copy)]
struct Row<'a> {
    side: &'a Side<'a>,
    samples: &'a [u32],
    /// The row's parameters before the step, `[stride]`.
    own: &'a [f32],
    /// `[stride]`, where there is a branch.
    branch: Option<&'a [f32]>,
}

impl<'a> Row<'a> {
    /// The row at `slot`. `dx`, `[stride]`, is room for what its branch adds; `branch_gradient` grows by its part.
    #[inline(always)]
    fn new(side: &'a Side<'_>, slot: usize, dx: &'a mut [f32], branch_gradient: &mut [f32]) -> Self {
        let samples = side.touched.samples(slot);
        let own = &side.own.rows[slot * side.stride..][..side.stride];
        let branch = side.branch.map(|(gradient, head)| {
            let upstream = samples.iter().fold(0.0, |sum, &sample| sum + gradient[sample as usize]);
            head.backward(own, upstream, dx, branch_gradient);
            &*dx
        });
        Row { side, samples, own, branch }
    }

    /// Elements `at` to `at + N` of the gradient, with `l2` times the row.
    #[inline(always)]
    fn gradient<const N: usize>(&self, at: usize, l2: f32) -> [f32; N] {
        let Row { side, samples, own, branch } = *self;
        let own = &own[at..][..N];
        let mut gradient = [0f32; N];
        for j in 0..N {
            gradient[j] = l2 * own[j];
        }
        for &sample in samples {
            let coefficient = side.score_gradient[sample as usize];
            let partner = side.partner_slot[sample as usize] as usize;
            let partner = &side.partners[partner * side.stride + at..][..N];
            for j in 0..N {
                gradient[j] = coefficient.mul_add(partner[j], gradient[j]);
            }
        }
        if let Some(branch) = branch {
            let branch = &branch[at..][..N];
            for j in 0..N {
                gradient[j] += branch[j];
            }
        }
        gradient
    }
}

vectorised! {
    fn apply_chunk<T: Element>(
        table: &SharedTable<'_>,
        ids: &[u32],
        _elements: PhantomData<T>,
        first: usize,
        side: &Side<'_>,
        update: &Update<'_>,
        dx: &mut [f32],
        branch_gradient: &mut [f32],
    ) {
        const AHEAD: usize = 4;
        let rate = update.adam.rate(update.rules.now() + 1) as f32;
        let step = update.rules.now() + 1;
        for (k, &id) in ids.iter().enumerate() {
            if let Some(&next) = ids.get(k + AHEAD) {
                table.prefetch(next);
            }
            let row = Row::new(side, first + k, dx, branch_gradient);
            // SAFETY: slots have distinct rows, and chunks distinct slots.
            let RecordMut { p, m, v, last } = unsafe { table.row_mut::<T>(id) };
            let decay = missed(m, v, *last, update);
            let noise = table.noise(step, id);
            move_row(row, p, [m, v], decay, rate, update.adam, noise);
            *last = step;
        }
    }
}

/// Adam on a row whose moments have decayed by `decay`, in place.
#[inline(always)]
fn move_row<T: Element>(
    row: Row<'_>,
    p: &mut [T],
    [m, v]: [&mut [f32]; 2],
    [decay1, decay2]: [f32; 2],
    rate: f32,
    adam: &Adam,
    noise: RowNoise,
) {
    let l2 = row.side.l2 * row.samples.len() as f32;
    blocks!(row.side.stride, |at, N| {
        let gradient = row.gradient::<N>(at, l2);
        let own = &row.own[at..][..N];
        // By way of registers: the compiler need not ask whether p, m and v overlap.
        let (mut p_new, mut m_new, mut v_new) = ([T::zeroed(); N], [0f32; N], [0f32; N]);
        let (m_old, v_old) = (&m[at..][..N], &v[at..][..N]);
        for j in 0..N {
            let moved = adam_step(own[j], m_old[j] * decay1, v_old[j] * decay2, gradient[j], rate, adam);
            (m_new[j], v_new[j]) = (moved.1, moved.2);
            p_new[j] = T::stochastic(moved.0, noise.word(at + j));
        }
        p[at..][..N].copy_from_slice(&p_new);
        m[at..][..N].copy_from_slice(&m_new);
        v[at..][..N].copy_from_slice(&v_new);
    });
}

vectorised! {
    fn gradient_chunk(
        first: usize,
        side: &Side<'_>,
        out: &mut [f32],
        dx: &mut [f32],
        branch_gradient: &mut [f32],
    ) {
        for (k, out) in out.chunks_exact_mut(side.stride).enumerate() {
            let row = Row::new(side, first + k, dx, branch_gradient);
            blocks!(side.stride, |at, N| {
                out[at..][..N].copy_from_slice(&row.gradient::<N>(at, 0.0));
            });
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
