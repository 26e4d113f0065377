//! What ptxas says of the kernels: no spills, no stack frames, and the table of `kernels/README.md` is up to date.

use std::{collections::BTreeMap, env, fmt::Write, fs, path::Path};

const TARGETS: [&str; 2] = ["sm_80", "sm_90a"];
const BEGIN: &str = "<!-- resources: begin -->\n";
const END: &str = "<!-- resources: end -->";

#[derive(Debug, Default, Clone)]
struct Use {
    registers: u32,
    shared: u32,
}

/// The number before `unit` in a line like "Used 27 registers, used 0 barriers, 512 bytes smem".
fn number(line: &str, unit: &str) -> u32 {
    let Some(at) = line.find(unit) else { return 0 };
    line[..at].trim_end().rsplit([' ', ',']).next().and_then(|n| n.parse().ok()).unwrap()
}

/// Resources by kernel and target; panics at a spill or a stack frame, of kernels and of functions that they call.
fn parse(log: &str) -> BTreeMap<String, BTreeMap<String, Use>> {
    let mut report = BTreeMap::<String, BTreeMap<String, Use>>::new();
    let (mut entry, mut function) = (None, "");
    for line in log.lines() {
        if let Some(rest) = line.split("Compiling entry function '").nth(1) {
            let mut parts = rest.split('\'');
            entry = Some((parts.next().unwrap(), parts.nth(1).unwrap()));
        } else if let Some(name) = line.split("Function properties for ").nth(1) {
            function = name;
        } else if line.contains("bytes stack frame") {
            for unit in [" bytes stack frame", " bytes spill stores", " bytes spill loads"] {
                let bytes = number(line, unit);
                assert_eq!(bytes, 0, "{function} ({entry:?}): {bytes}{unit}");
            }
        } else if line.contains(" registers") {
            let (name, target) = entry.unwrap();
            let used = Use { registers: number(line, " registers"), shared: number(line, " bytes smem") };
            report.entry(name.to_owned()).or_default().insert(target.to_owned(), used);
        }
    }
    report
}

#[test]
fn the_table_of_resources_is_up_to_date() {
    let Some(path) = option_env!("MACR_PTXAS_LOG") else {
        eprintln!("skipped: built without nvcc");
        return;
    };
    let report = parse(&fs::read_to_string(path).unwrap());
    let mut table = String::from("| kernel |");
    for target in TARGETS {
        write!(table, " {target}: registers | static shared memory |").unwrap();
    }
    writeln!(table, "\n| --- |{}", " --- | --- |".repeat(TARGETS.len())).unwrap();
    for (kernel, by_target) in &report {
        write!(table, "| `{kernel}` |").unwrap();
        for target in TARGETS {
            let used = &by_target[target];
            write!(table, " {} | {} |", used.registers, used.shared).unwrap();
        }
        writeln!(table).unwrap();
    }
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels/README.md");
    let text = fs::read_to_string(&readme).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (old, after) = rest.split_once(END).unwrap();
    if env::var_os("MACR_BLESS").is_some_and(|v| v == "1") {
        fs::write(&readme, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
    } else {
        assert!(
            old == table,
            "kernels/README.md is out of date: MACR_BLESS=1 cargo test --test kernel_report\n{table}"
        );
    }
}

#[test]
fn a_spill_is_found() {
    let log = |spill| {
        format!(
            "ptxas info    : Compiling entry function 'f' for 'sm_80'\nptxas info    : Function properties for f\n\
             \x20   0 bytes stack frame, {spill} bytes spill stores, 0 bytes spill loads\n\
             ptxas info    : Used 27 registers, used 1 barriers, 640 bytes smem, 504 bytes cmem[0]\n"
        )
    };
    let report = parse(&log(0));
    assert_eq!((report["f"]["sm_80"].registers, report["f"]["sm_80"].shared), (27, 640));
    assert!(std::panic::catch_unwind(|| parse(&log(8))).is_err());
}
