//! Examples with their tokens.

/// Examples of one model on one task, those on which the methods disagree most first.
#[derive(Clone, Debug, PartialEq)]
pub struct Examples {
    /// Model and task, for people.
    pub place: String,
    /// How many examples there are of which these are some.
    pub of: usize,
    pub examples: Vec<Example>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    pub id: String,
    /// f(x).
    pub score: Option<f64>,
    /// Mean rank correlation between the attributions of two methods; absent for fewer than two.
    pub agreement: Option<f64>,
    /// The first ones of a very long prompt.
    pub tokens: Vec<String>,
    /// Tokens that are not shown.
    pub cut: usize,
    /// Places among `tokens` that annotators marked.
    pub evidence: Vec<usize>,
    pub methods: Vec<Colouring>,
}

/// What one method says of an example's tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Colouring {
    pub method: String,
    /// One a token shown: from -1 (against the answer) to 1, in units of the largest of the whole prompt.
    pub shares: Vec<f64>,
    /// The strongest tokens, the strongest first: token and attribution.
    pub strongest: Vec<(String, f64)>,
    /// Metrics by label, with their values.
    pub metrics: Vec<(String, String)>,
}
