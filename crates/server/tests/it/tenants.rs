//! Nobody reaches what is not theirs: every route of the OpenAPI document against every kind of caller.

use std::collections::HashSet;

use scrip::id;
use serde_json::{Value, json};

use crate::http::{OPERATOR, Server};

/// Every route, the least that a workspace's key needs for it, and a body that it takes. A route that is missing here fails the test.
const ROUTES: &str = r#"
GET /healthz open
GET /readyz open
GET /metrics open
GET /v1/catalog read
POST /v1/clock/advance operator {"seconds": 0}
GET /v1/margin operator
POST /v1/payments/stripe/events open
POST /v1/workspaces operator {"name": "x"}
GET /v1/workspaces read
GET /v1/workspaces/{ws} read
PATCH /v1/workspaces/{ws} operator {"name": "x"}
POST /v1/workspaces/{ws}/keys operator {}
GET /v1/workspaces/{ws}/keys operator
DELETE /v1/workspaces/{ws}/keys/{key} operator
GET /v1/workspaces/{ws}/balance read
GET /v1/workspaces/{ws}/events read
POST /v1/workspaces/{ws}/estimates read {"items": [{"operation": "email_send", "quantity": 1}]}
POST /v1/workspaces/{ws}/grants operator {"credits": 1, "kind": "promo", "reason": "x"}
POST /v1/grants/{id}/revoke operator {"reason": "x"}
POST /v1/workspaces/{ws}/adjustments operator {"credits": 1, "reason": "x"}
POST /v1/workspaces/{ws}/holds charge {"operation": "email_send", "quantity": 1}
GET /v1/workspaces/{ws}/holds read
GET /v1/holds/{id} read
POST /v1/holds/{id}/dispatch charge
POST /v1/holds/{id}/extend charge {"seconds": 60}
POST /v1/holds/{id}/settle charge {"quantity": 1}
POST /v1/holds/{id}/release charge
POST /v1/holds/{id}/resolve operator {"outcome": "settled", "reason": "x"}
POST /v1/holds/{id}/refund operator {"reason": "x"}
POST /v1/workspaces/{ws}/charges charge {"operation": "email_send", "quantity": 1}
POST /v1/batch charge {"commands": [{"do": "release", "workspace": "{ws}", "hold_key": "x"}]}
GET /v1/workspaces/{ws}/entries read
GET /v1/workspaces/{ws}/entries.csv read
GET /v1/workspaces/{ws}/usage read
GET /v1/workspaces/{ws}/usage.csv read
GET /v1/workspaces/{ws}/notifications read
POST /v1/notifications/{id}/read manage
GET /v1/workspaces/{ws}/alerts read
PUT /v1/workspaces/{ws}/alerts manage {"low": {"percent": 20}, "critical": {"percent": 5}}
GET /v1/workspaces/{ws}/strategy read
PUT /v1/workspaces/{ws}/strategy manage {"tone": "calm"}
POST /v1/workspaces/{ws}/topups manage {"pack": "x"}
GET /v1/workspaces/{ws}/topups read
GET /v1/topups/{id} read
POST /v1/topups/{id}/refund operator {"reason": "x"}
POST /v1/sandbox/topups/{id} operator {"outcome": "paid"}
GET /v1/workspaces/{ws}/payments read
GET /v1/workspaces/{ws}/payments.csv read
GET /v1/workspaces/{ws}/grants.csv read
GET /v1/workspaces/{ws}/budgets read
PUT /v1/workspaces/{ws}/budgets manage {"budgets": []}
GET /v1/workspaces/{ws}/auto_topup read
PUT /v1/workspaces/{ws}/auto_topup manage {"enabled": false, "below": 1, "pack": "x", "max_per_period": 1}
GET /v1/workspaces/{ws}/subscription read
PUT /v1/workspaces/{ws}/subscription manage {"plan": "x"}
POST /v1/workspaces/{ws}/subscription/preview read {"plan": "x"}
POST /v1/workspaces/{ws}/subscription/cancel manage
POST /v1/workspaces/{ws}/subscription/resume manage
POST /v1/workspaces/{ws}/portal_sessions manage {"role": "member"}
POST /v1/workspaces/{ws}/embed_tokens manage {"origins": ["https://example.com"]}
GET /v1/workspaces/{ws}/embed_tokens read
DELETE /v1/workspaces/{ws}/embed_tokens/{token} manage
POST /v1/workspaces/{ws}/webhook_endpoints manage {"url": "https://example.com/hook"}
GET /v1/workspaces/{ws}/webhook_endpoints read
GET /v1/workspaces/{ws}/webhook_endpoints/{endpoint} read
PATCH /v1/workspaces/{ws}/webhook_endpoints/{endpoint} manage {"enabled": false}
DELETE /v1/workspaces/{ws}/webhook_endpoints/{endpoint} manage
POST /v1/workspaces/{ws}/webhook_endpoints/{endpoint}/rotate manage
GET /v1/workspaces/{ws}/webhook_endpoints/{endpoint}/deliveries read
POST /v1/workspaces/{ws}/webhook_endpoints/{endpoint}/deliveries/{event}/retry manage
POST /v1/workspaces/{ws}/leads manage {"leads": []}
GET /v1/workspaces/{ws}/leads read
GET /v1/leads/{id} read
POST /v1/leads/{id}/replied manage
GET /v1/leads/{id}/calls read
GET /v1/workspaces/{ws}/blocklist read
POST /v1/workspaces/{ws}/blocklist manage {"entries": ["a@example.com"]}
DELETE /v1/workspaces/{ws}/blocklist manage {"entries": ["a@example.com"]}
POST /v1/workspaces/{ws}/searches/preview manage {"query": {}}
POST /v1/workspaces/{ws}/searches manage {"query": {}, "limit": 1}
GET /v1/workspaces/{ws}/searches read
GET /v1/searches/{id} read
POST /v1/searches/{id}/cancel manage
POST /v1/searches/{id}/resume manage
POST /v1/workspaces/{ws}/enrichments manage {"leads": ["x"], "fields": ["contact"]}
GET /v1/workspaces/{ws}/enrichments read
GET /v1/enrichments/{id} read
POST /v1/enrichments/{id}/cancel manage
POST /v1/enrichments/{id}/resume manage
POST /v1/workspaces/{ws}/messages manage {"lead": "x", "campaign": "x", "step": 0}
GET /v1/workspaces/{ws}/messages read
GET /v1/messages/{id} read
POST /v1/messages/{id}/regenerate manage
POST /v1/messages/{id}/approve manage
PATCH /v1/messages/{id} manage {"text": "x"}
POST /v1/workspaces/{ws}/senders manage {"kind": "email", "from": "a@example.com", "daily_limit": 1}
GET /v1/workspaces/{ws}/senders read
PATCH /v1/workspaces/{ws}/senders/{sender} manage {"daily_limit": 1}
POST /v1/workspaces/{ws}/campaigns manage {"name": "x", "steps": []}
GET /v1/workspaces/{ws}/campaigns read
GET /v1/campaigns/{id} read
PATCH /v1/campaigns/{id} manage {"name": "x"}
POST /v1/campaigns/{id}/leads manage {"leads": ["x"]}
GET /v1/campaigns/{id}/leads read
POST /v1/campaigns/{id}/launch manage
POST /v1/campaigns/{id}/pause manage
POST /v1/campaigns/{id}/resume manage
"#;

