//! What a job does, as it was asked for. Stored as JSON with the job, and not read by any statement.

use billing::campaign::{self, Channel, Plan};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::NewJob;

/// One step as its author wrote it.
#[derive(Clone, Serialize, Deserialize, Debug, PartialEq, Eq)]
pub struct StepText {
    pub channel: String,
    pub after_days: i64,
    pub condition: String,
    pub subject: Option<String>,
    pub template: Option<String>,
    pub generate: bool,
}

impl StepText {
    /// How it reaches a lead.
    pub fn channel(&self) -> Channel {
        match self.channel.as_str() {
            "linkedin_invite" => Channel::LinkedinInvite,
            "linkedin_message" => Channel::LinkedinMessage,
            _ => Channel::Email,
        }
    }
}

/// What a job does.
#[derive(Clone, Serialize, Deserialize, Debug, Default)]
pub struct Definition {
    #[serde(default)]
    pub enrich: Vec<String>,
    #[serde(default)]
    pub steps: Vec<StepText>,
    /// Whether a person approves each message before it goes.
    #[serde(default)]
    pub approve: bool,
    /// The senders whose limits it keeps; without one of a kind, the server's own sends, without limits.
    #[serde(default)]
    pub senders: Vec<i64>,
    /// A search's query.
    #[serde(default)]
    pub query: Json,
    /// A search's kind: `leads` or `clues`.
    #[serde(default)]
    pub search: Option<String>,
    /// Who started it on the pages, as their work is labelled.
    #[serde(default)]
    pub by: Option<String>,
}

/// What is changed of a campaign; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct CampaignChange {
    pub name: Option<String>,
    pub enrich: Option<Vec<String>>,
    pub steps: Option<Vec<StepText>>,
    pub approve: Option<bool>,
    pub senders: Option<Vec<i64>>,
    /// `Some(None)`: it may use whatever there is.
    pub credit_cap: Option<Option<i64>>,
}

impl From<NewJob> for CampaignChange {
    /// All of it.
    fn from(new: NewJob) -> CampaignChange {
        let Definition { enrich, steps, approve, senders, .. } = new.definition;
        CampaignChange {
            name: Some(new.name),
            enrich: Some(enrich),
            steps: Some(steps),
            approve: Some(approve),
            senders: Some(senders),
            credit_cap: Some(new.credit_cap),
        }
    }
}

impl Definition {
    /// The same with what is changed of it.
    pub(super) fn with(self, change: &CampaignChange) -> Definition {
        let CampaignChange { enrich, steps, approve, senders, .. } = change.clone();
        Definition {
            enrich: enrich.unwrap_or(self.enrich),
            steps: steps.unwrap_or(self.steps),
            approve: approve.unwrap_or(self.approve),
            senders: senders.unwrap_or(self.senders),
            ..self
        }
    }

    /// The part of it that decides the order of work.
    pub fn plan(&self) -> Plan {
        let step = |step: &StepText| campaign::Step {
            channel: step.channel(),
            after_days: step.after_days,
            generate: step.generate,
        };
        let steps = self.steps.iter().map(step).collect();
        Plan { enrich: self.enrich.clone(), steps, approve: self.approve }
    }
}
