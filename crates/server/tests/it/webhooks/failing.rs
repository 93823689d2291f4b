//! Receivers that fail, hang, go away and come back.

use serde_json::{Value, json};

use super::{Receiver, charge, endpoint, names, server};
use crate::http::{OPERATOR, Server};

async fn log(server: &Server, path: &str) -> Vec<Value> {
    let log = server.get(&format!("{path}/deliveries")).await.about_a_workspace(200);
    log["items"].as_array().expect("items").clone()
}

#[tokio::test]
async fn what_is_not_taken_is_tried_again_with_the_same_id_and_body() {
    let server = server().await;
    let (ws, receiver) = (server.workspace("One").await, Receiver::start().await);
    let (path, secret) = endpoint(&server, &ws, &receiver.url, json!([])).await;
    receiver.answers(&[500, 302, 429]);
    server.grant(&ws, 10).await;
    charge(&server, &ws, "a", 5).await;
    let mut seen = Vec::new();
    for (pause, attempts) in [(0, 1), (4, 0), (1, 1), (300, 1), (1_799, 0), (1, 1), (86_400, 0)] {
        server.advance(pause).await;
        let got = receiver.take();
        assert_eq!(got.len(), attempts, "after {pause} seconds");
        seen.extend(got);
        let shown = server.get(&path).await.body;
        assert_eq!(shown["status"], if seen.len() < 4 { "failing" } else { "enabled" }, "{shown}");
    }
    assert!(seen.windows(2).all(|two| two[0].1 == two[1].1), "every attempt has the same bytes");
    let key = standardwebhooks::Webhook::new(&secret).expect("a secret");
    let mut stamps: Vec<_> = seen
        .iter()
        .map(|(headers, body)| {
            super::signed(&key, headers, body);
            headers["webhook-timestamp"].to_str().expect("text").to_owned()
        })
        .collect();
    stamps.dedup();
    assert_eq!(stamps.len(), 4, "each attempt is signed at its own time");
    let line = &log(&server, &path).await[0];
    assert_eq!(
        (&line["status"], &line["attempts"], &line["answer"]),
        (&json!("delivered"), &json!(4), &json!(204))
    );
    assert_eq!(
        (&line["type"], &line["event"]),
        (&json!("credits.out"), &json!(seen[0].0["webhook-id"].to_str().expect("text")))
    );
    server.audit();
}

#[tokio::test]
async fn an_event_is_given_up_after_ten_attempts_and_can_be_sent_again() {
    let server = server().await;
    let (ws, receiver) = (server.workspace("One").await, Receiver::start().await);
    let (path, secret) = endpoint(&server, &ws, &receiver.url, json!(["credits.out"])).await;
    receiver.answers(&[503; 10]);
    server.grant(&ws, 10).await;
    charge(&server, &ws, "a", 5).await;
    server.advance(4 * 86_400).await;
    assert_eq!(receiver.take().len(), 10);
    let lines = log(&server, &path).await;
    assert_eq!((&lines[0]["status"], &lines[0]["answer"]), (&json!("failed"), &json!(503)));
    assert!(lines[0]["next_attempt_at"].is_null());
    let failed = server.get(&format!("{path}/deliveries?status=failed")).await.body;
    let delivered = server.get(&format!("{path}/deliveries?status=delivered")).await.body;
    assert_eq!(
        (failed["items"].as_array().map(Vec::len), delivered["items"].as_array().map(Vec::len)),
        (Some(1), Some(0))
    );
    let again = format!("{path}/deliveries/{}/retry", lines[0]["event"].as_str().expect("an id"));
    let again = server.post(&again, "", json!({})).await.about_a_workspace(200);
    assert_eq!((&again["status"], &again["attempts"]), (&json!("pending"), &json!(0)));
    server.advance(0).await;
    assert_eq!(names(&receiver.events(&secret)), ["credits.out"]);
    assert_eq!(log(&server, &path).await[0]["status"], "delivered");
    let nothing = format!("{path}/deliveries/{}x/retry", lines[0]["event"].as_str().expect("an id"));
    server.post(&nothing, "", json!({})).await.problem(404, "not_found");
}

