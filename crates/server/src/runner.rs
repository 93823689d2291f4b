//! The campaign loop: claim, hold, dispatch, call, settle and advance.
//!
//! Owns what happens between two commits of one piece of work. It does *not* decide what a lead's next piece is
//! (`billing::campaign`) or how a piece ends in the database (`store::work`).
//!
//! Invariant: no call leaves before its dispatch is committed, and none is repeated unless its provider can repeat it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use billing::campaign::{self, Channel, Next, Position};
use billing::ledger::HoldTerms;
use billing::{Hold, Labels};
use tokio::task::JoinSet;

use crate::app::App;
use crate::id;
use crate::outreach::{address, lead_from_json, lead_json, prompt, render};
use crate::providers::{Accepted, Email, LinkedinAction, Outcome, Recovery, Status};
use crate::scheduler::pause;
use crate::store::Error;
use crate::store::jobs::JobKind;
use crate::store::leads::{EmailState, Lead};
use crate::store::work::{Claim, Ending, Held, StepOutcome};

/// How many pieces are at work at once.
const WORKERS: usize = 16;
/// How many results of a search are paid and fetched at a time.
const PAGE: i64 = 10;
/// How long a piece's hold lasts, in seconds.
const HOLD_SECONDS: i64 = 900;

/// Whether a piece got anywhere.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Moved,
    Waits,
}

/// Works until nothing that is due can be done. Answers how many pieces moved.
pub async fn work_off(app: &App) -> Result<usize, Error> {
    let mut running = JoinSet::new();
    let (mut moved, mut waits) = (0, 0);
    loop {
        // After a piece that could not be paid, others must end before asking again makes sense.
        let ask = !app.is_stopping()
            && running.len() <= WORKERS / 2
            && (waits == 0 || (running.is_empty() && waits == 1));
        if ask {
            for claim in app.store.claim(WORKERS - running.len()).await? {
                running.spawn(piece(app.clone(), claim));
            }
        }
        match running.join_next().await {
            None => return Ok(moved),
            Some(Ok(Ok(Progress::Moved))) => (moved, waits) = (moved + 1, 0),
            Some(Ok(Ok(Progress::Waits))) => waits += 1,
            Some(Ok(Err(error))) => return drain(running, error).await,
            Some(Err(panic)) => {
                tracing::error!(%panic, "a piece of work broke off; its lease will lapse");
                waits += 1;
            }
        }
    }
}

async fn drain(mut running: JoinSet<Result<Progress, Error>>, error: Error) -> Result<usize, Error> {
    while running.join_next().await.is_some() {}
    Err(error)
}

/// Runs the loop until the server stops. Only for the system's clock.
pub async fn run(app: App) {
    while !app.is_stopping() {
        if let Err(error) = work_off(&app).await {
            tracing::error!(%error, "the campaign loop could not go on");
        }
        pause(&app).await;
    }
}

async fn piece(app: App, claim: Claim) -> Result<Progress, Error> {
    app.served.pieces.fetch_add(1, Ordering::Relaxed);
    if let Some(hold) = claim.left_dispatched() {
        let ending = recover(&app, &claim, hold).await;
        app.store.finish_piece(&claim, Some(hold.id), ending).await?;
        return Ok(Progress::Moved);
    }
    let Some((operation, quantity)) = (match next(&claim) {
        Step::Pass(next) => {
            app.store.pass_piece(&claim, next).await?;
            return Ok(Progress::Moved);
        }
        Step::Pay(operation, quantity) => Some((operation, quantity)),
    }) else {
        return Ok(Progress::Waits);
    };
    if let Some(reason) = missing(&app, operation) {
        app.store.finish_piece(&claim, None, Ending::Unavailable(reason.to_owned())).await?;
        return Ok(Progress::Moved);
    }
    let quantity = affordable(&app, &claim, operation, quantity);
    let labels = Arc::new(labels(&claim, operation));
    let terms =
        HoldTerms { price: app.unit(operation, quantity), labels, seconds: HOLD_SECONDS, epoch: claim.epoch };
    let Held::Yes(hold) = app.store.hold_piece(&claim, terms).await? else { return Ok(Progress::Waits) };
    if !app.store.dispatch_piece(&claim, hold.id).await? {
        return Ok(Progress::Moved);
    }
    let ending = call(&app, &claim, &hold).await;
    app.store.finish_piece(&claim, Some(hold.id), ending).await?;
    Ok(Progress::Moved)
}

