//! Money that goes back: refunds, and disputes with their reversal.

use serde_json::{Value, json};

use crate::payments::{amount, metadata, missing};
use crate::stripe::{Answer, Refusal, Stripe};

impl Stripe {
    pub(crate) fn create_refund(&mut self, given: &Value) -> Answer {
        let charge = match (given["payment_intent"].as_str(), given["charge"].as_str()) {
            (Some(intent), _) => {
                let intent = self.find("payment_intent", intent, "payment_intent")?;
                let nothing = "This PaymentIntent does not have a successful charge to refund.";
                let paid = intent["status"] == "succeeded";
                let charge = intent["latest_charge"].as_str().filter(|_| paid);
                charge
                    .ok_or_else(|| Refusal::invalid("resource_missing", "payment_intent", nothing))?
                    .to_owned()
            }
            (None, Some(charge)) => charge.to_owned(),
            (None, None) => return Err(missing("payment_intent")),
        };
        let charge = self.find("charge", &charge, "charge")?;
        let left = whole(&charge["amount_captured"]) - whole(&charge["amount_refunded"]);
        if charge["disputed"] == true && self.all("dispute").iter().any(|one| is_lost(one, &charge["id"])) {
            let message = "This charge has been charged back and cannot be refunded.";
            return Err(Refusal::invalid("charge_disputed", "charge", message));
        }
        if left == 0 {
            let message = format!("Charge {} has already been refunded.", charge["id"]);
            return Err(Refusal::invalid("charge_already_refunded", "charge", &message));
        }
        let amount = if given["amount"].is_null() { left } else { amount(given, "amount")? };
        if amount > left {
            let message =
                format!("Refund amount ({amount}) is greater than unrefunded amount on charge ({left})");
            return Err(Refusal::invalid("amount_too_large", "amount", &message));
        }
        let id = self.make("refund", "re", json!({ "amount": amount, "charge": charge["id"],
            "currency": charge["currency"], "metadata": metadata(given), "payment_intent": charge["payment_intent"],
            "reason": given["reason"], "status": "succeeded", "receipt_number": null,
            "balance_transaction": null, "source_transfer_reversal": null, "transfer_reversal": null }));
        self.refunded(&charge, amount);
        self.happened("refund.created", &id);
        self.find("refund", &id, "id")
    }

    /// Somebody gives money back on Stripe's own page.
    pub fn give_back(&mut self, intent: &str, amount: i64) {
        let refund = json!({ "payment_intent": intent, "amount": amount.to_string() });
        self.create_refund(&refund).unwrap_or_else(|refusal| panic!("{refusal:?}"));
    }

    /// Minor units of a payment that are not given back yet.
    pub fn left(&self, intent: &str) -> i64 {
        let charge = self.get(intent).and_then(|intent| self.get(intent["latest_charge"].as_str()?));
        charge.map_or(0, |charge| whole(&charge["amount_captured"]) - whole(&charge["amount_refunded"]))
    }

    /// The bank could not take a refund back in: the money is with the seller again.
    pub fn fail_refund(&mut self, id: &str) {
        let refund = self.known(id);
        assert_eq!(refund["status"], "succeeded", "a refund fails once");
        refund["status"] = json!("failed");
        refund["failure_reason"] = json!("lost_or_stolen_card");
        let (amount, charge) = (whole(&refund["amount"]), refund["charge"].clone());
        let charge = self.find("charge", charge.as_str().unwrap_or_default(), "charge").unwrap_or_default();
        self.refunded(&charge, -amount);
        self.happened("refund.failed", id);
    }

    fn refunded(&mut self, charge: &Value, amount: i64) {
        let id = charge["id"].as_str().unwrap_or_default();
        let charge = self.known(id);
        let refunded = whole(&charge["amount_refunded"]) + amount;
        charge["amount_refunded"] = json!(refunded);
        charge["refunded"] = json!(refunded == whole(&charge["amount"]));
        self.happened(if amount > 0 { "charge.refunded" } else { "charge.updated" }, id);
    }

    /// The owner of the card says that they did not buy this: the money is taken back at once. Answers the dispute's id.
    pub fn dispute(&mut self, intent: &str) -> String {
        let intent = self.known(intent).clone();
        let charge = intent["latest_charge"].as_str().unwrap_or_default().to_owned();
        self.known(&charge)["disputed"] = json!(true);
        let left = whole(&intent["amount"]) - whole(&self.known(&charge)["amount_refunded"]);
        let id = self.make("dispute", "du", json!({ "amount": left, "balance_transactions": [], "charge": charge,
            "currency": intent["currency"], "evidence": {}, "evidence_details": { "due_by": null,
                "has_evidence": false, "past_due": false, "submission_count": 0 },
            "is_charge_refundable": false, "metadata": {}, "payment_intent": intent["id"], "reason": "fraudulent",
            "status": "needs_response" }));
        self.happened("charge.dispute.created", &id);
        self.happened("charge.dispute.funds_withdrawn", &id);
        id
    }

    /// The bank decides for the seller: the money comes back.
    pub fn win_dispute(&mut self, id: &str) {
        self.known(id)["status"] = json!("won");
        self.happened("charge.dispute.funds_reinstated", id);
        self.happened("charge.dispute.closed", id);
    }

    /// The seller gives in, or the bank decides for the card's owner.
    pub fn lose_dispute(&mut self, id: &str) -> Answer {
        self.find("dispute", id, "dispute")?;
        self.known(id)["status"] = json!("lost");
        self.happened("charge.dispute.closed", id);
        self.find("dispute", id, "dispute")
    }
}

fn is_lost(dispute: &Value, charge: &Value) -> bool {
    dispute["charge"] == *charge && dispute["status"] != "won"
}

pub(crate) fn whole(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}
