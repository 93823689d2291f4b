//! Plans as a customer lives through them: subscribing, renewing, changing, ending, on the manual clock and the sandbox's cards.

use scrip::catalog::Catalog;
use scrip::config::{Config, Network, PaymentsConfig, WebhooksConfig};
use scrip::store::committer::{Key, KeyKind, Post};
use scrip::store::payments::Purpose;
use serde_json::{Value, json};

use crate::http::{OPERATOR, Server};
use crate::sample;
use crate::temp::Directory;

const DAY: i64 = 86_400;

const CATALOG: &str = r#"version = 1
[operations.work]
label = "Work"
unit = "piece"
price = 1
charged_on = "always"
[tax]
label = "VAT"
rate = 2000
[plans.small]
label = "Small"
credits = 3100
interval = "month"
price = { amount = 3100, currency = "EUR" }
[plans.large]
label = "Large"
credits = 31000
interval = "month"
price = { amount = 31000, currency = "EUR" }
[plans.fresh]
label = "Fresh"
credits = 500
interval = "month"
price = { amount = 9900, currency = "EUR" }
upgrade = "new_period"
expires = "period_end"
[plans.capped]
label = "Capped"
credits = 1000
interval = "month"
price = { amount = 0, currency = "EUR" }
rollover = 300
[plans.yearly]
label = "Yearly"
credits = 100
interval = "year"
grants = "month"
price = { amount = 120000, currency = "EUR" }
[plans.tried]
label = "Tried"
credits = 1000
interval = "month"
price = { amount = 1000, currency = "EUR" }
trial = { days = 14, credits = 50 }
[packs.bundle]
label = "Bundle"
credits = 1000
bonus = 100
expires_days = 30
price = { amount = 1000, currency = "EUR" }
[custom]
minimum = 100
maximum = 5000
per = 3
price = { amount = 10, currency = "EUR" }
"#;

/// A server, and one workspace whose money is collected.
pub struct Shop {
    pub server: Server,
    pub ws: String,
    calls: std::cell::Cell<i64>,
}

impl Shop {
    pub async fn open() -> Shop {
        Shop::with(CATALOG, json!({})).await
    }

    /// With one more setting of the workspace, such as another collection.
    pub async fn with(catalog: &str, settings: Value) -> Shop {
        let catalogs = vec![Catalog::parse("shop.toml", catalog).expect("a catalog")];
        let webhooks = WebhooksConfig { allow: vec![Network::parse("127.0.0.1").expect("a network")] };
        let payments = Some(PaymentsConfig::Sandbox);
        let config = Config { payments, catalogs, webhooks, ..Config::default() };
        Shop::of(config, settings).await
    }

    async fn of(config: Config, settings: Value) -> Shop {
        let server = Server::with(Directory::new("plans"), config).await;
        let mut body = json!({ "name": "One", "collection": "payments", "admin_email": "a@example.com" });
        body.as_object_mut().expect("an object").extend(settings.as_object().expect("an object").clone());
        let made = server.post("/v1/workspaces", "", body).await.about_a_workspace(201);
        let ws = format!("/v1/workspaces/{}", made["id"].as_str().expect("an id"));
        Shop { server, ws, calls: std::cell::Cell::new(0) }
    }

    fn key(&self) -> String {
        self.calls.set(self.calls.get() + 1);
        format!("call-{}", self.calls.get())
    }

    pub async fn is(&self) -> Value {
        self.server.get(&format!("{}/subscription", self.ws)).await.about_a_workspace(200)
    }

    async fn put(&self, body: Value) -> crate::http::Got {
        let path = format!("{}/subscription", self.ws);
        self.server.send(OPERATOR, "PUT", &path, &self.key(), body.to_string()).await
    }

    pub async fn change(&self, body: Value) -> Value {
        self.put(body).await.about_a_workspace(200)
    }

    async fn act(&self, act: &str) -> crate::http::Got {
        let path = format!("{}/subscription/{act}", self.ws);
        self.server.send(OPERATOR, "POST", &path, &self.key(), String::new()).await
    }

