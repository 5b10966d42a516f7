//! docs/results.schema.json is what the program publishes, and what runs leave is what it says.

#[path = "fixtures/report/synthetic.rs"]
mod synthetic;

use std::path::Path;

use gim_harness::report;
use gim_harness::store::{Declared, Unit};
use serde_json::{Value, json};
use synthetic::{datasets, declared, names, store, units};

#[test]
fn the_committed_schema_is_the_published_one() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/results.schema.json");
    let committed: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(
        committed,
        report::results_schema(),
        "run `gim-harness schema results > docs/results.schema.json`, and raise FORMAT where a field went or changed"
    );
}

fn results(declared: &Declared, examples: usize, units: &[Unit]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder.path().join("run.sqlite"), declared, &datasets(declared, examples), units);
    report::write(&store, folder.path(), None).unwrap();
    serde_json::from_str(&std::fs::read_to_string(folder.path().join("results.json")).unwrap()).unwrap()
}

/// Finished runs, one of several models, one in which nothing is done, one of a single example.
#[test]
fn what_runs_leave_is_what_the_schema_says() {
    let schema = report::results_schema();
    let whole = declared();
    let mut several = declared();
    several.models = names(&["small", "large"]);
    several.tasks.push("lookup".into());
    let mut inexact = units(&whole, 18);
    for unit in inexact.iter_mut().filter(|unit| unit.key.method == "integrated_gradients") {
        unit.diagnostics.insert("completeness_gap_relative".into(), 3.0);
    }
    let runs = [
        results(&whole, 18, &units(&whole, 18)),
        results(&whole, 18, &inexact),
        results(&several, 9, &units(&several, 9)),
        results(&whole, 18, &[]),
        results(&whole, 1, &units(&whole, 1)),
    ];
    for run in &runs {
        assert_eq!(violations(&schema, &schema, run, ""), [] as [String; 0]);
    }
    assert!(
        !runs[1]["inexact"].as_array().unwrap().is_empty() && !runs[2]["across_tasks"].as_array().unwrap().is_empty()
    );

    // A schema that nothing could break would say nothing.
    let spoilt = |change: &dyn Fn(&mut Value)| {
        let mut run = runs[0].clone();
        change(&mut run);
        violations(&schema, &schema, &run, "")
    };
    assert_eq!(spoilt(&|run| drop(run.as_object_mut().unwrap().remove("tasks"))), ["/: `tasks` is missing"]);
    assert_eq!(spoilt(&|run| run["format"] = json!(2)), ["/format: not 1"]);
    assert_eq!(spoilt(&|run| run["summaries"][3]["mean"] = json!("0.5")), ["/summaries/3/mean: not number or null"]);
    assert_eq!(spoilt(&|run| run["comparisons"][0]["wins"] = json!(-1)), ["/comparisons/0/wins: below 0"]);
    assert_eq!(spoilt(&|run| run["identity"]["program"] = json!(null)), ["/identity/program: not string"]);
    assert_eq!(spoilt(&|run| run["later"] = json!("something")), [] as [String; 0], "fields may be added");
}

/// What of a value is not as the schema says. Knows the keywords that are used, and panics at any other.
fn violations(root: &Value, schema: &Value, value: &Value, place: &str) -> Vec<String> {
    let at = if place.is_empty() { "/" } else { place };
    let mut found = Vec::new();
    for (keyword, wanted) in schema.as_object().unwrap() {
        match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "format" => {}
            "$ref" => {
                let target = root.pointer(wanted.as_str().unwrap().trim_start_matches('#')).unwrap();
                found.extend(violations(root, target, value, place));
            }
            "const" if value != wanted => found.push(format!("{at}: not {wanted}")),
            "const" => {}
            "type" => {
                let names: Vec<&str> = match wanted {
                    Value::Array(names) => names.iter().map(|name| name.as_str().unwrap()).collect(),
                    name => vec![name.as_str().unwrap()],
                };
                let is = |name: &&str| match *name {
                    "null" => value.is_null(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_i64() || value.is_u64(),
                    "number" => value.is_number(),
                    "string" => value.is_string(),
                    "array" => value.is_array(),
                    "object" => value.is_object(),
                    other => panic!("unknown type {other}"),
                };
                if !names.iter().any(is) {
                    found.push(format!("{at}: not {}", names.join(" or ")));
                }
            }
            "minimum" if value.as_f64().is_some_and(|number| number < wanted.as_f64().unwrap()) => {
                found.push(format!("{at}: below {wanted}"));
            }
            "maximum" if value.as_f64().is_some_and(|number| number > wanted.as_f64().unwrap()) => {
                found.push(format!("{at}: above {wanted}"));
            }
            "minimum" | "maximum" => {}
            "required" => {
                let Some(object) = value.as_object() else { continue };
                let missing = wanted.as_array().unwrap().iter().map(|name| name.as_str().unwrap());
                found.extend(
                    missing.filter(|name| !object.contains_key(*name)).map(|name| format!("{at}: `{name}` is missing")),
                );
            }
            "properties" | "additionalProperties" => {
                let known = |name: &str| schema.get("properties").and_then(|known| known.get(name));
                for (name, inside) in value.as_object().into_iter().flatten() {
                    let below = format!("{place}/{name}");
                    if let Some(inner) = known(name).filter(|_| keyword == "properties") {
                        found.extend(violations(root, inner, inside, &below));
                    } else if keyword == "additionalProperties" && known(name).is_none() {
                        found.extend(violations(root, wanted, inside, &below));
                    }
                }
            }
            "items" => {
                for (i, inside) in value.as_array().into_iter().flatten().enumerate() {
                    found.extend(violations(root, wanted, inside, &format!("{place}/{i}")));
                }
            }
            other => panic!("the checker does not know `{other}` at {at}"),
        }
    }
    found
}
