//! The dashboard: every page in one visible list, one file per page beside its template.
//!
//! Owns the router of the pages. It never sees SQL and never imports `api`: both stand on `app` and `store`.

mod admin;
mod assets;
mod billing;
mod builder;
mod campaigns;
mod checkout;
mod chosen;
mod credits;
mod csv_file;
mod embed;
mod entry;
mod families;
mod flash;
mod forecast;
mod frame;
mod history;
mod keys;
mod lead;
mod leads;
mod limits;
mod live;
mod margin;
mod notifications;
mod operator;
mod password;
mod payments;
mod people;
mod plan;
mod preview;
mod provider;
mod review;
mod scene;
mod searches;
mod senders;
mod session;
mod sessions;
mod settings;
mod sign_in;
mod strategy;
mod timeline;
mod unsubscribe;
mod upkeep;
mod usage;
pub mod view;
mod webhooks;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect};
use axum::routing::{get, post};
use axum::{Extension, Router};
use tower_http::catch_panic::CatchPanicLayer;

use crate::app::App;

pub use frame::not_found;

/// Every page. It takes the app because what surrounds all pages (sessions, error pages) reads it.
pub fn router(app: &App) -> Router<App> {
    let pages = Router::new()
        .route("/", get(|| async { Redirect::to("/billing") }))
        .route("/portal", get(session::portal))
        .route("/signed-out", get(session::signed_out))
        .route("/sign-out", post(session::sign_out))
        .route("/sign-in", get(sign_in::form).post(sign_in::ask))
        .route("/sign-in/password", post(sign_in::by_password))
        .route("/sign-in/provider", get(provider::begin))
        .route("/sign-in/provider/callback", get(provider::end))
        .route("/sign-in/{link}", get(sign_in::confirm).post(sign_in::enter))
        .route("/sign-up", get(password::sign_up).post(password::begin))
        .route("/workspaces", get(sessions::workspaces))
        .route("/workspaces/{workspace}", post(sessions::switch))
        .route("/live", get(live::live))
        .route("/embed", get(embed::chip))
        .route("/unsubscribe/{token}", get(unsubscribe::page).post(unsubscribe::end))
        .route("/checkout/{topup}", get(checkout::page).post(checkout::end))
        .route("/campaigns", get(campaigns::list))
        .route("/campaigns/new", get(builder::new).post(builder::create))
        .route("/campaigns/{id}", get(campaigns::page))
        .route("/campaigns/{id}/edit", get(builder::edit).post(builder::change))
        .route("/campaigns/{id}/leads", post(builder::add_leads))
        .route("/campaigns/{id}/messages", get(review::page).post(review::decide))
        .route("/campaigns/{id}/{act}", post(campaigns::act))
        .route("/leads", get(leads::list))
        .route("/leads/import", post(leads::import))
        .route("/leads/chosen", get(chosen::page))
        .route("/leads/chosen/enrich", post(chosen::enrich))
        .route("/leads/chosen/campaign", post(chosen::add))
        .route("/leads/{id}", get(lead::page))
        .route("/leads/{id}/{act}", post(lead::act))
        .route("/enrichments/{id}/cancel", post(searches::cancel_enrichment))
        .route("/searches", get(searches::list).post(searches::create))
        .route("/searches/preview", post(preview::preview))
        .route("/searches/{id}/cancel", post(searches::cancel))
        .route("/notifications", get(notifications::list))
        .route("/notifications/read", post(notifications::read_all))
        .route("/notifications/{id}/read", post(notifications::read))
        .merge(about_billing())
        .merge(about_account())
        .merge(about_operator());
    let frame = axum::middleware::from_fn_with_state(app.clone(), frame::around);
    // A page that breaks is drawn like every other page that failed.
    let broke = |_: Box<dyn std::any::Any + Send>| {
        frame::Trouble::of(StatusCode::SERVICE_UNAVAILABLE).into_response()
    };
    pages
        .layer(CatchPanicLayer::custom(broke))
        .layer(frame)
        .layer(Extension(preview::Previews::default()))
        .route("/assets/{name}", get(assets::asset))
        .route("/embed/scrip-balance.js", get(embed::script))
}

/// Billing and what it leads to.
fn about_billing() -> Router<App> {
    Router::new()
        .route("/billing", get(billing::page))
        .route("/billing/topups", post(billing::top_up))
        .route("/billing/now", get(billing::now))
        .route("/billing/ask", post(billing::ask))
        .route("/billing/limits/{act}", post(limits::act))
        .route("/billing/usage.csv", get(csv_file::usage))
        .route("/billing/credits", get(credits::page))
        .route("/billing/history/{number}", get(entry::page))
        .route("/billing/history.csv", get(csv_file::history))
        .route("/billing/payments.csv", get(csv_file::payments))
        .route("/billing/grants.csv", get(csv_file::grants))
        .route("/billing/plan", get(plan::page).post(plan::change))
        .route("/billing/plan/cancel", post(plan::cancel))
        .route("/billing/plan/resume", post(plan::resume))
        .route("/billing/auto", post(payments::auto))
        .route("/billing/method", post(payments::method))
        .route("/billing/payments", get(payments::page))
        .route("/billing/payments/{payment}", get(payments::receipt))
        .route("/billing/payments/{payment}/pay", post(payments::pay))
        .route("/billing/statements/{number}", get(payments::statement))
}

/// The pages under Account.
fn about_account() -> Router<App> {
    Router::new()
        .route("/settings", get(settings::page))
        .route("/settings/alerts", post(settings::alert))
        .route("/settings/people", get(people::list).post(people::invite))
        .route("/settings/people/{act}", post(people::act))
        .route("/settings/keys", get(keys::list).post(keys::create))
        .route("/settings/keys/{key}/revoke", post(keys::revoke))
        .route("/settings/password", get(password::page))
        .route("/settings/password/{act}", post(password::act))
        .route("/settings/sessions", get(sessions::list))
        .route("/settings/sessions/end-others", post(sessions::end_others))
        .route("/settings/sessions/{session}/end", post(sessions::end))
        .route("/settings/senders", get(senders::list).post(senders::create))
        .route("/settings/senders/{sender}", get(senders::page).post(senders::change))
        .route("/settings/senders/{sender}/{act}", post(senders::act))
        .route("/settings/strategy", get(strategy::page).post(strategy::change))
        .route("/settings/webhooks", get(webhooks::list).post(webhooks::create))
        .route("/settings/webhooks/{endpoint}", get(webhooks::page))
        .route("/settings/webhooks/{endpoint}/{act}", post(webhooks::act))
}

/// The operator's console.
fn about_operator() -> Router<App> {
    Router::new()
        .route("/admin", get(admin::page))
        .route("/admin/grants", post(admin::grant))
        .route("/admin/open/{workspace}", post(admin::open))
        .route("/admin/workspaces/{workspace}", get(operator::page))
        .route("/admin/workspaces/{workspace}/{act}", post(operator::act))
        .route("/admin/unconfirmed", get(upkeep::doubts))
        .route("/admin/margin", get(margin::page))
        .route("/admin/deliveries", get(upkeep::deliveries))
        .route("/admin/deliveries/{mail}/retry", post(upkeep::retry))
        .route("/admin/health", get(upkeep::health))
        .route("/admin/log", get(upkeep::log))
}
