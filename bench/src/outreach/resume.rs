//! `campaigns resume`: thousands of campaigns that ran dry go on by one top-up, while the API is asked as before.
//!
//! The load has a thread of its own and a schedule: a request that had to wait counts from the moment at which it was due.

use super::{Outside, create_leads, create_workspace, grant, launch_all, mail_step, owner};
use crate::campaigns::text;
use crate::http::Connection;
use crate::options::Options;
use crate::results::{machine, publish};
use crate::server::Server;
use crate::stats::{milliseconds, ratio, thousands};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// How many senders the campaigns share, each campaign one of them.
const SENDERS: usize = 20;
/// Four fifths of what its campaigns would send: the limit is reached.
const LIMIT: (usize, usize) = (4, 5);
/// How long the API is asked before anything runs.
const IDLE: Duration = Duration::from_secs(10);
const CONNECTIONS: u32 = 10;
/// Requests a second, half of them charges in another workspace, half of them balances of the one that goes on.
const ASKED: u32 = 200;
const PATIENCE: Duration = Duration::from_secs(600);

pub(super) async fn run(options: &Options, scratch: &Path) -> Result<()> {
    let number = options.campaigns;
    let first: Rc<RefCell<BTreeMap<usize, Instant>>> = Rc::default();
    let firsts = first.clone();
    let (outside, site) = Outside::start(options, scratch, Duration::ZERO, move |mail| {
        if let Ok((campaign, _)) = owner(&mail.to) {
            firsts.borrow_mut().entry(campaign).or_insert_with(Instant::now);
        }
    })
    .await?;
    let server = site.start().await?;
    let mut connection = server.connect().await?;
    let limit = (number / SENDERS * options.leads * LIMIT.0 / LIMIT.1).max(1);
    let workspace = prepare(&server, &mut connection, options, limit).await?;
    let ran_dry = outside.mails();
    first.borrow_mut().clear();
    let other = create_workspace(&mut connection, "Somebody else").await?;
    grant(&mut connection, &other, "much", 1_000_000_000).await?;
    println!("{} campaigns are out of credits, after {ran_dry} mails", thousands(number as u64));

    let load = Load::start(server.port, &workspace, &other);
    sleep(IDLE).await;
    let topped_up = Instant::now();
    grant(&mut connection, &workspace, "all", i64::try_from(number * options.leads * 2)?).await?;
    let answered = topped_up.elapsed();
    while first.borrow().len() < number {
        ensure!(topped_up.elapsed() < PATIENCE, "only {} campaigns began", first.borrow().len());
        sleep(Duration::from_millis(5)).await;
    }
    let all_began = topped_up.elapsed();
    // A load of less than a second says nothing about a hundredth.
    sleep(Duration::from_secs(5).saturating_sub(all_began)).await;
    let ended = Instant::now();
    let asked = load.stop()?;
    let most = wait_for_limits(&outside, limit).await?;
    let mut delays: Vec<u64> = Vec::with_capacity(number);
    for began in first.borrow().values() {
        delays.push(u64::try_from(began.duration_since(topped_up).as_micros())?);
    }
    delays.sort_unstable();
    server.stop().await?;
    site.audit()?;
    let figures = Figures { limit, most, answered, delays, asked, topped_up, ended };
    publish(options.results.as_deref(), "campaigns resume", &figures.report(options)?)
}

/// The senders, the leads and the campaigns, all launched and all out of credits.
async fn prepare(
    server: &Server,
    connection: &mut Connection,
    options: &Options,
    limit: usize,
) -> Result<String> {
    let (number, leads) = (options.campaigns, options.leads);
    let workspace = create_workspace(connection, "Thousands of campaigns").await?;
    let mut senders = Vec::new();
    for sender in 0..SENDERS {
        let body =
            json!({"kind": "email", "from": format!("sender{sender}@example.com"), "daily_limit": limit});
        let path = format!("/v1/workspaces/{workspace}/senders");
        senders.push(text(&connection.call("POST", &path, None, &body).await?.expect(201)?, "id")?);
    }
    let mut of_each = Vec::with_capacity(number);
    for campaign in 0..number {
        of_each.push(create_leads(connection, &workspace, &format!("c{campaign}-"), leads, true).await?);
        if campaign % 1_000 == 999 {
            println!("leads of {} campaigns", thousands(campaign as u64 + 1));
        }
    }
    // Enough for one mail, so that all of them run dry while the others are launched.
    grant(connection, &workspace, "few", 2).await?;
    let ids = launch_all(server, &workspace, number, move |index| {
        let steps = [mail_step("Note for {{name}}", 0)];
        let sender = &senders[index % SENDERS];
        let body = json!({"name": format!("Campaign {index}"), "senders": [sender], "steps": steps});
        (body, of_each[index].clone())
    });
    let ids = ids.await?;
    let begun = Instant::now();
    loop {
        let balance = connection.get(&format!("/v1/workspaces/{workspace}/balance")).await?;
        if balance["state"] == "out" && balance["held"] == 0 {
            break;
        }
        ensure!(begun.elapsed() < PATIENCE, "it does not run dry: {balance}");
        sleep(Duration::from_millis(20)).await;
    }
    for id in ids.iter().step_by(97) {
        let shown = connection.get(&format!("/v1/campaigns/{id}")).await?;
        ensure!(shown["pause_reasons"][0]["reason"] == "out_of_credits", "it is not out of credits: {shown}");
    }
    Ok(workspace)
}

