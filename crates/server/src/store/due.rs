//! What is due by the clock in ledgers: holds that end, grants that begin or expire.
//!
//! Owns where that is looked up: in the tables, and, for accounts whose tables are behind, in the writers' memory.

use billing::Time;

use super::batch::Batch;
use super::task::Task;
use super::{Error, Store};
use crate::values;

/// How many accounts that are behind a writer looks at in one go while time flows, so that charges do not wait long.
const LOOKED_AT: usize = 2_048;

impl Store {
    /// Workspaces in which something is due by now.
    pub async fn due_accounts(&self) -> Result<Vec<i64>, Error> {
        let (mut due, _) = self.due_in_memory().await?;
        let now = self.clock().now();
        due.extend(
            self.read(move |tx| {
                tx.query(
                    "select workspace from hold where status < 3 and ends_at <= ?1
                     union select workspace from \"grant\" where scheduled > 0 and effective_at <= ?1
                     union select workspace from \"grant\"
                       where available > 0 and expires_at is not null and expires_at <= ?1 and scheduled = 0 limit 1000",
                    values![now],
                    |row| row.int(0),
                )
            })
            .await?,
        );
        Ok(due)
    }

    /// The next moment after now at which something may be due.
    pub async fn next_in_ledger(&self) -> Result<Option<Time>, Error> {
        let (_, soonest) = self.due_in_memory().await?;
        let now = self.clock().now();
        let next = self.read(move |tx| {
            let next = tx.one(
                "select min(at) from (select min(ends_at) as at from hold where status < 3 and ends_at > ?1
                   union all select min(effective_at) from \"grant\" where scheduled > 0 and effective_at > ?1
                   union all select min(expires_at) from \"grant\"
                     where available > 0 and expires_at is not null and expires_at > ?1 and scheduled = 0) as moments",
                values![now],
                |row| row.opt_time(0),
            )?;
            Ok(next.flatten())
        });
        Ok(next.await?.into_iter().chain(soonest).min())
    }

    /// What the writers know. Time that is advanced must find all of it at once. While it flows, a writer looks at some of its
    /// accounts each time; where several nodes write, all is in the tables soon.
    async fn due_in_memory(&self) -> Result<(Vec<i64>, Option<Time>), Error> {
        let is_manual = self.clock().is_manual();
        let (mut due, mut next) = (Vec::new(), None::<Time>);
        let lanes = if is_manual || !self.is_shared() { self.shared.lanes.len() } else { 0 };
        let most = if is_manual { usize::MAX } else { LOOKED_AT };
        for lane in 0..lanes {
            if self.is_written(lane).await? {
                continue;
            }
            let work = move |batch: &mut Batch<'_>| batch.due(most);
            let task = |reply| Task { work, reply: Some(reply), result: None };
            match self.ask(lane, task).await {
                Ok((here, soonest)) => {
                    due.extend(here);
                    next = next.into_iter().chain(soonest).min();
                }
                // A disk that takes no writes lets nothing happen, whatever is due.
                Err(Error::Unavailable(_)) if !is_manual => {}
                Err(error) => return Err(error),
            }
        }
        Ok((due, next))
    }
}
