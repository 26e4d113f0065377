//! `macr synth`: generate a dataset with known truth.

use std::{path::PathBuf, time::Instant};

use super::{
    output::{Output, counted, grouped},
    paths,
    system::Memory,
    target::Target,
};
use crate::{
    data::{
        Split,
        synth::{self, Preset, Spec},
    },
    error::Result,
};

/// Generate a dataset with known truth: matching, popularity and conformity.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to write the dataset.
    #[arg(long, short, value_name = "FILE.macr")]
    out: PathBuf,
    /// Imitate the sizes and the popularity curve of a dataset; the other options override it.
    #[arg(long, value_enum)]
    preset: Option<Preset>,
    /// Number of users.
    #[arg(long)]
    users: Option<u32>,
    /// Number of items.
    #[arg(long)]
    items: Option<u32>,
    /// Number of interactions of all splits together.
    #[arg(long)]
    interactions: Option<u64>,
    /// Users held out for test by each item.
    #[arg(long, value_name = "K")]
    test_per_item: Option<u32>,
    /// Users held out for validation by each item.
    #[arg(long, value_name = "K")]
    valid_per_item: Option<u32>,
    /// Dimensions of the true vectors.
    #[arg(long)]
    dim: Option<usize>,
    /// Number of communities that users and items belong to [default: square root of the items].
    #[arg(long)]
    communities: Option<u32>,
    /// Distance of a member from its community's centre.
    #[arg(long)]
    spread: Option<f64>,
    /// Temperature of the matching: the lower, the more personal the choices.
    #[arg(long)]
    temperature: Option<f64>,
    /// Mean conformity of the users, above 0 and up to 1.
    #[arg(long)]
    conformity: Option<f64>,
    /// How fast popularity falls with rank.
    #[arg(long)]
    popularity_exponent: Option<f64>,
    /// Added to the rank; flattens the most popular items.
    #[arg(long)]
    popularity_offset: Option<f64>,
    /// Standard deviation of the logarithm of the users' activity.
    #[arg(long)]
    activity_deviation: Option<f64>,
    /// Seed of everything.
    #[arg(long)]
    seed: Option<u64>,
    /// Also write the truth, as FILE.truth.safetensors.
    #[arg(long)]
    truth: bool,
    /// Overwrite FILE.macr if it holds other data.
    #[arg(long)]
    force: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    fn spec(&self) -> Spec {
        let base = self.preset.map_or_else(Spec::default, Preset::spec);
        Spec {
            users: self.users.unwrap_or(base.users),
            items: self.items.unwrap_or(base.items),
            interactions: self.interactions.unwrap_or(base.interactions),
            test_per_item: self.test_per_item.unwrap_or(base.test_per_item),
            valid_per_item: self.valid_per_item.unwrap_or(base.valid_per_item),
            dim: self.dim.unwrap_or(base.dim),
            communities: self.communities.unwrap_or(base.communities),
            spread: self.spread.unwrap_or(base.spread),
            temperature: self.temperature.unwrap_or(base.temperature),
            conformity: self.conformity.unwrap_or(base.conformity),
            popularity_exponent: self.popularity_exponent.unwrap_or(base.popularity_exponent),
            popularity_offset: self.popularity_offset.unwrap_or(base.popularity_offset),
            activity_deviation: self.activity_deviation.unwrap_or(base.activity_deviation),
            seed: self.seed.unwrap_or(base.seed),
        }
    }
}

/// Runs `macr synth`.
pub fn run(args: Args, output: &Output) -> Result<()> {
    let target = Target::new(&args.out, args.force)?;
    let start = Instant::now();
    let spec = args.spec();
    // The file, which has every interaction twice, and the sorting of pairs of 8 bytes.
    let need = u64::from(spec.users) * 16 + u64::from(spec.items) * 16;
    let need = need.saturating_add(spec.interactions.saturating_mul(16));
    Memory::now().admit("the data", need, "lower --users, --items or --interactions")?;
    let (data, truth) = synth::generate(&spec)?;
    let seconds = start.elapsed().as_secs_f64();
    target.save(&data)?;
    let truth_path = args.truth.then(|| args.out.with_extension("truth.safetensors"));
    if let Some(path) = &truth_path {
        truth.save(path)?;
    }
    let [train, valid, test] = Split::ALL.map(|split| data.count(split));
    let interactions = train + valid + test;
    if args.json {
        output.json(&serde_json::json!({
            "file": paths::shown(&args.out),
            "truth": truth_path.as_deref().map(paths::shown),
            "spec": truth.spec,
            "train": train,
            "valid": valid,
            "test": test,
            "checksum": data.checksum(),
            "seconds": seconds,
        }));
        return Ok(());
    }
    output.result(format_args!(
        "{}: {}, {}, {} train, {} valid, {} test",
        args.out.display(),
        counted(data.users(), "user"),
        counted(data.items(), "item"),
        grouped(train),
        grouped(valid),
        grouped(test)
    ));
    output.result(format_args!("checksum {}", data.checksum()));
    output.remark(format_args!(
        "generated in {seconds:.2} s, {} interactions/s",
        grouped((interactions as f64 / seconds) as u64)
    ));
    Ok(())
}
