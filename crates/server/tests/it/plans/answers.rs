//! A change of plan and its first answer: whatever ends the server and whatever happens before the request is repeated, it answers as
//! the first did.

use std::sync::Arc;

use disk::{Change, Disk, Files};
use scrip::catalog::Catalog;
use scrip::config::{Config, PaymentsConfig};
use serde_json::{Value, json};

use super::{CATALOG, Shop};
use crate::http::{Got, OPERATOR, Server};
use crate::temp::Directory;

fn config() -> Config {
    let catalogs = vec![Catalog::parse("shop.toml", CATALOG).expect("a catalog")];
    Config { payments: Some(PaymentsConfig::Sandbox), catalogs, ..Config::default() }
}

async fn asks(server: &Server, ws: &str, (method, path, key): (&str, &str, &str), body: Value) -> Got {
    server.send(OPERATOR, method, &format!("{ws}{path}"), key, body.to_string()).await
}

async fn changes(server: &Server, ws: &str, (plan, key): (&str, &str)) -> Got {
    asks(server, ws, ("PUT", "/subscription", key), json!({ "plan": plan })).await
}

/// Every moment that a kill can tell apart, of a change that is done at once: on SQLite, whose files can be put back.
#[test]
fn a_change_that_is_done_is_answered_the_same_after_a_kill_at_every_moment() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let directory = Directory::local("answers");
    let disk = Arc::new(Disk::of(directory.path()));
    let (ws, from, first) = runtime().expect("a runtime").block_on(async {
        let server = Server::with(directory.clone(), config()).await;
        let new = json!({ "name": "One", "plan": "small" });
        let made = server.post("/v1/workspaces", "", new).await.about_a_workspace(201);
        let ws = format!("/v1/workspaces/{}", made["id"].as_str().expect("an id"));
        let from = disk.position();
        (ws.clone(), from, changes(&server, &ws, ("large", "first")).await.about_a_workspace(200).clone())
    });
    assert_eq!((&first["plan"], &first["credits"]), (&json!("large"), &json!(31_000)));
    let log = disk.log();
    let cuts: Vec<usize> = (from..=log.len())
        .filter(|at| *at == from || *at == log.len() || matches!(log[*at].change, Change::Sync))
        .flat_map(|at| [at, (at + 1).min(log.len())])
        .collect();
    let (mut done, mut undone) = (0, 0);
    for cut in &cuts {
        let mut files = Files::default();
        log[..*cut].iter().for_each(|change| files.apply(change, |_| true));
        let directory = Directory::local("answered");
        disk::put(directory.path(), &files.killed());
        runtime().expect("a runtime").block_on(async {
            let server = Server::with(directory, config()).await;
            let is = asks(&server, &ws, ("GET", "/subscription", ""), json!({})).await.about_a_workspace(200);
            if is["plan"] == "large" {
                done += 1;
                // Something else comes between.
                asks(&server, &ws, ("POST", "/subscription/cancel", "other"), json!({}))
                    .await
                    .about_a_workspace(200);
                server.advance(40 * super::DAY).await;
            } else {
                undone += 1;
            }
            for _ in 0..2 {
                let again = changes(&server, &ws, ("large", "first")).await.about_a_workspace(200);
                assert_eq!(again, first, "cut at {cut} of {from} to {}", log.len());
            }
            server.audit();
        });
    }
    println!("answers: {} moments, {done} with the change and {undone} without it", cuts.len());
    assert!(done > 0 && undone > 0);
}

/// The same where nothing but the store was asked, on both databases: the change is there, and nobody was answered.
#[tokio::test]
async fn a_change_whose_request_broke_off_has_its_answer_already() {
    let shop = Shop::with(CATALOG, json!({ "collection": "none", "plan": "large" })).await;
    let path = format!("{}/subscription", shop.ws);
    // What the request would have done before it broke off, as `act` in the API does it.
    let first = shop.server.send(OPERATOR, "PUT", &path, "first", json!({ "plan": "small" }).to_string());
    let broke_off = tokio::time::timeout(std::time::Duration::ZERO, first).await;
    assert!(broke_off.is_err(), "nobody heard the answer");
    // The server may go on with it, or not have begun: until it is there, it is asked for.
    let planned =
        shop.server.send(OPERATOR, "PUT", &path, "first", json!({ "plan": "small" }).to_string()).await;
    assert_eq!(planned.about_a_workspace(200)["next_plan"], "small");
    assert_eq!(shop.act("cancel").await.about_a_workspace(200)["next_plan"], Value::Null);
    let again =
        shop.server.send(OPERATOR, "PUT", &path, "first", json!({ "plan": "small" }).to_string()).await;
    assert_eq!(again.about_a_workspace(200)["next_plan"], "small", "as first");
    shop.server.audit();
}
