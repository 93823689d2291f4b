//! Where events may not go, and what an endpoint may not be.

use serde_json::{Value, json};

use super::{Receiver, charge, endpoint, server};
use crate::http::{OPERATOR, Server};
use crate::temp::Directory;

#[tokio::test]
async fn private_addresses_are_refused_in_every_spelling() {
    let server = Server::open().await;
    let ws = server.workspace("One").await;
    let path = format!("{ws}/webhook_endpoints");
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "10.0.0.1",
        "192.168.1.1:8080",
        "169.254.169.254",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[fd00:ec2::254]",
        "[64:ff9b::7f00:1]",
        "%31%32%37.0.0.1",
        "1\u{ff12}7.0.0.1",
    ] {
        let got = server.post(&path, "", json!({ "url": format!("http://{host}/hook") })).await;
        got.problem(422, "invalid_field");
        assert_eq!(got.body["field"], "url", "{host}");
    }
    for url in [
        "",
        "x",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/",
        "http://",
        "javascript:alert(1)",
        "https://user:pass@example.com/",
        "//example.com",
    ] {
        let got = server.post(&path, "", json!({ "url": url })).await;
        got.problem(422, "invalid_field");
        assert_eq!(got.body["field"], "url", "{url}");
    }
    assert_eq!(server.get(&path).await.body["items"], json!([]));
}

#[tokio::test]
async fn a_name_that_leads_to_this_machine_is_not_connected_to() {
    let server = Server::at(Directory::new("webhooks"), None).await;
    let (ws, canary) = (server.workspace("One").await, Receiver::start().await);
    let url = canary.url.replace("127.0.0.1", "localhost");
    let (path, _) = endpoint(&server, &ws, &url, json!([])).await;
    server.grant(&ws, 10).await;
    charge(&server, &ws, "a", 5).await;
    server.advance(0).await;
    let log = server.get(&format!("{path}/deliveries")).await.about_a_workspace(200);
    assert_eq!(log["items"][0]["detail"], "not sent: the address is not public", "{log}");
    assert!(canary.take().is_empty(), "nothing was sent");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let server = server().await;
    let (ws, receiver, canary) =
        (server.workspace("One").await, Receiver::start().await, Receiver::start().await);
    let (path, _) = endpoint(&server, &ws, &receiver.url, json!([])).await;
    for status in [301, 302, 303, 307, 308] {
        receiver.answers.lock().expect("no panic").push_back((status, canary.url.clone()));
    }
    server.grant(&ws, 10).await;
    charge(&server, &ws, "a", 5).await;
    server.advance(3 * 3_600).await;
    assert!(canary.take().is_empty(), "nothing was sent");
    assert!(receiver.take().len() >= 4);
    let log = server.get(&format!("{path}/deliveries")).await.about_a_workspace(200);
    assert_eq!(log["items"][0]["detail"], "redirects are not followed", "{log}");
}

#[tokio::test]
async fn bad_input_names_the_field_and_leaves_nothing() {
    let server = server().await;
    let ws = server.workspace("One").await;
    let path = format!("{ws}/webhook_endpoints");
    let url = "https://example.com/hook";
    let cases = [
        (json!({}), "url"),
        (json!({ "url": 7 }), "url"),
        (json!({ "url": url, "events": ["credits.none"] }), "events[0]"),
        (json!({ "url": url, "events": ["credits.low", "CREDITS.LOW"] }), "events[1]"),
        (json!({ "url": url, "events": "credits.low" }), "events"),
        (json!({ "url": url, "description": "x".repeat(201) }), "description"),
        (json!({ "url": url, "description": "\u{7}" }), "description"),
        (json!({ "url": url, "secret": "whsec_mine" }), "secret"),
        (json!({ "url": format!("https://example.com/{}", "x".repeat(2_000)) }), "url"),
    ];
    for (body, field) in cases {
        let got = server.post(&path, "", body.clone()).await;
        assert_eq!((got.status, got.body["field"].as_str()), (422, Some(field)), "{body}: {}", got.body);
    }
    assert_eq!(server.get(&path).await.body["items"], json!([]));
    let (one, _) = endpoint(&server, &ws, url, json!([])).await;
    let change = |body: Value| server.send(OPERATOR, "PATCH", &one, "", body.to_string());
    for (body, field) in [
        (json!({ "url": "http://10.0.0.1/" }), "url"),
        (json!({ "events": ["x"] }), "events[0]"),
        (json!({ "enabled": "yes" }), "enabled"),
        (json!({ "id": "whe_1" }), "id"),
    ] {
        let got = change(body.clone()).await;
        assert_eq!((got.status, got.body["field"].as_str()), (422, Some(field)), "{body}: {}", got.body);
    }
    for _ in 1..20 {
        endpoint(&server, &ws, url, json!([])).await;
    }
    server.post(&path, "", json!({ "url": url })).await.problem(409, "too_many_webhook_endpoints");
    for query in ["limit=0", "limit=501", "cursor=x", "status=lost", "x=1"] {
        let got = server.get(&format!("{one}/deliveries?{query}")).await;
        assert_eq!(got.status, 422, "{query}");
    }
}

#[tokio::test]
async fn what_is_secret_in_an_address_stays_out_of_the_logbook() {
    let server = Server::at(Directory::new("webhooks"), None).await;
    let ws = server.workspace("One").await;
    let url = |secret: &str| format!("https://hooks.example.com/in/7?token={secret}#{secret}");
    let (path, _) = endpoint(&server, &ws, &url("s3cret-one"), json!([])).await;
    assert_eq!(server.get(&path).await.body["url"], url("s3cret-one"), "who may change it sees it");
    let change = json!({ "url": url("s3cret-two"), "enabled": false }).to_string();
    assert_eq!(server.send(OPERATOR, "PATCH", &path, "", change).await.status, 200);
    assert_eq!(server.send(OPERATOR, "DELETE", &path, "", String::new()).await.status, 204);
    let id = scrip::id::parse_workspace(ws.rsplit('/').next().expect("an id"));
    let lines = server.app.store.logbook(id, None, 10).await.expect("a logbook");
    assert_eq!(lines.len(), 3);
    let told = format!("{lines:?}");
    assert!(!told.contains("s3cret"), "{told}");
    assert!(told.contains("https://hooks.example.com/in/7?…, off, all events"), "{told}");
}
