//! `gim-harness run`.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gim_harness::config::{ConfigError, Overrides, PRESETS, Plan, Preset, load_with_mistakes, preset_with_mistakes};
use gim_harness::device::Device;
use gim_harness::diagnostics::{Diagnostics, list, nearest};
use gim_harness::report::point_latest;
use gim_harness::run::{
    Bundles, Existing, Job, Outcome, PlanData, RunError, data_mistakes, new_folder, run as carry_out, to_resume,
    vocabulary,
};
use gim_harness::store;

use super::model::{bundle_cache, meanwhile, open_runtime, opening};
use super::output::{note, say};
use super::progress::Terminal;
use super::{Ended, Usage, signals};

#[derive(clap::Args)]
pub struct Arguments {
    /// The harness file
    #[arg(default_value = "harness.yaml", value_name = "FILE", conflicts_with = "preset")]
    file: PathBuf,
    /// An experiment that comes with the program (see `gim-harness presets`), instead of a file
    #[arg(long, value_name = "NAME", value_parser = preset, requires = "model", requires = "task")]
    preset: Option<&'static Preset>,
    /// With a preset: a bundle or a Hugging Face folder; may be given more than once
    #[arg(long, value_name = "DIR", requires = "preset")]
    model: Vec<PathBuf>,
    /// With a preset: a task file; may be given more than once
    #[arg(long, value_name = "FILE", requires = "preset")]
    task: Vec<PathBuf>,
    /// The run's own folder [default: a new one under the file's `output`]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Take the first N examples of each task
    #[arg(long, value_name = "N", conflicts_with = "all")]
    limit: Option<usize>,
    /// Take N examples of each task, drawn by the seed: the same ones for every model and method
    #[arg(long, value_name = "N", conflicts_with_all = ["all", "limit"])]
    sample: Option<usize>,
    /// Take all examples of each task, whatever the file says
    #[arg(long)]
    all: bool,
    /// Where to run: cpu, cuda, cuda:1, openvino ...
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// Go on with the run in --out, or with the newest one that was interrupted
    #[arg(long, conflicts_with = "fresh")]
    resume: bool,
    /// Start over, also where --out holds a run already
    #[arg(long)]
    fresh: bool,
    /// Only these tasks of the file
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    tasks: Option<Vec<String>>,
    /// Read every file of the bundles, also weights that were read before and seem not to have changed since
    #[arg(long)]
    verify_files: bool,
    /// These methods, whatever the file lists
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    methods: Option<Vec<String>>,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<Ended> {
    let watch =
        signals::watch("stopping after the work in hand; once more to stop at once (nothing finished is lost)")?;
    let plan = plan(arguments)?;
    let (mut folder, existing) = destination(arguments, &plan)?;
    let progress = Terminal::new(&watch);
    let device = plan.devices.first().map_or(Ok(Device::Cpu), |device| device.parse())?;
    let open = || open_runtime(plan.runtime_library.clone(), device, &progress);
    let (runtime, data) = meanwhile(open, || PlanData::read(&plan))?;
    // Mistakes in files first: who mends one need not have ONNX Runtime to be told of it.
    let (data, runtime) = (data?, runtime?);
    let bundles = Bundles { folder: &bundle_cache()?, opening: &opening(arguments.verify_files) };
    let outcome = loop {
        // From the start: what is killed is the newest run too, and is what `latest` is to show.
        let begun = || match arguments.out {
            None => point_latest(&plan.output, &folder).map(|_| ()),
            Some(_) => Ok(()),
        };
        let job =
            Job { plan: &plan, folder: &folder, existing, interrupted: &watch.interrupted, bundles, begun: &begun };
        match carry_out(&job, &data, &runtime, &progress) {
            // Another run was begun in the same second.
            Err(RunError::Held(_)) if arguments.out.is_none() && !arguments.resume => {
                folder = a_new_folder(&plan);
            }
            Err(error @ RunError::Interrupted { .. }) => {
                note(error);
                return Ok(Ended::Incomplete);
            }
            result => break result?,
        }
    };
    let (written, ended) = match outcome {
        Outcome::Complete(written) => (written, Ended::Done),
        Outcome::Interrupted(written) => (written, Ended::Incomplete),
    };
    say(written.headline.trim_end());
    if let Ended::Incomplete = ended {
        note(format_args!(
            "\ninterrupted with {} of {} units done; go on with: gim-harness run {} --resume --out {}",
            written.units_done,
            written.units_expected,
            again(arguments),
            shell(&folder)
        ));
    } else {
        note(format_args!("\nthe whole report: {}", folder.join("report.html").display()));
    }
    Ok(ended)
}

/// A preset by its name.
fn preset(name: &str) -> Result<&'static Preset, String> {
    Preset::named(name).ok_or_else(|| {
        let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
        let hint =
            nearest(name, names.iter().copied()).map_or(String::new(), |near| format!("did you mean '{near}'? "));
        format!("{hint}there are {}", list(&names))
    })
}

