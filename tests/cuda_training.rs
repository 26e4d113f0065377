//! Whole trainings on the device, through recorded and replayed sequences, against the CPU.
#![cfg(feature = "cuda")]

mod emulator;
mod parameters;
mod trainings;

use std::{hash::Hasher, path::PathBuf, process::Command};

use macr::{
    Config, Edges, Error, Evaluator, Interactions, InteractionsBuilder, Recommender, Split, Trainer,
    backend::{
        Backend, Losses, Parameters, Settings,
        cpu::Cpu,
        cuda::{Cuda, Device, memory},
    },
    data::{
        import::{ImportOptions, import},
        synth::{self, Preset},
    },
    device::Resolved,
    objective::{self, BranchKind, DiceLoss, Pairing, RegForm},
    optim::{Adam, CatchUp},
    sampling::{Negatives, Sampler, SamplerKind},
    storage::Storage,
    train::sequence::minibatch,
};
use parameters::{bits, close, distance, flat};

const USERS: u32 = 700;
const ITEMS: u32 = 211;
const SIZE: (u32, u32) = (USERS, ITEMS);

fn world() -> Interactions {
    let pairs = (0..USERS).flat_map(|u| (0..2 + u % 9).map(move |k| (u, (u * 7 + k * k * (k + 3)) % ITEMS)));
    InteractionsBuilder::new(USERS, ITEMS).split(Split::Train, Edges::from_pairs(pairs)).build().unwrap()
}

/// One training, of which only what differs between the tests is said.
#[derive(Clone, Copy)]
struct Training<'a> {
    data: &'a Interactions,
    objective: &'a str,
    pairing: Pairing,
    kind: SamplerKind,
    negatives: Negatives,
    batch: u32,
    dim: usize,
    storage: Storage,
    catch_up: CatchUp,
    branch: BranchKind,
    reg_form: RegForm,
    dice_loss: DiceLoss,
}

impl<'a> Training<'a> {
    fn new(data: &'a Interactions) -> Self {
        Training {
            data,
            objective: "macr",
            pairing: Pairing::Rows,
            kind: SamplerKind::UserUniform,
            negatives: Negatives::Popularity(0.5),
            batch: 130,
            dim: 24,
            storage: Storage::F32,
            catch_up: CatchUp::Quadrature,
            branch: BranchKind::Linear,
            reg_form: RegForm::Cross,
            dice_loss: DiceLoss::Bpr,
        }
    }

    fn sampler(&self) -> Sampler<'a> {
        Sampler::new(self.data, self.kind, self.negatives, self.batch, 3).unwrap()
    }

    fn config(&self) -> Config {
        let &Training { reg_form, dice_loss, pairing, objective, .. } = self;
        Config { reg_form, dice_loss, pairing, ..trainings::weights(objective) }
    }

    fn settings(&self) -> Settings {
        Settings {
            dim: self.dim,
            storage: self.storage,
            lightgcn: None,
            adam: Adam::default(),
            catch_up: self.catch_up,
            branch: self.branch,
            branch_input: Default::default(),
            l2: 1e-4,
            seed: 3,
        }
    }

    fn cpu(&self) -> Cpu<'a> {
        let objective = objective::build(&self.config(), &self.sampler()).unwrap();
        Cpu::new(SIZE, self.sampler(), objective, self.settings()).unwrap()
    }

    fn cuda(&self, device: &Device) -> Cuda<'a> {
        let config = self.config();
        let objective = objective::build(&config, &self.sampler()).unwrap();
        Cuda::new(device, SIZE, self.sampler(), objective.as_ref(), self.settings()).unwrap()
    }
}

