//! The client alone against the stand-in: whatever is lost, refused or late on the way, a write has one effect, and nothing is
//! said of a payment that Stripe does not say.

use std::time::Duration;

use billing::Time;
use fake_stripe::{FakeStripe, Fault};
use scrip::clock;
use scrip::config::{PaymentsConfig, StripeConfig};
use scrip::payments::{Failure, Order, Payments, Refund, Said, Stands};
use serde_json::json;

use super::{config, last};

/// Long enough for any answer, even on a busy machine; and for those who never answer, short enough to wait for.
const PATIENT: Duration = Duration::from_secs(30);
const HASTY: Duration = Duration::from_millis(1_500);

struct Till {
    fake: FakeStripe,
    payments: Payments,
}

impl Till {
    async fn open(timeout: Duration) -> Till {
        let fake = FakeStripe::start().await.expect("a free port");
        let payments = PaymentsConfig::Stripe(StripeConfig { timeout, ..config(&fake) });
        Till { payments: Payments::new(&payments).expect("a client"), fake }
    }

    /// Somebody who has saved this card at Stripe.
    fn payer(&self, card: &str) -> Order {
        let mut stripe = self.fake.stripe();
        let customer = stripe.customer();
        let method = stripe.save(&customer, card);
        Order { customer: Some(customer), method: Some(method), ..order() }
    }

    fn paid(&self) -> usize {
        self.fake.stripe().all("charge").iter().filter(|charge| charge["paid"] == true).count()
    }
}

fn order() -> Order {
    Order {
        created_at: clock::Clock::System.now(),
        payment: "topup_0000000000001a".to_owned(),
        attempt: 1,
        workspace: "ws_0000000000001".to_owned(),
        title: "1,000 credits".to_owned(),
        amount: 2_500,
        tax: 0,
        currency: "EUR".to_owned(),
        email: Some("buyer@example.com".to_owned()),
        customer: None,
        method: None,
        return_url: "https://example.com/back".to_owned(),
        sandbox_url: String::new(),
        checkout: None,
        known: Said::default(),
    }
}

/// An order of which this is known.
fn knowing(order: &Order, said: &Said) -> Order {
    Order { known: said.clone(), ..order.clone() }
}

/// What gets lost, how often, and whether three attempts get through it.
const LOSSES: [(Fault, usize, bool); 9] = [
    (Fault::Status(409), 1, true),
    (Fault::Status(429), 2, true),
    (Fault::Status(500), 2, true),
    (Fault::HangAfterEffect, 1, true),
    (Fault::CloseAfterEffect, 2, true),
    (Fault::GarbleAfterEffect, 1, true),
    (Fault::Status(503), 3, false),
    (Fault::CloseAfterEffect, 3, false),
    (Fault::Status(401), 1, false),
];

