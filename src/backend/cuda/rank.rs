//! `rank`: the best K items of users under one or many rankings; lists are the bits of [`crate::backend::cpu::rank`].
//!
//! Users are ranked in chunks that fill the device. Two lanes with a stream each take turns, so that one's lists are
//! copied to the host and consumed there while the other's are made.

mod items;
mod lane;

use std::{borrow::Borrow, ptr};

use self::{
    items::{Items, Rows, depth},
    lane::{Goal, Lane, Plan},
};
use super::{
    Buffer, Device, Kernel, Params, Purpose, Shape,
    metrics::{Counts, OnDevice},
    params::{
        RANK_LONGEST, RANK_SEEN, RANK_THREADS, RANK_TILE, RankLists, RankLogits, RankMerge, RankPack,
        RankSeen,
    },
};
use crate::{
    backend::lists::{Audience, Block, Measured, Ranks, check},
    data::Csr,
    error::{Error, Result},
    model::{Branch, Ranking, Tables, gate},
    objective::BranchKind,
};

// SAFETY: kernels/rank.cu.
unsafe impl Params for RankLogits {
    const KERNEL: &'static str = "rank_logits";
}

// SAFETY: kernels/rank.cu.
unsafe impl Params for RankPack {
    const KERNEL: &'static str = "rank_pack";
}

// SAFETY: kernels/rank.cu.
unsafe impl Params for RankLists {
    const KERNEL: &'static str = "rank_lists";
}

// SAFETY: kernels/rank.cu.
unsafe impl Params for RankMerge {
    const KERNEL: &'static str = "rank_merge";
}

const TABLES: Purpose = Purpose { what: "the embeddings to rank by", lower: "the size of the model" };
const LISTS: Purpose = Purpose { what: "the lists", lower: "k, or the number of rankings" };

const TILE: usize = RANK_TILE as usize;

/// Tables that are on the device, as training leaves them: ranked without being copied to the host.
#[derive(Debug, Clone, Copy)]
pub struct DeviceTables<'a> {
    /// Embedding size, D.
    pub dim: usize,
    /// Numbers from one row of users, and of items, to the next, at least D.
    pub strides: [usize; 2],
    /// `[U, strides[0]]`.
    pub users: &'a Buffer<f32>,
    /// `[I, strides[1]]`.
    pub items: &'a Buffer<f32>,
    /// The item branch, where there is one, and what it scores, `[I, strides[1]]`.
    pub item_branch: Option<(&'a Branch, &'a Buffer<f32>)>,
    /// `[I]` training interactions of each item.
    pub popularity: &'a [u32],
}

/// Items that users have seen, on the device, to be used for many rankings.
#[derive(Debug)]
pub struct Seen {
    sets: Vec<(Buffer<u64>, Buffer<u32>)>,
}

impl Seen {
    /// Bytes of device memory for sets over `users` rows with so many items each.
    pub(super) fn memory(users: usize, items: &[u64]) -> u64 {
        items.iter().map(|items| 8 * (users as u64 + 1) + 4 * items).sum()
    }

    /// Copies sets of seen items to the device.
    ///
    /// # Errors
    /// [`Error::Data`] if there are more than four, or one is not in order; [`Error::DeviceMemory`] if they do not fit.
    pub fn new(device: &Device, sets: &[Csr<'_>]) -> Result<Self> {
        if sets.len() > RANK_SEEN as usize {
            return Err(Error::data(
                format!("there are {} sets of seen items", sets.len()),
                format!("a GPU leaves out at most {RANK_SEEN}; put some together, or use --device cpu"),
            ));
        }
        let upload = |csr: &Csr<'_>| -> Result<(Buffer<u64>, Buffer<u32>)> {
            check::offsets("seen", *csr)?;
            Ok((device.upload(LISTS, csr.offsets)?, device.upload(LISTS, csr.indices)?))
        };
        Ok(Seen { sets: sets.iter().map(upload).collect::<Result<_>>()? })
    }

    fn params(&self) -> [RankSeen; RANK_SEEN as usize] {
        let mut params = [RankSeen { offsets: ptr::null(), items: ptr::null() }; RANK_SEEN as usize];
        for (params, (offsets, items)) in params.iter_mut().zip(&self.sets) {
            *params = RankSeen { offsets: offsets.ptr(), items: items.ptr() };
        }
        params
    }
}

/// Sizes of lists.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// Users who are ranked for.
    pub(super) users: usize,
    pub(super) items: usize,
    /// Rankings.
    pub(super) variants: usize,
    pub(super) k: usize,
}

/// What lists are made by.
#[derive(Debug, Clone, Copy)]
pub struct Ranked {
    /// Embedding size, D.
    pub dim: usize,
    /// The item branch, where there is one.
    pub item_branch: Option<BranchKind>,
}

