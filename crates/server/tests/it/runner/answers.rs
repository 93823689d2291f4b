//! What comes back to a sender's mailbox: answers stop a lead, bounces mark an address, and nothing else has any effect.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::mailbox::{Mailbox, Manners};
use crate::world::{DAY, World, emails, step, text};

/// Between two looks, in seconds.
const LOOK: i64 = 300;

/// A sender whose answers come into this mailbox.
async fn sender(world: &World, mailbox: &Mailbox) -> String {
    let sender = json!({ "kind": "email", "from": "Team <team@example.com>", "daily_limit": 1_000, "imap_url": mailbox.url });
    text(&world.post(&world.here("senders"), sender).await, "id")
}

/// Mails to these leads from this sender, a day apart.
async fn mails(world: &World, sender: &str, days: &[i64], leads: &[String]) -> String {
    let mut campaign = emails(days);
    campaign["senders"] = json!([sender]);
    let campaign = world.campaign(campaign, leads).await;
    world.advance(0).await;
    campaign
}

/// The name of the first mail that went to a lead.
fn name(world: &World, number: usize) -> String {
    let to = format!("lead{number:04}@example.com");
    let mails = world.sink.messages();
    mails.iter().find(|mail| mail.to == to).expect("a mail").message_id.clone()
}

fn answer(to: &str, more: &str) -> String {
    format!(
        "From: Lead <lead@example.net>\r\nSubject: Re: Step 0\r\nIn-Reply-To: <{to}>\r\n{more}\r\nYes, please.\r\n"
    )
}

/// A report that mail to an address came back.
fn bounce(of: &str, address: &str, status: &str) -> String {
    let action = if status.starts_with('5') { "failed" } else { "delayed" };
    format!(
        "From: MAILER-DAEMON@mx.example.net\r\nAuto-Submitted: auto-replied\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=\"b\"\r\n\r\n\
         --b\r\nContent-Type: text/plain\r\n\r\nSorry.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n\
         Reporting-MTA: dns; mx.example.net\r\n\r\nFinal-Recipient: rfc822; {address}\r\nAction: {action}\r\nStatus: {status}\r\n\r\n\
         --b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: <{of}>\r\nTo: {address}\r\n\r\n--b--\r\n"
    )
}

async fn mailbox_of(world: &World) -> Value {
    world.items("senders").await[0]["mailbox"].clone()
}

async fn lead(world: &World, lead: &str) -> Value {
    world.get(&format!("/v1/leads/{lead}")).await
}

#[tokio::test]
async fn an_answer_in_the_mailbox_ends_the_mails_and_an_absence_notice_does_not() {
    let (mut world, mailbox) = (World::new(100).await, Mailbox::start().await);
    mailbox.deliver(answer("somebody-else@example.net", ""));
    let sender = sender(&world, &mailbox).await;
    let leads = world.leads(3).await;
    let campaign = mails(&world, &sender, &[0, 1], &leads).await;
    let first = mailbox_of(&world).await;
    assert_eq!((&first["error"], first["looked_at"].is_string()), (&Value::Null, true), "{first}");
    mailbox.deliver(answer(&name(&world, 1), ""));
    mailbox.deliver(answer(&name(&world, 2), "Auto-Submitted: auto-replied\r\n"));
    world.advance(LOOK - 1).await;
    assert_eq!(lead(&world, &leads[0]).await["stage"], "contacted");
    world.advance(1).await;
    assert_eq!(lead(&world, &leads[0]).await["stage"], "replied");
    world.restart().await;
    world.advance(DAY).await;
    let second = |number: usize| world.sent(&format!("lead{number:04}@example.com"), "Step 1");
    assert_eq!([second(1), second(2), second(3)], [0, 1, 1]);
    let view = world.view(&campaign).await;
    assert_eq!((&view["leads"]["replied"], &view["status"]), (&json!(1), &json!("completed")));
    let commands = mailbox.commands();
    let quiet = ["CAPABILITY", "AUTHENTICATE PLAIN", "EXAMINE INBOX", "UID SEARCH ", "UID FETCH ", "LOGOUT"];
    for command in &commands {
        assert!(quiet.iter().any(|known| command.starts_with(known)), "{command}");
        assert!(!command.contains("BODY["), "{command}");
    }
    let fetches = commands.iter().filter(|command| command.contains("FETCH")).count();
    assert_eq!(fetches, 2, "each mail is read once");
    world.comes_to(100 - 10, 0).await;
    world.end().await;
}