    /// Pays at a checkout page with one of the sandbox's cards.
    pub async fn pay(&self, checkout: &Value, card: &str) {
        let url = checkout["checkout_url"].as_str().unwrap_or_else(|| panic!("a checkout in {checkout}"));
        let body = format!("card={card}&confirmed=yes");
        let answer = self.server.form(url, body).await;
        assert!(answer == 303, "{answer}");
    }

    /// Subscribes with a card.
    pub async fn subscribe(&self, plan: &str, card: &str) {
        let is = self.change(json!({ "plan": plan })).await;
        assert_eq!((&is["status"], &is["plan"]), (&json!("incomplete"), &json!(plan)), "{is}");
        self.comes_to(0).await;
        self.pay(&is, card).await;
        assert_eq!(self.is().await["status"], "active");
    }

    pub async fn comes_to(&self, available: i64) {
        let balance = self.server.get(&format!("{}/balance", self.ws)).await.about_a_workspace(200);
        assert_eq!(balance["available"], available, "{balance}");
    }

    pub async fn kinds(&self) -> Vec<String> {
        let notices = self.server.get(&format!("{}/notifications", self.ws)).await.body;
        let items = notices["items"].as_array().expect("a list").iter();
        items.rev().map(|notice| notice["kind"].as_str().expect("text").to_owned()).collect()
    }
}

/// Status, start and end of what is paid.
fn stands(is: &Value) -> (&str, &str, &str) {
    let text = |name: &str| is[name].as_str().unwrap_or_default();
    (text("status"), text("period_start"), text("period_end"))
}

#[tokio::test]
async fn a_subscription_is_paid_before_anything_is_granted_and_renews_from_its_anchor() {
    let shop = Shop::open().await;
    assert_eq!(shop.is().await["status"], Value::Null);
    shop.subscribe("small", "pays").await;
    shop.comes_to(3_100).await;
    let is = shop.is().await;
    assert_eq!(stands(&is), ("active", "2027-01-31T10:00:00Z", "2027-02-28T10:00:00Z"));
    shop.server.advance(28 * DAY).await;
    let is = shop.is().await;
    assert_eq!(stands(&is), ("active", "2027-02-28T10:00:00Z", "2027-03-31T10:00:00Z"));
    shop.comes_to(6_200).await;
    // A long absence: every missed period once, in order.
    shop.server.advance(100 * DAY).await;
    assert_eq!(shop.is().await["period_start"], "2027-05-31T10:00:00Z");
    shop.comes_to(5 * 3_100).await;
    shop.act("cancel").await.about_a_workspace(200);
    assert_eq!(shop.is().await["status"], "canceling");
    let balance = shop.server.get(&format!("{}/balance", shop.ws)).await.body;
    assert_eq!(balance["renews_at"], Value::Null, "nothing comes any more");
    shop.act("resume").await.about_a_workspace(200);
    assert_eq!(shop.is().await["status"], "active");
    shop.act("cancel").await.about_a_workspace(200);
    shop.act("cancel").await.about_a_workspace(200);
    shop.server.advance(40 * DAY).await;
    assert_eq!(shop.is().await["status"], "canceled");
    shop.comes_to(5 * 3_100).await;
    shop.act("resume").await.problem(409, "no_subscription");
    shop.act("cancel").await.problem(409, "no_subscription");
    // Whoever comes back begins a period of their own.
    shop.server.advance(10 * DAY).await;
    let is = shop.change(json!({ "plan": "large" })).await;
    shop.pay(&is, "needs_step").await;
    shop.comes_to(5 * 3_100 + 31_000).await;
    shop.server.audit();
}

#[tokio::test]
async fn a_declined_renewal_is_tried_four_times_and_grants_nothing_until_it_is_paid() {
    let shop = Shop::open().await;
    shop.subscribe("small", "declined_later").await;
    shop.server.advance(29 * DAY).await;
    let is = shop.is().await;
    assert_eq!((stands(&is).0, &is["retries_at"]), ("past_due", &json!("2027-03-04T10:00:00Z")), "{is}");
    shop.comes_to(3_100).await;
    shop.put(json!({ "plan": "large" })).await.problem(409, "subscription_past_due");
    shop.server.advance(30 * DAY).await;
    assert_eq!(shop.is().await["status"], "canceled");
    shop.comes_to(3_100).await;
    let declines = shop.kinds().await.iter().filter(|kind| *kind == "payment_failed").count();
    assert_eq!(declines, 4);
    shop.server.audit();
}

