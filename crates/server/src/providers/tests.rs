//! The clients against local providers over real sockets: every row of the table of outcomes.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use super::*;
use crate::config::{Cost, EnrichmentConfig, HttpConfig, MessagesConfig, Secret};
use crate::demo::http_fakes::{Failure, Fake, HttpFakes};

mod smtp;

/// Long enough for any answer, even on a busy machine.
const PATIENT: Duration = Duration::from_secs(30);
/// For those who never answer: short enough to wait for.
const HASTY: Duration = Duration::from_millis(800);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Able {
    Repeat,
    Query,
    Neither,
}

fn config(fakes: &HttpFakes, path: &str, able: Able) -> HttpConfig {
    HttpConfig {
        url: format!("{}{path}", fakes.url),
        token: Some(Secret::new(&*fakes.token)),
        idempotent: able == Able::Repeat,
        query: able == Able::Query,
        timeout: PATIENT,
    }
}

fn linkedin(fakes: &HttpFakes, able: Able) -> HttpProvider {
    HttpProvider::new("linkedin", &config(fakes, "/linkedin", able)).unwrap()
}

fn lead() -> Value {
    json!({"external_id": "lead-0001", "name": "Lead 0001"})
}

async fn invite(provider: &HttpProvider, key: &str) -> Outcome<Accepted> {
    provider.linkedin(LinkedinAction::Invite, &lead(), "Hello", "account-1", key).await
}

fn word<T>(outcome: &Outcome<T>) -> &'static str {
    match outcome {
        Outcome::Done(_) => "done",
        Outcome::ItemFailed { .. } => "item failed",
        Outcome::Unavailable { .. } => "unavailable",
        Outcome::TryLater { .. } => "try later",
        Outcome::Unknown { .. } => "unknown",
    }
}

/// Lets the next `times` calls of a send and of a look-up fail this way; expects these outcomes after so many calls.
async fn check(able: Able, failure: Failure, times: usize, send: &str, lookup: &str, calls: usize) {
    let fakes = HttpFakes::start().await.unwrap();
    fakes.fail(Fake::Linkedin, failure.clone(), times);
    fakes.fail(Fake::Enrichment, failure.clone(), times);
    let timeout = if matches!(failure, Failure::Hang | Failure::HangAfterEffect) { HASTY } else { PATIENT };
    let provider =
        |path| HttpProvider::new("fake", &HttpConfig { timeout, ..config(&fakes, path, able) }).unwrap();
    let outcome = invite(&provider("/linkedin"), "h:1").await;
    assert_eq!(
        (word(&outcome), fakes.calls().len()),
        (send, calls),
        "send, {able:?}, {failure:?}: {outcome:?}"
    );
    let outcome = provider("/enrichment").field("industry", &lead(), "h:1").await;
    assert_eq!(word(&outcome), lookup, "look-up, {able:?}, {failure:?}: {outcome:?}");
    assert_eq!(fakes.calls().len(), 2 * calls, "look-up, {able:?}, {failure:?}");
    assert!(fakes.counts().effects <= 2, "{:?}", fakes.calls());
}

