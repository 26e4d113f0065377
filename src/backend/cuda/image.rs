//! The compiled kernels.

use std::{borrow::Cow, path::PathBuf};

use crate::error::{Error, Result};

/// The compiler's output at the alignment that the driver reads it with.
#[cfg(macr_kernels)]
#[repr(C, align(16))]
struct Aligned<T: ?Sized>(T);

#[cfg(macr_kernels)]
static EMBEDDED: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/kernels.fatbin")));

/// The kernels to load: the file that `MACR_FATBIN` names, else those of this build.
pub(super) fn kernels() -> Result<Cow<'static, [u8]>> {
    if let Some(path) = std::env::var_os("MACR_FATBIN") {
        let path = PathBuf::from(path);
        return std::fs::read(&path).map(Cow::Owned).map_err(Error::io("read", path));
    }
    #[cfg(macr_kernels)]
    return Ok(Cow::Borrowed(&EMBEDDED.0));
    #[cfg(not(macr_kernels))]
    Err(Error::Device {
        operation: "load the GPU kernels".into(),
        message: "this build has none, since nvcc was not found when it was made".into(),
        remedy: "run scripts/install-nvcc and build again, or use --device cpu".into(),
    })
}
