//! `scrip serve` with what it cannot work with: one line that says why, exit 2, and nothing touched.
//!
//! Databases on a server are tried only where the suite has one (`SCRIP_TEST_DATABASE`).

use std::process::{Command, Output};

use rusqlite::Connection;
use scrip::store::{Place, Store, database_file, postgres::schema};

use crate::cluster::Cluster;
use crate::disk::{refused, text};
use crate::http::Server;
use crate::proxy::Proxy;
use crate::sample::START;
use crate::temp::{self, Directory, contents};

const SECRET: &str = "p4ss-w0rd";

/// What is not refused would serve for ever.
fn ended(arguments: &[&str]) -> Output {
    let mut command = Command::new("timeout");
    command.args(["60", env!("CARGO_BIN_EXE_scrip")]).args(arguments).env_remove("SCRIP_DATABASE");
    command.output().expect("it runs")
}

/// Must be refused with all of these words, whatever is asked besides, and never with the password.
fn refuses(database: &str, more: &[&str], words: &[&str]) {
    let serve = ["serve", "--listen", "127.0.0.1:0", "--clock", "manual", "--database", database];
    let output = ended(&[&serve, more].concat());
    refused(&output, words);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains(SECRET), "{said}");
}

/// The tables of a database, and what is in ours that says what it is: to see that none of it changed.
fn picture(url: &str) -> [Option<String>; 2] {
    let tables = "select string_agg(c.oid || c.relname || c.relnatts, ' ' order by c.oid) from pg_class c
        where relnamespace = 'public'::regnamespace";
    let meta = "select case when to_regclass('meta') is null then 'none'
        else query_to_xml('select * from meta', true, false, '')::text end";
    [tables, meta].map(|sql| temp::administer(url, &[sql.to_owned()]))
}

#[test]
fn an_address_that_is_none_is_refused() {
    let address = format!("postgres://scrip:{SECRET}@127.0.0.1:port/scrip");
    refuses(&address, &[], &["--database"]);
    refuses(&format!("host=127.0.0.1 password={SECRET} and more"), &[], &["--database"]);
    // Nobody listens on this port.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("a bound address").port();
    drop(taken);
    let there = format!("127.0.0.1:{port}/scrip");
    refuses(&format!("postgres://scrip:{SECRET}@{there}"), &[], &[&there, "refused"]);
    refuses(&format!("host=127.0.0.1 port={port} user=scrip password={SECRET} dbname=scrip"), &[], &[&there]);
    for partitions in ["0", "1025"] {
        refuses(&format!("postgres://{there}"), &["--partitions", partitions], &["--partitions", "1024"]);
    }
}

/// Whoever writes an @ into a password as it is means the last one: what is before that is never said.
#[test]
fn a_password_is_not_taken_for_a_host() {
    let addresses = [
        "postgres://scrip:Hunter@2secret@127.0.0.1:1/scrip",
        "postgresql://scrip:Hunter@2secret@127.0.0.1:1,127.0.0.1:2/scrip",
        "postgres://scrip:Hunter@a/2secret@127.0.0.1:1/scrip",
        "postgres://scrip:Hunter?a@2secret@127.0.0.1:1/scrip",
        "postgres://scrip:Hunter@2secret:a@127.0.0.1:1/scrip",
        "postgres://scrip:Hunter@2secret?a@127.0.0.1:1/scrip",
        "postgres://scrip:Hunter@2secret?port=1@127.0.0.1:1/scrip",
    ];
    for address in addresses {
        for command in ["serve", "audit"] {
            let output = ended(&[command, "--database", address]);
            refused(&output, &["--database"]);
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!said.contains("unter") && !said.contains("secret"), "{address}: {said}");
        }
    }
    refuses("postgres://scrip:Hunter%402secret@127.0.0.1:1/scrip", &[], &["at 127.0.0.1:1/scrip", "refused"]);
    refuses(
        "host=127.0.0.1 port=1 user=a@b password=c@d dbname=e@f",
        &[],
        &["at 127.0.0.1:1/e@f", "refused"],
    );
}

