//! Curves with bands, and a legend.

use super::canvas::{Anchor, Canvas, Look, WIDTH};
use super::scale::Scale;
use crate::report::document::{Axis, Point, Series};

const LEFT: f64 = 52.0;
const RIGHT: f64 = WIDTH - 12.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 248.0;
const LEGEND: f64 = 18.0;

pub fn draw(series: &[Series], x: &Axis, y: &Axis) -> Canvas {
    let rows = series.len().div_ceil(2) as f64;
    let mut canvas = Canvas::new(BOTTOM + 52.0 + LEGEND * rows);
    let points = || series.iter().flat_map(|series| &series.points);
    let heights = points().flat_map(|point| {
        let (low, high) = point.interval.unwrap_or((point.y, point.y));
        [point.y, low, high]
    });
    let across = if x.logarithmic { Scale::logarithmic } else { Scale::holding };
    let across = across(points().map(|point| point.x).collect::<Vec<_>>(), LEFT, RIGHT);
    let up = Scale::holding(heights, BOTTOM, TOP);
    up.draw_left(&mut canvas, LEFT, RIGHT);
    across.draw_below(&mut canvas, TOP, BOTTOM, &x.label);
    canvas.label(8.0, 16.0, Anchor::Start, WIDTH - 16.0, &y.label);
    for series in series {
        let look = Look::of(series.look);
        let at = |point: &Point, number: f64| Some((across.at(point.x)?, up.at(number)?));
        let lower = series.points.iter().filter_map(|point| at(point, point.interval?.0));
        let upper = series.points.iter().filter_map(|point| at(point, point.interval?.1));
        let mut band: Vec<(f64, f64)> = lower.collect();
        band.extend(upper.collect::<Vec<_>>().into_iter().rev());
        if band.len() > 3 {
            canvas.area(&band, look.colour, 0.14);
        }
    }
    for series in series {
        let line: Vec<(f64, f64)> =
            series.points.iter().filter_map(|point| Some((across.at(point.x)?, up.at(point.y)?))).collect();
        if line.len() > 1 {
            canvas.line(&line, Look::of(series.look), 2.0);
        }
    }
    for (i, series) in series.iter().enumerate() {
        let (column, row) = ((i % 2) as f64, (i / 2) as f64);
        let (x, y) = (LEFT + column * 215.0, BOTTOM + 58.0 + row * LEGEND);
        canvas.line(&[(x, y - 4.0), (x + 26.0, y - 4.0)], Look::of(series.look), 2.5);
        canvas.label(x + 32.0, y, Anchor::Start, 176.0, &series.label);
    }
    canvas
}
