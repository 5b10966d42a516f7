//! Estimates with intervals.

use super::canvas::{Anchor, Canvas, Look, WIDTH, width_of};
use super::scale::Scale;
use crate::report::document::{Estimate, Row};

const ROW: f64 = 24.0;
const TOP: f64 = 8.0;
/// Numbers and name of the axis.
pub const BELOW: f64 = 44.0;

/// Room for the labels at the left.
pub fn room_for<'a>(labels: impl Iterator<Item = &'a str>) -> f64 {
    labels.map(width_of).fold(0.0, f64::max).clamp(40.0, 165.0)
}

pub fn draw(rows: &[Row<Estimate>], axis: &str, about_zero: bool) -> Canvas {
    let bottom = TOP + ROW * rows.len() as f64;
    let mut canvas = Canvas::new(bottom + BELOW);
    let room = room_for(rows.iter().map(|row| row.label.as_str()));
    let numbers = rows.iter().map(|row| width_of(&row.value.shown)).fold(0.0, f64::max).min(165.0);
    let ends = rows.iter().flat_map(|row| {
        let (low, high) = row.value.interval.unwrap_or((row.value.value, row.value.value));
        [row.value.value, low, high]
    });
    let (left, right) = (room + 16.0, WIDTH - numbers - 20.0);
    let scale = Scale::holding(ends.chain(about_zero.then_some(0.0)), left, right);
    scale.draw_below(&mut canvas, TOP, bottom, axis);
    if let Some(zero) = scale.at(0.0).filter(|_| about_zero) {
        canvas.rule((zero, TOP), (zero, bottom), 0.7);
    }
    for (i, row) in rows.iter().enumerate() {
        let y = TOP + ROW * (i as f64 + 0.5);
        canvas.label(room + 4.0, y + 4.0, Anchor::End, room, &row.label);
        canvas.label(WIDTH - 6.0, y + 4.0, Anchor::End, numbers, &row.value.shown);
        let look = if row.value.stands_out { Look::of(0) } else { Look::of(5) };
        if let Some((low, high)) = row.value.interval.filter(|(low, high)| low.is_finite() && high.is_finite()) {
            canvas.line(&[(scale.near(low), y), (scale.near(high), y)], Look { dash: "", ..look }, 2.0);
        }
        if let Some(x) = scale.at(row.value.value) {
            canvas.dot(x, y, look.colour, row.value.stands_out);
        }
    }
    canvas
}
