//! The pages for what leaves the house, without any script: messages that a person approves, and senders.

use reqwest::{Method, StatusCode};
use scrip::app::LinkRole;
use scrip::store::calls::{About, Call, Heard};
use scrip::store::jobs::{Act, Definition, JobKind, NewJob, StepText};
use scrip::store::leads::{EmailState, Lead};
use scrip::store::messages::{Message, MessageFilter};
use scrip::{id, scheduler};

use crate::pages::{Site, after};

/// A launched campaign that wants approval, with so many leads whose messages wait; answers its number.
async fn waiting(site: &Site, workspace: i64, leads: usize) -> i64 {
    let lead = |number: usize| Lead {
        name: format!("Lead <{number}>"),
        email: Some(format!("lead{number}@example.com")),
        email_state: EmailState::Verified,
        ..Lead::default()
    };
    let store = &site.app.store;
    store.import_leads(workspace, (1..=leads).map(lead).collect()).await.expect("leads");
    let known = store.leads(workspace, None, 100).await.expect("leads");
    let step = StepText {
        channel: "email".to_owned(),
        after_days: 0,
        condition: "always".to_owned(),
        subject: Some("About {{name}}".to_owned()),
        template: Some("Hello {{name}}".to_owned()),
        generate: false,
    };
    let definition = Definition { steps: vec![step], approve: true, ..Definition::default() };
    let new = NewJob {
        kind: JobKind::Campaign,
        name: "Autumn".to_owned(),
        definition,
        credit_cap: None,
        requested: 0,
        leads: vec![],
    };
    let job = store.create_job(workspace, new).await.expect("a campaign").id;
    let ids = known.iter().map(|lead| lead.id).collect();
    store.add_leads(workspace, job, ids).await.expect("leads");
    store.act_on_job(workspace, job, JobKind::Campaign, Act::Launch { by: None }).await.expect("a launch");
    scheduler::advance(&site.app, 0).await.expect("time passes");
    job
}

async fn awaited(site: &Site, workspace: i64, job: i64) -> Vec<Message> {
    let filter = MessageFilter { job: Some(job), lead: None, awaited: true };
    site.app.store.messages(workspace, filter, None, 100).await.expect("messages")
}

#[tokio::test]
async fn messages_are_read_changed_and_approved_with_plain_forms() {
    let site = Site::open().await;
    let workspace = site.workspace("Workspace 0001").await;
    let member = site.sign_in(Some(workspace), LinkRole::Member).await;
    let job = waiting(&site, workspace, 4).await;
    let messages = awaited(&site, workspace, job).await;
    assert_eq!(messages.len(), 4);
    let campaign = format!("/campaigns/{}", id::inside("camp", workspace, job));
    let path = format!("{campaign}/messages");
    assert!(member.get(&campaign).await.1.contains("4 messages wait for approval"));
    let (status, page) = member.get(&path).await;
    assert_eq!((status, page.matches("<textarea").count()), (StatusCode::OK, 4));
    assert!(
        page.contains("Hello Lead &#60;1&#62;</textarea>") && page.contains("Subject: About Lead"),
        "{page}"
    );
    assert!(!page.contains("Lead <1>"), "what leads bring is escaped");

    let name = |message: &Message| id::inside("msg", workspace, message.id);
    let decide = async |act: &str, message: &str, text: &str| {
        member.post(&path, &[("act", act), ("message", message), ("text", text)]).await.0
    };
    assert_eq!(decide("save", &name(&messages[0]), "My own\r\nwords").await, StatusCode::SEE_OTHER);
    let saved = site.app.store.message(workspace, messages[0].id).await.expect("a message");
    assert_eq!((saved.text.as_str(), saved.approved_at, saved.awaited), ("My own\nwords", None, true));
    assert_eq!(decide("approve", &name(&messages[1]), "As I see it").await, StatusCode::SEE_OTHER);
    let approved = site.app.store.message(workspace, messages[1].id).await.expect("a message");
    assert_eq!((approved.text.as_str(), approved.approved_at.is_some()), ("As I see it", true));
    assert_eq!(awaited(&site, workspace, job).await.len(), 3);

    for (act, message, text, expected) in [
        ("approve", name(&messages[2]), " ", StatusCode::UNPROCESSABLE_ENTITY),
        ("nonsense", name(&messages[2]), "x", StatusCode::NOT_FOUND),
        ("approve", "msg_nothing".to_owned(), "x", StatusCode::NOT_FOUND),
        ("approve", id::inside("msg", workspace + 1, messages[2].id), "x", StatusCode::NOT_FOUND),
    ] {
        assert_eq!(decide(act, &message, text).await, expected, "{act} {message}");
    }
    let other = site.workspace("Workspace 0002").await;
    let stranger = site.sign_in(Some(other), LinkRole::Admin).await;
    assert_eq!(stranger.get(&path).await.0, StatusCode::NOT_FOUND);
    assert_eq!(stranger.post(&path, &[("act", "all")]).await.0, StatusCode::NOT_FOUND);
    assert_eq!(awaited(&site, workspace, job).await.len(), 3, "none of that approved anything");

    assert_eq!(member.post(&path, &[("act", "all")]).await.0, StatusCode::SEE_OTHER);
    assert!(awaited(&site, workspace, job).await.is_empty());
    assert!(member.get(&path).await.1.contains("Nothing waits for you here"));
    site.audit();
}

