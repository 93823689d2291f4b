//! An answer in plain words and numbers: stories can write it, and the auditor predict it, without the rules' types.

use std::fmt;

use billing::{HoldStatus, Posted, Refusal};

/// What a command came to: `ok`, `already`, or a refusal's code with what it is about and its numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Answer {
    pub word: &'static str,
    pub about: &'static str,
    pub numbers: [Option<i64>; 2],
}

pub const OK: Answer = Answer { word: "ok", about: "", numbers: [None; 2] };
pub const ALREADY: Answer = Answer { word: "already", about: "", numbers: [None; 2] };

impl Answer {
    pub fn no(word: &'static str, about: &'static str) -> Answer {
        Answer { word, about, numbers: [None; 2] }
    }

    pub fn short(needed: i64, available: i64) -> Answer {
        Answer { word: "insufficient_credits", about: "", numbers: [Some(needed), Some(available)] }
    }

    pub fn beyond(word: &'static str, limit: i64) -> Answer {
        Answer { word, about: "", numbers: [Some(limit), None] }
    }

    pub fn not_open(status: HoldStatus) -> Answer {
        Answer::no("hold_not_open", status_word(status))
    }

    pub fn of(posted: Result<Posted, Refusal>) -> Answer {
        match posted {
            Ok(Posted::Entry(_)) => OK,
            Ok(Posted::Already) => ALREADY,
            Err(refusal) => Answer::refused(refusal),
        }
    }

    /// The words of a refusal. Lists every one, so that a new refusal has to be given its words here.
    pub fn refused(refusal: Refusal) -> Answer {
        let code = refusal.code();
        match refusal {
            Refusal::InvalidField { field, .. } => Answer::no(code, field),
            Refusal::GrantNotFound => Answer::no(code, "grant"),
            Refusal::HoldNotFound => Answer::no(code, "hold"),
            Refusal::HoldNotOpen { status } => Answer::no(code, status_word(status)),
            Refusal::SettleExceedsHold { held } => Answer::beyond(code, held),
            Refusal::RefundExceedsSettled { refundable } => Answer::beyond(code, refundable),
            Refusal::InsufficientCredits { needed, available, .. } => {
                Answer { word: code, ..Answer::short(needed, available) }
            }
            Refusal::IdempotencyKeyReused
            | Refusal::StaleEpoch
            | Refusal::TooManyGrants
            | Refusal::TooManyOpenHolds => Answer::no(code, ""),
        }
    }
}

pub fn status_word(status: HoldStatus) -> &'static str {
    match status {
        HoldStatus::Open => "open",
        HoldStatus::Dispatched => "dispatched",
        HoldStatus::InDoubt => "in_doubt",
        HoldStatus::Settled => "settled",
        HoldStatus::Released => "released",
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word)?;
        if !self.about.is_empty() {
            write!(formatter, " {}", self.about)?;
        }
        self.numbers.iter().flatten().try_for_each(|number| write!(formatter, " {number}"))
    }
}
