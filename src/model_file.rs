//! `model.safetensors`: what stands in it, how it is written and checked; see `docs/formats.md`.

use std::{
    borrow::Cow,
    collections::HashMap,
    fs::{self, File},
    io::Read,
    path::Path,
};

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Map, Value};
use xxhash_rust::xxh3::Xxh3Default;

use crate::{
    data::layout::MAGIC,
    error::{Error, Result},
    model::{Branch, Carved, Kept, Metadata, Model, Ranking},
    objective::BranchInput,
    storage::{Element, Storage},
    tensor_file::{Contents, Entry, words},
};

/// How every file begins after its first eight bytes, and how many digits of checksum follow.
const BEFORE_CHECKSUM: &[u8] = br#"{"__metadata__":{"checksum":""#;
const CHECKSUM_AT: usize = 8 + BEFORE_CHECKSUM.len();
const NO_CHECKSUM: &str = "00000000000000000000000000000000";

/// The file of `model`.
pub(crate) fn contents(model: &Model) -> Result<Contents<'_>> {
    model.tables()?;
    let mut contents = Contents::new(metadata_to_map(&model.metadata), entries(model));
    let checksum = format!("{:032x}", contents.checksum());
    contents.header_mut()[CHECKSUM_AT..][..NO_CHECKSUM.len()].copy_from_slice(checksum.as_bytes());
    Ok(contents)
}

fn entries(model: &Model) -> Vec<Entry<'_>> {
    let (users, items) = (model.users() as usize, model.items() as usize);
    let table = |name, rows, values| Entry::table(name, [rows, model.dim], values, model.metadata.storage);
    let mut entries = vec![
        table("user_embedding", users, &model.user_embedding),
        table("item_embedding", items, &model.item_embedding),
    ];
    for (name, branch) in [("user_branch", &model.user_branch), ("item_branch", &model.item_branch)] {
        match branch {
            None => {}
            Some(Branch::Linear { weight }) => entries.push(Entry::f32(name, [model.dim], weight)),
            Some(Branch::Mlp { w1, b1, w2, b2 }) => entries.extend([
                Entry::f32(format!("{name}.w1"), [b1.len(), model.dim], w1),
                Entry::f32(format!("{name}.b1"), [b1.len()], b1),
                Entry::f32(format!("{name}.w2"), [b1.len()], w2),
                Entry::f32(format!("{name}.b2"), [1], std::slice::from_ref(b2)),
            ]),
        }
    }
    if let Some([ego_users, ego_items]) = &model.ego {
        entries.push(table("user_ego", users, ego_users));
        entries.push(table("item_ego", items, ego_items));
    }
    let Kept { item_bias, second_user_embedding, second_item_embedding } = &model.kept;
    if let Some(bias) = item_bias {
        entries.push(Entry::f32("item_bias", [items], bias));
    }
    if let Some(embedding) = second_user_embedding {
        entries.push(table("second_user_embedding", users, embedding));
    }
    if let Some(embedding) = second_item_embedding {
        entries.push(table("second_item_embedding", items, embedding));
    }
    entries.push(Entry {
        name: "item_popularity".into(),
        dtype: "U32",
        shape: vec![items],
        bytes: Cow::Borrowed(bytemuck::cast_slice(&model.item_popularity)),
    });
    // Wide numbers first, so that all are aligned in the file.
    entries.sort_by_key(|entry| matches!(entry.dtype, "F16" | "BF16"));
    entries
}

/// Strings in a fixed order; numbers as the shortest decimals that read back as the same number.
fn metadata_to_map(metadata: &Metadata) -> Map<String, Value> {
    let mut map = Map::new();
    let mut put = |key: &str, value: String| map.insert(key.into(), Value::String(value));
    // First, so that its place is known; zeros while the checksum is formed.
    put("checksum", NO_CHECKSUM.into());
    put("backbone", metadata.backbone.clone());
    put("objective", metadata.objective.clone());
    if let Some(pairing) = &metadata.pairing {
        put("pairing", pairing.clone());
    }
    if metadata.branch_input != BranchInput::default() {
        put("branch_input", metadata.branch_input.to_string());
    }
    put("c", metadata.ranking.c.to_string());
    put("tau", metadata.ranking.tau.to_string());
    put("data", metadata.data.clone());
    if let Some(carved) = &metadata.carved {
        put("carved_from", carved.from.clone());
        put("carved_interactions", carved.interactions.to_string());
        put("carved_seed", carved.seed.to_string());
    }
    put("seed", metadata.seed.to_string());
    put("version", metadata.version.clone());
    map
}

