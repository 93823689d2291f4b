//! Where speed and durability meet: one thread takes what has gathered, decides it in memory, writes all of it in one
//! transaction, and answers everybody after the commit.
//!
//! Owns the queue, the order of commits and what happens when one fails. It does *not* know what a hold is: `batch` asks
//! `billing` and records the entries.
//!
//! Invariant: nobody is answered before the commit that holds their effect; after a failed commit no cached account is used.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use billing::{Command, Hold};
use rusqlite::Connection;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::Error;
use super::accounts::Accounts;
use super::batch::Batch;
use super::db::Tx;
use super::entry::Recorded;
use crate::clock::Clock;

/// How many requests one transaction takes at most.
const BATCH: usize = 8_192;

/// A ledger command on its way to the writer.
#[derive(Clone, Debug)]
pub struct Post {
    /// The workspace.
    pub workspace: i64,
    /// What is asked.
    pub command: Command,
    /// The caller's name for it, where it moves credits.
    pub key: Option<Key>,
    /// The key that the command's hold was made with, when the caller names the hold that way.
    pub hold_key: Option<Arc<str>>,
    /// Who asks: an opaque id or the name of a loop.
    pub actor: Arc<str>,
    /// Why, in a person's words.
    pub reason: Option<Arc<str>>,
    /// Whether this is work of a campaign, search or job: a refusal for lack of credits then makes the workspace wait or
    /// go out. Only such a post ends a hold that work has.
    pub background: bool,
}

impl Post {
    /// A command without key and reason.
    pub fn new(workspace: i64, command: Command, actor: &str) -> Post {
        Post {
            workspace,
            command,
            key: None,
            actor: actor.into(),
            hold_key: None,
            reason: None,
            background: false,
        }
    }
}

/// An idempotency key with the kind of command it belongs to and a digest of that command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Key {
    /// Which kind of command.
    pub kind: KeyKind,
    /// The caller's key.
    pub key: Arc<str>,
    /// First half of the SHA-256 of the parsed command.
    pub fingerprint: [u8; 16],
}

/// The kinds of commands that have keys of their own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(missing_docs)]
pub enum KeyKind {
    Hold = 1,
    Charge = 2,
    Grant = 3,
    Adjust = 4,
    Refund = 5,
    TopUp = 6,
    TopUpRefund = 7,
    Period = 8,
    /// A form of the dashboard that makes something without moving credits.
    Form = 9,
}

impl KeyKind {
    /// The kind behind a stored number.
    pub fn of(code: u8) -> Option<KeyKind> {
        use KeyKind::{Adjust, Charge, Form, Grant, Hold, Period, Refund, TopUp, TopUpRefund};
        let all = [Hold, Charge, Grant, Adjust, Refund, TopUp, TopUpRefund, Period, Form];
        all.into_iter().find(|kind| *kind as u8 == code)
    }
}

/// What became of a post.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The entry that answers it; `None` when it was so already.
    pub entry: Option<Arc<Recorded>>,
    /// The hold it is about, as it stands now.
    pub hold: Option<Hold>,
    /// Whether the answer is from an earlier post with the same key.
    pub replayed: bool,
    /// What can be spent now.
    pub available: i64,
    /// Credits held now.
    pub held: i64,
}

/// One thing for the writer to do.
pub enum Request {
    /// A ledger command.
    Post(Box<Post>, Option<oneshot::Sender<Result<Answer, Error>>>),
    /// A write of the store's own modules.
    Work(Box<dyn Work>),
}

impl Request {
    /// Writes everything that is only in the journal into its tables; nobody waits for it.
    pub fn catch_up() -> Request {
        Request::Work(Box::new(Task {
            work: |batch: &mut Batch<'_>| batch.catch_up(None),
            reply: None,
            result: None,
        }))
    }
}

