//! What host products are told, as a receiver of theirs meets it: a real HTTP server, and the signatures held against the reference
//! implementation of Standard Webhooks.

mod failing;
mod guard;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use scrip::config::{Config, Network, PaymentsConfig, WebhooksConfig};
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use tokio::sync::Semaphore;

use crate::http::{OPERATOR, Server};
use crate::temp::Directory;

/// A receiver that remembers everything, and answers what it is told to.
#[derive(Clone)]
pub struct Receiver {
    pub url: String,
    got: Arc<Mutex<Vec<(HeaderMap, String)>>>,
    answers: Arc<Mutex<VecDeque<(u16, String)>>>,
    /// Requests that may be answered now.
    gate: Arc<Semaphore>,
}

impl Receiver {
    pub async fn start() -> Receiver {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/hook", listener.local_addr().expect("a bound address"));
        let gate = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        let receiver = Receiver { url, got: Arc::default(), answers: Arc::default(), gate };
        let here = receiver.clone();
        let take = move |headers: HeaderMap, body: Bytes| async move {
            here.got.lock().expect("no panic").push((headers, String::from_utf8_lossy(&body).into_owned()));
            let _permit = here.gate.acquire().await;
            let next = here.answers.lock().expect("no panic").pop_front();
            let (status, location) = next.unwrap_or((204, String::new()));
            let status = StatusCode::from_u16(status).expect("a status");
            (status, [("location", location)]).into_response()
        };
        let router = axum::Router::new().fallback(take);
        tokio::spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    pub fn answers(&self, statuses: &[u16]) {
        let mut answers = self.answers.lock().expect("no panic");
        answers.extend(statuses.iter().map(|status| (*status, "http://127.0.0.1:1/".to_owned())));
    }

    /// Whatever arrived since the last time, as it was sent.
    pub fn take(&self) -> Vec<(HeaderMap, String)> {
        std::mem::take(&mut *self.got.lock().expect("no panic"))
    }

    /// The same, with each signature checked against the secret.
    pub fn events(&self, secret: &str) -> Vec<Value> {
        let key = Webhook::new(secret).expect("a secret");
        self.take().iter().map(|(headers, body)| signed(&key, headers, body)).collect()
    }

    pub fn hang(&self) {
        self.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    pub fn answer_again(&self) {
        self.gate.add_permits(Semaphore::MAX_PERMITS);
    }
}

/// An event whose signature is what the reference makes of its id, timestamp and body.
pub fn signed(key: &Webhook, headers: &HeaderMap, body: &str) -> Value {
    let header = |name: &str| headers[name].to_str().expect("text");
    let timestamp = header("webhook-timestamp").parse().expect("seconds");
    let genuine = key.sign(header("webhook-id"), timestamp, body.as_bytes()).expect("a signature");
    let signatures: Vec<_> = header("webhook-signature").split(' ').collect();
    assert!(signatures.contains(&genuine.as_str()), "{signatures:?} has no {genuine}");
    assert_eq!(header("content-type"), "application/json");
    let event: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(event["id"], header("webhook-id"));
    event
}

pub fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().expect("a type")).collect()
}

/// A server that may send to this machine.
pub async fn server() -> Server {
    let allow = vec![Network::parse("127.0.0.1").expect("a network")];
    let payments = Some(PaymentsConfig::Sandbox);
    let config = Config { payments, webhooks: WebhooksConfig { allow }, ..Config::default() };
    Server::with(Directory::new("webhooks"), config).await
}

/// An endpoint: where it is in the API, and its secret.
pub async fn endpoint(server: &Server, ws: &str, url: &str, events: Value) -> (String, String) {
    let body = json!({ "url": url, "events": events, "description": "test" });
    let made = server.post(&format!("{ws}/webhook_endpoints"), "", body).await.about_a_workspace(201);
    let text = |name: &str| made[name].as_str().expect("text").to_owned();
    assert!(text("secret").starts_with("whsec_") && text("secret").len() >= 6 + 32, "{made}");
    (format!("{ws}/webhook_endpoints/{}", text("id")), text("secret"))
}

