//! SHA-256, in hexadecimal.

use std::io::{self, Read};
use std::path::Path;
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use crate::files;

/// Of some bytes.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// Of a file, read in pieces.
pub(crate) fn sha256_of_file(path: &Path) -> io::Result<String> {
    sha256_of_reader(&mut files::open(path, files::PROGRAM)?)
}

/// Of all that is left to read, in pieces of a size at which the hashing and not the reading is what takes long.
pub(crate) fn sha256_of_reader(from: &mut impl Read) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(hexadecimal(&hash.finalize())),
            Ok(read) => hash.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Of the file of this program: what tells one build from another. Read once.
pub(crate) fn sha256_of_this_program() -> io::Result<String> {
    static OWN: OnceLock<String> = OnceLock::new();
    if let Some(own) = OWN.get() {
        return Ok(own.clone());
    }
    let own = sha256_of_file(&std::env::current_exe()?)?;
    Ok(OWN.get_or_init(|| own).clone())
}

/// Two digits a byte.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
