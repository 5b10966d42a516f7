//! One graph, ready to run: a thin layer over `ort` that speaks in owned arrays.

use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};

use ndarray::{Array, ArrayD, CowArray, Dimension, IxDyn};
use ort::session::SessionInputValue;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::{DynValue, PrimitiveTensorElementType, TensorElementType, TensorRef, ValueType};
use prost::Message;

use super::error::RuntimeError;
use super::library::Runtime;
use super::placement::{Listener, Placement};
use super::prefix::PrefixCache;
use super::residency::mappings_change;
use super::reuse;
use crate::device::Device;
use crate::onnx::write::{Export, to_model};
use crate::onnx::{Dtype, Graph, GraphError};

/// Where external data of a graph lies that is loaded from memory.
const FOLDER_OF_EXTERNAL_DATA: &str = "session.model_external_initializers_file_folder_path";

/// That a session's threads do not wait for the next run by counting. Graphs take turns, each has threads of its own, and those of one
/// would count on the cores that the next one needs, for tens of milliseconds.
const STOP_SPINNING: &str = "session.force_spinning_stop";

/// That numbers too small to be normal count as zero. On the way to the zero that a masked score becomes, a softmax has such a number, and
/// a processor takes many times as long over them: 4 to 11 % of a gradient. Threads of a session keep to its own setting; the thread that runs it,
/// and threads that come out of that one, to the setting of the first session of the process, so [`first`] opens one at once.
const SMALL_IS_ZERO: &str = "session.set_denormal_as_zero";

/// How much ONNX Runtime may rewrite a graph before running it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Optimization {
    /// Everything it knows, as for a run.
    #[default]
    All,
    /// Nothing: the nodes run as they are written.
    Disable,
}

/// How to open sessions, and how [`Model`](super::Model) feeds them.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionOptions {
    pub device: Device,
    /// Threads inside one operator; `None`: as many as the process may use, of gradients of a [small](super::Model::is_small)
    /// model one.
    pub threads: Option<usize>,
    /// Whether weights are copied into the layout that products like best; `None`: as memory allows. Without it they stay
    /// pages of `weights.bin` that all sessions share.
    pub prepacking: Option<bool>,
    pub optimization: Optimization,
    /// Plan memory once for each input shape. Rows come in many shapes, and every plan is kept: off by default.
    pub memory_pattern: bool,
    /// Keep what a run allocated for the next one. Without it a session holds no memory between runs, and takes no more
    /// in one than its tensors need, where an arena grows by doubling; runs take longer. For the CPU only.
    pub arena: bool,
    /// Upper bound of rows times sequence length in one batch. A single longer row still runs.
    pub batch_tokens: usize,
    /// Let rows of different length share a batch, padded on the right to the longest: fewer batches where lengths
    /// vary, but the last digits of a score may then hang on what else is in its batch. Off by default; the perturbed
    /// rows of one text have one length.
    pub padding: bool,
    /// Upper bound in bytes of the scores that are remembered for repeated rows, with all that goes with them; 0 turns
    /// that off. 256 MiB, or an eighth of the memory available where that is less.
    pub reuse_bytes: usize,
    /// Whether what rows have in common with their prompt is computed once.
    pub prefix_cache: PrefixCache,
    /// Bytes that a single row may take by estimate; `None`: what the machine has when it is to be run. A row that would
    /// take more is not tried: a system that promises more memory than it has ends the process rather than refuse.
    pub row_bytes: Option<u64>,
}

impl Default for SessionOptions {
    fn default() -> Self {
        SessionOptions {
            device: Device::Cpu,
            threads: None,
            prepacking: None,
            optimization: Optimization::All,
            memory_pattern: false,
            arena: true,
            batch_tokens: 4096,
            padding: false,
            reuse_bytes: reuse::standard_limit(),
            prefix_cache: PrefixCache::Auto,
            row_bytes: None,
        }
    }
}

