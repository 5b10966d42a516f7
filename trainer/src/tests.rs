//! What crosses the trainer's files: the committed texts, vocabulary and checkpoint belong together.

use std::collections::BTreeMap;

use rand::SeedableRng;

use super::*;
use crate::batch::text_row;
use crate::texts::Level;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn committed_texts_are_the_generators() -> Result<()> {
    let tasks = root().join("tasks");
    for generator in generators() {
        assert_eq!(Task::read(&tasks, generator.task())?.records(&tasks)?, test_set(generator));
    }
    Ok(())
}

#[test]
fn prompts_are_short_and_answers_are_one_token() -> Result<()> {
    let tasks = root().join("tasks");
    let sources = sources(&tasks)?;
    let vocabulary = vocabulary(&sources)?;
    for source in &sources {
        for record in source.task.records(&tasks)? {
            let example = example(&source.task, &record, &vocabulary)?;
            assert!((25..=70).contains(&example.ids.len()), "{} tokens: {record:?}", example.ids.len());
            assert!(example.options.is_empty() || example.options.contains(&example.answer));
        }
    }
    Ok(())
}

#[test]
fn training_rows_begin_like_test_prompts_and_avoid_test_contexts() -> Result<()> {
    let mut sources = sources(&root().join("tasks"))?;
    let vocabulary = vocabulary(&sources)?;
    for source in &mut sources {
        let record = test_records(source.generator, &mut ChaCha8Rng::seed_from_u64(9), 1).remove(0);
        let prompt = example(&source.task, &record, &vocabulary)?;
        let mut row = vocabulary.encode(record["context"].as_str().context("a context")?, true)?;
        row.extend(vocabulary.encode(&source.task.question(&record)?, false)?);
        assert_eq!(row, prompt.ids);

        // The first text of this stream, once it is held out, has to be passed over.
        let draw = |source: &Source| {
            text_row(source, &vocabulary, &mut ChaCha8Rng::seed_from_u64(9), 6, Level::Full, 0.1).map(|row| row.ids)
        };
        let first = draw(source)?;
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        let case = rand::RngExt::random_range(&mut rng, 0..usize::MAX / 2);
        source.held_out.insert(source.generator.text(&mut rng, case, 6, Level::Full).context);
        assert_ne!(first, draw(source)?);
        assert!(first.len() < config(&vocabulary).max_positions);
    }
    Ok(())
}

#[test]
fn training_is_deterministic_and_the_export_reads_back() -> Result<()> {
    let sources = sources(&root().join("tasks"))?;
    let vocabulary = vocabulary(&sources)?;
    // One step of copying, one of easy texts, one of full ones with blanks.
    let recipe = Recipe { steps: 3, copying: 1, easy_until: 1, full_from: 2, blank_from: 2, warm_up: 1, ..recipe(3) };
    let weights = |model: &model::Model| -> Result<BTreeMap<String, Vec<f32>>> {
        model.weights().iter().map(|(name, weight)| Ok((name.clone(), weight.flatten_all()?.to_vec1()?))).collect()
    };
    let model = train(&recipe, config(&vocabulary), &sources, &vocabulary, &[])?;
    let again = train(&recipe, config(&vocabulary), &sources, &vocabulary, &[])?;
    assert_eq!(weights(&model)?, weights(&again)?);

    let folder = std::env::temp_dir().join(format!("gim-harness-trainer-{}", std::process::id()));
    export::write(&folder, &model, &vocabulary)?;
    let (read, read_vocabulary) = export::read(&folder)?;
    fs::remove_dir_all(&folder)?;
    assert_eq!(weights(&model)?, weights(&read)?);
    assert_eq!((read.config, read_vocabulary.len()), (model.config, vocabulary.len()));
    Ok(())
}

#[test]
fn the_committed_checkpoint_answers_the_committed_texts() -> Result<()> {
    let tasks = root().join("tasks");
    let (model, vocabulary) = export::read(&root().join("models/demo"))?;
    for source in sources(&tasks)? {
        let records = source.task.records(&tasks)?;
        let examples: Vec<_> =
            records.iter().map(|record| example(&source.task, record, &vocabulary)).collect::<Result<_>>()?;
        let accuracy = accuracy(&model, &examples)?;
        assert!(examples.len() >= 300 && accuracy >= 0.95, "{}: {accuracy}", source.generator.task());
    }
    Ok(())
}