#[tokio::test]
async fn an_address_that_mail_comes_back_from_gets_no_more_and_the_other_steps_stay() {
    let (world, mailbox) = (World::new(1_000).await, Mailbox::start().await);
    let sender = sender(&world, &mailbox).await;
    let leads = world.leads(3).await;
    let mail = |days| json!({ "channel": "email", "after_days": days, "generate": false, "subject": format!("Mail {days}"), "template": "Hello {{name}}" });
    let message =
        json!({ "channel": "linkedin_message", "after_days": 1, "generate": false, "template": "Hello" });
    let campaign = json!({ "name": "Both", "steps": [mail(0), mail(1), message], "senders": [sender] });
    let campaign = world.campaign(campaign, &leads).await;
    world.advance(0).await;
    mailbox.deliver(bounce(&name(&world, 1), "Lead0001@Example.com", "5.1.1"));
    mailbox.deliver(bounce(&name(&world, 2), "lead0002@example.com", "4.4.1"));
    world.advance(2 * DAY).await;
    let view = world.view(&campaign).await;
    assert_eq!(step(&view, 0), [0, 3, 0, 0, 0]);
    assert_eq!(step(&view, 1), [0, 2, 1, 0, 0]);
    assert_eq!((step(&view, 2), &view["status"]), ([0, 3, 0, 0, 0], &json!("completed")));
    let bounced = lead(&world, &leads[0]).await;
    assert_eq!((&bounced["email_bounced"], &bounced["stage"]), (&json!(true), &json!("contacted")));
    assert_eq!(lead(&world, &leads[1]).await["email_bounced"], false);
    // The same address brought once more is still the same address; another one is another.
    let again =
        json!({ "external_id": "lead-0001", "email": "lead0001@example.com", "email_verified": true });
    world.post(&world.here("leads"), json!({ "leads": [again] })).await;
    assert_eq!(lead(&world, &leads[0]).await["email_bounced"], true);
    mails(&world, &sender, &[0], &leads[..1]).await;
    assert_eq!(world.sent("lead0001@example.com", "Step 0"), 0);
    let other = json!({ "external_id": "lead-0001", "email": "other@example.com" });
    world.post(&world.here("leads"), json!({ "leads": [other] })).await;
    assert_eq!(lead(&world, &leads[0]).await["email_bounced"], false);
    mails(&world, &sender, &[0], &leads[..1]).await;
    assert_eq!(world.sent("other@example.com", "Step 0"), 1);
    world.end().await;
}

