//! The operator's console: one workspace, and what is looked after across all of them.

use askama::Template;
use askama::filters::HtmlSafe;

use super::format::{Figure, QueryValue};
use super::shell::{Flash, Moment, State};

/// Which page of the console is the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Desk {
    Workspaces,
    Doubts,
    Margin,
    Deliveries,
    Health,
    Log,
}

/// The console's navigation.
#[derive(Debug, Clone, Copy, Template)]
#[template(path = "part/desks.html")]
pub struct Desks(pub Desk);

impl HtmlSafe for Desks {}

impl Desks {
    fn on(&self, desk: Desk) -> bool {
        self.0 == desk
    }
}

/// Which form something is wrong with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsoleForm {
    Adjust,
    Refund,
    Resolve,
    Repay,
}

#[derive(Debug, Clone, Template)]
#[template(path = "console/workspace.html")]
pub struct Console {
    pub flash: Option<Flash>,
    pub id: String,
    pub name: String,
    pub state: State,
    pub available: i64,
    pub reserved: i64,
    pub owed: i64,
    pub plan: Option<String>,
    pub subscription: Option<&'static str>,
    pub renews: Option<String>,
    /// Whether money is collected here.
    pub collects: bool,
    pub external_id: Option<String>,
    pub admin_email: Option<String>,
    pub people: i64,
    pub doubts: Vec<HoldRow>,
    pub charges: Vec<HoldRow>,
    pub payments: Vec<PaidRow>,
    pub log: Vec<LogRow>,
    pub form_key: String,
    /// As it was typed, or came with the address.
    pub credits: String,
    pub hold: String,
    pub quantity: String,
    pub release: bool,
    pub payment: String,
    pub reason: String,
    pub wrong: Option<(ConsoleForm, String)>,
}

impl Console {
    fn wrong(&self, form: ConsoleForm) -> Option<&str> {
        self.wrong.as_ref().filter(|(wrong, _)| *wrong == form).map(|(_, why)| why.as_str())
    }

    /// What was typed belongs to the form that was sent, or to all when none was.
    fn kept<'a>(&self, form: ConsoleForm, text: &'a str) -> &'a str {
        if self.wrong.as_ref().is_none_or(|(wrong, _)| *wrong == form) { text } else { "" }
    }
}

#[derive(Debug, Clone)]
pub struct HoldRow {
    pub id: String,
    pub operation: String,
    pub quantity: i64,
    pub amount: i64,
    pub charged: i64,
    pub refunded: i64,
    pub at: Moment,
    /// In doubt: when it is released by itself.
    pub until: Moment,
    /// The caller's reference, or the campaign.
    pub about: String,
}

#[derive(Debug, Clone)]
pub struct PaidRow {
    pub id: String,
    pub at: Moment,
    pub credits: i64,
    pub price: String,
    pub refunded: Option<String>,
}

#[derive(Debug, Clone)]
pub struct LogRow {
    pub at: Moment,
    pub workspace: String,
    pub actor: String,
    /// `member role`
    pub what: String,
    pub subject: String,
    pub before: String,
    pub after: String,
}

#[derive(Debug, Clone, Template)]
#[template(path = "console/doubts.html")]
pub struct Doubts {
    pub flash: Option<Flash>,
    pub rows: Vec<DoubtRow>,
}

#[derive(Debug, Clone)]
pub struct DoubtRow {
    pub workspace: String,
    pub name: String,
    pub hold: String,
    pub operation: String,
    pub quantity: i64,
    pub amount: i64,
    pub until: Moment,
}

#[derive(Debug, Clone, Template)]
#[template(path = "console/deliveries.html")]
pub struct Deliveries {
    pub flash: Option<Flash>,
    pub mails: Vec<MailRow>,
    pub next: Option<String>,
    pub endpoints: Vec<EndpointRow>,
    /// Whether anything can be mailed.
    pub sends: bool,
}

#[derive(Debug, Clone)]
pub struct MailRow {
    pub id: String,
    pub workspace: String,
    pub recipient: String,
    pub subject: String,
    pub attempts: i64,
    pub detail: String,
}

#[derive(Debug, Clone)]
pub struct EndpointRow {
    pub workspace: String,
    pub name: String,
    pub url: String,
    pub given_up: bool,
    pub since: Option<Moment>,
    /// Events that were given up.
    pub lost: i64,
}

#[derive(Debug, Clone, Template)]
#[template(path = "console/health.html")]
pub struct HealthPage {
    pub flash: Option<Flash>,
    pub providers: Vec<ProviderHealth>,
    pub failing: Vec<FailingRow>,
    pub queues: Vec<QueueRow>,
    /// Why the last mail that was not taken was not.
    pub mail_trouble: Option<String>,
}

#[derive(Debug, Clone)]
pub struct ProviderHealth {
    pub label: String,
    pub configured: bool,
    /// For how many workspaces it did not answer the last time, and for how many it is left alone.
    pub failing: i64,
    pub away: i64,
}

#[derive(Debug, Clone)]
pub struct FailingRow {
    pub workspace: String,
    pub name: String,
    pub provider: String,
    pub failures: i64,
    pub until: Option<Moment>,
}

#[derive(Debug, Clone)]
pub struct QueueRow {
    pub name: &'static str,
    pub label: &'static str,
    pub value: i64,
    pub oldest: Option<Moment>,
}

#[derive(Debug, Clone, Template)]
#[template(path = "console/log.html")]
pub struct Logbook {
    pub flash: Option<Flash>,
    pub rows: Vec<LogRow>,
    pub next: Option<String>,
}

/// What operations brought and what providers cost. Money is text already, because it is in millionths.
#[derive(Debug, Clone, Template)]
#[template(path = "console/margin.html")]
pub struct Margin {
    pub flash: Option<Flash>,
    /// `2026-11-01`
    pub from: String,
    pub to: String,
    pub rows: Vec<MarginRow>,
    pub value: String,
    pub cost: String,
    pub margin: String,
    pub providers: Vec<CostRow>,
}

#[derive(Debug, Clone)]
pub struct MarginRow {
    pub label: String,
    pub units: i64,
    pub credits: i64,
    pub value: String,
    /// How much of it is by the price list.
    pub listed: Option<String>,
    /// In other currencies.
    pub others: Vec<String>,
    pub cost: String,
    pub margin: String,
}

#[derive(Debug, Clone)]
pub struct CostRow {
    pub provider: String,
    pub label: String,
    pub calls: i64,
    pub found: i64,
    pub percent: i64,
    pub cost: String,
}