#[tokio::test]
async fn a_renewal_that_is_paid_late_keeps_its_period() {
    let shop = Shop::open().await;
    shop.subscribe("small", "needs_step").await;
    shop.server.advance(30 * DAY).await;
    let is = shop.is().await;
    assert_eq!(stands(&is).0, "past_due");
    let payment =
        shop.server.app.store.subscription(workspace(&shop)).await.expect("one").awaited.expect("a payment");
    scrip::money::open_checkout(&shop.server.app, payment).await.expect("a checkout");
    shop.pay(&shop.is().await, "pays").await;
    let is = shop.is().await;
    assert_eq!(stands(&is), ("active", "2027-02-28T10:00:00Z", "2027-03-31T10:00:00Z"));
    shop.comes_to(6_200).await;
    shop.server.advance(31 * DAY).await;
    shop.comes_to(9_300).await;
    shop.server.audit();
}

fn workspace(shop: &Shop) -> i64 {
    scrip::id::parse_workspace(shop.ws.rsplit('/').next().expect("an id")).expect("an id")
}

#[tokio::test]
async fn a_larger_plan_costs_the_difference_now_and_a_smaller_one_waits() {
    let shop = Shop::open().await;
    shop.subscribe("small", "pays").await;
    shop.server.advance(14 * DAY).await;
    let asked = json!({ "plan": "large" });
    let preview = shop.server.post(&format!("{}/subscription/preview", shop.ws), "", asked.clone()).await;
    let preview = preview.about_a_workspace(200);
    let expected = json!({ "plan": "large", "change": "difference", "price_now": { "amount": 13_950, "currency": "EUR" },
        "tax_now": 2_790, "credits_now": 13_950, "begins_at": null,
        "renewal_price": { "amount": 31_000, "currency": "EUR" }, "renewal_credits": 31_000 });
    assert_eq!(preview, expected);
    let is = shop.change(asked.clone()).await;
    assert_eq!(
        (&is["plan"], &is["status"], &is["checkout_url"]),
        (&json!("large"), &json!("active"), &Value::Null),
        "{is}"
    );
    shop.comes_to(3_100 + 13_950).await;
    assert_eq!(shop.change(asked).await["plan"], "large", "the same plan again is nothing new");
    shop.put(json!({ "plan": "small", "when": "now" })).await.problem(422, "invalid_field");
    let is = shop.change(json!({ "plan": "small" })).await;
    assert_eq!((&is["plan"], &is["next_plan"]), (&json!("large"), &json!("small")));
    let balance = shop.server.get(&format!("{}/balance", shop.ws)).await.body;
    assert_eq!(
        (&balance["renews_at"], &balance["renewal_credits"]),
        (&json!("2027-02-28T10:00:00Z"), &Value::Null)
    );
    shop.server.advance(14 * DAY).await;
    let is = shop.is().await;
    assert_eq!((&is["plan"], &is["next_plan"]), (&json!("small"), &Value::Null));
    shop.comes_to(3_100 + 13_950 + 3_100).await;
    // A plan that says so begins a whole period of its own.
    shop.server.advance(10 * DAY).await;
    let is = shop.change(json!({ "plan": "fresh" })).await;
    assert_eq!(stands(&is), ("active", "2027-03-10T10:00:00Z", "2027-04-10T10:00:00Z"), "{is}");
    shop.comes_to(3_100 + 13_950 + 3_100 + 500).await;
    shop.server.advance(32 * DAY).await;
    shop.comes_to(3_100 + 13_950 + 3_100 + 500).await;
    shop.server.audit();
}

