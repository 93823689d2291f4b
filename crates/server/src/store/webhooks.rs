//! Outgoing webhooks: where a workspace's host product is told of what happens, and the log of what it was told.
//!
//! Owns the endpoints with their secrets. What is told is written by `tell`, in the transaction of its cause; how it is handed over is in
//! `deliver`. It does *not* send anything.

mod deliver;
mod tell;

use billing::Time;
use billing::units::DAY;

use super::batch::Batch;
use super::db::{Row, Tx};
use super::{Error, Store, logbook};
use crate::{clock, id, values};

pub use deliver::{Attempt, Delivery, DeliveryState, Logged, Verdict, event_id};
pub use tell::Kind;
pub(super) use tell::{campaign, credits, in_doubt, is_wanted, tell};

/// How many endpoints a workspace may have.
pub const MAX_ENDPOINTS: i64 = 20;
/// How long the secret before the newest one still signs, in microseconds.
const OVERLAP: i64 = DAY;

/// Whether an endpoint is told anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndpointState {
    /// It is told.
    Enabled = 0,
    /// Somebody turned it off.
    Disabled = 1,
    /// It was turned off because it did not take anything for days, or said that it is gone.
    GivenUp = 2,
}

/// Where events go.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub id: i64,
    pub url: String,
    pub description: String,
    /// The kinds it is told of; empty: all.
    pub kinds: Vec<Kind>,
    pub state: EndpointState,
    /// Since when nothing was taken.
    pub failing_since: Option<Time>,
    pub created_at: Time,
}

/// What an endpoint is made of.
#[derive(Clone, Debug)]
pub struct NewEndpoint {
    pub url: String,
    pub description: String,
    pub kinds: Vec<Kind>,
}

/// What is changed of an endpoint; `None` leaves alone.
#[derive(Clone, Debug, Default)]
pub struct EndpointChange {
    pub url: Option<String>,
    pub description: Option<String>,
    pub kinds: Option<Vec<Kind>>,
    pub state: Option<EndpointState>,
}

impl Endpoint {
    /// Where it is, for everybody but those who may change it: without what may be secret in the address.
    pub fn place(&self) -> String {
        place(&self.url)
    }
}

const ENDPOINT: &str =
    "select id, url, description, events, status, failing_since, created_at from webhook_endpoint";

fn read(row: &Row<'_>) -> Result<Endpoint, Error> {
    let states = [EndpointState::Enabled, EndpointState::Disabled, EndpointState::GivenUp];
    Ok(Endpoint {
        id: row.int(0)?,
        url: row.text(1)?,
        description: row.text(2)?,
        kinds: row.text(3)?.split(',').filter_map(Kind::parse).collect(),
        state: states[row.int(4)?.clamp(0, 2) as usize],
        failing_since: row.opt_time(5)?,
        created_at: row.time(6)?,
    })
}

fn find(tx: &Tx<'_>, workspace: i64, id: i64) -> Result<Endpoint, Error> {
    let one = format!("{ENDPOINT} where workspace = ?1 and id = ?2");
    tx.one(&one, values![workspace, id], read)?.ok_or(Error::NotFound)
}

/// What of an endpoint people change.
fn in_words(endpoint: &Endpoint) -> String {
    let state = if endpoint.state == EndpointState::Enabled { "on" } else { "off" };
    let events = if endpoint.kinds.is_empty() { "all events".to_owned() } else { stored(&endpoint.kinds) };
    format!("{}, {state}, {events}", endpoint.place())
}

/// An address without what may be secret in it: user and password, the query, and what follows a `#`.
fn place(url: &str) -> String {
    let bare = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = bare.split_once("://").unwrap_or(("", bare));
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}{path}{}", if bare.len() < url.len() { "?…" } else { "" })
}

fn told(
    batch: &Batch<'_>,
    workspace: i64,
    actor: &str,
    (what, endpoint): (&str, i64),
    change: (Option<&str>, Option<&str>),
) -> Result<(), Error> {
    logbook::note(batch, workspace, actor, (what, &id::inside("whe", workspace, endpoint)), change)
}

/// Kinds as they are stored.
fn stored(kinds: &[Kind]) -> String {
    kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(",")
}

impl Store {
    /// Makes an endpoint. The secret is kept, because it signs, and is never shown again.
    pub async fn create_endpoint(
        &self,
        workspace: i64,
        new: NewEndpoint,
        secret: [u8; 32],
        actor: String,
    ) -> Result<Endpoint, Error> {
        let id = clock::fresh_id();
        self.write(workspace, move |batch| {
            batch.load(workspace)?;
            let count = "select count(*) from webhook_endpoint where workspace = ?1";
            if batch.tx.int(count, values![workspace])? >= MAX_ENDPOINTS {
                let detail = "a workspace has at most 20 webhook endpoints: delete one first";
                return Err(Error::Conflict("too_many_webhook_endpoints", detail));
            }
            batch.tx.execute(
                "insert into webhook_endpoint (workspace, id, url, description, events, secret, status, created_at)
                 values (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7)",
                values![workspace, id, &new.url, &new.description, stored(&new.kinds), &secret, batch.now],
            )?;
            told(batch, workspace, &actor, ("webhook.created", id), (None, Some(&place(&new.url))))?;
            find(&batch.tx, workspace, id)
        })
        .await
    }

