//! The operator's console: correcting, giving back, deciding and refunding with a reason, and what is looked after for all.

use billing::ledger::{Command, HoldTerms};
use billing::{Labels, Quantity};
use reqwest::{Method, StatusCode};
use scrip::app::LinkRole;
use scrip::config::{Config, Network, WebhooksConfig};
use scrip::store::committer::Post;
use scrip::store::webhooks::NewEndpoint;
use scrip::{id, scheduler};

use crate::pages::{Browser, Site, after};

async fn advance(site: &Site, seconds: i64) {
    scheduler::advance(&site.app, seconds).await.expect("time passes");
}

/// A hold that went in doubt.
async fn doubt(site: &Site, workspace: i64, quantity: i64) -> String {
    let quantity = Quantity::new(quantity).expect("a quantity");
    let price = site.app.price("email_send", quantity).expect("a price").expect("a known operation");
    let labels = std::sync::Arc::new(Labels::default());
    let terms = HoldTerms { price, labels, epoch: 0, seconds: 60 };
    let answer =
        site.app.store.post(Post::new(workspace, Command::Hold(terms), "test")).await.expect("a hold");
    let hold = answer.hold.expect("a hold").id;
    site.app
        .store
        .post(Post::new(workspace, Command::Dispatch { hold, epoch: 0 }, "test"))
        .await
        .expect("a dispatch");
    advance(site, 61).await;
    id::inside("hold", workspace, hold.0)
}

struct Desk<'a> {
    operator: Browser<'a>,
    path: String,
}

impl Desk<'_> {
    async fn page(&self) -> String {
        let (status, page) = self.operator.get(&self.path).await;
        assert_eq!(status, StatusCode::OK);
        page
    }

    /// Sends a form as the page has it; answers the status and the page.
    async fn send(&self, act: &str, form_key: &str, form: &[(&str, &str)]) -> (StatusCode, String) {
        let form = [&[("form_key", form_key)], form].concat();
        let answer = self.operator.send(Method::POST, &format!("{}/{act}", self.path), &form).await;
        (answer.status(), answer.text().await.expect("text"))
    }

    async fn key(&self) -> String {
        after(&self.page().await, "name=\"form_key\" value=\"").to_owned()
    }
}

async fn desk(site: &Site, workspace: i64) -> Desk<'_> {
    let operator = site.sign_in(None, LinkRole::Operator).await;
    Desk { operator, path: format!("/admin/workspaces/{}", id::workspace(workspace)) }
}

#[tokio::test]
async fn every_form_does_it_once_with_a_reason_and_keeps_what_was_typed() {
    let site = Site::open().await;
    let workspace = site.workspace("Workspace 0001").await;
    let desk = desk(&site, workspace).await;
    let key = desk.key().await;
    let good = [("credits", "-250"), ("reason", "=counted <twice>")];
    for _ in 0..2 {
        assert_eq!(desk.send("adjust", &key, &good).await.0, StatusCode::SEE_OTHER);
        assert_eq!(site.available(workspace).await, 9_750, "a double click is one correction");
    }
    let (status, page) = desk.send("adjust", &key, &[("credits", "-300"), ("reason", "x")]).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(page.contains("idempotency key reused"), "{page}");
    for (credits, reason) in [
        ("", "x"),
        ("0", "x"),
        ("1.5", "x"),
        ("ten", "x"),
        ("9223372036854775808", "x"),
        ("5", " "),
        ("5", "a\u{7}b"),
    ] {
        let key = desk.key().await;
        let (status, page) = desk.send("adjust", &key, &[("credits", credits), ("reason", reason)]).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{credits} {reason}");
        assert!(page.contains("class=\"wrong\" role=\"alert\""), "{page}");
        assert!(
            page.contains(&format!("name=\"credits\" value=\"{credits}\"")),
            "what was typed stays: {page}"
        );
    }
    assert_eq!(site.available(workspace).await, 9_750);
    let (_, csv) = {
        let inside = site.sign_in(Some(workspace), LinkRole::Admin).await;
        inside.get("/billing/history.csv").await
    };
    assert!(csv.contains("'=counted <twice>"), "{csv}");
    site.audit();
}

