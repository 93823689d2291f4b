//! `growth`: millions of entries with random keys, and what they do to speed, memory, the dashboard, a start and the audit.
//!
//! The entries lie in 90 days of a manual clock; a tenth of them are of one workspace. What the server writes behind its journal
//! is counted: as many entries as it lets wait come first, so that in every million as many are written as come in.

use crate::load::{Draw, Over, Purse, Until, Way, charge_all, check_purses, create_purses};
use crate::options::{Options, file_system};
use crate::results::{machine, publish};
use crate::server::{Server, Site, memory_peak, memory_used};
use crate::stats::{milliseconds, ratio, thousands};
use anyhow::{Context, Result};
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};

pub(crate) const DAYS: u64 = 90;
const MILLION: u64 = 1_000_000;
/// At least as many entries as wait for their tables.
const WAITING: u64 = 600_000;
/// How often a query is asked; its median is reported.
const ASKED: usize = 21;

pub(crate) async fn run(options: &Options, scratch: &Path) -> Result<()> {
    let mut site = Site::new(options.scrip()?, scratch);
    site.clock = Some("manual=2027-01-01T00:00:00Z".to_owned());
    let server = site.start().await?;
    let mut purses = create_purses(&server, options.workspaces).await?;
    println!("{} workspaces", thousands(purses.len() as u64));
    charge_rarely(&server, &mut purses[0]).await?;
    let unwritten = fill(&server, &mut purses).await?;
    let rates = grow(&server, &mut purses, options.entries).await?;
    let used = memory_used(server.id())?;
    let queries = ask(&server, &purses[0].workspace).await?;
    let peak = memory_peak(server.id())?;
    // Killed under load, so that there is something to recover.
    let draw = Draw::one_hot(purses.len());
    let until = Until::after(Duration::from_secs(2));
    charge_all(std::slice::from_ref(&server), &mut purses, draw, (Way::Batch, Over::Tcp), until).await?;
    server.kill()?;
    let begun = Instant::now();
    let server = site.start().await?;
    let start = begun.elapsed();
    check_purses(&server, &purses).await?;
    server.stop().await?;
    let begun = Instant::now();
    let audit_peak = site.audit_watched()?;
    let audit = begun.elapsed();
    let mut text = facts(options, scratch);
    text.push_str(&table(unwritten, &rates));
    let mut line = |label: &str, value: String| text.push_str(&format!("| {label} | {value} |\n"));
    for (label, median, slowest) in queries {
        line(&label, format!("{} ms (slowest {})", milliseconds(median), milliseconds(slowest)));
    }
    line("memory of the server at the end", format!("{} MB (peak {})", used / 1_024, peak / 1_024));
    line("from `kill -9` under load to ready", format!("{} ms", start.as_millis()));
    let audit = format!("{} s, {} MB", audit.as_secs(), audit_peak / 1_024);
    line("`scrip audit` of all of it, clean", audit);
    publish(options.results.as_deref(), "growth", &text)
}

/// One charge of another operation, before all others, to be looked for among them.
async fn charge_rarely(server: &Server, purse: &mut Purse) -> Result<()> {
    let path = format!("/v1/workspaces/{}/charges", purse.workspace);
    let body = json!({"operation": "discovery_preview", "quantity": 1});
    server.connect().await?.call("POST", &path, Some("rare"), &body).await?.expect(201)?;
    purse.available -= 2;
    Ok(())
}

/// Charges until as many entries wait for their tables as may. Answers the entries per second of these.
async fn fill(server: &Server, purses: &mut [Purse]) -> Result<u64> {
    let begun = Instant::now();
    let (draw, until) = (Draw::one_hot(purses.len()), Until::charges(WAITING / 2));
    charge_all(std::slice::from_ref(server), purses, draw, (Way::Batch, Over::Tcp), until).await?;
    let rate = u64::try_from(u128::from(WAITING) * 1_000_000 / begun.elapsed().as_micros().max(1))?;
    println!("{} entries that wait, {} a second", thousands(WAITING), thousands(rate));
    Ok(rate)
}

