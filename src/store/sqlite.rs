//! The store itself.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Row, Transaction, params};

use super::columns::{Json, Numbers};
use super::error::StoreError;
use super::record::{MetricValue, Timing, Unit, UnitKey};
use super::run::{DatasetFacts, Declared, RunIdentity};
use super::schema;
use crate::faithfulness::{Curve, MetricFacts};

/// How long a writer waits for another program that holds the file.
const PATIENCE: Duration = Duration::from_secs(10);

/// One run's `run.sqlite`. Errors name the file.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
    identity: RunIdentity,
    declared: Declared,
    names: Names,
}

/// Numbers of the declared names, by name.
#[derive(Debug)]
struct Names {
    models: HashMap<String, i64>,
    tasks: HashMap<String, i64>,
    methods: HashMap<String, i64>,
    metrics: HashMap<String, i64>,
}

impl Store {
    /// A new store at `path`, which must not exist; it appears there whole, by rename.
    pub fn create(path: &Path, identity: &RunIdentity, declared: &Declared) -> Result<Store, StoreError> {
        let names = Names::of(declared)?;
        if path.symlink_metadata().is_ok() {
            return Err(StoreError::Exists { path: path.to_path_buf() });
        }
        let io = |source| StoreError::Io { path: path.to_path_buf(), source };
        let folder = folder_of(path);
        let unfinished = tempfile::Builder::new()
            .prefix(".run.sqlite.")
            .make_in(folder, |p| File::create_new(p))
            .map_err(io)?
            .into_temp_path();
        let fail = |error| describe(path, error);
        {
            let mut connection = Connection::open_with_flags(&unfinished, writable()).map_err(fail)?;
            initialise(&mut connection, identity, declared, &names).map_err(fail)?;
            connection.close().map_err(|(_, error)| fail(error))?;
        }
        unfinished.persist_noclobber(path).map_err(|error| match error.error.kind() {
            std::io::ErrorKind::AlreadyExists => StoreError::Exists { path: path.to_path_buf() },
            _ => io(error.error),
        })?;
        Store::open(path)
    }

    /// The store at `path`, to go on writing.
    pub fn open(path: &Path) -> Result<Store, StoreError> {
        let store = Store::open_with(path, writable())?;
        // Write-ahead logging: a reader (a report of a run that is still going) never waits for the writer. With it,
        // synchronous = NORMAL cannot damage the file; a power cut may take back the last units, which then count as
        // not done and are computed again, and a killed process takes back nothing. Where the file system has no
        // shared memory for the log, SQLite keeps a rollback journal, which is only as safe with FULL.
        let mode: String = store
            .connection
            .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
            .map_err(|error| store.describe(error))?;
        let synchronous = if mode.eq_ignore_ascii_case("wal") { "NORMAL" } else { "FULL" };
        store.connection.pragma_update(None, "synchronous", synchronous).map_err(|error| store.describe(error))?;
        Ok(store)
    }

