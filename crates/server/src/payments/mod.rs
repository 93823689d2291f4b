//! Who takes the money: one interface, Stripe behind it, and the sandbox that stands for a provider.
//!
//! Owns the words that are spoken with a provider. It knows no account and no table: an [`Order`] goes in, and what the
//! provider says of it comes out, as a [`Said`]. `store.apply_payment` is the only place where that becomes credits.

pub mod sandbox;
pub mod stripe;

use std::sync::Arc;

use billing::Time;

use crate::config::PaymentsConfig;
use sandbox::Sandbox;
use stripe::Stripe;

/// The provider that is configured.
#[derive(Clone, Debug)]
pub enum Payments {
    /// A local checkout page that takes no money.
    Sandbox,
    /// Stripe.
    Stripe(Arc<Stripe>),
}

/// What a provider is asked to take money for. Everything in it is ours: nothing comes from a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Order {
    /// When it was ordered.
    pub created_at: Time,
    /// The payment's id in the API: unique, the base of idempotency keys, and what goes into the provider's metadata.
    pub payment: String,
    /// Which attempt at the saved method this is, from 1.
    pub attempt: i64,
    /// The workspace's id in the API.
    pub workspace: String,
    /// What the payer reads: `5,000 credits`.
    pub title: String,
    /// Minor units of the currency, tax included.
    pub amount: i64,
    /// Minor units of tax in it.
    pub tax: i64,
    /// Three uppercase letters.
    pub currency: String,
    /// Where a receipt may be sent.
    pub email: Option<String>,
    /// The payer at the provider, once there is one.
    pub customer: Option<String>,
    /// The saved method, once there is one.
    pub method: Option<String>,
    /// Where the provider's page leads back to, whatever happened there.
    pub return_url: String,
    /// The page of ours that is the sandbox's checkout.
    pub sandbox_url: String,
    /// The checkout session that was opened for it.
    pub checkout: Option<String>,
    /// What is known of it already.
    pub known: Said,
}

/// An opened checkout.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkout {
    /// The provider's session; none in the sandbox.
    pub session: Option<String>,
    /// Where the payer goes.
    pub url: String,
}

/// How a payment object stands at the provider.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Stands {
    /// Nothing was tried yet.
    #[default]
    Open,
    /// The money is on its way.
    Processing,
    /// The last try failed.
    Declined,
    /// Nobody can pay it any more.
    Expired,
    /// Paid, whatever was given back since.
    Paid,
}

/// What the provider says of one payment object now. All sums only ever grow, so that of two reports the later one is known
/// by its sums, in whatever order they arrive.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Said {
    /// The payment object, once there is one.
    pub object: Option<String>,
    /// How it stands.
    pub stands: Stands,
    /// Minor units that it is about, tax included. Looked at once it is paid.
    pub amount: i64,
    /// Its currency, in any case.
    pub currency: String,
    /// Tax in the amount, where the provider computed it; then the amount is ours without tax, and this.
    pub tax: Option<i64>,
    /// Minor units given back by refunds so far, also by those that failed afterwards.
    pub refunded: i64,
    /// Minor units of those that failed, so that the money is here again.
    pub undone: i64,
    /// The numbers of our own refunds among those that failed.
    pub failed: Vec<i64>,
    /// Minor units that disputes ever took.
    pub disputed: i64,
    /// Minor units of those that came back.
    pub reinstated: i64,
    /// The payer.
    pub customer: Option<String>,
    /// The method that was kept: its id, and words for a person such as `Visa 4242`.
    pub method: Option<(String, String)>,
    /// Why it was declined, in words for the payer.
    pub reason: Option<String>,
}

/// Why the provider did not do what was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// It will not: asking the same again makes no sense.
    Refused(String),
    /// Nobody knows whether it did: ask again under the same key.
    Unknown(String),
}

impl Payments {
    /// Builds the client; connects to nothing.
    ///
    /// # Errors
    /// One line for the operator.
    pub fn new(config: &PaymentsConfig) -> Result<Payments, String> {
        Ok(match config {
            PaymentsConfig::Sandbox => Payments::Sandbox,
            PaymentsConfig::Stripe(stripe) => Payments::Stripe(Arc::new(Stripe::new(stripe)?)),
        })
    }

    /// Whether it does.
    pub fn moves_real_money(&self) -> bool {
        matches!(self, Payments::Stripe(stripe) if stripe.is_live())
    }

    /// Whether it says what tax is added to prices, so that nobody knows it before.
    pub fn adds_tax(&self) -> bool {
        matches!(self, Payments::Stripe(stripe) if stripe.adds_tax())
    }

    /// Where the provider's own pages are, as origins with a space between them; `None`: they are ours.
    pub fn pages(&self) -> Option<&str> {
        match self {
            Payments::Sandbox => None,
            Payments::Stripe(stripe) => Some(stripe.pages()),
        }
    }

    /// Opens a checkout page. Asked again for the same order, it is the same page.
    pub async fn checkout(&self, order: &Order) -> Result<Checkout, Failure> {
        match self {
            Payments::Sandbox => Ok(Sandbox::checkout(order)),
            Payments::Stripe(stripe) => stripe.checkout(order).await,
        }
    }

    /// Charges the saved method, without a person. Declined is an answer. Asked again with the same attempt, it is the same
    /// charge.
    pub async fn charge_saved(&self, order: &Order) -> Result<Said, Failure> {
        match self {
            Payments::Sandbox => Ok(Sandbox::charge_saved(order)),
            Payments::Stripe(stripe) => stripe.charge_saved(order).await,
        }
    }

    /// Closes a checkout page, so that nobody can pay there any more; what was paid there, or is on its way, if it was.
    pub async fn close(&self, order: &Order) -> Result<Option<Said>, Failure> {
        match (self, &order.checkout) {
            (Payments::Stripe(stripe), Some(session)) => stripe.close(session).await,
            // The sandbox's page looks at the order each time.
            _ => Ok(None),
        }
    }

    /// Gives money back, as refund `number` of this payment, and says how the payment stands then. Asked again with the same
    /// number, it is the same refund. The first `before` minor units were given back by earlier numbers.
    pub async fn refund(&self, order: &Order, refund: Refund) -> Result<Said, Failure> {
        match self {
            Payments::Sandbox => Ok(Sandbox::refund(order, refund)),
            Payments::Stripe(stripe) => stripe.refund(order, refund).await,
        }
    }

    /// How the payment stands now.
    pub async fn fetch(&self, order: &Order) -> Result<Said, Failure> {
        match self {
            Payments::Sandbox => Ok(order.known.clone()),
            Payments::Stripe(stripe) => stripe.fetch(order).await,
        }
    }

    /// The page where a payer changes the saved method, if the provider has one.
    pub async fn portal(&self, customer: &str, return_url: &str) -> Result<Option<String>, Failure> {
        match self {
            Payments::Sandbox => Ok(None),
            Payments::Stripe(stripe) => stripe.portal(customer, return_url).await,
        }
    }
}

/// One refund.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refund {
    /// Its number within the payment, from 1.
    pub number: i64,
    /// Minor units, above zero.
    pub amount: i64,
    /// Minor units of all refunds before it.
    pub before: i64,
}
