//! The Billing page: what it says of the balance is so, before and after it changes.

use billing::Command;
use reqwest::StatusCode;
use scrip::app::LinkRole;
use scrip::catalog::Catalog;
use scrip::config::{Config, PaymentsConfig};
use scrip::store::committer::{Key, KeyKind, Post};
use scrip::{money, scheduler};
use serde_json::json;

use crate::pages::{Browser, Site, after};
use crate::paying::{buy, pay, shopper};
use crate::world::{World, emails};
use crate::{plans, sample};

async fn post(site: &Site, workspace: i64, command: Command) {
    site.app.store.post(Post::new(workspace, command, "test")).await.expect("posted");
}

async fn charge(site: &Site, workspace: i64, credits: i64) {
    post(site, workspace, Command::Charge(sample::hold("work", credits, 1, 900))).await;
}

async fn page(browser: &Browser<'_>, path: &str) -> String {
    let (status, page) = browser.get(path).await;
    assert_eq!(status, StatusCode::OK, "{path}");
    page
}

#[track_caller]
fn says(page: &str, words: &[&str]) {
    for words in words {
        assert!(page.contains(words), "{words}: {page}");
    }
}

#[tokio::test]
async fn with_debt_each_pack_says_what_it_repays_and_whether_it_resumes() {
    let site = Site::open().await;
    let workspace = shopper(&site).await;
    let admin = site.sign_in(Some(workspace), LinkRole::Admin).await;
    post(&site, workspace, Command::Adjust(1)).await;
    sample::launched(&site.app.store, workspace, &["ann"]).await;
    scheduler::advance(&site.app, 0).await.expect("time passes");
    // The next step needs 2 and finds 1: the workspace goes out.
    let step = Command::Hold(sample::hold("email_send", 1, 2, 900));
    let step = Post { background: true, ..Post::new(workspace, step, "test") };
    assert!(site.app.store.post(step).await.is_err());
    post(&site, workspace, Command::Adjust(-5_001)).await;
    let before = page(&admin, "/billing").await;
    says(
        &before,
        &[
            "<span>Repays 1,000 of the 5,000 credits owed. Resuming 1 campaign takes 5,002 credits.</span>",
            "<span>Repays the 5,000 credits owed. Resuming 1 campaign takes 5,002 credits.</span>",
            "<span>Repays the 5,000 credits owed and adds 5,000. Resumes 1 campaign.</span>",
            // The smallest that is enough is chosen.
            "value=\"pack_10000\" required checked",
            "<span class=\"muted\">5,000 credits now owed</span>",
            // True of a refund, a dispute and a correction.
            "Credits were taken back after they had been used.",
        ],
    );
    assert!(!before.contains("A payment was taken back"), "{before}");

    buy(&admin, "pack_1000").await;
    let told = Browser { site: &site, cookie: format!("{}; scrip_flash=paid-owed.1000", admin.cookie) };
    says(&page(&told, "/billing").await, &["1,000 credits bought: all of them repay what is owed."]);
    says(
        &page(&admin, "/billing").await,
        &["4,000 credits owed.", "Repays 1,000 of the 4,000 credits owed."],
    );
    buy(&admin, "pack_5000").await;
    assert_eq!(site.available(workspace).await, 1_000);
    let after = page(&admin, "/billing").await;
    assert!(!after.contains("Repays") && !after.contains("credits owed"), "{after}");
    let lines = page(&admin, "/billing?show=adjusted").await;
    says(&lines, &["Debt repaid</a> <span class=\"muted\">4,000 credits</span>"]);
    site.audit();
}

#[tokio::test]
async fn after_a_purchase_it_is_told_what_was_added() {
    let site = Site::open().await;
    let workspace = shopper(&site).await;
    let admin = site.sign_in(Some(workspace), LinkRole::Admin).await;
    post(&site, workspace, Command::Adjust(-1_500)).await;
    for flash in ["scrip_flash=paid-owed.1000", ""] {
        let (_, billing) = admin.get("/billing").await;
        let order = [("form_key", after(&billing, "name=\"form_key\" value=\"")), ("pack", "pack_1000")];
        let (_, checkout) = admin.post("/billing/topups", &order).await;
        let checkout = page(&admin, &checkout).await;
        let form = after(&checkout, "<form method=\"post\" action=\"").replace("&#38;", "&");
        let answer = admin.send(reqwest::Method::POST, &form, &[("card", "pays")]).await;
        let cookies: Vec<_> = answer.headers().get_all("set-cookie").iter().collect();
        assert!(format!("{cookies:?}").contains(flash), "{flash}: {cookies:?}");
    }
    assert_eq!(site.available(workspace).await, 500);
    site.audit();
}

#[tokio::test]
async fn all_that_states_the_balance_is_drawn_anew_together() {
    let site = Site::open().await;
    let workspace = shopper(&site).await;
    let admin = site.sign_in(Some(workspace), LinkRole::Admin).await;
    buy(&admin, "pack_1000").await;
    let whole = page(&admin, "/billing").await;
    says(&whole, &["id=\"now\" hx-get=\"/billing/now\"", "<dd><a href=\"/billing/credits\">1,000</a>"]);
    charge(&site, workspace, 999).await;
    let part = page(&admin, "/billing/now").await;
    says(&part, &["id=\"now\"", "1</strong> <span class=\"muted\">credit</span>"]);
    says(&part, &["Not enough for a send (2).", "<dd><a href=\"/billing/credits\">1</a></dd>"]);
    says(&part, &["<dt>Bought</dt><dd><a href=\"/billing/credits#grants\">1</a></dd>"]);
    assert!(!part.contains("<h1") && !part.contains("1,000"), "{part}");
    let mut stream = admin.send(reqwest::Method::GET, "/live", &[]).await;
    let first = stream.chunk().await.expect("a chunk").expect("the present");
    assert!(!String::from_utf8_lossy(&first).contains("available-now"), "no figure changes alone");
    site.audit();
}

