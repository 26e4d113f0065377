//! Numbering of names: each thread keeps a dictionary of its own, and these are merged at the end.

use std::borrow::Cow;

use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    data::Ids,
    error::{Error, Result},
    huge::Zeroed,
};

/// Names in the order in which they were first seen.
#[derive(Debug)]
pub(super) struct Dictionary {
    /// Open addressing, a power of two; a key of 0 marks an empty slot.
    slots: Zeroed<Slot>,
    /// `[n]` where in the input each name was seen first; ascending.
    firsts: Vec<u64>,
    /// `[n + 1]` into `bytes`.
    offsets: Vec<u64>,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Slot {
    key: u64,
    index: u32,
    unused: u32,
}

/// Set in the key of a name that is too long to be its own key.
const LONG: u64 = 0xff << 56;

impl Dictionary {
    pub(super) fn new() -> Result<Self> {
        Self::with_capacity(0)
    }

    fn with_capacity(names: usize) -> Result<Self> {
        let slots = Zeroed::new((2 * names).next_power_of_two().max(1 << 10))?;
        Ok(Dictionary { slots, firsts: Vec::new(), offsets: vec![0], bytes: Vec::new() })
    }

    fn len(&self) -> usize {
        self.firsts.len()
    }

    fn name(&self, index: usize) -> &[u8] {
        &self.bytes[self.offsets[index] as usize..self.offsets[index + 1] as usize]
    }

    /// The number of `name` (UTF-8), which stands at `position` of the input, or `None` if there are too many names;
    /// positions must not descend.
    #[inline]
    pub(super) fn number(&mut self, name: &[u8], position: u64) -> Option<u32> {
        let key = key(name);
        let slots = &self.slots[..];
        let mut at = home(key, slots.len());
        loop {
            let slot = slots[at];
            if slot.key == key && (key < LONG || self.name(slot.index as usize) == name) {
                return Some(slot.index);
            }
            if slot.key == 0 {
                return self.add(name, key, at, position);
            }
            at = (at + 1) & (slots.len() - 1);
        }
    }

    #[cold]
    fn add(&mut self, name: &[u8], key: u64, at: usize, position: u64) -> Option<u32> {
        // The last number is left out so that the count fits as well.
        let index = u32::try_from(self.len()).ok().filter(|&n| n < u32::MAX)?;
        self.slots[at] = Slot { key, index, unused: 0 };
        self.firsts.push(position);
        self.bytes.extend_from_slice(name);
        self.offsets.push(self.bytes.len() as u64);
        if 2 * self.len() > self.slots.len() {
            self.grow()?;
        }
        Some(index)
    }

    fn grow(&mut self) -> Option<()> {
        let mut grown = Zeroed::<Slot>::new(2 * self.slots.len()).ok()?;
        let slots = &mut grown[..];
        for slot in self.slots.iter().filter(|slot| slot.key != 0) {
            let mut at = home(slot.key, slots.len());
            while slots[at].key != 0 {
                at = (at + 1) & (slots.len() - 1);
            }
            slots[at] = *slot;
        }
        self.slots = grown;
        Some(())
    }

    fn into_ids(self) -> Ids<'static> {
        Ids::Text { offsets: Cow::Owned(self.offsets), bytes: Cow::Owned(self.bytes) }
    }
}

/// Where the search for a key begins among `slots` slots.
#[inline]
fn home(key: u64, slots: usize) -> usize {
    let product = u128::from(key) * 0x9e37_79b9_7f4a_7c15;
    ((product >> 64) as u64 ^ product as u64) as usize & (slots - 1)
}

/// A short name is its own key (never 0: its length is in the top byte), so that finding it touches one cache line;
/// a long one is hashed.
#[inline]
fn key(name: &[u8]) -> u64 {
    let word = |at: usize| {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&name[at..at + 4]);
        u64::from(u32::from_le_bytes(bytes))
    };
    let n = name.len();
    let packed = match n {
        8.. => return xxh3_64(name) | LONG,
        4..8 => word(0) | word(n - 4) << (8 * (n - 4)),
        _ => name.iter().rev().fold(0, |packed, &b| packed << 8 | u64::from(b)),
    };
    packed | (n as u64) << 56
}

/// Numbers the names of all dictionaries by first appearance. Returns the ids, and for each dictionary the final
/// number of each of its own.
pub(super) fn merge(mut dictionaries: Vec<Dictionary>, what: &str) -> Result<(Ids<'static>, Vec<Vec<u32>>)> {
    for dictionary in &mut dictionaries {
        dictionary.slots = Zeroed::new(0)?;
    }
    let mut translations: Vec<Vec<u32>> = dictionaries.iter().map(|d| vec![0; d.len()]).collect();
    let mut order: Vec<(u64, u32, u32)> = (0..)
        .zip(&dictionaries)
        .flat_map(|(d, dictionary)| dictionary.firsts.iter().zip(0..).map(move |(&first, k)| (first, d, k)))
        .collect();
    order.par_sort_unstable();
    let most = dictionaries.iter().map(Dictionary::len).max().unwrap_or(0);
    let mut merged = Dictionary::with_capacity(most)?;
    for (first, d, k) in order {
        let (d, k) = (d as usize, k as usize);
        translations[d][k] = merged.number(dictionaries[d].name(k), first).ok_or_else(|| too_many(what))?;
    }
    Ok((merged.into_ids(), translations))
}

/// The error for more names than 32-bit numbers, or than memory.
pub(super) fn too_many(what: &str) -> Error {
    Error::data(
        format!("there are too many distinct {what}s (more than {} or more than memory holds)", u32::MAX - 1),
        format!("check the {what} column, or import a part of the data"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_short_names_differ() {
        let names: Vec<Vec<u8>> = (1..8usize)
            .flat_map(|n| {
                (0..n).flat_map(move |at| {
                    [0u8, 1, 255].map(|b| {
                        let mut v = vec![7; n];
                        v[at] = b;
                        v
                    })
                })
            })
            .collect();
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        let keys: std::collections::BTreeSet<_> = names.iter().map(|name| key(name)).collect();
        assert_eq!(keys.len(), distinct.len());
        assert!(!keys.contains(&0) && keys.iter().all(|&key| key < LONG));
    }

    #[test]
    fn merging_numbers_by_first_appearance() -> Result<()> {
        let mut dictionaries = [Dictionary::new()?, Dictionary::new()?];
        for (d, name, position) in [
            (0, "b", 0),
            (1, "a-long-name", 5),
            (0, "a-long-name", 9),
            (1, "c", 12),
            (0, "d", 20),
            (1, "b", 30),
        ] {
            assert!(dictionaries[d].number(name.as_bytes(), position).is_some());
        }
        let (ids, translations) = merge(dictionaries.into(), "name")?;
        assert_eq!(ids, ["b", "a-long-name", "c", "d"].into_iter().collect());
        assert_eq!(translations, [vec![0, 1, 3], vec![1, 2, 0]]);
        Ok(())
    }

    #[test]
    fn dictionaries_grow() -> Result<()> {
        let mut dictionary = Dictionary::new()?;
        for round in 0..2 {
            for k in 0..50_000u32 {
                assert_eq!(dictionary.number(format!("name-{k}").as_bytes(), u64::from(round * k)), Some(k));
            }
        }
        Ok(())
    }
}
