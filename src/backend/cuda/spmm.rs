//! `spmm`: one half of a layer of the propagation, rows of one side from rows of the other; `mark`: the batch's rows.

use std::ffi::c_void;

use super::{
    Buffer, Device, Kernel, Params, Purpose, Shape, Stored,
    adam::{Optimiser, lanes},
    batch::Batch,
    params::{self, MARK_THREADS, NO_SLOT, SPMM_EDGES, SPMM_THREADS},
    sample::Touched,
    table::{Table, stride, variant, width},
};
use crate::{data::Csr, error::Result, storage::Storage};

// SAFETY: kernels/spmm.cu.
unsafe impl Params for params::Spmm {
    const KERNEL: &'static str = "spmm";
}

// SAFETY: kernels/spmm.cu.
unsafe impl Params for params::Mark {
    const KERNEL: &'static str = "mark";
}

/// What runs short when the graph or its layers do not fit.
pub const GRAPH: Purpose = Purpose { what: "the graph and the layers of the propagation", lower: "--dim" };
/// Most rows of a side whose numbers take two bytes an edge.
const NARROW: usize = 1 << 16;

/// Rows of the other side, by edge.
#[derive(Debug)]
enum Partners {
    Narrow(Buffer<u16>),
    Wide(Buffer<u32>),
}

/// The edges of one side's rows, cut into units of about equal work.
#[derive(Debug)]
pub struct Edges {
    rows: usize,
    others: usize,
    partners: Partners,
    /// `[units, 4]`, those with most edges first.
    units: Buffer<u32>,
    /// `[parts, 2]`.
    parts: Buffer<u32>,
    /// `[rows]`: 1 / sqrt(degree), 0 for a row without edges.
    pub scale: Buffer<f32>,
}

/// Units and parts of longer rows that `csr` is cut into.
fn cut(csr: Csr<'_>) -> (usize, usize) {
    (0..csr.rows() as u32).fold((0, 0), |(units, parts), row| {
        let of_row = (csr.degree(row).div_ceil(SPMM_EDGES) as usize).max(1);
        (units + of_row, parts + if of_row > 1 { of_row } else { 0 })
    })
}

impl Edges {
    /// The rows of `csr`, of `others` rows of the other side.
    ///
    /// # Errors
    /// [`crate::Error::DeviceMemory`] if they do not fit.
    ///
    /// # Panics
    /// If `scale` has another length than `csr`, an edge leads beyond `others`, or there are 2^48 edges.
    pub fn new(device: &Device, csr: Csr<'_>, others: usize, scale: &[f32]) -> Result<Self> {
        assert!(scale.len() == csr.rows() && csr.nnz() < 1 << 48, "other shapes");
        assert!(csr.indices.iter().all(|&id| (id as usize) < others), "an edge beyond the other side");
        let (mut units, mut parts) = (Vec::new(), Vec::<u32>::new());
        for row in 0..csr.rows() as u32 {
            let range = csr.range(row);
            let of_row = (range.len().div_ceil(SPMM_EDGES as usize)).max(1) as u32;
            let first = parts.len() as u32 / 2;
            for k in 0..of_row {
                let begin = range.start + (k * SPMM_EDGES) as usize;
                let edges = (range.end - begin).min(SPMM_EDGES as usize) as u32;
                let part = if of_row > 1 { first + k } else { NO_SLOT };
                let begin = begin as u64;
                units.push([row, edges | ((begin >> 32) as u32) << 16, begin as u32, part]);
                if of_row > 1 {
                    parts.extend([first, of_row]);
                }
            }
        }
        // Stable: rows of one length stay in their order.
        units.sort_by_key(|unit| std::cmp::Reverse(unit[1] & 0xffff));
        let partners = if others <= NARROW {
            let narrow: Vec<u16> = csr.indices.iter().map(|&id| id as u16).collect();
            Partners::Narrow(device.upload(GRAPH, &narrow)?)
        } else {
            Partners::Wide(device.upload(GRAPH, csr.indices)?)
        };
        Ok(Edges {
            rows: csr.rows(),
            others,
            partners,
            units: device.upload(GRAPH, units.as_flattened())?,
            parts: device.upload(GRAPH, &parts)?,
            scale: device.upload(GRAPH, scale)?,
        })
    }

