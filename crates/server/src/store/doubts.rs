//! Where holds went in doubt, so that the operator finds them without looking through every ledger.
//!
//! A row says that a hold went in doubt once. How it stands now, its ledger says: a row whose hold has ended is dropped by whoever
//! reads it, so that ending a hold costs nothing more.

use billing::{HoldStatus, Seq};

use super::batch::Batch;
use super::{Error, Store};
use crate::values;

/// How many rows are looked at.
const MOST: i64 = 500;

/// Remembers a hold, in the transaction in which it went in doubt.
pub(super) fn found(batch: &Batch<'_>, workspace: i64, hold: Seq) -> Result<(), Error> {
    batch.tx.execute(
        "insert into doubt (workspace, hold, at) values (?1, ?2, ?3) on conflict (workspace, hold) do nothing",
        values![workspace, hold.0, batch.now],
    )?;
    Ok(())
}

impl Store {
    /// Holds in doubt of all workspaces, the longest waiting first.
    pub async fn in_doubt(&self) -> Result<Vec<(i64, billing::Hold)>, Error> {
        let oldest = "select workspace, hold from doubt order by at, workspace, hold limit ?1";
        let rows = self
            .read(move |tx| tx.query(oldest, values![MOST], |row| Ok((row.int(0)?, row.int(1)?))))
            .await?;
        let mut open = Vec::new();
        for (workspace, id) in rows {
            let hold = self.hold(workspace, Seq(id)).await?;
            if hold.status == HoldStatus::InDoubt {
                open.push((workspace, hold));
                continue;
            }
            self.write(workspace, move |batch| {
                let ended = "delete from doubt where workspace = ?1 and hold = ?2";
                batch.tx.execute(ended, values![workspace, id])?;
                Ok(())
            })
            .await?;
        }
        Ok(open)
    }
}
