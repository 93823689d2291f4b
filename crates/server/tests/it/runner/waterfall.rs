//! Several providers for one field: asked in order under one hold, charged once, and none of them asked twice for what it has said.

use std::time::Duration;

use scrip::config::{Cost, CostPer, EnrichmentConfig, HttpConfig, Secret};
use scrip::demo::http_fakes::{Failure, Fake, HttpFakes};
use serde_json::{Value, json};

use crate::world::{DAY, Habits, World, text};

const NAMES: [&str; 3] = ["first", "second", "third"];
const PATIENCE: Duration = Duration::from_millis(700);

/// Three providers of contacts.
async fn providers() -> Vec<HttpFakes> {
    let mut fakes = Vec::new();
    for _ in NAMES {
        fakes.push(HttpFakes::start().await.expect("a free port"));
    }
    fakes
}

/// How they are configured. The first costs a call, the others a result.
pub(crate) fn configured(fakes: &[HttpFakes], idempotent: bool) -> Vec<EnrichmentConfig> {
    let one = |(name, fake): (&&str, &HttpFakes)| EnrichmentConfig {
        name: (*name).to_owned(),
        fields: None,
        cost: match *name {
            "first" => Cost { micros: 1_500, per: CostPer::Call },
            "second" => Cost { micros: 20_000, per: CostPer::Result },
            _ => Cost { micros: 110_000, per: CostPer::Result },
        },
        http: HttpConfig {
            url: format!("{}/enrichment", fake.url),
            token: Some(Secret::new(fake.token.clone())),
            idempotent,
            query: false,
            timeout: PATIENCE,
        },
    };
    NAMES.iter().zip(fakes).map(one).collect()
}

async fn world(fakes: &[HttpFakes], idempotent: bool) -> World {
    let habits = Habits { enrichers: configured(fakes, idempotent), ..Habits::default() };
    World::with(1_000, json!({}), habits).await
}

/// A job for the contact of a new lead; answers the job's path and the lead.
async fn look_up(world: &World, number: usize) -> (String, String) {
    let lead = json!({ "external_id": format!("x-{number}"), "name": format!("Lead {number:04}") });
    let leads = world.import(vec![lead]).await;
    let job = json!({ "leads": leads, "fields": ["contact"] });
    let job = text(&world.post(&world.here("enrichments"), job).await, "id");
    (format!("/v1/enrichments/{job}"), leads[0].clone())
}

/// Whom a lead was looked up with, oldest first, and what they said.
async fn calls(world: &World, lead: &str) -> Vec<(String, String)> {
    let list = world.get(&format!("/v1/leads/{lead}/calls")).await;
    let items = list["items"].as_array().expect("a list");
    items.iter().rev().map(|call| (text(call, "provider"), text(call, "outcome"))).collect()
}

fn said(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, outcome)| ((*name).to_owned(), (*outcome).to_owned())).collect()
}

fn found(email: &str) -> Failure {
    Failure::Answer(json!({ "found": true, "email": email, "verified": true }).to_string())
}

fn guess(email: &str) -> Failure {
    Failure::Answer(json!({ "found": true, "email": email, "verified": false }).to_string())
}

fn nothing() -> Failure {
    Failure::Answer(json!({ "found": false }).to_string())
}

/// The calls that reached each provider.
fn reached(fakes: &[HttpFakes]) -> Vec<usize> {
    fakes.iter().map(|fake| fake.calls().len()).collect()
}

