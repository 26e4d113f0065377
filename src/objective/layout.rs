//! How an embedding row is divided into the vectors that are scored against each other.

/// The vectors of a row. Where there are two, a sample has two match scores: of the first and of the second vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One vector of D components.
    Whole,
    /// Two vectors of D / 2 side by side, which are ranked by together: the sum of their two scores is the score of
    /// the whole row.
    Halves,
    /// Two vectors of D, ranked by the first alone. Where nothing is propagated the users have one, which serves both.
    Twins,
}

/// Vectors of a row, and components of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// 1 or 2.
    pub parts: usize,
    /// Components of each.
    pub width: usize,
}

impl Shape {
    /// Components of the row.
    pub fn columns(self) -> usize {
        self.parts * self.width
    }
}

impl Layout {
    /// True if rows have two vectors.
    pub fn is_divided(self) -> bool {
        self != Layout::Whole
    }

    /// Vectors of a row that it is ranked by, the first ones.
    pub fn ranked(self) -> usize {
        match self {
            Layout::Whole | Layout::Twins => 1,
            Layout::Halves => 2,
        }
    }

    /// Shapes of the rows of users and items for embeddings of size `dim`.
    pub fn shapes(self, dim: usize, propagated: bool) -> [Shape; 2] {
        let shape = |parts, width| Shape { parts, width };
        match self {
            Layout::Whole => [shape(1, dim); 2],
            Layout::Halves => [shape(2, dim / 2); 2],
            // Propagation mixes users and items, so that both have the same shape.
            Layout::Twins => [shape(if propagated { 2 } else { 1 }, dim), shape(2, dim)],
        }
    }
}
