//! Bundles are plain ONNX: other people's tools check and run them with the numbers that this program gets, and the
//! examples of `docs/bundles.md` do what they say.
//!
//! The Python packages are installed with pip once, below the build folder; so are those for node, where there is one.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use gim_harness::bundle::bake::{BakeOptions, bake};
use gim_harness::grad::Knobs;
use gim_harness::onnx::proto::ModelProto;
use gim_harness::runtime::{
    GradientRow, Model, PINNED_VERSION, Runtime, RuntimeOptions, Session, SessionOptions, Tensor,
};
use ndarray::ArrayD;
use prost::Message as _;
use tempfile::TempDir;

/// Of the npm packages onnxruntime-node and onnxruntime-web.
const NPM_VERSION: &str = "1.30.0";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder with a bundle of the fixture in `bundle`.
fn baked(source: &str, tokenizer: Option<&str>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let fixtures = root().join("tests/fixtures");
    let options = BakeOptions { tokenizer: tokenizer.map(|path| fixtures.join(path)), ..BakeOptions::default() };
    bake(&fixtures.join(source), &folder.path().join("bundle"), &options, &mut |_, _| {}).unwrap();
    folder
}

fn run(command: &mut Command) -> Result<Output, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(format!("{command:?}: {}\n{out}\n{err}", output.status))
}

/// Fills a folder below the build folder once. It appears whole, so that an interrupted installation is begun again.
fn installed(name: &str, fill: impl FnOnce(&Path) -> Result<Output, String>) -> PathBuf {
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let target = parent.join(name);
    if !target.is_dir() {
        let partial = tempfile::Builder::new().prefix(".partial-").tempdir_in(parent).unwrap();
        fill(partial.path()).unwrap();
        // Another run of this test may have been faster, and its installation is as good.
        if std::fs::rename(partial.path(), &target).is_ok() {
            let _moved = partial.keep();
        }
    }
    assert!(target.is_dir(), "{} was installed", target.display());
    target
}

/// What `scripts/check_plain_onnx.py` says it needs.
fn requirements() -> Vec<String> {
    let script = std::fs::read_to_string(root().join("scripts/check_plain_onnx.py")).unwrap();
    let line = script.lines().find_map(|line| line.strip_prefix("# dependencies = ")).unwrap();
    serde_json::from_str(line).unwrap()
}

/// A Python that sees onnx and onnxruntime, and nothing else of the user's.
fn python() -> Command {
    static PACKAGES: OnceLock<PathBuf> = OnceLock::new();
    let program = if cfg!(windows) { "python" } else { "python3" };
    let packages = PACKAGES.get_or_init(|| {
        let requirements = requirements();
        assert!(requirements.contains(&format!("onnxruntime=={PINNED_VERSION}")), "{requirements:?}");
        let probe = ["-c", "import sys; print('%d.%d' % sys.version_info[:2])"];
        let version = run(Command::new(program).args(probe)).unwrap().stdout;
        let version = String::from_utf8(version).unwrap();
        let name = format!("python-{}-{}", version.trim(), requirements.join("-").replace(['<', '>', '='], ""));
        installed(&name, |folder| {
            run(Command::new(program)
                .args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"])
                .args(["--only-binary=:all:", "--target"])
                .arg(folder)
                .args(&requirements)
                // Settings that contradict `--target`.
                .envs([("PIP_USER", "0"), ("PIP_REQUIRE_VIRTUALENV", "0"), ("PIP_ROOT_USER_ACTION", "ignore")]))
        })
    });
    let mut command = Command::new(program);
    command.env("PYTHONPATH", packages).env("PYTHONNOUSERSITE", "1").env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// A code block of `docs/bundles.md`.
fn example(language: &str) -> String {
    let text = std::fs::read_to_string(root().join("docs/bundles.md")).unwrap();
    let opening = format!("```{language}\n");
    let mut blocks = text.split(&opening).skip(1);
    let block = blocks.next().expect("there is an example").split("\n```").next().unwrap().to_owned();
    assert!(blocks.next().is_none(), "one example in {language}");
    block
}

/// All numbers of a text.
fn numbers(output: &Output) -> Vec<f64> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    println!("{text}");
    text.split(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c)).filter_map(|n| n.parse().ok()).collect()
}

