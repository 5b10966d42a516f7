//! Harness and task files as a user writes them, and what is said about the mistakes in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gim_harness::config::{
    Chosen, ConfigError, Offered, OptionInfo, OptionKind, OptionValue, Overrides, Rank, Score, Vocabulary, load_plan,
    load_task, method, schema,
};
use proptest::prelude::*;

const STEPS: [OptionInfo; 2] = [
    OptionInfo {
        name: "steps",
        kind: OptionKind::IntegerOr("auto", 1, 1000),
        default: OptionValue::Integer(50),
        only_with: None,
        about: "Points on the path.",
    },
    OptionInfo {
        name: "tolerance",
        kind: OptionKind::Fraction,
        default: OptionValue::Number(0.01),
        only_with: Some(("steps", OptionValue::Word("auto"))),
        about: "When to stop.",
    },
];
const SEEDS: [OptionInfo; 1] = [OptionInfo {
    name: "seeds",
    kind: OptionKind::Integer(1, 100),
    default: OptionValue::Integer(5),
    only_with: None,
    about: "How many draws.",
}];
const METHODS: [Offered; 6] = [
    Offered { name: "gim", options: &[] },
    Offered { name: "gradient", options: &[] },
    Offered { name: "tsg+norm_freeze", options: &[] },
    Offered { name: "integrated_gradients", options: &STEPS },
    Offered { name: "ablation", options: &[] },
    Offered { name: "random", options: &SEEDS },
];
const REMOVAL: [OptionInfo; 1] = [OptionInfo {
    name: "removal",
    kind: OptionKind::Choice(&["replace", "delete"]),
    default: OptionValue::Word("replace"),
    only_with: None,
    about: "What stands in the place of a token.",
}];
const METRICS: [Offered; 2] =
    [Offered { name: "comprehensiveness", options: &REMOVAL }, Offered { name: "sufficiency", options: &REMOVAL }];
const VOCABULARY: Vocabulary<'static> =
    Vocabulary { methods: &METHODS, metrics: &METRICS, standard_metrics: &["comprehensiveness", "sufficiency"] };

fn fixture(name: &str) -> PathBuf {
    // Relative, so that what is rendered is the same on every machine.
    Path::new("tests/fixtures/config").join(name)
}

fn said(error: ConfigError) -> String {
    match error {
        ConfigError::Invalid(mistakes) => mistakes.to_string(),
        ConfigError::Io { .. } => panic!("{error}"),
    }
}

#[test]
fn every_mistake_is_reported_at_once() {
    let error = load_plan(&fixture("mistakes/harness.yaml"), &VOCABULARY, &Overrides::default()).unwrap_err();
    insta::assert_snapshot!(said(error));
}

#[test]
fn mistakes_on_the_command_line() {
    let overrides = Overrides {
        out: None,
        limit: Some(0),
        sample: Some(0),
        device: Some("cuda:x".to_owned()),
        tasks: Some(vec!["sentimant".to_owned()]),
        methods: Some(vec!["gradients".to_owned(), "random".to_owned()]),
    };
    let error = load_plan(&fixture("good/harness.yaml"), &VOCABULARY, &overrides).unwrap_err();
    insta::assert_snapshot!(said(error));
}

#[test]
fn a_plan_has_everything_resolved() {
    let plan = load_plan(&fixture("good/harness.yaml"), &VOCABULARY, &Overrides::default()).unwrap();
    assert_eq!((plan.name.as_str(), plan.limit, plan.seed), ("demo", Some(60), 7));
    assert_eq!(
        (&plan.devices[..], plan.workers, plan.prefix_cache.as_str()),
        (&["cuda:1".to_owned()][..], None, "auto")
    );
    assert_eq!((plan.threads, plan.batch_tokens, plan.resamples, plan.confidence), (Some(2), 2048, 500, 0.9));
    assert_eq!(plan.output, fixture("good/out"));
    let models: Vec<_> = plan.models.iter().map(|model| (model.name.as_str(), model.baseline.as_deref())).collect();
    assert_eq!(models, [("demo", None), ("other", Some("<pad>")), ("third", Some(" "))]);
    assert!(plan.models.iter().all(|model| model.path == fixture("good/models/demo")));
    let methods: Vec<_> = plan.methods.iter().map(|method| (method.name.as_str(), method.options.clone())).collect();
    let options = |name: &str, value| BTreeMap::from([(name.to_owned(), OptionValue::Integer(value))]);
    let expected =
        [("gim", BTreeMap::new()), ("integrated_gradients", options("steps", 50)), ("random", options("seeds", 5))];
    assert_eq!(methods, expected);
    assert_eq!(plan.metrics, ["sufficiency", "comprehensiveness"].map(Chosen::plain));
    let task = &plan.tasks[0];
    assert_eq!(
        (task.name.as_str(), task.version, task.score, task.rank),
        ("sentiment", 2, Score::LogitDifference, Rank::Context)
    );
    assert_eq!(task.form.prompt.value.to_string(), "{context} Question: is the film good? Answer:");
    let options: Vec<_> =
        task.form.options.iter().map(|(label, text)| (label.value.as_str(), text.value.as_str())).collect();
    assert_eq!(options, [("positive", " Yes"), ("negative", " No")]);
    assert_eq!((task.form.options[1].1.line, task.form.options[1].1.column), (11, 13));
    assert_eq!(task.data.file.value, fixture("good/tasks/sentiment.jsonl"));
    assert_eq!((task.data.sha256.len(), task.file_sha256.len(), plan.sha256.len()), (64, 64, 64));
    assert_eq!(plan.tasks[1].name, "facts");
}

