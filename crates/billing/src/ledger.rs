//! The state machine of the ledger: what is due, what a command does, and the line between deciding and writing.
//!
//! Owns `decide`, `post` and what is due. It does *not* price (see `rate_card`), dedupe (the store looks the idempotency key up
//! before it asks) or write: an [`Entry`] is a value.
//!
//! Invariant: in [`decide`], no refusal stands below the line "from here it must succeed".

mod holds;

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::account::{
    Account, Bucket, Entry, EntryKind, Grant, GrantKind, Hold, HoldStatus, Labels, Posting, Postings,
    ReleaseReason,
};
use crate::burn_down::{Part, Parts, burn_down, split};
use crate::rate_card::Price;
use crate::refusal::Refusal;
use crate::units::{Amount, DAY, MAX_SUM, Seq, Time};

/// From how many grants with credits in them on an account is given no more for nothing. What was paid for or agreed always
/// finds its place.
pub const MAX_GRANTS: usize = 500;
/// How many holds of an account may be open at once.
pub const MAX_OPEN_HOLDS: usize = 10_000;
/// How long a hold may last before it must be extended, in seconds.
pub const MAX_HOLD_SECONDS: i64 = 604_800;
/// How long a hold may stay in doubt before it is released in the customer's favour, in seconds.
pub const IN_DOUBT_SECONDS: i64 = 72 * 3_600;
/// How long after an automatic release a settle is still honoured, in microseconds.
pub const LATE_SETTLE: i64 = 30 * DAY;

/// What a grant promises.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GrantTerms {
    /// Credits promised.
    pub credits: Amount,
    /// Where it came from.
    pub kind: GrantKind,
    /// Lower pays first; 0 unless the grantor says otherwise.
    pub priority: i32,
    /// When it can be spent from.
    pub effective_at: Time,
    /// When what is left of it is gone.
    pub expires_at: Option<Time>,
}

/// What a hold or a one-step charge asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HoldTerms {
    /// Operation, units and today's price.
    pub price: Price,
    /// What the caller attached.
    pub labels: Arc<Labels>,
    /// How long the hold lasts, in seconds.
    pub seconds: i64,
    /// The runner's lease; 0 for a caller without leases.
    pub epoch: i64,
}

/// How a person decides a hold in doubt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names are the trade's")]
pub enum Outcome {
    Settled,
    Released,
}

/// Everything that can be asked of an account.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Add a lot of credits.
    Grant(GrantTerms),
    /// Take back what is left of a grant, and whatever returns to it.
    Revoke(Seq),
    /// A person's correction, up or down, not zero. Down: what is not available becomes debt.
    Adjust(i64),
    /// Take back a payment's credits: its own grant first, then burn-down order; what is missing becomes debt.
    TakeBack {
        /// The payment's grant.
        grant: Seq,
        /// Credits to take back.
        credits: Amount,
    },
    /// Set credits aside.
    Hold(HoldTerms),
    /// Hold and settle in one.
    Charge(HoldTerms),
    /// The outside call is about to be made.
    Dispatch {
        /// The hold.
        hold: Seq,
        /// The lease that the hold was made under.
        epoch: i64,
    },
    /// Give a hold until so many seconds from now.
    Extend {
        /// The hold.
        hold: Seq,
        /// Seconds from now.
        seconds: i64,
    },
    /// The outcome of the outside call is not known.
    Doubt(Seq),
    /// Charge so many units and give the rest back; 0 releases.
    Settle {
        /// The hold.
        hold: Seq,
        /// Units that succeeded.
        quantity: i64,
        /// Units that were tried; the held quantity by default.
        attempted: Option<i64>,
    },
    /// Give everything back.
    Release(Seq),
    /// A person's decision about a hold in doubt.
    Resolve {
        /// The hold.
        hold: Seq,
        /// The decision.
        outcome: Outcome,
    },
    /// Give charged units back to the grants they came from.
    Refund {
        /// The hold.
        hold: Seq,
        /// Units; all that are still charged by default.
        quantity: Option<i64>,
    },
    /// Write down what is due, nothing else.
    Sweep,
}

impl Command {
    /// The hold that the command names, so that the store can load it.
    pub fn hold(&self) -> Option<Seq> {
        match *self {
            Command::Dispatch { hold, .. }
            | Command::Extend { hold, .. }
            | Command::Doubt(hold)
            | Command::Settle { hold, .. }
            | Command::Release(hold)
            | Command::Resolve { hold, .. }
            | Command::Refund { hold, .. } => Some(hold),
            _ => None,
        }
    }

