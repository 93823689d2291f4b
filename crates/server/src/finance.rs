//! What finance takes away, for the API and the pages: payments with their receipts, and grants with what they cost, as CSV.
//!
//! Money is in minor units, credits are whole; both are the ledger's.

use crate::app::App;
use crate::clock::rfc3339;
use crate::csv_cell::cell;
use crate::id;
use crate::store::Error;
use crate::store::codec::grant_kind_name;
use crate::store::payments::{Payment, Purpose, Status};

/// Every purpose.
pub const ALL: &[Purpose] = &[Purpose::TopUp, Purpose::Period, Purpose::AutoBuy, Purpose::Upgrade];
/// Payments read at once for a file.
const PAGE: i64 = 500;

/// A purpose on the wire.
pub fn purpose(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::TopUp => "topup",
        Purpose::Period => "period",
        Purpose::AutoBuy => "auto_buy",
        Purpose::Upgrade => "upgrade",
    }
}

/// A payment's status on the wire.
pub fn status(status: Status) -> &'static str {
    match status {
        Status::Pending => "pending",
        Status::Processing => "processing",
        Status::Paid => "paid",
        Status::Declined => "declined",
        Status::Expired => "expired",
        Status::Refunded => "refunded",
    }
}

/// All payments, newest first.
///
/// # Errors
/// When the store cannot read, or the file cannot be written.
pub async fn payments(app: &App, workspace: i64) -> Result<Vec<u8>, Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let header = [
        "id",
        "purpose",
        "receipt",
        "status",
        "label",
        "credits",
        "bonus",
        "net",
        "tax",
        "total",
        "currency",
        "refunded",
        "disputed",
        "credits_taken_back",
        "created_at",
        "paid_at",
    ];
    writer.write_record(header).map_err(unwritten)?;
    let mut before = None;
    loop {
        let rows = app.store.payments(workspace, ALL, before, PAGE).await?;
        for payment in &rows {
            writer.write_record(record(payment)).map_err(unwritten)?;
        }
        match rows.last() {
            Some(last) if rows.len() as i64 == PAGE => before = Some(last.id),
            _ => break,
        }
    }
    writer.into_inner().map_err(|error| unwritten(error.into_error().into()))
}

fn record(payment: &Payment) -> [String; 16] {
    let order = &payment.order;
    let number = |number: i64| number.to_string();
    [
        payment.name(),
        purpose(order.purpose).to_owned(),
        payment.receipt.map(number).unwrap_or_default(),
        status(payment.status).to_owned(),
        cell(&order.label),
        number(order.credits),
        number(order.bonus),
        number(order.amount - order.tax),
        number(order.tax),
        number(order.amount),
        order.currency.clone(),
        number(payment.given_back()),
        number(payment.disputed - payment.reinstated),
        number(payment.taken),
        rfc3339(payment.created_at),
        payment.paid_at.map(rfc3339).unwrap_or_default(),
    ]
}

/// All grants, oldest first, each with where its credits are and what was paid for it without tax.
///
/// # Errors
/// When the store cannot read, or the file cannot be written.
pub async fn grants(app: &App, workspace: i64) -> Result<Vec<u8>, Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let header = [
        "id",
        "kind",
        "granted_at",
        "expires_at",
        "granted",
        "scheduled",
        "available",
        "held",
        "consumed",
        "expired",
        "revoked",
        "repaid",
        "cost_basis",
        "currency",
        "payment",
    ];
    writer.write_record(header).map_err(unwritten)?;
    for cost in app.store.costs(workspace).await? {
        let grant = &cost.grant;
        let (paid, currency) = cost.paid.unwrap_or_default();
        let record = [
            id::inside("grant", workspace, grant.id.0),
            grant_kind_name(grant.terms.kind).to_owned(),
            rfc3339(grant.granted_at),
            grant.terms.expires_at.map(rfc3339).unwrap_or_default(),
            grant.terms.credits.get().to_string(),
            grant.scheduled.to_string(),
            grant.available.to_string(),
            grant.held.to_string(),
            grant.consumed.to_string(),
            grant.expired.to_string(),
            grant.revoked.to_string(),
            grant.repaid.to_string(),
            paid.to_string(),
            currency,
            cost.payment.unwrap_or_default(),
        ];
        writer.write_record(record).map_err(unwritten)?;
    }
    writer.into_inner().map_err(|error| unwritten(error.into_error().into()))
}

fn unwritten(error: csv::Error) -> Error {
    Error::Unavailable(format!("the file could not be written: {error}"))
}
