//! What the paper shows, and which trainings each part of it needs.

use clap::ValueEnum;

use crate::objective::EXPOMF;

/// Values that tau is chosen from. Match scores are log-odds, and what training adds to them by popularity is about
/// ln(n + 1) times 1 to 1.5 on Adressa and up to 4 on larger data: the best tau lies inside.
const TAUS: &[f64] = &[0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0];

/// The same for ExpoMF, whose scores are expected observations, mostly between 0 and 1, and not log-odds: what popularity
/// adds to them is a small part of that. On Adressa the best tau is from 0.03 to 0.05 with the constant of its authors'
/// program and from 0.07 to 0.1 with the exact one, and a tau of 0.5 is worse than none.
const EXPOMF_TAUS: &[f64] = &[0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.15, 0.2];

/// A table or figure of the paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Target {
    /// Sizes of the datasets.
    Table1,
    /// Fifteen systems, and the same under simple corrections.
    Table2,
    /// MACR without its parts.
    Table3,
    /// MACR over alpha.
    Table4,
    /// MACR over beta.
    Table5,
    /// Popularity against recommendation frequency.
    Figure1,
    /// Hit rate over c.
    Figure7,
    /// Recommendation frequency with and without MACR.
    Figure8,
    /// Item recall by popularity.
    Figure9,
    /// User gates by activity.
    Figure10,
    /// Item gates by popularity.
    Figure11,
    /// Metrics over the length of the lists.
    Figure12,
    /// All of these.
    All,
}

impl Target {
    /// Every table and figure, for `All` and in the order of the page.
    pub fn each(asked: &[Target]) -> Vec<Target> {
        let all = Target::value_variants().iter().copied().filter(|&target| target != Target::All);
        all.filter(|target| asked.contains(target) || asked.contains(&Target::All)).collect()
    }

    /// Recipes and variants that must have been trained.
    pub fn needs(self) -> Vec<(&'static str, Variant)> {
        let plain = |recipes: &[&'static str]| recipes.iter().map(|&r| (r, Variant::plain())).collect();
        let of = |variants: Vec<Variant>| variants.into_iter().map(|v| ("macr_mf", v)).collect();
        match self {
            Target::Table1 | Target::All => Vec::new(),
            Target::Table2 => {
                let ways = [Variant::plain(), Variant::adjusted(), Variant::negatives()];
                let each = |variant: Variant| SYSTEMS.iter().map(move |s| (s.recipe, variant.clone()));
                // Both corrections cost a training more, and ask how far a plain backbone gets.
                let both = ["mf", "lightgcn"].map(|backbone| (backbone, Variant::both()));
                ways.into_iter().flat_map(each).chain(both).collect()
            }
            Target::Table3 => of(Variant::ablations()),
            Target::Table4 => of(Variant::sweep("alpha")),
            Target::Table5 => of(Variant::sweep("beta")),
            Target::Figure1 => plain(&["mf", "lightgcn"]),
            Target::Figure7 | Target::Figure10 | Target::Figure11 => plain(&["macr_mf", "macr_lightgcn"]),
            Target::Figure8 | Target::Figure9 | Target::Figure12 => {
                plain(&["mf", "macr_mf", "lightgcn", "macr_lightgcn"])
            }
        }
    }

    /// Whether what models do is looked at item by item.
    pub fn looks_at_behaviour(self) -> bool {
        use Target::{Figure1, Figure8, Figure9, Figure10, Figure11};
        matches!(self, Figure1 | Figure8 | Figure9 | Figure10 | Figure11)
    }
}

/// A row of Table 2.
#[derive(Debug, Clone, Copy)]
pub struct System {
    /// Its recipe in `datasets/*.toml`.
    pub recipe: &'static str,
    /// As the paper prints it.
    pub name: &'static str,
    /// Its backbone.
    pub backbone: &'static str,
}

const fn system(recipe: &'static str, name: &'static str, backbone: &'static str) -> System {
    System { recipe, name, backbone }
}

/// The rows of Table 2, in its order.
pub const SYSTEMS: [System; 15] = [
    system("mf", "MF", "MF"),
    system("expomf_mf", "ExpoMF", "MF"),
    system("cause_mf", "CausE_MF", "MF"),
    system("bs_mf", "BS_MF", "MF"),
    system("reg_mf", "Reg_MF", "MF"),
    system("ipw_mf", "IPW_MF", "MF"),
    system("dice_mf", "DICE_MF", "MF"),
    system("macr_mf", "MACR_MF", "MF"),
    system("lightgcn", "LightGCN", "LightGCN"),
    system("cause_lightgcn", "CausE_LightGCN", "LightGCN"),
    system("bs_lightgcn", "BS_LightGCN", "LightGCN"),
    system("reg_lightgcn", "Reg_LightGCN", "LightGCN"),
    system("ipw_lightgcn", "IPW_LightGCN", "LightGCN"),
    system("dice_lightgcn", "DICE_LightGCN", "LightGCN"),
    system("macr_lightgcn", "MACR_LightGCN", "LightGCN"),
];

fn tau(grid: &[f64]) -> (String, toml::Value) {
    ("tau".into(), grid.to_vec().into())
}

fn by_popularity() -> (String, toml::Value) {
    ("negatives".into(), "popularity:0.5".into())
}

/// A change of a recipe.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// Its name, in the paper's numbers too.
    pub name: String,
    /// As tables show it.
    pub label: String,
    /// The settings that it changes, of every objective but ExpoMF: see [`Variant::changes`].
    pub changes: toml::Table,
}

