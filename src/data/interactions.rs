//! The interaction file `.macr`: opened once, checked, and mapped; see `docs/formats.md` for the layout.

use std::{
    borrow::Cow,
    fs::File,
    io::Write,
    ops::{Deref, Range},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use bytemuck::Pod;
use memmap2::{Mmap, MmapMut};
use rayon::prelude::*;

use super::{
    ids::Ids,
    layout::{self, HEADER_BYTES, Section, WHOLE, damaged},
};
use crate::{
    atomic_file::write_atomic,
    error::{Error, Result},
};

/// One of the three parts of a dataset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// What models are fitted to.
    Train,
    /// What epochs and hyper-parameters are chosen on.
    Valid,
    /// What results are reported on.
    Test,
}

impl Split {
    /// All splits, in the order of the file.
    pub const ALL: [Split; 3] = [Split::Train, Split::Valid, Split::Test];

    /// Lower-case name.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Valid => "valid",
            Split::Test => "test",
        }
    }
}

impl std::fmt::Display for Split {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Compressed sparse rows, borrowed from the mapping.
#[derive(Debug, Clone, Copy)]
pub struct Csr<'a> {
    /// `[rows + 1]`, ascending, from 0.
    pub offsets: &'a [u64],
    /// `[nnz]`, ascending within a row.
    pub indices: &'a [u32],
}

impl<'a> Csr<'a> {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Positions of row `r` in [`Csr::indices`].
    pub fn range(&self, r: u32) -> Range<usize> {
        self.offsets[r as usize] as usize..self.offsets[r as usize + 1] as usize
    }

    /// The indices of row `r`, ascending.
    pub fn row(&self, r: u32) -> &'a [u32] {
        &self.indices[self.range(r)]
    }

    /// Length of row `r`.
    pub fn degree(&self, r: u32) -> u32 {
        (self.offsets[r as usize + 1] - self.offsets[r as usize]) as u32
    }

    /// Number of entries.
    pub fn nnz(&self) -> u64 {
        self.indices.len() as u64
    }
}

#[derive(Debug, Clone, Default)]
struct SplitSections {
    user_offsets: Option<Range<usize>>,
    user_items: Range<usize>,
    item_offsets: Range<usize>,
    item_users: Range<usize>,
    timestamps: Option<Range<usize>>,
    weights: Option<Range<usize>>,
}

/// Who interacted with what: users x items, in three splits, with external ids.
///
/// The bytes are those of a `.macr` file, mapped from disk or built in memory. Opening checks every checksum, every
/// index and every weight once (in parallel) and parses nothing.
///
/// ```
/// use macr::{Edges, InteractionsBuilder, Split};
/// let data = InteractionsBuilder::new(2, 3)
///     .split(Split::Train, Edges::from_pairs([(0, 2), (0, 1), (1, 0)]))
///     .build()?;
/// assert_eq!(data.by_user(Split::Train).row(0), [1, 2]);
/// # Ok::<(), macr::Error>(())
/// ```
#[derive(Debug)]
pub struct Interactions {
    bytes: Bytes,
    users: u32,
    items: u32,
    splits: [SplitSections; 3],
    user_ids: Option<(Range<usize>, Range<usize>)>,
    item_ids: Option<(Range<usize>, Range<usize>)>,
    provenance: Range<usize>,
    checksum: u128,
    /// Offsets of an absent split: all rows empty. Made when they are asked for, since the file may be small and name
    /// billions of rows.
    no_users: OnceLock<Vec<u64>>,
    no_items: OnceLock<Vec<u64>>,
}

/// The whole file.
#[derive(Debug)]
enum Bytes {
    OnDisk(Mmap),
    InMemory(MmapMut),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::OnDisk(bytes) => bytes,
            Bytes::InMemory(bytes) => bytes,
        }
    }
}

