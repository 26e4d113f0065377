//! The interaction file `.macr`: opened once, checked, and mapped; see `docs/formats.md` for the layout.

use std::{
    borrow::Cow,
    fs::File,
    io::Write,
    ops::Range,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use bytemuck::{Pod, Zeroable};
use memmap2::Mmap;
use rayon::prelude::*;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::ids::Ids;
use crate::{
    atomic_file::write_atomic,
    error::{Error, Result},
};

/// First eight bytes of every interaction file.
pub const MAGIC: [u8; 8] = *b"MACRDATA";
/// Version of the layout that this build reads and writes.
pub const VERSION: u32 = 1;
/// Sections begin at multiples of this, so that any element type is aligned in the mapping.
pub const ALIGNMENT: u64 = 64;

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

/// What a section holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Section {
    /// `[U + 1] u64`: where each user's row begins in [`Section::UserItems`].
    UserOffsets = 0,
    /// `[nnz] u32`: items by user, ascending within a row.
    UserItems = 1,
    /// `[I + 1] u64`.
    ItemOffsets = 2,
    /// `[nnz] u32`: users by item, ascending within a row.
    ItemUsers = 3,
    /// `[nnz] i64`, in the order of [`Section::UserItems`].
    Timestamps = 4,
    /// `[nnz] f32`, in the order of [`Section::UserItems`].
    Weights = 5,
    /// `[U + 1] u64`: external user ids, see [`Ids::Text`]; absent when the ids are dense.
    UserIdOffsets = 6,
    /// UTF-8 bytes.
    UserIdBytes = 7,
    /// `[I + 1] u64`.
    ItemIdOffsets = 8,
    /// UTF-8 bytes.
    ItemIdBytes = 9,
    /// UTF-8: where the data came from and how it was filtered and split, for people and reports.
    Provenance = 10,
}

const SECTION_KINDS: u32 = 11;
/// Split number of sections that belong to the file as a whole.
pub(crate) const WHOLE: u32 = 3;

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Header {
    magic: [u8; 8],
    version: u32,
    sections: u32,
    users: u64,
    items: u64,
    file_bytes: u64,
    /// xxh3-64 of the header with this field 0, then of the section table.
    checksum: u64,
    reserved: [u64; 2],
}

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct SectionEntry {
    kind: u32,
    split: u32,
    offset: u64,
    bytes: u64,
    /// xxh3-64 of the section's bytes.
    checksum: u64,
}

const HEADER_BYTES: usize = size_of::<Header>();
const ENTRY_BYTES: usize = size_of::<SectionEntry>();

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
/// The bytes are those of a `.macr` file, mapped from disk or built in memory. Opening checks every checksum and
/// every index once (in parallel) and parses nothing.
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
    bytes: Mmap,
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