enum Step {
    /// Nothing to pay.
    Pass(Next),
    /// An operation and how many units of it.
    Pay(&'static str, i64),
}

fn next(claim: &Claim) -> Step {
    if claim.lead.is_none() {
        let kind = claim.job.definition.search.as_deref();
        let operation = if kind == Some("clues") { "clue_result" } else { "discovery_result" };
        return Step::Pay(operation, (claim.job.requested - claim.job.delivered).clamp(1, PAGE));
    }
    let plan = claim.job.definition.plan();
    match campaign::next(&plan, claim.position, claim.facts) {
        Next::Enrich(index) if plan.enrich.get(index).is_some_and(|field| field == "contact") => {
            Step::Pay("contact_enrichment", 1)
        }
        Next::Enrich(_) => Step::Pay("field_enrichment", 1),
        Next::Write(_) => Step::Pay("message_generation", 1),
        Next::Send(index) => match plan.steps.get(index).map(|step| step.channel) {
            Some(Channel::Email) => Step::Pay("email_send", 1),
            _ => Step::Pay("linkedin_send", 1),
        },
        pass => Step::Pass(pass),
    }
}

/// A page shrinks to what is available, so that the last credits of a workspace are of use; one unit at least.
fn affordable(app: &App, claim: &Claim, operation: &str, quantity: i64) -> i64 {
    let unit = app.unit(operation, 1).unit_price;
    if claim.lead.is_some() || unit == 0 {
        return quantity;
    }
    quantity.min(claim.available / unit).max(1)
}

fn missing(app: &App, operation: &str) -> Option<&'static str> {
    let providers = &app.providers;
    match operation {
        "contact_enrichment" | "field_enrichment" if providers.enrichment.providers().is_empty() => {
            Some("no enrichment provider is configured")
        }
        "discovery_result" | "clue_result" if providers.discovery.is_none() => {
            Some("no discovery provider is configured")
        }
        "message_generation" if providers.messages.is_none() => Some("no message provider is configured"),
        "email_send" if providers.email.is_none() => Some("no mail server is configured"),
        "linkedin_send" if providers.linkedin.is_none() => Some("no LinkedIn provider is configured"),
        _ => None,
    }
}

fn labels(claim: &Claim, operation: &str) -> Labels {
    let channel = match operation {
        "email_send" => "email",
        "linkedin_send" => "linkedin",
        "message_generation" => "messages",
        "discovery_result" | "clue_result" => "discovery",
        _ => "enrichment",
    };
    let name = |prefix| Some(Arc::from(id::inside(prefix, claim.workspace, claim.job.id)));
    let campaign = claim.job.kind == JobKind::Campaign;
    Labels {
        campaign: if campaign { name("camp") } else { None },
        member: None,
        channel: Some(channel.into()),
        reference: if campaign { None } else { name("job") },
        lead: claim.lead.as_ref().map(|lead| id::inside("lead", claim.workspace, lead.id).into()),
    }
}

/// Makes the call that a hold pays for.
async fn call(app: &App, claim: &Claim, hold: &Hold) -> Ending {
    let key = id::inside("hold", claim.workspace, hold.id.0);
    let Some(lead) = &claim.lead else { return search(app, claim, hold, &key).await };
    match (&*hold.price.operation, claim.position) {
        ("contact_enrichment", _) => contact(app, claim, lead, &key).await,
        ("field_enrichment", Position::Enrich(index)) => {
            let field = claim.job.definition.enrich.get(index).map_or("", String::as_str);
            fill(app, claim, lead, field, &key).await
        }
        ("message_generation", Position::Step(index)) => write(app, claim, lead, index, &key).await,
        ("email_send", Position::Step(index)) => email(app, claim, lead, index, &key).await,
        ("linkedin_send", Position::Step(index)) => linkedin(app, claim, lead, index, &key).await,
        _ => Ending::Failed("the work does not fit its hold".to_owned()),
    }
}

