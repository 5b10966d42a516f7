//! The checks, each a largest deviation and what it may be.

use ndarray::Array2;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::Check;
use crate::attribution::quadrature::gauss_legendre;
use crate::bundle::Manifest;
use crate::grad::{Knobs, SiteKind};
use crate::runtime::{Gradient, GradientRow, Model, Row, RuntimeError};

/// A random prompt and a random target and contrast.
pub struct Prompt {
    pub row: Row,
    pub target: i64,
    pub contrast: i64,
}

type Checked = Result<Check, RuntimeError>;

/// Prompts of several lengths.
pub fn prompts(manifest: &Manifest, lengths: &[usize], seed: u64) -> Vec<Prompt> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let vocab = manifest.dimensions.vocab as i64;
    let longest = manifest.dimensions.max_positions.unwrap_or(usize::MAX);
    let outputs = manifest.outputs() as i64;
    lengths
        .iter()
        .map(|&length| length.min(longest))
        .map(|length| {
            let input_ids = (0..length).map(|_| random.random_range(0..vocab)).collect();
            let target = random.random_range(0..outputs);
            // Another one than the target, or the score would be 0 whatever the model does.
            let contrast = (target + random.random_range(1..outputs.max(2))) % outputs.max(1);
            Prompt { row: Row { input_ids, position: length - 1 }, target, contrast }
        })
        .collect()
}

fn embedded(model: &mut Model, prompts: &[Prompt]) -> Result<Vec<GradientRow>, RuntimeError> {
    let ids: Vec<&[i64]> = prompts.iter().map(|prompt| prompt.row.input_ids.as_slice()).collect();
    let embeds = model.embed_rows(&ids)?;
    Ok(prompts
        .iter()
        .zip(embeds)
        .map(|(prompt, embeds)| GradientRow {
            embeds,
            position: prompt.row.position,
            target: prompt.target,
            contrast: Some(prompt.contrast),
        })
        .collect())
}

fn norm<'a>(values: impl IntoIterator<Item = &'a f32>) -> f64 {
    values.into_iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt()
}

/// `|a - b| / |b|`, 0 where both are nothing.
fn relative(a: &Array2<f32>, b: &Array2<f32>) -> f64 {
    let (difference, size) = (norm(&(a - b)), norm(b));
    if difference == 0.0 { 0.0 } else { difference / size.max(f64::MIN_POSITIVE) }
}

fn largest(deviations: impl IntoIterator<Item = f64>) -> f64 {
    // Not a number is the largest deviation of all, and `f64::max` would pass over it.
    deviations.into_iter().fold(0.0, |most, next| if next.is_nan() || next > most { next } else { most })
}

/// The score of the gradient graph is a difference of logits of the forward graph.
pub fn forward_equality(model: &mut Model, prompts: &[Prompt]) -> Checked {
    let rows: Vec<Row> = prompts.iter().map(|prompt| prompt.row.clone()).collect();
    let logits = model.logits(&rows)?;
    let rows = embedded(model, prompts)?;
    let mut deviations = Vec::new();
    for knobs in [Knobs::GRADIENT, Knobs::GIM] {
        for ((prompt, logits), gradient) in prompts.iter().zip(&logits).zip(model.gradients(&rows, &knobs)?) {
            let score = logits[prompt.target as usize] - logits[prompt.contrast as usize];
            deviations.push(f64::from(gradient.score - score).abs() / norm(logits.iter()).max(f64::MIN_POSITIVE));
        }
    }
    Ok(Check {
        name: "forward equality",
        description: "score of gradient.onnx against logits of forward.onnx, relative to the norm of the logits",
        measured: largest(deviations),
        tolerance: 1e-5,
    })
}

/// A prompt padded by a longer neighbour gives what it gives alone.
pub fn padding(model: &mut Model, prompts: &[Prompt]) -> Checked {
    let rows = embedded(model, prompts)?;
    let alone: Result<Vec<Gradient>, RuntimeError> =
        rows.iter().map(|row| Ok(model.gradients(std::slice::from_ref(row), &Knobs::GIM)?.remove(0))).collect();
    let together = model.gradients(&rows, &Knobs::GIM)?;
    let deviations = alone?.into_iter().zip(together).map(|(a, b)| relative(&a.gradient, &b.gradient));
    Ok(Check {
        name: "padding",
        description: "GIM gradients of prompts in one padded batch against each alone, relative",
        measured: largest(deviations.collect::<Vec<_>>()),
        tolerance: 1e-4,
    })
}

