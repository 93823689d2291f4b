//! What is due by the clock: renewals, and what happens to holds and grants without a command.
//!
//! Owns the order in which a manual clock lets things happen. It does *not* know how a period is computed (`calendar`) or
//! what an expiry does (`billing`).
//!
//! Invariant: however late it runs, every missed period is granted once, in order.

use billing::ledger::Command;
use billing::{Time, units::SECOND};

use crate::app::App;
use crate::calendar::{self, Cadence};
use crate::catalog::Interval;
use crate::store::Error;
use crate::store::committer::Post;
use crate::store::workspaces::{Period, Workspace};
use crate::{delivery, reconcile, runner};

/// How many workspaces are looked at in one go.
const BATCH: i64 = 256;

/// Does everything that is due. Answers how much that was.
pub async fn work_off(app: &App) -> Result<usize, Error> {
    let mut done = 0;
    loop {
        let periods = app.store.due_periods(BATCH).await?;
        let accounts = app.store.due_accounts().await?;
        if periods.is_empty() && accounts.is_empty() {
            return Ok(done);
        }
        done += periods.len() + accounts.len();
        for (workspace, number) in periods {
            app.store.begin_period(workspace.id, period(app, &workspace, number)).await?;
        }
        let sweeps =
            accounts.into_iter().map(|workspace| Post::new(workspace, Command::Sweep, "system")).collect();
        for answer in app.store.post_all(sweeps).await {
            answer?;
        }
    }
}

/// Period `number` of a workspace, counted from its anchor.
pub fn period(app: &App, workspace: &Workspace, number: i64) -> Period {
    let plan = workspace.plan.as_deref().and_then(|plan| app.catalog.plan(plan));
    let cadence = match plan.map(|plan| plan.interval) {
        Some(Interval::Year) => Cadence::Year,
        _ => Cadence::Month,
    };
    let start = |number| calendar::period_start(workspace.anchor, &workspace.time_zone, cadence, number);
    let credits = plan.map(|plan| plan.credits).or(workspace.plan_credits).unwrap_or(1);
    // A period begins where the one before ended, also when the zone was changed in between.
    Period {
        number,
        starts_at: workspace.next_period.unwrap_or_else(|| start(number)),
        ends_at: start(number + 1),
        credits,
    }
}

/// Runs the loop until the server stops. Only for the system's clock.
pub async fn run(app: App) {
    while !app.is_stopping() {
        match work_off(&app).await {
            Ok(0) => {}
            Ok(_) => app.nudge(),
            Err(error) => tracing::error!(%error, "the scheduler could not do what is due"),
        }
        pause(&app).await;
    }
}

/// Waits until something may be due: a nudge, or half a second.
pub async fn pause(app: &App) {
    let _ = tokio::time::timeout(std::time::Duration::from_millis(500), app.wake.notified()).await;
}

/// Lets a manual clock's time pass: from due moment to due moment, everything due happens, and nothing is in flight when it
/// answers.
///
/// # Errors
/// When the store cannot write: time stands where it got to.
pub async fn advance(app: &App, seconds: i64) -> Result<Time, Error> {
    let _one_at_a_time = app.advancing.lock().await;
    // Another node may have moved it since this one looked.
    app.store.advance_clock(app.clock.now()).await?;
    let target = Time(app.clock.now().0.saturating_add(seconds.saturating_mul(SECOND)));
    loop {
        settle_down(app).await?;
        let moments = [
            app.store.next_period().await?,
            app.store.next_in_ledger().await?,
            app.store.next_piece().await?,
            app.store.next_mail().await?,
            reconcile::next(app).await?,
        ];
        match moments.into_iter().flatten().min() {
            Some(next) if next <= target => app.store.advance_clock(next).await?,
            _ => break,
        }
    }
    app.store.advance_clock(target).await?;
    Ok(app.clock.now())
}

/// Runs all loops until nothing that is due now remains.
async fn settle_down(app: &App) -> Result<(), Error> {
    loop {
        let paid = reconcile::work_off(app).await?;
        let done =
            paid + work_off(app).await? + runner::work_off(app).await? + delivery::work_off(app).await?;
        if done == 0 {
            return Ok(());
        }
    }
}
