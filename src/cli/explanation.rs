//! An explained prompt, as text, as an object and as a page.

use std::collections::BTreeMap;

use anstyle::{Color, RgbColor, Style};
use gim_harness::attribution::{Attribution, LARGE_GAP, relative_gap};
use gim_harness::config::Score;
use gim_harness::text::shown;
use gim_harness::units::Units;
use serde_json::{Map, Value, json};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::output::Styled;

/// A prompt, what is asked about it, and what some methods say.
pub struct Explanation {
    pub input_ids: Vec<i64>,
    /// For display, one a token.
    pub tokens: Vec<String>,
    /// What stands by itself below: every token, or words or sentences of them.
    pub units: Units,
    /// The text of each.
    pub parts: Vec<String>,
    /// The scored one.
    pub position: usize,
    pub target_id: i64,
    /// Text of a decoder's tokens, name of a classifier's label.
    pub target: String,
    /// All tokens of the answer, of which `target_id` is the first.
    pub target_ids: Vec<i64>,
    pub contrast_id: Option<i64>,
    pub contrast: Option<String>,
    /// f(x)..
    pub score: f64,
    /// .. and what it is: the target's logit, its difference from the contrast's, or a probability's logarithm.
    pub unit: Score,
    pub baseline_id: i64,
    /// At least one.
    pub explained: Vec<Explained>,
}

/// What one method says.
pub struct Explained {
    /// Its label.
    pub method: String,
    /// One a token; of a method that draws random numbers, the first draw.
    pub attributions: Vec<f64>,
    /// One for each of the explanation's units.
    of_units: Vec<f64>,
    diagnostics: BTreeMap<String, f64>,
    /// Why they are not what the method's name says.
    warning: Option<String>,
}

impl Explained {
    /// `units`: all of the prompt.
    pub fn new(method: String, found: Attribution, units: &Units) -> Self {
        let steps = found.diagnostics.get("steps").map_or(String::new(), |steps| format!(" at {steps} points"));
        let warning = relative_gap(&found.diagnostics).filter(|gap| *gap > LARGE_GAP).map(|gap| {
            let miss = if gap.is_finite() {
                format!("miss the change that they explain by {gap:.2} times that change{steps}")
            } else {
                format!("add up to something{steps}, although there is no change to explain")
            };
            // Where there are points, the attributions approximate an integral.
            let are = if steps.is_empty() { "do not add up" } else { "are not an integral" };
            format!("the attributions of {method} {are}: they {miss}")
        });
        let attributions = found.values.into_iter().next().unwrap_or_default();
        let of_units = units.values(&attributions);
        Explained { method, attributions, of_units, diagnostics: found.diagnostics, warning }
    }

    /// The largest number by size, for scaling colours.
    fn largest(&self) -> f64 {
        self.of_units.iter().fold(0.0, |most: f64, value| most.max(value.abs()))
    }

    /// "integrated_gradients: completeness gap 0.012 (0.1 % of the change), 50 points"
    fn exactness(&self) -> Option<String> {
        let gap = self.diagnostics.get("completeness_gap")?;
        let mut said = format!("{}: completeness gap {gap:.4}", self.method);
        if let Some(relative) = self.diagnostics.get("completeness_gap_relative") {
            said += &format!(" ({:.2} % of the change)", 100.0 * relative);
        }
        if let Some(steps) = self.diagnostics.get("steps") {
            said += &format!(", {steps} points");
        }
        if self.diagnostics.get("tolerance_missed").is_some_and(|missed| *missed != 0.0) {
            said += ": the tolerance was not reached";
        }
        Some(said)
    }

    fn json(&self, are_tokens: bool) -> Map<String, Value> {
        let mut object = Map::new();
        object.insert("method".to_owned(), json!(self.method));
        object.insert("attributions".to_owned(), json!(self.attributions));
        if !are_tokens {
            object.insert("unit_attributions".to_owned(), json!(self.of_units));
        }
        object.insert("diagnostics".to_owned(), json!(self.diagnostics));
        object.insert("warning".to_owned(), json!(self.warning));
        object
    }
}