/// Turns what is not an answer into an ending.
fn ending<T>(outcome: Outcome<T>, done: impl FnOnce(T) -> Ending) -> Ending {
    match outcome {
        Outcome::Done(value) => done(value),
        Outcome::ItemFailed { reason } => Ending::Failed(reason),
        Outcome::Unavailable { reason } => Ending::Unavailable(reason),
        Outcome::TryLater { reason } => Ending::Later(reason),
        Outcome::Unknown { reason } => Ending::Doubt(reason),
    }
}

async fn contact(app: &App, claim: &Claim, lead: &Lead, key: &str) -> Ending {
    let outcome = app.providers.enrichment.contact(&lead_json(lead, claim.workspace), key).await;
    ending(outcome, |contact| {
        // The one spelling that imports are compared with.
        let email = contact.email.filter(|_| contact.found).and_then(|email| address(email.trim()).ok());
        let Some(email) = email else {
            return Ending::LookedUp { filled: None, charged: false };
        };
        let email_state = if contact.verified { EmailState::Verified } else { EmailState::Unverified };
        let filled = Lead { id: lead.id, email: Some(email), email_state, ..Lead::default() };
        Ending::LookedUp { filled: Some(Box::new(filled)), charged: contact.verified }
    })
}

async fn fill(app: &App, claim: &Claim, lead: &Lead, field: &str, key: &str) -> Ending {
    let outcome = app.providers.enrichment.field(field, &lead_json(lead, claim.workspace), key).await;
    ending(outcome, |answer| {
        let empty = |value: &serde_json::Value| {
            value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty())
        };
        let Some(value) = answer.value.filter(|value| answer.found && !empty(value)) else {
            return Ending::LookedUp { filled: None, charged: false };
        };
        let mut filled = Lead { id: lead.id, ..Lead::default() };
        match (field, value.as_str()) {
            ("title", Some(text)) => text.clone_into(&mut filled.title),
            ("company", Some(text)) => text.clone_into(&mut filled.company),
            _ => drop(filled.fields.insert(field.to_owned(), value)),
        }
        Ending::LookedUp { filled: Some(Box::new(filled)), charged: true }
    })
}

async fn write(app: &App, claim: &Claim, lead: &Lead, index: usize, key: &str) -> Ending {
    let Some(writer) = &app.providers.messages else {
        return Ending::Unavailable("no message provider is configured".to_owned());
    };
    let (instructions, prompt) = prompt(&claim.job, index, lead);
    let call = format!("{key}:1");
    ending(writer.write(&instructions, &prompt, &call).await, Ending::Wrote)
}

/// The text of a step for a lead: the written message, or the template filled in.
fn text(claim: &Claim, lead: &Lead, index: usize) -> String {
    let template =
        claim.job.definition.steps.get(index).and_then(|step| step.template.as_deref()).unwrap_or_default();
    claim.message.clone().unwrap_or_else(|| render(template, lead))
}

async fn email(app: &App, claim: &Claim, lead: &Lead, index: usize, key: &str) -> Ending {
    let (Some(server), Some(to)) = (&app.providers.email, lead.usable_email()) else {
        return Ending::NotSent(StepOutcome::Skipped, "no usable address".to_owned());
    };
    let subject = claim
        .job
        .definition
        .steps
        .get(index)
        .and_then(|step| step.subject.as_deref())
        .unwrap_or(&claim.job.name);
    let email = Email {
        to: to.to_owned(),
        subject: render(subject, lead),
        text: text(claim, lead, index),
        html: None,
        message_id: format!("{key}@scrip"),
        at_micros: app.clock.now().0,
    };
    ending(server.send(&email).await, |()| Ending::Sent)
}

