//! Labelled points.

use super::canvas::{Anchor, Canvas, Look, WIDTH, width_of};
use super::scale::Scale;
use crate::report::document::{Axis, Point, Row};

const LEFT: f64 = 52.0;
const RIGHT: f64 = WIDTH - 12.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 258.0;
/// Between two labels, one below the other.
const APART: f64 = 14.0;

pub fn draw(points: &[Row<Point>], x: &Axis, y: &Axis) -> Canvas {
    let mut canvas = Canvas::new(BOTTOM + 44.0);
    let heights = points.iter().flat_map(|row| {
        let (low, high) = row.value.interval.unwrap_or((row.value.y, row.value.y));
        [row.value.y, low, high]
    });
    let across = if x.logarithmic { Scale::logarithmic } else { Scale::holding };
    let across = across(points.iter().map(|row| row.value.x).collect::<Vec<_>>(), LEFT, RIGHT);
    let up = Scale::holding(heights, BOTTOM - 6.0, TOP + 6.0);
    up.draw_left(&mut canvas, LEFT, RIGHT);
    across.draw_below(&mut canvas, TOP, BOTTOM, &x.label);
    canvas.label(8.0, 16.0, Anchor::Start, WIDTH - 16.0, &y.label);
    let look = Look { dash: "", ..Look::of(0) };
    let mut labels: Vec<(f64, f64, &str)> = Vec::new();
    for row in points {
        let Point { x, y, interval } = row.value;
        let (Some(left), Some(height)) = (across.at(x), up.at(y)) else { continue };
        if let Some((low, high)) = interval {
            canvas.line(&[(left, up.near(low)), (left, up.near(high))], look, 2.0);
        }
        canvas.dot(left, height, look.colour, true);
        labels.push((left, height, &row.label));
    }
    // From top to bottom; one that would cover another moves down.
    labels.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.total_cmp(&b.0)));
    let mut taken: Vec<(f64, f64, f64)> = Vec::new();
    for (x, y, label) in labels {
        let width = width_of(label).min(150.0);
        let to_the_right = x + 10.0 + width <= RIGHT;
        let (from, anchor, place) =
            if to_the_right { (x + 9.0, Anchor::Start, x + 9.0) } else { (x - 9.0 - width, Anchor::End, x - 9.0) };
        let mut height = y + 4.0;
        while let Some((.., other)) = taken
            .iter()
            .find(|(start, end, other)| from < *end && from + width > *start && (height - other).abs() < APART)
        {
            height = other + APART;
        }
        taken.push((from, from + width, height));
        canvas.label(place, height, anchor, 150.0, label);
    }
    canvas
}
