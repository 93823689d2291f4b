//! Senders as people write them, and the mail server behind one.
//!
//! Owns their checks and what is sealed. It does *not* count what they send: the store does.

use std::time::Duration;

use super::mailbox::sealed;
use super::{Fault, address, line};
use crate::app::App;
use crate::config::{MailConfig, Secret};
use crate::id;
use crate::providers::Smtp;
use crate::store::senders::{Change, Hours, Sender, SenderKind, fresh_sender};

/// The most that a sender sends a day.
const MAX_DAILY: i64 = 100_000;
/// The longest pause between two sends, in seconds.
const MAX_SPACING: i64 = 86_400;
/// The longest name with its address, and the longest account, in characters.
const MAX_FROM: usize = 320;
/// The longest address of a mail server, in bytes.
const MAX_URL: usize = 1_000;
/// How long each part of a conversation with a workspace's own server may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// The days of a week.
pub const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A sender as it is asked for. Its mail server is secret, so it is never shown again.
#[derive(Clone, Debug, Default)]
pub struct NewSender {
    pub kind: String,
    pub from: Option<String>,
    pub smtp_url: Option<Secret>,
    pub imap_url: Option<Secret>,
    pub account: Option<String>,
    pub daily_limit: i64,
    pub hours: Option<HoursText>,
    pub spacing: i64,
}

/// Hours as they are written: `09:00`, `17:00`, and the days, all of them by default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoursText {
    pub from: String,
    pub to: String,
    pub days: Option<Vec<String>>,
}

/// What is changed of a sender, as it is written; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct SenderChange {
    pub from: Option<String>,
    /// `Some(None)`: the server's own again.
    pub smtp_url: Option<Option<Secret>>,
    /// `Some(None)`: nothing is looked for any more.
    pub imap_url: Option<Option<Secret>>,
    pub account: Option<String>,
    pub daily_limit: Option<i64>,
    pub hours: Option<Option<HoursText>>,
    pub spacing: Option<i64>,
    pub active: Option<bool>,
}

/// A sender that may be stored, with what is secret sealed.
///
/// # Errors
/// The field that is wrong, and what it must be.
pub fn new_sender(app: &App, workspace: i64, new: NewSender) -> Result<Sender, Fault> {
    let kind = match new.kind.as_str() {
        "email" => SenderKind::Email,
        "linkedin" => SenderKind::Linkedin,
        _ => return Err(Fault::new("kind", "must be email or linkedin")),
    };
    let blank = Sender {
        id: fresh_sender(),
        kind,
        from: String::new(),
        account: None,
        server: None,
        access: None,
        mailbox: None,
        daily_limit: 0,
        hours: None,
        spacing: 0,
        active: true,
        day: 0,
        taken: 0,
        next_at: billing::Time(0),
        created_at: billing::Time(0),
    };
    let change = SenderChange {
        from: new.from,
        smtp_url: new.smtp_url.map(Some),
        imap_url: new.imap_url.map(Some),
        account: new.account,
        daily_limit: Some(new.daily_limit),
        hours: Some(new.hours),
        spacing: Some(new.spacing),
        active: None,
    };
    let change = sender_change(app, workspace, &blank, change)?;
    let sender = blank.with(change);
    match (kind, sender.from.is_empty(), &sender.account) {
        (SenderKind::Email, true, _) => {
            Err(Fault::new("from", "is missing: the address that mail comes from"))
        }
        (SenderKind::Linkedin, _, None) => {
            Err(Fault::new("account", "is missing: the account that the LinkedIn provider knows"))
        }
        _ => Ok(sender),
    }
}

