//! `campaigns million`: one campaign with very many leads against one with ten thousand: memory, speed, and what a step costs.

use super::{Outside, create_leads, create_workspace, grant, launch, mail_step};
use crate::options::Options;
use crate::results::{machine, publish};
use crate::server::{memory_peak, memory_used, processor_used};
use crate::stats::{ratio, thousands};
use anyhow::{Result, ensure};
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// What it is compared with.
const FEW: usize = 10_000;
const PATIENCE: Duration = Duration::from_secs(120);

/// One campaign from its launch to its end.
struct Course {
    leads: usize,
    imported: Duration,
    took: Duration,
    /// Of the server, in microseconds a step: over all of it, in the first and in the last tenth.
    cost: [u64; 3],
    /// In KiB: at the launch, the least and the most of each second afterwards, and ever.
    memory: [u64; 4],
}

pub(super) async fn run(options: &Options, scratch: &Path) -> Result<()> {
    let few = course(options, &scratch.join("few"), FEW.min(options.leads)).await?;
    let many = course(options, &scratch.join("many"), options.leads).await?;
    publish(options.results.as_deref(), "campaigns million", &report(options, &few, &many))
}

async fn course(options: &Options, scratch: &Path, leads: usize) -> Result<Course> {
    let (outside, site) = Outside::start(options, scratch, Duration::ZERO, |_| {}).await?;
    let server = site.start().await?;
    let mut connection = server.connect().await?;
    let workspace = create_workspace(&mut connection, "A large campaign").await?;
    grant(&mut connection, &workspace, "all", i64::try_from(leads * 2)? + 1).await?;
    let begun = Instant::now();
    let ids = create_leads(&mut connection, &workspace, "c0-", leads, true).await?;
    let imported = begun.elapsed();
    println!("{} leads in {} s", thousands(leads as u64), imported.as_secs());
    let body = json!({"name": "A large campaign", "steps": [mail_step("Note for {{name}}", 0)]});
    let campaign = launch(&mut connection, &workspace, &body, &ids).await?;
    drop(ids);
    let (launched, process) = (Instant::now(), server.id());
    let at_launch = memory_used(process)?;
    let (mut least, mut most) = (at_launch, at_launch);
    let (began_with, used_at_launch) = (outside.mails(), processor_used(process)?);
    let (mut first, mut last) = (None, None);
    let (mut seen, mut moved) = (began_with, Instant::now());
    while outside.mails() < leads {
        sleep(Duration::from_millis(50)).await;
        let (mails, used) = (outside.mails(), processor_used(process)?);
        if first.is_none() && mails - began_with >= leads / 10 {
            first = Some((mails - began_with, used - used_at_launch));
        }
        if last.is_none() && mails >= leads - leads / 10 {
            last = Some((mails, used));
        }
        if mails != seen {
            (seen, moved) = (mails, Instant::now());
        }
        ensure!(moved.elapsed() < PATIENCE, "{mails} mails of {leads}, and no more");
        (least, most) = (least.min(memory_used(process)?), most.max(memory_used(process)?));
    }
    let took = launched.elapsed();
    let all = processor_used(process)? - used_at_launch;
    let cost = |(steps, used): (usize, Duration)| used.as_micros() as u64 / (steps as u64).max(1);
    let (first, last) = (first.unwrap_or((1, all)), last.unwrap_or((leads - 1, all)));
    let used = processor_used(process)?;
    let cost =
        [cost((leads - began_with, all)), cost(first), cost((leads - last.0, used.saturating_sub(last.1)))];
    loop {
        let shown = connection.get(&format!("/v1/campaigns/{campaign}")).await?;
        if shown["status"] == "completed" {
            ensure!(shown["steps"][0]["sent"] == leads, "not everything was sent: {shown}");
            break;
        }
        ensure!(moved.elapsed() < PATIENCE, "it does not end: {shown}");
        sleep(Duration::from_millis(100)).await;
    }
    let balance = connection.get(&format!("/v1/workspaces/{workspace}/balance")).await?;
    ensure!(balance["balance"] == 1 && outside.mails() == leads, "{} mails, {balance}", outside.mails());
    let memory = [at_launch, least, most, memory_peak(process)?];
    server.stop().await?;
    site.audit()?;
    Ok(Course { leads, imported, took, cost, memory })
}

fn report(options: &Options, few: &Course, many: &Course) -> String {
    let steps =
        |it: &Course| it.leads as u64 * 1_000 / u64::try_from(it.took.as_millis()).unwrap_or(1).max(1);
    let row = |it: &Course| {
        let [at_launch, least, most, peak] = it.memory.map(|kib| kib / 1_024);
        let [all, first, last] = it.cost;
        format!(
            "| {} | {} s | {} | {all} | {first} | {last} | {at_launch} | {least}-{most} | {peak} |\n",
            thousands(it.leads as u64),
            it.imported.as_secs(),
            thousands(steps(it)),
        )
    };
    format!(
        "`cargo run --release -p bench -- campaigns million --leads {}`\n\n\
         {}. One mail to each lead of one campaign; the figures are of the server's process, its cores shared with the mail server \
         and the bench. Every lead got its mail, every mail was charged, `scrip audit` clean.\n\n\
         | leads | imported and listed in | steps/s | CPU us a step | in the first tenth | in the last tenth | memory at the launch, MB | \
         while it ran | ever |\n|---|---|---|---|---|---|---|---|---|\n{}{}\n\
         | | |\n|---|---|\n| cost of a step / with {} leads (bar 1.2) | {} |\n| wall time of a step / with {} leads | {} |\n\
         | memory while it ran, most less least (bar 256 MB) | {} MB |",
        options.leads,
        machine(),
        row(few),
        row(many),
        thousands(few.leads as u64),
        hundredths(many.cost[0], few.cost[0]),
        thousands(few.leads as u64),
        ratio(steps(few), steps(many)),
        (many.memory[2] - many.memory[1]) / 1_024,
    )
}

/// `a / b` with two decimals.
fn hundredths(a: u64, b: u64) -> String {
    let of_hundred = (a * 100 + b / 2).checked_div(b).unwrap_or(0);
    format!("{}.{:02}", of_hundred / 100, of_hundred % 100)
}
