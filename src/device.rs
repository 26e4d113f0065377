//! Which device computes: parsed from a name, resolved to what there is.

use std::{fmt, str::FromStr};

use crate::error::{Error, Result};

/// A device as a user names it: `auto`, `cpu`, `cuda` or `cuda:N`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// The first GPU if there is one that can be used, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// GPU number N, or an error.
    Cuda(u32),
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceChoice::Auto => f.write_str("auto"),
            DeviceChoice::Cpu => f.write_str("cpu"),
            DeviceChoice::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || match Error::unknown("device", text, ["auto", "cpu", "cuda", "cuda:0"]) {
            // By its letters it would be the CPU.
            Error::Unknown { what, name, known, .. } if text.starts_with("gpu") => {
                Error::Unknown { what, name, nearest: Some("cuda".into()), known }
            }
            error => error,
        };
        match text {
            "auto" => Ok(DeviceChoice::Auto),
            "cpu" => Ok(DeviceChoice::Cpu),
            "cuda" => Ok(DeviceChoice::Cuda(0)),
            _ => {
                let ordinal = text.strip_prefix("cuda:").ok_or_else(wrong)?;
                ordinal.parse().map(DeviceChoice::Cuda).map_err(|_| wrong())
            }
        }
    }
}

/// A device that can be used.
#[derive(Debug, Clone)]
pub enum Resolved {
    /// The CPU.
    Cpu,
    /// An open GPU.
    #[cfg(feature = "cuda")]
    Cuda(crate::backend::cuda::Device),
}

impl Resolved {
    /// The choice of this very device.
    pub fn choice(&self) -> DeviceChoice {
        match self {
            Resolved::Cpu => DeviceChoice::Cpu,
            #[cfg(feature = "cuda")]
            Resolved::Cuda(device) => DeviceChoice::Cuda(device.description().ordinal),
        }
    }

    /// Bytes of a GPU's memory that are free now; `None` on the CPU.
    ///
    /// # Errors
    /// [`Error::Device`] if the GPU fails.
    pub fn free_memory(&self) -> Result<Option<u64>> {
        match self {
            Resolved::Cpu => Ok(None),
            #[cfg(feature = "cuda")]
            Resolved::Cuda(device) => device.free_memory().map(|bytes| Some(bytes as u64)),
        }
    }

    /// What computes: the same gives the same bits.
    pub fn model(&self) -> String {
        match self {
            Resolved::Cpu => format!("{} CPU", std::env::consts::ARCH),
            #[cfg(feature = "cuda")]
            Resolved::Cuda(device) => device.description().name.clone(),
        }
    }
}

/// As named on the command line.
impl fmt::Display for Resolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Resolved::Cpu => f.write_str("cpu"),
            #[cfg(feature = "cuda")]
            Resolved::Cuda(device) => write!(f, "cuda:{}", device.description().ordinal),
        }
    }
}

impl DeviceChoice {
    /// The device to use, and one line that says which it is and why.
    ///
    /// # Errors
    /// [`Error::Device`] if a GPU is asked for by name and cannot be used.
    pub fn resolve(self) -> Result<(Resolved, String)> {
        match self {
            DeviceChoice::Cpu => Ok((Resolved::Cpu, "the CPU, as asked".into())),
            DeviceChoice::Cuda(ordinal) => open(ordinal),
            // Nobody asked for a GPU: why there is none is told without a remedy.
            DeviceChoice::Auto => Ok(open(0).unwrap_or_else(|error| {
                let why = match error {
                    Error::Device { message, .. } => message,
                    error => error.to_string(),
                };
                (Resolved::Cpu, format!("the CPU ({why})"))
            })),
        }
    }
}

#[cfg(feature = "cuda")]
fn open(ordinal: u32) -> Result<(Resolved, String)> {
    let device = crate::backend::cuda::Device::open(ordinal)?;
    let about = device.description();
    let line =
        format!("{} (cuda:{ordinal}), {:.0} GiB", about.name, about.memory as f64 / (1u64 << 30) as f64);
    Ok((Resolved::Cuda(device), line))
}

#[cfg(not(feature = "cuda"))]
fn open(ordinal: u32) -> Result<(Resolved, String)> {
    Err(Error::Device {
        operation: format!("open the GPU cuda:{ordinal}"),
        message: "this build is without GPU support".into(),
        remedy: "build with the default features, or use --device cpu".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for text in ["auto", "cpu", "cuda:0", "cuda:7"] {
            assert_eq!(text.parse::<DeviceChoice>().unwrap().to_string(), text);
        }
        assert_eq!("cuda".parse::<DeviceChoice>().unwrap(), DeviceChoice::Cuda(0));
        for text in ["gpu", "cuda:", "cuda:x", "cuda:-1", "CPU", ""] {
            assert!(text.parse::<DeviceChoice>().is_err(), "{text}");
        }
        let error = "gpu".parse::<DeviceChoice>().unwrap_err().to_string();
        assert!(error.contains("did you mean `cuda`?"), "{error}");
    }

    #[test]
    fn a_machine_without_a_gpu_is_no_crash() {
        assert!(matches!(DeviceChoice::Cpu.resolve().unwrap().0, Resolved::Cpu));
        let (_, line) = DeviceChoice::Auto.resolve().unwrap();
        // There may be a GPU; number 4,000,000,000 there is not.
        let error = DeviceChoice::Cuda(4_000_000_000).resolve().unwrap_err();
        assert_eq!(error.kind(), crate::error::Kind::Device);
        assert!(error.to_string().contains("--device cpu"), "{error}");
        assert!(!line.contains('\n'), "{line}");
    }
}
