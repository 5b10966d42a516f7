//! The first table: which method is most faithful, on what, by how much, how sure; and what it comes to.

use crate::report::document::{Align, Block, Table, Text};
use crate::store::MetricFacts;

use super::standing::Standing;
use super::verdict::{BESIDE, RULE, Verdict};
use super::{COULD_SHOW, Source, count, title};

impl<'a> Source<'a> {
    pub(super) fn answer(&self) -> Vec<Block> {
        let confidence = self.confidence();
        let mut table = Table::new(&[
            ("model", Align::Left),
            ("task", Align::Left),
            ("metric", Align::Left),
            ("most faithful", Align::Left),
            (&format!("mean [{confidence} % CI]"), Align::Right),
            ("runner-up", Align::Left),
            (&format!("ahead by [{confidence} % CI]"), Align::Right),
            ("p", Align::Right),
            ("n", Align::Right),
            ("how sure", Align::Left),
            (COULD_SHOW, Align::Right),
        ]);
        let mut sentences = Vec::new();
        let mut nothing = Vec::new();
        let mut standings = Vec::new();
        let mut one_alone = false;
        for model in &self.gathered.declared.models {
            for panel in self.gathered.panels.iter().filter(|panel| panel.model == *model) {
                for metric in self.headline_metrics() {
                    let mut row: Vec<Text> =
                        vec![model.as_str().into(), panel.task.as_str().into(), title(metric).into()];
                    match self.standing(panel, metric) {
                        Some(standing) => {
                            row.extend(standing.cells());
                            sentences.push(standing.sentence(&self.place(model, &panel.task)));
                            one_alone |= standing.first_lead().is_some_and(|lead| lead.one_alone());
                            standings.push(standing);
                        }
                        None => {
                            row.extend(["-", "-", "-", "-", "-", "0", "no values", ""].map(Text::from));
                            nothing.extend(self.nothing(panel));
                        }
                    }
                    table.row(row);
                }
            }
            for metric in self.headline_metrics() {
                if let Some(overall) = self.overall(model, metric) {
                    let all = Text::new().emphasis(format!("all {} tasks", overall.tasks()));
                    let mut row: Vec<Text> = vec![model.as_str().into(), all, title(metric).into()];
                    row.extend(overall.cells());
                    table.row(row);
                    let tasks = format!("Over all {} tasks", overall.tasks());
                    let place = if self.several_models() { format!("{tasks} ({model})") } else { tasks };
                    sentences.push(overall.sentence(&place));
                    one_alone |= overall.lead().is_some_and(|lead| lead.one_alone());
                }
            }
        }
        let mut blocks = vec![Block::Heading(2, "Which method is most faithful".into())];
        if table.is_empty() {
            blocks.push(Block::Paragraph("Nothing was measured.".into()));
            return blocks;
        }
        blocks.extend(meaning(&standings).map(Block::Paragraph));
        blocks.extend(self.rankings());
        blocks.push(self.show(table.without_empty(COULD_SHOW)));
        blocks.push(Block::Paragraph(
            Text::prose(
                "↑ higher is better, ↓ lower is better; *ahead by* is positive where the most faithful method is the \
                 better one; *could show* is the smallest difference that these examples would have shown. ",
            )
            .then(Text::prose(RULE)),
        ));
        if one_alone {
            blocks.push(Block::Paragraph(Text::prose(BESIDE)));
        }
        blocks.extend(self.footnote().map(Block::Paragraph));
        nothing.dedup();
        blocks.push(Block::List(nothing.into_iter().chain(sentences).collect()));
        blocks
    }

    /// Comprehensiveness and sufficiency, or the first two metrics that there are.
    pub(super) fn headline_metrics(&self) -> Vec<&'a MetricFacts> {
        let metrics = &self.gathered.declared.metrics;
        let find = |name: &&str| metrics.iter().find(|metric| metric.name == **name);
        let known: Vec<&MetricFacts> = ["comprehensiveness", "sufficiency"].iter().filter_map(find).collect();
        if known.is_empty() { metrics.iter().take(2).collect() } else { known }
    }
}

/// "In short: of 6 comparisons (a task by a metric), gim leads 2 and shares the lead in 3; ..."
fn meaning(standings: &[Standing]) -> Option<Text> {
    let judged: Vec<&Standing> = standings.iter().filter(|standing| standing.can_tell()).collect();
    if judged.is_empty() {
        return None;
    }
    // In order of appearance, so that equal counts keep it.
    let mut tally: Vec<(String, usize, usize)> = Vec::new();
    let mut random_shares = 0;
    for standing in &judged {
        let leaders = standing.leaders();
        for name in &leaders {
            let at = tally.iter().position(|(known, ..)| known == name).unwrap_or_else(|| {
                tally.push((name.clone(), 0, 0));
                tally.len() - 1
            });
            if leaders.len() == 1 { tally[at].1 += 1 } else { tally[at].2 += 1 }
        }
        random_shares += usize::from(standing.random_is_not_beaten());
    }
    tally.sort_by_key(|(_, alone, shared)| std::cmp::Reverse((alone + shared, *alone)));
    let mut text = Text::new().strong("In short").plain(match judged.len() {
        1 => ": ".to_owned(),
        n => format!(": of {n} comparisons (a task by a metric), "),
    });
    const NAMED: usize = 3;
    for (i, (name, alone, shared)) in tally.iter().take(NAMED).enumerate() {
        let led = match (judged.len(), *alone, *shared) {
            (1, 1, _) => "leads".to_owned(),
            (1, ..) => "shares the lead".to_owned(),
            (_, alone, 0) => format!("leads {alone}"),
            (_, 0, shared) => format!("shares the lead in {shared}"),
            (_, alone, shared) => format!("leads {alone} and shares the lead in {shared}"),
        };
        text = text.plain(if i > 0 { "; " } else { "" }).strong(name.clone()).plain(format!(" {led}"));
    }
    if tally.len() > NAMED {
        let more = tally.len() - NAMED;
        let verbs = if more == 1 { "shares a lead or has one" } else { "share a lead or have one" };
        text = text.plain(format!("; {} {verbs}", count(more, "other method")));
    }
    text = text.plain(". A lead is shared by all methods that cannot be told from the first.");
    if random_shares > 0 {
        let where_ = if judged.len() == 1 { "Here".to_owned() } else { format!("In {random_shares} of them") };
        text = text.plain(format!(" {where_} even the first cannot be told from random attributions."));
    }
    Some(text)
}

impl Standing<'_> {
    /// Whether there are enough examples, and another method, to say anything.
    fn can_tell(&self) -> bool {
        self.first_lead().is_some_and(|lead| lead.verdict() != Verdict::TooFewExamples)
    }
}
