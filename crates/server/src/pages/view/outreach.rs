//! Leads and searches: what credits are spent on.

use askama::Template;

use super::campaigns::JobState;
use super::format::{Figure, QueryValue};
use super::shell::{Flash, Moment, Shell, Tab};

#[derive(Debug, Clone, Template)]
#[template(path = "leads.html")]
pub struct Leads {
    pub shell: Shell,
    pub total: i64,
    pub rows: Vec<LeadRow>,
    pub next: Option<String>,
    /// What is looked up, newest first.
    pub enrichments: Vec<SearchRow>,
    /// What the upload just posted did.
    pub import: Option<Import>,
}

#[derive(Debug, Clone)]
pub struct LeadRow {
    pub id: String,
    pub name: String,
    pub title: String,
    pub company: String,
    pub email: Option<String>,
    pub email_verified: bool,
    /// `Discovered`, `E-mail found`, `In a campaign`, `Replied`
    pub stage: String,
}

/// Leads that were chosen, and what can be done with them.
#[derive(Debug, Clone, Template)]
#[template(path = "chosen.html")]
pub struct Chosen {
    pub shell: Shell,
    /// Their ids and names.
    pub leads: Vec<(String, String)>,
    pub available: i64,
    /// Whether anybody can look something up.
    pub can_enrich: bool,
    pub fields: Vec<ChosenField>,
    pub campaigns: Vec<ChosenCampaign>,
}

/// A field that can be filled.
#[derive(Debug, Clone)]
pub struct ChosenField {
    pub name: String,
    /// How many of the leads lack it.
    pub missing: i64,
    pub price: i64,
    pub form_key: String,
}

/// A campaign that takes leads.
#[derive(Debug, Clone)]
pub struct ChosenCampaign {
    pub id: String,
    pub name: String,
}

impl Chosen {
    /// Whether a field may cost more than there is.
    fn is_short(&self) -> bool {
        self.fields.iter().any(|field| field.cost() > i128::from(self.available))
    }

    fn count(&self) -> i64 {
        self.leads.len() as i64
    }
}

impl ChosenField {
    /// 128 bits, because a price times a number may not fit 64.
    fn cost(&self) -> i128 {
        i128::from(self.missing) * i128::from(self.price)
    }

    fn title(&self) -> String {
        let words = self.words();
        let first = words.chars().next().map(|first| first.to_ascii_uppercase());
        first.into_iter().chain(words.chars().skip(1)).collect()
    }

    fn words(&self) -> String {
        if self.name == "contact" { "e-mail addresses".to_owned() } else { self.name.replace('_', " ") }
    }
}

/// One lead.
#[derive(Debug, Clone, Template)]
#[template(path = "lead.html")]
pub struct LeadPage {
    pub shell: Shell,
    pub id: String,
    pub name: String,
    pub title: String,
    pub company: String,
    pub linkedin_url: Option<String>,
    pub email: Option<String>,
    pub email_verified: bool,
    pub fields: Vec<(String, String)>,
    pub replied: bool,
    /// Whether it is on the blocklist.
    pub blocked: bool,
    pub campaigns: Vec<LeadCampaign>,
    /// What became of it, newest first.
    pub turns: Vec<(Moment, String)>,
    pub calls: Vec<LeadCall>,
    /// Where older calls are.
    pub next: Option<String>,
}

impl LeadPage {
    /// Whether there is anything to put on the blocklist.
    fn can_block(&self) -> bool {
        !self.blocked && (self.email.is_some() || self.linkedin_url.is_some())
    }

    /// Its name, or what it is known by.
    fn title_text(&self) -> &str {
        if self.name.is_empty() { &self.id } else { &self.name }
    }
}

/// A campaign that a lead is in.
#[derive(Debug, Clone)]
pub struct LeadCampaign {
    pub id: String,
    pub name: String,
    /// `Step 2 of 4`
    pub step: String,
    /// `waiting`, `replied`
    pub state: String,
    pub due: Option<Moment>,
}

/// A provider that was asked about a lead.
#[derive(Debug, Clone)]
pub struct LeadCall {
    pub at: Moment,
    /// `contact`
    pub what: String,
    pub provider: String,
    /// `found`, `nothing found`
    pub heard: String,
    pub detail: String,
}

#[derive(Debug, Clone)]
pub struct Import {
    pub created: i64,
    pub merged: i64,
    /// How many rows were rejected, also those that are not listed.
    pub refused: i64,
    pub rejected: Vec<Rejected>,
    /// The columns that are kept among the leads' other fields; empty: none.
    pub fields: String,
}

#[derive(Debug, Clone)]
pub struct Rejected {
    pub row: i64,
    pub field: String,
    pub reason: String,
}

#[derive(Debug, Clone, Template)]
#[template(path = "searches.html")]
pub struct Searches {
    pub shell: Shell,
    /// Where this page of the list is.
    pub here: String,
    pub available: i64,
    pub preview_price: i64,
    pub result_price: i64,
    /// What was typed, kept after a preview or an error.
    pub query: String,
    /// `leads` or `clues`
    pub kind: String,
    /// At most eight: the button's words follow the choice by CSS, without a script.
    pub limits: Vec<SearchLimit>,
    /// A fresh idempotency key per rendered form: a double click is one search.
    pub form_key: String,
    pub preview: Option<Preview>,
    pub rows: Vec<SearchRow>,
    pub next: Option<String>,
}

#[derive(Debug, Clone)]
pub struct SearchLimit {
    pub results: i64,
    pub selected: bool,
}

#[derive(Debug, Clone)]
pub struct Preview {
    pub charged: i64,
    pub rows: Vec<PreviewRow>,
}

#[derive(Debug, Clone)]
pub struct PreviewRow {
    pub name: String,
    pub title: String,
    pub company: String,
}

#[derive(Debug, Clone)]
pub struct SearchRow {
    pub id: String,
    pub query: String,
    /// `Leads` or `Clues`
    pub kind: String,
    pub at: Moment,
    pub state: JobState,
    pub requested: i64,
    pub delivered: i64,
    pub duplicates: i64,
    pub credits_used: i64,
    pub can_cancel: bool,
}

impl Searches {
    /// 128 bits, because a price times a limit may not fit 64.
    fn cost(&self, limit: &SearchLimit) -> i128 {
        i128::from(limit.results) * i128::from(self.result_price)
    }

    /// How many results the available credits pay for.
    fn affordable(&self) -> i64 {
        if self.result_price > 0 { self.available / self.result_price } else { i64::MAX }
    }
}
