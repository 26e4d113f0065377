//! `expomf`: whole iterations of ExpoMF on the device. The host reads the log posterior.

use super::{
    Buffer, Device, Kernel, Params, Purpose, Shape, adam,
    memory::fits,
    params::{
        EXPOMF_ITEM_THREADS, EXPOMF_POSTERIOR_THREADS, EXPOMF_ROWS, EXPOMF_SOLVE_THREADS, EXPOMF_THREADS,
        EXPOMF_TILE, ExpomfDensity, ExpomfItem, ExpomfMark, ExpomfNormal, ExpomfPosterior, ExpomfScores,
        ExpomfSolve,
    },
    rank::{DeviceTables, Ranker},
    table::stride,
};
use crate::{
    backend::{
        Parameters, Ranks, Snapshot,
        expomf::{Em, ExposureConstant, REPO_EPSILON, Settings, State, unsolvable},
        state::{pad, unpadded},
    },
    data::{Csr, Interactions, Split},
    error::{Error, Result},
    model::{Kept, Ranking},
};

// SAFETY: kernels/expomf.cu; expomf_sums takes the same.
unsafe impl Params for ExpomfScores {
    const KERNEL: &'static str = "expomf";
}

// SAFETY: kernels/expomf.cu.
unsafe impl Params for ExpomfMark {
    const KERNEL: &'static str = "expomf_mark";
}

// SAFETY: kernels/expomf.cu.
unsafe impl Params for ExpomfNormal {
    const KERNEL: &'static str = "expomf_normal";
}

// SAFETY: kernels/expomf.cu.
unsafe impl Params for ExpomfSolve {
    const KERNEL: &'static str = "expomf_solve";
}

// SAFETY: kernels/expomf.cu.
unsafe impl Params for ExpomfItem {
    const KERNEL: &'static str = "expomf_item";
}

// SAFETY: kernels/expomf.cu.
unsafe impl Params for ExpomfPosterior {
    const KERNEL: &'static str = "expomf_posterior";
}

/// Largest embedding size: a normal matrix lies in the shared memory of a block, of which every GPU that the kernels
/// are made for has 163 KiB.
pub const MOST_DIM: usize = 256;

/// Elements of the exposures, and of the normal matrices, of the rows that are worked on at once.
const ELEMENTS: usize = 1 << 25;
/// Most parts that the users are split into where the exposures of items are summed.
const SPANS: usize = 32;

const MEMORY: Purpose = Purpose { what: "a training of ExpoMF", lower: "--dim" };

/// One side: users or items.
#[derive(Debug)]
struct Side {
    rows: usize,
    /// `[N, stride]`.
    table: Buffer<f32>,
    /// `[N + 1]`.
    offsets: Buffer<u64>,
    /// `[nnz]`: rows of the other side.
    positives: Buffer<u32>,
}

impl Side {
    fn new(device: &Device, table: &[f32], dim: usize, positives: Csr<'_>) -> Result<Self> {
        let mut padded = vec![0f32; table.len() / dim * stride(dim)];
        pad(table, &mut padded, stride(dim), dim);
        Ok(Side {
            rows: table.len() / dim,
            table: device.upload(MEMORY, &padded)?,
            offsets: device.upload(MEMORY, positives.offsets)?,
            positives: device.upload(MEMORY, positives.indices)?,
        })
    }

    /// The table without padding.
    fn read(&self, dim: usize) -> Result<Vec<f32>> {
        Ok(unpadded(&self.table.read()?, stride(dim), dim))
    }

    /// Replaces the table.
    fn write(&mut self, table: &[f32], dim: usize) -> Result<()> {
        assert_eq!(table.len(), self.rows * dim, "a state of another shape");
        let mut padded = vec![0f32; self.rows * stride(dim)];
        pad(table, &mut padded, stride(dim), dim);
        self.table.write(&padded)
    }
}

/// How the work on a side is cut: rows at once, the others in whole tiles, columns of the normal matrices.
#[derive(Debug, Clone, Copy)]
struct Cut {
    rows: usize,
    pitch: usize,
    columns: usize,
}

impl Cut {
    fn new(rows: usize, others: usize, dim: usize) -> Self {
        let pitch = others.next_multiple_of(EXPOMF_TILE as usize);
        let columns = (dim * (dim + 1) / 2).next_multiple_of(EXPOMF_TILE as usize);
        let group = EXPOMF_ROWS as usize;
        let room = (ELEMENTS / pitch.max(columns) / group).max(1);
        Cut { rows: group * room.min(rows.div_ceil(group)), pitch, columns }
    }

