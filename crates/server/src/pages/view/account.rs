//! The pages under Account: what is set, who may do what, and what is told to other programs.

use askama::Template;
use askama::filters::HtmlSafe;

use super::format::Figure;
use super::shell::{Flash, Moment, Role, Shell, Tab};

/// Which page under Account is the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    Overview,
    People,
    Keys,
    Webhooks,
    Senders,
    Strategy,
    Sessions,
    /// A page that is reached from the first.
    Inner,
}

/// The links between the pages under Account. Members have the first and the last.
#[derive(Debug, Clone, Copy, Template)]
#[template(path = "part/sections.html")]
pub struct Sections(pub Section, pub Role);

impl HtmlSafe for Sections {}

impl Sections {
    fn on(&self, section: Section) -> bool {
        self.0 == section
    }
}

/// A sender as it was typed, without how its mail server is reached.
#[derive(Debug, Clone, Default)]
pub struct SenderForm {
    pub email: bool,
    pub from: String,
    pub account: String,
    pub daily_limit: String,
    pub hours: String,
    /// Each day of the week, and whether it is chosen; none is all of them.
    pub days: Vec<(&'static str, bool)>,
    pub spacing: String,
    /// `Hours: must be times of the day like 09:00 and 17:00.`
    pub wrong: Option<String>,
}

impl SenderForm {
    /// A day of the week in full.
    fn in_full(&self, day: &str) -> &'static str {
        match day {
            "mon" => "Monday",
            "tue" => "Tuesday",
            "wed" => "Wednesday",
            "thu" => "Thursday",
            "fri" => "Friday",
            "sat" => "Saturday",
            _ => "Sunday",
        }
    }
}

#[derive(Debug, Clone, Template)]
#[template(path = "account/senders.html")]
pub struct Senders {
    pub shell: Shell,
    pub rows: Vec<SenderRow>,
    pub form: SenderForm,
    pub form_key: String,
}

/// One sender, whose limits are changed.
#[derive(Debug, Clone, Template)]
#[template(path = "account/sender.html")]
pub struct SenderPage {
    pub shell: Shell,
    pub row: SenderRow,
    pub form: SenderForm,
}

#[derive(Debug, Clone)]
pub struct SenderRow {
    pub id: String,
    pub email: bool,
    pub from: String,
    /// Its mail server or its account.
    pub through: String,
    pub mailbox: Option<MailboxRow>,
    pub sent_today: i64,
    pub daily_limit: i64,
    /// `09:00 to 17:00, mon tue`
    pub hours: String,
    /// Seconds between two sends.
    pub spacing: i64,
    pub active: bool,
}

/// Where a sender's answers come in.
#[derive(Debug, Clone)]
pub struct MailboxRow {
    pub server: String,
    /// The last look.
    pub looked: Option<Moment>,
    pub trouble: Option<String>,
}

/// A form that was sent and not taken keeps what was typed, and says what is wrong beside the field.
#[derive(Debug, Clone, Default)]
pub struct WebhookForm {
    pub url: String,
    pub description: String,
    /// Name, and whether it is chosen.
    pub kinds: Vec<(&'static str, bool)>,
    /// `Must be an http:// or https:// address.`
    pub wrong_url: Option<String>,
    pub wrong_description: Option<String>,
}

#[derive(Debug, Clone, Template)]
#[template(path = "account/webhooks.html")]
pub struct Webhooks {
    pub shell: Shell,
    pub rows: Vec<WebhookRow>,
    pub form: WebhookForm,
    pub form_key: String,
}

#[derive(Debug, Clone)]
pub struct WebhookRow {
    pub id: String,
    pub url: String,
    pub description: String,
    /// `all events`, or their names.
    pub events: String,
    pub state: WebhookState,
    pub failing_since: Option<Moment>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookState {
    Enabled,
    Failing,
    Disabled,
    GivenUp,
}

#[derive(Debug, Clone, Template)]
#[template(path = "account/webhook.html")]
pub struct Webhook {
    pub shell: Shell,
    pub endpoint: WebhookRow,
    /// A new secret, shown this once.
    pub secret: Option<String>,
    pub deliveries: Vec<DeliveryRow>,
    /// Where older ones are.
    pub next: Option<String>,
}

#[derive(Debug, Clone)]
pub struct DeliveryRow {
    pub event: String,
    pub kind: String,
    pub at: Moment,
    pub state: DeliveryWord,
    pub attempts: i64,
    /// When it is tried next.
    pub next_attempt: Option<Moment>,
    /// `answered 500`, `cannot be reached`
    pub outcome: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryWord {
    Pending,
    Delivered,
    Failed,
}

/// What a workspace says of itself in its messages.
#[derive(Debug, Clone, Template)]
#[template(path = "account/strategy.html")]
pub struct Strategy {
    pub shell: Shell,
    pub texts: Vec<StrategyText>,
    /// The most characters of a text.
    pub longest: usize,
}

/// One of its texts.
#[derive(Debug, Clone)]
pub struct StrategyText {
    pub name: &'static str,
    pub label: &'static str,
    pub text: String,
    pub wrong: Option<&'static str>,
}
