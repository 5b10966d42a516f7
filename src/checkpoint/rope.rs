//! Rotary position embeddings: the angles a position turns by (RoFormer, arXiv 2104.09864), and their scalings.
//!
//! Supported are plain frequencies, linear position interpolation (arXiv 2306.15595), dynamic NTK scaling, YaRN
//! (arXiv 2309.00071), Llama 3.1's (arXiv 2407.21783) and LongRoPE (arXiv 2402.13753).

use std::f64::consts::{PI, TAU};

use super::config::Config;
use super::{BATCH, Builder, CheckpointError, SEQ, fields};
use crate::onnx::op::{Binary, Logic, Reduction, Unary};
use crate::onnx::{Dim, Dtype, Graph, GraphError, Id, Tensor};

/// The tables of one kind of layer: `[seq, r / 2]`, or `[batch, seq, r / 2]` where they hang on a row's length.
#[derive(Clone, Copy, Debug)]
pub struct RotaryTables {
    pub cos: Id,
    pub sin: Id,
}

/// What an architecture says about rotation where `config.json` is silent.
#[derive(Clone, Copy, Debug)]
pub struct RotaryDefaults {
    pub head_size: usize,
    pub theta: f64,
    /// The fraction of a head that is rotated, where the architecture rotates parts of heads; `None` where it cannot.
    pub partial: Option<f64>,
    /// Kinds of scaling that mean LongRoPE under other names.
    pub longrope_names: &'static [&'static str],
    pub max_positions: Option<usize>,
    /// The length before stretching, where `config.json` has none beside the parameters.
    pub original: Option<f64>,
}

/// How fast each pair of elements turns.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotary {
    /// Radians a position.
    frequencies: Vec<f64>,
    /// Multiplies cosine and sine (YaRN's and LongRoPE's attention factor).
    gain: f64,
    by_length: ByLength,
}

/// What changes with the length of the text.
#[derive(Clone, Debug, PartialEq)]
enum ByLength {
    Nothing,
    /// Beyond `limit` tokens the base grows with the length, by a power that hangs on how many elements are rotated.
    DynamicNtk {
        factor: f64,
        limit: f64,
        size: f64,
    },
    /// Beyond `limit` tokens other frequencies are used.
    Switch {
        beyond: Vec<f64>,
        limit: f64,
    },
}

impl Rotary {
    /// Reads `rope_theta` and `rope_scaling`, or `rope_parameters` as newer files have it, and the fraction rotated.
    pub fn read(config: &mut Config, defaults: &RotaryDefaults) -> Result<Self, CheckpointError> {
        let theta = config.positive_or_none("rope_theta")?;
        from_either(config, |config, parameters| Rotary::from_parts(config, theta, parameters, defaults))
    }

