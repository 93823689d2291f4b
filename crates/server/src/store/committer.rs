//! Where speed and durability meet: one thread takes what has gathered, decides it in memory, writes all of it in one
//! transaction, and answers everybody after the commit.
//!
//! Owns the queue, the order of commits and what happens when one fails. It does *not* know what a hold is: `batch` asks
//! `billing` and records the entries.
//!
//! Invariant: nobody is answered before the commit that holds their effect; after a failed commit no cached account is used.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use billing::{Command, Hold};
use tokio::sync::{mpsc, oneshot};

use super::Error;
use super::accounts::{Accounts, Workspaces};
use super::batch::Batch;
use super::changes::Changes;
use super::db::Connection;
use super::entry::Recorded;
use super::journal;
use super::postgres::Committed;
use super::sqlite::writing::TakenBack;
use super::syncer::{Answers, DISK_FAILED, Done, fail};
use super::task::Task;
use crate::clock::Clock;

/// How many requests one transaction takes at most.
const BATCH: usize = 1_024;
/// Why nothing is written any more when nothing went wrong.
pub const STOPPING: &str = "the server is stopping";
/// How few requests are not split into two transactions.
const FEW: usize = 16;
/// As the last known row: nothing of the journal is wanted.
const NO_NEWS: i64 = i64::MAX;
/// How often a batch that met another node's work is tried again.
const TRIES: u32 = 3;
/// How many milliseconds to wait before each look for a commit that nobody confirmed: callers wait as long.
const LOOK_UPS: &[u64] = &[0, 200, 1_000, 2_000, 4_000, 4_000];

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
    Subscription = 10,
}

