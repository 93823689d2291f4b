//! Subscriptions: a workspace's plan, how it stands, and the periods that its credits come in.
//!
//! Owns the terms of a plan as they were agreed, and how a change of plan is decided. A period's beginning is in `periods`;
//! what a person asks for is in `change`. Money is asked for elsewhere: here it is only ordered.
//!
//! Invariants: periods are counted from an anchor and tile; each has one grant, however late and however often it is begun.
//! Where payments are collected, a period that costs money begins when it is paid.

pub mod change;
pub mod periods;

use billing::Time;
use billing::subscription::{prorated, tax_on};
use serde::{Deserialize, Serialize};

use super::workspaces::Workspace;
use super::{Error, db::Tx};
use crate::{calendar, values};

/// How a subscription stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It waits for its first payment.
    Incomplete = 0,
    /// Its trial runs.
    Trialing = 1,
    /// It renews by itself.
    Active = 2,
    /// A renewal was declined and is tried again; no credits come until it is paid.
    PastDue = 3,
    /// It ends with its period.
    Canceling = 4,
    /// It has ended.
    Canceled = 5,
}

impl Standing {
    pub(super) fn of(code: i64) -> Standing {
        use Standing::{Active, Canceled, Canceling, Incomplete, PastDue, Trialing};
        [Incomplete, Trialing, Active, PastDue, Canceling, Canceled][code.clamp(0, 5) as usize]
    }

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Standing::Incomplete => "incomplete",
            Standing::Trialing => "trialing",
            Standing::Active => "active",
            Standing::PastDue => "past_due",
            Standing::Canceling => "canceling",
            Standing::Canceled => "canceled",
        }
    }
}

/// A plan as it was agreed: a later price list changes nothing before the renewal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Terms {
    pub plan: String,
    pub label: String,
    /// Of the price list.
    pub version: i64,
    /// Credits of each grant.
    pub credits: i64,
    /// Minor units for each time it is paid, without tax.
    pub amount: i64,
    /// Hundredths of a percent on top.
    pub tax_rate: i64,
    pub currency: String,
    /// Calendar months that are paid at once.
    pub months: i64,
    /// Calendar months between grants.
    pub grant_months: i64,
    /// Whether unused credits expire with their period.
    pub expires: bool,
    /// The most unused credits that a renewal leaves.
    pub rollover: Option<i64>,
    /// Days and credits of a first time without money.
    pub trial: Option<(i64, i64)>,
    /// Whether an upgrade to it is the difference, or a whole new period.
    pub prorates: bool,
}

impl Terms {
    /// Tax on what it costs.
    pub fn tax(&self) -> i64 {
        tax_on(self.amount, self.tax_rate)
    }

    /// What a year of it costs, and brings: how plans are compared.
    fn yearly(&self) -> (i64, i64) {
        (self.amount.saturating_mul(12 / self.months), self.credits.saturating_mul(12 / self.grant_months))
    }
}

/// What a payment for a plan was ordered for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ordered {
    pub terms: Terms,
    /// The number of the period that it is for, or was ordered in.
    pub period: i64,
    /// Whether it pays for a whole period, not for a difference.
    pub whole: bool,
}

/// One period.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Period {
    pub number: i64,
    pub starts_at: Time,
    pub ends_at: Time,
}

/// When a change takes effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum When {
    Now,
    Renewal,
}

/// What a change of plan means, decided before anything is written or paid.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// The plan stays as it is; a change that was planned for the renewal is dropped.
    Stay,
    /// A first period begins, once it is paid.
    Begin,
    /// A trial begins.
    Trial { days: i64, credits: i64 },
    /// The trial goes on, with another plan after it.
    AfterTrial,
    /// From the next renewal on.
    AtRenewal { at: Time },
    /// The difference for what is left of the period.
    Difference { amount: i64, tax: i64, credits: i64 },
    /// A new period begins now, at the full price.
    NewPeriod,
}

/// What a change to `terms` means for a workspace now.
///
/// # Errors
/// `subscription_busy` while a payment is waited for, and `Invalid("when")` for a time that makes no sense.
pub fn decide(
    workspace: &Workspace,
    last: Option<Period>,
    terms: &Terms,
    when: Option<When>,
    now: Time,
) -> Result<Change, Error> {
    use Standing::{Active, Canceled, Canceling, Incomplete, PastDue, Trialing};
    let standing = workspace.subscription.unwrap_or(Canceled);
    match standing {
        PastDue if workspace.plan.as_ref() == Some(&terms.plan) => return Ok(Change::Stay),
        PastDue => {
            let detail = "a renewal is not paid yet: pay it or cancel before changing the plan";
            return Err(Error::Conflict("subscription_past_due", detail));
        }
        Canceled | Incomplete => {
            if when == Some(When::Renewal) {
                let detail = "must be now: nothing renews yet".to_owned();
                return Err(Error::Invalid("when", detail));
            }
            let trial = terms.trial.filter(|_| workspace.pays() && !workspace.trialed);
            return Ok(trial.map_or(Change::Begin, |(days, credits)| Change::Trial { days, credits }));
        }
        Trialing | Active | Canceling if workspace.awaited.is_some() => {
            let detail = "a renewal is being paid: try again in a moment";
            return Err(Error::Conflict("subscription_busy", detail));
        }
        Trialing | Active | Canceling => {}
    }
    let Some(current) = &workspace.terms else { return Ok(Change::Begin) };
    if current.plan == terms.plan {
        return Ok(Change::Stay);
    }
    if standing == Trialing {
        return Ok(Change::AfterTrial);
    }
    let larger = terms.yearly() > current.yearly();
    let renewal = last.map_or(now, |last| billed(workspace, current, last).1);
    match when {
        Some(When::Now) if !larger => {
            let detail = "must be renewal: a plan that is not larger begins with the next period".to_owned();
            Err(Error::Invalid("when", detail))
        }
        None | Some(When::Now) if larger => Ok(upgrade(workspace, current, last, terms, now)),
        _ => Ok(Change::AtRenewal { at: renewal }),
    }
}

fn upgrade(workspace: &Workspace, current: &Terms, last: Option<Period>, terms: &Terms, now: Time) -> Change {
    let rhythm = |terms: &Terms| (terms.months, terms.grant_months, terms.currency.clone());
    let Some(last) = last.filter(|_| terms.prorates && rhythm(terms) == rhythm(current)) else {
        return Change::NewPeriod;
    };
    let (begin, end) = billed(workspace, current, last);
    let share = |more, (begin, end): (Time, Time)| prorated(more, end.0 - now.0, end.0 - begin.0);
    let amount = share(terms.amount - current.amount, (begin, end));
    let credits = share(terms.credits - current.credits, (last.starts_at, last.ends_at));
    Change::Difference { amount, tax: tax_on(amount, terms.tax_rate), credits }
}

/// From when to when the time is that was paid at once, around a period.
pub fn billed(workspace: &Workspace, terms: &Terms, period: Period) -> (Time, Time) {
    let (index, each) = (period.number - workspace.first_period, terms.months / terms.grant_months);
    let first = index - index.rem_euclid(each);
    let at =
        |index| calendar::period_start(workspace.anchor, &workspace.time_zone, terms.grant_months, index);
    (at(first), at(first + each))
}

/// The period that began last.
pub(super) fn last(tx: &Tx<'_>, workspace: i64) -> Result<Option<Period>, Error> {
    let last =
        "select number, starts_at, ends_at from period where workspace = ?1 order by number desc limit 1";
    tx.one(last, values![workspace], |row| {
        Ok(Period { number: row.int(0)?, starts_at: row.time(1)?, ends_at: row.time(2)? })
    })
}
