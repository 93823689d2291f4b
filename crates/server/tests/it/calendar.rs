//! Periods in every time zone: counted from the anchor they tile, on the anchor's day or the last one of a shorter month.

use billing::Time;
use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use scrip::calendar::period_start;

use crate::chance::asked_for;

/// Where time goes on until.
const END: i16 = 2064;

/// One anchor in one zone and rhythm, until the end; answers how many periods that were.
fn check(zone: &str, anchor: Date, months: i64) -> i64 {
    let tz = TimeZone::get(zone).expect("a zone of the database");
    let start = anchor.at(23, 59, 30, 0).to_zoned(tz.clone()).expect("a moment");
    let anchor_time = Time(start.timestamp().as_microsecond());
    let local = start.datetime();
    // Where a clock that goes forward leaves the anchor's hour out, it is on the next day.
    let anchor = local.date();
    let (mut number, mut before) = (0, None);
    loop {
        let at = period_start(anchor_time, zone, months, number);
        assert!(
            before.is_none_or(|before| before < at),
            "{zone} {anchor} every {months}: period {number} has no length"
        );
        let zoned = Timestamp::from_microsecond(at.0).expect("a moment").to_zoned(tz.clone());
        let due = local.checked_add((number * months).months()).expect("a date");
        // The day and hour are the anchor's, but where a clock that goes forward leaves that hour out.
        let there = tz.to_ambiguous_timestamp(due).compatible().expect("a moment");
        assert_eq!(zoned.timestamp(), there, "{zone} {anchor} every {months}: period {number}");
        let in_month = (i64::from(due.year()) - i64::from(anchor.year())) * 12 + i64::from(due.month());
        assert_eq!(in_month, i64::from(anchor.month()) + number * months, "{zone} {anchor}: period {number}");
        assert_eq!(due.day(), anchor.day().min(due.days_in_month()), "{zone} {anchor}: period {number}");
        if zoned.year() >= END {
            return number;
        }
        (number, before) = (number + 1, Some(at));
    }
}

/// Every zone, day and rhythm with `SCRIP_CALENDAR=1`; otherwise one in so many of them.
#[test]
fn periods_tile_in_every_zone_from_every_day() {
    let one_in = asked_for("SCRIP_CALENDAR", 997).max(1) as usize;
    let zones: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
    assert!(zones.len() > 400, "{} zones", zones.len());
    let first = date(2024, 1, 1);
    let days = (0..366).map(|day: i64| first.checked_add(day.days()).expect("a date"));
    let cases = days.flat_map(|day| zones.iter().map(move |zone| (zone, day)));
    let (mut periods, mut anchors) = (0, 0);
    for (zone, day) in cases.step_by(one_in) {
        anchors += 1;
        periods += [1, 3, 6, 12].into_iter().map(|months| check(zone, day, months)).sum::<i64>();
    }
    println!("calendar: {anchors} anchors of {} zones, {periods} periods until {END}", zones.len());
}

#[test]
fn the_31st_is_the_last_day_of_a_shorter_month_and_the_31st_again() {
    let anchor = scrip::clock::parse_rfc3339("2027-01-31T10:00:00Z").expect("a moment");
    for (months, number, starts) in [
        (1, 0, "2027-01-31T10:00:00Z"),
        (1, 1, "2027-02-28T10:00:00Z"),
        (1, 2, "2027-03-31T10:00:00Z"),
        (1, 13, "2028-02-29T10:00:00Z"),
        (3, 1, "2027-04-30T10:00:00Z"),
        (6, 1, "2027-07-31T10:00:00Z"),
        (12, 1, "2028-01-31T10:00:00Z"),
    ] {
        let start = period_start(anchor, "UTC", months, number);
        assert_eq!(scrip::clock::rfc3339(start), starts, "{number} times {months}");
    }
    // In summer ten o'clock in Madrid is an hour earlier in UTC.
    let start = period_start(anchor, "Europe/Madrid", 1, 3);
    assert_eq!(scrip::clock::rfc3339(start), "2027-04-30T09:00:00Z");
    assert_eq!(period_start(anchor, "UTC", 12, i64::MAX), Time(i64::MAX), "what no calendar has never comes");
}
