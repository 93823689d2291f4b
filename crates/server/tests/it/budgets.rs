//! Budgets: what they refuse and in which words, what gives room again, when they begin anew, and that nothing goes past them.

mod model;
mod page;
mod work;

use scrip::clock;
use scrip::config::{Config, PaymentsConfig};
use serde_json::{Value, json};

use crate::http::{Got, OPERATOR, Server};
use crate::temp::Directory;

/// A workspace with credits, and a way to spend them in the smallest pieces: one unit is 2 credits.
struct Shop {
    server: Server,
    ws: String,
    calls: std::cell::Cell<u32>,
}

impl Shop {
    async fn open() -> Shop {
        Shop::at("2027-01-31T10:00:00Z", "UTC").await
    }

    async fn at(now: &str, zone: &str) -> Shop {
        let config = Config { payments: Some(PaymentsConfig::Sandbox), ..Config::default() };
        let server = Server::under(Directory::new("budgets"), config, clock::parse_rfc3339(now)).await;
        let new = json!({ "name": "One", "time_zone": zone });
        let made = server.post("/v1/workspaces", "", new).await.about_a_workspace(201);
        let ws = format!("/v1/workspaces/{}", made["id"].as_str().expect("an id"));
        server.grant(&ws, 1_000).await;
        Shop { server, ws, calls: 0.into() }
    }

    async fn put(&self, budgets: Value) -> Got {
        let body = json!({ "budgets": budgets }).to_string();
        self.server.send(OPERATOR, "PUT", &format!("{}/budgets", self.ws), "", body).await
    }

    async fn set(&self, budgets: Value) {
        self.put(budgets).await.about_a_workspace(200);
    }

    async fn shown(&self) -> Value {
        self.server.get(&format!("{}/budgets", self.ws)).await.about_a_workspace(200)["budgets"].clone()
    }

    /// How far each is used.
    async fn used(&self) -> Vec<i64> {
        self.shown()
            .await
            .as_array()
            .expect("a list")
            .iter()
            .map(|one| one["used"].as_i64().expect("a number"))
            .collect()
    }

    async fn post(&self, path: &str, body: Value) -> Got {
        self.calls.set(self.calls.get() + 1);
        self.server.post(path, &format!("call-{}", self.calls.get()), body).await
    }

    /// Charges or holds so many units with these labels.
    async fn spend(&self, path: &str, quantity: i64, labels: Value) -> Got {
        let mut body = json!({ "operation": "email_send", "quantity": quantity });
        body.as_object_mut().expect("an object").extend(labels.as_object().expect("an object").clone());
        self.post(&format!("{}/{path}", self.ws), body).await
    }

    async fn spends(&self, path: &str, quantity: i64, labels: Value) -> String {
        let got = self.spend(path, quantity, labels).await.about_a_workspace(201);
        got["id"].as_str().or(got["hold"]["id"].as_str()).unwrap_or_default().to_owned()
    }

    async fn refuses(&self, quantity: i64, labels: Value) -> Value {
        let got = self.spend("charges", quantity, labels).await;
        got.problem(402, "budget_exceeded");
        got.body
    }

    async fn end(self, hold: &str, how: &str, body: Value) -> Shop {
        let got = self.post(&format!("/v1/holds/{hold}/{how}"), body).await;
        assert!((200..300).contains(&got.status), "{how}: {}", got.body);
        self
    }
}

fn one(scope: &str, per: &str, credits: i64) -> Value {
    json!({ "scope": scope, "per": per, "credits": credits })
}

