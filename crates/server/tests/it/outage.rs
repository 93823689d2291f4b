//! The server between two moments: cut off, hanging, killed, or waiting for a standby that does not exist. What was acknowledged
//! is there once; what was not is found under its key, or did not happen.
//!
//! Tried only where the suite has a server (`SCRIP_TEST_DATABASE`).

use std::time::Duration;

use billing::{Command, GrantKind};
use scrip::store::committer::{Answer, Key, KeyKind, Post};
use scrip::store::{Error, Store};
use serde_json::json;

use crate::chance::{Chance, asked_for};
use crate::cluster::Cluster;
use crate::http::Server;
use crate::nodes::Node;
use crate::proxy::Cut;
use crate::sample::{self, START};
use crate::temp::{self, Directory};

const CREDITS: i64 = 1_000_000;

/// A workspace with credits, made on a node.
pub async fn funded(store: &Store) -> i64 {
    let workspace = sample::workspace(store, None).await;
    let grant = Command::Grant(sample::grant(CREDITS, GrantKind::Purchased, START, None));
    store.post(Post::new(workspace, grant, "operator")).await.expect("granted");
    workspace
}

/// A charge of one credit under a key of its own.
pub fn charge(workspace: i64, number: usize) -> Post {
    let mut post = Post::new(workspace, Command::Charge(sample::hold("work", 1, 1, 900)), "key_1");
    let fingerprint = (number as u128).to_be_bytes();
    post.key = Some(Key { kind: KeyKind::Charge, key: format!("charge {number}").into(), fingerprint });
    post
}

