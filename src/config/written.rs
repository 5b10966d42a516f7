//! What the user typed: the checked tree as structures, names still unresolved.
//!
//! A value that [`Checker`] complained about is simply absent here, so that the rest can be looked at all the same.

use std::path::Path;

use super::Vocabulary;
use super::chosen::{Offered, OptionValue, Sort};
use super::schema::{self, Checker, FORM, HARNESS, Kind, LABEL, MODEL, Needed, TASK, Table};
use super::task::LabelRef;
use super::template::Template;
use super::yaml::{self, Content, Node};
use crate::diagnostics::{COMMAND_LINE, Diagnostic, Located};
use crate::tokenizer::SpecialTokens;
use crate::units::{Aggregate, Granularity};

/// `harness.yaml`.
#[derive(Debug)]
pub(super) struct Harness {
    pub name: Option<String>,
    pub models: Vec<Model>,
    pub tasks: Vec<Located<String>>,
    pub methods: Vec<Item>,
    pub metrics: Option<Vec<Item>>,
    pub limit: Option<Located<u64>>,
    pub sample: Option<Located<u64>>,
    pub granularity: Option<Granularity>,
    pub aggregate: Option<Aggregate>,
    pub seed: u64,
    pub devices: Vec<String>,
    pub workers: Option<u64>,
    pub threads: Option<u64>,
    pub batch_tokens: u64,
    pub reuse_mib: Option<u64>,
    pub prefix_cache: String,
    pub output: String,
    pub resamples: u64,
    pub confidence: f64,
    pub library: Option<Located<String>>,
}

/// A model: an item of a harness file, or a file of its own.
#[derive(Debug)]
pub(super) struct Model {
    pub name: Option<Located<String>>,
    pub path: Option<Located<String>>,
    pub baseline: Option<String>,
    pub special_tokens: SpecialTokens,
    /// Written as a mapping, which says all there is to say.
    pub mapping: bool,
}

#[derive(Debug)]
pub(super) struct Item {
    pub name: Located<String>,
    pub label: Option<Located<String>>,
    /// Without a value where that is not of the option's kind, or nobody knows the option.
    pub options: Vec<(Located<String>, Option<OptionValue>)>,
}

/// A task file.
#[derive(Debug)]
pub(super) struct Task {
    pub name: Option<String>,
    pub version: u64,
    pub description: Option<String>,
    /// Absent once it was taken.
    pub data: Option<Data>,
    pub form: Form,
    pub families: Vec<(Located<String>, Form)>,
    pub few_shot: Option<FewShot>,
    pub max_tokens: Option<u64>,
    pub context: Option<Located<String>>,
    pub evidence: Option<Located<String>>,
    pub selection: Option<Located<String>>,
    pub answer: Option<Located<Template>>,
    pub labels: Vec<(Located<String>, Located<LabelRef>)>,
    pub contrast: Option<Located<Template>>,
    pub score: Located<String>,
    pub rank: Located<String>,
    pub granularity: Option<Located<Granularity>>,
    pub aggregate: Option<Aggregate>,
    pub groups: Option<Located<String>>,
    pub metrics: Option<Vec<Item>>,
}

/// How a task is put to models, all of them or a family.
#[derive(Debug)]
pub(super) struct Form {
    pub prompt: Option<Located<Template>>,
    pub opening: Option<Located<String>>,
    pub chat: Option<Located<String>>,
    pub system: Option<Located<String>>,
    pub options: Vec<(Located<String>, Located<String>)>,
}

#[derive(Debug)]
pub(super) struct FewShot {
    /// Of the whole.
    pub place: Located<()>,
    pub count: Option<Located<u64>>,
    pub seed: u64,
    pub ids: Option<Vec<Located<String>>>,
    pub separator: String,
}

/// Where the records of a task are.
#[derive(Debug)]
pub(super) struct Data {
    pub file: Option<Located<String>>,
    pub format: Option<Located<String>>,
    pub id: Option<Located<Template>>,
    pub filter: Vec<(Located<String>, Vec<String>)>,
    pub bad_rows: String,
    pub columns: Option<Vec<Located<String>>>,
    pub quotes: Option<Located<String>>,
    pub documents: Option<Located<String>>,
    pub brackets: Located<String>,
    pub split: Option<Located<String>>,
    pub splits: Option<Located<String>>,
    pub consensus: Located<String>,
}

