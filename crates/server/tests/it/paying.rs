//! Plan, payments and papers as a browser meets them: what confirming means is said before it happens, and nothing is paid twice.

use billing::Command;
use reqwest::{Method, StatusCode};
use scrip::app::LinkRole;
use scrip::store::committer::Post;
use scrip::store::workspaces::NewWorkspace;

use crate::pages::{Browser, Site, after};
use crate::sample;

/// A workspace whose money is collected, without a plan.
pub async fn shopper(site: &Site) -> i64 {
    let new = NewWorkspace {
        name: "Workspace 0001".to_owned(),
        terms: None,
        collection: "payments".to_owned(),
        time_zone: "Europe/Madrid".to_owned(),
        admin_email: Some("admin@example.com".to_owned()),
        external_id: None,
        request: String::new(),
    };
    site.app.store.create_workspace(new).await.expect("a workspace").0.id
}

/// Pays at the checkout that an answer leads to.
pub async fn pay(browser: &Browser<'_>, checkout: &str, card: &str) {
    let (status, page) = browser.get(checkout).await;
    assert_eq!(status, StatusCode::OK, "{checkout}");
    let form = after(&page, "<form method=\"post\" action=\"").replace("&#38;", "&");
    assert_eq!(browser.post(&form, &[("card", card)]).await.0, StatusCode::SEE_OTHER);
}

/// Buys a pack on the Billing page.
pub async fn buy(browser: &Browser<'_>, pack: &str) {
    let (_, page) = browser.get("/billing").await;
    let order = [("form_key", after(&page, "name=\"form_key\" value=\"")), ("pack", pack)];
    let (_, checkout) = browser.post("/billing/topups", &order).await;
    pay(browser, &checkout, "pays").await;
}

#[tokio::test]
async fn a_plan_is_chosen_with_its_consequences_and_paid_once() {
    let site = Site::open().await;
    let workspace = shopper(&site).await;
    let admin = site.sign_in(Some(workspace), LinkRole::Admin).await;
    assert!(admin.get("/billing").await.1.contains("Choose a plan"));
    let (_, page) = admin.get("/billing/plan?plan=growth").await;
    for says in
        ["€149 is charged now. 10,000 credits are added once it is paid.", "Pay €149", "until you cancel"]
    {
        assert!(page.contains(says), "{says} in {page}");
    }
    let order = [("form_key", after(&page, "name=\"form_key\" value=\"")), ("plan", "growth")];
    let (status, checkout) = admin.post("/billing/plan", &order).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    assert_eq!(admin.post("/billing/plan", &order).await.1, checkout, "a double click is one order");
    assert_eq!(site.available(workspace).await, 0);
    pay(&admin, &checkout, "pays").await;
    assert_eq!(site.available(workspace).await, 10_000);
    assert_eq!(admin.post("/billing/plan", &order).await.1, "/billing", "nor does going back pay twice");
    assert_eq!(site.available(workspace).await, 10_000);
    let other = [order[0], ("plan", "scale")];
    assert_eq!(admin.post("/billing/plan", &other).await.1, "/billing/plan", "the form was used");

    let (_, page) = admin.get("/billing/plan?plan=scale").await;
    assert!(page.contains("charged to your saved method: Card that pays"), "{page}");
    let upgrade = [("form_key", after(&page, "name=\"form_key\" value=\"")), ("plan", "scale")];
    for _ in 0..2 {
        assert_eq!(admin.post("/billing/plan", &upgrade).await.1, "/billing");
    }
    assert_eq!(site.available(workspace).await, 50_000, "the whole difference on the first day");
    let (_, page) = admin.get("/billing/plan?plan=starter").await;
    assert!(
        page.contains("Nothing changes before 22 Dec") && page.contains("Change at the renewal"),
        "{page}"
    );
    let key = after(&page, "name=\"form_key\" value=\"");
    assert_eq!(admin.post("/billing/plan/cancel", &[("form_key", key)]).await.1, "/billing");
    assert!(admin.get("/billing").await.1.contains("Ends on 22 Dec"));
    let (_, page) = admin.get("/billing/plan").await;
    let key = after(&page, "name=\"form_key\" value=\"");
    assert_eq!(admin.post("/billing/plan/resume", &[("form_key", key)]).await.1, "/billing");
    assert!(admin.get("/billing").await.1.contains("Active"));
    site.audit();
}

