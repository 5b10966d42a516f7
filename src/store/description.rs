//! What a store says of its run: written and checked as a whole.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::checksum;
use super::columns::{Json, count, int};
use super::error::StoreError;
use super::record::UnitKey;
use super::run::{DatasetFacts, Declared, PlannedDataset, Prompt, RunIdentity};
use super::schema;
use super::sqlite::Store;
use crate::faithfulness::MetricFacts;

/// The most resamples that a configuration may ask for, and hence a store may hold.
const MOST_RESAMPLES: usize = 10_000_000;

/// The kinds of names that a store numbers.
const KINDS: [&str; 3] = ["model", "task", "method"];

/// Numbers of all names that the store has ever been told, by name.
#[derive(Debug)]
pub struct Names {
    models: HashMap<String, i64>,
    tasks: HashMap<String, i64>,
    methods: HashMap<String, i64>,
    metrics: HashMap<String, i64>,
}

impl Names {
    pub fn read(connection: &Connection) -> rusqlite::Result<Names> {
        let numbers = |table: &str| -> rusqlite::Result<HashMap<String, i64>> {
            connection
                .prepare(&format!("SELECT name, id FROM {table}"))?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        };
        Ok(Names {
            models: numbers("model")?,
            tasks: numbers("task")?,
            methods: numbers("method")?,
            metrics: numbers("metric")?,
        })
    }

    /// The numbers of a unit's model, task and method.
    pub fn of_unit(&self, key: &UnitKey) -> Result<[i64; 3], StoreError> {
        Ok([
            id(&self.models, "model", &key.model)?,
            id(&self.tasks, "task", &key.task)?,
            id(&self.methods, "method", &key.method)?,
        ])
    }

    /// The numbers of a model and a task.
    pub fn of_task(&self, model: &str, task: &str) -> Result<[i64; 2], StoreError> {
        Ok([id(&self.models, "model", model)?, id(&self.tasks, "task", task)?])
    }

    pub fn metric(&self, name: &str) -> Result<i64, StoreError> {
        id(&self.metrics, "metric", name)
    }
}

fn id(numbers: &HashMap<String, i64>, kind: &'static str, name: &str) -> Result<i64, StoreError> {
    numbers.get(name).copied().ok_or_else(|| StoreError::Undeclared { kind, name: name.to_string() })
}

impl Store {
    /// Makes this the store of the plan that is described, which may be larger or smaller than the one before: units that
    /// are no longer part of it stay, and are not shown.
    ///
    /// # Errors
    /// [`StoreError::OtherRun`], which says what differs, where a fact has another value than before.
    pub fn declare(
        &mut self,
        identity: &RunIdentity,
        declared: &Declared,
        datasets: &[PlannedDataset],
    ) -> Result<(), StoreError> {
        check(declared)?;
        let differences = self.facts.differences(identity);
        if !differences.is_empty() {
            return Err(StoreError::OtherRun { path: self.path.clone(), differences });
        }
        let path = self.path.clone();
        let fail = |error| super::sqlite::describe(&path, error);
        let transaction = self.connection.transaction().map_err(fail)?;
        write(&transaction, identity, declared, datasets).map_err(fail)?;
        transaction.commit().map_err(fail)?;
        self.facts = read_facts(&self.connection, Facts::All).map_err(fail)?;
        self.identity = read_facts(&self.connection, Facts::Planned).map_err(fail)?;
        self.declared = read_declared(&self.connection).map_err(fail)?;
        self.names = Names::read(&self.connection).map_err(fail)?;
        Ok(())
    }

    /// Adds facts that only the running of it shows, in place of earlier values. They do not hinder a later plan, and
    /// [`Store::facts`] has them.
    pub fn add_facts(&mut self, facts: &RunIdentity) -> Result<(), StoreError> {
        let path = self.path.clone();
        let fail = |error| super::sqlite::describe(&path, error);
        let transaction = self.connection.transaction().map_err(fail)?;
        for (fact, value) in &facts.facts {
            let insert = "INSERT OR REPLACE INTO identity VALUES (?, ?, 0)";
            transaction.execute(insert, params![fact, value]).map_err(fail)?;
        }
        sum_up(&transaction).map_err(fail)?;
        transaction.commit().map_err(fail)?;
        self.facts = read_facts(&self.connection, Facts::All).map_err(fail)?;
        self.identity = read_facts(&self.connection, Facts::Planned).map_err(fail)?;
        Ok(())
    }

    /// Positions that annotators marked as evidence on an example of the present plan; none where they marked none.
    pub fn evidence(&self, model: &str, task: &str, example_id: &str) -> Result<Vec<usize>, StoreError> {
        let query = "SELECT evidence FROM example JOIN model ON model.id = model JOIN task ON task.id = task
                     WHERE model.name = ? AND task.name = ? AND example.id = ?";
        let read = || {
            let positions: Option<Json<Vec<usize>>> = self
                .connection
                .prepare_cached(query)?
                .query_row([model, task, example_id], |row| row.get(0))
                .optional()?;
            Ok(positions.map_or(Vec::new(), |Json(positions)| positions))
        };
        read().map_err(|error| self.describe(error))
    }

