//! The hours of a week in which a sender may send, in its workspace's zone.

use billing::Time;
use serde::{Deserialize, Serialize};

use crate::calendar;

/// From a minute of the day until before another one, on some days of the week.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
pub struct Hours {
    /// The first minute of the day.
    pub from: i64,
    /// The minute that is the first one after; at most 1,440.
    pub to: i64,
    /// The days of the week, Monday being the lowest bit.
    pub days: u8,
}

impl Hours {
    /// The first moment from `at` on that is inside; `None` when there is no day at all.
    pub fn opens(&self, at: Time, zone: &str) -> Option<Time> {
        let (minute, weekday) = calendar::minute_and_weekday(at, zone);
        for days in 0..=7 {
            if self.days >> ((weekday + days) % 7) & 1 == 0 {
                continue;
            }
            match days {
                0 if minute >= self.to => {}
                0 if minute >= self.from => return Some(at),
                _ => {
                    // An hour that the clocks skip begins with the next one that there is.
                    return Some(calendar::at_minute(at, zone, i64::from(days), self.from).max(at));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{parse_rfc3339, rfc3339};

    const WEEKDAYS: u8 = 0b001_1111;

    #[test]
    fn the_next_open_moment_is_found_in_the_workspaces_zone() {
        let hours = Hours { from: 9 * 60, to: 17 * 60, days: WEEKDAYS };
        let table = [
            // A Wednesday in Madrid, which is an hour ahead of UTC.
            ("2026-11-25T07:30:00Z", "2026-11-25T08:00:00Z"),
            ("2026-11-25T08:00:00Z", "2026-11-25T08:00:00Z"),
            ("2026-11-25T15:59:59Z", "2026-11-25T15:59:59Z"),
            ("2026-11-25T16:00:00Z", "2026-11-26T08:00:00Z"),
            // Friday evening waits for Monday, and over the end of summer time.
            ("2026-11-27T16:00:00Z", "2026-11-30T08:00:00Z"),
            ("2026-10-23T15:30:00Z", "2026-10-26T08:00:00Z"),
        ];
        for (at, expected) in table {
            let opens = hours.opens(parse_rfc3339(at).expect("a time"), "Europe/Madrid");
            assert_eq!(opens.map(rfc3339).as_deref(), Some(expected), "{at}");
        }
        let never = Hours { days: 0, ..hours };
        assert_eq!(never.opens(Time(0), "UTC"), None);
    }
}
