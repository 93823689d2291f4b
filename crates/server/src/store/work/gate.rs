//! Which pieces of a job can be done now: what is due, under the limits of its senders, and without whoever is away.
//!
//! Owns the choice of pieces, and until when a job rests that has none. Each position of a plan is asked for by itself, so
//! that what cannot go does not stand in the way of what can, however much of it there is.
//!
//! Invariant: of one sender a job gets one place at a time, so jobs that share a sender get as many places as each other.

use std::collections::{HashMap, HashSet};

use billing::Time;
use billing::campaign::{self, Next, Position};

use super::hold::end_open;
use super::{Due, LEASE_SECONDS, facts, position_code};
use crate::store::batch::Batch;
use crate::store::db::Tx;
use crate::store::jobs::Job;
use crate::store::senders::{self, Sender, SenderKind, Slot};
use crate::store::{Error, leads};
use crate::values;

/// In `work.slot_day`: at work, without a place of a sender.
pub(super) const NO_PLACE: i64 = -1;
/// How long a job rests at most when nothing says when it may go on.
const REST_SECONDS: i64 = 86_400;

/// Whom a piece of work needs. Providers of fields are known by the number that is in their keys.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum Need {
    Discovery,
    Enrichment(usize),
    Messages,
    Email,
    Linkedin,
}

/// Who is away for one workspace, and until when.
#[derive(Clone, Debug, Default)]
pub struct Closed {
    /// By whom a piece needs.
    pub until: HashMap<Need, Time>,
    /// The fields that each of the enrichment providers looks up; `None`: all.
    pub fields: Vec<Option<Vec<String>>>,
}

impl Closed {
    /// Until when nobody looks a field up, although somebody else would.
    fn field(&self, field: &str) -> Option<Time> {
        let mut opens: Option<Time> = None;
        for (number, fields) in (1..).zip(&self.fields) {
            if fields.as_ref().is_none_or(|fields| fields.iter().any(|handled| handled == field)) {
                let until = *self.until.get(&Need::Enrichment(number))?;
                opens = opens.into_iter().chain([until]).min();
            }
        }
        opens
    }
}

/// Who is away, by workspace.
#[derive(Clone, Debug, Default)]
pub struct Away {
    /// Until when, by whom a piece needs.
    pub until: HashMap<i64, HashMap<Need, Time>>,
    /// The fields that each of the enrichment providers looks up; `None`: all.
    pub fields: Vec<Option<Vec<String>>>,
}

impl Away {
    /// Who is away for this workspace.
    pub fn of(&self, workspace: i64) -> Closed {
        match self.until.get(&workspace) {
            Some(until) => Closed { until: until.clone(), fields: self.fields.clone() },
            None => Closed::default(),
        }
    }
}

/// The senders of a job as this transaction sees them.
struct Senders {
    zone: String,
    all: Vec<Sender>,
    /// Those that gave a place in this round.
    used: HashSet<i64>,
}

impl Senders {
    fn load(tx: &Tx<'_>, workspace: i64, job: &Job) -> Result<Senders, Error> {
        if job.definition.senders.is_empty() {
            return Ok(Senders { zone: String::new(), all: Vec::new(), used: HashSet::new() });
        }
        let zone = "select time_zone from workspace where workspace = ?1";
        let zone = tx.one(zone, values![workspace], |row| row.text(0))?.unwrap_or_default();
        let mut all = Vec::with_capacity(job.definition.senders.len());
        for id in &job.definition.senders {
            all.extend(senders::find(tx, workspace, *id)?);
        }
        Ok(Senders { zone, all, used: HashSet::new() })
    }

    fn of(&self, kind: SenderKind) -> Vec<i64> {
        self.all.iter().filter(|sender| sender.kind == kind).map(|sender| sender.id).collect()
    }

    fn get(&self, id: i64) -> Option<&Sender> {
        self.all.iter().find(|sender| sender.id == id)
    }

    fn opens(&self, id: i64, now: Time) -> Option<Time> {
        self.get(id)?.opens(&self.zone, now)
    }