    /// Bytes of device memory, with the parts' sums of rows of `stride` columns.
    pub fn memory(csr: Csr<'_>, others: usize, stride: usize) -> u64 {
        let (units, parts) = cut(csr);
        let partner = if others <= NARROW { 2 } else { 4 };
        partner * csr.nnz() + (16 * units + parts * (12 + 4 * stride) + 4 * csr.rows()) as u64
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Rows of the other side, by edge in the order of the rows, and whether they are u16.
    pub(super) fn partners(&self) -> (*const c_void, bool) {
        match &self.partners {
            Partners::Narrow(partners) => (partners.ptr().cast(), true),
            Partners::Wide(partners) => (partners.ptr().cast(), false),
        }
    }

    fn units(&self) -> u32 {
        (self.units.len() / 4) as u32
    }

    fn parts(&self) -> usize {
        self.parts.len() / 2
    }
}

/// The other side's rows.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// `[others, stride]`, scaled.
    Rows(&'a Stored),
    /// The batch's, not scaled; all others are zero.
    Batch {
        /// `[others]`: place of each row among those of the batch, or [`NO_SLOT`].
        slot: &'a Buffer<u32>,
        /// `[others]`: 1 / sqrt(degree).
        scale: &'a Buffer<f32>,
        /// `[slots, stride]`.
        values: &'a Buffer<f32>,
    },
}

/// What the sum is added to.
#[derive(Debug, Clone, Copy)]
pub enum Base<'a> {
    /// The parameters of a table, `[rows, stride]`.
    Table(&'a Stored),
    /// `[rows, stride]`.
    Rows(&'a Buffer<f32>),
    /// `[slots, stride]` of the batch's rows; all others are zero.
    Batch(&'a Buffer<f32>),
}

/// What becomes of `y`, the base and the sum together.
#[derive(Debug)]
pub enum Output<'a> {
    /// A layer: `y` scaled, for the next to sum, and `y` itself where it is wanted, `[rows, stride]`.
    Layer(&'a mut Stored, Option<&'a mut Buffer<f32>>),
    /// Final rows, `y` times this, of all rows, `[rows, stride]`.
    All(f32, &'a mut Buffer<f32>),
    /// Final rows, `y` times this, of the batch's rows alone, `[slots, stride]`.
    Batch(f32, &'a mut Buffer<f32>),
    /// No rows: `y` moves those of the table.
    Move(Move<'a>),
}

/// Adam on all rows of a table.
#[derive(Debug)]
pub struct Move<'a> {
    /// The gradient is `y` times this.
    pub factor: f32,
    /// The rows that move.
    pub table: &'a mut Table,
    /// `[rows, stride]`: where their new parameters go, scaled.
    pub scaled: &'a mut Stored,
    /// The batch's rows, which have an L2 term.
    pub batch: Batch<'a>,
    /// Those of this side.
    pub touched: &'a Touched,
    /// L2 coefficient of a row with one sample, times the rows of the batch.
    pub l2: f32,
    /// `[slots, stride]`: added to the gradients of the batch's rows.
    pub ego: Option<&'a Buffer<f32>>,
    /// Adam.
    pub optimiser: &'a Optimiser,
}

/// How the sums of a side's rows end; the same in `spmm` and in `gram`.
#[derive(Debug)]
pub struct Finish<'a> {
    /// `[rows]`: 1 / sqrt(degree).
    pub scale: &'a Buffer<f32>,
    /// `[rows]`: place of each row among those of the batch, or [`NO_SLOT`]. Without it no row is in the batch.
    pub slot: Option<&'a Buffer<u32>>,
    /// Added to.
    pub base: Base<'a>,
    /// Where it goes.
    pub output: Output<'a>,
}

impl Finish<'_> {
    /// For a kernel whose tables are of the form `storage`.
    ///
    /// # Panics
    /// If a buffer of all rows has another length, or a table another form.
    pub(super) fn params(self, stride: usize, storage: Storage) -> params::Finish {
        let len = self.scale.len() * stride;
        let all = |buffer: &mut Buffer<f32>| {
            assert_eq!(buffer.len(), len, "other numbers of rows");
            buffer.ptr_mut()
        };
        // SAFETY: numbers and pointers, of which zeros are values.
        let mut finish: params::Finish = unsafe { std::mem::zeroed() };
        finish.scale = self.scale.ptr();
        finish.factor = 1.0;
        if let Some(slot) = self.slot {
            assert_eq!(slot.len(), self.scale.len(), "other numbers of rows");
            finish.slot = slot.ptr();
        }
        match self.base {
            Base::Table(p) => {
                assert_eq!((p.len(), p.storage()), (len, storage), "another table");
                finish.stored_base = p.ptr();
            }
            Base::Rows(rows) => {
                assert_eq!(rows.len(), len, "other numbers of rows");
                finish.base = rows.ptr();
            }
            Base::Batch(rows) => (finish.base, finish.base_by_slot) = (rows.ptr(), 1),
        }
        match self.output {
            Output::Layer(scaled, plain) => {
                assert_eq!(scaled.len(), len, "other numbers of rows");
                finish.scaled = scaled.ptr_mut();
                if let Some(plain) = plain {
                    finish.out = all(plain);
                }
            }
            Output::All(factor, out) => (finish.factor, finish.out) = (factor, all(out)),
            Output::Batch(factor, out) => {
                assert!(self.slot.is_some(), "no slots");
                (finish.factor, finish.out, finish.out_by_slot) = (factor, out.ptr_mut(), 1);
            }
            Output::Move(to) => {
                assert_eq!(to.table.rows(), self.scale.len(), "other numbers of rows");
                assert_eq!((to.table.storage(), to.scaled.storage()), (storage, storage), "another form");
                assert_eq!(to.scaled.len(), len, "other numbers of rows");
                finish.table = to.table.params_mut();
                finish.scaled = to.scaled.ptr_mut();
                finish.step = to.batch.step_ptr();
                finish.rows = to.batch.rows_ptr();
                finish.starts = to.batch.side(to.touched).starts;
                finish.ego = to.ego.map_or(std::ptr::null(), Buffer::ptr);
                finish.adam = to.optimiser.params();
                (finish.factor, finish.l2) = (to.factor, to.l2);
            }
        }
        finish
    }
}

/// One half of a layer.
#[derive(Debug)]
pub struct Half<'a> {
    /// The edges of the rows to be summed.
    pub edges: &'a Edges,
    /// What is summed.
    pub x: Input<'a>,
    /// What becomes of the sums.
    pub finish: Finish<'a>,
}

impl Half<'_> {
    /// The form of the layers that it reads and writes, where there are any.
    fn layers(&self) -> impl Iterator<Item = Storage> {
        let read = match self.x {
            Input::Rows(x) => Some(x.storage()),
            Input::Batch { .. } => None,
        };
        let written = match &self.finish.output {
            Output::Layer(scaled, _) => Some(scaled.storage()),
            _ => None,
        };
        [read, written].into_iter().flatten()
    }
}

