//! Limits on the Billing page: how many credits may be used in a day, in a period or ever, how far each is used, and their form.

use std::sync::Arc;

use axum::extract::{Form, Path, State};
use billing::Time;
use billing::budget::{Budget, Per, Scope};
use billing::units::MAX_CREDITS;
use serde::Deserialize;

use super::credits::Whose;
use super::frame::{Page, Trouble, go};
use super::history::Asked;
use super::scene::Scene;
use super::session::Visitor;
use super::usage::job_number;
use super::view::{Limit, LimitForm, Limits};
use crate::app::App;
use crate::store::budgets::Standing;
use crate::store::jobs::JobKind;
use crate::store::{self};
use crate::{calendar, clock, id};

/// How many campaigns the form offers by name.
const CAMPAIGNS: i64 = 50;

/// What the page shows of them.
pub async fn section(app: &App, scene: &Scene, form: LimitForm) -> Result<Limits, store::Error> {
    let workspace = scene.workspace.id;
    let mut rows = Vec::new();
    for stands in app.store.budgets(workspace).await? {
        rows.push(row(app, scene, stands).await?);
    }
    let jobs = app.store.jobs(workspace, JobKind::Campaign, None, CAMPAIGNS).await?;
    // By its name, unless another has the same.
    let campaigns = jobs.iter().map(|job| match jobs.iter().filter(|other| other.name == job.name).count() {
        1 => (job.name.clone(), String::new()),
        _ => (id::inside("camp", workspace, job.id), job.name.clone()),
    });
    Ok(Limits { rows, campaigns: campaigns.collect(), form })
}

async fn row(app: &App, scene: &Scene, stands: Standing) -> Result<Limit, store::Error> {
    let parts = parts(&stands);
    let Standing { budget, used, by, until, .. } = stands;
    let whose = match (budget.scope, budget.label.as_deref()) {
        (Scope::Workspace, _) => "Workspace".to_owned(),
        (Scope::Campaign, None) => "Each campaign".to_owned(),
        (Scope::Member, None) => "Each person".to_owned(),
        (Scope::Campaign, Some(label)) => campaign(app, scene, label).await?,
        (Scope::Member, Some(label)) => label.to_owned(),
    };
    let used_by = match by {
        Some(by) if budget.scope == Scope::Campaign => Some(campaign(app, scene, &by).await?),
        by => by,
    };
    Ok(Limit {
        whose,
        per: per_words(budget.per).to_owned(),
        used: used.credits(),
        parts,
        used_by,
        credits: budget.credits,
        resets: until.map(|until| calendar::minute(until, scene.zone())),
        key: (
            scope_word(budget.scope),
            budget.label.as_deref().unwrap_or("").to_owned(),
            per_word(budget.per),
        ),
    })
}

/// What is used, part by part: credits, a word, and where the lines of it are.
fn parts(stands: &Standing) -> Vec<(i64, &'static str, String)> {
    let Standing { budget, used, by, from, .. } = stands;
    let label = budget.label.as_deref().or(by.as_deref()).unwrap_or("").to_owned();
    let (campaign, member) = match budget.scope {
        Scope::Workspace => Default::default(),
        Scope::Campaign => (label, String::new()),
        Scope::Member => (String::new(), label),
    };
    let from = if *from > Time(0) { clock::rfc3339(*from) } else { String::new() };
    let reserved = Whose { campaign: campaign.clone(), member: member.clone() }.link(None);
    let query = Asked { campaign, member, from, ..Asked::default() }.query();
    let history = |show: &str| format!("/billing?show={show}{query}#history");
    [
        (used.charged, "charged", history("used")),
        (used.refunded, "refunded", history("refunded")),
        (used.held, "reserved", reserved),
    ]
    .into_iter()
    .filter(|(credits, _, _)| *credits > 0)
    .collect()
}

/// A campaign's name; a label of a host product keeps its own words.
pub async fn campaign(app: &App, scene: &Scene, label: &str) -> Result<String, store::Error> {
    let Some(number) = job_number(scene.workspace.id, label) else { return Ok(label.to_owned()) };
    match app.store.job(scene.workspace.id, number, JobKind::Campaign).await {
        Ok(job) => Ok(job.name),
        Err(store::Error::NotFound) => Ok(label.to_owned()),
        Err(error) => Err(error),
    }
}

fn scope_word(scope: Scope) -> &'static str {
    match scope {
        Scope::Workspace => "workspace",
        Scope::Campaign => "campaign",
        Scope::Member => "member",
    }
}

fn per_word(per: Per) -> &'static str {
    match per {
        Per::Day => "day",
        Per::Period => "period",
        Per::Total => "total",
    }
}

fn per_words(per: Per) -> &'static str {
    match per {
        Per::Day => "a day",
        Per::Period => "a period",
        Per::Total => "in total",
    }
}

