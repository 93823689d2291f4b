//! The API as a host product meets it: the documented story, the edges of HTTP, and every field wrong in every way.

use reqwest::{Client, Method, StatusCode, header::HeaderMap};
use scrip::app::{App, Start};
use scrip::config::{Config, PaymentsConfig};
use scrip::{clock, server};
use serde_json::{Value, json};

use crate::temp::Directory;

pub const OPERATOR: &str = "operator";

/// A server on a free port, with a manual clock and the sandbox's payments.
pub struct Server {
    pub app: App,
    pub url: String,
    client: Client,
    pub directory: Directory,
}

/// An answer.
pub struct Got {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Got {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// A problem document, and nothing else.
    pub fn problem(&self, status: u16, code: &str) {
        assert_eq!((self.status, &self.body["code"]), (status, &json!(code)), "{}", self.body);
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(self.body["status"], json!(status));
        for fact in ["type", "title", "detail"] {
            assert!(self.body[fact].is_string(), "{fact} in {}", self.body);
        }
    }

    pub fn about_a_workspace(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        assert!(self.header("credits-available").is_some(), "Credits-Available with {}", self.body);
        self.body
    }
}

impl Server {
    pub async fn open() -> Server {
        Server::at(Directory::new("http"), Some(PaymentsConfig::Sandbox)).await
    }

    pub async fn at(directory: Directory, payments: Option<PaymentsConfig>) -> Server {
        Server::with(directory, Config { payments, ..Config::default() }).await
    }

    pub async fn with(directory: Directory, config: Config) -> Server {
        Server::under(directory, config, clock::parse_rfc3339("2027-01-31T10:00:00Z")).await
    }

    /// The same under another clock; `None`: the system's.
    pub async fn under(directory: Directory, config: Config, manual: Option<billing::Time>) -> Server {
        let (doors, address) = server::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{address}");
        let (operator_key, public_url) = (OPERATOR.to_owned(), url.clone());
        let start = Start { config, place: &directory.place(), manual, operator_key, public_url };
        let app = App::start(start).await.expect("a new database");
        tokio::spawn(server::serve(app.clone(), doors, std::future::pending()));
        Server { app, url, client: Client::new(), directory }
    }

    /// Waits for answers no longer than this.
    pub fn patience(&mut self, patience: std::time::Duration) {
        self.client = Client::builder().timeout(patience).build().expect("a client");
    }

    /// Sends a body as it is.
    pub async fn send(&self, key: &str, method: &str, path: &str, unique: &str, body: String) -> Got {
        let method: Method = method.parse().expect("a method");
        let mut request = self.client.request(method, format!("{}{path}", self.url)).body(body);
        if !key.is_empty() {
            request = request.bearer_auth(key);
        }
        if !unique.is_empty() {
            request = request.header("idempotency-key", unique);
        }
        let answer = request.send().await.expect("an answer");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.expect("text");
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Got { status, headers, body }
    }

    pub async fn post(&self, path: &str, unique: &str, body: Value) -> Got {
        self.send(OPERATOR, "POST", path, unique, body.to_string()).await
    }

    /// Sends a form as a browser does, and does not follow where it leads; answers the status.
    pub async fn form(&self, url: &str, body: String) -> u16 {
        let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
        let kind = "application/x-www-form-urlencoded";
        let request = client.post(url).header("content-type", kind).body(body);
        request.send().await.expect("an answer").status().as_u16()
    }

    pub async fn get(&self, path: &str) -> Got {
        self.send(OPERATOR, "GET", path, "", String::new()).await
    }

    pub async fn workspace(&self, name: &str) -> String {
        let made = self.post("/v1/workspaces", "", json!({ "name": name })).await.about_a_workspace(201);
        format!("/v1/workspaces/{}", made["id"].as_str().expect("an id"))
    }

    /// A workspace's key: its id and its secret.
    pub async fn key(&self, ws: &str) -> (String, String) {
        self.scoped_key(ws, "manage").await
    }

    /// A key that may do no more than this.
    pub async fn scoped_key(&self, ws: &str, scope: &str) -> (String, String) {
        let made =
            self.post(&format!("{ws}/keys"), "", json!({ "scope": scope })).await.about_a_workspace(201);
        let text = |name: &str| made[name].as_str().expect("text").to_owned();
        (text("id"), text("secret"))
    }

