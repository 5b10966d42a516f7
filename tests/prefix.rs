//! Scores of rows that are cut behind what they have in common with their prompt, against those of whole rows.

use std::path::{Path, PathBuf};

use gim_harness::bundle::bake::{BakeOptions, bake};
use gim_harness::runtime::{
    Change, Graph, Model, PrefixCache, Prompt, Row, Runtime, RuntimeOptions, Score, SessionOptions,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn open(bundle: &Path, prefix_cache: PrefixCache, options: &SessionOptions) -> Model {
    let runtime = Runtime::open(&RuntimeOptions::default(), &|line| eprintln!("{line}")).unwrap();
    let options = SessionOptions { threads: Some(1), reuse_bytes: 0, prefix_cache, ..options.clone() };
    Model::open(&runtime, bundle, &options).unwrap()
}

/// Rows of some prompts: tokens replaced or hidden from every place on, asked at several positions, in no order.
fn rows(model: &Model, lengths: &[usize]) -> Vec<Row> {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let dimensions = &model.manifest().dimensions;
    let vocab = dimensions.vocab as i64;
    let mut rows = Vec::new();
    for &length in lengths {
        let length = length.min(dimensions.max_positions.unwrap_or(length));
        let prompt = Prompt::new((0..length).map(|_| random.random_range(0..vocab)).collect());
        for first in 0..length {
            let more = random.random_range(0..3);
            let places: Vec<usize> = (0..more).map(|_| random.random_range(first..length)).chain([first]).collect();
            let kind = match first % 3 {
                0 => Change::Masked,
                _ => Change::Token(random.random_range(0..vocab)),
            };
            let last = if first % 4 == 1 { random.random_range(first..length) } else { length - 1 };
            // Without the token that is asked at there is nothing to score.
            let places: Vec<usize> =
                places.into_iter().filter(|&place| kind != Change::Masked || place != last).collect();
            rows.push(Row::new(prompt.clone(), last).changed(&places, kind));
        }
    }
    let ahead: Vec<Row> = rows.iter().step_by(2).cloned().collect();
    let behind: Vec<Row> = rows.iter().skip(1).step_by(2).rev().cloned().collect();
    [behind, ahead].concat()
}

/// The largest deviation of a logit, relative to the size of the row's logits.
fn deviation(whole: &[std::sync::Arc<[f32]>], cut: &[std::sync::Arc<[f32]>]) -> f64 {
    let row = |(a, b): (&std::sync::Arc<[f32]>, &std::sync::Arc<[f32]>)| {
        let square = |x: f32| f64::from(x).powi(2);
        let difference: f64 = a.iter().zip(b.iter()).map(|(a, b)| square(a - b)).sum();
        (difference / a.iter().map(|&x| square(x)).sum::<f64>()).sqrt()
    };
    assert_eq!(whole.len(), cut.len());
    whole.iter().zip(cut).map(row).fold(0.0, |most, next| if next.is_nan() || next > most { next } else { most })
}

#[test]
fn every_architecture_scores_behind_a_prefix_as_it_scores_whole_rows() {
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(fixtures().join("architectures")).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.push(fixtures().join("llama-a"));
    folders.sort();
    let mut without = Vec::new();
    for folder in folders {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let place = tempfile::tempdir().unwrap();
        let bundle = place.path().join("bundle");
        let manifest = bake(&folder, &bundle, &BakeOptions::default(), &mut |_, _| {}).unwrap();
        if let Some(reason) = manifest.absent.get(Graph::ForwardCached.file()) {
            println!("{name:16} {reason}");
            without.push(name);
            continue;
        }
        let standard = SessionOptions::default();
        let mut whole = open(&bundle, PrefixCache::Never, &standard);
        let rows = rows(&whole, &[5, 37, 24]);
        let expected = whole.logits(&rows).unwrap();
        assert_eq!(whole.counters().prefix_tokens_saved, 0, "{name}");
        let mut cut = open(&bundle, PrefixCache::Always, &standard);
        let found = cut.logits(&rows).unwrap();
        let deviation = deviation(&expected, &found);
        println!("{name:16} {deviation:.1e}, {} tokens saved", cut.counters().prefix_tokens_saved);
        assert!(deviation < 1e-5, "{name}: {deviation}");
        assert!(cut.counters().prefix_tokens_saved > 500, "{name}: {:?}", cut.counters());
    }
    // Those that look ahead, and those whose rotation hangs on the length.
    assert_eq!(
        without,
        [
            "bert-a",
            "bert-quick",
            "gemma3-both",
            "gpt_neox-odd",
            "llama-dynamic",
            "mistral-both",
            "phi3-longrope",
            "roberta-a"
        ]
    );
}

/// What reuse and resuming stand on: neither the batch, nor the order, nor what is held moves a bit.
#[test]
fn scores_behind_a_prefix_are_the_rows_own() {
    let place = tempfile::tempdir().unwrap();
    let bundle = place.path().join("bundle");
    bake(&fixtures().join("llama-a"), &bundle, &BakeOptions::default(), &mut |_, _| {}).unwrap();
    for prepacking in [true, false] {
        let options = SessionOptions { prepacking: Some(prepacking), ..SessionOptions::default() };
        let mut model = open(&bundle, PrefixCache::Always, &options);
        let rows = rows(&model, &[37, 24, 1, 2, 3]);
        let tokens = [0, 3, 5];
        let together = model.scores(&rows, &tokens).unwrap();
        let mut reversed = rows.clone();
        reversed.reverse();
        for batch_tokens in [1, 50, usize::MAX] {
            let options = SessionOptions { batch_tokens, ..options.clone() };
            let mut found = open(&bundle, PrefixCache::Always, &options).scores(&reversed, &tokens).unwrap();
            found.reverse();
            assert_eq!(found, together, "{prepacking} {batch_tokens}");
        }
        let mut alone = open(&bundle, PrefixCache::Always, &options);
        let one_by_one: Vec<Score> = rows
            .iter()
            .map(|row| {
                alone.forget();
                alone.scores(std::slice::from_ref(row), &tokens).unwrap().remove(0)
            })
            .collect();
        assert_eq!(one_by_one, together, "{prepacking}");
    }
}

#[test]
fn small_models_score_whole_rows() {
    let place = tempfile::tempdir().unwrap();
    let bundle = place.path().join("bundle");
    bake(&fixtures().join("llama-a"), &bundle, &BakeOptions::default(), &mut |_, _| {}).unwrap();
    let mut model = open(&bundle, PrefixCache::Auto, &SessionOptions::default());
    let rows = rows(&model, &[37]);
    model.scores(&rows, &[0]).unwrap();
    assert!(!model.is_loaded(Graph::ForwardCached));
    assert_eq!(model.counters().prefix_tokens, 0);
}
