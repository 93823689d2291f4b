//! Leads and the blocklist. Importing is free.

use std::collections::{BTreeMap, HashSet};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::caller::{Caller, In};
use super::error::Error;
use super::extract::{self, Items, Json, Nothing, Page, Path, Query};
use super::{Answer, about};
use crate::app::App;
use crate::clock::rfc3339;
use crate::store::leads::{EmailState, Lead};
use crate::{id, outreach};

/// How many entries of the blocklist one request changes.
const MAX_ENTRIES: usize = 1_000;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = LeadImport)]
pub struct Import {
    /// At most 10,000. Read one by one, so that a bad one is reported and the others are imported.
    #[schema(value_type = Vec<NewLead>, max_items = 10_000)]
    leads: Vec<Value>,
}

/// A lead as it is imported: with a name, an address or an external id. The same names head the columns of a CSV file, in
/// which every other column is one of the `fields`.
#[derive(utoipa::ToSchema)]
#[allow(dead_code, reason = "it describes what is read value by value")]
pub struct NewLead {
    #[schema(max_length = 200)]
    external_id: Option<String>,
    #[schema(max_length = 200)]
    name: Option<String>,
    #[schema(max_length = 200)]
    title: Option<String>,
    #[schema(max_length = 200)]
    company: Option<String>,
    #[schema(max_length = 500)]
    linkedin_url: Option<String>,
    #[schema(max_length = 254)]
    email: Option<String>,
    email_verified: Option<bool>,
    fields: Option<BTreeMap<String, Value>>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = LeadsImported)]
pub struct Imported {
    created: i64,
    merged: i64,
    rejected: Vec<Rejected>,
    /// CSV: what was taken otherwise than its name may suggest, such as a column that no lead has.
    warnings: Vec<Warning>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = LeadImportWarning)]
pub struct Warning {
    /// The column as it is named.
    field: String,
    reason: String,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = RejectedLead)]
pub struct Rejected {
    /// JSON: the row, from 1. CSV: the line of the file; the header is line 1.
    row: u64,
    /// Null when it is about the whole row.
    field: Option<String>,
    reason: String,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Lead)]
pub struct View {
    id: String,
    external_id: Option<String>,
    name: String,
    title: String,
    company: String,
    linkedin_url: Option<String>,
    email: Option<String>,
    email_verified: bool,
    /// Mail to this address came back for good: it gets none any more.
    email_bounced: bool,
    fields: BTreeMap<String, Value>,
    /// `new`, `enriched`, `contacted` or `replied`.
    stage: &'static str,
    created_at: String,
}

fn view(workspace: i64, lead: Lead, contacted: &HashSet<i64>) -> View {
    let email_verified = lead.email_state == EmailState::Verified;
    View {
        id: id::inside("lead", workspace, lead.id),
        stage: if lead.replied_at.is_some() {
            "replied"
        } else if contacted.contains(&lead.id) {
            "contacted"
        } else if email_verified || !lead.fields.is_empty() {
            "enriched"
        } else {
            "new"
        },
        external_id: lead.external_id,
        name: lead.name,
        title: lead.title,
        company: lead.company,
        linkedin_url: lead.linkedin_url,
        email: lead.email,
        email_verified,
        email_bounced: lead.email_state == EmailState::Bounced,
        fields: lead.fields,
        created_at: rfc3339(lead.created_at),
    }
}

/// Import leads from JSON, or from CSV with a header line. Each is new, merged into the one with its e-mail, LinkedIn URL or
/// external id, or rejected.
#[utoipa::path(post, path = "/v1/workspaces/{ws}/leads", params(("ws" = String, Path)), request_body(content((Import = "application/json"), (String = "text/csv"))), responses((status = 200, body = Imported)))]
pub async fn create(State(app): State<App>, here: In, request: Request) -> Answer {
    let csv = extract::is_csv(request.headers());
    let bytes = extract::bytes(request.into_body()).await?;
    let import = if csv {
        outreach::from_csv(&bytes)?
    } else {
        outreach::from_json(&extract::parse::<Import>(&bytes)?.leads)?
    };
    let done = app.store.import_leads(here.workspace, import.leads).await?;
    let rejected = |bad: outreach::Rejected| Rejected { row: bad.row, field: bad.field, reason: bad.reason };
    let rejected = import.rejected.into_iter().map(rejected).collect();
    let kept = |field| Warning { field, reason: outreach::KEPT_AS_FIELD.to_owned() };
    let warnings = import.fields.into_iter().map(kept).collect();
    let answer = Imported { created: done.created, merged: done.merged, rejected, warnings };
    about(&app, here.workspace, StatusCode::OK, &answer).await
}

/// Leads, newest first.
#[utoipa::path(get, path = "/v1/workspaces/{ws}/leads", params(("ws" = String, Path), Page), responses((status = 200, body = Items<View>)))]
pub async fn list(State(app): State<App>, here: In, Query(page): Query<Page>) -> Answer {
    let (limit, cursor) = (page.limit()?, page.cursor()?);
    let rows = app.store.leads(here.workspace, cursor, limit + 1).await?;
    let contacted = app.store.contacted(here.workspace, rows.iter().map(|lead| lead.id).collect()).await?;
    let show = |lead| view(here.workspace, lead, &contacted);
    let items = Items::new(rows, limit, |lead| lead.id.to_string(), show);
    about(&app, here.workspace, StatusCode::OK, &items).await
}

