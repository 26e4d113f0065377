//! `rank` on the device against the CPU: the same lists, bit for bit.
#![cfg(feature = "cuda")]

mod command;
mod emulator;
mod tables;

use macr::{
    Branch, Csr, Edges, Error, Evaluator, InteractionsBuilder, Ranking, Recommender, Split,
    backend::{
        Ranks,
        cpu::rank::Ranker as CpuRanker,
        cuda::{
            Device, Purpose,
            rank::{DeviceTables, Ranker, Seen},
        },
    },
    device::Resolved,
    eval::{GroupBy, Mask},
};
use tables::{Case, Random, grid, model, rankings, same, sweep};

const PURPOSE: Purpose = Purpose { what: "a test", lower: "nothing" };

/// Compares the device's lists with the CPU's.
fn check(case: &Case, device: &Device, rankings: &[Ranking], k: usize) {
    let (tables, users, seen) = (case.tables(), case.everybody(), [case.seen()]);
    let cpu = CpuRanker::new(&tables, rankings, k).unwrap().top_k(&users, &seen).unwrap();
    let cuda = Ranker::new(device, &tables, rankings, k).unwrap().top_k(&users, &seen).unwrap();
    let shape = format!("D {}, {} items, k {k}", case.dim, case.popularity.len());
    same(&cuda, &cpu, rankings, &shape);
}

#[test]
fn lists_are_those_of_the_cpu_for_any_embedding_size() {
    let Some(device) = emulator::device() else { return };
    for (seed, dim) in (0..).zip([1, 7, 32, 64, 65, 128, 300]) {
        // Neither users nor items fill their last tile.
        let case = Case::random(seed, 131, 270, dim, seed % 3 != 2);
        check(&case, &device, &[Ranking { c: 0.7, tau: 0.1 }], 20);
        check(&case, &device, &rankings([(-1.0, 0.0), (0.0, 0.0), (2.0, -0.3)]), 1);
    }
}

#[test]
fn lists_are_those_of_the_cpu_for_any_length_and_rankings() {
    let Some(device) = emulator::device() else { return };
    let case = Case::random(7, 20, 400, 8, true);
    for rankings in [vec![Ranking::default()], grid(3, 1), sweep(), grid(4, 3)] {
        for k in [1, 20, 33, 100, 400] {
            check(&case, &device, &rankings, k);
        }
    }
    // More than fit in one pass.
    check(&case, &device, &grid(10, 7), 20);
}

#[test]
fn long_lists_take_all_warps_that_there_is_room_for() {
    let Some(device) = emulator::device() else { return };
    // Lists of 512 and 1,024; the latter of more items than that.
    let case = Case::random(8, 12, 1300, 4, true);
    for k in [400, 1000, 1024] {
        check(&case, &device, &[Ranking { c: 1.0, tau: 0.0 }], k);
        check(&case, &device, &sweep()[..5], k);
    }
}

#[test]
fn the_fewest_users_and_items() {
    let Some(device) = emulator::device() else { return };
    for items in [1, 2, 127, 128, 129] {
        let case = Case::random(items as u64, 3, items, 5, true);
        check(&case, &device, &sweep(), items);
        check(&case, &device, &[Ranking::default()], 1);
    }
}

#[test]
fn equal_scores_are_ordered_by_item() {
    let Some(device) = emulator::device() else { return };
    // All scores equal; then few different ones, of both signs of zero.
    let mut case = Case::random(11, 130, 1000, 6, false);
    case.items.fill(0.5);
    check(&case, &device, &sweep()[..3], 20);
    case.items.fill(0.0);
    check(&case, &device, &[Ranking::default()], 200);
    for (at, item) in case.items.iter_mut().enumerate() {
        *item = [0.0, -0.0, 1.0, -1.0][at / 6 % 4];
    }
    case.users.iter_mut().for_each(|x| *x = x.signum());
    check(&case, &device, &grid(1, 3), 50);
}

#[test]
fn the_best_items_may_come_last() {
    let Some(device) = emulator::device() else { return };
    // One component, in the order of any tiling: every tile replaces lists, forwards for one user, backwards for
    // another.
    let mut case = Case::random(12, 3, 3000, 1, false);
    case.users = vec![1.0, -1.0, 0.5];
    for (item, value) in case.items.iter_mut().enumerate() {
        *value = item as f32;
    }
    case.popularity = (0..3000).collect();
    check(&case, &device, &rankings([(0.0, 0.0), (0.0, 100.0), (0.0, -100.0)]), 20);
}

