//! Sentences of the API's contract that hold for many routes at once: first answers, lists, streams, what is refused, the document.

use std::collections::HashSet;

use reqwest::Client;
use serde_json::{Value, json};

use crate::http::{OPERATOR, Server};

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("{name} in {value}")).to_owned()
}

#[tokio::test]
async fn a_refund_that_is_repeated_has_its_first_answer() {
    let server = Server::open().await;
    let ws = server.workspace("One").await;
    server.grant(&ws, 100).await;
    let work = json!({ "operation": "email_send", "quantity": 3 });
    let charged = server.post(&format!("{ws}/charges"), "c", work).await.about_a_workspace(201);
    let refund = format!("/v1/holds/{}/refund", text(&charged, "id"));
    let body = json!({ "quantity": 1, "reason": "test" });
    let first = server.post(&refund, "r1", body.clone()).await.about_a_workspace(200);
    assert_eq!((&first["refunded_quantity"], &first["available"]), (&json!(1), &json!(96)));
    server.post(&refund, "r2", body.clone()).await.about_a_workspace(200);
    server.grant(&ws, 7).await;
    let again = server.post(&refund, "r1", body).await;
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.header("credits-available"), Some("105"));
    assert_eq!(again.body, first);
    server.audit();
}

#[tokio::test]
async fn what_is_paid_becomes_credits_however_many_grants_there_are() {
    let server = Server::open().await;
    let ws = server.workspace("One").await;
    for grant in 0..500 {
        let body = json!({ "credits": 1, "kind": "promo", "reason": "test" });
        server.post(&format!("{ws}/grants"), &format!("g{grant}"), body).await.about_a_workspace(201);
    }
    let gift = json!({ "credits": 1, "kind": "goodwill", "reason": "test" });
    let refused = server.post(&format!("{ws}/grants"), "more", gift).await;
    refused.problem(429, "too_many_grants");
    assert_eq!(refused.header("credits-available"), Some("500"));
    let ordered = server.post(&format!("{ws}/topups"), "t", json!({ "pack": "pack_1000" })).await;
    let topup = text(&ordered.about_a_workspace(201), "id");
    let paid = json!({ "outcome": "paid" });
    server.post(&format!("/v1/sandbox/topups/{topup}"), "", paid).await.about_a_workspace(200);
    let topup = server.get(&format!("/v1/topups/{topup}")).await.about_a_workspace(200);
    assert_eq!(topup["status"], "paid");
    let balance = server.get(&format!("{ws}/balance")).await.about_a_workspace(200);
    assert!(balance["available"].as_i64() >= Some(1_500), "{balance}");
    let plan = json!({ "plan": "starter" });
    server
        .send(OPERATOR, "PUT", &format!("{ws}/subscription"), "p", plan.to_string())
        .await
        .about_a_workspace(200);
    let with_plan = server.get(&format!("{ws}/balance")).await.about_a_workspace(200);
    assert!(with_plan["available"].as_i64() > balance["available"].as_i64(), "{with_plan}");
    server.audit();
}

