//! Which of two methods is ahead, and how sure that is.

use crate::report::analysis::{AcrossPair, Comparison};
use crate::store::MetricFacts;

use super::numbers::Digits;

/// Below this many examples no test can tell anything: six is the least for which p < .05 is possible.
const FEWEST: usize = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The interval of the mean difference leaves out 0 and the adjusted p-value is below .05.
    Surely,
    /// Only the interval does.
    Probably,
    /// The interval has 0 in it.
    NotToldApart,
    TooFewExamples,
}

impl Verdict {
    pub fn words(self) -> &'static str {
        match self {
            Verdict::Surely => "surely",
            Verdict::Probably => "probably",
            Verdict::NotToldApart => "cannot be told apart",
            Verdict::TooFewExamples => "too few examples",
        }
    }

    pub fn told_apart(self) -> bool {
        matches!(self, Verdict::Surely | Verdict::Probably)
    }

    /// From how far ahead a method is (positive: the more faithful), with its interval, and the adjusted p-value.
    pub fn of(n: usize, low: Option<f64>, high: Option<f64>, p: Option<f64>) -> Verdict {
        if n < FEWEST {
            return Verdict::TooFewExamples;
        }
        match (low, high) {
            (Some(low), Some(high)) if low > 0.0 || high < 0.0 => {
                if p.is_some_and(|p| p < 0.05) {
                    Verdict::Surely
                } else {
                    Verdict::Probably
                }
            }
            _ => Verdict::NotToldApart,
        }
    }
}

/// How far one method is ahead of another by a metric; positive where it is the more faithful.
#[derive(Clone, Copy, Debug)]
pub struct Lead {
    pub n: usize,
    pub mean: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// Corrected for all pairs of methods.
    pub p: Option<f64>,
}

impl Lead {
    /// On a task: `ahead` over the comparison's other method.
    pub fn on_task(comparison: &Comparison, ahead: &str, metric: &MetricFacts) -> Lead {
        let c = comparison;
        Lead::new(c.n, c.mean_diff, (c.ci_low, c.ci_high), c.p_holm, c.method_a == ahead, metric)
    }

    /// Over all tasks: `ahead` over the pair's other method.
    pub fn over_tasks(pair: &AcrossPair, ahead: &str, metric: &MetricFacts) -> Lead {
        Lead::new(pair.n, pair.mean_diff, (pair.ci_low, pair.ci_high), pair.p_holm, pair.method_a == ahead, metric)
    }

    fn new(
        n: usize,
        difference: Option<f64>,
        (low, high): (Option<f64>, Option<f64>),
        p: Option<f64>,
        is_a: bool,
        metric: &MetricFacts,
    ) -> Lead {
        // Either turn negates it.
        let kept = is_a == metric.higher_is_better;
        let turn = |value: f64| if kept { value } else { -value };
        let (low, high) = if kept { (low, high) } else { (high.map(turn), low.map(turn)) };
        Lead { n, mean: difference.map(turn), low, high, p }
    }

    pub fn interval(&self) -> Option<(f64, f64)> {
        self.low.zip(self.high)
    }

    /// "1.20 [0.80, 1.70]"
    pub fn show(&self, digits: Digits) -> String {
        digits.estimate(self.mean, self.interval())
    }

    pub fn verdict(&self) -> Verdict {
        Verdict::of(self.n, self.low, self.high, self.p)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lead_is_positive_where_the_first_is_better() {
        let pair = AcrossPair {
            method_a: "a".into(),
            method_b: "b".into(),
            n: 9,
            mean_diff: Some(-2.0),
            ci_low: Some(-3.0),
            ci_high: Some(-1.0),
            p_permutation: None,
            p_holm: None,
        };
        for (ahead, higher_is_better, expected) in
            [("a", true, [-2.0, -3.0, -1.0]), ("b", true, [2.0, 1.0, 3.0]), ("a", false, [2.0, 1.0, 3.0])]
        {
            let metric = MetricFacts {
                name: "m".into(),
                higher_is_better,
                in_score_units: true,
                label: "m".into(),
                description: String::new(),
            };
            let lead = Lead::over_tasks(&pair, ahead, &metric);
            assert_eq!([lead.mean, lead.low, lead.high].map(Option::unwrap), expected);
        }
    }

    #[test]
    fn verdicts() {
        let of = |n, low, high, p| Verdict::of(n, Some(low), Some(high), Some(p));
        assert_eq!(of(50, 0.1, 0.2, 0.01), Verdict::Surely);
        assert_eq!(of(50, 0.1, 0.2, 0.2), Verdict::Probably);
        assert_eq!(of(50, -0.1, 0.2, 0.01), Verdict::NotToldApart);
        assert_eq!(of(50, 0.0, 0.0, 1.0), Verdict::NotToldApart);
        assert_eq!(of(5, 0.1, 0.2, 0.01), Verdict::TooFewExamples);
        assert_eq!(Verdict::of(50, None, None, None), Verdict::NotToldApart);
    }
}