/// All trainings that are compared with the CPU.
fn trainings(data: &Interactions) -> Vec<Training<'_>> {
    let base = Training::new(data);
    let margin = Negatives::Margin { margin: 4, per_positive: 5 };
    let mut all = vec![
        base,
        Training { objective: "bce", dim: 5, ..base },
        Training { objective: "bpr", kind: SamplerKind::Interaction, batch: 77, dim: 64, ..base },
        Training { kind: SamplerKind::Interaction, batch: 1000, dim: 150, ..base },
        Training { catch_up: CatchUp::Replay, batch: 40, dim: 7, ..base },
        Training { pairing: Pairing::AllPairs, kind: SamplerKind::Interaction, batch: 90, dim: 30, ..base },
        Training { branch: BranchKind::Mlp(9), dim: 10, ..base },
        Training { branch: BranchKind::Mlp(33), pairing: Pairing::AllPairs, batch: 70, dim: 20, ..base },
        Training { storage: Storage::F16, dim: 33, ..base },
        Training { storage: Storage::F16, catch_up: CatchUp::Replay, batch: 40, dim: 7, ..base },
        Training {
            storage: Storage::Bf16,
            objective: "bpr",
            kind: SamplerKind::Interaction,
            dim: 20,
            ..base
        },
        Training { objective: "dice", negatives: margin, dim: 24, ..base },
        Training { objective: "dice", dice_loss: DiceLoss::Bce, negatives: margin, dim: 24, ..base },
        Training { objective: "reg", reg_form: RegForm::Same, dim: 17, ..base },
        Training { objective: "reg", reg_form: RegForm::Decay, dim: 32, ..base },
    ];
    for (k, (objective, ..)) in objective::REGISTRY.iter().enumerate() {
        for storage in [Storage::F32, [Storage::F16, Storage::Bf16][k % 2]] {
            let kind = SamplerKind::Interaction;
            all.push(Training { objective, storage, kind, batch: 100, dim: 10, ..base });
        }
    }
    all
}

#[test]
fn begins_with_the_parameters_of_the_cpu() {
    let _alone = emulator::alone();
    let Some(device) = emulator::device() else { return };
    let data = world();
    for training in trainings(&data) {
        let (cpu, cuda) =
            (training.cpu().parameters().unwrap(), training.cuda(&device).parameters().unwrap());
        assert_eq!(bits(&flat(&cpu)), bits(&flat(&cuda)), "D {}", training.dim);
    }
}

#[test]
fn losses_and_parameters_follow_the_cpu() {
    let _alone = emulator::alone();
    let Some(device) = emulator::device() else { return };
    let data = world();
    for training in trainings(&data) {
        let Training { objective, reg_form, dim, storage, catch_up, .. } = training;
        let case = format!("{objective} {reg_form:?} D {dim} {storage} {catch_up}");
        let (mut cpu, mut cuda) = (training.cpu(), training.cuda(&device));
        for step in 0..100 {
            let (expected, got) = (cpu.repeat(1, &minibatch).unwrap(), cuda.repeat(1, &minibatch).unwrap());
            for (part, (expected, got)) in expected.iter().zip(got).enumerate() {
                let error = (got - expected).abs();
                assert!(
                    error <= 1e-5 * expected.abs(),
                    "{case}, step {step}, part {part}: {got}, CPU {expected}"
                );
            }
        }
        // Adam divides by sqrt(v): where v is tiny, rounding grows; a step is 1e-3.
        let [a, b] = [cpu.parameters(), cuda.parameters()].map(|parameters| flat(&parameters.unwrap()));
        close(storage, &a, &b, 2e-5, &case);
    }
}

fn train(device: &Device, training: Training<'_>, lengths: &[u64]) -> (Losses, Parameters) {
    let mut engine = training.cuda(device);
    let mut losses = Losses::default();
    for &steps in lengths {
        for (sum, loss) in losses.iter_mut().zip(engine.repeat(steps, &minibatch).unwrap()) {
            *sum += loss;
        }
        // An evaluation in between must not change what follows.
        engine.parameters().unwrap();
    }
    (losses, engine.parameters().unwrap())
}