impl Explanation {
    /// Whether every token stands by itself.
    fn are_tokens(&self) -> bool {
        self.units.len() == self.tokens.len()
    }

    /// One object: what one method says stands in it; several stand under `explanations`.
    pub fn json(&self) -> Value {
        let are_tokens = self.are_tokens();
        let mut object = match self.explained.as_slice() {
            [one] => one.json(are_tokens),
            several => {
                let several: Vec<_> = several.iter().map(|one| one.json(are_tokens)).collect();
                Map::from_iter([("explanations".to_owned(), json!(several))])
            }
        };
        let shared = json!({
            "input_ids": self.input_ids,
            "tokens": self.tokens,
            "position": self.position,
            "target_id": self.target_id,
            "target_ids": self.target_ids,
            "target": self.target,
            "contrast_id": self.contrast_id,
            "score": self.score,
            "baseline_id": self.baseline_id,
        });
        if let Value::Object(shared) = shared {
            object.extend(shared);
        }
        if !are_tokens {
            let unit = |(places, text): (&[usize], &String)| json!({ "tokens": places, "text": text });
            object.insert("units".to_owned(), self.units.iter().zip(&self.parts).map(unit).collect());
        }
        Value::Object(object)
    }

    fn heading(&self) -> String {
        let rather = self.contrast.as_ref().map(|contrast| format!(" rather than '{contrast}'")).unwrap_or_default();
        let unit = self.unit.name().replace('_', " ");
        let methods: Vec<&str> = self.explained.iter().map(|one| one.method.as_str()).collect();
        format!("why '{}'{rather}? ({}, {unit} {:.3})", self.target, methods.join(", "), self.score)
    }

    fn warnings(&self) -> impl Iterator<Item = String> {
        self.explained.iter().filter_map(|one| one.warning.as_ref().map(|warning| format!("warning: {warning}")))
    }

    /// Coloured tokens in a terminal, and a table.
    pub fn text(&self) -> Styled {
        let mut out = Styled::default();
        out.plain(format_args!("{}\n", shown(&self.heading())));
        for warning in self.warnings() {
            out.plain(format_args!("{}\n", shown(&warning)));
        }
        out.plain("\n");
        let several = self.explained.len() > 1;
        for one in &self.explained {
            if several {
                out.beside_styles(&format!("{}\n", shown(&one.method)));
            }
            for (part, &value) in self.parts.iter().zip(&one.of_units) {
                let (r, g, b) = colour(value, one.largest());
                let style = Style::new()
                    .bg_color(Some(Color::Rgb(RgbColor(r, g, b))))
                    .fg_color(Some(Color::Rgb(RgbColor(20, 20, 20))));
                out.styled(style, part.trim());
                out.beside_styles(" ");
            }
            out.beside_styles("\n\n");
        }
        let parts: Vec<String> = self.parts.iter().map(|part| shortened(&shown(part))).collect();
        let width = parts.iter().map(|part| part.width()).max().unwrap_or(0).min(WIDEST);
        if several {
            out.plain(format_args!("{:4}  {:width$}", "", ""));
            for one in &self.explained {
                let (label, wide) = (shown(&one.method), column(one));
                out.plain(format_args!("  {:1$}{label}", "", wide - label.width()));
            }
            out.plain("\n");
        }
        for (unit, part) in parts.iter().enumerate() {
            let (place, padding) = (self.units.of(unit)[0], width.saturating_sub(part.width()));
            out.plain(format_args!("{place:4}  {part}{:padding$}", ""));
            for one in &self.explained {
                let value = one.of_units.get(unit).copied().unwrap_or(f64::NAN);
                out.plain(format_args!("  {value:>+0$.4}", column(one)));
                if !several {
                    out.plain(bar(value, one.largest()));
                }
            }
            out.plain("\n");
        }
        out.plain("\n+ speaks for the answer, - against it; in units of the score\n");
        for said in self.explained.iter().filter_map(Explained::exactness) {
            out.plain(format_args!("{}\n", shown(&said)));
        }
        out
    }

