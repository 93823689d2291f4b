//! Databases that are gone when their test is: a directory, or, where `SCRIP_TEST_DATABASE` names a PostgreSQL server, a
//! database on it. The same suite runs on both.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use scrip::store::{Place, Store, postgres::schema};

/// How many entries the tables have.
pub const ENTRIES: &str = "select cast(coalesce(sum(seq - first_seq + 1), 0) as bigint) from page";

/// A directory of its own, and a database on the suite's server once a store is opened here. Gone with its last clone.
#[derive(Clone)]
pub struct Directory {
    held: Arc<Held>,
    /// Another way to the server: where stores are opened, but not how this looks after the database.
    through: Option<(SocketAddr, &'static str)>,
}

struct Held {
    path: PathBuf,
    server: Option<String>,
    database: OnceLock<String>,
}

impl Directory {
    pub fn new(name: &str) -> Directory {
        Directory::make(fresh(name), std::env::var("SCRIP_TEST_DATABASE").ok())
    }

    /// For what is about files: never on a server.
    pub fn local(name: &str) -> Directory {
        Directory::make(fresh(name), None)
    }

    /// For what is about servers: `None` where the suite has none.
    pub fn shared(name: &str) -> Option<Directory> {
        let directory = Directory::new(name);
        if !directory.is_shared() {
            println!("{name}: nothing is tried, because SCRIP_TEST_DATABASE names no server");
        }
        directory.is_shared().then_some(directory)
    }

    /// On a server of the test's own.
    pub fn on(server: &str, name: &str) -> Directory {
        Directory::make(fresh(name), Some(server.to_owned()))
    }

    /// The directory `data` of a disk.
    pub fn inside(disk: &Path) -> Directory {
        Directory::make(disk.join("data"), None)
    }

    fn make(path: PathBuf, server: Option<String>) -> Directory {
        Directory { held: Arc::new(Held { path, server, database: OnceLock::new() }), through: None }
    }

    /// The same database on another way, with options of its own.
    pub fn through(&self, way: SocketAddr, options: &'static str) -> Directory {
        Directory { held: self.held.clone(), through: Some((way, options)) }
    }

    /// Where a store is opened.
    pub fn place(&self) -> Place {
        let Some(url) = self.url() else { return Place::Directory(self.held.path.clone()) };
        let url = match self.through {
            Some((way, options)) => format!("postgres://postgres@{way}/{}{options}", self.database()),
            None => url,
        };
        // More than one partition, so that nothing works only because there is one.
        Place::Postgres(schema::Place { url, partitions: Some(3), distributed: false })
    }

    /// The address of its database, on the straight way.
    pub fn url(&self) -> Option<String> {
        let (url, _) =
            self.held.server.as_ref()?.rsplit_once('/').expect("the server's address names a database");
        Some(format!("{url}/{}", self.database()))
    }

    fn database(&self) -> &str {
        self.held.database.get_or_init(|| {
            let name = name_of(&self.held.path);
            administer(self.held.server.as_ref().expect("a server"), &[format!("create database {name}")]);
            name
        })
    }

    pub fn is_shared(&self) -> bool {
        self.held.server.is_some()
    }

    pub fn path(&self) -> &Path {
        &self.held.path
    }

    /// What a crash at this moment would leave, in a place of its own. On a server, whoever was connected is cut off.
    pub fn crashed(&self) -> Directory {
        let after = Directory::new("crash");
        let (Some(server), Some(name)) = (&self.held.server, self.held.database.get()) else {
            scrip::store::backup(self.path(), &scrip::store::database_file(after.path()))
                .expect("a copy of this moment");
            return after;
        };
        let copy = name_of(after.path());
        administer(
            server,
            &[
                format!("alter database {name} allow_connections false"),
                format!(
                    "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = '{name}'"
                ),
                format!("create database {copy} template {name}"),
                format!("alter database {copy} allow_connections true"),
            ],
        );
        after.held.database.set(copy).expect("set once");
        after
    }

    /// What is in it must prove itself.
    pub fn prove(&self, when: &str) {
        let report = scrip::audit::audit(&self.place()).expect("it finishes");
        assert!(report.clean, "{when}: {:#?}", report.broken);
    }

    /// One number from the database.
    pub fn number(&self, sql: &str) -> i64 {
        match self.url() {
            None => {
                let connection =
                    rusqlite::Connection::open(scrip::store::database_file(self.path())).expect("it opens");
                connection.query_row(sql, [], |row| row.get(0)).expect("a number")
            }
            Some(url) => administer(&url, &[sql.to_owned()]).expect("a row").parse().expect("a number"),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let (Some(server), Some(name)) = (&self.server, self.database.get()) {
            administer(server, &[format!("drop database if exists {name} with (force)")]);
        }
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// A directory that no other test has.
pub fn fresh(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::SeqCst);
    let path = std::env::temp_dir().join(format!("scrip-{name}-{}-{count}", std::process::id()));
    std::fs::create_dir_all(&path).expect("a directory can be made");
    path
}

/// Every file of a directory, with its bytes.
pub fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = std::fs::read_dir(directory).expect("a directory");
    let read = |path: PathBuf| {
        let bytes = std::fs::read(&path).unwrap_or_default();
        (path, bytes)
    };
    files.map(|file| read(file.expect("a file").path())).collect()
}

fn name_of(path: &Path) -> String {
    path.file_name().and_then(|name| name.to_str()).expect("a name").replace('-', "_")
}

/// Runs statements on a server, on a thread of its own; answers the first column of the last one's first row.
pub fn administer(url: &str, statements: &[String]) -> Option<String> {
    let work = async {
        let mut config: tokio_postgres::Config = url.parse().expect("an address");
        config.target_session_attrs(tokio_postgres::config::TargetSessionAttrs::ReadWrite);
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.expect("a server");
        tokio::spawn(connection);
        let mut first = None;
        for statement in statements {
            let answer = client.simple_query(statement).await;
            let answer = answer.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
            first = answer.iter().find_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(ToOwned::to_owned),
                _ => None,
            });
        }
        first
    };
    std::thread::scope(|scope| {
        let runtime =
            || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        scope.spawn(move || runtime().block_on(work)).join().expect("no panic")
    })
}

/// Drops the last handle of a store and waits until its writer has ended: only then is the database nobody's.
pub async fn close(store: Store) {
    let changes = Arc::downgrade(store.changes());
    drop(store);
    while changes.strong_count() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
