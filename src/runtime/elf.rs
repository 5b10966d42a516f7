//! Whether a shared library is all there.
//!
//! The loader maps a library by what its header says and touches the pages; where the file has been cut short, that is a
//! bus error, which no program survives. So the header is held against the size of the file first.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use crate::files;

/// Checks that the segments and the section table of an ELF file (64 bits, little-endian) are within the file. Other
/// files pass; what is wrong with them the loader says.
///
/// # Errors
/// A sentence when the file is cut short or cannot be read.
pub(crate) fn check(path: &Path) -> Result<(), String> {
    let mut file = files::open(path, files::PROGRAM).map_err(|error| error.to_string())?;
    let size = file.metadata().map_err(|error| error.to_string())?.len();
    let short = || Err(format!("it is cut short (it has {size} bytes)"));
    let mut header = [0; 64];
    if file.read_exact(&mut header).is_err() || !header.starts_with(b"\x7fELF\x02\x01") {
        return Ok(());
    }
    // https://gabi.xinuos.com/elf/02-eheader.html
    let (segments, sections) = (number::<8>(&header, 32), number::<8>(&header, 40));
    let (segment_size, segment_count) = (number::<2>(&header, 54), number::<2>(&header, 56));
    let (section_size, section_count) = (number::<2>(&header, 58), number::<2>(&header, 60));
    let within = |start: u64, length: u64| start.checked_add(length).is_some_and(|end| end <= size);
    if !within(segments, segment_size * segment_count) || !within(sections, section_size * section_count) {
        return short();
    }
    for index in 0..segment_count {
        let mut segment = [0; 56];
        let at = segments + index * segment_size;
        if file.seek(SeekFrom::Start(at)).is_err() || file.read_exact(&mut segment).is_err() {
            return short();
        }
        if !within(number::<8>(&segment, 8), number::<8>(&segment, 32)) {
            return short();
        }
    }
    Ok(())
}

/// The little-endian number of `N` bytes at `start`, which is within `bytes`.
fn number<const N: usize>(bytes: &[u8], start: usize) -> u64 {
    bytes[start..start + N].iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

#[cfg(all(test, target_os = "linux", target_pointer_width = "64", target_endian = "little"))]
mod tests {
    use super::*;

    #[test]
    fn a_cut_file_is_told_from_a_whole_one() {
        let whole = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("library");
        let check_of = |length: usize| {
            std::fs::write(&path, &whole[..length]).unwrap();
            check(&path)
        };
        assert_eq!(check_of(whole.len()), Ok(()));
        for length in [64, 100, whole.len() / 3, whole.len() / 2, whole.len() - 1] {
            assert!(check_of(length).unwrap_err().contains("cut short"));
        }
        assert_eq!(check_of(10), Ok(()));
        assert!(check(&folder.path().join("absent")).is_err());
    }
}
