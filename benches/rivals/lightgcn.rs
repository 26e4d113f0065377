//! Our side of `lightgcn.py`.
//!
//! `lightgcn make SHAPE FILE` writes an interaction file; `lightgcn run FILE BATCH FORM` sets a training up and then,
//! for every line on standard input, `layer N` or `step N`, does so many layers in both directions or training steps,
//! and answers with the seconds they took.

#[path = "../shapes/mod.rs"]
mod shapes;

use std::{error::Error, io, time::Instant};

use macr::{
    Config, Interactions,
    backbone::{LightGcn, Propagation as Asked},
    backend::{
        Backend, Settings,
        cpu::{Cpu, propagation::Propagation, table::Table, team::Team},
    },
    data::graph::Graph,
    objective::{self, BranchKind, Layout},
    optim::{Adam, CatchUp},
    sampling::{Negatives, Sampler, SamplerKind},
    storage::Storage,
    train::sequence::propagated_minibatch,
};
use shapes::Shape;

const LAYERS: usize = 2;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["make", shape, file] => {
            let shape = Shape::ALL.into_iter().find(|s| s.name == shape).ok_or("no such shape")?;
            Ok(shape.generate().1.save(file)?)
        }
        ["run", file, batch, form] => run(&Interactions::open(file)?, batch.parse()?, form.parse()?),
        _ => Err("usage: lightgcn make SHAPE FILE | lightgcn run FILE BATCH auto|layers|gram".into()),
    }
}

fn run(data: &Interactions, batch: u32, form: Asked) -> Result<(), Box<dyn Error>> {
    let (lightgcn, _) = LightGcn::new(data, LAYERS, batch, form)?;
    let shape = (data.users(), data.items());
    let settings = Settings {
        dim: Shape::DIM,
        storage: Storage::F32,
        lightgcn: Some(lightgcn),
        adam: Adam::default(),
        catch_up: CatchUp::Quadrature,
        branch: BranchKind::Linear,
        branch_input: Default::default(),
        l2: 1e-5,
        seed: 1,
    };
    let sampler = Sampler::new(data, SamplerKind::UserUniform, Negatives::Uniform, batch, 1)?;
    let bce = objective::build(&Config { objective: "bce".into(), ..Config::default() }, &sampler)?;
    let mut engine = Cpu::new(shape, sampler, bce, settings)?;
    let [rows, _] = Layout::Whole.shapes(Shape::DIM, true);
    let table = |n: u32, stream| Table::xavier(n as usize, Shape::DIM, rows, Storage::F32, 1, stream);
    let tables = [table(shape.0, 0)?, table(shape.1, 1)?];
    let both = [&tables[0], &tables[1]];
    // A propagation of two layers computes all layers but the last for all rows: one.
    let layers = LightGcn { layers: LAYERS, form: macr::backbone::Form::Layers };
    let mut propagation = Team::enter(|team| Propagation::new(Graph::new(data), layers, both, team))
        .expect("it fits into memory");
    for line in io::stdin().lines() {
        let line = line?;
        let (what, times) = line.split_once(' ').ok_or("expected a word and a number")?;
        let times: u64 = times.parse()?;
        let seconds = match what {
            "layer" => Team::enter(|team| {
                let start = Instant::now();
                (0..times).for_each(|_| propagation.forward(team, both));
                start.elapsed()
            }),
            "step" => {
                let start = Instant::now();
                engine.repeat(times, &propagated_minibatch)?;
                start.elapsed()
            }
            _ => return Err(format!("`{what}` is neither `layer` nor `step`").into()),
        };
        println!("{}", seconds.as_secs_f64());
    }
    Ok(())
}
