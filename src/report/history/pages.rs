//! What a history says.

use super::Series;
use super::record::Night;
use crate::config::Margin;
use crate::report::document::{Align, Axis, Block, Document, Plot, Point, Series as Line, Shape, Table, Text};
use crate::report::sections::{file_name, significant};

pub fn document(nights: &[Night], series: &[Series], margin: Margin) -> Document {
    let margin = match margin {
        Margin::Absolute(margin) => significant(margin),
        Margin::Relative(share) => format!("{} %", significant(share * 100.0)),
    };
    let several = series.iter().any(|one| one.model != series[0].model);
    let page = Page { nights, series, margin, several };
    let first = nights.first().map_or("", |night| day(&night.date));
    let last = nights.last().map_or("", |night| day(&night.date));
    let said = match nights.len() {
        1 => format!("One run, of {first}."),
        n => format!("{n} runs, from {first} to {last}."),
    };
    let mut summary = vec![Block::Paragraph(said.into())];
    summary.extend(page.steps());
    Document {
        title: "Night after night".into(),
        summary,
        rest: [page.trends(), page.levels(), page.runs(), page.how_to_read()].into_iter().flatten().collect(),
    }
}

struct Page<'a> {
    nights: &'a [Night],
    series: &'a [Series],
    margin: String,
    several: bool,
}

fn day(date: &str) -> &str {
    date.split('T').next().unwrap_or(date)
}

impl Page<'_> {
    fn steps(&self) -> Vec<Block> {
        let worse = self.series.iter().filter(|series| series.is_worse).count();
        let stepped = self.series.iter().filter(|series| !series.steps.is_empty()).count();
        let said = match (worse, stepped) {
            (0, 0) => Text::new().strong("Nights unchanged").plain(": no series has a step."),
            (0, _) => Text::new().strong("Nothing is worse by more than the margin").plain(format!(
                " of {} since the first night; {stepped} of {} series have steps.",
                self.margin,
                self.series.len()
            )),
            _ => Text::new().strong("Worse").plain(format!(
                ": {worse} of {} series are worse than on the first night by more than {}; {stepped} have steps.",
                self.series.len(),
                self.margin
            )),
        };
        let mut table = self.table(&["since", "from", "to", "change", ""]);
        for series in self.series {
            for (i, step) in series.steps.iter().enumerate() {
                let (Some(from), Some(to)) = (series.levels.get(i), series.levels.get(i + 1)) else { continue };
                let night = series.nights.get(*step).and_then(|night| self.nights.get(*night));
                let word = if (to > from) == series.higher_is_better { "better" } else { "worse" };
                let date = night.map_or(String::new(), |night| day(&night.date).to_owned());
                table.row(
                    self.row(
                        series,
                        [date, significant(*from), significant(*to), percent(*from, *to), word.to_owned()],
                    ),
                );
            }
        }
        let mut blocks = vec![Block::Heading(2, "Nights".into()), Block::Paragraph(said)];
        if !table.is_empty() {
            blocks.push(Block::Table(table));
        }
        blocks
    }

    fn levels(&self) -> Vec<Block> {
        let mut table = self.table(&["nights", "first level", "last level", "change", ""]);
        for series in self.series {
            let (Some(first), Some(last)) = (series.levels.first(), series.levels.last()) else { continue };
            let word = if series.is_worse { "worse" } else { "" };
            let cells =
                [series.means.len().to_string(), significant(*first), significant(*last), percent(*first, *last)];
            let [nights, first, last, change] = cells;
            table.row(self.row(series, [nights, first, last, change, word.to_owned()]));
        }
        vec![Block::Heading(2, "First and last".into()), Block::Table(table)]
    }

    fn trends(&self) -> Vec<Block> {
        if self.nights.len() < 2 {
            return Vec::new();
        }
        let mut groups: Vec<Vec<&Series>> = Vec::new();
        for series in self.series {
            let same = |group: &&mut Vec<&Series>| {
                (&group[0].model, &group[0].task, &group[0].metric) == (&series.model, &series.task, &series.metric)
            };
            match groups.iter_mut().find(same) {
                Some(group) => group.push(series),
                None => groups.push(vec![series]),
            }
        }
        let mut blocks = vec![Block::Heading(2, "Trends".into())];
        for (number, group) in groups.iter().enumerate() {
            let first = group[0];
            let lines: Vec<Line> = group
                .iter()
                .enumerate()
                .map(|(look, series)| {
                    let points = series.nights.iter().zip(&series.means).zip(&series.intervals);
                    let point = |((night, y), interval): ((&usize, &f64), &Option<(f64, f64)>)| Point {
                        x: (night + 1) as f64,
                        y: *y,
                        interval: *interval,
                    };
                    Line { label: series.method.clone(), look, points: points.map(point).collect() }
                })
                .collect();
            let place = if self.several { format!("{} ({})", first.task, first.model) } else { first.task.clone() };
            let of = |series: &&Series| format!("{}: {} steps", series.method, series.steps.len());
            blocks.push(Block::Plot(Box::new(Plot {
                name: file_name(&["trend", &(number + 1).to_string(), &first.metric]),
                title: format!("{place}: {}", first.metric.replace('_', " ")),
                description: group.iter().map(of).collect::<Vec<_>>().join("; "),
                shape: Shape::Lines {
                    series: lines,
                    x: Axis::new("run, the first is 1"),
                    y: Axis::new(format!("mean {}", if first.higher_is_better { "↑" } else { "↓" })),
                },
            })));
        }
        blocks
    }

    fn runs(&self) -> Vec<Block> {
        let mut table = Table::new(&[
            ("run", Align::Right),
            ("date", Align::Left),
            ("folder", Align::Left),
            ("program", Align::Left),
        ]);
        for (number, night) in self.nights.iter().enumerate() {
            let cells = [(number + 1).to_string(), night.date.clone(), night.run.clone(), night.program.clone()];
            table.row(cells.map(Text::from).into());
        }
        vec![Block::Heading(2, "Runs".into()), Block::Table(table)]
    }

    fn how_to_read(&self) -> Vec<Block> {
        let items = vec![
            Text::prose(
                "**Steps** are where a series changes its level for good: the split with the largest difference of means on its sides, in units of the noise from one night to the next, then each side by itself. A series without steps is said to have one once in a thousand times. A series that repeats itself to the digit has no noise, and any change is a step.",
            ),
            Text::prose(
                "**Levels** are means from one step to the next. The first and the last are compared, so that several small changes count as the one that they are together.",
            ),
            Text::prose("What runs measured is in `history.csv`, also of runs whose folders are gone."),
        ];
        vec![Block::Heading(2, "How to read this".into()), Block::List(items)]
    }

    fn table(&self, more: &[&str]) -> Table {
        let mut columns =
            vec![("model", Align::Left), ("task", Align::Left), ("method", Align::Left), ("metric", Align::Left)];
        columns.extend(
            more.iter()
                .map(|name| (*name, if name.is_empty() || *name == "since" { Align::Left } else { Align::Right })),
        );
        let table = Table::new(&columns);
        if self.several { table } else { table.without("model") }
    }

    fn row<const N: usize>(&self, series: &Series, more: [String; N]) -> Vec<Text> {
        let names = [&series.model, &series.task, &series.method, &series.metric].map(|name| Text::from(name.as_str()));
        names.into_iter().skip(usize::from(!self.several)).chain(more.map(Text::from)).collect()
    }
}

/// "-4.0 %"
fn percent(from: f64, to: f64) -> String {
    if from == 0.0 { "-".to_owned() } else { format!("{:+.1} %", 100.0 * (to - from) / from.abs()) }
}
