//! What people are told of money: in notices, in the ledger's lines, and in the operator's log.

use serde_json::{Value, json};

use super::{DAY, Shop, with_card, workspace};

impl Shop {
    /// Titles and bodies of the notices of a kind, newest first.
    async fn told(&self, kind: &str) -> Vec<(String, String)> {
        let notices = self.server.get(&format!("{}/notifications", self.ws)).await.body;
        let text = |notice: &Value, name: &str| notice[name].as_str().expect("text").to_owned();
        let items = notices["items"].as_array().expect("a list").iter();
        items.filter(|it| it["kind"] == kind).map(|it| (text(it, "title"), text(it, "body"))).collect()
    }

    /// What the log says of something, newest first: who, before and after.
    async fn logged(&self, what: &str) -> Vec<(String, String, String)> {
        let lines = self.server.app.store.logbook(Some(workspace(self)), None, 100).await.expect("a log");
        let words = |line: scrip::store::logbook::Line| {
            (line.actor, line.before.unwrap_or_default(), line.after.unwrap_or_default())
        };
        lines.into_iter().filter(|line| line.what == what).map(words).collect()
    }

    async fn buy(&self) -> String {
        let path = format!("{}/topups", self.ws);
        let made = self.server.post(&path, &self.key(), json!({ "pack": "bundle" })).await;
        let made = made.about_a_workspace(201);
        self.pay(&made, "pays").await;
        made["id"].as_str().expect("an id").to_owned()
    }

    async fn give_back(&self, topup: &str, asked: Value) {
        let path = format!("/v1/topups/{topup}/refund");
        self.server.post(&path, &self.key(), asked).await.about_a_workspace(200);
    }

    async fn entries(&self) -> Vec<Value> {
        let list = self.server.get(&format!("{}/entries?limit=100", self.ws)).await.about_a_workspace(200);
        list["items"].as_array().expect("a list").clone()
    }
}

#[tokio::test]
async fn a_refund_says_why_and_what_is_bought_says_what_it_repaid() {
    let shop = Shop::open().await;
    let first = shop.buy().await;
    shop.adjust(-1_100).await;
    shop.give_back(&first, json!({ "reason": "ordered twice" })).await;
    let entries = shop.entries().await;
    let says = |entry: &&Value| entry["reason"] == "The payment was refunded: ordered twice";
    let lines: Vec<&Value> = entries.iter().filter(says).collect();
    assert!(!lines.is_empty() && lines.iter().all(|line| line["actor"] == "operator"), "{entries:?}");
    let logged = shop.logged("payment.refund").await;
    assert_eq!(logged, [("operator".into(), String::new(), "1,100 credits: ordered twice".into())]);

    let second = shop.buy().await;
    shop.comes_to(0).await;
    let asked = json!({ "credits": 300, "reason": "too many" });
    shop.give_back(&second, asked).await;
    shop.buy().await;
    shop.comes_to(800).await;
    let told: Vec<String> = shop.told("topup").await.into_iter().map(|(_, body)| body).collect();
    let expected = [
        "300 of them repaid what was owed; 800 were added to the balance.",
        "All of them repaid what was owed.",
        "All of them were added to the balance.",
    ];
    assert_eq!(told, expected);
    shop.server.audit();
}

#[tokio::test]
async fn out_names_no_renewal_that_only_repays() {
    let shop = Shop::open().await;
    shop.subscribe("fresh", "pays").await;
    let topup = shop.buy().await;
    shop.adjust(-1_500).await;
    shop.comes_to(100).await;
    shop.give_back(&topup, json!({ "reason": "not wanted" })).await;
    let told = shop.told("out").await;
    let words = "1,000 credits are owed, and repaid first. Work continues when an admin buys credits.";
    assert_eq!(told, [("Out of credits.".to_owned(), words.to_owned())]);

    // 1,100 repay it, and then the renewal is enough again.
    shop.buy().await;
    shop.adjust(-100).await;
    let (_, body) = &shop.told("out").await[0];
    assert!(body.starts_with("Work continues when an admin buys credits or on "), "{body}");
    shop.server.audit();
}

#[tokio::test]
async fn auto_buy_and_plans_say_who_changed_them_and_what_was_bought() {
    let shop = with_card("pays").await;
    let asked = json!({ "enabled": true, "below": 2_500, "pack": "bundle", "max_per_period": 2 });
    for _ in 0..2 {
        shop.auto(asked.clone()).await.about_a_workspace(200);
    }
    shop.server.advance(0).await;
    let on = "on: bundle below 2,500, at most 2 packs a period";
    assert_eq!(shop.logged("auto_buy").await, [("operator".into(), "off".into(), on.into())]);
    assert_eq!(shop.told("topup").await[0].0, "Auto-buy: 2,200 credits bought.");
    let reason = |entry: &Value| entry["reason"].as_str().unwrap_or_default().to_owned();
    let reasons: Vec<String> = shop.entries().await.iter().map(reason).collect();
    assert!(reasons.iter().any(|it| it == "Bought 2,000 credits by auto-buy"), "{reasons:?}");
    let payments = shop.server.get(&format!("{}/payments", shop.ws)).await.about_a_workspace(200);
    assert!(payments["items"][0].to_string().contains("(auto-buy)"), "{payments}");

    let is = shop.change(json!({ "plan": "small" })).await;
    shop.pay(&is, "pays").await;
    shop.act("cancel").await.about_a_workspace(200);
    let operator = |before: &str, after: &str| ("operator".to_owned(), before.to_owned(), after.to_owned());
    let expected = [
        operator("small, active", "small, canceling"),
        operator("no plan, none", "small, incomplete; ordered: Small plan"),
    ];
    assert_eq!(shop.logged("subscription").await, expected);
    shop.server.audit();
}

#[tokio::test]
async fn a_smaller_plan_that_was_chosen_survives_a_change_of_mind() {
    let shop = Shop::open().await;
    shop.subscribe("large", "pays").await;
    shop.change(json!({ "plan": "small" })).await;
    let is = shop.act("cancel").await.about_a_workspace(200);
    assert_eq!((&is["status"], &is["next_plan"]), (&json!("canceling"), &Value::Null));
    let is = shop.act("resume").await.about_a_workspace(200);
    assert_eq!((&is["status"], &is["next_plan"]), (&json!("active"), &json!("small")), "{is}");
    shop.server.advance(31 * DAY).await;
    let is = shop.is().await;
    assert_eq!((&is["plan"], &is["next_plan"]), (&json!("small"), &Value::Null), "{is}");
    shop.comes_to(31_000 + 3_100).await;

    // Whoever does not change their mind has no plan at the end, and none that was chosen.
    shop.change(json!({ "plan": "fresh", "when": "renewal" })).await;
    shop.act("cancel").await.about_a_workspace(200);
    shop.server.advance(31 * DAY).await;
    let is = shop.is().await;
    assert_eq!((&is["status"], &is["next_plan"]), (&json!("canceled"), &Value::Null), "{is}");
    shop.server.audit();
}

#[test]
fn how_often_a_provider_found_something_is_rounded() {
    for (found, calls, percent) in [(20, 30, 67), (10, 30, 33), (1, 200, 1), (0, 0, 0), (30, 30, 100)] {
        let provider = scrip::margin::Provider { found, calls, ..scrip::margin::Provider::default() };
        assert_eq!(provider.found_percent(), percent, "{found} of {calls}");
    }
}