#[derive(Clone)]
struct Route {
    method: &'static str,
    path: &'static str,
    access: &'static str,
    body: &'static str,
}

fn routes() -> Vec<Route> {
    let parse = |line: &'static str| {
        let mut parts = line.splitn(4, ' ');
        let mut next = || parts.next().unwrap_or_default();
        Route { method: next(), path: next(), access: next(), body: next() }
    };
    ROUTES.lines().filter(|line| !line.is_empty()).map(parse).collect()
}

impl Route {
    /// This route about a thing of a workspace.
    fn at(&self, ws: i64, number: i64) -> (String, String) {
        let prefix = match self.path.trim_start_matches("/v1/").trim_start_matches("sandbox/") {
            path if path.starts_with("grants") => "grant",
            path if path.starts_with("holds") => "hold",
            path if path.starts_with("notifications") => "ntf",
            path if path.starts_with("topups") => "topup",
            path if path.starts_with("leads") => "lead",
            path if path.starts_with("messages") => "msg",
            path if path.starts_with("campaigns") => "camp",
            _ => "job",
        };
        let (name, thing) = (id::workspace(ws), id::inside(prefix, ws, number));
        let path = self.path.replace("{ws}", &name).replace("{id}", &thing);
        let path = path.replace("{endpoint}", &id::inside("whe", ws, number));
        let path = path.replace("{token}", &id::inside("emb", ws, number));
        let path = path.replace("{event}", &id::inside("evt", ws, number));
        let path = path.replace("{sender}", &id::inside("sender", ws, number));
        (path.replace("{key}", &id::inside("key", ws, number)), self.body.replace("{ws}", &name))
    }

    async fn call(&self, server: &Server, key: &str, ws: i64, number: i64) -> (u16, Value) {
        let (path, body) = self.at(ws, number);
        let got = server.send(key, self.method, &path, "matrix", body).await;
        (got.status, got.body)
    }
}

/// What keys may do, the least first.
const SCOPES: [&str; 3] = ["read", "charge", "manage"];

