//! The arithmetic of plans and of buying by itself, in tables.

use billing::subscription::{ATTEMPTS, auto_buy_retry, packs_missing, prorated, renewal_retry, tax_on};

#[test]
fn what_is_left_of_a_period_is_worth_its_part_rounded_down() {
    for (whole, left, length, part) in [
        (3_100, 31, 31, 3_100),
        (3_100, 1, 31, 100),
        (3_100, 0, 31, 0),
        (3_100, -5, 31, 0),
        (3_100, 40, 31, 3_100),
        (100, 1, 3, 33),
        (-100, 1, 3, 0),
        (100, 1, 0, 0),
        (i64::MAX, i64::MAX, i64::MAX, i64::MAX),
    ] {
        assert_eq!(prorated(whole, left, length), part, "{whole} for {left} of {length}");
    }
}

#[test]
fn tax_is_rounded_half_up() {
    for (amount, rate, tax) in
        [(1_000, 2_000, 200), (1, 5_000, 1), (1, 4_999, 0), (334, 2_000, 67), (0, 1_900, 0)]
    {
        assert_eq!(tax_on(amount, rate), tax, "{amount} at {rate}");
    }
}

#[test]
fn one_purchase_closes_the_whole_gap_within_the_ceiling() {
    for (available, threshold, pack, most, packs) in [
        (100, 100, 50, 9, 0),
        (99, 100, 50, 9, 1),
        (0, 100, 50, 9, 2),
        (0, 101, 50, 9, 3),
        (0, 101, 50, 2, 2),
        (0, 101, 50, 0, 0),
        (0, 101, 50, -3, 0),
        (0, 100, 0, 9, 0),
        (0, i64::MAX, 1, 7, 7),
    ] {
        assert_eq!(packs_missing(available, threshold, pack, most), packs, "{available} below {threshold}");
    }
}

/// Both schedules end after the same number of attempts, and each pause is longer than the one before.
#[test]
fn a_decline_is_tried_again_later_and_later_and_then_never() {
    for retry in [renewal_retry, auto_buy_retry] {
        let pauses: Vec<i64> = (1..).map_while(retry).collect();
        assert_eq!(pauses.len() as i64 + 1, ATTEMPTS);
        assert!(pauses.is_sorted() && pauses[0] >= 3_600);
        assert_eq!((retry(0), retry(-1), retry(ATTEMPTS)), (None, None, None));
    }
    assert_eq!(auto_buy_retry(3), Some(24 * 3_600));
}
