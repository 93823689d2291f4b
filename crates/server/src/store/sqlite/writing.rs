//! The writer's way to the file: a batch that was decided without reading is written by a thread of its own, while the next one
//! is decided.
//!
//! Owns the connection that writes, on whichever of the two threads it is. A batch that must read has the connection brought
//! over, once all before it is written, and is written where it is decided; but what never changes once it is committed is read
//! aside. Whoever wrote it has it synced and answered.
//!
//! Invariant: batches are committed in the order in which they were decided; after one that failed none is, until the writer
//! has taken all of them back.

use std::cell::{Cell, OnceCell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};

use rusqlite::Connection;
use rusqlite::types::ValueRef;
use tokio::sync::mpsc::WeakSender;

use super::super::Error;
use super::super::committer::{LaneState, Request};
use super::super::db::Value;
use super::super::syncer::{DISK_FAILED, Done, Syncer};

/// How many decided batches may wait while others are written: they become one transaction.
const WAITING: usize = 1;

/// How many bytes of values are written at once rather than by the other thread.
const SMALL: usize = 16_384;

/// What the thread that decides has.
pub struct Writing {
    /// A connection that only reads, and sees what is committed. It stands first, so that it is closed first: only one that writes
    /// can leave the file without a log.
    aside: Connection,
    /// The connection, while it is here.
    here: OnceCell<Connection>,
    /// What the batch writes, as long as it does not have to read.
    statements: RefCell<Statements>,
    /// Whether the transaction is open here.
    begun: Cell<bool>,
    /// Whether a batch is to be written here, because those over there failed, or because it is the last one.
    stays: Cell<bool>,
    ends: Cell<bool>,
    decided: SyncSender<Message>,
    back: Receiver<Back>,
    failed: Arc<AtomicBool>,
    taken_back: RefCell<Option<TakenBack>>,
    syncer: Arc<Syncer>,
    state: Arc<LaneState>,
}

/// A batch on its way.
struct Decided {
    statements: Statements,
    done: Done,
    /// Where its lane stands after it: unwritten entries, and the end of the journal.
    ends: (usize, i64),
}

enum Message {
    /// Write this, with the connection where it was on the other side.
    Write(Box<Decided>, Option<Connection>),
    /// Give the connection back.
    Back,
}

struct Back {
    connection: Connection,
    failed: Option<TakenBack>,
}

/// Why a batch was not committed, and everything that was asked in it and after it.
pub struct TakenBack(pub Error, pub Vec<Request>);