impl Interactions {
    /// Opens and checks an interaction file.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read; [`Error::File`] if it is not an interaction file, is from a newer
    /// version, truncated, or damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = File::open(path).map_err(Error::io("open", path))?;
        if file.metadata().map_err(Error::io("open", path))?.len() == 0 {
            return Err(damaged(path, "the file is empty"));
        }
        // SAFETY: the mapping is read-only and the engine never writes to a finished file (files are replaced by
        // rename). docs/formats.md asks that nobody else writes into it while it is open; truncating it raises SIGBUS.
        let bytes = unsafe { Mmap::map(&file) }.map_err(Error::io("map", path))?;
        if bytes.len() < HEADER_BYTES {
            return Err(damaged(path, "the file ends inside its header"));
        }
        Self::new(Bytes::OnDisk(bytes), path)
    }

    /// A file that was built in memory.
    pub(crate) fn in_memory(bytes: MmapMut) -> Result<Self> {
        Self::new(Bytes::InMemory(bytes), &in_memory())
    }

    /// Checks `bytes` and finds the sections; `path` is for messages.
    fn new(bytes: Bytes, path: &Path) -> Result<Self> {
        let (users, items, entries) = layout::read(&bytes, path)?;
        let find = |kind: Section, split: u32| {
            entries
                .iter()
                .find(|e| e.kind == kind as u32 && e.split == split)
                .map(|e| e.offset as usize..(e.offset + e.bytes) as usize)
        };
        let mut splits: [SplitSections; 3] = Default::default();
        for (split, sections) in splits.iter_mut().enumerate() {
            let split = split as u32;
            sections.user_offsets = find(Section::UserOffsets, split);
            if sections.user_offsets.is_some() {
                let need = |kind| {
                    find(kind, split).ok_or_else(|| damaged(path, "a split lacks one of its sections"))
                };
                sections.user_items = need(Section::UserItems)?;
                sections.item_offsets = need(Section::ItemOffsets)?;
                sections.item_users = need(Section::ItemUsers)?;
            }
            sections.timestamps = find(Section::Timestamps, split);
            sections.weights = find(Section::Weights, split);
        }
        let ids = |offsets, text| find(offsets, WHOLE).zip(find(text, WHOLE));
        let this = Interactions {
            users,
            items,
            splits,
            user_ids: ids(Section::UserIdOffsets, Section::UserIdBytes),
            item_ids: ids(Section::ItemIdOffsets, Section::ItemIdBytes),
            provenance: find(Section::Provenance, WHOLE).unwrap_or(0..0),
            checksum: layout::identity(users, items, &entries),
            no_users: OnceLock::new(),
            no_items: OnceLock::new(),
            bytes,
        };
        this.check_contents().map_err(|problem| damaged(path, &problem))?;
        Ok(this)
    }

    /// A checksum only shows that the bytes are those that were written; this shows that they can be indexed and
    /// counted with.
    fn check_contents(&self) -> Result<(), String> {
        for split in Split::ALL {
            let sections = &self.splits[split as usize];
            let Some(user_offsets) = &sections.user_offsets else {
                if sections.timestamps.is_some() || sections.weights.is_some() {
                    return Err("an absent split has times or weights".into());
                }
                continue;
            };
            let lengths = [
                (user_offsets, 8, self.users as usize + 1),
                (&sections.item_offsets, 8, self.items as usize + 1),
            ];
            if lengths.iter().any(|(range, width, n)| range.len() != width * n)
                || sections.user_items.len() != sections.item_users.len()
                || !sections.user_items.len().is_multiple_of(4)
            {
                return Err("a section has the wrong length".into());
            }
            let nnz = sections.user_items.len() / 4;
            if sections.timestamps.as_ref().is_some_and(|t| t.len() != 8 * nnz)
                || sections.weights.as_ref().is_some_and(|w| w.len() != 4 * nnz)
            {
                return Err("a section has the wrong length".into());
            }
            let by_user = check_csr(self.by_user(split), self.items, |user, item| (user, item))?;
            let by_item = check_csr(self.by_item(split), self.users, |item, user| (user, item))?;
            if by_user != by_item {
                return Err("users by item are not those of items by user".into());
            }
            if let Some((at, weight)) = self.weights(split).and_then(not_finite) {
                return Err(format!("weight {at} of the {split} split is {weight}"));
            }
        }
        for (ids, n) in [(&self.user_ids, self.users), (&self.item_ids, self.items)] {
            if let Some((offsets, text)) = ids {
                let offsets: &[u64] =
                    bytemuck::try_cast_slice(&self.bytes[offsets.clone()]).map_err(|_| "misaligned ids")?;
                if offsets.len() != n as usize + 1
                    || offsets[0] != 0
                    || !offsets.is_sorted()
                    || offsets[n as usize] != text.len() as u64
                {
                    return Err("the id table is inconsistent".into());
                }
            }
        }
        Ok(())
    }

    /// Number of users, U.
    pub fn users(&self) -> u32 {
        self.users
    }

    /// Number of items, I.
    pub fn items(&self) -> u32 {
        self.items
    }

    /// Number of interactions of `split`.
    pub fn count(&self, split: Split) -> u64 {
        (self.splits[split as usize].user_items.len() / size_of::<u32>()) as u64
    }

    /// Items by user: `[U]` rows.
    pub fn by_user(&self, split: Split) -> Csr<'_> {
        let s = &self.splits[split as usize];
        match &s.user_offsets {
            Some(offsets) => Csr { offsets: self.slice(offsets), indices: self.slice(&s.user_items) },
            None => Csr { offsets: empty_rows(&self.no_users, self.users), indices: &[] },
        }
    }

    /// Users by item: `[I]` rows.
    pub fn by_item(&self, split: Split) -> Csr<'_> {
        let s = &self.splits[split as usize];
        match &s.user_offsets {
            Some(_) => Csr { offsets: self.slice(&s.item_offsets), indices: self.slice(&s.item_users) },
            None => Csr { offsets: empty_rows(&self.no_items, self.items), indices: &[] },
        }
    }

    /// Seconds since 1970 of each interaction, in the order of [`Interactions::by_user`].
    pub fn timestamps(&self, split: Split) -> Option<&[i64]> {
        self.splits[split as usize].timestamps.as_ref().map(|r| self.slice(r))
    }

    /// Rating or weight of each interaction, in the order of [`Interactions::by_user`].
    pub fn weights(&self, split: Split) -> Option<&[f32]> {
        self.splits[split as usize].weights.as_ref().map(|r| self.slice(r))
    }

    /// External ids of the users.
    pub fn user_ids(&self) -> Ids<'_> {
        self.ids(&self.user_ids, self.users)
    }

    /// External ids of the items.
    pub fn item_ids(&self) -> Ids<'_> {
        self.ids(&self.item_ids, self.items)
    }

    /// Where the data came from and what was done to it, as written by the builder (empty if not given).
    pub fn provenance(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes[self.provenance.clone()])
    }

    /// Identity of the data, 32 hexadecimal digits: equal exactly when counts, splits, weights, times and ids are.
    pub fn checksum(&self) -> String {
        format!("{:032x}", self.checksum)
    }

    /// Size of the file in bytes.
    pub fn file_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Writes the same bytes to `path`, atomically.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written; an existing file is then left as it was.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        write_atomic(path.as_ref(), |w| w.write_all(&self.bytes))
    }

    fn ids(&self, ranges: &Option<(Range<usize>, Range<usize>)>, n: u32) -> Ids<'_> {
        match ranges {
            None => Ids::Dense(n),
            Some((offsets, text)) => Ids::Text {
                offsets: Cow::Borrowed(self.slice(offsets)),
                bytes: Cow::Borrowed(&self.bytes[text.clone()]),
            },
        }
    }

    fn slice<T: Pod>(&self, range: &Range<usize>) -> &[T] {
        bytemuck::cast_slice(&self.bytes[range.clone()])
    }
}

