//! Stripe from end to end, against the stand-in: what people and banks do on its side becomes exactly these credits on ours,
//! whatever happens to the messages in between.

mod client;
mod crash;
mod forged;
mod kills;
mod refunds;
mod renewals;
mod secrets;
mod storm;
mod tax;
mod twice;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fake_stripe::events::Delivery;
use fake_stripe::{FakeStripe, Stripe};
use reqwest::Client;
use scrip::config::{PaymentsConfig, Secret, StripeConfig};
use serde_json::{Value, json};

use crate::http::Server;
use crate::temp::Directory;

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600;
const PAYS: &str = "4242424242424242";
const DECLINED: &str = "4000000000000002";
const ASKS_ONCE: &str = "4000002500003155";
const DISPUTES: &str = "4000000000000259";
const SLOW: &str = "000123456789";

fn config(fake: &FakeStripe) -> StripeConfig {
    StripeConfig {
        secret_key: Secret::new(fake_stripe::SECRET_KEY),
        webhook_secrets: vec![Secret::new("whsec_next"), Secret::new(fake_stripe::WEBHOOK_SECRET)],
        api_url: fake.url.clone(),
        custom_domain: None,
        automatic_tax: false,
        timeout: Duration::from_secs(30),
    }
}

/// A server that takes its money with Stripe, and a workspace that buys.
struct Shop {
    server: Server,
    fake: FakeStripe,
    ws: String,
    posts: Client,
    /// Where events arrive, in turns: at every node.
    nodes: Vec<Server>,
    turn: AtomicUsize,
}

impl Shop {
    async fn open() -> Shop {
        let fake = FakeStripe::start().await.expect("a free port");
        Shop::at(Directory::new("stripe"), fake).await
    }

    async fn at(directory: Directory, fake: FakeStripe) -> Shop {
        let payments = PaymentsConfig::Stripe(config(&fake));
        let server = Server::at(directory.clone(), Some(payments.clone())).await;
        let mut shop = Shop::of(server, fake).await;
        if directory.is_shared() {
            shop.nodes.push(Server::at(directory, Some(payments)).await);
        }
        shop
    }

    async fn of(server: Server, fake: FakeStripe) -> Shop {
        let ws = server.workspace("Buyer").await;
        let shop =
            Shop { server, fake, ws, posts: Client::new(), nodes: Vec::new(), turn: AtomicUsize::new(0) };
        shop.agree();
        // The first look at Stripe's lists only says from when on they are read.
        shop.advance(0).await;
        shop
    }

    /// Stripe's clock is set by ours.
    fn agree(&self) {
        self.fake.stripe().now = Some(self.now());
    }

    fn now(&self) -> i64 {
        self.server.app.clock.now().0 / SECOND
    }

    async fn advance(&self, seconds: i64) {
        self.fake.stripe().now = Some(self.now() + seconds);
        self.server.advance(seconds).await;
        for node in &self.nodes {
            node.advance(0).await;
        }
    }

    /// Orders the pack of 1,000; the top-up.
    async fn order(&self, key: &str) -> Value {
        self.order_for(&self.ws, key).await
    }

    async fn order_for(&self, ws: &str, key: &str) -> Value {
        let path = format!("{ws}/topups");
        let made = self.server.post(
            &path,
            key,
            json!({ "pack": "pack_1000", "return_url": "https://example.com/back" }),
        );
        made.await.about_a_workspace(201)
    }

    /// Somebody orders and pays with this card; the top-up and Stripe's intent.
    async fn buy(&self, key: &str, card: &str) -> (String, String) {
        let topup = self.order(key).await;
        let session = session(&topup);
        self.fake.stripe().pay(&session, card);
        let stripe = self.fake.stripe();
        let intent = text(stripe.get(&session).expect("a session"), "payment_intent");
        (text(&topup, "id"), intent)
    }

    /// One event arrives; what is answered.
    async fn deliver(&self, delivery: &Delivery) -> u16 {
        let (body, signature) = self.fake.stripe().sealed(delivery, self.now());
        self.send(body, &signature).await
    }

    async fn send(&self, body: String, signature: &str) -> u16 {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % (self.nodes.len() + 1);
        let node = self.nodes.get(turn).unwrap_or(&self.server);
        let request = self.posts.post(format!("{}/v1/payments/stripe/events", node.url));
        let request = request.header("stripe-signature", signature).body(body);
        request.send().await.expect("an answer").status().as_u16()
    }

    /// All events so far arrive in the fake's weather; what is answered to those that are genuine.
    async fn deliver_all(&self) {
        let deliveries = self.fake.stripe().deliveries();
        for delivery in deliveries {
            let status = self.deliver(&delivery).await;
            assert_eq!(status, if delivery.forged.is_some() { 400 } else { 200 }, "{delivery:?}");
        }
    }

