//! Source files as text in memory: mapped where they are plain, decompressed where they are not.

use std::{
    fs::File,
    io::{self, Read},
    ops::Deref,
    path::Path,
};

use memmap2::Mmap;
use rayon::prelude::*;
use zstd::zstd_safe::{self, DCtx};

use super::Source;
use crate::{
    data::layout,
    error::{Error, Result},
};

const BOM: &[u8] = b"\xef\xbb\xbf";
/// How much of a file formats are recognised by.
const HEAD_BYTES: usize = 64 << 10;
/// The code that zstd returns for `ZSTD_error_memory_allocation`.
const ZSTD_OUT_OF_MEMORY: usize = 64usize.wrapping_neg();

/// A source that was opened once: its checksum is of the bytes that are imported, whatever becomes of the file.
pub(crate) struct Opened {
    pub(crate) source: Source,
    bytes: Bytes,
}

/// The text of a source without byte-order mark.
pub(super) struct Text {
    source: Source,
    bytes: Bytes,
    start: usize,
}

enum Bytes {
    Mapped(Mmap),
    Owned(Vec<u8>),
}

/// Opens all sources; see [`Opened`].
///
/// # Errors
/// [`Error::Io`] if one cannot be read.
pub(crate) fn open(sources: &[Source]) -> Result<Vec<Opened>> {
    let open = |source: &Source| Ok(Opened { bytes: raw(&source.path)?, source: source.clone() });
    sources.par_iter().map(open).collect()
}

impl Opened {
    /// False for a pipe, for example.
    pub(crate) fn is_file(&self) -> bool {
        matches!(self.bytes, Bytes::Mapped(_))
    }

    /// Checksum of the bytes as they stand on the disk.
    pub(crate) fn checksum(&self) -> u128 {
        const BLOCK: usize = 4 << 20;
        let blocks: Vec<u128> = self.bytes.par_chunks(BLOCK).map(xxhash_rust::xxh3::xxh3_128).collect();
        xxhash_rust::xxh3::xxh3_128(bytemuck::cast_slice(&blocks))
    }
}

impl Text {
    /// Decompresses a source where its first bytes ask for it.
    pub(super) fn new(opened: Opened) -> Result<Text> {
        let Opened { source, bytes } = opened;
        let path = &source.path;
        let bytes = match bytes {
            bytes if bytes.starts_with(&[0x1f, 0x8b]) => {
                Bytes::Owned(unpack(path, flate2::read::MultiGzDecoder::new(&*bytes))?)
            }
            bytes if bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) => {
                // Its other constructors panic where memory is short.
                let mut context = DCtx::try_create().ok_or_else(|| out_of_memory(path))?;
                Bytes::Owned(unpack(path, zstd::Decoder::with_context(&*bytes, &mut context))?)
            }
            bytes => bytes,
        };
        let start = if bytes.starts_with(BOM) { BOM.len() } else { 0 };
        let text = Text { source, bytes, start };
        text.check()?;
        Ok(text)
    }

    /// Where it came from.
    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// The beginning of the text.
    pub(super) fn head(&self) -> Head<'_> {
        let bytes = &self[..self.len().min(HEAD_BYTES)];
        // The last line may be cut off, even within a character.
        let end = match memchr::memrchr(b'\n', bytes) {
            Some(end) if bytes.len() < self.len() => end,
            _ => bytes.len(),
        };
        Head { path: &self.source.path, bytes: &bytes[..end] }
    }

    /// Refuses what is certainly no text, before a million lines are found to be wrong.
    fn check(&self) -> Result<()> {
        let refuse = |problem: &str, remedy: &str| {
            Err(Error::File {
                path: self.source.path.clone(),
                problem: problem.into(),
                remedy: remedy.into(),
            })
        };
        let head = &self[..self.len().min(HEAD_BYTES)];
        if head.is_empty() {
            return refuse("the file is empty", "give a file with interactions");
        }
        if head.starts_with(&layout::MAGIC) {
            return refuse("this is an interaction file already", "use it as it is");
        }
        if head.starts_with(b"PK\x03\x04") {
            return refuse("this is a zip archive", "unpack it and import the file or folder inside");
        }
        if self.starts_with(b"PAR1") && self.ends_with(b"PAR1") {
            return refuse("this is Parquet, which is not read", "export it to CSV");
        }
        if is_json(head) {
            return refuse("this is JSON, which is not read", "export it to CSV, an interaction a line");
        }
        if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
            return refuse("the text is encoded as UTF-16", "convert it to UTF-8");
        }
        if memchr::memchr(0, head).is_some() {
            return refuse("this is not a text file (it holds zero bytes)", "give a text file");
        }
        let control =
            head.iter().filter(|&&b| b < 32 && !matches!(b, b'\t' | b'\n' | b'\r' | 1 | 12)).count();
        if control > head.len() / 50 {
            return refuse("this is not a text file (it holds control characters)", "give a text file");
        }
        Ok(())
    }
}

