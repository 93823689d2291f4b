//! Failing calls: every change of a file and every sync of the day fails, once or from then on, and a disk is full and freed.
//!
//! Whatever fails, each call answers or says that it could not; nothing panics; and afterwards everything acknowledged is there.

use std::path::Path;
use std::time::{Duration, Instant};

use billing::EntryKind;
use disk::{Disk, Fault, Files, Lasting};
use rusqlite::Connection;
use scrip::audit::audit;
use scrip::store::committer::{KeyKind, Post};
use scrip::store::page::Run;
use scrip::store::{Place, Store, database_file};

use crate::chance::{Chance, asked_for};
use crate::proof::{What, prove};
use crate::sample::START;
use crate::scenario::{self, Day, Policy};
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
    let directory = Directory::local("fault");
    let disk = Disk::of(directory.path());
    disk.fail(fault, nth, lasting);
    let policy = if fault == Fault::Full { Policy::GoOn } else { Policy::Stop };
    let (mut day, store) = scenario::live(directory.path(), &disk, policy).await;
    let about = format!("{fault:?} {nth} {lasting:?}");
    if let Some(store) = store {
        if fault == Fault::Full {
            disk.mend();
            day.goes_on(&store, &disk).await.unwrap_or_else(|error| panic!("{about}: {error}"));
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

/// The client asks again for every charge that it is not sure of, and nothing is charged twice.
async fn once_each(directory: &Path, day: &Day) {
    let store = Store::open(&Place::Directory(directory.to_owned()), Some(START)).expect("it opens");
    let is_charge = |post: &&Post| post.key.as_ref().is_some_and(|key| key.kind == KeyKind::Charge);
    let charges: Vec<Post> = day.asked.iter().filter(is_charge).cloned().collect();
    let asked = charges.len();
    for answer in store.post_all(charges).await {
        answer.expect("there or made now");
    }
    temp::close(store).await;
    let connection = Connection::open(database_file(directory)).expect("it opens");
    let mut pages = connection.prepare("select entries, notes from page").expect("there are pages");
    let pages = pages.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("they are read");
    let charged = pages.map(|page| -> usize {
        let (entries, notes): (Vec<u8>, Vec<u8>) = page.expect("a page");
        let entries = Run::new(&entries, &notes).entries().map(|entry| entry.expect("an entry").entry);
        entries.filter(|entry| entry.kind == EntryKind::Charge && entry.hold == Some(entry.seq)).count()
    });
    assert_eq!(charged.sum::<usize>(), asked, "each is charged once");
    let report = audit(&Place::Directory(directory.to_owned())).expect("it finishes");
    assert!(report.clean, "{:#?}", report.broken);
}

/// A request that is handed in while the writer ends is answered too: nobody waits for ever.
#[test]
fn whoever_asks_while_the_writer_ends_is_answered() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    for _ in 0..200 {
        let directory = Directory::local("ends");
        let disk = Disk::of(directory.path());
        let (store, workspace) = runtime().block_on(async {
            let place = Place::Directory(directory.path().to_owned());
            let store = Store::open(&place, Some(START)).expect("it opens");
            let workspace = scenario::workspace(&store).await;
            (store, workspace)
        });
        disk.fail(Fault::Sync, 8, Lasting::UntilMended);
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    let ask = || store.post(Post::new(workspace, scenario::charge(), "key_1"));
                    let asks = async {
                        while ask().await.is_ok() {}
                        store.died().await;
                        for _ in 0..20 {
                            ask().await.expect_err("nothing is written any more");
                        }
                    };
                    let answered = async { tokio::time::timeout(Duration::from_secs(60), asks).await };
                    runtime().block_on(answered).expect("an answer");
                });
            }
        });
        runtime().block_on(temp::close(store));
        disk.mend();
    }
}

