//! Progress on the terminal; nothing but notes where there is none.

use std::cell::RefCell;
use std::io::IsTerminal;
use std::time::Duration;

use gim_harness::run::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Bars on stderr, with a time estimate.
pub struct Terminal {
    bar: RefCell<Option<ProgressBar>>,
    is_terminal: bool,
}

impl Terminal {
    pub fn new() -> Self {
        Terminal { bar: RefCell::new(None), is_terminal: std::io::stderr().is_terminal() }
    }

    /// A line that stays.
    pub fn line(&self, line: &str) {
        match &*self.bar.borrow() {
            Some(bar) if self.is_terminal => bar.println(line),
            _ => eprintln!("{line}"),
        }
    }

    fn start(&self, length: u64, template: &str, prefix: String) {
        if !self.is_terminal {
            return;
        }
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
        bar.set_style(style.progress_chars("=> "));
        bar.set_prefix(prefix);
        bar.enable_steady_tick(Duration::from_millis(200));
        if let Some(former) = self.bar.borrow_mut().replace(bar) {
            former.finish_and_clear();
        }
    }

    /// What a verification is at.
    pub fn checking(&self, next: &str) {
        if self.bar.borrow().is_none() {
            self.start(0, "verifying: {msg} {spinner}, {elapsed} gone", String::new());
        }
        self.with_bar(|bar| bar.set_message(next.to_owned()));
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
        let template = "{prefix} [{bar:30}] {pos}/{len} {msg}, {elapsed} gone, {eta} left";
        self.start(units, template, format!("{model}, {task}"));
    }

    fn advance(&self, method: &str, units: u64) {
        self.with_bar(|bar| {
            bar.set_message(method.to_owned());
            bar.inc(units);
        });
    }

    fn end(&self, model: &str, task: &str, examples: usize, excluded: usize) {
        self.stop();
        if self.is_terminal {
            let left_out = if excluded > 0 { format!(", {excluded} left out") } else { String::new() };
            eprintln!("{model}, {task}: {examples} examples{left_out}");
        }
    }
}
