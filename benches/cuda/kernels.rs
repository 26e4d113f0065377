//! Every kernel of a step, on batches and tables of a training that has begun.
//!
//! "cold": with a cache full of other data, one launch at a time. "warm": recorded launches one after the other, as in
//! a training, the time divided by their number.

use macr::{
    Branch as HostBranch, Interactions, Result,
    backend::{
        cpu::branch::Branch as CpuBranch,
        cuda::{
            Buffer, Device, Timer,
            adam::{Optimiser, StepRules},
            all_pairs::{AllPairs, Inputs, Outputs},
            apply::{self, Apply, Before},
            batch::Batch,
            branch::Branch,
            ceiling::Ceiling,
            gather::{self, Gather, Gathered},
            sample::Samples,
            step::{self, Pairs, Scalars, Step},
            table::{Table, parts},
        },
        streams,
    },
    objective::{BranchKind, Pairing},
};

use crate::{
    BENCH, Options,
    report::Line,
    workloads::{Loss, Workload},
};

/// Steps of a chunk whose results are held at once.
const HELD: usize = 8;

/// A training, step by step: what `Cuda` does, with a hand on each launch.
struct Chain {
    device: Device,
    samples: Samples,
    optimiser: Optimiser,
    rules: StepRules,
    tables: [Table; 2],
    branches: [Option<Branch>; 2],
    gathered: Vec<[Gathered; 2]>,
    scalars: Vec<Scalars>,
    gather: Gather,
    step: Step,
    all_pairs: Option<AllPairs>,
    apply: Apply,
    l2: f32,
}

impl Chain {
    fn new(
        device: &Device,
        workload: &Workload,
        data: &Interactions,
        loss: Loss,
        chunk: u32,
    ) -> Result<Self> {
        let (sampler, settings) = (workload.sampler(data), workload.settings());
        let objective = workload.objective(data, loss);
        let (dim, seed, batch) = (settings.dim, settings.seed, workload.batch as usize);
        let (users, items) = (data.users() as usize, data.items() as usize);
        let slots = [batch.min(users), (2 * batch).min(items)];
        let branch = |wanted: bool, stream| {
            let host = wanted.then(|| CpuBranch::new(BranchKind::Linear, dim, seed, stream).export());
            let Some(HostBranch::Linear { weight }) = host else { return Ok(None) };
            Branch::new(device, &weight).map(Some)
        };
        let gathered = || Ok([Gathered::new(device, slots[0], dim)?, Gathered::new(device, slots[1], dim)?]);
        let parts = parts(objective.layout(), dim, false);
        let steps = sampler.steps_per_epoch();
        let step = Step::new(device, objective.as_ref(), batch, parts, steps)?;
        Ok(Chain {
            samples: Samples::new(device, &sampler, data.users(), chunk)?,
            optimiser: Optimiser::new(device, settings.adam, settings.catch_up)?,
            rules: StepRules::new(device, chunk as usize)?,
            tables: [
                Table::xavier(device, users, dim, parts[0], settings.storage, seed, streams::USERS)?,
                Table::xavier(device, items, dim, parts[1], settings.storage, seed, streams::ITEMS)?,
            ],
            branches: [
                branch(objective.user_branch(), streams::USER_BRANCH)?,
                branch(objective.item_branch(), streams::ITEM_BRANCH)?,
            ],
            gathered: (0..HELD).map(|_| gathered()).collect::<Result<_>>()?,
            scalars: (0..HELD).map(|_| step.scalars()).collect::<Result<_>>()?,
            gather: Gather::new(device, [dim; 2], settings.storage, slots)?,
            all_pairs: objective
                .all_pairs()
                .map(|form| AllPairs::new(device, form, workload.batch))
                .transpose()?,
            apply: Apply::new(
                device,
                objective.as_ref(),
                parts,
                settings.storage,
                batch,
                slots,
                sampler.users_are_distinct(),
            )?,
            step,
            l2: settings.l2,
            device: device.clone(),
        })
    }

    fn draw(&mut self) -> Result<()> {
        self.samples.draw(self.samples.steps())
    }

    fn rules(&mut self) -> Result<()> {
        self.optimiser.rules(&self.samples.step, self.samples.steps(), &mut self.rules)
    }

