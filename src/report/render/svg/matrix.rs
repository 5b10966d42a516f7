//! A matrix of numbers from -1 to 1.

use super::canvas::{Anchor, Canvas, Look, WIDTH};
use super::forest::room_for;
use crate::report::document::Matrix;

const TOP: f64 = 24.0;
/// Words stay readable on the strongest colour.
const STRONGEST: f64 = 0.6;

pub fn draw(matrix: &Matrix) -> Canvas {
    let n = matrix.labels.len();
    let named: Vec<String> = matrix.labels.iter().enumerate().map(|(i, label)| format!("{label}  {}", i + 1)).collect();
    let room = room_for(named.iter().map(String::as_str));
    let left = room + 12.0;
    let width = ((WIDTH - left - 8.0) / n.max(1) as f64).min(64.0);
    let height = 26.0;
    let mut canvas = Canvas::new(TOP + height * n as f64 + 8.0);
    for (i, label) in named.iter().enumerate() {
        let y = TOP + height * i as f64;
        canvas.text(left + width * (i as f64 + 0.5), TOP - 8.0, Anchor::Middle, &(i + 1).to_string());
        canvas.label(room + 4.0, y + height / 2.0 + 4.0, Anchor::End, room, label);
        for (j, cell) in matrix.cells.get(i).into_iter().flatten().enumerate().take(n) {
            let x = left + width * j as f64;
            let Some(r) = cell.filter(|r| r.is_finite()) else {
                canvas.text(x + width / 2.0, y + height / 2.0 + 4.0, Anchor::Middle, "-");
                continue;
            };
            let colour = if r < 0.0 { Look::of(1) } else { Look::of(0) }.colour;
            canvas.rectangle((x + 1.0, y + 1.0), (width - 2.0, height - 2.0), colour, r.abs().min(1.0) * STRONGEST);
            // A sign only where it says something; "0.83" without its 0 where columns are narrow.
            let text = format!("{:.2}", (r * 100.0).round() / 100.0 + 0.0);
            let text = if width < 34.0 { text.replacen("0.", ".", 1) } else { text };
            canvas.text(x + width / 2.0, y + height / 2.0 + 4.0, Anchor::Middle, &text);
        }
    }
    canvas
}
