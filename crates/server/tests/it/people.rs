//! People: in by a mailed link, out at once, in several workspaces, and never without an admin.

use billing::Time;
use reqwest::{Method, StatusCode};
use scrip::app::LinkRole;
use scrip::config::{Config, MailConfig, PaymentsConfig, Secret};
use scrip::demo::smtp_sink::SmtpSink;
use scrip::store::Error;
use scrip::store::people::{Admission, Role, Scope};
use scrip::{id, scheduler};

use crate::pages::{Browser, Site, after};

/// A site that mails into a sink.
pub async fn mailing() -> (Site, SmtpSink) {
    let sink = SmtpSink::start().await.expect("a sink");
    let timeout = std::time::Duration::from_secs(5);
    let mail = MailConfig { url: Secret::new(&sink.url), from: "notices@example.com".to_owned(), timeout };
    let config = Config { mail: Some(mail), payments: Some(PaymentsConfig::Sandbox), ..Config::default() };
    (Site::configured(config).await, sink)
}

pub fn nobody(site: &Site) -> Browser<'_> {
    Browser { site, cookie: String::new() }
}

pub async fn pass(site: &Site, seconds: i64) -> Time {
    scheduler::advance(&site.app, seconds).await.expect("time passes")
}

/// Asks for a link, and where it leads; `None` when nothing was mailed.
pub async fn asked(site: &Site, sink: &SmtpSink, email: &str) -> Option<String> {
    let before = sink.accepted();
    let answer = nobody(site).send(Method::POST, "/sign-in", &[("email", email)]).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let page = answer.text().await.expect("text");
    assert!(page.contains("may come in, a link is on its way"), "{page}");
    pass(site, 0).await;
    let mail = sink.messages().into_iter().nth(before)?;
    assert_eq!(mail.to, email.to_ascii_lowercase());
    // Long lines were broken on the way.
    let body = mail.body.replace("=\n", "");
    let at = body.find("/sign-in/").unwrap_or_else(|| panic!("a link in {body}"));
    Some(body[at..at + "/sign-in/".len() + 64].to_owned())
}

/// Uses a link; `None` when it is not taken.
pub async fn enter<'a>(site: &'a Site, link: &str) -> Option<Browser<'a>> {
    let answer = nobody(site).send(Method::POST, link, &[]).await;
    if answer.status() != StatusCode::SEE_OTHER {
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        return None;
    }
    assert_eq!(answer.headers()["location"], "/billing");
    let set = answer.headers()["set-cookie"].to_str().expect("text");
    Some(Browser { site, cookie: set.split(';').next().expect("a value").to_owned() })
}

pub async fn person<'a>(site: &'a Site, sink: &SmtpSink, email: &str) -> Browser<'a> {
    let link = asked(site, sink, email).await.expect("a link");
    enter(site, &link).await.expect("a session")
}

pub async fn admit(site: &Site, workspace: i64, email: &str, role: Role) {
    let (email, actor, url) = (email.to_owned(), "test".to_owned(), "http://example.com".to_owned());
    site.app.store.admit(workspace, Admission { email, role, actor, url }).await.expect("a new person");
    pass(site, 0).await;
}

