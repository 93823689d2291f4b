//! The load of `charges`: many connections in one thread, each holding and settling one e-mail after another.

use crate::http::Connection;
use crate::rng::Rng;
use crate::server::Server;
use crate::stats::Measured;
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::LocalSet;

const CONNECTIONS: usize = 64;
/// How many connections send batches.
const BATCH_CONNECTIONS: usize = 4;
/// How many commands are in one batch.
const COMMANDS: u64 = 1_000;
const GRANT: i64 = 1_000_000_000;
/// Credits of one e-mail in the built-in catalog.
pub(crate) const PRICE: i64 = 2;

/// A workspace and what it must have left.
pub(crate) struct Purse {
    pub(crate) workspace: String,
    pub(crate) available: i64,
}

/// Which workspace the next charge is of: the running sums of their weights.
pub(crate) struct Draw {
    sums: Vec<u64>,
}

impl Draw {
    /// Each as often as the others.
    pub(crate) fn uniform(workspaces: usize) -> Draw {
        Draw { sums: (1..=workspaces as u64).collect() }
    }

    /// The n-th one n^1.07 times less often than the first.
    #[allow(clippy::float_arithmetic, reason = "weights, not figures")]
    pub(crate) fn zipfian(workspaces: usize) -> Draw {
        let weight = |rank: usize| (1e12 / (rank as f64).powf(1.07)) as u64;
        let mut sum = 0;
        let add = |rank| {
            sum += weight(rank);
            sum
        };
        Draw { sums: (1..=workspaces).map(add).collect() }
    }

    /// The first as often as a ninth of all others together.
    pub(crate) fn one_hot(workspaces: usize) -> Draw {
        let first = (workspaces as u64 / 9).max(1);
        Draw { sums: (0..workspaces as u64).map(|others| first + others).collect() }
    }

    fn next(&self, rng: &mut Rng) -> usize {
        rng.weighted(&self.sums)
    }
}

/// When the load ends: at a time, or once so many charges were begun.
pub(crate) struct Until {
    deadline: Instant,
    left: Cell<u64>,
}

impl Until {
    pub(crate) fn after(time: Duration) -> Until {
        Until { deadline: Instant::now() + time, left: Cell::new(u64::MAX) }
    }

    pub(crate) fn charges(count: u64) -> Until {
        Until { deadline: Instant::now() + Duration::from_secs(3_600), left: Cell::new(count) }
    }

    /// How many of `most` charges to make next.
    fn next(&self, most: u64) -> usize {
        let next = if Instant::now() < self.deadline { most.min(self.left.get()) } else { 0 };
        self.left.set(self.left.get() - next);
        usize::try_from(next).unwrap_or(0)
    }
}

#[derive(Default)]
struct Share {
    latencies_us: Vec<u32>,
    /// The index of each charge's workspace.
    charged: Vec<u32>,
}

/// Creates the workspaces, each with its grant, over all connections at once.
pub(crate) async fn create_purses(server: &Server, count: usize) -> Result<Vec<Purse>> {
    let port = server.port;
    let tasks = LocalSet::new();
    let shares: Vec<_> = (0..CONNECTIONS)
        .map(|lane| tasks.spawn_local(create_share(port, (lane..count).step_by(CONNECTIONS))))
        .collect();
    let mut purses = Vec::with_capacity(count);
    tasks
        .run_until(async {
            for share in shares {
                purses.append(&mut share.await??);
            }
            Ok(purses)
        })
        .await
}

async fn create_share(port: u16, numbers: impl Iterator<Item = usize>) -> Result<Vec<Purse>> {
    let mut connection = Connection::open(port).await?;
    let mut purses = Vec::new();
    for number in numbers {
        purses.push(create_purse(&mut connection, number).await?);
    }
    Ok(purses)
}

async fn create_purse(connection: &mut Connection, number: usize) -> Result<Purse> {
    let body = json!({"name": format!("Bench workspace {number}")});
    let created = connection.call("POST", "/v1/workspaces", None, &body).await?.expect(201)?;
    let workspace = created["id"].as_str().context("a workspace without an id")?.to_owned();
    let body = json!({"credits": GRANT, "kind": "bonus", "reason": "bench"});
    let path = format!("/v1/workspaces/{workspace}/grants");
    let answer = connection.call("POST", &path, Some(&format!("grant-{number}")), &body).await?;
    let available = answer.available.context("an answer without Credits-Available")?;
    answer.expect(201)?;
    if available < GRANT {
        bail!("{workspace} has {available} credits after a grant of {GRANT}");
    }
    Ok(Purse { workspace, available })
}

