//! Which of two methods is ahead, and how sure that is.

use crate::report::analysis::{AcrossPair, Comparison};
use crate::store::MetricFacts;

use super::numbers::Digits;

/// Below this many examples no test can tell anything: six is the least for which p < .05 is possible.
const FEWEST: usize = 6;

/// The interval and the corrected test must agree; these are the levels of the test.
const SURELY: f64 = 0.05;
const PROBABLY: f64 = 0.1;

/// An end of an interval nearer to 0 than this, in units of what is compared, is rounding: scores are f32.
const ROUNDING: f64 = 1e-6;

/// The rule in words, for the report.
pub const RULE: &str = "*surely*: the interval of *ahead by* leaves out 0 by more than rounding, and p, corrected for all \
                        pairs of methods, is below .05 in the same direction; *probably*: the same with p below .1; where \
                        the two do not agree, the methods *cannot be told apart*.";

/// Stands beside [`RULE`] where the interval and the test do not agree.
pub const BESIDE: &str = "‡ The interval and the test do not agree, and the words rest on both: the interval is of the \
                          mean difference of this one pair, while p is of the signed ranks (over all tasks: of the mean) \
                          and corrected for all pairs of methods.";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The interval of the mean difference leaves out 0 and the adjusted p-value is below .05.
    Surely,
    /// The same with p below .1.
    Probably,
    /// The interval has 0 in it, up to rounding, or the test does not agree with it.
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
    /// Positive where the test speaks for the method that is ahead, negative where it speaks for the other; absent where
    /// it is a test of the mean itself.
    pub side: Option<f64>,
    /// The size of what is compared, in the unit of the mean: differences far below it are rounding.
    pub scale: f64,
    /// The smallest difference that the sample would have shown.
    pub detectable: Option<f64>,
}

impl Lead {
    /// On a task: `ahead` over the comparison's other method. `means` are those of the two methods.
    pub fn on_task(comparison: &Comparison, ahead: &str, metric: &MetricFacts, means: [Option<f64>; 2]) -> Lead {
        let c = comparison;
        let is_a = c.method_a == ahead;
        let lead = Lead::new(c.n, c.mean_diff, (c.ci_low, c.ci_high), c.p_holm, is_a, metric);
        let detectable = c.detectable;
        let side = c.rank_biserial.map(|side| if is_a == metric.higher_is_better { side } else { -side });
        Lead { side, detectable, scale: means.into_iter().flatten().map(f64::abs).fold(0.0, f64::max), ..lead }
    }

    /// Over all tasks: `ahead` over the pair's other method.
    pub fn over_tasks(pair: &AcrossPair, ahead: &str, metric: &MetricFacts) -> Lead {
        let ends = (pair.ci_low, pair.ci_high);
        let lead = Lead::new(pair.n, pair.mean_diff, ends, pair.p_holm, pair.method_a == ahead, metric);
        Lead { detectable: pair.detectable, ..lead }
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
        Lead { n, mean: difference.map(turn), low, high, p, side: None, scale: 0.0, detectable: None }
    }

    pub fn interval(&self) -> Option<(f64, f64)> {
        self.low.zip(self.high)
    }

    /// "1.20 [0.80, 1.70]"
    pub fn show(&self, digits: Digits) -> String {
        digits.estimate(self.mean, self.interval())
    }

    /// By [`RULE`].
    pub fn verdict(&self) -> Verdict {
        if self.n < FEWEST {
            return Verdict::TooFewExamples;
        }
        let (Some(direction), Some(p)) = (self.direction(), self.p) else { return Verdict::NotToldApart };
        let agrees = self.side.is_none_or(|side| side * direction > 0.0);
        match agrees {
            true if p < SURELY => Verdict::Surely,
            true if p < PROBABLY => Verdict::Probably,
            _ => Verdict::NotToldApart,
        }
    }

    /// On which side of 0 the whole interval lies, by more than rounding: 1 or -1.
    fn direction(&self) -> Option<f64> {
        let (low, high) = self.interval()?;
        let rounding = ROUNDING * [self.scale, low.abs(), high.abs()].into_iter().fold(0.0, f64::max);
        if low > rounding {
            Some(1.0)
        } else if high < -rounding {
            Some(-1.0)
        } else {
            None
        }
    }

