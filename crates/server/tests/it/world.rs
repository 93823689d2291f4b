//! A whole server in this process, on a directory, a clock and stand-ins of its own: what a story is told with.
//!
//! The server has a runtime to itself, so that it can be ended as a crash would end it while the stand-ins live on.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use billing::Time;
use reqwest::{Client, Method, StatusCode};
use scrip::app::{App, Start};
use scrip::catalog::Catalog;
use scrip::config::{
    Config, Cost, EnrichmentConfig, HttpConfig, MailConfig, MessagesConfig, Network, PaymentsConfig,
    ProvidersConfig, Secret, Trust, WebhooksConfig,
};
use scrip::demo::http_fakes::HttpFakes;
use scrip::demo::smtp_sink::{SinkMessage, SmtpSink};
use scrip::{clock, server};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::temp::{self, Directory};

pub const DAY: i64 = 86_400;
const START: &str = "2026-03-02T09:00:00Z";
const OPERATOR: &str = "operator";

/// How a world's providers behave as configured.
#[derive(Clone)]
pub struct Habits {
    pub timeout: Duration,
    pub idempotent: bool,
    pub query: bool,
    pub payments: PaymentsConfig,
    /// Where all of them are, if not with the world's own stand-ins.
    pub elsewhere: Option<String>,
    /// Who looks fields up, if not one of them alone.
    pub enrichers: Vec<EnrichmentConfig>,
}

impl Default for Habits {
    fn default() -> Habits {
        Habits {
            timeout: Duration::from_secs(5),
            idempotent: true,
            query: false,
            payments: PaymentsConfig::Sandbox,
            elsewhere: None,
            enrichers: Vec::new(),
        }
    }
}

/// A server, its stand-ins, and a workspace.
pub struct World {
    pub sink: Arc<SmtpSink>,
    pub notices: Arc<SmtpSink>,
    pub fakes: Arc<HttpFakes>,
    pub workspace: String,
    directory: Directory,
    habits: Habits,
    client: Client,
    running: Option<Running>,
    base: String,
}

struct Running {
    runtime: Runtime,
    app: App,
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.runtime.shutdown_background();
        }
    }
}

impl World {
    /// A workspace without a plan and with so many credits.
    pub async fn new(credits: i64) -> World {
        World::with(credits, json!({}), Habits::default()).await
    }

    /// The same; `settings` are added to what the workspace is made of.
    pub async fn with(credits: i64, settings: Value, habits: Habits) -> World {
        scrip::providers::install_crypto();
        let mut world = World {
            sink: SmtpSink::start().await.expect("a free port").into(),
            notices: SmtpSink::start().await.expect("a free port").into(),
            fakes: HttpFakes::start().await.expect("a free port").into(),
            workspace: String::new(),
            directory: Directory::new("world"),
            habits,
            client: Client::new(),
            running: None,
            base: String::new(),
        };
        world.start().await;
        let mut body = json!({ "name": "Sample", "admin_email": "admin@example.com" });
        let body_fields = body.as_object_mut().expect("an object");
        body_fields.extend(settings.as_object().expect("an object").clone());
        world.workspace = text(&world.post("/v1/workspaces", body).await, "id");
        if credits > 0 {
            world.grant(credits).await;
        }
        world
    }

    /// One more server on the same database, with the same stand-ins.
    pub async fn beside(&self) -> World {
        let mut world = World {
            sink: self.sink.clone(),
            notices: self.notices.clone(),
            fakes: self.fakes.clone(),
            workspace: self.workspace.clone(),
            directory: self.directory.clone(),
            habits: self.habits.clone(),
            client: Client::new(),
            running: None,
            base: String::new(),
        };
        world.start().await;
        world
    }

    async fn start(&mut self) {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let (config, place) = (self.config(), self.directory.place());
        let begun = runtime.spawn(async move {
            let (listener, address) = server::bind("127.0.0.1:0").await.expect("a free port");
            let start = Start {
                config,
                place: &place,
                manual: clock::parse_rfc3339(START),
                operator_key: OPERATOR.to_owned(),
                public_url: format!("http://{address}"),
            };
            let app = App::start(start).await.expect("the directory opens");
            tokio::spawn(server::serve(app.clone(), listener, std::future::pending()));
            (app, format!("http://{address}"))
        });
        let (app, base) = begun.await.expect("a server");
        self.base = base;
        self.running = Some(Running { runtime, app });
    }

