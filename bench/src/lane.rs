//! One connection's requests across many deaths of the server, and its own memory of what was acknowledged.
//!
//! A lane charges, holds and settles at random until its connection breaks. After the restart it repeats everything it
//! sent: what was acknowledged must answer the same again, what was not must end up done once.

use crate::http::{Answer, Connection};
use crate::rng::Rng;
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::rc::Rc;

/// How many verified requests a lane keeps to repeat once more at the very end, after many restarts.
const KEPT: usize = 2_000;
/// Holds outlive the run: none may be released by time.
const HOLD_SECONDS: u64 = 604_800;

/// What all lanes know.
pub(crate) struct World {
    pub(crate) workspaces: Vec<String>,
    pub(crate) prices: Vec<(String, i64)>,
}

#[derive(Clone)]
enum Kind {
    Hold,
    Charge,
    Settle { hold: OpenHold },
}

#[derive(Clone)]
struct OpenHold {
    id: String,
    quantity: i64,
}

/// One request as it was first sent, and its answer if one arrived.
#[derive(Clone)]
struct Attempt {
    kind: Kind,
    workspace: usize,
    operation: usize,
    quantity: i64,
    key: String,
    answer: Option<Answer>,
}

pub(crate) struct Lane {
    world: Rc<World>,
    rng: Rng,
    attempts: Vec<Attempt>,
    open: Vec<(usize, usize, OpenHold)>,
    kept: Vec<Attempt>,
    verified: u64,
    pub(crate) tally: Tally,
}

/// What happened so far, and what every workspace must show.
#[derive(Clone, Default)]
pub(crate) struct Tally {
    pub(crate) acknowledged: u64,
    pub(crate) unacknowledged: u64,
    /// Of the unacknowledged, those the server had done all the same.
    pub(crate) found: u64,
    pub(crate) lost: u64,
    /// The first few losses in words.
    pub(crate) complaints: Vec<String>,
    pub(crate) charged: Vec<i64>,
    pub(crate) held: Vec<i64>,
}

impl Attempt {
    /// Sends it, the first time or again: always the same command under the same key.
    async fn send(&self, world: &World, connection: &mut Connection) -> std::io::Result<Answer> {
        let workspace = &world.workspaces[self.workspace];
        let operation = &world.prices[self.operation].0;
        let quantity = self.quantity;
        let (path, key, body) = match &self.kind {
            Kind::Hold => (
                format!("/v1/workspaces/{workspace}/holds"),
                Some(self.key.as_str()),
                json!({"operation": operation, "quantity": quantity, "expires_in_seconds": HOLD_SECONDS}),
            ),
            Kind::Charge => (
                format!("/v1/workspaces/{workspace}/charges"),
                Some(self.key.as_str()),
                json!({"operation": operation, "quantity": quantity}),
            ),
            Kind::Settle { hold } => {
                (format!("/v1/holds/{}/settle", hold.id), None, json!({"quantity": quantity}))
            }
        };
        connection.call("POST", &path, key, &body).await
    }

    fn status(&self) -> u16 {
        if matches!(self.kind, Kind::Settle { .. }) { 200 } else { 201 }
    }

    /// What the answer must say, computed here from the catalog's price and nothing the server said later.
    fn check_facts(&self, world: &World, answer: &Answer) -> Result<()> {
        let price = world.prices[self.operation].1;
        let facts = match &self.kind {
            Kind::Hold | Kind::Charge => vec![("amount", json!(self.quantity * price))],
            Kind::Settle { hold } if self.quantity == 0 => {
                vec![("status", json!("released")), ("released_amount", json!(hold.quantity * price))]
            }
            Kind::Settle { hold } => vec![
                ("settled_quantity", json!(self.quantity)),
                ("settled_amount", json!(self.quantity * price)),
                ("released_amount", json!((hold.quantity - self.quantity) * price)),
                ("status", json!("settled")),
            ],
        };
        let wrong = facts.iter().find(|(name, value)| answer.body[*name] != *value);
        match wrong {
            _ if answer.status != self.status() => bail!("{} {}", answer.status, answer.body),
            Some((name, value)) => bail!("{name} should be {value}: {}", answer.body),
            None => Ok(()),
        }
    }

    /// Whether a repeated answer is the acknowledged one again.
    fn is_same(&self, first: &Answer, again: &Answer) -> bool {
        match self.kind {
            Kind::Hold | Kind::Charge => {
                again.replayed && again.status == first.status && again.body == first.body
            }
            // A settle answers with the hold as it is; `available` may have moved on.
            Kind::Settle { .. } => {
                again.status == first.status && without_available(again) == without_available(first)
            }
        }
    }
}

impl Lane {
    pub(crate) fn new(world: Rc<World>, seed: u64) -> Self {
        let count = world.workspaces.len();
        let tally = Tally { charged: vec![0; count], held: vec![0; count], ..Tally::default() };
        Self { world, rng: Rng::new(seed), attempts: vec![], open: vec![], kept: vec![], verified: 0, tally }
    }

