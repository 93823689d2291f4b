//! What cannot be audited: one clear line, exit 2, and nothing made or touched.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Output;

use rusqlite::Connection;
use scrip::store::{Place, database_file};

use crate::disk::{refused, scrip, text};
use crate::sample;
use crate::temp::{Directory, administer, contents};

fn audited(arguments: &[&str]) -> Output {
    scrip(&[&["audit"], arguments].concat()).env_remove("SCRIP_DATABASE").output().expect("it runs")
}

#[tokio::test]
async fn a_directory_that_cannot_be_audited_is_left_as_it_is() {
    let made = Directory::local("whole");
    sample::make(&made).await;
    let whole = std::fs::read(database_file(made.path())).expect("a file");
    let newer = Directory::local("version");
    let connection = Connection::open(database_file(newer.path())).expect("a file");
    connection.execute_batch("create table t (x integer); pragma user_version = 99").expect("a table");
    drop(connection);
    let newer = std::fs::read(database_file(newer.path())).expect("a file");
    let nonsense = b"name,credits\nann,5\n".repeat(900);
    let cases: [(&[u8], &str); 8] = [
        (b"", "no ledger of Scrip"),
        (b"x", "no ledger of Scrip"),
        (&nonsense, "not a database"),
        (&newer, "version 99"),
        (&whole[..50], "no ledger of Scrip"),
        (&whole[..4_096], "malformed"),
        (&whole[..whole.len() / 2], "malformed"),
        (&whole[..whole.len() - 4_096], "malformed"),
    ];
    for (bytes, word) in cases {
        let directory = Directory::local("refused");
        std::fs::write(database_file(directory.path()), bytes).expect("written");
        let before = contents(directory.path());
        let output = audited(&["--data", text(directory.path())]);
        refused(&output, &[word, "scrip.db"]);
        assert!(output.stdout.is_empty(), "nothing that could be taken for a report");
        assert_eq!(contents(directory.path()), before);
    }
    let empty = Directory::local("empty");
    refused(&audited(&["--data", text(empty.path())]), &["scrip.db", "No such file"]);
    let gone = empty.path().join("gone");
    refused(&audited(&["--data", text(&gone)]), &["gone", "No such file"]);
    assert!(contents(empty.path()).is_empty() && !gone.exists());
    std::fs::create_dir(database_file(empty.path())).expect("a folder");
    refused(&audited(&["--data", text(empty.path())]), &["scrip.db", "not a file"]);
}

