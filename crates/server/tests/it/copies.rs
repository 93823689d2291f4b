//! `scrip backup` and `scrip restore`: a copy is the whole ledger under its name, or there is nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rusqlite::Connection;
use scrip::audit::audit;
use scrip::store::{Place, database_file};
use serde_json::json;

use crate::disk::{Disk, refused, scrip, text};
use crate::http::Server;
use crate::sample;
use crate::temp::{Directory, contents};

fn backup(data: &Path, file: &Path) -> Output {
    let mut command = Command::new("timeout");
    command.args(["60", env!("CARGO_BIN_EXE_scrip"), "backup", "--data", text(data), text(file)]);
    command.output().expect("it runs")
}

fn restore(file: &Path, data: &Path) -> Output {
    scrip(&["restore", "--data", text(data), text(file)]).output().expect("it runs")
}

/// Must say nothing and have done it.
fn done(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

/// A ledger in which everything occurs, and its bytes.
async fn ledger(name: &str) -> (Directory, Vec<u8>) {
    let directory = Directory::local(name);
    sample::make(&directory).await;
    let bytes = std::fs::read(database_file(directory.path())).expect("a file");
    (directory, bytes)
}

/// The file of a database that these statements make, beside others of that kind.
fn made(directory: &Directory, sql: &str) -> PathBuf {
    let file = directory.path().join("made");
    let _ = std::fs::remove_file(&file);
    let connection = Connection::open(&file).expect("a file");
    connection.execute_batch(sql).expect("made");
    drop(connection);
    file
}

/// What is no ledger, or not a whole one, as bytes and as a word of the refusal.
fn wrong(whole: &[u8]) -> Vec<(Vec<u8>, &'static str)> {
    let scratch = Directory::local("wrong");
    let database = |sql| std::fs::read(made(&scratch, sql)).expect("a file");
    let newer = database("create table t (x integer); pragma user_version = 999");
    let foreign = database("create table secret (x integer)");
    let numbered = database("create table account (x integer); pragma user_version = 1");
    let mut torn = whole.to_vec();
    let middle = whole.len() / 2 / 4_096 * 4_096;
    torn[middle..middle + 16_384].fill(0x55);
    vec![
        (b"name,credits\nann,5\n".repeat(900), "not a database"),
        (Vec::new(), "no ledger of Scrip"),
        (b"x".to_vec(), "no ledger of Scrip"),
        (database("pragma user_version = 0; vacuum"), "no ledger of Scrip"),
        (newer, "999"),
        (foreign, "another program"),
        (numbered, "another program"),
        (whole[..4_096].to_vec(), "malformed"),
        (whole[..whole.len() / 2].to_vec(), "malformed"),
        (whole[..whole.len() - 4_096].to_vec(), "malformed"),
        (torn, ""),
    ]
}

#[tokio::test]
async fn a_backup_is_the_whole_ledger_wherever_it_is_restored() {
    let (directory, whole) = ledger("original").await;
    let elsewhere = Directory::local("backups");
    let file = elsewhere.path().join("scrip.backup");
    done(&backup(directory.path(), &file));
    let alone = contents(elsewhere.path());
    assert_eq!(alone.keys().collect::<Vec<_>>(), [&file], "nothing lies beside it");
    // A directory that is not there yet, and one whose name is no plain one.
    for name in ["new", "100%?# new"] {
        let data = elsewhere.path().join(name);
        done(&restore(&file, &data));
        let [there, before] = [&data, directory.path()]
            .map(|directory| audit(&Place::Directory(directory.to_owned())).expect("it finishes"));
        assert!(there.clean && there.entries > 0, "{:#?}", there.broken);
        assert_eq!((there.entries, there.holds, there.grants), (before.entries, before.holds, before.grants));
        let names = contents(&data).into_keys().collect::<Vec<_>>();
        assert_eq!(names, [data.join("scrip.db"), data.join("scrip.lock")]);
        // What is there is not written over.
        refused(&restore(&file, &data), &["scrip.db", "exists already"]);
        std::fs::remove_dir_all(&data).expect("removed");
    }
    refused(&backup(directory.path(), &file), &["scrip.backup", "exists already"]);
    assert!(contents(elsewhere.path()) == alone, "neither leaves a trace at the backup");
    assert!(std::fs::read(database_file(directory.path())).expect("a file") == whole);
}

#[tokio::test]
async fn a_server_in_use_is_backed_up() {
    let server = Server::at(Directory::local("busy"), None).await;
    let ws = server.workspace("One").await;
    server.grant(&ws, 1_000_000).await;
    // So large that much is written meanwhile.
    let aside = Connection::open(database_file(server.directory.path())).expect("it opens");
    aside
        .execute_batch("create table ballast (x blob); insert into ballast values (zeroblob(60000000))")
        .expect("written");
    let elsewhere = Directory::local("backups");
    let (file, data) = (elsewhere.path().join("backup"), elsewhere.path().join("data"));
    let charge = json!({ "operation": "email_send", "quantity": 1 });
    let mut charged = 0;
    let (from, to) = (server.directory.path().to_owned(), file.clone());
    let backing = tokio::task::spawn_blocking(move || backup(&from, &to));
    while !backing.is_finished() && charged < 100_000 {
        charged += 1;
        let got = server.post(&format!("{ws}/charges"), &format!("c{charged}"), charge.clone()).await;
        assert_eq!(got.status, 201);
    }
    let output = backing.await.expect("no panic");
    done(&output);
    done(&restore(&file, &data));
    let report = audit(&Place::Directory(data)).expect("it finishes");
    assert!(report.clean && report.entries > 0, "{:#?}", report.broken);
    server.audit();
}

#[tokio::test]
async fn what_is_no_whole_ledger_is_not_copied_and_nothing_is_left() {
    let (directory, whole) = ledger("whole").await;
    for (bytes, word) in wrong(&whole) {
        let elsewhere = Directory::local("refused");
        let [source, data, copy] = ["source", "data", "copy"].map(|name| elsewhere.path().join(name));
        std::fs::create_dir(&source).expect("a directory");
        std::fs::write(database_file(&source), &bytes).expect("written");
        refused(&restore(&database_file(&source), &data), &[word, "source/scrip.db"]);
        assert!(!database_file(&data).exists(), "{word}");
        refused(&backup(&source, &copy), &[word, "source/scrip.db"]);
        let left = contents(elsewhere.path()).into_keys().filter(|path| *path != data).collect::<Vec<_>>();
        assert!(left.iter().eq([&source]), "{word}: nothing is left of the copy, and not {left:?}");
        assert!(contents(&source)[&database_file(&source)] == bytes, "{word}: it is as it was");
        // Whoever brings the right file is not told that there is one already.
        done(&backup(directory.path(), &copy));
        done(&restore(&copy, &data));
    }
    let elsewhere = Directory::local("missing");
    let [gone, copy] = ["gone", "copy"].map(|name| elsewhere.path().join(name));
    refused(&restore(&gone, &elsewhere.path().join("data")), &["gone", "no ledger of Scrip"]);
    refused(&backup(&gone, &copy), &["gone/scrip.db", "no ledger of Scrip"]);
    assert!(contents(elsewhere.path()).is_empty());
    refused(&backup(directory.path(), &gone.join("copy")), &["gone/copy"]);
}

/// A log without its database would be taken for the log of whatever gets that name.
#[tokio::test]
async fn nothing_is_put_beside_a_log_of_another_database() {
    let (directory, whole) = ledger("logged").await;
    for log in ["scrip.db-wal", "scrip.db-journal"] {
        let elsewhere = Directory::local("log");
        std::fs::write(elsewhere.path().join(log), "what was not moved yet").expect("written");
        let before = contents(elsewhere.path());
        refused(&restore(&database_file(directory.path()), elsewhere.path()), &[log, "exists already"]);
        refused(&backup(directory.path(), &database_file(elsewhere.path())), &[log, "exists already"]);
        let mut after = contents(elsewhere.path());
        after.remove(&elsewhere.path().join("scrip.lock"));
        assert_eq!(after, before);
    }
    assert!(std::fs::read(database_file(directory.path())).expect("a file") == whole);
}

#[tokio::test]
async fn a_full_disk_gets_no_part_of_a_copy() {
    let (directory, whole) = ledger("large").await;
    let disk = Disk::mount();
    let [ballast, copy, data] = ["ballast", "copy", "data"].map(|name| disk.path().join(name));
    std::fs::write(&ballast, vec![1; (4 << 20) - whole.len() / 2]).expect("a ballast");
    let before = contents(disk.path());
    refused(&backup(directory.path(), &copy), &["copy", "full"]);
    assert!(contents(disk.path()) == before, "nothing of it is left");
    refused(&restore(&database_file(directory.path()), &data), &["data/scrip.db", "full"]);
    let left = contents(&data).into_keys().collect::<Vec<_>>();
    assert_eq!(left, [data.join("scrip.lock")]);
    std::fs::remove_file(&ballast).expect("room");
    done(&restore(&database_file(directory.path()), &data));
    assert!(audit(&Place::Directory(data)).expect("it finishes").clean);
    std::fs::remove_dir_all(disk.path().join("data")).expect("removed");
    done(&backup(directory.path(), &copy));
}
