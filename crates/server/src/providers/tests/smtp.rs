//! The SMTP client against the sink: what is certain, and what is in doubt.

use super::*;
use crate::config::{MailConfig, Network, Trust, WebhooksConfig};
use crate::demo::smtp_sink::{SinkMode, SmtpSink};

fn smtp(url: &str) -> Smtp {
    with_timeout(url, PATIENT)
}

fn with_timeout(url: &str, timeout: Duration) -> Smtp {
    let from = "Sales <sales@example.com>".into();
    Smtp::new(&MailConfig { url: Secret::new(url), from, timeout }, &Reach::ours(&Trust::default())).unwrap()
}

fn email(to: &str) -> Email {
    Email {
        to: to.into(),
        subject: "A question".into(),
        text: "Hello Lead 0001,\n.\n..\nsee you.".into(),
        html: None,
        message_id: "msg_1@example.com".into(),
        at_micros: 1_798_761_600_000_000,
        unsubscribe: None,
        hold: None,
    }
}

#[tokio::test]
async fn an_accepted_message_arrives_as_it_was_written() {
    let sink = SmtpSink::start().await.unwrap();
    assert_eq!(smtp(&sink.url).send(&email("Lead <lead0001@example.com>")).await, Outcome::Done(()));
    let [message] = &sink.messages()[..] else { panic!("one message") };
    assert_eq!(message.message_id, "msg_1@example.com");
    assert_eq!(message.to, "lead0001@example.com");
    assert_eq!(message.subject, "A question");
    assert_eq!(message.body, "Hello Lead 0001,\n.\n..\nsee you.");
}

#[tokio::test]
async fn a_subject_cannot_begin_another_header() {
    let sink = SmtpSink::start().await.unwrap();
    let mut sly = email("lead0001@example.com");
    sly.subject = "Hello\r\nBcc: other@example.com\r\n\r\nA body".into();
    assert_eq!(smtp(&sink.url).send(&sly).await, Outcome::Done(()));
    assert_eq!(sink.messages()[0].subject, "Hello  Bcc: other@example.com    A body");
    for (to, message_id) in [
        ("lead0001@example.com>\r\nRCPT TO:<other@example.com", "msg_1@example.com"),
        ("nobody", "msg_1@example.com"),
        ("", "msg_1@example.com"),
        ("lead0001@example.com", "msg_1@example.com>\r\nBcc: other@example.com"),
        ("lead0001@example.com", "no host"),
    ] {
        let sly = Email { message_id: message_id.into(), ..email(to) };
        assert_eq!(word(&smtp(&sink.url).send(&sly).await), "item failed", "{to:?} {message_id:?}");
    }
    assert_eq!(sink.accepted(), 1);
}

#[tokio::test]
async fn other_alphabets_and_both_versions_arrive() {
    let sink = SmtpSink::start().await.unwrap();
    let mut both = email("lead0001@example.com");
    both.subject = "Grüße".into();
    both.html = Some("<p>Grüße</p>".into());
    assert_eq!(smtp(&sink.url).send(&both).await, Outcome::Done(()));
    let message = &sink.messages()[0];
    assert!(message.subject.starts_with("=?utf-8?"), "{}", message.subject);
    assert!(message.body.contains("text/plain") && message.body.contains("text/html"), "{}", message.body);
    assert_eq!(word(&smtp(&sink.url).send(&email("grüße@example.com")).await), "item failed");
}

/// Sends one message in this mode, and expects this outcome and so many messages accepted.
async fn check(mode: SinkMode, expected: &str, accepted: usize) {
    let sink = SmtpSink::start().await.unwrap();
    sink.set_mode(mode.clone());
    let hangs = matches!(mode, SinkMode::HangBeforeData | SinkMode::AcceptThenHang);
    let client = with_timeout(&sink.url, if hangs { HASTY } else { PATIENT });
    let outcome = client.send(&email("lead0001@example.com")).await;
    assert_eq!((word(&outcome), sink.accepted()), (expected, accepted), "{mode:?}: {outcome:?}");
    // Whatever went wrong with one message is over with the next.
    sink.set_mode(SinkMode::Accept);
    assert_eq!(smtp(&sink.url).send(&email("lead0002@example.com")).await, Outcome::Done(()));
}

