//! How mails are named, so that what comes back is known; and the mailbox that it comes into.

use crate::app::App;
use crate::config::Secret;
use crate::id;
use crate::providers::Imap;
use crate::store::senders::{Look, Sender};

/// How much of a signature a name has, in characters.
const SIGNED: usize = 20;

/// The Message-ID of a step's mail: the same for every attempt, and nobody's to make up.
pub fn mail_name(app: &App, workspace: i64, (job, lead, step): (i64, i64, usize), domain: &str) -> String {
    let name =
        format!("{}.{}.{step}", id::inside("camp", workspace, job), id::inside("lead", workspace, lead));
    format!("{name}.{}@{domain}", signature(app, &name))
}

/// The lead of this workspace that a mail of ours went to; `None`: it is not ours.
pub fn named_lead(app: &App, workspace: i64, message_id: &str) -> Option<i64> {
    let (local, _) = message_id.rsplit_once('@')?;
    let (name, signed) = local.rsplit_once('.')?;
    let lead = name.split('.').nth(1)?;
    let (owner, lead) = id::parse_inside("lead", lead)?;
    let genuine = signature(app, name);
    let same: bool = subtle::ConstantTimeEq::ct_eq(genuine.as_bytes(), signed.as_bytes()).into();
    (same && owner == workspace).then_some(lead)
}

fn signature(app: &App, name: &str) -> String {
    let mut signature = app.sign(format!("mail {name}").as_bytes());
    signature.truncate(SIGNED);
    signature
}

/// The mailbox that is to be looked into.
///
/// # Errors
/// One line for the person who looks why nothing comes back.
pub fn mailbox(app: &App, look: &Look) -> Result<Imap, String> {
    let url = app.seal.open(&whose(look.workspace, look.sender), &look.access);
    let url = url.ok_or("it cannot be opened with this server's key: enter it again")?;
    Imap::new(&url, &app.reach)
}

/// Seals how a mailbox is reached.
pub(super) fn sealed(
    app: &App,
    workspace: i64,
    sender: &Sender,
    url: &Secret,
) -> Result<crate::store::senders::Mailbox, super::Fault> {
    let wrong = |reason: &str| super::Fault::new("imap_url", reason);
    let server = Imap::new(url, &app.reach).map_err(|reason| wrong(&reason))?.place();
    let access = app.seal.close(&whose(workspace, sender.id), url.reveal()).map_err(|problem| {
        tracing::error!(problem, "a sender's mailbox could not be sealed");
        wrong("cannot be kept: the server has no key to seal it with")
    })?;
    Ok(crate::store::senders::Mailbox { server, access, looked_at: None, trouble: None })
}

/// What a mailbox is sealed for: not for sending.
fn whose(workspace: i64, sender: i64) -> String {
    format!("mailbox {}", id::inside("sender", workspace, sender))
}
