#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| macr_fuzz::run(macr_fuzz::config::run, input));
