//! What API, pages and scheduler share about money: orders from the catalog, their checkout, charges without a person, refunds.
//!
//! Owns the way between the store and the provider. No transaction is open while the provider is asked: what is about to be
//! asked is committed first, and what it said is applied afterwards, so a crash anywhere in between is healed by asking again.

use crate::app::App;
use crate::catalog::{Catalog, Expires, Pack, Price, Upgrade};
use crate::id;
use crate::payments::sandbox::{Card, Sandbox};
use crate::payments::{Failure, Order, Payments, Said, Stands};
use crate::store;
use crate::store::alerts::thousands;
use crate::store::committer::Key;
use crate::store::payments::{NewPayment, Payer, Payment, Purpose, Status};
use crate::store::subscriptions::change::{Answer, Changed, Subscription, Wish};
use crate::store::subscriptions::periods::Due;
use crate::store::subscriptions::{Change, Standing, Terms};
use crate::store::workspaces::Workspace;

/// Why money did not move.
#[derive(Debug)]
pub enum Trouble {
    /// The store's answer.
    Store(store::Error),
    /// There is no `[payments]`.
    NotConfigured,
    /// The provider's answer.
    Provider(Failure),
}

impl From<store::Error> for Trouble {
    fn from(error: store::Error) -> Trouble {
        Trouble::Store(error)
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Trouble {
        Trouble::Provider(failure)
    }
}

/// The provider, or the trouble that there is none.
///
/// # Errors
/// `NotConfigured`.
pub fn provider(app: &App) -> Result<&Payments, Trouble> {
    app.payments.as_ref().ok_or(Trouble::NotConfigured)
}

/// What is said behind a price: ` plus tax` where the provider adds it.
pub fn plus_tax(app: &App) -> &'static str {
    if app.payments.as_ref().is_some_and(Payments::adds_tax) { " plus tax" } else { "" }
}

/// What subscribing to a plan of a price list means.
pub fn terms(catalog: &Catalog, plan: &str) -> Option<Terms> {
    let plan = catalog.plan(plan)?;
    Some(Terms {
        plan: plan.plan.clone(),
        label: plan.label.clone(),
        version: catalog.version,
        credits: plan.credits,
        amount: plan.price.amount,
        tax_rate: catalog.tax.as_ref().map_or(0, |tax| tax.rate),
        currency: plan.price.currency.clone(),
        months: plan.interval.months(),
        grant_months: plan.grants.months(),
        expires: plan.expires == Expires::PeriodEnd,
        rollover: plan.rollover,
        trial: plan.trial.as_ref().map(|trial| (trial.days, trial.credits)),
        prorates: plan.upgrade == Upgrade::Prorated,
    })
}

/// What a plan means from its next renewal on, after a change to it: by the price list of that day, as far as that is known.
pub fn renewed(app: &App, is: &Subscription, change: &Change, terms: &Terms) -> Terms {
    let at = match change {
        Change::AtRenewal { at } => Some(*at),
        Change::AfterTrial => Some(is.workspace.anchor),
        Change::Stay | Change::Difference { .. } => is.workspace.next_period,
        Change::Begin | Change::NewPeriod | Change::Trial { .. } => None,
    };
    let listed = |plan: &String| self::terms(app.catalog_at(at?), plan);
    let (Change::AtRenewal { .. } | Change::Stay) = change else {
        return listed(&terms.plan).unwrap_or_else(|| terms.clone());
    };
    // A plan that is not offered then does not begin: the one of now goes on, as agreed where it is not offered either.
    let agreed = is.workspace.terms.as_ref();
    let goes_on = || agreed.and_then(|agreed| listed(&agreed.plan).or(Some(agreed.clone())));
    listed(&terms.plan).or_else(goes_on).unwrap_or_else(|| terms.clone())
}

/// What a workspace's plan is once it renews by a price list: the one that was chosen for then, or else the one it has. `None`: neither is
/// offered any more, and what was agreed goes on.
pub fn at_renewal(catalog: &Catalog, due: &Due) -> Option<Terms> {
    [&due.next_plan, &due.plan].into_iter().flatten().find_map(|plan| terms(catalog, plan))
}

/// The plan that was chosen for the next renewal, if there is to be one; its name alone where it will not be offered then.
pub fn next_plan(app: &App, workspace: &Workspace) -> Option<Result<Terms, String>> {
    if workspace.subscription == Some(Standing::Canceling) {
        return None;
    }
    let (next, at) = (workspace.next_plan.as_ref()?, workspace.next_period.unwrap_or(app.clock.now()));
    Some(terms(app.catalog_at(at), next).ok_or_else(|| next.clone()))
}

