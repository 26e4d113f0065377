//! Generated datasets with known truth, drawn from the paper's causal graph: matching, popularity, conformity.
//!
//! # The law
//!
//! - There are S communities, each with a centre drawn uniformly from the unit sphere in D dimensions. Every user and
//!   every item belongs to a uniformly drawn community and has the vector (centre + `spread` x random unit vector),
//!   scaled to length 1. **Matching** m_ui is the cosine of the two vectors.
//! - **Popularity** w_i is (rank_i + `popularity_offset`)^-`popularity_exponent`, scaled to mean 1, with the ranks
//!   1 to I in an order independent of everything else.
//! - **Conformity** k_u is v^((1 - c) / c) for v uniform in `[0, 1)`: between 0 and 1 with mean c = `conformity`.
//! - **Activity**, the number of a user's training interactions, is lognormal with deviation `activity_deviation`,
//!   scaled so that the numbers add up exactly, and kept between 1 and I / 2.
//! - **Train**: user u draws items one after the other without replacement from
//!   P(i | u) proportional to exp(m_ui / `temperature`) x ((1 - k_u) + k_u w_i):
//!   the popularity of an item counts as far as the user conforms.
//! - **Test and valid**: the effect of popularity is removed. Each item in turn draws its `test_per_item` +
//!   `valid_per_item` users without replacement from P(u | i) proportional to exp(m_ui / `temperature`), over the users
//!   that do not have it in train (fewer where there are fewer such users). Every item is held out equally often.
//!
//! Each user and each item draws from its own Philox stream: the bits depend on the specification alone, never on
//! threads or machine. Memory is proportional to users, items and interactions, never to users x items.

use std::{collections::HashMap, fs, io::Write, path::Path};

use rayon::prelude::*;
use safetensors::{
    SafeTensors,
    tensor::{Dtype, TensorView},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    builder::{Edges, InteractionsBuilder},
    interactions::{Interactions, Split},
    tilted::{Tilted, dot, row},
};
use crate::{
    atomic_file::write_atomic,
    error::{Error, Result},
    sampling::philox::Rng,
};

/// What to generate; the law is stated at the top of this module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// U.
    pub users: u32,
    /// I.
    pub items: u32,
    /// Interactions of all splits together.
    pub interactions: u64,
    /// Users held out for test by each item.
    pub test_per_item: u32,
    /// Users held out for validation by each item.
    pub valid_per_item: u32,
    /// D, dimensions of the true vectors.
    pub dim: usize,
    /// S, number of communities; 0 takes the square root of the number of items.
    pub communities: u32,
    /// Distance of a member from its community's centre.
    pub spread: f64,
    /// Temperature of the matching: the lower, the more personal the choice.
    pub temperature: f64,
    /// Mean conformity.
    pub conformity: f64,
    /// How fast popularity falls with rank.
    pub popularity_exponent: f64,
    /// Added to the rank; flattens the head.
    pub popularity_offset: f64,
    /// Standard deviation of the logarithm of the users' activity.
    pub activity_deviation: f64,
    /// Seed of everything.
    pub seed: u64,
}

impl Default for Spec {
    fn default() -> Self {
        Spec {
            users: 10_000,
            items: 2_000,
            interactions: 200_000,
            test_per_item: 5,
            valid_per_item: 0,
            dim: 8,
            communities: 0,
            spread: 0.2,
            temperature: 0.15,
            conformity: 0.8,
            popularity_exponent: 1.0,
            popularity_offset: 5.0,
            activity_deviation: 0.9,
            seed: 0,
        }
    }
}

/// A dataset of the paper whose sizes and skew are imitated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Preset {
    /// News reading: few items, very steep.
    AdressaLike,
    /// News reading at scale: steep.
    GloboLike,
    /// Film ratings: many interactions for each user.
    Ml10mLike,
    /// Business reviews: flat and sparse.
    YelpLike,
    /// Check-ins: flat and sparse.
    GowallaLike,
}