impl Writing {
    /// Starts the thread that writes.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        connection: Connection,
        aside: Connection,
        syncer: Arc<Syncer>,
        state: Arc<LaneState>,
        queue: WeakSender<Request>,
    ) -> std::io::Result<Writing> {
        let (decided, messages) = sync_channel(WAITING);
        let (give, back) = channel();
        let failed = Arc::new(AtomicBool::new(false));
        let mut scribe = Scribe {
            connection: None,
            failure: None,
            failed: failed.clone(),
            syncer: syncer.clone(),
            state: state.clone(),
            queue,
        };
        let work = move || {
            while let Ok(first) = messages.recv() {
                if scribe.serve(first, &messages)
                    && let Some(connection) = scribe.connection.take()
                {
                    scribe.failed.store(false, Ordering::Release);
                    let _ = give.send(Back { connection, failed: scribe.failure.take() });
                }
            }
        };
        std::thread::Builder::new().name("scribe".to_owned()).spawn(work)?;
        let here = OnceCell::from(connection);
        let (statements, taken_back) = (RefCell::default(), RefCell::default());
        let (begun, stays, ends) = (Cell::new(false), Cell::new(false), Cell::new(false));
        Ok(Writing {
            here,
            aside,
            statements,
            begun,
            stays,
            ends,
            decided,
            back,
            failed,
            taken_back,
            syncer,
            state,
        })
    }

    /// Begins a batch.
    pub fn begin(&self) -> Result<(), Error> {
        self.statements.borrow_mut().clear();
        if self.stays.get() || self.ends.get() { self.connection().map(drop) } else { Ok(()) }
    }

    /// The connection, in a transaction that has what the batch wrote so far.
    pub fn connection(&self) -> Result<&Connection, Error> {
        let connection = self.bring_here()?;
        if !self.begun.get() {
            connection.execute_batch("begin immediate")?;
            self.begun.set(true);
            let statements = self.statements.take();
            statements.run(connection)?;
        }
        Ok(connection)
    }

    /// A connection that sees what is committed, and waits for nothing that is being written.
    pub fn aside(&self) -> &Connection {
        &self.aside
    }

    fn bring_here(&self) -> Result<&Connection, Error> {
        if let Some(connection) = self.here.get() {
            return Ok(connection);
        }
        let gone = || Error::Broken("the thread that writes has ended".to_owned());
        self.decided.send(Message::Back).map_err(|_| gone())?;
        let Back { connection, failed } = self.back.recv().map_err(|_| gone())?;
        let connection = self.here.get_or_init(|| connection);
        match failed {
            None => Ok(connection),
            Some(failed) => {
                *self.taken_back.borrow_mut() = Some(failed);
                Err(Error::Again("what was decided before was not written".to_owned()))
            }
        }
    }

    /// Runs an insert for many rows, or a statement that nobody waits for.
    pub fn send<'v>(
        &self,
        sql: &str,
        rows: impl Iterator<Item = impl AsRef<[Value<'v>]>>,
    ) -> Result<(), Error> {
        if !self.begun.get() {
            self.statements.borrow_mut().add(sql, rows);
            return Ok(());
        }
        let mut statement = self.connection()?.prepare_cached(sql)?;
        for row in rows {
            statement.execute(rusqlite::params_from_iter(row.as_ref()))?;
        }
        Ok(())
    }

    /// Commits what is written here. Handing a few rows to another thread would take longer than to write them.
    pub fn commit(&self) -> Result<(), Error> {
        let is_small = self.statements.borrow().bytes.len() <= SMALL;
        if is_small {
            self.connection()?;
        }
        if self.begun.get() {
            self.bring_here()?.execute_batch("commit")?;
            self.begun.set(false);
        }
        Ok(())
    }

    /// Takes a batch back that was neither committed nor passed on.
    pub fn rollback(&self) {
        self.statements.borrow_mut().clear();
        self.begun.set(false);
        if let Some(connection) = self.here.get()
            && !connection.is_autocommit()
        {
            drop(connection.execute_batch("rollback"));
        }
    }

    /// Passes a batch on: to be written, or, where that is done, to be synced and answered. `false`: the disk failed.
    pub fn pass_on(&mut self, done: Done, ends: (usize, i64)) -> bool {
        let statements = self.statements.take();
        if statements.is_empty() && self.here.get().is_some() {
            self.state.set(ends);
            return self.syncer.answer(vec![done]);
        }
        let message = Message::Write(Box::new(Decided { statements, done, ends }), self.here.take());
        match self.decided.send(message) {
            Ok(()) => true,
            Err(error) => {
                if let Message::Write(decided, _) = error.0 {
                    decided.done.fail(DISK_FAILED);
                }
                false
            }
        }
    }

    /// Everything that was passed on and not committed, if a commit failed. Until this is asked again, it is written here.
    pub fn take_back(&self) -> Option<TakenBack> {
        if self.failed.load(Ordering::Acquire) {
            let _ = self.bring_here();
        }
        let taken = self.taken_back.take();
        self.stays.set(taken.is_some());
        taken
    }

    /// Waits until all that was passed on is written, or can be taken back; what comes now is written here.
    pub fn end(&self) {
        let _ = self.bring_here();
        self.ends.set(true);
    }
}

/// What the thread that writes has.
struct Scribe {
    connection: Option<Connection>,
    failure: Option<TakenBack>,
    failed: Arc<AtomicBool>,
    syncer: Arc<Syncer>,
    state: Arc<LaneState>,
    queue: WeakSender<Request>,
}