/// A change of a sender that may be stored, with what is secret sealed. It is read against what always stays of the sender: its
/// number and its kind.
///
/// # Errors
/// The field that is wrong, and what it must be.
pub fn sender_change(
    app: &App,
    workspace: i64,
    sender: &Sender,
    change: SenderChange,
) -> Result<Change, Fault> {
    let mail = sender.kind == SenderKind::Email;
    let from = change.from.map(|from| if mail { mailbox(&from) } else { short("from", &from) });
    let from = from.transpose()?;
    if mail && change.account.is_some() {
        return Err(Fault::new("account", "belongs to a sender of the kind linkedin"));
    }
    let account = change.account.map(|account| short("account", &account)).transpose()?;
    let server = match change.smtp_url {
        Some(Some(_)) if !mail => {
            return Err(Fault::new("smtp_url", "belongs to a sender of the kind email"));
        }
        Some(Some(url)) => {
            let server = own_server(app, &url, from.as_ref().unwrap_or(&sender.from))?;
            let whose = id::inside("sender", workspace, sender.id);
            let sealed = app.seal.close(&whose, url.reveal());
            let access = sealed.map_err(|problem| {
                tracing::error!(problem, "a sender's mail server could not be sealed");
                Fault::new("smtp_url", "cannot be kept: the server has no key to seal it with")
            })?;
            Some(Some((server.place(), access)))
        }
        other => other.map(|_| None),
    };
    let mailbox = match change.imap_url {
        Some(Some(_)) if !mail => {
            return Err(Fault::new("imap_url", "belongs to a sender of the kind email"));
        }
        Some(Some(url)) => {
            short_enough("imap_url", &url)?;
            Some(Some(sealed(app, workspace, sender, &url)?))
        }
        other => other.map(|_| None),
    };
    let limit = change.daily_limit.map(|limit| within("daily_limit", limit, 1, MAX_DAILY));
    let daily_limit = limit.transpose()?;
    let spacing = change.spacing.map(|spacing| within("spacing_seconds", spacing, 0, MAX_SPACING));
    let spacing = spacing.transpose()?;
    let hours = change.hours.map(|hours| hours.map(|hours| parse_hours(&hours)).transpose()).transpose()?;
    let active = change.active;
    Ok(Change { from, account, server, mailbox, daily_limit, hours, spacing, active })
}

/// The mail server that a sender sends with; without one of its own, the server's.
///
/// # Errors
/// One line for the person who looks why a campaign stands still.
pub fn mail_server(app: &App, workspace: i64, sender: Option<&Sender>) -> Result<Smtp, String> {
    let own = || app.providers.email.clone().ok_or_else(|| "no mail server is configured".to_owned());
    let Some(sender) = sender else { return own() };
    let Some(access) = &sender.access else { return own()?.sending_as(&sender.from) };
    let whose = id::inside("sender", workspace, sender.id);
    let url = app.seal.open(&whose, access).ok_or_else(|| {
        format!("the mail server of {} cannot be opened with this server's key: enter it again", sender.from)
    })?;
    Smtp::new(&MailConfig { url, from: sender.from.clone(), timeout: PATIENCE }, &app.reach)
}

fn mailbox(text: &str) -> Result<String, Fault> {
    let wrong = || Fault::new("from", "must be an e-mail address, or \"Name <address>\"");
    line(text, MAX_FROM).map_err(|reason| Fault::new("from", reason))?;
    let mailbox: lettre::message::Mailbox = text.trim().parse().map_err(|_| wrong())?;
    address(mailbox.email.as_ref()).map_err(|_| wrong())?;
    Ok(mailbox.to_string())
}

fn short(field: &str, text: &str) -> Result<String, Fault> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Fault::new(field, "must not be empty"));
    }
    line(text, MAX_FROM).map_err(|reason| Fault::new(field, reason))?;
    Ok(text.to_owned())
}

fn own_server(app: &App, url: &Secret, from: &str) -> Result<Smtp, Fault> {
    short_enough("smtp_url", url)?;
    // Only whether it can be read matters here; the sender's own address is checked beside it.
    let from = if from.is_empty() { "sender@example.com" } else { from };
    let config = MailConfig { url: url.clone(), from: from.to_owned(), timeout: PATIENCE };
    Smtp::new(&config, &app.reach).map_err(|reason| match reason.starts_with("must be a public") {
        true => Fault::new("smtp_url", reason),
        false => Fault::new(
            "smtp_url",
            "must be like smtp://user:password@host:587 (with ?tls=required or ?tls=off) or smtps://",
        ),
    })
}

