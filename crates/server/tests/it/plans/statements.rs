//! Statements: one for each period, one for each calendar month without a plan. Whatever happens, they tile from the beginning on, and
//! one that has ended never changes.

use billing::Time;
use scrip::clock::{parse_rfc3339, rfc3339};
use scrip::store::statements::Span;
use serde_json::json;

use super::{CATALOG, DAY, Shop, workspace};
use crate::chance::{Chance, asked_for};
use crate::http::OPERATOR;

impl Shop {
    async fn spans(&self) -> Vec<Span> {
        self.server.app.store.statements(workspace(self)).await.expect("statements")
    }

    /// Where each statement begins, and where the last one ends.
    async fn bounds(&self) -> Vec<String> {
        let spans = self.spans().await;
        let last = spans.last().expect("a statement").ends_at;
        spans.iter().map(|span| span.starts_at).chain([last]).map(rfc3339).collect()
    }

    async fn moves_to(&self, zone: &str) {
        let body = json!({ "time_zone": zone }).to_string();
        self.server.send(OPERATOR, "PATCH", &self.ws, "", body).await.about_a_workspace(200);
    }

    /// Tiles, numbers, sums; and what had ended before is the same.
    async fn proves(&self, before: &[Span], story: &str) -> Vec<Span> {
        let (spans, now) = (self.spans().await, self.server.app.clock.now());
        let created = parse_rfc3339("2027-01-31T10:00:00Z").expect("a moment");
        let (mut until, mut balance, last) = (created, 0, spans.len());
        for (span, number) in spans.iter().zip(1..) {
            assert_eq!((span.number, span.starts_at), (number, until), "{story}: {spans:?}");
            assert!(span.ends_at >= span.starts_at && span.starts_at <= now, "{story}: {spans:?}");
            assert!(!span.is_open || span.number as usize == last, "{story}: {spans:?}");
            assert!(span.is_open || span.ends_at <= now, "{story}: {spans:?}");
            let stands = self.server.app.store.statement(workspace(self), number).await.expect("a statement");
            let sum: i64 = stands.lines.iter().map(|line| line.credits).sum();
            assert_eq!((stands.opening, stands.closing), (balance, balance + sum), "{story}: {stands:?}");
            (until, balance) = (span.ends_at, stands.closing);
        }
        let ended: Vec<&Span> = before.iter().filter(|span| !span.is_open).collect();
        assert!(ended.iter().zip(&spans).all(|(was, is)| *was == is), "{story}: {before:?} became {spans:?}");
        let missing = self.server.app.store.statement(workspace(self), last as i64 + 1).await;
        assert!(missing.is_err(), "{story}");
        spans
    }
}

#[tokio::test]
async fn a_workspace_without_a_plan_has_one_a_month_in_its_zone() {
    let shop = Shop::with(CATALOG, json!({ "time_zone": "Pacific/Auckland" })).await;
    shop.adjust(100).await;
    // It is the evening of the 31st there.
    assert_eq!(shop.bounds().await, ["2027-01-31T10:00:00Z", "2027-01-31T11:00:00Z"]);
    shop.server.advance(40 * DAY).await;
    shop.adjust(-30).await;
    let months =
        ["2027-01-31T10:00:00Z", "2027-01-31T11:00:00Z", "2027-02-28T11:00:00Z", "2027-03-31T11:00:00Z"];
    assert_eq!(shop.bounds().await, months);
    let stands = shop.server.app.store.statement(workspace(&shop), 3).await.expect("a statement");
    assert_eq!((stands.opening, stands.closing, stands.span.is_open), (100, 70, true));
    // From now on another zone says when a month ends; those that have ended stay.
    shop.moves_to("America/New_York").await;
    let mut moved = months.to_vec();
    moved[3] = "2027-04-01T04:00:00Z";
    assert_eq!(shop.bounds().await, moved);
    shop.server.advance(60 * DAY).await;
    moved.extend(["2027-05-01T04:00:00Z", "2027-06-01T04:00:00Z"]);
    assert_eq!(shop.bounds().await, moved);
    shop.server.audit();
}