impl Variant {
    fn new(name: &str, label: &str, changes: toml::Table) -> Self {
        Variant { name: name.into(), label: label.into(), changes }
    }

    /// The recipe as it is.
    pub fn plain() -> Self {
        Variant::new("plain", "as trained", toml::Table::new())
    }

    /// The popularity adjustment, chosen on the selection split.
    pub fn adjusted() -> Self {
        Variant::new("adjusted", "τ chosen", toml::Table::from_iter([tau(TAUS)]))
    }

    /// Negatives in proportion to the square root of popularity.
    pub fn negatives() -> Self {
        Variant::new("negatives", "negatives by popularity", toml::Table::from_iter([by_popularity()]))
    }

    /// The two together.
    pub fn both() -> Self {
        let changes = toml::Table::from_iter([tau(TAUS), by_popularity()]);
        Variant::new("both", "τ chosen and negatives by popularity", changes)
    }

    /// The simple corrections of Table 2.
    pub fn corrections() -> [Self; 3] {
        [Variant::adjusted(), Variant::negatives(), Variant::both()]
    }

    /// The settings that it changes of a system with `objective`.
    pub fn changes(&self, objective: &str) -> toml::Table {
        let mut changes = self.changes.clone();
        if objective == EXPOMF && changes.contains_key("tau") {
            changes.extend([tau(EXPOMF_TAUS)]);
        }
        changes
    }

    /// A row's name with the correction that it has.
    pub fn of(&self, system: &str) -> String {
        if self.changes.is_empty() { system.to_owned() } else { format!("{system}, {}", self.label) }
    }

    /// Table 3.
    pub fn ablations() -> Vec<Self> {
        vec![
            Variant::new("full", "MACR_MF", toml::Table::new()),
            Variant::new("no_user_branch", "without the user branch", toml::toml! { user_branch = false }),
            Variant::new("no_item_branch", "without the item branch", toml::toml! { item_branch = false }),
            Variant::new("no_item_loss", "without L_I (α = 0)", toml::toml! { alpha = 0.0 }),
            Variant::new("no_user_loss", "without L_U (β = 0)", toml::toml! { beta = 0.0 }),
        ]
    }

    /// Tables 4 and 5: one weight over powers of ten, the other 1e-3.
    pub fn sweep(weight: &str) -> Vec<Self> {
        let variant = |text: &str, value: f64| {
            let other = if weight == "alpha" { "beta" } else { "alpha" };
            let changes = [(weight, value), (other, 1e-3)].map(|(key, x)| (key.to_owned(), x.into()));
            Variant::new(&format!("{weight}_{text}"), text, changes.into_iter().collect())
        };
        [("1e-5", 1e-5), ("1e-4", 1e-4), ("1e-3", 1e-3), ("1e-2", 1e-2)].map(|(t, v)| variant(t, v)).to_vec()
    }
}