    /// The same command about another hold; a command that names no hold stays as it is.
    #[must_use]
    pub fn about(self, hold: Seq) -> Command {
        match self {
            Command::Dispatch { epoch, .. } => Command::Dispatch { hold, epoch },
            Command::Extend { seconds, .. } => Command::Extend { hold, seconds },
            Command::Doubt(_) => Command::Doubt(hold),
            Command::Settle { quantity, attempted, .. } => Command::Settle { hold, quantity, attempted },
            Command::Release(_) => Command::Release(hold),
            Command::Resolve { outcome, .. } => Command::Resolve { hold, outcome },
            Command::Refund { quantity, .. } => Command::Refund { hold, quantity },
            other => other,
        }
    }

    /// The grant that the command names, so that the store can load it.
    pub fn grant(&self) -> Option<Seq> {
        match *self {
            Command::Revoke(grant) | Command::TakeBack { grant, .. } => Some(grant),
            _ => None,
        }
    }
}

/// What became of a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Posted {
    /// The entry with this number answers it.
    Entry(Seq),
    /// It was so already: nothing was written for it.
    Already,
}

/// Posts a command: what is due first, then the command, then what became due through it. Every entry is applied and
/// appended to `entries`, also when the command itself is refused.
///
/// # Errors
/// A [`Refusal`]; what was due has been written all the same.
pub fn post(
    account: &mut Account,
    command: &Command,
    now: Time,
    entries: &mut Vec<Entry>,
) -> Result<Posted, Refusal> {
    sweep(account, now, entries);
    let Some(entry) = decide(account, command, now)? else { return Ok(Posted::Already) };
    let seq = entry.seq;
    account.apply(&entry);
    entries.push(entry);
    catch_up(account, now, now, entries);
    Ok(Posted::Entry(seq))
}

/// Lives through the due moments one by one, so that a late sweep ends like a prompt one: credits that came in before they
/// expired have repaid debt by then.
fn sweep(account: &mut Account, now: Time, entries: &mut Vec<Entry>) {
    while let Some(moment) = next_due(account).filter(|moment| *moment <= now) {
        let before = account.seq;
        catch_up(account, moment, now, entries);
        assert!(account.seq > before, "what is due next can be done");
    }
}

fn catch_up(account: &mut Account, moment: Time, now: Time, entries: &mut Vec<Entry>) {
    while let Some(entry) = due(account, moment, now) {
        account.apply(&entry);
        entries.push(entry);
    }
}

/// The next thing that has happened by `moment` without a command: a grant that became effective or expired, credits that
/// returned to a revoked grant, a hold that ended, debt that can be repaid. `None` when nothing is due.
fn due(account: &Account, moment: Time, now: Time) -> Option<Entry> {
    let of_grants = || account.grants.values().find_map(|grant| grant_due(account, grant, moment, now));
    let of_holds = || {
        let (ends_at, id) = account.ends.first()?;
        (*ends_at <= moment).then(|| end_hold(account, &account.holds[id], now))
    };
    // Debt is repaid from whatever survives the moves above, so it comes last.
    of_grants().or_else(of_holds).or_else(|| repay(account, now))
}

/// The earliest moment at which something is due without a command, if any.
pub fn next_due(account: &Account) -> Option<Time> {
    let holds = account.ends.first().map(|(ends_at, _)| *ends_at);
    let grants = account.grants.values().filter_map(|grant| {
        if grant.scheduled > 0 {
            Some(grant.terms.effective_at)
        } else if grant.available > 0 {
            grant.terms.expires_at
        } else {
            None
        }
    });
    grants.chain(holds).min()
}

fn grant_due(account: &Account, grant: &Grant, moment: Time, now: Time) -> Option<Entry> {
    let (due_at, kind, from, to, credits) = if grant.revoked_at.is_some() {
        // Whatever is available of it has just returned, and is taken back at once.
        (moment, EntryKind::Revoke, Bucket::Available, Bucket::Revoked, grant.available)
    } else if grant.scheduled > 0 {
        (grant.terms.effective_at, EntryKind::Grant, Bucket::Scheduled, Bucket::Available, grant.scheduled)
    } else {
        (grant.terms.expires_at?, EntryKind::Expire, Bucket::Available, Bucket::Expired, grant.available)
    };
    if credits == 0 || due_at > moment {
        return None;
    }
    let postings = moves(&[(grant.id, credits)], from, to);
    let (grant, until) = (Some(grant.id), grant.terms.expires_at);
    Some(Draft { postings, grant, until, ..Draft::new(kind) }.entry(account, now))
}

fn repay(account: &Account, now: Time) -> Option<Entry> {
    let credits = account.debt.min(account.available);
    if credits == 0 {
        return None;
    }
    let postings = moves(&burn_down(account, credits), Bucket::Available, Bucket::Repaid);
    Some(Draft { debt: -credits, postings, ..Draft::new(EntryKind::Repay) }.entry(account, now))
}