    /// The same, once its places in the file are known.
    pub fn from_parts(
        config: &mut Config,
        theta: Option<f64>,
        parameters: Option<Config>,
        defaults: &RotaryDefaults,
    ) -> Result<Self, CheckpointError> {
        let outer_partial = config.positive_or_none("partial_rotary_factor")?;
        let given = config.positive_or_none("original_max_position_embeddings")?;
        let Some(mut parameters) = parameters else {
            let size = rotated_size(config, outer_partial, defaults)?;
            return Ok(Rotary::plain(plain(theta.unwrap_or(defaults.theta), size)));
        };
        let p = &mut parameters;
        let theta = p.positive_or_none("rope_theta")?.or(theta).unwrap_or(defaults.theta);
        let partial = p.positive_or_none("partial_rotary_factor")?.or(outer_partial);
        let size = rotated_size(p, partial, defaults)?;
        let frequencies = plain(theta, size);
        let former = p.text_or_none("type")?;
        let kind = p.text_or_none("rope_type")?.or(former).unwrap_or_else(|| "default".to_owned());
        let kind = if defaults.longrope_names.contains(&kind.as_str()) { "longrope".to_owned() } else { kind };
        let limits = Limits { original: given.or(defaults.original), max_positions: defaults.max_positions };
        let rotary = match kind.as_str() {
            "default" => Rotary::plain(frequencies),
            "linear" => {
                let factor = p.positive("factor")?;
                Rotary::plain(frequencies.into_iter().map(|f| f / factor).collect())
            }
            "dynamic" => {
                if size < 3 {
                    return Err(p.problem("dynamic scaling needs more than two rotated elements a head"));
                }
                let factor = p.positive("factor")?;
                let limit = limits.max_positions(p)?;
                Rotary { frequencies, gain: 1.0, by_length: ByLength::DynamicNtk { factor, limit, size: size as f64 } }
            }
            "llama3" => Rotary::plain(llama3(p, frequencies, &limits)?),
            "yarn" => yarn(p, frequencies, theta, size as f64, &limits)?,
            "longrope" => longrope(p, frequencies, &limits)?,
            other => {
                return Err(p.problem(format!(
                    "'rope_type' is '{other}'; supported are default, linear, dynamic, yarn, llama3, longrope"
                )));
            }
        };
        if let Some(inner) = parameters.unread_object() {
            let problem = format!("'{inner}' is an object, and this architecture rotates all layers alike");
            return Err(parameters.problem(problem));
        }
        parameters.expect(fields::of_rotation(&kind));
        config.finish_inner(parameters)?;
        Ok(rotary)
    }

    fn plain(frequencies: Vec<f64>) -> Self {
        Rotary { frequencies, gain: 1.0, by_length: ByLength::Nothing }
    }

    /// The longest text, where the file names `given`: dynamic scaling is there to go beyond it, up to its factor.
    pub fn max_positions(&self, given: Option<usize>) -> Option<usize> {
        match self.by_length {
            ByLength::DynamicNtk { factor, .. } => given.map(|n| n.max((n as f64 * factor) as usize)),
            _ => given,
        }
    }

    /// The tables for the places of the tokens of a pass. Where the frequencies hang on the length
    /// of the text, it is the length of each row without its padding, so that a row's result does not hang on what else
    /// is in its batch.
    pub fn tables(&self, b: &mut Builder) -> Result<RotaryTables, GraphError> {
        let (batch, seq, one) = (Dim::symbol(BATCH), Dim::symbol(SEQ), Dim::known(1));
        if self.by_length != ByLength::Nothing {
            b.hangs_on_the_rest("its rotation hangs on the length of the whole text");
        }
        let positions = b.places()?;
        let (graph, attention_mask) = (&mut *b.graph, b.attention_mask);
        let positions = graph.cast(positions, Dtype::F32)?;
        let positions = graph.reshape(positions, vec![seq, one.clone()])?;
        let fixed = row(graph, &self.frequencies)?;
        let frequencies = match &self.by_length {
            ByLength::Nothing => fixed,
            ByLength::DynamicNtk { factor, limit, size } => {
                let (length, beyond) = longer(graph, attention_mask, *limit)?;
                // theta' = theta (factor length / limit - (factor - 1))^(d / (d - 2)), so frequency i of d / 2 changes
                // by that to the power -2 i / (d - 2).
                let scaled = graph.scaled(length, factor / limit)?;
                let offset = graph.scalar(factor - 1.0, scaled)?;
                let growth = graph.binary(Binary::Sub, scaled, offset)?;
                let floor = graph.scalar(1.0, growth)?;
                let growth = graph.choose(beyond, growth, floor)?;
                let growth = graph.unary(Unary::Log, growth)?;
                let powers: Vec<f64> = (0..self.frequencies.len()).map(|i| -2.0 * i as f64 / (size - 2.0)).collect();
                let powers = row(graph, &powers)?;
                let exponents = graph.times(growth, powers)?;
                let change = graph.unary(Unary::Exp, exponents)?;
                graph.times(fixed, change)?
            }
            ByLength::Switch { beyond: frequencies, limit } => {
                let (_, beyond) = longer(graph, attention_mask, *limit)?;
                let other = row(graph, frequencies)?;
                graph.choose(beyond, other, fixed)?
            }
        };
        let frequencies = match self.by_length {
            ByLength::Nothing => frequencies,
            _ => graph.reshape(frequencies, vec![batch, one, Dim::known(self.frequencies.len())])?,
        };
        let angles = graph.times(positions, frequencies)?;
        let (cos, sin) = (graph.unary(Unary::Cos, angles)?, graph.unary(Unary::Sin, angles)?);
        Ok(RotaryTables { cos: graph.scaled(cos, self.gain)?, sin: graph.scaled(sin, self.gain)? })
    }
}

