//! What a person asks of a subscription: another plan, an end, to go on after all.
//!
//! Everything that costs money is only ordered here; it takes effect when it is paid. The same key and command are answered as
//! the first time, so a double click orders once.

use std::sync::Arc;

use billing::ledger::{Command, GrantTerms};
use billing::units::DAY;
use billing::{Amount, GrantKind, Refusal, Time};

use super::super::batch::Batch;
use super::super::committer::{Key, KeyKind, Post};
use super::super::db::Tx;
use super::super::payments::{self, Payment, Purpose};
use super::super::workspaces::{Workspace, find};
use super::super::{Error, Store, answers, keys, logbook};
use super::periods::{agree, begin, cut, end, order};
use super::{Change, Period, Standing, Terms, When, decide, last};
use crate::{clock, id, values};

/// What a person asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wish {
    /// Another plan, on the terms of today's price list.
    Plan { terms: Box<Terms>, when: Option<When>, return_url: Option<String> },
    /// No renewal any more.
    Cancel,
    /// To renew after all.
    Resume,
}

/// A subscription as it stands.
#[derive(Clone, Debug)]
pub struct Subscription {
    pub workspace: Workspace,
    /// The period that began last.
    pub period: Option<Period>,
    /// The payment that is waited for.
    pub awaited: Option<Payment>,
}

/// What became of a wish.
#[derive(Clone, Debug)]
pub enum Changed {
    /// It is done, or what it costs is ordered; whether the key was known already.
    Done(Box<Subscription>, Option<Box<Payment>>, bool),
    /// Nothing was written: first nobody may be able to pay what was ordered before on these pages any more.
    Open(Vec<Payment>),
}

impl Subscription {
    /// Whether its renewal is due and not paid, so that whoever keeps the plan wants to pay it.
    pub fn is_unpaid(&self) -> bool {
        self.awaited.is_some() && self.workspace.subscription == Some(Standing::PastDue)
    }
}

fn look(tx: &Tx<'_>, workspace: i64) -> Result<Subscription, Error> {
    let workspace = find(tx, workspace)?;
    let awaited = match workspace.awaited {
        Some(payment) => Some(payments::find(tx, workspace.id, payment)?),
        None => None,
    };
    Ok(Subscription { period: last(tx, workspace.id)?, awaited, workspace })
}

/// What is answered, made of what a wish led to.
pub type Answer = Arc<dyn Fn(&Subscription) -> String + Send + Sync>;

impl Store {
    /// How a workspace's subscription stands.
    pub async fn subscription(&self, workspace: i64) -> Result<Subscription, Error> {
        self.read(move |tx| look(tx, workspace)).await
    }

    /// What changing the plan would mean now. Writes nothing.
    pub async fn preview_change(
        &self,
        workspace: i64,
        terms: Terms,
        when: Option<When>,
    ) -> Result<(Change, Subscription), Error> {
        let now = self.clock().now();
        self.read(move |tx| {
            let is = look(tx, workspace)?;
            Ok((decide_now(tx, &is.workspace, is.period, &terms, (when, now))?, is))
        })
        .await
    }

