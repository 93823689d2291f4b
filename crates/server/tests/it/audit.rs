//! The auditor: a database made by the store is clean, and whatever is corrupted in it is found, under the right name.

mod anchors;
mod corruptions;
mod forge;
mod forgeries;
mod form;
mod refusals;

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use billing::{Command, GrantKind};
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};
use scrip::audit::{Report, audit};
use scrip::store::committer::{Key, KeyKind, Post};
use scrip::store::{Store, database_file};

use crate::chance::asked_for;
use crate::sample;
use crate::temp::{self, Directory};
use corruptions::{CORRUPTIONS, Corruption, MISPLACED};
use forge::{Forge, Ledger};
use forgeries::{KEYS, LEDGERS, LINKS};

#[tokio::test]
async fn a_database_made_by_the_store_is_clean() {
    let directory = Directory::new("clean");
    let workspaces = sample::make(&directory).await;
    let report = audit(&directory.place()).expect("it finishes");
    assert!(report.clean && report.finished && report.broken.is_empty(), "{:#?}", report.broken);
    assert_eq!((report.workspaces, report.broken_total), (2, 0));
    let count = |sql: &str| directory.number(sql) as u64;
    assert_eq!(count("select sum(seq) from account"), report.entries);
    assert_eq!(count("select count(*) from \"grant\""), report.grants);
    if !directory.is_shared() {
        let journaled = count("select max(id) from journal");
        assert_eq!(journaled, report.entries, "all of its keys are in the journal");
    }
    // The sample is worth something only while every kind of entry and every status of a hold is in it.
    assert_eq!(count("select count(distinct status) from hold"), 5);
    assert!(count("select count(*) from hold") < report.holds, "some ended in their page");
    let copy = directory.crashed();
    let mut ledger = Forge::new(&copy, workspaces).ledger();
    let kinds: BTreeSet<u8> = ledger.entries().map(|entry| entry.kind).collect();
    let released: BTreeSet<i64> = ledger.entries().filter_map(|entry| entry.release).collect();
    assert_eq!((kinds.len(), released.len()), (13, 3));
    assert!(ledger.0.len() > 5, "{} pages", ledger.0.len());
}

/// Tries one corruption of a copy; answers what was found when that is not what should be.
fn tried(
    what: &str,
    directory: &Directory,
    expected: &str,
    corrupt: impl FnOnce(&Directory),
) -> Option<String> {
    let copy = directory.crashed();
    corrupt(&copy);
    let report = audit(&copy.place()).expect("it finishes");
    let found: BTreeSet<&str> = report.broken.iter().map(|broken| &broken.invariant[..3]).collect();
    println!("{what}: {expected} in {found:?}");
    (report.clean || !found.contains(expected)).then(|| format!("{what}: {expected} not in {found:?}"))
}

#[tokio::test]
async fn every_corruption_is_found_under_its_name() {
    let directory = Directory::new("corrupt");
    let workspaces = sample::make(&directory).await;
    let misplaced: &[Corruption] = if directory.is_shared() { MISPLACED } else { &[] };
    let all = CORRUPTIONS.iter().chain(misplaced);
    let missed: Vec<String> = all
        .filter_map(|(what, sql, expected)| {
            tried(what, &directory, expected, |copy| Forge::new(copy, workspaces).run(sql))
        })
        .collect();
    println!("audit: {} kinds of corruption", CORRUPTIONS.len() + misplaced.len());
    assert!(missed.is_empty(), "{missed:#?}");
}