#[tokio::test]
async fn whoever_finds_something_ends_it_and_is_named() {
    let fakes = providers().await;
    let world = world(&fakes, true).await;
    let garbage = || Failure::Answer("<html>".to_owned());
    let status = Failure::Status;
    // What the three say, what is noted of it, and what is charged.
    type Row<'a> = ([Failure; 3], &'a [(&'a str, &'a str)], i64);
    let table: Vec<Row<'_>> = vec![
        ([found("a@example.com"), nothing(), nothing()], &[("first", "found")], 6),
        (
            [nothing(), garbage(), found("b@example.com")],
            &[("first", "not_found"), ("second", "later"), ("third", "found")],
            6,
        ),
        (
            [status(401), status(500), found("c@example.com")],
            &[("first", "refused"), ("second", "later"), ("third", "found")],
            6,
        ),
        ([status(422), found("d@example.com"), nothing()], &[("first", "failed"), ("second", "found")], 6),
        (
            [found("no address"), Failure::Hang, found("e@example.com")],
            &[("first", "not_found"), ("second", "unknown"), ("third", "found")],
            6,
        ),
        (
            [guess("f@example.com"), found("g@example.com"), nothing()],
            &[("first", "found"), ("second", "found")],
            6,
        ),
        (
            [guess("h@example.com"), nothing(), nothing()],
            &[("first", "found"), ("second", "not_found"), ("third", "not_found")],
            0,
        ),
        (
            [nothing(), nothing(), nothing()],
            &[("first", "not_found"), ("second", "not_found"), ("third", "not_found")],
            0,
        ),
    ];
    let mut charged = 0;
    for (number, (answers, expected, credits)) in table.into_iter().enumerate() {
        let what = format!("{number}: {answers:?}");
        for (fake, answer) in fakes.iter().zip(answers) {
            fake.fail(Fake::Enrichment, answer, usize::MAX);
        }
        let (job, lead) = look_up(&world, number).await;
        world.advance(0).await;
        assert_eq!(calls(&world, &lead).await, said(expected), "{what}");
        let view = world.get(&job).await;
        assert_eq!(
            (&view["status"], &view["credits_used"]),
            (&json!("completed"), &json!(credits)),
            "{what}"
        );
        charged += credits;
        let entry = &world.items("entries?kind=charge&limit=1").await[0];
        let finder = expected.last().filter(|(_, outcome)| *outcome == "found" && credits > 0);
        if let Some((finder, _)) = finder {
            assert_eq!(
                (&entry["lead"], &entry["reason"]),
                (&json!(lead), &json!(format!("found by {finder}")))
            );
        }
    }
    world.comes_to(1_000 - charged, 0).await;
    world.end().await;
}

#[tokio::test]
async fn a_lost_answer_is_in_doubt_only_when_nobody_finds_anything() {
    let fakes = providers().await;
    let world = world(&fakes, false).await;
    let set = |answers: [Failure; 3]| {
        fakes.iter().zip(answers).for_each(|(fake, answer)| fake.fail(Fake::Enrichment, answer, usize::MAX));
    };
    set([Failure::CloseAfterEffect, nothing(), found("a@example.com")]);
    let (job, lead) = look_up(&world, 1).await;
    world.advance(0).await;
    let expected = said(&[("first", "unknown"), ("second", "not_found"), ("third", "found")]);
    assert_eq!(calls(&world, &lead).await, expected);
    assert_eq!(world.get(&job).await["credits_used"], 6, "paid once, whatever the first one did");
    assert!(world.holds("in_doubt").await.is_empty());
    world.comes_to(994, 0).await;
    set([nothing(), Failure::CloseAfterEffect, nothing()]);
    let (job, _) = look_up(&world, 2).await;
    world.advance(0).await;
    assert_eq!(world.holds("in_doubt").await.len(), 1);
    world.comes_to(988, 6).await;
    world.advance(4 * DAY).await;
    let view = world.get(&job).await;
    assert_eq!((&view["status"], &view["credits_used"]), (&json!("completed"), &json!(0)));
    assert_eq!(reached(&fakes), [2, 2, 2], "nobody is asked again");
    world.comes_to(994, 0).await;
    world.end().await;
}

