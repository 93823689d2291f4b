//! The list of campaigns, and one campaign: its state with every reason it stands still, its steps and its leads.

use std::collections::HashSet;

use axum::extract::{Path, Query, State};
use billing::Time;
use billing::campaign::{Reason, Stage};
use serde::Deserialize;

use super::entry::line;
use super::forecast;
use super::frame::{Page, Trouble, go, page as draw};
use super::scene::Scene;
use super::session::{self, Visitor};
use super::timeline::timeline;
use super::view::{
    Campaign, CampaignLead, CampaignRow, Campaigns, Estimate, JobState, LeadCounts, Moment, PauseReason,
    Standing, StepRow, Tab, Why,
};
use crate::app::App;
use crate::store::jobs::{Act, Definition, Job, JobKind, StepText};
use crate::store::people::Role;
use crate::store::queries::{CampaignLead as StoredLead, Progress};
use crate::store::summary::Names;
use crate::store::work::{self, StepOutcome, WorkState};
use crate::{id, outreach};

/// Rows on one page.
pub const ROWS: i64 = 50;

/// What succeeded in this time says what will, in microseconds.
const RECENT: i64 = 7 * 86_400 * 1_000_000;

/// Which page of a list.
#[derive(Default, Deserialize)]
pub struct Cursor {
    cursor: Option<String>,
}

impl Cursor {
    /// The number that it stands for; a cursor that is none begins the list anew.
    pub fn number(&self) -> Option<i64> {
        self.cursor.as_deref().and_then(|cursor| cursor.parse().ok()).filter(|number| *number >= 0)
    }

    /// Where this page of a list is.
    pub fn here(&self, path: &str) -> String {
        self.number().map_or_else(|| path.to_owned(), |number| format!("{path}?cursor={number}"))
    }
}

/// Cuts a page that was read with one row more, and gives the cursor of the next.
pub fn cut<T>(rows: &mut Vec<T>, cursor: impl Fn(&T) -> i64) -> Option<String> {
    let more = rows.len() > ROWS as usize;
    rows.truncate(ROWS as usize);
    rows.last().filter(|_| more).map(|last| cursor(last).to_string())
}

/// Which leads of a campaign.
#[derive(Deserialize)]
pub struct Shown {
    #[serde(flatten)]
    cursor: Cursor,
    /// `in_doubt`: only those.
    state: Option<String>,
}

/// All campaigns, newest first.
pub async fn list(State(app): State<App>, visitor: Visitor, Query(cursor): Query<Cursor>) -> Page {
    let scene = Scene::load(&app, &visitor).await?;
    let mut jobs = app.store.jobs(visitor.workspace, JobKind::Campaign, cursor.number(), ROWS + 1).await?;
    let next = cut(&mut jobs, |job| job.id);
    let mut rows = Vec::with_capacity(jobs.len());
    for job in jobs {
        let progress = app.store.progress(visitor.workspace, job.id).await?;
        rows.push(CampaignRow {
            id: id::inside("camp", visitor.workspace, job.id),
            name: job.name.clone(),
            state: state(&scene, &job),
            leads: counts(&progress),
            credits_used: job.credits_used,
        });
    }
    draw(&Campaigns { shell: scene.shell(Some(Tab::Campaigns)), here: cursor.here("/campaigns"), rows, next })
}

/// One campaign.
pub async fn page(
    State(app): State<App>,
    visitor: Visitor,
    Path(campaign): Path<String>,
    Query(shown): Query<Shown>,
) -> Page {
    let number = number(&visitor, "camp", &campaign)?;
    let scene = Scene::load(&app, &visitor).await?;
    let (only_doubt, cursor) = (shown.state.as_deref() == Some("in_doubt"), shown.cursor);
    let job = app.store.job(visitor.workspace, number, JobKind::Campaign).await?;
    let progress = app.store.progress(visitor.workspace, number).await?;
    let before = cursor.number();
    let mut leads = app.store.campaign_leads(visitor.workspace, number, only_doubt, before, ROWS + 1).await?;
    let next = cut(&mut leads, |lead| lead.lead);
    let ids = leads.iter().map(|lead| lead.lead).collect();
    let names = app.store.names(visitor.workspace, HashSet::new(), ids).await?;
    let estimate = match job.run.stage {
        Stage::Draft | Stage::Launched => {
            Some(estimate(&app, &scene, &job.definition, Some(job.id), &progress).await?)
        }
        _ => None,
    };
    draw(&Campaign {
        shell: scene.shell(Some(Tab::Campaigns)),
        here: cursor.here(&format!("/campaigns/{campaign}")),
        id: campaign,
        name: job.name.clone(),
        state: state(&scene, &job),
        leads: counts(&progress),
        credits_used: job.credits_used,
        credit_cap: job.credit_cap,
        form_key: session::form_key(),
        to_review: progress.state(WorkState::Review),
        estimate,
        timeline: timeline(&app, &scene, &job).await?,
        only_doubt,
        decides: (visitor.role == Role::Operator).then(|| id::workspace(visitor.workspace)),
        steps: steps(&job, &progress),
        rows: leads.iter().map(|lead| lead_row(&scene, &job, &names, lead)).collect(),
        next,
    })
}

