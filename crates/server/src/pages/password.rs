//! A person's own password, and the first Admin of a new server, who begins with one.

use axum::extract::{Form, Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::frame::{Page, Trouble, go, html, page as draw};
use super::scene::Scene;
use super::session::{self, Network, Operator, Visitor};
use super::sign_in::{NO_ADDRESS, TOO_OFTEN};
use super::view::{self, SignUp, Tab};
use crate::app::App;
use crate::outreach;
use crate::password::{MAX_BYTES, check};
use crate::store::Error;
use crate::store::people::{Changed, Keep, Role, Session, Way};
use crate::store::workspaces::NewWorkspace;

/// The longest name of a workspace, in characters.
const MAX_NAME: usize = 200;
const NOT_NOW: &str = "This is not your password now.";

#[derive(Default)]
struct Wrong {
    new: Option<&'static str>,
    current: Option<&'static str>,
    /// The same in the form that removes it.
    removing: Option<&'static str>,
}

/// The forms.
pub async fn page(State(app): State<App>, visitor: Visitor) -> Page {
    shown(&app, &visitor, StatusCode::OK, Wrong::default()).await
}

async fn shown(app: &App, visitor: &Visitor, status: StatusCode, wrong: Wrong) -> Page {
    let email = visitor.person()?;
    let scene = Scene::load(app, visitor).await?;
    let there = app.store.password(email.clone()).await?.is_some();
    html(
        status,
        &view::Password {
            shell: scene.shell(Some(Tab::Account)),
            email,
            there,
            asks: there && is_asked(visitor),
            removable: is_removable(app),
            wrong_current: wrong.current,
            wrong_new: wrong.new,
            wrong_removing: wrong.removing,
        },
    )
}

/// Whoever came by a mailed link has just shown whose the address is: that is how a forgotten password is replaced.
fn is_asked(visitor: &Visitor) -> bool {
    visitor.way == Way::Password
}

/// Whether there is another way in.
fn is_removable(app: &App) -> bool {
    app.mailer.is_some() || app.identity.is_some()
}

#[derive(Deserialize)]
pub struct Change {
    #[serde(default)]
    current: String,
    #[serde(default)]
    new: String,
}

/// Sets, changes or removes it.
pub async fn act(
    State(app): State<App>,
    Network(network): Network,
    visitor: Visitor,
    Path(act): Path<String>,
    Form(change): Form<Change>,
) -> Page {
    let email = visitor.person()?;
    let set = match act.as_str() {
        "set" => true,
        "remove" if is_removable(&app) => false,
        _ => return Err(Trouble::not_found()),
    };
    if set && let Err(unfit) = check(&change.new) {
        let wrong = Wrong { new: Some(unfit.words()), ..Wrong::default() };
        return shown(&app, &visitor, StatusCode::UNPROCESSABLE_ENTITY, wrong).await;
    }
    let refuse = |status, words| {
        let (current, removing) = if set { (Some(words), None) } else { (None, Some(words)) };
        shown(&app, &visitor, status, Wrong { current, removing, new: None })
    };
    let hash = app.store.password(email.clone()).await?.filter(|_| is_asked(&visitor));
    if hash.is_some() {
        let Some(one_try) = app.store.begin_try(&email, network).await? else {
            return refuse(StatusCode::TOO_MANY_REQUESTS, TOO_OFTEN).await;
        };
        let fits = change.current.len() <= MAX_BYTES;
        if !fits || !app.is_password(change.current, hash.clone()).await? {
            return refuse(StatusCode::UNPROCESSABLE_ENTITY, NOT_NOW).await;
        }
        app.store.end_try(one_try).await?;
    }
    let changed = if set { Changed::Set(app.hash_password(change.new).await?) } else { Changed::Removed };
    let keep = Keep { workspace: visitor.workspace, session: visitor.session, actor: visitor.name() };
    match app.store.change_password(email, hash, changed, keep).await {
        Err(Error::Conflict("password_changed", _)) => {
            return refuse(StatusCode::UNPROCESSABLE_ENTITY, NOT_NOW).await;
        }
        done => done?,
    }
    app.nudge();
    Ok(go(&app, "/settings/password", if set { "password-set" } else { "password-removed" }))
}

/// The form for the first workspace, for whoever has the link that the server printed.
pub async fn sign_up(State(app): State<App>, _: Operator) -> Page {
    fresh(&app).await?;
    draw(&SignUp::default())
}

async fn fresh(app: &App) -> Result<(), Trouble> {
    let there = app.store.workspaces(None, None, 1).await?;
    let detail = "this server has workspaces already: their admins invite people";
    if there.is_empty() { Ok(()) } else { Err(Error::Conflict("not_new", detail).into()) }
}

#[derive(Deserialize)]
pub struct New {
    #[serde(default)]
    name: String,
    #[serde(default)]
    email: String,
    #[serde(default)]
    password: String,
}

/// Makes the first workspace with its Admin, and signs them in.
pub async fn begin(State(app): State<App>, _: Operator, headers: HeaderMap, Form(new): Form<New>) -> Page {
    fresh(&app).await?;
    let (name, typed) = (new.name.trim().to_owned(), new.email.trim().to_owned());
    let email = outreach::address(&typed);
    let bad_name = name.is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control);
    let form = SignUp {
        wrong_name: bad_name.then_some("Give it a name of at most 200 characters."),
        wrong_email: email.is_err().then_some(NO_ADDRESS),
        wrong_password: check(&new.password).err().map(|unfit| unfit.words()),
        name: name.clone(),
        email: typed,
    };
    let fits = !bad_name && form.wrong_password.is_none();
    let Some(email) = email.ok().filter(|_| fits) else {
        return html(StatusCode::UNPROCESSABLE_ENTITY, &form);
    };
    let hash = app.hash_password(new.password).await?;
    let workspace = NewWorkspace {
        name,
        terms: None,
        collection: if app.payments.is_some() { "payments" } else { "none" }.to_owned(),
        time_zone: "UTC".to_owned(),
        admin_email: Some(email.clone()),
        external_id: None,
        request: String::new(),
    };
    // The password first: without the workspace nobody can use it, and the form can be sent again.
    app.store.first_password(email.clone(), hash).await?;
    let workspace = app.store.create_first_workspace(workspace).await?.id;
    let (role, email) = (Role::Admin, Some(email));
    let session = Session { workspace: Some(workspace), role, email, way: Way::Password };
    session::sign_in(&app, &headers, session, "/billing").await
}
