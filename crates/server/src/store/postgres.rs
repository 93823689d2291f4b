//! A PostgreSQL server that any number of nodes share: its connections, what it is told in our statements' place, its schema.
//!
//! Owns sessions, how values travel, and what the server's errors mean. `server` finds the primary, `partition` says what is changed in our statements,
//! `schema` makes the tables, `nodes` tells other nodes.
//!
//! Invariant: a writer's transaction holds its partition's row of `lane`, so that one node at a time writes to a partition.

pub mod nodes;
pub mod partition;
pub mod schema;
mod server;
mod wire;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use billing::Time;
use futures_util::FutureExt;
use futures_util::future::{join, join_all, try_join_all};
use tokio::runtime::{Builder, Runtime};
use tokio::time::error::Elapsed;
use tokio_postgres::error::Severity;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Statement};

use super::Error;
use super::db::Value;
use crate::values;
use partition::{Source, partition, translate};
use server::Found;
pub use server::Server;
pub use wire::Int;
use wire::{array, as_values, gone};

/// How long the server may take for one statement, wait for a lane, and wait for us inside a transaction, in seconds.
const LIMITS: &str =
    "-c statement_timeout=30s -c lock_timeout=10s -c idle_in_transaction_session_timeout=20s -c timezone=UTC";
/// How long an answer may take at all: longer than the server's own limits, for one that is gone. The address may say another
/// time, as `tcp_user_timeout`.
const ANSWER: Duration = Duration::from_secs(40);
const CONNECT: Duration = Duration::from_secs(5);
/// The server's clock, and a manual one.
const NOW: &str = "select cast(extract(epoch from clock_timestamp()) * 1000000 as bigint),
    (select value from meta where name = 'clock')";
/// The journal from a row on; of that one only its head.
const NEWS: &str = "select id, case when id = ?2 then substr(body, 1, 17) else body end from journal
    where partition = ?1 and id >= ?2 order by id";

/// One connection, used by one thread at a time, which also drives it.
pub struct Session {
    runtime: Option<Runtime>,
    client: Arc<Client>,
    /// Statements that are on their way: whoever waits next also waits for these.
    sent: RefCell<Vec<Sent>>,
    partitions: i64,
    patience: Duration,
    /// The timeline of its server, and the newest.
    timeline: (i64, Arc<AtomicI64>),
    /// Whether an answer did not come in time: none will be waited for any more.
    given_up: Cell<bool>,
    warned: Arc<AtomicBool>,
    /// Whether the transaction has changed anything.
    wrote: Cell<bool>,
    known: RefCell<HashMap<String, Arc<Known>>>,
}

/// A statement that was sent and not waited for.
type Sent = Pin<Box<dyn Future<Output = Result<u64, tokio_postgres::Error>> + Send>>;

