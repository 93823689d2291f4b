//! How a request becomes typed values: bodies, queries, keys. Whatever is wrong is answered with the field's name.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use axum::BoxError;
use axum::body::{Bytes, HttpBody};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use http_body_util::{BodyExt, Collected, LengthLimitError, Limited};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest, Sha256};

use super::error::Error;
use crate::store::committer::{Key, KeyKind};

/// The largest request body, in bytes.
pub const MAX_BODY: usize = 4 * 1024 * 1024;
/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(60);
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// A JSON body.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Error;

    async fn from_request(request: Request, _: &S) -> Result<Json<T>, Error> {
        json(request.into_body()).await.map(Json)
    }
}

/// No body, `null`, or a JSON object without fields: there is nothing to say.
pub struct Nothing;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoFields {}

impl<S: Send + Sync> FromRequest<S> for Nothing {
    type Rejection = Error;

    async fn from_request(request: Request, _: &S) -> Result<Nothing, Error> {
        nothing(request.into_body()).await
    }
}

/// Reads a body that has nothing to say.
pub async fn nothing<B>(body: B) -> Result<Nothing, Error>
where
    B: HttpBody<Error: Into<BoxError>>,
{
    // Most have none, and waiting for its end would take as long as for a body.
    if !body.is_end_stream() {
        let bytes = bytes(body).await?;
        if !bytes.is_empty() {
            parse::<Option<NoFields>>(&bytes)?;
        }
    }
    Ok(Nothing)
}

/// A body as JSON.
pub async fn json<T: DeserializeOwned, B>(body: B) -> Result<T, Error>
where
    B: HttpBody<Error: Into<BoxError>>,
{
    parse(&bytes(body).await?)
}

/// The raw body, bounded.
pub async fn bytes<B>(body: B) -> Result<Bytes, Error>
where
    B: HttpBody<Error: Into<BoxError>>,
{
    let mut body = std::pin::pin!(body);
    let read = Limited::new(body.as_mut(), MAX_BODY).collect();
    let Ok(read) = tokio::time::timeout(PATIENCE, read).await else {
        let detail = "the body took too long to arrive";
        return Err(Error::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", detail));
    };
    match read.map(Collected::to_bytes) {
        Err(error) if error.is::<LengthLimitError>() => {
            // Whoever still writes when the connection is closed does not get to read why: as much again is heard out.
            drop(tokio::time::timeout(PATIENCE, Limited::new(body, MAX_BODY).collect()).await);
            let detail = format!("a body has at most {MAX_BODY} bytes");
            Err(Error::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail))
        }
        read => read
            .map_err(|_| Error::new(StatusCode::BAD_REQUEST, "malformed_body", "the body could not be read")),
    }
}

/// Parses JSON; what is wrong is named.
pub fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Error> {
    // A list would be taken for the fields in their order.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        let detail = "the body must be a JSON object";
        return Err(Error::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_body", detail));
    }
    // The quick way first: the path to a mistake is only worth its price when there is one.
    match serde_json::from_slice(bytes) {
        Ok(value) => Ok(value),
        // A value of another kind than a name of a list is called a syntax error too.
        Err(error) if !error.is_data() && serde_json::from_slice::<IgnoredAny>(bytes).is_err() => Err(
            Error::new(StatusCode::BAD_REQUEST, "malformed_json", format!("the body is not JSON: {error}")),
        ),
        Err(_) => Err(explain::<T>(bytes)),
    }
}

fn explain<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Error {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let error = match serde_path_to_error::deserialize::<_, T>(&mut reader) {
        Err(error) => error,
        Ok(_) => {
            return Error::new(
                StatusCode::BAD_REQUEST,
                "malformed_json",
                "there is something after the JSON value",
            );
        }
    };
    let path = error.path().to_string();
    let message = error.into_inner().to_string();
    let message = message.split(" at line ").next().unwrap_or_default().to_owned();
    named(&path, &message)
}

/// Names the field that serde complains about: it is in the path, or in backticks in the message.
fn named(path: &str, message: &str) -> Error {
    let quoted = message.split('`').nth(1).unwrap_or_default();
    let inside = |name: &str| if path == "." { name.to_owned() } else { format!("{path}.{name}") };
    if message.starts_with("unknown field") {
        return Error::field(
            path.rsplit('.')
                .next()
                .filter(|last| *last == quoted)
                .map_or_else(|| inside(quoted), |_| path.to_owned()),
            "there is no such field",
        )
        .code("unknown_field");
    }
    if message.starts_with("duplicate field") {
        return Error::field(
            if path.ends_with(quoted) { path.to_owned() } else { inside(quoted) },
            "is given twice",
        );
    }
    if message.starts_with("missing field") {
        return Error::field(inside(quoted), "this field is required").code("missing_field");
    }
    match path {
        "." => Error::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_body", message),
        path => Error::field(path, message),
    }
}

/// A query string.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Query<T>, Error> {
        let query = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        query.map(|axum::extract::Query(value)| Query(value)).map_err(|rejection| {
            let message = rejection.body_text();
            let message = message.strip_prefix("Failed to deserialize query string: ").unwrap_or(&message);
            match message.split_once(": ") {
                Some((field, reason)) if !field.contains(' ') => named(field, reason),
                _ => named(".", message),
            }
        })
    }
}

/// What the address names. A part that is not text names nothing.
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Path<T>, Error> {
        let path = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        path.map(|axum::extract::Path(value)| Path(value)).map_err(|_| Error::not_found())
    }
}

/// Which page of a list.
#[derive(Deserialize, Clone, Debug, Default, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// How many items, 1 to 500; 50 by default.
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<i64>,
    /// Where the page before ended.
    pub cursor: Option<String>,
}