#[tokio::test]
async fn another_attempt_asks_nobody_again_who_has_nothing() {
    let fakes = providers().await;
    let world = world(&fakes, false).await;
    fakes[0].fail(Fake::Enrichment, nothing(), usize::MAX);
    fakes[1].fail(Fake::Enrichment, guess("guess@example.com"), usize::MAX);
    fakes[2].fail(Fake::Enrichment, Failure::Status(503), usize::MAX);
    let (job, _) = look_up(&world, 1).await;
    world.advance(0).await;
    // An address that may serve is something: the job does not wait for a better one.
    assert_eq!(world.get(&job).await["status"], "completed");
    fakes[1].fail(Fake::Enrichment, nothing(), usize::MAX);
    let (job, lead) = look_up(&world, 2).await;
    world.advance(0).await;
    assert_eq!((world.get(&job).await["status"].clone(), reached(&fakes)), (json!("running"), vec![2, 2, 2]));
    fakes[2].fail(Fake::Enrichment, found("late@example.com"), usize::MAX);
    world.advance(3_600).await;
    assert_eq!(reached(&fakes), [2, 2, 3]);
    let expected = [("first", "not_found"), ("second", "not_found"), ("third", "later"), ("third", "found")];
    assert_eq!(calls(&world, &lead).await, said(&expected));
    world.comes_to(994, 0).await;
    world.end().await;
}

/// A crash while the second of three is being asked.
async fn crash(idempotent: bool) -> (World, Vec<HttpFakes>, String, String) {
    let fakes = providers().await;
    let mut world = world(&fakes, idempotent).await;
    fakes[0].fail(Fake::Enrichment, guess("guess@example.com"), usize::MAX);
    fakes[1].fail(Fake::Enrichment, Failure::HangAfterEffect, 1);
    fakes[2].fail(Fake::Enrichment, found("third@example.com"), usize::MAX);
    let (job, lead) = look_up(&world, 1).await;
    let advancing = tokio::spawn(world.advancing(0));
    while fakes[1].calls().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.restart().await;
    advancing.await.expect("it ends");
    fakes[1].fail(Fake::Enrichment, found("second@example.com"), usize::MAX);
    world.advance(600).await;
    (world, fakes, job, lead)
}

#[tokio::test]
async fn a_crash_in_the_middle_goes_on_where_it_was() {
    let (world, fakes, job, lead) = crash(true).await;
    let keys: Vec<String> = fakes[1].calls().into_iter().map(|call| call.key).collect();
    assert!(keys.len() > 1 && keys.iter().all(|key| key.ends_with(":2") && *key == keys[0]), "{keys:?}");
    assert_eq!((fakes[0].calls().len(), fakes[2].calls().len()), (1, 0));
    assert_eq!(calls(&world, &lead).await, said(&[("first", "found"), ("second", "found")]));
    assert_eq!(world.get(&job).await["credits_used"], 6);
    world.comes_to(994, 0).await;
    world.end().await;
}

#[tokio::test]
async fn a_crash_asks_nobody_twice_who_cannot_be_asked_twice() {
    let (world, fakes, job, lead) = crash(false).await;
    assert_eq!(reached(&fakes), [1, 1, 1]);
    let expected = [("first", "found"), ("second", "unknown"), ("third", "found")];
    assert_eq!(calls(&world, &lead).await, said(&expected));
    assert_eq!(world.get(&job).await["credits_used"], 6);
    let lead = world.get(&format!("/v1/leads/{lead}")).await;
    assert_eq!((&lead["email"], &lead["email_verified"]), (&json!("third@example.com"), &json!(true)));
    world.comes_to(994, 0).await;
    world.end().await;
}

#[tokio::test]
async fn one_that_is_down_is_passed_and_the_others_go_on() {
    let fakes = providers().await;
    let world = world(&fakes, false).await;
    fakes[0].fail(Fake::Enrichment, Failure::Status(503), usize::MAX);
    let mut leads = Vec::new();
    for number in 0..60 {
        leads.push(json!({ "external_id": format!("x-{number}"), "name": format!("Lead {number:04}") }));
    }
    fakes[1].fail(Fake::Enrichment, nothing(), usize::MAX);
    let leads = world.import(leads).await;
    let job = json!({ "leads": leads, "fields": ["industry"] });
    let job = text(&world.post(&world.here("enrichments"), job).await, "id");
    fakes[2].fail(
        Fake::Enrichment,
        Failure::Answer(json!({ "found": true, "value": "Software" }).to_string()),
        usize::MAX,
    );
    world.advance(0).await;
    let view = world.get(&format!("/v1/enrichments/{job}")).await;
    assert_eq!((&view["status"], &view["credits_used"]), (&json!("completed"), &json!(180)), "{view}");
    let [first, second, third] = reached(&fakes)[..] else { panic!("three") };
    // Eight failures, and what was out when the last of them came.
    assert!((8..=8 + 16).contains(&first), "{first}");
    assert_eq!((second, third), (60, 60));
    let last = calls(&world, leads.last().expect("leads")).await;
    assert_eq!(last, said(&[("first", "passed"), ("second", "not_found"), ("third", "found")]));
    world.comes_to(820, 0).await;
    world.end().await;
}