/// Sums of parts of longer rows.
#[derive(Debug)]
struct Parts {
    /// `[parts, stride]`.
    sums: Buffer<f32>,
    /// `[parts]`: zero between launches.
    arrived: Buffer<u32>,
}

/// The launcher.
#[derive(Debug)]
pub struct Spmm {
    device: Device,
    /// By the form of layers: that of tables, and that of gradients.
    kernels: Vec<(Storage, Kernel<params::Spmm>)>,
    mark: Kernel<params::Mark>,
    stride: usize,
    /// Groups of lanes of a block.
    groups: u32,
    /// Of users and items.
    parts: [Parts; 2],
}

impl Spmm {
    /// For tables of users and items of `dim` columns in one form.
    ///
    /// # Errors
    /// [`crate::Error::Config`] if there is no kernel for `dim`, [`crate::Error::DeviceMemory`] if the buffers do not
    /// fit.
    pub fn new(device: &Device, dim: usize, storage: Storage, [users, items]: [&Edges; 2]) -> Result<Self> {
        let (width, stride) = (width(dim)?, stride(dim));
        let parts = |edges: &Edges| {
            Ok(Parts {
                sums: device.alloc(GRAPH, edges.parts() * stride)?,
                arrived: device.zeros(GRAPH, edges.parts())?,
            })
        };
        let mut kernels = vec![(storage, device.kernel_variant(variant(storage, width))?)];
        let gradients = storage.of_gradients();
        if gradients != storage {
            let backward = format!("{storage}_{}", variant(gradients, width));
            kernels.push((gradients, device.kernel_variant(backward)?));
        }
        Ok(Spmm {
            kernels,
            mark: device.kernel()?,
            stride,
            groups: SPMM_THREADS / lanes(width),
            parts: [parts(users)?, parts(items)?],
            device: device.clone(),
        })
    }

