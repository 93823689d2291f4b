//! What waits to become pages: entries of one workspace that are written together later, with what they change in other tables.
//!
//! Owns where one page ends and the next begins. It does *not* decide when they are written.
//!
//! Invariant: a page ends where it would have ended had somebody else written it, so that others may write a part of what waits here.

use std::collections::BTreeSet;
use std::sync::Arc;

use billing::{EntryKind, Hold, ReleaseReason, Seq, Time};

use super::super::Error;
use super::super::canonical::{put_blob, put_int};
use super::super::db::Value;
use super::super::entry::{self, Recorded, Usage, UsageKey};
use super::{ENTRIES, Run, operations_text, put_note};

/// Entries of one workspace that are in no page yet, oldest first, with what they change in other tables.
#[derive(Clone, Debug, Default)]
pub struct Waiting {
    entries: Vec<u8>,
    notes: Vec<u8>,
    count: usize,
    /// Number of the first.
    first: Seq,
    /// The pages that are full.
    full: Vec<Full>,
    /// Of the page that is not: times of the first and the last entry, and what they are listed under.
    span: (Time, Time),
    operations: BTreeSet<Arc<str>>,
    /// The holds that its entries are about and did not make.
    about: Vec<Seq>,
    /// What they add to usage totals.
    pub usage: Vec<(UsageKey, Usage)>,
    /// The grants whose credits they moved.
    pub grants: BTreeSet<Seq>,
    /// The holds they changed that were made before them, and others that ended and may change once more.
    pub holds: BTreeSet<Seq>,
}

/// A page that is full, and waits.
#[derive(Clone, Debug)]
struct Full {
    /// Its last entry's number, and hash.
    seq: Seq,
    hash: [u8; 32],
    /// Where its entries and notes end.
    end: (usize, usize),
    span: (Time, Time),
    operations: BTreeSet<Arc<str>>,
    about: Vec<Seq>,
}

impl Waiting {
    /// Adds an entry, with its bytes, after one with this hash.
    pub fn add(
        &mut self,
        workspace: i64,
        Recorded { entry, note, .. }: &Recorded,
        bytes: &[u8],
        before: &[u8; 32],
    ) {
        if self.count == 0 {
            (self.first, self.span.0) = (entry.seq, entry.at);
        } else if (entry.seq.0 - 1) % ENTRIES == 0 {
            self.full.push(Full {
                seq: Seq(entry.seq.0 - 1),
                hash: *before,
                end: (self.entries.len(), self.notes.len()),
                span: self.span,
                operations: std::mem::take(&mut self.operations),
                about: std::mem::take(&mut self.about),
            });
            self.span.0 = entry.at;
        }
        (self.count, self.span.1) = (self.count + 1, entry.at);
        put_blob(&mut self.entries, bytes);
        if let Some(note) = note {
            put_int(&mut self.notes, entry.seq.0);
            put_note(&mut self.notes, note);
        }
        self.grants.extend(entry.postings.iter().map(|posting| posting.grant).chain(entry.grant));
        self.about.extend(entry.hold.filter(|id| *id != entry.seq));
        // A charge may be given back more than once, and what ended by itself may still be settled. Other ends are final.
        let may_change = entry.kind == EntryKind::Refund
            || entry.release_reason.is_some_and(|reason| reason != ReleaseReason::Caller);
        self.holds.extend(entry.hold.filter(|id| may_change || *id < self.first));
        if let Some(operation) = entry::listed_operation(entry)
            && !self.operations.contains(operation)
        {
            self.operations.insert(operation.clone());
        }
        if entry::is_of_others(entry) {
            self.operations.insert(entry::OTHERS.into());
        }
        entry::fold_usage(&mut self.usage, workspace, entry);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Number of the first one; the next one's when there is none.
    pub fn first(&self, last: Seq) -> Seq {
        if self.count == 0 { Seq(last.0 + 1) } else { self.first }
    }

    /// What there is.
    pub fn run(&self) -> Run<'_> {
        Run { entries: &self.entries, notes: &self.notes }
    }

    /// One of them.
    pub fn find(&self, seq: Seq) -> Result<Option<Recorded>, Error> {
        self.pages(seq).next().map_or(Ok(None), |(run, _)| run.find(seq))
    }

