//! LightGCN's propagation: final embeddings `E = 1/(L+1) sum_l A~^l E0`, and its backward, the same sum applied to dE.
//!
//! By Horner's scheme: `y <- E0; L times y <- E0 + A~ y; E = y / (L+1)`. Of the last forward layer only the rows of
//! the batch are needed, and of the first backward layer only they are non-zero: both are computed for these alone
//! ([`Form::Layers`]). With two layers and a small catalogue the dense item-item product G = R^T R takes the place
//! of two more halves ([`Form::Gram`]): with y = e_I + R^T e_U, `E_I = (y + G e_I) / 3` and `E_U = (e_U + R y) / 3`.
//!
//! What is gathered, the scaled parameters and layers, is stored in the form of the parameters; gradients between
//! layers in a form of their range ([`Storage::of_gradients`]). Sums, the batch's rows and the item-item product are
//! f32.

mod half;
mod update;

use self::{
    half::{Base, Finish, Half, half_rows},
    update::{Update, move_chunk, sum_and_move_rows},
};
use super::{
    gram,
    spmm::{NONE, Rows, Work},
    table::{SharedTable, Table},
    team::Team,
};
use crate::{
    backbone::{Form, LightGcn},
    data::{Csr, graph::Graph},
    error::{Error, Result},
    optim::Adam,
    simd::Lines,
    storage::{Element, Room, Storage, Stored, for_stored},
};

/// Sides of the graph, as indices of pairs.
pub const USERS: usize = 0;
/// See [`USERS`].
pub const ITEMS: usize = 1;

/// The rows of one side that a batch touches.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// `[n]`: the touched rows, by slot.
    pub ids: &'a [u32],
    /// `[n + 1]`: samples before each slot.
    pub starts: &'a [u32],
}

/// Graph, buffers and form of a propagation, for one training.
#[derive(Debug)]
pub struct Propagation<'a> {
    graph: Graph<'a>,
    layers: usize,
    /// `[I, I]`, in [`Form::Gram`].
    gram: Option<Vec<f32>>,
    stride: usize,
    /// Of parameters and layers.
    storage: Storage,
    /// All rows of users and items, cut into tasks.
    whole: [Work; 2],
    /// The parameters, scaled: `[U, stride]` and `[I, stride]`.
    ego: [Room; 2],
    /// The last two layers, scaled.
    layer: [[Room; 2]; 2],
    /// Gram: y of the items, not scaled, the batch's gradients, and a product with G, `[I, stride]`.
    items: Lines,
    dense: Lines,
    product: Lines,
    /// `[U]` and `[I]`: slots of the batch's rows while a backward pass lasts, [`NONE`] otherwise.
    slot: [Vec<u32>; 2],
    /// `[n, stride]`: dL/dE of the touched rows, and the same, scaled.
    gradient: [Lines; 2],
    scaled: [Lines; 2],
    /// `[n, stride]`: what is added to the gradients of the touched rows' parameters; empty where nothing is.
    ego_gradient: [Lines; 2],
}

/// Where the gradients of a batch's rows of one side go, `[n, stride]` each.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// Those of the final embeddings, dL/dE, which are propagated.
    pub last: &'a mut [f32],
    /// What the parameters have besides, where a branch scores them.
    pub ego: Option<&'a mut [f32]>,
}

impl<'a> Gradients<'a> {
    /// Cuts them after every `size` numbers.
    pub fn chunks(self, size: usize) -> impl Iterator<Item = Gradients<'a>> {
        let mut ego = self.ego.into_iter().flat_map(move |ego| ego.chunks_mut(size));
        self.last.chunks_mut(size).map(move |last| Gradients { last, ego: ego.next() })
    }
}

/// What a backward pass was asked for.
#[derive(Debug, Clone, Copy)]
struct Settings<'a> {
    batch: [Batch<'a>; 2],
    l2: [f32; 2],
    adam: &'a Adam,
    step: u64,
}

impl<'a> Settings<'a> {
    fn of<'u>(&self, propagation: &'u Propagation<'_>, side: usize, table: &'u SharedTable<'u>) -> Update<'u>
    where
        'a: 'u,
    {
        Update {
            table,
            scale: propagation.scale(side),
            slot: &propagation.slot[side],
            starts: self.batch[side].starts,
            l2: self.l2[side],
            ego: &propagation.ego_gradient[side],
            adam: self.adam,
            step: self.step,
            rate: self.adam.rate(self.step) as f32,
        }
    }
}