/// Half of a period's money back takes half of its credits, and the rest the rest, whatever was spent meanwhile.
#[tokio::test]
async fn a_period_is_given_back_like_a_top_up() {
    let shop = Shop::open().await;
    shop.subscribe("small", "pays").await;
    let payments = shop.server.get(&format!("{}/payments", shop.ws)).await.about_a_workspace(200);
    let refund = format!("/v1/topups/{}/refund", payments["items"][0]["id"].as_str().expect("an id"));
    let half = json!({ "credits": 1_550, "reason": "half of it" });
    for _ in 0..2 {
        let got = shop.server.post(&refund, "half", half.clone()).await.about_a_workspace(200);
        assert_eq!((&got["status"], &got["refunded_credits"]), (&json!("paid"), &json!(1_550)), "{got}");
    }
    shop.comes_to(1_550).await;
    shop.adjust(-1_000).await;
    shop.server
        .post(&refund, "more", json!({ "credits": 1_551, "reason": "too much" }))
        .await
        .problem(422, "invalid_field");
    let got = shop.server.post(&refund, "rest", json!({ "reason": "the rest" })).await.about_a_workspace(200);
    assert_eq!((&got["status"], &got["refunded_credits"]), (&json!("refunded"), &json!(3_100)), "{got}");
    let balance = shop.server.get(&format!("{}/balance", shop.ws)).await.body;
    assert_eq!((&balance["available"], &balance["debt"]), (&json!(0), &json!(1_000)));
    let csv = shop.server.get(&format!("{}/payments.csv", shop.ws)).await.about_a_workspace(200);
    assert!(
        csv.as_str()
            .expect("text")
            .contains(",period,1,refunded,Small plan,3100,0,3100,620,3720,EUR,3720,0,3100,"),
        "{csv}"
    );
    // The next credits repay first.
    shop.server.advance(28 * DAY).await;
    shop.comes_to(2_100).await;
    shop.server.audit();
}

#[tokio::test]
async fn a_trial_comes_once_and_its_end_is_paid() {
    let shop = Shop::open().await;
    let is = shop.change(json!({ "plan": "tried" })).await;
    assert_eq!(stands(&is), ("trialing", "2027-01-31T10:00:00Z", "2027-02-14T10:00:00Z"), "{is}");
    shop.comes_to(50).await;
    shop.server.advance(14 * DAY).await;
    assert_eq!(shop.is().await["status"], "past_due", "nobody saved a card");
    shop.comes_to(0).await;
    shop.act("cancel").await.about_a_workspace(200);
    assert_eq!(shop.is().await["status"], "canceled");
    let is = shop.change(json!({ "plan": "tried" })).await;
    assert_eq!(is["status"], "incomplete", "there is one trial");
    shop.pay(&is, "pays").await;
    shop.comes_to(1_000).await;
    shop.server.audit();
}

#[tokio::test]
async fn a_year_is_paid_once_and_granted_every_month() {
    let shop = Shop::open().await;
    shop.subscribe("yearly", "pays").await;
    shop.server.advance(200 * DAY).await;
    shop.comes_to(700).await;
    assert_eq!(stands(&shop.is().await).2, "2028-01-31T10:00:00Z");
    shop.act("cancel").await.about_a_workspace(200);
    shop.server.advance(200 * DAY).await;
    assert_eq!(shop.is().await["status"], "canceled");
    shop.comes_to(1_200).await;
    shop.server.audit();
}

#[tokio::test]
async fn what_a_host_collects_itself_changes_at_once_and_a_cap_lets_only_so_much_over() {
    let shop = Shop::with(CATALOG, json!({ "collection": "none", "plan": "capped" })).await;
    shop.comes_to(1_000).await;
    shop.server.advance(60 * DAY).await;
    shop.comes_to(1_300).await;
    let is = shop.change(json!({ "plan": "small" })).await;
    assert_eq!((&is["plan"], &is["status"]), (&json!("small"), &json!("active")), "{is}");
    shop.act("cancel").await.about_a_workspace(200);
    shop.server.advance(40 * DAY).await;
    assert_eq!(shop.is().await["status"], "canceled");
    shop.change(json!({ "plan": "small" })).await;
    assert_eq!(shop.is().await["status"], "active");
    shop.server.audit();
}

