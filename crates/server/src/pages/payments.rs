//! Payments: the saved method, auto-buy, every payment with its receipt, and the statements.

use axum::extract::{Form, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect};
use serde::Deserialize;

use super::billing::{tax_note, taxed, to_checkout};
use super::frame::{Page, Trouble, go, html, page as draw};
use super::scene::Scene;
use super::session::Visitor;
use super::view::format::{Figure, money as in_money};
use super::view::{
    AutoBuyForm, Paper, PaperLine, PaymentRow, PaymentsPage, Receipt, StatementPage, StatementRow, Tab,
};
use crate::app::App;
use crate::payments::Payments;
use crate::store::auto_buy::AutoBuy;
use crate::store::codec::entry_kind;
use crate::store::payments::{Payment, Purpose, Status, parse_name};
use crate::store::statements::Span;
use crate::{calendar, finance, money};

/// Payments and statements on one page.
const ROWS: i64 = 50;

#[derive(Deserialize)]
pub struct Shown {
    /// What auto-buy would be set to, to be confirmed.
    below: Option<i64>,
    pack: Option<String>,
    most: Option<i64>,
}

/// Payments of the workspace.
pub async fn page(State(app): State<App>, visitor: Visitor, Query(shown): Query<Shown>) -> Page {
    visitor.admin()?;
    let scene = Scene::load(&app, &visitor).await?;
    let asked = match (shown.below, shown.pack, shown.most) {
        (Some(below), Some(pack), Some(most)) => Some(AutoBuy { enabled: true, below, pack, most }),
        _ => None,
    };
    let wrong = match &asked {
        Some(asked) => wrong(&app, visitor.workspace, asked).await?,
        None => None,
    };
    let confirm = asked.as_ref().filter(|_| wrong.is_none());
    let confirm = confirm.and_then(|asked| would_buy(&app, asked, scene.balance.available));
    draw(&whole(&app, &scene, asked, (confirm, wrong)).await?)
}

/// The page, with auto-buy's form as it was sent, what it has to confirm and what is wrong with it. Whether it is on is what is
/// stored, whatever was sent.
async fn whole(
    app: &App,
    scene: &Scene,
    asked: Option<AutoBuy>,
    (confirm, wrong): (Option<String>, Option<&'static str>),
) -> Result<PaymentsPage, Trouble> {
    let id = scene.workspace.id;
    let payer = app.store.payer(id).await?;
    let payments = app.store.payments(id, finance::ALL, None, ROWS).await?;
    let statements = app.store.statements(id).await?;
    let stored = app.store.auto_buy(id).await?;
    let enabled = stored.as_ref().is_some_and(|stored| stored.enabled);
    let auto = asked.or(stored).map(|auto| AutoBuy { enabled, ..auto });
    let has_portal = payer.customer.is_some() && !matches!(app.payments, None | Some(Payments::Sandbox));
    Ok(PaymentsPage {
        shell: scene.shell(Some(Tab::Billing)),
        method: payer.method.map(|(_, label)| label),
        has_portal,
        auto: app.payments.is_some().then(|| form(app, auto, confirm, wrong)),
        rows: payments.iter().map(|payment| row(scene, payment)).collect(),
        statements: statements.iter().rev().take(ROWS as usize).map(|span| row_of(scene, span)).collect(),
    })
}

fn form(
    app: &App,
    auto: Option<AutoBuy>,
    confirm: Option<String>,
    wrong: Option<&'static str>,
) -> AutoBuyForm {
    let nothing = || AutoBuy { enabled: false, below: 1_000, pack: String::new(), most: 4 };
    let auto = auto.unwrap_or_else(nothing);
    let pack = |pack: &crate::catalog::Pack| {
        let price = in_money(taxed(app, pack.price.amount), &pack.price.currency);
        (pack.pack.clone(), format!("{} for {price}", pack.label), pack.pack == auto.pack)
    };
    AutoBuyForm {
        enabled: auto.enabled,
        below: auto.below,
        most: auto.most,
        packs: app.catalog().packs.iter().map(pack).collect(),
        confirm,
        wrong,
        tax: tax_note(app),
    }
}

/// Why auto-buy cannot be set so. Asked before anything is to be confirmed: nobody agrees to what then does not happen.
async fn wrong(app: &App, workspace: i64, asked: &AutoBuy) -> Result<Option<&'static str>, Trouble> {
    let fits = (1..=billing::units::MAX_CREDITS).contains(&asked.below) && (1..=1_000).contains(&asked.most);
    if !fits || app.catalog().pack(&asked.pack).is_none() {
        return Ok(Some("Auto-buy needs a threshold, a pack and a limit from 1 to 1,000."));
    }
    if asked.enabled && app.store.payer(workspace).await?.method.is_none() {
        return Ok(Some("No payment method is saved. Buy credits once, or subscribe, and it is kept."));
    }
    Ok(None)
}

