//! Opening files that strangers made or named.
//!
//! What is read is a regular file of a bounded size. A pipe would be waited for, a device may never end, and a file of
//! the size of the memory would take the memory: each is refused before a byte is read. Everything that this program
//! reads is opened here (clippy's `disallowed-methods` sees to that).

use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

use crate::text::Bytes;

/// What a file is to be, and how large it may be at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// With its article, as in "of a harness file at most 1.0 MiB are read".
    pub what: &'static str,
    pub most: u64,
}

const MIB: u64 = 1 << 20;

/// A harness, task or model file.
pub const YAML: Kind = Kind { what: "a YAML file", most: MIB };
/// Records of a task. They are read one by one, each of bounded length.
pub const DATA: Kind = Kind { what: "a data file", most: 4096 * MIB };
/// `config.json` and its like.
pub const CONFIG: Kind = Kind { what: "a model's config.json", most: 16 * MIB };
/// `tokenizer.json`; the largest that are published have some 35 MB.
pub const TOKENIZER: Kind = Kind { what: "a tokenizer.json", most: 256 * MIB };
/// Which tensor stands in which shard: some hundred bytes a tensor.
pub const INDEX: Kind = Kind { what: "an index of shards", most: 64 * MIB };
/// `bundle.json`.
pub const MANIFEST: Kind = Kind { what: "a bundle.json", most: 64 * MIB };
/// A graph without or with its weights; a protobuf message ends at 2 GiB.
pub const GRAPH: Kind = Kind { what: "an ONNX file", most: 2048 * MIB };
/// Tensors. They are mapped or read in pieces, so their size takes no memory.
pub const WEIGHTS: Kind = Kind { what: "a weight file", most: u64::MAX };
/// A run's store, of which SQLite reads pages.
pub const STORE: Kind = Kind { what: "a run's store", most: u64::MAX };
/// A library or a program, which is looked into or hashed in pieces.
pub const PROGRAM: Kind = Kind { what: "a program file", most: u64::MAX };
/// Attributions of another program, and documents beside them.
pub const ATTRIBUTIONS: Kind = Kind { what: "a file of attributions", most: 1024 * MIB };
/// A few lines that the system or an installed package says of itself.
pub const FACTS: Kind = Kind { what: "a file of facts", most: 16 * MIB };

/// Why a file is not read; inside the [`io::Error`] that the functions here give.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("it is {found}, and only regular files are read{}", advice(.found))]
    NotRegular { found: &'static str },
    #[error("it has {}, and of {} at most {} are read", size(.bytes), .kind.what, Bytes(.kind.most))]
    TooLarge { bytes: Option<u64>, kind: Kind },
}

fn size(bytes: &Option<u64>) -> String {
    bytes.map_or_else(|| "no end in sight".to_owned(), |bytes| Bytes(bytes).to_string())
}

fn advice(found: &str) -> &'static str {
    match found {
        "a pipe" => "; write what it gives into a file first",
        _ => "",
    }
}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> Self {
        let kind = match &refused {
            Refused::NotRegular { found: "a folder" } => io::ErrorKind::IsADirectory,
            Refused::NotRegular { .. } => io::ErrorKind::InvalidInput,
            Refused::TooLarge { .. } => io::ErrorKind::FileTooLarge,
        };
        io::Error::new(kind, refused)
    }
}

/// A regular file, open for reading, that is no larger than its kind may be.
///
/// # Errors
/// Those of the operating system, and [`Refused`].
pub fn open(path: &Path, kind: Kind) -> io::Result<File> {
    // Opening some devices does something, so what can be seen from outside is seen first. Between this and the opening
    // another file may take the name: then opening does not wait, and the open file is looked at again.
    check(&std::fs::metadata(path)?, kind)?;
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK | libc::O_NOCTTY);
    let file = options.open(path)?;
    check(&file.metadata()?, kind)?;
    Ok(file)
}

/// The whole of a regular file.
///
/// # Errors
/// As [`open`]; a file that grows beyond the bound while it is read is refused too.
pub fn read(path: &Path, kind: Kind) -> io::Result<Vec<u8>> {
    read_opened(&mut open(path, kind)?, kind)
}

/// The whole of what [`open`] gave.
///
/// # Errors
/// As [`read`].
pub fn read_opened(file: &mut File, kind: Kind) -> io::Result<Vec<u8>> {
    let expected = file.metadata()?.len();
    let mut bytes = Vec::new();
    bytes.try_reserve(usize::try_from(expected).unwrap_or(usize::MAX)).map_err(|_| io::ErrorKind::OutOfMemory)?;
    file.take(kind.most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > kind.most {
        return Err(Refused::TooLarge { bytes: None, kind }.into());
    }
    Ok(bytes)
}

/// The whole of a regular file that is UTF-8.
///
/// # Errors
/// As [`read`], and [`io::ErrorKind::InvalidData`] for other text.
pub fn read_text(path: &Path, kind: Kind) -> io::Result<String> {
    text(read(path, kind)?)
}

/// The same of what [`open`] gave.
///
/// # Errors
/// As [`read_text`].
pub fn read_opened_text(file: &mut File, kind: Kind) -> io::Result<String> {
    text(read_opened(file, kind)?)
}

fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}

fn check(metadata: &Metadata, kind: Kind) -> Result<(), Refused> {
    if !metadata.is_file() {
        return Err(Refused::NotRegular { found: name(metadata.file_type()) });
    }
    if metadata.len() > kind.most {
        return Err(Refused::TooLarge { bytes: Some(metadata.len()), kind });
    }
    Ok(())
}

fn name(file: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt as _;
        if file.is_fifo() {
            return "a pipe";
        }
        if file.is_socket() {
            return "a socket";
        }
        if file.is_char_device() || file.is_block_device() {
            return "a device";
        }
    }
    if file.is_dir() { "a folder" } else { "no regular file" }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Kind = Kind { what: "a test's file", most: 4 };

    fn refusal(path: &Path) -> String {
        read(path, SMALL).unwrap_err().to_string()
    }

    #[test]
    fn reads_up_to_the_bound_and_not_beyond() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, "four").unwrap();
        assert_eq!(read(&path, SMALL).unwrap(), b"four");
        assert_eq!(read_text(&path, SMALL).unwrap(), "four");
        std::fs::write(&path, "fives").unwrap();
        assert_eq!(refusal(&path), "it has 5 bytes, and of a test's file at most 4 bytes are read");
        std::fs::write(&path, [0xff]).unwrap();
        assert_eq!(read_text(&path, SMALL).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(read(&folder.path().join("absent"), SMALL).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(refusal(folder.path()), "it is a folder, and only regular files are read");
    }

    #[cfg(unix)]
    #[test]
    fn never_waits_for_a_pipe_and_never_reads_a_device() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let expected = "it is a pipe, and only regular files are read; write what it gives into a file first";
        assert_eq!(refusal(&pipe), expected);
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert_eq!(refusal(&socket), "it is a socket, and only regular files are read");
        assert_eq!(refusal(Path::new("/dev/zero")), "it is a device, and only regular files are read");
        // Through a link, too.
        std::os::unix::fs::symlink("/dev/zero", folder.path().join("link")).unwrap();
        assert_eq!(refusal(&folder.path().join("link")), "it is a device, and only regular files are read");
    }
}