pub(super) fn harness(
    file: &Path,
    text: &str,
    vocabulary: &Vocabulary,
    mistakes: &mut Vec<Diagnostic>,
) -> Option<Harness> {
    let root = yaml::parse(file, text, mistakes)?;
    Checker { file, vocabulary, mistakes }.mapping(&root, &HARNESS, "");
    let view = View { file, node: Some(&root), table: &HARNESS };
    let statistics = view.under("statistics");
    Some(Harness {
        name: view.name("name").map(|name| name.value),
        models: view.items("models").filter_map(|item| model_item(file, item)).collect(),
        tasks: view.items("tasks").filter_map(|item| view.text_of(item)).collect(),
        methods: items(&view, vocabulary, Sort::Method),
        metrics: view.given("metrics").map(|_| items(&view, vocabulary, Sort::Metric)),
        limit: view.located_integer("limit"),
        sample: view.located_integer("sample"),
        granularity: view.text("granularity").and_then(|name| Granularity::named(&name.value)),
        aggregate: view.text("aggregate").and_then(|name| Aggregate::named(&name.value)),
        seed: view.integer("seed").unwrap_or_default(),
        devices: match view.items("device").filter_map(|item| view.text_of(item)).collect::<Vec<_>>() {
            none if none.is_empty() => vec![view.text_or_default("device").value],
            several => several.into_iter().map(|device| device.value).collect(),
        },
        workers: view.integer("workers"),
        threads: view.integer("threads"),
        batch_tokens: view.integer("batch_tokens").unwrap_or_default(),
        reuse_mib: view.integer("reuse_mib"),
        prefix_cache: view.text_or_default("prefix_cache").value,
        output: view.text_or_default("output").value,
        resamples: statistics.integer("resamples").unwrap_or_default(),
        confidence: statistics.fraction("confidence").unwrap_or_default(),
        library: view.under("runtime").text("library"),
    })
}

/// A model file.
pub(super) fn model(file: &Path, text: &str, mistakes: &mut Vec<Diagnostic>) -> Option<Model> {
    let root = yaml::parse(file, text, mistakes)?;
    Checker { file, vocabulary: &Vocabulary::EMPTY, mistakes }.mapping(&root, &MODEL, "");
    Some(model_mapping(&View { file, node: Some(&root), table: &MODEL }))
}

fn model_item(file: &Path, item: &Node) -> Option<Model> {
    let view = View { file, node: Some(item), table: &MODEL };
    match &item.content {
        Content::Mapping(_) => Some(model_mapping(&view)),
        _ => view.text_of(item).map(|path| Model {
            name: None,
            path: Some(path),
            baseline: None,
            special_tokens: SpecialTokens::default(),
            mapping: false,
        }),
    }
}

fn model_mapping(view: &View) -> Model {
    Model {
        name: view.name("name"),
        path: view.text("path"),
        baseline: view.text("baseline").map(|baseline| baseline.value),
        special_tokens: SpecialTokens::named(&view.text_or_default("special_tokens").value).unwrap_or_default(),
        mapping: true,
    }
}

fn items(view: &View, vocabulary: &Vocabulary, sort: Sort) -> Vec<Item> {
    let known = sort.known(vocabulary);
    view.items(sort.key()).filter_map(|node| item(view, node, known)).collect()
}

fn item(view: &View, item: &Node, known: &[Offered]) -> Option<Item> {
    let Content::Mapping(entries) = &item.content else {
        return view.text_of(item).map(|name| Item { name, label: None, options: Vec::new() });
    };
    let (name, given) = entries.first()?;
    let info = known.iter().find(|info| info.name == name.text);
    let mut found = Item { name: view.key(name), label: None, options: Vec::new() };
    let Content::Mapping(given) = &given.content else { return Some(found) };
    for (option, value) in given {
        if option.text == LABEL {
            found.label = schema::name(value).ok().map(|label| view.located(value, label.to_owned()));
            continue;
        }
        let kind = info.and_then(|info| info.option(&option.text)).map(|option| option.kind);
        let value = kind.and_then(|kind| schema::option(value, &option.text, kind).ok());
        let value = value.map(|value| match value {
            OptionValue::File(written) => OptionValue::File(written.under(super::plan::base(view.file))),
            other => other,
        });
        found.options.push((view.key(option), value));
    }
    Some(found)
}

/// A method on the command line: `NAME` or `NAME{option: value}`.
pub(super) fn typed_method(typed: &str, vocabulary: &Vocabulary, mistakes: &mut Vec<Diagnostic>) -> Option<Item> {
    let file = Path::new(COMMAND_LINE);
    let yaml = match typed.split_once('{') {
        Some((name, options)) => format!("{}: {{{options}", name.trim()),
        None => format!("{}:", typed.trim()),
    };
    let root = yaml::parse(file, &yaml, mistakes)?;
    Checker { file, vocabulary, mistakes }.chosen(&root, Sort::Method, "");
    item(&View { file, node: Some(&root), table: &HARNESS }, &root, vocabulary.methods)
}

