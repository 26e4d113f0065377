//! Settings that change nothing in a training, and what else of one is not as it may seem.

use super::output::Output;
use crate::{
    config::Config,
    data::{Interactions, Split},
    sampling::Negatives,
};

/// Who looks at settings: objectives and backbones.
enum Owners {
    Only(&'static [&'static str]),
    AllBut(&'static [&'static str]),
}

use Owners::{AllBut, Only};

/// Settings that not every training looks at.
const OWNED: [(Owners, &[&str]); 10] = [
    (Only(&["lightgcn"]), &["layers", "propagation", "branch_input"]),
    (Only(&["macr"]), &["pairing", "alpha", "beta", "branch", "user_branch", "item_branch"]),
    (Only(&["ipw"]), &["ipw_variant", "ipw_scope", "ipw_rescale", "eta", "smoothing"]),
    (Only(&["reg"]), &["mu", "reg_form", "reg_norm"]),
    (Only(&["cause"]), &["treatment_cap"]),
    (Only(&["cause", "dice"]), &["nu"]),
    (Only(&["dice"]), &["dice_loss", "lambda_int", "lambda_pop"]),
    (
        Only(&["expomf"]),
        &["exposure", "exposure_constant", "a0", "b0", "lambda_theta", "lambda_beta", "lambda_y", "init_std"],
    ),
    // Samples and steps.
    (
        AllBut(&["expomf"]),
        &[
            "sampler",
            "negatives",
            "batch_size",
            "learning_rate",
            "adam_beta1",
            "adam_beta2",
            "l2",
            "catch_up",
        ],
    ),
    (AllBut(&["bpr", "dice", "expomf"]), &["eps_compat"]),
];

/// Says which of the settings that were `asked` for change nothing, and what of the others may surprise.
pub fn remark(config: &Config, asked: &toml::Table, data: &Interactions, output: &Output) {
    let backbone = config.backbone.to_string();
    let among = |names: &[&str]| names.iter().any(|name| *name == config.objective || *name == backbone);
    let idle = |key: &&String| {
        let owners = OWNED.iter().find(|(_, keys)| keys.contains(&key.as_str())).map(|(owners, _)| owners);
        match owners {
            None => false,
            Some(Only(names)) => !among(names),
            Some(AllBut(names)) => among(names),
        }
    };
    for key in asked.keys().filter(idle) {
        output.remark(format_args!("--{} has no effect on {}", key.replace('_', "-"), config.system()));
    }
    let has_gates = config.objective == "macr" && config.item_branch;
    let is_corrected = config.c.iter().any(|&c| c != 0.0);
    if !has_gates && is_corrected {
        output.remark(format_args!("c has no effect on {}: it has no item branch", config.system()));
    }
    if has_gates && !is_corrected {
        output.remark(
            "c = 0 ranks by the total effect, without MACR's correction: --c 0,10,20,30,40 has one chosen",
        );
    }
    if config.objective == "dice" && !matches!(config.negatives, Negatives::Margin { .. }) {
        output.remark(
            "dice tells interest from conformity by negatives of another popularity, and these are not drawn so: \
             --negatives margin:40:4, or all of its authors' settings with --recipe dice_mf",
        );
    }
    if config.select == Split::Test {
        let valid = if data.count(Split::Valid) > 0 { ", which the data has" } else { "" };
        output.remark(format_args!(
            "the epoch, c and tau are chosen on the test split, as in the paper: such numbers are too high as a forecast; \
             --select valid chooses on a validation split{valid}"
        ));
    }
}
