//! Whom a workspace sends from, and how much each may send: a number a day, hours of the day, and a pause between two.
//!
//! Owns the rows and the count of what was sent. It does *not* know what a mail server is: `access` is sealed bytes here.
//! `mailbox` has what comes back.
//!
//! Invariant: a place of a sender is taken before a send is begun, in the transaction of its claim, and given back only when the
//! send certainly did not happen. So a sender never sends more than its limit, whatever ends in between.

mod hours;
mod mailbox;

use billing::Time;
use billing::campaign::Channel;
use billing::units::SECOND;

use super::db::{Row, Tx};
use super::{Error, Store};
use crate::{calendar, clock, values};

pub use hours::Hours;
pub use mailbox::{Look, Mailbox};

/// How many senders a workspace has at most.
pub const MAX_SENDERS: i64 = 200;

/// What a sender sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum SenderKind {
    Email = 0,
    Linkedin = 1,
}

impl SenderKind {
    /// The kind that sends on a channel.
    pub fn of(channel: Channel) -> SenderKind {
        match channel {
            Channel::Email => SenderKind::Email,
            Channel::LinkedinInvite | Channel::LinkedinMessage => SenderKind::Linkedin,
        }
    }
}

/// A sender as it is stored.
#[derive(Clone, Debug)]
pub struct Sender {
    pub id: i64,
    pub kind: SenderKind,
    /// The address that mail comes from; for LinkedIn, a name for people.
    pub from: String,
    /// The account that the LinkedIn provider knows.
    pub account: Option<String>,
    /// Its own mail server, as it may be shown.
    pub server: Option<String>,
    /// How that server is reached, sealed.
    pub access: Option<Vec<u8>>,
    /// Where answers and bounces are looked for.
    pub mailbox: Option<Mailbox>,
    pub daily_limit: i64,
    pub hours: Option<Hours>,
    /// Seconds between two sends.
    pub spacing: i64,
    /// Whether it may send at all.
    pub active: bool,
    /// The local day that `taken` counts.
    pub day: i64,
    pub taken: i64,
    pub next_at: Time,
    pub created_at: Time,
}

/// What is changed of a sender; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct Change {
    pub from: Option<String>,
    pub account: Option<String>,
    /// Its own mail server as it may be shown, with how it is reached, sealed. `Some(None)`: none of its own.
    pub server: Option<Option<(String, Vec<u8>)>>,
    /// `Some(None)`: nothing is looked for.
    pub mailbox: Option<Option<Mailbox>>,
    pub daily_limit: Option<i64>,
    /// `Some(None)`: it sends at any hour.
    pub hours: Option<Option<Hours>>,
    pub spacing: Option<i64>,
    pub active: Option<bool>,
}

/// A place of a sender that a piece of work has taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    pub sender: i64,
    pub day: i64,
}

const SENDER: &str = "select s.id, s.kind, s.address, s.account, s.server, s.access, s.daily_limit, s.hours, s.spacing, s.active, s.day,
      s.taken, s.next_at, s.created_at, m.server, m.access, m.looked_at, m.detail
    from sender s left join mailbox m on m.workspace = s.workspace and m.sender = s.id where s.workspace = ?1";

fn read(row: &Row<'_>) -> Result<Sender, Error> {
    Ok(Sender {
        id: row.int(0)?,
        kind: if row.int(1)? == 1 { SenderKind::Linkedin } else { SenderKind::Email },
        from: row.text(2)?,
        account: row.opt_text(3)?,
        server: row.opt_text(4)?,
        access: row.opt_blob(5)?,
        daily_limit: row.int(6)?,
        hours: row.opt_text(7)?.and_then(|text| serde_json::from_str(&text).ok()),
        spacing: row.int(8)?,
        active: row.int(9)? != 0,
        day: row.int(10)?,
        taken: row.int(11)?,
        next_at: row.time(12)?,
        created_at: row.time(13)?,
        mailbox: mailbox::read(row, 14)?,
    })
}

impl Sender {
    /// How many went out on the local day of `now`.
    pub fn sent_today(&self, zone: &str, now: Time) -> i64 {
        if self.day == calendar::day_number(now, zone) { self.taken } else { 0 }
    }

    /// The first moment from `now` on at which it may send; `None`: not as it is.
    pub fn opens(&self, zone: &str, now: Time) -> Option<Time> {
        if !self.active || self.daily_limit <= 0 {
            return None;
        }
        let mut at = now.max(self.next_at);
        if self.sent_today(zone, now) >= self.daily_limit {
            at = at.max(calendar::at_minute(now, zone, 1, 0));
        }
        match &self.hours {
            Some(hours) => hours.opens(at, zone),
            None => Some(at),
        }
    }

    /// How many it may send on the local day of a moment, from that moment on.
    pub fn room(&self, zone: &str, at: Time) -> i64 {
        let day = |at| calendar::day_number(at, zone);
        let opens = self.opens(zone, at).is_some_and(|opens| day(opens) == day(at));
        if opens { self.daily_limit - self.sent_today(zone, at) } else { 0 }
    }

    /// The same with what is changed of it. Its kind and what it sent stay.
    pub fn with(self, change: Change) -> Sender {
        let Change { from, account, server, mailbox, daily_limit, hours, spacing, active } = change;
        let (server, access) = server.map_or((self.server, self.access), Option::unzip);
        Sender {
            from: from.unwrap_or(self.from),
            account: account.or(self.account),
            server,
            access,
            mailbox: mailbox.unwrap_or(self.mailbox),
            daily_limit: daily_limit.unwrap_or(self.daily_limit),
            hours: hours.unwrap_or(self.hours),
            spacing: spacing.unwrap_or(self.spacing),
            active: active.unwrap_or(self.active),
            ..self
        }
    }

