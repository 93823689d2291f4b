//! What somebody does on the pages is theirs: in usage by person, in the history, and in the limits of people.

use std::time::Duration;

use billing::Time;
use billing::campaign::Reason;
use reqwest::StatusCode;
use scrip::app::LinkRole;
use scrip::config::{Cost, EnrichmentConfig, HttpConfig, ProvidersConfig, Secret};
use scrip::demo::http_fakes::HttpFakes;
use scrip::store::jobs::{Definition, JobKind, NewJob};
use scrip::{id, outreach, runner};
use serde_json::json;

use crate::pages::{Site, after};

const ANN: &str = "ann@example.com";

#[tokio::test]
async fn whoever_asks_is_who_used_it() {
    let fakes = HttpFakes::start().await.expect("a free port");
    let http = |path: &str| HttpConfig {
        url: format!("{}/{path}", fakes.url),
        token: Some(Secret::new(fakes.token.clone())),
        idempotent: true,
        query: false,
        timeout: Duration::from_secs(5),
    };
    let one = EnrichmentConfig {
        name: "one".to_owned(),
        fields: None,
        cost: Cost::default(),
        http: http("enrichment"),
    };
    let providers = ProvidersConfig {
        discovery: Some(http("discovery")),
        enrichment: vec![one],
        ..ProvidersConfig::default()
    };
    let site = Site::with(providers).await;
    let (store, workspace) = (&site.app.store, site.workspace("Workspace 0001").await);
    let admin = site.sign_in(Some(workspace), LinkRole::Admin).await;
    let ann = site.guest(workspace, LinkRole::Member, "Ann@example.com").await;
    let limit = async |credits: &str| {
        let form = [("scope", "member"), ("label", ""), ("per", "day"), ("credits", credits)];
        assert_eq!(admin.post("/billing/limits/set", &form).await.0, StatusCode::SEE_OTHER);
    };
    limit("5000").await;

    let (_, page) = ann.get("/searches").await;
    let key = after(&page, "name=\"form_key\" value=\"");
    let search = [("form_key", key), ("query", "harbours"), ("kind", "leads"), ("limit", "50")];
    assert_eq!(ann.send(reqwest::Method::POST, "/searches/preview", &search).await.status(), StatusCode::OK);
    assert_eq!(ann.post("/searches", &search).await.0, StatusCode::SEE_OTHER);
    runner::work_off(&site.app).await.expect("work");

    let rows = [json!({ "name": "Lead 0001" }), json!({ "name": "Lead 0002" })];
    let leads = outreach::from_json(&rows).expect("leads").leads;
    store.import_leads(workspace, leads).await.expect("leads");
    let leads: Vec<i64> =
        store.leads(workspace, None, 2).await.expect("leads").iter().map(|lead| lead.id).collect();
    let lead = id::inside("lead", workspace, leads[0]);
    let chosen = [("form_key", "enrich1"), ("field", "industry"), ("lead", &*lead)];
    assert_eq!(ann.post("/leads/chosen/enrich", &chosen).await.0, StatusCode::SEE_OTHER);
    let campaign = async |name: &str| {
        let definition = Definition { enrich: vec!["contact".to_owned()], ..Definition::default() };
        let (kind, name) = (JobKind::Campaign, name.to_owned());
        let new = NewJob { kind, name, definition, credit_cap: None, requested: 0, leads: vec![] };
        let job = store.create_job(workspace, new).await.expect("a campaign").id;
        store.add_leads(workspace, job, leads.clone()).await.expect("leads");
        let launch = format!("/campaigns/{}/launch", id::inside("camp", workspace, job));
        assert_eq!(ann.post(&launch, &[]).await.0, StatusCode::SEE_OTHER);
        job
    };
    campaign("Autumn").await;
    runner::work_off(&site.app).await.expect("work");

    let usage = store.usage(workspace, Time(0), Time(i64::MAX)).await.expect("usage");
    let of = |operation: &str| usage.iter().any(|row| row.operation == operation && row.credits > 0);
    assert!(of("discovery_preview") && of("discovery_result") && of("contact_enrichment"), "{usage:?}");
    assert!(usage.iter().any(|row| row.operation == "field_enrichment"), "{usage:?}");
    for row in &usage {
        assert_eq!(row.member, ANN, "{}", row.operation);
    }
    let all: i64 = usage.iter().map(|row| row.credits).sum();
    let stands = &store.budgets(workspace).await.expect("limits")[0];
    assert_eq!((stands.used.spent(), stands.by.as_deref()), (all, Some(ANN)));
    let (_, page) = admin.get("/billing?group=member").await;
    assert!(page.contains(ANN) && !page.contains("No person"), "{page}");

    // What the limit of a person stopped waits for room in that very limit.
    limit("1").await;
    let rows = [json!({ "name": "Lead 0003" })];
    store.import_leads(workspace, outreach::from_json(&rows).expect("leads").leads).await.expect("a lead");
    let more = store.leads(workspace, None, 1).await.expect("a lead")[0].id;
    let second = campaign("Winter").await;
    store.add_leads(workspace, second, vec![more]).await.expect("a lead");
    runner::work_off(&site.app).await.expect("work");
    store.look_at_budgets(workspace).await.expect("a look");
    let job = store.job(workspace, second, JobKind::Campaign).await.expect("a campaign");
    assert!(job.run.reasons.contains_key(&Reason::CreditCap), "{job:?}");
    site.audit();
}
