//! `live`: thousands of open streams on one server while charges run: memory, and how late the news is.
//!
//! Each charge is measured on every stream of its workspace, from the moment it is asked for until the stream shows what it left;
//! so a delay includes the charge. A stream that does not show the last charge in the end is an error.

use crate::http::{Connection, OPERATOR_KEY};
use crate::load::{PRICE, Purse, create_purses};
use crate::options::Options;
use crate::results::{machine, publish};
use crate::rng::Rng;
use crate::server::{Server, Site, memory_used};
use crate::stats::{Measured, milliseconds, thousands};
use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, LocalSet};

/// How many charges are asked for in a second.
const RATE: u64 = 500;
const LANES: usize = 10;
/// How many streams are opened at once.
const OPENING: usize = 100;
/// How long the last news may take before a stream counts as dead.
const LIMIT: Duration = Duration::from_secs(30);

/// What is listened to.
#[derive(Clone, Copy)]
enum Kind {
    /// `GET /v1/workspaces/{ws}/events`
    Balance,
    /// `GET /live`: what an open page of the dashboard listens to.
    Page,
}

impl Kind {
    /// What stands before the number of credits.
    fn mark(self) -> &'static [u8] {
        match self {
            Kind::Balance => b"{\"available\":",
            Kind::Page => b"data-available=\"",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Kind::Balance => "balance of the API",
            Kind::Page => "page of the dashboard",
        }
    }
}

/// What every stream must come to show, and how late they were.
#[derive(Default)]
struct Board {
    /// The credits that each charge leaves, and when it was asked for, by workspace.
    charges: Vec<Vec<(i64, Instant)>>,
    /// How many charges each stream has shown.
    shown: Vec<usize>,
    delays_us: Vec<u32>,
}

pub(crate) async fn run(options: &Options, scratch: &Path) -> Result<()> {
    let mut text = facts(options);
    for kind in [Kind::Balance, Kind::Page] {
        let mut site = Site::new(options.scrip()?, scratch);
        site.data = scratch.join(kind.label().replace(' ', "-"));
        let server = site.start().await?;
        text.push_str(&measure(options, &server, kind).await?);
        server.stop().await?;
        site.audit()?;
    }
    publish(options.results.as_deref(), "live", &text)
}

async fn measure(options: &Options, server: &Server, kind: Kind) -> Result<String> {
    let purses = create_purses(server, options.workspaces).await?;
    let board = Rc::new(RefCell::new(Board::default()));
    board.borrow_mut().charges = vec![Vec::new(); purses.len()];
    let before = memory_used(server.id())?;
    let requests = requests(server, &purses, kind).await?;
    let tasks = LocalSet::new();
    let outcome = tasks.run_until(async {
        let begun = Instant::now();
        let streams = open(options.streams, server.port, &requests, kind, &board).await?;
        let opened = begun.elapsed();
        let open = memory_used(server.id())?;
        println!("{} streams open after {} ms", thousands(streams.len() as u64), opened.as_millis());
        let begun = Instant::now();
        let charges = charge(server.port, purses, &board, Duration::from_secs(options.seconds)).await?;
        let spent = begun.elapsed();
        wait(&board, &streams, &requests).await?;
        streams.iter().for_each(JoinHandle::abort);
        anyhow::Ok((opened, open, charges, spent, memory_used(server.id())?))
    });
    let (opened, open, charges, spent, end) = outcome.await?;
    let mut delays = std::mem::take(&mut board.borrow_mut().delays_us);
    delays.sort_unstable();
    let (count, slowest) = (delays.len() as u64, delays.last().copied().unwrap_or(0));
    let Measured { p50_us, p99_us, .. } = Measured::new(0, delays);
    let each = (open.saturating_sub(before)) * 1_024 / options.streams as u64;
    Ok(format!(
        "| {} | {} | {} MB | {} MB ({} bytes a stream) | {} MB | {} | {} | {} | {} | {} |\n",
        kind.label(),
        opened.as_millis(),
        before / 1_024,
        open / 1_024,
        thousands(each),
        end / 1_024,
        thousands(u64::try_from(u128::from(charges) * 1_000 / spent.as_millis().max(1))?),
        thousands(count),
        milliseconds(p50_us),
        milliseconds(p99_us),
        milliseconds(u64::from(slowest)),
    ))
}