/// Bytes of device memory that [`Ranker::on_device`] and lists in the making take beside the tables and the users'
/// sets.
pub(super) fn memory(device: &Device, sizes: Sizes, Ranked { dim, item_branch }: Ranked) -> u64 {
    let Sizes { users, items, variants, k } = sizes;
    // The branch's parameters, its logits, and the gates made of these.
    let gates = item_branch.map_or(0, |branch| 4 * (parameters(branch.hidden(), dim) + 2 * items) as u64);
    let plan = Plan::new(device.description().multiprocessors, [users, Items::tiles(items)], variants, k);
    let lanes = users.div_ceil(plan.chunk()).min(2) as u64;
    gates + Items::memory(items, depth(dim), variants) + lanes * plan.lane_memory(depth(dim))
}

/// Parameters of a branch that scores rows of D = `dim`, with a hidden layer or, if `hidden` is 0, without.
fn parameters(hidden: usize, dim: usize) -> usize {
    if hidden == 0 { dim } else { hidden * (dim + 2) + 1 }
}

/// Ranks all items for users on a device.
#[derive(Debug)]
pub struct Ranker<'a> {
    device: Device,
    kernels: Kernels,
    users: Rows<Users<'a>>,
    items: Items,
    variants: usize,
    k: usize,
}

#[derive(Debug)]
struct Kernels {
    pack: Kernel<RankPack>,
    lists: Kernel<RankLists>,
    merge: Kernel<RankMerge>,
}

impl Kernels {
    fn new(device: &Device) -> Result<Self> {
        Ok(Kernels { pack: device.kernel()?, lists: device.kernel()?, merge: device.kernel()? })
    }
}

#[derive(Debug)]
enum Users<'a> {
    Owned(Buffer<f32>),
    Borrowed(&'a Buffer<f32>),
}

impl Borrow<Buffer<f32>> for Users<'_> {
    fn borrow(&self) -> &Buffer<f32> {
        match self {
            Users::Owned(buffer) => buffer,
            Users::Borrowed(buffer) => buffer,
        }
    }
}

impl<'a> Ranker<'a> {
    /// Prepares `device` to rank by `tables`, for lists of length `k` under each of `rankings`.
    ///
    /// # Errors
    /// [`Error::Config`] if `k` is 0, more than there are items or than 1024, or a `c` or `tau` is not a finite number;
    /// [`Error::Data`] if a table holds a number that is not finite, or numbers so large that scores overflow;
    /// [`Error::DeviceMemory`] if the tables do not fit.
    pub fn new(device: &Device, tables: &Tables<'_>, rankings: &[Ranking], k: usize) -> Result<Self> {
        Self::check(tables.items() as usize, rankings, k)?;
        let dim = tables.dim();
        let gate = tables.gates().map_or(Ok(1.0), |gates| check::largest("item gate", gates, 1))?;
        let component = gate * check::largest("item embedding", tables.item_embedding(), dim)?;
        let kernels = Kernels::new(device)?;
        let items = device.upload(TABLES, tables.item_embedding())?;
        let gates = tables.gates().map(|gates| device.upload(TABLES, gates)).transpose()?;
        let rows = Rows { table: &items, count: tables.items() as usize, dim, stride: dim };
        let items = Items::new(
            device,
            &kernels.pack,
            &rows,
            (tables.gates(), gates.as_ref()),
            tables.popularity(),
            rankings,
        )?;
        let user = check::largest("user embedding", tables.user_embedding(), dim)?;
        check::range(user, component, items.largest_offset, dim)?;
        let users = Users::Owned(device.upload(TABLES, tables.user_embedding())?);
        let users = Rows { table: users, count: tables.users() as usize, dim, stride: dim };
        Ok(Self::assemble(device, kernels, users, items, rankings, k))
    }

    /// Prepares to rank by tables that are on `device`.
    ///
    /// Logits of items are formed there, and item gates from these on the host, to the bits of
    /// [`crate::Model::item_gates`].
    ///
    /// # Errors
    /// As [`Ranker::new`]; that users' embeddings are not finite is found when they are ranked.
    ///
    /// # Panics
    /// If a buffer is too short.
    pub fn on_device(
        device: &Device,
        tables: &DeviceTables<'a>,
        rankings: &[Ranking],
        k: usize,
    ) -> Result<Self> {
        let DeviceTables { dim, strides: [of_users, of_items], .. } = *tables;
        let (items, users) = (tables.popularity.len(), tables.users.len() / of_users);
        Self::check(items, rankings, k)?;
        let kernels = Kernels::new(device)?;
        let gates = tables.item_branch.map(|scored| gates(device, tables, scored)).transpose()?;
        if let Some(gates) = &gates {
            check::largest("item gate", gates, 1)?;
        }
        let scale = gates.as_ref().map(|gates| device.upload(TABLES, gates)).transpose()?;
        let rows = Rows { table: tables.items, count: items, dim, stride: of_items };
        let source = (gates.as_deref(), scale.as_ref());
        let items = Items::new(device, &kernels.pack, &rows, source, tables.popularity, rankings)?;
        check::range(0.0, items.largest_component, items.largest_offset, dim)?;
        let users = Rows { table: Users::Borrowed(tables.users), count: users, dim, stride: of_users };
        Ok(Self::assemble(device, kernels, users, items, rankings, k))
    }

