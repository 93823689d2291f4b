//! The application: the store, the prices, the providers and the secrets, and the one verb that moves credits.
//!
//! Owns `App::post` and signed links. It does *not* know HTTP or SQL.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use billing::{Price, Quantity, RateCard, Time};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::{Notify, watch};

use crate::breaker::Breakers;
use crate::catalog::Catalog;
use crate::clock::Clock;
use crate::config::{Config, MAX_PUBLIC_URL};
use crate::feed::Feeds;
use crate::oidc::Provider;
use crate::password;
use crate::payments::Payments;
use crate::providers::{Guard, MAX_HEADER, Providers, Reach, Receivers, Smtp};
use crate::seal::Seal;
use crate::store::people::Role;
use crate::store::queries::Balance;
use crate::store::{Error, Place, Store};
use crate::trusted_keys::TrustedKeys;

pub use crate::hex::{from_hex, hex};

/// How long a signed link works, in seconds.
pub const LINK_SECONDS: i64 = 15 * 60;

/// The longest that an unsubscribe link adds to the public address and its brackets: a workspace of 19 digits and an address of
/// 254 bytes, in hexadecimal, and half a signature.
const UNSUBSCRIBE: usize = "</unsubscribe/.>".len() + 2 * ("unsubscribe  ".len() + 19 + 254) + 32;
const _: () = assert!(MAX_PUBLIC_URL + UNSUBSCRIBE <= MAX_HEADER);

/// Everything a request needs. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Inner>);

/// What [`App`] shares.
pub struct Inner {
    pub store: Store,
    pub clock: Clock,
    /// By the moment since which they hold; never empty.
    prices: Vec<(Time, Catalog, RateCard)>,
    pub providers: Providers,
    /// Sends notices; without it they are in-app only.
    pub mailer: Option<Smtp>,
    /// The way to whoever takes our webhooks.
    pub receivers: Receivers,
    /// The way to the mail servers of workspaces.
    pub reach: Reach,
    /// Who takes the money; `None`: nothing can be bought.
    pub payments: Option<Payments>,
    /// Whom people may sign in with.
    pub identity: Option<Provider>,
    /// Seals how workspaces reach their own mail servers.
    pub seal: Seal,
    /// Which providers are left alone for a while.
    pub breakers: Breakers,
    /// Where links lead.
    pub public_url: String,
    /// Something may be due: the loops look.
    pub wake: Notify,
    /// Held by whoever moves a manual clock, so that time moves for one at a time.
    pub advancing: tokio::sync::Mutex<()>,
    /// What open streams show.
    pub feeds: Feeds,
    /// Charges served, for the metrics page.
    pub served: Served,
    operator: [u8; 32],
    link_secret: Vec<u8>,
    /// Who waits for a password to be hashed.
    pub(crate) passwords: password::Places,
    /// API keys as this node knows them.
    pub(crate) keys: TrustedKeys,
    stopping: watch::Sender<bool>,
}

/// Counters for the metrics page.
#[derive(Default)]
#[allow(missing_docs)]
pub struct Served {
    pub requests: AtomicI64,
    pub refused: AtomicI64,
    pub failed: AtomicI64,
    pub pieces: AtomicI64,
    pub mails: AtomicI64,
}

/// How a server is started.
pub struct Start<'a> {
    pub config: Config,
    pub place: &'a Place,
    /// A manual clock's start.
    pub manual: Option<Time>,
    pub operator_key: String,
    pub public_url: String,
}