    fn is_open(&self, id: i64, now: Time) -> bool {
        !self.used.contains(&id) && self.opens(id, now).is_some_and(|at| at <= now)
    }

    /// The open one that has the most left today.
    fn roomiest(&self, ids: &[i64], now: Time) -> Option<i64> {
        let left = |id: &&i64| {
            self.get(**id).map_or(0, |sender| sender.daily_limit - sender.sent_today(&self.zone, now))
        };
        ids.iter().filter(|id| self.is_open(**id, now)).max_by_key(left).copied()
    }

    fn take(&mut self, tx: &Tx<'_>, workspace: i64, id: i64, now: Time) -> Result<Option<Slot>, Error> {
        let Some(sender) = self.all.iter_mut().find(|sender| sender.id == id) else { return Ok(None) };
        self.used.insert(id);
        sender.take(tx, workspace, &self.zone, now).map(Some)
    }
}

/// What is due of a job and can be done now, later steps first; and, when there is nothing, until when it rests.
pub(super) fn due(
    batch: &mut Batch<'_>,
    workspace: i64,
    job: &Job,
    limit: usize,
    closed: &Closed,
) -> Result<(Vec<Due>, Time), Error> {
    let now = batch.now;
    let mut senders = Senders::load(&batch.tx, workspace, job)?;
    let mut found = lapsed(batch, workspace, job, limit)?;
    let lapsed: HashSet<i64> = found.iter().map(|piece| piece.lead).collect();
    let mut opens: Option<Time> = None;
    let mut wait = |at: Option<Time>| opens = opens.into_iter().chain(at).min();
    let at = Place { workspace, job, now };
    for position in positions(job) {
        if found.len() >= limit {
            break;
        }
        if let Some(until) = away(job, position, closed) {
            if at.is_due(&batch.tx, position, None)? {
                wait(Some(until));
            }
            continue;
        }
        let kind = kind(job, position);
        let own = kind.map(|kind| senders.of(kind)).unwrap_or_default();
        if own.is_empty() {
            let pieces = at.oldest(&batch.tx, position, 0, limit - found.len())?;
            found.extend(fresh(pieces, &lapsed));
            continue;
        }
        // Leads that know their sender, then those that take whoever has room.
        for id in own.iter().copied().chain([0]) {
            let open = if id == 0 {
                senders.roomiest(&own, now)
            } else {
                Some(id).filter(|id| senders.is_open(*id, now))
            };
            let Some(open) = open else {
                if at.is_due(&batch.tx, position, Some(id))? {
                    let whose: &[i64] = if id == 0 { &own } else { &[id] };
                    whose
                        .iter()
                        .for_each(|id| wait(senders.opens(*id, now).map(|at| at.max(Time(now.0 + 1)))));
                }
                continue;
            };
            let pieces = at.oldest(&batch.tx, position, id, limit - found.len())?;
            for mut piece in fresh(pieces, &lapsed) {
                if sends(&batch.tx, workspace, job, &piece)? {
                    if !senders.is_open(open, now) {
                        continue;
                    }
                    piece.sender = senders.get(open).cloned();
                    piece.slot = senders.take(&batch.tx, workspace, open, now)?;
                }
                found.push(piece);
            }
        }
    }
    if !found.is_empty() {
        return Ok((found, now));
    }
    let rests = at.rests(&batch.tx, opens)?;
    Ok((found, rests))
}

/// Those that were not found as lapsed already.
fn fresh(pieces: Vec<Due>, lapsed: &HashSet<i64>) -> impl Iterator<Item = Due> {
    pieces.into_iter().filter(|piece| !lapsed.contains(&piece.lead))
}

/// The positions of a plan, the last step first: who was written to goes before who was not.
fn positions(job: &Job) -> impl Iterator<Item = Position> + use<> {
    let steps = (0..job.definition.steps.len()).rev().map(Position::Step);
    // One more, for a field that the plan no longer has; a search stands there too.
    steps.chain((0..=job.definition.enrich.len()).map(Position::Enrich))
}

