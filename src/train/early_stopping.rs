//! Decides which evaluation was the best, and when to stop waiting for a better one.

use serde::{Deserialize, Serialize};

/// Keeps the best value seen and counts the evaluations since.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct EarlyStopping {
    best: Option<f64>,
    since: u64,
    longest: u64,
}

impl EarlyStopping {
    /// Takes the next value; true if it is better than all before.
    pub fn improves(&mut self, value: f64) -> bool {
        let better = self.best.is_none_or(|best| value > best);
        if better {
            (self.best, self.since) = (Some(value), 0);
        } else {
            // A number from a checkpoint may be any.
            self.since = self.since.saturating_add(1);
            self.longest = self.longest.max(self.since);
        }
        better
    }

    /// True after `patience` evaluations without improvement; with 0 never.
    pub fn should_stop(&self, patience: u64) -> bool {
        patience > 0 && self.since >= patience
    }

    /// Most evaluations that any improvement, or none yet, was waited for.
    pub fn longest(&self) -> u64 {
        self.longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_after_patience_evaluations_without_improvement() {
        let mut stopping = EarlyStopping::default();
        let values = [0.1, 0.3, 0.3, 0.2];
        let improved: Vec<bool> = values.iter().map(|&v| stopping.improves(v)).collect();
        assert_eq!(improved, [true, true, false, false]);
        assert!(stopping.should_stop(2) && !stopping.should_stop(3) && !stopping.should_stop(0));
        assert!(stopping.improves(0.4) && !stopping.should_stop(1));
        assert_eq!(stopping.longest(), 2);
    }

    #[test]
    fn any_count_of_a_checkpoint_can_be_gone_on_from() {
        let mut stopping = EarlyStopping { best: Some(0.5), since: u64::MAX, longest: u64::MAX };
        assert!(!stopping.improves(0.5) && stopping.should_stop(u64::MAX));
        assert!(stopping.improves(0.6) && !stopping.should_stop(1));
        assert_eq!(stopping.longest(), u64::MAX);
    }
}
