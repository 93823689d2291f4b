//! Messages that fell due while everything stood still, and how long it takes until they are out.

use std::collections::HashMap;

use billing::Time;
use billing::campaign::Position;

use super::{Job, find};
use crate::store::db::Tx;
use crate::store::senders::{self, Sender, SenderKind};
use crate::store::work::{STEPS, position};
use crate::store::{Error, workspaces};
use crate::{calendar, values};

/// The most messages that are counted: nobody else can write meanwhile.
const MOST_COUNTED: i64 = 100_000;
/// The furthest day that is told of.
const MOST_DAYS: i64 = 60;

/// Messages that are due now in the campaigns that have run since a moment, and over how many days they go out within the limits of
/// their senders. `None`: there are none, too many to count, or nobody can say.
pub fn overdue(tx: &Tx<'_>, workspace: i64, since: Time, now: Time) -> Result<Option<(i64, i64)>, Error> {
    let due: Vec<(i64, i64, i64)> = tx.query(
        "select job, position, count(*) from (
           select w.job, w.position from job j join work w on w.workspace = j.workspace and w.job = j.id
           where j.workspace = ?1 and j.kind = 0 and j.stage = 1 and j.running_since = ?2 and w.position >= ?3
             and w.due <= j.ran + ?4 limit ?5) as overdue
         group by job, position order by job, position",
        values![workspace, since, STEPS, now.0 - since.0, MOST_COUNTED + 1],
        |row| Ok((row.int(0)?, row.int(1)?, row.int(2)?)),
    )?;
    let messages: i64 = due.iter().map(|(_, _, messages)| messages).sum();
    if messages == 0 || messages > MOST_COUNTED {
        return Ok(None);
    }
    let mut known: HashMap<i64, Sender> = HashMap::new();
    let mut waiting = Vec::with_capacity(due.len());
    let mut last: Option<Job> = None;
    for (job, code, messages) in due {
        if last.as_ref().is_none_or(|last| last.id != job) {
            last = find(tx, workspace, job)?;
        }
        let Some(job) = &last else { continue };
        let Position::Step(index) = position(code) else { continue };
        let Some(step) = job.definition.steps.get(index) else { continue };
        for id in &job.definition.senders {
            if let (false, Some(sender)) = (known.contains_key(id), senders::find(tx, workspace, *id)?) {
                known.insert(*id, sender);
            }
        }
        let kind = SenderKind::of(step.channel());
        let suits = |id: &&i64| known.get(*id).is_some_and(|sender| sender.kind == kind);
        waiting.push((job.definition.senders.iter().filter(suits).copied().collect(), messages));
    }
    let zone = workspaces::find(tx, workspace)?.time_zone;
    Ok(days(waiting, &known, &zone, now).map(|days| (messages, days)))
}

/// Over how many days all of it goes out, this one included. What has no sender has no limit.
fn days(
    mut waiting: Vec<(Vec<i64>, i64)>,
    senders: &HashMap<i64, Sender>,
    zone: &str,
    now: Time,
) -> Option<i64> {
    waiting.retain(|(senders, _)| !senders.is_empty());
    for day in 0..MOST_DAYS {
        let at = if day == 0 { now } else { calendar::at_minute(now, zone, day, 0) };
        let mut room: HashMap<i64, i64> =
            senders.values().map(|sender| (sender.id, sender.room(zone, at))).collect();
        for (senders, left) in &mut waiting {
            for id in &*senders {
                let room = room.entry(*id).or_default();
                let sent = (*room).min(*left);
                (*room, *left) = (*room - sent, *left - sent);
            }
        }
        waiting.retain(|(_, left)| *left > 0);
        if waiting.is_empty() {
            return Some(day + 1);
        }
    }
    None
}
