//! One transaction in the making: the accounts it works on and the effects not written yet.
//!
//! Owns what a post does inside a batch: the key's look-up, the decision, the rows, and what follows from it. It does *not*
//! commit: the committer does.
//!
//! Invariant: what is decided is in the cached accounts at once and in the tables after `flush`, never in between.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use billing::ledger::Posted;
use billing::{Account, Command, Entry, Hold, Refusal, Seq, Time};

use super::committer::{Answer, Key, KeyKind, Post, Request};
use super::db::Tx;
use super::entry::{self, Note, Recorded, Usage, UsageKey};
use super::ledger::{self, Cached};
use super::{Error, alerts, work};

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
    pub(super) fn new(tx: Tx<'a>, accounts: &'a mut HashMap<i64, Cached>, now: Time) -> Batch<'a> {
        Batch { tx, now, accounts, effects: Effects::default(), changed: HashSet::new() }
    }

    pub(super) fn serve(&mut self, request: &mut Request) -> Result<Option<Result<Answer, Error>>, Error> {
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

    pub(super) fn finish(self) -> HashSet<i64> {
        let recent = Time(self.now.0 - ledger::RECENT);
        for workspace in &self.changed {
            if let Some(cached) = self.accounts.get_mut(workspace) {
                cached.account.forget(recent);
            }
        }
        self.changed
    }
}
