//! Top-ups: what was ordered, and the one grant that its payment becomes.

use billing::ledger::{Command, GrantTerms};
use billing::{Amount, GrantKind, Time};

use super::committer::{Answer, Key, KeyKind, Post};
use super::db::{Row, Tx};
use super::{Error, Store, alerts};
use crate::{clock, values};

/// How a top-up stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum TopUpStatus {
    Pending = 0,
    Paid = 1,
    Declined = 2,
    Expired = 3,
    Refunded = 4,
}

/// A top-up as it is stored.
#[derive(Clone, Debug)]
pub struct TopUp {
    pub workspace: i64,
    pub id: i64,
    pub pack: String,
    pub credits: i64,
    /// Minor units of the currency.
    pub amount: i64,
    pub currency: String,
    pub status: TopUpStatus,
    pub return_url: Option<String>,
    pub grant: Option<i64>,
    pub refunded: i64,
    pub created_at: Time,
}

const TOPUP: &str = "select workspace, id, pack, credits, amount, currency, status, return_url, grant_id, refunded, created_at from topup";

fn read(row: &Row<'_>) -> Result<TopUp, Error> {
    use TopUpStatus::{Declined, Expired, Paid, Pending, Refunded};
    Ok(TopUp {
        workspace: row.int(0)?,
        id: row.int(1)?,
        pack: row.text(2)?,
        credits: row.int(3)?,
        amount: row.int(4)?,
        currency: row.text(5)?,
        status: [Pending, Paid, Declined, Expired, Refunded][row.int(6)?.clamp(0, 4) as usize],
        return_url: row.opt_text(7)?,
        grant: row.opt_int(8)?,
        refunded: row.int(9)?,
        created_at: row.time(10)?,
    })
}

fn find(tx: &Tx<'_>, workspace: i64, id: i64) -> Result<TopUp, Error> {
    tx.one(&format!("{TOPUP} where workspace = ?1 and id = ?2"), values![workspace, id], read)?
        .ok_or(Error::NotFound)
}

impl Store {
    /// Orders a top-up. The same key and order: the first one again (`true`).
    pub async fn create_topup(&self, new: TopUp, key: Key) -> Result<(TopUp, bool), Error> {
        let id = clock::fresh_id();
        self.write(new.workspace, move |batch| {
            batch.load(new.workspace)?;
            if let Some((fingerprint, known)) = super::keys::find_direct(batch, new.workspace, &key)? {
                if fingerprint != key.fingerprint {
                    return Err(Error::Refused(billing::Refusal::IdempotencyKeyReused));
                }
                return Ok((find(&batch.tx, new.workspace, known.0)?, true));
            }
            batch.tx.execute(
                "insert into topup (workspace, id, pack, credits, amount, currency, status, return_url, refunded, created_at)
                 values (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, 0, ?8)",
                values![
                    new.workspace,
                    id,
                    &new.pack,
                    new.credits,
                    new.amount,
                    &new.currency,
                    new.return_url.as_ref(),
                    batch.now
                ],
            )?;
            super::keys::insert_direct(batch, new.workspace, &key, id)?;
            Ok((find(&batch.tx, new.workspace, id)?, false))
        })
        .await
    }

    /// One top-up.
    pub async fn topup(&self, workspace: i64, id: i64) -> Result<TopUp, Error> {
        self.read(move |tx| find(tx, workspace, id)).await
    }

    /// Top-ups, newest first.
    pub async fn topups(&self, workspace: i64, before: Option<i64>, limit: i64) -> Result<Vec<TopUp>, Error> {
        self.read(move |tx| {
            let page = format!("{TOPUP} where workspace = ?1 and id < ?2 order by id desc limit ?3");
            tx.query(&page, values![workspace, before.unwrap_or(i64::MAX), limit], read)
        })
        .await
    }