    /// Takes a place for a send that begins now. Only while it is open.
    pub(super) fn take(&mut self, tx: &Tx<'_>, workspace: i64, zone: &str, now: Time) -> Result<Slot, Error> {
        let day = calendar::day_number(now, zone);
        self.taken = if self.day == day { self.taken + 1 } else { 1 };
        self.day = day;
        self.next_at = now.plus_seconds(self.spacing);
        tx.execute(
            "update sender set day = ?3, taken = ?4, next_at = ?5 where workspace = ?1 and id = ?2",
            values![workspace, self.id, self.day, self.taken, self.next_at],
        )?;
        Ok(Slot { sender: self.id, day })
    }
}

/// Gives a place back whose send certainly did not happen. The pause after it stays.
pub(super) fn give_back(tx: &Tx<'_>, workspace: i64, slot: Slot) -> Result<(), Error> {
    tx.execute(
        "update sender set taken = taken - 1 where workspace = ?1 and id = ?2 and day = ?3 and taken > 0",
        values![workspace, slot.sender, slot.day],
    )?;
    Ok(())
}

/// One sender.
pub(super) fn find(tx: &Tx<'_>, workspace: i64, id: i64) -> Result<Option<Sender>, Error> {
    tx.one(&format!("{SENDER} and s.id = ?2"), values![workspace, id], read)
}

/// Refuses a sender that the workspace does not have.
pub(super) fn check_all(tx: &Tx<'_>, workspace: i64, senders: &[i64]) -> Result<(), Error> {
    for sender in senders {
        if find(tx, workspace, *sender)?.is_none() {
            let name = crate::id::inside("sender", workspace, *sender);
            return Err(Error::Invalid("senders", format!("there is no sender {name} here")));
        }
    }
    Ok(())
}

impl Store {
    /// Adds a sender; its id was made before, because what is sealed is sealed for it.
    pub async fn create_sender(&self, workspace: i64, new: Sender) -> Result<Sender, Error> {
        self.write(workspace, move |batch| {
            batch.load(workspace)?;
            let tx = &batch.tx;
            if tx.int("select count(*) from sender where workspace = ?1", values![workspace])? >= MAX_SENDERS {
                return Err(Error::Conflict("too_many_senders", "the workspace has as many senders as it may have"));
            }
            tx.execute(
                "insert into sender (workspace, id, kind, address, account, server, access, daily_limit, hours, spacing, active,
                   day, taken, next_at, created_at) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 0, 0, 0, ?12)",
                values![
                    workspace,
                    new.id,
                    new.kind as i64,
                    &new.from,
                    new.account.as_ref(),
                    new.server.as_ref(),
                    new.access.as_ref(),
                    new.daily_limit,
                    hours_text(&new),
                    new.spacing,
                    new.active,
                    batch.now
                ],
            )?;
            mailbox::keep(tx, workspace, new.id, (None, new.mailbox.as_ref()), batch.now)?;
            find(tx, workspace, new.id)?.ok_or(Error::NotFound)
        })
        .await
    }

    /// Changes a sender.
    pub async fn update_sender(&self, workspace: i64, id: i64, change: Change) -> Result<Sender, Error> {
        self.write(workspace, move |batch| {
            let tx = &batch.tx;
            let old = find(tx, workspace, id)?.ok_or(Error::NotFound)?;
            let new = old.clone().with(change.clone());
            // A shorter pause counts from the last send, which was `spacing` before `next_at`.
            let next_at = Time((old.next_at.0 - (old.spacing - new.spacing).max(0) * SECOND).max(0));
            tx.execute(
                "update sender set address = ?3, account = ?4, server = ?5, access = ?6, daily_limit = ?7, hours = ?8,
                   spacing = ?9, active = ?10, next_at = ?11 where workspace = ?1 and id = ?2",
                values![
                    workspace,
                    id,
                    &new.from,
                    new.account.as_ref(),
                    new.server.as_ref(),
                    new.access.as_ref(),
                    new.daily_limit,
                    hours_text(&new),
                    new.spacing,
                    new.active,
                    next_at
                ],
            )?;
            mailbox::keep(tx, workspace, id, (old.mailbox.as_ref(), new.mailbox.as_ref()), batch.now)?;
            // What waited for this sender is looked at again.
            tx.execute(
                "update job set rests_until = 0 where workspace = ?1 and rests_until > 0",
                values![workspace],
            )?;
            find(tx, workspace, id)?.ok_or(Error::NotFound)
        })
        .await
    }

    /// One sender.
    pub async fn sender(&self, workspace: i64, id: i64) -> Result<Sender, Error> {
        self.read(move |tx| find(tx, workspace, id)?.ok_or(Error::NotFound)).await
    }

    /// Senders, newest first.
    pub async fn senders(
        &self,
        workspace: i64,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<Sender>, Error> {
        self.read(move |tx| {
            let page = format!("{SENDER} and s.id < ?2 order by s.id desc limit ?3");
            tx.query(&page, values![workspace, before.unwrap_or(i64::MAX), limit], read)
        })
        .await
    }
}

/// A number for a new sender.
pub fn fresh_sender() -> i64 {
    clock::fresh_id()
}

fn hours_text(sender: &Sender) -> Option<String> {
    sender.hours.as_ref().and_then(|hours| serde_json::to_string(hours).ok())
}
