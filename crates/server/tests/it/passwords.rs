//! Passwords: the first Admin begins with one, anybody may set one, and nobody guesses one or learns who has one.

use std::time::{Duration, Instant};

use reqwest::{Method, Response, StatusCode};
use scrip::app::LinkRole;
use scrip::demo::smtp_sink::SmtpSink;
use scrip::store::people::Role;

use crate::pages::{Browser, Site};
use crate::people::{admit, asked, enter, mailing, nobody, pass, person};

const FIRST: &str = "correct horse battery";
const SECOND: &str = "staple staple staple";

async fn try_password(site: &Site, email: &str, password: &str) -> Response {
    let form = [("email", email), ("password", password)];
    nobody(site).send(Method::POST, "/sign-in/password", &form).await
}

fn session<'a>(site: &'a Site, answer: &Response) -> Browser<'a> {
    assert_eq!(
        (answer.status(), answer.headers()["location"].to_str().expect("text")),
        (StatusCode::SEE_OTHER, "/billing")
    );
    let set = answer.headers()["set-cookie"].to_str().expect("text");
    Browser { site, cookie: set.split(';').next().expect("a value").to_owned() }
}

async fn signed_in<'a>(site: &'a Site, email: &str, password: &str) -> Browser<'a> {
    session(site, &try_password(site, email, password).await)
}

/// A site, and an Admin who has a password and came by it.
async fn with_password(site: &Site, sink: &SmtpSink) -> i64 {
    let workspace = site.workspace("Workspace 0001").await;
    let admin = person(site, sink, "admin@example.com").await;
    let done = admin.post("/settings/password/set", &[("new", FIRST)]).await;
    assert_eq!(done, (StatusCode::SEE_OTHER, "/settings/password".to_owned()));
    pass(site, 0).await;
    workspace
}

async fn text(answer: Response) -> String {
    answer.text().await.expect("text")
}

#[tokio::test]
async fn the_first_admin_of_a_new_server_begins_with_a_password() {
    let site = Site::open().await;
    assert_eq!(
        nobody(&site).get("/sign-up").await.0,
        StatusCode::UNAUTHORIZED,
        "not for whoever comes first"
    );
    let form = [("name", "Sample & Sons"), ("email", "First@example.com"), ("password", FIRST)];
    assert_eq!(nobody(&site).post("/sign-up", &form).await.0, StatusCode::UNAUTHORIZED);
    let operator = site.sign_in(None, LinkRole::Operator).await;
    assert!(operator.get("/admin").await.1.contains("href=\"/sign-up\""));
    assert_eq!(operator.get("/sign-up").await.0, StatusCode::OK);
    for (field, value) in [
        ("name", " "),
        ("name", &"x".repeat(201)[..]),
        ("email", "nobody"),
        ("password", "elevenchars"),
        ("password", &"x".repeat(1_025)),
        ("password", ""),
    ] {
        let wrong: Vec<_> = form.iter().map(|it| if it.0 == field { (field, value) } else { *it }).collect();
        let answer = operator.send(Method::POST, "/sign-up", &wrong).await;
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY, "{field} {value}");
        let page = text(answer).await;
        assert_eq!(page.matches("class=\"wrong\"").count(), 1, "{page}");
        assert!(page.contains(&format!("id=\"wrong-{field}\"")), "{page}");
        assert!(!page.contains(FIRST), "a password is not drawn again");
        assert!(field == "email" || page.contains("value=\"First@example.com\""), "{page}");
    }
    let second = site.sign_in(None, LinkRole::Operator).await;
    let (one, two) = tokio::join!(
        operator.send(Method::POST, "/sign-up", &form),
        second.send(Method::POST, "/sign-up", &form)
    );
    let mut statuses = [one.status(), two.status()];
    statuses.sort();
    assert_eq!(statuses, [StatusCode::SEE_OTHER, StatusCode::CONFLICT], "of two at once one is the first");
    let made = if one.status() == StatusCode::SEE_OTHER { one } else { two };
    let admin = session(&site, &made);
    let (_, page) = admin.get("/settings").await;
    assert!(
        page.contains("Sample &#38; Sons")
            && page.contains("first@example.com")
            && page.contains("Admin</dd>")
    );
    assert_eq!(site.app.store.workspaces(None, None, 10).await.expect("a list").len(), 1);
    let again = signed_in(&site, "first@example.com", FIRST).await;
    assert_eq!(again.get("/settings/people").await.0, StatusCode::OK);
    let operator = site.sign_in(None, LinkRole::Operator).await;
    assert_eq!(operator.get("/sign-up").await.0, StatusCode::CONFLICT, "the server is not new any more");
    assert_eq!(admin.get("/sign-up").await.0, StatusCode::FORBIDDEN);
    let hash = site.app.store.password("first@example.com".to_owned()).await.expect("an answer");
    assert!(hash.is_some_and(|hash| hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$")));
    site.audit();
}

#[tokio::test]
async fn a_password_lets_in_and_a_wrong_one_says_nothing() {
    let (site, sink) = mailing().await;
    with_password(&site, &sink).await;
    let browser = signed_in(&site, " Admin@Example.com ", FIRST).await;
    let (_, page) = browser.get("/settings/sessions").await;
    assert!(page.contains("by password"), "{page}");
    let mut pages = Vec::new();
    for (email, password) in
        [("admin@example.com", SECOND), ("stranger@example.com", FIRST), ("admin@example.com", "")]
    {
        let answer = try_password(&site, email, password).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{email}");
        assert!(answer.headers().get("set-cookie").is_none());
        let page = text(answer).await;
        assert!(
            page.contains("id=\"wrong-password\"") && page.contains(&format!("value=\"{email}\"")),
            "{page}"
        );
        pages.push(page.replace(email, ""));
    }
    assert!(pages.windows(2).all(|two| two[0] == two[1]), "known or not, the page is the same");
    for (email, password, field) in [
        ("nobody", FIRST, "email"),
        ("", FIRST, "email"),
        ("admin@example.com", &"x".repeat(1_025)[..], "password"),
    ] {
        let answer = try_password(&site, email, password).await;
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY, "{email}");
        assert!(text(answer).await.contains(&format!("id=\"wrong-{field}\"")));
    }
    site.audit();
}

