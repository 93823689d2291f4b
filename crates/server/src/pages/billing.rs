//! The Billing page: what the workspace can still do, what it used, and how it gets more.

use std::collections::BTreeMap;

use axum::extract::{Form, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use billing::campaign::Stage;
use billing::units::DAY;
use billing::{GrantKind, Time};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::frame::{Page, Trouble, go, page as draw};
use super::scene::Scene;
use super::session::{self, Visitor};
use super::view::format::{Figure, money as in_money, thousands};
use super::view::{
    self, Balance, Billing, BillingNow, Buy, CustomAmount, LimitForm, Pack, Plan, Price, Reach,
    ReachCampaign, Share, Tab,
};
use super::{forecast, history, limits, usage};
use crate::app::App;
use crate::clock::rfc3339;
use crate::store::committer::{Key, KeyKind};
use crate::store::jobs::{Job, JobKind};
use crate::store::payments::{Payment, Purpose};
use crate::store::subscriptions::{Standing, Terms};
use crate::store::{self};
use crate::{calendar, money, outreach};

/// As many packs as the page's form tells apart.
const MOST_PACKS: usize = 8;

#[derive(Deserialize, Default)]
pub struct Shown {
    range: Option<String>,
    group: Option<String>,
    #[serde(flatten)]
    history: history::Asked,
}

/// Account, Billing.
pub async fn page(State(app): State<App>, visitor: Visitor, Query(shown): Query<Shown>) -> Page {
    let scene = Scene::load(&app, &visitor).await?;
    let whole = whole(&app, &scene, &shown, LimitForm::default()).await?;
    let page = draw(&whole)?;
    let status = whole.history.filter.wrong.map_or(StatusCode::OK, |_| StatusCode::UNPROCESSABLE_ENTITY);
    Ok((status, page).into_response())
}

/// The part of the page that states the balance, alone: it is drawn anew as a whole, so that no two of its figures disagree.
pub async fn now(State(app): State<App>, visitor: Visitor) -> Page {
    let scene = Scene::load(&app, &visitor).await?;
    draw(&stands(&app, &scene).await?)
}

/// The same page, with a limit's form as it was sent and what is wrong with it.
pub async fn with_limit(app: &App, visitor: &Visitor, form: LimitForm) -> Page {
    let scene = Scene::load(app, visitor).await?;
    let page = draw(&whole(app, &scene, &Shown::default(), form).await?)?;
    Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
}

async fn whole(app: &App, scene: &Scene, shown: &Shown, limit: LimitForm) -> Result<Billing, store::Error> {
    let (range, group) = (usage::range(shown.range.as_deref()), usage::group(shown.group.as_deref()));
    let now = stands(app, scene).await?;
    let usage = usage::card(app, scene, range, group).await?;
    Ok(Billing {
        shell: scene.shell(Some(Tab::Billing)),
        buy: buy(app, scene, &now.balance),
        now,
        limits: limits::section(app, scene, limit).await?,
        usage,
        history: history::section(app, scene, &shown.history).await?,
        prices: prices(app),
    })
}

async fn stands(app: &App, scene: &Scene) -> Result<BillingNow, store::Error> {
    Ok(BillingNow {
        role: scene.role,
        reach: reach(app, scene).await?,
        balance: balance(app, scene).await?,
        plan: plan(app, scene).await?,
    })
}

async fn reach(app: &App, scene: &Scene) -> Result<Reach, store::Error> {
    let jobs = app.store.jobs(scene.workspace.id, JobKind::Campaign, None, 50).await?;
    let active = |job: &&Job| job.run.stage == Stage::Launched && !job.definition.steps.is_empty();
    let campaign = jobs.iter().find(active).map(|job| ReachCampaign {
        steps: job.definition.steps.len() as i64,
        credits_per_lead: outreach::cost_left(&job.definition, 0, &|operation| {
            app.unit(operation, 1).unit_price
        }),
    });
    Ok(Reach { send_price: app.unit("email_send", 1).unit_price, campaign })
}

async fn balance(app: &App, scene: &Scene) -> Result<Balance, store::Error> {
    let stored = &scene.balance;
    let waiting = app.store.waiting(scene.workspace.id).await?;
    let lasts_until = scene.used_up_at().map(|at| calendar::day(at, scene.zone()));
    Ok(Balance {
        available: stored.available,
        reserved: stored.held,
        owed: stored.debt,
        unconfirmed: scene.standing.unconfirmed,
        pace: scene.pace(),
        week: history::Asked { from: rfc3339(Time(scene.now.0 - 7 * DAY)), ..Default::default() }.query(),
        lasts_until,
        due_now: forecast::all(app, &waiting, 0, None),
        due_week: forecast::all(app, &waiting, 7, None),
        leads_waiting: waiting.due.iter().map(|due| due.leads).sum(),
        shortfall: shortfall(scene),
        shares: shares(scene),
    })
}

/// What is missing until the renewal at the present pace; what is owed comes first.
fn shortfall(scene: &Scene) -> Option<i64> {
    let until = i128::from((scene.balance.renews_at?.0 - scene.now.0).max(0));
    let (pace, day) = (i128::from(scene.pace()?), i128::from(DAY));
    let there = i128::from(scene.balance.available) - i128::from(scene.balance.debt);
    let missing = (pace * until + day - 1) / day - there;
    i64::try_from(missing).ok().filter(|missing| *missing > 0)
}

fn shares(scene: &Scene) -> Vec<Share> {
    let mut kinds: BTreeMap<GrantKind, (i64, Option<Time>)> = BTreeMap::new();
    for grant in scene.balance.grants.iter().filter(|grant| grant.available > 0) {
        let (available, expires) = kinds.entry(grant.terms.kind).or_default();
        *available += grant.available;
        *expires = [*expires, grant.terms.expires_at].into_iter().flatten().min();
    }
    let share = |(kind, (available, expires)): (GrantKind, (i64, Option<Time>))| {
        let kind = match kind {
            GrantKind::Promo => "Promotion",
            GrantKind::Goodwill => "Goodwill",
            GrantKind::Trial => "Trial",
            GrantKind::Bonus => "Bonus",
            GrantKind::Plan => "Plan",
            GrantKind::Purchased => "Bought",
        };
        Share { kind: kind.to_owned(), available, expires: expires.map(|at| scene.moment(at)) }
    };
    kinds.into_iter().map(share).collect()
}

async fn plan(app: &App, scene: &Scene) -> Result<Option<Plan>, store::Error> {
    let workspace = &scene.workspace;
    let Some(name) = &workspace.plan else { return Ok(None) };
    let is = app.store.subscription(workspace.id).await?;
    let (terms, day) = (workspace.terms.as_ref(), |at| calendar::day(at, scene.zone()));
    let period = is.period.map(|period| format!("{} – {}", day(period.starts_at), day(period.ends_at)));
    let end = workspace.next_period.map_or(String::new(), |at| format!(" on {}", day(at)));
    let status = match (workspace.subscription, money::next_plan(app, workspace)) {
        (Some(Standing::Active), Some(Ok(next))) => format!("Changes to {}{end}", next.label),
        (Some(Standing::Active), Some(Err(gone))) => {
            format!("Active: {gone}, chosen for the renewal, is not offered any more")
        }
        (Some(Standing::Active), None) => "Active".to_owned(),
        (Some(Standing::Trialing), _) => format!("Trial ends{end}"),
        (Some(Standing::PastDue), _) => "Payment failed: no credits until it is paid".to_owned(),
        (Some(Standing::Canceling), _) => format!("Ends{end}"),
        (Some(Standing::Canceled), _) => "Ended".to_owned(),
        (Some(Standing::Incomplete) | None, _) => "Begins with the first payment".to_owned(),
    };
    let unused = match terms {
        Some(terms) if terms.expires => format!("expire{end}"),
        Some(Terms { rollover: Some(cap), .. }) => format!("roll over up to {}", thousands(*cap)),
        _ => "stay".to_owned(),
    };
    Ok(Some(Plan {
        label: terms.map_or_else(|| name.clone(), |terms| terms.label.clone()),
        status,
        credits: terms.map_or(0, |terms| terms.credits),
        interval: match terms.map_or(1, |terms| terms.grant_months) {
            3 => "quarter",
            6 => "half-year",
            12 => "year",
            _ => "month",
        }
        .to_owned(),
        period: period.unwrap_or_else(|| "not begun".to_owned()),
        renewal: scene.renewal(),
        unused,
        failed: workspace.subscription == Some(Standing::PastDue),
        unpaid: is.awaited.map(|payment| payment.name()),
    }))
}

fn buy(app: &App, scene: &Scene, balance: &Balance) -> Buy {
    if app.payments.is_none() || app.catalog().packs.is_empty() {
        return Buy::Unavailable;
    }
    if scene.role == view::Role::Member {
        return Buy::AskAdmin;
    }
    let mut packs: Vec<_> = app.catalog().packs.iter().collect();
    packs.sort_by_key(|pack| pack.credits);
    packs.truncate(MOST_PACKS);
    // The smallest pack that is enough, for the renewal first, else for what is due: never the largest by reflex.
    let stuck = scene.needed().unwrap_or(0).max(balance.due_week) - balance.available + balance.owed;
    let missing = balance.shortfall.unwrap_or(0).max(stuck);
    let covering = packs.iter().position(|pack| pack.credits + pack.bonus >= missing);
    let selected = covering.unwrap_or(packs.len() - 1);
    let note = |index: usize| {
        let renewal = scene.renewal().filter(|_| balance.shortfall.is_some() && covering == Some(index))?;
        Some(format!("covers you past {}", renewal.date))
    };
    let pack = |(index, pack): (usize, &crate::catalog::Pack)| Pack {
        id: pack.pack.clone(),
        credits: pack.credits,
        bonus: pack.bonus,
        expires_days: pack.expires_days,
        price_minor: taxed(app, pack.price.amount),
        currency: pack.price.currency.clone(),
        note: note(index),
        then: then(scene, pack.credits + pack.bonus),
        selected: index == selected,
    };
    let packs = packs.into_iter().enumerate().map(pack).collect();
    let custom = app.catalog().custom.as_ref().map(|custom| CustomAmount {
        minimum: custom.minimum,
        maximum: custom.maximum,
        price: format!(
            "{} for {}",
            in_money(taxed(app, custom.price.amount), &custom.price.currency),
            thousands(custom.per)
        ),
    });
    Buy::Packs { packs, form_key: session::form_key(), tax: tax_note(app), custom }
}

/// What becomes of so many credits: what is owed is repaid first, and only what is left can resume anything.
fn then(scene: &Scene, credits: i64) -> String {
    let (owed, paused) = (scene.balance.debt, scene.standing.paused_campaigns);
    let mut says = Vec::new();
    if owed > 0 {
        let part = if credits < owed { format!("{} of ", thousands(credits)) } else { String::new() };
        let rest =
            if credits > owed { format!(" and adds {}", thousands(credits - owed)) } else { String::new() };
        says.push(format!("Repays {part}the {} owed{rest}.", owed.credits()));
    }
    if paused > 0 {
        let campaigns = paused.of("campaign", "campaigns");
        let missing = owed - scene.balance.available;
        says.push(match scene.needed() {
            needed if credits >= missing + needed.unwrap_or(1) => format!("Resumes {campaigns}."),
            Some(needed) => format!("Resuming {campaigns} takes {}.", (missing + needed).credits()),
            None => format!("Resuming {campaigns} takes more than {}.", missing.credits()),
        });
    }
    says.join(" ")
}

/// A price as it is charged.
pub fn taxed(app: &App, amount: i64) -> i64 {
    amount + app.catalog().tax.as_ref().map_or(0, |tax| tax.on(amount))
}

/// What is said beside such prices.
pub fn tax_note(app: &App) -> Option<String> {
    match app.catalog().tax.as_ref().filter(|tax| tax.rate > 0) {
        Some(tax) => Some(format!("Prices include {}.", tax.label)),
        None if money::plus_tax(app).is_empty() => None,
        None => Some("Tax is added when you pay.".to_owned()),
    }
}

/// The price list. What is free is said by the page itself.
fn prices(app: &App) -> Vec<Price> {
    let priced = app.catalog().operations.iter().filter(|operation| operation.price > 0);
    priced
        .map(|operation| Price {
            label: operation.label.clone(),
            price: operation.price,
            charged_on: operation.charged_on.clone(),
        })
        .collect()
}

#[derive(Deserialize)]
pub struct Order {
    form_key: String,
    /// A pack …
    #[serde(default)]
    pack: String,
    /// … or an amount without one.
    credits: Option<i64>,
}

/// Orders a pack and leads to its checkout. A double click is one order.
pub async fn top_up(State(app): State<App>, visitor: Visitor, Form(order): Form<Order>) -> Page {
    visitor.admin()?;
    if app.payments.is_none() {
        return Err(Trouble::unavailable("Credits cannot be bought here: no payments are configured."));
    }
    let catalog = app.catalog();
    let new = match (catalog.pack(&order.pack), order.credits) {
        (Some(pack), None) => money::pack(catalog, visitor.workspace, Purpose::TopUp, pack, None),
        (None, Some(credits)) => money::custom(catalog, visitor.workspace, credits, None)
            .map_err(|problem| Trouble::unprocessable(format!("Credits {problem}.")))?,
        _ => return Err(Trouble::unprocessable("There is no such pack.")),
    };
    let digest = Sha256::digest(format!("{} {}", new.item, new.credits).as_bytes());
    let mut fingerprint = [0; 16];
    fingerprint.copy_from_slice(&digest[..16]);
    let key = session::stored_key(&order.form_key)?;
    let key = Key { kind: KeyKind::TopUp, key: key.as_str().into(), fingerprint };
    match money::order(&app, new, key).await {
        Ok((payment, _)) => Ok(to_checkout(&app, &payment)),
        Err(money::Trouble::Store(store::Error::Refused(billing::Refusal::IdempotencyKeyReused))) => {
            Ok(go(&app, "/billing#buy", "form-used"))
        }
        Err(trouble) => Err(trouble.into()),
    }
}

/// Stays on the host that the browser knows: the public name may be another, and a session does not follow there.
pub fn to_checkout(app: &App, payment: &Payment) -> Response {
    let link = payment.checkout_url.as_deref().unwrap_or("/billing");
    Redirect::to(link.strip_prefix(&app.public_url).unwrap_or(link)).into_response()
}

/// Asks the admins for credits, with the numbers.
pub async fn ask(State(app): State<App>, visitor: Visitor) -> Page {
    let scene = Scene::load(&app, &visitor).await?;
    let mut facts = format!("{} available.", thousands(scene.balance.available));
    if let Some(needed) = scene.needed() {
        facts.push_str(&format!(" The next step needs {}.", thousands(needed)));
    }
    if scene.standing.paused_campaigns > 0 {
        let campaigns = scene.standing.paused_campaigns.of("campaign is", "campaigns are");
        facts.push_str(&format!(" {campaigns} paused."));
    }
    let mut who = visitor.name();
    if let Some(first) = who.get_mut(..1).filter(|_| visitor.email.is_none()) {
        first.make_ascii_uppercase();
    }
    let asked = app.store.ask_for_credits(visitor.workspace, who, facts).await?;
    app.nudge();
    Ok(go(&app, "/billing", if asked { "asked" } else { "asked-before" }))
}