/// After a sync that failed, the system takes what it could not write for written: it can be read, and is gone with the power.
/// The next process must not build on it.
#[tokio::test]
async fn nothing_is_built_on_what_a_failed_sync_lost() {
    let (seed, started) = (asked_for("SCRIP_SEED", 20_270_131), Instant::now());
    let (mut nth, mut failed) = (1, Vec::new());
    while sync_fails(nth, &mut Chance::new(seed + nth), &mut failed).await {
        nth += 1;
    }
    println!(
        "faults: seed {seed}, {} failed syncs, a restart and a power cut, {:?}",
        nth - 1,
        started.elapsed()
    );
    assert!(nth > 20 && failed.is_empty(), "{failed:#?}");
}

/// The n-th sync fails, the process is killed, the next one serves, and then the power goes. `false` once there is no such sync.
async fn sync_fails(nth: u64, chance: &mut Chance, failed: &mut Vec<String>) -> bool {
    let directory = Directory::local("sync");
    let disk = Disk::of(directory.path());
    disk.fail(Fault::Sync, nth, Lasting::Once);
    let (mut day, store) = scenario::live(directory.path(), &disk, Policy::Stop).await;
    let (before, mut files) = (disk.log(), Files::default());
    let promised = day.acknowledged.len();
    before.iter().for_each(|operation| files.apply(operation, |_| true));
    if let Some(store) = store {
        temp::close(store).await;
        disk.closed();
    }
    let after = Directory::local("sync-after");
    disk::put(after.path(), &files.killed());
    let disk_after = Disk::of(after.path());
    let store = Store::open(&Place::Directory(after.path().to_owned()), Some(START)).expect("it opens again");
    day.goes_on(&store, &disk_after).await.expect("it goes on");
    temp::close(store).await;
    disk_after.closed();
    let log = disk_after.log();
    let mut done = 0;
    for _ in 0..8 {
        let until = chance.within(done as i64, log.len() as i64) as usize;
        log[done..until].iter().for_each(|operation| files.apply(operation, |_| true));
        done = until;
        let (first, later) = day.acknowledged.split_at(promised);
        let later = later.iter().filter(|promise| promise.position <= until);
        let acknowledged: Vec<&What> = first.iter().chain(later).map(|promise| &promise.what).collect();
        let image = Directory::local("sync-cut");
        disk::put(image.path(), &files.cut(&mut |below| chance.next() % below));
        let disk = Disk::of(image.path());
        if let Err(why) = prove(&disk, image.path(), &acknowledged).await {
            failed.push(format!("sync {nth}, cut at {until} of {} after it: {why}", log.len()));
        }
    }
    disk.mend()
}

/// While somebody reads an older state, a checkpoint moves what it can and syncs nothing yet. When the sync of the next one fails,
/// the pages of both are lost, but only those of the second would be moved again before the log begins anew: so nobody may go on.
#[tokio::test]
async fn a_checkpoint_that_fails_is_not_passed_over() {
    let directory = Directory::local("checkpoint");
    let disk = Disk::of(directory.path());
    let (mut day, store) = scenario::live(directory.path(), &disk, Policy::Stop).await;
    let store = store.expect("nothing fails");
    let reader = Connection::open(database_file(directory.path())).expect("it opens");
    reader.execute_batch("begin; select count(*) from page").expect("an older state");
    day.goes_on(&store, &disk).await.expect("nothing fails");
    scenario::checkpoint(directory.path()).expect("it moves what it can");
    disk.fail(Fault::SyncOfDatabase, 1, Lasting::Once);
    drop(reader);
    disk.wait_until_struck();
    let died = tokio::time::timeout(Duration::from_secs(60), store.died()).await;
    died.expect("the store stops, although no client was refused anything");
    let (log, mut files, acknowledged) = (disk.log(), Files::default(), day.by(usize::MAX));
    log.iter().for_each(|operation| files.apply(operation, |_| true));
    temp::close(store).await;
    for seed in 0..20 {
        let (mut chance, image) = (Chance::new(seed), Directory::local("checkpoint-cut"));
        disk::put(image.path(), &files.cut(&mut |below| chance.next() % below));
        let disk = Disk::of(image.path());
        prove(&disk, image.path(), &acknowledged).await.expect("all of it is there");
    }
}
