//! The campaign builder.

use askama::Template;

use super::campaigns::Estimate;
use super::format::Figure;
use super::shell::{Flash, Shell, Tab};

/// A draft as a form.
#[derive(Debug, Clone, Template)]
#[template(path = "builder.html")]
pub struct Builder {
    pub shell: Shell,
    /// The id of the draft; None for a new campaign.
    pub campaign: Option<String>,
    pub form_key: String,
    pub name: String,
    pub contact: bool,
    /// Names of other fields, with commas between.
    pub fields: String,
    pub steps: Vec<StepForm>,
    pub approve: bool,
    pub senders: Vec<SenderChoice>,
    pub credit_cap: String,
    /// How many leads are to be added, as typed.
    pub leads: String,
    /// How many leads the draft has.
    pub there: i64,
    /// How many it would have.
    pub total: i64,
    /// What one lead uses at most.
    pub per_lead: i64,
    pub estimate: Estimate,
    /// The name of an input and what it must be.
    pub wrong: Option<(String, String)>,
}

/// One step as it is typed.
#[derive(Debug, Clone, Default)]
pub struct StepForm {
    /// As over the API.
    pub channel: String,
    pub after_days: String,
    /// As over the API.
    pub condition: String,
    pub subject: String,
    pub template: String,
    pub generate: bool,
    /// The resulting day of the campaign, counted from 1.
    pub day: i64,
    /// `3 days after step 1, if no reply`
    pub timing: String,
    /// `E-mail`
    pub what: String,
}

impl StepForm {
    /// An e-mail at once.
    pub fn email() -> StepForm {
        let text = str::to_owned;
        let (channel, after_days, condition) = (text("email"), text("0"), text("no_reply"));
        StepForm { channel, after_days, condition, ..StepForm::default() }
    }
}

#[derive(Debug, Clone)]
pub struct SenderChoice {
    pub id: String,
    pub from: String,
    pub active: bool,
    pub chosen: bool,
}

impl Builder {
    /// What is wrong with an input; empty: nothing.
    fn wrong_with(&self, field: &str) -> &str {
        self.wrong.as_ref().filter(|(place, _)| place == field).map_or("", |(_, reason)| reason)
    }

    /// What is wrong with an input of a step, counted from 0.
    fn wrong_in(&self, step: &usize, field: &str) -> &str {
        self.wrong_with(&format!("steps[{step}].{field}"))
    }
}