    fn check(items: usize, rankings: &[Ranking], k: usize) -> Result<()> {
        check::request(items, rankings, k)?;
        if k > RANK_LONGEST as usize {
            return Err(Error::config(
                "k",
                k,
                format!("a GPU makes lists of at most {RANK_LONGEST}"),
                "choose a smaller k, or use --device cpu",
            ));
        }
        Ok(())
    }

    fn assemble(
        device: &Device,
        kernels: Kernels,
        users: Rows<Users<'a>>,
        items: Items,
        rankings: &[Ranking],
        k: usize,
    ) -> Self {
        Ranker { device: device.clone(), kernels, users, items, variants: rankings.len(), k }
    }

    /// Ranks for the users in `rows`.
    fn run(&self, rows: &Buffer<u32>, seen: &Seen, goal: &mut Goal<'_>) -> Result<()> {
        let sizes = [rows.len(), self.items.tiles];
        let plan = Plan::new(self.device.description().multiprocessors, sizes, self.variants, self.k);
        // Lanes have streams of their own: what they read must be there.
        self.device.synchronize()?;
        let mut lanes: [Option<Lane>; 2] = [None, None];
        let chunk = plan.chunk();
        for (index, first) in (0..rows.len()).step_by(chunk).enumerate() {
            let slot = &mut lanes[index % 2];
            let lane = match slot {
                Some(lane) => {
                    lane.finish(self, goal)?;
                    lane
                }
                None => slot.insert(Lane::new(self, &plan, goal)?),
            };
            lane.begin(self, &plan, (rows, first..rows.len().min(first + chunk)), seen, goal)?;
        }
        // The older chunk first.
        let chunks = rows.len().div_ceil(chunk);
        for index in [chunks, chunks + 1] {
            if let Some(lane) = &mut lanes[index % 2] {
                lane.finish(self, goal)?;
            }
        }
        Ok(())
    }
}

impl Ranks for Ranker<'_> {
    fn variants(&self) -> usize {
        self.variants
    }

    fn for_each_block(
        &self,
        users: &[u32],
        seen: &[Csr<'_>],
        consume: &(dyn Fn(&Block<'_>) + Sync),
    ) -> Result<()> {
        check::users(users, seen, self.users.count, self.items.count)?;
        if users.is_empty() {
            return Ok(());
        }
        let (rows, seen) = (self.device.upload(LISTS, users)?, Seen::new(&self.device, seen)?);
        self.run(&rows, &seen, &mut Goal::Lists { users, consume })
    }

    /// Lists stay on the device.
    fn measure(&self, audience: &Audience<'_>, cuts: &[usize]) -> Result<Measured> {
        check::users(audience.users(), audience.seen(), self.users.count, self.items.count)?;
        assert_eq!(cuts.iter().max(), Some(&self.k), "lists are of another length than is measured");
        let uploaded;
        let ordinal = self.device.description().ordinal;
        let there = match audience.on_device.as_ref().filter(|there| there.ordinal == ordinal) {
            Some(there) => there,
            None => {
                let (users, seen) = (audience.users(), audience.seen());
                uploaded = OnDevice::new(&self.device, users, seen, audience.relevant())?;
                &uploaded
            }
        };
        let mut counts = Counts::new(&self.device, there, (self.variants, self.items.count), cuts)?;
        if !audience.users().is_empty() {
            let mut goal = Goal::Counts { counts: &mut counts, audience: there };
            self.run(&there.users, &there.seen, &mut goal)?;
        }
        counts.finish(audience, cuts)
    }
}

/// The gates `[I]` of an item branch by the rows that it scores.
fn gates(
    device: &Device,
    tables: &DeviceTables<'_>,
    (branch, rows): (&Branch, &Buffer<f32>),
) -> Result<Vec<f32>> {
    let count = tables.popularity.len();
    let values = match branch {
        Branch::Linear { weight } => weight.clone(),
        Branch::Mlp { w1, b1, w2, b2 } => [w1, b1, w2, &vec![*b2]].map(Vec::as_slice).concat(),
    };
    let hidden = if let Branch::Mlp { b1, .. } = branch { b1.len() } else { 0 };
    let [_, stride] = tables.strides;
    assert!(rows.len() >= count * stride && values.len() == parameters(hidden, tables.dim));
    let on_device = device.upload(TABLES, &values)?;
    let mut logits = device.alloc(TABLES, count)?;
    let params = RankLogits {
        items: rows.ptr(),
        branch: on_device.ptr(),
        logits: logits.ptr_mut(),
        count: count as u32,
        dim: tables.dim as u32,
        stride: stride as u32,
        hidden: hidden as u32,
    };
    let shape = Shape::linear((count as u32).div_ceil(RANK_THREADS), RANK_THREADS);
    // SAFETY: the lengths were just checked.
    unsafe { device.launch(&device.kernel()?, shape, params)? };
    Ok(logits.read()?.into_iter().map(gate).collect())
}