/// A write of the store's own modules: run inside the transaction, told how it ended.
pub trait Work: Send {
    /// Does it. Only a failure of the database is an error.
    fn run(&mut self, batch: &mut Batch<'_>) -> Result<(), Error>;
    /// Answers the caller, after the commit or its failure.
    fn finish(&mut self, committed: Result<(), Error>);
}

/// A closure and its caller.
pub struct Task<T, F> {
    pub(super) work: F,
    pub(super) reply: Option<oneshot::Sender<Result<T, Error>>>,
    pub(super) result: Option<Result<T, Error>>,
}

impl<T: Send, F: Fn(&mut Batch<'_>) -> Result<T, Error> + Send> Work for Task<T, F> {
    fn run(&mut self, batch: &mut Batch<'_>) -> Result<(), Error> {
        match (self.work)(batch) {
            Err(error) if !error.is_answer() => Err(error),
            result => {
                self.result = Some(result);
                Ok(())
            }
        }
    }

    fn finish(&mut self, committed: Result<(), Error>) {
        let result = match committed {
            Ok(()) => self.result.take().unwrap_or_else(|| Err(super::stopping())),
            Err(error) => Err(error),
        };
        if let Some(reply) = self.reply.take() {
            let _ = reply.send(result);
        }
    }
}

/// What a read answers, and whom.
type Reading<T, F> = (F, oneshot::Sender<Result<T, Error>>);

/// A read of what is only in the journal, while the disk takes no writes: the rows are written, looked at and taken back.
pub struct Look<T, F> {
    pub(super) whose: Option<i64>,
    pub(super) work: Option<Reading<T, F>>,
}

impl<T: Send, F: FnOnce(&Tx<'_>) -> Result<T, Error> + Send> Work for Look<T, F> {
    fn run(&mut self, batch: &mut Batch<'_>) -> Result<(), Error> {
        if batch.is_empty()
            && let Some((work, reply)) = self.work.take()
        {
            batch.catch_up(self.whose)?;
            let _ = reply.send(work(&batch.tx));
        }
        // It must see nothing of others that may not be committed, and leave nothing: it ends every batch it is in.
        Err(Error::Unavailable("the disk took no write; what was asked was only looked at".to_owned()))
    }

    fn finish(&mut self, _: Result<(), Error>) {}
}

/// The one writer: its connection, its accounts, and whom it tells.
pub struct Writer {
    /// The connection.
    pub connection: Connection,
    /// `None` after a failed commit: they know of what was not committed, and are made again before the next.
    pub accounts: Option<Accounts>,
    /// The clock.
    pub clock: Clock,
    /// Workspaces whose account changed.
    pub changes: broadcast::Sender<i64>,
    /// How many entries are not in their tables: readers of them ask for them to be written first.
    pub unwritten: Arc<AtomicUsize>,
}

impl Writer {
    /// Serves the queue until every sender is gone or the disk fails.
    pub fn run(mut self, mut requests: mpsc::Receiver<Request>, dead: &tokio::sync::watch::Sender<bool>) {
        let mut batch = Vec::with_capacity(BATCH);
        while requests.blocking_recv_many(&mut batch, BATCH) > 0 {
            if !self.commit_all(std::mem::take(&mut batch)) {
                break;
            }
        }
        // What stays behind is in the journal: writing it now only makes the next start quicker.
        let _ = self.commit(&mut [Request::catch_up()]);
        let _ = dead.send(true);
    }

    /// Commits a batch and answers everybody. When it fails as a whole, each request is tried on its own, so that one that
    /// breaks takes nobody with it. `false`: the disk cannot be trusted any more.
    fn commit_all(&mut self, mut requests: Vec<Request>) -> bool {
        let alone = requests.len() == 1;
        match self.commit(&mut requests) {
            Ok((answers, changed)) => {
                for workspace in changed {
                    let _ = self.changes.send(workspace);
                }
                answer(requests, answers);
                true
            }
            Err(error) => {
                self.accounts = None;
                let broken = is_broken(&error);
                if alone || broken {
                    tracing::error!(%error, "a commit failed");
                    let why = match &error {
                        Error::Unavailable(why) => why,
                        _ => "the database did not take the write",
                    };
                    for request in requests {
                        fail(request, why);
                    }
                    return !broken;
                }
                requests.into_iter().all(|request| self.commit_all(vec![request]))
            }
        }
    }

    fn commit(&mut self, requests: &mut [Request]) -> Result<(Answers, HashSet<i64>), Error> {
        let now = self.clock.now();
        let transaction =
            self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let accounts = match &mut self.accounts {
            Some(accounts) => accounts,
            none => none.insert(Accounts::recover(&Tx(&transaction), now)?),
        };
        let mut batch = Batch::new(Tx(&transaction), accounts, now);
        let mut answers = Vec::with_capacity(requests.len());
        // A broken invariant stops here: the panic is caught, nothing of the batch is committed, and the accounts are dropped.
        let all = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for request in requests.iter_mut() {
                answers.push(batch.serve(request)?);
            }
            batch.end()
        }));
        let broken = |_| Err(Error::Unavailable("an invariant of the ledger was broken".to_owned()));
        let changed = all.unwrap_or_else(broken)?;
        transaction.commit()?;
        self.unwritten.store(accounts.unwritten(), Ordering::Release);
        Ok((answers, changed))
    }
}

/// Whether what the disk says can no longer be believed.
pub(super) fn is_broken(error: &Error) -> bool {
    use rusqlite::ErrorCode::{CannotOpen, DatabaseCorrupt, NotADatabase, ReadOnly, SystemIoFailure};
    let Error::Engine(error) = error else { return false };
    matches!(
        error.sqlite_error_code(),
        Some(SystemIoFailure | DatabaseCorrupt | NotADatabase | ReadOnly | CannotOpen)
    )
}

type Answers = Vec<Option<Result<Answer, Error>>>;

fn answer(requests: Vec<Request>, answers: Answers) {
    for (request, answer) in requests.into_iter().zip(answers) {
        match (request, answer) {
            (Request::Post(_, Some(reply)), Some(answer)) => {
                let _ = reply.send(answer);
            }
            (Request::Work(mut work), _) => work.finish(Ok(())),
            _ => {}
        }
    }
}

fn fail(request: Request, why: &str) {
    match request {
        Request::Post(_, Some(reply)) => {
            let _ = reply.send(Err(Error::Unavailable(why.to_owned())));
        }
        Request::Post(_, None) => {}
        Request::Work(mut work) => work.finish(Err(Error::Unavailable(why.to_owned()))),
    }
}
