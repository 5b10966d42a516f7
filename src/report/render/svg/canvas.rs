//! Shapes and words at places.

use std::fmt::Write;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::text::shown;

/// Of every plot, in its own units.
pub const WIDTH: f64 = 480.0;
/// Of text.
const SIZE: f64 = 13.0;
/// About how wide a column of text of that size is.
const COLUMN: f64 = 7.0;

/// Blue, vermilion, green, purple, brown, grey, pink, teal.
const COLOURS: [&str; 8] = ["#2f77c0", "#d35400", "#1a8f5a", "#8a63c9", "#a0693c", "#7a7a7a", "#c95590", "#16898f"];
const DASHES: [&str; 4] = ["", "6 3", "2 3", "8 3 2 3"];

/// How data of one kind look.
#[derive(Clone, Copy)]
pub struct Look {
    pub colour: &'static str,
    pub dash: &'static str,
}

impl Look {
    /// Of 32 kinds no two look alike; behind the eighth the dashes move on by one.
    pub fn of(number: usize) -> Look {
        let dash = number / 2 + number / COLOURS.len();
        Look { colour: COLOURS[number % COLOURS.len()], dash: DASHES[dash % DASHES.len()] }
    }
}

/// Where a text ends or begins.
#[derive(Clone, Copy)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// A drawing in the making: everything in it is finite and escaped.
pub struct Canvas {
    body: String,
    height: f64,
}

impl Canvas {
    pub fn new(height: f64) -> Canvas {
        Canvas { body: String::new(), height }
    }

    pub fn width(&self) -> f64 {
        WIDTH
    }

    pub fn height(&self) -> f64 {
        self.height
    }

    pub fn into_body(self) -> String {
        self.body
    }

    pub fn text(&mut self, x: f64, y: f64, anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        let (x, y) = (short(x), short(y));
        let _ = write!(
            self.body,
            "<text x=\"{x}\" y=\"{y}\" font-size=\"{SIZE}\" fill=\"currentColor\"{anchor}>{}</text>",
            escape(text)
        );
    }

    /// Text that is cut where it would be wider than there is room, with the whole of it to be pointed at.
    pub fn label(&mut self, x: f64, y: f64, anchor: Anchor, room: f64, text: &str) {
        let cut = fitting(text, room);
        if cut == text {
            return self.text(x, y, anchor, text);
        }
        let _ = write!(self.body, "<g><title>{}</title>", escape(text));
        self.text(x, y, anchor, &cut);
        self.body.push_str("</g>");
    }

    /// A thin line in the colour of the text.
    pub fn rule(&mut self, from: (f64, f64), to: (f64, f64), opacity: f64) {
        let [x1, y1, x2, y2] = [from.0, from.1, to.0, to.1].map(short);
        let _ = write!(
            self.body,
            "<path d=\"M{x1} {y1}L{x2} {y2}\" stroke=\"currentColor\" stroke-opacity=\"{opacity}\"/>"
        );
    }

    pub fn line(&mut self, points: &[(f64, f64)], look: Look, width: f64) {
        let dash = if look.dash.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{}\"", look.dash) };
        let _ = write!(
            self.body,
            "<path d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{width}\"{dash}/>",
            path(points),
            look.colour
        );
    }

    pub fn area(&mut self, points: &[(f64, f64)], colour: &str, opacity: f64) {
        let path = path(points);
        let _ = write!(self.body, "<path d=\"{path}Z\" fill=\"{colour}\" fill-opacity=\"{opacity}\"/>");
    }

    pub fn rectangle(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), colour: &str, opacity: f64) {
        let [x, y, width, height] = [x, y, width, height].map(short);
        let _ = write!(
            self.body,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{colour}\" fill-opacity=\"{}\"/>",
            short(opacity)
        );
    }

    /// A dot, full or hollow.
    pub fn dot(&mut self, x: f64, y: f64, colour: &str, full: bool) {
        let (x, y) = (short(x), short(y));
        let fill = if full { colour } else { "none" };
        let _ = write!(
            self.body,
            "<circle cx=\"{x}\" cy=\"{y}\" r=\"4\" fill=\"{fill}\" stroke=\"{colour}\" stroke-width=\"2\"/>"
        );
    }
}

/// About how wide a text is.
pub fn width_of(text: &str) -> f64 {
    shown(text).width() as f64 * COLUMN
}

/// As much of a text as there is room for.
fn fitting(text: &str, room: f64) -> String {
    if width_of(text) <= room {
        return text.to_owned();
    }
    let columns = (room / COLUMN) as usize;
    let mut used = 1;
    let whole = shown(text);
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used <= columns
    };
    whole.chars().take_while(fits).collect::<String>() + "…"
}

fn path(points: &[(f64, f64)]) -> String {
    let mut path = String::new();
    for (i, (x, y)) in points.iter().enumerate() {
        let _ = write!(path, "{}{} {}", if i == 0 { "M" } else { "L" }, short(*x), short(*y));
    }
    path
}

/// A tenth of a unit is enough; what is not finite stands at 0, and callers leave it out.
fn short(value: f64) -> f64 {
    // Adding 0 takes the sign from -0.
    if value.is_finite() { (value * 10.0).round() / 10.0 + 0.0 } else { 0.0 }
}

pub fn escape(text: &str) -> String {
    shown(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_kinds_of_data_look_alike() {
        let looks: std::collections::HashSet<_> = (0..32).map(Look::of).map(|look| (look.colour, look.dash)).collect();
        assert_eq!(looks.len(), 32);
    }
}
