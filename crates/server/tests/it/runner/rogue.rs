//! Providers that misbehave on the wire: a bare TCP stand-in says what no decent server says. Whatever it does, a call ends in time, reads
//! little, and costs only what the rules say; and no piece stays stuck.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use scrip::config::HttpConfig;
use scrip::providers::{HttpProvider, Outcome};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::world::{DAY, Habits, World, text};

/// Enough for an answer from this machine, and short enough to wait for.
const PATIENCE: Duration = Duration::from_millis(700);

/// What the stand-in does with a request that it has read.
#[derive(Clone, Debug)]
enum Manner {
    /// Never answers.
    Silence,
    /// Begins with this, and then says nothing more.
    Begin(&'static str),
    /// Sends this, and closes the connection.
    Bytes(Vec<u8>),
    /// Sends a byte now and then, for ever.
    Drip,
    /// Sends so many bytes of an answer without end.
    Flood(u64),
}

struct Rogue {
    url: String,
    manner: Arc<Mutex<Manner>>,
    calls: Arc<Mutex<usize>>,
    /// How much it could get rid of.
    written: Arc<Mutex<u64>>,
}

impl Rogue {
    async fn start(manner: Manner) -> Rogue {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let manner = Arc::new(Mutex::new(manner));
        let (calls, written) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(0)));
        let rogue = Rogue { url, manner: manner.clone(), calls: calls.clone(), written: written.clone() };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *calls.lock().expect("a count") += 1;
                let (manner, written) = (manner.lock().expect("a manner").clone(), written.clone());
                tokio::spawn(async move { drop(behave(stream, manner, &written).await) });
            }
        });
        rogue
    }

    fn behave(&self, manner: Manner) {
        *self.manner.lock().expect("a manner") = manner;
    }

    fn calls(&self) -> usize {
        *self.calls.lock().expect("a count")
    }

    fn written(&self) -> u64 {
        *self.written.lock().expect("a count")
    }

    fn provider(&self, idempotent: bool) -> HttpProvider {
        let (url, token) = (self.url.clone(), None);
        let config = HttpConfig { url, token, idempotent, query: false, timeout: PATIENCE };
        HttpProvider::new("rogue", &config).expect("a client")
    }
}

/// Reads a request as far as it is said to go.
async fn read(stream: &mut TcpStream) -> std::io::Result<()> {
    let (mut got, mut buffer) = (Vec::new(), [0; 8_192]);
    loop {
        let count = stream.read(&mut buffer).await?;
        got.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&got).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        if count == 0 || body.len() >= length.and_then(|length| length.parse().ok()).unwrap_or(0) {
            return Ok(());
        }
    }
}

async fn behave(mut stream: TcpStream, manner: Manner, written: &Mutex<u64>) -> std::io::Result<()> {
    read(&mut stream).await?;
    match manner {
        Manner::Silence => std::future::pending().await,
        Manner::Begin(text) => {
            stream.write_all(text.as_bytes()).await?;
            std::future::pending().await
        }
        Manner::Bytes(bytes) => stream.write_all(&bytes).await,
        Manner::Drip => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n").await?;
            loop {
                stream.write_all(b" ").await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Manner::Flood(size) => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            let chunk = vec![b' '; 65_536];
            for _ in 0..size / 65_536 {
                stream.write_all(&chunk).await?;
                *written.lock().expect("a count") += 65_536;
            }
            Ok(())
        }
    }
}

/// A whole answer.
fn answer(status: &str, headers: &str, body: &str) -> Manner {
    let text = format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len());
    Manner::Bytes(text.into_bytes())
}

fn ok(body: &str) -> Manner {
    answer("200 OK", "", body)
}

const FOUND: &str = r#"{"found":true,"value":"Software"}"#;
const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 33\r\n\r\n";

