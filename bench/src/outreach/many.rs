//! `campaigns many`: campaigns of one workspace, each paused and resumed by a person, killed with the server, run dry and topped up
//! again and again until its end; then the mail server's and the providers' own logs against what the server says and charged.
//!
//! Whether a mail in doubt was sent is decided as an operator would: by looking into the mail server's log.

use super::{Outside, act, all_items, create_leads, create_workspace, grant, launch_all, mail_step, owner};
use crate::campaigns::text;
use crate::http::Connection;
use crate::options::Options;
use crate::results::{machine, publish};
use crate::rng::Rng;
use crate::server::{Server, Site};
use crate::stats::thousands;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// A contact, a mail, an invitation, a message and its mail.
const CREDITS_A_LEAD: usize = 14;
const MAIL_DELAY: Duration = Duration::from_millis(3);
/// Work that has come no further for this long never will.
const PATIENCE: Duration = Duration::from_secs(180);
const MAILS: [&str; 2] = ["First note for Lead ", "Last note for Lead "];

/// The campaigns, and what the bench did to them.
struct Trial {
    outside: Outside,
    site: Site,
    server: Option<Server>,
    rng: Rng,
    workspace: String,
    campaigns: Vec<String>,
    leads: Vec<Vec<String>>,
    tally: Tally,
    /// Of each campaign, how many mails the log has, and how many in doubt were not in it.
    mails: Vec<usize>,
    not_sent: Vec<usize>,
    /// The holds whose mails the log has.
    arrived: HashSet<String>,
    read: usize,
}

#[derive(Default)]
struct Tally {
    grants: u64,
    kills: u64,
    run_dry: u64,
    pauses: u64,
    in_doubt: u64,
}

pub(super) async fn run(options: &Options, scratch: &Path) -> Result<()> {
    let begun = Instant::now();
    let mut trial = Trial::start(options, scratch).await?;
    let whole = trial.campaigns.len() * options.leads * CREDITS_A_LEAD;
    // In all about two thirds of what everything costs, so that no campaign ends before its last round.
    let part = whole * 10 / (usize::try_from(options.cycles)? * 14 + 1);
    for round in 1..=options.cycles {
        let credits = part * usize::try_from(trial.rng.between(70, 130))? / 100;
        trial
            .round(credits.max(1))
            .await
            .with_context(|| format!("round {round} of seed {}", options.seed))?;
        println!("round {round}: {} mails, {} s", trial.outside.mails(), begun.elapsed().as_secs());
    }
    trial.finish(whole).await.with_context(|| format!("the end of seed {}", options.seed))?;
    let invites = trial.judge(options.leads).await.with_context(|| format!("seed {}", options.seed))?;
    trial.server.take().context("no server")?.stop().await?;
    trial.site.audit()?;
    let seconds = begun.elapsed().as_secs();
    publish(options.results.as_deref(), "campaigns many", &trial.report(options, seconds, invites))
}

impl Trial {
    async fn start(options: &Options, scratch: &Path) -> Result<Trial> {
        let (outside, site) = Outside::start(options, scratch, MAIL_DELAY, |_| {}).await?;
        let server = site.start().await?;
        let mut connection = server.connect().await?;
        let workspace = create_workspace(&mut connection, "Many campaigns").await?;
        let mut leads = Vec::with_capacity(options.campaigns);
        for campaign in 0..options.campaigns {
            let prefix = format!("c{campaign}-");
            leads.push(create_leads(&mut connection, &workspace, &prefix, options.leads, false).await?);
        }
        let of_each = leads.clone();
        // Without a credit: each begins paused.
        let campaigns = launch_all(&server, &workspace, options.campaigns, move |index| {
            let (first, mut last) =
                (mail_step("First note for {{name}}", 0), mail_step("Last note for {{name}}", 0));
            last["generate"] = json!(true);
            let invite = json!({"channel": "linkedin_invite", "after_days": 0, "template": "Hello {{name}}"});
            let body = json!({"name": format!("Campaign {index}"), "enrich": ["contact"], "steps": [first, invite, last]});
            (body, of_each[index].clone())
        });
        let campaigns = campaigns.await?;
        Ok(Trial {
            mails: vec![0; campaigns.len()],
            not_sent: vec![0; campaigns.len()],
            rng: Rng::new(options.seed),
            server: Some(server),
            tally: Tally::default(),
            arrived: HashSet::new(),
            read: 0,
            outside,
            site,
            workspace,
            campaigns,
            leads,
        })
    }