    /// Balance, debt, and the status of a top-up must be these.
    async fn stands(&self, topup: &str, wanted: (i64, i64, &str)) {
        let balance = self.server.get(&format!("{}/balance", self.ws)).await.about_a_workspace(200);
        let topup = self.server.get(&format!("/v1/topups/{topup}")).await.about_a_workspace(200);
        let found = (number(&balance, "available"), number(&balance, "debt"), text(&topup, "status"));
        assert_eq!((found.0, found.1, found.2.as_str()), wanted, "{topup}");
    }

    fn end(&self) {
        self.server.audit();
    }
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("{field} in {value}")).to_owned()
}

fn number(value: &Value, field: &str) -> i64 {
    value[field].as_i64().unwrap_or_else(|| panic!("{field} in {value}"))
}

/// The checkout session that a top-up leads to.
fn session(topup: &Value) -> String {
    let url = text(topup, "checkout_url");
    url.rsplit('/').next().expect("a session").to_owned()
}

/// The last dispute or refund.
fn last(stripe: &Stripe, kind: &str) -> String {
    text(stripe.all(kind).last().expect("one"), "id")
}

/// How the news of a payment comes to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    /// Every event arrives.
    Events,
    /// No event was ever made: Stripe's lists are all there is.
    Never,
}

const ALL_NEWS: [News; 2] = [News::Events, News::Never];

impl Shop {
    async fn hears(&self, news: News) {
        match news {
            News::Events => self.deliver_all().await,
            News::Never => self.advance(2 * HOUR).await,
        }
    }
}

#[tokio::test]
async fn a_checkout_is_credited_once_it_is_paid_and_not_before() {
    for news in ALL_NEWS {
        let shop = Shop::open().await;
        let topup = shop.order("once").await;
        let (id, session) = (text(&topup, "id"), session(&topup));
        assert_eq!(
            shop.order("once").await["checkout_url"],
            topup["checkout_url"],
            "the same key is the same page"
        );
        assert!(matches!(shop.fake.stripe().pay(&session, DECLINED), fake_stripe::Shown::Form(_)));
        shop.hears(news).await;
        shop.stands(&id, (0, 0, "pending")).await;
        assert_eq!(shop.fake.stripe().pay(&session, ASKS_ONCE), fake_stripe::Shown::Question);
        shop.hears(news).await;
        shop.stands(&id, (0, 0, "pending")).await;
        let shown = shop.fake.stripe().authenticate(&session, "complete");
        assert_eq!(shown, fake_stripe::Shown::On("https://example.com/back".to_owned()));
        shop.stands(&id, (0, 0, "pending")).await;
        shop.hears(news).await;
        shop.stands(&id, (1_000, 0, "paid")).await;
        shop.hears(News::Events).await;
        shop.hears(News::Never).await;
        shop.stands(&id, (1_000, 0, "paid")).await;
        let workspace =
            scrip::id::parse_workspace(shop.ws.rsplit('/').next().expect("an id")).expect("an id");
        let payer = shop.server.app.store.payer(workspace).await.expect("a payer");
        assert!(payer.customer.is_some_and(|customer| customer.starts_with("cus_")));
        assert_eq!(payer.method.expect("the card is kept").1, "Visa 3155");
        shop.end();
    }
}

#[tokio::test]
async fn money_that_takes_days_and_checkouts_that_end_unpaid() {
    for news in ALL_NEWS {
        let shop = Shop::open().await;
        let (slow, intent) = shop.buy("slow", SLOW).await;
        shop.hears(news).await;
        shop.stands(&slow, (0, 0, "pending")).await;
        shop.advance(3 * 86_400).await;
        shop.fake.stripe().settle(&intent, Ok(()));
        shop.hears(news).await;
        shop.stands(&slow, (1_000, 0, "paid")).await;
        let over = text(&shop.order("over").await, "id");
        shop.advance(2 * 86_400).await;
        shop.fake.stripe().expire_sessions();
        shop.hears(news).await;
        shop.stands(&over, (1_000, 0, "expired")).await;
        shop.end();
    }
}

#[tokio::test]
async fn refunds_and_disputes_at_stripe_take_their_credits_and_a_won_one_returns_them() {
    for news in ALL_NEWS {
        let shop = Shop::open().await;
        let (refunded, intent) = shop.buy("refunded", PAYS).await;
        let (disputed, _) = shop.buy("disputed", DISPUTES).await;
        shop.hears(news).await;
        shop.stands(&refunded, (1_000, 0, "paid")).await;
        shop.stands(&disputed, (1_000, 0, "paid")).await;
        // Somebody gives money back on Stripe's own page; half of the price is half of the credits.
        let price = shop.fake.stripe().get(&intent).expect("an intent")["amount"].as_i64().expect("a price");
        shop.fake.stripe().give_back(&intent, price / 2);
        shop.hears(news).await;
        shop.stands(&refunded, (500, 0, "paid")).await;
        let dispute = last(&shop.fake.stripe(), "dispute");
        shop.fake.stripe().win_dispute(&dispute);
        shop.hears(news).await;
        if news == News::Never {
            // Old disputes are looked at once a day.
            shop.advance(86_400).await;
        }
        shop.stands(&disputed, (1_500, 0, "paid")).await;
        shop.hears(News::Events).await;
        shop.hears(News::Never).await;
        shop.stands(&disputed, (1_500, 0, "paid")).await;
        shop.end();
    }
}

