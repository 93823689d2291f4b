//! Pages outside a workspace: the operator's, the sandbox's checkout, signed out, and errors.

use askama::Template;

use super::console::{Desk, Desks};
use super::format::{Figure, QueryValue, money};
use super::shell::{Flash, Shell, State, Tab};

#[derive(Debug, Clone, Template)]
#[template(path = "admin.html")]
pub struct Admin {
    pub flash: Option<Flash>,
    /// What was searched for.
    pub query: String,
    pub rows: Vec<AdminWorkspace>,
    pub next: Option<String>,
    pub grant: GrantForm,
    pub form_key: String,
}

/// A grant, as it was typed.
#[derive(Debug, Clone, Default)]
pub struct GrantForm {
    /// By its id.
    pub workspace: String,
    pub credits: String,
    pub kind: &'static str,
    pub reason: String,
    pub wrong: Option<&'static str>,
}

impl GrantForm {
    fn kinds(&self) -> [(&'static str, &'static str, bool); 6] {
        [
            ("goodwill", "Goodwill"),
            ("promo", "Promotion"),
            ("trial", "Trial"),
            ("bonus", "Bonus"),
            ("plan", "Plan"),
            ("purchased", "Purchased"),
        ]
        .map(|(name, words)| (name, words, self.kind == name))
    }
}

#[derive(Debug, Clone)]
pub struct AdminWorkspace {
    pub id: String,
    pub name: String,
    pub plan: Option<String>,
    pub state: State,
    pub available: i64,
    pub reserved: i64,
    pub owed: i64,
}

/// The sandbox's payment page. It takes no card: it stands for the payment provider in demos and tests.
#[derive(Debug, Clone, Template)]
#[template(path = "checkout.html")]
pub struct Checkout {
    pub payment: String,
    /// What shows that the link to this page is ours; the form carries it on.
    pub token: String,
    /// Where the person came from; `/billing` if that is not known.
    pub return_url: String,
    pub workspace: String,
    /// What is paid for.
    pub title: String,
    pub price_minor: i64,
    pub currency: String,
    /// Names and labels of the sandbox's cards.
    pub cards: Vec<(&'static str, &'static str)>,
    /// Whether a card was chosen that must be confirmed.
    pub second_step: bool,
    /// `pending`, `processing`, `paid`, `declined`, `expired`, `refunded`.
    pub status: String,
}

impl Checkout {
    fn is_open(&self) -> bool {
        matches!(self.status.as_str(), "pending" | "processing" | "declined")
    }

    fn price(&self) -> String {
        money(self.price_minor, &self.currency)
    }
}

#[derive(Debug, Clone, Template)]
#[template(path = "signed_out.html")]
pub struct SignedOut {
    /// Why the person is here: `This link has expired.`
    pub reason: Option<String>,
    /// Where the host product hands out a new link, if it is known.
    pub return_url: Option<String>,
}

/// Whether a recipient has said that nothing more shall come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Asked {
    NotYet,
    Done,
}

#[derive(Debug, Clone, Template)]
#[template(path = "unsubscribe.html")]
pub struct Unsubscribe {
    pub address: String,
    pub asked: Asked,
}

#[derive(Debug, Clone, Template)]
#[template(path = "error.html")]
pub struct ErrorPage {
    /// With a session, the page keeps its navigation.
    pub shell: Option<Shell>,
    pub status: u16,
    /// `This page does not exist`
    pub title: String,
    pub detail: String,
    /// `Back to billing`, `/billing`
    pub action: String,
    pub action_url: String,
}
