//! Everything durable. The only place that knows which database there is.
//!
//! Owns opening, migrating and locking the database, the readers, and the queue to the one writer (`committer`). It does
//! *not* decide anything about credits: `billing` does.
//!
//! Invariant: one process writes to a data directory, through one connection, in one transaction at a time.

pub mod alerts;
pub mod batch;
pub mod codec;
pub mod committer;
pub mod db;
pub mod entry;
pub mod jobs;
pub mod leads;
pub mod ledger;
pub mod messages;
pub mod notices;
pub mod outbox;
pub mod people;
pub mod queries;
pub mod summary;
pub mod topups;
pub mod work;
pub mod workspaces;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use billing::Refusal;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot};

use crate::clock::Clock;
use batch::Batch;
use committer::Request;
use db::Tx;

/// Why the store did not do something.
#[derive(Debug)]
pub enum Error {
    /// The rules said no.
    Refused(Refusal),
    /// There is no such thing in this workspace.
    NotFound,
    /// It clashes with what is there; the code and a sentence say how.
    Conflict(&'static str, &'static str),
    /// A field is not acceptable; the sentence says what it must be.
    Invalid(&'static str, String),
    /// A campaign has used what it may use.
    OverCap {
        /// Its workspace.
        workspace: i64,
        /// The campaign's number.
        campaign: i64,
        /// Its credit cap.
        limit: i64,
        /// Credits used and held so far.
        used: i64,
        /// Credits needed now.
        needed: i64,
    },
    /// The disk is full or the store is stopping: nothing was written, try again.
    Unavailable(String),
    /// The database broke. Nothing of the request was committed.
    Engine(rusqlite::Error),
}

impl Error {
    /// Whether this is a lawful answer rather than a failure of the database.
    fn is_answer(&self) -> bool {
        !matches!(self, Error::Engine(_) | Error::Unavailable(_))
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{self:?}")
    }
}

impl std::error::Error for Error {}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Error {
        // The log's index cannot grow on a full disk: SQLite calls that an I/O error of its own kind.
        let full = error.sqlite_error().is_some_and(|error| {
            error.code == rusqlite::ErrorCode::DiskFull
                || error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE
        });
        if full { Error::Unavailable("the disk is full".to_owned()) } else { Error::Engine(error) }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        Error::Refused(refusal)
    }
}

/// How many read connections are kept.
const READERS: usize = 4;
/// How many requests may wait for the writer before callers wait for a place.
const QUEUE: usize = 16_384;
/// How often the log is moved into the database.
const CHECKPOINT_PAUSE: std::time::Duration = std::time::Duration::from_millis(200);
/// The schema this program writes.
const SCHEMA_VERSION: i64 = 1;

/// The database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    queue: mpsc::Sender<Request>,
    readers: Mutex<Vec<Connection>>,
    reading: Semaphore,
    changes: broadcast::Sender<i64>,
    clock: Clock,
    died: tokio::sync::watch::Receiver<bool>,
    _checkpointer: std::sync::mpsc::Sender<()>,
    _lock: File,
}

/// The file that holds the database inside a data directory.
pub fn database_file(directory: &Path) -> PathBuf {
    directory.join("scrip.db")
}

impl Store {
    /// Opens the database of a data directory, creating or migrating it, and starts the writer. `start` is the manual clock's
    /// start; it counts only for a new database. `None` means the system's clock.
    ///
    /// # Errors
    /// One line for the operator: the directory is in use, the schema is newer, or the file cannot be read.
    pub fn open(directory: &Path, start: Option<billing::Time>) -> Result<Store, String> {
        std::fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        let lock = lock(directory)?;
        let path = database_file(directory);
        let describe = |error: rusqlite::Error| format!("{}: {error}", path.display());
        let mut writer = Connection::open(&path).map_err(describe)?;
        migrate(&mut writer, &path)?;
        prepare(&writer).map_err(describe)?;
        let clock = stored_clock(&writer, start).map_err(|error| format!("{}: {error}", path.display()))?;
        // Whoever held a lease in this directory is gone: the lock says so.
        writer.execute("update work set lease_until = 0 where lease_until > 0", []).map_err(describe)?;
        let readers = (0..READERS).map(|_| reader(&path)).collect::<Result<Vec<_>, _>>().map_err(describe)?;
        let (queue, requests) = mpsc::channel(QUEUE);
        let (changes, _) = broadcast::channel(4_096);
        let (dead, died) = tokio::sync::watch::channel(false);
        let (loop_clock, loop_changes) = (clock.clone(), changes.clone());
        let checkpointer =
            checkpoint_beside(&path).map_err(|error| format!("cannot start the checkpointer: {error}"))?;
        std::thread::Builder::new()
            .name("committer".to_owned())
            .spawn(move || committer::run(writer, requests, &loop_clock, &loop_changes, &dead))
            .map_err(|error| format!("cannot start the writer: {error}"))?;
        let (readers, reading) = (Mutex::new(readers), Semaphore::new(READERS));
        Ok(Store {
            shared: Arc::new(Shared {
                queue,
                readers,
                reading,
                changes,
                clock,
                died,
                _checkpointer: checkpointer,
                _lock: lock,
            }),
        })
    }

