//! Plots of curves whose points are things of their own: a metric against the layer, the distribution of self-repair, soft
//! metrics against the share that stays.

use crate::report::by_step::{Compared, Points};
use crate::report::document::{Axis, Block, Plot, Point, Series, Shape};
use crate::report::gather::Panel;

use super::Source;
use super::pictures::file_name;

impl Source<'_> {
    /// Means at every layer, or at every quantile, with bands.
    pub(super) fn by_step(&self, panel: &Panel, number: usize) -> Vec<Block> {
        let plot = |compared: Compared| {
            let series = self.series(panel, &compared);
            if series.is_empty() {
                return None;
            }
            let said: Vec<String> = series.iter().map(|one| said(one, compared.points)).collect();
            let name = compared.curve.replace('_', " ");
            let unit = panel.dataset.as_ref().map(|dataset| dataset.score.replace('_', " "));
            let (title, x, y) = match compared.points {
                Points::Layers => (
                    format!("{name}, layer by layer: {}", panel.task),
                    "layer, 0 the first".to_owned(),
                    format!("fall of f(x), {}, mean over examples", unit.as_deref().unwrap_or("score")),
                ),
                Points::Quantiles => (
                    format!("{name} of attention: {}", panel.task),
                    "rows of attention, %, by their interaction".to_owned(),
                    "interaction, mean over examples".to_owned(),
                ),
                Points::Shares => (
                    format!("{name}, share by share: {}", panel.task),
                    "of the ranked tokens' numbers that stay, %".to_owned(),
                    "soft metric, mean over examples".to_owned(),
                ),
            };
            Some(Block::Plot(Box::new(Plot {
                name: file_name(&["curve", &(number + 1).to_string(), compared.curve]),
                title,
                description: format!(
                    "Means over {} examples with {} % bands. {}.",
                    compared.examples,
                    self.confidence(),
                    said.join("; ")
                ),
                shape: Shape::Lines { series, x: Axis::new(x), y: Axis::new(y) },
            })))
        };
        panel.by_step.compared().into_iter().filter_map(plot).collect()
    }

    fn series(&self, panel: &Panel, compared: &Compared) -> Vec<Series> {
        let declared = &self.gathered.declared;
        // A property of the model and its prompts is the same whatever the method.
        let count = if compared.points == Points::Quantiles { 1 } else { compared.methods.len() };
        let series = compared.methods.iter().take(count).map(|(method, by_step)| {
            let points = by_step.iter().filter(|(_, moments)| moments.n() >= compared.examples.min(2));
            let points = points.filter_map(|(&step, moments)| {
                let interval = moments.mean_interval(declared.confidence).map(|interval| (interval.low, interval.high));
                Some(Point { x: step as f64, y: moments.mean()?, interval })
            });
            let label = match compared.points {
                Points::Quantiles => "all methods".to_owned(),
                Points::Layers | Points::Shares => {
                    self.method(&panel.model, Some(&panel.task), &declared.methods[*method])
                }
            };
            Series { label, look: *method, points: points.collect() }
        });
        series.filter(|series| series.points.len() > 1).collect()
    }
}

/// A curve in words.
fn said(series: &Series, points: Points) -> String {
    let first_and_last = [series.points.first(), series.points.last()].into_iter().flatten();
    let middle = series.points.get(series.points.len() / 2);
    match points {
        Points::Layers => {
            let highest = series.points.iter().max_by(|a, b| a.y.total_cmp(&b.y));
            let shown: Vec<String> =
                first_and_last.chain(highest).map(|point| format!("{:.2} at layer {}", point.y, point.x)).collect();
            format!("{}: {}", series.label, shown.join(", the largest ").replacen(", the largest ", ", ", 1))
        }
        // At the ends all methods are the same.
        Points::Shares => {
            let middle = middle.map_or(String::new(), |point| format!("{:.2} at {} %", point.y, point.x));
            format!("{}: {middle}", series.label)
        }
        Points::Quantiles => {
            let shown: Vec<String> =
                first_and_last.chain(middle).map(|point| format!("{:.2} at {} %", point.y, point.x)).collect();
            format!("{}: {}", series.label, shown.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_in_words() {
        let point = |x: f64, y: f64| Point { x, y, interval: None };
        let series = Series {
            label: "gim".to_owned(),
            look: 0,
            points: vec![point(0.0, 1.0), point(1.0, 3.0), point(2.0, 2.0)],
        };
        assert_eq!(said(&series, Points::Layers), "gim: 1.00 at layer 0, 2.00 at layer 2, the largest 3.00 at layer 1");
        assert_eq!(said(&series, Points::Quantiles), "gim: 1.00 at 0 %, 2.00 at 2 %, 3.00 at 1 %");
        assert_eq!(said(&series, Points::Shares), "gim: 3.00 at 1 %");
    }
}
