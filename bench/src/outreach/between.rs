//! `campaigns between`: the server killed at the instant at which the mail server has said 250, before that can be recorded.
//!
//! The mail server itself ends the process, in the very call that wrote the 250. Nobody can know afterwards what happened, so
//! every such mail must be listed as in doubt, and none may be sent again.

use super::{Outside, all_items, create_leads, create_workspace, grant, launch, mail_step, owner};
use crate::campaigns::text;
use crate::http::Connection;
use crate::options::Options;
use crate::results::{machine, publish};
use crate::rng::Rng;
use crate::server::{Server, Site};
use crate::stats::thousands;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// How many leads a campaign has, and how many kills it lasts for: each uses up to 9 mails and 16 that were under way.
const LEADS: usize = 2_000;
const KILLS: u64 = LEADS as u64 / 32;
const PATIENCE: Duration = Duration::from_secs(120);

/// The server, in the hands of the mail server: after so many more mails it dies.
#[derive(Clone, Default)]
struct Victim {
    server: Rc<RefCell<Option<Server>>>,
    fuse: Rc<Cell<u64>>,
}

#[derive(Default)]
struct Tally {
    kills: u64,
    campaigns: u64,
    mails: u64,
    recorded: u64,
    /// In doubt: those whose mail was accepted, and the others.
    accepted: u64,
    not_accepted: u64,
    /// Of those, by an operator, after which exactly the leads with a mail were recorded as sent.
    decided: u64,
}

pub(super) async fn run(options: &Options, scratch: &Path) -> Result<()> {
    let begun = Instant::now();
    let victim = Victim::default();
    let hand = victim.clone();
    let (outside, site) = Outside::start(options, scratch, Duration::ZERO, move |_| hand.burn()).await?;
    let mut rng = Rng::new(options.seed);
    *victim.server.borrow_mut() = Some(site.start().await?);
    let workspace = {
        let mut connection = victim.connect().await?;
        let workspace = create_workspace(&mut connection, "Killed between").await?;
        grant(&mut connection, &workspace, "all", 1_000_000_000).await?;
        workspace
    };
    let mut tally = Tally::default();
    while tally.kills < options.cycles {
        let number = usize::try_from(tally.campaigns)?;
        let mut connection = victim.connect().await?;
        let leads = create_leads(&mut connection, &workspace, &format!("c{number}-"), LEADS, true).await?;
        let body =
            json!({"name": format!("Campaign {number}"), "steps": [mail_step("Note for {{name}}", 0)]});
        let end = options.cycles.min(tally.kills + KILLS);
        let campaign = launch(&mut connection, &workspace, &body, &leads).await?;
        drop(connection);
        while tally.kills < end {
            kill_once(&victim, &site, &mut rng).await?;
            tally.kills += 1;
            if tally.kills % 100 == 0 {
                println!("{} kills, {} mails, {} s", tally.kills, outside.mails(), begun.elapsed().as_secs());
            }
        }
        let doubts = judge(&victim, &outside, &campaign, number, &mut tally)
            .await
            .with_context(|| format!("campaign {number} of seed {}", options.seed))?;
        decide(&victim, &outside, &campaign, number, &doubts, &mut tally).await?;
        tally.campaigns += 1;
    }
    let server = victim.server.borrow_mut().take().context("no server")?;
    server.stop().await?;
    site.audit()?;
    publish(
        options.results.as_deref(),
        "campaigns between",
        &report(options, &tally, begun.elapsed().as_secs()),
    )
}

impl Victim {
    /// Called by the mail server after each 250.
    fn burn(&self) {
        match self.fuse.get() {
            0 => {}
            1 => {
                self.fuse.set(0);
                // It is gone when this returns; that it was there is checked by whoever lit the fuse.
                if let Some(server) = self.server.borrow_mut().take() {
                    let _ = server.kill();
                }
            }
            more => self.fuse.set(more - 1),
        }
    }

    async fn connect(&self) -> Result<Connection> {
        let port = self.server.borrow().as_ref().context("no server")?.port;
        Ok(Connection::open(port).await?)
    }
}

/// Lets the server die with one of the next mails, and starts it again.
async fn kill_once(victim: &Victim, site: &Site, rng: &mut Rng) -> Result<()> {
    victim.fuse.set(rng.between(1, 9));
    let begun = Instant::now();
    while victim.server.borrow().is_some() {
        ensure!(begun.elapsed() < PATIENCE, "no mail comes");
        sleep(Duration::from_millis(1)).await;
    }
    // What the others had handed over is accepted, though nobody hears of it.
    sleep(Duration::from_millis(5)).await;
    let server = site.start().await?;
    *victim.server.borrow_mut() = Some(server);
    Ok(())
}

