//! A server that takes its money with Stripe and can end at any moment, and the ways in which money comes to it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use billing::Time;
use fake_stripe::events::Delivery;
use fake_stripe::{FakeStripe, WEBHOOK_SECRET};
use reqwest::{Client, RequestBuilder};
use scrip::app::App;
use scrip::catalog::Catalog;
use scrip::config::{Config, PaymentsConfig};
use scrip::store::Store;
use serde_json::{Value, json};

use super::super::{PAYS, SECOND, config, number, session, text};
use crate::http::Server;
use crate::plans::{CATALOG, DAY};
use crate::temp::{self, Directory};

const START: &str = "manual=2027-01-31T10:00:00Z";

/// A server, its Stripe, and a workspace that pays.
pub struct Till {
    pub directory: Directory,
    pub fake: FakeStripe,
    client: Client,
    runs: Runs,
    url: String,
    pub ws: String,
}

/// Where the server is.
enum Runs {
    Nowhere,
    /// In a process of its own, which can be killed.
    Beside(Child),
    /// In this process, for as long as the runtime.
    Here(App),
}

impl Till {
    /// As a process of its own.
    pub async fn open() -> Till {
        let fake = FakeStripe::start().await.expect("a free port");
        let mut till = Till::on(Directory::new("killed"), fake);
        std::fs::create_dir_all(till.directory.path()).expect("a directory");
        let config = format!(
            "catalog = \"shop.toml\"\n[payments]\nkind = \"stripe\"\nsecret_key = \"{}\"\nwebhook_secrets = [\"{WEBHOOK_SECRET}\"]\napi_url = \"{}\"\ntimeout_seconds = 60\n",
            fake_stripe::SECRET_KEY,
            till.fake.url
        );
        std::fs::write(till.directory.path().join("scrip.toml"), config).expect("written");
        std::fs::write(till.directory.path().join("shop.toml"), CATALOG).expect("written");
        till.start();
        till.settle_in().await;
        till
    }

    /// In this process, on a directory whose database may be there already.
    pub async fn here(directory: Directory, fake: FakeStripe) -> Till {
        let catalogs = vec![Catalog::parse("shop.toml", CATALOG).expect("a catalog")];
        let payments = Some(PaymentsConfig::Stripe(config(&fake)));
        let server =
            Server::with(directory.clone(), Config { payments, catalogs, ..Config::default() }).await;
        let mut till = Till::on(directory, fake);
        (till.url, till.runs) = (server.url, Runs::Here(server.app));
        till
    }

    fn on(directory: Directory, fake: FakeStripe) -> Till {
        scrip::providers::install_crypto();
        Till {
            directory,
            fake,
            client: Client::new(),
            runs: Runs::Nowhere,
            url: String::new(),
            ws: String::new(),
        }
    }

    /// Makes the workspace. The first look at Stripe's lists only says from when on they are read.
    pub async fn settle_in(&mut self) {
        let body = json!({ "name": "One", "collection": "payments", "admin_email": "admin@example.com" });
        let made = self.done(self.post("/v1/workspaces", "", &body)).await;
        self.ws = format!("/v1/workspaces/{}", text(&made, "id"));
        self.advance(0).await;
    }

    pub fn start(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_scrip"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--clock", START, "--config"]);
        command.arg(self.directory.path().join("scrip.toml")).env("SCRIP_OPERATOR_KEY", "operator");
        match self.directory.url() {
            Some(url) => command.args(["--database", &url, "--partitions", "3"]),
            None => command.arg("--data").arg(self.directory.path()),
        };
        let mut child =
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the server runs");
        let mut said = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
        let url = said.find_map(|line| Some(line.strip_prefix("listening on ")?.to_owned()));
        // What is said from now on is read, so that the pipe never fills.
        std::thread::spawn(move || said.count());
        self.url = url.expect("it says where it listens");
        self.runs = Runs::Beside(child);
    }

    pub fn kill(&mut self) {
        if let Runs::Beside(mut child) = std::mem::replace(&mut self.runs, Runs::Nowhere) {
            child.kill().expect("SIGKILL");
            child.wait().expect("it is gone");
        }
    }

    /// Time passes while nobody works, as for a server that is down.
    async fn sleeps(&mut self, seconds: i64) {
        let now = Time((self.fake.stripe().now() + seconds) * SECOND);
        match &self.runs {
            Runs::Here(app) => app.store.advance_clock(now).await.expect("it is later"),
            _ => {
                self.kill();
                let store = Store::open(&self.directory.place(), None).expect("it opens");
                store.advance_clock(now).await.expect("it is later");
                temp::close(store).await;
                self.start();
            }
        }
        self.fake.stripe().now = Some(now.0 / SECOND);
    }

    pub fn post(&self, path: &str, key: &str, body: &Value) -> RequestBuilder {
        let request = self.client.post(format!("{}{path}", self.url)).bearer_auth("operator").json(body);
        if key.is_empty() { request } else { request.header("idempotency-key", key) }
    }

    pub fn put(&self, path: &str, key: &str, body: &Value) -> RequestBuilder {
        let request = self.client.put(format!("{}{path}", self.url)).bearer_auth("operator");
        request.header("idempotency-key", key).json(body)
    }

    pub async fn get(&self, path: &str) -> Value {
        self.done(self.client.get(format!("{}{path}", self.url)).bearer_auth("operator")).await
    }

    pub async fn done(&self, request: RequestBuilder) -> Value {
        let answer = request.send().await.expect("an answer");
        assert!(answer.status().is_success(), "{}", answer.text().await.expect("text"));
        answer.json().await.expect("JSON")
    }

    pub async fn advance(&self, seconds: i64) {
        let body = json!({ "seconds": seconds });
        let done = self.done(self.post("/v1/clock/advance", "", &body)).await;
        let now = scrip::clock::parse_rfc3339(done["now"].as_str().expect("a time")).expect("a time");
        self.fake.stripe().now = Some(now.0 / SECOND);
    }

    /// The newest event of a kind, as Stripe sends it.
    pub fn event(&self, kind: &str) -> RequestBuilder {
        let stripe = self.fake.stripe();
        let event = stripe.all("event").into_iter().rfind(|event| event["type"] == kind).expect("an event");
        let now = stripe.now();
        let delivery = Delivery { at: now, event: text(event, "id"), forged: None };
        let (body, signature) = stripe.sealed(&delivery, now);
        let request = self.client.post(format!("{}/v1/payments/stripe/events", self.url));
        request.header("stripe-signature", signature).body(body)
    }

    /// What Stripe took, and how often.
    pub fn taken(&self) -> (usize, i64) {
        let stripe = self.fake.stripe();
        let paid: Vec<i64> = stripe
            .all("charge")
            .into_iter()
            .filter(|charge| charge["paid"] == true)
            .map(|charge| number(charge, "amount"))
            .collect();
        (paid.len(), paid.iter().sum())
    }

    /// What the ledger says was paid, and how often.
    pub async fn paid(&self) -> (usize, i64) {
        let payments = self.get(&format!("{}/payments", self.ws)).await;
        let paid: Vec<i64> = payments["items"]
            .as_array()
            .expect("a list")
            .iter()
            .filter(|one| one["status"] == "paid")
            .map(|one| number(&one["price"], "amount"))
            .collect();
        (paid.len(), paid.iter().sum())
    }

    pub async fn available(&self) -> i64 {
        number(&self.get(&format!("{}/balance", self.ws)).await, "available")
    }

    pub async fn ordered(&self) -> Value {
        let order = json!({ "pack": "bundle", "return_url": "https://example.com/back" });
        self.done(self.post(&format!("{}/topups", self.ws), "order", &order)).await
    }
}