impl Route {
    /// Each key is let in or refused by its scope, and learns nothing of others either way.
    async fn knows_scopes(&self, server: &Server, keys: &[String], mine: i64, theirs: i64) {
        let name = format!("{} {}", self.method, self.path);
        let needed = SCOPES.iter().position(|scope| *scope == self.access);
        for (scope, key) in keys.iter().enumerate() {
            let (status, body) = self.call(server, key, mine, 9).await;
            assert!(status < 500 || status == 503, "{name}: {status}");
            let beyond = needed.filter(|needed| scope < *needed);
            let refused = needed.is_none() || beyond.is_some();
            assert_eq!(status == 403, refused, "{name} by {}: {status} {body}", SCOPES[scope]);
            if let Some(needed) = beyond {
                assert_eq!(
                    (&body["code"], &body["needed_scope"]),
                    (&json!("forbidden"), &json!(SCOPES[needed]))
                );
                let foreign = self.call(server, key, theirs, 1).await;
                assert_eq!(foreign, self.call(server, key, theirs + 1_000, 1).await, "{name}");
                assert!(matches!(foreign.0, 403 | 404), "{name}: {}", foreign.1);
            }
        }
    }
}

#[tokio::test]
async fn every_route_knows_its_callers() {
    let server = Server::open().await;
    let (mine, theirs) = (server.workspace("Mine").await, server.workspace("Theirs").await);
    let number = |path: &str| id::parse_workspace(path.rsplit('/').next().expect("an id")).expect("an id");
    let (mine_id, theirs_id) = (number(&mine), number(&theirs));
    server.grant(&theirs, 100).await;
    let work = json!({ "operation": "email_send", "quantity": 1 });
    assert_eq!(server.post(&format!("{theirs}/holds"), "h", work).await.status, 201);
    let mut keys = Vec::new();
    for scope in SCOPES {
        keys.push(server.scoped_key(&mine, scope).await.1);
    }
    let own = &keys[2];
    let (revoked_id, revoked) = server.key(&mine).await;
    let revoke = format!("{mine}/keys/{revoked_id}");
    assert_eq!(server.send(OPERATOR, "DELETE", &revoke, "", String::new()).await.status, 204);
    let before = server.get(&format!("{theirs}/balance")).await.body;
    for route in routes().into_iter().filter(|route| route.access != "open") {
        let name = format!("{} {}", route.method, route.path);
        for stranger in ["", "nonsense", &revoked] {
            assert_eq!(route.call(&server, stranger, mine_id, 1).await.0, 401, "{name} by a stranger");
        }
        if route.path.contains('{') {
            let foreign = route.call(&server, own, theirs_id, 1).await;
            assert_eq!(foreign, route.call(&server, own, theirs_id + 1_000, 1).await, "{name}");
            let by_id = !route.path.contains("{ws}") && route.access == "operator";
            assert_eq!(foreign.0, if by_id { 403 } else { 404 }, "{name}: {}", foreign.1);
        }
        // The live stream does not end, so its answer is not waited for.
        if !route.path.ends_with("/events") {
            route.knows_scopes(&server, &keys, mine_id, theirs_id).await;
        }
    }
    let batch = json!({ "commands": [{ "do": "settle", "workspace": id::workspace(theirs_id),
        "hold_key": "h", "quantity": 1 }] });
    let got = server.send(own, "POST", "/v1/batch", "", batch.to_string()).await;
    assert_eq!(got.body["results"][0]["status"], 404);
    assert_eq!(server.get(&format!("{theirs}/balance")).await.body, before);
    let seen = server.send(own, "GET", "/v1/workspaces", "", String::new()).await.body;
    assert_eq!(seen["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn the_document_and_the_matrix_name_the_same_routes() {
    let server = Server::open().await;
    let (document, operations) = server.operations().await;
    let documented: HashSet<String> =
        operations.iter().map(|(method, path, _)| format!("{method} {path}")).collect();
    let covered: HashSet<String> =
        routes().iter().map(|route| format!("{} {}", route.method, route.path)).collect();
    assert_eq!(documented.symmetric_difference(&covered).collect::<Vec<_>>(), Vec::<&String>::new());
    let mut references = Vec::new();
    find_references(&document, &mut references);
    for reference in references {
        assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
    }
    // Two handlers with one request body would be two types under one name.
    let mut bodies = HashSet::new();
    for (method, path, operation) in &operations {
        assert!(operation["responses"]["default"].is_object(), "{method} {path}");
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
        if let Some(schema) = schema.as_str() {
            let shared = ["NewHold", "BlocklistEntries"].iter().any(|name| schema.ends_with(name));
            assert!(bodies.insert(schema.to_owned()) || shared, "{method} {path} shares {schema}");
        }
    }
}

fn find_references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|value| find_references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| find_references(value, found)),
        _ => {}
    }
}