    pub async fn grant(&self, ws: &str, credits: i64) -> Value {
        let body = json!({ "credits": credits, "kind": "promo", "reason": "test" });
        self.post(&format!("{ws}/grants"), &format!("grant-{credits}"), body).await.about_a_workspace(201)
    }

    pub async fn advance(&self, seconds: i64) {
        let done = self.post("/v1/clock/advance", "", json!({ "seconds": seconds })).await;
        assert_eq!(done.status, 200, "{}", done.body);
    }

    /// Whatever was done, the ledger must prove it.
    pub fn audit(&self) {
        self.directory.prove("over HTTP");
    }

    /// The OpenAPI document's operations: method, path, and the operation.
    pub async fn operations(&self) -> (Value, Vec<(String, String, Value)>) {
        let document = self.get("/openapi.json").await.body;
        let mut operations = Vec::new();
        for (path, item) in document["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("an item") {
                operations.push((method.to_uppercase(), path.clone(), operation.clone()));
            }
        }
        (document, operations)
    }
}

fn work(quantity: impl Into<Value>) -> Value {
    json!({ "operation": "email_send", "quantity": quantity.into(), "campaign": "spring" })
}

#[tokio::test]
async fn a_key_answers_twice_with_one_charge() {
    let server = Server::open().await;
    let ws = server.workspace("One").await;
    server.grant(&ws, 100).await;
    for path in ["holds", "charges"] {
        let path = format!("{ws}/{path}");
        let first = server.post(&path, "key", work(2)).await;
        let again = server.post(&path, "key", work(2)).await;
        assert_eq!((first.status, again.status, &first.body), (201, 201, &again.body));
        assert_eq!(
            (first.header("idempotency-replayed"), again.header("idempotency-replayed")),
            (None, Some("true"))
        );
        server.post(&path, "key", work(3)).await.problem(422, "idempotency_key_reused");
        server.post(&path, "", work(3)).await.problem(400, "idempotency_key_required");
        for bad in [&"x".repeat(256), "with space", "\u{e9}"] {
            let got = server.post(&path, bad, work(1)).await;
            assert_eq!(got.status, 400, "{bad}");
        }
    }
    let hold = json!({ "do": "hold", "workspace": ws.rsplit('/').next(), "key": "key",
        "operation": "email_send", "quantity": 2, "campaign": "spring" });
    let settle =
        json!({ "do": "settle", "workspace": ws.rsplit('/').next(), "hold_key": "key", "quantity": 1 });
    let wrong = json!({ "do": "hold", "nonsense": 1 });
    let batch = server.post("/v1/batch", "", json!({ "commands": [hold, settle, wrong, 7] })).await;
    let statuses: Vec<_> =
        batch.body["results"].as_array().expect("results").iter().map(|one| one["status"].clone()).collect();
    assert_eq!(statuses, [201, 200, 422, 422].map(|status| json!(status)), "{}", batch.body);
    let many = vec![json!({}); 8_193];
    server.post("/v1/batch", "", json!({ "commands": many })).await.problem(422, "invalid_field");
    server.audit();
}

