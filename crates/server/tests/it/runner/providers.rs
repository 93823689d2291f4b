//! What providers, mail servers and people do meanwhile.

use std::time::Duration;

use scrip::demo::http_fakes::{Failure, Fake};
use scrip::demo::smtp_sink::SinkMode;
use serde_json::{Value, json};

use crate::world::{DAY, Habits, World, emails, reasons, step, text};

fn linkedin() -> Value {
    json!({ "name": "Invites", "steps": [{ "channel": "linkedin_invite", "after_days": 0, "generate": false,
        "template": "Hello {{name}}" }] })
}

#[tokio::test]
async fn a_reply_and_the_blocklist_stop_a_lead_for_free() {
    let world = World::new(100).await;
    let leads = world.leads(3).await;
    let campaign = world.campaign(emails(&[0, 1]), &leads).await;
    world.advance(0).await;
    world.post(&format!("/v1/leads/{}/replied", leads[0]), Value::Null).await;
    world.post(&world.here("blocklist"), json!({ "entries": ["lead0002@example.com"] })).await;
    world.advance(DAY).await;
    let second = |number| world.sent(&format!("lead000{number}@example.com"), "Step 1");
    assert_eq!([second(1), second(2), second(3)], [0, 0, 1]);
    let leads = world.view(&campaign).await["leads"].clone();
    assert_eq!([&leads["replied"], &leads["blocked"], &leads["completed"]], [1, 1, 1]);
    world.comes_to(92, 0).await;
    world.end().await;
}

#[tokio::test]
async fn only_what_is_found_costs() {
    let world = World::new(1_000).await;
    let lead =
        |number| json!({ "external_id": format!("lead-{number:04}"), "name": format!("Lead {number:04}") });
    let leads = world.import((1..=60).map(lead).collect()).await;
    let fields = json!({ "leads": leads, "fields": ["contact", "company_size"] });
    let job = text(&world.post(&world.here("enrichments"), fields).await, "id");
    world.advance(0).await;
    let outcomes = world.fakes.counts().outcomes;
    let logged = |action: &str, outcome: &str| outcomes[&(action.to_owned(), outcome.to_owned())] as i64;
    assert!(logged("contact", "not_found") > 0 && logged("contact", "unverified") > 0);
    assert!(logged("field", "not_found") > 0);
    let (contacts, fields) = (6 * logged("contact", "found"), 3 * logged("field", "found"));
    assert_eq!(
        (world.charged("contact_enrichment").await, world.charged("field_enrichment").await),
        (contacts, fields)
    );
    let view = world.get(&format!("/v1/enrichments/{job}")).await;
    assert_eq!((&view["status"], &view["credits_used"]), (&json!("completed"), &json!(contacts + fields)));
    let leads = world.items("leads?limit=500").await;
    let verified = leads.iter().filter(|lead| lead["email_verified"] == true).count() as i64;
    let marked =
        leads.iter().filter(|lead| lead["email"].is_string() && lead["email_verified"] == false).count()
            as i64;
    assert_eq!((verified, marked), (logged("contact", "found"), logged("contact", "unverified")));
    world.comes_to(1_000 - contacts - fields, 0).await;
    world.end().await;
}

#[tokio::test]
async fn an_address_found_is_the_one_an_import_finds_again() {
    let world = World::new(100).await;
    let leads = world.import(vec![json!({ "external_id": "7", "name": "Ada" })]).await;
    let answer = json!({ "found": true, "email": " Ada@Example.COM ", "verified": true }).to_string();
    world.fakes.fail(Fake::Enrichment, Failure::Answer(answer), 1);
    world.post(&world.here("enrichments"), json!({ "leads": leads, "fields": ["contact"] })).await;
    world.advance(0).await;
    let import = json!({ "leads": [{ "name": "Ada", "email": "ADA@example.com" }] });
    let answer = world.post(&world.here("leads"), import).await;
    assert_eq!((&answer["created"], &answer["merged"]), (&json!(0), &json!(1)));
    world.comes_to(94, 0).await;
    world.end().await;
}

#[tokio::test]
async fn a_refused_recipient_is_free_and_the_lead_goes_on() {
    let world = World::new(100).await;
    world.sink.set_mode(SinkMode::Refuse("lead0001".into()));
    let leads = world.leads(2).await;
    let campaign = world.campaign(emails(&[0, 1]), &leads).await;
    world.advance(0).await;
    assert_eq!(step(&world.view(&campaign).await, 0), [0, 1, 0, 1, 0]);
    world.comes_to(98, 0).await;
    world.sink.set_mode(SinkMode::Accept);
    world.advance(DAY).await;
    assert_eq!(step(&world.view(&campaign).await, 1), [0, 2, 0, 0, 0]);
    world.comes_to(94, 0).await;
    world.end().await;
}