/// Along the gradient, and along its part at single tokens, the score changes as the gradient says. Calculus knobs.
pub fn finite_differences(model: &mut Model, prompts: &[Prompt], places: usize) -> Checked {
    let rows = embedded(model, prompts)?;
    let gradients = model.gradients(&rows, &Knobs::GRADIENT)?;
    let mut deviations = Vec::new();
    for (row, gradient) in rows.iter().zip(&gradients) {
        let length = row.embeds.nrows();
        let mut directions = vec![gradient.gradient.clone()];
        for place in [0, length / 2, length - 1].into_iter().take(places) {
            let mut one = Array2::zeros(gradient.gradient.raw_dim());
            one.row_mut(place).assign(&gradient.gradient.row(place));
            directions.push(one);
        }
        let whole = norm(&gradient.gradient);
        for direction in directions {
            let size = norm(&direction);
            // Where nearly nothing flows there is nothing but rounding to compare.
            if size < 1e-3 * whole || size == 0.0 {
                continue;
            }
            let unit = direction.mapv(|x| (f64::from(x) / size) as f32);
            deviations.push(best_step(model, row, &unit, size)?);
        }
    }
    Ok(Check {
        name: "finite differences",
        description: "gradient along itself, and at single tokens, against central differences, relative",
        measured: largest(deviations),
        tolerance: 1e-2,
    })
}

/// The relative deviation of central differences from `slope`, at the step that suits best: large ones leave the
/// linear part, small ones drown in the rounding of f32.
fn best_step(model: &mut Model, row: &GradientRow, unit: &Array2<f32>, slope: f64) -> Result<f64, RuntimeError> {
    let scale = norm(&row.embeds) / (row.embeds.nrows() as f64).sqrt();
    let steps: Vec<f32> = [1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4].iter().map(|step| (step * scale) as f32).collect();
    let moved = |step: f32| GradientRow { embeds: &row.embeds + &(unit * step), ..row.clone() };
    let rows: Vec<GradientRow> = steps.iter().flat_map(|&step| [moved(step), moved(-step)]).collect();
    let scores = model.gradients(&rows, &Knobs::GRADIENT)?;
    let deviations = steps.iter().zip(scores.chunks_exact(2)).map(|(&step, ends)| {
        let difference = (f64::from(ends[0].score) - f64::from(ends[1].score)) / (2.0 * f64::from(step));
        (difference - slope).abs() / slope
    });
    Ok(deviations.fold(f64::NAN, f64::min))
}

/// Integrated gradients from the baseline add up to the change of the score.
pub fn completeness(model: &mut Model, prompts: &[Prompt], points: &[usize]) -> Checked {
    let rows = embedded(model, prompts)?;
    let baseline = model.manifest().baseline_token_id.unwrap_or(0);
    let baseline = model.embed(&[baseline])?.mapv(f64::from);
    let mut deviations = Vec::new();
    for row in &rows {
        let difference = row.embeds.mapv(f64::from) - &baseline;
        let mut best = f64::NAN;
        // More points only where few do not suffice.
        for &points in points {
            let points = gauss_legendre(points);
            let at = |alpha: f64| GradientRow {
                embeds: (&baseline + &(&difference * alpha)).mapv(|x| x as f32),
                ..row.clone()
            };
            let path: Vec<GradientRow> = points.iter().map(|&(alpha, _)| at(alpha)).collect();
            let gradients = model.gradients(&path, &Knobs::GRADIENT)?;
            let total: f64 = gradients
                .iter()
                .zip(&points)
                .map(|(gradient, (_, weight))| weight * (&gradient.gradient.mapv(f64::from) * &difference).sum())
                .sum();
            let ends = model.gradients(&[at(1.0), at(0.0)], &Knobs::GRADIENT)?;
            let change = f64::from(ends[0].score) - f64::from(ends[1].score);
            let size = change.abs().max(1e-2 * f64::from(ends[0].score.abs().max(ends[1].score.abs())));
            best = f64::min(best, (total - change).abs() / size.max(f64::MIN_POSITIVE));
            if best < 1e-2 {
                break;
            }
        }
        deviations.push(best);
    }
    Ok(Check {
        name: "completeness",
        description: "sum of integrated gradients against the change of the score, relative",
        measured: largest(deviations),
        tolerance: 5e-2,
    })
}

