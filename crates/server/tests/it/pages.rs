//! The dashboard as a browser meets it: cookies, forms and pages, with the store beside it to compare the numbers with.

use crate::temp::Directory;
use billing::ledger::{Command, GrantTerms};
use billing::{Amount, GrantKind, Time};
use reqwest::{Client, Method, Response, StatusCode, redirect::Policy};
use scrip::app::{App, Link, LinkRole, Start};
use scrip::config::{Config, HttpConfig, PaymentsConfig, ProvidersConfig};
use scrip::store::committer::Post;
use scrip::store::jobs::{Definition, JobKind, NewJob, StepText};
use scrip::store::workspaces::NewWorkspace;
use scrip::{clock, id, money, pages};

const PAGES: [&str; 6] = ["/billing", "/campaigns", "/leads", "/searches", "/notifications", "/settings"];

/// The pages of one server on a free port.
pub struct Site {
    pub app: App,
    pub client: Client,
    pub url: String,
    directory: Directory,
}

/// A browser: the cookie of one session.
pub struct Browser<'a> {
    pub site: &'a Site,
    pub cookie: String,
}

impl Site {
    pub async fn open() -> Site {
        Site::with(ProvidersConfig::default()).await
    }

    pub async fn with(providers: ProvidersConfig) -> Site {
        let config = Config { payments: Some(PaymentsConfig::Sandbox), providers, ..Config::default() };
        Site::configured(config).await
    }

    pub async fn configured(config: Config) -> Site {
        let directory = Directory::new("pages");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("a bound address"));
        let manual = clock::parse_rfc3339("2026-11-22T15:04:00Z");
        let (operator_key, public_url) = ("operator".to_owned(), url.clone());
        let start = Start { config, place: &directory.place(), manual, operator_key, public_url };
        let app = App::start(start).await.expect("a new database");
        let router = pages::router(&app).with_state(app.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let client = Client::builder().redirect(Policy::none()).build().expect("a client");
        Site { app, client, url, directory }
    }

    pub async fn workspace(&self, name: &str) -> i64 {
        let new = NewWorkspace {
            name: name.to_owned(),
            terms: money::terms(self.app.catalog(), "growth"),
            collection: "none".to_owned(),
            time_zone: "Europe/Madrid".to_owned(),
            admin_email: Some("admin@example.com".to_owned()),
            external_id: None,
            request: String::new(),
        };
        self.app.store.create_workspace(new).await.expect("a workspace").0.id
    }

    pub async fn sign_in(&self, workspace: Option<i64>, role: LinkRole) -> Browser<'_> {
        self.come(workspace, role, None).await
    }

    /// Comes by a link that says an address.
    pub async fn guest(&self, workspace: i64, role: LinkRole, email: &str) -> Browser<'_> {
        self.come(Some(workspace), role, Some(email.to_owned())).await
    }

    async fn come(&self, workspace: Option<i64>, role: LinkRole, email: Option<String>) -> Browser<'_> {
        let expires_at = self.app.clock.now().plus_seconds(900).0;
        let link = Link { workspace, role, email, return_url: None, expires_at };
        let answer = self.client.get(self.app.portal_link(&link)).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::SEE_OTHER);
        let set = answer.headers()["set-cookie"].to_str().expect("text").to_owned();
        assert!(set.contains("; HttpOnly") && set.contains("; SameSite=Lax"), "{set}");
        let cookie = set.split(';').next().expect("a value").to_owned();
        Browser { site: self, cookie }
    }

    /// Whatever the pages did, the ledger must prove it.
    pub fn audit(&self) {
        self.directory.prove("on the pages");
    }

    pub async fn available(&self, workspace: i64) -> i64 {
        self.app.store.available(workspace).await.expect("a workspace")
    }
}

impl Browser<'_> {
    pub async fn send(&self, method: Method, path: &str, form: &[(&str, &str)]) -> Response {
        let encode = |text: &str| scrip::pages::view::format::QueryValue::query_value(text);
        let body: Vec<String> =
            form.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
        let request = self.site.client.request(method, format!("{}{path}", self.site.url));
        let request = request.header("cookie", &self.cookie).header("sec-fetch-site", "same-origin");
        let kind = "application/x-www-form-urlencoded";
        request.header("content-type", kind).body(body.join("&")).send().await.expect("an answer")
    }

    pub async fn get(&self, path: &str) -> (StatusCode, String) {
        let answer = self.send(Method::GET, path, &[]).await;
        (answer.status(), answer.text().await.expect("text"))
    }

    pub async fn post(&self, path: &str, form: &[(&str, &str)]) -> (StatusCode, String) {
        let answer = self.send(Method::POST, path, form).await;
        let to = answer.headers().get("location").and_then(|to| to.to_str().ok()).unwrap_or_default();
        (answer.status(), to.to_owned())
    }
}

