//! Opening a store: a directory of this process alone, or a server that nodes share.
//!
//! Owns what is made before the writers run. It does *not* know what they write.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tokio::sync::{Semaphore, mpsc};

use super::accounts::Workspaces;
use super::changes::Changes;
use super::committer::{LaneState, Request, Writer};
use super::db::Connection;
use super::sqlite::writing::Writing;
use super::syncer::Syncer;
use super::{Error, Lane, QUEUE, READERS, Shared, Store, database_file, postgres, sqlite};
use crate::clock::Clock;

/// Where the database is.
#[derive(Clone, Debug)]
pub enum Place {
    /// A directory of this process's own.
    Directory(PathBuf),
    /// A PostgreSQL server, for any number of nodes.
    Postgres(postgres::schema::Place),
}

impl Store {
    /// Opens the database, creating or migrating it, and starts its writers. `start` is the manual clock's start; it counts
    /// only for a new database. `None` means the system's clock, or the server's.
    ///
    /// # Errors
    /// One line for the operator: the directory is in use, the schema is newer, or the database cannot be reached.
    pub fn open(place: &Place, start: Option<billing::Time>) -> Result<Store, String> {
        match place {
            Place::Directory(directory) => Store::open_directory(directory, start),
            // A session waits for the server on its own, which a thread that serves requests may not do.
            Place::Postgres(place) => std::thread::scope(|scope| {
                let opening = scope.spawn(|| Store::open_server(place, start)).join();
                opening.unwrap_or_else(|_| Err("the database could not be opened".to_owned()))
            }),
        }
    }

    fn open_directory(directory: &Path, start: Option<billing::Time>) -> Result<Store, String> {
        let lock = sqlite::lock(directory)?;
        let path = database_file(directory);
        let describe = |error: Error| format!("{}: {}", path.display(), error.sentence());
        let (mut writer, clock) = sqlite::open(&path, start)?;
        let reader = || sqlite::reader(&path).map(Connection::Sqlite).map_err(describe);
        let readers: Result<Vec<_>, _> = (0..READERS).map(|_| reader()).collect();
        let (lane, requests) = Lane::new();
        let keeper = sqlite::keep_up(&path, vec![lane.weak()]);
        let (keeper, ended) = keeper.map_err(|error| format!("cannot start the checkpointer: {error}"))?;
        sqlite::watch_log(&mut writer, Arc::downgrade(&keeper)).map_err(describe)?;
        let log = sqlite::log_file(&path).map_err(|error| format!("{}: its log: {error}", path.display()))?;
        let file = Some((log, reader()?, lock));
        let start = Starting { clock, tell: None, readers: readers?, keeper, ended: Some(ended), file };
        start.begin(vec![(lane, requests, Connection::Sqlite(writer))]).map_err(describe)
    }

    fn open_server(place: &postgres::schema::Place, start: Option<billing::Time>) -> Result<Store, String> {
        let server = place.open(start)?;
        let clock = match start {
            Some(start) => Clock::manual(start),
            None => Clock::Database(Arc::default()),
        };
        let connection = || Connection::Postgres(server.clone(), None);
        let readers = (0..READERS).map(|_| connection()).collect();
        let lanes: Vec<_> = (0..server.partitions)
            .map(|_| {
                let (lane, requests) = Lane::new();
                (lane, requests, connection())
            })
            .collect();
        let keeper = sqlite::keep_writing(lanes.iter().map(|(lane, ..)| lane.weak()).collect());
        let (keeper, _) = keeper.map_err(|error| format!("cannot start: {error}"))?;
        let (tell, told) = mpsc::unbounded_channel();
        let start = Starting { clock, tell: Some(tell), readers, keeper, ended: None, file: None };
        let store = start.begin(lanes).map_err(|error| server.describe(&error))?;
        postgres::nodes::listen(server, told, store.shared.changes.clone())?;
        Ok(store)
    }
}

impl Lane {
    fn new() -> (Lane, mpsc::Receiver<Request>) {
        let (queue, requests) = mpsc::channel(QUEUE);
        (Lane { queue, state: Arc::default() }, requests)
    }

    fn weak(&self) -> (mpsc::WeakSender<Request>, Arc<LaneState>) {
        (self.queue.downgrade(), self.state.clone())
    }
}

/// What a store is made of before its writers run.
struct Starting {
    clock: Clock,
    tell: Option<mpsc::UnboundedSender<Workspaces>>,
    readers: Vec<Connection>,
    keeper: Arc<std::sync::mpsc::Sender<sqlite::Nudge>>,
    /// The keeper of a directory.
    ended: Option<JoinHandle<()>>,
    /// The log of a directory's database, to be synced, what its writer reads while it is written, and what keeps others out of
    /// the directory.
    file: Option<(File, Connection, File)>,
}

impl Starting {
    /// Recovers every lane, and starts its writer.
    fn begin(mut self, lanes: Vec<(Lane, mpsc::Receiver<Request>, Connection)>) -> Result<Store, Error> {
        let changes = Arc::new(Changes::default());
        let (dead, died) = tokio::sync::watch::channel(false);
        let dead = Arc::new(dead);
        let mut reachable = Vec::with_capacity(lanes.len());
        for ((lane, requests, connection), partition) in lanes.into_iter().zip(0..) {
            let (clock, changes, tell) = (self.clock.clone(), changes.clone(), self.tell.clone());
            let (state, dead) = (lane.state.clone(), dead.clone());
            let mut lock = None;
            let connection = match (connection, self.file.take()) {
                (Connection::Sqlite(connection), Some((log, Connection::Sqlite(aside), held))) => {
                    lock = Some(held);
                    let syncer = Arc::new(Syncer::new(log, changes.clone(), dead.clone()));
                    let queue = lane.queue.downgrade();
                    let writing = Writing::start(connection, aside, syncer, state.clone(), queue);
                    let writing =
                        writing.map_err(|error| Error::Unavailable(format!("cannot start: {error}")))?;
                    Connection::Writing(Box::new(writing))
                }
                (connection, _) => connection,
            };
            let (keeper, accounts, grows) = (self.ended.take(), None, false);
            let mut writer = Writer {
                requests,
                grows,
                lock,
                keeper,
                connection,
                partition,
                accounts,
                clock,
                changes,
                tell,
                state,
            };
            writer.recover()?;
            std::thread::Builder::new()
                .name("committer".to_owned())
                .spawn(move || writer.run(&dead))
                .map_err(|error| Error::Unavailable(format!("cannot start the writer: {error}")))?;
            reachable.push(lane);
        }
        let (readers, reading) = (Mutex::new(self.readers), Semaphore::new(READERS));
        let (clock, _keeper, is_shared) = (self.clock, self.keeper, self.tell.is_some());
        let lanes = reachable;
        Ok(Store {
            shared: Arc::new(Shared { _keeper, readers, lanes, reading, changes, clock, died, is_shared }),
        })
    }
}
