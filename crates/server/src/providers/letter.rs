//! What a mail says that came back: somebody answered, an address does not exist, or nothing that matters.
//!
//! Everything in a mail is a stranger's. What it claims is only read here; whether it names a mail of ours is decided elsewhere.
//!
//! Invariant: nothing that a machine wrote by itself is an answer.

use mail_parser::{HeaderValue, Message, MessageParser, MimeHeaders, PartType};

/// How many mails one may name, and how many recipients; the rest is not read.
const MOST: usize = 50;

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Letter {
    /// Somebody answered one of these mails.
    Answer {
        /// Their Message-IDs, without angle brackets.
        to: Vec<String>,
    },
    /// One of these mails could not be delivered to any of these addresses, and never will be.
    Bounce {
        /// Message-IDs, without angle brackets.
        of: Vec<String>,
        /// Addresses in lower case: as they were written to, or as they were when it failed.
        addresses: Vec<String>,
    },
}

/// What a mail's headers say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum First {
    Letter(Letter),
    /// It reports on another mail: the whole of it says more.
    Report,
    Other,
}

/// Looks at some headers of a mail.
pub(super) fn first(headers: &[u8], own: &str) -> First {
    let Some(mail) = MessageParser::default().parse_headers(headers) else { return First::Other };
    if mail.content_type().is_some_and(|kind| {
        kind.ctype().eq_ignore_ascii_case("multipart")
            && kind.subtype().is_some_and(|kind| kind.eq_ignore_ascii_case("report"))
    }) {
        return First::Report;
    }
    let to = named(&mail);
    let sender = mail.from().and_then(|from| from.first()).and_then(|from| from.address());
    let ours = sender.is_some_and(|sender| sender.eq_ignore_ascii_case(own));
    if to.is_empty() || ours || is_automatic(&mail) {
        return First::Other;
    }
    First::Letter(Letter::Answer { to })
}

/// Looks at a report, as far as it was read: a delivery that failed for good names the mail and the address.
pub(super) fn report(whole: &[u8]) -> Option<Letter> {
    let mail = MessageParser::default().parse(whole)?;
    let mut of = named(&mail);
    let mut addresses = Vec::new();
    let mut failed = false;
    for part in mail.parts.iter().skip(1).take(MOST) {
        let kind = part.content_type().map(|kind| (kind.ctype(), kind.subtype().unwrap_or_default()));
        let Some((of_kind, subtype)) = kind else { continue };
        let is = |a: &str, b: &str| of_kind.eq_ignore_ascii_case(a) && subtype.eq_ignore_ascii_case(b);
        let headers = is("text", "rfc822-headers")
            || is("message", "rfc822-headers")
            || is("message", "global-headers");
        match &part.body {
            _ if is("message", "delivery-status") || is("message", "global-delivery-status") => {
                let gone = undeliverable(&String::from_utf8_lossy(part.contents()));
                failed |= !gone.is_empty();
                addresses.extend(gone);
            }
            PartType::Message(returned) => returned_mail(returned, &mut of, &mut addresses),
            _ if headers => {
                let returned = MessageParser::default().parse_headers(part.contents());
                returned.iter().for_each(|returned| returned_mail(returned, &mut of, &mut addresses));
            }
            _ => {}
        }
    }
    of.truncate(MOST);
    addresses.truncate(MOST);
    (failed && !of.is_empty()).then_some(Letter::Bounce { of, addresses })
}

/// The mail that came back, and whom it was written to: a forwarded one fails under another address.
fn returned_mail(mail: &Message<'_>, of: &mut Vec<String>, addresses: &mut Vec<String>) {
    of.extend(mail.message_id().map(str::to_owned));
    let to = mail.to().and_then(|to| to.first()).and_then(|to| to.address());
    addresses.extend(to.map(str::to_lowercase));
}

/// The recipients of a delivery status that failed for good (RFC 3464): those that are delayed may still arrive.
fn undeliverable(status: &str) -> Vec<String> {
    let status = status.replace("\r\n", "\n");
    let mut addresses = Vec::new();
    for group in status.split("\n\n").take(MOST) {
        let field = |name: &str| {
            group.lines().find_map(|line| {
                let (found, value) = line.split_once(':')?;
                found.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_lowercase())
            })
        };
        let is_final = field("Action").is_some_and(|action| action == "failed")
            && field("Status").is_some_and(|status| status.starts_with("5."));
        if is_final {
            let address =
                |name| field(name).and_then(|value| value.split_once(';').map(|(_, a)| a.trim().to_owned()));
            addresses.extend(["Original-Recipient", "Final-Recipient"].into_iter().filter_map(address));
        }
    }
    addresses
}

/// The mails that one names as those it answers.
fn named(mail: &Message<'_>) -> Vec<String> {
    let both = [mail.in_reply_to(), mail.references()];
    let ids = both.into_iter().filter_map(HeaderValue::as_text_list).flatten();
    ids.take(MOST).map(|id| id.trim_matches(['<', '>', ' ']).to_owned()).collect()
}

/// Whether a machine wrote it: an absence notice, a list, a bounce (RFC 3834).
fn is_automatic(mail: &Message<'_>) -> bool {
    let text = |name: &'static str| mail.header_raw(name).map(|value| value.trim().to_ascii_lowercase());
    let submitted = text("Auto-Submitted").is_some_and(|value| value != "no");
    let precedence = text("Precedence");
    let mass =
        precedence.is_some_and(|value| ["bulk", "junk", "list", "auto_reply"].contains(&value.as_str()));
    let from_nobody = text("Return-Path").is_some_and(|value| value == "<>");
    submitted
        || mass
        || from_nobody
        || ["X-Autoreply", "X-Autorespond"].into_iter().any(|name| text(name).is_some())
}

#[cfg(test)]
mod tests;
