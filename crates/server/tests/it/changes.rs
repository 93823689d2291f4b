//! What several people change at the same moment: whatever was acknowledged stands, and the logbook tells it in order.

use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use scrip::app::LinkRole;
use scrip::id;
use scrip::store::Error;
use scrip::store::people::{Changed, Keep, Role, Session, Way};
use serde_json::{Value, json};

use crate::http::{OPERATOR, Server};
use crate::pages::Site;
use crate::people::{admit, mailing};

/// How often each race is run.
const ROUNDS: i64 = 10;

/// Changes each of these fields by a request of its own, all at once, beside other requests. Whatever was asked of the fields
/// must be found at `pointer` of what is `seen` then.
async fn check(
    server: &Server,
    path: &str,
    (seen, pointer): (&str, &str),
    fields: Value,
    beside: &[(&str, Value)],
) {
    let fields = fields.as_object().expect("an object");
    let change = |(name, value): (&String, &Value)| ("PATCH", path.to_owned(), json!({ name: value }));
    let put = |(path, body): &(&str, Value)| ("PUT", (*path).to_owned(), body.clone());
    let all: Vec<_> = fields.iter().map(change).chain(beside.iter().map(put)).collect();
    let sent =
        all.iter().map(|(method, path, body)| server.send(OPERATOR, method, path, "", body.to_string()));
    for got in join_all(sent).await {
        assert_eq!(got.status, 200, "{}", got.body);
    }
    stand(server, (seen, pointer), &json!(fields)).await;
    for (path, body) in beside {
        stand(server, (path, ""), body).await;
    }
}

async fn stand(server: &Server, (seen, pointer): (&str, &str), asked: &Value) {
    let there = server.get(seen).await.about_a_workspace(200);
    let there = there.pointer(pointer).expect("what was changed");
    for (name, value) in asked.as_object().expect("an object") {
        assert_eq!(&there[name], value, "{name} was acknowledged, and is gone from {there}");
    }
}

/// Each line about the settings begins with what the one before it ended with.
async fn is_told_in_order(server: &Server, workspace: i64, what: &str) {
    let mut lines = server.app.store.logbook(Some(workspace), None, 500).await.expect("lines");
    lines.retain(|line| line.what == what);
    assert!(lines.len() > 1, "{what}");
    for pair in lines.windows(2) {
        assert_eq!(pair[0].before, pair[1].after, "{what}");
    }
}

#[tokio::test]
async fn no_change_of_a_workspace_takes_another_back() {
    let server = Server::open().await;
    let ws = server.workspace("One").await;
    let number = id::parse_workspace(ws.rsplit('/').next().expect("an id")).expect("a number");
    let alerts = format!("{ws}/alerts");
    for round in 0..ROUNDS {
        let admin = format!("admin{round}@example.com");
        let zone = if round % 2 == 0 { "Europe/Madrid" } else { "Asia/Tokyo" };
        let fields = json!({ "name": format!("Name {round}"), "time_zone": zone, "admin_email": admin });
        let lines = json!({ "low": { "percent": 20 + round }, "critical": { "credits": round },
            "emails": [format!("told{round}@example.com")] });
        check(&server, &ws, (&ws, ""), fields, &[(&alerts, lines)]).await;
        let members = server.app.store.members(number).await.expect("members");
        let members: Vec<String> = members.into_iter().map(|member| member.email).collect();
        assert_eq!(members, [admin], "the admin before is out, and the new one is in");
    }
    is_told_in_order(&server, number, "workspace.settings").await;
    server.audit();
}

#[tokio::test]
async fn the_last_of_several_strategies_stands_and_each_is_told_after_the_one_before() {
    let server = Server::open().await;
    let ws = server.workspace("One").await;
    let number = id::parse_workspace(ws.rsplit('/').next().expect("an id")).expect("a number");
    let path = format!("{ws}/strategy");
    let sent = (0..ROUNDS).map(|round| {
        let body = json!({ "offer": format!("offer {round}") }).to_string();
        server.send(OPERATOR, "PUT", &path, "", body)
    });
    for got in join_all(sent).await {
        assert_eq!(got.status, 200, "{}", got.body);
    }
    is_told_in_order(&server, number, "workspace.strategy").await;
}

#[tokio::test]
async fn no_change_of_a_draft_takes_another_back() {
    let server = Server::open().await;
    let ws = server.workspace("One").await;
    let step = |template: &str| {
        json!({ "channel": "email", "after_days": 0, "condition": "always", "subject": "Hello", "template": template,
            "generate": false })
    };
    let new = json!({ "name": "New", "steps": [step("first")] });
    let made = server.post(&format!("{ws}/campaigns"), "", new).await.about_a_workspace(201);
    let path = format!("/v1/campaigns/{}", made["id"].as_str().expect("an id"));
    for round in 0..ROUNDS {
        let fields = json!({ "name": format!("Name {round}"), "credit_cap": 10 + round, "approve": round % 2 == 0,
            "enrich": [format!("field_{round}")] });
        let steps = json!({ "steps": [step(&format!("text {round}"))] }).to_string();
        let ((), steps) = tokio::join!(
            check(&server, &path, (&path, ""), fields, &[]),
            server.send(OPERATOR, "PATCH", &path, "", steps)
        );
        assert_eq!(steps.status, 200, "{}", steps.body);
        let text = json!({ "template": format!("text {round}") });
        stand(&server, (&path, "/steps/0"), &text).await;
    }
    let uncapped = json!({ "credit_cap": null, "name": "Without a cap" });
    check(&server, &path, (&path, ""), uncapped, &[]).await;
    for (field, wrong) in [("name", json!("")), ("steps", json!([])), ("credit_cap", json!(0))] {
        let got = server.send(OPERATOR, "PATCH", &path, "", json!({ field: wrong }).to_string()).await;
        got.problem(422, "invalid_field");
        assert_eq!(got.body["field"], field, "{}", got.body);
    }
}

