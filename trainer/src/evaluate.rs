//! Accuracy on the test records, by the product's rule: an answer is right when its token has the highest logit among
//! the options' tokens, or in the whole vocabulary where a task has no options.

use anyhow::{Result, ensure};
use candle_core::Tensor;

use crate::model::Model;
use crate::task::{Task, fill};
use crate::texts::Fields;
use crate::vocabulary::Vocabulary;

/// A test record as the model sees it.
pub struct Example {
    pub ids: Vec<u32>,
    pub answer: u32,
    pub options: Vec<u32>,
}

pub fn example(task: &Task, fields: &Fields, vocabulary: &Vocabulary) -> Result<Example> {
    Ok(Example {
        ids: vocabulary.encode(&fill(&task.prompt, fields)?, true)?,
        answer: vocabulary.single(&task.answer(fields)?)?,
        options: task.options().map(|text| vocabulary.single(text)).collect::<Result<_>>()?,
    })
}

/// The fraction of right answers.
pub fn accuracy(model: &Model, examples: &[Example]) -> Result<f64> {
    ensure!(!examples.is_empty(), "no examples");
    let mut right = 0;
    for example in examples {
        let last = example.ids.len() as u32 - 1;
        let logits: Tensor = model.logits(&example.ids, 1, &[last])?;
        let logits: Vec<f32> = logits.flatten_all()?.to_vec1()?;
        let everything = (0..logits.len() as u32).collect();
        let options = if example.options.is_empty() { &everything } else { &example.options };
        let best = options.iter().max_by(|&&a, &&b| logits[a as usize].total_cmp(&logits[b as usize]));
        right += usize::from(best == Some(&example.answer));
    }
    Ok(right as f64 / examples.len() as f64)
}
