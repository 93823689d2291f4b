//! A disk that remembers and fails, for tests: every change that SQLite makes to the files of a directory is recorded, and any
//! of them can be made to fail.
//!
//! Owns which directories are watched, what is recorded of them and which call fails. It does *not* know what is in the files:
//! `Files` makes from a recording what a crash could have left, and `vfs` stands between SQLite and the real files.
//!
//! Invariant: a recording is in the order in which the files changed. A sync is recorded and never done: what it would have kept
//! is worked out from the recording, so thousands of crashes take seconds.

mod files;
mod vfs;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::UNIX_EPOCH;

pub use files::{Files, Luck, put};

/// One thing that happened to a file.
#[derive(Clone, Debug)]
pub struct Operation {
    /// The file's name in its directory.
    pub file: String,
    /// What happened to it.
    pub change: Change,
}

/// What happens to files.
#[derive(Clone, Debug)]
pub enum Change {
    /// It is new and empty.
    Create,
    /// Bytes at a place.
    Write(u64, Arc<[u8]>),
    /// It has this length now.
    Truncate(u64),
    /// What was written is on the disk.
    Sync,
    /// The sync failed: what was written can be read, but the system takes it for clean and no later sync writes it.
    SyncFailed,
    /// The names in the directory are on the disk.
    SyncDirectory,
    /// Its name is gone.
    Delete,
}

/// What fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The disk takes no change: a file is not made, written, cut or deleted. Half of a write gets through.
    Change,
    /// The disk does not keep what was written.
    Sync,
    /// The same, of the database alone.
    SyncOfDatabase,
    /// There is no room: half of a write gets through.
    Full,
}

/// How long it fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lasting {
    /// One call.
    Once,
    /// Every such call, until it is mended.
    UntilMended,
}

/// Watches a directory while it is here.
pub struct Disk(Arc<Watch>);

pub(crate) struct Watch {
    directory: PathBuf,
    state: Mutex<State>,
    /// Told when the last file is closed, and when a call fails.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    log: Vec<Operation>,
    open: usize,
    trouble: Option<(Fault, u64, Lasting)>,
    calls: u64,
    struck: bool,
    panics: Vec<String>,
    /// Files that were here before, and that are as they were, as far as is recorded.
    found: HashSet<String>,
}

type Watched = Mutex<HashMap<PathBuf, Weak<Watch>>>;

fn watched() -> &'static Watched {
    static WATCHED: OnceLock<Watched> = OnceLock::new();
    WATCHED.get_or_init(|| {
        vfs::install();
        watch_panics();
        Watched::default()
    })
}

/// A thread that panics in the server is caught there and answered as an error. Here it is a finding, and belongs to the
/// directory whose files the thread touched last.
fn watch_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if let Some(watch) = LAST.with_borrow(Weak::upgrade) {
            watch.state().panics.push(panic.to_string());
        }
        before(panic);
    }));
}

thread_local! {
    static LAST: RefCell<Weak<Watch>> = const { RefCell::new(Weak::new()) };
}

impl Disk {
    /// Watches a directory that exists. What SQLite opens there from now on is recorded.
    pub fn of(directory: &Path) -> Disk {
        let directory = directory.canonicalize().expect("a directory");
        let mut found = HashSet::new();
        for file in std::fs::read_dir(&directory).expect("a directory").filter_map(Result::ok) {
            let opened = std::fs::File::options().write(true).open(file.path());
            opened.and_then(|opened| opened.set_modified(UNIX_EPOCH)).expect("a file");
            found.extend(file.file_name().into_string());
        }
        let state = Mutex::new(State { found, ..State::default() });
        let changed = Condvar::new();
        let watch = Arc::new(Watch { directory: directory.clone(), state, changed });
        let mut all = watched().lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(directory, Arc::downgrade(&watch));
        Disk(watch)
    }

    /// How many operations are recorded.
    pub fn position(&self) -> usize {
        self.0.state().log.len()
    }

    /// What was recorded.
    pub fn log(&self) -> Vec<Operation> {
        self.0.state().log.clone()
    }

    /// Makes the n-th call of a kind fail, counted from now.
    pub fn fail(&self, fault: Fault, nth: u64, lasting: Lasting) {
        let mut state = self.0.state();
        (state.trouble, state.calls, state.struck) = (Some((fault, nth, lasting)), 0, false);
    }

