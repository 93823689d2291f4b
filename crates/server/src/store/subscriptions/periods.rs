//! A period begins, is paid, is declined: what follows for the workspace, in the transaction that knows it.
//!
//! Owns the rows of `period` and the columns of a workspace that speak of its plan. A person's wishes are in `change`.

use billing::ledger::{Command, GrantTerms};
use billing::subscription::renewal_retry;
use billing::{Amount, GrantKind, Seq, Time};
use serde_json::json;

use super::super::batch::Batch;
use super::super::committer::{Key, KeyKind, Post};
use super::super::db::Row;
use super::super::payments::{self, NewPayment, Payment, Purpose, Status};
use super::super::workspaces::{Workspace, find};
use super::super::{Error, Store, alerts, budgets, outbox, webhooks};
use super::{Ordered, Standing, Terms, last};
use crate::store::alerts::thousands;
use crate::{calendar, clock, id, values};

/// A workspace whose next period is due, with its plan, and the one that was chosen for the renewal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Due {
    pub workspace: i64,
    pub plan: Option<String>,
    pub next_plan: Option<String>,
}

impl Store {
    /// Workspaces whose next period is due and waits for no payment.
    pub async fn due_periods(&self, limit: i64) -> Result<Vec<Due>, Error> {
        let now = self.clock().now();
        let due = "select workspace, plan, next_plan from workspace
            where next_period <= ?1 and awaited is null order by next_period limit ?2";
        let read = |row: &Row<'_>| {
            Ok(Due { workspace: row.int(0)?, plan: row.opt_text(1)?, next_plan: row.opt_text(2)? })
        };
        self.read(move |tx| tx.query(due, values![now, limit], read)).await
    }

    /// The next moment after now at which a period of any workspace begins.
    pub async fn next_period(&self) -> Result<Option<Time>, Error> {
        let now = self.clock().now();
        let next = "select min(next_period) from workspace where next_period > ?1 and awaited is null";
        self.read(move |tx| Ok(tx.one(next, values![now], |row| row.opt_time(0))?.flatten())).await
    }

    /// Begins the next period of a workspace, if it is due: grants its credits, or orders the payment that it waits for. With
    /// the terms of today's price list for a plan that renews; without, on the terms it has.
    pub async fn renew(&self, due: Due, terms: Option<Terms>) -> Result<(), Error> {
        self.write(due.workspace, move |batch| renew(batch, &due, terms.as_ref())).await
    }
}

fn renew(batch: &mut Batch<'_>, due: &Due, terms: Option<&Terms>) -> Result<(), Error> {
    let id = due.workspace;
    let mut workspace = find(&batch.tx, id)?;
    if (&workspace.plan, &workspace.next_plan) != (&due.plan, &due.next_plan) {
        // It was changed meanwhile: it is looked at again, with the terms of what is chosen now.
        return Ok(());
    }
    let next = workspace.next_period.filter(|at| *at <= batch.now && workspace.awaited.is_none());
    let (Some(starts_at), Some(current)) = (next, workspace.terms.clone()) else { return Ok(()) };
    let number = last(&batch.tx, id)?.map_or(0, |last| last.number + 1);
    let index = number - workspace.first_period;
    if index % (current.months / current.grant_months) != 0 {
        return begin(batch, &workspace, &current, starts_at).map(drop);
    }
    if workspace.subscription == Some(Standing::Canceling) {
        return end(batch, &workspace, "The subscription has ended.", "Credits that are left stay.");
    }
    let terms = terms.unwrap_or(&current);
    if let Some(gone) = workspace.next_plan.take_if(|next| *next != terms.plan) {
        let title = format!("The plan {gone} is not offered any more.");
        let body = format!("{} renews instead.", terms.label);
        alerts::add(&batch.tx, id, "plan_gone", batch.now, &title, &body)?;
        outbox::mail_admins(&batch.tx, id, batch.now, &title, &body)?;
    }
    if (terms.months, terms.grant_months) != (current.months, current.grant_months) {
        // Another rhythm is counted from where it begins.
        (workspace.anchor, workspace.first_period) = (starts_at, number);
    }
    if !workspace.pays() || terms.amount == 0 {
        return begin(batch, &workspace, terms, starts_at).map(drop);
    }
    let payment = clock::fresh_id();
    let order = order(&workspace, terms, Purpose::Period, number, (terms.amount, terms.tax(), terms.credits));
    payments::insert(&batch.tx, payment, &order, Some(batch.now), batch.now)?;
    batch.tx.execute(
        "update workspace set awaited = ?2, anchor = ?3, first_period = ?4, next_plan = ?5 where workspace = ?1",
        values![id, payment, workspace.anchor, workspace.first_period, workspace.next_plan.as_ref()],
    )?;
    Ok(())
}