#[tokio::test]
async fn a_mailed_link_lets_in_once_and_soon() {
    let (site, sink) = mailing().await;
    let workspace = site.workspace("Workspace 0001").await;
    let link = asked(&site, &sink, "Admin@Example.com").await.expect("a link");
    for _ in 0..2 {
        let (status, page) = nobody(&site).get(&link).await;
        assert_eq!(status, StatusCode::OK, "looking does not use it up");
        assert!(page.contains(&format!("action=\"{link}\"")), "{page}");
    }
    let admin = enter(&site, &link).await.expect("a session");
    let (status, page) = admin.get("/settings").await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("admin@example.com") && page.contains("Admin</dd>"), "{page}");
    assert!(enter(&site, &link).await.is_none(), "a link works once");
    let forged = format!("/sign-in/{}", "0".repeat(64));
    for wrong in [&forged[..], "/sign-in/x", &link] {
        assert_eq!(nobody(&site).get(wrong).await.0, StatusCode::UNAUTHORIZED, "{wrong}");
    }

    let late = asked(&site, &sink, "admin@example.com").await.expect("a link");
    pass(&site, 900).await;
    assert!(enter(&site, &late).await.is_none(), "a link works for a quarter of an hour");
    assert!(
        asked(&site, &sink, "stranger@example.com").await.is_none(),
        "a stranger gets no mail, and the same page"
    );
    for _ in 0..3 {
        assert!(asked(&site, &sink, "admin@example.com").await.is_some());
    }
    assert!(asked(&site, &sink, "admin@example.com").await.is_none(), "nobody's mailbox is flooded");
    for email in ["", "x", "a b@example.com", "a@example.com\r\nbcc: b@example.com"] {
        let answer = nobody(&site).send(Method::POST, "/sign-in", &[("email", email)]).await;
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY, "{email}");
        assert!(answer.text().await.expect("text").contains("id=\"wrong-email\""));
    }
    let kept = sink.messages();
    assert!(kept.iter().all(|mail| mail.to == "admin@example.com"), "{kept:?}");
    assert_eq!(site.app.store.members(workspace).await.expect("a list").len(), 1);
    site.audit();
}

#[tokio::test]
async fn without_mail_nobody_is_promised_any() {
    let site = Site::open().await;
    let (status, page) = nobody(&site).get("/sign-in").await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("sends no mail") && !page.contains("Mail me a link"), "{page}");
    let answer = nobody(&site).send(Method::POST, "/sign-in", &[("email", "a@example.com")]).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn admins_let_people_in_and_out_and_one_always_stays() {
    let (site, sink) = mailing().await;
    let workspace = site.workspace("Workspace 0001").await;
    let admin = person(&site, &sink, "admin@example.com").await;
    for (act, form) in [
        ("role", &[("email", "admin@example.com"), ("role", "member")][..]),
        ("remove", &[("email", "admin@example.com")]),
    ] {
        assert_eq!(admin.post(&format!("/settings/people/{act}"), form).await.1, "/settings/people");
        assert_eq!(site.app.store.members(workspace).await.expect("a list")[0].role, Role::Admin);
    }
    let invite = [("email", "Second@example.com"), ("role", "member")];
    assert_eq!(
        admin.post("/settings/people", &invite).await,
        (StatusCode::SEE_OTHER, "/settings/people".to_owned())
    );
    pass(&site, 0).await;
    let mail = sink.messages().pop().expect("an invitation");
    assert_eq!((mail.to.as_str(), mail.body.contains("/sign-in")), ("second@example.com", true));
    for (email, status) in
        [("second@example.com", StatusCode::CONFLICT), ("x", StatusCode::UNPROCESSABLE_ENTITY)]
    {
        let answer =
            admin.send(Method::POST, "/settings/people", &[("email", email), ("role", "member")]).await;
        assert_eq!(answer.status(), status);
        let page = answer.text().await.expect("text");
        assert!(
            page.contains("id=\"wrong-email\"") && page.contains(&format!("value=\"{email}\"")),
            "{page}"
        );
    }
    let second = person(&site, &sink, "second@example.com").await;
    for path in ["/settings/people", "/settings/keys", "/settings/webhooks"] {
        assert_eq!(second.get(path).await.0, StatusCode::FORBIDDEN, "{path}");
    }
    let up = [("email", "second@example.com"), ("role", "admin")];
    assert_eq!(second.post("/settings/people/role", &up).await.0, StatusCode::FORBIDDEN);
    admin.post("/settings/people/role", &up).await;
    assert_eq!(
        second.get("/settings/people").await.0,
        StatusCode::OK,
        "the session is an admin's from now on"
    );
    second.post("/settings/people/remove", &[("email", "admin@example.com")]).await;
    assert_eq!(admin.get("/billing").await.0, StatusCode::UNAUTHORIZED, "out at once");
    assert!(asked(&site, &sink, "admin@example.com").await.is_none());
    let down = [("email", "second@example.com"), ("role", "member")];
    second.post("/settings/people/role", &down).await;
    let members = site.app.store.members(workspace).await.expect("a list");
    assert_eq!((members.len(), members[0].role), (1, Role::Admin), "the last admin stays");
    let lines = site.app.store.logbook(Some(workspace), None, 10).await.expect("a logbook");
    let told: Vec<_> = lines.iter().map(|line| (line.what.as_str(), line.actor.as_str())).collect();
    let first = "admin@example.com";
    assert_eq!(
        told,
        [("member.removed", "second@example.com"), ("member.role", first), ("member.added", first)]
    );
    assert_eq!((lines[1].before.as_deref(), lines[1].after.as_deref()), (Some("member"), Some("admin")));
    site.audit();
}

