//! The calls that holds pay for, and what their outcomes mean for a piece of work.
//!
//! It does *not* hold, dispatch or settle: the loop does, around these calls.

use billing::Hold;
use billing::campaign::{Channel, Position};

use super::waterfall::{Start, look_up};
use crate::app::App;
use crate::config::Cost;
use crate::id;
use crate::outreach::{
    Asked, lead_from_json, lead_json, mail_name, mail_server, prompt, render, subject, usable,
};
use crate::providers::{Accepted, Email, LinkedinAction, Outcome, Recovery, Status, one_line};
use crate::store::Error;
use crate::store::calls::Call;
use crate::store::leads::Lead;
use crate::store::work::{Claim, Ending, StepOutcome};

/// What a call brought, and what is noted of it.
pub(super) struct Called {
    pub(super) ending: Ending,
    pub(super) heard: Vec<Call>,
}

impl Called {
    /// Nobody was asked.
    fn nobody(ending: Ending) -> Called {
        Called { ending, heard: Vec::new() }
    }

    /// One provider was.
    fn of<T>(
        asked: Asked<'_>,
        outcome: Outcome<T>,
        results: impl FnOnce(&T) -> i64,
        done: impl FnOnce(T) -> Ending,
    ) -> Called {
        let heard = vec![asked.heard(&outcome, results)];
        Called { ending: ending(outcome, done), heard }
    }
}

/// Makes the call that a hold pays for. `None`: somebody else has the piece now.
pub(super) async fn call(
    app: &App,
    claim: &Claim,
    hold: &Hold,
    start: Start,
) -> Result<Option<Called>, Error> {
    let key = id::inside("hold", claim.workspace, hold.id.0);
    let Some(lead) = &claim.lead else { return Ok(Some(search(app, claim, hold, &key).await)) };
    let called = match (&*hold.price.operation, claim.position) {
        ("contact_enrichment", _) => return look_up(app, claim, hold, (lead, "contact"), start).await,
        ("field_enrichment", Position::Enrich(index)) => {
            let field = claim.job.definition.enrich.get(index).map_or("", String::as_str);
            return look_up(app, claim, hold, (lead, field), start).await;
        }
        ("message_generation", Position::Step(index)) => write(app, claim, lead, index, &key).await,
        ("email_send", Position::Step(index)) => email(app, claim, lead, index, &key).await,
        ("linkedin_send", Position::Step(index)) => linkedin(app, claim, lead, index, &key).await,
        _ => Called::nobody(Ending::Failed("the work does not fit its hold".to_owned())),
    };
    Ok(Some(called))
}

/// Turns what is not an answer into an ending.
fn ending<T>(outcome: Outcome<T>, done: impl FnOnce(T) -> Ending) -> Ending {
    match outcome {
        Outcome::Done(value) => done(value),
        Outcome::ItemFailed { reason } => Ending::Failed(reason),
        Outcome::Unavailable { reason } => Ending::Unavailable(reason),
        Outcome::TryLater { reason, after_seconds } => Ending::Later(reason, after_seconds),
        Outcome::Unknown { reason } => Ending::Doubt(reason),
    }
}

/// When a message is written for which the database did not say what is known of the workspace, in seconds.
const LATER: i64 = 10;

async fn write(app: &App, claim: &Claim, lead: &Lead, index: usize, key: &str) -> Called {
    let Some(writer) = &app.providers.messages else {
        return Called::nobody(Ending::Unavailable("no message provider is configured".to_owned()));
    };
    let strategy = match app.store.strategy(claim.workspace).await {
        Ok(strategy) => strategy,
        Err(error) => return Called::nobody(Ending::Later(error.to_string(), LATER)),
    };
    let (instructions, prompt) = prompt(&claim.job, index, lead, &strategy);
    let written = writer.write(&instructions, &prompt, &format!("{key}:1")).await;
    let channel = claim.job.definition.steps.get(index).map_or(Channel::Email, |step| step.channel());
    let asked = who(app, claim, "message_generation");
    Called::of(asked, usable(channel, written), |_| 1, Ending::Wrote)
}

/// What a step without a written message says to this lead; `None`: it has one, or there is no such lead.
pub(super) fn filled(claim: &Claim, index: usize) -> Option<String> {
    let lead = claim.lead.as_ref().filter(|_| claim.message.is_none())?;
    Some(text(claim, lead, index))
}

/// The text of a step for a lead: the written message, or the template filled in.
fn text(claim: &Claim, lead: &Lead, index: usize) -> String {
    let template =
        claim.job.definition.steps.get(index).and_then(|step| step.template.as_deref()).unwrap_or_default();
    claim.message.clone().unwrap_or_else(|| render(template, lead))
}

async fn email(app: &App, claim: &Claim, lead: &Lead, index: usize, key: &str) -> Called {
    let Some(to) = lead.usable_email() else {
        return Called::nobody(Ending::NotSent(StepOutcome::Skipped, "no usable address".to_owned()));
    };
    let server = match mail_server(app, claim.workspace, claim.sender.as_ref()) {
        Ok(server) => server,
        Err(reason) => return Called::nobody(Ending::Unavailable(reason)),
    };
    // The same for every attempt at this step, so that a mail that arrives twice after all is seen to be the same.
    let email = Email {
        to: to.to_owned(),
        subject: subject(&claim.job, index, lead),
        text: text(claim, lead, index),
        html: None,
        message_id: mail_name(app, claim.workspace, (claim.job.id, lead.id, index), server.domain()),
        at_micros: app.clock.now().0,
        unsubscribe: Some(app.unsubscribe_link(claim.workspace, to)),
        hold: Some(key.to_owned()),
    };
    let asked = who(app, claim, "email_send");
    Called::of(asked, server.send(&email).await, |()| 1, |()| Ending::Sent)
}