pub async fn charge(server: &Server, ws: &str, key: &str, quantity: i64) {
    let body = json!({ "operation": "email_send", "quantity": quantity });
    server.post(&format!("{ws}/charges"), key, body).await.about_a_workspace(201);
}

#[tokio::test]
async fn a_balance_tells_its_story_in_order_and_only_when_time_passes() {
    let server = server().await;
    let (ws, receiver) = (server.workspace("One").await, Receiver::start().await);
    let (_, secret) = endpoint(&server, &ws, &receiver.url, json!([])).await;
    server.grant(&ws, 1_000).await;
    for (key, quantity) in [("a", 401), ("b", 75), ("c", 24)] {
        charge(&server, &ws, key, quantity).await;
    }
    assert!(receiver.take().is_empty(), "a manual clock stands still");
    server.advance(0).await;
    let told = receiver.events(&secret);
    assert_eq!(names(&told), ["credits.low", "credits.critical", "credits.out"]);
    let seqs: Vec<_> = told.iter().map(|event| event["seq"].as_i64().expect("a number")).collect();
    assert_eq!(seqs, [1, 2, 3]);
    for event in &told {
        assert_eq!(event["created_at"], "2027-01-31T10:00:00Z");
        assert!(ws.ends_with(event["workspace"].as_str().expect("an id")), "{event}");
    }
    let data = |event: &Value| (event["data"]["state"].clone(), event["data"]["available"].clone());
    let expected = [("low", 198), ("critical", 48), ("out", 0)];
    assert_eq!(
        told.iter().map(data).collect::<Vec<_>>(),
        expected.map(|(state, left)| (json!(state), json!(left)))
    );

    let order = server
        .post(&format!("{ws}/topups"), "t", json!({ "pack": "pack_1000" }))
        .await
        .about_a_workspace(201);
    let pay = format!("/v1/sandbox/topups/{}", order["id"].as_str().expect("an id"));
    server.post(&pay, "", json!({ "outcome": "declined" })).await.about_a_workspace(200);
    let order = server
        .post(&format!("{ws}/topups"), "u", json!({ "pack": "pack_1000" }))
        .await
        .about_a_workspace(201);
    let pay = format!("/v1/sandbox/topups/{}", order["id"].as_str().expect("an id"));
    server.post(&pay, "", json!({ "outcome": "paid" })).await.about_a_workspace(200);
    server.advance(0).await;
    let told = receiver.events(&secret);
    assert_eq!(names(&told), ["topup.failed", "credits.restored", "topup.completed"]);
    assert_eq!(told[1]["data"]["available"], 1_000);
    let done = &told[2]["data"];
    assert_eq!(
        (&done["topup"], &done["credits"], &done["status"]),
        (&order["id"], &json!(1_000), &json!("paid"))
    );
    assert_eq!(done["price"], order["price"]);
    server.advance(0).await;
    assert!(receiver.take().is_empty(), "each is told once");
    server.audit();
}

