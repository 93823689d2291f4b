//! What the provider says of a payment, applied: the only way in which money becomes credits, and credits go back with it.
//!
//! Whatever is said, in whatever order and however often, the same is left: a payment is credited once, and the credits that
//! went back follow from sums that only grow. One transaction holds the row, the ledger's entries and the notices.
//!
//! Invariant: an error has written nothing.

use billing::ledger::{Command, GrantTerms};
use billing::units::DAY;
use billing::{Amount, GrantKind, Seq, Time};

use super::super::alerts::{count, thousands};
use super::super::batch::Batch;
use super::super::committer::{Key, KeyKind, Post};
use super::super::subscriptions::periods;
use super::super::workspaces::find as find_workspace;
use super::super::{Error, Store, alerts, auto_buy, outbox, webhooks};
use super::{Payment, Purpose, Status, claim, find, may_claim, refund, told};
use crate::payments::{Said, Stands};
use crate::values;

/// Who moves credits because the provider said so.
const PROVIDER: &str = "payment";

impl Store {
    /// Applies what the provider says of a payment. The object must have been asked for it: events are only hints.
    ///
    /// # Errors
    /// `foreign_object` when the object or the amount is not this payment's, and whatever the store refuses; nothing was
    /// written then.
    pub async fn apply_payment(&self, workspace: i64, id: i64, said: Said) -> Result<Payment, Error> {
        self.write(workspace, move |batch| apply(batch, workspace, id, &said)).await
    }
}

pub(in crate::store) fn apply(
    batch: &mut Batch<'_>,
    workspace: i64,
    id: i64,
    said: &Said,
) -> Result<Payment, Error> {
    let payment = find(&batch.tx, workspace, id)?;
    check(batch, &payment, said)?;
    let said = &Said {
        refunded: said.refunded.max(payment.refunded),
        undone: said.undone.max(payment.undone),
        disputed: said.disputed.max(payment.disputed),
        reinstated: said.reinstated.max(payment.reinstated),
        ..said.clone()
    };
    // From here only a sum beyond all that an account can have is refused. What was granted by then has its key, so that another
    // try finds it done.
    if said.stands == Stands::Paid && !payment.is_paid() {
        credit(batch, &payment, said)?;
    } else if !payment.is_paid() {
        not_paid(batch, &payment, said)?;
    }
    if said.stands == Stands::Paid || payment.is_paid() {
        give_back(batch, find(&batch.tx, workspace, id)?, said)?;
    }
    remember(batch, &payment, said)?;
    find(&batch.tx, workspace, id)
}

/// Whether this is said of this payment, and can be true.
fn check(batch: &Batch<'_>, payment: &Payment, said: &Said) -> Result<(), Error> {
    let differs = |detail| Err(Error::Conflict("payment_differs", detail));
    let order = &payment.order;
    if let Some(object) = &said.object {
        may_claim(&batch.tx, object, order.workspace, Some(payment.id))?;
        // An attempt that was given up may still speak; only money makes it matter.
        if payment.is_paid() && payment.object.as_ref() != Some(object) {
            return differs("another object of this payment is paid already");
        }
    }
    if let Some(customer) = &said.customer {
        may_claim(&batch.tx, customer, order.workspace, None)?;
    }
    if said.stands == Stands::Paid {
        let amount = said.tax.map_or(order.amount, |tax| order.amount - order.tax + tax);
        if said.object.is_none() {
            return differs("a payment is paid by an object of the provider");
        }
        if said.amount != amount || !said.currency.eq_ignore_ascii_case(&order.currency) {
            return differs("the amount or the currency is not the one that was ordered");
        }
    }
    let within = |part: i64, whole: i64| (0..=whole).contains(&part);
    let lawful = within(said.undone, said.refunded) && within(said.reinstated, said.disputed);
    if lawful { Ok(()) } else { differs("no such sums of refunds and disputes exist") }
}