async fn linkedin(app: &App, claim: &Claim, lead: &Lead, index: usize, key: &str) -> Called {
    let Some(provider) = &app.providers.linkedin else {
        return Called::nobody(Ending::Unavailable("no LinkedIn provider is configured".to_owned()));
    };
    let channel = claim.job.definition.steps.get(index).map(|step| step.channel());
    let invite = channel == Some(Channel::LinkedinInvite);
    let action = if invite { LinkedinAction::Invite } else { LinkedinAction::Message };
    let (lead_json, text, call) =
        (lead_json(lead, claim.workspace), text(claim, lead, index), format!("{key}:1"));
    let account = claim.sender.as_ref().and_then(|sender| sender.account.as_deref()).unwrap_or("default");
    let outcome = provider.linkedin(action, &lead_json, &text, account, &call).await;
    Called::of(who(app, claim, "linkedin_send"), outcome, |answer| i64::from(answer.accepted), accepted)
}

fn accepted(answer: Accepted) -> Ending {
    if answer.accepted {
        return Ending::Sent;
    }
    Ending::NotSent(
        StepOutcome::Skipped,
        answer.reason.map_or("not accepted".to_owned(), |reason| one_line(&reason)),
    )
}

async fn search(app: &App, claim: &Claim, hold: &Hold, key: &str) -> Called {
    let Some(provider) = &app.providers.discovery else {
        return Called::nobody(Ending::Unavailable("no discovery provider is configured".to_owned()));
    };
    let definition = &claim.job.definition;
    let kind = definition.search.as_deref().unwrap_or("leads");
    let limit = u32::try_from(hold.price.quantity).unwrap_or(1);
    let (cursor, call) = (claim.job.cursor.as_deref(), format!("{key}:1"));
    let asked = who(app, claim, "discovery_result");
    let outcome = provider.search(&definition.query, kind, limit, cursor, &call).await;
    Called::of(
        asked,
        outcome,
        |page| page.results.len() as i64,
        |page| {
            let leads: Vec<Lead> = page.results.iter().filter_map(lead_from_json).collect();
            // A page with nothing that can be read and with a cursor could go round for ever.
            let next_cursor = page.next_cursor.filter(|cursor| !leads.is_empty() && !cursor.contains('\0'));
            Ending::Page { leads, next_cursor }
        },
    )
}

/// What to do about a call that went out before a crash: repeat it where the provider can tell, ask where it can answer,
/// and otherwise say that nobody knows.
pub(super) async fn recover(app: &App, claim: &Claim, hold: &Hold) -> Result<Option<Called>, Error> {
    let providers = &app.providers;
    let http = |provider: &Option<crate::providers::HttpProvider>| {
        provider.as_ref().map_or(Recovery::Neither, |p| p.recovery())
    };
    let recovery = match &*hold.price.operation {
        // Writing a message has no effect outside: asking again under the same key is safe.
        "message_generation" => Recovery::Repeat,
        // Each provider is looked at by itself.
        "contact_enrichment" | "field_enrichment" => Recovery::Repeat,
        "discovery_result" | "clue_result" => http(&providers.discovery),
        "linkedin_send" => http(&providers.linkedin),
        _ => Recovery::Neither,
    };
    match recovery {
        Recovery::Query if &*hold.price.operation == "linkedin_send" => ask(app, claim, hold).await,
        // A look-up changes nothing outside, so it may be asked again where its provider keeps track of keys.
        Recovery::Repeat | Recovery::Query => call(app, claim, hold, Start::Again).await,
        Recovery::Neither => {
            let reason = "the server stopped while the call was under way".to_owned();
            let asked = who(app, claim, &hold.price.operation);
            Ok(Some(Called::of(asked, Outcome::Unknown { reason }, |()| 0, |()| Ending::Sent)))
        }
    }
}

async fn ask(app: &App, claim: &Claim, hold: &Hold) -> Result<Option<Called>, Error> {
    let asked = who(app, claim, &hold.price.operation);
    let doubt = |reason: &str| {
        let outcome = Outcome::Unknown { reason: reason.to_owned() };
        Ok(Some(Called::of(asked, outcome, |()| 0, |()| Ending::Sent)))
    };
    let Some(provider) = &app.providers.linkedin else { return doubt("the provider is gone") };
    let key = format!("{}:1", id::inside("hold", claim.workspace, hold.id.0));
    match provider.status(&key).await {
        Outcome::Done(Status::Done(result)) => {
            let said = result.as_ref().and_then(|result| result.get("accepted"));
            let accepted = said.and_then(serde_json::Value::as_bool) != Some(false);
            Ok(Some(Called::of(
                asked,
                Outcome::Done(accepted),
                |accepted| i64::from(*accepted),
                |accepted| match accepted {
                    false => Ending::NotSent(StepOutcome::Skipped, "not accepted".to_owned()),
                    true => Ending::Sent,
                },
            )))
        }
        Outcome::Done(Status::NotSeen) => call(app, claim, hold, Start::Again).await,
        _ => doubt("the provider could not say whether it was sent"),
    }
}

/// Who is asked for an operation that has one provider. A workspace's own mail server costs the operator nothing.
fn who(app: &App, claim: &Claim, operation: &str) -> Asked<'static> {
    let costs = &app.providers.costs;
    match operation {
        "message_generation" => Asked::alone("messages", costs.messages),
        "linkedin_send" => Asked::alone("linkedin", costs.linkedin),
        "email_send" if claim.sender.as_ref().is_some_and(|sender| sender.access.is_some()) => {
            Asked::alone("own mail server", Cost::default())
        }
        "email_send" => Asked::alone("email", costs.email),
        _ => Asked::alone("discovery", costs.discovery),
    }
}
