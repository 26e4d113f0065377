//! The layout of an interaction file: header, table of sections, sections, and the checksums of each; see
//! `docs/formats.md`.

use std::path::Path;

use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use crate::{
    error::{Error, Result},
    numerals::{counted, grouped},
};

/// First eight bytes of every interaction file.
pub const MAGIC: [u8; 8] = *b"MACRDATA";
/// Version of the layout that this build reads and writes.
pub const VERSION: u32 = 1;
/// Sections begin at multiples of this, so that any element type is aligned in the mapping.
pub const ALIGNMENT: u64 = 64;

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
    /// `[U + 1] u64`: external user ids, see `Ids::Text`; absent when the ids are dense.
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
pub(super) struct SectionEntry {
    pub kind: u32,
    pub split: u32,
    pub offset: u64,
    pub bytes: u64,
    /// xxh3-64 of the section's bytes.
    checksum: u64,
}

/// Of the header.
pub(super) const HEADER_BYTES: usize = size_of::<Header>();
const ENTRY_BYTES: usize = size_of::<SectionEntry>();

/// The header and the table of sections of a file that has at least [`HEADER_BYTES`], with every checksum compared: the
/// numbers of users and items, and the sections. `path` is for messages.
pub(super) fn read(bytes: &[u8], path: &Path) -> Result<(u32, u32, Vec<SectionEntry>)> {
    let mut header: Header = bytemuck::pod_read_unaligned(&bytes[..HEADER_BYTES]);
    if header.magic != MAGIC {
        return Err(Error::File {
            path: path.into(),
            problem: "this is not an interaction file (the first bytes are not those of a .macr file)".into(),
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
            &format!(
                "the file should have {} and has {}",
                counted(header.file_bytes, "byte"),
                grouped(bytes.len() as u64)
            ),
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
    check_padding(bytes, HEADER_BYTES + table_bytes, &entries).map_err(|problem| damaged(path, &problem))?;
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
    Ok((users, items, entries))
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

/// Says what is wrong with the file at `path`.
pub(super) fn damaged(path: &Path, problem: &str) -> Error {
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
pub(super) fn identity(users: u32, items: u32, entries: &[SectionEntry]) -> u128 {
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
