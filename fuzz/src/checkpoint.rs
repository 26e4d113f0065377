//! A run's checkpoint: manifest and state. The input is what it has other than a true one: a JSON merge patch of the
//! manifest, and behind `---` on a line of its own the state, if it is another. Sizes and checksums are put right.

use std::{fs, sync::OnceLock};

use macr::{
    Checkpoint, Config, Edges, Error, Interactions, InteractionsBuilder, Observer, Result, Split, Trainer,
    train::{Progress, checkpoint::prune},
};
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_128;

use super::folder;

/// A training that takes no time, and its checkpoint in parts.
struct World {
    data: Interactions,
    config: Config,
    manifest: Value,
    state: Vec<u8>,
    best: Vec<u8>,
}

pub fn run(input: &[u8]) {
    static WORLD: OnceLock<World> = OnceLock::new();
    let world = WORLD.get_or_init(|| World::new().expect("a small training"));
    let (patch, state) = match input.windows(5).position(|w| w == b"\n---\n") {
        Some(at) => (&input[..at], &input[at + 5..]),
        None => (input, &world.state[..]),
    };
    let mut manifest = world.manifest.clone();
    let body = match serde_json::from_slice(patch) {
        Ok(patch) => {
            merge(&mut manifest, &patch);
            put_right(&mut manifest, "state", state);
            put_right(&mut manifest, "best", &world.best);
            manifest.to_string()
        }
        // A manifest that is no JSON.
        Err(_) => String::from_utf8_lossy(patch).into_owned(),
    };
    let folder = folder().join("checkpoints");
    let text = format!("{{\"checksum\":\"{:032x}\",\n\"checkpoint\": {body}}}\n", xxh3_128(body.as_bytes()));
    for (name, bytes) in
        [("step-1.json", text.as_bytes()), ("step-1.safetensors", state), ("best-1.safetensors", &world.best)]
    {
        fs::write(folder.join(name), bytes).expect("a file in memory");
    }
    let Ok(Some(checkpoint)) = Checkpoint::newest(&folder) else { return };
    prune(&folder, 1).expect("a manifest that was read");
    let trainer = Trainer::new(&world.data, world.config.clone()).expect("as before");
    let Ok(trainer) = trainer.resume(&checkpoint) else { return };
    match trainer.fit(&mut Few::default()) {
        Ok(_) | Err(Error::Interrupted { .. } | Error::Diverged { .. } | Error::Config { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

/// Stops a training after some steps.
#[derive(Default)]
struct Few(std::cell::Cell<u32>);

impl Observer for Few {
    fn stop(&self) -> bool {
        self.0.set(self.0.get() + 1);
        self.0.get() > 3
    }
}

/// Keeps the last checkpoint of a training.
struct Keep(Option<Checkpoint>);

impl Observer for Keep {
    fn checkpoint_is_due(&mut self, _: &Progress, finished: bool) -> bool {
        finished
    }

    fn checkpoint(&mut self, checkpoint: Checkpoint) -> Result<()> {
        self.0 = Some(checkpoint);
        Ok(())
    }
}

impl World {
    fn new() -> Result<Self> {
        let pairs = (0..6u32).flat_map(|u| (0..3).map(move |k| (u, (u + k * k) % 5)));
        let data = InteractionsBuilder::new(6, 5)
            .split(Split::Train, Edges::from_pairs(pairs))
            .split(Split::Valid, Edges::from_pairs([(0, 3), (1, 0), (4, 2)]))
            .build()?;
        let config = |epochs| Config {
            objective: "macr".into(),
            dim: 2,
            batch_size: 4,
            epochs,
            eval_every: 1,
            k: 2,
            ..Config::default()
        };
        let mut kept = Keep(None);
        Trainer::new(&data, config(1))?.fit(&mut kept)?;
        let folder = folder().join("checkpoints");
        fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        if let Some(checkpoint) = kept.0 {
            checkpoint.save(&folder)?;
        }
        let (mut manifest, mut state, mut best) = (Value::Null, Vec::new(), Vec::new());
        for entry in fs::read_dir(&folder).expect("a folder").flatten() {
            let bytes = fs::read(entry.path()).expect("a file");
            match entry.file_name().to_str().expect("a name") {
                name if name.ends_with(".json") => {
                    let all: Value = serde_json::from_slice(&bytes).expect("JSON");
                    manifest = all["checkpoint"].clone();
                }
                name if name.starts_with("best") => best = bytes,
                _ => state = bytes,
            }
            fs::remove_file(entry.path()).expect("a file");
        }
        Ok(World { data, config: config(3), manifest, state, best })
    }
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Default::default());
    }
    let Value::Object(object) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            object.remove(key);
        } else {
            merge(object.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Has the manifest name this file.
fn put_right(manifest: &mut Value, key: &str, bytes: &[u8]) {
    if let Some(Value::Object(listed)) = manifest.get_mut(key) {
        let name = if key == "state" { "step-1.safetensors" } else { "best-1.safetensors" };
        listed.insert("name".into(), name.into());
        listed.insert("bytes".into(), bytes.len().into());
        listed.insert("checksum".into(), format!("{:032x}", xxh3_128(bytes)).into());
    }
}