#[tokio::test]
async fn a_wish_that_makes_no_sense_is_refused_by_name() {
    let shop = Shop::open().await;
    for (body, status, code) in [
        (json!({ "plan": "huge" }), 422, "unknown_plan"),
        (json!({ "plan": "small", "when": "later" }), 422, "invalid_field"),
        (json!({ "plan": "small", "when": "renewal" }), 422, "invalid_field"),
        (json!({ "plan": "small", "price": 1 }), 422, "unknown_field"),
        (json!({ "plan": "small", "return_url": "javascript:alert(1)" }), 422, "invalid_field"),
        (json!({}), 422, "missing_field"),
    ] {
        shop.put(body).await.problem(status, code);
    }
    let path = format!("{}/subscription", shop.ws);
    let no_key = shop.server.send(OPERATOR, "PUT", &path, "", json!({ "plan": "small" }).to_string()).await;
    no_key.problem(400, "idempotency_key_required");
    let first = shop.server.send(OPERATOR, "PUT", &path, "k", json!({ "plan": "small" }).to_string()).await;
    let again = shop.server.send(OPERATOR, "PUT", &path, "k", json!({ "plan": "small" }).to_string()).await;
    assert_eq!((first.body, again.header("idempotency-replayed")), (again.body.clone(), Some("true")));
    let other = shop.server.send(OPERATOR, "PUT", &path, "k", json!({ "plan": "large" }).to_string()).await;
    other.problem(422, "idempotency_key_reused");
    shop.server.audit();
}

/// A shop whose workspace has a saved card, and so many credits from the pack that was bought with it.
async fn with_card(card: &str) -> Shop {
    let shop = Shop::open().await;
    let path = format!("{}/topups", shop.ws);
    let topup = shop.server.post(&path, "first", json!({ "pack": "bundle" })).await.about_a_workspace(201);
    assert_eq!(
        (&topup["credits"], &topup["bonus"], &topup["tax"]),
        (&json!(1_000), &json!(100), &json!(200))
    );
    assert_eq!(topup["price"]["amount"], 1_200);
    shop.pay(&topup, card).await;
    shop.comes_to(1_100).await;
    shop
}

impl Shop {
    async fn auto(&self, body: Value) -> crate::http::Got {
        let path = format!("{}/auto_topup", self.ws);
        self.server.send(OPERATOR, "PUT", &path, "", body.to_string()).await
    }

    async fn adjust(&self, credits: i64) {
        let body = json!({ "credits": credits, "reason": "for the story" });
        self.server.post(&format!("{}/adjustments", self.ws), &self.key(), body).await.about_a_workspace(201);
    }

    async fn bought(&self) -> Vec<(Value, Value, Value)> {
        let list = self.server.get(&format!("{}/topups", self.ws)).await.about_a_workspace(200);
        let items = list["items"].as_array().expect("a list").iter().filter(|item| item["automatic"] == true);
        items
            .map(|item| (item["status"].clone(), item["credits"].clone(), item["price"]["amount"].clone()))
            .collect()
    }
}

#[tokio::test]
async fn auto_buy_closes_the_whole_gap_in_one_charge_within_its_ceiling() {
    let shop = with_card("pays").await;
    let asked = json!({ "enabled": true, "below": 2_500, "pack": "bundle", "max_per_period": 5 });
    assert_eq!(shop.auto(asked.clone()).await.about_a_workspace(200), asked);
    shop.server.advance(0).await;
    shop.comes_to(3_300).await;
    let first = (json!("paid"), json!(2_000), json!(2_400));
    assert_eq!(shop.bought().await, std::slice::from_ref(&first));
    shop.adjust(-800).await;
    shop.server.advance(60).await;
    assert_eq!(shop.bought().await.len(), 1, "the threshold itself is enough");
    shop.adjust(-2_500).await;
    shop.server.advance(60).await;
    let second = (json!("paid"), json!(3_000), json!(3_600));
    assert_eq!(shop.bought().await, [second.clone(), first.clone()], "three are missing, and three are left");
    shop.adjust(-3_000).await;
    shop.server.advance(3_600).await;
    assert_eq!(shop.bought().await.len(), 2);
    shop.server.advance(40 * DAY).await;
    assert!(shop.bought().await.len() > 2, "the next period has packs of its own");
    let told = shop.kinds().await.iter().filter(|kind| *kind == "auto_buy").count();
    assert!(told >= 1, "the ceiling was told of");
    shop.server.audit();
}

