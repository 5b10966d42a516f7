//! The tables of `run.sqlite`.
//!
//! Names are kept once, numbered as they came; `place` is where the present plan lists them (NULL: it does not), so
//! `ORDER BY place` is the order of the reports. Vectors are JSON arrays with shortest round-trip numbers (`null`: not a
//! finite number), so that `sqlite3 run.sqlite "select ... from json_each(vector)"` can read what the reports are made
//! of.
//!
//! Damage is noticed by two kinds of checksum: `run.checksum` over everything that describes the run, and
//! `unit.checksum` over all that is stored of a unit, both by [`super::checksum`].

/// "GIMH": tells a run store from any other SQLite file.
pub const APPLICATION_ID: i64 = 0x4749_4D48;

/// Goes up with every change of the tables; kept in `user_version`.
pub const VERSION: i64 = 4;

pub const TABLES: &str = r#"
CREATE TABLE run (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    name TEXT NOT NULL,
    seed TEXT NOT NULL, -- u64, more than an INTEGER holds
    resamples INTEGER NOT NULL,
    confidence REAL NOT NULL,
    checksum TEXT NOT NULL
) STRICT;
CREATE TABLE identity (
    fact TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    planned INTEGER NOT NULL -- 0: of a part that the present plan does not have
) STRICT, WITHOUT ROWID;
CREATE TABLE model (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, place INTEGER) STRICT;
CREATE TABLE task (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, place INTEGER) STRICT;
CREATE TABLE method (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    place INTEGER,
    stands_for TEXT -- the method, where the name is a label of it
) STRICT;
CREATE TABLE metric (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    place INTEGER,
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
    records INTEGER NOT NULL,
    available INTEGER NOT NULL,
    left_out TEXT NOT NULL, -- [[why, how many], ...] of the records
    shortened INTEGER NOT NULL,
    taken_at_most INTEGER,
    sampled_at_most INTEGER,
    PRIMARY KEY (model, task)
) STRICT, WITHOUT ROWID;
CREATE TABLE example (
    model INTEGER NOT NULL,
    task INTEGER NOT NULL,
    position INTEGER NOT NULL,
    id TEXT NOT NULL,
    evidence TEXT NOT NULL, -- positions
    PRIMARY KEY (model, task, position),
    UNIQUE (model, task, id),
    FOREIGN KEY (model, task) REFERENCES dataset
) STRICT, WITHOUT ROWID;
CREATE TABLE unit (
    id INTEGER PRIMARY KEY,
    model INTEGER NOT NULL REFERENCES model,
    task INTEGER NOT NULL REFERENCES task,
    example_id TEXT NOT NULL,
    method INTEGER NOT NULL REFERENCES method,
    depends_on TEXT NOT NULL,
    n_tokens INTEGER NOT NULL,
    n_ranked INTEGER NOT NULL,
    score REAL,
    excluded TEXT,
    tokens TEXT NOT NULL,
    attribution_cost TEXT NOT NULL, -- seconds; forward rows, saved, gradient rows, saved; prefix tokens, saved
    evaluation_cost TEXT NOT NULL,
    checksum TEXT NOT NULL,
    UNIQUE (model, task, example_id, method)
) STRICT;
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

/// Prompts by the ids of their tokens, for other programs. Stores of before 2026-12-01 have no such table, and programs of before
/// do not ask for it.
pub const PROMPTS: &str = "
CREATE TABLE IF NOT EXISTS prompt (
    model INTEGER NOT NULL REFERENCES model,
    task INTEGER NOT NULL REFERENCES task,
    example_id TEXT NOT NULL,
    ids TEXT NOT NULL,
    answer TEXT NOT NULL, -- [[id, text], ...]
    checksum TEXT NOT NULL, -- of the values before it
    PRIMARY KEY (model, task, example_id)
) STRICT, WITHOUT ROWID";

/// Tables whose rows belong to a unit.
pub const PARTS_OF_UNITS: [&str; 4] = ["attribution", "metric_value", "curve", "diagnostic"];