/// What the tensor cores are given is rounded to 8 bits: these tables are made so that the rounded scores say as little
/// as they can of the order of the true ones.
#[test]
fn rounding_misleads_nobody() {
    let Some(device) = emulator::device() else { return };
    let all = rankings([(0.0, 0.0), (0.5, 0.0), (0.0, 1e-3)]);
    for dim in [1, 31, 32, 33, 64, 200] {
        // Nearly the same item over and over: the order is in the last bits.
        let mut case = Case::random(20, 40, 600, dim, true);
        case.gates.as_mut().unwrap().fill(0.75);
        for item in 1..600 {
            for d in 0..dim {
                case.items[item * dim + d] = case.items[d] * (1.0 + 1e-7 * ((item * 7919 + d) % 64) as f32);
            }
        }
        check(&case, &device, &all, 20);
        // Components halfway between two bf16, and those next to them, so that all roundings of a row go one way: those
        // of the lower scores up, those of the higher ones down.
        let mut case = Case::random(21, 40, 600, dim, false);
        let way =
            |row: usize, up: u32| 1.0 + 1.0 / 256.0 + (up as f32 - 0.5) * 2f32.powi(-20) * (row % 5) as f32;
        for (row, x) in case.users.iter_mut().enumerate() {
            *x = way(row / dim, (row / dim % 2) as u32);
        }
        for (row, x) in case.items.iter_mut().enumerate() {
            *x = way(row / dim, (row / dim % 2) as u32);
        }
        check(&case, &device, &all, 20);
    }
}

#[test]
fn components_of_any_magnitude_are_ranked() {
    let Some(device) = emulator::device() else { return };
    let all = rankings([(0.0, 0.0), (1.0, 0.1)]);
    for (user, item) in [
        // Below the normal numbers, on either side; beyond what bf16 holds; sums that vanish.
        (1e-41, 1e30),
        (1e30, 1e-41),
        (3.4e38, 1e-3),
        (1e-3, 3.4e38),
        (1e-22, 1e-22),
        (1e-30, 1e-30),
    ] {
        let mut case = Case::random(22, 135, 300, 40, false);
        case.users.iter_mut().for_each(|x| *x *= user);
        case.items.iter_mut().for_each(|x| *x *= item);
        check(&case, &device, &all, 20);
        // Some rows of another kind among them.
        case.users[40 * 7..40 * 9].iter_mut().for_each(|x| *x = 1e-3 * x.signum());
        case.items[40 * 100..40 * 150].iter_mut().for_each(|x| *x = 1e-3 * x.signum());
        check(&case, &device, &all, 20);
    }
}

#[test]
fn many_chunks_come_in_the_order_of_the_users() {
    let Some(device) = emulator::device() else { return };
    // More tiles than the device works on at once: both lanes are used again, and users come more than once.
    let case = Case::random(13, 300, 40, 3, true);
    let users: Vec<u32> = (0..5 * 8 * 128 + 77).map(|at| (at * 7 % 300) as u32).collect();
    let (tables, seen, rankings) = (case.tables(), [case.seen()], sweep());
    let cpu = CpuRanker::new(&tables, &rankings[..2], 5).unwrap().top_k(&users, &seen).unwrap();
    let ranker = Ranker::new(&device, &tables, &rankings[..2], 5).unwrap();
    same(&ranker.top_k(&users, &seen).unwrap(), &cpu, &rankings[..2], "many chunks");
    let ranker: &dyn Ranks = &ranker;
    let blocks = ranker.map_blocks(&users, &seen, |block| (block.first, block.users.to_vec())).unwrap();
    let mut next = 0;
    for (first, some) in blocks {
        assert_eq!((first, &users[next..next + some.len()]), (next, &some[..]));
        next += some.len();
    }
    assert_eq!(next, users.len());
    assert!(ranker.top_k(&[], &seen).unwrap().is_empty());
}

