//! What memory can do: a copy, and rows of 256 bytes fetched by number from tables below and beyond the cache's size.

use std::time::Instant;

use macr::{
    backend::{
        cpu::ceiling::{self, COLUMNS, ROWS},
        cuda::{Device, Timer, ceiling::Ceiling},
    },
    sampling::philox::Rng,
};

use crate::{BENCH, Options, report::Line};

const MEGABYTE: usize = 1 << 20;
/// Sizes of the tables, in MB.
const TABLES: [usize; 4] = [2, 20, 40, 60];

pub fn measure(device: &Device, options: &Options) -> macr::Result<()> {
    let ceiling = Ceiling::new(device)?;
    let timer = Timer::new(device)?;
    // Beyond every cache; the processor's share is a fraction of it, being slower.
    let copied = if options.small { MEGABYTE } else { 1024 * MEGABYTE };
    let fetched = if options.small { 1 << 12 } else { 1 << 22 };

    let length = copied / 4;
    let (from, mut to) = (device.zeros::<f32>(BENCH, length)?, device.zeros::<f32>(BENCH, length)?);
    let mut line = Line::new("ceilings", "copy", format!("{} MB", copied / MEGABYTE));
    line.bytes = Some(2 * copied as u64);
    line.print(repeat(options, || {
        timer.start()?;
        ceiling.copy(&from, &mut to)?;
        timer.stop()?;
        timer.seconds()
    })?);
    drop((from, to));
    let length = length / 4;
    let (from, mut to) = (vec![1f32; length], vec![0f32; length]);
    let mut line = Line::new("ceilings", "copy", format!("{} MB", 4 * length / MEGABYTE));
    (line.device, line.bytes) = ("cpu", Some(8 * length as u64));
    line.print(repeat(options, || {
        let start = Instant::now();
        ceiling::copy(&from, &mut to);
        Ok(start.elapsed().as_secs_f64())
    })?);

    for megabytes in TABLES {
        let rows = megabytes * MEGABYTE / (4 * COLUMNS) / if options.small { 100 } else { 1 };
        let mut random = Rng::new(1, megabytes as u64);
        let mut ids =
            |count: usize| -> Vec<u32> { (0..count).map(|_| random.below(rows as u64) as u32).collect() };
        let line = |device, count: usize| {
            let mut line = Line::new("ceilings", "gather", format!("table of {megabytes} MB"));
            line.device = device;
            line.requested = Some((count * (4 * COLUMNS + 4) + count / ROWS * 4 * COLUMNS) as u64);
            line
        };
        let host = ids(fetched);
        let table = device.zeros::<f32>(BENCH, rows * COLUMNS)?;
        let mut sums = device.zeros::<f32>(BENCH, fetched / ROWS * COLUMNS)?;
        let on_device = device.upload(BENCH, &host)?;
        line("cuda", fetched).print(repeat(options, || {
            timer.start()?;
            // SAFETY: ids are below `rows`.
            unsafe { ceiling.gather(&table, &on_device, &mut sums)? };
            timer.stop()?;
            timer.seconds()
        })?);
        let (table, host) = (vec![1f32; rows * COLUMNS], &host[..fetched / 8]);
        let mut sums = vec![0f32; host.len() / ROWS * COLUMNS];
        line("cpu", host.len()).print(repeat(options, || {
            let start = Instant::now();
            ceiling::gather(&table, host, &mut sums);
            Ok(start.elapsed().as_secs_f64())
        })?);
    }
    Ok(())
}

/// The times of repeats, after one that does not count.
pub fn repeat(options: &Options, mut once: impl FnMut() -> macr::Result<f64>) -> macr::Result<Vec<f64>> {
    once()?;
    (0..options.repeats()).map(|_| once()).collect()
}