fn end_hold(account: &Account, hold: &Hold, now: Time) -> Entry {
    match hold.status {
        // From when it ended, not from when that was noticed.
        HoldStatus::Dispatched => doubt(account, hold, hold.ends_at, now),
        HoldStatus::InDoubt => release(account, hold, ReleaseReason::Deadline, hold.price.quantity, now),
        _ => release(account, hold, ReleaseReason::Expired, 0, now),
    }
}

/// Decides one command against an account to which everything due has been applied. `Ok(None)`: it is so already.
///
/// # Errors
/// The first [`Refusal`] in the order of their declaration.
pub fn decide(account: &Account, command: &Command, now: Time) -> Result<Option<Entry>, Refusal> {
    match command {
        Command::Grant(terms) => decide_grant(account, terms, EntryKind::Grant, now).map(Some),
        Command::Revoke(grant) => decide_revoke(account, *grant, now),
        Command::Adjust(credits) => decide_adjust(account, *credits, now).map(Some),
        Command::TakeBack { grant, credits } => {
            decide_take_back(account, *grant, credits.get(), now).map(Some)
        }
        Command::Hold(terms) => holds::decide_hold(account, terms, EntryKind::Hold, now).map(Some),
        Command::Charge(terms) => holds::decide_hold(account, terms, EntryKind::Charge, now).map(Some),
        Command::Dispatch { hold, epoch } => holds::decide_dispatch(account, *hold, *epoch, now),
        Command::Extend { hold, seconds } => holds::decide_extend(account, *hold, *seconds, now),
        Command::Doubt(hold) => holds::decide_doubt(account, *hold, now),
        Command::Settle { hold, quantity, attempted } => {
            holds::decide_settle(account, *hold, *quantity, *attempted, now)
        }
        Command::Release(hold) => holds::decide_release(account, *hold, now),
        Command::Resolve { hold, outcome } => holds::decide_resolve(account, *hold, *outcome, now),
        Command::Refund { hold, quantity } => holds::decide_refund(account, *hold, *quantity, now).map(Some),
        Command::Sweep => Ok(None),
    }
}

fn decide_grant(account: &Account, terms: &GrantTerms, kind: EntryKind, now: Time) -> Result<Entry, Refusal> {
    if let Some(expires_at) = terms.expires_at {
        if expires_at <= now {
            return Err(Refusal::InvalidField { field: "expires_at", reason: "must be in the future" });
        }
        if expires_at <= terms.effective_at {
            return Err(Refusal::InvalidField { field: "expires_at", reason: "must be after effective_at" });
        }
    }
    let live = account.grants.values().filter(|grant| grant.is_live());
    let (count, scheduled) = live.fold((0, 0), |(count, sum), grant| (count + 1, sum + grant.scheduled));
    if account.available + account.held + scheduled + terms.credits.get() > MAX_SUM {
        return Err(Refusal::TOO_MUCH);
    }
    if count >= MAX_GRANTS && matches!(terms.kind, GrantKind::Promo | GrantKind::Goodwill) {
        return Err(Refusal::TooManyGrants);
    }
    // From here it must succeed.
    let id = Seq(account.seq.0 + 1);
    let later = terms.effective_at > now;
    let (kind, to) = if later { (EntryKind::Schedule, Bucket::Scheduled) } else { (kind, Bucket::Available) };
    let postings = moves(&[(id, terms.credits.get())], Bucket::Issued, to);
    let (grant, until, terms) = (Some(id), terms.expires_at, Some(terms.clone()));
    Ok(Draft { postings, grant, until, terms, ..Draft::new(kind) }.entry(account, now))
}

fn decide_revoke(account: &Account, id: Seq, now: Time) -> Result<Option<Entry>, Refusal> {
    let grant = account.grants.get(&id).ok_or(Refusal::GrantNotFound)?;
    if grant.revoked_at.is_some() {
        return Ok(None);
    }
    // From here it must succeed.
    let mut postings = moves(&[(id, grant.scheduled)], Bucket::Scheduled, Bucket::Revoked);
    postings.extend(moves(&[(id, grant.available)], Bucket::Available, Bucket::Revoked));
    Ok(Some(Draft { postings, grant: Some(id), ..Draft::new(EntryKind::Revoke) }.entry(account, now)))
}

fn decide_adjust(account: &Account, credits: i64, now: Time) -> Result<Entry, Refusal> {
    let Some(amount) = Amount::new(credits.saturating_abs()) else {
        return Err(Refusal::InvalidField {
            field: "credits",
            reason: "must not be 0, and at most 1,000,000,000,000,000 either way",
        });
    };
    if credits > 0 {
        let kind = GrantKind::Goodwill;
        let terms = GrantTerms { credits: amount, kind, priority: 0, effective_at: now, expires_at: None };
        return decide_grant(account, &terms, EntryKind::Adjust, now);
    }
    if account.debt + (amount.get() - account.available).max(0) > MAX_SUM {
        return Err(Refusal::TOO_MUCH);
    }
    Ok(take(account, EntryKind::Adjust, None, amount.get(), now))
}

