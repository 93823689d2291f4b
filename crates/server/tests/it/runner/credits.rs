//! Running out, waiting, coming back, and what only a person ends.

use reqwest::Method;
use serde_json::{Value, json};

use crate::world::{DAY, Habits, World, emails, reasons, step, text};

#[tokio::test]
async fn everything_pauses_when_credits_run_out_and_continues_when_they_come() {
    let world = World::new(10).await;
    let leads = world.leads(20).await;
    let campaign = world.campaign(emails(&[0, 1]), &leads).await;
    let search = world.post(&world.here("searches"), json!({ "query": { "first": 500 }, "limit": 20 })).await;
    let fields = json!({ "leads": leads, "fields": ["company_size", "industry"] });
    let enrichment = world.post(&world.here("enrichments"), fields).await;
    let (search, enrichment) = (
        format!("/v1/searches/{}", text(&search, "id")),
        format!("/v1/enrichments/{}", text(&enrichment, "id")),
    );
    world.advance(0).await;
    for path in [&format!("/v1/campaigns/{campaign}"), &search, &enrichment] {
        let view = world.get(path).await;
        assert_eq!((&view["status"], reasons(&view)), (&json!("paused"), vec!["out_of_credits".to_owned()]));
        let pause = &view["pause_reasons"][0];
        assert!(pause["available"].is_number(), "{pause}");
    }
    let balance = world.balance().await;
    assert_eq!((&balance["state"], &balance["held"]), (&json!("out"), &json!(0)));
    let (sent, calls, available) = (world.recipients(), world.fakes.calls().len(), &balance["available"]);
    world.advance(10 * DAY).await;
    assert_eq!((world.recipients(), world.fakes.calls().len()), (sent, calls), "nothing moves while out");
    assert_eq!(&world.balance().await["available"], available);

    world.buy().await;
    world.advance(2 * DAY).await;
    for path in [&format!("/v1/campaigns/{campaign}"), &search, &enrichment] {
        assert_eq!(world.get(path).await["status"], "completed", "{path}");
    }
    for number in 1..=20 {
        for subject in ["Step 0", "Step 1"] {
            assert_eq!(world.sent(&format!("lead{number:04}@example.com"), subject), 1, "{number} {subject}");
        }
    }
    let filled = world.fakes.counts().outcomes[&("field".to_owned(), "found".to_owned())] as i64;
    assert_eq!(world.charged("email_send").await, 80);
    assert_eq!(world.charged("discovery_result").await, 80);
    assert_eq!(world.charged("field_enrichment").await, 3 * filled);
    world.comes_to(1_010 - 160 - 3 * filled, 0).await;
    let kinds = world.notice_kinds().await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "out").count(), 1, "{kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| *kind == "restored").count(), 1, "{kinds:?}");
    world.end().await;
}

#[tokio::test]
async fn a_pause_says_what_is_needed_and_what_is_there() {
    let world = World::new(5).await;
    let leads = world.import(vec![json!({ "external_id": "lead-0001", "name": "Lead 0001" })]).await;
    let campaign = json!({ "enrich": ["contact"], "name": "Needs 6", "steps": emails(&[0])["steps"] });
    let campaign = world.campaign(campaign, &leads).await;
    world.advance(0).await;
    let pause = world.view(&campaign).await["pause_reasons"][0].clone();
    assert_eq!((&pause["needed"], &pause["available"]), (&json!(6), &json!(5)));
    assert!(world.fakes.calls().is_empty() && world.recipients().is_empty());
    world.comes_to(5, 0).await;
    world.grant(1).await;
    world.advance(0).await;
    assert_eq!(world.fakes.calls().len(), 1);
    world.end().await;
}

#[tokio::test]
async fn a_pause_says_what_is_needed_also_when_the_last_credit_was_set_aside() {
    let world = World::new(6).await;
    let lead = |id: &str| json!({ "external_id": id, "name": "Lead" });
    let leads = world.import(vec![lead("lead-0001"), lead("lead-0002")]).await;
    let mut campaign = emails(&[0]);
    campaign["enrich"] = json!(["contact"]);
    let campaign = world.campaign(campaign, &leads).await;
    world.advance(0).await;
    let pause = world.view(&campaign).await["pause_reasons"][0].clone();
    assert_eq!((&pause["reason"], &pause["needed"]), (&json!("out_of_credits"), &json!(6)));
    let balance = world.balance().await;
    assert_eq!((&balance["available"], &balance["needed"]), (&json!(0), &json!(6)));
    world.grant(5).await;
    world.advance(0).await;
    assert_eq!(world.fakes.calls().len(), 1, "five are not enough");
    world.end().await;
}

