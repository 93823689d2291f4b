//! `scrip serve --database` with what it cannot work with: one line that says why, exit 2, and nothing touched.
//!
//! Tried only where the suite has a server (`SCRIP_TEST_DATABASE`).

use std::process::Command;

use crate::cluster::Cluster;
use crate::disk::refused;
use crate::http::Server;
use crate::proxy::Proxy;
use crate::temp::{self, Directory};

const SECRET: &str = "p4ss-w0rd";

/// Must be refused with all of these words, whatever is asked besides, and never with the password.
fn refuses(database: &str, more: &[&str], words: &[&str]) {
    let serve = ["serve", "--listen", "127.0.0.1:0", "--clock", "manual", "--database", database];
    // What is not refused would serve for ever.
    let mut command = Command::new("timeout");
    command.args(["60", env!("CARGO_BIN_EXE_scrip")]).args(serve).args(more);
    let output = command.output().expect("it runs");
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_not_ours_is_left_untouched() {
    let wrong = [
        ("create table meta (id integer)", "`meta`"),
        ("create table meta (name text, value text)", "`meta`"),
        ("create table account (number integer)", "account"),
    ];
    for (sql, word) in wrong {
        let Some(directory) = Directory::shared("foreign") else { return };
        let url = directory.url().expect("a server");
        temp::administer(&url, &[sql.to_owned()]);
        let before = picture(&url);
        refuses(&url, &[], &[word, "untouched"]);
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
    temp::administer(&url, &["update meta set value = '999' where name = 'schema'".to_owned()]);
    let before = picture(&url);
    refuses(&url, &[], &["999", "untouched"]);
    assert_eq!(picture(&url), before);
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
    cluster.administer(&["alter user postgres password 'another'"]);
    cluster.admit("host all all all scram-sha-256\n");
    refuses(&url, &[], &["/plain", "password authentication failed"]);
}