/// Numbers as f32 `[1, n]`.
fn row(graph: &mut Graph, numbers: &[f64]) -> Result<Id, GraphError> {
    let mut tensor = Tensor::floats(numbers, Dtype::F32);
    tensor.dims = vec![1, numbers.len()];
    graph.constant(tensor)
}

/// The number of tokens of each row, f32 `[batch, 1]`, and whether it is above a limit.
fn longer(graph: &mut Graph, attention_mask: Id, limit: f64) -> Result<(Id, Id), GraphError> {
    let present = graph.cast(attention_mask, Dtype::F32)?;
    let length = graph.reduce(Reduction::Sum, present, &[1], true)?;
    let limit = graph.scalar(limit, length)?;
    let longer = graph.logic(Logic::Greater, length, limit)?;
    Ok((length, longer))
}

/// What the parameters of rotation mean, under whichever of their names they stand. A file that is meant for older and
/// newer programs has both: they have to mean the same.
pub fn from_either<T: PartialEq>(
    config: &mut Config,
    mut read: impl FnMut(&mut Config, Option<Config>) -> Result<T, CheckpointError>,
) -> Result<T, CheckpointError> {
    let mut given = |key: &str| Ok::<_, CheckpointError>(config.object(key)?.filter(|object| !object.is_empty()));
    match (given("rope_scaling")?, given("rope_parameters")?) {
        (Some(older), Some(newer)) => {
            let (older, newer) = (read(config, Some(older))?, read(config, Some(newer))?);
            if older != newer {
                return Err(config.problem(
                    "'rope_scaling' and 'rope_parameters' describe two different rotations (where one has no 'rope_theta', it \
                     is the one beside them, or the default); remove the one that is wrong",
                ));
            }
            Ok(newer)
        }
        (older, newer) => read(config, older.or(newer)),
    }
}

fn rotated_size(config: &Config, partial: Option<f64>, defaults: &RotaryDefaults) -> Result<usize, CheckpointError> {
    let fraction = match (partial, defaults.partial) {
        (Some(fraction), None) if fraction != 1.0 => {
            let problem = format!("'partial_rotary_factor' is {fraction}, and this architecture rotates whole heads");
            return Err(config.problem(problem));
        }
        (fraction, default) => fraction.or(default).unwrap_or(1.0),
    };
    let size = (defaults.head_size as f64 * fraction) as usize;
    if size < 2 || size.next_multiple_of(2) > defaults.head_size {
        return Err(config.problem(format!(
            "a fraction {fraction} of heads of {} elements cannot be rotated in pairs",
            defaults.head_size
        )));
    }
    Ok(size)
}

/// The frequencies of the pairs that `size` elements make. An odd element, which a fraction may leave, is rotated with
/// the next one.
fn plain(theta: f64, size: usize) -> Vec<f64> {
    (0..size.div_ceil(2)).map(|i| theta.powf(-2.0 * i as f64 / size as f64)).collect()
}

/// The lengths that scalings refer to.
struct Limits {
    /// As it stands beside the parameters, or as the architecture has it.
    original: Option<f64>,
    max_positions: Option<usize>,
}

