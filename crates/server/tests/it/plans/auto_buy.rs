//! Credits that are bought by themselves, and amounts without a pack.

use scrip::store::payments::Purpose;
use serde_json::{Value, json};

use super::{DAY, Shop, with_card, workspace};

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
async fn what_was_chosen_since_it_fell_due_is_what_is_bought() {
    let shop = with_card("pays").await;
    let (app, ws) = (&shop.server.app, workspace(&shop));
    let asked = json!({ "enabled": true, "below": 1_500, "pack": "bundle", "max_per_period": 5 });
    shop.auto(asked.clone()).await.about_a_workspace(200);
    // It fell due with another pack, which is sold or is not.
    let bundle = app.catalog().pack("bundle").expect("a pack");
    let offer = scrip::money::pack(app.catalog(), ws, Purpose::AutoBuy, bundle, None);
    for offer in [Some(offer), None] {
        app.store.begin_auto_buy(ws, "another".to_owned(), offer).await.expect("looked at");
        assert!(shop.bought().await.is_empty(), "nobody wants that one any more");
    }
    let is = shop.server.get(&format!("{}/auto_topup", shop.ws)).await.about_a_workspace(200);
    assert_eq!(is, asked, "it is as it was set last");
    shop.server.advance(0).await;
    assert_eq!(shop.bought().await.len(), 1);
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
