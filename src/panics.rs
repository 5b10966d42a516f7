//! Code of others that panics on files which contradict themselves. To the user that is a broken file like any other,
//! told in one message and not in a panic's.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

/// Runs code of a library; a panic of it is an error that names the library.
pub(crate) fn guarded<T>(library: &str, code: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !GUARDED.get() {
                before(panic);
            }
        }));
    });
    let outer = GUARDED.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(code));
    GUARDED.set(outer);
    result.map_err(|_| format!("the file contradicts itself, and the {library} library gave up on it"))
}

thread_local! {
    /// Whether this thread is inside [`guarded`].
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_of_others_become_errors() {
        assert_eq!(guarded("number", || 3), Ok(3));
        let error = guarded("number", || -> i32 { panic!("not told") }).unwrap_err();
        assert_eq!(error, "the file contradicts itself, and the number library gave up on it");
        assert!(panic::catch_unwind(|| panic!("still told")).is_err());
    }
}
