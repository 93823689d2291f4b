//! The account page: the workspace, who is looking, and when warnings go out.

use axum::extract::State;
use billing::alerts::Threshold;

use super::frame::{Page, page as draw};
use super::scene::Scene;
use super::session::Visitor;
use super::view::{Settings, Tab};
use crate::app::App;
use crate::id;
use crate::store::people::Role;
use crate::store::workspaces::thresholds;

/// Account.
pub async fn page(State(app): State<App>, visitor: Visitor) -> Page {
    let scene = Scene::load(&app, &visitor).await?;
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
    draw(&Settings {
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
    })
}