    /// Does what a person wishes, or orders the payment that it needs. The same key and wish: what was ordered first (`true`). What
    /// is done then is answered in the same transaction; what waits for money is answered once it is known what became of it.
    pub async fn change_subscription(
        &self,
        (workspace, actor): (i64, String),
        wish: Wish,
        (key, answer): (Key, Option<Answer>),
    ) -> Result<Changed, Error> {
        self.write(workspace, move |batch| {
            batch.load(workspace)?;
            if let Some((fingerprint, made)) = keys::find_direct(batch, workspace, &key)? {
                if fingerprint != key.fingerprint {
                    return Err(Error::Refused(Refusal::IdempotencyKeyReused));
                }
                let known = Some(made.0).filter(|payment| *payment != 0);
                let known = known.map(|payment| payments::find(&batch.tx, workspace, payment)).transpose()?;
                return Ok(Changed::Done(look(&batch.tx, workspace)?.into(), known.map(Box::new), true));
            }
            let is = find(&batch.tx, workspace)?;
            if ends_what_was_ordered(&batch.tx, &is, &wish, batch.now)? {
                let open = payments::open_pages(&batch.tx, workspace)?;
                if !open.is_empty() {
                    return Ok(Changed::Open(open));
                }
            }
            let before = in_words(&is);
            let ordered = match &wish {
                Wish::Plan { terms, when, return_url } => {
                    change(batch, is, terms, (*when, return_url.as_ref()))?
                }
                Wish::Cancel => cancel(batch, &is)?,
                Wish::Resume => resume(batch, &is)?,
            };
            keys::insert_direct(batch, workspace, &key, ordered.unwrap_or(0))?;
            let ordered = ordered.map(|payment| payments::find(&batch.tx, workspace, payment)).transpose()?;
            let is = look(&batch.tx, workspace)?;
            let mut after = in_words(&is.workspace);
            if let Some(ordered) = &ordered {
                after.extend(["; ordered: ", &ordered.order.label]);
            }
            if after != before {
                let (name, words) = (id::workspace(workspace), (Some(&*before), Some(&*after)));
                logbook::note(batch, workspace, &actor, ("subscription", &name), words)?;
            }
            if let (Some(answer), None, false) = (&answer, &ordered, is.is_unpaid()) {
                answers::keep(&batch.tx, workspace, &key, &answer(&is))?;
            }
            Ok(Changed::Done(is.into(), ordered.map(Box::new), false))
        })
        .await
    }
}

/// How it stands, as people read it.
fn in_words(workspace: &Workspace) -> String {
    let plan = workspace.plan.as_deref().unwrap_or("no plan");
    let standing = workspace.subscription.map_or("none", Standing::name);
    match &workspace.next_plan {
        Some(next) => format!("{plan}, {standing}, then {next}"),
        None => format!("{plan}, {standing}"),
    }
}

/// What a change means now, if it can be made now: what costs or gives something waits until it is known what became of the
/// money that is on its way.
fn decide_now(
    tx: &Tx<'_>,
    workspace: &Workspace,
    last: Option<Period>,
    terms: &Terms,
    (when, now): (Option<When>, Time),
) -> Result<Change, Error> {
    let change = decide(workspace, last, terms, when, now)?;
    let waits = matches!(change, Change::Stay | Change::AtRenewal { .. } | Change::AfterTrial);
    if !waits && payments::is_under_way(tx, workspace.id)? {
        return Err(busy());
    }
    Ok(change)
}

/// Whether a wish puts an end to what was ordered for a plan before and is not paid.
fn ends_what_was_ordered(tx: &Tx<'_>, workspace: &Workspace, wish: &Wish, now: Time) -> Result<bool, Error> {
    let Wish::Plan { terms, when, .. } = wish else { return Ok(*wish == Wish::Cancel) };
    let last = last(tx, workspace.id)?;
    let change = decide_now(tx, workspace, last, terms, (*when, now))?;
    Ok(!matches!(change, Change::Stay | Change::AtRenewal { .. } | Change::AfterTrial))
}