#[tokio::test]
async fn they_are_set_as_a_whole_and_shown_with_their_use() {
    let shop = Shop::open().await;
    assert_eq!(shop.shown().await, json!([]));
    let all = json!([
        { "scope": "workspace", "per": "day", "credits": 100 },
        { "scope": "campaign", "label": "spring", "per": "total", "credits": 50 },
        { "scope": "member", "per": "period", "credits": 20 },
    ]);
    shop.set(all).await;
    shop.spends("charges", 3, json!({ "campaign": "spring", "member": "a" })).await;
    shop.spends("holds", 1, json!({ "member": "b" })).await;
    shop.spends("charges", 5, json!({ "member": "b" })).await;
    let shown = json!([
        { "scope": "workspace", "per": "day", "credits": 100, "used": 18, "resets_at": "2027-02-01T00:00:00Z" },
        { "scope": "campaign", "label": "spring", "per": "total", "credits": 50, "used": 6, "resets_at": null },
        { "scope": "member", "per": "period", "credits": 20, "used": 12, "used_by": "b", "resets_at": "2027-02-01T00:00:00Z" },
    ]);
    assert_eq!(shop.shown().await, shown);
    shop.set(json!([one("workspace", "total", 18)])).await;
    assert_eq!(shop.used().await, [18]);
    shop.refuses(1, json!({})).await;
    shop.set(json!([])).await;
    assert_eq!(shop.shown().await, json!([]));
    shop.spends("charges", 100, json!({})).await;
    let id = scrip::id::parse_workspace(shop.ws.rsplit('/').next().expect("an id"));
    let lines = shop.server.app.store.logbook(id, None, 10).await.expect("a logbook");
    let said: Vec<_> = lines.iter().map(|line| (&*line.what, line.after.as_deref().unwrap_or(""))).collect();
    let first = "workspace: 100 a day; campaign spring: 50 in total; each member: 20 a period";
    assert_eq!(said, [("budgets", "none"), ("budgets", "workspace: 18 in total"), ("budgets", first)]);
    shop.server.audit();
}

#[tokio::test]
async fn what_is_wrong_is_named_and_changes_nothing() {
    let shop = Shop::open().await;
    shop.set(json!([one("workspace", "day", 7)])).await;
    let good = one("member", "day", 1);
    for (bad, field) in [
        (json!({ "scope": "team", "per": "day", "credits": 1 }), "budgets[1].scope"),
        (json!({ "scope": "member", "per": "hour", "credits": 1 }), "budgets[1].per"),
        (json!({ "scope": "member", "per": "day", "credits": -1 }), "budgets[1].credits"),
        (
            json!({ "scope": "member", "per": "day", "credits": 1_000_000_000_000_001_i64 }),
            "budgets[1].credits",
        ),
        (json!({ "scope": "member", "per": "day", "credits": 1.5 }), "budgets[1].credits"),
        (json!({ "scope": "member", "per": "day" }), "budgets[1].credits"),
        (json!({ "scope": "workspace", "label": "x", "per": "day", "credits": 1 }), "budgets[1].label"),
        (json!({ "scope": "member", "label": "", "per": "day", "credits": 1 }), "budgets[1].label"),
        (
            json!({ "scope": "member", "label": "x".repeat(201), "per": "day", "credits": 1 }),
            "budgets[1].label",
        ),
        (json!({ "scope": "member", "label": "a\u{7}b", "per": "day", "credits": 1 }), "budgets[1].label"),
        (json!({ "scope": "member", "per": "day", "credits": 2 }), "budgets[1]"),
    ] {
        let got = shop.put(json!([good, bad])).await;
        got.problem(422, got.body["code"].as_str().unwrap_or("no code"));
        assert_eq!(got.body["field"], field, "{bad}: {}", got.body);
    }
    let many: Vec<Value> = (0..101)
        .map(|number| json!({ "scope": "member", "label": format!("m{number}"), "per": "day", "credits": 1 }))
        .collect();
    assert_eq!(shop.put(json!(many)).await.body["field"], "budgets");
    assert_eq!(shop.shown().await[0]["credits"], 7);
    shop.set(json!(many[..100])).await;
    shop.spends("charges", 1, json!({ "member": "other" })).await;
    shop.refuses(1, json!({ "member": "m99" })).await;
}

