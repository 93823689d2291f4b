//! A balance in a host product's own pages: what its token shows, to whom, and for how long.

use std::time::Duration;

use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

use crate::http::{OPERATOR, Server};

const SITE: &str = "https://app.example.com";

struct Token {
    id: String,
    token: String,
    chip: String,
    events: String,
}

async fn token(server: &Server, ws: &str, body: Value) -> Token {
    let made = server.post(&format!("{ws}/embed_tokens"), "", body).await.about_a_workspace(201);
    let text = |name: &str| made[name].as_str().expect("text").to_owned();
    assert!(text("expires_at").as_str() > "2027" && made["origins"].is_array(), "{made}");
    assert!(text("script_url").starts_with(&server.url));
    Token { id: text("id"), token: text("token"), chip: text("chip_url"), events: text("events_url") }
}

/// Asks as a page of a site does; without one, as a program.
async fn ask(url: &str, site: Option<&str>) -> Response {
    let client = Client::builder().timeout(Duration::from_secs(20)).build().expect("a client");
    let request = client.get(url);
    let request = if let Some(site) = site { request.header("origin", site) } else { request };
    request.send().await.expect("an answer")
}

fn header<'a>(answer: &'a Response, name: &str) -> Option<&'a str> {
    answer.headers().get(name).and_then(|value| value.to_str().ok())
}

/// The next balance of a stream; `None` when the stream is over.
async fn balance(stream: &mut Response) -> Option<Value> {
    let mut text = String::new();
    while let Some(chunk) = stream.chunk().await.expect("a stream") {
        text.push_str(&String::from_utf8_lossy(&chunk));
        let data = text.lines().find_map(|line| line.strip_prefix("data: "));
        if let Some(data) = data.filter(|_| text.ends_with("\n\n")) {
            return Some(serde_json::from_str(data).expect("JSON"));
        }
    }
    None
}

