//! The state of a training in one form for every device and for files: named tensors without padding.
//!
//! A backend names each of its tensors once, in [`Backend::exchange`](super::Backend::exchange), and the same lines
//! read it and replace it.

use rayon::prelude::*;

use crate::error::{Error, Result};

/// Everything that the steps to come depend on. Samples are not part of it: they follow from the seed and the step.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct State {
    /// Steps done.
    pub step: u64,
    /// In the order in which the backend names them.
    pub tensors: Vec<Tensor>,
}

impl State {
    /// The first tensor of parameters with a number that is not finite, and its row.
    pub fn not_finite(&self) -> Option<(&str, usize)> {
        self.tensors.iter().filter(|tensor| tensor.name.ends_with(".p")).find_map(|tensor| {
            let Values::F32(values) = &tensor.values else { return None };
            let columns = tensor.shape.iter().skip(1).product::<usize>().max(1);
            let bad = |row: &[f32]| row.iter().any(|x| !x.is_finite());
            let row = values.par_chunks(columns).with_min_len(1024).position_first(bad)?;
            Some((tensor.name.trim_end_matches(".p"), row))
        })
    }
}

/// A named array.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Such as `users.p`; equal on every backend.
    pub name: String,
    /// Lengths of the axes, the slowest first.
    pub shape: Vec<usize>,
    /// Row-major.
    pub values: Values,
}

/// Elements of a [`Tensor`].
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Single precision.
    F32(Vec<f32>),
    /// Step numbers.
    U64(Vec<u64>),
}

impl Values {
    /// The type's name in safetensors files, and the values' bytes.
    pub fn raw(&self) -> (&'static str, &[u8]) {
        match self {
            Values::F32(values) => ("F32", bytemuck::cast_slice(values)),
            Values::U64(values) => ("U64", bytemuck::cast_slice(values)),
        }
    }
}

/// A type that tensors hold.
pub trait Element: Copy + Default + Send + Sync {
    /// As a tensor's values.
    fn wrap(values: Vec<Self>) -> Values;
    /// A tensor's values, if they are of this type.
    fn of(values: &Values) -> Option<&[Self]>;
}

macro_rules! element {
    ($type:ty, $variant:ident) => {
        impl Element for $type {
            fn wrap(values: Vec<Self>) -> Values {
                Values::$variant(values)
            }

            fn of(values: &Values) -> Option<&[Self]> {
                match values {
                    Values::$variant(values) => Some(values),
                    #[allow(unreachable_patterns)]
                    _ => None,
                }
            }
        }
    };
}

element!(f32, F32);
element!(u64, U64);

/// Where a tensor lives in a backend. Values are without padding.
pub trait Place<T> {
    /// The values.
    ///
    /// # Errors
    /// If the device fails.
    fn get(&self) -> Result<Vec<T>>;

    /// Replaces the values; there are as many as [`Place::get`] returns.
    ///
    /// # Errors
    /// If the device fails.
    fn set(&mut self, values: &[T]) -> Result<()>;
}

impl<T: Copy> Place<T> for [T] {
    fn get(&self) -> Result<Vec<T>> {
        Ok(self.to_vec())
    }

    fn set(&mut self, values: &[T]) -> Result<()> {
        self.copy_from_slice(values);
        Ok(())
    }
}

/// Takes the state out of a backend, or puts one in.
#[derive(Debug)]
pub enum Exchange<'s> {
    /// Out.
    Save(&'s mut State),
    /// In.
    Load {
        /// What is put in.
        state: &'s State,
        /// Tensors that the backend has asked for.
        taken: usize,
    },
}

impl Exchange<'_> {
    /// True if a state is put in: what the backend derives from it must then be derived again.
    pub fn loads(&self) -> bool {
        matches!(self, Exchange::Load { .. })
    }

    /// The number of steps done.
    pub fn step(&mut self, step: &mut u64) {
        match self {
            Exchange::Save(state) => state.step = *step,
            Exchange::Load { state, .. } => *step = state.step,
        }
    }

    /// The tensor `name` of this shape.
    ///
    /// # Errors
    /// [`Error::Data`] if a state that is put in has none like it; if the device fails.
    pub fn tensor<T: Element>(
        &mut self,
        name: impl Into<String>,
        shape: &[usize],
        place: &mut (impl Place<T> + ?Sized),
    ) -> Result<()> {
        let (name, shape) = (name.into(), shape.to_vec());
        match self {
            Exchange::Save(state) => {
                let values = T::wrap(place.get()?);
                state.tensors.push(Tensor { name, shape, values });
                Ok(())
            }
            Exchange::Load { state, taken } => {
                let tensor = state.tensors.iter().find(|tensor| tensor.name == name && tensor.shape == shape);
                let values = tensor.and_then(|tensor| T::of(&tensor.values));
                let Some(values) = values.filter(|values| values.len() == shape.iter().product::<usize>())
                else {
                    return Err(foreign(format!("it has no tensor `{name}` of shape {shape:?}")));
                };
                *taken += 1;
                place.set(values)
            }
        }
    }

    /// Refuses a state with more than the backend took.
    pub(super) fn finish(self) -> Result<()> {
        match self {
            Exchange::Load { state, taken } if taken < state.tensors.len() => Err(foreign(format!(
                "it has {} tensors, of which this training has {taken}",
                state.tensors.len()
            ))),
            _ => Ok(()),
        }
    }
}

fn foreign(problem: String) -> Error {
    Error::data(
        format!("the state is of another training: {problem}"),
        "continue with the settings and the data that it began with",
    )
}

/// `[rows, dim]` of rows that lie `distance` apart.
pub fn unpadded(values: &[f32], distance: usize, dim: usize) -> Vec<f32> {
    let mut out = vec![0f32; values.len() / distance * dim];
    let rows = out.par_chunks_exact_mut(dim).zip(values.par_chunks_exact(distance)).with_min_len(256);
    rows.for_each(|(out, row)| out.copy_from_slice(&row[..dim]));
    out
}

/// The reverse of [`unpadded`]; what lies between stays.
pub fn pad(from: &[f32], values: &mut [f32], distance: usize, dim: usize) {
    for (from, row) in from.chunks_exact(dim).zip(values.chunks_exact_mut(distance)) {
        row[..dim].copy_from_slice(from);
    }
}
