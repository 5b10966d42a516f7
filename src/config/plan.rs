//! What the program will do: every path found, every name known, every default filled in.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::chosen::{Chosen, Offered, OptionInfo, OptionKind, OptionValue, Sort};
use super::schema;
use super::task::{self, TaskPlan};
use super::written::{self, Harness};
use super::{Overrides, Vocabulary};
use crate::diagnostics::{COMMAND_LINE, Diagnostic, Located, nearest, quote};
use crate::tokenizer::SpecialTokens;

/// A harness file with the command line applied to it: nothing in it needs to be checked again.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What the file says, else the name of the folder it stands in.
    pub name: String,
    pub file: PathBuf,
    /// SHA-256 of the harness file, hexadecimal.
    pub sha256: String,
    /// At least one; names are unique.
    pub models: Vec<ModelPlan>,
    /// At least one; names are unique.
    pub tasks: Vec<TaskPlan>,
    /// At least one; labels are unique, names known to the vocabulary.
    pub methods: Vec<Chosen>,
    /// Of tasks that choose none of their own; at least one; labels are unique, names known to the vocabulary.
    pub metrics: Vec<Chosen>,
    /// Examples a task, the first ones, at least 1.
    pub limit: Option<usize>,
    /// Examples a task, drawn by the seed, at least 1; never together with `limit`.
    pub sample: Option<usize>,
    pub seed: u64,
    /// `cpu`, `cuda` or `cuda:INDEX`, of one kind; at least one.
    pub devices: Vec<String>,
    /// Models that work side by side, on the devices in turn; at least 1. Where it is not said, it hangs on the model.
    pub workers: Option<usize>,
    /// Threads inside an operator, at least 1.
    pub threads: Option<usize>,
    /// Upper bound of rows times sequence length in one batch, at least 1.
    pub batch_tokens: usize,
    /// Bytes for scores of rows that were run before; `None`: by the memory available.
    pub reuse_bytes: Option<usize>,
    /// Whether what rows have in common with their prompt is computed once: `auto`, `always` or `never`.
    pub prefix_cache: String,
    /// Parent folder of runs; may not exist yet.
    pub output: PathBuf,
    /// Bootstrap and permutation resamples, at least 1.
    pub resamples: usize,
    /// Strictly between 0 and 1.
    pub confidence: f64,
    /// An existing file.
    pub runtime_library: Option<PathBuf>,
}

impl Plan {
    /// The metrics of a task.
    pub fn metrics_of<'a>(&'a self, task: &'a TaskPlan) -> &'a [Chosen] {
        task.metrics.as_deref().unwrap_or(&self.metrics)
    }

    /// The metrics of all tasks, the run's first; labels are unique.
    pub fn all_metrics(&self) -> Vec<Chosen> {
        let mut all: Vec<Chosen> = Vec::new();
        let (own, others): (Vec<&TaskPlan>, Vec<&TaskPlan>) =
            self.tasks.iter().partition(|task| task.metrics.is_none());
        for metric in own.into_iter().chain(others).flat_map(|task| self.metrics_of(task)) {
            if !all.iter().any(|known| known.label == metric.label) {
                all.push(metric.clone());
            }
        }
        all
    }
}

/// A model to explain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelPlan {
    pub name: String,
    /// A folder with `config.json` or `bundle.json`.
    pub path: PathBuf,
    /// Text of the baseline token, where the user names one.
    pub baseline: Option<String>,
    /// What prompts get around them.
    pub special_tokens: SpecialTokens,
}

/// Turns what was written into a plan.
pub(super) struct Resolver<'a> {
    pub file: &'a Path,
    pub vocabulary: &'a Vocabulary<'a>,
    pub overrides: &'a Overrides,
}

