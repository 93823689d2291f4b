//! What follows when the balance crosses a line: notices, e-mails, and the pause of everything in the background.
//!
//! Owns the words of these notices. It does *not* decide what crossed: `billing::alerts` does.

use std::sync::Arc;

use billing::alerts::{Crossing, Level, Sight};
use billing::campaign::Reason;
use billing::{EntryKind, Time};

use super::batch::Batch;
use super::db::Tx;
use super::entry::Recorded;
use super::{Error, Store, auto_buy, jobs, outbox, webhooks, work};
use crate::{clock, id, values};

/// How many leads a notice counts: nobody else can write meanwhile.
const MOST_COUNTED: i64 = 100_000;

/// One notice, as the workspace reads it.
#[derive(Clone, Debug)]
pub struct Notice {
    pub id: String,
    pub kind: String,
    pub at: Time,
    pub title: String,
    pub body: String,
    pub read: bool,
}

/// Looks at an account after a post and writes down what follows.
pub fn look(batch: &mut Batch<'_>, workspace: i64, recorded: &[Arc<Recorded>]) -> Result<(), Error> {
    let now = batch.now;
    let cached = batch.cached(workspace);
    let (account, basis, thresholds, mut watch) =
        (&cached.account, cached.basis(now), cached.thresholds, cached.watch);
    let (available, held, funded) = (account.available, account.held, account.seq.0 > 0);
    let debt = account.debt;
    let mut oldest = Ok(None);
    let crossings = watch.look(Sight { available, held, basis, funded, now }, &thresholds, || {
        oldest = work::oldest_due_cost(&batch.tx, workspace);
        oldest.as_ref().ok().copied().flatten()
    });
    oldest?;
    auto_buy::notice(batch, workspace)?;
    let cached = batch.cached(workspace);
    (cached.watch, cached.level) = (watch, watch.level(available, basis, &thresholds));
    webhooks::in_doubt(batch, workspace, recorded)?;
    for crossing in crossings {
        // Host products hear of it before they hear of what it did to campaigns.
        let told = match crossing {
            Crossing::Low(_) => webhooks::Kind::CreditsLow,
            Crossing::Critical(_) => webhooks::Kind::CreditsCritical,
            Crossing::Out { .. } => webhooks::Kind::CreditsOut,
            Crossing::Restored => webhooks::Kind::CreditsRestored,
        };
        webhooks::credits(batch, workspace, told, watch.needed)?;
        let words = Words { workspace, available, debt, needed: watch.needed, now };
        match crossing {
            Crossing::Low(mail_at) => warn(&batch.tx, &words, "low", mail_at)?,
            Crossing::Critical(mail_at) => warn(&batch.tx, &words, "critical", mail_at)?,
            Crossing::Out { again } => go_out(&batch.tx, &words, again)?,
            Crossing::Restored => come_back(&batch.tx, &words, recorded)?,
        }
    }
    Ok(())
}

/// A piece of work finds everything paused and says what it would have cost: nobody knows it when the last credits are set aside
/// and nothing was refused.
pub fn misses(batch: &mut Batch<'_>, workspace: i64, needed: i64) -> Result<(), Error> {
    let watch = &mut batch.cached(workspace).watch;
    if watch.out_since.is_some() && watch.needed.is_none() {
        watch.refused(needed);
        jobs::say_needed(&batch.tx, workspace, needed)?;
        batch.touch(workspace);
    }
    Ok(())
}

struct Words {
    workspace: i64,
    available: i64,
    debt: i64,
    needed: Option<i64>,
    now: Time,
}

