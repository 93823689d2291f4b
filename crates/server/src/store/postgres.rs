//! A PostgreSQL server that any number of nodes share: its connections, what it is told in our statements' place, its schema.
//!
//! Owns sessions, how values travel, and what the server's errors mean. `partition` says what is changed in our statements,
//! `schema` makes the tables, `nodes` tells other nodes.
//!
//! Invariant: a writer's transaction holds its partition's row of `lane`, so that one node at a time writes to a partition.

pub mod nodes;
pub mod partition;
pub mod schema;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use billing::Time;
use tokio::runtime::{Builder, Runtime};
use tokio::time::error::Elapsed;
use tokio_postgres::error::{Severity, SqlState};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, private::BytesMut, to_sql_checked};
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, Statement};

use super::Error;
use super::db::Value;
use crate::values;
use partition::{Source, partition, translate};

/// How long the server may take for one statement, wait for a lane, and wait for us inside a transaction, in seconds.
const LIMITS: &str =
    "-c statement_timeout=30s -c lock_timeout=10s -c idle_in_transaction_session_timeout=20s -c timezone=UTC";
/// How long an answer may take at all: longer than the server's own limits, for one that is gone. The address may say another
/// time, as `tcp_user_timeout`.
const ANSWER: Duration = Duration::from_secs(40);
const CONNECT: Duration = Duration::from_secs(5);

/// Where the server is, as the operator said it.
#[derive(Clone, Debug)]
pub struct Server {
    config: Config,
    /// How many partitions the database has.
    pub partitions: i64,
}

/// One connection, used by one thread at a time, which also drives it.
pub struct Session {
    runtime: Option<Runtime>,
    client: Client,
    partitions: i64,
    patience: Duration,
    /// Whether an answer did not come in time: none will be waited for any more.
    given_up: Cell<bool>,
    warned: Arc<AtomicBool>,
    /// Whether the transaction has changed anything.
    wrote: Cell<bool>,
    known: RefCell<HashMap<String, Arc<Known>>>,
}

/// A statement as this session knows it.
struct Known {
    sql: String,
    sources: Vec<Source>,
    statement: Statement,
}

/// How a commit ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Committed {
    /// Durably.
    Yes,
    /// Nobody said: it may have happened.
    Unknown,
}