impl Resolver<'_> {
    /// A plan, or mistakes: with any mistake added, what is returned is not to be used.
    pub fn resolve(&self, written: Option<Harness>, sha256: String, mistakes: &mut Vec<Diagnostic>) -> Option<Plan> {
        let device = self.device(mistakes);
        for (option, number) in [("--limit", self.overrides.limit), ("--sample", self.overrides.sample)] {
            if let Some(number) = number
                && !(1..=schema::MOST_EXAMPLES).contains(&(number as u64))
            {
                let message = format!("{number} is not between 1 and {}", schema::MOST_EXAMPLES);
                mistakes.push(Diagnostic::on_command_line(option, message));
            }
        }
        let Some(written) = written else {
            self.chosen_methods(Vec::new(), mistakes);
            return None;
        };
        let base = base(self.file);
        let devices = device.map_or_else(|| written.devices.clone(), |device| vec![device]);

        let models = self.models(&written, base, mistakes);
        let tasks = self.tasks(&written, base, mistakes);
        let methods = self.methods(&written, mistakes);
        let methods = self.chosen_methods(methods, mistakes);
        let (limit, sample) = self.taken(&written, mistakes);
        let metrics = self.metrics(&written, mistakes);
        self.check_metric_labels(&tasks, &metrics, mistakes);
        let runtime_library = written.library.as_ref().and_then(|library| {
            find(base, library, Want::File, "runtime.library").map_err(|mistake| mistakes.push(*mistake)).ok()
        });
        Some(Plan {
            name: written.name.unwrap_or_else(|| folder_name(base)),
            file: self.file.to_path_buf(),
            sha256,
            models,
            tasks,
            methods,
            metrics,
            limit,
            sample,
            seed: written.seed,
            workers: written.workers.map(saturated),
            devices,
            threads: written.threads.map(saturated),
            batch_tokens: saturated(written.batch_tokens),
            reuse_bytes: written.reuse_mib.map(|mib| saturated(mib << 20)),
            prefix_cache: written.prefix_cache,
            output: self.overrides.out.clone().unwrap_or_else(|| base.join(written.output)),
            resamples: saturated(written.resamples),
            confidence: written.confidence,
            runtime_library,
        })
    }

    fn device(&self, mistakes: &mut Vec<Diagnostic>) -> Option<String> {
        let device = self.overrides.device.as_deref()?;
        if let Err(complaint) = schema::device(device) {
            mistakes.push(complaint.at(|message| Diagnostic::on_command_line("--device", message)));
        }
        Some(device.to_owned())
    }

    /// Of `limit` and `sample`, which is given: the command line says both, whichever it names.
    fn taken(&self, written: &Harness, mistakes: &mut Vec<Diagnostic>) -> (Option<usize>, Option<usize>) {
        if self.overrides.limit.is_some() || self.overrides.sample.is_some() {
            return (self.overrides.limit, self.overrides.sample);
        }
        if let (Some(limit), Some(sample)) = (&written.limit, &written.sample) {
            let message = format!("`sample` stands beside the `limit` of line {}", limit.line);
            let help = "give one of them: `limit` takes the first examples, `sample` a random choice of all of them";
            mistakes.push(sample.mistake("sample", message).with_help(help));
        }
        let number = |number: &Option<Located<u64>>| number.as_ref().map(|number| saturated(number.value));
        (number(&written.limit), number(&written.sample))
    }

    /// The methods of the command line where it names any: those of the file by their labels, all of a name, or ones that
    /// the file does not list.
    fn chosen_methods(&self, listed: Vec<Chosen>, mistakes: &mut Vec<Diagnostic>) -> Vec<Chosen> {
        let Some(typed) = &self.overrides.methods else { return listed };
        if typed.is_empty() {
            mistakes.push(Diagnostic::on_command_line("--methods", "no method is named"));
        }
        let mut chosen: Vec<Chosen> = Vec::new();
        for name in typed {
            let mut found: Vec<Chosen> = listed.iter().filter(|method| method.label == *name).cloned().collect();
            if found.is_empty() {
                found = listed.iter().filter(|method| method.name == *name).cloned().collect();
            }
            let known = || self.vocabulary.methods.iter().map(|method| method.name);
            if found.is_empty() && known().any(|known| known == name) {
                found.push(Chosen::plain(name));
            }
            if found.is_empty() {
                let mistake = Diagnostic::on_command_line("--methods", format!("unknown method {}", quote(name)));
                let labels =
                    listed.iter().map(|method| method.label.as_str()).filter(|label| !known().any(|k| k == *label));
                mistakes.push(mistake.with_nearest(name, known().chain(labels)));
            }
            for method in found {
                if !chosen.iter().any(|other| other.label == method.label) {
                    chosen.push(method);
                }
            }
        }
        chosen
    }

    fn models(&self, written: &Harness, base: &Path, mistakes: &mut Vec<Diagnostic>) -> Vec<ModelPlan> {
        let mut known: HashMap<String, Located<String>> = HashMap::new();
        let mut models = Vec::new();
        for model in &written.models {
            let Some(path) = &model.path else { continue };
            let key = "models";
            let file = base.join(&path.value);
            let is_yaml = file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
            let found = match (model.mapping, is_yaml) {
                (false, true) => find(base, path, Want::File, key).map(|file| self.model_file(&file, path, mistakes)),
                _ => find_model(base, path, key).map(|folder| {
                    let name = model.name.as_ref().map_or_else(|| folder_name(&folder), |name| name.value.clone());
                    let (baseline, special_tokens) = (model.baseline.clone(), model.special_tokens);
                    Some((ModelPlan { name, path: folder, baseline, special_tokens }, false))
                }),
            };
            let (plan, named_elsewhere) = match found {
                Ok(Some(found)) => found,
                Ok(None) => continue,
                Err(mistake) => {
                    mistakes.push(*mistake);
                    continue;
                }
            };
            let place = model.name.as_ref().filter(|_| !named_elsewhere).unwrap_or(path);
            if let Some(earlier) = known.get(&plan.name) {
                let message = format!("the model in line {} is named {} too", earlier.line, quote(&plan.name));
                let help = "give it a name of its own: {path: ..., name: ...}";
                let mistake = place.mistake(key, message).with_width(place.value.chars().count());
                mistakes.push(mistake.with_help(if model.name.is_some() { "" } else { help }));
            } else {
                known.insert(plan.name.clone(), place.clone());
            }
            models.push(plan);
        }
        models
    }

    /// A model that is described in a file of its own, and whether it has its name from there.
    fn model_file(
        &self,
        file: &Path,
        place: &Located<String>,
        mistakes: &mut Vec<Diagnostic>,
    ) -> Option<(ModelPlan, bool)> {
        let bytes = match super::read(file) {
            Ok(bytes) => bytes,
            Err(error) => {
                let message = format!("{} cannot be read: {error}", quote(&place.value));
                mistakes.push(place.mistake("models", message).with_width(place.value.chars().count()));
                return None;
            }
        };
        let written = written::model(file, super::text(file, &bytes, mistakes)?, mistakes)?;
        let path = written.path.as_ref()?;
        match find_model(base(file), path, "path") {
            Ok(folder) => {
                let name = written.name.map_or_else(|| folder_name(&folder), |name| name.value);
                Some((
                    ModelPlan {
                        name,
                        path: folder,
                        baseline: written.baseline,
                        special_tokens: written.special_tokens,
                    },
                    true,
                ))
            }
            Err(mistake) => {
                mistakes.push(*mistake);
                None
            }
        }
    }

    fn tasks(&self, written: &Harness, base: &Path, mistakes: &mut Vec<Diagnostic>) -> Vec<TaskPlan> {
        let given =
            task::Given { vocabulary: self.vocabulary, granularity: written.granularity, aggregate: written.aggregate };
        let mut known: HashMap<String, usize> = HashMap::new();
        let mut listed: HashMap<PathBuf, usize> = HashMap::new();
        let mut tasks: Vec<TaskPlan> = Vec::new();
        let mut failed = Vec::new();
        for place in &written.tasks {
            let width = place.value.chars().count();
            let file = match find(base, place, Want::File, "tasks") {
                Ok(file) => file,
                Err(mistake) => {
                    failed.push(stem(Path::new(&place.value)));
                    mistakes.push(*mistake);
                    continue;
                }
            };
            if let Some(line) = listed.get(&file) {
                let message = format!("the task {} is already listed in line {line}", quote(&place.value));
                mistakes.push(place.mistake("tasks", message).with_width(width));
                continue;
            }
            listed.insert(file.clone(), place.line);
            let plan = match super::read(&file) {
                Ok(bytes) => task::resolve(&file, &bytes, &given, mistakes),
                Err(error) => {
                    let message = format!("{} cannot be read: {error}", quote(&place.value));
                    mistakes.push(place.mistake("tasks", message).with_width(width));
                    None
                }
            };
            let Some(plan) = plan else {
                failed.push(stem(&file));
                continue;
            };
            if let Some(line) = known.get(&plan.name) {
                let message = format!("the task in line {line} is named {} too", quote(&plan.name));
                let help = "its own name is given by `task:` in the task file";
                mistakes.push(place.mistake("tasks", message).with_width(width).with_help(help));
            } else {
                known.insert(plan.name.clone(), place.line);
            }
            tasks.push(plan);
        }
        let Some(chosen) = &self.overrides.tasks else { return tasks };
        if chosen.is_empty() {
            mistakes.push(Diagnostic::on_command_line("--tasks", "no task is named"));
        }
        for name in chosen {
            let valid = || tasks.iter().map(|task| task.name.as_str()).chain(failed.iter().map(String::as_str));
            if !valid().any(|known| known == name) {
                let message = format!("{} names no task of {}", quote(name), self.file.display());
                mistakes.push(Diagnostic::on_command_line("--tasks", message).with_nearest(name, valid()));
            }
        }
        tasks.retain(|task| chosen.contains(&task.name));
        tasks
    }

    fn methods(&self, written: &Harness, mistakes: &mut Vec<Diagnostic>) -> Vec<Chosen> {
        all_chosen(&written.methods, Sort::Method, self.vocabulary.methods, mistakes)
    }

    /// One label is one metric with one set of options, whichever task measures it.
    fn check_metric_labels(&self, tasks: &[TaskPlan], metrics: &[Chosen], mistakes: &mut Vec<Diagnostic>) {
        let complete = |metric: &Chosen| {
            let info = self.vocabulary.metrics.iter().find(|info| info.name == metric.name);
            (metric.name.clone(), info.map(|info| info.complete(&metric.options)))
        };
        let mut known: Vec<&Chosen> = metrics.iter().collect();
        for task in tasks {
            for metric in task.metrics.iter().flatten() {
                match known.iter().find(|other| other.label == metric.label) {
                    None => known.push(metric),
                    Some(other) if complete(other) == complete(metric) => {}
                    Some(_) => {
                        let message = format!(
                            "the label {} stands for something else in another task or in the run",
                            quote(&metric.label)
                        );
                        mistakes.push(Diagnostic::new(&task.file, 1, 1, "metrics", message));
                    }
                }
            }
        }
    }

    fn metrics(&self, written: &Harness, mistakes: &mut Vec<Diagnostic>) -> Vec<Chosen> {
        match &written.metrics {
            Some(listed) => all_chosen(listed, Sort::Metric, self.vocabulary.metrics, mistakes),
            None => self.vocabulary.standard_metrics.iter().map(|name| Chosen::plain(name)).collect(),
        }
    }
}

