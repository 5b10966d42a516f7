//! What becomes of files when something is wrong: nothing is removed that was not made here, nothing that is damaged is
//! taken for whole, nothing that is used is removed, and nothing is left lying about.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gim_harness::bundle::bake::{BakeError, BakeOptions, bake, write};
use gim_harness::bundle::{BundleError, Manifest, OpenedBundle, Opening};
use gim_harness::run::{Bundles, Progress, resolve_bundle};
use gim_harness::runtime::{Runtime, RuntimeOptions};
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &target) } else { fs::copy(&path, &target).map(drop).unwrap() }
    }
}

/// Every file below a folder, with its contents; links as what they point at.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.symlink_metadata().unwrap() {
            data if data.is_dir() => found.extend(contents(&path)),
            data if data.is_symlink() => drop(found.insert(path.clone(), vec![])),
            _ => drop(found.insert(path.clone(), fs::read(&path).unwrap())),
        }
    }
    found
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn baked(source: &Path, out: &Path) -> Result<Manifest, BakeError> {
    bake(source, out, &BakeOptions::default(), &mut |_, _| {})
}

/// A folder with a checkpoint and a bundle of it.
fn place() -> (TempDir, PathBuf, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let (model, bundle) = (place.path().join("model"), place.path().join("bundle"));
    copy(&fixture("llama-a"), &model);
    baked(&model, &bundle).unwrap();
    (place, model, bundle)
}

/// A bake that has to be refused and to leave everything as it was.
fn refused(place: &Path, source: &Path, out: &Path, options: &BakeOptions<'_>) -> BakeError {
    let before = contents(place);
    let error = bake(source, out, options, &mut |_, _| {}).unwrap_err();
    assert!(contents(place) == before, "{error}");
    error
}

