//! What a mail carries, and what its recipient can do with it.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{DAY, World, emails};

#[tokio::test]
async fn one_click_in_a_mail_ends_the_mails_and_looking_does_not() {
    let world = World::new(100).await;
    let leads = world.leads(2).await;
    let campaign = world.campaign(emails(&[0, 1]), &leads).await;
    world.advance(0).await;
    let mails = world.sink.messages();
    let mail = mails.iter().find(|mail| mail.to == "lead0001@example.com").expect("a mail");
    // The link leads to the public address; only its path matters here.
    let path = &mail.unsubscribe[mail.unsubscribe.find("/unsubscribe/").expect("a link")..];
    let url = world.url(path);
    let client = reqwest::Client::new();
    let looked = client.get(&url).send().await.expect("an answer");
    assert_eq!(looked.status(), StatusCode::OK);
    assert!(looked.text().await.expect("a page").contains("lead0001@example.com"));
    assert!(world.items("blocklist").await.is_empty());
    for _ in 0..2 {
        let click = client.post(&url).body("List-Unsubscribe=One-Click").send().await.expect("an answer");
        assert_eq!(click.status(), StatusCode::OK);
    }
    assert_eq!(world.items("blocklist").await, [json!("lead0001@example.com")]);
    let (start, last) = url.split_at(url.len() - 1);
    let forged = [format!("{start}{}", if last == "0" { "1" } else { "0" }), world.url("/unsubscribe/00.00")];
    for forged in forged {
        let answer = client.post(&forged).send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{forged}");
    }
    world.advance(DAY).await;
    let second = |number| world.sent(&format!("lead000{number}@example.com"), "Step 1");
    assert_eq!([second(1), second(2)], [0, 1]);
    assert_eq!(world.view(&campaign).await["leads"]["blocked"], 1);
    world.comes_to(94, 0).await;
    world.end().await;
}

#[tokio::test]
async fn a_step_has_one_message_id_and_no_other_step_has_it() {
    let world = World::new(100).await;
    let leads = world.leads(2).await;
    let campaign = world.campaign(emails(&[0, 1]), &leads).await;
    world.advance(0).await;
    world.advance(DAY).await;
    let mut ids: Vec<String> = world.sink.messages().into_iter().map(|mail| mail.message_id).collect();
    let mut expected: Vec<String> = (0..2)
        .flat_map(|step| leads.iter().map(move |lead| (step, lead)))
        .map(|(step, lead)| format!("{campaign}.{lead}.{step}."))
        .collect();
    ids.sort();
    expected.sort();
    assert_eq!(ids.len(), expected.len());
    for (id, expected) in ids.iter().zip(&expected) {
        assert!(id.starts_with(expected.as_str()), "{id} {expected}");
    }
    world.end().await;
}

/// A person pauses and resumes again and again while mails go out. A piece whose credits are held already, and that hears of the pause
/// before its call, must not make it: it would be sent once more when the campaign goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pauses_in_the_midst_of_it_send_each_mail_once() {
    const LEADS: usize = 150;
    let world = World::new(1_000).await;
    let leads = world.leads(LEADS).await;
    let campaign = world.campaign(emails(&[0]), &leads).await;
    let mut pauses = 0;
    // Long enough to come into the midst of a mail on either database.
    let slower = if world.is_shared() { 6 } else { 1 };
    for round in 0..2_000 {
        if world.recipients().len() == LEADS {
            break;
        }
        let sending = tokio::spawn(world.advancing(0));
        tokio::time::sleep(Duration::from_millis(slower * (round % 12))).await;
        let path = format!("/v1/campaigns/{campaign}");
        let (paused, _) = world.send(Method::POST, &format!("{path}/pause"), Value::Null).await;
        sending.await.expect("what was under way ends");
        pauses += usize::from(paused == StatusCode::OK);
        world.send(Method::POST, &format!("{path}/resume"), Value::Null).await;
    }
    world.advance(0).await;
    println!("{pauses} pauses");
    assert!(pauses > 2, "only {pauses} pauses in {LEADS} mails");
    let mut recipients = world.recipients();
    recipients.sort();
    recipients.dedup();
    assert_eq!((recipients.len(), world.recipients().len()), (LEADS, LEADS));
    world.comes_to(1_000 - 2 * LEADS as i64, 0).await;
    world.end().await;
}
