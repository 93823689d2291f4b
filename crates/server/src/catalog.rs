//! The price list: operations with their prices in credits, plans and packs with their prices in money.
//!
//! It owns the catalog file's format and its bounds. It does not read files (`config` does), knows no workspace
//! and decides no charge.
//!
//! Invariant: a `Catalog` that exists is valid: names are unique and well formed, every number is within bounds.

use serde::Serialize;
use utoipa::ToSchema;

use crate::toml_reader::{self, Table};

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
    /// In the order of the file.
    pub operations: Vec<Operation>,
    /// In the order of the file.
    pub plans: Vec<Plan>,
    /// In the order of the file.
    pub packs: Vec<Pack>,
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
    /// Credits added at the start and at every renewal.
    pub credits: i64,
    /// The length of a period.
    pub interval: Interval,
    /// Money per period.
    pub price: Price,
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
    /// A calendar year.
    Year,
}

impl Catalog {
    /// Parses a catalog file. `file_name` is only used in the error, which is one line: file, line, key, problem.
    pub fn parse(file_name: &str, text: &str) -> Result<Catalog, String> {
        toml_reader::read(file_name, text, |root| {
            root.only(&["version", "operations", "plans", "packs"])?;
            let version = root.number("version", 1..=MAX_PRICE, "a whole number, 1 or more")?;
            Ok(Catalog {
                version: present(&root, "version", version)?,
                operations: named(&root, "operations", operation)?,
                plans: named(&root, "plans", plan)?,
                packs: named(&root, "packs", pack)?,
            })
        })
    }

    /// The example catalog that serves when no other is configured.
    pub fn builtin() -> Catalog {
        let text = include_str!("../../../catalog.toml");
        Catalog::parse("catalog.toml", text).expect("the embedded catalog is valid: a test parses it")
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

fn operation(name: &str, table: &Table) -> Result<Operation, String> {
    table.only(&["label", "unit", "price", "charged_on"])?;
    let price = table.number("price", 0..=MAX_PRICE, "a whole number of credits, 0 to 1000000000")?;
    Ok(Operation {
        operation: name.to_owned(),
        label: text(table, "label")?,
        unit: text(table, "unit")?,
        price: present(table, "price", price)?,
        charged_on: text(table, "charged_on")?,
    })
}

fn plan(name: &str, table: &Table) -> Result<Plan, String> {
    table.only(&["label", "credits", "interval", "price"])?;
    let interval = match text(table, "interval")?.as_str() {
        "month" => Interval::Month,
        "year" => Interval::Year,
        _ => return Err(table.error("interval", "must be \"month\" or \"year\"")),
    };
    Ok(Plan {
        plan: name.to_owned(),
        label: text(table, "label")?,
        credits: credits(table)?,
        interval,
        price: price(table)?,
    })
}

fn pack(name: &str, table: &Table) -> Result<Pack, String> {
    table.only(&["label", "credits", "price"])?;
    Ok(Pack {
        pack: name.to_owned(),
        label: text(table, "label")?,
        credits: credits(table)?,
        price: price(table)?,
    })
}

fn credits(table: &Table) -> Result<i64, String> {
    let credits =
        table.number("credits", 1..=MAX_CREDITS, "a whole number of credits, 1 to 1000000000000")?;
    present(table, "credits", credits)
}

fn price(table: &Table) -> Result<Price, String> {
    let price = present(table, "price", table.table("price")?)?;
    price.only(&["amount", "currency"])?;
    let amount = price.number("amount", 0..=MAX_PRICE, "a whole number of minor units, 0 to 1000000000")?;
    let currency = text(&price, "currency")?;
    if currency.len() != 3 || !currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(price.error("currency", "must be three uppercase letters"));
    }
    Ok(Price { amount: present(&price, "amount", amount)?, currency })
}

/// Reads the tables inside `key`, whose names are the names of the things read.
fn named<T>(root: &Table, key: &str, read: fn(&str, &Table) -> Result<T, String>) -> Result<Vec<T>, String> {
    let Some(parent) = root.table(key)? else { return Ok(Vec::new()) };
    let tables = parent.named_tables()?;
    if tables.len() > MAX_ENTRIES {
        return Err(root.error(key, "must be at most 1000 tables"));
    }
    tables
        .iter()
        .map(|(name, table)| {
            if well_formed(name) {
                read(name, table)
            } else {
                Err(parent.error(name, "the name must be 1 to 64 of a-z, 0-9 and _"))
            }
        })
        .collect()
}

fn well_formed(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}

fn text(table: &Table, key: &str) -> Result<String, String> {
    let text = table.text(key, 200)?;
    present(table, key, text).map(str::to_owned)
}

fn present<T>(table: &Table, key: &str, value: Option<T>) -> Result<T, String> {
    value.ok_or_else(|| table.error(key, "is missing"))
}

#[cfg(test)]
mod tests;
