//! API keys: what they may do and when they were used. What each route needs is in `tenants`.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use scrip::app::from_hex;
use scrip::id;
use serde_json::{Value, json};

use crate::http::{OPERATOR, Server};

async fn listed(server: &Server, ws: &str, id: &str) -> Value {
    let keys = server.get(&format!("{ws}/keys")).await.body;
    keys["items"].as_array().expect("a list").iter().find(|key| key["id"] == id).expect("the key").clone()
}

#[tokio::test]
async fn a_scope_is_one_of_three_and_everything_when_left_out() {
    let server = Server::open().await;
    let ws = server.workspace("One").await;
    let path = format!("{ws}/keys");
    for (body, scope) in [
        (String::new(), "manage"),
        ("{}".to_owned(), "manage"),
        (json!({ "scope": null }).to_string(), "manage"),
        (json!({ "scope": "read", "label": "Looks" }).to_string(), "read"),
        (json!({ "scope": "charge" }).to_string(), "charge"),
    ] {
        let made = server.send(OPERATOR, "POST", &path, "", body.clone()).await.about_a_workspace(201);
        assert_eq!((&made["scope"], &made["last_used_at"]), (&json!(scope), &Value::Null), "{body}");
        let id = made["id"].as_str().expect("an id");
        assert_eq!(listed(&server, &ws, id).await["scope"], scope);
    }
    for scope in [json!("all"), json!(""), json!("Read"), json!(1), json!(["read"])] {
        let got = server.post(&path, "", json!({ "scope": scope })).await;
        got.problem(422, "invalid_field");
        assert_eq!(got.body["field"], "scope", "{}", got.body);
    }
}

#[tokio::test]
async fn a_key_that_charges_does_its_work_and_nothing_else() {
    let server = Server::open().await;
    let ws = server.workspace("One").await;
    server.grant(&ws, 100).await;
    let (_, key) = server.scoped_key(&ws, "charge").await;
    let work = json!({ "operation": "email_send", "quantity": 1 }).to_string();
    // Written another way the router leads to the same handlers, and the scope is the same.
    for (unique, mark) in [("a", "_"), ("b", "%5F")] {
        let path = format!("{}/holds", ws.replace('_', mark));
        let held = server.send(&key, "POST", &path, unique, work.clone()).await;
        assert_eq!(held.status, 201, "{path}: {}", held.body);
        let (_, reads) = server.scoped_key(&ws, "read").await;
        server.send(&reads, "POST", &path, unique, work.clone()).await.problem(403, "forbidden");
        let id = held.body["id"].as_str().expect("an id").to_owned();
        let settle = format!("/v1/holds/{}/settle", id.replace('_', mark));
        let one = json!({ "quantity": 1 }).to_string();
        server.send(&reads, "POST", &settle, "", one.clone()).await.problem(403, "forbidden");
        assert_eq!(
            server.send(&reads, "GET", &format!("/v1/holds/{id}"), "", String::new()).await.status,
            200
        );
        assert_eq!(server.send(&key, "POST", &settle, "", one).await.status, 200);
    }
    let link = json!({ "role": "admin" }).to_string();
    server.send(&key, "POST", &format!("{ws}/portal_sessions"), "", link).await.problem(403, "forbidden");
    server.audit();
}

#[tokio::test]
async fn use_is_written_down_now_and_then_and_by_no_request() {
    let server = Server::open().await;
    let ws = server.workspace("One").await;
    let (id, key) = server.key(&ws).await;
    let used = async |times: usize| {
        for _ in 0..times {
            assert_eq!(
                server.send(&key, "GET", &format!("{ws}/balance"), "", String::new()).await.status,
                200
            );
        }
    };
    used(20).await;
    assert_eq!(listed(&server, &ws, &id).await["last_used_at"], Value::Null, "no request wrote it");
    server.advance(0).await;
    let first = listed(&server, &ws, &id).await["last_used_at"].clone();
    assert_eq!(first, "2027-01-31T10:00:00Z");
    server.advance(299).await;
    used(3).await;
    server.advance(0).await;
    assert_eq!(listed(&server, &ws, &id).await["last_used_at"], first, "once in five minutes");
    server.advance(1).await;
    used(3).await;
    server.advance(0).await;
    assert_eq!(listed(&server, &ws, &id).await["last_used_at"], "2027-01-31T10:05:00Z");
    // A wrong secret is no use of a key.
    let (name, _) = key.split_once('.').expect("a secret");
    server.advance(600).await;
    let wrong = format!("{name}.{}", "0".repeat(64));
    assert_eq!(server.send(&wrong, "GET", &format!("{ws}/balance"), "", String::new()).await.status, 401);
    server.advance(0).await;
    assert_eq!(listed(&server, &ws, &id).await["last_used_at"], "2027-01-31T10:05:00Z");
}

#[tokio::test]
async fn a_key_that_is_first_used_while_it_is_revoked_is_revoked() {
    let server = Server::open().await;
    let ws = server.workspace("One").await;
    for _ in 0..20 {
        let (id, key) = server.key(&ws).await;
        let (balance, path) = (format!("{ws}/balance"), format!("{ws}/keys/{id}"));
        let uses = (0..4).map(|_| server.send(&key, "GET", &balance, "", String::new()));
        let (_, revoked) =
            tokio::join!(join_all(uses), server.send(OPERATOR, "DELETE", &path, "", String::new()));
        assert_eq!(revoked.status, 204, "{}", revoked.body);
        server.send(&key, "GET", &balance, "", String::new()).await.problem(401, "unauthorized");
    }
}

#[tokio::test]
async fn a_key_is_revoked_also_when_whoever_asked_for_it_hung_up() {
    let server = Server::open().await;
    let ws = server.workspace("One").await;
    let (name, key) = server.key(&ws).await;
    let (workspace, number) = id::parse_inside("key", &name).expect("a key's id");
    let secret = key.split_once('.').and_then(|(_, secret)| from_hex(secret)).expect("a secret");
    assert!(
        server.app.open_key(number, &secret).await.expect("a look").is_some(),
        "it is trusted from now on"
    );
    let asked = server.app.revoke_key(workspace, number, "test".to_owned()).now_or_never();
    assert!(asked.is_none(), "nobody waits for it any more");
    let forgotten = async {
        while server.app.open_key(number, &secret).await.expect("a look").is_some() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), forgotten).await.expect("it works no more");
}
