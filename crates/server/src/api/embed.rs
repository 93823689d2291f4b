//! Embed tokens, and whoever looks at a balance with one.

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::caller::{Caller, In};
use super::error::Error;
use super::extract::{Items, Json, Page, Path, Query};
use super::{Answer, about, no_content};
use crate::app::App;
use crate::clock::{self, rfc3339};
use crate::embed::{self, Embed, Validity};
use crate::id;
use crate::store::embed_tokens::EmbedToken;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewEmbedToken)]
pub struct Create {
    /// The sites that may show the balance, such as `https://app.example.com`.
    #[schema(min_items = 1, max_items = 20)]
    origins: Vec<String>,
    /// A day when left out.
    #[schema(minimum = 1, maximum = 604_800)]
    expires_in_seconds: Option<i64>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = EmbedToken)]
pub struct View {
    /// What it is revoked by.
    id: String,
    token: String,
    origins: Vec<String>,
    expires_at: String,
    /// A page for an `<iframe>`: the balance chip without any script.
    chip_url: String,
    /// The live balance, for the `src` of `<scrip-balance>` or an `EventSource` of your own.
    events_url: String,
    /// The module that defines `<scrip-balance>`.
    script_url: String,
}

fn origins(asked: &[String]) -> Result<Vec<String>, Error> {
    if !(1..=embed::MAX_ORIGINS).contains(&asked.len()) {
        return Err(Error::field("origins", format!("has 1 to {} sites", embed::MAX_ORIGINS)));
    }
    let mut origins = Vec::new();
    for (index, text) in asked.iter().enumerate() {
        let problem = "must be a site such as https://app.example.com, without a path";
        let origin = embed::origin(text).ok_or_else(|| Error::field(format!("origins[{index}]"), problem))?;
        if !origins.contains(&origin) {
            origins.push(origin);
        }
    }
    Ok(origins)
}

/// A read-only token for the balance in a host product's own pages.
#[utoipa::path(post, path = "/v1/workspaces/{ws}/embed_tokens", params(("ws" = String, Path)), request_body = Create, responses((status = 201, body = View)))]
pub async fn create(State(app): State<App>, here: In, Json(body): Json<Create>) -> Answer {
    let seconds = body.expires_in_seconds.unwrap_or(embed::SECONDS);
    if !(1..=embed::MAX_SECONDS).contains(&seconds) {
        let problem = format!("must be a whole number from 1 to {}", embed::MAX_SECONDS);
        return Err(Error::field("expires_in_seconds", problem));
    }
    let (workspace, origins) = (here.workspace, origins(&body.origins)?);
    let (id, created_at) = (clock::fresh_id(), app.clock.now());
    let expires_at = created_at.plus_seconds(seconds);
    let kept = EmbedToken { id, origins: origins.clone(), created_at, expires_at };
    app.store.create_embed_token(workspace, kept).await?;
    let token = app.embed_token(&Embed { workspace, id, origins: origins.clone(), expires_at: expires_at.0 });
    let (home, name) = (&app.public_url, id::workspace(workspace));
    let view = View {
        id: id::inside("emb", workspace, id),
        chip_url: format!("{home}/embed?token={token}"),
        events_url: format!("{home}/v1/workspaces/{name}/events?token={token}"),
        script_url: format!("{home}/embed/scrip-balance.js"),
        token,
        origins,
        expires_at: rfc3339(expires_at),
    };
    about(&app, workspace, StatusCode::CREATED, &view).await
}

/// A token as it is listed.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ListedEmbedToken)]
pub struct Listed {
    id: String,
    origins: Vec<String>,
    created_at: String,
    expires_at: String,
}

/// The tokens that work, newest first, without what they are used by.
#[utoipa::path(get, path = "/v1/workspaces/{ws}/embed_tokens", params(("ws" = String, Path), Page), responses((status = 200, body = Items<Listed>)))]
pub async fn list(State(app): State<App>, here: In, Query(page): Query<Page>) -> Answer {
    let (limit, cursor) = (page.limit()?, page.cursor()?);
    let tokens = app.store.embed_tokens(here.workspace, cursor, limit + 1).await?;
    let show = |token: EmbedToken| Listed {
        id: id::inside("emb", here.workspace, token.id),
        origins: token.origins,
        created_at: rfc3339(token.created_at),
        expires_at: rfc3339(token.expires_at),
    };
    let items = Items::new(tokens, limit, |token| token.id.to_string(), show);
    about(&app, here.workspace, StatusCode::OK, &items).await
}