/// What opens a stream of each workspace.
async fn requests(server: &Server, purses: &[Purse], kind: Kind) -> Result<Rc<[String]>> {
    let mut connection = server.connect().await?;
    let mut requests = Vec::with_capacity(purses.len());
    for Purse { workspace, .. } in purses {
        let (path, who) = match kind {
            Kind::Balance => {
                let path = format!("/v1/workspaces/{workspace}/events");
                (path, format!("Authorization: Bearer {OPERATOR_KEY}"))
            }
            Kind::Page => {
                ("/live".to_owned(), format!("Cookie: {}", sign_in(&mut connection, workspace).await?))
            }
        };
        requests.push(format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{who}\r\n\r\n"));
    }
    Ok(requests.into())
}

/// The cookie of a session in a workspace.
pub(crate) async fn sign_in(connection: &mut Connection, workspace: &str) -> Result<String> {
    let path = format!("/v1/workspaces/{workspace}/portal_sessions");
    let link = connection.call("POST", &path, None, &json!({"role": "admin"})).await?.expect(201)?;
    let link = link["url"].as_str().context("a portal session without a link")?;
    let at = link.find("/portal").context("a link that does not lead to the portal")?;
    let answer = connection.send("GET", &link[at..], None, "").await?;
    let cookie = answer.header("set-cookie").context("a portal link that signs nobody in")?;
    Ok(cookie.split(';').next().unwrap_or(cookie).to_owned())
}

/// Opens the streams, evenly over the workspaces, and waits until each has shown a first state.
async fn open(
    count: usize,
    port: u16,
    requests: &Rc<[String]>,
    kind: Kind,
    board: &Rc<RefCell<Board>>,
) -> Result<Vec<JoinHandle<Result<()>>>> {
    let mut streams = Vec::with_capacity(count);
    for first in (0..count).step_by(OPENING) {
        let mut opening = Vec::with_capacity(OPENING);
        for number in first..count.min(first + OPENING) {
            board.borrow_mut().shown.push(0);
            let (requests, board) = (requests.clone(), board.clone());
            let (opened, is_open) = tokio::sync::oneshot::channel();
            let listening = listen(port, number, requests, kind, board, opened);
            streams.push(tokio::task::spawn_local(listening));
            opening.push(is_open);
        }
        for is_open in opening {
            is_open.await.context("a stream could not be opened")?;
        }
    }
    Ok(streams)
}

async fn listen(
    port: u16,
    number: usize,
    requests: Rc<[String]>,
    kind: Kind,
    board: Rc<RefCell<Board>>,
    opened: tokio::sync::oneshot::Sender<()>,
) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let workspace = number % requests.len();
    stream.write_all(requests[workspace].as_bytes()).await?;
    let (mut input, mut opened) = (Vec::with_capacity(4_096), Some(opened));
    loop {
        if stream.read_buf(&mut input).await? == 0 {
            bail!("a stream ended: {}", String::from_utf8_lossy(&input));
        }
        let now = Instant::now();
        let end = input.windows(4).rposition(|it| &it[1..3] == b"\n\n");
        let Some(end) = end.filter(|end| find(&input[..*end], kind.mark()).is_some()) else { continue };
        let available = last_number(&input[..end], kind.mark()).context("an event without credits")?;
        input.drain(..end + 3);
        if let Some(opened) = opened.take() {
            let _ = opened.send(());
        }
        let mut board = board.borrow_mut();
        let shown = board.shown[number];
        let news = board.charges[workspace][shown..].iter().take_while(|(left, _)| *left >= available);
        let late: Vec<u32> =
            news.map(|(_, asked)| (now - *asked).as_micros().try_into().unwrap_or(u32::MAX)).collect();
        board.shown[number] += late.len();
        board.delays_us.extend(late);
    }
}

fn find(text: &[u8], mark: &[u8]) -> Option<usize> {
    text.windows(mark.len()).rposition(|it| it == mark)
}

