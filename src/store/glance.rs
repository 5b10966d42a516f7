//! How far a run is, without reading all of it.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::columns::count;
use super::error::StoreError;
use super::schema;
use super::sqlite::describe;

/// A run as seen from afar: nothing of it is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glance {
    /// The run's name.
    pub name: String,
    pub units_done: usize,
    pub units_expected: usize,
}

impl Glance {
    /// Looks at the store at `path`.
    ///
    /// # Errors
    /// Where it is no run store that this program can go on with.
    pub fn at(path: &Path) -> Result<Glance, StoreError> {
        let fail = |error| describe(path, error);
        let foreign = |why: &str| StoreError::Foreign { path: path.to_path_buf(), why: why.to_owned() };
        if !path.is_file() {
            return Err(foreign("it is not a regular file"));
        }
        let connection =
            Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)
                .map_err(fail)?;
        let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).map_err(fail);
        if (number("application_id")?, number("user_version")?) != (schema::APPLICATION_ID, schema::VERSION) {
            return Err(foreign("another format"));
        }
        connection
            .query_row(
                "SELECT name,
                        (SELECT count(*) FROM example
                         JOIN unit ON unit.model = example.model AND unit.task = example.task
                                  AND unit.example_id = example.id
                         JOIN method ON method.id = unit.method WHERE method.place IS NOT NULL),
                        (SELECT count(*) FROM example) * (SELECT count(*) FROM method WHERE place IS NOT NULL)
                 FROM run",
                [],
                |row| Ok(Glance { name: row.get(0)?, units_done: count(row, 1)?, units_expected: count(row, 2)? }),
            )
            .map_err(fail)
    }

    pub fn is_complete(&self) -> bool {
        self.units_done >= self.units_expected
    }
}
