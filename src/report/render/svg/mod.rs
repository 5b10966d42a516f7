//! Plots as SVG: readable without style sheets, in light and in dark.
//!
//! Everything is said by presentation attributes, which no content policy blocks. Text and axes have the colour of the
//! text around them (`currentColor`); data have colours with a contrast of three to one or more on white and on near
//! black, and are told apart by dashes and labels as well.

mod canvas;
mod forest;
mod lines;
mod matrix;
mod scale;
mod scatter;
mod spreads;

use super::super::document::{Plot, Shape};
use canvas::Canvas;

/// A file of its own, on white.
pub fn file(plot: &Plot) -> String {
    let canvas = draw(plot);
    let (width, height) = (canvas.width(), canvas.height());
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         role=\"img\" color=\"#1b1f24\" font-family=\"system-ui, sans-serif\">"
    );
    text.push_str(&words(plot, "title", "description"));
    text.push_str(&format!("<rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>"));
    text.push_str(&canvas.into_body());
    text.push_str("</svg>\n");
    text
}

/// Part of a page; `id` tells it from the page's other plots.
pub fn inline(plot: &Plot, id: &str) -> String {
    let canvas = draw(plot);
    let (width, height) = (canvas.width(), canvas.height());
    let (title, description) = (format!("{id}t"), format!("{id}d"));
    let mut text = format!(
        "<svg width=\"{width}\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-labelledby=\"{title} {description}\" \
         font-family=\"system-ui, sans-serif\">"
    );
    text.push_str(&words(plot, &title, &description));
    text.push_str(&canvas.into_body());
    text.push_str("</svg>");
    text
}

fn words(plot: &Plot, title: &str, description: &str) -> String {
    format!(
        "<title id=\"{title}\">{}</title><desc id=\"{description}\">{}</desc>",
        canvas::escape(&plot.title),
        canvas::escape(&plot.description)
    )
}

fn draw(plot: &Plot) -> Canvas {
    match &plot.shape {
        Shape::Forest { rows, axis, about_zero } => forest::draw(rows, axis, *about_zero),
        Shape::Spreads { rows, axis } => spreads::draw(rows, axis),
        Shape::Lines { series, x, y } => lines::draw(series, x, y),
        Shape::Scatter { points, x, y } => scatter::draw(points, x, y),
        Shape::Matrix(matrix) => matrix::draw(matrix),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::document::{Axis, Estimate, Matrix, Point, Row, Series, Spread};

    fn plot(shape: Shape) -> Plot {
        Plot { name: "p".into(), title: "<t> & \u{202e}".into(), description: "\"d\"".into(), shape }
    }

    /// Every shape with hostile labels and numbers of every size.
    fn all() -> Vec<Plot> {
        let label = || "<script>alert(1)</script>&\u{1b}".repeat(3);
        let numbers = [0.0, -1e300, 1e-300, 5.0, f64::NAN, f64::INFINITY];
        let point = |x: f64| Point { x, y: x, interval: Some((x - 1.0, x + 1.0)) };
        let row = |value: f64| Row {
            label: label(),
            value: Estimate { shown: "5 [4, 6]".into(), value, interval: Some((value, value)), stands_out: true },
        };
        let spread = |x: f64| Row {
            label: label(),
            value: Spread { quantiles: [x; 5], mean: x, range: (x, x), histogram: vec![0, 3, 1] },
        };
        let axis = || Axis::new(label());
        let shapes = [
            Shape::Forest { rows: numbers.map(row).into(), axis: label(), about_zero: true },
            Shape::Forest { rows: vec![], axis: label(), about_zero: false },
            Shape::Spreads { rows: numbers.map(spread).into(), axis: label() },
            Shape::Spreads { rows: vec![], axis: label() },
            Shape::Lines {
                series: vec![
                    Series { label: label(), look: 0, points: numbers.map(point).into() },
                    Series { label: label(), look: 77, points: vec![] },
                ],
                x: axis(),
                y: axis(),
            },
            Shape::Scatter {
                points: numbers.map(|x| Row { label: label(), value: point(x) }).into(),
                x: Axis { logarithmic: true, ..axis() },
                y: axis(),
            },
            Shape::Matrix(Matrix {
                labels: vec![label(), label()],
                cells: vec![vec![Some(1.0), None], vec![Some(f64::NAN), Some(-2.0)]],
            }),
            Shape::Matrix(Matrix { labels: vec![], cells: vec![] }),
        ];
        shapes.into_iter().map(plot).collect()
    }

    #[test]
    fn nothing_in_a_plot_is_markup_or_no_number() {
        for plot in all() {
            for text in [file(&plot), inline(&plot, "p1")] {
                assert!(!text.contains("<script") && !text.contains(['\u{1b}', '\u{202e}']), "{text}");
                assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
                assert!(!text.contains("style="), "{text}");
                let (open, close) = (text.matches("<text").count(), text.matches("</text>").count());
                assert_eq!(open, close);
                assert!(text.contains("role=\"img\"") && text.contains("<title id="));
                assert_eq!(text, if text.contains("xmlns") { file(&plot) } else { inline(&plot, "p1") });
            }
        }
    }
}
