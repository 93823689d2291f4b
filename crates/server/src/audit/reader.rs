//! The auditor's own way to rows: a file, or one connection to a server, read in one transaction that writes nothing.
//!
//! Owns the statements' way to an engine and cursors that are read in step. A cursor over a server is a portal that gives a
//! page at a time, so that no answer is ever in memory as a whole.

use std::path::Path;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rusqlite::OpenFlags;
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::config::Host;
use tokio_postgres::{Config, IsolationLevel, NoTls, Portal, Transaction};

/// The schema that this audit knows how to read.
const SCHEMA_VERSION: i64 = 1;
/// How many rows of a server are in memory at a time for each cursor, at first and at most, and how many bytes they should be.
const FIRST: i32 = 16;
const MOST: i32 = 1_024;
const BYTES: usize = 1 << 20;
/// No limit but for what would wait for others: some pages begin with a sort of a whole table.
const LIMITS: &str =
    "-c statement_timeout=0 -c lock_timeout=10s -c idle_in_transaction_session_timeout=0 -c timezone=UTC";
/// As many partitions as a ledger can have.
const MOST_PARTITIONS: i64 = 1_024;
const NO_LEDGER: &str = "there is no ledger of Scrip in it";
const CONNECT: Duration = Duration::from_secs(5);
/// How long a silent connection may be silent before it is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Why something could not be read.
pub struct Unread(pub String);

/// What was read.
pub type Read<T> = Result<T, Unread>;

impl From<rusqlite::Error> for Unread {
    fn from(error: rusqlite::Error) -> Unread {
        Unread(error.to_string())
    }
}

impl From<tokio_postgres::Error> for Unread {
    fn from(error: tokio_postgres::Error) -> Unread {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        let text = match error.as_db_error() {
            Some(said) => format!("{} ({})", said.message(), said.code().code()),
            None => format!("{error}{}", if error.to_string().contains(&cause) { "" } else { &cause }),
        };
        Unread(text.replace('\n', " "))
    }
}

/// A snapshot of the database.
#[derive(Clone, Copy)]
pub enum Reader<'a> {
    Sqlite(&'a rusqlite::Connection),
    Postgres(&'a Session<'a>),
}

/// A transaction on a server, driven by the thread that reads.
pub struct Session<'a> {
    runtime: &'a Runtime,
    transaction: Transaction<'a>,
}

/// A statement that can be asked again and again.
pub enum Statement<'a> {
    Sqlite(rusqlite::Statement<'a>),
    Postgres(&'a Session<'a>, tokio_postgres::Statement),
}

/// The rows of an answer, one after the other.
pub enum Rows<'s> {
    Sqlite(rusqlite::Rows<'s>),
    Postgres(Pages<'s>),
}

/// A portal, and the page of it that is in memory.
pub struct Pages<'s> {
    session: &'s Session<'s>,
    portal: Portal,
    page: std::vec::IntoIter<tokio_postgres::Row>,
    size: i32,
    most: i32,
    ended: bool,
    row: Option<tokio_postgres::Row>,
}

/// One row.
pub enum Row<'r> {
    Sqlite(&'r rusqlite::Row<'r>),
    Postgres(&'r tokio_postgres::Row),
}