/// What is ordered for a plan: money without tax, tax, credits.
pub(super) fn order(
    workspace: &Workspace,
    terms: &Terms,
    purpose: Purpose,
    period: i64,
    (amount, tax, credits): (i64, i64, i64),
) -> NewPayment {
    let whole = amount == terms.amount;
    let ordered = Ordered { terms: terms.clone(), period, whole };
    NewPayment {
        workspace: workspace.id,
        purpose,
        item: terms.plan.clone(),
        label: match purpose {
            Purpose::Upgrade => format!("Upgrade to {}", terms.label),
            _ => format!("{} plan", terms.label),
        },
        quantity: 1,
        credits,
        bonus: 0,
        expires_days: None,
        terms: serde_json::to_string(&ordered).ok(),
        amount: amount.saturating_add(tax),
        tax,
        currency: terms.currency.clone(),
        return_url: None,
    }
}

/// Begins a period: its grant, its row, and when the next one is due. Answers the grant. Refused only before it wrote anything.
pub(in crate::store) fn begin(
    batch: &mut Batch<'_>,
    workspace: &Workspace,
    terms: &Terms,
    starts_at: Time,
) -> Result<Option<i64>, Error> {
    let before = last(&batch.tx, workspace.id)?;
    let number = before.map_or(0, |last| last.number + 1);
    let (index, zone) = (number - workspace.first_period, &workspace.time_zone);
    let ends_at = calendar::period_start(workspace.anchor, zone, terms.grant_months, index + 1);
    let days = format!("{} to {}", calendar::day(starts_at, zone), calendar::day(ends_at, zone));
    let debt = batch.account(workspace.id)?.debt;
    let grant = grant(batch, workspace.id, terms, (number, starts_at, ends_at), &days)?;
    let repaid = debt - batch.account(workspace.id)?.debt;
    roll_over(batch, workspace.id, terms, grant)?;
    let begins = index == 0;
    batch.tx.execute(
        "insert into period (workspace, number, starts_at, ends_at, credits, begins, grant_id) values (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        values![workspace.id, number, starts_at, ends_at, terms.credits, begins, grant.unwrap_or(0)],
    )?;
    let standing = match workspace.subscription {
        Some(Standing::Canceling) => Standing::Canceling,
        _ => Standing::Active,
    };
    let kept = workspace.next_plan.as_ref().filter(|plan| **plan != terms.plan);
    let next = Some(ends_at);
    agree(batch, workspace, terms, (standing, next, kept.cloned()))?;
    if number > 0 {
        let data = json!({
            "plan": &terms.plan,
            "credits": terms.credits,
            "period_start": clock::rfc3339(starts_at),
            "period_end": clock::rfc3339(ends_at),
            "grant": grant.map(|grant| id::inside("grant", workspace.id, grant)),
        });
        webhooks::tell(&batch.tx, workspace.id, batch.now, webhooks::Kind::SubscriptionRenewed, &data)?;
        let title = format!("Renewed: {} credits added.", thousands(terms.credits));
        let repays = match repaid {
            0 => String::new(),
            repaid => format!(" {} of them repaid what was owed.", thousands(repaid)),
        };
        let body = format!("Plan credits, {days}.{repays}");
        alerts::add(&batch.tx, workspace.id, "renewal", batch.now, &title, &body)?;
    }
    Ok(grant)
}

/// Writes down what is agreed from now on: the plan, how it stands, when its next period is due, and which plan comes then.
pub(super) fn agree(
    batch: &mut Batch<'_>,
    workspace: &Workspace,
    terms: &Terms,
    (standing, next_period, next_plan): (Standing, Option<Time>, Option<String>),
) -> Result<(), Error> {
    let text = serde_json::to_string(terms).unwrap_or_default();
    batch.tx.execute(
        "update workspace set plan = ?2, plan_credits = ?3, terms = ?4, subscription = ?5, next_period = ?6, next_plan = ?7, anchor = ?8,
           first_period = ?9, awaited = null where workspace = ?1",
        values![
            workspace.id,
            &terms.plan,
            terms.credits,
            &text,
            standing as i64,
            next_period,
            next_plan.as_ref(),
            workspace.anchor,
            workspace.first_period
        ],
    )?;
    if workspace.plan_credits != Some(terms.credits) {
        batch.reload(workspace.id)?;
        batch.look_again(workspace.id)?;
    }
    budgets::period_changed(batch, workspace.id)
}

