//! One task by one metric: the methods from the most faithful to the least.

use crate::report::analysis::{Comparison, Summary, faithful};
use crate::report::document::{Align, Table, Text};
use crate::report::gather::{Panel, RANDOM};
use crate::stats::Distribution;
use crate::store::{Declared, MetricFacts};

use super::numbers::{Digits, p_value};
use super::verdict::{Lead, Verdict};
use super::{COULD_SHOW, Source, cells, count, label};

pub struct Standing<'a> {
    declared: &'a Declared,
    pub panel: &'a Panel,
    pub metric: &'a MetricFacts,
    /// Only methods that have values.
    pub best: Place<'a>,
    pub others: Vec<Place<'a>>,
    pub digits: Digits,
}

pub struct Place<'a> {
    /// As a cell.
    pub name: String,
    pub summary: &'a Summary,
    /// Of the best over this one.
    pub comparison: Option<&'a Comparison>,
    /// Of the differences of that comparison.
    pub differences: Option<&'a Distribution>,
    pub lead: Option<Lead>,
}

impl Place<'_> {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn told_apart(&self) -> bool {
        self.lead.is_some_and(|lead| lead.verdict().told_apart())
    }
}

impl<'a> Source<'a> {
    /// `None` where no method has a value.
    pub(super) fn standing(&self, panel: &'a Panel, metric: &'a MetricFacts) -> Option<Standing<'a>> {
        let key = [&panel.model, &panel.task, &metric.name].map(String::as_str);
        let mut order: Vec<&Summary> =
            self.summaries.get(&key)?.iter().copied().filter(|summary| summary.mean.is_some()).collect();
        let mean = |summary: &Summary| summary.mean.map_or(f64::NEG_INFINITY, |mean| faithful(metric, mean));
        order.sort_by(|a, b| mean(b).total_cmp(&mean(a)));
        let best = *order.first()?;
        let name = |summary: &Summary| self.method(&panel.model, Some(&panel.task), &summary.method);
        let comparisons = self.comparisons.get(&key).map_or(&[][..], Vec::as_slice);
        let others: Vec<Place> = order[1..]
            .iter()
            .map(|other| {
                let pair = [&best.method, &other.method];
                let found =
                    comparisons.iter().find(|(c, _)| pair.contains(&&c.method_a) && pair.contains(&&c.method_b));
                let comparison = found.map(|(comparison, _)| *comparison);
                let means = [best.mean, other.mean];
                let lead = comparison.map(|c| Lead::on_task(c, &best.method, metric, means));
                let differences = found.and_then(|(_, differences)| *differences);
                Place { name: name(other), summary: other, comparison, differences, lead }
            })
            .collect();
        let means = order.iter().filter_map(|summary| summary.ci_low.zip(summary.ci_high));
        let differences = others.iter().filter_map(|place| place.lead?.interval());
        let digits = Digits::of(means.chain(differences), order.iter().filter_map(|summary| summary.mean));
        Some(Standing {
            declared: &self.gathered.declared,
            panel,
            metric,
            best: Place { name: name(best), summary: best, comparison: None, differences: None, lead: None },
            others,
            digits,
        })
    }
}

