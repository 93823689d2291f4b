//! A person's own sessions and workspaces: what is signed in where, and a way from one workspace to another.

use axum::extract::{Path, State};
use axum::http::HeaderMap;

use super::frame::{Page, Trouble, go, page as draw};
use super::scene::{Scene, state};
use super::session::{self, Visitor};
use super::view::{Browser, Sessions, Tab, WorkspaceRow, Workspaces};
use crate::app::App;
use crate::id;
use crate::store::people::{Role, Session, SessionRow, Way};

const PAGE: &str = "/settings/sessions";

/// Where the visitor is signed in.
pub async fn list(State(app): State<App>, visitor: Visitor) -> Page {
    let scene = Scene::load(&app, &visitor).await?;
    let sessions = app.store.sessions(visitor.whose.clone()).await?;
    let row = |row: SessionRow| Browser {
        here: row.id == visitor.session,
        id: row.id.to_string(),
        name: browser(&row.agent),
        came: came(row.way),
        since: scene.moment(row.created_at),
        seen: scene.moment(row.seen_at),
    };
    draw(&Sessions { shell: scene.shell(Some(Tab::Account)), rows: sessions.into_iter().map(row).collect() })
}

/// Ends one.
pub async fn end(State(app): State<App>, visitor: Visitor, Path(session): Path<String>) -> Page {
    let number = session.parse().map_err(|_| Trouble::not_found())?;
    app.store.end_one_session(visitor.whose, number).await?;
    Ok(go(&app, PAGE, "session-ended"))
}

/// Ends all but this one.
pub async fn end_others(State(app): State<App>, visitor: Visitor) -> Page {
    app.store.end_other_sessions(visitor.whose, visitor.session).await?;
    Ok(go(&app, PAGE, "sessions-ended"))
}

/// The workspaces of a person.
pub async fn workspaces(State(app): State<App>, visitor: Visitor) -> Page {
    let email = visitor.person()?;
    let scene = Scene::load(&app, &visitor).await?;
    let mut rows = Vec::new();
    for own in app.store.memberships(email).await? {
        let balance = app.store.balance(own.workspace).await?;
        rows.push(WorkspaceRow {
            here: own.workspace == visitor.workspace,
            id: id::workspace(own.workspace),
            name: own.name,
            admin: own.role == Role::Admin,
            state: state(balance.level),
            available: balance.available,
        });
    }
    draw(&Workspaces { shell: scene.shell(Some(Tab::Account)), rows })
}

/// Goes to another workspace. It is a new session, with what the person is there.
pub async fn switch(
    State(app): State<App>,
    visitor: Visitor,
    headers: HeaderMap,
    Path(workspace): Path<String>,
) -> Page {
    let (email, wanted) = (visitor.person()?, id::parse_workspace(&workspace));
    let wanted = wanted.ok_or_else(Trouble::not_found)?;
    let found = app.store.enter(email.clone(), Some(wanted)).await?;
    let (workspace, role) = found.ok_or_else(Trouble::not_found)?;
    let session = Session { workspace: Some(workspace), role, email: Some(email), way: visitor.way };
    session::sign_in(&app, &headers, session, "/billing").await
}

/// How somebody came in.
fn came(way: Way) -> &'static str {
    match way {
        Way::Link => "from the product",
        Way::Mail => "by mail",
        Way::Password => "by password",
        Way::Provider => "by single sign-on",
    }
}

/// What a browser says of itself, in two words.
fn browser(agent: &str) -> String {
    let find = |names: &[(&str, &'static str)]| {
        names.iter().find(|(mark, _)| agent.contains(mark)).map(|(_, name)| *name)
    };
    // Each of these also claims to be the ones after it.
    let program = find(&[
        ("Edg", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    ]);
    let system = find(&[
        ("Windows", "Windows"),
        ("Android", "Android"),
        ("iPhone", "an iPhone"),
        ("iPad", "an iPad"),
        ("Mac OS", "macOS"),
        ("Linux", "Linux"),
    ]);
    match (program, system) {
        (Some(program), Some(system)) => format!("{program} on {system}"),
        (Some(program), None) => program.to_owned(),
        (None, Some(system)) => format!("a browser on {system}"),
        (None, None) => "an unknown browser".to_owned(),
    }
}