/// What follows a mark in a page, until a quote.
pub fn after<'a>(page: &'a str, mark: &str) -> &'a str {
    let at = page.find(mark).unwrap_or_else(|| panic!("{mark} in {page}")) + mark.len();
    page[at..].split('"').next().expect("a value")
}

fn draft(name: &str) -> NewJob {
    let step = StepText {
        channel: "email".to_owned(),
        after_days: 0,
        condition: "always".to_owned(),
        subject: None,
        template: None,
        generate: true,
    };
    let definition = Definition { steps: vec![step], ..Definition::default() };
    NewJob {
        kind: JobKind::Campaign,
        name: name.to_owned(),
        definition,
        credit_cap: None,
        requested: 0,
        leads: vec![],
    }
}

#[tokio::test]
async fn every_page_shows_the_balance_of_the_store() {
    let site = Site::open().await;
    let workspace = site.workspace("Workspace 0001").await;
    let campaign = site.app.store.create_job(workspace, draft("A & B")).await.expect("a campaign").id;
    let campaign = format!("/campaigns/{}", id::inside("camp", workspace, campaign));
    let admin = site.sign_in(Some(workspace), LinkRole::Admin).await;
    for credits in [0, 1_234] {
        if let Some(credits) = Amount::new(credits) {
            let (effective_at, kind) = (Time(0), GrantKind::Goodwill);
            let terms = GrantTerms { credits, kind, priority: 0, effective_at, expires_at: None };
            site.app.store.post(Post::new(workspace, Command::Grant(terms), "test")).await.expect("a grant");
        }
        let expected = site.available(workspace).await.to_string();
        for path in PAGES.into_iter().chain([campaign.as_str(), "/no-such-campaign"]) {
            let (status, page) = admin.get(path).await;
            if path == "/no-such-campaign" {
                assert_eq!(status, StatusCode::NOT_FOUND);
                continue;
            }
            assert_eq!(status, StatusCode::OK, "{path}");
            assert_eq!(after(&page, "data-available=\""), expected, "{path}");
            assert_eq!(page.matches("<h1").count(), 1, "{path}");
        }
    }
    let (_, page) = admin.get(&campaign).await;
    assert!(page.contains("<h1>A &#38; B</h1>"), "{page}");
}

#[tokio::test]
async fn a_stranger_sees_nothing() {
    let site = Site::open().await;
    let workspace = site.workspace("Workspace 0001").await;
    let stranger = Browser { site: &site, cookie: format!("scrip_session={}", "0".repeat(64)) };
    for path in PAGES.into_iter().chain([
        "/admin",
        "/live",
        "/billing/now",
        "/billing/usage.csv",
        "/billing/history.csv",
    ]) {
        let (status, page) = stranger.get(path).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
        assert!(page.contains("You are signed out") && !page.contains("data-available"), "{path}");
    }
    let forged =
        site.client.get(format!("{}/portal?token=7b7d.00", site.url)).send().await.expect("an answer");
    assert_eq!(forged.status(), StatusCode::UNAUTHORIZED);
    assert!(forged.headers().get("set-cookie").is_none());

    let admin = site.sign_in(Some(workspace), LinkRole::Admin).await;
    assert_eq!(admin.post("/sign-out", &[]).await.0, StatusCode::SEE_OTHER);
    assert_eq!(admin.get("/billing").await.0, StatusCode::UNAUTHORIZED, "signed out means at once");
}

#[tokio::test]
async fn a_top_up_is_paid_once_however_often_it_is_sent() {
    let site = Site::open().await;
    let workspace = site.workspace("Workspace 0001").await;
    let admin = site.sign_in(Some(workspace), LinkRole::Admin).await;
    let (_, page) = admin.get("/billing").await;
    let key = after(&page, "name=\"form_key\" value=\"");
    let order = [("form_key", key), ("pack", "pack_5000")];
    let (status, checkout) = admin.post("/billing/topups", &order).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    assert_eq!(admin.post("/billing/topups", &order).await.1, checkout, "a double click is one order");
    let other = [("form_key", key), ("pack", "pack_1000")];
    assert_eq!(admin.post("/billing/topups", &other).await.1, "/billing#buy");

    let (status, page) = admin.get(&checkout).await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("5,000 credits") && page.contains("no money moves"), "{page}");
    let form = after(&page, "<form method=\"post\" action=\"").replace("&#38;", "&");
    for _ in 0..2 {
        let (status, to) = admin.post(&form, &[("card", "pays")]).await;
        assert_eq!((status, to.as_str()), (StatusCode::SEE_OTHER, "/billing"));
    }
    assert_eq!(site.available(workspace).await, 15_000);
    assert!(admin.get("/billing").await.1.contains("Credits bought"));
    let (bare, _) = checkout.split_once('?').expect("a token");
    assert_eq!(admin.get(bare).await.0, StatusCode::NOT_FOUND, "the token is the key to the page");
    site.audit();
}