#[test]
fn several_sets_of_seen_items() {
    let Some(device) = emulator::device() else { return };
    let (a, b) = (Case::random(14, 40, 90, 4, true), Case::random(15, 40, 90, 4, true));
    let (tables, users, k) = (a.tables(), a.everybody(), 90);
    for sets in
        [vec![], vec![a.seen()], vec![b.seen(), a.seen()], vec![a.seen(), b.seen(), a.seen(), b.seen()]]
    {
        let cpu = CpuRanker::new(&tables, &sweep(), k).unwrap().top_k(&users, &sets).unwrap();
        let cuda = Ranker::new(&device, &tables, &sweep(), k).unwrap();
        same(&cuda.top_k(&users, &sets).unwrap(), &cpu, &sweep(), &format!("{} sets", sets.len()));
    }
    assert!(Seen::new(&device, &[a.seen(); 5]).unwrap_err().to_string().contains("5 sets"));
}

#[test]
fn tables_on_the_device_are_ranked_where_they_are() {
    let Some(device) = emulator::device() else { return };
    for (dim, stride, hidden) in [(7, 8, Some(0)), (64, 64, None), (33, 36, Some(0)), (10, 12, Some(5))] {
        let case = Case::random(16, 140, 200, dim, false);
        // What stands in the padding is of no account.
        let pad = |table: &[f32]| -> Vec<f32> {
            let row = |row: &[f32]| [row, &vec![f32::NAN; stride - dim][..]].concat();
            table.chunks_exact(dim).flat_map(row).collect()
        };
        let weights = |from: usize, n: usize| case.items[from..from + n].iter().map(|w| w * 2.0).collect();
        let branch = hidden.map(|hidden| match hidden {
            0 => Branch::Linear { weight: weights(0, dim) },
            _ => Branch::Mlp {
                w1: weights(0, hidden * dim),
                b1: weights(200, hidden),
                w2: weights(300, hidden),
                b2: 0.3,
            },
        });
        let users = device.upload(PURPOSE, &pad(&case.users)).unwrap();
        let items = device.upload(PURPOSE, &pad(&case.items)).unwrap();
        let tables = DeviceTables {
            dim,
            strides: [stride; 2],
            users: &users,
            items: &items,
            item_branch: branch.as_ref().map(|branch| (branch, &items)),
            popularity: &case.popularity,
        };
        let model = model(&case, branch.clone());
        let downloaded = model.tables().unwrap();
        let (everybody, seen) = (case.everybody(), [case.seen()]);
        let cuda = Ranker::on_device(&device, &tables, &sweep(), 20).unwrap();
        let cpu = CpuRanker::new(&downloaded, &sweep(), 20).unwrap().top_k(&everybody, &seen).unwrap();
        same(&cuda.top_k(&everybody, &seen).unwrap(), &cpu, &sweep(), &format!("D {dim}, stride {stride}"));

        // Embeddings that are not finite are found where they are used.
        let mut broken = case.users.clone();
        broken[5 * dim] = f32::NAN;
        let users = device.upload(PURPOSE, &pad(&broken)).unwrap();
        let ranker =
            Ranker::on_device(&device, &DeviceTables { users: &users, ..tables }, &sweep(), 20).unwrap();
        assert!(ranker.top_k(&everybody, &seen).unwrap_err().to_string().contains("range of f32"));
        let mut broken = case.items.clone();
        broken[5 * dim] = f32::INFINITY;
        let items = device.upload(PURPOSE, &pad(&broken)).unwrap();
        let error = Ranker::on_device(&device, &DeviceTables { items: &items, ..tables }, &sweep(), 20);
        assert!(matches!(error.unwrap_err(), Error::Data { .. }));
    }
}

#[test]
fn bad_requests_are_refused_in_the_words_of_the_cpu() {
    let Some(device) = emulator::device() else { return };
    let refused = |case: &Case, rankings: &[Ranking], k: usize| {
        let tables = case.tables();
        let cpu = CpuRanker::new(&tables, rankings, k).unwrap_err();
        let cuda = Ranker::new(&device, &tables, rankings, k).unwrap_err();
        assert_eq!(cuda.to_string(), cpu.to_string());
    };
    let case = || Case::random(17, 4, 20, 4, true);
    let plain = [Ranking::default()];
    for k in [0, 21] {
        refused(&case(), &plain, k);
    }
    refused(&case(), &[], 5);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        refused(&case(), &rankings([(bad, 0.0)]), 5);
        refused(&case(), &rankings([(0.0, bad)]), 5);
        let mut broken = case();
        broken.users[9] = bad;
        refused(&broken, &plain, 5);
        let mut broken = case();
        broken.items[9] = bad;
        refused(&broken, &plain, 5);
        let mut broken = case();
        broken.gates.as_mut().unwrap()[2] = bad;
        refused(&broken, &plain, 5);
    }
    let mut large = case();
    large.users.fill(1e20);
    large.items.fill(1e20);
    refused(&large, &plain, 5);

    let (case, long) = (case(), Case::random(18, 2, 1100, 1, false));
    let (tables, many) = (case.tables(), long.tables());
    let (cpu, cuda) =
        (CpuRanker::new(&tables, &plain, 1).unwrap(), Ranker::new(&device, &tables, &plain, 1).unwrap());
    let short = Csr { offsets: &[0], indices: &[] };
    let beyond = Csr { offsets: &[0, 1, 1, 1, 1], indices: &[20] };
    for (users, seen) in [(vec![4], vec![]), (vec![0], vec![short]), (vec![0], vec![beyond])] {
        let refused = cuda.top_k(&users, &seen).unwrap_err().to_string();
        assert_eq!(refused, cpu.top_k(&users, &seen).unwrap_err().to_string());
    }
    let error = Ranker::new(&device, &many, &plain, 1025).unwrap_err().to_string();
    assert!(error.contains("1024") && error.contains("--device cpu"), "{error}");
}

