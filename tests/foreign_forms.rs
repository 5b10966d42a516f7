//! Forward ONNX files in forms that people publish: probabilities at the end, the last place alone, slices counted from the
//! end, two branches in one file, a folder for the file. Made from exports whose numbers in PyTorch are known: what such a
//! form bakes to must agree with them, and other forms must be refused with the reason.

mod foreign_support;

use std::error::Error;
use std::path::Path;

use foreign_support::{agrees_with, fixtures, options};
use gim_harness::bundle::Manifest;
use gim_harness::bundle::bake::{BakeOptions, bake};
use gim_harness::onnx::proto::attribute_proto::AttributeType;
use gim_harness::onnx::proto::tensor_proto::DataType;
use gim_harness::onnx::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use prost::Message;

const BERT: &str = "bert-a.ts17.sdpa";
const LLAMA: &str = "llama-a.ts17.sdpa";

fn original(name: &str) -> ModelProto {
    let file = fixtures().join("foreign").join(format!("{name}.onnx"));
    ModelProto::decode(&std::fs::read(file).unwrap()[..]).unwrap()
}

fn model_of(name: &str) -> &str {
    name.split('.').next().unwrap()
}

fn graph(model: &mut ModelProto) -> &mut GraphProto {
    model.graph.as_mut().unwrap()
}

fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        input: inputs.iter().map(|&name| name.to_owned()).collect(),
        output: vec![output.to_owned()],
        name: Some(format!("form/{output}")),
        op_type: Some(operator.to_owned()),
        ..NodeProto::default()
    }
}

fn with(mut node: NodeProto, name: &str, value: i64) -> NodeProto {
    node.attribute.push(AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Int as i32),
        i: Some(value),
        ..AttributeProto::default()
    });
    node
}

fn ints(name: &str, dims: &[i64], values: &[i64]) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        dims: dims.to_vec(),
        data_type: Some(DataType::Int64 as i32),
        int64_data: values.to_vec(),
        ..TensorProto::default()
    }
}

fn real(name: &str, value: f32) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(DataType::Float as i32),
        float_data: vec![value],
        ..TensorProto::default()
    }
}

/// The model with its logits called `raw`, and more nodes that make its output.
fn ending(name: &str, output: &str, nodes: Vec<NodeProto>) -> ModelProto {
    let mut model = original(name);
    let graph = graph(&mut model);
    for node in &mut graph.node {
        node.output.iter_mut().filter(|name| *name == "logits").for_each(|name| "raw".clone_into(name));
    }
    graph.node.extend(nodes);
    graph.initializer.extend([
        ints("last", &[], &[-1]),
        ints("second", &[], &[1]),
        ints("zero", &[1], &[0]),
        ints("one", &[1], &[1]),
        ints("minus_one", &[1], &[-1]),
        ints("minus_two", &[1], &[-2]),
        ints("two", &[1], &[2]),
        ints("end", &[1], &[i64::MAX]),
        ints("start", &[1], &[i64::MIN]),
        real("tiny", 1e-7),
        real("real_one", 1.0),
    ]);
    graph.output.truncate(1);
    graph.output[0].name = Some(output.to_owned());
    model
}

/// It bakes to what PyTorch computes; gives the bundle's notes.
fn agrees(what: &str, name: &str, model: &ModelProto) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.onnx");
    std::fs::write(&file, model.encode_to_vec()).unwrap();
    agrees_with(what, &file, model_of(name)).notes
}

fn bake_at(file: &Path, out: &Path, options: &BakeOptions<'_>) -> Result<Manifest, String> {
    bake(file, out, options, &mut |_, _| {}).map_err(|error| {
        assert!(!out.exists(), "something was left behind");
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            text = format!("{text}: {inner}");
            cause = inner.source();
        }
        text
    })
}

/// It is refused, for this reason.
#[track_caller]
fn refused(name: &str, model: &ModelProto, parts: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.onnx");
    std::fs::write(&file, model.encode_to_vec()).unwrap();
    let error = bake_at(&file, &folder.path().join("bundle"), &options(model_of(name))).expect_err("it was baked");
    for part in parts.iter().chain(&["model.onnx"]) {
        assert!(error.contains(part), "no '{part}' in: {error}");
    }
}

