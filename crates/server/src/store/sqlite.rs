//! The SQLite file of a data directory: opened by one process, migrated, backed up, kept in shape.
//!
//! Owns the file, its lock and its settings. It does *not* know what is in the tables.
//!
//! Invariant: a database of a newer schema is left untouched.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::mpsc;

use super::Error;
use super::batch::Batch;
use super::committer::{self, Request};
use super::db::Tx;
use crate::clock::Clock;

/// The schema this program writes.
const SCHEMA_VERSION: i64 = 1;
/// How many entries are written into their tables in one go when little is posted.
const QUIET: usize = 1_000;
/// How often the log is moved into the database, and the journal into the tables.
const KEEP_UP_PAUSE: std::time::Duration = std::time::Duration::from_millis(200);

/// The file that holds the database inside a data directory.
pub fn database_file(directory: &Path) -> PathBuf {
    directory.join("scrip.db")
}

/// Takes the directory for this process.
pub(super) fn lock(directory: &Path) -> Result<File, String> {
    let path = directory.join("scrip.lock");
    let open = File::options().create(true).truncate(false).write(true).open(&path);
    let file = open.map_err(|error| format!("{}: {error}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(_) => Err(format!("{}: another server is using this data directory", directory.display())),
    }
}

/// Writes the log that an earlier process left once more, over itself, and syncs it. When a sync fails, the system takes what it
/// could not write for written: it can be read, no later sync writes it, and it is gone with the power. What is committed from
/// now on would follow it and be gone too.
pub(super) fn renew_log(path: &Path) -> std::io::Result<()> {
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

/// Brings the schema to this program's version.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), String> {
    let describe = |error: rusqlite::Error| format!("{}: {error}", path.display());
    let version: i64 = connection.query_row("pragma user_version", [], |row| row.get(0)).map_err(describe)?;
    if version > SCHEMA_VERSION {
        return Err(format!(
            "{}: the database has version {version}, this program knows {SCHEMA_VERSION}; it was left untouched",
            path.display()
        ));
    }
    if version < 1 {
        let tx = connection.transaction().map_err(describe)?;
        tx.execute_batch(include_str!("schema/0001_init.sql")).map_err(describe)?;
        tx.pragma_update(None, "user_version", 1).map_err(describe)?;
        tx.commit().map_err(describe)?;
    }
    Ok(())
}

/// The writer's settings. Both the cache and the log are small on purpose: a page split makes SQLite scan the whole cache at the
/// next commit, and each page that is not in the cache is looked for in all of the log.
pub(super) fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "pragma journal_mode = wal; pragma synchronous = full; pragma foreign_keys = on; pragma busy_timeout = 5000;
         pragma cache_size = -4096; pragma wal_autocheckpoint = 4000;",
    )?;
    plan_once(connection)
}

/// Keeps the files in shape off the callers' path: moves the log's pages into the database, and, while little is posted,
/// journaled entries into their tables. The writer's own checkpoint, at 16 MB, begins the log anew. Ends when the sender
/// is dropped.
pub(super) fn keep_up(
    path: &Path,
    queue: mpsc::WeakSender<Request>,
    unwritten: Arc<AtomicUsize>,
) -> std::io::Result<std::sync::mpsc::Sender<()>> {
    use std::sync::mpsc::{RecvTimeoutError, channel};
    let (alive, ended) = channel::<()>();
    let path = path.to_owned();
    let work = move || {
        let Ok(connection) = Connection::open(&path) else { return };
        let _ = connection.execute_batch("pragma busy_timeout = 0; pragma wal_autocheckpoint = 0;");
        let mut before = 0;
        while ended.recv_timeout(KEEP_UP_PAUSE) == Err(RecvTimeoutError::Timeout) {
            let behind = unwritten.load(Ordering::Acquire);
            let quiet = behind <= before.max(QUIET);
            if behind > 0 && quiet {
                let most = behind.saturating_sub(QUIET);
                let work = move |batch: &mut Batch<'_>| batch.catch_up_until(most);
                let request = Request::Work(Box::new(committer::Task { work, reply: None, result: None }));
                let _ = queue.upgrade().map(|queue| queue.try_send(request));
            }
            before = behind;
            let moved = connection.query_row("pragma wal_checkpoint(passive)", [], |_| Ok(()));
            // Which pages are on the disk is not known any more, and a later checkpoint would not move all of them again.
            if let Err(rusqlite::Error::SqliteFailure(why, _)) = moved {
                let failed = move || Error::Engine(rusqlite::Error::SqliteFailure(why, None));
                if committer::is_broken(&failed()) {
                    let work = move |_: &mut Batch<'_>| Err::<(), _>(failed());
                    let request = committer::Task { work, reply: None, result: None };
                    let _ =
                        queue.upgrade().map(|queue| queue.blocking_send(Request::Work(Box::new(request))));
                    return;
                }
            }
        }
    };
    std::thread::Builder::new().name("checkpointer".to_owned()).spawn(work)?;
    Ok(alive)
}

/// One more connection, for reading.
pub(super) fn reader(path: &Path) -> rusqlite::Result<Connection> {
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
pub(super) fn stored_clock(connection: &Connection, start: Option<billing::Time>) -> Result<Clock, Error> {
    let Some(start) = start else { return Ok(Clock::System) };
    let tx = Tx(connection);
    let stored = tx.one("select value from meta where name = 'clock'", &[], |row| row.text(0))?;
    let now = stored.and_then(|text| text.parse().ok()).map_or(start, billing::Time);
    tx.execute(
        "insert into meta (name, value) values ('clock', ?1) on conflict (name) do nothing",
        crate::values![&now.0.to_string()],
    )?;
    Ok(Clock::manual(now))
}

/// Copies a database into a new file while it is in use.
///
/// # Errors
/// One line for the operator; the file must not exist.
pub fn backup(directory: &Path, file: &Path) -> Result<(), String> {
    if file.exists() {
        return Err(format!("{}: exists already", file.display()));
    }
    let describe = |error: rusqlite::Error| format!("{}: {error}", directory.display());
    let source = Connection::open_with_flags(database_file(directory), OpenFlags::SQLITE_OPEN_READ_ONLY)
        .map_err(describe)?;
    copy(&source, file).map_err(describe)
}

/// Puts a backup into a data directory that has no database.
///
/// # Errors
/// One line for the operator.
pub fn restore(file: &Path, directory: &Path) -> Result<(), String> {
    let target = database_file(directory);
    if target.exists() {
        return Err(format!("{}: exists already; restore into an empty directory", target.display()));
    }
    std::fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let _lock = lock(directory)?;
    let describe = |error: rusqlite::Error| format!("{}: {error}", file.display());
    let source = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(describe)?;
    copy(&source, &target).map_err(describe)
}

fn copy(source: &Connection, target: &Path) -> rusqlite::Result<()> {
    let mut target = Connection::open(target)?;
    rusqlite::backup::Backup::new(source, &mut target)?.run_to_completion(
        1_000,
        std::time::Duration::ZERO,
        None,
    )
}

/// Reads from one snapshot.
pub(super) fn snapshot<T>(
    connection: &Connection,
    work: impl FnOnce(&Tx<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    connection.execute_batch("begin")?;
    let answer = work(&Tx(connection));
    connection.execute_batch("rollback")?;
    answer
}
