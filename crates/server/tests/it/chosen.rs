//! Leads that were chosen: what is done with them costs what was said, once, and only for what was missing.

use reqwest::{Method, StatusCode};
use scrip::app::LinkRole;
use scrip::config::{Cost, EnrichmentConfig, HttpConfig, ProvidersConfig};
use scrip::store::jobs::JobKind;
use scrip::{id, outreach, runner};
use serde_json::{Value, json};

use crate::pages::{Site, after};

/// A site whose provider finds every field, with three leads of which one has an address.
async fn site() -> (Site, i64, Vec<String>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("a bound address"));
    let answer = async |asked: axum::Json<Value>| {
        let digits: String =
            asked["lead"]["name"].as_str().unwrap_or_default().chars().filter(char::is_ascii_digit).collect();
        axum::Json(json!({ "found": true, "email": format!("lead{digits}@example.com"), "verified": true }))
    };
    let provider = axum::Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, provider).await });
    let timeout = std::time::Duration::from_secs(5);
    let http = HttpConfig { url, token: None, idempotent: false, query: false, timeout };
    let one = EnrichmentConfig { name: "one".to_owned(), fields: None, cost: Cost::default(), http };
    let site = Site::with(ProvidersConfig { enrichment: vec![one], ..ProvidersConfig::default() }).await;
    let workspace = site.workspace("Workspace 0001").await;
    let rows = [
        json!({ "name": "Lead 0001", "email": "lead0001@example.com", "email_verified": true }),
        json!({ "name": "Lead <2>" }),
        json!({ "name": "Lead 0003" }),
    ];
    let leads = outreach::from_json(&rows).expect("leads").leads;
    site.app.store.import_leads(workspace, leads).await.expect("leads");
    let leads = site.app.store.leads(workspace, None, 10).await.expect("leads");
    let ids = leads.iter().map(|lead| id::inside("lead", workspace, lead.id)).collect();
    (site, workspace, ids)
}

#[tokio::test]
async fn the_cost_is_said_and_only_what_is_missing_is_paid_once() {
    let (site, workspace, leads) = site().await;
    let member = site.sign_in(Some(workspace), LinkRole::Member).await;
    let (_, page) = member.get("/leads").await;
    assert_eq!(page.matches("name=\"lead\" value=\"lead_").count(), 3, "{page}");
    let chosen: String = leads.iter().map(|lead| format!("lead={lead}&")).collect();
    let (status, page) = member.get(&format!("/leads/chosen?{chosen}lead={}", leads[0])).await;
    assert_eq!(status, StatusCode::OK);
    let price = site.app.unit("contact_enrichment", 1).unit_price;
    assert!(page.contains("3 leads chosen") && page.contains("Lead &#60;2&#62;"), "{page}");
    let words = format!("up to 2 × {price} = up to {} credits", 2 * price);
    assert!(page.contains(&words) && page.contains("1 of 3 known already: free"), "{page}");
    let key = after(&page, "name=\"form_key\" value=\"").to_owned();
    let mut form: Vec<(&str, &str)> = vec![("form_key", &key), ("field", "contact")];
    form.extend(leads.iter().map(|lead| ("lead", lead.as_str())));
    for _ in 0..2 {
        assert_eq!(
            member.post("/leads/chosen/enrich", &form).await,
            (StatusCode::SEE_OTHER, "/leads".to_owned())
        );
    }
    let jobs = site.app.store.jobs(workspace, JobKind::Enrichment, None, 10).await.expect("jobs");
    assert_eq!(jobs.len(), 1, "a double click is one job");
    runner::work_off(&site.app).await.expect("a round");
    assert_eq!(site.available(workspace).await, 10_000 - 2 * price);
    let (_, page) = member.get("/leads").await;
    assert!(page.contains("2 of 3") && page.contains("Completed"), "{page}");
    let (_, page) = member.get(&format!("/leads/chosen?{chosen}")).await;
    assert!(page.contains("3 of 3 known already"), "{page}");
    site.audit();
}

#[tokio::test]
async fn what_cannot_be_chosen_is_refused_and_nothing_happens() {
    let (site, workspace, leads) = site().await;
    let other = site.workspace("Workspace 0002").await;
    let member = site.sign_in(Some(workspace), LinkRole::Member).await;
    let foreign = id::inside("lead", other, 1);
    let many: String =
        (0..101).map(|number| format!("lead={}&", id::inside("lead", workspace, number))).collect();
    for (query, status) in [
        ("".to_owned(), StatusCode::UNPROCESSABLE_ENTITY),
        ("lead=".to_owned(), StatusCode::NOT_FOUND),
        (format!("lead={foreign}"), StatusCode::NOT_FOUND),
        (format!("lead={}", id::inside("lead", workspace, 999_999)), StatusCode::NOT_FOUND),
        (many, StatusCode::UNPROCESSABLE_ENTITY),
        (format!("lead={}&field=Size%20!", leads[0]), StatusCode::UNPROCESSABLE_ENTITY),
    ] {
        assert_eq!(member.get(&format!("/leads/chosen?{query}")).await.0, status, "{query}");
    }
    for (field, lead, status) in [
        ("Not a field", leads[0].as_str(), StatusCode::UNPROCESSABLE_ENTITY),
        ("", &leads[0], StatusCode::UNPROCESSABLE_ENTITY),
        ("contact", &foreign, StatusCode::NOT_FOUND),
    ] {
        let form = [("form_key", "00aa"), ("field", field), ("lead", lead)];
        let answer = member.send(Method::POST, "/leads/chosen/enrich", &form).await;
        assert_eq!(answer.status(), status, "{field} {lead}");
    }
    let form = [("campaign", "camp_0"), ("lead", &*leads[0])];
    assert_eq!(member.post("/leads/chosen/campaign", &form).await.0, StatusCode::NOT_FOUND);
    assert!(site.app.store.jobs(workspace, JobKind::Enrichment, None, 10).await.expect("jobs").is_empty());
    assert_eq!(site.available(workspace).await, 10_000);
}
