//! LightGCN's propagation on the device: the same sequence of halves as [`crate::backend::cpu::propagation`].

use super::{
    Buffer, Device, Stored,
    adam::Optimiser,
    batch::Batch,
    gram::{self, Gram},
    params::NO_SLOT,
    spmm::{Base, Edges, Finish, GRAPH, Half, Input, Move, Output, Spmm},
    table::Table,
};
use crate::{
    backbone::{Form, LightGcn},
    backend::cpu::propagation::{ITEMS, USERS},
    data::graph::Graph,
    error::Result,
    storage::Storage,
};

/// Graph, buffers and form of a propagation, for one training.
#[derive(Debug)]
pub struct Propagation {
    device: Device,
    layers: usize,
    /// Most users and items of a batch.
    slots: [usize; 2],
    edges: [Edges; 2],
    spmm: Spmm,
    gram: Option<Product>,
    /// `[U]` and `[I]`: slots of the batch's rows while a step lasts, [`NO_SLOT`] otherwise.
    slot: [Buffer<u32>; 2],
    /// The parameters, scaled: `[U, stride]` and `[I, stride]`.
    ego: [Stored; 2],
    /// The last two layers, scaled; empty where there are not so many.
    layer: [[Stored; 2]; 2],
}

/// What [`Form::Gram`] has in place of layers.
#[derive(Debug)]
struct Product {
    gram: Gram,
    /// `[I, stride]`: y of the items, and the same, scaled.
    items: Buffer<f32>,
    scaled: Stored,
}

/// Which of the two layers' buffers a training of so many layers uses.
fn layers_kept(layers: usize, form: Form) -> [bool; 2] {
    [form == Form::Layers && layers > 2, form == Form::Layers && layers > 1]
}

/// Bytes of device memory: graph and layers.
pub fn memory(
    graph: &Graph<'_>,
    LightGcn { layers, form }: LightGcn,
    stride: usize,
    storage: Storage,
) -> u64 {
    let (users, items) = (graph.user_scale.len(), graph.item_scale.len());
    let edges = Edges::memory(graph.by_user, items, stride) + Edges::memory(graph.by_item, users, stride);
    let kept = 1 + layers_kept(layers, form).into_iter().filter(|&kept| kept).count();
    let rows = (users + items) * (storage.bytes() * stride * kept + 4);
    let product = match form {
        Form::Layers => 0,
        Form::Gram => Gram::memory(items, stride) + ((4 + storage.bytes()) * items * stride) as u64,
    };
    edges + rows as u64 + product
}

impl Propagation {
    /// For tables as they are now, and batches with up to `slots` distinct users and items.
    ///
    /// # Errors
    /// [`crate::Error::DeviceMemory`] if it does not fit.
    pub fn new(
        device: &Device,
        graph: &Graph<'_>,
        LightGcn { layers, form }: LightGcn,
        tables: [&Table; 2],
        slots: [usize; 2],
    ) -> Result<Self> {
        let [users, items] = tables.map(Table::rows);
        let stride = tables[USERS].stride();
        let storage = tables[USERS].storage();
        let edges = [
            Edges::new(device, graph.by_user, items, &graph.user_scale)?,
            Edges::new(device, graph.by_item, users, &graph.item_scale)?,
        ];
        let room = |kept: bool| -> Result<_> {
            let rows = [users, items].map(|rows| if kept { rows * stride } else { 0 });
            let [users, items] = rows.map(|n| Stored::alloc(device, GRAPH, storage, n));
            Ok([users?, items?])
        };
        let [first, second] = layers_kept(layers, form);
        let gram = match form {
            Form::Layers => None,
            Form::Gram => {
                let matrix = gram::product(device, graph, edges.each_ref())?;
                Some(Product {
                    gram: Gram::new(device, matrix, items, stride, storage)?,
                    items: device.alloc(GRAPH, items * stride)?,
                    scaled: Stored::alloc(device, GRAPH, storage, items * stride)?,
                })
            }
        };
        let mut propagation = Propagation {
            spmm: Spmm::new(device, stride, storage, [&edges[USERS], &edges[ITEMS]])?,
            edges,
            gram,
            slot: [
                device.upload(GRAPH, &vec![NO_SLOT; users])?,
                device.upload(GRAPH, &vec![NO_SLOT; items])?,
            ],
            ego: room(true)?,
            layer: [room(first)?, room(second)?],
            layers,
            slots,
            device: device.clone(),
        };
        propagation.scale_parameters(tables)?;
        Ok(propagation)
    }

