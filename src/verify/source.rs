//! Checks of a bundle against what it was made from.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::sync::Arc;

use ndarray::{Array2, ArrayD, Axis, IxDyn};

use super::checks::{DERIVATIVE, EXACT, Evidence, row_deviation};
use super::exact::{Exact, prompts};
use super::reference::array::softmax;
use super::reference::definition::{Sizes, program};
use super::reference::machine::Machine;
use super::reference::{ReferenceError, WeightFile};
use super::sample::Sample;
use super::{Check, VerifyError, weight_file};
use crate::bundle::OpenedBundle;
use crate::bundle::graphs::forward;
use crate::bundle::manifest::{ComputeType, WEIGHT_FILE};
use crate::bundle::source::ForwardModel;
use crate::files;
use crate::runtime::{Graph, Runtime, RuntimeError, Session, SessionOptions, Tensor, Watch};

/// The weight file holds the source's tensors, read a second time.
pub fn weights(runtime: &Runtime, source: &ForwardModel, bundle: &OpenedBundle) -> Result<Check, VerifyError> {
    let path = bundle.path().join(WEIGHT_FILE);
    let read = |source| VerifyError::Read { path: path.clone(), source };
    let file = files::open(&path, files::WEIGHTS).map_err(read)?;
    let file = BufReader::with_capacity(1 << 20, file);
    let mut compared =
        Compared { file, buffer: Vec::new(), different: 0, watch: runtime.watch().map(|watch| &**watch) };
    let copied = source.weights.write(&mut compared, &mut |_| {});
    copied.map_err(|error| match compared.is_interrupted() {
        true => RuntimeError::Interrupted.into(),
        false => VerifyError::Copy(error),
    })?;
    let rest = io::copy(&mut compared.file, &mut io::sink()).map_err(read)?;
    Ok(Check {
        name: "weights",
        description: "bytes of weights.bin that are not the source's",
        measured: (compared.different + rest) as f64,
        tolerance: 0.0,
        advice: "the disk or the source changed while baking: bake again",
    })
}

/// A writer that compares what it is given with a file.
struct Compared<'a> {
    file: BufReader<File>,
    buffer: Vec<u8>,
    different: u64,
    /// What ends the comparison.
    watch: Option<&'a Watch>,
}

impl Compared<'_> {
    fn is_interrupted(&self) -> bool {
        self.watch.is_some_and(Watch::is_interrupted)
    }
}

