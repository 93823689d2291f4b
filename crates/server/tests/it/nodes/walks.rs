//! Balances that walk around their thresholds, written by three nodes at once: one notice for each crossing, and none missed.
//!
//! Every look is known by the entry that was looked at, so the naive watch sees them in the order in which they happened, whichever
//! node wrote them.

use std::time::Instant;

use billing::alerts::{Crossing, Threshold};
use billing::ledger::Command;
use billing::{GrantKind, Seq, Time};
use scrip::store::committer::{Answer, Post};
use scrip::store::workspaces::WorkspaceChange;
use scrip::store::{Error, Store};

use crate::chance::{Chance, asked_for};
use crate::sample::{self, START};
use crate::temp::{self, Directory};
use crate::witness::{Look, Witness};

/// Walks in one database at once.
const TOGETHER: u64 = 500;
const STEPS: usize = 20;
const LOW: i64 = 200;
const CRITICAL: i64 = 50;
const HOUR: i64 = 3_600_000_000;

/// One workspace, and what its notices must be.
struct Walk {
    workspace: i64,
    chance: Chance,
    witness: Witness,
    available: i64,
    holds: Vec<Seq>,
    /// When which kind of notice was given.
    notices: Vec<(i64, &'static str)>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn threshold_walks_over_three_nodes() {
    let (count, first) = (asked_for("SCRIP_WALKS", 2_000), asked_for("SCRIP_SEED", 20_270_131));
    let (started, mut notices) = (Instant::now(), 0);
    for group in (first..first + count).step_by(TOGETHER as usize) {
        let Some(directory) = Directory::shared("walks") else { return };
        let nodes: Vec<Store> =
            (0..3).map(|_| Store::open(&directory.place(), Some(START)).expect("a node opens")).collect();
        notices += walk(&nodes, group, TOGETHER.min(first + count - group)).await;
        for node in nodes {
            temp::close(node).await;
        }
    }
    println!(
        "walks: seed {first}, {count} walks of {STEPS} steps on 3 nodes, {notices} notices, {:?}",
        started.elapsed()
    );
    assert!(notices as u64 > count, "the walks cross something");
}

/// Answers how many notices there were.
async fn walk(nodes: &[Store], seed: u64, count: u64) -> usize {
    let (mut chance, mut now) = (Chance::new(seed), START);
    let mut walks = Vec::new();
    for index in 0..count {
        let chance = Chance::new(seed + index);
        walks.push(Walk::new(sample::workspace(&nodes[0], None).await, &nodes[0], chance).await);
    }
    for _ in 0..STEPS {
        now = Time(now.0 + chance.within(1, 40) * HOUR / 20);
        nodes[0].advance_clock(now).await.expect("the clock is stored");
        let mut parts: Vec<Vec<(usize, Post)>> = vec![Vec::new(); nodes.len()];
        for (index, walk) in walks.iter_mut().enumerate() {
            for command in walk.step(now) {
                let node = chance.within(0, nodes.len() as i64 - 1) as usize;
                parts[node].push((index, Post::new(walk.workspace, command, "walk")));
            }
        }
        let mut running = tokio::task::JoinSet::new();
        for (part, node) in parts.into_iter().zip(nodes.iter().cloned()) {
            running.spawn(async move {
                let (walks, posts): (Vec<usize>, Vec<Post>) = part.into_iter().unzip();
                let commands: Vec<Command> = posts.iter().map(|post| post.command.clone()).collect();
                let answers = node.post_all(posts).await;
                walks.into_iter().zip(commands.into_iter().zip(answers)).collect::<Vec<_>>()
            });
        }
        let mut told: Vec<Vec<(Command, Answer)>> = vec![Vec::new(); walks.len()];
        for (index, (command, answer)) in running.join_all().await.into_iter().flatten() {
            match answer {
                Ok(answer) => told[index].push((command, answer)),
                // Another node was there first and left too little.
                Err(Error::Refused(_)) => {}
                Err(error) => panic!("seed {seed}, walk {index}: {error:?}"),
            }
        }
        for (walk, told) in walks.iter_mut().zip(told) {
            walk.look(told, now);
        }
    }
    let mut all = 0;
    for (index, walk) in walks.into_iter().enumerate() {
        all += walk.compare(&nodes[index % nodes.len()], seed + index as u64).await;
    }
    all
}

impl Walk {
    async fn new(workspace: i64, node: &Store, chance: Chance) -> Walk {
        let (low, critical) = (Some(Threshold::Credits(LOW)), Some(Threshold::Credits(CRITICAL)));
        let change = WorkspaceChange { low, critical, ..WorkspaceChange::default() };
        node.update_workspace(workspace, change, "walk".to_owned()).await.expect("its thresholds are set");
        let (witness, holds, notices) = (Witness::default(), Vec::new(), Vec::new());
        Walk { workspace, chance, witness, available: 0, holds, notices }
    }