    fn gather(&mut self, k: usize) -> Result<()> {
        let [users, items] = &mut self.gathered[k];
        let side = |side: usize, out| gather::Side {
            table: &self.tables[side],
            branch: self.branches[side].as_ref(),
            out,
        };
        let batch = Batch::of(&self.samples, k);
        self.gather.launch(batch, &self.optimiser, &self.rules, self.l2, [side(0, users), side(1, items)])
    }

    fn step(&mut self, k: usize) -> Result<()> {
        let [users, items] = &self.gathered[k];
        let inputs = step::Inputs::new([users, items], &self.samples);
        self.step.launch(Batch::of(&self.samples, k), inputs, &mut self.scalars[k])
    }

    fn sums(&mut self, k: usize) -> Result<()> {
        let Scalars { score_gradient, pairs, .. } = &mut self.scalars[k];
        let (Some(sums), Some(Pairs { score, gate, loss, gate_gradient })) = (&mut self.all_pairs, pairs)
        else {
            return Ok(());
        };
        let inputs = Inputs { score, gate, rows: &self.samples.rows, step: k };
        sums.launch(inputs, Outputs { loss, score_gradient, gate_gradient })
    }

    fn stage(&mut self, k: usize) -> Result<()> {
        let [users, items] = &self.gathered[k];
        let inputs = step::Inputs::new([users, items], &self.samples);
        self.step.stage(Batch::of(&self.samples, k), inputs, &mut self.scalars[k])
    }

    fn apply(&mut self, k: usize) -> Result<()> {
        let [user_branch, item_branch] = &mut self.branches;
        let [user_table, item_table] = &mut self.tables;
        let [users, items] = &self.gathered[k];
        let sides = [
            apply::Side { table: user_table, branch: user_branch.as_mut(), dx: None, bias: None, own: users },
            apply::Side { table: item_table, branch: item_branch.as_mut(), dx: None, bias: None, own: items },
        ];
        let before =
            Before { gather: &self.gather, step: &self.step, scalars: &self.scalars[k], penalty: None };
        self.apply.launch(Batch::of(&self.samples, k), &self.optimiser, self.l2, before, sides)
    }

    /// A new chunk, and its first steps up to their gradients.
    fn forward(&mut self) -> Result<()> {
        self.draw()?;
        self.rules()?;
        for k in 0..HELD {
            self.gather(k)?;
            self.step(k)?;
            self.sums(k)?;
            self.stage(k)?;
        }
        Ok(())
    }
}

/// Fills the caches with other data, which it only reads.
struct Flush {
    ceiling: Ceiling,
    table: Buffer<f32>,
    ids: Buffer<u32>,
    sums: Buffer<f32>,
}

impl Flush {
    fn new(device: &Device, small: bool) -> Result<Self> {
        // 256 bytes a row: several times the largest cache.
        let rows = if small { 1 << 10 } else { 1 << 20 };
        let ids: Vec<u32> = (0..rows as u32).collect();
        Ok(Flush {
            ceiling: Ceiling::new(device)?,
            table: device.zeros(BENCH, 64 * rows)?,
            ids: device.upload(BENCH, &ids)?,
            sums: device.zeros(BENCH, 64 * rows / 32)?,
        })
    }

    fn queue(&mut self) -> Result<()> {
        // SAFETY: ids are below the number of rows.
        unsafe { self.ceiling.gather(&self.table, &self.ids, &mut self.sums) }
    }
}

type Launch = fn(&mut Chain, usize) -> Result<()>;

/// One kernel's times, cold and warm. `launches` launches are made of one `forward`.
fn time(
    chain: &mut Chain,
    flush: &mut Flush,
    options: &Options,
    launches: usize,
    launch: Launch,
) -> Result<[Vec<f64>; 2]> {
    let device = chain.device.clone();
    let timers = (0..launches).map(|_| Timer::new(&device)).collect::<Result<Vec<_>>>()?;
    let mut cold = Vec::new();
    for repeat in 0..=options.repeats() {
        chain.forward()?;
        for (k, timer) in timers.iter().enumerate() {
            // Also gives the host time to queue what follows.
            flush.queue()?;
            timer.start()?;
            launch(chain, k)?;
            timer.stop()?;
        }
        let seconds = timers.iter().map(Timer::seconds).collect::<Result<Vec<_>>>()?;
        // The first warms up.
        if repeat > 0 {
            cold.extend(seconds);
        }
    }
    let graph = device.capture(|| (0..launches).try_for_each(|k| launch(chain, k)))?;
    let mut warm = Vec::new();
    for repeat in 0..=options.repeats() {
        chain.forward()?;
        timers[0].start()?;
        // SAFETY: the chain and its buffers live until the timer is read.
        unsafe { graph.replay(1)? };
        timers[0].stop()?;
        let seconds = timers[0].seconds()? / launches as f64;
        if repeat > 0 {
            warm.push(seconds);
        }
    }
    Ok([cold, warm])
}

