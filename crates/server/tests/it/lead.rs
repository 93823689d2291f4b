//! The page of one lead: what became of it in every campaign, and what a person says of it.

use reqwest::{Method, StatusCode};
use scrip::app::LinkRole;
use scrip::config::{MailConfig, ProvidersConfig, Secret};
use scrip::demo::smtp_sink::SmtpSink;
use scrip::outreach;
use scrip::store::jobs::{Act, Definition, JobKind, NewJob, StepText};
use scrip::{id, runner};
use serde_json::json;

use crate::pages::Site;

/// Launches a campaign of one e-mail with leads that have no address that may be written to.
async fn launched(site: &Site, workspace: i64, leads: Vec<i64>) -> i64 {
    let step = |after_days| StepText {
        channel: "email".to_owned(),
        after_days,
        condition: "always".to_owned(),
        subject: Some("Hello".to_owned()),
        template: Some("Hello {{name}}".to_owned()),
        generate: false,
    };
    let definition = Definition { steps: vec![step(0), step(3)], ..Definition::default() };
    let requested = leads.len() as i64;
    let name = "Campaign <1>".to_owned();
    let new = NewJob { kind: JobKind::Campaign, name, definition, credit_cap: None, requested, leads };
    let job = site.app.store.create_job(workspace, new).await.expect("a campaign").id;
    site.app
        .store
        .act_on_job(workspace, job, JobKind::Campaign, Act::Launch { by: None })
        .await
        .expect("launched");
    job
}

#[tokio::test]
async fn the_page_of_a_lead_tells_what_became_of_it() {
    let sink = SmtpSink::start().await.expect("a sink");
    let timeout = std::time::Duration::from_secs(5);
    let mail = MailConfig { url: Secret::new(&sink.url), from: "team@example.com".to_owned(), timeout };
    let site = Site::with(ProvidersConfig { email: Some(mail), ..ProvidersConfig::default() }).await;
    let (workspace, other) = (site.workspace("Workspace 0001").await, site.workspace("Workspace 0002").await);
    let rows =
        [json!({ "name": "Lead 0001" }), json!({ "name": "Lead 0002", "email": "lead0002@example.com" })];
    let leads = outreach::from_json(&rows).expect("leads").leads;
    site.app.store.import_leads(workspace, leads).await.expect("leads");
    let mut known = site.app.store.leads(workspace, None, 10).await.expect("leads");
    known.sort_by(|one, other| one.name.cmp(&other.name));
    let [one, two] = [known[0].id, known[1].id];
    let job = launched(&site, workspace, vec![one, two]).await;
    runner::work_off(&site.app).await.expect("a round");

    let member = site.sign_in(Some(workspace), LinkRole::Member).await;
    let page = async |lead: i64| {
        let (status, page) = member.get(&format!("/leads/{}", id::inside("lead", workspace, lead))).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        page
    };
    let first = page(one).await;
    let campaign =
        format!("href=\"/campaigns/{}\">Campaign &#60;1&#62;</a>", id::inside("camp", workspace, job));
    assert!(first.contains(&campaign) && first.contains("Became a lead"), "{first}");
    assert!(first.contains("Campaign &#60;1&#62;, step 1: E-mail skipped"), "{first}");
    assert!(!first.contains("Never write to them"), "there is nothing to put on the blocklist");

    // What the other lead's page can do: both buttons, each once, and repeating one changes nothing.
    let to = format!("/leads/{}", id::inside("lead", workspace, two));
    let second = page(two).await;
    assert!(second.contains("Campaign &#60;1&#62;, step 1: E-mail sent<"), "{second}");
    assert!(second.contains("<td class=\"roomy\">accepted"), "{second}");
    assert!(second.contains("Never write to them") && sink.accepted() == 1, "{second}");
    for _ in 0..2 {
        assert_eq!(member.post(&format!("{to}/block"), &[]).await, (StatusCode::SEE_OTHER, to.clone()));
        assert_eq!(member.post(&format!("{to}/replied"), &[]).await, (StatusCode::SEE_OTHER, to.clone()));
    }
    let second = page(two).await;
    for words in ["On the blocklist", "Replied: nothing more goes to them.", "<td>replied</td>"] {
        assert!(second.contains(words), "{words}: {second}");
    }
    assert!(!second.contains("They replied") && !second.contains("Never write to them"), "{second}");
    let blocked = site.app.store.blocklist(workspace, String::new(), 10).await.expect("the list");
    assert_eq!(blocked, ["lead0002@example.com"]);

    let foreign = site.sign_in(Some(other), LinkRole::Admin).await;
    for act in ["replied", "block"] {
        assert_eq!(foreign.post(&format!("{to}/{act}"), &[]).await.0, StatusCode::NOT_FOUND);
    }
    assert_eq!(member.send(Method::POST, &format!("{to}/sell"), &[]).await.status(), StatusCode::NOT_FOUND);
    assert!(site.app.store.blocklist(other, String::new(), 10).await.expect("the list").is_empty());
    site.audit();
}
