//! Builds interaction data from lists of (user, item) pairs.

use memmap2::MmapMut;

use super::{
    ids::Ids,
    interactions::{Interactions, Layout, Section, Split, WHOLE, in_memory},
};
use crate::error::{Error, Result};

/// Interactions of one split as columns of equal length, in any order.
#[derive(Debug, Clone, Default)]
pub struct Edges {
    /// `[nnz]` internal user ids.
    pub users: Vec<u32>,
    /// `[nnz]` internal item ids.
    pub items: Vec<u32>,
    /// `[nnz]` seconds since 1970, where known.
    pub timestamps: Option<Vec<i64>>,
    /// `[nnz]` ratings or weights, where known.
    pub weights: Option<Vec<f32>>,
}

impl Edges {
    /// Plain pairs, without times or weights.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (u32, u32)>) -> Self {
        let (users, items) = pairs.into_iter().unzip();
        Edges { users, items, ..Default::default() }
    }

    /// Number of interactions.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }
}

/// Collects counts, ids and the splits' edges, then builds [`Interactions`].
///
/// A pair that occurs several times within a split is kept once: with its latest time and its largest weight.
#[derive(Debug)]
pub struct InteractionsBuilder {
    users: u32,
    items: u32,
    user_ids: Ids<'static>,
    item_ids: Ids<'static>,
    splits: [Option<Edges>; 3],
    provenance: String,
}

impl InteractionsBuilder {
    /// Data with `users` users and `items` items, all splits absent, external ids equal to the internal ones.
    pub fn new(users: u32, items: u32) -> Self {
        InteractionsBuilder {
            users,
            items,
            user_ids: Ids::Dense(users),
            item_ids: Ids::Dense(items),
            splits: [None, None, None],
            provenance: String::new(),
        }
    }

    /// Sets the external ids.
    pub fn ids(mut self, users: Ids<'static>, items: Ids<'static>) -> Self {
        (self.user_ids, self.item_ids) = (users, items);
        self
    }

    /// Sets the interactions of `split`.
    pub fn split(mut self, split: Split, edges: Edges) -> Self {
        self.splits[split as usize] = Some(edges);
        self
    }

    /// Says where the data came from and what was done to it.
    pub fn provenance(mut self, text: impl Into<String>) -> Self {
        self.provenance = text.into();
        self
    }

    /// Builds the data in memory; [`Interactions::save`] writes it to a file.
    ///
    /// # Errors
    /// [`Error::Data`] if an id is out of range, a column has another length than its edges, or ids do not match
    /// the counts.
    pub fn build(self) -> Result<Interactions> {
        for (what, ids, n) in [("user", &self.user_ids, self.users), ("item", &self.item_ids, self.items)] {
            if ids.len() != n {
                return Err(Error::data(
                    format!("{} {what} ids were given for {n} {what}s", ids.len()),
                    "give one id each",
                ));
            }
        }
        let mut tables = Vec::new();
        for split in Split::ALL {
            if let Some(edges) = &self.splits[split as usize] {
                tables.push((split, Table::sort(edges, self.users, self.items)?));
            }
        }
        let mut sections: Vec<(Section, u32, u64)> = Vec::new();
        for (split, table) in &tables {
            let (s, nnz) = (*split as u32, table.user_items.len() as u64);
            sections.push((Section::UserOffsets, s, 8 * (u64::from(self.users) + 1)));
            sections.push((Section::UserItems, s, 4 * nnz));
            sections.push((Section::ItemOffsets, s, 8 * (u64::from(self.items) + 1)));
            sections.push((Section::ItemUsers, s, 4 * nnz));
            if table.timestamps.is_some() {
                sections.push((Section::Timestamps, s, 8 * nnz));
            }
            if table.weights.is_some() {
                sections.push((Section::Weights, s, 4 * nnz));
            }
        }
        for (ids, offset_kind, byte_kind) in [
            (&self.user_ids, Section::UserIdOffsets, Section::UserIdBytes),
            (&self.item_ids, Section::ItemIdOffsets, Section::ItemIdBytes),
        ] {
            if let Ids::Text { offsets, bytes } = ids {
                sections.push((offset_kind, WHOLE, 8 * offsets.len() as u64));
                sections.push((byte_kind, WHOLE, bytes.len() as u64));
            }
        }
        sections.push((Section::Provenance, WHOLE, self.provenance.len() as u64));

        let layout = Layout::new(self.users, self.items, &sections);
        let mut file = MmapMut::map_anon(layout.file_bytes()).map_err(Error::io("allocate", in_memory()))?;
        let mut slices = layout.sections(&mut file).into_iter();
        let mut fill = |bytes: &[u8]| {
            if let Some(section) = slices.next() {
                section.copy_from_slice(bytes);
            }
        };
        for (_, table) in &tables {
            fill(bytemuck::cast_slice(&table.user_offsets));
            fill(bytemuck::cast_slice(&table.user_items));
            fill(bytemuck::cast_slice(&table.item_offsets));
            fill(bytemuck::cast_slice(&table.item_users));
            if let Some(timestamps) = &table.timestamps {
                fill(bytemuck::cast_slice(timestamps));
            }
            if let Some(weights) = &table.weights {
                fill(bytemuck::cast_slice(weights));
            }
        }
        for ids in [&self.user_ids, &self.item_ids] {
            if let Ids::Text { offsets, bytes } = ids {
                fill(bytemuck::cast_slice(offsets));
                fill(bytes);
            }
        }
        fill(self.provenance.as_bytes());
        drop(slices);
        layout.seal(&mut file);
        let bytes = file.make_read_only().map_err(Error::io("allocate", in_memory()))?;
        Interactions::from_mapping(bytes, &in_memory())
    }
}