#[test]
fn an_option_that_would_change_nothing_is_refused() {
    let directory = Directory::local("options");
    let data = directory.path().join("data");
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    for option in [&["--partitions", "3"][..], &["--distributed"]] {
        for place in [&["--data", text(&data)][..], &[]] {
            refused(&ended(&[&serve, option, place].concat()), &[option[0], "--database"]);
        }
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = taken.local_addr().expect("a bound address").to_string();
    for listen in ["nonsense", &taken] {
        refused(&ended(&["demo", "--listen", listen]), &["cannot listen on", listen]);
        refused(&ended(&["demo", "--auto", "--listen", listen]), &["cannot listen on", listen]);
    }
    assert!(!data.exists());
}

#[test]
fn a_file_of_another_program_is_left_untouched() {
    let ours = ["account", "hold", "meta", "request", "step_result", "workspace"];
    let every = ours.map(|name| format!("create table {name} (x integer);")).concat();
    let files = [
        ("create table secret (x integer)".to_owned(), "another program"),
        ("create table secret (x integer); pragma user_version = -1".to_owned(), "another program"),
        ("create table secret (x integer); pragma user_version = 1".to_owned(), "another program"),
        ("create table account (number integer)".to_owned(), "another program"),
        ("pragma user_version = 1".to_owned(), "another program"),
        ("create view secret as select 1".to_owned(), "another program"),
        (every, "another program"),
        ("create table secret (x integer); pragma user_version = 2".to_owned(), "version 2"),
    ];
    for mode in ["delete", "wal"] {
        for (sql, word) in &files {
            let directory = Directory::local("other program");
            let made = Connection::open(database_file(directory.path())).expect("a file");
            made.query_row(&format!("pragma journal_mode = {mode}"), [], |_| Ok(())).expect("a mode");
            made.execute_batch(sql).expect("made");
            let serve = || ended(&["serve", "--listen", "127.0.0.1:0", "--data", text(directory.path())]);
            let left_alone = |kept: &[&str]| {
                let mut before = contents(directory.path());
                refused(&serve(), &["scrip.db", word, "untouched"]);
                let mut after = contents(directory.path());
                for files in [&mut before, &mut after] {
                    files.retain(|path, _| !kept.iter().any(|end| path.ends_with(end)));
                }
                assert!(after == before, "{mode}, {sql}: it was touched");
            };
            // While its program has it open, in all that lasts; after that without a trace.
            left_alone(&["scrip.lock", "scrip.db-shm"]);
            drop(made);
            left_alone(&["scrip.lock"]);
        }
    }
}

#[tokio::test]
async fn a_file_with_nothing_in_it_is_a_new_ledger() {
    for sql in ["", "vacuum"] {
        let directory = Directory::local("nothing");
        Connection::open(database_file(directory.path())).expect("a file").execute_batch(sql).expect("made");
        if sql.is_empty() {
            std::fs::write(database_file(directory.path()), "").expect("an empty file");
        }
        drop(Server::at(directory.clone(), None).await);
        directory.prove(sql);
    }
}

/// The first start was killed while it made the tables: what it left is taken back.
#[tokio::test]
async fn a_start_that_was_cut_off_begins_again() {
    let directory = Directory::local("cut off");
    let other = Directory::local("making");
    let file = database_file(other.path());
    let connection = Connection::open(&file).expect("a file");
    let making = "pragma cache_size = 1; begin; create table meta (x blob); insert into meta values (zeroblob(100000))";
    connection.execute_batch(making).expect("begun");
    for (path, bytes) in contents(other.path()) {
        std::fs::write(directory.path().join(path.file_name().expect("a name")), bytes).expect("copied");
    }
    assert!(directory.path().join("scrip.db-journal").exists(), "there is something to take back");
    drop(Server::at(directory.clone(), None).await);
    directory.prove("after it was cut off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_not_ours_is_left_untouched() {
    let wrong = [
        ("create table meta (id integer)", "`meta`"),
        ("create table meta (name text, value text)", "`meta`"),
        ("create table meta (name text, value text); insert into meta values ('schema', '1')", "`meta`"),
        ("create table account (number integer)", "`account`"),
        ("create table invoice (number integer)", "`invoice`"),
        ("create table invoice (number integer) partition by range (number)", "`invoice`"),
        ("create view meta as select 1 as name", "meta"),
        ("create type account as (number integer)", "account"),
    ];
    for (sql, word) in wrong {
        let Some(directory) = Directory::shared("foreign") else { return };
        let url = directory.url().expect("a server");
        temp::administer(&url, &[sql.to_owned()]);
        let before = picture(&url);
        refuses(
            &url,
            &[],
            &["the database at", &url[url.find('@').map_or(0, |at| at + 1)..], word, "untouched"],
        );
        assert_eq!(picture(&url), before, "{sql}");
    }
    let Some(directory) = Directory::shared("ours") else { return };
    let url = directory.url().expect("a server");
    refuses(&format!("{url}_that_is_not_there"), &[], &["does not exist"]);
    drop(Server::at(directory.clone(), None).await);
    let without_clock = "delete from meta where name = 'clock'".to_owned();
    temp::administer(&url, &[without_clock]);
    let before = picture(&url);
    refuses(&url, &["--partitions", "5"], &["--partitions 5", "it has 3", "untouched"]);
    assert_eq!(picture(&url), before);
    let damages = [
        ("update meta set value = '0' where name = 'partitions'", "partitions"),
        ("update meta set value = '-3' where name = 'partitions'", "partitions"),
        ("update meta set value = '9223372036854775807' where name = 'partitions'", "partitions"),
        ("update meta set value = 'many' where name = 'partitions'", "partitions"),
        ("update meta set value = '2' where name = 'partitions'", "partitions"),
        ("update meta set value = '4' where name = 'partitions'", "partitions"),
        ("delete from meta where name = 'partitions'", "partitions"),
        (
            "update meta set value = '3' where name = 'partitions'; update lane set partition = 5 where partition = 1",
            "partitions",
        ),
        ("update meta set value = '999' where name = 'schema'", "999"),
        ("update meta set value = '0' where name = 'schema'", "version 0"),
        ("delete from meta where name = 'schema'", "`meta`"),
        ("alter table lane rename to street", "`lane`"),
    ];
    for (sql, word) in damages {
        let restore = "insert into meta values ('partitions', '3') on conflict (name) do nothing".to_owned();
        temp::administer(&url, &[restore, sql.to_owned()]);
        let before = picture(&url);
        refuses(&url, &[], &["the database at", word, "untouched"]);
        assert_eq!(picture(&url), before, "{sql}");
    }
}

/// A schema of its own is enough, and an extension's tables are nobody's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_beside_another_program_is_ours() {
    let Some(directory) = Directory::shared("beside") else { return };
    let url = directory.url().expect("a server");
    let others = [
        "create table invoice (number integer)",
        "create schema mine",
        "create table mine.extended (x integer)",
        "alter extension plpgsql add table mine.extended",
    ];
    temp::administer(&url, &others.map(ToOwned::to_owned));
    let before = picture(&url);
    let url = format!("{url}?options=-c%20search_path%3Dmine");
    let place = Place::Postgres(schema::Place { url, partitions: Some(3), distributed: false });
    for _ in 0..2 {
        temp::close(Store::open(&place, Some(START)).expect("it opens")).await;
        // What an operator adds later is no reason to refuse what is ours.
        temp::administer(
            &directory.url().expect("a server"),
            &["create table if not exists mine.report (x integer)".to_owned()],
        );
    }
    assert!(scrip::audit::audit(&place).expect("it finishes").clean);
    assert_eq!(picture(&directory.url().expect("a server")), before);
}

#[test]
fn a_server_that_cannot_be_used_is_refused() {
    let Some(cluster) = Cluster::start("refused") else { return };
    cluster.administer(&["create database plain"]);
    let (server, _) = cluster.url.rsplit_once('/').expect("it names a database");
    let plain = format!("{server}/plain");
    let url = plain.replace("postgres@", &format!("postgres:{SECRET}@"));
    let version = cluster.administer(&["show server_version_num"]).expect("a version");
    let way = Proxy::new(&url);
    way.lie(&version, "120022");
    let through = format!("postgres://postgres@{}/plain", way.address);
    refuses(&through, &[], &["PostgreSQL 12", "13 or newer", "untouched"]);
    cluster.administer(&["alter database plain set default_transaction_read_only = on"]);
    refuses(&url, &[], &["/plain", "does not allow writes"]);
    cluster.administer(&["alter database plain reset default_transaction_read_only"]);
    assert_eq!(picture(&plain), [None, Some("none".to_owned())], "nothing was made");
    for encoding in ["LATIN1", "SQL_ASCII"] {
        let locale = "template template0 lc_collate 'C' lc_ctype 'C'";
        cluster.administer(&[&format!("create database {encoding} encoding '{encoding}' {locale}")]);
        let url = format!("{server}/{}", encoding.to_lowercase());
        let before = picture(&url);
        refuses(&url, &[], &[&url[url.find('@').map_or(0, |at| at + 1)..], encoding, "UTF8", "untouched"]);
        assert_eq!(picture(&url), before);
    }
    cluster.administer(&["alter user postgres password 'another'"]);
    cluster.admit("host all all all scram-sha-256\n");
    refuses(&url, &[], &["/plain", "password authentication failed"]);
}
