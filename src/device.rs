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
    /// What another of ONNX Runtime's execution providers runs on; the index only where it has several.
    Other(&'static Provider, Option<u32>),
}

/// An execution provider besides those for the CPU and for CUDA.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Provider {
    /// What users type.
    pub name: &'static str,
    /// What ONNX Runtime calls it.
    pub provider: &'static str,
    /// Whether it may have several devices, by index.
    pub has_index: bool,
    /// How to get a library that has it: a sentence without a full stop.
    pub how: &'static str,
}

/// Every execution provider that the program can ask for. Only OpenVINO's has run: for the others no device was at hand.
pub static PROVIDERS: &[Provider] = &[
    of("openvino", "OpenVINOExecutionProvider", false, "`pip install onnxruntime-openvino` has it"),
    of(
        "tensorrt",
        "TensorrtExecutionProvider",
        true,
        "`pip install onnxruntime-gpu` has it; it needs TensorRT and CUDA",
    ),
    of("nvrtx", "NvTensorRTRTXExecutionProvider", true, BUILD),
    of("rocm", "ROCMExecutionProvider", true, "`pip install onnxruntime-rocm` has it; it needs AMD's ROCm"),
    of("migraphx", "MIGraphXExecutionProvider", true, "`pip install onnxruntime-migraphx` has it; it needs AMD's ROCm"),
    of("directml", "DmlExecutionProvider", true, "it takes an ONNX Runtime for Windows that was built with it"),
    of("coreml", "CoreMLExecutionProvider", false, "it takes an ONNX Runtime for macOS that was built with it"),
    of("webgpu", "WebGpuExecutionProvider", false, "`pip install onnxruntime-webgpu` has it"),
    of("qnn", "QNNExecutionProvider", false, "`pip install onnxruntime-qnn` has it, for Qualcomm's processors"),
    of("cann", "CANNExecutionProvider", true, "`pip install onnxruntime-cann` has it; it needs Huawei's CANN"),
    of("xnnpack", "XnnpackExecutionProvider", false, BUILD),
    of("onednn", "DnnlExecutionProvider", false, BUILD),
    of("acl", "ACLExecutionProvider", false, BUILD),
    of("nnapi", "NnapiExecutionProvider", false, BUILD),
    of("tvm", "TvmExecutionProvider", false, BUILD),
    of("rknpu", "RknpuExecutionProvider", false, BUILD),
    of("vsinpu", "VSINPUExecutionProvider", false, BUILD),
];

const BUILD: &str = "it takes an ONNX Runtime that was built with it";

const fn of(name: &'static str, provider: &'static str, has_index: bool, how: &'static str) -> Provider {
    Provider { name, provider, has_index, how }
}

impl Device {
    /// What ONNX Runtime calls the execution provider.
    pub fn provider(self) -> &'static str {
        match self {
            Device::Cpu => "CPUExecutionProvider",
            Device::Cuda(_) => "CUDAExecutionProvider",
            Device::Other(provider, _) => provider.provider,
        }
    }

    /// A regular expression of what users may type, for schemas.
    pub fn pattern() -> String {
        let named =
            |has_index: bool| PROVIDERS.iter().filter(move |one| one.has_index == has_index).map(|one| one.name);
        let alone: Vec<&str> = ["cpu"].into_iter().chain(named(false)).collect();
        let several: Vec<&str> = ["cuda"].into_iter().chain(named(true)).collect();
        format!("^({}|({})(:[0-9]{{1,10}})?)$", alone.join("|"), several.join("|"))
    }

    /// The names of all devices, without indices.
    pub fn names() -> impl Iterator<Item = &'static str> {
        ["cpu", "cuda"].into_iter().chain(PROVIDERS.iter().map(|provider| provider.name))
    }
}

/// A device that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a device: use `cpu`, `cuda`, `cuda:N` for the CUDA device of index N, or another of ONNX Runtime's \
     execution providers ({}){hint}",
    providers()
)]
pub struct ParseDeviceError {
    text: String,
    hint: String,
}