impl Drop for Session {
    fn drop(&mut self) {
        // A session may be dropped where waiting for its tasks is not allowed.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Session {
    /// Connects to a server that takes writes.
    pub fn connect(server: &Server) -> Result<Session, Error> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::Unavailable(error.to_string()))?;
        let patience = server.config.get_tcp_user_timeout().copied().unwrap_or(ANSWER);
        // A server that takes connections and then says nothing would be waited for without end.
        let connecting = async { tokio::time::timeout(patience, server.config.connect(NoTls)).await };
        let (client, mut connection) = runtime.block_on(connecting).map_err(silent)??;
        let warned = Arc::new(AtomicBool::new(false));
        let warnings = warned.clone();
        runtime.spawn(async move {
            while let Some(Ok(message)) =
                std::future::poll_fn(|context| connection.poll_message(context)).await
            {
                if let AsyncMessage::Notice(notice) = message
                    && notice.parsed_severity() == Some(Severity::Warning)
                {
                    tracing::warn!(%notice, "the database warns");
                    warnings.store(true, Ordering::SeqCst);
                }
            }
        });
        let (partitions, wrote, known) = (server.partitions, Cell::new(false), RefCell::default());
        let (runtime, given_up) = (Some(runtime), Cell::new(false));
        let session = Session { runtime, client, partitions, patience, given_up, warned, wrote, known };
        // What is acknowledged is durable, whatever this database is used to.
        session.run("select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') = 'off'")?;
        Ok(session)
    }

    /// Whether the connection is gone.
    pub fn is_closed(&self) -> bool {
        self.given_up.get() || self.client.is_closed()
    }

    /// Whether the transaction has changed anything.
    pub fn has_written(&self) -> bool {
        self.wrote.get()
    }

    /// Wants a durable commit, also when nothing is written.
    pub fn confirm(&self) {
        self.wrote.set(true);
    }

    /// Runs a statement without parameters, as it is.
    pub fn run(&self, sql: &str) -> Result<(), Error> {
        self.wait(self.client.batch_execute(sql))
    }

    /// Begins a transaction that has a partition to itself; answers the server's time, and where a manual clock stands.
    pub fn begin(&self, partition: i64) -> Result<(Time, Option<Time>), Error> {
        let lane =
            self.known("select partition from lane where partition = ?1 for update", values![partition])?;
        let time = self.known("select cast(extract(epoch from clock_timestamp()) * 1000000 as bigint), (select value from meta where name = 'clock')", &[])?;
        let lane_of: [&(dyn ToSql + Sync); 1] = [&partition];
        let (_, _, row) = self.wait(async {
            // All three leave at once; the lock is waited for at the server.
            futures_util::future::try_join3(
                self.client.batch_execute("begin"),
                self.client.query_one(&lane.statement, &lane_of),
                self.client.query_one(&time.statement, &[]),
            )
            .await
        })?;
        self.wrote.set(false);
        let manual: Option<String> = row.try_get(1)?;
        Ok((Time(row.try_get(0)?), manual.and_then(|text| text.parse().ok()).map(Time)))
    }

    /// Commits. Whatever is neither a plain yes nor a plain error is unknown.
    pub fn commit(&self) -> Result<Committed, Error> {
        self.warned.store(false, Ordering::SeqCst);
        let done = self.block(self.client.batch_execute("commit"));
        match done {
            // A warning here says that a standby was not waited for: the commit is there and may yet be lost.
            Ok(Ok(())) if self.warned.load(Ordering::SeqCst) => Ok(Committed::Unknown),
            Ok(Ok(())) => Ok(Committed::Yes),
            Ok(Err(error))
                if error.as_db_error().and_then(|error| error.parsed_severity()) == Some(Severity::Error) =>
            {
                Err(error.into())
            }
            Ok(Err(_)) | Err(_) => Ok(Committed::Unknown),
        }
    }

    /// Runs a statement; answers how many rows it changed.
    pub fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<usize, Error> {
        let known = self.known(sql, values)?;
        let values = self.bind(&known, values);
        self.wrote.set(true);
        let changed = self.client.execute_raw(&known.statement, values.iter());
        Ok(usize::try_from(self.wait(changed)?).unwrap_or(usize::MAX))
    }

    /// All rows of a query.
    pub fn query(&self, sql: &str, values: &[Value<'_>]) -> Result<Vec<tokio_postgres::Row>, Error> {
        let known = self.known(sql, values)?;
        let values = self.bind(&known, values);
        let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as _).collect();
        self.wait(self.client.query(&known.statement, &values))
    }

    /// Inserts many rows with one statement: each column travels as an array.
    pub fn insert_all<'v, const N: usize>(
        &self,
        sql: &str,
        rows: impl Iterator<Item = [Value<'v>; N]>,
    ) -> Result<(), Error> {
        let one = self.known(sql, &[])?;
        let mut columns: Vec<Vec<Value<'v>>> = vec![Vec::new(); N];
        for row in rows {
            columns.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
        }
        if columns.first().is_none_or(Vec::is_empty) {
            return Ok(());
        }
        self.wrote.set(true);
        let many = self.many(sql, &one)?;
        let partitions: Vec<Value<'v>> = match one.sources.iter().find_map(|source| match source {
            Source::Partition(workspace) => Some(*workspace),
            Source::Value(_) => None,
        }) {
            Some(workspace) => columns[workspace].iter().map(|value| self.partition_of(value)).collect(),
            None => Vec::new(),
        };
        let arrays: Vec<Box<dyn ToSql + Sync>> = one
            .sources
            .iter()
            .zip(one.statement.params())
            .map(|(source, kind)| match source {
                Source::Value(index) => array(&columns[*index], kind),
                Source::Partition(_) => array(&partitions, kind),
            })
            .collect();
        let arrays: Vec<&(dyn ToSql + Sync)> = arrays.iter().map(|array| &**array).collect();
        self.wait(self.client.execute(&many.statement, &arrays)).map(drop)
    }

    /// The form of an insert that takes arrays.
    fn many(&self, sql: &str, one: &Known) -> Result<Arc<Known>, Error> {
        let name = format!("many: {sql}");
        if let Some(known) = self.known.borrow().get(&name) {
            return Ok(known.clone());
        }
        let broken = || Error::Engine(format!("this statement inserts no row: {sql}"));
        let (head, rest) = one.sql.split_once(" values (").ok_or_else(broken)?;
        let (_, tail) = rest.split_once(')').ok_or_else(broken)?;
        let arrays: Vec<String> = one
            .statement
            .params()
            .iter()
            .enumerate()
            .map(|(index, kind)| format!("${}::{}[]", index + 1, kind.name()))
            .collect();
        let sql = format!("{head} select * from unnest({}) {tail}", arrays.join(", "));
        self.prepare(name, sql, one.sources.clone(), &[])
    }

    fn known(&self, sql: &str, values: &[Value<'_>]) -> Result<Arc<Known>, Error> {
        if let Some(known) = self.known.borrow().get(sql) {
            return Ok(known.clone());
        }
        let (translated, sources) = translate(sql);
        // A number is 8 bytes wherever it stands; what is null here may be anything.
        let kind = |source: &Source| match source {
            Source::Partition(_) => Type::INT8,
            Source::Value(index) => values.get(*index).map_or(Type::UNKNOWN, Value::kind),
        };
        let kinds: Vec<Type> = sources.iter().map(kind).collect();
        self.prepare(sql.to_owned(), translated, sources, &kinds)
    }

    fn prepare(
        &self,
        name: String,
        sql: String,
        sources: Vec<Source>,
        kinds: &[Type],
    ) -> Result<Arc<Known>, Error> {
        let statement = self.wait(self.client.prepare_typed(&sql, kinds))?;
        let known = Arc::new(Known { sql, sources, statement });
        self.known.borrow_mut().insert(name, known.clone());
        Ok(known)
    }

    fn bind<'v>(&self, known: &Known, values: &[Value<'v>]) -> Vec<Value<'v>> {
        let value = |source: &Source| match source {
            Source::Value(index) => values[*index].clone(),
            Source::Partition(index) => self.partition_of(&values[*index]),
        };
        known.sources.iter().map(value).collect()
    }

    fn partition_of<'v>(&self, workspace: &Value<'_>) -> Value<'v> {
        match workspace {
            Value::Int(workspace) => Value::Int(partition(*workspace, self.partitions)),
            _ => Value::Null,
        }
    }

    fn wait<T>(&self, answer: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, Error> {
        Ok(self.block(answer).map_err(silent)??)
    }

    fn block<T>(&self, work: impl Future<Output = T>) -> Result<T, Elapsed> {
        let runtime = self.runtime.as_ref().expect("there until it is dropped");
        let answer = runtime.block_on(async { tokio::time::timeout(self.patience, work).await });
        self.given_up.set(self.given_up.get() || answer.is_err());
        answer
    }
}

fn silent(_: Elapsed) -> Error {
    Error::Unavailable("the database does not answer".to_owned())
}

fn array<'v>(column: &'v [Value<'v>], kind: &Type) -> Box<dyn ToSql + Sync + 'v> {
    match *kind {
        Type::INT8 => Box::new(column.iter().map(Value::as_int).collect::<Vec<Option<i64>>>()),
        Type::BYTEA => Box::new(column.iter().map(Value::as_blob).collect::<Vec<Option<&[u8]>>>()),
        _ => Box::new(column.iter().map(Value::as_text).collect::<Vec<Option<&str>>>()),
    }
}

impl Value<'_> {
    fn kind(&self) -> Type {
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

    fn as_text(&self) -> Option<&str> {
        if let Value::Text(text) = self { Some(text) } else { None }
    }

    fn as_blob(&self) -> Option<&[u8]> {
        if let Value::Blob(blob) = self { Some(blob) } else { None }
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
            Value::Text(text) => text.as_ref().to_sql(kind, out),
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
