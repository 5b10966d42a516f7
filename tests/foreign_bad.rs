//! Foreign ONNX files that are broken, hostile, or of a kind that cannot be explained: one error that names the file and
//! the node, no panic, nothing written.

use std::error::Error;
use std::path::{Path, PathBuf};

use gim_harness::bundle::bake::{BakeOptions, bake};
use gim_harness::onnx::proto::attribute_proto::AttributeType;
use gim_harness::onnx::proto::tensor_proto::{DataLocation, DataType};
use gim_harness::onnx::proto::tensor_shape_proto::dimension;
use gim_harness::onnx::proto::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto, type_proto,
};
use gim_harness::onnx::read::read_bytes;
use proptest::prelude::*;
use prost::Message;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/foreign")
}

fn original(name: &str) -> ModelProto {
    ModelProto::decode(&std::fs::read(fixtures().join(format!("{name}.onnx"))).unwrap()[..]).unwrap()
}

const BERT: &str = "bert-a.ts17.sdpa";
const LLAMA: &str = "llama-a.dynamo18.eager";

/// Bakes a file that was changed, in a folder of its own. `Err` is the error with all its causes.
fn bake_changed(name: &str, change: impl FnOnce(&mut ModelProto, &Path)) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let mut model = original(name);
    let inner = folder.path().join("model");
    std::fs::create_dir(&inner).unwrap();
    change(&mut model, &inner);
    let file = inner.join("model.onnx");
    std::fs::write(&file, model.encode_to_vec()).unwrap();
    bake_written(&file, &folder.path().join("out"))
}

fn bake_written(file: &Path, out: &Path) -> Result<(), String> {
    let options = BakeOptions { tokenizer: Some(fixtures().join("bert-a/tokenizer.json")), ..BakeOptions::default() };
    let result = bake(file, &out.join("bundle"), &options, &mut |_, _| {});
    result.map(drop).map_err(|error| {
        let left = std::fs::read_dir(out).map(|entries| entries.count()).unwrap_or(0);
        assert_eq!(left, 0, "something was left behind");
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            text = format!("{text}: {inner}");
            cause = inner.source();
        }
        text
    })
}

/// The change makes an error that says all of this, and which file it is.
#[track_caller]
fn fails(name: &str, parts: &[&str], change: impl FnOnce(&mut ModelProto, &Path)) {
    let error = bake_changed(name, change).expect_err("it was baked");
    for part in parts.iter().chain(&["model.onnx"]) {
        assert!(error.contains(part), "no '{part}' in: {error}");
    }
}

fn graph(model: &mut ModelProto) -> &mut GraphProto {
    model.graph.as_mut().unwrap()
}

fn node<'a>(model: &'a mut ModelProto, name: &str) -> &'a mut NodeProto {
    graph(model).node.iter_mut().find(|node| node.name() == name).unwrap()
}

fn first<'a>(model: &'a mut ModelProto, operator: &str) -> &'a mut NodeProto {
    graph(model).node.iter_mut().find(|node| node.op_type() == operator).unwrap()
}

fn weight<'a>(model: &'a mut ModelProto, name: &str) -> &'a mut TensorProto {
    graph(model).initializer.iter_mut().find(|tensor| tensor.name() == name).unwrap()
}

const WORDS: &str = "m.bert.embeddings.word_embeddings.weight";

/// Moves a tensor to a file beside the model.
fn externalize(tensor: &mut TensorProto, location: &str, offset: &str, length: Option<&str>) -> Vec<u8> {
    let entry =
        |key: &str, value: &str| StringStringEntryProto { key: Some(key.to_owned()), value: Some(value.to_owned()) };
    tensor.data_location = Some(DataLocation::External as i32);
    tensor.external_data = vec![entry("location", location), entry("offset", offset)];
    tensor.external_data.extend(length.map(|length| entry("length", length)));
    tensor.raw_data.take().unwrap()
}

#[test]
fn unchanged_files_and_external_data_bake() {
    bake_changed(BERT, |_, _| {}).unwrap();
    bake_changed(BERT, |model, folder| {
        let data = externalize(weight(model, WORDS), "weights.data", "0", None);
        std::fs::write(folder.join("weights.data"), data).unwrap();
    })
    .unwrap();
}

