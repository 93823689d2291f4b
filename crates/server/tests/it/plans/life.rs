//! Subscribing, renewing, trying out, ending.

use serde_json::{Value, json};

use super::{CATALOG, DAY, Shop, stands, workspace};

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