/// Methods or metrics of a plan, each under a label of its own.
pub(super) fn all_chosen(
    listed: &[written::Item],
    sort: Sort,
    known: &[Offered],
    mistakes: &mut Vec<Diagnostic>,
) -> Vec<Chosen> {
    let (word, key) = (sort.word(), sort.key());
    let mut plans: Vec<(Chosen, &written::Item)> = Vec::new();
    for written in listed {
        let Some(plan) = chosen(written, sort, known, mistakes) else { continue };
        let name = &written.name;
        let complete =
            |plan: &Chosen| known.iter().find(|info| info.name == plan.name).map(|info| info.complete(&plan.options));
        let same =
            |(other, _): &&(Chosen, &written::Item)| other.name == plan.name && complete(other) == complete(&plan);
        if let Some((_, other)) = plans.iter().find(same) {
            let message = format!("the {word} {} is already listed in line {}", quote(&name.value), other.name.line);
            mistakes.push(name.mistake(key, message).with_width(name.value.chars().count()));
            continue;
        }
        plans.push((plan, written));
    }
    // Where a name stands more than once, its options tell its places apart; those of a metric always belong to what its
    // numbers are called.
    let unnamed = |name: &str| plans.iter().filter(|(plan, item)| plan.name == name && item.label.is_none()).count();
    let labels: Vec<String> = plans
        .iter()
        .map(|(plan, written)| match &written.label {
            None if sort == Sort::Metric || unnamed(&plan.name) > 1 => plan.described(),
            _ => plan.label.clone(),
        })
        .collect();
    for ((plan, _), label) in plans.iter_mut().zip(labels) {
        plan.label = label;
    }
    for (index, (plan, written)) in plans.iter().enumerate() {
        let Some(label) = &written.label else { continue };
        let here = |message: String| label.mistake(key, message).with_width(label.value.chars().count());
        let taken = |(at, (other, _)): &(usize, &(Chosen, &written::Item))| {
            other.label == plan.label && (*at < index || *at > index && plans[*at].1.label.is_none())
        };
        if let Some((_, (_, other))) = plans.iter().enumerate().find(taken) {
            let message = format!("the {word} in line {} has the label {} too", other.name.line, quote(&label.value));
            mistakes.push(here(message));
        } else if label.value != plan.name && known.iter().any(|info| info.name == label.value) {
            mistakes.push(here(format!("{} is the name of another {word}", quote(&label.value))));
        }
    }
    plans.into_iter().map(|(plan, _)| plan).collect()
}

