//! The outcome of a form, told once on the page that follows it.
//!
//! What travels in the cookie is a word and a number from the list here, never text: nobody can make the page say
//! something else.

use super::view::Flash;
use super::view::format::{Figure, thousands};

/// The words behind a cookie's value.
pub fn words(value: &str) -> Option<Flash> {
    let (word, number) = value.split_once('.').unwrap_or((value, ""));
    let number: i64 = number.parse().unwrap_or(0);
    let done = |text: &str| Some(Flash::Done(text.to_owned()));
    let failed = |text: &str| Some(Flash::Failed(text.to_owned()));
    match word {
        "paid" => Some(Flash::Done(format!("{} bought and added.", number.credits()))),
        "granted" => Some(Flash::Done(format!("{} granted.", number.credits()))),
        "declined" => failed("The payment was declined. Nothing was added and nothing was charged."),
        "plan-changed" => done("Done. The plan is as you chose it."),
        "plan-canceled" => done("Canceled. Credits that are left stay."),
        "plan-resumed" => done("It renews again."),
        "saved" => done("Saved. It holds from now on."),
        "limit-set" => done("The limit is set. Work that it stops pauses in its place."),
        "limit-removed" => done("The limit is gone. What it paused goes on."),
        "auto-on" => done("Auto-buy is on."),
        "auto-off" => done("Auto-buy is off."),
        "asked" => done("The admins were asked for credits."),
        "asked-before" => done("The admins were asked within the last hour already."),
        "campaign-made" => done("The campaign is a draft. Nothing happens before it is launched."),
        "leads-added" => Some(Flash::Done(match number {
            0 => "No lead was added: all are in this campaign already.".to_owned(),
            number => format!("{} added.", number.of("lead", "leads")),
        })),
        "launched" => done("The campaign is launched. Launching was free."),
        "paused" => done("The campaign is paused. Every lead keeps its place."),
        "resumed" => done("The pause is lifted."),
        "messages-approved" => Some(Flash::Done(format!(
            "{} approved: each goes out when its step is due.",
            number.of("message", "messages")
        ))),
        "message-saved" => done("The message is saved. It still waits for approval."),
        "enriching" => Some(Flash::Done(format!("{} looked up.", number.of("lead is", "leads are")))),
        "search" => Some(Flash::Done(format!("Started: at most {} results.", thousands(number)))),
        "search-canceled" => done("Canceled. What it delivered stays yours."),
        "adjusted" => done("The balance is corrected."),
        "charge-refunded" => done("The charge is given back."),
        "resolved" => done("It is decided."),
        "payment-refunded" => done("The payment is refunded."),
        "mail-retry" => done("The mail is sent again."),
        "invited" => done("They are in. A mail says where to sign in."),
        "role-changed" => done("The role is changed, also where they are signed in now."),
        "member-removed" => done("They are out, and signed out."),
        "last-admin" => failed("A workspace keeps at least one admin. Make somebody else an admin first."),
        "key-revoked" => done("The key is revoked. It stopped working at once."),
        "session-ended" => done("That browser is signed out."),
        "sessions-ended" => done("All other browsers are signed out."),
        "password-set" => done("The password is set. All other browsers are signed out."),
        "password-removed" => done("There is no password any more. All other browsers are signed out."),
        "webhook-on" => done("The endpoint is told again of what happens from now on."),
        "webhook-off" => done("The endpoint is turned off."),
        "webhook-deleted" => done("The endpoint is deleted."),
        "webhook-retry" => done("It is sent again."),
        "sender-added" => done("The sender is added. Campaigns that name it send from it."),
        "sender-changed" => done("The sender is changed. What it has sent today counts on."),
        "sender-on" => done("The sender is on again."),
        "sender-off" => done("The sender is off. Its campaigns wait for it."),
        "form-sent" => done("This form was sent already: it was done once."),
        "all-read" => done("All notices are marked as read."),
        "no-workspace" => failed("No workspace has this id. Nothing was granted."),
        "bad-credits" => failed("Credits must be a whole number, 1 or more. Nothing was granted."),
        "bad-reason" => failed("A reason of at most 500 characters is needed. Nothing was granted."),
        "bad-query" => failed("Say who to look for, in at most 1,000 characters."),
        "form-used" => {
            failed("This form was used before for something else. Nothing was done: send it again.")
        }
        _ => None,
    }
}
