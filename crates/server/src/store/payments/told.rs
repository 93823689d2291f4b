//! What host products are told of bought credits.

use serde_json::json;

use super::super::batch::Batch;
use super::super::{Error, webhooks};
use super::{Payment, Purpose, Status, find};
use crate::clock;

/// Tells of an order of credits as it stands now. Payments for a plan are told of as the subscription's.
pub(super) fn top_up(batch: &Batch<'_>, payment: &Payment, kind: webhooks::Kind) -> Result<(), Error> {
    if !matches!(payment.order.purpose, Purpose::TopUp | Purpose::AutoBuy) {
        return Ok(());
    }
    let payment = find(&batch.tx, payment.order.workspace, payment.id)?;
    let order = &payment.order;
    let data = json!({
        "topup": payment.name(),
        "status": if kind == webhooks::Kind::TopUpCompleted { "paid" } else if payment.status == Status::Expired { "expired" } else { "declined" },
        "pack": &order.item,
        "credits": payment.credits(),
        "price": { "amount": order.amount, "currency": &order.currency },
        "automatic": order.purpose == Purpose::AutoBuy,
        "reason": &payment.reason,
        "next_attempt_at": payment.next_attempt.map(clock::rfc3339),
    });
    webhooks::tell(&batch.tx, order.workspace, batch.now, kind, &data)
}
