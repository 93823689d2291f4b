//! Payments: what was ordered, what was tried, and how the provider says it stands. One row for each payment object, whatever
//! it is for.
//!
//! Owns the rows. What a provider's word does to them and to the ledger is in `apply`; charges without a person in `attempt`, what is
//! given back in `refund`.
//!
//! Invariant: amounts and credits of a row never change once it is ordered.

mod apply;
mod attempt;
mod reconcile;
mod refund;
mod told;

use billing::Time;

use super::committer::Key;
use super::db::{Row, Tx};
use super::{Error, Store};
use crate::payments::{Checkout, Said, Stands};
use crate::{clock, id, values};

pub(super) use attempt::{is_under_way, open_pages};
pub use refund::RefundRow;

/// What a payment is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// Credits that a person buys once.
    TopUp = 0,
    /// A period of a subscription.
    Period = 1,
    /// Credits that are bought because few are left.
    AutoBuy = 2,
    /// The difference to a larger plan, for the rest of a period.
    Upgrade = 3,
}

/// How a payment stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Status {
    Pending = 0,
    Paid = 1,
    Declined = 2,
    Expired = 3,
    Refunded = 4,
    Processing = 5,
}

/// What is ordered. All of it comes from the catalog.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewPayment {
    /// The workspace.
    pub workspace: i64,
    /// What for.
    pub purpose: Purpose,
    /// The pack or plan; empty for an amount without a pack.
    pub item: String,
    /// What the payer reads.
    pub label: String,
    /// How many of it.
    pub quantity: i64,
    /// Credits that it pays for, all together.
    pub credits: i64,
    /// Credits on top, as a grant of their own.
    pub bonus: i64,
    /// Days after which bought credits are gone; never by default.
    pub expires_days: Option<i64>,
    /// The plan's terms, for a plan.
    pub terms: Option<String>,
    /// Minor units, tax included.
    pub amount: i64,
    /// Minor units of tax in the amount.
    pub tax: i64,
    /// Three uppercase letters.
    pub currency: String,
    /// Where the checkout leads back to.
    pub return_url: Option<String>,
}

/// A payment as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Payment {
    /// What was ordered.
    pub order: NewPayment,
    /// Its number.
    pub id: i64,
    /// How it stands.
    pub status: Status,
    /// Why it was declined.
    pub reason: Option<String>,
    /// The provider's checkout session.
    pub checkout: Option<String>,
    /// Where the payer goes, once it was opened.
    pub checkout_url: Option<String>,
    /// The provider's payment object.
    pub object: Option<String>,
    /// How often the saved method was tried.
    pub attempts: i64,
    /// When it is tried next without a person.
    pub next_attempt: Option<Time>,
    /// The grant of its credits.
    pub grant: Option<i64>,
    /// The grant of its bonus.
    pub bonus_grant: Option<i64>,
    /// Minor units given back, also by refunds that failed afterwards.
    pub refunded: i64,
    /// Minor units of refunds that failed.
    pub undone: i64,
    /// Minor units that disputes took.
    pub disputed: i64,
    /// Minor units of those that came back.
    pub reinstated: i64,
    /// Credits taken back and not returned.
    pub taken: i64,
    /// How often credits were taken or returned.
    pub moves: i64,
    /// The number of its receipt in the workspace, from 1 without a gap, once it is paid.
    pub receipt: Option<i64>,
    /// When it was ordered.
    pub created_at: Time,
    /// When it was paid.
    pub paid_at: Option<Time>,
}

impl Payment {
    /// Its id in the API.
    pub fn name(&self) -> String {
        let prefix = match self.order.purpose {
            Purpose::TopUp | Purpose::AutoBuy => "topup",
            Purpose::Period | Purpose::Upgrade => "pay",
        };
        id::inside(prefix, self.order.workspace, self.id)
    }

    /// Credits that it gave or will give.
    pub fn credits(&self) -> i64 {
        self.order.credits + self.order.bonus
    }

    /// Whether its money arrived, whatever was given back since.
    pub fn is_paid(&self) -> bool {
        matches!(self.status, Status::Paid | Status::Refunded)
    }

    /// Minor units that went back and stayed there.
    pub fn given_back(&self) -> i64 {
        self.refunded - self.undone
    }

    /// Whether a person may pay it: not while the saved method is being charged, while money is on its way, or once it ended.
    pub fn may_be_paid_in_person(&self) -> bool {
        match self.status {
            Status::Pending => self.attempts == 0 || self.next_attempt.is_none(),
            Status::Declined => true,
            Status::Paid | Status::Expired | Status::Refunded | Status::Processing => false,
        }
    }

