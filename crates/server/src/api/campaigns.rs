//! Campaigns: what is done with each lead, and how far it has come. Launching is free.

mod view;

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::caller::{Caller, In};
use super::extract::{self, Items, Json, Nothing, Page, Path, Query};
use super::{Answer, Fresh, about, leads as lead_ids, with_available};
use crate::app::App;
use crate::outreach;
use crate::store::jobs::{Act, CampaignChange, Definition, Job, JobKind, StepText};
use view::{LeadView, View, lead_view, view};

pub use view::{PauseView, pause_views};

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewStep)]
pub struct Step {
    /// `email`, `linkedin_invite` or `linkedin_message`.
    channel: String,
    /// Days after the step before it; 0 by default.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 365)]
    after_days: i64,
    /// `always` or `no_reply`, the default.
    condition: Option<String>,
    /// Of an e-mail; the campaign's name by default.
    #[schema(max_length = 300)]
    subject: Option<String>,
    /// With `{{name}}`, `{{company}}` and other fields of a lead. What a generated message is written from.
    #[schema(max_length = 10_000)]
    template: Option<String>,
    /// Whether the text is written for each lead.
    #[serde(default)]
    generate: bool,
}

impl From<Step> for StepText {
    fn from(step: Step) -> StepText {
        StepText {
            channel: step.channel,
            after_days: step.after_days,
            condition: step.condition.unwrap_or_else(|| "no_reply".to_owned()),
            subject: step.subject.filter(|subject| !subject.trim().is_empty()),
            template: step.template,
            generate: step.generate,
        }
    }
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewCampaign)]
pub struct Create {
    #[schema(max_length = 200)]
    name: String,
    /// Fields to fill before the first step; `contact` is the e-mail address.
    #[schema(max_items = 20)]
    enrich: Option<Vec<String>>,
    #[serde(deserialize_with = "extract::objects")]
    #[schema(min_items = 1, max_items = 20)]
    steps: Vec<Step>,
    /// Whether a person approves each message before it goes; false by default.
    approve: Option<bool>,
    /// Ids of senders: their limits are kept, and shared with other campaigns. Without one of a kind the server's own sends.
    #[schema(max_items = 20)]
    senders: Option<Vec<String>>,
    /// What the campaign may use at most.
    #[schema(minimum = 1)]
    credit_cap: Option<i64>,
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CampaignUpdate)]
pub struct Update {
    name: Option<String>,
    enrich: Option<Vec<String>>,
    #[serde(default, deserialize_with = "extract::some_objects")]
    steps: Option<Vec<Step>>,
    approve: Option<bool>,
    senders: Option<Vec<String>>,
    #[serde(default, deserialize_with = "extract::present")]
    #[schema(value_type = Option<i64>)]
    credit_cap: Option<Option<i64>>,
}

async fn show(app: &App, workspace: i64, status: StatusCode, job: Job) -> Answer {
    let progress = app.store.progress(workspace, job.id).await?;
    let available = app.store.available(workspace).await?;
    let view = view(app, workspace, job, Some((&progress, available)));
    Ok(with_available(status, &view, available, Fresh::Yes))
}

/// Make a campaign, as a draft.
#[utoipa::path(post, path = "/v1/workspaces/{ws}/campaigns", params(("ws" = String, Path)), request_body = Create, responses((status = 201, body = View)))]
pub async fn create(State(app): State<App>, here: In, Json(body): Json<Create>) -> Answer {
    let definition = Definition {
        enrich: body.enrich.unwrap_or_default(),
        steps: body.steps.into_iter().map(StepText::from).collect(),
        approve: body.approve.unwrap_or(false),
        senders: outreach::senders(here.workspace, &body.senders.unwrap_or_default())?,
        ..Definition::default()
    };
    let new = outreach::campaign(body.name, definition, body.credit_cap)?;
    let job = app.store.create_job(here.workspace, new).await?;
    show(&app, here.workspace, StatusCode::CREATED, job).await
}

/// Campaigns, newest first.
#[utoipa::path(get, path = "/v1/workspaces/{ws}/campaigns", params(("ws" = String, Path), Page), responses((status = 200, body = Items<View>)))]
pub async fn list(State(app): State<App>, here: In, Query(page): Query<Page>) -> Answer {
    let (limit, cursor) = (page.limit()?, page.cursor()?);
    let rows = app.store.jobs(here.workspace, JobKind::Campaign, cursor, limit + 1).await?;
    let items =
        Items::new(rows, limit, |job| job.id.to_string(), |job| view(&app, here.workspace, job, None));
    about(&app, here.workspace, StatusCode::OK, &items).await
}

/// One campaign, with how far it has come.
#[utoipa::path(get, path = "/v1/campaigns/{id}", params(("id" = String, Path)), responses((status = 200, body = View)))]
pub async fn get(State(app): State<App>, caller: Caller, Path(campaign): Path<String>) -> Answer {
    let (workspace, number) = caller.inside("camp", &campaign)?;
    let job = app.store.job(workspace, number, JobKind::Campaign).await?;
    show(&app, workspace, StatusCode::OK, job).await
}

