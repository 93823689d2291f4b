//! Mail waiting to be sent: written in the transaction of its cause, sent by the delivery loop.

use billing::Time;

use super::db::Tx;
use super::{Error, Store};
use crate::values;

/// How often a mail is tried before it is given up.
const MAX_ATTEMPTS: i64 = 8;

/// A mail that is due.
#[derive(Clone, Debug)]
pub struct Mail {
    pub id: i64,
    pub recipient: String,
    pub subject: String,
    pub body: String,
    pub attempts: i64,
}

/// Queues a mail to the workspace's alert addresses, or to its Admin when none are set.
pub fn mail_admins(tx: &Tx<'_>, workspace: i64, due: Time, subject: &str, body: &str) -> Result<(), Error> {
    let row =
        tx.one("select emails, admin_email, name from workspace where id = ?1", values![workspace], |row| {
            Ok((row.text(0)?, row.opt_text(1)?, row.text(2)?))
        })?;
    let Some((emails, admin, name)) = row else { return Ok(()) };
    let mut recipients: Vec<String> = serde_json::from_str(&emails).unwrap_or_default();
    if recipients.is_empty() {
        recipients.extend(admin);
    }
    let subject = format!("{name}: {subject}");
    for recipient in &recipients {
        tx.execute(
            "insert into outbox (workspace, due_at, recipient, subject, body, attempts, status) values (?1, ?2, ?3, ?4, ?5, 0, 0)",
            values![workspace, due, recipient, &subject, body],
        )?;
    }
    Ok(())
}

impl Store {
    /// The oldest mails that are due, at most `limit`.
    pub async fn due_mails(&self, limit: i64) -> Result<Vec<Mail>, Error> {
        let now = self.clock().now();
        self.read(move |tx| {
            tx.query(
                "select id, recipient, subject, body, attempts from outbox where status = 0 and due_at <= ?1 order by due_at limit ?2",
                values![now, limit],
                |row| {
                    let (id, recipient, subject) = (row.int(0)?, row.text(1)?, row.text(2)?);
                    Ok(Mail { id, recipient, subject, body: row.text(3)?, attempts: row.int(4)? })
                },
            )
        })
        .await
    }

    /// Records that a mail was handed over.
    pub async fn mail_sent(&self, mail: i64) -> Result<(), Error> {
        self.write(move |batch| {
            batch.tx.execute(
                "update outbox set status = 1, attempts = attempts + 1 where id = ?1",
                values![mail],
            )?;
            Ok(())
        })
        .await
    }

    /// Records a failed attempt: it is tried again after a growing pause, and given up in the end.
    pub async fn mail_failed(&self, mail: Mail, detail: String, final_failure: Final) -> Result<(), Error> {
        self.write(move |batch| {
            let attempts = mail.attempts + 1;
            let given_up = final_failure == Final::Yes || attempts >= MAX_ATTEMPTS;
            let due = batch.now.plus_seconds(30 << attempts.min(10));
            batch.tx.execute(
                "update outbox set attempts = ?2, status = ?3, due_at = ?4, detail = ?5 where id = ?1",
                values![mail.id, attempts, if given_up { 2 } else { 0 }, due, &detail],
            )?;
            Ok(())
        })
        .await
    }

    /// The next moment after now at which a mail becomes due.
    pub async fn next_mail(&self) -> Result<Option<Time>, Error> {
        let now = self.clock().now();
        let next = "select min(due_at) from outbox where status = 0 and due_at > ?1";
        self.read(move |tx| Ok(tx.one(next, values![now], |row| row.opt_time(0))?.flatten())).await
    }
}

/// Whether another attempt makes sense.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Final {
    Yes,
    No,
}