#[test]
fn external_data_outside_the_folder() {
    for location in ["../secret.data", "/etc/hostname", "a/../../secret.data", ""] {
        fails(BERT, &[WORDS, "not a file in this folder"], |model, folder| {
            let data = externalize(weight(model, WORDS), location, "0", None);
            std::fs::write(folder.parent().unwrap().join("secret.data"), data).unwrap();
        });
    }
    fails(BERT, &[WORDS, "cannot be read"], |model, _| {
        externalize(weight(model, WORDS), "absent.data", "0", None);
    });
    #[cfg(unix)]
    fails(BERT, &[WORDS, "link out of this folder"], |model, folder| {
        let outside = folder.parent().unwrap().join("secret.data");
        let data = externalize(weight(model, WORDS), "linked.data", "0", None);
        std::fs::write(&outside, data).unwrap();
        std::os::unix::fs::symlink(outside, folder.join("linked.data")).unwrap();
    });
}

#[test]
fn external_data_past_the_end_or_of_another_length() {
    for (offset, length, says) in [
        ("4", None, "needs 25152 bytes from 4 on"),
        ("18446744073709551615", None, "which has 25152"),
        ("0", Some("12"), "takes 12 bytes"),
        ("-1", None, "the offset '-1'"),
    ] {
        fails(BERT, &[WORDS, says], |model, folder| {
            let data = externalize(weight(model, WORDS), "weights.data", offset, length);
            std::fs::write(folder.join("weights.data"), data).unwrap();
        });
    }
}

#[test]
fn overlapping_tensors() {
    fails(BERT, &["overlap", WORDS], |model, folder| {
        let other = "m.bert.embeddings.position_embeddings.weight";
        let mut data = externalize(weight(model, WORDS), "weights.data", "0", None);
        data.extend(externalize(weight(model, other), "weights.data", "128", None));
        std::fs::write(folder.join("weights.data"), data).unwrap();
    });
    // One file under two names.
    fails(BERT, &["overlap", WORDS], |model, folder| {
        let other = "m.bert.embeddings.position_embeddings.weight";
        let mut data = externalize(weight(model, WORDS), "weights.data", "0", None);
        data.extend(externalize(weight(model, other), "./weights.data", "128", None));
        std::fs::write(folder.join("weights.data"), data).unwrap();
    });
}

#[test]
fn tensors_of_absurd_or_wrong_sizes() {
    fails(BERT, &[WORDS, "absurd shape"], |model, _| weight(model, WORDS).dims = vec![1 << 40, 1 << 40]);
    fails(BERT, &[WORDS, "its shape needs"], |model, _| weight(model, WORDS).dims = vec![1 << 30, 48]);
    fails(BERT, &[WORDS, "has the shape"], |model, _| weight(model, WORDS).dims = vec![-1, 48]);
    fails(BERT, &[WORDS, "unknown type"], |model, _| weight(model, WORDS).data_type = Some(999));
    fails(BERT, &[WORDS, "quantised"], |model, _| weight(model, WORDS).data_type = Some(DataType::Int8 as i32));
    fails(BERT, &["ConstantOfShape", "absurd shape"], |model, _| {
        let name = first(model, "ConstantOfShape").input[0].clone();
        let huge: Vec<u8> = [i64::MAX, i64::MAX].iter().flat_map(|v| v.to_le_bytes()).collect();
        first(model, "ConstantOfShape").input[0] = "huge".to_owned();
        assert_ne!(name, "huge");
        graph(model).initializer.push(TensorProto {
            name: Some("huge".to_owned()),
            dims: vec![2],
            data_type: Some(DataType::Int64 as i32),
            raw_data: Some(huge),
            ..TensorProto::default()
        });
    });
}

