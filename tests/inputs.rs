//! What is read is a regular file of a bounded size, and what its numbers ask for fits a machine.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command as System;
use std::time::Duration;

use assert_cmd::Command;

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(path)
}

fn program(folder: &Path) -> Command {
    let mut command = Command::cargo_bin("gim-harness").unwrap();
    command.current_dir(folder).env("GIM_HARNESS_CACHE", folder.join("cache")).timeout(Duration::from_secs(60));
    command
}

/// A checkpoint, a task and a harness that are read without ONNX Runtime until the first model runs.
fn workplace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    fs::create_dir(folder.path().join("checkpoint")).unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        fs::copy(fixture("llama-a").join(name), folder.path().join("checkpoint").join(name)).unwrap();
    }
    write("words.jsonl", "{\"text\": \"w3 w4 w5\", \"label\": \"w20\"}\n");
    write("words.yaml", "data: {file: words.jsonl}\nprompt: \"{text} w9\"\nanswer: \"{label}\"\noptions: [w20, w21]\n");
    write("harness.yaml", "models: [checkpoint]\ntasks: [words.yaml]\nmethods: [gradient]\n");
    folder
}

/// What a command says when `file` is a pipe that nobody writes to, a device without end, or a folder.
fn refusals(file: &str, arguments: &[&str]) {
    for what in ["pipe", "device", "folder"] {
        let folder = workplace();
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if path.exists() {
            fs::remove_file(&path).unwrap();
        }
        match what {
            "pipe" => assert!(System::new("mkfifo").arg(&path).status().unwrap().success()),
            "device" => symlink("/dev/zero", &path).unwrap(),
            _ => fs::create_dir(&path).unwrap(),
        }
        let ended = program(folder.path()).args(arguments).assert().failure();
        let output = ended.get_output();
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(1 | 2)), "{file}, a {what}: {:?} {message}", output.status);
        assert!(message.lines().count() <= 8, "{file}, a {what}: {message}");
    }
}

#[test]
fn pipes_devices_and_folders_are_refused_at_once() {
    let bake = ["bake", "checkpoint", "--out", "baked", "--no-verify"];
    refusals("checkpoint/config.json", &bake);
    refusals("checkpoint/tokenizer.json", &bake);
    refusals("checkpoint/model.safetensors", &bake);
    refusals("forward.onnx", &["bake", "forward.onnx", "--out", "baked", "--no-verify"]);
    refusals("bundle/bundle.json", &["inspect", "bundle"]);
    refusals("harness.yaml", &["run"]);
    refusals("words.yaml", &["run"]);
    refusals("words.jsonl", &["run"]);
    refusals("done/run.sqlite", &["report", "done"]);
}

/// Who mends a file need not have ONNX Runtime to be told of it.
#[test]
fn mistakes_in_the_data_come_before_a_missing_runtime() {
    let folder = workplace();
    let run = |folder: &Path| {
        let ended = program(folder).env("ORT_DYLIB_PATH", "/absent/libonnxruntime.so").arg("run").assert().failure();
        (ended.get_output().status.code(), String::from_utf8_lossy(&ended.get_output().stderr).into_owned())
    };
    let (code, message) = run(folder.path());
    assert!(code == Some(1) && message.contains("/absent/libonnxruntime.so"), "{code:?} {message}");
    fs::write(folder.path().join("words.jsonl"), "{\"text\": \"w3 w4\", \"lable\": \"w20\"}\n").unwrap();
    let (code, message) = run(folder.path());
    assert!(
        code == Some(2) && message.contains("no field `label`") && !message.contains("/absent/"),
        "{code:?} {message}"
    );
}

#[test]
fn the_message_says_what_it_is_and_what_to_do() {
    let folder = workplace();
    let pipe = folder.path().join("pipe.yaml");
    assert!(System::new("mkfifo").arg(&pipe).status().unwrap().success());
    let ended = program(folder.path()).args(["run", "pipe.yaml"]).assert().code(2);
    let message = String::from_utf8_lossy(&ended.get_output().stderr).into_owned();
    let expected = "error: cannot read pipe.yaml: it is a pipe, and only regular files are read; write what it gives into \
                    a file first\n";
    assert_eq!(message, expected);
    // A hole of 2 MiB, which is more than any harness has.
    fs::File::create(folder.path().join("large.yaml")).unwrap().set_len(2 << 20).unwrap();
    let ended = program(folder.path()).args(["run", "large.yaml"]).assert().code(2);
    let message = String::from_utf8_lossy(&ended.get_output().stderr).into_owned();
    assert_eq!(message, "error: cannot read large.yaml: it has 2.0 MiB, and of a YAML file at most 1.0 MiB are read\n");
}

#[test]
fn numbers_that_size_memory_or_time_are_bounded() {
    for (harness, expected) in [
        ("methods: [{random: {seeds: 1073741824}}]", "1073741824 is not between 1 and 100"),
        ("methods: [{integrated_gradients: {steps: 9999999}}]", "9999999 is not between 1 and 10000"),
        ("methods: [gradient]\nlimit: 1099511627776", "1099511627776 is not between 1 and 1048576"),
        ("methods: [gradient]\nthreads: 4096", "4096 is not between 1 and 1024"),
        ("methods: [gradient]\nbatch_tokens: 1073741824", "1073741824 is not between 1 and 65536"),
        ("methods: [gradient]\nreuse_mib: 99999999", "99999999 is not between 0 and 65536"),
        ("methods: [gradient]\nstatistics: {resamples: 9000000000000}", "9000000000000 is not between 1 and 1000000"),
    ] {
        let folder = workplace();
        fs::write(
            folder.path().join("harness.yaml"),
            format!("models: [checkpoint]\ntasks: [words.yaml]\n{harness}\n"),
        )
        .unwrap();
        let ended = program(folder.path()).arg("run").assert().code(2);
        let message = String::from_utf8_lossy(&ended.get_output().stderr).into_owned();
        assert!(message.contains(expected) && message.contains("harness.yaml:"), "{harness}: {message}");
    }
    let folder = workplace();
    for arguments in [&["run", "--limit", "1099511627776"][..], &["verify", "x", "--threads", "100000"]] {
        program(folder.path()).args(arguments).assert().code(2);
    }
}

#[test]
fn a_device_is_named_alike_everywhere() {
    let folder = workplace();
    for (device, fine) in [("cuda:1000", true), ("cuda:x", false), ("cuda:99999999999", false), ("gpu", false)] {
        let harness = format!("models: [checkpoint]\ntasks: [words.yaml]\nmethods: [gradient]\ndevice: {device}\n");
        fs::write(folder.path().join("harness.yaml"), harness).unwrap();
        for arguments in [
            &["run"][..],
            &["run", "--device", device],
            &["explain", "checkpoint", "--prompt", "w3", "--device", device],
            &["runtime", "show", "--device", device],
        ] {
            // A machine without CUDA refuses the device then, but not its name.
            let ended = program(folder.path()).args(arguments).assert().failure();
            let message = String::from_utf8_lossy(&ended.get_output().stderr).into_owned();
            assert_eq!(message.contains("is not a device"), !fine, "{arguments:?}: {message}");
        }
    }
}