fn providers() -> String {
    PROVIDERS.iter().map(|provider| provider.name).collect::<Vec<_>>().join(", ")
}

/// Why an index is none: a remark in brackets.
fn index(text: &str) -> Result<u32, &'static str> {
    // `parse` alone would let "+1" through.
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(" (the index is a whole number, counted from 0)");
    }
    let index = text.parse::<u32>().ok().filter(|&index| i32::try_from(index).is_ok());
    index.ok_or(" (that index is too large)")
}

impl FromStr for Device {
    type Err = ParseDeviceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |hint: &str| ParseDeviceError { text: text.to_owned(), hint: hint.to_owned() };
        let (name, number) = text.split_once(':').map_or((text, None), |(name, number)| (name, Some(number)));
        let number = number.map(index);
        match (name, number) {
            ("cpu", None) => return Ok(Device::Cpu),
            ("cuda", None) => return Ok(Device::Cuda(0)),
            ("cuda", Some(number)) => return number.map(Device::Cuda).map_err(error),
            _ => {}
        }
        let provider = PROVIDERS.iter().find(|provider| provider.name == name);
        match (provider, number) {
            (Some(provider), None) => Ok(Device::Other(provider, None)),
            (Some(provider), Some(number)) if provider.has_index => {
                number.map(|number| Device::Other(provider, Some(number))).map_err(error)
            }
            (Some(_), Some(_)) => Err(error(&format!(" (`{name}` takes no index)"))),
            (None, Some(_)) if name == "cpu" => Err(error(" (`cpu` takes no index)")),
            _ if text.eq_ignore_ascii_case("gpu") => Err(error(" (did you mean `cuda`?)")),
            _ if Device::names().any(|known| name.eq_ignore_ascii_case(known)) => Err(error(" (in lower case)")),
            _ => match crate::diagnostics::nearest(name, Device::names()) {
                Some(near) => Err(error(&format!(" (did you mean `{near}`?)"))),
                None => Err(error("")),
            },
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(index) => write!(f, "cuda:{index}"),
            Device::Other(provider, None) => f.write_str(provider.name),
            Device::Other(provider, Some(index)) => write!(f, "{}:{index}", provider.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_has_every_device_once_and_indices_where_they_are() {
        let pattern = Device::pattern();
        let (alone, several) = pattern.trim_start_matches("^(").split_once("|(").unwrap();
        let several = several.strip_suffix(")(:[0-9]{1,10})?)$").unwrap();
        let indexed = |name: &str| format!("{name}:1").parse::<Device>().is_ok();
        assert!(several.split('|').all(indexed) && !alone.split('|').any(indexed), "{pattern}");
        let mut named: Vec<&str> = alone.split('|').chain(several.split('|')).collect();
        let mut all: Vec<&str> = Device::names().collect();
        named.sort_unstable();
        all.sort_unstable();
        assert_eq!(named, all);
    }

    #[test]
    fn reads_what_it_writes() {
        let others = PROVIDERS.iter().map(|provider| Device::Other(provider, provider.has_index.then_some(2)));
        for device in [Device::Cpu, Device::Cuda(0), Device::Cuda(3)].into_iter().chain(others) {
            assert_eq!(device.to_string().parse(), Ok(device));
        }
        assert_eq!("cuda".parse(), Ok(Device::Cuda(0)));
        assert_eq!("openvino".parse::<Device>().unwrap().provider(), "OpenVINOExecutionProvider");
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
            ("OpenVINO", "lower case"),
            ("openvino:0", "`openvino` takes no index"),
            ("rocm:x", "whole number"),
            ("openvin", "did you mean `openvino`"),
            ("", "use `cpu`"),
            ("abacus", "openvino, tensorrt"),
        ] {
            let error = text.parse::<Device>().unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains(&format!("`{text}`")), "{error}");
        }
    }
}
