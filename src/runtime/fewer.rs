//! A batch that does not fit into memory runs in halves.

use super::error::RuntimeError;

impl RuntimeError {
    /// Whether ONNX Runtime, or a device's library, could not have the memory that a run needs. There is no code for it, only
    /// what is said: of the arena, of the allocators, of CUDA and of ROCm.
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self, RuntimeError::Run { problem, .. } if says_so(problem))
    }

    /// The same of loading a graph, where rows have no part in it.
    pub(super) fn lacked_memory_to_load(&self) -> bool {
        matches!(self, RuntimeError::Graph { problem, .. } if says_so(problem))
    }
}

fn says_so(problem: &str) -> bool {
    const SAID: [&str; 6] = [
        "failed to allocate memory",
        "bad_alloc",
        "bad allocation",
        "out of memory",
        "is smaller than requested bytes",
        "cannot allocate memory",
    ];
    let problem = problem.to_lowercase();
    SAID.iter().any(|said| problem.contains(said))
}

/// The results of rows in their order, by as many runs as it takes for each to fit; and the most rows that did, where not all
/// did at once. Before a single row is given up, `make_room` may let go of what is not needed for it, and it is tried again.
///
/// # Errors
/// Those of `run`; that memory does not suffice only where it does not for a single row.
pub(super) fn in_halves<S, T>(
    state: &mut S,
    rows: &[usize],
    make_room: &impl Fn(&mut S),
    run: &mut impl FnMut(&mut S, &[usize]) -> Result<Vec<T>, RuntimeError>,
) -> Result<(Vec<T>, Option<usize>), RuntimeError> {
    match run(state, rows) {
        Ok(found) => Ok((found, None)),
        Err(error) if rows.len() == 1 && error.is_out_of_memory() => {
            make_room(state);
            Ok((run(state, rows)?, None))
        }
        Err(error) if rows.len() > 1 && error.is_out_of_memory() => {
            let (first, second) = rows.split_at(rows.len().div_ceil(2));
            let (mut found, fits) = in_halves(state, first, make_room, run)?;
            let most = fits.unwrap_or(first.len());
            // What did not fit before does not now.
            for part in second.chunks(most) {
                found.extend(in_halves(state, part, make_room, run)?.0);
            }
            Ok((found, Some(most)))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(problem: &str) -> RuntimeError {
        RuntimeError::Run { graph: "forward.onnx".into(), problem: problem.to_owned() }
    }

    type Found = Result<(Vec<usize>, Option<usize>), RuntimeError>;

    /// Rows run where no more than `fits` do at once: the results, the most that did, and the sizes that were tried.
    fn run(rows: usize, fits: usize) -> (Found, Vec<usize>) {
        let mut tried = Vec::new();
        let rows: Vec<usize> = (0..rows).collect();
        let found = in_halves(&mut tried, &rows, &|_| {}, &mut |tried: &mut Vec<usize>, rows| {
            tried.push(rows.len());
            let text = "Failed to allocate memory for requested buffer of size 1073741824";
            if rows.len() > fits { Err(failed(text)) } else { Ok(rows.iter().map(|row| row * 10).collect()) }
        });
        (found, tried)
    }

    #[test]
    fn all_rows_run_in_their_order_however_few_fit() {
        for rows in 0..20 {
            for fits in 1..20 {
                let (found, most) = run(rows, fits).0.unwrap();
                assert_eq!(found, (0..rows).map(|row| row * 10).collect::<Vec<_>>());
                assert_eq!(most.is_some(), rows > fits);
                assert!(
                    most.is_none_or(|most| most <= fits && 2 * most >= fits.min(rows / 2)),
                    "{rows} {fits} {most:?}"
                );
            }
        }
        // What was found to be too many is not tried again.
        assert_eq!(run(16, 4).1, [16, 8, 4, 4, 4, 4]);
    }

    #[test]
    fn a_row_that_does_not_fit_and_other_faults_end_it() {
        let (found, tried) = run(4, 0);
        assert!(found.unwrap_err().is_out_of_memory());
        // Once more where room was made.
        assert_eq!(tried, [4, 2, 1, 1]);
        let mut runs = 0;
        let other = in_halves(&mut runs, &[0, 1], &|_| {}, &mut |runs: &mut i32, _| {
            *runs += 1;
            Err::<Vec<()>, _>(failed("input_ids has rank 3"))
        });
        assert!(!other.unwrap_err().is_out_of_memory());
        assert_eq!(runs, 1);
        let said = [
            "std::bad_alloc",
            "CUDA failure 2: out of memory ; GPU=0",
            "Available memory of 0 is smaller than requested bytes of 8",
        ];
        assert!(said.into_iter().all(|said| failed(said).is_out_of_memory()));
    }

    #[test]
    fn room_is_made_for_a_single_row_alone() {
        // Two fit in the end, but for what else is held.
        let (mut held, mut made) = (true, 0);
        let rows: Vec<usize> = (0..4).collect();
        let (found, most) = in_halves(
            &mut (&mut held, &mut made),
            &rows,
            &|(held, made)| {
                **held = false;
                **made += 1;
            },
            &mut |(held, _), rows| {
                if **held || rows.len() > 2 { Err(failed("std::bad_alloc")) } else { Ok(rows.to_vec()) }
            },
        )
        .unwrap();
        assert_eq!((found, most, made), (rows, Some(1), 1));
    }
}
