//! What people changed besides the ledger: who, when, what it was before, and what it is now.
//!
//! Owns the table's one writer and its readers. What moves credits is not here: its entry says who did it and why.

use billing::Time;

use super::batch::Batch;
use super::db::Row;
use super::{Error, Store};
use crate::{clock, id, values};

/// A line.
#[derive(Clone, Debug)]
pub struct Line {
    pub workspace: i64,
    pub id: i64,
    pub at: Time,
    /// Who did it, as the ledger names them.
    pub actor: String,
    /// `member.role`, `key.revoked`
    pub what: String,
    /// What it was done to.
    pub subject: String,
    pub before: Option<String>,
    pub after: Option<String>,
}

/// Writes a line in the transaction of what it tells.
pub fn note(
    batch: &Batch<'_>,
    workspace: i64,
    actor: &str,
    (what, subject): (&str, &str),
    (before, after): (Option<&str>, Option<&str>),
) -> Result<(), Error> {
    batch.tx.execute(
        "insert into logbook (workspace, id, at, actor, what, subject, before, after)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        values![workspace, clock::fresh_id(), batch.now, actor, what, subject, before, after],
    )?;
    Ok(())
}

const LINE: &str = "select workspace, id, at, actor, what, subject, before, after from logbook";

fn read(row: &Row<'_>) -> Result<Line, Error> {
    Ok(Line {
        workspace: row.int(0)?,
        id: row.int(1)?,
        at: row.time(2)?,
        actor: row.text(3)?,
        what: row.text(4)?,
        subject: row.text(5)?,
        before: row.opt_text(6)?,
        after: row.opt_text(7)?,
    })
}

impl Store {
    /// Writes a line about something that changes nothing else, such as somebody looking in.
    pub async fn note(&self, workspace: i64, actor: String, what: &'static str) -> Result<(), Error> {
        self.write(workspace, move |batch| {
            batch.load(workspace)?;
            note(batch, workspace, &actor, (what, &id::workspace(workspace)), (None, None))
        })
        .await
    }

    /// Lines, newest first: of one workspace, or of all.
    pub async fn logbook(
        &self,
        workspace: Option<i64>,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<Line>, Error> {
        let before = before.unwrap_or(i64::MAX);
        self.read(move |tx| match workspace {
            Some(workspace) => {
                let own = format!("{LINE} where workspace = ?1 and id < ?2 order by id desc limit ?3");
                tx.query(&own, values![workspace, before, limit], read)
            }
            None => {
                let all = format!("{LINE} where id < ?1 order by id desc limit ?2");
                tx.query(&all, values![before, limit], read)
            }
        })
        .await
    }
}
