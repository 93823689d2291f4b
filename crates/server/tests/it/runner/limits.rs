//! When and through whom a sender sends: its hours, the pause between two sends, its own server; and providers that are away.

use std::collections::HashSet;

use scrip::demo::http_fakes::{Failure, Fake};
use scrip::demo::smtp_sink::SmtpSink;
use serde_json::{Value, json};

use crate::world::{DAY, Habits, World, emails, text};

/// A campaign of e-mails that a sender sends.
async fn from(world: &World, sender: &str, days: &[i64], leads: &[String]) -> String {
    let mut campaign = emails(days);
    campaign["senders"] = json!([sender]);
    world.campaign(campaign, leads).await
}

async fn sender(world: &World, more: Value) -> String {
    let mut sender = json!({ "kind": "email", "from": "Team <team@own.example.com>", "daily_limit": 100 });
    sender.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    text(&world.post(&world.here("senders"), sender).await, "id")
}

/// How many mails there are after each of these waits.
async fn after(world: &World, waits: &[i64]) -> Vec<usize> {
    let mut counts = Vec::new();
    for wait in waits {
        world.advance(*wait).await;
        counts.push(world.sink.messages().len());
    }
    counts
}

#[tokio::test]
async fn a_sender_sends_only_in_its_hours_of_its_workspaces_zone() {
    // It is Monday, 09:00 in UTC and 10:00 in Madrid.
    let world = World::with(100, json!({ "time_zone": "Europe/Madrid" }), Habits::default()).await;
    let hours = json!({ "from": "11:00", "to": "12:00", "days": ["mon", "tue"] });
    let sender = sender(&world, json!({ "hours": hours, "daily_limit": 2 })).await;
    let leads = world.leads(3).await;
    let first = from(&world, &sender, &[0], &leads).await;
    // Two on Monday, which is its limit; the third on Tuesday.
    assert_eq!(after(&world, &[0, 3_599, 1, DAY - 1, 1]).await, [0, 0, 2, 2, 3]);
    assert_eq!(world.view(&first).await["status"], "completed");
    // From Tuesday, 12:00 on nothing goes before the next Monday.
    world.advance(3_600).await;
    from(&world, &sender, &[0], &leads[..1]).await;
    assert_eq!(after(&world, &[0, 6 * DAY - 3_601, 1]).await, [3, 3, 4]);
    world.comes_to(92, 0).await;
    world.end().await;
}

#[tokio::test]
async fn a_pause_between_two_sends_is_kept_over_all_campaigns() {
    let world = World::new(100).await;
    let sender = sender(&world, json!({ "spacing_seconds": 600 })).await;
    let leads = world.leads(3).await;
    from(&world, &sender, &[0], &leads).await;
    from(&world, &sender, &[0], &leads).await;
    assert_eq!(after(&world, &[0, 599, 1, 600, 600, 600, 599, 1, DAY]).await, [1, 1, 2, 3, 4, 5, 5, 6, 6]);
    let each: HashSet<_> = world.sink.messages().into_iter().map(|mail| mail.message_id).collect();
    assert_eq!(each.len(), 6);
    world.comes_to(88, 0).await;
    world.end().await;
}

#[tokio::test]
async fn a_sender_with_a_server_of_its_own_uses_that_one_also_after_a_restart() {
    let mut world = World::new(100).await;
    let own = SmtpSink::start().await.expect("a free port");
    let sender = sender(&world, json!({ "smtp_url": own.url })).await;
    let leads = world.leads(2).await;
    let campaign = from(&world, &sender, &[0, 1], &leads).await;
    world.advance(0).await;
    assert_eq!((own.accepted(), world.sink.accepted()), (2, 0));
    world.restart().await;
    world.advance(DAY).await;
    assert_eq!((own.accepted(), world.sink.accepted()), (4, 0));
    assert!(own.messages().iter().all(|mail| mail.message_id.ends_with("@own.example.com")));
    assert_eq!(world.view(&campaign).await["status"], "completed");
    world.comes_to(92, 0).await;
    // Without one it is the server's again.
    let path = world.here(&format!("senders/{sender}"));
    let (status, _) = world.send(reqwest::Method::PATCH, &path, json!({ "smtp_url": null })).await;
    assert!(status.is_success(), "{status}");
    from(&world, &sender, &[0], &leads[..1]).await;
    world.advance(0).await;
    assert_eq!((own.accepted(), world.sink.accepted()), (4, 1));
    world.end().await;
}