/// Reads a file as it is at one moment. One that was closed well is read without a trace, also where nothing can be written;
/// unless a server opens it meanwhile, for then it is read again, beside that server.
pub fn on_file<T>(path: &Path, read: impl Fn(Reader<'_>) -> Read<T>) -> Read<T> {
    let known =
        || std::fs::metadata(path).and_then(|file| Ok((file.is_file(), file.len(), file.modified()?)));
    let before = known().map_err(|error| Unread(error.to_string()))?;
    if !before.0 {
        return Err(Unread("that is not a file".to_owned()));
    }
    // A log beside it says that somebody has it open, or did not close it.
    let logged = || {
        ["-wal", "-journal"].iter().any(|end| {
            let mut log = path.as_os_str().to_owned();
            log.push(end);
            Path::new(&log).exists()
        })
    };
    if let Some(text) = path.to_str().filter(|_| !logged()) {
        let encoded = utf8_percent_encode(text, NON_ALPHANUMERIC);
        let answer = in_file(format!("file:{encoded}?immutable=1").as_ref(), &read);
        if known().is_ok_and(|after| after == before) && !logged() {
            return answer;
        }
    }
    in_file(path, &read)
}

fn in_file<T>(path: &Path, read: impl Fn(Reader<'_>) -> Read<T>) -> Read<T> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let connection = rusqlite::Connection::open_with_flags(path, flags)?;
    connection.execute_batch("pragma busy_timeout = 5000; begin")?;
    known_version(connection.query_row("pragma user_version", [], |row| row.get(0))?)?;
    read(Reader::Sqlite(&connection))
}

/// Reads a server's database as it is at one moment; any server will do, also one that only follows another.
pub fn on_server<T: Send>(url: &str, read: impl FnOnce(Reader<'_>, i64) -> Read<T> + Send) -> Read<T> {
    let config =
        url.parse::<Config>().map_err(|_| Unread("--database: not a database's address".to_owned()))?;
    let place = place_of(&config);
    // On a thread of its own, because whoever asks may be on one that must not wait.
    let answer = std::thread::scope(|scope| scope.spawn(move || in_server(config, read)).join());
    match answer {
        Ok(answer) => answer.map_err(|Unread(why)| Unread(format!("{place}: {why}"))),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// The first server and the database, without user and password.
fn place_of(config: &Config) -> String {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        Some(Host::Unix(path)) => path.display().to_string(),
        None => String::new(),
    };
    format!("the database at {host}/{}", config.get_dbname().or(config.get_user()).unwrap_or(""))
}

fn in_server<T>(mut config: Config, read: impl FnOnce(Reader<'_>, i64) -> Read<T>) -> Read<T> {
    let options = format!("{} {LIMITS}", config.get_options().unwrap_or(""));
    config.options(options.trim()).connect_timeout(CONNECT).keepalives_idle(KEEPALIVE);
    config.application_name("scrip audit");
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Unread(error.to_string()))?;
    let silent = |_| Unread("it does not answer".to_owned());
    let connected = async { tokio::time::timeout(2 * CONNECT, config.connect(NoTls)).await };
    let (mut client, connection) = runtime.block_on(connected).map_err(silent)??;
    runtime.spawn(connection);
    let snapshot = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    let transaction = runtime.block_on(snapshot.start())?;
    let session = Session { runtime: &runtime, transaction };
    let reader = Reader::Postgres(&session);
    let ours = "select tablename::text from pg_tables where schemaname = current_schema() and tablename in ('meta', 'account')";
    if reader.all::<String>(ours, 0)?.len() != 2 {
        return Err(Unread(NO_LEDGER.to_owned()));
    }
    let known = |name| {
        let stored = reader.all::<String>(&format!("select value from meta where name = '{name}'"), 0)?;
        let number = stored.first().and_then(|text| text.parse::<i64>().ok());
        number.ok_or_else(|| Unread(format!("its table `meta` has no number `{name}`")))
    };
    known_version(known("schema")?)?;
    let partitions = known("partitions")?;
    if !(1..=MOST_PARTITIONS).contains(&partitions) {
        return Err(Unread(format!("it says that it has {partitions} partitions")));
    }
    read(reader, partitions)
}

fn known_version(version: i64) -> Read<()> {
    match version {
        SCHEMA_VERSION => Ok(()),
        0 => Err(Unread(NO_LEDGER.to_owned())),
        _ => Err(Unread(format!(
            "the database has version {version}, this audit knows up to {SCHEMA_VERSION}"
        ))),
    }
}

impl<'a> Reader<'a> {
    /// Prepares a statement about one partition. `{here}` stands for the condition that a row is in it; on a file, where
    /// all rows are in the only one, most tables have no such column. `{partition}` is its number.
    pub fn prepare(self, sql: &str, partition: i64) -> Read<Statement<'a>> {
        let sql = sql.replace("{partition}", &partition.to_string());
        match self {
            Reader::Sqlite(connection) => {
                Ok(Statement::Sqlite(connection.prepare(&sql.replace("{here}", "true"))?))
            }
            Reader::Postgres(session) => {
                let sql = sql.replace("{here}", &format!("partition = {partition}")).replace('?', "$");
                let prepared = session.runtime.block_on(session.transaction.prepare(&sql))?;
                Ok(Statement::Postgres(session, prepared))
            }
        }
    }

    /// The first ten places where a file's tables and indexes contradict each other, in SQLite's words: cursors read some columns
    /// from one and some from the other.
    pub fn disagreements(self) -> Read<Vec<String>> {
        match self {
            Reader::Sqlite(_) => {
                let said = self.all::<String>("pragma integrity_check(10)", 0)?;
                Ok(said.into_iter().filter(|line| line != "ok").collect())
            }
            Reader::Postgres(_) => Ok(Vec::new()),
        }
    }

    /// The first column of a short answer.
    pub fn all<T: Column>(self, sql: &str, partition: i64) -> Read<Vec<T>> {
        let mut statement = self.prepare(sql, partition)?;
        let (mut rows, mut all) = (statement.rows(&[])?, Vec::new());
        while let Some(row) = rows.next()? {
            all.push(row.get(0)?);
        }
        Ok(all)
    }
}

impl Statement<'_> {
    pub fn rows(&mut self, values: &[i64]) -> Read<Rows<'_>> {
        self.pages(values, MOST)
    }

    /// With at most so many rows at a time, where there are many cursors.
    pub fn pages(&mut self, values: &[i64], most: i32) -> Read<Rows<'_>> {
        match self {
            Statement::Sqlite(statement) => {
                Ok(Rows::Sqlite(statement.query(rusqlite::params_from_iter(values))?))
            }
            Statement::Postgres(session, statement) => {
                let bound = session.transaction.bind_raw(&*statement, values.iter());
                let portal = session.runtime.block_on(bound)?;
                let page = Vec::new().into_iter();
                let size = FIRST.min(most);
                Ok(Rows::Postgres(Pages { session, portal, page, size, most, ended: false, row: None }))
            }
        }
    }
}

