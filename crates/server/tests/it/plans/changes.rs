//! Another plan, another price list, money that goes back: each with exactly what was said before.

use scrip::catalog::Catalog;
use scrip::config::{Config, PaymentsConfig};
use serde_json::{Value, json};

use super::{CATALOG, DAY, Shop, stands};
use crate::http::OPERATOR;

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
        (&json!("2027-02-28T10:00:00Z"), &json!(3_100)),
        "what the smaller one brings"
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
    let again = shop.server.post(&refund, "half", half).await.about_a_workspace(200);
    assert_eq!(
        (&again["status"], &again["refunded_credits"]),
        (&json!("paid"), &json!(1_550)),
        "as answered first"
    );
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
    assert_eq!((&first.body, again.header("idempotency-replayed")), (&again.body, Some("true")));
    let other = shop.server.send(OPERATOR, "PUT", &path, "k", json!({ "plan": "large" }).to_string()).await;
    other.problem(422, "idempotency_key_reused");
    // The first answer stays the answer, whatever has become of the plan since.
    shop.pay(&first.body, "pays").await;
    shop.change(json!({ "plan": "large" })).await;
    let again = shop.server.send(OPERATOR, "PUT", &path, "k", json!({ "plan": "small" }).to_string()).await;
    assert_eq!((&again.body, again.status), (&first.body, 200));
    assert_eq!(shop.is().await["plan"], "large");
    let ended = shop.server.send(OPERATOR, "POST", &format!("{path}/cancel"), "end", String::new()).await;
    shop.act("resume").await.about_a_workspace(200);
    let again = shop.server.send(OPERATOR, "POST", &format!("{path}/cancel"), "end", String::new()).await;
    assert_eq!((&again.body, &again.body["status"]), (&ended.body, &json!("canceling")));
    assert_eq!(shop.is().await["status"], "active");
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
    // What the renewal brings is known today.
    let balance = shop.server.get(&format!("{}/balance", shop.ws)).await.body;
    assert_eq!(balance["renewal_credits"], 2_000, "{balance}");
    let asked = json!({ "plan": "small" });
    let stays = shop.server.post(&format!("{}/subscription/preview", shop.ws), "", asked).await.body;
    let renewal =
        (&stays["renewal_credits"], &stays["renewal_price"]["amount"], &stays["price_now"]["amount"]);
    assert_eq!(renewal, (&json!(2_000), &json!(5_000), &json!(0)), "{stays}");
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

/// A whole new period in the very moment in which the last one began.
#[tokio::test]
async fn a_period_that_is_replaced_in_its_first_moment_has_no_length_and_no_fault() {
    let shop = Shop::open().await;
    shop.subscribe("small", "pays").await;
    let is = shop.change(json!({ "plan": "fresh" })).await;
    assert_eq!(stands(&is), ("active", "2027-01-31T10:00:00Z", "2027-02-28T10:00:00Z"), "{is}");
    shop.comes_to(3_600).await;
    shop.server.advance(28 * DAY).await;
    shop.comes_to(3_600).await;
    shop.server.audit();
}

/// A year that is paid by an upgrade costs each of its twelve grants a twelfth, as one that is paid by subscribing does.
#[tokio::test]
async fn each_grant_of_a_year_costs_its_twelfth_however_the_year_began() {
    for upgraded in [false, true] {
        let shop = Shop::open().await;
        if upgraded {
            shop.subscribe("small", "pays").await;
            shop.server.advance(5 * DAY).await;
            shop.change(json!({ "plan": "yearly" })).await;
        } else {
            shop.subscribe("yearly", "pays").await;
        }
        shop.server.advance(70 * DAY).await;
        let csv = shop.server.get(&format!("{}/grants.csv", shop.ws)).await.about_a_workspace(200);
        let costs: Vec<&str> = csv
            .as_str()
            .expect("text")
            .lines()
            .skip(1 + usize::from(upgraded))
            .map(|line| line.rsplit(',').nth(2).expect("a cost"))
            .collect();
        assert_eq!(costs, ["10000"; 3], "{csv}");
        shop.server.audit();
    }
}
