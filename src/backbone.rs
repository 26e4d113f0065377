//! Backbones: how final embeddings come from the parameters.

use serde::{Deserialize, Serialize};

use crate::{
    data::{Csr, Interactions, Split},
    error::{Error, Result},
    names::named,
};

/// How final embeddings come from the parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Backbone {
    /// Matrix factorisation: they are the parameters.
    #[default]
    Mf,
    /// LightGCN (He et al., SIGIR 2020): the mean over layers of the parameters propagated along the graph of the
    /// training interactions.
    LightGcn,
}

named!(Backbone, "backbone", Mf = "mf", LightGcn = "lightgcn");

/// How LightGCN's propagation is computed; both ways give the same up to rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Propagation {
    /// The cheaper one by its [`Cost`].
    #[default]
    Auto,
    /// Layer by layer, the outermost ones for the rows of the batch only.
    Layers,
    /// Two layers, through the dense item-item product.
    Gram,
}

named!(Propagation, "propagation", Auto = "auto", Layers = "layers", Gram = "gram");

/// A resolved way to propagate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// [`Propagation::Layers`].
    Layers,
    /// [`Propagation::Gram`].
    Gram,
}

/// LightGCN with its number of layers and the way they are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LightGcn {
    /// Layers, L.
    pub layers: usize,
    /// How they are computed.
    pub form: Form,
}

impl LightGcn {
    /// The resolved form of a configuration's settings, and what it was chosen by.
    ///
    /// # Errors
    /// As [`Cost::choose`].
    pub fn new(data: &Interactions, layers: usize, batch: u32, asked: Propagation) -> Result<(Self, Cost)> {
        let cost = Cost::new(data, layers, batch);
        Ok((LightGcn { layers, form: cost.choose(asked)? }, cost))
    }
}

/// What the two ways cost in a step, in additions of a gathered row of D components.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cost {
    /// Layer by layer.
    pub layers: f64,
    /// Through the item-item product; `None` if there are not two layers, or the product would be too large.
    pub gram: Option<f64>,
}

/// Rows of a dense product that cost as much as one gathered row, as timed on an AVX-512 CPU at D = 64.
const PRODUCT_ROWS: f64 = 3.0;
/// Largest catalogue whose dense product is formed: 576 MB.
const MOST_ITEMS: u32 = 12_000;

impl Cost {
    /// The cost of a step of `batch` rows on the train split of `data`.
    pub fn new(data: &Interactions, layers: usize, batch: u32) -> Self {
        let edges = data.count(Split::Train) as f64;
        // Of the outermost layers only the edges of the batch's users and items are used.
        let users = (f64::from(batch) / f64::from(data.users())).min(1.0);
        let items = touched_share(data.by_item(Split::Train), batch);
        let half = |share: f64| edges * share;
        let inner = (layers - 1) as f64;
        let product = f64::from(data.items()).powi(2) / PRODUCT_ROWS;
        Cost {
            layers: 2.0 * (inner * half(2.0) + half(users) + half(items)),
            gram: (layers == 2 && data.items() <= MOST_ITEMS)
                .then(|| 2.0 * (half(1.0) + half(users) + product)),
        }
    }

    /// The way to take.
    ///
    /// # Errors
    /// [`Error::Config`] if the item-item product is asked for and cannot be used.
    pub fn choose(self, asked: Propagation) -> Result<Form> {
        match (asked, self.gram) {
            (Propagation::Layers, _) | (Propagation::Auto, None) => Ok(Form::Layers),
            (Propagation::Auto, Some(gram)) if gram >= self.layers => Ok(Form::Layers),
            (_, Some(_)) => Ok(Form::Gram),
            (Propagation::Gram, None) => Err(Error::config(
                "propagation",
                asked,
                format!("the item-item product is for two layers and at most {MOST_ITEMS} items"),
                "use `auto` or `layers`",
            )),
        }
    }
}

/// Share of the edges that belong to the items of a batch: an item is a positive in proportion to its degree, and a
/// negative like any other.
fn touched_share(by_item: Csr<'_>, batch: u32) -> f64 {
    let (edges, items) = (by_item.nnz() as f64, by_item.rows() as f64);
    let share = (0..by_item.rows() as u32).map(|item| {
        let degree = f64::from(by_item.degree(item));
        let missed = (1.0 - degree / edges) * (1.0 - 1.0 / items);
        degree * (1.0 - libm::pow(missed, f64::from(batch)))
    });
    share.sum::<f64>() / edges.max(1.0)
}
