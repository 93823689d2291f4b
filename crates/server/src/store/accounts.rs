//! The accounts as the writer has them between batches, with the entries that are journaled and not yet in their tables.
//!
//! Owns when a workspace's rows are written, and making all of this again from the database. It does *not* decide.
//!
//! Invariant: a cached account is its rows plus its `waiting` entries; all of a workspace's rows are written at once.

pub mod due;
mod follow;
mod hand;

use std::collections::{BTreeSet, HashMap, HashSet};

use billing::{Seq, Time};

use super::Error;
use super::canonical::Bytes;
use super::db::Tx;
use super::entry::{self, Recorded};
use super::journal::{self, Journaled, Name, Progress, Written};
use super::keys::{self, Keys, Sealed};
use super::ledger::{self, Cached};
use super::page;
use crate::{clock, values};
use hand::Hand;

/// How many accounts are kept between batches.
const CACHED_ACCOUNTS: usize = 100_000;
/// How many entries of all workspaces may wait for their tables, packed. This bounds memory and the time of a recovery. The more
/// wait, the more of a workspace are written together.
const MOST_UNWRITTEN: usize = 524_288;
/// How many entries more are written once there are too many: pages are shared by what is written together.
const SWEPT: usize = 64;
/// How many entries of one workspace may wait, so that no single write takes long.
const MOST_OF_ONE: usize = 16_384;
/// How many entries there are at least for each hold that is still open and needs a row, unless as many wait as may.
const FOR_A_HOLD: usize = 8;
/// How much of the journal is dropped for each entry that is added, while there is something to drop.
const DROPPED_PER_ENTRY: i64 = 2;

/// Something of each workspace.
type ByWorkspace<T> = HashMap<i64, T, foldhash::fast::RandomState>;
/// Some workspaces.
pub type Workspaces = HashSet<i64, foldhash::fast::RandomState>;

/// The writer's accounts.
pub struct Accounts {
    /// The partition that these accounts are in.
    pub partition: i64,
    cached: ByWorkspace<Cached>,
    /// Entries of accounts that are not loaded: the last of them, some of which may be in their tables.
    ahead: ByWorkspace<Ahead>,
    /// The workspaces with unwritten entries.
    behind: BTreeSet<i64>,
    unwritten: usize,
    /// The keys of all entries.
    pub keys: Keys,
    journal: Ends,
    /// What this batch wrote behind its entries, for the journal.
    written: Vec<Written>,
    /// Who is written next.
    hand: Hand,
    /// The last workspace that was asked what is due.
    asked: i64,
}

/// Where the journal begins and ends. A row's id is how much has happened until its end.
struct Ends {
    /// The last row that was dropped.
    dropped: i64,
    /// The last row, and its name.
    last: i64,
    name: Name,
}

/// The last entries of an account that is not loaded, as they lie in the journal.
#[derive(Default)]
struct Ahead {
    last: Seq,
    count: usize,
    bytes: Vec<u8>,
}

impl Accounts {
    /// Reads the journal, so that each account will be as it was when the last row was committed, once it is loaded. Writes
    /// nothing.
    pub fn recover(tx: &Tx<'_>, partition: i64, now: Time) -> Result<Accounts, Error> {
        let first = tx.int("select min(id) from journal where partition = ?1", values![partition])?;
        let before = (first - 1).max(0);
        let mut accounts = Accounts {
            partition,
            cached: ByWorkspace::default(),
            ahead: ByWorkspace::default(),
            behind: BTreeSet::new(),
            unwritten: 0,
            keys: Keys::load(tx, partition, before, keys::SEGMENT)?,
            journal: Ends { dropped: before, last: before, name: Name::default() },
            written: Vec::new(),
            hand: Hand::new(before, before, hand::MARKED),
            asked: i64::MIN,
        };
        if !accounts.replay(tx, journal::all(tx, partition)?, first, now)? {
            return Err(broken());
        }
        accounts.hand = Hand::new(before, accounts.journal.last, hand::MARKED);
        Ok(accounts)
    }

    /// Loads an account, unless it is here.
    pub fn load(&mut self, tx: &Tx<'_>, workspace: i64, now: Time) -> Result<(), Error> {
        if !self.cached.contains_key(&workspace) {
            self.load_all(tx, std::iter::once(workspace), now)?;
            self.cached.get(&workspace).ok_or(Error::NotFound)?;
        }
        Ok(())
    }

    /// Loads the accounts that are not here, those of unknown workspaces excepted.
    pub fn load_all(
        &mut self,
        tx: &Tx<'_>,
        whose: impl Iterator<Item = i64>,
        now: Time,
    ) -> Result<(), Error> {
        let missing: BTreeSet<i64> = whose.filter(|workspace| !self.cached.contains_key(workspace)).collect();
        let missing = Vec::from_iter(missing);
        if missing.is_empty() {
            return Ok(());
        }
        for (workspace, cached) in missing.iter().zip(ledger::load(tx, &missing, now)?) {
            let Some(cached) = cached else { continue };
            let written = cached.account.seq;
            self.cached.insert(*workspace, cached);
            let Some(ahead) = self.ahead.remove(workspace) else { continue };
            self.unwritten -= ahead.count;
            self.behind.remove(workspace);
            let mut bytes = Bytes(&ahead.bytes);
            while let Some(body) = bytes.blob() {
                let journaled = Journaled::read(*workspace, body)?;
                if journaled.seq > written {
                    self.apply(tx, &journaled)?;
                }
            }
            if self.get(*workspace).account.seq > written {
                self.applied(*workspace, now);
            }
        }
        Ok(())
    }

