//! A Llama decoder on candle's autograd: RMSNorm, rotary positions in Hugging Face's half-rotation convention, causal
//! attention, SwiGLU, no biases, output weights tied to the embedding. Variables carry Hugging Face's names.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use candle_core::{D, Device, Tensor, Var};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::causal_softmax::causal_softmax;

#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub vocab: usize,
    pub hidden: usize,
    pub feed_forward: usize,
    pub layers: usize,
    pub heads: usize,
    pub max_positions: usize,
    pub rope_theta: f64,
    pub norm_epsilon: f64,
}

impl Config {
    pub fn head_dim(&self) -> usize {
        self.hidden / self.heads
    }
}

pub struct Model {
    pub config: Config,
    weights: BTreeMap<String, Var>,
    cos: Tensor,
    sin: Tensor,
}

/// The names and shapes of the weights.
fn shapes(config: &Config) -> Vec<(String, Vec<usize>)> {
    let (d, ff) = (config.hidden, config.feed_forward);
    let mut shapes = vec![("model.embed_tokens.weight".to_owned(), vec![config.vocab, d])];
    for layer in 0..config.layers {
        for (name, shape) in [
            ("input_layernorm", vec![d]),
            ("self_attn.q_proj", vec![d, d]),
            ("self_attn.k_proj", vec![d, d]),
            ("self_attn.v_proj", vec![d, d]),
            ("self_attn.o_proj", vec![d, d]),
            ("post_attention_layernorm", vec![d]),
            ("mlp.gate_proj", vec![ff, d]),
            ("mlp.up_proj", vec![ff, d]),
            ("mlp.down_proj", vec![d, ff]),
        ] {
            shapes.push((format!("model.layers.{layer}.{name}.weight"), shape));
        }
    }
    shapes.push(("model.norm.weight".to_owned(), vec![d]));
    shapes
}

impl Model {
    /// Norms start at one, everything else is drawn from a normal distribution of standard deviation `scale`, but for
    /// one head a layer, which starts out looking at the previous token.
    pub fn random(config: Config, scale: f64, rng: &mut ChaCha8Rng) -> Result<Model> {
        let mut weights = BTreeMap::new();
        for (name, shape) in shapes(&config) {
            let values: Vec<f32> = match shape[..] {
                [size] => vec![1.0; size],
                _ => (0..shape.iter().product()).map(|_| (scale * normal(rng)) as f32).collect(),
            };
            weights.insert(name, Tensor::from_vec(values, shape, &Device::Cpu)?);
        }
        look_back(&config, &mut weights)?;
        Model::from_weights(config, weights)
    }

    pub fn from_weights(config: Config, mut tensors: BTreeMap<String, Tensor>) -> Result<Model> {
        let mut weights = BTreeMap::new();
        for (name, shape) in shapes(&config) {
            let tensor = tensors.remove(&name).with_context(|| format!("the weights lack {name}"))?;
            weights.insert(name, Var::from_tensor(&tensor.reshape(shape)?)?);
        }
        let (positions, half) = (config.max_positions, config.head_dim() / 2);
        let angles: Vec<f32> = (0..positions)
            .flat_map(|position| {
                (0..half).map(move |pair| position as f64 / config.rope_theta.powf(pair as f64 / half as f64))
            })
            .map(|angle| angle as f32)
            .collect();
        let angles = Tensor::from_vec(angles, (positions, half), &Device::Cpu)?;
        Ok(Model { config, weights, cos: angles.cos()?, sin: angles.sin()? })
    }

    pub fn weights(&self) -> &BTreeMap<String, Var> {
        &self.weights
    }

    fn weight(&self, name: &str) -> &Tensor {
        self.weights[name].as_tensor()
    }

