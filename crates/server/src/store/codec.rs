//! How values of the rules are written in a column: numbers for kinds, short texts for postings, parts, terms and thresholds.
//!
//! Invariant: what is written here reads back as the same value. These forms are in databases: add, never change.

use billing::account::{Bucket, Posting};
use billing::alerts::{Level, Threshold};
use billing::ledger::GrantTerms;
use billing::{Amount, EntryKind, GrantKind, HoldStatus, ReleaseReason, Seq, Time};

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

const BUCKETS: [(Bucket, char); 8] = [
    (Bucket::Issued, 'i'),
    (Bucket::Scheduled, 's'),
    (Bucket::Available, 'a'),
    (Bucket::Held, 'h'),
    (Bucket::Consumed, 'c'),
    (Bucket::Expired, 'x'),
    (Bucket::Revoked, 'r'),
    (Bucket::Repaid, 'd'),
];

/// Postings as text, one word each: `12ah6` moves 6 credits of grant 12 from available to held.
pub fn postings_text(postings: &[Posting]) -> String {
    let letter = |bucket| BUCKETS.iter().find(|known| known.0 == bucket).map_or('?', |known| known.1);
    let words: Vec<String> = postings
        .iter()
        .map(|p| format!("{}{}{}{}", p.grant, letter(p.from), letter(p.to), p.credits))
        .collect();
    words.join(" ")
}

/// Reads postings.
pub fn postings(text: &str) -> Vec<Posting> {
    text.split_whitespace().filter_map(posting).collect()
}

fn posting(word: &str) -> Option<Posting> {
    let bucket = |letter| BUCKETS.iter().find(|known| known.1 == letter).map(|known| known.0);
    let at = word.find(|c: char| c.is_ascii_alphabetic())?;
    let (grant, rest) = word.split_at(at);
    let mut letters = rest.chars();
    let (from, to) = (bucket(letters.next()?)?, bucket(letters.next()?)?);
    Some(Posting { grant: Seq(grant.parse().ok()?), from, to, credits: letters.as_str().parse().ok()? })
}

/// Parts as text, one word each: `12:6` is 6 credits of grant 12.
pub fn parts_text(parts: &[(Seq, i64)]) -> String {
    let words: Vec<String> = parts.iter().map(|(grant, credits)| format!("{grant}:{credits}")).collect();
    words.join(" ")
}

/// Reads parts.
pub fn parts(text: &str) -> Vec<(Seq, i64)> {
    let part =
        |word: &str| word.split_once(':').and_then(|(g, c)| Some((Seq(g.parse().ok()?), c.parse().ok()?)));
    text.split_whitespace().filter_map(part).collect()
}

/// Terms as four numbers: credits, kind, priority and the moment from which they can be spent.
pub fn terms_text(terms: &GrantTerms) -> String {
    format!("{} {} {} {}", terms.credits.get(), terms.kind as i64, terms.priority, terms.effective_at.0)
}

/// Reads terms; the expiry has a column of its own.
pub fn terms(text: &str, expires_at: Option<Time>) -> Option<GrantTerms> {
    let numbers: Vec<i64> = text.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [credits, kind, priority, effective_at] = numbers[..] else { return None };
    let (credits, kind, effective_at) = (Amount::new(credits)?, grant_kind(kind), Time(effective_at));
    Some(GrantTerms { credits, kind, priority: priority as i32, effective_at, expires_at })
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