/// The score and the attributions of the examples, as this program computes them.
fn expected(bundle: &Path) -> Vec<f64> {
    let runtime = Runtime::open(&RuntimeOptions::default(), &|line| eprintln!("{line}")).unwrap();
    let mut model = Model::open(&runtime, bundle, &SessionOptions::default()).unwrap();
    let ids = [0, 14, 84, 73, 66, 90];
    let embeds = model.embed(&ids).unwrap();
    let baseline = model.embed(&[1]).unwrap();
    let row = GradientRow { embeds: embeds.clone(), position: ids.len() - 1, target: 7, contrast: None };
    let found = model.gradients(&[row], &Knobs::GIM).unwrap().remove(0);
    let product = (&embeds - &baseline) * &found.gradient;
    let attributions = product.rows().into_iter().map(|row| f64::from(row.sum()));
    std::iter::once(f64::from(found.score)).chain(attributions).collect()
}

#[track_caller]
fn assert_same(what: &str, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{what}: {found:?}");
    let largest = expected.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    let difference = found.iter().zip(expected).fold(0.0f64, |m, (a, b)| m.max((a - b).abs()));
    println!("{what}: largest difference {:.1e} of the largest number", difference / largest);
    assert!(difference < 1e-5 * largest, "{what}: {found:?} is not {expected:?}");
}

#[test]
fn checker_reference_evaluator_and_runtime_agree() {
    let bundles = [
        baked("llama-a", None),
        // A classifier that somebody else exported.
        baked("foreign/bert-a.ts17.sdpa.onnx", Some("foreign/bert-a/tokenizer.json")),
    ];
    let script = root().join("scripts/check_plain_onnx.py");
    let paths = bundles.iter().map(|folder| folder.path().join("bundle"));
    let output = run(python().arg(&script).args(paths)).unwrap();
    println!("{}", String::from_utf8_lossy(&output.stdout));

    // It can fail: a graph whose numbers are others' is found out.
    let damaged = bundles[0].path().join("bundle/weights.bin");
    let bytes = std::fs::read(&damaged).unwrap();
    std::fs::write(&damaged, vec![0xff; bytes.len()]).unwrap();
    let error = run(python().arg(&script).arg(bundles[0].path().join("bundle"))).unwrap_err();
    assert!(error.contains("not finite") && error.contains("FAILED"), "{error}");
}

#[test]
fn the_python_example_gives_our_numbers() {
    let folder = baked("llama-a", None);
    let output = run(python().arg("-c").arg(example("python")).current_dir(folder.path())).unwrap();
    assert_same("Python", &numbers(&output), &expected(&folder.path().join("bundle")));
}

/// With onnxruntime-node, and with onnxruntime-web (WebAssembly) as the page says to change it.
#[test]
fn the_javascript_example_gives_our_numbers() {
    let npm = if cfg!(windows) { "npm.cmd" } else { "npm" };
    let there = |program: &str| Command::new(program).arg("--version").output().is_ok_and(|o| o.status.success());
    if !there("node") || !there(npm) {
        eprintln!("not run: there is no node and npm");
        return;
    }
    let packages = installed(&format!("npm-onnxruntime-{NPM_VERSION}"), |folder| {
        std::fs::write(folder.join("package.json"), "{\"private\": true}\n").unwrap();
        run(Command::new(npm)
            .args(["install", "--no-audit", "--no-fund", "--loglevel=error", "--ignore-scripts"])
            .args(["onnxruntime-node", "onnxruntime-web"].map(|name| format!("{name}@{NPM_VERSION}")))
            .current_dir(folder))
    });
    let folder = baked("llama-a", None);
    let bundle = folder.path().join("bundle");
    let expected = expected(&bundle);
    let node = example("javascript");
    let text = std::fs::read_to_string(root().join("docs/bundles.md")).unwrap();
    let argument = text.split('`').find(|part| part.starts_with("{ externalData")).expect("the page says how");
    let web = node
        .replace("onnxruntime-node", "onnxruntime-web")
        .replace("`bundle/${graph}.onnx`", &format!("`bundle/${{graph}}.onnx`, {argument}"));
    assert!(web.contains("onnxruntime-web") && web.contains(argument));
    // Packages are looked for from the script's folder upwards.
    let work = tempfile::tempdir_in(&packages).unwrap();
    for (name, code) in [("onnxruntime-node", node), ("onnxruntime-web", web)] {
        let file = work.path().join(format!("{name}.mjs"));
        std::fs::write(&file, code).unwrap();
        let output = run(Command::new("node").arg(&file).current_dir(folder.path())).unwrap();
        assert_same(name, &numbers(&output), &expected);
    }
}

