//! What a bundle holds: names of files and graphs, their ports, and who may read which version.
//!
//! A graph or a knob may be added: older bundles lack it, and what asks for it does not apply to them. A version is counted up
//! where programs of before would refuse, or misread, what is written.

/// The layout of bundles that this program writes. Since version 2 the manifest states its own hash; since version 3 there
/// may be `forward_embeds.onnx`, since version 4 the graphs that look inside and that of logarithms of probabilities, and
/// since version 5 `forward_cached.onnx`, weights of another type than f32, a knob for gates alone and `deep_lift.onnx`, and
/// since version 6 `attention_rollout.onnx`, `attention_projections.onnx` and `gradient_drop.onnx`.
pub const FORMAT_VERSION: u32 = 6;
/// The oldest layout that it reads.
pub const OLDEST_VERSION: u32 = 1;
/// The manifest itself.
pub const MANIFEST_FILE: &str = "bundle.json";
/// The file all graphs of a bundle share.
pub const WEIGHT_FILE: &str = "weights.bin";
pub const TOKENIZER_FILE: &str = "tokenizer.json";

/// The graphs of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Graph {
    Embed,
    Forward,
    /// From embeddings rather than from token ids.
    ForwardEmbeds,
    Gradient,
    /// As [`Graph::Gradient`], of the logarithm of the target's probability.
    GradientLogProbability,
    Attention,
    /// Attention weights multiplied through the layers, of which only one row is given.
    AttentionRollout,
    /// The residual stream entering each layer, and its gradient.
    ResidualGradient,
    /// As [`Graph::Forward`], with places of what enters one layer at their mean over the prompt.
    ForwardResidual,
    /// Attention scores, and the gradients of scores and weights.
    ScoreGradient,
    /// As [`Graph::Forward`], with some scores of one row of one head at the row's mean.
    ForwardScores,
    /// What each layer makes of its input without the values of some places.
    ValueZeroing,
    /// As [`Graph::Gradient`] by calculus, with DeepLIFT's multipliers at element-wise nonlinearities.
    DeepLift,
    /// Queries, keys and values before norms and rotation, and the gradient of what attention makes of them.
    AttentionProjections,
    /// As [`Graph::Gradient`], without what flows through one layer.
    GradientDrop,
    /// As [`Graph::Forward`], behind a prefix whose keys and values are given.
    ForwardCached,
}

impl Graph {
    pub const ALL: [Graph; 16] = [
        Graph::Embed,
        Graph::Forward,
        Graph::ForwardEmbeds,
        Graph::Gradient,
        Graph::GradientLogProbability,
        Graph::Attention,
        Graph::AttentionRollout,
        Graph::ResidualGradient,
        Graph::ForwardResidual,
        Graph::ScoreGradient,
        Graph::ForwardScores,
        Graph::ValueZeroing,
        Graph::DeepLift,
        Graph::AttentionProjections,
        Graph::GradientDrop,
        Graph::ForwardCached,
    ];

    /// The name of its file.
    pub const fn file(self) -> &'static str {
        match self {
            Graph::Embed => "embed.onnx",
            Graph::Forward => "forward.onnx",
            Graph::ForwardEmbeds => "forward_embeds.onnx",
            Graph::Gradient => "gradient.onnx",
            Graph::GradientLogProbability => "gradient_log_probability.onnx",
            Graph::Attention => "attention.onnx",
            Graph::AttentionRollout => "attention_rollout.onnx",
            Graph::ResidualGradient => "residual_gradient.onnx",
            Graph::ForwardResidual => "forward_residual.onnx",
            Graph::ScoreGradient => "score_gradient.onnx",
            Graph::ForwardScores => "forward_scores.onnx",
            Graph::ValueZeroing => "value_zeroing.onnx",
            Graph::DeepLift => "deep_lift.onnx",
            Graph::AttentionProjections => "attention_projections.onnx",
            Graph::GradientDrop => "gradient_drop.onnx",
            Graph::ForwardCached => "forward_cached.onnx",
        }
    }

    /// Whether a folder without it is no bundle. What asks for another that is missing does not apply.
    pub fn is_needed(self) -> bool {
        matches!(self, Graph::Embed | Graph::Forward | Graph::Gradient)
    }

    /// Whether it has the [knobs](crate::grad::Knobs::NAMES) as inputs, besides those of [`Graph::inputs`].
    pub fn has_knobs(self) -> bool {
        matches!(
            self,
            Graph::Gradient
                | Graph::GradientLogProbability
                | Graph::ResidualGradient
                | Graph::ScoreGradient
                | Graph::AttentionProjections
                | Graph::GradientDrop
        )
    }

    /// Its inputs but for knobs.
    pub fn inputs(self) -> &'static [&'static str] {
        match self {
            Graph::Embed => &["input_ids"],
            Graph::Forward => &["input_ids", "attention_mask", "position"],
            Graph::ForwardEmbeds => &["inputs_embeds", "attention_mask", "position"],
            Graph::Gradient | Graph::ResidualGradient | Graph::ScoreGradient | Graph::AttentionProjections => {
                &["inputs_embeds", "attention_mask", "position", "target", "contrast", "contrast_weight"]
            }
            Graph::GradientLogProbability => &["inputs_embeds", "attention_mask", "position", "target"],
            Graph::Attention => &["input_ids", "attention_mask"],
            Graph::AttentionRollout => &["input_ids", "attention_mask", "position"],
            Graph::ForwardResidual => &["input_ids", "attention_mask", "position", "layer", "places"],
            Graph::ForwardScores => &["input_ids", "attention_mask", "position", "layer", "head", "query", "places"],
            Graph::ValueZeroing => &["input_ids", "attention_mask", "places"],
            Graph::DeepLift => &[
                "inputs_embeds",
                "attention_mask",
                "position",
                "target",
                "contrast",
                "contrast_weight",
                "baseline_row",
            ],
            Graph::GradientDrop => {
                &["inputs_embeds", "attention_mask", "position", "target", "contrast", "contrast_weight", "dropped"]
            }
            Graph::ForwardCached => &["input_ids", "attention_mask", "position", "past_keys", "past_values"],
        }
    }

    pub fn outputs(self) -> &'static [&'static str] {
        match self {
            Graph::Embed => &["inputs_embeds"],
            Graph::Forward | Graph::ForwardEmbeds | Graph::ForwardResidual | Graph::ForwardScores => &["logits"],
            Graph::Gradient | Graph::GradientLogProbability | Graph::DeepLift | Graph::GradientDrop => {
                &["score", "gradient"]
            }
            Graph::Attention => &["attention"],
            Graph::AttentionRollout => &["rollout"],
            Graph::ResidualGradient => &["score", "residual", "residual_gradient"],
            Graph::ScoreGradient => &["score", "scores", "score_gradient", "attention_gradient"],
            Graph::ValueZeroing => &["distance"],
            Graph::AttentionProjections => &["score", "queries", "keys", "values", "heads_gradient", "output_gradient"],
            Graph::ForwardCached => &["logits", "keys", "values"],
        }
    }
}

/// Whether a bundle may hold a file of this name besides its manifest.
pub fn is_bundle_file(name: &str) -> bool {
    name == WEIGHT_FILE || name == TOKENIZER_FILE || Graph::ALL.iter().any(|graph| graph.file() == name)
}
