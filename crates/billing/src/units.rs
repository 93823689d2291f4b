//! The few quantities that everything else is made of. Parsed once, at the edge; total afterwards.

use core::fmt;

/// The largest number of credits one command may move.
pub const MAX_CREDITS: i64 = 1_000_000_000_000_000;

/// The most credits that an account may have, or owe to a person's corrections: far from where a sum leaves 64 bits.
pub const MAX_SUM: i64 = 1_000_000_000_000_000_000;

/// The largest quantity one command may name. Units of what is free are bounded by nothing else: nine billion commands of so
/// many would take a total out of 64 bits.
pub const MAX_QUANTITY: i64 = 1_000_000_000;

/// One second in the unit of [`Time`].
pub const SECOND: i64 = 1_000_000;

/// One day of 24 hours in the unit of [`Time`].
pub const DAY: i64 = 86_400 * SECOND;

/// A moment: microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Time(pub i64);

impl Time {
    /// This moment plus so many seconds.
    pub fn plus_seconds(self, seconds: i64) -> Time {
        Time(self.0.saturating_add(seconds.saturating_mul(SECOND)))
    }
}

/// The number of an entry in its workspace's ledger. A grant or a hold is named by the entry that made it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Seq(pub i64);

impl fmt::Display for Seq {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A number of credits that a command moves: 1 to [`MAX_CREDITS`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Amount(i64);

impl Amount {
    /// `None` when the number is not within 1 and [`MAX_CREDITS`].
    pub fn new(credits: i64) -> Option<Amount> {
        (1..=MAX_CREDITS).contains(&credits).then_some(Amount(credits))
    }

    /// The number of credits.
    pub fn get(self) -> i64 {
        self.0
    }
}

/// How many units of an operation: 1 to [`MAX_QUANTITY`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Quantity(i64);

impl Quantity {
    /// One unit.
    pub const ONE: Quantity = Quantity(1);

    /// `None` when the number is not within 1 and [`MAX_QUANTITY`].
    pub fn new(quantity: i64) -> Option<Quantity> {
        (1..=MAX_QUANTITY).contains(&quantity).then_some(Quantity(quantity))
    }

    /// The number of units.
    pub fn get(self) -> i64 {
        self.0
    }
}
