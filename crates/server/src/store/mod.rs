//! Everything durable. The only place that knows which database there is.
//!
//! Owns the readers and the queue to each partition's writer (`committer`). It does *not* decide anything about credits:
//! `billing` does.
//!
//! Invariant: one transaction at a time writes to a partition. A data directory is one partition, and belongs to one process.

pub mod accounts;
pub mod alerts;
mod answers;
pub mod auto_buy;
pub mod batch;
pub mod budgets;
pub mod calls;
pub mod canonical;
pub mod changes;
pub mod codec;
pub mod committer;
pub mod db;
pub mod doubts;
pub mod due;
pub mod embed_tokens;
pub mod entry;
pub mod jobs;
pub mod journal;
pub mod keys;
pub mod leads;
pub mod ledger;
pub mod logbook;
pub mod messages;
pub mod notices;
pub mod open;
pub mod outbox;
pub mod page;
pub mod papers;
pub mod payments;
pub mod people;
pub mod postgres;
pub mod queries;
pub mod queues;
pub mod senders;
pub mod sqlite;
pub mod statements;
pub mod strategy;
pub mod subscriptions;
pub mod summary;
pub mod syncer;
pub mod task;
pub mod webhooks;
pub mod work;
pub mod workspaces;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use billing::Refusal;
use billing::budget::Over;
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::clock::Clock;
use batch::Batch;
use changes::Changes;
use committer::{LaneState, Request};
use db::{Connection, Tx};
pub use open::Place;
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
    /// A budget of the workspace refuses it.
    OverBudget(Box<Over>),
    /// The disk is full, the server is away, or the store is stopping: try again.
    Unavailable(String),
    /// Others wrote at the same time: nothing of this was committed, and trying at once makes sense.
    Again(String),
    /// The database did not do it. Nothing of the request was committed.
    Engine(String),
    /// What the disk says can no longer be believed.
    Broken(String),
}

impl Error {
    /// In a sentence for the operator.
    fn sentence(&self) -> String {
        match self {
            Error::Unavailable(why) | Error::Again(why) | Error::Engine(why) | Error::Broken(why) => {
                why.clone()
            }
            other => other.to_string(),
        }
    }

    /// Whether this is a lawful answer rather than a failure of the database.
    pub fn is_answer(&self) -> bool {
        !matches!(self, Error::Engine(_) | Error::Broken(_) | Error::Again(_) | Error::Unavailable(_))
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{self:?}")
    }
}

impl std::error::Error for Error {}

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
    // In this order, they are dropped before the writers know that it is over: a directory's writer is the last to close the file.
    _keeper: Arc<std::sync::mpsc::Sender<sqlite::Nudge>>,
    readers: Mutex<Vec<Connection>>,
    lanes: Vec<Lane>,
    reading: Semaphore,
    changes: Arc<Changes>,
    clock: Clock,
    died: tokio::sync::watch::Receiver<bool>,
    is_shared: bool,
}

/// A partition's writer, as others reach it.
struct Lane {
    queue: mpsc::Sender<Request>,
    state: Arc<LaneState>,
}

impl Store {
    /// The clock of this database.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// Tells whose account changed, once that is durable.
    pub fn changes(&self) -> &Arc<Changes> {
        &self.shared.changes
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
        self.send(post.workspace, Request::Post(Box::new(post), Some(reply))).await?;
        answer.await.map_err(|_| stopping())?
    }

    /// Posts many commands that may share a commit; each stands or falls alone.
    pub async fn post_all(&self, posts: Vec<committer::Post>) -> Vec<Result<committer::Answer, Error>> {
        let mut waiting = Vec::with_capacity(posts.len());
        for post in posts {
            let (reply, answer) = oneshot::channel();
            let sent = self.send(post.workspace, Request::Post(Box::new(post), Some(reply))).await;
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

    /// Runs one write of this module's own inside the next transaction of a workspace's partition. The closure decides before it acts: an answer that
    /// is an error has written nothing. It may run twice, so it takes what it needs by reference.
    pub(self) async fn write<T: Send + 'static>(
        &self,
        workspace: i64,
        work: impl Fn(&mut Batch<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let task = task::Task { work, reply: Some(reply), result: None };
        self.send(workspace, Request::Work(Box::new(task))).await?;
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
            let Some(mut connection) = connection else { return Err(stopping()) };
            let answer = connection.snapshot(work);
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
        let lanes: Vec<usize> = match whose {
            Some(workspace) => vec![self.lane_of(workspace)],
            None => (0..self.shared.lanes.len()).collect(),
        };
        for lane in lanes {
            if !self.is_written(lane).await? {
                let task = |reply| task::Task {
                    work: move |batch: &mut Batch<'_>| batch.catch_up(whose),
                    reply: Some(reply),
                    result: None,
                };
                match self.ask(lane, task).await {
                    Ok(()) => {}
                    // Reading goes on while the disk takes no writes.
                    Err(Error::Unavailable(_)) if !self.is_shared() => return self.look(whose, work).await,
                    Err(error) => return Err(error),
                }
            }
        }
        self.read(work).await
    }

    /// Whether a lane's tables have everything, also what other nodes committed.
    async fn is_written(&self, lane: usize) -> Result<bool, Error> {
        let state = self.shared.lanes[lane].state.clone();
        // In this order: entries of a row that the writer comes to know in between would pass for written.
        let known = state.journal.load(Ordering::Acquire);
        if state.unwritten.load(Ordering::Acquire) > 0 {
            return Ok(false);
        }
        if !self.is_shared() {
            return Ok(true);
        }
        let end = self.read(move |tx| journal::end(tx, lane as i64)).await?;
        Ok(end == known)
    }

    async fn look<T: Send + 'static>(
        &self,
        whose: Option<i64>,
        work: impl FnOnce(&Tx<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let look = task::Look { whose, work: Some((work, reply)) };
        self.send(whose.unwrap_or(0), Request::Work(Box::new(look))).await?;
        answer.await.map_err(|_| stopping())?
    }

    /// Whether other nodes may write to this database too.
    pub fn is_shared(&self) -> bool {
        self.shared.is_shared
    }

    fn lane_of(&self, workspace: i64) -> usize {
        postgres::partition::partition(workspace, self.shared.lanes.len() as i64) as usize
    }

    async fn send(&self, workspace: i64, request: Request) -> Result<(), Error> {
        self.shared.lanes[self.lane_of(workspace)].queue.send(request).await.map_err(|_| stopping())
    }

    async fn ask<T, W: committer::Work + 'static>(
        &self,
        lane: usize,
        work: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> W,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Work(Box::new(work(reply)));
        self.shared.lanes[lane].queue.send(request).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }
}

fn stopping() -> Error {
    Error::Unavailable(committer::STOPPING.to_owned())
}
