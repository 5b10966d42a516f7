//! Distributions about a line at 0: their shape, the middle half and nine tenths, the median and the mean.

use super::canvas::{Anchor, Canvas, Look, WIDTH};
use super::forest::{BELOW, room_for};
use super::scale::Scale;
use crate::report::document::{Row, Spread};

const ROW: f64 = 40.0;
const TOP: f64 = 8.0;
/// How high the shape of a distribution is.
const SHAPE: f64 = 24.0;

pub fn draw(rows: &[Row<Spread>], axis: &str) -> Canvas {
    let bottom = TOP + ROW * rows.len() as f64;
    let mut canvas = Canvas::new(bottom + BELOW);
    let room = room_for(rows.iter().map(|row| row.label.as_str()));
    // Some way beyond nine tenths of the examples: a few extreme ones would leave no room for the rest.
    let ends = rows.iter().flat_map(|row| {
        let [low, .., high] = row.value.quantiles;
        let more = (high - low) / 3.0;
        [(low - more).max(row.value.range.0), (high + more).min(row.value.range.1)]
    });
    let scale = Scale::holding(ends.chain([0.0]), room + 16.0, WIDTH - 12.0);
    scale.draw_below(&mut canvas, TOP, bottom, axis);
    if let Some(zero) = scale.at(0.0) {
        canvas.rule((zero, TOP), (zero, bottom), 0.7);
    }
    for (i, row) in rows.iter().enumerate() {
        let base = TOP + ROW * (i as f64 + 1.0) - 10.0;
        canvas.label(room + 4.0, base - 6.0, Anchor::End, room, &row.label);
        let look = Look { dash: "", ..Look::of(0) };
        shape(&mut canvas, &row.value, scale, base, look.colour);
        let [low, first, median, third, high] = row.value.quantiles.map(|number| scale.near(number));
        if row.value.quantiles.iter().all(|number| number.is_finite()) {
            canvas.line(&[(low, base), (high, base)], look, 1.5);
            canvas.line(&[(first, base), (third, base)], look, 5.0);
            canvas.rule((median, base - 6.0), (median, base + 6.0), 1.0);
        }
        if let Some(mean) = scale.at(row.value.mean) {
            canvas.dot(mean, base, look.colour, false);
        }
    }
    canvas
}

fn shape(canvas: &mut Canvas, spread: &Spread, scale: Scale, base: f64, colour: &str) {
    let (low, high) = spread.range;
    let most = spread.histogram.iter().copied().max().unwrap_or(0);
    let part = (high - low) / spread.histogram.len().max(1) as f64;
    if most == 0 || !(part > 0.0 && part.is_finite()) {
        return;
    }
    for (i, count) in spread.histogram.iter().enumerate().filter(|(_, count)| **count > 0) {
        let from = low + part * i as f64;
        // Parts that are outside are not drawn, those that reach in only as far as they do.
        let (left, right) = (scale.near(from), scale.near(from + part));
        if right > left {
            let height = SHAPE * *count as f64 / most as f64;
            canvas.rectangle((left, base - height), (right - left, height), colour, 0.3);
        }
    }
}