#[tokio::test]
async fn an_address_that_nobody_has_takes_as_long() {
    let site = Site::open().await;
    let hash = site.app.hash_password(FIRST.to_owned()).await.expect("a hash");
    assert!(site.app.is_password(FIRST.to_owned(), Some(hash.clone())).await.expect("an answer"));
    let mut shortest = [Duration::MAX; 2];
    for _ in 0..8 {
        for (index, hash) in [Some(hash.clone()), None].into_iter().enumerate() {
            let began = Instant::now();
            assert!(!site.app.is_password(SECOND.to_owned(), hash).await.expect("an answer"));
            shortest[index] = shortest[index].min(began.elapsed());
        }
    }
    // That it is not slower either, whatever else runs here, is told by the cost in its text.
    assert!(shortest[1] * 2 > shortest[0], "{shortest:?}");
}

#[tokio::test]
async fn nobody_guesses_for_long() {
    let (site, sink) = mailing().await;
    with_password(&site, &sink).await;
    for email in ["admin@example.com", "stranger@example.com"] {
        let tries = (0..12).map(|_| try_password(&site, email, SECOND));
        let mut statuses = Vec::new();
        for answer in futures_util::future::join_all(tries).await {
            statuses.push(answer.status().as_u16());
        }
        statuses.sort_unstable();
        assert_eq!(statuses, [401, 401, 401, 401, 401, 429, 429, 429, 429, 429, 429, 429], "{email}");
        let answer = try_password(&site, email, FIRST).await;
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS, "not even with the right one");
        assert!(text(answer).await.contains("tried too often"));
    }
    assert!(asked(&site, &sink, "admin@example.com").await.is_some(), "a mailed link still comes");
    pass(&site, 899).await;
    assert_eq!(try_password(&site, "admin@example.com", FIRST).await.status(), StatusCode::TOO_MANY_REQUESTS);
    pass(&site, 1).await;
    for _ in 0..3 {
        for _ in 0..4 {
            assert_eq!(
                try_password(&site, "admin@example.com", SECOND).await.status(),
                StatusCode::UNAUTHORIZED
            );
        }
        signed_in(&site, "admin@example.com", FIRST).await;
    }
}

