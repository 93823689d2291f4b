//! A server that listens on a Unix socket besides its address.

use std::os::unix::net::UnixListener;
use std::process::{Child, Command};

use reqwest::Client;
use serde_json::{Value, json};

use crate::disk::refused;
use crate::http::OPERATOR;
use crate::temp::Directory;

/// `scrip serve` on a data directory, with a socket.
fn serve(directory: &Directory, socket: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_scrip"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--socket", socket, "--data"]);
    command.arg(directory.path()).env("SCRIP_OPERATOR_KEY", OPERATOR);
    command
}

/// A directory for sockets.
fn aside() -> Directory {
    let aside = Directory::local("sockets");
    std::fs::create_dir_all(aside.path()).expect("a directory");
    aside
}

async fn ready(client: &Client) {
    for _ in 0..500 {
        if client.get("http://here/readyz").send().await.is_ok_and(|answer| answer.status() == 200) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("not ready after 10 s");
}

async fn ask(client: &Client, path: &str, body: Value) -> Value {
    let answer = client.post(format!("http://here{path}")).bearer_auth(OPERATOR);
    let answer =
        answer.header("idempotency-key", path).body(body.to_string()).send().await.expect("an answer");
    assert!(answer.status().is_success(), "{path}: {}", answer.status());
    serde_json::from_str(&answer.text().await.expect("text")).expect("JSON")
}

/// Killed, or told to stop; answers how it ended.
fn end(mut server: Child, signal: &str) -> Option<i32> {
    let told = Command::new("kill").args([signal, &server.id().to_string()]).status().expect("kill runs");
    assert!(told.success());
    server.wait().expect("it ends").code()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_serves_what_the_address_serves() {
    scrip::providers::install_crypto();
    let (directory, aside) = (Directory::local("socket"), aside());
    let socket = aside.path().join("scrip.sock");
    let name = socket.to_str().expect("a name");
    let client = || Client::builder().unix_socket(name).build().expect("a client");
    let server = serve(&directory, name).spawn().expect("it starts");
    ready(&client()).await;
    let workspace = ask(&client(), "/v1/workspaces", json!({"name": "Workspace 0001"})).await;
    let workspace = format!("/v1/workspaces/{}", workspace["id"].as_str().expect("an id"));
    let grant = json!({"credits": 10, "kind": "bonus", "reason": "test"});
    ask(&client(), &format!("{workspace}/grants"), grant).await;
    let charge = json!({"operation": "email_send", "quantity": 1});
    let charged = ask(&client(), &format!("{workspace}/charges"), charge.clone()).await;
    // A server that listens there is not pushed away.
    let other = serve(&Directory::local("other"), name).output().expect("it runs");
    refused(&other, &["cannot listen on", name]);
    // One that was killed leaves its socket behind, and the next takes its place.
    end(server, "-KILL");
    assert!(socket.exists());
    let server = serve(&directory, name).spawn().expect("it starts");
    ready(&client()).await;
    let again = ask(&client(), &format!("{workspace}/charges"), charge).await;
    assert_eq!(again["id"], charged["id"], "the same key is the same charge");
    assert_eq!(end(server, "-TERM"), Some(0));
    assert!(!socket.exists(), "it is taken away at the end");
}

#[test]
fn what_is_no_socket_left_behind_is_not_touched() {
    let aside = aside();
    let (file, lost) = (aside.path().join("file"), aside.path().join("none/scrip.sock"));
    std::fs::write(&file, "kept").expect("a file");
    for path in [&file, &lost] {
        let name = path.to_str().expect("a name");
        let output = serve(&Directory::local("socket"), name).output().expect("it runs");
        refused(&output, &["cannot listen on", name]);
    }
    assert_eq!(std::fs::read(&file).expect("it is there"), b"kept");
    let alive = aside.path().join("alive.sock");
    let _listener = UnixListener::bind(&alive).expect("a socket");
    let name = alive.to_str().expect("a name");
    let output = serve(&Directory::local("socket"), name).output().expect("it runs");
    refused(&output, &["cannot listen on", name]);
    assert!(alive.exists());
}