#[tokio::test]
async fn a_renewal_resumes() {
    let world = World::with(0, json!({ "plan": "starter" }), Habits::default()).await;
    world.post(&world.here("adjustments"), json!({ "credits": -1_997, "reason": "spent elsewhere" })).await;
    let leads = world.leads(3).await;
    let campaign = world.campaign(emails(&[0]), &leads).await;
    world.advance(0).await;
    assert_eq!(world.recipients().len(), 1);
    assert_eq!(reasons(&world.view(&campaign).await), ["out_of_credits"]);
    world.advance(32 * DAY).await;
    assert_eq!(world.recipients().len(), 3);
    assert_eq!(world.view(&campaign).await["status"], "completed");
    world.comes_to(2_000 + 3 - 6, 0).await;
    world.end().await;
}

#[tokio::test]
async fn whoever_comes_back_hears_how_long_the_overdue_takes() {
    let world = World::new(2).await;
    let sender = json!({ "kind": "email", "from": "Team <team@example.com>", "daily_limit": 5 });
    let sender = text(&world.post(&world.here("senders"), sender).await, "id");
    let mut campaign = emails(&[0]);
    campaign["senders"] = json!([sender]);
    world.campaign(campaign, &world.leads(12).await).await;
    world.advance(0).await;
    assert_eq!(world.recipients().len(), 1);
    // One more today: four, five and two.
    world.grant(100).await;
    let words =
        "1 campaign resumed; 11 overdue messages go out over the next 3 days within your sending limits.";
    let told = world.items("notifications").await;
    let (title, body) = (&told[0]["title"], &told[0]["body"]);
    assert_eq!((title, body), (&json!("100 credits added."), &json!(words)));
    for sent in [5, 10, 12] {
        world.advance(if sent == 5 { 0 } else { DAY }).await;
        assert_eq!(world.recipients().len(), sent);
    }
    world.end().await;
}

#[tokio::test]
async fn credits_do_not_lift_what_a_person_paused() {
    let world = World::new(2).await;
    let leads = world.leads(2).await;
    let campaign = world.campaign(emails(&[0]), &leads).await;
    world.advance(0).await;
    world.post(&format!("/v1/campaigns/{campaign}/pause"), Value::Null).await;
    assert_eq!(reasons(&world.view(&campaign).await), ["out_of_credits", "person"]);
    world.grant(100).await;
    world.advance(DAY).await;
    assert_eq!(reasons(&world.view(&campaign).await), ["person"]);
    assert_eq!(world.recipients().len(), 1);
    world.post(&format!("/v1/campaigns/{campaign}/resume"), Value::Null).await;
    world.advance(0).await;
    assert_eq!(world.recipients().len(), 2);
    world.comes_to(98, 0).await;
    world.end().await;
}

#[tokio::test]
async fn a_person_does_not_lift_a_lack_of_credits() {
    let world = World::new(2).await;
    let leads = world.leads(2).await;
    let campaign = world.campaign(emails(&[0]), &leads).await;
    world.advance(0).await;
    world.post(&format!("/v1/campaigns/{campaign}/resume"), Value::Null).await;
    world.advance(0).await;
    assert_eq!(reasons(&world.view(&campaign).await), ["out_of_credits"]);
    assert_eq!(world.recipients().len(), 1);
    world.end().await;
}

#[tokio::test]
async fn two_days_left_stay_two_days() {
    let world = World::new(100).await;
    let leads = world.leads(2).await;
    let campaign = world.campaign(emails(&[0, 3]), &leads).await;
    world.advance(DAY).await;
    assert_eq!(world.recipients().len(), 2);
    world.post(&format!("/v1/campaigns/{campaign}/pause"), Value::Null).await;
    world.advance(10 * DAY).await;
    world.post(&format!("/v1/campaigns/{campaign}/resume"), Value::Null).await;
    world.advance(2 * DAY - 1).await;
    assert_eq!(world.recipients().len(), 2);
    world.advance(1).await;
    assert_eq!(world.recipients().len(), 4);
    world.comes_to(92, 0).await;
    world.end().await;
}

