//! Safetensors files whose bytes follow from their content alone.

use std::{borrow::Cow, io::Write, path::Path};

use half::{bf16, f16};
use safetensors::{SafeTensors, tensor::TensorView};
use serde_json::{Map, Value, json};
use xxhash_rust::xxh3::Xxh3Default;

use crate::{
    atomic_file::write_atomic,
    error::Result,
    storage::{Element, Storage},
};

/// A tensor to be written.
pub(crate) struct Entry<'a> {
    pub name: String,
    /// As in the file's header: `F32`, `U64`, ...
    pub dtype: &'static str,
    pub shape: Vec<usize>,
    /// Little-endian.
    pub bytes: Cow<'a, [u8]>,
}

impl<'a> Entry<'a> {
    pub fn f32(name: impl Into<String>, shape: impl Into<Vec<usize>>, values: &'a [f32]) -> Self {
        let bytes = Cow::Borrowed(bytemuck::cast_slice(values));
        Entry { name: name.into(), dtype: "F32", shape: shape.into(), bytes }
    }

    /// A table in the form of `storage`.
    pub fn table(name: &str, shape: [usize; 2], values: &'a [f32], storage: Storage) -> Self {
        fn halves<T: Element>(values: &[f32]) -> Cow<'static, [u8]> {
            let halves: Vec<T> = values.iter().map(|&x| T::nearest(x)).collect();
            Cow::Owned(bytemuck::cast_slice(&halves).to_vec())
        }
        let (dtype, bytes) = match storage {
            Storage::F32 => return Entry::f32(name, shape, values),
            Storage::F16 => ("F16", halves::<f16>(values)),
            Storage::Bf16 => ("BF16", halves::<bf16>(values)),
        };
        Entry { name: name.into(), dtype, shape: shape.into(), bytes }
    }
}

/// A whole file before it is written.
pub(crate) struct Contents<'a> {
    header: Vec<u8>,
    entries: Vec<Entry<'a>>,
}

impl<'a> Contents<'a> {
    pub fn new(metadata: Map<String, Value>, entries: Vec<Entry<'a>>) -> Self {
        Contents { header: header(metadata, &entries), entries }
    }

    pub fn header_mut(&mut self) -> &mut [u8] {
        &mut self.header
    }

    fn parts(&self) -> impl Iterator<Item = &[u8]> {
        [self.header.as_slice()].into_iter().chain(self.entries.iter().map(|entry| &*entry.bytes))
    }

    pub fn bytes(&self) -> u64 {
        self.parts().map(|part| part.len() as u64).sum()
    }

    /// XXH3-128 of all bytes.
    pub fn checksum(&self) -> u128 {
        let mut hash = Xxh3Default::new();
        self.parts().for_each(|part| hash.update(part));
        hash.digest128()
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        write_atomic(path, |file| self.parts().try_for_each(|part| file.write_all(part)))
    }
}

/// What stands before the tensors' bytes: the header's length, and the header with `metadata`. It is composed here,
/// because the crate would write the metadata in the order of a hash map, which differs from process to process.
fn header(metadata: Map<String, Value>, entries: &[Entry<'_>]) -> Vec<u8> {
    let mut header = Map::new();
    header.insert("__metadata__".into(), Value::Object(metadata));
    let mut offset = 0;
    for Entry { name, dtype, shape, bytes } in entries {
        let end = offset + bytes.len();
        header.insert(name.clone(), json!({ "dtype": dtype, "shape": shape, "data_offsets": [offset, end] }));
        offset = end;
    }
    let text = Value::Object(header).to_string();
    // Tensors begin at a multiple of 8, as the format asks for.
    let length = text.len().next_multiple_of(8);
    let mut bytes = (length as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes.resize(8 + length, b' ');
    bytes
}

/// The tensors of a file in the order in which they stand there.
pub(crate) fn in_order(bytes: &[u8]) -> Result<Vec<(String, TensorView<'_>)>, String> {
    let foreign = |e: safetensors::SafeTensorError| format!("this is not a whole safetensors file ({e})");
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(foreign)?;
    let tensors = SafeTensors::deserialize(bytes).map_err(foreign)?;
    let names = header.offset_keys().into_iter();
    names.map(|name| tensors.tensor(&name).map(|view| (name, view)).map_err(foreign)).collect()
}

/// Tensors need not be aligned in the file.
pub(crate) fn words<T, const N: usize>(bytes: &[u8], from: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|&word| from(word)).collect()
}
