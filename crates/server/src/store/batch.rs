//! One transaction in the making: the accounts it works on and the entries not journaled yet.
//!
//! Owns what a post does inside a batch: the key's look-up, the decision, the entries, and what follows from it. It does *not*
//! commit: the committer does.
//!
//! Invariant: what is decided is in the cached accounts at once, and in the journal after `end`.

use std::sync::Arc;

use billing::few::Few;
use billing::ledger::Posted;
use billing::{Account, Command, Entry, Hold, Refusal, Seq, Time};

use super::accounts::due::Due;
use super::accounts::{Accounts, Ending, Workspaces};
use super::canonical;
use super::committer::{Answer, Key, KeyKind, Post, Request};
use super::db::Tx;
use super::entry::{self, Note, Recorded};
use super::journal;
use super::keys::Named;
use super::ledger::Cached;
use super::{Error, alerts, budgets, work};

/// How many bytes of the journal a post makes, roughly.
const EACH: usize = 256;

/// What a post recorded.
type AllRecorded = Few<Arc<Recorded>>;

/// One transaction in the making.
pub struct Batch<'a> {
    /// The transaction.
    pub tx: Tx<'a>,
    /// The moment of the whole batch.
    pub now: Time,
    accounts: &'a mut Accounts,
    /// What goes into the journal, and how many entries that is.
    decided: Vec<u8>,
    count: usize,
    /// Room for what a post decides, and for the entry that is being written.
    entries: Vec<Entry>,
    body: Vec<u8>,
    keys: usize,
    /// Workspaces whose rows are written in this transaction, because other rows of it speak of them.
    at_once: Workspaces,
    changed: Workspaces,
    at_work: bool,
}

