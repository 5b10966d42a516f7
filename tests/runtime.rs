//! The runtime room against ONNX Runtime itself, on a bundle small enough to be worked out by hand
//! (`scripts/make_runtime_fixtures.py`). ONNX Runtime is found or installed as for any command.

use std::fs;
use std::path::{Path, PathBuf};

use gim_harness::device::PROVIDERS;
use gim_harness::grad::knobs::Knobs;
use gim_harness::runtime::{
    Device, GradientRow, Graph, InputError, Model, Optimization, Row, Runtime, RuntimeError, RuntimeOptions, Score,
    Session, SessionOptions, Tensor,
};
use ndarray::{Array2, Axis, array};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

const VOCAB: usize = 11;
const HIDDEN: usize = 4;

fn runtime() -> Runtime {
    Runtime::open(&RuntimeOptions::default(), &|line| eprintln!("{line}")).unwrap()
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/runtime/bundle")
}

fn options() -> SessionOptions {
    SessionOptions { threads: Some(1), ..SessionOptions::default() }
}

fn open(options: &SessionOptions) -> Model {
    Model::open(&runtime(), &fixture(), options).unwrap()
}

fn model() -> Model {
    open(&options())
}

/// A copy of the bundle to damage.
fn copy() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    folder
}

fn edit(folder: &Path, from: &str, to: &str) {
    let path = folder.join("bundle.json");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from));
    fs::write(path, text.replace(from, to)).unwrap();
}

fn open_error(folder: &Path) -> String {
    Model::open(&runtime(), folder, &options()).unwrap_err().to_string()
}

fn row(ids: &[i64]) -> Row {
    Row::new(ids, ids.len() - 1)
}

/// Rows of all lengths up to 16, two of each, in no order.
fn rows() -> Vec<Row> {
    (0..32usize)
        .map(|n| {
            let length = 1 + (n * 7) % 16;
            let ids = (0..length).map(|i| ((i * i * 3 + n * 5 + i) % VOCAB) as i64).collect::<Vec<_>>();
            Row::new(ids, (n * 3) % length)
        })
        .collect()
}

fn table() -> Array2<f32> {
    Array2::from_shape_fn((VOCAB, HIDDEN), |(i, j)| (((i * HIDDEN + j) * 7 % 23) as f32 - 11.0) / 8.0)
}

fn head() -> Array2<f32> {
    Array2::from_shape_fn((HIDDEN, VOCAB), |(i, j)| (((i * VOCAB + j) * 5 % 17) as f32 - 8.0) / 8.0)
}

fn logits_by_hand(embeds: &Array2<f32>, position: usize) -> ndarray::Array1<f32> {
    let hidden = embeds.mean_axis(Axis(0)).unwrap() + embeds.row(position);
    hidden.dot(&head())
}

fn embeds(row: &Row) -> Array2<f32> {
    let ids: Vec<usize> = row.ids().iter().map(|&id| id as usize).collect();
    table().select(Axis(0), &ids)
}

fn close(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-5, "{a} is not {b}");
}

#[test]
fn embeddings_are_those_of_the_table() {
    let mut model = open(&SessionOptions { padding: true, ..options() });
    for row in rows() {
        assert_eq!(model.embed(&row.ids()).unwrap(), embeds(&row));
    }
    let ids: Vec<Vec<i64>> = rows().into_iter().map(|row| row.ids()).collect();
    let expected: Vec<_> = rows().iter().map(embeds).collect();
    assert_eq!(model.embed_rows(&ids).unwrap(), expected);
    assert_eq!(model.counters().embed_rows, 64);
}

#[test]
fn scores_are_the_reduced_logits() {
    let mut model = model();
    let tokens = [7, 0, 7, 10];
    let logits = model.logits(&rows()).unwrap();
    let scores = model.scores(&rows(), &tokens).unwrap();
    for ((row, logits), score) in rows().iter().zip(&logits).zip(&scores) {
        let expected = logits_by_hand(&embeds(row), row.position());
        for (&found, &expected) in logits.iter().zip(&expected) {
            close(f64::from(found), f64::from(expected));
        }
        assert_eq!(logits.len(), VOCAB);
        for (&id, &found) in tokens.iter().zip(&score.logits) {
            assert_eq!(found, logits[id as usize]);
        }
        let total: f64 = expected.iter().map(|&logit| f64::from(logit).exp()).sum();
        close(score.log_sum_exp, total.ln());
        close(score.probability(1), f64::from(expected[0]).exp() / total);
        assert!(logits.iter().all(|&logit| logit <= logits[score.argmax as usize]));
    }
}

