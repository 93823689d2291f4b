//! The accounts as the writer has them between batches, with the entries that are journaled and not yet in their tables.
//!
//! Owns when a workspace's rows are written, and making all of this again from the database. It does *not* decide.
//!
//! Invariant: a cached account is its rows plus its `unwritten` entries; all of a workspace's rows are written at once.

use std::collections::{BTreeSet, HashMap, HashSet, hash_map};
use std::sync::Arc;

use billing::account::Hold;
use billing::{Seq, Time};

use super::Error;
use super::db::Tx;
use super::entry::{self, Recorded};
use super::journal::{self, Journaled};
use super::keys::{self, Keys};
use super::ledger::{self, Cached};

/// How many accounts are kept between batches.
const CACHED_ACCOUNTS: usize = 50_000;
/// How many entries of all workspaces may wait for their tables. This bounds memory and the time of a recovery.
const MOST_UNWRITTEN: usize = 131_072;
/// How many entries more are written once there are too many: pages are shared by what is written together.
const SWEPT: usize = 64;
/// How many entries of one workspace may wait, so that no single write takes long.
const MOST_OF_ONE: usize = 128;
/// How many rows of the journal are dropped for each entry that is added, while there are some to drop.
const DROPPED_PER_ENTRY: i64 = 2;

/// The writer's accounts.
pub struct Accounts {
    cached: HashMap<i64, Cached>,
    /// The workspaces with unwritten entries.
    behind: BTreeSet<i64>,
    unwritten: usize,
    /// The keys of all entries.
    pub keys: Keys,
    journal: Ends,
    /// The hand goes round all workspaces that are behind, in the order of their numbers: neighbours share pages.
    hand: i64,
    /// Where the journal ended when the hand began this round: at its end, everything before is in its tables.
    round: i64,
}

/// Which numbers the journal has.
struct Ends {
    first: i64,
    next: i64,
    /// The entries of the rows before this one are in their tables.
    needed: i64,
}

