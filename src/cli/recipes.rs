//! The paper's settings, from `datasets/*.toml`, built into the program.

use crate::error::{Error, Result};

/// Dataset descriptors by name.
const DATASETS: &[(&str, &str)] = &[
    ("adressa", include_str!("../../datasets/adressa.toml")),
    ("globo", include_str!("../../datasets/globo.toml")),
    ("ml10m", include_str!("../../datasets/ml10m.toml")),
    ("yelp2018", include_str!("../../datasets/yelp2018.toml")),
    ("gowalla", include_str!("../../datasets/gowalla.toml")),
];

/// A recipe, as found.
#[derive(Debug)]
pub struct Recipe {
    /// DATASET/NAME.
    pub name: String,
    /// The settings that it changes.
    pub settings: toml::Table,
    /// No dataset was named and none has this size, so that Adressa's was taken.
    pub guessed: bool,
}

/// Finds `[DATASET/]NAME`. Without a dataset: the one whose numbers of users and items the data has, else Adressa.
///
/// # Errors
/// [`Error::Unknown`] naming the nearest dataset or recipe.
pub fn find(name: &str, users: u32, items: u32) -> Result<Recipe> {
    let parsed = parsed()?;
    let (dataset, recipe, guessed) = match name.split_once('/') {
        Some((dataset, recipe)) => (
            parsed
                .iter()
                .find(|(known, _)| *known == dataset)
                .ok_or_else(|| Error::unknown("dataset", dataset, parsed.iter().map(|(known, _)| known)))?,
            recipe,
            false,
        ),
        None => {
            let fitting = parsed.iter().find(|(_, table)| fits(table, users, items));
            (fitting.unwrap_or(&parsed[0]), name, fitting.is_none())
        }
    };
    let recipes = dataset.1.get("recipes").and_then(toml::Value::as_table);
    let known = || recipes.into_iter().flat_map(toml::Table::keys);
    let settings = recipes
        .and_then(|recipes| recipes.get(recipe))
        .and_then(toml::Value::as_table)
        .ok_or_else(|| Error::unknown("recipe", recipe, known()))?;
    Ok(Recipe { name: format!("{}/{recipe}", dataset.0), settings: settings.clone(), guessed })
}

/// The dataset whose numbers of users and items these are: its name in recipes, and its own.
///
/// # Errors
/// [`Error::Config`] if the recipes are broken, which a test rules out.
pub fn of_size(users: u32, items: u32) -> Result<Option<(&'static str, String)>> {
    let found = parsed()?.into_iter().find(|(_, table)| fits(table, users, items));
    Ok(found
        .map(|(key, table)| (key, table.get("name").and_then(toml::Value::as_str).unwrap_or(key).to_owned())))
}

fn fits(dataset: &toml::Table, users: u32, items: u32) -> bool {
    let count = |key| dataset.get("sizes").and_then(|sizes| sizes.get(key)).and_then(toml::Value::as_integer);
    count("users") == Some(users.into()) && count("items") == Some(items.into())
}

fn parsed() -> Result<Vec<(&'static str, toml::Table)>> {
    let tables = DATASETS.iter().map(|&(dataset, text)| text.parse().map(|table| (dataset, table)));
    tables.collect::<Result<_, toml::de::Error>>().map_err(|e| {
        Error::config("recipe", "built in", e.to_string(), "report this: the built-in recipes are broken")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn every_recipe_is_a_valid_configuration() {
        for (dataset, text) in DATASETS {
            let table: toml::Table = text.parse().unwrap();
            for name in table["recipes"].as_table().unwrap().keys() {
                let recipe = find(&format!("{dataset}/{name}"), 0, 0).unwrap();
                Config::default().with(recipe.settings).unwrap();
            }
        }
    }

    #[test]
    fn the_dataset_is_found_by_its_size() {
        assert_eq!(find("mf", 29_858, 40_981).unwrap().name, "gowalla/mf");
        assert!(!find("mf", 29_858, 40_981).unwrap().guessed && find("mf", 1, 1).unwrap().guessed);
        assert_eq!(find("mf", 1, 1).unwrap().name, "adressa/mf");
        assert!(find("macr", 1, 1).unwrap_err().to_string().contains("macr_mf"));
    }
}
