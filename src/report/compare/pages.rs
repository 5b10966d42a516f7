//! What a comparison says.

use super::Runs;
use super::cells::{Change, Verdict};
use super::drift::{Conclusion, Drift};
use super::gate::{Judged, Judgement};
use super::inputs::Inputs;
use super::moved::Moved;
use crate::report::document::{
    Align, Block, Colouring, Document, Estimate, Example, Examples, Plot, Row, Shape, Table, Text,
};
use crate::report::sections::{Digits, colouring, file_name, significant};
use crate::store::MetricFacts;

/// What the pages are made from.
pub struct Source<'a> {
    pub runs: &'a Runs,
    pub inputs: &'a Inputs,
    pub changes: &'a [Change],
    pub judged: &'a [Judged],
    pub moved: &'a [Moved],
    /// Where it was asked for.
    pub drift: Option<(&'a [Drift], &'a [Conclusion])>,
    pub has_gate: bool,
    pub confidence: f64,
}

/// Characters of a hash that are shown.
const HASH: usize = 12;

pub fn document(source: &Source) -> Document {
    let (base, new) = (&source.runs.base.declared.name, &source.runs.new.declared.name);
    let title =
        if base == new { format!("{new}: what changed?") } else { format!("{new} against {base}: what changed?") };
    let mut summary = source.opening();
    summary.extend(source.gate());
    summary.extend(source.verdicts());
    let rest = [source.drift(), source.moved(), source.changed_inputs(), source.how_to_read()];
    Document { title: title.into(), summary, rest: rest.into_iter().flatten().collect() }
}