/// The kits of `tests/fixtures/conformance`, with which other runtimes are tried: their graphs are those that this program
/// writes, and ONNX Runtime gets the numbers that they say are right.
#[test]
fn the_conformance_kits_are_what_is_written_and_computed() {
    let runtime = Runtime::open(&RuntimeOptions::default(), &|line| eprintln!("{line}")).unwrap();
    for name in ["gpt2-base", "llama-linear", "mistral-a"] {
        let kit = root().join("tests/fixtures/conformance").join(name);
        let folder = baked(&format!("architectures/{name}"), None);
        let bundle = folder.path().join("bundle");
        assert!(std::fs::read(bundle.join("weights.bin")).unwrap() == std::fs::read(kit.join("weights.bin")).unwrap());
        for graph in ["embed", "forward", "forward_embeds", "gradient", "attention"] {
            let file = format!("{graph}.onnx");
            // What else the files hold, such as the program's version, may differ.
            let nodes = |folder: &Path| {
                let bytes = std::fs::read(folder.join(&file)).unwrap();
                ModelProto::decode(&bytes[..]).unwrap().graph
            };
            assert!(
                nodes(&bundle) == nodes(&kit),
                "{name}: scripts/conformance.py --write-kit has to write {file} anew"
            );
            let mut session = Session::open(&runtime, &kit.join(&file), &SessionOptions::default()).unwrap();
            let names: Vec<String> = session.input_names().map(str::to_owned).collect();
            let feeds = names.iter().map(|input| (input.as_str(), npy(&kit.join(format!("inputs/{input}.npy")))));
            let found = session.run(&feeds.collect::<Vec<_>>()).unwrap();
            let mut outputs = 0;
            for (output, value) in found.iter() {
                let (Tensor::F32(value), Tensor::F32(wanted)) =
                    (value, &npy(&kit.join(format!("expected/{graph}.{output}.npy"))))
                else {
                    panic!("{graph}.{output} is not f32");
                };
                assert_eq!(value.shape(), wanted.shape());
                let largest = wanted.iter().fold(0.0f32, |most, x| most.max(x.abs()));
                let worst = value.iter().zip(wanted).fold(0.0f32, |most, (x, y)| most.max((x - y).abs()));
                assert!(worst < 1e-5 * largest, "{name}: {graph}.{output} is off by {worst} of {largest}");
                outputs += 1;
            }
            assert_eq!(outputs, if graph == "gradient" { 2 } else { 1 });
        }
    }
}

/// An array of NumPy's format 1.0, of numbers as graphs have them.
fn npy(path: &Path) -> Tensor {
    let bytes = std::fs::read(path).unwrap();
    let (header, data) = bytes[10..].split_at(usize::from(u16::from_le_bytes([bytes[8], bytes[9]])));
    let header = std::str::from_utf8(header).unwrap();
    let sizes = header.split_once("'shape': (").unwrap().1.split_once(')').unwrap().0;
    let sizes: Vec<usize> =
        sizes.split(',').map(str::trim).filter(|size| !size.is_empty()).map(|size| size.parse().unwrap()).collect();
    if header.contains("'<f4'") {
        let numbers = data.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
        ArrayD::from_shape_vec(sizes, numbers).unwrap().into()
    } else {
        assert!(header.contains("'<i8'"), "{header}");
        let numbers = data.as_chunks::<8>().0.iter().map(|&b| i64::from_le_bytes(b)).collect();
        ArrayD::from_shape_vec(sizes, numbers).unwrap().into()
    }
}
