//! The outbox loop: hands queued notices to the mail server.
//!
//! It never delays what caused a notice: that was committed before. A notice may arrive twice when the server's answer is
//! lost; both carry the same Message-ID.

use std::sync::atomic::Ordering;

use crate::app::App;
use crate::providers::{Email, Outcome};
use crate::scheduler::pause;
use crate::store::Error;
use crate::store::outbox::{Final, Mail};

/// How many mails are taken at a time.
const BATCH: i64 = 50;

/// Sends everything that is due. Answers how much that was.
pub async fn work_off(app: &App) -> Result<usize, Error> {
    let mut done = 0;
    loop {
        let mails = app.store.claim_mails(BATCH).await?;
        if mails.is_empty() {
            return Ok(done);
        }
        for mail in mails {
            done += 1;
            send(app, mail).await?;
        }
    }
}

async fn send(app: &App, mail: Mail) -> Result<(), Error> {
    let Some(mailer) = &app.mailer else {
        return app.store.mail_failed(mail, "no [mail] is configured".to_owned(), Final::Yes).await;
    };
    let email = Email {
        to: mail.recipient.clone(),
        subject: mail.subject.clone(),
        text: mail.body.clone(),
        html: None,
        message_id: format!("notice-{}@scrip", mail.id),
        at_micros: app.clock.now().0,
        unsubscribe: None,
        hold: None,
    };
    match mailer.send(&email).await {
        Outcome::Done(()) => {
            app.served.mails.fetch_add(1, Ordering::Relaxed);
            app.store.mail_sent(&mail).await
        }
        Outcome::ItemFailed { reason } => app.store.mail_failed(mail, reason, Final::Yes).await,
        Outcome::TryLater { reason, .. } | Outcome::Unavailable { reason } | Outcome::Unknown { reason } => {
            tracing::warn!(reason, "a notice could not be mailed yet");
            app.store.mail_failed(mail, reason, Final::No).await
        }
    }
}

/// Runs the loop until the server stops. Only for the system's clock.
pub async fn run(app: App) {
    while !app.is_stopping() {
        if let Err(error) = work_off(&app).await {
            tracing::error!(%error, "the outbox could not be worked off");
        }
        pause(&app).await;
    }
}
