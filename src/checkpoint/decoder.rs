//! The decoder that Llama made common: RMSNorm before each block, rotary positions, grouped queries, a gated
//! feed-forward. The architectures that follow it differ in what is described by [`GatedDecoder`].

use super::blocks::{
    AttentionShape, Reach, Scores, activation, attention_bias, embed, head, linear, linear_rows, looks_both_ways,
    prefix, rotate,
};
use super::config::Config;
use super::rope::{Rotary, RotaryDefaults, RotaryTables};
use super::{Builder, CheckpointError, Forward};
use crate::onnx::Id;
use crate::onnx::op::{Activation, Op, Real};

/// Prefixes of tensors: usual ones, and those of decoders in models that see images too.
const PREFIXES: &[&str] = &["model.", "model.language_model.", "language_model.model."];

/// Which linear layers have biases.
#[derive(Clone, Copy, Debug, Default)]
pub struct Biases {
    pub queries_keys_values: bool,
    pub attention_output: bool,
    pub feed_forward: bool,
}

/// What tells one layer from another.
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    /// How many tokens back a query may look, itself included; of a decoder that looks both ways, how far on either side.
    pub window: Option<usize>,
    /// Index into [`GatedDecoder::rotaries`].
    pub rotary: usize,
}

/// A decoder of Llama's family.
#[derive(Clone, Debug)]
pub struct GatedDecoder {
    pub hidden: usize,
    pub inner: usize,
    pub vocab: usize,
    pub shape: AttentionShape,
    pub eps: Real,
    pub activation: Activation,
    pub tied: bool,
    pub max_positions: Option<usize>,
    pub layers: Vec<Layer>,
    pub rotaries: Vec<Rotary>,
    pub biases: Biases,
    /// Queries, keys and values are one projection, and so are gate and up (Phi-3).
    pub fused: bool,
    /// Every head's queries and keys are normalised before they are rotated (Qwen 3, Gemma 3).
    pub query_key_norms: bool,
    /// What a block adds is normalised too (Gemma 2 and 3).
    pub post_norms: bool,
    /// Norms multiply by `1 + weight` (Gemma).
    pub norms_around_one: bool,
    /// Multiplies embeddings after the lookup (Gemma).
    pub embedding_scale: f64,
    /// Multiplies the products of queries and keys.
    pub score_scale: f64,
    pub score_cap: Option<f64>,
    pub logit_cap: Option<f64>,
    /// Queries look at what comes after them too.
    pub both_ways: bool,
}

impl GatedDecoder {
    /// Reads what all of the family's files say alike. `activation_key` is the name of a field.
    pub fn read(config: &mut Config, activation_key: &str) -> Result<Self, CheckpointError> {
        let hidden = config.size("hidden_size")?;
        let inner = config.size("intermediate_size")?;
        let layers = config.count("num_hidden_layers")?;
        let heads = config.count("num_attention_heads")?;
        let key_heads = config.count_or_none("num_key_value_heads")?.unwrap_or(heads);
        let head_size = match config.count_or_none("head_dim")? {
            Some(size) => size,
            None if hidden.is_multiple_of(heads) => hidden / heads,
            None => {
                let problem = format!("'hidden_size' {hidden} is no multiple of 'num_attention_heads' {heads}");
                return Err(config.problem(problem));
            }
        };
        let shape = AttentionShape { heads, key_heads, head_size };
        shape.check().map_err(|problem| config.problem(problem))?;
        Ok(GatedDecoder {
            hidden,
            inner,
            vocab: config.size("vocab_size")?,
            shape,
            eps: Real::new(config.number("rms_norm_eps")?),
            activation: activation(config, activation_key)?,
            tied: config.flag("tie_word_embeddings")?,
            max_positions: config.size_or_none("max_position_embeddings")?,
            layers: vec![Layer { window: None, rotary: 0 }; layers],
            rotaries: Vec::new(),
            biases: Biases::default(),
            fused: false,
            query_key_norms: false,
            post_norms: false,
            norms_around_one: false,
            embedding_scale: 1.0,
            score_scale: (head_size as f64).powf(-0.5),
            score_cap: None,
            logit_cap: None,
            both_ways: looks_both_ways(config)?,
        })
    }

