//! Nobody pays twice, whatever they press while money is on its way: a page that nobody needs any more is closed at Stripe before
//! another is opened, and while an outcome is open nothing else is ordered.

use fake_stripe::{Fault, Shown};
use serde_json::{Value, json};

use super::renewals::subscribed;
use super::{HOUR, PAYS, SLOW, Shop, session, text};
use crate::http::{Got, OPERATOR};
use crate::plans::DAY;

impl Shop {
    async fn wishes(&self, key: &str, plan: &str) -> Got {
        let body = json!({ "plan": plan }).to_string();
        self.server.send(OPERATOR, "PUT", &format!("{}/subscription", self.ws), key, body).await
    }

    async fn acts(&self, key: &str, act: &str) -> Got {
        let path = format!("{}/subscription/{act}", self.ws);
        self.server.send(OPERATOR, "POST", &path, key, String::new()).await
    }

    fn session_is(&self, session: &str) -> String {
        text(self.fake.stripe().get(session).expect("a session"), "status")
    }

    /// The last intent, which the stand-in keeps for days.
    fn intent(&self, session: &str) -> String {
        text(self.fake.stripe().get(session).expect("a session"), "payment_intent")
    }
}

/// A workspace whose money is collected, with the plans of the tests and no subscription yet.
async fn newcomer() -> Shop {
    let (mut shop, ..) = subscribed().await;
    let body = json!({ "name": "Two", "collection": "payments", "admin_email": "admin@example.com" });
    let made = shop.server.post("/v1/workspaces", "", body).await.about_a_workspace(201);
    shop.ws = format!("/v1/workspaces/{}", made["id"].as_str().expect("an id"));
    shop
}

#[tokio::test]
async fn of_two_orders_for_a_plan_only_the_last_can_be_paid() {
    let shop = newcomer().await;
    let first = session(&shop.wishes("one", "small").await.about_a_workspace(200));
    assert_eq!(session(&shop.wishes("one", "small").await.body), first, "a double click is the same page");
    assert_eq!(shop.session_is(&first), "open");
    let second = session(&shop.wishes("two", "large").await.about_a_workspace(200));
    assert_eq!((shop.session_is(&first), shop.session_is(&second)), ("expired".into(), "open".into()));
    assert_eq!(shop.fake.stripe().pay(&first, PAYS), Shown::Ended);
    shop.fake.stripe().pay(&second, PAYS);
    shop.deliver_all().await;
    shop.subscription("active", 31_000).await;
    shop.end();
}

/// The first page was paid, and nobody told us before the other plan was chosen.
#[tokio::test]
async fn what_was_paid_meanwhile_counts_before_another_plan_is_ordered() {
    let shop = newcomer().await;
    let first = session(&shop.wishes("one", "small").await.about_a_workspace(200));
    shop.fake.stripe().pay(&first, PAYS);
    let is = shop.wishes("two", "small").await.about_a_workspace(200);
    assert_eq!((&is["status"], &is["checkout_url"]), (&json!("active"), &Value::Null), "{is}");
    shop.deliver_all().await;
    shop.subscription("active", 3_100).await;
    assert_eq!(shop.paid(), 2, "the other workspace's, and this one's");
    shop.end();
}

#[tokio::test]
async fn while_money_takes_days_no_other_plan_is_ordered() {
    let shop = newcomer().await;
    let page = session(&shop.wishes("one", "small").await.about_a_workspace(200));
    shop.fake.stripe().pay(&page, SLOW);
    for key in ["two", "three"] {
        // Whether it was told or not makes no difference.
        shop.wishes(key, "large").await.problem(409, "subscription_busy");
        let asked = json!({ "plan": "large" });
        let preview = shop.server.post(&format!("{}/subscription/preview", shop.ws), "", asked).await;
        preview.problem(409, "subscription_busy");
        shop.acts(key, "cancel").await.problem(409, "subscription_busy");
        shop.deliver_all().await;
    }
    let intent = shop.intent(&page);
    shop.fake.stripe().settle(&intent, Ok(()));
    shop.deliver_all().await;
    shop.subscription("active", 3_100).await;
    assert_eq!(shop.fake.stripe().count("POST /v1/checkout/sessions/"), 1, "the closing was tried once");
    shop.end();
}