    /// Loads a hold, what it took from, and other grants into an account that is here, unless they are there.
    pub fn load_named(
        &mut self,
        tx: &Tx<'_>,
        workspace: i64,
        hold: Option<Seq>,
        grants: impl Iterator<Item = Seq>,
    ) -> Result<&mut Cached, Error> {
        let cached = self.get_mut(workspace);
        if let Some(id) = hold
            && !cached.account.holds.contains_key(&id)
            && let Some(hold) = cached.hold(tx, workspace, id)?
        {
            cached.account.load_hold(hold);
        }
        let account = &mut cached.account;
        let is_missing = |id: &Seq| !account.grants.contains_key(id);
        let parts = hold.and_then(|id| account.holds.get(&id)).into_iter().flat_map(|hold| &hold.parts);
        let missing: Vec<Seq> = parts.map(|part| part.0).chain(grants).filter(is_missing).collect();
        for id in missing {
            if !account.grants.contains_key(&id)
                && let Some(grant) = ledger::load_grant(tx, workspace, id)?
            {
                account.load_grant(grant);
            }
        }
        Ok(cached)
    }

    /// An account that was loaded.
    pub fn get(&self, workspace: i64) -> &Cached {
        self.cached.get(&workspace).expect("loaded before")
    }

    /// An account that was loaded, to be changed.
    pub fn get_mut(&mut self, workspace: i64) -> &mut Cached {
        self.cached.get_mut(&workspace).expect("loaded before")
    }

    /// Forgets an account whose rows were changed by somebody else.
    pub fn forget(&mut self, workspace: i64) {
        self.cached.remove(&workspace);
    }

    /// One entry.
    pub fn entry(&self, tx: &Tx<'_>, workspace: i64, seq: Seq) -> Result<Recorded, Error> {
        let Cached { account, waiting, .. } = self.get(workspace);
        let found = match seq >= waiting.first(account.seq) {
            true => waiting.find(seq)?,
            false => page::entry(tx, workspace, seq)?,
        };
        found.ok_or(Error::NotFound)
    }

    /// Keeps a decided entry, with the bytes that the chain covers, until it is written into its tables.
    pub fn keep(&mut self, workspace: i64, recorded: &Recorded, canonical: &[u8]) -> &mut Cached {
        self.unwritten += 1;
        let cached = self.cached.get_mut(&workspace).expect("loaded before");
        if cached.waiting.count() == 0 {
            self.behind.insert(workspace);
        }
        cached.waiting.add(workspace, recorded, canonical, &cached.hash);
        if let Some(budgets) = &mut cached.budgets {
            budgets.follow(&recorded.entry);
        }
        cached
    }

