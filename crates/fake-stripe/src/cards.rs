//! Stripe's test cards: what happens to whoever pays with them.

/// How a card behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Card {
    /// It pays.
    Pays,
    /// Refused with this `decline_code`.
    Declines(&'static str),
    /// Asks its owner once; set up in their presence, it pays in their absence.
    AsksOnce,
    /// Asks its owner every time, so in their absence it never pays.
    AsksAlways,
    /// Can be saved, and is refused whenever it shall pay.
    SavesOnly,
    /// Pays, and its owner disputes the payment at once.
    Disputes,
    /// Takes days, and then pays.
    Slow,
}

/// The numbers of the checkout page, their names in the API, and what they do.
pub const CARDS: [(&str, &str, Card); 9] = [
    ("4242424242424242", "pm_card_visa", Card::Pays),
    ("4000000000000002", "pm_card_visa_chargeDeclined", Card::Declines("generic_decline")),
    (
        "4000000000009995",
        "pm_card_visa_chargeDeclinedInsufficientFunds",
        Card::Declines("insufficient_funds"),
    ),
    ("4000000000000069", "pm_card_chargeDeclinedExpiredCard", Card::Declines("expired_card")),
    ("4000002500003155", "pm_card_authenticationRequiredOnSetup", Card::AsksOnce),
    ("4000002760003184", "pm_card_authenticationRequired", Card::AsksAlways),
    ("4000000000000341", "pm_card_chargeCustomerFail", Card::SavesOnly),
    ("4000000000000259", "pm_card_createDispute", Card::Disputes),
    ("000123456789", "pm_usBankAccount_success", Card::Slow),
];

/// A card by its number or its name.
pub fn find(text: &str) -> Option<(&'static str, Card)> {
    let found = CARDS.iter().find(|(number, name, _)| *number == text || *name == text);
    found.map(|(number, _, card)| (&number[number.len() - 4..], *card))
}