    /// Takes over the parameters of `tables`, which were changed from outside.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the device fails.
    pub fn scale_parameters(&mut self, tables: [&Table; 2]) -> Result<()> {
        for ((ego, table), edges) in self.ego.iter_mut().zip(tables).zip(&self.edges) {
            let mut values = table.p.read()?;
            for (row, s) in values.chunks_exact_mut(table.stride()).zip(edges.scale.read()?) {
                row.iter_mut().for_each(|x| *x *= s);
            }
            ego.write(&values)?;
        }
        Ok(())
    }

    /// Queues what ties the batch's rows to their slots, until [`Propagation::backward`] has ended. Can be captured.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the launch is refused.
    pub fn begin(&mut self, batch: Batch<'_>) -> Result<()> {
        self.spmm.mark(batch, self.slots, self.slot.each_mut(), true)
    }

    /// Queues all layers but the last. Can be captured.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if a launch is refused.
    pub fn forward(&mut self, tables: [&Table; 2]) -> Result<()> {
        let form = tables[USERS].storage();
        let base = tables.map(|table| Base::Table(&table.p));
        let first = self.ego.each_ref().map(Input::Rows);
        match &mut self.gram {
            None => inner_layers(
                &mut self.spmm,
                &self.edges,
                &self.slot,
                self.layers,
                (&mut self.layer, form),
                base,
                first,
            ),
            Some(product) => product.sum_users(&mut self.spmm, &self.edges, &self.slot, form, base, first),
        }
    }

    /// Queues the last layer, of the batch's rows by slot where there is a batch, of all rows otherwise: `[., stride]`.
    /// Can be captured.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if a launch is refused.
    pub fn last_layer(
        &mut self,
        batch: Option<Batch<'_>>,
        tables: [&Table; 2],
        [users, items]: [&mut Buffer<f32>; 2],
    ) -> Result<()> {
        let mean = mean(self.layers);
        let Propagation { spmm, edges, gram, slot, ego, layer, .. } = self;
        let base = tables.map(|table| Base::Table(&table.p));
        let output = |rows| if batch.is_some() { Output::Batch(mean, rows) } else { Output::All(mean, rows) };
        let finish = |side: usize, base, rows| Finish {
            scale: &edges[side].scale,
            slot: Some(&slot[side]),
            base,
            output: output(rows),
        };
        match gram {
            None => {
                let [of_users, of_items] = below(self.layers, layer, ego.each_ref().map(Input::Rows));
                let users =
                    Half { edges: &edges[USERS], x: of_items, finish: finish(USERS, base[USERS], users) };
                let items =
                    Half { edges: &edges[ITEMS], x: of_users, finish: finish(ITEMS, base[ITEMS], items) };
                spmm.launch([Some(users), Some(items)])
            }
            Some(Product { gram, items: y, scaled }) => {
                let x = Input::Rows(scaled);
                let users = Half { edges: &edges[USERS], x, finish: finish(USERS, base[USERS], users) };
                spmm.launch([Some(users), None])?;
                let batch = batch.map(|batch| (batch, self.slots[ITEMS]));
                gram.launch(batch, Input::Rows(&ego[ITEMS]), finish(ITEMS, Base::Rows(y), items))
            }
        }
    }

    /// The final embeddings of all rows, `[U, stride]` and `[I, stride]`.
    ///
    /// # Errors
    /// [`crate::Error::DeviceMemory`] if they do not fit.
    pub fn export(&mut self, tables: [&Table; 2]) -> Result<[Buffer<f32>; 2]> {
        self.forward(tables)?;
        let [users, items] = self.ego.each_ref().map(Stored::len);
        let mut users = self.device.alloc(GRAPH, users)?;
        let mut items = self.device.alloc(GRAPH, items)?;
        self.last_layer(None, tables, [&mut users, &mut items])?;
        Ok([users, items])
    }

