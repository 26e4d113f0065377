//! Our side of `serve.py`.
//!
//! `serve make SHAPE FOLDER` writes a model and its data, also as text; `serve run FOLDER` loads them and then ranks
//! once for every line on standard input, `C-VALUES USERS`, and answers with the seconds it took and a digest of the
//! lists.

#[path = "../shapes/mod.rs"]
mod shapes;

use std::{error::Error, fs, io, path::Path, time::Instant};

use macr::{
    Interactions, Model, Ranking, Split,
    backend::{Ranks, cpu::rank::Ranker},
};
use shapes::Shape;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["make", shape, folder] => make(shape, Path::new(folder)),
        ["run", folder] => run(Path::new(folder)),
        _ => Err("usage: serve make SHAPE FOLDER | serve run FOLDER".into()),
    }
}

fn make(shape: &str, folder: &Path) -> Result<(), Box<dyn Error>> {
    let shape = Shape::ALL.into_iter().find(|s| s.name == shape).ok_or("no such shape")?;
    let (model, data) = shape.generate();
    fs::create_dir_all(folder)?;
    model.save(folder.join("model.safetensors"))?;
    data.save(folder.join("data.macr"))?;
    for split in [Split::Train, Split::Test] {
        let lines: String = (0..data.users())
            .map(|user| {
                let items: Vec<String> = data.by_user(split).row(user).iter().map(u32::to_string).collect();
                format!("{user} {}\n", items.join(" "))
            })
            .collect();
        fs::write(folder.join(format!("{split}.txt")), lines)?;
    }
    Ok(())
}

fn run(folder: &Path) -> Result<(), Box<dyn Error>> {
    let model = Model::load(folder)?;
    let data = Interactions::open(folder.join("data.macr"))?;
    for line in io::stdin().lines() {
        let line = line?;
        let (count, users) = line.split_once(' ').ok_or("expected two numbers")?;
        let (count, users): (usize, u32) = (count.parse()?, users.parse()?);
        let rankings: Vec<Ranking> = (0..count).map(|v| Ranking { c: 4.0 * v as f32, tau: 0.0 }).collect();
        let users: Vec<u32> = (0..users).collect();
        let start = Instant::now();
        // Everything that a call from scratch needs is timed: gates, item table, ranking, lists.
        let tables = model.tables()?;
        let top = Ranker::new(&tables, &rankings, 20)?.top_k(&users, &[data.by_user(Split::Train)])?;
        let seconds = start.elapsed().as_secs_f64();
        let digest: u64 = (0..top.len()).flat_map(|u| top.list(u, 0)).map(|c| u64::from(c.item())).sum();
        println!("{seconds} {digest}");
    }
    Ok(())
}
