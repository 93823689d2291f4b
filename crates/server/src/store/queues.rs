//! How long the queues are: what waits for a loop, since when, and what was given up. Reads only, across all workspaces.

use std::sync::atomic::Ordering;

use billing::Time;

use super::db::{Tx, Value};
use super::{Error, Store};
use crate::values;

/// What waits, and since when the oldest of it could have been done.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Waiting {
    pub count: i64,
    pub oldest: Option<Time>,
}

/// All queues.
#[derive(Clone, Default, Debug)]
pub struct Queues {
    /// Pieces of campaigns, searches and jobs that run.
    pub pieces: Waiting,
    /// Mails that are still tried.
    pub mails: Waiting,
    pub mails_given_up: i64,
    /// Why the mail that is due last was not taken: of those that are still tried, else of those that were given up.
    pub mail_trouble: Option<String>,
    /// Webhooks that are still tried.
    pub webhooks: Waiting,
    /// Endpoints that fail or were given up.
    pub endpoints_failing: i64,
    /// Entries that are in this node's journals and not yet in their tables.
    pub unwritten: i64,
}

impl Store {
    /// The queues now.
    pub async fn queues(&self) -> Result<Queues, Error> {
        let now = self.clock().now();
        let lanes = self.shared.lanes.iter();
        let unwritten = lanes.map(|lane| lane.state.unwritten.load(Ordering::Acquire) as i64).sum();
        self.read(move |tx| {
            let count = |sql| tx.int(sql, &[]);
            Ok(Queues {
                pieces: waiting(
                    tx,
                    "select count(*), min(w.due - j.ran + j.running_since) from job j
                     join work w on w.workspace = j.workspace and w.job = j.id
                     where j.running_since is not null and w.due <= j.ran + ?1 - j.running_since and w.lease_until <= ?1",
                    values![now],
                )?,
                mails: waiting(
                    tx,
                    "select count(*), min(due_at) from outbox where status = 0",
                    &[],
                )?,
                mails_given_up: count("select count(*) from outbox where status = 2")?,
                mail_trouble: mail_trouble(tx)?,
                webhooks: waiting(
                    tx,
                    "select count(*), min(due_at) from webhook_delivery where status = 0",
                    &[],
                )?,
                endpoints_failing: count(
                    "select count(*) from webhook_endpoint where status = 2 or failing_since is not null",
                )?,
                unwritten,
            })
        })
        .await
    }
}

fn waiting(tx: &Tx<'_>, sql: &str, values: &[Value<'_>]) -> Result<Waiting, Error> {
    let found = tx.one(sql, values, |row| Ok(Waiting { count: row.int(0)?, oldest: row.opt_time(1)? }))?;
    Ok(found.unwrap_or_default())
}

fn mail_trouble(tx: &Tx<'_>) -> Result<Option<String>, Error> {
    let tried =
        "select detail from outbox where status = 0 and detail is not null order by due_at desc limit 1";
    let given_up = "select detail from outbox where status = 2 order by id desc limit 1";
    for sql in [tried, given_up] {
        if let Some(why) = tx.one(sql, &[], |row| row.opt_text(0))?.flatten() {
            return Ok(Some(why));
        }
    }
    Ok(None)
}