#[test]
fn any_cut_into_repeats_gives_the_same_bits() {
    let _alone = emulator::alone();
    let Some(device) = emulator::device() else { return };
    let data = world();
    // More than a chunk of 64 steps, with and without a rest, and an odd number of them.
    let training = Training { dim: 7, batch: 50, ..Training::new(&data) };
    let (losses, whole) = train(&device, training, &[135]);
    for lengths in [&[135][..], &[1, 2, 67, 65], &[64, 71], &[3; 45]] {
        let (sums, parts) = train(&device, training, lengths);
        assert_eq!(bits(&flat(&whole)), bits(&flat(&parts)), "{lengths:?}");
        for (a, b) in losses.iter().zip(sums) {
            assert!((a - b).abs() <= 1e-12 * a.abs(), "{lengths:?}: {a} and {b}");
        }
    }
}

#[test]
fn quadrature_and_replay_agree() {
    let _alone = emulator::alone();
    let Some(device) = emulator::device() else { return };
    let data = world();
    let run = |catch_up| {
        let training = Training { batch: 40, dim: 9, catch_up, ..Training::new(&data) };
        flat(&train(&device, training, &[120]).1)
    };
    let far = distance(&run(CatchUp::Quadrature), &run(CatchUp::Replay));
    assert!(far < 2e-5, "{far}");
}

/// Prints a hash of all bits of trainings whose popular items have many samples.
#[test]
fn prints_the_bits_of_a_training() {
    let _alone = emulator::alone();
    let Some(device) = emulator::device() else { return };
    let data = crowded();
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    let base = Training { batch: 90, dim: 20, kind: SamplerKind::Interaction, ..Training::new(&data) };
    let objectives = objective::REGISTRY.iter().zip(Storage::ALL.into_iter().cycle());
    let objectives = objectives.map(|((objective, ..), storage)| Training { objective, storage, ..base });
    for training in objectives.chain([Training { branch: BranchKind::Mlp(6), ..base }]) {
        let (losses, parameters) = train(&device, training, &[9, 4]);
        flat(&parameters).iter().for_each(|x| hash.write_u32(x.to_bits()));
        losses.iter().for_each(|x| hash.write_u64(x.to_bits()));
    }
    println!("bits {:016x}", hash.digest());
}

/// Half of all interactions are with item 7.
fn crowded() -> Interactions {
    let pairs = (0..USERS).flat_map(|u| [(u, 7), (u, (u * u) % ITEMS)]);
    InteractionsBuilder::new(USERS, ITEMS).split(Split::Train, Edges::from_pairs(pairs)).build().unwrap()
}

#[test]
fn any_order_of_blocks_and_threads_gives_the_same_bits() {
    emulator::same_bits_in_any_order("prints_the_bits_of_a_training");
}

#[test]
fn what_it_takes_is_known_before() {
    let _alone = emulator::alone();
    let Some(device) = emulator::device() else { return };
    if device.description().name != emulator::EMULATED {
        return eprintln!("skipped: a GPU hands out memory in granules, and counts code and graphs");
    }
    let data = world();
    for training in trainings(&data) {
        device.synchronize().unwrap();
        let before = device.free_memory().unwrap();
        let mut engine = training.cuda(&device);
        engine.repeat(2, &minibatch).unwrap();
        let copies = 4 * (training.dim.next_multiple_of(4) * USERS as usize) as u64;
        let taken = (before - device.free_memory().unwrap()) as u64 + copies;
        let objective = objective::build(&training.config(), &training.sampler()).unwrap();
        let known = memory(&training.sampler(), [USERS, ITEMS], objective.as_ref(), &training.settings());
        assert!(taken <= known && known < taken + (4 << 20), "{taken} bytes taken, {known} foretold");
    }
}

#[test]
fn what_cannot_be_done_is_said() {
    let _alone = emulator::alone();
    let Some(device) = emulator::device() else { return };
    let data = world();
    let training = Training::new(&data);
    let config = training.config();
    let objective = objective::build(&config, &training.sampler()).unwrap();
    let build = |users, settings| {
        Cuda::new(&device, (users, ITEMS), training.sampler(), objective.as_ref(), settings)
    };
    let error = build(USERS, Settings { dim: 1025, ..training.settings() }).unwrap_err();
    assert!(error.to_string().contains("--device cpu"), "{error}");
    let error = build(u32::MAX, Settings { dim: 1024, ..training.settings() }).unwrap_err();
    assert!(matches!(error, Error::DeviceMemory { .. }) && error.to_string().contains("--dim"), "{error}");
    // Two vectors of 513 columns are more than a row may have.
    let config = Training { objective: "cause", ..training }.config();
    let objective = objective::build(&config, &training.sampler()).unwrap();
    let settings = Settings { dim: 513, ..training.settings() };
    let error = Cuda::new(&device, SIZE, training.sampler(), objective.as_ref(), settings).unwrap_err();
    assert!(error.to_string().contains("at most 512"), "{error}");
}

