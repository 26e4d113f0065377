//! Terms of a loss that depend on the batch's final embeddings alone, each of whose gradients is a coefficient times
//! (row - target).

/// A penalty on the rows that a batch touches, with its strength.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Penalty {
    /// Of rows of two vectors, on both sides: mean over distinct rows and components of (first - second)^2. A negative
    /// strength pushes the vectors apart.
    Halves(f32),
    /// Of the item samples: the mean of |x - y|^2 over pairs of one whose item constant is 1 and one whose constant is
    /// 0; nothing where either kind is missing.
    Across(f32),
    /// The same over pairs with equal constants (each unordered pair once), for constants of 1 and of 0, with a
    /// strength for each.
    Within([f32; 2]),
    /// Of the item samples: the sum of constant x |x|^2, divided by the rows of the batch.
    Decay(f32),
}