/// An old backup may lie where nothing can be written.
#[tokio::test]
async fn a_database_that_was_closed_is_audited_without_a_trace() {
    let directory = Directory::local("trace 100%?#");
    sample::make(&directory).await;
    let before = contents(directory.path());
    let output = audited(&["--data", text(directory.path())]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(contents(directory.path()), before);
    let connection = Connection::open(database_file(directory.path())).expect("it opens");
    connection.execute_batch("update account set held = held + 1").expect("corrupted");
    // What is in the log alone counts too.
    let output = audited(&["--data", text(directory.path())]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    drop(connection);
}

#[tokio::test]
async fn an_anchor_file_needs_a_name_and_a_clean_ledger() {
    let directory = Directory::local("anchoring");
    sample::make(&directory).await;
    let anchors = Directory::local("anchors");
    let file = anchors.path().join("heads");
    let arguments = ["--data", text(directory.path()), "--anchor", text(&file)];
    assert_eq!(audited(&arguments).status.code(), Some(0));
    let good = std::fs::read_to_string(&file).expect("written");
    std::fs::write(&file, &good[..good.len() / 2]).expect("cut");
    let output = audited(&arguments);
    refused(&output, &["--anchor", "heads"]);
    assert!(output.stdout.is_empty());
    refused(&audited(&["--data", text(directory.path()), "--anchor", "/"]), &["--anchor"]);
    std::fs::remove_file(&file).expect("removed");
    let connection = Connection::open(database_file(directory.path())).expect("it opens");
    connection.execute_batch("update account set held = held + 1").expect("corrupted");
    assert_eq!(audited(&arguments).status.code(), Some(1));
    assert!(contents(anchors.path()).is_empty(), "nothing broken is anchored");
}

#[test]
fn a_server_that_cannot_be_audited_is_named_without_its_password() {
    let quietly = |url: &str, words: &[&str]| {
        let output = audited(&["--database", url]);
        refused(&output, words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("hunter2") && output.stdout.is_empty(), "{said}");
    };
    quietly("hunter2", &["--database"]);
    quietly("postgres://scrip:hunter2@127.0.0.1:1/scrip", &["127.0.0.1", "refused"]);
    quietly("host=127.0.0.1 port=1 user=scrip password=hunter2 dbname=scrip", &["127.0.0.1", "refused"]);
    quietly("postgres://scrip:hunter2@nowhere.invalid/scrip", &["nowhere.invalid"]);
    let directory = Directory::new("server");
    let Place::Postgres(place) = directory.place() else { return };
    // The place makes an empty database.
    quietly(&place.url, &["no ledger of Scrip"]);
    let (server, _) = place.url.rsplit_once('/').expect("a database");
    quietly(&format!("{server}/missing_database"), &["missing_database", "does not exist"]);
    administer(
        &place.url,
        &["create table meta (id integer)".into(), "create table account (id integer)".into()],
    );
    quietly(&place.url, &["column", "does not exist"]);
    let meta = |rows: &str| {
        let make = "create table meta (name text, value text)".to_owned();
        administer(&place.url, &["drop table meta".into(), make, format!("insert into meta values {rows}")]);
    };
    meta("('partitions', '3')");
    quietly(&place.url, &["no number `schema`"]);
    meta("('schema', '99'), ('partitions', '3')");
    quietly(&place.url, &["version 99"]);
    meta("('schema', '1'), ('partitions', 'many')");
    quietly(&place.url, &["no number `partitions`"]);
    meta("('schema', '1'), ('partitions', '0')");
    quietly(&place.url, &["0 partitions"]);
    meta("('schema', '1'), ('partitions', '9223372036854775807')");
    quietly(&place.url, &["9223372036854775807 partitions"]);
    // The tables are not ours.
    meta("('schema', '1'), ('partitions', '3')");
    quietly(&place.url, &["does not exist"]);
}

/// A server that says these bytes one after the other, each after it was told something, and then nothing more.
fn saying(words: &'static [&'static [u8]]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        for word in words {
            let told = stream.read(&mut [0; 1_024]).expect("told something");
            assert!(told > 0);
            stream.write_all(word).expect("said");
        }
        // Until the client goes.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    format!("postgres://scrip:hunter2@{address}/scrip")
}

#[test]
fn a_wrong_password_and_a_silent_server_are_one_line_each() {
    let wrong = saying(&[
        b"R\0\0\0\x08\0\0\0\x03",
        b"E\0\0\0\x44SFATAL\0VFATAL\0C28P01\0Mpassword authentication\nfailed for scrip\0\0",
    ]);
    for (url, word) in [(wrong, "authentication failed"), (saying(&[]), "does not answer")] {
        let output = audited(&["--database", &url]);
        refused(&output, &["127.0.0.1", word]);
        assert!(!String::from_utf8_lossy(&output.stderr).contains("hunter2"));
    }
}

#[test]
fn a_role_without_rights_is_refused() {
    let directory = Directory::new("role");
    let Place::Postgres(place) = directory.place() else { return };
    let role = format!("auditor_{}", std::process::id());
    administer(&place.url, &[format!("create role {role} login password 'hunter2'")]);
    let store = scrip::store::Store::open(&directory.place(), Some(sample::START)).expect("it opens");
    drop(store);
    let (_, host) = place.url.split_once('@').expect("a host");
    let output = audited(&["--database", &format!("postgres://{role}:hunter2@{host}")]);
    let rights = format!("grant select on all tables in schema public to {role}");
    administer(&place.url, &[rights]);
    let allowed = audited(&["--database", &format!("postgres://{role}:hunter2@{host}")]);
    administer(&place.url, &[format!("drop owned by {role}"), format!("drop role {role}")]);
    refused(&output, &["permission denied"]);
    assert_eq!(allowed.status.code(), Some(0), "{}", String::from_utf8_lossy(&allowed.stderr));
    let output = audited(&["--database", &format!("postgres://{role}:hunter2@{host}")]);
    refused(&output, &[&role, "does not exist"]);
}