/// The kind of sender that a position needs.
fn kind(job: &Job, position: Position) -> Option<SenderKind> {
    let Position::Step(index) = position else { return None };
    job.definition.steps.get(index).map(|step| SenderKind::of(step.channel()))
}

/// Until when a position cannot be worked on, because somebody whom it needs is away.
fn away(job: &Job, position: Position, closed: &Closed) -> Option<Time> {
    let until = |need| closed.until.get(&need).copied();
    match position {
        Position::Enrich(_) if job.definition.search.is_some() => until(Need::Discovery),
        Position::Enrich(index) => closed.field(job.definition.enrich.get(index)?),
        Position::Step(index) => {
            let step = job.definition.steps.get(index)?;
            let send = match SenderKind::of(step.channel()) {
                SenderKind::Email => Need::Email,
                SenderKind::Linkedin => Need::Linkedin,
            };
            until(send).or(if step.generate { until(Need::Messages) } else { None })
        }
    }
}

/// Whether the next thing to do for a lead is to send.
fn sends(tx: &Tx<'_>, workspace: i64, job: &Job, piece: &Due) -> Result<bool, Error> {
    let lead = leads::find(tx, workspace, piece.lead)?;
    let (facts, _) = facts(tx, workspace, job, lead.as_ref(), piece.position)?;
    Ok(matches!(campaign::next(&job.definition.plan(), piece.position, facts), Next::Send(_)))
}

/// Pieces of a job that may not go on whose claim ended without a word and left a hold: that has to end all the same.
pub(super) fn left(batch: &Batch<'_>, workspace: i64, job: &Job, limit: usize) -> Result<Vec<Due>, Error> {
    let left = broken_off(batch, workspace, job, limit)?;
    let held = left.into_iter().filter(|(piece, ..)| piece.hold.is_some());
    held.map(|(piece, sender, day)| with_place(batch, workspace, piece, sender, day)).collect()
}

/// A piece with the sender and the place that its claim had taken.
fn with_place(
    batch: &Batch<'_>,
    workspace: i64,
    mut piece: Due,
    sender: i64,
    day: i64,
) -> Result<Due, Error> {
    piece.sender = senders::find(&batch.tx, workspace, sender)?;
    piece.slot = Some(Slot { sender, day }).filter(|_| day != NO_PLACE);
    Ok(piece)
}

/// Pieces whose lease has lapsed, with the sender and the day of their place.
fn broken_off(
    batch: &Batch<'_>,
    workspace: i64,
    job: &Job,
    limit: usize,
) -> Result<Vec<(Due, i64, i64)>, Error> {
    batch.tx.query(
        "select lead, position, epoch, hold, attempts, sender, slot_day from work
         where workspace = ?1 and job = ?2 and slot_day is not null and lease_until <= ?3 order by lead limit ?4",
        values![workspace, job.id, batch.now, limit],
        |row| Ok((read(row)?, row.int(5)?, row.int(6)?)),
    )
}

/// Pieces whose claim ended without a word. What was certainly not sent gives its credits and its place back, for nobody knows when
/// it goes on; the rest is looked into at once.
fn lapsed(batch: &mut Batch<'_>, workspace: i64, job: &Job, limit: usize) -> Result<Vec<Due>, Error> {
    use billing::account::HoldStatus;
    let mut found = Vec::new();
    for (piece, sender, day) in broken_off(batch, workspace, job, limit)? {
        let hold = piece.hold.map(|hold| batch.hold(workspace, billing::Seq(hold))).transpose()?.flatten();
        match hold.map(|hold| (hold.id, hold.status)) {
            Some((_, HoldStatus::Dispatched)) => {
                found.push(with_place(batch, workspace, piece, sender, day)?);
                continue;
            }
            Some((hold, HoldStatus::Open)) => end_open(batch, workspace, hold)?,
            _ => {}
        }
        if day != NO_PLACE {
            senders::give_back(&batch.tx, workspace, Slot { sender, day })?;
        }
        batch.tx.execute(
            "update work set slot_day = null where workspace = ?1 and job = ?2 and lead = ?3",
            values![workspace, job.id, piece.lead],
        )?;
    }
    Ok(found)
}

