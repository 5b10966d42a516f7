//! What is shown as a plot: paired differences, their distributions, curves, and how alike the methods are.

use crate::report::curves::STEPS;
use crate::report::document::{Axis, Block, Estimate, Matrix, Plot, Point, Row, Series, Shape, Spread};
use crate::report::gather::Panel;
use crate::stats::Distribution;

use super::standing::{Standing, unit};
use super::{Source, label};

/// A step of a curve is shown where at least this share of the examples reaches it.
const REACHED: f64 = 0.9;

/// A file name of parts that may be a stranger's.
pub fn file_name(parts: &[&str]) -> String {
    const LONGEST: usize = 60;
    let mut name = String::new();
    for c in parts.join("-").chars() {
        match c.to_ascii_lowercase() {
            c if c.is_ascii_alphanumeric() => name.push(c),
            _ if name.ends_with('-') || name.is_empty() => {}
            _ => name.push('-'),
        }
    }
    name.truncate(LONGEST);
    name.trim_end_matches('-').to_owned()
}

impl Standing<'_> {
    /// How far the best is ahead of each other method: intervals, and distributions over examples. `panel`: its number.
    pub fn pictures(&self, panel: usize) -> Vec<Block> {
        let best = &self.best.name;
        let axis = match unit(self.panel, self.metric) {
            "" => format!("{best} ahead by, {}", label(self.metric)),
            unit => format!("{best} ahead by, {} ({unit})", label(self.metric)),
        };
        let number = (panel + 1).to_string();
        let (mut estimates, mut spreads, mut said) = (Vec::new(), Vec::new(), Vec::new());
        for place in &self.others {
            let (Some(lead), Some(comparison)) = (place.lead, place.comparison) else { continue };
            let Some(value) = lead.mean else { continue };
            estimates.push(Row {
                label: place.name.clone(),
                value: Estimate {
                    shown: lead.show(self.digits),
                    value,
                    interval: lead.interval(),
                    stands_out: lead.verdict().told_apart(),
                },
            });
            said.push(format!("over {}: {}, {}", place.name, lead.show(self.digits), lead.verdict().words()));
            // Turned as the lead is.
            let turned = (comparison.method_a == self.best.summary.method) != self.metric.higher_is_better;
            if let Some(differences) = place.differences {
                spreads.push(Row { label: place.name.clone(), value: spread(differences, turned) });
            }
        }
        if estimates.is_empty() {
            return Vec::new();
        }
        let median =
            |row: &Row<Spread>| format!("over {}: median {}", row.label, self.digits.show(row.value.quantiles[2]));
        let of_spreads: Vec<String> = spreads.iter().map(median).collect();
        let forest = Plot {
            name: file_name(&["differences", &number, &self.metric.name]),
            title: format!("How far {best} is ahead: {}, {}", self.panel.task, label(self.metric)),
            description: format!("Mean differences with their intervals. {best} {}.", said.join("; ")),
            shape: Shape::Forest { rows: estimates, axis: axis.clone(), about_zero: true },
        };
        let spread = Plot {
            name: file_name(&["distribution", &number, &self.metric.name]),
            title: format!("The same differences, example by example: {}, {}", self.panel.task, label(self.metric)),
            description: format!("Distributions over examples. {best} {}.", of_spreads.join("; ")),
            shape: Shape::Spreads { rows: spreads, axis },
        };
        vec![Block::Plot(Box::new(forest)), Block::Plot(Box::new(spread))]
    }
}

fn spread(differences: &Distribution, turned: bool) -> Spread {
    let Distribution { mean, quantiles, range, histogram } = differences.clone();
    if !turned {
        return Spread { quantiles, mean, range, histogram };
    }
    let [a, b, c, d, e] = quantiles;
    Spread {
        quantiles: [-e, -d, -c, -b, -a],
        mean: -mean,
        range: (-range.1, -range.0),
        histogram: histogram.into_iter().rev().collect(),
    }
}

