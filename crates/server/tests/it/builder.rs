//! The campaign builder: a form that is drawn again until it is saved, and refused by the words of the API.

use reqwest::{Method, StatusCode};
use scrip::app::LinkRole;
use scrip::outreach;
use scrip::store::jobs::{Job, JobKind};
use serde_json::json;

use crate::pages::{Browser, Site, after};

const STEP: [(&str, &str); 4] = [
    ("steps[0].channel", "email"),
    ("steps[0].after_days", "0"),
    ("steps[0].condition", "always"),
    ("steps[0].template", "Hello {{name}}"),
];

/// The form with what is typed besides its first step.
async fn draws(browser: &Browser<'_>, path: &str, typed: &[(&str, &str)]) -> (StatusCode, String) {
    let form: Vec<(&str, &str)> = STEP.iter().chain(typed).copied().collect();
    let answer = browser.send(Method::POST, path, &form).await;
    (answer.status(), answer.text().await.expect("text"))
}

async fn campaigns(site: &Site, workspace: i64) -> Vec<Job> {
    site.app.store.jobs(workspace, JobKind::Campaign, None, 10).await.expect("campaigns")
}

async fn with_leads(site: &Site, workspace: i64, count: usize) {
    let rows: Vec<_> = (0..count).map(|row| json!({ "name": format!("Lead {row:04}") })).collect();
    let leads = outreach::from_json(&rows).expect("leads").leads;
    site.app.store.import_leads(workspace, leads).await.expect("leads");
}

#[tokio::test]
async fn a_form_is_drawn_again_with_what_was_typed_and_nothing_is_made() {
    let site = Site::open().await;
    let workspace = site.workspace("Workspace 0001").await;
    with_leads(&site, workspace, 7).await;
    let member = site.sign_in(Some(workspace), LinkRole::Member).await;
    let (status, page) = member.get("/campaigns/new").await;
    assert!(status == StatusCode::OK && page.contains("for 7 leads") && page.contains("day 1"), "{page}");

    let typed = [("name", "A & \"B\""), ("leads", "5"), ("press", "add"), ("contact", "yes")];
    let (status, page) = draws(&member, "/campaigns/new", &typed).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(after(&page, "name=\"name\" value=\""), "A &#38; &#34;B&#34;");
    assert_eq!(after(&page, "steps[1].after_days\" value=\""), "3");
    assert!(page.contains("2. E-mail: day 4") && page.contains("Hello {{name}}"), "{page}");
    let unit = |operation| site.app.unit(operation, 1).unit_price;
    let lead = unit("contact_enrichment") + 2 * unit("email_send");
    assert!(page.contains(&format!("<strong>{lead} credits</strong> per lead; for 5 leads")), "{page}");

    let second =
        [("steps[1].channel", "linkedin_invite"), ("steps[1].generate", "yes"), ("press", "remove.0")];
    let (_, page) = draws(&member, "/campaigns/new", &second).await;
    assert!(page.contains("1. LinkedIn invite") && !page.contains("steps[1]"), "{page}");
    assert!(campaigns(&site, workspace).await.is_empty());
}

