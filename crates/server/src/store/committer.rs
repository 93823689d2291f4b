//! Where speed and durability meet: one thread takes what has gathered, decides it in memory, writes all of it in one
//! transaction, and answers everybody after the commit.
//!
//! Owns the batch: the accounts it works on, the effects not written yet, and the order of commits. It does *not* know what
//! a hold is: it asks `billing` and records the entries.
//!
//! Invariant: nobody is answered before the commit that holds their effect; after a failed commit no cached account is used.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use billing::ledger::Posted;
use billing::{Account, Command, Entry, Hold, Refusal, Seq, Time};
use rusqlite::Connection;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::db::Tx;
use super::entry::{self, Note, Recorded, Usage, UsageKey};
use super::ledger::{self, Cached};
use super::{Error, alerts, work};
use crate::clock::Clock;

/// How many requests one transaction takes at most.
const BATCH: usize = 8_192;
/// How many accounts are kept between batches.
const CACHED_ACCOUNTS: usize = 50_000;

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
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
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

/// Serves the queue until every sender is gone or the disk fails.
pub fn run(
    mut connection: Connection,
    mut requests: mpsc::Receiver<Request>,
    clock: &Clock,
    changes: &broadcast::Sender<i64>,
    dead: &tokio::sync::watch::Sender<bool>,
) {
    let mut accounts = HashMap::new();
    let mut batch = Vec::with_capacity(BATCH);
    while requests.blocking_recv_many(&mut batch, BATCH) > 0 {
        let alive = commit_all(&mut connection, &mut accounts, std::mem::take(&mut batch), clock, changes);
        if !alive {
            break;
        }
        if accounts.len() > CACHED_ACCOUNTS {
            accounts.clear();
        }
    }
    let _ = dead.send(true);
}

/// Commits a batch and answers everybody. When it fails as a whole, each request is tried on its own, so that one that breaks
/// takes nobody with it. `false`: the disk cannot be trusted any more.
fn commit_all(
    connection: &mut Connection,
    accounts: &mut HashMap<i64, Cached>,
    mut requests: Vec<Request>,
    clock: &Clock,
    changes: &broadcast::Sender<i64>,
) -> bool {
    let alone = requests.len() == 1;
    match commit(connection, accounts, &mut requests, clock) {
        Ok((answers, changed)) => {
            for workspace in changed {
                let _ = changes.send(workspace);
            }
            answer(requests, answers);
            true
        }
        Err(error) => {
            accounts.clear();
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
            requests
                .into_iter()
                .all(|request| commit_all(connection, accounts, vec![request], clock, changes))
        }
    }
}

fn is_broken(error: &Error) -> bool {
    use rusqlite::ErrorCode::{CannotOpen, DatabaseCorrupt, NotADatabase, ReadOnly, SystemIoFailure};
    let Error::Engine(error) = error else { return false };
    matches!(
        error.sqlite_error_code(),
        Some(SystemIoFailure | DatabaseCorrupt | NotADatabase | ReadOnly | CannotOpen)
    )
}

type Answers = Vec<Option<Result<Answer, Error>>>;

fn commit(
    connection: &mut Connection,
    accounts: &mut HashMap<i64, Cached>,
    requests: &mut [Request],
    clock: &Clock,
) -> Result<(Answers, HashSet<i64>), Error> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let mut batch = Batch::new(Tx(&transaction), accounts, clock.now());
    let mut answers = Vec::with_capacity(requests.len());
    // A broken invariant stops here: the panic is caught, nothing of the batch is committed, and the cache is dropped.
    let all = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        for request in requests.iter_mut() {
            answers.push(batch.serve(request)?);
        }
        batch.flush()
    }));
    all.unwrap_or_else(|_| Err(Error::Unavailable("an invariant of the ledger was broken".to_owned())))?;
    let changed = batch.finish();
    transaction.commit()?;
    Ok((answers, changed))
}

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

/// One transaction in the making.
pub struct Batch<'a> {
    /// The transaction.
    pub tx: Tx<'a>,
    /// The moment of the whole batch.
    pub now: Time,
    accounts: &'a mut HashMap<i64, Cached>,
    effects: Effects,
    changed: HashSet<i64>,
}

