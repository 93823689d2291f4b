//! Dates in a workspace's time zone: billing periods from their anchor, and days as people read them.
//!
//! Owns all calendar arithmetic. Invariant: period n begins where period n-1 ends, because both are counted from the anchor.

use billing::Time;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan, Zoned};

/// Whether the tz database knows this zone.
pub fn zone_exists(name: &str) -> bool {
    name.len() <= 64 && TimeZone::get(name).is_ok()
}

/// The start of period `number` of so many months each, counted from the anchor: the 31st becomes the last day of a shorter
/// month, and the 31st again.
pub fn period_start(anchor: Time, zone: &str, months: i64, number: i64) -> Time {
    let Ok(span) = Span::new().try_months(number.saturating_mul(months)) else { return Time(i64::MAX) };
    local(anchor, zone)
        .checked_add(span)
        .map_or(Time(i64::MAX), |start| Time(start.timestamp().as_microsecond()))
}

/// A moment in a zone; UTC for a zone that does not exist.
pub fn local(time: Time, zone: &str) -> Zoned {
    let moment = Timestamp::from_microsecond(time.0).unwrap_or_default();
    moment.to_zoned(TimeZone::get(zone).unwrap_or(TimeZone::UTC))
}

/// `14 Dec`.
pub fn day(time: Time, zone: &str) -> String {
    local(time, zone).strftime("%-d %b").to_string()
}

/// `14 Dec 2027`.
pub fn full_day(time: Time, zone: &str) -> String {
    local(time, zone).strftime("%-d %b %Y").to_string()
}

/// `14-Dec-2026` in UTC, as mail servers take it.
pub fn mail_day(time: Time) -> String {
    local(time, "UTC").strftime("%-d-%b-%Y").to_string()
}

/// `14 Dec 16:04`.
pub fn minute(time: Time, zone: &str) -> String {
    local(time, zone).strftime("%-d %b %H:%M").to_string()
}

/// The start of the hour, day, week (Monday) or month that a moment is in.
pub fn bucket_start(time: Time, zone: &str, interval: &str) -> Time {
    let zoned = local(time, zone);
    let date = zoned.date();
    let start = match interval {
        "hour" => return hour_start(time, &zoned),
        "week" => {
            date.checked_sub((i64::from(date.weekday().to_monday_zero_offset())).days()).unwrap_or(date)
        }
        "month" => date.first_of_month(),
        _ => date,
    };
    start.to_zoned(zoned.time_zone().clone()).map_or(time, |start| Time(start.timestamp().as_microsecond()))
}

/// The beginning and the end of a local day such as `2026-03-01`; `None` when it is no day.
pub fn day_bounds(date: &str, zone: &str) -> Option<(Time, Time)> {
    let date: jiff::civil::Date = date.parse().ok()?;
    let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
    let start = |date: jiff::civil::Date| {
        let start = date.to_zoned(zone.clone()).ok()?;
        Some(Time(start.timestamp().as_microsecond()))
    };
    Some((start(date)?, start(date.tomorrow().ok()?)?))
}

/// The start of the month after the one that a moment is in.
pub fn next_month(time: Time, zone: &str) -> Time {
    let zoned = local(time, zone);
    let Ok(first) = zoned.date().first_of_month().checked_add(1.month()) else { return Time(i64::MAX) };
    let start = first.to_zoned(zoned.time_zone().clone());
    start.map_or(Time(i64::MAX), |start| Time(start.timestamp().as_microsecond()))
}

fn hour_start(time: Time, zoned: &Zoned) -> Time {
    let past = i64::from(zoned.minute()) * 60_000_000 + i64::from(zoned.second()) * 1_000_000;
    Time(time.0 - past - i64::from(zoned.subsec_nanosecond()) / 1_000)
}

/// Days of UTC as people name them, counted from 1970: from one to before another. By default the last 30, today included.
///
/// # Errors
/// The field that is wrong, and what it must be.
pub fn days(
    from: Option<&str>,
    to: Option<&str>,
    now: Time,
) -> Result<(i64, i64), (&'static str, &'static str)> {
    let number = |field, text: &str| {
        let date: jiff::civil::Date =
            text.parse().map_err(|_| (field, "must be a day such as 2026-03-01"))?;
        let start = date.to_zoned(TimeZone::UTC).map_err(|_| (field, "is too far away"))?;
        Ok::<i64, (&'static str, &'static str)>(start.timestamp().as_second().div_euclid(86_400))
    };
    let to = to.map_or(Ok(day_number(now, "UTC") + 1), |text| number("to", text))?;
    let from = from.map_or(Ok(to - 30), |text| number("from", text))?;
    if from < to { Ok((from, to)) } else { Err(("to", "must be after from")) }
}

/// A day of UTC, counted from 1970, as `2026-03-01`.
pub fn date(day: i64) -> String {
    local(Time(day.saturating_mul(billing::units::DAY)), "UTC").date().to_string()
}

/// The number of the local day that a moment is in, counted from 1970.
pub fn day_number(time: Time, zone: &str) -> i64 {
    let date = local(time, zone).date();
    date.to_zoned(TimeZone::UTC).map_or(0, |start| start.timestamp().as_second().div_euclid(86_400))
}

/// The moment at which it is so many minutes after midnight, so many days after the local day of `time`.
pub fn at_minute(time: Time, zone: &str, days: i64, minute: i64) -> Time {
    let zoned = local(time, zone);
    let Ok(date) = zoned.date().checked_add(days.days()) else { return Time(i64::MAX) };
    let (hour, minute) = ((minute / 60).clamp(0, 23) as i8, (minute % 60).clamp(0, 59) as i8);
    let moment = date.at(hour, minute, 0, 0).to_zoned(zoned.time_zone().clone());
    moment.map_or(Time(i64::MAX), |moment| Time(moment.timestamp().as_microsecond()))
}

/// The minute of the local day that a moment is in, and its day of the week, 0 for Monday.
pub fn minute_and_weekday(time: Time, zone: &str) -> (i64, u32) {
    let zoned = local(time, zone);
    let weekday = zoned.date().weekday().to_monday_zero_offset();
    (i64::from(zoned.hour()) * 60 + i64::from(zoned.minute()), weekday.unsigned_abs().into())
}
