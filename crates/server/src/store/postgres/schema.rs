//! The schema on a PostgreSQL server: made by whichever node comes first, checked by all.
//!
//! Invariant: a database of a newer schema, of another number of partitions, or of another program is left untouched.

use std::sync::Arc;

use billing::Time;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, TargetSessionAttrs};

use super::super::sqlite::{OURS, SCHEMA, SCHEMA_VERSION};
use super::super::{Error, db::Tx};
use super::partition::with_partitions;
use super::{CONNECT, LIMITS, Server, Session};
use crate::values;

/// Where nodes meet, and with what.
#[derive(Clone, Debug)]
pub struct Place {
    /// `postgres://user:password@host/database`.
    pub url: String,
    /// How many partitions a new database gets; an existing one must have as many. `None`: 1, or what there is.
    pub partitions: Option<i64>,
    /// Whether a new database's tables are distributed by Citus.
    pub distributed: bool,
}

/// As many lanes as anybody could want.
const MOST_PARTITIONS: i64 = 1_024;
/// The oldest PostgreSQL that is tried.
const OLDEST: i64 = 13;
/// Only one node makes the schema.
const MAKING: &str = "select pg_advisory_xact_lock(7240001)";
/// The tables where ours would be. Those of an extension are nobody's.
const TABLES: &str = "select cast(relname as text) from pg_class c
    where relnamespace = (select oid from pg_namespace where nspname = current_schema()) and relkind in ('r', 'p')
      and not exists (select 1 from pg_depend d
        where d.classid = cast('pg_class' as regclass) and d.objid = c.oid and d.deptype = 'e')
    order by relname";

impl Place {
    /// Connects, and makes the schema where there is none. Answers the server, and where a manual clock stands.
    ///
    /// # Errors
    /// One line for the operator.
    pub fn open(&self, start: Option<Time>) -> Result<Server, String> {
        let mut server = self.server()?;
        let session = Session::connect(&server).map_err(|error| server.describe(&error))?;
        server.partitions = self.migrate(&session, start).map_err(|error| server.describe(&error))?;
        Ok(server)
    }

    fn server(&self) -> Result<Server, String> {
        // What is wrong with it may be the password, so it is not said.
        let wrong = |_| "--database: must be like postgres://user:password@host/database".to_owned();
        if !(1..=MOST_PARTITIONS).contains(&self.partitions.unwrap_or(1)) {
            return Err(format!("--partitions: must be from 1 to {MOST_PARTITIONS}"));
        }
        let hosts: Result<Vec<Config>, _> = each_host(&self.url).iter().map(|url| url.parse()).collect();
        let mut hosts = hosts.map_err(wrong)?;
        for config in &mut hosts {
            let options = format!("{} {LIMITS}", config.get_options().unwrap_or(""));
            // A standby would refuse our first write.
            config.options(options.trim()).target_session_attrs(TargetSessionAttrs::ReadWrite);
            config.connect_timeout(CONNECT);
            if config.get_tcp_user_timeout().is_none() {
                config.tcp_user_timeout(super::ANSWER);
            }
            if config.get_application_name().is_none() {
                config.application_name("scrip");
            }
        }
        Ok(Server { hosts, partitions: 1, timeline: Arc::default() })
    }

    /// Makes or checks the schema; answers how many partitions there are. What is refused is left as it was.
    fn migrate(&self, session: &Session, start: Option<Time>) -> Result<i64, Error> {
        let tx = Tx::Postgres(session);
        suits(tx)?;
        session.run("begin")?;
        session.run(MAKING)?;
        let tables = tx.query(TABLES, &[], |row| row.text(0))?;
        let missing = OURS.into_iter().chain(["lane"]).find(|name| !tables.iter().any(|table| table == name));
        match (tables.first(), missing) {
            (None, _) => self.make(session, tx)?,
            (Some(table), Some(missing)) => {
                let why = format!("it has a table `{table}` and no `{missing}`, so it is no ledger of Scrip");
                return Err(untouched(why));
            }
            (Some(_), None) => {}
        }
        let partitions = known_partitions(tx)?;
        if let Some(asked) = self.partitions.filter(|asked| *asked != partitions) {
            let why = format!("--partitions {asked}, but it has {partitions}, which never changes");
            return Err(untouched(why));
        }
        if let Some(start) = start {
            tx.execute(
                "insert into meta (name, value) values ('clock', ?1) on conflict (name) do nothing",
                values![start.0.to_string()],
            )?;
        }
        session.run("commit")?;
        Ok(partitions)
    }