impl std::ops::Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl App {
    /// Opens the store and builds the clients.
    ///
    /// # Errors
    /// One line for the operator.
    pub async fn start(start: Start<'_>) -> Result<App, String> {
        crate::providers::install_crypto();
        let Start { config, place, manual, operator_key, public_url } = start;
        let providers = Providers::new(&config.providers, &config.trust)?;
        let ours = Reach::ours(&config.trust);
        let mailer = config.mail.as_ref().map(|mail| Smtp::new(mail, &ours)).transpose()?;
        let guard = Guard::new(&config.webhooks);
        let receivers = Receivers::new(guard.clone())?;
        let payments = config.payments.as_ref().map(Payments::new).transpose()?;
        let identity = config.oidc.as_ref().map(Provider::new).transpose()?;
        if manual.is_some() && payments.as_ref().is_some_and(Payments::moves_real_money) {
            return Err(
                "--clock manual: refused with a live key in [payments]: money moves in real time".to_owned()
            );
        }
        let store = Store::open(place, manual)?;
        let link_secret =
            store.link_secret().await.map_err(|error| format!("cannot write the database: {error}"))?;
        let with_rates = |catalog: Catalog| {
            let rates = catalog.operations.iter().map(|o| (Arc::from(o.operation.as_str()), o.price));
            let rate_card = RateCard::new(catalog.version, rates);
            (catalog.since(), catalog, rate_card)
        };
        Ok(App(Arc::new(Inner {
            clock: store.clock().clone(),
            prices: config.catalogs.into_iter().map(with_rates).collect(),
            providers,
            mailer,
            receivers,
            reach: Reach::theirs(&config.trust, guard),
            payments,
            identity,
            seal: Seal::new(place, config.seal_key.as_ref(), &operator_key),
            breakers: Breakers::default(),
            public_url: config.public_url.unwrap_or(public_url),
            wake: Notify::new(),
            advancing: tokio::sync::Mutex::new(()),
            feeds: Feeds::default(),
            served: Served::default(),
            operator: Sha256::digest(operator_key.as_bytes()).into(),
            link_secret,
            passwords: password::Places::default(),
            keys: TrustedKeys::default(),
            stopping: watch::Sender::new(false),
            store,
        })))
    }

    /// The price list that holds now.
    pub fn catalog(&self) -> &Catalog {
        &self.prices().1
    }

    /// The price list that will hold then, as far as is known today.
    pub fn catalog_at(&self, at: Time) -> &Catalog {
        &self.prices_at(at.max(self.clock.now())).1
    }

    /// A workspace's balance, with what its next renewal brings by the price list of that day.
    ///
    /// # Errors
    /// When there is no such workspace, or the store cannot read.
    pub async fn balance(&self, workspace: i64) -> Result<Balance, Error> {
        let mut balance = self.store.balance(workspace).await?;
        let then = balance.renews_at.zip(balance.renewal_plan.as_ref());
        let Some((at, plan)) = then else { return Ok(balance) };
        match self.catalog_at(at).plan(plan) {
            Some(plan) => balance.renewal_credits = Some(plan.credits),
            // The plan that was to begin is not offered then, so the one of now goes on.
            None if balance.renewal_credits.is_none() => {
                let is = self.store.workspace(workspace).await?;
                let listed = is.plan.as_ref().and_then(|plan| self.catalog_at(at).plan(plan));
                balance.renewal_credits = listed.map(|plan| plan.credits).or(is.plan_credits);
            }
            None => {}
        }
        Ok(balance)
    }

    fn rate_card(&self) -> &RateCard {
        &self.prices().2
    }

    fn prices(&self) -> &(Time, Catalog, RateCard) {
        self.prices_at(self.clock.now())
    }

    fn prices_at(&self, at: Time) -> &(Time, Catalog, RateCard) {
        let begun = self.prices.iter().rev().find(|(since, ..)| *since <= at);
        begun.unwrap_or(&self.prices[0])
    }

    /// What so many units cost today; `None` for an operation that the catalog does not have.
    ///
    /// # Errors
    /// A refusal when the amount is more than one command may move.
    pub fn price(&self, operation: &str, quantity: Quantity) -> Result<Option<Price>, Error> {
        Ok(self.rate_card().price(operation, quantity)?)
    }

    /// The price of one unit of an operation that campaigns use. A catalog that lacks it gives it away for nothing.
    pub fn unit(&self, operation: &str, quantity: i64) -> Price {
        let quantity = Quantity::new(quantity).unwrap_or(Quantity::ONE);
        let free = || Price {
            operation: operation.into(),
            quantity: quantity.get(),
            unit_price: 0,
            version: self.rate_card().version,
        };
        self.rate_card().price(operation, quantity).ok().flatten().unwrap_or_else(free)
    }