impl Preset {
    /// Sizes of the paper's Table 1 and a popularity curve like that of the data.
    pub fn spec(self) -> Spec {
        let (users, items, interactions, test_per_item) = match self {
            Preset::AdressaLike => (13_485, 744, 116_321, 4),
            Preset::GloboLike => (158_323, 12_005, 2_520_171, 10),
            Preset::Ml10mLike => (69_166, 8_790, 5_000_415, 10),
            Preset::YelpLike => (31_668, 38_048, 1_561_406, 5),
            Preset::GowallaLike => (29_858, 40_981, 1_027_370, 5),
        };
        // Larger catalogues ask for choices that are more personal, else matching drowns in their size.
        let (temperature, spread) = match self {
            Preset::AdressaLike => (0.25, 0.2),
            Preset::GloboLike | Preset::Ml10mLike => (0.15, 0.2),
            Preset::YelpLike | Preset::GowallaLike => (0.1, 0.15),
        };
        let (popularity_exponent, popularity_offset, conformity, activity_deviation) = match self {
            Preset::AdressaLike => (1.9, 3.0, 0.992, 0.6),
            Preset::GloboLike => (1.5, 10.0, 0.98, 0.7),
            Preset::Ml10mLike => (1.8, 200.0, 0.98, 1.0),
            Preset::YelpLike | Preset::GowallaLike => (0.8, 20.0, 0.8, 0.8),
        };
        Spec {
            users,
            items,
            interactions,
            test_per_item,
            temperature,
            spread,
            popularity_exponent,
            popularity_offset,
            conformity,
            activity_deviation,
            ..Spec::default()
        }
    }
}

/// What a generated dataset was drawn from.
#[derive(Debug, Clone, PartialEq)]
pub struct Truth {
    /// The specification, with the number of communities that was used.
    pub spec: Spec,
    /// `[U, D]`, unit vectors.
    pub user_vectors: Vec<f32>,
    /// `[I, D]`, unit vectors.
    pub item_vectors: Vec<f32>,
    /// `[I]`: w_i, mean 1.
    pub popularity: Vec<f32>,
    /// `[U]`: k_u, from 0 to 1.
    pub conformity: Vec<f32>,
}

impl Truth {
    /// m_ui, the true matching: what an ideal recommender ranks by.
    ///
    /// # Panics
    /// If the user or the item does not exist.
    pub fn matching(&self, user: u32, item: u32) -> f64 {
        let dim = self.spec.dim;
        dot(row(&self.user_vectors, dim, user as usize), row(&self.item_vectors, dim, item as usize))
    }

    /// Writes the truth as safetensors (`user_vectors`, `item_vectors`, `popularity`, `conformity`; the
    /// specification as JSON in the metadata), atomically.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let dim = self.spec.dim;
        let tensors = [
            ("user_vectors", vec![self.user_vectors.len() / dim, dim], &self.user_vectors),
            ("item_vectors", vec![self.item_vectors.len() / dim, dim], &self.item_vectors),
            ("popularity", vec![self.popularity.len()], &self.popularity),
            ("conformity", vec![self.conformity.len()], &self.conformity),
        ];
        let bytes = tensors
            .into_iter()
            .map(|(name, shape, data)| {
                Ok((name, TensorView::new(Dtype::F32, shape, bytemuck::cast_slice(data))?))
            })
            .collect::<Result<Vec<_>, _>>()
            .and_then(|tensors| {
                let metadata = HashMap::from([("synth".to_owned(), json!(self.spec).to_string())]);
                safetensors::serialize(tensors, Some(metadata))
            })
            .map_err(|error| Error::io("write", path)(std::io::Error::other(error)))?;
        write_atomic(path, |w| w.write_all(&bytes))
    }

    /// Reads what [`Truth::save`] wrote.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read; [`Error::File`] if it is damaged or no truth of this program.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let wrong = |problem: &str| Error::File {
            path: path.into(),
            problem: format!("this is no truth of generated data: {problem}"),
            remedy: "name the file that `macr synth --truth` wrote beside its data".into(),
        };
        let bytes = fs::read(path).map_err(Error::io("read", path))?;
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| wrong(&e.to_string()))?;
        let text =
            header.metadata().as_ref().and_then(|m| m.get("synth")).ok_or_else(|| wrong("no `synth`"))?;
        let spec: Spec = serde_json::from_str(text).map_err(|e| wrong(&e.to_string()))?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(|e| wrong(&e.to_string()))?;
        let (users, items) = (spec.users as usize, spec.items as usize);
        let values = |name: &str, length: usize| -> Result<Vec<f32>> {
            let tensor = tensors.tensor(name).map_err(|e| wrong(&e.to_string()))?;
            if tensor.dtype() != Dtype::F32 || tensor.data().len() != 4 * length {
                return Err(wrong(&format!("`{name}` does not have {length} numbers")));
            }
            Ok(tensor.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
        };
        Ok(Truth {
            user_vectors: values("user_vectors", users.saturating_mul(spec.dim))?,
            item_vectors: values("item_vectors", items.saturating_mul(spec.dim))?,
            popularity: values("popularity", items)?,
            conformity: values("conformity", users)?,
            spec,
        })
    }
}

