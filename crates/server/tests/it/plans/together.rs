//! Many renewals in one second, and one that cannot be done.

use scrip::store::committer::Post;
use serde_json::json;

use super::{CATALOG, DAY, Shop};
use crate::sample;

/// Many workspaces renew in one second: each once, while the API answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewals_due_together_happen_once_each() {
    let count = crate::chance::asked_for("SCRIP_RENEWALS", 300) as i64;
    let shop = Shop::with(CATALOG, json!({})).await;
    let store = &shop.server.app.store;
    let terms = scrip::money::terms(shop.server.app.catalog(), "small");
    let new = |number: i64| scrip::store::workspaces::NewWorkspace {
        name: format!("Workspace {number:04}"),
        terms: terms.clone(),
        collection: "none".into(),
        time_zone: "UTC".into(),
        admin_email: None,
        external_id: None,
        request: String::new(),
    };
    let mut ids = Vec::new();
    for from in (0..count).step_by(500) {
        let made = (from..count.min(from + 500)).map(|number| store.create_workspace(new(number)));
        let made = futures_util::future::join_all(made).await;
        ids.extend(made.into_iter().map(|made| made.expect("a workspace").0.id));
    }
    shop.adjust(1_000_000).await;
    let path = format!("{}/charges", shop.ws);
    let one = async || {
        let started = std::time::Instant::now();
        let work = json!({ "operation": "work", "quantity": 1 });
        shop.server.post(&path, &shop.key(), work).await.about_a_workspace(201);
        started.elapsed()
    };
    let p99 = |mut times: Vec<std::time::Duration>| {
        times.sort();
        times[(times.len() - 1) * 99 / 100]
    };
    let mut times = Vec::new();
    for _ in 0..500 {
        times.push(one().await);
    }
    let idle = p99(times);
    let started = std::time::Instant::now();
    let mut renewing = std::pin::pin!(shop.server.advance(28 * DAY));
    let mut times = Vec::new();
    while tokio::select! { () = &mut renewing => false, time = one() => { times.push(time); true } } {}
    let (took, busy) = (started.elapsed(), p99(times));
    // Two passes over the same moment change nothing.
    shop.server.advance(0).await;
    for id in &ids {
        assert_eq!(store.available(*id).await.expect("a balance"), 6_200);
    }
    let grant = |id: &i64| {
        let grant = sample::grant(1, billing::GrantKind::Promo, shop.server.app.clock.now(), None);
        Post::new(*id, billing::Command::Grant(grant), "operator")
    };
    let started = std::time::Instant::now();
    for some in ids.chunks(512) {
        assert!(store.post_all(some.iter().map(grant).collect()).await.iter().all(Result::is_ok));
    }
    let plain = started.elapsed();
    println!(
        "renewals: {count} due together in {took:?}, as many grants in {plain:?}; p99 of a charge {idle:?} idle, {busy:?} meanwhile"
    );
    shop.server.audit();
}

/// A renewal that the rules refuse waits; the others do not, and it comes once it can.
#[tokio::test]
async fn a_renewal_that_is_refused_keeps_nobody_waiting() {
    let shop = Shop::with(CATALOG, json!({ "collection": "none", "plan": "small" })).await;
    let other = shop.server.post("/v1/workspaces", "", json!({ "name": "Two", "plan": "large" })).await;
    let other = format!("/v1/workspaces/{}", other.body["id"].as_str().expect("an id"));
    // With the first period's, as much as an account can have.
    let (each, most) = (1_000_000_000_000_000_i64, 1_000_000_000_000_000_000_i64);
    let mut grants = Vec::new();
    for credits in std::iter::repeat_n(each, 999).chain([each - 3_100]) {
        let bonus = json!({ "credits": credits, "kind": "bonus", "reason": "one of many" });
        let made = shop.server.post(&format!("{}/grants", shop.ws), &shop.key(), bonus).await;
        grants.push(made.about_a_workspace(201)["id"].as_str().expect("an id").to_owned());
    }
    shop.server.advance(28 * DAY).await;
    shop.comes_to(most).await;
    let balance = shop.server.get(&format!("{other}/balance")).await.body;
    assert_eq!(balance["available"], 62_000);
    let (revoke, reason) = (format!("/v1/grants/{}/revoke", grants[0]), json!({ "reason": "room" }));
    shop.server.post(&revoke, "", reason).await.about_a_workspace(200);
    shop.server.advance(0).await;
    shop.comes_to(most - each + 3_100).await;
    shop.server.audit();
}
