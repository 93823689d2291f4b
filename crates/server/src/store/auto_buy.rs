//! Auto-buy: credits that are bought by themselves when few are left, on the saved method.
//!
//! Owns when an episode begins, how much it buys and when it ends. The charge itself is a payment like any other.
//!
//! Invariants: one open episode in a workspace; what was bought and what is pending never exceeds the ceiling of a period; after
//! [`billing::subscription::ATTEMPTS`] declines it is off, and says so.

use billing::Time;
use billing::subscription::{auto_buy_retry, packs_missing};

use super::alerts::{count, thousands};
use super::batch::Batch;
use super::db::Tx;
use super::payments::{self, NewPayment, Payment};
use super::{Error, Store, alerts, budgets, logbook, outbox};
use crate::{clock, id, values};

/// What a workspace asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AutoBuy {
    pub enabled: bool,
    /// Fewer available credits than this begin an episode.
    pub below: i64,
    pub pack: String,
    /// The most packs in a period, pending ones included.
    pub most: i64,
}

/// A row with how the episode stands.
struct Row {
    asked: AutoBuy,
    payment: Option<i64>,
    told: Option<Time>,
}

fn find(tx: &Tx<'_>, workspace: i64) -> Result<Option<Row>, Error> {
    let row = "select enabled, below, pack, most, payment, told from auto_buy where workspace = ?1";
    tx.one(row, values![workspace], |row| {
        let (enabled, below) = (row.int(0)? != 0, row.int(1)?);
        let asked = AutoBuy { enabled, below, pack: row.text(2)?, most: row.int(3)? };
        Ok(Row { asked, payment: row.opt_int(4)?, told: row.opt_time(5)? })
    })
}

/// Looks at an account after a post: fewer credits than the threshold begin an episode, once.
pub(super) fn notice(batch: &mut Batch<'_>, workspace: i64) -> Result<(), Error> {
    let now = batch.now;
    let cached = batch.cached(workspace);
    let Some(below) = cached.buy_below else { return Ok(()) };
    let few = cached.account.available < below;
    if !few || cached.is_buying {
        cached.is_buying &= few;
        return Ok(());
    }
    cached.is_buying = true;
    batch.tx.execute(
        "update auto_buy set due_at = ?2 where workspace = ?1 and enabled = 1 and due_at is null and payment is null",
        values![workspace, now],
    )?;
    Ok(())
}

impl Store {
    /// What a workspace asked for, if it ever did.
    pub async fn auto_buy(&self, workspace: i64) -> Result<Option<AutoBuy>, Error> {
        self.read(move |tx| Ok(find(tx, workspace)?.map(|row| row.asked))).await
    }

    /// Keeps what a workspace asks for. With fewer credits than the threshold it buys at once.
    pub async fn set_auto_buy(&self, workspace: i64, asked: AutoBuy, actor: String) -> Result<(), Error> {
        self.write(workspace, move |batch| {
            batch.load(workspace)?;
            if asked.enabled && payments::read_payer(&batch.tx, workspace)?.method.is_none() {
                let detail = "no payment method is saved: pay once, or subscribe, and it is kept";
                return Err(Error::Conflict("no_payment_method", detail));
            }
            let (before, after) = (find(&batch.tx, workspace)?.map(|row| row.asked), Some(&asked));
            if before.as_ref() != after {
                let (before, after) = (in_words(before.as_ref()), in_words(after));
                let (name, words) = (id::workspace(workspace), (Some(&*before), Some(&*after)));
                logbook::note(batch, workspace, &actor, ("auto_buy", &name), words)?;
            }
            let few = batch.account(workspace)?.available < asked.below;
            let due_at = (asked.enabled && few).then_some(batch.now);
            batch.tx.execute(
                "insert into auto_buy (workspace, enabled, below, pack, most, due_at) values (?1, ?2, ?3, ?4, ?5, ?6)
                 on conflict (workspace) do update set enabled = excluded.enabled, below = excluded.below, pack = excluded.pack,
                   most = excluded.most, due_at = case when auto_buy.payment is null then excluded.due_at else null end, told = null",
                values![workspace, asked.enabled, asked.below, &asked.pack, asked.most, due_at],
            )?;
            batch.reload(workspace)?;
            batch.look_again(workspace)
        })
        .await
    }

    /// Workspaces whose auto-buy is due, with the pack that they chose.
    pub async fn due_auto_buys(&self, limit: i64) -> Result<Vec<(i64, String)>, Error> {
        let now = self.clock().now();
        let due = "select workspace, pack from auto_buy where due_at <= ?1 order by due_at limit ?2";
        self.read(move |tx| tx.query(due, values![now, limit], |row| Ok((row.int(0)?, row.text(1)?)))).await
    }

    /// The next moment after now at which an auto-buy is due.
    pub async fn next_auto_buy(&self) -> Result<Option<Time>, Error> {
        let now = self.clock().now();
        let next = "select min(due_at) from auto_buy where due_at > ?1";
        self.read(move |tx| Ok(tx.one(next, values![now], |row| row.opt_time(0))?.flatten())).await
    }

    /// Begins an episode that is due: orders as many packs as close the whole gap, in one payment, within the ceiling. Without
    /// an offer of the pack that was chosen, because it is not sold any more, it is off.
    pub async fn begin_auto_buy(
        &self,
        workspace: i64,
        chosen: String,
        offer: Option<NewPayment>,
    ) -> Result<(), Error> {
        self.write(workspace, move |batch| begin(batch, workspace, &chosen, offer.as_ref())).await
    }
}