impl SessionOptions {
    /// The number of threads that is meant.
    pub fn thread_count(&self) -> usize {
        self.threads
            .filter(|&threads| threads > 0)
            .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get))
    }
}

/// An array that goes into a graph or comes out of it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Tensor {
    F32(ArrayD<f32>),
    F64(ArrayD<f64>),
    I64(ArrayD<i64>),
    I32(ArrayD<i32>),
    Bool(ArrayD<bool>),
}

macro_rules! tensor_kind {
    ($kind:ident, $element:ty) => {
        impl<D: Dimension> From<Array<$element, D>> for Tensor {
            fn from(array: Array<$element, D>) -> Self {
                Tensor::$kind(array.into_dyn())
            }
        }

        impl From<$element> for Tensor {
            /// A tensor of rank 0.
            fn from(value: $element) -> Self {
                Tensor::$kind(ndarray::arr0(value).into_dyn())
            }
        }
    };
}
tensor_kind!(F32, f32);
tensor_kind!(F64, f64);
tensor_kind!(I64, i64);
tensor_kind!(I32, i32);
tensor_kind!(Bool, bool);

impl Tensor {
    pub fn shape(&self) -> &[usize] {
        match self {
            Tensor::F32(array) => array.shape(),
            Tensor::F64(array) => array.shape(),
            Tensor::I64(array) => array.shape(),
            Tensor::I32(array) => array.shape(),
            Tensor::Bool(array) => array.shape(),
        }
    }

    /// The name of the element type, as a bundle's manifest writes it.
    pub fn dtype(&self) -> &'static str {
        match self {
            Tensor::F32(_) => "f32",
            Tensor::F64(_) => "f64",
            Tensor::I64(_) => "i64",
            Tensor::I32(_) => "i32",
            Tensor::Bool(_) => "bool",
        }
    }

    fn of_value(value: &DynValue) -> Result<Tensor, String> {
        fn owned<T: PrimitiveTensorElementType + Clone>(value: &DynValue) -> Result<ArrayD<T>, String> {
            let (shape, data) = value.try_extract_tensor::<T>().map_err(|error| error.to_string())?;
            let shape: Vec<usize> = shape
                .iter()
                .map(|&size| usize::try_from(size).map_err(|_| format!("of negative size {size}")))
                .collect::<Result<_, _>>()?;
            // What ONNX Runtime had the memory for there may be none to copy.
            let mut copy = Vec::new();
            copy.try_reserve_exact(data.len())
                .map_err(|_| format!("cannot allocate memory for {} numbers", data.len()))?;
            copy.extend_from_slice(data);
            ArrayD::from_shape_vec(IxDyn(&shape), copy).map_err(|error| error.to_string())
        }
        match value.dtype() {
            ValueType::Tensor { ty, .. } => match ty {
                TensorElementType::Float32 => owned(value).map(Tensor::F32),
                TensorElementType::Float64 => owned(value).map(Tensor::F64),
                TensorElementType::Int64 => owned(value).map(Tensor::I64),
                TensorElementType::Int32 => owned(value).map(Tensor::I32),
                TensorElementType::Bool => owned(value).map(Tensor::Bool),
                other => Err(format!("a tensor of {other}")),
            },
            other => Err(format!("{other}")),
        }
    }
}

/// The arrays of one run, by name, in the order of the graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Outputs {
    graph: PathBuf,
    values: Vec<(String, Tensor)>,
}

impl Outputs {
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.values.iter().find(|(output, _)| output == name).map(|(_, tensor)| tensor)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.values.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Takes out an f32 output of exactly this shape.
    ///
    /// # Errors
    /// [`RuntimeError::Output`] when there is none such.
    pub fn take_f32(&mut self, name: &str, shape: &[usize]) -> Result<ArrayD<f32>, RuntimeError> {
        let found = match self.values.iter().position(|(output, _)| output == name) {
            None => "absent".to_owned(),
            Some(index) => match self.values.swap_remove(index).1 {
                Tensor::F32(array) if array.shape() == shape => return Ok(array),
                other => format!("{} {:?}", other.dtype(), other.shape()),
            },
        };
        Err(RuntimeError::Output {
            graph: self.graph.clone(),
            output: name.to_owned(),
            expected: format!("f32 {shape:?}"),
            found,
        })
    }
}

