//! `kill-campaigns`: the server killed at random instants while a campaign enriches, writes and mails.
//!
//! The judge is the mail server, which outlives every kill. Doubled is a lead that got the same step twice; skipped is a
//! step neither sent nor listed as in doubt, skipped or failed. Plain SMTP can neither repeat nor answer a query, so a
//! mail in flight at a kill may be in doubt, but then it must be listed and never sent again.

use crate::fakes::{Request, serve_http};
use crate::http::Connection;
use crate::judgement::{Finding, LEADS, judge};
use crate::options::Options;
use crate::results::{machine, publish};
use crate::rng::Rng;
use crate::server::{Server, Site};
use crate::smtp::{self, Accepted};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::task::LocalSet;
use tokio::time::sleep;

const GRANT: i64 = 10_000_000;
/// How long the mail server thinks, twice, over each mail: enough to be killed in between.
const MAIL_DELAY: Duration = Duration::from_millis(5);
/// A campaign that has come no further for this long never will.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a campaign with steps in doubt must have been quiet before it is judged.
const CALM: Duration = Duration::from_secs(2);

/// One campaign and the leads made for it: external ids by id.
pub(crate) struct Campaign {
    pub(crate) id: String,
    pub(crate) leads: BTreeMap<String, String>,
}

pub(crate) async fn run(options: &Options, scratch: &Path) -> Result<()> {
    println!("seed {}", options.seed);
    let mut site = Site::new(options.scrip()?, scratch);
    site.config = Some(scratch.join("scrip.toml"));
    LocalSet::new().run_until(campaigns(&site, options)).await
}

/// One campaign after the other until the kills are used up; each judged when it is over.
async fn campaigns(site: &Site, options: &Options) -> Result<()> {
    let Options { cycles, seed, .. } = *options;
    let begun = Instant::now();
    let accepted = Accepted::default();
    write_config(site, &accepted).await?;
    let mut rng = Rng::new(seed);
    let mut server = site.start().await?;
    let workspace = create_workspace(&mut server.connect().await?).await?;
    let (mut kills, mut number) = (0, 0);
    let mut total = Finding::default();
    while kills < cycles || number == 0 {
        number += 1;
        let campaign = launch(&mut server.connect().await?, &workspace, number).await?;
        let before = kills;
        server = finish(site, server, &campaign, &mut rng, &mut kills, cycles).await?;
        let mails = accepted.borrow().clone();
        let found = judge(&server, &workspace, &campaign, &mails).await;
        total.add(&found.with_context(|| format!("campaign {number} of seed {seed}, after {kills} kills"))?);
        println!("campaign {number}: {} kills, {total:?}", kills - before);
    }
    server.stop().await?;
    site.audit()?;
    let seconds = begun.elapsed().as_secs();
    publish(options.results.as_deref(), "kill-campaigns", &report(kills, seed, number, seconds, &total))
}

/// Starts the providers and points the server at them.
async fn write_config(site: &Site, accepted: &Accepted) -> Result<()> {
    let mail = smtp::serve(accepted.clone(), MAIL_DELAY, |_| {}).await?;
    let http = serve_http(provide).await?;
    let text = format!(
        "[providers.enrichment]\nkind = \"http\"\nurl = \"http://127.0.0.1:{http}/enrichment\"\nidempotent = true\n\n\
         [providers.messages]\nkind = \"openai\"\nbase_url = \"http://127.0.0.1:{http}/v1\"\nmodel = \"sample\"\n\n\
         [providers.email]\nkind = \"smtp\"\nurl = \"smtp://127.0.0.1:{mail}\"\nfrom = \"outreach@example.com\"\n"
    );
    Ok(fs::write(site.config.as_ref().context("no place for the configuration")?, text)?)
}

/// Answers depend on the request alone, so the provider is idempotent without remembering anything.
fn provide(request: &Request) -> (u16, String) {
    let asked: Value = serde_json::from_str(&request.body).unwrap_or_default();
    let answer = match request.path.as_str() {
        "/enrichment" if request.key.is_some() && asked["do"] == "contact" => {
            let lead = asked["lead"]["external_id"].as_str().unwrap_or("unknown");
            json!({"found": true, "email": address(lead), "verified": true})
        }
        "/v1/chat/completions" => json!({
            "id": "sample", "object": "chat.completion", "created": 0, "model": "sample",
            "choices": [{"index": 0, "finish_reason": "stop",
                "message": {"role": "assistant", "content": "Good day. A short sample note, written for you."}}],
            "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
        }),
        _ => return (422, "{}".into()),
    };
    (200, answer.to_string())
}

pub(crate) fn address(external_id: &str) -> String {
    format!("{external_id}@example.com")
}

async fn create_workspace(connection: &mut Connection) -> Result<String> {
    let body = json!({"name": "Killed campaigns"});
    let created = connection.call("POST", "/v1/workspaces", None, &body).await?.expect(201)?;
    let id = text(&created, "id")?;
    let body = json!({"credits": GRANT, "kind": "bonus", "reason": "bench"});
    connection
        .call("POST", &format!("/v1/workspaces/{id}/grants"), Some("grant"), &body)
        .await?
        .expect(201)?;
    Ok(id)
}