/// Purpose of a random stream; two purposes never share one.
#[derive(Clone, Copy)]
#[repr(u64)]
enum Purpose {
    Center = 16,
    User = 17,
    Item = 18,
    Ranks = 19,
    Traits = 20,
    Train = 21,
    HeldOut = 22,
}

fn stream(seed: u64, purpose: Purpose, index: usize) -> Rng {
    Rng::new(seed, (purpose as u64) << 56 | index as u64)
}

/// Generates a dataset and the truth behind it.
///
/// # Errors
/// [`Error::Config`] for a specification that cannot be met.
pub fn generate(spec: &Spec) -> Result<(Interactions, Truth)> {
    let train_interactions = check(spec)?;
    let mut spec = spec.clone();
    if spec.communities == 0 {
        spec.communities = f64::from(spec.items).sqrt().round() as u32;
    }
    let (users, items, dim) = (spec.users as usize, spec.items as usize, spec.dim);
    let mut centers = vec![0f32; spec.communities as usize * dim];
    centers.par_chunks_mut(dim).enumerate().for_each(|(s, center)| {
        let direction = direction(dim, &mut stream(spec.seed, Purpose::Center, s));
        center.iter_mut().zip(&direction).for_each(|(c, x)| *c = *x as f32);
    });
    let (user_of, user_vectors) = members(&spec, &centers, users, Purpose::User);
    let (item_of, item_vectors) = members(&spec, &centers, items, Purpose::Item);
    let popularity = popularity(&spec);
    let (conformity, activity) = conformity_and_activity(&spec);
    let offsets = offsets(&activity, train_interactions, items / 2);

    let by_item = Tilted::new(dim, spec.temperature, &centers, &item_vectors, &item_of, Some(&popularity));
    let train = draw_train(&spec, &by_item, &user_vectors, &conformity, &offsets);
    let by_user = Tilted::new(dim, spec.temperature, &centers, &user_vectors, &user_of, None);
    let [test, valid] = draw_held_out(&spec, &by_user, &item_vectors, &offsets, &train);

    let owner = |user: usize| std::iter::repeat_n(user as u32, offsets[user + 1] - offsets[user]);
    let train = Edges { users: (0..users).flat_map(owner).collect(), items: train, ..Edges::default() };
    let mut builder = InteractionsBuilder::new(spec.users, spec.items)
        .provenance(json!({ "synth": &spec }).to_string())
        .split(Split::Train, train);
    for (split, edges) in [(Split::Valid, valid), (Split::Test, test)] {
        if !edges.is_empty() {
            builder = builder.split(split, edges);
        }
    }
    Ok((builder.build()?, Truth { spec, user_vectors, item_vectors, popularity, conformity }))
}