    /// The store at `path`, to read; works while a run writes to it, and on a folder that cannot be written.
    pub fn open_read_only(path: &Path) -> Result<Store, StoreError> {
        Store::open_with(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
    }

    /// Opens the store of an interrupted run, provided it is the same run: see [`Store::check_resume`].
    pub fn resume(path: &Path, identity: &RunIdentity, declared: &Declared) -> Result<Store, StoreError> {
        let store = Store::open(path)?;
        store.check_resume(identity, declared)?;
        Ok(store)
    }

    fn open_with(path: &Path, flags: OpenFlags) -> Result<Store, StoreError> {
        // SQLite reports a missing or unreadable file less clearly than the operating system does.
        crate::files::open(path, crate::files::STORE)
            .map_err(|source| StoreError::Io { path: path.to_path_buf(), source })?;
        let fail = |error| describe(path, error);
        let connection = Connection::open_with_flags(path, flags).map_err(fail)?;
        connection.busy_timeout(PATIENCE).map_err(fail)?;
        connection.set_prepared_statement_cache_capacity(32);
        recognise(&connection, path)?;
        connection.pragma_update(None, "foreign_keys", true).map_err(fail)?;
        let identity = read_identity(&connection).map_err(fail)?;
        let declared = read_declared(&connection).map_err(fail)?;
        let names = Names::of(&declared)?;
        Ok(Store { connection, path: path.to_path_buf(), identity, declared, names })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn identity(&self) -> &RunIdentity {
        &self.identity
    }

    pub fn declared(&self) -> &Declared {
        &self.declared
    }

    /// Fails with [`StoreError::OtherRun`], which says what differs, unless `identity` and `declared` are the store's.
    pub fn check_resume(&self, identity: &RunIdentity, declared: &Declared) -> Result<(), StoreError> {
        let mut differences = self.identity.differences(identity);
        differences.extend(self.declared.differences(declared));
        if differences.is_empty() { Ok(()) } else { Err(StoreError::OtherRun { path: self.path.clone(), differences }) }
    }

    /// Notes what a task's dataset holds; a second time replaces the first.
    pub fn write_dataset(&mut self, dataset: &DatasetFacts) -> Result<(), StoreError> {
        let model = id(&self.names.models, "model", &dataset.model)?;
        let task = id(&self.names.tasks, "task", &dataset.task)?;
        self.connection
            .execute(
                "INSERT OR REPLACE INTO dataset VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                params![
                    model,
                    task,
                    dataset.version,
                    dataset.sha256,
                    dataset.score,
                    int(dataset.available),
                    dataset.limit.map(int),
                    dataset.sample.map(int),
                    int(dataset.examples)
                ],
            )
            .map_err(|error| self.describe(error))?;
        Ok(())
    }

    /// In declared order of models, then tasks; only those that were written.
    pub fn datasets(&self) -> Result<Vec<DatasetFacts>, StoreError> {
        let read = || {
            self.connection
                .prepare(
                    "SELECT model.name, task.name, version, sha256, score, available, taken_at_most,
                            sampled_at_most, examples
                     FROM dataset JOIN model ON model.id = model JOIN task ON task.id = task ORDER BY model, task",
                )?
                .query_map([], |row| {
                    Ok(DatasetFacts {
                        model: row.get(0)?,
                        task: row.get(1)?,
                        version: row.get(2)?,
                        sha256: row.get(3)?,
                        score: row.get(4)?,
                        available: count(row, 5)?,
                        limit: row.get::<_, Option<i64>>(6)?.map(|n| n.max(0) as usize),
                        sample: row.get::<_, Option<i64>>(7)?.map(|n| n.max(0) as usize),
                        examples: count(row, 8)?,
                    })
                })?
                .collect::<Result<_, _>>()
        };
        read().map_err(|error| self.describe(error))
    }

    /// Whether the unit is finished.
    pub fn is_done(&self, key: &UnitKey) -> Result<bool, StoreError> {
        let (Some(model), Some(task), Some(method)) =
            (self.names.models.get(&key.model), self.names.tasks.get(&key.task), self.names.methods.get(&key.method))
        else {
            return Ok(false);
        };
        let look = || {
            self.connection
                .prepare_cached("SELECT 1 FROM unit WHERE model = ? AND task = ? AND example_id = ? AND method = ?")?
                .exists(params![model, task, key.example_id, method])
        };
        look().map_err(|error| self.describe(error))
    }

    /// Every finished unit.
    pub fn done_units(&self) -> Result<HashSet<UnitKey>, StoreError> {
        let read = || {
            self.connection
                .prepare(
                    "SELECT model.name, task.name, example_id, method.name FROM unit
                     JOIN model ON model.id = model JOIN task ON task.id = task JOIN method ON method.id = method",
                )?
                .query_map([], |row| {
                    Ok(UnitKey { model: row.get(0)?, task: row.get(1)?, example_id: row.get(2)?, method: row.get(3)? })
                })?
                .collect::<Result<_, _>>()
        };
        read().map_err(|error| self.describe(error))
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
            let place = self.names.place(&unit.key)?;
            let metrics: Vec<i64> = unit
                .metrics
                .iter()
                .map(|value| id(&self.names.metrics, "metric", &value.metric))
                .collect::<Result<_, _>>()?;
            insert(&transaction, unit, place, &metrics).map_err(fail)?;
        }
        transaction.commit().map_err(fail)
    }

