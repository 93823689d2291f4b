//! What work that waits will use within some days, at most, at today's prices.
//!
//! The order of the work is `billing::campaign`'s; here it is only priced. Replies, missing addresses and look-ups without a
//! result make it less, never more.

use billing::campaign::{self, Channel, Plan, Position};
use billing::units::DAY;

use crate::app::App;
use crate::outreach::enrich_operation;
use crate::store::summary::{Due, Waiting};

/// What one lead uses from `position` on, within so many days, when it is due there after `days`.
fn per_lead(app: &App, plan: &Plan, position: Position, days: i64, within: i64) -> i64 {
    let (mut position, mut due, mut credits) = (position, Some(days.saturating_mul(DAY)), 0_i64);
    while let Some(at) = due.filter(|at| *at <= within.saturating_mul(DAY)) {
        credits = credits.saturating_add(piece(app, plan, position));
        (position, due) = campaign::advance(plan, position, at);
    }
    credits
}

/// What all of this uses within so many days, without the job `but`.
pub fn all(app: &App, waiting: &Waiting, within: i64, but: Option<i64>) -> i64 {
    let credits = |due: &Due| {
        let plan = waiting.plans.get(&due.job).filter(|_| but != Some(due.job))?;
        let whole = per_lead(app, plan, due.position, due.days, within).saturating_mul(due.leads);
        // What is written is paid.
        let paid = if due.days <= within { writing(app, plan, due.position) } else { 0 };
        Some(whole.saturating_sub(paid.saturating_mul(due.written)))
    };
    waiting.due.iter().filter_map(credits).fold(0, i64::saturating_add)
}

/// How many days a lead takes through a sequence.
pub fn days(plan: &Plan) -> i64 {
    plan.steps.iter().fold(0, |days, step| step.after_days.saturating_add(days))
}

/// What the message of a step costs.
fn writing(app: &App, plan: &Plan, position: Position) -> i64 {
    let Position::Step(index) = position else { return 0 };
    let generates = plan.steps.get(index).is_some_and(|step| step.generate);
    if generates { app.unit("message_generation", 1).unit_price } else { 0 }
}

fn piece(app: &App, plan: &Plan, position: Position) -> i64 {
    let price = |operation: &str| app.unit(operation, 1).unit_price;
    match position {
        Position::Enrich(index) => plan.enrich.get(index).map_or(0, |field| price(enrich_operation(field))),
        Position::Step(index) => plan.steps.get(index).map_or(0, |step| {
            let send = match step.channel {
                Channel::Email => price("email_send"),
                Channel::LinkedinInvite | Channel::LinkedinMessage => price("linkedin_send"),
            };
            send + writing(app, plan, position)
        }),
    }
}