/// Entries and notes, first as they are, and then with a chain that was made anew, which hides nothing.
#[tokio::test]
async fn every_forgery_of_the_ledger_is_found_under_its_name() {
    let directory = Directory::new("forged");
    let workspaces = sample::make(&directory).await;
    let forged = |what, forgery: &fn(&mut Ledger), expected, chained: fn(&Forge<'_>, &Ledger)| {
        tried(what, &directory, expected, |copy| {
            let forge = Forge::new(copy, workspaces);
            let mut ledger = forge.ledger();
            forgery(&mut ledger);
            forge.put(&ledger);
            chained(&forge, &ledger);
        })
    };
    let mut missed = Vec::new();
    for (what, forgery, expected) in LEDGERS {
        missed.extend(forged(what, forgery, expected, |_, _| ()));
        missed.extend(forged(what, forgery, expected, |forge, ledger| forge.chain(ledger)));
    }
    for (what, forgery, expected) in LINKS {
        missed.extend(forged(what, forgery, expected, |_, _| ()));
    }
    println!("audit: {} forgeries, {} of them twice", LEDGERS.len() + LINKS.len(), LEDGERS.len());
    assert!(missed.is_empty(), "{missed:#?}");
}

/// What an honest forger does is the same database, so that what is found of another is what it did.
#[tokio::test]
async fn every_forgery_of_keys_is_found_under_its_name() {
    let directory = Directory::new("keys");
    let workspaces = sample::make(&directory).await;
    let copy = directory.crashed();
    let forge = Forge::new(&copy, workspaces);
    let ledger = forge.ledger();
    forge.put(&ledger);
    forge.chain(&ledger);
    copy.prove("as it was");
    forge.seal(|_| ());
    copy.prove("with all keys in a segment");
    let missed: Vec<String> = KEYS
        .iter()
        .filter_map(|(what, forgery, expected)| {
            tried(what, &directory, expected, |copy| forgery(&Forge::new(copy, workspaces)))
        })
        .collect();
    println!("audit: {} forgeries of keys", KEYS.len());
    assert!(missed.is_empty(), "{missed:#?}");
}

/// Databases of the first version have filters of half as many bits for each key.
#[tokio::test]
async fn filters_of_both_lengths_are_understood() {
    let directory = Directory::new("filters");
    let workspaces = sample::make(&directory).await;
    let store = Store::open(&directory.place(), Some(sample::START)).expect("it opens");
    for number in 0..64 {
        let key = Key { kind: KeyKind::Adjust, key: format!("more-{number}").into(), fingerprint: [7; 16] };
        let post = Post { key: Some(key), ..Post::new(workspaces.0, Command::Adjust(1), "key_1") };
        store.post(post).await.expect("lawful");
    }
    temp::close(store).await;
    let lengths = [2, 4].map(|each| {
        let copy = directory.crashed();
        let length = Forge::new(&copy, workspaces).seal_with(each, |_| ());
        copy.prove("with all keys in a segment");
        length
    });
    assert_eq!(lengths[1], 2 * lengths[0]);
}

/// One bit after the other of what the chain covers, of what it covers by a digest, and of what pages are found by.
#[tokio::test]
async fn every_flipped_bit_of_a_page_is_found() {
    let directory = Directory::local("bits");
    let (main, _) = sample::make(&directory).await;
    let connection = Connection::open(database_file(directory.path())).expect("it opens");
    let (mut flipped, mut missed) = (0, Vec::new());
    for column in ["entries", "notes", "hash", "operations"] {
        let pages =
            format!("select seq, cast({column} as blob) from page where workspace = {main} order by seq");
        let mut pages = connection.prepare(&pages).expect("pages");
        let pages = pages.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("pages");
        let pages: Vec<(i64, Vec<u8>)> = pages.collect::<Result<_, _>>().expect("pages");
        let kind = if column == "operations" { "text" } else { "blob" };
        let update =
            format!("update page set {column} = cast(?1 as {kind}) where workspace = {main} and seq = ?2");
        let put = |bytes: &[u8], seq| connection.execute(&update, (bytes, seq)).expect("written");
        let all = pages.iter().flat_map(|(seq, bytes)| (0..bytes.len()).map(move |at| (seq, bytes, at)));
        for (seq, bytes, at) in all.step_by(asked_for("SCRIP_AUDIT_BITS", 23) as usize) {
            let mut other = bytes.clone();
            other[at] ^= 1 << (at % 8);
            put(&other, seq);
            flipped += 1;
            // What is no text any more cannot be read at all.
            if audit(&directory.place()).is_ok_and(|report| report.clean) {
                missed.push((column, *seq, at));
            }
            put(bytes, seq);
        }
    }
    directory.prove("as it was");
    println!("audit: {flipped} flipped bits");
    assert!(missed.is_empty() && flipped > 100, "{missed:#?}");
}

