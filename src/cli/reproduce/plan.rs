//! Which trainings are needed, which of them the engine has, and what they cost.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::xxh3_128;

use super::{
    cache::{self, Found, Record},
    targets::{SYSTEMS, Target, Variant},
};
use crate::{
    backbone::{Backbone, LightGcn},
    cli::{memory::Estimate, output::Output, recipes, system::Memory},
    config::Config,
    data::{Interactions, Split, split::carve_valid},
    device::DeviceChoice,
    error::{Error, Result},
    model::Carved,
    objective::EXPOMF,
    report::Grouping,
    train::{Placement, Rehearsal, Trainer},
};

/// Trainings end after about so many evaluations: those of Adressa took 18 to 64.
pub const TYPICAL_EVALUATIONS: u64 = 30;
/// Values of c to choose from where it is chosen on a validation split.
const C_GRID: [f64; 6] = [0.0, 10.0, 20.0, 30.0, 40.0, 50.0];

/// How the epoch, c and tau are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// On the test split, as the authors' program does.
    Paper,
    /// On a validation split; nothing is chosen on the test split.
    Clean,
}

/// Data to reproduce on.
#[derive(Debug)]
pub struct Dataset {
    /// As tables show it.
    pub name: String,
    /// Name for files.
    pub file: String,
    /// Whose recipes are used.
    pub recipes: &'static str,
    /// Whether it is that dataset, by its numbers of users and items.
    pub of_paper: bool,
    /// The interactions.
    pub data: Interactions,
}

impl Dataset {
    /// Everything at `paths`: files and folders of one dataset each, or folders of such folders.
    ///
    /// # Errors
    /// If a path is no data, or data has no test split.
    pub fn open_all(paths: &[PathBuf], output: &Output) -> Result<Vec<Self>> {
        let mut datasets: Vec<Dataset> = Vec::new();
        for path in paths {
            for path in within(path)? {
                let data = crate::cli::open_data(&path, output)?;
                if data.count(Split::Test) == 0 {
                    return Err(Error::data(
                        format!("{} has no test split", path.display()),
                        "make one with `macr split`",
                    ));
                }
                let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                let known = recipes::of_size(data.users(), data.items())?;
                let of_paper = known.is_some();
                let mut file = known.as_ref().map_or(stem.clone(), |(key, _)| (*key).to_owned());
                let (recipes, name) = known.unwrap_or(("adressa", stem));
                file.retain(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter));
                while datasets.iter().any(|other| other.file == file) {
                    file.push('x');
                }
                datasets.push(Dataset { name, file, recipes, of_paper, data });
            }
        }
        Ok(datasets)
    }

    /// Whether a training of `config` takes a validation split from train.
    fn carves(&self, config: &Config) -> bool {
        config.select == Split::Valid && self.data.count(Split::Valid) == 0
    }

    /// A configuration of as much work as `config`, on the data as it is: a validation split that is yet to be taken has
    /// about as many users as the test split.
    fn as_it_is(&self, config: &Config) -> Config {
        Config { select: if self.carves(config) { Split::Test } else { config.select }, ..config.clone() }
    }

    /// The data of a training: with the validation split that it selects on, which is taken from train where it is
    /// missing. `None` where the data is as it is.
    ///
    /// # Errors
    /// If train is too small.
    pub fn carved(&self, config: &Config) -> Result<Option<(Interactions, Carved)>> {
        if !self.carves(config) {
            return Ok(None);
        }
        let data = carve_valid(&self.data, None, config.seed)?;
        let interactions = data.count(Split::Valid);
        Ok(Some((data, Carved { from: self.data.checksum(), interactions, seed: config.seed })))
    }
}

/// Items and users in groups: by the authors' cuts for Adressa, else of equally many members.
///
/// # Errors
/// As [`recipes::of_size`].
pub fn grouping(data: &Interactions) -> Result<Grouping> {
    let known = recipes::of_size(data.users(), data.items())?;
    Ok(match known {
        Some(("adressa", _)) => Grouping::adressa(data),
        _ => Grouping::quantiles(data),
    })
}

/// `path` itself if it is data, else the folders in it that have a train file.
fn within(path: &Path) -> Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return if path.exists() {
            Ok(vec![path.into()])
        } else {
            Err(Error::data(
                format!("there is no data at {}", path.display()),
                "name it with --data; datasets/README.md says where the paper's is, and `macr synth` generates some",
            ))
        };
    }
    let has_train = |folder: &Path| {
        let names = fs::read_dir(folder).into_iter().flatten().flatten();
        names.into_iter().any(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            name.starts_with("train.") || name.contains(".train.")
        })
    };
    if has_train(path) {
        return Ok(vec![path.into()]);
    }
    let entries = fs::read_dir(path).map_err(Error::io("read", path))?;
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "macr") || path.is_dir() && has_train(path))
        .collect();
    found.sort();
    if found.is_empty() {
        return Err(Error::data(
            format!("{} has no data: no train file, and no folder with one", path.display()),
            "name interaction files, or folders with a train and a test file",
        ));
    }
    Ok(found)
}

