//! What the payment provider did and we may not have heard of: its events, and its lists, which are read again and again because
//! an event may be late, lost, or never made.
//!
//! Owns when lists are read and how far. What is said of a payment is `payments`', what becomes of it `store.apply_payment`'s.
//!
//! Invariant: an event is only a hint; whatever is applied was asked for.

use billing::Time;
use futures_util::{StreamExt, stream};

use crate::app::App;
use crate::money::{self, Trouble};
use crate::payments::stripe::{Hint, Stripe};
use crate::payments::{Failure, Payments, Said};
use crate::scheduler::pause;
use crate::store::Error;
use crate::store::payments::parse_name;

/// How often the lists are read, in seconds: so late is a refund whose event was lost.
const INTERVAL_SECONDS: i64 = 60 * 60;
/// The same while a payment is open: somebody may have paid it, and wait for the credits.
const OPEN_SECONDS: i64 = 15 * 60;
/// After how many seconds a provider that did not answer is asked again.
const AGAIN_SECONDS: i64 = 60;
/// How many open payments are asked for at a time, and how many of those side by side.
const BATCH: i64 = 256;
const SIDE_BY_SIDE: usize = 8;

/// Makes sure that the money goes where it always went: a database belongs to one account, in one mode. A provider that does not
/// answer now is asked again before anything it says is believed.
///
/// # Errors
/// One line for the operator.
pub async fn know_account(app: &App) -> Result<(), String> {
    let Some(Payments::Stripe(stripe)) = &app.payments else { return Ok(()) };
    match trust(app, stripe).await {
        Ok(()) => Ok(()),
        Err(Trouble::Provider(Failure::Refused(why))) => Err(format!("[payments]: {why}")),
        Err(trouble) => {
            tracing::warn!(?trouble, "the payment provider's account is not known yet");
            Ok(())
        }
    }
}

async fn trust(app: &App, stripe: &Stripe) -> Result<(), Trouble> {
    if stripe.is_trusted() {
        return Ok(());
    }
    let account = stripe.account().await?;
    let bound = app.store.bind_account(account.clone()).await?;
    if bound != account {
        let why = format!("the key is of {account}, and this database belongs to {bound}");
        return Err(Failure::Refused(why).into());
    }
    stripe.trust(account);
    Ok(())
}

/// Asks for what an event hinted at, and applies what is said.
///
/// # Errors
/// When the provider does not say, or what it says is not of the payment that it names.
pub async fn heard(app: &App, stripe: &Stripe, hint: &Hint) -> Result<(), Trouble> {
    trust(app, stripe).await?;
    if let Hint::Customer(customer) = hint {
        return look_at_method(app, stripe, customer).await;
    }
    match stripe.look(hint).await? {
        Some((payment, said)) => Ok(apply(app, &payment, said).await?),
        None => Ok(()),
    }
}

/// Keeps which method a customer of ours is charged by, after it was changed on Stripe's page.
async fn look_at_method(app: &App, stripe: &Stripe, customer: &str) -> Result<(), Trouble> {
    let Some(workspace) = app.store.customer_of(customer.to_owned()).await? else { return Ok(()) };
    let known = app.store.payer(workspace).await?.method.map(|(method, _)| method);
    let method = stripe.saved_method(customer, known.as_deref()).await?;
    Ok(app.store.keep_method(workspace, customer.to_owned(), method).await?)
}

/// Applies what is said of a payment. One of another installation on the same account is none of ours.
async fn apply(app: &App, payment: &str, said: Said) -> Result<(), Error> {
    let Some((workspace, id)) = parse_name(payment) else { return Ok(()) };
    match money::told(app, workspace, id, said).await {
        Ok(_) | Err(Error::NotFound) => Ok(()),
        Err(error) => {
            tracing::error!(%error, payment, "what the payment provider says of a payment cannot be applied");
            Err(error)
        }
    }
}

