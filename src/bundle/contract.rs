//! What a bundle holds: names of files and graphs, their ports, and who may read which version.
//!
//! A graph or a knob may be added: older bundles lack it, and what asks for it does not apply to them. A version is counted up
//! where programs of before would refuse, or misread, what is written.

/// The layout of bundles that this program writes. Since version 2 the manifest states its own hash; since version 3 there
/// may be `forward_embeds.onnx`.
pub const FORMAT_VERSION: u32 = 3;
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
    Attention,
}

impl Graph {
    pub const ALL: [Graph; 5] = [Graph::Embed, Graph::Forward, Graph::ForwardEmbeds, Graph::Gradient, Graph::Attention];

    /// The name of its file.
    pub const fn file(self) -> &'static str {
        match self {
            Graph::Embed => "embed.onnx",
            Graph::Forward => "forward.onnx",
            Graph::ForwardEmbeds => "forward_embeds.onnx",
            Graph::Gradient => "gradient.onnx",
            Graph::Attention => "attention.onnx",
        }
    }

    /// Whether a folder without it is no bundle. What asks for another that is missing does not apply.
    pub fn is_needed(self) -> bool {
        matches!(self, Graph::Embed | Graph::Forward | Graph::Gradient)
    }

    /// Its inputs; the gradient graph has its [knobs](crate::grad::Knobs::NAMES) besides.
    pub fn inputs(self) -> &'static [&'static str] {
        match self {
            Graph::Embed => &["input_ids"],
            Graph::Forward => &["input_ids", "attention_mask", "position"],
            Graph::ForwardEmbeds => &["inputs_embeds", "attention_mask", "position"],
            Graph::Gradient => {
                &["inputs_embeds", "attention_mask", "position", "target", "contrast", "contrast_weight"]
            }
            Graph::Attention => &["input_ids", "attention_mask"],
        }
    }

    pub fn outputs(self) -> &'static [&'static str] {
        match self {
            Graph::Embed => &["inputs_embeds"],
            Graph::Forward | Graph::ForwardEmbeds => &["logits"],
            Graph::Gradient => &["score", "gradient"],
            Graph::Attention => &["attention"],
        }
    }
}

/// Whether a bundle may hold a file of this name besides its manifest.
pub fn is_bundle_file(name: &str) -> bool {
    name == WEIGHT_FILE || name == TOKENIZER_FILE || Graph::ALL.iter().any(|graph| graph.file() == name)
}
