//! Rotary position embeddings: the angles a position turns by (RoFormer, arXiv 2104.09864), and their scalings.

use std::f64::consts::TAU;

use super::CheckpointError;
use super::config::Config;
use crate::onnx::op::Unary;
use crate::onnx::{Dim, Dtype, Graph, Id, Op, Tensor};

/// The tables `[seq, d / 2]` of one kind of layer.
#[derive(Clone, Copy, Debug)]
pub struct RotaryTables {
    pub cos: Id,
    pub sin: Id,
}

/// The frequencies of a model, radians a position.
#[derive(Clone, Debug, PartialEq)]
pub struct Frequencies(pub Vec<f64>);

impl Frequencies {
    /// Reads `rope_theta` and `rope_scaling`, or `rope_parameters` as newer files have it, for rotated vectors of `size`.
    pub fn read(config: &mut Config, size: usize) -> Result<Self, CheckpointError> {
        let theta = config.number_or_none("rope_theta")?;
        let parameters = match config.object("rope_parameters")? {
            Some(parameters) => Some(parameters),
            None => config.object("rope_scaling")?,
        };
        let Some(mut parameters) = parameters else {
            return Ok(Frequencies(plain(theta.unwrap_or(10_000.0), size)));
        };
        let theta = parameters.number_or_none("rope_theta")?.or(theta).unwrap_or(10_000.0);
        if !size.is_multiple_of(2) || theta <= 0.0 {
            return Err(parameters.problem("describes no rotation"));
        }
        let frequencies = plain(theta, size);
        let kind = match parameters.text_or_none("rope_type")? {
            Some(kind) => kind,
            None => parameters.text_or_none("type")?.unwrap_or_else(|| "default".to_owned()),
        };
        // Older files repeat the kind under its former name.
        parameters.get("type");
        let scaled = match kind.as_str() {
            "default" => frequencies,
            "linear" => {
                let factor = positive(&mut parameters, "factor")?;
                frequencies.into_iter().map(|f| f / factor).collect()
            }
            "llama3" => llama3(&mut parameters, frequencies)?,
            other => {
                return Err(
                    parameters.problem(format!("'rope_type' is '{other}'; supported are default, linear, llama3"))
                );
            }
        };
        parameters.finish()?;
        Ok(Frequencies(scaled))
    }

    /// The tables for positions `0, 1, ...` of a sequence of symbolic length.
    pub fn tables(&self, graph: &mut Graph, seq: &str) -> Result<RotaryTables, CheckpointError> {
        let seq = Dim::symbol(seq);
        let positions = graph.add(Op::Arange(seq.clone()), &[])?;
        let positions = graph.cast(positions, Dtype::F32)?;
        let positions = graph.reshape(positions, vec![seq, Dim::known(1)])?;
        let mut frequencies = Tensor::floats(&self.0, Dtype::F32);
        frequencies.dims = vec![1, self.0.len()];
        let frequencies = graph.constant(frequencies)?;
        let angles = graph.times(positions, frequencies)?;
        Ok(RotaryTables { cos: graph.unary(Unary::Cos, angles)?, sin: graph.unary(Unary::Sin, angles)? })
    }
}

fn plain(theta: f64, size: usize) -> Vec<f64> {
    (0..size / 2).map(|i| theta.powf(-2.0 * i as f64 / size as f64)).collect()
}

fn positive(parameters: &mut Config, key: &str) -> Result<f64, CheckpointError> {
    let value = parameters.number(key)?;
    if value > 0.0 { Ok(value) } else { Err(parameters.problem(format!("'{key}' should be above 0, and is {value}"))) }
}

/// Llama 3.1's: long wavelengths stretched by the factor, short ones kept, a smooth passage between.
fn llama3(parameters: &mut Config, frequencies: Vec<f64>) -> Result<Vec<f64>, CheckpointError> {
    let factor = positive(parameters, "factor")?;
    let low = positive(parameters, "low_freq_factor")?;
    let high = positive(parameters, "high_freq_factor")?;
    let original = positive(parameters, "original_max_position_embeddings")?;
    if high <= low {
        return Err(parameters.problem("'high_freq_factor' should be above 'low_freq_factor'"));
    }
    let scale = |f: f64| {
        let wavelength = TAU / f;
        if wavelength > original / low {
            f / factor
        } else if wavelength < original / high {
            f
        } else {
            let smooth = (original / wavelength - low) / (high - low);
            (1.0 - smooth) * f / factor + smooth * f
        }
    };
    Ok(frequencies.into_iter().map(scale).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama3_keeps_short_waves_and_stretches_long_ones() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(
            &path,
            r#"{"rope_theta": 500000.0, "rope_scaling": {"rope_type": "llama3", "factor": 8.0,
                "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}}"#,
        )
        .unwrap();
        let scaled = Frequencies::read(&mut Config::read(&path).unwrap(), 64).unwrap().0;
        let plain = plain(500_000.0, 64);
        assert_eq!(scaled[0], plain[0]);
        assert!((scaled[31] - plain[31] / 8.0).abs() < 1e-18);
        assert!(scaled.windows(2).all(|w| w[1] < w[0]));
    }

    #[test]
    fn an_unknown_scaling_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, r#"{"rope_scaling": {"rope_type": "warp", "factor": 2.0}}"#).unwrap();
        let error = Frequencies::read(&mut Config::read(&path).unwrap(), 64).unwrap_err().to_string();
        assert!(error.contains("'warp'"), "{error}");
    }
}
