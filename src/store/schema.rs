//! The tables of `run.sqlite`.
//!
//! Names are kept once, numbered in declared order, so `ORDER BY` on the numbers is the order of the reports.
//! Vectors are JSON arrays with shortest round-trip numbers (`null`: not a finite number), so that
//! `sqlite3 run.sqlite "select ... from json_each(vector)"` can read what the reports are made of.

/// "GIMH": tells a run store from any other SQLite file.
pub const APPLICATION_ID: i64 = 0x4749_4D48;

/// Goes up with every change of the tables; kept in `user_version`.
pub const VERSION: i64 = 2;

pub const TABLES: &str = r#"
CREATE TABLE run (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    name TEXT NOT NULL,
    seed TEXT NOT NULL, -- u64, more than an INTEGER holds
    resamples INTEGER NOT NULL,
    confidence REAL NOT NULL
) STRICT;
CREATE TABLE identity (fact TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE model (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE task (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE method (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
-- What stands behind a method's name in this run, where that is not the method's own.
CREATE TABLE relabelled (name TEXT PRIMARY KEY, method TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE metric (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    higher_is_better INTEGER NOT NULL,
    in_score_units INTEGER NOT NULL,
    over_score INTEGER NOT NULL,
    label TEXT NOT NULL,
    description TEXT NOT NULL
) STRICT;
CREATE TABLE dataset (
    model INTEGER NOT NULL REFERENCES model,
    task INTEGER NOT NULL REFERENCES task,
    version INTEGER NOT NULL,
    sha256 TEXT NOT NULL,
    score TEXT NOT NULL,
    available INTEGER NOT NULL,
    taken_at_most INTEGER,
    sampled_at_most INTEGER,
    examples INTEGER NOT NULL,
    PRIMARY KEY (model, task)
) STRICT, WITHOUT ROWID;
CREATE TABLE unit (
    id INTEGER PRIMARY KEY,
    model INTEGER NOT NULL REFERENCES model,
    task INTEGER NOT NULL REFERENCES task,
    example_index INTEGER NOT NULL,
    example_id TEXT NOT NULL,
    method INTEGER NOT NULL REFERENCES method,
    n_tokens INTEGER NOT NULL,
    n_ranked INTEGER NOT NULL,
    score REAL,
    excluded TEXT,
    tokens TEXT NOT NULL,
    attribution_seconds REAL,
    evaluation_seconds REAL,
    forward_rows INTEGER NOT NULL,
    forward_rows_saved INTEGER NOT NULL,
    gradient_rows INTEGER NOT NULL,
    gradient_rows_saved INTEGER NOT NULL,
    UNIQUE (model, task, example_id, method)
) STRICT;
CREATE INDEX unit_in_order ON unit (model, task, example_index, example_id, method);
CREATE TABLE attribution (
    unit INTEGER NOT NULL REFERENCES unit ON DELETE CASCADE,
    seed INTEGER NOT NULL,
    vector TEXT NOT NULL,
    PRIMARY KEY (unit, seed)
) STRICT, WITHOUT ROWID;
CREATE TABLE metric_value (
    unit INTEGER NOT NULL REFERENCES unit ON DELETE CASCADE,
    metric INTEGER NOT NULL REFERENCES metric,
    by_seed TEXT NOT NULL,
    excluded TEXT,
    PRIMARY KEY (unit, metric)
) STRICT, WITHOUT ROWID;
CREATE TABLE curve (
    unit INTEGER NOT NULL REFERENCES unit ON DELETE CASCADE,
    position INTEGER NOT NULL,
    name TEXT NOT NULL,
    steps TEXT NOT NULL,
    fractions TEXT NOT NULL,
    scores TEXT NOT NULL,
    PRIMARY KEY (unit, position)
) STRICT, WITHOUT ROWID;
CREATE TABLE diagnostic (
    unit INTEGER NOT NULL REFERENCES unit ON DELETE CASCADE,
    name TEXT NOT NULL,
    value REAL,
    PRIMARY KEY (unit, name)
) STRICT, WITHOUT ROWID;
"#;