/// What was charged so far. Sessions that were ended while nobody used them say so once.
pub async fn spent(store: &Store, workspace: i64) -> i64 {
    for _ in 0..200 {
        match store.balance(workspace).await {
            Ok(balance) => return CREDITS - balance.available,
            Err(Error::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("no balance, though the server is back");
}

/// Asks again with the same key until there is an answer.
pub async fn until_answered(store: &Store, post: &Post) -> Answer {
    for _ in 0..200 {
        match store.post(post.clone()).await {
            Ok(answer) => return answer,
            Err(Error::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("no answer, though the server is back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_is_cut_off_happens_once() {
    let Some(directory) = Directory::shared("cut") else { return };
    let node = Node::open(&directory, START);
    let (workspace, cuts) = (funded(&node.store).await, 30);
    for number in 0..cuts {
        node.proxy.cut_at(if number % 2 == 0 { Cut::BeforeCommit } else { Cut::AfterCommit });
        let answer = node.store.post(charge(workspace, number)).await.expect("looked up, or done again");
        assert!(!answer.replayed, "{number}");
        assert!(node.store.post(charge(workspace, number)).await.expect("known").replayed, "{number}");
        assert_eq!(spent(&node.store, workspace).await, number as i64 + 1);
    }
    assert!(node.proxy.cuts() >= cuts - 1, "{} commits were cut", node.proxy.cuts());
}

/// Before its commit is looked up, another node has written everything into the tables and dropped that row of the journal. Then
/// nobody can tell whether it happened, and doing it again could do it twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_nobody_can_look_up_any_more_is_not_done_again() {
    let Some(directory) = Directory::shared("dropped") else { return };
    let node = Node::open(&directory, START);
    let other = Store::open(&directory.place(), Some(START)).expect("it opens");
    let workspace = funded(&other).await;
    let adjust = move |credits| Post::new(workspace, Command::Adjust(credits), "operator");
    node.store.post(adjust(1)).await.expect("adjusted");
    let row = || directory.number(&format!("select max(id) from journal where partition = {workspace} % 3"));
    let first =
        || directory.number(&format!("select min(id) from journal where partition = {workspace} % 3"));
    node.proxy.refuse_new();
    node.proxy.cut_at(Cut::AfterCommit);
    let asked = {
        let store = node.store.clone();
        tokio::spawn(async move { store.post(adjust(1)).await })
    };
    while node.proxy.cuts() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let cut = row();
    for _ in 0..50 {
        other.post(adjust(1)).await.expect("adjusted");
        other.balance(workspace).await.expect("a balance");
        if first() > cut {
            break;
        }
    }
    assert!(first() > cut, "the journal still has the row");
    let there = spent(&other, workspace).await;
    node.proxy.allow();
    let answer = asked.await.expect("no panic");
    assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
    assert_eq!(spent(&other, workspace).await, there, "it was done again");
    assert_eq!(spent(&node.store, workspace).await, there);
}

/// A whole server, a workspace of it with credits, and its node's way to the database.
async fn on_the_way(name: &str, options: &'static str) -> Option<(Server, crate::proxy::Proxy, String)> {
    let directory = Directory::shared(name)?;
    let proxy = crate::proxy::Proxy::new(&directory.url().expect("a server"));
    let server = Server::at(directory.through(proxy.address, options), None).await;
    let ws = server.workspace("One").await;
    server.grant(&ws, 1_000).await;
    Some((server, proxy, ws))
}

fn one() -> serde_json::Value {
    json!({ "operation": "email_send", "quantity": 1 })
}

/// The server is away: everybody is told to come back, a key's owner is not sent away as a stranger, and readiness is red.
async fn is_away(server: &Server, ws: &str, key: &str) {
    let path = format!("{ws}/charges");
    let gets = [server.get("/readyz").await, server.get(&format!("{ws}/balance")).await];
    let posts = [
        server.post(&path, "away", one()).await,
        server.send(key, "POST", &path, "away", one().to_string()).await,
    ];
    for got in gets.into_iter().chain(posts) {
        got.problem(503, "unavailable");
        assert_eq!(got.header("retry-after"), Some("1"));
    }
    assert_eq!(server.get("/healthz").await.status, 200, "it lives all the same");
}

/// The server is back: everything works by itself, and what was asked while it was away happens once.
async fn is_back(server: &Server, ws: &str, key: &str) {
    let path = format!("{ws}/charges");
    let mut answered = None;
    for _ in 0..300 {
        let got = server.send(key, "POST", &path, "away", one().to_string()).await;
        if got.status == 201 {
            answered = Some(got);
            break;
        }
        got.problem(503, "unavailable");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let first = answered.expect("it works again");
    let again = server.post(&path, "away", one()).await;
    assert_eq!((again.status, &again.body), (201, &first.body));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(server.get("/readyz").await.status, 200);
    let amount = first.body["amount"].as_i64().expect("an amount");
    let balance = server.get(&format!("{ws}/balance")).await.about_a_workspace(200);
    assert_eq!(balance["available"], json!(1_000 - amount));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_server_is_away_everybody_is_told_to_come_back() {
    let Some((server, proxy, ws)) = on_the_way("away", "").await else { return };
    let key = server.key(&ws).await.1;
    proxy.refuse();
    // The first requests find out that their connections are gone.
    is_away(&server, &ws, &key).await;
    is_away(&server, &ws, &key).await;
    proxy.allow();
    is_back(&server, &ws, &key).await;
}

/// Nothing arrives any more, and nobody says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_given_up() {
    let Some((mut server, proxy, ws)) = on_the_way("hang", "?tcp_user_timeout=2").await else { return };
    let key = server.key(&ws).await.1;
    server.patience(Duration::from_secs(300));
    proxy.hang();
    is_away(&server, &ws, &key).await;
    proxy.allow_new();
    is_back(&server, &ws, &key).await;
}

/// What is posted while sessions end at random moments: each under its key until it is answered.
async fn load(store: &Store, workspace: i64, first: usize, count: usize) {
    let mut running = tokio::task::JoinSet::new();
    for number in first..first + count {
        let (store, post) = (store.clone(), charge(workspace, number));
        running.spawn(async move { until_answered(&store, &post).await });
    }
    while let Some(answer) = running.join_next().await {
        answer.expect("answered");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_are_ended_at_random_moments_lose_and_double_nothing() {
    let Some(directory) = Directory::shared("ended") else { return };
    let store = Store::open(&directory.place(), Some(START)).expect("it opens");
    let workspace = funded(&store).await;
    let mut chance = Chance::new(asked_for("SCRIP_SEED", 1));
    let (rounds, each) = (asked_for("SCRIP_ENDED_SESSIONS", 60) as usize, 40);
    let mut ended = 0;
    for round in 0..rounds {
        let loading = {
            let store = store.clone();
            tokio::spawn(async move { load(&store, workspace, round * each, each).await })
        };
        tokio::time::sleep(Duration::from_millis(chance.within(0, 15) as u64)).await;
        ended += directory.number(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity
             where datname = current_database() and pid <> pg_backend_pid()",
        );
        loading.await.expect("all are answered");
    }
    assert!(ended * 2 > rounds as i64, "only {ended} sessions were ended");
    let mut missing = Vec::new();
    for number in 0..rounds * each {
        let answer = until_answered(&store, &charge(workspace, number)).await;
        if !answer.replayed {
            missing.push(number);
        }
    }
    assert!(missing.is_empty(), "acknowledged, and not there: {missing:?}");
    assert_eq!(spent(&store, workspace).await, (rounds * each) as i64);
    let granted = 1;
    assert_eq!(directory.number(temp::ENTRIES), granted + (rounds * each) as i64);
    temp::close(store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_and_started_again_has_what_was_acknowledged() {
    let Some(cluster) = Cluster::start("killed") else { return };
    let directory = Directory::on(&cluster.url, "killed");
    let stores = [(); 2].map(|()| Store::open(&directory.place(), Some(START)).expect("it opens"));
    let workspace = funded(&stores[0]).await;
    let each = 50;
    for round in 0..4 {
        let loading: Vec<_> = (0..2)
            .map(|node| {
                let store = stores[node].clone();
                tokio::spawn(async move { load(&store, workspace, (round * 2 + node) * each, each).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(round as u64 * 5)).await;
        cluster.kill();
        cluster.begin();
        for loading in loading {
            loading.await.expect("all are answered");
        }
    }
    for store in stores {
        assert_eq!(spent(&store, workspace).await, 8 * each as i64);
        temp::close(store).await;
    }
}

/// A commit that waits for a standby, and whose wait is cancelled, is in the database and may yet be lost: nobody is told that
/// it happened until a later commit is confirmed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_no_standby_confirmed_is_not_acknowledged() {
    let Some(cluster) = Cluster::start("standby") else { return };
    let directory = Directory::on(&cluster.url, "standby");
    let store = Store::open(&directory.place(), Some(START)).expect("it opens");
    let workspace = funded(&store).await;
    assert_eq!(spent(&store, workspace).await, 0);
    let waits = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'";
    let cancel = "select count(pg_cancel_backend(pid)) from pg_stat_activity where wait_event = 'SyncRep'";
    for round in 0..3 {
        cluster.administer(&[
            "alter system set synchronous_standby_names = 'nobody'",
            "select pg_reload_conf()",
            // Sessions take a new setting up between two statements.
            "select pg_sleep(0.1)",
        ]);
        let asked = {
            let store = store.clone();
            tokio::spawn(async move { store.post(charge(workspace, round)).await })
        };
        for _ in 0..3 {
            for _ in 0..100 {
                if directory.number(waits) > 0 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            assert!(directory.number(cancel) > 0, "nothing waits for the standby");
        }
        assert!(!asked.is_finished(), "it was acknowledged, and no standby has it");
        cluster.administer(&["alter system reset synchronous_standby_names", "select pg_reload_conf()"]);
        let answer = asked.await.expect("no panic");
        assert!(answer.is_ok_and(|answer| !answer.replayed), "a later commit confirms it");
        assert_eq!(spent(&store, workspace).await, round as i64 + 1);
    }
    temp::close(store).await;
}
