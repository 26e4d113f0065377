//! LightGCN: one propagation over all edges, and whole steps, under the names of `benches/rivals/torch_lightgcn.py`.

use macr::{
    Interactions, Result, Split,
    backbone::{Form, LightGcn},
    backend::{
        Settings,
        cpu::Cpu,
        cuda::{
            Cuda, Device, Timer,
            propagation::Propagation,
            table::{Table, whole},
        },
        streams,
    },
    data::graph::Graph,
    train::sequence::propagated_minibatch,
};

use crate::{
    Options,
    report::Line,
    steps,
    workloads::{Loss, Workload},
};

const LAYERS: usize = 2;
const LOSS: Loss = Workload::LOSSES[0];

pub fn measure(device: &Device, options: &Options, workload: &Workload, data: &Interactions) -> Result<()> {
    propagation(device, options, workload, data)?;
    let size = (data.users(), data.items());
    let objective = workload.objective(data, LOSS);
    for form in [Form::Layers, Form::Gram] {
        // The item-item product is dense.
        if form == Form::Gram && data.items() > 20_000 {
            continue;
        }
        let settings = Settings { lightgcn: Some(LightGcn { layers: LAYERS, form }), ..workload.settings() };
        let variant = if form == Form::Gram { " gram" } else { "" };
        let line = |device| {
            let name = format!("lightgcn {LAYERS} layers{variant}/{}", LOSS.0);
            let mut line = Line::new("steps", name, workload.shape());
            line.device = device;
            line.elements = Some(u64::from(workload.batch));
            line
        };
        let sampler = || workload.sampler(data);
        let mut cuda = Cuda::new(device, size, sampler(), objective.as_ref(), settings)?;
        line("cuda").print(steps::seconds(&mut cuda, options, &propagated_minibatch)?);
        let mut cpu = Cpu::new(size, sampler(), workload.objective(data, LOSS), settings)?;
        line("cpu").print(steps::seconds(&mut cpu, options, &propagated_minibatch)?);
    }
    Ok(())
}

/// One layer for users and items: every edge in both directions.
fn propagation(device: &Device, options: &Options, workload: &Workload, data: &Interactions) -> Result<()> {
    let (rows, seed) = ([data.users() as usize, data.items() as usize], 1);
    let (dim, storage) = (workload.dim, workload.storage);
    let row = whole(dim);
    let users = Table::xavier(device, rows[0], dim, row, storage, seed, streams::USERS)?;
    let items = Table::xavier(device, rows[1], dim, row, storage, seed, streams::ITEMS)?;
    let (tables, slots) = ([&users, &items], [workload.batch as usize; 2]);
    // Of two layers, `forward` computes the first.
    let lightgcn = LightGcn { layers: 2, form: Form::Layers };
    let mut propagation = Propagation::new(device, &Graph::new(data), lightgcn, tables, slots)?;
    let timer = Timer::new(device)?;
    let launches = if options.small { 2 } else { 20 };
    let mut once = || {
        timer.start()?;
        (0..launches).try_for_each(|_| propagation.forward(tables))?;
        timer.stop()?;
        Ok(timer.seconds()? / f64::from(launches))
    };
    once()?;
    let seconds = (0..options.repeats()).map(|_| once()).collect::<Result<_>>()?;
    let (edges, row) = (2 * data.count(Split::Train), 4 * workload.dim as u64);
    let mut line = Line::new("kernels", "spmm", workload.tables());
    line.caches = Some("warm");
    // Each edge's partner is two bytes where there are so few of them, and each table is read and written once.
    let index = |partners: usize| if partners <= 1 << 16 { 2 } else { 4 };
    let indices = edges / 2 * (index(rows[0]) + index(rows[1]));
    let all = (rows[0] + rows[1]) as u64;
    line.bytes = Some(indices + 2 * row * all);
    line.requested = Some(indices + row * edges + row * all);
    line.flops = Some(edges * row / 4);
    line.print(seconds);
    Ok(())
}