/// The tables in which nothing may change unnoticed.
const PROVEN: [&str; 4] = ["page", "grant", "hold", "usage"];

/// All that a file has in those, by each table itself and by its index, if it has one.
fn proven(path: &Path) -> rusqlite::Result<Vec<String>> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut all = Vec::new();
    for table in PROVEN {
        for way in ["not indexed".to_owned(), format!("indexed by sqlite_autoindex_{table}_1")] {
            let Ok(mut rows) = connection.prepare(&format!("select * from \"{table}\" {way}")) else {
                continue;
            };
            let columns = rows.column_count();
            let mut rows = rows.query([])?;
            while let Some(row) = rows.next()? {
                let values: rusqlite::Result<Vec<_>> =
                    (0..columns).map(|at| row.get::<_, Value>(at)).collect();
                all.push(format!("{:?}", values?));
            }
        }
    }
    Ok(all)
}

/// One bit after the other where the file keeps entries and what follows from them: the audit is not clean, or every row is still
/// read as before.
#[tokio::test]
async fn no_flipped_bit_of_a_file_hides() {
    let directory = Directory::local("file");
    sample::make(&directory).await;
    let path = database_file(directory.path());
    let before = proven(&path).expect("rows");
    let connection = Connection::open(&path).expect("it opens");
    let mut trees = connection.prepare("select name, pgoffset, pgsize from dbstat").expect("trees");
    let trees = trees.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).expect("trees");
    let trees: Vec<(String, i64, i64)> = trees.collect::<Result<_, _>>().expect("trees");
    let ours = |name: &str| {
        let name = name.strip_prefix("sqlite_autoindex_").unwrap_or(name);
        PROVEN.contains(&name.strip_suffix("_1").unwrap_or(name))
    };
    let all = trees.iter().filter(|(name, ..)| ours(name));
    let all = all.flat_map(|(name, offset, size)| (*offset..offset + size).map(move |at| (name, at as u64)));
    let file = File::options().read(true).write(true).open(&path).expect("a file");
    let (mut found, mut missed) = (0, Vec::new());
    for (name, at) in all.step_by(asked_for("SCRIP_AUDIT_FILE_BITS", 89) as usize) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).expect("read");
        file.write_all_at(&[byte[0] ^ 1 << (at % 8)], at).expect("written");
        match audit(&directory.place()) {
            Ok(report) if report.clean => {
                if !proven(&path).is_ok_and(|rows| rows == before) {
                    missed.push((name, at));
                }
            }
            _ => found += 1,
        }
        file.write_all_at(&byte, at).expect("written");
    }
    directory.prove("as it was");
    println!("audit: {found} flipped bits of a file");
    assert!(missed.is_empty() && found > 100, "{missed:?}");
}