impl Source<'_> {
    fn opening(&self) -> Vec<Block> {
        let names: Vec<&str> = self.inputs.differences.iter().map(|difference| difference.fact.as_str()).collect();
        const NAMED: usize = 8;
        let inputs = match names.as_slice() {
            [] => "The inputs of the two runs are the same.".to_owned(),
            names if names.len() > NAMED => {
                format!("Of the inputs changed: {}, and {} more.", names[..NAMED].join(", "), names.len() - NAMED)
            }
            names => format!("Of the inputs changed: {}.", names.join(", ")),
        };
        let mut blocks = vec![Block::Paragraph(inputs.into())];
        if !self.inputs.refused.is_empty() {
            blocks.push(Block::Notice("Not compared", self.inputs.refused.join("; ").into()));
        }
        for (name, run) in [("base", &self.runs.base), ("new", &self.runs.new)] {
            if !run.complete() {
                let said = format!("{} of {} units of the {name} run are done", run.units_done(), run.units_expected());
                blocks.push(Block::Notice("Incomplete", said.into()));
            }
            if let Some(first) = run.damaged.first() {
                let said = format!(
                    "{} entries of the {name} run are not what was written (the first: {first})",
                    run.damaged.len()
                );
                blocks.push(Block::Notice("Damaged", said.into()));
            }
        }
        let count = |verdict| self.changes.iter().filter(|change| change.verdict == verdict).count();
        let said: Vec<String> =
            [Verdict::Worse, Verdict::Better, Verdict::CannotTell, Verdict::Unchanged, Verdict::Incomplete]
                .into_iter()
                .filter(|verdict| count(*verdict) > 0)
                .map(|verdict| format!("{} {}", count(verdict), verdict.words()))
                .collect();
        let text = Text::new()
            .strong("In short")
            .plain(format!(": of {} verdicts (a metric of a method on a task), ", self.changes.len()));
        blocks.push(Block::Paragraph(text.plain(format!("{}.", said.join(", ")))));
        blocks
    }

    fn gate(&self) -> Vec<Block> {
        if !self.has_gate {
            return Vec::new();
        }
        let mut table = Table::new(&[
            ("model", Align::Left),
            ("task", Align::Left),
            ("method", Align::Left),
            ("metric", Align::Left),
            ("gate", Align::Left),
            ("why", Align::Left),
        ]);
        for judged in self.judged {
            let (word, why) = match &judged.judgement {
                Judgement::Passed => continue,
                Judgement::Failed(why) => (Text::new().strong("failed"), why),
                Judgement::Incomplete(why) => ("incomplete".into(), why),
                Judgement::Acknowledged(why) => ("acknowledged".into(), why),
            };
            let [model, task, method, metric] =
                [&judged.model, &judged.task, &judged.method, &judged.metric].map(|name| Text::from(name.as_str()));
            let why = Text::from(format!("{why} ({})", judged.rule));
            table.row(vec![model, task, method, metric, word, why]);
        }
        let failed = self.judged.iter().filter(|judged| matches!(judged.judgement, Judgement::Failed(_))).count();
        let passed = self.judged.iter().filter(|judged| judged.judgement == Judgement::Passed).count();
        let said = match failed {
            0 => Text::new().strong("No regression").plain(format!(": {passed} of {} checks pass.", self.judged.len())),
            _ => Text::new().strong("Regression").plain(format!(": {failed} of {} checks fail.", self.judged.len())),
        };
        let mut blocks = vec![Block::Heading(2, "Gate".into()), Block::Paragraph(said)];
        if !table.is_empty() {
            blocks.push(Block::Table(self.named(table)));
        }
        blocks
    }

    fn verdicts(&self) -> Vec<Block> {
        let percent = significant(self.confidence * 100.0);
        let interval = format!("change [{percent} %, all together]");
        let mut table = Table::new(&[
            ("model", Align::Left),
            ("task", Align::Left),
            ("method", Align::Left),
            ("metric", Align::Left),
            ("verdict", Align::Left),
            ("base", Align::Right),
            ("new", Align::Right),
            (&interval, Align::Right),
            ("n", Align::Right),
            ("could show", Align::Right),
        ]);
        for change in self.changes {
            let interval = change.low.zip(change.high);
            let digits = Digits::of(interval, [change.base, change.new].into_iter().flatten());
            let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| digits.show(value));
            let difference = match change.verdict {
                Verdict::Unchanged if change.difference == Some(0.0) => "0".to_owned(),
                Verdict::Incomplete if change.n == 0 => change.why.clone().unwrap_or_default(),
                _ => digits.estimate(change.difference, interval),
            };
            let could = change.detectable.filter(|_| change.verdict == Verdict::CannotTell);
            let verdict = match change.verdict {
                Verdict::Better | Verdict::Worse => Text::new().strong(change.verdict.words()),
                verdict => verdict.words().into(),
            };
            let [model, task, method] =
                [&change.model, &change.task, &change.method].map(|name| Text::from(name.as_str()));
            let could = could.map_or(String::new(), |could| digits.beside_zero(Some(could), None).show(could));
            let numbers = [number(change.base), number(change.new), difference, change.n.to_string(), could];
            let mut row = vec![model, task, method, self.title(change).into(), verdict];
            row.extend(numbers.map(Text::from));
            table.row(row);
        }
        let mut blocks = vec![Block::Heading(2, "Verdicts".into())];
        blocks.push(Block::Table(self.named(table.without_empty("could show"))));
        blocks.extend(self.pictures());
        blocks
    }

    /// Changes of a metric on a task, where any method moved.
    fn pictures(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut groups: Vec<Vec<&Change>> = Vec::new();
        for change in self.changes.iter().filter(|change| change.low.is_some()) {
            let same = |group: &&mut Vec<&Change>| {
                let first = group[0];
                (&first.model, &first.task, &first.metric) == (&change.model, &change.task, &change.metric)
            };
            match groups.iter_mut().find(same) {
                Some(group) => group.push(change),
                None => groups.push(vec![change]),
            }
        }
        for (number, group) in groups.iter().enumerate() {
            if group.iter().all(|change| change.verdict == Verdict::Unchanged) {
                continue;
            }
            let digits = Digits::of(group.iter().filter_map(|change| change.low.zip(change.high)), []);
            let rows: Vec<Row<Estimate>> = group
                .iter()
                .filter_map(|change| {
                    let (value, interval) = (change.difference?, change.low.zip(change.high));
                    let stands_out = matches!(change.verdict, Verdict::Better | Verdict::Worse);
                    let shown = digits.estimate(Some(value), interval);
                    Some(Row { label: change.method.clone(), value: Estimate { shown, value, interval, stands_out } })
                })
                .collect();
            let first = group[0];
            let said: Vec<String> =
                group.iter().map(|change| format!("{}: {}", change.method, change.verdict.words())).collect();
            blocks.push(Block::Plot(Box::new(Plot {
                name: file_name(&["change", &(number + 1).to_string(), &first.metric]),
                title: format!("{}: {}", self.place(&first.model, &first.task), self.title(first)),
                description: said.join("; "),
                shape: Shape::Forest { rows, axis: "new minus base".to_owned(), about_zero: true },
            })));
        }
        blocks
    }

    fn drift(&self) -> Vec<Block> {
        let Some((drift, conclusions)) = self.drift else { return Vec::new() };
        let mut table = Table::new(&[
            ("model", Align::Left),
            ("task", Align::Left),
            ("method", Align::Left),
            ("prompts", Align::Right),
            ("f(x), relative", Align::Right),
            ("attributions, median", Align::Right),
            ("attributions, most", Align::Right),
            ("least rank correlation", Align::Right),
            ("another strongest token", Align::Right),
        ]);
        for drift in drift {
            let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1e}"));
            let [model, task, method] =
                [&drift.model, &drift.task, &drift.method].map(|name| Text::from(name.as_str()));
            let rank = drift.rank_least.map_or("-".to_owned(), |rank| format!("{rank:.6}"));
            let mut row = vec![model, task, method];
            let numbers = [number(drift.score), number(drift.attribution_median), number(drift.attribution_most), rank];
            row.push(drift.examples.to_string().into());
            row.extend(numbers.map(Text::from));
            row.push(drift.other_strongest.to_string().into());
            table.row(row);
        }
        let changed: Vec<Text> = conclusions
            .iter()
            .filter(|conclusion| conclusion.base != conclusion.new)
            .map(|conclusion| {
                let [base, new] = [&conclusion.base, &conclusion.new].map(|leaders| leaders.join(", "));
                format!("{}: the most faithful are {base} in the base run, {new} in the new one.", conclusion.about)
                    .into()
            })
            .collect();
        let said = match changed.len() {
            0 => Text::new().strong("No conclusion changes").plain(format!(
                ": the same methods are the most faithful, or share that place, on all {} tasks and metrics.",
                conclusions.len()
            )),
            n => Text::new()
                .strong("Conclusions change")
                .plain(format!(" on {n} of {} tasks and metrics.", conclusions.len())),
        };
        let mut blocks = vec![Block::Heading(2, "Drift".into()), Block::Paragraph(said), Block::List(changed)];
        if !table.is_empty() {
            blocks.push(Block::Table(self.named(table)));
            blocks.push(Block::Paragraph(
                "Differences of f(x) are in units of the largest f(x) of a task, those of attributions in units of the \
                 largest attribution of their prompt, of which the median and the largest over prompts are given."
                    .into(),
            ));
        }
        blocks
    }

    fn moved(&self) -> Vec<Block> {
        if self.moved.is_empty() {
            return Vec::new();
        }
        let mut table = Table::new(&[
            ("model", Align::Left),
            ("task", Align::Left),
            ("example", Align::Left),
            ("method", Align::Left),
            ("metric", Align::Left),
            ("base", Align::Right),
            ("new", Align::Right),
            ("by standard deviations", Align::Right),
        ]);
        let mut examples = Vec::new();
        for (number, moved) in self.moved.iter().enumerate() {
            let key = &moved.key;
            let [model, task, method, metric] =
                [&key.model, &key.task, &key.method, &moved.metric].map(|name| Text::from(name.as_str()));
            let link = Text::new().file(key.example_id.clone(), format!("#e{}", number + 1));
            let numbers = [moved.base, moved.new, moved.size].map(|value| Text::from(significant(value)));
            table.row([vec![model, task, link, method, metric], numbers.into()].concat());
            examples.push(example(moved));
        }
        vec![
            Block::Heading(2, "What moved most".into()),
            Block::Table(self.named(table)),
            Block::Examples(Examples { place: "attributions in both runs".to_owned(), of: examples.len(), examples }),
        ]
    }

    fn changed_inputs(&self) -> Vec<Block> {
        if self.inputs.differences.is_empty() {
            return Vec::new();
        }
        let mut table = Table::new(&[("what", Align::Left), ("base", Align::Left), ("new", Align::Left)]);
        for difference in &self.inputs.differences {
            let show = |value: &Option<String>| value.as_deref().map_or("-".to_owned(), short);
            table.row([difference.fact.clone(), show(&difference.base), show(&difference.new)].map(Text::from).into());
        }
        vec![Block::Heading(2, "What of the inputs changed".into()), Block::Table(table)]
    }

    fn how_to_read(&self) -> Vec<Block> {
        let percent = significant(self.confidence * 100.0);
        let items = vec![
            Text::prose("**unchanged**: equal on every example up to rounding, or the whole interval of the change lies within the margin of the rule that fits. **better**, **worse**: the whole interval lies on one side of 0. **cannot tell**: the interval holds no change as well as one that matters; *could show* is the smallest change that these examples would have shown with 80 % power. **incomplete**: one of the runs does not have it, or not all of it."),
            Text::prose("**Intervals** are of the mean of paired differences (new minus base, example by example): Student's, and on either side as much wider as the skewness that these examples leave possible asks for (Hall's transformation). ")
                .plain(format!("They are so wide that all of them together hold the true changes with {percent} %: where nothing changed, {} in 100 comparisons call anything better or worse.", significant(100.0 - self.confidence * 100.0))),
            Text::prose("Examples that ask something else (other tokens) and metrics of another unit are not compared. A fraction of f(x) is weighed by f(x) as the base run has it."),
        ];
        vec![Block::Heading(2, "How to read this".into()), Block::List(items)]
    }

    fn metric(&self, name: &str) -> Option<&MetricFacts> {
        let find = |metrics: &'_ [MetricFacts]| metrics.iter().position(|metric| metric.name == name);
        let (new, base) = (&self.runs.new.declared.metrics, &self.runs.base.declared.metrics);
        find(new).map(|i| &new[i]).or_else(|| find(base).map(|i| &base[i]))
    }

    fn title(&self, change: &Change) -> String {
        self.metric(&change.metric).map_or_else(|| change.metric.clone(), crate::report::sections::title)
    }

    fn several_models(&self) -> bool {
        self.runs.base.declared.models != self.runs.new.declared.models || self.runs.new.declared.models.len() > 1
    }

    fn place(&self, model: &str, task: &str) -> String {
        if self.several_models() { format!("{task} ({model})") } else { task.to_owned() }
    }

    fn named(&self, table: Table) -> Table {
        if self.several_models() { table } else { table.without("model") }
    }
}

