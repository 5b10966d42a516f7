//! What is said when ONNX Runtime cannot be had. A process takes one library for good, so nothing here may load one.
#![cfg(unix)]

use std::fs;
use std::path::Path;

use gim_harness::runtime::{Device, Env, Runtime, RuntimeError, RuntimeOptions};
use tempfile::TempDir;

fn options(pairs: &[(&str, &Path)]) -> RuntimeOptions {
    RuntimeOptions { env: Env::from_pairs(pairs.iter().copied()), ..RuntimeOptions::default() }
}

fn script(folder: &TempDir, body: &str) {
    use std::os::unix::fs::PermissionsExt;
    let python = folder.path().join("python3");
    fs::write(&python, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
}

fn error(options: &RuntimeOptions) -> RuntimeError {
    Runtime::open(options, &|_| {}).unwrap_err()
}

#[test]
fn all_ways_are_listed() {
    let (bin, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    script(
        &bin,
        "case \"$*\" in *--version) exit 0;; *pip*) echo 'ERROR: no network' >&2; exit 1;; *) echo 'gim-harness []';; esac",
    );
    let options = options(&[("PATH", bin.path()), ("GIM_HARNESS_CACHE", cache.path())]);
    let text = error(&options).to_string();
    let expected = [
        "no ONNX Runtime was found",
        "setting `runtime.library`: not given",
        "variable ORT_DYLIB_PATH: not set",
        "python3: it has no package `onnxruntime`",
        "nothing is installed there",
        "installation with pip: cannot install onnxruntime==1.31.1",
        "ERROR: no network",
        "any one of these provides it (1.17 or newer)",
        "runtime: {library: PATH}",
        "the environment variable ORT_DYLIB_PATH",
        "pip install onnxruntime==1.31.1",
        "gim-harness runtime install",
        cache.path().to_str().unwrap(),
    ];
    let mut rest = text.as_str();
    for part in expected {
        let at = rest.find(part).unwrap_or_else(|| panic!("{part} is not (in this order) in\n{text}"));
        rest = &rest[at + part.len()..];
    }
    assert!(!text.contains("--gpu"));

    let offline = error(&RuntimeOptions { install: false, ..options.clone() }).to_string();
    assert!(!offline.contains("installation with pip"));
    // A wheel of some hundred megabytes is not installed unasked.
    let cuda = error(&RuntimeOptions { device: Device::Cuda(0), ..options }).to_string();
    assert!(!cuda.contains("installation with pip"), "{cuda}");
    for part in ["no ONNX Runtime with CUDA was found", "runtime install --gpu", "onnxruntime-gpu==1.31.1"] {
        assert!(cuda.contains(part), "{cuda}");
    }
}

#[test]
fn with_no_environment_at_all() {
    let text = error(&options(&[])).to_string();
    assert!(text.contains("there is no python3 on PATH") && text.contains("GIM_HARNESS_CACHE"), "{text}");
}

#[test]
fn a_broken_library_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("libonnxruntime.so.1.31.1");
    for content in ["", "not a library", "\x7fELF and then nothing of the kind"] {
        fs::write(&path, content).unwrap();
        let named = RuntimeOptions { library: Some(path.clone()), ..options(&[]) };
        let text = error(&named).to_string();
        assert!(text.starts_with("cannot load ONNX Runtime from ") && text.contains(path.to_str().unwrap()), "{text}");
        let named = options(&[("ORT_DYLIB_PATH", &path)]);
        assert!(matches!(error(&named), RuntimeError::Load { .. }));
    }
    let named = RuntimeOptions { library: Some("/absent/libonnxruntime.so".into()), ..options(&[]) };
    assert!(error(&named).to_string().contains("/absent/libonnxruntime.so"));
}

/// The loader would die of it.
#[cfg(target_os = "linux")]
#[test]
fn a_library_cut_short_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("libonnxruntime.so");
    let program = fs::read(std::env::current_exe().unwrap()).unwrap();
    for length in [64, 4096, program.len() / 2, program.len() - 1] {
        fs::write(&path, &program[..length]).unwrap();
        let text = error(&RuntimeOptions { library: Some(path.clone()), ..options(&[]) }).to_string();
        assert!(text.contains("it is cut short"), "{text}");
    }
}

/// One that nobody named is passed over, and the reason kept.
#[test]
fn a_broken_package_is_passed_over() {
    let (bin, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let capi = bin.path().join("onnxruntime/capi");
    fs::create_dir_all(&capi).unwrap();
    let name = if cfg!(target_os = "macos") { "libonnxruntime.1.31.1.dylib" } else { "libonnxruntime.so.1.31.1" };
    fs::write(capi.join(name), "broken").unwrap();
    let answer = format!("echo 'gim-harness [\"{}\"]'", bin.path().join("onnxruntime").display());
    script(&bin, &format!("case \"$*\" in *pip*) exit 1;; *) {answer};; esac"));
    let text = error(&options(&[("PATH", bin.path()), ("GIM_HARNESS_CACHE", cache.path())])).to_string();
    assert!(text.contains("python3: cannot load ONNX Runtime from "), "{text}");
    assert!(text.contains("nothing is installed there"), "{text}");
}

/// Any other shared library: it loads, and is not what it should be.
#[cfg(target_os = "linux")]
#[test]
fn another_library_is_refused() {
    let folders = ["/lib/x86_64-linux-gnu", "/usr/lib64", "/lib64", "/usr/lib", "/lib/aarch64-linux-gnu"];
    let Some(other) = folders.iter().map(|folder| Path::new(folder).join("libm.so.6")).find(|path| path.exists())
    else {
        return;
    };
    let text = error(&RuntimeOptions { library: Some(other), ..options(&[]) }).to_string();
    assert!(text.contains("libm.so.6") && text.contains("not ONNX Runtime"), "{text}");
}
