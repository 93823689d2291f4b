//! The dashboard: every page in one visible list, one file per page beside its template.
//!
//! Owns the router of the pages. It never sees SQL and never imports `api`: both stand on `app` and `store`.

mod admin;
mod assets;
mod billing;
mod campaigns;
mod checkout;
mod csv_file;
mod families;
mod flash;
mod forecast;
mod frame;
mod history;
mod leads;
mod live;
mod notifications;
mod payments;
mod plan;
mod preview;
mod scene;
mod searches;
mod session;
mod settings;
mod unsubscribe;
mod usage;
pub mod view;

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
        .route("/live", get(live::live))
        .route("/billing", get(billing::page))
        .route("/billing/topups", post(billing::top_up))
        .route("/billing/ask", post(billing::ask))
        .route("/billing/usage.csv", get(csv_file::usage))
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
        .route("/unsubscribe/{token}", get(unsubscribe::page).post(unsubscribe::end))
        .route("/checkout/{topup}", get(checkout::page).post(checkout::end))
        .route("/campaigns", get(campaigns::list))
        .route("/campaigns/{id}", get(campaigns::page))
        .route("/campaigns/{id}/{act}", post(campaigns::act))
        .route("/leads", get(leads::list))
        .route("/leads/import", post(leads::import))
        .route("/searches", get(searches::list).post(searches::create))
        .route("/searches/preview", post(preview::preview))
        .route("/searches/{id}/cancel", post(searches::cancel))
        .route("/notifications", get(notifications::list))
        .route("/notifications/read", post(notifications::read_all))
        .route("/notifications/{id}/read", post(notifications::read))
        .route("/settings", get(settings::page))
        .route("/admin", get(admin::page))
        .route("/admin/grants", post(admin::grant))
        .route("/admin/open/{workspace}", post(admin::open));
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
}
