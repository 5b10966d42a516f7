//! `gim-harness web`: what a page's folder holds, and when there is none. No browser: scripts/check_web.py has one.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use assert_cmd::Command;
use gim_harness::bundle::bake::{BakeOptions, bake};
use gim_harness::bundle::{OpenedBundle, Opening};
use gim_harness::web::{Request, WebError, write};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

const PARTS: [(&str, &str); 4] = [
    ("onnxruntime-web/dist", "ort.wasm.min.mjs"),
    ("onnxruntime-web/dist", "ort-wasm-simd-threaded.mjs"),
    ("onnxruntime-web/dist", "ort-wasm-simd-threaded.wasm"),
    ("@huggingface/tokenizers/dist", "tokenizers.min.mjs"),
];

/// A folder with a bundle of a model of this name, and one with npm packages of which only the names are right.
fn place(name: &str) -> TempDir {
    let place = tempfile::tempdir().unwrap();
    let model = place.path().join(name);
    fs::create_dir(&model).unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo");
    for file in fs::read_dir(fixture).unwrap() {
        let file = file.unwrap().path();
        fs::copy(&file, model.join(file.file_name().unwrap())).unwrap();
    }
    bake(&model, &place.path().join("bundle"), &BakeOptions::default(), &mut |_, _| {}).unwrap();
    let packages = place.path().join("node_modules");
    for (folder, file) in PARTS {
        fs::create_dir_all(packages.join(folder)).unwrap();
        fs::write(packages.join(folder).join(file), file).unwrap();
        fs::write(packages.join(folder).parent().unwrap().join("package.json"), r#"{"version": "9.8.7"}"#).unwrap();
    }
    place
}

fn web(place: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gim-harness"));
    command.current_dir(place).env("GIM_HARNESS_CACHE", place.join("cache"));
    command.args(["web", "bundle", "--out", "page"]);
    command
}

/// What it says on stderr, having failed with this exit code.
fn refused(command: &mut Command, code: i32) -> String {
    let output = command.assert().code(code).stdout("").get_output().clone();
    String::from_utf8(output.stderr).unwrap()
}

/// Every file below a folder by its name with `/`.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn opened(place: &Path) -> OpenedBundle {
    OpenedBundle::open(&place.join("bundle"), &Opening::default()).unwrap()
}

#[test]
fn a_page_holds_all_that_it_needs_and_nothing_inline() {
    // A name that would be markup.
    let place = place("a<b>&c");
    let prompt = "</textarea><script>alert(1)</script>";
    web(place.path()).args(["--prompt", prompt]).assert().success().stdout("page\n");
    let page = contents(&place.path().join("page"));
    let facts: Value = serde_json::from_slice(&page["page.json"]).unwrap();

    // Every file but page.json itself is listed with its size and hash.
    let listed = facts["files"].as_object().unwrap();
    assert_eq!(listed.len() + 1, page.len());
    for (name, entry) in listed {
        assert_eq!(entry["bytes"], page[name].len(), "{name}");
        let hash: String = Sha256::digest(&page[name]).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(entry["sha256"], hash.as_str(), "{name}");
    }
    let bundle = contents(&place.path().join("bundle"));
    for name in ["embed.onnx", "forward.onnx", "gradient.onnx", "weights.bin", "tokenizer.json"] {
        assert!(page[&format!("model/{name}")] == bundle[name], "{name}");
    }
    for (_, name) in PARTS {
        assert_eq!(page[&format!("runtime/{name}")], name.as_bytes());
    }
    assert_eq!(facts["packages"]["onnxruntime-web"], "9.8.7");
    // What the scripts go by is there.
    for named in [&facts["weights"], &facts["tokenizer"], &facts["tokens"]]
        .into_iter()
        .chain(facts["graphs"].as_object().unwrap().values())
        .chain(facts["runtime"].as_object().unwrap().values())
    {
        assert!(page.contains_key(named.as_str().unwrap()), "{named}");
    }

    let index = String::from_utf8(page["index.html"].clone()).unwrap();
    assert!(index.contains("Why did a&lt;b&gt;&amp;c answer that?") && !index.contains("a<b>"));
    assert!(index.contains("&lt;/textarea&gt;&lt;script&gt;alert(1)"), "{index}");
    assert_eq!(index.matches("<script").count(), 1);
    assert!(index.contains("<script src=\"page.js\" defer></script>"));
    assert!(!index.contains("<style") && !index.contains("style=") && !index.contains("onclick"));
    assert!(index.contains(
        "http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'self' 'wasm-unsafe-eval';"
    ));
    for (name, text) in &page {
        let is_ours =
            name.ends_with(".html") || name.ends_with(".css") || (name.ends_with(".js") && !name.contains('/'));
        assert!(!is_ours || !String::from_utf8_lossy(text).contains("://"), "{name} names another server");
    }
}