/// What is asked for, as people read it.
fn in_words(asked: Option<&AutoBuy>) -> String {
    let on = |asked: &AutoBuy| {
        let AutoBuy { below, pack, most, .. } = asked;
        format!("on: {pack} below {}, at most {} a period", thousands(*below), count(*most, "pack", "packs"))
    };
    asked.filter(|asked| asked.enabled).map_or_else(|| "off".to_owned(), on)
}

fn begin(
    batch: &mut Batch<'_>,
    workspace: i64,
    chosen: &str,
    offer: Option<&NewPayment>,
) -> Result<(), Error> {
    let Some(row) = find(&batch.tx, workspace)?.filter(|row| row.asked.enabled && row.payment.is_none())
    else {
        return later(batch, workspace, None);
    };
    if row.asked.pack != chosen {
        // Another was chosen meanwhile: it is looked at again, with the offer of that one.
        return Ok(());
    }
    let Some(pack) = offer else {
        return off(batch, workspace, "Auto-buy is off: its pack is not sold any more.");
    };
    if payments::read_payer(&batch.tx, workspace)?.method.is_none() {
        return off(batch, workspace, "Auto-buy is off: no payment method is saved.");
    }
    let available = batch.account(workspace)?.available;
    let (from, to) = budgets::period(&batch.tx, workspace, batch.now)?;
    let bought = "select cast(coalesce(sum(quantity), 0) as bigint) from payment
        where workspace = ?1 and purpose = 2 and status in (0, 1, 4, 5) and created_at >= ?2";
    let left = row.asked.most - batch.tx.int(bought, values![workspace, from])?;
    let packs = packs_missing(available, row.asked.below, pack.credits + pack.bonus, left);
    if packs > 0 {
        let payment = clock::fresh_id();
        payments::insert(&batch.tx, payment, &times(pack, packs), Some(batch.now), batch.now)?;
        batch.tx.execute(
            "update auto_buy set payment = ?2, due_at = null where workspace = ?1",
            values![workspace, payment],
        )?;
        return Ok(());
    }
    if available >= row.asked.below {
        return later(batch, workspace, None);
    }
    if row.told != Some(from) {
        let title = "Auto-buy has bought all that it may in this period.";
        let body = format!("It goes on when the next period begins. Its limit is {} packs.", row.asked.most);
        alerts::add(&batch.tx, workspace, "auto_buy", batch.now, title, &body)?;
        outbox::mail_admins(&batch.tx, workspace, batch.now, title, &body)?;
        batch.tx.execute("update auto_buy set told = ?2 where workspace = ?1", values![workspace, from])?;
    }
    later(batch, workspace, Some(to))
}

/// So many of a pack in one payment.
fn times(pack: &NewPayment, packs: i64) -> NewPayment {
    NewPayment {
        label: match packs {
            1 => format!("{} (auto-buy)", pack.label),
            _ => format!("{packs} \u{d7} {} (auto-buy)", pack.label),
        },
        quantity: packs,
        credits: pack.credits * packs,
        bonus: pack.bonus * packs,
        amount: pack.amount * packs,
        tax: pack.tax * packs,
        ..pack.clone()
    }
}

fn later(batch: &Batch<'_>, workspace: i64, at: Option<Time>) -> Result<(), Error> {
    batch.tx.execute("update auto_buy set due_at = ?2 where workspace = ?1", values![workspace, at])?;
    Ok(())
}

fn off(batch: &mut Batch<'_>, workspace: i64, title: &str) -> Result<(), Error> {
    let off = "update auto_buy set enabled = 0, due_at = null, payment = null where workspace = ?1";
    batch.tx.execute(off, values![workspace])?;
    batch.reload(workspace)?;
    let body = "No credits are bought by themselves any more. Turn it on again under Billing.";
    alerts::add(&batch.tx, workspace, "auto_buy", batch.now, title, body)?;
    outbox::mail_admins(&batch.tx, workspace, batch.now, title, body)
}

/// Whether the charge of an episode is still wanted; if not, the episode ends without it.
pub(super) fn is_wanted(batch: &mut Batch<'_>, payment: &Payment) -> Result<bool, Error> {
    let workspace = payment.order.workspace;
    let available = batch.account(workspace)?.available;
    let row = find(&batch.tx, workspace)?;
    let wanted = row.is_some_and(|row| {
        row.asked.enabled && row.payment == Some(payment.id) && available < row.asked.below
    });
    if !wanted {
        batch.tx.execute(
            "update payment set status = 3, next_attempt = null, ended_at = ?3 where workspace = ?1 and id = ?2",
            values![workspace, payment.id, batch.now],
        )?;
        ended(batch, payment)?;
    }
    Ok(wanted)
}

/// The episode of a payment has ended: while too few credits are there, the next one begins.
pub(super) fn ended(batch: &mut Batch<'_>, payment: &Payment) -> Result<(), Error> {
    let workspace = payment.order.workspace;
    let available = batch.account(workspace)?.available;
    batch.tx.execute(
        "update auto_buy set payment = null, due_at = case when enabled = 1 and below > ?3 then ?4 else null end
         where workspace = ?1 and payment = ?2",
        values![workspace, payment.id, available, batch.now],
    )?;
    Ok(())
}

/// A charge of an episode was declined: it is tried again later, or auto-buy is off. Answers when.
pub(super) fn declined(batch: &mut Batch<'_>, payment: &Payment) -> Result<Option<Time>, Error> {
    match auto_buy_retry(payment.attempts) {
        Some(seconds) => Ok(Some(batch.now.plus_seconds(seconds))),
        None => {
            off(batch, payment.order.workspace, "Auto-buy is off: the payment was declined four times.")?;
            Ok(None)
        }
    }
}