fn warn(tx: &Tx<'_>, words: &Words, kind: &str, mail_at: Time) -> Result<(), Error> {
    let how = if kind == "critical" { "nearly used up" } else { "running low" };
    let title = format!("Credits are {how}: {} left.", thousands(words.available));
    let active = tx.int(
        "select count(*) from job where workspace = ?1 and kind = 0 and running_since is not null",
        values![words.workspace],
    )?;
    let body = match active {
        0 => {
            "No campaign is active now. Work that needs more than is left will wait until credits are bought."
                .to_owned()
        }
        1 => "1 campaign is active. It pauses at its current step when credits run out.".to_owned(),
        more => format!(
            "{} campaigns are active. They pause at their current step when credits run out.",
            thousands(more)
        ),
    };
    add(tx, words.workspace, kind, words.now, &title, &body)?;
    outbox::mail_admins(tx, words.workspace, mail_at, &title, &body)
}

fn go_out(tx: &Tx<'_>, words: &Words, again: bool) -> Result<(), Error> {
    let workspace = words.workspace;
    let paused =
        jobs::pause_all(tx, workspace, Reason::OutOfCredits, words.now, words.needed, words.available)?;
    let leads = tx.int(
        "select count(*) from (select 1 from job j join work w on w.workspace = j.workspace and w.job = j.id
           where j.workspace = ?1 and j.stage = 1 and w.due is not null and w.lead > 0 limit ?2) as kept",
        values![workspace, MOST_COUNTED + 1],
    )?;
    let title = match paused {
        0 => "Out of credits.".to_owned(),
        1 => "Out of credits. 1 campaign is paused at its current step.".to_owned(),
        more => format!("Out of credits. {} campaigns are paused at their current step.", thousands(more)),
    };
    let next = match words.needed {
        Some(needed) => {
            format!("The next step needs {}, you have {}. ", thousands(needed), thousands(words.available))
        }
        None => String::new(),
    };
    let owed = match words.debt {
        0 => String::new(),
        debt => format!("{} owed, and repaid first. ", count(debt, "credit is", "credits are")),
    };
    let until = renewal_words(tx, words)?;
    let kept = match leads {
        0 => String::new(),
        more if more > MOST_COUNTED => {
            format!("Nothing is lost: more than {} leads keep their place. ", thousands(MOST_COUNTED))
        }
        some => format!("Nothing is lost: {} their place. ", count(some, "lead keeps", "leads keep")),
    };
    let goes_on = match paused {
        0 => "Work continues",
        1 => "It continues",
        _ => "They continue",
    };
    let body = |buys: &str| format!("{next}{owed}{kept}{goes_on} when {buys} credits{until}.");
    // Everybody reads the notice, and only admins the mail.
    let (notice, mail) = (body("an admin buys"), body("you buy"));
    if again {
        let last = tx.one(
            "select max(case when kind = 'out' then id end), max(at) from notice where workspace = ?1",
            values![workspace],
            |row| Ok(row.opt_int(0)?.zip(row.opt_time(1)?)),
        )?;
        if let Some((last, newest)) = last.flatten() {
            // It is told anew, so it stands before what was told at this very moment.
            let at = words.now.max(Time(newest.0 + 1));
            tx.execute(
                "update notice set at = ?3, title = ?4, body = ?5, read_at = null where workspace = ?1 and id = ?2",
                values![workspace, last, at, &title, &notice],
            )?;
            return Ok(());
        }
    }
    add(tx, workspace, "out", words.now, &title, &notice)?;
    outbox::mail_admins(tx, workspace, words.now, &title, &mail)
}

fn come_back(tx: &Tx<'_>, words: &Words, recorded: &[Arc<Recorded>]) -> Result<(), Error> {
    let resumed = jobs::lift_all(tx, words.workspace, Reason::OutOfCredits, words.now)?;
    let adds = |kind| matches!(kind, EntryKind::Grant | EntryKind::Adjust | EntryKind::Refund);
    let added: i64 = recorded.iter().filter(|row| adds(row.entry.kind)).map(|row| row.entry.amount).sum();
    if added <= 0 {
        // A hold that gave its credits back ends the story quietly: nobody bought anything.
        return Ok(());
    }
    let title = format!("{} added.", count(added, "credit", "credits"));
    let body = match resumed {
        0 => format!("{} available.", count(words.available, "credit is", "credits are")),
        more => {
            let overdue = overdue_words(tx, words)?;
            format!("{} resumed{overdue}.", count(more, "campaign", "campaigns"))
        }
    };
    add(tx, words.workspace, "restored", words.now, &title, &body)?;
    outbox::mail_admins(tx, words.workspace, words.now, &format!("{title} {body}"), &body)
}