#[tokio::test]
async fn work_waits_for_an_open_hold_without_going_out() {
    let world = World::new(9).await;
    let hold = world.post(&world.here("holds"), json!({ "operation": "email_send", "quantity": 4 })).await;
    let leads = world.leads(1).await;
    let campaign = world.campaign(emails(&[0]), &leads).await;
    world.advance(0).await;
    let view = world.view(&campaign).await;
    assert_eq!((&view["status"], reasons(&view).len(), world.recipients().len()), (&json!("active"), 0, 0));
    world.comes_to(1, 8).await;
    world.post(&format!("/v1/holds/{}/release", text(&hold, "id")), Value::Null).await;
    world.advance(0).await;
    assert_eq!(world.recipients().len(), 1);
    let kinds = world.notice_kinds().await;
    assert!(!kinds.iter().any(|kind| kind == "out" || kind == "restored"), "{kinds:?}");
    world.comes_to(7, 0).await;
    world.end().await;
}

#[tokio::test]
async fn a_workspace_with_too_much_under_way_waits_says_why_and_goes_on() {
    let world = World::new(100_000).await;
    let hold = |key: usize| json!({ "do": "hold", "workspace": world.workspace, "key": format!("h{key}"), "operation": "email_send", "quantity": 1 });
    for part in [0..8_000, 8_000..10_000] {
        let done = world.post("/v1/batch", json!({ "commands": part.map(hold).collect::<Vec<_>>() })).await;
        let results = done["results"].as_array().expect("results");
        assert!(results.iter().all(|result| result["status"] == 201), "{}", results[0]);
    }
    let leads = world.leads(3).await;
    let campaign = world.campaign(emails(&[0]), &leads).await;
    world.advance(0).await;
    assert_eq!((world.recipients().len(), &world.view(&campaign).await["status"]), (0, &json!("active")));
    let listed = world.get(&format!("/v1/campaigns/{campaign}/leads")).await["items"].clone();
    let listed = listed.as_array().expect("leads");
    assert!(
        listed.iter().any(|lead| lead["detail"] == "too many pieces are under way or in doubt"),
        "{listed:?}"
    );
    let pieces = world.pieces().await;
    world.advance(9).await;
    assert_eq!(world.pieces().await, pieces, "it is not asked again and again");
    let release =
        |key: usize| json!({ "do": "release", "workspace": world.workspace, "hold_key": format!("h{key}") });
    let commands: Vec<Value> = (0..3).map(release).collect();
    let done = world.post("/v1/batch", json!({ "commands": commands })).await;
    assert_eq!(done["results"][2]["status"], 200, "{done}");
    world.advance(1).await;
    assert_eq!(world.recipients().len(), 3);
    let listed = world.get(&format!("/v1/campaigns/{campaign}/leads")).await["items"].clone();
    let listed = listed.as_array().expect("leads");
    assert!(listed.iter().all(|lead| lead["detail"].is_null()), "{listed:?}");
    world.end().await;
}

#[tokio::test]
async fn a_cap_pauses_and_is_never_exceeded() {
    let world = World::new(100).await;
    let leads = world.leads(20).await;
    let mut campaign = emails(&[0]);
    campaign["credit_cap"] = json!(7);
    let campaign = world.campaign(campaign, &leads).await;
    world.advance(DAY).await;
    let view = world.view(&campaign).await;
    assert_eq!((reasons(&view), &view["credits_used"]), (vec!["credit_cap".to_owned()], &json!(6)));
    assert_eq!(view["pause_reasons"][0]["needed"], 2);
    assert_eq!(world.recipients().len(), 3);
    world.grant(100).await;
    world.advance(DAY).await;
    assert_eq!(world.recipients().len(), 3, "credits do not lift a cap");
    world.comes_to(194, 0).await;
    world.end().await;
}

