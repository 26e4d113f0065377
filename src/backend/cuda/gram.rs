//! `gram`: the product with the dense item-item matrix, for small catalogues; `gram_product`: the matrix.

use super::{
    Buffer, Device, Kernel, Params, Shape,
    batch::Batch,
    params::{
        self, GRAM_DEPTH, GRAM_PRODUCT_COLUMNS, GRAM_PRODUCT_THREADS, GRAM_ROWS, GRAM_THREADS, GramSide,
    },
    spmm::{Edges, Finish, GRAPH, Input, Output},
    table::{stride, variant, width},
};
use crate::{
    data::{Csr, graph::Graph},
    error::Result,
    storage::Storage,
};

// SAFETY: kernels/gram.cu.
unsafe impl Params for params::Gram {
    const KERNEL: &'static str = "gram";
}

// SAFETY: kernels/gram.cu.
unsafe impl Params for params::GramProduct {
    const KERNEL: &'static str = "gram_product";
}

/// Blocks that a product is split into at least, where it has so many columns: enough for any GPU, and a number of its
/// own, so that all of them round alike.
const BLOCKS: u32 = 512;
/// Most splits.
const SPLITS: u32 = 16;

/// The launcher, and the matrix.
#[derive(Debug)]
pub struct Gram {
    device: Device,
    kernel: Kernel<params::Gram>,
    storage: Storage,
    items: usize,
    stride: usize,
    tiling: Tiling,
    /// `[I, pitch]`.
    matrix: Buffer<f32>,
    /// `[splits, I, stride]`.
    partial: Buffer<f32>,
    /// `[column tiles, row tiles]`: zero between launches.
    arrived: Buffer<u32>,
}

/// How a product is cut.
#[derive(Debug, Clone, Copy)]
struct Tiling {
    /// Columns of a tile.
    columns: u32,
    /// Tiles of rows and of columns.
    tiles: [u32; 2],
    splits: u32,
}

impl Tiling {
    fn new(items: usize, stride: usize) -> Self {
        let items = items as u32;
        let columns = (stride as u32).next_power_of_two().clamp(32, 64);
        let tiles = [items.div_ceil(GRAM_ROWS), (stride as u32).div_ceil(columns)];
        let splits = BLOCKS.div_ceil(tiles[0] * tiles[1]).min(SPLITS).min(items.div_ceil(GRAM_DEPTH));
        Tiling { columns, tiles, splits }
    }

    /// Rows of parts.
    fn parts(&self, items: usize) -> usize {
        if self.splits > 1 { self.splits as usize * items } else { 0 }
    }
}

/// Distance of two rows of the matrix: whole slices.
pub fn pitch(items: usize) -> usize {
    items.next_multiple_of(GRAM_DEPTH as usize)
}

/// `[I, pitch]`, zero from column I on: the matrix of [`crate::backend::cpu::gram::product`], to the bit. `edges` are
/// those of the graph's users and items.
///
/// # Errors
/// [`crate::Error::DeviceMemory`] if it does not fit, [`crate::Error::Device`] if the device fails.
///
/// # Panics
/// If the edges are not those of the graph.
pub fn product(device: &Device, graph: &Graph<'_>, [users, items]: [&Edges; 2]) -> Result<Buffer<f32>> {
    let rows = items.rows();
    let mut matrix = device.alloc(GRAPH, rows * pitch(rows))?;
    if rows == 0 {
        return Ok(matrix);
    }
    let offsets = |csr: Csr<'_>| device.upload(GRAPH, csr.offsets);
    let [user_offsets, item_offsets] = [offsets(graph.by_user)?, offsets(graph.by_item)?];
    let side = |edges: &Edges, offsets: &Buffer<u64>| {
        assert_eq!(offsets.len(), edges.rows() + 1, "edges of another graph");
        let (partners, narrow) = edges.partners();
        let (offsets, scale) = (offsets.ptr(), edges.scale.ptr());
        GramSide { offsets, partners, scale, narrow: u32::from(narrow), padding: 0 }
    };
    let params = params::GramProduct {
        users: side(users, &user_offsets),
        items: side(items, &item_offsets),
        g: matrix.ptr_mut(),
        pitch: pitch(rows) as u32,
        padding: 0,
    };
    let parts = (pitch(rows) as u32).div_ceil(GRAM_PRODUCT_COLUMNS);
    let shape = Shape { grid: [rows as u32, parts, 1], block: GRAM_PRODUCT_THREADS, shared: 0 };
    // SAFETY: the arrays have the shapes that kernels/params.h gives; the graph's edges lead to rows of the other side.
    unsafe { device.launch(&device.kernel()?, shape, params) }?;
    // The offsets are needed until then.
    device.synchronize()?;
    Ok(matrix)
}