#[tokio::test]
async fn lists_are_read_page_by_page_and_lose_nothing() {
    let server = Server::open().await;
    let ws = server.workspace("One").await;
    let mut keys = HashSet::new();
    for _ in 0..5 {
        keys.insert(server.key(&ws).await.0);
    }
    for hook in 0..3 {
        let body = json!({ "url": format!("https://example.com/{hook}"), "events": [], "description": "" });
        server.post(&format!("{ws}/webhook_endpoints"), "", body).await.about_a_workspace(201);
    }
    let leads: Vec<Value> = (1..=5)
        .map(|lead| json!({ "name": format!("Lead {lead:04}"), "email": format!("lead{lead}@example.com") }))
        .collect();
    server.post(&format!("{ws}/leads"), "", json!({ "leads": leads })).await.about_a_workspace(200);
    let leads = server.get(&format!("{ws}/leads")).await.about_a_workspace(200);
    let ids: Vec<String> =
        leads["items"].as_array().expect("leads").iter().map(|lead| text(lead, "id")).collect();
    let steps = json!([{ "channel": "email", "after_days": 0, "template": "Hello" }]);
    let campaign = json!({ "name": "Campaign 0001", "steps": steps });
    let campaign = server.post(&format!("{ws}/campaigns"), "", campaign).await.about_a_workspace(201);
    let members = format!("/v1/campaigns/{}/leads", text(&campaign, "id"));
    server.post(&members, "", json!({ "leads": ids })).await.about_a_workspace(200);
    for (list, count) in
        [(format!("{ws}/keys"), 5), (format!("{ws}/webhook_endpoints"), 3), (members.clone(), 5)]
    {
        let (mut seen, mut cursor, mut pages) = (HashSet::new(), String::new(), 0);
        loop {
            let page = server.get(&format!("{list}?limit=2{cursor}")).await.about_a_workspace(200);
            let items = page["items"].as_array().expect("items");
            assert!(items.len() <= 2, "{page}");
            seen.extend(items.iter().map(|item| {
                item["lead"].as_str().unwrap_or_else(|| item["id"].as_str().expect("an id")).to_owned()
            }));
            pages += 1;
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!((seen.len(), pages), (count, usize::div_ceil(count, 2)), "{list}");
        for (query, field) in [("limit=501", "limit"), ("cursor=x", "cursor"), ("x=1", "x")] {
            let refused = server.get(&format!("{list}?{query}")).await;
            assert_eq!((refused.status, &refused.body["field"]), (422, &json!(field)), "{list}?{query}");
        }
    }
    let listed = server.get(&members).await.about_a_workspace(200);
    let order: Vec<String> =
        listed["items"].as_array().expect("leads").iter().map(|it| text(it, "lead")).collect();
    assert_eq!(order, ids, "newest first, as all leads are listed");
}

#[tokio::test]
async fn the_stream_of_a_key_ends_with_the_key() {
    let server = Server::open().await;
    let ws = server.workspace("One").await;
    let (id, secret) = server.scoped_key(&ws, "read").await;
    let stream = Client::new().get(format!("{}{ws}/events", server.url)).bearer_auth(&secret);
    let mut stream = stream.send().await.expect("an answer");
    assert_eq!(stream.status(), 200);
    stream.chunk().await.expect("a chunk").expect("the balance");
    server.send(OPERATOR, "DELETE", &format!("{ws}/keys/{id}"), "", String::new()).await;
    server.grant(&ws, 4321).await;
    let mut read = String::new();
    let rest = async {
        while let Ok(Some(chunk)) = stream.chunk().await {
            read.push_str(&String::from_utf8_lossy(&chunk));
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), rest).await.expect("the stream ends");
    assert!(!read.contains("4321"), "{read}");
}

#[tokio::test]
async fn nothing_that_is_asked_is_passed_over() {
    let server = Server::open().await;
    let ws = server.workspace("One").await;
    server.grant(&ws, 100).await;
    for path in ["balance", "subscription", "alerts", "budgets", "grants.csv", "payments.csv", "auto_topup"] {
        let refused = server.get(&format!("{ws}/{path}?x=1")).await;
        refused.problem(422, "unknown_field");
        assert_eq!(refused.body["field"], "x", "{path}");
        server.get(&format!("{ws}/{path}?")).await.about_a_workspace(200);
    }
    server.get("/v1/catalog?x").await.problem(422, "unknown_field");
    let work = json!({ "operation": "email_send", "quantity": 1 });
    let hold = server.post(&format!("{ws}/holds?x=1"), "h", work.clone()).await;
    hold.problem(422, "unknown_field");
    let hold = server.post(&format!("{ws}/holds"), "h", work).await.about_a_workspace(201);
    for end in ["dispatch", "release"] {
        let path = format!("/v1/holds/{}/{end}", text(&hold, "id"));
        let refused = server.post(&path, "", json!({ "colour": "red" })).await;
        refused.problem(422, "unknown_field");
        assert_eq!(refused.body["field"], "colour", "{end}");
        server.send(OPERATOR, "POST", &path, "", "{{".to_owned()).await.problem(400, "malformed_json");
        server.post(&path, "", json!({})).await.about_a_workspace(200);
    }
    let lists = [
        ("PUT", "budgets", json!({ "budgets": [["workspace", null, "day", 500]] }), "budgets[0]"),
        ("POST", "estimates", json!({ "items": [["email_send", 1]] }), "items[0]"),
        ("PUT", "alerts", json!({ "low": [20, null], "critical": { "credits": 5 } }), "low"),
        ("POST", "campaigns", json!({ "name": "Campaign 0001", "steps": [["email", 0]] }), "steps[0]"),
    ];
    for (method, path, body, field) in lists {
        let refused = server.send(OPERATOR, method, &format!("{ws}/{path}"), "", body.to_string()).await;
        assert_eq!(
            (refused.status, &refused.body["field"]),
            (422, &json!(field)),
            "{path}: {}",
            refused.body
        );
    }
    let name = ws.trim_start_matches("/v1/workspaces/");
    let lists = json!({ "commands": [["charge", name, "k", null, null, "email_send", 1]] });
    let refused = server.post("/v1/batch", "", lists).await;
    assert_eq!(refused.body["results"][0]["status"], 422, "{}", refused.body);
    let ends = json!({ "commands": [
        { "do": "hold", "workspace": name, "key": "b", "operation": "email_send", "quantity": 1 },
        { "do": "settle", "workspace": name, "key": "c", "hold_key": "b", "quantity": 1 },
        { "do": "settle", "workspace": name, "key": "", "hold_key": "b", "quantity": 1 },
    ] });
    let ended = server.post("/v1/batch", "", ends).await;
    let statuses: Vec<&Value> = (0..3).map(|index| &ended.body["results"][index]["status"]).collect();
    assert_eq!(statuses, [201, 200, 400], "{}", ended.body);
    server
        .send(OPERATOR, "POST", "/openapi.json", "", String::new())
        .await
        .problem(405, "method_not_allowed");
}

#[tokio::test]
async fn what_is_left_is_told_to_whoever_may_see_it() {
    let server = Server::open().await;
    let (ws, other) = (server.workspace("One").await, server.workspace("Two").await);
    server.grant(&ws, 100).await;
    let ((_, own), (_, foreign)) = (server.key(&ws).await, server.key(&other).await);
    let holds = format!("{ws}/holds");
    let wrong = json!({ "operation": "email_send", "quantity": 0 }).to_string();
    for (key, unique, status, told) in [
        (OPERATOR, "k", 422, Some("100")),
        (&own, "k", 422, Some("100")),
        (&own, "", 400, Some("100")),
        (&foreign, "k", 404, None),
        ("wrong", "k", 401, None),
    ] {
        let refused = server.send(key, "POST", &holds, unique, wrong.clone()).await;
        assert_eq!((refused.status, refused.header("credits-available")), (status, told), "{}", refused.body);
    }
    let query = server.send(&foreign, "GET", &format!("{ws}/balance?x=1"), "", String::new()).await;
    assert_eq!((query.status, query.header("credits-available")), (422, None));
}

#[tokio::test]
async fn a_shortfall_is_what_must_come_in() {
    let server = Server::open().await;
    let ws = server.workspace("One").await;
    let down = json!({ "credits": -30, "reason": "test" });
    server.post(&format!("{ws}/adjustments"), "down", down).await.about_a_workspace(201);
    let work = json!({ "operation": "email_send", "quantity": 3 });
    let refused = server.post(&format!("{ws}/holds"), "h", work.clone()).await;
    refused.problem(402, "insufficient_credits");
    let estimate = json!({ "items": [work.clone()] });
    let estimate = server.post(&format!("{ws}/estimates"), "", estimate).await.about_a_workspace(200);
    for answer in [&refused.body, &estimate] {
        assert_eq!((&answer["available"], &answer["shortfall"]), (&json!(0), &json!(36)));
    }
    server.grant(&ws, 36).await;
    server.post(&format!("{ws}/holds"), "h", work).await.about_a_workspace(201);
    let much = json!({ "credits": -1_000_000_000_000_001_i64, "reason": "test" });
    let refused = server.post(&format!("{ws}/adjustments"), "much", much).await;
    assert_eq!((refused.status, &refused.body["field"]), (422, &json!("credits")));
    server.audit();
}

#[tokio::test]
async fn a_plan_that_ends_promises_no_credits() {
    let server = Server::open().await;
    let body = json!({ "name": "One", "plan": "starter" });
    let made = server.post("/v1/workspaces", "", body).await.about_a_workspace(201);
    let ws = format!("/v1/workspaces/{}", text(&made, "id"));
    let places = [ws.clone(), format!("{ws}/subscription"), format!("{ws}/balance")];
    for place in &places {
        assert!(server.get(place).await.about_a_workspace(200)["renews_at"].is_string(), "{place}");
    }
    server.post(&format!("{ws}/subscription/cancel"), "c", json!({})).await.about_a_workspace(200);
    for place in &places {
        assert_eq!(server.get(place).await.about_a_workspace(200)["renews_at"], Value::Null, "{place}");
    }
    let listed = server.get("/v1/workspaces").await.body;
    assert_eq!(listed["items"][0]["renews_at"], Value::Null);
}

#[tokio::test]
async fn each_operation_of_the_document_has_a_name_of_its_own() {
    let server = Server::open().await;
    let document = server.get("/openapi.json").await.body;
    let mut names = HashSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let name = text(operation, "operationId");
            assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{name}");
            assert!(names.insert(name.clone()), "{method} {path}: {name}");
        }
    }
    assert!(names.len() > 90, "{}", names.len());
}
