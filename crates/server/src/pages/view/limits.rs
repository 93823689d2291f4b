//! The limits on the Billing page.

/// All limits, and the form that sets one.
#[derive(Debug, Clone)]
pub struct Limits {
    pub rows: Vec<Limit>,
    /// What is typed for each campaign that the form offers, and its name where that is not it.
    pub campaigns: Vec<(String, String)>,
    pub form: LimitForm,
}

#[derive(Debug, Clone)]
pub struct Limit {
    /// `Workspace`, `Each campaign`, a campaign's name, a person
    pub whose: String,
    /// `a day`, `a period`, `in total`
    pub per: String,
    pub used: i64,
    /// What it is made of: credits, `charged`, and the link to the lines.
    pub parts: Vec<(i64, &'static str, String)>,
    /// Of one for each: who used most.
    pub used_by: Option<String>,
    pub credits: i64,
    /// `15 Dec 00:00`
    pub resets: Option<String>,
    /// Scope, label and time, as the form sends them.
    pub key: (&'static str, String, &'static str),
}

/// The form as it was sent.
#[derive(Debug, Clone, Default)]
pub struct LimitForm {
    pub scope: String,
    pub label: String,
    pub per: String,
    pub credits: String,
    pub wrong: Option<String>,
}

impl LimitForm {
    /// The choices of whose, with their words.
    pub fn scopes(&self) -> [(&'static str, &'static str, bool); 3] {
        [("workspace", "The workspace"), ("campaign", "Campaigns"), ("member", "People")]
            .map(|(name, words)| (name, words, self.scope == name))
    }

    /// The choices of time, with their words.
    pub fn times(&self) -> [(&'static str, &'static str, bool); 3] {
        [("day", "a day"), ("period", "a period"), ("total", "in total")]
            .map(|(name, words)| (name, words, self.per == name))
    }
}