fn softmax(input: &str, output: &str, axis: i64) -> NodeProto {
    with(node("Softmax", &[input], output), "axis", axis)
}

#[test]
fn a_softmax_at_the_end_is_taken_off_and_said() {
    let model = ending(BERT, "probabilities", vec![softmax("raw", "probabilities", -1)]);
    let notes = agrees("softmax", BERT, &model);
    assert!(notes[0].contains("the output 'probabilities' is taken for the logits"), "{notes:?}");
    assert!(notes[1].contains("the file ends in softmax"), "{notes:?}");
    // A decoder's logarithms of probabilities, under the name of logits.
    let log = with(node("LogSoftmax", &["raw"], "logits"), "axis", -1);
    let notes = agrees("log softmax", LLAMA, &ending(LLAMA, "logits", vec![log]));
    assert!(notes[0].contains("the file ends in log softmax"), "{notes:?}");
}

#[test]
fn a_sigmoid_in_pieces_and_a_label_beside_it() {
    let nodes = vec![
        node("Neg", &["raw"], "minus"),
        node("Exp", &["minus"], "e"),
        node("Add", &["e", "real_one"], "below"),
        node("Div", &["real_one", "below"], "scores"),
        with(node("ArgMax", &["scores"], "label"), "axis", -1),
    ];
    let mut model = ending(BERT, "scores", nodes);
    let label = ValueInfoProto { name: Some("label".to_owned()), ..ValueInfoProto::default() };
    graph(&mut model).output.push(label);
    let notes = agrees("sigmoid", BERT, &model);
    assert!(notes[0].contains("'scores'") && notes[0].contains("'label'"), "{notes:?}");
    assert!(notes[1].contains("ends in sigmoid"), "{notes:?}");
}

#[test]
fn probabilities_that_are_not_recognised_are_refused() {
    let sum = vec![softmax("raw", "p", -1), node("Add", &["p", "tiny"], "logits")];
    refused(BERT, &ending(BERT, "logits", sum), &["Softmax", "behind its last product", "not logits"]);
    let one = vec![softmax("raw", "p", -1), node("Slice", &["p", "one", "two", "one"], "logits")];
    refused(BERT, &ending(BERT, "logits", one), &["Softmax", "not logits"]);
    let over_rows = vec![softmax("raw", "logits", 0)];
    refused(BERT, &ending(BERT, "logits", over_rows), &["Softmax", "not logits"]);
    let squashed = vec![node("Tanh", &["raw"], "logits")];
    refused(BERT, &ending(BERT, "logits", squashed), &["Tanh", "not logits"]);
    // Two outputs that may be it.
    let mut two = ending(BERT, "a", vec![node("Neg", &["raw"], "a"), node("Abs", &["raw"], "b")]);
    let mut other = graph(&mut two).output[0].clone();
    other.name = Some("b".to_owned());
    graph(&mut two).output.push(other);
    refused(BERT, &two, &["which of 'a'", "'b'", "is unclear"]);
}

#[test]
fn the_last_place_by_number_and_its_probabilities() {
    let last = with(node("Gather", &["raw", "last"], "row"), "axis", 1);
    let notes = agrees("[:, -1]", LLAMA, &ending(LLAMA, "logits", vec![last, softmax("row", "logits", -1)]));
    for part in ["ends in softmax", "logits of the last place; the bundle gives those of `position`"] {
        assert!(notes.iter().any(|note| note.contains(part)), "{notes:?}");
    }
}

#[test]
fn the_last_place_before_the_head_as_a_slice() {
    let mut model = ending(LLAMA, "logits", Vec::new());
    let graph = graph(&mut model);
    let head = graph.node.iter_mut().find(|node| node.output == ["raw"]).unwrap();
    let source = std::mem::replace(&mut head.input[0], "row".to_owned());
    head.output[0] = "logits".to_owned();
    let row = node("Slice", &[&source, "minus_one", "end", "one"], "row");
    let at = graph.node.len() - 1;
    graph.node.insert(at, row);
    agrees("hidden[:, -1:]", LLAMA, &model);
}

