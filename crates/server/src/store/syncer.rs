//! Answers, once what they say is durable.
//!
//! Owns the sync of a directory's log. It does *not* commit.

use std::fs::File;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use tokio::sync::mpsc;

use super::Error;
use super::accounts::Workspaces;
use super::changes::Changes;
use super::committer::{Answer, Request};

/// How many commits may wait for one sync: the writer waits with the next.
const UNSYNCED: usize = 4;
/// Nobody knows what a disk kept that failed.
pub const DISK_FAILED: &str =
    "the disk failed: whether this was written is known after a restart, by its key";

/// What was committed and waits for its answers.
pub struct Done {
    /// What was asked.
    pub requests: Vec<Request>,
    /// The answers of posts.
    pub answers: Answers,
    /// Whose account changed.
    pub changed: Workspaces,
}

impl Done {
    /// Answers everybody, and tells who listens.
    pub fn tell(self, changes: &Changes, nodes: Option<&mpsc::UnboundedSender<Workspaces>>) {
        for workspace in &self.changed {
            changes.tell(*workspace);
        }
        if let Some(nodes) = nodes.filter(|_| !self.changed.is_empty()) {
            let _ = nodes.send(self.changed);
        }
        answer(self.requests, self.answers);
    }

    /// Tells everybody why not.
    pub fn fail(self, why: &str) {
        self.requests.into_iter().for_each(|request| fail(request, why));
    }
}

/// Starts a thread that syncs a log, and one that then answers what was committed before. While they do, the writer goes on: the
/// next commits share the next sync, which begins before all of these answers are out. What a reader sees may be some
/// milliseconds ahead of what a power cut would leave; nobody was told that it is there.
///
/// # Errors
/// When no thread can be started.
pub fn start(
    log: File,
    changes: Arc<Changes>,
    dead: Arc<tokio::sync::watch::Sender<bool>>,
) -> std::io::Result<SyncSender<Done>> {
    let (sender, committed) = sync_channel::<Done>(UNSYNCED);
    let (synced, durable) = sync_channel::<Vec<Done>>(UNSYNCED);
    let tell = move || durable.into_iter().flatten().for_each(|done| done.tell(&changes, None));
    std::thread::Builder::new().name("teller".to_owned()).spawn(tell)?;
    let work = move || {
        while let Ok(first) = committed.recv() {
            let all: Vec<Done> = std::iter::once(first).chain(committed.try_iter()).collect();
            if let Err(error) = log.sync_data() {
                tracing::error!(%error, "the disk failed");
                let _ = dead.send(true);
                return all.into_iter().for_each(|done| done.fail(DISK_FAILED));
            }
            if synced.send(all).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("syncer".to_owned()).spawn(work)?;
    Ok(sender)
}

/// The answer of each request that is a post.
pub type Answers = Vec<Option<Result<Answer, Error>>>;

fn answer(requests: Vec<Request>, answers: Answers) {
    for (request, answer) in requests.into_iter().zip(answers) {
        match (request, answer) {
            (Request::Post(_, Some(reply)), Some(answer)) => {
                let _ = reply.send(answer);
            }
            (Request::Work(mut work), _) => work.finish(Ok(())),
            _ => {}
        }
    }
}

/// Tells one caller why not.
pub fn fail(request: Request, why: &str) {
    match request {
        Request::Post(_, Some(reply)) => {
            let _ = reply.send(Err(Error::Unavailable(why.to_owned())));
        }
        Request::Post(_, None) => {}
        Request::Work(mut work) => work.finish(Err(Error::Unavailable(why.to_owned()))),
    }
}
