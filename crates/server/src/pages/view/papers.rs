//! Plans, payments, receipts and statements.

use askama::Template;

use super::format::{Figure, QueryValue};
use super::shell::{Flash, Moment, Shell, Tab};

#[derive(Debug, Clone, Template)]
#[template(path = "plan.html")]
pub struct PlanPage {
    pub shell: Shell,
    pub choices: Vec<PlanChoice>,
    /// `Prices include VAT.`
    pub tax: Option<String>,
    pub chosen: Option<ChosenPlan>,
    /// Whether anybody takes the money.
    pub can_pay: bool,
    /// What canceling would mean.
    pub cancel: Option<String>,
    pub resume: bool,
    pub form_key: String,
}

#[derive(Debug, Clone)]
pub struct PlanChoice {
    pub id: String,
    pub label: String,
    pub credits: i64,
    /// `month`: how often the credits come.
    pub grants: String,
    pub price: String,
    /// `month`: how often it is paid.
    pub interval: String,
    pub current: bool,
    pub selected: bool,
}

#[derive(Debug, Clone)]
pub struct ChosenPlan {
    pub id: String,
    pub label: String,
    /// Exactly what confirming does, in sentences.
    pub says: Vec<String>,
    pub button: String,
}

#[derive(Debug, Clone, Template)]
#[template(path = "payments.html")]
pub struct PaymentsPage {
    pub shell: Shell,
    /// `Card that pays`
    pub method: Option<String>,
    pub has_portal: bool,
    pub auto: Option<AutoBuyForm>,
    pub rows: Vec<PaymentRow>,
    /// Newest first.
    pub statements: Vec<StatementRow>,
}

#[derive(Debug, Clone)]
pub struct AutoBuyForm {
    pub enabled: bool,
    pub below: i64,
    pub most: i64,
    /// Id, words, and whether it is chosen.
    pub packs: Vec<(String, String, bool)>,
    /// What saving it would buy at once, to be confirmed.
    pub confirm: Option<String>,
    pub wrong: Option<&'static str>,
    /// `Prices include VAT.`
    pub tax: Option<String>,
}

#[derive(Debug, Clone)]
pub struct PaymentRow {
    pub id: String,
    pub at: Moment,
    pub label: String,
    pub amount: String,
    pub status: String,
    pub receipt: Option<String>,
}

#[derive(Debug, Clone)]
pub struct StatementRow {
    pub number: i64,
    /// `1 Feb 2027 to 1 Mar 2027`
    pub days: String,
}

/// What every paper has at its head.
#[derive(Debug, Clone)]
pub struct Paper {
    /// `Receipt 0001`
    pub title: String,
    pub workspace: String,
    pub workspace_id: String,
}

#[derive(Debug, Clone)]
pub struct PaperLine {
    pub what: String,
    pub figure: String,
}

#[derive(Debug, Clone, Template)]
#[template(path = "receipt.html")]
pub struct Receipt {
    pub shell: Shell,
    pub id: String,
    pub paper: Paper,
    pub status: String,
    /// Why it was declined.
    pub reason: Option<String>,
    pub at: Moment,
    pub lines: Vec<PaperLine>,
    pub tax: Option<PaperLine>,
    pub total: String,
    pub refunded: Option<String>,
    pub disputed: Option<String>,
    /// Credits taken back.
    pub taken: i64,
    /// The ledger's entries that it stands for.
    pub entries: Vec<String>,
    pub can_pay: bool,
}

#[derive(Debug, Clone, Template)]
#[template(path = "statement.html")]
pub struct StatementPage {
    pub shell: Shell,
    pub paper: Paper,
    pub period: String,
    /// Whether the period still runs.
    pub is_open: bool,
    /// The first and the last entry in it.
    pub entries: (i64, i64),
    pub opening: i64,
    pub lines: Vec<PaperLine>,
    pub closing: i64,
    pub payments: Vec<PaymentRow>,
}
