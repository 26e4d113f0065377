//! An item and its score.

/// An item and its score. Candidates order by score, then the lower id is the greater candidate, so that the best
/// come first in descending order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate(u64);

impl Candidate {
    /// Less than every candidate.
    pub(super) const NONE: Candidate = Candidate(0);

    /// Score in the upper half, as [`Candidate::ordered`]; inverted id in the lower half.
    #[inline(always)]
    pub(super) fn new(item: u32, score: f32) -> Self {
        Self::from_ordered(item, Self::ordered(score))
    }

    #[inline(always)]
    pub(super) fn from_ordered(item: u32, ordered: u32) -> Self {
        Candidate(u64::from(ordered) << 32 | u64::from(!item))
    }

    /// The bits of a score, arranged to order like the number.
    #[inline(always)]
    pub(super) fn ordered(score: f32) -> u32 {
        // -0 becomes +0: they are equal and must tie.
        let bits = (score + 0.0).to_bits();
        bits ^ (((bits as i32 >> 31) as u32) | 0x8000_0000)
    }

    /// The item's id.
    pub fn item(self) -> u32 {
        !(self.0 as u32)
    }

    /// Its score.
    pub fn score(self) -> f32 {
        let ordered = (self.0 >> 32) as u32;
        let negative = ((!ordered) as i32 >> 31) as u32;
        f32::from_bits(ordered ^ (negative | 0x8000_0000))
    }
}

impl std::fmt::Debug for Candidate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "({}, {})", self.item(), self.score())
    }
}