/// A few megabytes of file must not become gigabytes of memory.
#[test]
fn files_that_ask_for_more_memory_than_they_hold() {
    // Attributes without anything in them.
    fails(BERT, &["more than", "attributes and tensors"], |model, _| {
        first(model, "Erf").attribute = vec![AttributeProto::default(); 1 << 19];
    });
    fails(BERT, &["nodes or more"], |model, _| graph(model).node.resize(1 << 19, NodeProto::default()));
    // A function that holds a megabyte, called time and again.
    fails(BERT, &["acme.Erf", "functions copy more than"], |model, _| {
        let value = TensorProto {
            dims: vec![1 << 18],
            data_type: Some(DataType::Float as i32),
            raw_data: Some(vec![0; 1 << 20]),
            ..TensorProto::default()
        };
        let held = AttributeProto {
            name: Some("value".to_owned()),
            r#type: Some(AttributeType::Tensor as i32),
            t: Some(value),
            ..AttributeProto::default()
        };
        let (input, output) = (vec!["x".to_owned()], vec!["y".to_owned()]);
        let op_type = Some("Identity".to_owned());
        let node = NodeProto { input, output, op_type, attribute: vec![held], ..NodeProto::default() };
        model.functions.push(FunctionProto {
            name: Some("hold".to_owned()),
            domain: Some("acme".to_owned()),
            input: vec!["x".to_owned()],
            output: vec!["y".to_owned()],
            node: vec![node],
            ..FunctionProto::default()
        });
        for i in 0..1000 {
            graph(model).node.push(NodeProto {
                name: Some(format!("acme.Erf.{i}")),
                input: vec!["input_ids".to_owned()],
                output: vec![format!("held.{i}")],
                op_type: Some("hold".to_owned()),
                domain: Some("acme".to_owned()),
                ..NodeProto::default()
            });
        }
    });
    // An axis of absurd size and as many parts of it, of which one is used: no GELU is left where it is added.
    fails(BERT, &["places for activation"], |model, _| {
        let huge = |name: &str| TensorProto {
            name: Some(name.to_owned()),
            dims: vec![1],
            data_type: Some(DataType::Int64 as i32),
            int64_data: vec![1 << 50],
            ..TensorProto::default()
        };
        graph(model).initializer.push(huge("huge"));
        let source = first(model, "Erf").input[0].clone();
        let number = AttributeProto {
            name: Some("num_outputs".to_owned()),
            r#type: Some(AttributeType::Int as i32),
            i: Some(1 << 50),
            ..AttributeProto::default()
        };
        let make = |op: &str, input: &[&str], output: &str, attribute: Vec<AttributeProto>| NodeProto {
            input: input.iter().map(|name| (*name).to_owned()).collect(),
            output: vec![output.to_owned()],
            op_type: Some(op.to_owned()),
            attribute,
            ..NodeProto::default()
        };
        let nodes = [
            make("ConstantOfShape", &["huge"], "wide", Vec::new()),
            make("Split", &["wide"], "part", vec![number]),
            make("Add", &[&source, "part"], "sum", Vec::new()),
        ];
        graph(model).node.extend(nodes);
        first(model, "Erf").input[0] = "sum".to_owned();
    });
}

#[test]
fn logits_over_another_vocabulary() {
    let name = "gpt2-a.ts17.eager";
    fails(name, &["over 48 tokens", "131 rows"], |model, _| {
        let head = graph(model).node.iter().rfind(|node| node.op_type() == "MatMul").unwrap().input[0].clone();
        graph(model).output[0].name = Some(head);
    });
}

#[test]
fn cycles_and_names() {
    fails(BERT, &["/m/bert/embeddings/Add'", "a cycle"], |model, _| {
        let late = node(model, "/m/bert/pooler/activation/Tanh").output[0].clone();
        node(model, "/m/bert/embeddings/Add").input[1] = late;
    });
    fails(BERT, &["used twice", "/m/bert/embeddings/Add_1'"], |model, _| {
        let name = node(model, "/m/bert/embeddings/Add").output[0].clone();
        node(model, "/m/bert/embeddings/Add_1").output[0] = name;
    });
    fails(BERT, &["used twice", WORDS], |model, _| {
        let twice = weight(model, WORDS).clone();
        graph(model).initializer.push(twice);
    });
    fails(BERT, &["/m/bert/embeddings/Add'", "'nowhere', which nothing makes"], |model, _| {
        node(model, "/m/bert/embeddings/Add").input[1] = "nowhere".to_owned();
    });
}

#[test]
fn operator_sets_out_of_range() {
    for version in [0, 16, 24] {
        fails(BERT, &[&format!("operator set {version}"), "17 to 23"], |model, _| {
            model.opset_import[0].version = Some(version);
        });
    }
}

#[test]
fn outputs_that_are_no_logits() {
    fails(BERT, &["no output 'logits'", "'last_hidden_state'"], |model, _| {
        graph(model).output[0].name = Some("last_hidden_state".to_owned());
    });
    fails(BERT, &["[batch, seq, vocab]", "[batch, seq, seq]"], |model, _| {
        // The scores of the first layer, one head: [batch, 4, seq, seq] summed over heads.
        let scores = first(model, "Softmax").input[0].clone();
        graph(model).node.push(NodeProto {
            input: vec![scores, "axis".to_owned()],
            output: vec!["summed".to_owned()],
            op_type: Some("ReduceSum".to_owned()),
            attribute: vec![AttributeProto {
                name: Some("keepdims".to_owned()),
                r#type: Some(AttributeType::Int as i32),
                i: Some(0),
                ..AttributeProto::default()
            }],
            ..NodeProto::default()
        });
        graph(model).initializer.push(TensorProto {
            name: Some("axis".to_owned()),
            dims: vec![1],
            data_type: Some(DataType::Int64 as i32),
            int64_data: vec![1],
            ..TensorProto::default()
        });
        graph(model).output[0].name = Some("summed".to_owned());
    });
    fails(BERT, &["no output"], |model, _| graph(model).output.clear());
}