#[tokio::test]
async fn a_member_and_a_foreigner_are_kept_out() {
    let site = Site::open().await;
    let (own, foreign) = (site.workspace("Workspace 0001").await, site.workspace("Workspace 0002").await);
    let member = site.sign_in(Some(own), LinkRole::Member).await;
    let order = [("form_key", "00ff"), ("pack", "pack_1000")];
    assert_eq!(member.post("/billing/topups", &order).await.0, StatusCode::FORBIDDEN);
    let grant = [("form_key", "00ff"), ("workspace", &id::workspace(own)), ("credits", "5")];
    let grant = [&grant[..], &[("kind", "promo"), ("reason", "none")]].concat();
    assert_eq!(member.post("/admin/grants", &grant).await.0, StatusCode::FORBIDDEN);
    assert_eq!(
        member.post(&format!("/admin/open/{}", id::workspace(foreign)), &[]).await.0,
        StatusCode::FORBIDDEN
    );
    assert_eq!(member.post("/billing/ask", &[]).await.1, "/billing");
    assert_eq!(site.available(own).await, 10_000);

    let campaign = site.app.store.create_job(foreign, draft("Foreign")).await.expect("a campaign").id;
    let path = format!("/campaigns/{}", id::inside("camp", foreign, campaign));
    let (status, page) = member.get(&path).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(after(&page, "data-available=\""), "10000", "an error page keeps the navigation");
    assert_eq!(member.post(&format!("{path}/launch"), &[]).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_operator_grants_once_and_looks_in() {
    let site = Site::open().await;
    let workspace = site.workspace("Workspace 0001").await;
    let operator = site.sign_in(None, LinkRole::Operator).await;
    assert_eq!(operator.post("/billing/ask", &[]).await.1, "/admin", "no workspace, no such page");
    let (status, page) = operator.get("/admin?q=space+0001").await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("10,000"), "{page}");
    let (key, id) = (after(&page, "name=\"form_key\" value=\""), id::workspace(workspace));
    let form =
        [("form_key", key), ("workspace", &id), ("credits", "250"), ("kind", "goodwill"), ("reason", "=1+1")];
    for _ in 0..2 {
        assert_eq!(operator.post("/admin/grants", &form).await, (StatusCode::SEE_OTHER, "/admin".to_owned()));
    }
    assert_eq!(site.available(workspace).await, 10_250);
    let wrong = form.map(|(name, value)| (name, if name == "credits" { "0" } else { value }));
    let answer = operator.send(Method::POST, "/admin/grants", &wrong).await;
    assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let page = answer.text().await.expect("text");
    assert!(page.contains("wrong-grant") && page.contains("value=\"=1+1\""), "what was typed stays: {page}");

    let opened = operator.send(Method::POST, &format!("/admin/open/{id}"), &[]).await;
    let set = opened.headers()["set-cookie"].to_str().expect("text");
    let inside = Browser { site: &site, cookie: set.split(';').next().expect("a value").to_owned() };
    let (_, csv) = inside.get("/billing/history.csv?show=added").await;
    assert!(csv.contains(",Goodwill credits,'=1+1,250,10250\n"), "{csv}");
    assert_eq!(csv.lines().count(), 3, "a head and two grants: {csv}");
    assert_eq!(operator.get("/admin").await.0, StatusCode::UNAUTHORIZED, "the session before has ended");
    site.audit();
}

#[tokio::test]
async fn a_preview_is_paid_once_and_shown_twice() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("a bound address"));
    let found = r#"{"results": [{"name": "Lead 0501", "company": "Company 0501"}], "next_cursor": null}"#;
    let answer = move || async move { ([("content-type", "application/json")], found) };
    let provider = axum::Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, provider).await });
    let timeout = std::time::Duration::from_secs(5);
    let discovery = Some(HttpConfig { url, token: None, idempotent: false, query: false, timeout });
    let site = Site::with(ProvidersConfig { discovery, ..ProvidersConfig::default() }).await;
    let workspace = site.workspace("Workspace 0001").await;
    let member = site.sign_in(Some(workspace), LinkRole::Member).await;
    let form = [("form_key", "00ff"), ("query", "founders"), ("kind", "leads"), ("limit", "50")];
    for _ in 0..2 {
        let answer = member.send(Method::POST, "/searches/preview", &form).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(answer.text().await.expect("text").contains("Company 0501"));
    }
    assert_eq!(site.available(workspace).await, 9_998);
    for _ in 0..2 {
        assert_eq!(member.post("/searches", &form).await.1, "/searches");
    }
    let searches = site.app.store.jobs(workspace, JobKind::Search, None, 10).await.expect("a list");
    assert_eq!(searches.len(), 1, "a double click is one search");
    site.audit();
}

