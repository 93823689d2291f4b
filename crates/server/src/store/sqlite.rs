//! The SQLite file of a data directory: opened by one process, made where there is none, kept in shape.
//!
//! Owns the file, its lock and its settings; `file` looks at it before it is opened, and copies it. It does *not* know what is
//! in the tables.
//!
//! Invariant: a database of a newer schema, or of another program, is left untouched.

mod file;
mod plans;
pub mod writing;

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::mpsc;

use super::Error;
use super::batch::Batch;
use super::committer::{LaneState, Request};
use super::db::Tx;
use super::task::Task;
use crate::clock::Clock;
use file::{Found, look};
pub use file::{backup, restore};

/// The schema this program writes.
pub(super) const SCHEMA: &str = include_str!("schema/0001_init.sql");
/// Its version.
pub(super) const SCHEMA_VERSION: i64 = 1;
/// Tables that every ledger has, also one of the first version. No other program's database has all of them.
pub(super) const OURS: [&str; 6] = ["account", "hold", "meta", "request", "step_result", "workspace"];
/// How many entries are written into their tables in one go when little is posted.
const QUIET: usize = 1_000;
/// How many pages of the log make the keeper move them into the database, while the writer goes on.
const HALF_LOG: i32 = 2_000;
/// How many, 16 MB, make the writer itself move what is left, so that the log begins anew.
const LONG_LOG: i32 = 4_000;
/// How often the log is moved into the database, and the journal into the tables.
const KEEP_UP_PAUSE: std::time::Duration = std::time::Duration::from_millis(200);

/// The file that holds the database inside a data directory.
pub fn database_file(directory: &Path) -> PathBuf {
    directory.join("scrip.db")
}

/// Takes the directory for this process, making it where there is none.
pub(super) fn lock(directory: &Path) -> Result<File, String> {
    std::fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let path = directory.join("scrip.lock");
    let open = File::options().create(true).truncate(false).write(true).open(&path);
    let file = open.map_err(|error| format!("{}: {error}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => Err(format!("{}: another server is using this data directory", directory.display())),
    }
}

/// Opens the writer's connection, with the schema and the clock.
pub(super) fn open(path: &Path, start: Option<billing::Time>) -> Result<(Connection, Clock), String> {
    let describe = |error: rusqlite::Error| format!("{}: {error}", path.display());
    let found = look(path)?;
    renew_log(path).map_err(|error| format!("{}: its log: {error}", path.display()))?;
    let mut writer = Connection::open(path).map_err(describe)?;
    if found == Found::Nothing {
        make(&mut writer).map_err(describe)?;
    }
    prepare(&writer).map_err(describe)?;
    let clock = stored_clock(&writer, start).map_err(|error| format!("{}: {error}", path.display()))?;
    // Whoever held a lease in this directory is gone: the lock says so.
    writer
        .execute_batch(
            "update job set rests_until = 0 where (workspace, id) in (select workspace, job from work where slot_day is not null);
             update work set lease_until = 0 where slot_day is not null and lease_until > 0",
        )
        .map_err(describe)?;
    Ok((writer, clock))
}

/// Writes the log that an earlier process left once more, over itself, and syncs it. When a sync fails, the system takes what it
/// could not write for written: it can be read, no later sync writes it, and it is gone with the power. What is committed from
/// now on would follow it and be gone too.
fn renew_log(path: &Path) -> std::io::Result<()> {
    let log = path.with_extension("db-wal");
    let mut file = match File::options().read(true).write(true).open(log) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    file.rewind()?;
    file.write_all(&bytes)?;
    file.sync_all()
}

/// Makes a new ledger's tables, all or none.
fn make(connection: &mut Connection) -> rusqlite::Result<()> {
    let tx = connection.transaction()?;
    tx.execute_batch(SCHEMA)?;
    tx.execute_batch(plans::STATISTICS)?;
    tx.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    tx.commit()
}

/// The log of the database, for whoever makes commits durable.
pub(super) fn log_file(path: &Path) -> std::io::Result<File> {
    File::options().write(true).open(path.with_extension("db-wal"))
}

/// The writer's settings. A commit is written to the log and not synced: `committer` does that, for all commits that came
/// meanwhile, before it answers them. What moves pages out of the log syncs it first.
///
/// Both the cache and the log are small on purpose: a page split makes SQLite scan the whole cache at the next commit, and each
/// page that is not in the cache is looked for in all of the log.
fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "pragma journal_mode = wal; pragma synchronous = normal; pragma foreign_keys = on; pragma busy_timeout = 5000;
         pragma cache_size = -4096; pragma wal_autocheckpoint = 0;",
    )?;
    plan_once(connection)
}

/// Keeps the log short. What the keeper has moved before, the writer does not wait for. SQLite's own automatic checkpoint says
/// nothing of a disk that fails.
pub(super) fn watch_log(
    connection: &mut Connection,
    keeper: Weak<std::sync::mpsc::Sender<Nudge>>,
) -> Result<(), Error> {
    let mut before = 0;
    connection.wal_hook(Some(move |log: &mut rusqlite::hooks::Wal, pages| {
        if pages >= HALF_LOG && before < HALF_LOG {
            let _ = keeper.upgrade().map(|keeper| keeper.send(Nudge));
        }
        before = pages;
        let moved = if pages < LONG_LOG { Ok(()) } else { log.checkpoint() };
        moved.or_else(|error| if is_broken(&error) { Err(error) } else { Ok(()) })
    }))?;
    Ok(())
}

/// Tells the keeper that the log is long.
pub(super) struct Nudge;
/// The keeper's ear, and its thread, which ends when that is dropped.
pub(super) type Keeper = (Arc<std::sync::mpsc::Sender<Nudge>>, std::thread::JoinHandle<()>);