impl Standing<'_> {
    /// "53 examples, logits"
    pub fn size(&self) -> String {
        let n = count(self.best.summary.n, "example");
        match unit(self.panel, self.metric) {
            "" => n,
            unit => format!("{n}, {unit}"),
        }
    }

    /// The cells of the first table from "most faithful" on.
    pub fn cells(&self) -> Vec<Text> {
        let n = self.best.summary.n.to_string();
        let mut row = cells([self.best.name(), self.mean(self.best.summary)]);
        row.extend(match self.others.first().map(|place| (place, place.lead)) {
            Some((second, Some(lead))) => cells([
                second.name(),
                lead.show(self.digits),
                p_value(lead.p),
                n,
                lead.words(),
                lead.could_show(self.digits).unwrap_or_default(),
            ]),
            _ => cells(["-".into(), "-".into(), "-".into(), n, "alone".into(), String::new()]),
        });
        row
    }

    /// Of the best over the runner-up.
    pub fn first_lead(&self) -> Option<Lead> {
        self.others.first()?.lead
    }

    /// How many of the others cannot be told from the best: those before the first that can.
    fn ties(&self) -> usize {
        self.others.iter().take_while(|place| !place.told_apart()).count()
    }

    /// The best, and those that cannot be told from it.
    pub fn leaders(&self) -> Vec<String> {
        [&self.best].into_iter().chain(self.others.iter().take(self.ties())).map(Place::name).collect()
    }

    /// Whether random attributions are as good as any.
    pub fn random_is_not_beaten(&self) -> bool {
        self.is_random(&self.best) || self.others.iter().any(|place| self.is_random(place) && !place.told_apart())
    }

    pub fn sentence(&self, place: &str) -> Text {
        let metric = label(self.metric);
        let best = self.best.name();
        let Some(lead) = self.first_lead() else {
            return format!("On {place}, {best} is the only method with values of {metric}.").into();
        };
        if lead.verdict() == Verdict::TooFewExamples {
            let n = count(lead.n, "example");
            return format!("On {place}, {n} cannot tell which method is most faithful by {metric}.").into();
        }
        let ties = self.ties();
        let beats = |place: &Place| {
            let lead = place.lead.filter(|_| place.told_apart())?;
            Some(format!("beats the next, {}, by {}, {}", place.name(), self.by(&lead), lead.verdict().words()))
        };
        let next = self.others.get(ties).and_then(beats);
        let start = Text::from(format!("On {place}, by {metric}, "));
        let mut sentence = match (ties, next) {
            (0, next) => start.strong(best).plain(format!(" {}.", next.unwrap_or_default())),
            (_, next) => {
                let mut names = self.leaders();
                let last = names.pop().unwrap_or_default();
                let rest = match next {
                    Some(next) => format!("; {best} {next}"),
                    None if ties == 1 => {
                        let could = lead.could_show(self.digits);
                        let could =
                            could.map_or(String::new(), |d| format!("; this sample could have shown one of {d}"));
                        format!(" (a difference of {}{could})", self.by(&lead))
                    }
                    None => String::new(),
                };
                start.plain(format!("{} and {last} cannot be told apart{rest}.", names.join(", ")))
            }
        };
        if self.is_random(&self.best) {
            sentence = sentence.plain(" ").strong("No method is ahead of random attributions.");
        } else if self.random_is_not_beaten() {
            sentence = sentence.plain(" ").strong("Not even the best is told from random attributions.");
        }
        sentence
    }

    fn is_random(&self, place: &Place) -> bool {
        self.declared.method_of(&place.summary.method) == RANDOM
    }

    pub fn table(&self, confidence: &str) -> Table {
        let mut table = Table::new(&[
            ("", Align::Right),
            ("method", Align::Left),
            (&format!("mean [{confidence} % CI]"), Align::Right),
            ("median", Align::Right),
            ("sd", Align::Right),
            (&format!("first ahead by [{confidence} % CI]"), Align::Right),
            ("p", Align::Right),
            ("wins / ties / losses", Align::Right),
            ("how sure", Align::Left),
            (COULD_SHOW, Align::Right),
        ]);
        for (i, place) in [&self.best].into_iter().chain(&self.others).enumerate() {
            let show = |value: Option<f64>| value.map_or("-".to_string(), |value| self.digits.show(value));
            let summary = place.summary;
            let mut row =
                cells([(i + 1).to_string(), place.name(), self.mean(summary), show(summary.median), show(summary.sd)]);
            match (place.lead, place.comparison) {
                (Some(lead), Some(c)) => {
                    let first_is_a = c.method_a == self.best.summary.method;
                    let (wins, losses) = if first_is_a { (c.wins, c.losses) } else { (c.losses, c.wins) };
                    row.extend(cells([
                        lead.show(self.digits),
                        p_value(lead.p),
                        format!("{wins} / {} / {losses}", c.ties),
                        lead.words(),
                        lead.could_show(self.digits).unwrap_or_default(),
                    ]));
                }
                _ => row.extend([const { Text(Vec::new()) }; 5]),
            }
            table.row(row);
        }
        table.without_empty(COULD_SHOW)
    }

    fn mean(&self, summary: &Summary) -> String {
        self.digits.estimate(summary.mean, summary.ci_low.zip(summary.ci_high))
    }

    /// "1.20 logits [0.80, 1.70]"
    fn by(&self, lead: &Lead) -> String {
        let digits = self.digits.beside_zero(lead.mean, lead.interval());
        let mean = lead.mean.map_or("-".to_string(), |mean| digits.show(mean));
        let interval = digits.interval(lead.interval());
        match unit(self.panel, self.metric) {
            "" => format!("{mean} {interval}"),
            unit => format!("{mean} {unit} {interval}"),
        }
    }
}

/// What a metric's values are counted in; empty where it is free of unit, or nobody said.
pub fn unit(panel: &Panel, metric: &MetricFacts) -> &'static str {
    match panel.dataset.as_ref().map(|dataset| dataset.score.as_str()) {
        Some("logit" | "logit_difference") if metric.in_score_units => "logits",
        Some("probability") if metric.in_score_units => "of probability",
        Some("log_probability") if metric.in_score_units => "nats",
        _ => "",
    }
}