/// Does what a person wishes for the subscription. What it costs is charged at once where a method is saved; otherwise, or when
/// that is declined, its checkout is opened. What is answered is kept with a change that needs no money.
///
/// # Errors
/// When there is nothing to do, the key was used for something else, or the provider does not answer: ask again with the key.
pub async fn change(
    app: &App,
    (workspace, actor): (i64, String),
    wish: Wish,
    (key, answer): (Key, Option<Answer>),
) -> Result<(Subscription, Option<Payment>, bool), Trouble> {
    let is_plan = matches!(wish, Wish::Plan { .. });
    let (is, ordered, replayed) = loop {
        let asked = (key.clone(), answer.clone());
        match app.store.change_subscription((workspace, actor.clone()), wish.clone(), asked).await? {
            Changed::Done(is, ordered, fresh) => break (*is, ordered.map(|it| *it), fresh),
            Changed::Open(pages) => close(app, pages).await?,
        }
    };
    let Some(ordered) = ordered else {
        // Who keeps a plan that is not paid wants to pay it.
        return match is.awaited.clone().filter(|_| is.is_unpaid()) {
            Some(unpaid) if is_plan => Ok((is, Some(open_checkout(app, unpaid).await?), replayed)),
            _ => Ok((is, None, replayed)),
        };
    };
    if ordered.next_attempt.is_some() && ordered.attempts == 0 {
        charge(app, workspace, ordered.id).await?;
    }
    let ordered = app.store.payment(workspace, ordered.id).await?;
    let ordered = match ordered.status {
        Status::Pending | Status::Declined => open_checkout(app, ordered).await?,
        _ => ordered,
    };
    Ok((app.store.subscription(workspace).await?, Some(ordered), replayed))
}

/// Sees to it that nobody can pay on these pages any more. What was paid there already counts.
async fn close(app: &App, pages: Vec<Payment>) -> Result<(), Trouble> {
    for payment in pages {
        let (workspace, id) = (payment.order.workspace, payment.id);
        let payer = app.store.payer(workspace).await?;
        let said = match provider(app) {
            Ok(provider) => provider.close(&in_words(app, &payment, payer).await?).await?,
            Err(_) => None,
        };
        match said {
            Some(said) => drop(app.store.apply_payment(workspace, id, said).await?),
            None => drop(app.store.close_checkout(workspace, id, payment.checkout).await?),
        }
    }
    Ok(())
}

/// A top-up of a pack, at the price list's price.
pub fn pack(
    catalog: &Catalog,
    workspace: i64,
    purpose: Purpose,
    pack: &Pack,
    return_url: Option<String>,
) -> NewPayment {
    let tax = catalog.tax.as_ref().map_or(0, |tax| tax.on(pack.price.amount));
    NewPayment {
        workspace,
        purpose,
        item: pack.pack.clone(),
        label: pack.label.clone(),
        quantity: 1,
        credits: pack.credits,
        bonus: pack.bonus,
        expires_days: pack.expires_days,
        terms: None,
        amount: pack.price.amount + tax,
        tax,
        currency: pack.price.currency.clone(),
        return_url,
    }
}

/// A top-up of so many credits without a pack; an error says which amounts there are.
///
/// # Errors
/// A sentence for the field `credits`.
pub fn custom(
    catalog: &Catalog,
    workspace: i64,
    credits: i64,
    return_url: Option<String>,
) -> Result<NewPayment, String> {
    let Some(custom) = &catalog.custom else {
        return Err("this catalog sells packs only: name one in pack".to_owned());
    };
    let range = custom.minimum..=custom.maximum;
    let Some(amount) = custom.price_of(credits).filter(|_| range.contains(&credits)) else {
        return Err(format!(
            "must be a whole number from {} to {}",
            thousands(custom.minimum),
            thousands(custom.maximum)
        ));
    };
    let one = Pack {
        pack: String::new(),
        label: format!("{} credits", thousands(credits)),
        credits,
        bonus: 0,
        expires_days: None,
        price: Price { amount, currency: custom.price.currency.clone() },
    };
    Ok(pack(catalog, workspace, Purpose::TopUp, &one, return_url))
}

/// Orders a payment and opens its checkout. The same key and order: the first ones again (`true`).
///
/// # Errors
/// When nothing can be bought, the key was used for something else, or the provider does not answer: ask again with the key.
pub async fn order(app: &App, new: NewPayment, key: Key) -> Result<(Payment, bool), Trouble> {
    provider(app)?;
    let (payment, replayed) = app.store.create_payment(new, key).await?;
    Ok((open_checkout(app, payment).await?, replayed))
}

/// Opens the checkout of a payment, unless it was opened before or nobody may pay it in person now.
///
/// # Errors
/// When the provider does not answer.
pub async fn open_checkout(app: &App, payment: Payment) -> Result<Payment, Trouble> {
    if payment.checkout_url.is_some() || !payment.may_be_paid_in_person() {
        return Ok(payment);
    }
    let payer = app.store.payer(payment.order.workspace).await?;
    let checkout = provider(app)?.checkout(&in_words(app, &payment, payer).await?).await?;
    Ok(app.store.keep_checkout(payment.order.workspace, payment.id, checkout).await?)
}

