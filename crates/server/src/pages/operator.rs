//! One workspace as the operator sees it: how it stands, what is in doubt, what was charged and paid, and what people changed.
//!
//! Everything that moves credits needs a reason, and each form does it once. A form that is not taken keeps what was typed.

use axum::extract::{Form, Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use billing::account::Hold;
use billing::ledger::Command;
use billing::{HoldStatus, Outcome, Refusal, Seq};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::frame::{Page, Trouble, go, html};
use super::scene::{Scene, state};
use super::session::{self, Operator};
use super::view::format::{Figure, money as in_money};
use super::view::{Console, ConsoleForm, HoldRow, LogRow, PaidRow};
use crate::app::App;
use crate::store::committer::{Key, KeyKind, Post};
use crate::store::logbook::Line;
use crate::store::payments::{Payment, parse_name};
use crate::store::{self, Error};
use crate::{calendar, finance, id, money};

/// Lines of each list.
const ROWS: i64 = 20;
/// The longest reason, in characters.
const MAX_REASON: usize = 500;
/// The operator in the ledger's words.
const ACTOR: &str = "operator";

/// What stands in the forms.
#[derive(Deserialize, Serialize, Default, Clone)]
#[serde(default)]
pub struct Typed {
    #[serde(skip_serializing)]
    form_key: String,
    credits: String,
    hold: String,
    quantity: String,
    outcome: String,
    payment: String,
    reason: String,
}

/// The workspace.
pub async fn page(
    State(app): State<App>,
    operator: Operator,
    Path(workspace): Path<String>,
    Query(typed): Query<Typed>,
) -> Page {
    let workspace = known(&workspace)?;
    draw(&app, operator, workspace, (typed, None), StatusCode::OK).await
}

fn known(workspace: &str) -> Result<i64, Trouble> {
    id::parse_workspace(workspace).ok_or_else(Trouble::not_found)
}

async fn draw(
    app: &App,
    operator: Operator,
    id: i64,
    (typed, wrong): (Typed, Option<(ConsoleForm, String)>),
    status: StatusCode,
) -> Page {
    let store = &app.store;
    let (workspace, balance) = (store.workspace(id).await?, store.balance(id).await?);
    let zone = workspace.time_zone.clone();
    let moment = |time| Scene::moment_in(time, &zone);
    let row = |hold: Hold| HoldRow {
        id: id::inside("hold", id, hold.id.0),
        operation: label(app, &hold.price.operation),
        quantity: hold.price.quantity,
        amount: hold.price.amount(),
        charged: hold.settled * hold.price.unit_price,
        refunded: hold.refunded * hold.price.unit_price,
        at: moment(hold.ended_at.unwrap_or(hold.opened_at)),
        until: moment(hold.ends_at),
        about: hold.labels.reference.as_deref().or(hold.labels.campaign.as_deref()).unwrap_or("").to_owned(),
    };
    let doubts = store.holds(id, Some(HoldStatus::InDoubt as i64), None, ROWS).await?;
    let charges = store.holds(id, Some(HoldStatus::Settled as i64), None, ROWS).await?;
    let payments = store.payments(id, finance::ALL, None, ROWS).await?;
    let log = store.logbook(Some(id), None, ROWS).await?;
    let plan = workspace.plan.as_ref();
    let page = Console {
        flash: operator.flash,
        id: id::workspace(id),
        name: workspace.name.clone(),
        state: state(balance.level),
        available: balance.available,
        reserved: balance.held,
        owed: balance.debt,
        plan: plan.map(|plan| app.catalog().plan(plan).map_or(plan.clone(), |known| known.label.clone())),
        subscription: workspace.subscription.map(|standing| standing.name()),
        renews: workspace.next_period.map(|at| calendar::day(at, &zone)),
        collects: workspace.pays(),
        external_id: workspace.external_id.clone(),
        admin_email: workspace.admin_email.clone(),
        people: store.members(id).await?.len() as i64,
        doubts: doubts.into_iter().map(row).collect(),
        charges: charges.into_iter().map(row).collect(),
        payments: payments.iter().filter(|payment| payment.is_paid()).map(|it| paid(it, moment)).collect(),
        log: log.into_iter().map(|line| log_row(line, moment)).collect(),
        form_key: session::form_key(),
        credits: typed.credits,
        hold: typed.hold,
        quantity: typed.quantity,
        release: typed.outcome == "released",
        payment: typed.payment,
        reason: typed.reason,
        wrong,
    };
    html(status, &page)
}

/// An operation in the price list's words.
pub fn label(app: &App, operation: &str) -> String {
    let operations = &app.catalog().operations;
    let known = operations.iter().find(|known| known.operation == operation);
    known.map_or_else(|| operation.to_owned(), |known| known.label.clone())
}

fn paid(payment: &Payment, moment: impl Fn(billing::Time) -> super::view::Moment) -> PaidRow {
    PaidRow {
        id: payment.name(),
        at: moment(payment.paid_at.unwrap_or(payment.created_at)),
        credits: payment.credits(),
        price: in_money(payment.order.amount, &payment.order.currency),
        refunded: (payment.refunded > 0).then(|| in_money(payment.refunded, &payment.order.currency)),
    }
}

/// A line of the logbook as it is shown.
pub fn log_row(line: Line, moment: impl Fn(billing::Time) -> super::view::Moment) -> LogRow {
    LogRow {
        at: moment(line.at),
        workspace: id::workspace(line.workspace),
        actor: line.actor,
        what: line.what.replace('.', " "),
        subject: line.subject,
        before: line.before.unwrap_or_default(),
        after: line.after.unwrap_or_default(),
    }
}

/// What was typed, checked; the error says what is wrong.
type Checked<T> = Result<T, String>;

fn reason(typed: &Typed) -> Checked<&str> {
    let reason = typed.reason.trim();
    let bad =
        reason.is_empty() || reason.chars().count() > MAX_REASON || reason.chars().any(char::is_control);
    if bad { Err("A reason of at most 500 characters is needed.".to_owned()) } else { Ok(reason) }
}

fn optional(text: &str, what: &str) -> Checked<Option<i64>> {
    let text = text.trim();
    let number = || text.parse().ok().filter(|number| *number > 0);
    let wrong = || format!("{what} must be a whole number, 1 or more, or stay empty for all.");
    if text.is_empty() { Ok(None) } else { number().map(Some).ok_or_else(wrong) }
}

fn hold_of(workspace: i64, text: &str) -> Checked<Seq> {
    let found = id::parse_inside("hold", text.trim()).filter(|(owner, _)| *owner == workspace);
    found.map(|(_, hold)| Seq(hold)).ok_or_else(|| "This workspace has no such hold.".to_owned())
}

/// The key of a form: what was typed belongs to it, so that a form that is changed and sent again is refused.
fn key(kind: KeyKind, typed: &Typed) -> Result<Key, Trouble> {
    let digest = Sha256::digest(serde_json::to_vec(typed).unwrap_or_default());
    let mut fingerprint = [0; 16];
    fingerprint.copy_from_slice(&digest[..16]);
    let key = session::stored_key(&typed.form_key)?;
    Ok(Key { kind, key: key.as_str().into(), fingerprint })
}

/// Does one of the forms. What is wrong is said beside the form, with everything that was typed.
pub async fn act(
    State(app): State<App>,
    operator: Operator,
    Path((workspace, act)): Path<(String, String)>,
    Form(typed): Form<Typed>,
) -> Page {
    let number = known(&workspace)?;
    app.store.workspace(number).await?;
    let (form, done, flash) = match act.as_str() {
        "adjust" => (ConsoleForm::Adjust, adjust(&app, number, &typed).await, "adjusted"),
        "refund" => (ConsoleForm::Refund, refund(&app, number, &typed).await, "charge-refunded"),
        "resolve" => (ConsoleForm::Resolve, resolve(&app, number, &typed).await, "resolved"),
        "repay" => (ConsoleForm::Repay, repay(&app, number, &typed).await, "payment-refunded"),
        _ => return Err(Trouble::not_found()),
    };
    match done {
        Ok(Ok(())) => Ok(answered(&app, &workspace, flash)),
        Ok(Err(wrong)) => {
            let typed = (typed, Some((form, wrong)));
            draw(&app, operator, number, typed, StatusCode::UNPROCESSABLE_ENTITY).await
        }
        Err(trouble) => Err(trouble),
    }
}

fn answered(app: &App, workspace: &str, flash: &str) -> Response {
    app.nudge();
    go(app, &format!("/admin/workspaces/{workspace}"), flash)
}

/// A lawful no of the ledger is something to correct in the form; everything else is a page of its own.
fn told(done: Result<(), Error>) -> Result<Checked<()>, Trouble> {
    match done {
        Ok(()) => Ok(Ok(())),
        Err(Error::Refused(Refusal::RefundExceedsSettled { refundable })) => Ok(Err(format!(
            "That is more than is still charged: {} can be given back.",
            refundable.of("unit", "units")
        ))),
        Err(Error::Refused(refusal)) => {
            Ok(Err(format!("The ledger refused it: {}.", refusal.code().replace('_', " "))))
        }
        Err(Error::NotFound) => Ok(Err("There is no such thing in this workspace.".to_owned())),
        Err(Error::Conflict(_, why)) => Ok(Err(super::frame::sentence(why))),
        Err(Error::Invalid(_, why)) => Ok(Err(super::frame::sentence(&why))),
        Err(error) => Err(error.into()),
    }
}

async fn post(
    app: &App,
    workspace: i64,
    command: Command,
    reason: &str,
    key: Option<Key>,
) -> Result<(), Error> {
    let mut post = Post::new(workspace, command, ACTOR);
    (post.key, post.reason) = (key, Some(reason.into()));
    app.store.post(post).await.map(drop)
}

async fn adjust(app: &App, workspace: i64, typed: &Typed) -> Result<Checked<()>, Trouble> {
    let credits = typed.credits.trim().replace('\u{2212}', "-").parse::<i64>().ok().filter(|it| *it != 0);
    let checked =
        || Ok((credits.ok_or("Credits must be a whole number, not 0.".to_owned())?, reason(typed)?));
    let (credits, reason) = match checked() {
        Ok(checked) => checked,
        Err(wrong) => return Ok(Err(wrong)),
    };
    told(post(app, workspace, Command::Adjust(credits), reason, Some(key(KeyKind::Adjust, typed)?)).await)
}

async fn refund(app: &App, workspace: i64, typed: &Typed) -> Result<Checked<()>, Trouble> {
    let checked =
        || Ok((hold_of(workspace, &typed.hold)?, optional(&typed.quantity, "Units")?, reason(typed)?));
    let (hold, quantity, reason) = match checked() {
        Ok(checked) => checked,
        Err(wrong) => return Ok(Err(wrong)),
    };
    let command = Command::Refund { hold, quantity };
    told(post(app, workspace, command, reason, Some(key(KeyKind::Refund, typed)?)).await)
}

async fn resolve(app: &App, workspace: i64, typed: &Typed) -> Result<Checked<()>, Trouble> {
    let outcome = match typed.outcome.as_str() {
        "settled" => Outcome::Settled,
        "released" => Outcome::Released,
        _ => return Ok(Err("Say whether it happened.".to_owned())),
    };
    let checked = || Ok((hold_of(workspace, &typed.hold)?, reason(typed)?));
    let (hold, reason) = match checked() {
        Ok(checked) => checked,
        Err(wrong) => return Ok(Err(wrong)),
    };
    told(post(app, workspace, Command::Resolve { hold, outcome }, reason, None).await)
}

async fn repay(app: &App, workspace: i64, typed: &Typed) -> Result<Checked<()>, Trouble> {
    let payment = parse_name(typed.payment.trim()).filter(|(owner, _)| *owner == workspace);
    let checked = || {
        let payment = payment.ok_or("This workspace has no such payment.".to_owned())?;
        Ok((payment, optional(&typed.credits, "Credits")?, reason(typed)?))
    };
    let (payment, credits, reason) = match checked() {
        Ok(checked) => checked,
        Err(wrong) => return Ok(Err(wrong)),
    };
    let key = key(KeyKind::TopUpRefund, typed)?;
    match money::refund(app, payment, credits, reason.to_owned(), key).await {
        Ok(_) => Ok(Ok(())),
        Err(money::Trouble::Store(error)) => told(Err::<(), store::Error>(error)),
        Err(trouble) => Err(trouble.into()),
    }
}

/// UTC for what is about no single workspace.
pub fn utc(time: billing::Time) -> super::view::Moment {
    Scene::moment_in(time, "UTC")
}
