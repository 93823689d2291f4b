//! What all answers of the API have, added in one place: the credits that a workspace has left, and in the document the shape
//! of every refusal.

use std::collections::HashSet;

use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::response::Response;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, OpenApi, RefOr, ResponseBuilder};
use utoipa::{PartialSchema, ToSchema};

use super::caller::Caller;
use super::error::Error;
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

/// Adds `Credits-Available` to the answers about a workspace that have none yet: refusals, files and streams. Only whoever may
/// see the workspace gets it: what is wrong with a request is often found before that is asked.
pub async fn available(
    app: &App,
    workspace: Option<i64>,
    authorization: Option<HeaderValue>,
    mut response: Response,
) -> Response {
    use StatusCode as Is;
    let Some(workspace) = workspace.filter(|_| !response.headers().contains_key(AVAILABLE)) else {
        return response;
    };
    let seen = match response.status() {
        Is::PAYMENT_REQUIRED | Is::CONFLICT | Is::FAILED_DEPENDENCY => true,
        Is::BAD_REQUEST | Is::PAYLOAD_TOO_LARGE | Is::UNPROCESSABLE_ENTITY | Is::TOO_MANY_REQUESTS => {
            let caller = Caller::with(app, authorization.as_ref()).await;
            caller.is_ok_and(|caller| caller.may_see(workspace).is_ok())
        }
        status => status.is_success(),
    };
    if seen && let Ok(available) = app.store.available(workspace).await {
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

/// Which operations take a query, as the document says: method and path.
pub struct Queries(HashSet<(Method, String)>);

impl Queries {
    /// Those of a document.
    pub fn of(document: &OpenApi) -> Queries {
        let takes = |operation: &Option<Operation>| {
            let parameters = operation.as_ref().and_then(|it| it.parameters.as_ref());
            let is_query =
                |it: &RefOr<Parameter>| matches!(it, RefOr::T(it) if it.parameter_in == ParameterIn::Query);
            parameters.is_some_and(|all| all.iter().any(is_query))
        };
        let mut queries = HashSet::new();
        for (path, item) in &document.paths.paths {
            let operations = [
                (Method::GET, &item.get),
                (Method::POST, &item.post),
                (Method::PUT, &item.put),
                (Method::PATCH, &item.patch),
                (Method::DELETE, &item.delete),
            ];
            let with = operations.into_iter().filter(|(_, operation)| takes(operation));
            queries.extend(with.map(|(method, _)| (method, path.clone())));
        }
        Queries(queries)
    }

    /// Refuses a query where none is taken: whoever sends one means something by it.
    pub fn check(&self, method: &Method, path: &str, query: Option<&str>) -> Result<(), Error> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let asked = query.filter(|query| !query.is_empty() && path.starts_with("/v1/"));
        let Some(query) = asked.filter(|_| !self.0.contains(&(method.clone(), path.to_owned()))) else {
            return Ok(());
        };
        let name = query.split(['=', '&']).next().unwrap_or_default();
        Err(Error::field(name, "there is no such field").code("unknown_field"))
    }
}

/// The document with what all operations have: the key that opens them, and the answer that each may give instead of the one
/// that was hoped for.
pub fn finished(mut document: OpenApi) -> OpenApi {
    let components = document.components.get_or_insert_default();
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    components.add_security_scheme(KEY, bearer);
    document.security = Some(vec![SecurityRequirement::new(KEY, [""; 0])]);
    components.schemas.insert(Problem::name().into_owned(), Problem::schema());
    for (path, item) in &mut document.paths.paths {
        let operations = [
            ("get", &mut item.get),
            ("post", &mut item.post),
            ("put", &mut item.put),
            ("patch", &mut item.patch),
            ("delete", &mut item.delete),
        ];
        for (method, operation) in operations {
            let Some(operation) = operation else { continue };
            // Handlers of two resources have the same name, and a client made from the document needs one for each.
            let place = path.trim_start_matches("/v1").replace(['/', '.'], "_").replace(['{', '}'], "");
            operation.operation_id = Some(format!("{method}{place}"));
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
