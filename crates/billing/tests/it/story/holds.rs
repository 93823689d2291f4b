//! Stories about holds: how each one begins, waits and ends, and what a charge gives back.

use super::check::check;

stories! {
a_hold_is_settled_in_full_in_part_or_not_at_all: "
    0s  grant G 100 purchased     -> ok
    1s  hold A 3x6                -> ok
    balance 82 18 0
    2s  settle A 3                -> ok
    balance 82 0 0
    3s  hold B 3x6                -> ok
    4s  settle B 1 attempted=2    -> ok
    balance 76 0 0
    5s  hold C 3x6                -> ok
    6s  settle C 0                -> ok
    hold C released
    balance 76 0 0
    grant G 76 0 24 0 0 0
    7s  settle A 3                -> already
    7s  settle A 2                -> hold_not_open settled
    7s  settle C 0                -> already
    7s  settle C 1                -> hold_not_open released
    7s  release A                 -> hold_not_open settled
    7s  release C                 -> already
"
a_charge_is_a_hold_and_its_settlement_in_one: "
    0s  grant G 10 purchased      -> ok
    1s  charge A 2x3              -> ok
    hold A settled
    grant G 4 0 6 0 0 0
    2s  charge B 1x5              -> insufficient_credits 5 4
    2s  charge B 2x2              -> ok
    balance 0 0 0
    3s  refund A 1                -> ok
    balance 3 0 0
"
nothing_is_taken_when_not_everything_can_be: "
    0s  grant G 5 purchased       -> ok
    1s  hold A 1x6                -> insufficient_credits 6 5
    balance 5 0 0
    2s  hold A 1x5                -> ok
    3s  hold B 1x1                -> insufficient_credits 1 0
    4s  release A                 -> ok
    5s  hold B 1x1                -> ok
    balance 4 1 0
"
what_costs_nothing_is_held_and_settled_all_the_same: "
    0s  hold A 1x0                -> ok
    1s  dispatch A                -> ok
    2s  settle A 1                -> ok
    3s  charge B 5x0              -> ok
    4s  refund B 2                -> ok
    5s  refund B all              -> ok
    6s  refund B all              -> refund_exceeds_settled 0
    balance 0 0 0
"
an_open_hold_ends_by_itself_and_may_be_settled_for_thirty_days: "
    0s      grant G 10 purchased        -> ok
    0s      hold A 2x2 for=15m          -> ok
    0s      hold B 2x2 for=15m          -> ok
    14m59s  sweep                       -> already
    hold A open
    15m     release A                   -> already
    balance 10 0 0
    16m     settle A 0                  -> already
    16m     settle A 3                  -> settle_exceeds_hold 2
    20d     charge C 1x7                -> ok
    30d15m  settle A 2                  -> insufficient_credits 4 3
    30d15m  settle A 1                  -> ok
    grant G 1 0 9 0 0 0
    30d15m  settle A 1                  -> already
    30d15m1u settle B 1                 -> hold_not_open released
    31d     refund A all                -> ok
    balance 3 0 0
"
a_late_settle_pays_in_todays_order: "
    0s  grant G 5 promo until=1h        -> ok
    0s  grant H 5 purchased             -> ok
    0s  hold A 2x2 for=2h               -> ok
    3h  settle A 2                      -> ok
    grant G 0 0 0 5 0 0
    grant H 1 0 4 0 0 0
"
the_thirty_days_count_from_the_end_however_late_one_looks: "
    0s   grant G 5 purchased            -> ok
    0s   hold A 1x5 for=1h              -> ok
    31d  settle A 1                     -> hold_not_open released
    balance 5 0 0
"
what_a_caller_released_is_not_settled_later: "
    0s  grant G 5 purchased             -> ok
    0s  hold A 1x5                      -> ok
    1s  release A                       -> ok
    2s  settle A 1                      -> hold_not_open released
"
what_was_dispatched_is_in_doubt_when_its_time_is_over: "
    0s  grant G 10 purchased            -> ok
    0s  hold A 2x2 for=1h               -> ok
    1s  dispatch A                      -> ok
    1s  dispatch A                      -> already
    1h  sweep                           -> already
    hold A in_doubt
    balance 6 4 0
    2h  dispatch A                      -> hold_not_open in_doubt
    2h  extend A 1h                     -> hold_not_open in_doubt
    3d59m59s sweep                      -> already
    hold A in_doubt
    3d1h sweep                          -> already
    hold A released
    balance 10 0 0
    33d1h settle A 2                    -> ok
    balance 6 0 0
"
a_doubt_that_nobody_looked_at_still_ends_at_its_deadline: "
    0s  grant G 10 purchased            -> ok
    0s  hold A 2x2 for=1h               -> ok
    0s  hold B 2x2 for=1h               -> ok
    1s  dispatch A                      -> ok
    1s  dispatch B                      -> ok
    3d1h hold C 1x10                    -> ok
    hold A released
    33d1h1u settle A 2                  -> hold_not_open released
"
a_caller_may_doubt_and_a_person_decides: "
    0s  grant G 10 purchased            -> ok
    0s  hold A 2x2                      -> ok
    0s  hold B 2x2                      -> ok
    1s  doubt A                         -> hold_not_open open
    1s  resolve A settled               -> hold_not_open open
    2s  dispatch A                      -> ok
    2s  dispatch B                      -> ok
    2s  resolve A released              -> hold_not_open dispatched
    3s  doubt A                         -> ok
    3s  doubt B                         -> ok
    3s  doubt A                         -> already
    3d2s sweep                          -> already
    hold A in_doubt
    3d2s resolve A settled              -> ok
    3d2s resolve A settled              -> already
    3d2s resolve A released             -> hold_not_open settled
    3d2s resolve B released             -> ok
    3d2s resolve B released             -> already
    3d2s resolve B settled              -> hold_not_open released
    3d2s doubt A                        -> hold_not_open settled
    balance 6 0 0
    4d  settle B 2                      -> hold_not_open released
"
charged_units_are_refunded_last_taken_first: "
    0s  grant G 3 promo                 -> ok
    0s  grant H 9 purchased             -> ok
    1s  hold A 4x2                      -> ok
    2s  refund A all                    -> hold_not_open open
    2s  settle A 3                      -> ok
    grant G 0 0 3 0 0 0
    grant H 6 0 3 0 0 0
    3s  refund A 1                      -> ok
    grant H 8 0 1 0 0 0
    4s  refund A 3                      -> refund_exceeds_settled 2
    4s  refund A 0                      -> invalid_field quantity
    4s  refund A 1                      -> ok
    grant G 1 0 2 0 0 0
    grant H 9 0 0 0 0 0
    5s  refund A all                    -> ok
    balance 12 0 0
    6s  refund A all                    -> refund_exceeds_settled 0
"
more_time_is_given_but_never_taken_away: "
    0s   grant G 5 purchased            -> ok
    0s   hold A 1x5 for=10m             -> ok
    4m   extend A 5m                    -> already
    5m   extend A 5m                    -> already
    5m   extend A 0s                    -> invalid_field seconds
    5m   extend A 7d1s                  -> invalid_field seconds
    5m   extend A 7d                    -> ok
    7d   sweep                          -> already
    hold A open
    7d5m extend A 1h                    -> hold_not_open released
    7d6m extend Nobody 1h               -> not_found hold
"
only_the_lease_that_made_a_hold_dispatches_it: "
    0s  grant G 5 purchased             -> ok
    0s  hold A 1x5 epoch=7              -> ok
    1s  dispatch A epoch=8              -> stale_epoch
    1s  dispatch A epoch=7              -> ok
    1s  dispatch A epoch=8              -> stale_epoch
    1s  dispatch A epoch=7              -> already
    2s  settle A 1                      -> ok
    3s  dispatch A epoch=8              -> hold_not_open settled
"
fields_are_looked_at_before_anything_else: "
    0s  hold A 1x5 for=0s               -> invalid_field expires_in_seconds
    0s  hold A 1x5 for=7d1s             -> invalid_field expires_in_seconds
    0s  hold A 1_000_000_000x1_000_001   -> invalid_field quantity
    0s  settle Nobody -1                -> invalid_field quantity
    0s  refund Nobody 0                 -> invalid_field quantity
    0s  settle Nobody 1                 -> not_found hold
    0s  refund Nobody all               -> not_found hold
    0s  dispatch Nobody                 -> not_found hold
    0s  release Nobody                  -> not_found hold
    0s  doubt Nobody                    -> not_found hold
    0s  resolve Nobody settled          -> not_found hold
    0s  grant G 9 purchased             -> ok
    0s  hold A 3x1                      -> ok
    1s  settle A 4                      -> settle_exceeds_hold 3
    1s  settle A 2 attempted=1          -> invalid_field attempted
    1s  settle A 2 attempted=4          -> invalid_field attempted
    1s  settle A 0 attempted=3          -> ok
"
ten_thousand_open_holds_are_the_limit: "
    0s  grant G 20_000 purchased         -> ok
    1s  times 10_000 hold A 1x1          -> ok
    2s  hold B 1x1                       -> too_many_open_holds
    2s  charge B 1x1                     -> ok
    3s  release A                        -> ok
    3s  hold B 1x1                       -> ok
    balance 9999 10000 0
"
a_clock_that_is_set_back_changes_nothing_that_was_written: "
    1d  grant G 5 promo until=2d         -> ok
    1d  hold A 1x2 for=2d                -> ok
    2d  sweep                            -> already
    grant G 0 2 0 3 0 0
    1d23h hold B 1x1                     -> insufficient_credits 1 0
    2d  settle A 1                       -> ok
    grant G 0 0 2 3 0 0
"
what_is_still_held_or_charged_is_not_forgotten: "
    0s  grant G 5 purchased             -> ok
    0s  grant H 5 purchased             -> ok
    1s  hold A 1x5                      -> ok
    1s  hold B 1x5                      -> ok
    2s  forget                          -> ok
    1m  settle A 1                      -> ok
    2m  release B                       -> ok
    balance 5 0 0
    grant H 5 0 0 0 0 0
"
}
