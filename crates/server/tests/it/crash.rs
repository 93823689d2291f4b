//! Crashes at every point of a paid call, and what is true afterwards: no second send, no second charge, nothing forgotten.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use billing::Seq;
use billing::campaign::Stage;
use scrip::demo::http_fakes::{Failure, Fake};
use scrip::demo::smtp_sink::SinkMode;
use scrip::store::Store;
use scrip::store::jobs::JobKind;
use scrip::store::work::{Claim, Ending, Held};
use serde_json::{Value, json};

use crate::chance::{Chance, asked_for};
use crate::sample::{self, START};
use crate::temp::{self, Directory};
use crate::world::{DAY, Habits, World, emails, step, text};

const LEADS: usize = 30;

/// Ends the server while a call hangs, and starts it again.
async fn crash_in_the_call(world: &mut World) {
    let advancing = tokio::spawn(world.advancing(0));
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.restart().await;
    advancing.await.expect("the connection broke");
    if world.is_shared() {
        // Any node may have had the lease, so it has to lapse.
        world.advance(301).await;
    }
}

async fn one_mail(mode: SinkMode, arrived: usize) {
    let mut world = World::new(100).await;
    world.sink.set_mode(mode);
    let leads = world.leads(1).await;
    let campaign = world.campaign(emails(&[0, 1]), &leads).await;
    crash_in_the_call(&mut world).await;
    world.sink.set_mode(SinkMode::Accept);
    world.advance(2 * DAY).await;
    assert_eq!(step(&world.view(&campaign).await, 0), [0, 0, 0, 0, 1]);
    assert_eq!((world.recipients().len(), world.holds("in_doubt").await.len()), (arrived, 1));
    world.comes_to(98, 2).await;
    world.advance(2 * DAY).await;
    assert_eq!(world.view(&campaign).await["status"], "completed");
    assert_eq!(world.sent("lead0001@example.com", "Step 0"), arrived);
    assert_eq!(world.sent("lead0001@example.com", "Step 1"), 1);
    world.comes_to(98, 0).await;
    world.end().await;
}

#[tokio::test]
async fn a_mail_under_way_is_never_sent_again() {
    one_mail(SinkMode::AcceptThenHang, 1).await;
}

#[tokio::test]
async fn a_mail_that_may_not_have_left_is_in_doubt_all_the_same() {
    one_mail(SinkMode::HangBeforeData, 0).await;
}

/// What a provider that keeps track of keys is asked after a crash, and how often its effect happens.
async fn one_effect(habits: Habits, fake: Fake, failure: Failure, work: Work) {
    let told = format!("{fake:?} {failure:?}");
    let mut world = World::with(100, json!({}), habits).await;
    world.fakes.fail(fake, failure, 1);
    let lead = json!({ "external_id": "lead-0001", "name": "Lead 0001", "email": "ada@example.com",
        "linkedin_url": "https://www.linkedin.example.com/in/ada" });
    let leads = world.import(vec![lead]).await;
    match work {
        Work::Campaign(campaign) => drop(world.campaign(campaign, &leads).await),
        Work::Search => {
            let search = json!({ "query": { "first": 100 }, "limit": 5 });
            world.post(&world.here("searches"), search).await;
        }
    }
    crash_in_the_call(&mut world).await;
    world.advance(0).await;
    let calls: Vec<_> =
        world.fakes.calls().into_iter().filter(|call| call.fake == fake && call.action != "status").collect();
    let keys: HashSet<_> = calls.iter().map(|call| call.key.as_str()).collect();
    let effects = calls.iter().filter(|call| call.outcome != "failed" && !call.repeat).count();
    assert_eq!((keys.len(), effects), (1, 1), "{told}: {calls:?}");
    assert!(world.holds("in_doubt").await.is_empty() && world.holds("dispatched").await.is_empty(), "{told}");
    assert_eq!(world.balance().await["held"], 0, "{told}");
    world.end().await;
}

enum Work {
    Campaign(Value),
    Search,
}