/// Revoke a token: it shows nothing any more, and what is live ends.
#[utoipa::path(delete, path = "/v1/workspaces/{ws}/embed_tokens/{token}", params(("ws" = String, Path), ("token" = String, Path)), responses((status = 204)))]
pub async fn delete(State(app): State<App>, here: In, Path((_, token)): Path<(String, String)>) -> Answer {
    let (workspace, number) = here.caller.inside("emb", &token)?;
    if workspace != here.workspace {
        return Err(Error::not_found());
    }
    app.store.revoke_embed_token(workspace, number, here.caller.actor()).await?;
    no_content(&app, workspace).await
}

/// What lets somebody look; looking ends with it.
#[derive(Clone)]
pub enum Ticket {
    /// The operator's key, for as long as the server runs.
    Operator,
    /// A workspace's key.
    Key(i64),
    /// An embed token.
    Embed(Embed),
}

impl Ticket {
    /// Whether its time is over.
    pub fn has_ended(&self, now: billing::Time) -> bool {
        matches!(self, Ticket::Embed(embed) if embed.ends() <= now)
    }

    /// Whether it was taken back. One that cannot be looked up is not taken away for it.
    pub async fn is_revoked(&self, app: &App) -> bool {
        match self {
            Ticket::Operator => false,
            Ticket::Key(key) => matches!(app.store.find_key(*key).await, Ok(None)),
            Ticket::Embed(embed) => matches!(app.embed_stands(embed).await, Ok(false)),
        }
    }
}

/// Whoever may look at the balance of `{ws}`: a caller who may see the workspace, or a page with an embed token for it.
pub struct Onlooker {
    pub workspace: i64,
    /// What lets them look.
    pub ticket: Ticket,
    /// The site that looks.
    origin: Option<HeaderValue>,
}

#[derive(Deserialize)]
struct Address {
    ws: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    token: Option<String>,
}

impl FromRequestParts<App> for Onlooker {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Onlooker, Error> {
        let Query(Token { token: query }) = Query::from_request_parts(parts, app).await?;
        let token = query.as_deref().or_else(|| bearer(&parts.headers));
        let embed = app.open_embed(token.unwrap_or_default()).await?;
        // Whoever says a token means it: a wrong one is not made good by a key beside it.
        if query.is_some() && embed.is_none() {
            return Err(Error::unauthorized());
        }
        let Some((embed, validity)) = embed else {
            let In { workspace, caller } = In::from_request_parts(parts, app).await?;
            let ticket = match caller {
                Caller::Operator => Ticket::Operator,
                Caller::Key { key, .. } => Ticket::Key(key),
            };
            return Ok(Onlooker { workspace, ticket, origin: None });
        };
        if validity == Validity::Ended {
            return Err(Error::unauthorized());
        }
        let path = axum::extract::Path::<Address>::from_request_parts(parts, app).await;
        let axum::extract::Path(Address { ws }) = path.map_err(|_| Error::not_found())?;
        if id::parse_workspace(&ws) != Some(embed.workspace) {
            return Err(Error::not_found());
        }
        let origin = parts.headers.get(header::ORIGIN);
        if !origin.is_none_or(|origin| origin.to_str().is_ok_and(|origin| embed.is_for(origin))) {
            let detail = "the embed token is not for this site";
            return Err(Error::new(StatusCode::FORBIDDEN, "origin_not_allowed", detail));
        }
        Ok(Onlooker { workspace: embed.workspace, origin: origin.cloned(), ticket: Ticket::Embed(embed) })
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

impl Onlooker {
    /// Lets the site that looks read the answer.
    pub fn show(self, mut response: Response) -> Response {
        let headers = response.headers_mut();
        headers.insert(header::VARY, HeaderValue::from_static("origin"));
        if let Some(origin) = self.origin {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            let available = HeaderName::from_static("credits-available");
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, available.into());
        }
        response
    }
}