#[test]
fn a_trainer_trains_on_the_device() {
    let _alone = emulator::alone();
    let Some(device) = emulator::device() else { return };
    let data = trainings::split(300, 90, 6);
    for (objective, ..) in objective::REGISTRY {
        let config = Config {
            objective: (*objective).into(),
            c: vec![0.0, 20.0],
            batch_size: 100,
            // Halves of six columns are padded.
            dim: 12,
            epochs: 4,
            eval_every: 2,
            select: Split::Test,
            ..Config::default()
        };
        let fit = |device| Trainer::on(device, &data, config.clone()).unwrap().fit(&mut ()).unwrap();
        let (cpu, on_cpu) = fit(&Resolved::Cpu);
        let (cuda, on_cuda) = fit(&Resolved::Cuda(device.clone()));
        assert_eq!(on_cpu.best_epoch, on_cuda.best_epoch, "{objective}");
        assert!((on_cpu.best.hit_rate - on_cuda.best.hit_rate).abs() < 0.01, "{objective}");
        assert!(distance(&cpu.user_embedding, &cuda.user_embedding) < 2e-5, "{objective}");
        assert!(distance(&cpu.item_embedding, &cuda.item_embedding) < 2e-5, "{objective}");
        // What was found on the device is what the CPU finds for the model that was copied from it.
        let evaluator = Evaluator::new(&data, Split::Test).rankings(&[cuda.metadata.ranking]).ks(&[config.k]);
        let found = &evaluator.evaluate(&cuda).unwrap().results[0].metrics;
        let best = &on_cuda.best;
        let expected = [best.hit_rate, best.recall, best.ndcg].map(Some);
        assert_eq!(["hit_rate", "recall", "ndcg"].map(|metric| found.get(metric)), expected, "{objective}");
    }
}

/// Of Adressa, or of data like it where that is not present.
#[test]
fn the_same_lists_after_an_epoch() {
    let _alone = emulator::alone();
    let Some(device) = emulator::device() else { return };
    let folder = std::env::var_os("MACR_TEST_DATA").map_or("../shared/data".into(), PathBuf::from);
    let data = match folder.join("adressa") {
        folder if folder.is_dir() => import(&[folder], &ImportOptions::default(), &|_| {}).unwrap().0,
        _ => synth::generate(&Preset::AdressaLike.spec()).unwrap().0,
    };
    let macr = toml::toml! { objective = "macr"
    pairing = "all_pairs"
    c = [40.0] };
    let config = Config { epochs: 1, eval_every: 1, select: Split::Test, ..Config::default() };
    let config = config.with(macr).unwrap();
    let lists = |device: &Resolved| {
        let (model, _) = Trainer::on(device, &data, config.clone()).unwrap().fit(&mut ()).unwrap();
        let users: Vec<u32> = (0..data.users()).collect();
        let lists = Recommender::new(&model).unwrap().seen(&data).recommend(&users, 20).unwrap();
        let of_user =
            |user| lists.list(user, 0).iter().map(|candidate| candidate.item()).collect::<Vec<u32>>();
        (0..users.len()).map(of_user).collect::<Vec<_>>()
    };
    let (cpu, cuda) = (lists(&Resolved::Cpu), lists(&Resolved::Cuda(device)));
    let same = cpu.iter().zip(&cuda).filter(|(a, b)| a == b).count();
    println!("{same} of {} lists are the same", cpu.len());
    assert!(1000 * same >= 999 * cpu.len(), "{same} of {}", cpu.len());
}

