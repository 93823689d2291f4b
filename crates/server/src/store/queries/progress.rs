//! How far a job has come, counted once for whoever shows it. Pure.

use crate::store::work::{StepOutcome, WorkState};

/// How a campaign's steps and leads stand.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// (step, outcome, how many).
    pub outcomes: Vec<(i64, i64, i64)>,
    /// (stored position, how many wait there).
    pub waiting: Vec<(i64, i64)>,
    /// (state, how many).
    pub states: Vec<(i64, i64)>,
    /// (stored position, how many are in doubt there).
    pub in_doubt: Vec<(i64, i64)>,
    /// (stored position, how many wait there for a person to approve their message).
    pub review: Vec<(i64, i64)>,
    /// (stored position, how many messages are written for it and not sent).
    pub written: Vec<(i64, i64)>,
}

impl Progress {
    /// How many leads wait at a step for their message to be approved.
    pub fn awaiting_approval(&self, step: usize) -> i64 {
        let here = |row: &&(i64, i64)| row.0 - 1_000 == step as i64;
        self.review.iter().find(here).map_or(0, |row| row.1)
    }

    /// How many leads ended a step this way.
    pub fn outcome(&self, step: usize, outcome: StepOutcome) -> i64 {
        let same = |row: &&(i64, i64, i64)| row.0 == step as i64 && row.1 == outcome as i64;
        self.outcomes.iter().find(same).map_or(0, |row| row.2)
    }

    /// How many leads are in a state.
    pub fn state(&self, state: WorkState) -> i64 {
        self.states.iter().find(|row| row.0 == state as i64).map_or(0, |row| row.1)
    }

    /// How many leads are on their way: waiting, in doubt, or waiting for a person.
    pub fn active(&self) -> i64 {
        [WorkState::Waiting, WorkState::InDoubt, WorkState::Review]
            .map(|state| self.state(state))
            .iter()
            .sum()
    }

    /// How many leads wait for a step; those whose fields come first wait for the first step.
    pub fn waiting_for(&self, step: usize) -> i64 {
        let here = |position: i64| if position < 1_000 { step == 0 } else { position - 1_000 == step as i64 };
        self.waiting.iter().filter(|row| here(row.0)).map(|row| row.1).sum()
    }

    /// All leads.
    pub fn total(&self) -> i64 {
        self.states.iter().map(|row| row.1).sum()
    }
}
