//! The API keys of a workspace, for the operator. An admin makes them on a page.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::caller::In;
use super::error::Error;
use super::extract::{self, Items, Page, Path, Query};
use super::{Answer, about, no_content};
use crate::app::{App, hex};
use crate::clock::{self, rfc3339};
use crate::id;
use crate::store::people::{ApiKey, Scope};

#[derive(Deserialize, Default, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewKey {
    /// What it is for.
    #[schema(max_length = 200)]
    label: Option<String>,
    /// `read`: all that is asked with GET, and estimates. `charge`: holds and charges as well. `manage`, when left out: everything
    /// that does not need the operator.
    scope: Option<KeyScope>,
}

/// What a key may do.
#[derive(Deserialize, Serialize, Clone, Copy, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeyScope {
    Read,
    Charge,
    Manage,
}

impl From<KeyScope> for Scope {
    fn from(scope: KeyScope) -> Scope {
        match scope {
            KeyScope::Read => Scope::Read,
            KeyScope::Charge => Scope::Charge,
            KeyScope::Manage => Scope::Manage,
        }
    }
}

impl From<Scope> for KeyScope {
    fn from(scope: Scope) -> KeyScope {
        match scope {
            Scope::Read => KeyScope::Read,
            Scope::Charge => KeyScope::Charge,
            Scope::Manage => KeyScope::Manage,
        }
    }
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Key)]
pub struct View {
    id: String,
    label: String,
    scope: KeyScope,
    created_at: String,
    /// Written down at most once in five minutes.
    last_used_at: Option<String>,
    revoked_at: Option<String>,
    /// Shown once.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

fn view(workspace: i64, key: ApiKey, secret: Option<String>) -> View {
    View {
        id: id::inside("key", workspace, key.id),
        label: key.label,
        scope: key.scope.into(),
        created_at: rfc3339(key.created_at),
        last_used_at: key.used_at.map(rfc3339),
        revoked_at: key.revoked_at.map(rfc3339),
        secret,
    }
}

/// Make an API key; its secret is shown once.
#[utoipa::path(post, path = "/v1/workspaces/{ws}/keys", params(("ws" = String, Path)), request_body = Option<NewKey>, responses((status = 201, body = View)))]
pub async fn create(State(app): State<App>, here: In, request: Request) -> Answer {
    here.caller.operator()?;
    let bytes = extract::bytes(request.into_body()).await?;
    let body: NewKey = if bytes.is_empty() { NewKey::default() } else { extract::parse(&bytes)? };
    extract::optional_text("label", body.label.as_deref(), 200)?;
    let (secret, actor): ([u8; 32], _) = (clock::random(), here.caller.actor());
    let new = (body.label.unwrap_or_default(), body.scope.map_or(Scope::Manage, Scope::from));
    let key = app.store.create_key(here.workspace, new, secret, actor).await?;
    let shown = format!("{}.{}", id::inside("key", here.workspace, key.id), hex(&secret));
    about(&app, here.workspace, StatusCode::CREATED, &view(here.workspace, key, Some(shown))).await
}

/// The keys of a workspace, newest first, without their secrets.
#[utoipa::path(get, path = "/v1/workspaces/{ws}/keys", params(("ws" = String, Path), Page), responses((status = 200, body = Items<View>)))]
pub async fn list(State(app): State<App>, here: In, Query(page): Query<Page>) -> Answer {
    here.caller.operator()?;
    let (limit, cursor) = (page.limit()?, page.cursor()?);
    let keys = app.store.keys(here.workspace, cursor, limit + 1).await?;
    let items = Items::new(keys, limit, |key| key.id.to_string(), |key| view(here.workspace, key, None));
    about(&app, here.workspace, StatusCode::OK, &items).await
}

/// Revoke a key, at once.
#[utoipa::path(delete, path = "/v1/workspaces/{ws}/keys/{key}", params(("ws" = String, Path), ("key" = String, Path)), responses((status = 204)))]
pub async fn delete(State(app): State<App>, here: In, Path((_, key)): Path<(String, String)>) -> Answer {
    here.caller.operator()?;
    let (workspace, number) = here.caller.inside("key", &key)?;
    if workspace != here.workspace {
        return Err(Error::not_found());
    }
    app.revoke_key(workspace, number, here.caller.actor()).await?;
    no_content(&app, workspace).await
}
