//! Units in the store: written whole, checked whenever they are read.

use std::collections::HashMap;

use rusqlite::{Row, Transaction, params};

use super::checksum;
use super::columns::{Json, Numbers, count, int};
use super::error::StoreError;
use super::record::{MetricValue, Timing, Unit, UnitKey};
use super::schema::PARTS_OF_UNITS;
use super::sqlite::{Store, describe};
use crate::faithfulness::Curve;
use crate::probe::Cost;

/// What is known of a finished unit without its numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// See [`Unit::depends_on`].
    pub depends_on: String,
    /// Whether its example is left out, so that it has no metrics.
    pub excluded: bool,
    /// The metrics that it has, or has a reason not to have.
    pub metrics: Vec<String>,
}

/// Something in the store that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Of the damaged unit; `None` for rows that belong to no unit.
    unit: Option<i64>,
    /// For people: which unit, as far as it can be told.
    pub what: String,
}

impl Store {
    /// Every finished unit, also those that are not part of the present plan, and what is damaged.
    pub fn finished(&self) -> Result<(HashMap<UnitKey, Finished>, Vec<Damage>), StoreError> {
        let read = || {
            let (mut finished, mut damage) = (HashMap::new(), self.orphans()?);
            let mut statement = self.connection.prepare("SELECT id FROM unit ORDER BY id")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                match self.checked(row.get(0)?, 0)? {
                    Ok(unit) => {
                        let metrics = unit.metrics.into_iter().map(|value| value.metric).collect();
                        let excluded = unit.excluded.is_some();
                        finished.insert(unit.key, Finished { depends_on: unit.depends_on, excluded, metrics });
                    }
                    Err(damaged) => damage.push(damaged),
                }
            }
            Ok((finished, damage))
        };
        read().map_err(|error| self.describe(error))
    }

    /// A finished unit; `None` where there is none, or a damaged one.
    pub fn unit(&self, key: &UnitKey) -> Result<Option<Unit>, StoreError> {
        let Ok([model, task, method]) = self.names.of_unit(key) else { return Ok(None) };
        let read = || {
            let mut statement = self
                .connection
                .prepare_cached("SELECT id FROM unit WHERE model = ? AND task = ? AND example_id = ? AND method = ?")?;
            let mut rows = statement.query(params![model, task, key.example_id, method])?;
            let Some(row) = rows.next()? else { return Ok(None) };
            Ok(self.checked(row.get(0)?, 0)?.ok())
        };
        read().map_err(|error| self.describe(error))
    }

    /// Removes what is damaged, so that it counts as not done.
    pub fn remove(&mut self, damage: &[Damage]) -> Result<(), StoreError> {
        let path = &self.path;
        let fail = |error| describe(path, error);
        let transaction = self.connection.transaction().map_err(fail)?;
        for unit in damage.iter().filter_map(|damage| damage.unit) {
            transaction.execute("DELETE FROM unit WHERE id = ?", [unit]).map_err(fail)?;
        }
        for table in PARTS_OF_UNITS {
            let orphans = format!("DELETE FROM {table} WHERE unit NOT IN (SELECT id FROM unit)");
            transaction.execute(&orphans, []).map_err(fail)?;
        }
        transaction.commit().map_err(fail)
    }

    /// Writes one unit; once this returns it counts as done.
    pub fn write(&mut self, unit: &Unit) -> Result<(), StoreError> {
        self.write_all(std::slice::from_ref(unit))
    }

    /// Writes all of the units or, where it fails or is interrupted, none. A unit that is there already is replaced.
    pub fn write_all(&mut self, units: &[Unit]) -> Result<(), StoreError> {
        let path = &self.path;
        let fail = |error| describe(path, error);
        let transaction = self.connection.transaction().map_err(fail)?;
        for unit in units {
            check(unit)?;
            let numbers = self.names.of_unit(&unit.key)?;
            let metrics: Vec<i64> =
                unit.metrics.iter().map(|value| self.names.metric(&value.metric)).collect::<Result<_, _>>()?;
            insert(&transaction, unit, numbers, &metrics).map_err(fail)?;
        }
        transaction.commit().map_err(fail)
    }

    /// Hands every unit of the present plan to `visit`, by model and task in declared order, example in the order of the
    /// dataset, and method in declared order, as of one moment. Gives what is damaged, and was not handed over.
    pub fn visit<E: From<StoreError>>(&self, mut visit: impl FnMut(Unit) -> Result<(), E>) -> Result<Vec<Damage>, E> {
        let fail = |error| E::from(self.describe(error));
        // Held so that a unit and its parts are of one moment even while a run writes.
        let _moment = self.connection.unchecked_transaction().map_err(fail)?;
        let mut damage = self.orphans().map_err(fail)?;
        let mut statement = self
            .connection
            .prepare(
                "SELECT unit.id, example.position
                 FROM example JOIN unit ON unit.model = example.model AND unit.task = example.task
                                       AND unit.example_id = example.id
                 JOIN model ON model.id = unit.model JOIN task ON task.id = unit.task
                 JOIN method ON method.id = unit.method
                 WHERE method.place IS NOT NULL
                 ORDER BY model.place, task.place, example.position, method.place",
            )
            .map_err(fail)?;
        let mut rows = statement.query([]).map_err(fail)?;
        while let Some(row) = rows.next().map_err(fail)? {
            let (id, position) = (row.get(0).map_err(fail)?, count(row, 1).map_err(fail)?);
            match self.checked(id, position).map_err(fail)? {
                Ok(unit) => visit(unit)?,
                Err(damaged) => damage.push(damaged),
            }
        }
        Ok(damage)
    }

    /// All units in the order of [`Store::visit`].
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where any unit is.
    pub fn units(&self) -> Result<Vec<Unit>, StoreError> {
        let mut units = Vec::new();
        let damage = self.visit(|unit| {
            units.push(unit);
            Ok::<(), StoreError>(())
        })?;
        match damage.into_iter().next() {
            Some(first) => Err(StoreError::Damaged { path: self.path.clone(), what: first.what }),
            None => Ok(units),
        }
    }

    /// Rows whose unit is gone.
    fn orphans(&self) -> rusqlite::Result<Vec<Damage>> {
        let mut damage = Vec::new();
        for table in PARTS_OF_UNITS {
            let query = format!("SELECT count(*) FROM {table} WHERE unit NOT IN (SELECT id FROM unit)");
            let rows: i64 = self.connection.query_row(&query, [], |row| row.get(0))?;
            if rows > 0 {
                damage.push(Damage { unit: None, what: format!("{rows} rows of `{table}` whose unit is gone") });
            }
        }
        Ok(damage)
    }

    /// A unit, if it is what was written.
    fn checked(&self, id: i64, example_index: usize) -> rusqlite::Result<Result<Unit, Damage>> {
        let stored: String = self
            .connection
            .prepare_cached("SELECT checksum FROM unit WHERE id = ?")?
            .query_row([id], |row| row.get(0))
            .or_else(|error| if is_senseless(&error) { Ok(String::new()) } else { Err(error) })?;
        if checksum::of_unit(&self.connection, id)? == stored {
            match self.read(id, example_index) {
                Ok(unit) => return Ok(Ok(unit)),
                Err(error) if is_senseless(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Err(Damage { unit: Some(id), what: self.call(id)? }))
    }

    /// What people call a unit that may be damaged.
    fn call(&self, id: i64) -> rusqlite::Result<String> {
        self.connection
            .prepare_cached(
                "SELECT model.name, task.name, example_id, method.name
                 FROM unit LEFT JOIN model ON model.id = model LEFT JOIN task ON task.id = task
                           LEFT JOIN method ON method.id = method WHERE unit.id = ?",
            )?
            .query_row([id], |row| {
                let name = |column| match row.get_ref(column) {
                    Ok(rusqlite::types::ValueRef::Text(text)) => String::from_utf8_lossy(text).into_owned(),
                    _ => "?".to_owned(),
                };
                Ok(format!("{} on example `{}` of {} ({})", name(3), name(2), name(1), name(0)))
            })
    }

    fn read(&self, id: i64, example_index: usize) -> rusqlite::Result<Unit> {
        self.connection
            .prepare_cached(
                "SELECT model.name, task.name, example_id, method.name, depends_on, n_tokens, n_ranked,
                        score, excluded, tokens, attribution_cost, evaluation_cost
                 FROM unit JOIN model ON model.id = model JOIN task ON task.id = task JOIN method ON method.id = method
                 WHERE unit.id = ?",
            )?
            .query_row([id], |row| self.parts(id, example_index, row))
    }

    fn parts(&self, id: i64, example_index: usize, row: &Row) -> rusqlite::Result<Unit> {
        let Json(tokens) = row.get(9)?;
        Ok(Unit {
            key: UnitKey { model: row.get(0)?, task: row.get(1)?, example_id: row.get(2)?, method: row.get(3)? },
            depends_on: row.get(4)?,
            example_index,
            n_tokens: count(row, 5)?,
            n_ranked: count(row, 6)?,
            score: row.get(7)?,
            excluded: row.get(8)?,
            tokens,
            attributions: self
                .connection
                .prepare_cached("SELECT vector FROM attribution WHERE unit = ? ORDER BY seed")?
                .query_map([id], |row| row.get(0).map(|Numbers(vector)| vector))?
                .collect::<Result<_, _>>()?,
            metrics: self
                .connection
                .prepare_cached(
                    "SELECT metric.name, by_seed, excluded FROM metric_value JOIN metric ON metric.id = metric
                     WHERE unit = ? ORDER BY metric.place, metric.id",
                )?
                .query_map([id], |row| {
                    let Numbers(values) = row.get(1)?;
                    Ok(MetricValue { metric: row.get(0)?, values, excluded: row.get(2)? })
                })?
                .collect::<Result<_, _>>()?,
            curves: self
                .connection
                .prepare_cached("SELECT name, steps, fractions, scores FROM curve WHERE unit = ? ORDER BY position")?
                .query_map([id], |row| {
                    let (Json(step), Numbers(fraction), Numbers(score)) = (row.get(1)?, row.get(2)?, row.get(3)?);
                    Ok(Curve { curve: row.get(0)?, step, fraction, score })
                })?
                .collect::<Result<_, _>>()?,
            timing: Timing { attribution: cost(row, 10)?, evaluation: cost(row, 11)? },
            diagnostics: self
                .connection
                .prepare_cached("SELECT name, value FROM diagnostic WHERE unit = ?")?
                .query_map([id], |row| Ok((row.get(0)?, row.get::<_, Option<f64>>(1)?.unwrap_or(f64::NAN))))?
                .collect::<Result<_, _>>()?,
        })
    }
}

/// Seconds, and rows and tokens, as they stand in a column: four numbers, and those of prefixes where there were any.
type Written = (f64, Vec<u64>);

fn written(cost: Cost) -> rusqlite::Result<String> {
    let Cost {
        seconds,
        forward_rows,
        forward_rows_saved,
        gradient_rows,
        gradient_rows_saved,
        prefix_tokens,
        prefix_tokens_saved,
    } = cost;
    let seconds = if seconds.is_finite() { seconds } else { 0.0 };
    let mut numbers = vec![forward_rows, forward_rows_saved, gradient_rows, gradient_rows_saved];
    if (prefix_tokens, prefix_tokens_saved) != (0, 0) {
        numbers.extend([prefix_tokens, prefix_tokens_saved]);
    }
    let written: Written = (seconds, numbers);
    serde_json::to_string(&written).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

fn cost(row: &Row, column: usize) -> rusqlite::Result<Cost> {
    let Json(written): Json<Written> = row.get(column)?;
    let (seconds, numbers) = written;
    let number = |at: usize| numbers.get(at).copied();
    let needed = |at: usize| number(at).ok_or(rusqlite::Error::IntegralValueOutOfRange(column, at as i64));
    Ok(Cost {
        seconds,
        forward_rows: needed(0)?,
        forward_rows_saved: needed(1)?,
        gradient_rows: needed(2)?,
        gradient_rows_saved: needed(3)?,
        prefix_tokens: number(4).unwrap_or_default(),
        prefix_tokens_saved: number(5).unwrap_or_default(),
    })
}

/// Whether an error is about a value that no run would have written, rather than one of the database's.
fn is_senseless(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code().is_none()
}

/// Refuses a unit that the reports could not make sense of.
fn check(unit: &Unit) -> Result<(), StoreError> {
    let malformed = |what: String| Err(StoreError::Malformed { key: Box::new(unit.key.clone()), what });
    if unit.excluded.is_some() && !(unit.attributions.is_empty() && unit.metrics.is_empty() && unit.curves.is_empty()) {
        return malformed("left out, yet it has attributions, metrics or curves".to_string());
    }
    if let Some(vector) = unit.attributions.iter().find(|vector| vector.len() != unit.tokens.len()) {
        return malformed(format!("{} attributions for {} tokens", vector.len(), unit.tokens.len()));
    }
    for (i, value) in unit.metrics.iter().enumerate() {
        if unit.metrics[..i].iter().any(|other| other.metric == value.metric) {
            return malformed(format!("metric `{}` twice", value.metric));
        }
        if value.values.is_empty() != value.excluded.is_some() {
            return malformed(format!("metric `{}` needs values or a reason why not", value.metric));
        }
    }
    match unit.curves.iter().find(|c| c.step.len() != c.fraction.len() || c.step.len() != c.score.len()) {
        Some(curve) => malformed(format!("the columns of curve `{}` differ in length", curve.curve)),
        None => Ok(()),
    }
}

fn insert(
    transaction: &Transaction,
    unit: &Unit,
    [model, task, method]: [i64; 3],
    metrics: &[i64],
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("DELETE FROM unit WHERE model = ? AND task = ? AND example_id = ? AND method = ?")?
        .execute(params![model, task, unit.key.example_id, method])?;
    let timing = &unit.timing;
    let row = transaction
        .prepare_cached("INSERT INTO unit VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '')")?
        .insert(params![
            model,
            task,
            unit.key.example_id,
            method,
            unit.depends_on,
            int(unit.n_tokens),
            int(unit.n_ranked),
            unit.score,
            unit.excluded,
            Json(&unit.tokens),
            written(timing.attribution)?,
            written(timing.evaluation)?,
        ])?;
    for (seed, vector) in unit.attributions.iter().enumerate() {
        transaction.prepare_cached("INSERT INTO attribution VALUES (?, ?, ?)")?.execute(params![
            row,
            int(seed),
            Numbers(vector)
        ])?;
    }
    for (value, metric) in unit.metrics.iter().zip(metrics) {
        transaction.prepare_cached("INSERT INTO metric_value VALUES (?, ?, ?, ?)")?.execute(params![
            row,
            metric,
            Numbers(&value.values),
            value.excluded
        ])?;
    }
    for (position, curve) in unit.curves.iter().enumerate() {
        transaction.prepare_cached("INSERT INTO curve VALUES (?, ?, ?, ?, ?, ?)")?.execute(params![
            row,
            int(position),
            curve.curve,
            Json(&curve.step),
            Numbers(&curve.fraction),
            Numbers(&curve.score)
        ])?;
    }
    for (name, value) in &unit.diagnostics {
        transaction.prepare_cached("INSERT INTO diagnostic VALUES (?, ?, ?)")?.execute(params![row, name, value])?;
    }
    let sum = checksum::of_unit(transaction, row)?;
    transaction.prepare_cached("UPDATE unit SET checksum = ? WHERE id = ?")?.execute(params![sum, row])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::run::{Declared, RunIdentity};
    use super::*;

    #[test]
    fn an_unfinished_transaction_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.sqlite");
        let declared = Declared {
            name: "demo".into(),
            models: vec!["m".into()],
            tasks: vec!["t".into()],
            methods: vec!["gim".into()],
            relabelled: Default::default(),
            metrics: vec![],
            seed: u64::MAX,
            resamples: 10,
            confidence: 0.95,
        };
        let mut store = Store::create(&path, &RunIdentity::default(), &declared, &[]).unwrap();
        let unit = Unit {
            key: UnitKey { model: "m".into(), task: "t".into(), example_id: "1".into(), method: "gim".into() },
            depends_on: "x".into(),
            example_index: 0,
            n_tokens: 1,
            n_ranked: 1,
            score: Some(f64::NAN),
            excluded: None,
            tokens: vec!["a".into()],
            attributions: vec![vec![1.0]],
            metrics: vec![],
            curves: vec![],
            timing: Timing::default(),
            diagnostics: Default::default(),
        };
        let transaction = store.connection.transaction().unwrap();
        insert(&transaction, &unit, [1, 1, 1], &[]).unwrap();
        // As a killed process would: no commit, no rollback, no close.
        std::mem::forget(transaction);
        let other = Store::open_read_only(&path).unwrap();
        assert_eq!(other.unit(&unit.key).unwrap(), None);
        assert!(other.units().unwrap().is_empty());
        assert_eq!(other.declared(), &declared);
    }
}