fn short_enough(field: &str, url: &Secret) -> Result<(), Fault> {
    let fits = url.reveal().len() <= MAX_URL;
    fits.then_some(()).ok_or_else(|| Fault::new(field, format!("has at most {MAX_URL} bytes")))
}

fn within(field: &str, number: i64, least: i64, most: i64) -> Result<i64, Fault> {
    if (least..=most).contains(&number) {
        Ok(number)
    } else {
        Err(Fault::new(field, format!("must be a whole number from {least} to {most}")))
    }
}

fn parse_hours(text: &HoursText) -> Result<Hours, Fault> {
    let wrong = |reason: &str| Fault::new("hours", reason);
    let minute = |text: &str| {
        let (hour, minute) = text.trim().split_once(':')?;
        let number = |text: &str, most: i64| {
            let digits = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<i64>().ok().filter(|number| digits && *number <= most)
        };
        let minutes = number(hour, 24)? * 60 + number(minute, 59)?;
        (minutes <= 1_440).then_some(minutes)
    };
    let times = minute(&text.from).zip(minute(&text.to));
    let (from, to) = times.ok_or_else(|| wrong("must be times of the day like 09:00 and 17:00"))?;
    if from >= to {
        return Err(wrong("must begin before they end, on the same day"));
    }
    let Some(days) = &text.days else { return Ok(Hours { from, to, days: 0b111_1111 }) };
    let mut mask = 0_u8;
    for day in days {
        let day = day.trim().to_ascii_lowercase();
        let index = DAYS.iter().position(|known| day.starts_with(known) && day.len() <= 9);
        mask |= 1 << index.ok_or_else(|| wrong("has days among mon, tue, wed, thu, fri, sat and sun"))?;
    }
    if mask == 0 {
        return Err(wrong("need at least one day"));
    }
    Ok(Hours { from, to, days: mask })
}

/// Hours as people read them.
pub fn hours_text(hours: &Hours) -> HoursText {
    let time = |minute: i64| format!("{:02}:{:02}", minute / 60, minute % 60);
    let days = DAYS.iter().enumerate().filter(|(index, _)| hours.days >> index & 1 == 1);
    HoursText {
        from: time(hours.from),
        to: time(hours.to),
        days: Some(days.map(|(_, day)| (*day).to_owned()).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_read_and_what_is_wrong_is_said() {
        let hours = |from: &str, to: &str, days: Option<&[&str]>| HoursText {
            from: from.to_owned(),
            to: to.to_owned(),
            days: days.map(|days| days.iter().map(|day| (*day).to_owned()).collect()),
        };
        let all = parse_hours(&hours("09:00", "17:30", None)).expect("hours");
        assert_eq!((all.from, all.to, all.days), (540, 1_050, 127));
        let some = parse_hours(&hours("0:00", "24:00", Some(&["mon", "Friday"]))).expect("hours");
        assert_eq!((some.from, some.to, some.days), (0, 1_440, 0b001_0001));
        assert_eq!(hours_text(&some).days, Some(vec!["mon".to_owned(), "fri".to_owned()]));
        for wrong in [
            hours("9", "17:00", None),
            hours("09:00", "25:00", None),
            hours("09:60", "17:00", None),
            hours("24:01", "24:30", None),
            hours("-1:00", "17:00", None),
            hours("17:00", "09:00", None),
            hours("09:00", "09:00", None),
            hours("09:00", "17:00", Some(&["someday"])),
            hours("09:00", "17:00", Some(&[])),
        ] {
            assert_eq!(parse_hours(&wrong).expect_err("refused").field, "hours", "{wrong:?}");
        }
    }

    #[test]
    fn an_address_that_mail_comes_from_cannot_begin_a_header() {
        for good in ["ann@example.com", "Ann Lee <ann@example.com>", "\"Lee, Ann\" <ann@example.com>"] {
            assert_eq!(mailbox(good).expect("an address"), good);
        }
        for bad in ["", "Ann", "ann@example.com\r\nBcc: x@example.com", "Ann\nLee <ann@example.com>", "a@b@c"]
        {
            assert_eq!(mailbox(bad).expect_err("refused").field, "from", "{bad:?}");
        }
    }
}