    /// Hands every unit to `visit`, by model and task in declared order, example in dataset order, and method in
    /// declared order, as of one moment.
    pub fn visit<E: From<StoreError>>(&self, mut visit: impl FnMut(Unit) -> Result<(), E>) -> Result<(), E> {
        let fail = |error| E::from(self.describe(error));
        // Held so that a unit and its parts are of one moment even while a run writes.
        let _moment = self.connection.unchecked_transaction().map_err(fail)?;
        let mut statement = self
            .connection
            .prepare(
                "SELECT unit.id, model.name, task.name, example_id, method.name, example_index, n_tokens, n_ranked,
                        score, excluded, tokens, attribution_seconds, evaluation_seconds,
                        forward_rows, forward_rows_saved, gradient_rows, gradient_rows_saved
                 FROM unit JOIN model ON model.id = model JOIN task ON task.id = task JOIN method ON method.id = method
                 ORDER BY model, task, example_index, example_id, method",
            )
            .map_err(fail)?;
        let mut rows = statement.query([]).map_err(fail)?;
        while let Some(row) = rows.next().map_err(fail)? {
            visit(self.unit(row).map_err(fail)?)?;
        }
        Ok(())
    }

    /// All units in the order of [`Store::visit`].
    pub fn units(&self) -> Result<Vec<Unit>, StoreError> {
        let mut units = Vec::new();
        self.visit(|unit| {
            units.push(unit);
            Ok::<(), StoreError>(())
        })?;
        Ok(units)
    }

    /// Folds the log into the file, so that the run is one file that can be copied and read anywhere. Dropping the
    /// store instead loses nothing: whoever opens it next reads the log too.
    pub fn close(self) -> Result<(), StoreError> {
        let fail = |error| describe(&self.path, error);
        if !self.connection.is_readonly("main").map_err(fail)? {
            // A reader keeps the log in use; not worth a wait, since the log is read too.
            self.connection.busy_timeout(Duration::from_millis(200)).map_err(fail)?;
            self.connection
                .pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()))
                .or_else(|error| if is_busy(&error) { Ok(()) } else { Err(error) })
                .map_err(fail)?;
        }
        self.connection.close().map_err(|(_, error)| describe(&self.path, error))
    }

    fn unit(&self, row: &Row) -> rusqlite::Result<Unit> {
        let unit: i64 = row.get(0)?;
        let Json(tokens) = row.get(10)?;
        Ok(Unit {
            key: UnitKey { model: row.get(1)?, task: row.get(2)?, example_id: row.get(3)?, method: row.get(4)? },
            example_index: count(row, 5)?,
            n_tokens: count(row, 6)?,
            n_ranked: count(row, 7)?,
            score: row.get(8)?,
            excluded: row.get(9)?,
            tokens,
            attributions: self
                .connection
                .prepare_cached("SELECT vector FROM attribution WHERE unit = ? ORDER BY seed")?
                .query_map([unit], |row| row.get(0).map(|Numbers(vector)| vector))?
                .collect::<Result<_, _>>()?,
            metrics: self
                .connection
                .prepare_cached(
                    "SELECT metric.name, by_seed, excluded FROM metric_value JOIN metric ON metric.id = metric
                     WHERE unit = ? ORDER BY metric",
                )?
                .query_map([unit], |row| {
                    let Numbers(values) = row.get(1)?;
                    Ok(MetricValue { metric: row.get(0)?, values, excluded: row.get(2)? })
                })?
                .collect::<Result<_, _>>()?,
            curves: self
                .connection
                .prepare_cached("SELECT name, steps, fractions, scores FROM curve WHERE unit = ? ORDER BY position")?
                .query_map([unit], |row| {
                    let (Json(step), Numbers(fraction), Numbers(score)) = (row.get(1)?, row.get(2)?, row.get(3)?);
                    Ok(Curve { curve: row.get(0)?, step, fraction, score })
                })?
                .collect::<Result<_, _>>()?,
            timing: Timing {
                attribution_seconds: row.get::<_, Option<f64>>(11)?.unwrap_or(0.0),
                evaluation_seconds: row.get::<_, Option<f64>>(12)?.unwrap_or(0.0),
                forward_rows: row_count(row, 13)?,
                forward_rows_saved: row_count(row, 14)?,
                gradient_rows: row_count(row, 15)?,
                gradient_rows_saved: row_count(row, 16)?,
            },
            diagnostics: self
                .connection
                .prepare_cached("SELECT name, value FROM diagnostic WHERE unit = ?")?
                .query_map([unit], |row| Ok((row.get(0)?, row.get::<_, Option<f64>>(1)?.unwrap_or(f64::NAN))))?
                .collect::<Result<_, _>>()?,
        })
    }

    fn describe(&self, error: rusqlite::Error) -> StoreError {
        describe(&self.path, error)
    }
}

