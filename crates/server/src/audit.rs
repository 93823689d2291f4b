//! The auditor: proves the ledger from its raw rows, with a code path of its own.
//!
//! Owns the recomputation of everything that is stored twice. It does *not* call the rules or the store's readers, writes
//! nothing, and asks no clock: a mistake there must not be repeated here. One read transaction is one snapshot, so it runs
//! beside a live server; entries are streamed by workspace, and only what is open is kept in memory.
//!
//! Invariant: a report is an answer about the whole database. Whatever cannot be read is an error, never `clean`.
//!
//! | id | what is proven |
//! |---|---|
//! | I01 | no row of any table without its workspace; one account for each workspace |
//! | I02 | `seq` of a workspace runs 1, 2, 3, … and the account stands at the last |
//! | I03 | time strictly rises within a workspace, and the account stands at the last |
//! | I04 | the hash chain verifies from the workspace's genesis to the account's hash |
//! | I05 | every note is the text its entry's digest was made of, and every digest has its note |
//! | I06 | an entry's amount, and available and balance after it, follow from its postings |
//! | I07 | the stored totals are the recomputed ones; balance = sum of amounts = available + held - debt |
//! | I08 | available >= 0 after each entry, and debt > 0 means available = 0 after each commit |
//! | I09 | postings can be read, move credits only as their kind of entry may, and no earlier or later than the terms allow |
//! | I10 | per grant: granted = scheduled + available + held + consumed + expired + revoked + repaid, all >= 0 |
//! | I11 | a grant's row is what its entries say |
//! | I12 | held is the sum of the open holds |
//! | I13 | every hold is opened once and ends once, in the order open, dispatched, in doubt, ended |
//! | I14 | an open hold is younger than its bound: 7 days, in doubt 72 hours |
//! | I15 | settled <= held, refunded <= settled, and credits = units × the unit price held |
//! | I16 | a hold's row is what its entries say |
//! | I17 | nothing is dispatched but under an earlier hold with the same epoch |
//! | I18 | per job, step and lead at most one send that went out and was not taken back |
//! | I19 | an idempotency key names one entry of its kind, no other key names it, and it will be found again |
//! | I20 | a paid top-up is one purchased grant of its credits; an unpaid one is none |
//! | I21 | periods tile from the anchor, each with one grant of the plan's credits |
//! | I22 | usage totals equal the ledger for every key, both ways |
//! | I23 | a job's used and held credits are the charges and the open amounts of its holds |
//! | I24 | what the journal and the tables both have is the same; what only the journal has continues each chain |

mod around;
mod book;
mod holds;
mod journal;
mod money;
mod rows;
mod usage;

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use serde::Serialize;

use book::Book;
use rows::{Cursor, EntryRow};
use usage::Slots;

/// The schema that this audit knows how to read.
const SCHEMA_VERSION: i64 = 1;
/// How many findings a report lists; all are counted.
const LISTED: usize = 100;
/// How many findings of one invariant are listed, so that a flood of one does not hide another.
const LISTED_EACH: u64 = 10;

const WORKSPACE: &str = "I01 every row has its workspace";
const SEQ: &str = "I02 entries follow one another";
const TIME: &str = "I03 time strictly rises";
const CHAIN: &str = "I04 the hash chain verifies";
const NOTE: &str = "I05 notes match their digests";
const SUMS: &str = "I06 amounts follow from postings";
const TOTALS: &str = "I07 stored totals are the sums of entries";
const SIGN: &str = "I08 available and debt exclude each other";
const MOVES: &str = "I09 moves are legal";
const WHOLE: &str = "I10 a grant's credits are all somewhere";
const GRANT_ROW: &str = "I11 grant rows follow from entries";
const HELD: &str = "I12 held is the sum of open holds";
const LIFE: &str = "I13 every hold ends once";
const BOUND: &str = "I14 open holds are younger than their bound";
const PRICE: &str = "I15 charges and refunds are covered and priced";
const HOLD_ROW: &str = "I16 hold rows follow from entries";
const EPOCH: &str = "I17 dispatch follows a hold of its epoch";
const ONE_SEND: &str = "I18 one send per step and lead";
const KEYS: &str = "I19 keys name entries";
const TOPUP: &str = "I20 payments are credited once";
const PERIOD: &str = "I21 periods tile";
const USAGE: &str = "I22 usage equals the ledger";
const JOB: &str = "I23 jobs account for their holds";
const JOURNAL: &str = "I24 the journal continues the ledger";

/// What an audit found. It exists only for a database that was read to its end.
#[derive(Clone, Serialize, Debug, Default)]
pub struct Report {
    /// Whether nothing is broken.
    pub clean: bool,
    /// Whether everything was read; a report that exists is finished.
    pub finished: bool,
    /// How many workspaces were read.
    pub workspaces: u64,
    /// How many entries were read.
    pub entries: u64,
    /// How many holds were read.
    pub holds: u64,
    /// How many grants were read.
    pub grants: u64,
    /// How many findings there are, also those that are not listed.
    pub broken_total: u64,
    /// The first findings.
    pub broken: Vec<Broken>,
}

/// One place where an invariant does not hold.
#[derive(Clone, Serialize, Debug)]
pub struct Broken {
    /// The stable id and the name.
    pub invariant: &'static str,
    /// The workspace.
    pub workspace: String,
    /// What was found, in numbers; never a customer's text.
    pub detail: String,
}