/// Reads and checks a model.
pub(crate) fn load(path: &Path) -> Result<Model> {
    let bytes = fs::read(path).map_err(Error::io("open", path))?;
    if bytes.starts_with(&MAGIC) {
        return Err(Error::File {
            path: path.into(),
            problem: "this is interaction data, not a model".into(),
            remedy: "name a run folder, or the model.safetensors in one".into(),
        });
    }
    let damaged = |problem: String| Error::File {
        path: path.into(),
        problem,
        remedy: "train the model again, or copy the file again from where it is whole".into(),
    };
    let (_, header) = SafeTensors::read_metadata(&bytes)
        .map_err(|e| damaged(format!("this is not a whole safetensors file ({e})")))?;
    let tensors = SafeTensors::deserialize(&bytes)
        .map_err(|e| damaged(format!("this is not a whole safetensors file ({e})")))?;
    check(&bytes).map_err(|problem| damaged(problem.into()))?;
    let reader = Reader { tensors };
    let strings = header.metadata().as_ref();
    reader.model(strings.unwrap_or(&HashMap::new())).map_err(damaged)
}

/// True for a file that begins as a model does.
pub(crate) fn is_model(path: &Path) -> bool {
    // Reading from a pipe would take the bytes away.
    if !path.is_file() {
        return false;
    }
    let mut start = [0; CHECKSUM_AT];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && start[8..] == *BEFORE_CHECKSUM
}

/// The format itself has no checksum: a changed number would go unnoticed.
fn check(bytes: &[u8]) -> Result<(), &'static str> {
    let end = CHECKSUM_AT + NO_CHECKSUM.len();
    if bytes.get(8..CHECKSUM_AT) != Some(BEFORE_CHECKSUM) || bytes.len() < end {
        return Err("the file does not begin as a model of this program does");
    }
    let mut hash = Xxh3Default::new();
    hash.update(&bytes[..CHECKSUM_AT]);
    hash.update(NO_CHECKSUM.as_bytes());
    hash.update(&bytes[end..]);
    if bytes[CHECKSUM_AT..end] == *format!("{:032x}", hash.digest128()).as_bytes() {
        Ok(())
    } else {
        Err("damaged: the file does not match its checksum")
    }
}

/// Takes tensors out of a file; problems are told in words, without the path.
struct Reader<'a> {
    tensors: SafeTensors<'a>,
}

