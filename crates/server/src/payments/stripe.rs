//! Stripe takes the money; when it is taken is Scrip's decision, so of Stripe's own subscriptions and invoices nothing is used.
//!
//! Owns the words between our orders and Stripe's objects. A payment is a Checkout session with its payment intent, or one payment
//! intent that is confirmed with the saved method, again at each attempt: an intent can be paid once only, whatever is lost.
//!
//! Invariant: what is said of a payment was read from Stripe just now, in our mode; nothing is taken from an event.

mod objects;
mod saved;
mod webhook;
mod wire;
mod words;

use std::collections::BTreeSet;
use std::sync::OnceLock;

use billing::Time;
use billing::units::{DAY, SECOND};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};

use self::objects::{Account, Dispute, Intent, List, Named, Portal, Session};
use self::wire::{Field, SIDE_BY_SIDE, Wire, Wrong};
use super::{Checkout, Failure, Order, Refund, Said, Stands};
use crate::config::{STRIPE, Secret, StripeConfig};
use crate::hex::hex;

pub use webhook::Forged;

/// Our payment's id in the metadata of Stripe's objects.
const PAYMENT: &str = "scrip_payment";
/// Whether an intent is confirmed without a person.
const SAVED: &str = "scrip_saved";
/// A refund's number within its payment.
const REFUND: &str = "scrip_refund";
/// Tax that Stripe adds to our price: so many minor units, or what the checkout came to.
const TAX: &str = "scrip_tax";
const AT_CHECKOUT: &str = "checkout";
/// How long a dispute may take to end, in seconds: so long it is looked at.
const DISPUTE_SECONDS: i64 = 120 * 86_400;
/// How far Stripe's clock may be from ours, in seconds, when its lists are asked by time.
const SKEW_SECONDS: i64 = 3_600;

/// The client.
#[derive(Debug)]
pub struct Stripe {
    wire: Wire,
    livemode: bool,
    automatic_tax: bool,
    webhook_secrets: Vec<Secret>,
    account: OnceLock<String>,
    pages: String,
}

/// What an event hints at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Hint {
    /// A payment intent.
    Intent(String),
    /// A payment intent of which a refund changed.
    Refund(String),
    /// A Checkout session that nobody has tried to pay.
    Session(String),
    /// A customer whose saved method may be another one now.
    Customer(String),
}

impl From<Wrong> for Failure {
    fn from(wrong: Wrong) -> Failure {
        match wrong {
            Wrong::Declined { reason, .. } | Wrong::NeedsAction { reason, .. } | Wrong::Invalid(reason) => {
                Failure::Refused(reason)
            }
            Wrong::Closed(reason) | Wrong::RateLimited(reason) | Wrong::Unknown(reason) => {
                Failure::Unknown(reason)
            }
        }
    }
}

impl Stripe {
    /// Builds the client; connects to nothing.
    ///
    /// # Errors
    /// One line for the operator.
    pub fn new(config: &StripeConfig) -> Result<Stripe, String> {
        Ok(Stripe {
            wire: Wire::new(config)?,
            livemode: config.is_live(),
            automatic_tax: config.automatic_tax,
            webhook_secrets: config.webhook_secrets.clone(),
            account: OnceLock::new(),
            pages: {
                let usual = match config.api_url.as_str() {
                    STRIPE => "https://checkout.stripe.com https://billing.stripe.com",
                    elsewhere => elsewhere,
                };
                let custom = config.custom_domain.as_ref();
                custom.map_or(usual.to_owned(), |custom| format!("{usual} {custom}"))
            },
        })
    }

    /// Whether it moves real money.
    pub fn is_live(&self) -> bool {
        self.livemode
    }

    /// Whether it says what tax is added to our prices.
    pub fn adds_tax(&self) -> bool {
        self.automatic_tax
    }

    /// Where its pages are, as origins with a space between them.
    pub fn pages(&self) -> &str {
        &self.pages
    }