impl Names {
    fn of(declared: &Declared) -> Result<Names, StoreError> {
        Ok(Names {
            models: number("model", declared.models.iter())?,
            tasks: number("task", declared.tasks.iter())?,
            methods: number("method", declared.methods.iter())?,
            metrics: number("metric", declared.metrics.iter().map(|m| &m.name))?,
        })
    }

    fn place(&self, key: &UnitKey) -> Result<[i64; 3], StoreError> {
        Ok([
            id(&self.models, "model", &key.model)?,
            id(&self.tasks, "task", &key.task)?,
            id(&self.methods, "method", &key.method)?,
        ])
    }
}

fn number<'a>(kind: &'static str, names: impl Iterator<Item = &'a String>) -> Result<HashMap<String, i64>, StoreError> {
    let mut numbers = HashMap::new();
    for (i, name) in names.enumerate() {
        if numbers.insert(name.clone(), int(i)).is_some() {
            return Err(StoreError::DeclaredTwice { kind, name: name.clone() });
        }
    }
    Ok(numbers)
}

fn id(numbers: &HashMap<String, i64>, kind: &'static str, name: &str) -> Result<i64, StoreError> {
    numbers.get(name).copied().ok_or_else(|| StoreError::Undeclared { kind, name: name.to_string() })
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
        .prepare_cached("INSERT INTO unit VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")?
        .insert(params![
            model,
            task,
            int(unit.example_index),
            unit.key.example_id,
            method,
            int(unit.n_tokens),
            int(unit.n_ranked),
            unit.score,
            unit.excluded,
            Json(&unit.tokens),
            timing.attribution_seconds,
            timing.evaluation_seconds,
            rows(timing.forward_rows),
            rows(timing.forward_rows_saved),
            rows(timing.gradient_rows),
            rows(timing.gradient_rows_saved),
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
    Ok(())
}

fn initialise(
    connection: &mut Connection,
    identity: &RunIdentity,
    declared: &Declared,
    names: &Names,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(schema::TABLES)?;
    transaction.pragma_update(None, "application_id", schema::APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", schema::VERSION)?;
    transaction.execute(
        "INSERT INTO run VALUES (1, ?, ?, ?, ?)",
        params![declared.name, declared.seed.to_string(), int(declared.resamples), declared.confidence],
    )?;
    for (fact, value) in &identity.facts {
        transaction.execute("INSERT INTO identity VALUES (?, ?)", params![fact, value])?;
    }
    for (table, numbers) in [("model", &names.models), ("task", &names.tasks), ("method", &names.methods)] {
        for (name, number) in numbers {
            transaction.execute(&format!("INSERT INTO {table} VALUES (?, ?)"), params![number, name])?;
        }
    }
    for (name, method) in &declared.relabelled {
        transaction.execute("INSERT INTO relabelled VALUES (?, ?)", params![name, method])?;
    }
    for (i, metric) in declared.metrics.iter().enumerate() {
        transaction.execute(
            "INSERT INTO metric VALUES (?, ?, ?, ?, ?, ?, ?)",
            params![
                int(i),
                metric.name,
                metric.higher_is_better,
                metric.in_score_units,
                metric.over_score,
                metric.label,
                metric.description
            ],
        )?;
    }
    transaction.commit()
}

/// Fails unless the file is a whole run store of a format that this program knows.
fn recognise(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let fail = |error| describe(path, error);
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).map_err(fail);
    let foreign = |why: &str| StoreError::Foreign { path: path.to_path_buf(), why: why.to_string() };
    if number("application_id")? != schema::APPLICATION_ID {
        let tables: i64 =
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(fail)?;
        return Err(foreign(if tables == 0 { "it is empty" } else { "it is some other program's database" }));
    }
    match number("user_version")? {
        found if found > schema::VERSION => {
            return Err(StoreError::Newer { path: path.to_path_buf(), found, known: schema::VERSION });
        }
        found if found < schema::VERSION => return Err(foreign(&format!("unknown store format {found}"))),
        _ => {}
    }
    let verdict: Option<String> =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).optional().map_err(fail)?;
    match verdict {
        Some(verdict) if verdict != "ok" => {
            Err(StoreError::Damaged { path: path.to_path_buf(), what: verdict.replace('\n', " ") })
        }
        _ => Ok(()),
    }
}

fn read_identity(connection: &Connection) -> rusqlite::Result<RunIdentity> {
    connection
        .prepare("SELECT fact, value FROM identity")?
        .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?
        .collect()
}

fn read_declared(connection: &Connection) -> rusqlite::Result<Declared> {
    let names = |table: &str| -> rusqlite::Result<Vec<String>> {
        connection.prepare(&format!("SELECT name FROM {table} ORDER BY id"))?.query_map([], |row| row.get(0))?.collect()
    };
    let metrics = connection
        .prepare(
            "SELECT name, higher_is_better, in_score_units, over_score, label, description FROM metric ORDER BY id",
        )?
        .query_map([], |row| {
            Ok(MetricFacts {
                name: row.get(0)?,
                higher_is_better: row.get(1)?,
                in_score_units: row.get(2)?,
                over_score: row.get(3)?,
                label: row.get(4)?,
                description: row.get(5)?,
            })
        })?
        .collect::<Result<_, _>>()?;
    let (name, seed, resamples, confidence) =
        connection.query_row("SELECT name, seed, resamples, confidence FROM run", [], |row| {
            let seed: String = row.get(1)?;
            let seed = seed.parse().map_err(|error| {
                rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, Box::new(error))
            })?;
            Ok((row.get(0)?, seed, count(row, 2)?, row.get(3)?))
        })?;
    Ok(Declared {
        name,
        models: names("model")?,
        tasks: names("task")?,
        methods: names("method")?,
        relabelled: connection
            .prepare("SELECT name, method FROM relabelled")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?,
        metrics,
        seed,
        resamples,
        confidence,
    })
}

