//! Checkout pages that are over, somebody else's, or asked for what they do not have: nothing is taken and nothing comes.

use serde_json::{Value, json};

use super::Shop;

fn link(checkout: &Value) -> String {
    checkout["checkout_url"].as_str().unwrap_or_else(|| panic!("a checkout in {checkout}")).to_owned()
}

#[tokio::test]
async fn a_page_that_is_over_or_foreign_takes_nothing_and_no_price_comes_from_a_form() {
    let shop = Shop::open().await;
    let over = link(&shop.change(json!({ "plan": "small" })).await);
    let order = shop.change(json!({ "plan": "large" })).await;
    let path = format!("{}/topups", shop.ws);
    let bundle = link(&shop.server.post(&path, "bundle", json!({ "pack": "bundle" })).await.body);
    // Another plan was ordered meanwhile: of two orders only the last one can be paid.
    assert_eq!(shop.server.form(&over, "card=pays&confirmed=yes".to_owned()).await, 303);
    shop.comes_to(0).await;
    let page = reqwest::get(&over).await.expect("a page").text().await.expect("text");
    assert!(page.contains("Nothing more can be paid here."), "{page}");
    let (address, _) = over.split_once('?').expect("a token");
    let (_, token) = bundle.split_once('?').expect("a token");
    for (url, body, status) in [
        (format!("{address}?{token}"), "card=pays", 404),
        (address.to_owned(), "card=pays", 404),
        (format!("{address}0?{token}"), "card=pays", 404),
        (bundle.clone(), "card=none", 422),
        (bundle.clone(), "", 422),
    ] {
        assert_eq!(shop.server.form(&url, body.to_owned()).await, status, "{url} {body}");
    }
    shop.comes_to(0).await;
    let forged = "card=pays&confirmed=yes&amount=1&credits=1000000&currency=USD";
    assert_eq!(shop.server.form(&bundle, forged.to_owned()).await, 303);
    shop.comes_to(1_100).await;
    let paid = shop.server.get(&path).await.body;
    assert_eq!(paid["items"][0]["price"], json!({ "amount": 1_200, "currency": "EUR" }), "{paid}");
    shop.pay(&order, "pays").await;
    shop.comes_to(1_100 + 31_000).await;
    shop.server.audit();
}
