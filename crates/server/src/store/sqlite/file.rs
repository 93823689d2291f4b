//! What a database's file is before anything is written to it, and whole copies of it.
//!
//! Owns looking, backing up and restoring. It does *not* read the ledger: `audit` says whether what is in it is right.
//!
//! Invariant: a file of another program keeps every byte, and a copy has its name only when it is whole and on the disk.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags};

use super::{OURS, SCHEMA_VERSION, database_file, lock};
use crate::clock::fresh_id;

/// What is where a ledger is looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// A place for a new one.
    Nothing,
    /// One that this program knows how to read.
    Ledger,
}

/// Looks at a file, and changes nothing but what a crash left half done.
pub(super) fn look(path: &Path) -> Result<Found, String> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(format!("{}: {error}", path.display())),
        Ok(file) if file.len() == 0 => return Ok(Found::Nothing),
        Ok(_) => {}
    }
    let looked = looking(path).and_then(|file| {
        let version = file.query_row("pragma user_version", [], |row| row.get::<_, i64>(0))?;
        let mut statement =
            file.prepare("select case type when 'table' then name else '' end from sqlite_master")?;
        let names = statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
        Ok((version, names))
    });
    let (version, names) = looked.map_err(|error| in_a_line(path, &error))?;
    let is_ours = OURS.iter().all(|table| names.iter().any(|name| name == table));
    match version {
        SCHEMA_VERSION if is_ours => Ok(Found::Ledger),
        0 if names.is_empty() => Ok(Found::Nothing),
        newer if newer > SCHEMA_VERSION => Err(format!(
            "{}: the database has version {newer}, this program knows {SCHEMA_VERSION}; it was left untouched",
            path.display()
        )),
        _ => Err(format!("{}: it is a database of another program; it was left untouched", path.display())),
    }
}

/// A connection that leaves nothing behind: to read a file with a log beside others, SQLite would have to make one.
fn looking(path: &Path) -> rusqlite::Result<Connection> {
    if beside(path, "-journal").exists() {
        // What a crash cut off cannot be read past: it must be taken back first.
        return Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE);
    }
    if beside(path, "-wal").exists() {
        return Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY);
    }
    let encoded = percent_encode(path.as_os_str().as_bytes(), NON_ALPHANUMERIC);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    Connection::open_with_flags(format!("file:{encoded}?immutable=1"), flags)
}

/// Copies a database into a new file while it is in use.
///
/// # Errors
/// One line for the operator; there is no file then. The file must not exist.
pub fn backup(directory: &Path, file: &Path) -> Result<(), String> {
    vacant(file)?;
    let path = database_file(directory);
    whole(&path)?;
    // Not as it is looked at: whoever uses it goes on writing.
    let source = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY);
    copy((&path, &source.map_err(|error| in_a_line(&path, &error))?), file)
}

/// Puts a backup into a data directory that has no database.
///
/// # Errors
/// One line for the operator; there is no database then.
pub fn restore(file: &Path, directory: &Path) -> Result<(), String> {
    whole(file)?;
    let _lock = lock(directory)?;
    let target = database_file(directory);
    vacant(&target).map_err(|why| format!("{why}; restore into an empty directory"))?;
    let source = looking(file).map_err(|error| in_a_line(file, &error))?;
    copy((file, &source), &target)
}

/// There must be a ledger.
fn whole(path: &Path) -> Result<(), String> {
    match look(path)? {
        Found::Ledger => Ok(()),
        Found::Nothing => Err(format!("{}: there is no ledger of Scrip in it", path.display())),
    }
}

/// Nothing may have the name yet, nor be the log of what had it: it would be taken for the new file's.
fn vacant(target: &Path) -> Result<(), String> {
    let taken =
        ["", "-wal", "-journal"].map(|end| beside(target, end)).into_iter().find(|path| path.exists());
    taken.map_or(Ok(()), |path| Err(format!("{}: exists already", path.display())))
}

/// Copies under another name, and gives the copy its own when it is whole and on the disk.
fn copy((path, source): (&Path, &Connection), target: &Path) -> Result<(), String> {
    let part = beside(target, &format!("-{}.part", fresh_id()));
    write(source, &part).and_then(|()| settle(&part, target).map_err(|error| error.to_string())).map_err(
        |why| {
            let _ = std::fs::remove_file(&part);
            format!("{} cannot be copied to {}: {}", path.display(), target.display(), why.replace('\n', " "))
        },
    )
}

fn write(source: &Connection, part: &Path) -> Result<(), String> {
    let describe = |error: rusqlite::Error| error.to_string();
    // One moment for all of it: whenever others write between two of its steps, SQLite would begin again.
    source.execute_batch("begin").map_err(describe)?;
    source.query_row("select count(*) from sqlite_master", [], |_| Ok(())).map_err(describe)?;
    let mut copy = Connection::open(part).map_err(describe)?;
    // Nobody reads it before it is done, and then it is synced as a whole.
    copy.execute_batch("pragma journal_mode = off; pragma synchronous = off").map_err(describe)?;
    let copied = Backup::new(source, &mut copy);
    copied.and_then(|it| it.run_to_completion(1_000, Duration::ZERO, None)).map_err(describe)?;
    copy.close().map_err(|(_, error)| describe(error))?;
    let check = |copy: Connection| copy.query_row("pragma quick_check(1)", [], |row| row.get::<_, String>(0));
    match looking(part).and_then(check).map_err(describe)?.as_str() {
        "ok" => File::open(part).and_then(|file| file.sync_all()).map_err(|error| error.to_string()),
        broken => Err(broken.to_owned()),
    }
}

/// Gives a file its name for good.
fn settle(part: &Path, target: &Path) -> std::io::Result<()> {
    let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::rename(part, target)?;
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.inspect_err(|_| drop(std::fs::remove_file(target)))
}

/// A file whose name begins with this one's.
fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(end);
    PathBuf::from(name)
}

fn in_a_line(path: &Path, error: &rusqlite::Error) -> String {
    format!("{}: {}", path.display(), error.to_string().replace('\n', " "))
}