/// A workspace, the kind of a command, and the caller's key for it.
type KeyName = (i64, KeyKind, Arc<str>);

/// What the batch has decided and not written yet.
#[derive(Default)]
struct Effects {
    entries: Vec<(i64, Arc<Recorded>)>,
    holds: HashSet<(i64, Seq)>,
    grants: HashSet<(i64, Seq)>,
    accounts: HashSet<i64>,
    keys: HashMap<KeyName, ([u8; 16], Seq)>,
    usage: HashMap<UsageKey, Usage>,
}

impl<'a> Batch<'a> {
    fn new(tx: Tx<'a>, accounts: &'a mut HashMap<i64, Cached>, now: Time) -> Batch<'a> {
        Batch { tx, now, accounts, effects: Effects::default(), changed: HashSet::new() }
    }

    fn serve(&mut self, request: &mut Request) -> Result<Option<Result<Answer, Error>>, Error> {
        match request {
            Request::Post(post, _) => match self.guard(post).and_then(|()| self.post(post)) {
                Err(error) if !error.is_answer() => Err(error),
                answer => Ok(Some(answer)),
            },
            Request::Work(work) => {
                // Work reads tables, so it must see what the posts before it decided.
                self.flush()?;
                work.run(self)?;
                Ok(None)
            }
        }
    }

    /// A hold of a piece of work ends under its claim alone: callers may resolve or refund it, but not end it under a call that
    /// is being made.
    fn guard(&mut self, post: &Post) -> Result<(), Error> {
        use Command::{Dispatch, Extend, Release, Settle};
        let ends = matches!(post.command, Dispatch { .. } | Extend { .. } | Settle { .. } | Release(_))
            && !post.background;
        let Some(id) = post.command.hold().filter(|_| ends && post.hold_key.is_none()) else { return Ok(()) };
        self.load(post.workspace)?;
        let epoch = match self.accounts[&post.workspace].account.holds.get(&id) {
            Some(hold) => hold.epoch,
            None => ledger::load_hold(&self.tx, post.workspace, id)?.map_or(0, |hold| hold.epoch),
        };
        if epoch == 0 {
            return Ok(());
        }
        Err(Error::Conflict(
            "hold_in_use",
            "a campaign, search or job holds these credits and ends this hold itself",
        ))
    }

    /// Posts one command inside this transaction. A refusal has written nothing but what was due anyway.
    pub fn post(&mut self, post: &Post) -> Result<Answer, Error> {
        self.load(post.workspace)?;
        if let Some(seq) = self.answered_before(post)? {
            return self.replay(post.workspace, seq);
        }
        if let Some(key) = &post.hold_key {
            let hold =
                self.hold_made_with(post.workspace, key)?.ok_or(Error::Refused(Refusal::HoldNotFound))?;
            return self.post(&Post {
                command: post.command.clone().about(hold),
                hold_key: None,
                ..post.clone()
            });
        }
        self.load_named(post)?;
        let cached = self.accounts.get_mut(&post.workspace).expect("loaded above");
        let mut entries = Vec::with_capacity(1);
        let outcome = billing::ledger::post(&mut cached.account, &post.command, self.now, &mut entries);
        let recorded = self.record(post, entries, outcome);
        if let Err(Refusal::InsufficientCredits { needed, .. }) = outcome
            && post.background
        {
            self.cached(post.workspace).watch.refused(needed);
        }
        self.follow(post.workspace, &recorded)?;
        let posted = outcome?;
        let cached = &self.accounts[&post.workspace];
        let hold = match posted {
            Posted::Entry(seq) => recorded.iter().find(|r| r.entry.seq == seq).and_then(|r| r.entry.hold),
            Posted::Already => post.command.hold(),
        };
        let entry = match posted {
            Posted::Entry(seq) => recorded.into_iter().find(|r| r.entry.seq == seq),
            Posted::Already => None,
        };
        let hold = hold.and_then(|id| cached.account.holds.get(&id)).cloned();
        let (available, held) = (cached.account.available, cached.account.held);
        Ok(Answer { entry, hold, replayed: false, available, held })
    }

    /// The account of a workspace as this transaction sees it.
    pub fn account(&mut self, workspace: i64) -> Result<&Account, Error> {
        self.load(workspace)?;
        Ok(&self.accounts[&workspace].account)
    }

    /// The cached account with its alerts.
    pub fn cached(&mut self, workspace: i64) -> &mut Cached {
        self.accounts.get_mut(&workspace).expect("loaded before")
    }

    /// Loads an account into the batch.
    pub fn load(&mut self, workspace: i64) -> Result<(), Error> {
        if !self.accounts.contains_key(&workspace) {
            let cached = ledger::load(&self.tx, workspace, self.now)?.ok_or(Error::NotFound)?;
            self.accounts.insert(workspace, cached);
        }
        Ok(())
    }

    /// Forgets a cached account, so that a change of its settings is read again.
    pub fn reload(&mut self, workspace: i64) -> Result<(), Error> {
        self.flush()?;
        self.accounts.remove(&workspace);
        self.load(workspace)
    }

    /// Marks an account whose alerts changed.
    pub fn touch(&mut self, workspace: i64) {
        self.effects.accounts.insert(workspace);
    }

    /// A hold of the workspace, open or ended.
    pub fn hold(&mut self, workspace: i64, id: Seq) -> Result<Option<Hold>, Error> {
        self.load(workspace)?;
        if let Some(hold) = self.accounts[&workspace].account.holds.get(&id) {
            return Ok(Some(hold.clone()));
        }
        ledger::load_hold(&self.tx, workspace, id)
    }

    /// Looks at the balance once more, after something other than a post changed what is due.
    pub fn look_again(&mut self, workspace: i64) -> Result<(), Error> {
        self.load(workspace)?;
        self.follow(workspace, &[])
    }

    fn load_named(&mut self, post: &Post) -> Result<(), Error> {
        let cached = self.accounts.get_mut(&post.workspace).expect("loaded by the caller");
        let account = &mut cached.account;
        if let Some(id) = post.command.hold()
            && !account.holds.contains_key(&id)
            && let Some(hold) = ledger::load_hold(&self.tx, post.workspace, id)?
        {
            account.load_hold(hold);
        }
        let parts = post.command.hold().and_then(|id| account.holds.get(&id)).map(|hold| hold.parts.clone());
        let named = parts.unwrap_or_default().into_iter().map(|part| part.0).chain(post.command.grant());
        for id in named {
            if !account.grants.contains_key(&id)
                && let Some(grant) = ledger::load_grant(&self.tx, post.workspace, id)?
            {
                account.load_grant(grant);
            }
        }
        Ok(())
    }

    fn answered_before(&mut self, post: &Post) -> Result<Option<Seq>, Error> {
        let Some(key) = &post.key else { return Ok(None) };
        let here = self.effects.keys.get(&(post.workspace, key.kind, key.key.clone())).copied();
        let known = match here {
            Some(known) => Some(known),
            None => ledger::find_key(&self.tx, post.workspace, key)?,
        };
        match known {
            Some((fingerprint, seq)) if fingerprint == key.fingerprint => Ok(Some(seq)),
            Some(_) => Err(Error::Refused(Refusal::IdempotencyKeyReused)),
            None => Ok(None),
        }
    }

    fn hold_made_with(&mut self, workspace: i64, key: &Arc<str>) -> Result<Option<Seq>, Error> {
        for kind in [KeyKind::Hold, KeyKind::Charge] {
            let wanted = Key { kind, key: key.clone(), fingerprint: [0; 16] };
            let here = self.effects.keys.get(&(workspace, kind, key.clone())).copied();
            let known = if here.is_some() { here } else { ledger::find_key(&self.tx, workspace, &wanted)? };
            if let Some((_, seq)) = known {
                return Ok(Some(seq));
            }
        }
        Ok(None)
    }

    fn replay(&mut self, workspace: i64, seq: Seq) -> Result<Answer, Error> {
        let here = self.effects.entries.iter().find(|(owner, r)| *owner == workspace && r.entry.seq == seq);
        let entry = match here {
            Some((_, recorded)) => recorded.clone(),
            None => Arc::new(entry::load_entry(&self.tx, workspace, seq)?.ok_or(Error::NotFound)?),
        };
        let hold = match entry.entry.hold {
            Some(id) => self.hold(workspace, id)?,
            None => None,
        };
        let account = &self.accounts[&workspace].account;
        Ok(Answer {
            entry: Some(entry),
            hold,
            replayed: true,
            available: account.available,
            held: account.held,
        })
    }

    /// Turns decided entries into rows to be written: hash chain, notes, usage totals, and what became dirty.
    fn record(
        &mut self,
        post: &Post,
        entries: Vec<Entry>,
        outcome: Result<Posted, Refusal>,
    ) -> Vec<Arc<Recorded>> {
        let cached = self.accounts.get_mut(&post.workspace).expect("loaded by the caller");
        let main =
            outcome.ok().and_then(|posted| if let Posted::Entry(seq) = posted { Some(seq) } else { None });
        let mut recorded = Vec::with_capacity(entries.len());
        for entry in entries {
            let own = Some(entry.seq) == main;
            let reason = if own { post.reason.clone() } else { None };
            let actor = if own { post.actor.clone() } else { Arc::from("system") };
            let note = Note::new(&entry.labels, reason);
            let row = Recorded::new(entry, actor, note, &cached.hash);
            cached.hash = row.hash;
            let effects = &mut self.effects;
            entry::fold_usage(&mut effects.usage, post.workspace, &row.entry);
            effects.holds.extend(row.entry.hold.map(|id| (post.workspace, id)));
            effects.grants.extend(row.entry.postings.iter().map(|posting| (post.workspace, posting.grant)));
            effects.grants.extend(row.entry.grant.map(|id| (post.workspace, id)));
            let row = Arc::new(row);
            effects.entries.push((post.workspace, row.clone()));
            recorded.push(row);
        }
        if let (Some(key), Some(seq)) = (&post.key, main) {
            self.effects.keys.insert((post.workspace, key.kind, key.key.clone()), (key.fingerprint, seq));
        }
        recorded
    }

    /// What follows from a post, accepted or refused, in the same transaction: work that was in doubt goes on, thresholds are
    /// looked at, campaigns pause and resume, notices are written.
    fn follow(&mut self, workspace: i64, recorded: &[Arc<Recorded>]) -> Result<(), Error> {
        for row in recorded.iter().filter(|row| row.entry.epoch > 0) {
            work::hold_changed(self, workspace, &row.entry)?;
        }
        alerts::look(self, workspace, recorded)?;
        self.touch(workspace);
        Ok(())
    }

    /// Writes what was decided so far into the transaction.
    pub fn flush(&mut self) -> Result<(), Error> {
        let effects = std::mem::take(&mut self.effects);
        for (workspace, row) in &effects.entries {
            entry::insert_entry(&self.tx, *workspace, row)?;
        }
        for (workspace, id) in effects.holds {
            ledger::save_hold(&self.tx, workspace, &self.accounts[&workspace].account.holds[&id])?;
        }
        for (workspace, id) in effects.grants {
            ledger::save_grant(&self.tx, workspace, &self.accounts[&workspace].account.grants[&id])?;
        }
        for ((workspace, kind, key), (fingerprint, seq)) in &effects.keys {
            ledger::insert_key(&self.tx, *workspace, *kind, key, fingerprint, *seq)?;
        }
        for (key, usage) in &effects.usage {
            entry::add_usage(&self.tx, key, usage)?;
        }
        for workspace in effects.accounts {
            ledger::save_account(&self.tx, workspace, &self.accounts[&workspace])?;
            self.changed.insert(workspace);
        }
        Ok(())
    }

    fn finish(self) -> HashSet<i64> {
        let recent = Time(self.now.0 - ledger::RECENT);
        for workspace in &self.changed {
            if let Some(cached) = self.accounts.get_mut(workspace) {
                cached.account.forget(recent);
            }
        }
        self.changed
    }
}