#[tokio::test]
async fn what_is_in_doubt_is_found_and_decided_and_charges_are_given_back() {
    let site = Site::open().await;
    let (workspace, other) = (site.workspace("Workspace 0001").await, site.workspace("Workspace 0002").await);
    let (first, second) = (doubt(&site, workspace, 3).await, doubt(&site, other, 5).await);
    let desk = desk(&site, workspace).await;
    let (_, all) = desk.operator.get("/admin/unconfirmed").await;
    assert!(all.contains(&first) && all.contains(&second), "{all}");
    let page = desk.page().await;
    assert!(page.contains(&first) && !page.contains(&second), "{page}");

    let key = desk.key().await;
    for (hold, outcome, reason) in
        [(&*second, "settled", "x"), ("x", "settled", "x"), (&*first, "lost", "x"), (&*first, "settled", "")]
    {
        let form = [("hold", hold), ("outcome", outcome), ("reason", reason)];
        let (status, page) = desk.send("resolve", &key, &form).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{hold} {outcome} {reason}");
        assert!(page.contains("role=\"alert\""), "{page}");
    }
    assert_eq!(site.available(workspace).await, 9_994);
    let form = [("hold", first.as_str()), ("outcome", "settled"), ("reason", "the mail server says so")];
    assert_eq!(desk.send("resolve", &key, &form).await.0, StatusCode::SEE_OTHER);
    let (_, all) = desk.operator.get("/admin/unconfirmed").await;
    assert!(!all.contains(&first) && all.contains(&second), "{all}");

    let wrong = [("hold", first.as_str()), ("quantity", "4"), ("reason", "too much")];
    let (status, page) = desk.send("refund", &desk.key().await, &wrong).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(page.contains("more than is still charged: 3 units can be given back"), "{page}");
    let part = [("hold", first.as_str()), ("quantity", "1"), ("reason", "one bounced")];
    let key = desk.key().await;
    for _ in 0..2 {
        assert_eq!(desk.send("refund", &key, &part).await.0, StatusCode::SEE_OTHER);
        assert_eq!(site.available(workspace).await, 9_996);
    }
    let rest = [("hold", first.as_str()), ("quantity", ""), ("reason", "all bounced")];
    assert_eq!(desk.send("refund", &desk.key().await, &rest).await.0, StatusCode::SEE_OTHER);
    assert_eq!(site.available(workspace).await, 10_000);
    advance(&site, 73 * 3_600).await;
    let (_, all) = desk.operator.get("/admin/unconfirmed").await;
    assert!(!all.contains(&second), "what nobody decided is over: {all}");
    let admin = site.sign_in(Some(other), LinkRole::Admin).await;
    let (_, page) = admin.get("/billing").await;
    assert!(page.contains("that failed or stayed unconfirmed"), "it counts as sent, not as failed: {page}");
    site.audit();
}

#[tokio::test]
async fn a_payment_is_refunded_once() {
    let site = Site::open().await;
    let workspace = site.workspace("Workspace 0001").await;
    let admin = site.sign_in(Some(workspace), LinkRole::Admin).await;
    let (_, page) = admin.get("/billing").await;
    let order = [("form_key", after(&page, "name=\"form_key\" value=\"")), ("pack", "pack_1000")];
    let (_, checkout) = admin.post("/billing/topups", &order).await;
    admin.post(&checkout, &[("card", "pays")]).await;
    assert_eq!(site.available(workspace).await, 11_000);
    let desk = desk(&site, workspace).await;
    let page = desk.page().await;
    let payment = after(&page, "?payment=").split('#').next().expect("an id").to_owned();
    let key = desk.key().await;
    for (credits, reason) in [("1001", "x"), ("0", "x"), ("", "")] {
        let form = [("payment", payment.as_str()), ("credits", credits), ("reason", reason)];
        assert_eq!(desk.send("repay", &key, &form).await.0, StatusCode::UNPROCESSABLE_ENTITY, "{credits}");
    }
    let form = [("payment", payment.as_str()), ("credits", ""), ("reason", "not wanted")];
    for _ in 0..2 {
        assert_eq!(desk.send("repay", &key, &form).await.0, StatusCode::SEE_OTHER);
        assert_eq!(site.available(workspace).await, 10_000);
    }
    site.audit();
}