/// Charges day by day until there are so many entries. Answers the entries per second of each million.
pub(crate) async fn grow(server: &Server, purses: &mut [Purse], entries: u64) -> Result<Vec<u64>> {
    let mut connection = server.connect().await?;
    let (mut rates, mut spent, mut counted, mut done) = (Vec::new(), Duration::ZERO, 0, 0);
    for day in 1..=DAYS {
        let charges = entries * day / DAYS / 2 - done / 2;
        let begun = Instant::now();
        let draw = Draw::one_hot(purses.len());
        charge_all(
            std::slice::from_ref(server),
            purses,
            draw,
            (Way::Batch, Over::Tcp),
            Until::charges(charges),
        )
        .await?;
        let body = json!({"seconds": 86_400});
        connection.call("POST", "/v1/clock/advance", None, &body).await?.expect(200)?;
        spent += begun.elapsed();
        (counted, done) = (counted + charges * 2, done + charges * 2);
        if counted >= MILLION || day == DAYS {
            rates.push(u64::try_from(u128::from(counted) * 1_000_000 / spent.as_micros().max(1))?);
            println!("{} entries, {} a second", thousands(done), thousands(*rates.last().unwrap_or(&0)));
            (spent, counted) = (Duration::ZERO, 0);
        }
    }
    Ok(rates)
}

/// Asks what a dashboard asks about the workspace that a tenth of all is of: what, the median and the slowest in us.
async fn ask(server: &Server, workspace: &str) -> Result<Vec<(String, u64, u64)>> {
    let mut connection = server.connect().await?;
    let usage = "usage?from=2027-01-01T00:00:00Z&to=2027-04-01T00:00:00Z&interval=day&group_by=operation";
    let queries = [
        ("usage by day and operation for 90 days", usage),
        ("first page of entries", "entries?limit=50"),
        ("first page of entries of the usual operation", "entries?limit=50&operation=email_send"),
        ("first page of entries of an operation used once", "entries?limit=50&operation=discovery_preview"),
        ("balance", "balance"),
    ];
    let mut answers = Vec::new();
    for (label, query) in queries {
        let mut times = Vec::with_capacity(ASKED);
        for _ in 0..ASKED {
            let begun = Instant::now();
            let answer =
                connection.send("GET", &format!("/v1/workspaces/{workspace}/{query}"), None, "").await?;
            anyhow::ensure!(answer.status == 200, "{query} answered {} {}", answer.status, answer.body);
            times.push(u64::try_from(begun.elapsed().as_micros())?);
        }
        times.sort_unstable();
        let slowest = *times.last().context("asked at least once")?;
        answers.push((label.to_owned(), times[ASKED / 2], slowest));
    }
    Ok(answers)
}

fn facts(options: &Options, scratch: &Path) -> String {
    format!(
        "`cargo run --release -p bench -- growth --entries {} --workspaces {}`\n\n\
         {}; {} file system. Batches of 1 000 holds, then their settles, over 4 connections, with random keys; a tenth of \
         the charges are of one workspace, the others at random; the queries are about that one, over HTTP. What the \
         server writes behind its journal is counted: {} entries come first, more than it lets wait, so that in every \
         million as many are written as come in. The charges of a \
         day lie at one moment, so they fill one usage slot of each day. Every balance exact and \
         the audit clean at the end.\n\n",
        options.entries,
        options.workspaces,
        machine(),
        file_system(scratch),
        thousands(WAITING),
    )
}

fn table(unwritten: u64, rates: &[u64]) -> String {
    let mut text = String::from("| | |\n|---|---|\n");
    text.push_str(&format!("| entries a second before, while they wait | {} |\n", thousands(unwritten)));
    let (first, last) = (rates.first().copied().unwrap_or(0), rates.last().copied().unwrap_or(0));
    let each: Vec<String> = rates.iter().map(|rate| thousands(*rate)).collect();
    text.push_str(&format!("| entries a second, by million | {} |\n", each.join(", ")));
    text.push_str(&format!("| the last million / the first | {} |\n", ratio(last, first)));
    text
}
