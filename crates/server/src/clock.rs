//! The only reader of time and randomness.
//!
//! Owns the clock (the system's, or a manual one that stands still until it is advanced), fresh ids and secrets. It does
//! *not* store the manual time: the store does, so that it survives a restart.
//!
//! Invariant: fresh ids strictly rise within a process, whatever the system's clock does.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use billing::Time;

/// The source of the present. Cheap to clone; clones share a manual time.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The system's clock.
    System,
    /// The clock of a database that several nodes share: the system's, and how much that is behind, in microseconds.
    Database(Arc<AtomicI64>),
    /// Microseconds since 1970, moved by [`Clock::set`] alone.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// A manual clock at `now`.
    pub fn manual(now: Time) -> Clock {
        Clock::Manual(Arc::new(AtomicI64::new(now.0)))
    }

    /// The present moment.
    pub fn now(&self) -> Time {
        match self {
            Clock::System => Time(system_micros()),
            Clock::Database(behind) => Time(system_micros() + behind.load(Ordering::SeqCst)),
            Clock::Manual(now) => Time(now.load(Ordering::SeqCst)),
        }
    }

    /// Sets it by a database's clock that says `now`, or by where a manual one stands there.
    pub fn agree(&self, now: Time, manual: Option<Time>) {
        if let Clock::Database(behind) = self {
            behind.store(now.0 - system_micros(), Ordering::SeqCst);
        }
        manual.into_iter().for_each(|manual| self.set(manual));
    }

    /// Whether time stands still until it is advanced.
    pub fn is_manual(&self) -> bool {
        matches!(self, Clock::Manual(_))
    }

    /// Moves a manual clock forward to `now`; never back. The system's clock is left alone.
    pub fn set(&self, now: Time) {
        if let Clock::Manual(time) = self {
            time.fetch_max(now.0, Ordering::SeqCst);
        }
    }
}

/// A fresh id of 62 bits: milliseconds since 2020, then a random start within the millisecond. Real time even under a manual
/// clock, because ids must differ while time stands still.
pub fn fresh_id() -> i64 {
    static LAST: AtomicI64 = AtomicI64::new(0);
    const EPOCH_MILLIS: i64 = 1_577_836_800_000;
    let millis = system_micros() / 1_000 - EPOCH_MILLIS;
    let fresh = (millis << 21) | (i64::from(u32::from_le_bytes(random())) & 0xf_ffff);
    let next = |last: i64| Some(fresh.max(last + 1));
    let last = LAST.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next).unwrap_or_default();
    fresh.max(last + 1)
}

/// Random bytes from the operating system.
///
/// # Panics
/// When the operating system has none: nothing secret could be made.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// The time on the wall, whatever the clock is: for moments that others name.
pub fn wall() -> SystemTime {
    SystemTime::now()
}

fn system_micros() -> i64 {
    let since = wall().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// A moment as RFC 3339 in UTC, with microseconds only where there are some.
pub fn rfc3339(time: Time) -> String {
    jiff::Timestamp::from_microsecond(time.0)
        .map_or_else(|_| "invalid".to_owned(), |moment| moment.to_string())
}

/// Parses RFC 3339.
pub fn parse_rfc3339(text: &str) -> Option<Time> {
    text.parse::<jiff::Timestamp>().ok().map(|moment| Time(moment.as_microsecond()))
}
