//! Charges without a person: which payments are due to be tried, and by whom.
//!
//! Owns when a saved method is tried. It does *not* ask the provider, and what became of a try is in `apply`.
//!
//! Invariant: at most one caller has an attempt, and an attempt without an outcome keeps its number.

use billing::Time;
use billing::units::SECOND;

use super::super::db::Tx;
use super::super::{Error, Store, auto_buy};
use super::{Payer, Payment, Purpose, Status, find, read_payer};
use crate::values;

/// How long an attempt may be without an outcome until it is asked for again under the same key, in microseconds.
const LEASE: i64 = 60 * SECOND;

/// Whether money for the plan may be on its way: a try without an outcome, or one that takes days.
pub(in crate::store) fn is_under_way(tx: &Tx<'_>, workspace: i64) -> Result<bool, Error> {
    let under_way = "select count(*) from payment where workspace = ?1 and purpose in (1, 3)
        and (status = 5 or (status = 0 and attempts > 0 and next_attempt is not null))";
    Ok(tx.int(under_way, values![workspace])? > 0)
}

/// What is ordered for a plan, not paid, and has a page where a person could.
pub(in crate::store) fn open_pages(tx: &Tx<'_>, workspace: i64) -> Result<Vec<Payment>, Error> {
    let open = "select id from payment where workspace = ?1 and purpose in (1, 3) and status in (0, 2)
        and checkout is not null and checkout_url is not null order by id";
    let open = tx.query(open, values![workspace], |row| row.int(0))?;
    open.into_iter().map(|id| find(tx, workspace, id)).collect()
}

impl Store {
    /// Payments that are to be tried now without a person.
    pub async fn due_payments(&self, limit: i64) -> Result<Vec<(i64, i64)>, Error> {
        let now = self.clock().now();
        let due = "select workspace, id from payment where next_attempt <= ?1 order by next_attempt limit ?2";
        self.read(move |tx| tx.query(due, values![now, limit], |row| Ok((row.int(0)?, row.int(1)?)))).await
    }

    /// The next moment after now at which a payment is tried without a person.
    pub async fn next_attempt(&self) -> Result<Option<Time>, Error> {
        let now = self.clock().now();
        let next = "select min(next_attempt) from payment where next_attempt > ?1";
        self.read(move |tx| Ok(tx.one(next, values![now], |row| row.opt_time(0))?.flatten())).await
    }

    /// Begins an attempt at the saved method, for one caller alone: `None` when it is not due any more. An attempt without an
    /// outcome is begun again under its number. A page that is open is closed by it, so that it is not paid there as well.
    pub async fn begin_attempt(&self, workspace: i64, id: i64) -> Result<Option<(Payment, Payer)>, Error> {
        self.write(workspace, move |batch| {
            let payment = find(&batch.tx, workspace, id)?;
            if payment.next_attempt.is_none_or(|at| at > batch.now) {
                return Ok(None);
            }
            let fresh = payment.attempts == 0 || payment.status == Status::Declined;
            if fresh && payment.order.purpose == Purpose::AutoBuy && !auto_buy::is_wanted(batch, &payment)? {
                return Ok(None);
            }
            batch.tx.execute(
                "update payment set attempts = ?3, next_attempt = ?4, status = 0, checkout_url = null where workspace = ?1 and id = ?2",
                values![
                    workspace,
                    id,
                    payment.attempts + i64::from(fresh),
                    Time(batch.now.0.saturating_add(LEASE))
                ],
            )?;
            Ok(Some((find(&batch.tx, workspace, id)?, read_payer(&batch.tx, workspace)?)))
        })
        .await
    }
}