fn one_step(channel: &str, generate: bool) -> Value {
    let subject = if channel == "email" { json!("Step 0") } else { Value::Null };
    json!({ "name": "One", "steps": [{ "channel": channel, "after_days": 0, "generate": generate,
        "subject": subject, "template": "Hello {{name}}" }] })
}

#[tokio::test]
async fn what_can_be_repeated_continues_under_the_same_key() {
    for failure in [Failure::Hang, Failure::HangAfterEffect] {
        let enrich = json!({ "name": "One", "enrich": ["company_size"], "steps": emails(&[0])["steps"] });
        for (fake, work) in [
            (Fake::Linkedin, Work::Campaign(one_step("linkedin_invite", false))),
            (Fake::Messages, Work::Campaign(one_step("email", true))),
            (Fake::Enrichment, Work::Campaign(enrich)),
            (Fake::Discovery, Work::Search),
        ] {
            one_effect(Habits::default(), fake, failure.clone(), work).await;
        }
    }
}

#[tokio::test]
async fn what_can_be_asked_about_is_asked() {
    for failure in [Failure::Hang, Failure::HangAfterEffect] {
        let habits = Habits { idempotent: false, query: true, ..Habits::default() };
        let work = Work::Campaign(one_step("linkedin_invite", false));
        one_effect(habits, Fake::Linkedin, failure, work).await;
    }
}

/// Twenty crashes at moments that a seed chooses, while a campaign writes, sends and enriches.
#[tokio::test]
async fn crashes_at_any_moment_lose_nothing_and_repeat_nothing() {
    let seed = asked_for("SCRIP_SEED", 1);
    let mut chance = Chance::new(seed);
    let mut world = World::new(5_000).await;
    world.sink.set_delay(Duration::from_millis(30));
    world.fakes.set_delay(Duration::from_millis(20));
    let campaign = json!({ "name": "Long", "enrich": ["company_size"], "steps": [
        { "channel": "email", "after_days": 0, "generate": false, "subject": "Step 0", "template": "Hello" },
        { "channel": "email", "after_days": 1, "generate": true, "subject": "Step 1", "template": "Ask again." },
        { "channel": "linkedin_invite", "after_days": 1, "generate": false, "template": "Hello" },
    ] });
    let campaign = world.campaign(campaign, &world.leads(LEADS).await).await;
    for _ in 0..asked_for("SCRIP_CRASHES", 20) {
        let advancing = tokio::spawn(world.advancing(chance.within(0, DAY / 4)));
        tokio::time::sleep(Duration::from_millis(chance.within(5, 250) as u64)).await;
        world.restart().await;
        advancing.await.expect("the connection broke");
    }
    // Everything in doubt reaches its deadline, and the leads behind it go on.
    world.advance(14 * DAY).await;
    let view = world.view(&campaign).await;
    assert_eq!(view["status"], "completed", "seed {seed}: {view}");
    for index in 0..3 {
        assert_eq!(step(&view, index), [0, LEADS as i64, 0, 0, 0], "seed {seed}, step {index}");
    }
    no_mail_without_its_hold(&world, seed, 2 * LEADS).await;
    let invites = world.fakes.counts().outcomes[&("invite".to_owned(), "accepted".to_owned())];
    assert_eq!((invites, world.charged("linkedin_send").await), (LEADS, 2 * LEADS as i64), "seed {seed}");
    assert_eq!(world.charged("message_generation").await, 2 * LEADS as i64, "seed {seed}");
    assert_eq!(world.balance().await["held"], 0, "seed {seed}");
    world.end().await;
}