/// How charges are sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// One step a request, 64 connections.
    Single,
    /// 1,000 holds a request, then their settles, 4 connections.
    Batch,
    /// Two requests that store nothing in a charge's place: what HTTP and this load leave to anybody.
    Nothing,
}

/// Over what requests come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    Tcp,
    Socket,
}

/// Charges at full speed over the given purses, and books what was charged. The latency is of a charge
/// sent alone, and of the two requests of a batch.
pub(crate) async fn charge_all(
    servers: &[Server],
    purses: &mut [Purse],
    draw: Draw,
    (way, over): (Way, Over),
    until: Until,
) -> Result<Measured> {
    let workspaces: Rc<[String]> = purses.iter().map(|it| it.workspace.clone()).collect();
    let (draw, until) = (Rc::new(draw), Rc::new(until));
    let tasks = LocalSet::new();
    let mut seeds = Rng::from_clock();
    let count = if way == Way::Batch { BATCH_CONNECTIONS } else { CONNECTIONS };
    let mut connections = Vec::with_capacity(count);
    for server in servers.iter().cycle().take(count) {
        connections.push(match over {
            Over::Tcp => server.connect().await?,
            Over::Socket => server.connect_socket().await?,
        });
    }
    let begun = Instant::now();
    let shares: Vec<_> = connections
        .into_iter()
        .map(|connection| {
            let (workspaces, draw, until) = (workspaces.clone(), draw.clone(), until.clone());
            let rng = Rng::new(seeds.next());
            tasks.spawn_local(async move {
                match way {
                    Way::Single => charge_share(connection, workspaces, draw, until, rng).await,
                    Way::Batch => batch_share(connection, workspaces, draw, until, rng).await,
                    Way::Nothing => nothing_share(connection, until).await,
                }
            })
        })
        .collect();
    let mut charges = 0;
    let (mut latencies, mut elapsed) = (Vec::new(), Duration::ZERO);
    tasks
        .run_until(async {
            for share in shares {
                let share = share.await??;
                elapsed = begun.elapsed();
                latencies.extend(share.latencies_us);
                charges += share.charged.len() as u128;
                for index in share.charged.into_iter().filter(|_| way != Way::Nothing) {
                    purses[index as usize].available -= PRICE;
                }
            }
            anyhow::Ok(())
        })
        .await?;
    let per_second = charges * 1_000_000 / elapsed.as_micros().max(1);
    Ok(Measured::new(u64::try_from(per_second)?, latencies))
}

async fn charge_share(
    mut connection: Connection,
    workspaces: Rc<[String]>,
    draw: Rc<Draw>,
    until: Rc<Until>,
    mut rng: Rng,
) -> Result<Share> {
    let mut share = Share::default();
    let mut begun = Instant::now();
    while until.next(1) > 0 {
        let index = draw.next(&mut rng);
        let path = format!("/v1/workspaces/{}/holds", workspaces[index]);
        charge(&mut connection, &path, &rng.key()).await?;
        let ended = Instant::now();
        share.latencies_us.push(u32::try_from((ended - begun).as_micros())?);
        share.charged.push(u32::try_from(index)?);
        begun = ended;
    }
    Ok(share)
}

async fn nothing_share(mut connection: Connection, until: Rc<Until>) -> Result<Share> {
    let mut share = Share::default();
    let mut begun = Instant::now();
    while until.next(1) > 0 {
        for _ in 0..2 {
            let answer = connection.send("GET", "/healthz", None, "").await?;
            if answer.status != 200 {
                bail!("/healthz answered {} {}", answer.status, answer.body);
            }
        }
        let ended = Instant::now();
        share.latencies_us.push(u32::try_from((ended - begun).as_micros())?);
        share.charged.push(0);
        begun = ended;
    }
    Ok(share)
}

