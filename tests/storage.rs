//! Numbers of 16 bits: widened and rounded to the nearest as the crate `half` does; rounded at random without bias; the
//! random bits; models in every form.

mod trainings;

use half::{bf16, f16};
use macr::{
    Error, Model, Split, Trainer,
    config::Config,
    eval::Evaluator,
    storage::{Element, Noise, Storage},
};

/// Bits of numbers of every kind: around every number of f16, and spread over all of f32.
fn patterns() -> impl Iterator<Item = u32> {
    let around = (0..=u16::MAX).flat_map(|bits| {
        let center = f16::from_bits(bits).to_f32().to_bits();
        [0u32, 1, 2, 0xfff, 0x1000, 0x1001, 0x1fff, 0u32.wrapping_sub(1), 0u32.wrapping_sub(0x1000)]
            .map(|offset| center.wrapping_add(offset))
    });
    around.chain((0..1 << 20).map(|k: u32| k.wrapping_mul(0x9e37_79b9)))
}

#[test]
fn every_number_is_widened() {
    let halves: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
    for chunk in halves.chunks_exact(64) {
        let at_once = f16::load::<64>(chunk);
        for (half, at_once) in chunk.iter().zip(at_once) {
            let expected = half.to_f32();
            let same = |x: f32| x.to_bits() == expected.to_bits() || x.is_nan() && expected.is_nan();
            assert!(
                same(half.widen()) && same(at_once),
                "{:04x}: {}, {at_once}",
                half.to_bits(),
                half.widen()
            );
        }
    }
    for bits in 0..=u16::MAX {
        let (got, expected) = (bf16::from_bits(bits).widen(), bf16::from_bits(bits).to_f32());
        assert!(got.to_bits() == expected.to_bits() || got.is_nan() && expected.is_nan(), "{bits:04x}");
    }
}

#[test]
fn the_nearest_is_that_of_the_crate() {
    for bits in patterns() {
        let x = f32::from_bits(bits);
        let (got, expected) = (<f16 as Element>::nearest(x), f16::from_f32(x));
        assert!(got.to_bits() == expected.to_bits() || got.is_nan() && x.is_nan(), "{bits:08x}: {got}");
        let (got, expected) = (<bf16 as Element>::nearest(x), bf16::from_f32(x));
        assert!(got.to_bits() == expected.to_bits() || got.is_nan() && x.is_nan(), "{bits:08x}: {got}");
    }
}

/// How many of all words round x away from zero, and by how many units; x is between two numbers of `T`.
fn rounded_up<T: Element>(x: f32, bits: u32) -> (u32, f64, f64) {
    let words = (0..1u32 << bits).map(|k| T::stochastic(x, k << (32 - bits)).widen());
    let all: Vec<f64> = words.map(|x| f64::from(x).abs()).collect();
    let (low, high) = all.iter().fold((f64::INFINITY, 0f64), |(a, b), &x| (a.min(x), b.max(x)));
    assert!(all.iter().all(|&x| x == low || x == high), "{x}: more than two neighbours");
    (all.iter().filter(|&&x| x == high).count() as u32, low, high)
}

#[test]
fn rounding_at_random_loses_nothing_on_average() {
    for bits in patterns().step_by(997) {
        let x = f32::from_bits(bits);
        if !x.is_finite() || x.abs() >= 65504.0 {
            continue;
        }
        let exact = f64::from(x).abs();
        // All words: the mean is x, but for what is beyond 13 bits of a unit (in f16, below 2^-14).
        let (up, low, high) = rounded_up::<f16>(x, 13);
        let mean = low + (high - low) * f64::from(up) / 8192.0;
        let unit = if exact < 2f64.powi(-14) { 2f64.powi(-24) } else { 0.0 };
        assert!(low == high && low == exact || (mean - exact).abs() <= unit / 8192.0, "{x}: {mean}");
        let (up, low, high) = rounded_up::<bf16>(x, 16);
        let mean = low + (high - low) * f64::from(up) / 65536.0;
        assert!(low == high && low == exact || mean == exact, "{x}: {mean}");
    }
}

