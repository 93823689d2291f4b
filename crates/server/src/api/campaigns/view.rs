//! How a campaign and its leads look to callers.

use billing::Time;
use billing::campaign::{Reason, Stage};
use serde::Serialize;

use crate::app::App;
use crate::clock::rfc3339;
use crate::store::jobs::{Job, Pause, StepText};
use crate::store::queries::{CampaignLead, Progress};
use crate::store::work::{ON_APPROVAL, STEPS, StepOutcome, WorkState};
use crate::{id, outreach};

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Campaign)]
pub struct View {
    id: String,
    name: String,
    /// `draft`, `active`, `paused` or `completed`.
    status: &'static str,
    pause_reasons: Vec<PauseView>,
    enrich: Vec<String>,
    steps: Vec<StepView>,
    /// Whether a person approves each message before it goes.
    approve: bool,
    senders: Vec<String>,
    /// Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    leads: Option<LeadCounts>,
    credit_cap: Option<i64>,
    credits_used: i64,
    /// What is left to pay at most, at today's prices. Not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    estimate: Option<Estimate>,
    created_at: String,
    launched_at: Option<String>,
}

/// Why something is paused.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = PauseReason)]
pub struct PauseView {
    /// `out_of_credits`, `person`, `credit_cap` or `provider`.
    reason: &'static str,
    since: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    needed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    available: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    /// What the provider said.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Step)]
pub struct StepView {
    index: usize,
    channel: String,
    after_days: i64,
    condition: String,
    subject: Option<String>,
    template: Option<String>,
    generate: bool,
    #[serde(flatten)]
    #[schema(value_type = StepCounts)]
    counts: Option<StepCounts>,
}

/// How many leads wait for a step or have it behind them. Not in lists.
#[derive(Serialize, utoipa::ToSchema)]
pub struct StepCounts {
    #[schema(required = false)]
    waiting: i64,
    /// Those of `waiting` whose message a person must approve first.
    #[schema(required = false)]
    awaiting_approval: i64,
    #[schema(required = false)]
    sent: i64,
    #[schema(required = false)]
    skipped: i64,
    #[schema(required = false)]
    failed: i64,
    #[schema(required = false)]
    in_doubt: i64,
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct LeadCounts {
    total: i64,
    active: i64,
    replied: i64,
    completed: i64,
    failed: i64,
    blocked: i64,
    /// Those of `active` whose message a person must approve first.
    awaiting_approval: i64,
}

#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CampaignEstimate)]
pub struct Estimate {
    credits: i64,
    available: i64,
    covered: bool,
    shortfall: i64,
}

/// Why a job is paused, as callers see it.
pub fn pause_views(job: &Job) -> Vec<PauseView> {
    let show = |pause: &Pause| {
        let provider = pause.reason == Reason::Provider;
        PauseView {
            reason: match pause.reason {
                Reason::OutOfCredits => "out_of_credits",
                Reason::Person => "person",
                Reason::CreditCap => "credit_cap",
                Reason::Provider => "provider",
            },
            since: rfc3339(pause.since),
            needed: pause.needed,
            available: pause.available,
            by: pause.by.clone().filter(|_| !provider),
            detail: pause.by.clone().filter(|_| provider),
        }
    };
    job.pauses.iter().map(show).collect()
}

/// A campaign; with its progress, what it has done and what is left to pay.
pub fn view(app: &App, workspace: i64, job: Job, progress: Option<(&Progress, i64)>) -> View {
    let counts = progress.map(|(progress, _)| progress);
    let estimate = progress.map(|(progress, available)| {
        let unit = |operation: &str| app.unit(operation, 1).unit_price;
        let credits = outreach::estimate(&job.definition, progress, &unit);
        Estimate {
            credits,
            available,
            covered: credits <= available,
            shortfall: (credits - available).max(0),
        }
    });
    let steps = job.definition.steps.iter().enumerate();
    View {
        id: id::inside("camp", workspace, job.id),
        status: match job.run.stage {
            Stage::Draft => "draft",
            Stage::Launched if job.pauses.is_empty() => "active",
            Stage::Launched => "paused",
            Stage::Completed | Stage::Canceled | Stage::Failed => "completed",
        },
        pause_reasons: pause_views(&job),
        steps: steps.map(|(index, step)| step_view(index, step, counts)).collect(),
        name: job.name,
        approve: job.definition.approve,
        senders: job
            .definition
            .senders
            .iter()
            .map(|sender| id::inside("sender", workspace, *sender))
            .collect(),
        enrich: job.definition.enrich,
        leads: counts.map(lead_counts),
        credit_cap: job.credit_cap,
        credits_used: job.credits_used,
        estimate,
        created_at: rfc3339(job.created_at),
        launched_at: job.launched_at.map(rfc3339),
    }
}

fn step_view(index: usize, step: &StepText, progress: Option<&Progress>) -> StepView {
    let step = step.clone();
    let counts = progress.map(|progress| StepCounts {
        waiting: progress.waiting_for(index),
        awaiting_approval: progress.awaiting_approval(index),
        sent: progress.outcome(index, StepOutcome::Sent),
        skipped: progress.outcome(index, StepOutcome::Skipped),
        failed: progress.outcome(index, StepOutcome::Failed),
        in_doubt: progress.outcome(index, StepOutcome::InDoubt),
    });
    StepView {
        index,
        channel: step.channel,
        after_days: step.after_days,
        condition: step.condition,
        subject: step.subject,
        template: step.template,
        generate: step.generate,
        counts,
    }
}

fn lead_counts(progress: &Progress) -> LeadCounts {
    LeadCounts {
        total: progress.total(),
        active: progress.active(),
        replied: progress.state(WorkState::Replied),
        completed: progress.state(WorkState::Completed),
        failed: progress.state(WorkState::Failed),
        blocked: progress.state(WorkState::Blocked),
        awaiting_approval: progress.state(WorkState::Review),
    }
}

/// Where a lead stands in a campaign.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CampaignLead)]
pub struct LeadView {
    lead: String,
    name: String,
    email: Option<String>,
    /// Its present step, or its last; null while its fields are filled.
    step: Option<i64>,
    /// `waiting`, `awaiting_approval`, `in_doubt`, `replied`, `completed`, `blocked` or `failed`.
    state: &'static str,
    /// Only while the campaign runs: a pause keeps what is left of the delay.
    #[serde(skip_serializing_if = "Option::is_none")]
    due_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hold: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

/// A lead of a campaign.
pub fn lead_view(workspace: i64, job: &Job, lead: CampaignLead) -> LeadView {
    let last = job.definition.steps.len() as i64 - 1;
    let due_at = |due: i64| job.run.running_since.map(|since| rfc3339(Time(since.0 + due - job.run.ran)));
    LeadView {
        lead: id::inside("lead", workspace, lead.lead),
        name: lead.name,
        email: lead.email,
        step: (lead.position >= STEPS).then(|| (lead.position - STEPS).min(last)),
        state: match lead.state {
            state if state == WorkState::Waiting as i64 => "waiting",
            state if state == WorkState::InDoubt as i64 => "in_doubt",
            state if state == WorkState::Completed as i64 => "completed",
            state if state == WorkState::Replied as i64 => "replied",
            state if state == WorkState::Blocked as i64 => "blocked",
            state if state == WorkState::Review as i64 => "awaiting_approval",
            _ => "failed",
        },
        due_at: lead.due.filter(|due| *due < ON_APPROVAL).and_then(due_at),
        hold: lead.hold.map(|hold| id::inside("hold", workspace, hold)),
        detail: lead.detail.filter(|detail| !detail.is_empty()),
    }
}