/// The number behind the last mark.
fn last_number(text: &[u8], mark: &[u8]) -> Option<i64> {
    let digits = &text[find(text, mark)? + mark.len()..];
    let end = digits.iter().position(|digit| !digit.is_ascii_digit()).unwrap_or(digits.len());
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

/// Charges at an even rate, each lane in workspaces of its own. Answers how many charges there were.
async fn charge(port: u16, purses: Vec<Purse>, board: &Rc<RefCell<Board>>, time: Duration) -> Result<u64> {
    let mut lanes: Vec<Vec<(usize, Purse)>> = (0..LANES).map(|_| Vec::new()).collect();
    for (index, purse) in purses.into_iter().enumerate() {
        lanes[index % LANES].push((index, purse));
    }
    lanes.retain(|lane| !lane.is_empty());
    let apart = Duration::from_micros(1_000_000 * lanes.len() as u64 / RATE);
    let mut seeds = Rng::from_clock();
    let lanes: Vec<_> = lanes
        .into_iter()
        .map(|lane| {
            let (board, rng) = (board.clone(), Rng::new(seeds.next()));
            tokio::task::spawn_local(charge_lane(port, lane, board, rng, (apart, Instant::now() + time)))
        })
        .collect();
    let mut charges = 0;
    for lane in lanes {
        charges += lane.await??;
    }
    Ok(charges)
}

async fn charge_lane(
    port: u16,
    mut purses: Vec<(usize, Purse)>,
    board: Rc<RefCell<Board>>,
    mut rng: Rng,
    (apart, until): (Duration, Instant),
) -> Result<u64> {
    let mut connection = Connection::open(port).await?;
    let mut beat = tokio::time::interval(apart);
    let mut charges = 0;
    while Instant::now() < until {
        beat.tick().await;
        let drawn = rng.index(purses.len());
        let (index, purse) = &mut purses[drawn];
        purse.available -= PRICE;
        board.borrow_mut().charges[*index].push((purse.available, Instant::now()));
        let path = format!("/v1/workspaces/{}/charges", purse.workspace);
        let body = r#"{"operation":"email_send","quantity":1}"#;
        let answer = connection.send("POST", &path, Some(&rng.key()), body).await?;
        ensure!(answer.status == 201, "a charge answered {} {}", answer.status, answer.body);
        charges += 1;
    }
    Ok(charges)
}

/// Waits until every stream has shown every charge.
async fn wait(
    board: &Rc<RefCell<Board>>,
    streams: &[JoinHandle<Result<()>>],
    requests: &Rc<[String]>,
) -> Result<()> {
    let begun = Instant::now();
    loop {
        let behind = {
            let board = board.borrow();
            let behind =
                |(number, shown): (usize, &usize)| *shown < board.charges[number % requests.len()].len();
            board.shown.iter().enumerate().filter(|it| behind(*it)).count()
        };
        let ended = streams.iter().filter(|stream| stream.is_finished()).count();
        ensure!(ended == 0, "{ended} streams ended");
        if behind == 0 {
            return Ok(());
        }
        ensure!(begun.elapsed() < LIMIT, "{behind} streams did not show the last charge");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn facts(options: &Options) -> String {
    format!(
        "`cargo run --release -p bench -- live --streams {} --workspaces {} --seconds {}`\n\n\
         {}. The streams are spread evenly over the workspaces; single charges, {RATE} a second, of a workspace at random. A delay is \
         from the moment a charge is asked for until a stream of its workspace shows what it left; the server draws at most \
         ten times a second. Every stream showed every charge, and the audit was clean. The bench reads all streams on the same \
         machine.\n\n\
         | stream | ms to open all | memory without | with | in the end | charges/s | delays | p50 ms | p99 ms | slowest ms |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
        options.streams,
        options.workspaces,
        options.seconds,
        machine(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_state_counts() {
        let text = b"data: {\"available\":12,\"grants\":[{\"available\":3}]}\n\ndata: {\"available\":7}\n\n";
        assert_eq!(last_number(text, Kind::Balance.mark()), Some(7));
        assert_eq!(last_number(b"<a data-available=\"1204\">", Kind::Page.mark()), Some(1_204));
        assert_eq!(last_number(b"no number", Kind::Page.mark()), None);
    }
}