/// A transaction that has begun.
pub struct Begun {
    /// The server's time.
    pub now: Time,
    /// Where a manual clock stands.
    pub manual: Option<Time>,
    /// The rows of the journal since the last known one, that one first; of it only what it begins with.
    pub news: Vec<(i64, Vec<u8>)>,
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
        let patience =
            server.hosts.iter().find_map(|host| host.get_tcp_user_timeout()).copied().unwrap_or(ANSWER);
        // A server that takes connections and then says nothing would be waited for without end.
        let connecting = async { tokio::time::timeout(patience, server.connect()).await };
        let Found { client, mut connection, timeline } =
            runtime.block_on(connecting).map_err(|_| gone())??;
        let warned = Arc::new(AtomicBool::new(false));
        let warnings = warned.clone();
        runtime.spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notice(notice) = message
                    && notice.parsed_severity() == Some(Severity::Warning)
                {
                    tracing::warn!(%notice, "the database warns");
                    warnings.store(true, Ordering::SeqCst);
                }
            }
        });
        let (partitions, wrote, known) = (server.partitions, Cell::new(false), RefCell::default());
        let (runtime, client, sent, given_up) =
            (Some(runtime), Arc::new(client), RefCell::default(), Cell::new(false));
        let timeline = (timeline, server.timeline.clone());
        let session =
            Session { runtime, client, sent, partitions, patience, timeline, given_up, warned, wrote, known };
        // What is acknowledged is durable, whatever this database is used to.
        session.run("select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') = 'off'")?;
        Ok(session)
    }

    /// Whether the connection is gone, or leads to a server that is no primary any more.
    pub fn is_closed(&self) -> bool {
        let (timeline, newest) = &self.timeline;
        self.given_up.get() || self.client.is_closed() || *timeline < newest.load(Ordering::SeqCst)
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

    /// Takes back whatever is open.
    pub fn rollback(&self) -> Result<(), Error> {
        self.sent.take();
        self.run("rollback")
    }

    /// Begins a transaction that has a partition to itself, and reads what was journaled there since the row `last`.
    pub fn begin(&self, partition: i64, last: i64) -> Result<Begun, Error> {
        let values = values![partition, last];
        let lane = self.known("select partition from lane where partition = ?1 for update", values)?;
        let time = self.known(NOW, &[])?;
        let news = self.known(NEWS, values)?;
        let (lane_values, news_values) = (self.bind(&lane, values), self.bind(&news, values));
        let (_, _, time, news) = self.wait(async {
            // All four leave at once; the lock is waited for at the server, and what follows it sees what the others committed.
            futures_util::future::try_join4(
                self.client.batch_execute("begin"),
                self.client.execute_raw(&lane.statement, &lane_values),
                self.client.query_one(&time.statement, &[]),
                self.client.query(&news.statement, &as_values(&news_values)),
            )
            .await
        })?;
        self.wrote.set(false);
        let manual: Option<String> = time.try_get(1)?;
        let manual = manual.and_then(|text| text.parse().ok()).map(Time);
        let news = news.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
        Ok(Begun { now: Time(time.try_get(0)?), manual, news: news.collect::<Result<_, Error>>()? })
    }

    /// Commits. Whatever is neither a plain yes nor a plain error is unknown.
    pub fn commit(&self) -> Result<Committed, Error> {
        self.warned.store(false, Ordering::SeqCst);
        let sent = join_all(self.sent.take());
        let done = match self.block(join(sent, self.client.batch_execute("commit"))) {
            // After a statement that the server refused, a commit takes everything back and calls that a success.
            Ok((sent, done)) => match sent.into_iter().find_map(Result::err) {
                Some(error) if error.as_db_error().is_some() => return Err(error.into()),
                Some(_) => return Ok(Committed::Unknown),
                None => Ok(done),
            },
            Err(late) => Err(late),
        };
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

    /// Sends a statement that nobody waits for before the next answer.
    pub fn send(&self, sql: &str, values: &[Value<'_>]) -> Result<(), Error> {
        let known = self.known(sql, values)?;
        let values = self.bind(&known, values).into_iter();
        self.leave(&known.statement, values.map(|value| Box::new(value.owned()) as _).collect())
    }

    fn leave(&self, statement: &Statement, values: Vec<Box<dyn ToSql + Sync + Send>>) -> Result<(), Error> {
        self.wrote.set(true);
        let (client, statement) = (self.client.clone(), statement.clone());
        let mut sent: Sent = Box::pin(async move { client.execute_raw(&statement, values).await });
        // Its first step puts it into the connection's queue.
        match (&mut sent).now_or_never() {
            Some(Err(error)) => Err(error.into()),
            Some(Ok(_)) => Ok(()),
            None => {
                self.sent.borrow_mut().push(sent);
                Ok(())
            }
        }
    }

    /// All rows of a query.
    pub fn query(&self, sql: &str, values: &[Value<'_>]) -> Result<Vec<tokio_postgres::Row>, Error> {
        let known = self.known(sql, values)?;
        let values = self.bind(&known, values);
        self.wait(self.client.query(&known.statement, &as_values(&values)))
    }

    /// All rows of a query for each of many sets of values: all leave at once, and are waited for together.
    pub fn query_each<const N: usize>(
        &self,
        sql: &str,
        each: &[[Value<'_>; N]],
    ) -> Result<Vec<Vec<tokio_postgres::Row>>, Error> {
        let Some(first) = each.first() else { return Ok(Vec::new()) };
        let known = self.known(sql, first)?;
        let all: Vec<Vec<Value<'_>>> = each.iter().map(|values| self.bind(&known, values)).collect();
        self.wait(try_join_all(all.iter().map(|values| {
            let values = as_values(values);
            let known = &known;
            async move { self.client.query(&known.statement, &values).await }
        })))
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
        let many = self.many(sql, &one)?;
        let partitions: Vec<Value<'v>> = match one.sources.iter().find_map(|source| match source {
            Source::Partition(workspace) => Some(*workspace),
            Source::Value(_) => None,
        }) {
            Some(workspace) => columns[workspace].iter().map(|value| self.partition_of(value)).collect(),
            None => Vec::new(),
        };
        let array = |(source, kind): (&Source, &Type)| match source {
            Source::Value(index) => array(&columns[*index], kind),
            Source::Partition(_) => array(&partitions, kind),
        };
        self.leave(&many.statement, one.sources.iter().zip(one.statement.params()).map(array).collect())
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
        let sent = join_all(self.sent.take());
        let (sent, answer) = self.block(join(sent, answer)).map_err(|_| gone())?;
        // The first that failed says why; what came after it was only refused.
        sent.into_iter().find_map(Result::err).map_or(Ok(()), Err)?;
        Ok(answer?)
    }

    fn block<T>(&self, work: impl Future<Output = T>) -> Result<T, Elapsed> {
        let runtime = self.runtime.as_ref().expect("there until it is dropped");
        let answer = runtime.block_on(async { tokio::time::timeout(self.patience, work).await });
        self.given_up.set(self.given_up.get() || answer.is_err());
        answer
    }
}