#[tokio::test]
async fn holds_end_by_themselves_and_settle_late() {
    let server = Server::open().await;
    let ws = server.workspace("One").await;
    server.grant(&ws, 1_000).await;
    let hold = server.post(&format!("{ws}/holds"), "a", work(4)).await.about_a_workspace(201);
    for field in ["id", "status", "operation", "quantity", "unit_price", "amount", "expires_at", "available"]
    {
        assert!(!hold[field].is_null(), "{field}");
    }
    let path = format!("/v1/holds/{}", hold["id"].as_str().expect("an id"));
    let act = |what: &str| format!("{path}/{what}");
    server.post(&act("settle"), "", json!({ "quantity": 5 })).await.problem(422, "settle_exceeds_hold");
    server.post(&act("dispatch"), "", json!({})).await.about_a_workspace(200);
    server.advance(901).await;
    let doubted = server.get(&path).await.about_a_workspace(200);
    assert_eq!(doubted["status"], "in_doubt");
    assert!(doubted["in_doubt_until"].is_string());
    server.advance(72 * 3_600).await;
    let released = server.get(&path).await.about_a_workspace(200);
    assert_eq!((&released["status"], &released["release_reason"]), (&json!("released"), &json!("deadline")));
    let late = server.post(&act("settle"), "", json!({ "quantity": 3 })).await.about_a_workspace(200);
    assert_eq!((&late["status"], &late["settled_quantity"]), (&json!("settled"), &json!(3)));
    let same = server.post(&act("settle"), "", json!({ "quantity": 3 })).await.about_a_workspace(200);
    assert_eq!(late, same);
    let other = server.post(&act("release"), "", json!({})).await;
    other.problem(409, "hold_not_open");
    assert_eq!(
        (&other.body["hold_status"], &other.body["hold"]["status"]),
        (&json!("settled"), &json!("settled"))
    );
    assert!(other.header("credits-available").is_some());
    let back = server.post(&act("refund"), "r", json!({ "quantity": 1, "reason": "no" })).await;
    back.about_a_workspace(200);
    let zero = server.post(&format!("{ws}/holds"), "b", work(1)).await.about_a_workspace(201);
    let zero = format!("/v1/holds/{}/settle", zero["id"].as_str().expect("an id"));
    let zero = server.post(&zero, "", json!({ "quantity": 0 })).await.about_a_workspace(200);
    assert_eq!((&zero["status"], &zero["release_reason"]), (&json!("released"), &json!("caller")));
    let poor = server.post(&format!("{ws}/holds"), "c", work(1_000_000)).await;
    poor.problem(402, "insufficient_credits");
    for fact in ["needed", "available", "shortfall"] {
        assert!(poor.body[fact].is_i64(), "{fact}");
    }
    assert!(poor.header("credits-available").is_some());
    usage_is_the_ledger(&server, &ws).await;
    server.audit();
}

async fn usage_is_the_ledger(server: &Server, ws: &str) {
    let entries = server.get(&format!("{ws}/entries?order=asc&after_seq=0")).await.about_a_workspace(200);
    let entries = entries["items"].as_array().expect("items").clone();
    let sum = |kind: &str| -> i64 {
        let of_kind = entries.iter().filter(|entry| kind.is_empty() || entry["kind"] == kind);
        of_kind.map(|entry| entry["amount"].as_i64().expect("an amount")).sum()
    };
    let balance = server.get(&format!("{ws}/balance")).await.about_a_workspace(200);
    assert_eq!(balance["balance"], json!(sum("")));
    assert!(sum("charge") < 0 && sum("refund") > 0, "{entries:?}");
    for interval in ["hour", "day", "week", "month"] {
        for group_by in ["operation", "campaign", "member", "channel"] {
            let path = format!("{ws}/usage?interval={interval}&group_by={group_by}");
            let usage = server.get(&path).await.about_a_workspace(200);
            assert_eq!(
                (&usage["total"], &usage["refunded"]),
                (&json!(-sum("charge")), &json!(sum("refund")))
            );
            let buckets = usage["buckets"].as_array().expect("buckets").iter();
            let total: i64 = buckets.map(|bucket| bucket["credits"].as_i64().expect("credits")).sum();
            assert_eq!(total, -sum("charge"), "{path}");
        }
    }
    for file in ["entries.csv", "usage.csv", "payments.csv", "grants.csv"] {
        server.get(&format!("{ws}/{file}")).await.about_a_workspace(200);
    }
    let first = server.get(&format!("{ws}/entries?limit=1")).await.about_a_workspace(200);
    let cursor = first["next_cursor"].as_str().expect("a cursor");
    let second = server.get(&format!("{ws}/entries?limit=1&cursor={cursor}")).await.about_a_workspace(200);
    assert!(second["items"][0]["seq"].as_i64() < first["items"][0]["seq"].as_i64());
}

