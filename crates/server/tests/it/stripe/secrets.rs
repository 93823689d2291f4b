//! `scrip serve` with Stripe: keys that must not start a server do not, and no key is ever printed, however much is logged.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fake_stripe::FakeStripe;
use reqwest::Client;
use serde_json::{Value, json};

use crate::temp::Directory;

const CANARY: &str = "whsec_canary_4f1d";

/// `scrip serve` on a directory, with this key; everything is logged.
fn serve(directory: &Directory, fake: &FakeStripe, key: &str, clock: &str) -> Child {
    let file = directory.path().join("scrip.toml");
    std::fs::create_dir_all(directory.path()).expect("a directory");
    let api_url =
        if key.contains("_live_") { String::new() } else { format!("api_url = \"{}\"\n", fake.url) };
    let text = format!(
        "[payments]\nkind = \"stripe\"\nsecret_key = \"env:KEY\"\nwebhook_secrets = [\"env:EVENTS\"]\n{api_url}timeout_seconds = 5\n"
    );
    std::fs::write(&file, text).expect("written");
    let mut command = Command::new("timeout");
    command.args(["60", env!("CARGO_BIN_EXE_scrip"), "serve", "--listen", "127.0.0.1:0", "--clock", clock]);
    command.arg("--data").arg(directory.path().join("data")).arg("--config").arg(file);
    command
        .env("KEY", key)
        .env("EVENTS", CANARY)
        .env("RUST_LOG", "trace")
        .env("SCRIP_OPERATOR_KEY", "operator");
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs")
}

/// What is printed until it ends, and how it ended.
fn ended(mut child: Child) -> (String, Option<i32>) {
    let mut said = String::new();
    child.stdout.take().expect("piped").read_to_string(&mut said).expect("text");
    child.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
    (said, child.wait().expect("it ends").code())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_must_not_start_a_server_do_not() {
    let fake = FakeStripe::start().await.expect("a free port");
    let directory = Directory::local("keys");
    let (said, code) = ended(serve(&directory, &fake, "sk_live_canary", "manual"));
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("live key") && said.contains("--clock manual") && !said.contains("canary"),
        "{said}"
    );
    assert!(!directory.path().join("data").exists(), "nothing was made");
    // A database belongs to the account that it was first used with.
    let mut first = serve(&directory, &fake, fake_stripe::SECRET_KEY, "manual");
    for _ in 0..400 {
        if fake.stripe().count("GET /v1/account") > 0 && directory.path().join("data").exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let pid = first.id().to_string();
    assert!(Command::new("kill").arg(&pid).status().expect("it runs").success());
    first.wait().expect("it ends");
    fake.stripe().account = "acct_other".to_owned();
    let (said, code) = ended(serve(&directory, &fake, fake_stripe::SECRET_KEY, "manual"));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("acct_other test") && said.contains("acct_fake test"), "{said}");
    assert!(!said.contains(CANARY) && !said.contains(fake_stripe::SECRET_KEY));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_ever_printed() {
    let fake = FakeStripe::start().await.expect("a free port");
    let directory = Directory::local("canary");
    let mut child = serve(&directory, &fake, fake_stripe::SECRET_KEY, "system");
    let mut stderr = child.stderr.take().expect("piped");
    let (lines, heard) = std::sync::mpsc::channel::<String>();
    let reading = std::thread::spawn(move || {
        let (mut said, mut chunk) = (String::new(), [0; 65_536]);
        let mut told = false;
        while let Ok(read @ 1..) = stderr.read(&mut chunk) {
            said.push_str(&String::from_utf8_lossy(&chunk[..read]));
            if !told
                && let Some(at) = said.find("listening on http://")
                && said[at..].contains('\n')
            {
                let url = said[at..].trim_start_matches("listening on ").lines().next().unwrap_or_default();
                told = lines.send(url.to_owned()).is_ok();
            }
        }
        said
    });
    let url = heard.recv_timeout(Duration::from_secs(30)).expect("it listens");
    let client = Client::new();
    let post = async |path: &str, body: Value, header: (&str, &str)| {
        let request = client.post(format!("{url}{path}")).bearer_auth("operator").header(header.0, header.1);
        let answer = request.json(&body).send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    };
    let mut answers = Vec::new();
    let (status, made) = post("/v1/workspaces", json!({ "name": "One" }), ("x-none", "x")).await;
    assert_eq!(status, 201, "{made}");
    let ws: Value = serde_json::from_str(&made).expect("JSON");
    let topups = format!("/v1/workspaces/{}/topups", ws["id"].as_str().expect("an id"));
    answers.push(post(&topups, json!({ "pack": "pack_1000" }), ("idempotency-key", "one")).await);
    // Stripe does not know the key any more, and says so.
    fake.stripe().fail("POST /v1/checkout", fake_stripe::Fault::Status(401), 1);
    answers.push(post(&topups, json!({ "pack": "pack_1000" }), ("idempotency-key", "two")).await);
    answers.push(
        post("/v1/payments/stripe/events", json!({ "id": "evt_1" }), ("stripe-signature", "t=1,v1=00")).await,
    );
    let pid = child.id().to_string();
    assert!(Command::new("kill").arg(&pid).status().expect("it runs").success());
    child.wait().expect("it ends");
    let said = reading.join().expect("it was read");
    let statuses: Vec<u16> = answers.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, [201, 503, 400]);
    assert!(said.contains("Stripe does not serve us with this key"), "what happened is told: {said}");
    for text in answers.iter().map(|(_, text)| text).chain([&said]) {
        assert!(!text.contains(fake_stripe::SECRET_KEY) && !text.contains(CANARY), "{text}");
    }
}