#[tokio::test]
async fn an_endpoint_that_is_gone_or_silent_for_days_is_turned_off_and_said_so() {
    let server = server().await;
    let (ws, receiver) = (server.workspace("One").await, Receiver::start().await);
    let (gone, _) = endpoint(&server, &ws, &receiver.url, json!(["credits.out"])).await;
    let (silent, _) = endpoint(&server, &ws, "http://127.0.0.1:1/hook", json!([])).await;
    receiver.answers(&[410]);
    server.grant(&ws, 1_000).await;
    charge(&server, &ws, "a", 500).await;
    server.advance(0).await;
    assert_eq!(server.get(&gone).await.body["status"], "given_up");
    assert_eq!(server.get(&silent).await.body["status"], "failing");
    for day in 1..=6 {
        server.advance(86_400).await;
        let state = server.get(&silent).await.body["status"].clone();
        assert_eq!(state, if day <= 5 { "failing" } else { "given_up" }, "after {day} days");
        if day == 3 {
            // The first event is given up by now; a later one is tried after the fifth day.
            server.grant(&ws, 2_000).await;
        }
    }
    let lines = log(&server, &silent).await;
    assert!(lines.iter().all(|line| line["status"] == "failed"), "{lines:?}");
    assert!(lines.iter().any(|line| line["detail"] == "the endpoint was turned off"), "{lines:?}");
    let notices = server.get(&format!("{ws}/notifications")).await.body;
    let told =
        notices["items"].as_array().expect("items").iter().filter(|notice| notice["kind"] == "webhook");
    assert_eq!(told.count(), 2, "{notices}");
    let on = server.send(OPERATOR, "PATCH", &silent, "", json!({ "enabled": true }).to_string()).await;
    assert_eq!(on.about_a_workspace(200)["status"], "enabled");
    let event = lines[0]["event"].as_str().expect("an id");
    server
        .post(&format!("{gone}/deliveries/{event}/retry"), "", json!({}))
        .await
        .problem(409, "webhook_endpoint_disabled");
    server.audit();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_hangs_delays_nothing_but_itself() {
    let server = server().await;
    let (ws, receiver, quick) =
        (server.workspace("One").await, Receiver::start().await, Receiver::start().await);
    endpoint(&server, &ws, &receiver.url, json!([])).await;
    let (_, secret) = endpoint(&server, &ws, &quick.url, json!([])).await;
    receiver.hang();
    server.grant(&ws, 10).await;
    charge(&server, &ws, "a", 5).await;
    let advancing = server.advance(0);
    let meanwhile = async {
        while receiver.got.lock().expect("no panic").is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let start = std::time::Instant::now();
        assert_eq!(server.get(&format!("{ws}/balance")).await.body["state"], "out");
        server.grant(&ws, 20).await;
        charge(&server, &ws, "b", 10).await;
        assert_eq!(server.get(&format!("{ws}/balance")).await.body["state"], "out");
        assert!(start.elapsed() < std::time::Duration::from_secs(10), "{:?}", start.elapsed());
        receiver.answer_again();
    };
    tokio::join!(advancing, meanwhile);
    server.advance(0).await;
    assert_eq!(names(&quick.events(&secret)), ["credits.out", "credits.restored", "credits.out"]);
}

#[tokio::test]
async fn what_waits_survives_a_crash() {
    use crate::world::{World, text};
    let mut world = World::new(10).await;
    let receiver = Receiver::start().await;
    let made = world.post(&world.here("webhook_endpoints"), json!({ "url": receiver.url })).await;
    world.post(&world.here("charges"), json!({ "operation": "email_send", "quantity": 5 })).await;
    world.restart().await;
    assert!(receiver.take().is_empty());
    world.advance(0).await;
    assert_eq!(names(&receiver.events(&text(&made, "secret"))), ["credits.out"]);
    world.end().await;
}