/// Collects what is broken while a workspace is read.
struct Findings {
    report: Report,
    workspace: i64,
    counts: BTreeMap<&'static str, u64>,
}

impl Findings {
    fn broken(&mut self, invariant: &'static str, detail: String) {
        self.report.broken_total += 1;
        let count = self.counts.entry(invariant).or_default();
        *count += 1;
        if *count <= LISTED_EACH && self.report.broken.len() < LISTED {
            let workspace = crate::id::workspace(self.workspace);
            self.report.broken.push(Broken { invariant, workspace, detail });
        }
    }

    fn check(&mut self, holds: bool, invariant: &'static str, detail: impl FnOnce() -> String) {
        if !holds {
            self.broken(invariant, detail());
        }
    }
}

/// Audits a database file, read-only, as it is at one moment.
///
/// # Errors
/// One line for the operator: the audit could not be finished, so nothing is known.
pub fn audit(path: &Path) -> Result<Report, String> {
    let describe =
        |error: rusqlite::Error| format!("{}: the audit could not finish: {error}", path.display());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(describe)?;
    connection.execute_batch("pragma busy_timeout = 5000; begin").map_err(describe)?;
    let version: i64 = connection.query_row("pragma user_version", [], |row| row.get(0)).map_err(describe)?;
    if version != SCHEMA_VERSION {
        let path = path.display();
        return Err(format!("{path}: the database has version {version}, this audit knows {SCHEMA_VERSION}"));
    }
    let mut findings = Findings { report: Report::default(), workspace: 0, counts: BTreeMap::new() };
    everything(&connection, &mut findings).map_err(describe)?;
    let mut report = findings.report;
    (report.finished, report.clean) = (true, report.broken_total == 0);
    Ok(report)
}

fn everything(connection: &Connection, findings: &mut Findings) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(64);
    let mut statement = connection.prepare("select workspace from workspace order by workspace")?;
    let workspaces = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<Vec<i64>>>()?;
    let journal = journal::read(connection)?;
    let segments = journal::segments(connection)?;
    for id in &workspaces {
        findings.workspace = *id;
        findings.report.workspaces += 1;
        let mut book = ledger(connection, *id, findings)?;
        money::account(connection, &book, findings)?;
        let journaled = journal::follow(connection, &book, journal.of(*id), findings)?;
        let keys = journal::keys(connection, *id, &segments, journaled, findings)?;
        money::keys_and_payments(connection, &mut book, &keys, findings)?;
        around::sends(connection, &mut book, findings)?;
        around::jobs(connection, &book, findings)?;
    }
    journal.strays(&workspaces, findings);
    around::strays(connection, &workspaces, findings)
}

/// Streams the ledger of one workspace, with the rows made of it in step, and gives the account as recomputed.
fn ledger(connection: &Connection, workspace: i64, findings: &mut Findings) -> rusqlite::Result<Book> {
    let mut statement = connection.prepare_cached(rows::ENTRIES)?;
    let mut entries = statement.query([workspace])?;
    let mut statement = connection.prepare_cached(rows::NOTES)?;
    let mut notes = Cursor::new(statement.query([workspace])?, rows::read_note)?;
    let mut statement = connection.prepare_cached(rows::GRANTS)?;
    let mut grants = Cursor::new(statement.query([workspace])?, rows::read_grant)?;
    let mut statement = connection.prepare_cached(rows::HOLDS)?;
    let mut holds = Cursor::new(statement.query([workspace])?, rows::read_hold)?;
    let mut statement = connection.prepare_cached(usage::ROWS)?;
    let mut slots = Slots::new(Cursor::new(statement.query([workspace])?, usage::read)?);
    let mut book = Book::new(workspace);
    while let Some(row) = entries.next()? {
        let entry = EntryRow::read(row)?;
        findings.report.entries += 1;
        let note = notes.take(entry.seq, |seq, _| {
            findings.broken(NOTE, format!("the note of entry {seq} has no entry"));
        })?;
        let grant = grants.take(entry.seq, |id, _| stray_grant(findings, id))?;
        let hold = holds.take(entry.seq, |id, row| stray_hold(findings, &mut book, id, &row))?;
        findings.report.grants += u64::from(grant.is_some());
        findings.report.holds += u64::from(hold.is_some());
        let moved = book.enter(&entry, note.as_ref(), (grant, hold), findings);
        slots.add(&entry, note.as_ref(), moved, findings)?;
    }
    while let Some((seq, _)) = notes.until(i64::MAX)? {
        findings.broken(NOTE, format!("the note of entry {seq} has no entry"));
    }
    while let Some((id, _)) = grants.until(i64::MAX)? {
        stray_grant(findings, id);
    }
    while let Some((id, row)) = holds.until(i64::MAX)? {
        stray_hold(findings, &mut book, id, &row);
    }
    slots.rest(findings)?;
    book.close(findings);
    Ok(book)
}

fn stray_grant(findings: &mut Findings, id: i64) {
    findings.report.grants += 1;
    findings.broken(GRANT_ROW, format!("grant {id} was made by no entry"));
}

fn stray_hold(findings: &mut Findings, book: &mut Book, id: i64, row: &rows::HoldRow) {
    findings.report.holds += 1;
    book.count_open(row);
    findings.broken(HOLD_ROW, format!("hold {id} was made by no entry"));
}
