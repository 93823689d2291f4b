//! A stand-in for Stripe: the part of its API that takes one-off and saved-card payments, with its memory and its bad days.
//!
//! Owns the listener. What Stripe knows is in `stripe`, what it does with money in `payments`, its page in `checkout`, its own plans in
//! `subscriptions`, its taxes in `tax`, what it tells in `events`, and how a test takes hold of it from another process in `control`.
//!
//! Invariant: a key has at most one effect. Whatever is written on the wire, Stripe's own SDKs must be able to read
//! (`tests/stripe`).

pub mod cards;
mod checkout;
mod control;
mod disputes;
pub mod events;
mod form;
mod http;
mod parameters;
mod payments;
pub mod stripe;
mod subscriptions;
mod tax;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub use checkout::Shown;
pub use stripe::{Fault, Stripe, Watcher};

/// The key that it wants.
pub const SECRET_KEY: &str = "sk_test_fake";
/// What it signs its events with, unless it is told otherwise.
pub const WEBHOOK_SECRET: &str = "whsec_fake";
/// The API version that it speaks.
pub const API_VERSION: &str = "2026-10-28.endive";

/// A running stand-in; dropping it closes the listener.
pub struct FakeStripe {
    /// `http://127.0.0.1:port`
    pub url: String,
    shared: Shared,
    serving: JoinHandle<()>,
}

/// What the listener and its owner both hold.
#[derive(Clone)]
pub(crate) struct Shared {
    stripe: Arc<Mutex<Stripe>>,
}

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, Stripe> {
        self.stripe.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FakeStripe {
    /// Listens on a free port of this machine.
    pub async fn start() -> io::Result<FakeStripe> {
        FakeStripe::listen("127.0.0.1:0").await
    }

    /// Listens at an address.
    pub async fn listen(address: &str) -> io::Result<FakeStripe> {
        FakeStripe::at(address, Stripe::new).await
    }

    /// Listens on a free port, and knows what another one knew.
    pub async fn knowing(mut stripe: Stripe) -> io::Result<FakeStripe> {
        let moved = |base| {
            stripe.base = base;
            stripe
        };
        FakeStripe::at("127.0.0.1:0", moved).await
    }

    async fn at(address: &str, stripe: impl FnOnce(String) -> Stripe) -> io::Result<FakeStripe> {
        let listener = TcpListener::bind(address).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let shared = Shared { stripe: Arc::new(Mutex::new(stripe(url.clone()))) };
        let router = http::router(shared.clone());
        let serving = tokio::spawn(async move { drop(axum::serve(listener, router).await) });
        Ok(FakeStripe { url, shared, serving })
    }

    /// What it knows, for as long as it is looked at.
    pub fn stripe(&self) -> MutexGuard<'_, Stripe> {
        self.shared.lock()
    }

    /// Serves until it is ended.
    pub async fn served(mut self) {
        let _ = (&mut self.serving).await;
    }
}

impl Drop for FakeStripe {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