    /// The account behind the key and its mode, in words that tell it from any other.
    ///
    /// # Errors
    /// When Stripe does not say.
    pub async fn account(&self) -> Result<String, Failure> {
        let account: Account = self.wire.get("account", &[]).await?;
        let mode = if self.livemode { "live" } else { "test" };
        Ok(format!("{} {mode}", account.id))
    }

    /// From now on its words are believed to be of this account, in the words of [`Stripe::account`].
    pub fn trust(&self, account: String) {
        self.account.get_or_init(|| account);
    }

    /// Whether it is known whose account this is.
    pub fn is_trusted(&self) -> bool {
        self.account.get().is_some()
    }

    /// Whether an event is Stripe's and meant for us, and what it hints at. `now` is the clock's.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn hint(&self, body: &[u8], signature: &str, now: Time) -> Result<Option<Hint>, Forged> {
        webhook::verify(body, signature, &self.webhook_secrets, now)?;
        let account = self.account.get().and_then(|account| account.split(' ').next());
        webhook::hint(body, self.livemode, account)
    }

    /// What Stripe says now of what an event hinted at: our payment's id and how it stands; `None` when it is not ours.
    ///
    /// # Errors
    /// When Stripe does not say.
    pub async fn look(&self, hint: &Hint) -> Result<Option<(String, Said)>, Failure> {
        match hint {
            Hint::Intent(id) => self.said(self.intent(id).await?).await,
            Hint::Refund(id) => {
                let Some((payment, said)) = self.said(self.intent(id).await?).await? else { return Ok(None) };
                Ok(Some((payment, self.with_refunds(said).await?)))
            }
            Hint::Customer(_) => Ok(None),
            Hint::Session(id) => {
                let session = self.session(id).await?;
                let payment = session.metadata.as_ref().and_then(|metadata| metadata.get(PAYMENT));
                let Some(payment) = payment.cloned() else { return Ok(None) };
                Ok(Some((payment, self.said_of_session(session).await?)))
            }
        }
    }

    pub(super) async fn checkout(&self, order: &Order) -> Result<Checkout, Failure> {
        let mut fields: Vec<Field<'_>> = vec![
            ("mode", "payment".to_owned()),
            ("line_items[0][quantity]", "1".to_owned()),
            ("line_items[0][price_data][currency]", order.currency.to_lowercase()),
            ("line_items[0][price_data][unit_amount]", self.asked_for(order).to_string()),
            ("line_items[0][price_data][product_data][name]", order.title.clone()),
            ("success_url", order.return_url.clone()),
            ("cancel_url", order.return_url.clone()),
            ("client_reference_id", order.payment.clone()),
            ("metadata[scrip_payment]", order.payment.clone()),
            ("payment_intent_data[metadata][scrip_payment]", order.payment.clone()),
            // The method is kept for renewals and auto-buy.
            ("payment_intent_data[setup_future_usage]", "off_session".to_owned()),
        ];
        if self.automatic_tax {
            fields.extend([
                ("automatic_tax[enabled]", "true".to_owned()),
                ("line_items[0][price_data][tax_behavior]", "exclusive".to_owned()),
                ("payment_intent_data[metadata][scrip_tax]", AT_CHECKOUT.to_owned()),
            ]);
            // Where they live says what tax there is, also on renewals.
            fields.extend(order.customer.is_some().then(|| ("customer_update[address]", "auto".to_owned())));
        }
        match (&order.customer, &order.email) {
            (Some(customer), _) => fields.push(("customer", customer.clone())),
            (None, email) => {
                fields.push(("customer_creation", "always".to_owned()));
                fields.extend(email.clone().map(|email| ("customer_email", email)));
            }
        }
        // Asked again with other words, such as another address, it is another page; nobody has seen the first. So it is behind a
        // page that has ended.
        let words = fields.iter().map(|(name, value)| format!("{name}={value}\n")).collect::<String>();
        let digest: [u8; 32] = Sha256::digest(words.as_bytes()).into();
        let before = order.checkout.as_deref().unwrap_or_default();
        let key = format!("checkout {} {before} {}", order.payment, &hex(&digest)[..16]);
        let session: Session = self.wire.post("checkout/sessions", &key, &fields).await?;
        self.in_our_mode(session.livemode)?;
        let url = session
            .url
            .ok_or_else(|| Failure::Unknown("Stripe opened a checkout without an address".to_owned()))?;
        Ok(Checkout { session: Some(session.id), url })
    }

    /// What Stripe is told to ask for: its own tax comes on top.
    fn asked_for(&self, order: &Order) -> i64 {
        if self.automatic_tax { order.amount - order.tax } else { order.amount }
    }

    pub(super) async fn refund(&self, order: &Order, refund: Refund) -> Result<Said, Failure> {
        let Some(object) = &order.known.object else {
            return Err(Failure::Refused("nothing was paid at Stripe".to_owned()));
        };
        // Stripe forgets keys after a day; what it has done it remembers.
        let done: Vec<objects::Refund> = self.all("refunds", &[("payment_intent", object.clone())]).await?;
        let number = refund.number.to_string();
        let is_done = |done: &objects::Refund| {
            done.metadata.as_ref().and_then(|metadata| metadata.get(REFUND)) == Some(&number)
        };
        if !done.iter().any(is_done) {
            let fields = [
                ("payment_intent", object.clone()),
                ("amount", refund.amount.to_string()),
                ("metadata[scrip_refund]", number.clone()),
            ];
            let key = format!("refund {number} {}", order.payment);
            let _: objects::Refund = self.wire.post("refunds", &key, &fields).await?;
        }
        let intent = self.intent(object).await?;
        let said = self.said_alone(order, intent).await?;
        self.with_refunds(said).await
    }

    pub(super) async fn fetch(&self, order: &Order) -> Result<Said, Failure> {
        let paid = order.known.stands == Stands::Paid;
        match (&order.known.object, &order.checkout) {
            (_, Some(session)) if !paid => self.said_of_session(self.session(session).await?).await,
            (Some(object), _) => {
                let intent = self.intent(object).await?;
                self.said_alone(order, intent).await
            }
            (None, _) => Ok(order.known.clone()),
        }
    }

    /// The payments that changed between two moments, each with our payment's id: what heals lost events.
    ///
    /// # Errors
    /// When Stripe does not say.
    pub async fn paid_since(&self, since: Time, now: Time) -> Result<Vec<(String, Said)>, Failure> {
        // A dispute may end months after it began, a refund fail weeks after it succeeded, and no list says which did: once a day
        // all of them are looked at.
        let is_new_day = since.0 / DAY != now.0 / DAY;
        let from = since.0 / SECOND - SKEW_SECONDS;
        let long_ago = if is_new_day { from - DISPUTE_SECONDS } else { from };
        let since = [("created[gte]", from.to_string())];
        let expanded = [since[0].clone(), ("expand[]", "data.latest_charge".to_owned())];
        let long_ago = [("created[gte]", long_ago.to_string())];
        let (intents, refunds, disputes) = tokio::try_join!(
            self.all::<Intent>("payment_intents", &expanded),
            self.all::<objects::Refund>("refunds", &long_ago),
            self.all::<Dispute>("disputes", &long_ago),
        )?;
        let names = |named: Option<Named>| named.map(|Named(intent)| intent);
        let refunded = refunds.into_iter().filter_map(|refund| names(refund.payment_intent));
        let disputed = disputes.into_iter().filter_map(|dispute| names(dispute.payment_intent));
        let (refunded, disputed): (BTreeSet<String>, BTreeSet<String>) =
            (refunded.collect(), disputed.collect());
        let intents: Vec<Intent> =
            intents.into_iter().filter(|intent| !refunded.contains(&intent.id)).collect();
        let listed: BTreeSet<String> = intents.iter().map(|intent| intent.id.clone()).collect();
        let known = |intent: &String| listed.contains(intent) || refunded.contains(intent);
        let others = disputed.into_iter().filter(|intent| !known(intent)).map(Hint::Intent);
        let others: Vec<Hint> = others.chain(refunded.iter().cloned().map(Hint::Refund)).collect();
        let asked = stream::iter(others).map(|hint| async move { self.look(&hint).await });
        let listed = stream::iter(intents).map(|intent| self.said(intent)).buffer_unordered(SIDE_BY_SIDE);
        let said: Vec<Option<(String, Said)>> =
            listed.chain(asked.buffer_unordered(SIDE_BY_SIDE)).try_collect().await?;
        Ok(said.into_iter().flatten().collect())
    }

    pub(super) async fn portal(&self, customer: &str, return_url: &str) -> Result<Option<String>, Failure> {
        let fields = [("customer", customer.to_owned()), ("return_url", return_url.to_owned())];
        // A page that nobody has seen may be made twice, so each asking is its own.
        let key = format!("portal {}", crate::clock::fresh_id());
        let portal: Portal = self.wire.post("billing_portal/sessions", &key, &fields).await?;
        Ok(Some(portal.url))
    }

    /// The same with what became of each refund: the sum of what is refunded now does not tell it.
    pub(super) async fn with_refunds(&self, said: Said) -> Result<Said, Failure> {
        let (Stands::Paid, Some(object)) = (said.stands, &said.object) else { return Ok(said) };
        let refunds: Vec<objects::Refund> =
            self.all("refunds", &[("payment_intent", object.clone())]).await?;
        let (failed, gone): (Vec<_>, Vec<_>) = refunds
            .into_iter()
            .partition(|refund| matches!(refund.status.as_deref(), Some("failed" | "canceled")));
        let sum = |refunds: &[objects::Refund]| refunds.iter().map(|refund| refund.amount).sum::<i64>();
        let undone = sum(&failed);
        let number = |refund: &objects::Refund| refund.metadata.as_ref()?.get(REFUND)?.parse().ok();
        Ok(Said {
            refunded: sum(&gone) + undone,
            undone,
            failed: failed.iter().filter_map(number).collect(),
            ..said
        })
    }

    async fn intent(&self, id: &str) -> Result<Intent, Failure> {
        let expand = [("expand[]", "latest_charge".to_owned())];
        let intent: Intent = self.wire.get(&format!("payment_intents/{id}"), &expand).await?;
        self.in_our_mode(intent.livemode)?;
        Ok(intent)
    }

    async fn session(&self, id: &str) -> Result<Session, Failure> {
        let session: Session = self.wire.get(&format!("checkout/sessions/{id}"), &[]).await?;
        self.in_our_mode(session.livemode)?;
        Ok(session)
    }

    /// Every page of a list, newest first.
    async fn all<T: DeserializeOwned>(&self, path: &str, fields: &[Field<'_>]) -> Result<Vec<T>, Failure> {
        let mut found: Vec<Value> = Vec::new();
        loop {
            let mut fields = fields.to_vec();
            fields.push(("limit", "100".to_owned()));
            fields.extend(
                found.last().and_then(|last| Some(("starting_after", last["id"].as_str()?.to_owned()))),
            );
            let page: List = self.wire.get(path, &fields).await?;
            let ended = !page.has_more || page.data.is_empty();
            found.extend(page.data);
            if ended {
                break;
            }
        }
        let read = |one| serde_json::from_value(one);
        let garbled = |_| Failure::Unknown("Stripe gave a list that cannot be read".to_owned());
        found.into_iter().map(read).collect::<Result<_, _>>().map_err(garbled)
    }

    fn in_our_mode(&self, livemode: bool) -> Result<(), Failure> {
        if livemode == self.livemode {
            return Ok(());
        }
        Err(Failure::Refused("Stripe's object is of the other mode, test or live".to_owned()))
    }
}