/// What is known of a writer without keeping it alive.
type WeakLane = (mpsc::WeakSender<Request>, Arc<LaneState>);

/// Keeps the files in shape off the callers' path: moves the log's pages into the database, and, while little is posted,
/// journaled entries into their tables. The writer's own checkpoint, at 16 MB, begins the log anew. Ends when the sender
/// is dropped.
pub(super) fn keep_up(path: &Path, lanes: Vec<WeakLane>) -> std::io::Result<Keeper> {
    let path = path.to_owned();
    let mut connection = None;
    keep(lanes, false, move || {
        if connection.is_none() {
            connection = Connection::open(&path).ok();
            let settings = "pragma busy_timeout = 0; pragma wal_autocheckpoint = 0;";
            let _ = connection.as_ref().map(|connection| connection.execute_batch(settings));
        }
        let moved =
            connection.as_ref().map(|it| it.query_row("pragma wal_checkpoint(passive)", [], |_| Ok(())));
        match moved.map(|moved| moved.map_err(Error::from)) {
            Some(Err(Error::Broken(_))) => Checkpointed::Broken,
            _ => Checkpointed::OrLater,
        }
    })
}

/// How a checkpoint went.
#[derive(PartialEq, Eq)]
enum Checkpointed {
    /// As far as it could.
    OrLater,
    /// The disk failed.
    Broken,
}

/// Writes journaled entries into their tables while little is posted, and hears what other nodes did. Ends when the sender is dropped.
pub(super) fn keep_writing(lanes: Vec<WeakLane>) -> std::io::Result<Keeper> {
    keep(lanes, true, || Checkpointed::OrLater)
}

fn keep(
    lanes: Vec<WeakLane>,
    follows: bool,
    mut besides: impl FnMut() -> Checkpointed + Send + 'static,
) -> std::io::Result<Keeper> {
    use std::sync::mpsc::{RecvTimeoutError, channel};
    let (alive, nudges) = channel::<Nudge>();
    let work = move || {
        let mut before = vec![(0, 0); lanes.len()];
        loop {
            let nudged = match nudges.recv_timeout(KEEP_UP_PAUSE) {
                Ok(Nudge) => true,
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            for ((queue, state), before) in lanes.iter().zip(&mut before).take_while(|_| !nudged) {
                let behind = state.unwritten.load(Ordering::Acquire);
                let journal = state.journal.load(Ordering::Acquire);
                // Whoever is busy writes what it has in memory; another node would only keep it from its lane.
                let growing = if follows { journal != before.1 } else { behind > QUIET.max(before.0) };
                let quiet = behind > 0 && !growing;
                // A writer that is asked for nothing does not hear what other nodes do: it must not have to learn it all at once.
                if quiet || follows {
                    let most = if quiet { behind.saturating_sub(QUIET) } else { usize::MAX };
                    let work = move |batch: &mut Batch<'_>| batch.catch_up_until(most);
                    let request = Request::Work(Box::new(Task { work, reply: None, result: None }));
                    let _ = queue.upgrade().map(|queue| queue.try_send(request));
                }
                *before = (behind, journal);
            }
            if besides() == Checkpointed::Broken {
                // Which pages are on the disk is not known any more, and a later checkpoint would not move all of them again.
                let work = |_: &mut Batch<'_>| Err::<(), _>(Error::Broken("a checkpoint failed".to_owned()));
                for queue in lanes.iter().filter_map(|(queue, _)| queue.upgrade()) {
                    let request = Task { work, reply: None, result: None };
                    let _ = queue.blocking_send(Request::Work(Box::new(request)));
                }
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name("keeper".to_owned()).spawn(work)?;
    Ok((Arc::new(alive), thread))
}

/// One more connection, for reading.
pub(super) fn reader(path: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.execute_batch("pragma busy_timeout = 5000; pragma cache_size = -16384;")?;
    plan_once(&connection)?;
    Ok(connection)
}

/// Keeps prepared statements, with plans that do not depend on parameters: else many are planned anew for each value.
fn plan_once(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(256);
    Ok(())
}

/// The clock: the system's, or a manual one where it was left.
fn stored_clock(connection: &Connection, start: Option<billing::Time>) -> Result<Clock, Error> {
    let Some(start) = start else { return Ok(Clock::System) };
    let tx = Tx::Sqlite(connection);
    let stored = tx.one("select value from meta where name = 'clock'", &[], |row| row.text(0))?;
    let now = stored.and_then(|text| text.parse().ok()).map_or(start, billing::Time);
    tx.execute(
        "insert into meta (name, value) values ('clock', ?1) on conflict (name) do nothing",
        crate::values![&now.0.to_string()],
    )?;
    Ok(Clock::manual(now))
}

/// Whether what the disk says can no longer be believed.
fn is_broken(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{CannotOpen, DatabaseCorrupt, NotADatabase, ReadOnly, SystemIoFailure};
    let broken = [SystemIoFailure, DatabaseCorrupt, NotADatabase, ReadOnly, CannotOpen];
    error.sqlite_error_code().is_some_and(|code| broken.contains(&code))
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Error {
        // The log's index cannot grow on a full disk: SQLite calls that an I/O error of its own kind.
        let full = error.sqlite_error().is_some_and(|error| {
            error.code == rusqlite::ErrorCode::DiskFull
                || error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE
        });
        match () {
            () if full => Error::Unavailable("the disk is full".to_owned()),
            () if is_broken(&error) => Error::Broken(error.to_string()),
            () => Error::Engine(error.to_string()),
        }
    }
}

/// A database of its own for a test.
#[cfg(test)]
pub fn in_memory() -> Connection {
    let connection = Connection::open_in_memory().expect("a database");
    connection.execute_batch(SCHEMA).expect("a schema");
    connection
}