fn grant(
    batch: &mut Batch<'_>,
    workspace: i64,
    terms: &Terms,
    (number, starts_at, ends_at): (i64, Time, Time),
    days: &str,
) -> Result<Option<i64>, Error> {
    let credits = Amount::new(terms.credits)
        .ok_or(Error::Invalid("credits", "a plan grants at least 1 credit".to_owned()))?;
    // A period that is granted after its end still counts: its credits are there for a moment, and then expire.
    let expires_at = terms.expires.then(|| ends_at.max(Time(batch.now.0 + 1)));
    let grant =
        GrantTerms { credits, kind: GrantKind::Plan, priority: 0, effective_at: starts_at, expires_at };
    let mut post = Post::new(workspace, Command::Grant(grant), "renewal");
    post.key = Some(Key { kind: KeyKind::Period, key: number.to_string().into(), fingerprint: [0; 16] });
    post.reason = Some(format!("Plan credits, {days}").into());
    let answer = batch.post(&post)?;
    Ok(answer.entry.and_then(|recorded| recorded.entry.grant).map(|seq| seq.0))
}

/// Takes what earlier grants of the plan have left above the cap, oldest first.
fn roll_over(batch: &mut Batch<'_>, workspace: i64, terms: &Terms, new: Option<i64>) -> Result<(), Error> {
    let Some(cap) = terms.rollover else { return Ok(()) };
    let account = batch.account(workspace)?;
    let earlier = account.grants.values().filter(|grant| {
        grant.terms.kind == GrantKind::Plan && grant.available > 0 && Some(grant.id.0) != new
    });
    let earlier: Vec<(Seq, i64)> = earlier.map(|grant| (grant.id, grant.available)).collect();
    let mut above = earlier.iter().map(|(_, left)| *left).sum::<i64>() - cap;
    for (grant, left) in earlier {
        let Some(credits) = Amount::new(above.min(left)) else { break };
        let mut post = Post::new(workspace, Command::TakeBack { grant, credits }, "renewal");
        post.reason = Some(format!("Above the {} that carry over", thousands(cap)).into());
        batch.post(&post)?;
        above -= credits.get();
    }
    Ok(())
}

/// A payment for a plan arrived: the period that waits for it begins, or the upgrade takes effect. `None`: nothing waits for it
/// any more, and its credits are a grant like any other.
pub(in crate::store) fn paid(batch: &mut Batch<'_>, payment: &Payment) -> Result<Option<i64>, Error> {
    let mut workspace = find(&batch.tx, payment.order.workspace)?;
    let Some(ordered) = ordered(payment) else { return Ok(None) };
    let number = last(&batch.tx, workspace.id)?.map_or(0, |last| last.number + 1);
    match payment.order.purpose {
        Purpose::Period if workspace.awaited == Some(payment.id) => {}
        // A whole new period instead of the rest of this one.
        Purpose::Upgrade if ordered.whole && ordered.period == number - 1 && !is_replaced(payment) => {
            workspace.subscription = Some(Standing::Active);
            cut(batch, &mut workspace, number)?;
        }
        _ => return Ok(None),
    }
    let starts_at = match workspace.subscription {
        Some(Standing::Incomplete) | None => {
            (workspace.anchor, workspace.first_period) = (batch.now, number);
            batch.now
        }
        _ => workspace.next_period.unwrap_or(batch.now),
    };
    begin(batch, &workspace, &ordered.terms, starts_at)
}

/// Whether something else was ordered instead, so that its money is for its credits alone.
fn is_replaced(payment: &Payment) -> bool {
    payment.status == Status::Expired
}

/// Ends the period that runs now, so that another can begin.
pub(super) fn cut(batch: &mut Batch<'_>, workspace: &mut Workspace, number: i64) -> Result<(), Error> {
    let now = batch.now;
    batch.tx.execute(
        "update period set ends_at = ?3 where workspace = ?1 and number = ?2",
        values![workspace.id, number - 1, now],
    )?;
    (workspace.anchor, workspace.first_period, workspace.next_period) = (now, number, Some(now));
    Ok(())
}

