//! The outcome of a form, told once on the page that follows it.
//!
//! What travels in the cookie is a word and a number from the list here, never text: nobody can make the page say
//! something else.

use super::view::Flash;
use super::view::format::{Figure, thousands};

/// What was done.
const DONE: &[(&str, &str)] = &[
    ("plan-changed", "Done. The plan is as you chose it."),
    ("plan-canceled", "Canceled. Credits that are left stay."),
    ("plan-resumed", "It renews again."),
    ("saved", "Saved. It holds from now on."),
    ("limit-set", "The limit is set. Work that it stops pauses in its place."),
    ("limit-removed", "The limit is gone. What it paused goes on."),
    ("auto-on", "Auto-buy is on."),
    ("auto-off", "Auto-buy is off."),
    ("asked", "The admins were asked for credits."),
    ("asked-before", "The admins were asked within the last hour already."),
    ("campaign-made", "The campaign is a draft. Nothing happens before it is launched."),
    ("launched", "The campaign is launched. Launching was free."),
    ("paused", "The campaign is paused. Every lead keeps its place."),
    ("resumed", "The pause is lifted."),
    ("message-saved", "The message is saved. It still waits for approval."),
    ("search-canceled", "Canceled. What it delivered stays yours."),
    ("adjusted", "The balance is corrected."),
    ("charge-refunded", "The charge is given back."),
    ("resolved", "It is decided."),
    ("payment-refunded", "The payment is refunded."),
    ("mail-retry", "The mail is sent again."),
    ("invited", "They are in. A mail says where to sign in."),
    ("role-changed", "The role is changed, also where they are signed in now."),
    ("member-removed", "They are out, and signed out."),
    ("key-revoked", "The key is revoked. It stopped working at once."),
    ("session-ended", "That browser is signed out."),
    ("sessions-ended", "All other browsers are signed out."),
    ("password-set", "The password is set. All other browsers are signed out."),
    ("password-removed", "There is no password any more. All other browsers are signed out."),
    ("webhook-on", "The endpoint is told again of what happens from now on."),
    ("webhook-off", "The endpoint is turned off."),
    ("webhook-deleted", "The endpoint is deleted."),
    ("webhook-retry", "It is sent again."),
    ("sender-added", "The sender is added. Campaigns that name it send from it."),
    ("sender-changed", "The sender is changed. What it has sent today counts on."),
    ("sender-on", "The sender is on again."),
    ("sender-off", "The sender is off. Its campaigns wait for it."),
    ("form-sent", "This form was sent already: it was done once."),
    ("all-read", "All notices are marked as read."),
    ("lead-replied", "They replied: nothing more goes to them."),
    (
        "lead-blocked",
        "They are on the blocklist: nothing goes to them any more, and nothing is charged for them.",
    ),
];

/// What was not.
const FAILED: &[(&str, &str)] = &[
    ("declined", "The payment was declined. Nothing was added and nothing was charged."),
    ("last-admin", "A workspace keeps at least one admin. Make somebody else an admin first."),
    ("bad-query", "Say who to look for, in at most 1,000 characters."),
    ("form-used", "This form was used before for something else. Nothing was done: send it again."),
];

/// The words behind a cookie's value.
pub fn words(value: &str) -> Option<Flash> {
    let (word, number) = value.split_once('.').unwrap_or((value, ""));
    let number: i64 = number.parse().unwrap_or(0);
    let told = |words: &[(&str, &str)]| {
        words.iter().find(|(its, _)| *its == word).map(|(_, text)| (*text).to_owned())
    };
    let done = match word {
        "paid" => format!("{} bought and added.", number.credits()),
        "paid-owed" => format!("{} bought: all of them repay what is owed.", number.credits()),
        "granted" => format!("{} granted.", number.credits()),
        "leads-added" if number == 0 => "No lead was added: all are in this campaign already.".to_owned(),
        "leads-added" => format!("{} added.", number.of("lead", "leads")),
        "messages-approved" => {
            let messages = number.of("message", "messages");
            format!("{messages} approved: each goes out when its step is due.")
        }
        "enriching" => format!("{} looked up.", number.of("lead is", "leads are")),
        "search" => format!("The search has started: at most {} results.", thousands(number)),
        _ => return told(DONE).map(Flash::Done).or_else(|| told(FAILED).map(Flash::Failed)),
    };
    Some(Flash::Done(done))
}
