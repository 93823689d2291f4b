//! What commands about holds do: hold, charge, dispatch, extend, doubt, settle, release, resolve, refund.

use super::{
    Draft, HoldTerms, LATE_SETTLE, MAX_HOLD_SECONDS, MAX_OPEN_HOLDS, Outcome, doubt, moves, release,
};
use crate::account::{Account, Bucket, Entry, EntryKind, Hold, HoldStatus, ReleaseReason};
use crate::burn_down::{burn_down, split};
use crate::rate_card::Price;
use crate::refusal::Refusal;
use crate::units::{Seq, Time};

pub(super) fn decide_hold(
    account: &Account,
    terms: &HoldTerms,
    kind: EntryKind,
    now: Time,
) -> Result<Entry, Refusal> {
    if !(1..=MAX_HOLD_SECONDS).contains(&terms.seconds) {
        return Err(Refusal::InvalidField {
            field: "expires_in_seconds",
            reason: "must be a whole number from 1 to 604800",
        });
    }
    let charge = kind == EntryKind::Charge;
    if !charge && account.open_holds() >= MAX_OPEN_HOLDS {
        return Err(Refusal::TooManyOpenHolds);
    }
    let needed = terms.price.amount();
    if needed > account.available {
        return Err(short_of(account, needed));
    }
    // From here it must succeed.
    let to = if charge { Bucket::Consumed } else { Bucket::Held };
    let draft = Draft {
        postings: moves(&burn_down(account, needed), Bucket::Available, to),
        hold: Some(Seq(account.seq.0 + 1)),
        price: Some(terms.price.clone()),
        attempted: if charge { terms.price.quantity } else { 0 },
        until: (!charge).then(|| now.plus_seconds(terms.seconds)),
        epoch: terms.epoch,
        labels: Some(terms.labels.clone()),
        ..Draft::new(kind)
    };
    Ok(draft.entry(account, now))
}

fn find(account: &Account, id: Seq) -> Result<&Hold, Refusal> {
    account.holds.get(&id).ok_or(Refusal::HoldNotFound)
}

pub(super) fn decide_dispatch(
    account: &Account,
    id: Seq,
    epoch: i64,
    now: Time,
) -> Result<Option<Entry>, Refusal> {
    let hold = find(account, id)?;
    match hold.status {
        HoldStatus::Open | HoldStatus::Dispatched if hold.epoch != epoch => Err(Refusal::StaleEpoch),
        HoldStatus::Dispatched => Ok(None),
        HoldStatus::Open => Ok(Some(Draft::about(hold, EntryKind::Dispatch).entry(account, now))),
        status => Err(Refusal::HoldNotOpen { status }),
    }
}

pub(super) fn decide_extend(
    account: &Account,
    id: Seq,
    seconds: i64,
    now: Time,
) -> Result<Option<Entry>, Refusal> {
    if !(1..=MAX_HOLD_SECONDS).contains(&seconds) {
        return Err(Refusal::InvalidField {
            field: "seconds",
            reason: "must be a whole number from 1 to 604800",
        });
    }
    let hold = find(account, id)?;
    match hold.status {
        HoldStatus::Open | HoldStatus::Dispatched => {
            let until = now.plus_seconds(seconds);
            if until <= hold.ends_at {
                return Ok(None);
            }
            Ok(Some(
                Draft { until: Some(until), ..Draft::about(hold, EntryKind::Extend) }.entry(account, now),
            ))
        }
        status => Err(Refusal::HoldNotOpen { status }),
    }
}

pub(super) fn decide_doubt(account: &Account, id: Seq, now: Time) -> Result<Option<Entry>, Refusal> {
    let hold = find(account, id)?;
    match hold.status {
        HoldStatus::InDoubt => Ok(None),
        HoldStatus::Dispatched => Ok(Some(doubt(account, hold, now, now))),
        status => Err(Refusal::HoldNotOpen { status }),
    }
}

