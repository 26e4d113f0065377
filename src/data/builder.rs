//! Builds interaction data from lists of (user, item) pairs.

use super::{
    ids::Ids,
    interactions::{Interactions, Split, in_memory},
    layout::{Layout, Section, WHOLE},
    table::{Columns, Table},
};
use crate::{
    error::{Error, Result},
    huge::zeroed_bytes,
};

/// Interactions of one split as columns of equal length, in any order.
#[derive(Debug, Clone, Default)]
pub struct Edges {
    /// `[nnz]` internal user ids.
    pub users: Vec<u32>,
    /// `[nnz]` internal item ids.
    pub items: Vec<u32>,
    /// `[nnz]` seconds since 1970, where known.
    pub timestamps: Option<Vec<i64>>,
    /// `[nnz]` ratings or weights, where known: finite numbers.
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
    splits: [Option<Vec<Edges>>; 3],
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
    pub fn split(self, split: Split, edges: Edges) -> Self {
        self.parts(split, vec![edges])
    }

    /// Sets the interactions of `split` from several parts, which need not be joined first.
    pub fn parts(mut self, split: Split, parts: Vec<Edges>) -> Self {
        self.splits[split as usize] = Some(parts);
        self
    }

    /// Says where the data came from and what was done to it.
    pub fn provenance(mut self, text: impl Into<String>) -> Self {
        self.provenance = text.into();
        self
    }

    /// Number of users.
    pub fn users(&self) -> u32 {
        self.users
    }

    /// Number of items.
    pub fn items(&self) -> u32 {
        self.items
    }

    /// Number of interactions given for all splits, duplicates included.
    pub fn given(&self) -> u64 {
        self.splits.iter().flatten().flatten().map(|part| part.len() as u64).sum()
    }

    /// Builds the data in memory; [`Interactions::save`] writes it to a file.
    ///
    /// The result does not depend on the order of the edges, on their parts or on the number of threads. Besides
    /// the edges, which are dropped on the way, and the result, it needs 8 bytes an edge (16 with times).
    ///
    /// # Errors
    /// [`Error::Data`] if an id is out of range, a weight is not finite, a column has another length than its edges, or
    /// ids do not match the counts.
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
        for (split, parts) in Split::ALL.into_iter().zip(self.splits) {
            if let Some(parts) = parts {
                tables.push((split, Table::sort(split, parts, self.users, self.items)?));
            }
        }
        let mut sections: Vec<(Section, u32, u64)> = Vec::new();
        for (split, table) in &tables {
            let (s, nnz) = (*split as u32, table.nnz());
            sections.push((Section::UserOffsets, s, 8 * (u64::from(self.users) + 1)));
            sections.push((Section::UserItems, s, 4 * nnz));
            sections.push((Section::ItemOffsets, s, 8 * (u64::from(self.items) + 1)));
            sections.push((Section::ItemUsers, s, 4 * nnz));
            if table.timed() {
                sections.push((Section::Timestamps, s, 8 * nnz));
            }
            if table.weighted() {
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
        let mut file = zeroed_bytes(layout.file_bytes()).map_err(Error::io("allocate", in_memory()))?;
        let mut slices = layout.sections(&mut file).into_iter();
        // In the order of `sections`.
        let mut next = || slices.next().unwrap_or_default();
        for (_, table) in tables {
            let columns = Columns {
                user_offsets: bytemuck::cast_slice_mut(next()),
                user_items: bytemuck::cast_slice_mut(next()),
                item_offsets: bytemuck::cast_slice_mut(next()),
                item_users: bytemuck::cast_slice_mut(next()),
                timestamps: if table.timed() { bytemuck::cast_slice_mut(next()) } else { &mut [] },
                weights: if table.weighted() { bytemuck::cast_slice_mut(next()) } else { &mut [] },
            };
            table.fill(columns);
        }
        for ids in [&self.user_ids, &self.item_ids] {
            if let Ids::Text { offsets, bytes } = ids {
                next().copy_from_slice(bytemuck::cast_slice(offsets));
                next().copy_from_slice(bytes);
            }
        }
        next().copy_from_slice(self.provenance.as_bytes());
        layout.seal(&mut file);
        Interactions::in_memory(file)
    }
}
