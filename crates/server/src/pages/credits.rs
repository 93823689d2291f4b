//! Where a workspace's credits are: available and reserved by grant, and what they are reserved for.

use axum::extract::{Query, State};
use billing::{Hold, HoldStatus};
use serde::Deserialize;

use super::campaigns::{Cursor, ROWS, cut};
use super::entry::{grant_words, line};
use super::frame::{Page, page as draw};
use super::history::Lines;
use super::scene::Scene;
use super::session::Visitor;
use super::view::format::QueryValue;
use super::view::{Credits, GrantRow, ReservedRow, Tab};
use super::{limits, usage};
use crate::app::App;
use crate::store::entry::Recorded;

/// Whose reserved credits are asked for: of a campaign, a person, or, when both are empty, of all.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Whose {
    pub campaign: String,
    pub member: String,
}

impl Whose {
    /// Where they are listed.
    pub fn link(&self, cursor: Option<&str>) -> String {
        let fields =
            [("campaign", &*self.campaign), ("member", &self.member), ("cursor", cursor.unwrap_or(""))];
        let asked = fields.into_iter().filter(|(_, value)| !value.is_empty());
        let query: Vec<String> =
            asked.map(|(name, value)| format!("{name}={}", value.query_value())).collect();
        format!("/billing/credits?{}#reserved", query.join("&"))
    }
}

/// Both tables.
pub async fn page(
    State(app): State<App>,
    visitor: Visitor,
    Query(whose): Query<Whose>,
    Query(cursor): Query<Cursor>,
) -> Page {
    let scene = Scene::load(&app, &visitor).await?;
    let workspace = scene.workspace.id;
    let asked = (whose.campaign.clone(), whose.member.clone());
    let (mut holds, reserved_so) = app.store.open_holds(workspace, asked, cursor.number(), ROWS + 1).await?;
    let next = cut(&mut holds, |hold| hold.id.0).map(|next| whose.link(Some(&next)));
    let mut entries: Vec<Recorded> = Vec::with_capacity(holds.len());
    for hold in &holds {
        entries.push(app.store.entry(workspace, hold.id).await?);
    }
    let lines = Lines::of(&app, workspace, entries).await?;
    let reserved = |(hold, recorded): (&Hold, &Recorded)| ReservedRow {
        link: line(hold.id),
        what: usage::operation(&app, &hold.price.operation),
        detail: lines.detail(recorded),
        since: scene.moment(hold.opened_at),
        state: match hold.status {
            HoldStatus::Open => "reserved",
            HoldStatus::Dispatched => "under way",
            _ => "unconfirmed: may have been sent",
        },
        until: scene.moment(hold.ends_at),
        credits: hold.price.amount(),
    };
    let grants = scene
        .balance
        .grants
        .iter()
        .filter(|grant| grant.available > 0 || grant.held > 0 || grant.scheduled > 0);
    draw(&Credits {
        shell: scene.shell(Some(Tab::Billing)),
        grants: grants
            .map(|grant| GrantRow {
                link: line(grant.id),
                what: grant_words(&scene, grant),
                usable: (grant.terms.effective_at > scene.now)
                    .then(|| scene.moment(grant.terms.effective_at)),
                expires: grant.terms.expires_at.map(|at| scene.moment(at)),
                granted: grant.terms.credits.get(),
                available: grant.available,
                reserved: grant.held,
            })
            .collect(),
        available: scene.balance.available,
        reserved: scene.balance.held,
        of: match limits::campaign(&app, &scene, &whose.campaign).await? {
            name if name.is_empty() => whose.member,
            name => name,
        },
        reserved_so,
        holds: holds.iter().zip(&lines.entries).map(reserved).collect(),
        next,
    })
}
