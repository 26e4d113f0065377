//! `macr doctor`: what this program finds on this machine, and what will run.

use std::env::consts::{ARCH, OS};

use serde_json::{Map, Value, json};

use super::{
    output::{Output, grouped, size},
    system,
};
use crate::{data::source::cache_folder, device::DeviceChoice, error::Result, simd};

/// Show what the program finds on this machine and what will run: processor, memory, disk, GPU.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

/// A part of the report.
struct Section {
    name: &'static str,
    facts: Vec<Fact>,
}

/// A key for programs, what it means to people, its value and how it is shown.
struct Fact {
    key: &'static str,
    label: &'static str,
    value: Value,
    shown: String,
}

/// Shown where the system does not tell.
const UNKNOWN: &str = "not known";

fn text(key: &'static str, label: &'static str, value: Option<String>) -> Fact {
    let shown = value.clone().unwrap_or_else(|| UNKNOWN.into());
    Fact { key, label, value: json!(value), shown }
}

fn number(key: &'static str, label: &'static str, value: u64) -> Fact {
    Fact { key, label, value: json!(value), shown: grouped(value) }
}

fn bytes(key: &'static str, label: &'static str, value: Option<u64>) -> Fact {
    Fact { key, label, value: json!(value), shown: value.map_or(UNKNOWN.into(), size) }
}

/// Runs `macr doctor`.
///
/// # Errors
/// None: what cannot be found out is said to be not known.
pub fn run(args: Args, output: &Output) -> Result<()> {
    let sections = [program(), cpu(), memory(), disk(), gpu(), device()];
    if args.json {
        let object = |section: &Section| -> Value {
            section.facts.iter().map(|fact| (fact.key.to_owned(), fact.value.clone())).collect()
        };
        output.json(&sections.iter().map(|s| (s.name.to_lowercase(), object(s))).collect::<Map<_, _>>());
        return Ok(());
    }
    let width = sections.iter().flat_map(|s| &s.facts).map(|fact| fact.label.len()).max().unwrap_or(0);
    for section in &sections {
        output.result(section.name);
        for fact in &section.facts {
            output.result(format_args!("  {:width$}  {}", fact.label, fact.shown));
        }
    }
    Ok(())
}

fn program() -> Section {
    let build = if cfg!(debug_assertions) { "debug (slow)" } else { "release" };
    let facts = vec![
        text("version", "version", Some(env!("CARGO_PKG_VERSION").into())),
        text("target", "target", Some(format!("{ARCH}-{OS}"))),
        text("build", "build", Some(build.into())),
    ];
    Section { name: "Program", facts }
}

fn cpu() -> Section {
    let features = simd::features();
    let shown = if features.is_empty() { "none".into() } else { features.join(", ") };
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let facts = vec![
        text("model", "model", system::cpu_model()),
        Fact { key: "features", label: "vector features", value: json!(features), shown },
        text("kernels", "kernels in use", Some(simd::kernels().into())),
        number("cores", "cores for this process", cores),
        number("threads", "threads", rayon::current_num_threads() as u64),
    ];
    Section { name: "CPU", facts }
}

fn memory() -> Section {
    let memory = system::Memory::now();
    let facts = vec![
        bytes("total", "total", Some(memory.total)),
        bytes("available", "available", Some(memory.available)),
        text("huge_pages", "transparent huge pages", system::huge_pages()),
    ];
    Section { name: "Memory", facts }
}

fn disk() -> Section {
    let cache = cache_folder();
    let facts = vec![
        text("cache", "cache folder", Some(cache.display().to_string())),
        bytes("free", "free there", system::free_disk(&cache)),
    ];
    Section { name: "Disk", facts }
}

/// What there is to compute on besides the CPU.
fn gpu() -> Section {
    let found = DeviceChoice::Cuda(0).resolve();
    let shown = found.map_or_else(|error| error.to_string(), |(_, line)| line);
    Section { name: "GPU", facts: vec![text("probe", "first GPU", Some(shown))] }
}

/// What `--device auto` comes to.
fn device() -> Section {
    let (device, shown) = match DeviceChoice::Auto.resolve() {
        Ok((device, reason)) => (device.to_string(), reason),
        Err(error) => ("none".into(), error.to_string()),
    };
    let fact = Fact { key: "auto", label: "--device auto", value: json!(device), shown };
    Section { name: "Device", facts: vec![fact] }
}