/// The money arrived: its credits, once.
fn credit(batch: &mut Batch<'_>, payment: &Payment, said: &Said) -> Result<(), Error> {
    let (order, id, now) = (&payment.order, payment.id, batch.now);
    let debt = batch.account(order.workspace)?.debt;
    let grant = match order.purpose {
        Purpose::TopUp | Purpose::AutoBuy => {
            bought(batch, payment, GrantKind::Purchased, order.credits, "paid")?
        }
        Purpose::Period | Purpose::Upgrade => match periods::paid(batch, payment)? {
            Some(grant) => Some(grant),
            None => bought(batch, payment, GrantKind::Plan, order.credits, "paid")?,
        },
    };
    match order.purpose {
        Purpose::Upgrade => periods::upgraded(batch, payment)?,
        Purpose::AutoBuy => auto_buy::ended(batch, payment)?,
        Purpose::TopUp | Purpose::Period => {}
    }
    let bonus = match order.bonus {
        0 => None,
        credits => bought(batch, payment, GrantKind::Bonus, credits, "bonus")?,
    };
    let receipt = "select coalesce(max(receipt), 0) + 1 from payment where workspace = ?1";
    let receipt = batch.tx.int(receipt, values![order.workspace])?;
    let tax = said.tax.unwrap_or(order.tax);
    batch.tx.execute(
        "update payment set status = 1, grant_id = ?3, bonus_grant = ?4, receipt = ?5, paid_at = ?6, ended_at = ?6, object = ?7,
           amount = ?8, tax = ?9, next_attempt = null, reason = null where workspace = ?1 and id = ?2",
        values![order.workspace, id, grant, bonus, receipt, now, said.object.as_ref(), said.amount, tax],
    )?;
    told::top_up(batch, payment, webhooks::Kind::TopUpCompleted)?;
    let credits = thousands(payment.credits());
    let (title, they) = match order.purpose {
        Purpose::TopUp => (format!("{credits} credits bought."), "them"),
        Purpose::AutoBuy => (format!("Auto-buy: {credits} credits bought."), "them"),
        Purpose::Period | Purpose::Upgrade => (format!("Paid: {}.", order.label), "its credits"),
    };
    let repaid = debt - batch.account(order.workspace)?.debt;
    let body = match (repaid, payment.credits() - repaid) {
        (0, _) => format!("All of {they} were added to the balance."),
        (_, 0) => format!("All of {they} repaid what was owed."),
        (repaid, left) => format!(
            "{} of {they} repaid what was owed; {} added to the balance.",
            thousands(repaid),
            count(left, "was", "were")
        ),
    };
    alerts::add(&batch.tx, order.workspace, "topup", now, &title, &body)
}

/// One grant of a payment. No caller can write its key: there is a space in it.
fn bought(
    batch: &mut Batch<'_>,
    payment: &Payment,
    kind: GrantKind,
    credits: i64,
    what: &str,
) -> Result<Option<i64>, Error> {
    let Some(credits) = Amount::new(credits) else { return Ok(None) };
    let effective_at = batch.now;
    let days = payment.order.expires_days.map(|days| Time(effective_at.0.saturating_add(days * DAY)));
    let expires_at = days.or(periods::upgrade_ends(batch, payment)?);
    let terms = GrantTerms { credits, kind, priority: 0, effective_at, expires_at };
    let mut post = Post::new(payment.order.workspace, Command::Grant(terms), PROVIDER);
    post.key = Some(key(KeyKind::TopUp, format!("{what} {}", payment.id)));
    post.reason = Some(match what {
        "bonus" => format!("Bonus with {}", payment.order.label).into(),
        _ => {
            let by_itself = if payment.order.purpose == Purpose::AutoBuy { " by auto-buy" } else { "" };
            format!("Bought {} credits{by_itself}", thousands(credits.get())).into()
        }
    });
    let answer = batch.post(&post)?;
    Ok(answer.entry.and_then(|recorded| recorded.entry.grant).map(|seq| seq.0))
}

