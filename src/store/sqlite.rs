//! The store itself: a file that is opened, recognised, and closed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};

use super::checksum;
use super::description::{self, Facts, Names};
use super::error::StoreError;
use super::run::{Declared, PlannedDataset, RunIdentity};
use super::schema;

/// How long a writer waits for another program that holds the file.
const PATIENCE: Duration = Duration::from_secs(10);

/// One run's `run.sqlite`. Errors name the file.
#[derive(Debug)]
pub struct Store {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
    /// Of the present plan.
    pub(super) identity: RunIdentity,
    /// Of all plans that the store has had.
    pub(super) facts: RunIdentity,
    pub(super) declared: Declared,
    pub(super) names: Names,
}

impl Store {
    /// A new store at `path`, which must not exist; it appears there whole, by rename.
    pub fn create(
        path: &Path,
        identity: &RunIdentity,
        declared: &Declared,
        datasets: &[PlannedDataset],
    ) -> Result<Store, StoreError> {
        description::check(declared)?;
        if path.symlink_metadata().is_ok() {
            return Err(StoreError::Exists { path: path.to_path_buf() });
        }
        let io = |source| StoreError::Io { path: path.to_path_buf(), source };
        let folder = folder_of(path);
        let unfinished = tempfile::Builder::new()
            .prefix(super::UNFINISHED_PREFIX)
            .make_in(folder, |p| File::create_new(p))
            .map_err(io)?
            .into_temp_path();
        let fail = |error| describe(path, error);
        {
            let mut connection = Connection::open_with_flags(&unfinished, writable()).map_err(fail)?;
            let transaction = connection.transaction().map_err(fail)?;
            transaction.execute_batch(schema::TABLES).map_err(fail)?;
            transaction.pragma_update(None, "application_id", schema::APPLICATION_ID).map_err(fail)?;
            transaction.pragma_update(None, "user_version", schema::VERSION).map_err(fail)?;
            description::write(&transaction, identity, declared, datasets).map_err(fail)?;
            transaction.commit().map_err(fail)?;
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

    fn open_with(path: &Path, flags: OpenFlags) -> Result<Store, StoreError> {
        // SQLite reports a missing or unreadable file less clearly than the operating system does.
        crate::files::open(path, crate::files::STORE)
            .map_err(|source| StoreError::Io { path: path.to_path_buf(), source })?;
        let fail = |error| describe(path, error);
        let connection = Connection::open_with_flags(path, flags).map_err(fail)?;
        connection.busy_timeout(PATIENCE).map_err(fail)?;
        connection.set_prepared_statement_cache_capacity(64);
        recognise(&connection, path)?;
        connection.pragma_update(None, "foreign_keys", true).map_err(fail)?;
        let facts = description::read_facts(&connection, Facts::All).map_err(fail)?;
        let identity = description::read_facts(&connection, Facts::Planned).map_err(fail)?;
        let declared = description::read_declared(&connection).map_err(fail)?;
        let names = Names::read(&connection).map_err(fail)?;
        Ok(Store { connection, path: path.to_path_buf(), identity, facts, declared, names })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The facts of the present plan.
    pub fn identity(&self) -> &RunIdentity {
        &self.identity
    }

    /// The facts of all plans that the store has had: what is added to it has to agree with these.
    pub fn facts(&self) -> &RunIdentity {
        &self.facts
    }

    pub fn declared(&self) -> &Declared {
        &self.declared
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

    pub(super) fn describe(&self, error: rusqlite::Error) -> StoreError {
        describe(&self.path, error)
    }
}

/// Fails unless the file is a whole run store of a format that this program knows, with the description it was given.
fn recognise(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let fail = |error| describe(path, error);
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).map_err(fail);
    let foreign = |why: &str| StoreError::Foreign { path: path.to_path_buf(), why: why.to_string() };
    let damaged = |what: String| Err(StoreError::Damaged { path: path.to_path_buf(), what });
    if number("application_id")? != schema::APPLICATION_ID {
        let tables: i64 =
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(fail)?;
        return Err(foreign(if tables == 0 { "it is empty" } else { "it is some other program's database" }));
    }
    match number("user_version")? {
        found if found > schema::VERSION => {
            return Err(StoreError::Newer { path: path.to_path_buf(), found, known: schema::VERSION });
        }
        found if found < schema::VERSION => {
            return Err(StoreError::Older { path: path.to_path_buf(), found, known: schema::VERSION });
        }
        _ => {}
    }
    // Not `quick_check`, which does not compare an index with its table: a row that an index lost would not be read.
    let verdict: Option<String> =
        connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).optional().map_err(fail)?;
    match verdict {
        Some(verdict) if verdict != "ok" => return damaged(verdict.replace('\n', " ")),
        _ => {}
    }
    let stored: Option<String> =
        connection.query_row("SELECT checksum FROM run", [], |row| row.get(0)).optional().map_err(fail)?;
    if stored != Some(checksum::of_description(connection).map_err(fail)?) {
        return damaged("what it says of its models, tasks, methods and settings is not what was written".to_owned());
    }
    Ok(())
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

pub(super) fn describe(path: &Path, error: rusqlite::Error) -> StoreError {
    let path = path.to_path_buf();
    // "no such table": the store's own names are not what they were.
    const SQL_ERROR: i32 = 1;
    if error.sqlite_error().is_some_and(|error| error.extended_code == SQL_ERROR) {
        return StoreError::Damaged { path, what: error.to_string() };
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy { path, source: error },
        Some(ErrorCode::NotADatabase) => StoreError::Foreign { path, why: "it is not an SQLite database".to_string() },
        Some(ErrorCode::DatabaseCorrupt) => StoreError::Damaged { path, what: error.to_string() },
        Some(_) => StoreError::Sqlite { path, source: error },
        // Not from SQLite but from what was read: a table, column or value that we would not have written.
        None => StoreError::Damaged { path, what: error.to_string() },
    }
}
