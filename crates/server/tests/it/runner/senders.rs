//! Whom a workspace sends from, and the person who looks at a message first.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{DAY, World, emails, text};

/// An e-mail campaign with more of its fields set.
fn mails_with(more: &Value) -> Value {
    let mut campaign = emails(&[0]);
    let more = more.as_object().expect("an object");
    campaign.as_object_mut().expect("an object").extend(more.clone());
    campaign
}

#[tokio::test]
async fn campaigns_share_the_limit_of_a_sender_and_nobody_is_left_out() {
    let world = World::new(1_000).await;
    let sender = json!({ "kind": "email", "from": "Team <team@example.com>", "daily_limit": 5 });
    let sender = text(&world.post(&world.here("senders"), sender).await, "id");
    let leads = world.leads(6).await;
    let more = json!({ "senders": [sender] });
    let first = world.campaign(mails_with(&more), &leads).await;
    let second = world.campaign(mails_with(&more), &leads).await;
    let mut after = Vec::new();
    for seconds in [0, DAY, DAY] {
        world.advance(seconds).await;
        after.push(world.sink.messages().len());
    }
    assert_eq!(after, [5, 10, 12]);
    for campaign in [first, second] {
        assert_eq!(world.view(&campaign).await["status"], "completed");
    }
    world.comes_to(1_000 - 24, 0).await;
    world.end().await;
}

#[tokio::test]
async fn a_senders_password_is_never_told_again() {
    let world = World::new(100).await;
    let sender = json!({ "kind": "email", "from": "team@example.com", "daily_limit": 5,
        "smtp_url": "smtp://ann:quiet-word@mail.example.com:587?tls=required" });
    let made = world.post(&world.here("senders"), sender).await;
    assert_eq!(made["server"], "mail.example.com:587");
    let listed = world.get(&world.here("senders")).await;
    for answer in [made, listed] {
        assert!(!answer.to_string().contains("quiet-word"), "{answer}");
    }
    world.end().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_sender_is_named() {
    let world = World::new(100).await;
    let good = json!({ "kind": "email", "from": "team@example.com", "daily_limit": 5 });
    for (field, value) in [
        ("kind", json!("pigeon")),
        ("from", json!("team@example.com\r\nBcc: x@example.com")),
        ("daily_limit", json!(0)),
        ("daily_limit", json!(-1)),
        ("daily_limit", json!(100_001)),
        ("spacing_seconds", json!(-1)),
        ("hours", json!("17:00-09:00")),
        ("smtp_url", json!("gopher://x")),
        ("account", json!("ann")),
    ] {
        let mut bad = good.clone();
        bad[field] = value.clone();
        let (status, answer) = world.send(Method::POST, &world.here("senders"), bad).await;
        assert_eq!((status, &answer["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!(field)), "{value}");
    }
    world.end().await;
}

#[tokio::test]
async fn nothing_goes_before_a_person_has_approved_it() {
    let world = World::new(100).await;
    let leads = world.leads(2).await;
    let campaign = world.campaign(mails_with(&json!({ "approve": true })), &leads).await;
    world.advance(DAY).await;
    assert_eq!(world.sink.messages().len(), 0);
    assert_eq!(world.view(&campaign).await["leads"]["awaiting_approval"], 2);
    let messages = world.items("messages").await;
    assert_eq!(messages.len(), 2);
    let message = messages.iter().find(|message| message["lead"] == json!(leads[0])).expect("a message");
    let path = format!("/v1/messages/{}", text(message, "id"));
    // What is not shown is left out, and counts all the same.
    let unseen = format!("a{}", "\u{89}".repeat(10_000));
    for wrong in ["", "\u{89}", unseen.as_str()] {
        let (status, answer) = world.send(Method::PATCH, &path, json!({ "text": wrong })).await;
        assert_eq!(
            (status, &answer["field"]),
            (StatusCode::UNPROCESSABLE_ENTITY, &json!("text")),
            "{answer}"
        );
    }
    let (status, _) = world.send(Method::PATCH, &path, json!({ "text": "In my own words" })).await;
    assert_eq!(status, StatusCode::OK);
    world.post(&format!("{path}/approve"), Value::Null).await;
    world.advance(0).await;
    let mails = world.sink.messages();
    assert_eq!(mails.len(), 1);
    assert!(mails[0].body.contains("In my own words"), "{:?}", mails[0]);
    let (status, _) = world.send(Method::PATCH, &path, json!({ "text": "Too late" })).await;
    assert_eq!(status, StatusCode::CONFLICT);
    world.comes_to(98, 0).await;
    world.end().await;
}