#[test]
fn defaults_are_those_of_the_schema() {
    let plan = load_plan(&fixture("good/least.yaml"), &VOCABULARY, &Overrides::default()).unwrap();
    let schema = schema::harness(&VOCABULARY);
    let default = |key: &str| schema["properties"][key]["default"].clone();
    assert_eq!(default("seed"), plan.seed);
    assert_eq!(default("batch_tokens"), plan.batch_tokens);
    assert_eq!(default("device"), plan.devices[0].as_str());
    assert_eq!(default("prefix_cache"), plan.prefix_cache.as_str());
    assert_eq!(fixture("good").join(default("output").as_str().unwrap()), plan.output);
    let statistics = &schema["properties"]["statistics"]["properties"];
    assert_eq!(statistics["resamples"]["default"], plan.resamples);
    assert_eq!(statistics["confidence"]["default"], plan.confidence);
    assert_eq!((plan.seed, plan.batch_tokens, plan.resamples, plan.confidence), (0, 4096, 10_000, 0.95));
    assert_eq!((plan.name.as_str(), plan.limit, plan.threads, plan.runtime_library), ("good", None, None, None));
    assert_eq!(plan.metrics, ["comprehensiveness", "sufficiency"].map(Chosen::plain));
    let task = &plan.tasks[0];
    assert_eq!((task.version, task.score, task.rank, task.contrast.is_none()), (1, Score::Logit, Rank::Interior, true));
}

#[test]
fn the_command_line_wins() {
    let overrides = Overrides {
        out: Some("elsewhere".into()),
        limit: Some(3),
        sample: None,
        device: Some("cpu".to_owned()),
        tasks: Some(vec!["facts".to_owned()]),
        methods: Some(vec!["random".to_owned(), "ablation".to_owned(), "random".to_owned()]),
    };
    let plan = load_plan(&fixture("good/harness.yaml"), &VOCABULARY, &overrides).unwrap();
    assert_eq!((plan.output.as_path(), plan.limit, plan.devices[0].as_str()), (Path::new("elsewhere"), Some(3), "cpu"));
    assert_eq!(plan.tasks.iter().map(|task| task.name.as_str()).collect::<Vec<_>>(), ["facts"]);
    let methods: Vec<_> = plan.methods.iter().map(|method| (method.name.as_str(), method.options.len())).collect();
    assert_eq!(methods, [("random", 1), ("ablation", 0)], "options of the file are kept");
}

#[test]
fn a_harness_file_in_the_working_directory_needs_no_folder() {
    let error = load_plan(Path::new("no-such-harness.yaml"), &VOCABULARY, &Overrides::default()).unwrap_err();
    assert!(matches!(&error, ConfigError::Io { .. }));
    assert!(error.to_string().starts_with("cannot read no-such-harness.yaml: "));
}