    fn make(&self, session: &Session, tx: Tx<'_>) -> Result<(), Error> {
        session.run(&schema()).map_err(|error| match error {
            Error::Engine(why) => untouched(format!("our tables cannot be made in it: {why}")),
            error => error,
        })?;
        let partitions = self.partitions.unwrap_or(1);
        if self.distributed {
            distribute(session, partitions)?;
        }
        tx.insert_all(
            "insert into lane (partition) values (?1)",
            (0..partitions).map(|partition| [partition.into()]),
        )?;
        let known = [("schema", SCHEMA_VERSION), ("partitions", partitions)];
        tx.insert_all(
            "insert into meta (name, value) values (?1, ?2)",
            known.into_iter().map(|(name, value)| [name.into(), value.to_string().into()]),
        )
    }
}

/// The server must be new enough, and the database able to hold every name.
fn suits(tx: Tx<'_>) -> Result<(), Error> {
    let setting = |sql| Ok::<_, Error>(tx.one(sql, &[], |row| row.text(0))?.unwrap_or_default());
    let version = setting("select current_setting('server_version_num')")?.parse().unwrap_or(0);
    if version < OLDEST * 10_000 {
        return Err(untouched(format!(
            "it is PostgreSQL {}, and must be {OLDEST} or newer",
            version / 10_000
        )));
    }
    let encoding = setting("select current_setting('server_encoding')")?;
    if encoding != "UTF8" {
        return Err(untouched(format!("its encoding is {encoding}, and must be UTF8")));
    }
    Ok(())
}

/// What a ledger says of itself must be what this program knows; answers how many partitions it has.
fn known_partitions(tx: Tx<'_>) -> Result<i64, Error> {
    let not_ours = |error| match error {
        Error::Engine(why) => untouched(format!("its tables are not ours: {why}")),
        error => error,
    };
    let known = |name: &str| {
        let text = tx.one("select value from meta where name = ?1", values![name], |row| row.text(0));
        Ok::<_, Error>(text.map_err(not_ours)?.and_then(|text| text.parse::<i64>().ok()))
    };
    match known("schema")? {
        Some(SCHEMA_VERSION) => {}
        Some(version) => {
            let why = format!("its schema has version {version}, this program knows {SCHEMA_VERSION}");
            return Err(untouched(why));
        }
        None => return Err(untouched("its table `meta` has no number `schema`".to_owned())),
    }
    let partitions = known("partitions")?.unwrap_or(0);
    let lanes = tx.query("select partition from lane order by partition", &[], |row| row.int(0));
    let as_said = lanes.map_err(not_ours)?.into_iter().eq(0..partitions);
    if !as_said || !(1..=MOST_PARTITIONS).contains(&partitions) {
        let why = "its tables `meta` and `lane` do not agree on a number of partitions from 1 to";
        return Err(untouched(format!("{why} {MOST_PARTITIONS}")));
    }
    Ok(partitions)
}

fn untouched(why: String) -> Error {
    Error::Unavailable(format!("{why}; it was left untouched"))
}

/// The address of each host that an address names, split where `tokio_postgres` does. One without a scheme stays as it is, and of
/// its hosts the first that takes writes is taken.
fn each_host(url: &str) -> Vec<String> {
    let Some((scheme, rest)) = url.split_once("://") else { return vec![url.to_owned()] };
    let (who, rest) = rest.split_at(rest.find('@').map_or(0, |at| at + 1));
    let (hosts, database) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    hosts.split(',').map(|host| format!("{scheme}://{who}{host}{database}")).collect()
}