#[derive(Deserialize)]
pub struct Change {
    #[serde(default)]
    scope: String,
    #[serde(default)]
    label: String,
    #[serde(default)]
    per: String,
    #[serde(default)]
    credits: String,
}

impl Change {
    /// What is meant, but for its credits.
    fn budget(&self, credits: i64) -> Result<Budget, &'static str> {
        let scope = match self.scope.as_str() {
            "workspace" => Scope::Workspace,
            "campaign" => Scope::Campaign,
            "member" => Scope::Member,
            _ => return Err("A limit is for the workspace, campaigns or people."),
        };
        let per = match self.per.as_str() {
            "day" => Per::Day,
            "period" => Per::Period,
            "total" => Per::Total,
            _ => return Err("A limit is for a day, a period or in total."),
        };
        let label = self.label.trim();
        if scope == Scope::Workspace && !label.is_empty() {
            return Err("A limit of the workspace names nobody.");
        }
        if label.chars().count() > 200 || label.chars().any(char::is_control) {
            return Err("A name has at most 200 characters.");
        }
        let label = Some(label).filter(|label| !label.is_empty()).map(Arc::from);
        Ok(Budget { scope, label, per, credits })
    }

    fn form(&self, wrong: &str) -> LimitForm {
        let Change { scope, label, per, credits } = self;
        LimitForm {
            scope: scope.clone(),
            label: label.clone(),
            per: per.clone(),
            credits: credits.clone(),
            wrong: Some(wrong.to_owned()),
        }
    }
}

/// What the charges of a campaign carry: its id, where people type its name; a host product's own label only once something was
/// charged under it, because a limit for a word that nothing carries would never apply.
async fn carried(app: &App, workspace: i64, typed: &str) -> Result<Result<String, String>, store::Error> {
    if let Some(number) = job_number(workspace, typed) {
        match app.store.job(workspace, number, JobKind::Campaign).await {
            Ok(job) => return Ok(Ok(id::inside("camp", workspace, job.id))),
            Err(store::Error::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    let (campaigns, is_charged) = app.store.called(workspace, typed.to_owned()).await?;
    let is_set = |stands: &Standing| {
        stands.budget.scope == Scope::Campaign && stands.budget.label.as_deref() == Some(typed)
    };
    // A limit that is there already, from the API, can be changed here.
    let is_label = is_charged || app.store.budgets(workspace).await?.iter().any(is_set);
    Ok(match campaigns[..] {
        [one] => Ok(id::inside("camp", workspace, one)),
        [] if is_label => Ok(typed.to_owned()),
        [] => Err(format!("No campaign here is called “{typed}”, and nothing was charged under that label.")),
        _ => Err(format!("Several campaigns are called “{typed}”: choose one of the list by its id.")),
    })
}

fn is_same(one: &Budget, other: &Budget) -> bool {
    (one.scope, &one.label, one.per) == (other.scope, &other.label, other.per)
}

/// Sets a limit, in the place of one for the same, or removes it.
pub async fn act(
    State(app): State<App>,
    visitor: Visitor,
    Path(act): Path<String>,
    Form(change): Form<Change>,
) -> Page {
    visitor.admin()?;
    let credits = change.credits.trim().parse().ok().filter(|credits| (0..=MAX_CREDITS).contains(credits));
    let asked = match (act.as_str(), credits) {
        ("set", None) => Err("Credits must be a whole number, 0 or more."),
        ("set", Some(credits)) => change.budget(credits),
        ("remove", _) => change.budget(0),
        _ => return Err(Trouble::not_found()),
    };
    let is_set = act == "set";
    let asked = match asked {
        Ok(Budget { scope: Scope::Campaign, label: Some(typed), per, credits }) if is_set => {
            let carried = carried(&app, visitor.workspace, &typed).await?;
            carried.map(|label| Budget { scope: Scope::Campaign, label: Some(label.into()), per, credits })
        }
        asked => asked.map_err(str::to_owned),
    };
    let budget = match asked {
        Ok(budget) => budget,
        Err(wrong) => return super::billing::with_limit(&app, &visitor, change.form(&wrong)).await,
    };
    let becomes = move |mut all: Vec<Budget>| {
        let known = all.iter().position(|one| is_same(one, &budget));
        match (known, is_set) {
            (Some(index), true) => all[index] = budget.clone(),
            (Some(index), false) => drop(all.remove(index)),
            (None, true) => all.push(budget.clone()),
            (None, false) => {}
        }
        Ok(all)
    };
    match app.store.change_budgets(visitor.workspace, visitor.name(), becomes).await {
        Ok(()) => {
            app.nudge();
            Ok(go(&app, "/billing#limits", if is_set { "limit-set" } else { "limit-removed" }))
        }
        Err(store::Error::Invalid(..)) => {
            let wrong = "The workspace has as many limits as it may have.";
            super::billing::with_limit(&app, &visitor, change.form(wrong)).await
        }
        Err(error) => Err(error.into()),
    }
}