#[test]
fn operators_that_are_refused_name_the_node() {
    let training = |model: &mut ModelProto, _: &Path| {
        let gelu = first(model, "Erf");
        gelu.op_type = Some("Dropout".to_owned());
        gelu.input.extend([String::new(), "training".to_owned()]);
        graph(model).initializer.push(TensorProto {
            name: Some("training".to_owned()),
            data_type: Some(DataType::Bool as i32),
            raw_data: Some(vec![1]),
            ..TensorProto::default()
        });
    };
    fails(BERT, &["intermediate_act_fn/Erf'", "training mode"], training);
    fails(BERT, &["intermediate_act_fn/Erf'", "not supported"], |model, _| {
        first(model, "Erf").op_type = Some("NonMaxSuppression".to_owned());
    });
    fails(BERT, &["intermediate_act_fn/Erf'", "'acme'"], |model, _| {
        first(model, "Erf").domain = Some("acme".to_owned())
    });
    fails(BERT, &["intermediate_act_fn/Erf'", "quantised"], |model, _| {
        let node = first(model, "Erf");
        (node.domain, node.op_type) = (Some("com.microsoft".to_owned()), Some("MatMulNBits".to_owned()));
    });
    fails(BERT, &["intermediate_act_fn/Erf'", "control flow"], |model, _| {
        let node = first(model, "Erf");
        node.op_type = Some("If".to_owned());
        node.attribute.push(AttributeProto {
            name: Some("then_branch".to_owned()),
            r#type: Some(AttributeType::Graph as i32),
            g: Some(GraphProto::default()),
            ..AttributeProto::default()
        });
    });
}

#[test]
fn an_operator_without_a_rule_says_why_it_needed_one() {
    // Where the embeddings flow through it.
    fails(
        BERT,
        &["Softplus", "intermediate_act_fn/Erf", "the score depends on the embeddings through it"],
        |model, _| {
            first(model, "Erf").op_type = Some("Softplus".to_owned());
        },
    );
}

#[test]
fn inputs_that_a_bundle_cannot_give() {
    let fixed = |axis: usize, size: i64| {
        move |model: &mut ModelProto, _: &Path| {
            for input in &mut graph(model).input {
                let Some(type_proto::Value::TensorType(tensor)) = &mut input.r#type.as_mut().unwrap().value else {
                    panic!("no tensor")
                };
                let dims = &mut tensor.shape.as_mut().unwrap().dim;
                dims[axis].value = Some(dimension::Value::DimValue(size));
            }
        }
    };
    fails(BERT, &["input_ids", "fixed batch 1", "dynamic axes"], fixed(0, 1));
    fails(BERT, &["input_ids", "fixed sequence length 128"], fixed(1, 128));
    let rename = |to: &'static str| {
        move |model: &mut ModelProto, _: &Path| {
            for node in &mut graph(model).node {
                node.input.iter_mut().filter(|name| *name == "input_ids").for_each(|name| to.clone_into(name));
            }
            graph(model).input[0].name = Some(to.to_owned());
        }
    };
    fails(BERT, &["'inputs_embeds'", "embeddings"], rename("inputs_embeds"));
    fails(BERT, &["'pixels'", "no input that is known"], rename("pixels"));
    fails(BERT, &["past_key_values.0.key", "cache"], rename("past_key_values.0.key"));
}

#[test]
fn embeddings_that_cannot_be_found() {
    // Ids that are computed with before they are looked up.
    fails(BERT, &["no lookup of token embeddings", "position_embeddings"], |model, _| {
        let lookup = node(model, "/m/bert/embeddings/word_embeddings/Gather");
        lookup.input[1] = "shifted".to_owned();
        graph(model).node.push(NodeProto {
            input: vec!["input_ids".to_owned(), "input_ids".to_owned()],
            output: vec!["shifted".to_owned()],
            op_type: Some("Add".to_owned()),
            ..NodeProto::default()
        });
    });
}

