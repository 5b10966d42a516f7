//! Progress on the terminal; nothing but notes where there is none.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use gim_harness::run::Progress;
use gim_harness::runtime::Watch;
use gim_harness::text::{shown, shown_lines};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::output::{is_watched, note};

/// Rows of a call that is over before anybody looks.
const SHORT_CALL: usize = 16;

/// Bars on stderr, with a time estimate.
pub struct Terminal {
    bar: RefCell<Option<ProgressBar>>,
    is_terminal: bool,
    watch: Arc<Watch>,
}

impl Terminal {
    pub fn new(watch: &Arc<Watch>) -> Self {
        Terminal { bar: RefCell::new(None), is_terminal: is_watched(), watch: Arc::clone(watch) }
    }

    /// What models at work report to.
    pub fn watch(&self) -> &Arc<Watch> {
        &self.watch
    }

    /// A line that stays.
    pub fn line(&self, line: &str) {
        match &*self.bar.borrow() {
            Some(bar) if self.is_terminal => bar.println(shown_lines(line)),
            _ => note(line),
        }
    }

    fn start(&self, length: u64, template: &str, prefix: String) {
        if !self.is_terminal {
            return;
        }
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
        let watch = Arc::clone(&self.watch);
        // Looked at whenever the bar is drawn. A call that ends before anybody looks has no need of it.
        let rows = move |_: &ProgressState, out: &mut dyn fmt::Write| {
            let (done, asked) = watch.rows();
            if asked > SHORT_CALL && done < asked {
                // A bar without this figure is still a bar.
                let _ = write!(out, ", {done} of {asked} rows");
            }
        };
        bar.set_style(style.with_key("rows", rows).progress_chars("=> "));
        bar.set_prefix(shown(&prefix).into_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        if let Some(former) = self.bar.borrow_mut().replace(bar) {
            former.finish_and_clear();
        }
    }

    /// What a verification is at.
    pub fn checking(&self, next: &str) {
        if self.bar.borrow().is_none() {
            self.start(0, "verifying: {msg}{rows} {spinner}, {elapsed} gone", String::new());
        }
        self.with_bar(|bar| bar.set_message(shown(next).into_owned()));
    }

    /// Which method is explaining a prompt: ablation of a long one takes minutes.
    pub fn explaining(&self, method: &str) {
        self.start(0, "{prefix}{rows} {spinner}, {elapsed} gone", method.to_owned());
    }

    fn with_bar(&self, act: impl FnOnce(&ProgressBar)) {
        if let Some(bar) = &*self.bar.borrow() {
            act(bar);
        }
    }

    /// Takes a bar away, if there is one.
    pub fn stop(&self) {
        if let Some(bar) = self.bar.borrow_mut().take() {
            bar.finish_and_clear();
        }
    }
}

impl Progress for Terminal {
    fn note(&self, line: &str) {
        self.line(line);
    }

    fn baking(&self, model: &str, done: u64, total: u64) {
        if self.bar.borrow().is_none() {
            let template = "{prefix} [{bar:30}] {bytes}/{total_bytes}, {eta} left";
            self.start(total, template, format!("baking {model}"));
        }
        self.with_bar(|bar| bar.set_position(done));
        if done >= total {
            self.stop();
        }
    }

    fn begin(&self, model: &str, task: &str, units: u64) {
        let template = "{prefix} [{bar:30}] {pos}/{len} {msg}{rows}, {elapsed} gone, {eta} left";
        self.start(units, template, format!("{model}, {task}"));
    }

    fn advance(&self, method: &str, units: u64) {
        self.with_bar(|bar| {
            bar.set_message(shown(method).into_owned());
            bar.inc(units);
        });
    }

    fn end(&self, model: &str, task: &str, examples: usize, excluded: usize) {
        self.stop();
        if self.is_terminal {
            let left_out = if excluded > 0 { format!(", {excluded} left out") } else { String::new() };
            note(format_args!("{model}, {task}: {examples} examples{left_out}"));
        }
    }
}