#[tokio::test]
async fn every_status_has_its_outcome() {
    // Side by side, because most of the time is spent waiting between attempts.
    let mut checks = Vec::new();
    for able in [Able::Repeat, Able::Neither] {
        for status in [400, 413, 422] {
            checks.push(check(able, Failure::Status(status), 9, "item failed", "item failed", 1));
        }
        for status in [301, 401, 402, 403, 404, 410] {
            checks.push(check(able, Failure::Status(status), 9, "unavailable", "unavailable", 1));
        }
    }
    for status in [408, 409, 425, 429, 500, 502, 503, 504] {
        checks.push(check(Able::Neither, Failure::Status(status), 9, "try later", "try later", 1));
        let send = if status == 409 { "unknown" } else { "try later" };
        checks.push(check(Able::Repeat, Failure::Status(status), 9, send, "try later", 3));
        checks.push(check(Able::Repeat, Failure::Status(status), 2, "done", "done", 3));
    }
    join_all(checks).await;
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_or_in_doubt() {
    let mut checks = Vec::new();
    for failure in [Failure::Hang, Failure::HangAfterEffect, Failure::CloseAfterEffect] {
        checks.push(check(Able::Neither, failure.clone(), 9, "unknown", "unknown", 1));
        checks.push(check(Able::Query, failure.clone(), 9, "unknown", "unknown", 1));
        checks.push(check(Able::Repeat, failure.clone(), 9, "unknown", "unknown", 3));
        checks.push(check(Able::Repeat, failure, 1, "done", "done", 2));
    }
    join_all(checks).await;
}

#[tokio::test]
async fn an_unreadable_success_is_in_doubt_unless_it_can_be_repeated_harmlessly() {
    let large = "x".repeat(post::MAX_ANSWER_BYTES + 1);
    let mut checks = Vec::new();
    for text in ["", "not json", "{\"accepted\": 3, \"found\": 3}", large.as_str()] {
        let failure = Failure::Answer(text.to_owned());
        checks.push(check(Able::Neither, failure.clone(), 9, "unknown", "unknown", 1));
        checks.push(check(Able::Repeat, failure, 9, "unknown", "try later", 3));
    }
    join_all(checks).await;
}

#[tokio::test]
async fn a_send_stays_in_doubt_when_a_refusal_follows_a_lost_answer() {
    let fakes = HttpFakes::start().await.unwrap();
    let provider = linkedin(&fakes, Able::Repeat);
    fakes.fail(Fake::Linkedin, Failure::CloseAfterEffect, 1);
    let call = tokio::spawn(async move { invite(&provider, "h:1").await });
    while fakes.calls().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    fakes.fail(Fake::Linkedin, Failure::Status(503), 9);
    assert_eq!(word(&call.await.unwrap()), "unknown");
    assert_eq!(fakes.counts().effects, 1);
}

#[tokio::test]
async fn what_never_left_is_tried_later() {
    let address = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for idempotent in [true, false] {
        let url = format!("http://{address}/linkedin");
        let config = HttpConfig { url, token: None, idempotent, query: false, timeout: PATIENT };
        let provider = HttpProvider::new("linkedin", &config).unwrap();
        assert_eq!(invite(&provider, "h:1").await, Outcome::later("linkedin cannot be reached"));
    }
}

#[tokio::test]
async fn a_wrong_token_makes_the_provider_unavailable() {
    let fakes = HttpFakes::start().await.unwrap();
    let config =
        HttpConfig { token: Some(Secret::new("wrong")), ..config(&fakes, "/linkedin", Able::Repeat) };
    let outcome = invite(&HttpProvider::new("linkedin", &config).unwrap(), "h:1").await;
    let reason = "linkedin answered 401: the bearer token is not known here".into();
    assert_eq!(outcome, Outcome::Unavailable { reason });
}

#[tokio::test]
async fn a_key_has_one_effect_and_its_status_can_be_asked() {
    let fakes = HttpFakes::start().await.unwrap();
    let provider = linkedin(&fakes, Able::Query);
    assert_eq!(provider.status("h:1").await, Outcome::Done(Status::NotSeen));
    let Outcome::Done(first) = invite(&provider, "h:1").await else { panic!("accepted") };
    assert!(first.accepted && first.id.is_some());
    assert_eq!(invite(&provider, "h:1").await, Outcome::Done(first.clone()));
    let Outcome::Done(Status::Done(Some(result))) = provider.status("h:1").await else { panic!("done") };
    assert_eq!(result["id"], json!(first.id));
    let counts = fakes.counts();
    assert_eq!((counts.calls, counts.effects, counts.repeats), (4, 1, 1));
    assert_eq!(counts.outcomes[&("invite".to_owned(), "accepted".to_owned())], 1);

    fakes.fail(Fake::Linkedin, Failure::Answer("{\"status\": \"pending\"}".into()), 1);
    assert_eq!(provider.status("h:1").await, Outcome::Done(Status::Pending));
    fakes.fail(Fake::Linkedin, Failure::CloseAfterEffect, 9);
    assert_eq!(word(&provider.status("h:1").await), "try later");
    assert_eq!(word(&linkedin(&fakes, Able::Repeat).status("h:1").await), "unavailable");
}

#[test]
fn recovery_is_what_the_provider_can_do() {
    let recovery = |query, idempotent| {
        let config =
            HttpConfig { url: "http://127.0.0.1:1".into(), token: None, idempotent, query, timeout: PATIENT };
        HttpProvider::new("x", &config).unwrap().recovery()
    };
    assert_eq!(recovery(false, true), Recovery::Repeat);
    assert_eq!(recovery(true, false), Recovery::Query);
    assert_eq!(recovery(true, true), Recovery::Query);
    assert_eq!(recovery(false, false), Recovery::Neither);
}

#[tokio::test]
async fn a_search_is_read_page_by_page() {
    let fakes = HttpFakes::start().await.unwrap();
    let discovery = HttpProvider::new("discovery", &config(&fakes, "/discovery", Able::Repeat)).unwrap();
    let query = json!({"title": "sales", "total": 70});
    let Outcome::Done(first) = discovery.search(&query, "leads", 60, None, "h:1").await else {
        panic!("a page")
    };
    assert_eq!(first.results.len(), 50);
    assert_eq!(first.results[0]["name"], "Lead 0001");
    let cursor = first.next_cursor.as_deref();
    let Outcome::Done(second) = discovery.search(&query, "leads", 60, cursor, "h:2").await else {
        panic!("a page")
    };
    assert_eq!((second.results.len(), second.next_cursor), (20, None));
    let Outcome::Done(preview) = discovery.preview(&query, "clues", 3, None, "h:3").await else {
        panic!("a page")
    };
    assert_eq!(preview.results[2]["external_id"], "clue-0003");

    // Never more than asked for, and never the same page for ever.
    let page = json!({"results": [1, 2, 3, 4], "next_cursor": "7"}).to_string();
    fakes.fail(Fake::Discovery, Failure::Answer(page), 1);
    let Outcome::Done(odd) = discovery.search(&query, "leads", 2, Some("7"), "h:4").await else {
        panic!("a page")
    };
    assert_eq!((odd.results.len(), odd.next_cursor), (2, None));
}

#[tokio::test]
async fn about_eighty_of_a_hundred_contacts_are_found() {
    let fakes = HttpFakes::start().await.unwrap();
    let provider = HttpProvider::new("enrichment", &config(&fakes, "/enrichment", Able::Repeat)).unwrap();
    let mut found = 0;
    for number in 1..=100 {
        let lead = json!({"name": format!("Lead {number:04}")});
        let Outcome::Done(contact) = provider.contact(&lead, &format!("h{number}:1")).await else {
            panic!("done")
        };
        if contact.found {
            found += 1;
            assert_eq!(contact.email, Some(format!("lead{number:04}@example.com")));
        }
    }
    assert!((70..=90).contains(&found), "{found}");
}

#[tokio::test]
async fn found_without_anything_is_not_found() {
    let fakes = HttpFakes::start().await.unwrap();
    let provider = HttpProvider::new("enrichment", &config(&fakes, "/enrichment", Able::Repeat)).unwrap();
    for answer in [
        json!({"found": true, "verified": true}),
        json!({"found": true, "email": "nobody", "verified": true}),
        json!({"found": false, "email": "lead0001@example.com", "verified": true}),
    ] {
        fakes.fail(Fake::Enrichment, Failure::Answer(answer.to_string()), 1);
        assert_eq!(provider.contact(&lead(), "h:1").await, Outcome::Done(Contact::default()));
    }
    for answer in
        [json!({"found": true}), json!({"found": true, "value": null}), json!({"found": true, "value": " "})]
    {
        fakes.fail(Fake::Enrichment, Failure::Answer(answer.to_string()), 1);
        assert_eq!(provider.field("industry", &lead(), "h:1").await, Outcome::Done(Field::default()));
    }
}

#[tokio::test]
async fn enrichment_providers_look_up_their_fields_under_their_own_numbers() {
    let fakes = HttpFakes::start().await.unwrap();
    let provider = |name: &str, fields: Option<&str>| EnrichmentConfig {
        name: name.into(),
        fields: fields.map(|field| vec![field.to_owned()]),
        cost: Cost::default(),
        http: config(&fakes, "/enrichment", Able::Neither),
    };
    let all = [provider("first", Some("contact")), provider("second", None), provider("third", Some("size"))];
    let enrichment = Enrichment::new(&all).unwrap();
    let asked = |field: &str| {
        enrichment.asked_for(field).map(|(number, provider)| (number, &*provider.name)).collect::<Vec<_>>()
    };
    assert_eq!(asked("contact"), [(1, "first"), (2, "second")]);
    assert_eq!(asked("size"), [(2, "second"), (3, "third")]);
    let answers = [
        (
            json!({"found": true, "email": "good@example.com", "verified": true}),
            Some(("good@example.com", true)),
        ),
        (json!({"found": true, "email": "guess@example.com"}), Some(("guess@example.com", false))),
        (json!({"found": true, "email": "nothing"}), None),
        (json!({"found": false, "email": "no@example.com", "verified": true}), None),
    ];
    for (answer, expected) in answers {
        fakes.fail(Fake::Enrichment, Failure::Answer(answer.to_string()), 1);
        let found = enrichment.providers()[0].look_up("contact", &lead(), "h:1").await;
        let expected = expected.map(|(value, sure)| Found { value: json!(value), sure });
        assert_eq!(found, Outcome::Done(expected), "{answer}");
    }
}

#[tokio::test]
async fn only_a_whole_message_is_a_message() {
    let fakes = HttpFakes::start().await.unwrap();
    let writer = MessageWriter::new(&MessagesConfig {
        base_url: format!("{}/v1", fakes.url),
        model: "writer-1".into(),
        token: Some(Secret::new(&*fakes.token)),
        timeout: PATIENT,
    })
    .unwrap();
    let Outcome::Done(text) = writer.write("Be brief.", "Lead 0001 at Company 001", "h:1").await else {
        panic!("a message")
    };
    assert!(text.contains("Lead 0001 at Company 001"), "{text}");
    let choice = |choice: Value| Failure::Answer(json!({"choices": [choice]}).to_string());
    let message = |content: Value| json!({"message": {"content": content}, "finish_reason": "stop"});
    for (failure, expected) in [
        (choice(message(json!("  Hello.\n"))), "done"),
        (choice(message(json!(" \n"))), "item failed"),
        (choice(message(Value::Null)), "item failed"),
        (choice(json!({"message": {"content": "Half a", }, "finish_reason": "length"})), "item failed"),
        (choice(json!({"message": {"content": "No", "refusal": "I cannot."}})), "item failed"),
        (choice(json!({"message": {"content": ""}, "finish_reason": "content_filter"})), "item failed"),
        (Failure::Answer("{\"choices\": []}".into()), "item failed"),
        (Failure::Answer("{}".into()), "try later"),
        (Failure::Status(400), "item failed"),
        (Failure::Status(401), "unavailable"),
        (Failure::Status(429), "try later"),
        (Failure::Status(500), "try later"),
        (Failure::CloseAfterEffect, "try later"),
    ] {
        fakes.fail(Fake::Messages, failure.clone(), 9);
        assert_eq!(word(&writer.write("Be brief.", "Lead 0001", "h:2").await), expected, "{failure:?}");
    }
}
