//! Outputs that cannot be written, signals, and text that would act on a terminal.
#![cfg(unix)]

use std::fs::{self, File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gim_harness::text::acts;

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(path)
}

fn program(folder: &Path) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("gim-harness"));
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache");
    command.current_dir(folder).env("GIM_HARNESS_CACHE", cache).stdin(Stdio::null());
    command
}

/// A folder with a baked bundle, a task and a harness whose run takes as long as `steps` say.
fn workplace(steps: u32) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let bake =
        program(folder.path()).arg("bake").arg(fixture("llama-a")).args(["--out", "bundle", "--no-verify"]).output();
    assert!(bake.unwrap().status.success());
    let rows = (0..20).map(|n| format!("{{\"text\": \"w{} w4 w5\", \"label\": \"w2{}\"}}\n", 3 + n, n % 2));
    write("words.jsonl", &rows.collect::<String>());
    write("words.yaml", "data: {file: words.jsonl}\nprompt: \"{text} w9\"\nanswer: \"{label}\"\noptions: [w20, w21]\n");
    write(
        "harness.yaml",
        &format!(
            "models: [bundle]\ntasks: [words.yaml]\nmethods: [gradient, {{integrated_gradients: {{steps: {steps}}}}}]\n\
             statistics: {{resamples: 100}}\n"
        ),
    );
    folder
}

/// A pipe that nobody reads.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    Stdio::from(OwnedFd::from(writer))
}

fn full() -> Stdio {
    Stdio::from(OpenOptions::new().write(true).open("/dev/full").unwrap())
}

#[test]
fn output_that_cannot_be_written_ends_nothing() {
    let folder = workplace(5);
    let prompt = ["--prompt", "w3 w4 w9"];
    let explain = |format: &'static str| ["explain", "bundle", prompt[0], prompt[1], "--format", format];
    let (text, json) = (explain("text"), explain("json"));
    for (arguments, own, is_result) in [
        (&["--help"][..], 0, false),
        (&["run", "--bogus"], 2, false),
        (&["run", "absent.yaml"], 2, false),
        (&["schema"], 0, true),
        (&["methods"], 0, true),
        (&["inspect", "bundle"], 0, true),
        (&["tasks", "validate", "words.yaml"], 0, true),
        (&text, 0, true),
        (&json, 0, true),
        (&["run", "--out", "out", "--fresh"], 0, false),
        (&["report", "out"], 0, false),
    ] {
        let code = |stdout: Stdio, stderr: Stdio| {
            program(folder.path()).args(arguments).stdout(stdout).stderr(stderr).status().unwrap().code()
        };
        assert_eq!(code(closed(), closed()), Some(own), "{arguments:?}, closed");
        assert_eq!(code(Stdio::null(), full()), Some(own), "{arguments:?}, full stderr");
        let expected = if is_result { 1 } else { own };
        assert_eq!(code(full(), full()), Some(expected), "{arguments:?}, both full");
    }
    assert!(folder.path().join("out/report.md").is_file());
    // What was not written is said where it can be.
    let said = program(folder.path()).arg("schema").stdout(full()).output().unwrap();
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.starts_with("error: the result cannot be written to standard output\n  because: "), "{said}");
}

/// Waits until the run has stored something, sends signals, and gives the exit code.
fn interrupted(mut child: Child, store: &Path, signals: &[&str]) -> Option<i32> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !store.is_file() {
        assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none(), "the run did not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(200));
    for signal in signals {
        assert!(Command::new("kill").args([*signal, child.id().to_string().as_str()]).status().unwrap().success());
        std::thread::sleep(Duration::from_millis(20));
    }
    let sent = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(sent.elapsed() < Duration::from_secs(30), "{signals:?}: it did not end");
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(status.signal(), None, "{signals:?} killed it");
    status.code()
}

#[test]
fn what_schedulers_send_interrupts_a_run_which_then_goes_on() {
    // Long enough that a fast machine is not done before the signal.
    let folder = workplace(10_000);
    let run = |out: &str| {
        let mut command = program(folder.path());
        command
            .args(["run", "--out", out])
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("said")).unwrap());
        command
    };
    for signal in ["-INT", "-TERM", "-HUP"] {
        let out = format!("out{signal}");
        let code = interrupted(run(&out).spawn().unwrap(), &folder.path().join(&out).join("run.sqlite"), &[signal]);
        assert_eq!(code, Some(4), "{signal}");
        let said = fs::read_to_string(folder.path().join("said")).unwrap();
        assert!(said.contains("stopping after the work in hand") && said.contains("units done"), "{signal}: {said}");
        assert!(folder.path().join(&out).join("report.md").is_file(), "{signal}: what is done is reported");
    }
    let twice =
        interrupted(run("twice").spawn().unwrap(), &folder.path().join("twice/run.sqlite"), &["-TERM", "-TERM"]);
    assert_eq!(twice, Some(4));
    // As nohup starts it: the shell hands an ignored signal down. Then the run is not interrupted, but by the next one.
    let program = assert_cmd::cargo::cargo_bin("gim-harness");
    let mut shell = Command::new("sh");
    shell.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    shell.args(["-c", "trap '' HUP; exec \"$0\" run --out nohup"]).arg(program);
    let child = shell.spawn().unwrap();
    let id = child.id().to_string();
    let store = folder.path().join("nohup/run.sqlite");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !store.is_file() {
                std::thread::sleep(Duration::from_millis(5));
            }
            Command::new("kill").args(["-HUP", id.as_str()]).status().unwrap();
        });
        assert_eq!(interrupted(child, &store, &["-TERM"]), Some(4));
    });
}