    fn config(&self) -> Config {
        let Habits { timeout, idempotent, query, payments, elsewhere, enrichers } = self.habits.clone();
        let place = elsewhere.unwrap_or_else(|| self.fakes.url.clone());
        let token = || Some(Secret::new(self.fakes.token.clone()));
        let http = |path: &str| HttpConfig {
            url: format!("{place}/{path}"),
            token: token(),
            idempotent,
            query,
            timeout,
        };
        let mail = |sink: &SmtpSink| MailConfig {
            url: Secret::new(sink.url.clone()),
            from: "Scrip <scrip@example.com>".to_owned(),
            timeout,
        };
        let enrichment = EnrichmentConfig {
            name: "local".to_owned(),
            fields: None,
            cost: Cost::default(),
            http: http("enrichment"),
        };
        Config {
            catalogs: vec![Catalog::builtin()],
            providers: ProvidersConfig {
                discovery: Some(http("discovery")),
                enrichment: if enrichers.is_empty() { vec![enrichment] } else { enrichers },
                linkedin: Some(http("linkedin")),
                messages: Some(MessagesConfig {
                    base_url: format!("{place}/v1"),
                    model: "local".to_owned(),
                    token: token(),
                    timeout,
                }),
                email: Some(mail(&self.sink)),
                ..ProvidersConfig::default()
            },
            payments: Some(payments),
            mail: Some(mail(&self.notices)),
            webhooks: WebhooksConfig { allow: vec![Network::parse("127.0.0.1").expect("a network")] },
            oidc: None,
            public_url: None,
            seal_key: None,
            trust: Trust::default(),
        }
    }

    /// Ends the server as a crash does: every task breaks off where it is, and nobody says goodbye.
    pub async fn stop(&mut self) {
        let Some(Running { runtime, app }) = self.running.take() else { return };
        let ended = tokio::task::spawn_blocking(move || runtime.shutdown_timeout(Duration::from_secs(10)));
        ended.await.expect("the runtime ends");
        let store = app.store.clone();
        drop(app);
        temp::close(store).await;
    }

    /// Its database.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// How many pieces of work this server took up.
    pub async fn pieces(&self) -> i64 {
        let metrics = self.client.get(format!("{}/metrics", self.base)).send().await.expect("an answer");
        let metrics = metrics.text().await.expect("text");
        let line = metrics.lines().find_map(|line| line.strip_prefix("scrip_pieces_total "));
        line.expect("a counter").parse().expect("a number")
    }

    /// Whether several nodes may share its database.
    pub fn is_shared(&self) -> bool {
        self.directory.is_shared()
    }

