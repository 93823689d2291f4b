//! Notices by mail: those that are due together are one, and text and HTML say the same.

use billing::Command;
use scrip::store::committer::Post;

use crate::people::{asked, mailing, pass};

/// What lines of a mail were broken and quoted on the way.
fn plain(body: &str) -> String {
    body.replace("\r\n", "\n").replace("=\n", "").replace("=3D", "=")
}

#[tokio::test]
async fn notices_that_are_due_together_are_one_mail() {
    let (site, sink) = mailing().await;
    let workspace = site.workspace("Workspace <1>").await;
    pass(&site, 0).await;
    let before = sink.accepted();
    site.app
        .store
        .post(Post::new(workspace, Command::Adjust(-10_000), "test"))
        .await
        .expect("nothing is left");
    let who = "Member 0001 <b>".to_owned();
    assert!(
        site.app.store.ask_for_credits(workspace, who, "3 campaigns wait.".to_owned()).await.expect("asked")
    );
    pass(&site, 0).await;

    let mails: Vec<_> = sink.messages().into_iter().skip(before).collect();
    assert_eq!(mails.len(), 1, "{mails:?}");
    assert_eq!(mails[0].to, "admin@example.com");
    assert!(mails[0].subject.ends_with("asks for credits. And 1 more notice"), "{}", mails[0].subject);
    let body = plain(&mails[0].body);
    for (part, words) in [
        ("text/plain", "3 campaigns wait."),
        ("text/plain", "Out of credits"),
        ("text/plain", "Open Billing: http"),
        ("text/html", "Member 0001 &#60;b&#62; asks for credits."),
        ("text/html", "Out of credits"),
        ("text/html", "/billing\""),
    ] {
        let from = body.find(part).unwrap_or_else(|| panic!("{part}: {body}"));
        assert!(body[from..].contains(words), "{part}, {words}: {body}");
    }
    assert!(body.find("3 campaigns wait.") < body.find("Out of credits"), "the newest is first: {body}");
    assert_eq!(body.matches("<a href").count(), 1, "one button");

    // What lets somebody in goes alone, and as plain text.
    assert!(asked(&site, &sink, "admin@example.com").await.is_some());
    assert!(!sink.messages().last().expect("a mail").body.contains("text/html"));
    site.audit();
}
