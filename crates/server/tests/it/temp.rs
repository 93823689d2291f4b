//! Directories that are gone when their test is.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use scrip::store::{Place, Store};
use tokio::sync::broadcast::error::RecvError;

/// A directory of its own.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new(name: &str) -> Directory {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::SeqCst);
        let path = std::env::temp_dir().join(format!("scrip-{name}-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory can be made");
        Directory(path)
    }

    /// The directory `data` of a disk.
    pub fn inside(disk: &Path) -> Directory {
        Directory(disk.join("data"))
    }

    /// Where a store is opened.
    pub fn place(&self) -> Place {
        Place::Directory(self.0.clone())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Drops the last handle of a store and waits until its writer has ended: only then is the file nobody's.
pub async fn close(store: Store) {
    let mut changes = store.changes();
    drop(store);
    while !matches!(changes.recv().await, Err(RecvError::Closed)) {}
}
