//! Ctrl-C.

use std::{
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// A flag that the first signal sets: what is in progress is to be put down. The second ends the process, whatever it is
/// writing: what is half written then is removed by the next command.
///
/// A handler can be set only once in a process; where a caller has its own, that one stays.
pub fn flag() -> Arc<AtomicBool> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    let _ = ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::SeqCst) {
            process::exit(130);
        }
    });
    interrupted
}
