//! When a workspace is warned, and when its background work runs out of credits and comes back.
//!
//! Owns the thresholds with their hysteresis and the state *out*. It does *not* write notices or pause anything: it says
//! what crossed, and the store writes that down in the same transaction.
//!
//! Invariant: one warning per crossing; falling straight to *out* warns only about *out*.

use alloc::vec::Vec;

use crate::units::{DAY, MAX_CREDITS, SECOND, Time};

/// A warning threshold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Threshold {
    /// So many hundredths of the basis: the plan's grant, or what was granted in the last 30 days.
    Percent(i64),
    /// So many credits.
    Credits(i64),
}

impl Threshold {
    /// Whether it can be one: 0 to 100 percent, or 0 to [`MAX_CREDITS`] credits.
    pub fn is_valid(self) -> bool {
        match self {
            Threshold::Percent(percent) => (0..=100).contains(&percent),
            Threshold::Credits(credits) => (0..=MAX_CREDITS).contains(&credits),
        }
    }

    /// The threshold in credits. A workspace is below it when less than this is available.
    pub fn credits(self, basis: i64) -> i64 {
        match self {
            // In two parts, so that no product leaves 64 bits; dividing 128 bits takes long.
            Threshold::Percent(percent) => basis / 100 * percent + (basis % 100 * percent + 99) / 100,
            Threshold::Credits(credits) => credits,
        }
    }
}

/// Both warning thresholds of a workspace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Thresholds {
    /// The first warning; 20 % by default.
    pub low: Threshold,
    /// The second warning; 5 % by default.
    pub critical: Threshold,
}

impl Default for Thresholds {
    fn default() -> Thresholds {
        Thresholds { low: Threshold::Percent(20), critical: Threshold::Percent(5) }
    }
}

/// How a workspace stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(missing_docs, reason = "the names are the screen's")]
pub enum Level {
    Healthy,
    Low,
    Critical,
    Out,
}

/// What is remembered between two looks at the balance.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Watch {
    /// A fall below *low* warns.
    pub low_armed: bool,
    /// A fall below *critical* warns.
    pub critical_armed: bool,
    /// When the last e-mail about *low* was due.
    pub low_mailed_at: Option<Time>,
    /// When the last e-mail about *critical* was due.
    pub critical_mailed_at: Option<Time>,
    /// Set while the workspace is out.
    pub out_since: Option<Time>,
    /// When the workspace last came back.
    pub restored_at: Option<Time>,
    /// Credits that the oldest due piece of work needs and that are not available. Not out: it waits for open holds.
    pub needed: Option<i64>,
}

/// Something crossed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Crossing {
    /// Below *low*; the e-mail is due at this moment.
    Low(Time),
    /// Below *critical*; the e-mail is due at this moment.
    Critical(Time),
    /// Out: everything in the background pauses. `again` within an hour of coming back: the earlier notice is updated.
    Out {
        /// Whether the earlier notice is updated instead of adding one.
        again: bool,
    },
    /// No longer out: everything in the background continues.
    Restored,
}

/// How long an e-mail about the same threshold is held back, in microseconds.
pub const COOLDOWN: i64 = DAY;
/// How soon after coming back another *out* belongs to the same story, in microseconds.
pub const SAME_STORY: i64 = 3_600 * SECOND;

/// What is looked at after every post.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    /// Credits that can be spent now.
    pub available: i64,
    /// Credits set aside by open holds.
    pub held: i64,
    /// What percentages are of.
    pub basis: i64,
    /// Whether the account ever had anything: one that never did has not run out of it.
    pub funded: bool,
    /// The moment.
    pub now: Time,
}

impl Watch {
    /// How the workspace stands.
    pub fn level(&self, available: i64, basis: i64, thresholds: &Thresholds) -> Level {
        if available == 0 || self.out_since.is_some() {
            Level::Out
        } else if available < thresholds.critical.credits(basis) {
            Level::Critical
        } else if available < thresholds.low.credits(basis) {
            Level::Low
        } else {
            Level::Healthy
        }
    }

    /// A due piece of background work was refused: it needs more than is available.
    pub fn refused(&mut self, needed: i64) {
        self.needed = Some(self.needed.map_or(needed, |known| known.max(needed)));
    }

    /// Whether background work may hold anything now.
    pub fn may_hold(&self, available: i64) -> bool {
        self.out_since.is_none() && self.needed.is_none_or(|needed| needed <= available)
    }

    /// Looks at the balance after a post and says what crossed. `oldest_due` is the cost of the oldest piece of work that is
    /// due; it is asked only while the workspace is out and credits are available.
    pub fn look(
        &mut self,
        sight: Sight,
        thresholds: &Thresholds,
        oldest_due: impl FnOnce() -> Option<i64>,
    ) -> Vec<Crossing> {
        let mut crossings = Vec::new();
        let Sight { available, held, .. } = sight;
        if self.out_since.is_some() {
            if available == 0 {
                return crossings;
            }
            self.needed = oldest_due().filter(|needed| *needed > available);
            if self.needed.is_some() {
                self.arm(sight, thresholds);
                return crossings;
            }
            (self.out_since, self.restored_at) = (None, Some(sight.now));
            crossings.push(Crossing::Restored);
        }
        self.needed = self.needed.filter(|needed| *needed > available);
        let (low, critical) = self.fell(sight, thresholds);
        self.arm(sight, thresholds);
        let short = self.needed.is_some_and(|needed| needed > available + held);
        if short || (available == 0 && sight.funded) {
            let again = self.restored_at.is_some_and(|at| sight.now.0 - at.0 <= SAME_STORY);
            self.out_since = Some(sight.now);
            crossings.push(Crossing::Out { again });
        } else if critical {
            crossings.push(Crossing::Critical(mail_due(&mut self.critical_mailed_at, sight.now)));
        } else if low {
            crossings.push(Crossing::Low(mail_due(&mut self.low_mailed_at, sight.now)));
        }
        crossings
    }

    /// Whether it fell below *low* and below *critical*. What only *out* tells of is disarmed all the same.
    fn fell(&mut self, sight: Sight, thresholds: &Thresholds) -> (bool, bool) {
        let below = |threshold: Threshold| sight.available < threshold.credits(sight.basis);
        let low = self.low_armed && below(thresholds.low);
        let critical = self.critical_armed && below(thresholds.critical);
        self.low_armed &= !low;
        self.critical_armed &= !critical;
        (low, critical)
    }

    fn arm(&mut self, sight: Sight, thresholds: &Thresholds) {
        // Re-armed a tenth above the threshold, rounded up, so that a balance that trembles around it warns once.
        let clear = |threshold: Threshold| {
            let credits = threshold.credits(sight.basis);
            let tenth = credits / 10 + i64::from(credits % 10 > 0);
            sight.available > 0 && sight.available >= credits.saturating_add(tenth)
        };
        self.low_armed |= clear(thresholds.low);
        self.critical_armed |= clear(thresholds.critical);
    }
}

/// When the e-mail of a notice given now is due. Counts from the last e-mail that was really due.
fn mail_due(last: &mut Option<Time>, now: Time) -> Time {
    let due = last.map_or(now, |at| now.max(Time(at.0 + COOLDOWN)));
    *last = Some(due);
    due
}