impl KeyKind {
    /// The kind behind a stored number.
    pub fn of(code: u8) -> Option<KeyKind> {
        use KeyKind::{Adjust, Charge, Form, Grant, Hold, Period, Refund, Subscription, TopUp, TopUpRefund};
        let all = [Hold, Charge, Grant, Adjust, Refund, TopUp, TopUpRefund, Period, Form, Subscription];
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

/// The one writer of a partition in this process: its connection, its accounts, and whom it tells.
pub struct Writer {
    /// What it is asked to do.
    pub requests: mpsc::Receiver<Request>,
    /// Whether the batch that is decided next may still grow.
    pub grows: bool,
    /// The connection.
    pub connection: Connection,
    /// The partition.
    pub partition: i64,
    /// `None` after a failed commit: they know of what was not committed, and are made again before the next.
    pub accounts: Option<Accounts>,
    /// Who else has the file open, and closes it first: whoever is last leaves it without a log.
    pub keeper: Option<JoinHandle<()>>,
    /// What keeps others out of the directory until the connection is closed.
    pub lock: Option<File>,
    /// The clock.
    pub clock: Clock,
    /// Workspaces whose account changed.
    pub changes: Arc<Changes>,
    /// The same for other nodes, where there may be some.
    pub tell: Option<mpsc::UnboundedSender<Workspaces>>,
    /// How many entries are not in their tables, and where the journal ends: readers ask for what they miss.
    pub state: Arc<LaneState>,
}

/// What readers need to know of a writer.
#[derive(Default)]
pub struct LaneState {
    /// How many entries are not in their tables.
    pub unwritten: AtomicUsize,
    /// The last row of the journal that the writer knows.
    pub journal: AtomicI64,
}

/// What was decided, whose account changed, and where the lane stands then.
type Outcome = (Answers, Workspaces, (usize, i64));

impl LaneState {
    /// Where the lane stands: unwritten entries, and the last row of the journal.
    pub fn set(&self, (unwritten, journal): (usize, i64)) {
        self.unwritten.store(unwritten, Ordering::Release);
        self.journal.store(journal, Ordering::Release);
    }
}

impl Writer {
    /// Makes the accounts as they were when the last batch was committed.
    pub fn recover(&mut self) -> Result<(), Error> {
        let now = self.clock.now();
        let (tx, _) = self.connection.begin(self.partition, NO_NEWS, &self.clock)?;
        let accounts = Accounts::recover(&tx, self.partition, now);
        self.connection.rollback();
        self.state.set(self.accounts.insert(accounts?).ends());
        Ok(())
    }

    /// Serves the queue until every sender is gone or the disk fails.
    pub fn run(mut self, dead: &tokio::sync::watch::Sender<bool>) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut works = true;
        let mut before = 0;
        // Half of those who are around: while their commit is on its way to the disk, the others are listened to.
        let most = |before: usize, waiting: usize| before.midpoint(waiting).clamp(FEW, BATCH);
        while works {
            let most = most(before, self.requests.len());
            if self.requests.blocking_recv_many(&mut batch, most) == 0 {
                break;
            }
            (before, self.grows) = (batch.len(), true);
            works = self.redo() && self.commit_all(std::mem::take(&mut batch), TRIES);
        }
        let _ = self.connection.writing().map(|writing| writing.end());
        if works && self.redo() {
            // What stays behind is in the journal: writing it now only makes the next start quicker.
            let _ = self.commit(&mut vec![Request::catch_up()]);
            let _ = self.keeper.take().map(JoinHandle::join);
        }
        let _ = dead.send(true);
        // Whoever was just handing in a request would wait for ever: it would lie in a queue that nobody empties.
        self.requests.close();
        while let Some(request) = self.requests.blocking_recv() {
            fail(request, if works { STOPPING } else { DISK_FAILED });
        }
    }

    /// Does again what was decided and could not be written afterwards. `false`: the disk cannot be trusted any more.
    fn redo(&mut self) -> bool {
        let Some(writing) = self.connection.writing() else { return true };
        let Some(TakenBack(error, requests)) = writing.take_back() else { return true };
        self.accounts = None;
        self.failed(requests, &error, TRIES)
    }

    /// Commits a batch and answers everybody, or has that done. When it fails as a whole, it is tried again if it only met
    /// others; else each request is tried on its own, so that one that breaks takes nobody with it. `false`: the disk cannot be
    /// trusted any more.
    fn commit_all(&mut self, mut requests: Vec<Request>, tries: u32) -> bool {
        match self.commit(&mut requests) {
            Ok((answers, changed, ends)) => {
                let done = Done { requests, answers, changed };
                if let Some(writing) = self.connection.writing() {
                    return writing.pass_on(done, ends);
                }
                self.state.set(ends);
                done.tell(&self.changes, self.tell.as_ref());
                true
            }
            Err(Error::Again(_)) if tries > 0 => self.commit_all(requests, tries - 1),
            Err(error) if requests.len() == 1 => self.refuse(requests, &error),
            Err(error) => self.failed(requests, &error, tries),
        }
    }

    /// What becomes of requests that could not be committed together.
    fn failed(&mut self, requests: Vec<Request>, error: &Error, tries: u32) -> bool {
        // While the server is away, trying each request alone would only make everybody wait.
        let gone = self.tell.is_some() && matches!(error, Error::Unavailable(_));
        if gone || matches!(error, Error::Broken(_)) {
            return self.refuse(requests, error);
        }
        requests.into_iter().all(|request| self.commit_all(vec![request], tries))
    }

    fn refuse(&self, requests: Vec<Request>, error: &Error) -> bool {
        tracing::error!(%error, "a commit failed");
        let why = match error {
            Error::Unavailable(why) => why,
            Error::Broken(_) => DISK_FAILED,
            _ => "the database did not take the write",
        };
        requests.into_iter().for_each(|request| fail(request, why));
        !matches!(error, Error::Broken(_))
    }

    fn commit(&mut self, requests: &mut Vec<Request>) -> Result<Outcome, Error> {
        let decided = self.decide(requests);
        let committed = match &decided {
            Ok(_) => self.connection.commit(),
            Err(_) => Ok(Committed::Yes),
        };
        let ((answers, changed), accounts) = match (decided, committed) {
            (Ok(decided), Ok(Committed::Yes)) => decided,
            (Ok((decided, accounts)), Ok(Committed::Unknown)) => {
                self.look_up(&accounts)?;
                (decided, accounts)
            }
            (Ok(_), Err(error)) | (Err(error), _) => {
                self.connection.rollback();
                return Err(error);
            }
        };
        Ok((answers, changed, self.accounts.insert(accounts).ends()))
    }

    /// Does everything but the commit. The accounts come back with what was decided, and are lost with an error.
    fn decide(&mut self, requests: &mut Vec<Request>) -> Result<((Answers, Workspaces), Accounts), Error> {
        let last = self.accounts.as_ref().map_or(NO_NEWS, |accounts| accounts.end().0);
        let (tx, news) = self.connection.begin(self.partition, last, &self.clock)?;
        // Another node had the lane: whoever came while it was waited for need not wait for the next turn. But for a manual clock,
        // which stands where it was read before they came.
        if std::mem::take(&mut self.grows) && news.len() > 1 && !self.clock.is_manual() {
            while requests.len() < BATCH
                && let Ok(request) = self.requests.try_recv()
            {
                requests.push(request);
            }
        }
        let now = self.clock.now();
        let mut accounts = None;
        if let Some(mut known) = self.accounts.take()
            && (!tx.is_shared() || known.follow(&tx, news, now)?)
        {
            accounts = Some(known);
        }
        let mut accounts = match accounts {
            Some(accounts) => accounts,
            None => Accounts::recover(&tx, self.partition, now)?,
        };
        let mut batch = Batch::new(tx, &mut accounts, now);
        let mut answers = Vec::with_capacity(requests.len());
        // A broken invariant stops here: the panic is caught, nothing of the batch is committed, and the accounts are dropped.
        let all = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            batch.prepare(requests)?;
            for request in requests.iter_mut() {
                answers.push(batch.serve(request)?);
            }
            batch.end()
        }));
        let broken = |_| Err(Error::Engine("an invariant of the ledger was broken".to_owned()));
        let changed = all.unwrap_or_else(broken)?;
        Ok(((answers, changed), accounts))
    }

    /// Finds out what became of a commit that nobody confirmed: the lane is taken once more, and the journal has its row or
    /// not. The lane's own commit says that what was seen is durable. While the server is away, it is asked again.
    fn look_up(&mut self, accounts: &Accounts) -> Result<(), Error> {
        let (row, name) = accounts.end();
        for pause in LOOK_UPS {
            std::thread::sleep(Duration::from_millis(*pause));
            let seen = self.connection.begin(self.partition, NO_NEWS, &self.clock).and_then(|(tx, _)| {
                tx.confirm();
                journal::has(&tx, self.partition, row, name)
            });
            match seen.and_then(|there| Ok((there, self.connection.commit()?))) {
                Ok((Some(true), Committed::Yes)) => return Ok(()),
                Ok((Some(false), Committed::Yes)) => {
                    return Err(Error::Again("the commit did not happen".to_owned()));
                }
                // Others dropped what was there: nobody can tell any more.
                Ok((None, Committed::Yes)) => break,
                Ok((_, Committed::Unknown)) => {}
                Err(error) => tracing::warn!(%error, "a commit could not be looked up yet"),
            }
            self.connection.rollback();
        }
        let why = "it is unknown whether this was committed; ask again with the same key";
        Err(Error::Unavailable(why.to_owned()))
    }
}
