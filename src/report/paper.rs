//! What others have published, from `datasets/paper.toml`.

use crate::error::{Error, Result};

/// Published numbers.
#[derive(Debug, Clone)]
pub struct Paper(toml::Table);

impl Paper {
    /// The numbers that are built into the program.
    ///
    /// # Errors
    /// [`Error::Config`] if they cannot be read, which a test rules out.
    pub fn load() -> Result<Self> {
        let text = include_str!("../../datasets/paper.toml");
        text.parse().map(Paper).map_err(|e: toml::de::Error| {
            Error::config(
                "paper.toml",
                "built in",
                e.to_string(),
                "report this: the published numbers are broken",
            )
        })
    }

    /// The value of `metric` in `table` (`table2`, `authors`, ...) for `row` on `dataset`; `None` if it is not known.
    pub fn value(&self, table: &str, dataset: &str, row: &str, metric: &str) -> Option<f64> {
        number(self.0.get(table)?.get(dataset)?.get(row)?.get(metric)?)
    }

    /// A size of `dataset` in Table 1.
    pub fn size(&self, dataset: &str, key: &str) -> Option<f64> {
        number(self.0.get("table1")?.get(dataset)?.get(key)?)
    }

    /// Citation and address of a source, `paper` or `authors`.
    pub fn source(&self, name: &str) -> Option<(&str, &str)> {
        let source = self.0.get("sources")?.get(name)?;
        Some((source.get("citation")?.as_str()?, source.get("address")?.as_str()?))
    }
}

fn number(value: &toml::Value) -> Option<f64> {
    value.as_float().or_else(|| value.as_integer().map(|n| n as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_numbers_are_found_and_others_missing() {
        let paper = Paper::load().unwrap();
        assert_eq!(paper.value("table2", "adressa", "macr_mf", "hit_rate"), Some(0.14));
        assert_eq!(paper.value("table2", "adressa", "reg_mf", "ndcg"), None);
        assert_eq!(paper.value("authors", "gowalla", "macr_mf", "recall"), Some(0.08488));
        assert_eq!(paper.size("yelp2018", "interactions"), Some(1_561_406.0));
        for name in ["paper", "authors"] {
            assert!(paper.source(name).unwrap().1.starts_with("https://"));
        }
    }
}
