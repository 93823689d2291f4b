//! Several nodes on one PostgreSQL server: what any of them answers is what one alone would have answered.
//!
//! Tried only where the suite has a server (`SCRIP_TEST_DATABASE`).

mod servers;
mod walks;

use std::collections::BTreeMap;
use std::time::Instant;

use billing::{Command, Time};
use scrip::store::committer::{Key, KeyKind, Post};
use scrip::store::queries::EntryFilter;
use scrip::store::{Error, Store, keys};

use crate::chance::{Chance, asked_for};
use crate::proxy::Proxy;
use crate::sample::{self, START, race};
use crate::store::history::{self, Answered, History};
use crate::store::{only_so_many, with_credits};
use crate::temp::{self, Directory};

const COMMANDS: usize = 40;
/// How many histories live in one database at once.
const TOGETHER: u64 = 40;
/// Every kind of entry.
const ALL: std::ops::RangeInclusive<i64> = 0..=12;

/// A store on a way of its own, so that it can be cut off.
pub struct Node {
    pub store: Store,
    pub proxy: Proxy,
}

impl Node {
    pub fn open(directory: &Directory, start: Time) -> Node {
        let proxy = Proxy::new(&directory.url().expect("a server"));
        let place = directory.through(proxy.address, "").place();
        Node { store: Store::open(&place, Some(start)).expect("a node opens"), proxy }
    }

    /// Ends as a crash does: nothing of it reaches the server any more.
    async fn crash(self) {
        self.proxy.refuse();
        temp::close(self.store).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_over_several_nodes_are_what_the_rules_say() {
    let (count, first) = (asked_for("SCRIP_NODE_HISTORIES", 120), asked_for("SCRIP_SEED", 20_270_131));
    let (mut outcomes, mut lost) = (BTreeMap::new(), [0, 0]);
    for group in (first..first + count).step_by(TOGETHER as usize) {
        let Some(directory) = Directory::shared("nodes") else { return };
        println!("nodes: group with seed {group}");
        let size = TOGETHER.min(first + count - group);
        Lived { directory, chance: Chance::new(group), now: START }
            .live(group, size, &mut outcomes, &mut lost)
            .await;
    }
    println!("nodes: seed {first}, {count} histories of {COMMANDS} commands: {outcomes:?}");
    println!("without an answer in a crash: {} happened, {} did not", lost[0], lost[1]);
    assert!(count < 120 || outcomes.len() >= 14, "the histories do not reach every answer: {outcomes:?}");
    assert!(count < 120 || lost[0] + lost[1] > 0, "no crash took an answer away");
}

/// Some histories in one database, and when they are.
struct Lived {
    directory: Directory,
    chance: Chance,
    now: Time,
}

impl Lived {
    async fn live(
        mut self,
        seed: u64,
        size: u64,
        outcomes: &mut BTreeMap<String, usize>,
        lost: &mut [usize; 2],
    ) {
        let count = self.chance.within(2, 3);
        let mut nodes: Vec<Node> = (0..count).map(|_| Node::open(&self.directory, START)).collect();
        let mut histories = Vec::new();
        for index in 0..size {
            let workspace = sample::workspace(&nodes[0].store, None).await;
            histories.push(History::new(workspace, Chance::new(seed + index)));
        }
        for command in 0..COMMANDS {
            self.now = history::later(self.now, &mut self.chance);
            self.any(&nodes).store.advance_clock(self.now).await.expect("the clock is stored");
            let now = self.now;
            let posts: Vec<Post> = histories.iter_mut().map(|history| history.next_post(now)).collect();
            let crash = command == COMMANDS / 3 || command == COMMANDS * 2 / 3;
            let answers = self.post(&mut nodes, &posts, crash).await;
            for ((history, post), answer) in histories.iter_mut().zip(&posts).zip(answers) {
                if crash && matches!(answer, Err(Error::Unavailable(_))) {
                    let happened = self.find_out(&nodes[0].store, history, post).await;
                    lost[usize::from(!happened)] += 1;
                    continue;
                }
                *outcomes.entry(history.compare(post, answer, self.now)).or_insert(0) += 1;
                if self.chance.once_in(4) {
                    agree(std::slice::from_ref(self.any(&nodes)), history).await;
                }
            }
        }
        for history in &histories {
            agree(&nodes, history).await;
        }
        for node in nodes {
            temp::close(node.store).await;
        }
    }

    fn any<'n>(&mut self, nodes: &'n [Node]) -> &'n Node {
        &nodes[self.chance.within(0, nodes.len() as i64 - 1) as usize]
    }

    /// Each command to a node of its own, all at once; some nodes get theirs in one go. In a crash, the last node ends
    /// meanwhile, and another takes its place.
    async fn post(&mut self, nodes: &mut Vec<Node>, posts: &[Post], crash: bool) -> Vec<Answered> {
        let mut parts = vec![Vec::new(); nodes.len()];
        for index in 0..posts.len() {
            parts[self.chance.within(0, nodes.len() as i64 - 1) as usize].push(index);
        }
        let mut running = tokio::task::JoinSet::new();
        for (part, node) in parts.into_iter().zip(nodes.iter()) {
            let chosen: Vec<Post> = part.iter().map(|index| posts[*index].clone()).collect();
            if self.chance.once_in(2) {
                let store = node.store.clone();
                running.spawn(async move {
                    part.into_iter().zip(store.post_all(chosen).await).collect::<Vec<_>>()
                });
                continue;
            }
            for (index, post) in part.into_iter().zip(chosen) {
                let store = node.store.clone();
                running.spawn(async move { vec![(index, store.post(post).await)] });
            }
        }
        if crash {
            tokio::time::sleep(std::time::Duration::from_millis(self.chance.within(0, 40) as u64)).await;
            nodes.pop().expect("a node").crash().await;
            nodes.push(Node::open(&self.directory, START));
        }
        let mut answers: BTreeMap<usize, Answered> = BTreeMap::new();
        while let Some(answered) = running.join_next().await {
            answers.extend(answered.expect("no panic"));
        }
        answers.into_values().collect()
    }