/// Reads the provider's lists, if it is time to. Answers how many payments were looked at.
///
/// # Errors
/// When the store fails. A provider that does not answer is asked again later.
pub async fn work_off(app: &App) -> Result<usize, Error> {
    match read_lists(app).await {
        Ok(looked_at) => Ok(looked_at),
        Err(Trouble::Store(error)) => Err(error),
        Err(trouble) => {
            tracing::warn!(?trouble, "the payment provider's lists cannot be read now");
            Ok(0)
        }
    }
}

async fn read_lists(app: &App) -> Result<usize, Trouble> {
    let Some(Payments::Stripe(stripe)) = &app.payments else { return Ok(0) };
    let now = app.clock.now();
    let Some(last) = app.store.reconciled_at().await? else {
        app.store.reconciled(now).await?;
        return Ok(0);
    };
    if due(app, last).await? > now {
        return Ok(0);
    }
    let looked_at = heal(app, stripe, last, now).await?;
    app.store.reconciled(now).await?;
    Ok(looked_at)
}

async fn heal(app: &App, stripe: &Stripe, since: Time, now: Time) -> Result<usize, Trouble> {
    trust(app, stripe).await?;
    let mut looked_at = 0;
    for (payment, said) in stripe.paid_since(since, now).await? {
        looked_at += 1;
        survive(apply(app, &payment, said).await)?;
    }
    let mut after = 0;
    loop {
        let open = app.store.open_payments(after, BATCH).await?;
        let Some((_, last)) = open.last().copied() else { return Ok(looked_at) };
        (after, looked_at) = (last, looked_at + open.len());
        let asked = stream::iter(open).map(|which| ask(app, which)).buffer_unordered(SIDE_BY_SIDE);
        let asked: Vec<Result<(), Trouble>> = asked.collect().await;
        asked.into_iter().collect::<Result<(), Trouble>>()?;
    }
}

/// Asks how an open payment stands.
async fn ask(app: &App, (workspace, id): (i64, i64)) -> Result<(), Trouble> {
    let payment = app.store.payment(workspace, id).await?;
    match money::refresh(app, &payment).await {
        // One payment that Stripe does not know, or that does not fit, must not hide all others.
        Err(
            trouble @ (Trouble::Provider(Failure::Refused(_))
            | Trouble::Store(Error::Conflict(..) | Error::Refused(_))),
        ) => {
            tracing::error!(?trouble, payment = payment.name(), "an open payment cannot be asked for");
            Ok(())
        }
        Err(trouble) => Err(trouble),
        Ok(_) => Ok(()),
    }
}

/// One payment that does not fit was told of; the others go on.
fn survive(applied: Result<(), Error>) -> Result<(), Error> {
    match applied {
        Err(Error::Conflict(..) | Error::Refused(_)) => Ok(()),
        other => other,
    }
}

/// The next moment at which the lists are read; none without a provider that has any.
///
/// # Errors
/// When the store cannot read.
pub async fn next(app: &App) -> Result<Option<Time>, Error> {
    let Some(Payments::Stripe(_)) = &app.payments else { return Ok(None) };
    let now = app.clock.now();
    let Some(last) = app.store.reconciled_at().await? else { return Ok(None) };
    Ok(Some(due(app, last).await?).map(|due| if due > now { due } else { now.plus_seconds(AGAIN_SECONDS) }))
}

/// When the lists are read again.
async fn due(app: &App, last: Time) -> Result<Time, Error> {
    let is_open = !app.store.open_payments(0, 1).await?.is_empty();
    Ok(last.plus_seconds(if is_open { OPEN_SECONDS } else { INTERVAL_SECONDS }))
}

/// Runs the loop until the server stops. Only for the system's clock.
pub async fn run(app: App) {
    let mut again = app.clock.now();
    while !app.is_stopping() {
        if app.clock.now() >= again {
            match read_lists(&app).await {
                Ok(0) => {}
                Ok(_) => app.nudge(),
                Err(trouble) => {
                    tracing::warn!(?trouble, "the payment provider's lists cannot be read now");
                    again = app.clock.now().plus_seconds(AGAIN_SECONDS);
                }
            }
        }
        pause(&app).await;
    }
}
