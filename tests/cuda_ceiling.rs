//! `ceiling` on the device against the CPU, and the timer that measures it.
#![cfg(feature = "cuda")]

mod emulator;

use macr::backend::{
    cpu::ceiling::{self, COLUMNS, ROWS},
    cuda::{Purpose, Timer, ceiling::Ceiling},
};

const TEST: Purpose = Purpose { what: "a test", lower: "nothing" };

#[test]
fn a_copy_is_whole() {
    let Some(device) = emulator::device() else { return };
    let ceiling = Ceiling::new(&device).unwrap();
    for length in [4, 1024, 4096, 4100, 12_284] {
        let values: Vec<f32> = (0..length).map(|k| k as f32).collect();
        let (from, mut to) = (device.upload(TEST, &values).unwrap(), device.zeros(TEST, length).unwrap());
        ceiling.copy(&from, &mut to).unwrap();
        assert_eq!(to.read().unwrap(), values);
    }
}

#[test]
fn sums_of_rows_are_those_of_the_cpu() {
    let Some(device) = emulator::device() else { return };
    let ceiling = Ceiling::new(&device).unwrap();
    for (rows, groups) in [(1, 1), (17, 16), (300, 50)] {
        let table: Vec<f32> = (0..rows * COLUMNS).map(|k| ((k * 7919) % 1013) as f32 / 7.0 - 70.0).collect();
        let ids: Vec<u32> = (0..groups * ROWS).map(|k| (k * k + 3 * k) as u32 % rows as u32).collect();
        let mut expected = vec![0f32; groups * COLUMNS];
        ceiling::gather(&table, &ids, &mut expected);
        for (k, &sum) in expected.iter().enumerate() {
            let row = |&id: &u32| f64::from(table[id as usize * COLUMNS + k % COLUMNS]);
            let exact: f64 = ids[k / COLUMNS * ROWS..][..ROWS].iter().map(row).sum();
            // 32 terms below 100, rounded at every addition.
            assert!((f64::from(sum) - exact).abs() < 1e-2, "sum {k}: {sum}, not {exact}");
        }
        let (table, ids) = (device.upload(TEST, &table).unwrap(), device.upload(TEST, &ids).unwrap());
        let mut sums = device.zeros(TEST, expected.len()).unwrap();
        // SAFETY: ids are below `rows`.
        unsafe { ceiling.gather(&table, &ids, &mut sums) }.unwrap();
        // Additions in the same order.
        assert_eq!(sums.read().unwrap(), expected, "{rows} rows, {groups} sums");
    }
}

#[test]
fn a_timer_tells_long_from_short() {
    let Some(device) = emulator::device() else { return };
    let ceiling = Ceiling::new(&device).unwrap();
    let time = |length: usize, times: usize| {
        let from = device.zeros::<f32>(TEST, length).unwrap();
        let mut to = device.zeros(TEST, length).unwrap();
        let timer = Timer::new(&device).unwrap();
        timer.start().unwrap();
        for _ in 0..times {
            ceiling.copy(&from, &mut to).unwrap();
        }
        timer.stop().unwrap();
        timer.seconds().unwrap()
    };
    time(1 << 14, 1);
    let (short, long) = (time(1 << 14, 1), time(1 << 14, 40));
    assert!(0.0 < short && short < long, "{short} and {long} seconds");
}