/// True if a text begins as objects or arrays do; a name in brackets (`{1a-2b},item`, `[user],[item]`) is none.
fn is_json(head: &[u8]) -> bool {
    let [open @ (b'{' | b'['), rest @ ..] = head.trim_ascii_start() else { return false };
    match rest.trim_ascii_start().first() {
        Some(b'"' | b'\'' | b'{' | b'[') => true,
        Some(next) => *open == b'[' && next.is_ascii_digit(),
        None => false,
    }
}

impl Deref for Text {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Owned(bytes) => bytes,
        }
    }
}

fn raw(path: &Path) -> Result<Bytes> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let metadata = file.metadata().map_err(Error::io("open", path))?;
    if metadata.is_file() && metadata.len() > 0 {
        // SAFETY: the mapping is read-only and lives for one import. docs/formats.md asks that nobody writes into the
        // file meanwhile; truncating it raises SIGBUS.
        return unsafe { Mmap::map(&file) }.map(Bytes::Mapped).map_err(Error::io("map", path));
    }
    // A pipe, for example.
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    Ok(Bytes::Owned(bytes))
}

fn out_of_memory(path: &Path) -> Error {
    Error::io("unpack", path)(io::ErrorKind::OutOfMemory.into())
}

fn unpack(path: &Path, mut decoder: impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let is_short = |error: &io::Error| {
        // What zstd asks for itself fails without a kind of error.
        error.kind() == io::ErrorKind::OutOfMemory
            || error.to_string() == zstd_safe::get_error_name(ZSTD_OUT_OF_MEMORY)
    };
    match decoder.read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) if is_short(&error) => Err(out_of_memory(path)),
        Err(error) => Err(Error::File {
            path: path.into(),
            problem: format!("the compressed data is damaged or truncated: {error}"),
            remedy: "fetch the file again".into(),
        }),
    }
}

/// The beginning of a file, by which its format is recognised.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    path: &'a Path,
    bytes: &'a [u8],
}

impl<'a> Head<'a> {
    /// Path of the file.
    pub fn path(&self) -> &'a Path {
        self.path
    }

    /// The beginning itself, up to the end of a line.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// File name in lower case, without the ending of a compressed file.
    pub fn name(&self) -> String {
        super::files::plain_name(self.path)
    }

    /// The first lines that are not blank, with their number (from 1) and without line ends.
    pub fn lines(&self) -> impl Iterator<Item = (u64, &'a str)> + use<'a> {
        (1..)
            .zip(self.bytes.split(|&b| b == b'\n'))
            .filter_map(|(n, line)| Some((n, str::from_utf8(line).ok()?.trim_end_matches('\r'))))
            .filter(|(_, line)| !line.trim().is_empty())
    }

    /// The first line that is not blank, with its number.
    pub fn first(&self) -> (u64, &'a str) {
        self.lines().next().unwrap_or((1, ""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zstd_without_memory_is_not_called_a_damaged_file() {
        struct Fails(io::ErrorKind, &'static str);
        impl Read for Fails {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::new(self.0, self.1))
            }
        }
        // As zstd's decoder makes its errors of codes.
        assert_eq!(zstd_safe::get_error_name(ZSTD_OUT_OF_MEMORY), "Allocation error : not enough memory");
        for (error, words) in [
            (Fails(io::ErrorKind::Other, zstd_safe::get_error_name(ZSTD_OUT_OF_MEMORY)), "cannot unpack"),
            (Fails(io::ErrorKind::OutOfMemory, "no"), "cannot unpack"),
            (Fails(io::ErrorKind::Other, "Unknown frame descriptor"), "damaged or truncated"),
        ] {
            let said = unpack(Path::new("a.zst"), error).unwrap_err().to_string();
            assert!(said.contains(words), "{said}");
        }
    }
}