/// The property that reuse and resuming stand on: the numbers of a row are its own.
#[test]
fn scores_do_not_hang_on_the_batch() {
    let tokens: Vec<i64> = (0..VOCAB as i64).collect();
    for prepacking in [true, false] {
        for threads in [1, 2] {
            let options =
                SessionOptions { prepacking: Some(prepacking), threads: Some(threads), reuse_bytes: 0, ..options() };
            let together = open(&options).scores(&rows(), &tokens).unwrap();
            let mut alone = open(&options);
            for (row, expected) in rows().iter().zip(&together) {
                assert_eq!(alone.scores(std::slice::from_ref(row), &tokens).unwrap(), std::slice::from_ref(expected));
            }
            let mut reversed = rows();
            reversed.reverse();
            for batch_tokens in [1, 20, 100, usize::MAX] {
                let options = SessionOptions { batch_tokens, ..options.clone() };
                let mut found = open(&options).scores(&reversed, &tokens).unwrap();
                found.reverse();
                assert_eq!(found, together);

                let mut padded = open(&SessionOptions { padding: true, ..options }).scores(&reversed, &tokens).unwrap();
                padded.reverse();
                for (padded, expected) in padded.iter().zip(&together) {
                    let pairs = padded.logits.iter().zip(&expected.logits);
                    assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 2e-6), "{padded:?} {expected:?}");
                }
            }
        }
    }
}

#[test]
fn a_row_is_scored_once() {
    let mut model = model();
    let (a, b) = (row(&[1, 2, 3]), row(&[3, 2]));
    let rows = [a.clone(), b.clone(), a.clone(), a.clone()];
    let first = model.scores(&rows, &[4, 5]).unwrap();
    assert_eq!(first[0], first[2]);
    let counted = |model: &Model| (model.counters().forward_rows, model.counters().forward_rows_saved);
    assert_eq!(counted(&model), (2, 2));
    let again = model.scores(&rows, &[5, 4]).unwrap();
    assert_eq!(counted(&model), (2, 6));
    assert_eq!(again[1], Score { logits: vec![first[1].logits[1], first[1].logits[0]], ..first[1].clone() });
    // A token that was not kept has to be run for, and does not drive out those that were.
    let before = model.counters();
    model.scores(std::slice::from_ref(&a), &[6]).unwrap();
    model.scores(std::slice::from_ref(&a), &[4, 5, 6]).unwrap();
    let since = model.counters() - before;
    assert_eq!((since.forward_rows, since.forward_rows_saved), (1, 1));
    // Another position of the same tokens is another row.
    model.scores(&[Row::new(a.ids(), 0)], &[4]).unwrap();
    assert_eq!(counted(&model), (4, 7));
    model.forget();
    model.scores(&[a], &[4]).unwrap();
    assert_eq!(counted(&model), (5, 7));
    assert_eq!(model.scores(&[], &[4]).unwrap(), []);
}

#[test]
fn memory_for_scores_can_be_turned_off() {
    let mut model = open(&SessionOptions { reuse_bytes: 0, ..options() });
    let rows = [row(&[1, 2]), row(&[1, 2])];
    for _ in 0..2 {
        model.scores(&rows, &[1]).unwrap();
    }
    assert_eq!((model.counters().forward_rows, model.counters().forward_rows_saved), (2, 2));
}

fn gradient_rows() -> Vec<GradientRow> {
    rows()
        .iter()
        .enumerate()
        .map(|(n, row)| GradientRow {
            embeds: embeds(row),
            position: row.position(),
            target: (n % VOCAB) as i64,
            contrast: (n % 3 > 0).then_some((n * 2 % VOCAB) as i64),
        })
        .collect()
}

