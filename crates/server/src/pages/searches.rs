//! Searches: what one costs before it runs, and how those before went.

use axum::extract::{Form, Path, Query, State};
use billing::campaign::Stage;
use serde::Deserialize;
use serde_json::json;

use super::campaigns::{Cursor, ROWS, cut, number, state};
use super::frame::{Page, Trouble, go, page as draw};
use super::scene::Scene;
use super::session::{self, Visitor};
use super::view::{SearchLimit, SearchRow, Searches, Tab};
use crate::app::App;
use crate::id;
use crate::store::jobs::{Act, Definition, Job, JobKind, NewJob};

/// How many results a search may ask for.
pub const LIMITS: [i64; 4] = [50, 100, 200, 500];
/// What is chosen until the person chooses.
const LIMIT: i64 = 100;
/// The longest query, in characters.
const MAX_QUERY: usize = 1_000;

/// All searches, newest first, and the form for a new one.
pub async fn list(State(app): State<App>, visitor: Visitor, Query(cursor): Query<Cursor>) -> Page {
    let scene = Scene::load(&app, &visitor).await?;
    draw(&searches(&app, &scene, &cursor).await?)
}

/// The page with an empty form.
pub async fn searches(app: &App, scene: &Scene, cursor: &Cursor) -> Result<Searches, Trouble> {
    let mut jobs = app.store.jobs(scene.workspace.id, JobKind::Search, cursor.number(), ROWS + 1).await?;
    let next = cut(&mut jobs, |job| job.id);
    Ok(Searches {
        shell: scene.shell(Some(Tab::Searches)),
        here: cursor.here("/searches"),
        available: scene.balance.available,
        preview_price: app.unit("discovery_preview", 1).unit_price,
        result_price: app.unit("discovery_result", 1).unit_price,
        query: String::new(),
        kind: "leads".to_owned(),
        limits: LIMITS.map(|results| SearchLimit { results, selected: results == LIMIT }).to_vec(),
        form_key: session::form_key(),
        preview: None,
        rows: jobs.iter().map(|job| row(scene, job)).collect(),
        next,
    })
}

/// How a search or an enrichment goes.
pub fn row(scene: &Scene, job: &Job) -> SearchRow {
    let clues = job.definition.search.as_deref() == Some("clues");
    SearchRow {
        id: id::inside("job", scene.workspace.id, job.id),
        query: job.name.clone(),
        kind: if clues { "Clues" } else { "Leads" }.to_owned(),
        at: scene.moment(job.created_at),
        state: state(scene, job),
        requested: job.requested,
        delivered: job.delivered,
        duplicates: job.duplicates,
        credits_used: job.credits_used,
        can_cancel: matches!(job.run.stage, Stage::Draft | Stage::Launched),
    }
}

#[derive(Deserialize)]
pub struct Asked {
    pub form_key: String,
    pub query: String,
    pub kind: Kind,
    pub limit: i64,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Leads,
    Clues,
}

impl Kind {
    /// As in the form.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Leads => "leads",
            Kind::Clues => "clues",
        }
    }
}

impl Asked {
    /// What is looked for, if it can be.
    pub fn text(&self) -> Option<&str> {
        let query = self.query.trim();
        let good =
            !query.is_empty() && query.chars().count() <= MAX_QUERY && !query.chars().any(char::is_control);
        good.then_some(query)
    }
}

/// Starts a search. A double click is one search.
pub async fn create(State(app): State<App>, visitor: Visitor, Form(asked): Form<Asked>) -> Page {
    let Some(query) = asked.text() else { return Ok(go(&app, "/searches", "bad-query")) };
    if !LIMITS.contains(&asked.limit) {
        return Err(Trouble::unprocessable("A search asks for one of the numbers of results on the page."));
    }
    if app.providers.discovery.is_none() {
        return Err(Trouble::unavailable("Nothing here can search: no discovery provider is configured."));
    }
    let started = format!("search.{}", asked.limit);
    if !app.store.first_use(visitor.workspace, session::stored_key(&asked.form_key)?).await? {
        return Ok(go(&app, "/searches", &started));
    }
    let definition = Definition {
        query: json!({ "text": query }),
        search: Some(asked.kind.name().to_owned()),
        by: visitor.label(),
        ..Definition::default()
    };
    let new = NewJob {
        kind: JobKind::Search,
        name: query.to_owned(),
        definition,
        credit_cap: None,
        requested: asked.limit,
        leads: Vec::new(),
    };
    app.store.create_job(visitor.workspace, new).await?;
    app.nudge();
    Ok(go(&app, "/searches", &started))
}

/// Cancels a search. What it delivered stays.
pub async fn cancel(State(app): State<App>, visitor: Visitor, Path(search): Path<String>) -> Page {
    let number = number(&visitor, "job", &search)?;
    app.store.act_on_job(visitor.workspace, number, JobKind::Search, Act::Cancel).await?;
    app.nudge();
    Ok(go(&app, "/searches", "search-canceled"))
}

/// Cancels an enrichment. What it filled stays.
pub async fn cancel_enrichment(
    State(app): State<App>,
    visitor: Visitor,
    Path(enrichment): Path<String>,
) -> Page {
    let number = number(&visitor, "job", &enrichment)?;
    app.store.act_on_job(visitor.workspace, number, JobKind::Enrichment, Act::Cancel).await?;
    app.nudge();
    Ok(go(&app, "/leads", "search-canceled"))
}
