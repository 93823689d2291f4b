//! The sandbox: cards that always do the same, and no money.
//!
//! It keeps nothing: what a card does follows from the card alone, so that asking again is the same charge.

use super::{Checkout, Order, Refund, Said, Stands};

/// See the module.
pub struct Sandbox;

/// What the sandbox's cards do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Card {
    /// Pays, now and later.
    #[default]
    Pays,
    /// Declined, always.
    Declined,
    /// Pays after a second step in person; without a person it is declined.
    NeedsStep,
    /// Pays now, and is declined when it is charged without a person.
    DeclinedLater,
}

impl Card {
    /// All of them, in the order of the page.
    pub const ALL: [Card; 4] = [Card::Pays, Card::NeedsStep, Card::DeclinedLater, Card::Declined];

    /// Its name in forms and as a saved method.
    pub fn name(self) -> &'static str {
        match self {
            Card::Pays => "pays",
            Card::Declined => "declined",
            Card::NeedsStep => "needs_step",
            Card::DeclinedLater => "declined_later",
        }
    }

    /// In words.
    pub fn label(self) -> &'static str {
        match self {
            Card::Pays => "Card that pays",
            Card::Declined => "Card that is declined",
            Card::NeedsStep => "Card that needs a second step",
            Card::DeclinedLater => "Card that pays now and is declined later",
        }
    }

    /// The card of a name.
    pub fn of(name: &str) -> Option<Card> {
        Card::ALL.into_iter().find(|card| card.name() == name)
    }
}

impl Sandbox {
    pub(super) fn checkout(order: &Order) -> Checkout {
        Checkout { session: None, url: order.sandbox_url.clone() }
    }

    /// What a person did on the checkout page.
    pub fn in_person(order: &Order, card: Card) -> Said {
        match card {
            _ if order.known.stands == Stands::Expired => order.known.clone(),
            Card::Declined => declined(order, "The card was declined."),
            card => Said {
                method: Some((card.name().to_owned(), card.label().to_owned())),
                customer: Some(format!("sandbox_{}", order.workspace)),
                ..paid(order)
            },
        }
    }

    pub(super) fn charge_saved(order: &Order) -> Said {
        match order.method.as_deref().and_then(Card::of) {
            Some(Card::Pays) => paid(order),
            Some(Card::NeedsStep) => declined(order, "The bank wants the card's owner to confirm it."),
            Some(_) => declined(order, "The card was declined."),
            None => declined(order, "No payment method is saved."),
        }
    }

    pub(super) fn refund(order: &Order, refund: Refund) -> Said {
        Said { refunded: order.known.refunded.max(refund.before + refund.amount), ..order.known.clone() }
    }
}

fn paid(order: &Order) -> Said {
    Said { stands: Stands::Paid, ..known(order) }
}

fn declined(order: &Order, reason: &str) -> Said {
    Said { stands: Stands::Declined, reason: Some(reason.to_owned()), ..known(order) }
}

fn known(order: &Order) -> Said {
    Said {
        object: Some(format!("sandbox_{}", order.payment)),
        amount: order.amount,
        currency: order.currency.clone(),
        ..order.known.clone()
    }
}
