//! Budgets and work in the background: what one refuses pauses in its place, and goes on once there is room.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{DAY, Habits, World, emails, reasons, text};

async fn set(world: &World, budgets: Value) {
    let (status, answer) =
        world.send(Method::PUT, &world.here("budgets"), json!({ "budgets": budgets })).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}

async fn used(world: &World) -> Vec<i64> {
    let shown = world.get(&world.here("budgets")).await;
    shown["budgets"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["used"].as_i64().expect("a number"))
        .collect()
}

/// What people were told of limits, oldest first.
async fn told(world: &World) -> Vec<String> {
    let mut told = world.items("notifications").await;
    told.reverse();
    told.iter().filter(|notice| notice["kind"] == "credit_cap").map(|notice| text(notice, "title")).collect()
}

/// Everything due happens. Work that met a limit while pieces elsewhere were under way asks again after ten seconds.
async fn come_to_rest(world: &World) {
    world.advance(0).await;
    world.advance(10).await;
}

fn each_campaign(per: &str, credits: i64) -> Value {
    json!({ "scope": "campaign", "per": per, "credits": credits })
}

#[tokio::test]
async fn a_campaign_pauses_at_its_budget_and_goes_on_when_it_is_raised() {
    let world = World::new(100).await;
    set(&world, json!([each_campaign("total", 6)])).await;
    let leads = world.leads(5).await;
    let campaign = world.campaign(emails(&[0]), &leads).await;
    world.advance(DAY).await;
    assert_eq!((world.recipients().len(), used(&world).await), (3, vec![6]));
    let view = world.view(&campaign).await;
    assert_eq!((reasons(&view), &view["status"]), (vec!["credit_cap".to_owned()], &json!("paused")));
    assert_eq!(view["pause_reasons"][0]["needed"], 2);
    // It does not go round and round meanwhile.
    let pieces = world.pieces().await;
    world.advance(5 * DAY).await;
    assert_eq!(world.pieces().await, pieces);
    // Neither credits nor a budget that is still too small let it go on; a person may try, and it stops again.
    world.grant(100).await;
    set(&world, json!([each_campaign("total", 7)])).await;
    assert_eq!(reasons(&world.view(&campaign).await), ["credit_cap"]);
    world.post(&format!("/v1/campaigns/{campaign}/resume"), Value::Null).await;
    world.advance(0).await;
    assert_eq!(
        (reasons(&world.view(&campaign).await), world.recipients().len()),
        (vec!["credit_cap".to_owned()], 3)
    );
    set(&world, json!([each_campaign("total", 8)])).await;
    assert_eq!(reasons(&world.view(&campaign).await), Vec::<String>::new());
    world.advance(0).await;
    assert_eq!(world.recipients().len(), 4);
    set(&world, json!([])).await;
    world.advance(0).await;
    assert_eq!(world.recipients().len(), 5);
    assert_eq!(world.view(&campaign).await["status"], "completed");
    world.comes_to(190, 0).await;
    world.end().await;
}

#[tokio::test]
async fn a_limit_that_stops_work_is_told_once_in_its_time() {
    let world = World::with(1_000, json!({ "admin_email": "admin@example.com" }), Habits::default()).await;
    set(&world, json!([{ "scope": "workspace", "per": "day", "credits": 6 }])).await;
    let leads = world.leads(12).await;
    let campaigns = [world.campaign(emails(&[0]), &leads).await, world.campaign(emails(&[0]), &leads).await];
    come_to_rest(&world).await;
    let day = "Limit reached: 6 credits a day for the workspace.";
    assert_eq!(told(&world).await, [day], "both stopped, and one notice says so");
    world.post(&format!("/v1/campaigns/{}/resume", campaigns[0]), Value::Null).await;
    come_to_rest(&world).await;
    assert_eq!(told(&world).await, [day], "it is the same crossing");
    let notices = world.items("notifications").await;
    let notice = notices.iter().find(|notice| notice["kind"] == "credit_cap").expect("a notice");
    let body = text(notice, "body");
    assert!(body.starts_with("6 of 6 are used or reserved, and the next step needs 2. Campaign "), "{body}");
    assert!(body.ends_with("00:00 or when the limit is raised."), "{body}");
    world.advance(DAY).await;
    assert_eq!(told(&world).await, [day, day], "the next day is another crossing");
    let total = json!({ "scope": "campaign", "label": campaigns[0], "per": "total", "credits": 12 });
    set(&world, json!([total])).await;
    world.advance(DAY).await;
    let name = text(&world.view(&campaigns[0]).await, "name");
    let total = format!("Limit reached: 12 credits in total for {name}.");
    assert_eq!(told(&world).await, [day, day, total.as_str()]);
    world.end().await;
}