#[test]
fn yaml_of_any_shape_is_a_mistake_with_a_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("h.yaml");
    for (content, line, column, message) in [
        (&b"\xff"[..], 1, 1, "this is not UTF-8 text"),
        (b"a: 1\nb: \xc3\xa9\xff", 2, 5, "this is not UTF-8 text"),
        (b"- a\n", 1, 1, "expected a mapping, found a list"),
        (b"just text", 1, 1, "expected a mapping, found `just text`"),
        (b"", 1, 1, "the file is empty"),
    ] {
        std::fs::write(&path, content).unwrap();
        for error in [
            load_plan(&path, &VOCABULARY, &Overrides::default()).unwrap_err(),
            load_task(&path, &Vocabulary::EMPTY).unwrap_err(),
        ] {
            let ConfigError::Invalid(mistakes) = error else { panic!() };
            let first = &mistakes.0[0];
            assert_eq!((first.line, first.column, first.message.as_str()), (line, column, message));
            assert_eq!(mistakes.0.len(), 1);
        }
    }
    std::fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
    assert!(matches!(load_task(&path, &Vocabulary::EMPTY), Err(ConfigError::Io { .. })));
    assert!(matches!(load_task(folder.path(), &Vocabulary::EMPTY), Err(ConfigError::Io { .. })));
}

#[test]
fn what_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("h.yaml");
    std::fs::write(&path, "metods: [gim]\ntasks: []\nlimit: ~\ndata: {}\n").unwrap();
    let ConfigError::Invalid(mistakes) = load_plan(&path, &VOCABULARY, &Overrides::default()).unwrap_err() else {
        panic!()
    };
    let said: Vec<String> =
        mistakes.0.iter().map(|m| format!("{}:{} {} ({})", m.line, m.column, m.message, m.key)).collect();
    // `methods` is not missing as well: it was meant by `metods`.
    assert_eq!(
        said,
        [
            "1:1 unknown key `metods` (metods)",
            "1:1 the key `models` is missing (models)",
            "2:8 this list is empty (tasks)",
            "4:1 unknown key `data` (data)",
        ]
    );
    std::fs::write(&path, "prompt:\ndata: {}\nanswer: [x]\n").unwrap();
    let ConfigError::Invalid(mistakes) = load_task(&path, &Vocabulary::EMPTY).unwrap_err() else { panic!() };
    let said: Vec<String> =
        mistakes.0.iter().map(|m| format!("{}:{} {} ({})", m.line, m.column, m.message, m.key)).collect();
    assert_eq!(
        said,
        [
            "1:1 `prompt` has no value (prompt)",
            "2:7 the key `file` in `data` is missing (data.file)",
            "3:9 expected text, found a list (answer)",
        ]
    );
}

#[test]
fn schemas() {
    insta::assert_snapshot!("schema_task", serde_json::to_string_pretty(&schema::task(&VOCABULARY)).unwrap());
    let harness = schema::harness(&VOCABULARY);
    insta::assert_snapshot!("schema_harness", serde_json::to_string_pretty(&harness).unwrap());
    assert_eq!(schema::model()["required"], serde_json::json!(["path"]));
}

/// Pieces of harness and task files, put together at random.
fn yaml_like() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "models",
        "tasks",
        "methods",
        "metrics",
        "data",
        "prompt",
        "answer",
        "options",
        "statistics",
        "runtime",
        "limit",
        "file",
        "path",
        "gim",
        "random",
        "score",
        "rank",
        "context",
        "evidence",
        "device",
        "seed",
        "library",
        ": ",
        ": ",
        ": ",
        "\n",
        "\n",
        "\n  ",
        "\n  - ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "\"",
        "'",
        "{x}",
        "}}",
        "0",
        "-1",
        "1e999",
        "tasks/facts.yaml",
        "facts.csv",
        "models/demo",
        "models/third.yaml",
        "~",
        "é",
        "|\n",
        "&a ",
        "*a",
        "..",
        "/",
    ]);
    prop::collection::vec(piece, 0..80).prop_map(|pieces| pieces.concat())
}

fn load_both(path: &Path) {
    for result in
        [load_plan(path, &VOCABULARY, &Overrides::default()).map(drop), load_task(path, &Vocabulary::EMPTY).map(drop)]
    {
        match result {
            Ok(()) => {}
            Err(ConfigError::Invalid(mistakes)) => {
                assert!(!mistakes.0.is_empty());
                assert!(!mistakes.to_string().is_empty());
                assert!(!mistakes.to_string().contains("no check names"), "{mistakes}");
            }
            Err(error @ ConfigError::Io { .. }) => panic!("{error}"),
        }
    }
}

