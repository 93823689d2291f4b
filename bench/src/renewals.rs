//! `renewals`: many plans that renew in one second, what others wait for the API meanwhile, and what as many plain grants take.
//!
//! The renewals run inside `POST /v1/clock/advance`, and end when it answers. Others charge and look at their balances at a
//! steady pace before and meanwhile; what is late is counted from when it should have been asked. Every workspace must have its
//! first period's credits, the renewal's and the grant's, each once.

use crate::http::Connection;
use crate::load::{Purse, create_purses};
use crate::options::{Options, file_system};
use crate::results::{machine, publish};
use crate::rng::Rng;
use crate::server::{Server, Site};
use crate::stats::{Measured, milliseconds, ratio, thousands};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::task::{LocalSet, spawn_local};

/// Connections that make the workspaces and look at them afterwards.
const CONNECTIONS: usize = 64;
/// As many grants at once as the scheduler begins periods at once.
const AT_ONCE: usize = 16;
/// Connections that charge and look, and how long from one pair to the next on each.
const OTHERS: usize = 8;
const PACE: Duration = Duration::from_millis(40);
const PLAN: &str = "starter";
/// Seconds until every period has ended, and none but the first.
const MONTH: u64 = 32 * 86_400;

/// What others waited: for a charge, and for a balance.
#[derive(Default)]
struct Waits {
    charges: Vec<u32>,
    balances: Vec<u32>,
}

pub(crate) async fn run(options: &Options, scratch: &Path) -> Result<()> {
    LocalSet::new().run_until(renewals(options, scratch)).await
}

async fn renewals(options: &Options, scratch: &Path) -> Result<()> {
    let mut site = Site::new(options.scrip()?, scratch);
    site.clock = Some("manual=2027-01-01T00:00:00Z".to_owned());
    let server = site.start().await?;
    let others: Rc<Vec<Purse>> = Rc::new(create_purses(&server, OTHERS).await?);
    let subscribed = Rc::new(subscribe(&server, options.workspaces).await?);
    println!("{} subscriptions", thousands(subscribed.len() as u64));
    let credits = credits_of(&server).await?;

    let (idle, ()) = meanwhile(&server, &others, async {
        tokio::time::sleep(Duration::from_secs(options.seconds)).await;
        Ok(())
    })
    .await?;
    let port = server.port;
    let (busy, renewed) = meanwhile(&server, &others, async {
        let (mut connection, begun) = (Connection::open(port).await?, Instant::now());
        let body = json!({"seconds": MONTH});
        connection.call("POST", "/v1/clock/advance", None, &body).await?.expect(200)?;
        Ok(begun.elapsed())
    })
    .await?;
    for_each(port, &subscribed, CONNECTIONS, move |_| Step::Look(2 * credits)).await?;
    let begun = Instant::now();
    for_each(port, &subscribed, AT_ONCE, |_| Step::Grant).await?;
    let granted = begun.elapsed();
    for_each(port, &subscribed, CONNECTIONS, move |_| Step::Look(2 * credits + 1)).await?;
    server.stop().await?;
    site.audit()?;
    publish(
        options.results.as_deref(),
        "renewals",
        &report(options, scratch, (idle, busy), (renewed, granted)),
    )
}

/// Workspaces with a plan that renews by itself, all made at the same moment.
async fn subscribe(server: &Server, count: usize) -> Result<Vec<String>> {
    let port = server.port;
    let share = |lane: usize| async move {
        let (mut connection, mut made) = (Connection::open(port).await?, Vec::new());
        for number in (lane..count).step_by(CONNECTIONS) {
            let body = json!({"name": format!("Workspace {number:06}"), "plan": PLAN});
            let answer = connection.call("POST", "/v1/workspaces", None, &body).await?.expect(201)?;
            made.push(answer["id"].as_str().context("a workspace without id")?.to_owned());
        }
        Ok::<_, anyhow::Error>(made)
    };
    let mut all = Vec::with_capacity(count);
    let shares: Vec<_> = (0..CONNECTIONS).map(|lane| spawn_local(share(lane))).collect();
    for share in shares {
        all.append(&mut share.await??);
    }
    Ok(all)
}

async fn credits_of(server: &Server) -> Result<i64> {
    let catalog = server.connect().await?.get("/v1/catalog").await?;
    let plans = catalog["plans"].as_array().context("the catalog lists no plans")?;
    let plan = plans.iter().find(|plan| plan["plan"] == PLAN).context("the catalog lacks the plan")?;
    plan["credits"].as_i64().context("a plan without credits")
}

/// What others wait while something else happens.
async fn meanwhile<T>(
    server: &Server,
    others: &Rc<Vec<Purse>>,
    happens: impl Future<Output = Result<T>>,
) -> Result<(Waits, T)> {
    let over = Rc::new(Cell::new(false));
    let ask = |lane: usize| ask(server.port, others.clone(), lane, over.clone());
    let asking: Vec<_> = (0..OTHERS).map(|lane| spawn_local(ask(lane))).collect();
    let happened = happens.await;
    over.set(true);
    let mut waits = Waits::default();
    for asked in asking {
        let mut asked = asked.await??;
        waits.charges.append(&mut asked.charges);
        waits.balances.append(&mut asked.balances);
    }
    Ok((waits, happened?))
}

