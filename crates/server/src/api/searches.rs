//! Previews, searches and enrichment jobs: what finds leads and fills their fields.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::caller::{Caller, In};
use super::campaigns::{PauseView, pause_views};
use super::error::Error;
use super::extract::{Items, Json, Nothing, Page, Path, Query};
use super::{Answer, about, leads};
use crate::app::App;
use crate::clock::rfc3339;
use crate::store::jobs::{Act, Definition, Job, JobKind, NewJob};
use crate::{id, outreach};

/// How many results one search can be asked for.
const MAX_RESULTS: i64 = 10_000;
/// The largest query, in bytes of JSON.
const MAX_QUERY: usize = 16_384;
/// The longest name that a search gets from its query, in characters.
const MAX_NAME: usize = 80;

/// What a search looks for.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = SearchKind)]
pub enum Kind {
    Leads,
    Clues,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Leads => "leads",
            Kind::Clues => "clues",
        }
    }
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewPreview)]
pub struct Look {
    /// Passed to the discovery provider as it is.
    #[schema(value_type = Object)]
    query: Map<String, Value>,
    /// `leads` by default.
    kind: Option<Kind>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Preview)]
pub struct Results {
    /// As the provider gave them; not owned yet.
    results: Vec<Value>,
}

/// See what a search would find. Charged when it completes, even when it is empty.
#[utoipa::path(post, path = "/v1/workspaces/{ws}/searches/preview", params(("ws" = String, Path)), request_body = Look, responses((status = 200, body = Results)))]
pub async fn preview(State(app): State<App>, here: In, Json(body): Json<Look>) -> Answer {
    let query = checked(body.query)?;
    let kind = body.kind.unwrap_or(Kind::Leads).name();
    let results = outreach::preview(&app, (&here.caller.actor(), None), here.workspace, query, kind).await?;
    about(&app, here.workspace, StatusCode::OK, &Results { results }).await
}

fn checked(query: Map<String, Value>) -> Result<Value, Error> {
    let query = Value::Object(query);
    if query.to_string().len() > MAX_QUERY {
        return Err(Error::field("query", format!("has at most {MAX_QUERY} bytes")));
    }
    Ok(query)
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewSearch)]
pub struct Create {
    /// Passed to the discovery provider as it is.
    #[schema(value_type = Object)]
    query: Map<String, Value>,
    #[schema(minimum = 1, maximum = 10_000)]
    limit: i64,
    /// `leads` by default.
    kind: Option<Kind>,
}

/// A search or an enrichment job.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Job)]
pub struct View {
    id: String,
    /// `leads`, `clues` or `enrichment`.
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<Vec<String>>,
    /// `running`, `paused`, `completed`, `canceled` or `failed`.
    status: &'static str,
    /// Results, or leads times fields.
    requested: i64,
    /// What was charged for: new leads, or filled fields.
    delivered: i64,
    /// Results that the workspace owned already; free.
    duplicates: i64,
    credits_used: i64,
    pause_reasons: Vec<PauseView>,
    detail: Option<String>,
    created_at: String,
}

fn view(workspace: i64, job: Job) -> View {
    use billing::campaign::Stage;
    let search = job.kind == JobKind::Search;
    let kind = job.definition.search.clone().unwrap_or_else(|| "leads".to_owned());
    View {
        id: id::inside("job", workspace, job.id),
        kind: if search { kind } else { "enrichment".to_owned() },
        status: match job.run.stage {
            Stage::Draft | Stage::Launched if job.pauses.is_empty() => "running",
            Stage::Draft | Stage::Launched => "paused",
            Stage::Completed => "completed",
            Stage::Canceled => "canceled",
            Stage::Failed => "failed",
        },
        pause_reasons: pause_views(&job),
        query: search.then_some(job.definition.query),
        fields: (!search).then_some(job.definition.enrich),
        requested: job.requested,
        delivered: job.delivered,
        duplicates: job.duplicates,
        credits_used: job.credits_used,
        detail: job.detail,
        created_at: rfc3339(job.created_at),
    }
}

/// Start a search; its results become leads.
#[utoipa::path(post, path = "/v1/workspaces/{ws}/searches", params(("ws" = String, Path)), request_body = Create, responses((status = 201, body = View)))]
pub async fn create(State(app): State<App>, here: In, Json(body): Json<Create>) -> Answer {
    let query = checked(body.query)?;
    if !(1..=MAX_RESULTS).contains(&body.limit) {
        return Err(Error::field("limit", format!("must be a whole number from 1 to {MAX_RESULTS}")));
    }
    if app.providers.discovery.is_none() {
        return Err(Error::not_configured("discovery"));
    }
    let kind = body.kind.unwrap_or(Kind::Leads);
    let name = search_name(&query);
    let definition = Definition { query, search: Some(kind.name().to_owned()), ..Definition::default() };
    let (credit_cap, leads) = (None, Vec::new());
    let new = NewJob { kind: JobKind::Search, name, definition, credit_cap, requested: body.limit, leads };
    start(&app, here.workspace, new).await
}

/// A name for people: the texts of the query.
fn search_name(query: &Value) -> String {
    let texts = query.as_object().into_iter().flatten().filter_map(|(_, value)| value.as_str());
    let name: String =
        texts.collect::<Vec<_>>().join(", ").chars().filter(|c| !c.is_control()).take(MAX_NAME).collect();
    if name.trim().is_empty() { "Search".to_owned() } else { name }
}

async fn start(app: &App, workspace: i64, new: NewJob) -> Answer {
    let job = app.store.create_job(workspace, new).await?;
    app.nudge();
    about(app, workspace, StatusCode::CREATED, &view(workspace, job)).await
}

