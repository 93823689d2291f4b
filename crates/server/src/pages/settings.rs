//! The account page: the workspace, who is looking, and when warnings go out.

use axum::Form;
use axum::extract::State;
use axum::http::StatusCode;
use billing::alerts::Threshold;
use serde::Deserialize;

use super::frame::{Page, go, html};
use super::scene::Scene;
use super::session::Visitor;
use super::view::{AlertForm, Settings, Tab};
use crate::app::App;
use crate::store::people::Role;
use crate::store::workspaces::{WorkspaceChange, thresholds};
use crate::{id, outreach};

/// How many people can be told by e-mail who are named.
const MAX_EMAILS: usize = 20;

/// Account.
pub async fn page(State(app): State<App>, visitor: Visitor) -> Page {
    shown(&app, visitor, StatusCode::OK, None).await
}

async fn shown(app: &App, visitor: Visitor, status: StatusCode, typed: Option<AlertForm>) -> Page {
    let scene = Scene::load(app, &visitor).await?;
    let workspace = &scene.workspace;
    let basis = workspace.plan_credits.unwrap_or(scene.standing.granted_month);
    let of = match workspace.plan_credits {
        Some(_) => "of the plan's credits",
        None => "of the credits added in the last 30 days",
    };
    let rule = |threshold: Threshold| match threshold {
        Threshold::Percent(percent) => format!("{percent}% {of}"),
        Threshold::Credits(_) => "set for this workspace".to_owned(),
    };
    let levels = thresholds(workspace);
    let mut alert_emails = workspace.emails.clone();
    if alert_emails.is_empty() {
        let members = app.store.members(workspace.id).await?.into_iter();
        alert_emails.extend(members.filter(|it| it.role == Role::Admin).map(|it| it.email));
    }
    let as_it_is = || AlertForm {
        low: workspace.low.clone(),
        critical: workspace.critical.clone(),
        emails: workspace.emails.join(", "),
        ..AlertForm::default()
    };
    let view = Settings {
        alerts: typed.unwrap_or_else(as_it_is),
        shell: scene.shell(Some(Tab::Account)),
        workspace_id: id::workspace(workspace.id),
        time_zone: workspace.time_zone.clone(),
        signed_in_as: visitor.email,
        operator: visitor.role == Role::Operator,
        low_below: levels.low.credits(basis),
        low_rule: rule(levels.low),
        critical_below: levels.critical.credits(basis),
        critical_rule: rule(levels.critical),
        alert_emails,
    };
    html(status, &view)
}

#[derive(Deserialize)]
pub struct Change {
    #[serde(default)]
    low: String,
    #[serde(default)]
    critical: String,
    #[serde(default)]
    emails: String,
}

impl Change {
    /// Both thresholds and the addresses; or the form, with what is wrong.
    fn read(self) -> Result<WorkspaceChange, AlertForm> {
        const RULE: &str = "A percentage from 0% to 100%, or a whole number of credits.";
        let (low, critical) = (threshold(&self.low), threshold(&self.critical));
        let named = self.emails.split([',', ';', ' ', '\n', '\r']).filter(|named| !named.is_empty());
        let emails: Result<Vec<String>, _> = named.map(outreach::address).collect();
        let wrong_emails = match &emails {
            Ok(emails) if emails.len() > MAX_EMAILS => Some("At most 20 addresses."),
            Ok(_) => None,
            Err(_) => Some("E-mail addresses, with commas between them."),
        };
        match (low, critical, emails, wrong_emails) {
            (low @ Some(_), critical @ Some(_), Ok(emails), None) => {
                Ok(WorkspaceChange { low, critical, emails: Some(emails), ..WorkspaceChange::default() })
            }
            (low, critical, ..) => Err(AlertForm {
                wrong_low: low.is_none().then_some(RULE),
                wrong_critical: critical.is_none().then_some(RULE),
                wrong_emails,
                low: self.low,
                critical: self.critical,
                emails: self.emails,
            }),
        }
    }
}

/// What somebody typed: `20%`, `1,500`.
fn threshold(typed: &str) -> Option<Threshold> {
    let typed: String = typed.chars().filter(|c| !c.is_whitespace() && *c != ',').collect();
    let threshold = match typed.strip_suffix('%') {
        Some(percent) => Threshold::Percent(percent.parse().ok()?),
        None => Threshold::Credits(typed.parse().ok()?),
    };
    threshold.is_valid().then_some(threshold)
}

/// Changes when warnings go out, and to whom.
pub async fn alert(State(app): State<App>, visitor: Visitor, Form(change): Form<Change>) -> Page {
    visitor.settings()?;
    let change = match change.read() {
        Ok(change) => change,
        Err(typed) => return shown(&app, visitor, StatusCode::UNPROCESSABLE_ENTITY, Some(typed)).await,
    };
    app.store.update_workspace(visitor.workspace, change, visitor.name()).await?;
    app.nudge();
    Ok(go(&app, "/settings", "saved"))
}