#[tokio::test]
async fn senders_are_added_and_turned_off_and_a_password_is_never_shown() {
    let site = Site::open().await;
    let workspace = site.workspace("Workspace 0001").await;
    let admin = site.sign_in(Some(workspace), LinkRole::Admin).await;
    let path = "/settings/senders";
    let (_, page) = admin.get(path).await;
    assert!(page.contains("No senders yet"), "{page}");
    let key = after(&page, "name=\"form_key\" value=\"").to_owned();
    let url = "smtp://ann:quiet-word@mail.example.com:587";
    let form = |key: &str, change: (&str, &str)| {
        let good = [
            ("form_key", key),
            ("kind", "email"),
            ("from", "Team <team@example.com>"),
            ("smtp_url", url),
            ("daily_limit", "50"),
            ("hours", "09:00-17:00"),
            ("spacing", "60"),
        ];
        good.map(|(name, value)| if name == change.0 { change } else { (name, value) })
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    let send = async |change: (&str, &str)| {
        let form = form(&key, change);
        let form: Vec<(&str, &str)> =
            form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let answer = admin.send(Method::POST, path, &form).await;
        (answer.status(), answer.text().await.expect("text"))
    };
    for (change, word) in [
        (("from", "nobody"), "From: "),
        (("from", "a@example.com\r\nBcc: b@example.com"), "From: "),
        (("daily_limit", "many"), "Sends a day: "),
        (("daily_limit", "0"), "Sends a day: "),
        (("hours", "17:00-09:00"), "Hours: "),
        (("spacing", "-1"), "Seconds between two: "),
        (("smtp_url", "gopher://quiet-word"), "Mail server: "),
        (("kind", "pigeon"), "kind: "),
    ] {
        let (status, page) = send(change).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{change:?}");
        assert!(page.contains(&format!("role=\"alert\">{word}")), "{change:?}: {page}");
        assert!(!page.contains("quiet-word"), "{change:?}");
    }
    for _ in 0..2 {
        assert_eq!(send(("", "")).await.0, StatusCode::SEE_OTHER);
    }
    let senders = site.app.store.senders(workspace, None, 10).await.expect("senders");
    assert_eq!((senders.len(), senders[0].spacing), (1, 60), "a double click is one sender");
    let (_, page) = admin.get(path).await;
    assert!(page.contains("mail.example.com:587") && page.contains("0 of 50"), "{page}");
    assert!(page.contains("09:00 to 17:00") && !page.contains("quiet-word"), "{page}");
    let sender = format!("{path}/{}", id::inside("sender", workspace, senders[0].id));
    for (act, active) in [("off", false), ("off", false), ("on", true)] {
        assert_eq!(admin.post(&format!("{sender}/{act}"), &[]).await.0, StatusCode::SEE_OTHER);
        let now = site.app.store.sender(workspace, senders[0].id).await.expect("a sender");
        assert_eq!(now.active, active);
    }
    let (_, page) = admin.get(&sender).await;
    assert!(page.contains("value=\"09:00-17:00\"") && !page.contains("checked"), "{page}");
    let limits = |hours, days: &[&'static str]| {
        let form = [("daily_limit", "7"), ("hours", hours), ("spacing", "30")];
        form.into_iter().chain(days.iter().map(|day| ("day", *day))).collect::<Vec<_>>()
    };
    for (form, word) in [
        (limits("17:00-09:00", &["mon"]), "Hours: "),
        (limits("", &["someday"]), "Hours: "),
        (vec![("daily_limit", "0")], "Sends a day: "),
    ] {
        let answer = admin.send(Method::POST, &sender, &form).await;
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY, "{form:?}");
        let page = answer.text().await.expect("text");
        assert!(page.contains(&format!("role=\"alert\">{word}")), "{form:?}: {page}");
    }
    for (form, hours) in [
        (limits("08:30-12:00", &["mon", "fri"]), Some((510, 720, 0b001_0001))),
        (limits("", &["sun"]), Some((0, 1_440, 0b100_0000))),
        (limits("", &[]), None),
    ] {
        assert_eq!(admin.post(&sender, &form).await.0, StatusCode::SEE_OTHER, "{form:?}");
        let now = site.app.store.sender(workspace, senders[0].id).await.expect("a sender");
        assert_eq!((now.daily_limit, now.spacing), (7, 30));
        assert_eq!(now.hours.map(|hours| (hours.from, hours.to, hours.days)), hours, "{form:?}");
        let (_, page) = admin.get(&sender).await;
        let chosen = form.iter().filter(|(name, _)| *name == "day").count();
        assert_eq!(page.matches(" checked").count(), chosen, "{page}");
    }
    let member = site.sign_in(Some(workspace), LinkRole::Member).await;
    assert_eq!(member.get(path).await.0, StatusCode::FORBIDDEN);
    assert_eq!(member.get(&sender).await.0, StatusCode::FORBIDDEN);
    assert_eq!(member.post(&sender, &limits("", &[])).await.0, StatusCode::FORBIDDEN);
    assert_eq!(member.post(&format!("{sender}/off"), &[]).await.0, StatusCode::FORBIDDEN);
    let other = site.workspace("Workspace 0002").await;
    let stranger = site.sign_in(Some(other), LinkRole::Admin).await;
    assert_eq!(stranger.post(&format!("{sender}/off"), &[]).await.0, StatusCode::NOT_FOUND);
    assert!(site.app.store.sender(workspace, senders[0].id).await.expect("a sender").active);
    site.audit();
}