/// What says on the command line what was run.
fn again(arguments: &Arguments) -> String {
    let Some(preset) = arguments.preset else { return shell(&arguments.file) };
    let each = |option: &str, paths: &[PathBuf]| -> String {
        paths.iter().map(|path| format!(" --{option} {}", shell(path))).collect()
    };
    let (models, tasks) = (each("model", &arguments.model), each("task", &arguments.task));
    format!("--preset {}{models}{tasks}", preset.name)
}

/// A path as a shell takes it.
fn shell(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

fn plan(arguments: &Arguments) -> Result<Plan, ConfigError> {
    let overrides = Overrides {
        out: None,
        limit: arguments.limit,
        sample: arguments.sample,
        device: arguments.device.clone(),
        tasks: arguments.tasks.clone(),
        methods: arguments.methods.clone(),
    };
    let (plan, mistakes) = match arguments.preset {
        Some(preset) => preset_with_mistakes(preset, &arguments.model, &arguments.task, &vocabulary(), &overrides),
        None => load_with_mistakes(&arguments.file, &vocabulary(), &overrides)?,
    };
    let mut plan = match plan {
        Some(plan) if mistakes.is_empty() => plan,
        plan => {
            let mut all = Diagnostics(mistakes);
            if let Some(plan) = &plan {
                all.extend(data_mistakes(plan));
            }
            return Err(all.finished().into());
        }
    };
    if arguments.all {
        (plan.limit, plan.sample) = (None, None);
    }
    Ok(plan)
}

/// The run's folder, and what to do with a run that is there.
fn destination(arguments: &Arguments, plan: &Plan) -> anyhow::Result<(PathBuf, Existing)> {
    let existing = match (arguments.resume, arguments.fresh) {
        (true, _) => Existing::Resume,
        (_, true) => Existing::Fresh,
        _ => Existing::Continue,
    };
    if let Some(out) = &arguments.out {
        let occupied = out.is_dir() && !is_fresh(out) && !out.join(store::FILE_NAME).is_file();
        if occupied || out.is_file() {
            let message = format!("--out {} exists and holds no run; name another folder", out.display());
            return Err(Usage(message).into());
        }
        return Ok((out.clone(), existing));
    }
    if arguments.resume {
        let Some(folder) = to_resume(&plan.output, &plan.name) else {
            let message = format!(
                "there is no run to resume: {} holds none of the name '{}'; name one with --out",
                plan.output.display(),
                plan.name
            );
            return Err(Usage(message).into());
        };
        note(format_args!("going on with {}", folder.display()));
        return Ok((folder, existing));
    }
    Ok((a_new_folder(plan), existing))
}

fn a_new_folder(plan: &Plan) -> PathBuf {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    new_folder(&plan.output, &plan.name, now.as_secs())
}

/// Whether nothing lies in a folder but what a run that was killed before it had its store leaves.
fn is_fresh(folder: &Path) -> bool {
    let of_a_run = |entry: std::fs::DirEntry| store::is_leftover(&entry.file_name().to_string_lossy());
    std::fs::read_dir(folder).is_ok_and(|entries| entries.flatten().all(of_a_run))
}
