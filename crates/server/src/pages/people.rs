//! The people of a workspace, for its admins: who may come in by themselves, and as what.

use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use serde::Deserialize;

use super::frame::{Page, Trouble, go, html};
use super::scene::Scene;
use super::session::Visitor;
use super::view::{Invite, People, Person, Tab};
use crate::app::App;
use crate::outreach;
use crate::store::Error;
use crate::store::people::{Admission, Member, Role};

const PAGE: &str = "/settings/people";

/// All of them, and the form for another.
pub async fn list(State(app): State<App>, visitor: Visitor) -> Page {
    visitor.settings()?;
    all(&app, &visitor, StatusCode::OK, Invite::default()).await
}

async fn all(app: &App, visitor: &Visitor, status: StatusCode, invite: Invite) -> Page {
    let scene = Scene::load(app, visitor).await?;
    let members = app.store.members(visitor.workspace).await?;
    let admins = members.iter().filter(|member| member.role == Role::Admin).count();
    let row = |member: Member| Person {
        last_admin: member.role == Role::Admin && admins == 1,
        admin: member.role == Role::Admin,
        you: visitor.email.as_ref() == Some(&member.email),
        since: scene.moment(member.created_at),
        seen: member.seen_at.map(|seen| scene.moment(seen)),
        email: member.email,
    };
    let rows = members.into_iter().map(row).collect();
    let (mails, provider) = (app.mailer.is_some(), app.identity.is_some());
    html(status, &People { shell: scene.shell(Some(Tab::Account)), rows, invite, mails, provider })
}

#[derive(Deserialize)]
pub struct Change {
    #[serde(default)]
    email: String,
    #[serde(default)]
    role: String,
}

impl Change {
    fn role(&self) -> Result<Role, Trouble> {
        match self.role.as_str() {
            "admin" => Ok(Role::Admin),
            "member" => Ok(Role::Member),
            _ => Err(Trouble::unprocessable("The role is admin or member.")),
        }
    }
}

/// Lets somebody in.
pub async fn invite(State(app): State<App>, visitor: Visitor, Form(change): Form<Change>) -> Page {
    visitor.settings()?;
    let (typed, role) = (change.email.trim(), change.role()?);
    let wrong = |why: &str| Invite {
        email: typed.to_owned(),
        admin: role == Role::Admin,
        wrong: Some(why.to_owned()),
    };
    let Ok(email) = outreach::address(typed) else {
        let form = wrong("It must be an e-mail address.");
        return all(&app, &visitor, StatusCode::UNPROCESSABLE_ENTITY, form).await;
    };
    let url = format!("{}/sign-in", app.public_url);
    match app.store.admit(visitor.workspace, Admission { email, role, actor: visitor.name(), url }).await {
        Ok(()) => {
            app.nudge();
            Ok(go(&app, PAGE, "invited"))
        }
        Err(Error::Conflict("member_exists", _)) => {
            let form = wrong("This person is in the workspace already.");
            all(&app, &visitor, StatusCode::CONFLICT, form).await
        }
        Err(error) => Err(error.into()),
    }
}

/// Changes somebody's role, or takes them out.
pub async fn act(
    State(app): State<App>,
    visitor: Visitor,
    Path(act): Path<String>,
    Form(change): Form<Change>,
) -> Page {
    visitor.settings()?;
    let email = outreach::address(change.email.trim()).map_err(|_| Trouble::not_found())?;
    let (workspace, actor) = (visitor.workspace, visitor.name());
    let done = match act.as_str() {
        "role" => app.store.set_role(workspace, email, change.role()?, actor).await,
        "remove" => app.store.remove_member(workspace, email, actor).await,
        _ => return Err(Trouble::not_found()),
    };
    match done {
        Ok(()) => Ok(go(&app, PAGE, if act == "role" { "role-changed" } else { "member-removed" })),
        Err(Error::Conflict("last_admin", _)) => Ok(go(&app, PAGE, "last-admin")),
        Err(error) => Err(error.into()),
    }
}