fn key(kind: KeyKind, key: String) -> Key {
    Key { kind, key: key.into(), fingerprint: [0; 16] }
}

/// The money did not arrive, or not yet. A state is only left for a later one; a new attempt begins from the first.
fn not_paid(batch: &mut Batch<'_>, payment: &Payment, said: &Said) -> Result<(), Error> {
    let order = &payment.order;
    let given_up = said.object.is_some() && payment.object.is_some() && said.object != payment.object;
    let now = match said.stands {
        Stands::Processing => Status::Processing,
        Stands::Declined => Status::Declined,
        Stands::Expired => Status::Expired,
        Stands::Open | Stands::Paid => return Ok(()),
    };
    let rank = |status| match status {
        Status::Pending => 0,
        Status::Processing => 1,
        Status::Declined => 2,
        _ => 3,
    };
    if given_up || rank(now) <= rank(payment.status) {
        return Ok(());
    }
    let ended = (now != Status::Processing).then_some(batch.now);
    let again = match (now, order.purpose) {
        (Status::Declined, Purpose::Period) => periods::declined(batch, payment)?,
        (Status::Declined, Purpose::AutoBuy) => auto_buy::declined(batch, payment)?,
        _ => None,
    };
    batch.tx.execute(
        "update payment set status = ?3, reason = ?4, ended_at = ?5, next_attempt = ?6 where workspace = ?1 and id = ?2",
        values![order.workspace, payment.id, now as i64, said.reason.as_ref(), ended, again],
    )?;
    if matches!(now, Status::Declined | Status::Expired) {
        told::top_up(batch, payment, webhooks::Kind::TopUpFailed)?;
    }
    if now != Status::Declined {
        return Ok(());
    }
    let title = format!("The payment for {} was declined.", order.label);
    let body = match again {
        Some(at) => {
            let zone = find_workspace(&batch.tx, order.workspace)?.time_zone;
            format!(
                "Nothing was added and nothing was charged. It is tried again on {}; change the card before, or pay it now.",
                crate::calendar::day(at, &zone)
            )
        }
        None => "Nothing was added and nothing was charged.".to_owned(),
    };
    if payment.attempts > 0 {
        outbox::mail_admins(&batch.tx, order.workspace, batch.now, &title, &body)?;
    }
    alerts::add(&batch.tx, order.workspace, "payment_failed", batch.now, &title, &body)
}

/// Takes back the credits whose money went back, the payment's own first, or returns those of a dispute that was won.
fn give_back(batch: &mut Batch<'_>, payment: Payment, said: &Said) -> Result<(), Error> {
    let (workspace, id) = (payment.order.workspace, payment.id);
    for number in &said.failed {
        refund::fail(&batch.tx, workspace, id, *number)?;
    }
    let refunds = refund::all(&batch.tx, workspace, id)?;
    let gone = refund::credits_gone(&payment, &refunds, said);
    let sums = (said.refunded, said.undone, said.disputed, said.reinstated);
    let known = (payment.refunded, payment.undone, payment.disputed, payment.reinstated);
    if sums == known && gone == payment.taken {
        return Ok(());
    }
    let failed = said.undone > payment.undone;
    let mut moves = payment.moves;
    if let Some(credits) = Amount::new(gone - payment.taken) {
        let why = match refund::reasons(&payment, &refunds, said) {
            _ if said.disputed > payment.disputed => (PROVIDER, "The payment was disputed".to_owned()),
            Some(reasons) => (refund::AUTHOR, format!("The payment was refunded: {reasons}")),
            None => (PROVIDER, "The payment was refunded".to_owned()),
        };
        moves += take(batch, &payment, credits, why)?;
    } else if let Some(credits) = Amount::new(payment.taken - gone) {
        let (kind, effective_at) = (GrantKind::Purchased, batch.now);
        let terms = GrantTerms { credits, kind, priority: 0, effective_at, expires_at: None };
        let mut post = Post::new(workspace, Command::Grant(terms), PROVIDER);
        post.key = Some(key(KeyKind::TopUp, format!("returned {id} {moves}")));
        post.reason =
            Some(if failed { "Returned: a refund failed" } else { "Returned: a dispute ended" }.into());
        batch.post(&post)?;
        moves += 1;
    }
    let is_held = said.disputed > said.reinstated;
    let status = if gone == payment.credits() && !is_held { Status::Refunded } else { Status::Paid };
    let (refunded, undone, disputed, reinstated) = sums;
    batch.tx.execute(
        "update payment set refunded = ?3, disputed = ?4, reinstated = ?5, taken = ?6, moves = ?7, status = ?8, undone = ?9
         where workspace = ?1 and id = ?2",
        values![workspace, id, refunded, disputed, reinstated, gone, moves, status as i64, undone],
    )?;
    if !failed {
        return Ok(());
    }
    let title = format!("A refund for {} failed.", payment.order.label);
    let body = "The bank could not take the money in. The credits are here again; whoever is owed the money can be paid in another way.";
    outbox::mail_admins(&batch.tx, workspace, batch.now, &title, body)?;
    alerts::add(&batch.tx, workspace, "refund_failed", batch.now, &title, body)
}

