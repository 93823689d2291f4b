//! The list of leads.

use axum::extract::{Query, State};

use super::campaigns::{Cursor, ROWS, cut};
use super::frame::{Page, page as draw};
use super::scene::Scene;
use super::session::Visitor;
use super::view::{LeadRow, Leads, Tab};
use crate::app::App;
use crate::store::leads::{EmailState, Lead};

/// All leads, newest first.
pub async fn list(State(app): State<App>, visitor: Visitor, Query(cursor): Query<Cursor>) -> Page {
    let scene = Scene::load(&app, &visitor).await?;
    let mut leads = app.store.leads(visitor.workspace, cursor.number(), ROWS + 1).await?;
    let next = cut(&mut leads, |lead| lead.id);
    let ids = leads.iter().map(|lead| lead.id).collect();
    let in_campaigns = app.store.in_campaigns(visitor.workspace, ids).await?;
    let row = |lead: Lead| {
        let stage = stage(&lead, in_campaigns.contains(&lead.id));
        LeadRow {
            stage: stage.to_owned(),
            email_verified: lead.email_state == EmailState::Verified,
            name: lead.name,
            title: lead.title,
            company: lead.company,
            email: lead.email,
        }
    };
    draw(&Leads {
        total: app.store.lead_count(visitor.workspace).await?,
        shell: scene.shell(Some(Tab::Leads)),
        rows: leads.into_iter().map(row).collect(),
        next,
        import: None,
    })
}

fn stage(lead: &Lead, in_campaign: bool) -> &'static str {
    match () {
        () if lead.replied_at.is_some() => "Replied",
        () if in_campaign => "In a campaign",
        () if lead.usable_email().is_some() => "E-mail found",
        () => "Discovered",
    }
}