#[test]
fn the_scripts_know_what_the_rest_of_the_program_knows() {
    let place = place("demo");
    web(place.path()).args(["--baseline-id", "5"]).assert().success();
    let page = contents(&place.path().join("page"));
    let facts: Value = serde_json::from_slice(&page["page.json"]).unwrap();
    let tokens: Value = serde_json::from_slice(&page["model/tokens.json"]).unwrap();
    let bundle = opened(place.path());
    let tokenizer = bundle.tokenizer().unwrap();
    let sizes = &bundle.manifest.dimensions;
    assert_eq!((&facts["vocab"], &facts["hidden"]), (&Value::from(sizes.vocab), &Value::from(sizes.hidden)));
    assert_eq!(facts["baseline"]["id"], 5);
    assert_eq!(facts["most_tokens"], sizes.max_positions.unwrap());
    assert_eq!(facts["unknown"], 0);
    let tokens = tokens["names"].as_array().unwrap();
    assert_eq!(tokens.len(), sizes.vocab);
    assert!((0..).zip(tokens).all(|(id, token)| *token == tokenizer.token(id)));
    let checks = facts["checks"].as_array().unwrap();
    assert!(checks.len() > 10);
    for check in checks {
        let ids = tokenizer.encode(check[0].as_str().unwrap(), true).unwrap().ids;
        assert_eq!(check[1], Value::from(ids), "{check}");
    }
    assert_eq!(facts["methods"][0]["knobs"]["softmax_temperature"], 2.0);
    assert_eq!(facts["calculus"]["softmax_temperature"], 1.0);
    let points = facts["points"].as_array().unwrap();
    assert_eq!(points.len(), 50);
    let sum: f64 = points.iter().map(|point| point[1].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-12, "{sum}");
}

#[test]
fn only_a_page_is_replaced() {
    let place = place("demo");
    let page = place.path().join("page");
    fs::create_dir(&page).unwrap();
    web(place.path()).assert().success();
    let before = contents(&page);
    web(place.path()).args(["--prompt", "another"]).assert().success();
    assert!(contents(&page)["index.html"] != before["index.html"]);

    fs::write(page.join("model/notes.txt"), "mine").unwrap();
    let before = contents(&page);
    let said = refused(&mut web(place.path()), 1);
    assert!(said.contains("holds `model/notes.txt`, which is no part of the page there and would be lost"), "{said}");
    assert!(contents(&page) == before);

    fs::remove_dir_all(&page).unwrap();
    fs::create_dir(&page).unwrap();
    fs::write(page.join("page.json"), "{}").unwrap();
    let said = refused(&mut web(place.path()), 1);
    assert!(said.contains("exists and is no page of this program"), "{said}");
    fs::remove_dir_all(&page).unwrap();
    fs::write(&page, "a file").unwrap();
    let said = refused(&mut web(place.path()), 1);
    assert!(said.contains("exists and is no folder"), "{said}");
    assert_eq!(names(place.path()), ["bundle", "demo", "node_modules", "page"], "nothing is left lying about");
}

#[test]
fn what_is_missing_is_named_with_what_to_do() {
    let place = place("demo");
    let at = |name: &str| place.path().join(name);
    fs::remove_file(at("node_modules/onnxruntime-web/dist/ort.wasm.min.mjs")).unwrap();
    let said = refused(&mut web(place.path()), 1);
    assert!(
        said.contains(
            "ort.wasm.min.mjs is missing: this onnxruntime-web has version 9.8.7, and other files than onnxruntime-web@"
        ),
        "{said}"
    );
    let said = refused(web(place.path()).args(["--node-modules", "elsewhere"]), 1);
    assert!(said.contains("elsewhere has no onnxruntime-web"), "{said}");
    assert!(said.contains("`npm install onnxruntime-web@1.30.0 @huggingface/tokenizers@0.2.0`"), "{said}");
    let said = refused(web(place.path()).args(["--baseline-id", "118"]), 1);
    assert!(said.contains("--baseline-id: the model has embeddings for 0 to 117, not for 118"), "{said}");
    let mut of_a_model = Command::new(env!("CARGO_BIN_EXE_gim-harness"));
    let said = refused(of_a_model.current_dir(place.path()).args(["web", "demo", "--out", "page"]), 1);
    assert!(said.contains("is a Hugging Face folder; a page is made of a bundle"), "{said}");
    assert!(!at("page").exists());
}

#[test]
fn a_bundle_that_changed_or_an_interruption_leaves_nothing() {
    let place = place("demo");
    let bundle = opened(place.path());
    let tokenizer = bundle.tokenizer().unwrap();
    let (out, packages) = (place.path().join("page"), place.path().join("node_modules"));
    let made = |interrupted: bool| {
        let request = Request {
            bundle: &bundle,
            tokenizer: &tokenizer,
            node_modules: &packages,
            out: &out,
            baseline: None,
            prompt: "",
            interrupted: &AtomicBool::new(interrupted),
        };
        write(&request, &mut |_, _| {})
    };
    let before = names(place.path());
    assert!(matches!(made(true), Err(WebError::Interrupted)));
    assert_eq!(names(place.path()), before);
    let weights: PathBuf = place.path().join("bundle/weights.bin");
    let mut bytes = fs::read(&weights).unwrap();
    bytes[5000] ^= 1;
    fs::write(&weights, bytes).unwrap();
    assert!(matches!(made(false), Err(WebError::Changed { path }) if path == weights));
    assert_eq!(names(place.path()), before);
}