    /// A hold that one of them made, as they leave it.
    pub fn hold(&self, id: Seq) -> Result<Option<Hold>, Error> {
        let mut pages = self.pages(id);
        let made = pages.next().map_or(Ok(None), |(run, _)| run.hold(id))?;
        let leave = |hold, (run, _): (Run<'_>, _)| run.leave(hold);
        made.map(|made| pages.filter(|(_, about)| about.contains(&id)).try_fold(made, leave)).transpose()
    }

    /// What will be a page, each from the one on in which an entry will be, and the holds that its entries are about and did not make.
    fn pages(&self, seq: Seq) -> impl Iterator<Item = (Run<'_>, &[Seq])> {
        let first = self.full.partition_point(|page| page.seq < seq);
        let mut begin = first.checked_sub(1).map_or((0, 0), |before| self.full[before].end);
        let full = self.full[first..].iter().map(|page| (page.end, &page.about[..]));
        let last = ((self.entries.len(), self.notes.len()), &self.about[..]);
        full.chain(std::iter::once(last)).map(move |(end, about)| {
            let from = std::mem::replace(&mut begin, end);
            let (entries, notes) = (&self.entries[from.0..end.0], &self.notes[from.1..end.1]);
            (Run { entries, notes }, about)
        })
    }

    /// Forgets the entries until one, because somebody wrote them.
    pub fn cut(&mut self, workspace: i64, until: Seq) -> Result<(), Error> {
        let before = std::mem::take(self);
        let mut entries = before.run().entries();
        let mut full = before.full.iter().peekable();
        before.run().raw().zip(&mut entries).try_for_each(|(raw, recorded)| {
            let (seq, bytes) = raw?;
            let ended = full.next_if(|page| page.seq < seq);
            if seq > until {
                self.add(workspace, &recorded?, bytes, ended.map_or(&[0; 32], |page| &page.hash));
            }
            Ok(())
        })
    }

    /// As rows, the last one with the number and the hash of the last entry.
    pub fn rows<'v>(
        &'v self,
        workspace: i64,
        seq: Seq,
        hash: &'v [u8; 32],
    ) -> impl Iterator<Item = [Value<'v>; 9]> {
        let full = self
            .full
            .iter()
            .map(|Full { seq, hash, end, span, operations, .. }| (*seq, hash, *end, *span, operations));
        let end = (self.entries.len(), self.notes.len());
        let last = (seq, hash, end, self.span, &self.operations);
        let mut begin = (self.first, (0, 0));
        full.chain(std::iter::once(last)).map(move |(seq, hash, end, span, operations)| {
            let (first, from) = std::mem::replace(&mut begin, (Seq(seq.0 + 1), end));
            [
                workspace.into(),
                seq.into(),
                first.into(),
                span.0.into(),
                span.1.into(),
                operations_text(operations.iter().map(|operation| &**operation)).into(),
                hash.into(),
                self.entries[from.0..end.0].into(),
                self.notes[from.1..end.1].into(),
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use billing::ledger::{GrantTerms, HoldTerms, post};
    use billing::{Account, Amount, Command, GrantKind, Labels, Price};

    use super::super::super::canonical;
    use super::super::super::entry::Note;
    use super::*;

    const NOW: Time = Time(1_900_000_000_000_000);

    fn made(number: i64) -> Command {
        let price = Price { operation: "work".into(), quantity: 3, unit_price: 2, version: 1 };
        let campaign = (number % 3 == 0).then(|| format!("campaign {number}").into());
        let labels = Arc::new(Labels { campaign, ..Labels::default() });
        let terms = HoldTerms { price, labels, seconds: 900, epoch: 0 };
        if number % 7 == 0 { Command::Charge(terms) } else { Command::Hold(terms) }
    }

    /// What is done to a hold of long ago, by its number: it may be refused.
    fn done(hold: Seq) -> Vec<Command> {
        let settle = |quantity| Command::Settle { hold, quantity, attempted: None };
        match hold.0 % 6 {
            0 => vec![settle(2)],
            1 => vec![Command::Release(hold)],
            2 => vec![Command::Dispatch { hold, epoch: 0 }, settle(3)],
            3 => vec![Command::Extend { hold, seconds: 1_000 }],
            4 => vec![settle(3), Command::Refund { hold, quantity: Some(1) }],
            _ => vec![],
        }
    }

    #[test]
    fn an_entry_and_a_hold_are_found_without_reading_the_others() {
        let (mut account, mut waiting, mut all) = (Account::default(), Waiting::default(), Vec::new());
        let credits = Amount::new(1_000_000).expect("an amount");
        let (kind, expires_at) = (GrantKind::Bonus, None);
        let granted =
            Command::Grant(GrantTerms { credits, kind, priority: 0, effective_at: NOW, expires_at });
        let later = |number: i64| done(Seq((number - 100).max(2)));
        let commands = (0..900).flat_map(|number| std::iter::once(made(number)).chain(later(number)));
        for command in std::iter::once(granted).chain(commands) {
            let mut entries = Vec::new();
            let _ = post(&mut account, &command, NOW, &mut entries);
            for entry in entries {
                let note = Note::new(&entry.labels, None);
                let digest = note.as_ref().map(Note::digest);
                let recorded = Recorded { entry, actor: "key_1".into(), note };
                let mut bytes = Vec::new();
                canonical::encode(&mut bytes, &recorded.entry, &recorded.actor, digest.as_ref());
                assert_eq!(canonical::hold(&bytes), Some(recorded.entry.hold));
                waiting.add(1, &recorded, &bytes, &[0; 32]);
                all.push(recorded);
            }
        }
        assert!(waiting.full.len() > 1 && account.holds.len() > 800, "{} entries", all.len());
        for recorded in &all {
            let found = waiting.find(recorded.entry.seq).expect("it is read");
            assert_eq!(format!("{found:?}"), format!("{:?}", Some(recorded)));
        }
        for (id, hold) in account.holds.iter().step_by(5) {
            assert_eq!(format!("{:?}", waiting.hold(*id)), format!("{:?}", Ok::<_, Error>(Some(hold))));
        }
        for seq in [Seq(0), Seq(all.len() as i64 + 1)] {
            assert!(waiting.find(seq).expect("it is read").is_none());
            assert!(waiting.hold(seq).expect("it is read").is_none());
        }
    }
}
