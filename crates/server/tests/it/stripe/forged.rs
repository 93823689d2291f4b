//! Events that are not Stripe's, not of now, or not for us: 400 each, and nothing is written.

use fake_stripe::events::{Delivery, Forgery, signature};

use super::{PAYS, Shop, last};

#[tokio::test]
async fn nothing_that_is_not_genuine_is_taken() {
    let shop = Shop::open().await;
    let (topup, _) = shop.buy("one", PAYS).await;
    let event = last(&shop.fake.stripe(), "event");
    let asked = shop.fake.stripe().calls.len();
    for forged in Forgery::ALL {
        let delivery = Delivery { at: shop.now(), event: event.clone(), forged: Some(forged) };
        assert_eq!(shop.deliver(&delivery).await, 400, "{forged:?}");
    }
    let now = shop.now();
    let (body, _) = shop.fake.stripe().sealed(&Delivery { at: now, event: event.clone(), forged: None }, now);
    let signed = |at: i64| signature(&body, at, fake_stripe::WEBHOOK_SECRET);
    let genuine = signed(now);
    let digest = genuine.split_once("v1=").expect("a signature").1.to_owned();
    for wrong in [
        String::new(),
        "t=,v1=".to_owned(),
        "nonsense".to_owned(),
        format!("t={now}"),
        format!("v1={digest}"),
        format!("t={now},v0={digest}"),
        format!("t={now},v1={}", &digest[1..]),
        format!("t={now},v1={digest}00"),
        format!("t={},v1={digest}", now + 1),
        format!("t=9223372036854775807,v1={digest}"),
        format!("t=-9223372036854775808,v1={digest}"),
        signed(now - 301),
        signed(now + 301),
        signed(i64::MIN),
        signature(&body, now, ""),
    ] {
        assert_eq!(shop.send(body.clone(), &wrong).await, 400, "{wrong}");
    }
    // Signed by Stripe's own secret, and still no event: this is what a stolen secret could send at most.
    for odd in ["", "null", "[]", "7", "{}", "{\"data\":{}}", "{\"data\":{\"object\":7}}", "\u{0}"] {
        let seal = signature(odd, now, fake_stripe::WEBHOOK_SECRET);
        assert_eq!(shop.send(odd.to_owned(), &seal).await, 400, "{odd}");
    }
    let huge =
        format!("{{\"livemode\":false,\"data\":{{\"object\":{{}}}},\"x\":\"{}\"}}", "x".repeat(1024 * 1024));
    let seal = signature(&huge, now, fake_stripe::WEBHOOK_SECRET);
    assert_eq!(shop.send(huge, &seal).await, 400, "huge");
    assert_eq!(shop.fake.stripe().calls.len(), asked, "Stripe was not even asked");
    shop.stands(&topup, (0, 0, "pending")).await;
    // Names that lead elsewhere are not followed.
    for name in ["../account", "pi_1?x=1", "", "pi_nobody"] {
        let event = format!(
            "{{\"livemode\":false,\"data\":{{\"object\":{{\"object\":\"payment_intent\",\"id\":\"{name}\"}}}}}}"
        );
        let seal = signature(&event, now, fake_stripe::WEBHOOK_SECRET);
        assert_eq!(shop.send(event, &seal).await, 400, "{name}");
    }
    shop.end();
}

#[tokio::test]
async fn each_secret_counts_while_one_is_replaced_and_time_is_the_clocks() {
    let shop = Shop::open().await;
    let (topup, _) = shop.buy("one", PAYS).await;
    let event = last(&shop.fake.stripe(), "event");
    let now = shop.now();
    let (body, old) = shop.fake.stripe().sealed(&Delivery { at: now, event, forged: None }, now);
    let digest = |seal: &str| seal.split_once(',').expect("a signature").1.to_owned();
    let both = format!("{old},{}", digest(&signature(&body, now, "whsec_unknown")));
    assert_eq!(shop.send(body.clone(), &both).await, 200);
    assert_eq!(shop.send(body.clone(), &signature(&body, now, "whsec_next")).await, 200);
    shop.stands(&topup, (1_000, 0, "paid")).await;
    shop.advance(300).await;
    assert_eq!(shop.send(body.clone(), &old).await, 200);
    shop.advance(1).await;
    assert_eq!(shop.send(body, &old).await, 400);
    shop.end();
}