#[tokio::test]
async fn a_card_that_always_declines_is_tried_four_times_however_often_credits_run_low() {
    let shop = with_card("declined_later").await;
    let asked = json!({ "enabled": true, "below": 2_000, "pack": "bundle", "max_per_period": 100 });
    shop.auto(asked).await.about_a_workspace(200);
    let charges = crate::chance::asked_for("SCRIP_TRIGGERS", 400);
    for _ in 0..charges.div_ceil(100) {
        let command = json!({ "do": "charge", "workspace": shop.ws.rsplit('/').next(), "operation": "work", "quantity": 1 });
        let commands: Vec<Value> = (0..100)
            .map(|_| {
                let mut command = command.clone();
                command["key"] = json!(shop.key());
                command
            })
            .collect();
        let done = shop.server.post("/v1/batch", "", json!({ "commands": commands })).await.body;
        let results = done["results"].as_array().expect("results");
        // Once all is spent the answer is a refusal, which is a trigger as well.
        assert!(results.iter().all(|result| result["status"] == 201 || result["status"] == 402), "{done}");
        shop.server.advance(1_800).await;
    }
    shop.server.advance(3 * DAY).await;
    let declines = shop.kinds().await.iter().filter(|kind| *kind == "payment_failed").count();
    assert_eq!(declines, 4);
    assert_eq!(shop.bought().await.len(), 1);
    let is = shop.server.get(&format!("{}/auto_topup", shop.ws)).await.about_a_workspace(200);
    assert_eq!(is["enabled"], false);
    println!("auto-buy: {charges} charges below the threshold, 4 attempts");
    shop.server.audit();
}

#[tokio::test]
async fn auto_buy_asks_for_what_makes_sense_and_amounts_without_a_pack_have_bounds() {
    let shop = Shop::open().await;
    let good = json!({ "enabled": true, "below": 10, "pack": "bundle", "max_per_period": 1 });
    shop.auto(good.clone()).await.problem(409, "no_payment_method");
    for (field, value) in
        [("below", json!(0)), ("pack", json!("x")), ("max_per_period", json!(0)), ("enabled", json!(1))]
    {
        let mut body = good.clone();
        body[field] = value;
        let got = shop.auto(body).await;
        assert_eq!((got.status, &got.body["field"]), (422, &json!(field)), "{}", got.body);
    }
    let path = format!("{}/topups", shop.ws);
    for (body, field) in [
        (json!({ "credits": 99 }), "credits"),
        (json!({ "credits": 5_001 }), "credits"),
        (json!({ "credits": -5 }), "credits"),
        (json!({ "pack": "bundle", "amount": 1 }), "amount"),
        (json!({ "pack": "bundle", "currency": "USD" }), "currency"),
        (json!({ "pack": "bundle", "credits": 100 }), "pack"),
    ] {
        let got = shop.server.post(&path, "bad", body).await;
        assert_eq!((got.status, &got.body["field"]), (422, &json!(field)), "{}", got.body);
    }
    let topup = shop.server.post(&path, "good", json!({ "credits": 100 })).await.about_a_workspace(201);
    // 100 credits at 10 for 3 are 334 rounded up, and 20 % of that is 67 rounded.
    assert_eq!((&topup["price"]["amount"], &topup["tax"]), (&json!(401), &json!(67)));
    shop.pay(&topup, "pays").await;
    shop.comes_to(100).await;
    shop.server.audit();
}