#[tokio::test]
async fn an_upload_tells_what_became_of_each_row() {
    let site = Site::open().await;
    let workspace = site.workspace("Workspace 0001").await;
    let member = site.sign_in(Some(workspace), LinkRole::Member).await;
    let send = async |file: &str| {
        let body = format!(
            "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.csv\"\r\n\r\n{file}\r\n--b--\r\n"
        );
        let request = site.client.post(format!("{}/leads/import", site.url)).header("cookie", &member.cookie);
        let request = request.header("content-type", "multipart/form-data; boundary=b");
        let answer = request.body(body).send().await.expect("an answer");
        (answer.status(), answer.text().await.expect("text"))
    };
    let (status, page) = send("name,email\nLead 0001,a@example.com\nLead 0002,nonsense").await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("1 lead added, 0 merged with known ones, 1 rejected"), "{page}");
    assert!(page.contains("a@example.com") && page.contains("<td>3</td><td>email</td>"), "{page}");
    assert_eq!(send("").await.0, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn pages_are_guarded() {
    let site = Site::open().await;
    let workspace = site.workspace("Workspace 0001").await;
    let admin = site.sign_in(Some(workspace), LinkRole::Admin).await;
    let answer = admin.send(Method::GET, "/billing", &[]).await;
    let header = |name: &str| answer.headers()[name].to_str().expect("text");
    assert!(header("content-security-policy").starts_with("default-src 'self'; img-src 'self' data:;"));
    assert!(header("content-security-policy").contains("frame-ancestors 'none'; form-action 'self'"));
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(header("referrer-policy"), "same-origin");
    assert_eq!(header("cache-control"), "no-store");

    for (name, value) in [("sec-fetch-site", "cross-site"), ("origin", "http://evil.example")] {
        let request = site.client.post(format!("{}/sign-out", site.url)).header("cookie", &admin.cookie);
        let answer = request.header(name, value).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{name}");
    }
    assert_eq!(admin.get("/billing").await.0, StatusCode::OK, "still signed in");
    assert_eq!(admin.post("/billing/topups", &[("pack", "x")]).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(admin.post("/billing", &[]).await.0, StatusCode::METHOD_NOT_ALLOWED);

    let style = site.client.get(format!("{}/assets/style.css", site.url)).send().await.expect("an answer");
    assert_eq!(style.headers()["content-type"], "text/css; charset=utf-8");
    let again = site.client.get(style.url().clone()).header("if-none-match", &style.headers()["etag"]);
    assert_eq!(again.send().await.expect("an answer").status(), StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn the_live_stream_begins_with_the_present_and_follows() {
    let site = Site::open().await;
    let workspace = site.workspace("Workspace 0001").await;
    let admin = site.sign_in(Some(workspace), LinkRole::Admin).await;
    let mut stream = admin.send(Method::GET, "/live", &[]).await;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let mut read = String::new();
    for credits in [0, 7] {
        if let Some(credits) = Amount::new(credits) {
            let (effective_at, kind) = (Time(0), GrantKind::Promo);
            let terms = GrantTerms { credits, kind, priority: 0, effective_at, expires_at: None };
            site.app.store.post(Post::new(workspace, Command::Grant(terms), "test")).await.expect("a grant");
        }
        let expected = format!("data-available=\"{}\"", 10_000 + credits);
        while !read.contains(&expected) {
            let chunk = tokio::time::timeout(std::time::Duration::from_secs(10), stream.chunk()).await;
            let chunk = chunk.expect("a message in time").expect("a chunk").expect("the stream goes on");
            read.push_str(&String::from_utf8_lossy(&chunk));
        }
        let told = read.split("\n\n").filter(|message| message.contains("data-available"));
        assert!(told.clone().count() > 0, "{read}");
        assert!(
            told.clone().all(|message| !message.contains("event:")),
            "only messages without a name are swapped"
        );
    }
    site.app.stop();
    let end = async { while stream.chunk().await.is_ok_and(|chunk| chunk.is_some()) {} };
    tokio::time::timeout(std::time::Duration::from_secs(10), end)
        .await
        .expect("the stream ends with the server");
}