#[tokio::test]
async fn a_server_of_a_sender_is_looked_for_among_public_addresses_only() {
    let world = World::new(100).await;
    let leads = world.leads(1).await;
    // Only 127.0.0.1 is allowed here.
    let canary = tokio::net::TcpListener::bind("127.0.0.2:0").await.expect("a free port");
    let port = canary.local_addr().expect("an address").port();
    for host in ["127.0.0.2", "10.0.0.1", "[::1]", "169.254.169.254", "[::ffff:10.0.0.1]"] {
        for scheme in ["smtp", "smtps"] {
            let new = json!({ "kind": "email", "from": "own@example.com", "daily_limit": 5,
                "smtp_url": format!("{scheme}://{host}:{port}") });
            let (status, answer) = world.send(reqwest::Method::POST, &world.here("senders"), new).await;
            assert_eq!((status.as_u16(), &answer["field"]), (422, &json!("smtp_url")), "{host}: {answer}");
        }
    }
    // What is a name to us may be an address to the machine: it is looked at where it is connected to.
    for url in [format!("smtp://127.2:{port}?tls=off"), format!("smtps://127.2:{port}")] {
        let sender = sender(&world, json!({ "smtp_url": url })).await;
        let campaign = from(&world, &sender, &[0], &leads).await;
        world.advance(0).await;
        let view = world.view(&campaign).await;
        assert_eq!(crate::world::reasons(&view), ["provider"], "{url}: {view}");
        let detail = text(&view["pause_reasons"][0], "detail");
        assert!(detail.contains("not public"), "{url}: {detail}");
    }
    let knock = tokio::time::timeout(std::time::Duration::from_millis(200), canary.accept()).await;
    assert!(knock.is_err(), "nobody connected");
    world.comes_to(100, 0).await;
    world.end().await;
}

#[tokio::test]
async fn a_server_of_a_sender_that_is_away_delays_and_nothing_is_lost_or_paid_twice() {
    let world = World::new(100).await;
    let own = SmtpSink::start().await.expect("a free port");
    let sender = sender(&world, json!({ "smtp_url": own.url.clone() })).await;
    own.set_mode(scrip::demo::smtp_sink::SinkMode::TryLater);
    let leads = world.leads(3).await;
    let campaign = from(&world, &sender, &[0], &leads).await;
    world.advance(0).await;
    assert_eq!((own.accepted(), world.sink.accepted()), (0, 0));
    world.comes_to(100, 0).await;
    own.set_mode(scrip::demo::smtp_sink::SinkMode::Accept);
    world.advance(DAY).await;
    assert_eq!((own.accepted(), world.sink.accepted()), (3, 0));
    assert_eq!(world.view(&campaign).await["status"], "completed");
    world.comes_to(94, 0).await;
    world.end().await;
}

#[tokio::test]
async fn a_provider_that_does_not_answer_is_left_alone_for_a_while() {
    let habits = Habits { idempotent: false, ..Habits::default() };
    let world = World::with(1_000, json!({}), habits).await;
    let leads = world.leads(60).await;
    world.fakes.fail(Fake::Enrichment, Failure::Status(503), usize::MAX);
    let job = json!({ "leads": leads, "fields": ["industry"] });
    let job = text(&world.post(&world.here("enrichments"), job).await, "id");
    world.advance(0).await;
    let calls = world.fakes.calls().len();
    assert!((8..=24).contains(&calls), "{calls} of 60 leads were tried");
    world.comes_to(1_000, 0).await;
    world.fakes.recover(Fake::Enrichment);
    world.advance(59).await;
    assert_eq!(world.fakes.calls().len(), calls, "it is left alone for a minute");
    // Others go on meanwhile.
    world.campaign(emails(&[0]), &leads[..1]).await;
    world.advance(0).await;
    assert_eq!(world.sink.accepted(), 1);
    world.advance(DAY).await;
    assert_eq!(world.get(&format!("/v1/enrichments/{job}")).await["status"], "completed");
    let found = world.fakes.counts().outcomes[&("field".to_owned(), "found".to_owned())] as i64;
    assert_eq!(world.fakes.calls().len(), calls + 60, "each lead was looked up once");
    world.comes_to(1_000 - 2 - 3 * found, 0).await;
    world.end().await;
}
