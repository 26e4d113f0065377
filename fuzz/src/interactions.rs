//! The interaction file. Checksums and size are put right, so that the bytes behind them are read.

use std::hint::black_box;

use macr::{
    Interactions, Split,
    data::{filter::k_core, profile::Profile, split::carve_valid},
};
use xxhash_rust::xxh3::xxh3_64;

use super::file;

const HEADER: usize = 64;
const ENTRY: usize = 32;
/// Rows without interactions of which each is looked at.
const ROWS: u64 = 1 << 14;

pub fn run(input: &[u8]) {
    let path = file("data.macr", &sealed(input));
    if let Ok(data) = Interactions::open(path) {
        look_at(&data);
    }
}

/// Uses all that data gives.
pub fn look_at(data: &Interactions) {
    for split in Split::ALL {
        black_box(data.count(split));
        black_box((data.timestamps(split), data.weights(split)));
    }
    black_box(data.provenance());
    black_box(Profile::of(data));
    // A few bytes can be a whole file of billions of empty rows. What is done for each of them takes memory, which the
    // commands admit beforehand, and time, which the fuzzer has better uses for.
    if u64::from(data.users()) + u64::from(data.items()) > ROWS + data.file_bytes() {
        return;
    }
    for split in Split::ALL {
        let (by_user, by_item) = (data.by_user(split), data.by_item(split));
        let users = (0..data.users()).map(|u| by_user.row(u).len()).sum::<usize>();
        let items = (0..data.items()).map(|i| by_item.row(i).len()).sum::<usize>();
        assert_eq!((users as u64, items as u64), (data.count(split), data.count(split)));
    }
    for ids in [data.user_ids(), data.item_ids()] {
        let index = ids.index();
        (0..ids.len()).for_each(|k| {
            black_box(index.get(&ids.get(k)));
        });
    }
    let _ = black_box(carve_valid(data, None, 1));
    let _ = black_box(k_core(data, 2).build());
}

/// The file with the size and the checksums that it should have; see `docs/formats.md`.
fn sealed(input: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    if bytes.len() < HEADER {
        return bytes;
    }
    let word = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
    let put = |bytes: &mut [u8], at: usize, word: u64| bytes[at..at + 8].copy_from_slice(&word.to_le_bytes());
    bytes[..12].copy_from_slice(b"MACRDATA\x01\0\0\0");
    let size = bytes.len() as u64;
    put(&mut bytes, 32, size);
    let entries = u32::from_le_bytes(bytes[12..16].try_into().expect("4 bytes")) as usize;
    let table = HEADER..HEADER.saturating_add(entries.saturating_mul(ENTRY)).min(bytes.len());
    for at in (table.start..table.end.saturating_sub(ENTRY - 1)).step_by(ENTRY) {
        let (start, length) = (word(&bytes, at + 8) as usize, word(&bytes, at + 16) as usize);
        let Some(section) = start.checked_add(length).and_then(|end| bytes.get(start..end)) else { continue };
        // Of the blocks' checksums: an input is no longer than one block.
        let blocks = if section.is_empty() { Vec::new() } else { xxh3_64(section).to_le_bytes().to_vec() };
        let checksum = xxh3_64(&blocks);
        put(&mut bytes, at + 24, checksum);
    }
    put(&mut bytes, 40, 0);
    let checksum = xxh3_64(&bytes[..table.end]);
    put(&mut bytes, 40, checksum);
    bytes
}