    /// The prompt of an example of the present plan by the ids of its tokens; `None` in a store that was made before they were
    /// kept.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where it is not what was written.
    pub fn prompt(&self, model: &str, task: &str, example_id: &str) -> Result<Option<Prompt>, StoreError> {
        let [model, task] = self.names.of_task(model, task)?;
        let there = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'prompt'";
        let query = "SELECT ids, answer, checksum FROM prompt WHERE model = ? AND task = ? AND example_id = ?";
        let read = || {
            if self.connection.prepare_cached(there)?.query_row([], |row| row.get::<_, i64>(0))? == 0 {
                return Ok(None);
            }
            let row = self
                .connection
                .prepare_cached(query)?
                .query_row(params![model, task, example_id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                .optional()?;
            let Some((Json(ids), Json(answer), stored)) = row else { return Ok(None) };
            let stored: String = stored;
            let is_whole = stored == checksum::of_prompt(&self.connection, model, task, example_id)?;
            Ok(Some((Prompt { ids, answer }, is_whole)))
        };
        match read().map_err(|error| self.describe(error))? {
            Some((_, false)) => Err(StoreError::Damaged {
                path: self.path.clone(),
                what: format!("the prompt of '{example_id}' is not what was written"),
            }),
            found => Ok(found.map(|(prompt, _)| prompt)),
        }
    }

    /// In declared order of models, then tasks.
    pub fn datasets(&self) -> Result<Vec<DatasetFacts>, StoreError> {
        let read = || {
            self.connection
                .prepare(
                    "SELECT model.name, task.name, version, sha256, score, records, available, left_out, shortened,
                            taken_at_most, sampled_at_most,
                            (SELECT count(*) FROM example
                             WHERE example.model = dataset.model AND example.task = dataset.task)
                     FROM dataset JOIN model ON model.id = model JOIN task ON task.id = task
                     ORDER BY model.place, task.place",
                )?
                .query_map([], |row| {
                    Ok(DatasetFacts {
                        model: row.get(0)?,
                        task: row.get(1)?,
                        version: row.get(2)?,
                        sha256: row.get(3)?,
                        score: row.get(4)?,
                        records: count(row, 5)?,
                        available: count(row, 6)?,
                        left_out: left_out(row, 7)?,
                        shortened: count(row, 8)?,
                        limit: row.get::<_, Option<i64>>(9)?.map(|_| count(row, 9)).transpose()?,
                        sample: row.get::<_, Option<i64>>(10)?.map(|_| count(row, 10)).transpose()?,
                        examples: count(row, 11)?,
                    })
                })?
                .collect::<Result<_, _>>()
        };
        read().map_err(|error| self.describe(error))
    }
}

/// Why records are no examples, and how many.
fn left_out(row: &rusqlite::Row, column: usize) -> rusqlite::Result<Vec<(String, usize)>> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}

/// Refuses names that stand twice.
pub fn check(declared: &Declared) -> Result<(), StoreError> {
    let metrics: Vec<String> = declared.metrics.iter().map(|metric| metric.name.clone()).collect();
    let kinds: [(&'static str, &[String]); 4] =
        [("model", &declared.models), ("task", &declared.tasks), ("method", &declared.methods), ("metric", &metrics)];
    for (kind, names) in kinds {
        if let Some((_, name)) = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)) {
            return Err(StoreError::DeclaredTwice { kind, name: name.clone() });
        }
    }
    Ok(())
}

/// Writes a description in place of the one that is there, and its checksum. Names keep their numbers.
pub fn write(
    transaction: &Transaction,
    identity: &RunIdentity,
    declared: &Declared,
    datasets: &[PlannedDataset],
) -> rusqlite::Result<()> {
    transaction.execute("UPDATE identity SET planned = 0", [])?;
    for (fact, value) in &identity.facts {
        transaction.execute("INSERT OR REPLACE INTO identity VALUES (?, ?, 1)", params![fact, value])?;
    }
    for (table, names) in KINDS.into_iter().zip([&declared.models, &declared.tasks, &declared.methods]) {
        transaction.execute(&format!("UPDATE {table} SET place = NULL"), [])?;
        let place = format!(
            "INSERT INTO {table} (name, place) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET place = excluded.place"
        );
        for (number, name) in names.iter().enumerate() {
            transaction.execute(&place, params![name, int(number)])?;
        }
    }
    transaction.execute("UPDATE method SET stands_for = NULL WHERE place IS NOT NULL", [])?;
    for (label, method) in &declared.relabelled {
        transaction.execute("UPDATE method SET stands_for = ? WHERE name = ?", params![method, label])?;
    }
    transaction.execute("UPDATE metric SET place = NULL", [])?;
    for (number, metric) in declared.metrics.iter().enumerate() {
        transaction.execute(
            "INSERT INTO metric (name, place, higher_is_better, in_score_units, over_score, label, description)
             VALUES (?, ?, ?, ?, ?, ?, ?)
             ON CONFLICT (name) DO UPDATE SET place = excluded.place, higher_is_better = excluded.higher_is_better,
                 in_score_units = excluded.in_score_units, over_score = excluded.over_score, label = excluded.label,
                 description = excluded.description",
            params![
                metric.name,
                int(number),
                metric.higher_is_better,
                metric.in_score_units,
                metric.over_score,
                metric.label,
                metric.description
            ],
        )?;
    }
    transaction.execute_batch(schema::PROMPTS)?;
    transaction.execute("DELETE FROM prompt", [])?;
    transaction.execute("DELETE FROM example", [])?;
    transaction.execute("DELETE FROM dataset", [])?;
    for PlannedDataset { facts, examples } in datasets {
        let number = |table: &str, name: &str| -> rusqlite::Result<i64> {
            transaction.query_row(&format!("SELECT id FROM {table} WHERE name = ?"), [name], |row| row.get(0))
        };
        let (model, task) = (number("model", &facts.model)?, number("task", &facts.task)?);
        transaction.execute(
            "INSERT INTO dataset VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            params![
                model,
                task,
                facts.version,
                facts.sha256,
                facts.score,
                int(facts.records),
                int(facts.available),
                // Texts and numbers can always be written.
                serde_json::to_string(&facts.left_out).unwrap_or_default(),
                int(facts.shortened),
                facts.limit.map(int),
                facts.sample.map(int)
            ],
        )?;
        let mut insert = transaction.prepare_cached("INSERT INTO example VALUES (?, ?, ?, ?, ?)")?;
        for (position, example) in examples.iter().enumerate() {
            insert.execute(params![model, task, int(position), example.id, Json(&example.evidence)])?;
            let Prompt { ids, answer } = &example.prompt;
            let insert = "INSERT INTO prompt VALUES (?, ?, ?, ?, ?, '')";
            transaction.prepare_cached(insert)?.execute(params![model, task, example.id, Json(ids), Json(answer)])?;
            let sum = checksum::of_prompt(transaction, model, task, &example.id)?;
            transaction
                .prepare_cached("UPDATE prompt SET checksum = ? WHERE model = ? AND task = ? AND example_id = ?")?
                .execute(params![sum, model, task, example.id])?;
        }
    }
    transaction.execute(
        "INSERT OR REPLACE INTO run VALUES (1, ?, ?, ?, ?, '')",
        params![declared.name, declared.seed.to_string(), int(declared.resamples), declared.confidence],
    )?;
    sum_up(transaction)
}