impl Reader<'_> {
    fn model(&self, strings: &HashMap<String, String>) -> Result<Model, String> {
        let (storage, shape, user_embedding) = self.table("user_embedding", &[None, None])?;
        let dim = shape[1];
        if dim == 0 {
            return Err("tensor `user_embedding` has no columns".into());
        }
        let (_, shape, item_embedding) = self.table("item_embedding", &[None, Some(dim)])?;
        let items = shape[0];
        let view = self.view("item_popularity", Dtype::U32, &[Some(items)])?;
        let item_popularity = words(view.data(), u32::from_le_bytes);
        if [shape[0], user_embedding.len() / dim].iter().any(|&rows| u32::try_from(rows).is_err()) {
            return Err("an embedding table has more rows than ids can count".into());
        }
        let users = user_embedding.len() / dim;
        let has = |name: &str| self.tensors.names().contains(&name);
        let optional = |name: &str, shape: &[Option<usize>]| {
            if has(name) { self.table(name, shape).map(|(.., values)| Some(values)) } else { Ok(None) }
        };
        let kept = Kept {
            item_bias: optional("item_bias", &[Some(items)])?,
            second_user_embedding: optional("second_user_embedding", &[Some(users), Some(dim)])?,
            second_item_embedding: optional("second_item_embedding", &[Some(items), Some(dim)])?,
        };
        let ego = match has("user_ego") {
            true => Some([
                self.table("user_ego", &[Some(users), Some(dim)])?.2,
                self.table("item_ego", &[Some(items), Some(dim)])?.2,
            ]),
            false => None,
        };
        let metadata = metadata_from_strings(strings, storage)?;
        if metadata.branch_input == BranchInput::Ego && ego.is_none() {
            return Err("its branches score the tensors `user_ego` and `item_ego`, which are missing".into());
        }
        Ok(Model {
            dim,
            ego,
            kept,
            user_embedding,
            item_embedding,
            user_branch: self.branch("user_branch", dim)?,
            item_branch: self.branch("item_branch", dim)?,
            item_popularity,
            metadata,
        })
    }

    fn branch(&self, name: &str, dim: usize) -> Result<Option<Branch>, String> {
        let has = |name: &str| self.tensors.names().contains(&name);
        if has(name) {
            let (_, weight) = self.f32(name, &[Some(dim)])?;
            return Ok(Some(Branch::Linear { weight }));
        }
        let part = |part: &str| format!("{name}.{part}");
        if !has(&part("w1")) {
            return Ok(None);
        }
        let (shape, w1) = self.f32(&part("w1"), &[None, Some(dim)])?;
        let hidden = Some(shape[0]);
        let (_, b1) = self.f32(&part("b1"), &[hidden])?;
        let (_, w2) = self.f32(&part("w2"), &[hidden])?;
        let (_, b2) = self.f32(&part("b2"), &[Some(1)])?;
        Ok(Some(Branch::Mlp { w1, b1, w2, b2: b2[0] }))
    }

    /// An embedding table of finite numbers, in any form.
    fn table(&self, name: &str, shape: &[Option<usize>]) -> Result<(Storage, Vec<usize>, Vec<f32>), String> {
        let dtype = self.tensors.tensor(name).map_or(Dtype::F32, |view| view.dtype());
        let view = self.view(name, dtype, shape)?;
        let (storage, values) = match dtype {
            Dtype::F16 => {
                (Storage::F16, words(view.data(), |b| f16::from_bits(u16::from_le_bytes(b)).widen()))
            }
            Dtype::BF16 => {
                (Storage::Bf16, words(view.data(), |b| bf16::from_bits(u16::from_le_bytes(b)).widen()))
            }
            _ => (Storage::F32, self.f32(name, shape)?.1),
        };
        finite(name, &values)?;
        Ok((storage, view.shape().to_vec(), values))
    }

    /// A tensor of finite numbers; `None` in `shape` is any length.
    fn f32(&self, name: &str, shape: &[Option<usize>]) -> Result<(Vec<usize>, Vec<f32>), String> {
        let view = self.view(name, Dtype::F32, shape)?;
        let values = words(view.data(), f32::from_le_bytes);
        finite(name, &values)?;
        Ok((view.shape().to_vec(), values))
    }

    fn view(&self, name: &str, dtype: Dtype, shape: &[Option<usize>]) -> Result<TensorView<'_>, String> {
        let view = self
            .tensors
            .tensor(name)
            .map_err(|_| format!("tensor `{name}` is missing; this is no model of this program"))?;
        let fits = view.shape().len() == shape.len()
            && view.shape().iter().zip(shape).all(|(have, want)| want.is_none_or(|want| *have == want));
        if view.dtype() != dtype || !fits {
            let want: Vec<String> =
                shape.iter().map(|n| n.map_or("any".into(), |n: usize| n.to_string())).collect();
            return Err(format!(
                "tensor `{name}` is {:?} {:?}, expected {dtype:?} [{}]",
                view.dtype(),
                view.shape(),
                want.join(", ")
            ));
        }
        Ok(view)
    }
}

fn finite(name: &str, values: &[f32]) -> Result<(), String> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(place) => Err(format!("tensor `{name}` has the value {} at place {place}", values[place])),
        None => Ok(()),
    }
}

fn metadata_from_strings(strings: &HashMap<String, String>, storage: Storage) -> Result<Metadata, String> {
    let text = |key: &str| {
        strings.get(key).cloned().ok_or_else(|| format!("entry `{key}` is missing in the file's metadata"))
    };
    fn number<T: std::str::FromStr>(key: &str, text: String) -> Result<T, String> {
        text.parse().map_err(|_| format!("entry `{key}` of the file's metadata is `{text}`, not a number"))
    }
    let finite = |key: &str| {
        let value: f32 = number(key, text(key)?)?;
        if value.is_finite() {
            Ok(value)
        } else {
            Err(format!("entry `{key}` of the file's metadata is {value}"))
        }
    };
    Ok(Metadata {
        backbone: text("backbone")?,
        objective: text("objective")?,
        pairing: strings.get("pairing").cloned(),
        branch_input: match strings.get("branch_input") {
            None => BranchInput::default(),
            Some(text) => text.parse().map_err(|_| {
                format!("entry `branch_input` of the file's metadata is `{text}`, which nothing is called")
            })?,
        },
        ranking: Ranking { c: finite("c")?, tau: finite("tau")? },
        data: text("data")?,
        carved: match strings.get("carved_from") {
            None => None,
            Some(from) => Some(Carved {
                from: from.clone(),
                interactions: number("carved_interactions", text("carved_interactions")?)?,
                seed: number("carved_seed", text("carved_seed")?)?,
            }),
        },
        storage,
        seed: number("seed", text("seed")?)?,
        version: text("version")?,
    })
}