    /// Whether a command that a crash left without an answer happened: then it happens in memory too.
    async fn find_out(&self, store: &Store, history: &mut History, post: &Post) -> bool {
        // Whoever had the lane has committed or lost it once another write has gone through it.
        store.hold_by_key(history.workspace, "nobody's".to_owned()).await.expect("a look");
        let all = EntryFilter { kinds: ALL.collect(), ..EntryFilter::default() };
        let newest = store.entries(history.workspace, all, 1).await.expect("entries");
        let newest = newest.first().map_or(0, |recorded| recorded.entry.seq.0);
        let happened = newest > history.entries();
        if happened {
            history.happened(post, self.now);
            assert_eq!(history.entries(), newest, "{post:?} happened in part");
        }
        happened
    }
}

async fn agree(nodes: &[Node], history: &History) {
    for node in nodes {
        let balance = node.store.balance(history.workspace).await.expect("a balance");
        history.agrees(balance.available, balance.held, balance.debt);
    }
}

/// Three nodes, and a workspace with so many credits.
async fn three(name: &str, credits: i64) -> Option<(Directory, Vec<Store>, i64)> {
    let directory = Directory::shared(name)?;
    let open = |_| Store::open(&directory.place(), Some(START)).expect("a node opens");
    let stores: Vec<Store> = (0..3).map(open).collect();
    let workspace = with_credits(&stores[0], credits).await;
    Some((directory, stores, workspace))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_together_spend_what_is_there_and_no_more() {
    let (rounds, started) = (asked_for("SCRIP_RACES", 50), Instant::now());
    let Some((_directory, stores, _)) = three("race", 1).await else { return };
    for round in 0..rounds as usize {
        let workspace = with_credits(&stores[round % 3], 100).await;
        let hold = Post::new(workspace, Command::Hold(sample::hold("work", 1, 1, 900)), "key_1");
        only_so_many(&race(&stores, vec![hold; 512]).await, 100);
        for store in &stores {
            let balance = store.balance(workspace).await.expect("a balance");
            assert_eq!((balance.available, balance.held, balance.debt), (0, 100, 0));
        }
    }
    for store in stores {
        temp::close(store).await;
    }
    println!("races: {rounds} rounds of 512 holds for 100 credits at three nodes, {:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_at_all_nodes_makes_one_hold() {
    for _ in 0..8 {
        let Some((_directory, stores, workspace)) = three("same", 1_000).await else { return };
        let mut post = Post::new(workspace, Command::Hold(sample::hold("work", 1, 7, 900)), "key_1");
        post.key = Some(Key { kind: KeyKind::Hold, key: "once".into(), fingerprint: [1; 16] });
        let answers = race(&stores, vec![post; 64]).await;
        let answers: Vec<_> =
            answers.into_iter().map(|answer| answer.expect("accepted or replayed")).collect();
        assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
        let first = answers[0].hold.as_ref().expect("a hold").id;
        assert!(answers.iter().all(|answer| answer.hold.as_ref().is_some_and(|hold| hold.id == first)));
        for store in stores {
            assert_eq!(store.balance(workspace).await.expect("a balance").held, 7);
            temp::close(store).await;
        }
    }
}

/// So many keyed posts that their keys become a segment, which two nodes write in turns. Made of holds that are never looked at,
/// many to a batch, the real number of keys takes seconds, so nothing has to be smaller in a test than it is in earnest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_keys_are_found_by_every_node() {
    const BATCH: usize = 8_192;
    let Some((directory, mut stores, workspace)) = three("segments", 1_000_000_000).await else { return };
    temp::close(stores.pop().expect("three")).await;
    let post = |number: usize| {
        let mut post = Post::new(workspace, Command::Charge(sample::hold("work", 1, 1, 900)), "key_1");
        let fingerprint = (number as u128).to_be_bytes();
        post.key = Some(Key { kind: KeyKind::Charge, key: format!("key {number}").into(), fingerprint });
        post
    };
    let replays = async |stores: &[Store], known: usize, when: &str| {
        for number in (0..known).step_by(known / 40).chain([known - 1]) {
            for store in stores {
                let answer = store.post(post(number)).await.expect("known");
                assert!(answer.replayed, "{when}: key {number} of {known}");
            }
        }
    };
    let mut known = 0;
    let segments = "select count(*) from request_segment";
    while directory.number(segments) == 0 {
        for store in &stores {
            let posts = (known..known + BATCH).map(post).collect();
            for answer in store.post_all(posts).await {
                assert!(!answer.expect("charged").replayed);
            }
            known += BATCH;
        }
        if directory.number("select count(*) from request") > 0 {
            replays(&stores, known, "while it is written").await;
        }
        assert!(known < 4 * keys::SEGMENT, "the keys never became a segment");
    }
    replays(&stores, known, "once it is written").await;
    assert!(directory.number("select count(*) from request") >= (keys::SEGMENT / keys::TOGETHER) as i64);
    temp::close(stores.remove(0)).await;
    stores.push(Store::open(&directory.place(), Some(START)).expect("it opens again"));
    replays(&stores, known, "after a restart").await;
    for store in &stores {
        assert_eq!(
            store.balance(workspace).await.expect("a balance").available,
            1_000_000_000 - known as i64
        );
    }
}
