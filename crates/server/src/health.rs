//! How the providers and the queues are: one reading for `/metrics` and for the operator's page, so that both say the same.

use billing::Time;

use crate::app::App;
use crate::breaker::Failing;
use crate::store::Error;
use crate::store::queues::Queues;
use crate::store::work::Need;

/// A reading.
#[derive(Clone, Debug)]
pub struct Health {
    pub now: Time,
    pub queues: Queues,
    /// Providers that did not answer the last time, by workspace; as this node knows them.
    pub failing: Vec<Failing>,
}

/// One number of a reading.
#[derive(Clone, Copy, Debug)]
pub struct Gauge {
    /// Its name in `/metrics`.
    pub name: &'static str,
    pub label: &'static str,
    pub value: i64,
    /// Since when the oldest waits.
    pub oldest: Option<Time>,
}

impl Health {
    /// Reads all of it.
    pub async fn read(app: &App) -> Result<Health, Error> {
        let queues = app.store.queues().await?;
        Ok(Health { now: app.clock.now(), queues, failing: app.breakers.failing() })
    }

    /// The workspaces for which a provider is left alone now.
    pub fn away(&self) -> impl Iterator<Item = &Failing> {
        self.failing.iter().filter(|failing| failing.until > self.now)
    }

    /// The numbers.
    pub fn gauges(&self) -> Vec<Gauge> {
        let Queues { pieces, mails, mails_given_up, webhooks, endpoints_failing, unwritten, .. } =
            &self.queues;
        let gauge = |name, label, value| Gauge { name, label, value, oldest: None };
        let since = |gauge, oldest| Gauge { oldest, ..gauge };
        vec![
            since(
                gauge(
                    "scrip_pieces_due",
                    "Pieces of campaigns, searches and jobs that are due",
                    pieces.count,
                ),
                pieces.oldest,
            ),
            since(gauge("scrip_mails_waiting", "Mails that are still tried", mails.count), mails.oldest),
            gauge("scrip_mails_given_up", "Mails that were given up", *mails_given_up),
            since(
                gauge("scrip_webhooks_waiting", "Webhooks that are still tried", webhooks.count),
                webhooks.oldest,
            ),
            gauge("scrip_endpoints_failing", "Webhook endpoints that take nothing", *endpoints_failing),
            gauge(
                "scrip_entries_unwritten",
                "Entries in the journal that are not in their tables yet",
                *unwritten,
            ),
            gauge(
                "scrip_providers_away",
                "Providers that are left alone for a workspace",
                self.away().count() as i64,
            ),
        ]
    }
}

/// Every provider: who needs it, what it is called, and whether it is configured. A workspace may have a mail server of its own
/// besides.
pub fn providers(app: &App) -> Vec<(Need, String, bool)> {
    let providers = &app.providers;
    let one = |need, label: &str, there: bool| (need, label.to_owned(), there);
    let enrichment = providers.enrichment.providers().iter().enumerate();
    let mut all = vec![one(Need::Discovery, "Discovery", providers.discovery.is_some())];
    all.extend(
        enrichment.map(|(index, it)| (Need::Enrichment(index), format!("Enrichment: {}", it.name), true)),
    );
    if all.len() == 1 {
        all.push(one(Need::Enrichment(0), "Enrichment", false));
    }
    all.extend([
        one(Need::Messages, "Messages", providers.messages.is_some()),
        one(Need::Email, "E-mail", providers.email.is_some()),
        one(Need::Linkedin, "LinkedIn", providers.linkedin.is_some()),
    ]);
    all
}
