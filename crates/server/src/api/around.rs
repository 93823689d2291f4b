//! What all answers of the API have, added in one place: the credits that a workspace has left, and in the document the shape
//! of every refusal.

use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, OpenApi, RefOr, ResponseBuilder};
use utoipa::{PartialSchema, ToSchema};

use crate::app::App;
use crate::id;

/// What a workspace can spend.
pub const AVAILABLE: HeaderName = HeaderName::from_static("credits-available");

/// How the document calls the operator's key and those of workspaces.
const KEY: &str = "key";

/// Why a request was refused. The facts of the refusal stand beside these.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it describes what `Error::body` writes")]
pub struct Problem {
    r#type: String,
    title: String,
    status: u16,
    detail: String,
    code: String,
    /// The field that is wrong, where there is one.
    field: Option<String>,
}

/// Adds `Credits-Available` to the answers about a workspace that have none yet: refusals, files and streams. Only what says
/// that the caller may see the workspace gets it.
pub async fn available(app: &App, workspace: Option<i64>, mut response: Response) -> Response {
    let seen = response.status().is_success()
        || matches!(
            response.status(),
            StatusCode::PAYMENT_REQUIRED | StatusCode::CONFLICT | StatusCode::FAILED_DEPENDENCY
        );
    if let Some(workspace) = workspace
        && seen
        && !response.headers().contains_key(AVAILABLE)
        && let Ok(available) = app.store.available(workspace).await
    {
        response.headers_mut().insert(AVAILABLE, HeaderValue::from(available));
    }
    response
}

/// The workspace that an address of the API is about.
pub fn workspace(path: &str) -> Option<i64> {
    let path = path.strip_prefix("/v1/")?;
    if let Some(rest) = path.strip_prefix("workspaces/") {
        return id::parse_workspace(rest.split('/').next()?);
    }
    let mut parts = path.split('/').skip(1);
    parts.find_map(|part| id::parse_inside(part.split_once('_')?.0, part)).map(|(workspace, _)| workspace)
}

/// The document with what all operations have: the key that opens them, and the answer that each may give instead of the one
/// that was hoped for.
pub fn finished(mut document: OpenApi) -> OpenApi {
    let components = document.components.get_or_insert_default();
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    components.add_security_scheme(KEY, bearer);
    document.security = Some(vec![SecurityRequirement::new(KEY, [""; 0])]);
    components.schemas.insert(Problem::name().into_owned(), Problem::schema());
    for item in document.paths.paths.values_mut() {
        let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            let schema = utoipa::openapi::Ref::from_schema_name(Problem::name());
            let content = Content::new(Some(RefOr::Ref(schema)));
            let refused = ResponseBuilder::new()
                .description("Refused, or failed")
                .content("application/problem+json", content);
            operation.responses.responses.insert("default".to_owned(), RefOr::T(refused.build()));
        }
    }
    document
}
