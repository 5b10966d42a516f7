//! Harness files that come with the program: everything but models and tasks.

use std::fmt::Write as _;
use std::path::Path;

/// An experiment by name.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    pub name: &'static str,
    /// A phrase without a full stop.
    pub about: &'static str,
    /// A harness file without `models` and `tasks`.
    pub text: &'static str,
}

/// All of them: the experiments of the GIM paper (arXiv 2505.17630), and our own study.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "feature-attribution",
        about: "which tokens made the model answer: ten methods by the paper's metrics, and whether they hold under another \
                removal",
        text: include_str!("presets/feature-attribution.yaml"),
    },
    Preset {
        name: "layer-wise",
        about: "how faithful gradients are at the residual stream that enters each layer",
        text: include_str!("presets/layer-wise.yaml"),
    },
    Preset {
        name: "self-repair",
        about: "whether attention repairs itself, and whether gradients foresee it",
        text: include_str!("presets/self-repair.yaml"),
    },
    Preset {
        name: "study",
        about: "twelve methods of every kind under two removals, for a night on two cores (docs/results.md)",
        text: include_str!("presets/study.yaml"),
    },
];

impl Preset {
    pub fn named(name: &str) -> Option<&'static Preset> {
        PRESETS.iter().find(|preset| preset.name == name)
    }

    /// The whole harness file, for these models and tasks.
    pub fn with(&self, models: &[impl AsRef<Path>], tasks: &[impl AsRef<Path>]) -> String {
        let mut text = self.text.to_owned();
        // JSON's strings are YAML's, and writing to a string cannot fail.
        let listed = |paths: Vec<String>| serde_json::to_string(&paths).unwrap_or_default();
        let written = |path: &Path| path.to_string_lossy().into_owned();
        let models = listed(models.iter().map(|path| written(path.as_ref())).collect());
        let tasks = listed(tasks.iter().map(|path| written(path.as_ref())).collect());
        let _ = write!(text, "models: {models}\ntasks: {tasks}\n");
        text
    }
}