/// A method or a metric by what was written; its label is what the user gave, else its name.
pub(super) fn chosen(
    written: &written::Item,
    sort: Sort,
    known: &[Offered],
    mistakes: &mut Vec<Diagnostic>,
) -> Option<Chosen> {
    let name = &written.name;
    let Some(info) = known.iter().find(|info| info.name == name.value) else {
        let mistake = name.mistake(sort.key(), format!("unknown {} {}", sort.word(), quote(&name.value)));
        let mistake = mistake.with_width(name.value.chars().count());
        mistakes.push(mistake.with_nearest(&name.value, known.iter().map(|info| info.name)));
        return None;
    };
    let mut options = BTreeMap::new();
    for (option, value) in &written.options {
        if info.option(&option.value).is_some() {
            options.extend(value.map(|value| (option.value.clone(), value)));
            continue;
        }
        let message = match info.options {
            [] => format!("{} takes no options", quote(info.name)),
            _ => format!("{} has no option {}", quote(info.name), quote(&option.value)),
        };
        let mistake = option.mistake(format!("{}.{}.{}", sort.key(), info.name, option.value), message);
        let mistake = mistake.with_width(option.value.chars().count());
        let valid = info.options.iter().map(|option| option.name);
        let valid = valid.chain((!info.options.is_empty()).then_some(schema::LABEL));
        mistakes.push(mistake.with_nearest(&option.value, valid));
    }
    for (option, value) in &written.options {
        if let Some(OptionValue::File(file)) = value
            && !file.path().is_file()
        {
            let message = format!("there is no file {}", quote(file.written()));
            let mistake = option.mistake(format!("{}.{}.{}", sort.key(), info.name, option.value), message);
            mistakes.push(mistake.with_width(option.value.chars().count()));
        }
    }
    let is_given = |known: &OptionInfo| written.options.iter().any(|(option, _)| option.value == known.name);
    for needed in info.options.iter().filter(|known| known.kind == OptionKind::File && !is_given(known)) {
        let mistake = name.mistake(sort.key(), format!("{} needs a `{}`", quote(info.name), needed.name));
        let help = format!("write `- {}: {{{}: FILE}}`", info.name, needed.name);
        mistakes.push(mistake.with_width(name.value.chars().count()).with_help(help));
    }
    let complete = info.complete(&options);
    for (option, _) in &written.options {
        let known = info.option(&option.value).and_then(|known| known.only_with);
        if let Some((other, value)) = known
            && complete.get(other) != Some(&value)
        {
            let message = format!("{} means something only with `{other}: {value}`", quote(&option.value));
            let mistake = option.mistake(format!("{}.{}.{}", sort.key(), info.name, option.value), message);
            mistakes.push(mistake.with_width(option.value.chars().count()));
        }
    }
    let label = written.label.as_ref().map_or_else(|| name.value.clone(), |label| label.value.clone());
    Some(Chosen { label, name: name.value.clone(), options })
}