#[tokio::test]
async fn the_tightest_refuses_in_these_words() {
    let shop = Shop::open().await;
    let all = json!([
        one("workspace", "day", 30),
        { "scope": "campaign", "label": "spring", "per": "total", "credits": 20 },
        one("member", "period", 10),
    ]);
    shop.set(all).await;
    let both = || json!({ "campaign": "spring", "member": "a" });
    shop.spends("holds", 3, both()).await;
    let said = shop.refuses(3, both()).await;
    let body = json!({
        "type": "urn:scrip:problem:budget_exceeded", "title": "budget exceeded", "status": 402,
        "detail": "a budget of 10 credits does not allow this: 6 are used or held, and this needs 6",
        "code": "budget_exceeded", "scope": "member", "label": "a", "per": "period", "limit": 10, "used": 6, "needed": 6,
    });
    assert_eq!(said, body);
    // Another member has room of their own, the campaign has less, the workspace the least.
    shop.spends("charges", 5, json!({ "campaign": "spring", "member": "b" })).await;
    for (quantity, labels, scope, label, limit, used) in [
        (3, json!({ "campaign": "spring", "member": "c" }), "campaign", json!("spring"), 20, 16),
        (8, json!({ "campaign": "autumn" }), "workspace", Value::Null, 30, 16),
        (8, json!({}), "workspace", Value::Null, 30, 16),
        (8, json!({ "member": "b" }), "member", json!("b"), 10, 10),
    ] {
        let said = shop.refuses(quantity, labels).await;
        assert_eq!(
            (&said["scope"], &said["label"], &said["limit"], &said["used"], &said["needed"]),
            (&json!(scope), &label, &json!(limit), &json!(used), &json!(quantity * 2))
        );
    }
    // Refusals are not remembered: the same key may succeed once there is room.
    let refused = json!({ "operation": "email_send", "quantity": 8 });
    let path = format!("{}/charges", shop.ws);
    shop.server.post(&path, "again", refused.clone()).await.problem(402, "budget_exceeded");
    shop.set(json!([one("workspace", "day", 32)])).await;
    assert_eq!(shop.server.post(&path, "again", refused.clone()).await.status, 201);
    // And what was answered is answered again, whatever the budget says now.
    shop.set(json!([one("workspace", "day", 0)])).await;
    assert_eq!(shop.server.post(&path, "again", refused).await.status, 201);
    shop.server.audit();
}

#[tokio::test]
async fn a_lack_of_credits_is_said_before_a_budget() {
    let shop = Shop::open().await;
    shop.set(json!([one("workspace", "total", 1_004)])).await;
    shop.spend("charges", 501, json!({})).await.problem(402, "insufficient_credits");
    shop.set(json!([one("workspace", "total", 10)])).await;
    shop.spend("charges", 501, json!({})).await.problem(402, "insufficient_credits");
    shop.spend("charges", 6, json!({})).await.problem(402, "budget_exceeded");
}

#[tokio::test]
async fn a_batch_meets_them_one_by_one() {
    let shop = Shop::open().await;
    shop.set(json!([one("workspace", "day", 5)])).await;
    let workspace = shop.ws.rsplit('/').next().expect("an id");
    let command = |number: i64, kind: &str| json!({ "do": kind, "workspace": workspace, "key": format!("b{number}"), "operation": "email_send", "quantity": 1 });
    let commands = json!({ "commands": [command(1, "hold"), command(2, "charge"), command(3, "charge"), command(4, "hold")] });
    let got = shop.server.post("/v1/batch", "", commands).await;
    let statuses: Vec<_> =
        got.body["results"].as_array().expect("results").iter().map(|one| one["status"].clone()).collect();
    assert_eq!(statuses, [201, 201, 402, 402], "{}", got.body);
    assert_eq!(shop.used().await, [4]);
    shop.server.audit();
}

#[tokio::test]
async fn sixty_four_at_once_never_get_more_than_there_is() {
    let shop = Shop::open().await;
    shop.set(json!([one("workspace", "day", 51), one("campaign", "total", 31), one("member", "period", 23)]))
        .await;
    let work = |number: i64| {
        let (campaign, member) = (format!("c{}", number % 2), format!("m{}", number % 3));
        shop.spend(
            if number % 4 == 0 { "charges" } else { "holds" },
            1,
            json!({ "campaign": campaign, "member": member }),
        )
    };
    let answers = futures_util::future::join_all((0..64).map(work)).await;
    let taken = answers.iter().filter(|got| got.status == 201).count() as i64;
    assert!(answers.iter().all(|got| got.status == 201 || got.body["code"] == "budget_exceeded"));
    let used = shop.used().await;
    assert_eq!((taken, used[0]), (25, 50), "{used:?}");
    assert!(used[1] <= 31 && used[2] <= 23, "{used:?}");
    shop.server.audit();
}