#[tokio::test]
async fn a_token_shows_one_balance_to_the_sites_it_names() {
    let server = Server::open().await;
    let (ws, other) = (server.workspace("One").await, server.workspace("Two").await);
    server.grant(&ws, 100).await;
    let Token { token, events, .. } =
        token(&server, &ws, json!({ "origins": [SITE, "HTTPS://APP.example.com:443/"] })).await;
    let mut stream = ask(&events, Some(SITE)).await;
    assert_eq!(stream.status(), StatusCode::OK);
    assert_eq!(header(&stream, "access-control-allow-origin"), Some(SITE));
    assert_eq!(header(&stream, "vary"), Some("origin"));
    assert_eq!(balance(&mut stream).await.expect("at once")["available"], 100);
    crate::webhooks::charge(&server, &ws, "a", 45).await;
    let changed = balance(&mut stream).await.expect("a change");
    assert_eq!((&changed["available"], &changed["state"]), (&json!(10), &json!("low")));

    assert_eq!(ask(&events, None).await.status(), StatusCode::OK);
    for site in
        ["https://example.com", "http://app.example.com", "https://app.example.com.evil.example", "null"]
    {
        let refused = ask(&events, Some(site)).await;
        assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{site}");
        assert_eq!(header(&refused, "access-control-allow-origin"), None, "{site}");
    }
    let once = ask(&format!("{}{ws}/balance?token={token}", server.url), Some(SITE)).await;
    assert_eq!((once.status(), header(&once, "access-control-allow-origin")), (StatusCode::OK, Some(SITE)));
    let theirs = format!("{}{other}/events?token={token}", server.url);
    assert_eq!(ask(&theirs, Some(SITE)).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_token_is_good_for_nothing_else() {
    let server = Server::open().await;
    let ws = server.workspace("One").await;
    let Token { token, events, chip, .. } = token(&server, &ws, json!({ "origins": [SITE] })).await;
    assert_eq!(server.send(&token, "GET", &format!("{ws}/balance"), "", String::new()).await.status, 200);
    for (method, path) in [
        ("GET", String::new()),
        ("GET", "/entries".to_owned()),
        ("GET", "/keys".to_owned()),
        ("POST", "/holds".to_owned()),
        ("POST", "/embed_tokens".to_owned()),
        ("POST", "/portal_sessions".to_owned()),
    ] {
        let got = server.send(&token, method, &format!("{ws}{path}"), "k", "{}".to_owned()).await;
        assert_eq!(got.status, 401, "{method} {path}");
    }
    let bare = token.strip_prefix("embed_").expect("a prefix");
    for portal in [&token[..], bare] {
        assert_eq!(ask(&format!("{}/portal?token={portal}", server.url), None).await.status(), 401);
    }
    let link = json!({ "role": "admin" });
    let link = server.post(&format!("{ws}/portal_sessions"), "", link).await.about_a_workspace(201);
    let link = link["url"].as_str().and_then(|url| url.split_once("token=")).expect("a token").1.to_owned();
    let (head, tail) = token.split_at(token.len() - 1);
    let forged = format!("{head}{}", if tail == "0" { "1" } else { "0" });
    for wrong in ["", "embed_", "embed_x.y", &forged, &link, &format!("embed_{link}"), bare] {
        let url = format!("{}{ws}/events?token={wrong}", server.url);
        assert_eq!(ask(&url, Some(SITE)).await.status(), StatusCode::UNAUTHORIZED, "{wrong}");
        let page = ask(&format!("{}/embed?token={wrong}", server.url), None).await;
        assert_eq!(page.status(), StatusCode::UNAUTHORIZED, "{wrong}");
        assert!(
            header(&page, "content-security-policy").is_some_and(|it| it.ends_with("frame-ancestors 'none'"))
        );
    }

    let mut stream = ask(&events, Some(SITE)).await;
    assert!(balance(&mut stream).await.is_some());
    server.advance(86_400).await;
    assert_eq!(balance(&mut stream).await, None, "looking ends with the token");
    assert_eq!(ask(&events, Some(SITE)).await.status(), StatusCode::UNAUTHORIZED);
    let page = ask(&chip, None).await;
    assert_eq!(page.status(), StatusCode::UNAUTHORIZED);
    let page = page.text().await.expect("text");
    assert!(page.contains("balance not shown") && !page.contains("data-available"), "{page}");
}

#[tokio::test]
async fn the_chip_is_a_page_for_a_frame_without_a_script() {
    let server = Server::open().await;
    let ws = server.workspace("One").await;
    server.grant(&ws, 1_234).await;
    let body = json!({ "origins": [SITE, "http://localhost:3000"], "expires_in_seconds": 60 });
    let Token { chip, .. } = token(&server, &ws, body).await;
    let page = ask(&chip, None).await;
    assert_eq!((page.status(), header(&page, "refresh")), (StatusCode::OK, Some("60")));
    let policy = header(&page, "content-security-policy").expect("a policy").to_owned();
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    assert!(policy.ends_with("frame-ancestors https://app.example.com http://localhost:3000"), "{policy}");
    assert_eq!(header(&page, "set-cookie"), None);
    let page = page.text().await.expect("text");
    assert!(page.contains("data-available=\"1234\" data-state=\"healthy\""), "{page}");
    assert!(page.contains("1,234 credits") && !page.contains("<script"), "{page}");
    let dark = ask(&format!("{chip}&theme=dark"), None).await.text().await.expect("text");
    assert!(dark.contains("<html lang=\"en\" data-theme=\"dark\">"), "{dark}");
    let script =
        ask(&format!("{}/embed/scrip-balance.js", server.url), Some("https://anybody.example")).await;
    assert_eq!(header(&script, "access-control-allow-origin"), Some("*"));
    assert!(header(&script, "content-type").is_some_and(|kind| kind.starts_with("text/javascript")));
}

#[tokio::test]
async fn bad_input_names_the_field_and_others_get_nothing() {
    let server = Server::open().await;
    let (ws, other) = (server.workspace("One").await, server.workspace("Two").await);
    let path = format!("{ws}/embed_tokens");
    for origin in [
        "",
        "*",
        "app.example.com",
        "https://",
        "https://app.example.com/path",
        "https://app.example.com?x",
        "https://user@app.example.com",
        "ftp://app.example.com",
        "null",
        "javascript:1",
        "https://*.example.com",
        "https://a.example; script-src *",
        "https://a.example https://b.example",
    ] {
        let got = server.post(&path, "", json!({ "origins": [SITE, origin] })).await;
        got.problem(422, "invalid_field");
        assert_eq!(got.body["field"], "origins[1]", "{origin}");
    }
    for (body, field) in [
        (json!({}), "origins"),
        (json!({ "origins": [] }), "origins"),
        (json!({ "origins": SITE }), "origins"),
        (json!({ "origins": vec![SITE; 21] }), "origins"),
        (json!({ "origins": [SITE], "expires_in_seconds": 0 }), "expires_in_seconds"),
        (json!({ "origins": [SITE], "expires_in_seconds": 604_801 }), "expires_in_seconds"),
        (json!({ "origins": [SITE], "role": "admin" }), "role"),
    ] {
        let got = server.post(&path, "", body.clone()).await;
        assert_eq!((got.status, got.body["field"].as_str()), (422, Some(field)), "{body}: {}", got.body);
    }
    let (_, key) = server.key(&ws).await;
    let body = json!({ "origins": [SITE] }).to_string();
    assert_eq!(server.send(&key, "POST", &path, "", body.clone()).await.status, 201);
    assert_eq!(
        server.send(&key, "POST", &format!("{other}/embed_tokens"), "", body.clone()).await.status,
        404
    );
    let missing = format!("{ws}x/embed_tokens");
    server.send(OPERATOR, "POST", &missing, "", body).await.problem(404, "not_found");
}

#[tokio::test]
async fn tokens_are_listed_and_revoked_one_by_one() {
    let server = Server::open().await;
    let (ws, other) = (server.workspace("One").await, server.workspace("Two").await);
    server.grant(&ws, 100).await;
    let (one, two) = (token(&server, &ws, json!({ "origins": [SITE] })).await, {
        let body = json!({ "origins": [SITE, "http://localhost:3000"], "expires_in_seconds": 60 });
        token(&server, &ws, body).await
    });
    let path = format!("{ws}/embed_tokens");
    let list = server.get(&path).await.about_a_workspace(200);
    let expected = json!([
        { "id": two.id, "origins": [SITE, "http://localhost:3000"], "created_at": "2027-01-31T10:00:00Z",
            "expires_at": "2027-01-31T10:01:00Z" },
        { "id": one.id, "origins": [SITE], "created_at": "2027-01-31T10:00:00Z",
            "expires_at": "2027-02-01T10:00:00Z" },
    ]);
    assert_eq!(list["items"], expected, "without what they are used by");
    assert_eq!(server.get(&format!("{other}/embed_tokens")).await.body["items"], json!([]));
    let first = server.get(&format!("{path}?limit=1")).await.body;
    let next = first["next_cursor"].as_str().expect("a cursor").to_owned();
    let second = server.get(&format!("{path}?limit=1&cursor={next}")).await.body;
    assert_eq!((&first["items"][0]["id"], &second["items"][0]["id"]), (&json!(two.id), &json!(one.id)));

    let mut stream = ask(&one.events, Some(SITE)).await;
    assert!(balance(&mut stream).await.is_some());
    for foreign in
        [format!("{other}/embed_tokens/{}", one.id), format!("{path}/emb_x"), format!("{path}/{}", "emb_")]
    {
        server.send(OPERATOR, "DELETE", &foreign, "", String::new()).await.problem(404, "not_found");
    }
    let revoke = format!("{path}/{}", one.id);
    assert_eq!(server.send(OPERATOR, "DELETE", &revoke, "", String::new()).await.status, 204);
    server.send(OPERATOR, "DELETE", &revoke, "", String::new()).await.problem(404, "not_found");
    assert_eq!(ask(&one.events, Some(SITE)).await.status(), StatusCode::UNAUTHORIZED);
    let page = ask(&one.chip, None).await;
    assert_eq!(page.status(), StatusCode::UNAUTHORIZED);
    let policy = header(&page, "content-security-policy").expect("a policy").to_owned();
    assert!(policy.ends_with("frame-ancestors https://app.example.com"), "its site may show that: {policy}");
    assert!(!page.text().await.expect("text").contains("data-available"));
    crate::webhooks::charge(&server, &ws, "a", 1).await;
    assert_eq!(balance(&mut stream).await, None, "what was live ends before it shows another balance");
    assert_eq!(ask(&two.events, Some(SITE)).await.status(), StatusCode::OK, "the other one works");

    server.advance(61).await;
    assert_eq!(server.get(&path).await.body["items"], json!([]), "what ended is not listed");
    server.audit();
}
