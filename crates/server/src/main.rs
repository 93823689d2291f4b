//! The command line of Scrip.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use billing::Time;
use clap::{Parser, Subcommand};
use scrip::app::{App, LINK_SECONDS, Link, LinkRole, Start};
use scrip::config::{self, Config};
use scrip::store::Place;
use scrip::store::postgres::schema::Place as Server;
use scrip::{audit, clock, demo, server, store};

/// Credits and billing for products that spend money on their customers' behalf.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything on one machine: a sample workspace, local providers, the dashboard.
    Demo {
        /// Play it without a person, and end with a table of what was charged and what was logged.
        #[arg(long)]
        auto: bool,
        /// Where to listen: 127.0.0.1:8080, or another port where that is taken.
        #[arg(long)]
        listen: Option<String>,
    },
    /// Serve the API and the pages.
    Serve {
        #[arg(long)]
        config: Option<PathBuf>,
        /// Where the database lives.
        #[arg(long, default_value = "data", conflicts_with = "database")]
        data: PathBuf,
        #[command(flatten)]
        database: DatabaseArguments,
        #[arg(long, default_value = "127.0.0.1:8080")]
        listen: String,
        /// A Unix socket to listen on besides, for programs on the same machine: it costs less than TCP.
        #[arg(long)]
        socket: Option<PathBuf>,
        /// system, manual, or manual=2027-01-31T10:00:00Z
        #[arg(long, default_value = "system")]
        clock: String,
    },
    /// Prove every invariant from raw rows: exit 0 clean, 1 broken, 2 could not finish.
    Audit {
        /// Where the database lives.
        #[arg(long, default_value = "data", conflicts_with = "database")]
        data: PathBuf,
        /// A PostgreSQL server instead of a directory: postgres://user:password@host/database
        #[arg(long, env = "SCRIP_DATABASE", hide_env_values = true)]
        database: Option<String>,
        /// A file outside of the database: where it exists, the chains must still have the heads in it; where all is clean,
        /// today's heads replace it.
        #[arg(long)]
        anchor: Option<PathBuf>,
    },
    /// Look at a price list.
    Catalog {
        #[command(subcommand)]
        command: CatalogCommand,
    },
    /// Copy a database while it is in use.
    Backup {
        #[arg(long, default_value = "data")]
        data: PathBuf,
        /// The file to write; it must not exist.
        file: PathBuf,
    },
    /// Put a backup in place of an empty data directory.
    Restore {
        #[arg(long, default_value = "data")]
        data: PathBuf,
        /// The backup.
        file: PathBuf,
    },
}

/// A database that several nodes share.
#[derive(clap::Args)]
struct DatabaseArguments {
    /// A PostgreSQL server instead of a directory: postgres://user:password@host/database
    #[arg(long, env = "SCRIP_DATABASE", hide_env_values = true)]
    database: Option<String>,
    /// How many partitions a new database gets; it keeps them for good. Each is written by one node at a time.
    #[arg(long)]
    partitions: Option<i64>,
    /// Distribute the tables of a new database by partition, with Citus.
    #[arg(long)]
    distributed: bool,
}

impl DatabaseArguments {
    fn or(self, directory: PathBuf) -> Result<Place, String> {
        match self {
            DatabaseArguments { database: Some(url), .. } if has_stray_at(&url) => {
                Err("--database: an @ in the name, the password or the database is written %40".to_owned())
            }
            DatabaseArguments { database: Some(url), partitions, distributed } => {
                Ok(Place::Postgres(Server { url, partitions, distributed }))
            }
            DatabaseArguments { partitions: Some(_), .. } => Err("--partitions: needs --database".to_owned()),
            DatabaseArguments { distributed: true, .. } => Err("--distributed: needs --database".to_owned()),
            _ => Ok(Place::Directory(directory)),
        }
    }
}

/// Whether more than the first @ of an address stands before its options: what is behind the first would be taken for the host,
/// tried, and named in errors, although it may be the end of a password.
fn has_stray_at(url: &str) -> bool {
    let rest = url.split_once("://").and_then(|(_, rest)| rest.split_once('@'));
    rest.is_some_and(|(_, rest)| rest.split('?').next().is_some_and(|place| place.contains('@')))
}