    /// One page that needs no network.
    pub fn html(&self) -> String {
        let title = escape(&self.heading());
        let warnings: String =
            self.warnings().map(|warning| format!("<p class=\"warning\">{}</p>\n", escape(&warning))).collect();
        let sections: String = self.explained.iter().map(|one| self.section(one)).collect();
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n\
             <style>body{{font:16px/2 system-ui,sans-serif;max-width:46rem;margin:3rem auto;padding:0 1rem;color:#141414;\
             background:#fff}}h1{{font-size:1.1rem}}h2{{font-size:1rem;margin:0}}span{{padding:.15em .3em;\
             border-radius:.25em}}div{{display:grid;grid-template-columns:repeat(auto-fit,minmax(16rem,1fr));gap:1.5rem}}\
             p.note{{color:#555;font-size:.85rem}}p.warning{{background:#fff3c4;padding:.3em .6em}}</style></head>\n\
             <body><h1>{title}</h1>\n{warnings}<div>\n{sections}</div>\n\
             <p class=\"note\">Red speaks for the answer, blue against it, in units of the score. Point at a token for its \
             number.</p>\n</body></html>\n"
        )
    }

    fn section(&self, one: &Explained) -> String {
        let largest = one.largest();
        let mut spans = String::new();
        for (part, &value) in self.parts.iter().zip(&one.of_units) {
            let (r, g, b) = colour(value, largest);
            let part = escape(part.trim());
            spans += &format!("<span style=\"background:rgb({r},{g},{b})\" title=\"{value:+.4}\">{part}</span>\n");
        }
        let mut note = format!("The strongest number is {largest:.4}.");
        if let Some(exactness) = one.exactness() {
            note += &format!(" {}.", escape(&exactness));
        }
        let method = escape(&one.method);
        format!("<section><h2>{method}</h2>\n<p>\n{spans}</p>\n<p class=\"note\">{note}</p></section>\n")
    }
}

/// Columns that a token or a group of them takes at most.
const WIDEST: usize = 40;

/// A text cut off behind what fits.
fn shortened(text: &str) -> String {
    if text.width() <= WIDEST {
        return text.to_owned();
    }
    let mut short = String::new();
    for character in text.chars() {
        if short.width() + character.width().unwrap_or(0) >= WIDEST {
            break;
        }
        short.push(character);
    }
    short + "…"
}

/// How wide a method's numbers stand.
fn column(one: &Explained) -> usize {
    shown(&one.method).width().max(10)
}

fn bar(value: f64, largest: f64) -> String {
    let bar = "#".repeat((20.0 * value.abs() / largest.max(f64::MIN_POSITIVE)).round() as usize);
    let sign = if value < 0.0 { "-" } else { "+" };
    if bar.is_empty() { String::new() } else { format!("  {sign}{bar}") }
}

/// White to red for what speaks for the answer, to blue for what speaks against it.
fn colour(value: f64, largest: f64) -> (u8, u8, u8) {
    let share = if largest > 0.0 { (value / largest).clamp(-1.0, 1.0) } else { 0.0 };
    let mix = |full: f64| (255.0 - share.abs() * (255.0 - full)).round() as u8;
    if share >= 0.0 { (mix(214.0), mix(72.0), mix(60.0)) } else { (mix(52.0), mix(118.0), mix(200.0)) }
}

/// An escape is as good in a page as in a terminal: a bidirectional mark would turn the words around it.
fn escape(text: &str) -> String {
    shown(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use gim_harness::units::Aggregate;

    use super::*;

    fn attribution(gap: f64, change: f64) -> Attribution {
        let mut found = Attribution { values: vec![vec![0.5, -0.25]], diagnostics: BTreeMap::new() };
        found.diagnostics.insert("completeness_gap".to_owned(), gap);
        found.diagnostics.insert("steps".to_owned(), 30.0);
        if change != 0.0 {
            found.diagnostics.insert("completeness_gap_relative".to_owned(), gap / change);
        }
        found
    }

    fn explanation(explained: Vec<Explained>) -> Explanation {
        Explanation {
            input_ids: vec![5, 6],
            tokens: vec![" a<b".into(), "c\u{1b}".into()],
            units: Units::tokens(0..2),
            parts: vec![" a<b".into(), "c\u{1b}".into()],
            position: 1,
            target_id: 7,
            target: "yes".into(),
            target_ids: vec![7],
            contrast_id: None,
            contrast: None,
            score: 1.5,
            unit: Score::Logit,
            baseline_id: 0,
            explained,
        }
    }

    #[test]
    fn the_first_lines_say_when_attributions_are_no_integral() {
        let of = |gap, change| {
            explanation(vec![Explained::new("ig".into(), attribution(gap, change), &Units::tokens(0..2))])
        };
        let large = of(5.8, 2.0);
        let second = large.text().plain_text().lines().nth(1).unwrap().to_owned();
        assert_eq!(
            second,
            "warning: the attributions of ig are not an integral: they miss the change that they explain by 2.90 times \
             that change at 30 points"
        );
        assert!(large.json()["warning"].as_str().unwrap().contains("2.90 times"));
        assert!(large.html().contains("class=\"warning\">warning: the attributions"));
        assert!(of(0.1, 0.0).text().plain_text().contains("no change to explain"));
        for exact in [of(0.002, 2.0), of(0.0, 0.0)] {
            assert_eq!(exact.text().plain_text().lines().nth(1), Some(""));
            assert!(exact.json()["warning"].is_null());
            assert!(!exact.html().contains("class=\"warning\""));
        }
    }

    #[test]
    fn several_methods_stand_side_by_side() {
        let gim = Attribution { values: vec![vec![1.0, -2.0]], diagnostics: BTreeMap::new() };
        let units = Units::tokens(0..2);
        let ig = Explained::new("ig".into(), attribution(0.0, 1.0), &units);
        let both = explanation(vec![Explained::new("gim".into(), gim, &units), ig]);
        insta::assert_snapshot!(both.text().plain_text(), @r"
        why 'yes'? (gim, ig, logit 1.500)

                              gim          ig
           0   a<b        +1.0000     +0.5000
           1  c\u{1b}     -2.0000     -0.2500

        + speaks for the answer, - against it; in units of the score
        ig: completeness gap 0.0000 (0.00 % of the change), 30 points
        ");
        let json = both.json();
        assert_eq!(json["explanations"][1]["attributions"], json!([0.5, -0.25]));
        assert_eq!((&json["tokens"][0], json.get("method")), (&json!(" a<b"), None));
        let html = both.html();
        assert_eq!(html.matches("<section>").count(), 2);
        assert!(html.contains("a&lt;b") && !html.contains("a<b"));
        assert!(json.get("units").is_none());
    }

    #[test]
    fn words_stand_as_one() {
        let units = Units::grouped(2, Aggregate::Sum, |_| Some(0));
        let found = Attribution { values: vec![vec![1.0, -2.0]], diagnostics: BTreeMap::new() };
        let one = Explanation {
            parts: vec![" a<b c\u{1b}".to_owned()],
            units: units.clone(),
            ..explanation(vec![Explained::new("gim".into(), found, &units)])
        };
        let text = one.text().plain_text().to_owned();
        assert!(text.contains("   0   a<b c\\u{1b}     -1.0000"), "{text}");
        let json = one.json();
        assert_eq!(json["attributions"], json!([1.0, -2.0]), "one a token, as without words");
        assert_eq!(json["unit_attributions"], json!([-1.0]));
        assert_eq!(json["units"], json!([{ "tokens": [0, 1], "text": " a<b c\u{1b}" }]));
        assert!(one.html().contains("title=\"-1.0000\""));
    }
}