/// Many workspaces renew in one second: each once, while the API answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewals_due_together_happen_once_each() {
    let count = crate::chance::asked_for("SCRIP_RENEWALS", 300) as i64;
    let shop = Shop::with(CATALOG, json!({})).await;
    let store = &shop.server.app.store;
    let terms = scrip::money::terms(shop.server.app.catalog(), "small");
    let new = |number: i64| scrip::store::workspaces::NewWorkspace {
        name: format!("Workspace {number:04}"),
        terms: terms.clone(),
        collection: "none".into(),
        time_zone: "UTC".into(),
        admin_email: None,
        external_id: None,
        request: String::new(),
    };
    let mut ids = Vec::new();
    for from in (0..count).step_by(500) {
        let made = (from..count.min(from + 500)).map(|number| store.create_workspace(new(number)));
        let made = futures_util::future::join_all(made).await;
        ids.extend(made.into_iter().map(|made| made.expect("a workspace").0.id));
    }
    shop.adjust(1_000_000).await;
    let path = format!("{}/charges", shop.ws);
    let one = async || {
        let started = std::time::Instant::now();
        let work = json!({ "operation": "work", "quantity": 1 });
        shop.server.post(&path, &shop.key(), work).await.about_a_workspace(201);
        started.elapsed()
    };
    let p99 = |mut times: Vec<std::time::Duration>| {
        times.sort();
        times[(times.len() - 1) * 99 / 100]
    };
    let mut times = Vec::new();
    for _ in 0..500 {
        times.push(one().await);
    }
    let idle = p99(times);
    let started = std::time::Instant::now();
    let mut renewing = std::pin::pin!(shop.server.advance(28 * DAY));
    let mut times = Vec::new();
    while tokio::select! { () = &mut renewing => false, time = one() => { times.push(time); true } } {}
    let (took, busy) = (started.elapsed(), p99(times));
    // Two passes over the same moment change nothing.
    shop.server.advance(0).await;
    for id in &ids {
        assert_eq!(store.available(*id).await.expect("a balance"), 6_200);
    }
    let grant = |id: &i64| {
        let grant = sample::grant(1, billing::GrantKind::Promo, shop.server.app.clock.now(), None);
        Post::new(*id, billing::Command::Grant(grant), "operator")
    };
    let started = std::time::Instant::now();
    for some in ids.chunks(512) {
        assert!(store.post_all(some.iter().map(grant).collect()).await.iter().all(Result::is_ok));
    }
    let plain = started.elapsed();
    println!(
        "renewals: {count} due together in {took:?}, as many grants in {plain:?}; p99 of a charge {idle:?} idle, {busy:?} meanwhile"
    );
    shop.server.audit();
}

/// A crash between any two steps of a charge: asked again, it is the same charge.
#[tokio::test]
async fn a_charge_that_broke_off_is_taken_up_where_it_was() {
    let shop = Shop::open().await;
    shop.subscribe("small", "pays").await;
    let (app, store, ws) = (&shop.server.app, &shop.server.app.store, workspace(&shop));
    // Time passes without the loops, as for a server that is down when the period ends.
    store.advance_clock(billing::Time(app.clock.now().0).plus_seconds(28 * DAY)).await.expect("it is late");
    let terms = scrip::money::terms(app.catalog(), "small");
    for _ in 0..2 {
        store.renew(ws, terms.clone()).await.expect("ordered");
    }
    let due = store.due_payments(10).await.expect("a read");
    assert_eq!(due.len(), 1, "one order, however often it was asked for");
    let (_, payment) = due[0];
    let (begun, _) = store.begin_attempt(ws, payment).await.expect("a write").expect("it is due");
    assert_eq!(begun.attempts, 1);
    assert!(store.begin_attempt(ws, payment).await.expect("a write").is_none(), "somebody has it");
    shop.comes_to(3_100).await;
    // Nobody applied what the provider said. After the lease the same attempt is asked for again.
    shop.server.advance(61).await;
    assert_eq!(store.payment(ws, payment).await.expect("a payment").attempts, 1);
    shop.comes_to(6_200).await;
    assert!(store.due_payments(10).await.expect("a read").is_empty());
    shop.server.audit();
}

/// A later price list changes nothing that was agreed before it: not the period that runs, nor what was paid.
#[tokio::test]
async fn a_price_list_holds_from_its_date_and_what_was_agreed_until_the_renewal() {
    let later = CATALOG
        .replace("version = 1\n", "version = 2\nfrom = \"2027-02-10T00:00:00Z\"\n")
        .replace("credits = 3100\n", "credits = 2000\n")
        .replace("amount = 3100,", "amount = 5000,");
    let catalogs = [CATALOG, &later].map(|text| Catalog::parse("shop.toml", text).expect("a catalog"));
    let config =
        Config { payments: Some(PaymentsConfig::Sandbox), catalogs: catalogs.to_vec(), ..Config::default() };
    let shop = Shop::of(config, json!({})).await;
    shop.subscribe("small", "pays").await;
    assert_eq!(shop.server.get("/v1/catalog").await.body["version"], 1);
    shop.server.advance(20 * DAY).await;
    assert_eq!(shop.server.get("/v1/catalog").await.body["version"], 2);
    let is = shop.is().await;
    assert_eq!((&is["credits"], &is["price"]["amount"]), (&json!(3_100), &json!(3_100)), "as agreed");
    shop.server.advance(10 * DAY).await;
    let is = shop.is().await;
    assert_eq!((&is["credits"], &is["price"]["amount"]), (&json!(2_000), &json!(5_000)), "renewed");
    shop.comes_to(5_100).await;
    let payments = shop.server.get(&format!("{}/payments", shop.ws)).await.about_a_workspace(200);
    let paid: Vec<_> =
        payments["items"].as_array().expect("a list").iter().map(|item| &item["price"]["amount"]).collect();
    assert_eq!(paid, [&json!(6_000), &json!(3_720)], "each at the price it was agreed at, with 20 % tax");
    shop.server.audit();
}

