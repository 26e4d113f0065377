//! Rankings that are looked for together.

use std::collections::BTreeMap;

use crate::model::Ranking;

/// Rankings that share `tau` and differ in `c`, or the other way round.
///
/// Along a line the score of an item is a linear function. Two kinds of lines use this differently:
///
/// - with a [`Pivot`], items are compared with the two ends only. Let K items score at least a at one end and b at the
///   other. At every ranking between they score at least what lies between a and b, and an item below a and below b
///   scores less than that: it is in no list of the line. K items that score high in the middle, at the pivot, give a
///   and b. Two comparisons then serve any number of rankings, as long as their lists are much alike;
/// - without, items are compared with each ranking's K-th best score so far: nothing is wasted where lists differ.
#[derive(Debug)]
pub(super) struct Line {
    /// The rankings that items are compared with.
    pub(super) nodes: Vec<Node>,
    pub(super) pivot: Option<Pivot>,
}

/// A ranking that items are compared with, and its position among all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    pub(super) variant: usize,
    pub(super) ranking: Ranking,
}

/// The middle of a line of three rankings or more.
#[derive(Debug)]
pub(super) struct Pivot {
    pub(super) variant: usize,
    /// The other rankings on the way from the pivot to one end and to the other, a few at a step.
    pub(super) ways: [Vec<Vec<usize>>; 2],
}

impl Line {
    /// At most this many rankings are compared with in one line: the items that may enter some list are kept
    /// together, and each ranking looks at all of them.
    const NODES: usize = 16;
    /// Rankings whose lists are made from the same few items, on the way from a pivot.
    const STEP: usize = 3;

    /// The fewest lines through all `rankings`, with or without pivots.
    pub(super) fn cover(rankings: &[Ranking], pivots: bool) -> Vec<Line> {
        let (by_tau, by_c) = (lines(rankings, |r| (r.tau, r.c)), lines(rankings, |r| (r.c, r.tau)));
        let fewest = if by_c.len() < by_tau.len() { by_c } else { by_tau };
        let nodes = |variants: &[usize]| {
            variants.iter().map(|&variant| Node { variant, ranking: rankings[variant] }).collect()
        };
        let with_pivot = |line: &Vec<usize>| match line[..] {
            [first, .., last] if line.len() > 2 => {
                let (before, after) = (&line[..line.len() / 2], &line[line.len() / 2 + 1..]);
                let back = before.rchunks(Self::STEP).map(|step| step.iter().rev().copied().collect());
                let forth = after.chunks(Self::STEP).map(<[usize]>::to_vec);
                let pivot = Pivot { variant: line[before.len()], ways: [back.collect(), forth.collect()] };
                Line { nodes: nodes(&[first, last]), pivot: Some(pivot) }
            }
            // One ranking or two are their own ends.
            _ => Line { nodes: nodes(line), pivot: None },
        };
        if pivots {
            return fewest.iter().map(with_pivot).collect();
        }
        let parts = fewest.iter().flat_map(|line| line.chunks(Self::NODES));
        parts.map(|part| Line { nodes: nodes(part), pivot: None }).collect()
    }
}

/// Positions of the rankings that share the first of two coordinates, in ascending order of the second.
fn lines(rankings: &[Ranking], coordinates: impl Fn(&Ranking) -> (f32, f32)) -> Vec<Vec<usize>> {
    let mut lines: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (position, ranking) in rankings.iter().enumerate() {
        // Both zeros are one.
        lines.entry((coordinates(ranking).0 + 0.0).to_bits()).or_default().push(position);
    }
    for line in lines.values_mut() {
        line.sort_by(|&a, &b| coordinates(&rankings[a]).1.total_cmp(&coordinates(&rankings[b]).1));
    }
    lines.into_values().collect()
}