    /// What is known of it, in the provider's words.
    pub fn known(&self) -> Said {
        let stands = match self.status {
            Status::Pending => Stands::Open,
            Status::Processing => Stands::Processing,
            Status::Declined => Stands::Declined,
            Status::Expired => Stands::Expired,
            Status::Paid | Status::Refunded => Stands::Paid,
        };
        Said {
            object: self.object.clone(),
            stands,
            amount: self.order.amount,
            currency: self.order.currency.clone(),
            refunded: self.refunded,
            undone: self.undone,
            disputed: self.disputed,
            reinstated: self.reinstated,
            reason: self.reason.clone(),
            ..Said::default()
        }
    }
}

/// Reads a payment's id in the API.
pub fn parse_name(name: &str) -> Option<(i64, i64)> {
    id::parse_inside("topup", name).or_else(|| id::parse_inside("pay", name))
}

/// How a workspace pays.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Payer {
    /// Its customer at the provider.
    pub customer: Option<String>,
    /// The saved method, and words for it.
    pub method: Option<(String, String)>,
}

const PAYMENT: &str = "select workspace, id, purpose, item, label, credits, bonus, expires_days, terms, amount, tax, currency, return_url,
    status, reason, checkout, checkout_url, object, attempts, next_attempt, grant_id, bonus_grant, refunded, disputed, reinstated,
    taken, moves, receipt, created_at, paid_at, quantity, undone from payment";

fn read(row: &Row<'_>) -> Result<Payment, Error> {
    use Purpose::{AutoBuy, Period, TopUp, Upgrade};
    use Status::{Declined, Expired, Paid, Pending, Processing, Refunded};
    let order = NewPayment {
        workspace: row.int(0)?,
        purpose: [TopUp, Period, AutoBuy, Upgrade][row.int(2)?.clamp(0, 3) as usize],
        item: row.text(3)?,
        label: row.text(4)?,
        credits: row.int(5)?,
        bonus: row.int(6)?,
        expires_days: row.opt_int(7)?,
        terms: row.opt_text(8)?,
        amount: row.int(9)?,
        tax: row.int(10)?,
        currency: row.text(11)?,
        return_url: row.opt_text(12)?,
        quantity: row.int(30)?,
    };
    Ok(Payment {
        order,
        id: row.int(1)?,
        status: [Pending, Paid, Declined, Expired, Refunded, Processing][row.int(13)?.clamp(0, 5) as usize],
        reason: row.opt_text(14)?,
        checkout: row.opt_text(15)?,
        checkout_url: row.opt_text(16)?,
        object: row.opt_text(17)?,
        attempts: row.int(18)?,
        next_attempt: row.opt_time(19)?,
        grant: row.opt_int(20)?,
        bonus_grant: row.opt_int(21)?,
        refunded: row.int(22)?,
        disputed: row.int(23)?,
        reinstated: row.int(24)?,
        taken: row.int(25)?,
        moves: row.int(26)?,
        receipt: row.opt_int(27)?,
        created_at: row.time(28)?,
        paid_at: row.opt_time(29)?,
        undone: row.int(31)?,
    })
}

/// One payment.
pub(super) fn find(tx: &Tx<'_>, workspace: i64, id: i64) -> Result<Payment, Error> {
    tx.one(&format!("{PAYMENT} where workspace = ?1 and id = ?2"), values![workspace, id], read)?
        .ok_or(Error::NotFound)
}

/// Writes down an order, to be tried without a person from `next_attempt` on.
pub(super) fn insert(
    tx: &Tx<'_>,
    id: i64,
    new: &NewPayment,
    next_attempt: Option<Time>,
    now: Time,
) -> Result<(), Error> {
    tx.execute(
        "insert into payment (workspace, id, purpose, item, label, credits, bonus, expires_days, terms, amount, tax, currency, return_url,
           status, attempts, next_attempt, refunded, undone, disputed, reinstated, taken, moves, created_at, quantity)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, 0, 0, ?14, 0, 0, 0, 0, 0, 0, ?15, ?16)",
        values![
            new.workspace,
            id,
            new.purpose as i64,
            &new.item,
            &new.label,
            new.credits,
            new.bonus,
            new.expires_days,
            new.terms.as_ref(),
            new.amount,
            new.tax,
            &new.currency,
            new.return_url.as_ref(),
            next_attempt,
            now,
            new.quantity
        ],
    )?;
    Ok(())
}