/// The first weight that is not a finite number, and its position.
pub(super) fn not_finite(weights: &[f32]) -> Option<(usize, f32)> {
    let at = weights.par_iter().position_first(|weight| !weight.is_finite())?;
    Some((at, weights[at]))
}

fn empty_rows(offsets: &OnceLock<Vec<u64>>, rows: u32) -> &[u64] {
    offsets.get_or_init(|| vec![0; rows as usize + 1])
}

/// Makes sure that rows can be indexed with. Returns a sum over the entries, as pairs of user and item, that is the
/// same in whatever order they stand.
fn check_csr(
    csr: Csr<'_>,
    columns: u32,
    pair: impl Fn(u32, u32) -> (u32, u32) + Sync,
) -> Result<u64, &'static str> {
    const ROWS: usize = 4096;
    let (first, last) = (csr.offsets[0], csr.offsets[csr.rows()]);
    if first != 0 || last != csr.nnz() {
        return Err("row offsets do not match the entries");
    }
    let sums = csr.offsets[..csr.rows()].par_chunks(ROWS).enumerate().map(|(chunk, starts)| {
        let mut sum = 0u64;
        for k in 0..starts.len() {
            let (start, end) = (starts[k], csr.offsets[chunk * ROWS + k + 1]);
            let Some(row) = (start <= end).then(|| csr.indices.get(start as usize..end as usize)).flatten()
            else {
                return Err("row offsets are not ascending");
            };
            // Strictly ascending rows whose last entry is in range: all entries are in range, none is double.
            if row.last().is_some_and(|&id| id >= columns) || !row.windows(2).all(|w| w[0] < w[1]) {
                return Err("a row is not ascending, or names an id beyond the end");
            }
            let number = (chunk * ROWS + k) as u32;
            sum = row.iter().fold(sum, |sum, &column| {
                let (user, item) = pair(number, column);
                sum.wrapping_add(mix(u64::from(user) << 32 | u64::from(item)))
            });
        }
        Ok(sum)
    });
    sums.try_reduce(|| 0, |a, b| Ok(a.wrapping_add(b)))
}