fn read(row: &crate::store::db::Row<'_>) -> Result<Due, Error> {
    Ok(Due {
        lead: row.int(0)?,
        position: super::position(row.int(1)?),
        epoch: row.int(2)? + 1,
        hold: row.opt_int(3)?,
        attempts: row.int(4)?,
        sender: None,
        slot: None,
    })
}

/// A job at a moment.
#[derive(Clone, Copy)]
struct Place<'a> {
    workspace: i64,
    job: &'a Job,
    now: Time,
}

impl Place<'_> {
    /// The oldest pieces at a position that belong to a sender (0: to none yet).
    fn oldest(&self, tx: &Tx<'_>, position: Position, sender: i64, limit: usize) -> Result<Vec<Due>, Error> {
        tx.query(
            "select lead, position, epoch, hold, attempts from work
             where workspace = ?1 and job = ?2 and position = ?3 and sender = ?4 and due <= ?5 and lease_until <= ?6
             order by due limit ?7",
            values![
                self.workspace,
                self.job.id,
                position_code(position),
                sender,
                self.job.run.running_time(self.now),
                self.now,
                limit
            ],
            read,
        )
    }

    /// Whether anything is due at a position, of this sender or of any.
    fn is_due(&self, tx: &Tx<'_>, position: Position, sender: Option<i64>) -> Result<bool, Error> {
        let due = tx.one(
            "select 1 from work where workspace = ?1 and job = ?2 and position = ?3 and (sender = ?4 or ?4 is null) and due <= ?5 limit 1",
            values![
                self.workspace,
                self.job.id,
                position_code(position),
                sender,
                self.job.run.running_time(self.now)
            ],
            |row| row.int(0),
        )?;
        Ok(due.is_some())
    }

    /// Until when there is nothing to do: somebody opens, a lead becomes due, or a claim that is out lapses.
    fn rests(&self, tx: &Tx<'_>, opens: Option<Time>) -> Result<Time, Error> {
        let (workspace, job, now) = (self.workspace, self.job.id, self.now);
        let running = self.job.run.running_time(now);
        let next = "select min(due) from work where workspace = ?1 and job = ?2 and due > ?3";
        let next = tx.one(next, values![workspace, job, running], |row| row.opt_int(0))?.flatten();
        let next = next.filter(|due| *due < super::ON_APPROVAL).map(|due| Time(now.0 + due - running));
        let out =
            "select min(lease_until) from work where workspace = ?1 and job = ?2 and slot_day is not null";
        let out = tx.one(out, values![workspace, job], |row| row.opt_time(0))?.flatten();
        let out = out.map(|lapses| lapses.min(now.plus_seconds(LEASE_SECONDS)));
        let until = opens.into_iter().chain(next).chain(out).min();
        Ok(until.unwrap_or(now.plus_seconds(REST_SECONDS)).max(Time(now.0 + 1)))
    }
}

/// The sender that a lead's next step goes on with: whoever sent to it last on this channel. 0: whoever has room.
pub(super) fn sticky(tx: &Tx<'_>, workspace: i64, job: &Job, lead: i64, to: Position) -> Result<i64, Error> {
    let Position::Step(next) = to else { return Ok(0) };
    let Some(kind) = kind(job, to).filter(|_| !job.definition.senders.is_empty()) else { return Ok(0) };
    for step in (0..next).rev().filter(|step| self::kind(job, Position::Step(*step)) == Some(kind)) {
        let sender = tx.one(
            "select sender from step_result where workspace = ?1 and job = ?2 and step = ?3 and lead = ?4",
            values![workspace, job.id, step, lead],
            |row| row.opt_int(0),
        )?;
        if let Some(sender) = sender.flatten() {
            return Ok(sender);
        }
    }
    Ok(0)
}
