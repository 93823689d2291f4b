//! What broke off between two of the store's steps is taken up where it was.

use scrip::store::committer::{Key, KeyKind};
use scrip::store::payments::Purpose;
use serde_json::json;

use super::{DAY, Shop, with_card, workspace};

/// A crash between any two steps of a charge: asked again, it is the same charge.
#[tokio::test]
async fn a_charge_that_broke_off_is_taken_up_where_it_was() {
    let shop = Shop::open().await;
    shop.subscribe("small", "pays").await;
    let (app, store, ws) = (&shop.server.app, &shop.server.app.store, workspace(&shop));
    // Time passes without the loops, as for a server that is down when the period ends.
    store.advance_clock(billing::Time(app.clock.now().0).plus_seconds(28 * DAY)).await.expect("it is late");
    let terms = scrip::money::terms(app.catalog(), "small");
    let due = store.due_periods(10).await.expect("a read").remove(0);
    for _ in 0..2 {
        store.renew(due.clone(), terms.clone()).await.expect("ordered");
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
        let offer = Some(new(Purpose::AutoBuy));
        store.begin_auto_buy(ws, "bundle".to_owned(), offer).await.expect("begun");
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