    /// Waits until something has failed.
    pub fn wait_until_struck(&self) {
        let state = self.0.state();
        let _struck = self.0.changed.wait_while(state, |state| !state.struck);
    }

    /// Mends it. Answers whether anything failed.
    pub fn mend(&self) -> bool {
        let mut state = self.0.state();
        state.trouble = None;
        state.struck
    }

    /// Waits until nobody has a file open: only then is all that a closing store does recorded.
    pub fn closed(&self) {
        let state = self.0.state();
        let _open = self.0.changed.wait_while(state, |state| state.open > 0);
    }

    /// What panicked in threads that last touched this directory.
    pub fn panics(&self) -> Vec<String> {
        self.0.state().panics.clone()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        watched().lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0.directory);
    }
}

/// The watch over a file's directory, if there is one, and the file's name in it.
fn find(path: &Path) -> Option<(Arc<Watch>, String)> {
    let all = watched().lock().unwrap_or_else(PoisonError::into_inner);
    let watch = all.get(path.parent()?)?.upgrade()?;
    Some((watch, path.file_name()?.to_str()?.to_owned()))
}

impl Watch {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touch(self: &Arc<Watch>) {
        LAST.set(Arc::downgrade(self));
    }

    /// Notes that a file is open. When it was found here and somebody other than SQLite wrote it meanwhile, that is recorded
    /// too; that it was all of it, and synced, is taken on trust.
    fn opened(&self, file: &str) {
        let path = self.directory.join(file);
        let mut state = self.state();
        state.open += 1;
        let modified = std::fs::metadata(&path).and_then(|file| file.modified());
        // Whoever only looks at it first is not the one who writes it.
        if modified.is_ok_and(|modified| modified != UNIX_EPOCH) && state.found.remove(file) {
            let bytes = std::fs::read(&path).expect("it was opened").into();
            for change in [Change::Write(0, bytes), Change::Sync] {
                state.log.push(Operation { file: file.to_owned(), change });
            }
        }
    }

    fn was_closed(&self) {
        let mut state = self.state();
        state.open -= 1;
        if state.open == 0 {
            self.changed.notify_all();
        }
    }

    /// Makes a change with `really`, which says whether it was made, unless it is this one's turn to fail. Nobody else changes
    /// anything meanwhile, so the recording has their order.
    fn change(&self, file: &str, change: Change, really: impl FnOnce(&Change) -> bool) -> Result<(), Fault> {
        let mut state = self.state();
        let (change, failed) = match state.strikes(file, &change) {
            None => (Some(change), None),
            Some(fault) => {
                self.changed.notify_all();
                (change.half(fault), Some(fault))
            }
        };
        if let Some(change) = change
            && really(&change)
        {
            if !matches!(change, Change::Sync | Change::SyncFailed | Change::SyncDirectory) {
                state.found.remove(file);
            }
            state.log.push(Operation { file: file.to_owned(), change });
        }
        failed.map_or(Ok(()), Err)
    }
}

impl State {
    fn strikes(&mut self, file: &str, change: &Change) -> Option<Fault> {
        let (fault, nth, lasting) = self.trouble?;
        let concerned = match fault {
            Fault::Change => !matches!(change, Change::Sync | Change::SyncDirectory),
            Fault::Sync => matches!(change, Change::Sync),
            Fault::SyncOfDatabase => matches!(change, Change::Sync) && file.ends_with(".db"),
            Fault::Full => matches!(change, Change::Write(..)),
        };
        self.calls += u64::from(concerned);
        let now = concerned && (self.calls == nth || (self.calls > nth && lasting == Lasting::UntilMended));
        self.struck |= now;
        now.then_some(fault)
    }
}

impl Change {
    /// What a failing call does all the same.
    fn half(self, fault: Fault) -> Option<Change> {
        match self {
            Change::Write(at, bytes) if bytes.len() >= 2 * files::SECTOR => {
                Some(Change::Write(at, bytes[..bytes.len() / 2].into()))
            }
            Change::Sync if fault != Fault::Full => Some(Change::SyncFailed),
            _ => None,
        }
    }
}
