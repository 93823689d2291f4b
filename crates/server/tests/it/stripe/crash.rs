//! The server ends as a crash ends it while Stripe is being asked, before and after Stripe did it: begun again, everything has
//! happened once.

use std::time::Duration;

use fake_stripe::events::Delivery;
use fake_stripe::{FakeStripe, Fault};
use reqwest::Client;
use scrip::config::PaymentsConfig;
use serde_json::{Value, json};

use super::{HOUR, PAYS, SECOND, config, last, session, text};
use crate::world::{Habits, World};

struct Till {
    world: World,
    fake: FakeStripe,
    client: Client,
}

impl Till {
    async fn open() -> Till {
        let fake = FakeStripe::start().await.expect("a free port");
        let habits = Habits { payments: PaymentsConfig::Stripe(config(&fake)), ..Habits::default() };
        let till = Till { world: World::with(0, json!({}), habits).await, fake, client: Client::new() };
        till.agree(0).await;
        till
    }

    async fn agree(&self, seconds: i64) {
        let now = self.world.advance(seconds).await;
        self.fake.stripe().now = Some(now.0 / SECOND);
    }

    fn post(&self, path: &str, key: &str, body: &Value) -> reqwest::RequestBuilder {
        let request = self.client.post(self.world.url(path)).bearer_auth("operator");
        request.header("idempotency-key", key).json(body)
    }

    fn event(&self) -> reqwest::RequestBuilder {
        let stripe = self.fake.stripe();
        let now = stripe.now();
        let delivery = Delivery { at: now, event: last(&stripe, "event"), forged: None };
        let (body, signature) = stripe.sealed(&delivery, now);
        let request = self.client.post(self.world.url("/v1/payments/stripe/events"));
        request.header("stripe-signature", signature).body(body)
    }

    /// Ends the server while Stripe is asked this, which it does or does not do.
    async fn crash_in(&mut self, asked: &str, fault: &Fault, request: reqwest::RequestBuilder) {
        let before = self.fake.stripe().count(asked);
        self.fake.stripe().fail(asked, fault.clone(), 1);
        let sent = tokio::spawn(request.send());
        for _ in 0..1_000 {
            if self.fake.stripe().count(asked) > before {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(self.fake.stripe().count(asked), before + 1, "{asked} is under way");
        self.world.restart().await;
        sent.abort();
    }

    async fn done(&self, request: reqwest::RequestBuilder) -> Value {
        let answer = request.send().await.expect("an answer");
        assert!(answer.status().is_success(), "{}", answer.text().await.expect("text"));
        answer.json().await.expect("JSON")
    }

    fn made(&self, kind: &str) -> usize {
        self.fake.stripe().all(kind).len()
    }
}

#[tokio::test]
async fn a_crash_anywhere_in_a_payment_leaves_it_to_be_begun_again() {
    for fault in [Fault::Hang, Fault::HangAfterEffect] {
        let mut till = Till::open().await;
        let topups = till.world.here("topups");
        let order = json!({ "pack": "pack_1000", "return_url": "https://example.com/back" });
        let request = till.post(&topups, "order", &order);
        till.crash_in("POST /v1/checkout/sessions", &fault, request).await;
        let topup = till.done(till.post(&topups, "order", &order)).await;
        assert_eq!(till.made("checkout.session"), 1, "{fault:?}");
        till.world.restart().await;
        assert_eq!(
            till.done(till.post(&topups, "order", &order)).await["checkout_url"],
            topup["checkout_url"]
        );

        till.fake.stripe().pay(&session(&topup), PAYS);
        let request = till.event();
        till.crash_in("GET /v1/payment_intents/", &fault, request).await;
        till.world.comes_to(0, 0).await;
        till.done(till.event()).await;
        till.world.restart().await;
        till.done(till.event()).await;
        till.world.comes_to(1_000, 0).await;

        let path = format!("/v1/topups/{}/refund", text(&topup, "id"));
        let body = json!({ "credits": 400, "reason": "asked for it" });
        let request = till.post(&path, "refund", &body);
        till.crash_in("POST /v1/refunds", &fault, request).await;
        till.done(till.post(&path, "refund", &body)).await;
        till.world.restart().await;
        till.done(till.post(&path, "refund", &body)).await;
        assert_eq!(till.made("refund"), 1, "{fault:?}");
        till.world.comes_to(600, 0).await;
        till.world.end().await;
    }
}

#[tokio::test]
async fn a_crash_while_lists_are_read_leaves_them_to_be_read_again() {
    for asked in ["GET /v1/payment_intents", "GET /v1/refunds", "GET /v1/checkout/sessions/"] {
        let mut till = Till::open().await;
        let topup =
            till.done(till.post(&till.world.here("topups"), "paid", &json!({ "pack": "pack_1000" }))).await;
        let open =
            till.done(till.post(&till.world.here("topups"), "open", &json!({ "pack": "pack_1000" }))).await;
        till.fake.stripe().pay(&session(&topup), PAYS);
        let request = till.post("/v1/clock/advance", "advance", &json!({ "seconds": 2 * HOUR }));
        till.crash_in(asked, &Fault::Hang, request).await;
        till.agree(2 * HOUR).await;
        till.world.comes_to(1_000, 0).await;
        assert_eq!(till.world.get(&format!("/v1/topups/{}", text(&open, "id"))).await["status"], "pending");
        till.world.end().await;
    }
}
