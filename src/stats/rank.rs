//! Ranks with ties.

/// Ranks from 1; equal numbers share the mean of the ranks that they take up (midranks).
pub(super) struct Ranks {
    /// One rank a number, in the order of the input.
    pub ranks: Vec<f64>,
    /// Sum over groups of equal numbers of `t^3 - t`, `t` being the size of the group: what ties take from a variance.
    pub tie_term: f64,
}

/// Ranks finite numbers, the smallest first. Equal means equal as `f64`, as in SciPy's `rankdata`.
pub(super) fn rank(x: &[f64]) -> Ranks {
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_unstable_by(|&a, &b| x[a].total_cmp(&x[b]));
    let mut ranks = vec![0.0; x.len()];
    let mut tie_term = 0.0;
    let mut below = 0;
    // `==` and not bit equality: 0.0 and -0.0 are neighbours in the order and are one value.
    for group in order.chunk_by(|&a, &b| x[a] == x[b]) {
        let size = group.len() as f64;
        for &index in group {
            ranks[index] = below as f64 + (size + 1.0) / 2.0;
        }
        tie_term += size.powi(3) - size;
        below += group.len();
    }
    Ranks { ranks, tie_term }
}

#[cfg(test)]
mod tests {
    use super::{Ranks, rank};

    #[test]
    fn ties_share_the_mean_of_their_ranks() {
        let Ranks { ranks, tie_term } = rank(&[3.0, 0.0, 3.0, -0.0, 7.0, 3.0]);
        assert_eq!(ranks, [4.0, 1.5, 4.0, 1.5, 6.0, 4.0]);
        assert_eq!(tie_term, 6.0 + 24.0);
        assert!(rank(&[]).ranks.is_empty());
    }
}