    /// The clock of this database.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// The workspaces whose account changed, as their commits happen. A slow listener misses some.
    pub fn changes(&self) -> broadcast::Receiver<i64> {
        self.shared.changes.subscribe()
    }

    /// Ends once the writer has stopped, which it does when the disk fails.
    pub async fn died(&self) {
        let mut died = self.shared.died.clone();
        let _ = died.wait_for(|dead| *dead).await;
    }

    /// Posts one command; the answer comes after the commit.
    ///
    /// # Errors
    /// A refusal, or that the store could not commit.
    pub async fn post(&self, post: committer::Post) -> Result<committer::Answer, Error> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Post(Box::new(post), Some(reply))).await?;
        answer.await.map_err(|_| stopping())?
    }

    /// Posts many commands that may share a commit; each stands or falls alone.
    pub async fn post_all(&self, posts: Vec<committer::Post>) -> Vec<Result<committer::Answer, Error>> {
        let mut waiting = Vec::with_capacity(posts.len());
        for post in posts {
            let (reply, answer) = oneshot::channel();
            let sent = self.send(Request::Post(Box::new(post), Some(reply))).await;
            waiting.push(sent.map(|()| answer));
        }
        let mut answers = Vec::with_capacity(waiting.len());
        for answer in waiting {
            answers.push(match answer {
                Ok(answer) => answer.await.unwrap_or_else(|_| Err(stopping())),
                Err(error) => Err(error),
            });
        }
        answers
    }

    /// Runs one write of this module's own inside the next transaction. The closure decides before it acts: an answer that
    /// is an error has written nothing. It may run twice, so it takes what it needs by reference.
    pub(self) async fn write<T: Send + 'static>(
        &self,
        work: impl Fn(&mut Batch<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Work(Box::new(committer::Task { work, reply: Some(reply), result: None })))
            .await?;
        answer.await.map_err(|_| stopping())?
    }

    /// Reads from a snapshot, off the writer's path.
    pub(self) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let store = self.clone();
        let _permit = self.shared.reading.acquire().await.map_err(|_| stopping())?;
        let reading = tokio::task::spawn_blocking(move || {
            let connection = store.shared.readers.lock().ok().and_then(|mut readers| readers.pop());
            let Some(connection) = connection else { return Err(stopping()) };
            let answer = snapshot(&connection, work);
            if let Ok(mut readers) = store.shared.readers.lock() {
                readers.push(connection);
            }
            answer
        });
        reading.await.map_err(|_| Error::Unavailable("a read failed".to_owned()))?
    }

    async fn send(&self, request: Request) -> Result<(), Error> {
        self.shared.queue.send(request).await.map_err(|_| stopping())
    }
}

