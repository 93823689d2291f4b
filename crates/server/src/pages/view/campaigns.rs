//! The list of campaigns and one campaign.

use askama::Template;
use askama::filters::HtmlSafe;

use super::format::{Figure, QueryValue};
use super::shell::{Flash, Moment, Shell, Tab};

#[derive(Debug, Clone, Template)]
#[template(path = "campaigns.html")]
pub struct Campaigns {
    pub shell: Shell,
    /// Where this page of the list is.
    pub here: String,
    pub rows: Vec<CampaignRow>,
    pub next: Option<String>,
}

#[derive(Debug, Clone)]
pub struct CampaignRow {
    pub id: String,
    pub name: String,
    pub state: JobState,
    pub leads: LeadCounts,
    pub credits_used: i64,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct LeadCounts {
    pub total: i64,
    pub active: i64,
    pub replied: i64,
    pub completed: i64,
    pub failed: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Draft,
    Active,
    Paused,
    Completed,
}

/// How a job stands, with every reason it stands still.
#[derive(Debug, Clone, Template)]
#[template(path = "part/job_state.html")]
pub struct JobState {
    pub standing: Standing,
    /// `Active`, `Canceled`; paused ones show their reasons.
    pub words: String,
    pub reasons: Vec<PauseReason>,
}

#[derive(Debug, Clone)]
pub struct PauseReason {
    pub why: Why,
    pub since: Moment,
}

#[derive(Debug, Clone)]
pub enum Why {
    OutOfCredits { needed: i64, available: i64 },
    Person { by: Option<String> },
    CreditCap { limit: i64, used: i64 },
    Provider { what: String },
    Other { what: String },
}

/// The reasons, in the words of the screen.
#[derive(Template)]
#[template(path = "part/why.html")]
struct Reasons<'a>(&'a [PauseReason]);

#[derive(Debug, Clone, Template)]
#[template(path = "campaign.html")]
pub struct Campaign {
    pub shell: Shell,
    /// Where this page of its leads is.
    pub here: String,
    pub id: String,
    pub name: String,
    pub state: JobState,
    pub leads: LeadCounts,
    pub credits_used: i64,
    pub credit_cap: Option<i64>,
    /// Of the form that adds leads.
    pub form_key: String,
    /// How many messages wait for a person.
    pub to_review: i64,
    /// What the rest of the sequence will use at most; None when completed.
    pub estimate: Option<Estimate>,
    pub timeline: Timeline,
    /// Whether only leads in doubt are shown.
    pub only_doubt: bool,
    /// The workspace, for the operator, who decides what is in doubt.
    pub decides: Option<String>,
    pub steps: Vec<StepRow>,
    pub rows: Vec<CampaignLead>,
    /// The cursor of the next page of leads.
    pub next: Option<String>,
}

/// What became of a campaign, newest first.
#[derive(Debug, Clone)]
pub struct Timeline {
    pub turns: Vec<(Moment, String)>,
    /// Whether there are older ones that are not shown.
    pub more: bool,
}

/// The messages of a campaign that wait for a person.
#[derive(Debug, Clone, Template)]
#[template(path = "review.html")]
pub struct Review {
    pub shell: Shell,
    /// The campaign's id.
    pub campaign: String,
    pub name: String,
    pub waiting: i64,
    pub rows: Vec<ReviewRow>,
    pub next: Option<String>,
}

#[derive(Debug, Clone)]
pub struct ReviewRow {
    pub id: String,
    pub name: String,
    pub company: String,
    /// From 1.
    pub step: i64,
    /// Of an e-mail.
    pub subject: Option<String>,
    pub text: String,
    /// When its present text came to be.
    pub since: Moment,
}

#[derive(Debug, Clone)]
pub struct Estimate {
    pub credits: i64,
    /// By how much of such work succeeded lately.
    pub expected: i64,
    pub available: i64,
    /// What other active campaigns may use in that time.
    pub others: i64,
}

impl Estimate {
    /// How many credits are missing, if any. 128 bits, because the sum of two estimates may not fit 64.
    pub fn shortfall(&self) -> i128 {
        (i128::from(self.credits) + i128::from(self.others) - i128::from(self.available)).max(0)
    }
}

#[derive(Debug, Clone)]
pub struct StepRow {
    /// Counted from 1.
    pub number: i64,
    /// `E-mail`, `LinkedIn invite`
    pub channel: String,
    /// The resulting day of the campaign, counted from 1.
    pub day: i64,
    /// `3 days after step 1, if no reply`
    pub timing: String,
    pub waiting: i64,
    pub sent: i64,
    pub skipped: i64,
    pub failed: i64,
    pub in_doubt: i64,
}

#[derive(Debug, Clone)]
pub struct CampaignLead {
    pub id: String,
    pub name: String,
    pub company: String,
    /// `Step 2 of 4`
    pub step: String,
    /// `waiting`, `sent`, `in doubt: may have been sent`
    pub state: String,
    pub due: Option<Moment>,
    /// The page of what is in doubt.
    pub receipt: Option<String>,
}

impl Campaign {
    fn apart(&self) -> i64 {
        apart(self.leads.total)
    }

    fn paused_by_person(&self) -> bool {
        self.state.reasons.iter().any(|reason| matches!(reason.why, Why::Person { .. }))
    }

    fn paused_for_credits(&self) -> bool {
        self.state.reasons.iter().any(|reason| matches!(reason.why, Why::OutOfCredits { .. }))
    }
}

impl Standing {
    fn name(self) -> &'static str {
        match self {
            Standing::Draft => "draft",
            Standing::Active => "active",
            Standing::Paused => "paused",
            Standing::Completed => "completed",
        }
    }

    fn icon(self) -> &'static str {
        match self {
            Standing::Draft => "draft",
            Standing::Active => "running",
            Standing::Paused => "out",
            Standing::Completed => "healthy",
        }
    }
}

/// The shortest time between two looks at campaigns or at what they will use, in milliseconds: so many leads take long to count.
pub(super) fn apart(leads: i64) -> i64 {
    500 + leads / 50
}

impl Campaigns {
    fn apart(&self) -> i64 {
        apart(self.rows.iter().map(|row| row.leads.total).sum())
    }
}

impl JobState {
    fn reasons_text(&self) -> Reasons<'_> {
        Reasons(&self.reasons)
    }
}

impl HtmlSafe for JobState {}
impl HtmlSafe for Reasons<'_> {}