    /// Whether a secret is the operator's. Takes equally long for every wrong one.
    pub fn is_operator(&self, key: &str) -> bool {
        let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        digest.ct_eq(&self.operator).into()
    }

    /// A signed link into the dashboard, and when it stops working.
    pub fn portal_link(&self, link: &Link) -> String {
        format!("{}/portal?token={}", self.public_url, self.seal(link))
    }

    /// A signed link to the sandbox's checkout page of a payment.
    pub fn checkout_link(&self, payment: &str) -> String {
        format!("{}/checkout/{payment}?token={}", self.public_url, self.sign(payment.as_bytes()))
    }

    /// Whether a checkout page's token belongs to its payment.
    pub fn is_checkout_token(&self, payment: &str, token: &str) -> bool {
        self.is_signature(payment.as_bytes(), token)
    }

    /// A signed link that takes an address off everything a workspace sends. It works for ever.
    pub fn unsubscribe_link(&self, workspace: i64, address: &str) -> String {
        let payload = format!("unsubscribe {workspace} {address}");
        let signature = self.sign(payload.as_bytes());
        format!("{}/unsubscribe/{}.{}", self.public_url, hex(payload.as_bytes()), &signature[..32])
    }

    /// The workspace and the address of such a link's token; `None` when it is forged.
    pub fn open_unsubscribe(&self, token: &str) -> Option<(i64, String)> {
        let (payload, signature) = token.split_once('.')?;
        let payload = from_hex(payload)?;
        let genuine = self.sign(&payload);
        if !bool::from(genuine.as_bytes()[..32].ct_eq(signature.as_bytes())) {
            return None;
        }
        let payload = String::from_utf8(payload).ok()?;
        let (workspace, address) = payload.strip_prefix("unsubscribe ")?.split_once(' ')?;
        Some((workspace.parse().ok()?, address.to_owned()))
    }

    /// Reads a portal link's token: `None` when it is forged or too old.
    pub fn open_link(&self, token: &str) -> Option<Link> {
        let (payload, signature) = token.split_once('.')?;
        let payload = from_hex(payload)?;
        if !self.is_signature(&payload, signature) {
            return None;
        }
        let link: Link = serde_json::from_slice(&payload).ok()?;
        (link.expires_at > self.clock.now().0).then_some(link)
    }

    /// Asks the loops to look, now that something may be due.
    pub fn nudge(&self) {
        self.wake.notify_waiters();
        self.wake.notify_one();
    }

    /// Tells the loops to end.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
        self.nudge();
    }

    /// Whether the server is ending.
    pub fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Waits until it is.
    pub async fn stopped(&self) {
        let _ = self.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }

    fn seal(&self, link: &Link) -> String {
        let payload = serde_json::to_vec(link).unwrap_or_default();
        format!("{}.{}", hex(&payload), self.sign(&payload))
    }

    /// Whether a signature is ours. Takes equally long for every wrong one.
    pub(crate) fn is_signature(&self, payload: &[u8], signature: &str) -> bool {
        self.sign(payload).as_bytes().ct_eq(signature.as_bytes()).into()
    }

    /// Signs with the secret of this database.
    pub(crate) fn sign(&self, payload: &[u8]) -> String {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.link_secret).expect("HMAC takes a key of any length");
        mac.update(payload);
        hex(&mac.finalize().into_bytes())
    }
}

/// What a portal link says.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct Link {
    /// `None` for the operator's pages.
    pub workspace: Option<i64>,
    pub role: LinkRole,
    pub email: Option<String>,
    pub return_url: Option<String>,
    /// Microseconds since 1970.
    pub expires_at: i64,
}

/// The role that a link gives.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum LinkRole {
    Admin,
    Member,
    Operator,
}

impl From<LinkRole> for Role {
    fn from(role: LinkRole) -> Role {
        match role {
            LinkRole::Admin => Role::Admin,
            LinkRole::Member => Role::Member,
            LinkRole::Operator => Role::Operator,
        }
    }
}