#[tokio::test]
async fn a_network_that_tries_many_addresses_is_stopped_too() {
    let (site, sink) = mailing().await;
    with_password(&site, &sink).await;
    let network = "203.0.113.9".parse().expect("an address");
    for number in 0..50 {
        let address = format!("lead{number:04}@example.com");
        let one = site.app.store.begin_try(&address, Some(network)).await.expect("an answer");
        assert!(one.is_some(), "{number}");
    }
    for (said, status) in [
        ("203.0.113.9", StatusCode::TOO_MANY_REQUESTS),
        ("198.51.100.1, 203.0.113.9", StatusCode::TOO_MANY_REQUESTS),
        ("203.0.113.9, 198.51.100.1", StatusCode::SEE_OTHER),
    ] {
        let request =
            site.client.post(format!("{}/sign-in/password", site.url)).header("x-forwarded-for", said);
        let kind = "application/x-www-form-urlencoded";
        let body = "email=admin%40example.com&password=correct+horse+battery";
        let answer = request.header("content-type", kind).body(body).send().await.expect("an answer");
        assert_eq!(answer.status(), status, "{said}");
    }
}

#[tokio::test]
async fn signing_in_begins_a_session_of_its_own() {
    let (site, sink) = mailing().await;
    let workspace = with_password(&site, &sink).await;
    let planted = site.guest(workspace, LinkRole::Member, "guest@example.com").await;
    let form = [("email", "admin@example.com"), ("password", FIRST)];
    let answer = planted.send(Method::POST, "/sign-in/password", &form).await;
    let browser = session(&site, &answer);
    assert_ne!(browser.cookie, planted.cookie);
    assert_eq!(planted.get("/billing").await.0, StatusCode::UNAUTHORIZED, "the one that was there has ended");
    assert_eq!(browser.get("/settings/keys").await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_password_is_set_changed_forgotten_and_removed() {
    let (site, sink) = mailing().await;
    let workspace = site.workspace("Workspace 0001").await;
    admit(&site, workspace, "second@example.com", Role::Admin).await;
    let other = person(&site, &sink, "second@example.com").await;
    let (one, two) =
        (person(&site, &sink, "admin@example.com").await, person(&site, &sink, "admin@example.com").await);
    let link = asked(&site, &sink, "admin@example.com").await.expect("a link");
    let (_, page) = one.get("/settings/password").await;
    assert!(page.contains("Set a password") && !page.contains("name=\"current\""), "{page}");
    for new in ["", "elevenchars", &"x".repeat(1_025)] {
        let answer = one.send(Method::POST, "/settings/password/set", &[("new", new)]).await;
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY, "{new}");
        assert!(text(answer).await.contains("id=\"wrong-new\""));
    }
    assert_eq!(one.post("/settings/password/set", &[("new", FIRST)]).await.0, StatusCode::SEE_OTHER);
    assert_eq!(
        (one.get("/billing").await.0, two.get("/billing").await.0),
        (StatusCode::OK, StatusCode::UNAUTHORIZED)
    );
    assert_eq!(other.get("/billing").await.0, StatusCode::OK, "somebody else's stand");
    assert!(enter(&site, &link).await.is_none(), "links that were mailed before have ended");
    pass(&site, 0).await;
    let mail = sink.messages().pop().expect("a mail");
    assert_eq!((mail.to.as_str(), mail.subject.as_str()), ("admin@example.com", "Your password was changed"));

    let (three, four) = (
        signed_in(&site, "admin@example.com", FIRST).await,
        signed_in(&site, "admin@example.com", FIRST).await,
    );
    for current in ["", SECOND, &"x".repeat(5_000)] {
        let form = [("current", current), ("new", SECOND)];
        let answer = three.send(Method::POST, "/settings/password/set", &form).await;
        assert_eq!(
            answer.status(),
            StatusCode::UNPROCESSABLE_ENTITY,
            "who came by the password must know it"
        );
        assert!(text(answer).await.contains("id=\"wrong-current\""));
    }
    let answer = three.send(Method::POST, "/settings/password/remove", &[("current", SECOND)]).await;
    assert!(text(answer).await.contains("id=\"wrong-removing\""));
    let form = [("current", FIRST), ("new", SECOND)];
    assert_eq!(three.post("/settings/password/set", &form).await.0, StatusCode::SEE_OTHER);
    for (browser, status) in
        [(&three, StatusCode::OK), (&four, StatusCode::UNAUTHORIZED), (&one, StatusCode::UNAUTHORIZED)]
    {
        assert_eq!(browser.get("/billing").await.0, status);
    }
    assert_eq!(try_password(&site, "admin@example.com", FIRST).await.status(), StatusCode::UNAUTHORIZED);

    pass(&site, 0).await;
    // Forgotten: a mailed link is the way in, and a new one is set without the old one.
    let five = person(&site, &sink, "admin@example.com").await;
    assert_eq!(five.post("/settings/password/set", &[("new", FIRST)]).await.0, StatusCode::SEE_OTHER);
    let six = signed_in(&site, "admin@example.com", FIRST).await;
    assert_eq!(six.post("/settings/password/remove", &[("current", FIRST)]).await.0, StatusCode::SEE_OTHER);
    assert_eq!(try_password(&site, "admin@example.com", FIRST).await.status(), StatusCode::UNAUTHORIZED);
    let lines = site.app.store.logbook(Some(workspace), None, 10).await.expect("a logbook");
    let told: Vec<_> =
        lines.iter().map(|line| line.what.as_str()).filter(|what| what.starts_with("pass")).collect();
    assert_eq!(told, ["password.removed", "password.changed", "password.changed", "password.changed"]);
    let all = format!("{lines:?}");
    assert!(!all.contains(FIRST) && !all.contains("argon2"), "{all}");
    site.audit();
}

#[tokio::test]
async fn a_guest_has_no_password_and_without_mail_none_is_removed() {
    let site = Site::open().await;
    let workspace = site.workspace("Workspace 0001").await;
    let guest = site.guest(workspace, LinkRole::Admin, "admin@example.com").await;
    assert_eq!(guest.get("/settings/password").await.0, StatusCode::FORBIDDEN);
    assert_eq!(guest.post("/settings/password/set", &[("new", FIRST)]).await.0, StatusCode::FORBIDDEN);
    assert_eq!(try_password(&site, "admin@example.com", FIRST).await.status(), StatusCode::UNAUTHORIZED);
    let hash = site.app.hash_password(FIRST.to_owned()).await.expect("a hash");
    site.app.store.first_password("admin@example.com".to_owned(), hash).await.expect("a password");
    let admin = signed_in(&site, "admin@example.com", FIRST).await;
    assert!(admin.get("/settings/password").await.1.contains("only way in"));
    assert_eq!(admin.post("/settings/password/remove", &[("current", FIRST)]).await.0, StatusCode::NOT_FOUND);
    assert_eq!(admin.post("/settings/password/other", &[]).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn forms_about_passwords_are_taken_from_our_own_pages_alone() {
    let (site, sink) = mailing().await;
    with_password(&site, &sink).await;
    let admin = signed_in(&site, "admin@example.com", FIRST).await;
    for (path, body) in [
        ("/sign-in/password", "email=admin%40example.com&password=correct+horse+battery"),
        ("/settings/password/set", "current=correct+horse+battery&new=staple+staple+staple"),
        ("/settings/password/remove", "current=correct+horse+battery"),
        ("/sign-up", "name=x&email=a%40example.com&password=correct+horse+battery"),
    ] {
        for (name, value) in [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")] {
            let request = site.client.post(format!("{}{path}", site.url)).header("cookie", &admin.cookie);
            let request =
                request.header("content-type", "application/x-www-form-urlencoded").header(name, value);
            let answer = request.body(body).send().await.expect("an answer");
            assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{path} {name}");
        }
    }
    assert_eq!(admin.get("/billing").await.0, StatusCode::OK);
    signed_in(&site, "admin@example.com", FIRST).await;
}
