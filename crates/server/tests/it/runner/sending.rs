//! What a mail carries, and what its recipient can do with it.

use axum::http::StatusCode;
use serde_json::json;

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
