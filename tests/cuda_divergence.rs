//! `divergence` on the device against the CPU and the numbers themselves: one number that is not finite, anywhere, is
//! found.
#![cfg(feature = "cuda")]

mod emulator;
mod trainings;

use macr::{
    Config, Error, Split, Storage, Trainer,
    backend::{
        cpu,
        cuda::{Purpose, Stored, divergence::Divergence},
        state::Values,
    },
    device::Resolved,
};

const TEST: Purpose = Purpose { what: "a test", lower: "nothing" };

#[test]
fn a_number_that_is_not_finite_is_found_wherever_it_is() {
    let Some(device) = emulator::device() else { return };
    let mut divergence = Divergence::new(&device).unwrap();
    for storage in [Storage::F32, Storage::F16, Storage::Bf16] {
        // The largest of each form, the smallest, and zeros of both signs are finite.
        let most = match storage {
            Storage::F32 => f32::MAX,
            Storage::F16 => 65504.0,
            Storage::Bf16 => f32::from_bits(0x7f7f_0000),
        };
        let usual = [0.0, -0.0, 1.5, -2.0, most, -most, f32::MIN_POSITIVE, 6e-8];
        for length in [4, 256, 1028, 70_000] {
            let mut values: Vec<f32> = (0..length).map(|k| usual[k % usual.len()]).collect();
            let on_device = |values: &[f32]| Stored::upload(&device, TEST, storage, values).unwrap();
            let whole = on_device(&values);
            assert!(divergence.all_finite(&[&whole, &whole]).unwrap(), "{storage}, {length}");
            for (k, wrong) in
                [(0, f32::NAN), (length - 1, f32::INFINITY), (length / 2 + 1, f32::NEG_INFINITY)]
            {
                let right = std::mem::replace(&mut values[k], wrong);
                let table = on_device(&values);
                assert!(
                    !divergence.all_finite(&[&whole, &table]).unwrap(),
                    "{storage}, {length}: {wrong} at {k}"
                );
                assert!(
                    !divergence.all_finite(&[&table, &whole]).unwrap(),
                    "{storage}, {length}: {wrong} at {k}"
                );
                values[k] = right;
            }
            assert!(divergence.all_finite(&[&whole]).unwrap(), "what was found before is forgotten");
        }
    }
    assert!(divergence.all_finite(&[]).unwrap());
}

#[test]
fn the_cpu_finds_the_same() {
    let word = |high: u16, low: u16| u32::from(high) << 16 | u32::from(low);
    for bits in 0..=u16::MAX {
        for (storage, is) in [
            (Storage::F16, half::f16::from_bits(bits).is_finite()),
            (Storage::Bf16, half::bf16::from_bits(bits).is_finite()),
        ] {
            assert_eq!(cpu::divergence::all_finite(&[word(bits, 0)], storage), is, "{storage} {bits:#x}");
            assert_eq!(cpu::divergence::all_finite(&[0, word(0, bits)], storage), is, "{storage} {bits:#x}");
        }
        let word = word(bits, 1);
        assert_eq!(
            cpu::divergence::all_finite(&[word], Storage::F32),
            f32::from_bits(word).is_finite(),
            "{word:#x}"
        );
    }
}

#[test]
fn a_parameter_that_no_loss_shows_is_found_within_the_epoch() {
    let Some(device) = emulator::device() else { return };
    // User 40 has nothing, and there are so many items that no batch of the first epoch draws the last.
    let data = trainings::split_within([41, 4000], 40, 24, 6);
    for (objective, storage, table, row) in [
        ("bce", Storage::F32, "users", 40),
        ("bce", Storage::F16, "items", 3999),
        ("cause", Storage::F32, "items", 3999),
        ("bs", Storage::F32, "item_bias", 3999),
    ] {
        let config = Config {
            objective: objective.into(),
            batch_size: 16,
            dim: 4,
            k: 5,
            epochs: 20,
            eval_every: 20,
            storage,
            select: Split::Test,
            ..Config::default()
        };
        for on in [Resolved::Cpu, Resolved::Cuda(device.clone())] {
            let begin = || Trainer::on(&on, &data, config.clone()).unwrap();
            let mut checkpoint = begin().checkpoint().unwrap();
            let name = format!("{table}.p");
            let tensor = checkpoint.state.tensors.iter_mut().find(|tensor| tensor.name == name).unwrap();
            let Values::F32(values) = &mut tensor.values else { panic!("numbers") };
            *values.last_mut().unwrap() = f32::INFINITY;
            let error = begin().resume(&checkpoint).unwrap().fit(&mut ()).unwrap_err();
            assert!(
                matches!(error, Error::Diverged { epoch: 1, .. }),
                "{on}, {objective}, {storage}: {error}"
            );
            let place = format!("row {row} of `{table}`");
            assert!(error.to_string().contains(&place), "{on}, {objective}, {storage}: {error}");
        }
    }
}