#[tokio::test]
async fn what_is_refused_for_now_is_tried_later() {
    let world = World::new(100).await;
    world.sink.set_mode(SinkMode::TryLater);
    let leads = world.leads(2).await;
    let campaign = world.campaign(emails(&[0]), &leads).await;
    world.advance(0).await;
    assert_eq!(step(&world.view(&campaign).await, 0), [2, 0, 0, 0, 0]);
    world.comes_to(100, 0).await;
    world.sink.set_mode(SinkMode::Accept);
    world.advance(3_600).await;
    assert_eq!(world.recipients().len(), 2);
    world.comes_to(96, 0).await;
    world.end().await;
}

#[tokio::test]
async fn a_busy_provider_is_asked_later() {
    let world = World::new(100).await;
    world.fakes.fail(Fake::Linkedin, Failure::Status(429), usize::MAX);
    let leads = world.leads(1).await;
    let campaign = world.campaign(linkedin(), &leads).await;
    world.advance(0).await;
    assert_eq!((world.fakes.counts().effects, &world.view(&campaign).await["status"]), (0, &json!("active")));
    world.comes_to(100, 0).await;
    world.fakes.recover(Fake::Linkedin);
    world.advance(3_600).await;
    assert_eq!(
        (world.fakes.counts().effects, &world.view(&campaign).await["status"]),
        (1, &json!("completed"))
    );
    world.comes_to(98, 0).await;
    world.end().await;
}

#[tokio::test]
async fn a_provider_that_refuses_us_pauses_the_campaign() {
    let world = World::new(100).await;
    world.fakes.fail(Fake::Linkedin, Failure::Status(401), usize::MAX);
    let leads = world.leads(3).await;
    let campaign = world.campaign(linkedin(), &leads).await;
    world.advance(DAY).await;
    let view = world.view(&campaign).await;
    assert_eq!((&view["status"], reasons(&view)), (&json!("paused"), vec!["provider".to_owned()]));
    assert_eq!(step(&view, 0), [3, 0, 0, 0, 0]);
    world.comes_to(100, 0).await;
    world.fakes.recover(Fake::Linkedin);
    world.post(&format!("/v1/campaigns/{campaign}/resume"), Value::Null).await;
    world.advance(0).await;
    let view = world.view(&campaign).await;
    assert_eq!((&view["status"], step(&view, 0)), (&json!("completed"), [0, 3, 0, 0, 0]));
    assert_eq!(world.fakes.counts().effects, 3);
    world.comes_to(94, 0).await;
    world.end().await;
}

#[tokio::test]
async fn a_mail_in_doubt_blocks_its_lead_until_its_deadline_and_is_never_repeated() {
    let world = World::new(100).await;
    world.sink.set_mode(SinkMode::AcceptThenDrop);
    let leads = world.leads(1).await;
    let campaign = world.campaign(emails(&[0, 1]), &leads).await;
    world.advance(0).await;
    world.sink.set_mode(SinkMode::Accept);
    world.advance(2 * DAY).await;
    let view = world.view(&campaign).await;
    assert_eq!((step(&view, 0), world.recipients().len()), ([0, 0, 0, 0, 1], 1));
    let listed = world.holds("in_doubt").await;
    assert_eq!((listed.len(), &listed[0]["amount"]), (1, &json!(2)));
    world.comes_to(98, 2).await;
    world.advance(DAY).await;
    let view = world.view(&campaign).await;
    assert_eq!((step(&view, 0), step(&view, 1)), ([0, 1, 0, 0, 0], [1, 0, 0, 0, 0]));
    world.comes_to(100, 0).await;
    world.advance(DAY).await;
    assert_eq!(
        [world.sent("lead0001@example.com", "Step 0"), world.sent("lead0001@example.com", "Step 1")],
        [1, 1]
    );
    world.comes_to(98, 0).await;
    world.end().await;
}