#[tokio::test]
async fn what_is_wrong_is_said_beside_its_field() {
    let site = Site::open().await;
    let workspace = site.workspace("Workspace 0001").await;
    let admin = site.sign_in(Some(workspace), LinkRole::Admin).await;
    let table = [
        ("name", " ", "name=\"name\"", "must not be empty."),
        ("credit_cap", "many", "name=\"credit_cap\"", "must be a whole number from 1"),
        ("leads", "10001", "name=\"leads\"", "must be a whole number from 0 to 10000."),
        ("enrich", "Company Size", "name=\"enrich\"", "has 1 to 64 of the characters"),
        (
            "steps[0].after_days",
            "soon",
            "name=\"steps[0].after_days\"",
            "must be a whole number from 0 to 365.",
        ),
        ("steps[0].template", "Hello {{name", "name=\"steps[0].template\"", "has a {{ that is not closed."),
        ("steps[0].subject", "}}", "name=\"steps[0].subject\"", "has a }} that was not opened."),
        ("steps[0].channel", "fax", "name=\"steps[0].channel\"", "must be email, linkedin_invite"),
        ("steps[20].channel", "email", "Steps</h2>", "a campaign has 1 to 20 steps."),
    ];
    for (name, value, place, words) in table {
        let typed = [("name", "Spring"), ("form_key", "k1"), ("press", "save"), (name, value)];
        let (status, page) = draws(&admin, "/campaigns/new", &typed).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{name}");
        assert_eq!(page.matches("id=\"wrong\"").count(), 1, "{name}");
        let said = page.find("id=\"wrong\"").expect("the words");
        let field = page[..said].rfind(place).unwrap_or_else(|| panic!("{name}: {page}"));
        assert_eq!(page[field + 1..said].matches(" name=\"").count(), 0, "{name} is said beside its field");
        assert!(page[said..].split("</span>").next().expect("text").contains(words), "{name}: {page}");
    }
    assert!(campaigns(&site, workspace).await.is_empty());
    let unpressed = [("name", "Spring"), ("press", "save")];
    assert_eq!(draws(&admin, "/campaigns/new", &unpressed).await.0, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn a_campaign_is_made_once_changed_and_launched() {
    let site = Site::open().await;
    let (workspace, other) = (site.workspace("Workspace 0001").await, site.workspace("Workspace 0002").await);
    with_leads(&site, workspace, 7).await;
    let member = site.sign_in(Some(workspace), LinkRole::Member).await;
    let (_, page) = member.get("/campaigns/new").await;
    let key = after(&page, "name=\"form_key\" value=\"").to_owned();
    let typed = [
        ("name", " Spring "),
        ("contact", "yes"),
        ("enrich", "industry"),
        ("credit_cap", "90"),
        ("leads", "5"),
    ];
    let save = [("form_key", key.as_str()), ("press", "save"), ("approve", "yes")];
    let form: Vec<(&str, &str)> = STEP.iter().chain(&typed).chain(&save).copied().collect();
    let (status, to) = member.post("/campaigns/new", &form).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    assert_eq!(member.post("/campaigns/new", &form).await, (StatusCode::SEE_OTHER, "/campaigns".to_owned()));
    let made = campaigns(&site, workspace).await;
    assert_eq!(made.len(), 1, "a double click makes one");
    assert_eq!((made[0].name.as_str(), made[0].credit_cap), ("Spring", Some(90)));
    assert_eq!(made[0].definition.enrich, ["contact", "industry"]);
    assert!(made[0].definition.approve && made[0].definition.steps[0].condition == "always");
    let total = async || site.app.store.progress(workspace, made[0].id).await.expect("progress").total();
    assert_eq!(total().await, 5);

    let edit = format!("{to}/edit");
    let (status, page) = member.get(&edit).await;
    assert!(
        status == StatusCode::OK && page.contains("value=\"Spring\"") && page.contains("for 5 leads"),
        "{page}"
    );
    let foreign = site.sign_in(Some(other), LinkRole::Admin).await;
    assert_eq!(foreign.get(&edit).await.0, StatusCode::NOT_FOUND);
    assert_eq!(foreign.post(&edit, &form).await.0, StatusCode::NOT_FOUND);
    let change = [("name", "Summer"), ("form_key", "k2"), ("press", "save"), ("leads", "")];
    let form: Vec<(&str, &str)> = STEP.iter().chain(&change).copied().collect();
    assert_eq!(member.post(&edit, &form).await, (StatusCode::SEE_OTHER, to.clone()));
    let changed = &campaigns(&site, workspace).await[0];
    assert!(changed.name == "Summer" && changed.definition.enrich.is_empty() && changed.credit_cap.is_none());

    let more = format!("{to}/leads");
    for _ in 0..2 {
        let form = [("leads", "1"), ("form_key", "k3")];
        assert_eq!(member.post(&more, &form).await, (StatusCode::SEE_OTHER, to.clone()));
        assert_eq!(total().await, 6, "a double click adds once");
    }
    assert_eq!(
        member.post(&more, &[("leads", "0"), ("form_key", "k4")]).await.0,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    assert_eq!(member.post(&format!("{to}/launch"), &[]).await.0, StatusCode::SEE_OTHER);
    assert_eq!(member.get(&edit).await.0, StatusCode::CONFLICT, "only a draft is changed");
    assert_eq!(member.post(&edit, &form).await.0, StatusCode::CONFLICT);
    site.audit();
}

#[tokio::test]
async fn the_page_tells_when_a_campaign_was_paused_and_went_on() {
    let site = Site::open().await;
    let workspace = site.workspace("Workspace 0001").await;
    let member = site.sign_in(Some(workspace), LinkRole::Member).await;
    let form: Vec<(&str, &str)> = STEP
        .iter()
        .chain(&[("name", "Spring"), ("contact", "yes"), ("form_key", "k1"), ("press", "save")])
        .copied()
        .collect();
    let (_, to) = member.post("/campaigns/new", &form).await;
    assert!(!member.get(&to).await.1.contains("What happened"), "a draft has no past");
    with_leads(&site, workspace, 1).await;
    member.post(&format!("{to}/leads"), &[("leads", "1"), ("form_key", "k2")]).await;
    for act in ["launch", "pause", "resume"] {
        assert_eq!(member.post(&format!("{to}/{act}"), &[]).await.0, StatusCode::SEE_OTHER, "{act}");
    }
    // The first piece of work finds no credits.
    // The first piece of work finds nobody to do it.
    scrip::runner::work_off(&site.app).await.expect("a round");
    let expected = [
        "No longer paused by a person",
        "Paused: by a member",
        "Paused: a provider: no enrichment provider is configured",
        "Launched",
    ];
    check(&member, &to, &expected).await;
    site.audit();
}

/// The timeline of a campaign's page has these and no others, in any order of what happened at one moment.
async fn check(browser: &Browser<'_>, to: &str, expected: &[&str]) {
    let (_, page) = browser.get(to).await;
    let timeline =
        page.split("What happened").nth(1).expect("a timeline").split("</table>").next().expect("it");
    assert_eq!(timeline.matches("<tr><td").count(), expected.len(), "{timeline}");
    for words in expected {
        assert_eq!(timeline.matches(words).count(), 1, "{words} in {timeline}");
    }
}
