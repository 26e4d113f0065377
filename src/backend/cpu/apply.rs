//! `apply`: per touched row, the sum of coefficient x partner row in the order of the samples, L2, then Adam in place.
//!
//! A row belongs to one slot and a slot to one task, so there are no races and the order of every sum is fixed. A
//! sample moves 4D bytes (a partner row, from the cache), a slot twice 8D for its moments and 4D or 2D for its
//! parameters.

use std::marker::PhantomData;

use super::{
    adam::adam_step,
    branch::Head,
    gather::{Gathered, SLOTS},
    penalty::{self, Pull},
    propagation::Gradients,
    sample::Touched,
    table::{Parts, RecordMut, SharedTable},
};
use crate::{
    optim::{Adam, CatchUp, Rules},
    simd::{blocks, vectorised},
    storage::{Element, with_storage},
};

/// What `apply` needs to know of one side (users or items) of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// How its rows are divided.
    pub parts: Parts,
    /// The side's own touched rows.
    pub touched: &'a Touched,
    /// Their embeddings before the step.
    pub own: &'a Gathered,
    /// Slot of each sample's partner on the other side.
    pub partner_slot: &'a [u32],
    /// The other side's rows before the step, `[n, stride]`.
    pub partners: &'a [f32],
    /// How the other side's rows are divided.
    pub partner_parts: Parts,
    /// `[2B]`: dL/da by sample.
    pub score_gradient: &'a [f32],
    /// `[2B]`: the same of the second scores, where rows are divided.
    pub second_gradient: Option<&'a [f32]>,
    /// Where the objective has a penalty, with the items' constants.
    pub pull: Option<(&'a Pull, &'a [f32])>,
    /// `[2B]`: dL/dy by sample, and what y is, where there is a branch.
    pub branch: Option<(&'a [f32], Head<'a>)>,
    /// L2 coefficient for each sample of a row (lambda / B; half of it for users, who are counted once a row).
    pub l2: f32,
}

