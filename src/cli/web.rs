//! `gim-harness web`.

use std::path::PathBuf;

use gim_harness::bundle::manifest::MANIFEST_FILE;
use gim_harness::run::Progress as _;
use gim_harness::text::Bytes;
use gim_harness::web::{self, Request, WebError};

use super::Ended;
use super::model::open_bundle;
use super::output::{note, say};
use super::progress::Terminal;
use super::signals::{self, STOPPING};

#[derive(clap::Args)]
pub struct Arguments {
    /// The bundle's folder
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// The page's folder; an earlier page there is replaced
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Where npm put onnxruntime-web and @huggingface/tokenizers, of which the page gets its own copies
    #[arg(long, value_name = "DIR", default_value = "node_modules")]
    node_modules: PathBuf,
    /// What stands in the field for the prompt at first
    #[arg(long, value_name = "TEXT", default_value = "")]
    prompt: String,
    /// The token that stands for nothing [default: the bundle's]
    #[arg(long, value_name = "N")]
    baseline_id: Option<i64>,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Ended> {
    let watch = signals::watch(STOPPING)?;
    let progress = Terminal::new(&watch);
    if !arguments.bundle.join(MANIFEST_FILE).is_file() && arguments.bundle.join("config.json").is_file() {
        anyhow::bail!(
            "{} is a Hugging Face folder; a page is made of a bundle: `gim-harness bake {0} --out BUNDLE` makes one",
            arguments.bundle.display()
        );
    }
    let bundle = open_bundle(&arguments.bundle, false, &progress)?;
    let tokenizer = bundle.tokenizer()?;
    let request = Request {
        bundle: &bundle,
        tokenizer: &tokenizer,
        node_modules: &arguments.node_modules,
        out: &arguments.out,
        baseline: arguments.baseline_id,
        prompt: &arguments.prompt,
        interrupted: &watch.interrupted,
    };
    let written = match web::write(&request, &mut |done, total| progress.baking("the page", done, total)) {
        Err(error @ WebError::Interrupted) => {
            progress.stop();
            note(error);
            return Ok(Ended::Incomplete);
        }
        result => result?,
    };
    say(arguments.out.display());
    note(format_args!(
        "{} in all, of which a browser fetches {} before its first answer; it needs a server, such as \
         `python -m http.server --directory {}`",
        Bytes(written.bytes),
        Bytes(written.download),
        arguments.out.display()
    ));
    Ok(Ended::Done)
}
