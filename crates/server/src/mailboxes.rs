//! The loop that looks into senders' mailboxes for what came back: answers and bounces.
//!
//! Whatever node looks: the store's lease lets one do so at a time. What a mail says is done before the mark moves past it, so a crash
//! in between only reads it again, which changes nothing.
//!
//! Invariant: only a mail that names one of ours, by a Message-ID that nobody else can make, has any effect.

use futures_util::{StreamExt, stream};

use crate::app::App;
use crate::calendar;
use crate::outreach::{mailbox, named_lead};
use crate::providers::{Letter, Mark};
use crate::scheduler::pause;
use crate::store::Error;
use crate::store::senders::Look;

/// How many mailboxes are taken at a time, and how many of them are looked into at once.
const BATCH: i64 = 256;
const AT_ONCE: usize = 16;
/// How far back a mailbox is read that is new to us, in days.
const DAYS: i64 = 14;

/// Looks into everything that is due. Answers how much that was.
pub async fn work_off(app: &App) -> Result<usize, Error> {
    let mut done = 0;
    loop {
        let due = app.store.due_mailboxes(BATCH).await?;
        if due.is_empty() {
            return Ok(done);
        }
        done += due.len();
        let looks = due.into_iter().map(|(workspace, sender)| look_into(app, workspace, sender));
        let mut looks = stream::iter(looks).buffer_unordered(AT_ONCE);
        while let Some(looked) = looks.next().await {
            looked?;
        }
    }
}

async fn look_into(app: &App, workspace: i64, sender: i64) -> Result<(), Error> {
    let Some(look) = app.store.claim_mailbox(workspace, sender).await? else { return Ok(()) };
    let known = (look.validity, look.last);
    let imap = match mailbox(app, &look) {
        Ok(imap) => imap,
        Err(trouble) => return app.store.mailbox_looked(look, known, false, Some(trouble)).await,
    };
    let number = |number: i64| u32::try_from(number).unwrap_or(0);
    let mark = Mark { validity: number(look.validity), last: number(look.last) };
    let since = calendar::mail_day(app.clock.now().plus_seconds(-DAYS * 86_400));
    let looked = imap.look(mark, &since, own_address(&look)).await;
    if let Some(trouble) = &looked.trouble {
        tracing::info!(trouble, "a mailbox could not be read to its end");
    }
    let mut came = false;
    for letter in looked.letters {
        came |= take(app, workspace, letter).await?;
    }
    if came {
        app.nudge();
    }
    let mark = (i64::from(looked.mark.validity), i64::from(looked.mark.last));
    app.store.mailbox_looked(look, mark, looked.more, looked.trouble).await
}

/// Does what a mail means. `false`: nothing, because it names no mail of ours.
async fn take(app: &App, workspace: i64, letter: Letter) -> Result<bool, Error> {
    let lead = |names: &[String]| names.iter().find_map(|name| named_lead(app, workspace, name));
    let done = match &letter {
        Letter::Answer { to } => match lead(to) {
            Some(lead) => app.store.lead_replied(workspace, lead).await.map(|_| true),
            None => Ok(false),
        },
        Letter::Bounce { of, addresses } => match lead(of) {
            Some(lead) => app.store.lead_bounced(workspace, lead, addresses.clone()).await,
            None => Ok(false),
        },
    };
    match done {
        // Its lead is gone.
        Err(Error::NotFound) => Ok(false),
        done => done,
    }
}

/// The address alone of whom a sender writes as.
fn own_address(look: &Look) -> &str {
    let from = look.from.trim_end_matches('>');
    from.rsplit_once('<').map_or(from, |(_, address)| address)
}

/// Runs the loop until the server stops. Only for the system's clock.
pub async fn run(app: App) {
    while !app.is_stopping() {
        if let Err(error) = work_off(&app).await {
            tracing::error!(%error, "mailboxes could not be looked into");
        }
        pause(&app).await;
    }
}
