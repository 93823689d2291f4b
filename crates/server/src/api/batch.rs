//! Many commands in one request, in order; each stands or falls alone.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use billing::Seq;
use billing::ledger::Command;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::caller::Caller;
use super::error::Error;
use super::extract;
use super::{Answer, holds, json_bytes, write};
use crate::app::App;
use crate::store::committer::{KeyKind, Post};

/// How many commands one request may carry.
const MAX_COMMANDS: usize = 8_192;
/// What a result takes, about.
const RESULT_BYTES: usize = 512;

#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Batch)]
pub struct Body {
    #[serde(deserialize_with = "extract::objects")]
    #[schema(max_items = 8192)]
    commands: Vec<One>,
}

/// The same before each command is looked at.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unread<'a> {
    #[serde(borrow)]
    commands: Vec<&'a RawValue>,
}

/// One command of a batch. Which fields it has depends on `do`.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BatchCommand)]
pub struct One {
    r#do: Do,
    workspace: String,
    /// For `hold` and `charge`: its idempotency key. The others need none.
    key: Option<String>,
    /// For the others: the hold's id, or `hold_key`.
    hold: Option<String>,
    /// The key that the hold was made with.
    hold_key: Option<String>,
    operation: Option<String>,
    quantity: Option<i64>,
    attempted: Option<i64>,
    campaign: Option<String>,
    member: Option<String>,
    channel: Option<String>,
    reference: Option<String>,
    expires_in_seconds: Option<i64>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = BatchDo)]
pub enum Do {
    Hold,
    Charge,
    Settle,
    Release,
    Dispatch,
}

#[derive(utoipa::ToSchema)]
#[schema(as = BatchResults)]
#[allow(dead_code, reason = "it describes what `answer` writes")]
pub struct Results {
    results: Vec<One200>,
}

/// One result: the status and body that the single request would have had.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = BatchResult)]
pub struct One200 {
    status: u16,
    #[schema(value_type = Object)]
    body: Outcome,
}

/// The body of a result.
#[derive(Serialize)]
#[serde(untagged)]
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
enum Outcome {
    Opened(holds::Opened),
    Hold(holds::View),
    Problem(Value),
}

/// Post many commands.
#[utoipa::path(post, path = "/v1/batch", request_body = Body, responses((status = 200, body = Results)))]
pub async fn post(State(app): State<App>, caller: Caller, request: Request) -> Answer {
    answer(&app, &caller, &extract::bytes(request.into_body()).await?).await
}

/// Posts the commands of a body. The results are written one after the other into one buffer.
pub async fn answer(app: &App, caller: &Caller, body: &[u8]) -> Answer {
    let commands = read(body)?;
    if commands.is_empty() || commands.len() > MAX_COMMANDS {
        return Err(Error::field("commands", format!("has 1 to {MAX_COMMANDS} commands")));
    }
    let mut posts = Vec::with_capacity(commands.len());
    let mut price = |command: Result<One, Error>| {
        let post = parse(app, caller, command?)?;
        let about = (post.workspace, post.key.as_ref().map(|key| key.kind));
        posts.push(post);
        Ok(about)
    };
    let priced: Vec<Result<_, Error>> = commands.into_iter().map(&mut price).collect();
    let mut answers = app.store.post_all(posts).await.into_iter();
    let result = |about: Result<(i64, Option<KeyKind>), Error>| {
        let (workspace, kind) = about?;
        let answer = answers.next().ok_or_else(Error::not_found)??;
        match (kind, &answer.entry, &answer.hold) {
            (Some(kind), Some(recorded), _) => {
                let body = Outcome::Opened(holds::opened(workspace, recorded, kind));
                Ok(One200 { status: 201, body })
            }
            (None, _, Some(hold)) => {
                let body = holds::view(workspace, hold, Some(answer.available));
                Ok(One200 { status: 200, body: Outcome::Hold(body) })
            }
            _ => Err(Error::not_found()),
        }
    };
    let problem = |error: Error| One200 { status: error.status(), body: Outcome::Problem(error.body()) };
    let mut text = Vec::with_capacity(RESULT_BYTES * priced.len());
    text.extend_from_slice(b"{\"results\":");
    let mut before = b'[';
    for one in priced.into_iter().map(result) {
        text.push(before);
        before = b',';
        write(&mut text, &one.unwrap_or_else(problem))?;
    }
    text.extend_from_slice(b"]}");
    Ok(json_bytes(StatusCode::OK, text))
}