/// Both runs side by side.
fn example(moved: &Moved) -> Example {
    let [base, new] = &moved.units;
    let tokens = [new, base].into_iter().flatten().next().map(|unit| unit.tokens.clone()).unwrap_or_default();
    let colourings = [("base", base), ("new", new)].into_iter().filter_map(|(run, unit)| {
        let vector = unit.as_ref()?.attributions.first()?;
        let label = format!("{} ({run})", moved.key.method);
        let value = if run == "base" { moved.base } else { moved.new };
        let metrics = vec![(moved.metric.clone(), significant(value))];
        Some(colouring(label, &tokens, vector, metrics))
    });
    let methods: Vec<Colouring> = colourings.collect();
    Example {
        id: format!("{}, {}", moved.key.example_id, moved.key.method),
        score: new.as_ref().and_then(|unit| unit.score).filter(|score| score.is_finite()),
        agreement: match (base, new) {
            (Some(base), Some(new)) => match (base.attributions.first(), new.attributions.first()) {
                (Some(x), Some(y)) => crate::stats::spearman(x, y),
                _ => None,
            },
            _ => None,
        },
        cut: 0,
        evidence: Vec::new(),
        tokens,
        methods,
    }
}

/// A hash by its beginning.
fn short(value: &str) -> String {
    let is_hash = value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hash { format!("{}...", &value[..HASH]) } else { value.to_owned() }
}
