//! `kill`: the server ended with SIGKILL at random instants under load, again and again on the same data.
//!
//! The client's memory is the judge. Lost is an acknowledged request that does not answer the same afterwards, or credits
//! that came back; doubled are credits charged or held beyond what the requests, each counted once, add up to.

use crate::lane::{Lane, Tally, World};
use crate::options::Options;
use crate::results::{machine, publish};
use crate::rng::Rng;
use crate::server::{Server, Site, prices};
use crate::stats::thousands;
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::{JoinHandle, LocalSet, spawn_local};

const WORKSPACES: usize = 20;
const LANES: usize = 6;
const GRANT: i64 = 1_000_000_000;
/// After so many cycles the data is audited and a new directory begun.
const CYCLES_OF_A_DIRECTORY: u64 = 2_000;

pub(crate) async fn run(options: &Options, scratch: &Path) -> Result<()> {
    let Options { cycles, seed, .. } = *options;
    println!("seed {seed}");
    let begun = Instant::now();
    let (mut rng, mut early, mut tally) = (Rng::new(seed), 0, Tally::default());
    for done in (0..cycles).step_by(CYCLES_OF_A_DIRECTORY as usize) {
        let directory = scratch.join(format!("after-{done}"));
        let site = Site::new(options.scrip()?, &directory);
        let some = CYCLES_OF_A_DIRECTORY.min(cycles - done);
        let ended = LocalSet::new().run_until(campaign(&site, some, &mut rng, &mut early)).await;
        tally.add(&ended.with_context(|| format!("{done} cycles of seed {seed} before"))?);
        fs::remove_dir_all(directory)?;
        println!("{} cycles, {} acknowledged", done + some, tally.acknowledged);
    }
    let seconds = begun.elapsed().as_secs();
    publish(options.results.as_deref(), "kill", &report(cycles, seed, seconds, early, &tally))
}

/// Some cycles on a new directory, and the last look.
async fn campaign(site: &Site, cycles: u64, rng: &mut Rng, early: &mut u64) -> Result<Tally> {
    let mut server = site.start().await?;
    let (world, granted) = create_world(&server).await?;
    let mut lanes: Vec<Lane> = (0..LANES).map(|_| Lane::new(world.clone(), rng.next())).collect();
    for cycle in 1..=cycles {
        let cycle_of = || format!("cycle {cycle}");
        lanes = load_and_kill(server, lanes, rng).await.with_context(cycle_of)?;
        if rng.below(8) == 0 {
            // Recovery is interrupted as well.
            let starting = site.spawn()?;
            tokio::time::sleep(Duration::from_micros(rng.below(30_000))).await;
            starting.kill()?;
            *early += 1;
        }
        server = site.start().await.with_context(cycle_of)?;
        let port = server.port;
        let verifying = lanes.into_iter().map(|it| spawn_local(it.verify(port))).collect();
        lanes = all(verifying).await.with_context(cycle_of)?;
        judge(&server, &world, &granted, &lanes).await.with_context(cycle_of)?;
    }
    let port = server.port;
    let lanes = all(lanes.into_iter().map(|it| spawn_local(it.verify_kept(port))).collect()).await?;
    let tally = judge(&server, &world, &granted, &lanes).await?;
    server.stop().await?;
    site.audit()?;
    Ok(tally)
}

async fn create_world(server: &Server) -> Result<(Rc<World>, Vec<i64>)> {
    let mut connection = server.connect().await?;
    let (mut workspaces, mut granted) = (Vec::new(), Vec::new());
    for number in 0..WORKSPACES {
        let body = json!({"name": format!("Kill workspace {number}")});
        let created = connection.call("POST", "/v1/workspaces", None, &body).await?.expect(201)?;
        let id = created["id"].as_str().context("a workspace without an id")?.to_owned();
        let body = json!({"credits": GRANT, "kind": "bonus", "reason": "bench"});
        let key = format!("grant-{number}");
        connection
            .call("POST", &format!("/v1/workspaces/{id}/grants"), Some(&key), &body)
            .await?
            .expect(201)?;
        let balance = connection.get(&format!("/v1/workspaces/{id}/balance")).await?;
        granted.push(balance["balance"].as_i64().context("a balance without a balance")?);
        workspaces.push(id);
    }
    let mut prices = prices(&mut connection).await?;
    // Only what moves credits can be lost or doubled.
    prices.retain(|(_, price)| *price > 0);
    Ok((Rc::new(World { workspaces, prices }), granted))
}

/// All lanes work for 5 to 150 ms, then the server dies; the lanes notice by their broken connections.
async fn load_and_kill(server: Server, lanes: Vec<Lane>, rng: &mut Rng) -> Result<Vec<Lane>> {
    let working: Vec<_> =
        lanes.into_iter().map(|it| tokio::task::spawn_local(it.work(server.port))).collect();
    tokio::time::sleep(Duration::from_micros(rng.between(5_000, 150_000))).await;
    server.kill()?;
    all(working).await
}

async fn all(tasks: Vec<JoinHandle<Result<Lane>>>) -> Result<Vec<Lane>> {
    let mut lanes = Vec::new();
    for task in tasks {
        lanes.push(task.await??);
    }
    Ok(lanes)
}

/// Every workspace's balance against the sum of the requests; an error at the first credit too many or too few.
async fn judge(server: &Server, world: &World, granted: &[i64], lanes: &[Lane]) -> Result<Tally> {
    let tally = sum(lanes);
    if tally.lost > 0 {
        bail!("{} acknowledged requests lost:\n{}", tally.lost, tally.complaints.join("\n"));
    }
    let mut connection = server.connect().await?;
    for (index, id) in world.workspaces.iter().enumerate() {
        let shown = connection.get(&format!("/v1/workspaces/{id}/balance")).await?;
        let (balance, held) = (granted[index] - tally.charged[index], tally.held[index]);
        let too_little = balance - shown["balance"].as_i64().context("a balance without a balance")?;
        let too_much_held = shown["held"].as_i64().context("a balance without held")? - held;
        match (too_little, too_much_held) {
            (0, 0) if shown["available"] == balance - held => {}
            (0, 0) => bail!("{id}: available is not {balance} - {held}: {shown}"),
            (1.., _) | (0, 1..) => bail!("{id}: doubled; balance {balance}, held {held} expected: {shown}"),
            _ => bail!("{id}: lost; balance {balance}, held {held} expected: {shown}"),
        }
    }
    Ok(tally)
}

fn sum(lanes: &[Lane]) -> Tally {
    let mut tally = Tally::default();
    lanes.iter().for_each(|it| tally.add(&it.tally));
    tally
}

/// Written only when nothing was lost or doubled: anything else has ended the run with an error.
fn report(cycles: u64, seed: u64, seconds: u64, early: u64, tally: &Tally) -> String {
    format!(
        "`cargo run --release -p bench -- kill --cycles {cycles} --seed {seed}`\n\n\
         {}. SIGKILL after 5 to 150 ms of holds, settles and charges on {WORKSPACES} workspaces over {LANES} connections; \
         after each restart every request is repeated and every balance compared; {CYCLES_OF_A_DIRECTORY} cycles at most \
         are on one directory, and at its end `scrip audit` is clean.\n\n\
         | cycles | seed | seconds | killed in recovery too | acknowledged | unacknowledged (of these already done) | lost | doubled |\n\
         |---|---|---|---|---|---|---|---|\n\
         | {cycles} | {seed} | {seconds} | {early} | {} | {} ({}) | 0 | 0 |",
        machine(),
        thousands(tally.acknowledged),
        thousands(tally.unacknowledged),
        thousands(tally.found),
    )
}
