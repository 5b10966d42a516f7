//! The training loop: AdamW with warm-up and cosine decay, gradients of two halves of a batch computed side by side.

use std::thread;
use std::time::Instant;

use anyhow::{Result, anyhow};
use candle_core::backprop::GradStore;
use candle_core::{D, Device, Tensor};
use candle_nn::{AdamW, Optimizer, ParamsAdamW};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::batch::{Batch, Row, Source, blank, copy_row, text_row};
use crate::evaluate::{Example, accuracy};
use crate::model::{Config, Model};
use crate::texts::Level;
use crate::vocabulary::Vocabulary;

/// Halves of a batch, one a thread. A constant, not the number of cores: the order of summation, and with it the
/// weights, must not depend on the machine's size.
const SHARDS: usize = 2;

#[derive(Debug, Clone)]
pub struct Recipe {
    pub seed: u64,
    pub steps: usize,
    /// For how many steps nothing but copying is practised, on how many rows of how many tokens.
    pub copying: usize,
    pub copying_rows: usize,
    pub copying_length: usize,
    /// Up to which step all texts are easy, and from which all are full; between, their share falls evenly.
    pub easy_until: usize,
    pub full_from: usize,
    /// From which step on tokens are blanked: in how many rows, and at most how many of a row's tokens (the share is
    /// drawn evenly from nothing to that).
    pub blank_from: usize,
    pub blank_rows: f64,
    pub blank_share: f64,
    /// Questions asked about a context, one after the other.
    pub questions: usize,
    /// What the prediction of a token that is no answer counts, beside 1 for an answer.
    pub other: f32,
    pub learning_rate: f64,
    pub warm_up: usize,
    pub clip: f64,
    /// Standard deviation of the weights that training starts from.
    pub initial_scale: f64,
}

impl Recipe {
    fn learning_rate_at(&self, step: usize) -> f64 {
        if step < self.warm_up {
            return self.learning_rate * (step + 1) as f64 / self.warm_up as f64;
        }
        let done = (step - self.warm_up) as f64 / (self.steps - self.warm_up) as f64;
        self.learning_rate * (0.02 + 0.98 * 0.5 * (1.0 + (std::f64::consts::PI * done).cos()))
    }

    /// The share of easy texts.
    fn easy_at(&self, step: usize) -> f64 {
        let done = (step as f64 - self.easy_until as f64) / (self.full_from - self.easy_until) as f64;
        1.0 - done.clamp(0.0, 1.0)
    }

    /// The rows of a step, dealt out to the shards.
    fn rows_at(
        &self,
        step: usize,
        sources: &[Source],
        vocabulary: &Vocabulary,
        rng: &mut ChaCha8Rng,
    ) -> Result<Vec<Vec<Row>>> {
        let mut rows = Vec::new();
        if step < self.copying {
            rows.extend((0..self.copying_rows).map(|_| copy_row(vocabulary, rng, self.copying_length)));
        } else {
            for source in sources {
                for _ in 0..source.rows {
                    let level = if rng.random_bool(self.easy_at(step)) { Level::Easy } else { Level::Full };
                    let mut row = text_row(source, vocabulary, rng, self.questions, level, self.other)?;
                    if step >= self.blank_from && rng.random_bool(self.blank_rows) {
                        let share = rng.random_range(0.0..self.blank_share);
                        blank(&mut row, rng, share);
                    }
                    rows.push(row);
                }
            }
        }
        let mut shards: Vec<Vec<Row>> = (0..SHARDS).map(|_| Vec::new()).collect();
        for (index, row) in rows.into_iter().enumerate() {
            shards[index % SHARDS].push(row);
        }
        Ok(shards)
    }
}