    /// Works until the connection breaks. An error is an answer nobody should get.
    pub(crate) async fn work(mut self, port: u16) -> Result<Self> {
        let Ok(mut connection) = Connection::open(port).await else { return Ok(self) };
        loop {
            let mut attempt = self.draw();
            let sent = attempt.send(&self.world, &mut connection).await;
            let broken = sent.is_err();
            if let Ok(answer) = sent {
                attempt.check_facts(&self.world, &answer).context("under load")?;
                self.remember_open(&attempt, &answer)?;
                attempt.answer = Some(answer);
            }
            self.attempts.push(attempt);
            if broken {
                return Ok(self);
            }
        }
    }

    /// After a restart: repeats everything since the last one and books it as done, once.
    pub(crate) async fn verify(mut self, port: u16) -> Result<Self> {
        let mut connection = Connection::open(port).await?;
        for attempt in std::mem::take(&mut self.attempts) {
            let again = attempt.send(&self.world, &mut connection).await?;
            match &attempt.answer {
                Some(first) => {
                    self.tally.acknowledged += 1;
                    self.compare(&attempt, first, &again);
                    self.book(&attempt);
                    self.keep(attempt);
                }
                None => {
                    self.tally.unacknowledged += 1;
                    self.tally.found += u64::from(again.replayed);
                    attempt.check_facts(&self.world, &again).context("an unacknowledged request repeated")?;
                    self.remember_open(&attempt, &again)?;
                    self.book(&attempt);
                    self.keep(Attempt { answer: Some(again), ..attempt });
                }
            }
        }
        Ok(self)
    }

    /// At the very end: a sample of all that was ever verified, still the same.
    pub(crate) async fn verify_kept(mut self, port: u16) -> Result<Self> {
        let mut connection = Connection::open(port).await?;
        for attempt in std::mem::take(&mut self.kept) {
            let again = attempt.send(&self.world, &mut connection).await?;
            let first = attempt.answer.as_ref().context("kept without an answer")?;
            self.compare(&attempt, first, &again);
        }
        Ok(self)
    }

    fn draw(&mut self) -> Attempt {
        let key = self.rng.key();
        if !self.open.is_empty() && self.rng.below(2) == 0 {
            let (workspace, operation, hold) = self.open.swap_remove(self.rng.index(self.open.len()));
            let quantity = i64::try_from(self.rng.index(hold.quantity as usize + 1)).unwrap_or(0);
            return Attempt {
                kind: Kind::Settle { hold },
                workspace,
                operation,
                quantity,
                key,
                answer: None,
            };
        }
        let kind = if self.rng.below(5) < 2 { Kind::Charge } else { Kind::Hold };
        let workspace = self.rng.index(self.world.workspaces.len());
        let operation = self.rng.index(self.world.prices.len());
        let quantity = 1 + i64::try_from(self.rng.index(5)).unwrap_or(0);
        Attempt { kind, workspace, operation, quantity, key, answer: None }
    }

    fn remember_open(&mut self, attempt: &Attempt, answer: &Answer) -> Result<()> {
        if let Kind::Hold = attempt.kind {
            let id = answer.body["id"].as_str().context("a hold without an id")?.to_owned();
            self.open.push((
                attempt.workspace,
                attempt.operation,
                OpenHold { id, quantity: attempt.quantity },
            ));
        }
        Ok(())
    }

    fn compare(&mut self, attempt: &Attempt, first: &Answer, again: &Answer) {
        if !attempt.is_same(first, again) {
            self.tally.lost += 1;
            if self.tally.complaints.len() < 5 {
                self.tally.complaints.push(format!("acknowledged {first:?}, then {again:?}"));
            }
        }
    }

    fn book(&mut self, attempt: &Attempt) {
        let price = self.world.prices[attempt.operation].1;
        let (charged, held) = match &attempt.kind {
            Kind::Hold => (0, attempt.quantity * price),
            Kind::Charge => (attempt.quantity * price, 0),
            Kind::Settle { hold } => (attempt.quantity * price, -hold.quantity * price),
        };
        self.tally.charged[attempt.workspace] += charged;
        self.tally.held[attempt.workspace] += held;
    }

    /// A fair sample of everything so far (reservoir sampling).
    fn keep(&mut self, attempt: Attempt) {
        self.verified += 1;
        if self.kept.len() < KEPT {
            self.kept.push(attempt);
        } else if let Some(place) = self.kept.get_mut(self.rng.below(self.verified) as usize) {
            *place = attempt;
        }
    }
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.unacknowledged += other.unacknowledged;
        self.found += other.found;
        self.lost += other.lost;
        self.complaints.extend(other.complaints.iter().cloned());
        let pairs = [(&mut self.charged, &other.charged), (&mut self.held, &other.held)];
        for (mine, theirs) in pairs {
            mine.resize(theirs.len(), 0);
            mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine += theirs);
        }
    }
}

fn without_available(answer: &Answer) -> Value {
    let mut body = answer.body.clone();
    if let Some(fields) = body.as_object_mut() {
        fields.remove("available");
    }
    body
}
