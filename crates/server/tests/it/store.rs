//! The store: many histories at once against the pure rules, repeats and races, and what a directory refuses.
//!
//! `SCRIP_STORE_HISTORIES` says how many histories run and `SCRIP_SEED` which is the first; a failing run prints its seed.
//! `SCRIP_RACES` says how often 512 callers race for the credits of 100.

pub mod history;
mod lists;
mod pages;

use std::collections::BTreeMap;
use std::time::Instant;

use billing::{Command, GrantKind, Refusal};
use scrip::store::committer::{Answer, Key, KeyKind, Post};
use scrip::store::{Error, Store, database_file};

use crate::chance::{Chance, asked_for};
use crate::sample::{self, START, race};
use crate::temp::{self, Directory};
use history::History;

const COMMANDS: usize = 60;
/// How many histories live in one database at once.
const TOGETHER: u64 = 500;
/// One of so many is looked at again and again, the others at the end.
const LOOKED_AT: usize = 10;

#[tokio::test]
async fn random_histories_are_what_the_rules_say() {
    let usual = if Directory::new("histories").is_shared() { 2_000 } else { 10_000 };
    let (count, first) = (asked_for("SCRIP_STORE_HISTORIES", usual), asked_for("SCRIP_SEED", 20_270_131));
    let started = Instant::now();
    let (mut outcomes, mut ahead) = (BTreeMap::new(), 0);
    for group in (first..first + count).step_by(TOGETHER as usize) {
        println!("store: group with seed {group}");
        ahead += live(group, TOGETHER.min(first + count - group), &mut outcomes).await;
    }
    println!("store: seed {first}, {count} histories of {COMMANDS} commands, {:?}", started.elapsed());
    println!("{outcomes:?}, {ahead} entries were only in the journal when it ended");
    assert!(ahead > 0, "no end left anything to recover");
    assert!(count < 300 || outcomes.len() >= 14, "the histories do not reach every answer: {outcomes:?}");
}

/// Lives through some histories in one database, which ends twice as in a crash and once in order. Answers how many entries
/// were not in their tables when it crashed.
async fn live(seed: u64, count: u64, outcomes: &mut BTreeMap<String, usize>) -> u64 {
    let mut directory = Directory::new("histories");
    let mut ahead = 0;
    let mut chance = Chance::new(seed);
    let mut now = START;
    let mut store = Store::open(&directory.place(), Some(now)).expect("a new directory opens");
    let mut histories = Vec::new();
    for index in 0..count {
        let workspace = sample::workspace(&store, None).await;
        histories.push(History::new(workspace, Chance::new(seed + index)));
    }
    for command in 0..COMMANDS {
        if command == COMMANDS / 4 || command == COMMANDS * 3 / 4 {
            ahead += crash(&mut store, &mut directory, histories.iter().map(History::entries).sum()).await;
        }
        if command == COMMANDS / 2 {
            store = reopen(store, &directory).await;
            assert_eq!(store.clock().now(), now, "a manual clock survives");
        }
        now = history::later(now, &mut chance);
        store.advance_clock(now).await.expect("the clock is stored");
        let posts: Vec<Post> = histories.iter_mut().map(|history| history.next_post(now)).collect();
        let answers = if chance.once_in(3) {
            race(std::slice::from_ref(&store), posts.clone()).await
        } else {
            store.post_all(posts.clone()).await
        };
        for (index, ((history, post), answer)) in histories.iter_mut().zip(&posts).zip(answers).enumerate() {
            *outcomes.entry(history.compare(post, answer, now)).or_insert(0) += 1;
            // A look writes what the journal is ahead of the tables.
            if index % LOOKED_AT == 0 && chance.once_in(4) {
                let balance = store.balance(history.workspace).await.expect("a balance");
                history.agrees(balance.available, balance.held, balance.debt);
            }
        }
    }
    store = reopen(store, &directory).await;
    directory.prove(&format!("seed {seed}"));
    for history in &histories {
        let balance = store.balance(history.workspace).await.expect("a balance");
        history.agrees(balance.available, balance.held, balance.debt);
    }
    for history in histories.iter().step_by(25) {
        lists::agree(&store, history.workspace, &mut chance).await;
    }
    temp::close(store).await;
    ahead
}

/// Goes on with what a crash at this moment would leave. Answers how many entries only the journal had.
async fn crash(store: &mut Store, directory: &mut Directory, entries: i64) -> u64 {
    let after = directory.crashed();
    let ahead = (entries - after.number(temp::ENTRIES)) as u64;
    after.prove("after a crash");
    let again = Store::open(&after.place(), Some(START)).expect("it opens");
    temp::close(std::mem::replace(store, again)).await;
    *directory = after;
    ahead
}