fn overdue_words(tx: &Tx<'_>, words: &Words) -> Result<String, Error> {
    let Some((messages, days)) = jobs::overdue(tx, words.workspace, words.now, words.now)? else {
        return Ok(String::new());
    };
    let goes = count(messages, "overdue message goes", "overdue messages go");
    let days = count(days, "day", "days");
    Ok(format!("; {goes} out over the next {days} within your sending limits"))
}

/// The day of the renewal, if what it brings is enough to go on.
fn renewal_words(tx: &Tx<'_>, words: &Words) -> Result<String, Error> {
    let renewal = tx.one(
        "select next_period, time_zone, coalesce(plan_credits, 0) from workspace
           where workspace = ?1 and next_period is not null and awaited is null and subscription <> 4",
        values![words.workspace],
        |row| Ok((row.time(0)?, row.text(1)?, row.int(2)?)),
    )?;
    let needed = words.needed.unwrap_or(1);
    let enough = renewal.filter(|(_, _, credits)| words.available + credits - words.debt >= needed);
    Ok(enough.map_or(String::new(), |(at, zone, _)| format!(" or on {}", crate::calendar::day(at, &zone))))
}

/// Adds a notice for everyone in the workspace.
pub fn add(tx: &Tx<'_>, workspace: i64, kind: &str, at: Time, title: &str, body: &str) -> Result<(), Error> {
    tx.execute(
        "insert into notice (workspace, id, kind, at, title, body) values (?1, ?2, ?3, ?4, ?5, ?6)",
        values![workspace, clock::fresh_id(), kind, at, title, body],
    )?;
    Ok(())
}

/// A number with a thousands separator.
pub fn thousands(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0 { format!("\u{2212}{text}") } else { text }
}

pub fn count(number: i64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(number), if number == 1 { one } else { many })
}

impl Store {
    /// The notices of a workspace, newest first; one that was told anew is as new as that. `before` is the number of one.
    pub async fn notices(
        &self,
        workspace: i64,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<(i64, Notice)>, Error> {
        self.read(move |tx| {
            tx.query(
                "select id, kind, at, title, body, read_at from notice where workspace = ?1 and (cast(?2 as bigint) = 0
                   or (at, id) < (select known.at, known.id from notice known where known.workspace = ?1 and known.id = ?2))
                 order by at desc, id desc limit ?3",
                values![workspace, before.unwrap_or(0), limit],
                |row| {
                    let number = row.int(0)?;
                    let notice = Notice {
                        id: id::inside("ntf", workspace, number),
                        kind: row.text(1)?,
                        at: row.time(2)?,
                        title: row.text(3)?,
                        body: row.text(4)?,
                        read: row.opt_int(5)?.is_some(),
                    };
                    Ok((number, notice))
                },
            )
        })
        .await
    }

    /// Marks a notice as read.
    pub async fn read_notice(&self, workspace: i64, notice: i64) -> Result<(), Error> {
        self.write(workspace, move |batch| {
            let changed = batch.tx.execute(
                "update notice set read_at = coalesce(read_at, ?3) where workspace = ?1 and id = ?2",
                values![workspace, notice, batch.now],
            )?;
            if changed == 0 { Err(Error::NotFound) } else { Ok(()) }
        })
        .await
    }

    /// Notices nobody has read.
    pub async fn unread_notices(&self, workspace: i64) -> Result<i64, Error> {
        self.read(move |tx| {
            tx.int("select count(*) from notice where workspace = ?1 and read_at is null", values![workspace])
        })
        .await
    }
}

/// The name of a level on the wire.
pub fn level_name(level: Level) -> &'static str {
    match level {
        Level::Healthy => "healthy",
        Level::Low => "low",
        Level::Critical => "critical",
        Level::Out => "out",
    }
}