#[tokio::test]
async fn two_admins_who_remove_each_other_at_once_leave_one() {
    let (site, _) = mailing().await;
    for round in 0..20 {
        let workspace = site.workspace(&format!("Workspace {round:04}")).await;
        admit(&site, workspace, "second@example.com", Role::Admin).await;
        let remove = |email: &str| site.app.store.remove_member(workspace, email.to_owned(), String::new());
        let (one, two) = tokio::join!(remove("admin@example.com"), remove("second@example.com"));
        let refused = |it: &Result<(), Error>| matches!(it, Err(Error::Conflict("last_admin", _)));
        assert_eq!([&one, &two].iter().filter(|it| refused(it)).count(), 1, "{one:?} {two:?}");
        assert_eq!(site.app.store.members(workspace).await.expect("a list").len(), 1);
    }
}

#[tokio::test]
async fn a_person_goes_from_one_workspace_to_another_as_what_they_are_there() {
    let (site, sink) = mailing().await;
    let (first, second) = (site.workspace("Workspace 0001").await, site.workspace("Workspace 0002").await);
    let third = site.workspace("Workspace 0003").await;
    admit(&site, first, "both@example.com", Role::Admin).await;
    admit(&site, second, "both@example.com", Role::Member).await;
    let here = person(&site, &sink, "both@example.com").await;
    let (_, page) = here.get("/workspaces").await;
    assert!(
        page.contains("Workspace 0001")
            && page.contains("Workspace 0002")
            && !page.contains("Workspace 0003")
    );
    let (from, to) = if page.contains(&id::workspace(second)) { (first, second) } else { (second, first) };
    let answer = here.send(Method::POST, &format!("/workspaces/{}", id::workspace(to)), &[]).await;
    let set = answer.headers()["set-cookie"].to_str().expect("text");
    let there = Browser { site: &site, cookie: set.split(';').next().expect("a value").to_owned() };
    assert_eq!(here.get("/billing").await.0, StatusCode::UNAUTHORIZED, "the session before has ended");
    let name = |workspace| if workspace == first { "Workspace 0001" } else { "Workspace 0002" };
    let (_, page) = there.get("/billing").await;
    assert!(page.contains(name(to)) && !page.contains(name(from)), "{page}");
    let admin = if to == first { StatusCode::OK } else { StatusCode::FORBIDDEN };
    assert_eq!(there.get("/settings/people").await.0, admin);
    for foreign in [id::workspace(third), "ws_x".to_owned()] {
        assert_eq!(there.post(&format!("/workspaces/{foreign}"), &[]).await.0, StatusCode::NOT_FOUND);
    }
    // Who comes by a link of the host product is a guest of one workspace, whatever address it says.
    let guest = site.guest(third, LinkRole::Admin, "both@example.com").await;
    for answer in [
        guest.get("/workspaces").await.0,
        guest.post(&format!("/workspaces/{}", id::workspace(first)), &[]).await.0,
    ] {
        assert_eq!(answer, StatusCode::FORBIDDEN);
    }
    let (_, page) = guest.get("/settings/sessions").await;
    assert_eq!(
        page.matches("<th scope=\"row\">").count(),
        1,
        "a guest sees nothing of the person's sessions: {page}"
    );
}