#[tokio::test]
async fn the_margin_is_the_sum_of_the_calls_and_of_the_ledger() {
    let fakes = providers().await;
    let world = world(&fakes, true).await;
    world.buy().await;
    for (number, fake) in fakes.iter().enumerate() {
        // Each answers as its own rules say; the first one fails now and then.
        let failure = if number == 0 { Failure::Status(500) } else { nothing() };
        fake.fail(Fake::Enrichment, failure, 5 * (number + 1));
    }
    let leads = (0..40).map(|n| json!({ "external_id": format!("y-{n}"), "name": format!("Lead {n:04}") }));
    let leads = world.import(leads.collect()).await;
    world.post(&world.here("enrichments"), json!({ "leads": leads, "fields": ["contact", "size"] })).await;
    world.post(&world.here("searches"), json!({ "query": { "first": 100, "total": 12 }, "limit": 12 })).await;
    world.advance(0).await;
    world.post(&world.here("searches/preview"), json!({ "query": { "first": 900 } })).await;
    let number = |sql: &str| world.directory().number(sql);
    let report = world.get("/v1/margin").await;
    assert_eq!(report["currency"], "EUR");
    // The naive sum: every noted call by itself, against the sums of days.
    let mut seen = 0;
    for sum in report["providers"].as_array().expect("a list") {
        let of = format!(
            "from call where operation = '{}' and provider = '{}' and heard <> 6",
            text(sum, "operation"),
            text(sum, "provider")
        );
        let calls = number(&format!("select count(*) {of}"));
        let found = number(&format!("select count(*) {of} and heard = 0"));
        let cost = number(&format!("select cast(coalesce(sum(cost), 0) as bigint) {of}"));
        let told =
            [&sum["calls"], &sum["found"], &sum["cost_micros"]].map(|it| it.as_i64().expect("a number"));
        assert_eq!(told, [calls, found, cost], "{sum}");
        seen += calls;
    }
    assert!(seen > 80 && seen == number("select count(*) from call where heard <> 6"), "{seen}");
    let first = number("select cast(sum(cost) as bigint) from call where provider = 'first'");
    let billed = number("select count(*) from call where provider = 'first' and heard in (0, 1, 2, 5)");
    assert_eq!(
        first,
        1_500 * billed,
        "the first one is paid by the call, and only for calls that it may have done"
    );
    // The credits are the ledger's; 1,000 of the 2,000 were bought for 25 euros.
    for sum in report["operations"].as_array().expect("a list") {
        let credits = world.charged(&text(sum, "operation")).await;
        assert_eq!(sum["credits"], credits, "{sum}");
        assert_eq!(sum["value_micros"], credits * 25_000_000 / 2_000, "{sum}");
        let [value, cost, margin] = ["value_micros", "cost_micros", "margin_micros"]
            .map(|name| sum[name].as_i64().expect("a number"));
        assert_eq!((margin, &sum["value_listed_micros"]), (value - cost, &json!(0)));
    }
    let empty = world.get("/v1/margin?from=2020-01-01&to=2020-02-01").await;
    assert_eq!((&empty["operations"], &empty["from"]), (&json!([]), &json!("2020-01-01")));
    for bad in ["from=yesterday", "from=2026-02-01&to=2026-02-01", "days=3"] {
        let (status, answer) =
            world.send(reqwest::Method::GET, &format!("/v1/margin?{bad}"), Value::Null).await;
        assert!(status.is_client_error(), "{bad}: {status} {answer}");
    }
    world.end().await;
}