const HOSTILE: &str = "a\u{1b}[31mb\u{7}c\u{202e}d\u{2028}e\u{200b}f\u{9b}g";

/// Runs a command and finds nothing in its output that acts on a terminal.
fn shows(folder: &Path, arguments: &[&str], expected: &str) {
    let output = program(folder).args(arguments).output().unwrap();
    for bytes in [&output.stdout, &output.stderr] {
        let text = String::from_utf8_lossy(bytes);
        assert!(!text.chars().any(|c| acts(c) && c != '\n'), "{arguments:?}: {text:?}");
    }
    let all = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(all.contains(expected), "{arguments:?} does not show {expected}: {all}");
}

#[test]
fn strangers_text_never_reaches_a_terminal_raw() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let write = |name: &str, text: &str| fs::write(path(name), text).unwrap();
    let quoted = serde_json::to_string(HOSTILE).unwrap();
    let shown = r"\u{1b}[31m";
    // Paths and arguments.
    shows(folder.path(), &["run", HOSTILE], shown);
    shows(folder.path(), &[HOSTILE], "unrecognized subcommand");
    shows(folder.path(), &["report", HOSTILE], shown);
    shows(folder.path(), &["inspect", HOSTILE], shown);
    shows(folder.path(), &["verify", HOSTILE], shown);
    shows(folder.path(), &["explain", HOSTILE, "--prompt", "x"], shown);
    shows(folder.path(), &["bake", HOSTILE, "--out", "x", "--no-verify"], shown);
    shows(folder.path(), &["explain", "x", "--prompt", "x", "--method", HOSTILE], shown);
    // Keys, names, fields and rows.
    write("harness.yaml", &format!("{quoted}: 1\nmodels: [{quoted}]\ntasks: [{quoted}]\nmethods: [{quoted}]\n"));
    shows(folder.path(), &["run"], shown);
    write("data.jsonl", &format!("{{{quoted}: 1, \"x\": {quoted}}}\n"));
    write("task.yaml", &format!("task: {quoted}\ndata: {{file: data.jsonl}}\nprompt: \"{{y}}\"\nanswer: \"{{x}}\"\n"));
    shows(folder.path(), &["tasks", "validate", "task.yaml"], shown);
    write("task.yaml", "data: {file: data.jsonl}\nprompt: \"{y}\"\nanswer: \"{x}\"\n");
    shows(folder.path(), &["tasks", "validate", "task.yaml"], "`y`");
    // A description, which a list shows.
    write(
        "task.yaml",
        &format!("description: {quoted}\ndata: {{file: data.jsonl}}\nprompt: \"{{x}}\"\nanswer: \"{{x}}\"\n"),
    );
    shows(folder.path(), &["tasks", "list", "task.yaml"], shown);
    // Model types and fields of checkpoints.
    fs::create_dir(path("checkpoint")).unwrap();
    for config in
        [format!("{{\"model_type\": {quoted}}}"), format!("{{\"model_type\": \"llama\", {quoted}: {quoted}}}")]
    {
        write("checkpoint/config.json", &config);
        shows(folder.path(), &["bake", "checkpoint", "--out", "x", "--no-verify"], "error");
    }
    // Tokens of a model's, in every form of an explanation.
    for name in ["config.json", "model.safetensors"] {
        fs::copy(fixture("llama-a").join(name), path("checkpoint").join(name)).unwrap();
    }
    let tokenizer = fs::read_to_string(fixture("llama-a/tokenizer.json")).unwrap();
    let hostile = tokenizer.replace("\"w7\"", &quoted);
    assert_ne!(hostile, tokenizer);
    write("checkpoint/tokenizer.json", &hostile);
    let bake = program(folder.path()).args(["bake", "checkpoint", "--out", "bundle", "--no-verify"]).output().unwrap();
    assert!(bake.status.success(), "{}", String::from_utf8_lossy(&bake.stderr));
    let ids = ["--input-ids", "3,4,5,6,7,8,9,10,11,12", "--baseline-id", "0"];
    for format in ["text", "html"] {
        shows(folder.path(), &[&["explain", "bundle", "--format", format][..], &ids].concat(), shown);
    }
    let json = program(folder.path()).args(["explain", "bundle", "--format", "json"]).args(ids).output().unwrap();
    let text = String::from_utf8(json.stdout).unwrap();
    assert!(text.is_ascii() || !text.chars().any(|c| acts(c) && c != '\n'), "{text}");
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(value["tokens"].as_array().unwrap().iter().any(|token| token == HOSTILE), "JSON says exactly what it is");
}
