//! How values of the rules are written in a column: numbers for kinds, short texts for parts and thresholds.
//!
//! Invariant: what is written here reads back as the same value. These forms are in databases: add, never change.

use billing::account::Bucket;
use billing::alerts::{Level, Threshold};
use billing::burn_down::{Part, Parts};
use billing::{EntryKind, GrantKind, HoldStatus, ReleaseReason, Seq};

/// A threshold as it is stored: `20%` or `500`.
pub fn threshold(text: &str) -> Threshold {
    match text.strip_suffix('%') {
        Some(percent) => Threshold::Percent(percent.parse().unwrap_or(0)),
        None => Threshold::Credits(text.parse().unwrap_or(0)),
    }
}

/// The stored form of a threshold.
pub fn threshold_text(threshold: Threshold) -> String {
    match threshold {
        Threshold::Percent(percent) => format!("{percent}%"),
        Threshold::Credits(credits) => credits.to_string(),
    }
}

/// The level behind a stored number.
pub fn level(code: i64) -> Level {
    [Level::Healthy, Level::Low, Level::Critical, Level::Out][code.clamp(0, 3) as usize]
}

const BUCKETS: [Bucket; 8] = [
    Bucket::Issued,
    Bucket::Scheduled,
    Bucket::Available,
    Bucket::Held,
    Bucket::Consumed,
    Bucket::Expired,
    Bucket::Revoked,
    Bucket::Repaid,
];

/// The stored number of a bucket.
pub fn bucket_code(bucket: Bucket) -> u8 {
    bucket as u8
}

/// The bucket behind a stored number.
pub fn bucket_of(code: u8) -> Option<Bucket> {
    BUCKETS.get(usize::from(code)).copied()
}

/// Parts as text, one word each: `12:6` is 6 credits of grant 12.
pub fn parts_text(parts: &[Part]) -> String {
    let words: Vec<String> = parts.iter().map(|(grant, credits)| format!("{grant}:{credits}")).collect();
    words.join(" ")
}

/// Reads parts.
pub fn parts(text: &str) -> Parts {
    let part =
        |word: &str| word.split_once(':').and_then(|(g, c)| Some((Seq(g.parse().ok()?), c.parse().ok()?)));
    text.split_whitespace().filter_map(part).collect()
}

const GRANT_KINDS: [GrantKind; 6] = [
    GrantKind::Promo,
    GrantKind::Goodwill,
    GrantKind::Trial,
    GrantKind::Bonus,
    GrantKind::Plan,
    GrantKind::Purchased,
];

/// The kind of grant behind a stored number.
pub fn grant_kind(code: i64) -> GrantKind {
    GRANT_KINDS[code.clamp(0, 5) as usize]
}

const HOLD_STATUSES: [HoldStatus; 5] = [
    HoldStatus::Open,
    HoldStatus::Dispatched,
    HoldStatus::InDoubt,
    HoldStatus::Settled,
    HoldStatus::Released,
];

/// The status behind a stored number.
pub fn hold_status(code: i64) -> HoldStatus {
    HOLD_STATUSES[code.clamp(0, 4) as usize]
}

/// The stored number of a release reason.
pub fn release_code(reason: ReleaseReason) -> i64 {
    reason as i64
}

/// The release reason behind a stored number.
pub fn release_reason(code: i64) -> ReleaseReason {
    [ReleaseReason::Caller, ReleaseReason::Expired, ReleaseReason::Deadline][code.clamp(0, 2) as usize]
}

const ENTRY_KINDS: [EntryKind; 13] = [
    EntryKind::Schedule,
    EntryKind::Grant,
    EntryKind::Adjust,
    EntryKind::Hold,
    EntryKind::Dispatch,
    EntryKind::Extend,
    EntryKind::Doubt,
    EntryKind::Charge,
    EntryKind::Release,
    EntryKind::Expire,
    EntryKind::Revoke,
    EntryKind::Refund,
    EntryKind::Repay,
];

/// The stored number of an entry's kind.
pub fn kind_code(kind: EntryKind) -> i64 {
    kind as i64
}

/// The kind of entry behind a stored number.
pub fn entry_kind(code: i64) -> EntryKind {
    ENTRY_KINDS[code.clamp(0, 12) as usize]
}

/// A grant's kind on the wire.
pub fn grant_kind_name(kind: GrantKind) -> &'static str {
    match kind {
        GrantKind::Promo => "promo",
        GrantKind::Goodwill => "goodwill",
        GrantKind::Trial => "trial",
        GrantKind::Bonus => "bonus",
        GrantKind::Plan => "plan",
        GrantKind::Purchased => "purchased",
    }
}