#[test]
fn what_a_form_has_stays_and_what_it_has_not_is_infinite() {
    for word in [0, 1, 0x7fff_ffff, 0xdead_beef, u32::MAX] {
        for bits in 0..=u16::MAX {
            let (half, brain) = (f16::from_bits(bits), bf16::from_bits(bits));
            let kept = <f16 as Element>::stochastic(half.to_f32(), word);
            assert!(kept.to_bits() == bits || kept.is_nan() && half.is_nan(), "{bits:04x}");
            let kept = <bf16 as Element>::stochastic(brain.to_f32(), word);
            assert!(kept.to_bits() == bits || kept.is_nan() && brain.is_nan(), "{bits:04x}");
            assert_eq!(<f32 as Element>::stochastic(1.1, word), 1.1);
        }
        for x in [65536.0, 1e9, f32::MAX, f32::INFINITY] {
            assert_eq!(<f16 as Element>::stochastic(x, word), f16::INFINITY, "{x}");
            assert_eq!(<f16 as Element>::stochastic(-x, word), f16::NEG_INFINITY, "{x}");
        }
    }
}

/// Words of one table: a million rows, columns and steps.
fn words() -> impl Iterator<Item = [u32; 5]> {
    let (noise, other) = (Noise::new(7, 0), Noise::new(7, 1));
    (0..1u32 << 20).map(move |k| {
        let (step, row, column) = (1 + u64::from(k >> 14), k >> 6 & 255, (k & 63) as usize);
        let here = noise.row(step, row);
        [
            here.word(column),
            here.word(column + 1),
            noise.row(step, row + 1).word(column),
            noise.row(step + 1, row).word(column),
            other.row(step, row).word(column),
        ]
    })
}

#[test]
fn random_bits_are_even_and_neighbours_have_nothing_in_common() {
    let uniform = |word: u32| f64::from(word) / 2f64.powi(32) - 0.5;
    let n = f64::from(1 << 20);
    let (mut bits, mut sum, mut squares, mut products) = ([0u32; 32], 0.0, 0.0, [0.0; 4]);
    for [word, neighbours @ ..] in words() {
        (0..32).for_each(|bit| bits[bit] += word >> bit & 1);
        sum += uniform(word);
        squares += uniform(word).powi(2);
        for (product, other) in products.iter_mut().zip(neighbours) {
            *product += uniform(word) * uniform(other);
        }
    }
    // Five standard deviations of independent uniform numbers.
    for (bit, &ones) in bits.iter().enumerate() {
        assert!((f64::from(ones) - n / 2.0).abs() < 5.0 * n.sqrt() / 2.0, "bit {bit}: {ones}");
    }
    assert!(sum.abs() < 5.0 * (n / 12.0).sqrt(), "mean {}", sum / n);
    assert!((squares - n / 12.0).abs() < 5.0 * (n / 180.0).sqrt(), "variance {}", squares / n);
    for (what, product) in ["column", "row", "step", "table"].into_iter().zip(products) {
        assert!(product.abs() < 5.0 * n.sqrt() / 12.0, "next {what}: correlation {}", 12.0 * product / n);
    }
    // The same numbers again, and others with another seed.
    let word = |seed| Noise::new(seed, 0).row(3, 5).word(1);
    assert!(word(1) == word(1) && word(1) != word(2));
}

