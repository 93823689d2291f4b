//! Money that is given back because we asked for it: which credits it stands for is exact.
//!
//! Owns the rows of `refund`. The ledger is touched only by `apply`, when the provider says that the money went back.

use super::super::alerts::count;
use super::super::committer::{Key, KeyKind};
use super::super::db::Tx;
use super::super::{Error, Store, keys, logbook};
use super::{Payment, find};
use crate::payments::{Refund, Said};
use crate::values;

/// A refund that was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefundRow {
    /// What the provider is asked.
    pub refund: Refund,
    /// Credits that the money stands for.
    pub credits: i64,
    /// Whether it failed after it had succeeded, so that neither money nor credits went back.
    pub failed: bool,
    /// Why it was asked for.
    pub reason: String,
}

/// Who asks for refunds: nobody but the operator may.
pub(super) const AUTHOR: &str = "operator";

/// The refunds of a payment, in order.
pub(super) fn all(tx: &Tx<'_>, workspace: i64, payment: i64) -> Result<Vec<RefundRow>, Error> {
    let all = "select number, amount, credits, failed, reason from refund where workspace = ?1 and payment = ?2 order by number";
    let mut before = 0;
    tx.query(all, values![workspace, payment], |row| {
        let refund = Refund { number: row.int(0)?, amount: row.int(1)?, before };
        before += refund.amount;
        Ok(RefundRow { refund, credits: row.int(2)?, failed: row.int(3)? != 0, reason: row.text(4)? })
    })
}

/// Keeps that a refund of ours failed after it had succeeded.
pub(super) fn fail(tx: &Tx<'_>, workspace: i64, payment: i64, number: i64) -> Result<(), Error> {
    tx.execute(
        "update refund set failed = 1 where workspace = ?1 and payment = ?2 and number = ?3",
        values![workspace, payment, number],
    )?;
    Ok(())
}

/// Credits of a payment that stand for so much money that went back: exactly those of our own refunds, and in proportion,
/// rounded in the payer's favour, what the provider gave back otherwise.
pub(super) fn credits_gone(payment: &Payment, refunds: &[RefundRow], said: &Said) -> i64 {
    let (amount, all) = (payment.order.amount, payment.credits());
    let withheld = said.disputed - said.reinstated;
    if said.refunded - said.undone + withheld >= amount && amount > 0 {
        return all;
    }
    let (mut ours, mut failed, mut credits) = (0, 0, 0);
    for row in refunds.iter().take_while(|row| row.refund.before + row.refund.amount <= said.refunded) {
        ours = row.refund.before + row.refund.amount;
        match row.failed {
            true => failed += row.refund.amount,
            false => credits += row.credits,
        }
    }
    let other = said.refunded - ours - (said.undone - failed).max(0) + withheld;
    let other = i128::from(other.max(0));
    let other = if amount == 0 { 0 } else { i128::from(all) * other / i128::from(amount) };
    (credits + i64::try_from(other).unwrap_or(all)).min(all)
}

/// Why the money went back that was not known to have gone back, as far as we asked for it.
pub(super) fn reasons(payment: &Payment, refunds: &[RefundRow], said: &Said) -> Option<String> {
    let is_new = |row: &&RefundRow| {
        let end = row.refund.before + row.refund.amount;
        let free = row.refund.amount == 0 && row.refund.number == refunds.len() as i64;
        end <= said.refunded && (end > payment.refunded || free)
    };
    let new: Vec<&str> = refunds.iter().filter(is_new).map(|row| row.reason.as_str()).collect();
    (!new.is_empty()).then(|| new.join("; "))
}

/// Minor units for so many credits of a payment, of which `left` are not refunded yet.
fn money_for(payment: &Payment, credits: i64, left: i64, money_left: i64) -> i64 {
    if credits >= left {
        return money_left;
    }
    let share = i128::from(payment.order.amount) * i128::from(credits) / i128::from(payment.credits().max(1));
    i64::try_from(share).unwrap_or(money_left).min(money_left)
}

impl Store {
    /// Writes down a refund that is about to be asked for: all that is not refunded yet, or so many credits. The same key and
    /// command: the first one again (`true`).
    pub async fn plan_refund(
        &self,
        workspace: i64,
        id: i64,
        credits: Option<i64>,
        reason: String,
        key: Key,
    ) -> Result<(Payment, RefundRow, bool), Error> {
        self.write(workspace, move |batch| {
            let payment = find(&batch.tx, workspace, id)?;
            let refunds = all(&batch.tx, workspace, id)?;
            if let Some((fingerprint, number)) = keys::find_direct(batch, workspace, &key)? {
                let known = refunds.into_iter().find(|row| row.refund.number == number.0);
                return match known.filter(|_| fingerprint == key.fingerprint) {
                    Some(row) => Ok((payment, row, true)),
                    None => Err(Error::Refused(billing::Refusal::IdempotencyKeyReused)),
                };
            }
            if !payment.is_paid() {
                return Err(Error::Conflict("topup_not_paid", "only a paid top-up can be refunded"));
            }
            let planned: i64 = refunds.iter().filter(|row| !row.failed).map(|row| row.credits).sum();
            let left = payment.credits() - planned.max(payment.taken);
            let credits = credits.unwrap_or(left);
            if credits < 1 || credits > left {
                let range = format!("must be from 1 to the {left} that are not refunded yet");
                return Err(Error::Invalid("credits", range));
            }
            let before: i64 = refunds.iter().map(|row| row.refund.amount).sum();
            let back = before.max(payment.refunded) - payment.undone + payment.disputed - payment.reinstated;
            let amount = money_for(&payment, credits, left, (payment.order.amount - back).max(0));
            let refund = Refund { number: refunds.len() as i64 + 1, amount, before };
            batch.tx.execute(
                "insert into refund (workspace, payment, number, amount, credits, failed, reason, at)
                 values (?1, ?2, ?3, ?4, ?5, 0, ?6, ?7)",
                values![workspace, id, refund.number, amount, credits, &reason, batch.now],
            )?;
            keys::insert_direct(batch, workspace, &key, refund.number)?;
            let words = format!("{}: {reason}", count(credits, "credit", "credits"));
            let asked = ("payment.refund", &*payment.name());
            logbook::note(batch, workspace, AUTHOR, asked, (None, Some(&words)))?;
            let row = RefundRow { refund, credits, failed: false, reason: reason.clone() };
            Ok((payment, row, false))
        })
        .await
    }

    /// Forgets a refund that the provider refuses, and its key: nothing happened. Only the last one can be forgotten.
    pub async fn drop_refund(&self, workspace: i64, id: i64, number: i64, key: Key) -> Result<(), Error> {
        debug_assert_eq!(key.kind, KeyKind::TopUpRefund);
        self.write(workspace, move |batch| {
            let refunds = all(&batch.tx, workspace, id)?;
            let Some(last) = refunds.last().filter(|last| last.refund.number == number) else {
                return Err(Error::Conflict("refund_pending", "another refund of this payment is under way"));
            };
            let words = format!("{}: {}", count(last.credits, "credit", "credits"), last.reason);
            let name = find(&batch.tx, workspace, id)?.name();
            logbook::note(batch, workspace, AUTHOR, ("payment.refund_refused", &name), (Some(&words), None))?;
            keys::remove_direct(batch, workspace, &key)?;
            batch.tx.execute(
                "delete from refund where workspace = ?1 and payment = ?2 and number = ?3",
                values![workspace, id, number],
            )?;
            Ok(())
        })
        .await
    }
}