/// What turning auto-buy on would buy at once, in words.
fn would_buy(app: &App, asked: &AutoBuy, available: i64) -> Option<String> {
    let pack = app.catalog().pack(&asked.pack)?;
    let each = pack.credits + pack.bonus;
    let packs = billing::subscription::packs_missing(available, asked.below, each, asked.most);
    let one = money::pack(app.catalog(), 0, Purpose::AutoBuy, pack, None);
    (packs > 0).then(|| {
        format!(
            "You have {}, which is less than {}. Turning it on buys {} at once and charges {}{} to your saved method.",
            available.credits(),
            asked.below.n(),
            (each * packs).credits(),
            in_money(one.amount * packs, &one.currency),
            money::plus_tax(app)
        )
    })
}

fn row(scene: &Scene, payment: &Payment) -> PaymentRow {
    PaymentRow {
        id: payment.name(),
        at: scene.moment(payment.paid_at.unwrap_or(payment.created_at)),
        label: payment.order.label.clone(),
        amount: in_money(payment.order.amount, &payment.order.currency),
        status: status(payment).to_owned(),
        receipt: payment.receipt.map(|number| format!("{number:04}")),
    }
}

fn row_of(scene: &Scene, span: &Span) -> StatementRow {
    StatementRow { number: span.number, days: days(scene, span) }
}

fn days(scene: &Scene, span: &Span) -> String {
    let date = |at| calendar::full_day(at, scene.zone());
    format!("{} to {}", date(span.starts_at), date(span.ends_at))
}

fn status(payment: &Payment) -> &'static str {
    match payment.status {
        Status::Paid if payment.disputed > payment.reinstated => "Disputed",
        Status::Paid if payment.given_back() > 0 => "Paid, partly refunded",
        Status::Paid => "Paid",
        Status::Refunded => "Refunded",
        Status::Processing => "Payment received, credits arriving",
        Status::Pending => "Not paid yet",
        Status::Declined if payment.next_attempt.is_some() => "Declined, tried again",
        Status::Declined => "Declined",
        Status::Expired => "Expired",
    }
}

#[derive(Deserialize)]
pub struct Auto {
    #[serde(default)]
    enabled: Option<String>,
    below: i64,
    pack: String,
    most: i64,
    /// Whether the person saw what it buys at once.
    #[serde(default)]
    confirmed: Option<String>,
}

/// Turns auto-buy on or off. What would be bought at once is shown before it is saved.
pub async fn auto(State(app): State<App>, visitor: Visitor, Form(form): Form<Auto>) -> Page {
    visitor.admin()?;
    let asked =
        AutoBuy { enabled: form.enabled.is_some(), below: form.below, pack: form.pack, most: form.most };
    if asked.enabled {
        money::provider(&app)?;
    }
    if let Some(wrong) = wrong(&app, visitor.workspace, &asked).await? {
        let scene = Scene::load(&app, &visitor).await?;
        let page = whole(&app, &scene, Some(asked), (None, Some(wrong))).await?;
        return html(StatusCode::UNPROCESSABLE_ENTITY, &page);
    }
    if asked.enabled {
        let available = app.store.available(visitor.workspace).await?;
        if form.confirmed.is_none() && would_buy(&app, &asked, available).is_some() {
            let AutoBuy { below, pack, most, .. } = asked;
            let to = format!("/billing/payments?below={below}&pack={pack}&most={most}#auto");
            return Ok(Redirect::to(&to).into_response());
        }
    }
    let flash = if asked.enabled { "auto-on" } else { "auto-off" };
    app.store.set_auto_buy(visitor.workspace, asked, visitor.name()).await?;
    app.nudge();
    Ok(go(&app, "/billing/payments", flash))
}

/// A payment of the visitor's workspace.
async fn find(app: &App, visitor: &Visitor, name: &str) -> Result<Payment, Trouble> {
    visitor.admin()?;
    let (workspace, number) = parse_name(name).ok_or_else(Trouble::not_found)?;
    if workspace != visitor.workspace {
        return Err(Trouble::not_found());
    }
    let payment = app.store.payment(workspace, number).await?;
    if payment.name() == name { Ok(payment) } else { Err(Trouble::not_found()) }
}