pub(super) fn task(file: &Path, text: &str, vocabulary: &Vocabulary, mistakes: &mut Vec<Diagnostic>) -> Option<Task> {
    let root = yaml::parse(file, text, mistakes)?;
    Checker { file, vocabulary, mistakes }.mapping(&root, &TASK, "");
    let view = View { file, node: Some(&root), table: &TASK };
    Some(Task {
        name: view.name("task").map(|name| name.value),
        version: view.integer("version").unwrap_or(1),
        description: view.text("description").map(|description| description.value),
        data: Some(data(&view.under("data"), mistakes)),
        form: Form { chat: Some(view.text_or_default("chat")), ..form(&view, mistakes) },
        families: families(&view, mistakes),
        few_shot: view.given("few_shot").map(|node| few_shot(&view.under("few_shot"), view.located(node, ()))),
        max_tokens: view.integer("max_tokens"),
        context: view.text("context"),
        evidence: view.text("evidence"),
        selection: view.text("selection"),
        answer: view.template("answer", mistakes),
        labels: labels(&view),
        contrast: view.template("contrast", mistakes),
        score: view.text_or_default("score"),
        rank: view.text_or_default("rank"),
        granularity: view.text("granularity").and_then(|name| Some(name.with(Granularity::named(&name.value)?))),
        aggregate: view.text("aggregate").and_then(|name| Aggregate::named(&name.value)),
        groups: view.text("groups"),
        metrics: view.given("metrics").map(|_| items(&view, vocabulary, Sort::Metric)),
    })
}

fn form(view: &View, mistakes: &mut Vec<Diagnostic>) -> Form {
    Form {
        prompt: view.template("prompt", mistakes),
        opening: view.text("opening"),
        chat: view.text("chat"),
        system: view.text("system"),
        options: options(view),
    }
}

fn families(view: &View, mistakes: &mut Vec<Diagnostic>) -> Vec<(Located<String>, Form)> {
    let Some(Content::Mapping(entries)) = view.given("families").map(|node| &node.content) else { return Vec::new() };
    let mut families = Vec::new();
    for (name, node) in entries {
        let own = View { file: view.file, node: Some(node), table: &FORM };
        families.push((view.key(name), form(&own, mistakes)));
    }
    families
}

fn few_shot(view: &View, place: Located<()>) -> FewShot {
    let id = |node: &Node| node.scalar_text().map(|text| view.located(node, text.to_owned()));
    FewShot {
        place,
        count: view.located_integer("count"),
        seed: view.integer("seed").unwrap_or_default(),
        ids: view.given("ids").map(|_| view.items("ids").filter_map(id).collect()),
        separator: view.text_or_default("separator").value,
    }
}

fn data(view: &View, mistakes: &mut Vec<Diagnostic>) -> Data {
    Data {
        file: view.text("file"),
        format: view.text("format"),
        id: id(view, mistakes),
        filter: values(view, "where"),
        bad_rows: view.text_or_default("bad_rows").value,
        columns: view.given("columns").map(|_| view.items("columns").filter_map(|item| view.text_of(item)).collect()),
        quotes: view.text("quotes"),
        documents: view.text("documents"),
        brackets: view.text_or_default("brackets"),
        split: view.text("split"),
        splits: view.text("splits"),
        consensus: view.text_or_default("consensus"),
    }
}

/// A field's name alone, or a template.
fn id(view: &View, mistakes: &mut Vec<Diagnostic>) -> Option<Located<Template>> {
    let written = view.text("id")?;
    if written.value.contains(['{', '}']) {
        return view.template("id", mistakes);
    }
    Some(written.with(Template::field(&written.value, written.line, written.column)))
}

fn values(view: &View, key: &str) -> Vec<(Located<String>, Vec<String>)> {
    let Some(Content::Mapping(entries)) = view.given(key).map(|node| &node.content) else { return Vec::new() };
    let of = |node: &Node| match &node.content {
        Content::List(items) => items.iter().filter_map(|item| item.scalar_text().map(str::to_owned)).collect(),
        _ => node.scalar_text().map(str::to_owned).into_iter().collect(),
    };
    entries.iter().map(|(field, node)| (view.key(field), of(node))).collect()
}