#[tokio::test]
async fn what_is_owed_is_part_of_the_shortfall() {
    let site = Site::open().await;
    let workspace = site.workspace("Workspace 0001").await;
    let admin = site.sign_in(Some(workspace), LinkRole::Admin).await;
    charge(&site, workspace, 7_000).await;
    says(&page(&admin, "/billing").await, &["To reach the renewal you need about</dt><dd>27,000 more"]);
    post(&site, workspace, Command::Adjust(-5_000)).await;
    says(&page(&admin, "/billing").await, &["To reach the renewal you need about</dt><dd>32,000 more"]);
    site.audit();
}

#[tokio::test]
async fn nothing_is_said_of_campaigns_where_none_is_active() {
    let site = Site::open().await;
    let workspace = site.workspace("Workspace 0001").await;
    let admin = site.sign_in(Some(workspace), LinkRole::Admin).await;
    charge(&site, workspace, 9_900).await;
    let page = page(&admin, "/billing").await;
    says(&page, &["Credits are nearly used up: 100 left.", "At the pace of the last 7 days they last until"]);
    says(&page, &["less than a day left at 1,414 a day"]);
    assert!(!page.contains("ampaigns will pause") && !page.contains("about 0"), "{page}");
}

#[tokio::test]
async fn every_price_is_what_is_charged() {
    let catalogs = vec![Catalog::parse("shop.toml", plans::CATALOG).expect("a catalog")];
    let config = Config { payments: Some(PaymentsConfig::Sandbox), catalogs, ..Config::default() };
    let site = Site::configured(config).await;
    let workspace = shopper(&site).await;
    let admin = site.sign_in(Some(workspace), LinkRole::Admin).await;
    says(&page(&admin, "/billing").await, &["€12 · ", "Prices include VAT.", "from 100 to 5,000"]);
    let few = [("form_key", "00ff"), ("credits", "1")];
    let answer = admin.send(reqwest::Method::POST, "/billing/topups", &few).await;
    assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
    says(&answer.text().await.expect("text"), &["Credits must be a whole number from 100 to 5,000."]);
    says(&page(&admin, "/billing/payments").await, &["Bundle for €12<", "Prices include VAT."]);
    says(&page(&admin, "/billing/plan").await, &["€37.20 a&nbsp;month", "Prices include VAT."]);
}

#[tokio::test]
async fn a_failed_renewal_is_told_on_every_page_and_its_statement_says_what_was_refunded() {
    let site = Site::open().await;
    let workspace = shopper(&site).await;
    let admin = site.sign_in(Some(workspace), LinkRole::Admin).await;
    let (_, plan) = admin.get("/billing/plan?plan=growth").await;
    let order = [("form_key", after(&plan, "name=\"form_key\" value=\"")), ("plan", "growth")];
    let (_, checkout) = admin.post("/billing/plan", &order).await;
    pay(&admin, &checkout, "declined_later").await;
    assert!(!page(&admin, "/leads").await.contains("renewal was declined"));
    scheduler::advance(&site.app, 31 * plans::DAY).await.expect("time passes");
    let admin = site.sign_in(Some(workspace), LinkRole::Admin).await;
    let leads = page(&admin, "/leads").await;
    says(
        &leads,
        &[
            "<div class=\"banner critical\"><svg",
            "The payment for the renewal was declined.",
            "See and pay it",
        ],
    );
    let open = after(&leads, "<a class=\"button primary\" href=\"/billing/payments/").to_owned();
    says(&page(&admin, &format!("/billing/payments/{open}")).await, &["Declined"]);
    says(&page(&admin, "/billing").await, &["<p class=\"state critical\"><svg"]);
    let member = site.sign_in(Some(workspace), LinkRole::Member).await;
    let leads = page(&member, "/leads").await;
    says(&leads, &["The payment for the renewal was declined.", "Ask an admin"]);
    assert!(!leads.contains("/billing/payments/"), "{leads}");

    let first = &site.app.store.payments(workspace, scrip::finance::ALL, None, 10).await.expect("payments");
    let paid = first.iter().find(|payment| payment.is_paid()).expect("the first one");
    let key = Key { kind: KeyKind::TopUpRefund, key: "refund".into(), fingerprint: [1; 16] };
    let done = money::refund(&site.app, (workspace, paid.id), None, "test".to_owned(), key).await;
    assert!(done.is_ok());
    let statement = page(&admin, "/billing/statements/1").await;
    says(&statement, &["<td>Refunded</td>", "€149"]);
    site.audit();
}

/// Six leads whose messages are written and paid, and wait: only their sending is still to come.
#[tokio::test]
async fn what_is_written_is_not_priced_again() {
    let world = World::new(100).await;
    let mut campaign = emails(&[0, 3]);
    campaign["approve"] = json!(true);
    campaign["steps"][0]["generate"] = json!(true);
    let leads = world.leads(6).await;
    let campaign = world.campaign(campaign, &leads).await;
    assert_eq!(world.view(&campaign).await["estimate"]["credits"], json!(6 * (2 + 2 + 2)));
    world.advance(0).await;
    assert_eq!(world.charged("message_generation").await, 12);
    assert_eq!(world.view(&campaign).await["estimate"]["credits"], json!(6 * (2 + 2)));
    world.end().await;
}