impl Side<'_> {
    /// Length of the side's padded rows.
    fn stride(&self) -> usize {
        self.parts.stride()
    }

    /// True of rows of one vector without a penalty.
    fn is_plain(&self) -> bool {
        self.second_gradient.is_none() && self.pull.is_none()
    }
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
    /// To buffers.
    Buffers(Gradients<'a>),
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

/// Cuts the gradients of one side's touched rows, without L2, into tasks.
pub fn gradient_tasks<'a>(out: Gradients<'a>, side: &'a Side<'a>) -> impl Iterator<Item = Task<'a>> {
    cut(side, out.chunks(SLOTS * side.stride()).map(Target::Buffers))
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
        let mut dx = vec![0.0; if side.branch.is_some() { side.stride() } else { 0 }];
        match target {
            Target::Table(table, ids) => {
                with_storage!(table.storage(), T => {
                    let elements = PhantomData::<T>;
                    apply_chunk(table, ids, elements, *first, side, update, &mut dx, branch_gradient);
                });
            }
            Target::Buffers(out) => gradient_chunk(*first, side, out, &mut dx, branch_gradient),
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
    /// Coefficient and target, where there is a penalty.
    pull: Option<(f32, penalty::Target<'a>)>,
}

impl<'a> Row<'a> {
    /// The row at `slot`. `dx`, `[stride]`, is room for what its branch adds; `branch_gradient` grows by its part.
    #[inline(always)]
    fn new(side: &'a Side<'a>, slot: usize, dx: &'a mut [f32], branch_gradient: &mut [f32]) -> Self {
        let samples = side.touched.samples(slot);
        let row = |rows: &'a [f32]| &rows[slot * side.stride()..][..side.stride()];
        let own = row(&side.own.rows);
        let branch = side.branch.map(|(gradient, head)| {
            let upstream = samples.iter().fold(0.0, |sum, &sample| sum + gradient[sample as usize]);
            head.backward(row(side.own.scored()), upstream, dx, branch_gradient);
            &*dx
        });
        let pull = side.pull.map(|(pull, constants)| {
            pull.of(samples.len(), constants.get(side.touched.rows[slot] as usize).copied())
        });
        Row { side, samples, own, branch, pull }
    }

    /// Elements `at` to `at + N` of the gradient of vector `part`, with `l2` times the row. PLAIN: of rows of one
    /// vector, without a penalty.
    #[inline(always)]
    fn gradient<const N: usize, const PLAIN: bool>(&self, part: usize, at: usize, l2: f32) -> [f32; N] {
        let Row { side, samples, own, branch, pull } = *self;
        let first = if PLAIN { at } else { part * side.parts.stride + at };
        let own_block = &own[first..][..N];
        let mut gradient = [0f32; N];
        for j in 0..N {
            gradient[j] = l2 * own_block[j];
        }
        let stride = side.partner_parts.stride();
        for &sample in samples {
            let partner = side.partner_slot[sample as usize] as usize * stride + at;
            let mut add = |coefficient: f32, partner: usize| {
                let partner = &side.partners[partner..][..N];
                for j in 0..N {
                    gradient[j] = coefficient.mul_add(partner[j], gradient[j]);
                }
            };
            // A row's only vector is in both scores, otherwise each is in its own.
            if PLAIN || part == 0 {
                add(side.score_gradient[sample as usize], partner);
            }
            if let (false, Some(second)) = (PLAIN, side.second_gradient)
                && part + 1 == side.parts.count
            {
                add(second[sample as usize], partner + side.partner_parts.start(1));
            }
        }
        if let (false, Some((coefficient, target))) = (PLAIN, pull) {
            let other = (1 - part) * side.parts.stride + at;
            for j in 0..N {
                let target = match target {
                    penalty::Target::Zero => 0.0,
                    penalty::Target::Point(point) => point[first..][..N][j],
                    penalty::Target::Other => own[other..][..N][j],
                };
                gradient[j] = coefficient.mul_add(own_block[j] - target, gradient[j]);
            }
        }
        if let Some(branch) = branch {
            let branch = &branch[first..][..N];
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
        if side.is_plain() {
            apply_rows::<true, T>(table, ids, first, side, update, dx, branch_gradient);
        } else {
            apply_rows::<false, T>(table, ids, first, side, update, dx, branch_gradient);
        }
    }
}

#[inline(always)]
fn apply_rows<const PLAIN: bool, T: Element>(
    table: &SharedTable<'_>,
    ids: &[u32],
    first: usize,
    side: &Side<'_>,
    update: &Update<'_>,
    dx: &mut [f32],
    branch_gradient: &mut [f32],
) {
    const AHEAD: usize = 4;
    let step = update.rules.now() + 1;
    let rate = update.adam.rate(step) as f32;
    for (k, &id) in ids.iter().enumerate() {
        if let Some(&next) = ids.get(k + AHEAD) {
            table.prefetch(next);
        }
        let row = Row::new(side, first + k, dx, branch_gradient);
        // SAFETY: slots have distinct rows, and chunks distinct slots.
        let RecordMut { p, m, v, last } = unsafe { table.row_mut::<T>(id) };
        let [decay1, decay2] = missed(m, v, *last, update);
        let noise = table.noise(step, id);
        let l2 = side.l2 * row.samples.len() as f32;
        for part in 0..if PLAIN { 1 } else { side.parts.count } {
            blocks!(side.parts.stride, |at, N| {
                let gradient = row.gradient::<N, PLAIN>(part, at, l2);
                let at = if PLAIN { at } else { part * side.parts.stride + at };
                let own = &row.own[at..][..N];
                // By way of registers: the compiler need not ask whether p, m and v overlap.
                let (mut p_new, mut m_new, mut v_new) = ([T::zeroed(); N], [0f32; N], [0f32; N]);
                let (m_old, v_old) = (&m[at..][..N], &v[at..][..N]);
                for j in 0..N {
                    let moved;
                    (moved, m_new[j], v_new[j]) = adam_step(
                        own[j],
                        m_old[j] * decay1,
                        v_old[j] * decay2,
                        gradient[j],
                        rate,
                        update.adam,
                    );
                    p_new[j] = T::stochastic(moved, noise.word(at + j));
                }
                p[at..][..N].copy_from_slice(&p_new);
                m[at..][..N].copy_from_slice(&m_new);
                v[at..][..N].copy_from_slice(&v_new);
            });
        }
        *last = step;
    }
}

vectorised! {
    fn gradient_chunk(
        first: usize,
        side: &Side<'_>,
        out: &mut Gradients<'_>,
        dx: &mut [f32],
        branch_gradient: &mut [f32],
    ) {
        if side.is_plain() {
            gradient_rows::<true>(first, side, out, dx, branch_gradient);
        } else {
            gradient_rows::<false>(first, side, out, dx, branch_gradient);
        }
    }
}

#[inline(always)]
fn gradient_rows<const PLAIN: bool>(
    first: usize,
    side: &Side<'_>,
    out: &mut Gradients<'_>,
    dx: &mut [f32],
    branch_gradient: &mut [f32],
) {
    let stride = side.stride();
    let Gradients { last, ego } = out;
    for (k, out) in last.chunks_exact_mut(stride).enumerate() {
        let row = match ego {
            None => Row::new(side, first + k, dx, branch_gradient),
            // What the branch adds is of other rows than these.
            Some(ego) => {
                let dx = &mut ego[k * stride..][..stride];
                Row { branch: None, ..Row::new(side, first + k, dx, branch_gradient) }
            }
        };
        for (part, out) in out.chunks_exact_mut(side.parts.stride).enumerate() {
            blocks!(side.parts.stride, |at, N| {
                out[at..][..N].copy_from_slice(&row.gradient::<N, PLAIN>(part, at, 0.0));
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
