//! The arithmetic of plans and of buying by itself: what part of a period is left worth, when a declined charge is tried again,
//! how much closes a gap.
//!
//! It knows no calendar: the bounds of a period come from outside.

/// How often a saved method is tried for one payment.
pub const ATTEMPTS: i64 = 4;

const HOUR: i64 = 3_600;

/// Days after which a renewal is tried again, by how often it was.
const RENEWAL_RETRIES: [i64; 3] = [24 * HOUR, 72 * HOUR, 120 * HOUR];
/// The same for credits that are bought by themselves.
const AUTO_BUY_RETRIES: [i64; 3] = [HOUR, 6 * HOUR, 24 * HOUR];

/// Seconds until a renewal that was declined so often is tried again; `None`: never again.
pub fn renewal_retry(attempts: i64) -> Option<i64> {
    retry(&RENEWAL_RETRIES, attempts)
}

/// Seconds until credits are tried to be bought again after so many declines; `None`: never again by itself.
pub fn auto_buy_retry(declines: i64) -> Option<i64> {
    retry(&AUTO_BUY_RETRIES, declines)
}

fn retry(pauses: &[i64], attempts: i64) -> Option<i64> {
    usize::try_from(attempts - 1).ok().and_then(|index| pauses.get(index)).copied()
}

/// The part of `whole` that `left` of `length` is worth, rounded down; nothing for what is below zero.
pub fn prorated(whole: i64, left: i64, length: i64) -> i64 {
    if whole <= 0 || left <= 0 || length <= 0 {
        return 0;
    }
    let part = i128::from(whole) * i128::from(left.min(length)) / i128::from(length);
    i64::try_from(part).unwrap_or(whole)
}

/// Tax on an amount at a rate in hundredths of a percent, rounded half up.
pub fn tax_on(amount: i64, rate: i64) -> i64 {
    let tax = (i128::from(amount) * i128::from(rate) + 5_000) / 10_000;
    i64::try_from(tax).unwrap_or(i64::MAX)
}

/// How many packs of so many credits bring what is `available` back to the threshold in one purchase, of the `most` that may
/// still be bought; 0 when nothing is missing or nothing may be bought.
pub fn packs_missing(available: i64, threshold: i64, pack: i64, most: i64) -> i64 {
    let missing = threshold.saturating_sub(available);
    if missing <= 0 || pack <= 0 {
        return 0;
    }
    let packs = (missing - 1) / pack + 1;
    packs.min(most).max(0)
}
