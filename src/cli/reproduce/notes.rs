//! What stands under tables and figures, from what was planned.

use super::{
    plan::{Plan, Protocol},
    targets::{SYSTEMS, System, Variant},
};
use crate::{
    backend::expomf::ExposureConstant,
    config::Config,
    numerals::counted,
    objective::{DiceLoss, EXPOMF},
    sampling::Negatives,
};

/// What every caption says of how the numbers came about.
pub fn protocol(plan: &Plan, dataset: usize) -> String {
    let Plan { protocol, seeds, overrides, datasets, .. } = plan;
    let by = format!("HR @{}", listed(&distinct(configs(plan, dataset).map(|c| c.k)), " or @"));
    let choice = match protocol {
        Protocol::Paper => format!(
            "Protocol of the authors' program: the epoch (and c and τ, where a grid is given) is chosen on the test \
             split by {by}; training items are left out of the lists."
        ),
        Protocol::Clean => format!(
            "Clean protocol: the epoch, c and τ are chosen on a validation split by {by}, which is taken \
             item-uniformly from train where the data has none; nothing is chosen on the test split; training and \
             validation items are left out of its lists."
        ),
    };
    let seeds = match seeds {
        1 => "Seed 0 alone: neighbouring evaluations of one run differ by up to .007 in HR on Adressa, so small \
              differences say nothing."
            .to_owned(),
        _ => format!("Seeds 0 to {}; ± is the standard deviation over them.", seeds - 1),
    };
    let mut text = format!("{}. {choice}{} {seeds}", datasets[dataset].name, of_macr(plan, dataset));
    if !datasets[dataset].of_paper {
        text += " This is no dataset of the paper; the settings are Adressa's.";
    }
    if !overrides.is_empty() {
        text += &format!(" Settings changed by hand: {}.", overrides.to_string().trim().replace('\n', ", "));
    }
    text
}

/// Why numbers of the paper are missing that are known.
pub fn not_compared(plan: &Plan, dataset: usize) -> Option<String> {
    let shown = !plan.datasets[dataset].of_paper || plan.protocol == Protocol::Paper;
    (!shown).then(|| {
        "The paper's numbers are not shown: they were chosen on the test split, and do not compare with these."
            .into()
    })
}

/// What the corrections of Table 2 are in the trainings on `dataset`.
pub fn of_corrections(plan: &Plan, dataset: usize) -> String {
    let config = |system: &System, variant| Some(&plan.find(dataset, system.recipe, &variant, 0)?.config);
    let of = |variant: fn() -> Variant| {
        SYSTEMS.iter().filter_map(move |system| Some((system.name, config(system, variant())?)))
    };
    let grids = distinct(of(Variant::adjusted).map(|(_, config)| &config.tau));
    let mut text = String::new();
    for (position, grid) in grids.into_iter().enumerate() {
        let systems = of(Variant::adjusted).filter(|(_, config)| &config.tau == grid);
        let systems: Vec<&str> = systems.map(|(name, _)| name).collect();
        let values = listed(grid, ", ");
        text += &match position {
            0 => {
                format!(" τ chosen: items are ranked by their score - τ ln(n + 1), with τ from {values}")
            }
            _ => format!(" ({}: from {values})", listed(&systems, ", ")),
        };
    }
    if !text.is_empty() {
        text += ", and n the item's training interactions.";
    }
    for negatives in distinct(of(Variant::negatives).map(|(_, config)| config.negatives)) {
        if let Negatives::Popularity(exponent) = negatives {
            text += &format!(" Negatives by popularity: drawn in proportion to n^{exponent}.");
        }
    }
    text
}

/// How the baselines on `dataset` are trained.
pub fn of_baselines(plan: &Plan, dataset: usize) -> String {
    let mut text = String::from("The baselines have the settings of their recipes");
    if !plan.overrides.is_empty() {
        text += ", but for what was changed by hand,";
    }
    text += " and are not tuned.";
    let of =
        |objective: &'static str| configs(plan, dataset).filter(move |config| config.objective == objective);
    for (constant, epochs, exposure) in
        distinct(of(EXPOMF).map(|config| (config.exposure_constant, config.epochs, config.exposure)))
    {
        let (constant, hangs) = match constant {
            ExposureConstant::Exact => ("the exact constant of its density", ""),
            ExposureConstant::Repo => {
                ("the constant of its authors' program", ", on which its accuracy hangs with that constant")
            }
        };
        text += &format!(
            " ExpoMF has {constant}, at most {}, and an initial exposure of {exposure}{hangs}.",
            counted(epochs, "iteration"),
        );
    }
    for (loss, half) in distinct(of("dice").map(|config| (config.dice_loss, config.dim / 2))) {
        let loss = match loss {
            DiceLoss::Bpr => "BPR, as its authors' program is",
            DiceLoss::Bce => "BCE, as MACR's paper says of all",
        };
        text += &format!(" DICE is trained with {loss}, with halves of {half}.");
    }
    text
}

/// How MACR pairs, and among which c is chosen, in the trainings on `dataset`.
fn of_macr(plan: &Plan, dataset: usize) -> String {
    let forms = configs(plan, dataset).filter(|config| config.objective == "macr").map(|config| {
        let is = if config.c.len() > 1 { "of" } else { "=" };
        format!("{} with c {is} {}", config.pairing, listed(&config.c, ", "))
    });
    match &distinct(forms)[..] {
        [] => String::new(),
        forms => format!(" MACR pairs over {}.", listed(forms, " or ")),
    }
}

/// Settings of the trainings on `dataset`.
fn configs(plan: &Plan, dataset: usize) -> impl Iterator<Item = &Config> {
    plan.trainings.iter().filter(move |t| t.dataset == dataset).map(|t| &t.config)
}

/// Each value once, in the order of their first appearance.
fn distinct<T: PartialEq>(values: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut seen = Vec::new();
    for value in values {
        if !seen.contains(&value) {
            seen.push(value);
        }
    }
    seen
}

fn listed<T: ToString>(values: &[T], between: &str) -> String {
    values.iter().map(T::to_string).collect::<Vec<_>>().join(between)
}