/// One training.
#[derive(Debug)]
pub struct Training {
    /// Position of its dataset.
    pub dataset: usize,
    /// `mf`, `macr_mf`, ...
    pub recipe: &'static str,
    /// As asked for first; others may share it.
    pub variant: Variant,
    /// Its settings.
    pub config: Config,
    /// Where it runs; never `auto`.
    pub device: DeviceChoice,
    /// Bytes that it takes of a GPU's memory; `None` on the CPU.
    pub gpu_memory: Option<u64>,
    /// Everything that decides its result.
    pub identity: String,
    /// Its run folder.
    pub folder: PathBuf,
    /// What is there.
    pub found: Found,
    /// What it costs; none if it is not needed.
    pub cost: Option<Rehearsal>,
}

impl Training {
    /// Name for people.
    pub fn name(&self, datasets: &[Dataset]) -> String {
        let Training { recipe, variant, config, dataset, .. } = self;
        format!("{} {}, seed {}", datasets[*dataset].name, labelled(recipe, variant), config.seed)
    }

    /// Seconds that it is expected to take, and at most; 0 where it is done or cannot be done.
    pub fn seconds(&self) -> [f64; 2] {
        let Some(Rehearsal { epoch_seconds, evaluation_seconds }) = self.cost else { return [0.0; 2] };
        let Config { epochs, eval_every, .. } = self.config;
        let seconds = |epochs: u64| epochs as f64 * (epoch_seconds + evaluation_seconds / eval_every as f64);
        [seconds(epochs.min(TYPICAL_EVALUATIONS.saturating_mul(eval_every))), seconds(epochs)]
    }

    /// The finished run.
    pub fn record(&self) -> Option<&Record> {
        match &self.found {
            Found::Finished(record) => Some(record),
            _ => None,
        }
    }
}

/// A recipe, with the variant where it is not the recipe as it is.
fn labelled(recipe: &str, variant: &Variant) -> String {
    if variant.changes.is_empty() { recipe.to_owned() } else { format!("{recipe}, {}", variant.name) }
}

/// Everything that decides what a training gives: every setting, also where it is the default's, which may change.
fn decides(config: &Config, device: &str, data: &str) -> Result<String> {
    let (numerics, settings) = (cache::NUMERICS, config.to_toml()?);
    Ok(format!("numerics {numerics}\ndevice {device}\ndata {data}\n{settings}"))
}

/// What cannot be trained, and why.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Missing {
    /// Name of the dataset.
    pub dataset: String,
    /// The recipe, with the variant where it is about that.
    pub system: String,
    /// Why.
    pub reason: String,
}

/// Everything that is to be done.
#[derive(Debug)]
pub struct Plan {
    /// What is to be made.
    pub targets: Vec<Target>,
    /// On what.
    pub datasets: Vec<Dataset>,
    /// Position of the dataset of Tables 3 to 5 and of the figures.
    pub main: usize,
    /// The trainings, each once.
    pub trainings: Vec<Training>,
    /// What cannot be trained.
    pub missing: Vec<Missing>,
    /// How is chosen.
    pub protocol: Protocol,
    /// Number of seeds, from 0.
    pub seeds: u64,
    /// Settings over the recipes.
    pub overrides: toml::Table,
}

/// What is asked for.
#[derive(Debug)]
pub struct Request<'a> {
    /// What is to be made.
    pub targets: &'a [Target],
    /// How is chosen.
    pub protocol: Protocol,
    /// Number of seeds.
    pub seeds: u64,
    /// Settings over the recipes.
    pub overrides: toml::Table,
    /// Where.
    pub device: DeviceChoice,
    /// Folder of the runs.
    pub runs: &'a Path,
}

impl Plan {
    /// The plan for `request` on `datasets`, with what is already there.
    ///
    /// # Errors
    /// If settings cannot be used, or a device that is asked for is not there.
    pub fn new(request: Request<'_>, datasets: Vec<Dataset>) -> Result<Self> {
        let Request { targets, protocol, seeds, overrides, device, runs } = request;
        let main = datasets.iter().position(|d| d.of_paper && d.recipes == "adressa").unwrap_or(0);
        let mut plan = Plan {
            targets: Target::each(targets),
            datasets,
            main,
            trainings: Vec::new(),
            missing: Vec::new(),
            protocol,
            seeds,
            overrides,
        };
        for target in plan.targets.clone() {
            let on = if target == Target::Table2 { 0..plan.datasets.len() } else { main..main + 1 };
            for dataset in on {
                for (recipe, variant) in target.needs() {
                    for seed in 0..seeds {
                        plan.add(dataset, recipe, &variant, seed, device, runs)?;
                    }
                }
            }
        }
        Ok(plan)
    }