#[tokio::test]
async fn sessions_are_listed_and_ended_by_their_owner_alone() {
    let (site, sink) = mailing().await;
    let workspace = site.workspace("Workspace 0001").await;
    admit(&site, workspace, "second@example.com", Role::Admin).await;
    let other = person(&site, &sink, "second@example.com").await;
    let (one, two) =
        (person(&site, &sink, "admin@example.com").await, person(&site, &sink, "admin@example.com").await);
    let three = person(&site, &sink, "admin@example.com").await;
    let (_, page) = one.get("/settings/sessions").await;
    assert_eq!((page.matches("/end\"").count(), page.matches("this one").count()), (2, 1), "{page}");
    let first = after(&page, "action=\"/settings/sessions/").to_owned();
    let end = format!("/settings/sessions/{first}");
    assert_eq!(other.post(&end, &[]).await.0, StatusCode::NOT_FOUND, "somebody else's");
    assert_eq!(one.post(&end, &[]).await.1, "/settings/sessions");
    let stand = [two.get("/billing").await.0, three.get("/billing").await.0];
    assert_eq!(stand.iter().filter(|status| **status == StatusCode::UNAUTHORIZED).count(), 1, "{stand:?}");
    assert_eq!(one.post("/settings/sessions/end-others", &[]).await.1, "/settings/sessions");
    for ended in [&two, &three] {
        assert_eq!(ended.get("/billing").await.0, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(
        (one.get("/billing").await.0, other.get("/billing").await.0),
        (StatusCode::OK, StatusCode::OK)
    );
}

#[tokio::test]
async fn a_key_is_shown_once_works_and_stops_at_once() {
    let site = Site::open().await;
    let workspace = site.workspace("Workspace 0001").await;
    let admin = site.sign_in(Some(workspace), LinkRole::Admin).await;
    let (_, page) = admin.get("/settings/keys").await;
    let form_key = after(&page, "name=\"form_key\" value=\"").to_owned();
    for (label, scope) in [(" ", "read"), ("Mine", "everything"), ("Mine", "")] {
        let form = [("form_key", &form_key[..]), ("label", label), ("scope", scope)];
        let wrong = admin.send(Method::POST, "/settings/keys", &form).await;
        assert_eq!(wrong.status(), StatusCode::UNPROCESSABLE_ENTITY, "{label} {scope}");
    }
    let form = [("form_key", form_key.as_str()), ("label", "<b>Mine</b>"), ("scope", "charge")];
    let page = admin.send(Method::POST, "/settings/keys", &form).await.text().await.expect("text");
    let secret = after(&page.replace('<', "\""), "<code>".replace('<', "\"").as_str()).to_owned();
    let (name, hidden) = secret.split_once('.').expect("a secret");
    let (owner, number) = id::parse_inside("key", name).expect("a key");
    let bytes = scrip::app::from_hex(hidden).expect("hex");
    assert_eq!(site.app.open_key(number, &bytes).await.expect("an answer"), Some((owner, Scope::Charge)));
    assert_eq!(admin.post("/settings/keys", &form).await.1, "/settings/keys", "a double click is one key");
    let (_, page) = admin.get("/settings/keys").await;
    assert_eq!(page.matches("/revoke\"").count(), 1);
    assert!(!page.contains(hidden) && page.contains("&#60;b&#62;Mine"), "{page}");
    assert!(page.contains("<td>charge</td>") && page.contains("never</span>"), "{page}");
    pass(&site, 0).await;
    let (_, page) = admin.get("/settings/keys").await;
    assert!(!page.contains("never</span>"), "it was used: {page}");

    let revoke = format!("/settings/keys/{name}/revoke");
    let member = site.sign_in(Some(workspace), LinkRole::Member).await;
    assert_eq!(member.get("/settings/keys").await.0, StatusCode::FORBIDDEN);
    assert_eq!(member.post(&revoke, &[]).await.0, StatusCode::FORBIDDEN);
    let foreign = site.sign_in(Some(site.workspace("Workspace 0002").await), LinkRole::Admin).await;
    assert_eq!(foreign.post(&revoke, &[]).await.0, StatusCode::NOT_FOUND);
    for _ in 0..2 {
        assert_eq!(admin.post(&revoke, &[]).await.1, "/settings/keys");
    }
    assert_eq!(site.app.open_key(number, &bytes).await.expect("an answer"), None);
    let lines = site.app.store.logbook(Some(workspace), None, 10).await.expect("a logbook");
    let told: Vec<_> = lines.iter().map(|line| line.what.as_str()).collect();
    assert_eq!(told, ["key.revoked", "key.created"], "each is told once");
}