/// Changes the plan; answers the payment that it waits for.
fn change(
    batch: &mut Batch<'_>,
    mut workspace: Workspace,
    terms: &Terms,
    (when, return_url): (Option<When>, Option<&String>),
) -> Result<Option<i64>, Error> {
    let (last, now) = (last(&batch.tx, workspace.id)?, batch.now);
    let number = last.map_or(0, |last| last.number + 1);
    let free = !workspace.pays() || terms.amount == 0;
    match decide_now(&batch.tx, &workspace, last, terms, (when, now))? {
        Change::Stay => plan_next(batch, &workspace, None),
        Change::AtRenewal { .. } => plan_next(batch, &workspace, Some(&terms.plan)),
        Change::AfterTrial => {
            let next = workspace.next_period;
            agree(batch, &workspace, terms, (Standing::Trialing, next, None)).map(|()| None)
        }
        Change::Trial { days, credits } => {
            try_out(batch, &mut workspace, (number, days, credits))?;
            let next = Some(workspace.anchor);
            agree(batch, &workspace, terms, (Standing::Trialing, next, None)).map(|()| None)
        }
        Change::Begin if free => {
            (workspace.anchor, workspace.first_period, workspace.next_plan) = (now, number, None);
            begin(batch, &workspace, terms, now).map(|_| None)
        }
        Change::Begin => {
            let sums = (terms.amount, terms.tax(), terms.credits);
            let payment = buy(batch, &workspace, terms, (Purpose::Period, number, sums, return_url))?;
            let text = serde_json::to_string(terms).unwrap_or_default();
            batch.tx.execute(
                "update workspace set plan = ?2, terms = ?3, subscription = 0, awaited = ?4, next_period = null where workspace = ?1",
                values![workspace.id, &terms.plan, &text, payment],
            )?;
            Ok(Some(payment))
        }
        Change::Difference { amount, credits, .. } if free || amount == 0 => {
            differ(batch, &workspace, terms, (number - 1, credits))?;
            let next = workspace.next_period;
            agree(batch, &workspace, terms, (Standing::Active, next, None)).map(|()| None)
        }
        Change::Difference { amount, tax, credits } => {
            let sums = (amount, tax, credits);
            buy(batch, &workspace, terms, (Purpose::Upgrade, number - 1, sums, return_url)).map(Some)
        }
        Change::NewPeriod if free => {
            (workspace.subscription, workspace.next_plan) = (Some(Standing::Active), None);
            cut(batch, &mut workspace, number)?;
            begin(batch, &workspace, terms, now).map(|_| None)
        }
        Change::NewPeriod => {
            let sums = (terms.amount, terms.tax(), terms.credits);
            buy(batch, &workspace, terms, (Purpose::Upgrade, number - 1, sums, return_url)).map(Some)
        }
    }
}

/// Which plan the next renewal has; whoever chooses one wants to renew.
fn plan_next(batch: &Batch<'_>, workspace: &Workspace, plan: Option<&String>) -> Result<Option<i64>, Error> {
    let standing = match workspace.subscription {
        Some(Standing::Canceling) if plan.is_some() => Standing::Active,
        standing => standing.unwrap_or(Standing::Active),
    };
    batch.tx.execute(
        "update workspace set next_plan = ?2, subscription = ?3 where workspace = ?1",
        values![workspace.id, plan, standing as i64],
    )?;
    Ok(None)
}

/// Orders what a plan costs. Of several unpaid orders for a plan only the last one can be paid.
fn buy(
    batch: &mut Batch<'_>,
    workspace: &Workspace,
    terms: &Terms,
    (purpose, period, sums, return_url): (Purpose, i64, (i64, i64, i64), Option<&String>),
) -> Result<i64, Error> {
    let mut new = order(workspace, terms, purpose, period, sums);
    new.return_url = return_url.cloned();
    expire_unpaid(batch, workspace.id)?;
    // A first payment is made in person; later ones can use what was saved then.
    let saved = payments::read_payer(&batch.tx, workspace.id)?.method.is_some();
    let at = (purpose == Purpose::Upgrade && saved).then_some(batch.now);
    let payment = clock::fresh_id();
    payments::insert(&batch.tx, payment, &new, at, batch.now)?;
    Ok(payment)
}

fn expire_unpaid(batch: &Batch<'_>, workspace: i64) -> Result<(), Error> {
    batch.tx.execute(
        "update payment set status = 3, next_attempt = null, ended_at = ?2
         where workspace = ?1 and purpose in (1, 3) and status in (0, 2)",
        values![workspace, batch.now],
    )?;
    Ok(())
}