#[tokio::test]
async fn an_endpoint_is_told_what_it_asked_for_while_it_is_on() {
    let server = server().await;
    let (ws, receiver) = (server.workspace("One").await, Receiver::start().await);
    let (other, elsewhere) = (server.workspace("Two").await, Receiver::start().await);
    let wanted = json!(["credits.out", "hold.in_doubt", "credits.out"]);
    let (path, secret) = endpoint(&server, &ws, &receiver.url, wanted).await;
    endpoint(&server, &other, &elsewhere.url, json!([])).await;
    server.grant(&ws, 100).await;
    let work = json!({ "operation": "email_send", "quantity": 2, "campaign": "spring", "reference": "r 1" });
    let hold = server.post(&format!("{ws}/holds"), "h", work).await.about_a_workspace(201);
    let hold = hold["id"].as_str().expect("an id");
    server.post(&format!("/v1/holds/{hold}/dispatch"), "", json!({})).await.about_a_workspace(200);
    server.advance(901).await;
    charge(&server, &ws, "c", 48).await;
    server.advance(0).await;
    let told = receiver.events(&secret);
    assert_eq!(names(&told), ["hold.in_doubt", "credits.out"]);
    let doubt = &told[0]["data"];
    assert_eq!((&doubt["hold"], &doubt["reference"]), (&json!(hold), &json!("r 1")));
    assert!(doubt["in_doubt_until"].is_string());
    assert_eq!(told[0]["created_at"], "2027-01-31T10:15:00Z");

    let listed = server.get(&format!("{ws}/webhook_endpoints")).await.about_a_workspace(200);
    assert_eq!(listed["items"][0]["events"], json!(["credits.out", "hold.in_doubt"]));
    assert!(!listed.to_string().contains("whsec_"), "the secret was shown once");
    let change = |body: Value| server.send(OPERATOR, "PATCH", &path, "", body.to_string());
    let off = change(json!({ "enabled": false })).await.about_a_workspace(200);
    assert_eq!((&off["status"], &off["enabled"]), (&json!("disabled"), &json!(false)));
    server.grant(&ws, 200).await;
    charge(&server, &ws, "d", 100).await;
    let on =
        change(json!({ "enabled": true, "events": [], "description": "x" })).await.about_a_workspace(200);
    assert_eq!(
        (&on["status"], &on["events"], &on["description"]),
        (&json!("enabled"), &json!([]), &json!("x"))
    );
    server.advance(0).await;
    assert!(receiver.take().is_empty(), "what happened while it was off is not told later");
    server.grant(&ws, 300).await;
    server.advance(0).await;
    assert_eq!(names(&receiver.events(&secret)), ["credits.restored"]);
    assert!(elsewhere.take().is_empty(), "another workspace hears nothing of it");
    let gone = server.send(OPERATOR, "DELETE", &path, "", String::new()).await;
    assert_eq!(gone.status, 204);
    server.get(&path).await.problem(404, "not_found");
    server.get(&format!("{path}/deliveries")).await.problem(404, "not_found");
    server.audit();
}

#[tokio::test]
async fn campaigns_and_plans_are_told_of() {
    use crate::world::{DAY, World, emails, text};
    let world = World::new(8).await;
    let receiver = Receiver::start().await;
    let made = world.post(&world.here("webhook_endpoints"), json!({ "url": receiver.url })).await;
    let secret = text(&made, "secret");
    let leads = world.leads(4).await;
    // The third mail takes what is left but two, so the fourth of the second step cannot be paid.
    let id = world.campaign(emails(&[0, 1]), &leads[..3]).await;
    world.advance(DAY).await;
    let told = receiver.events(&secret);
    assert_eq!(names(&told).last(), Some(&"campaign.paused"), "{told:?}");
    let paused = &told[told.len() - 1]["data"];
    assert_eq!((&paused["campaign"], &paused["reasons"]), (&json!(id), &json!(["out_of_credits"])));
    assert_eq!(names(&told)[told.len() - 2], "credits.out", "the cause is told before what it did");
    world.post(&format!("/v1/campaigns/{id}/pause"), Value::Null).await;
    world.grant(100).await;
    world.post(&format!("/v1/campaigns/{id}/resume"), Value::Null).await;
    world.advance(DAY).await;
    let told = receiver.events(&secret);
    assert_eq!(names(&told), ["credits.restored", "campaign.resumed", "campaign.completed"], "{told:?}");
    world.end().await;

    let server = server().await;
    let made = json!({ "name": "Plan", "plan": "growth" });
    let made = server.post("/v1/workspaces", "", made).await.about_a_workspace(201);
    let ws = format!("/v1/workspaces/{}", made["id"].as_str().expect("an id"));
    let (_, secret) = endpoint(&server, &ws, &receiver.url, json!([])).await;
    server.advance(32 * DAY).await;
    let told = receiver.events(&secret);
    assert_eq!(names(&told), ["subscription.renewed"]);
    let data = &told[0]["data"];
    assert_eq!((&data["plan"], &data["period_start"]), (&json!("growth"), &json!("2027-02-28T10:00:00Z")));
    server.post(&format!("{ws}/subscription/cancel"), "x", json!({})).await.about_a_workspace(200);
    server.advance(40 * DAY).await;
    assert_eq!(names(&receiver.events(&secret)), ["subscription.canceled"]);
}

