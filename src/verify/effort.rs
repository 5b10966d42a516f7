//! How much a verification does.

/// What the checks run on. Both kinds make every check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Lengths of the random prompts, which share one padded batch.
    pub lengths: &'static [usize],
}

impl Effort {
    /// What `gim-harness verify` does.
    pub const FULL: Effort = Effort { lengths: &[1, 6, 17] };
    /// The same checks on fewer tokens, for a model of which one pass takes seconds.
    pub const SHORT: Effort = Effort { lengths: &[4, 2] };

    /// What suits a model with so many bytes of weights at the end of a bake: a few seconds, or what a model that needs
    /// more can give in a minute.
    pub fn for_weights(bytes: u64) -> Effort {
        if bytes <= 256 << 20 { Effort::FULL } else { Effort::SHORT }
    }
}