/// Spreads the bits of a word over all of it (the last step of SplitMix64).
fn mix(mut word: u64) -> u64 {
    word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

/// Name used in messages for data that never was a file.
pub(crate) fn in_memory() -> PathBuf {
    PathBuf::from("<in memory>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{data::layout::Layout, huge::zeroed_bytes};

    #[test]
    fn weights_of_a_file_are_finite() {
        // One user with both of two items.
        let open = |weights: [f32; 2]| {
            let (two, three): ([u64; 2], [u64; 3]) = ([0, 2], [0, 1, 2]);
            let sections: [(Section, &[u8]); 5] = [
                (Section::UserOffsets, bytemuck::cast_slice(&two)),
                (Section::UserItems, bytemuck::cast_slice(&[0u32, 1])),
                (Section::ItemOffsets, bytemuck::cast_slice(&three)),
                (Section::ItemUsers, bytemuck::cast_slice(&[0u32, 0])),
                (Section::Weights, bytemuck::cast_slice(&weights)),
            ];
            let table = sections.map(|(kind, bytes)| (kind, Split::Train as u32, bytes.len() as u64));
            let layout = Layout::new(1, 2, &table);
            let mut file = zeroed_bytes(layout.file_bytes()).unwrap();
            let places = layout.sections(&mut file);
            places.into_iter().zip(sections).for_each(|(place, (_, bytes))| place.copy_from_slice(bytes));
            layout.seal(&mut file);
            Interactions::in_memory(file)
        };
        assert_eq!(open([0.5, -2.0]).unwrap().weights(Split::Train), Some(&[0.5, -2.0][..]));
        for (weight, word) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
            let message = open([0.5, weight]).unwrap_err().to_string();
            assert!(message.contains(&format!("weight 1 of the train split is {word}")), "{message}");
        }
    }
}