#[tokio::test]
async fn what_names_no_mail_of_this_workspace_has_no_effect() {
    let (world, mailbox) = (World::new(100).await, Mailbox::start().await);
    let sender = sender(&world, &mailbox).await;
    let leads = world.leads(2).await;
    mails(&world, &sender, &[0, 1], &leads).await;
    let genuine = name(&world, 1);
    let (local, domain) = genuine.split_once('@').expect("an address");
    let (unsigned, signature) = local.rsplit_once('.').expect("a signature");
    let other = name(&world, 2);
    let other_unsigned =
        other.rsplit_once('.').and_then(|(start, _)| start.rsplit_once('.')).expect("parts").0;
    let forged = [
        format!("{unsigned}@{domain}"),
        format!("{unsigned}.@{domain}"),
        format!("{unsigned}.{}@{domain}", signature.replace(|c: char| c.is_ascii_digit(), "a")),
        // One's own signature under somebody else's name.
        format!("{other_unsigned}.{signature}@{domain}"),
        format!("{}.{signature}@{domain}", unsigned.replace(".0", ".1")),
        String::new(),
        "@".to_owned(),
        "x".repeat(5_000),
    ];
    for name in &forged {
        mailbox.deliver(answer(name, ""));
        mailbox.deliver(bounce(name, "lead0001@example.com", "5.1.1"));
        mailbox.deliver(bounce(name, "lead0002@example.com", "5.1.1"));
    }
    // A genuine name, and an address that is not the lead's.
    mailbox.deliver(bounce(&genuine, "lead0002@example.com", "5.1.1"));
    world.advance(LOOK).await;
    assert_eq!(mailbox.whole(), 2 * forged.len() + 1, "all of it was read");
    for id in &leads {
        let lead = lead(&world, id).await;
        assert_eq!((&lead["stage"], &lead["email_bounced"]), (&json!("contacted"), &json!(false)), "{lead}");
    }
    // A mail of another workspace, in this one's mailbox.
    let body = json!({ "name": "Other" });
    let elsewhere = text(&world.post("/v1/workspaces", body).await, "id");
    let path = format!("/v1/workspaces/{elsewhere}/senders");
    let there =
        json!({ "kind": "email", "from": "x@example.com", "daily_limit": 1, "imap_url": mailbox.url });
    world.post(&path, there).await;
    mailbox.deliver(answer(&genuine, ""));
    // The other workspace's look comes first: its own mailbox is new.
    world.advance(0).await;
    assert_eq!(lead(&world, &leads[0]).await["stage"], "contacted");
    world.advance(LOOK).await;
    assert_eq!(lead(&world, &leads[0]).await["stage"], "replied");
    world.end().await;
}

#[tokio::test]
async fn a_mailbox_that_is_numbered_anew_is_read_again_and_nothing_is_lost() {
    let (world, mailbox) = (World::new(2_000).await, Mailbox::start().await);
    let sender = sender(&world, &mailbox).await;
    let leads = world.leads(300).await;
    mails(&world, &sender, &[0, 1], &leads).await;
    for number in 1..=250 {
        mailbox.deliver(answer(&name(&world, number), ""));
    }
    let replied = async || {
        world.items("leads?limit=500").await.iter().filter(|lead| lead["stage"] == "replied").count()
    };
    world.advance(LOOK).await;
    assert_eq!(replied().await, 200, "no more than that in one look");
    world.advance(30).await;
    assert_eq!(replied().await, 250);
    mailbox.renumber();
    mailbox.deliver(answer(&name(&world, 251), ""));
    world.advance(LOOK + 30).await;
    assert_eq!(replied().await, 251);
    // Another mailbox is read from its beginning.
    let second = Mailbox::start().await;
    second.deliver(answer(&name(&world, 252), ""));
    let path = world.here(&format!("senders/{sender}"));
    let (status, _) = world.send(Method::PATCH, &path, json!({ "imap_url": second.url })).await;
    assert_eq!(status, StatusCode::OK);
    world.advance(0).await;
    assert_eq!(replied().await, 252);
    let (_, none) = world.send(Method::PATCH, &path, json!({ "imap_url": null })).await;
    assert_eq!(none["mailbox"], Value::Null);
    second.deliver(answer(&name(&world, 253), ""));
    world.advance(LOOK).await;
    assert_eq!(replied().await, 252);
    world.end().await;
}