impl Limits {
    fn max_positions(&self, parameters: &Config) -> Result<f64, CheckpointError> {
        let missing = || parameters.problem("needs 'max_position_embeddings', which config.json lacks");
        self.max_positions.map(|n| n as f64).ok_or_else(missing)
    }

    /// The length the model was trained for before it was stretched.
    fn original(&self, parameters: &mut Config) -> Result<f64, CheckpointError> {
        let inner = parameters.positive_or_none("original_max_position_embeddings")?;
        if let (Some(given), Some(inner)) = (self.original, inner)
            && given != inner
        {
            return Err(parameters.problem(format!(
                "'original_max_position_embeddings' is {inner} here, and {given} beside the parameters of rotation, or where \
                 nothing stands there"
            )));
        }
        match self.original.or(inner) {
            Some(original) => Ok(original),
            None => self.max_positions(parameters),
        }
    }
}

/// Llama 3.1's: long wavelengths stretched by the factor, short ones kept, a smooth passage between.
fn llama3(parameters: &mut Config, frequencies: Vec<f64>, limits: &Limits) -> Result<Vec<f64>, CheckpointError> {
    let factor = parameters.positive("factor")?;
    let low = parameters.positive("low_freq_factor")?;
    let high = parameters.positive("high_freq_factor")?;
    let original = limits.original(parameters)?;
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

/// YaRN: pairs that turn often within the original length keep their frequency, pairs that turn seldom are
/// interpolated, with a linear ramp between; queries and keys are scaled up as the text is stretched.
fn yarn(
    p: &mut Config,
    frequencies: Vec<f64>,
    theta: f64,
    size: f64,
    limits: &Limits,
) -> Result<Rotary, CheckpointError> {
    if size % 2.0 != 0.0 {
        return Err(p.problem(format!("yarn is not defined for {size} rotated elements, an odd number")));
    }
    let original = limits.original(p)?;
    let factor = match p.positive_or_none("factor")? {
        Some(factor) => factor,
        None => limits.max_positions(p)? / original,
    };
    let fast = p.positive_or_none("beta_fast")?.unwrap_or(32.0);
    let slow = p.positive_or_none("beta_slow")?.unwrap_or(1.0);
    let truncate = p.flag_or_none("truncate")?.unwrap_or(true);
    let (scale, all) = (p.number_or_none("mscale")?, p.number_or_none("mscale_all_dim")?);
    let stretch = |weight: f64| if factor <= 1.0 { 1.0 } else { 0.1 * weight * factor.ln() + 1.0 };
    let gain = match (p.positive_or_none("attention_factor")?, scale, all) {
        (Some(given), _, _) => given,
        (None, Some(scale), Some(all)) if scale != 0.0 && all != 0.0 => stretch(scale) / stretch(all),
        _ => stretch(1.0),
    };
    if theta == 1.0 {
        return Err(p.problem("describes no rotation"));
    }
    // The pair that turns so many times within the original length.
    let pair = |turns: f64| size * (original / (turns * 2.0 * PI)).ln() / (2.0 * theta.ln());
    let (mut low, mut high) = (pair(fast), pair(slow));
    if truncate {
        (low, high) = (low.floor(), high.ceil());
    }
    (low, high) = (low.max(0.0), high.min(size - 1.0));
    if low == high {
        high += 0.001;
    }
    let blend = |(i, f): (usize, f64)| {
        let interpolated = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
        f / factor * interpolated + f * (1.0 - interpolated)
    };
    let frequencies = frequencies.into_iter().enumerate().map(blend).collect();
    Ok(Rotary { frequencies, gain, by_length: ByLength::Nothing })
}

/// LongRoPE: every pair has a factor of its own, another one beyond the original length.
fn longrope(p: &mut Config, frequencies: Vec<f64>, limits: &Limits) -> Result<Rotary, CheckpointError> {
    let original = limits.original(p)?;
    let factor = match p.positive_or_none("factor")? {
        Some(factor) => factor,
        None => limits.max_positions(p)? / original,
    };
    let gain = match p.positive_or_none("attention_factor")? {
        Some(given) => given,
        None if factor <= 1.0 => 1.0,
        None => (1.0 + factor.ln() / original.ln()).sqrt(),
    };
    if !gain.is_finite() {
        return Err(p.problem(format!("'original_max_position_embeddings' is {original}, which allows no scaling")));
    }
    let mut stretched = |key: &str| -> Result<Vec<f64>, CheckpointError> {
        let factors = p.positives(key)?;
        if factors.len() != frequencies.len() {
            let problem = format!("'{key}' has {} numbers for {} rotated pairs", factors.len(), frequencies.len());
            return Err(p.problem(problem));
        }
        Ok(frequencies.iter().zip(factors).map(|(f, factor)| f / factor).collect())
    };
    let (within, beyond) = (stretched("short_factor")?, stretched("long_factor")?);
    Ok(Rotary { frequencies: within, gain, by_length: ByLength::Switch { beyond, limit: original } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Rotary, CheckpointError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        std::fs::write(&path, text).unwrap();
        let defaults = RotaryDefaults {
            head_size: 64,
            theta: 10_000.0,
            partial: None,
            longrope_names: &[],
            max_positions: Some(4096),
            original: None,
        };
        Rotary::read(&mut Config::read(&path).unwrap(), &defaults)
    }

    #[test]
    fn llama3_keeps_short_waves_and_stretches_long_ones() {
        let scaled = read(
            r#"{"rope_theta": 500000.0, "rope_scaling": {"rope_type": "llama3", "factor": 8.0,
                "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}}"#,
        )
        .unwrap()
        .frequencies;
        let plain = plain(500_000.0, 64);
        assert_eq!(scaled[0], plain[0]);
        assert!((scaled[31] - plain[31] / 8.0).abs() < 1e-18);
        assert!(scaled.windows(2).all(|w| w[1] < w[0]));
    }

    #[test]
    fn yarn_keeps_fast_pairs_and_interpolates_slow_ones() {
        let yarn =
            read(r#"{"rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}}"#)
                .unwrap();
        let plain = plain(10_000.0, 64);
        assert_eq!(yarn.frequencies[0], plain[0]);
        assert!((yarn.frequencies[31] - plain[31] / 4.0).abs() < 1e-18);
        assert!((yarn.gain - (0.1 * 4.0f64.ln() + 1.0)).abs() < 1e-12);
    }

    #[test]
    fn two_names_of_one_rotation() {
        let linear = r#"{"rope_type": "linear", "factor": 2.0}"#;
        let alone = read(&format!(r#"{{"rope_theta": 500.0, "rope_scaling": {linear}}}"#)).unwrap();
        for newer in [r#"{"type": "linear", "factor": 2, "rope_theta": 500}"#, "{}", "null"] {
            let text = format!(r#"{{"rope_theta": 500.0, "rope_scaling": {linear}, "rope_parameters": {newer}}}"#);
            assert_eq!(read(&text).unwrap(), alone, "{newer}");
        }
    }

    #[test]
    fn what_is_unknown_is_named() {
        for (text, named) in [
            (r#"{"rope_scaling": {"rope_type": "warp", "factor": 2.0}}"#, "'warp'"),
            (r#"{"rope_scaling": {"full_attention": {"rope_type": "linear", "factor": 2.0}}}"#, "'full_attention'"),
            (r#"{"rope_scaling": {"rope_type": "linear", "factor": -2.0}}"#, "'factor'"),
            (r#"{"partial_rotary_factor": 0.5}"#, "'partial_rotary_factor'"),
            (
                r#"{"rope_scaling": {"rope_type": "longrope", "short_factor": [1], "long_factor": [1]}}"#,
                "'short_factor'",
            ),
            (
                r#"{"rope_scaling": {"rope_type": "linear", "factor": 2}, "rope_parameters": {"rope_type": "default"}}"#,
                "'rope_scaling' and 'rope_parameters'",
            ),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
