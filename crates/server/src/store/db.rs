//! The thin layer between our statements and a database engine: values in, rows out.
//!
//! Owns the only mention of an engine's types. Statements are written with `?1` placeholders in a portable subset, so that a
//! second engine is a second body of these few functions.

use rusqlite::types::{ToSqlOutput, ValueRef};

use super::Error;

/// Says which index finds the entries of an operation, in this engine's words.
pub const BY_OPERATION: &str = "indexed by entry_operation";

/// A connection inside a transaction, or a reader.
pub struct Tx<'a>(pub(super) &'a rusqlite::Connection);

/// One row of an answer.
pub struct Row<'a>(&'a rusqlite::Row<'a>);

/// A parameter of a statement.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    Null,
    Int(i64),
    Text(&'a str),
    Blob(&'a [u8]),
}

impl rusqlite::ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match *self {
            Value::Null => ValueRef::Null,
            Value::Int(int) => ValueRef::Integer(int),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Blob(blob) => ValueRef::Blob(blob),
        }))
    }
}

macro_rules! value_from {
    ($($from:ty => |$name:ident| $value:expr),* $(,)?) => {
        $(impl<'a> From<$from> for Value<'a> {
            fn from($name: $from) -> Value<'a> {
                $value
            }
        })*
    };
}

value_from! {
    i64 => |int| Value::Int(int),
    &'a i64 => |int| Value::Int(*int),
    i32 => |int| Value::Int(i64::from(int)),
    bool => |flag| Value::Int(i64::from(flag)),
    usize => |size| Value::Int(size as i64),
    billing::Time => |time| Value::Int(time.0),
    billing::Seq => |seq| Value::Int(seq.0),
    &'a str => |text| Value::Text(text),
    &'a String => |text| Value::Text(text.as_str()),
    &'a [u8] => |blob| Value::Blob(blob),
    &'a Vec<u8> => |blob| Value::Blob(blob.as_slice()),
    &'a [u8; 32] => |blob| Value::Blob(blob.as_slice()),
    &'a [u8; 16] => |blob| Value::Blob(blob.as_slice()),
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Value<'a> {
        value.map_or(Value::Null, Into::into)
    }
}

/// The parameters of a statement.
#[macro_export]
macro_rules! values {
    ($($value:expr),* $(,)?) => { &[$($crate::store::db::Value::from($value)),*][..] };
}

impl Tx<'_> {
    /// Runs a statement; answers how many rows it changed.
    pub fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<usize, Error> {
        let mut statement = self.0.prepare_cached(sql)?;
        Ok(statement.execute(rusqlite::params_from_iter(values))?)
    }

    /// All rows of a query.
    pub fn query<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(&Row<'_>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query(rusqlite::params_from_iter(values))?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push(read(&Row(row))?);
        }
        Ok(all)
    }

    /// The first row of a query, if any.
    pub fn one<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnOnce(&Row<'_>) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let mut statement = self.0.prepare_cached(sql)?;
        let mut rows = statement.query(rusqlite::params_from_iter(values))?;
        rows.next()?.map(|row| read(&Row(row))).transpose()
    }

    /// The single integer of a query that always has one row; null is 0.
    pub fn int(&self, sql: &str, values: &[Value<'_>]) -> Result<i64, Error> {
        Ok(self.one(sql, values, |row| row.opt_int(0))?.flatten().unwrap_or(0))
    }
}

impl Row<'_> {
    /// An integer that is not null.
    pub fn int(&self, index: usize) -> Result<i64, Error> {
        Ok(self.0.get(index)?)
    }

    /// An integer or null.
    pub fn opt_int(&self, index: usize) -> Result<Option<i64>, Error> {
        Ok(self.0.get(index)?)
    }

    /// Text that is not null.
    pub fn text(&self, index: usize) -> Result<String, Error> {
        Ok(self.0.get(index)?)
    }

    /// Text or null.
    pub fn opt_text(&self, index: usize) -> Result<Option<String>, Error> {
        Ok(self.0.get(index)?)
    }

    /// Bytes that are not null.
    pub fn blob(&self, index: usize) -> Result<Vec<u8>, Error> {
        Ok(self.0.get(index)?)
    }

    /// Bytes or null.
    pub fn opt_blob(&self, index: usize) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.0.get(index)?)
    }

    /// A moment that is not null.
    pub fn time(&self, index: usize) -> Result<billing::Time, Error> {
        self.int(index).map(billing::Time)
    }

    /// A moment or null.
    pub fn opt_time(&self, index: usize) -> Result<Option<billing::Time>, Error> {
        Ok(self.opt_int(index)?.map(billing::Time))
    }
}

/// A database of its own for a test.
#[cfg(test)]
pub fn in_memory() -> rusqlite::Connection {
    let connection = rusqlite::Connection::open_in_memory().expect("a database");
    connection.execute_batch(include_str!("schema/0001_init.sql")).expect("a schema");
    connection
}
