//! Parquet files, one row at a time; only the columns that are asked for are read.

mod pages;

use std::fs::File;
use std::io;

use parquet::file::reader::FileReader as _;
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row as Found};
use parquet::schema::types::Type;

use self::pages::{BOUNDS, Bounded, Bounds};
use super::{Cell, MAX_ROW_BYTES, Place, Row, Source, Value, Wanted};
use crate::panics::guarded;

pub(super) struct Parquet {
    /// The names of all columns.
    names: Vec<String>,
    rows: Result<Option<RowIter<'static>>, String>,
    number: usize,
}

const PLACE: Place = Place { line: 0, column: 0 };

impl Parquet {
    pub fn new(file: File, fields: &[String]) -> io::Result<Self> {
        let opened = guarded("Parquet", || open(file, fields, BOUNDS)).and_then(|opened| opened);
        Ok(match opened {
            Ok((names, rows)) => Parquet { names, rows: Ok(Some(rows)), number: 0 },
            Err(problem) => Parquet { names: Vec::new(), rows: Err(problem), number: 0 },
        })
    }
}

fn open(file: File, fields: &[String], bounds: Bounds) -> Result<(Vec<String>, RowIter<'static>), String> {
    let reader = Bounded::open(file, bounds).map_err(|error| error.to_string())?;
    let metadata = reader.metadata();
    let schema = metadata.file_metadata().schema();
    let names: Vec<String> = schema.get_fields().iter().map(|field| field.name().to_owned()).collect();
    let wanted = schema.get_fields().iter().filter(|field| fields.iter().any(|name| name == field.name()));
    let projection = Type::group_type_builder(schema.name()).with_fields(wanted.cloned().collect()).build();
    let projection = projection.map_err(|error| error.to_string())?;
    let rows =
        RowIter::from_file_into(Box::new(reader)).project(Some(projection)).map_err(|error| error.to_string())?;
    Ok((names, rows))
}

impl Source for Parquet {
    fn next(&mut self, wanted: &mut Wanted) -> io::Result<Option<Row>> {
        self.number += 1;
        let number = self.number;
        let rows = match &mut self.rows {
            Ok(Some(rows)) => rows,
            Ok(None) => return Ok(None),
            Err(problem) => {
                let message = format!("this Parquet file cannot be read: {problem}");
                return Ok(Some(wanted.unreadable(PLACE, number, message).ending()));
            }
        };
        self.names.drain(..).for_each(|name| wanted.remember(&name));
        let row = match guarded("Parquet", || rows.next().transpose().map_err(|error| error.to_string()))
            .and_then(|row| row)
        {
            Ok(Some(row)) => row,
            Ok(None) => {
                self.rows = Ok(None);
                return Ok(None);
            }
            Err(problem) => {
                self.rows = Ok(None);
                let message = format!("this Parquet file cannot be read on: {problem}");
                return Ok(Some(wanted.unreadable(PLACE, number, message).ending()));
            }
        };
        Ok(Some(made(&row, number, wanted)))
    }
}

fn made(found: &Found, number: usize, wanted: &Wanted) -> Row {
    let mut row = Row::new(PLACE, number, wanted.fields.iter().map(|_| None).collect());
    for (name, field) in found.get_column_iter() {
        let Some(index) = wanted.fields.iter().position(|wanted| wanted == name) else { continue };
        let value = value(field);
        let size = match &value {
            Value::Text(text) | Value::Json(text) => text.len() as u64,
            Value::Null | Value::Spans(_) => 0,
        };
        if size > MAX_ROW_BYTES {
            let message = format!("the field `{name}` is longer than {} MiB", MAX_ROW_BYTES >> 20);
            return wanted.unreadable(PLACE, number, message);
        }
        row.cells[index] = Some(Cell { value, place: PLACE });
    }
    row
}

/// Text, numbers and truth values as text; lists and groups as JSON.
fn value(field: &Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Group(_) | Field::ListInternal(_) | Field::MapInternal(_) => Value::Json(json(field).to_string()),
        Field::Str(text) => Value::Text(text.clone()),
        Field::Bytes(bytes) => match bytes.as_utf8() {
            // Writers without types for text write it as bytes.
            Ok(text) => Value::Text(text.to_owned()),
            Err(_) => Value::Json(json(field).to_string()),
        },
        scalar => match json(scalar) {
            serde_json::Value::String(text) => Value::Text(text),
            other => Value::Text(other.to_string()),
        },
    }
}

fn json(field: &Field) -> serde_json::Value {
    use serde_json::Value as Json;
    match field {
        Field::Null => Json::Null,
        Field::Bool(value) => Json::Bool(*value),
        Field::Byte(value) => Json::from(*value),
        Field::Short(value) => Json::from(*value),
        Field::Int(value) => Json::from(*value),
        Field::Long(value) => Json::from(*value),
        Field::UByte(value) => Json::from(*value),
        Field::UShort(value) => Json::from(*value),
        Field::UInt(value) => Json::from(*value),
        Field::ULong(value) => Json::from(*value),
        Field::Float(value) => Json::from(*value),
        Field::Double(value) => Json::from(*value),
        Field::Str(text) => Json::from(text.as_str()),
        Field::Bytes(bytes) => Json::from(bytes.data().to_vec()),
        Field::ListInternal(list) => list.elements().iter().map(json).collect(),
        Field::Group(group) => {
            Json::Object(group.get_column_iter().map(|(name, field)| (name.clone(), json(field))).collect())
        }
        Field::MapInternal(map) => {
            map.entries().iter().map(|(key, value)| Json::from(vec![json(key), json(value)])).collect()
        }
        // Dates, times, decimals: as the library writes them.
        other => Json::from(other.to_string()),
    }
}