/// Every mail belongs to one hold that is charged or ran into its deadline, every charged hold has its mail, and no lead got a
/// step twice.
pub async fn no_mail_without_its_hold(world: &World, seed: u64, steps_to_send: usize) {
    let of_mail = |holds: Vec<Value>| -> HashMap<String, Value> {
        let mails = holds.into_iter().filter(|hold| hold["operation"] == "email_send");
        mails.map(|hold| (text(&hold, "id"), hold)).collect()
    };
    let (settled, released) = (of_mail(world.holds("settled").await), of_mail(world.holds("released").await));
    let mails = world.sink.messages();
    let mut steps = HashSet::new();
    let (mut arrived, mut ids) = (HashSet::new(), HashSet::new());
    for mail in &mails {
        assert!(steps.insert((mail.to.clone(), mail.subject.clone())), "seed {seed}: twice: {mail:?}");
        let hold = mail.hold.as_str();
        assert!(ids.insert(mail.message_id.clone()), "seed {seed}: a name twice: {mail:?}");
        let late = released.get(hold).is_some_and(|hold| hold["release_reason"] == "deadline");
        assert!(late || settled.contains_key(hold), "seed {seed}: {mail:?}");
        arrived.insert(hold.to_owned());
    }
    assert!(settled.keys().all(|hold| arrived.contains(hold)), "seed {seed}: charged and not sent");
    let doubtful = released.values().filter(|hold| hold["release_reason"] == "deadline").count();
    assert_eq!(settled.len() + doubtful, steps_to_send, "seed {seed}: a lead has one end for every step");
    assert_eq!(world.charged("email_send").await, 2 * settled.len() as i64, "seed {seed}");
}

/// Where in a piece the crash comes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Point {
    Claimed,
    Held,
    Dispatched,
    Finished,
}

#[tokio::test]
async fn a_piece_is_taken_up_where_the_crash_left_it() {
    for point in [Point::Claimed, Point::Held, Point::Dispatched, Point::Finished] {
        let directory = Directory::new("crash");
        let store = Store::open(&directory.place(), Some(START)).expect("it opens");
        let workspace = sample::workspace(&store, Some(1_000)).await;
        let job = sample::launched(&store, workspace, &["ada"]).await;
        let lost = store.claim(10).await.expect("claims").remove(0);
        let mut held = None;
        if point >= Point::Held {
            held = Some(hold(&store, &lost).await);
        }
        if point >= Point::Dispatched {
            assert!(store.dispatch_piece(&lost, held.expect("held")).await.expect("an answer"));
        }
        if point == Point::Finished {
            assert!(store.finish_piece(&lost, held, Ending::Sent).await.expect("an answer"));
        }
        temp::close(store).await;
        let store = Store::open(&directory.place(), Some(START)).expect("it opens again");
        // On a server, another node waits for the lease to lapse.
        store.advance_clock(START.plus_seconds(301)).await.expect("the clock is stored");
        let claims = store.claim(10).await.expect("claims");
        assert_eq!(
            claims.len(),
            usize::from(point != Point::Finished),
            "{point:?}: nothing is lost or done again"
        );
        assert!(
            !store.finish_piece(&lost, held, Ending::Sent).await.expect("an answer"),
            "{point:?}: too late"
        );
        for claim in &claims {
            let paid = match claim.left_dispatched() {
                Some(left) => left.id,
                None => hold(&store, claim).await,
            };
            assert_eq!(claim.left_dispatched().is_some(), point == Point::Dispatched, "{point:?}");
            if point != Point::Dispatched {
                assert!(store.dispatch_piece(claim, paid).await.expect("an answer"), "{point:?}");
            }
            assert!(
                store.finish_piece(claim, Some(paid), Ending::Sent).await.expect("an answer"),
                "{point:?}"
            );
        }
        let job = store.job(workspace, job, JobKind::Campaign).await.expect("the job");
        assert_eq!(
            (job.credits_used, job.credits_held, job.run.stage),
            (2, 0, Stage::Completed),
            "{point:?}"
        );
        temp::close(store).await;
        directory.prove(&format!("{point:?}"));
    }
}

async fn hold(store: &Store, claim: &Claim) -> Seq {
    match store.hold_piece(claim, sample::piece(claim)).await.expect("an answer") {
        Held::Yes(hold) => hold.id,
        Held::No => panic!("there are credits"),
    }
}
