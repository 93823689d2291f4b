//! The hand that goes round the workspaces whose entries are not in their tables.
//!
//! Owns whose turn it is, and which part of the journal is therefore not needed any more. It does *not* write.
//!
//! Invariant: whoever the hand comes to is written in the same transaction, so that a round after a mark all entries that the
//! journal had then are in their tables.

use std::collections::{BTreeSet, VecDeque};

/// How much happens between two marks.
pub const MARKED: i64 = 16_384;

/// Whose turn it was last.
pub struct Hand {
    place: Place,
    /// Where the hand was now and then, and where the journal ended then.
    marks: VecDeque<(Place, i64)>,
    every: i64,
    /// The journal's rows until this one are in their tables.
    done: i64,
}

/// How many rounds were finished, and the last workspace that the hand came to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    round: i64,
    workspace: i64,
}

impl Hand {
    /// At the begin of a round, when the journal has the rows after `done` until `last`.
    pub fn new(done: i64, last: i64, every: i64) -> Hand {
        let place = Place { round: 0, workspace: i64::MIN };
        Hand { place, marks: VecDeque::from([(place, last)]), every, done }
    }

    /// Comes to the next workspace that is behind, in the order of their numbers, because neighbours share pages; the journal ends
    /// at `last`. `None`: there is none, or it is the `first` again.
    pub fn next(&mut self, behind: &BTreeSet<i64>, first: Option<&i64>, last: i64) -> Option<i64> {
        let after = self.place.workspace.saturating_add(1);
        let next = behind.range(after..).next().or(behind.first()).filter(|next| first != Some(next))?;
        self.place.round += i64::from(*next <= self.place.workspace);
        self.place.workspace = *next;
        let is_a_round_ago = |(mark, _): &mut (Place, i64)| {
            Place { round: mark.round + 1, workspace: mark.workspace } <= self.place
        };
        while let Some((_, end)) = self.marks.pop_front_if(is_a_round_ago) {
            self.done = end;
        }
        if self.marks.back().is_none_or(|(_, end)| last - end >= self.every) {
            self.marks.push_back((self.place, last));
        }
        Some(*next)
    }

    /// Nobody is behind, and the journal ends at `last`.
    pub fn rest(&mut self, last: i64) {
        self.marks.clear();
        self.done = last;
    }

    /// Until which row of the journal all entries are in their tables.
    pub fn done(&self) -> i64 {
        self.done
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Entries come for workspaces at random, and the hand comes to some: nothing that waits is ever said to be done, and what is
    /// not done is never older than a round and a mark.
    #[test]
    fn nothing_that_waits_is_done() {
        let mut state = 7_u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for (workspaces, every) in [(1, 1), (2, 1), (7, 5), (50, 16), (50, 1_000), (400, 64)] {
            let (mut hand, mut last, mut waiting) = (Hand::new(0, 0, every), 0, BTreeMap::new());
            // Where the journal ended when each round began.
            let mut rounds = vec![0];
            let (mut most, mut before) = (0, 0);
            for _ in 0..20_000 {
                for _ in 0..random(6) {
                    last += 1;
                    // Some have many entries, most have few.
                    let workspace = random(workspaces).min(random(workspaces)) as i64 - 3;
                    waiting.entry(workspace).or_insert(last);
                }
                let (behind, mut first) = (waiting.keys().copied().collect(), None);
                for _ in 0..random(6) {
                    let Some(workspace) = hand.next(&behind, first.as_ref(), last) else { break };
                    first = first.or(Some(workspace));
                    waiting.remove(&workspace);
                    if hand.place.round >= rounds.len() as i64 {
                        rounds.push(last);
                    }
                }
                let oldest = waiting.values().min().copied().unwrap_or(last + 1);
                assert!(
                    hand.done() >= std::mem::replace(&mut before, hand.done()),
                    "{workspaces}: less is done"
                );
                assert!(hand.done() < oldest, "{workspaces}: done until {}, {oldest} waits", hand.done());
                if let [.., begun, _, _] = rounds[..] {
                    let done = hand.done();
                    assert!(done + every >= begun, "{workspaces}: {done} done, two rounds ago {begun}");
                    most = most.max(last - done);
                }
                if waiting.is_empty() {
                    hand.rest(last);
                    assert_eq!(hand.done(), last);
                    before = last;
                }
            }
            assert!(rounds.len() > 20 && most > 0, "{workspaces}: {} rounds", rounds.len());
        }
    }
}