async fn reopen(store: Store, directory: &Directory) -> Store {
    temp::close(store).await;
    Store::open(&directory.place(), Some(START)).expect("it opens again")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_in_parallel_has_one_effect() {
    let (directory, store, workspace) = funded("same-key", 1_000).await;
    let mut post = Post::new(workspace, Command::Hold(sample::hold("work", 1, 7, 900)), "key_1");
    post.key = Some(Key { kind: KeyKind::Hold, key: "once".into(), fingerprint: [1; 16] });
    let answers = race(std::slice::from_ref(&store), vec![post.clone(); 64]).await;
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.expect("accepted or replayed")).collect();
    assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
    let first = answers[0].hold.as_ref().expect("a hold").id;
    assert!(answers.iter().all(|answer| answer.hold.as_ref().is_some_and(|hold| hold.id == first)));
    assert_eq!(store.balance(workspace).await.expect("a balance").held, 7);
    post.key = Some(Key { kind: KeyKind::Hold, key: "once".into(), fingerprint: [2; 16] });
    let reused = store.post(post).await;
    assert!(matches!(reused, Err(Error::Refused(Refusal::IdempotencyKeyReused))), "{reused:?}");
    clean(store, &directory).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_spends_what_is_not_there() {
    let (rounds, started) = (asked_for("SCRIP_RACES", 50), Instant::now());
    let directory = Directory::new("race");
    let store = Store::open(&directory.place(), Some(START)).expect("it opens");
    for round in 0..rounds {
        let workspace = with_credits(&store, 100).await;
        let hold = Post::new(workspace, Command::Hold(sample::hold("work", 1, 1, 900)), "key_1");
        let answers = if round % 2 == 0 {
            race(std::slice::from_ref(&store), vec![hold; 512]).await
        } else {
            store.post_all(vec![hold; 512]).await
        };
        only_so_many(&answers, 100);
        let balance = store.balance(workspace).await.expect("a balance");
        assert_eq!((balance.available, balance.held, balance.debt), (0, 100, 0));
    }
    clean(store, &directory).await;
    println!("races: {rounds} rounds of 512 holds for 100 credits, {:?}", started.elapsed());
}

/// So many were held, and the others were told that credits are missing.
pub fn only_so_many(answers: &[Result<Answer, Error>], credits: usize) {
    let short = |error: &Error| matches!(error, Error::Refused(Refusal::InsufficientCredits { .. }));
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), credits);
    assert!(answers.iter().filter_map(|answer| answer.as_ref().err()).all(short));
}

/// A new workspace with so many credits.
pub async fn with_credits(store: &Store, credits: i64) -> i64 {
    let workspace = sample::workspace(store, None).await;
    let grant = Command::Grant(sample::grant(credits, GrantKind::Purchased, START, None));
    store.post(Post::new(workspace, grant, "operator")).await.expect("granted");
    workspace
}

#[tokio::test]
async fn a_directory_has_one_server() {
    let (directory, store, _) = funded_in(Directory::local("lock"), 10).await;
    let second = Store::open(&directory.place(), Some(START)).err().expect("a second server is refused");
    assert!(second.contains("another server is using this data directory"), "{second}");
    clean(store, &directory).await;
    let again = Store::open(&directory.place(), Some(START)).expect("the first one is gone");
    temp::close(again).await;
}

#[tokio::test]
async fn a_newer_database_is_left_untouched() {
    let (directory, store, _) = funded_in(Directory::local("newer"), 10).await;
    clean(store, &directory).await;
    let file = database_file(directory.path());
    rusqlite::Connection::open(&file)
        .expect("it opens")
        .execute_batch("pragma user_version = 2")
        .expect("set");
    let before = std::fs::read(&file).expect("read");
    let refused = Store::open(&directory.place(), Some(START)).err().expect("a newer database is refused");
    assert!(refused.contains("version 2") && refused.contains("left untouched"), "{refused}");
    assert!(std::fs::read(&file).expect("read") == before, "no byte of it changed");
}

async fn funded(name: &str, credits: i64) -> (Directory, Store, i64) {
    funded_in(Directory::new(name), credits).await
}

async fn funded_in(directory: Directory, credits: i64) -> (Directory, Store, i64) {
    let store = Store::open(&directory.place(), Some(START)).expect("a new directory opens");
    let workspace = with_credits(&store, credits).await;
    (directory, store, workspace)
}

async fn clean(store: Store, directory: &Directory) {
    temp::close(store).await;
    directory.prove("at the end");
}

#[tokio::test]
async fn a_journal_that_does_not_continue_the_ledger_is_refused() {
    let corruptions = [
        "insert into journal select partition, 99999, body from journal order by id desc limit 1",
        "update journal set body = substr(body, 1, 40) where id = 3",
    ];
    for corruption in corruptions {
        let directory = Directory::local("journal");
        let (main, other) = sample::make(&directory).await;
        let sql = corruption.replace("{main}", &main.to_string()).replace("{other}", &other.to_string());
        let file = rusqlite::Connection::open(database_file(directory.path())).expect("it opens");
        file.execute_batch(&sql).expect("corrupted");
        drop(file);
        let refused = Store::open(&directory.place(), Some(START)).err().unwrap_or_default();
        assert!(refused.contains("journal") && refused.lines().count() == 1, "{corruption}: {refused:?}");
    }
}
