//! API keys under Account, for admins. A secret is shown once.

use axum::extract::{Form, Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;

use super::campaigns::{Cursor, ROWS, cut, number};
use super::frame::{Page, Trouble, go, html};
use super::scene::Scene;
use super::session::{self, Visitor};
use super::view::{KeyRow, Keys, Tab};
use crate::app::{App, hex};
use crate::store::people::{ApiKey, Scope};
use crate::{clock, id};

/// The longest label, in characters.
const MAX_LABEL: usize = 200;
const PAGE: &str = "/settings/keys";

/// All of them, and the form for another.
pub async fn list(State(app): State<App>, visitor: Visitor, Query(cursor): Query<Cursor>) -> Page {
    visitor.settings()?;
    let shown = Shown { before: cursor.number(), ..Shown::default() };
    all(&app, &visitor, StatusCode::OK, shown).await
}

/// What the page says besides the list.
#[derive(Default)]
struct Shown {
    before: Option<i64>,
    secret: Option<String>,
    label: String,
    scope: Option<Scope>,
    wrong: Option<String>,
}

async fn all(app: &App, visitor: &Visitor, status: StatusCode, shown: Shown) -> Page {
    let scene = Scene::load(app, visitor).await?;
    let row = |key: ApiKey| KeyRow {
        id: id::inside("key", visitor.workspace, key.id),
        label: key.label,
        scope: key.scope.name(),
        used: key.used_at.map(|used| scene.moment(used)),
        since: scene.moment(key.created_at),
        revoked: key.revoked_at.map(|revoked| scene.moment(revoked)),
    };
    let Shown { before, secret, label, scope, wrong } = shown;
    let mut keys = app.store.keys(visitor.workspace, before, ROWS + 1).await?;
    let next = cut(&mut keys, |key| key.id);
    let rows = keys.into_iter().map(row).collect();
    let (shell, form_key) = (scene.shell(Some(Tab::Account)), session::form_key());
    let scope = scope.unwrap_or(Scope::Charge).name();
    html(status, &Keys { shell, rows, next, secret, label, scope, wrong, form_key })
}

#[derive(Deserialize)]
pub struct NewKey {
    #[serde(default)]
    label: String,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    form_key: String,
}

/// Makes a key, and shows its secret. A form that is sent twice makes one.
pub async fn create(State(app): State<App>, visitor: Visitor, Form(new): Form<NewKey>) -> Page {
    visitor.settings()?;
    let (label, key) = (new.label.trim().to_owned(), session::stored_key(&new.form_key)?);
    let scope = Scope::parse(&new.scope);
    let scope = scope.ok_or_else(|| Trouble::unprocessable("A key may read, charge, or manage."))?;
    if label.is_empty() || label.chars().count() > MAX_LABEL || label.chars().any(char::is_control) {
        let wrong = Some("Say what it is for, in at most 200 characters.".to_owned());
        let shown = Shown { label, scope: Some(scope), wrong, ..Shown::default() };
        return all(&app, &visitor, StatusCode::UNPROCESSABLE_ENTITY, shown).await;
    }
    if !app.store.first_use(visitor.workspace, key).await? {
        return Ok(go(&app, PAGE, "form-sent"));
    }
    let secret: [u8; 32] = clock::random();
    let made = app.store.create_key(visitor.workspace, (label, scope), secret, visitor.name()).await?;
    let name = id::inside("key", visitor.workspace, made.id);
    let secret = Some(format!("{name}.{}", hex(&secret)));
    all(&app, &visitor, StatusCode::OK, Shown { secret, ..Shown::default() }).await
}

/// Revokes a key, at once.
pub async fn revoke(State(app): State<App>, visitor: Visitor, Path(key): Path<String>) -> Page {
    visitor.settings()?;
    let number = number(&visitor, "key", &key)?;
    app.revoke_key(visitor.workspace, number, visitor.name()).await?;
    Ok(go(&app, PAGE, "key-revoked"))
}