/// Takes credits back in one or two entries: from the bonus what is left of it, once the payment's own grant is empty.
fn take(
    batch: &mut Batch<'_>,
    payment: &Payment,
    credits: Amount,
    (actor, reason): (&str, String),
) -> Result<i64, Error> {
    let workspace = payment.order.workspace;
    let left = |batch: &mut Batch<'_>, grant: Option<i64>| -> Result<i64, Error> {
        let grant = grant.and_then(|grant| batch.account(workspace).ok()?.grants.get(&Seq(grant)).cloned());
        Ok(grant.map_or(0, |grant| grant.available + grant.scheduled))
    };
    let own = left(batch, payment.grant)?;
    let from_bonus = left(batch, payment.bonus_grant)?.min((credits.get() - own).max(0));
    let mut moves = 0;
    for (grant, credits) in [(payment.bonus_grant, from_bonus), (payment.grant, credits.get() - from_bonus)] {
        let (Some(grant), Some(credits)) = (grant, Amount::new(credits)) else { continue };
        let command = Command::TakeBack { grant: Seq(grant), credits };
        let mut post = Post::new(workspace, command, actor);
        let name = format!("taken {} {}", payment.id, payment.moves + moves);
        (post.key, post.reason) = (Some(key(KeyKind::TopUpRefund, name)), Some(reason.as_str().into()));
        batch.post(&post)?;
        moves += 1;
    }
    Ok(moves)
}

/// Keeps what else was said: the objects' names, and how the workspace pays.
fn remember(batch: &Batch<'_>, payment: &Payment, said: &Said) -> Result<(), Error> {
    let (tx, workspace) = (&batch.tx, payment.order.workspace);
    if let Some(object) = &said.object {
        claim(tx, object, workspace, Some(payment.id))?;
        if payment.object.is_none() {
            tx.execute(
                "update payment set object = ?3 where workspace = ?1 and id = ?2",
                values![workspace, payment.id, object],
            )?;
        }
    }
    if let Some(customer) = &said.customer {
        claim(tx, customer, workspace, None)?;
        tx.execute(
            "insert into payer (workspace, customer) values (?1, ?2)
             on conflict (workspace) do update set customer = excluded.customer",
            values![workspace, customer],
        )?;
    }
    if let Some((method, label)) = &said.method {
        tx.execute(
            "insert into payer (workspace, method, method_label) values (?1, ?2, ?3)
             on conflict (workspace) do update set method = excluded.method, method_label = excluded.method_label",
            values![workspace, method, label],
        )?;
    }
    Ok(())
}