#[test]
fn a_model_is_kept_as_it_was_ranked() {
    let (data, folder) = (trainings::split(200, 90, 8), tempfile::tempdir().unwrap());
    let mut sizes = Vec::new();
    for storage in Storage::ALL {
        for backbone in [macr::backbone::Backbone::Mf, macr::backbone::Backbone::LightGcn] {
            // An odd number of columns, so that tables end anywhere.
            let config = Config {
                backbone,
                storage,
                dim: 13,
                batch_size: 50,
                epochs: 12,
                eval_every: 4,
                learning_rate: 0.02,
                k: 5,
                select: Split::Test,
                ..Config::default()
            };
            let (model, summary) = Trainer::new(&data, config).unwrap().fit(&mut ()).unwrap();
            let path = folder.path().join(format!("{storage}-{backbone}.safetensors"));
            model.save(&path).unwrap();
            let again = Model::load(&path).unwrap();
            assert_eq!(again, model);
            let mut rounded = model.user_embedding.clone();
            storage.round(&mut rounded);
            assert_eq!(rounded, model.user_embedding, "{storage} {backbone}");
            let evaluation = Evaluator::new(&data, Split::Test).ks(&[5]).evaluate(&again).unwrap();
            assert_eq!(evaluation.results[0].metrics.get("hit_rate").unwrap(), summary.best.hit_rate);
            let bytes = std::fs::read(&path).unwrap();
            let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
            let dtype = [safetensors::Dtype::F32, safetensors::Dtype::F16, safetensors::Dtype::BF16];
            let table = tensors.tensor("item_embedding").unwrap();
            assert_eq!(table.dtype(), dtype[storage as usize]);
            for (name, view) in tensors.tensors() {
                let at = view.data().as_ptr() as usize - bytes.as_ptr() as usize;
                let size = view.data().len() / view.shape().iter().product::<usize>();
                assert_eq!(at % size, 0, "{storage}: tensor {name} is not aligned");
            }
            sizes.push(bytes.len());
        }
    }
    let tables = 290 * 13;
    assert!(sizes[0] - sizes[2] > 2 * tables - 200 && sizes[1] - sizes[3] > 4 * tables - 200, "{sizes:?}");
}

#[test]
fn moves_below_half_a_unit_add_up() {
    let data = trainings::split(200, 90, 8);
    let train = |storage, learning_rate, epochs| {
        let config = Config {
            storage,
            learning_rate,
            epochs,
            eval_every: epochs,
            dim: 13,
            batch_size: 50,
            k: 5,
            select: Split::Test,
            ..Config::default()
        };
        let (model, _) = Trainer::new(&data, config).unwrap().fit(&mut ()).unwrap();
        [model.user_embedding, model.item_embedding].concat()
    };
    let start = train(Storage::F32, 1e-12, 1);
    let moved = |end: Vec<f32>| -> Vec<f64> {
        end.iter().zip(&start).map(|(a, b)| f64::from(*a) - f64::from(*b)).collect()
    };
    let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    // A step is at most 1e-5. Numbers are around 0.1, where units are 6e-5 and 5e-4.
    let wide = moved(train(Storage::F32, 1e-5, 60));
    for storage in [Storage::F16, Storage::Bf16] {
        let ratio = dot(&moved(train(storage, 1e-5, 60)), &wide) / dot(&wide, &wide);
        assert!((ratio - 1.0).abs() < 0.1, "{storage} moves {ratio} times as far");
    }
}

#[test]
fn beyond_f16_is_divergence() {
    let data = trainings::split(200, 90, 8);
    let config = Config {
        storage: Storage::F16,
        batch_size: 50,
        learning_rate: 1e5,
        epochs: 3,
        eval_every: 1,
        k: 5,
        select: Split::Test,
        ..Config::default()
    };
    let error = Trainer::new(&data, config.clone()).unwrap().fit(&mut ()).unwrap_err();
    assert!(matches!(error, Error::Diverged { .. }), "{error}");
    assert!(error.to_string().contains("f16 ends at 65504: --storage bf16"), "{error}");
    // The same steps are within f32.
    let wide = Config { storage: Storage::Bf16, ..config };
    Trainer::new(&data, wide).unwrap().fit(&mut ()).unwrap();
}