#[test]
fn the_command_trains_on_the_device() {
    let folder = tempfile::tempdir().unwrap();
    let pairs = (0..120u32).flat_map(|u| (0..8).map(move |k| (u, (u * 7 + k * k * (k + 3)) % 60)));
    let text: String = pairs.map(|(u, i)| format!("u{u},i{i}\n")).collect();
    std::fs::write(folder.path().join("pairs.csv"), text).unwrap();
    let train = |arguments: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_macr"));
        command.current_dir(folder.path()).args(arguments.split(' '));
        emulator::equip(&mut command).then(|| command.output().unwrap())
    };
    let common = "train pairs.csv --objective macr --epochs 1 --batch-size 50 --k 5 --force";
    let Some(output) = train(&format!("{common} --device cuda")) else {
        eprintln!("skipped: no emulated device");
        return;
    };
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && words.contains("device: CUDA emulator (cuda:0)"), "{output:?}");
    // What the GPU cannot do is left to the CPU, or refused where the GPU was asked for.
    let output = train(&format!("{common} --branch mlp:3 --device cuda")).unwrap();
    assert!(output.status.success(), "{output:?}");
    let output = train(&format!("{common} --dim 1025")).unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && words.contains("device: the CPU, since the GPU"), "{output:?}");
    let output = train(&format!("{common} --dim 1025 --device cuda")).unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(3) && words.contains("--device cpu"), "{output:?}");
    let output = train(&format!("{common} --dry-run --json --device cuda:0")).unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["device"] == "cuda:0" && report["gpu_memory"].as_u64() > Some(1 << 20), "{report}");
}

#[test]
fn trainings_side_by_side_give_the_bits_of_one_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &str, memory: Option<u64>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_macr"));
        command.current_dir(folder.path()).args(arguments.split(' '));
        command.envs(memory.map(|bytes| ("MACR_EMULATOR_MEMORY", bytes.to_string())));
        let output = emulator::equip(&mut command).then(|| command.output().unwrap())?;
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments}: {words}");
        Some((serde_json::from_slice(&output.stdout).unwrap_or(serde_json::Value::Null), words))
    };
    let world = "synth -o world.macr --users 60 --items 30 --interactions 400 --test-per-item 2";
    if run(world, None).is_none() {
        eprintln!("skipped: no emulated device");
        return;
    }
    let settings = "dim = 4\nbatch_size = 32\nepochs = 2\neval_every = 1\nk = 5\n";
    std::fs::write(folder.path().join("quick.toml"), settings).unwrap();
    let common = "reproduce table3 --data world.macr --config quick.toml --device cuda --json";
    let reproduce = |more: &str, memory| run(&format!("{common} {more}"), memory).unwrap();
    let (alone, _) = reproduce("-o alone --threads 1", None);
    let (beside, words) = reproduce("-o beside --threads 3", None);
    assert!(words.contains("5 trainings, 3 at a time with 1 of 3 threads each"), "{words}");
    assert_eq!(alone["trainings"][0]["result"]["device"], "cuda:0");
    let models = |document: &serde_json::Value| -> Vec<String> {
        let trainings = document["trainings"].as_array().unwrap();
        trainings.iter().map(|training| training["result"]["model"].to_string()).collect()
    };
    assert_eq!(models(&alone), models(&beside));
    assert_eq!(alone["tables"], beside["tables"]);

    // As many as there is memory for on the device; of these trainings the first needs the most.
    let config = format!("{}/config.toml", alone["trainings"][0]["run"].as_str().unwrap());
    let plan = format!("train world.macr --config {config} --device cuda --dry-run --json");
    let need = run(&plan, None).unwrap().0["gpu_memory"].as_u64().unwrap();
    for (memory, jobs) in [(4 * need, 3), (5 * need / 2, 2), (3 * need / 2, 1)] {
        let (plan, _) = reproduce("-o planned --threads 3 --dry-run", Some(memory));
        assert_eq!(plan["jobs"], jobs, "{memory} bytes for trainings of {need}");
    }
}