#[tokio::test]
async fn what_stays_paused_is_told_of_the_limit_that_keeps_it() {
    let world = World::with(1_000, json!({ "admin_email": "admin@example.com" }), Habits::default()).await;
    let workspace = |per: &str, credits: i64| json!({ "scope": "workspace", "per": per, "credits": credits });
    set(&world, json!([workspace("day", 6), workspace("period", 9)])).await;
    let campaign = world.campaign(emails(&[0]), &world.leads(12).await).await;
    world.advance(0).await;
    let day = "Limit reached: 6 credits a day for the workspace.";
    assert_eq!(told(&world).await, [day]);
    // The next day the period refuses, at 8 of 9.
    world.advance(DAY).await;
    let period = "Limit reached: 9 credits a period for the workspace.";
    assert_eq!((told(&world).await, used(&world).await), (vec![day.into(), period.into()], vec![2, 8]));
    // Another limit that is reached already when it is set; the same one again is no news.
    for _ in 0..2 {
        set(&world, json!([each_campaign("total", 8)])).await;
    }
    world.advance(DAY).await;
    let total =
        format!("Limit reached: 8 credits in total for {}.", text(&world.view(&campaign).await, "name"));
    assert_eq!(told(&world).await, [day, period, &total]);
    // One that is less than a single step never has room, whatever day it is.
    set(&world, json!([workspace("day", 1)])).await;
    for _ in 0..3 {
        world.advance(DAY).await;
    }
    let never = "Limit reached: 1 credit a day for the workspace.";
    assert_eq!(told(&world).await, [day, period, &total, never]);
    let notices = world.items("notifications").await;
    let body = text(notices.iter().find(|notice| notice["title"] == never).expect("a notice"), "body");
    assert!(body.ends_with("It continues when the limit is raised."), "{body}");
    world.end().await;
}

#[tokio::test]
async fn a_campaign_that_reaches_its_own_cap_is_told_of() {
    let world = World::new(1_000).await;
    let mut capped = emails(&[0]);
    capped["credit_cap"] = json!(5);
    let campaign = world.campaign(capped, &world.leads(4).await).await;
    world.advance(0).await;
    let name = text(&world.view(&campaign).await, "name");
    let first = format!("Limit reached: 5 credits for {name}.");
    assert_eq!(
        (reasons(&world.view(&campaign).await), told(&world).await),
        (vec!["credit_cap".to_owned()], vec![first.clone()])
    );
    world.post(&format!("/v1/campaigns/{campaign}/resume"), Value::Null).await;
    world.advance(0).await;
    assert_eq!(told(&world).await, [first]);
    world.end().await;
}

#[tokio::test]
async fn each_campaign_has_its_own_and_the_day_turns_over_for_all() {
    let world = World::with(100, json!({ "time_zone": "Asia/Tokyo" }), Habits::default()).await;
    set(&world, json!([each_campaign("day", 4), { "scope": "workspace", "per": "day", "credits": 6 }])).await;
    let leads = world.leads(4).await;
    let campaigns = [world.campaign(emails(&[0]), &leads).await, world.campaign(emails(&[0]), &leads).await];
    come_to_rest(&world).await;
    assert_eq!((world.recipients().len(), used(&world).await[1]), (3, 6));
    for campaign in &campaigns {
        assert_eq!(reasons(&world.view(campaign).await), ["credit_cap"]);
    }
    // The world begins at 18:00 in Tokyo.
    world.advance(6 * 3_600 - 10 - 1).await;
    assert_eq!(world.recipients().len(), 3);
    world.advance(1).await;
    assert_eq!(world.recipients().len(), 6);
    world.advance(DAY).await;
    assert_eq!(world.recipients().len(), 8);
    for campaign in &campaigns {
        assert_eq!(world.view(campaign).await["status"], "completed");
    }
    world.comes_to(84, 0).await;
    world.end().await;
}

#[tokio::test]
async fn what_a_caller_gives_back_lets_a_campaign_go_on() {
    let world = World::new(100).await;
    set(&world, json!([{ "scope": "workspace", "per": "total", "credits": 5 }])).await;
    let body = json!({ "operation": "email_send", "quantity": 2 });
    let hold = text(&world.post(&world.here("holds"), body).await, "id");
    let campaign = world.campaign(emails(&[0]), &world.leads(2).await).await;
    world.advance(0).await;
    assert_eq!(
        (reasons(&world.view(&campaign).await), world.recipients().len()),
        (vec!["credit_cap".to_owned()], 0)
    );
    world.post(&format!("/v1/holds/{hold}/settle"), json!({ "quantity": 1 })).await;
    world.advance(0).await;
    assert_eq!((world.recipients().len(), used(&world).await), (1, vec![4]));
    let body = json!({ "quantity": 1, "reason": "it bounced" });
    world.post(&format!("/v1/holds/{hold}/refund"), body).await;
    world.advance(0).await;
    assert_eq!((world.recipients().len(), used(&world).await), (2, vec![4]));
    world.comes_to(96, 0).await;
    world.end().await;
}