#[tokio::test]
async fn every_reply_has_its_outcome() {
    check(SinkMode::Accept, "done", 1).await;
    check(SinkMode::Refuse("lead0001@".into()), "item failed", 0).await;
    check(SinkMode::Refuse("someone-else@".into()), "done", 1).await;
    check(SinkMode::RefuseMessage, "item failed", 0).await;
    check(SinkMode::RefuseSender, "unavailable", 0).await;
    check(SinkMode::TryLater, "try later", 0).await;
    check(SinkMode::DropBeforeData, "try later", 0).await;
    check(SinkMode::HangBeforeData, "try later", 0).await;
    check(SinkMode::AcceptThenDrop, "unknown", 1).await;
    check(SinkMode::AcceptThenHang, "unknown", 1).await;
}

#[tokio::test]
async fn a_delay_longer_than_the_time_out_is_in_doubt() {
    let sink = SmtpSink::start().await.unwrap();
    sink.set_delay(PATIENT);
    assert_eq!(word(&with_timeout(&sink.url, HASTY).send(&email("lead0001@example.com")).await), "unknown");
}

#[tokio::test]
async fn a_server_that_is_not_there_or_greets_with_an_error_got_nothing() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("smtp://{}", listener.local_addr().unwrap());
    for (greeting, expected) in
        [("554 no service here\r\n", "unavailable"), ("421 busy\r\n", "try later"), ("", "try later")]
    {
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut stream, greeting.as_bytes()).await.unwrap();
        };
        let ((), outcome) =
            tokio::join!(serve, async { smtp(&url).send(&email("lead0001@example.com")).await });
        assert_eq!(word(&outcome), expected, "{greeting:?}: {outcome:?}");
    }
    drop(listener);
    assert_eq!(word(&smtp(&url).send(&email("lead0001@example.com")).await), "try later");
}

#[tokio::test]
async fn passwords_and_encryption_that_the_server_does_not_offer_are_refused() {
    let sink = SmtpSink::start().await.unwrap();
    let address = sink.url.trim_start_matches("smtp://");
    for url in [format!("smtp://user:pass@{address}"), format!("smtp://{address}?tls=required")] {
        assert_eq!(word(&smtp(&url).send(&email("lead0001@example.com")).await), "unavailable", "{url}");
    }
    assert_eq!(sink.accepted(), 0);
    let refused = |url: &str| {
        let config = MailConfig { url: Secret::new(url), from: "sales@example.com".into(), timeout: PATIENT };
        Smtp::new(&config, &Reach::ours(&Trust::default())).unwrap_err()
    };
    for url in ["http://mail.example.com", "smtp://mail.example.com?tls=perhaps", "nonsense"] {
        assert!(refused(url).starts_with("the SMTP address"), "{url}");
    }
}

#[tokio::test]
async fn a_server_that_a_customer_named_is_public_or_allowed() {
    let sink = SmtpSink::start().await.unwrap();
    let port = sink.url.rsplit(':').next().unwrap();
    let allow = |networks: &[&str]| WebhooksConfig {
        allow: networks.iter().filter_map(|name| Network::parse(name)).collect(),
    };
    let named = |host: &str, networks: &[&str]| {
        let url = Secret::new(format!("smtp://{host}:{port}"));
        let config = MailConfig { url, from: "sales@example.com".into(), timeout: PATIENT };
        Smtp::new(&config, &Reach::theirs(&Trust::default(), Guard::new(&allow(networks))))
    };
    assert!(named("127.0.0.1", &[]).unwrap_err().contains("public"));
    // A name is looked at when the connection is made.
    let hidden = named("localhost", &["10.0.0.0/8"]).unwrap();
    assert_eq!(word(&hidden.send(&email("lead0001@example.com")).await), "unavailable");
    assert_eq!(sink.accepted(), 0);
    let allowed = named("127.0.0.1", &["127.0.0.0/8"]).unwrap();
    assert_eq!(word(&allowed.send(&email("lead0001@example.com")).await), "done");
    assert_eq!(sink.accepted(), 1);
}

#[tokio::test]
async fn the_log_is_on_disk_before_the_message_is_acknowledged() {
    let path = std::env::temp_dir().join(format!("scrip-sink-{}.jsonl", std::process::id()));
    let sink = SmtpSink::start_logging_to(&path).await.unwrap();
    assert_eq!(smtp(&sink.url).send(&email("lead0001@example.com")).await, Outcome::Done(()));
    let line: Value = serde_json::from_str(std::fs::read_to_string(&path).unwrap().trim()).unwrap();
    assert_eq!(line["message_id"], "msg_1@example.com");
    std::fs::remove_file(&path).unwrap();
}
