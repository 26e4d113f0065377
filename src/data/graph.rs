//! The bipartite graph of the training interactions, normalised symmetrically.

use super::{Csr, Interactions, Split};

/// A~ = D^-1/2 A D^-1/2 of the train split, without self loops and without stored values: an edge (u, i) weighs
/// `user_scale[u] * item_scale[i]`, so both factors are applied to rows.
///
/// Both directions are the mapped file's own sections; nothing but the two vectors is formed.
#[derive(Debug, Clone)]
pub struct Graph<'a> {
    /// `[U]` rows of items.
    pub by_user: Csr<'a>,
    /// `[I]` rows of users.
    pub by_item: Csr<'a>,
    /// `[U]`: 1 / sqrt(degree), 0 for a user without items.
    pub user_scale: Vec<f32>,
    /// `[I]`: 1 / sqrt(degree), 0 for an item without users.
    pub item_scale: Vec<f32>,
}

impl<'a> Graph<'a> {
    /// The graph of the train split.
    pub fn new(data: &'a Interactions) -> Self {
        let (by_user, by_item) = (data.by_user(Split::Train), data.by_item(Split::Train));
        Graph { user_scale: scale(by_user), item_scale: scale(by_item), by_user, by_item }
    }
}

fn scale(csr: Csr<'_>) -> Vec<f32> {
    let inverse_root = |degree| if degree == 0 { 0.0 } else { (1.0 / f64::from(degree).sqrt()) as f32 };
    (0..csr.rows() as u32).map(|row| inverse_root(csr.degree(row))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Edges, InteractionsBuilder};

    #[test]
    fn no_edge_of_another_split_enters() {
        let data = InteractionsBuilder::new(3, 4)
            .split(Split::Train, Edges::from_pairs([(0, 0), (0, 1), (1, 1)]))
            .split(Split::Valid, Edges::from_pairs([(1, 2)]))
            .split(Split::Test, Edges::from_pairs([(2, 3), (0, 3)]))
            .build()
            .unwrap();
        let graph = Graph::new(&data);
        assert_eq!((graph.by_user.nnz(), graph.by_item.nnz()), (3, 3));
        assert_eq!(graph.user_scale, [std::f32::consts::FRAC_1_SQRT_2, 1.0, 0.0]);
        assert_eq!(graph.item_scale, [1.0, std::f32::consts::FRAC_1_SQRT_2, 0.0, 0.0]);
    }
}
