//! A sound forward `.onnx` file, its weights outside it in places that are anything: locations with `..`, links out of the
//! folder, pipes, devices; offsets and lengths as text that is no number, past the end, over each other.
//!
//! What must hold besides: every file that weights are read from lies in the model's folder, and what is baked from
//! external data holds nothing of the files outside it.

#![no_main]

use std::path::PathBuf;
use std::sync::OnceLock;

use arbitrary::Arbitrary;
use gim_harness::onnx::proto::tensor_proto::DataLocation;
use gim_harness::onnx::proto::{ModelProto, StringStringEntryProto};
use gim_harness::onnx::read::read_bytes;
use gim_harness::onnx::weights::WeightSource;
use gim_harness_fuzz::{bake_anything, folder, root};
use libfuzzer_sys::fuzz_target;
use prost::Message;

/// What one entry of the file says about a tensor.
#[derive(Arbitrary, Debug)]
struct Moved {
    /// Which tensor, of those with weights.
    tensor: u8,
    location: Location,
    offset: Number,
    length: Number,
    /// Another entry with a key that is there already, or with one that no file has.
    extra: Option<(Key, Number)>,
    dim: Option<(u8, i64)>,
    keeps_raw: bool,
}

#[derive(Arbitrary, Debug)]
enum Location {
    /// A path that is there; see [`PLACES`].
    Known(u8),
    /// Two of them put together.
    Joined(u8, u8),
    Free(String),
    Missing,
}

#[derive(Arbitrary, Debug)]
enum Number {
    /// As it should be.
    Right,
    Missing,
    Near(i8),
    Any(u64),
    Text(String),
}

#[derive(Arbitrary, Debug)]
enum Key {
    Location,
    Offset,
    Length,
    Checksum,
    Free(String),
}

const PLACES: &[&str] = &[
    "weights.data",
    "inner/weights.data",
    "./weights.data",
    "inner/../weights.data",
    "..",
    "../secret.data",
    "out_link",
    "out_folder",
    "out_folder/secret.data",
    "in_link",
    "loop",
    "pipe",
    "inner",
    "",
    "/etc/hostname",
    "/dev/zero",
    "model.onnx",
    "short.data",
    "empty.data",
];

struct World {
    folder: PathBuf,
    model: ModelProto,
    /// Bytes of each weight, and where it starts in `weights.data`.
    places: Vec<(usize, u64, u64)>,
}

/// The folder: `weights.data` in two places, links in and out of it, a link to itself, a pipe, and a secret beside it.
fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let parent = folder();
        let folder = parent.join("model");
        std::fs::create_dir_all(folder.join("inner")).expect("a folder can be made");
        let bytes = std::fs::read(root().join("tests/fixtures/foreign/bert-a.ts17.sdpa.onnx")).expect("it is there");
        let mut model = ModelProto::decode(&bytes[..]).expect("it is a model");
        let mut data = Vec::new();
        let mut places = Vec::new();
        let graph = model.graph.as_mut().expect("it has a graph");
        for (i, tensor) in graph.initializer.iter_mut().enumerate() {
            let Some(raw) = tensor.raw_data.as_ref().filter(|raw| raw.len() > 256) else { continue };
            places.push((i, data.len() as u64, raw.len() as u64));
            data.extend_from_slice(raw);
            // Not the weights but what is outside is under test: the model is a tenth of its size without them.
            tensor.raw_data = None;
        }
        for place in ["weights.data", "inner/weights.data"] {
            std::fs::write(folder.join(place), &data).expect("the folder can be written");
        }
        std::fs::write(folder.join("short.data"), [0; 100]).expect("the folder can be written");
        std::fs::write(folder.join("empty.data"), []).expect("the folder can be written");
        std::fs::write(parent.join("secret.data"), &data).expect("the folder can be written");
        #[cfg(unix)]
        {
            use std::os::unix::fs::symlink;
            symlink(parent.join("secret.data"), folder.join("out_link")).expect("links can be made");
            symlink(&parent, folder.join("out_folder")).expect("links can be made");
            symlink("weights.data", folder.join("in_link")).expect("links can be made");
            symlink("loop", folder.join("loop")).expect("links can be made");
            let made = std::process::Command::new("mkfifo").arg(folder.join("pipe")).status();
            assert!(made.is_ok_and(|status| status.success()), "a pipe can be made");
        }
        World { folder, model, places }
    })
}

fn location(location: &Location) -> Option<String> {
    let known = |i: u8| PLACES[usize::from(i) % PLACES.len()];
    match location {
        Location::Known(i) => Some(known(*i).to_owned()),
        Location::Joined(i, j) => Some(format!("{}/{}", known(*i), known(*j))),
        Location::Free(text) => Some(text.clone()),
        Location::Missing => None,
    }
}

fn number(number: &Number, right: u64) -> Option<String> {
    match number {
        Number::Right => Some(right.to_string()),
        Number::Missing => None,
        Number::Near(by) => Some((i128::from(right) + i128::from(*by)).to_string()),
        Number::Any(value) => Some(value.to_string()),
        Number::Text(text) => Some(text.clone()),
    }
}

fuzz_target!(|moved: Vec<Moved>| {
    let world = world();
    let mut model = world.model.clone();
    let graph = model.graph.as_mut().expect("it has a graph");
    let entry = |key: &str, value: String| StringStringEntryProto { key: Some(key.to_owned()), value: Some(value) };
    // All where they should be, then some of them elsewhere.
    for (i, offset, length) in &world.places {
        let tensor = &mut graph.initializer[*i];
        tensor.data_location = Some(DataLocation::External as i32);
        tensor.external_data = vec![
            entry("location", "weights.data".to_owned()),
            entry("offset", offset.to_string()),
            entry("length", length.to_string()),
        ];
    }
    for moved in moved.iter().take(16) {
        let (i, offset, length) = world.places[usize::from(moved.tensor) % world.places.len()];
        let tensor = &mut graph.initializer[i];
        tensor.external_data.clear();
        let pairs = [
            ("location", location(&moved.location)),
            ("offset", number(&moved.offset, offset)),
            ("length", number(&moved.length, length)),
        ];
        for (key, value) in pairs {
            tensor.external_data.extend(value.map(|value| entry(key, value)));
        }
        if let Some((key, value)) = &moved.extra {
            let key = match key {
                Key::Location => "location",
                Key::Offset => "offset",
                Key::Length => "length",
                Key::Checksum => "checksum",
                Key::Free(text) => text,
            };
            tensor.external_data.extend(number(value, length).map(|value| entry(key, value)));
        }
        if let Some((axis, size)) = moved.dim {
            let rank = tensor.dims.len();
            if rank > 0 {
                tensor.dims[usize::from(axis) % rank] = size;
            }
        }
        if moved.keeps_raw {
            tensor.raw_data = Some(vec![0; length as usize]);
        }
    }
    let bytes = model.encode_to_vec();
    let file = world.folder.join("model.onnx");
    std::fs::write(&file, &bytes).expect("the folder can be written");
    if let Ok(foreign) = read_bytes(&file, &bytes) {
        let home = world.folder.canonicalize().expect("it is there");
        for path in foreign.weights.files() {
            let real = path.canonicalize().expect("it was read");
            assert!(real.starts_with(&home), "{} is read, which is {}", path.display(), real.display());
        }
    }
    bake_anything(&file, &world.folder);
});
