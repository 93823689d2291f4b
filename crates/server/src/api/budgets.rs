//! Budgets: how many credits a workspace, a campaign or a member may use in a day, in a period or ever.

use std::collections::HashSet;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use billing::budget::{Budget, Per, Scope};
use billing::units::MAX_CREDITS;
use serde::{Deserialize, Serialize};

use super::caller::In;
use super::error::Error;
use super::extract::{self, Json};
use super::{Answer, about};
use crate::app::App;
use crate::clock::rfc3339;
use crate::store::budgets::{MAX_BUDGETS, Standing};

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewBudget)]
pub struct New {
    /// `workspace`, `campaign` or `member`: whose credits count together.
    scope: String,
    /// Which campaign or member, as holds and charges are labelled; without one, each on its own. Not for a workspace.
    #[schema(max_length = 200)]
    label: Option<String>,
    /// `day` (in the workspace's zone), `period` (of the plan; without one, the calendar month) or `total`.
    per: String,
    #[schema(minimum = 0)]
    credits: i64,
}

/// All budgets of a workspace: what is not named is removed.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewBudgets {
    #[serde(deserialize_with = "extract::objects")]
    #[schema(max_items = 100)]
    budgets: Vec<New>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Budget)]
pub struct View {
    scope: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    per: &'static str,
    credits: i64,
    /// Charged and not refunded, and held now; of a budget for each, by the one that used most.
    used: i64,
    /// The campaign or member that used it, for a budget for each.
    #[serde(skip_serializing_if = "Option::is_none")]
    used_by: Option<String>,
    /// When it begins anew; null: never.
    resets_at: Option<String>,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct Budgets {
    budgets: Vec<View>,
}

/// The name of a scope on the wire.
pub fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Workspace => "workspace",
        Scope::Campaign => "campaign",
        Scope::Member => "member",
    }
}

/// The name of a budget's time on the wire.
pub fn per_name(per: Per) -> &'static str {
    match per {
        Per::Day => "day",
        Per::Period => "period",
        Per::Total => "total",
    }
}

fn view(stands: Standing) -> View {
    let Standing { budget, used, by, until, .. } = stands;
    View {
        scope: scope_name(budget.scope),
        label: budget.label.as_deref().map(str::to_owned),
        per: per_name(budget.per),
        credits: budget.credits,
        used: used.credits(),
        used_by: by,
        resets_at: until.map(rfc3339),
    }
}

fn parse(index: usize, new: &New) -> Result<Budget, Error> {
    let wrong = |field: &str, problem: &str| Error::field(format!("budgets[{index}].{field}"), problem);
    let scope = match &*new.scope {
        "workspace" => Scope::Workspace,
        "campaign" => Scope::Campaign,
        "member" => Scope::Member,
        _ => return Err(wrong("scope", "must be workspace, campaign or member")),
    };
    let per = match &*new.per {
        "day" => Per::Day,
        "period" => Per::Period,
        "total" => Per::Total,
        _ => return Err(wrong("per", "must be day, period or total")),
    };
    if !(0..=MAX_CREDITS).contains(&new.credits) {
        return Err(wrong("credits", "must be a whole number from 0 to 1000000000000000"));
    }
    if scope == Scope::Workspace && new.label.is_some() {
        return Err(wrong("label", "a budget of the workspace has no label"));
    }
    if new.label.as_ref().is_some_and(String::is_empty) {
        return Err(wrong("label", "must not be empty; without one, each has its own"));
    }
    extract::optional_text(&format!("budgets[{index}].label"), new.label.as_deref(), 200)?;
    Ok(Budget { scope, label: new.label.as_deref().map(Arc::from), per, credits: new.credits })
}

fn parse_all(new: &[New]) -> Result<Vec<Budget>, Error> {
    if new.len() > MAX_BUDGETS {
        return Err(Error::field("budgets", format!("must be at most {MAX_BUDGETS}")));
    }
    let (mut budgets, mut known) = (Vec::with_capacity(new.len()), HashSet::new());
    for (index, new) in new.iter().enumerate() {
        let budget = parse(index, new)?;
        if !known.insert((budget.scope as i64, budget.label.clone(), budget.per as i64)) {
            let problem = "there is one with this scope, label and time already";
            return Err(Error::field(format!("budgets[{index}]"), problem));
        }
        budgets.push(budget);
    }
    Ok(budgets)
}

async fn show(app: &App, workspace: i64) -> Answer {
    let budgets = app.store.budgets(workspace).await?.into_iter().map(view).collect();
    about(app, workspace, StatusCode::OK, &Budgets { budgets }).await
}

/// The budgets, and how far each is used.
#[utoipa::path(get, path = "/v1/workspaces/{ws}/budgets", params(("ws" = String, Path)), responses((status = 200, body = Budgets)))]
pub async fn get(State(app): State<App>, here: In) -> Answer {
    show(&app, here.workspace).await
}

/// Set all budgets. A hold or charge beyond one is refused with 402 `budget_exceeded`; the tightest is named. A campaign, search
/// or job that one refuses pauses for `credit_cap`, and goes on when there is room.
#[utoipa::path(put, path = "/v1/workspaces/{ws}/budgets", params(("ws" = String, Path)), request_body = NewBudgets, responses((status = 200, body = Budgets)))]
pub async fn put(State(app): State<App>, here: In, Json(body): Json<NewBudgets>) -> Answer {
    let budgets = parse_all(&body.budgets)?;
    app.store.change_budgets(here.workspace, here.caller.actor(), move |_| Ok(budgets.clone())).await?;
    app.nudge();
    show(&app, here.workspace).await
}