#[tokio::test]
async fn a_write_that_is_lost_is_asked_for_again_and_happens_once() {
    for (fault, times, gets_through) in LOSSES {
        let till = Till::open(if fault == Fault::HangAfterEffect { HASTY } else { PATIENT }).await;
        let what = format!("{fault:?} × {times}");
        let fail = |request: &str| till.fake.stripe().fail(request, fault.clone(), times);
        fail("POST /v1/checkout");
        let first = till.payments.checkout(&order()).await;
        assert_eq!(first.is_ok(), gets_through, "{what}: {first:?}");
        assert!(gets_through || matches!(first, Err(Failure::Unknown(_))), "{what}: {first:?}");
        let again = till.payments.checkout(&order()).await.expect("an answer");
        assert_eq!(again, till.payments.checkout(&order()).await.expect("an answer"), "{what}");
        assert_eq!(till.fake.stripe().all("checkout.session").len(), 1, "{what}");

        let payer = till.payer("pm_card_visa");
        for request in ["POST /v1/payment_intents", "POST /v1/payment_intents/"] {
            let payer = Order { payment: request.replace(' ', "_"), ..payer.clone() };
            let before = till.paid();
            fail(request);
            let first = till.payments.charge_saved(&payer).await;
            assert_eq!(first.is_ok(), gets_through, "{what}: {first:?}");
            assert!(gets_through || matches!(first, Err(Failure::Unknown(_))), "{what}: {first:?}");
            let said = till.payments.charge_saved(&payer).await.expect("an answer");
            assert_eq!((said.stands, till.paid() - before), (Stands::Paid, 1), "{what} {request}");
            till.fake.stripe().forget_keys();
            assert_eq!(till.payments.charge_saved(&payer).await, Ok(said.clone()), "{what}");
            assert_eq!(till.paid() - before, 1, "{what}: Stripe forgot the key and not the payment");

            let refund = Refund { number: 1, amount: 500, before: 0 };
            let payer = knowing(&payer, &said);
            let refunds = till.fake.stripe().all("refund").len();
            fail("POST /v1/refunds");
            assert_eq!(till.payments.refund(&payer, refund).await.is_ok(), gets_through, "{what}");
            assert_eq!(
                till.payments.refund(&payer, refund).await.map(|said| said.refunded),
                Ok(500),
                "{what}"
            );
            till.fake.stripe().forget_keys();
            assert_eq!(
                till.payments.refund(&payer, refund).await.map(|said| said.refunded),
                Ok(500),
                "{what}"
            );
            assert_eq!(till.fake.stripe().all("refund").len() - refunds, 1, "{what}");
        }
    }
}

#[tokio::test]
async fn a_card_that_does_not_pay_without_a_person_is_declined_and_another_one_pays_the_same_intent() {
    for card in [
        "pm_card_visa_chargeDeclinedInsufficientFunds",
        "pm_card_authenticationRequired",
        "pm_card_authenticationRequiredOnSetup",
        "pm_card_chargeCustomerFail",
    ] {
        let till = Till::open(PATIENT).await;
        let payer = till.payer(card);
        let said = till.payments.charge_saved(&payer).await.expect("an answer");
        assert_eq!((said.stands, said.object.is_some()), (Stands::Declined, true), "{card}");
        assert!(
            said.reason.as_deref().is_some_and(|reason| reason.starts_with("Your card was declined.")),
            "{said:?}"
        );
        let again = till.payments.charge_saved(&payer).await.expect("an answer");
        assert_eq!(
            (again.stands, till.fake.stripe().count("POST /v1/payment_intents/")),
            (Stands::Declined, 2)
        );
        assert_eq!(till.fake.stripe().all("charge").len(), 1, "{card}: the same attempt is the same charge");
        // On Stripe's own page the payer chooses another card.
        let customer = payer.customer.clone().expect("a customer");
        let method = till.fake.stripe().save(&customer, "pm_card_visa");
        let settings = json!({ "invoice_settings": { "default_payment_method": method } });
        till.fake.stripe().change(&customer, settings);
        let next = Order { attempt: 2, ..knowing(&payer, &said) };
        let paid = till.payments.charge_saved(&next).await.expect("an answer");
        assert_eq!((paid.stands, &paid.object, paid.amount), (Stands::Paid, &said.object, 2_500), "{card}");
        assert_eq!(
            paid.method.map(|(id, label)| (id == method, label)),
            Some((true, "Visa 4242".to_owned()))
        );
        assert_eq!(till.fake.stripe().all("payment_intent").len(), 1, "{card}");
    }
}

#[tokio::test]
async fn a_charge_that_somebody_cancels_at_stripe_is_declined_and_no_second_one() {
    let till = Till::open(PATIENT).await;
    let payer = till.payer("pm_card_visa_chargeDeclined");
    let said = till.payments.charge_saved(&payer).await.expect("an answer");
    let object = said.object.clone().expect("an intent");
    till.fake.stripe().change(&object, json!({ "status": "canceled" }));
    let next = Order { attempt: 2, ..knowing(&payer, &said) };
    let said = till.payments.charge_saved(&next).await.expect("an answer");
    assert_eq!((said.stands, said.object), (Stands::Declined, Some(object)));
    assert_eq!(till.fake.stripe().all("payment_intent").len(), 1);
}