    /// Of both sides: elements of the exposures, and of the normal matrices.
    fn elements(users: usize, items: usize, dim: usize) -> [usize; 2] {
        let cuts = [Cut::new(users, items, dim), Cut::new(items, users, dim)];
        let most = |of: fn(Cut) -> usize| cuts.map(of).into_iter().max().unwrap_or(0);
        [most(|cut| cut.rows * cut.pitch), most(|cut| cut.rows * cut.columns)]
    }
}

fn spans(users: usize) -> usize {
    users.div_ceil(EXPOMF_TILE as usize).min(SPANS)
}

/// Bytes of device memory that a training on `users` x `items` with `interactions` takes, and the copy of the
/// embeddings that an evaluation makes.
fn memory(users: u32, items: u32, interactions: u64, dim: usize) -> u64 {
    let (users, items) = (users as usize, items as usize);
    let tables = 2 * 4 * (users + items) * stride(dim);
    let [exposures, matrices] = Cut::elements(users, items, dim);
    let small = 8 * (users + items) + items * (16 + 16 * spans(users));
    (tables + 4 * (exposures + matrices) + small) as u64 + 8 * interactions + (1 << 20)
}

/// Refuses what a GPU cannot train, or what does not fit into the memory that is free; returns its bytes and those of
/// an `evaluation`.
///
/// # Errors
/// [`Error::Config`] and [`Error::DeviceMemory`].
pub fn check(device: &Device, data: &Interactions, settings: &Settings, evaluation: u64) -> Result<u64> {
    let dim = settings.dim;
    if dim > MOST_DIM {
        let problem = "a GPU has no room for the normal matrices of so many columns";
        return Err(Error::config("dim", dim, problem, format!("use at most {MOST_DIM}, or --device cpu")));
    }
    fits(device, MEMORY, memory(data.users(), data.items(), data.count(Split::Train), dim) + evaluation)
}

/// A training of ExpoMF on a GPU.
#[derive(Debug)]
pub struct ExpoMf {
    device: Device,
    kernels: Kernels,
    settings: Settings,
    users: Side,
    items: Side,
    /// `[I]`.
    mu: Buffer<f32>,
    /// `[I]`: ln(mu / (1 - mu)).
    logit: Buffer<f32>,
    /// `[R, pitch]`.
    exposure: Buffer<f32>,
    /// `[R, columns]`.
    matrices: Buffer<f32>,
    /// `[spans, I, 2]`.
    sums: Buffer<f64>,
    /// `[I]`.
    posterior: Buffer<f64>,
    /// `[2]`: the first row of users, and of items, whose system has no solution.
    failed: Buffer<u32>,
    /// `[3]`: the log posterior, and `failed`.
    out: Buffer<f64>,
    iteration: u64,
}

#[derive(Debug)]
struct Kernels {
    expose: Kernel<ExpomfScores>,
    sums: Kernel<ExpomfScores>,
    mark: Kernel<ExpomfMark>,
    normal: Kernel<ExpomfNormal>,
    solve: Kernel<ExpomfSolve>,
    item: Kernel<ExpomfItem>,
    posterior: Kernel<ExpomfPosterior>,
}

impl ExpoMf {
    /// A training on the train split of `data` that goes on from `state`.
    ///
    /// # Errors
    /// As [`check`]; [`Error::Device`] if the device fails.
    ///
    /// # Panics
    /// If the state has not the shape of the data.
    pub fn new(device: &Device, data: &Interactions, settings: Settings, state: &State) -> Result<Self> {
        check(device, data, &settings, 0)?;
        let (users, items, dim) = (data.users() as usize, data.items() as usize, settings.dim);
        let [exposures, matrices] = Cut::elements(users, items, dim);
        let table = |rows: usize| vec![0f32; rows * dim];
        let mut engine = ExpoMf {
            kernels: Kernels {
                expose: device.kernel_variant("expose")?,
                sums: device.kernel_variant("sums")?,
                mark: device.kernel()?,
                normal: device.kernel()?,
                solve: device.kernel()?,
                item: device.kernel()?,
                posterior: device.kernel()?,
            },
            users: Side::new(device, &table(users), dim, data.by_user(Split::Train))?,
            items: Side::new(device, &table(items), dim, data.by_item(Split::Train))?,
            mu: device.alloc(MEMORY, items)?,
            logit: device.alloc(MEMORY, items)?,
            exposure: device.alloc(MEMORY, exposures)?,
            matrices: device.alloc(MEMORY, matrices)?,
            sums: device.alloc(MEMORY, 2 * spans(users) * items)?,
            posterior: device.alloc(MEMORY, items)?,
            failed: device.upload(MEMORY, &[u32::MAX; 2])?,
            out: device.alloc(MEMORY, 3)?,
            iteration: 0,
            device: device.clone(),
            settings,
        };
        engine.put(state)?;
        Ok(engine)
    }

