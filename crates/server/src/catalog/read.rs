//! How a catalog file is read: which keys there are, and what they may hold.

use super::{
    Catalog, Custom, Expires, Interval, MAX_CREDITS, MAX_ENTRIES, MAX_PRICE, Operation, Pack, Plan, Price,
    Tax, Trial, Upgrade,
};
use crate::toml_reader::Table;

/// The whole file.
pub(super) fn catalog(root: &Table) -> Result<Catalog, String> {
    root.only(&["version", "from", "tax", "operations", "plans", "packs", "custom"])?;
    let version = root.number("version", 1..=MAX_PRICE, "a whole number, 1 or more")?;
    Ok(Catalog {
        version: present(root, "version", version)?,
        from: since(root)?,
        tax: root.table("tax")?.as_ref().map(tax).transpose()?,
        custom: root.table("custom")?.as_ref().map(custom).transpose()?,
        operations: named(root, "operations", operation)?,
        plans: named(root, "plans", plan)?,
        packs: named(root, "packs", pack)?,
    })
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

fn since(root: &Table) -> Result<Option<String>, String> {
    let Some(text) = root.text("from", 40)? else { return Ok(None) };
    match crate::clock::parse_rfc3339(text) {
        Some(_) => Ok(Some(text.to_owned())),
        None => Err(root.error("from", "must be a moment such as \"2027-01-01T00:00:00Z\"")),
    }
}

fn tax(table: &Table) -> Result<Tax, String> {
    table.only(&["label", "rate"])?;
    let rate = table.number("rate", 0..=10_000, "hundredths of a percent, 0 to 10000")?;
    Ok(Tax { label: text(table, "label")?, rate: present(table, "rate", rate)? })
}

fn custom(table: &Table) -> Result<Custom, String> {
    table.only(&["minimum", "maximum", "per", "price"])?;
    let credits = |key| {
        let number = table.number(key, 1..=MAX_CREDITS, "a whole number of credits, 1 to 1000000000000")?;
        present(table, key, number)
    };
    let custom = Custom {
        minimum: credits("minimum")?,
        maximum: credits("maximum")?,
        per: credits("per")?,
        price: price(table)?,
    };
    if custom.maximum < custom.minimum {
        return Err(table.error("maximum", "must not be below minimum"));
    }
    if custom.price_of(custom.maximum).is_none() {
        return Err(table.error("maximum", "must not cost more than 1000000000 minor units"));
    }
    Ok(custom)
}

fn plan(name: &str, table: &Table) -> Result<Plan, String> {
    table.only(&[
        "label", "credits", "interval", "grants", "price", "expires", "rollover", "trial", "upgrade",
    ])?;
    let every = present(table, "interval", interval(table, "interval")?)?;
    let grants = interval(table, "grants")?.unwrap_or(every);
    if every.months() % grants.months() != 0 {
        return Err(table.error("grants", "must fit a whole number of times into the interval"));
    }
    let expires = choice(table, "expires", [("never", Expires::Never), ("period_end", Expires::PeriodEnd)])?;
    let upgrade =
        choice(table, "upgrade", [("prorated", Upgrade::Prorated), ("new_period", Upgrade::NewPeriod)])?;
    Ok(Plan {
        plan: name.to_owned(),
        label: text(table, "label")?,
        credits: credits(table)?,
        interval: every,
        grants,
        price: price(table)?,
        expires: expires.unwrap_or(Expires::Never),
        rollover: table.number(
            "rollover",
            0..=MAX_CREDITS,
            "a whole number of credits, 0 to 1000000000000",
        )?,
        trial: table.table("trial")?.as_ref().map(trial).transpose()?,
        upgrade: upgrade.unwrap_or(Upgrade::Prorated),
    })
}

fn trial(table: &Table) -> Result<Trial, String> {
    table.only(&["days", "credits"])?;
    let days = table.number("days", 1..=366, "a whole number of days, 1 to 366")?;
    Ok(Trial { days: present(table, "days", days)?, credits: credits(table)? })
}

fn interval(table: &Table, key: &str) -> Result<Option<Interval>, String> {
    use Interval::{HalfYear, Month, Quarter, Year};
    choice(table, key, [("month", Month), ("quarter", Quarter), ("half_year", HalfYear), ("year", Year)])
}

/// One of a few words.
fn choice<T: Copy, const N: usize>(
    table: &Table,
    key: &str,
    words: [(&str, T); N],
) -> Result<Option<T>, String> {
    let Some(text) = table.text(key, 64)? else { return Ok(None) };
    let known = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    let quoted: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
    known.map(Some).ok_or_else(|| table.error(key, &format!("must be {}", quoted.join(" or "))))
}

fn pack(name: &str, table: &Table) -> Result<Pack, String> {
    table.only(&["label", "credits", "bonus", "expires_days", "price"])?;
    let bonus = table.number("bonus", 0..=MAX_CREDITS, "a whole number of credits, 0 to 1000000000000")?;
    Ok(Pack {
        pack: name.to_owned(),
        label: text(table, "label")?,
        credits: credits(table)?,
        bonus: bonus.unwrap_or(0),
        expires_days: table.number("expires_days", 1..=36_600, "a whole number of days, 1 to 36600")?,
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
