//! The list of leads, and the upload of more.

use axum::body::Bytes;
use axum::extract::multipart::MultipartError;
use axum::extract::{Multipart, Query, State};
use axum::http::StatusCode;

use super::campaigns::{Cursor, ROWS, cut};
use super::frame::{Page, Trouble, html, page as draw};
use super::scene::Scene;
use super::searches;
use super::session::Visitor;
use super::view::{Flash, Import, LeadRow, Leads, Rejected, Tab};
use crate::app::App;
use crate::store::jobs::JobKind;
use crate::store::leads::{EmailState, Lead};
use crate::{id, outreach};

/// The newest enrichments are listed.
const ENRICHMENTS: i64 = 10;
/// As many rejected rows as the page lists.
const MOST_REJECTED: usize = 1_000;

/// All leads, newest first.
pub async fn list(State(app): State<App>, visitor: Visitor, Query(cursor): Query<Cursor>) -> Page {
    draw(&leads(&app, &visitor, cursor.number()).await?)
}

/// Adds the leads of a CSV file: free. The page tells what became of each row.
pub async fn import(State(app): State<App>, visitor: Visitor, mut form: Multipart) -> Page {
    let read = outreach::from_csv(&file(&mut form).await?);
    let done = match read {
        Ok(import) => {
            let done = app.store.import_leads(visitor.workspace, import.leads).await?;
            Ok((done, import.rejected, import.fields))
        }
        Err(fault) => Err(fault),
    };
    let mut page = leads(&app, &visitor, None).await?;
    match done {
        Ok((imported, rejected, fields)) => {
            let (created, merged) = (imported.created, imported.merged);
            let refused = i64::try_from(rejected.len()).unwrap_or(i64::MAX);
            let rejected = rejected.into_iter().take(MOST_REJECTED).map(reject).collect();
            page.import = Some(Import { created, merged, refused, rejected, fields: fields.join(", ") });
            draw(&page)
        }
        Err(fault) => {
            let text = format!("Nothing was added. {}: {}.", fault.field, fault.reason);
            page.shell.flash = Some(Flash::Failed(text));
            html(StatusCode::UNPROCESSABLE_ENTITY, &page)
        }
    }
}

async fn file(form: &mut Multipart) -> Result<Bytes, Trouble> {
    let unread = |error: MultipartError| match error.status() {
        status @ StatusCode::PAYLOAD_TOO_LARGE => Trouble::Failed {
            status,
            title: "This file is too large",
            detail: "Nothing was added. A file has at most 4 MiB: add it in several parts.".to_owned(),
        },
        status => Trouble::of(status),
    };
    while let Some(field) = form.next_field().await.map_err(unread)? {
        if field.name() == Some("file") {
            return field.bytes().await.map_err(unread);
        }
    }
    Err(Trouble::unprocessable("Choose a CSV file."))
}

fn reject(row: outreach::Rejected) -> Rejected {
    let field = row.field.unwrap_or_else(|| "row".to_owned());
    Rejected { row: i64::try_from(row.row).unwrap_or(i64::MAX), field, reason: row.reason }
}

async fn leads(app: &App, visitor: &Visitor, before: Option<i64>) -> Result<Leads, Trouble> {
    let scene = Scene::load(app, visitor).await?;
    let mut leads = app.store.leads(visitor.workspace, before, ROWS + 1).await?;
    let next = cut(&mut leads, |lead| lead.id);
    let ids = leads.iter().map(|lead| lead.id).collect();
    let in_campaigns = app.store.in_campaigns(visitor.workspace, ids).await?;
    let row = |lead: Lead| {
        let stage = stage(&lead, in_campaigns.contains(&lead.id));
        LeadRow {
            id: id::inside("lead", visitor.workspace, lead.id),
            stage: stage.to_owned(),
            email_verified: lead.email_state == EmailState::Verified,
            name: lead.name,
            title: lead.title,
            company: lead.company,
            email: lead.email,
        }
    };
    let enrichments = app.store.jobs(visitor.workspace, JobKind::Enrichment, None, ENRICHMENTS).await?;
    Ok(Leads {
        enrichments: enrichments.iter().map(|job| searches::row(&scene, job)).collect(),
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
        () if lead.email_state == EmailState::Bounced => "Address bounced",
        () if in_campaign => "In a campaign",
        () if lead.usable_email().is_some() => "E-mail found",
        () => "Discovered",
    }
}