/// One lead.
#[utoipa::path(get, path = "/v1/leads/{id}", params(("id" = String, Path)), responses((status = 200, body = View)))]
pub async fn get(State(app): State<App>, caller: Caller, Path(lead): Path<String>) -> Answer {
    let (workspace, number) = caller.inside("lead", &lead)?;
    let lead = app.store.lead(workspace, number).await?;
    show(&app, workspace, lead).await
}

/// The lead answered: none of its remaining steps is sent. Repeating it changes nothing.
#[utoipa::path(post, path = "/v1/leads/{id}/replied", params(("id" = String, Path)), responses((status = 200, body = View)))]
pub async fn replied(State(app): State<App>, caller: Caller, Path(lead): Path<String>, _: Nothing) -> Answer {
    let (workspace, number) = caller.inside("lead", &lead)?;
    let lead = app.store.lead_replied(workspace, number).await?;
    app.nudge();
    show(&app, workspace, lead).await
}

async fn show(app: &App, workspace: i64, lead: Lead) -> Answer {
    let contacted = app.store.contacted(workspace, vec![lead.id]).await?;
    about(app, workspace, StatusCode::OK, &view(workspace, lead, &contacted)).await
}

/// The numbers of leads that a body names, each once. A foreign one and a missing one are the same.
pub async fn known(app: &App, workspace: i64, ids: &[String]) -> Result<Vec<i64>, Error> {
    if !(1..=outreach::MAX_LEADS).contains(&ids.len()) {
        return Err(Error::field("leads", format!("names 1 to {} leads", outreach::MAX_LEADS)));
    }
    let unknown = |index: usize| Error::field(format!("leads[{index}]"), "there is no such lead here");
    let mut numbers = Vec::with_capacity(ids.len());
    let mut seen = HashSet::with_capacity(ids.len());
    for (index, text) in ids.iter().enumerate() {
        let parsed = id::parse_inside("lead", text).filter(|(owner, _)| *owner == workspace);
        let (_, number) = parsed.ok_or_else(|| unknown(index))?;
        if seen.insert(number) {
            numbers.push(number);
        }
    }
    if let Some(missing) = app.store.missing_lead(workspace, numbers.clone()).await? {
        let missing = id::inside("lead", workspace, missing);
        return Err(unknown(ids.iter().position(|text| *text == missing).unwrap_or_default()));
    }
    Ok(numbers)
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Listing {
    #[param(minimum = 1, maximum = 500)]
    limit: Option<i64>,
    /// Where the page before ended.
    cursor: Option<String>,
}

/// The blocklist, in alphabetical order.
#[utoipa::path(get, path = "/v1/workspaces/{ws}/blocklist", params(("ws" = String, Path), Listing), responses((status = 200, body = Items<String>)))]
pub async fn blocklist(State(app): State<App>, here: In, Query(query): Query<Listing>) -> Answer {
    let limit = extract::page_size(query.limit)?;
    let after = query.cursor.unwrap_or_default();
    let rows = app.store.blocklist(here.workspace, after, limit + 1).await?;
    let items = Items::new(rows, limit, String::clone, |entry| entry);
    about(&app, here.workspace, StatusCode::OK, &items).await
}

/// Addresses, domains or LinkedIn URLs.
#[derive(Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BlocklistEntries)]
pub struct Entries {
    #[schema(min_items = 1, max_items = 1_000)]
    entries: Vec<String>,
}

impl Entries {
    /// The entries in the spelling in which they are compared.
    fn checked(self) -> Result<Vec<String>, Error> {
        if !(1..=MAX_ENTRIES).contains(&self.entries.len()) {
            return Err(Error::field("entries", format!("has 1 to {MAX_ENTRIES} entries")));
        }
        let check = |(index, entry): (usize, String)| {
            outreach::block_entry(&entry).map_err(|reason| Error::field(format!("entries[{index}]"), reason))
        };
        self.entries.into_iter().enumerate().map(check).collect()
    }
}

/// Block addresses, domains or LinkedIn URLs: such leads are never sent to nor charged.
#[utoipa::path(post, path = "/v1/workspaces/{ws}/blocklist", params(("ws" = String, Path)), request_body = Entries, responses((status = 200, body = Entries)))]
pub async fn block(State(app): State<App>, here: In, Json(body): Json<Entries>) -> Answer {
    let entries = body.checked()?;
    app.store.block(here.workspace, entries.clone()).await?;
    about(&app, here.workspace, StatusCode::OK, &Entries { entries }).await
}

/// Take entries off the blocklist.
#[utoipa::path(delete, path = "/v1/workspaces/{ws}/blocklist", params(("ws" = String, Path)), request_body = Entries, responses((status = 200, body = Entries)))]
pub async fn unblock(State(app): State<App>, here: In, Json(body): Json<Entries>) -> Answer {
    let entries = body.checked()?;
    app.store.unblock(here.workspace, entries.clone()).await?;
    about(&app, here.workspace, StatusCode::OK, &Entries { entries }).await
}
