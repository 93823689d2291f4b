//! The journal applied to accounts in memory: after a crash, and while other nodes write.
//!
//! Owns what is known of accounts that are not loaded: their last entries, applied once somebody needs them.
//!
//! Invariant: an account in memory, loaded or not, is its rows plus the entries that are kept for it.

use billing::{Seq, Time};

use super::super::Error;
use super::super::canonical::{Bytes, put_blob};
use super::super::db::{News, Tx};
use super::super::journal::{self, Journaled, Written};
use super::super::keys::Named;
use super::super::ledger::{self, Cached};
use super::{Accounts, Ahead, ByWorkspace, Ends, Workspaces, broken};

impl Accounts {
    /// Does what other nodes committed since our last batch: the journal from the row that is the last one here. `false`: what
    /// is known here is not what the database has any more, and must be made again.
    pub fn follow(&mut self, tx: &Tx<'_>, mut news: News, now: Time) -> Result<bool, Error> {
        let Ends { last, name, .. } = self.journal;
        if last > 0 {
            match news.first() {
                Some((id, head)) if *id == last && journal::name(head) == Some(name) => drop(news.remove(0)),
                _ => return Ok(false),
            }
        }
        self.replay(tx, news, 0, now)
    }

    /// Applies rows that are new. `false` when one does not begin where the one before ended, but for the `first`.
    pub(super) fn replay(&mut self, tx: &Tx<'_>, news: News, first: i64, now: Time) -> Result<bool, Error> {
        // The rules refuse by a panic what cannot follow: then nobody may go on with this database.
        let replayed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let rows = news.into_iter().map(|(id, body)| journal::read(id, body));
            let rows = rows.collect::<Result<Vec<_>, _>>()?;
            rows.iter().flat_map(|row| &row.progress.written).for_each(|written| self.overtaken(written));
            // What the tables and the finished segments have need not be kept in mind.
            let mut in_tables = ByWorkspace::default();
            for Written { workspace, until, .. } in rows.iter().flat_map(|row| &row.progress.written) {
                in_tables.entry(*workspace).and_modify(|last| *last = *until.max(last)).or_insert(*until);
            }
            let in_segments = self.keys.in_segments(rows.iter().map(|row| (row.id, &row.progress.sealed)));
            let (mut written, mut ahead) = (Workspaces::default(), Vec::new());
            for row in &rows {
                let (entries, mut applied) = (row.entries()?, Workspaces::default());
                if row.id != first && row.id - entries.len().max(1) as i64 != self.journal.last {
                    return Ok(false);
                }
                for (workspace, body) in entries {
                    let journaled = Journaled::read(workspace, body)?;
                    let seq = journaled.seq;
                    if let Some((kind, key, fingerprint)) = journaled.key.filter(|_| row.id > in_segments) {
                        self.keys.add(Named::new(workspace, kind, &key.into()), (fingerprint, seq));
                    }
                    match self.cached.get(&workspace).map(|cached| cached.account.seq) {
                        None => ahead.push((workspace, seq, body)),
                        Some(known) if known < seq => {
                            self.apply(tx, &journaled)?;
                            applied.insert(workspace);
                        }
                        Some(_) => {}
                    }
                }
                applied.into_iter().for_each(|workspace| self.applied(workspace, now));
                self.keys.follow(&row.progress.sealed, (self.journal.last, row.id));
                for rows in &row.progress.written {
                    self.wrote(rows)?;
                    written.insert(rows.workspace);
                }
                (self.journal.last, self.journal.name) = (row.id, row.name);
            }
            self.keep_ahead(ahead, &in_tables)?;
            written.into_iter().try_for_each(|workspace| self.find_ended(tx, workspace))?;
            Ok(true)
        }));
        replayed.unwrap_or_else(|_| Err(broken()))
    }

    /// Keeps entries of accounts that are not loaded but for those that the tables have, a workspace's together: to look each up as it
    /// comes would miss the processor's cache.
    fn keep_ahead(
        &mut self,
        mut entries: Vec<(i64, Seq, &[u8])>,
        in_tables: &ByWorkspace<Seq>,
    ) -> Result<(), Error> {
        entries.sort_unstable_by_key(|(workspace, seq, _)| (*workspace, *seq));
        for entries in entries.chunk_by(|one, next| one.0 == next.0) {
            let workspace = entries[0].0;
            let in_tables = in_tables.get(&workspace).copied().unwrap_or_default();
            let missing = &entries[entries.partition_point(|(_, seq, _)| *seq <= in_tables)..];
            if missing.is_empty() {
                continue;
            }
            self.behind.insert(workspace);
            self.unwritten += missing.len();
            let ahead = self.ahead.entry(workspace).or_default();
            ahead.bytes.reserve(missing.iter().map(|(.., body)| body.len() + 2).sum());
            for (_, seq, body) in missing {
                if ahead.count > 0 && ahead.last.0 + 1 != seq.0 {
                    return Err(broken());
                }
                put_blob(&mut ahead.bytes, body);
                (ahead.last, ahead.count) = (*seq, ahead.count + 1);
            }
        }
        Ok(())
    }

    /// Does what an entry did; `applied` is due once all that came with it are.
    pub(super) fn apply(&mut self, tx: &Tx<'_>, journaled: &Journaled<'_>) -> Result<(), Error> {
        let (workspace, recorded) = (journaled.workspace, journaled.recorded()?);
        let entry = &recorded.entry;
        let grants = entry.postings.iter().map(|posting| posting.grant).chain(entry.grant);
        // What an entry makes cannot be loaded.
        let hold = entry.hold.filter(|id| *id != entry.seq);
        self.load_named(tx, workspace, hold, grants.filter(|id| *id != entry.seq))?;
        let cached = self.get_mut(workspace);
        cached.account.apply(entry);
        self.keep(workspace, &recorded, journaled.canonical).hash = journaled.hash;
        Ok(())
    }

    /// How an account stands after entries that were applied. All its holds are looked at, which would be too much after each.
    pub(super) fn applied(&mut self, workspace: i64, now: Time) {
        let cached = self.get_mut(workspace);
        cached.level = cached.watch.level(cached.account.available, cached.basis(now), &cached.thresholds);
        cached.forget_ended();
    }

    /// Forgets an account whose tables are ahead of it: what it lacks would be read from them as it is after entries that are
    /// yet to be applied. They have all its entries of the rows before, so that none is lost with it.
    fn overtaken(&mut self, Written { workspace, until, anew }: &Written) {
        if self.cached.get(workspace).is_some_and(|cached| *anew || *until > cached.account.seq)
            && let Some(cached) = self.cached.remove(workspace)
        {
            self.unwritten -= cached.waiting.count();
            self.behind.remove(workspace);
        }
    }

    /// Keeps in mind what somebody wrote into a workspace's tables.
    fn wrote(&mut self, Written { workspace, until, .. }: &Written) -> Result<(), Error> {
        let left = if let Some(cached) = self.cached.get_mut(workspace) {
            self.unwritten -= cached.waiting.count();
            cached.waiting.cut(*workspace, *until)?;
            cached.waiting.count()
        } else if let Some(ahead) = self.ahead.get_mut(workspace) {
            self.unwritten -= ahead.count;
            ahead.cut(*workspace, *until)?;
            ahead.count
        } else {
            return Ok(());
        };
        self.unwritten += left;
        if left == 0 {
            self.behind.remove(workspace);
            self.ahead.remove(workspace);
        }
        Ok(())
    }

    /// Finds the holds that ended after their rows were written as open: they were forgotten, because everything about them waited.
    fn find_ended(&mut self, tx: &Tx<'_>, workspace: i64) -> Result<(), Error> {
        let Some(Cached { account, waiting, .. }) = self.cached.get_mut(&workspace) else { return Ok(()) };
        for id in &waiting.holds {
            if !account.holds.contains_key(id) {
                let hold = ledger::load_hold(tx, workspace, *id)?.ok_or_else(broken)?;
                account.holds.insert(*id, waiting.run().leave(hold)?);
            }
        }
        Ok(())
    }
}