/// Checks the specification; returns the number of training interactions.
fn check(spec: &Spec) -> Result<u64> {
    let positive = [
        ("temperature", spec.temperature, spec.temperature > 0.0),
        ("spread", spec.spread, spec.spread >= 0.0),
        ("conformity", spec.conformity, spec.conformity > 0.0 && spec.conformity <= 1.0),
        ("popularity-exponent", spec.popularity_exponent, spec.popularity_exponent >= 0.0),
        ("popularity-offset", spec.popularity_offset, spec.popularity_offset >= 0.0),
        ("activity-deviation", spec.activity_deviation, spec.activity_deviation >= 0.0),
    ];
    for (key, value, good) in positive {
        if !good || !value.is_finite() {
            let remedy = "conformity lies above 0 and up to 1, temperature above 0, the others from 0 up";
            return Err(Error::config(key, value, "out of range", remedy));
        }
    }
    if !(1..=4096).contains(&spec.dim) {
        return Err(Error::config(
            "dim",
            spec.dim,
            "vectors of so many dimensions are not drawn",
            "give 1 to 4096",
        ));
    }
    if spec.users == 0 || spec.items < 2 {
        let sizes = format!("{} users, {} items", spec.users, spec.items);
        return Err(Error::config("users", sizes, "too few", "give at least one user and two items"));
    }
    let per_item = u64::from(spec.test_per_item) + u64::from(spec.valid_per_item);
    if per_item > u64::from(spec.users) {
        let problem = format!("an item cannot give {per_item} interactions of {} users", spec.users);
        return Err(Error::config("test-per-item", spec.test_per_item, problem, "hold out fewer"));
    }
    let held_out = u64::from(spec.items) * per_item;
    let train = spec.interactions.saturating_sub(held_out);
    let (least, most) = (u64::from(spec.users), u64::from(spec.users) * u64::from(spec.items / 2));
    if train < least || train > most {
        return Err(Error::config(
            "interactions",
            spec.interactions,
            format!("{held_out} are held out, and train must have from {least} to {most}"),
            "every user has at least one training interaction and at most half of the items",
        ));
    }
    Ok(train)
}

/// A random unit vector.
fn direction(dim: usize, rng: &mut Rng) -> Vec<f64> {
    unit((0..dim).map(|_| rng.normal()).collect())
}

fn unit(mut vector: Vec<f64>) -> Vec<f64> {
    let norm = vector.iter().map(|x| x * x).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    vector.iter_mut().for_each(|x| *x /= norm);
    vector
}

/// `[n]` communities and `[n, D]` vectors.
fn members(spec: &Spec, centers: &[f32], n: usize, purpose: Purpose) -> (Vec<u32>, Vec<f32>) {
    let (mut of, mut vectors) = (vec![0; n], vec![0f32; n * spec.dim]);
    let rows = of.par_iter_mut().zip(vectors.par_chunks_mut(spec.dim));
    rows.enumerate().for_each(|(k, (of, vector))| {
        let mut rng = stream(spec.seed, purpose, k);
        *of = rng.below(u64::from(spec.communities)) as u32;
        let center = row(centers, spec.dim, *of as usize);
        let away = direction(spec.dim, &mut rng);
        let place = center.iter().zip(&away).map(|(&c, a)| f64::from(c) + spec.spread * a).collect();
        vector.iter_mut().zip(unit(place)).for_each(|(v, x)| *v = x as f32);
    });
    (of, vectors)
}

/// `[I]`, mean 1.
fn popularity(spec: &Spec) -> Vec<f32> {
    let mut ranks: Vec<u32> = (1..=spec.items).collect();
    stream(spec.seed, Purpose::Ranks, 0).shuffle(&mut ranks);
    let weigh = |&rank: &u32| libm::pow(f64::from(rank) + spec.popularity_offset, -spec.popularity_exponent);
    let weights: Vec<f64> = ranks.iter().map(weigh).collect();
    let scale = weights.len() as f64 / weights.iter().sum::<f64>();
    weights.iter().map(|w| (w * scale) as f32).collect()
}

/// `[U]` each; the activity is not yet scaled.
fn conformity_and_activity(spec: &Spec) -> (Vec<f32>, Vec<f64>) {
    let power = (1.0 - spec.conformity) / spec.conformity;
    (0..spec.users as usize)
        .into_par_iter()
        .map(|user| {
            let mut rng = stream(spec.seed, Purpose::Traits, user);
            let conformity = libm::pow(rng.unit_f64(), power) as f32;
            (conformity, libm::exp(spec.activity_deviation * rng.normal()))
        })
        .unzip()
}

