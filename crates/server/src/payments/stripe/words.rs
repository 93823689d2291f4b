//! What Stripe's objects say, in our words.
//!
//! Owns what each of Stripe's states means to us. What an object leaves open, such as the disputes of a payment, is asked for.

use super::objects::{Charge, Details, Dispute, Intent, Named, Session};
use super::{AT_CHECKOUT, PAYMENT, SAVED, Stripe, TAX};
use crate::payments::{Failure, Order, Said, Stands};

impl Stripe {
    /// A payment intent in our words; `None` when no payment of ours is named in it.
    pub(super) async fn said(&self, intent: Intent) -> Result<Option<(String, Said)>, Failure> {
        let Some(payment) = intent.metadata(PAYMENT).cloned() else { return Ok(None) };
        self.in_our_mode(intent.livemode)?;
        // A page whose bank said no days later has ended; on one that is open another card may be tried.
        let failed = intent.metadata(SAVED).is_none() && intent.last_payment_error.is_some();
        if failed && intent.status == "requires_payment_method" {
            let of = [("payment_intent", intent.id.clone())];
            let sessions: Vec<Session> = self.all("checkout/sessions", &of).await?;
            if let Some(session) = sessions.into_iter().next() {
                return Ok(Some((payment, self.said_of_session(session).await?)));
            }
        }
        Ok(Some((payment, self.said_of(intent).await?)))
    }

    /// The same of an intent that is known to be this order's.
    pub(super) async fn said_alone(&self, order: &Order, intent: Intent) -> Result<Said, Failure> {
        match self.said(intent).await? {
            Some((payment, said)) if payment == order.payment => Ok(said),
            _ => Err(Failure::Refused("Stripe's object belongs to another payment".to_owned())),
        }
    }

    pub(super) async fn said_of_session(&self, session: Session) -> Result<Said, Failure> {
        let stands = match (session.status.as_deref(), session.payment_intent) {
            (Some("expired"), _) => Stands::Expired,
            (Some("complete"), Some(Named(intent))) => {
                let intent = self.intent(&intent).await?;
                let reason = intent.last_payment_error.as_ref().and_then(|error| error.message.clone());
                let said = self.said_of(intent).await?;
                let stands = if said.stands == Stands::Open { Stands::Declined } else { said.stands };
                return Ok(Said { stands, reason, ..said });
            }
            _ => Stands::Open,
        };
        Ok(Said { stands, ..Said::default() })
    }

    async fn said_of(&self, intent: Intent) -> Result<Said, Failure> {
        let saved = intent.metadata(SAVED).is_some();
        let stands = match intent.status.as_str() {
            "succeeded" => Stands::Paid,
            "processing" => Stands::Processing,
            // A page that ended takes its intent with it; one of ours somebody canceled at Stripe.
            "canceled" if saved => Stands::Declined,
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
        let tax = match intent.metadata(TAX) {
            Some(tax) if stands == Stands::Paid => Some(self.tax_of(&intent.id, tax).await?),
            _ => None,
        };
        let refunded = charge.map_or(0, |charge| charge.amount_refunded);
        let kept =
            stands == Stands::Paid && (saved || intent.setup_future_usage.as_deref() == Some("off_session"));
        let method = intent.payment_method.as_ref().filter(|_| kept);
        let said = Said {
            stands,
            amount: if stands == Stands::Paid { intent.amount_received } else { intent.amount },
            refunded,
            // An inquiry takes nothing yet, and a dispute that was prevented never did.
            disputed: sum(&|status| !status.starts_with("warning_") && status != "prevented"),
            reinstated: sum(&|status| status == "won"),
            method: method.map(|method| (method.0.clone(), label(charge))),
            customer: intent.customer.filter(|_| kept).map(|customer| customer.0),
            reason: intent
                .last_payment_error
                .filter(|_| stands == Stands::Declined)
                .and_then(|error| error.message),
            tax,
            currency: intent.currency,
            // Nobody is bound to what was tried on Stripe's page until it is paid.
            object: (saved || !matches!(stands, Stands::Open | Stands::Expired)).then_some(intent.id),
            ..Said::default()
        };
        if refunded > 0 { self.with_refunds(said).await } else { Ok(said) }
    }

    /// Minor units of tax in what was paid: written into the intent, or what its checkout came to.
    async fn tax_of(&self, intent: &str, written: &str) -> Result<i64, Failure> {
        if written != AT_CHECKOUT {
            return written.parse().map_err(|_| Failure::Unknown("Stripe's intent names no tax".to_owned()));
        }
        let sessions: Vec<Session> =
            self.all("checkout/sessions", &[("payment_intent", intent.to_owned())]).await?;
        let details = sessions.into_iter().find_map(|session| session.total_details);
        let unknown = || Failure::Unknown("Stripe does not say what tax was paid".to_owned());
        details.map(|details| details.amount_tax).ok_or_else(unknown)
    }
}

/// Words for a method that a person recognises: `Visa 4242`.
fn label(charge: Option<&Charge>) -> String {
    words(charge.and_then(|charge| charge.payment_method_details.as_ref()))
}

/// The same of a method itself.
pub(super) fn words(details: Option<&Details>) -> String {
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
