//! Stories about grants: which one pays, what returns to it, and what is taken back, owed and repaid.

use super::check::check;

stories! {
lower_priority_pays_before_all_else: "
    0s  grant Late 2 purchased priority=-1     -> ok
    0s  grant Soon 2 promo until=1d            -> ok
    0s  grant Last 2 promo until=1d priority=1 -> ok
    1s  charge A 1x3              -> ok
    grant Late 0 0 2 0 0 0
    grant Soon 1 0 1 0 0 0
    grant Last 2 0 0 0 0 0
"
then_the_soonest_expiry_and_never_comes_last: "
    0s  grant Never 2 promo               -> ok
    0s  grant Later 2 purchased until=9d  -> ok
    0s  grant Soon 2 purchased until=8d   -> ok
    1s  charge A 1x3              -> ok
    grant Soon 0 0 2 0 0 0
    grant Later 1 0 1 0 0 0
    2s  charge B 1x2              -> ok
    grant Never 1 0 1 0 0 0
"
then_the_kind: "
    0s  grant P 1 purchased -> ok
    0s  grant L 1 plan      -> ok
    0s  grant B 1 bonus     -> ok
    0s  grant T 1 trial     -> ok
    0s  grant G 1 goodwill  -> ok
    0s  grant O 1 promo     -> ok
    1s  charge A 1x1 -> ok
    grant O 0 0 1 0 0 0
    grant G 1 0 0 0 0 0
    1s  charge A 1x1 -> ok
    grant G 0 0 1 0 0 0
    grant T 1 0 0 0 0 0
    1s  charge A 1x1 -> ok
    grant T 0 0 1 0 0 0
    grant B 1 0 0 0 0 0
    1s  charge A 1x1 -> ok
    grant B 0 0 1 0 0 0
    grant L 1 0 0 0 0 0
    1s  charge A 1x1 -> ok
    grant L 0 0 1 0 0 0
    grant P 1 0 0 0 0 0
"
then_the_effective_date_and_then_the_id: "
    0s  grant Third 1 plan from=-1d   -> ok
    0s  grant Second 1 plan from=-2d  -> ok
    0s  grant First 1 plan from=-3d   -> ok
    0s  grant Fourth 1 plan from=-1d  -> ok
    1s  charge A 1x1 -> ok
    grant First 0 0 1 0 0 0
    1s  charge A 1x1 -> ok
    grant Second 0 0 1 0 0 0
    1s  charge A 1x1 -> ok
    grant Third 0 0 1 0 0 0
    grant Fourth 1 0 0 0 0 0
"
a_hold_remembers_its_grants_and_gives_back_to_them: "
    0s  grant G 4 purchased              -> ok
    1s  hold A 3x2                       -> insufficient_credits 6 4
    1s  grant H 4 purchased until=9d     -> ok
    2s  hold A 3x2                       -> ok
    3s  grant Better 9 promo until=1d    -> ok
    grant H 0 4 0 0 0 0
    grant G 2 2 0 0 0 0
    4s  settle A 1                       -> ok
    grant H 2 0 2 0 0 0
    grant G 4 0 0 0 0 0
    grant Better 9 0 0 0 0 0
"
what_returns_to_an_expired_grant_expires_at_once: "
    0s  grant G 6 purchased until=10m    -> ok
    1s  hold A 2x2 for=1h                -> ok
    10m sweep                            -> already
    grant G 0 4 0 2 0 0
    11m settle A 1                       -> ok
    grant G 0 0 2 4 0 0
    12m refund A all                     -> ok
    grant G 0 0 0 6 0 0
    balance 0 0 0
"
what_returns_to_a_revoked_grant_is_revoked_at_once: "
    0s  grant G 6 purchased    -> ok
    0s  hold A 2x2             -> ok
    0s  revoke G               -> ok
    grant G 0 4 0 0 2 0
    0s  revoke G               -> already
    0s  settle A 1             -> ok
    grant G 0 0 2 0 4 0
    0s  refund A all           -> ok
    grant G 0 0 0 0 6 0
    1s  revoke Nobody          -> not_found grant
"
a_future_grant_waits_for_its_day: "
    0s  grant G 5 plan from=2d until=4d  -> ok
    grant G 0 0 0 0 0 0
    balance 0 0 0
    1d  hold A 1x5                       -> insufficient_credits 5 0
    2d  hold A 1x4                       -> ok
    grant G 1 4 0 0 0 0
    9d  sweep                            -> already
    grant G 0 0 0 5 0 0
    9d  grant G 5 plan from=11d          -> ok
    10d revoke G                         -> ok
    12d sweep                            -> already
    grant G 0 0 0 0 5 0
"
a_grant_must_end_after_it_begins_and_not_in_the_past: "
    1d  grant G 5 plan until=1d           -> invalid_field expires_at
    1d  grant G 5 plan from=3d until=3d   -> invalid_field expires_at
    1d  grant G 5 plan from=3d until=2d   -> invalid_field expires_at
    1d  grant G 5 plan until=1d1u         -> ok
"
a_payment_is_taken_back_from_its_own_grant_first: "
    0s  grant Promo 5 promo          -> ok
    0s  grant Paid 10 purchased      -> ok
    1s  take_back Paid 4             -> ok
    grant Paid 6 0 0 0 4 0
    2s  take_back Paid 8             -> ok
    grant Paid 0 0 0 0 10 0
    grant Promo 3 0 0 0 2 0
    3s  take_back Nobody 1           -> not_found grant
    3s  grant Future 5 purchased from=2d   -> ok
    4s  take_back Future 6           -> ok
    grant Future 0 0 0 0 5 0
    grant Promo 2 0 0 0 3 0
    2d  sweep                        -> already
    balance 2 0 0
"
what_is_missing_is_debt_and_the_next_credits_repay_it: "
    0s  grant Paid 10 purchased      -> ok
    1s  charge A 1x8                 -> ok
    2s  take_back Paid 10            -> ok
    balance 0 0 8
    3s  hold B 1x1                   -> insufficient_credits 1 0
    4s  grant Next 5 purchased       -> ok
    grant Next 0 0 0 0 0 5
    balance 0 0 3
    5s  grant More 5 purchased       -> ok
    grant More 2 0 0 0 0 3
    balance 2 0 0
"
a_released_hold_repays_debt_in_burn_down_order: "
    0s  grant Plan 4 plan            -> ok
    0s  grant Paid 4 purchased       -> ok
    1s  hold A 1x8                   -> ok
    2s  adjust Down -5               -> ok
    balance 0 8 5
    3s  release A                    -> ok
    balance 3 0 0
    grant Plan 0 0 0 0 0 4
    grant Paid 3 0 0 0 0 1
"
debt_is_repaid_before_what_repays_it_expires_however_late_one_looks: "
    0s  adjust Down -3                     -> ok
    0s  grant G 5 promo from=1d until=2d   -> ok
    9d  sweep                              -> already
    grant G 0 0 0 2 0 3
    balance 0 0 0
"
what_had_expired_when_it_came_back_repays_nothing: "
    0s  grant G 5 promo until=1d      -> ok
    0s  grant H 5 promo until=2d      -> ok
    1s  hold A 1x10 for=3d            -> ok
    2s  adjust Down -4                -> ok
    9d  release A                     -> already
    grant G 0 0 0 5 0 0
    grant H 0 0 0 5 0 0
    balance 0 0 4
"
a_correction_goes_up_or_down_but_not_nowhere: "
    0s  adjust Up 5                   -> ok
    grant Up 5 0 0 0 0 0
    1s  adjust Down -2                -> ok
    grant Up 3 0 0 0 2 0
    2s  adjust Down -4                -> ok
    balance 0 0 1
    3s  adjust None 0                 -> invalid_field credits
    3s  adjust Much 1_000_000_000_000_001   -> invalid_field credits
    3s  adjust Less -9_223_372_036_854_775_808   -> invalid_field credits
"
a_refund_repays_debt: "
    0s  grant G 6 purchased             -> ok
    1s  charge A 3x2                    -> ok
    2s  adjust Down -3                  -> ok
    3s  refund A all                    -> ok
    grant G 3 0 0 0 0 3
    balance 3 0 0
"
the_largest_amounts_still_count_right: "
    0s  times 500 grant G 1_000_000_000_000_000 purchased     -> ok
    balance 500000000000000000 0 0
    1s  hold A 1_000_000_000x1_000_000   -> ok
    2s  settle A 1                       -> ok
    balance 499999999999000000 0 0
    3s  times 500 grant L 1_000_000_000_000_000 purchased from=1d   -> ok
    4s  grant M 1_000_000 purchased      -> ok
    4s  grant N 1 purchased              -> invalid_field credits
    4s  adjust N 1                       -> invalid_field credits
    5s  charge B 1x1                     -> ok
    6s  grant N 1 purchased              -> ok
"
the_largest_debt_still_counts_right: "
    0s  times 1000 adjust Down -1_000_000_000_000_000   -> ok
    balance 0 0 1000000000000000000
    1s  adjust Down -1                   -> invalid_field credits
    2s  adjust Up 3                      -> ok
    3s  adjust Down -3                   -> ok
    balance 0 0 1000000000000000000
"
five_hundred_grants_with_credits_are_the_limit_of_gifts: "
    0s  times 499 grant G 1 plan         -> ok
    0s  grant T 1 promo                  -> ok
    1s  grant H 1 promo                  -> too_many_grants
    1s  grant H 1 goodwill               -> too_many_grants
    1s  adjust H 1                       -> too_many_grants
    2s  charge A 1x1                     -> ok
    3s  grant H 1 promo                  -> ok
"
what_was_paid_for_or_agreed_always_finds_its_place: "
    0s  times 500 grant G 1 promo        -> ok
    1s  grant A 1 plan                   -> ok
    1s  grant B 1 purchased              -> ok
    1s  grant C 1 bonus                  -> ok
    1s  grant D 1 trial                  -> ok
    2s  charge E 1x504                   -> ok
    balance 0 0 0
"
}