    async fn connect(&self) -> Result<Connection> {
        self.server.as_ref().context("no server")?.connect().await
    }

    async fn top_up(&mut self, credits: usize) -> Result<()> {
        self.tally.grants += 1;
        let key = format!("grant-{}", self.tally.grants);
        grant(&mut self.connect().await?, &self.workspace, &key, i64::try_from(credits)?).await
    }

    async fn kill(&mut self) -> Result<()> {
        self.server.take().context("no server")?.kill()?;
        self.tally.kills += 1;
        // What had reached the mail server is still accepted there.
        sleep(MAIL_DELAY * 10).await;
        self.server = Some(self.site.start().await?);
        Ok(())
    }

    /// One top-up; while it is used each campaign is paused and resumed and the server is killed; then nothing is left.
    async fn round(&mut self, credits: usize) -> Result<()> {
        self.top_up(credits).await?;
        let mut order: Vec<usize> = (0..self.campaigns.len()).collect();
        for index in (1..order.len()).rev() {
            order.swap(index, self.rng.index(index + 1));
        }
        let (killed_at, mut paused) = (self.rng.index(order.len()), Vec::new());
        let mut connection = self.connect().await?;
        for (number, campaign) in order.into_iter().enumerate() {
            if number == killed_at {
                sleep(Duration::from_micros(self.rng.below(200_000))).await;
                self.kill().await?;
                connection = self.connect().await?;
            }
            act(&mut connection, &self.campaigns[campaign], "pause").await?;
            paused.push(campaign);
            self.tally.pauses += 1;
            while self.rng.below(3) == 0 && !paused.is_empty() {
                let campaign = paused.swap_remove(self.rng.index(paused.len()));
                act(&mut connection, &self.campaigns[campaign], "resume").await?;
            }
        }
        for campaign in paused {
            act(&mut connection, &self.campaigns[campaign], "resume").await?;
        }
        self.until(|state| state == "out").await?;
        self.tally.run_dry += 1;
        for campaign in self.statuses().await? {
            let reasons = &campaign["pause_reasons"];
            let dry = campaign["status"] == "paused" && reasons[0]["reason"] == "out_of_credits";
            ensure!(dry, "out of credits, but not paused by that: {campaign}");
        }
        Ok(())
    }

    async fn finish(&mut self, credits: usize) -> Result<()> {
        self.top_up(credits).await?;
        loop {
            let before = self.outside.mails();
            self.until(|_| true).await?;
            let statuses = self.statuses().await?;
            if statuses.iter().all(|it| it["status"] == "completed") {
                return Ok(());
            }
            let begun = Instant::now();
            while self.outside.mails() == before && begun.elapsed() < PATIENCE {
                sleep(Duration::from_millis(20)).await;
                if self.statuses().await?.iter().all(|it| it["status"] == "completed") {
                    return Ok(());
                }
            }
            ensure!(begun.elapsed() < PATIENCE, "the campaigns stand still");
        }
    }