    /// Queues the halves that there are of users and items; neither reads what the other writes. Can be captured.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the launch is refused.
    ///
    /// # Panics
    /// If shapes or forms differ from those that this was made for, or both halves are missing.
    pub fn launch(&mut self, [users, items]: [Option<Half<'_>>; 2]) -> Result<()> {
        let (groups, stride) = (self.groups, self.stride);
        let blocks =
            [&users, &items].map(|half| half.as_ref().map_or(0, |h| h.edges.units().div_ceil(groups)));
        let storage = self.kernels[0].0;
        let forms: Vec<Storage> = [&users, &items].into_iter().flatten().flat_map(Half::layers).collect();
        let form = forms.first().copied().unwrap_or(storage);
        assert!(forms.iter().all(|&other| other == form), "layers of different forms");
        let kernel = self.kernels.iter().find(|(of, _)| *of == form);
        let Some((_, kernel)) = kernel else { panic!("layers in {form} for tables in {storage}") };
        let [user_parts, item_parts] = &mut self.parts;
        let params = params::Spmm {
            side: [side(users, user_parts, stride, storage), side(items, item_parts, stride, storage)],
            user_block: blocks[1],
            stride: stride as u32,
        };
        let shape = Shape::linear(blocks[0] + blocks[1], SPMM_THREADS);
        // SAFETY: the arrays have the shapes that kernels/params.h gives; edges are of rows of the other side, and
        // slots are slots of the batch's rows.
        unsafe { self.device.launch(kernel, shape, params) }
    }

    /// Queues the marking of the batch's users and items: their slots in `slot`, or [`NO_SLOT`] again. `slots` of each
    /// can be in a batch. Can be captured.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the launch is refused.
    pub fn mark(
        &self,
        batch: Batch<'_>,
        slots: [usize; 2],
        [users, items]: [&mut Buffer<u32>; 2],
        set: bool,
    ) -> Result<()> {
        let blocks = slots.map(|n| (n as u32).div_ceil(MARK_THREADS));
        let side = |slot: &mut Buffer<u32>, touched: &Touched| {
            let at = batch.side(touched);
            params::MarkSide { touched: at.touched, count: at.count, slot: slot.ptr_mut() }
        };
        let params = params::Mark {
            side: [side(users, batch.users), side(items, batch.items)],
            item_block: blocks[0],
            set: u32::from(set),
        };
        let shape = Shape::linear(blocks[0] + blocks[1], MARK_THREADS);
        // SAFETY: touched rows are rows of the tables, which the slots have the length of.
        unsafe { self.device.launch(&self.mark, shape, params) }
    }
}

/// A side of a launch; without units where there is no half.
fn side(half: Option<Half<'_>>, parts: &mut Parts, stride: usize, storage: Storage) -> params::SpmmSide {
    let Some(Half { edges, x, finish }) = half else {
        // SAFETY: numbers and pointers, of which zeros are values.
        return unsafe { std::mem::zeroed() };
    };
    assert_eq!(edges.parts(), parts.arrived.len(), "other edges");
    assert_eq!(finish.scale.len(), edges.rows, "other numbers of rows");
    let (x, x_slot, x_scale) = match x {
        Input::Rows(rows) => {
            assert_eq!(rows.len(), edges.others * stride, "other numbers of rows");
            (rows.ptr(), std::ptr::null(), std::ptr::null())
        }
        Input::Batch { slot, scale, values } => {
            assert!(slot.len() == edges.others && scale.len() == edges.others, "other numbers of rows");
            (values.ptr().cast(), slot.ptr(), scale.ptr())
        }
    };
    let (partners, narrow) = edges.partners();
    params::SpmmSide {
        units: edges.units.ptr(),
        parts: edges.parts.ptr(),
        partners,
        x,
        x_slot,
        x_scale,
        partial: parts.sums.ptr_mut(),
        arrived: parts.arrived.ptr_mut(),
        finish: finish.params(stride, storage),
        count: edges.units(),
        narrow: u32::from(narrow),
    }
}
