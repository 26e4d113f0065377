//! The CUDA backend: what the card's memory can do, every kernel, whole steps, LightGCN's, full ranking; the CPU's
//! beside them.
//!
//! One JSON line per result on standard output, in the schema of `benches/record/README.md`, and a table for people on
//! standard error. Not criterion: times are the device's own, and a result carries what it moved and computed.
//! `scripts/gpu-check` runs this and keeps the results; docs/gpu.md tells how to read them.
//!
//!     cargo bench --bench cuda -- [--quick] [--small] [--data FOLDER] [--only ceilings,kernels,steps,lightgcn,ranking]
//!
//! Without a GPU it says so and measures nothing. `--small`: tiny sizes, for trying it out.

mod ceilings;
mod kernels;
mod lightgcn;
mod ranking;
mod report;
mod steps;
#[path = "../workloads/mod.rs"]
mod workloads;

use std::{env, path::PathBuf};

use macr::{
    Storage,
    backend::cuda::{Device, Purpose},
};

const BENCH: Purpose = Purpose { what: "a measurement", lower: "its size (--small)" };

/// What the command line asks for.
struct Options {
    quick: bool,
    small: bool,
    data: Option<PathBuf>,
    only: Vec<String>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Self {
        let mut options = Options { quick: false, small: false, data: None, only: Vec::new() };
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} needs a value"));
            match argument.as_str() {
                "--quick" => options.quick = true,
                "--small" => options.small = true,
                "--data" => options.data = Some(value().into()),
                "--only" => options.only = value().split(',').map(String::from).collect(),
                // What cargo passes.
                "--bench" => {}
                other => panic!("unknown argument {other}"),
            }
        }
        options
    }

    fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == part)
    }

    /// How often something is measured.
    fn repeats(&self) -> usize {
        match (self.small, self.quick) {
            (true, _) => 2,
            (_, true) => 10,
            _ => 40,
        }
    }
}

fn main() -> macr::Result<()> {
    let options = Options::parse(env::args().skip(1));
    let device = match Device::open(0) {
        Ok(device) => device,
        Err(reason) => {
            eprintln!("nothing is measured: {reason}");
            return Ok(());
        }
    };
    eprintln!("{}", device.description().name);
    if options.wants("ceilings") {
        ceilings::measure(&device, &options)?;
    }
    for workload in workloads::Workload::ALL {
        let workload = if options.small { workload.small() } else { workload };
        let data = workload.data(options.data.as_deref());
        if options.wants("kernels") {
            kernels::measure(&device, &options, &workload, &data)?;
        }
        if options.wants("steps") {
            steps::measure(&device, &options, &workload, &data)?;
        }
        // The rest is of f32.
        if workload.storage != Storage::F32 {
            continue;
        }
        if options.wants("lightgcn") {
            lightgcn::measure(&device, &options, &workload, &data)?;
        }
        if options.wants("ranking") && workload.name == workloads::Workload::ML10M.name {
            ranking::measure(&device, &options, &workload, &data)?;
        }
    }
    Ok(())
}