impl<'a> Batch<'a> {
    pub(super) fn new(tx: Tx<'a>, accounts: &'a mut Accounts, now: Time) -> Batch<'a> {
        let (decided, entries, body) = (Vec::new(), Vec::new(), Vec::new());
        let (at_once, changed) = (Workspaces::default(), Workspaces::default());
        Batch {
            tx,
            now,
            accounts,
            decided,
            count: 0,
            entries,
            body,
            keys: 0,
            at_once,
            changed,
            at_work: false,
        }
    }

    pub(super) fn serve(&mut self, request: &mut Request) -> Result<Option<Result<Answer, Error>>, Error> {
        match request {
            Request::Post(post, _) => match self.guard(post).and_then(|()| self.post(post)) {
                Err(error) if !error.is_answer() => Err(error),
                answer => Ok(Some(answer)),
            },
            Request::Work(work) => {
                self.at_work = true;
                let done = work.run(self);
                self.at_work = false;
                done.map(|()| None)
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
        let epoch = self.hold(post.workspace, id)?.map_or(0, |hold| hold.epoch);
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
        let key = post.key.as_ref().map(|key| (key, Named::new(post.workspace, key.kind, &key.key)));
        if let Some((key, named)) = &key
            && let Some(seq) = self.answered_before(key, named)?
        {
            return self.replay(post.workspace, seq);
        }
        let named;
        let command = match &post.hold_key {
            None => &post.command,
            Some(key) => {
                let hold = self.hold_made_with(post.workspace, key)?;
                named = post.command.clone().about(hold.ok_or(Error::Refused(Refusal::HoldNotFound))?);
                &named
            }
        };
        let mut entries = std::mem::take(&mut self.entries);
        let over = match self.cached(post.workspace).budgets {
            None => None,
            Some(_) => budgets::ask(self, post.workspace, command, &mut entries)?,
        };
        let grants = command.grant().into_iter();
        let cached = self.accounts.load_named(&self.tx, post.workspace, command.hold(), grants)?;
        let before = cached.watch;
        let outcome = match over {
            None => billing::ledger::post(&mut cached.account, command, self.now, &mut entries)
                .map_err(Error::Refused),
            Some(over) => Err(Error::OverBudget(Box::new(over))),
        };
        let recorded = self.record(post, key, entries, outcome.as_ref().ok().copied());
        if let Err(Error::Refused(Refusal::InsufficientCredits { needed, .. })) = outcome
            && post.background
        {
            self.cached(post.workspace).watch.refused(needed);
        }
        self.follow(post.workspace, &recorded)?;
        // What the loops look up by its time must not look due again, and alerts are kept in the account's row alone.
        if *command == Command::Sweep || self.cached(post.workspace).watch != before {
            self.touch(post.workspace);
        }
        let (entry, hold) = match outcome? {
            Posted::Entry(seq) => {
                let entry = recorded.into_iter().find(|recorded| recorded.entry.seq == seq);
                let hold = entry.as_ref().and_then(|recorded| recorded.entry.hold);
                (entry, hold)
            }
            Posted::Already => (None, command.hold()),
        };
        let cached = self.accounts.get(post.workspace);
        let hold = hold.and_then(|id| cached.account.holds.get(&id)).cloned();
        let (available, held) = (cached.account.available, cached.account.held);
        Ok(Answer { entry, hold, replayed: false, available, held })
    }

    /// The account of a workspace as this transaction sees it.
    pub fn account(&mut self, workspace: i64) -> Result<&Account, Error> {
        self.load(workspace)?;
        Ok(&self.accounts.get(workspace).account)
    }

    /// The cached account with its alerts.
    pub fn cached(&mut self, workspace: i64) -> &mut Cached {
        self.accounts.get_mut(workspace)
    }

    /// Loads an account into the batch.
    pub fn load(&mut self, workspace: i64) -> Result<(), Error> {
        self.accounts.load(&self.tx, workspace, self.now)
    }

    /// Loads the accounts that requests are about, and makes room for what they make.
    pub(super) fn prepare(&mut self, requests: &[Request]) -> Result<(), Error> {
        self.decided.reserve(EACH * requests.len());
        let whose = requests.iter().filter_map(|request| match request {
            Request::Post(post, _) => Some(post.workspace),
            Request::Work(_) => None,
        });
        self.accounts.load_all(&self.tx, whose, self.now)
    }

    /// Forgets a cached account, so that a change of its settings is read again.
    pub fn reload(&mut self, workspace: i64) -> Result<(), Error> {
        self.write(workspace)?;
        self.accounts.forget(workspace);
        self.load(workspace)
    }

    /// Writes a workspace's rows now, for work that reads them.
    pub fn write(&mut self, workspace: i64) -> Result<(), Error> {
        self.load(workspace)?;
        self.accounts.write(&self.tx, workspace, self.now)
    }

    /// Writes the rows of a workspace, or of all, unless they are up to date.
    pub fn catch_up(&mut self, whose: Option<i64>) -> Result<(), Error> {
        match whose {
            None => self.catch_up_until(0),
            Some(workspace) if self.accounts.is_behind(workspace) => self.write(workspace),
            Some(_) => Ok(()),
        }
    }

    /// Writes rows until at most so many entries are missing from their tables.
    pub fn catch_up_until(&mut self, most: usize) -> Result<(), Error> {
        self.accounts.write_until(&self.tx, most, self.now)
    }

    /// What is due in at most so many of the accounts whose tables are behind.
    pub fn due(&mut self, most: usize) -> Result<Due, Error> {
        self.accounts.due(&self.tx, most, self.now)
    }

    /// The partition of this transaction.
    pub fn partition(&self) -> i64 {
        self.accounts.partition
    }

    /// Whether nothing was decided in it yet.
    pub fn is_empty(&self) -> bool {
        self.decided.is_empty() && self.changed.is_empty()
    }

    /// Marks a workspace whose rows are written in this transaction.
    pub fn touch(&mut self, workspace: i64) {
        self.at_once.insert(workspace);
    }

    /// A hold of the workspace, open or ended.
    pub fn hold(&mut self, workspace: i64, id: Seq) -> Result<Option<Hold>, Error> {
        self.load(workspace)?;
        self.accounts.get(workspace).hold(&self.tx, workspace, id)
    }

    /// Looks at the balance once more, after something other than a post changed what is due.
    pub fn look_again(&mut self, workspace: i64) -> Result<(), Error> {
        self.load(workspace)?;
        self.follow(workspace, &[])
    }

    fn answered_before(&self, key: &Key, named: &Named) -> Result<Option<Seq>, Error> {
        match self.accounts.keys.find(&self.tx, named)? {
            Some((fingerprint, seq)) if fingerprint == key.fingerprint => Ok(Some(seq)),
            Some(_) => Err(Error::Refused(Refusal::IdempotencyKeyReused)),
            None => Ok(None),
        }
    }

    /// The hold that was made with a key.
    pub fn hold_made_with(&mut self, workspace: i64, key: &Arc<str>) -> Result<Option<Seq>, Error> {
        for kind in [KeyKind::Hold, KeyKind::Charge] {
            if let Some((_, seq)) = self.accounts.keys.find(&self.tx, &Named::new(workspace, kind, key))? {
                return Ok(Some(seq));
            }
        }
        Ok(None)
    }

    fn replay(&mut self, workspace: i64, seq: Seq) -> Result<Answer, Error> {
        let entry = self.accounts.entry(&self.tx, workspace, seq)?;
        let hold = match entry.entry.hold {
            Some(id) => self.hold(workspace, id)?,
            None => None,
        };
        let account = &self.accounts.get(workspace).account;
        Ok(Answer {
            entry: Some(Arc::new(entry)),
            hold,
            replayed: true,
            available: account.available,
            held: account.held,
        })
    }

    /// Chains decided entries, with their notes and the key of the one that answers, and keeps them for their tables.
    fn record(
        &mut self,
        post: &Post,
        mut key: Option<(&Key, Named)>,
        mut entries: Vec<Entry>,
        outcome: Option<Posted>,
    ) -> AllRecorded {
        let mut all = AllRecorded::default();
        for entry in entries.drain(..) {
            let (actor, reason, key) = match outcome == Some(Posted::Entry(entry.seq)) {
                true => (post.actor.clone(), post.reason.clone(), key.take()),
                false => (Arc::from("system"), None, None),
            };
            let note = Note::new(&entry.labels, reason);
            let digest = note.as_ref().map(Note::digest);
            let recorded = Recorded { entry, actor, note };
            let covered =
                journal::begin(&mut self.body, recorded.note.as_ref(), key.as_ref().map(|(key, _)| *key));
            canonical::encode(&mut self.body, &recorded.entry, &recorded.actor, digest.as_ref());
            if let Some((key, named)) = key {
                self.accounts.keys.add(named, (key.fingerprint, recorded.entry.seq));
                self.keys += 1;
            }
            let canonical = &self.body[covered..];
            let cached = self.accounts.keep(post.workspace, &recorded, canonical);
            cached.hash = entry::chain(&cached.hash, canonical);
            journal::push(&mut self.decided, post.workspace, &mut self.body, covered, &cached.hash);
            self.count += 1;
            all.push(Arc::new(recorded));
        }
        self.entries = entries;
        all
    }

    /// What follows from a post, accepted or refused, in the same transaction: work that was in doubt goes on, thresholds are
    /// looked at, campaigns pause and resume, notices are written.
    fn follow(&mut self, workspace: i64, recorded: &[Arc<Recorded>]) -> Result<(), Error> {
        for row in recorded.iter().filter(|row| row.entry.epoch > 0) {
            work::hold_changed(self, workspace, &row.entry)?;
            self.touch(workspace);
        }
        alerts::look(self, workspace, recorded)?;
        let budgets = self.accounts.get(workspace).budgets.as_deref();
        if budgets::freed(budgets, recorded.iter().map(|row| &row.entry)) {
            budgets::look(self, workspace)?;
        }
        self.changed.insert(workspace);
        if self.at_work {
            self.touch(workspace);
        }
        Ok(())
    }

    /// Ends the batch: what other rows speak of goes into the tables, and all entries into the journal. Answers who changed.
    pub(super) fn end(mut self) -> Result<Workspaces, Error> {
        for workspace in std::mem::take(&mut self.at_once) {
            self.write(workspace)?;
        }
        let (entries, count, keys, changed) = (&self.decided[..], self.count, self.keys, &self.changed);
        self.accounts.end_batch(&self.tx, Ending { entries, count, keys, changed }, self.now)?;
        Ok(self.changed)
    }
}
