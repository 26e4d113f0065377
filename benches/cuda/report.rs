//! Results, as lines of JSON and of a table.

use serde::Serialize;

/// One result of `benches/record/README.md`.
#[derive(Debug, Default, Serialize)]
pub struct Line {
    /// Which kind of thing was measured.
    pub part: &'static str,
    pub name: String,
    pub shape: String,
    /// Where it ran.
    pub device: &'static str,
    /// Of the caches before each repeat, where that was controlled: "cold" or "warm".
    pub caches: Option<&'static str>,
    /// The program that ran, with its version.
    pub program: String,
    pub unit: &'static str,
    pub median: f64,
    pub min: f64,
    pub max: f64,
    pub repeats: usize,
    /// Bytes that must move at least: each distinct one once.
    pub bytes: Option<u64>,
    /// Bytes that loads and stores ask for, repeated ones again.
    pub requested: Option<u64>,
    pub flops: Option<u64>,
    /// Samples trained on, or scores ranked.
    pub elements: Option<u64>,
}

impl Line {
    /// A result on the GPU.
    pub fn new(part: &'static str, name: impl Into<String>, shape: impl Into<String>) -> Self {
        Line {
            part,
            name: name.into(),
            shape: shape.into(),
            device: "cuda",
            program: concat!("macr ", env!("CARGO_PKG_VERSION")).into(),
            unit: "s",
            ..Line::default()
        }
    }

    /// Prints it with the times of the repeats, in seconds.
    pub fn print(mut self, mut seconds: Vec<f64>) {
        seconds.sort_by(f64::total_cmp);
        let n = seconds.len();
        (self.min, self.max, self.repeats) = (seconds[0], seconds[n - 1], n);
        self.median = 0.5 * (seconds[(n - 1) / 2] + seconds[n / 2]);
        let rate = |of: Option<u64>, unit| {
            of.map_or(String::new(), |of| format!("{:10.1} {unit}", of as f64 / self.median / 1e9))
        };
        eprintln!(
            "{:4} {:24} {:32} {:4} {:10.2} us  {} {} {}",
            self.device,
            self.name,
            self.shape,
            self.caches.unwrap_or(""),
            1e6 * self.median,
            rate(self.bytes, "GB/s"),
            rate(self.requested, "GB/s asked"),
            rate(self.elements, "G elements/s"),
        );
        println!("{}", serde_json::to_string(&self).expect("plain numbers and text"));
    }
}