    /// Logits `[rows chosen, vocab]` at the positions `chosen` of the flattened `[batch * length]` token ids.
    pub fn logits(&self, ids: &[u32], batch: usize, chosen: &[u32]) -> Result<Tensor> {
        let length = ids.len() / batch;
        let embedding = self.weight("model.embed_tokens.weight");
        let mut x = embedding.index_select(&Tensor::new(ids, &Device::Cpu)?, 0)?;
        for layer in 0..self.config.layers {
            let prefix = format!("model.layers.{layer}");
            let normed = self.norm(&x, &format!("{prefix}.input_layernorm.weight"))?;
            x = (x + self.attention(&normed, &prefix, batch, length)?)?;
            let normed = self.norm(&x, &format!("{prefix}.post_attention_layernorm.weight"))?;
            x = (x + self.feed_forward(&normed, &prefix)?)?;
        }
        let x = x.index_select(&Tensor::new(chosen, &Device::Cpu)?, 0)?;
        Ok(self.norm(&x, "model.norm.weight")?.matmul(&embedding.t()?)?)
    }

    fn norm(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        let mean_square = x.sqr()?.mean_keepdim(D::Minus1)?;
        let scale = (mean_square + self.config.norm_epsilon)?.sqrt()?.recip()?;
        Ok(x.broadcast_mul(&scale)?.broadcast_mul(self.weight(name))?)
    }

    fn project(&self, x: &Tensor, prefix: &str, name: &str) -> Result<Tensor> {
        Ok(x.matmul(&self.weight(&format!("{prefix}.{name}.weight")).t()?)?)
    }

    fn attention(&self, x: &Tensor, prefix: &str, batch: usize, length: usize) -> Result<Tensor> {
        let (heads, head_dim) = (self.config.heads, self.config.head_dim());
        let split = |name: &str| -> Result<Tensor> {
            let projected = self.project(x, prefix, name)?;
            Ok(projected.reshape((batch, length, heads, head_dim))?.transpose(1, 2)?.contiguous()?)
        };
        let queries = self.rotate(&split("self_attn.q_proj")?, length)?;
        let keys = self.rotate(&split("self_attn.k_proj")?, length)?;
        let values = split("self_attn.v_proj")?;
        let scores = queries.matmul(&keys.t()?)?;
        let weights = causal_softmax(&scores, 1.0 / (head_dim as f32).sqrt())?;
        let mixed = weights.matmul(&values)?.transpose(1, 2)?.reshape((batch * length, heads * head_dim))?;
        self.project(&mixed, prefix, "self_attn.o_proj")
    }

    fn rotate(&self, x: &Tensor, length: usize) -> Result<Tensor> {
        let half = self.config.head_dim() / 2;
        let (cos, sin) = (self.cos.narrow(0, 0, length)?, self.sin.narrow(0, 0, length)?);
        let (first, second) = (x.narrow(D::Minus1, 0, half)?, x.narrow(D::Minus1, half, half)?);
        let turned_first = (first.broadcast_mul(&cos)? - second.broadcast_mul(&sin)?)?;
        let turned_second = (second.broadcast_mul(&cos)? + first.broadcast_mul(&sin)?)?;
        Ok(Tensor::cat(&[turned_first, turned_second], D::Minus1)?)
    }

    fn feed_forward(&self, x: &Tensor, prefix: &str) -> Result<Tensor> {
        let gate = self.project(x, prefix, "mlp.gate_proj")?.silu()?;
        self.project(&(gate * self.project(x, prefix, "mlp.up_proj")?)?, prefix, "mlp.down_proj")
    }
}

/// Lets the first head of every layer start out looking at the previous token.
///
/// All that the tasks ask rests on finding what stood after a token. That takes one head that notes the previous token
/// and a later one that searches for the note, and neither is of use, or has a gradient to speak of, before the other
/// exists: from random weights the wait is thousands of steps. Nothing holds the heads there once training starts.
///
/// All embeddings get the same first component, so that queries and keys made of it alone depend on positions alone:
/// a query is constant in its pairs of highest frequency, a key is the same turned forward by one position.
fn look_back(config: &Config, weights: &mut BTreeMap<String, Tensor>) -> Result<()> {
    const SHARED: f32 = 0.3;
    const SIZE: f32 = 1.2;
    const PAIRS: usize = 4;
    let half = config.head_dim() / 2;
    let mut edit = |name: &str, change: &dyn Fn(&mut [Vec<f32>])| -> Result<()> {
        let mut rows = weights[name].to_vec2::<f32>()?;
        change(&mut rows);
        weights.insert(name.to_owned(), Tensor::new(rows, &Device::Cpu)?);
        Ok(())
    };
    edit("model.embed_tokens.weight", &|rows| rows.iter_mut().for_each(|row| row[0] = SHARED))?;
    let projections = |layer| [("q_proj", 0.0, layer), ("k_proj", 1.0, layer)];
    for (name, turn, layer) in (0..config.layers).flat_map(projections) {
        edit(&format!("model.layers.{layer}.self_attn.{name}.weight"), &|rows| {
            for row in &mut rows[..2 * half] {
                row.fill(0.0);
            }
            for pair in 0..PAIRS {
                let angle = turn / config.rope_theta.powf(pair as f64 / half as f64) as f32;
                rows[pair][0] = SIZE * angle.cos();
                rows[half + pair][0] = SIZE * angle.sin();
            }
        })?;
    }
    Ok(())
}