/// A graph that ONNX Runtime has loaded.
///
/// The same inputs give the same numbers, run after run, with any number of threads.
#[derive(Debug)]
pub struct Session {
    /// Always there until the session is dropped.
    session: ManuallyDrop<ort::session::Session>,
    graph: PathBuf,
    placement: Placement,
}

impl Drop for Session {
    fn drop(&mut self) {
        let _change = mappings_change();
        // SAFETY: nothing uses it after this.
        unsafe { ManuallyDrop::drop(&mut self.session) };
    }
}

impl Session {
    /// Loads a graph from a file; external data is looked for beside it.
    ///
    /// # Errors
    /// [`RuntimeError::Graph`] when ONNX Runtime refuses the file, [`RuntimeError::NoProvider`] or [`RuntimeError::Device`]
    /// when the device cannot be had.
    pub fn open(runtime: &Runtime, graph: &Path, options: &SessionOptions) -> Result<Session, RuntimeError> {
        Self::build(runtime, graph, options, |builder| builder.commit_from_file(graph))
    }

    /// Loads a graph that has no external data from memory; `name` stands for it in messages.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub fn from_memory(
        runtime: &Runtime,
        name: &str,
        bytes: &[u8],
        options: &SessionOptions,
    ) -> Result<Session, RuntimeError> {
        Self::build(runtime, Path::new(name), options, |builder| builder.commit_from_memory(bytes))
    }

    /// As [`Session::from_memory`], of what stands for the file at `graph`: external data is looked for beside that.
    ///
    /// # Errors
    /// As [`Session::open`]; ONNX Runtime before 1.21 does not look there.
    pub(super) fn from_memory_beside(
        runtime: &Runtime,
        graph: &Path,
        bytes: &[u8],
        options: &SessionOptions,
    ) -> Result<Session, RuntimeError> {
        let folder = graph.parent().unwrap_or(Path::new("")).to_string_lossy().into_owned();
        Self::build(runtime, graph, options, |builder| {
            let builder = builder.clone().with_config_entry(FOLDER_OF_EXTERNAL_DATA, folder);
            builder.map_err(|error| ort::Error::new(error.to_string()))?.commit_from_memory(bytes)
        })
    }

    fn build(
        runtime: &Runtime,
        graph: &Path,
        options: &SessionOptions,
        commit: impl FnOnce(&mut SessionBuilder) -> ort::Result<ort::session::Session>,
    ) -> Result<Session, RuntimeError> {
        runtime.check_device(options.device)?;
        let refused = |error: String| RuntimeError::Graph { graph: graph.to_owned(), problem: error };
        let mut builder = builder(runtime, options).map_err(refused)?;
        let listener = Listener::default();
        if options.device != Device::Cpu {
            runtime.forget_complaints();
            builder = on_device(builder, options.device).map_err(|error| RuntimeError::Device {
                device: options.device,
                problem: with_complaints(error.to_string(), runtime.complaints()),
            })?;
            builder = runtime.heard_by(builder, listener.clone()).map_err(refused)?;
        }
        let _change = mappings_change();
        let session = commit(&mut builder).map_err(|error| refused(error.to_string()))?;
        Ok(Session { session: ManuallyDrop::new(session), graph: graph.to_owned(), placement: listener.heard() })
    }

    /// The file it was loaded from.
    pub fn graph(&self) -> &Path {
        &self.graph
    }

    /// Which of its nodes run where; empty on the CPU, where all do.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    pub fn input_names(&self) -> impl Iterator<Item = &str> {
        self.session.inputs().iter().map(ort::value::Outlet::name)
    }

    pub fn output_names(&self) -> impl Iterator<Item = &str> {
        self.session.outputs().iter().map(ort::value::Outlet::name)
    }

    /// Runs the graph on named inputs and returns all its outputs.
    ///
    /// # Errors
    /// [`RuntimeError::Run`] when ONNX Runtime refuses the inputs or fails.
    pub fn run(&mut self, inputs: &[(&str, Tensor)]) -> Result<Outputs, RuntimeError> {
        self.run_for(inputs, |_| true)
    }

    /// Runs the graph on named inputs and returns those of its outputs that are wanted.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub fn run_for(
        &mut self,
        inputs: &[(&str, Tensor)],
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Outputs, RuntimeError> {
        let failed = |graph: &Path, problem: String| RuntimeError::Run { graph: graph.to_owned(), problem };
        // Arrays in any other layout than the standard one have to be copied; they must outlive the run.
        let standard: Vec<(&str, Standard<'_>)> =
            inputs.iter().map(|(name, tensor)| (*name, Standard::of(tensor))).collect();
        let values = standard
            .iter()
            .map(|(name, tensor)| Ok((*name, tensor.view()?)))
            .collect::<ort::Result<Vec<(&str, SessionInputValue<'_>)>>>()
            .map_err(|error| failed(&self.graph, error.to_string()))?;
        let outputs = self.session.run(values).map_err(|error| {
            let given: Vec<String> =
                inputs.iter().map(|(name, tensor)| format!("{name} {} {:?}", tensor.dtype(), tensor.shape())).collect();
            failed(&self.graph, format!("{error}\n  inputs: {}", given.join(", ")))
        })?;
        let values = outputs
            .iter()
            .filter(|(name, _)| wanted(name))
            .map(|(name, value)| {
                let tensor = Tensor::of_value(&value)
                    .map_err(|problem| failed(&self.graph, format!("output `{name}` cannot be read: {problem}")))?;
                Ok((name.to_owned(), tensor))
            })
            .collect::<Result<_, RuntimeError>>()?;
        Ok(Outputs { graph: self.graph.clone(), values })
    }
}

/// Opens the first session of the process, whose settings are those of this thread from then on. What is wrong with a library shows
/// when it is to run something, so nothing is said of it here.
pub(super) fn first(runtime: &Runtime) {
    let options = SessionOptions { threads: Some(1), ..SessionOptions::default() };
    let _ = doubling().map(|graph| Session::from_memory(runtime, "first", &graph, &options));
}

/// A graph that doubles a number.
fn doubling() -> Result<Vec<u8>, GraphError> {
    let mut graph = Graph::new();
    let number = graph.input("number", Dtype::F32, Vec::new())?;
    let twice = graph.plus(number, number)?;
    let export = Export {
        name: "first",
        graph: &graph,
        inputs: &[number],
        outputs: &[("twice", twice)],
        weights: &[],
        weight_file: "",
        metadata: &[],
    };
    Ok(to_model(&export)?.encode_to_vec())
}

fn builder(runtime: &Runtime, options: &SessionOptions) -> Result<SessionBuilder, String> {
    let level = match options.optimization {
        Optimization::All => GraphOptimizationLevel::All,
        Optimization::Disable => GraphOptimizationLevel::Disable,
    };
    let text = |error: ort::Error<SessionBuilder>| error.to_string();
    let provider = ort::ep::CPU::default().with_arena_allocator(options.arena).build();
    SessionBuilder::new(runtime.environment())
        .map_err(|error| error.to_string())?
        .with_intra_threads(options.thread_count())
        .map_err(text)?
        .with_config_entry(STOP_SPINNING, "1")
        .map_err(text)?
        .with_config_entry(SMALL_IS_ZERO, "1")
        .map_err(text)?
        .with_optimization_level(level)
        .map_err(text)?
        .with_memory_pattern(options.memory_pattern)
        .map_err(text)?
        .with_deterministic_compute(true)
        .map_err(text)?
        .with_prepacking(options.prepacking.unwrap_or(true))
        .map_err(text)?
        .with_execution_providers([provider])
        .map_err(text)
}

/// Of a device that is not the CPU. What its provider cannot run, the CPU does.
fn on_device(builder: SessionBuilder, device: Device) -> ort::Result<SessionBuilder> {
    use ort::ep;
    let number =
        |index: u32| i32::try_from(index).map_err(|_| ort::Error::new("there is no device of so large an index"));
    let provider = match device {
        Device::Cpu => ep::CPU::default().build(),
        // TF32 keeps ten bits of a factor, too few to compare a gradient with finite differences.
        Device::Cuda(index) => ep::CUDA::default().with_device_id(number(index)?).with_tf32(false).build(),
        Device::Other(provider, index) => {
            let first = number(index.unwrap_or(0))?;
            match provider.name {
                // Left to itself it computes in half precision where the processor can.
                "openvino" => ep::OpenVINO::default().with_device_type("CPU").with_precision("FP32").build(),
                "tensorrt" => ep::TensorRT::default().with_device_id(first).build(),
                "nvrtx" => ep::NVRTX::default().with_device_id(index.unwrap_or(0)).build(),
                "rocm" => ep::ROCm::default().with_device_id(first).build(),
                "migraphx" => ep::MIGraphX::default().with_device_id(first).build(),
                "directml" => ep::DirectML::default().with_device_id(first).build(),
                "coreml" => ep::CoreML::default().build(),
                "webgpu" => ep::WebGPU::default().build(),
                "qnn" => ep::QNN::default().build(),
                "cann" => ep::CANN::default().with_device_id(first).build(),
                "xnnpack" => ep::XNNPACK::default().build(),
                "onednn" => ep::OneDNN::default().build(),
                "acl" => ep::ACL::default().build(),
                "nnapi" => ep::NNAPI::default().build(),
                "tvm" => ep::TVM::default().build(),
                "rknpu" => ep::RKNPU::default().build(),
                "vsinpu" => ep::VSINPU.build(),
                other => return Err(ort::Error::new(format!("the program does not know how to ask for {other}"))),
            }
        }
    };
    let provider = provider.error_on_failure();
    builder.with_execution_providers([provider]).map_err(|error| ort::Error::new(error.to_string()))
}

/// A status, and the errors logged beside it that say more.
fn with_complaints(status: String, complaints: Vec<String>) -> String {
    complaints.into_iter().filter(|complaint| !status.contains(complaint.as_str())).fold(
        status.clone(),
        |mut text, complaint| {
            text.push_str("\n  ");
            text.push_str(&complaint);
            text
        },
    )
}

/// A tensor in standard layout, borrowed where it is so already.
enum Standard<'a> {
    F32(CowArray<'a, f32, IxDyn>),
    F64(CowArray<'a, f64, IxDyn>),
    I64(CowArray<'a, i64, IxDyn>),
    I32(CowArray<'a, i32, IxDyn>),
    Bool(CowArray<'a, bool, IxDyn>),
}

impl<'a> Standard<'a> {
    fn of(tensor: &'a Tensor) -> Self {
        match tensor {
            Tensor::F32(array) => Standard::F32(array.as_standard_layout()),
            Tensor::F64(array) => Standard::F64(array.as_standard_layout()),
            Tensor::I64(array) => Standard::I64(array.as_standard_layout()),
            Tensor::I32(array) => Standard::I32(array.as_standard_layout()),
            Tensor::Bool(array) => Standard::Bool(array.as_standard_layout()),
        }
    }

    fn view(&self) -> ort::Result<SessionInputValue<'_>> {
        Ok(match self {
            Standard::F32(array) => TensorRef::from_array_view(array)?.into(),
            Standard::F64(array) => TensorRef::from_array_view(array)?.into(),
            Standard::I64(array) => TensorRef::from_array_view(array)?.into(),
            Standard::I32(array) => TensorRef::from_array_view(array)?.into(),
            Standard::Bool(array) => TensorRef::from_array_view(array)?.into(),
        })
    }
}
