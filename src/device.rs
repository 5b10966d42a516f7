//! Where graphs run.

use std::fmt;
use std::str::FromStr;

/// Where graphs run. A device is never replaced by another one: if it cannot be had, opening a session fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Device {
    #[default]
    Cpu,
    /// The CUDA device of this index.
    Cuda(u32),
}

/// A device that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a device: use `cpu`, `cuda`, or `cuda:N` for the CUDA device of index N{hint}")]
pub struct ParseDeviceError {
    text: String,
    hint: &'static str,
}

impl FromStr for Device {
    type Err = ParseDeviceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |hint| ParseDeviceError { text: text.to_owned(), hint };
        match text.split_once(':') {
            None if text == "cpu" => Ok(Device::Cpu),
            None if text == "cuda" => Ok(Device::Cuda(0)),
            // `parse` alone would let "+1" through.
            Some(("cuda", index)) if !index.is_empty() && index.bytes().all(|b| b.is_ascii_digit()) => index
                .parse::<u32>()
                .ok()
                .filter(|&index| i32::try_from(index).is_ok())
                .map(Device::Cuda)
                .ok_or_else(|| error(" (that index is too large)")),
            Some(("cuda", _)) => Err(error(" (the index is a whole number, counted from 0)")),
            Some(("cpu", _)) => Err(error(" (`cpu` takes no index)")),
            _ if text.eq_ignore_ascii_case("gpu") => Err(error(" (did you mean `cuda`?)")),
            _ if text.eq_ignore_ascii_case("cpu") || text.to_ascii_lowercase().starts_with("cuda") => {
                Err(error(" (in lower case)"))
            }
            _ => Err(error("")),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for device in [Device::Cpu, Device::Cuda(0), Device::Cuda(3)] {
            assert_eq!(device.to_string().parse(), Ok(device));
        }
        assert_eq!("cuda".parse(), Ok(Device::Cuda(0)));
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, expected) in [
            ("gpu", "did you mean `cuda`"),
            ("cuda:", "whole number"),
            ("cuda:-1", "whole number"),
            ("cuda:+1", "whole number"),
            ("cuda:one", "whole number"),
            ("cuda:4294967295", "too large"),
            ("cuda:99999999999999999999", "too large"),
            ("cpu:0", "takes no index"),
            ("CUDA", "lower case"),
            ("", "use `cpu`"),
            ("tpu", "use `cpu`"),
        ] {
            let error = text.parse::<Device>().unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains(&format!("`{text}`")), "{error}");
        }
    }
}