    /// The endpoints of a workspace, newest first.
    pub async fn endpoints(
        &self,
        workspace: i64,
        before: Option<i64>,
        limit: i64,
    ) -> Result<Vec<Endpoint>, Error> {
        let page = format!("{ENDPOINT} where workspace = ?1 and id < ?2 order by id desc limit ?3");
        let before = before.unwrap_or(i64::MAX);
        self.read(move |tx| tx.query(&page, values![workspace, before, limit], read)).await
    }

    /// One endpoint.
    pub async fn endpoint(&self, workspace: i64, id: i64) -> Result<Endpoint, Error> {
        self.read(move |tx| find(tx, workspace, id)).await
    }

    /// Changes an endpoint. One that is enabled again begins afresh; what it missed meanwhile was not kept for it.
    pub async fn update_endpoint(
        &self,
        workspace: i64,
        id: i64,
        change: EndpointChange,
        actor: String,
    ) -> Result<Endpoint, Error> {
        self.write(workspace, move |batch| {
            let tx = &batch.tx;
            let now = find(tx, workspace, id)?;
            let state = change.state.unwrap_or(now.state);
            let failing = now.failing_since.filter(|_| state == now.state && change.url.is_none());
            tx.execute(
                "update webhook_endpoint set url = ?3, description = ?4, events = ?5, status = ?6, failing_since = ?7
                 where workspace = ?1 and id = ?2",
                values![
                    workspace,
                    id,
                    change.url.as_ref().unwrap_or(&now.url),
                    change.description.as_ref().unwrap_or(&now.description),
                    stored(change.kinds.as_ref().unwrap_or(&now.kinds)),
                    state as i64,
                    failing
                ],
            )?;
            if state != EndpointState::Enabled {
                deliver::drop_waiting(tx, workspace, id, "the endpoint was turned off")?;
            }
            let changed = find(tx, workspace, id)?;
            let (before, after) = (in_words(&now), in_words(&changed));
            told(batch, workspace, &actor, ("webhook.changed", id), (Some(&before), Some(&after)))?;
            Ok(changed)
        })
        .await
    }

    /// Replaces an endpoint's secret. The one before signs beside it for another day, so that nothing is lost meanwhile.
    pub async fn rotate_endpoint(
        &self,
        workspace: i64,
        id: i64,
        secret: [u8; 32],
        actor: String,
    ) -> Result<Endpoint, Error> {
        self.write(workspace, move |batch| {
            find(&batch.tx, workspace, id)?;
            told(batch, workspace, &actor, ("webhook.secret", id), (None, None))?;
            batch.tx.execute(
                "update webhook_endpoint set old_secret = secret, old_until = ?4, secret = ?3 where workspace = ?1 and id = ?2",
                values![workspace, id, &secret, Time(batch.now.0.saturating_add(OVERLAP))],
            )?;
            find(&batch.tx, workspace, id)
        })
        .await
    }

    /// Endpoints of all workspaces that take nothing now, or were given up; each with what was given up for it.
    pub async fn troubled_endpoints(&self) -> Result<Vec<(i64, Endpoint, i64)>, Error> {
        let all = "select id, url, description, events, status, failing_since, created_at, workspace,
            (select count(*) from webhook_delivery d where d.workspace = e.workspace and d.endpoint = e.id and d.status = 2)
            from webhook_endpoint e where status = 2 or failing_since is not null order by id desc limit 200";
        self.read(move |tx| tx.query(all, &[], |row| Ok((row.int(7)?, read(row)?, row.int(8)?)))).await
    }

    /// Deletes an endpoint with its log.
    pub async fn delete_endpoint(&self, workspace: i64, id: i64, actor: String) -> Result<(), Error> {
        self.write(workspace, move |batch| {
            let gone = find(&batch.tx, workspace, id)?;
            told(batch, workspace, &actor, ("webhook.deleted", id), (Some(&gone.place()), None))?;
            for table in [
                "webhook_delivery where workspace = ?1 and endpoint = ?2",
                "webhook_endpoint where workspace = ?1 and id = ?2",
            ] {
                batch.tx.execute(&format!("delete from {table}"), values![workspace, id])?;
            }
            Ok(())
        })
        .await
    }
}