/// No knob moves the score; every knob that has sites moves the gradient.
pub fn knobs(model: &mut Model, prompts: &[Prompt]) -> Result<Vec<Check>, RuntimeError> {
    let rows = embedded(model, prompts)?;
    let calculus = model.gradients(&rows, &Knobs::GRADIENT)?;
    let audit = model.manifest().audit.clone();
    let has = |kind| audit.count(kind) > 0;
    // For x > 0 both relu'(x) and relu(x) / x are 1: there is nothing for the secant to move.
    let curved = audit.sites.iter().any(|site| site.kind == SiteKind::Activation && site.operator != "Relu");
    let settings = [
        (Knobs { softmax_temperature: 2.0, ..Knobs::GRADIENT }, has(SiteKind::AttentionSoftmax)),
        (Knobs { norm_freeze: 1.0, ..Knobs::GRADIENT }, has(SiteKind::Norm)),
        (Knobs { product_share: 0.5, ..Knobs::GRADIENT }, has(SiteKind::ActivationProduct)),
        (Knobs { attention_path: 0.0, ..Knobs::GRADIENT }, has(SiteKind::AttentionSoftmax)),
        (Knobs { activation_secant: 1.0, ..Knobs::GRADIENT }, curved),
    ];
    let mut moved_scores = Vec::new();
    let mut idle = 0;
    for (knobs, can_move) in settings {
        let changed = model.gradients(&rows, &knobs)?;
        let mut most: f64 = 0.0;
        for (a, b) in changed.iter().zip(&calculus) {
            moved_scores.push(f64::from((a.score - b.score).abs()));
            most = most.max(relative(&a.gradient, &b.gradient));
        }
        if can_move && most < 1e-6 {
            idle += 1;
        }
    }
    Ok(vec![
        Check {
            name: "knobs leave the score",
            description: "score at any knob against the score at calculus knobs",
            measured: largest(moved_scores),
            tolerance: 0.0,
        },
        Check {
            name: "knobs move the gradient",
            description: "knobs that have sites and change no gradient",
            measured: f64::from(idle),
            tolerance: 0.0,
        },
    ])
}

/// The runtime's optimizations change nothing but digits.
pub fn optimization(model: &mut Model, plain: &mut Model, prompts: &[Prompt]) -> Checked {
    let rows = embedded(model, prompts)?;
    let (a, b) = (model.gradients(&rows, &Knobs::GIM)?, plain.gradients(&rows, &Knobs::GIM)?);
    let mut deviations: Vec<f64> = a.iter().zip(&b).map(|(a, b)| relative(&a.gradient, &b.gradient)).collect();
    let rows: Vec<Row> = prompts.iter().map(|prompt| prompt.row.clone()).collect();
    for (a, b) in model.logits(&rows)?.iter().zip(plain.logits(&rows)?) {
        let difference: Vec<f32> = a.iter().zip(b.iter()).map(|(a, b)| a - b).collect();
        deviations.push(norm(&difference) / norm(b.iter()).max(f64::MIN_POSITIVE));
    }
    let (a, b) = (model.attention(&rows)?, plain.attention(&rows)?);
    for (a, b) in a.iter().zip(&b) {
        let rows = |x: &ndarray::Array4<f32>| x.to_shape((x.len(), 1)).map(|x| x.to_owned());
        if let (Ok(a), Ok(b)) = (rows(a), rows(b)) {
            deviations.push(relative(&a, &b));
        }
    }
    Ok(Check {
        name: "optimization",
        description: "gradients, logits and attention with the runtime's optimizations on against off, relative",
        measured: largest(deviations),
        tolerance: 1e-4,
    })
}