#[test]
fn gradients_are_those_of_the_score() {
    let knobs = Knobs {
        softmax_temperature: 1.0,
        norm_freeze: 3.0,
        product_share: 5.0,
        attention_path: 7.0,
        activation_secant: 9.0,
        gate_share: None,
    };
    let factor = 1.0 + 2.0 * 3.0 + 4.0 * 5.0 + 8.0 * 7.0 + 16.0 * 9.0;
    let rows = gradient_rows();
    let found = model().gradients(&rows, &knobs).unwrap();
    assert_eq!(found.len(), rows.len());
    for (row, found) in rows.iter().zip(&found) {
        let logits = logits_by_hand(&row.embeds, row.position);
        let head = head();
        let (mut score, mut direction) = (logits[row.target as usize], head.column(row.target as usize).to_owned());
        if let Some(contrast) = row.contrast {
            score -= logits[contrast as usize];
            direction -= &head.column(contrast as usize);
        }
        close(f64::from(found.score), f64::from(score));
        assert_eq!(found.gradient.dim(), row.embeds.dim());
        let length = row.embeds.nrows();
        for (position, gradient) in found.gradient.outer_iter().enumerate() {
            let share = 1.0 / length as f32 + if position == row.position { 1.0 } else { 0.0 };
            for (&found, &direction) in gradient.iter().zip(&direction) {
                assert!((found - direction * share * factor).abs() < 1e-3);
            }
        }
    }
}

#[test]
fn gradients_do_not_hang_on_the_batch() {
    let rows = gradient_rows();
    let mut alone = model();
    for padding in [false, true] {
        let together = open(&SessionOptions { padding, ..options() }).gradients(&rows, &Knobs::GIM).unwrap();
        for (row, expected) in rows.iter().zip(&together) {
            let found = alone.gradients(std::slice::from_ref(row), &Knobs::GIM).unwrap();
            close(f64::from(found[0].score), f64::from(expected.score));
            assert!(found[0].gradient.iter().zip(&expected.gradient).all(|(a, b)| (a - b).abs() < 1e-5));
        }
    }
}

#[test]
fn equal_gradient_rows_of_a_call_are_run_once() {
    let mut model = model();
    let one = gradient_rows().remove(3);
    let other = GradientRow { contrast: None, target: 10, ..one.clone() };
    let found = model.gradients(&[one.clone(), other.clone(), one.clone()], &Knobs::GRADIENT).unwrap();
    assert_eq!(found[0], found[2]);
    assert_ne!(found[0], found[1]);
    assert_eq!((model.counters().gradient_rows, model.counters().gradient_rows_saved), (2, 1));
    // The knobs are another question.
    let alone = model.gradients(std::slice::from_ref(&one), &Knobs::GIM).unwrap();
    assert_eq!((model.counters().gradient_rows, model.counters().gradient_rows_saved), (3, 1));
    // Between calls only a row that was the only one of its call is remembered, and until it is forgotten.
    assert_eq!(model.gradients(std::slice::from_ref(&one), &Knobs::GIM).unwrap(), alone);
    assert_eq!((model.counters().gradient_rows, model.counters().gradient_rows_saved), (3, 2));
    model.gradients(&[one.clone(), other], &Knobs::GRADIENT).unwrap();
    assert_eq!((model.counters().gradient_rows, model.counters().gradient_rows_saved), (5, 2));
    model.forget();
    assert_eq!(model.gradients(&[one], &Knobs::GIM).unwrap(), alone);
    assert_eq!((model.counters().gradient_rows, model.counters().gradient_rows_saved), (6, 2));
}

/// Embeddings in an order that is not that of rows, as a transposed or sliced array has.
#[test]
fn layouts_do_not_matter() {
    let mut model = model();
    let plain = gradient_rows().remove(5);
    let mut transposed = Array2::zeros(plain.embeds.t().raw_dim());
    transposed.assign(&plain.embeds.t());
    let odd = GradientRow { embeds: transposed.reversed_axes(), ..plain.clone() };
    assert!(!odd.embeds.is_standard_layout());
    let found = model.gradients(&[plain, odd], &Knobs::GIM).unwrap();
    assert_eq!(found[0], found[1]);
}

