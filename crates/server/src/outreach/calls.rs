//! The paid calls that a person waits for: a preview, and one message. Hold, dispatch, call, then settle or release.
//!
//! They follow their own coverage: what they cannot pay is refused and pauses nothing. Neither has an effect on anybody
//! outside, so an outcome that nobody knows is released at once instead of staying in doubt.

use std::future::Future;
use std::sync::Arc;

use billing::campaign::Channel;
use billing::ledger::{Command, HoldTerms};
use billing::{Labels, Seq};
use serde_json::Value;

use super::{Asked, check_text, prompt};
use crate::app::App;
use crate::id;
use crate::providers::Outcome;
use crate::store;
use crate::store::calls::About;
use crate::store::committer::Post;
use crate::store::jobs::JobKind;
use crate::store::messages::{Kept, Message, Place, Writing};

/// How many results a preview shows.
const PREVIEW_RESULTS: u32 = 10;
/// How long a hold for such a call lasts, in seconds: far longer than three attempts of the slowest provider.
const HOLD_SECONDS: i64 = 900;

/// Why such a call brought nothing. Nothing was charged for it.
#[derive(Debug)]
pub enum Failure {
    /// The store did not take it.
    Store(store::Error),
    /// There is no provider for it; the word says which.
    NotConfigured(&'static str),
    /// The provider failed; one line says how.
    Provider(String),
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Failure {
        Failure::Store(error)
    }
}

/// Shows what a search would find; `kind` is `leads` or `clues`. Charged when it completes, even when it is empty. `member` is who
/// asks, as their work is labelled.
pub async fn preview(
    app: &App,
    (actor, member): (&str, Option<&str>),
    workspace: i64,
    query: Value,
    kind: &'static str,
) -> Result<Vec<Value>, Failure> {
    let (app, actor, member) = (app.clone(), actor.to_owned(), member.map(Arc::from));
    to_the_end(async move { preview_now(&app, (&actor, member), workspace, &query, kind).await }).await
}

async fn preview_now(
    app: &App,
    (actor, member): (&str, Option<Arc<str>>),
    workspace: i64,
    query: &Value,
    kind: &str,
) -> Result<Vec<Value>, Failure> {
    let provider = app.providers.discovery.as_ref().ok_or(Failure::NotConfigured("discovery"))?;
    let labels = Labels { member, channel: Some("discovery".into()), ..Labels::default() };
    let post = |command| app.store.post(Post::new(workspace, command, actor));
    let opened = post(Command::Hold(terms(app, "discovery_preview", labels))).await?;
    let hold = opened.hold.ok_or(store::Error::NotFound)?.id;
    post(Command::Dispatch { hold, epoch: 0 }).await?;
    let outcome = provider.preview(query, kind, PREVIEW_RESULTS, None, &key(workspace, hold)).await;
    let asked = Asked::alone("discovery", app.providers.costs.discovery);
    let call = asked.heard(&outcome, |page| page.results.len() as i64);
    let about =
        About { hold, job: 0, lead: 0, operation: "discovery_preview".to_owned(), field: String::new() };
    app.store.note_call(workspace, about, call).await?;
    let answer = match outcome {
        Outcome::Done(page) => {
            post(Command::Settle { hold, quantity: 1, attempted: Some(1) }).await?;
            Ok(page.results)
        }
        Outcome::ItemFailed { reason }
        | Outcome::Unavailable { reason }
        | Outcome::TryLater { reason, .. }
        | Outcome::Unknown { reason } => {
            post(Command::Release(hold)).await?;
            Err(Failure::Provider(reason))
        }
    };
    app.nudge();
    answer
}

/// Writes the message of one step for one lead, for the first time or again. Charged when it is stored.
pub async fn write_message(
    app: &App,
    actor: &str,
    workspace: i64,
    place: Place,
    writing: Writing,
) -> Result<Message, Failure> {
    let (app, actor) = (app.clone(), actor.to_owned());
    to_the_end(async move { write_message_now(&app, &actor, workspace, place, writing).await }).await
}

async fn write_message_now(
    app: &App,
    actor: &str,
    workspace: i64,
    place: Place,
    writing: Writing,
) -> Result<Message, Failure> {
    let provider = app.providers.messages.as_ref().ok_or(Failure::NotConfigured("messages"))?;
    let operation = match writing {
        Writing::First => "message_generation",
        Writing::Again => "message_regeneration",
    };
    let labels = Labels {
        campaign: Some(id::inside("camp", workspace, place.job).into()),
        lead: Some(id::inside("lead", workspace, place.lead).into()),
        channel: Some("messages".into()),
        ..Labels::default()
    };
    let terms = terms(app, operation, labels);
    let strategy = app.store.strategy(workspace).await?;
    let begun = app.store.begin_message(workspace, place, writing, terms, actor).await?;
    let (instructions, text) = prompt(&begun.job, place.step, &begun.lead, &strategy);
    let hold = begun.hold;
    let channel = begun.job.definition.steps.get(place.step).map_or(Channel::Email, |step| step.channel());
    let written = usable(channel, provider.write(&instructions, &text, &key(workspace, hold)).await);
    let call = Asked::alone("messages", app.providers.costs.messages).heard(&written, |_| 1);
    let operation = operation.to_owned();
    let about = About { hold, job: place.job, lead: place.lead, operation, field: String::new() };
    app.store.note_call(workspace, about, call).await?;
    let failed = match written {
        Outcome::Done(text) => {
            let kept = app.store.keep_message(workspace, place, writing, hold, text, actor).await?;
            app.nudge();
            return match kept {
                Kept::Stored(message) => Ok(message),
                Kept::TooLate(why) => Err(Failure::Store(why)),
            };
        }
        // The model was asked and gave nothing usable: tried, and not charged.
        Outcome::ItemFailed { reason } => (Command::Settle { hold, quantity: 0, attempted: Some(1) }, reason),
        Outcome::Unavailable { reason } | Outcome::TryLater { reason, .. } | Outcome::Unknown { reason } => {
            (Command::Release(hold), reason)
        }
    };
    let (command, reason) = failed;
    app.store.post(Post::new(workspace, command, actor)).await?;
    app.nudge();
    Err(Failure::Provider(reason))
}

/// A text that can be sent on a channel, or why the model's cannot.
pub fn usable(channel: Channel, written: Outcome<String>) -> Outcome<String> {
    let Outcome::Done(text) = written else { return written };
    match check_text(channel, &text) {
        Ok(text) => Outcome::Done(text),
        Err(reason) => Outcome::ItemFailed { reason: format!("the model's message {reason}") },
    }
}

/// A person's text for a message, as it may be stored.
///
/// # Errors
/// When there is no such message, or its channel does not take the text.
pub async fn edited(app: &App, workspace: i64, message: i64, text: &str) -> Result<String, store::Error> {
    let message = app.store.message(workspace, message).await?;
    let job = app.store.job(workspace, message.job, JobKind::Campaign).await?;
    let step = usize::try_from(message.step).unwrap_or_default();
    let channel = job.definition.steps.get(step).map_or(Channel::Email, |step| step.channel());
    check_text(channel, text).map_err(|reason| store::Error::Invalid("text", reason))
}

fn terms(app: &App, operation: &str, labels: Labels) -> HoldTerms {
    HoldTerms { price: app.unit(operation, 1), labels: Arc::new(labels), seconds: HOLD_SECONDS, epoch: 0 }
}

/// The provider's idempotency key: these calls make one call each.
fn key(workspace: i64, hold: Seq) -> String {
    format!("{}:1", id::inside("hold", workspace, hold.0))
}

/// Runs a call to its end even when the caller hangs up, so that no hold is left behind.
async fn to_the_end<T: Send + 'static>(
    call: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> Result<T, Failure> {
    let ended = tokio::spawn(call).await;
    ended.unwrap_or_else(|_| Err(store::Error::Unavailable("the call did not end".to_owned()).into()))
}