#[tokio::test]
async fn nobody_is_charged_who_saved_nothing() {
    let till = Till::open(PATIENT).await;
    let customer = till.fake.stripe().customer();
    for order in [order(), Order { customer: Some(customer), ..order() }] {
        let said = till.payments.charge_saved(&order).await.expect("an answer");
        assert_eq!(said.stands, Stands::Declined);
    }
    let gone = Order { customer: Some("cus_nobody".to_owned()), ..order() };
    assert!(matches!(till.payments.charge_saved(&gone).await, Err(Failure::Refused(_))));
    assert_eq!(till.fake.stripe().all("payment_intent").len(), 0);
}

#[tokio::test]
async fn what_refunds_and_disputes_did_is_said_in_sums_that_only_grow() {
    let till = Till::open(PATIENT).await;
    let payer = till.payer("pm_card_createDispute");
    let said = till.payments.charge_saved(&payer).await.expect("an answer");
    let object = said.object.clone().expect("an intent");
    let payer = knowing(&payer, &said);
    let sums = async || {
        let said = till.payments.fetch(&payer).await.expect("an answer");
        (said.refunded, said.disputed, said.reinstated)
    };
    assert_eq!(sums().await, (0, 2_500, 0));
    let dispute = last(&till.fake.stripe(), "dispute");
    till.fake.stripe().win_dispute(&dispute);
    assert_eq!(sums().await, (0, 2_500, 2_500));
    till.fake.stripe().give_back(&object, 700);
    assert_eq!(sums().await, (700, 2_500, 2_500));
    let inquiry = till.fake.stripe().dispute(&object);
    till.fake.stripe().change(&inquiry, json!({ "status": "warning_needs_response" }));
    assert_eq!(sums().await, (700, 2_500, 2_500), "a question takes no money");
    till.fake.stripe().change(&inquiry, json!({ "status": "lost" }));
    assert_eq!(sums().await, (700, 4_300, 2_500));
    let more = till.payments.refund(&payer, Refund { number: 1, amount: 10, before: 0 }).await;
    assert!(matches!(more, Err(Failure::Refused(_))), "what was disputed cannot be given back: {more:?}");
}

#[tokio::test]
async fn every_page_of_a_list_is_read_and_strangers_are_left_out() {
    let till = Till::open(PATIENT).await;
    let payer = till.payer("pm_card_visa");
    let mut expected = Vec::new();
    for number in 0..230 {
        let payment = format!("topup_{number}");
        let payer = Order { payment: payment.clone(), ..payer.clone() };
        till.payments.charge_saved(&payer).await.expect("an answer");
        expected.push(payment);
    }
    let stranger =
        till.payments.charge_saved(&Order { payment: "stranger".to_owned(), ..payer.clone() }).await;
    let stranger = stranger.expect("an answer").object.expect("an intent");
    till.fake.stripe().change(&stranger, json!({ "metadata": {} }));
    let since = Time(payer.created_at.0 - 1);
    let Payments::Stripe(stripe) = &till.payments else { panic!("Stripe") };
    let mut found: Vec<String> = stripe
        .paid_since(since, payer.created_at)
        .await
        .expect("an answer")
        .into_iter()
        .inspect(|(_, said)| assert_eq!(said.stands, Stands::Paid))
        .map(|(payment, _)| payment)
        .collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    let url =
        till.payments.portal(payer.customer.as_deref().expect("a customer"), "https://example.com").await;
    assert!(url.is_ok_and(|url| url.is_some_and(|url| url.starts_with(&till.fake.url))));
}

#[tokio::test]
async fn objects_of_the_other_mode_are_refused() {
    let till = Till::open(PATIENT).await;
    let payer = till.payer("pm_card_visa");
    till.fake.stripe().livemode = true;
    assert!(matches!(till.payments.checkout(&order()).await, Err(Failure::Refused(_))));
    assert!(matches!(till.payments.charge_saved(&payer).await, Err(Failure::Refused(_))));
    assert_eq!(till.paid(), 0);
}
