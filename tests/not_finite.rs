//! Numbers that are not finite: what they were asked for is left out, with the node that first made one.

#[path = "support/workplace.rs"]
mod workplace;

use std::fs;
use std::path::{Path, PathBuf};

use gim_harness::attribution::{self, Settings};
use gim_harness::bundle::bake::{BakeOptions, bake};
use gim_harness::bundle::manifest::ComputeType;
use gim_harness::config::Score;
use gim_harness::probe::{Case, Question};
use gim_harness::runtime::{Change, Model, Row, SessionOptions};
use gim_harness::units::Units;
use workplace::{checkpoint, runtime};

/// The small model with numbers of some weights changed.
fn spoiled(folder: &Path, change: impl Fn(&str, f32) -> f32) -> PathBuf {
    let spoiled = folder.join("spoiled");
    fs::create_dir(&spoiled).unwrap();
    for file in fs::read_dir(checkpoint()).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), spoiled.join(file.file_name())).unwrap();
    }
    let path = spoiled.join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let tensors: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    for (name, tensor) in tensors.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__") {
        assert_eq!(tensor["dtype"], "F32");
        let [start, end] = [0, 1].map(|at| tensor["data_offsets"][at].as_u64().unwrap() as usize + 8 + header);
        for number in bytes[start..end].chunks_exact_mut(4) {
            let value = f32::from_le_bytes(number.try_into().unwrap());
            number.copy_from_slice(&change(name, value).to_le_bytes());
        }
    }
    fs::write(&path, bytes).unwrap();
    spoiled
}

fn opened(folder: &Path, source: &Path, compute: ComputeType) -> Model {
    let bundle = folder.join("bundle");
    let _ = fs::remove_dir_all(&bundle);
    bake(source, &bundle, &BakeOptions { compute, ..BakeOptions::default() }, &mut |_, _| {}).unwrap();
    Model::open(&runtime(), &bundle, &SessionOptions { threads: Some(1), ..Default::default() }).unwrap()
}

fn case(ids: &[i64]) -> Case {
    Case {
        key: "one".to_owned(),
        prompt: ids.into(),
        position: ids.len() - 1,
        question: Question { target: 30, contrast: None, score: Score::Logit },
        following: Vec::new(),
        baseline: 25,
        ranked: Units::tokens(1..ids.len() - 1),
    }
}

#[test]
fn a_score_that_overflows_names_the_product_that_did() {
    let folder = tempfile::tempdir().unwrap();
    let weight = "model.layers.1.mlp.up_proj.weight";
    let source = spoiled(folder.path(), |name, value| if name == weight { value.signum() * 3e38 } else { value });
    let mut model = opened(folder.path(), &source, ComputeType::F32);
    let row = Row::new(vec![0, 40, 41, 42], 3);
    assert!(!model.scores(std::slice::from_ref(&row), &[30]).unwrap()[0].is_finite());
    let cause = model.cause_of(&row).unwrap();
    assert!(cause.starts_with("the first that is not comes from `"), "{cause}");
    assert!(cause.ends_with(&format!("weight `{weight}`) of forward.onnx")), "{cause}");
    // Rows of other graphs of the same model.
    let changed = row.changed(&[1], Change::Mean);
    assert!(model.cause_of(&changed).unwrap().ends_with("of forward_embeds.onnx"));
    let method = attribution::build("gim", &Settings::default()).unwrap();
    let reason = attribution::explain(&mut model, &method, &case(&[0, 40, 41, 42])).unwrap().0.unwrap_err().0;
    assert!(reason.starts_with("the attribution of token 0 is not a finite number: the first that is not"), "{reason}");
    assert!(reason.contains(weight) && reason.ends_with("of gradient.onnx"), "{reason}");
}

#[test]
fn a_gradient_that_is_none_names_its_graph_and_scores_are_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    // Gates are vast and what they multiply tiny, so what is passed on is neither; but the derivative by one is the other, times
    // what flows back through large weights.
    let source = spoiled(folder.path(), |name, value| match name {
        "model.layers.1.mlp.gate_proj.weight" => value * 1e37,
        "model.layers.1.mlp.up_proj.weight" => value * 1e-37,
        "model.norm.weight" => value * 1e8,
        _ => value,
    });
    let mut model = opened(folder.path(), &source, ComputeType::F32);
    let ids = [0, 40, 41, 42];
    let row = Row::new(ids.to_vec(), 3);
    assert!(model.scores(std::slice::from_ref(&row), &[30]).unwrap()[0].is_finite());
    assert_eq!(model.cause_of(&row), None);
    let mut of = |method: &str| {
        let method = attribution::build(method, &Settings::default()).unwrap();
        attribution::explain(&mut model, &method, &case(&ids)).unwrap().0
    };
    assert!(of("ablation").is_ok());
    for method in ["gim", "gradient"] {
        let reason = of(method).unwrap_err().0;
        assert!(
            reason.contains("is not a finite number: the first that is not comes from `gradient/layers.1.mlp/"),
            "{reason}"
        );
        assert!(reason.ends_with("of gradient.onnx"), "{reason}");
    }
}

#[test]
fn what_is_too_large_for_half_precision_is_found_where_it_becomes_that() {
    let folder = tempfile::tempdir().unwrap();
    // The gated product is beyond 65,504, which single and double precision do not mind.
    let source = spoiled(folder.path(), |name, value| match name {
        "model.layers.1.mlp.gate_proj.weight" | "model.layers.1.mlp.up_proj.weight" => value * 1e3,
        _ => value,
    });
    let row = Row::new(vec![0, 40, 41, 42], 3);
    let cause = |compute| opened(folder.path(), &source, compute).cause_of(&row);
    assert_eq!([cause(ComputeType::F32), cause(ComputeType::F64)], [None, None]);
    let cause = cause(ComputeType::F16).unwrap();
    assert!(cause.contains("`layers.1.mlp/Cast_") && cause.ends_with("(Cast) of forward.onnx"), "{cause}");
}

#[test]
fn a_run_counts_them_with_their_cause() {
    let place = workplace::workplace();
    let folder = place.path();
    let weight = "model.layers.2.mlp.down_proj.weight";
    let source = spoiled(folder, |name, value| if name == weight { value.signum() * 3e38 } else { value });
    let bundle = folder.join("bundle");
    fs::remove_dir_all(&bundle).unwrap();
    bake(&source, &bundle, &BakeOptions::default(), &mut |_, _| {}).unwrap();
    let run = |out: &str| {
        let output =
            workplace::program().args(["run", "harness.yaml", "--out", out]).current_dir(folder).output().unwrap();
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = run("one");
    let examples = fs::read_to_string(folder.join("one/examples.csv")).unwrap();
    assert_eq!(examples.lines().filter(|line| line.contains(weight)).count(), 20 * 6, "{examples}");
    assert!(examples.contains("the score is not a finite number: the first that is not comes from `"), "{examples}");
    let report = fs::read_to_string(folder.join("one/report.md")).unwrap();
    assert!(report.contains(weight), "{report}\n{said}");

    let prompt = ["explain", "bundle", "--prompt", "w5 w6 w7", "--target", "w20"];
    let output = workplace::program().args(prompt).current_dir(folder).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(said.contains("the score is not a finite number: the first that is not comes from `"), "{said}");
}
