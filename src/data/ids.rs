//! External ids: the names that users and items have outside the engine.

use std::borrow::Cow;

use rustc_hash::FxHashMap;

/// External ids of one side (users or items) in the order of the internal ids, borrowed from the file or owned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ids<'a> {
    /// Internal id `k` is called `k`: nothing is stored.
    Dense(u32),
    /// Internal id `k` is called `bytes[offsets[k]..offsets[k + 1]]` (UTF-8).
    Text {
        /// `[n + 1]`, ascending, from 0.
        offsets: Cow<'a, [u64]>,
        /// All ids, one after the other.
        bytes: Cow<'a, [u8]>,
    },
}

impl Ids<'_> {
    /// Number of ids.
    pub fn len(&self) -> u32 {
        match self {
            Ids::Dense(n) => *n,
            Ids::Text { offsets, .. } => (offsets.len() - 1) as u32,
        }
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The external id of `internal`.
    ///
    /// # Panics
    /// If `internal` is not below [`Ids::len`].
    pub fn get(&self, internal: u32) -> Cow<'_, str> {
        match self {
            Ids::Dense(n) => {
                assert!(internal < *n, "id {internal} of {n}");
                Cow::Owned(internal.to_string())
            }
            Ids::Text { offsets, bytes } => {
                let k = internal as usize;
                String::from_utf8_lossy(&bytes[offsets[k] as usize..offsets[k + 1] as usize])
            }
        }
    }

    /// A table for looking up many external ids.
    pub fn index(&self) -> IdIndex<'_> {
        let map = match self {
            Ids::Dense(_) => FxHashMap::default(),
            Ids::Text { .. } => (0..self.len()).map(|k| (self.get(k), k)).collect(),
        };
        IdIndex { ids: self, map }
    }

    /// The same ids, independent of what they were borrowed from.
    pub fn into_owned(self) -> Ids<'static> {
        match self {
            Ids::Dense(n) => Ids::Dense(n),
            Ids::Text { offsets, bytes } => {
                Ids::Text { offsets: Cow::Owned(offsets.into_owned()), bytes: Cow::Owned(bytes.into_owned()) }
            }
        }
    }
}

impl<S: AsRef<str>> FromIterator<S> for Ids<'static> {
    fn from_iter<T: IntoIterator<Item = S>>(names: T) -> Self {
        let (mut offsets, mut bytes) = (vec![0u64], Vec::new());
        for name in names {
            bytes.extend_from_slice(name.as_ref().as_bytes());
            offsets.push(bytes.len() as u64);
        }
        Ids::Text { offsets: Cow::Owned(offsets), bytes: Cow::Owned(bytes) }
    }
}

/// External to internal ids; see [`Ids::index`].
#[derive(Debug)]
pub struct IdIndex<'a> {
    ids: &'a Ids<'a>,
    map: FxHashMap<Cow<'a, str>, u32>,
}

impl IdIndex<'_> {
    /// The internal id of `external`, if there is one.
    pub fn get(&self, external: &str) -> Option<u32> {
        match self.ids {
            Ids::Dense(n) => external.parse().ok().filter(|k: &u32| k < n && k.to_string() == external),
            Ids::Text { .. } => self.map.get(external).copied(),
        }
    }
}