#[test]
fn attention_is_cropped_to_each_row() {
    let mut model = open(&SessionOptions { padding: true, ..options() });
    let rows = [row(&[1, 2, 3]), row(&[9]), Row::new([1, 2, 3], 0)];
    let found = model.attention(&rows).unwrap();
    assert_eq!(found[0].dim(), (2, 3, 3, 3));
    assert_eq!(found[1].dim(), (2, 3, 1, 1));
    close(f64::from(found[0][[1, 2, 0, 2]]), 100.0 + 20.0 + 1.0 + 0.3);
    close(f64::from(found[1][[0, 1, 0, 0]]), 10.0 + 9.9);
    assert_eq!(found[0], found[2]);
    assert_eq!((model.counters().attention_rows, model.counters().attention_rows_saved), (2, 1));
}

#[test]
fn graphs_are_loaded_when_needed() {
    let mut model = model();
    let loaded = |model: &Model| Graph::ALL.map(|graph| model.is_loaded(graph));
    let only = |graphs: &[Graph]| Graph::ALL.map(|graph| graphs.contains(&graph));
    assert_eq!(loaded(&model), only(&[]));
    model.scores(&[row(&[1])], &[1]).unwrap();
    assert_eq!(loaded(&model), only(&[Graph::Forward]));
    model.embed(&[1]).unwrap();
    assert_eq!(loaded(&model), only(&[Graph::Embed, Graph::Forward]));
}

#[test]
fn the_same_inputs_give_the_same_numbers() {
    let of = |threads: Option<usize>| {
        let mut model = open(&SessionOptions { threads, ..options() });
        (model.logits(&rows()).unwrap(), model.gradients(&gradient_rows(), &Knobs::GIM).unwrap())
    };
    let first = of(Some(2));
    for _ in 0..5 {
        assert_eq!(of(Some(2)), first);
    }
    assert_eq!(of(Some(1)), first);
    assert_eq!(of(None), first);
}

#[test]
fn says_where_it_runs() {
    let model = model();
    assert_eq!(model.device(), Device::Cpu);
    let line = model.describe();
    assert!(line.starts_with("cpu, 1 threads, ONNX Runtime 1."), "{line}");
    assert!(line.contains("prepacking on (3 sessions would take"), "{line}");
    let asked = open(&SessionOptions { prepacking: Some(false), ..options() });
    assert!(asked.describe().ends_with("prepacking off (as asked for)"));
}

#[test]
fn rows_that_cannot_be_run_are_named() {
    let mut model = model();
    let good = row(&[1, 2]);
    let long = row(&[1; 17]);
    let at = |position, ids: &[i64]| Row::new(ids, position);
    let cases = [
        (at(0, &[]), InputError::Empty),
        (row(&[1, 11]), InputError::TokenOutsideVocabulary { id: 11, position: 1, vocab: VOCAB }),
        (row(&[-1]), InputError::TokenOutsideVocabulary { id: -1, position: 0, vocab: VOCAB }),
        (row(&[i64::MAX]), InputError::TokenOutsideVocabulary { id: i64::MAX, position: 0, vocab: VOCAB }),
        (long, InputError::TooLong { length: 17, limit: 16 }),
        (at(2, &[1, 2]), InputError::PositionOutside { position: 2, length: 2 }),
    ];
    for (bad, expected) in cases {
        let rows = [good.clone(), bad];
        for error in [
            model.scores(&rows, &[1]).unwrap_err(),
            model.logits(&rows).unwrap_err(),
            model.attention(&rows).unwrap_err(),
        ] {
            match error {
                RuntimeError::Input { row: 1, error } => assert_eq!(error, expected),
                other => panic!("{other}"),
            }
        }
    }
    assert_eq!(
        model.scores(&[row(&[1; 17])], &[1]).unwrap_err().to_string(),
        "input row 0 cannot be run: it has 17 tokens, and the model has positions for 16"
    );
    let error = model.scores(&[good], &[11]).unwrap_err().to_string();
    assert!(error.contains("wanted token id 11 is outside the vocabulary (0 to 10)"), "{error}");
    assert!(model.embed(&[11]).is_err());
    assert_eq!(model.counters().forward_rows, 0);
    assert!(!model.is_loaded(Graph::Forward));

    let gradient = gradient_rows().remove(2);
    for (bad, expected) in [
        (GradientRow { embeds: Array2::zeros((2, 5)), ..gradient.clone() }, "5 wide, the model's are 4"),
        (GradientRow { embeds: Array2::zeros((0, 4)), ..gradient.clone() }, "no tokens"),
        (GradientRow { embeds: Array2::zeros((17, 4)), ..gradient.clone() }, "positions for 16"),
        (GradientRow { position: 16, ..gradient.clone() }, "position 16"),
        (GradientRow { target: 11, ..gradient.clone() }, "target token id 11"),
        (GradientRow { contrast: Some(-2), ..gradient.clone() }, "contrast token id -2"),
    ] {
        let error = model.gradients(&[gradient.clone(), bad], &Knobs::GIM).unwrap_err().to_string();
        assert!(error.starts_with("input row 1 ") && error.contains(expected), "{error}");
    }
}

