//! `adam`: one step of Adam, and how rows that steps have not touched are brought up to date.

use std::marker::PhantomData;

use rayon::prelude::*;

use super::table::{Record, Table};
use crate::{
    optim::{Adam, CatchUp, Rule, Rules},
    simd::{blocks, vectorised},
    storage::{Element, with_storage},
};

/// Rows of a task.
const ROWS: usize = 64;
/// Rows that are asked for ahead of their use.
const AHEAD: usize = 6;

/// Parameters of a row that was last touched in step `last`, brought to the state that `rules` are for.
#[inline(always)]
pub fn current<T: Element>(
    Record { p, m, v }: Record<'_, T>,
    last: u64,
    rules: &Rules,
    adam: &Adam,
    catch_up: CatchUp,
    out: &mut [f32],
) {
    match catch_up {
        _ if last == rules.now() || last == 0 => {
            blocks!(out.len(), |at, N| {
                out[at..][..N].copy_from_slice(&T::load::<N>(&p[at..]));
            });
        }
        CatchUp::Quadrature => by_rule(p, m, v, &rules.get(last), adam.epsilon, out),
        CatchUp::Replay => {
            for k in 0..out.len() {
                let (mut p, mut m, mut v) = (p[k].widen(), m[k], v[k]);
                for t in last + 1..=rules.now() {
                    (p, m, v) = adam_step(p, m, v, 0.0, adam.rate(t) as f32, adam);
                }
                out[k] = p;
            }
        }
    }
}

/// `p - m (w0 / (s r0 + eps) + w1 / (s r1 + eps))` with s = sqrt(v), over one common denominator.
#[inline(always)]
fn by_rule<T: Element>(p: &[T], m: &[f32], v: &[f32], rule: &Rule, epsilon: f32, out: &mut [f32]) {
    let ([w0, w1], [r0, r1]) = (rule.weight, rule.root);
    blocks!(out.len(), |at, N| {
        let (p, m, v, out) = (T::load::<N>(&p[at..]), &m[at..][..N], &v[at..][..N], &mut out[at..][..N]);
        for j in 0..N {
            let s = v[j].sqrt();
            let (d0, d1) = (s.mul_add(r0, epsilon), s.mul_add(r1, epsilon));
            out[j] = p[j] - m[j] * w0.mul_add(d1, w1 * d0) / (d0 * d1);
        }
    });
}

/// One step of dense Adam for one element: the oracle's order of operations.
#[inline(always)]
pub fn adam_step(p: f32, m: f32, v: f32, g: f32, rate: f32, adam: &Adam) -> (f32, f32, f32) {
    let m = adam.beta1.mul_add(m, (1.0 - adam.beta1) * g);
    let v = adam.beta2.mul_add(v, (1.0 - adam.beta2) * g * g);
    (p - rate * m / (v.sqrt() + adam.epsilon), m, v)
}

/// Parameters of the rows `ids`, brought to the state that `rules` are for, side by side in `rows`.
pub fn catch_up_rows(
    table: &Table,
    ids: &[u32],
    rules: &Rules,
    adam: &Adam,
    catch_up: CatchUp,
    rows: &mut [f32],
) {
    with_storage!(table.storage(), T => rows_of(table, ids, rules, adam, catch_up, rows, PhantomData::<T>));
}

vectorised! {
    fn rows_of<T: Element>(
        table: &Table,
        ids: &[u32],
        rules: &Rules,
        adam: &Adam,
        catch_up: CatchUp,
        rows: &mut [f32],
        _elements: PhantomData<T>,
    ) {
        for &id in ids.iter().take(AHEAD) {
            table.prefetch(id);
        }
        for (k, out) in rows.chunks_exact_mut(table.stride()).enumerate() {
            if let Some(&next) = ids.get(k + AHEAD) {
                table.prefetch(next);
            }
            current(table.record::<T>(ids[k]), table.last(ids[k]), rules, adam, catch_up, out);
        }
    }
}

/// A copy of the whole table, every row caught up: `[rows, columns]`, for evaluation and for the model file.
pub fn export(table: &Table, rules: &Rules, adam: &Adam, catch_up: CatchUp) -> Vec<f32> {
    let dim = table.parts().columns();
    let mut out = vec![0f32; table.rows() * dim];
    out.par_chunks_mut(ROWS * dim).enumerate().for_each(|(chunk, out)| {
        let ids: Vec<u32> = (0..(out.len() / dim) as u32).map(|k| (chunk * ROWS) as u32 + k).collect();
        let mut rows = vec![0f32; ids.len() * table.stride()];
        catch_up_rows(table, &ids, rules, adam, catch_up, &mut rows);
        for (out, row) in out.chunks_exact_mut(dim).zip(rows.chunks_exact(table.stride())) {
            table.parts().unpad(row, out);
        }
    });
    out
}