impl Write for Compared<'_> {
    fn write(&mut self, given: &[u8]) -> io::Result<usize> {
        // Not `ErrorKind::Interrupted`: that asks writers to try again.
        if self.is_interrupted() {
            return Err(io::Error::other("interrupted"));
        }
        self.buffer.resize(given.len(), 0);
        let mut read = 0;
        while read < given.len() {
            match self.file.read(&mut self.buffer[read..]) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let differing = given.iter().zip(&self.buffer[..read]).filter(|(a, b)| a != b).count();
        self.different += (differing + given.len() - read) as u64;
        Ok(given.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The written forward graph computes what the model is by the definitions of its norms, activations and rotations, at the
/// position that is asked for.
pub fn definition(
    runtime: &Runtime,
    source: &ForwardModel,
    bundle: &OpenedBundle,
    evidence: &Evidence,
) -> Result<Check, VerifyError> {
    let machine = Machine { runtime, single: false };
    let defined = defined(&machine, source, &weight_file(bundle)?, &evidence.sample)?;
    Ok(Check {
        name: "definition",
        description: "logits of forward.onnx against the model by the definitions of its layers, in double precision",
        measured: row_deviation(&evidence.logits, &defined),
        tolerance: match bundle.manifest.compute_type().unwrap_or_default() {
            ComputeType::F32 | ComputeType::F16 => EXACT,
            // The definitions have their numbers as f32 does.
            ComputeType::F64 => EXACT + DERIVATIVE,
        },
        advice: "a fault of this program, not of the model: please report it with the model's name",
    })
}

fn defined(
    machine: &Machine,
    source: &ForwardModel,
    weights: &Arc<WeightFile>,
    sample: &Sample,
) -> Result<ArrayD<f64>, VerifyError> {
    let sizes = Sizes { batch: sample.lengths.len(), seq: sample.width() };
    let (locations, _) = source.weights.locations();
    let fail = |problem: String| {
        VerifyError::from(ReferenceError { graph: source.path.clone(), node: String::new(), problem })
    };
    // Where the file takes the last place itself, the scored one is taken in its stead, as in the bundle.
    let program = if source.last_places.is_empty() {
        program(&source.graph, source.logits, "logits", sizes, weights, &locations).map_err(fail)?
    } else {
        let baked = forward(source).map_err(|error| fail(error.to_string()))?;
        let [(_, logits)] = baked.outputs[..] else { return Err(fail("has no logits".to_owned())) };
        program(&baked.graph, logits, "logits", sizes, weights, &locations).map_err(fail)?
    };
    let logits = Exact::built(&source.path, program).one(machine, &prompts(sample), "logits")?;
    if logits.ndim() == 2 {
        return Ok(logits);
    }
    // Of a classifier the first token's row counts.
    let rows = logits.outer_iter().zip(&sample.position).map(|(logits, &position)| {
        let position = if source.labels.is_some() { 0 } else { position as usize };
        logits.index_axis(Axis(0), position.min(logits.len_of(Axis(0)).saturating_sub(1))).to_owned()
    });
    let rows: Vec<_> = rows.collect();
    let width = rows.first().map_or(0, |row| row.len());
    let elements = rows.iter().flat_map(|row| row.iter().copied()).collect();
    ArrayD::from_shape_vec(IxDyn(&[rows.len(), width]), elements).map_err(|error| fail(error.to_string()))
}

/// What a forward file gives, run as it is, against the graph that was made of it. `None` where its inputs are more than a
/// text, or it does not run alone.
///
/// A file may compute in half precision, and what it was read as does not: it is the model that is compared here, not its
/// digits.
pub fn original(
    runtime: &Runtime,
    source: &ForwardModel,
    bundle: &OpenedBundle,
    options: &SessionOptions,
    seed: u64,
) -> Result<Option<Check>, VerifyError> {
    if source.kind != "onnx" {
        return Ok(None);
    }
    let weights = weight_file(bundle)?;
    let sample = Sample::random(&bundle.manifest, &[7], seed);
    let Some(found) = run_alone(runtime, source, &sample, options) else { return Ok(None) };
    let machine = Machine { runtime, single: false };
    let forward = Exact::read(bundle, Graph::Forward, &weights)?;
    let logits = forward.one(&machine, &prompts(&sample), "logits")?;
    // A file may end in a softmax or a sigmoid that was cut off.
    let (softmax, sigmoid) = (softmax(&logits, 1), logits.mapv(|x| 1.0 / (1.0 + (-x).exp())));
    let logarithms = [softmax.mapv(f64::ln), sigmoid.mapv(f64::ln)];
    let readings = [logits, softmax, sigmoid].into_iter().chain(logarithms);
    let deviations = readings.map(|reading| row_deviation(&found, &reading));
    Ok(Some(Check {
        name: "source file",
        description: "logits of forward.onnx against what ONNX Runtime computes of the source as it is",
        measured: deviations.fold(f64::NAN, f64::min),
        tolerance: 5e-2,
        advice: "the file was understood as another model than it is: a fault of this program; please report it with the \
                 file's exporter and its version",
    }))
}

/// The row of logits of the only prompt, `[1, vocab]`.
fn run_alone(
    runtime: &Runtime,
    source: &ForwardModel,
    sample: &Sample,
    options: &SessionOptions,
) -> Option<ArrayD<f64>> {
    let mut session = Session::open(runtime, &source.path, options).ok()?;
    let names: Vec<String> = session.input_names().map(str::to_owned).collect();
    let places = Array2::from_shape_fn(sample.ids.raw_dim(), |(_, at)| at as i64);
    let inputs = names.iter().map(|name| {
        let tensor = match name.as_str() {
            "input_ids" => sample.ids.clone(),
            "attention_mask" => sample.mask(),
            "position_ids" => places.clone(),
            "token_type_ids" => Array2::zeros(sample.ids.raw_dim()),
            _ => return None,
        };
        Some((name.as_str(), Tensor::from(tensor)))
    });
    let outputs = session.run(&inputs.collect::<Option<Vec<_>>>()?).ok()?;
    let Tensor::F32(logits) = outputs.get(source.output.as_deref()?)? else { return None };
    let logits = logits.mapv(f64::from);
    let row = match logits.ndim() {
        2 => logits,
        3 => {
            let position = if source.labels.is_some() { 0 } else { sample.width() - 1 };
            // A file may give the last place alone.
            let places = logits.len_of(Axis(1));
            logits.index_axis_move(Axis(1), position.min(places.checked_sub(1)?))
        }
        _ => return None,
    };
    Some(row)
}
