//! Campaigns that must not be launched as they were written, and leads that are somebody else's.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{World, emails, text};

/// A campaign of one step with this subject and template, and an enriched field.
fn saying(subject: &str, template: &str) -> Value {
    let step = json!({ "channel": "email", "after_days": 0, "subject": subject, "template": template });
    json!({ "name": "Texts", "enrich": ["company_size"], "steps": [step] })
}

#[tokio::test]
async fn what_a_text_names_and_nobody_has_is_said_before_the_launch() {
    let world = World::new(100).await;
    let lead = json!({ "name": "Lead 0001", "email": "lead0001@example.com",
        "fields": { "industry": "Software", "size": 7, "note": "{\"compani\":1}" } });
    let leads = world.import(vec![lead]).await;
    let good =
        "{{name}}, {{title}}, {{ company }}, {{email}}, {{linkedin_url}}, {{industry}}, {{company_size}}";
    // The subject, the template, the field that is named, and every name that must be in the answer.
    type Named<'a> = Option<(&'a str, &'a [&'a str])>;
    let table: [(&str, &str, Named); 7] = [
        (good, good, None),
        (good, "{{compani}} {{name}}", Some(("steps[0].template", &["{{compani}}"]))),
        ("{{compani}}", "{{Size}}, {{compani}}", Some(("steps[0].subject", &["{{compani}}", "{{Size}}"]))),
        ("{{email_verified}}", good, Some(("steps[0].subject", &["{{email_verified}}"]))),
        (good, "{{contact}}", Some(("steps[0].template", &["{{contact}}"]))),
        (good, "{{100%}} {{_}}", Some(("steps[0].template", &["{{100%}}", "{{_}}"]))),
        (good, "no names at all", None),
    ];
    for (subject, template, bad) in table {
        let id = text(&world.post(&world.here("campaigns"), saying(subject, template)).await, "id");
        let path = format!("/v1/campaigns/{id}");
        let (status, answer) = world.send(Method::POST, &format!("{path}/launch"), Value::Null).await;
        let Some((field, names)) = bad else {
            assert_eq!(status, StatusCode::OK, "{template}: {answer}");
            continue;
        };
        assert_eq!((status, &answer["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!(field)), "{answer}");
        let detail = text(&answer, "detail");
        assert!(names.iter().all(|name| detail.contains(name)), "{detail}");
        assert!(!detail.contains("industry") && !detail.contains("{{name}}"), "{detail}");
        assert_eq!(world.view(&id).await["status"], "draft");
        let steps = json!({ "steps": saying("Right", "{{name}} {{size}}")["steps"] });
        let (status, _) = world.send(Method::PATCH, &path, steps).await;
        assert_eq!(status, StatusCode::OK);
        world.post(&format!("{path}/leads"), json!({ "leads": leads })).await;
        world.post(&format!("{path}/launch"), Value::Null).await;
    }
    world.end().await;
}

#[tokio::test]
async fn a_delay_that_makes_no_sense_is_named() {
    let world = World::new(10).await;
    let draft = text(&world.post(&world.here("campaigns"), emails(&[0, 1])).await, "id");
    for days in ["-1", "366", "9223372036854775807", "-9223372036854775808", "1.5", "1e300", "\"2\"", "[1]"] {
        let mut campaign = emails(&[0, 1]);
        campaign["steps"][1]["after_days"] = days.parse().expect("JSON");
        let steps = json!({ "steps": campaign["steps"] });
        let made = world.send(Method::POST, &world.here("campaigns"), campaign).await;
        let changed = world.send(Method::PATCH, &format!("/v1/campaigns/{draft}"), steps).await;
        for (status, answer) in [made, changed] {
            let expected = (StatusCode::UNPROCESSABLE_ENTITY, &json!("steps[1].after_days"));
            assert_eq!((status, &answer["field"]), expected, "{days}: {answer}");
        }
    }
    assert_eq!(world.items("campaigns").await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn leads_of_another_workspace_are_nowhere_taken() {
    let world = World::new(10).await;
    let mine = world.leads(1).await;
    let other = text(&world.post("/v1/workspaces", json!({ "name": "Other" })).await, "id");
    let there = format!("/v1/workspaces/{other}");
    let lead = json!({ "leads": [{ "name": "Lead 0002", "email": "lead0002@example.com" }] });
    world.post(&format!("{there}/leads"), lead).await;
    let foreign = text(&world.get(&format!("{there}/leads")).await["items"][0], "id");
    let draft = text(&world.post(&world.here("campaigns"), emails(&[0])).await, "id");
    let both = json!([mine[0], foreign]);
    let table = [
        (format!("/v1/campaigns/{draft}/leads"), json!({ "leads": both }), "leads[1]"),
        (world.here("enrichments"), json!({ "leads": both, "fields": ["contact"] }), "leads[1]"),
        (world.here("messages"), json!({ "lead": foreign, "campaign": draft, "step": 0 }), "lead"),
    ];
    for (path, body, field) in table {
        let (status, answer) = world.send(Method::POST, &path, body).await;
        let expected = (StatusCode::UNPROCESSABLE_ENTITY, &json!(field));
        assert_eq!((status, &answer["field"]), expected, "{path}: {answer}");
    }
    let leads = world.get(&format!("/v1/campaigns/{draft}/leads")).await;
    assert_eq!(leads["items"], json!([]), "not even the own one was added");
    world.end().await;
}

#[tokio::test]
async fn what_a_workspace_says_of_itself_reaches_whoever_writes_its_messages() {
    let world = World::new(100).await;
    let path = world.here("strategy");
    let empty = json!({ "sender": "", "offer": "", "proof": "", "tone": "", "call_to_action": "" });
    assert_eq!(world.get(&path).await, empty);
    for (body, field) in [
        (json!({ "tone": "x".repeat(1_001) }), "tone"),
        (json!({ "proof": "a\u{0}b" }), "proof"),
        (json!({ "offer": 7 }), "offer"),
    ] {
        let (status, answer) = world.send(Method::PUT, &path, body).await;
        assert!(status.is_client_error() && answer["field"] == field, "{answer}");
    }
    let said = "Reply \"yes\" to {{name}}\nor not";
    let (status, answer) = world.send(Method::PUT, &path, json!({ "call_to_action": said })).await;
    assert_eq!((status, text(&answer, "call_to_action")), (StatusCode::OK, said.to_owned()), "{answer}");
    assert_eq!(world.get(&path).await, answer);
    let leads = world.leads(1).await;
    let step = json!({ "channel": "email", "after_days": 0, "generate": true, "template": "Ask." });
    world.campaign(json!({ "name": "Told", "steps": [step] }), &leads).await;
    world.advance(0).await;
    let sent = world.sink.messages();
    let body = sent.iter().map(|message| message.body.as_str()).collect::<String>();
    assert!(body.contains("Reply \"yes\" to {{name}} or not"), "{body}");
    world.end().await;
}