#[tokio::test]
async fn a_renewal_that_is_not_paid_is_told_of_once_and_so_is_the_end() {
    let (shop, receiver) = (crate::plans::Shop::open().await, Receiver::start().await);
    shop.subscribe("small", "declined_later").await;
    let wanted = json!(["subscription.renewed", "subscription.past_due", "subscription.canceled"]);
    let (_, secret) = endpoint(&shop.server, &shop.ws, &receiver.url, wanted).await;
    shop.server.advance(28 * 86_400).await;
    let told = receiver.events(&secret);
    assert_eq!(names(&told), ["subscription.past_due"]);
    assert_eq!(told[0]["data"]["next_attempt_at"], "2027-03-01T10:00:00Z");
    shop.server.advance(12 * 86_400).await;
    assert_eq!(
        names(&receiver.events(&secret)),
        ["subscription.canceled"],
        "three more declines say nothing new"
    );
    shop.server.audit();
}

#[tokio::test]
async fn a_secret_is_replaced_without_a_gap() {
    let server = server().await;
    let (ws, receiver) = (server.workspace("One").await, Receiver::start().await);
    let (path, first) = endpoint(&server, &ws, &receiver.url, json!(["credits.out"])).await;
    let rotated = server.post(&format!("{path}/rotate"), "", json!({})).await.about_a_workspace(200);
    let second = rotated["secret"].as_str().expect("a secret").to_owned();
    assert_ne!(first, second);
    for (round, credits) in [(0, 10), (1, 20)] {
        server.grant(&ws, credits).await;
        charge(&server, &ws, &round.to_string(), credits / 2).await;
        server.advance(0).await;
        let got = receiver.take();
        let (headers, body) = got.first().expect("an event");
        signed(&Webhook::new(&second).expect("a secret"), headers, body);
        let signatures = headers["webhook-signature"].to_str().expect("text").split(' ').count();
        if round == 0 {
            signed(&Webhook::new(&first).expect("a secret"), headers, body);
        }
        assert_eq!(signatures, 2 - round, "the old secret signs for a day");
        server.advance(86_400).await;
    }
}

#[tokio::test]
async fn under_the_systems_clock_events_arrive_by_themselves_and_verify() {
    let allow = vec![Network::parse("127.0.0.0/8").expect("a network")];
    let config = Config { webhooks: WebhooksConfig { allow }, ..Config::default() };
    let server = Server::under(Directory::new("webhooks"), config, None).await;
    let (ws, receiver) = (server.workspace("One").await, Receiver::start().await);
    let (_, secret) = endpoint(&server, &ws, &receiver.url, json!([])).await;
    server.grant(&ws, 10).await;
    charge(&server, &ws, "a", 5).await;
    let mut got = Vec::new();
    for _ in 0..100 {
        got.extend(receiver.take());
        if !got.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (headers, body) = got.first().expect("an event within ten seconds");
    let key = Webhook::new(&secret).expect("a secret");
    key.verify(body.as_bytes(), headers).expect("the reference takes it, timestamp and all");
    key.verify(body.replace("credits", "debits").as_bytes(), headers)
        .expect_err("another body does not pass");
}