impl Page {
    /// The page's size.
    pub fn limit(&self) -> Result<i64, Error> {
        page_size(self.limit)
    }

    /// The number that the cursor stands for.
    pub fn cursor(&self) -> Result<Option<i64>, Error> {
        number_cursor(self.cursor.as_deref())
    }
}

/// A page's size, checked.
pub fn page_size(limit: Option<i64>) -> Result<i64, Error> {
    match limit.unwrap_or(50) {
        limit @ 1..=500 => Ok(limit),
        _ => Err(Error::field("limit", "must be a whole number from 1 to 500")),
    }
}

/// The number behind a cursor.
pub fn number_cursor(cursor: Option<&str>) -> Result<Option<i64>, Error> {
    let parse = |text: &str| text.parse().ok().filter(|number| *number >= 0);
    cursor
        .map(|text| parse(text).ok_or_else(|| Error::field("cursor", "is not a cursor of this list")))
        .transpose()
}

/// One page of a list.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Items<T> {
    pub items: Vec<T>,
    /// Pass it as `cursor` for the next page; null at the end.
    pub next_cursor: Option<String>,
}

impl<T> Items<T> {
    /// A page of at most `limit` items; `rows` may have one more, which says that there is a next page.
    pub fn new<R>(
        mut rows: Vec<R>,
        limit: i64,
        cursor: impl Fn(&R) -> String,
        show: impl FnMut(R) -> T,
    ) -> Items<T> {
        let limit = usize::try_from(limit).unwrap_or(500);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows.last().filter(|_| more).map(cursor);
        Items { items: rows.into_iter().map(show).collect(), next_cursor }
    }
}

/// How the document tells of [`IdempotencyKey`].
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "it describes what `header_key` reads")]
pub struct KeyHeader {
    /// The same key with the same command has the same answer.
    #[param(rename = "Idempotency-Key", min_length = 1, max_length = 255, pattern = "^[!-~]+$")]
    idempotency_key: String,
}

/// The `Idempotency-Key` header: 1 to 255 visible characters.
pub struct IdempotencyKey(pub String);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<IdempotencyKey, Error> {
        header_key(&parts.headers).map(|key| IdempotencyKey(key.to_owned()))
    }
}

/// The `Idempotency-Key` of a request, checked.
pub fn header_key(headers: &HeaderMap) -> Result<&str, Error> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else {
        let detail = "send an Idempotency-Key header: what this does must happen once";
        return Err(
            Error::new(StatusCode::BAD_REQUEST, "idempotency_key_required", detail).at("Idempotency-Key")
        );
    };
    idempotency_key(value.to_str().unwrap_or_default())
}

/// Checks an idempotency key.
pub fn idempotency_key(text: &str) -> Result<&str, Error> {
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    if visible && (1..=255).contains(&text.len()) {
        return Ok(text);
    }
    let detail = "an idempotency key has 1 to 255 visible characters";
    Err(Error::new(StatusCode::BAD_REQUEST, "invalid_idempotency_key", detail).at("Idempotency-Key"))
}

/// A caller's key with the digest of the parsed command.
pub fn key(kind: KeyKind, key: &str, command: &impl Serialize) -> Key {
    let digest = Sha256::digest(serde_json::to_vec(command).unwrap_or_default());
    let mut fingerprint = [0; 16];
    fingerprint.copy_from_slice(&digest[..16]);
    Key { kind, key: key.into(), fingerprint }
}

/// Text of a bounded length without control characters.
pub fn text(field: &str, text: &str, max: usize) -> Result<(), Error> {
    if text.trim().is_empty() {
        return Err(Error::field(field, "must not be empty"));
    }
    optional_text(field, Some(text), max)
}

/// The same for text that may be absent.
pub fn optional_text(field: &str, text: Option<&str>, max: usize) -> Result<(), Error> {
    let Some(text) = text else { return Ok(()) };
    if text.chars().count() > max {
        return Err(Error::field(field, format!("has at most {max} characters")));
    }
    if text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        return Err(Error::field(field, "must not contain control characters"));
    }
    Ok(())
}

/// An e-mail address that a mail server could take.
pub fn email(field: &str, address: &str) -> Result<(), Error> {
    let valid = address.len() <= 254 && address.is_ascii() && address.parse::<lettre::Address>().is_ok();
    if valid { Ok(()) } else { Err(Error::field(field, "must be an e-mail address")) }
}

/// A JSON object and nothing else: a list would be taken for the fields in their order.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(value: D) -> Result<Object<T>, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = Object<T>;

            fn expecting(&self, words: &mut fmt::Formatter<'_>) -> fmt::Result {
                words.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(fields)).map(Object)
            }
        }

        value.deserialize_map(Fields(PhantomData))
    }
}

/// A field that is an object.
pub fn object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(value: D) -> Result<T, D::Error> {
    Object::deserialize(value).map(|Object(object)| object)
}

/// A field that is a list of objects.
pub fn objects<'de, T: Deserialize<'de>, D: Deserializer<'de>>(value: D) -> Result<Vec<T>, D::Error> {
    let all = Vec::<Object<T>>::deserialize(value)?;
    Ok(all.into_iter().map(|Object(object)| object).collect())
}

/// The same where it may be absent.
pub fn some_objects<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    value: D,
) -> Result<Option<Vec<T>>, D::Error> {
    let all = Option::<Vec<Object<T>>>::deserialize(value)?;
    Ok(all.map(|all| all.into_iter().map(|Object(object)| object).collect()))
}

/// A field that tells `null` from absent: `Some(None)` clears, `None` leaves alone.
pub fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    value: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(value).map(Some)
}

/// Whether a request carries CSV.
pub fn is_csv(parts: &axum::http::HeaderMap) -> bool {
    let kind = parts.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/csv"))
}