#[test]
fn functions_are_inlined_and_may_not_call_each_other_for_ever() {
    let function = |name: &str, calls: &str, domain: &str| FunctionProto {
        name: Some(name.to_owned()),
        domain: Some("acme".to_owned()),
        input: vec!["x".to_owned()],
        output: vec!["y".to_owned()],
        node: vec![NodeProto {
            input: vec!["x".to_owned()],
            output: vec!["y".to_owned()],
            op_type: Some(calls.to_owned()),
            domain: Some(domain.to_owned()),
            ..NodeProto::default()
        }],
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(17) }],
        ..FunctionProto::default()
    };
    let call = |model: &mut ModelProto| {
        let node = first(model, "Erf");
        (node.domain, node.op_type) = (Some("acme".to_owned()), Some("outer".to_owned()));
    };
    bake_changed(BERT, |model, _| {
        call(model);
        model.functions = vec![function("outer", "inner", "acme"), function("inner", "Erf", "")];
    })
    .unwrap();
    fails(BERT, &["call each other", "outer"], |model, _| {
        call(model);
        model.functions = vec![function("outer", "inner", "acme"), function("inner", "outer", "acme")];
    });
}

#[test]
fn files_that_are_no_models() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(fixtures().join(format!("{BERT}.onnx"))).unwrap();
    for (name, bytes) in
        [("empty", &b""[..]), ("text", b"not a model"), ("cut", &whole[..whole.len() / 2]), ("short", &whole[..3])]
    {
        let file = folder.path().join(format!("{name}.onnx"));
        std::fs::write(&file, bytes).unwrap();
        let error = bake_written(&file, &folder.path().join("out")).unwrap_err();
        assert!(error.contains(name), "{error}");
    }
    let error = bake_written(&folder.path().join("absent.onnx"), &folder.path().join("out")).unwrap_err();
    assert!(error.contains("absent.onnx"), "{error}");
}

/// Reads what may be anything; only a panic is a failure.
fn read_anything(bytes: &[u8]) {
    let _ = read_bytes(Path::new("anything.onnx"), bytes);
}

/// One change of a model that keeps it a protobuf.
fn vandalize(model: &mut ModelProto, (what, i, j, number): (u8, usize, usize, i64)) {
    let graph = graph(model);
    let nodes = graph.node.len();
    let node = |i: usize| i % nodes;
    match what % 8 {
        0 => {
            let name = graph.node[node(j)].output[0].clone();
            let inputs = &mut graph.node[node(i)].input;
            let at = j % inputs.len().max(1);
            if let Some(input) = inputs.get_mut(at) {
                *input = name;
            }
        }
        1 => graph.node[node(i)].op_type = graph.node[node(j)].op_type.clone(),
        2 => drop(graph.node[node(i)].input.pop()),
        3 => {
            let node = &mut graph.node[node(i)];
            for attribute in &mut node.attribute {
                attribute.i = attribute.i.map(|_| number);
                attribute.ints.iter_mut().for_each(|v| *v = number);
                if let Some(tensor) = &mut attribute.t {
                    tensor.raw_data = Some(number.to_le_bytes().to_vec());
                }
            }
        }
        4 => {
            let tensors = graph.initializer.len();
            let tensor = &mut graph.initializer[i % tensors];
            if let Some(dim) = tensor.dims.first_mut() {
                *dim = number;
            }
        }
        5 => {
            let tensors = graph.initializer.len();
            let (from, to) = (graph.initializer[i % tensors].clone(), &mut graph.initializer[j % tensors]);
            let name = to.name.clone();
            *to = TensorProto { name, ..from };
        }
        6 => graph.node[node(i)].attribute.clear(),
        _ => {
            let input = graph.node[node(j)].input.clone();
            graph.node[node(i)].input.extend(input);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn flipped_bytes_never_panic(places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
                                 cut in any::<prop::sample::Index>(), cuts in any::<bool>()) {
        let mut bytes = std::fs::read(fixtures().join(format!("{BERT}.onnx"))).unwrap();
        for (place, value) in places {
            let at = place.index(bytes.len());
            bytes[at] = value;
        }
        if cuts {
            bytes.truncate(cut.index(bytes.len()));
        }
        read_anything(&bytes);
    }

    #[test]
    fn models_rewired_at_random_never_panic(
        changes in prop::collection::vec((any::<u8>(), any::<usize>(), any::<usize>(),
            prop_oneof![-9i64..9, Just(i64::MAX), Just(i64::MIN), Just(1 << 40), any::<i64>()]), 1..6),
        llama in any::<bool>(),
    ) {
        let mut model = original(if llama { LLAMA } else { BERT });
        for change in changes {
            vandalize(&mut model, change);
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("model.onnx");
        std::fs::write(&file, model.encode_to_vec()).unwrap();
        let _ = bake_written(&file, &folder.path().join("out"));
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        read_anything(&bytes);
    }
}
