//! The load of `charges`: many connections in one thread, each holding and settling one e-mail after another.

use crate::http::Connection;
use crate::rng::Rng;
use crate::server::Server;
use crate::stats::Measured;
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::LocalSet;

const CONNECTIONS: usize = 64;
const GRANT: i64 = 1_000_000_000;
/// Credits of one e-mail in the built-in catalog.
const PRICE: i64 = 2;

/// A workspace and what it must have left.
pub(crate) struct Purse {
    workspace: String,
    available: i64,
}

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

/// Charges at full speed for some seconds, over the given purses at random, and books what was charged.
pub(crate) async fn charge_all(server: &Server, purses: &mut [Purse], seconds: u64) -> Result<Measured> {
    let paths: Rc<[String]> =
        purses.iter().map(|it| format!("/v1/workspaces/{}/holds", it.workspace)).collect();
    let begun = Instant::now();
    let deadline = begun + Duration::from_secs(seconds);
    let tasks = LocalSet::new();
    let mut seeds = Rng::from_clock();
    let shares: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            tasks.spawn_local(charge_share(server.port, paths.clone(), deadline, Rng::new(seeds.next())))
        })
        .collect();
    let (mut latencies, mut elapsed) = (Vec::new(), Duration::ZERO);
    tasks
        .run_until(async {
            for share in shares {
                let share = share.await??;
                elapsed = begun.elapsed();
                latencies.extend(share.latencies_us);
                for index in share.charged {
                    purses[index as usize].available -= PRICE;
                }
            }
            anyhow::Ok(())
        })
        .await?;
    let per_second = latencies.len() as u128 * 1_000_000 / elapsed.as_micros().max(1);
    Ok(Measured::new(u64::try_from(per_second)?, latencies))
}

async fn charge_share(port: u16, paths: Rc<[String]>, deadline: Instant, mut rng: Rng) -> Result<Share> {
    let mut connection = Connection::open(port).await?;
    let mut share = Share { latencies_us: Vec::new(), charged: Vec::new() };
    let mut begun = Instant::now();
    while begun < deadline {
        let index = rng.index(paths.len());
        charge(&mut connection, &paths[index], &rng.key()).await?;
        let ended = Instant::now();
        share.latencies_us.push(u32::try_from((ended - begun).as_micros())?);
        share.charged.push(u32::try_from(index)?);
        begun = ended;
    }
    Ok(share)
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
            let paths: Rc<[String]> = Rc::from(["/v1/workspaces/ws_a/holds".to_owned()]);
            let deadline = Instant::now() + Duration::from_millis(200);
            let share = charge_share(port, paths, deadline, Rng::new(1)).await?;
            println!("{} charges in 200 ms", share.charged.len());
            assert!(share.charged.len() > 10);
            let paths: Rc<[String]> = Rc::from(["/v1/workspaces/ws_b/holds".to_owned()]);
            assert!(
                charge_share(port, paths, Instant::now() + Duration::from_secs(1), Rng::new(1))
                    .await
                    .is_err()
            );
            Ok(())
        })
    }
}
