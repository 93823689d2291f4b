//! The price list: operations with their prices in credits, plans and packs with their prices in money.
//!
//! It owns the catalog file's format and its bounds. It does not read files (`config` does), knows no workspace
//! and decides no charge.
//!
//! Invariant: a `Catalog` that exists is valid: names are unique and well formed, every number is within bounds.

mod read;

use billing::Time;
use serde::Serialize;
use utoipa::ToSchema;

use crate::toml_reader;

/// The largest number of credits a plan or pack may give.
pub const MAX_CREDITS: i64 = 1_000_000_000_000;
/// The largest price: of an operation in credits, of a plan or pack in minor units of its currency.
pub const MAX_PRICE: i64 = 1_000_000_000;
/// The largest number of operations, of plans and of packs.
pub const MAX_ENTRIES: usize = 1_000;

/// One price list. Immutable: a change is a new catalog with another `version`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Catalog {
    /// Chosen by whoever writes the file; shown, never compared.
    pub version: i64,
    /// Since when it holds, RFC 3339; from the beginning when it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub from: Option<String>,
    /// Tax on top of every price of a plan or pack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tax: Option<Tax>,
    /// In the order of the file.
    pub operations: Vec<Operation>,
    /// In the order of the file.
    pub plans: Vec<Plan>,
    /// In the order of the file.
    pub packs: Vec<Pack>,
    /// Amounts without a pack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom: Option<Custom>,
}

/// A tax that is added to prices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Tax {
    /// What the line is called.
    pub label: String,
    /// Hundredths of a percent.
    pub rate: i64,
}

/// Credits bought without a pack: so much for so many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Custom {
    /// The fewest credits.
    pub minimum: i64,
    /// The most credits.
    pub maximum: i64,
    /// How many credits the price is for.
    pub per: i64,
    /// Money for them; a part is rounded up to a whole minor unit.
    pub price: Price,
}

/// Something that costs credits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Operation {
    /// Its name in the API.
    pub operation: String,
    /// Its name on the screen.
    pub label: String,
    /// What one of it is called, in the singular.
    pub unit: String,
    /// Credits per unit, 0 or more.
    pub price: i64,
    /// What counts as success.
    pub charged_on: String,
}

/// A subscription tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Plan {
    /// Its name in the API.
    pub plan: String,
    /// Its name on the screen.
    pub label: String,
    /// Credits added at the start and at every renewal; where `grants` is shorter than `interval`, as often as that says.
    pub credits: i64,
    /// How often it is paid.
    pub interval: Interval,
    /// How often its credits are added.
    pub grants: Interval,
    /// Money per interval.
    pub price: Price,
    /// When what is unused expires; nothing does by default.
    pub expires: Expires,
    /// The most unused credits of the plan that a renewal leaves; all by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollover: Option<i64>,
    /// Credits for a first time without money, once for each workspace that pays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trial: Option<Trial>,
    /// What changing to it within a period means.
    pub upgrade: Upgrade,
}

/// Credits for a first time without money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Trial {
    /// How long it is.
    pub days: i64,
    /// Credits that end with it.
    pub credits: i64,
}

/// When unused credits of a plan expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Expires {
    Never,
    PeriodEnd,
}

/// What changing to a larger plan within a period means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Upgrade {
    /// The difference in money and credits for what is left of the period.
    Prorated,
    /// A whole new period at the full price, from now on.
    NewPeriod,
}

/// Credits bought once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Pack {
    /// Its name in the API.
    pub pack: String,
    /// Its name on the screen.
    pub label: String,
    /// Credits in it.
    pub credits: i64,
    /// Credits on top, as a grant of their own.
    pub bonus: i64,
    /// Days after which they are gone; never by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_days: Option<i64>,
    /// Money for all of them.
    pub price: Price,
}

/// An amount of money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Price {
    /// In minor units of the currency (cents).
    pub amount: i64,
    /// Three uppercase letters (ISO 4217).
    pub currency: String,
}

/// How long a plan's period is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Interval {
    /// A calendar month.
    Month,
    /// Three calendar months.
    Quarter,
    /// Six calendar months.
    HalfYear,
    /// A calendar year.
    Year,
}

impl Interval {
    /// In calendar months.
    pub fn months(self) -> i64 {
        match self {
            Interval::Month => 1,
            Interval::Quarter => 3,
            Interval::HalfYear => 6,
            Interval::Year => 12,
        }
    }

    /// On the screen.
    pub fn label(self) -> &'static str {
        match self {
            Interval::Month => "month",
            Interval::Quarter => "quarter",
            Interval::HalfYear => "half-year",
            Interval::Year => "year",
        }
    }
}

impl Catalog {
    /// Parses a catalog file. `file_name` is only used in the error, which is one line: file, line, key, problem.
    pub fn parse(file_name: &str, text: &str) -> Result<Catalog, String> {
        toml_reader::read(file_name, text, |root| read::catalog(&root))
    }

    /// The example catalog that serves when no other is configured.
    pub fn builtin() -> Catalog {
        let text = include_str!("../../../catalog.toml");
        Catalog::parse("catalog.toml", text).expect("the embedded catalog is valid: a test parses it")
    }

    /// Since when it holds.
    pub fn since(&self) -> Time {
        self.from.as_deref().and_then(crate::clock::parse_rfc3339).unwrap_or(Time(i64::MIN))
    }

    /// The operation of this name.
    pub fn operation(&self, name: &str) -> Option<&Operation> {
        self.operations.iter().find(|operation| operation.operation == name)
    }

    /// The plan of this name.
    pub fn plan(&self, name: &str) -> Option<&Plan> {
        self.plans.iter().find(|plan| plan.plan == name)
    }

    /// The pack of this name.
    pub fn pack(&self, name: &str) -> Option<&Pack> {
        self.packs.iter().find(|pack| pack.pack == name)
    }
}

impl Custom {
    /// Minor units for so many credits, rounded up; `None` when that is beyond what may be paid at once.
    pub fn price_of(&self, credits: i64) -> Option<i64> {
        let money = i128::from(self.price.amount) * i128::from(credits);
        let money = (money + i128::from(self.per) - 1) / i128::from(self.per);
        i64::try_from(money).ok().filter(|money| *money <= MAX_PRICE)
    }
}

impl Tax {
    /// Minor units of tax on a price, rounded half up.
    pub fn on(&self, amount: i64) -> i64 {
        billing::subscription::tax_on(amount, self.rate)
    }
}

/// ISO 4217: how many decimals a currency has, whose code is in capitals. Most have two.
pub fn decimal_places(code: &str) -> u32 {
    match code {
        "CLP" | "ISK" | "JPY" | "KRW" | "PYG" | "UGX" | "VND" | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "JOD" | "KWD" | "OMR" | "TND" => 3,
        _ => 2,
    }
}

#[cfg(test)]
mod tests;