/// Waits until every sender has sent what it may, and a little longer; answers the most that one of them sent.
async fn wait_for_limits(outside: &Outside, limit: usize) -> Result<usize> {
    let begun = Instant::now();
    let mut calm = Instant::now();
    let mut before = outside.mails();
    while outside.mails() < limit * SENDERS || calm.elapsed() < Duration::from_secs(3) {
        sleep(Duration::from_millis(50)).await;
        if outside.mails() != before {
            (before, calm) = (outside.mails(), Instant::now());
        }
        ensure!(begun.elapsed() < PATIENCE, "{} mails of {}", outside.mails(), limit * SENDERS);
    }
    let mut sent: BTreeMap<String, usize> = BTreeMap::new();
    for mail in outside.accepted.borrow().iter() {
        *sent.entry(mail.from.clone()).or_default() += 1;
    }
    let most = sent.values().copied().max().unwrap_or(0);
    ensure!(sent.len() == SENDERS && most <= limit, "a sender may send {limit} a day: {sent:?}");
    Ok(most)
}

/// Requests at a steady rate from a thread of its own.
struct Load {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Result<Vec<(Instant, u64)>>>,
}

impl Load {
    fn start(port: u16, workspace: &str, other: &str) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, balance, charges) = (
            stop.clone(),
            format!("/v1/workspaces/{workspace}/balance"),
            format!("/v1/workspaces/{other}/charges"),
        );
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let lanes = tokio::task::LocalSet::new();
            let lanes_of = async {
                let begun = Instant::now();
                let mut asking = Vec::new();
                for lane in 0..CONNECTIONS {
                    let (stopped, balance, charges) = (stopped.clone(), balance.clone(), charges.clone());
                    asking.push(tokio::task::spawn_local(async move {
                        ask(port, lane, begun, &stopped, &balance, &charges).await
                    }));
                }
                let mut asked = Vec::new();
                for lane in asking {
                    asked.extend(lane.await??);
                }
                Ok(asked)
            };
            lanes.block_on(&runtime, lanes_of)
        });
        Load { stop, thread }
    }

    /// When each request was due, and how long after that it was answered, in microseconds.
    fn stop(self) -> Result<Vec<(Instant, u64)>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().ok().context("the load broke off")?
    }
}

async fn ask(
    port: u16,
    lane: u32,
    begun: Instant,
    stopped: &AtomicBool,
    balance: &str,
    charges: &str,
) -> Result<Vec<(Instant, u64)>> {
    let mut connection = Connection::open(port).await?;
    let body = json!({"operation": "email_send", "quantity": 1}).to_string();
    let pause = Duration::from_secs(1) * CONNECTIONS / ASKED;
    let mut due = begun + pause * lane / CONNECTIONS;
    let mut asked = Vec::new();
    for number in 0_u32.. {
        if stopped.load(Ordering::Relaxed) {
            break;
        }
        tokio::time::sleep_until(due.into()).await;
        let status = if (number + lane).is_multiple_of(2) {
            connection.send("GET", balance, None, "").await?.status
        } else {
            connection.send("POST", charges, Some(&format!("{lane}-{number}")), &body).await?.status
        };
        ensure!(status / 100 == 2, "a request answered {status}");
        asked.push((due, u64::try_from(due.elapsed().as_micros())?));
        due += pause;
    }
    Ok(asked)
}

struct Figures {
    limit: usize,
    most: usize,
    answered: Duration,
    delays: Vec<u64>,
    asked: Vec<(Instant, u64)>,
    topped_up: Instant,
    ended: Instant,
}

impl Figures {
    fn report(&self, options: &Options) -> Result<String> {
        let hundredth = |from: Option<Instant>, to: Instant| {
            let within = self.asked.iter().filter(|(at, _)| from.is_none_or(|from| *at >= from) && *at < to);
            let mut times: Vec<u64> = within.map(|(_, time)| *time).collect();
            times.sort_unstable();
            let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or(0);
            (times.len(), at(50), at(99), times.last().copied().unwrap_or(0))
        };
        let (idle, meanwhile) =
            (hundredth(None, self.topped_up), hundredth(Some(self.topped_up), self.ended));
        let first = *self.delays.first().context("nothing began")?;
        let last = *self.delays.last().context("nothing began")?;
        let median = self.delays[self.delays.len() / 2];
        let line = |label: &str, (number, p50, p99, most): (usize, u64, u64, u64)| {
            format!(
                "| API {label}: p50, p99, slowest of {} requests | {}, {}, {} ms |\n",
                thousands(number as u64),
                milliseconds(p50),
                milliseconds(p99),
                milliseconds(most)
            )
        };
        let mut lines = vec![
            format!(
                "| the top-up itself | {} ms |\n",
                milliseconds(u64::try_from(self.answered.as_micros())?)
            ),
            format!("| first step after the top-up (bar 5 s) | {} ms |\n", milliseconds(first)),
            format!(
                "| median and largest start delay | {}, {} ms |\n",
                milliseconds(median),
                milliseconds(last)
            ),
            format!("| largest / median start delay (bar 3) | {} |\n", ratio(last, median)),
            line("idle", idle),
            line("meanwhile", meanwhile),
            format!("| p99 meanwhile / idle (bar 2) | {} |\n", ratio(meanwhile.2, idle.2)),
        ];
        lines.push(format!(
            "| most mails of one sender / its limit (bar 1) | {} / {} |",
            self.most, self.limit
        ));
        Ok(format!(
            "`cargo run --release -p bench -- campaigns resume --campaigns {} --leads {}`\n\n\
             {}. All campaigns are out of credits and go on by one top-up; each has one of {SENDERS} senders, which may send four \
             fifths of what is to be sent. The start delay of a campaign is from the top-up's request to its first mail at the mail \
             server. Meanwhile {ASKED} requests a second, half of them charges in another workspace, half balances of this one; a \
             request counts from the moment at which it was due.\n\n| | |\n|---|---|\n{}",
            options.campaigns,
            options.leads,
            machine(),
            lines.concat()
        ))
    }
}
