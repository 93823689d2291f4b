//! One line of the ledger, and where the credits are.

use askama::Template;

use super::format::Figure;
use super::outreach::LeadCall;
use super::shell::{Flash, Moment, Shell, Tab};

#[derive(Debug, Clone, Template)]
#[template(path = "entry.html")]
pub struct EntryPage {
    pub shell: Shell,
    pub number: i64,
    /// `E-mail send`
    pub what: String,
    pub at: Moment,
    pub change: i64,
    pub balance_after: i64,
    pub facts: Vec<Fact>,
    pub moves: Vec<Moved>,
    pub calls: Vec<LeadCall>,
}

#[derive(Debug, Clone)]
pub struct Fact {
    pub label: &'static str,
    pub text: String,
    pub link: Option<String>,
}

/// Credits of one grant that changed their place.
#[derive(Debug, Clone)]
pub struct Moved {
    pub grant: String,
    pub link: String,
    pub from: &'static str,
    pub to: &'static str,
    pub credits: i64,
}

#[derive(Debug, Clone, Template)]
#[template(path = "credits.html")]
pub struct Credits {
    pub shell: Shell,
    pub grants: Vec<GrantRow>,
    pub available: i64,
    pub reserved: i64,
    /// Whose reserved credits are listed: a campaign, a person, or empty for all.
    pub of: String,
    /// The credits of all of those.
    pub reserved_so: i64,
    pub holds: Vec<ReservedRow>,
    /// The link to the earlier ones.
    pub next: Option<String>,
}

#[derive(Debug, Clone)]
pub struct GrantRow {
    pub link: String,
    pub what: String,
    /// Set while it cannot be spent yet.
    pub usable: Option<Moment>,
    pub expires: Option<Moment>,
    pub granted: i64,
    pub available: i64,
    pub reserved: i64,
}

#[derive(Debug, Clone)]
pub struct ReservedRow {
    pub link: String,
    pub what: String,
    pub detail: String,
    pub since: Moment,
    pub state: &'static str,
    pub until: Moment,
    pub credits: i64,
}
