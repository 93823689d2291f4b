//! Everything durable. The only place that knows which database there is.
//!
//! Owns the readers and the queue to the one writer (`committer`). It does *not* decide anything about credits: `billing` does.
//!
//! Invariant: one process writes to a data directory, through one connection, in one transaction at a time.

pub mod accounts;
pub mod alerts;
pub mod batch;
pub mod canonical;
pub mod codec;
pub mod committer;
pub mod db;
pub mod entry;
pub mod jobs;
pub mod journal;
pub mod keys;
pub mod leads;
pub mod ledger;
pub mod messages;
pub mod notices;
pub mod outbox;
pub mod people;
pub mod queries;
pub mod sqlite;
pub mod summary;
pub mod topups;
pub mod work;
pub mod workspaces;

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use billing::Refusal;
use rusqlite::Connection;
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot};

use crate::clock::Clock;
use batch::Batch;
use committer::Request;
use db::Tx;
pub use sqlite::{backup, database_file, restore};

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
    unwritten: Arc<AtomicUsize>,
    clock: Clock,
    died: tokio::sync::watch::Receiver<bool>,
    _checkpointer: std::sync::mpsc::Sender<()>,
    _lock: File,
}

impl Store {
    /// Opens the database of a data directory, creating or migrating it, and starts the writer. `start` is the manual clock's
    /// start; it counts only for a new database. `None` means the system's clock.
    ///
    /// # Errors
    /// One line for the operator: the directory is in use, the schema is newer, or the file cannot be read.
    pub fn open(directory: &Path, start: Option<billing::Time>) -> Result<Store, String> {
        std::fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        let lock = sqlite::lock(directory)?;
        let path = database_file(directory);
        sqlite::renew_log(&path).map_err(|error| format!("{}: its log: {error}", path.display()))?;
        let describe = |error: rusqlite::Error| format!("{}: {error}", path.display());
        let mut writer = Connection::open(&path).map_err(describe)?;
        sqlite::migrate(&mut writer, &path)?;
        sqlite::prepare(&writer).map_err(describe)?;
        let clock =
            sqlite::stored_clock(&writer, start).map_err(|error| format!("{}: {error}", path.display()))?;
        // Whoever held a lease in this directory is gone: the lock says so.
        writer.execute("update work set lease_until = 0 where lease_until > 0", []).map_err(describe)?;
        let accounts = accounts::Accounts::recover(&Tx(&writer), clock.now())
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let unwritten = Arc::new(AtomicUsize::new(accounts.unwritten()));
        let readers =
            (0..READERS).map(|_| sqlite::reader(&path)).collect::<Result<Vec<_>, _>>().map_err(describe)?;
        let (queue, requests) = mpsc::channel(QUEUE);
        let (changes, _) = broadcast::channel(4_096);
        let (dead, died) = tokio::sync::watch::channel(false);
        let checkpointer = sqlite::keep_up(&path, queue.downgrade(), unwritten.clone())
            .map_err(|error| format!("cannot start the checkpointer: {error}"))?;
        let writer = committer::Writer {
            connection: writer,
            accounts: Some(accounts),
            clock: clock.clone(),
            changes: changes.clone(),
            unwritten: unwritten.clone(),
        };
        std::thread::Builder::new()
            .name("committer".to_owned())
            .spawn(move || writer.run(requests, &dead))
            .map_err(|error| format!("cannot start the writer: {error}"))?;
        let (readers, reading) = (Mutex::new(readers), Semaphore::new(READERS));
        Ok(Store {
            shared: Arc::new(Shared {
                queue,
                readers,
                reading,
                changes,
                unwritten,
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
            let answer = sqlite::snapshot(&connection, work);
            if let Ok(mut readers) = store.shared.readers.lock() {
                readers.push(connection);
            }
            answer
        });
        reading.await.map_err(|_| Error::Unavailable("a read failed".to_owned()))?
    }

    /// Reads the ledger of a workspace, or of all: what is only in the journal is written into its tables first.
    pub(self) async fn read_ledger<T: Send + 'static>(
        &self,
        whose: Option<i64>,
        work: impl FnOnce(&Tx<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        if self.shared.unwritten.load(Ordering::Acquire) == 0 {
            return self.read(work).await;
        }
        match self.write(move |batch| batch.catch_up(whose)).await {
            Ok(()) => self.read(work).await,
            // Reading goes on while the disk takes no writes.
            Err(Error::Unavailable(_)) => {
                let (reply, answer) = oneshot::channel();
                let look = committer::Look { whose, work: Some((work, reply)) };
                self.send(Request::Work(Box::new(look))).await?;
                answer.await.map_err(|_| stopping())?
            }
            Err(error) => Err(error),
        }
    }

    async fn send(&self, request: Request) -> Result<(), Error> {
        self.shared.queue.send(request).await.map_err(|_| stopping())
    }
}

fn stopping() -> Error {
    Error::Unavailable("the server is stopping".to_owned())
}