/// Launch, pause or resume. Launching is free and never refused.
pub async fn act(
    State(app): State<App>,
    visitor: Visitor,
    Path((campaign, act)): Path<(String, String)>,
) -> Page {
    let number = number(&visitor, "camp", &campaign)?;
    let (what, flash) = match act.as_str() {
        "launch" => (Act::Launch { by: visitor.label() }, "launched"),
        "pause" => (Act::Pause { by: visitor.name() }, "paused"),
        "resume" => (Act::Resume, "resumed"),
        _ => return Err(Trouble::not_found()),
    };
    if matches!(what, Act::Launch { .. })
        && let Some(fault) = outreach::check_launch(&app, visitor.workspace, number).await?
    {
        return Err(Trouble::unprocessable(format!("{} {}.", fault.field, fault.reason)));
    }
    app.store.act_on_job(visitor.workspace, number, JobKind::Campaign, what).await?;
    app.nudge();
    Ok(go(&app, &format!("/campaigns/{campaign}"), flash))
}

/// The number of a thing in the visitor's own workspace; a foreign one does not exist.
pub fn number(visitor: &Visitor, prefix: &str, text: &str) -> Result<i64, Trouble> {
    let (workspace, number) = id::parse_inside(prefix, text).ok_or_else(Trouble::not_found)?;
    if workspace == visitor.workspace { Ok(number) } else { Err(Trouble::not_found()) }
}

/// How a job stands and why.
pub fn state(scene: &Scene, job: &Job) -> JobState {
    let (standing, words) = match (job.run.stage, job.kind) {
        (Stage::Draft, _) => (Standing::Draft, "Draft"),
        (Stage::Launched, _) if job.run.running_since.is_none() => (Standing::Paused, "Paused"),
        (Stage::Launched, JobKind::Campaign) => (Standing::Active, "Active"),
        (Stage::Launched, _) => (Standing::Active, "Running"),
        (Stage::Completed, _) => (Standing::Completed, "Completed"),
        (Stage::Canceled, _) => (Standing::Completed, "Canceled"),
        (Stage::Failed, _) => (Standing::Completed, "Failed"),
    };
    JobState { standing, words: words.to_owned(), reasons: reasons(scene, job) }
}

/// Every reason why a job stands still.
fn reasons(scene: &Scene, job: &Job) -> Vec<PauseReason> {
    let why = |pause: &crate::store::jobs::Pause| match pause.reason {
        Reason::OutOfCredits => match pause.needed.or(scene.needed()) {
            Some(needed) => Why::OutOfCredits { needed, available: scene.balance.available },
            None => Why::Other { what: "out of credits".to_owned() },
        },
        Reason::Person => Why::Person { by: pause.by.clone() },
        Reason::CreditCap => match job.credit_cap {
            Some(limit) if job.credits_used + pause.needed.unwrap_or(0) > limit => {
                Why::CreditCap { limit, used: job.credits_used }
            }
            _ => Why::Other { what: "a limit of the workspace is reached".to_owned() },
        },
        Reason::Provider => {
            let what = pause.by.clone().or(job.detail.clone());
            Why::Provider { what: what.unwrap_or_else(|| "it does not accept our calls".to_owned()) }
        }
    };
    job.pauses.iter().map(|pause| PauseReason { why: why(pause), since: scene.moment(pause.since) }).collect()
}

fn counts(progress: &Progress) -> LeadCounts {
    LeadCounts {
        total: progress.total(),
        active: progress.active(),
        replied: progress.state(WorkState::Replied),
        completed: progress.state(WorkState::Completed),
        failed: progress.state(WorkState::Failed) + progress.state(WorkState::Blocked),
    }
}