    fn put(&mut self, state: &State) -> Result<()> {
        let dim = self.settings.dim;
        self.users.write(&state.theta, dim)?;
        self.items.write(&state.beta, dim)?;
        assert_eq!(state.mu.len(), self.items.rows, "a state of another shape");
        let logit = |&mu: &f32| {
            let mu = f64::from(mu);
            (libm::log(mu) - libm::log1p(-mu)) as f32
        };
        self.mu.write(&state.mu)?;
        self.logit.write(&state.mu.iter().map(logit).collect::<Vec<f32>>())?;
        self.iteration = state.iteration;
        Ok(())
    }

    fn density(&self) -> ExpomfDensity {
        ExpomfDensity {
            ln_c: self.settings.ln_c() as f32,
            half: 0.5 * self.settings.lambda_y,
            ln_epsilon: libm::log(REPO_EPSILON) as f32,
            epsilon: u32::from(self.settings.constant == ExposureConstant::Repo),
        }
    }

    /// Queues the E-step and the M-step of the users, or of the items.
    fn half(&mut self, of_users: bool) -> Result<()> {
        let density = self.density();
        let ExpoMf { device, kernels, settings, users, items, logit, exposure, matrices, failed, .. } = self;
        let Settings { dim, lambda_theta, lambda_beta, lambda_y, .. } = *settings;
        let (side, others, lambda, number, logits) = match of_users {
            true => (users, items, lambda_theta, 0, (std::ptr::null(), logit.ptr())),
            false => (items, users, lambda_beta, 1, (logit.ptr(), std::ptr::null())),
        };
        let cut = Cut::new(side.rows, others.rows, dim);
        let (pitch, columns, stride) = (cut.pitch as u32, cut.columns as u32, stride(dim) as u32);
        for first in (0..side.rows).step_by(cut.rows) {
            let count = cut.rows.min(side.rows - first) as u32;
            let rows = count.next_multiple_of(EXPOMF_ROWS);
            let first = first as u32;
            let scores = ExpomfScores {
                own: side.table.ptr(),
                other: others.table.ptr(),
                own_logit: logits.0,
                other_logit: logits.1,
                exposure: exposure.ptr_mut(),
                sums: std::ptr::null_mut(),
                density,
                rows: side.rows as u32,
                others: others.rows as u32,
                first,
                pitch,
                stride,
                padding: 0,
            };
            let shape = |x, y| Shape { grid: [x, y, 1], block: EXPOMF_THREADS, shared: 0 };
            // SAFETY: whole tiles of rows and others lie within `exposure`; the other arrays have the shapes of
            // params.h.
            unsafe {
                device.launch(&kernels.expose, shape(pitch / EXPOMF_TILE, rows / EXPOMF_TILE), scores)?;
            }
            let mark = ExpomfMark {
                offsets: side.offsets.ptr(),
                positives: side.positives.ptr(),
                exposure: exposure.ptr_mut(),
                first,
                count,
                pitch,
                padding: 0,
            };
            let blocks = count.div_ceil(EXPOMF_THREADS / 32);
            // SAFETY: positives are rows of the other side.
            unsafe { device.launch(&kernels.mark, shape(blocks, 1), mark)? };
            let normal = ExpomfNormal {
                exposure: exposure.ptr(),
                other: others.table.ptr(),
                matrices: matrices.ptr_mut(),
                others: others.rows as u32,
                pitch,
                columns,
                dim: dim as u32,
                stride,
                padding: 0,
            };
            // SAFETY: `exposure` and `matrices` have whole tiles of rows; the pitch is a multiple of what is staged at
            // once.
            unsafe {
                device.launch(&kernels.normal, shape(columns / EXPOMF_TILE, rows / EXPOMF_ROWS), normal)?;
            }
            let solve = ExpomfSolve {
                matrices: matrices.ptr(),
                other: others.table.ptr(),
                offsets: side.offsets.ptr(),
                positives: side.positives.ptr(),
                table: side.table.ptr_mut(),
                failed: failed.ptr_mut().wrapping_add(number),
                ridge: lambda / lambda_y,
                first,
                columns,
                dim: dim as u32,
                stride,
                padding: 0,
            };
            let shared = 4 * ((dim + 1) * (dim + 2) / 2 + dim) as u32;
            let shape = Shape { grid: [count, 1, 1], block: EXPOMF_SOLVE_THREADS, shared };
            // SAFETY: a block a row of the side, whose matrix is there; a block has the shared memory that it asks for.
            unsafe { device.launch(&kernels.solve, shape, solve)? };
        }
        Ok(())
    }