#[tokio::test]
async fn topups_credit_once_and_need_payments() {
    let server = Server::open().await;
    let ws = server.workspace("One").await;
    let catalog = server.get("/v1/catalog").await.body;
    let (pack, credits) = (&catalog["packs"][0]["pack"], catalog["packs"][0]["credits"].as_i64());
    assert!(credits >= Some(1_000));
    let topups = format!("{ws}/topups");
    let topup = server.post(&topups, "t", json!({ "pack": pack })).await.about_a_workspace(201);
    assert!(topup["checkout_url"].is_string() && topup["status"] == "pending", "{topup}");
    let id = topup["id"].as_str().expect("an id");
    for _ in 0..2 {
        let paid = server.post(&format!("/v1/sandbox/topups/{id}"), "", json!({ "outcome": "paid" })).await;
        assert_eq!(paid.about_a_workspace(200)["status"], "paid");
    }
    let balance = server.get(&format!("{ws}/balance")).await.about_a_workspace(200);
    assert_eq!(balance["available"].as_i64(), credits);
    server.post(&format!("{ws}/charges"), "c", work(1)).await.about_a_workspace(201);
    let refund = format!("/v1/topups/{id}/refund");
    let refunded = server.post(&refund, "r", json!({ "reason": "asked" })).await.about_a_workspace(200);
    assert_eq!(refunded["status"], "refunded");
    let balance = server.get(&format!("{ws}/balance")).await.about_a_workspace(200);
    assert!(balance["debt"].as_i64() > Some(0) && balance["balance"].as_i64() < Some(0), "{balance}");
    server.audit();
    let free = Server::at(Directory::new("http"), None).await;
    let ws = free.workspace("One").await;
    let refused = free.post(&format!("{ws}/topups"), "t", json!({ "pack": pack })).await;
    refused.problem(503, "payments_not_configured");
}

#[tokio::test]
async fn workspaces_are_made_once() {
    let server = Server::open().await;
    let body = json!({ "name": "One", "external_id": "e1", "plan": "growth" });
    let first = server.post("/v1/workspaces", "", body.clone()).await.about_a_workspace(201);
    let again = server.post("/v1/workspaces", "", body).await.about_a_workspace(200);
    assert_eq!(first, again);
    let other = server.post("/v1/workspaces", "", json!({ "name": "Two", "external_id": "e1" })).await;
    assert_eq!(other.status, 409);
    let found = server.get("/v1/workspaces?external_id=e1").await.body;
    assert_eq!(found["items"][0]["id"], first["id"]);
    let ws = format!("/v1/workspaces/{}", first["id"].as_str().expect("an id"));
    for list in [
        "holds",
        "entries",
        "topups",
        "payments",
        "notifications",
        "leads",
        "campaigns",
        "keys",
        "searches",
        "blocklist",
    ] {
        server.get(&format!("{ws}/{list}")).await.about_a_workspace(200);
        if list != "keys" {
            let refused = server.get(&format!("{ws}/{list}?limit=501")).await;
            refused.problem(422, "invalid_field");
            assert_eq!(refused.body["field"], "limit");
            let unknown = server.get(&format!("{ws}/{list}?nonsense=1")).await;
            unknown.problem(422, "unknown_field");
            assert_eq!(unknown.body["field"], "nonsense");
        }
    }
    let alerts =
        json!({ "low": { "percent": 20 }, "critical": { "credits": 5 }, "emails": ["a@example.com"] });
    let put = server.send(OPERATOR, "PUT", &format!("{ws}/alerts"), "", alerts.to_string()).await;
    assert_eq!(put.about_a_workspace(200), alerts);
    let estimate = json!({ "items": [{ "operation": "email_send", "quantity": 2 }] });
    server.post(&format!("{ws}/estimates"), "", estimate).await.about_a_workspace(200);
}