/// Reads all commands at once. Only where that fails, each is read alone, for each stands or falls alone.
fn read(body: &[u8]) -> Result<Vec<Result<One, Error>>, Error> {
    if let Ok(Body { commands }) = serde_json::from_slice(body) {
        return Ok(commands.into_iter().map(Ok).collect());
    }
    let Unread { commands } = extract::parse(body)?;
    Ok(commands.into_iter().map(|command| extract::parse(command.get().as_bytes())).collect())
}

fn parse(app: &App, caller: &Caller, one: One) -> Result<Post, Error> {
    let workspace = caller.workspace(&one.workspace)?;
    match one.r#do {
        Do::Hold | Do::Charge => {
            let named = [("hold", &one.hold), ("hold_key", &one.hold_key)];
            refuse_extra(named.iter().map(|(name, value)| (*name, value.is_some())))?;
            refuse_extra([("attempted", one.attempted.is_some())])?;
            let kind = if one.r#do == Do::Charge { KeyKind::Charge } else { KeyKind::Hold };
            let (key, body) = opening(one)?;
            holds::opening(app, workspace, &key, &body, kind, &caller.actor())
        }
        kind => follow_up(caller, workspace, kind, &one),
    }
}

/// The key and the body that the single request would have had.
fn opening(one: One) -> Result<(String, holds::Create), Error> {
    let key = one.key.ok_or_else(|| missing("key"))?;
    extract::idempotency_key(&key).map_err(|error| error.at("key"))?;
    let (operation, quantity) = (
        one.operation.ok_or_else(|| missing("operation"))?,
        one.quantity.ok_or_else(|| missing("quantity"))?,
    );
    let (campaign, member, channel, reference) = (one.campaign, one.member, one.channel, one.reference);
    let expires_in_seconds = one.expires_in_seconds;
    let body =
        holds::Create { operation, quantity, campaign, member, channel, reference, expires_in_seconds };
    Ok((key, body))
}

fn follow_up(caller: &Caller, workspace: i64, kind: Do, one: &One) -> Result<Post, Error> {
    let labels = [
        ("campaign", &one.campaign),
        ("member", &one.member),
        ("channel", &one.channel),
        ("reference", &one.reference),
    ];
    refuse_extra(labels.iter().map(|(name, value)| (*name, value.is_some())))?;
    // Nothing needs it: the end of a hold is the same each time. Whoever names every command may name this one too.
    if let Some(key) = &one.key {
        extract::idempotency_key(key).map_err(|error| error.at("key"))?;
    }
    refuse_extra([("operation", one.operation.is_some())])?;
    refuse_extra([("expires_in_seconds", one.expires_in_seconds.is_some())])?;
    let hold = match (&one.hold, &one.hold_key) {
        (Some(hold), None) => {
            let (owner, hold) = caller.ledger("hold", hold)?;
            if owner != workspace {
                return Err(Error::not_found());
            }
            hold
        }
        (None, Some(_)) => Seq(0),
        _ => return Err(Error::field("hold", "name the hold by either hold or hold_key")),
    };
    let command = match kind {
        Do::Settle => {
            let quantity = one.quantity.ok_or_else(|| missing("quantity"))?;
            Command::Settle { hold, quantity, attempted: one.attempted }
        }
        _ => {
            refuse_extra([("quantity", one.quantity.is_some()), ("attempted", one.attempted.is_some())])?;
            if kind == Do::Release { Command::Release(hold) } else { Command::Dispatch { hold, epoch: 0 } }
        }
    };
    let mut post = Post::new(workspace, command, &caller.actor());
    post.hold_key = one.hold_key.as_deref().map(Into::into);
    Ok(post)
}

fn missing(field: &str) -> Error {
    Error::field(field, "this field is required").code("missing_field")
}

fn refuse_extra<'a>(fields: impl IntoIterator<Item = (&'a str, bool)>) -> Result<(), Error> {
    match fields.into_iter().find(|(_, given)| *given) {
        Some((field, _)) => Err(Error::field(field, "does not belong to this command").code("unknown_field")),
        None => Ok(()),
    }
}