async fn batch_share(
    mut connection: Connection,
    workspaces: Rc<[String]>,
    draw: Rc<Draw>,
    until: Rc<Until>,
    mut rng: Rng,
) -> Result<Share> {
    let mut share = Share::default();
    let mut begun = Instant::now();
    loop {
        let count = until.next(COMMANDS);
        if count == 0 {
            return Ok(share);
        }
        let charges: Vec<(usize, String)> = (0..count).map(|_| (draw.next(&mut rng), rng.key())).collect();
        let commands = |rest: &dyn Fn(&str) -> String| {
            let one = |(index, key): &(usize, String)| {
                format!(r#"{{"workspace":"{}",{}}}"#, workspaces[*index], rest(key))
            };
            format!(r#"{{"commands":[{}]}}"#, charges.iter().map(one).collect::<Vec<_>>().join(","))
        };
        let hold = |key: &str| format!(r#""do":"hold","key":"{key}","operation":"email_send","quantity":1"#);
        let settle = |key: &str| format!(r#""do":"settle","hold_key":"{key}","quantity":1"#);
        batch(&mut connection, &commands(&hold), (count, r#"{"status":201"#)).await?;
        batch(&mut connection, &commands(&settle), (count, r#"{"status":200"#)).await?;
        let ended = Instant::now();
        share.latencies_us.push(u32::try_from((ended - begun).as_micros())?);
        for (index, _) in charges {
            share.charged.push(u32::try_from(index)?);
        }
        begun = ended;
    }
}

/// One batch, each of whose results must begin as promised.
async fn batch(connection: &mut Connection, body: &str, (count, promised): (usize, &str)) -> Result<()> {
    let answer = connection.send("POST", "/v1/batch", None, body).await?;
    if answer.status != 200 || answer.body.matches(promised).count() != count {
        bail!("a batch answered {} {:.300}", answer.status, answer.body);
    }
    Ok(())
}

/// One charge: a hold and its settle, both statuses checked.
async fn charge(connection: &mut Connection, path: &str, key: &str) -> Result<()> {
    let held = connection.send("POST", path, Some(key), r#"{"operation":"email_send","quantity":1}"#).await?;
    let settle = match (held.status, held.id()) {
        (201, Some(id)) => format!("/v1/holds/{id}/settle"),
        _ => bail!("a hold answered {} {}", held.status, held.body),
    };
    let settled = connection.send("POST", &settle, None, r#"{"quantity":1}"#).await?;
    if settled.status != 200 {
        bail!("a settle answered {} {}", settled.status, settled.body);
    }
    Ok(())
}

/// Compares every purse with the server: to the credit, with nothing left on hold.
pub(crate) async fn check_purses(server: &Server, purses: &[Purse]) -> Result<()> {
    let mut connection = server.connect().await?;
    for purse in purses {
        let balance = connection.get(&format!("/v1/workspaces/{}/balance", purse.workspace)).await?;
        if balance["available"] != purse.available || balance["held"] != 0 {
            bail!(
                "{} should have {} credits available, none held: {balance}",
                purse.workspace,
                purse.available
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::{Request, serve_http};

    #[test]
    fn the_client_charges_against_a_mock() -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, async {
            let port = serve_http(|request: &Request| {
                let body = r#"{"unit":"x","id":"hold_7","status":"open"}"#;
                if request.path == "/v1/workspaces/ws_a/holds" && request.key.is_some() {
                    (201, body.to_owned())
                } else if request.path == "/v1/holds/hold_7/settle" && request.key.is_none() {
                    (200, body.to_owned())
                } else {
                    (404, "{}".to_owned())
                }
            })
            .await?;
            let (known, draw) = (Rc::from(["ws_a".to_owned()]), Rc::new(Draw::uniform(1)));
            let until = Rc::new(Until::after(Duration::from_millis(200)));
            let share =
                charge_share(Connection::open(port).await?, known, draw.clone(), until, Rng::new(1)).await?;
            println!("{} charges in 200 ms", share.charged.len());
            assert!(share.charged.len() > 10);
            let unknown = Rc::from(["ws_b".to_owned()]);
            let until = Rc::new(Until::charges(1));
            assert!(
                charge_share(Connection::open(port).await?, unknown, draw, until, Rng::new(1)).await.is_err()
            );
            Ok(())
        })
    }
}
