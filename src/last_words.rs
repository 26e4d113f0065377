//! What the `macr` command says when the system leaves it no way on: no more memory, or a mapped file that was cut
//! short.
//!
//! Nothing can be tidied up then, and nothing needs to be: files appear under their names only when they are whole,
//! locks end with the process, and the next command removes what is left over.

use std::alloc::{GlobalAlloc, Layout, System};
#[cfg(target_os = "linux")]
use std::sync::atomic::{AtomicBool, Ordering};

/// The system's allocator. Where it has no more, the process ends with a message and exit code 1.
pub struct Allocator;

fn served(pointer: *mut u8, bytes: usize) -> *mut u8 {
    if pointer.is_null() {
        out_of_memory(bytes);
    }
    pointer
}

// SAFETY: the system's allocator does the work; what it refuses is not returned.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is the same.
        served(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        served(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: as above.
        served(unsafe { System.realloc(pointer, layout, bytes) }, bytes)
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[cold]
fn out_of_memory(bytes: usize) -> ! {
    let mut digits = [0; 20];
    say(&[
        b"macr: out of memory: the system refused ",
        decimal(bytes, &mut digits),
        b" bytes more; what was saved before is kept: give it more memory, or less to do (--dim, --batch-size, --threads)\n",
    ]);
    exit(1)
}

/// `number` in decimal digits, without asking for memory.
fn decimal(mut number: usize, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[at..];
        }
    }
}

#[cfg(unix)]
fn say(parts: &[&[u8]]) {
    for part in parts {
        // SAFETY: the bytes are there. Where standard error is closed there is nobody to tell.
        let _ = unsafe { libc::write(libc::STDERR_FILENO, part.as_ptr().cast(), part.len()) };
    }
}

#[cfg(unix)]
fn exit(code: i32) -> ! {
    // SAFETY: ends the process at once: destructors and exit handlers could ask for memory, or for what is gone.
    unsafe { libc::_exit(code) }
}

#[cfg(not(unix))]
fn say(parts: &[&[u8]]) {
    use std::io::Write;
    for part in parts {
        let _ = std::io::stderr().write_all(part);
    }
}

#[cfg(not(unix))]
fn exit(_: i32) -> ! {
    std::process::abort()
}

/// Has a mapped file that is cut short, or whose disk fails, end the process with a message and exit code 3. The system
/// tells it by a signal at the first read beyond the end.
#[cfg(target_os = "linux")]
pub fn watch_mapped_files() {
    // SAFETY: the handler keeps to what is allowed in one. It runs on the stack of the thread that read.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = mapped_file_failed as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut());
    }
}

/// Other systems end the process in their own way.
#[cfg(not(target_os = "linux"))]
pub fn watch_mapped_files() {}

#[cfg(target_os = "linux")]
extern "C" fn mapped_file_failed(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    static SPEAKS: AtomicBool = AtomicBool::new(false);
    if SPEAKS.swap(true, Ordering::SeqCst) {
        // Several threads may read the same file: the first one says it, and ends the process.
        loop {
            // SAFETY: allowed in a handler.
            unsafe { libc::pause() };
        }
    }
    // SAFETY: the system gives a handler of this kind what happened.
    let address = unsafe { (*info).si_addr() } as usize;
    let mut line = [0; 4400];
    if let Some(length) = mapping_of(address, &mut line) {
        // The path is the last of six fields, and begins with a slash.
        let path = line[..length].iter().position(|&b| b == b'/').map_or(&b""[..], |at| &line[at..length]);
        if !path.is_empty() {
            say(&[
                b"macr: ",
                path,
                b": the file was cut short by another program, or its disk failed, while it was read; what was saved before \
                  is kept: put the file back and run the command again\n",
            ]);
            exit(3);
        }
    }
    // No file: what the system does by itself is right. The read is tried again, and ends the process.
    SPEAKS.store(false, Ordering::SeqCst);
    // SAFETY: allowed in a handler.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// Puts the line of `/proc/self/maps` whose range `address` is in into `line` and returns its length.
#[cfg(target_os = "linux")]
fn mapping_of(address: usize, line: &mut [u8; 4400]) -> Option<usize> {
    // SAFETY: the path ends with 0.
    let file = unsafe { libc::open(c"/proc/self/maps".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    let (mut chunk, mut length) = ([0u8; 4096], 0);
    loop {
        // SAFETY: reads into the chunk, at most as much as it holds.
        let n = unsafe { libc::read(file, chunk.as_mut_ptr().cast(), chunk.len()) };
        let read = usize::try_from(n).ok().filter(|&n| n > 0)?;
        for &byte in &chunk[..read] {
            if byte == b'\n' {
                if range(&line[..length]).is_some_and(|(start, end)| (start..end).contains(&address)) {
                    return Some(length);
                }
                length = 0;
            } else if length < line.len() {
                line[length] = byte;
                length += 1;
            }
        }
    }
}

/// The two hexadecimal numbers, `start-end`, that a line begins with.
#[cfg(target_os = "linux")]
fn range(line: &[u8]) -> Option<(usize, usize)> {
    let number = |digits: &[u8]| usize::from_str_radix(str::from_utf8(digits).ok()?, 16).ok();
    let dash = line.iter().position(|&b| b == b'-')?;
    let blank = line.iter().position(|&b| b == b' ')?;
    Some((number(&line[..dash])?, number(line.get(dash + 1..blank)?)?))
}