impl Source<'_> {
    /// Mean curves of a task, with bands.
    pub(super) fn curves(&self, panel: &Panel, number: usize) -> Vec<Block> {
        let declared = &self.gathered.declared;
        let mut blocks = Vec::new();
        for compared in panel.curves.compared() {
            let least = (REACHED * compared.examples as f64).ceil().max(2.0) as usize;
            let mut series = Vec::new();
            for (method, mean) in &compared.methods {
                let points: Vec<Point> = mean
                    .iter()
                    .enumerate()
                    .filter(|(_, moments)| moments.n() >= least)
                    .filter_map(|(step, moments)| {
                        let interval = moments.mean_interval(declared.confidence)?;
                        let x = step as f64 / STEPS as f64;
                        Some(Point { x, y: moments.mean()?, interval: Some((interval.low, interval.high)) })
                    })
                    .collect();
                if points.len() > 1 {
                    let label = self.method(&panel.model, Some(&panel.task), &declared.methods[*method]);
                    series.push(Series { label, look: *method, points });
                }
            }
            if series.is_empty() {
                continue;
            }
            let last = |series: &Series| {
                let (first, last) = (series.points.first(), series.points.last());
                let show = |point: Option<&Point>| point.map_or(String::new(), |p| format!("{:.2} at {:.2}", p.y, p.x));
                format!("{}: from {} to {}", series.label, show(first), show(last))
            };
            let said: Vec<String> = series.iter().map(last).collect();
            let name = compared.curve.replace('_', " ");
            let unit = match panel.dataset.as_ref().map(|dataset| dataset.score.replace('_', " ")) {
                Some(score) => format!("f(x), {score}"),
                None => "f(x)".to_owned(),
            };
            blocks.push(Block::Plot(Box::new(Plot {
                name: file_name(&["curve", &(number + 1).to_string(), compared.curve]),
                title: format!("{name} curves: {}", panel.task),
                description: format!(
                    "Means over {} examples with {} % bands, at the fractions that nine in ten examples reach. {}.",
                    compared.examples,
                    self.confidence(),
                    said.join("; ")
                ),
                shape: Shape::Lines {
                    series,
                    x: Axis::new("fraction of the ranked tokens replaced"),
                    y: Axis::new(format!("{unit}, mean over examples")),
                },
            })));
        }
        blocks
    }

    /// How alike the methods rank a task's tokens.
    pub(super) fn agreement(&self, panel: &Panel, number: usize) -> Option<Block> {
        let methods = &self.gathered.declared.methods;
        if methods.len() < 2 || panel.agreement.examples() == 0 {
            return None;
        }
        let cell = |a: usize, b: usize| panel.agreement.between(a, b).map(|(r, _)| r);
        let cells: Vec<Vec<Option<f64>>> =
            (0..methods.len()).map(|a| (0..methods.len()).map(|b| cell(a, b)).collect()).collect();
        let mut said = Vec::new();
        for (a, row) in cells.iter().enumerate() {
            for (b, r) in row.iter().enumerate().skip(a + 1) {
                said.extend(r.map(|r| format!("{} and {}: {r:.2}", methods[a], methods[b])));
            }
        }
        let labels = methods.iter().map(|method| self.method(&panel.model, Some(&panel.task), method)).collect();
        Some(Block::Plot(Box::new(Plot {
            name: file_name(&["agreement", &(number + 1).to_string()]),
            title: format!("Do the methods agree? {}", panel.task),
            description: format!(
                "Rank correlation (Spearman) of two methods' attributions, mean over {} examples. {}.",
                panel.agreement.examples(),
                said.join("; ")
            ),
            shape: Shape::Matrix(Matrix { labels, cells }),
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::file_name;

    #[test]
    fn file_names_are_harmless() {
        assert_eq!(file_name(&["curve", "1", "a_b"]), "curve-1-a-b");
        assert_eq!(file_name(&["cost", "1", "../../etc/passwd\u{202e}\n"]), "cost-1-etc-passwd");
        assert_eq!(file_name(&["cost", "1", &"x".repeat(200)]).len(), 60);
    }
}