    /// Queues the backward pass from the batch's `gradients`, `[slots, stride]` each: L2 on the batch's rows, what
    /// their parameters have besides, `ego_gradients`, and Adam on all. Can be captured.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if a launch is refused.
    pub fn backward(
        &mut self,
        batch: Batch<'_>,
        tables: [&mut Table; 2],
        gradients: [&Buffer<f32>; 2],
        ego_gradients: [Option<&Buffer<f32>>; 2],
        l2: f32,
        optimiser: &Optimiser,
    ) -> Result<()> {
        let factor = mean(self.layers);
        let Propagation { spmm, edges, gram, slot, ego, layer, .. } = self;
        let base = gradients.map(Base::Batch);
        let input = |side: usize| Input::Batch {
            slot: &slot[side],
            scale: &edges[side].scale,
            values: gradients[side],
        };
        let first = [input(USERS), input(ITEMS)];
        let form = tables[USERS].storage().of_gradients();
        let [user_table, item_table] = tables;
        let [user_ego, item_ego] = ego;
        // A user is counted once a row, and so half for each of the row's two samples.
        let move_users = Move {
            factor,
            table: user_table,
            scaled: user_ego,
            batch,
            touched: batch.users,
            l2: 0.5 * l2,
            ego: ego_gradients[USERS],
            optimiser,
        };
        let move_items = Move {
            factor,
            table: item_table,
            scaled: item_ego,
            batch,
            touched: batch.items,
            l2,
            ego: ego_gradients[ITEMS],
            optimiser,
        };
        let finish = |side: usize, base, to| Finish {
            scale: &edges[side].scale,
            slot: Some(&slot[side]),
            base,
            output: Output::Move(to),
        };
        match gram {
            None => {
                inner_layers(spmm, edges, slot, self.layers, (layer, form), base, first)?;
                let [of_users, of_items] = below(self.layers, layer, first);
                let users = Half {
                    edges: &edges[USERS],
                    x: of_items,
                    finish: finish(USERS, base[USERS], move_users),
                };
                let items = Half {
                    edges: &edges[ITEMS],
                    x: of_users,
                    finish: finish(ITEMS, base[ITEMS], move_items),
                };
                spmm.launch([Some(users), Some(items)])?;
            }
            Some(product) => {
                product.sum_users(spmm, edges, slot, form, base, first)?;
                let Product { gram, items: y, scaled } = product;
                gram.launch(None, first[ITEMS], finish(ITEMS, Base::Rows(y), move_items))?;
                let x = Input::Rows(scaled);
                let users = Half { edges: &edges[USERS], x, finish: finish(USERS, base[USERS], move_users) };
                spmm.launch([Some(users), None])?;
            }
        }
        self.spmm.mark(batch, self.slots, self.slot.each_mut(), false)
    }
}

impl Product {
    /// y of the items from a pass's base and first rows, as it is, and scaled in the form of the pass.
    fn sum_users(
        &mut self,
        spmm: &mut Spmm,
        edges: &[Edges; 2],
        slot: &[Buffer<u32>; 2],
        form: Storage,
        base: [Base<'_>; 2],
        first: [Input<'_>; 2],
    ) -> Result<()> {
        self.scaled.hold(form);
        let finish = Finish {
            scale: &edges[ITEMS].scale,
            slot: Some(&slot[ITEMS]),
            base: base[ITEMS],
            output: Output::Layer(&mut self.scaled, Some(&mut self.items)),
        };
        spmm.launch([None, Some(Half { edges: &edges[ITEMS], x: first[USERS], finish })])
    }
}

/// The factor of the mean over the layers and the parameters themselves.
fn mean(layers: usize) -> f32 {
    1.0 / (layers + 1) as f32
}

/// What layer `k` of a pass sums: the layer below, or what the pass begins with.
fn below<'a>(k: usize, layer: &'a [[Stored; 2]; 2], first: [Input<'a>; 2]) -> [Input<'a>; 2] {
    if k == 1 { first } else { layer[(k - 1) % 2].each_ref().map(Input::Rows) }
}

/// Layers 1 to L - 1 of a pass, in its form.
fn inner_layers(
    spmm: &mut Spmm,
    edges: &[Edges; 2],
    slot: &[Buffer<u32>; 2],
    layers: usize,
    (layer, form): (&mut [[Stored; 2]; 2], Storage),
    base: [Base<'_>; 2],
    first: [Input<'_>; 2],
) -> Result<()> {
    for k in 1..layers {
        let [even, odd] = &mut *layer;
        let (next, before) = if k % 2 == 0 { (even, &*odd) } else { (odd, &*even) };
        let [of_users, of_items] = if k == 1 { first } else { before.each_ref().map(Input::Rows) };
        next.iter_mut().for_each(|rows| rows.hold(form));
        let [users, items] = next;
        let half = |side: usize, x, scaled| Half {
            edges: &edges[side],
            x,
            finish: Finish {
                scale: &edges[side].scale,
                slot: Some(&slot[side]),
                base: base[side],
                output: Output::Layer(scaled, None),
            },
        };
        spmm.launch([Some(half(USERS, of_items, users)), Some(half(ITEMS, of_users, items))])?;
    }
    Ok(())
}
