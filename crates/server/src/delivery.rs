//! The outbox loop: hands queued notices to the mail server.
//!
//! It never delays what caused a notice: that was committed before. A notice may arrive twice when the server's answer is
//! lost; both carry the Message-ID of the newest notice in them.

use std::sync::atomic::Ordering;

use askama::Template;

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
        for letter in letters(mails) {
            done += letter.len();
            send(app, letter).await?;
        }
    }
}

/// Notices to one person of one workspace that are due together are one mail.
fn letters(mails: Vec<Mail>) -> Vec<Vec<Mail>> {
    let mut letters: Vec<Vec<Mail>> = Vec::new();
    for mail in mails {
        let of = |mail: &Mail| (mail.notice, mail.workspace, mail.recipient.clone());
        match letters.iter_mut().find(|letter| mail.notice && of(&letter[0]) == of(&mail)) {
            Some(letter) => letter.push(mail),
            None => letters.push(vec![mail]),
        }
    }
    letters
}

/// A notice as it looks in a mail client.
#[derive(Template)]
#[template(path = "notice_mail.html")]
struct NoticeMail<'a> {
    subject: &'a str,
    /// What each says, the newest first.
    notices: &'a [Mail],
    url: &'a str,
}

/// The mail of a letter: the newest of its notices first. Text and HTML say the same.
fn email(app: &App, letter: &[Mail]) -> Result<Email, askama::Error> {
    let newest = &letter[0];
    let subject = match letter.len() - 1 {
        0 => newest.subject.clone(),
        1 => format!("{} And 1 more notice", newest.subject),
        more => format!("{} And {more} more notices", newest.subject),
    };
    let (mut text, mut html) = (newest.body.clone(), None);
    if newest.notice {
        let url = format!("{}/billing", app.public_url);
        for older in &letter[1..] {
            text.push_str(&format!("\n\n{}\n{}", older.subject, older.body));
        }
        text.push_str(&format!("\n\nOpen Billing: {url}\n"));
        html = Some(NoticeMail { subject: &subject, notices: letter, url: &url }.render()?);
    }
    Ok(Email {
        to: newest.recipient.clone(),
        subject,
        text,
        html,
        message_id: format!("notice-{}@scrip", newest.id),
        at_micros: app.clock.now().0,
        unsubscribe: None,
        hold: None,
    })
}

async fn send(app: &App, mut letter: Vec<Mail>) -> Result<(), Error> {
    letter.sort_by_key(|mail| std::cmp::Reverse(mail.id));
    let outcome = match (&app.mailer, email(app, &letter)) {
        (None, _) => Outcome::ItemFailed { reason: "no [mail] is configured".to_owned() },
        (_, Err(error)) => Outcome::ItemFailed { reason: error.to_string() },
        (Some(mailer), Ok(email)) => mailer.send(&email).await,
    };
    if let Outcome::Done(()) = outcome {
        app.served.mails.fetch_add(1, Ordering::Relaxed);
    }
    for mail in letter {
        match &outcome {
            Outcome::Done(()) => app.store.mail_sent(&mail).await?,
            Outcome::ItemFailed { reason } => app.store.mail_failed(mail, reason.clone(), Final::Yes).await?,
            Outcome::TryLater { reason, .. }
            | Outcome::Unavailable { reason }
            | Outcome::Unknown { reason } => {
                tracing::warn!(reason, "a notice could not be mailed yet");
                app.store.mail_failed(mail, reason.clone(), Final::No).await?;
            }
        }
    }
    Ok(())
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