/// Deadlines count from what the clock says now, while the times of a workspace's entries go on rising.
#[tokio::test]
async fn a_clock_that_was_set_back_breaks_nothing() {
    let directory = Directory::local("back");
    let store = Store::open(&directory.place(), Some(sample::START)).expect("it opens");
    let workspace = sample::workspace(&store, Some(100_000)).await;
    temp::close(store).await;
    let mut left = Vec::new();
    for day in [0, 400, 20, 23, 29, 60, 3, 90, 398, 401, 500] {
        let now = sample::START.plus_seconds(day * sample::DAY);
        let connection = Connection::open(database_file(directory.path())).expect("it opens");
        let set = connection.execute("update meta set value = ?1 where name = 'clock'", [now.0.to_string()]);
        assert_eq!(set.expect("it is set"), 1);
        drop(connection);
        let store = Store::open(&directory.place(), Some(sample::START)).expect("it opens");
        let post = async |command| store.post(Post::new(workspace, command, "key_1")).await;
        for hold in std::mem::take(&mut left) {
            // Those that ended meanwhile are settled late, or refuse it.
            let settled = post(Command::Settle { hold, quantity: 1, attempted: None }).await;
            println!("day {day}: {:?}", settled.map(|answer| answer.available));
        }
        let soon = Some(now.plus_seconds(2 * sample::DAY));
        post(Command::Grant(sample::grant(9, GrantKind::Promo, now, soon))).await.expect("lawful");
        for seconds in [60, 900, 604_800] {
            let mut hold = async || {
                let held = post(Command::Hold(sample::hold("work", 2, 1, seconds))).await.expect("lawful");
                left.push(held.hold.expect("a hold").id);
                left[left.len() - 1]
            };
            let [_, extended, doubted] = [hold().await, hold().await, hold().await];
            post(Command::Extend { hold: extended, seconds: 1_000 }).await.expect("lawful");
            post(Command::Dispatch { hold: doubted, epoch: 0 }).await.expect("lawful");
            post(Command::Doubt(doubted)).await.expect("lawful");
        }
        store.advance_clock(now.plus_seconds(120)).await.expect("it is stored");
        post(Command::Sweep).await.expect("lawful");
        temp::close(store).await;
        directory.prove(&format!("on day {day}"));
    }
}

#[tokio::test]
async fn an_audit_beside_a_live_server_sees_one_moment() {
    let directory = Directory::new("live");
    let store = Store::open(&directory.place(), Some(sample::START)).expect("it opens");
    let workspace = sample::workspace(&store, Some(100_000)).await;
    let place = directory.place();
    let writer = tokio::spawn(async move {
        for _ in 0..60 {
            let charge = billing::Command::Charge(sample::hold("work", 1, 1, 900));
            let post = Post::new(workspace, charge, "key_1");
            let posts = std::iter::repeat_n(post, 20).collect();
            assert!(store.post_all(posts).await.iter().all(Result::is_ok));
        }
    });
    let (mut audits, mut seen) = (0, 0);
    while !writer.is_finished() {
        let place = place.clone();
        let report: Report =
            tokio::task::spawn_blocking(move || audit(&place)).await.expect("no panic").expect("it finishes");
        assert!(report.clean && report.entries >= seen, "{:#?}", report.broken);
        (audits, seen) = (audits + 1, report.entries);
    }
    writer.await.expect("the writer is done");
    println!("audit: {audits} audits beside 1,200 charges");
}

/// `SCRIP_AUDIT_CHARGES` asks for more: the time per entry is printed.
#[tokio::test]
async fn many_entries_are_read_in_one_pass() {
    let charges = asked_for("SCRIP_AUDIT_CHARGES", 8_000);
    let directory = Directory::new("many");
    let store = Store::open(&directory.place(), Some(sample::START)).expect("it opens");
    let workspace = sample::workspace(&store, Some(1_000_000_000)).await;
    for batch in (0..charges).step_by(4_000) {
        let charge = billing::Command::Charge(sample::hold("work", 1, 1, 900));
        let post = Post::new(workspace, charge, "key_1");
        let posts = std::iter::repeat_n(post, (charges - batch).min(4_000) as usize).collect();
        assert!(store.post_all(posts).await.iter().all(Result::is_ok));
    }
    // What is only in the journal is proven, and not counted.
    temp::close(store).await;
    let started = std::time::Instant::now();
    let report = audit(&directory.place()).expect("it finishes");
    assert!(report.clean, "{:#?}", report.broken);
    assert_eq!((report.entries, report.holds, report.grants), (charges + 1, charges, 1));
    println!("audit: {} entries in {:?}", report.entries, started.elapsed());
}
