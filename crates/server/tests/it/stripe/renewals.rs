//! Subscriptions on a saved card: what is charged without a person, declined, tried again, and paid on a page meanwhile, is paid
//! once.

use fake_stripe::FakeStripe;
use scrip::catalog::Catalog;
use scrip::config::{Config, PaymentsConfig};
use scrip::money;
use serde_json::{Value, json};

use super::{DECLINED, HOUR, News, PAYS, Shop, config, text};
use crate::http::{OPERATOR, Server};
use crate::plans::{CATALOG, DAY};
use crate::temp::Directory;

/// A workspace that has subscribed and paid its first month on Stripe's page.
pub(super) async fn subscribed() -> (Shop, i64, String) {
    let fake = FakeStripe::start().await.expect("a free port");
    let catalogs = vec![Catalog::parse("shop.toml", CATALOG).expect("a catalog")];
    let payments = Some(PaymentsConfig::Stripe(config(&fake)));
    let server =
        Server::with(Directory::new("renewals"), Config { payments, catalogs, ..Config::default() }).await;
    let mut shop = Shop::of(server, fake).await;
    let body = json!({ "name": "One", "collection": "payments", "admin_email": "admin@example.com" });
    let made = shop.server.post("/v1/workspaces", "", body).await.about_a_workspace(201);
    shop.ws = format!("/v1/workspaces/{}", made["id"].as_str().expect("an id"));
    let ws = shop.ws.clone();
    let put = json!({ "plan": "small" }).to_string();
    let path = format!("{ws}/subscription");
    let is = shop.server.send(OPERATOR, "PUT", &path, "subscribe", put).await.about_a_workspace(200);
    assert_eq!(is["status"], "incomplete", "{is}");
    shop.fake.stripe().pay(&super::session(&is), PAYS);
    shop.deliver_all().await;
    shop.subscription("active", 3_100).await;
    let workspace = scrip::id::parse_workspace(ws.rsplit('/').next().expect("an id")).expect("an id");
    let customer = text(shop.fake.stripe().all("customer")[0], "id");
    (shop, workspace, customer)
}

impl Shop {
    pub(super) async fn subscription(&self, status: &str, credits: i64) -> Value {
        let is = self.server.get(&format!("{}/subscription", self.ws)).await.about_a_workspace(200);
        let balance = self.server.get(&format!("{}/balance", self.ws)).await.about_a_workspace(200);
        assert_eq!((&is["status"], &balance["available"]), (&json!(status), &json!(credits)), "{is}");
        is
    }

    /// From now on this card is the one that is charged.
    pub(super) fn chooses(&self, customer: &str, card: &str) {
        let mut stripe = self.fake.stripe();
        let method = stripe.save(customer, card);
        stripe.change(customer, json!({ "invoice_settings": { "default_payment_method": method } }));
    }

    /// The page where the payment that is waited for can be made; its session.
    pub(super) async fn page(&self, workspace: i64) -> String {
        let awaited =
            self.server.app.store.subscription(workspace).await.expect("one").awaited.expect("a payment");
        let opened = money::open_checkout(&self.server.app, awaited).await.expect("a page");
        opened.checkout_url.expect("an address").rsplit('/').next().expect("a session").to_owned()
    }

    pub(super) fn paid(&self) -> usize {
        self.fake.stripe().all("charge").iter().filter(|charge| charge["paid"] == true).count()
    }
}

#[tokio::test]
async fn a_saved_card_renews_without_any_event() {
    let (shop, _, _) = subscribed().await;
    for month in 2..=3 {
        shop.advance(31 * DAY).await;
        shop.subscription("active", 3_100 * month).await;
        assert_eq!(shop.paid() as i64, month);
    }
    shop.deliver_all().await;
    shop.subscription("active", 9_300).await;
    shop.end();
}