/// What a payment for a plan was ordered for.
pub(in crate::store) fn ordered(payment: &Payment) -> Option<Ordered> {
    payment.order.terms.as_deref().and_then(|terms| serde_json::from_str(terms).ok())
}

/// The difference to a larger plan was paid: the plan is agreed, for this period or from the next one on.
pub(in crate::store) fn upgraded(batch: &mut Batch<'_>, payment: &Payment) -> Result<(), Error> {
    let workspace = find(&batch.tx, payment.order.workspace)?;
    let Some(ordered) = ordered(payment) else { return Ok(()) };
    let standing = workspace.subscription.unwrap_or(Standing::Canceled);
    let live = matches!(standing, Standing::Active | Standing::Canceling | Standing::PastDue);
    let last = last(&batch.tx, workspace.id)?;
    if !live || is_replaced(payment) || workspace.plan.as_ref() == Some(&ordered.terms.plan) {
        return Ok(());
    }
    if last.is_some_and(|last| last.number == ordered.period) && workspace.awaited.is_none() {
        return agree(batch, &workspace, &ordered.terms, (Standing::Active, workspace.next_period, None));
    }
    // It was paid after its period: what was paid for is the plan from the next one on.
    batch.tx.execute(
        "update workspace set next_plan = ?2 where workspace = ?1",
        values![workspace.id, &ordered.terms.plan],
    )?;
    Ok(())
}

/// When the credits of an upgrade expire: with the period, where the plan says so.
pub(in crate::store) fn upgrade_ends(batch: &Batch<'_>, payment: &Payment) -> Result<Option<Time>, Error> {
    let expires =
        payment.order.purpose == Purpose::Upgrade && ordered(payment).is_some_and(|it| it.terms.expires);
    if !expires {
        return Ok(None);
    }
    Ok(find(&batch.tx, payment.order.workspace)?.next_period.filter(|at| *at > batch.now))
}

/// A charge for a period was declined: it is tried again later, or the subscription ends. Answers when.
pub(in crate::store) fn declined(batch: &mut Batch<'_>, payment: &Payment) -> Result<Option<Time>, Error> {
    let workspace = find(&batch.tx, payment.order.workspace)?;
    if payment.attempts == 0 || workspace.awaited != Some(payment.id) {
        return Ok(None);
    }
    match renewal_retry(payment.attempts) {
        // Whoever canceled meanwhile is not charged again.
        _ if workspace.subscription == Some(Standing::Canceling) => {
            end(batch, &workspace, "The subscription has ended.", "Credits that are left stay.")?;
            Ok(None)
        }
        Some(seconds) => {
            batch.tx.execute(
                "update workspace set subscription = 3 where workspace = ?1",
                values![workspace.id],
            )?;
            let again = batch.now.plus_seconds(seconds);
            if workspace.subscription != Some(Standing::PastDue) {
                let data = json!({ "plan": &payment.order.item, "payment": payment.name(), "next_attempt_at": clock::rfc3339(again) });
                webhooks::tell(
                    &batch.tx,
                    workspace.id,
                    batch.now,
                    webhooks::Kind::SubscriptionPastDue,
                    &data,
                )?;
            }
            Ok(Some(again))
        }
        None => {
            let body = "The renewal could not be charged. Credits that are left stay; none are added.";
            end(batch, &workspace, "The subscription has ended: it was not paid.", body)?;
            Ok(None)
        }
    }
}

/// Ends a subscription: nothing renews any more.
pub(super) fn end(
    batch: &mut Batch<'_>,
    workspace: &Workspace,
    title: &str,
    body: &str,
) -> Result<(), Error> {
    batch.tx.execute(
        "update workspace set subscription = 5, next_period = null, next_plan = null, awaited = null, plan_credits = null
         where workspace = ?1",
        values![workspace.id],
    )?;
    batch.reload(workspace.id)?;
    batch.look_again(workspace.id)?;
    let data = json!({ "plan": &workspace.plan });
    webhooks::tell(&batch.tx, workspace.id, batch.now, webhooks::Kind::SubscriptionCanceled, &data)?;
    alerts::add(&batch.tx, workspace.id, "subscription_ended", batch.now, title, body)?;
    outbox::mail_admins(&batch.tx, workspace.id, batch.now, title, body)
}