#[tokio::test]
async fn a_refund_of_ours_is_one_refund_at_stripe_whatever_is_lost() {
    let shop = Shop::open().await;
    let (topup, intent) = shop.buy("one", PAYS).await;
    shop.deliver_all().await;
    let path = format!("/v1/topups/{topup}/refund");
    let body = json!({ "credits": 250, "reason": "asked for it" });
    // Stripe does it, and says so three times to nobody.
    shop.fake.stripe().fail("POST /v1/refunds", fake_stripe::Fault::CloseAfterEffect, 3);
    assert_eq!(shop.server.post(&path, "refund", body.clone()).await.status, 503);
    shop.stands(&topup, (1_000, 0, "paid")).await;
    shop.server.post(&path, "refund", body.clone()).await.about_a_workspace(200);
    shop.server.post(&path, "refund", body).await.about_a_workspace(200);
    shop.deliver_all().await;
    shop.stands(&topup, (750, 0, "paid")).await;
    assert_eq!(shop.fake.stripe().all("refund").len(), 1);
    // The rest was given back at Stripe: there is nothing left for us to give.
    let left = shop.fake.stripe().left(&intent);
    shop.fake.stripe().give_back(&intent, left);
    let more = shop.server.post(&path, "more", json!({ "credits": 10, "reason": "again" })).await;
    assert_eq!((more.status, &more.body["code"]), (409, &json!("payment_refused")));
    shop.deliver_all().await;
    shop.stands(&topup, (0, 0, "refunded")).await;
    shop.end();
}

#[tokio::test]
async fn what_is_not_of_this_payment_is_not_credited() {
    let shop = Shop::open().await;
    let (topup, intent) = shop.buy("one", PAYS).await;
    shop.fake.stripe().change(&intent, json!({ "currency": "usd" }));
    let paid = |event: &Value| event["type"] == "payment_intent.succeeded";
    let event =
        text(shop.fake.stripe().all("event").into_iter().find(|event| paid(event)).expect("an event"), "id");
    let delivery = Delivery { at: shop.now(), event, forged: None };
    assert_eq!(shop.deliver(&delivery).await, 400, "another currency");
    shop.fake.stripe().change(&intent, json!({ "currency": "eur", "amount_received": 1 }));
    assert_eq!(shop.deliver(&delivery).await, 400, "another amount");
    shop.fake.stripe().change(&intent, json!({ "livemode": true }));
    assert_eq!(shop.deliver(&delivery).await, 400, "another mode");
    let metadata = json!({ "livemode": false, "metadata": { "scrip_payment": "topup_of_somebody_else" } });
    shop.fake.stripe().change(&intent, metadata);
    assert_eq!(shop.deliver(&delivery).await, 200, "none of ours");
    shop.advance(2 * HOUR).await;
    shop.stands(&topup, (0, 0, "pending")).await;
    shop.end();
}

#[tokio::test]
async fn an_outage_of_stripe_is_waited_for() {
    let shop = Shop::open().await;
    shop.fake.stripe().fail("POST /v1/checkout", fake_stripe::Fault::Status(500), 3);
    let body = json!({ "pack": "pack_1000" });
    let lost = shop.server.post(&format!("{}/topups", shop.ws), "one", body.clone()).await;
    lost.problem(503, "payments_unavailable");
    let topup = shop.server.post(&format!("{}/topups", shop.ws), "one", body).await.about_a_workspace(201);
    let id = text(&topup, "id");
    shop.fake.stripe().pay(&session(&topup), PAYS);
    shop.fake.stripe().fail("GET /v1/payment_intents", fake_stripe::Fault::Status(503), 6);
    let event = last(&shop.fake.stripe(), "event");
    assert_eq!(
        shop.deliver(&Delivery { at: shop.now(), event, forged: None }).await,
        503,
        "Stripe will tell it again"
    );
    shop.stands(&id, (0, 0, "pending")).await;
    // The lists cannot be read at first either; a minute later they can.
    shop.advance(2 * HOUR).await;
    shop.stands(&id, (1_000, 0, "paid")).await;
    assert_eq!(shop.fake.stripe().all("checkout.session").len(), 1);
    shop.end();
}