#[test]
fn hostile_files_end_soon() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("h.yaml");
    let many = |piece: &str| piece.repeat((1 << 20) / piece.len());
    let keys: String = (0..60_000).map(|key| format!("k{key}: 1\n")).collect();
    let started = std::time::Instant::now();
    for content in [
        keys.clone(),
        format!("{keys}{}", "k59999: 1\n".repeat(3000)),
        many("["),
        many("- "),
        many("? "),
        many("a: "),
        many("a:\n"),
        many("{a: [b, "),
        many("'"),
        many("\"\\u0041"),
        many("!"),
        many("&a "),
        many("#"),
        many("\n"),
        many("%a\n"),
        many("---\n"),
        format!("prompt: \"{}\"", "{a}".repeat(300_000)),
        format!("methods: [{}]", "gim, ".repeat(200_000)),
        format!("methods: [{}]", "gim, ".repeat(15_000)),
        format!("prompt: |\n  {}", "{a}\n  ".repeat(1_900)),
        format!("tasks: [{}]", "facts.csv, ".repeat(15_000)),
        format!("tasks: [{}]", "x, ".repeat(5_000)),
    ] {
        std::fs::write(&path, content).unwrap();
        load_both(&path);
    }
    // Seconds; what is quadratic in a file of a megabyte takes hours.
    assert!(started.elapsed().as_secs() < 120, "{:?}", started.elapsed());
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(content in prop::collection::vec(any::<u8>(), 0..200)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("h.yaml");
        std::fs::write(&path, content).unwrap();
        load_both(&path);
    }

    #[test]
    fn nearly_right_files_never_panic(content in yaml_like()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("h.yaml");
        std::fs::write(&path, content).unwrap();
        load_both(&path);
    }

    #[test]
    fn damaged_files_never_panic(which in 0usize..3, cuts in prop::collection::vec((0usize..800, 0usize..9), 1..4)) {
        let name = ["good/harness.yaml", "good/tasks/sentiment.yaml", "mistakes/harness.yaml"][which];
        let mut bytes = std::fs::read(fixture(name)).unwrap();
        for (at, length) in cuts {
            let at = at % bytes.len().max(1);
            bytes.drain(at..(at + length).min(bytes.len()));
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("h.yaml");
        std::fs::write(&path, bytes).unwrap();
        load_both(&path);
    }
}

/// A harness file with these lines for its methods, read.
fn with_methods(lines: &str) -> Result<gim_harness::config::Plan, ConfigError> {
    let folder = fixture("good");
    let text = format!(
        "models: [{0}/models/demo]\ntasks: [{0}/tasks/facts.yaml]\nmethods:\n{lines}",
        folder.canonicalize().unwrap().display()
    );
    let scratch = tempfile::tempdir().unwrap();
    std::fs::write(scratch.path().join("h.yaml"), text).unwrap();
    load_plan(&scratch.path().join("h.yaml"), &VOCABULARY, &Overrides::default())
}

#[test]
fn one_method_may_stand_twice_under_labels() {
    let labels = |lines: &str| -> Vec<String> {
        with_methods(lines).unwrap().methods.into_iter().map(|method| method.label).collect()
    };
    assert_eq!(
        labels("  - gim\n  - integrated_gradients: {steps: 300, label: ig_300}\n  - integrated_gradients\n"),
        ["gim", "ig_300", "integrated_gradients"]
    );
    assert_eq!(
        labels("  - integrated_gradients: {steps: auto, tolerance: 0.001}\n  - integrated_gradients: {steps: 300}\n"),
        ["integrated_gradients(steps=auto tolerance=0.001)", "integrated_gradients(steps=300)"]
    );
    assert_eq!(labels("  - random: {seeds: 2, label: random}\n"), ["random"]);
}

#[test]
fn mistakes_in_options_and_labels() {
    let said = |lines: &str| {
        let ConfigError::Invalid(mistakes) = with_methods(lines).unwrap_err() else { panic!("{lines}") };
        mistakes.0.iter().map(|m| format!("{}:{} {}", m.line, m.column, m.message)).collect::<Vec<_>>().join("; ")
    };
    let cases = [
        // The default written out is no other method.
        "  - integrated_gradients\n  - integrated_gradients: {steps: 50, label: again}\n",
        "  - gim\n  - gradient: {label: gim}\n",
        "  - gradient: {label: ablation}\n",
        "  - random: {label: a}\n  - random: {seeds: 2, label: a}\n",
        "  - random: {label: \"a,b\"}\n",
        "  - integrated_gradients: {steps: many}\n",
        "  - integrated_gradients: {steps: 0}\n",
        "  - integrated_gradients: {steps: 1.5}\n",
        "  - integrated_gradients: {steps: auto, tolerance: 2}\n",
        "  - integrated_gradients: {tolerance: 0.1}\n",
        "  - random: {seeds: auto}\n",
        "  - random: {seeds: 101}\n",
    ];
    let found: Vec<String> = cases.iter().map(|lines| said(lines)).collect();
    insta::assert_snapshot!("mistakes_in_methods", found.join("\n"));
}

