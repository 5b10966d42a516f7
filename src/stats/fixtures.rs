//! What `scripts/make_stats_fixtures.py` wrote, for the tests of this room.

use std::fmt::Display;

use serde_json::Value;

pub(super) struct Fixture(&'static str);

pub(super) const SUMMARY: Fixture = Fixture(include_str!("../../tests/fixtures/stats/summary.json"));
pub(super) const WILCOXON: Fixture = Fixture(include_str!("../../tests/fixtures/stats/wilcoxon.json"));
pub(super) const PERMUTATION: Fixture = Fixture(include_str!("../../tests/fixtures/stats/permutation.json"));
pub(super) const FRIEDMAN: Fixture = Fixture(include_str!("../../tests/fixtures/stats/friedman.json"));
pub(super) const STUDENTIZED_RANGE: Fixture =
    Fixture(include_str!("../../tests/fixtures/stats/studentized_range.json"));
pub(super) const BOOTSTRAP_ENDPOINTS: Fixture =
    Fixture(include_str!("../../tests/fixtures/stats/bootstrap_endpoints.json"));
pub(super) const BOOTSTRAP_REPEATED: Fixture =
    Fixture(include_str!("../../tests/fixtures/stats/bootstrap_repeated.json"));

pub(super) const MEAN_INTERVAL: Fixture = Fixture(include_str!("../../tests/fixtures/stats/mean_interval.json"));
pub(super) const SKEWED_MEAN: Fixture = Fixture(include_str!("../../tests/fixtures/stats/skewed_mean.json"));
pub(super) const SPEARMAN: Fixture = Fixture(include_str!("../../tests/fixtures/stats/spearman.json"));
pub(super) const DETECTABLE: Fixture = Fixture(include_str!("../../tests/fixtures/stats/detectable.json"));
pub(super) const SIGNED_RANK_INTERVAL: Fixture =
    Fixture(include_str!("../../tests/fixtures/stats/signed_rank_interval.json"));
pub(super) const QUANTILES: Fixture = Fixture(include_str!("../../tests/fixtures/stats/quantiles.json"));

impl Fixture {
    pub fn cases(&self) -> Vec<Value> {
        // JSON is YAML, and this reader of YAML rounds decimals correctly, where that of JSON may miss by one bit: enough
        // to tell a resample from an estimate that it equals.
        match serde_yaml::from_str::<Value>(self.0).unwrap()["cases"].take() {
            Value::Array(cases) => cases,
            other => panic!("cases: {other}"),
        }
    }

    pub fn case(&self, name: &str) -> Value {
        self.cases().into_iter().find(|case| case["name"] == name).unwrap_or_else(|| panic!("no case {name}"))
    }
}

pub(super) fn optional(value: &Value) -> Option<f64> {
    assert!(value.is_null() || value.is_number(), "{value}");
    value.as_f64()
}

pub(super) fn vector(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

pub(super) fn vectors(value: &Value) -> Vec<Vec<f64>> {
    value.as_array().unwrap().iter().map(vector).collect()
}

/// Asserts that both are undefined, or that they differ by at most `tolerance`.
#[track_caller]
pub(super) fn close(name: impl Display, ours: Option<f64>, theirs: Option<f64>, tolerance: f64) {
    match (ours, theirs) {
        (None, None) => {}
        (Some(a), Some(b)) if (a - b).abs() <= tolerance => {}
        _ => panic!("{name}: {ours:?} is not {theirs:?} to within {tolerance}"),
    }
}
