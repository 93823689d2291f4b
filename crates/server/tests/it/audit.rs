//! The auditor: a database made by the store is clean, and whatever is corrupted in it is found, under the right name.

mod anchors;
mod refusals;

use rusqlite::Connection;
use scrip::audit::{Report, audit};
use scrip::store::committer::Post;
use scrip::store::{Place, Store, database_file};

use crate::chance::asked_for;
use crate::sample;
use crate::temp::{self, Directory, administer};

/// A corruption, what it does in SQL, and the invariant that it breaks. `{main}` and `{other}` are workspaces, and `{at}` is
/// the partition of the first. On a server `{in main}` is that partition before the values of a row, `{same}` the column.
type Corruption = (&'static str, &'static str, &'static str);

#[rustfmt::skip]
const CORRUPTIONS: &[Corruption] = &[
    ("a row of a workspace that is gone", "insert into block values ({in main}42, 'example.org', 0)", "I01"),
    ("a mail of a workspace that is gone", "insert into outbox select {in main}42, 99, 0, 'a@example.org', '', '', 0, 0, null", "I01"),
    ("a workspace without account", "delete from account where workspace = {other}", "I01"),
    ("an entry deleted", "delete from entry where workspace = {main} and seq = 9", "I02"),
    ("the last entry deleted", "delete from entry where workspace = {main} and seq = (select max(seq) from entry where workspace = {main})", "I02"),
    ("the account behind its ledger", "update account set seq = seq - 1 where workspace = {main}", "I02"),
    ("an entry moved to another workspace", "update entry set workspace = {other}, seq = 3 where workspace = {main} and seq = (select max(seq) from entry where workspace = {main})", "I02"),
    ("two entries swapped", "update entry set seq = -1 where workspace = {main} and seq = 5; update entry set seq = 5 where workspace = {main} and seq = 6; update entry set seq = 6 where seq = -1", "I03"),
    ("an entry restamped before the one before", "update entry set at = at - 900000000000 where workspace = {main} and seq = 12", "I03"),
    ("the account restamped", "update account set at = at + 1 where workspace = {main}", "I03"),
    ("an entry restamped by a little", "update entry set at = at + 1 where workspace = {main} and seq = (select max(seq) from entry where workspace = {main})", "I04"),
    ("an entry's actor changed", "update entry set actor = 'key_2' where workspace = {main} and seq = 4", "I04"),
    ("an entry's hash changed", "update entry set hash = zeroblob(32) where workspace = {main} and seq = 4", "I04"),
    ("the account's hash changed", "update account set hash = zeroblob(32) where workspace = {main}", "I04"),
    ("a note's reason edited", "update note set reason = 'for love' where workspace = {main} and seq = 7", "I05"),
    ("a note's label edited", "update note set campaign = 'autumn' where workspace = {main} and campaign = 'spring'", "I05"),
    ("a note deleted", "delete from note where workspace = {main} and seq = 7", "I05"),
    ("a note of no entry", "insert into note values ({in main}{main}, 9999, unhex('00'), '', '', '', '', '', 'why')", "I05"),
    ("an amount changed", "update entry set amount = amount + 1 where workspace = {main} and kind = 7 and hold_id = seq", "I06"),
    ("an available after changed", "update entry set available = available + 1 where workspace = {main} and seq = 8", "I06"),
    ("a balance after changed", "update entry set balance = balance - 1 where workspace = {main} and seq = 8", "I06"),
    ("a posting's credits changed", "update entry set postings = replace(postings, 'ia100', 'ia101') where workspace = {main} and postings like '%ia100'", "I06"),
    ("the stored available raised", "update account set available = available + 1 where workspace = {main}", "I07"),
    ("the stored debt raised", "update account set debt = debt + 1 where workspace = {main}", "I07"),
    ("debt while credits are available", "update account set debt = 5, available = available + 5 where workspace = {main}", "I08"),
    ("a posting between wrong buckets", "update entry set postings = replace(postings, 'ah', 'ac') where workspace = {main} and kind = 3", "I09"),
    ("a posting that cannot be read", "update entry set postings = postings || '?' where workspace = {main} and kind = 3", "I09"),
    ("a posting of another grant", "update entry set postings = '9999' || substr(postings, instr(postings, 'a')) where workspace = {main} and kind = 9", "I09"),
    ("a grant that expired too early", "update entry set until = until + 864000000000 where workspace = {main} and seq = (select grant_id from entry where workspace = {main} and kind = 9 limit 1)", "I09"),
    ("a grant's buckets within the check", "update \"grant\" set available = available - 1, consumed = consumed + 1 where workspace = {main} and available > 0", "I11"),
    ("a grant's expiry changed", "update \"grant\" set expires_at = 1900000000000000 where workspace = {main} and id = 2", "I11"),
    ("a grant unrevoked", "update \"grant\" set revoked_at = null where workspace = {main}", "I11"),
    ("a grant's row deleted", "delete from \"grant\" where workspace = {main} and id = 1", "I11"),
    ("a grant's row invented", "insert into \"grant\" select {same}workspace, 9999, kind, priority, effective_at, expires_at, granted_at, revoked_at, granted, scheduled, available, held, consumed, expired, revoked, repaid from \"grant\" where workspace = {main} and id = 1", "I11"),
    ("more consumed than was there", "update entry set postings = replace(postings, 'hc6', 'hc600') where workspace = {main} and kind = 7; update entry set postings = replace(postings, 'ac', 'ac9') where workspace = {main} and kind = 7", "I10"),
    ("an open hold's parts changed", "update hold set parts = substr(parts, 1, instr(parts, ':')) || '99' where workspace = {main} and status = 0", "I12"),
    ("the stored held raised", "update account set held = held + 1, available = available - 1 where workspace = {main}", "I12"),
    ("a hold charged twice", "update entry set kind = 7 where workspace = {main} and kind = 11", "I13"),
    ("an entry about no hold", "update entry set hold_id = 9999 where workspace = {main} and kind = 4", "I13"),
    ("a hold open beyond its end", "update entry set until = at + 1 where workspace = {main} and kind = 5", "I14"),
    ("a hold opened for too long", "update entry set until = until + 6048000000000 where workspace = {main} and kind = 3", "I14"),
    ("a settle beyond its hold", "update entry set quantity = 9 where workspace = {main} and kind = 7 and hold_id <> seq", "I15"),
    ("a charge at another price", "update entry set unit_price = unit_price + 1 where workspace = {main} and kind = 7", "I15"),
    ("a refund beyond its charge", "update entry set quantity = 100 where workspace = {main} and kind = 11", "I15"),
    ("a hold's status changed", "update hold set status = 4 where workspace = {main} and status = 3", "I16"),
    ("a hold's settled units changed", "update hold set settled = settled - 1 where workspace = {main} and settled > 1", "I16"),
    ("a hold's refunded units changed", "update hold set refunded = 0 where workspace = {main} and refunded > 0", "I16"),
    ("a hold's label changed", "update hold set member = 'bob' where workspace = {main}", "I16"),
    ("a hold's row deleted", "delete from hold where workspace = {main} and status = 0", "I16"),
    ("a hold's row invented", "insert into hold select {same}workspace, 9999, 4, opened_at, operation, quantity, unit_price, version, epoch, '', ends_at, 0, 0, 0, 0, ended_at, campaign, member, channel, reference, lead from hold where workspace = {main} limit 1", "I16"),
    ("a dispatch under another epoch", "update entry set epoch = epoch + 1 where workspace = {main} and kind = 4 and epoch > 0", "I17"),
    ("a send without dispatch", "update entry set kind = 5, until = until + 1 where workspace = {main} and kind = 4 and epoch > 0", "I17"),
    ("a send that belongs to no step", "delete from step_result where workspace = {main}", "I18"),
    ("two steps paid by one send", "insert into step_result ({same}workspace, job, step, lead, outcome, hold, at, detail) select {same}workspace, job, step + 1, lead, outcome, hold, at, detail from step_result where workspace = {main} limit 1", "I18"),
    ("a second send of one step", "update work set hold = (select min(hold) from step_result), position = 1000 where workspace = {main} and (workspace, lead) in (select workspace, lead from step_result where hold > (select min(hold) from step_result))", "I18"),
    ("a key's entry deleted", "delete from entry where workspace = {main} and kind = 7 and hold_id = seq", "I19"),
    ("a key of another kind", "insert into request_segment values ({at}, 1, unhex('ff')); insert into request values ({at}, 1, {main}, 4, 'k', unhex(''), 1)", "I19"),
    ("two keys of one entry", "insert into request_segment values ({at}, 1, unhex('ff')); insert into request select {at}, 1, workspace, 1, 'again', unhex(''), seq from entry where workspace = {main} and kind = 3 limit 1", "I19"),
    ("a key that its filter denies", "insert into request_segment values ({at}, 1, unhex('00')); insert into request select {at}, 1, workspace, 4, 'k', unhex(''), seq from entry where workspace = {main} and kind = 2 limit 1", "I19"),
    ("a key of an unfinished segment", "insert into request select {at}, 1, workspace, 4, 'k', unhex(''), seq from entry where workspace = {main} and kind = 2 limit 1", "I19"),
    ("an entry that is another one in the journal", "update journal set body = substr(body, 1, length(body) - 40) || unhex('ff') || substr(body, length(body) - 38) where partition = {at} and id = (select id from journal where length(body) > 200 and partition = {at} order by id limit 1)", "I24"),
    ("a note in the journal edited", "update journal set body = substr(body, 1, instr(body, cast('because' as blob)) - 1) || cast('for joy' as blob) || substr(body, instr(body, cast('because' as blob)) + 7) where partition = {at} and instr(body, cast('because' as blob)) > 0", "I05"),
    ("a row of the journal cut", "update journal set body = substr(body, 1, 40) where partition = {at} and id = (select id from journal where length(body) > 200 and partition = {at} order by id limit 1)", "I24"),
    ("a row of the journal out of turn", "insert into journal select partition, 99999, body from journal where partition = {at} order by id desc limit 1", "I24"),
    ("a key of no top-up", "update request set seq = 42 where workspace = {main} and kind = 6 and key = 'order-3'", "I19"),
    ("a top-up paid without grant", "update payment set status = 1 where workspace = {main} and status = 0", "I20"),
    ("a top-up credited twice", "update payment set status = 1, grant_id = (select grant_id from payment where grant_id is not null limit 1) where workspace = {main} and status = 2", "I20"),
    ("a paid top-up unpaid", "update payment set status = 0, grant_id = null, taken = 0 where workspace = {main} and status = 1", "I20"),
    ("a paid top-up deleted", "delete from payment where workspace = {main} and status = 1; delete from request where workspace = {main} and kind = 6", "I20"),
    ("a top-up of other credits", "update payment set credits = credits + 1 where workspace = {main} and status = 1", "I20"),
    ("a refund of a top-up forgotten", "update payment set taken = 0 where workspace = {main} and status = 1", "I20"),
    ("a receipt's number twice", "update payment set receipt = 1 where workspace = {main} and receipt = 2", "I20"),
    ("a refund nobody asked for", "insert into refund values ({in main}{main}, (select min(id) from payment), 9, 1, 1, '', 0)", "I20"),
    ("a gap between periods", "update period set starts_at = starts_at + 1 where workspace = {main} and number = 1", "I21"),
    ("overlapping periods", "update period set ends_at = ends_at + 1 where workspace = {main} and number = 0", "I21"),
    ("a period deleted", "delete from period where workspace = {main} and number = 1", "I21"),
    ("two periods with one grant", "update period set grant_id = 1 where workspace = {main} and number = 1", "I21"),
    ("a period of other credits", "update period set credits = 999 where workspace = {main} and number = 1", "I21"),
    ("periods counted from elsewhere", "update workspace set anchor = anchor + 1 where workspace = {main}", "I21"),
    ("a period due after the end", "update workspace set subscription = 5 where workspace = {main}", "I21"),
    ("the next period elsewhere", "update workspace set next_period = next_period + 1 where workspace = {main}", "I21"),
    ("usage credits changed", "update usage set credits = credits + 1 where workspace = {main}", "I22"),
    ("usage refunds changed", "update usage set refunded = 0, refunded_credits = 0 where workspace = {main} and refunded > 0", "I22"),
    ("usage under another label", "update usage set campaign = 'autumn' where workspace = {main} and campaign = 'spring'", "I22"),
    ("a usage row deleted", "delete from usage where workspace = {main} and operation = 'call'", "I22"),
    ("a usage row added", "insert into usage values ({in main}{main}, 1900000800000000, 'work', '', '', '', 1, 1, 0, 0, 0)", "I22"),
    ("a usage row of an idle workspace", "insert into usage values ({in other}{other}, 900000000, 'work', '', '', '', 1, 1, 0, 0, 0)", "I22"),
    ("a job's held credits changed", "update job set credits_held = credits_held + 1 where workspace = {main}", "I23"),
    ("a job's credits changed", "update job set credits_used = credits_used + 1 where workspace = {main}", "I23"),
    ("a key in another partition", "update request set partition = partition + 1 where workspace = {main}", "I25"),
    ("the journal in no partition", "update journal set partition = -1 where partition = {at}", "I25"),
];

/// What only a database of several partitions can suffer: rows where no statement finds them.
#[rustfmt::skip]
const MISPLACED: &[Corruption] = &[
    ("leads in another partition", "update lead set partition = (partition + 1) % 3 where workspace = {main}", "I25"),
    ("grants in no partition", "update \"grant\" set partition = 3 where workspace = {main}", "I25"),
    ("a workspace in another partition", "update workspace set partition = (partition + 1) % 3 where workspace = {main}", "I25"),
    ("a workspace in another partition leaves its rows behind", "update workspace set partition = (partition + 1) % 3 where workspace = {main}", "I01"),
    ("an account in another partition", "update account set partition = (partition + 1) % 3 where workspace = {main}", "I01"),
    ("a journal in another partition", "update journal set partition = 9 where partition = {at}; update journal set partition = {at} where partition = ({at} + 1) % 3; update journal set partition = ({at} + 1) % 3 where partition = 9", "I25"),
];

#[tokio::test]
async fn a_database_made_by_the_store_is_clean() {
    let directory = Directory::new("clean");
    sample::make(&directory).await;
    let report = audit(&directory.place()).expect("it finishes");
    assert!(report.clean && report.finished && report.broken.is_empty(), "{:#?}", report.broken);
    assert_eq!((report.workspaces, report.broken_total), (2, 0));
    // The sample is worth something only while every kind of entry and every status of a hold is in it.
    let count = |sql: &str| directory.number(sql) as u64;
    assert_eq!(count("select count(distinct kind) from entry"), 13);
    assert_eq!(count("select count(distinct status) from hold"), 5);
    assert_eq!(count("select count(distinct release_reason) from hold"), 3);
    if !directory.is_shared() {
        assert_eq!(
            count("select max(id) from journal"),
            report.entries,
            "all of its keys are in the journal"
        );
    }
    assert_eq!(count("select count(*) from entry"), report.entries);
    assert_eq!(count("select count(*) from hold"), report.holds);
    assert_eq!(count("select count(*) from \"grant\""), report.grants);
}

#[tokio::test]
async fn every_corruption_is_found_under_its_name() {
    let directory = Directory::new("corrupt");
    let (main, other) = sample::make(&directory).await;
    let mut missed = Vec::new();
    let misplaced: &[Corruption] = if directory.is_shared() { MISPLACED } else { &[] };
    for (what, sql, expected) in CORRUPTIONS.iter().chain(misplaced) {
        let copy = directory.crashed();
        corrupt(&copy, sql, (main, other));
        let report = audit(&copy.place()).expect("it finishes");
        let found: Vec<&str> = report.broken.iter().map(|broken| &broken.invariant[..3]).collect();
        println!("{what}: {expected} in {found:?}");
        if report.clean || !found.contains(expected) {
            missed.push((what, expected, found.iter().map(ToString::to_string).collect::<Vec<_>>()));
        }
    }
    println!("audit: {} kinds of corruption", CORRUPTIONS.len() + misplaced.len());
    assert!(missed.is_empty(), "{missed:#?}");
}

fn corrupt(copy: &Directory, sql: &str, (main, other): (i64, i64)) {
    let partition = |workspace: i64| if copy.is_shared() { workspace.rem_euclid(3) } else { 0 };
    let column = |text: String| if copy.is_shared() { text } else { String::new() };
    let sql = sql
        .replace("{main}", &main.to_string())
        .replace("{other}", &other.to_string())
        .replace("{at}", &partition(main).to_string())
        .replace("{in main}", &column(format!("{}, ", partition(main))))
        .replace("{in other}", &column(format!("{}, ", partition(other))))
        .replace("{same}", &column("partition, ".to_owned()));
    match copy.place() {
        Place::Directory(path) => {
            let connection = Connection::open(database_file(&path)).expect("it opens");
            connection.execute_batch(&sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
        Place::Postgres(server) => {
            administer(&server.url, &[SPOKEN.to_owned(), sql]);
        }
    }
}

/// What the corruptions say in SQLite's words.
const SPOKEN: &str = "
    create domain blob as bytea;
    create function instr(bytea, blob) returns integer language sql as $$ select position($2 in $1) $$;
    create function unhex(text) returns bytea language sql as $$ select decode($1, 'hex') $$;
    create function zeroblob(integer) returns bytea language sql as $$ select decode(repeat('00', $1), 'hex') $$;
    create function instr(text, text) returns integer language sql as $$ select strpos($1, $2) $$;";

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