impl Rows<'_> {
    pub fn next(&mut self) -> Read<Option<Row<'_>>> {
        match self {
            Rows::Sqlite(rows) => Ok(rows.next()?.map(Row::Sqlite)),
            Rows::Postgres(pages) => {
                pages.row = pages.page.next();
                if pages.row.is_none() && !pages.ended {
                    let Session { runtime, transaction } = pages.session;
                    let page = runtime.block_on(transaction.query_portal(&pages.portal, pages.size))?;
                    pages.ended = page.len() < usize::try_from(pages.size).unwrap_or(0);
                    // A row may be a few bytes or a whole batch.
                    let bytes: usize = page.iter().map(tokio_postgres::Row::raw_size_bytes).sum();
                    let fit = if bytes > BYTES { pages.size / 2 } else { pages.size * 2 };
                    pages.size = fit.clamp(1, pages.most);
                    pages.page = page.into_iter();
                    pages.row = pages.page.next();
                }
                Ok(pages.row.as_ref().map(Row::Postgres))
            }
        }
    }
}

/// What both engines can make of a column.
pub trait Column: rusqlite::types::FromSql + for<'f> tokio_postgres::types::FromSql<'f> {}

impl<T: rusqlite::types::FromSql + for<'f> tokio_postgres::types::FromSql<'f>> Column for T {}

impl Row<'_> {
    pub fn get<T: Column>(&self, index: usize) -> Read<T> {
        match self {
            Row::Sqlite(row) => Ok(row.get(index)?),
            Row::Postgres(row) => Ok(row.try_get(index)?),
        }
    }
}

/// Rows in the order of their workspace and their number within it, read in step with the workspaces.
pub struct Cursor<'s, T> {
    rows: Rows<'s>,
    read: fn(&Row<'_>) -> Read<(i64, T)>,
    /// Workspace, number, and the rest of the row.
    ahead: Option<(i64, i64, T)>,
}

impl<'s, T> Cursor<'s, T> {
    /// The statement's first column is the workspace.
    pub fn new(rows: Rows<'s>, read: fn(&Row<'_>) -> Read<(i64, T)>) -> Read<Cursor<'s, T>> {
        let mut cursor = Cursor { rows, read, ahead: None };
        cursor.advance()?;
        Ok(cursor)
    }

    /// The next row, of whatever workspace.
    pub fn any(&mut self) -> Read<Option<(i64, T)>> {
        let next = self.ahead.take();
        self.advance()?;
        Ok(next.map(|(workspace, _, row)| (workspace, row)))
    }

    /// The next row of a workspace when its number is at most `number`. Rows of workspaces before it are passed over:
    /// those are strays, which are looked for elsewhere.
    pub fn until(&mut self, workspace: i64, number: i64) -> Read<Option<(i64, T)>> {
        while self.ahead.as_ref().is_some_and(|ahead| ahead.0 < workspace) {
            self.advance()?;
        }
        if self.ahead.as_ref().is_none_or(|ahead| ahead.0 > workspace || ahead.1 > number) {
            return Ok(None);
        }
        let next = self.ahead.take();
        self.advance()?;
        Ok(next.map(|(_, number, row)| (number, row)))
    }

    /// The next row of a workspace.
    pub fn next(&mut self, workspace: i64) -> Read<Option<(i64, T)>> {
        self.until(workspace, i64::MAX)
    }

    /// The row of this number; rows before it, which nobody asked for, go to `stray`.
    pub fn take(&mut self, workspace: i64, number: i64, mut stray: impl FnMut(i64, T)) -> Read<Option<T>> {
        while let Some((found, row)) = self.until(workspace, number)? {
            if found == number {
                return Ok(Some(row));
            }
            stray(found, row);
        }
        Ok(None)
    }

    fn advance(&mut self) -> Read<()> {
        self.ahead = match self.rows.next()? {
            Some(row) => {
                let (number, rest) = (self.read)(&row)?;
                Some((row.get(0)?, number, rest))
            }
            None => None,
        };
        Ok(())
    }
}
