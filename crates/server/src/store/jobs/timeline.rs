//! When a job stood still: the pauses that it has behind it.
//!
//! Invariant: a pause that ends is moved here in the write that ends it.

use billing::Time;
use billing::campaign::Reason;

use super::{Pause, reason};
use crate::store::db::Tx;
use crate::store::{Error, Store};
use crate::values;

/// A pause that is over.
#[derive(Clone, Debug)]
pub struct PastPause {
    pub pause: Pause,
    pub lifted_at: Time,
}

/// Which pauses end.
pub enum Ending {
    /// One job's, for this reason.
    One(i64, Reason),
    /// All of a job that ends itself.
    Job(i64),
    /// Every job's, for this reason.
    Every(Reason),
}

/// Ends pauses, and keeps that they were. What is paused, lifted and paused again within a moment is kept once.
pub fn over(tx: &Tx<'_>, workspace: i64, ending: &Ending, now: Time) -> Result<(), Error> {
    let (of, values) = match ending {
        Ending::One(job, reason) => {
            ("job = ?3 and reason = ?4", values![workspace, now, *job, *reason as i64].to_vec())
        }
        Ending::Job(job) => ("job = ?3", values![workspace, now, *job].to_vec()),
        Ending::Every(reason) => ("reason = ?3", values![workspace, now, *reason as i64].to_vec()),
    };
    tx.execute(
        &format!(
            "insert into past_pause (workspace, job, since, reason, lifted_at, needed, by)
             select ?1, job, since, reason, ?2, needed, by from pause where workspace = ?1 and {of}
             on conflict (workspace, job, since, reason) do nothing"
        ),
        &values,
    )?;
    tx.execute(&format!("delete from pause where workspace = ?1 and {of}"), &values)?;
    Ok(())
}

impl Store {
    /// The last pauses of a job that are over, newest first, and when the job ended.
    pub async fn past_pauses(
        &self,
        workspace: i64,
        job: i64,
        limit: i64,
    ) -> Result<(Vec<PastPause>, Option<Time>), Error> {
        self.read(move |tx| {
            let pauses = tx.query(
                "select reason, since, needed, by, lifted_at from past_pause where workspace = ?1 and job = ?2
                 order by since desc, reason limit ?3",
                values![workspace, job, limit],
                |row| {
                    let (reason, since) = (reason(row.int(0)?), row.time(1)?);
                    let (needed, by) = (row.opt_int(2)?, row.opt_text(3)?);
                    let pause = Pause { reason, since, needed, available: None, by };
                    Ok(PastPause { pause, lifted_at: row.time(4)? })
                },
            )?;
            let ended = "select ended_at from job where workspace = ?1 and id = ?2";
            let ended = tx.one(ended, values![workspace, job], |row| row.opt_time(0))?;
            Ok((pauses, ended.flatten()))
        })
        .await
    }
}