/// Searches, newest first.
#[utoipa::path(get, path = "/v1/workspaces/{ws}/searches", params(("ws" = String, Path), Page), responses((status = 200, body = Items<View>)))]
pub async fn list(State(app): State<App>, here: In, Query(page): Query<Page>) -> Answer {
    jobs(&app, &here, &page, JobKind::Search).await
}

async fn jobs(app: &App, here: &In, page: &Page, kind: JobKind) -> Answer {
    let (limit, cursor) = (page.limit()?, page.cursor()?);
    let rows = app.store.jobs(here.workspace, kind, cursor, limit + 1).await?;
    let items = Items::new(rows, limit, |job| job.id.to_string(), |job| view(here.workspace, job));
    about(app, here.workspace, StatusCode::OK, &items).await
}

/// One search.
#[utoipa::path(get, path = "/v1/searches/{id}", params(("id" = String, Path)), responses((status = 200, body = View)))]
pub async fn get(State(app): State<App>, caller: Caller, Path(job): Path<String>) -> Answer {
    one(&app, &caller, &job, JobKind::Search).await
}

async fn one(app: &App, caller: &Caller, job: &str, kind: JobKind) -> Answer {
    let (workspace, number) = caller.inside("job", job)?;
    let job = app.store.job(workspace, number, kind).await?;
    about(app, workspace, StatusCode::OK, &view(workspace, job)).await
}

/// End a search; what it found stays.
#[utoipa::path(post, path = "/v1/searches/{id}/cancel", params(("id" = String, Path)), responses((status = 200, body = View)))]
pub async fn cancel(State(app): State<App>, caller: Caller, Path(job): Path<String>, _: Nothing) -> Answer {
    act(&app, &caller, &job, JobKind::Search, Act::Cancel).await
}

/// Let a search go on that paused because of its provider. A lack of credits is lifted by credits alone.
#[utoipa::path(post, path = "/v1/searches/{id}/resume", params(("id" = String, Path)), responses((status = 200, body = View)))]
pub async fn resume(State(app): State<App>, caller: Caller, Path(job): Path<String>, _: Nothing) -> Answer {
    act(&app, &caller, &job, JobKind::Search, Act::Resume).await
}

async fn act(app: &App, caller: &Caller, job: &str, kind: JobKind, what: Act) -> Answer {
    let (workspace, number) = caller.inside("job", job)?;
    let job = app.store.act_on_job(workspace, number, kind, what).await?;
    app.nudge();
    about(app, workspace, StatusCode::OK, &view(workspace, job)).await
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewEnrichment)]
pub struct Enrich {
    /// Ids of leads.
    #[schema(min_items = 1, max_items = 10_000)]
    leads: Vec<String>,
    /// `contact` is the e-mail address; every other name is a field.
    #[schema(min_items = 1, max_items = 20)]
    fields: Vec<String>,
}

/// Fill fields of leads. Fields that a lead has already are left as they are, free.
#[utoipa::path(post, path = "/v1/workspaces/{ws}/enrichments", params(("ws" = String, Path)), request_body = Enrich, responses((status = 201, body = View)))]
pub async fn enrich(State(app): State<App>, here: In, Json(body): Json<Enrich>) -> Answer {
    if body.fields.is_empty() {
        return Err(Error::field("fields", "names at least one field"));
    }
    outreach::check_fields("fields", &body.fields)?;
    let leads = leads::known(&app, here.workspace, &body.leads).await?;
    if app.providers.enrichment.providers().is_empty() {
        return Err(Error::not_configured("enrichment"));
    }
    let requested = (leads.len() * body.fields.len()) as i64;
    let name = body.fields.join(", ").chars().take(MAX_NAME).collect();
    let definition = Definition { enrich: body.fields, ..Definition::default() };
    let new = NewJob { kind: JobKind::Enrichment, name, definition, credit_cap: None, requested, leads };
    start(&app, here.workspace, new).await
}

/// Enrichment jobs, newest first.
#[utoipa::path(get, path = "/v1/workspaces/{ws}/enrichments", params(("ws" = String, Path), Page), responses((status = 200, body = Items<View>)))]
pub async fn enrichments(State(app): State<App>, here: In, Query(page): Query<Page>) -> Answer {
    jobs(&app, &here, &page, JobKind::Enrichment).await
}

/// One enrichment job.
#[utoipa::path(get, path = "/v1/enrichments/{id}", params(("id" = String, Path)), responses((status = 200, body = View)))]
pub async fn enrichment(State(app): State<App>, caller: Caller, Path(job): Path<String>) -> Answer {
    one(&app, &caller, &job, JobKind::Enrichment).await
}

/// End an enrichment job; what it filled stays.
#[utoipa::path(post, path = "/v1/enrichments/{id}/cancel", params(("id" = String, Path)), responses((status = 200, body = View)))]
pub async fn cancel_enrichment(
    State(app): State<App>,
    caller: Caller,
    Path(job): Path<String>,
    _: Nothing,
) -> Answer {
    act(&app, &caller, &job, JobKind::Enrichment, Act::Cancel).await
}

/// Let an enrichment job go on that paused because of its provider.
#[utoipa::path(post, path = "/v1/enrichments/{id}/resume", params(("id" = String, Path)), responses((status = 200, body = View)))]
pub async fn resume_enrichment(
    State(app): State<App>,
    caller: Caller,
    Path(job): Path<String>,
    _: Nothing,
) -> Answer {
    act(&app, &caller, &job, JobKind::Enrichment, Act::Resume).await
}
