//! The campaign loop: claim, hold, dispatch, call, settle and advance.
//!
//! Owns what happens between two commits of one piece of work. It does *not* decide what a lead's next piece is
//! (`billing::campaign`) or how a piece ends in the database (`store::work`).
//!
//! Invariant: no call leaves before its dispatch is committed, and none is repeated unless its provider can repeat it.

mod calls;
mod waterfall;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use billing::Labels;
use billing::campaign::{self, Channel, Next};
use billing::ledger::HoldTerms;
use tokio::task::JoinSet;

use crate::app::App;
use crate::breaker::Heard;
use crate::id;
use crate::scheduler::pause;
use crate::store::Error;
use crate::store::work::{Claim, Ending, Held, Need};
use waterfall::Start;

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
            let mut away = app.breakers.away(app.clock.now());
            if !away.until.is_empty() {
                away.fields =
                    app.providers.enrichment.providers().iter().map(|one| one.fields.clone()).collect();
            }
            for claim in app.store.claim_but(WORKERS - running.len(), &away).await? {
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

async fn piece(app: App, mut claim: Claim) -> Result<Progress, Error> {
    app.served.pieces.fetch_add(1, Ordering::Relaxed);
    if let Some(hold) = claim.left_dispatched().cloned() {
        if let Some(called) = calls::recover(&app, &claim, &hold).await? {
            claim.heard = called.heard;
            app.store.finish_piece(&claim, Some(hold.id), called.ending).await?;
        }
        return Ok(Progress::Moved);
    }
    let (operation, quantity) = match next(&claim) {
        Step::Pass(Next::Review(step)) => {
            app.store.review_piece(&claim, calls::filled(&claim, step)).await?;
            return Ok(Progress::Moved);
        }
        Step::Pass(next) => {
            app.store.pass_piece(&claim, next).await?;
            return Ok(Progress::Moved);
        }
        Step::Pay(operation, quantity) => (operation, quantity),
    };
    if let Some(reason) = missing(&app, &claim, operation) {
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
    if let Some(called) = calls::call(&app, &claim, &hold, Start::Fresh).await? {
        listen(&app, &claim, operation, &called.ending);
        claim.heard = called.heard;
        app.store.finish_piece(&claim, Some(hold.id), called.ending).await?;
    }
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

/// Tells the breaker whether its provider answered. Those of fields are told of one by one.
fn listen(app: &App, claim: &Claim, operation: &str, ending: &Ending) {
    let need = match operation {
        "contact_enrichment" | "field_enrichment" => return,
        "discovery_result" | "clue_result" => Need::Discovery,
        "message_generation" => Need::Messages,
        "email_send" => Need::Email,
        _ => Need::Linkedin,
    };
    let heard =
        if matches!(ending, Ending::Later(..) | Ending::Doubt(_)) { Heard::Nothing } else { Heard::Answer };
    app.breakers.heard(claim.workspace, need, heard, app.clock.now());
}

fn missing(app: &App, claim: &Claim, operation: &str) -> Option<&'static str> {
    let providers = &app.providers;
    let own_server = claim.sender.as_ref().is_some_and(|sender| sender.access.is_some());
    match operation {
        "contact_enrichment" | "field_enrichment" if providers.enrichment.providers().is_empty() => {
            Some("no enrichment provider is configured")
        }
        "discovery_result" | "clue_result" if providers.discovery.is_none() => {
            Some("no discovery provider is configured")
        }
        "message_generation" if providers.messages.is_none() => Some("no message provider is configured"),
        "email_send" if providers.email.is_none() && !own_server => Some("no mail server is configured"),
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
    Labels {
        channel: Some(channel.into()),
        lead: claim.lead.as_ref().map(|lead| id::inside("lead", claim.workspace, lead.id).into()),
        ..claim.job.labels(claim.workspace)
    }
}
