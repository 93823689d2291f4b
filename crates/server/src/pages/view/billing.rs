//! The Billing page, top to bottom.

use askama::Template;

use super::chart::{Chart, HEIGHT};
use super::format::{Figure, QueryValue, money, money_per_credit};
use super::limits::Limits;
use super::shell::{Flash, Moment, Renewal, Shell, Tab};

#[derive(Debug, Clone, Template)]
#[template(path = "billing.html")]
pub struct Billing {
    pub shell: Shell,
    pub reach: Reach,
    pub balance: Balance,
    pub plan: Option<Plan>,
    pub buy: Buy,
    pub limits: Limits,
    pub usage: Usage,
    pub history: History,
    pub prices: Vec<Price>,
}

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
    /// `26 Nov`, at that pace.
    pub lasts_until: Option<String>,
    pub due_now: i64,
    pub due_week: i64,
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
        /// Campaigns that would resume.
        resumes: i64,
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
    Adjusted,
}

#[derive(Debug, Clone)]
pub struct History {
    pub show: HistoryShow,
    pub rows: Vec<HistoryRow>,
    /// The cursor of the next, older page.
    pub next: Option<String>,
}

#[derive(Debug, Clone)]
pub struct HistoryRow {
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
    pub const ALL: [HistoryShow; 4] =
        [HistoryShow::All, HistoryShow::Used, HistoryShow::Added, HistoryShow::Adjusted];

    /// As in the query parameter `show`.
    pub fn name(&self) -> &'static str {
        match self {
            HistoryShow::All => "all",
            HistoryShow::Used => "used",
            HistoryShow::Added => "added",
            HistoryShow::Adjusted => "adjusted",
        }
    }

    fn label(&self) -> &'static str {
        match self {
            HistoryShow::All => "All",
            HistoryShow::Used => "Used",
            HistoryShow::Added => "Added",
            HistoryShow::Adjusted => "Adjusted",
        }
    }
}
