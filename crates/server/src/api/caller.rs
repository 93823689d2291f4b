//! Who calls: the operator, or a workspace's key. Every handler asks here before it touches anything.
//!
//! Here alone a key's scope is held against the route: reading needs `read`, and everything else what the list of routes says,
//! or `manage` where it says nothing.

use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use billing::Seq;
use serde::Deserialize;

use super::error::Error;
use crate::app::{App, from_hex};
use crate::id;
use crate::store::people::Scope;

/// The caller of a request.
#[derive(Clone, Debug)]
pub enum Caller {
    /// The operator: every workspace.
    Operator,
    /// A workspace's key: its own workspace.
    Key {
        /// The key's number.
        key: i64,
        /// Its workspace.
        workspace: i64,
        /// What it may do there.
        scope: Scope,
    },
}

impl FromRequestParts<App> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Caller, Error> {
        let caller = Caller::of(app, &parts.headers).await?;
        let reads = matches!(parts.method, Method::GET | Method::HEAD);
        let said = || parts.extensions.get::<Scope>().copied().unwrap_or(Scope::Manage);
        caller.may(if reads { Scope::Read } else { said() })?;
        Ok(caller)
    }
}

impl Caller {
    /// Who sent these headers.
    pub async fn of(app: &App, headers: &HeaderMap) -> Result<Caller, Error> {
        Caller::with(app, headers.get(header::AUTHORIZATION)).await
    }

    /// Who has this authorization.
    pub async fn with(app: &App, authorization: Option<&HeaderValue>) -> Result<Caller, Error> {
        let token = authorization
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let Some((_, token)) = token else { return Err(Error::unauthorized()) };
        let token = token.trim();
        if let Some((key, secret)) = token.split_once('.')
            && let Some((owner, number)) = id::parse_inside("key", key)
            && let Some(secret) = from_hex(secret)
        {
            return match app.open_key(number, &secret).await? {
                Some((workspace, scope)) if workspace == owner => {
                    Ok(Caller::Key { key: number, workspace, scope })
                }
                _ => Err(Error::unauthorized()),
            };
        }
        if app.is_operator(token) { Ok(Caller::Operator) } else { Err(Error::unauthorized()) }
    }

    /// Fails unless the caller may do what needs a scope.
    pub fn may(&self, needed: Scope) -> Result<(), Error> {
        match self {
            Caller::Key { scope, .. } if *scope < needed => Err(Error::beyond_scope(needed.name())),
            _ => Ok(()),
        }
    }

    /// Fails unless the operator calls.
    pub fn operator(&self) -> Result<(), Error> {
        match self {
            Caller::Operator => Ok(()),
            Caller::Key { .. } => Err(Error::forbidden()),
        }
    }

    /// The number of a workspace that the caller may see.
    pub fn workspace(&self, text: &str) -> Result<i64, Error> {
        let workspace = id::parse_workspace(text).ok_or_else(Error::not_found)?;
        self.may_see(workspace)
    }

    /// Workspace and number of a thing that the caller may see.
    pub fn inside(&self, prefix: &str, text: &str) -> Result<(i64, i64), Error> {
        let (workspace, number) = id::parse_inside(prefix, text).ok_or_else(Error::not_found)?;
        Ok((self.may_see(workspace)?, number))
    }

    /// Workspace and entry number of a hold or grant that the caller may see.
    pub fn ledger(&self, prefix: &str, text: &str) -> Result<(i64, Seq), Error> {
        self.inside(prefix, text).map(|(workspace, number)| (workspace, Seq(number)))
    }

    /// How the caller is named in the ledger: opaque, never a person.
    pub fn actor(&self) -> String {
        match self {
            Caller::Operator => "operator".to_owned(),
            Caller::Key { key, workspace, .. } => id::inside("key", *workspace, *key),
        }
    }

    /// A workspace's number, if the caller may see it.
    pub fn may_see(&self, workspace: i64) -> Result<i64, Error> {
        match self {
            Caller::Key { workspace: own, .. } if *own != workspace => Err(Error::not_found()),
            _ => Ok(workspace),
        }
    }
}

/// The caller and the `{ws}` of the path, which the caller may see.
pub struct In {
    pub caller: Caller,
    pub workspace: i64,
}

#[derive(Deserialize)]
struct Address {
    ws: String,
}

impl FromRequestParts<App> for In {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<In, Error> {
        let caller = Caller::from_request_parts(parts, app).await?;
        let path = Path::<Address>::from_request_parts(parts, app).await;
        let Path(Address { ws }) = path.map_err(|_| Error::not_found())?;
        let workspace = caller.workspace(&ws)?;
        Ok(In { caller, workspace })
    }
}
