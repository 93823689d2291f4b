//! Walks of a balance over its thresholds: at most one notice per crossing, and none missed.

use std::time::Instant;

use billing::Time;
use billing::alerts::{Crossing, Level, Sight, Threshold, Thresholds, Watch};

use crate::chance::{Chance, asked_for};
use crate::witness::{Look, Witness};

const HOUR: i64 = 3_600_000_000;
const STEPS: usize = 100;

#[test]
fn threshold_walks() {
    let (count, first) = (asked_for("SCRIP_WALKS", 2_000), asked_for("SCRIP_SEED", 20_270_131));
    let (started, mut notices) = (Instant::now(), 0);
    for seed in first..first + count {
        notices += walk(seed);
    }
    println!(
        "alerts: seed {first}, {count} walks of {STEPS} looks, {notices} notices, {:?}",
        started.elapsed()
    );
    assert!(notices as u64 > count, "the walks cross something");
}

fn walk(seed: u64) -> usize {
    let mut chance = Chance::new(seed);
    let percent = Thresholds::default();
    let credits = Thresholds { low: Threshold::Credits(5), critical: Threshold::Credits(2) };
    let (thresholds, basis, low, critical) =
        [(percent, 1_000, 200, 50), (percent, 33, 7, 2), (credits, 1_000, 5, 2)]
            [chance.within(0, 2) as usize];
    let (mut watch, mut witness) = (Watch::default(), Witness::default());
    let (mut available, mut now, mut notices) = (0, 1_000 * HOUR, Vec::new());
    for _ in 0..STEPS {
        now += chance.within(0, 40) * HOUR / 20;
        available = match chance.within(0, 9) {
            0 => 0,
            1 => available + chance.within(0, basis),
            2 | 3 => low + chance.within(-3, 3 + low / 8),
            _ => (available - chance.within(-low / 2, low / 2)).max(0),
        };
        let refused = chance.once_in(8).then(|| chance.within(1, low));
        let oldest_due = chance.once_in(2).then(|| chance.within(1, low));
        let look = Look { available, held: chance.within(0, critical), now, refused, oldest_due };
        if let Some(needed) = refused {
            watch.refused(needed);
        }
        let funded = available > 0 || witness.looks.iter().any(|(available, _)| *available > 0);
        let sight = Sight { available, held: look.held, basis, funded, now: Time(now) };
        let crossings = watch.look(sight, &thresholds, || oldest_due);
        assert_eq!(crossings, witness.expects(look, low, critical), "seed {seed}: {look:?}");
        let may = !witness.out && witness.waiting_for.is_none();
        assert_eq!(watch.may_hold(available), may, "seed {seed}: {look:?}");
        notices.extend(crossings.into_iter().map(|crossing| (crossing, now)));
    }
    one_story_after_another(&notices);
    notices.len()
}

/// What a reader of the notices can rely on, whatever the balance did.
fn one_story_after_another(notices: &[(Crossing, i64)]) {
    let (mut out, mut low_mail, mut critical_mail) = (false, i64::MIN, i64::MIN);
    for &(crossing, now) in notices {
        match crossing {
            Crossing::Out { .. } | Crossing::Restored => {
                assert_eq!(out, crossing == Crossing::Restored, "out and restored take turns");
                out = !out;
            }
            Crossing::Low(Time(at)) | Crossing::Critical(Time(at)) => {
                let last = if let Crossing::Low(_) = crossing { &mut low_mail } else { &mut critical_mail };
                assert!(!out && at >= now && at - 24 * HOUR >= *last, "no warning while out, one mail a day");
                *last = at;
            }
        }
    }
}

/// `available held refused` (0 is none), and the crossings expected; an hour passes between two rows.
fn check(rows: &[(i64, i64, i64, &[Crossing])]) {
    let mut watch = Watch::default();
    for (hour, &(available, held, refused, expected)) in rows.iter().enumerate() {
        if refused > 0 {
            watch.refused(refused);
        }
        let sight = Sight { available, held, basis: 1_000, funded: true, now: Time(hour as i64 * HOUR) };
        let due = (refused > 0).then_some(refused);
        let crossings = watch.look(sight, &Thresholds::default(), || due);
        assert_eq!(crossings, expected, "row {hour}: {available} {held} {refused}");
    }
}

const OUT: Crossing = Crossing::Out { again: false };

#[test]
fn a_threshold_warns_again_a_tenth_above_it_and_mails_once_a_day() {
    let low = |hour| Crossing::Low(Time(hour * HOUR));
    check(&[
        (1_000, 0, 0, &[]),
        (200, 0, 0, &[]),
        (199, 0, 0, &[low(2)]),
        (150, 0, 0, &[]),
        (219, 0, 0, &[]),
        (199, 0, 0, &[]),
        (220, 0, 0, &[]),
        // The notice is at once; its mail is a day after the last.
        (199, 0, 0, &[low(26)]),
        (49, 0, 0, &[Crossing::Critical(Time(8 * HOUR))]),
    ]);
}

#[test]
fn straight_to_out_says_only_out_and_coming_back_low_says_nothing_more() {
    let again = Crossing::Out { again: true };
    check(&[
        (1_000, 0, 0, &[]),
        (0, 0, 0, &[OUT]),
        (0, 0, 0, &[]),
        (100, 0, 0, &[Crossing::Restored]),
        (0, 0, 0, &[again]),
        (100, 0, 0, &[Crossing::Restored]),
        (100, 0, 0, &[]),
        (0, 0, 0, &[OUT]),
    ]);
}

#[test]
fn work_waits_for_open_holds_and_is_out_only_without_them() {
    check(&[
        (1_000, 0, 0, &[]),
        (400, 200, 600, &[]),
        (600, 0, 0, &[]),
        (400, 200, 601, &[OUT]),
        (600, 0, 601, &[]),
        (601, 0, 601, &[Crossing::Restored]),
    ]);
}

#[test]
fn a_level_is_what_the_screen_says() {
    let watch = Watch::default();
    let level = |available| watch.level(available, 1_000, &Thresholds::default());
    assert_eq!([200, 199, 50, 49, 1, 0].map(level), {
        use Level::{Critical, Healthy, Low, Out};
        [Healthy, Low, Low, Critical, Critical, Out]
    });
    let out = Watch { out_since: Some(Time(0)), ..watch };
    assert_eq!(out.level(500, 1_000, &Thresholds::default()), Level::Out);
}