impl Scribe {
    /// Writes what has come, in one transaction. `true`: the connection is wanted back.
    fn serve(&mut self, first: Message, more: &Receiver<Message>) -> bool {
        let (mut batches, mut back) = (Vec::new(), false);
        for message in std::iter::once(first).chain(more.try_iter().take(WAITING)) {
            match message {
                Message::Write(decided, connection) => {
                    self.connection = connection.or(self.connection.take());
                    batches.push(*decided);
                }
                // The other side says nothing more until it has the connection.
                Message::Back => back = true,
            }
        }
        if self.failure.is_none() && !batches.is_empty() {
            match self.write(&batches) {
                Ok(()) => {
                    let _ = batches.last().map(|last| self.state.set(last.ends));
                    if !self.syncer.answer(batches.into_iter().map(|decided| decided.done).collect()) {
                        self.fail(Error::Broken(DISK_FAILED.to_owned()));
                    }
                    return back;
                }
                Err(error) => self.fail(error),
            }
        }
        if let Some(TakenBack(_, requests)) = &mut self.failure {
            requests.extend(batches.into_iter().flat_map(|decided| decided.done.requests));
        }
        back
    }

    fn write(&self, batches: &[Decided]) -> Result<(), Error> {
        let connection = self.connection.as_ref().ok_or_else(|| Error::Engine("no connection".to_owned()))?;
        let written = connection.execute_batch("begin immediate").map_err(Error::from).and_then(|()| {
            batches.iter().try_for_each(|decided| decided.statements.run(connection))?;
            Ok(connection.execute_batch("commit")?)
        });
        if written.is_err() && !connection.is_autocommit() {
            drop(connection.execute_batch("rollback"));
        }
        written
    }

    /// From now on nothing is written; the other side learns it with its next batch, which may be this empty one.
    fn fail(&mut self, error: Error) {
        self.failure = Some(TakenBack(error, Vec::new()));
        self.failed.store(true, Ordering::Release);
        let _ = self.queue.upgrade().map(|queue| queue.try_send(Request::catch_up()));
    }
}

/// Statements with their rows, for another thread to run.
#[derive(Default)]
struct Statements {
    /// Each with how many rows it is run for, and how many values a row has.
    texts: Vec<(String, usize, usize)>,
    /// The values: what kind, how long where that differs, and what.
    bytes: Vec<u8>,
}

impl Statements {
    fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    fn clear(&mut self) {
        self.texts.clear();
        self.bytes.clear();
    }

    fn add<'v>(&mut self, sql: &str, rows: impl Iterator<Item = impl AsRef<[Value<'v>]>>) {
        let (mut count, mut values) = (0, 0);
        for row in rows {
            let row = row.as_ref();
            row.iter().for_each(|value| self.put(value));
            (count, values) = (count + 1, row.len());
        }
        if count > 0 {
            self.texts.push((sql.to_owned(), count, values));
        }
    }

    fn put(&mut self, value: &Value<'_>) {
        let (kind, bytes): (u8, &[u8]) = match value {
            Value::Null => return self.bytes.push(0),
            Value::Int(int) => {
                self.bytes.push(1);
                return self.bytes.extend_from_slice(&int.to_ne_bytes());
            }
            Value::Text(text) => (2, text.as_bytes()),
            Value::Blob(blob) => (3, blob),
        };
        self.bytes.push(kind);
        self.bytes.extend_from_slice(&bytes.len().to_ne_bytes());
        self.bytes.extend_from_slice(bytes);
    }

    fn run(&self, connection: &Connection) -> Result<(), Error> {
        let mut rest = &self.bytes[..];
        for (sql, rows, values) in &self.texts {
            let mut statement = connection.prepare_cached(sql)?;
            for _ in 0..*rows {
                for index in 1..=*values {
                    let value = take(&mut rest);
                    let value = value.ok_or_else(|| Error::Engine("values are missing".to_owned()))?;
                    statement.raw_bind_parameter(index, rusqlite::types::ToSqlOutput::Borrowed(value))?;
                }
                statement.raw_execute()?;
            }
        }
        Ok(())
    }
}

fn take<'b>(rest: &mut &'b [u8]) -> Option<ValueRef<'b>> {
    let kind = rest.split_off_first()?;
    let mut word = || rest.split_off(..8)?.try_into().ok().map(i64::from_ne_bytes);
    match kind {
        0 => Some(ValueRef::Null),
        1 => word().map(ValueRef::Integer),
        _ => {
            let length = usize::try_from(word()?).ok()?;
            let bytes = rest.split_off(..length)?;
            Some(if *kind == 2 { ValueRef::Text(bytes) } else { ValueRef::Blob(bytes) })
        }
    }
}
