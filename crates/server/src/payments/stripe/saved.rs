//! What is charged without a person: one intent for each payment, which every attempt confirms.
//!
//! Invariant: before an intent is confirmed, nobody can pay on a page of the same payment any more.

use billing::units::SECOND;

use super::objects::{Calculation, Customer, Intent, Method, Session};
use super::wire::Wrong;
use super::words::words;
use super::{PAYMENT, SAVED, SKEW_SECONDS, Stripe};
use crate::payments::{Failure, Order, Said, Stands};

impl Stripe {
    pub(in crate::payments) async fn charge_saved(&self, order: &Order) -> Result<Said, Failure> {
        if let Some(session) = &order.checkout
            && let Some(said) = self.close(session).await?
        {
            return Ok(said);
        }
        let Some(customer) = &order.customer else {
            return Ok(declined(order, "No payment method is saved."));
        };
        // What the payer chose on Stripe's own page counts.
        let known: Customer = self.wire.get(&format!("customers/{customer}"), &[]).await?;
        let chosen = known.invoice_settings.default_payment_method.map(|method| method.0);
        let Some(method) = chosen.or_else(|| order.method.clone()) else {
            return Ok(declined(order, "No payment method is saved."));
        };
        let intent = self.saved_intent(order, customer).await?;
        if matches!(intent.status.as_str(), "succeeded" | "processing" | "canceled") {
            return self.said_alone(order, intent).await;
        }
        let fields = [
            ("payment_method", method.clone()),
            ("off_session", "true".to_owned()),
            ("expand[]", "latest_charge".to_owned()),
        ];
        let key = format!("attempt {} {method} {}", order.attempt, order.payment);
        match self.wire.post(&format!("payment_intents/{}/confirm", intent.id), &key, &fields).await {
            Ok(intent) => self.said_alone(order, intent).await,
            Err(Wrong::Declined { reason, .. } | Wrong::NeedsAction { reason, .. }) => {
                let object = order.known.object.clone().unwrap_or(intent.id);
                Ok(Said { object: Some(object), ..declined(order, &reason) })
            }
            Err(wrong) => Err(wrong.into()),
        }
    }

    /// The method that a customer is charged by from now on, and words for it: the one chosen on Stripe's page, or the known one
    /// while it is still theirs.
    ///
    /// # Errors
    /// When Stripe does not say.
    pub async fn saved_method(
        &self,
        customer: &str,
        known: Option<&str>,
    ) -> Result<Option<(String, String)>, Failure> {
        let of: Customer = self.wire.get(&format!("customers/{customer}"), &[]).await?;
        let chosen = of.invoice_settings.default_payment_method.map(|method| method.0);
        let Some(method) = chosen.as_deref().or(known) else { return Ok(None) };
        let method: Method = self.wire.get(&format!("payment_methods/{method}"), &[]).await?;
        let is_theirs = method.customer.is_some_and(|owner| owner.0 == customer);
        Ok(is_theirs.then(|| (method.id, words(Some(&method.details)))))
    }

    /// Sees to it that nobody can pay on a page any more, so that what is paid there is not charged as well; what was paid there
    /// already, if it was.
    pub(in crate::payments) async fn close(&self, session: &str) -> Result<Option<Said>, Failure> {
        let path = format!("checkout/sessions/{session}/expire");
        match self.wire.post::<Session>(&path, &format!("expire {session}"), &[]).await {
            Ok(_) => Ok(None),
            // It has ended already, in one way or the other.
            Err(Wrong::Invalid(_)) => {
                let said = self.said_of_session(self.session(session).await?).await?;
                Ok(matches!(said.stands, Stands::Paid | Stands::Processing).then_some(said))
            }
            Err(wrong) => Err(wrong.into()),
        }
    }

    /// The one intent of a payment without a person: the known one, one whose answer was lost, or a new one.
    async fn saved_intent(&self, order: &Order, customer: &str) -> Result<Intent, Failure> {
        let ours = |intent: &Intent| {
            let is = |name: &str, value: &str| intent.metadata(name).is_some_and(|it| it == value);
            is(PAYMENT, &order.payment) && is(SAVED, "true")
        };
        if let Some(object) = &order.known.object {
            let intent = self.intent(object).await?;
            // One that was tried on Stripe's page can only be paid there.
            if ours(&intent) || matches!(intent.status.as_str(), "succeeded" | "processing") {
                return Ok(intent);
            }
        }
        let latest = [
            ("customer", customer.to_owned()),
            ("created[gte]", (order.created_at.0 / SECOND - SKEW_SECONDS).to_string()),
            ("expand[]", "data.latest_charge".to_owned()),
        ];
        let latest: Vec<Intent> = self.all("payment_intents", &latest).await?;
        if let Some(intent) = latest.into_iter().find(ours) {
            self.in_our_mode(intent.livemode)?;
            return Ok(intent);
        }
        let calculation = match self.automatic_tax {
            true => Some(self.calculate(order, customer).await?),
            false => None,
        };
        let amount = calculation.as_ref().map_or(order.amount, |calculation| calculation.amount_total);
        let mut fields = vec![
            ("amount", amount.to_string()),
            ("currency", order.currency.to_lowercase()),
            ("customer", customer.to_owned()),
            ("description", order.title.clone()),
            ("metadata[scrip_payment]", order.payment.clone()),
            ("metadata[scrip_saved]", "true".to_owned()),
            ("automatic_payment_methods[enabled]", "true".to_owned()),
            ("automatic_payment_methods[allow_redirects]", "never".to_owned()),
        ];
        if let Some(calculation) = calculation {
            fields.push(("metadata[scrip_tax]", calculation.tax_amount_exclusive.to_string()));
            // So Stripe reports the tax, and takes it back with a refund.
            fields.push(("hooks[inputs][tax][calculation]", calculation.id));
        }
        let intent: Intent =
            self.wire.post("payment_intents", &format!("intent {}", order.payment), &fields).await?;
        self.in_our_mode(intent.livemode)?;
        Ok(intent)
    }

    /// What tax is added where the payer lives, as Stripe knows it from a checkout.
    async fn calculate(&self, order: &Order, customer: &str) -> Result<Calculation, Failure> {
        let fields = [
            ("currency", order.currency.to_lowercase()),
            ("customer", customer.to_owned()),
            ("line_items[0][amount]", self.asked_for(order).to_string()),
            ("line_items[0][reference]", order.payment.clone()),
            ("line_items[0][tax_behavior]", "exclusive".to_owned()),
        ];
        // Asked again for a payment, it is the same one, so that the intent is the same too.
        Ok(self.wire.post("tax/calculations", &format!("tax {}", order.payment), &fields).await?)
    }
}

fn declined(order: &Order, reason: &str) -> Said {
    Said { stands: Stands::Declined, reason: Some(reason.to_owned()), ..order.known.clone() }
}
