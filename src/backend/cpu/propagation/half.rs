//! One half of a layer: rows of one side, each a base and the scaled sum of rows of the other.

use crate::{
    backend::cpu::{
        spmm::{NONE, Rows, Work},
        table::Table,
    },
    data::Csr,
    simd::{blocks, vectorised},
    storage::Element,
};

/// What a row's sum is added to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Base<'a> {
    /// The row's parameters.
    Ego(&'a Table),
    /// The same, scaled, for a sum that is scaled too, `[rows, stride]`: in f32 alone, for in 16 bits they are rounded
    /// once more. The other half gathers them, so they are near, and a table's rows lie three times as far apart.
    Scaled(&'a [f32]),
    /// dL/dE of the row.
    Gradient { slot: &'a [u32], values: &'a [f32] },
}

/// One half of a layer: which rows, from what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Half<'a> {
    pub csr: Csr<'a>,
    /// 1 / sqrt(degree) of the rows to be computed.
    pub scale: &'a [f32],
    pub work: &'a Work,
    /// Rows by position; all of them if `None`.
    pub ids: Option<&'a [u32]>,
    pub base: Base<'a>,
    /// The other side's rows, scaled.
    pub x: Rows<'a>,
}

impl Half<'_> {
    #[inline(always)]
    fn row(&self, position: usize) -> u32 {
        self.ids.map_or(position as u32, |ids| ids[position])
    }

    /// Elements `at` to `at + N` of `base + s sum` of the row at `position`, finished.
    #[inline(always)]
    pub fn horner<const N: usize>(
        &self,
        position: usize,
        chunk_sums: &[f32],
        at: usize,
        stride: usize,
        finish: Finish,
    ) -> [f32; N] {
        let row = self.row(position);
        let mut out = self.work.sum::<N>((position, row), self.csr, self.x, chunk_sums, (at, stride));
        let scale = self.scale[row as usize];
        let factor = match finish {
            Finish::Scaled => scale,
            Finish::Times(factor) => factor,
        };
        let mut base_factor = factor;
        let base = match self.base {
            Base::Ego(table) => Some(table.load::<N>(row, at)),
            Base::Scaled(values) => {
                base_factor = 1.0;
                Some(Element::load(&values[row as usize * stride + at..][..N]))
            }
            Base::Gradient { slot, values } => Some(slot[row as usize])
                .filter(|&slot| slot != NONE)
                .map(|slot| Element::load(&values[slot as usize * stride + at..][..N])),
        };
        match base {
            Some(base) => {
                for lane in 0..N {
                    out[lane] = (factor * scale).mul_add(out[lane], base_factor * base[lane]);
                }
            }
            None => {
                for lane in 0..N {
                    out[lane] *= factor * scale;
                }
            }
        }
        out
    }
}

/// What becomes of `base + s sum`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Finish {
    /// Times s: a row to be summed in the next layer.
    Scaled,
    /// Times this.
    Times(f32),
}

vectorised! {
    /// The rows at the positions from `first` on.
    pub(super) fn half_rows<T: Element>(
        half: Half<'_>,
        first: usize,
        sums: &[f32],
        stride: usize,
        finish: Finish,
        out: &mut [T],
    ) {
        for (k, out) in out.chunks_exact_mut(stride).enumerate() {
            blocks!(stride, |at, N| {
                let sum = half.horner::<N>(first + k, sums, at, stride, finish);
                out[at..][..N].copy_from_slice(&sum.map(T::nearest));
            });
        }
    }
}
