//! What plots show. How they look is the renderer's business.

/// A plot.
#[derive(Clone, Debug, PartialEq)]
pub struct Plot {
    /// What its own file is called, without ending: made of lower-case letters, digits and hyphens.
    pub name: String,
    pub title: String,
    /// What there is to see, in words, for those who do not see it.
    pub description: String,
    pub shape: Shape,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Estimates with their intervals, one below the other; of differences, about a line at 0.
    Forest {
        rows: Vec<Row<Estimate>>,
        axis: String,
        about_zero: bool,
    },
    /// Distributions, one below the other, about a line at 0.
    Spreads {
        rows: Vec<Row<Spread>>,
        axis: String,
    },
    /// Curves with bands.
    Lines {
        series: Vec<Series>,
        x: Axis,
        y: Axis,
    },
    /// Labelled points, some with an interval upwards.
    Scatter {
        points: Vec<Row<Point>>,
        x: Axis,
        y: Axis,
    },
    Matrix(Matrix),
}

/// Something with a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Row<T> {
    pub label: String,
    pub value: T,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    /// Value and interval as people read them.
    pub shown: String,
    pub value: f64,
    pub interval: Option<(f64, f64)>,
    /// Whether it stands out: a difference that is told from 0 by the rule that the words follow.
    pub stands_out: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Spread {
    /// 5, 25, 50, 75 and 95 %.
    pub quantiles: [f64; 5],
    pub mean: f64,
    pub range: (f64, f64),
    /// How often each of equally wide parts of `range` occurs.
    pub histogram: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub label: String,
    /// Which of the distinct looks: one thing looks alike in all plots.
    pub look: usize,
    /// By ascending x.
    pub points: Vec<Point>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub x: f64,
    pub y: f64,
    pub interval: Option<(f64, f64)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    pub label: String,
    /// Whether numbers, 0 or above, stand at the logarithm of one more.
    pub logarithmic: bool,
}

/// Numbers from -1 to 1 between things of one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    pub labels: Vec<String>,
    /// Row by row; symmetric.
    pub cells: Vec<Vec<Option<f64>>>,
}

impl Axis {
    pub fn new(label: impl Into<String>) -> Axis {
        Axis { label: label.into(), logarithmic: false }
    }
}