impl Interactions {
    /// Opens and checks an interaction file.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read; [`Error::File`] if it is not an interaction file, is from a newer
    /// version, truncated, or damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = File::open(path).map_err(Error::io("open", path))?;
        let length = file.metadata().map_err(Error::io("open", path))?.len();
        if length < HEADER_BYTES as u64 {
            return Err(damaged(
                path,
                if length == 0 { "the file is empty" } else { "the file ends inside its header" },
            ));
        }
        // SAFETY: the mapping is read-only and the engine never writes to a finished file (files are replaced by
        // rename); another process that truncates it in place would raise SIGBUS, as for every mapped file.
        let bytes = unsafe { Mmap::map(&file) }.map_err(Error::io("map", path))?;
        Self::from_mapping(bytes, path)
    }

    /// Checks `bytes` and finds the sections; `path` is for messages.
    pub(crate) fn from_mapping(bytes: Mmap, path: &Path) -> Result<Self> {
        let mut header: Header = bytemuck::pod_read_unaligned(&bytes[..HEADER_BYTES]);
        if header.magic != MAGIC {
            return Err(Error::File {
                path: path.into(),
                problem: "this is not an interaction file (the first bytes are not those of a .macr file)"
                    .into(),
                remedy: "make one with `macr import PATH -o FILE.macr`".into(),
            });
        }
        if header.version != VERSION {
            return Err(Error::File {
                path: path.into(),
                problem: format!(
                    "the file has layout version {}, this program reads version {VERSION}",
                    header.version
                ),
                remedy: "import the source again with this program, or use the program that wrote the file"
                    .into(),
            });
        }
        if header.file_bytes != bytes.len() as u64 {
            return Err(damaged(
                path,
                &format!("the file should have {} bytes and has {}", header.file_bytes, bytes.len()),
            ));
        }
        let table_bytes = (header.sections as usize).saturating_mul(ENTRY_BYTES);
        let Some(table) = bytes.get(HEADER_BYTES..HEADER_BYTES.saturating_add(table_bytes)) else {
            return Err(damaged(path, "the section table does not fit into the file"));
        };
        let stored = std::mem::take(&mut header.checksum);
        if header_checksum(&header, table) != stored {
            return Err(damaged(path, "the header does not match its checksum"));
        }
        let (Ok(users), Ok(items)) = (u32::try_from(header.users), u32::try_from(header.items)) else {
            return Err(damaged(path, "the counts in the header are too large"));
        };
        let entries: Vec<SectionEntry> =
            table.chunks_exact(ENTRY_BYTES).map(bytemuck::pod_read_unaligned).collect();
        for entry in &entries {
            let end = entry.offset.checked_add(entry.bytes);
            if !entry.offset.is_multiple_of(ALIGNMENT)
                || end.is_none_or(|end| end > bytes.len() as u64)
                || entry.kind >= SECTION_KINDS
                || entry.split > WHOLE
            {
                return Err(damaged(path, "the section table is inconsistent"));
            }
        }
        check_padding(&bytes, HEADER_BYTES + table_bytes, &entries)
            .map_err(|problem| damaged(path, &problem))?;
        entries.par_iter().try_for_each(|entry| {
            let range = entry.offset as usize..(entry.offset + entry.bytes) as usize;
            if section_checksum(&bytes[range]) == entry.checksum {
                Ok(())
            } else {
                Err(damaged(
                    path,
                    &format!("section {} (split {}) does not match its checksum", entry.kind, entry.split),
                ))
            }
        })?;

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
            checksum: identity(users, items, &entries),
            no_users: OnceLock::new(),
            no_items: OnceLock::new(),
            bytes,
        };
        this.check_indices().map_err(|problem| damaged(path, problem))?;
        Ok(this)
    }

    /// A checksum only shows that the bytes are those that were written; this shows that they can be indexed with.
    fn check_indices(&self) -> Result<(), &'static str> {
        for split in Split::ALL {
            let sections = &self.splits[split as usize];
            let Some(user_offsets) = &sections.user_offsets else {
                if sections.timestamps.is_some() || sections.weights.is_some() {
                    return Err("an absent split has times or weights");
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
                return Err("a section has the wrong length");
            }
            let nnz = sections.user_items.len() / 4;
            if sections.timestamps.as_ref().is_some_and(|t| t.len() != 8 * nnz)
                || sections.weights.as_ref().is_some_and(|w| w.len() != 4 * nnz)
            {
                return Err("a section has the wrong length");
            }
            let by_user = check_csr(self.by_user(split), self.items, |user, item| (user, item))?;
            let by_item = check_csr(self.by_item(split), self.users, |item, user| (user, item))?;
            if by_user != by_item {
                return Err("users by item are not those of items by user");
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
                    return Err("the id table is inconsistent");
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

fn empty_rows(offsets: &OnceLock<Vec<u64>>, rows: u32) -> &[u64] {
    offsets.get_or_init(|| vec![0; rows as usize + 1])
}

/// What is under no checksum must be zero: every bit of a file is then known to be as it was written.
fn check_padding(bytes: &[u8], table_end: usize, entries: &[SectionEntry]) -> Result<(), String> {
    let mut sections: Vec<(usize, usize)> =
        entries.iter().map(|e| (e.offset as usize, (e.offset + e.bytes) as usize)).collect();
    sections.sort_unstable();
    let mut end = table_end;
    for (start, next) in sections.into_iter().chain([(bytes.len(), bytes.len())]) {
        match bytes.get(end..start) {
            None => return Err("two sections overlap".into()),
            Some(gap) if gap.iter().any(|&b| b != 0) => {
                return Err(format!("bytes {end} to {start} are padding and not all zero"));
            }
            Some(_) => end = next,
        }
    }
    Ok(())
}

/// Makes sure that rows can be indexed with. Returns a sum over the entries, as pairs of user and item, that is the same in
/// whatever order they stand.
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

fn damaged(path: &Path, problem: &str) -> Error {
    Error::File {
        path: path.into(),
        problem: format!("damaged or truncated: {problem}"),
        remedy: "copy or import it again".into(),
    }
}

fn header_checksum(header: &Header, table: &[u8]) -> u64 {
    xxh3_64(&[bytemuck::bytes_of(header), table].concat())
}

/// Checksum of a section: over the checksums of fixed blocks, so that a large section uses every core.
fn section_checksum(bytes: &[u8]) -> u64 {
    const BLOCK: usize = 4 << 20;
    let blocks: Vec<u64> = bytes.par_chunks(BLOCK).map(xxh3_64).collect();
    xxh3_64(bytemuck::cast_slice(&blocks))
}

/// Hash of what the data is: counts and every section but the provenance.
fn identity(users: u32, items: u32, entries: &[SectionEntry]) -> u128 {
    let mut words = vec![u64::from(users), u64::from(items)];
    for e in entries.iter().filter(|e| e.kind != Section::Provenance as u32) {
        words.extend([u64::from(e.kind), u64::from(e.split), e.bytes, e.checksum]);
    }
    xxh3_128(bytemuck::cast_slice(&words))
}

/// Lays sections out in memory as they stand in a file.
pub(crate) struct Layout {
    users: u32,
    items: u32,
    entries: Vec<SectionEntry>,
    end: u64,
}

impl Layout {
    /// A file with these sections, in this order: kind, split number (or [`WHOLE`]), bytes.
    pub(crate) fn new(users: u32, items: u32, sections: &[(Section, u32, u64)]) -> Self {
        let mut end = (HEADER_BYTES + sections.len() * ENTRY_BYTES) as u64;
        let mut entries = Vec::with_capacity(sections.len());
        for &(kind, split, bytes) in sections {
            let offset = end.next_multiple_of(ALIGNMENT);
            entries.push(SectionEntry { kind: kind as u32, split, offset, bytes, checksum: 0 });
            end = offset + bytes;
        }
        Layout { users, items, entries, end }
    }

    /// Size of the whole file.
    pub(crate) fn file_bytes(&self) -> usize {
        self.end as usize
    }

    /// The sections of `file`, each as its own slice, in the order given to [`Layout::new`].
    pub(crate) fn sections<'a>(&self, file: &'a mut [u8]) -> Vec<&'a mut [u8]> {
        let (mut rest, mut position) = (file, 0);
        let mut sections = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            let (_, tail) = rest.split_at_mut(entry.offset as usize - position);
            let (section, tail) = tail.split_at_mut(entry.bytes as usize);
            sections.push(section);
            position = (entry.offset + entry.bytes) as usize;
            rest = tail;
        }
        sections
    }

    /// Writes header, section table and checksums into `file`, whose sections are filled.
    pub(crate) fn seal(mut self, file: &mut [u8]) {
        for entry in &mut self.entries {
            entry.checksum =
                section_checksum(&file[entry.offset as usize..(entry.offset + entry.bytes) as usize]);
        }
        let table: &[u8] = bytemuck::cast_slice(&self.entries);
        let mut header = Header {
            magic: MAGIC,
            version: VERSION,
            sections: self.entries.len() as u32,
            users: u64::from(self.users),
            items: u64::from(self.items),
            file_bytes: self.end,
            checksum: 0,
            reserved: [0; 2],
        };
        header.checksum = header_checksum(&header, table);
        file[..HEADER_BYTES].copy_from_slice(bytemuck::bytes_of(&header));
        file[HEADER_BYTES..HEADER_BYTES + table.len()].copy_from_slice(table);
    }
}

/// Name used in messages for data that never was a file.
pub(crate) fn in_memory() -> PathBuf {
    PathBuf::from("<in memory>")
}
