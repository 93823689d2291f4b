//! The auditor: proves the ledger from its raw rows, with a code path of its own.
//!
//! Owns the recomputation of everything that is stored twice. It does *not* call the rules or the store's readers, writes
//! nothing, and asks no clock: a mistake there must not be repeated here. One read transaction is one snapshot, so it runs
//! beside a live server; all tables are streamed in step, partition by partition, and only what is open is kept in memory.
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
//! | I19 | an idempotency key names one entry of its kind, no other key names it, and it will be found again; not its letters and the digest of its command, which are stored once |
//! | I20 | a paid payment is one grant of its credits and one of its bonus, an unpaid one is none; what went back was taken |
//! | I21 | periods tile from the anchor, each with one grant of the plan's credits |
//! | I22 | usage totals equal the ledger for every key, both ways |
//! | I23 | a job's used and held credits are the charges and the open amounts of its holds |
//! | I24 | what the journal and the tables both have is the same; what only the journal has continues each chain |
//! | I25 | every row lies in the partition of its workspace; a file is one partition |
//! | I26 | every head of a chain that was written into the anchor file is still there, with the same hash |
//! | I27 | a page can be read to its end, and its columns are what its entries say |
//! | I28 | every index of a file has what its table has; a server's are not looked at |

mod anchor;
mod around;
mod book;
mod bytes;
mod holds;
mod journal;
mod keys;
mod ledger;
mod money;
mod pages;
mod reader;
mod rows;
mod tables;
mod usage;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use crate::store::Place;
use anchor::Anchor;
use reader::{Read, Reader, Unread};
use tables::Statements;

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
const PLACE: &str = "I25 rows lie in the partition of their workspace";
const ANCHOR: &str = "I26 anchored heads are still there";
const PAGE: &str = "I27 pages are what their entries say";
const INDEX: &str = "I28 indexes have what their tables have";

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
    /// How many heads of an anchor file were looked for.
    pub anchored: u64,
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

/// Audits a database, read-only, as it is at one moment.
///
/// # Errors
/// One line for the operator: the audit could not be finished, so nothing is known.
pub fn audit(place: &Place) -> Result<Report, String> {
    read(place, None)
}

/// The same, and holds it against the heads in an anchor file, which new ones replace when all is clean. `moment` says there
/// when that was.
///
/// # Errors
/// One line for the operator: the audit could not be finished, or the file not be read or written.
pub fn audit_anchored(place: &Place, file: &Path, moment: &str) -> Result<Report, String> {
    read(place, Some((file, moment)))
}

fn read(place: &Place, anchor: Option<(&Path, &str)>) -> Result<Report, String> {
    let read = match place {
        Place::Directory(directory) => {
            let path = directory.join("scrip.db");
            let read = reader::on_file(&path, |reader| everything(reader, 1, anchor));
            read.map_err(|Unread(why)| Unread(format!("{}: {why}", path.display())))
        }
        Place::Postgres(server) => {
            reader::on_server(&server.url, |reader, partitions| everything(reader, partitions, anchor))
        }
    };
    let replaced = read.and_then(|(report, anchor)| {
        let anchor = anchor.filter(|_| report.clean);
        anchor.map_or(Ok(()), Anchor::replace).map(|()| report)
    });
    replaced.map_err(|Unread(why)| format!("the audit could not finish: {why}"))
}

/// Reads all there is; an anchor's file is written by then, and only needs to be put in place.
fn everything(
    reader: Reader<'_>,
    partitions: i64,
    anchor: Option<(&Path, &str)>,
) -> Read<(Report, Option<Anchor>)> {
    let mut findings = Findings { report: Report::default(), workspace: 0, counts: BTreeMap::new() };
    reader.disagreements()?.into_iter().for_each(|which| findings.broken(INDEX, which));
    let open = |(path, moment)| Anchor::open(path, partitions, moment);
    let mut anchor = anchor.map(open).transpose()?;
    let (named, mut workspaces) = (around::named(reader)?, Vec::new());
    for partition in 0..partitions {
        let mut own = in_partition(reader, (partition, partitions), anchor.as_mut(), &mut findings)?;
        around::strays(reader, &named, (partition, partitions), &own, &mut findings)?;
        workspaces.append(&mut own);
    }
    workspaces.sort_unstable();
    around::outside(reader, &named, partitions, &workspaces, &mut findings)?;
    if let Some(anchor) = &mut anchor {
        anchor.rest(&mut findings)?;
    }
    let mut report = findings.report;
    (report.finished, report.clean) = (true, report.broken_total == 0);
    Ok((report, anchor))
}

/// Audits the workspaces of a partition, and says which they are.
fn in_partition(
    reader: Reader<'_>,
    (partition, partitions): (i64, i64),
    mut anchor: Option<&mut Anchor>,
    findings: &mut Findings,
) -> Read<Vec<i64>> {
    let mut journal = journal::read(reader, partition)?;
    let mut segments = keys::segments(reader, partition)?;
    let mut keys = segments.open((partition, partitions), findings)?;
    let mut statements = Statements::prepare(reader, partition)?;
    let (mut tables, mut workspaces) = (statements.open()?, Vec::new());
    while let Some((id, plan)) = tables.workspaces.any()? {
        findings.workspace = id;
        findings.report.workspaces += 1;
        workspaces.push(id);
        let mut head = match &mut anchor {
            Some(anchor) => anchor.head_of((partition, id), findings)?,
            None => None,
        };
        let mut journal = journal.take(id)?;
        let mut book = ledger::read(&mut tables, id, (&mut journal, &mut head), findings)?;
        money::account(&mut tables, &book, findings)?;
        let (mut seq, mut hash) = (book.seq, book.hash.clone());
        let journaled = journal.follow(&book, findings, |next, its, findings| {
            head.take_if(|head| head.is(next, its, findings));
            (seq, hash) = (next, its.to_vec());
        });
        if let Some(head) = head {
            head.lost(seq, findings);
        }
        let mut keyed = money::Keyed::default();
        keys::of(&mut keys, (id, &workspaces), journaled, findings, |key, findings| {
            money::key(&mut book, &mut keyed, key, findings);
        })?;
        money::payments(&mut tables, &mut book, (&keyed, &plan), findings)?;
        around::sends(&mut tables, &mut book, findings)?;
        around::jobs(&mut tables, &book, findings)?;
        if let Some(anchor) = &mut anchor {
            anchor.push(id, seq, &hash)?;
        }
    }
    keys.rest(&workspaces, findings)?;
    journal.strays((partition, partitions), findings);
    Ok(workspaces)
}