/// Begins the trial: its credits end with it, and the first period begins there.
fn try_out(
    batch: &mut Batch<'_>,
    workspace: &mut Workspace,
    (number, days, credits): (i64, i64, i64),
) -> Result<(), Error> {
    let ends_at = Time(batch.now.0.saturating_add(days * DAY));
    let credits = Amount::new(credits).ok_or(Error::NotFound)?;
    let grant = GrantTerms {
        credits,
        kind: GrantKind::Trial,
        priority: 0,
        effective_at: batch.now,
        expires_at: Some(ends_at),
    };
    let mut post = Post::new(workspace.id, Command::Grant(grant), "subscription");
    post.key = Some(Key { kind: KeyKind::Period, key: "trial 0".into(), fingerprint: [0; 16] });
    post.reason = Some(format!("Trial of {days} days").into());
    batch.post(&post)?;
    (workspace.anchor, workspace.first_period) = (ends_at, number);
    batch.tx.execute("update workspace set trialed = 1 where workspace = ?1", values![workspace.id])?;
    Ok(())
}

/// The credits of an upgrade that costs nothing here.
fn differ(
    batch: &mut Batch<'_>,
    workspace: &Workspace,
    terms: &Terms,
    (number, credits): (i64, i64),
) -> Result<(), Error> {
    let Some(credits) = Amount::new(credits) else { return Ok(()) };
    let now = batch.now;
    let expires_at = workspace.next_period.filter(|at| terms.expires && *at > now);
    let grant = GrantTerms { credits, kind: GrantKind::Plan, priority: 0, effective_at: now, expires_at };
    let mut post = Post::new(workspace.id, Command::Grant(grant), "subscription");
    let key = format!("upgrade {number} {}", terms.plan).into();
    post.key = Some(Key { kind: KeyKind::Period, key, fingerprint: [0; 16] });
    post.reason = Some(format!("Upgrade to {}", terms.label).into());
    batch.post(&post).map(drop)
}

/// Ends the subscription with its period, or at once where nothing was paid for what runs now. A charge that is under way is
/// the last one: what it pays for still comes.
fn cancel(batch: &mut Batch<'_>, workspace: &Workspace) -> Result<Option<i64>, Error> {
    let under_way = payments::is_under_way(&batch.tx, workspace.id)?;
    let runs = workspace.awaited.is_none() || under_way;
    match workspace.subscription {
        Some(Standing::Canceling) => {}
        Some(Standing::Incomplete) if under_way => return Err(busy()),
        // The plan that was chosen for the renewal is kept for whoever resumes.
        Some(Standing::Active | Standing::Trialing | Standing::PastDue) if runs => {
            batch.tx.execute(
                "update workspace set subscription = 4 where workspace = ?1",
                values![workspace.id],
            )?;
        }
        Some(_) if workspace.subscription != Some(Standing::Canceled) => {
            expire_unpaid(batch, workspace.id)?;
            end(batch, workspace, "The subscription was canceled.", "Credits that are left stay.")?;
        }
        Some(_) | None => return Err(nothing()),
    }
    Ok(None)
}

fn resume(batch: &mut Batch<'_>, workspace: &Workspace) -> Result<Option<i64>, Error> {
    match workspace.subscription {
        Some(Standing::Canceling) => {
            let began =
                last(&batch.tx, workspace.id)?.is_some_and(|last| last.number >= workspace.first_period);
            let standing = if began { Standing::Active } else { Standing::Trialing };
            batch.tx.execute(
                "update workspace set subscription = ?2 where workspace = ?1",
                values![workspace.id, standing as i64],
            )?;
        }
        Some(Standing::Canceled) | None => return Err(nothing()),
        _ => {}
    }
    Ok(None)
}

fn busy() -> Error {
    let detail = "a payment for the plan is on its way: wait until it is known what became of it";
    Error::Conflict("subscription_busy", detail)
}

fn nothing() -> Error {
    Error::Conflict("no_subscription", "there is no subscription that could be changed: choose a plan")
}