    /// The defaults of a model that rotates whole heads.
    pub fn rotary_defaults(&self, theta: f64) -> RotaryDefaults {
        RotaryDefaults {
            head_size: self.shape.head_size,
            theta,
            partial: None,
            longrope_names: &[],
            max_positions: self.max_positions,
            original: None,
        }
    }

    /// Gives the layers that `layer_types` names, or that `sliding` picks where the file does not, a window.
    pub fn set_windows(
        &mut self,
        config: &mut Config,
        window: Option<usize>,
        sliding: impl Fn(usize) -> bool,
    ) -> Result<(), CheckpointError> {
        let kinds = config.texts_or_none("layer_types")?;
        if let Some(kinds) = &kinds
            && kinds.len() != self.layers.len()
        {
            let problem = format!("'layer_types' names {} layers of {}", kinds.len(), self.layers.len());
            return Err(config.problem(problem));
        }
        for (i, layer) in self.layers.iter_mut().enumerate() {
            let slides = match kinds.as_ref().map(|kinds| kinds[i].as_str()) {
                None => sliding(i),
                Some("full_attention") => false,
                Some("sliding_attention") => true,
                Some(other) => {
                    return Err(config.problem(format!(
                        "'layer_types' has '{other}'; supported are full_attention, sliding_attention"
                    )));
                }
            };
            if slides {
                let missing = || config.problem("has layers with a sliding window, and no 'sliding_window'");
                layer.window = Some(window.ok_or_else(missing)?);
            }
        }
        Ok(())
    }

    /// The forward pass.
    pub fn build(&self, b: &mut Builder) -> Result<Forward, CheckpointError> {
        let prefix = prefix(b, PREFIXES, "embed_tokens.weight");
        let table = format!("{prefix}embed_tokens");
        let inputs_embeds = embed(b, &format!("{table}.weight"), [self.vocab, self.hidden])?;
        let mut x = b.graph.scaled(inputs_embeds, self.embedding_scale)?;
        b.graph.set_scope("positions");
        let used = |i: usize| self.layers.iter().any(|layer| layer.rotary == i);
        let mut tables = Vec::with_capacity(self.rotaries.len());
        for (i, rotary) in self.rotaries.iter().enumerate() {
            tables.push(if used(i) { Some(rotary.tables(b)?) } else { None });
        }
        for (i, layer) in self.layers.iter().enumerate() {
            let tables = tables.get(layer.rotary).copied().flatten();
            let names = Names { stored: format!("{prefix}layers.{i}"), scope: format!("layers.{i}") };
            x = self.layer(b, x, &names, layer, tables)?;
        }
        b.graph.set_scope("norm");
        let x = self.norm(b, x, &format!("{prefix}norm"), self.hidden)?;
        let mut logits = head(b, x, &table, &head_name(b), self.tied, [self.vocab, self.hidden])?;
        if let Some(cap) = self.logit_cap {
            logits = b.graph.add(Op::SoftCap { cap: Real::new(cap) }, &[logits])?;
        }
        let max_positions = self.rotaries.iter().map(|rotary| rotary.max_positions(self.max_positions)).max();
        Ok(Forward {
            inputs_embeds,
            logits,
            layers: self.layers.len(),
            heads: self.shape.heads,
            max_positions: max_positions.unwrap_or(self.max_positions),
            labels: None,
        })
    }

    fn layer(
        &self,
        b: &mut Builder,
        x: Id,
        names: &Names,
        layer: &Layer,
        tables: Option<RotaryTables>,
    ) -> Result<Id, CheckpointError> {
        let [after_attention, before_feed_forward] = match self.post_norms {
            true => [Some("post_attention_layernorm"), Some("pre_feedforward_layernorm")],
            false => [None, Some("post_attention_layernorm")],
        };
        let after_feed_forward = self.post_norms.then_some("post_feedforward_layernorm");

        let normed = self.named_norm(b, x, names, Some("input_layernorm"))?;
        let attended = self.attention(b, normed, names, layer, tables)?;
        let attended = self.named_norm(b, attended, names, after_attention)?;
        let x = b.graph.plus(x, attended)?;
        let normed = self.named_norm(b, x, names, before_feed_forward)?;
        let fed = self.feed_forward(b, normed, names)?;
        let fed = self.named_norm(b, fed, names, after_feed_forward)?;
        Ok(b.graph.plus(x, fed)?)
    }

