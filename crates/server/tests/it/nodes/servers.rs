//! Two whole servers on one database: their loops, their keys, their clocks, and what each tells the other.

use std::collections::HashSet;
use std::time::Duration;

use scrip::app::{Link, LinkRole};
use scrip::clock;
use serde_json::json;

use crate::chance::{Chance, asked_for};
use crate::crash::no_mail_without_its_hold;
use crate::http::Server;
use crate::temp::Directory;
use crate::world::{DAY, World, emails, text};

const LEADS: usize = 60;

/// Two servers on one database; `None` where the suite has no server.
async fn two(name: &str) -> Option<[Server; 2]> {
    let directory = Directory::shared(name)?;
    Some([Server::at(directory.clone(), None).await, Server::at(directory, None).await])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_runners_send_every_mail_once() {
    if Directory::shared("runners").is_none() {
        return;
    }
    let seed = asked_for("SCRIP_SEED", 1);
    let mut chance = Chance::new(seed);
    let world = World::new(5_000).await;
    world.sink.set_delay(Duration::from_millis(20));
    let leads = world.leads(LEADS).await;
    let campaign = world.campaign(emails(&[0, 1]), &leads).await;
    let mut worked = 0;
    for _ in 0..4 {
        let mut other = world.beside().await;
        let [here, there] = [&world, &other].map(|node| tokio::spawn(node.advancing(DAY / 2)));
        tokio::time::sleep(Duration::from_millis(chance.within(20, 300) as u64)).await;
        // A busy machine may not have let it begin.
        while worked == 0 && other.pieces().await == 0 && !here.is_finished() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        worked += other.pieces().await;
        other.stop().await;
        there.await.expect("the connection broke");
        here.await.expect("an answer");
    }
    // What the killed ones had in hand lapses, what they left in doubt reaches its deadline, and the leads behind it go on.
    world.advance(14 * DAY).await;
    let view = world.view(&campaign).await;
    assert_eq!(view["status"], "completed", "seed {seed}: {view}");
    no_mail_without_its_hold(&world, seed, 2 * LEADS).await;
    assert!(worked > 0, "the other runner did nothing");
    assert!(world.pieces().await > 0, "this runner did nothing");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_send_every_notice_once() {
    if Directory::shared("notices").is_none() {
        return;
    }
    let world = World::new(0).await;
    world.notices.set_delay(Duration::from_millis(5));
    let other = world.beside().await;
    let count = 40;
    for number in 0..count {
        let body =
            json!({ "name": format!("W{number}"), "admin_email": format!("admin{number}@example.com") });
        let ws = text(&world.post("/v1/workspaces", body).await, "id");
        let grant = json!({ "credits": 2, "kind": "bonus", "reason": "for the story" });
        world.post(&format!("/v1/workspaces/{ws}/grants"), grant).await;
        let work = json!({ "operation": "email_send", "quantity": 1 });
        let charge = other.post(&format!("/v1/workspaces/{ws}/charges"), work).await;
        assert_eq!(charge["available"], 0, "{charge}");
    }
    let both = [&world, &other].map(|node| tokio::spawn(node.advancing(0)));
    for one in both {
        one.await.expect("an answer");
    }
    let mails = world.notices.messages();
    let different: HashSet<_> = mails.iter().map(|mail| (&mail.to, &mail.subject)).collect();
    let told: HashSet<_> = mails.iter().map(|mail| &mail.to).collect();
    assert_eq!((mails.len(), told.len()), (different.len(), count), "{mails:?}");
    let queued = world.directory().number("select count(*) from outbox where status <> 1");
    assert_eq!(queued, 0, "every mail is sent, and known to be");
    other.end().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_revoked_on_one_node_stops_on_the_other() {
    let Some([one, other]) = two("revoked").await else { return };
    let ws = one.workspace("One").await;
    let (key, secret) = one.key(&ws).await;
    let path = format!("{ws}/balance");
    let status = async |server: &Server| server.send(&secret, "GET", &path, "", String::new()).await.status;
    assert_eq!((status(&one).await, status(&other).await), (200, 200));
    let revoked = one.send("operator", "DELETE", &format!("{ws}/keys/{key}"), "", String::new()).await;
    assert!((200..300).contains(&revoked.status), "{}", revoked.body);
    assert_eq!(status(&one).await, 401, "at once where it was revoked");
    other.advance(1).await;
    assert_eq!(status(&other).await, 401, "a second later everywhere");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_advanced_on_one_node_is_everybodys() {
    let Some([one, other]) = two("clock").await else { return };
    let ws = one.workspace("One").await;
    one.grant(&ws, 100).await;
    let hold = json!({ "operation": "email_send", "quantity": 1 });
    let first = other.post(&format!("{ws}/holds"), "a", hold.clone()).await.about_a_workspace(201);
    let begun = time(&first["expires_at"]);
    one.advance(7_200).await;
    let gone = other.get(&format!("/v1/holds/{}", text(&first, "id"))).await.about_a_workspace(200);
    assert_eq!(gone["status"], "released", "{gone}");
    let second = other.post(&format!("{ws}/holds"), "b", hold).await.about_a_workspace(201);
    assert!(time(&second["expires_at"]) >= begun + 7_200_000_000, "{second}");
    // A node that has written nothing since asks for ten seconds, and ten seconds pass, from where the clock is.
    one.advance(3_600).await;
    let now = other.post("/v1/clock/advance", "", json!({ "seconds": 10 })).await.body;
    let then = one.post("/v1/clock/advance", "", json!({ "seconds": 0 })).await.body;
    assert_eq!(now["now"], then["now"]);
    assert_eq!(time(&now["now"]), time(&begun_at()) + (7_200 + 3_600 + 10) * 1_000_000);
}

fn begun_at() -> serde_json::Value {
    json!("2027-01-31T10:00:00Z")
}

fn time(text: &serde_json::Value) -> i64 {
    clock::parse_rfc3339(text.as_str().expect("text")).expect("a time").0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_on_one_node_follows_what_happens_on_the_other() {
    let Some([one, other]) = two("follows").await else { return };
    let ws = one.workspace("One").await;
    let workspace = scrip::id::parse_workspace(ws.rsplit('/').next().expect("an id"));
    one.grant(&ws, 4_321).await;
    let expires_at = other.app.clock.now().plus_seconds(900).0;
    let link = Link { workspace, role: LinkRole::Admin, email: None, return_url: None, expires_at };
    let client =
        reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
    let answer = client.get(other.app.portal_link(&link)).send().await.expect("an answer");
    let cookie =
        answer.headers()["set-cookie"].to_str().expect("text").split(';').next().expect("a value").to_owned();
    let stream = client.get(format!("{}/live", other.url)).header("cookie", cookie);
    let mut stream = stream.send().await.expect("a stream");
    shows(&mut stream, "4,321").await;
    let charge = json!({ "operation": "email_send", "quantity": 1 });
    let charged = one.post(&format!("{ws}/charges"), "a", charge).await.about_a_workspace(201);
    let left = charged["available"].as_i64().expect("a number");
    shows(&mut stream, &format!("4,{}", left - 4_000)).await;
}

/// Reads until a number is on the page. Without being told, the page would be as it was.
async fn shows(stream: &mut reqwest::Response, number: &str) {
    let mut seen = String::new();
    let reading = async {
        while !seen.contains(number) {
            let chunk = stream.chunk().await.expect("it goes on").expect("it does not end");
            seen.push_str(&String::from_utf8_lossy(&chunk));
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(30), reading).await.is_ok(), "{number} in {seen}");
}
