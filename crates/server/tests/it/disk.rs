//! The disk and the process: what is full heals, what was acknowledged stays, and what cannot start says why in one line.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::http::{OPERATOR, Server};
use crate::temp::Directory;

/// A small disk of its own, gone with its test.
pub struct Disk(Directory);

impl Disk {
    pub fn mount() -> Disk {
        let directory = Directory::local("disk");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
            .arg(directory.path())
            .output()
            .expect("mount can be run");
        let why = String::from_utf8_lossy(&mounted.stderr);
        assert!(mounted.status.success(), "this test needs a small disk, and mounting one failed: {why}");
        Disk(directory)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_refuses_and_heals() {
    let disk = Disk::mount();
    let ballast = disk.0.path().join("ballast");
    std::fs::write(&ballast, vec![1; 1 << 20]).expect("a ballast");
    let server = Server::at(Directory::inside(disk.0.path()), None).await;
    let ws = server.workspace("One").await;
    server.grant(&ws, 1_000_000_000).await;
    let charge = json!({ "operation": "email_send", "quantity": 1, "reference": "x".repeat(200) });
    let mut left = 1_000_000_000;
    let mut served = 0;
    let refused = loop {
        let got = server.post(&format!("{ws}/charges"), &format!("c{served}"), charge.clone()).await;
        if got.status != 201 {
            break got;
        }
        left -= got.body["amount"].as_i64().expect("an amount");
        served += 1;
        assert!(served < 50_000, "the disk never fills");
    };
    refused.problem(503, "unavailable");
    assert_eq!(
        (refused.header("retry-after"), &refused.body["detail"]),
        (Some("1"), &json!("the disk is full"))
    );
    assert!(served > 50, "the disk was full after {served} charges");
    let available = async || server.get(&format!("{ws}/balance")).await.body["available"].as_i64();
    assert_eq!(available().await, Some(left), "nothing is half-written and reading goes on");
    std::fs::remove_file(&ballast).expect("room");
    let mut healed = false;
    for _ in 0..50 {
        let got = server.post(&format!("{ws}/charges"), &format!("c{served}"), charge.clone()).await;
        healed = got.status == 201;
        if healed {
            left -= got.body["amount"].as_i64().expect("an amount");
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(healed, "with room there is service again");
    assert_eq!(available().await, Some(left));
    server.audit();
}

pub fn scrip(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scrip"));
    command.args(arguments).env("SCRIP_OPERATOR_KEY", OPERATOR).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

/// Refused at the start: exit 2, and one line that has all of these words.
pub fn refused(output: &Output, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    for word in words {
        assert!(said.contains(word), "{word} in {said}");
    }
}

#[tokio::test]
async fn what_cannot_start_says_why_in_one_line() {
    let server = Server::at(Directory::local("here"), None).await;
    let directory = server.directory.path();
    let second = scrip(&["serve", "--listen", "127.0.0.1:0", "--data", text(directory)]).output();
    refused(&second.expect("it runs"), &["another server"]);
    let other = Directory::local("start");
    let serve = |file: &Path| {
        scrip(&["serve", "--listen", "127.0.0.1:0", "--data", text(other.path()), "--config", text(file)])
            .output()
            .expect("it runs")
    };
    let config = other.path().join("scrip.toml");
    std::fs::write(&config, "# a comment\nnonsense = 1\n").expect("a file");
    refused(&serve(&config), &["scrip.toml:2", "nonsense"]);
    let catalog = other.path().join("catalog.toml");
    std::fs::write(&catalog, "version = 1\nnonsense = 1\n").expect("a file");
    refused(
        &scrip(&["catalog", "check", text(&catalog)]).output().expect("it runs"),
        &["catalog.toml:2", "nonsense"],
    );
    let newer = Directory::local("newer");
    let file = scrip::store::database_file(newer.path());
    let database = rusqlite::Connection::open(&file).expect("a file");
    database.execute_batch("pragma user_version = 999; create table t (x integer)").expect("a table");
    drop(database);
    let before = std::fs::read(&file).expect("a file");
    let output = scrip(&["serve", "--listen", "127.0.0.1:0", "--data", text(newer.path())]).output();
    refused(&output.expect("it runs"), &["999", "untouched"]);
    assert_eq!(std::fs::read(&file).expect("a file"), before);
}

#[tokio::test]
async fn a_killed_server_keeps_what_it_acknowledged_and_a_stopped_one_ends_well() {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let directory = Directory::local("killed");
    let _crypto = Server::open().await;
    let client = reqwest::Client::new();
    let mut ws = String::new();
    for signal in ["-KILL", "-TERM"] {
        let data = text(directory.path());
        let command = scrip(&["serve", "--listen", "127.0.0.1:0", "--data", data]);
        let mut child = tokio::process::Command::from(command).kill_on_drop(true).spawn().expect("it runs");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let url = loop {
            let line = lines.next_line().await.expect("text").expect("it listens");
            if let Some(url) = line.strip_prefix("listening on ") {
                break url.to_owned();
            }
        };
        let post = async |path: String, body: serde_json::Value| {
            let request = client.post(format!("{url}{path}")).bearer_auth(OPERATOR);
            let answer = request.header("idempotency-key", "k").body(body.to_string()).send().await;
            let answer = answer.expect("an answer").text().await.expect("text");
            serde_json::from_str::<serde_json::Value>(&answer).expect("JSON")
        };
        if ws.is_empty() {
            let made = post("/v1/workspaces".to_owned(), json!({ "name": "One" })).await;
            ws = format!("/v1/workspaces/{}", made["id"].as_str().expect("an id"));
            let grant = json!({ "credits": 70, "kind": "promo", "reason": "x" });
            assert!(post(format!("{ws}/grants"), grant).await["id"].is_string());
        } else {
            let read = client.get(format!("{url}{ws}/balance")).bearer_auth(OPERATOR).send().await;
            let read = read.expect("an answer").text().await.expect("text");
            assert!(read.contains("\"available\":70"), "{read}");
        }
        let id = child.id().expect("it runs").to_string();
        assert!(Command::new("kill").args([signal, &id]).status().expect("kill runs").success());
        let ended = child.wait().await.expect("it ends");
        assert_eq!(ended.code(), if signal == "-TERM" { Some(0) } else { None });
    }
    let audit = scrip(&["audit", "--data", text(directory.path())]).output().expect("it runs");
    assert_eq!(audit.status.code(), Some(0));
}