#[tokio::test]
async fn no_change_of_a_sender_takes_another_back() {
    let server = Server::open().await;
    let ws = server.workspace("One").await;
    let list = format!("{ws}/senders");
    let new = json!({ "kind": "email", "from": "ann@example.com", "daily_limit": 3 });
    let made = server.post(&list, "", new).await.about_a_workspace(201);
    let path = format!("{list}/{}", made["id"].as_str().expect("an id"));
    for round in 0..ROUNDS {
        let hours = json!({ "from": "09:00", "to": format!("17:{}", 10 + round), "days": ["mon", "tue"] });
        let fields = json!({ "from": format!("ann{round}@example.com"), "active": round % 2 == 1,
            "daily_limit": 10 + round, "spacing_seconds": round, "hours": hours });
        check(&server, &path, (&list, "/items/0"), fields, &[]).await;
    }
    let wrong = json!({ "account": "someone" }).to_string();
    let got = server.send(OPERATOR, "PATCH", &path, "", wrong).await;
    got.problem(422, "invalid_field");
    assert_eq!(got.body["field"], "account", "{}", got.body);
}

#[tokio::test]
async fn a_sender_that_is_turned_off_stays_off_beside_a_form_with_its_limits() {
    let site = Site::open().await;
    let workspace = site.workspace("Workspace 0001").await;
    let admin = site.sign_in(Some(workspace), LinkRole::Admin).await;
    let form = [("form_key", "a1"), ("kind", "email"), ("from", "ann@example.com"), ("daily_limit", "3")];
    assert_eq!(admin.post("/settings/senders", &form).await.0, StatusCode::SEE_OTHER);
    let sender = site.app.store.senders(workspace, None, 1).await.expect("senders").remove(0);
    let path = format!("/settings/senders/{}", id::inside("sender", workspace, sender.id));
    for round in 0..ROUNDS {
        let (act, limit) = (if round % 2 == 0 { "off" } else { "on" }, (10 + round).to_string());
        let (turn, limits) = (format!("{path}/{act}"), [("daily_limit", limit.as_str())]);
        let both = [admin.send(Method::POST, &turn, &[]), admin.send(Method::POST, &path, &limits)];
        for answer in join_all(both).await {
            assert_eq!(answer.status(), StatusCode::SEE_OTHER);
        }
        let there = site.app.store.sender(workspace, sender.id).await.expect("the sender");
        assert_eq!((there.active, there.daily_limit), (act == "on", 10 + round));
    }
}

#[tokio::test]
async fn who_signs_in_while_their_role_changes_has_the_new_one() {
    let (site, _sink) = mailing().await;
    let workspace = site.workspace("Workspace 0001").await;
    let store = &site.app.store;
    let email = "ann@example.com".to_owned();
    admit(&site, workspace, &email, Role::Admin).await;
    // What they were was looked up before, and their session begins after.
    let (_, role) = store.enter(email.clone(), None).await.expect("a look").expect("a member");
    let session = Session { workspace: Some(workspace), role, email: Some(email.clone()), way: Way::Mail };
    let until = site.app.clock.now().plus_seconds(900);
    let begin = |token: u8| store.create_session([token; 32], session.clone(), String::new(), until);
    store.set_role(workspace, email.clone(), Role::Member, "test".to_owned()).await.expect("a member now");
    begin(1).await.expect("a session");
    let known = store.session([1; 32]).await.expect("a look").expect("a session");
    assert_eq!(known.session.role, Role::Member, "the admin that they were is over");
    store.remove_member(workspace, email, "test".to_owned()).await.expect("out");
    assert!(begin(2).await.is_err(), "who is out does not come in");
    for token in [1, 2] {
        assert!(store.session([token; 32]).await.expect("a look").is_none());
    }
}

#[tokio::test]
async fn a_password_that_was_set_since_the_old_one_was_asked_for_stays() {
    let site = Site::open().await;
    let workspace = site.workspace("Workspace 0001").await;
    let (store, email) = (&site.app.store, "admin@example.com".to_owned());
    store.first_password(email.clone(), "first".to_owned()).await.expect("set");
    let change = |compared: Option<&str>, changed| {
        let keep = Keep { workspace, session: 1, actor: "test".to_owned() };
        store.change_password(email.clone(), compared.map(str::to_owned), changed, keep)
    };
    let set = |hash: &str| Changed::Set(hash.to_owned());
    change(Some("first"), set("second")).await.expect("it is the present one");
    for late in [set("third"), Changed::Removed] {
        let refused = change(Some("first"), late).await;
        assert!(matches!(refused, Err(Error::Conflict("password_changed", _))), "{refused:?}");
    }
    assert_eq!(store.password(email.clone()).await.expect("a look").as_deref(), Some("second"));
    change(None, set("third")).await.expect("whoever came by a mailed link is not asked");
}
