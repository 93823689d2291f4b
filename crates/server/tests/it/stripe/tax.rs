//! Stripe Tax: what it adds to a price is paid, shown as a line of its own, and given back; on the page, and without a person by what
//! the payer's address came to.

use fake_stripe::{FakeStripe, Fault};
use scrip::catalog::Catalog;
use scrip::config::{Config, PaymentsConfig, StripeConfig};
use serde_json::{Value, json};

use super::{ALL_NEWS, DISPUTES, News, PAYS, Shop, config, number, session, text};
use crate::http::{OPERATOR, Server};
use crate::plans::{CATALOG, DAY};
use crate::temp::Directory;

fn taxed(fake: &FakeStripe) -> Option<PaymentsConfig> {
    Some(PaymentsConfig::Stripe(StripeConfig { automatic_tax: true, ..config(fake) }))
}

impl Shop {
    async fn taxed() -> Shop {
        let fake = FakeStripe::start().await.expect("a free port");
        // The catalog's own tax is gone.
        let text = CATALOG.replace("[tax]\nlabel = \"VAT\"\nrate = 2000\n", "");
        let catalogs = vec![Catalog::parse("shop.toml", &text).expect("a catalog")];
        let config = Config { payments: taxed(&fake), catalogs, ..Config::default() };
        let mut shop = Shop::of(Server::with(Directory::new("tax"), config).await, fake).await;
        let body = json!({ "name": "One", "collection": "payments", "admin_email": "admin@example.com" });
        let made = shop.server.post("/v1/workspaces", "", body).await.about_a_workspace(201);
        shop.ws = format!("/v1/workspaces/{}", made["id"].as_str().expect("an id"));
        shop
    }

    /// All payments, oldest first: purpose, all that was paid, the tax in it.
    async fn sums(&self) -> Vec<(String, i64, i64)> {
        let list = self.server.get(&format!("{}/payments", self.ws)).await.about_a_workspace(200);
        let items = list["items"].as_array().expect("a list").iter().rev();
        items.map(|it| (text(it, "purpose"), number(&it["price"], "amount"), number(it, "tax"))).collect()
    }

    async fn wants(&self, key: &str, plan: &str) -> Value {
        let (path, put) = (format!("{}/subscription", self.ws), json!({ "plan": plan }).to_string());
        self.server.send(OPERATOR, "PUT", &path, key, put).await.about_a_workspace(200)
    }

    async fn buys(&self, key: &str) -> Value {
        let pack = json!({ "pack": "bundle" });
        self.server.post(&format!("{}/topups", self.ws), key, pack).await.about_a_workspace(201)
    }
}

#[tokio::test]
async fn tax_of_a_checkout_is_a_line_of_its_own_and_goes_back_with_its_money() {
    for news in ALL_NEWS {
        let shop = Shop::taxed().await;
        let topup = shop.buys("one").await;
        assert_eq!((&topup["price"]["amount"], &topup["tax"]), (&json!(1_000), &json!(0)), "not known yet");
        shop.fake.stripe().pay(&session(&topup), PAYS);
        shop.hears(news).await;
        let id = text(&topup, "id");
        shop.stands(&id, (1_100, 0, "paid")).await;
        assert_eq!(shop.sums().await, [("topup".to_owned(), 1_200, 200)]);
        // Another rate from now on; a customer whose address is known.
        shop.fake.stripe().tax_rate = 1_050;
        let disputed = shop.buys("two").await;
        shop.fake.stripe().pay(&session(&disputed), DISPUTES);
        shop.hears(news).await;
        assert_eq!(shop.sums().await[1], ("topup".to_owned(), 1_105, 105));
        // Its credits are gone for as long as the bank holds the money.
        shop.stands(&text(&disputed, "id"), (1_100, 0, "paid")).await;
        let csv = shop.server.get(&format!("{}/payments.csv", shop.ws)).await.body.to_string();
        assert!(
            csv.contains(",1000,200,1200,EUR,0,0,0,") && csv.contains(",1000,105,1105,EUR,0,1105,1100,"),
            "{csv}"
        );
        let csv = shop.server.get(&format!("{}/grants.csv", shop.ws)).await.body.to_string();
        assert!(csv.contains(",1000,EUR,"), "{csv}");
        let body = json!({ "reason": "all of it" });
        shop.server.post(&format!("/v1/topups/{id}/refund"), "back", body).await.about_a_workspace(200);
        shop.stands(&id, (0, 0, "refunded")).await;
        assert_eq!(number(shop.fake.stripe().all("refund")[0], "amount"), 1_200, "with its tax");
        shop.hears(News::Events).await;
        shop.hears(News::Never).await;
        shop.stands(&id, (0, 0, "refunded")).await;
        shop.end();
    }
}

#[tokio::test]
async fn a_renewal_is_taxed_by_the_address_that_the_checkout_left() {
    for lost in [None, Some("POST /v1/tax/calculations"), Some("POST /v1/payment_intents")] {
        let shop = Shop::taxed().await;
        let page = session(&shop.wants("first", "small").await);
        shop.fake.stripe().pay(&page, PAYS);
        shop.deliver_all().await;
        shop.subscription("active", 3_100).await;
        shop.fake.stripe().tax_rate = 1_900;
        if let Some(lost) = lost {
            shop.fake.stripe().fail(lost, Fault::CloseAfterEffect, 3);
        }
        shop.advance(28 * DAY + 600).await;
        shop.subscription("active", 6_200).await;
        let sums = shop.sums().await;
        let wanted = [("period".to_owned(), 3_720, 620), ("period".to_owned(), 3_689, 589)];
        assert_eq!(sums, wanted, "{lost:?}");
        assert_eq!(shop.paid(), 2, "{lost:?}");
        let calculated = {
            let stripe = shop.fake.stripe();
            let calculation = text(&stripe.all("payment_intent")[1]["hooks"]["inputs"]["tax"], "calculation");
            number(stripe.get(&calculation).expect("a calculation"), "amount_total")
        };
        assert_eq!(calculated, 3_689);
        shop.hears(News::Events).await;
        shop.hears(News::Never).await;
        assert_eq!(shop.sums().await, sums, "{lost:?}");
        shop.end();
    }
}

/// A card that was saved before Stripe was asked for taxes: nobody knows where its owner lives, so it is paid on the page.
#[tokio::test]
async fn a_renewal_without_an_address_is_declined_and_paid_on_the_page() {
    let shop = Shop::taxed().await;
    let page = session(&shop.wants("first", "small").await);
    shop.fake.stripe().pay(&page, PAYS);
    shop.deliver_all().await;
    let customer = text(shop.fake.stripe().all("customer")[0], "id");
    shop.fake.stripe().change(&customer, json!({ "address": null }));
    shop.advance(28 * DAY + 600).await;
    let is = shop.subscription("past_due", 3_100).await;
    assert!(is["retries_at"].is_string(), "{is}");
    let (store, workspace) =
        (&shop.server.app.store, scrip::id::parse_workspace(&shop.ws[15..]).expect("an id"));
    let awaited = store.subscription(workspace).await.expect("one").awaited.expect("a payment");
    assert!(awaited.reason.as_ref().is_some_and(|why| why.contains("tax location")), "{awaited:?}");
    let page = shop.page(workspace).await;
    shop.fake.stripe().pay(&page, PAYS);
    shop.deliver_all().await;
    shop.subscription("active", 6_200).await;
    // From then on its owner's address is known.
    shop.advance(31 * DAY).await;
    shop.subscription("active", 9_300).await;
    assert!(shop.sums().await.iter().all(|(_, amount, tax)| (*amount, *tax) == (3_720, 620)));
    shop.end();
}
