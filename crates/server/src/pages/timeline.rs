//! What became of a campaign: launched, paused and why, gone on and why, ended.

use billing::Time;
use billing::campaign::{Reason, Stage};

use super::frame::Trouble;
use super::scene::Scene;
use super::view::Timeline;
use super::view::format::Figure;
use crate::app::App;
use crate::store::jobs::{Job, Pause};

/// How many pauses that are over are shown.
const PAST: i64 = 50;

/// All of it, newest first.
pub async fn timeline(app: &App, scene: &Scene, job: &Job) -> Result<Timeline, Trouble> {
    let (mut past, ended) = app.store.past_pauses(scene.workspace.id, job.id, PAST + 1).await?;
    let more = past.len() > PAST as usize;
    past.truncate(PAST as usize);
    // In the order of what is written at one moment: a lift after its pause, a pause that lasts after both, an end after all.
    let mut turns: Vec<(Time, i64, String)> = Vec::new();
    turns.extend(job.launched_at.map(|at| (at, 0, "Launched".to_owned())));
    turns.extend(past.iter().map(|past| (past.pause.since, 1, paused(&past.pause))));
    turns.extend(job.pauses.iter().map(|pause| (pause.since, 3, paused(pause))));
    // What ends with the campaign was not lifted.
    let lifted = past.iter().filter(|past| ended != Some(past.lifted_at));
    turns.extend(lifted.map(|past| (past.lifted_at, 2, lift(&past.pause).to_owned())));
    turns.extend(ended.map(|at| (at, 4, end(job.run.stage).to_owned())));
    turns.sort_by(|one, other| other.cmp(one));
    let turns = turns.into_iter().map(|(at, _, what)| (scene.moment(at), what)).collect();
    Ok(Timeline { turns, more })
}

fn paused(pause: &Pause) -> String {
    let why = match pause.reason {
        Reason::OutOfCredits => "out of credits".to_owned(),
        Reason::Person => format!("by {}", pause.by.as_deref().unwrap_or("a person")),
        Reason::CreditCap => "a limit is reached".to_owned(),
        Reason::Provider => {
            format!("a provider: {}", pause.by.as_deref().unwrap_or("it does not accept our calls"))
        }
    };
    let needed = pause.needed.map(|needed| format!(", {} needed", needed.credits()));
    format!("Paused: {why}{}", needed.unwrap_or_default())
}

fn lift(pause: &Pause) -> &'static str {
    match pause.reason {
        Reason::OutOfCredits => "No longer out of credits",
        Reason::Person => "No longer paused by a person",
        Reason::CreditCap => "No longer stopped by a limit",
        Reason::Provider => "No longer stopped by a provider",
    }
}

fn end(stage: Stage) -> &'static str {
    match stage {
        Stage::Canceled => "Canceled",
        Stage::Failed => "Failed",
        _ => "Completed",
    }
}