fn writable() -> OpenFlags {
    // Without SQLITE_OPEN_URI: a path is a path, whatever it looks like.
    OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

fn describe(path: &Path, error: rusqlite::Error) -> StoreError {
    let path = path.to_path_buf();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy { path, source: error },
        Some(ErrorCode::NotADatabase) => StoreError::Foreign { path, why: "it is not an SQLite database".to_string() },
        Some(ErrorCode::DatabaseCorrupt) => StoreError::Damaged { path, what: error.to_string() },
        Some(_) => StoreError::Sqlite { path, source: error },
        // Not from SQLite but from what was read: a table, column or value that we would not have written.
        None => StoreError::Damaged { path, what: error.to_string() },
    }
}

fn int(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn rows(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn row_count(row: &Row, column: usize) -> rusqlite::Result<u64> {
    let n: i64 = row.get(column)?;
    u64::try_from(n).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, n))
}

fn count(row: &Row, column: usize) -> rusqlite::Result<usize> {
    let n: i64 = row.get(column)?;
    usize::try_from(n).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, n))
}

#[cfg(test)]
mod tests {
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
        let mut store = Store::create(&path, &RunIdentity::default(), &declared).unwrap();
        let unit = Unit {
            key: UnitKey { model: "m".into(), task: "t".into(), example_id: "1".into(), method: "gim".into() },
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
        insert(&transaction, &unit, [0, 0, 0], &[]).unwrap();
        // As a killed process would: no commit, no rollback, no close.
        std::mem::forget(transaction);
        let other = Store::open_read_only(&path).unwrap();
        assert!(!other.is_done(&unit.key).unwrap());
        assert!(other.units().unwrap().is_empty());
        assert_eq!(other.declared(), &declared);
    }
}
