//! Vectors and counts as they stand in a column.

use rusqlite::Row;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

/// Text or whole numbers as a JSON array.
pub struct Json<T>(pub T);

impl<T: serde::Serialize> ToSql for Json<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let text = serde_json::to_string(&self.0).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))?;
        Ok(ToSqlOutput::from(text))
    }
}

impl<T: serde::de::DeserializeOwned> FromSql for Json<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        serde_json::from_str(value.as_str()?).map(Json).map_err(FromSqlError::other)
    }
}

/// Floating-point numbers as a JSON array, exact both ways (`serde_json` reads some numbers a bit off), but for NaN and
/// the infinities, which all come back as NaN.
pub struct Numbers<T>(pub T);

impl<T: AsRef<[f64]>> ToSql for Numbers<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let mut text = String::from("[");
        for (i, number) in self.0.as_ref().iter().enumerate() {
            if i > 0 {
                text.push(',');
            }
            if number.is_finite() {
                text.push_str(&format!("{number:?}"));
            } else {
                text.push_str("null");
            }
        }
        text.push(']');
        Ok(ToSqlOutput::from(text))
    }
}

impl FromSql for Numbers<Vec<f64>> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let text = value.as_str()?.trim();
        let inner = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .ok_or_else(|| FromSqlError::other(NotNumbers(text.to_string())))?;
        if inner.trim().is_empty() {
            return Ok(Numbers(Vec::new()));
        }
        inner
            .split(',')
            .map(|number| match number.trim() {
                "null" => Ok(f64::NAN),
                number => number.parse().map_err(|_| FromSqlError::other(NotNumbers(number.to_string()))),
            })
            .collect::<Result<_, _>>()
            .map(Numbers)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("expected numbers, found `{0}`")]
struct NotNumbers(String);

/// Counts are small; one that is not would not have fit into memory.
pub fn int(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

pub fn count(row: &Row, column: usize) -> rusqlite::Result<usize> {
    let n: i64 = row.get(column)?;
    usize::try_from(n).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, n))
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn numbers_survive_exactly() {
        let connection = Connection::open_in_memory().unwrap();
        let numbers = vec![0.1 + 0.2, -0.0, 1e-300, 5e-324, f64::MAX, 1.0 / 3.0, 16777217.0, 1e22];
        let Numbers(back): Numbers<Vec<f64>> =
            connection.query_row("SELECT ?", [Numbers(&numbers)], |row| row.get(0)).unwrap();
        assert_eq!(
            back.iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
            numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
        );
        let sum: f64 = connection
            .query_row("SELECT sum(value) FROM json_each(?)", [Numbers(&[1.5, 2.5, f64::NAN])], |row| row.get(0))
            .unwrap();
        assert_eq!(sum, 4.0);
        let Numbers(back): Numbers<Vec<f64>> =
            connection.query_row("SELECT ?", [Numbers(&[1.0, f64::INFINITY])], |row| row.get(0)).unwrap();
        assert!(back[0] == 1.0 && back[1].is_nan());
        let empty: [f64; 0] = [];
        let Numbers(back): Numbers<Vec<f64>> =
            connection.query_row("SELECT ?", [Numbers(&empty)], |row| row.get(0)).unwrap();
        assert!(back.is_empty());
        for broken in ["", "[", "[1,]", "[a]", "{}"] {
            assert!(connection.query_row("SELECT ?", [broken], |row| row.get::<_, Numbers<Vec<f64>>>(0)).is_err());
        }
    }
}
