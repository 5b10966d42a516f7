//! Examples: tokens coloured by attribution, methods side by side.

use maud::{Markup, html};

use crate::report::document::{Colouring, Example, Examples};
use crate::text::shown;

/// Weaker tokens, in units of the strongest, have no colour.
const COLOURED: f64 = 0.1;
/// Strengths of colour.
const LEVELS: f64 = 5.0;

/// `first`: the number of the first of these on the page.
pub fn render(examples: &Examples, first: usize) -> Markup {
    let shown_of = format!("{} of {} examples", examples.examples.len(), examples.of);
    html! {
        section .examples data-place=(shown(&examples.place)) {
            h3 { (shown(&examples.place)) " " small { (shown_of) } }
            @if first == 1 { (legend(examples)) }
            @for (i, example) in examples.examples.iter().enumerate() { (one(example, first + i, first + i == 1)) "\n" }
        }
    }
}

fn legend(examples: &Examples) -> Markup {
    let has_evidence = examples.examples.iter().any(|example| !example.evidence.is_empty());
    html! {
        p .legend {
            mark .p5 { "for the answer" } " " em .n5 { "against it" }
            @if has_evidence { " " u { "evidence" } }
            " The stronger the colour, the larger the attribution, in units of the method's largest on this prompt; below a \
             tenth of it there is none."
        }
    }
}

fn one(example: &Example, number: usize, open: bool) -> Markup {
    let agreement = example.agreement.map_or("-".to_owned(), |r| format!("{:.2}", (r * 100.0).round() / 100.0 + 0.0));
    let score = example.score.map_or("-".to_owned(), |score| format!("{score:.3}"));
    html! {
        details .example id={ "e" (number) } open[open] {
            summary { strong { (shown(&example.id)) } " agreement " (agreement) ", f(x) " (score) }
            div .methods {
                @for method in &example.methods { (colouring(example, method)) "\n" }
            }
        }
    }
}

fn colouring(example: &Example, method: &Colouring) -> Markup {
    let strongest: Vec<String> =
        method.strongest.iter().map(|(token, value)| format!("{} {value:+.3}", shown(token))).collect();
    let metrics: Vec<String> = method.metrics.iter().map(|(name, value)| format!("{} {value}", shown(name))).collect();
    html! {
        div .method {
            h4 { (shown(&method.method)) }
            p .tokens dir="auto" {
                @for (i, (token, share)) in example.tokens.iter().zip(&method.shares).enumerate() {
                    (coloured(token, *share, example.evidence.binary_search(&i).is_ok())) " "
                }
                @if example.cut > 0 { small { "… and " (example.cut) " more tokens" } }
            }
            p .numbers {
                @if !strongest.is_empty() { "Strongest: " (strongest.join(", ")) ". " }
                (metrics.join(", "))
            }
        }
    }
}

fn coloured(token: &str, share: f64, is_evidence: bool) -> Markup {
    let text = shown(token.trim());
    let strength = (share.abs() - COLOURED) / (1.0 - COLOURED) * LEVELS;
    let level = (strength.floor() + 1.0).min(LEVELS);
    let word = html! { @if is_evidence { u { (text) } } @else { (text) } };
    match () {
        () if strength >= 0.0 && share > 0.0 => html! { mark class={ "p" (level) } { (word) } },
        () if strength >= 0.0 => html! { em class={ "n" (level) } { (word) } },
        () => word,
    }
}

#[cfg(test)]
mod tests {
    use super::coloured;

    #[test]
    fn tokens_are_text_with_a_strength() {
        let of = |token, share, evidence| coloured(token, share, evidence).into_string();
        assert_eq!(of(" <b>", 0.05, false), "&lt;b&gt;");
        assert_eq!(of("x", 1.0, false), "<mark class=\"p5\">x</mark>");
        assert_eq!(of("x", 0.1, true), "<mark class=\"p1\"><u>x</u></mark>");
        assert_eq!(of("\u{202e}x\n", -0.5, false), "<em class=\"n3\">\\u{202e}x</em>");
        assert_eq!(of("x", f64::NAN, false), "x");
    }
}