#[test]
fn other_places_are_refused() {
    let second_last = vec![with(node("Gather", &["raw", "minus_two"], "logits"), "axis", 1)];
    refused(LLAMA, &ending(LLAMA, "logits", second_last), &["counted from the end of [batch, seq, 131]"]);
    let first = vec![with(node("Gather", &["raw", "second"], "logits"), "axis", 1)];
    refused(LLAMA, &ending(LLAMA, "logits", first), &["one row of 131 numbers", "chooses a place itself"]);
    let two = vec![node("Slice", &["raw", "minus_two", "end", "one"], "logits")];
    refused(LLAMA, &ending(LLAMA, "logits", two), &["cuts an axis of size seq at -2"]);
    let backwards = vec![node("Slice", &["raw", "minus_one", "start", "one", "minus_one"], "logits")];
    refused(LLAMA, &ending(LLAMA, "logits", backwards), &["Slice", "the score depends on the embeddings through it"]);
}

/// `[:, -seq:]`, then up to the smaller of the length and the largest number.
#[test]
fn slices_by_the_length_of_the_text() {
    let nodes = vec![
        node("Shape", &["input_ids"], "shape"),
        with(node("Gather", &["shape", "one"], "seq"), "axis", 0),
        node("Neg", &["seq"], "minus_seq"),
        node("Slice", &["raw", "minus_seq", "end", "one"], "whole"),
        node("Min", &["seq", "end"], "until"),
        node("Slice", &["whole", "zero", "until", "one"], "logits"),
    ];
    agrees("[:, -seq:]", LLAMA, &ending(LLAMA, "logits", nodes));
}

/// A merged export: the branch without a cache is the model, within another `If` whose condition is a size; the other one
/// cannot be read.
fn merged(input: &str) -> ModelProto {
    let mut model = original(LLAMA);
    let graph = graph(&mut model);
    let branch = |name: &str, node: Vec<NodeProto>, initializer: Vec<TensorProto>| AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(AttributeType::Graph as i32),
        g: Some(GraphProto {
            node,
            initializer,
            output: vec![ValueInfoProto { name: Some("logits.inner".to_owned()), ..ValueInfoProto::default() }],
            ..GraphProto::default()
        }),
        ..AttributeProto::default()
    };
    let mut inner = std::mem::take(&mut graph.node);
    for node in &mut inner {
        node.output.iter_mut().filter(|name| *name == "logits").for_each(|name| "logits.inner".clone_into(name));
    }
    let cached = || vec![node("NonZero", &["attention_mask"], "logits.inner")];
    let mut choice = node("If", &["is_matrix"], "logits.inner");
    choice.attribute = vec![branch("then_branch", inner, Vec::new()), branch("else_branch", cached(), Vec::new())];
    let rank = vec![
        node("Shape", &["input_ids"], "shape"),
        node("Size", &["shape"], "rank"),
        node("Equal", &["rank", "two"], "is_matrix"),
        choice,
    ];
    let mut outer = node("If", &[input], "logits");
    outer.attribute =
        vec![branch("then_branch", cached(), Vec::new()), branch("else_branch", rank, vec![ints("two", &[], &[2])])];
    graph.node = vec![outer];
    let mut condition = graph.input[0].clone();
    condition.name = Some(input.to_owned());
    if graph.input.iter().all(|port| port.name() != input) {
        graph.input.push(condition);
    }
    model
}

#[test]
fn a_merged_export_is_its_branch_without_a_cache() {
    let notes = agrees("merged", LLAMA, &merged("use_cache_branch"));
    assert!(notes.iter().any(|note| note.contains("a branch with a cache and one without")), "{notes:?}");
}

#[test]
fn a_condition_that_hangs_on_the_text_is_refused() {
    let says = ["form/logits", "(If)", "known only when the model runs", "decoder_model.onnx"];
    refused(LLAMA, &merged("attention_mask"), &says);
}