    /// A crash, and a new start on the same directory.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.start().await;
    }

    /// The end of every story: what is written must prove itself.
    pub async fn end(mut self) {
        self.stop().await;
        self.directory.prove("at the end");
    }

    /// A request and its answer, whatever that is.
    pub async fn send(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let request = self.client.request(method, format!("{}{path}", self.base)).bearer_auth(OPERATOR);
        let request = request.header("idempotency-key", scrip::app::hex(&clock::random::<16>()));
        let request = if body.is_null() { request } else { request.json(&body) };
        let response = request.send().await.expect("an answer");
        (response.status(), response.json().await.unwrap_or(Value::Null))
    }

    pub async fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.send(Method::POST, path, body).await;
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    }

    pub async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.send(Method::GET, path, Value::Null).await;
        assert!(status.is_success(), "{path}: {status} {answer}");
        answer
    }

    /// Where a path is served now.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// A path inside the workspace.
    pub fn here(&self, path: &str) -> String {
        format!("/v1/workspaces/{}/{path}", self.workspace)
    }

    pub async fn items(&self, path: &str) -> Vec<Value> {
        self.get(&self.here(path)).await["items"].as_array().expect("a list").clone()
    }

    /// Time passes, and everything that falls due happens.
    pub async fn advance(&self, seconds: i64) -> Time {
        let answer = self.post("/v1/clock/advance", json!({ "seconds": seconds })).await;
        clock::parse_rfc3339(answer["now"].as_str().expect("a time")).expect("a time")
    }

    /// The same, without waiting for it: for crashes in the middle.
    pub fn advancing(&self, seconds: i64) -> impl Future<Output = ()> + Send + 'static {
        let request = self.client.post(format!("{}/v1/clock/advance", self.base)).bearer_auth(OPERATOR);
        let request = request.json(&json!({ "seconds": seconds }));
        async move { drop(request.send().await) }
    }

    pub async fn grant(&self, credits: i64) {
        let body = json!({ "credits": credits, "kind": "bonus", "reason": "for the story" });
        self.post(&self.here("grants"), body).await;
    }

    pub async fn balance(&self) -> Value {
        self.get(&self.here("balance")).await
    }

    /// Buys the pack of 1,000 credits.
    pub async fn buy(&self) {
        let topup = self.post(&self.here("topups"), json!({ "pack": "pack_1000" })).await;
        let path = format!("/v1/sandbox/topups/{}", text(&topup, "id"));
        self.post(&path, json!({ "outcome": "paid" })).await;
    }

    /// What is available and what is held must be this.
    pub async fn comes_to(&self, available: i64, held: i64) {
        let balance = self.balance().await;
        assert_eq!((balance["available"].as_i64(), balance["held"].as_i64()), (Some(available), Some(held)));
    }

    /// So many leads with addresses, in order.
    pub async fn leads(&self, count: usize) -> Vec<String> {
        let lead = |number: usize| {
            json!({ "external_id": format!("lead-{number:04}"), "name": format!("Lead {number:04}"),
                "email": format!("lead{number:04}@example.com"),
                "linkedin_url": format!("https://www.linkedin.example.com/in/lead-{number:04}") })
        };
        self.import((1..=count).map(lead).collect()).await
    }

    /// Imports leads that are all new; answers their ids in order.
    pub async fn import(&self, leads: Vec<Value>) -> Vec<String> {
        let count = leads.len();
        let answer = self.post(&self.here("leads"), json!({ "leads": leads })).await;
        assert_eq!(answer["created"], count, "{answer}");
        let mut ids: Vec<String> =
            self.items("leads?limit=500").await.iter().take(count).map(|lead| text(lead, "id")).collect();
        ids.reverse();
        ids
    }

    /// A campaign with these leads, launched.
    pub async fn campaign(&self, campaign: Value, leads: &[String]) -> String {
        let id = text(&self.post(&self.here("campaigns"), campaign).await, "id");
        self.post(&format!("/v1/campaigns/{id}/leads"), json!({ "leads": leads })).await;
        self.post(&format!("/v1/campaigns/{id}/launch"), Value::Null).await;
        id
    }

    pub async fn view(&self, campaign: &str) -> Value {
        self.get(&format!("/v1/campaigns/{campaign}")).await
    }

    /// Holds of a status.
    pub async fn holds(&self, status: &str) -> Vec<Value> {
        self.items(&format!("holds?limit=500&status={status}")).await
    }

    /// Kinds of the workspace's notices, oldest first.
    pub async fn notice_kinds(&self) -> Vec<String> {
        let mut kinds: Vec<String> =
            self.items("notifications").await.iter().map(|notice| text(notice, "kind")).collect();
        kinds.reverse();
        kinds
    }

    /// Whom the mail server took a mail for, in order.
    pub fn recipients(&self) -> Vec<String> {
        self.sink.messages().into_iter().map(|message| message.to).collect()
    }

    /// How often the mail server took this subject for this address.
    pub fn sent(&self, to: &str, subject: &str) -> usize {
        let is = |message: &&SinkMessage| message.to == to && message.subject == subject;
        self.sink.messages().iter().filter(is).count()
    }

    /// Credits charged for an operation so far.
    pub async fn charged(&self, operation: &str) -> i64 {
        let entries = self.items(&format!("entries?kind=charge&operation={operation}&limit=500")).await;
        -entries.iter().filter_map(|entry| entry["amount"].as_i64()).sum::<i64>()
    }
}

/// A campaign of e-mails, each so many days after the one before.
pub fn emails(days: &[i64]) -> Value {
    let step = |(index, days): (usize, &i64)| {
        json!({ "channel": "email", "after_days": days, "generate": false, "subject": format!("Step {index}"),
            "template": "Hello {{name}}" })
    };
    json!({ "name": "Mails", "steps": days.iter().enumerate().map(step).collect::<Vec<_>>() })
}

/// Why something is paused.
pub fn reasons(view: &Value) -> Vec<String> {
    view["pause_reasons"].as_array().expect("a list").iter().map(|pause| text(pause, "reason")).collect()
}

/// How many leads stand how at a step: waiting, sent, skipped, failed, in doubt.
pub fn step(view: &Value, index: usize) -> [i64; 5] {
    ["waiting", "sent", "skipped", "failed", "in_doubt"]
        .map(|name| view["steps"][index][name].as_i64().expect("a number"))
}

pub fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_else(|| panic!("{field} in {value}")).to_owned()
}