    /// Records a confirmed payment and grants its credits, once, however often it is confirmed.
    pub async fn topup_paid(&self, workspace: i64, id: i64) -> Result<TopUp, Error> {
        self.write(workspace, move |batch| {
            let topup = find(&batch.tx, workspace, id)?;
            match topup.status {
                TopUpStatus::Paid | TopUpStatus::Refunded => return Ok(topup),
                TopUpStatus::Expired => {
                    return Err(Error::Conflict("topup_ended", "the checkout has expired"));
                }
                TopUpStatus::Pending | TopUpStatus::Declined => {}
            }
            let credits = Amount::new(topup.credits).ok_or(Error::NotFound)?;
            let (kind, effective_at) = (GrantKind::Purchased, batch.now);
            let terms = GrantTerms { credits, kind, priority: 0, effective_at, expires_at: None };
            let mut post = Post::new(workspace, Command::Grant(terms), "payment");
            post.key =
                Some(Key { kind: KeyKind::TopUp, key: format!("paid {id}").into(), fingerprint: [0; 16] });
            post.reason = Some(format!("Bought {} credits", alerts::thousands(topup.credits)).into());
            let answer = batch.post(&post)?;
            let grant = answer.entry.and_then(|recorded| recorded.entry.grant).map(|seq| seq.0);
            batch.tx.execute(
                "update topup set status = 1, grant_id = ?3, ended_at = ?4 where workspace = ?1 and id = ?2",
                values![workspace, id, grant, batch.now],
            )?;
            let title = format!("{} credits bought.", alerts::thousands(topup.credits));
            alerts::add(&batch.tx, workspace, "topup", batch.now, &title, "They were added to the balance.")?;
            find(&batch.tx, workspace, id)
        })
        .await
    }

    /// Records a declined payment. A paid top-up stays paid.
    pub async fn topup_declined(&self, workspace: i64, id: i64) -> Result<TopUp, Error> {
        self.write(workspace, move |batch| {
            let topup = find(&batch.tx, workspace, id)?;
            if topup.status == TopUpStatus::Pending {
                batch.tx.execute(
                    "update topup set status = 2, ended_at = ?3 where workspace = ?1 and id = ?2",
                    values![workspace, id, batch.now],
                )?;
                let body = "Nothing was added and nothing was charged.";
                alerts::add(
                    &batch.tx,
                    workspace,
                    "payment_failed",
                    batch.now,
                    "The payment was declined.",
                    body,
                )?;
            }
            find(&batch.tx, workspace, id)
        })
        .await
    }

    /// Takes a refunded payment's credits back: its own grant first, then what is available; the rest becomes debt.
    pub async fn topup_refunded(
        &self,
        workspace: i64,
        id: i64,
        credits: Option<i64>,
        reason: String,
        key: Key,
    ) -> Result<(TopUp, Answer), Error> {
        self.write(workspace, move |batch| {
            let topup = find(&batch.tx, workspace, id)?;
            let replay = batch.find_key(workspace, &key)?.is_some();
            let left = topup.credits - topup.refunded;
            let credits = credits.unwrap_or(if replay { topup.credits } else { left });
            let Some(grant) = topup.grant else {
                return Err(Error::Conflict("topup_not_paid", "only a paid top-up can be refunded"));
            };
            let Some(amount) = Amount::new(credits).filter(|_| replay || credits <= left) else {
                return Err(Error::Invalid(
                    "credits",
                    format!("must be from 1 to the {left} that are not refunded yet"),
                ));
            };
            let mut post = Post::new(
                workspace,
                Command::TakeBack { grant: billing::Seq(grant), credits: amount },
                "operator",
            );
            (post.key, post.reason) = (Some(key.clone()), Some(reason.as_str().into()));
            let answer = batch.post(&post)?;
            if !answer.replayed {
                let status = if credits == left { TopUpStatus::Refunded } else { TopUpStatus::Paid };
                batch.tx.execute(
                    "update topup set refunded = refunded + ?3, status = ?4 where workspace = ?1 and id = ?2",
                    values![workspace, id, credits, status as i64],
                )?;
            }
            Ok((find(&batch.tx, workspace, id)?, answer))
        })
        .await
    }
}