fn decide_take_back(account: &Account, id: Seq, credits: i64, now: Time) -> Result<Entry, Refusal> {
    let grant = account.grants.get(&id).ok_or(Refusal::GrantNotFound)?;
    Ok(take(account, EntryKind::Revoke, Some(grant), credits, now))
}

/// Takes credits from `first`, also those not yet effective, then in burn-down order; what is missing becomes debt.
fn take(account: &Account, kind: EntryKind, first: Option<&Grant>, credits: i64, now: Time) -> Entry {
    let (mut postings, mut missing) = (Postings::default(), credits);
    if let Some(grant) = first {
        for (from, own) in [(Bucket::Scheduled, grant.scheduled), (Bucket::Available, grant.available)] {
            let taken = own.min(missing);
            postings.extend(moves(&[(grant.id, taken)], from, Bucket::Revoked));
            missing -= taken;
        }
    }
    // Where credits are still missing the first grant is empty, so that only the others are left to ask.
    let others = burn_down(account, account.available);
    let others: Parts =
        others.iter().filter(|part| first.is_none_or(|grant| grant.id != part.0)).copied().collect();
    let (others, _) = split(&others, missing);
    postings.extend(moves(&others, Bucket::Available, Bucket::Revoked));
    let debt = missing - others.iter().map(|part| part.1).sum::<i64>();
    // The grant is named in a posting only: naming it in the entry would mark it as revoked for good.
    Draft { postings, debt, ..Draft::new(kind) }.entry(account, now)
}

fn release(account: &Account, hold: &Hold, reason: ReleaseReason, attempted: i64, now: Time) -> Entry {
    let postings = moves(&hold.parts, Bucket::Held, Bucket::Available);
    let release_reason = Some(reason);
    Draft { postings, release_reason, attempted, ..Draft::about(hold, EntryKind::Release) }
        .entry(account, now)
}

fn doubt(account: &Account, hold: &Hold, since: Time, now: Time) -> Entry {
    let until = Some(since.plus_seconds(IN_DOUBT_SECONDS));
    Draft { until, ..Draft::about(hold, EntryKind::Doubt) }.entry(account, now)
}

fn moves(parts: &[Part], from: Bucket, to: Bucket) -> Postings {
    parts
        .iter()
        .filter(|part| part.1 > 0)
        .map(|&(grant, credits)| Posting { grant, from, to, credits })
        .collect()
}

/// An entry before it knows its place and what it leaves.
struct Draft {
    kind: EntryKind,
    debt: i64,
    postings: Postings,
    grant: Option<Seq>,
    hold: Option<Seq>,
    price: Option<Price>,
    attempted: i64,
    until: Option<Time>,
    terms: Option<GrantTerms>,
    release_reason: Option<ReleaseReason>,
    epoch: i64,
    labels: Option<Arc<Labels>>,
}

impl Draft {
    fn new(kind: EntryKind) -> Draft {
        let (grant, hold, price, until, terms, release_reason) = (None, None, None, None, None, None);
        Draft {
            kind,
            debt: 0,
            postings: Postings::default(),
            grant,
            hold,
            price,
            attempted: 0,
            until,
            terms,
            release_reason,
            epoch: 0,
            labels: None,
        }
    }

    fn about(hold: &Hold, kind: EntryKind) -> Draft {
        let (price, labels) = (Some(hold.price.clone()), Some(hold.labels.clone()));
        Draft { hold: Some(hold.id), price, labels, epoch: hold.epoch, ..Draft::new(kind) }
    }

    /// The entry at its place in the ledger. Time strictly rises within an account, whatever the clock says.
    fn entry(self, account: &Account, now: Time) -> Entry {
        let change = |bucket: Bucket| -> i64 {
            self.postings
                .iter()
                .map(|p| i64::from(p.to == bucket) * p.credits - i64::from(p.from == bucket) * p.credits)
                .sum()
        };
        let available = change(Bucket::Available);
        let amount = available + change(Bucket::Held) - self.debt;
        Entry {
            seq: Seq(account.seq.0 + 1),
            at: now.max(Time(account.at.0 + 1)),
            kind: self.kind,
            amount,
            available: account.available + available,
            balance: account.balance() + amount,
            debt: self.debt,
            postings: self.postings,
            grant: self.grant,
            hold: self.hold,
            price: self.price,
            attempted: self.attempted,
            until: self.until,
            terms: self.terms,
            release_reason: self.release_reason,
            epoch: self.epoch,
            labels: self.labels.unwrap_or_default(),
        }
    }
}