#[tokio::test]
async fn a_plan_cuts_the_month_it_begins_in_and_its_end_begins_another() {
    let shop = Shop::open().await;
    shop.server.advance(15 * DAY).await;
    shop.subscribe("small", "pays").await;
    shop.act("cancel").await.about_a_workspace(200);
    shop.server.advance(40 * DAY).await;
    let bounds = [
        "2027-01-31T10:00:00Z",
        "2027-02-01T00:00:00Z",
        // The plan's period.
        "2027-02-15T10:00:00Z",
        "2027-03-15T10:00:00Z",
        "2027-04-01T00:00:00Z",
    ];
    assert_eq!(shop.bounds().await, bounds);
    shop.proves(&[], "a plan").await;
    shop.server.audit();
}

/// While nobody knows whether what a trial led to is paid, its time is not a statement that has ended.
#[tokio::test]
async fn a_trial_that_nobody_pays_for_ends_with_its_month() {
    let shop = super::with_card("declined_later").await;
    shop.change(json!({ "plan": "tried" })).await;
    shop.server.advance(15 * DAY).await;
    assert_eq!(shop.is().await["status"], "past_due");
    let spans = shop.proves(&[], "declined").await;
    assert!(spans.last().is_some_and(|span| span.is_open && rfc3339(span.ends_at) == "2027-02-14T10:00:00Z"));
    shop.server.advance(10 * DAY).await;
    assert_eq!(shop.is().await["status"], "canceled");
    shop.proves(&spans, "ended").await;
    assert_eq!(shop.bounds().await.last().expect("an end"), "2027-03-01T00:00:00Z");
    shop.server.audit();
}

/// Whatever a workspace does with its plan and its zone, at whatever moments.
#[tokio::test]
async fn statements_tile_whatever_happens() {
    let (rounds, seed) = (asked_for("SCRIP_STATEMENTS", 4), asked_for("SCRIP_SEED", 4));
    let mut chance = Chance::new(seed);
    let (mut counted, mut steps) = (0, 0);
    for round in 0..rounds {
        let collection = ["none", "payments"][chance.within(0, 1) as usize];
        let shop = if collection == "payments" {
            super::with_card(["pays", "declined_later"][chance.within(0, 1) as usize]).await
        } else {
            Shop::with(CATALOG, json!({ "collection": "none" })).await
        };
        let mut spans = Vec::new();
        for _ in 0..30 {
            let act = chance.within(0, 6);
            match act {
                0 => {
                    let plan = ["small", "large", "fresh", "capped", "yearly", "tried"]
                        [chance.within(0, 5) as usize];
                    let is = shop.put(json!({ "plan": plan })).await;
                    if is.status == 200 && is.body["status"] == "incomplete" && chance.within(0, 2) > 0 {
                        shop.pay(&is.body, ["pays", "declined_later"][chance.within(0, 1) as usize]).await;
                    }
                }
                1 => drop(shop.act("cancel").await),
                2 => drop(shop.act("resume").await),
                3 => {
                    let zones =
                        ["UTC", "Pacific/Auckland", "America/New_York", "Asia/Kolkata", "Pacific/Apia"];
                    shop.moves_to(zones[chance.within(0, 4) as usize]).await;
                }
                4 => shop.adjust(chance.within(1, 50)).await,
                _ => shop.server.advance(chance.within(0, 45 * DAY)).await,
            }
            spans = shop.proves(&spans, &format!("seed {seed}, round {round}, {collection}, {act}")).await;
            steps += 1;
        }
        counted += spans.len();
        shop.server.audit();
    }
    println!("statements: {counted} of {rounds} workspaces tile after each of {steps} steps, seed {seed}");
}

/// How a month ends where midnight does not exist, and what a moment is whose month nobody can count.
#[test]
fn a_month_ends_where_the_zone_says() {
    for (moment, zone, end) in [
        ("2027-01-31T10:59:59Z", "Pacific/Auckland", "2027-01-31T11:00:00Z"),
        ("2027-01-31T11:00:00Z", "Pacific/Auckland", "2027-02-28T11:00:00Z"),
        // In Asunción the clock went from midnight to one on 1 October 2017.
        ("2017-09-20T00:00:00Z", "America/Asuncion", "2017-10-01T04:00:00Z"),
    ] {
        let at = parse_rfc3339(moment).expect("a moment");
        assert_eq!(rfc3339(scrip::calendar::next_month(at, zone)), end, "{zone}");
    }
    assert_eq!(scrip::calendar::next_month(Time(253_402_200_000_000_000), "UTC"), Time(i64::MAX));
}