#[test]
fn a_method_on_the_command_line_is_written_as_in_a_file() {
    let plan = method("integrated_gradients{steps: auto, tolerance: 0.5, label: ig}", "--method", &METHODS).unwrap();
    assert_eq!((plan.label.as_str(), plan.name.as_str()), ("ig", "integrated_gradients"));
    assert_eq!(plan.described(), "integrated_gradients(steps=auto tolerance=0.5)");
    assert_eq!(method("tsg+norm_freeze", "--method", &METHODS).unwrap().described(), "tsg+norm_freeze");
    assert_eq!(method("gim{}", "--method", &METHODS).unwrap().label, "gim");
    let mut said = String::new();
    for typed in
        ["gimm", "random{seeds: 0}", "random{seed: 3}", "random{seeds: 3", "gim: {a: 1}", "", "{}", "random{3}"]
    {
        said += &format!(
            "{typed:?}: {}\n",
            method(typed, "--method", &METHODS).unwrap_err().to_string().replace('\n', " ")
        );
    }
    insta::assert_snapshot!("mistakes_in_a_typed_method", said);
}

#[test]
fn limit_and_sample_exclude_each_other() {
    let text = |lines: &str| format!("  - gim\n{lines}");
    let plan = with_methods(&text("sample: 9\n")).unwrap();
    assert_eq!((plan.limit, plan.sample), (None, Some(9)));
    let both = with_methods(&text("sample: 9\nlimit: 8\n")).unwrap_err().to_string();
    assert!(both.contains("`sample` stands beside the `limit` of line 6"), "{both}");
    let overrides = Overrides { sample: Some(4), ..Overrides::default() };
    let plan = load_plan(&fixture("good/harness.yaml"), &VOCABULARY, &overrides).unwrap();
    assert_eq!((plan.limit, plan.sample), (None, Some(4)), "the command line says both");
}

#[test]
fn a_metric_may_stand_under_several_options() {
    let written = |metrics: &str| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("m")).unwrap();
        std::fs::write(folder.path().join("m/config.json"), "{}").unwrap();
        std::fs::write(folder.path().join("d.jsonl"), "{\"q\": \"x\", \"a\": \"y\"}\n").unwrap();
        let task = "data: {file: d.jsonl}\nprompt: \"{q}\"\nanswer: \"{a}\"\n";
        std::fs::write(folder.path().join("t.yaml"), task).unwrap();
        let file = folder.path().join("harness.yaml");
        std::fs::write(&file, format!("models: [m]\ntasks: [t.yaml]\nmethods: [gim]\nmetrics: {metrics}\n")).unwrap();
        load_plan(&file, &VOCABULARY, &Overrides::default()).map(|plan| plan.metrics).map_err(|error| error.to_string())
    };
    let labels = |metrics: &str| written(metrics).unwrap().into_iter().map(|one| one.label).collect::<Vec<_>>();
    // What it is called says what it is, also where it stands once.
    assert_eq!(labels("[comprehensiveness: {removal: delete}]"), ["comprehensiveness(removal=delete)"]);
    assert_eq!(labels("[sufficiency, sufficiency: {removal: delete}]"), ["sufficiency", "sufficiency(removal=delete)"]);
    assert_eq!(
        labels("[comprehensiveness, {comprehensiveness: {removal: delete, label: gone}}]"),
        ["comprehensiveness", "gone"]
    );
    let wrong = |metrics: &str| written(metrics).unwrap_err();
    let twice = wrong("[sufficiency, sufficiency: {removal: replace}]");
    assert!(twice.contains("the metric `sufficiency` is already listed in line 4"), "{twice}");
    let misspelt = wrong("[sufficiency: {removal: delet}]");
    assert!(misspelt.contains("unknown removal `delet`") && misspelt.contains("`delete`"), "{misspelt}");
    let unknown = wrong("[sufficiency: {remove: delete}]");
    assert!(unknown.contains("`sufficiency` has no option `remove`"), "{unknown}");
    let name = wrong("[sufficency]");
    assert!(name.contains("unknown metric `sufficency`") && name.contains("`sufficiency`"), "{name}");
}