/// Writes the checksum of what is there now.
fn sum_up(transaction: &Transaction) -> rusqlite::Result<()> {
    let sum = checksum::of_description(transaction)?;
    transaction.execute("UPDATE run SET checksum = ?", [sum])?;
    Ok(())
}

/// Which facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Facts {
    All,
    /// Those that the present plan has.
    Planned,
}

pub fn read_facts(connection: &Connection, which: Facts) -> rusqlite::Result<RunIdentity> {
    connection
        .prepare("SELECT fact, value FROM identity WHERE planned >= ?")?
        .query_map([i64::from(which == Facts::Planned)], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
        })?
        .collect()
}

pub fn read_declared(connection: &Connection) -> rusqlite::Result<Declared> {
    let names = |table: &str| -> rusqlite::Result<Vec<String>> {
        connection
            .prepare(&format!("SELECT name FROM {table} WHERE place IS NOT NULL ORDER BY place"))?
            .query_map([], |row| row.get(0))?
            .collect()
    };
    let metrics = connection
        .prepare(
            "SELECT name, higher_is_better, in_score_units, over_score, label, description FROM metric
             WHERE place IS NOT NULL ORDER BY place",
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
    let settings = connection
        .query_row("SELECT name, seed, resamples, confidence FROM run", [], |row| {
            let seed: String = row.get(1)?;
            let seed = seed.parse().map_err(|error| {
                rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, Box::new(error))
            })?;
            Ok((row.get(0)?, seed, resamples(row, 2)?, confidence(row, 3)?))
        })
        .optional()?;
    let (name, seed, resamples, confidence) = settings.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    Ok(Declared {
        name,
        models: names("model")?,
        tasks: names("task")?,
        methods: names("method")?,
        relabelled: connection
            .prepare("SELECT name, stands_for FROM method WHERE place IS NOT NULL AND stands_for IS NOT NULL")?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?,
        metrics,
        seed,
        resamples,
        confidence,
    })
}

fn resamples(row: &Row, column: usize) -> rusqlite::Result<usize> {
    match count(row, column)? {
        resamples @ 1..=MOST_RESAMPLES => Ok(resamples),
        other => Err(rusqlite::Error::IntegralValueOutOfRange(column, int(other))),
    }
}

fn confidence(row: &Row, column: usize) -> rusqlite::Result<f64> {
    let level: f64 = row.get(column)?;
    if level > 0.0 && level < 1.0 { Ok(level) } else { Err(rusqlite::Error::IntegralValueOutOfRange(column, 0)) }
}
