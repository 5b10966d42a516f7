//! What one training step sees: rows of tokens, and how much each prediction of a next token counts.

use std::collections::HashSet;

use anyhow::Result;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::task::Task;
use crate::texts::{Generator, Level};
use crate::vocabulary::{BEGIN, PAD, Vocabulary};

/// A task's training texts.
pub struct Source {
    pub generator: &'static dyn Generator,
    pub task: Task,
    /// The contexts of the test set, which training must not see.
    pub held_out: HashSet<String>,
    /// Rows of this task in a training step.
    pub rows: usize,
}

/// A token sequence; `weight[i]` is what the prediction of token `i + 1` at position `i` counts in the loss.
pub struct Row {
    pub ids: Vec<u32>,
    pub weight: Vec<f32>,
}

/// A context followed by its questions and their answers. Answers count 1, everything else `other`.
pub fn text_row(
    source: &Source,
    vocabulary: &Vocabulary,
    rng: &mut ChaCha8Rng,
    questions: usize,
    level: Level,
    other: f32,
) -> Result<Row> {
    let text = loop {
        let case = rng.random_range(0..usize::MAX / 2);
        let text = source.generator.text(rng, case, questions, level);
        if !source.held_out.contains(&text.context) {
            break text;
        }
    };
    let mut ids = vocabulary.encode(&text.context, true)?;
    let mut answers = Vec::new();
    for question in &text.questions {
        ids.extend(vocabulary.encode(&source.task.question(&question.fields)?, false)?);
        answers.push(ids.len());
        ids.push(vocabulary.single(&source.task.answer(&question.fields)?)?);
        ids.push(vocabulary.single(".")?);
    }
    let mut weight = vec![other; ids.len()];
    weight[ids.len() - 1] = 0.0;
    for &answer in &answers {
        weight[answer - 1] = 1.0;
    }
    Ok(Row { ids, weight })
}

/// Random words, repeated up to `length` tokens: learning to go on with them teaches attention to find what followed a
/// token the last time, which every task needs. The period differs from row to row, or looking back a fixed number of tokens
/// would do.
pub fn copy_row(vocabulary: &Vocabulary, rng: &mut ChaCha8Rng, length: usize) -> Row {
    let period = rng.random_range(3..=length / 2);
    let words: Vec<u32> = (0..period).map(|_| rng.random_range(vocabulary.ordinary())).collect();
    let ids: Vec<u32> = [BEGIN].into_iter().chain(words.into_iter().cycle()).take(length).collect();
    let mut weight = vec![0.0; length];
    weight[period + 1..length - 1].fill(1.0);
    Row { ids, weight }
}

/// Puts the pad token in the place of a share of the tokens. Without it, taking a token away would show the model
/// something it never saw. Answers stay, as does the begin-of-text token.
pub fn blank(row: &mut Row, rng: &mut ChaCha8Rng, share: f64) {
    for position in 1..row.ids.len() {
        let is_answer = row.weight[position - 1] == 1.0;
        if !is_answer && rng.random_bool(share) {
            row.ids[position] = PAD;
            // Nothing is learnt from predicting that a token is missing.
            row.weight[position - 1] = 0.0;
        }
    }
}

/// Rows of one length, padded on the right, flattened.
pub struct Batch {
    pub ids: Vec<u32>,
    pub rows: usize,
    /// Flattened positions whose prediction counts, the token each should predict, and its weight.
    pub positions: Vec<u32>,
    pub targets: Vec<u32>,
    pub weights: Vec<f32>,
}

impl Batch {
    pub fn of(rows: &[Row]) -> Batch {
        let length = rows.iter().map(|row| row.ids.len()).max().unwrap_or(0);
        let mut batch = Batch {
            ids: Vec::new(),
            rows: rows.len(),
            positions: Vec::new(),
            targets: Vec::new(),
            weights: Vec::new(),
        };
        for (index, row) in rows.iter().enumerate() {
            for (position, &weight) in row.weight.iter().enumerate().filter(|&(_, &weight)| weight > 0.0) {
                batch.positions.push((index * length + position) as u32);
                batch.targets.push(row.ids[position + 1]);
                batch.weights.push(weight);
            }
            batch.ids.extend_from_slice(&row.ids);
            batch.ids.resize((index + 1) * length, PAD);
        }
        batch
    }
}