pub(super) fn read_payer(tx: &Tx<'_>, workspace: i64) -> Result<Payer, Error> {
    let payer = "select customer, method, method_label from payer where workspace = ?1";
    let payer = tx.one(payer, values![workspace], |row| {
        Ok(Payer { customer: row.opt_text(0)?, method: row.opt_text(1)?.zip(row.opt_text(2)?) })
    })?;
    Ok(payer.unwrap_or_default())
}

impl Store {
    /// Orders a payment. The same key and order: the first one again (`true`).
    pub async fn create_payment(&self, new: NewPayment, key: Key) -> Result<(Payment, bool), Error> {
        let id = clock::fresh_id();
        self.write(new.workspace, move |batch| {
            batch.load(new.workspace)?;
            if let Some((fingerprint, known)) = super::keys::find_direct(batch, new.workspace, &key)? {
                if fingerprint != key.fingerprint {
                    return Err(Error::Refused(billing::Refusal::IdempotencyKeyReused));
                }
                return Ok((find(&batch.tx, new.workspace, known.0)?, true));
            }
            insert(&batch.tx, id, &new, None, batch.now)?;
            super::keys::insert_direct(batch, new.workspace, &key, id)?;
            Ok((find(&batch.tx, new.workspace, id)?, false))
        })
        .await
    }

    /// Keeps the checkout that was opened for a payment, unless nobody may pay there any more: then nobody hears of it.
    pub async fn keep_checkout(&self, workspace: i64, id: i64, checkout: Checkout) -> Result<Payment, Error> {
        self.write(workspace, move |batch| {
            let payment = find(&batch.tx, workspace, id)?;
            if !payment.may_be_paid_in_person() {
                return Ok(payment);
            }
            batch.tx.execute(
                "update payment set checkout = ?3, checkout_url = ?4 where workspace = ?1 and id = ?2",
                values![workspace, id, checkout.session.as_ref(), &checkout.url],
            )?;
            if let Some(session) = &checkout.session {
                claim(&batch.tx, session, workspace, Some(id))?;
            }
            find(&batch.tx, workspace, id)
        })
        .await
    }

    /// One payment.
    pub async fn payment(&self, workspace: i64, id: i64) -> Result<Payment, Error> {
        self.read(move |tx| find(tx, workspace, id)).await
    }

    /// The payment that a provider's checkout session or payment object belongs to.
    pub async fn payment_of(&self, object: String) -> Result<Option<(i64, i64)>, Error> {
        self.read(move |tx| {
            let owner = "select owner, number from provider_object where object = ?1 and number is not null";
            tx.one(owner, values![&object], |row| Ok((row.int(0)?, row.int(1)?)))
        })
        .await
    }

    /// Payments, newest first; only those that bought credits once, or all.
    pub async fn payments(
        &self,
        workspace: i64,
        purposes: &'static [Purpose],
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<Payment>, Error> {
        self.read(move |tx| {
            let all: Vec<String> = purposes.iter().map(|purpose| (*purpose as i64).to_string()).collect();
            let page = format!(
                "{PAYMENT} where workspace = ?1 and id < ?2 and purpose in ({}) order by id desc limit ?3",
                all.join(", ")
            );
            tx.query(&page, values![workspace, before.unwrap_or(i64::MAX), limit], read)
        })
        .await
    }

    /// How a workspace pays.
    pub async fn payer(&self, workspace: i64) -> Result<Payer, Error> {
        self.read(move |tx| read_payer(tx, workspace)).await
    }
}

/// Says whose a provider's object is. It can be said only once.
fn claim(tx: &Tx<'_>, object: &str, workspace: i64, payment: Option<i64>) -> Result<(), Error> {
    let known = "select owner, number from provider_object where object = ?1";
    let known = tx.one(known, values![object], |row| Ok((row.int(0)?, row.opt_int(1)?)))?;
    match known {
        Some(owner) if owner == (workspace, payment) => Ok(()),
        Some(_) => Err(foreign()),
        None => {
            tx.execute(
                "insert into provider_object (object, owner, number) values (?1, ?2, ?3)",
                values![object, workspace, payment],
            )?;
            Ok(())
        }
    }
}

/// Whether an object may be said to belong to this payment.
fn may_claim(tx: &Tx<'_>, object: &str, workspace: i64, payment: Option<i64>) -> Result<(), Error> {
    let known = "select owner, number from provider_object where object = ?1";
    let known = tx.one(known, values![object], |row| Ok((row.int(0)?, row.opt_int(1)?)))?;
    if known.is_none_or(|owner| owner == (workspace, payment)) { Ok(()) } else { Err(foreign()) }
}

fn foreign() -> Error {
    Error::Conflict("foreign_object", "the provider's object belongs to another payment")
}