/// A checkout whose request broke off is opened by the same key; an episode of auto-buy is one, however often it is begun.
#[tokio::test]
async fn an_order_that_broke_off_is_the_same_order() {
    let shop = with_card("pays").await;
    let (app, store, ws) = (&shop.server.app, &shop.server.app.store, workspace(&shop));
    let bundle = app.catalog().pack("bundle").expect("a pack");
    let new = |purpose| scrip::money::pack(app.catalog(), ws, purpose, bundle, None);
    let key = Key { kind: KeyKind::TopUp, key: "broken".into(), fingerprint: [1; 16] };
    let (first, _) = store.create_payment(new(Purpose::TopUp), key.clone()).await.expect("ordered");
    assert_eq!(first.checkout_url, None, "and then it broke off");
    let (again, replayed) = scrip::money::order(app, new(Purpose::TopUp), key).await.expect("a checkout");
    assert!(replayed && again.id == first.id && again.checkout_url.is_some());
    let asked = json!({ "enabled": true, "below": 1_500, "pack": "bundle", "max_per_period": 9 });
    shop.auto(asked).await.about_a_workspace(200);
    for _ in 0..2 {
        store.begin_auto_buy(ws, Some(new(Purpose::AutoBuy))).await.expect("begun");
    }
    assert_eq!(store.due_payments(10).await.expect("a read").len(), 1);
    shop.server.advance(0).await;
    assert_eq!(shop.bought().await.len(), 1);
    shop.comes_to(2_200).await;
    // What a script does instead of a person.
    let is = shop.change(json!({ "plan": "small" })).await;
    let path = format!("/v1/sandbox/topups/{}", is["payment"].as_str().expect("an id"));
    shop.server.post(&path, "", json!({ "outcome": "paid" })).await.about_a_workspace(200);
    assert_eq!(shop.is().await["status"], "active");
    shop.server.audit();
}

/// A renewal that the rules refuse waits; the others do not, and it comes once it can.
#[tokio::test]
async fn a_renewal_that_is_refused_keeps_nobody_waiting() {
    let shop = Shop::with(CATALOG, json!({ "collection": "none", "plan": "small" })).await;
    let other = shop.server.post("/v1/workspaces", "", json!({ "name": "Two", "plan": "large" })).await;
    let other = format!("/v1/workspaces/{}", other.body["id"].as_str().expect("an id"));
    let promo = json!({ "credits": 1, "kind": "promo", "reason": "one of many" });
    let mut grants = Vec::new();
    for _ in 0..499 {
        let made = shop.server.post(&format!("{}/grants", shop.ws), &shop.key(), promo.clone()).await;
        grants.push(made.about_a_workspace(201)["id"].as_str().expect("an id").to_owned());
    }
    shop.server.advance(28 * DAY).await;
    shop.comes_to(3_100 + 499).await;
    let balance = shop.server.get(&format!("{other}/balance")).await.body;
    assert_eq!(balance["available"], 62_000);
    for grant in &grants[..2] {
        let reason = json!({ "reason": "room" });
        shop.server.post(&format!("/v1/grants/{grant}/revoke"), "", reason).await.about_a_workspace(200);
    }
    shop.server.advance(0).await;
    shop.comes_to(6_200 + 497).await;
    shop.server.audit();
}
