//! What one unit of an operation costs. Versioned: a hold keeps the price it was made at.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use crate::refusal::Refusal;
use crate::units::{MAX_CREDITS, Quantity};

/// The prices of one version of the catalog.
#[derive(Clone, Debug, Default)]
pub struct RateCard {
    /// The catalog's version.
    pub version: i64,
    rates: BTreeMap<Arc<str>, i64>,
}

/// One priced request: so many units of an operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Price {
    /// The operation's name.
    pub operation: Arc<str>,
    /// Units.
    pub quantity: i64,
    /// Credits per unit.
    pub unit_price: i64,
    /// The catalog version that the price is from.
    pub version: i64,
}

impl Price {
    /// Credits for all units. Never overflows: [`RateCard::price`] refused what would.
    pub fn amount(&self) -> i64 {
        self.quantity * self.unit_price
    }
}

impl RateCard {
    /// A card from operation names and their credits per unit.
    pub fn new(version: i64, rates: impl IntoIterator<Item = (Arc<str>, i64)>) -> RateCard {
        RateCard { version, rates: rates.into_iter().collect() }
    }

    /// Credits per unit, or `None` for an operation that is not on the card.
    pub fn unit_price(&self, operation: &str) -> Option<i64> {
        self.rates.get(operation).copied()
    }

    /// The price of so many units; `Ok(None)` for an unknown operation.
    ///
    /// # Errors
    /// [`Refusal::InvalidField`] when the amount is beyond [`MAX_CREDITS`].
    pub fn price(&self, operation: &str, quantity: Quantity) -> Result<Option<Price>, Refusal> {
        let Some((operation, unit_price)) = self.rates.get_key_value(operation) else { return Ok(None) };
        let amount = quantity.get().checked_mul(*unit_price);
        if amount.is_none_or(|credits| credits > MAX_CREDITS) {
            return Err(Refusal::InvalidField {
                field: "quantity",
                reason: "costs more credits than one command may move",
            });
        }
        let (operation, unit_price) = (operation.clone(), *unit_price);
        Ok(Some(Price { operation, quantity: quantity.get(), unit_price, version: self.version }))
    }
}