/// Charges the saved method for a payment that is due, if nobody else does, and applies what became of it.
///
/// # Errors
/// When the store cannot write. A provider that does not answer is asked again later, under the same key.
pub async fn charge(app: &App, workspace: i64, id: i64) -> Result<(), Trouble> {
    let provider = provider(app)?;
    let Some((payment, payer)) = app.store.begin_attempt(workspace, id).await? else { return Ok(()) };
    let order = in_words(app, &payment, payer).await?;
    match provider.charge_saved(&order).await {
        Ok(said) => drop(app.store.apply_payment(workspace, id, said).await?),
        Err(Failure::Refused(reason)) => {
            let said = Said { stands: Stands::Declined, reason: Some(reason), ..order.known };
            app.store.apply_payment(workspace, id, said).await?;
        }
        Err(Failure::Unknown(why)) => {
            tracing::warn!(why, payment = order.payment, "a charge has no outcome yet");
        }
    }
    Ok(())
}

/// Gives money back: all that is not refunded yet, or what so many credits cost; and takes the credits. The same key and
/// command: the first refund again (`true`).
///
/// # Errors
/// When the provider refuses, or does not answer: ask again with the key.
pub async fn refund(
    app: &App,
    (workspace, id): (i64, i64),
    credits: Option<i64>,
    reason: String,
    key: Key,
) -> Result<(Payment, bool), Trouble> {
    let (payment, row, replayed) = app.store.plan_refund(workspace, id, credits, reason, key.clone()).await?;
    let said = if row.refund.amount == 0 {
        payment.known()
    } else {
        let payer = app.store.payer(workspace).await?;
        let asked = provider(app)?.refund(&in_words(app, &payment, payer).await?, row.refund).await;
        if let Err(Failure::Refused(_)) = &asked {
            app.store.drop_refund(workspace, id, row.refund.number, key).await?;
        }
        asked?
    };
    Ok((app.store.apply_payment(workspace, id, said).await?, replayed))
}

/// Asks the provider how a payment stands, and applies it.
///
/// # Errors
/// When the provider does not answer, or the store refuses.
pub async fn refresh(app: &App, payment: &Payment) -> Result<Payment, Trouble> {
    let workspace = payment.order.workspace;
    let payer = app.store.payer(workspace).await?;
    let said = provider(app)?.fetch(&in_words(app, payment, payer).await?).await?;
    Ok(told(app, workspace, payment.id, said).await?)
}

/// Applies what the provider says of a payment by itself. Most of it is known from another message, and then nothing is written.
///
/// # Errors
/// When what is said is not of this payment, or the store refuses.
pub async fn told(app: &App, workspace: i64, id: i64, said: Said) -> Result<Payment, store::Error> {
    let payment = app.store.payment(workspace, id).await?;
    let known = payment.known();
    let sums = |said: &Said| {
        (said.stands, said.object.clone(), said.refunded, said.undone, said.disputed, said.reinstated)
    };
    if said.stands == Stands::Paid && sums(&known) == sums(&said) {
        return Ok(payment);
    }
    // What is tried without a person goes on being tried when a page ends that nobody used.
    if let (Stands::Expired, None, 1.., Some(checkout)) =
        (said.stands, &said.object, payment.attempts, &payment.checkout)
    {
        return app.store.close_checkout(workspace, id, Some(checkout.clone())).await;
    }
    app.store.apply_payment(workspace, id, said).await
}

/// Where the saved method is changed, if the provider has such a page.
///
/// # Errors
/// When the provider does not answer.
pub async fn portal(app: &App, workspace: i64) -> Result<Option<String>, Trouble> {
    let Some(customer) = app.store.payer(workspace).await?.customer else { return Ok(None) };
    let return_url = format!("{}/billing/payments", app.public_url);
    Ok(provider(app)?.portal(&customer, &return_url).await?)
}

/// What a card does on the sandbox's checkout page.
///
/// # Errors
/// When the store refuses.
pub async fn pay_in_sandbox(app: &App, (workspace, id): (i64, i64), card: Card) -> Result<Payment, Trouble> {
    let payment = app.store.payment(workspace, id).await?;
    let payer = app.store.payer(workspace).await?;
    let said = Sandbox::in_person(&in_words(app, &payment, payer).await?, card);
    Ok(app.store.apply_payment(workspace, id, said).await?)
}

/// A payment in the words of a provider.
///
/// # Errors
/// When the store cannot read.
pub async fn in_words(app: &App, payment: &Payment, payer: Payer) -> Result<Order, store::Error> {
    let order = &payment.order;
    let name = payment.name();
    Ok(Order {
        created_at: payment.created_at,
        attempt: payment.attempts,
        workspace: id::workspace(order.workspace),
        title: order.label.clone(),
        amount: order.amount,
        tax: order.tax,
        currency: order.currency.clone(),
        email: app.store.workspace(order.workspace).await?.admin_email,
        customer: payer.customer,
        method: payer.method.map(|(method, _)| method),
        return_url: order
            .return_url
            .clone()
            .unwrap_or_else(|| format!("{}/billing/payments/{name}", app.public_url)),
        sandbox_url: app.checkout_link(&name),
        checkout: payment.checkout.clone(),
        known: payment.known(),
        payment: name,
    })
}
