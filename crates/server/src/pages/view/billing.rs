//! The Billing page, top to bottom.

use askama::Template;
use askama::filters::HtmlSafe;

use super::campaigns::apart;
use super::chart::{Chart, HEIGHT, PATTERNS};
use super::format::{Figure, QueryValue, money, money_per_credit};
use super::limits::Limits;
use super::shell::{Flash, Moment, Renewal, Role, Shell, Tab};

#[derive(Debug, Clone, Template)]
#[template(path = "billing.html")]
pub struct Billing {
    pub shell: Shell,
    pub now: BillingNow,
    pub buy: Buy,
    pub limits: Limits,
    pub usage: Usage,
    pub history: History,
    pub prices: Vec<Price>,
}

/// All that states the balance: it replaces itself as a whole after each change.
#[derive(Debug, Clone, Template)]
#[template(path = "billing/now.html")]
pub struct BillingNow {
    pub role: Role,
    pub reach: Reach,
    pub balance: Balance,
    pub plan: Option<Plan>,
}

impl HtmlSafe for BillingNow {}

/// What the workspace can still do.
#[derive(Debug, Clone)]
pub struct Reach {
    pub send_price: i64,
    /// The workspace's usual campaign.
    pub campaign: Option<ReachCampaign>,
}

#[derive(Debug, Clone, Copy)]
pub struct ReachCampaign {
    pub steps: i64,
    /// What one lead costs from end to end, at most.
    pub credits_per_lead: i64,
}

impl Billing {
    /// The page with other choices; the filter of the history stays.
    fn link(&self, range: &Range, group: &Group, show: &HistoryShow) -> String {
        let (range, group, show) = (range.name(), group.name(), show.name());
        format!("/billing?range={range}&group={group}&show={show}{}", self.history.filter.query)
    }

    /// The page with the lines of the history that this asks for.
    fn entries(&self, show: &str, asked: &str) -> String {
        let (range, group) = (self.usage.range.name(), self.usage.group.name());
        format!("/billing?range={range}&group={group}&show={show}{asked}#history")
    }
}

impl BillingNow {
    fn apart(&self) -> i64 {
        apart(self.balance.leads_waiting)
    }

    fn sends(&self) -> i64 {
        if self.reach.send_price > 0 { self.balance.available / self.reach.send_price } else { 0 }
    }

    fn leads(&self, campaign: &ReachCampaign) -> i64 {
        if campaign.credits_per_lead > 0 { self.balance.available / campaign.credits_per_lead } else { 0 }
    }
}

#[derive(Debug, Clone)]
pub struct Balance {
    pub available: i64,
    pub reserved: i64,
    pub owed: i64,
    /// Held for steps in doubt: part of `reserved`.
    pub unconfirmed: i64,
    /// Credits a day over the last 7 days.
    pub pace: Option<i64>,
    /// Asks the history for the lines of these days.
    pub week: String,
    /// `26 Nov`, at that pace.
    pub lasts_until: Option<String>,
    pub due_now: i64,
    pub due_week: i64,
    /// Leads whose next steps are priced there.
    pub leads_waiting: i64,
    /// What is missing until the renewal at that pace.
    pub shortfall: Option<i64>,
    pub shares: Vec<Share>,
}

impl Balance {
    fn total(&self) -> i128 {
        i128::from(self.available) + i128::from(self.reserved)
    }
}

/// Available credits of one kind of grant.
#[derive(Debug, Clone)]
pub struct Share {
    /// `Plan`, `Bought`, `Goodwill`
    pub kind: String,
    pub available: i64,
    /// The soonest expiry among them.
    pub expires: Option<Moment>,
}

#[derive(Debug, Clone)]
pub struct Plan {
    pub label: String,
    /// `Active`, `Payment failed`, `Cancels on 14 Dec`
    pub status: String,
    pub credits: i64,
    /// `month` or `year`
    pub interval: String,
    /// `14 Nov – 14 Dec`
    pub period: String,
    pub renewal: Option<Renewal>,
    /// `stay`, `expire on 14 Dec`, `roll over up to 20,000`
    pub unused: String,
    /// Whether its renewal was declined.
    pub failed: bool,
    /// The payment that it waits for.
    pub unpaid: Option<String>,
}

#[derive(Debug, Clone)]
pub enum Buy {
    /// At most eight packs: the button's words follow the choice by CSS, without a script.
    Packs {
        packs: Vec<Pack>,
        /// A fresh idempotency key per rendered form: a double click is one top-up.
        form_key: String,
        /// `Prices include VAT.`
        tax: Option<String>,
        /// Amounts without a pack.
        custom: Option<CustomAmount>,
    },
    AskAdmin,
    /// No payments configured: the operator adds credits.
    Unavailable,
}

/// What can be bought without a pack.
#[derive(Debug, Clone)]
pub struct CustomAmount {
    pub minimum: i64,
    pub maximum: i64,
    /// `€2.50 for 100`
    pub price: String,
}

#[derive(Debug, Clone)]
pub struct Pack {
    pub id: String,
    pub credits: i64,
    /// Credits on top.
    pub bonus: i64,
    /// Days after which they are gone.
    pub expires_days: Option<i64>,
    pub price_minor: i64,
    pub currency: String,
    /// `covers you past 14 Dec`
    pub note: Option<String>,
    /// `Repays the 500 credits owed and adds 500. Resumes 2 campaigns.`
    pub then: String,
    pub selected: bool,
}

