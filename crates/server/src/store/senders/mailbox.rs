//! The mailboxes that answers to senders come into: which are due, who looks, and how far each was read.
//!
//! It does *not* know what a mail is. One node looks into a mailbox at a time; its lease lapses when it ends in between.
//!
//! Invariant: a mark moves only for whoever holds the lease of the mailbox as it is now, after what the mails said was written.

use billing::Time;

use super::super::db::{Row, Tx};
use super::super::{Error, Store};
use crate::values;

/// How long after one look the next begins, in seconds.
const EVERY: i64 = 300;
/// The same, where not everything was read yet.
const SOON: i64 = 30;
/// After so many looks in a row that failed the pause does not grow any more: then it is over five hours.
const MOST_DOUBLINGS: i64 = 6;
/// How long whoever looks has for it: longer than a look may take.
const LEASE_SECONDS: i64 = 180;

/// A sender's mailbox.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mailbox {
    /// The server, as it may be shown.
    pub server: String,
    /// How it is reached, sealed.
    pub access: Vec<u8>,
    pub looked_at: Option<Time>,
    /// Why the last look failed; `None`: it did not.
    pub trouble: Option<String>,
}

/// A mailbox that is to be looked into now.
#[derive(Clone, Debug)]
pub struct Look {
    pub workspace: i64,
    pub sender: i64,
    /// The sender's own address, with or without a name.
    pub from: String,
    pub access: Vec<u8>,
    /// The server's numbering, and the last mail in it that was read; 0: none yet.
    pub validity: i64,
    pub last: i64,
    /// The end of the lease, which also names it.
    until: Time,
}

/// A mailbox in columns from `first` on, where there is one.
pub(super) fn read(row: &Row<'_>, first: usize) -> Result<Option<Mailbox>, Error> {
    let (Some(server), Some(access)) = (row.opt_text(first)?, row.opt_blob(first + 1)?) else {
        return Ok(None);
    };
    let (looked_at, trouble) = (row.opt_time(first + 2)?, row.opt_text(first + 3)?);
    Ok(Some(Mailbox { server, access, looked_at, trouble }))
}

/// Writes how a mailbox is reached when that changed: another one is read from its beginning.
pub(super) fn keep(
    tx: &Tx<'_>,
    workspace: i64,
    sender: i64,
    (old, new): (Option<&Mailbox>, Option<&Mailbox>),
    now: Time,
) -> Result<(), Error> {
    if old.map(|mailbox| &mailbox.access) == new.map(|mailbox| &mailbox.access) {
        return Ok(());
    }
    tx.execute("delete from mailbox where workspace = ?1 and sender = ?2", values![workspace, sender])?;
    let Some(Mailbox { server, access, .. }) = new else { return Ok(()) };
    tx.execute(
        "insert into mailbox (workspace, sender, server, access, due_at, validity, last, failures)
         values (?1, ?2, ?3, ?4, ?5, 0, 0, 0)",
        values![workspace, sender, server, access, now],
    )?;
    Ok(())
}

impl Store {
    /// Mailboxes that are to be looked into, the longest waiting first.
    pub async fn due_mailboxes(&self, limit: i64) -> Result<Vec<(i64, i64)>, Error> {
        let now = self.clock().now();
        let due = "select workspace, sender from mailbox where due_at <= ?1 order by due_at limit ?2";
        self.read(move |tx| tx.query(due, values![now, limit], |row| Ok((row.int(0)?, row.int(1)?)))).await
    }

    /// The next moment after now at which a mailbox is to be looked into.
    pub async fn next_mailbox(&self) -> Result<Option<Time>, Error> {
        let now = self.clock().now();
        let next = "select min(due_at) from mailbox where due_at > ?1";
        self.read(move |tx| Ok(tx.one(next, values![now], |row| row.opt_time(0))?.flatten())).await
    }

    /// Takes a mailbox that is due: nobody else looks into it for a while.
    pub async fn claim_mailbox(&self, workspace: i64, sender: i64) -> Result<Option<Look>, Error> {
        self.write(workspace, move |batch| {
            let until = batch.now.plus_seconds(LEASE_SECONDS);
            let taken = batch.tx.execute(
                "update mailbox set due_at = ?3 where workspace = ?1 and sender = ?2 and due_at <= ?4",
                values![workspace, sender, until, batch.now],
            )?;
            if taken == 0 {
                return Ok(None);
            }
            let look = "select s.address, m.access, m.validity, m.last from mailbox m
                join sender s on s.workspace = m.workspace and s.id = m.sender where m.workspace = ?1 and m.sender = ?2";
            batch.tx.one(look, values![workspace, sender], |row| {
                let (from, access) = (row.text(0)?, row.blob(1)?);
                let (validity, last) = (row.int(2)?, row.int(3)?);
                Ok(Look { workspace, sender, from, access, validity, last, until })
            })
        })
        .await
    }

    /// Records how a look ended: how far it came, whether there is more, and what was wrong.
    pub async fn mailbox_looked(
        &self,
        look: Look,
        (validity, last): (i64, i64),
        more: bool,
        trouble: Option<String>,
    ) -> Result<(), Error> {
        self.write(look.workspace, move |batch| {
            let (workspace, sender, now) = (look.workspace, look.sender, batch.now);
            let before = "select failures from mailbox where workspace = ?1 and sender = ?2";
            let before = batch.tx.one(before, values![workspace, sender], |row| row.int(0))?.unwrap_or(0);
            let failures = if trouble.is_some() { before + 1 } else { 0 };
            let pause = if more && failures == 0 { SOON } else { EVERY << failures.min(MOST_DOUBLINGS) };
            batch.tx.execute(
                "update mailbox set validity = ?4, last = ?5, due_at = ?6, looked_at = ?7, failures = ?8, detail = ?9
                 where workspace = ?1 and sender = ?2 and due_at = ?3 and access = ?10",
                values![
                    workspace,
                    sender,
                    look.until,
                    validity,
                    last,
                    now.plus_seconds(pause),
                    now,
                    failures,
                    trouble.as_ref(),
                    &look.access
                ],
            )?;
            Ok(())
        })
        .await
    }
}