impl Drop for Till {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A way in which money comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    Checkout,
    Webhook,
    Renewal,
    Recharge,
}

impl Flow {
    /// What is there before it.
    pub async fn before(self, till: &mut Till) {
        match self {
            Flow::Checkout => {}
            Flow::Webhook => {
                let page = session(&till.ordered().await);
                till.fake.stripe().pay(&page, PAYS);
            }
            Flow::Renewal => {
                let plan = json!({ "plan": "small" });
                let is = till.done(till.put(&format!("{}/subscription", till.ws), "subscribe", &plan)).await;
                till.fake.stripe().pay(&session(&is), PAYS);
                till.done(till.event("payment_intent.succeeded")).await;
                // Just before the period ends: what Stripe is asked meanwhile is no part of a renewal.
                till.sleeps(28 * DAY - 60).await;
            }
            Flow::Recharge => {
                let page = session(&till.ordered().await);
                till.fake.stripe().pay(&page, PAYS);
                till.done(till.event("payment_intent.succeeded")).await;
                let auto = json!({ "enabled": true, "below": 500, "pack": "bundle", "max_per_period": 1 });
                till.done(till.put(&format!("{}/auto_topup", till.ws), "auto", &auto)).await;
                let work = json!({ "operation": "work", "quantity": 700 });
                till.done(till.post(&format!("{}/charges", till.ws), "work", &work)).await;
            }
        }
    }

    /// The request in which it happens.
    pub fn request(self, till: &Till) -> RequestBuilder {
        match self {
            Flow::Checkout => {
                let order = json!({ "pack": "bundle", "return_url": "https://example.com/back" });
                till.post(&format!("{}/topups", till.ws), "order", &order)
            }
            Flow::Webhook => till.event("payment_intent.succeeded"),
            Flow::Renewal => till.post("/v1/clock/advance", "", &json!({ "seconds": 60 })),
            Flow::Recharge => till.post("/v1/clock/advance", "", &json!({ "seconds": 0 })),
        }
    }

    /// The end of it, however it was broken off: credits, and payments.
    async fn after(self, till: &Till) -> (i64, usize) {
        match self {
            Flow::Checkout => {
                let page = session(&till.ordered().await);
                assert_eq!(till.fake.stripe().all("checkout.session").len(), 1, "one page");
                till.fake.stripe().pay(&page, PAYS);
                till.done(till.event("payment_intent.succeeded")).await;
                (1_100, 1)
            }
            Flow::Webhook => {
                till.done(till.event("payment_intent.succeeded")).await;
                (1_100, 1)
            }
            Flow::Renewal => (6_200, 2),
            Flow::Recharge => (1_500, 2),
        }
    }

    /// The server is there again: whatever had happened, it has happened once in the end.
    pub async fn ends(self, till: &Till, when: &str) {
        // On a server another node might have had the lease of a charge: it lapses.
        till.advance(0).await;
        till.advance(if self == Flow::Renewal { 28 * DAY + 300 - elapsed(till) } else { 300 }).await;
        let (credits, payments) = self.after(till).await;
        till.advance(2 * 3_600).await;
        let told = format!("{when}: {:?}", till.fake.stripe().calls);
        assert_eq!(till.available().await, credits, "{told}");
        assert_eq!(till.taken(), till.paid().await, "Stripe's money is the ledger's: {told}");
        assert_eq!(till.taken().0, payments, "{told}");
        till.directory.prove(&told);
    }
}

/// Seconds since the beginning.
fn elapsed(till: &Till) -> i64 {
    let start = scrip::clock::parse_rfc3339("2027-01-31T10:00:00Z").expect("a time").0 / SECOND;
    till.fake.stripe().now() - start
}