/// The folder that paths in a file are relative to.
pub(super) fn base(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new(""))
}

/// A file's name without its extension.
pub(super) fn stem(file: &Path) -> String {
    file.file_stem().map_or_else(|| "unnamed".to_owned(), |stem| stem.to_string_lossy().into_owned())
}

/// The last component of a folder, also where the path ends in `.` or `..`.
fn folder_name(folder: &Path) -> String {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let last = match folder.file_name() {
        Some(name) => Some(name.to_owned()),
        None => folder.canonicalize().ok().and_then(|folder| folder.file_name().map(ToOwned::to_owned)),
    };
    last.map_or_else(|| "unnamed".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn saturated(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Want {
    File,
    Folder,
}

impl Want {
    fn holds(self, path: &Path) -> bool {
        match self {
            Want::File => path.is_file(),
            Want::Folder => path.is_dir(),
        }
    }
}

/// An existing file or folder that a YAML file names, relative to that file's folder.
pub(super) fn find(base: &Path, written: &Located<String>, want: Want, key: &str) -> Result<PathBuf, Box<Diagnostic>> {
    let path = base.join(&written.value);
    if want.holds(&path) {
        return Ok(path);
    }
    let (noun, other) = match want {
        Want::File => ("file", "a folder"),
        Want::Folder => ("folder", "not a folder"),
    };
    let message = match path.metadata() {
        Ok(_) if want == Want::File && !path.is_dir() => format!("{} is not a regular file", quote(&written.value)),
        Ok(_) => format!("expected a {noun}, but {} is {other}", quote(&written.value)),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            format!("{} cannot be read: permission denied", quote(&written.value))
        }
        Err(_) => format!("there is no {noun} {}", quote(&written.value)),
    };
    let mut mistake = written.mistake(key, message).with_width(written.value.chars().count());
    mistake.suggestion = nearest_path(base, Path::new(&written.value), want);
    if mistake.suggestion.is_none()
        && Path::new(&written.value).is_relative()
        && written.file != Path::new(COMMAND_LINE)
    {
        mistake = mistake.with_help(format!("paths are relative to {}", shown(base)));
    }
    Err(Box::new(mistake))
}

/// A folder that holds a model.
fn find_model(base: &Path, written: &Located<String>, key: &str) -> Result<PathBuf, Box<Diagnostic>> {
    let folder = find(base, written, Want::Folder, key)?;
    if folder.join("bundle.json").is_file() || folder.join("config.json").is_file() {
        return Ok(folder);
    }
    let message = format!("the folder {} holds no model", quote(&written.value));
    let help = match folder.join("adapter_config.json").is_file() {
        true => {
            "it holds an adapter (PEFT), which has to be merged into its base model first: `gim-harness bake` says how"
        }
        false => "a model has config.json (a Hugging Face checkpoint) or bundle.json (a bundle)",
    };
    let mistake = written.mistake(key, message).with_width(written.value.chars().count());
    Err(Box::new(mistake.with_help(help)))
}

fn shown(base: &Path) -> String {
    if base.as_os_str().is_empty() { "the folder of this file".to_owned() } else { quote(&base.display().to_string()) }
}

/// The path with every component that does not exist replaced by the nearest one that does.
fn nearest_path(base: &Path, written: &Path, want: Want) -> Option<String> {
    const ENTRIES: usize = 10_000;
    let mut mended = PathBuf::new();
    let components: Vec<_> = written.components().collect();
    for (index, component) in components.iter().enumerate() {
        let last = index + 1 == components.len();
        let next = mended.join(component);
        let here = base.join(&next);
        if (last && want.holds(&here)) || (!last && here.is_dir()) {
            mended = next;
            continue;
        }
        let folder = base.join(&mended);
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { &folder };
        let mut names: Vec<String> = folder
            .read_dir()
            .ok()?
            .take(ENTRIES)
            .filter_map(|entry| entry.ok())
            .filter(|entry| if last { want.holds(&entry.path()) } else { entry.path().is_dir() })
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort_unstable();
        let typed = component.as_os_str().to_str()?;
        mended.push(nearest(typed, names.iter().map(String::as_str))?);
    }
    mended.to_str().map(str::to_owned)
}