/// `[U + 1]`: where each user's training interactions begin, when `total` are shared out in proportion to `activity`
/// with at least 1 and at most `most` for each.
fn offsets(activity: &[f64], total: u64, most: usize) -> Vec<usize> {
    let share = |activity: f64, scale: f64| (activity * scale).clamp(1.0, most as f64);
    let (mut low, mut high) = (0.0, most as f64 / activity.iter().copied().fold(f64::INFINITY, f64::min));
    // As many halvings as a mantissa has bits, with some to spare.
    for _ in 0..64 {
        let middle = 0.5 * (low + high);
        let sum: f64 = activity.iter().map(|&a| share(a, middle)).sum();
        if sum < total as f64 { low = middle } else { high = middle }
    }
    let mut sum = 0.0;
    let mut offsets: Vec<usize> = std::iter::once(0)
        .chain(activity.iter().map(|&a| {
            sum += share(a, high);
            // Rounding the running sum shares the remainders out; no row falls below 1 or above `most`.
            (sum + 0.5) as usize
        }))
        .collect();
    if let Some(last) = offsets.last_mut() {
        *last = total as usize;
    }
    offsets
}

/// `[nnz]`: items by user, ascending within a row.
fn draw_train(
    spec: &Spec,
    items: &Tilted,
    user_vectors: &[f32],
    conformity: &[f32],
    offsets: &[usize],
) -> Vec<u32> {
    let mut drawn = vec![0; offsets[offsets.len() - 1]];
    let mut rows = Vec::with_capacity(conformity.len());
    let mut rest = drawn.as_mut_slice();
    for (user, bounds) in offsets.windows(2).enumerate() {
        let (row, tail) = rest.split_at_mut(bounds[1] - bounds[0]);
        rows.push((user, row));
        rest = tail;
    }
    // Marks of the user that took an item last: nothing is cleared from user to user.
    let marks = || vec![u32::MAX; spec.items as usize];
    rows.into_par_iter().for_each_init(marks, |marks, (user, out)| {
        let mut rng = stream(spec.seed, Purpose::Train, user);
        let aim = items.aim(row(user_vectors, spec.dim, user), f64::from(conformity[user]));
        let claim = |item: u32| std::mem::replace(&mut marks[item as usize], user as u32) != user as u32;
        items.draw_distinct(&aim, &mut rng, claim, out);
        out.sort_unstable();
    });
    drawn
}

/// Test and validation edges.
fn draw_held_out(
    spec: &Spec,
    users: &Tilted,
    item_vectors: &[f32],
    offsets: &[usize],
    train: &[u32],
) -> [Edges; 2] {
    let wanted = (spec.test_per_item + spec.valid_per_item) as usize;
    let drawn: Vec<Vec<u32>> = (0..spec.items as usize)
        .into_par_iter()
        .map(|item| {
            let mut out = vec![0; wanted];
            if wanted > 0 {
                let mut taken = Vec::with_capacity(wanted);
                let claim = |user: u32| {
                    let row = &train[offsets[user as usize]..offsets[user as usize + 1]];
                    let free = row.binary_search(&(item as u32)).is_err() && !taken.contains(&user);
                    if free {
                        taken.push(user);
                    }
                    free
                };
                let mut rng = stream(spec.seed, Purpose::HeldOut, item);
                let aim = users.aim(row(item_vectors, spec.dim, item), 0.0);
                let found = users.draw_distinct(&aim, &mut rng, claim, &mut out);
                out.truncate(found);
            }
            out
        })
        .collect();
    let test = spec.test_per_item as usize;
    let edges = |part: fn(&[u32], usize) -> &[u32]| {
        let pairs = (0u32..).zip(&drawn);
        Edges::from_pairs(pairs.flat_map(|(item, users)| part(users, test).iter().map(move |&u| (u, item))))
    };
    [
        edges(|users, test| &users[..test.min(users.len())]),
        edges(|users, test| &users[test.min(users.len())..]),
    ]
}