fn snapshot<T>(connection: &Connection, work: impl FnOnce(&Tx<'_>) -> Result<T, Error>) -> Result<T, Error> {
    connection.execute_batch("begin")?;
    let answer = work(&Tx(connection));
    connection.execute_batch("rollback")?;
    answer
}

fn stopping() -> Error {
    Error::Unavailable("the server is stopping".to_owned())
}

fn lock(directory: &Path) -> Result<File, String> {
    let path = directory.join("scrip.lock");
    let open = File::options().create(true).truncate(false).write(true).open(&path);
    let file = open.map_err(|error| format!("{}: {error}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => Err(format!("{}: another server is using this data directory", directory.display())),
    }
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), String> {
    let describe = |error: rusqlite::Error| format!("{}: {error}", path.display());
    let version: i64 = connection.query_row("pragma user_version", [], |row| row.get(0)).map_err(describe)?;
    if version > SCHEMA_VERSION {
        return Err(format!(
            "{}: the database has version {version}, this program knows {SCHEMA_VERSION}; it was left untouched",
            path.display()
        ));
    }
    if version < 1 {
        let tx = connection.transaction().map_err(describe)?;
        tx.execute_batch(include_str!("schema/0001_init.sql")).map_err(describe)?;
        tx.pragma_update(None, "user_version", 1).map_err(describe)?;
        tx.commit().map_err(describe)?;
    }
    Ok(())
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "pragma journal_mode = wal; pragma synchronous = full; pragma foreign_keys = on; pragma busy_timeout = 5000;
         pragma cache_size = -65536; pragma wal_autocheckpoint = 16000;",
    )?;
    connection.set_prepared_statement_cache_capacity(256);
    Ok(())
}

/// Moves the log's pages into the database off the writer's path. The writer's own checkpoint, at 64 MB, is only the backstop.
/// Ends when the sender is dropped.
fn checkpoint_beside(path: &Path) -> std::io::Result<std::sync::mpsc::Sender<()>> {
    use std::sync::mpsc::{RecvTimeoutError, channel};
    let (alive, ended) = channel::<()>();
    let path = path.to_owned();
    let checkpoint = move || {
        let Ok(connection) = Connection::open(&path) else { return };
        let _ = connection.execute_batch("pragma busy_timeout = 0; pragma wal_autocheckpoint = 0;");
        while ended.recv_timeout(CHECKPOINT_PAUSE) == Err(RecvTimeoutError::Timeout) {
            let _ = connection.query_row("pragma wal_checkpoint(passive)", [], |_| Ok(()));
        }
    };
    std::thread::Builder::new().name("checkpointer".to_owned()).spawn(checkpoint)?;
    Ok(alive)
}

fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.execute_batch("pragma busy_timeout = 5000; pragma cache_size = -16384;")?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(connection)
}

fn stored_clock(connection: &Connection, start: Option<billing::Time>) -> Result<Clock, Error> {
    let Some(start) = start else { return Ok(Clock::System) };
    let tx = Tx(connection);
    let stored = tx.one("select value from meta where name = 'clock'", &[], |row| row.text(0))?;
    let now = stored.and_then(|text| text.parse().ok()).map_or(start, billing::Time);
    tx.execute(
        "insert into meta (name, value) values ('clock', ?1) on conflict (name) do nothing",
        crate::values![&now.0.to_string()],
    )?;
    Ok(Clock::manual(now))
}

/// Copies a database into a new file while it is in use.
///
/// # Errors
/// One line for the operator; the file must not exist.
pub fn backup(directory: &Path, file: &Path) -> Result<(), String> {
    if file.exists() {
        return Err(format!("{}: exists already", file.display()));
    }
    let describe = |error: rusqlite::Error| format!("{}: {error}", directory.display());
    let source = Connection::open_with_flags(database_file(directory), OpenFlags::SQLITE_OPEN_READ_ONLY)
        .map_err(describe)?;
    copy(&source, file).map_err(describe)
}

/// Puts a backup into a data directory that has no database.
///
/// # Errors
/// One line for the operator.
pub fn restore(file: &Path, directory: &Path) -> Result<(), String> {
    let target = database_file(directory);
    if target.exists() {
        return Err(format!("{}: exists already; restore into an empty directory", target.display()));
    }
    std::fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let _lock = lock(directory)?;
    let describe = |error: rusqlite::Error| format!("{}: {error}", file.display());
    let source = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(describe)?;
    copy(&source, &target).map_err(describe)
}

fn copy(source: &Connection, target: &Path) -> rusqlite::Result<()> {
    let mut target = Connection::open(target)?;
    rusqlite::backup::Backup::new(source, &mut target)?.run_to_completion(
        1_000,
        std::time::Duration::ZERO,
        None,
    )
}