fn options(view: &View) -> Vec<(Located<String>, Located<String>)> {
    let scalar = |node: &Node| {
        let text = node.scalar_text().filter(|text| !text.is_empty())?;
        Some(view.located(node, text.to_owned()))
    };
    match view.given("options").map(|node| &node.content) {
        Some(Content::List(items)) => {
            items.iter().filter_map(|item| scalar(item)).map(|text| (text.clone(), text)).collect()
        }
        Some(Content::Mapping(entries)) => {
            entries.iter().filter_map(|(label, text)| Some((view.key(label), scalar(text)?))).collect()
        }
        _ => Vec::new(),
    }
}

fn labels(view: &View) -> Vec<(Located<String>, Located<LabelRef>)> {
    let Some(Content::Mapping(entries)) = view.given("labels").map(|node| &node.content) else { return Vec::new() };
    let label = |node: &Node| schema::label_ref(node).ok().map(|label| view.located(node, label));
    entries.iter().filter_map(|(answer, node)| Some((view.key(answer), label(node)?))).collect()
}

/// Typed access to a mapping; `None` where nothing is given or what is given is not of the field's kind.
pub(super) struct View<'a> {
    pub file: &'a Path,
    pub node: Option<&'a Node>,
    pub table: &'static Table,
}

impl<'a> View<'a> {
    pub fn given(&self, key: &str) -> Option<&'a Node> {
        self.node?.get(key).filter(|node| !node.is_null())
    }

    /// The mapping under a key; an empty one if there is none, so that its defaults apply.
    fn under(&self, key: &str) -> View<'a> {
        let table = match self.table.field(key).map(|field| &field.kind) {
            Some(Kind::Mapping(table)) => table,
            _ => self.table,
        };
        View { file: self.file, node: self.given(key), table }
    }

    pub fn items(&self, key: &str) -> impl Iterator<Item = &'a Node> {
        let items = match self.given(key).map(|node| &node.content) {
            Some(Content::List(items)) => items.as_slice(),
            _ => &[],
        };
        items.iter().map(|item| item.as_ref())
    }

    fn located<T>(&self, node: &Node, value: T) -> Located<T> {
        Located { value, file: self.file.to_path_buf(), line: node.line, column: node.column }
    }

    fn key(&self, key: &yaml::Key) -> Located<String> {
        Located { value: key.text.clone(), file: self.file.to_path_buf(), line: key.line, column: key.column }
    }

    pub fn text_of(&self, node: &Node) -> Option<Located<String>> {
        schema::text(node).ok().map(|text| self.located(node, text.to_owned()))
    }

    pub fn text(&self, key: &str) -> Option<Located<String>> {
        self.given(key).and_then(|node| self.text_of(node))
    }

    fn name(&self, key: &str) -> Option<Located<String>> {
        let node = self.given(key)?;
        schema::name(node).ok().map(|name| self.located(node, name.to_owned()))
    }

    fn text_or_default(&self, key: &str) -> Located<String> {
        let default = match self.table.field(key).map(|field| &field.needed) {
            Some(Needed::Text(text)) => text,
            _ => "",
        };
        self.text(key).unwrap_or_else(|| Located {
            value: default.to_owned(),
            file: self.file.to_path_buf(),
            line: self.node.map_or(1, |node| node.line),
            column: self.node.map_or(1, |node| node.column),
        })
    }

    fn integer(&self, key: &str) -> Option<u64> {
        let field = self.table.field(key)?;
        match (self.given(key), &field.kind, &field.needed) {
            (Some(node), Kind::Integer(least, most), _) => schema::integer(node, *least, *most).ok(),
            (None, _, Needed::Integer(default)) => Some(*default),
            _ => None,
        }
    }

    fn located_integer(&self, key: &str) -> Option<Located<u64>> {
        let node = self.given(key)?;
        self.integer(key).map(|number| self.located(node, number))
    }

    pub fn fraction(&self, key: &str) -> Option<f64> {
        match (self.given(key), &self.table.field(key)?.needed) {
            (Some(node), _) => schema::fraction(node).ok(),
            (None, Needed::Fraction(default)) => Some(*default),
            _ => None,
        }
    }

    fn template(&self, key: &str, mistakes: &mut Vec<Diagnostic>) -> Option<Located<Template>> {
        let node = self.given(key)?;
        let text = schema::text(node).ok()?;
        match Template::parse(text, |character| node.position_of(character)) {
            Ok(template) => Some(self.located(node, template)),
            Err(found) => {
                mistakes.extend(found.into_iter().map(|mistake| {
                    let (line, column) = node.position_of(mistake.character);
                    Diagnostic::new(self.file, line, column, key, mistake.message).with_help(mistake.help)
                }));
                None
            }
        }
    }
}