#[derive(Subcommand)]
enum CatalogCommand {
    /// Name file, line and key of the first mistake.
    Check {
        /// The catalog.
        file: PathBuf,
    },
}

/// Requests are made on one thread and freed on another, which the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let filter =
        tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn,scrip=info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(why) => {
            eprintln!("scrip: {why}");
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> Result<ExitCode, String> {
    match command {
        Command::Demo { auto, listen } => runtime()?.block_on(demo::run(auto, listen.as_deref())),
        Command::Serve { config, data, database, listen, socket, clock } => {
            let (place, config) = (database.or(data)?, Config::load(config.as_deref())?);
            runtime()?.block_on(serve(config, &place, (&listen, socket.as_deref()), &clock))
        }
        Command::Audit { data, database, anchor } => {
            let database = DatabaseArguments { database, partitions: None, distributed: false };
            prove(&database.or(data)?, anchor.as_deref())
        }
        Command::Catalog { command: CatalogCommand::Check { file } } => {
            let catalog = config::read_catalog(&file)?;
            let (operations, plans, packs) =
                (catalog.operations.len(), catalog.plans.len(), catalog.packs.len());
            println!(
                "{}: version {}, {operations} operations, {plans} plans, {packs} packs",
                file.display(),
                catalog.version
            );
            Ok(ExitCode::SUCCESS)
        }
        Command::Backup { data, file } => store::backup(&data, &file).map(|()| ExitCode::SUCCESS),
        Command::Restore { data, file } => store::restore(&file, &data).map(|()| ExitCode::SUCCESS),
    }
}

fn prove(place: &Place, anchor: Option<&Path>) -> Result<ExitCode, String> {
    let report = match anchor {
        Some(file) => audit::audit_anchored(place, file, &clock::rfc3339(clock::Clock::System.now()))?,
        None => audit::audit(place)?,
    };
    let text = serde_json::to_string_pretty(&report).map_err(|error| error.to_string())?;
    writeln!(std::io::stdout(), "{text}")
        .map_err(|error| format!("the report cannot be written: {error}"))?;
    Ok(if report.clean { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| format!("cannot start: {error}"))
}

async fn serve(
    config: Config,
    place: &Place,
    (listen, socket): (&str, Option<&Path>),
    clock: &str,
) -> Result<ExitCode, String> {
    let manual = parse_clock(clock)?;
    // Every open page is a connection, and each is an open file.
    rlimit::increase_nofile_limit(u64::MAX).map_err(|error| format!("the limit of open files: {error}"))?;
    let (mut doors, address) = server::bind(listen).await?;
    if let Some(socket) = socket {
        doors.add_socket(socket).await?;
    }
    let public_url = format!("http://{address}");
    let given = config::operator_key();
    let operator_key =
        given.as_ref().map_or_else(|| scrip::app::hex(&clock::random::<32>()), |key| key.reveal().to_owned());
    let start = Start { config, place, manual, operator_key: operator_key.clone(), public_url };
    let app = App::start(start).await?;
    if given.is_none() {
        eprintln!("operator key for this run (set SCRIP_OPERATOR_KEY to choose it): {operator_key}");
    }
    let expires_at = app.clock.now().plus_seconds(LINK_SECONDS).0;
    let link = Link { workspace: None, role: LinkRole::Operator, email: None, return_url: None, expires_at };
    eprintln!("listening on http://{address}\nsign in within 15 minutes: {}", app.portal_link(&link));
    server::serve(app, doors, server::terminated()).await.map(|()| ExitCode::SUCCESS)
}

/// `None` is the system's clock.
fn parse_clock(text: &str) -> Result<Option<Time>, String> {
    match text.split_once('=') {
        None if text == "system" => Ok(None),
        None if text == "manual" => Ok(Some(clock::Clock::System.now())),
        Some(("manual", start)) => {
            let start = clock::parse_rfc3339(start);
            start
                .map(Some)
                .ok_or_else(|| "--clock: manual= takes a time such as 2027-01-31T10:00:00Z".to_owned())
        }
        _ => Err("--clock: must be system, manual or manual=TIME".to_owned()),
    }
}