/// Box-Muller.
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let (radius, angle): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
    (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn small() -> Result<Model> {
        let config = Config {
            vocab: 11,
            hidden: 16,
            feed_forward: 12,
            layers: 2,
            heads: 2,
            max_positions: 16,
            rope_theta: 100.0,
            norm_epsilon: 1e-5,
        };
        Model::random(config, 0.3, &mut ChaCha8Rng::seed_from_u64(1))
    }

    fn values(logits: Tensor) -> Result<Vec<Vec<f32>>> {
        Ok(logits.to_vec2()?)
    }

    #[test]
    fn later_tokens_change_nothing_before_them() -> Result<()> {
        let model = small()?;
        let one = values(model.logits(&[1, 5, 6, 7, 8], 1, &[0, 1, 2, 3, 4])?)?;
        let other = values(model.logits(&[1, 5, 6, 9, 10], 1, &[0, 1, 2, 3, 4])?)?;
        assert_eq!(one[..3], other[..3]);
        assert_ne!(one[3], other[3]);
        Ok(())
    }

    #[test]
    fn rows_of_a_batch_do_not_mix() -> Result<()> {
        let model = small()?;
        let both = values(model.logits(&[1, 5, 6, 1, 9, 10], 2, &[2, 5])?)?;
        for (row, ids) in [[1, 5, 6], [1, 9, 10]].iter().enumerate() {
            let alone = values(model.logits(ids, 1, &[2])?)?;
            assert!(both[row].iter().zip(&alone[0]).all(|(a, b)| (a - b).abs() < 1e-5));
        }
        Ok(())
    }

    /// Every weight's gradient against a central difference along a direction of its own.
    #[test]
    fn gradients_agree_with_finite_differences() -> Result<()> {
        let model = small()?;
        let loss = || -> Result<Tensor> {
            let logits = model.logits(&[1, 5, 6, 7, 5, 6], 1, &[2, 3, 4])?;
            Ok(candle_nn::ops::log_softmax(&logits, D::Minus1)?.narrow(1, 7, 1)?.sum_all()?)
        };
        let gradients = loss()?.backward()?;
        for (name, weight) in model.weights() {
            let before = weight.as_tensor().copy()?;
            let direction = (Tensor::ones_like(&before)? * 0.5)?.add(&before.cos()?)?;
            let along = gradients.get(weight).context("no gradient")?.mul(&direction)?.sum_all()?.to_scalar::<f32>()?;
            let step = 2e-3;
            let mut at = [0.0f32; 2];
            for (value, sign) in at.iter_mut().zip([1.0, -1.0]) {
                weight.set(&(&before + (&direction * (sign * step))?)?)?;
                *value = loss()?.to_scalar()?;
            }
            weight.set(&before)?;
            let difference = (at[0] - at[1]) / (2.0 * step as f32);
            assert!((along - difference).abs() < 0.02 * difference.abs().max(0.5), "{name}: {along} {difference}");
        }
        Ok(())
    }

    #[test]
    fn names_are_hugging_faces_and_the_output_weights_are_the_embedding() -> Result<()> {
        let model = small()?;
        let names: Vec<_> = model.weights().keys().map(String::as_str).collect();
        assert_eq!(names.len(), 2 + 9 * 2);
        for name in ["model.embed_tokens.weight", "model.layers.1.mlp.down_proj.weight", "model.norm.weight"] {
            assert!(names.contains(&name));
        }
        assert!(!names.contains(&"lm_head.weight"));
        Ok(())
    }
}
