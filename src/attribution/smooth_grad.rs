//! Gradients at noisy embeddings: SmoothGrad, SquareGrad, VarGrad.

use std::rc::Rc;

use async_trait::async_trait;
use ndarray::{Array2, Zip};
use rand::RngExt;

use super::gradients::{RULES, named_rules, sum_over_features, together};
use super::options::{SEEDS, samples};
use super::random::{Purpose, generator_for};
use super::{Attribution, Case, Entry, Inapplicable, Method, OptionInfo, OptionKind, OptionValue, Settings};
use crate::config::Offered;
use crate::grad::Knobs;
use crate::probe::{Points, Probe};

const OPTIONS: &[OptionInfo] = &[
    samples("How many noisy copies of the embeddings gradients are taken at.", 1, 10_000, 50),
    OptionInfo {
        name: "noise",
        kind: OptionKind::Number(0.0, 10.0),
        default: OptionValue::Number(0.1),
        only_with: None,
        about: "Standard deviation of the noise, in units of that of the numbers in the prompt's embeddings.",
    },
    RULES,
    SEEDS,
];

const fn method(
    name: &'static str,
    source: &'static str,
    build: fn(&Settings) -> Rc<dyn Method>,
    description: &'static str,
) -> Entry {
    let info = Offered { name, options: OPTIONS };
    Entry { info, description, source, cost: "`samples` x `seeds` gradient", build }
}

pub(super) const SMOOTH_GRAD: Entry = method(
    "smooth_grad",
    "arXiv 1706.03825",
    |settings| Rc::new(NoisyGradients::new(Moment::Mean, settings)),
    "gradient times input, the gradient averaged over noisy embeddings",
);
pub(super) const SQUARE_GRAD: Entry = method(
    "square_grad",
    "arXiv 1806.10758",
    |settings| Rc::new(NoisyGradients::new(Moment::Square, settings)),
    "the mean square of the gradient over noisy embeddings, times the input's square: sizes, no direction",
);
pub(super) const VAR_GRAD: Entry = method(
    "var_grad",
    "arXiv 1810.03307",
    |settings| Rc::new(NoisyGradients::new(Moment::Variance, settings)),
    "the variance of the gradient over noisy embeddings, times the input's square: sizes, no direction",
);

/// What is made of the gradients at noisy embeddings.
#[derive(Clone, Copy)]
enum Moment {
    Mean,
    Square,
    Variance,
}

/// With `g` the gradient at embeddings to which independent normal noise was added: `sum_d (e - b)[i, d] mean(g)[i, d]`, or
/// `sum_d (e - b)[i, d]^2` times the mean square or the variance of `g[i, d]`.
///
/// The paper measures noise in units of the largest minus the smallest input; in embeddings that hangs on a few outliers,
/// so here it is the standard deviation of the prompt's numbers. `noise_stdev` says what it came to.
pub struct NoisyGradients {
    moment: Moment,
    samples: usize,
    noise: f64,
    rules: Knobs,
    seeds: usize,
    seed: u64,
}

impl NoisyGradients {
    fn new(moment: Moment, settings: &Settings) -> Self {
        NoisyGradients {
            moment,
            samples: settings.integer("samples").unwrap_or(50),
            noise: settings.number("noise").unwrap_or(0.1),
            rules: named_rules(settings.word(RULES.name)),
            seeds: settings.integer(SEEDS.name).unwrap_or(1),
            seed: settings.seed,
        }
    }
}

#[async_trait(?Send)]
impl Method for NoisyGradients {
    fn differentiates(&self) -> bool {
        true
    }

    fn rules(&self) -> Option<Knobs> {
        Some(self.rules)
    }

    async fn attribute(&self, _: &Case, probe: &Probe) -> Result<Attribution, Inapplicable> {
        let embeddings = probe.embeddings().await;
        let difference = embeddings.difference();
        let square = difference.mapv(|x| x * x);
        let stdev = self.noise * embeddings.inputs.mapv(f64::from).std(0.0);
        let together = together(difference.len());
        let mut values = Vec::with_capacity(self.seeds);
        for draw in 0..self.seeds {
            let mut moments = Moments::new(difference.dim());
            for first in (0..self.samples).step_by(together) {
                let (case, embeddings, seed) = (Rc::clone(probe.case()), Rc::clone(&embeddings), self.seed);
                let points = Points::new(together.min(self.samples - first), move |i| {
                    let number = ((draw as u64) << 32) + (first + i) as u64;
                    let mut random = generator_for(Purpose::Noise, seed, number, &case);
                    embeddings.inputs.mapv(|x| (f64::from(x) + stdev * normal(&mut random)) as f32)
                });
                for gradient in probe.gradients(points, self.rules).await {
                    moments.add(&gradient.gradient);
                }
            }
            values.push(match self.moment {
                Moment::Mean => sum_over_features(&difference, &moments.mean),
                Moment::Square => sum_over_features(&square, &moments.mean_square()),
                Moment::Variance => sum_over_features(&square, &moments.variance()),
            });
        }
        Ok(Attribution { values, diagnostics: [("noise_stdev".to_owned(), stdev)].into() })
    }
}

/// A number of the standard normal distribution, by Box and Muller.
fn normal(random: &mut impl RngExt) -> f64 {
    let (radius, angle) = (1.0 - random.random::<f64>(), random.random::<f64>());
    (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}

/// Means and squared deviations of gradients, by Welford's recurrence: nothing cancels.
struct Moments {
    count: f64,
    /// `[seq, hidden]`
    mean: Array2<f64>,
    squares: Array2<f64>,
}

impl Moments {
    fn new(dim: (usize, usize)) -> Self {
        Moments { count: 0.0, mean: Array2::zeros(dim), squares: Array2::zeros(dim) }
    }

    fn add(&mut self, gradient: &Array2<f32>) {
        self.count += 1.0;
        let count = self.count;
        Zip::from(&mut self.mean).and(&mut self.squares).and(gradient).for_each(|mean, squares, &gradient| {
            let before = f64::from(gradient) - *mean;
            *mean += before / count;
            *squares += before * (f64::from(gradient) - *mean);
        });
    }

    fn variance(&self) -> Array2<f64> {
        &self.squares / self.count
    }

    fn mean_square(&self) -> Array2<f64> {
        self.variance() + self.mean.mapv(|mean| mean * mean)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    #[test]
    fn normal_numbers_have_the_moments_of_the_normal_distribution() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let drawn: Vec<f64> = (0..100_000).map(|_| normal(&mut random)).collect();
        let moment = |k: i32| drawn.iter().map(|x| x.powi(k)).sum::<f64>() / drawn.len() as f64;
        // Each within six standard errors.
        for (k, expected, variance) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)] {
            let error = (moment(k) - expected).abs();
            assert!(error < 6.0 * f64::sqrt(variance / drawn.len() as f64), "moment {k}: {error}");
        }
    }

    #[test]
    fn moments_are_those_of_the_definition() {
        let gradients = [[1.0_f32, 1000.0], [2.0, 1001.0], [6.0, 999.0]].map(|row| Array2::from(vec![row]));
        let mut moments = Moments::new((1, 2));
        gradients.iter().for_each(|gradient| moments.add(gradient));
        let close = |found: &Array2<f64>, expected: [f64; 2]| {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9 * b.abs()), "{found}");
        };
        close(&moments.mean, [3.0, 1000.0]);
        close(&moments.variance(), [14.0 / 3.0, 2.0 / 3.0]);
        close(&moments.mean_square(), [41.0 / 3.0, 1e6 + 2.0 / 3.0]);
    }
}
