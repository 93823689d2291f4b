//! Who waits for a workspace to change, and how they are told.
//!
//! Owns nothing that is durable. Only those wake who wait for the workspace that changed, however many others there are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// How often each workspace changed that somebody watches.
#[derive(Default)]
pub struct Changes(Mutex<HashMap<i64, watch::Sender<u64>>>);

/// One who watches a workspace.
pub struct Watch {
    changes: Arc<Changes>,
    workspace: i64,
    count: watch::Receiver<u64>,
}

impl Changes {
    /// A workspace's account changed.
    pub fn tell(&self, workspace: i64) {
        if let Some(count) = self.lock().get(&workspace) {
            count.send_modify(|count| *count += 1);
        }
    }

    /// Any account may have changed.
    pub fn tell_all(&self) {
        self.lock().values().for_each(|count| count.send_modify(|count| *count += 1));
    }

    /// Begins to watch a workspace.
    pub fn watch(self: &Arc<Changes>, workspace: i64) -> Watch {
        let count = self.lock().entry(workspace).or_default().subscribe();
        Watch { changes: self.clone(), workspace, count }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i64, watch::Sender<u64>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// How often the workspace changed since somebody watches it.
    pub fn count(&mut self) -> u64 {
        *self.count.borrow_and_update()
    }

    /// Waits until it is another number than the last time that it was asked for.
    pub async fn changed(&mut self) {
        if self.count.changed().await.is_err() {
            // The sender stays as long as somebody watches.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut counts = self.changes.lock();
        if counts.get(&self.workspace).is_some_and(|count| count.receiver_count() <= 1) {
            counts.remove(&self.workspace);
        }
    }
}
