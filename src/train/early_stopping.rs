//! Decides which evaluation was the best, and when to stop waiting for a better one.

/// Keeps the best value seen and counts the evaluations since.
#[derive(Debug, Clone, Copy)]
pub struct EarlyStopping {
    patience: u64,
    best: Option<f64>,
    since: u64,
}

impl EarlyStopping {
    /// Stops after `patience` evaluations without improvement; 0 never stops.
    pub fn new(patience: u64) -> Self {
        EarlyStopping { patience, best: None, since: 0 }
    }

    /// Takes the next value; true if it is better than all before.
    pub fn improves(&mut self, value: f64) -> bool {
        let better = self.best.is_none_or(|best| value > best);
        if better {
            (self.best, self.since) = (Some(value), 0);
        } else {
            self.since += 1;
        }
        better
    }

    /// True when patience has run out.
    pub fn should_stop(&self) -> bool {
        self.patience > 0 && self.since >= self.patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_after_patience_evaluations_without_improvement() {
        let mut stopping = EarlyStopping::new(2);
        let values = [0.1, 0.3, 0.3, 0.2];
        let improved: Vec<bool> = values.iter().map(|&v| stopping.improves(v)).collect();
        assert_eq!(improved, [true, true, false, false]);
        assert!(stopping.should_stop());
        let mut never = EarlyStopping::new(0);
        assert!(!values.iter().any(|&v| {
            never.improves(v);
            never.should_stop()
        }));
    }
}