/// Waits until nothing of a campaign is left but what is in doubt, and compares its list with the mail server's log, lead by lead.
async fn judge(
    victim: &Victim,
    outside: &Outside,
    campaign: &str,
    number: usize,
    tally: &mut Tally,
) -> Result<Vec<(String, bool)>> {
    let mut connection = victim.connect().await?;
    until(&mut connection, campaign, |step| count(step, "sent") + count(step, "in_doubt") == LEADS as u64)
        .await?;
    let (received, mut doubts) = (received(outside, number)?, Vec::new());
    let listed = all_items(&mut connection, &format!("/v1/campaigns/{campaign}/leads")).await?;
    ensure!(listed.len() == LEADS, "the campaign lists {} leads", listed.len());
    for lead in &listed {
        let mails = received.get(&text(lead, "email")?).copied().unwrap_or(0);
        ensure!(mails <= 1, "sent twice: {lead}");
        match lead["state"].as_str() {
            Some("completed") if mails == 1 => tally.recorded += 1,
            Some("in_doubt") => {
                *(if mails == 1 { &mut tally.accepted } else { &mut tally.not_accepted }) += 1;
                doubts.push((text(lead, "hold")?, mails == 1));
            }
            _ => bail!("{mails} mails, but listed as {lead}"),
        }
        tally.mails += mails;
    }
    Ok(doubts)
}

/// Decides what is in doubt as an operator does who has read the mail server's log, and waits until every lead is recorded so.
async fn decide(
    victim: &Victim,
    outside: &Outside,
    campaign: &str,
    number: usize,
    doubts: &[(String, bool)],
    tally: &mut Tally,
) -> Result<()> {
    let mut connection = victim.connect().await?;
    for (hold, accepted) in doubts {
        let outcome = if *accepted { "settled" } else { "released" };
        let body = json!({"outcome": outcome, "reason": "the mail server's log"});
        connection
            .call("POST", &format!("/v1/holds/{hold}/resolve"), Some(hold), &body)
            .await?
            .expect(200)?;
    }
    let failed = doubts.iter().filter(|(_, accepted)| !accepted).count();
    let done = |step: &Value| {
        (count(step, "sent"), count(step, "failed")) == ((LEADS - failed) as u64, failed as u64)
    };
    until(&mut connection, campaign, done).await?;
    let received = received(outside, number)?;
    ensure!(
        received.len() == LEADS - failed && received.values().all(|mails| *mails == 1),
        "mails came after the decision"
    );
    tally.decided += doubts.len() as u64;
    Ok(())
}

/// Waits until the only step of a campaign stands as asked for.
async fn until(connection: &mut Connection, campaign: &str, done: impl Fn(&Value) -> bool) -> Result<()> {
    let begun = Instant::now();
    loop {
        let shown = connection.get(&format!("/v1/campaigns/{campaign}")).await?;
        if done(&shown["steps"][0]) {
            return Ok(());
        }
        ensure!(begun.elapsed() < PATIENCE, "the campaign stands still: {shown}");
        sleep(Duration::from_millis(50)).await;
    }
}

fn count(step: &Value, name: &str) -> u64 {
    step[name].as_u64().unwrap_or(0)
}

/// How many mails the mail server has accepted for each lead of a campaign.
fn received(outside: &Outside, number: usize) -> Result<BTreeMap<String, u64>> {
    let mut received: BTreeMap<String, u64> = BTreeMap::new();
    for mail in outside.accepted.borrow().iter() {
        if owner(&mail.to)?.0 == number {
            *received.entry(mail.to.clone()).or_default() += 1;
        }
    }
    Ok(received)
}

/// Written only when nothing was sent twice and everything affected is listed: anything else has ended the run with an error.
fn report(options: &Options, tally: &Tally, seconds: u64) -> String {
    let Tally { kills, campaigns, mails, recorded, accepted, not_accepted, decided } = tally;
    format!(
        "`cargo run --release -p bench -- campaigns between --cycles {} --seed {}`\n\n\
         {}. The mail server ends the server with SIGKILL in the call that wrote a 250; up to 16 mails are under way then. Afterwards \
         the list of each campaign is compared with the mail server's log, lead by lead; an operator then \
         decides each by that log, and the campaign records as sent exactly those with one mail; `scrip audit` is clean.\n\n\
         | kills | campaigns of {} leads | mails accepted | recorded as sent | accepted and not recorded, listed as in doubt | \
         not accepted, listed as in doubt | decided by the log | sent twice | accepted and neither recorded nor listed | seconds |\n\
         |---|---|---|---|---|---|---|---|---|---|\n\
         | {} | {campaigns} | {} | {} | {} | {} | {} | 0 | 0 | {seconds} |",
        options.cycles,
        options.seed,
        machine(),
        thousands(LEADS as u64),
        thousands(*kills),
        thousands(*mails),
        thousands(*recorded),
        thousands(*accepted),
        thousands(*not_accepted),
        thousands(*decided),
    )
}