#[tokio::test]
async fn each_crossing_is_told_once_in_the_house_and_by_mail() {
    let world = World::new(100).await;
    let leads = world.leads(50).await;
    for leads in leads.chunks(1) {
        world.campaign(emails(&[0]), leads).await;
        world.advance(0).await;
    }
    let kinds = world.notice_kinds().await;
    assert_eq!(kinds, ["low", "critical", "out"]);
    let mails = || world.notices.messages().len();
    // The e-mail about *critical* has a cooldown of its own, so all three are mailed.
    assert_eq!(mails(), 3);
    world.grant(1_000).await;
    world.advance(0).await;
    assert_eq!(world.notice_kinds().await.len(), 4);
    assert_eq!(world.notice_kinds().await[3], "restored");
    assert_eq!(mails(), 4);
    assert!(world.notices.messages().iter().all(|mail| mail.to == "admin@example.com"));
    assert_eq!(world.recipients().len(), 50);
    world.end().await;
}

#[tokio::test]
async fn what_work_holds_is_not_ended_by_callers() {
    let world = World::new(10).await;
    world.sink.set_mode(scrip::demo::smtp_sink::SinkMode::AcceptThenDrop);
    let leads = world.leads(1).await;
    let campaign = world.campaign(emails(&[0]), &leads).await;
    world.advance(0).await;
    let hold = text(&world.holds("in_doubt").await[0], "id");
    for (end, body) in [
        ("settle", json!({ "quantity": 1 })),
        ("release", Value::Null),
        ("dispatch", Value::Null),
        ("extend", json!({ "seconds": 60 })),
    ] {
        let (status, answer) = world.send(Method::POST, &format!("/v1/holds/{hold}/{end}"), body).await;
        assert_eq!((status.as_u16(), &answer["code"]), (409, &json!("hold_in_use")), "{end}");
    }
    let command = json!({ "do": "release", "workspace": world.workspace, "hold": hold });
    let batch = world.post("/v1/batch", json!({ "commands": [command] })).await;
    assert_eq!(batch["results"][0]["status"], 409);
    world.comes_to(8, 2).await;
    let resolve = json!({ "outcome": "released", "reason": "it never arrived" });
    world.post(&format!("/v1/holds/{hold}/resolve"), resolve).await;
    world.comes_to(10, 0).await;
    assert_eq!(step(&world.view(&campaign).await, 0), [0, 0, 0, 1, 0]);
    world.end().await;
}

#[tokio::test]
async fn out_again_within_the_hour_is_the_same_notice() {
    let world = World::new(2).await;
    world.campaign(emails(&[0]), &world.leads(3).await).await;
    world.advance(0).await;
    for wait in [600, 7_200] {
        world.advance(wait).await;
        world.grant(2).await;
        world.advance(60).await;
        assert_eq!(world.notice_kinds().await.last().map(String::as_str), Some("out"), "what is told is new");
    }
    let whole = world.items("notifications").await;
    let (mut paged, mut cursor) = (Vec::new(), String::new());
    for _ in &whole {
        let page = world.get(&world.here(&format!("notifications?limit=1{cursor}"))).await;
        paged.extend(page["items"].as_array().expect("a list").clone());
        cursor = format!("&cursor={}", page["next_cursor"].as_str().unwrap_or_default());
    }
    assert_eq!(paged, whole, "page by page the same");
    assert_eq!(world.recipients().len(), 3);
    let kinds = world.notice_kinds().await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "out").count(), 1, "{kinds:?}");
    assert_eq!(kinds.iter().filter(|kind| *kind == "restored").count(), 2, "{kinds:?}");
    world.end().await;
}

#[tokio::test]
async fn campaigns_of_different_ages_share_what_comes() {
    let world = World::new(1).await;
    let leads = world.leads(20).await;
    let (first, second) =
        (world.campaign(emails(&[0]), &leads).await, world.campaign(emails(&[0]), &leads).await);
    world.advance(0).await;
    world.grant(39).await;
    world.advance(0).await;
    let sent = [step(&world.view(&first).await, 0)[1], step(&world.view(&second).await, 0)[1]];
    assert_eq!((sent[0] + sent[1], sent.iter().all(|sent| *sent >= 6)), (20, true), "{sent:?}");
    world.comes_to(0, 0).await;
    world.end().await;
}