impl Server {
    /// What went wrong there, in a line for the operator.
    pub(in crate::store) fn describe(&self, error: &Error) -> String {
        format!("the database at {}: {}", place_of(&self.hosts), error.sentence().replace('\n', " "))
    }
}

/// Where a server is and which database is meant, without who asks and with what password.
fn place_of(hosts: &[Config]) -> String {
    let places = hosts.iter().flat_map(|config| {
        config.get_hosts().iter().enumerate().map(|(index, host)| {
            let port = config.get_ports().get(index).or(config.get_ports().first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(host) => format!("{host}:{port}"),
                Host::Unix(path) => format!("{}:{port}", path.display()),
            }
        })
    });
    let name = hosts.first().and_then(|config| config.get_dbname().or(config.get_user())).unwrap_or_default();
    format!("{}/{name}", places.collect::<Vec<_>>().join(","))
}

/// Our schema in this server's words.
pub fn schema() -> String {
    let mut text = String::from(
        "create table lane (\n  partition bigint not null,\n  constraint lane_key primary key (partition)\n);\n",
    );
    for line in SCHEMA.lines() {
        let line = line.split_once("--").map_or(line, |(line, _)| line);
        let line =
            line.replace(" integer", " bigint").replace(" blob", " bytea").replace(") without rowid", ")");
        // Its keys must be short, and it keeps what is long beside a row anyway.
        let line = line.replace("(workspace, seq, operations)", "(workspace, seq)");
        match line.strip_prefix("  workspace bigint") {
            Some(rest) if !names_partition(&text) => {
                text.push_str(&format!("  partition bigint not null,\n  workspace bigint{rest}\n"))
            }
            _ if line.contains("partition") => text.push_str(&(line + "\n")),
            _ => text.push_str(&(with_partitions(&line) + "\n")),
        }
    }
    // What a batch is made of is small and soon gone, and entries are packed already: compressing them only takes time.
    let packed = [("journal", "body"), ("page", "entries"), ("page", "notes"), ("request", "keys")];
    for (table, column) in packed {
        text.push_str(&format!("alter table {table} alter column {column} set storage external;\n"));
    }
    text
}

/// Whether the table that is being written names its partition itself.
fn names_partition(text: &str) -> bool {
    text.rsplit("create table").next().is_some_and(|table| table.contains("  partition"))
}

/// Spreads the tables over Citus' nodes: what has a partition by it, and the few others as copies everywhere.
fn distribute(session: &Session, partitions: i64) -> Result<(), Error> {
    session.run(&format!("set local citus.shard_count = {partitions}"))?;
    let tables = schema();
    for table in tables.split("create table ").skip(1) {
        let name = table.split(" (").next().unwrap_or("");
        let spread = if table.contains("  partition bigint not null") {
            format!("select create_distributed_table('{name}', 'partition')")
        } else {
            format!("select create_reference_table('{name}')")
        };
        session.run(&spread)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::each_host;

    #[test]
    fn an_address_of_several_hosts_is_one_for_each() {
        for (address, hosts) in [
            ("postgres://me:secret@one/scrip?a=b", vec!["postgres://me:secret@one/scrip?a=b"]),
            (
                "postgres://me@one:1,two:2/scrip?a=b,c",
                vec!["postgres://me@one:1/scrip?a=b,c", "postgres://me@two:2/scrip?a=b,c"],
            ),
            ("postgresql://one,two", vec!["postgresql://one", "postgresql://two"]),
            ("postgres://one,two?a=b/c", vec!["postgres://one?a=b/c", "postgres://two?a=b/c"]),
            ("postgres://me:a,b/c@one/scrip", vec!["postgres://me:a,b/c@one/scrip"]),
            ("host=one,two port=1 dbname=scrip", vec!["host=one,two port=1 dbname=scrip"]),
        ] {
            assert_eq!(each_host(address), hosts);
        }
    }
}
