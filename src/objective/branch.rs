//! MACR's branches, y as a function of one embedding: of what form, and of which embedding.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    error::{Error, Result},
    names::named,
};

/// How a branch scores an embedding x.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum BranchKind {
    /// `y = w . x`, without bias: the reference code.
    #[default]
    Linear,
    /// `y = b2 + w2 . relu(W1 x + b1)` with this many hidden units: what the paper allows for.
    Mlp(usize),
}

/// Which embedding of a user or an item its branch scores. Those of matrix factorisation are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum BranchInput {
    /// The final one, from which match scores come: the reference code.
    #[default]
    Propagated,
    /// The parameters themselves, before any propagation.
    Ego,
}

named!(BranchInput, "branch input", Propagated = "propagated", Ego = "ego");

impl BranchInput {
    /// What branches score of final embeddings and, where these are propagated, of parameters.
    pub(crate) fn choose<'a>(self, embeddings: &'a [f32], ego: Option<&'a [f32]>) -> &'a [f32] {
        ego.filter(|_| self == BranchInput::Ego).unwrap_or(embeddings)
    }
}

impl BranchKind {
    const MOST_HIDDEN: usize = 4096;

    /// Hidden units H; 0 for the linear form.
    pub fn hidden(self) -> usize {
        match self {
            BranchKind::Linear => 0,
            BranchKind::Mlp(hidden) => hidden,
        }
    }
}

impl fmt::Display for BranchKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BranchKind::Linear => f.write_str("linear"),
            BranchKind::Mlp(hidden) => write!(f, "mlp:{hidden}"),
        }
    }
}

impl TryFrom<String> for BranchKind {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<BranchKind> for String {
    fn from(value: BranchKind) -> String {
        value.to_string()
    }
}

impl FromStr for BranchKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let hidden = text.strip_prefix("mlp:").and_then(|hidden| hidden.parse().ok());
        match (text, hidden) {
            ("linear", _) => Ok(BranchKind::Linear),
            (_, Some(hidden @ 1..=Self::MOST_HIDDEN)) => Ok(BranchKind::Mlp(hidden)),
            _ => Err(Error::config(
                "branch",
                text,
                "there is no such form of a branch",
                format!(
                    "use `linear` or `mlp:H` with 1 to {} hidden units, as in `mlp:64`",
                    Self::MOST_HIDDEN
                ),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for text in ["linear", "mlp:1", "mlp:64"] {
            assert_eq!(text.parse::<BranchKind>().unwrap().to_string(), text);
        }
        for text in ["", "mlp", "mlp:", "mlp:0", "mlp:-1", "mlp:5000", "Linear"] {
            assert!(text.parse::<BranchKind>().is_err(), "{text}");
        }
    }
}
