//! How much a verification does.

/// What the checks run on. Both kinds make every check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Lengths of the random prompts.
    pub lengths: &'static [usize],
    /// Single tokens of a prompt, beside the whole, at which differences are taken; 3 are the first, middle and last.
    pub places: usize,
    /// Points of the integrals; more only where fewer do not suffice.
    pub points: &'static [usize],
}

impl Effort {
    /// What `gim-harness verify` does.
    pub const FULL: Effort = Effort { lengths: &[1, 7, 24], places: 3, points: &[50, 200, 800] };
    /// The same checks on less than a tenth of the tokens, for a model of which one pass takes seconds.
    pub const SHORT: Effort = Effort { lengths: &[1, 5], places: 1, points: &[10, 50, 200] };

    /// What suits a model with so many bytes of weights at the end of a bake: a few seconds, or what a model that needs
    /// more can give in a minute or two.
    pub fn for_weights(bytes: u64) -> Effort {
        if bytes <= 256 << 20 { Effort::FULL } else { Effort::SHORT }
    }
}
