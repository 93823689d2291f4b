//! Plans as a customer lives through them, on the manual clock and the sandbox's cards: the shop that all these stories share.

mod answers;
mod auto_buy;
mod broken;
mod changes;
mod checkouts;
mod gone;
mod life;
mod statements;
mod together;
mod told;

use scrip::catalog::Catalog;
use scrip::config::{Config, Network, PaymentsConfig, WebhooksConfig};
use serde_json::{Value, json};

use crate::http::{OPERATOR, Server};
use crate::temp::Directory;

pub const DAY: i64 = 86_400;

pub const CATALOG: &str = r#"version = 1
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

    pub async fn of(config: Config, settings: Value) -> Shop {
        let server = Server::with(Directory::new("plans"), config).await;
        let mut body = json!({ "name": "One", "collection": "payments", "admin_email": "a@example.com" });
        body.as_object_mut().expect("an object").extend(settings.as_object().expect("an object").clone());
        let made = server.post("/v1/workspaces", "", body).await.about_a_workspace(201);
        let ws = format!("/v1/workspaces/{}", made["id"].as_str().expect("an id"));
        Shop { server, ws, calls: std::cell::Cell::new(0) }
    }

    pub fn key(&self) -> String {
        self.calls.set(self.calls.get() + 1);
        format!("call-{}", self.calls.get())
    }

    pub async fn is(&self) -> Value {
        self.server.get(&format!("{}/subscription", self.ws)).await.about_a_workspace(200)
    }

    pub async fn put(&self, body: Value) -> crate::http::Got {
        let path = format!("{}/subscription", self.ws);
        self.server.send(OPERATOR, "PUT", &path, &self.key(), body.to_string()).await
    }

    pub async fn change(&self, body: Value) -> Value {
        self.put(body).await.about_a_workspace(200)
    }

    pub async fn act(&self, act: &str) -> crate::http::Got {
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

/// A shop whose workspace has a saved card, and so many credits from the pack that was bought with it.
pub async fn with_card(card: &str) -> Shop {
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
    pub async fn auto(&self, body: Value) -> crate::http::Got {
        let path = format!("{}/auto_topup", self.ws);
        self.server.send(OPERATOR, "PUT", &path, "", body.to_string()).await
    }

    pub async fn adjust(&self, credits: i64) {
        let body = json!({ "credits": credits, "reason": "for the story" });
        self.server.post(&format!("{}/adjustments", self.ws), &self.key(), body).await.about_a_workspace(201);
    }

    pub async fn bought(&self) -> Vec<(Value, Value, Value)> {
        let list = self.server.get(&format!("{}/topups", self.ws)).await.about_a_workspace(200);
        let items = list["items"].as_array().expect("a list").iter().filter(|item| item["automatic"] == true);
        items
            .map(|item| (item["status"].clone(), item["credits"].clone(), item["price"]["amount"].clone()))
            .collect()
    }
}

/// Status, start and end of what is paid.
pub fn stands(is: &Value) -> (&str, &str, &str) {
    let text = |name: &str| is[name].as_str().unwrap_or_default();
    (text("status"), text("period_start"), text("period_end"))
}

/// The number of its workspace.
pub fn workspace(shop: &Shop) -> i64 {
    scrip::id::parse_workspace(shop.ws.rsplit('/').next().expect("an id")).expect("an id")
}
