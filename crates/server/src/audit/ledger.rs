//! The ledger of one workspace, page after page, with the rows made of it in step.

use super::anchor::Head;
use super::book::Book;
use super::journal::Ahead;
use super::pages::{Entry, Notes, PageRow, Told, chained};
use super::reader::{Cursor, Read};
use super::rows::{GrantRow, HoldRow};
use super::tables::Tables;
use super::usage::Slots;
use super::{Findings, GRANT_ROW, HOLD_ROW, PAGE};

/// Where the audit is in a ledger, and in what belongs to it.
struct Ledger<'t, 's> {
    book: Book,
    slots: Slots<'t, 's>,
    grants: &'t mut Cursor<'s, GrantRow>,
    holds: &'t mut Cursor<'s, HoldRow>,
    journal: &'t mut Ahead,
    head: &'t mut Option<Head>,
}

/// Streams the ledger of a workspace, and gives the account as recomputed.
pub fn read(
    tables: &mut Tables<'_>,
    id: i64,
    (journal, head): (&mut Ahead, &mut Option<Head>),
    findings: &mut Findings,
) -> Read<Book> {
    let Tables { pages, grants, holds, usage, .. } = tables;
    let (book, slots) = (Book::new(id), Slots::new(id, usage));
    head.take_if(|head| head.is(0, &book.hash, findings));
    let mut ledger = Ledger { book, slots, grants, holds, journal, head };
    while let Some((_, page)) = pages.next(id)? {
        ledger.page(&page, findings)?;
    }
    ledger.rest(findings)
}

impl Ledger<'_, '_> {
    fn page(&mut self, page: &PageRow, findings: &mut Findings) -> Read<()> {
        let (mut notes, mut told, mut unread) = (page.notes(), Told::default(), 0);
        for canonical in page.entries() {
            let Some(canonical) = canonical else {
                unread += 1;
                break;
            };
            let hash = chained(&self.book.hash, canonical);
            let Some(entry) = Entry::parse(canonical) else {
                unread += 1;
                self.book.pass(&hash);
                continue;
            };
            told.add(&entry);
            self.entry((&entry, &hash), &mut notes, findings)?;
        }
        findings.check(unread == 0, PAGE, || {
            format!("{unread} entries of the page until entry {} cannot be read", page.seq)
        });
        if unread == 0 {
            told.compare(page, findings);
        }
        notes.rest(findings);
        self.book.turn(page, findings);
        Ok(())
    }

    fn entry<'p>(
        &mut self,
        (entry, hash): (&Entry<'p>, &[u8]),
        notes: &mut Notes<'p>,
        findings: &mut Findings,
    ) -> Read<()> {
        let (id, seq) = (self.book.workspace, entry.seq);
        findings.report.entries += 1;
        self.journal.meet((entry, hash), findings);
        self.head.take_if(|head| head.is(seq, hash, findings));
        let note = notes.take(seq, findings);
        let grant = self.grants.take(id, seq, |id, _| stray_grant(findings, id))?;
        let book = &mut self.book;
        let hold = self.holds.take(id, seq, |id, row| stray_hold(findings, book, id, &row))?;
        findings.report.grants += u64::from(grant.is_some());
        findings.report.holds += u64::from(hold.is_some() || entry.hold == Some(seq));
        let moved = self.book.enter((entry, hash), note.as_ref(), (grant, hold), findings);
        self.slots.add(entry, note.as_ref(), moved, findings)
    }

    /// What belongs to no entry, and what must hold after the last one.
    fn rest(self, findings: &mut Findings) -> Read<Book> {
        let Ledger { mut book, mut slots, grants, holds, .. } = self;
        while let Some((id, _)) = grants.next(book.workspace)? {
            stray_grant(findings, id);
        }
        while let Some((id, row)) = holds.next(book.workspace)? {
            stray_hold(findings, &mut book, id, &row);
        }
        slots.rest(findings)?;
        book.close(findings);
        Ok(book)
    }
}

fn stray_grant(findings: &mut Findings, id: i64) {
    findings.report.grants += 1;
    findings.broken(GRANT_ROW, format!("grant {id} was made by no entry"));
}

fn stray_hold(findings: &mut Findings, book: &mut Book, id: i64, row: &HoldRow) {
    findings.report.holds += 1;
    book.count_open(row);
    findings.broken(HOLD_ROW, format!("hold {id} was made by no entry"));
}
