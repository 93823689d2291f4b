//! A naive second watch of thresholds, that the real one is held against.

use billing::Time;
use billing::alerts::Crossing;

const HOUR: i64 = 3_600_000_000;

/// One look at the balance, and what the work in the background was refused or needs at that moment.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    pub available: i64,
    pub held: i64,
    pub now: i64,
    pub refused: Option<i64>,
    pub oldest_due: Option<i64>,
}

/// A naive watch: it remembers every look and searches them from the end whenever it is asked.
#[derive(Default)]
pub struct Witness {
    /// What was available, and whether a fall counted then: while everything is paused it does not.
    pub looks: Vec<(i64, bool)>,
    pub out: bool,
    pub waiting_for: Option<i64>,
    restored_at: Option<i64>,
    low_mail: Option<i64>,
    critical_mail: Option<i64>,
}

impl Witness {
    /// What crosses at this look.
    pub fn expects(&mut self, look: Look, low: i64, critical: i64) -> Vec<Crossing> {
        let Look { available, held, now, .. } = look;
        let mut crossings = Vec::new();
        if self.out {
            if available == 0 || look.oldest_due.is_some_and(|needed| needed > available) {
                self.looks.push((available, false));
                return crossings;
            }
            (self.out, self.waiting_for, self.restored_at) = (false, None, Some(now));
            crossings.push(Crossing::Restored);
        } else {
            self.waiting_for = self.waiting_for.max(look.refused);
        }
        self.waiting_for = self.waiting_for.filter(|needed| *needed > available);
        let fell_low = available < low && self.armed(low);
        let fell_critical = available < critical && self.armed(critical);
        self.looks.push((available, true));
        let funded = self.looks.iter().any(|(available, _)| *available > 0);
        if (available == 0 && funded) || self.waiting_for.is_some_and(|needed| needed > available + held) {
            self.out = true;
            crossings.push(Crossing::Out { again: self.restored_at.is_some_and(|at| now - at <= HOUR) });
        } else if fell_critical && available > 0 {
            crossings.push(Crossing::Critical(Time(mail(&mut self.critical_mail, now))));
        } else if fell_low && available > 0 {
            crossings.push(Crossing::Low(Time(mail(&mut self.low_mail, now))));
        }
        crossings
    }

    /// Whether it was a tenth above the threshold since it was last seen below it.
    fn armed(&self, threshold: i64) -> bool {
        let clear = |available: i64| available > 0 && available * 10 >= threshold * 11;
        let told = |&(available, counts): &(i64, bool)| (counts && available < threshold) || clear(available);
        self.looks.iter().rev().copied().find(told).is_some_and(|(available, _)| clear(available))
    }
}

fn mail(last: &mut Option<i64>, now: i64) -> i64 {
    let due = last.map_or(now, |last| now.max(last + 24 * HOUR));
    *last = Some(due);
    due
}
