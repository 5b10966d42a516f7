//! Seeing how far a model has come, and stopping it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Shared between a model at work and whoever shows its progress or wants it to stop.
///
/// One call of a method may take minutes (ablation runs a row for every token), so what is looked at is the batch.
#[derive(Debug, Default)]
pub struct Watch {
    /// Becomes true when the model is to stop: the batch in hand is finished, and the call ends in
    /// [`RuntimeError::Interrupted`](super::RuntimeError::Interrupted).
    pub interrupted: Arc<AtomicBool>,
    done: AtomicUsize,
    asked: AtomicUsize,
}

impl Watch {
    /// Whether the model is to stop.
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Rows done and rows asked for in the call that the model is at, or was at last.
    pub fn rows(&self) -> (usize, usize) {
        let done = self.done.load(Ordering::Relaxed);
        (done, self.asked.load(Ordering::Relaxed).max(done))
    }

    pub(super) fn begin(&self, asked: usize) {
        self.done.store(0, Ordering::Relaxed);
        self.asked.store(asked, Ordering::Relaxed);
    }

    pub(super) fn advance(&self, rows: usize) {
        self.done.fetch_add(rows, Ordering::Relaxed);
    }
}

/// The same when it is the same.
impl PartialEq for Watch {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}
