//! A training that starts from the tables of another one's model.

use crate::{
    backbone::Backbone,
    backend::{
        State,
        state::{Tensor, Values},
    },
    error::{Error, Result},
    model::{Branch, Model},
};

/// Puts the rows of `model` into the parameters of a training that has not begun; `rows` gives for each user and each
/// item the model's row, if it has one. Branches are taken over where they have the same form.
pub(super) fn warm(
    state: &mut State,
    model: &Model,
    backbone: Backbone,
    rows: [&[Option<u32>]; 2],
) -> Result<()> {
    let parameters = match (&model.ego, backbone) {
        (Some(ego), Backbone::LightGcn) => ego.each_ref(),
        _ => [&model.user_embedding, &model.item_embedding],
    };
    for ((name, from), rows) in ["users.p", "items.p"].into_iter().zip(parameters).zip(rows) {
        let Some((shape, values)) = tensor(state, name) else { continue };
        if shape[1] != model.dim {
            return Err(Error::data(
                format!("the model's rows have {} columns, and this training's {}", model.dim, shape[1]),
                "train with the model's --dim, and an objective whose rows are like its own",
            ));
        }
        let known = from.len() / model.dim;
        if rows.len() != shape[0] || rows.iter().flatten().any(|&row| row as usize >= known) {
            return Err(Error::data(
                format!("{} rows of a model of {known} are given for {}", rows.len(), shape[0]),
                "give one of the model's rows, or none, for each user and each item",
            ));
        }
        for (to, row) in values.chunks_exact_mut(model.dim).zip(rows) {
            if let Some(row) = row {
                to.copy_from_slice(&from[*row as usize * model.dim..][..model.dim]);
            }
        }
    }
    for (name, branch) in [("user_branch.p", &model.user_branch), ("item_branch.p", &model.item_branch)] {
        let (Some(branch), Some((_, values))) = (branch, tensor(state, name)) else { continue };
        let from = match branch {
            Branch::Linear { weight } => weight.clone(),
            Branch::Mlp { w1, b1, w2, b2 } => [w1, b1, w2, [*b2].as_slice()].concat(),
        };
        if from.len() == values.len() {
            values.copy_from_slice(&from);
        }
    }
    Ok(())
}

/// Shape and values of the tensor `name`, if there is one.
fn tensor<'s>(state: &'s mut State, name: &str) -> Option<(&'s [usize], &'s mut [f32])> {
    state.tensors.iter_mut().find(|tensor| tensor.name == name).and_then(|tensor| match tensor {
        Tensor { shape, values: Values::F32(values), .. } => Some((shape.as_slice(), values.as_mut_slice())),
        _ => None,
    })
}
