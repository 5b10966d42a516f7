//! What can go wrong while a report is written.

use std::path::PathBuf;

use crate::store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("{}: cannot be written", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    /// Something that is not ours stands where a link to the newest run should.
    #[error("{}: in the way of the link to the newest run; move it", path.display())]
    InTheWay { path: PathBuf },
    #[error(transparent)]
    Store(#[from] StoreError),
}
