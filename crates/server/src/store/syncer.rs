//! Answers, once what they say is durable.
//!
//! Owns the sync of a directory's log. It does *not* commit.
//!
//! Invariant: once a sync failed, nobody is told again that something is durable.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{mpsc, watch};

use super::Error;
use super::accounts::Workspaces;
use super::changes::Changes;
use super::committer::{Answer, Request};

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

/// The log of a directory, and whom to tell what it has.
pub struct Syncer {
    log: File,
    changes: Arc<Changes>,
    dead: Arc<watch::Sender<bool>>,
    failed: AtomicBool,
}

impl Syncer {
    /// For a log that works so far.
    pub fn new(log: File, changes: Arc<Changes>, dead: Arc<watch::Sender<bool>>) -> Syncer {
        Syncer { log, changes, dead, failed: AtomicBool::new(false) }
    }

    /// Syncs what was committed, then answers it; whoever committed it does this itself, because waking a thread for it takes as
    /// long as a sync. What a reader sees meanwhile may be some milliseconds ahead of what a power cut would leave; nobody was
    /// told that it is there. `false`: the disk failed.
    pub fn answer(&self, all: Vec<Done>) -> bool {
        let works = !self.failed.load(Ordering::Acquire);
        let synced = if works { self.log.sync_data() } else { Err(std::io::Error::other(DISK_FAILED)) };
        match synced {
            Ok(()) => all.into_iter().for_each(|done| done.tell(&self.changes, None)),
            Err(error) => {
                self.failed.store(true, Ordering::Release);
                tracing::error!(%error, "the disk failed");
                let _ = self.dead.send(true);
                all.into_iter().for_each(|done| done.fail(DISK_FAILED));
                return false;
            }
        }
        true
    }
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