impl Pack {
    fn price(&self) -> String {
        money(self.price_minor, &self.currency)
    }

    fn each(&self) -> String {
        money_per_credit(self.price_minor, &self.currency, self.credits)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    Week,
    Month,
    Period,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    Operation,
    Campaign,
    Member,
    Channel,
}

#[derive(Debug, Clone)]
pub struct Usage {
    pub range: Range,
    pub group: Group,
    /// Asks the history for the lines of this range, and of the one before it.
    pub span: String,
    pub span_before: String,
    pub chart: Chart,
    pub rows: Vec<UsageRow>,
    pub total: i64,
    /// Given back in this range: a line of its own, never taken off the total.
    pub refunded: i64,
    /// The total of the range before this one.
    pub previous: Option<i64>,
    /// `(212, "look-ups with no result")`
    pub not_charged: Vec<(i64, String)>,
}

#[derive(Debug, Clone)]
pub struct UsageRow {
    /// Asks the history for its lines.
    pub entries: String,
    pub label: String,
    /// `140 regenerated`
    pub note: Option<String>,
    pub count: i64,
    /// None where prices differ within the row.
    pub price: Option<i64>,
    pub credits: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryShow {
    All,
    Used,
    Added,
    Refunded,
    Adjusted,
}

#[derive(Debug, Clone)]
pub struct History {
    pub filter: HistoryFilter,
    pub rows: Vec<HistoryRow>,
    /// Units and credits of all lines that fit, where only charges are shown.
    pub sum: Option<(i64, i64)>,
    /// The cursor of the next, older page.
    pub next: Option<String>,
}

/// What the form above the lines says.
#[derive(Debug, Clone)]
pub struct HistoryFilter {
    pub show: HistoryShow,
    pub operations: Vec<Choice>,
    pub campaigns: Vec<Choice>,
    pub people: Vec<Choice>,
    pub channels: Vec<Choice>,
    /// Label and name.
    pub lead: Option<(String, String)>,
    /// `campaign`, `member` or `channel`: lines that have none; or empty.
    pub without: String,
    pub from: String,
    pub to: String,
    /// The field that is no day.
    pub wrong: Option<&'static str>,
    pub is_all: bool,
    /// Asks for the same, but for the kind of lines and the page.
    pub query: String,
}

impl HistoryFilter {
    /// Name, words and choices of each.
    fn selects(&self) -> [(&'static str, &'static str, &[Choice]); 4] {
        [
            ("operation", "What", &self.operations),
            ("campaign", "Campaign", &self.campaigns),
            ("member", "Person", &self.people),
            ("channel", "Channel", &self.channels),
        ]
    }

    fn without_words(&self) -> Option<&'static str> {
        match self.without.as_str() {
            "campaign" => Some("No campaign"),
            "member" => Some("No person"),
            "channel" => Some("No channel"),
            _ => None,
        }
    }
}

/// One of the choices of a form.
#[derive(Debug, Clone)]
pub struct Choice {
    pub key: String,
    pub words: String,
    pub chosen: bool,
}

#[derive(Debug, Clone)]
pub struct HistoryRow {
    pub number: i64,
    pub at: Moment,
    /// `E-mail send`
    pub what: String,
    /// `Lead 0398 · step 1 · Sample campaign`
    pub detail: String,
    pub change: i64,
    pub balance_after: i64,
}

#[derive(Debug, Clone)]
pub struct Price {
    pub label: String,
    pub price: i64,
    /// `per successful send`
    pub charged_on: String,
}

impl Range {
    pub const ALL: [Range; 3] = [Range::Week, Range::Month, Range::Period];

    /// As in the query parameter `range`.
    pub fn name(&self) -> &'static str {
        match self {
            Range::Week => "7d",
            Range::Month => "30d",
            Range::Period => "period",
        }
    }

    fn label(&self) -> &'static str {
        match self {
            Range::Week => "7 days",
            Range::Month => "30 days",
            Range::Period => "This period",
        }
    }
}

impl Group {
    pub const ALL: [Group; 4] = [Group::Operation, Group::Campaign, Group::Member, Group::Channel];

    /// As in the query parameter `group`.
    pub fn name(&self) -> &'static str {
        match self {
            Group::Operation => "operation",
            Group::Campaign => "campaign",
            Group::Member => "member",
            Group::Channel => "channel",
        }
    }

    fn label(&self) -> &'static str {
        match self {
            Group::Operation => "Operation",
            Group::Campaign => "Campaign",
            Group::Member => "Person",
            Group::Channel => "Channel",
        }
    }
}

impl HistoryShow {
    pub const ALL: [HistoryShow; 5] = [
        HistoryShow::All,
        HistoryShow::Used,
        HistoryShow::Added,
        HistoryShow::Refunded,
        HistoryShow::Adjusted,
    ];

    /// As in the query parameter `show`.
    pub fn name(&self) -> &'static str {
        match self {
            HistoryShow::All => "all",
            HistoryShow::Used => "used",
            HistoryShow::Added => "added",
            HistoryShow::Refunded => "refunded",
            HistoryShow::Adjusted => "adjusted",
        }
    }

    fn label(&self) -> &'static str {
        match self {
            HistoryShow::All => "All",
            HistoryShow::Used => "Used",
            HistoryShow::Added => "Added",
            HistoryShow::Refunded => "Given back",
            HistoryShow::Adjusted => "Adjusted",
        }
    }
}