    /// Whether one of interval and test speaks for a difference and the other does not, so that a reader of one alone
    /// would expect other words: see [`BESIDE`].
    pub fn one_alone(&self) -> bool {
        let clear_test = self.p.is_some_and(|p| p < SURELY);
        self.verdict() == Verdict::NotToldApart && (self.direction().is_some() || clear_test)
    }

    /// "surely", or "cannot be told apart ‡"
    pub fn words(&self) -> String {
        let mark = if self.one_alone() { " ‡" } else { "" };
        format!("{}{mark}", self.verdict().words())
    }

    /// The smallest difference that the sample could have shown, where none was.
    pub fn could_show(&self, digits: Digits) -> Option<String> {
        let difference = self.detectable.filter(|difference| *difference > 0.0)?;
        let digits = digits.beside_zero(Some(difference), None);
        (self.verdict() == Verdict::NotToldApart).then(|| digits.show(difference))
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
            detectable: None,
        };
        for (ahead, higher_is_better, expected) in
            [("a", true, [-2.0, -3.0, -1.0]), ("b", true, [2.0, 1.0, 3.0]), ("a", false, [2.0, 1.0, 3.0])]
        {
            let metric = MetricFacts {
                name: "m".into(),
                higher_is_better,
                in_score_units: true,
                over_score: false,
                label: "m".into(),
                description: String::new(),
            };
            let lead = Lead::over_tasks(&pair, ahead, &metric);
            assert_eq!([lead.mean, lead.low, lead.high].map(Option::unwrap), expected);
        }
    }

    fn lead(n: usize, low: f64, high: f64, p: f64) -> Lead {
        let mean = Some((low + high) / 2.0);
        Lead { n, mean, low: Some(low), high: Some(high), p: Some(p), side: Some(1.0), scale: 1.0, detectable: None }
    }

    #[test]
    fn words_need_the_interval_and_the_test() {
        let of = |n, low, high, p| lead(n, low, high, p).verdict();
        assert_eq!(of(50, 0.1, 0.2, 0.01), Verdict::Surely);
        assert_eq!(of(50, 0.1, 0.2, 0.07), Verdict::Probably);
        assert_eq!(of(50, 0.1, 0.2, 0.2), Verdict::NotToldApart, "only the interval");
        assert_eq!(of(50, -0.1, 0.2, 0.01), Verdict::NotToldApart, "only the test");
        assert_eq!(of(50, 0.0, 0.0, 1.0), Verdict::NotToldApart);
        assert_eq!(of(5, 0.1, 0.2, 0.01), Verdict::TooFewExamples);
        let without = |change: fn(&mut Lead)| {
            let mut lead = lead(50, 0.1, 0.2, 0.01);
            change(&mut lead);
            lead.verdict()
        };
        assert_eq!(without(|lead| lead.low = None), Verdict::NotToldApart);
        assert_eq!(without(|lead| lead.p = None), Verdict::NotToldApart);
        assert_eq!(without(|lead| lead.side = None), Verdict::Surely, "a test of the mean has its side");
        assert_eq!(without(|lead| lead.side = Some(-0.4)), Verdict::NotToldApart, "the test speaks for the other");
        // Behind by the same measure, as by mean ranks that the mean contradicts.
        let behind = Lead { side: Some(-1.0), ..lead(50, -0.2, -0.1, 0.01) };
        assert_eq!(behind.verdict(), Verdict::Surely);
        // As seen: saturated probabilities, two wins and ten ties; and eight wins to six.
        assert_eq!(of(12, 1.6e-11, 0.08, 0.88), Verdict::NotToldApart);
        assert_eq!(of(14, 0.02, 0.23, 1.0), Verdict::NotToldApart);
        // Differences of rounding may all be to one side.
        assert_eq!(of(60, 1e-9, 3e-9, 1e-6), Verdict::NotToldApart);
        assert_eq!(
            Lead { scale: 1e-9, ..lead(60, 1e-9, 3e-9, 1e-6) }.verdict(),
            Verdict::Surely,
            "small, not rounding"
        );
        assert_eq!(of(60, 1e-12, 0.5, 1e-6), Verdict::NotToldApart, "an end that is rounding");
    }

    #[test]
    fn words_say_where_interval_and_test_disagree_and_what_could_have_shown() {
        let digits = Digits::of([(0.02, 0.23)], []);
        let shown = |low, high, p| {
            let lead = Lead { detectable: Some(0.153), ..lead(14, low, high, p) };
            (lead.words(), lead.could_show(digits))
        };
        let apart = |mark: &str| (format!("cannot be told apart{mark}"), Some("0.15".to_owned()));
        assert_eq!(shown(0.02, 0.23, 1.0), apart(" ‡"));
        assert_eq!(shown(-0.02, 0.23, 0.01), apart(" ‡"));
        assert_eq!(shown(-0.02, 0.23, 0.6), apart(""));
        assert_eq!(shown(0.02, 0.23, 0.01), ("surely".to_owned(), None));
        assert_eq!(lead(14, -0.02, 0.23, 0.6).could_show(digits), None);
    }

    /// Over samples of many shapes, turned both ways: the word follows the numbers that stand beside it.
    #[test]
    fn words_never_contradict_their_row() {
        let mut words = std::collections::BTreeMap::new();
        for n in [6, 12, 40] {
            for shape in 0..40 {
                let differences: Vec<f64> = (0..n)
                    .map(|i| {
                        let noise = ((i * 37 + shape * 101) % 17) as f64 / 17.0 - 0.5;
                        match shape % 8 {
                            0 => noise,
                            1 => noise + 0.3,
                            2 => noise * 1e-9,
                            3 if i < 2 => 0.4,
                            3 => 0.0,
                            // Few large against many small: the mean and the ranks disagree.
                            4 => {
                                if i % 6 == 0 {
                                    20.0
                                } else {
                                    -0.1 - noise.abs()
                                }
                            }
                            5 => {
                                if i % 2 == 0 {
                                    1.0
                                } else {
                                    -0.9
                                }
                            }
                            6 => 0.5 + 1e-3 * noise,
                            _ => noise + 0.02 * shape as f64 / 4.0,
                        }
                    })
                    .collect();
                for sign in [1.0, -1.0] {
                    let differences: Vec<f64> = differences.iter().map(|d| d * sign).collect();
                    let interval = crate::stats::bca_mean_interval(&differences, 400, 0.95, 1);
                    let test = crate::stats::wilcoxon_signed_rank(&differences);
                    // As if six pairs were compared.
                    let p = test.map(|test| (6.0 * test.p).min(1.0));
                    let side = crate::stats::rank_biserial(&differences);
                    let lead = Lead {
                        n,
                        mean: crate::stats::mean(&differences),
                        low: interval.map(|i| i.low),
                        high: interval.map(|i| i.high),
                        p,
                        side,
                        scale: 1.0,
                        detectable: None,
                    };
                    let verdict = lead.verdict();
                    *words.entry(verdict.words()).or_insert(0) += 1;
                    let excludes = interval.is_some_and(|i| i.low > 0.0 || i.high < 0.0);
                    match verdict {
                        Verdict::Surely => assert!(excludes && p.unwrap() < 0.05),
                        Verdict::Probably => assert!(excludes && p.unwrap() < 0.1),
                        _ => {}
                    }
                    if verdict.told_apart() {
                        let mean = lead.mean.unwrap();
                        assert!(mean.abs() > 1e-6 && mean * side.unwrap() > 0.0, "{differences:?}");
                    } else if excludes && p.unwrap_or(1.0) < 0.05 {
                        let rounding = differences.iter().all(|d| d.abs() < 1e-6);
                        assert!(rounding || lead.mean.unwrap() * side.unwrap() < 0.0, "{differences:?}");
                    }
                }
            }
        }
        assert!(words.len() == 3, "each word was needed: {words:?}");
    }
}