#[tokio::test]
async fn a_mail_in_doubt_that_arrived_is_charged_by_the_operator() {
    let world = World::new(100).await;
    world.sink.set_mode(SinkMode::AcceptThenDrop);
    let leads = world.leads(1).await;
    let campaign = world.campaign(emails(&[0, 1]), &leads).await;
    world.advance(0).await;
    world.sink.set_mode(SinkMode::Accept);
    let hold = text(&world.holds("in_doubt").await[0], "id");
    let resolve = json!({ "outcome": "settled", "reason": "the person answered it" });
    world.post(&format!("/v1/holds/{hold}/resolve"), resolve).await;
    world.comes_to(98, 0).await;
    world.advance(DAY).await;
    let view = world.view(&campaign).await;
    assert_eq!((&view["status"], &view["credits_used"]), (&json!("completed"), &json!(4)));
    assert_eq!(world.recipients().len(), 2);
    world.comes_to(96, 0).await;
    world.end().await;
}

#[tokio::test]
async fn a_message_is_written_once_and_paid_once_through_pauses() {
    let world = World::new(100).await;
    world.sink.set_mode(SinkMode::TryLater);
    let mut campaign = emails(&[0]);
    campaign["steps"][0]["generate"] = json!(true);
    let campaign = world.campaign(campaign, &world.leads(2).await).await;
    world.advance(0).await;
    world.post(&format!("/v1/campaigns/{campaign}/pause"), Value::Null).await;
    world.advance(5 * DAY).await;
    world.sink.set_mode(SinkMode::Accept);
    world.post(&format!("/v1/campaigns/{campaign}/resume"), Value::Null).await;
    world.advance(DAY).await;
    assert_eq!((world.fakes.counts().effects, world.recipients().len()), (2, 2));
    assert_eq!((world.charged("message_generation").await, world.charged("email_send").await), (4, 4));
    world.comes_to(92, 0).await;
    world.end().await;
}

#[tokio::test]
async fn a_search_pays_for_what_is_new() {
    let world = World::new(1_000).await;
    let start = |limit: i64| json!({ "query": { "first": 700, "total": 25 }, "limit": limit });
    let mut found = Vec::new();
    for limit in [12, 40] {
        let job = text(&world.post(&world.here("searches"), start(limit)).await, "id");
        world.advance(0).await;
        let view = world.get(&format!("/v1/searches/{job}")).await;
        assert_eq!(view["status"], "completed");
        found.push((view["delivered"].as_i64(), view["duplicates"].as_i64()));
    }
    assert_eq!(found, [(Some(12), Some(0)), (Some(13), Some(12))]);
    assert_eq!(world.items("leads?limit=500").await.len(), 25);
    world.comes_to(900, 0).await;
    world.end().await;
}

#[tokio::test]
async fn a_canceled_search_keeps_what_it_paid_for() {
    let world = World::new(1_000).await;
    world.fakes.set_delay(Duration::from_millis(150));
    let job = json!({ "query": { "first": 800 }, "limit": 500 });
    let job = text(&world.post(&world.here("searches"), job).await, "id");
    let advancing = tokio::spawn(world.advancing(0));
    tokio::time::sleep(Duration::from_millis(400)).await;
    world.post(&format!("/v1/searches/{job}/cancel"), Value::Null).await;
    advancing.await.expect("it ends");
    let view = world.get(&format!("/v1/searches/{job}")).await;
    let delivered = view["delivered"].as_i64().expect("a number");
    assert!(view["status"] == "canceled" && (1..500).contains(&delivered), "{view}");
    assert_eq!(world.items("leads?limit=500").await.len() as i64, delivered);
    world.comes_to(1_000 - 4 * delivered, 0).await;
    world.end().await;
}

#[tokio::test]
async fn a_page_that_nobody_can_vouch_for_ends_its_search_unpaid() {
    let habits = Habits { idempotent: false, ..Habits::default() };
    let world = World::with(100, json!({}), habits).await;
    world.fakes.fail(Fake::Discovery, Failure::CloseAfterEffect, 1);
    let search = json!({ "query": { "first": 900 }, "limit": 5 });
    let job = text(&world.post(&world.here("searches"), search).await, "id");
    world.advance(0).await;
    assert_eq!(world.holds("in_doubt").await.len(), 1);
    world.comes_to(80, 20).await;
    world.advance(4 * DAY).await;
    let view = world.get(&format!("/v1/searches/{job}")).await;
    assert_eq!((&view["status"], &view["delivered"]), (&json!("failed"), &json!(0)));
    assert_eq!(world.fakes.calls().len(), 1, "it is not asked again");
    world.comes_to(100, 0).await;
    world.end().await;
}
