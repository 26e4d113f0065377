//! Errors of the driver, with what was attempted and what to do.

use cudarc::driver::{DriverError, sys::CUresult};

use crate::error::Error;

/// For `map_err`: wraps a driver's error with what was attempted.
pub(super) fn failed(operation: impl Into<String>) -> impl FnOnce(DriverError) -> Error {
    let operation = operation.into();
    move |error| Error::Device { operation, message: text(&error), remedy: remedy(error.0).into() }
}

/// The driver's name of an error, and its own words.
fn text(error: &DriverError) -> String {
    let name = error.error_name().map(|s| s.to_string_lossy().into_owned());
    let words = error.error_string().map(|s| s.to_string_lossy().into_owned());
    match (name, words) {
        (Ok(name), Ok(words)) if name == words => name,
        (Ok(name), Ok(words)) => format!("{words} ({name})"),
        _ => format!("driver error {}", error.0 as u32),
    }
}

fn remedy(error: CUresult) -> &'static str {
    match error {
        CUresult::CUDA_ERROR_NO_DEVICE | CUresult::CUDA_ERROR_INVALID_DEVICE => {
            "`nvidia-smi -L` lists the devices; --device cpu needs none"
        }
        CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU | CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION => {
            "the kernels need compute capability 8.0 and a driver of CUDA 13; --device cpu needs neither"
        }
        CUresult::CUDA_ERROR_LAUNCH_FAILED
        | CUresult::CUDA_ERROR_ILLEGAL_ADDRESS
        | CUresult::CUDA_ERROR_MISALIGNED_ADDRESS
        | CUresult::CUDA_ERROR_INVALID_VALUE
        | CUresult::CUDA_ERROR_NOT_FOUND => {
            "this is a defect of the engine: please report it with this message, and use --device cpu meanwhile"
        }
        _ => "check the device with `nvidia-smi`, or use --device cpu",
    }
}
