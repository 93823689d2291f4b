//! How values travel to the server and back, and what its errors mean.

use std::borrow::Cow;

use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, private::BytesMut, to_sql_checked};

use super::super::Error;
use super::super::db::Value;

/// Values as a statement takes them.
pub fn as_values<'v>(values: &'v [Value<'_>]) -> Vec<&'v (dyn ToSql + Sync)> {
    values.iter().map(|value| value as _).collect()
}

/// This server has no text with a zero byte. No field takes one either; but a filter may be asked for it, and a provider may
/// say it.
fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{2400}")) } else { Cow::Borrowed(text) }
}

/// The server did not answer in time.
pub fn gone() -> Error {
    Error::Unavailable("the database does not answer".to_owned())
}

/// A column of values as one array.
pub fn array(column: &[Value<'_>], kind: &Type) -> Box<dyn ToSql + Sync + Send> {
    match *kind {
        Type::INT8 => Box::new(column.iter().map(Value::as_int).collect::<Vec<Option<i64>>>()),
        Type::BYTEA => Box::new(column.iter().map(Value::as_blob).collect::<Vec<Option<Vec<u8>>>>()),
        _ => Box::new(column.iter().map(Value::as_text).collect::<Vec<Option<String>>>()),
    }
}

impl Value<'_> {
    /// How it travels.
    pub fn kind(&self) -> Type {
        match self {
            Value::Null => Type::UNKNOWN,
            Value::Int(_) => Type::INT8,
            Value::Text(_) => Type::TEXT,
            Value::Blob(_) => Type::BYTEA,
        }
    }

    fn as_int(&self) -> Option<i64> {
        if let Value::Int(int) = self { Some(*int) } else { None }
    }

    fn as_text(&self) -> Option<String> {
        if let Value::Text(text) = self { Some(storable(text).into_owned()) } else { None }
    }

    fn as_blob(&self) -> Option<Vec<u8>> {
        if let Value::Blob(blob) = self { Some(blob.to_vec()) } else { None }
    }

    /// The same, for a statement that outlives what it was made of.
    pub fn owned(self) -> Value<'static> {
        match self {
            Value::Null => Value::Null,
            Value::Int(int) => Value::Int(int),
            Value::Text(text) => Value::Text(text.into_owned().into()),
            Value::Blob(blob) => Value::Blob(blob.into_owned().into()),
        }
    }
}

impl ToSql for Value<'_> {
    fn to_sql(
        &self,
        kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Value::Null => Ok(IsNull::Yes),
            Value::Int(int) if *kind == Type::INT4 => i32::try_from(*int)?.to_sql(kind, out),
            Value::Int(int) => int.to_sql(kind, out),
            Value::Text(text) => storable(text).to_sql(kind, out),
            Value::Blob(blob) => blob.as_ref().to_sql(kind, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// An integer of whatever width the server computed.
pub struct Int(pub i64);

impl<'r> FromSql<'r> for Int {
    fn from_sql(kind: &Type, raw: &'r [u8]) -> Result<Int, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Int(match *kind {
            Type::INT4 => i64::from(i32::from_sql(kind, raw)?),
            Type::BOOL => i64::from(bool::from_sql(kind, raw)?),
            _ => i64::from_sql(kind, raw)?,
        }))
    }

    fn accepts(kind: &Type) -> bool {
        [Type::INT4, Type::INT8, Type::BOOL].contains(kind)
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Error {
        let Some(said) = error.as_db_error() else {
            let cause = std::error::Error::source(&error).map_or(String::new(), |cause| format!(": {cause}"));
            return Error::Unavailable(format!("the database cannot be reached: {error}{cause}"));
        };
        let text = format!("{} ({})", said.message(), said.code().code());
        let again = [
            &SqlState::T_R_SERIALIZATION_FAILURE,
            &SqlState::T_R_DEADLOCK_DETECTED,
            // Another node wrote the same unique name a moment before.
            &SqlState::UNIQUE_VIOLATION,
        ];
        // Lack of room, a server that stops or is read-only, a lane that is taken, a statement that took too long.
        let passes =
            ["08", "53", "57", "58", "25", "55"].iter().any(|class| said.code().code().starts_with(class));
        match () {
            () if again.contains(&said.code()) => Error::Again(text),
            () if passes => Error::Unavailable(text),
            () => Error::Engine(text),
        }
    }
}