    /// What happens next, all at once.
    fn step(&mut self, now: Time) -> Vec<Command> {
        if self.available > 0 && self.chance.once_in(4) {
            let parts = self.chance.within(2, 3);
            let each = (self.available / parts).max(1);
            return (0..parts).map(|_| Command::Charge(sample::hold("walk", each, 1, 900))).collect();
        }
        if self.chance.once_in(8)
            && let Some(hold) = self.holds.pop()
        {
            return vec![Command::Release(hold)];
        }
        let next = match self.chance.within(0, 9) {
            0 => 0,
            1 => self.available + self.chance.within(1, 1_000),
            2 | 3 => LOW + self.chance.within(-3, 3 + LOW / 8),
            4 | 5 => CRITICAL + self.chance.within(-3, 3 + CRITICAL / 8),
            _ => (self.available - self.chance.within(-LOW / 2, LOW / 2)).max(0),
        };
        let moved = next - self.available;
        vec![match moved {
            0 => return Vec::new(),
            1.. if self.chance.once_in(2) => {
                Command::Grant(sample::grant(moved, GrantKind::Bonus, now, None))
            }
            ..0 if self.chance.once_in(3) => Command::Hold(sample::hold("walk", -moved, 1, 604_800)),
            ..0 if self.chance.once_in(2) => Command::Charge(sample::hold("walk", -moved, 1, 900)),
            _ => Command::Adjust(moved),
        }]
    }

    /// Shows the naive watch what was answered, in the order of the entries.
    fn look(&mut self, mut told: Vec<(Command, Answer)>, now: Time) {
        let seq = |answer: &Answer| answer.entry.as_ref().map(|recorded| recorded.entry.seq);
        told.sort_by_key(|(_, answer)| seq(answer));
        for (command, answer) in told {
            if let (Command::Hold(_), Some(hold)) = (&command, seq(&answer)) {
                self.holds.push(hold);
            }
            self.available = answer.available;
            let look = Look {
                available: answer.available,
                held: answer.held,
                now: now.0,
                refused: None,
                oldest_due: None,
            };
            for crossing in self.witness.expects(look, LOW, CRITICAL) {
                self.expect(crossing, &command, now);
            }
        }
    }

    fn expect(&mut self, crossing: Crossing, command: &Command, now: Time) {
        let kind = match crossing {
            Crossing::Low(_) => "low",
            Crossing::Critical(_) => "critical",
            Crossing::Out { .. } => "out",
            // Nobody bought anything.
            Crossing::Restored if matches!(command, Command::Release(_)) => return,
            Crossing::Restored => "restored",
        };
        let newest = self.notices.iter().map(|(at, _)| *at).max().unwrap_or(now.0);
        let last = self.notices.iter_mut().rev().find(|(_, kind)| *kind == "out");
        match (crossing, last) {
            // It stands before all that was told, also at this moment.
            (Crossing::Out { again: true }, Some(last)) => last.0 = now.0.max(newest + 1),
            _ => self.notices.push((now.0, kind)),
        }
    }

    async fn compare(mut self, node: &Store, seed: u64) -> usize {
        let notices = node.notices(self.workspace, None, 500).await.expect("they are read");
        let mut given: Vec<(i64, &str)> =
            notices.iter().map(|(_, notice)| (notice.at.0, notice.kind.as_str())).collect();
        given.sort_unstable();
        self.notices.sort_unstable();
        assert_eq!(given, self.notices, "seed {seed}");
        given.len()
    }
}
