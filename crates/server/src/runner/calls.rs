//! The calls that holds pay for, and what their outcomes mean for a piece of work.
//!
//! It does *not* hold, dispatch or settle: the loop does, around these calls.

use billing::Hold;
use billing::campaign::{Channel, Position};

use crate::app::App;
use crate::id;
use crate::outreach::{
    address, fits, lead_from_json, lead_json, mail_name, mail_server, prompt, render, subject, tidy, usable,
};
use crate::providers::{Accepted, Email, LinkedinAction, Outcome, Recovery, Status, one_line};
use crate::store::leads::{EmailState, Lead};
use crate::store::work::{Claim, Ending, StepOutcome};

/// Makes the call that a hold pays for.
pub(super) async fn call(app: &App, claim: &Claim, hold: &Hold) -> Ending {
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
        Outcome::TryLater { reason, after_seconds } => Ending::Later(reason, after_seconds),
        Outcome::Unknown { reason } => Ending::Doubt(reason),
    }
}

async fn contact(app: &App, claim: &Claim, lead: &Lead, key: &str) -> Ending {
    let outcome = app.providers.enrichment.contact(&lead_json(lead, claim.workspace), key).await;
    ending(outcome, |contact| {
        // The one spelling that imports are compared with.
        let email = contact.email.filter(|_| contact.found).and_then(|email| address(email.trim()).ok());
        // One that mail came back from is not found anew.
        let known =
            |email: &String| lead.email_state == EmailState::Bounced && lead.email.as_ref() == Some(email);
        let Some(email) = email.filter(|email| !known(email)) else {
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
            ("title", Some(text)) => filled.title = tidy(text),
            ("company", Some(text)) => filled.company = tidy(text),
            // What is too large to be kept was not filled.
            _ if !fits(field, &value) => return Ending::LookedUp { filled: None, charged: false },
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
    let written = writer.write(&instructions, &prompt, &format!("{key}:1")).await;
    let channel = claim.job.definition.steps.get(index).map_or(Channel::Email, |step| step.channel());
    ending(usable(channel, written), Ending::Wrote)
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

async fn email(app: &App, claim: &Claim, lead: &Lead, index: usize, key: &str) -> Ending {
    let Some(to) = lead.usable_email() else {
        return Ending::NotSent(StepOutcome::Skipped, "no usable address".to_owned());
    };
    let server = match mail_server(app, claim.workspace, claim.sender.as_ref()) {
        Ok(server) => server,
        Err(reason) => return Ending::Unavailable(reason),
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
    ending(server.send(&email).await, |()| Ending::Sent)
}

async fn linkedin(app: &App, claim: &Claim, lead: &Lead, index: usize, key: &str) -> Ending {
    let Some(provider) = &app.providers.linkedin else {
        return Ending::Unavailable("no LinkedIn provider is configured".to_owned());
    };
    let channel = claim.job.definition.steps.get(index).map(|step| step.channel());
    let invite = channel == Some(Channel::LinkedinInvite);
    let action = if invite { LinkedinAction::Invite } else { LinkedinAction::Message };
    let (lead_json, text, call) =
        (lead_json(lead, claim.workspace), text(claim, lead, index), format!("{key}:1"));
    let account = claim.sender.as_ref().and_then(|sender| sender.account.as_deref()).unwrap_or("default");
    ending(provider.linkedin(action, &lead_json, &text, account, &call).await, accepted)
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
        // A page with nothing that can be read and with a cursor could go round for ever.
        let next_cursor = page.next_cursor.filter(|cursor| !leads.is_empty() && !cursor.contains('\0'));
        Ending::Page { leads, next_cursor }
    })
}

/// What to do about a call that went out before a crash: repeat it where the provider can tell, ask where it can answer,
/// and otherwise say that nobody knows.
pub(super) async fn recover(app: &App, claim: &Claim, hold: &Hold) -> Ending {
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