    /// Queues the sums of the items' exposures, their new mu, and the log posterior.
    fn exposures(&mut self) -> Result<()> {
        let density = self.density();
        let ExpoMf {
            device, kernels, settings, users, items, mu, logit, sums, posterior, failed, out, ..
        } = self;
        let stride = stride(settings.dim) as u32;
        let (n, m) = (users.rows as u32, items.rows as u32);
        let spans = spans(users.rows) as u32;
        let scores = ExpomfScores {
            own: items.table.ptr(),
            other: users.table.ptr(),
            own_logit: logit.ptr(),
            other_logit: std::ptr::null(),
            exposure: std::ptr::null_mut(),
            sums: sums.ptr_mut(),
            density,
            rows: m,
            others: n,
            first: 0,
            pitch: 0,
            stride,
            padding: 0,
        };
        let shape = Shape { grid: [m.div_ceil(EXPOMF_TILE), spans, 1], block: EXPOMF_THREADS, shared: 0 };
        // SAFETY: `sums` has a place for every span of every item.
        unsafe { device.launch(&kernels.sums, shape, scores)? };
        let item = ExpomfItem {
            theta: users.table.ptr(),
            beta: items.table.ptr(),
            offsets: items.offsets.ptr(),
            users_of: items.positives.ptr(),
            sums: sums.ptr(),
            mu: mu.ptr_mut(),
            logit: logit.ptr_mut(),
            posterior: posterior.ptr_mut(),
            a0: settings.a0.into(),
            b0: settings.b0.into(),
            ln_c: settings.ln_c(),
            density,
            users: n,
            items: m,
            spans,
            stride,
        };
        // SAFETY: a block an item.
        unsafe { device.launch(&kernels.item, Shape::linear(m, EXPOMF_ITEM_THREADS), item)? };
        let posterior = ExpomfPosterior {
            posterior: posterior.ptr(),
            theta: users.table.ptr(),
            beta: items.table.ptr(),
            failed: failed.ptr(),
            out: out.ptr_mut(),
            lambda_theta: settings.lambda_theta.into(),
            lambda_beta: settings.lambda_beta.into(),
            users: n,
            items: m,
            stride,
            padding: 0,
        };
        // SAFETY: the arrays have the shapes of params.h.
        unsafe { device.launch(&kernels.posterior, Shape::linear(1, EXPOMF_POSTERIOR_THREADS), posterior) }
    }
}

impl Em for ExpoMf {
    fn iterate(&mut self) -> Result<f64> {
        self.half(true)?;
        self.half(false)?;
        self.exposures()?;
        self.iteration += 1;
        let out = self.out.read()?;
        for (&row, side) in out[1..].iter().zip(["user", "item"]) {
            if row != f64::from(u32::MAX) {
                return Err(unsolvable(&self.settings, row as usize, side));
            }
        }
        Ok(out[0])
    }

    fn state(&mut self) -> Result<State> {
        let dim = self.settings.dim;
        Ok(State {
            theta: self.users.read(dim)?,
            beta: self.items.read(dim)?,
            mu: self.mu.read()?,
            iteration: self.iteration,
        })
    }

    fn set_state(&mut self, state: State) -> Result<()> {
        self.put(&state)
    }

    fn snapshot(&mut self) -> Result<Box<dyn Snapshot + '_>> {
        // Through the host: an iteration takes far longer.
        let copy = |side: &Side| self.device.upload(MEMORY, &side.table.read()?);
        let embeddings = [copy(&self.users)?, copy(&self.items)?];
        Ok(Box::new(Exported { engine: self, embeddings }))
    }
}

/// A copy of the embeddings, on the device.
#[derive(Debug)]
struct Exported<'e> {
    engine: &'e ExpoMf,
    /// `[U, stride]` and `[I, stride]`.
    embeddings: [Buffer<f32>; 2],
}

impl Snapshot for Exported<'_> {
    fn ranker<'s>(
        &'s self,
        popularity: &'s [u32],
        rankings: &[Ranking],
        k: usize,
    ) -> Result<Box<dyn Ranks + 's>> {
        let ([users, items], dim) = (&self.embeddings, self.engine.settings.dim);
        let strides = [stride(dim); 2];
        let tables = DeviceTables { dim, strides, users, items, item_branch: None, popularity };
        Ok(Box::new(Ranker::on_device(&self.engine.device, &tables, rankings, k)?))
    }

    fn round(&mut self) -> Result<()> {
        let ExpoMf { device, settings, .. } = self.engine;
        self.embeddings.iter_mut().try_for_each(|values| adam::round(device, settings.storage, values))
    }

    fn into_parameters(self: Box<Self>) -> Result<Parameters> {
        let dim = self.engine.settings.dim;
        let read = |values: &Buffer<f32>| Ok(unpadded(&values.read()?, stride(dim), dim));
        let [users, items] = &self.embeddings;
        Ok(Parameters {
            users: read(users)?,
            items: read(items)?,
            user_branch: None,
            item_branch: None,
            ego: None,
            kept: Kept::default(),
        })
    }
}