/// Change a draft. What is not named stays.
#[utoipa::path(patch, path = "/v1/campaigns/{id}", params(("id" = String, Path)), request_body = Update, responses((status = 200, body = View)))]
pub async fn update(
    State(app): State<App>,
    caller: Caller,
    Path(campaign): Path<String>,
    Json(body): Json<Update>,
) -> Answer {
    let (workspace, number) = caller.inside("camp", &campaign)?;
    let Update { name, enrich, steps, approve, senders, credit_cap } = body;
    let senders = senders.map(|senders| outreach::senders(workspace, &senders)).transpose()?;
    let steps = steps.map(|steps| steps.into_iter().map(StepText::from).collect());
    let change = CampaignChange { name, enrich, steps, approve, senders, credit_cap };
    let job = app.store.update_campaign(workspace, number, outreach::campaign_change(change)?).await?;
    show(&app, workspace, StatusCode::OK, job).await
}

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = LeadIds)]
pub struct Leads {
    /// Ids of leads.
    #[schema(min_items = 1, max_items = 10_000)]
    leads: Vec<String>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = LeadsAdded)]
pub struct Added {
    added: i64,
    /// Those that were in the campaign before; they keep their place.
    already: i64,
}

/// Add leads to a campaign.
#[utoipa::path(post, path = "/v1/campaigns/{id}/leads", params(("id" = String, Path)), request_body = Leads, responses((status = 200, body = Added)))]
pub async fn add_leads(
    State(app): State<App>,
    caller: Caller,
    Path(campaign): Path<String>,
    Json(body): Json<Leads>,
) -> Answer {
    let (workspace, number) = caller.inside("camp", &campaign)?;
    app.store.job(workspace, number, JobKind::Campaign).await?;
    let leads = lead_ids::known(&app, workspace, &body.leads).await?;
    let asked = leads.len() as i64;
    let added = app.store.add_leads(workspace, number, leads).await?;
    app.nudge();
    about(&app, workspace, StatusCode::OK, &Added { added, already: asked - added }).await
}

/// The leads of a campaign, each with its step and state, newest first.
#[utoipa::path(get, path = "/v1/campaigns/{id}/leads", params(("id" = String, Path), Page), responses((status = 200, body = Items<LeadView>)))]
pub async fn leads(
    State(app): State<App>,
    caller: Caller,
    Path(campaign): Path<String>,
    Query(page): Query<Page>,
) -> Answer {
    let (workspace, number) = caller.inside("camp", &campaign)?;
    let (limit, cursor) = (page.limit()?, page.cursor()?);
    let job = app.store.job(workspace, number, JobKind::Campaign).await?;
    let rows = app.store.campaign_leads(workspace, number, false, cursor, limit + 1).await?;
    let items = Items::new(rows, limit, |row| row.lead.to_string(), |row| lead_view(workspace, &job, row));
    about(&app, workspace, StatusCode::OK, &items).await
}

/// Launch a campaign: free, and never refused for a lack of credits. Launching one that is launched changes nothing. A draft whose
/// texts name a field that no lead has and the campaign does not fill is refused with 422.
#[utoipa::path(post, path = "/v1/campaigns/{id}/launch", params(("id" = String, Path)), responses((status = 200, body = View)))]
pub async fn launch(
    State(app): State<App>,
    caller: Caller,
    Path(campaign): Path<String>,
    _: Nothing,
) -> Answer {
    let (workspace, number) = caller.inside("camp", &campaign)?;
    if let Some(fault) = outreach::check_launch(&app, workspace, number).await? {
        return Err(fault.into());
    }
    act(&app, &caller, &campaign, Act::Launch { by: None }).await
}

/// Pause a campaign at its present steps. Work already at a provider ends.
#[utoipa::path(post, path = "/v1/campaigns/{id}/pause", params(("id" = String, Path)), responses((status = 200, body = View)))]
pub async fn pause(
    State(app): State<App>,
    caller: Caller,
    Path(campaign): Path<String>,
    _: Nothing,
) -> Answer {
    act(&app, &caller, &campaign, Act::Pause { by: caller.actor() }).await
}

/// Take away every reason but a lack of credits, which only credits take away.
#[utoipa::path(post, path = "/v1/campaigns/{id}/resume", params(("id" = String, Path)), responses((status = 200, body = View)))]
pub async fn resume(
    State(app): State<App>,
    caller: Caller,
    Path(campaign): Path<String>,
    _: Nothing,
) -> Answer {
    act(&app, &caller, &campaign, Act::Resume).await
}

async fn act(app: &App, caller: &Caller, campaign: &str, what: Act) -> Answer {
    let (workspace, number) = caller.inside("camp", campaign)?;
    let job = app.store.act_on_job(workspace, number, JobKind::Campaign, what).await?;
    app.nudge();
    show(app, workspace, StatusCode::OK, job).await
}
