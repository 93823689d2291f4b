//! A plan that was chosen for the renewal and is not offered any more by then: what is shown before is what happens.

use scrip::catalog::Catalog;
use scrip::config::{Config, PaymentsConfig};
use serde_json::{Value, json};

use super::{CATALOG, DAY, Shop};

/// The price list until 10 February, and the one from then on, without the plan `small` and with a dearer `large`.
fn lists() -> Vec<Catalog> {
    let (before, small) = CATALOG.split_once("[plans.small]").expect("a plan");
    let (_, after) = small.split_once("[plans.large]").expect("a plan");
    let later = format!("{before}[plans.large]{after}")
        .replace("version = 1\n", "version = 2\nfrom = \"2027-02-10T00:00:00Z\"\n")
        .replace("credits = 31000\n", "credits = 30000\n");
    [CATALOG, &later].map(|text| Catalog::parse("shop.toml", text).expect("a catalog")).to_vec()
}

async fn shop(collection: &str) -> Shop {
    let payments = Some(PaymentsConfig::Sandbox);
    let config = Config { payments, catalogs: lists(), ..Config::default() };
    let shop = Shop::of(config, json!({ "collection": collection })).await;
    let is = shop.change(json!({ "plan": "large" })).await;
    if collection == "payments" {
        shop.pay(&is, "pays").await;
    }
    shop.comes_to(31_000).await;
    shop
}

impl Shop {
    async fn renewal(&self) -> (Value, Value) {
        let balance = self.server.get(&format!("{}/balance", self.ws)).await.about_a_workspace(200);
        (balance["renews_at"].clone(), balance["renewal_credits"].clone())
    }
}

#[tokio::test]
async fn a_chosen_plan_that_leaves_the_price_list_does_not_begin_and_the_one_of_now_goes_on() {
    for collection in ["none", "payments"] {
        let shop = shop(collection).await;
        let asked = json!({ "plan": "small" });
        let preview = format!("{}/subscription/preview", shop.ws);
        let says = shop.server.post(&preview, "", asked.clone()).await.about_a_workspace(200);
        assert_eq!((&says["change"], &says["begins_at"]), (&json!("stay"), &Value::Null), "{says}");
        assert_eq!(says["renewal_credits"], 30_000, "{says}");
        let is = shop.change(asked).await;
        assert_eq!((&is["plan"], &is["next_plan"]), (&json!("large"), &Value::Null), "{is}");
        let then = (json!("2027-02-28T10:00:00Z"), json!(30_000));
        assert_eq!(shop.renewal().await, then);
        shop.server.advance(20 * DAY).await;
        assert_eq!(shop.renewal().await, then);
        shop.server.advance(8 * DAY).await;
        shop.comes_to(61_000).await;
        let is = shop.is().await;
        assert_eq!(
            (&is["plan"], &is["credits"], &is["status"]),
            (&json!("large"), &json!(30_000), &json!("active"))
        );
        assert_eq!(shop.kinds().await.iter().filter(|kind| *kind == "plan_gone").count(), 1, "{collection}");
        shop.server.advance(31 * DAY).await;
        shop.comes_to(91_000).await;
        assert_eq!(shop.kinds().await.iter().filter(|kind| *kind == "plan_gone").count(), 1, "said once");
        shop.server.audit();
    }
}

/// What is not offered any more, and was agreed, goes on as it was agreed.
#[tokio::test]
async fn a_plan_that_leaves_the_price_list_renews_as_it_was_agreed() {
    let catalogs = lists();
    let config = Config { payments: Some(PaymentsConfig::Sandbox), catalogs, ..Config::default() };
    let shop = Shop::of(config, json!({})).await;
    shop.subscribe("small", "pays").await;
    assert_eq!(shop.renewal().await, (json!("2027-02-28T10:00:00Z"), json!(3_100)));
    shop.server.advance(28 * DAY).await;
    shop.comes_to(6_200).await;
    // A larger one is still offered then, and begins at once; the smaller one cannot be chosen again.
    shop.put(json!({ "plan": "small" })).await.problem(422, "unknown_plan");
    shop.server.audit();
}