#[tokio::test]
async fn what_did_not_arrive_is_listed_and_sent_again() {
    let allow = vec![Network::parse("127.0.0.1").expect("a network")];
    let site = Site::configured(Config { webhooks: WebhooksConfig { allow }, ..Config::default() }).await;
    let workspace = site.workspace("Workspace 0001").await;
    let new =
        NewEndpoint { url: "http://127.0.0.1:1/".to_owned(), description: String::new(), kinds: vec![] };
    site.app.store.create_endpoint(workspace, new, [7; 32], "test".to_owned()).await.expect("an endpoint");
    let member = site.sign_in(Some(workspace), LinkRole::Member).await;
    member.post("/billing/ask", &[]).await;
    doubt(&site, workspace, 1).await;
    let operator = site.sign_in(None, LinkRole::Operator).await;
    let (_, page) = operator.get("/admin/deliveries").await;
    for shown in [
        "admin@example.com",
        "no [mail] is configured",
        "asks for credits",
        "http://127.0.0.1:1/",
        "tried again",
    ] {
        assert!(page.contains(shown), "{shown} in {page}");
    }
    let retry = format!("/admin/deliveries/{}", after(&page, "action=\"/admin/deliveries/"));
    assert_eq!(operator.post(&retry, &[]).await.1, "/admin/deliveries");
    assert_eq!(operator.post(&retry, &[]).await.0, StatusCode::NOT_FOUND, "it waits already");
    let (_, page) = operator.get("/admin/deliveries").await;
    assert!(!page.contains("asks for credits"), "{page}");
    advance(&site, 0).await;
    assert!(operator.get("/admin/deliveries").await.1.contains("asks for credits"), "and failed again");
}

#[tokio::test]
async fn the_console_is_the_operators_and_looking_in_is_written_down() {
    let site = Site::open().await;
    let workspace = site.workspace("Workspace 0001").await;
    let own = format!("/admin/workspaces/{}", id::workspace(workspace));
    let admin = site.sign_in(Some(workspace), LinkRole::Admin).await;
    for path in
        [&own[..], "/admin/unconfirmed", "/admin/margin", "/admin/deliveries", "/admin/health", "/admin/log"]
    {
        assert_eq!(admin.get(path).await.0, StatusCode::FORBIDDEN, "{path}");
    }
    for act in ["adjust", "refund", "resolve", "repay"] {
        let form = [("form_key", "a1"), ("credits", "5"), ("reason", "x")];
        assert_eq!(admin.post(&format!("{own}/{act}"), &form).await.0, StatusCode::FORBIDDEN, "{act}");
    }
    let retry = format!("/admin/deliveries/{}/retry", id::inside("mail", workspace, 1));
    assert_eq!(admin.post(&retry, &[]).await.0, StatusCode::FORBIDDEN);
    assert_eq!(site.available(workspace).await, 10_000);
    let operator = site.sign_in(None, LinkRole::Operator).await;
    let (_, page) = operator.get("/admin/margin?from=2026-01-01&to=2026-02-01").await;
    assert!(page.contains("No provider was called") && page.contains("value=\"2026-01-01\""), "{page}");
    for wrong in ["from=soon", "from=2026-02-01&to=2026-02-01"] {
        let (status, _) = operator.get(&format!("/admin/margin?{wrong}")).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}");
    }
    for missing in [id::workspace(workspace + 1), "x".to_owned()] {
        assert_eq!(operator.get(&format!("/admin/workspaces/{missing}")).await.0, StatusCode::NOT_FOUND);
        assert_eq!(operator.post(&format!("/admin/open/{missing}"), &[]).await.0, StatusCode::NOT_FOUND);
    }
    operator.post(&format!("/admin/open/{}", id::workspace(workspace)), &[]).await;
    let again = site.sign_in(None, LinkRole::Operator).await;
    let (_, page) = again.get("/admin/log").await;
    assert!(page.contains("workspace opened") && page.contains("operator"), "{page}");
}