/// One payment: its receipt once it is paid, and how it stands until then. Whoever comes back from the provider's page lands
/// here, so the provider is asked; a message that was lost does not matter.
pub async fn receipt(State(app): State<App>, visitor: Visitor, Path(name): Path<String>) -> Page {
    let mut payment = find(&app, &visitor, &name).await?;
    if !payment.is_paid() && app.payments.is_some() {
        match money::refresh(&app, &payment).await {
            Ok(fresh) => payment = fresh,
            Err(trouble) => tracing::warn!(?trouble, "a payment could not be looked up"),
        }
    }
    let scene = Scene::load(&app, &visitor).await?;
    let order = &payment.order;
    let in_money = |amount| in_money(amount, &order.currency);
    let tax = app.catalog().tax.as_ref().map_or("Tax", |tax| tax.label.as_str());
    let mut entries = Vec::new();
    for (grant, credits, what) in
        [(payment.grant, order.credits, ""), (payment.bonus_grant, order.bonus, ", bonus")]
    {
        entries.extend(grant.map(|grant| format!("Ledger entry {}: {}{what}", grant.n(), credits.credits())));
    }
    draw(&Receipt {
        id: name,
        paper: paper(
            &scene,
            payment.receipt.map_or("Payment".to_owned(), |number| format!("Receipt {number:04}")),
        ),
        status: status(&payment).to_owned(),
        reason: payment.reason.clone(),
        at: scene.moment(payment.paid_at.unwrap_or(payment.created_at)),
        lines: vec![PaperLine { what: order.label.clone(), figure: in_money(order.amount - order.tax) }],
        tax: (order.tax > 0).then(|| PaperLine { what: tax.to_owned(), figure: in_money(order.tax) }),
        total: in_money(order.amount),
        refunded: (payment.given_back() > 0).then(|| in_money(payment.given_back())),
        disputed: (payment.disputed > payment.reinstated)
            .then(|| in_money(payment.disputed - payment.reinstated)),
        taken: payment.taken,
        entries,
        can_pay: matches!(payment.status, Status::Pending | Status::Declined),
        shell: scene.shell(Some(Tab::Billing)),
    })
}

fn paper(scene: &Scene, title: String) -> Paper {
    Paper {
        title,
        workspace: scene.workspace.name.clone(),
        workspace_id: crate::id::workspace(scene.workspace.id),
    }
}

/// On to the checkout of a payment that is not paid yet.
pub async fn pay(State(app): State<App>, visitor: Visitor, Path(name): Path<String>) -> Page {
    let payment = find(&app, &visitor, &name).await?;
    let payment = money::open_checkout(&app, payment).await?;
    if payment.is_paid() || payment.status == Status::Expired {
        return Ok(Redirect::to(&format!("/billing/payments/{name}")).into_response());
    }
    Ok(to_checkout(&app, &payment))
}

/// The provider's page where the saved method is changed.
pub async fn method(State(app): State<App>, visitor: Visitor) -> Page {
    visitor.admin()?;
    let url = money::portal(&app, visitor.workspace).await?;
    Ok(Redirect::to(url.as_deref().unwrap_or("/billing/payments")).into_response())
}

/// One statement.
pub async fn statement(State(app): State<App>, visitor: Visitor, Path(number): Path<String>) -> Page {
    visitor.admin()?;
    let number = number.parse().ok().filter(|number| *number >= 1).ok_or_else(Trouble::not_found)?;
    let scene = Scene::load(&app, &visitor).await?;
    let stands = app.store.statement(scene.workspace.id, number).await?;
    let line = |line: &crate::store::statements::Line| {
        let operation = line.operation.as_deref().map(|name| super::usage::operation(&app, name));
        let what = match (entry_kind(line.kind), operation) {
            (kind, Some(operation)) => format!("{}: {operation}", kind_words(kind)),
            (kind, None) => kind_words(kind).to_owned(),
        };
        PaperLine {
            what: format!("{what} ({})", line.entries.of("entry", "entries")),
            figure: line.credits.signed(),
        }
    };
    draw(&StatementPage {
        paper: paper(&scene, format!("Statement {number:04}")),
        period: days(&scene, &stands.span),
        is_open: stands.span.is_open,
        entries: (stands.entries.0 + 1, stands.entries.1),
        opening: stands.opening,
        lines: stands.lines.iter().map(line).collect(),
        closing: stands.closing,
        payments: stands.payments.iter().map(|payment| row(&scene, payment)).collect(),
        shell: scene.shell(Some(Tab::Billing)),
    })
}

/// A kind of entry as people read it.
fn kind_words(kind: billing::EntryKind) -> &'static str {
    use billing::EntryKind::{Adjust, Charge, Expire, Grant, Refund, Repay, Revoke};
    match kind {
        Grant => "Granted",
        Charge => "Used",
        Adjust => "Adjusted",
        Expire => "Expired",
        Revoke => "Taken back",
        Refund => "Given back",
        Repay => "Repaid",
        _ => "Other",
    }
}