#[tokio::test]
async fn a_server_of_bad_manners_is_named_left_alone_and_harms_nobody() {
    let (world, mailbox) = (World::new(100).await, Mailbox::start().await);
    let sender = sender(&world, &mailbox).await;
    let leads = world.leads(4).await;
    mails(&world, &sender, &[0, 1], &leads).await;
    mailbox.deliver(answer(&name(&world, 1), ""));
    for (manners, word) in [
        (Manners::Refuses, "answered NO [AUTHENTICATIONFAILED]"),
        (Manners::Stranger, "does not greet as IMAP does"),
        (Manners::Unnumbered, "does not number"),
        (Manners::Babbles, "sent more than anybody asked for"),
        (Manners::Rambles, "sent more than anybody asked for"),
        (Manners::Boasts, "sent more than anybody asked for"),
        (Manners::Vanishes, "closed the connection"),
    ] {
        mailbox.behave(manners);
        let path = world.here(&format!("senders/{sender}"));
        let (status, _) = world.send(Method::PATCH, &path, json!({ "imap_url": mailbox.url })).await;
        assert_eq!(status, StatusCode::OK);
        world.advance(0).await;
        let told = mailbox_of(&world).await;
        assert!(told["error"].as_str().is_some_and(|error| error.contains(word)), "{manners:?}: {told}");
        let tried = mailbox.commands().len();
        world.advance(LOOK).await;
        assert_eq!(mailbox.commands().len(), tried, "{manners:?}: the pause grows");
        assert_eq!(lead(&world, &leads[0]).await["stage"], "contacted", "{manners:?}");
    }
    mailbox.behave(Manners::Good);
    world.advance(2 * LOOK).await;
    assert_eq!(lead(&world, &leads[0]).await["stage"], "replied");
    assert_eq!(mailbox_of(&world).await["error"], Value::Null);
    for (manners, number) in [(Manners::Brackets, 2), (Manners::Spills, 3), (Manners::OnlyLogin, 4)] {
        mailbox.behave(manners);
        mailbox.deliver(answer(&name(&world, number), ""));
        world.advance(LOOK).await;
        let told = mailbox_of(&world).await;
        assert_eq!(
            (&lead(&world, &leads[number - 1]).await["stage"], &told["error"]),
            (&json!("replied"), &Value::Null),
            "{manners:?}: {told}"
        );
    }
    mailbox.behave(Manners::Intrudes);
    mailbox.deliver(answer("nobody@example.com", ""));
    world.advance(LOOK).await;
    assert_eq!(mailbox_of(&world).await["error"], Value::Null);
    world.end().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_mailbox_is_named_and_its_password_never_told() {
    let world = World::new(0).await;
    let good = json!({ "kind": "email", "from": "team@example.com", "daily_limit": 5,
        "imap_url": "imaps://ann:quiet-word@mail.example.com" });
    let made = world.post(&world.here("senders"), good.clone()).await;
    assert_eq!(
        made["mailbox"],
        json!({ "server": "mail.example.com:993", "looked_at": null, "error": null })
    );
    assert!(!world.get(&world.here("senders")).await.to_string().contains("quiet-word"));
    for url in [
        "mail.example.com",
        "smtp://ann:quiet-word@mail.example.com",
        "imap://mail.example.com",
        "imap://ann@mail.example.com",
        "imap://:quiet-word@mail.example.com",
        "imap://ann:quiet-word@",
        "imaps://ann:quiet-word@mail.example.com?tls=off",
        "imap://ann:quiet-word@mail.example.com/Archive",
        "imap://ann:quiet-word%0d%0aa1%20DELETE%20INBOX@mail.example.com",
        "imaps://ann:quiet-word@10.0.0.1",
        "imaps://ann:quiet-word@169.254.169.254",
        &format!("imaps://ann:{}@mail.example.com", "quiet-word".repeat(200)),
    ] {
        let mut bad = good.clone();
        bad["imap_url"] = json!(url);
        let (status, answer) = world.send(Method::POST, &world.here("senders"), bad).await;
        assert_eq!(
            (status, &answer["field"]),
            (StatusCode::UNPROCESSABLE_ENTITY, &json!("imap_url")),
            "{url}"
        );
        assert!(!answer.to_string().contains("quiet-word"), "{answer}");
    }
    let linkedin =
        json!({ "kind": "linkedin", "account": "a", "daily_limit": 5, "imap_url": good["imap_url"] });
    let (status, answer) = world.send(Method::POST, &world.here("senders"), linkedin).await;
    assert_eq!((status, &answer["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("imap_url")));
    let private = json!({ "kind": "email", "from": "team@example.com", "daily_limit": 5, "smtp_url": "smtp://10.0.0.1" });
    let (status, answer) = world.send(Method::POST, &world.here("senders"), private).await;
    assert_eq!((status, &answer["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("smtp_url")));
    world.end().await;
}