#[test]
fn a_model_is_not_replaced_by_its_bundle() {
    let (place, model, _) = place();
    // What an older bake accepted as a bundle.
    fs::write(model.join("bundle.json"), "{}").unwrap();
    let inside = model.join("new/bundle");
    for out in [&model, &model.join("."), &inside, &place.path().join("model/../model"), place.path()] {
        let error = refused(place.path(), &model, out, &BakeOptions::default());
        assert!(matches!(error, BakeError::Overlap { .. }), "{}: {error}", out.display());
        assert!(error.to_string().contains("name another folder"), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn nor_through_links() {
    let (place, model, bundle) = place();
    let link = place.path().join("link");
    std::os::unix::fs::symlink(&model, &link).unwrap();
    for (source, out) in [(&model, &link), (&link, &model), (&model, &link.join("bundle")), (&link, &link)] {
        let error = refused(place.path(), source, out, &BakeOptions::default());
        assert!(matches!(error, BakeError::Overlap { .. }), "{error}");
    }
    // A checkpoint whose weights are a link into the bundle, which has no such file of its own.
    let linked = place.path().join("linked");
    copy(&model, &linked);
    fs::rename(linked.join("model.safetensors"), bundle.join("model.safetensors")).unwrap();
    std::os::unix::fs::symlink(bundle.join("model.safetensors"), linked.join("model.safetensors")).unwrap();
    refused(place.path(), &linked, &bundle, &BakeOptions::default());
    fs::remove_file(bundle.join("model.safetensors")).unwrap();
    // A link to a bundle is followed, not replaced; one to nothing is an error.
    let to_bundle = place.path().join("to-bundle");
    std::os::unix::fs::symlink(&bundle, &to_bundle).unwrap();
    baked(&model, &to_bundle).unwrap();
    assert!(to_bundle.is_symlink() && bundle.join("bundle.json").is_file() && !bundle.is_symlink());
    let nowhere = place.path().join("nowhere");
    std::os::unix::fs::symlink(place.path().join("absent"), &nowhere).unwrap();
    let error = refused(place.path(), &model, &nowhere, &BakeOptions::default());
    assert!(error.to_string().contains("a link to nothing"), "{error}");
}

#[test]
fn files_that_a_bake_reads_are_not_replaced_by_it() {
    let (place, model, bundle) = place();
    // The tokenizer of the very bundle that is to be replaced.
    let options = BakeOptions { tokenizer: Some(bundle.join("tokenizer.json")), ..BakeOptions::default() };
    let error = refused(place.path(), &model, &bundle, &options);
    assert!(matches!(&error, BakeError::Overlap { source_path, .. } if source_path.ends_with("bundle/tokenizer.json")));
    // A file beside which the bundle may lie, but not around it.
    let folder = place.path().join("onnx");
    fs::create_dir(&folder).unwrap();
    let file = folder.join("model.onnx");
    fs::copy(fixture("foreign/llama-a.dynamo18.eager.onnx"), &file).unwrap();
    let options = BakeOptions { tokenizer: Some(model.join("tokenizer.json")), ..BakeOptions::default() };
    for out in [&folder, &file] {
        let error = refused(place.path(), &file, out, &options);
        assert!(matches!(error, BakeError::Overlap { .. }), "{error}");
    }
    bake(&file, &folder.join("bundle"), &options, &mut |_, _| {}).unwrap();
    assert_eq!(names(&folder), ["bundle", "model.onnx"]);
}

#[test]
fn only_a_bundle_makes_room_for_a_bundle() {
    let (place, model, bundle) = place();
    let whole = contents(&bundle);
    let manifest = fs::read_to_string(bundle.join("bundle.json")).unwrap();
    type Spoil<'a> = Box<dyn Fn(&Path) + 'a>;
    let cases: [(&str, Spoil<'_>); 8] = [
        ("`notes.txt`", Box::new(|folder| fs::write(folder.join("notes.txt"), "mine").unwrap())),
        ("`.hidden`", Box::new(|folder| fs::write(folder.join(".hidden"), "mine").unwrap())),
        ("`results`", Box::new(|folder| fs::create_dir(folder.join("results")).unwrap())),
        (
            "`weights.bin`",
            Box::new(|folder| {
                fs::remove_file(folder.join("weights.bin")).unwrap();
                fs::create_dir(folder.join("weights.bin")).unwrap();
                fs::write(folder.join("weights.bin/precious"), "mine").unwrap();
            }),
        ),
        ("not one that this program wrote", Box::new(|folder| fs::write(folder.join("bundle.json"), "{}").unwrap())),
        (
            "not one that this program wrote",
            Box::new(|folder| {
                fs::write(folder.join("bundle.json"), manifest.replace("\"weights.bin\"", "\"notes.txt\"")).unwrap();
            }),
        ),
        ("no file bundle.json", Box::new(|folder| fs::remove_file(folder.join("bundle.json")).unwrap())),
        (
            "it is no folder",
            Box::new(|folder| {
                fs::remove_dir_all(folder).unwrap();
                fs::write(folder, "mine").unwrap();
            }),
        ),
    ];
    for (number, (expected, spoil)) in cases.into_iter().enumerate() {
        let out = place.path().join(format!("out-{number}"));
        copy(&bundle, &out);
        spoil(&out);
        let error = refused(place.path(), &model, &out, &BakeOptions::default());
        assert!(matches!(error, BakeError::Occupied { .. }), "{error}");
        assert!(error.to_string().contains(expected) && error.to_string().contains("name another folder"), "{error}");
    }
    // A bundle does, whole or damaged, and so does an empty folder.
    let out = place.path().join("out");
    copy(&bundle, &out);
    fs::write(out.join("weights.bin"), "damaged").unwrap();
    baked(&model, &out).unwrap();
    let found: Vec<Vec<u8>> = contents(&out).into_values().collect();
    assert!(found == whole.into_values().collect::<Vec<_>>());
    fs::create_dir(place.path().join("empty")).unwrap();
    baked(&model, &place.path().join("empty")).unwrap();
    assert!(!names(place.path()).iter().any(|name| name.starts_with(".baking-")));
}

#[test]
fn a_bundle_that_is_used_is_not_replaced() {
    let (place, model, bundle) = place();
    let used = OpenedBundle::open(&bundle, &Opening::default()).unwrap();
    let error = refused(place.path(), &model, &bundle, &BakeOptions::default());
    assert!(matches!(error, BakeError::InUse { .. }), "{error}");
    drop(used);
    // Somebody who begins to use it while it is baked anew keeps it as well.
    let made = write(&model, &bundle, &BakeOptions::default(), &mut |_, _| {}).unwrap();
    let used = OpenedBundle::open(&bundle, &Opening::default()).unwrap();
    assert!(matches!(made.publish().unwrap_err(), BakeError::InUse { .. }));
    used.check_unchanged("weights.bin").unwrap();
    drop(used);
    baked(&model, &bundle).unwrap();
    assert_eq!(names(place.path()), ["bundle", "model"]);
}

#[test]
fn a_file_that_comes_while_weights_are_written_stays() {
    let (place, model, bundle) = place();
    let made = write(&model, &bundle, &BakeOptions::default(), &mut |_, _| {}).unwrap();
    fs::write(bundle.join("notes.txt"), "mine").unwrap();
    let error = made.publish().unwrap_err();
    assert!(error.to_string().contains("`notes.txt`"), "{error}");
    assert_eq!(names(place.path()), ["bundle", "model"]);
    assert_eq!(fs::read_to_string(bundle.join("notes.txt")).unwrap(), "mine");
}

/// What a bake is while it lives, copied: the copy is what is left of it once it is killed.
fn killed(living: &Path, parent: &Path) -> PathBuf {
    let left = parent.join(".baking-killedkilled");
    copy(living.parent().unwrap(), &left);
    left
}

#[test]
fn what_killed_bakes_leave_is_removed_and_nothing_else() {
    let (place, model, bundle) = place();
    let living = write(&model, &place.path().join("other"), &BakeOptions::default(), &mut |_, _| {}).unwrap();
    killed(living.path(), place.path());
    let mine = place.path().join(".baking-minemineminE");
    fs::create_dir(&mine).unwrap();
    fs::write(mine.join("precious"), "mine").unwrap();
    baked(&model, &bundle).unwrap();
    let kept = living.path().parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
    let mut expected = vec![kept, ".baking-minemineminE".to_owned(), "bundle".to_owned(), "model".to_owned()];
    expected.sort();
    assert_eq!(names(place.path()), expected);
    living.publish().unwrap();
    assert_eq!(names(place.path()), [".baking-minemineminE", "bundle", "model", "other"]);
}

/// On systems that cannot exchange two folders in one step, a kill between two renames leaves the bundle nowhere.
#[test]
fn a_bundle_that_was_moved_aside_comes_back() {
    let (place, model, bundle) = place();
    let whole = contents(&bundle);
    let living = write(&model, &bundle, &BakeOptions::default(), &mut |_, _| {}).unwrap();
    let left = killed(living.path(), place.path());
    drop(living);
    fs::rename(&bundle, left.join("former")).unwrap();
    baked(&model, &place.path().join("other")).unwrap();
    assert_eq!(names(place.path()), ["bundle", "model", "other"]);
    assert!(contents(&bundle) == whole);
}

#[test]
fn every_flipped_bit_is_noticed() {
    let (_place, _, bundle) = place();
    let open = || OpenedBundle::open(&bundle, &Opening::default());
    let opened = open().unwrap();
    assert_eq!(opened.files.len(), 19);
    drop(opened);
    for name in names(&bundle) {
        let path = bundle.join(&name);
        let whole = fs::read(&path).unwrap();
        for number in 0..12 {
            let place = (number * (whole.len() - 1)) / 11;
            let mut flipped = whole.clone();
            flipped[place] ^= 1 << (number % 8);
            fs::write(&path, flipped).unwrap();
            let error = open().unwrap_err();
            assert!(error.is_damage() && error.to_string().contains(&name), "{name} at {place}: {error}");
        }
        fs::write(&path, whole).unwrap();
    }
    open().unwrap();
}

#[test]
fn a_manifest_states_its_own_hash() {
    let (_place, _, bundle) = place();
    let path = bundle.join("bundle.json");
    let text = fs::read_to_string(&path).unwrap();
    let error = |text: &str| {
        fs::write(&path, text).unwrap();
        OpenedBundle::open(&bundle, &Opening::default()).unwrap_err().to_string()
    };
    // Still a manifest, with another meaning.
    let mut manifest: Manifest = serde_json::from_str(&text).unwrap();
    let baseline = format!("\"baseline_token_id\": {}", manifest.baseline_token_id.unwrap());
    assert!(text.contains(&baseline));
    assert!(error(&text.replace(&baseline, "\"baseline_token_id\": 30")).contains("not as it was written"));
    assert!(error(&text.replace("\"manifest_sha256\"", "\"manifest_sha257\"")).contains("lacks its own SHA-256"));
    let hash = manifest.manifest_sha256.take().unwrap();
    assert!(error(&text.replace(&hash, "")).contains("not as it was written"));
    assert!(error(&text.replace(&hash, &hash.to_uppercase())).contains("not as it was written"));
    // As anybody can compute it.
    let without = text.replace(&hash, "");
    fs::write(&path, &without).unwrap();
    use sha2::Digest as _;
    let found: String = sha2::Sha256::digest(without.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(found, hash);
}

#[test]
fn bundles_of_the_first_version_are_read_with_a_caution() {
    let opened = OpenedBundle::open(&fixture("runtime/bundle"), &Opening::default()).unwrap();
    assert_eq!(opened.manifest.format_version, 1);
    assert!(opened.caution().unwrap().contains("bundle.json"));
    let (_place, _, bundle) = place();
    assert!(OpenedBundle::open(&bundle, &Opening::default()).unwrap().caution().is_none());
}

/// Where it is known what weights hash to, a change is noticed all the same, also one that hides its time.
#[test]
fn weights_that_were_read_before_are_read_again_when_they_changed() {
    let (place, _, bundle) = place();
    let records = place.path().join("records");
    let opening = Opening { records: Some(records.clone()), verify_files: false };
    let weights = bundle.join("weights.bin");
    // Too young for a record: its next change might leave no trace.
    OpenedBundle::open(&bundle, &opening).unwrap();
    assert!(!records.exists());
    std::thread::sleep(Duration::from_millis(3100));
    let opened = OpenedBundle::open(&bundle, &opening).unwrap();
    if cfg!(unix) {
        assert_eq!(names(&records).len(), 1);
    }
    opened.check_unchanged("weights.bin").unwrap();

    let whole = fs::read(&weights).unwrap();
    let modified = fs::metadata(&weights).unwrap().modified().unwrap();
    let mut flipped = whole.clone();
    flipped[1000] ^= 0x40;
    let put = |bytes: &[u8]| {
        fs::write(&weights, bytes).unwrap();
        File::options().write(true).open(&weights).unwrap().set_modified(modified).unwrap();
    };
    put(&flipped);
    for verify_files in [false, true] {
        let opening = Opening { verify_files, ..opening.clone() };
        let error = OpenedBundle::open(&bundle, &opening).unwrap_err();
        assert!(matches!(&error, BundleError::Changed { path, .. } if *path == weights), "{error}");
    }
    // The one that was opened before it changed notices, too.
    assert!(matches!(opened.check_unchanged("weights.bin"), Err(BundleError::Changed { .. })));
    put(&whole);
    opened.check_unchanged("weights.bin").unwrap();
    OpenedBundle::open(&bundle, &opening).unwrap();

    // A damaged record condemns nothing.
    for file in names(&records) {
        let file = records.join(file);
        let text = fs::read_to_string(&file).unwrap();
        for damaged in [text.replace("sha256\":\"", "sha256\":\"0"), text[..text.len() / 2].to_owned(), String::new()] {
            fs::write(&file, damaged).unwrap();
            OpenedBundle::open(&bundle, &opening).unwrap();
        }
    }
}

#[cfg(unix)]
#[test]
fn a_bundle_in_a_folder_that_cannot_be_written_is_opened() {
    use std::os::unix::fs::PermissionsExt;
    let (_place, _, bundle) = place();
    let before = names(&bundle);
    let mode = |mode| fs::set_permissions(&bundle, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o555);
    let opened = OpenedBundle::open(&bundle, &Opening::default());
    mode(0o755);
    opened.unwrap().tokenizer().unwrap();
    assert_eq!(names(&bundle), before);
}

fn runtime() -> Runtime {
    Runtime::open(&RuntimeOptions::default(), &|line| eprintln!("{line}")).unwrap()
}

#[derive(Default)]
struct Notes(RefCell<Vec<String>>);

impl Progress for Notes {
    fn note(&self, line: &str) {
        self.0.borrow_mut().push(line.to_owned());
    }
    fn baking(&self, _: &str, _: u64, _: u64) {}
    fn begin(&self, _: &str, _: &str, _: u64) {}
    fn advance(&self, _: &str, _: u64) {}
    fn end(&self, _: &str, _: &str, _: usize, _: usize) {}
}

/// The bundle of the checkpoint in a cache, and what was said.
fn resolved(cache: &Path) -> (Arc<OpenedBundle>, Vec<String>) {
    let notes = Notes::default();
    let bundles = Bundles { folder: cache, opening: &Opening::default() };
    let bundle = resolve_bundle(&runtime(), &fixture("llama-a"), "small", bundles, None, &notes).unwrap();
    (bundle, notes.0.into_inner())
}

#[test]
fn two_that_start_at_once_bake_once() {
    let cache = tempfile::tempdir().unwrap();
    let said = Mutex::new(Vec::new());
    let used: Vec<Arc<OpenedBundle>> = std::thread::scope(|scope| {
        let start = || {
            let (bundle, notes) = resolved(cache.path());
            said.lock().unwrap().extend(notes);
            bundle
        };
        let threads = [scope.spawn(start), scope.spawn(start), scope.spawn(start)];
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(used.windows(2).all(|two| two[0].path() == two[1].path() && two[0].files == two[1].files));
    let said = said.into_inner().unwrap();
    assert_eq!(
        said.iter().filter(|line| line.starts_with("baking the gradient graph of small")).count(),
        1,
        "{said:?}"
    );
    let who = format!("waiting for process {}, which is baking small", std::process::id());
    assert_eq!(said.iter().filter(|line| **line == who).count(), 2, "{said:?}");
    assert_eq!(names(cache.path()).len(), 1);
}

#[test]
fn a_damaged_bundle_of_the_cache_is_baked_anew() {
    let cache = tempfile::tempdir().unwrap();
    let path = resolved(cache.path()).0.path().to_owned();
    let whole = contents(&path);
    for name in ["bundle.json", "weights.bin"] {
        let mut bytes = fs::read(path.join(name)).unwrap();
        bytes[500] ^= 4;
        fs::write(path.join(name), bytes).unwrap();
        let (bundle, said) = resolved(cache.path());
        assert!(said[0].contains("is damaged and will be baked anew") && said[0].contains(name), "{said:?}");
        drop(bundle);
        assert!(contents(&path) == whole);
    }
    let (_bundle, said) = resolved(cache.path());
    assert!(said.is_empty(), "{said:?}");
    assert_eq!(names(cache.path()).len(), 1);
}

#[test]
fn another_build_evicts_only_what_nobody_uses() {
    let cache = tempfile::tempdir().unwrap();
    let current = resolved(cache.path()).0.path().to_owned();
    let name = current.file_name().unwrap().to_str().unwrap();
    let other = |build: &str| cache.path().join(format!("{}{build}", &name[..17]));
    let (used, unused, spoilt) = (other("0123456789abcdef"), other("fedcba9876543210"), other("00000000ffffffff"));
    for folder in [&used, &unused, &spoilt] {
        copy(&current, folder);
    }
    fs::write(spoilt.join("notes.txt"), "mine").unwrap();
    let (another_model, no_bundle) = (cache.path().join("0000000000000000-0123456789abcdef"), other("notes"));
    copy(&current, &another_model);
    copy(&current, &no_bundle);
    fs::write(cache.path().join(format!(".{}.lock", unused.file_name().unwrap().to_str().unwrap())), "process 1\n")
        .unwrap();

    let user = OpenedBundle::open(&used, &Opening::default()).unwrap();
    fs::remove_dir_all(&current).unwrap();
    drop(resolved(cache.path()));
    let kept = |folders: &[&PathBuf]| {
        let mut expected: Vec<String> =
            folders.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
        expected.sort();
        assert_eq!(names(cache.path()), expected);
    };
    kept(&[&current, &used, &spoilt, &another_model, &no_bundle]);
    for (name, hash) in &user.files {
        assert!(user.read(name).is_ok() || name == "bundle.json", "{hash}");
    }
    drop(user);
    fs::remove_dir_all(&current).unwrap();
    drop(resolved(cache.path()));
    kept(&[&current, &spoilt, &another_model, &no_bundle]);
}
