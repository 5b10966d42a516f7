//! What is printed: the one place that writes to the terminal.
//!
//! Results go to stdout, everything else to stderr. Output that cannot be written never ends a command half-way: a reader
//! that went away (`| head`, a closed terminal) is not an error, and what a full disk kept from being written is one
//! only where the output is all that the command was for.
//!
//! Nothing that acts on a terminal gets through. Callers escape strangers' text where they format it; here everything is
//! escaped once more but line breaks and the styling that is put on here.

use std::fmt::{Display, Write as _};
use std::io::{self, IsTerminal, Write};

use anstyle::Style;
use anyhow::Context as _;
use gim_harness::text::{shown, shown_json, shown_lines};
use serde::Serialize;

/// A message on stderr, with a line break.
pub fn note(text: impl Display) {
    let _ = write_out(standard_error(), &format!("{}\n", shown_lines(&text.to_string())));
}

/// What a command that leaves files says of them on stdout, with a line break. The files are its result, so what cannot
/// be written is given up.
pub fn say(text: impl Display) {
    let _ = write_out(standard_output(), &format!("{}\n", shown_lines(&text.to_string())));
}

/// All that a command is for, on stdout.
///
/// # Errors
/// Where it cannot be written, other than because nobody reads it any more.
pub fn result(text: impl Display) -> anyhow::Result<()> {
    written(&shown_lines(&text.to_string()))
}

/// One JSON value, all that a command is for, on stdout; with a line break.
///
/// # Errors
/// As [`result`].
pub fn json(value: &impl Serialize, pretty: bool) -> anyhow::Result<()> {
    let text = if pretty { serde_json::to_string_pretty(value)? } else { serde_json::to_string(value)? };
    written(&(shown_json(&text).into_owned() + "\n"))
}

/// Text in pieces that have a style of their own, where stdout shows styles.
#[derive(Default)]
pub struct Styled {
    plain: String,
    coloured: String,
}

impl Styled {
    /// Text as it is, line breaks included.
    pub fn plain(&mut self, text: impl Display) {
        let text = text.to_string();
        let safe = shown_lines(&text);
        self.plain += &safe;
        self.coloured += &safe;
    }

    /// Text that only stands where there are styles.
    pub fn styled(&mut self, style: Style, text: &str) {
        // Writing into a string cannot fail.
        let _ = write!(self.coloured, "{style}{}{style:#}", shown(text));
    }

    /// Text that only stands where there are styles, as it is.
    pub fn beside_styles(&mut self, text: &str) {
        self.coloured += &shown_lines(text);
    }

    /// What it is where there are no styles.
    #[cfg(test)]
    pub fn plain_text(&self) -> &str {
        &self.plain
    }

    /// All that a command is for, on stdout.
    ///
    /// # Errors
    /// As [`result`].
    pub fn print(&self) -> anyhow::Result<()> {
        let styles = anstream::AutoStream::choice(&standard_output()) != anstream::ColorChoice::Never;
        // `anstream` translates styles for consoles that know no escapes.
        if styles {
            checked(write_out(anstream::AutoStream::auto(standard_output()), &self.coloured))
        } else {
            written(&self.plain)
        }
    }
}

/// Whether messages are read in a terminal.
pub fn is_watched() -> bool {
    standard_error().is_terminal()
}

/// For what is logged: as [`note`], in whole messages.
pub struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = write_out(standard_error(), &shown_lines(&String::from_utf8_lossy(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn written(text: &str) -> anyhow::Result<()> {
    checked(write_out(standard_output(), text))
}

fn checked(result: io::Result<()>) -> anyhow::Result<()> {
    match result {
        Err(error) if !is_reader_gone(&error) => Err(error).context("the result cannot be written to standard output"),
        _ => Ok(()),
    }
}

/// Whether nobody reads any more: a pipe without a reader, or a terminal that was closed, which fails as a disk does.
fn is_reader_gone(error: &io::Error) -> bool {
    #[cfg(unix)]
    {
        use std::os::fd::AsFd as _;
        let is_file = || {
            let copy = standard_output().as_fd().try_clone_to_owned();
            copy.and_then(|copy| std::fs::File::from(copy).metadata()).is_ok_and(|metadata| metadata.is_file())
        };
        if error.raw_os_error() == Some(libc::EIO) && !is_file() {
            return true;
        }
    }
    error.kind() == io::ErrorKind::BrokenPipe
}

fn write_out(mut out: impl Write, text: &str) -> io::Result<()> {
    out.write_all(text.as_bytes())?;
    out.flush()
}

#[allow(clippy::disallowed_methods, reason = "this is the place")]
fn standard_output() -> io::Stdout {
    io::stdout()
}

#[allow(clippy::disallowed_methods, reason = "this is the place")]
fn standard_error() -> io::Stderr {
    io::stderr()
}
