//! Mails as servers and people write them, and as nobody should.

use super::*;

const OURS: &str = "camp_1.lead_2.0.abc@example.com";

fn headers(more: &str) -> First {
    let text = format!("From: Lead 0001 <lead0001@example.net>\r\nIn-Reply-To: <{OURS}>\r\n{more}\r\n");
    first(text.as_bytes(), "team@example.com")
}

#[test]
fn an_answer_names_the_mails_that_it_answers() {
    let answer =
        |to: &[&str]| First::Letter(Letter::Answer { to: to.iter().map(|id| (*id).to_owned()).collect() });
    assert_eq!(headers(""), answer(&[OURS]));
    assert_eq!(headers("Auto-Submitted: no\r\n"), answer(&[OURS]));
    let references = format!("References: <first@example.net>\r\n <{OURS}>\r\n\t<last@example.net>\r\n");
    assert_eq!(headers(&references), answer(&[OURS, "first@example.net", OURS, "last@example.net"]));
    let alone = format!("From: <a@example.net>\r\nReferences: <{OURS}>\r\n\r\n");
    assert_eq!(first(alone.as_bytes(), "team@example.com"), answer(&[OURS]));
}

#[test]
fn what_a_machine_wrote_is_no_answer() {
    for more in [
        "Auto-Submitted: auto-replied\r\n",
        "auto-submitted: AUTO-GENERATED (vacation)\r\n",
        "Precedence: bulk\r\n",
        "Precedence: Auto_Reply\r\n",
        "Precedence: list\r\n",
        "X-Autoreply: yes\r\n",
        "X-Autorespond: away\r\n",
        "Return-Path: <>\r\n",
    ] {
        assert_eq!(headers(more), First::Other, "{more}");
    }
    assert_eq!(
        headers("Content-Type: multipart/report; report-type=delivery-status; boundary=x\r\n"),
        First::Report
    );
    let own = format!("From: Team <Team@Example.com>\r\nIn-Reply-To: <{OURS}>\r\n\r\n");
    assert_eq!(first(own.as_bytes(), "team@example.com"), First::Other);
    for nothing in
        ["", "\r\n", "From: a@example.net\r\n\r\n", "In-Reply-To: words\r\n", "\0\0\0", ":::::\r\n"]
    {
        assert!(!matches!(first(nothing.as_bytes(), "x@example.com"), First::Report), "{nothing:?}");
    }
}

/// A report as Postfix writes it, with parts exchanged.
fn bounce(action: &str, status: &str, returned: &str) -> String {
    format!(
        "From: MAILER-DAEMON@mx.example.net (Mail Delivery System)\r\nTo: team@example.com\r\nMIME-Version: 1.0\r\n\
         Auto-Submitted: auto-replied\r\nContent-Type: multipart/report; report-type=delivery-status;\r\n boundary=\"B/1\"\r\n\r\n\
         This is a MIME-encapsulated message.\r\n\r\n--B/1\r\nContent-Description: Notification\r\n\
         Content-Type: text/plain; charset=us-ascii\r\n\r\nI'm sorry to have to inform you.\r\n\r\n--B/1\r\n\
         Content-Description: Delivery report\r\nContent-Type: message/delivery-status\r\n\r\n\
         Reporting-MTA: dns; mx.example.net\r\nX-Postfix-Sender: rfc822; team@example.com\r\n\r\n\
         Final-Recipient: rfc822; Lead0001@example.net\r\nOriginal-Recipient: rfc822;lead0001@example.org\r\n\
         Action: {action}\r\nStatus: {status}\r\nDiagnostic-Code: smtp; 550 5.1.1 no such user\r\n\r\n--B/1\r\n{returned}\r\n--B/1--\r\n"
    )
}

fn whole(kind: &str) -> String {
    format!(
        "Content-Type: {kind}\r\n\r\nMessage-ID: <{OURS}>\r\nTo: Lead <lead0001@example.org>\r\nSubject: x\r\n\r\nHello\r\n"
    )
}

#[test]
fn a_report_of_a_final_failure_names_the_mail_and_the_address() {
    for kind in ["message/rfc822", "text/rfc822-headers", "message/rfc822-headers"] {
        let Some(Letter::Bounce { of, addresses }) =
            report(bounce("failed", "5.1.1", &whole(kind)).as_bytes())
        else {
            panic!("{kind}: no bounce");
        };
        assert_eq!(of, [OURS], "{kind}");
        for address in ["lead0001@example.net", "lead0001@example.org"] {
            assert!(addresses.iter().any(|known| known == address), "{kind}: {addresses:?}");
        }
    }
}

#[test]
fn what_may_still_arrive_or_names_nothing_is_no_bounce() {
    let returned = whole("message/rfc822");
    for (action, status) in
        [("delayed", "4.4.1"), ("failed", "4.2.2"), ("relayed", "2.0.0"), ("delayed", "5.0.0"), ("", "")]
    {
        assert_eq!(report(bounce(action, status, &returned).as_bytes()), None, "{action} {status}");
    }
    assert_eq!(
        report(bounce("failed", "5.1.1", "Content-Type: text/plain\r\n\r\nno mail\r\n").as_bytes()),
        None
    );
}

#[test]
fn a_mail_that_is_cut_off_or_nonsense_is_read_as_far_as_it_goes() {
    let long = bounce("failed", "5.1.1", &whole("message/rfc822"));
    let end = long.find("Hello\r\n").expect("it is there");
    assert!(report(&long.as_bytes()[..end]).is_some(), "the headers are enough");
    for end in 0..long.len() {
        let _ = report(&long.as_bytes()[..end]);
        let _ = first(&long.as_bytes()[..end], "team@example.com");
    }
    let deep = (0..5_000).fold(String::new(), |mut text, depth| {
        text.push_str(&format!("Content-Type: multipart/mixed; boundary=b{depth}\r\n\r\n--b{depth}\r\n"));
        text
    });
    assert_eq!(report(deep.as_bytes()), None);
    let nested = "Content-Type: message/rfc822\r\n\r\n".repeat(2_000);
    assert_eq!(report(nested.as_bytes()), None);
    let mut bytes = long.into_bytes();
    // Every byte once exchanged for one that no mail should have.
    for at in 0..bytes.len() {
        let was = std::mem::replace(&mut bytes[at], 0xff);
        let _ = report(&bytes);
        bytes[at] = was;
    }
}