pub(super) fn decide_settle(
    account: &Account,
    id: Seq,
    quantity: i64,
    attempted: Option<i64>,
    now: Time,
) -> Result<Option<Entry>, Refusal> {
    if quantity < 0 {
        return Err(Refusal::InvalidField { field: "quantity", reason: "must be a whole number, 0 or more" });
    }
    let hold = find(account, id)?;
    let held = hold.price.quantity;
    match hold.status {
        HoldStatus::Settled if hold.settled == quantity => return Ok(None),
        HoldStatus::Released if quantity == 0 => return Ok(None),
        HoldStatus::Released if !may_settle_late(hold, now) => {
            return Err(Refusal::HoldNotOpen { status: hold.status });
        }
        HoldStatus::Settled => return Err(Refusal::HoldNotOpen { status: hold.status }),
        _ => {}
    }
    if quantity > held {
        return Err(Refusal::SettleExceedsHold { held });
    }
    let attempted = attempted.unwrap_or(held);
    if !(quantity..=held).contains(&attempted) {
        return Err(Refusal::InvalidField {
            field: "attempted",
            reason: "must be between the settled and the held quantity",
        });
    }
    let amount = quantity * hold.price.unit_price;
    if hold.status == HoldStatus::Released && amount > account.available {
        return Err(short_of(account, amount));
    }
    // From here it must succeed.
    if quantity == 0 {
        return Ok(Some(release(account, hold, ReleaseReason::Caller, attempted, now)));
    }
    let postings = if hold.status == HoldStatus::Released {
        moves(&burn_down(account, amount), Bucket::Available, Bucket::Consumed)
    } else {
        let (consumed, returned) = split(&hold.parts, amount);
        let mut postings = moves(&consumed, Bucket::Held, Bucket::Consumed);
        postings.extend(moves(&returned, Bucket::Held, Bucket::Available));
        postings
    };
    let price = Some(Price { quantity, ..hold.price.clone() });
    Ok(Some(
        Draft { postings, price, attempted, ..Draft::about(hold, EntryKind::Charge) }.entry(account, now),
    ))
}

fn may_settle_late(hold: &Hold, now: Time) -> bool {
    let automatic = matches!(hold.release_reason, Some(ReleaseReason::Expired | ReleaseReason::Deadline));
    // From when the hold ended, not from when that was noticed.
    automatic && now.0 - hold.ends_at.0 <= LATE_SETTLE
}

pub(super) fn decide_release(account: &Account, id: Seq, now: Time) -> Result<Option<Entry>, Refusal> {
    let hold = find(account, id)?;
    match hold.status {
        HoldStatus::Released => Ok(None),
        HoldStatus::Settled => Err(Refusal::HoldNotOpen { status: hold.status }),
        _ => Ok(Some(release(account, hold, ReleaseReason::Caller, 0, now))),
    }
}

pub(super) fn decide_resolve(
    account: &Account,
    id: Seq,
    outcome: Outcome,
    now: Time,
) -> Result<Option<Entry>, Refusal> {
    let hold = find(account, id)?;
    match (hold.status, outcome) {
        (HoldStatus::InDoubt, Outcome::Settled) => decide_settle(account, id, hold.price.quantity, None, now),
        (HoldStatus::InDoubt, Outcome::Released) => {
            Ok(Some(release(account, hold, ReleaseReason::Caller, hold.price.quantity, now)))
        }
        (HoldStatus::Settled, Outcome::Settled) | (HoldStatus::Released, Outcome::Released) => Ok(None),
        (status, _) => Err(Refusal::HoldNotOpen { status }),
    }
}

pub(super) fn decide_refund(
    account: &Account,
    id: Seq,
    quantity: Option<i64>,
    now: Time,
) -> Result<Entry, Refusal> {
    if quantity.is_some_and(|quantity| quantity < 1) {
        return Err(Refusal::InvalidField { field: "quantity", reason: "must be a whole number, 1 or more" });
    }
    let hold = find(account, id)?;
    if hold.status != HoldStatus::Settled {
        return Err(Refusal::HoldNotOpen { status: hold.status });
    }
    let refundable = hold.settled - hold.refunded;
    let quantity = quantity.unwrap_or(refundable);
    if quantity > refundable || refundable == 0 {
        return Err(Refusal::RefundExceedsSettled { refundable });
    }
    // From here it must succeed. The last credits taken are the first to return.
    let charged = refundable * hold.price.unit_price;
    let returned = split(&hold.parts, charged - quantity * hold.price.unit_price).1;
    let price = Some(Price { quantity, ..hold.price.clone() });
    let postings = moves(&returned, Bucket::Consumed, Bucket::Available);
    Ok(Draft { postings, price, ..Draft::about(hold, EntryKind::Refund) }.entry(account, now))
}

fn short_of(account: &Account, needed: i64) -> Refusal {
    Refusal::InsufficientCredits { needed, available: account.available, debt: account.debt }
}