    /// The settings of a training, or why there are none.
    fn config(&self, dataset: usize, recipe: &str, variant: &Variant, seed: u64) -> Result<Config> {
        let dataset = &self.datasets[dataset];
        let found = recipes::find(&format!("{}/{recipe}", dataset.recipes), 0, 0)?;
        let own_negatives = found.settings.get("negatives").map(ToString::to_string);
        let mut config = Config::default().with(found.settings)?;
        if variant.changes.contains_key("negatives") {
            let refuse = |negatives: &str, problem: &str| {
                Err(Error::config("negatives", negatives, problem, "there is no such variant of it"))
            };
            match own_negatives {
                Some(own) => return refuse(&own, "its own way of drawing negatives is part of the method"),
                None if config.objective == EXPOMF => return refuse("none", "it draws no samples"),
                None => {}
            }
        }
        if self.protocol == Protocol::Clean {
            config = config.with(toml::toml! { select = "valid" })?;
            if config.objective == "macr" {
                config.c = C_GRID.map(|c| c as f32).to_vec();
            }
        }
        config = config.with(self.overrides.clone())?;
        config = config.with(variant.changes(&config.objective))?;
        config.seed = seed;
        Ok(config)
    }

    fn add(
        &mut self,
        dataset: usize,
        recipe: &'static str,
        variant: &Variant,
        seed: u64,
        device: DeviceChoice,
        runs: &Path,
    ) -> Result<()> {
        let config = match self.config(dataset, recipe, variant, seed) {
            Ok(config) => config,
            Err(error) => {
                match error {
                    Error::Unknown { what, .. } => {
                        self.lacks(dataset, recipe, format!("the engine has no such {what}"));
                    }
                    other => self.lacks(dataset, &labelled(recipe, variant), other.to_string()),
                }
                return Ok(());
            }
        };
        let data = &self.datasets[dataset].data;
        let as_it_is = self.datasets[dataset].as_it_is(&config);
        let Placement { device, gpu_memory, .. } = match Placement::new(data, &as_it_is, device) {
            Ok(placement) => placement,
            Err(error @ (Error::Config { .. } | Error::Unknown { .. })) => {
                self.lacks(dataset, &labelled(recipe, variant), error.to_string());
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let kind = if gpu_memory.is_some() { "cuda" } else { "cpu" };
        let identity = decides(&config, kind, &data.checksum())?;
        let key = format!("{:032x}", xxh3_128(identity.as_bytes()));
        if self.trainings.iter().any(|training| training.identity == key) {
            return Ok(());
        }
        let file = &self.datasets[dataset].file;
        let folder = runs.join(format!("{file}-{recipe}-{seed}-{}", &key[..12]));
        let found = cache::look(&folder, &key);
        self.trainings.push(Training {
            dataset,
            recipe,
            variant: variant.clone(),
            config,
            device: device.choice(),
            gpu_memory,
            identity: key,
            folder,
            found,
            cost: None,
        });
        Ok(())
    }

    /// Notes that a training did not come to its end.
    pub fn failed(&mut self, training: usize, error: &Error) {
        let Training { dataset, recipe, variant, config, .. } = &self.trainings[training];
        let system = format!("{}, seed {}", labelled(recipe, variant), config.seed);
        self.lacks(*dataset, &system, error.to_string());
    }

    fn lacks(&mut self, dataset: usize, system: &str, reason: String) {
        let dataset = self.datasets[dataset].name.clone();
        let missing = Missing { dataset, system: system.into(), reason };
        if !self.missing.contains(&missing) {
            self.missing.push(missing);
        }
    }

    /// The training of `recipe` with `variant` on `dataset`.
    pub fn find(&self, dataset: usize, recipe: &str, variant: &Variant, seed: u64) -> Option<&Training> {
        let config = self.config(dataset, recipe, variant, seed).ok()?;
        self.trainings.iter().find(|t| t.dataset == dataset && t.recipe == recipe && t.config == config)
    }

    /// Positions of the trainings that are still to be done, the longest first.
    pub fn todo(&self) -> Vec<usize> {
        let mut todo = self.needed();
        todo.retain(|&k| self.trainings[k].cost.is_some());
        let expected = |k: usize| self.trainings[k].seconds()[0];
        todo.sort_by(|&a, &b| expected(b).total_cmp(&expected(a)));
        todo
    }

    /// Positions of the trainings that no finished run is there for.
    pub fn needed(&self) -> Vec<usize> {
        (0..self.trainings.len()).filter(|&k| self.trainings[k].record().is_none()).collect()
    }

    /// Finds what every missing training costs with the threads that there are, by a few steps of each kind; what the
    /// engine refuses is missing.
    ///
    /// # Errors
    /// If a device fails.
    pub fn rehearse(&mut self, output: &Output) -> Result<()> {
        let mut known: HashMap<String, Option<Rehearsal>> = HashMap::new();
        let needed = self.needed();
        let bar = output.progress(needed.len() as u64, "rehearsing");
        for k in needed {
            bar.inc(1);
            let Training { dataset, recipe, ref variant, ref config, device, .. } = self.trainings[k];
            // The same work: seeds and weights aside.
            let mut shape = self.datasets[dataset].as_it_is(config);
            (shape.seed, shape.alpha, shape.beta, shape.l2, shape.learning_rate) =
                (0, 1e-3, 1e-3, 1e-5, 1e-3);
            let kind = format!("{dataset}\n{device}\n{}", shape.to_toml()?);
            let cost = match known.get(&kind) {
                Some(cost) => *cost,
                None => {
                    let data = &self.datasets[dataset].data;
                    let placement = Placement::new(data, &shape, device)?;
                    let rehearsal = Trainer::on(&placement.device, data, shape).and_then(Trainer::rehearse);
                    let system = labelled(recipe, variant);
                    let cost = match rehearsal {
                        Ok(cost) => Some(cost),
                        Err(error @ (Error::Config { .. } | Error::Unknown { .. })) => {
                            self.lacks(dataset, &system, error.to_string());
                            None
                        }
                        Err(error) => return Err(error),
                    };
                    known.insert(kind, cost);
                    cost
                }
            };
            self.trainings[k].cost = cost;
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Refuses trainings that cannot fit into the host's memory, even one after the other, before any is begun.
    ///
    /// # Errors
    /// [`Error::Memory`] for the first of them.
    pub fn admit(&self) -> Result<()> {
        let (memory, threads) = (Memory::now(), rayon::current_num_threads() as u64);
        for k in self.needed() {
            let training = &self.trainings[k];
            let data = &self.datasets[training.dataset].data;
            let Some(need) = self.need(training, threads)? else { continue };
            memory.admit(
                "one of the trainings",
                need.of_host(training.gpu_memory).saturating_sub(data.file_bytes()),
                "lower dim or batch_size with --config, or --threads",
            )?;
        }
        Ok(())
    }

    /// The most memory of the host, and of a GPU, that one of `trainings` needs with one thread.
    ///
    /// # Errors
    /// If memory runs out.
    pub fn peak(&self, trainings: &[usize]) -> Result<[u64; 2]> {
        trainings.iter().try_fold([0; 2], |[host, gpu], &k| {
            let training = &self.trainings[k];
            let need = self.need(training, 1)?.map_or(0, |need| need.of_host(training.gpu_memory));
            Ok([need.max(host), training.gpu_memory.unwrap_or(0).max(gpu)])
        })
    }

    /// The memory that a training needs; none of what the engine refuses, which the rehearsal finds.
    fn need(&self, training: &Training, threads: u64) -> Result<Option<Estimate>> {
        let (config, dataset) = (&training.config, &self.datasets[training.dataset]);
        let data = &dataset.data;
        let original_bytes = if dataset.carves(config) { data.file_bytes() } else { 0 };
        let lightgcn = match config.backbone {
            Backbone::Mf => Ok(None),
            Backbone::LightGcn => LightGcn::new(data, config.layers, config.batch_size, config.propagation)
                .map(|(lightgcn, _)| Some(lightgcn)),
        };
        match lightgcn.and_then(|lightgcn| Estimate::new(data, original_bytes, config, lightgcn, threads)) {
            Ok(need) => Ok(Some(need)),
            Err(Error::Config { .. } | Error::Unknown { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The systems of Table 2 that `dataset` has no training of.
    pub fn lacking(&self, dataset: usize) -> Vec<&'static str> {
        let trained = |recipe| self.trainings.iter().any(|t| t.dataset == dataset && t.recipe == recipe);
        SYSTEMS.iter().filter(|system| !trained(system.recipe)).map(|system| system.name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_decides() {
        let config = Config::default();
        let identity = decides(&config, "cpu", "0123").unwrap();
        // All by name, none left to the default.
        let settings = identity.splitn(4, '\n').last().unwrap();
        let named: toml::Table = settings.parse().unwrap();
        assert!(named.keys().eq(toml::Table::try_from(&config).unwrap().keys()), "{identity}");
        let raised = Config { init_std: 0.02, ..config.clone() };
        for other in [decides(&raised, "cpu", "0123"), decides(&config, "cuda", "0123")] {
            assert_ne!(other.unwrap(), identity);
        }
        assert_ne!(decides(&config, "cpu", "4567").unwrap(), identity);
    }
}
