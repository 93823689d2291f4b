//! `campaigns idle`: what a server uses that has nothing to do but to wait, with thousands of campaigns that wait.

use super::{Outside, create_leads, create_workspace, grant, launch_all, mail_step};
use crate::options::Options;
use crate::results::{machine, publish};
use crate::server::{Server, processor_used};
use crate::stats::thousands;
use anyhow::{Result, ensure};
use serde_json::json;
use std::path::Path;
use std::time::Duration;
use tokio::time::sleep;

pub(super) async fn run(options: &Options, scratch: &Path) -> Result<()> {
    let mut rows = String::new();
    for (label, days, credits) in [
        ("nothing at all", None, 10),
        ("for a delay of a day", Some(1), 1_000_000_000),
        ("for credits", Some(0), 1),
    ] {
        let (outside, site) = Outside::start(options, &scratch.join(label), Duration::ZERO, |_| {}).await?;
        let server = site.start().await?;
        if let Some(days) = days {
            fill(&server, options.campaigns, days, credits).await?;
        }
        let used = rest(&server, options.seconds).await?;
        ensure!(outside.mails() == 0, "{} mails were sent while waiting {label}", outside.mails());
        server.stop().await?;
        site.audit()?;
        let thousandths = used.as_micros() as u64 / (options.seconds * 1_000);
        rows.push_str(&format!(
            "| {label} | {}.{:02} s | {}.{} % |\n",
            used.as_secs(),
            used.subsec_millis() / 10,
            thousandths / 10,
            thousandths % 10
        ));
        println!("waiting {label}: {used:?}");
    }
    let report = format!(
        "`cargo run --release -p bench -- campaigns idle --campaigns {} --seconds {}`\n\n\
         {}. What the server's process used in {} s with {} launched campaigns of one lead that wait.\n\n\
         | they wait | CPU | of one core (bar 1 %) |\n|---|---|---|\n{rows}",
        options.campaigns,
        options.seconds,
        machine(),
        options.seconds,
        thousands(options.campaigns as u64),
    );
    publish(options.results.as_deref(), "campaigns idle", &report)
}

/// One lead in so many campaigns, all launched.
async fn fill(server: &Server, campaigns: usize, days: i64, credits: i64) -> Result<()> {
    let mut connection = server.connect().await?;
    let workspace = create_workspace(&mut connection, "Campaigns that wait").await?;
    grant(&mut connection, &workspace, "all", credits).await?;
    let leads = create_leads(&mut connection, &workspace, "c0-", 1, true).await?;
    launch_all(server, &workspace, campaigns, move |index| {
        let body =
            json!({"name": format!("Campaign {index}"), "steps": [mail_step("Note for {{name}}", days)]});
        (body, leads.clone())
    })
    .await?;
    let wanted = if days == 0 { "paused" } else { "active" };
    let listed = connection.get(&format!("/v1/workspaces/{workspace}/campaigns?limit=500")).await?;
    let all = listed["items"].as_array().into_iter().flatten().all(|it| it["status"] == wanted);
    ensure!(all, "not every campaign is {wanted}: {listed}");
    Ok(())
}

/// What the server uses once it has come to rest.
async fn rest(server: &Server, seconds: u64) -> Result<Duration> {
    let mut before = processor_used(server.id())?;
    loop {
        sleep(Duration::from_secs(3)).await;
        let now = processor_used(server.id())?;
        // Less than a quarter of a core: what was to be written behind the launches is written.
        if now - before < Duration::from_millis(750) {
            break;
        }
        before = now;
    }
    let before = processor_used(server.id())?;
    sleep(Duration::from_secs(seconds)).await;
    Ok(processor_used(server.id())? - before)
}
