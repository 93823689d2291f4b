//! How work in the background moves: when it runs, why it is paused, and what a lead's next piece of work is.
//!
//! Owns the running time (frozen by a pause, so that two days left stay two days), the stack of pause reasons, and the
//! order of pieces within a lead. It does *not* call anybody or pay: the runner does what [`next`] names and reports back.
//!
//! Invariant: a position only moves forward, so no piece is ever done twice or left out.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use crate::units::{DAY, Time};

/// Why work is paused. Several may hold at once; work runs when none does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Reason {
    /// The next piece cannot be paid.
    OutOfCredits,
    /// A person paused it. Never lifted by money.
    Person,
    /// The campaign used what it was allowed to use.
    CreditCap,
    /// The provider refuses our credentials or does not exist.
    Provider,
}

/// Where a campaign, a search or an enrichment job is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names are the screen's")]
pub enum Stage {
    Draft,
    Launched,
    Completed,
    Canceled,
    Failed,
}

/// The life of one campaign, search or enrichment job.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// Where it is.
    pub stage: Stage,
    /// Why it is paused, and since when.
    pub reasons: BTreeMap<Reason, Time>,
    /// Microseconds it ran before the current stretch.
    pub ran: i64,
    /// When the current stretch began; `None` while it does not run.
    pub running_since: Option<Time>,
}

impl Run {
    /// One that was not launched yet.
    pub fn draft() -> Run {
        Run { stage: Stage::Draft, reasons: BTreeMap::new(), ran: 0, running_since: None }
    }

    /// Starts it. With a pause reason already there it is launched, but does not run yet.
    pub fn launch(&mut self, now: Time) -> bool {
        let launched = self.stage == Stage::Draft;
        if launched {
            self.stage = Stage::Launched;
            self.follow(now);
        }
        launched
    }

    /// Adds a reason to pause; says whether it is new.
    pub fn pause(&mut self, reason: Reason, now: Time) -> bool {
        let new = self.stage == Stage::Launched && !self.reasons.contains_key(&reason);
        if new {
            self.reasons.insert(reason, now);
            self.follow(now);
        }
        new
    }

    /// Takes a reason away; says whether it was there. The work runs again when it was the last one.
    pub fn lift(&mut self, reason: Reason, now: Time) -> bool {
        let there = self.reasons.remove(&reason).is_some();
        if there {
            self.follow(now);
        }
        there
    }

    /// Ends it.
    pub fn end(&mut self, stage: Stage, now: Time) {
        self.stage = stage;
        self.reasons.clear();
        self.follow(now);
    }

    /// Microseconds it has run until `now`. Due times are kept in this time.
    pub fn running_time(&self, now: Time) -> i64 {
        self.ran + self.running_since.map_or(0, |since| now.0 - since.0)
    }

    fn follow(&mut self, now: Time) {
        let runs = self.stage == Stage::Launched && self.reasons.is_empty();
        match self.running_since {
            None if runs => self.running_since = Some(now),
            Some(since) if !runs => {
                self.ran += now.0 - since.0;
                self.running_since = None;
            }
            _ => {}
        }
    }
}

/// How a step reaches a lead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names are the trade's")]
pub enum Channel {
    Email,
    LinkedinInvite,
    LinkedinMessage,
}

/// One step of a campaign, as far as the order of work depends on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// How it reaches the lead.
    pub channel: Channel,
    /// Days after the step before it.
    pub after_days: i64,
    /// Whether its text is written for each lead.
    pub generate: bool,
}

/// What a campaign does with each lead, in order: fill the fields, then the steps.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// Fields to fill before the first step; `contact` is the e-mail address.
    pub enrich: Vec<String>,
    /// The steps.
    pub steps: Vec<Step>,
    /// Whether a person approves each message before it goes.
    pub approve: bool,
}

/// How far a lead has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Position {
    /// The field with this index is next.
    Enrich(usize),
    /// The step with this index is next; its text may have to be written first.
    Step(usize),
}

/// What is known about a lead when its next piece is decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Facts {
    /// The lead answered.
    pub replied: bool,
    /// The lead is on the blocklist.
    pub blocked: bool,
    /// The field that comes next is filled already.
    pub filled: bool,
    /// There is a usable e-mail address.
    pub email: bool,
    /// There is a LinkedIn address.
    pub linkedin: bool,
    /// A message for the step that comes next is stored.
    pub written: bool,
    /// A person has approved that message.
    pub approved: bool,
    /// A person must look at that message first, whatever the plan says.
    pub review: bool,
}

/// What to do next for a lead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Look the field with this index up.
    Enrich(usize),
    /// Nothing to look up: the field with this index is there already.
    Have(usize),
    /// Write the message of this step.
    Write(usize),
    /// Wait until a person has approved the message of this step.
    Review(usize),
    /// Send this step.
    Send(usize),
    /// Leave this step out: there is no address for its channel.
    Skip(usize),
    /// Stop here.
    Finish(Finish),
}

/// How a lead's way through a campaign ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names are the screen's")]
pub enum Finish {
    Completed,
    Replied,
    Blocked,
}

/// The next piece of work for a lead. Called when the lead is due.
pub fn next(plan: &Plan, position: Position, facts: Facts) -> Next {
    if facts.replied {
        return Next::Finish(Finish::Replied);
    }
    if facts.blocked {
        return Next::Finish(Finish::Blocked);
    }
    match position {
        Position::Enrich(index) if index < plan.enrich.len() => {
            if facts.filled {
                Next::Have(index)
            } else {
                Next::Enrich(index)
            }
        }
        Position::Enrich(_) => next(plan, Position::Step(0), facts),
        Position::Step(index) => match plan.steps.get(index) {
            None => Next::Finish(Finish::Completed),
            Some(step) if !reachable(step, facts) => Next::Skip(index),
            Some(step) if step.generate && !facts.written => Next::Write(index),
            Some(_) if (plan.approve || facts.review) && !facts.approved => Next::Review(index),
            Some(_) => Next::Send(index),
        },
    }
}

/// Where a lead stands once the piece at `position` is done or left out, and the running time at which it is due again;
/// `None` when nothing is left to do.
pub fn advance(plan: &Plan, position: Position, running_time: i64) -> (Position, Option<i64>) {
    let wait = |index: usize| plan.steps.get(index).map(|step| running_time + step.after_days * DAY);
    match position {
        Position::Enrich(index) if index + 1 < plan.enrich.len() => {
            (Position::Enrich(index + 1), Some(running_time))
        }
        Position::Enrich(index) if index < plan.enrich.len() => (Position::Step(0), wait(0)),
        // A field that the plan no longer has: [`next`] went on to the first step, and that is what was done.
        Position::Enrich(_) => (Position::Step(1), wait(1)),
        Position::Step(index) => (Position::Step(index + 1), wait(index + 1)),
    }
}

/// Where a lead begins, and the running time at which it is due.
pub fn begin(plan: &Plan, running_time: i64) -> (Position, Option<i64>) {
    if plan.enrich.is_empty() {
        return (Position::Step(0), plan.steps.first().map(|step| running_time + step.after_days * DAY));
    }
    (Position::Enrich(0), Some(running_time))
}

fn reachable(step: &Step, facts: Facts) -> bool {
    match step.channel {
        Channel::Email => facts.email,
        Channel::LinkedinInvite | Channel::LinkedinMessage => facts.linkedin,
    }
}