/// One split, sorted both ways.
struct Table {
    user_offsets: Vec<u64>,
    user_items: Vec<u32>,
    item_offsets: Vec<u64>,
    item_users: Vec<u32>,
    timestamps: Option<Vec<i64>>,
    weights: Option<Vec<f32>>,
}

impl Table {
    fn sort(edges: &Edges, users: u32, items: u32) -> Result<Table> {
        let nnz = edges.users.len();
        let same = |n: Option<usize>| n.is_none_or(|n| n == nnz);
        if edges.items.len() != nnz
            || !same(edges.timestamps.as_ref().map(Vec::len))
            || !same(edges.weights.as_ref().map(Vec::len))
        {
            return Err(Error::data(
                "the columns of the edges differ in length",
                "give every edge all its fields",
            ));
        }
        for (what, ids, n) in [("user", &edges.users, users), ("item", &edges.items, items)] {
            if let Some(&id) = ids.iter().max().filter(|&&id| id >= n) {
                return Err(Error::data(
                    format!(
                        "an edge names {what} {id}, but there are {n} {what}s (0 to {})",
                        i64::from(n) - 1
                    ),
                    format!("raise the number of {what}s or drop the edge"),
                ));
            }
        }
        // Order of the edges by (user, item); within equal pairs the survivor comes first.
        let mut order: Vec<u32> = (0..nnz as u32).collect();
        let time = |e: u32| edges.timestamps.as_ref().map_or(0, |t| t[e as usize]);
        order.sort_unstable_by_key(|&e| {
            (edges.users[e as usize], edges.items[e as usize], std::cmp::Reverse(time(e)), e)
        });
        let pair = |e: u32| (edges.users[e as usize], edges.items[e as usize]);
        let mut weights = edges.weights.as_ref().map(|_| Vec::with_capacity(nnz));
        if let (Some(out), Some(given)) = (&mut weights, &edges.weights) {
            for run in order.chunk_by(|&a, &b| pair(a) == pair(b)) {
                out.push(run.iter().map(|&e| given[e as usize]).fold(f32::NEG_INFINITY, f32::max));
            }
        }
        order.dedup_by_key(|e| pair(*e));

        let mut user_offsets = vec![0u64; users as usize + 1];
        let mut item_offsets = vec![0u64; items as usize + 1];
        for &e in &order {
            user_offsets[edges.users[e as usize] as usize + 1] += 1;
            item_offsets[edges.items[e as usize] as usize + 1] += 1;
        }
        for offsets in [&mut user_offsets, &mut item_offsets] {
            for k in 1..offsets.len() {
                offsets[k] += offsets[k - 1];
            }
        }
        let mut next = item_offsets.clone();
        let mut item_users = vec![0u32; order.len()];
        for &e in &order {
            let (user, item) = pair(e);
            item_users[next[item as usize] as usize] = user;
            next[item as usize] += 1;
        }
        Ok(Table {
            user_offsets,
            user_items: order.iter().map(|&e| edges.items[e as usize]).collect(),
            item_offsets,
            item_users,
            timestamps: edges.timestamps.as_ref().map(|t| order.iter().map(|&e| t[e as usize]).collect()),
            weights,
        })
    }
}
