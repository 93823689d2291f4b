//! A payment intent in our words.
//!
//! Owns what each of Stripe's states means to us. It asks Stripe only for the disputes of a disputed payment.

use super::objects::{Charge, Dispute, Intent};
use super::{SAVED, Stripe};
use crate::payments::{Failure, Said, Stands};

impl Stripe {
    pub(super) async fn said_of(&self, intent: Intent) -> Result<Said, Failure> {
        let saved = intent.metadata(SAVED).is_some();
        let stands = match intent.status.as_str() {
            "succeeded" => Stands::Paid,
            "processing" => Stands::Processing,
            "canceled" => Stands::Expired,
            // On Stripe's page another card may be tried; without a person nobody tries one.
            _ if saved && intent.last_payment_error.is_some() => Stands::Declined,
            _ => Stands::Open,
        };
        let charge = intent.latest_charge.as_ref().filter(|_| stands == Stands::Paid);
        let disputes: Vec<Dispute> = match charge {
            Some(charge) if charge.disputed => {
                self.all("disputes", &[("payment_intent", intent.id.clone())]).await?
            }
            _ => Vec::new(),
        };
        let sum = |counts: &dyn Fn(&str) -> bool| {
            disputes.iter().filter(|dispute| counts(&dispute.status)).map(|dispute| dispute.amount).sum()
        };
        let kept =
            stands == Stands::Paid && (saved || intent.setup_future_usage.as_deref() == Some("off_session"));
        let method = intent.payment_method.as_ref().filter(|_| kept);
        Ok(Said {
            stands,
            amount: if stands == Stands::Paid { intent.amount_received } else { intent.amount },
            refunded: charge.map_or(0, |charge| charge.amount_refunded),
            // An inquiry takes nothing yet, and a dispute that was prevented never did.
            disputed: sum(&|status| !status.starts_with("warning_") && status != "prevented"),
            reinstated: sum(&|status| status == "won"),
            method: method.map(|method| (method.0.clone(), label(charge))),
            customer: intent.customer.filter(|_| kept).map(|customer| customer.0),
            reason: intent
                .last_payment_error
                .filter(|_| stands == Stands::Declined)
                .and_then(|error| error.message),
            tax: None,
            currency: intent.currency,
            // Nobody is bound to what was tried on Stripe's page until it is paid.
            object: (saved || stands >= Stands::Processing).then_some(intent.id),
        })
    }
}

/// Words for a method that a person recognises: `Visa 4242`.
fn label(charge: Option<&Charge>) -> String {
    let details = charge.and_then(|charge| charge.payment_method_details.as_ref());
    let words = match details.map(|details| (&details.card, details.r#type.as_str())) {
        Some((Some(card), _)) => {
            format!(
                "{} {}",
                card.brand.as_deref().unwrap_or("card"),
                card.last4.as_deref().unwrap_or_default()
            )
        }
        Some((None, kind)) if !kind.is_empty() => kind.replace('_', " "),
        _ => "saved method".to_owned(),
    };
    let mut letters = words.trim().chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