#[test]
fn damaged_manifests_are_refused() {
    let folder = copy();
    let path = folder.path().join("bundle.json");
    let whole = fs::read(&path).unwrap();
    for length in [0, 1, 100, whole.len() - 3] {
        fs::write(&path, &whole[..length]).unwrap();
        let error = open_error(folder.path());
        assert!(error.contains("bundle.json: it cannot be read") && error.contains("hint:"), "{error}");
    }
    fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(open_error(folder.path()).contains("bundle.json"));
    fs::remove_file(&path).unwrap();
    assert!(open_error(folder.path()).contains("bundle.json"));

    for (from, to, expected) in [
        (
            "\"format_version\": 1",
            "\"format_version\": 7",
            "its format version is 7; this program reads versions 1 to 6",
        ),
        ("\"format_version\": 1", "\"format_version\": 2", "it lacks its own SHA-256"),
        ("\"hidden\": 4", "\"hidden\": 0", "its dimension `hidden` is 0"),
        ("\"vocab\": 11", "\"vocab\": 9007199254740993", "its dimension `vocab`"),
        ("\"bytes\": 4272", "\"bytes\": 4273", "weights.bin: it has 4272 bytes, and bundle.json says 4273"),
        ("\"weights.bin\": {", "\"../weights.bin\": {", "`../weights.bin`, which bundles do not have"),
        ("\"weights.bin\": {", "\"/etc/hosts\": {", "which bundles do not have"),
        ("\"forward.onnx\": {\n   \"sha256\"", "\"tokenizer.json\": {\n   \"sha256\"", "tokenizer.json"),
    ] {
        let folder = copy();
        edit(folder.path(), from, to);
        let error = open_error(folder.path());
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn missing_and_truncated_files_are_refused() {
    for name in ["embed.onnx", "forward.onnx", "gradient.onnx", "attention.onnx", "weights.bin"] {
        let folder = copy();
        fs::write(folder.path().join(name), "short").unwrap();
        let error = open_error(folder.path());
        assert!(error.contains(name) && error.contains("has 5 bytes"), "{error}");
        fs::remove_file(folder.path().join(name)).unwrap();
        assert!(open_error(folder.path()).contains(name));
        fs::create_dir(folder.path().join(name)).unwrap();
        assert!(open_error(folder.path()).contains("it is not a file"));
    }
    assert!(open_error(Path::new("no/such/bundle")).contains("no/such/bundle"));
    assert!(open_error(&fixture().join("bundle.json")).contains("not a folder"));
}

#[cfg(unix)]
#[test]
fn links_out_of_the_bundle_are_refused() {
    let (folder, outside) = (copy(), tempfile::tempdir().unwrap());
    let file = folder.path().join("weights.bin");
    fs::rename(&file, outside.path().join("weights.bin")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("weights.bin"), &file).unwrap();
    assert!(open_error(folder.path()).contains("it is a link out of the bundle"));
    // The folder itself may be reached through one.
    let link = outside.path().join("bundle");
    std::os::unix::fs::symlink(fixture(), &link).unwrap();
    assert!(Model::open(&runtime(), &link, &options()).is_ok());
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Puts a file in the place of a graph, with the manifest to match.
fn replace_graph(folder: &Path, name: &str, bytes: &[u8]) {
    let old = fs::read(folder.join(name)).unwrap();
    fs::write(folder.join(name), bytes).unwrap();
    let entry = |bytes: &[u8]| format!("\"sha256\": \"{}\",\n   \"bytes\": {}", sha256(bytes), bytes.len());
    edit(folder, &entry(&old), &entry(bytes));
}

#[test]
fn hostile_graphs_are_refused() {
    let forward = fs::read(fixture().join("forward.onnx")).unwrap();
    let attention = fs::read(fixture().join("attention.onnx")).unwrap();
    let found = |bytes: &[u8]| {
        let folder = copy();
        replace_graph(folder.path(), "forward.onnx", bytes);
        let mut model = Model::open(&runtime(), folder.path(), &options()).unwrap();
        model.scores(&[row(&[1])], &[1]).unwrap_err().to_string()
    };
    assert!(found(b"not a graph").contains("forward.onnx: it is no ONNX file"));
    assert!(found(&forward[..forward.len() / 2]).contains("forward.onnx"));
    assert!(found(&attention).contains("its inputs are input_ids, attention_mask; expected"));

    // The same length, so that the message still is well-formed.
    let at = |bytes: &[u8], text: &[u8]| bytes.windows(text.len()).position(|window| window == text).unwrap();
    let mut outside = forward.clone();
    let start = at(&outside, b"weights.bin");
    outside[start..start + 11].copy_from_slice(b"../secret.b");
    assert!(found(&outside).contains("`../secret.b`; only `weights.bin` may hold weights"));
    let mut far = forward.clone();
    let start = at(&far, b"4096");
    far[start..start + 4].copy_from_slice(b"9999");
    assert!(found(&far).contains("`weights.bin` has 4272 bytes"), "{}", found(&far));
    let mut unknown = forward.clone();
    let start = at(&unknown, b"MatMul");
    unknown[start..start + 6].copy_from_slice(b"MatMux");
    assert!(found(&unknown).contains("ONNX Runtime refuses this graph"), "{}", found(&unknown));
}

#[test]
fn outputs_of_another_shape_are_refused() {
    let folder = copy();
    edit(folder.path(), "\"vocab\": 11", "\"vocab\": 12");
    edit(folder.path(), "\"layers\": 2", "\"layers\": 3");
    edit(folder.path(), "\"hidden\": 4", "\"hidden\": 3");
    let mut model = Model::open(&runtime(), folder.path(), &options()).unwrap();
    let error = model.scores(&[row(&[1, 2])], &[1]).unwrap_err().to_string();
    assert!(error.contains("output `logits` is f32 [1, 11], expected f32 [1, 12]"), "{error}");
    assert!(model.embed(&[1]).unwrap_err().to_string().contains("`inputs_embeds`"));
    assert!(model.attention(&[row(&[1, 2])]).unwrap_err().to_string().contains("`attention`"));
}

#[test]
fn an_attention_graph_may_be_missing() {
    let folder = copy();
    edit(folder.path(), "\"attention.onnx\": {\n   \"sha256\"", "\"tokenizer.json\": {\n   \"sha256\"");
    fs::rename(folder.path().join("attention.onnx"), folder.path().join("tokenizer.json")).unwrap();
    let mut model = Model::open(&runtime(), folder.path(), &options()).unwrap();
    model.scores(&[row(&[1])], &[1]).unwrap();
    let error = model.attention(&[row(&[1])]).unwrap_err().to_string();
    assert!(error.contains("attention.onnx: this bundle has no such graph"), "{error}");
}

#[test]
fn no_device_is_used_in_place_of_another() {
    let runtime = runtime();
    if runtime.providers().iter().any(|name| name == "CUDAExecutionProvider") {
        return;
    }
    let wanted = SessionOptions { device: Device::Cuda(0), ..options() };
    let session = Session::open(&runtime, &fixture().join("embed.onnx"), &wanted).unwrap_err();
    let model = Model::open(&runtime, &fixture(), &wanted).unwrap_err();
    let opened = RuntimeOptions { device: Device::Cuda(0), ..RuntimeOptions::default() };
    let again = Runtime::open(&opened, &|_| {}).unwrap_err();
    for error in [session, model, again] {
        let text = error.to_string();
        assert!(matches!(error, RuntimeError::NoProvider { .. }), "{text}");
        assert!(text.contains("cuda:0") && text.contains("CPUExecutionProvider"), "{text}");
        assert!(text.contains("gim-harness runtime install --gpu"), "{text}");
    }
    // Nor is one of another execution provider, whether the library lacks it or has it and no such device.
    for provider in PROVIDERS.iter().filter(|provider| !runtime.providers().iter().any(|has| has == provider.provider))
    {
        let wanted = SessionOptions { device: Device::Other(provider, None), ..options() };
        let text = Session::open(&runtime, &fixture().join("embed.onnx"), &wanted).unwrap_err().to_string();
        assert!(text.contains(provider.name) && text.contains(&format!("without {}", provider.provider)), "{text}");
        assert!(text.contains(provider.how) && text.contains("ORT_DYLIB_PATH"), "{text}");
    }
}

#[test]
fn a_process_has_one_library() {
    let runtime = runtime();
    let named = |path: &Path| {
        let options = RuntimeOptions { library: Some(path.to_owned()), ..RuntimeOptions::default() };
        Runtime::open(&options, &|_| {})
    };
    assert_eq!(named(runtime.library()).unwrap().library(), runtime.library());
    assert_eq!(named(runtime.library().parent().unwrap()).unwrap().version(), runtime.version());
    let error = named(Path::new("/another/libonnxruntime.so")).unwrap_err();
    assert!(matches!(error, RuntimeError::AlreadyLoaded { .. }));
    assert!(error.to_string().contains("/another/libonnxruntime.so"));
}

#[test]
fn sessions_take_and_give_named_tensors() {
    let graph = fs::read(fixture().join("attention.onnx")).unwrap();
    for optimization in [Optimization::All, Optimization::Disable] {
        let options = SessionOptions { optimization, memory_pattern: true, ..options() };
        let mut session = Session::from_memory(&runtime(), "attention", &graph, &options).unwrap();
        assert_eq!(session.input_names().collect::<Vec<_>>(), ["input_ids", "attention_mask"]);
        assert_eq!(session.output_names().collect::<Vec<_>>(), ["attention"]);
        let ids = Tensor::from(array![[1i64, 2]]);
        let inputs = [("attention_mask", array![[1i64, 1]].into()), ("input_ids", ids.clone())];
        let mut outputs = session.run(&inputs).unwrap();
        assert_eq!(outputs.get("attention").unwrap().shape(), [2, 1, 3, 2, 2]);
        assert_eq!(outputs.get("attention").unwrap().dtype(), "f32");
        assert!(outputs.take_f32("attention", &[2, 1, 3, 2, 2]).is_ok());
        assert!(outputs.take_f32("attention", &[2, 1, 3, 2, 2]).unwrap_err().to_string().contains("absent"));

        for (wrong, expected) in [
            (vec![("input_ids", ids.clone())], "attention_mask"),
            (vec![("input_ids", ids.clone()), ("mask", ids.clone())], "mask"),
            (vec![("input_ids", ids.clone()), ("attention_mask", array![[1.0f32, 1.0]].into())], "attention_mask"),
            (vec![("input_ids", ids.clone()), ("attention_mask", array![1i64].into())], "attention_mask"),
        ] {
            let error = session.run(&wrong).unwrap_err().to_string();
            assert!(error.starts_with("attention: running the graph failed") && error.contains(expected), "{error}");
        }
    }
    assert!(Session::from_memory(&runtime(), "rubbish", b"rubbish", &options()).is_err());
    assert!(
        Session::open(&runtime(), Path::new("absent.onnx"), &options())
            .unwrap_err()
            .to_string()
            .contains("absent.onnx")
    );
}