#[test]
fn evaluations_and_recommendations_are_the_same_on_both_devices() {
    let Some(device) = emulator::device() else { return };
    let device = Resolved::Cuda(device);
    let case = Case::random(19, 150, 300, 16, false);
    let mut random = Random(77);
    let mut pairs = [Vec::new(), Vec::new(), Vec::new()];
    for user in 0..150 {
        for item in 0..300 {
            match random.uniform() {
                x if x < 0.05 => pairs[0].push((user, item)),
                x if x < 0.07 => pairs[1].push((user, item)),
                x if x < 0.09 => pairs[2].push((user, item)),
                _ => {}
            }
        }
    }
    let [train, valid, test] = pairs.map(Edges::from_pairs);
    let data = InteractionsBuilder::new(150, 300)
        .split(Split::Train, train)
        .split(Split::Valid, valid)
        .split(Split::Test, test)
        .build()
        .unwrap();
    let model = model(&case, Some(Branch::Linear { weight: case.items[..16].to_vec() }));
    for (mask, rankings) in [(Mask::Train, vec![]), (Mask::TrainAndValid, sweep())] {
        let evaluator = Evaluator::new(&data, Split::Test)
            .ks(&[1, 20, 50])
            .mask(mask)
            .rankings(&rankings)
            .groups(GroupBy::Deciles);
        let cpu = evaluator.evaluate(&model).unwrap();
        assert_eq!(evaluator.clone().device(&device).evaluate(&model).unwrap(), cpu);
    }
    let recommender = Recommender::new(&model).unwrap().seen(&data);
    let users = case.everybody();
    let cpu = recommender.recommend(&users, 10).unwrap();
    let recommender = recommender.device(&device);
    assert_eq!(recommender.recommend(&users, 10).unwrap(), cpu);
    let similar = recommender.similar_items(&[0, 5, 299], 7).unwrap();
    let on_cpu = Recommender::new(&model).unwrap().similar_items(&[0, 5, 299], 7).unwrap();
    assert_eq!(similar, on_cpu);
}

#[test]
fn the_command_ranks_on_the_device_that_is_named() {
    if !emulator::equip(&mut command::Place::empty().command(&[])) {
        return eprintln!("skipped: no C++ compiler, or a real GPU");
    }
    let place = command::Place::with_run();
    let evaluate = ["evaluate", "run", "--data", "data.macr", "--c", "0,1,2", "--json", "--device"];
    let recommend = ["recommend", "run", "--data", "data.macr", "--json", "--device"];
    for arguments in [&evaluate[..], &recommend[..]] {
        let output = |device: &str| {
            let mut command = place.command(&[arguments, &[device]].concat());
            assert!(emulator::equip(&mut command));
            command.output().unwrap()
        };
        let cpu = output("cpu");
        assert!(cpu.status.success() && !cpu.stdout.is_empty(), "{cpu:?}");
        for device in ["cuda", "auto"] {
            let cuda = output(device);
            assert!(
                String::from_utf8_lossy(&cuda.stderr).contains("ranking on CUDA emulator (cuda:0)"),
                "{cuda:?}"
            );
            assert!(cuda.status.success() && cuda.stdout == cpu.stdout, "{cuda:?}");
        }
        let none = output("cuda:7");
        assert_eq!(none.status.code(), Some(4), "{none:?}");
    }
}