impl<'a> Propagation<'a> {
    /// For tables as they are now.
    ///
    /// # Errors
    /// As [`Room::new`].
    pub fn new(
        graph: Graph<'a>,
        LightGcn { layers, form }: LightGcn,
        tables: [&Table; 2],
        team: &Team,
    ) -> Result<Self> {
        let stride = tables[USERS].stride();
        let storage = tables[USERS].storage();
        let room = |side: usize| Room::new(storage, tables[side].rows() * stride);
        let rooms = || Ok::<_, Error>([room(USERS)?, room(ITEMS)?]);
        let gram = form == Form::Gram;
        let of_items = || Lines::new(if gram { tables[ITEMS].rows() * stride } else { 0 });
        let mut propagation = Propagation {
            gram: gram.then(|| gram::product(team, &graph)),
            layers,
            stride,
            storage,
            whole: [Work::new(graph.by_user, None), Work::new(graph.by_item, None)],
            ego: rooms()?,
            layer: [rooms()?, rooms()?],
            items: of_items(),
            dense: of_items(),
            product: of_items(),
            slot: tables.map(|table| vec![NONE; table.rows()]),
            gradient: Default::default(),
            scaled: Default::default(),
            ego_gradient: Default::default(),
            graph,
        };
        propagation.scale_parameters(tables);
        Ok(propagation)
    }

    /// Takes over the parameters of `tables`, which were changed from outside.
    pub fn scale_parameters(&mut self, tables: [&Table; 2]) {
        for side in [USERS, ITEMS] {
            let mut ego = std::mem::take(&mut self.ego[side]);
            for_stored!(StoredMut, ego.view_mut(self.storage), |ego| {
                scale_rows(tables[side], self.scale(side), ego);
            });
            self.ego[side] = ego;
        }
    }

    /// The form in use.
    pub fn form(&self) -> Form {
        if self.gram.is_some() { Form::Gram } else { Form::Layers }
    }

    /// Rows by position of `side` cut into tasks: those of `ids`, or all.
    pub fn work(&self, side: usize, ids: Option<&[u32]>) -> Work {
        Work::new(self.csr(side), ids)
    }

    /// Forward, all layers but the last.
    pub fn forward(&mut self, team: &Team, tables: [&Table; 2]) {
        if self.gram.is_some() {
            let mut items = std::mem::take(&mut self.items);
            let half = self.half(ITEMS, Base::Ego(tables[ITEMS]), self.ego(USERS));
            self.compute(team, half, Finish::Times(1.0), &mut items);
            self.items = items;
            self.scale_items(self.storage);
            return;
        }
        for k in 1..self.layers {
            let mut next = std::mem::take(&mut self.layer[k % 2]);
            for side in [USERS, ITEMS] {
                let below = self.below(k, 1 - side, self.storage, self.ego(1 - side));
                let base = match self.ego[side].view(self.storage) {
                    Stored::F32(ego) => Base::Scaled(ego),
                    _ => Base::Ego(tables[side]),
                };
                let half = self.half(side, base, below);
                let out = next[side].view_mut(self.storage);
                for_stored!(StoredMut, out, |out| self.compute(team, half, Finish::Scaled, out));
            }
            self.layer[k % 2] = next;
        }
    }

    /// Forward, the last layer for the rows `ids` of `side` (all if `None`), cut as `work`: `[n, stride]`.
    pub fn last_layer(
        &self,
        team: &Team,
        side: usize,
        table: &Table,
        work: &Work,
        ids: Option<&[u32]>,
        out: &mut [f32],
    ) {
        if let (Some(gram), ITEMS) = (&self.gram, side) {
            let x = self.ego[ITEMS].view(self.storage);
            gram::multiply(team, gram, x, self.stride, ids, &self.items, self.mean(), out);
            return;
        }
        let x = match self.form() {
            Form::Gram => Rows::Dense(self.layer[1][ITEMS].view(self.storage)),
            Form::Layers => self.below(self.layers, 1 - side, self.storage, self.ego(1 - side)),
        };
        let half = Half { work, ids, ..self.half(side, Base::Ego(table), x) };
        self.compute(team, half, Finish::Times(self.mean()), out);
    }

    /// The final embeddings of all rows, without padding.
    pub fn export(&mut self, team: &Team, tables: [&Table; 2]) -> [Vec<f32>; 2] {
        self.forward(team, tables);
        [USERS, ITEMS].map(|side| {
            let (table, stride) = (tables[side], self.stride);
            let mut rows = vec![0f32; table.rows() * stride];
            self.last_layer(team, side, table, &self.whole[side], None, &mut rows);
            let parts = table.parts();
            let mut out = vec![0f32; table.rows() * parts.columns()];
            for (row, out) in rows.chunks_exact(stride).zip(out.chunks_exact_mut(parts.columns())) {
                parts.unpad(row, out);
            }
            out
        })
    }