#[tokio::test]
async fn what_is_not_used_in_the_end_gives_room_again() {
    let shop = Shop::open().await;
    shop.set(json!([one("workspace", "day", 20)])).await;
    let first = shop.spends("holds", 10, json!({})).await;
    shop.refuses(1, json!({})).await;
    let shop = shop.end(&first, "settle", json!({ "quantity": 4 })).await;
    assert_eq!(shop.used().await, [8]);
    let second = shop.spends("holds", 6, json!({})).await;
    shop.refuses(1, json!({})).await;
    let shop = shop.end(&second, "release", Value::Null).await;
    assert_eq!(shop.used().await, [8]);
    shop.refuses(7, json!({})).await;
    let shop = shop.end(&first, "refund", json!({ "quantity": 3, "reason": "it bounced" })).await;
    assert_eq!(shop.used().await, [2]);
    shop.spends("charges", 9, json!({})).await;
    let said = shop.refuses(1, json!({})).await;
    assert_eq!((&said["used"], &said["limit"]), (&json!(20), &json!(20)));
    // A hold that ran out is due before the question is put.
    shop.set(json!([one("workspace", "total", 30)])).await;
    let body = json!({ "operation": "email_send", "quantity": 5, "expires_in_seconds": 60 });
    assert_eq!(shop.post(&format!("{}/holds", shop.ws), body).await.status, 201);
    shop.refuses(5, json!({})).await;
    shop.server.advance(61).await;
    shop.spends("charges", 5, json!({})).await;
    shop.server.audit();
}

#[tokio::test]
async fn a_day_is_the_workspaces_own_also_when_it_has_23_hours() {
    // In Madrid the 28th of March 2027 has 23 hours: it begins at 23:00 UTC and ends at 22:00 UTC.
    let shop = Shop::at("2027-03-27T22:30:00Z", "Europe/Madrid").await;
    shop.set(json!([one("workspace", "day", 10), one("workspace", "total", 25)])).await;
    shop.spends("charges", 5, json!({})).await;
    shop.refuses(1, json!({})).await;
    shop.server.advance(1_799).await;
    shop.refuses(1, json!({})).await;
    shop.server.advance(1).await;
    shop.spends("charges", 5, json!({})).await;
    assert_eq!(shop.shown().await[0]["resets_at"], "2027-03-28T22:00:00Z");
    shop.server.advance(23 * 3_600 - 1).await;
    let said = shop.refuses(1, json!({})).await;
    assert_eq!(said["per"], "day");
    shop.server.advance(1).await;
    shop.spends("charges", 1, json!({})).await;
    let said = shop.refuses(2, json!({})).await;
    assert_eq!(said["per"], "total", "{said}");
    shop.server.audit();
}

#[tokio::test]
async fn a_period_begins_where_the_plan_says_also_within_a_quarter_of_an_hour() {
    let shop = Shop::at("2027-01-31T10:01:00Z", "UTC").await;
    shop.set(json!([one("workspace", "period", 10), one("member", "period", 6)])).await;
    shop.spends("charges", 2, json!({})).await;
    shop.spends("charges", 3, json!({ "member": "a" })).await;
    assert_eq!(shop.shown().await[0]["resets_at"], "2027-02-01T00:00:00Z");
    shop.refuses(1, json!({})).await;
    shop.server.advance(127).await;
    let plan = json!({ "plan": "starter" }).to_string();
    let got = shop.server.send(OPERATOR, "PUT", &format!("{}/subscription", shop.ws), "plan", plan).await;
    got.about_a_workspace(200);
    // The plan's period began in the same quarter of an hour, after those charges.
    let shown = shop.shown().await;
    assert_eq!((&shown[0]["used"], &shown[1]["used"]), (&json!(0), &json!(0)), "{shown}");
    shop.spends("charges", 3, json!({ "member": "a" })).await;
    let said = shop.refuses(1, json!({ "member": "a" })).await;
    assert_eq!((&said["scope"], &said["used"]), (&json!("member"), &json!(6)));
    shop.spends("charges", 2, json!({})).await;
    let ends = shown[0]["resets_at"].as_str().and_then(clock::parse_rfc3339).expect("an end");
    shop.server.advance((ends.0 - shop.server.app.clock.now().0) / 1_000_000 - 1).await;
    shop.refuses(1, json!({})).await;
    shop.server.advance(2).await;
    shop.spends("charges", 3, json!({ "member": "a" })).await;
    assert_eq!(shop.used().await, [6, 6]);
    shop.server.audit();
}