async fn linkedin(app: &App, claim: &Claim, lead: &Lead, index: usize, key: &str) -> Ending {
    let Some(provider) = &app.providers.linkedin else {
        return Ending::Unavailable("no LinkedIn provider is configured".to_owned());
    };
    let invite = claim.job.definition.steps.get(index).is_some_and(|step| step.channel == "linkedin_invite");
    let action = if invite { LinkedinAction::Invite } else { LinkedinAction::Message };
    let (lead_json, text, call) =
        (lead_json(lead, claim.workspace), text(claim, lead, index), format!("{key}:1"));
    ending(provider.linkedin(action, &lead_json, &text, "default", &call).await, accepted)
}

fn accepted(answer: Accepted) -> Ending {
    if answer.accepted {
        return Ending::Sent;
    }
    Ending::NotSent(StepOutcome::Skipped, answer.reason.unwrap_or_else(|| "not accepted".to_owned()))
}

async fn search(app: &App, claim: &Claim, hold: &Hold, key: &str) -> Ending {
    let Some(provider) = &app.providers.discovery else {
        return Ending::Unavailable("no discovery provider is configured".to_owned());
    };
    let definition = &claim.job.definition;
    let kind = definition.search.as_deref().unwrap_or("leads");
    let limit = u32::try_from(hold.price.quantity).unwrap_or(1);
    let (cursor, call) = (claim.job.cursor.as_deref(), format!("{key}:1"));
    ending(provider.search(&definition.query, kind, limit, cursor, &call).await, |page| {
        let leads: Vec<Lead> = page.results.iter().filter_map(lead_from_json).collect();
        // A page without results and with a cursor would go round for ever.
        let next_cursor = page.next_cursor.filter(|_| !page.results.is_empty());
        Ending::Page { leads, next_cursor }
    })
}

/// What to do about a call that went out before a crash: repeat it where the provider can tell, ask where it can answer,
/// and otherwise say that nobody knows.
async fn recover(app: &App, claim: &Claim, hold: &Hold) -> Ending {
    let providers = &app.providers;
    let http = |provider: &Option<crate::providers::HttpProvider>| {
        provider.as_ref().map_or(Recovery::Neither, |p| p.recovery())
    };
    let recovery = match &*hold.price.operation {
        // Writing a message has no effect outside: asking again under the same key is safe.
        "message_generation" => Recovery::Repeat,
        "contact_enrichment" | "field_enrichment" => providers.enrichment.recovery(),
        "discovery_result" | "clue_result" => http(&providers.discovery),
        "linkedin_send" => http(&providers.linkedin),
        _ => Recovery::Neither,
    };
    match recovery {
        Recovery::Repeat => call(app, claim, hold).await,
        Recovery::Query if &*hold.price.operation == "linkedin_send" => ask(app, claim, hold).await,
        // A look-up changes nothing outside, so it may be asked again where its provider keeps track of keys.
        Recovery::Query => call(app, claim, hold).await,
        Recovery::Neither => Ending::Doubt("the server stopped while the call was under way".to_owned()),
    }
}

async fn ask(app: &App, claim: &Claim, hold: &Hold) -> Ending {
    let Some(provider) = &app.providers.linkedin else {
        return Ending::Doubt("the provider is gone".to_owned());
    };
    let key = format!("{}:1", id::inside("hold", claim.workspace, hold.id.0));
    match provider.status(&key).await {
        Outcome::Done(Status::Done(result)) => {
            let accepted = result
                .as_ref()
                .and_then(|result| result.get("accepted"))
                .and_then(serde_json::Value::as_bool);
            match accepted {
                Some(false) => Ending::NotSent(StepOutcome::Skipped, "not accepted".to_owned()),
                _ => Ending::Sent,
            }
        }
        Outcome::Done(Status::NotSeen) => call(app, claim, hold).await,
        _ => Ending::Doubt("the provider could not say whether it was sent".to_owned()),
    }
}
