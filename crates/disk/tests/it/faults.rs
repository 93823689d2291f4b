//! Failing calls: every change of a file and every sync of the day fails, once or from then on, and a disk is full and freed.
//!
//! Whatever fails, each call answers or says that it could not; nothing panics; and afterwards everything acknowledged is there.

use std::path::Path;
use std::time::Instant;

use disk::{Disk, Fault, Lasting};
use rusqlite::Connection;
use scrip::audit::audit;
use scrip::store::committer::KeyKind;
use scrip::store::{Store, database_file};

use crate::proof::{What, prove};
use crate::sample::START;
use crate::scenario::{self, Day};
use crate::temp::{self, Directory};

#[tokio::test]
async fn a_failing_change_loses_nothing() {
    sweep(Fault::Change, Lasting::Once).await;
    sweep(Fault::Change, Lasting::UntilMended).await;
}

#[tokio::test]
async fn a_failing_sync_loses_nothing() {
    sweep(Fault::Sync, Lasting::Once).await;
    sweep(Fault::Sync, Lasting::UntilMended).await;
}

#[tokio::test]
async fn a_full_disk_heals_without_a_restart() {
    sweep(Fault::Full, Lasting::Once).await;
    sweep(Fault::Full, Lasting::UntilMended).await;
}

/// Lives through the day with the n-th such call failing, for every n that there is.
async fn sweep(fault: Fault, lasting: Lasting) {
    let started = Instant::now();
    let (mut nth, mut refused) = (1, 0);
    while let Some(day) = fail(fault, nth, lasting).await {
        refused += u64::from(day.refused > 0);
        nth += 1;
    }
    println!("faults: {fault:?} {lasting:?}: {} calls, {refused} noticed, {:?}", nth - 1, started.elapsed());
    assert!(refused > 0, "nothing failed");
}

/// `None` once the day has no such call.
async fn fail(fault: Fault, nth: u64, lasting: Lasting) -> Option<Day> {
    let directory = Directory::new("fault");
    let disk = Disk::of(directory.path());
    disk.fail(fault, nth, lasting);
    let (mut day, store) = scenario::live(directory.path(), &disk).await;
    let about = format!("{fault:?} {nth} {lasting:?}");
    if let Some(store) = store {
        if fault == Fault::Full {
            disk.mend();
            day.look(&store).await.unwrap_or_else(|error| panic!("{about}: reading again: {error}"));
            day.spend(&store, &disk).await.unwrap_or_else(|error| panic!("{about}: room again: {error}"));
        }
        temp::close(store).await;
        disk.closed();
    }
    let struck = disk.mend();
    let acknowledged = day.by(usize::MAX);
    let proven = prove(&disk, directory.path(), &acknowledged).await;
    proven.unwrap_or_else(|why| panic!("{about}: {why}"));
    once_each(directory.path(), &day).await;
    assert!(disk.panics().is_empty(), "{about}: {:?}", disk.panics());
    struck.then_some(day)
}

/// The client asks again for everything that it is not sure of, and nothing is charged twice.
async fn once_each(directory: &Path, day: &Day) {
    let store = Store::open(directory, Some(START)).expect("it opens");
    for answer in store.post_all(day.asked.clone()).await {
        answer.expect("there or made now");
    }
    temp::close(store).await;
    let charges = day.asked.iter().filter(|post| post.key.as_ref().is_some_and(|key| key.kind == KeyKind::Charge));
    let connection = Connection::open(database_file(directory)).expect("it opens");
    let charged = "select count(*) from entry where kind = 7 and hold_id = seq";
    let charged: i64 = connection.query_row(charged, [], |row| row.get(0)).expect("a number");
    assert_eq!(charged, charges.count() as i64, "each is charged once");
    let report = audit(&database_file(directory)).expect("it finishes");
    assert!(report.clean, "{:#?}", report.broken);
}