impl Accounts {
    /// Reads the journal and makes the accounts again as they were when its last row was committed. Writes nothing.
    pub fn recover(tx: &Tx<'_>, now: Time) -> Result<Accounts, Error> {
        let first = tx.int("select min(id) from journal", &[])?.max(1);
        let mut accounts = Accounts {
            cached: HashMap::new(),
            behind: BTreeSet::new(),
            unwritten: 0,
            keys: Keys::load(tx, first, keys::SEGMENT)?,
            journal: Ends { first, next: first, needed: first },
            hand: i64::MIN,
            round: first,
        };
        // The rules refuse by a panic what cannot follow: then nobody may go on with this database.
        let replayed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| accounts.replay(tx, now)));
        let broken = |_| Err(Error::Unavailable("the journal does not continue the ledger".to_owned()));
        replayed.unwrap_or_else(broken)?;
        accounts.round = accounts.journal.next;
        Ok(accounts)
    }

    fn replay(&mut self, tx: &Tx<'_>, now: Time) -> Result<(), Error> {
        let mut written = HashMap::new();
        journal::replay(tx, |id, workspace, journaled| {
            self.journal.next = id + 1;
            if let Some(key) = &journaled.key {
                self.keys.add(workspace, key, journaled.seq);
            }
            let written = match written.entry(workspace) {
                hash_map::Entry::Occupied(known) => *known.get(),
                hash_map::Entry::Vacant(vacant) => *vacant.insert(ledger::written_to(tx, workspace)?),
            };
            if journaled.seq > written { self.again(tx, workspace, &journaled, now) } else { Ok(()) }
        })
    }

    /// Applies an entry that only the journal has.
    fn again(
        &mut self,
        tx: &Tx<'_>,
        workspace: i64,
        journaled: &Journaled<'_>,
        now: Time,
    ) -> Result<(), Error> {
        self.load(tx, workspace, now)?;
        let recorded = Arc::new(journaled.recorded()?);
        let entry = &recorded.entry;
        let grants = entry.postings.iter().map(|posting| posting.grant).chain(entry.grant);
        self.load_named(tx, workspace, entry.hold, grants)?;
        let cached = self.get_mut(workspace);
        cached.account.apply(entry);
        cached.hash = recorded.hash;
        cached.level = cached.watch.level(cached.account.available, cached.basis(now), &cached.thresholds);
        self.keep(workspace, recorded);
        Ok(())
    }

    /// Loads an account, unless it is here.
    pub fn load(&mut self, tx: &Tx<'_>, workspace: i64, now: Time) -> Result<(), Error> {
        if let hash_map::Entry::Vacant(vacant) = self.cached.entry(workspace) {
            vacant.insert(ledger::load(tx, workspace, now)?.ok_or(Error::NotFound)?);
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
    ) -> Result<(), Error> {
        let account = &mut self.get_mut(workspace).account;
        if let Some(id) = hold
            && !account.holds.contains_key(&id)
            && let Some(hold) = ledger::load_hold(tx, workspace, id)?
        {
            account.load_hold(hold);
        }
        let parts = hold.and_then(|id| account.holds.get(&id)).map(|hold| hold.parts.clone());
        for id in parts.unwrap_or_default().into_iter().map(|part| part.0).chain(grants) {
            if !account.grants.contains_key(&id)
                && let Some(grant) = ledger::load_grant(tx, workspace, id)?
            {
                account.load_grant(grant);
            }
        }
        Ok(())
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

    /// A hold, open or ended.
    pub fn hold(&self, tx: &Tx<'_>, workspace: i64, id: Seq) -> Result<Option<Hold>, Error> {
        match self.get(workspace).account.holds.get(&id) {
            Some(hold) => Ok(Some(hold.clone())),
            None => ledger::load_hold(tx, workspace, id),
        }
    }

    /// One entry.
    pub fn entry(&self, tx: &Tx<'_>, workspace: i64, seq: Seq) -> Result<Arc<Recorded>, Error> {
        let unwritten = &self.get(workspace).unwritten;
        match unwritten.iter().find(|recorded| recorded.entry.seq == seq) {
            Some(recorded) => Ok(recorded.clone()),
            None => entry::load_entry(tx, workspace, seq)?.map(Arc::new).ok_or(Error::NotFound),
        }
    }

    /// Keeps a decided entry until it is written into its tables.
    pub fn keep(&mut self, workspace: i64, recorded: Arc<Recorded>) {
        self.get_mut(workspace).unwritten.push(recorded);
        self.behind.insert(workspace);
        self.unwritten += 1;
    }

    /// How many entries are not in their tables.
    pub fn unwritten(&self) -> usize {
        self.unwritten
    }

    /// Whether a workspace has entries that are not in their tables.
    pub fn is_behind(&self, workspace: i64) -> bool {
        self.behind.contains(&workspace)
    }

    /// Adds a row to the journal.
    pub fn journal(&mut self, tx: &Tx<'_>, workspace: i64, body: &[u8]) -> Result<(), Error> {
        journal::append(tx, self.journal.next, workspace, body)?;
        self.journal.next += 1;
        Ok(())
    }

    /// Writes a workspace's rows: its entries, what they changed, and the account.
    pub fn write(&mut self, tx: &Tx<'_>, workspace: i64, now: Time) -> Result<(), Error> {
        let cached = self.cached.get_mut(&workspace).expect("loaded before");
        let (mut holds, mut grants, mut usage) = (BTreeSet::new(), BTreeSet::new(), HashMap::new());
        for recorded in &cached.unwritten {
            let entry = &recorded.entry;
            entry::insert_entry(tx, workspace, recorded)?;
            holds.extend(entry.hold);
            grants.extend(entry.postings.iter().map(|posting| posting.grant).chain(entry.grant));
            entry::fold_usage(&mut usage, workspace, entry);
        }
        for id in holds {
            ledger::save_hold(tx, workspace, &cached.account.holds[&id])?;
        }
        for id in grants {
            ledger::save_grant(tx, workspace, &cached.account.grants[&id])?;
        }
        for (key, usage) in &usage {
            entry::add_usage(tx, key, usage)?;
        }
        ledger::save_account(tx, workspace, cached)?;
        self.unwritten -= cached.unwritten.len();
        cached.unwritten.clear();
        cached.account.forget(Time(now.0 - ledger::RECENT));
        self.behind.remove(&workspace);
        if self.behind.is_empty() {
            self.end_round(self.journal.next);
        }
        Ok(())
    }

    /// Writes the rows of workspaces that are behind, round and round, until at most `most` entries are unwritten.
    pub fn write_until(&mut self, tx: &Tx<'_>, most: usize, now: Time) -> Result<(), Error> {
        while self.unwritten > most {
            self.write_next(tx, now)?;
        }
        Ok(())
    }

    /// What a batch of so many entries and keys does for those before it: writes what waits too long, and drops what is
    /// written.
    pub fn tidy(
        &mut self,
        tx: &Tx<'_>,
        (added, keys): (usize, usize),
        changed: &HashSet<i64>,
        now: Time,
    ) -> Result<(), Error> {
        for workspace in changed {
            if self.cached.get(workspace).is_some_and(|cached| cached.unwritten.len() >= MOST_OF_ONE) {
                self.write(tx, *workspace, now)?;
            }
        }
        if self.unwritten > MOST_UNWRITTEN {
            self.write_until(tx, MOST_UNWRITTEN - SWEPT, now)?;
        }
        // A few workspaces in use never reach that bound, but the journal must not grow behind them.
        if self.journal.next - self.journal.needed > 2 * MOST_UNWRITTEN as i64 && !self.behind.is_empty() {
            self.write_next(tx, now)?;
        }
        self.keys.seal(tx, keys, self.journal.next)?;
        let needed = self.journal.needed.min(self.keys.needed());
        let end = needed.min(self.journal.first + added.max(64) as i64 * DROPPED_PER_ENTRY);
        if end > self.journal.first {
            journal::drop_before(tx, end)?;
            self.journal.first = end;
        }
        if self.cached.len() > CACHED_ACCOUNTS {
            self.cached.retain(|_, cached| !cached.unwritten.is_empty());
        }
        Ok(())
    }

    fn write_next(&mut self, tx: &Tx<'_>, now: Time) -> Result<(), Error> {
        let next = self.behind.range(self.hand.saturating_add(1)..).next().or(self.behind.first()).copied();
        let Some(workspace) = next else { return Ok(()) };
        if workspace <= self.hand {
            self.end_round(self.round);
        }
        self.hand = workspace;
        self.write(tx, workspace, now)
    }

    fn end_round(&mut self, needed: i64) {
        (self.journal.needed, self.round) = (needed, self.journal.next);
    }
}
