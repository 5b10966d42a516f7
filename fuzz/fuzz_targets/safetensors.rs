//! A checkpoint whose `model.safetensors` is anything. The header is JSON behind its length, so a mutator that does not
//! know would hardly ever get past the length: half of the changes are made to the JSON alone, and the length is put right.

#![no_main]

use std::path::PathBuf;
use std::sync::OnceLock;

use gim_harness_fuzz::{Random, bake_anything, folder, root};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fn checkpoint() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = folder();
        let config = root().join("tests/fixtures/architectures/llama-dynamic/config.json");
        std::fs::copy(config, folder.join("config.json")).expect("the folder can be written");
        folder
    })
}

fuzz_target!(|data: &[u8]| {
    let folder = checkpoint();
    std::fs::write(folder.join("model.safetensors"), data).expect("the folder can be written");
    bake_anything(folder, folder);
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = Random::new(seed);
    let header = data.get(..8).and_then(|length| length.try_into().ok()).map(u64::from_le_bytes);
    let header =
        header.and_then(|length| usize::try_from(length).ok()).filter(|length| length.saturating_add(8) <= size);
    let Some(header) = header.filter(|_| !random.chance(4)) else { return fuzzer_mutate(data, size, max_size) };
    let room = (max_size - (size - header)).min(2 * header + 64);
    let mut json = data[8..8 + header].to_vec();
    let tensors = data[8 + header..size].to_vec();
    json.resize(room.max(header), b' ');
    let length = fuzzer_mutate(&mut json, header, room);
    json.truncate(length);
    let whole = [&(length as u64).to_le_bytes()[..], &json, &tensors].concat();
    let end = whole.len().min(max_size);
    data[..end].copy_from_slice(&whole[..end]);
    end
});
