//! The thin layer between our statements and a database engine: values in, rows out.
//!
//! Owns the only mention of an engine's types outside `sqlite` and `postgres`. Statements are written once, with `?1`
//! placeholders in a subset that both engines know; `postgres` says what it changes in them.

use std::borrow::Cow;

use rusqlite::types::{ToSqlOutput, ValueRef};

use super::Error;
use super::postgres::{self, Begun, Committed, Server, Session};
use super::sqlite::writing::Writing;
use crate::clock::Clock;

/// A connection inside a transaction, or a reader.
#[derive(Clone, Copy)]
pub enum Tx<'a> {
    /// The file.
    Sqlite(&'a rusqlite::Connection),
    /// The file, which may be written after this transaction was decided.
    Writing(&'a Writing),
    /// One connection to a server that other nodes use too.
    Postgres(&'a Session),
}

/// A connection of its own.
pub enum Connection {
    /// To the file, for reading.
    Sqlite(rusqlite::Connection),
    /// To the file, for the one writer.
    Writing(Box<Writing>),
    /// To the server; it connects again when it is lost.
    Postgres(Server, Option<Box<Session>>),
}

/// Rows of the journal, as (id, body).
pub type News = Vec<(i64, Vec<u8>)>;

/// One row of an answer.
pub enum Row<'a> {
    /// Of the file.
    Sqlite(&'a rusqlite::Row<'a>),
    /// Of the server.
    Postgres(&'a tokio_postgres::Row),
}

/// A parameter of a statement.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    Null,
    Int(i64),
    Text(Cow<'a, str>),
    Blob(Cow<'a, [u8]>),
}

impl rusqlite::ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Int(int) => ValueRef::Integer(*int),
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
    &'a str => |text| Value::Text(Cow::Borrowed(text)),
    &'a String => |text| Value::Text(Cow::Borrowed(text.as_str())),
    String => |text| Value::Text(Cow::Owned(text)),
    &'a [u8] => |blob| Value::Blob(Cow::Borrowed(blob)),
    &'a Vec<u8> => |blob| Value::Blob(Cow::Borrowed(blob.as_slice())),
    Vec<u8> => |blob| Value::Blob(Cow::Owned(blob)),
    [u8; 32] => |blob| Value::Blob(Cow::Owned(blob.to_vec())),
    &'a [u8; 32] => |blob| Value::Blob(Cow::Borrowed(blob.as_slice())),
    &'a [u8; 16] => |blob| Value::Blob(Cow::Borrowed(blob.as_slice())),
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Value<'a> {
        value.map_or(Value::Null, Into::into)
    }
}

/// The parameters of a statement.
#[macro_export]
macro_rules! values {
    ($($value:expr),* $(,)?) => { &[$($crate::store::db::Value::from($value)),*] };
}

impl Tx<'_> {
    /// Whether other processes write to this database too.
    pub fn is_shared(self) -> bool {
        matches!(self, Tx::Postgres(_))
    }

    /// Whether the transaction needs a row of the journal even without entries: others must learn what it wrote, and its own
    /// commit may have to be looked up.
    pub fn owes_a_row(self) -> bool {
        match self {
            Tx::Sqlite(_) | Tx::Writing(_) => false,
            Tx::Postgres(session) => session.has_written(),
        }
    }

    /// Wants a durable commit, also when nothing is written.
    pub fn confirm(self) {
        if let Tx::Postgres(session) = self {
            session.confirm();
        }
    }

    /// Where what was committed before can be read without waiting for what is being written, if that is another place.
    pub fn aside(&self) -> Option<Tx<'_>> {
        match self {
            Tx::Writing(writing) => Some(Tx::Sqlite(writing.aside())),
            Tx::Sqlite(_) | Tx::Postgres(_) => None,
        }
    }

    /// Makes sure that it can be read from.
    pub fn ready(self) -> Result<(), Error> {
        match self {
            Tx::Writing(writing) => writing.connection().map(drop),
            Tx::Sqlite(_) | Tx::Postgres(_) => Ok(()),
        }
    }

    /// Runs a statement; answers how many rows it changed.
    pub fn execute(self, sql: &str, values: &[Value<'_>]) -> Result<usize, Error> {
        match self {
            Tx::Sqlite(connection) => {
                let mut statement = connection.prepare_cached(sql)?;
                Ok(statement.execute(rusqlite::params_from_iter(values))?)
            }
            Tx::Writing(writing) => Tx::Sqlite(writing.connection()?).execute(sql, values),
            Tx::Postgres(session) => session.execute(sql, values),
        }
    }

    /// Runs a statement without waiting for it, where that is possible: a failure shows at the next answer or at the commit.
    pub fn send(self, sql: &str, values: &[Value<'_>]) -> Result<(), Error> {
        match self {
            Tx::Sqlite(_) => self.execute(sql, values).map(drop),
            Tx::Writing(writing) => writing.send(sql, std::iter::once(values)),
            Tx::Postgres(session) => session.send(sql, values),
        }
    }

    /// Runs an insert of one row, `insert into … values (…)`, for many rows of one partition, no two with the same key.
    /// Where that is possible it is not waited for.
    pub fn insert_all<'v, const N: usize>(
        self,
        sql: &str,
        rows: impl Iterator<Item = [Value<'v>; N]>,
    ) -> Result<(), Error> {
        match self {
            Tx::Sqlite(connection) => {
                let mut statement = connection.prepare_cached(sql)?;
                for row in rows {
                    statement.execute(rusqlite::params_from_iter(&row))?;
                }
                Ok(())
            }
            Tx::Writing(writing) => writing.send(sql, rows),
            Tx::Postgres(session) => session.insert_all(sql, rows),
        }
    }

    /// All rows of a query.
    pub fn query<T>(
        self,
        sql: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(&Row<'_>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        match self {
            Tx::Sqlite(connection) => {
                let mut statement = connection.prepare_cached(sql)?;
                let mut rows = statement.query(rusqlite::params_from_iter(values))?;
                let mut all = Vec::new();
                while let Some(row) = rows.next()? {
                    all.push(read(&Row::Sqlite(row))?);
                }
                Ok(all)
            }
            Tx::Writing(writing) => Tx::Sqlite(writing.connection()?).query(sql, values, read),
            Tx::Postgres(session) => {
                session.query(sql, values)?.iter().map(|row| read(&Row::Postgres(row))).collect()
            }
        }
    }

    /// All rows of a query for each of many sets of parameters, which travel together.
    pub fn query_each<T, const N: usize>(
        self,
        sql: &str,
        each: &[[Value<'_>; N]],
        mut read: impl FnMut(&Row<'_>) -> Result<T, Error>,
    ) -> Result<Vec<Vec<T>>, Error> {
        let Tx::Postgres(session) = self else {
            return each.iter().map(|values| self.query(sql, values, &mut read)).collect();
        };
        let answers = session.query_each(sql, each)?;
        let read_all = |rows: &Vec<tokio_postgres::Row>| {
            rows.iter().map(|row| read(&Row::Postgres(row))).collect::<Result<Vec<T>, Error>>()
        };
        answers.iter().map(read_all).collect()
    }

    /// The first row of a query, if any.
    pub fn one<T>(
        self,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnOnce(&Row<'_>) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        match self {
            Tx::Sqlite(connection) => {
                let mut statement = connection.prepare_cached(sql)?;
                let mut rows = statement.query(rusqlite::params_from_iter(values))?;
                rows.next()?.map(|row| read(&Row::Sqlite(row))).transpose()
            }
            Tx::Writing(writing) => Tx::Sqlite(writing.connection()?).one(sql, values, read),
            Tx::Postgres(session) => {
                session.query(sql, values)?.first().map(|row| read(&Row::Postgres(row))).transpose()
            }
        }
    }

    /// The single integer of a query that always has one row; null is 0.
    pub fn int(self, sql: &str, values: &[Value<'_>]) -> Result<i64, Error> {
        Ok(self.one(sql, values, |row| row.opt_int(0))?.flatten().unwrap_or(0))
    }
}

impl Connection {
    /// What writes to the file, if that is what this connection does.
    pub fn writing(&mut self) -> Option<&mut Writing> {
        match self {
            Connection::Writing(writing) => Some(writing),
            _ => None,
        }
    }

    /// Its statements.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub fn tx(&mut self) -> Result<Tx<'_>, Error> {
        match self {
            Connection::Sqlite(connection) => Ok(Tx::Sqlite(connection)),
            Connection::Writing(writing) => Ok(Tx::Writing(writing)),
            Connection::Postgres(server, session) => {
                if session.as_ref().is_none_or(|session| session.is_closed()) {
                    *session = Some(Box::new(Session::connect(server)?));
                }
                session.as_deref().map(Tx::Postgres).ok_or_else(|| Error::Unavailable(String::new()))
            }
        }
    }

    /// Begins a writer's transaction, alone in its partition, and sets the clock by the database's. With it come the rows of
    /// the journal since the one that is known as the last.
    pub fn begin(&mut self, partition: i64, last: i64, clock: &Clock) -> Result<(Tx<'_>, News), Error> {
        let tx = self.tx()?;
        match tx {
            Tx::Sqlite(_) => Err(Error::Engine("a reader does not write".to_owned())),
            Tx::Writing(writing) => writing.begin().map(|()| (tx, News::new())),
            Tx::Postgres(session) => {
                let Begun { now, manual, news } = session.begin(partition, last)?;
                clock.agree(now, manual);
                Ok((tx, news))
            }
        }
    }

    /// Commits what was written, on the session that wrote it: another would have nothing to commit, and say that it did.
    pub fn commit(&mut self) -> Result<Committed, Error> {
        match self {
            Connection::Sqlite(_) => Err(Error::Engine("a reader does not write".to_owned())),
            Connection::Writing(writing) => writing.commit().map(|()| Committed::Yes),
            Connection::Postgres(_, Some(session)) if !session.is_closed() => {
                if session.has_written() {
                    return session.commit();
                }
                session.rollback().map(|()| Committed::Yes)
            }
            Connection::Postgres(..) => {
                Err(Error::Again("the connection ended before the commit".to_owned()))
            }
        }
    }

    /// Takes a transaction back that may be open.
    pub fn rollback(&mut self) {
        match self {
            Connection::Sqlite(connection) if connection.is_autocommit() => {}
            Connection::Sqlite(connection) => drop(connection.execute_batch("rollback")),
            Connection::Writing(writing) => writing.rollback(),
            Connection::Postgres(_, session) => {
                if session.as_ref().is_some_and(|session| session.is_closed() || session.rollback().is_err())
                {
                    *session = None;
                }
            }
        }
    }

    /// Reads from one snapshot.
    pub fn snapshot<T>(&mut self, work: impl FnOnce(&Tx<'_>) -> Result<T, Error>) -> Result<T, Error> {
        let tx = self.tx()?;
        let answer = match tx {
            Tx::Sqlite(connection) => connection.execute_batch("begin").map_err(Error::from),
            Tx::Writing(writing) => writing.connection().map(drop),
            Tx::Postgres(session) => session.run("begin isolation level repeatable read read only"),
        };
        let answer = answer.and_then(|()| work(&tx));
        self.rollback();
        answer
    }
}

fn missing<T>(value: Option<T>) -> Result<T, Error> {
    value.ok_or_else(|| Error::Engine("a column is null that never is".to_owned()))
}

impl Row<'_> {
    /// An integer that is not null.
    pub fn int(&self, index: usize) -> Result<i64, Error> {
        self.opt_int(index).and_then(missing)
    }

    /// An integer or null.
    pub fn opt_int(&self, index: usize) -> Result<Option<i64>, Error> {
        match self {
            Row::Sqlite(row) => Ok(row.get(index)?),
            Row::Postgres(row) => {
                Ok(row.try_get::<_, Option<postgres::Int>>(index)?.map(|postgres::Int(int)| int))
            }
        }
    }

    /// Text that is not null.
    pub fn text(&self, index: usize) -> Result<String, Error> {
        self.opt_text(index).and_then(missing)
    }

    /// Text or null.
    pub fn opt_text(&self, index: usize) -> Result<Option<String>, Error> {
        match self {
            Row::Sqlite(row) => Ok(row.get(index)?),
            Row::Postgres(row) => Ok(row.try_get(index)?),
        }
    }

    /// Bytes that are not null.
    pub fn blob(&self, index: usize) -> Result<Vec<u8>, Error> {
        self.opt_blob(index).and_then(missing)
    }

    /// Bytes or null.
    pub fn opt_blob(&self, index: usize) -> Result<Option<Vec<u8>>, Error> {
        match self {
            Row::Sqlite(row) => Ok(row.get(index)?),
            Row::Postgres(row) => Ok(row.try_get(index)?),
        }
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
