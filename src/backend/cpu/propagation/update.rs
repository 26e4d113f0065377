//! The last backward layer's epilogue: L2 and Adam on every row, and the row's new scaled parameters.

use super::half::{Finish, Half};
use crate::{
    backend::cpu::{
        adam::adam_step,
        spmm::NONE,
        table::{RecordMut, SharedTable},
    },
    optim::Adam,
    simd::{blocks, vectorised},
    storage::Element,
};

/// What Adam needs to know of the rows it updates.
#[derive(Debug, Clone, Copy)]
pub(super) struct Update<'a> {
    pub table: &'a SharedTable<'a>,
    /// 1 / sqrt(degree) of the rows.
    pub scale: &'a [f32],
    /// `[rows]`: slots of the batch's rows.
    pub slot: &'a [u32],
    /// `[n + 1]`: samples before each slot.
    pub starts: &'a [u32],
    /// L2 coefficient for each sample of a row.
    pub l2: f32,
    /// `[n, stride]`: added to the gradients of the batch's rows; empty: nothing.
    pub ego: &'a [f32],
    pub adam: &'a Adam,
    /// The step that is being made, from 1, and its rate.
    pub step: u64,
    pub rate: f32,
}

impl Update<'_> {
    /// Adds to the gradient what the row's parameters have besides, and L2; moves the row, and writes its new scaled
    /// parameters.
    #[inline(always)]
    fn row<T: Element>(&self, row: usize, gradient: &mut [f32], scaled: &mut [T]) {
        let mut weight = 0.0;
        if self.slot[row] != NONE {
            let slot = self.slot[row] as usize;
            weight = self.l2 * (self.starts[slot + 1] - self.starts[slot]) as f32;
            if !self.ego.is_empty() {
                let ego = &self.ego[slot * gradient.len()..][..gradient.len()];
                gradient.iter_mut().zip(ego).for_each(|(sum, &g)| *sum += g);
            }
        }
        let (scale, noise) = (self.scale[row], self.table.noise(self.step, row as u32));
        // SAFETY: tasks have distinct rows.
        let RecordMut { p, m, v, last } = unsafe { self.table.row_mut::<T>(row as u32) };
        blocks!(gradient.len(), |at, N| {
            let (old, gradient) = (T::load::<N>(&p[at..]), &gradient[at..][..N]);
            let (m_old, v_old) = (&m[at..][..N], &v[at..][..N]);
            // By way of registers: the compiler need not ask whether p, m and v overlap.
            let (mut m_new, mut v_new) = ([0f32; N], [0f32; N]);
            let (mut p_new, mut scaled_new) = ([T::zeroed(); N], [T::zeroed(); N]);
            for j in 0..N {
                let g = weight.mul_add(old[j], gradient[j]);
                let moved;
                (moved, m_new[j], v_new[j]) = adam_step(old[j], m_old[j], v_old[j], g, self.rate, self.adam);
                p_new[j] = T::stochastic(moved, noise.word(at + j));
                scaled_new[j] = T::nearest(scale * p_new[j].widen());
            }
            p[at..][..N].copy_from_slice(&p_new);
            m[at..][..N].copy_from_slice(&m_new);
            v[at..][..N].copy_from_slice(&v_new);
            scaled[at..][..N].copy_from_slice(&scaled_new);
        });
        *last = self.step;
    }
}

vectorised! {
    /// The sums of the rows from `first` on, and what becomes of the rows.
    pub(super) fn sum_and_move_rows<T: Element>(
        half: Half<'_>,
        first: usize,
        sums: &[f32],
        stride: usize,
        mean: f32,
        update: Update<'_>,
        ego: &mut [T],
    ) {
        let mut gradient = vec![0f32; stride];
        for (k, ego) in ego.chunks_exact_mut(stride).enumerate() {
            blocks!(stride, |at, N| {
                let sum = half.horner::<N>(first + k, sums, at, stride, Finish::Times(mean));
                gradient[at..][..N].copy_from_slice(&sum);
            });
            update.row(first + k, &mut gradient, ego);
        }
    }
}

vectorised! {
    /// The rows from `first` on, whose gradients are `[rows, stride]`.
    pub(super) fn move_chunk<T: Element>(
        first: usize,
        gradient: &mut [f32],
        stride: usize,
        update: Update<'_>,
        ego: &mut [T],
    ) {
        for (k, (ego, gradient)) in ego.chunks_exact_mut(stride).zip(gradient.chunks_exact_mut(stride)).enumerate() {
            update.row(first + k, gradient, ego);
        }
    }
}