/// `onnx/model.onnx` below the configuration and the tokenizer, with and without naming the tokenizer.
#[test]
fn a_folder_for_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("onnx");
    std::fs::create_dir(&inner).unwrap();
    let file = inner.join("model.onnx");
    std::fs::copy(fixtures().join("foreign").join(format!("{BERT}.onnx")), &file).unwrap();
    let tokenizer = folder.path().join("tokenizer.json");
    std::fs::copy(fixtures().join("foreign/bert-a/tokenizer.json"), &tokenizer).unwrap();
    let config = |hidden: usize| {
        let text = format!(
            r#"{{"model_type": "bert", "hidden_size": {hidden}, "id2label": {{"0": "x", "1": "y", "2": "z"}}}}"#
        );
        std::fs::write(folder.path().join("config.json"), text).unwrap();
    };
    config(48);
    let out = folder.path().join("bundle");
    for options in [BakeOptions::default(), BakeOptions { tokenizer: Some(tokenizer), ..BakeOptions::default() }] {
        let manifest = bake_at(&file, &out, &options).unwrap();
        assert_eq!(manifest.labels.unwrap().names().collect::<Vec<_>>(), ["x", "y", "z"]);
        assert_eq!(manifest.architecture, "bert");
        let above = manifest.notes.iter().filter(|note| note.contains("in the folder above is used")).count();
        assert_eq!(above, if options.tokenizer.is_none() { 2 } else { 1 }, "{:?}", manifest.notes);
        std::fs::remove_dir_all(&out).unwrap();
    }
    // Another model's: both files are named. Beside a borrowed tokenizer it is left alone.
    config(64);
    let error = bake_at(&file, &out, &BakeOptions::default()).unwrap_err();
    for part in ["config.json", "model.onnx", "hidden_size is 64", "[131, 48]"] {
        assert!(error.contains(part), "no '{part}' in: {error}");
    }
    let elsewhere = tempfile::tempdir().unwrap();
    for name in ["tokenizer.json", "config.json"] {
        std::fs::copy(folder.path().join(name), elsewhere.path().join(name)).unwrap();
    }
    std::fs::remove_file(folder.path().join("config.json")).unwrap();
    let tokenizer = Some(elsewhere.path().join("tokenizer.json"));
    let manifest = bake_at(&file, &out, &BakeOptions { tokenizer, ..BakeOptions::default() }).unwrap();
    assert!(manifest.notes[0].contains("it is not used"), "{:?}", manifest.notes);
    // One that is cut off.
    std::fs::write(folder.path().join("config.json"), r#"{"model_type": "be"#).unwrap();
    let error = bake_at(&file, &out.with_file_name("other"), &BakeOptions::default()).unwrap_err();
    assert!(error.contains("config.json") && error.contains("is no JSON") && error.contains("model.onnx"), "{error}");
}

#[test]
fn pointers_and_rounded_weights_say_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model_quantized.onnx");
    std::fs::write(&file, "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n").unwrap();
    let out = folder.path().join("bundle");
    let error = bake_at(&file, &out, &options("bert-a")).unwrap_err();
    assert!(error.contains("model_quantized.onnx is a Git LFS pointer") && error.contains("git lfs pull"), "{error}");

    let mut model = ending(BERT, "logits", vec![node("DequantizeLinear", &["raw", "real_one"], "logits")]);
    std::fs::write(&file, model.encode_to_vec()).unwrap();
    let error = bake_at(&file, &out, &options("bert-a")).unwrap_err();
    assert!(error.contains("is quantised (1 DequantizeLinear; the first is 'form/logits')"), "{error}");
    assert!(error.contains("usually model.onnx"), "{error}");
    graph(&mut model).node.last_mut().unwrap().op_type = Some("MatMulInteger".to_owned());
    std::fs::write(&file, model.encode_to_vec()).unwrap();
    std::fs::write(folder.path().join("model.onnx"), "").unwrap();
    let error = bake_at(&file, &out, &options("bert-a")).unwrap_err();
    assert!(error.contains("1 MatMulInteger") && error.contains("which model.onnx beside it may be"), "{error}");
}
