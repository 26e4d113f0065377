use macr::{
    Edges, InteractionsBuilder, Split,
    backend::cpu::{Cpu, Settings},
    objective::{ObjectiveConfig, Pairing, build},
    optim::{Adam, CatchUp},
    sampling::{Negatives, Sampler, SamplerKind},
};
use std::time::Instant;
fn main() {
    let read = |p: &str| {
        let t = std::fs::read_to_string(p).unwrap();
        t.lines()
            .flat_map(|l| {
                let v: Vec<u32> = l.split_whitespace().map(|x| x.parse().unwrap()).collect();
                v[1..].iter().map(|&i| (v[0], i)).collect::<Vec<_>>()
            })
            .collect::<Vec<_>>()
    };
    let a = InteractionsBuilder::new(13485, 744)
        .split(Split::Train, Edges::from_pairs(read("/work/shared/data/adressa/train.txt")))
        .build()
        .unwrap();
    // gowalla-like: random zipf
    let (u, i, n) = (29858u32, 40981u32, 1027370u64);
    let mut x = 1u64;
    let mut rnd = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 11) as f64 / (1u64 << 53) as f64
    };
    let g = InteractionsBuilder::new(u, i)
        .split(
            Split::Train,
            Edges::from_pairs((0..n).map(|_| {
                (((rnd() * u as f64) as u32).min(u - 1), ((rnd().powf(3.0) * i as f64) as u32).min(i - 1))
            })),
        )
        .build()
        .unwrap();
    for (name, d, b, steps) in [("adressa", &a, 1024, 400u64)] {
        for (o, pairing) in [("bce", Pairing::Rows), ("macr", Pairing::Rows), ("macr", Pairing::AllPairs)] {
            let s = Sampler::new(d, SamplerKind::UserUniform, Negatives::Uniform, b, 1).unwrap();
            let c = ObjectiveConfig {
                alpha: 1e-3,
                beta: 1e-3,
                pairing,
                user_branch: true,
                item_branch: true,
                eps_compat: false,
            };
            let mut e = Cpu::new(
                (d.users(), d.items()),
                s,
                build(o, &c).unwrap(),
                Settings { dim: 64, adam: Adam::default(), catch_up: CatchUp::Quadrature, l2: 1e-5, seed: 1 },
            );
            e.run(200);
            let t = Instant::now();
            let l = e.run(steps);
            let dt = t.elapsed().as_secs_f64();
            println!(
                "{name} {o} {pairing}: {:.2} M samples/s, {:.0} us/step loss {:.4}",
                steps as f64 * b as f64 / dt / 1e6,
                dt / steps as f64 * 1e6,
                l[0] / steps as f64
            );
        }
    }
}
