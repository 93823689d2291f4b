//! Which grants pay. The order is total, so that the same account always pays from the same grants.

use crate::account::{Account, Grant};
use crate::few::Few;
use crate::units::{Seq, Time};

/// What one grant contributes: its id and credits.
pub type Part = (Seq, i64);
/// What grants contribute together, in burn-down order.
pub type Parts = Few<Part>;

/// Splits `credits` over the grants that can pay, in burn-down order: priority, then soonest expiry, then kind, then
/// effective date, then id. Takes at most what is available; the parts sum to `credits` when that much is.
pub fn burn_down(account: &Account, credits: i64) -> Parts {
    let mut payers: Few<&Grant> =
        account.grants.values().map(|grant| &**grant).filter(|grant| grant.available > 0).collect();
    payers.sort_unstable_by_key(|grant| order(grant));
    let mut rest = credits;
    let mut parts = Parts::default();
    for grant in &payers {
        if rest == 0 {
            break;
        }
        let taken = rest.min(grant.available);
        parts.push((grant.id, taken));
        rest -= taken;
    }
    parts
}

fn order(grant: &Grant) -> (i32, Time, crate::account::GrantKind, Time, Seq) {
    let terms = &grant.terms;
    // A grant that never expires comes after every one that does.
    (terms.priority, terms.expires_at.unwrap_or(Time(i64::MAX)), terms.kind, terms.effective_at, grant.id)
}

/// The first `credits` of `parts`, in their order, and what is left behind them.
pub fn split(parts: &[Part], credits: i64) -> (Parts, Parts) {
    let (mut first, mut behind, mut rest) = (Parts::default(), Parts::default(), credits);
    for &(grant, part) in parts {
        let taken = part.min(rest);
        if taken > 0 {
            first.push((grant, taken));
        }
        if part > taken {
            behind.push((grant, part - taken));
        }
        rest -= taken;
    }
    (first, behind)
}