    /// Forgets of accounts what can be found in what waits.
    pub fn forget_ended<'w>(&mut self, whose: impl Iterator<Item = &'w i64>) {
        for workspace in whose {
            self.cached.get_mut(workspace).into_iter().for_each(Cached::forget_ended);
        }
    }

    /// Whether a workspace has entries that are not in their tables.
    pub fn is_behind(&self, workspace: i64) -> bool {
        self.behind.contains(&workspace)
    }

    /// How many entries are not in their tables, and the last row of the journal: what readers must know.
    pub fn ends(&self) -> (usize, i64) {
        (self.unwritten, self.journal.last)
    }

    /// Where the journal ends: the last row, and its name.
    pub fn end(&self) -> (i64, Name) {
        (self.journal.last, self.journal.name)
    }

    /// Writes a workspace's rows: its entries, what they changed, and the account. With it, other rows of the same
    /// transaction may have changed what belongs to the account.
    pub fn write(&mut self, tx: &Tx<'_>, workspace: i64, now: Time) -> Result<(), Error> {
        self.write_rows(tx, &[workspace], now, true)
    }

    fn write_rows(&mut self, tx: &Tx<'_>, whose: &[i64], now: Time, anew: bool) -> Result<(), Error> {
        if whose.is_empty() {
            return Ok(());
        }
        let all: Vec<(i64, &Cached)> =
            whose.iter().map(|workspace| (*workspace, self.get(*workspace))).collect();
        let named = || all.iter().map(|(workspace, cached)| (*workspace, *cached));
        let waiting = || named().filter(|(_, cached)| cached.waiting.count() > 0);
        page::insert(
            tx,
            waiting().flat_map(|(workspace, cached)| {
                cached.waiting.rows(workspace, cached.account.seq, &cached.hash)
            }),
        )?;
        ledger::save_holds(
            tx,
            waiting()
                .flat_map(|(workspace, cached)| cached.changed_holds().map(move |hold| (workspace, hold))),
        )?;
        ledger::save_grants(
            tx,
            waiting()
                .flat_map(|(workspace, cached)| cached.moved_grants().map(move |grant| (workspace, grant))),
        )?;
        entry::add_usage(tx, waiting().flat_map(|(_, cached)| &cached.waiting.usage))?;
        ledger::save_accounts(tx, named())?;
        for workspace in whose {
            let cached = self.cached.get_mut(workspace).expect("loaded before");
            self.unwritten -= std::mem::take(&mut cached.waiting).count();
            cached.account.forget_ended(|_| false);
            cached.account.forget_spent(Time(now.0 - ledger::RECENT));
            self.behind.remove(workspace);
            if tx.is_shared() {
                self.written.push(Written { workspace: *workspace, until: cached.account.seq, anew });
            }
        }
        Ok(())
    }

    /// Writes the rows of workspaces that are behind, round and round, until at most `most` entries are unwritten.
    pub fn write_until(&mut self, tx: &Tx<'_>, most: usize, now: Time) -> Result<(), Error> {
        let (mut left, mut whose) = (self.unwritten, Vec::new());
        while left > most
            && let Some(workspace) = self.hand.next(&self.behind, whose.first(), self.journal.last)
        {
            let loaded = self.cached.get(&workspace).map(|cached| cached.waiting.count());
            left -= loaded.or(self.ahead.get(&workspace).map(|ahead| ahead.count)).unwrap_or(0);
            whose.push(workspace);
        }
        self.load_all(tx, whose.iter().copied(), now)?;
        // Some of it may have been in the tables already.
        whose.retain(|workspace| self.behind.contains(workspace));
        self.write_rows(tx, &whose, now, false)
    }

    /// Ends a batch: writes what waits too long, appends its entries to the journal, and drops what is not needed there any
    /// more.
    pub fn end_batch(&mut self, tx: &Tx<'_>, batch: Ending<'_>, now: Time) -> Result<(), Error> {
        let long = |workspace: &&i64| {
            self.cached.get(*workspace).is_some_and(|Cached { account, waiting, .. }| {
                let enough = (FOR_A_HOLD * account.open_holds()).max(page::ENTRIES as usize);
                waiting.count() >= enough.min(MOST_OF_ONE)
            })
        };
        let long: Vec<i64> = batch.changed.iter().filter(long).copied().collect();
        self.write_rows(tx, &long, now, false)?;
        self.forget_ended(batch.changed.iter());
        if self.unwritten > MOST_UNWRITTEN {
            // After a start it may be far more than that, and nobody should wait for all of it.
            let share = self.unwritten.saturating_sub(MOST_OF_ONE + 2 * batch.count);
            self.write_until(tx, share.max(MOST_UNWRITTEN - SWEPT), now)?;
        }
        // A few workspaces in use never reach that bound, but the journal must not grow behind them.
        if self.journal.last - self.hand.done() > 2 * MOST_UNWRITTEN as i64 && self.unwritten > 0 {
            self.write_until(tx, self.unwritten - 1, now)?;
        }
        let id = self.journal.last + batch.count.max(1) as i64;
        let sealed = self.keys.seal(tx, batch.keys, (self.journal.last, id))?;
        let progress = Progress { written: std::mem::take(&mut self.written), sealed };
        if batch.count > 0 || sealed != Sealed::default() || tx.owes_a_row() {
            let name = clock::random();
            journal::append(tx, self.partition, id, &journal::body(&name, &progress, batch.entries))?;
            (self.journal.last, self.journal.name) = (id, name);
        }
        if self.behind.is_empty() {
            self.hand.rest(self.journal.last);
        }
        self.drop_unneeded(tx, batch.count)?;
        if self.cached.len() > CACHED_ACCOUNTS {
            self.cached.retain(|_, cached| cached.waiting.count() > 0);
        }
        Ok(())
    }

    fn drop_unneeded(&mut self, tx: &Tx<'_>, added: usize) -> Result<(), Error> {
        // The last row stays: by its name everybody knows where the journal ends.
        let unneeded = self.hand.done().min(self.keys.unneeded()).min(self.journal.last - 1);
        let end = unneeded.min(self.journal.dropped + added.max(64) as i64 * DROPPED_PER_ENTRY);
        if end > self.journal.dropped {
            journal::drop_between(tx, self.partition, self.journal.dropped, end)?;
            self.journal.dropped = end;
        }
        Ok(())
    }
}

fn broken() -> Error {
    Error::Unavailable("the journal does not continue the ledger".to_owned())
}

/// What a batch was, when it ends.
pub struct Ending<'a> {
    /// Its entries, as the journal keeps them.
    pub entries: &'a [u8],
    /// How many.
    pub count: usize,
    /// How many of them have keys.
    pub keys: usize,
    /// Whose accounts changed.
    pub changed: &'a Workspaces,
}
