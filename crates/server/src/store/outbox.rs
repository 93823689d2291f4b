//! Mail waiting to be sent: written in the transaction of its cause, sent by the delivery loop.

use billing::Time;

use super::db::Tx;
use super::{Error, Store};
use crate::{clock, values};

/// How often a mail is tried before it is given up.
const MAX_ATTEMPTS: i64 = 8;
/// How long whoever took a mail has for it: longer than a mail server may take.
const LEASE_SECONDS: i64 = 120;

/// A mail that is due.
#[derive(Clone, Debug)]
pub struct Mail {
    pub workspace: i64,
    pub id: i64,
    pub recipient: String,
    pub subject: String,
    pub body: String,
    pub attempts: i64,
    /// A notice may go with others; a mail that lets somebody in goes alone.
    pub notice: bool,
}

/// A mail that was given up.
#[derive(Clone, Debug)]
pub struct FailedMail {
    pub workspace: i64,
    pub id: i64,
    /// When it would have been tried next.
    pub due_at: Time,
    pub recipient: String,
    pub subject: String,
    pub attempts: i64,
    /// Why it was not taken.
    pub detail: String,
}

/// Queues a mail to the workspace's alert addresses, or to its Admins when none are set.
pub fn mail_admins(tx: &Tx<'_>, workspace: i64, due: Time, subject: &str, body: &str) -> Result<(), Error> {
    let row =
        tx.one("select emails, name from workspace where workspace = ?1", values![workspace], |row| {
            Ok((row.text(0)?, row.text(1)?))
        })?;
    let Some((emails, name)) = row else { return Ok(()) };
    let mut recipients: Vec<String> = serde_json::from_str(&emails).unwrap_or_default();
    if recipients.is_empty() {
        let admins = "select email from member where owner = ?1 and role = 1 order by email";
        recipients = tx.query(admins, values![workspace], |row| row.text(0))?;
    }
    let subject = format!("{name}: {subject}");
    for recipient in &recipients {
        queue(tx, workspace, due, (recipient, &subject, body), true)?;
    }
    Ok(())
}

/// Queues a mail of its own: to whom, its subject and its text.
pub fn mail(tx: &Tx<'_>, workspace: i64, due: Time, what: (&str, &str, &str)) -> Result<(), Error> {
    queue(tx, workspace, due, what, false)
}

fn queue(
    tx: &Tx<'_>,
    workspace: i64,
    due: Time,
    (recipient, subject, body): (&str, &str, &str),
    notice: bool,
) -> Result<(), Error> {
    tx.execute(
        "insert into outbox (workspace, id, due_at, recipient, subject, body, attempts, status, notice)
         values (?1, ?2, ?3, ?4, ?5, ?6, 0, 0, ?7)",
        values![workspace, clock::fresh_id(), due, recipient, subject, body, notice],
    )?;
    Ok(())
}

impl Store {
    /// Takes the oldest mails that are due, at most `limit`: nobody else takes them for a while.
    pub async fn claim_mails(&self, limit: i64) -> Result<Vec<Mail>, Error> {
        let now = self.clock().now();
        let due = self
            .read(move |tx| {
                tx.query(
                    "select workspace, id from outbox where status = 0 and due_at <= ?1 order by due_at limit ?2",
                    values![now, limit],
                    |row| Ok((row.int(0)?, row.int(1)?)),
                )
            })
            .await?;
        let mut mails = Vec::new();
        for (workspace, id) in due {
            mails.extend(
                self.write(workspace, move |batch| claim(&batch.tx, workspace, id, batch.now)).await?,
            );
        }
        Ok(mails)
    }

    /// Records that a mail was handed over.
    pub async fn mail_sent(&self, mail: &Mail) -> Result<(), Error> {
        let (workspace, id) = (mail.workspace, mail.id);
        self.write(workspace, move |batch| {
            batch.tx.execute(
                // What was sent is not kept: it may hold a link that lets somebody in.
                "update outbox set status = 1, attempts = attempts + 1, body = '' where workspace = ?1 and id = ?2",
                values![workspace, id],
            )?;
            Ok(())
        })
        .await
    }

    /// Records a failed attempt: it is tried again after a growing pause, and given up in the end.
    pub async fn mail_failed(&self, mail: Mail, detail: String, final_failure: Final) -> Result<(), Error> {
        self.write(mail.workspace, move |batch| {
            let attempts = mail.attempts + 1;
            let given_up = final_failure == Final::Yes || attempts >= MAX_ATTEMPTS;
            let due = batch.now.plus_seconds(30 << attempts.min(10));
            batch.tx.execute(
                "update outbox set attempts = ?3, status = ?4, due_at = ?5, detail = ?6 where workspace = ?1 and id = ?2",
                values![mail.workspace, mail.id, attempts, if given_up { 2 } else { 0 }, due, &detail],
            )?;
            Ok(())
        })
        .await
    }

    /// Mails of all workspaces that were given up, newest first.
    pub async fn failed_mails(&self, before: Option<i64>, limit: i64) -> Result<Vec<FailedMail>, Error> {
        let failed = "select workspace, id, due_at, recipient, subject, attempts, detail from outbox
            where status = 2 and id < ?1 order by id desc limit ?2";
        self.read(move |tx| {
            tx.query(failed, values![before.unwrap_or(i64::MAX), limit], |row| {
                let (workspace, id, due_at) = (row.int(0)?, row.int(1)?, row.time(2)?);
                let (recipient, subject) = (row.text(3)?, row.text(4)?);
                let (attempts, detail) = (row.int(5)?, row.opt_text(6)?.unwrap_or_default());
                Ok(FailedMail { workspace, id, due_at, recipient, subject, attempts, detail })
            })
        })
        .await
    }

    /// Tries a mail again that was given up.
    pub async fn retry_mail(&self, workspace: i64, id: i64) -> Result<(), Error> {
        self.write(workspace, move |batch| {
            let again = batch.tx.execute(
                "update outbox set status = 0, attempts = 0, due_at = ?3 where workspace = ?1 and id = ?2 and status = 2",
                values![workspace, id, batch.now],
            )?;
            if again == 0 { Err(Error::NotFound) } else { Ok(()) }
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

/// Takes one mail, unless somebody else just did.
fn claim(tx: &Tx<'_>, workspace: i64, id: i64, now: Time) -> Result<Option<Mail>, Error> {
    let taken = tx.execute(
        "update outbox set due_at = ?3 where workspace = ?1 and id = ?2 and status = 0 and due_at <= ?4",
        values![workspace, id, now.plus_seconds(LEASE_SECONDS), now],
    )?;
    if taken == 0 {
        return Ok(None);
    }
    tx.one(
        "select recipient, subject, body, attempts, notice from outbox where workspace = ?1 and id = ?2",
        values![workspace, id],
        |row| {
            let (recipient, subject, body) = (row.text(0)?, row.text(1)?, row.text(2)?);
            let notice = row.int(4)? == 1;
            Ok(Mail { workspace, id, recipient, subject, body, attempts: row.int(3)?, notice })
        },
    )
}

/// Whether another attempt makes sense.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Final {
    Yes,
    No,
}
