//! Refunds that the bank could not take in, after they had succeeded: the money is ours again, and so are the credits the payer's.

use serde_json::json;

use super::{ALL_NEWS, News, PAYS, Shop, last, number, text};
use crate::plans::DAY;

#[tokio::test]
async fn a_refund_that_fails_after_it_succeeded_gives_its_credits_back_once() {
    for news in ALL_NEWS {
        let shop = Shop::open().await;
        let (topup, intent) = shop.buy("one", PAYS).await;
        shop.hears(news).await;
        let path = format!("/v1/topups/{topup}/refund");
        let body = json!({ "credits": 250, "reason": "asked for it" });
        let first = shop.server.post(&path, "first", body.clone()).await.about_a_workspace(200);
        // Somebody gives some back at Stripe as well.
        shop.fake.stripe().give_back(&intent, 300);
        shop.hears(news).await;
        let before = shop.available().await;
        assert!(before < 750, "{before}");
        // Weeks later the bank says no to ours.
        shop.advance(20 * DAY).await;
        let ours = text(shop.fake.stripe().all("refund")[0], "id");
        shop.fake.stripe().fail_refund(&ours);
        shop.hears(news).await;
        if news == News::Never {
            // Old refunds are looked at once a day.
            shop.advance(DAY).await;
        }
        assert_eq!(shop.available().await, before + 250, "{news:?}");
        let again = shop.server.post(&path, "first", body.clone()).await.about_a_workspace(200);
        assert_eq!(again, first, "the same key is the first answer");
        let today = shop.server.get(&format!("/v1/topups/{topup}")).await.about_a_workspace(200);
        assert_eq!(today["refunded_credits"], 750 - before, "{today}");
        shop.hears(News::Events).await;
        shop.hears(News::Never).await;
        assert_eq!(shop.available().await, before + 250, "{news:?}");
        let entries = shop.server.get(&format!("{}/entries?limit=1", shop.ws)).await.about_a_workspace(200);
        let entry = &entries["items"][0];
        assert_eq!(
            (&entry["kind"], &entry["amount"], &entry["reason"]),
            (&json!("grant"), &json!(250), &json!("Returned: a refund failed"))
        );
        let payments = shop.server.get(&format!("{}/payments", shop.ws)).await.about_a_workspace(200);
        assert_eq!(number(&payments["items"][0], "refunded"), 300);
        let notices = shop.server.get(&format!("{}/notifications", shop.ws)).await.body.to_string();
        assert_eq!(notices.matches("\"refund_failed\"").count(), 1, "{notices}");
        // It can be tried once more, and all of it can go back in the end.
        shop.server.post(&path, "second", body).await.about_a_workspace(200);
        assert_eq!(shop.available().await, before);
        shop.server.post(&path, "rest", json!({ "reason": "all of it" })).await.about_a_workspace(200);
        shop.hears(news).await;
        shop.stands(&topup, (0, 0, "refunded")).await;
        assert_eq!(shop.fake.stripe().left(&intent), 0);
        // The whole of it is here again when the last one fails too.
        let rest = last(&shop.fake.stripe(), "refund");
        shop.fake.stripe().fail_refund(&rest);
        shop.hears(News::Events).await;
        assert_eq!(shop.available().await, before - 250 + 250);
        shop.end();
    }
}

impl Shop {
    async fn available(&self) -> i64 {
        number(&self.server.get(&format!("{}/balance", self.ws)).await.about_a_workspace(200), "available")
    }
}