impl Gram {
    /// For the matrix of [`product`], `[I, pitch]`, and tables of `dim` columns in one form.
    ///
    /// # Errors
    /// [`crate::Error::Config`] if there is no kernel for `dim`, [`crate::Error::DeviceMemory`] if the buffers do not
    /// fit.
    ///
    /// # Panics
    /// If the matrix has another size.
    pub fn new(
        device: &Device,
        matrix: Buffer<f32>,
        items: usize,
        dim: usize,
        storage: Storage,
    ) -> Result<Self> {
        width(dim)?;
        assert_eq!(matrix.len(), items * pitch(items), "not a square");
        let stride = stride(dim);
        let tiling = Tiling::new(items, stride);
        Ok(Gram {
            kernel: device.kernel_variant(variant(storage, tiling.columns as usize))?,
            storage,
            items,
            stride,
            matrix,
            partial: device.alloc(GRAPH, tiling.parts(items) * stride)?,
            arrived: device.zeros(GRAPH, (tiling.tiles[0] * tiling.tiles[1]) as usize)?,
            tiling,
            device: device.clone(),
        })
    }

    /// Bytes of device memory.
    pub fn memory(items: usize, stride: usize) -> u64 {
        let tiling = Tiling::new(items, stride);
        let tiles = tiling.tiles[0] * tiling.tiles[1];
        4 * (items * pitch(items) + tiling.parts(items) * stride + tiles as usize) as u64
    }

    /// Queues the product for all items, or for the batch's items where the output is [`Output::Batch`], of which there
    /// are at most `slots`. Can be captured.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the launch is refused.
    ///
    /// # Panics
    /// If shapes differ from those that this was made for.
    pub fn launch(
        &mut self,
        batch: Option<(Batch<'_>, usize)>,
        x: Input<'_>,
        finish: Finish<'_>,
    ) -> Result<()> {
        let Tiling { tiles, splits, .. } = self.tiling;
        assert_eq!(finish.scale.len(), self.items, "other numbers of items");
        assert_eq!(
            batch.is_some(),
            matches!(finish.output, Output::Batch(..)),
            "a batch for the batch's rows"
        );
        let (x, x_slot) = match x {
            Input::Rows(x) => {
                assert_eq!(x.len(), self.items * self.stride, "other numbers of items");
                assert_eq!(x.storage(), self.storage, "another form");
                (x.ptr(), std::ptr::null())
            }
            Input::Batch { slot, values, .. } => {
                assert_eq!(slot.len(), self.items, "other numbers of items");
                (values.ptr().cast(), slot.ptr())
            }
        };
        let none = (std::ptr::null(), std::ptr::null(), tiles[0]);
        let (ids, count, row_tiles) = batch.map_or(none, |(batch, slots)| {
            let at = batch.side(batch.items);
            (at.touched, at.count, (slots as u32).div_ceil(GRAM_ROWS).min(tiles[0]))
        });
        let params = params::Gram {
            g: self.matrix.ptr(),
            x,
            x_slot,
            ids,
            count,
            partial: self.partial.ptr_mut(),
            arrived: self.arrived.ptr_mut(),
            finish: finish.params(self.stride, self.storage),
            items: self.items as u32,
            pitch: pitch(self.items) as u32,
            stride: self.stride as u32,
            most_rows: self.items as u32,
        };
        let shape = Shape { grid: [row_tiles, tiles[1], splits], block: GRAM_THREADS, shared: 0 };
        // SAFETY: the arrays have the shapes that kernels/params.h gives; the batch's items are distinct items.
        unsafe { self.device.launch(&self.kernel, shape, params) }
    }
}