/// A charge and a look at the balance, again and again at a steady pace.
async fn ask(port: u16, others: Rc<Vec<Purse>>, lane: usize, over: Rc<Cell<bool>>) -> Result<Waits> {
    let mut connection = Connection::open(port).await?;
    let (mut waits, mut rng) = (Waits::default(), Rng::from_clock());
    let workspace = &others[lane].workspace;
    let (charges, balance) =
        (format!("/v1/workspaces/{workspace}/charges"), format!("/v1/workspaces/{workspace}/balance"));
    let body = json!({"operation": "email_send", "quantity": 1}).to_string();
    let mut planned = Instant::now() + PACE * u32::try_from(lane)? / u32::try_from(OTHERS)?;
    while !over.get() {
        let is_late = Instant::now() > planned;
        tokio::time::sleep_until(planned.into()).await;
        let begun = if is_late { planned } else { Instant::now() };
        let key = format!("{lane}-{}", rng.key());
        let status = connection.send("POST", &charges, Some(&key), &body).await?.status;
        ensure!(status == 201, "a charge answered {status}");
        waits.charges.push(u32::try_from(begun.elapsed().as_micros())?);
        let begun = Instant::now();
        let status = connection.send("GET", &balance, None, "").await?.status;
        ensure!(status == 200, "a balance answered {status}");
        waits.balances.push(u32::try_from(begun.elapsed().as_micros())?);
        planned += PACE;
    }
    Ok(waits)
}

/// What is done with each subscribed workspace.
#[derive(Clone, Copy)]
enum Step {
    /// A plain grant of one credit.
    Grant,
    /// It must have so much.
    Look(i64),
}

async fn for_each(
    port: u16,
    workspaces: &Rc<Vec<String>>,
    connections: usize,
    step: impl Fn(usize) -> Step + Copy + 'static,
) -> Result<()> {
    let share = |lane: usize, workspaces: Rc<Vec<String>>| async move {
        let mut connection = Connection::open(port).await?;
        for number in (lane..workspaces.len()).step_by(connections) {
            do_step(&mut connection, &workspaces[number], step(number)).await?;
        }
        Ok::<_, anyhow::Error>(())
    };
    let shares: Vec<_> = (0..connections).map(|lane| spawn_local(share(lane, workspaces.clone()))).collect();
    for share in shares {
        share.await??;
    }
    Ok(())
}

async fn do_step(connection: &mut Connection, workspace: &str, step: Step) -> Result<()> {
    match step {
        Step::Grant => {
            let body = json!({"credits": 1, "kind": "promo", "reason": "bench"});
            let path = format!("/v1/workspaces/{workspace}/grants");
            connection.call("POST", &path, Some("plain"), &body).await?.expect(201)?;
        }
        Step::Look(wanted) => {
            let balance = connection.get(&format!("/v1/workspaces/{workspace}/balance")).await?;
            let is = &balance["available"];
            ensure!(is.as_i64() == Some(wanted), "{workspace} has {is} credits, and must have {wanted}");
        }
    }
    Ok(())
}

fn report(
    options: &Options,
    scratch: &Path,
    (idle, busy): (Waits, Waits),
    (renewed, granted): (Duration, Duration),
) -> String {
    let count = options.workspaces as u64;
    let mut text = format!(
        "`cargo run --release -p bench -- renewals --workspaces {count}`\n\n\
         {}; {} file system. {} subscriptions are due in one second; each gets its credits once, and every balance is looked at afterwards; `scrip audit` is clean. \
         Meanwhile {OTHERS} connections charge and look at a balance, each pair {} ms after the one before. The grants \
         are asked for over HTTP on {AT_ONCE} connections, as many as there are renewals at once.\n\n\
         | | seconds | a second |\n|---|---|---|\n",
        machine(),
        file_system(scratch),
        thousands(count),
        PACE.as_millis(),
    );
    for (label, time) in [("renewals", renewed), ("plain grants", granted)] {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let rate = count * 1_000 / millis.max(1);
        text.push_str(&format!(
            "| {label} | {}.{} | {} |\n",
            millis / 1_000,
            millis % 1_000 / 100,
            thousands(rate)
        ));
    }
    text.push_str("\n| asked meanwhile | idle p50 ms | idle p99 ms | meanwhile p50 ms | meanwhile p99 ms | p99 ratio | asked |\n|---|---|---|---|---|---|---|\n");
    for (label, idle, busy) in
        [("charge", idle.charges, busy.charges), ("balance", idle.balances, busy.balances)]
    {
        let asked = thousands(busy.len() as u64);
        let (idle, busy) = (Measured::new(0, idle), Measured::new(0, busy));
        let [a, b, c, d] = [idle.p50_us, idle.p99_us, busy.p50_us, busy.p99_us].map(milliseconds);
        text.push_str(&format!(
            "| {label} | {a} | {b} | {c} | {d} | {} | {asked} |\n",
            ratio(busy.p99_us, idle.p99_us)
        ));
    }
    text
}