    /// Decides what is in doubt until the balance is in a state, with nothing held.
    async fn until(&mut self, wanted: impl Fn(&str) -> bool) -> Result<()> {
        let (mut last, mut moved) = (Value::Null, Instant::now());
        loop {
            self.resolve().await?;
            let path = format!("/v1/workspaces/{}/balance", self.workspace);
            let balance = self.connect().await?.get(&path).await?;
            if balance["held"] == 0 && wanted(balance["state"].as_str().unwrap_or_default()) {
                return Ok(());
            }
            if balance["available"] != last {
                (last, moved) = (balance["available"].clone(), Instant::now());
            }
            ensure!(moved.elapsed() < PATIENCE, "nothing moves: {balance}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Tells the server of each hold in doubt whether the mail server has its mail.
    async fn resolve(&mut self) -> Result<()> {
        let mut connection = self.connect().await?;
        let path = format!("/v1/workspaces/{}/holds?status=in_doubt", self.workspace);
        let holds = all_items(&mut connection, &path).await?;
        self.read_log()?;
        for hold in holds {
            ensure!(hold["operation"] == "email_send", "only a mail can be in doubt: {hold}");
            let (id, campaign) = (text(&hold, "id")?, text(&hold, "campaign")?);
            let campaign =
                self.campaigns.iter().position(|it| *it == campaign).context("an unknown campaign")?;
            let sent = self.arrived.contains(&id);
            let outcome = if sent { "settled" } else { "released" };
            let body = json!({"outcome": outcome, "reason": "the mail server's log"});
            connection.call("POST", &format!("/v1/holds/{id}/resolve"), None, &body).await?.expect(200)?;
            self.tally.in_doubt += 1;
            self.not_sent[campaign] += usize::from(!sent);
        }
        Ok(())
    }

    /// Takes in what is new in the mail server's log.
    fn read_log(&mut self) -> Result<()> {
        let accepted = self.outside.accepted.borrow();
        for mail in &accepted[self.read..] {
            self.mails[owner(&mail.to)?.0] += 1;
            ensure!(self.arrived.insert(mail.hold.clone()), "two mails of one hold: {mail:?}");
        }
        self.read = accepted.len();
        Ok(())
    }

    /// All campaigns as they are listed; an error when one is completed and not all of its mails are out or known as not sent.
    async fn statuses(&mut self) -> Result<Vec<Value>> {
        let path = format!("/v1/workspaces/{}/campaigns", self.workspace);
        let statuses = all_items(&mut self.connect().await?, &path).await?;
        ensure!(statuses.len() == self.campaigns.len(), "{} campaigns are listed", statuses.len());
        self.read_log()?;
        let places: HashMap<&String, usize> =
            self.campaigns.iter().enumerate().map(|(index, id)| (id, index)).collect();
        for campaign in statuses.iter().filter(|it| it["status"] == "completed") {
            let index = places[&text(campaign, "id")?];
            let (mails, not_sent) = (self.mails[index], self.not_sent[index]);
            let all = self.leads[index].len() * MAILS.len();
            ensure!(
                mails + not_sent == all,
                "finished early, with {mails} mails and {not_sent} not sent: {campaign}"
            );
        }
        Ok(statuses)
    }

    /// Every log against every list; an error at the first difference. Answers how many invitations there were.
    async fn judge(&mut self, leads: usize) -> Result<u64> {
        let mut connection = self.connect().await?;
        let mut received: HashSet<(String, usize)> = HashSet::new();
        for mail in self.outside.accepted.borrow().iter() {
            let step = MAILS.iter().position(|it| mail.subject.starts_with(it)).context("an unknown mail")?;
            ensure!(received.insert((mail.to.clone(), step)), "doubled: {mail:?}");
        }
        for (index, campaign) in self.campaigns.iter().enumerate() {
            let shown = connection.get(&format!("/v1/campaigns/{campaign}")).await?;
            let count = |step: usize, name: &str| shown["steps"][step][name].as_u64().unwrap_or(u64::MAX);
            let mut failed = 0;
            for (step, mails) in [(0, Some(0)), (1, None), (2, Some(1))] {
                let (sent, lost) = (count(step, "sent"), count(step, "failed"));
                ensure!(sent + lost == leads as u64, "step {step} skipped or doubled: {shown}");
                ensure!(count(step, "skipped") + count(step, "in_doubt") == 0, "step {step}: {shown}");
                let Some(which) = mails else { continue };
                let address = |lead: usize| crate::campaigns::address(&format!("c{index}-{lead}"));
                let arrived = (0..leads).filter(|lead| received.contains(&(address(*lead), which))).count();
                ensure!(sent == arrived as u64, "step {step}: {arrived} mails arrived: {shown}");
                failed += lost;
            }
            ensure!(
                failed == self.not_sent[index] as u64,
                "{} mails were not sent: {shown}",
                self.not_sent[index]
            );
            ensure!(shown["leads"]["completed"] == leads, "not every lead is through: {shown}");
        }
        self.compare_charges(&mut connection, leads).await
    }

    /// Each effect at a provider and each accepted mail charged once, and nothing else.
    async fn compare_charges(&self, connection: &mut Connection, leads: usize) -> Result<u64> {
        let entries = all_items(connection, &format!("/v1/workspaces/{}/entries", self.workspace)).await?;
        let balance = connection.get(&format!("/v1/workspaces/{}/balance", self.workspace)).await?;
        let total: i64 = entries.iter().filter_map(|it| it["amount"].as_i64()).sum();
        ensure!(balance["balance"] == total && balance["held"] == 0, "the entries sum to {total}: {balance}");
        let names: HashMap<&String, String> = self
            .leads
            .iter()
            .enumerate()
            .flat_map(|(campaign, ids)| {
                ids.iter().enumerate().map(move |(lead, id)| (id, format!("c{campaign}-{lead}")))
            })
            .collect();
        let mut charged: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for entry in entries.iter().filter(|it| it["kind"] == "charge") {
            let (operation, lead) = (entry["operation"].as_str(), text(entry, "lead")?);
            let name = names.get(&lead).with_context(|| format!("a charge for nobody: {entry}"))?;
            *charged.entry((operation.unwrap_or_default(), name)).or_default() += 1;
        }
        let mut happened: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        let accepted = self.outside.accepted.borrow();
        for mail in accepted.iter() {
            let lead = mail.to.trim_end_matches("@example.com");
            *happened.entry(("email_send", lead)).or_default() += 1;
        }
        let effects = self.outside.effects.borrow();
        let (mut messages, mut invites) = (0, 0);
        for (operation, lead) in effects.values() {
            invites += u64::from(*operation == "linkedin_send");
            if *operation == "message_generation" {
                // Whom it is for is only in its words.
                messages += 1;
                continue;
            }
            *happened.entry((operation, lead)).or_default() += 1;
        }
        let written = charged.iter().filter(|((operation, _), _)| *operation == "message_generation");
        let written: u64 = written.map(|(_, times)| *times).sum();
        ensure!(
            written == messages && messages == (self.campaigns.len() * leads) as u64,
            "{written} messages charged, {messages} written"
        );
        let once = charged.iter().filter(|((operation, _), _)| *operation == "message_generation");
        ensure!(once.into_iter().all(|(_, times)| *times == 1), "a message charged twice");
        charged.retain(|(operation, _), _| *operation != "message_generation");
        for (what, times) in &happened {
            let paid = charged.remove(what).unwrap_or(0);
            ensure!(paid == *times, "{what:?} happened {times} times and was charged {paid} times");
        }
        if let Some((what, times)) = charged.first_key_value() {
            bail!("{what:?} was charged {times} times and never happened");
        }
        Ok(invites)
    }

    /// Written only when nothing was doubled, skipped, early or astray: anything else has ended the run with an error.
    fn report(&self, options: &Options, seconds: u64, invites: u64) -> String {
        let (Options { campaigns, leads, cycles, seed, .. }, Tally { kills, run_dry, pauses, in_doubt, .. }) =
            (options, &self.tally);
        format!(
            "`cargo run --release -p bench -- campaigns many --campaigns {campaigns} --leads {leads} --cycles {cycles} --seed {seed}`\n\n\
             {}. Each lead: a contact, a mail, an invitation, a message and its mail. Each round is one top-up, a pause and a resume of \
             every campaign by a person, one SIGKILL, and no credits left; every campaign lived through all rounds. Afterwards the mail \
             server's and the providers' own logs are compared with the lists of every campaign and with the charges of every lead; \
             `scrip audit` is clean.\n\n\
             | campaigns x leads | run dry and resumed | kills | pauses and resumes by a person | mails | invitations | \
             mails in doubt, decided by the log | doubled | skipped | finished early | charges that are not successes, or the reverse | seconds |\n\
             |---|---|---|---|---|---|---|---|---|---|---|---|\n\
             | {} x {} | {run_dry} | {kills} | {} | {} | {} | {in_doubt} | 0 | 0 | 0 | 0 | {seconds} |",
            machine(),
            thousands(*campaigns as u64),
            thousands(*leads as u64),
            thousands(*pauses),
            thousands(self.outside.mails() as u64),
            thousands(invites),
        )
    }
}
