//! A primary that is lost while its standby takes over, and that comes back without knowing that it is no primary any more.
//!
//! Tried only where the suite has a server (`SCRIP_TEST_DATABASE`). `SCRIP_TAKEOVERS` says how often, `SCRIP_SEED` when.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use scrip::store::Store;
use tokio::task::JoinHandle;

use crate::chance::{Chance, asked_for};
use crate::cluster::Cluster;
use crate::outage::{charge, funded, spent, until_answered};
use crate::sample::START;
use crate::temp::{self, Directory};

const NODES: usize = 2;
const CALLERS: usize = 4;
/// How long each rests, so that the servers can be ended and begun meanwhile.
const BETWEEN: Duration = Duration::from_millis(3);

/// What those who charge have heard.
#[derive(Default)]
struct Heard {
    ends: AtomicBool,
    acknowledged: AtomicI64,
}

/// Charges again and again, each under its key until it is answered. Answers how often it charged.
fn call(store: Store, workspace: i64, caller: usize, heard: Arc<Heard>) -> JoinHandle<usize> {
    tokio::spawn(async move {
        let mut count = 0;
        while !heard.ends.load(SeqCst) {
            until_answered(&store, &charge(workspace, number(caller, count))).await;
            count += 1;
            heard.acknowledged.fetch_add(1, SeqCst);
            tokio::time::sleep(BETWEEN).await;
        }
        count
    })
}

/// Looks at the balance again and again: what was acknowledged stays spent.
fn watch(store: Store, workspace: i64, heard: Arc<Heard>) -> JoinHandle<usize> {
    tokio::spawn(async move {
        let mut looks = 0;
        while !heard.ends.load(SeqCst) {
            let acknowledged = heard.acknowledged.load(SeqCst);
            let shown = spent(&store, workspace).await;
            assert!(shown >= acknowledged, "{acknowledged} charges were acknowledged, and {shown} are shown");
            looks += 1;
            tokio::time::sleep(BETWEEN).await;
        }
        looks
    })
}

/// The callers have their own numbers.
fn number(caller: usize, count: usize) -> usize {
    count * CALLERS + caller
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_lost_and_comes_back_loses_and_doubles_nothing() {
    let Some(mut primary) = Cluster::start("primary") else { return };
    let (rounds, seed) = (asked_for("SCRIP_TAKEOVERS", 3), asked_for("SCRIP_SEED", 1));
    let (started, mut chance) = (Instant::now(), Chance::new(seed));
    let Some(mut standby) = primary.standby("standby") else { return };
    together(&primary).await;
    let directory = Directory::on(&primary.url_of(&standby), "takeover");
    let stores = [(); NODES].map(|()| Store::open(&directory.place(), Some(START)).expect("it opens"));
    let workspace = funded(&stores[0]).await;
    let heard = Arc::new(Heard::default());
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| call(stores[caller % NODES].clone(), workspace, caller, heard.clone()))
        .collect();
    let watchers = stores.clone().map(|store| watch(store, workspace, heard.clone()));
    for _ in 0..rounds {
        pause(&mut chance, 400).await;
        primary.kill();
        standby.promote();
        // The operator lets it go on alone. The old one does not know, and still waits for its standby.
        standby.administer(&["alter system reset synchronous_standby_names", "select pg_reload_conf()"]);
        pause(&mut chance, 100).await;
        primary.begin();
        pause(&mut chance, 700).await;
        // Whoever connects anew has the choice between two that take writes.
        standby.administer(&[
            "select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()",
        ]);
        pause(&mut chance, 700).await;
        primary.kill();
        primary.follow(&standby);
        together(&standby).await;
        std::mem::swap(&mut primary, &mut standby);
    }
    heard.ends.store(true, SeqCst);
    let (mut charged, mut looks) = (0, 0);
    for watcher in watchers {
        looks += watcher.await.expect("nothing acknowledged was ever gone");
    }
    for (caller, calls) in callers.into_iter().enumerate() {
        let count = calls.await.expect("all are answered");
        for count in 0..count {
            let answer = until_answered(&stores[0], &charge(workspace, number(caller, count))).await;
            assert!(answer.replayed, "acknowledged, and not there: charge {count} of caller {caller}");
        }
        charged += count as i64;
    }
    for store in stores {
        assert_eq!(spent(&store, workspace).await, charged);
        temp::close(store).await;
    }
    directory.prove("after the last takeover");
    assert!(charged > 2 * rounds as i64, "next to nothing was charged: {charged}");
    println!(
        "takeover: seed {seed}, {rounds} takeovers, {charged} charges, {looks} looks, {:?}",
        started.elapsed()
    );
}

/// From now on nothing is acknowledged that only the primary has, and what was before, the standby has as well.
async fn together(primary: &Cluster) {
    primary.administer(&[
        "alter system set synchronous_standby_names = '*'",
        "select pg_reload_conf()",
        // Sessions take a new setting up between two statements.
        "select pg_sleep(0.2)",
    ]);
    let written = primary.administer(&["select pg_current_wal_lsn()"]).expect("a place in the log");
    let caught_up = format!(
        "select count(*) from pg_stat_replication where sync_state = 'sync' and flush_lsn >= '{written}'"
    );
    for _ in 0..600 {
        if primary.administer(&[&caught_up]).as_deref() == Some("1") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the standby does not catch up");
}

async fn pause(chance: &mut Chance, longest: i64) {
    tokio::time::sleep(Duration::from_millis(chance.within(0, longest) as u64)).await;
}