    fn attention(
        &self,
        b: &mut Builder,
        x: Id,
        names: &Names,
        layer: &Layer,
        tables: Option<RotaryTables>,
    ) -> Result<Id, CheckpointError> {
        let own = names.of(b, "self_attn");
        let (hidden, shape) = (self.hidden, self.shape);
        let (queries, keys) = (shape.query_size(), shape.key_size());
        let bias = self.biases.queries_keys_values;
        let [q, k, v] = if self.fused {
            let fused = format!("{own}.qkv_proj");
            let sizes = [queries + 2 * keys, hidden];
            [0..queries, queries..queries + keys, queries + keys..queries + 2 * keys]
                .map(|rows| linear_rows(b, x, &fused, sizes, rows, bias))
        } else {
            [("q_proj", queries), ("k_proj", keys), ("v_proj", keys)]
                .map(|(name, size)| linear(b, x, &format!("{own}.{name}"), [size, hidden], bias))
        };
        let mut q = shape.split_queries(b.graph, q?)?;
        let mut k = shape.split_keys(b.graph, k?)?;
        let v = shape.split_keys(b.graph, v?)?;
        if self.query_key_norms {
            q = self.norm(b, q, &format!("{own}.q_norm"), shape.head_size)?;
            k = self.norm(b, k, &format!("{own}.k_norm"), shape.head_size)?;
        }
        if let Some(tables) = tables {
            q = rotate(b.graph, q, tables)?;
            k = rotate(b.graph, k, tables)?;
        }
        let reach = match (self.both_ways, layer.window) {
            (false, None) => Reach::Before,
            (false, Some(size)) => Reach::Window(size),
            (true, None) => Reach::Everywhere,
            (true, Some(distance)) => Reach::Around(distance),
        };
        let scores =
            Scores { scale: self.score_scale, cap: self.score_cap.map(Real::new), bias: attention_bias(b, reach)? };
        let mixed = shape.attend(b, [q, k, v], scores)?;
        linear(b, mixed, &format!("{own}.o_proj"), [hidden, queries], self.biases.attention_output)
    }

    fn feed_forward(&self, b: &mut Builder, x: Id, names: &Names) -> Result<Id, CheckpointError> {
        let own = names.of(b, "mlp");
        let (hidden, inner, bias) = (self.hidden, self.inner, self.biases.feed_forward);
        let [gate, up] = if self.fused {
            let both = inner.checked_mul(2).ok_or_else(|| b.config.problem("'intermediate_size' is absurd"))?;
            let fused = format!("{own}.gate_up_proj");
            [0..inner, inner..both].map(|rows| linear_rows(b, x, &fused, [both, hidden], rows, bias))
        } else {
            ["gate_proj", "up_proj"].map(|name| linear(b, x, &format!("{own}.{name}"), [inner, hidden], bias))
        };
        let gate = b.graph.activation(self.activation, gate?)?;
        let product = b.graph.times(gate, up?)?;
        linear(b, product, &format!("{own}.down_proj"), [hidden, inner], bias)
    }

    fn named_norm(&self, b: &mut Builder, x: Id, names: &Names, name: Option<&str>) -> Result<Id, CheckpointError> {
        let Some(name) = name else { return Ok(x) };
        let own = names.of(b, name);
        self.norm(b, x, &own, self.hidden)
    }

    fn norm(&self, b: &mut Builder, x: Id, stored: &str, size: usize) -> Result<Id, CheckpointError> {
        let mut weight = b.weights.tensor(b.graph, &format!("{stored}.weight"), &[size])?;
        if self.norms_around_one {
            let one = b.graph.scalar(1.0, weight)?;
            weight = b.graph.plus(weight, one)?;
        }
        Ok(b.graph.add(Op::RmsNorm { eps: self.eps }, &[x, weight])?)
    }
}

/// The name of the head, if the model has one of its own.
fn head_name(b: &Builder) -> String {
    prefix(b, &["", "language_model."], "lm_head.weight").to_owned() + "lm_head"
}

/// A layer's names in the checkpoint and in the graph.
struct Names {
    stored: String,
    scope: String,
}

impl Names {
    /// Enters a part of the layer, and gives its prefix in the checkpoint.
    fn of(&self, b: &mut Builder, part: &str) -> String {
        b.graph.set_scope(&format!("{}.{part}", self.scope));
        format!("{}.{part}", self.stored)
    }
}