#[tokio::test]
async fn the_edges_of_http_answer_in_the_callers_words() {
    let server = Server::open().await;
    let ws = server.workspace("One").await;
    server.send(OPERATOR, "PUT", "/v1/batch", "", String::new()).await.problem(405, "method_not_allowed");
    server.get("/v1/nothing").await.problem(404, "not_found");
    let page = server.get("/nothing").await;
    assert!(
        page.status == 404 && page.header("content-type").is_some_and(|kind| kind.starts_with("text/html"))
    );
    for id in ["%FF", "%00", "hold_1", &"x".repeat(5_000), "hold_%C3%A9", ".."] {
        let got = server.get(&format!("/v1/holds/{id}")).await;
        assert!(matches!(got.status, 404 | 405), "{id}: {}", got.status);
        assert_eq!(got.header("content-type"), Some("application/problem+json"), "{id}");
    }
    let holds = format!("{ws}/holds");
    let large = format!("{{\"operation\": \"{}\"}}", "x".repeat(5 * 1024 * 1024));
    server.send(OPERATOR, "POST", &holds, "k", large).await.problem(413, "body_too_large");
    server.send(OPERATOR, "POST", &holds, "k", "{".to_owned()).await.problem(400, "malformed_json");
    let twice = server.get(&format!("{ws}/holds?limit=1&limit=2")).await;
    assert_eq!((twice.status, &twice.body["field"]), (422, &json!("limit")));
    for quantity in ["0", "-1", "1.5", "\"2\"", "true", "null", "99999999999999999999"] {
        let body = format!("{{\"operation\": \"email_send\", \"quantity\": {quantity}}}");
        for path in ["holds", "charges"] {
            let got = server.send(OPERATOR, "POST", &format!("{ws}/{path}"), "q", body.clone()).await;
            assert_eq!((got.status, &got.body["field"]), (422, &json!("quantity")), "{quantity}");
        }
    }
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(server.send("", "GET", path, "", String::new()).await.status, StatusCode::OK.as_u16());
    }
}

/// The requests of a charge go past the router when their address is written plainly, and through it when it is not.
#[tokio::test]
async fn a_shortcut_answers_like_its_route() {
    let server = Server::open().await;
    let (ws, other) = (server.workspace("One").await, server.workspace("Two").await);
    server.grant(&ws, 8).await;
    let (_, secret) = server.key(&other).await;
    let work = json!({ "operation": "email_send", "quantity": 1 });
    let hold = server.post(&format!("{ws}/holds"), "h", work.clone()).await.about_a_workspace(201);
    let hold = format!("/v1/holds/{}", hold["id"].as_str().expect("an id"));
    let unknown = json!({ "operation": "email_send", "quantity": 1, "colour": "red" }).to_string();
    let bodies =
        ["", "{", "{}", "[1]", r#"{"quantity":1} x"#, &unknown, &work.to_string(), r#"{"quantity":1}"#];
    let actions = ["dispatch", "settle", "release"].map(|action| format!("{hold}/{action}"));
    for path in actions.into_iter().chain(["holds", "charges"].map(|kind| format!("{ws}/{kind}"))) {
        let escaped = path.replace("/hold_", "/%68old_").replace("/ws_", "/%77s_");
        for (key, unique) in [("", "k"), ("wrong", "k"), (&*secret, "k"), (OPERATOR, ""), (OPERATOR, "k")] {
            for body in bodies {
                let plain = server.send(key, "POST", &path, unique, body.to_owned()).await;
                let routed = server.send(key, "POST", &escaped, unique, body.to_owned()).await;
                let both = format!("{path} {unique} {body}: {} {}", plain.body, routed.body);
                assert_eq!((plain.status, &plain.body), (routed.status, &routed.body), "{both}");
                assert_eq!(plain.header("content-type"), routed.header("content-type"), "{both}");
            }
        }
    }
    server.audit();
}

#[tokio::test]
async fn the_stream_begins_with_the_balance_and_follows_it() {
    let server = Server::open().await;
    let ws = server.workspace("One").await;
    let stream = server.client.get(format!("{}{ws}/events", server.url)).bearer_auth(OPERATOR);
    let mut stream = stream.send().await.expect("an answer");
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    assert_eq!(stream.headers()["credits-available"], "0");
    let mut read = String::new();
    for expected in ["\"available\":0", "\"available\":7"] {
        while !read.contains(expected) {
            let chunk = tokio::time::timeout(std::time::Duration::from_secs(10), stream.chunk()).await;
            let chunk = chunk.expect("an event in time").expect("a chunk").expect("the stream goes on");
            read.push_str(&String::from_utf8_lossy(&chunk));
        }
        if expected.ends_with('0') {
            server.grant(&ws, 7).await;
        }
    }
    assert!(read.starts_with("event: balance\n"), "{read}");
}