    /// Gradients of the batch's rows, to be filled before [`Propagation::backward`]; `ego` says of which sides
    /// parameters have some besides.
    pub fn gradients(&mut self, batch: [Batch<'_>; 2], ego: [bool; 2]) -> [Gradients<'_>; 2] {
        for side in [USERS, ITEMS] {
            let len = batch[side].ids.len() * self.stride;
            self.gradient[side].resize(len);
            self.ego_gradient[side].resize(if ego[side] { len } else { 0 });
        }
        let [users, items] = &mut self.gradient;
        let [ego_users, ego_items] = &mut self.ego_gradient;
        let of = |last, gradient, wanted: bool| Gradients { last, ego: wanted.then_some(gradient) };
        [of(users, ego_users, ego[USERS]), of(items, ego_items, ego[ITEMS])]
    }

    /// Backward, L2 on the batch's rows (`l2` for each of a row's samples), and step `step` (from 1) of Adam on all.
    pub fn backward(
        &mut self,
        team: &Team,
        tables: [&mut Table; 2],
        batch: [Batch<'_>; 2],
        l2: [f32; 2],
        adam: &Adam,
        step: u64,
    ) {
        for side in [USERS, ITEMS] {
            self.scatter(side, batch[side].ids);
        }
        let form = self.storage.of_gradients();
        let mut ego = std::mem::take(&mut self.ego);
        let [users, items] = tables.map(Table::shared);
        let update = Settings { batch, l2, adam, step };
        if let Some(gram) = self.gram.take() {
            // y = g_I + R^T g_U; then g_U + R y for the users and y + G g_I for the items.
            let mut rows = std::mem::take(&mut self.items);
            let half = self.half(ITEMS, self.gradient_base(ITEMS), self.sparse(USERS));
            self.compute(team, half, Finish::Times(1.0), &mut rows);
            self.items = rows;
            self.scale_items(form);
            self.dense.fill(0.0);
            for (&id, row) in batch[ITEMS].ids.iter().zip(self.scaled[ITEMS].chunks_exact(self.stride)) {
                self.dense[id as usize * self.stride..][..self.stride].copy_from_slice(row);
            }
            let mut product = std::mem::take(&mut self.product);
            let dense = Stored::F32(&self.dense);
            gram::multiply(team, &gram, dense, self.stride, None, &self.items, self.mean(), &mut product);
            self.move_rows(team, update.of(self, ITEMS, &items), &mut product, &mut ego[ITEMS]);
            self.product = product;
            let x = Rows::Dense(self.layer[1][ITEMS].view(form));
            let half = self.half(USERS, self.gradient_base(USERS), x);
            self.sum_and_move(team, half, update.of(self, USERS, &users), &mut ego[USERS]);
            self.gram = Some(gram);
        } else {
            for k in 1..self.layers {
                let mut next = std::mem::take(&mut self.layer[k % 2]);
                for side in [USERS, ITEMS] {
                    let x = self.below(k, 1 - side, form, self.sparse(1 - side));
                    let half = self.half(side, self.gradient_base(side), x);
                    let out = next[side].view_mut(form);
                    for_stored!(StoredMut, out, |out| self.compute(team, half, Finish::Scaled, out));
                }
                self.layer[k % 2] = next;
            }
            for side in [USERS, ITEMS] {
                let x = self.below(self.layers, 1 - side, form, self.sparse(1 - side));
                let half = self.half(side, self.gradient_base(side), x);
                self.sum_and_move(team, half, update.of(self, side, [&users, &items][side]), &mut ego[side]);
            }
        }
        self.ego = ego;
        for side in [USERS, ITEMS] {
            for &id in batch[side].ids {
                self.slot[side][id as usize] = NONE;
            }
        }
    }

    /// `batch`'s rows of one side: where their gradients stand, and the gradients scaled.
    fn scatter(&mut self, side: usize, ids: &[u32]) {
        let mut scaled = std::mem::take(&mut self.scaled[side]);
        scaled.resize(self.gradient[side].len());
        let rows = scaled.chunks_exact_mut(self.stride).zip(self.gradient[side].chunks_exact(self.stride));
        for ((scaled, gradient), &id) in rows.zip(ids) {
            let scale = self.scale(side)[id as usize];
            scaled.iter_mut().zip(gradient).for_each(|(out, &g)| *out = scale * g);
        }
        self.scaled[side] = scaled;
        for (slot, &id) in (0..).zip(ids) {
            self.slot[side][id as usize] = slot;
        }
    }

    /// Gram: the items' y, scaled and of the form `form`, where the users' half reads it.
    fn scale_items(&mut self, form: Storage) {
        let mut scaled = std::mem::take(&mut self.layer[1][ITEMS]);
        for_stored!(StoredMut, scaled.view_mut(form), |scaled| {
            let rows = scaled.chunks_exact_mut(self.stride).zip(self.items.chunks_exact(self.stride));
            for ((scaled, row), &scale) in rows.zip(self.scale(ITEMS)) {
                scaled.iter_mut().zip(row).for_each(|(out, &y)| *out = Element::nearest(scale * y));
            }
        });
        self.layer[1][ITEMS] = scaled;
    }

    fn csr(&self, side: usize) -> Csr<'a> {
        [self.graph.by_user, self.graph.by_item][side]
    }

    fn scale(&self, side: usize) -> &[f32] {
        [&self.graph.user_scale, &self.graph.item_scale][side]
    }

    fn mean(&self) -> f32 {
        1.0 / (self.layers + 1) as f32
    }

    /// All rows of `side`.
    fn half<'h>(&'h self, side: usize, base: Base<'h>, x: Rows<'h>) -> Half<'h> {
        let (csr, scale, work) = (self.csr(side), self.scale(side), &self.whole[side]);
        Half { csr, scale, work, ids: None, base, x }
    }

    /// What layer `k` of a pass, whose layers are of the form `form`, sums: the layer below, or what the pass begins
    /// with.
    fn below<'h>(&'h self, k: usize, side: usize, form: Storage, first: Rows<'h>) -> Rows<'h> {
        if k == 1 { first } else { Rows::Dense(self.layer[(k - 1) % 2][side].view(form)) }
    }

    fn ego(&self, side: usize) -> Rows<'_> {
        Rows::Dense(self.ego[side].view(self.storage))
    }

    fn sparse(&self, side: usize) -> Rows<'_> {
        Rows::Sparse { slot: &self.slot[side], values: &self.scaled[side] }
    }

    fn gradient_base(&self, side: usize) -> Base<'_> {
        Base::Gradient { slot: &self.slot[side], values: &self.gradient[side] }
    }

    fn compute<T: Element>(&self, team: &Team, half: Half<'_>, finish: Finish, out: &mut [T]) {
        let sums = half.work.chunk_sums(team, half.csr, half.x, self.stride);
        let mut tasks = half.work.split(out, self.stride);
        team.for_each(&mut tasks, |(positions, out)| {
            half_rows(half, positions.start, &sums, self.stride, finish, out);
        });
    }

    /// The last backward layer of one side, with Adam.
    fn sum_and_move(&self, team: &Team, half: Half<'_>, update: Update<'_>, ego: &mut Room) {
        let sums = half.work.chunk_sums(team, half.csr, half.x, self.stride);
        for_stored!(StoredMut, ego.view_mut(self.storage), |ego| {
            let mut tasks = half.work.split(ego, self.stride);
            team.for_each(&mut tasks, |(rows, ego)| {
                sum_and_move_rows(half, rows.start, &sums, self.stride, self.mean(), update, ego);
            });
        });
    }

    /// Adam on all rows of one side, whose gradients are `[rows, stride]`.
    fn move_rows(&self, team: &Team, update: Update<'_>, gradient: &mut [f32], ego: &mut Room) {
        const ROWS: usize = 64;
        let (chunk, stride) = (ROWS * self.stride, self.stride);
        for_stored!(StoredMut, ego.view_mut(self.storage), |ego| {
            let mut tasks: Vec<_> =
                ego.chunks_mut(chunk).zip(gradient.chunks_mut(chunk)).zip((0..).step_by(ROWS)).collect();
            team.for_each(&mut tasks, |((ego, gradient), first)| {
                move_chunk(*first, gradient, stride, update, ego);
            });
        });
    }
}

/// The parameters of all rows, scaled.
fn scale_rows<T: Element>(table: &Table, scale: &[f32], ego: &mut [T]) {
    for (row, (ego, &scale)) in ego.chunks_exact_mut(table.stride()).zip(scale).enumerate() {
        for (ego, p) in ego.iter_mut().zip(table.record::<T>(row as u32).p) {
            *ego = T::nearest(scale * p.widen());
        }
    }
}