/// Makes new leads and a campaign over them, and launches it.
async fn launch(connection: &mut Connection, workspace: &str, number: u64) -> Result<Campaign> {
    let base = format!("/v1/workspaces/{workspace}");
    let prefix = format!("c{number}-");
    let leads: Vec<Value> = (0..LEADS)
        .map(|it| json!({"external_id": format!("{prefix}{it}"), "name": format!("Lead {prefix}{it}")}))
        .collect();
    let answer = connection.call("POST", &format!("{base}/leads"), None, &json!({"leads": leads})).await?;
    if !matches!(answer.status, 200 | 201) || answer.body["created"] != LEADS {
        bail!("creating leads answered {} {}", answer.status, answer.body);
    }
    let listed = connection.get(&format!("{base}/leads?limit={LEADS}")).await?;
    let leads: BTreeMap<String, String> = items(&listed)?
        .iter()
        .map(|it| Ok((text(it, "id")?, text(it, "external_id")?)))
        .filter(|it: &Result<_>| it.as_ref().map_or(true, |(_, external)| external.starts_with(&prefix)))
        .collect::<Result<_>>()?;
    if leads.len() as u64 != LEADS {
        bail!("only {} of the {LEADS} newest leads are the ones just created", leads.len());
    }
    let step = |subject: &str, generate: bool| {
        let mut step =
            json!({"channel": "email", "after_days": 0, "condition": "always", "subject": subject});
        step["generate"] = json!(generate);
        if !generate {
            step["template"] = json!("Good day {{name}}.");
        }
        step
    };
    let steps = [step("First note for {{name}}", false), step("Second note for {{name}}", true)];
    let body = json!({"name": format!("Campaign {number}"), "enrich": ["contact"], "steps": steps});
    let created = connection.call("POST", &format!("{base}/campaigns"), None, &body).await?.expect(201)?;
    let id = text(&created, "id")?;
    let ids: Vec<&String> = leads.keys().collect();
    for (path, body) in [("leads", json!({"leads": ids})), ("launch", json!({}))] {
        let answer = connection.call("POST", &format!("/v1/campaigns/{id}/{path}"), None, &body).await?;
        if answer.status / 100 != 2 {
            bail!("{path} of a campaign answered {} {}", answer.status, answer.body);
        }
    }
    Ok(Campaign { id, leads })
}

/// Kills and restarts until the campaign is over; once the kills are used up, only waits.
async fn finish(
    site: &Site,
    mut server: Server,
    campaign: &Campaign,
    rng: &mut Rng,
    kills: &mut u64,
    cycles: u64,
) -> Result<Server> {
    let path = format!("/v1/campaigns/{}", campaign.id);
    let (mut last, mut moved) = (Value::Null, Instant::now());
    loop {
        let shown = server.connect().await?.get(&path).await?;
        if shown["steps"] != last {
            (last, moved) = (shown["steps"].clone(), Instant::now());
        }
        let over = is_over(&shown);
        if shown["status"] == "completed" || over && moved.elapsed() > CALM {
            return Ok(server);
        }
        if moved.elapsed() > PATIENCE {
            bail!("the campaign stands still: {shown}");
        }
        if over || *kills == cycles {
            sleep(Duration::from_millis(50)).await;
            continue;
        }
        sleep(Duration::from_micros(rng.between(50_000, 400_000))).await;
        server.kill()?;
        *kills += 1;
        server = site.start().await?;
    }
}

/// Nothing left to do, except for leads with a step in doubt, which may wait for days or go on.
fn is_over(campaign: &Value) -> bool {
    let count = |step: usize, name: &str| campaign["steps"][step][name].as_u64().unwrap_or(0);
    let ended = |step| count(step, "sent") + count(step, "skipped") + count(step, "failed");
    let first = ended(0) + count(0, "in_doubt") >= LEADS;
    let second = ended(1) + count(1, "in_doubt") + count(0, "in_doubt") >= LEADS;
    first && second
}

pub(crate) fn items(list: &Value) -> Result<&Vec<Value>> {
    list["items"].as_array().with_context(|| format!("a list without items: {list}"))
}

pub(crate) fn text(value: &Value, name: &str) -> Result<String> {
    Ok(value[name].as_str().with_context(|| format!("no {name} in {value}"))?.to_owned())
}

/// Written only when nothing was doubled or skipped: anything else has ended the run with an error.
fn report(kills: u64, seed: u64, campaigns: u64, seconds: u64, total: &Finding) -> String {
    let Finding { mails, sent, in_doubt, listed } = total;
    format!(
        "`cargo run --release -p bench -- kill-campaigns --cycles {kills} --seed {seed}`\n\n\
         {}. Campaigns of {LEADS} leads: contact enrichment, a mail, a generated mail. SIGKILL 50 to 400 ms after each start; \
         afterwards the mail server's log, the campaign's own lists and the ledger are compared, and `scrip audit` is clean.\n\n\
         | kills | seed | seconds | campaigns | mails accepted | steps sent and charged | in doubt | skipped or failed, listed | mails doubled | steps skipped silently |\n\
         |---|---|---|---|---|---|---|---|---|---|\n\
         | {kills} | {seed} | {seconds} | {campaigns} | {mails} | {sent} | {in_doubt} | {listed} | 0 | 0 |",
        machine(),
    )
}
