//! Being asked to stop: Ctrl-C, and what schedulers and closing terminals send.

use std::sync::atomic::AtomicBool;
#[cfg(not(unix))]
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use gim_harness::runtime::Watch;

use super::output::note;

/// What is said on the first of them, where there is nothing more to say.
pub const STOPPING: &str = "stopping; once more to stop at once";

/// What a command that works for a while shares with the models at work: it is interrupted by the first of SIGINT,
/// SIGTERM and SIGHUP, which also prints `message`. The next one ends the process at once with exit code 4, whatever it
/// is in the middle of.
///
/// A signal that whoever started the program had ignored stays ignored (`nohup`, a shell's background job).
pub fn watch(message: &'static str) -> anyhow::Result<Arc<Watch>> {
    static WATCH: OnceLock<Arc<Watch>> = OnceLock::new();
    let mut outcome = Ok(());
    let watch = WATCH.get_or_init(|| {
        let watch = Arc::new(Watch::default());
        outcome = listen(&watch.interrupted, message);
        watch
    });
    outcome.context("cannot listen to signals")?;
    Ok(Arc::clone(watch))
}

#[cfg(unix)]
fn listen(interrupted: &Arc<AtomicBool>, message: &'static str) -> std::io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::flag;

    let heard: Vec<i32> = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|&signal| !is_ignored(signal)).collect();
    let mut signals = signal_hook::iterator::Signals::new(&heard)?;
    for &signal in &heard {
        // Both act inside the handler, where a thread that is stuck cannot keep them from it. The order counts: the
        // first signal finds the flag down.
        flag::register_conditional_shutdown(signal, 4, Arc::clone(interrupted))?;
        flag::register(signal, Arc::clone(interrupted))?;
    }
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        if signals.forever().next().is_some() {
            note(message);
        }
    })?;
    Ok(())
}

/// Whether the process was started with this signal ignored.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    // SAFETY: all bytes zero are a valid `sigaction`, whose fields are integers and nullable pointers.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: with no new action the call only fills in the old one, which lives through the call.
    let asked = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) };
    asked == 0 && action.sa_sigaction == libc::SIG_IGN
}

#[cfg(not(unix))]
fn listen(interrupted: &Arc<AtomicBool>, message: &'static str) -> Result<(), ctrlc::Error> {
    let interrupted = Arc::clone(interrupted);
    ctrlc::set_handler(move || {
        if interrupted.swap(true, Ordering::Relaxed) {
            std::process::exit(4);
        }
        note(message);
    })
}