/// What the leads that are left use at most, and what the other active campaigns may use meanwhile.
pub async fn estimate(
    app: &App,
    scene: &Scene,
    definition: &Definition,
    campaign: Option<i64>,
    progress: &Progress,
) -> Result<Estimate, Trouble> {
    let unit = |operation: &str| app.unit(operation, 1).unit_price;
    let credits = outreach::estimate(definition, progress, &unit);
    let success = app.store.success(scene.workspace.id, Time(scene.now.0 - RECENT)).await?;
    let expected = outreach::expected(definition, progress, &unit, &success);
    let waiting = app.store.waiting(scene.workspace.id).await?;
    let others = forecast::all(app, &waiting, forecast::days(&definition.plan()), campaign);
    Ok(Estimate { credits, expected, available: scene.balance.available, others })
}

fn steps(job: &Job, progress: &Progress) -> Vec<StepRow> {
    let mut day = 1_i64;
    let row = |(index, step): (usize, &StepText)| {
        day = day.saturating_add(step.after_days);
        StepRow {
            number: index as i64 + 1,
            channel: channel(&step.channel).to_owned(),
            day,
            timing: timing(index, step),
            waiting: progress.waiting_for(index),
            sent: progress.outcome(index, StepOutcome::Sent),
            skipped: progress.outcome(index, StepOutcome::Skipped),
            failed: progress.outcome(index, StepOutcome::Failed),
            in_doubt: progress.outcome(index, StepOutcome::InDoubt),
        }
    };
    job.definition.steps.iter().enumerate().map(row).collect()
}

pub fn channel(name: &str) -> &str {
    match name {
        "email" => "E-mail",
        "linkedin_invite" => "LinkedIn invite",
        "linkedin_message" => "LinkedIn message",
        other => other,
    }
}

pub fn timing(index: usize, step: &StepText) -> String {
    let days = match step.after_days {
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    };
    let when = match (index, step.after_days) {
        (0, 0) => "at once".to_owned(),
        (0, _) => format!("{days} after the launch"),
        (index, 0) => format!("right after step {index}"),
        (index, _) => format!("{days} after step {index}"),
    };
    let no_reply = index > 0 && step.condition == "no_reply";
    if no_reply { format!("{when}, if no reply") } else { when }
}

fn lead_row(scene: &Scene, job: &Job, names: &Names, lead: &StoredLead) -> CampaignLead {
    CampaignLead {
        id: id::inside("lead", scene.workspace.id, lead.lead),
        name: lead.name.clone(),
        company: names.leads.get(&lead.lead).map(|(_, company)| company.clone()).unwrap_or_default(),
        step: step(job, lead.position),
        state: lead_state(lead),
        due: due(scene, job, lead),
        receipt: lead
            .hold
            .filter(|_| lead.state == WorkState::InDoubt as i64)
            .map(|hold| line(billing::Seq(hold))),
    }
}

/// When its next step is due. A pause freezes what is left of a delay, so there is no date while it lasts.
pub fn due(scene: &Scene, job: &Job, lead: &StoredLead) -> Option<Moment> {
    let waiting = lead.state == WorkState::Waiting as i64;
    lead.due.zip(job.run.running_since).filter(|_| waiting).map(|(due, since)| {
        let at = since.0.saturating_add(due - job.run.ran);
        scene.moment(Time(at.max(scene.now.0)))
    })
}

/// The step at a position.
pub fn step(job: &Job, position: i64) -> String {
    let of = job.definition.steps.len();
    match work::position(position) {
        billing::campaign::Position::Enrich(index) => match job.definition.enrich.get(index) {
            Some(field) => format!("Looking up {}", field.replace('_', " ")),
            None => format!("Step 1 of {of}"),
        },
        billing::campaign::Position::Step(index) if index < of => format!("Step {} of {of}", index + 1),
        billing::campaign::Position::Step(_) => format!("After step {of}"),
    }
}

/// How a lead of a campaign stands.
pub fn lead_state(lead: &StoredLead) -> String {
    let words = match lead.state {
        state if state == WorkState::InDoubt as i64 => "unconfirmed: may have been sent",
        state if state == WorkState::Completed as i64 => "completed",
        state if state == WorkState::Replied as i64 => "replied",
        state if state == WorkState::Blocked as i64 => "on the blocklist",
        state if state == WorkState::Failed as i64 => "failed",
        state if state == WorkState::Review as i64 => "waits for approval",
        _ => "waiting",
    };
    match lead.detail.as_deref().filter(|detail| !detail.is_empty()) {
        Some(detail) => format!("{words}: {detail}"),
        None => words.to_owned(),
    }
}