#[tokio::test]
async fn a_leads_page_says_whom_it_was_looked_up_with() {
    let site = Site::open().await;
    let (workspace, other) = (site.workspace("Workspace 0001").await, site.workspace("Workspace 0002").await);
    let lead =
        Lead { external_id: Some("<x>".to_owned()), name: "Lead <0001>".to_owned(), ..Lead::default() };
    site.app.store.import_leads(workspace, vec![lead]).await.expect("an import");
    let lead = site.app.store.leads(workspace, None, 1).await.expect("leads")[0].id;
    let path = format!("/leads/{}", id::inside("lead", workspace, lead));
    let member = site.sign_in(Some(workspace), LinkRole::Member).await;
    let (_, page) = member.get(&path).await;
    assert!(page.contains("Nobody was asked") && page.contains("Lead &#60;0001&#62;"), "{page}");
    assert!(member.get("/leads").await.1.contains(&format!("href=\"{path}\"")));
    for (number, provider, heard) in [(1, "first<>", Heard::Nothing), (2, "second", Heard::Found)] {
        let (operation, field) = ("contact_enrichment".to_owned(), "contact".to_owned());
        let about = About { hold: billing::Seq(3), job: 0, lead, operation, field };
        let (provider, detail) = (provider.to_owned(), String::new());
        let call = Call { number, provider, heard, units: 0, cost: 71_234_567, detail, kept: None };
        site.app.store.note_call(workspace, about, call).await.expect("noted");
    }
    let (_, page) = member.get(&path).await;
    let places =
        ["second</td><td class=\"roomy\">found", "first&#60;&#62;</td><td class=\"roomy\">nothing found"];
    let [second, first] = places.map(|words| page.find(words).unwrap_or_else(|| panic!("{words} in {page}")));
    assert!(second < first, "the newest first: {page}");
    assert!(
        !page.contains("71.23") && !page.contains("71234567"),
        "what a call costs is the operator's: {page}"
    );
    let stranger = site.sign_in(Some(other), LinkRole::Admin).await;
    assert_eq!(stranger.get(&path).await.0, StatusCode::NOT_FOUND);
}