#[tokio::test]
async fn searches_enrichment_and_messages_keep_them_too() {
    let world = World::new(1_000).await;
    set(&world, json!([{ "scope": "workspace", "per": "total", "credits": 50 }])).await;
    let search = json!({ "query": { "first": 700, "total": 25 }, "limit": 25 });
    let search = text(&world.post(&world.here("searches"), search).await, "id");
    world.advance(0).await;
    let view = world.get(&format!("/v1/searches/{search}")).await;
    assert_eq!((reasons(&view), &view["delivered"]), (vec!["credit_cap".to_owned()], &json!(10)));
    let (status, answer) = world
        .send(Method::POST, &world.here("searches/preview"), json!({ "query": { "first": 1, "total": 1 } }))
        .await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let leads: Vec<String> = world.items("leads?limit=4").await.iter().map(|lead| text(lead, "id")).collect();
    let enrichment = json!({ "leads": leads, "fields": ["contact"] });
    let enrichment = text(&world.post(&world.here("enrichments"), enrichment).await, "id");
    world.advance(0).await;
    let view = world.get(&format!("/v1/enrichments/{enrichment}")).await;
    assert_eq!(reasons(&view), ["credit_cap"], "{view}");
    set(&world, json!([each_campaign("total", 2)])).await;
    world.advance(0).await;
    assert_eq!(world.get(&format!("/v1/enrichments/{enrichment}")).await["status"], "completed");
    assert_eq!(world.get(&format!("/v1/searches/{search}")).await["status"], "completed");
    // A message is written for a person, and then a second one, which is one too many.
    let mut campaign = emails(&[5]);
    campaign["steps"][0]["generate"] = json!(true);
    let fresh = world.leads(2).await;
    let campaign = world.campaign(campaign, &fresh).await;
    let message = |lead: &str| json!({ "lead": lead, "campaign": campaign, "step": 0 });
    world.post(&world.here("messages"), message(&fresh[0])).await;
    let before = world.fakes.counts().effects;
    let (status, answer) = world.send(Method::POST, &world.here("messages"), message(&fresh[1])).await;
    assert_eq!(
        (status.as_u16(), &answer["code"], &answer["label"]),
        (402, &json!("budget_exceeded"), &json!(campaign))
    );
    assert_eq!(world.fakes.counts().effects, before, "nothing was asked for");
    world.end().await;
}

#[tokio::test]
async fn what_was_used_is_known_after_a_crash_and_to_every_node() {
    let mut world = World::new(1_000).await;
    set(&world, json!([{ "scope": "workspace", "per": "day", "credits": 40 }])).await;
    let charge = json!({ "operation": "email_send", "quantity": 3 });
    world.post(&world.here("charges"), charge.clone()).await;
    world.post(&world.here("holds"), charge.clone()).await;
    world.restart().await;
    assert_eq!(used(&world).await, [12]);
    world.post(&world.here("charges"), charge.clone()).await;
    if world.is_shared() {
        let other = world.beside().await;
        for node in [&other, &world, &other] {
            node.post(&node.here("charges"), charge.clone()).await;
        }
        for node in [&world, &other] {
            let (status, answer) = node.send(Method::POST, &node.here("charges"), charge.clone()).await;
            assert_eq!((status.as_u16(), &answer["used"]), (402, &json!(36)), "{answer}");
        }
        // Set at one node, it holds at the other from then on, and what was paused there goes on.
        set(&other, json!([{ "scope": "workspace", "per": "day", "credits": 30 }])).await;
        let campaign = world.campaign(emails(&[0]), &world.leads(1).await).await;
        world.advance(0).await;
        assert_eq!(reasons(&world.view(&campaign).await), ["credit_cap"]);
        set(&other, json!([{ "scope": "workspace", "per": "day", "credits": 38 }])).await;
        assert_eq!(reasons(&world.view(&campaign).await), Vec::<String>::new());
        world.advance(0).await;
        assert_eq!(world.recipients().len(), 1);
        let mut other = other;
        other.stop().await;
    }
    world.end().await;
}
