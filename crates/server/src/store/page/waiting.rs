//! What waits to become pages: entries of one workspace that are written together later, with what they change in other tables.
//!
//! Owns where one page ends and the next begins. It does *not* decide when they are written.
//!
//! Invariant: a page ends where it would have ended had somebody else written it, so that others may write a part of what waits here.

use std::collections::BTreeSet;
use std::sync::Arc;

use billing::{EntryKind, ReleaseReason, Seq, Time};

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
            .map(|Full { seq, hash, end, span, operations }| (*seq, hash, *end, *span, operations));
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