/// Trains a model; `probes` are examples to print progress on.
pub fn train(
    recipe: &Recipe,
    config: Config,
    sources: &[Source],
    vocabulary: &Vocabulary,
    probes: &[(&str, Vec<Example>)],
) -> Result<Model> {
    let mut rng = ChaCha8Rng::seed_from_u64(recipe.seed);
    let model = Model::random(config, recipe.initial_scale, &mut rng)?;
    let variables: Vec<_> = model.weights().values().cloned().collect();
    let mut optimizer =
        AdamW::new(variables, ParamsAdamW { lr: 0.0, beta1: 0.9, beta2: 0.98, eps: 1e-8, weight_decay: 0.01 })?;
    let started = Instant::now();
    let mut running = 0.0;
    for step in 0..recipe.steps {
        let shards = recipe.rows_at(step, sources, vocabulary, &mut rng)?;
        let batches: Vec<Batch> = shards.iter().map(|rows| Batch::of(rows)).collect();
        let total: f32 = batches.iter().flat_map(|batch| &batch.weights).sum();
        let results = thread::scope(|scope| {
            let workers: Vec<_> = batches.iter().map(|batch| scope.spawn(|| gradients(&model, batch, total))).collect();
            workers
                .into_iter()
                .map(|worker| worker.join().map_err(|_| anyhow!("a training thread panicked"))?)
                .collect::<Result<Vec<_>>>()
        })?;
        let loss: f32 = results.iter().map(|(loss, _)| loss).sum();
        let gradients =
            clipped_sum(&model, results.into_iter().map(|(_, gradients)| gradients).collect(), recipe.clip)?;
        optimizer.set_learning_rate(recipe.learning_rate_at(step));
        optimizer.step(&gradients)?;
        running += loss;
        if (step + 1) % 100 == 0 {
            let mut line =
                format!("step {:5}  {:6.1} s  loss {:.4}", step + 1, started.elapsed().as_secs_f64(), running / 100.0);
            running = 0.0;
            for (task, examples) in probes {
                line += &format!("  {task} {:.3}", accuracy(&model, examples)?);
            }
            eprintln!("{line}");
        }
    }
    Ok(model)
}

/// The weighted cross-entropy of a batch over `total`, and its gradients.
fn gradients(model: &Model, batch: &Batch, total: f32) -> Result<(f32, GradStore)> {
    let logits = model.logits(&batch.ids, batch.rows, &batch.positions)?;
    let targets = Tensor::new(&batch.targets[..], &Device::Cpu)?.unsqueeze(1)?;
    let weights = Tensor::new(&batch.weights[..], &Device::Cpu)?.unsqueeze(1)?;
    let chosen = candle_nn::ops::log_softmax(&logits, D::Minus1)?.gather(&targets, 1)?;
    let loss = ((chosen * weights)?.sum_all()? * (-1.0 / f64::from(total)))?;
    let gradients = loss.backward()?;
    Ok((loss.to_scalar()?, gradients))
}

/// The sum over shards of each weight's gradient, scaled down together where their norm is above `clip`.
fn clipped_sum(model: &Model, shards: Vec<GradStore>, clip: f64) -> Result<GradStore> {
    let mut shards = shards.into_iter();
    let mut sum = shards.next().ok_or_else(|| anyhow!("no shards"))?;
    let mut square = 0.0;
    let rest: Vec<GradStore> = shards.collect();
    for weight in model.weights().values() {
        let mut gradient = sum.remove(weight).ok_or_else(|| anyhow!("a weight has no gradient"))?;
        for other in &rest {
            gradient = (gradient + other.get(weight).ok_or_else(|| anyhow!("a weight has no gradient"))?)?;
        }
        square += f64::from(gradient.sqr()?.sum_all()?.to_scalar::<f32>()?);
        sum.insert(weight, gradient);
    }
    let scale = (clip / square.sqrt()).min(1.0);
    if scale < 1.0 {
        for weight in model.weights().values() {
            if let Some(gradient) = sum.remove(weight) {
                sum.insert(weight, (gradient * scale)?);
            }
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_learning_rate_rises_and_falls_and_easy_texts_run_out() {
        let recipe = crate::recipe(1);
        assert!(recipe.learning_rate_at(0) < recipe.learning_rate_at(recipe.warm_up));
        assert!(recipe.learning_rate_at(recipe.steps - 1) < 0.05 * recipe.learning_rate);
        assert_eq!((recipe.easy_at(0), recipe.easy_at(recipe.full_from)), (1.0, 0.0));
    }
}
