//! The operator's page of providers and queues: what it says, and that `/metrics` says the same.

use billing::Time;
use reqwest::{Client, redirect::Policy};
use scrip::app::{Link, LinkRole};
use scrip::breaker::Heard;
use scrip::store::webhooks::NewEndpoint;
use scrip::store::work::Need;
use scrip::{clock, id};
use serde_json::json;

use crate::http::{OPERATOR, Server};
use crate::pages::after;

/// The page, and the metrics.
async fn read(server: &Server) -> (String, String) {
    let expires_at = server.app.clock.now().plus_seconds(900).0;
    let link = Link { workspace: None, role: LinkRole::Operator, email: None, return_url: None, expires_at };
    let client = Client::builder().redirect(Policy::none()).build().expect("a client");
    let answer = client.get(server.app.portal_link(&link)).send().await.expect("an answer");
    let cookie = answer.headers()["set-cookie"].to_str().expect("text").split(';').next().expect("a value");
    let page = client.get(format!("{}/admin/health", server.url)).header("cookie", cookie);
    let metrics = client.get(format!("{}/metrics", server.url));
    let text = |request: reqwest::RequestBuilder| async {
        request.send().await.expect("an answer").text().await.expect("text")
    };
    (text(page).await, text(metrics).await)
}

fn on_page<'p>(page: &'p str, name: &str) -> &'p str {
    after(page, &format!("id=\"{name}\">")).split('<').next().expect("a number")
}

fn in_metrics<'m>(metrics: &'m str, name: &str) -> &'m str {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} in {metrics}"))
}

#[tokio::test]
async fn the_page_says_what_waits_and_the_metrics_say_the_same() {
    let server = Server::open().await;
    let ws = server.workspace("Workspace 0001").await;
    let number = id::parse_workspace(ws.rsplit('/').next().expect("an id")).expect("an id");
    server.grant(&ws, 100).await;
    let alerts = json!({ "low": { "credits": 50 }, "critical": { "credits": 10 }, "emails": ["a@example.com", "b@example.com"] });
    let set = server.send(OPERATOR, "PUT", &format!("{ws}/alerts"), "", alerts.to_string()).await;
    assert_eq!(set.status, 200, "{}", set.body);
    let new =
        NewEndpoint { url: "https://hooks.invalid/".to_owned(), description: String::new(), kinds: vec![] };
    server.app.store.create_endpoint(number, new, [7; 32], "test".to_owned()).await.expect("an endpoint");
    let leads = json!({ "leads": [{ "name": "Lead 0001", "email": "l1@example.com" }, { "name": "Lead 0002", "email": "l2@example.com" }] });
    server.post(&format!("{ws}/leads"), "", leads).await;
    let leads = server.get(&format!("{ws}/leads")).await.body;
    let leads: Vec<_> =
        leads["items"].as_array().expect("a list").iter().map(|lead| lead["id"].clone()).collect();
    let step = json!({ "channel": "email", "after_days": 0, "subject": "Hello", "template": "Hello", "generate": false });
    let campaign =
        server.post(&format!("{ws}/campaigns"), "", json!({ "name": "Mails", "steps": [step] })).await;
    let campaign = campaign.body["id"].as_str().expect("an id").to_owned();
    server.post(&format!("/v1/campaigns/{campaign}/leads"), "", json!({ "leads": leads })).await;
    server.post(&format!("/v1/campaigns/{campaign}/launch"), "", json!({})).await;
    let charge = json!({ "operation": "email_send", "quantity": 30 });
    server.post(&format!("{ws}/charges"), "a", charge).await.about_a_workspace(201);
    let now = server.app.clock.now();
    for _ in 0..8 {
        server.app.breakers.heard(number, Need::Email, Heard::Nothing, now);
    }
    server.app.breakers.heard(number, Need::Linkedin, Heard::Nothing, Time(now.0 + 1));
    let (page, metrics) = read(&server).await;
    for (name, value) in [
        ("scrip_pieces_due", "2"),
        ("scrip_mails_waiting", "2"),
        ("scrip_mails_given_up", "0"),
        ("scrip_webhooks_waiting", "1"),
        ("scrip_endpoints_failing", "0"),
        ("scrip_providers_away", "1"),
    ] {
        assert_eq!((on_page(&page, name), in_metrics(&metrics, name)), (value, value), "{name}");
    }
    assert!(in_metrics(&metrics, "scrip_entries_unwritten").parse::<i64>().is_ok_and(|count| count >= 0));
    let since = clock::rfc3339(now);
    for shown in
        ["Workspace 0001", "left alone", "E-mail", "fails", since.as_str(), "href=\"/admin/deliveries\""]
    {
        assert!(page.contains(shown), "{shown} in {page}");
    }
    // Nobody answers these mails: there is no server for them, and that is said.
    server.advance(0).await;
    let (page, metrics) = read(&server).await;
    for (name, value) in [("scrip_mails_waiting", "0"), ("scrip_mails_given_up", "2")] {
        assert_eq!((on_page(&page, name), in_metrics(&metrics, name)), (value, value), "{name}");
    }
    assert!(page.contains("<q>no [mail] is configured</q>"), "{page}");
}
