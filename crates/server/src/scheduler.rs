//! What is due by the clock: renewals, charges without a person, and what happens to holds and grants without a command.
//!
//! Owns the order in which a manual clock lets things happen. It does *not* know what a period is
//! (`subscriptions`), what a charge means (`money`) or what an expiry does (`billing`).
//!
//! Invariant: however late it runs, every missed period is granted once, in order.

use std::time::Duration;

use billing::ledger::Command;
use billing::{Time, units::SECOND};
use futures_util::{StreamExt, stream};

use crate::app::App;
use crate::money::{self, Trouble};
use crate::store::Error;
use crate::store::committer::Post;
use crate::store::payments::Purpose;
use crate::store::subscriptions::periods::Due;
use crate::{delivery, mailboxes, reconcile, runner, webhooks};

/// How many periods are begun in one go: asking what else is due looks through every account, so it is not asked often.
const PERIODS: i64 = 16_384;
/// How many of everything else, of which each may wait for others' servers.
const BATCH: i64 = 256;
/// How many of what is due is done at once: enough to share commits, and few enough that nobody else waits long for one.
const AT_ONCE: usize = 16;
/// Of periods it is fewer, and then none for a while: whoever asks meanwhile would notice the load before anybody noticed that a
/// renewal came some seconds late.
const RENEWED: usize = 2;
const REST: Duration = Duration::from_millis(1);

/// Does everything that is due. Answers how much that was.
pub async fn work_off(app: &App) -> Result<usize, Error> {
    let mut done = 0;
    app.write_key_uses().await?;
    loop {
        let periods = app.store.due_periods(PERIODS).await?;
        let payments = if app.payments.is_some() { app.store.due_payments(BATCH).await? } else { Vec::new() };
        let buys = if app.payments.is_some() { app.store.due_auto_buys(BATCH).await? } else { Vec::new() };
        let accounts = app.store.due_accounts().await?;
        let budgets = app.store.due_budgets(BATCH).await?;
        let due = periods.len() + payments.len() + buys.len() + accounts.len() + budgets.len();
        // One that cannot be done must not keep the others waiting.
        let mut failed = renew(app, periods).await;
        let buys = buys.into_iter().map(|(workspace, chosen)| async move {
            let catalog = app.catalog();
            let pack = catalog.pack(&chosen);
            let offer = pack.map(|pack| money::pack(catalog, workspace, Purpose::AutoBuy, pack, None));
            app.store.begin_auto_buy(workspace, chosen, offer).await
        });
        failed.extend(failures(buys).await);
        let charges = payments.into_iter().map(|(workspace, payment)| money::charge(app, workspace, payment));
        for trouble in failures(charges).await {
            match trouble {
                Trouble::Store(error) => failed.push(error),
                trouble => tracing::warn!(?trouble, "a charge could not be made"),
            }
        }
        let sweeps =
            accounts.into_iter().map(|workspace| Post::new(workspace, Command::Sweep, "system")).collect();
        failed.extend(
            failures(budgets.into_iter().map(|workspace| app.store.look_at_budgets(workspace))).await,
        );
        failed.extend(app.store.post_all(sweeps).await.into_iter().filter_map(Result::err));
        done += due - failed.len().min(due);
        let stuck = failed.len() >= due;
        for error in failed {
            // What is refused is looked at again later; what the database did not do stops the round.
            if !error.is_answer() {
                return Err(error);
            }
            tracing::error!(%error, "something due could not be done");
        }
        if stuck {
            return Ok(done);
        }
    }
}

/// Begins what periods are due: a few at once, then a rest.
async fn renew(app: &App, mut due: Vec<Due>) -> Vec<Error> {
    let mut failed = Vec::new();
    while !due.is_empty() {
        let few = due.drain(..RENEWED.min(due.len()));
        failed.extend(
            failures(few.map(|due| async {
                let terms = money::at_renewal(app.catalog(), &due);
                app.store.renew(due, terms).await
            }))
            .await,
        );
        if !due.is_empty() {
            tokio::time::sleep(REST).await;
        }
    }
    failed
}

/// Does what is due side by side; answers what could not be done.
async fn failures<E>(due: impl Iterator<Item = impl Future<Output = Result<(), E>>>) -> Vec<E> {
    let done = stream::iter(due).buffer_unordered(AT_ONCE);
    done.filter_map(async |done| done.err()).collect().await
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
    let _ = tokio::time::timeout(Duration::from_millis(500), app.wake.notified()).await;
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
            if app.payments.is_some() { app.store.next_attempt().await? } else { None },
            if app.payments.is_some() { app.store.next_auto_buy().await? } else { None },
            app.store.next_in_ledger().await?,
            app.store.next_budget().await?,
            app.store.next_piece().await?,
            app.store.next_mail().await?,
            app.store.next_delivery().await?,
            app.store.next_mailbox().await?,
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
        let worked = work_off(app).await? + runner::work_off(app).await?;
        let told = delivery::work_off(app).await? + webhooks::work_off(app).await?;
        let done = paid + worked + told + mailboxes::work_off(app).await?;
        if done == 0 {
            return Ok(());
        }
    }
}