#[tokio::test]
async fn a_declined_renewal_outlives_a_page_that_nobody_used_and_pays_once_the_card_does() {
    for news in [News::Events, News::Never] {
        let (shop, workspace, customer) = subscribed().await;
        shop.chooses(&customer, "pm_card_chargeCustomerFail");
        shop.advance(28 * DAY + 600).await;
        shop.hears(news).await;
        shop.subscription("past_due", 3_100).await;
        let page = shop.page(workspace).await;
        assert_eq!(page, shop.page(workspace).await);
        assert!(matches!(shop.fake.stripe().pay(&page, DECLINED), fake_stripe::Shown::Form(_)));
        // Tried again meanwhile, it closes the page first; whoever wants to pay gets another.
        shop.advance(4 * DAY).await;
        shop.hears(news).await;
        shop.subscription("past_due", 3_100).await;
        assert_eq!(shop.fake.stripe().get(&page).expect("a session")["status"], "expired");
        assert_ne!(page, shop.page(workspace).await);
        shop.chooses(&customer, "pm_card_visa");
        shop.advance(10 * DAY).await;
        shop.hears(news).await;
        shop.subscription("active", 6_200).await;
        assert_eq!(shop.paid(), 2, "{news:?}");
        shop.end();
    }
}

#[tokio::test]
async fn what_is_paid_on_the_page_is_not_charged_as_well() {
    let (shop, workspace, customer) = subscribed().await;
    shop.chooses(&customer, "pm_card_chargeCustomerFail");
    shop.advance(28 * DAY + 600).await;
    shop.subscription("past_due", 3_100).await;
    let page = shop.page(workspace).await;
    shop.chooses(&customer, "pm_card_visa");
    // It is paid, and nobody tells us before the saved card is tried again.
    shop.fake.stripe().pay(&page, PAYS);
    let awaited =
        shop.server.app.store.subscription(workspace).await.expect("one").awaited.expect("a payment");
    let due = awaited.next_attempt.expect("it is tried again").0 / super::SECOND;
    shop.fake.stripe().fail("GET /v1/refunds", fake_stripe::Fault::Status(400), usize::MAX);
    shop.advance(due - shop.now() + 1).await;
    shop.subscription("active", 6_200).await;
    assert_eq!(shop.paid(), 2);
    shop.end();
}

#[tokio::test]
async fn a_bank_that_says_no_after_days_declines() {
    for news in [News::Events, News::Never] {
        let shop = Shop::open().await;
        let (topup, intent) = shop.buy("slow", super::SLOW).await;
        shop.hears(news).await;
        shop.fake.stripe().settle(&intent, Err("insufficient_funds"));
        shop.advance(HOUR).await;
        shop.hears(news).await;
        shop.stands(&topup, (0, 0, "declined")).await;
        shop.end();
    }
}

#[tokio::test]
async fn credits_that_run_low_are_bought_once_on_the_saved_card_whatever_is_lost() {
    let shop = Shop::open().await;
    let (topup, _) = shop.buy("by-hand", PAYS).await;
    shop.deliver_all().await;
    shop.stands(&topup, (1_000, 0, "paid")).await;
    let auto = json!({ "enabled": true, "below": 500, "pack": "pack_1000", "max_per_period": 2 });
    let path = format!("{}/auto_topup", shop.ws);
    shop.server.send(OPERATOR, "PUT", &path, "auto", auto.to_string()).await.about_a_workspace(200);
    // Stripe takes the money, and says so three times to nobody.
    shop.fake.stripe().fail("POST /v1/payment_intents/", fake_stripe::Fault::CloseAfterEffect, 3);
    let work = json!({ "operation": "email_send", "quantity": 300 });
    shop.server.post(&format!("{}/charges", shop.ws), "work", work).await.about_a_workspace(201);
    shop.advance(0).await;
    shop.stands(&topup, (400, 0, "paid")).await;
    shop.advance(120).await;
    shop.stands(&topup, (1_400, 0, "paid")).await;
    shop.deliver_all().await;
    shop.advance(2 * HOUR).await;
    shop.stands(&topup, (1_400, 0, "paid")).await;
    assert_eq!(shop.paid(), 2);
    shop.end();
}

/// What somebody changes on Stripe's own page is what our page names, and what is charged.
#[tokio::test]
async fn a_card_that_is_changed_at_stripe_is_named_at_once() {
    let (shop, workspace, customer) = subscribed().await;
    let named = async || shop.server.app.store.payer(workspace).await.expect("a payer").method;
    assert_eq!(named().await.expect("a card").1, "Visa 4242");
    let card = shop.fake.stripe().replace(&customer, "4000002500003155");
    shop.deliver_all().await;
    assert_eq!(named().await.expect("a card"), (card.clone(), "Visa 3155".to_owned()));
    // It is taken away, and no other is left.
    shop.fake.stripe().forget(&card);
    shop.deliver_all().await;
    assert_eq!(named().await, None);
    shop.end();
}