/// A bank account that was saved pays the renewal in days: no page is opened for it meanwhile.
#[tokio::test]
async fn a_renewal_that_takes_days_has_no_page_beside_it() {
    let (shop, workspace, customer) = subscribed().await;
    shop.chooses(&customer, "pm_card_chargeCustomerFail");
    shop.advance(28 * DAY + 600).await;
    shop.chooses(&customer, "pm_usBankAccount_success");
    shop.advance(DAY).await;
    let is = shop.wishes("again", "small").await.about_a_workspace(200);
    assert_eq!((&is["status"], &is["checkout_url"]), (&json!("past_due"), &Value::Null), "{is}");
    let awaited =
        shop.server.app.store.subscription(workspace).await.expect("one").awaited.expect("a payment");
    let opened = scrip::money::open_checkout(&shop.server.app, awaited).await.expect("an answer");
    assert_eq!(opened.checkout_url, None);
    let intent = text(shop.fake.stripe().all("payment_intent").last().expect("an intent"), "id");
    shop.fake.stripe().settle(&intent, Ok(()));
    shop.advance(2 * HOUR).await;
    shop.subscription("active", 6_200).await;
    assert_eq!(shop.paid(), 2);
    shop.end();
}

/// Whoever cancels while a renewal has no outcome yet is not charged again when it turns out to be declined, and has what was
/// paid when it turns out to be paid.
#[tokio::test]
async fn a_cancellation_while_a_charge_is_under_way_ends_it_there() {
    for (card, status, credits) in
        [("pm_card_chargeCustomerFail", "canceled", 3_100), ("pm_card_visa", "canceling", 6_200)]
    {
        let (shop, _, customer) = subscribed().await;
        shop.chooses(&customer, card);
        shop.fake.stripe().fail("GET /v1/customers", Fault::Status(500), 3);
        shop.advance(28 * DAY).await;
        let is = shop.acts("cancel", "cancel").await.about_a_workspace(200);
        assert_eq!(is["status"], "canceling", "{is}");
        shop.advance(600).await;
        shop.subscription(status, credits).await;
        shop.advance(60 * DAY).await;
        shop.subscription("canceled", credits).await;
        let tried = shop.fake.stripe().all("charge").len();
        assert_eq!(tried, 2, "{card}: never tried again");
        shop.end();
    }
}

/// An upgrade whose charge has no outcome yet, and another plan meanwhile.
#[tokio::test]
async fn an_upgrade_under_way_is_waited_for() {
    let (shop, ..) = subscribed().await;
    shop.fake.stripe().fail("POST /v1/payment_intents/", Fault::CloseAfterEffect, 3);
    shop.wishes("large", "large").await;
    shop.wishes("fresh", "fresh").await.problem(409, "subscription_busy");
    shop.advance(120).await;
    shop.subscription("active", 31_000).await;
    assert_eq!(shop.paid(), 2);
    shop.end();
}

/// A page that has ended or is not needed is not opened again by whoever kept its address.
#[tokio::test]
async fn an_order_that_ended_has_no_page() {
    let shop = newcomer().await;
    let is = shop.wishes("one", "small").await.about_a_workspace(200);
    let (workspace, payment) = scrip::store::payments::parse_name(&text(&is, "payment")).expect("an id");
    shop.acts("cancel", "cancel").await.about_a_workspace(200);
    assert_eq!(shop.session_is(&session(&is)), "expired");
    let ended = shop.server.app.store.payment(workspace, payment).await.expect("a payment");
    let opened = scrip::money::open_checkout(&shop.server.app, ended).await.expect("an answer");
    assert_eq!((opened.checkout_url, shop.fake.stripe().all("checkout.session").len()), (None, 2));
    shop.end();
}
