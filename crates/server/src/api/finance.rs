//! What finance takes away: payments with their receipts, and grants with what they cost, as CSV.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;

use super::caller::In;
use super::extract::{Items, Page, Query};
use super::{Answer, about, csv_file};
use crate::app::App;
use crate::catalog::Price;
use crate::clock::rfc3339;
use crate::finance;
use crate::store::payments::Payment;

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Payment)]
pub struct View {
    id: String,
    /// `topup`, `period`, `auto_buy` or `upgrade`.
    purpose: &'static str,
    /// The number of its receipt, once it is paid: from 1, without a gap.
    receipt: Option<i64>,
    /// `pending`, `processing`, `paid`, `declined`, `expired` or `refunded`.
    status: &'static str,
    label: String,
    credits: i64,
    bonus: i64,
    /// All that is paid, tax included.
    price: Price,
    /// Minor units of tax in the price.
    tax: i64,
    /// Minor units given back.
    refunded: i64,
    /// Minor units that disputes hold.
    disputed: i64,
    created_at: String,
    paid_at: Option<String>,
}

fn view(payment: &Payment) -> View {
    let order = &payment.order;
    View {
        id: payment.name(),
        purpose: finance::purpose(order.purpose),
        receipt: payment.receipt,
        status: finance::status(payment.status),
        label: order.label.clone(),
        credits: order.credits,
        bonus: order.bonus,
        price: Price { amount: order.amount, currency: order.currency.clone() },
        tax: order.tax,
        refunded: payment.given_back(),
        disputed: payment.disputed - payment.reinstated,
        created_at: rfc3339(payment.created_at),
        paid_at: payment.paid_at.map(rfc3339),
    }
}

/// Payments of every kind, newest first.
#[utoipa::path(get, path = "/v1/workspaces/{ws}/payments", params(("ws" = String, Path), Page), responses((status = 200, body = Items<View>)))]
pub async fn payments(State(app): State<App>, here: In, Query(page): Query<Page>) -> Answer {
    let limit = page.limit()?;
    let rows = app.store.payments(here.workspace, finance::ALL, page.cursor()?, limit + 1).await?;
    let items = Items::new(rows, limit, |row| row.id.to_string(), |row| view(&row));
    about(&app, here.workspace, StatusCode::OK, &items).await
}

/// Payments as CSV, newest first.
#[utoipa::path(get, path = "/v1/workspaces/{ws}/payments.csv", params(("ws" = String, Path)), responses((status = 200, content_type = "text/csv", body = String)))]
pub async fn payments_csv(State(app): State<App>, here: In) -> Answer {
    app.store.available(here.workspace).await?;
    Ok(csv_file("payments.csv", finance::payments(&app, here.workspace).await?))
}

/// Grants as CSV, oldest first, each with where its credits are and what was paid for it.
#[utoipa::path(get, path = "/v1/workspaces/{ws}/grants.csv", params(("ws" = String, Path)), responses((status = 200, content_type = "text/csv", body = String)))]
pub async fn grants_csv(State(app): State<App>, here: In) -> Answer {
    app.store.available(here.workspace).await?;
    Ok(csv_file("grants.csv", finance::grants(&app, here.workspace).await?))
}
