//! What tells damaged content from what was written: SHA-256 over the values as SQLite hands them out.
//!
//! SQLite itself notices a damaged structure, but takes a number in which a bit has flipped for a number.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Params};
use sha2::{Digest, Sha256};

use crate::digest::hexadecimal;

/// Everything that is stored of a unit but its number and its checksum. Names stand for the numbers they have, so that a
/// name that changed is noticed too.
const UNIT: [&str; 5] = [
    "SELECT model.name, task.name, example_id, method.name, depends_on, n_tokens, n_ranked, score, excluded, tokens,
            attribution_cost, evaluation_cost
     FROM unit LEFT JOIN model ON model.id = model LEFT JOIN task ON task.id = task
               LEFT JOIN method ON method.id = method WHERE unit.id = ?",
    "SELECT seed, vector FROM attribution WHERE unit = ? ORDER BY seed",
    "SELECT metric.name, by_seed, excluded FROM metric_value LEFT JOIN metric ON metric.id = metric
     WHERE unit = ? ORDER BY metric.name",
    "SELECT position, name, steps, fractions, scores FROM curve WHERE unit = ? ORDER BY position",
    "SELECT name, value FROM diagnostic WHERE unit = ? ORDER BY name",
];

/// Everything that describes the run, but its checksum.
const DESCRIPTION: [&str; 8] = [
    "SELECT one, name, seed, resamples, confidence FROM run",
    "SELECT fact, value, planned FROM identity ORDER BY fact",
    "SELECT id, name, place FROM model ORDER BY id",
    "SELECT id, name, place FROM task ORDER BY id",
    "SELECT id, name, place, stands_for FROM method ORDER BY id",
    "SELECT id, name, place, higher_is_better, in_score_units, over_score, label, description FROM metric ORDER BY id",
    "SELECT model, task, version, sha256, score, records, available, left_out, shortened, taken_at_most, sampled_at_most
     FROM dataset ORDER BY model, task",
    "SELECT model, task, position, id, evidence FROM example ORDER BY model, task, position",
];

/// Of a unit, hexadecimal.
pub fn of_unit(connection: &Connection, unit: i64) -> rusqlite::Result<String> {
    let mut hash = Sha256::new();
    for query in UNIT {
        add(&mut hash, connection, query, [unit])?;
    }
    Ok(hexadecimal(&hash.finalize()))
}

/// Of what describes the run, hexadecimal.
pub fn of_description(connection: &Connection) -> rusqlite::Result<String> {
    let mut hash = Sha256::new();
    for query in DESCRIPTION {
        add(&mut hash, connection, query, [])?;
    }
    Ok(hexadecimal(&hash.finalize()))
}

/// Of a prompt, hexadecimal.
pub fn of_prompt(connection: &Connection, model: i64, task: i64, example_id: &str) -> rusqlite::Result<String> {
    let mut hash = Sha256::new();
    let query = "SELECT model.name, task.name, example_id, ids, answer FROM prompt
                 LEFT JOIN model ON model.id = model LEFT JOIN task ON task.id = task
                 WHERE model = ? AND task = ? AND example_id = ?";
    add(&mut hash, connection, query, rusqlite::params![model, task, example_id])?;
    Ok(hexadecimal(&hash.finalize()))
}

/// Values with their kinds and lengths, so that no two contents are hashed from the same bytes.
fn add(hash: &mut Sha256, connection: &Connection, query: &str, parameters: impl Params) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(query)?;
    let columns = statement.column_count();
    let mut rows = statement.query(parameters)?;
    while let Some(row) = rows.next()? {
        hash.update(b"row");
        for column in 0..columns {
            let mut value = |kind: u8, bytes: &[u8]| {
                hash.update([kind]);
                hash.update((bytes.len() as u64).to_le_bytes());
                hash.update(bytes);
            };
            match row.get_ref(column)? {
                ValueRef::Null => value(b'n', &[]),
                ValueRef::Integer(number) => value(b'i', &number.to_le_bytes()),
                ValueRef::Real(number) => value(b'r', &number.to_bits().to_le_bytes()),
                ValueRef::Text(text) => value(b't', text),
                ValueRef::Blob(bytes) => value(b'b', bytes),
            }
        }
    }
    hash.update(b"end");
    Ok(())
}