/// What a launch moves and computes: bytes that must move at least, bytes asked for, operations.
type Cost = (u64, Option<u64>, Option<u64>);

pub fn measure(device: &Device, options: &Options, workload: &Workload, data: &Interactions) -> Result<()> {
    let chunk = if options.small { HELD as u32 } else { 64 };
    let mut flush = Flush::new(device, options.small)?;
    for loss in Workload::LOSSES {
        let (objective, pairing) = loss;
        let mut chain = Chain::new(device, workload, data, loss, chunk)?;
        // Some hundred steps, so that rows have been idle for as long as in a training.
        for _ in 0..if options.small { 1 } else { 64 } {
            chain.forward()?;
            (0..HELD).try_for_each(|k| chain.apply(k))?;
        }
        let (b, row) = (u64::from(workload.batch), 4 * chain.tables[0].stride() as u64);
        // Of parameters.
        let stored = row / 4 * workload.storage.bytes() as u64;
        let touched: u64 = [&chain.samples.touched_users, &chain.samples.touched_items]
            .into_iter()
            .map(|side| {
                let counts = side.count.read()?;
                Ok(counts.iter().map(|&n| u64::from(n)).sum::<u64>() / counts.len() as u64)
            })
            .sum::<Result<u64>>()?;
        let branched = u64::from(objective == "macr");
        // Rows of users, positives and negatives, by number.
        let fetched = 3 * b * row;
        let mut print = |name: &str, launches, per, (bytes, requested, flops): Cost, launch| -> Result<()> {
            let [cold, warm] = time(&mut chain, &mut flush, options, launches, launch)?;
            for (caches, seconds) in [("cold", cold), ("warm", warm)] {
                let mut line = Line::new("kernels", name, workload.shape());
                line.caches = Some(caches);
                (line.bytes, line.requested, line.flops) = (Some(bytes), requested, flops);
                line.print(seconds.iter().map(|seconds| seconds / f64::from(per)).collect());
            }
            Ok(())
        };
        // What depends on no objective is measured once.
        if objective == "bce" {
            // 12 bytes a row, and per side and sample 16 of results.
            print("sample", 1, chunk, (12 * b + 64 * b, None, None), |chain, _| chain.draw())?;
            print("rules", 1, chunk, (16 * 257, None, None), |chain, _| chain.rules())?;
        }
        let name = |kernel: &str| format!("{kernel}/{objective}");
        if pairing == Pairing::Rows {
            // In: p, m, v, the last step, id and count; out: the row and its logit.
            let bytes = touched * (stored + 2 * row + 16 + row + 4 * branched);
            print(&name("gather"), HELD, 1, (bytes, None, None), Chain::gather)?;
        }
        // Two dots, and with branches two rank-one updates; a multiply-add is two.
        let flops = 2 * b * (row / 4) * (2 + 3 * branched);
        let scalars = b * (24 + 4 * (2 + 3 * branched));
        print(
            &name(if pairing == Pairing::Rows { "step" } else { "scores" }),
            HELD,
            1,
            (touched * row + scalars, Some(fetched + scalars), Some(flops)),
            Chain::step,
        )?;
        if pairing == Pairing::AllPairs {
            print(&name("all_pairs"), HELD, 1, (32 * b + 12 * b, None, None), Chain::sums)?;
            print(
                &name("stage"),
                HELD,
                1,
                (touched * row + scalars, Some(fetched + scalars), None),
                Chain::stage,
            )?;
        }
        if pairing == Pairing::Rows {
            // In: own row, p, m, v, last; out: p, m, v, last; per sample its number, partner and coefficients.
            let state = touched * (2 * stored + 5 * row + 16 + 8) + 4 * b * (12 + 4 * branched);
            let flops = 2 * 4 * b * (row / 4);
            let requested = state + 4 * b * row;
            print(&name("apply"), HELD, 1, (state, Some(requested), Some(flops)), Chain::apply)?;
        }
    }
    Ok(())
}