#[tokio::test]
async fn every_payment_has_its_paper_and_no_other_workspace_sees_it() {
    let site = Site::open().await;
    let workspace = shopper(&site).await;
    let admin = site.sign_in(Some(workspace), LinkRole::Admin).await;
    let (_, page) = admin.get("/billing/plan?plan=starter").await;
    let order = [("form_key", after(&page, "name=\"form_key\" value=\"")), ("plan", "starter")];
    let (_, checkout) = admin.post("/billing/plan", &order).await;
    pay(&admin, &checkout, "declined").await;
    let (_, page) = admin.get("/billing").await;
    let open = after(&page, "A payment is open. <a href=\"").to_owned();
    let (_, page) = admin.get(&open).await;
    assert!(page.contains("Declined") && page.contains("Pay €39"), "{page}");
    let (_, again) = admin.post(&format!("{open}/pay"), &[]).await;
    pay(&admin, &again, "needs_step").await;
    assert_eq!(site.available(workspace).await, 0, "the second step is missing");
    let step = format!("{again}&card=needs_step");
    let (_, page) = admin.get(&step).await;
    let form = after(&page, "<form method=\"post\" action=\"").replace("&#38;", "&");
    admin.post(&form, &[("card", "needs_step"), ("confirmed", "yes")]).await;
    assert_eq!(site.available(workspace).await, 2_000);
    let (_, page) = admin.get(&open).await;
    for says in ["Receipt 0001", "Starter plan", "€39", "Ledger entry 1: 2,000 credits"] {
        assert!(page.contains(says), "{says} in {page}");
    }
    let (_, page) = admin.get("/billing/payments").await;
    assert!(page.contains("Receipt 0001") && page.contains("Card that needs a second step"), "{page}");
    let (_, page) = admin.get("/billing/statements/1").await;
    assert!(
        page.contains("Granted (1 entry)") && page.contains("+2,000") && page.contains("still running"),
        "{page}"
    );
    assert_eq!(admin.get("/billing/statements/2").await.0, StatusCode::NOT_FOUND);
    let (_, csv) = admin.get("/billing/payments.csv").await;
    assert!(csv.contains(",period,1,paid,Starter plan,2000,0,3900,0,3900,EUR,0,0,0,"), "{csv}");
    let (_, csv) = admin.get("/billing/grants.csv").await;
    assert!(csv.contains(",plan,") && csv.contains(",3900,EUR,pay_"), "{csv}");

    let other = site.sign_in(Some(site.workspace("Workspace 0002").await), LinkRole::Admin).await;
    assert_eq!(other.get(&open).await.0, StatusCode::NOT_FOUND);
    let member = site.sign_in(Some(workspace), LinkRole::Member).await;
    for path in
        ["/billing/plan", "/billing/payments", &open, "/billing/statements/1", "/billing/payments.csv"]
    {
        assert_eq!(member.get(path).await.0, StatusCode::FORBIDDEN, "{path}");
    }
    for path in
        ["/billing/plan", "/billing/plan/cancel", "/billing/auto", "/billing/method", &format!("{open}/pay")]
    {
        let form =
            [("form_key", "00ff"), ("plan", "growth"), ("below", "1"), ("pack", "pack_1000"), ("most", "1")];
        assert_eq!(member.post(path, &form).await.0, StatusCode::FORBIDDEN, "{path}");
    }
    site.audit();
}

#[tokio::test]
async fn auto_buy_says_what_it_buys_before_it_is_saved() {
    let site = Site::open().await;
    let workspace = shopper(&site).await;
    let admin = site.sign_in(Some(workspace), LinkRole::Admin).await;
    // A purchase keeps the card.
    buy(&admin, "pack_1000").await;
    let (_, page) = admin.get("/billing/payments?below=700&pack=pack_1000&most=3").await;
    assert!(page.contains("<span class=\"tag\">off</span>"), "an address turns nothing on: {page}");
    assert!(page.contains("value=\"700\"") && !page.contains("Turn off"), "what was typed stays: {page}");
    let used = Command::Charge(sample::hold("work", 1_000, 1, 900));
    site.app.store.post(Post::new(workspace, used, "test")).await.expect("covered");
    let form = [("enabled", "on"), ("below", "1500"), ("pack", "pack_1000"), ("most", "3")];
    let (_, to) = admin.post("/billing/auto", &form).await;
    let (_, page) = admin.get(&to).await;
    assert!(page.contains("buys 2,000 credits at once and charges €50"), "{page}");
    assert!(site.app.store.auto_buy(workspace).await.expect("a read").is_none(), "nothing is saved yet");
    let confirmed = [&form[..], &[("confirmed", "yes")]].concat();
    assert_eq!(admin.post("/billing/auto", &confirmed).await.1, "/billing/payments");
    assert!(site.app.store.auto_buy(workspace).await.expect("a read").is_some_and(|it| it.enabled));
    site.audit();
}

#[tokio::test]
async fn auto_buy_says_beside_its_form_what_is_missing() {
    let site = Site::open().await;
    let workspace = shopper(&site).await;
    let admin = site.sign_in(Some(workspace), LinkRole::Admin).await;
    let send = async |below: &str, more: &[(&str, &str)]| {
        let form =
            [&[("enabled", "on"), ("below", below), ("pack", "pack_1000"), ("most", "3")], more].concat();
        let answer = admin.send(Method::POST, "/billing/auto", &form).await;
        (answer.status(), answer.text().await.expect("text"))
    };
    for (below, more, says) in [
        ("1500", &[][..], "No payment method is saved"),
        ("1500", &[("confirmed", "yes")], "No payment method is saved"),
        ("0", &[], "Auto-buy needs a threshold"),
    ] {
        let (status, page) = send(below, more).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{below}");
        assert!(page.contains("wrong-auto") && page.contains(says) && !page.contains("buy now"), "{page}");
        assert!(page.contains(&format!("value=\"{below}\"")), "what was typed stays: {page}");
    }
    assert!(site.app.store.auto_buy(workspace).await.expect("a read").is_none(), "nothing is saved");
    site.audit();
}