/// Every manner that gives no usable answer: what a look-up makes of it where nothing can be repeated, and where it can; and how
/// often it is called then.
fn bad_manners() -> Vec<(Manner, &'static str, &'static str, usize)> {
    let (large, endless) = ("x".repeat(500_000), "x".repeat(5_000_000));
    vec![
        (Manner::Silence, "unknown", "unknown", 3),
        (Manner::Begin("HTTP/1.1 200 OK\r\ncontent-le"), "unknown", "unknown", 3),
        (
            Manner::Begin("HTTP/1.1 200 OK\r\ncontent-length: 33\r\n\r\n{\"found\":tr"),
            "unknown",
            "unknown",
            3,
        ),
        (Manner::Bytes(format!("{HEAD}{}", &FOUND[..20]).into_bytes()), "unknown", "unknown", 3),
        (Manner::Bytes(Vec::new()), "unknown", "unknown", 3),
        (Manner::Drip, "unknown", "unknown", 3),
        (Manner::Bytes(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03".to_vec()), "unknown", "unknown", 3),
        (
            Manner::Bytes(format!("HTTP/1.1 200 OK\r\nx: {endless}\r\n\r\n").into_bytes()),
            "unknown",
            "unknown",
            3,
        ),
        (Manner::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n".to_vec()), "unknown", "unknown", 3),
        (Manner::Flood(100 * 1024 * 1024), "unknown", "try later", 3),
        (ok("\u{0}\u{1}garbage"), "unknown", "try later", 3),
        (ok(r#"{"error":{"code":500,"message":"quota"}}"#), "unknown", "try later", 3),
        (ok(r#"{"found":-1,"value":"x"}"#), "unknown", "try later", 3),
        (ok(&"[".repeat(100_000)), "unknown", "try later", 3),
        (answer("200 OK", "idempotency-key: another:1\r\n", FOUND), "unknown", "try later", 3),
        (answer("429 Too Many Requests", "", ""), "try later", "try later", 3),
        (answer("429 Too Many Requests", "retry-after: 3600\r\n", ""), "try later", "try later", 1),
        // A moment, by a clock that is years behind.
        (
            answer(
                "429 Too Many Requests",
                "date: Sun, 06 Nov 1994 08:49:37 GMT\r\nretry-after: Sun, 06 Nov 1994 09:49:37 GMT\r\n",
                "",
            ),
            "try later",
            "try later",
            1,
        ),
        // One that has passed, and one that is none, ask for nothing.
        (
            answer("429 Too Many Requests", "retry-after: Sun, 06 Nov 1994 08:49:37 GMT\r\n", ""),
            "try later",
            "try later",
            3,
        ),
        (
            answer("429 Too Many Requests", "retry-after: Sun, 99 Nov 1994\r\n", ""),
            "try later",
            "try later",
            3,
        ),
        (
            answer("503 Service Unavailable", "retry-after: 99999999999999\r\n", "no"),
            "try later",
            "try later",
            3,
        ),
        (answer("500 Internal Server Error", "", &large), "try later", "try later", 3),
    ]
}

fn word<T>(outcome: &Outcome<T>) -> &'static str {
    match outcome {
        Outcome::Done(_) => "done",
        Outcome::ItemFailed { .. } => "item failed",
        Outcome::Unavailable { .. } => "unavailable",
        Outcome::TryLater { .. } => "try later",
        Outcome::Unknown { .. } => "unknown",
    }
}

#[tokio::test]
async fn a_call_ends_in_time_and_reads_little_whatever_is_said() {
    scrip::providers::install_crypto();
    let lead = json!({ "name": "Lead 0001" });
    for (manner, once, repeated, calls) in bad_manners() {
        for (idempotent, expected, calls) in [(false, once, 1), (true, repeated, calls)] {
            let rogue = Rogue::start(manner.clone()).await;
            let begun = Instant::now();
            let outcome = rogue.provider(idempotent).field("industry", &lead, "hold:1").await;
            let what: String = format!("{idempotent} {manner:?}").chars().take(120).collect();
            assert_eq!((word(&outcome), rogue.calls()), (expected, calls), "{what}: {outcome:?}");
            // Three attempts, the pauses between them, and what a busy machine takes.
            assert!(begun.elapsed() < 3 * PATIENCE + Duration::from_secs(5), "{what}: {:?}", begun.elapsed());
            // What it reads is 1 MiB; what was written besides is in the buffers of the kernel.
            assert!(rogue.written() < calls as u64 * 16 * 1024 * 1024, "{what}: {}", rogue.written());
            if let Outcome::Unknown { reason } | Outcome::TryLater { reason, .. } = outcome {
                assert!(reason.starts_with("rogue ") && reason.len() < 400, "{what}: {reason}");
            }
        }
    }
    let good = Rogue::start(ok(FOUND)).await;
    assert_eq!(word(&good.provider(false).field("industry", &lead, "hold:1").await), "done");
}

#[tokio::test]
async fn a_connection_that_never_comes_about_is_told_from_a_lost_answer() {
    scrip::providers::install_crypto();
    // A queue of one that nobody serves: once it is full, the kernel drops whoever knocks.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let listener = socket.listen(1).expect("a listener");
    let address = listener.local_addr().expect("an address");
    let mut full = Vec::new();
    for _ in 0..8 {
        match tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
            Ok(stream) => full.push(stream.expect("a connection")),
            Err(_) => break,
        }
    }
    assert!(full.len() < 8, "the queue is full");
    let config = HttpConfig {
        url: format!("http://{address}"),
        token: None,
        idempotent: false,
        query: false,
        timeout: PATIENCE,
    };
    let provider = HttpProvider::new("rogue", &config).expect("a client");
    let begun = Instant::now();
    let outcome = provider.field("industry", &json!({ "name": "Lead 0001" }), "hold:1").await;
    assert_eq!(word(&outcome), "try later", "{outcome:?}");
    assert!(begun.elapsed() < 3 * PATIENCE + Duration::from_secs(5), "{:?}", begun.elapsed());
}

async fn world(rogue: &Rogue, credits: i64, idempotent: bool) -> World {
    let habits =
        Habits { timeout: PATIENCE, idempotent, elsewhere: Some(rogue.url.clone()), ..Habits::default() };
    World::with(credits, json!({}), habits).await
}

/// A look-up of one field for a new lead; answers the job's path.
async fn look_up(world: &World, number: usize) -> String {
    let lead = json!({ "external_id": format!("x-{number}"), "name": format!("Lead {number:04}") });
    let leads = world.import(vec![lead]).await;
    let job = json!({ "leads": leads, "fields": ["industry"] });
    format!("/v1/enrichments/{}", text(&world.post(&world.here("enrichments"), job).await, "id"))
}

#[tokio::test]
async fn no_bad_manners_cost_credits_or_leave_a_piece_behind() {
    let rogue = Rogue::start(ok(FOUND)).await;
    let world = world(&rogue, 100, false).await;
    for (number, (manner, ..)) in bad_manners().into_iter().enumerate() {
        let what: String = format!("{manner:?}").chars().take(120).collect();
        rogue.behave(manner);
        let job = look_up(&world, number).await;
        world.advance(0).await;
        // Its doubt has a deadline, and its attempts have an end.
        world.advance(5 * DAY).await;
        let view = world.get(&job).await;
        assert_eq!(
            (&view["status"], &view["credits_used"]),
            (&json!("completed"), &json!(0)),
            "{what}: {view}"
        );
        world.comes_to(100, 0).await;
    }
    rogue.behave(ok(FOUND));
    let job = look_up(&world, 99).await;
    world.advance(0).await;
    assert_eq!(world.get(&job).await["credits_used"], 3, "who answers again is paid");
    world.comes_to(97, 0).await;
    world.end().await;
}

#[tokio::test]
async fn who_asks_to_be_left_alone_for_an_hour_is() {
    let rogue = Rogue::start(answer("429 Too Many Requests", "retry-after: 3600\r\n", "")).await;
    let world = world(&rogue, 100, true).await;
    let job = look_up(&world, 1).await;
    world.advance(0).await;
    assert_eq!(rogue.calls(), 1, "it is not asked again at once");
    rogue.behave(ok(FOUND));
    world.advance(3_599).await;
    assert_eq!(rogue.calls(), 1);
    world.comes_to(100, 0).await;
    world.advance(1).await;
    assert_eq!((rogue.calls(), &world.get(&job).await["status"]), (2, &json!("completed")));
    world.comes_to(97, 0).await;
    world.end().await;
}

#[tokio::test]
async fn a_moment_to_come_back_at_is_kept_up_to_a_day() {
    let dated = |until: &str| {
        let headers = format!("date: Sun, 06 Nov 1994 08:49:37 GMT\r\nretry-after: {until}\r\n");
        answer("429 Too Many Requests", &headers, "")
    };
    for (until, seconds) in [("Sun, 06 Nov 1994 10:49:37 GMT", 7_200), ("Fri, 31 Dec 9999 23:59:59 GMT", DAY)]
    {
        let rogue = Rogue::start(dated(until)).await;
        let world = world(&rogue, 100, true).await;
        let job = look_up(&world, 1).await;
        world.advance(0).await;
        rogue.behave(ok(FOUND));
        world.advance(seconds - 1).await;
        assert_eq!(rogue.calls(), 1, "{until}");
        world.advance(1).await;
        assert_eq!((rogue.calls(), &world.get(&job).await["status"]), (2, &json!("completed")), "{until}");
        world.end().await;
    }
}

#[tokio::test]
async fn absurd_results_are_cut_to_what_was_asked_for_and_junk_ends_a_search() {
    let many: Vec<Value> = (0..5_000).map(|n| json!({ "external_id": format!("lead-{n}") })).collect();
    let page =
        |results: Value, cursor: Value| json!({ "results": results, "next_cursor": cursor }).to_string();
    // What every page is, how many leads that delivers of 5, and how the search ends.
    let table = [
        (ok(&page(json!(many), json!("more"))), 5, "completed"),
        (ok(&page(json!([-1, null, "x", {}, { "title": "CTO" }]), json!("more"))), 0, "completed"),
        (ok(&page(json!([]), json!("more"))), 0, "completed"),
        (ok(&page(json!(-5), Value::Null)), 0, "failed"),
        (ok(&page(json!([]), json!("x".repeat(100_000)))), 0, "failed"),
        (Manner::Flood(100 * 1024 * 1024), 0, "failed"),
        (Manner::Silence, 0, "failed"),
    ];
    for (manner, delivered, status) in table {
        let rogue = Rogue::start(manner.clone()).await;
        let world = world(&rogue, 100, false).await;
        let search = json!({ "query": { "title": "anything" }, "limit": 5 });
        let job = text(&world.post(&world.here("searches"), search).await, "id");
        world.advance(0).await;
        world.advance(5 * DAY).await;
        let view = world.get(&format!("/v1/searches/{job}")).await;
        let what: String = format!("{manner:?}").chars().take(120).collect();
        assert_eq!(
            (&view["status"], &view["delivered"]),
            (&json!(status), &json!(delivered)),
            "{what}: {view}"
        );
        world.comes_to(100 - 4 * delivered, 0).await;
        world.end().await;
    }
}

#[tokio::test]
async fn a_success_after_the_time_out_is_found_by_its_key_and_paid_once() {
    let rogue = Rogue::start(Manner::Silence).await;
    let world = world(&rogue, 100, true).await;
    let job = look_up(&world, 1).await;
    let waiting = tokio::spawn(world.advancing(0));
    while rogue.calls() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The first attempt is not answered in time; under the same key the second is.
    rogue.behave(ok(FOUND));
    waiting.await.expect("it ends");
    assert_eq!((rogue.calls(), &world.get(&job).await["credits_used"]), (2, &json!(3)));
    world.comes_to(97, 0).await;
    world.end().await;
}
