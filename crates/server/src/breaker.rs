//! Who is away: providers that did not answer several times in a row for one workspace are left alone for a while.
//!
//! It owns the count of failures in a row. It calls nobody, and knows no account and no table.
//!
//! Invariant: one answer ends the story; while somebody is away nothing is held, called or counted as an attempt for them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use billing::Time;

use crate::store::work::{Away, Need};

/// How many failures in a row make somebody away.
const FAILURES: u32 = 8;
/// How long somebody is left alone the first time, in seconds; twice as long each time after it.
const PAUSE_SECONDS: i64 = 60;
/// How often that doubles at most: 16 minutes.
const DOUBLINGS: u32 = 4;

/// What a call heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// An answer that decides, even a refusal.
    Answer,
    /// Busy, broken, or nothing at all.
    Nothing,
}

#[derive(Clone, Copy, Default)]
struct State {
    failures: u32,
    trips: u32,
    until: Time,
}

/// A provider that did not answer a workspace's last call.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Failing {
    pub workspace: i64,
    pub need: Need,
    /// How often in a row.
    pub failures: u32,
    /// It was, or is, left alone until then.
    pub until: Time,
}

/// The state of every provider of every workspace that failed last time. Empty in good times.
#[derive(Default)]
pub struct Breakers(Mutex<HashMap<(i64, Need), State>>);

impl Breakers {
    /// Notes what a call of a workspace heard from somebody.
    pub fn heard(&self, workspace: i64, need: Need, heard: Heard, now: Time) {
        let mut states = self.lock();
        if heard == Heard::Answer {
            states.remove(&(workspace, need));
            return;
        }
        let state = states.entry((workspace, need)).or_default();
        state.failures = state.failures.saturating_add(1);
        // Calls that were out when it became clear say nothing new.
        if state.failures >= FAILURES && state.until <= now {
            state.until = now.plus_seconds(PAUSE_SECONDS << state.trips.min(DOUBLINGS));
            state.trips += 1;
            tracing::warn!(
                workspace,
                ?need,
                until = state.until.0,
                "a provider does not answer and is left alone"
            );
        }
    }

    /// Who is away now. Which fields the providers of fields look up is for the caller to say.
    pub fn away(&self, now: Time) -> Away {
        let mut away = Away::default();
        for ((workspace, need), state) in self.lock().iter().filter(|(_, state)| state.until > now) {
            away.until.entry(*workspace).or_default().insert(*need, state.until);
        }
        away
    }

    /// All that did not answer the last time, by workspace.
    pub fn failing(&self) -> Vec<Failing> {
        let states = self.lock();
        let one = |(&(workspace, need), state): (&(i64, Need), &State)| Failing {
            workspace,
            need,
            failures: state.failures,
            until: state.until,
        };
        let mut failing: Vec<Failing> = states.iter().map(one).collect();
        failing.sort_by_key(|failing| failing.workspace);
        failing
    }

    /// Until when somebody is away for a workspace.
    pub fn away_until(&self, workspace: i64, need: Need, now: Time) -> Option<Time> {
        self.lock().get(&(workspace, need)).map(|state| state.until).filter(|until| *until > now)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(i64, Need), State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_failures_in_a_row_make_a_pause_that_doubles_and_one_answer_ends_it() {
        let breakers = Breakers::default();
        let second = |second: i64| Time(second * 1_000_000);
        let until = |now| breakers.away_until(7, Need::Email, second(now)).map(|until| until.0 / 1_000_000);
        let fail = |now| breakers.heard(7, Need::Email, Heard::Nothing, second(now));
        (0..7).for_each(|_| fail(0));
        breakers.heard(7, Need::Email, Heard::Answer, second(0));
        (0..7).for_each(|_| fail(0));
        assert_eq!(until(0), None, "the answer ended the row");
        fail(0);
        fail(1);
        assert_eq!((until(1), until(60)), (Some(60), None));
        assert!(breakers.away(second(1)).of(8).until.is_empty(), "another workspace goes on");
        assert_eq!(breakers.away(second(1)).of(7).until.len(), 1, "other providers too");
        let mut now = 60;
        for pause in [120, 240, 480, 960, 960] {
            fail(now);
            assert_eq!(until(now), Some(now + pause));
            now += pause;
        }
        breakers.heard(7, Need::Email, Heard::Answer, second(now));
        fail(now);
        assert_eq!(until(now), None);
    }
}