impl Ahead {
    /// Forgets the entries until one.
    fn cut(&mut self, workspace: i64, until: Seq) -> Result<(), Error> {
        let before = std::mem::take(self);
        if until >= before.last {
            return Ok(());
        }
        let mut bytes = Bytes(&before.bytes);
        while let Some(body) = bytes.blob() {
            let seq = Journaled::read(workspace, body)?.seq;
            if seq > until {
                put_blob(&mut self.bytes, body);
                (self.last, self.count) = (seq, self.count + 1);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use billing::ledger::{GrantTerms, HoldTerms};
    use billing::{Amount, Command, GrantKind, HoldStatus, Labels, Price};

    use super::super::super::batch::Batch;
    use super::super::super::committer::Post;
    use super::super::super::sqlite::in_memory;
    use super::*;

    const NOW: Time = Time(1_900_000_000_000_000);

    /// A node writes its tables, and ends a hold in the same batch. Another one knew the hold as open, and must write how it ended.
    #[test]
    fn a_hold_that_ends_after_its_row_was_written_in_one_batch_is_written_anew() {
        let connection = in_memory();
        let make = "insert into workspace (workspace, name, trialed, collection, time_zone, low, critical, emails, anchor, first_period,
               created_at) values (?1, '', 0, '', 'UTC', '', '', '', 0, 0, 0);
             insert into account (workspace, seq, at, available, held, debt, hash, level, low_armed, critical_armed)
               values (?1, 0, 0, 0, 0, 0, zeroblob(32), 0, 0, 0);";
        for workspace in ["1", "2"] {
            connection.execute_batch(&make.replace("?1", workspace)).expect("a workspace");
        }
        let tx = || Tx::Sqlite(&connection);
        let accounts = || Accounts::recover(&tx(), 0, NOW).expect("accounts");
        let mut one = accounts();
        let news = |since: i64| -> News {
            let all = journal::all(&tx(), 0).expect("a journal");
            all.into_iter().filter(|(id, _)| *id >= since).collect()
        };

        let credits = Amount::new(9).expect("an amount");
        let (kind, price) =
            (GrantKind::Bonus, Price { operation: "work".into(), quantity: 1, unit_price: 2, version: 1 });
        let granted =
            Command::Grant(GrantTerms { credits, kind, priority: 0, effective_at: NOW, expires_at: None });
        let held =
            Command::Hold(HoldTerms { price, labels: Labels::default().into(), seconds: 60, epoch: 0 });
        // Alerts are looked at with the first credits, so that they are written at once; the holds wait.
        for command in [granted, held] {
            let mut batch = Batch::new(tx(), &mut one, NOW);
            for workspace in [1, 2] {
                batch.post(&Post::new(workspace, command.clone(), "key_1")).expect("posted");
            }
            batch.end().expect("a batch");
        }
        let mut other = accounts();
        other.load(&tx(), 1, NOW).expect("an account");

        let last = other.journal.last;
        one.written.push(Written { workspace: 1, until: Seq(2), anew: false });
        let mut batch = Batch::new(tx(), &mut one, NOW);
        // What the other workspace has stays, so that the journal does.
        batch.catch_up_until(1).expect("written");
        let settled = Command::Settle { hold: Seq(2), quantity: 1, attempted: None };
        batch.post(&Post::new(1, settled, "key_1")).expect("settled");
        batch.end().expect("a batch");
        assert!(other.follow(&tx(), news(last), NOW).expect("followed"));

        other.write(&tx(), 1, NOW).expect("written");
        let hold = ledger::load_hold(&tx(), 1, Seq(2)).expect("a row").expect("a hold");
        assert_eq!((hold.status, hold.settled), (HoldStatus::Settled, 1));
    }
}
