//! `campaigns`: many of them, large ones, waiting ones, and what a kill does to them, measured over hours of work.
//!
//! Owns the world around the server that all parts share: a mail server and providers that keep logs of their own, and the
//! calls that make leads and campaigns. Each part compares these logs with what the server says.

mod between;
mod idle;
mod many;
mod million;
mod resume;

use crate::campaigns::{items, text};
use crate::fakes::{Request, serve_http};
use crate::http::Connection;
use crate::options::{Options, USAGE};
use crate::server::{Server, Site};
use crate::smtp::{self, Accepted, Mail};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::{LocalSet, spawn_local};

/// How many leads one request makes or adds.
const MOST_LEADS: usize = 10_000;
/// How many connections make campaigns.
const MAKERS: usize = 8;

pub(crate) async fn run(options: &Options, scratch: &Path) -> Result<()> {
    println!("seed {}", options.seed);
    let part = async {
        match options.part.as_str() {
            "many" => many::run(options, scratch).await,
            "resume" => resume::run(options, scratch).await,
            "million" => million::run(options, scratch).await,
            "idle" => idle::run(options, scratch).await,
            "between" => between::run(options, scratch).await,
            _ => bail!("{USAGE}"),
        }
    };
    LocalSet::new().run_until(part).await
}

/// What the providers did: of each key, for which operation and lead. A key that comes again has no effect again.
type Effects = Rc<RefCell<BTreeMap<String, (&'static str, String)>>>;

/// The outside of a server: whom it mails and whom it asks, with their logs.
struct Outside {
    accepted: Accepted,
    effects: Effects,
}

impl Outside {
    /// Starts both and makes a site whose server uses them. `told` hears of each mail once its 250 is on its way.
    async fn start(
        options: &Options,
        scratch: &Path,
        delay: Duration,
        told: impl Fn(&Mail) + 'static,
    ) -> Result<(Outside, Site)> {
        let outside = Outside { accepted: Accepted::default(), effects: Effects::default() };
        let mail = smtp::serve(outside.accepted.clone(), delay, told).await?;
        let effects = outside.effects.clone();
        let http = serve_http(move |request| provide(request, &effects)).await?;
        let url = |name: &str| format!("http://127.0.0.1:{http}/{name}");
        let idempotent = |name: &str| {
            format!("[providers.{name}]\nkind = \"http\"\nurl = \"{}\"\nidempotent = true\n", url(name))
        };
        let config = format!(
            "{}{}[providers.messages]\nkind = \"openai\"\nbase_url = \"{}\"\nmodel = \"sample\"\n\
             [providers.email]\nkind = \"smtp\"\nurl = \"smtp://127.0.0.1:{mail}\"\nfrom = \"outreach@example.com\"\n",
            idempotent("enrichment"),
            idempotent("linkedin"),
            url("v1"),
        );
        fs::create_dir_all(scratch)?;
        let mut site = Site::new(options.scrip()?, scratch);
        site.config = Some(scratch.join("scrip.toml"));
        fs::write(scratch.join("scrip.toml"), config)?;
        Ok((outside, site))
    }

    fn mails(&self) -> usize {
        self.accepted.borrow().len()
    }
}

/// Answers follow from the request alone, and each key's effect is written down once.
fn provide(request: &Request, effects: &Effects) -> (u16, String) {
    let asked: Value = serde_json::from_str(&request.body).unwrap_or_default();
    let lead = asked["lead"]["external_id"].as_str().unwrap_or_default().to_owned();
    let (operation, answer) = match (request.path.as_str(), asked["do"].as_str()) {
        ("/enrichment", Some("contact")) => {
            let email = crate::campaigns::address(&lead);
            ("contact_enrichment", json!({"found": true, "email": email, "verified": true}))
        }
        ("/linkedin", Some("invite")) => ("linkedin_send", json!({"accepted": true, "id": lead})),
        ("/v1/chat/completions", _) => (
            "message_generation",
            json!({
                "id": "sample", "object": "chat.completion", "created": 0, "model": "sample",
                "choices": [{"index": 0, "finish_reason": "stop",
                    "message": {"role": "assistant", "content": "Good day. A short sample note, written for you."}}],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            }),
        ),
        _ => return (422, "{}".into()),
    };
    let Some(key) = request.key.clone() else { return (422, "{}".into()) };
    effects.borrow_mut().entry(key).or_insert((operation, lead));
    (200, answer.to_string())
}

async fn create_workspace(connection: &mut Connection, name: &str) -> Result<String> {
    let body = json!({"name": name});
    let created = connection.call("POST", "/v1/workspaces", None, &body).await?.expect(201)?;
    text(&created, "id")
}

async fn grant(connection: &mut Connection, workspace: &str, key: &str, credits: i64) -> Result<()> {
    let body = json!({"credits": credits, "kind": "bonus", "reason": "bench"});
    let path = format!("/v1/workspaces/{workspace}/grants");
    connection.call("POST", &path, Some(key), &body).await?.expect(201)?;
    Ok(())
}

/// Makes leads named `{prefix}0`, `{prefix}1`, …; answers their ids in that order. Nobody else makes leads meanwhile.
async fn create_leads(
    connection: &mut Connection,
    workspace: &str,
    prefix: &str,
    number: usize,
    with_email: bool,
) -> Result<Vec<String>> {
    for begin in (0..number).step_by(MOST_LEADS) {
        let lead = |it: usize| {
            let name = format!("{prefix}{it}");
            let profile = format!("https://www.linkedin.example.com/in/{name}");
            let mut lead =
                json!({"external_id": name, "name": format!("Lead {name}"), "linkedin_url": profile});
            if with_email {
                lead["email"] = json!(crate::campaigns::address(&name));
            }
            lead
        };
        let leads: Vec<Value> = (begin..number.min(begin + MOST_LEADS)).map(lead).collect();
        let (made, body) = (leads.len(), json!({"leads": leads}));
        let path = format!("/v1/workspaces/{workspace}/leads");
        let answer = connection.call("POST", &path, None, &body).await?.expect(200)?;
        anyhow::ensure!(answer["created"] == made, "leads: {answer}");
    }
    let mut ids = vec![String::new(); number];
    let mut left = number;
    let mut cursor = String::new();
    while left > 0 {
        let path = format!("/v1/workspaces/{workspace}/leads?limit=500{cursor}");
        let page = connection.get(&path).await?;
        for lead in items(&page)? {
            let name = text(lead, "external_id")?;
            let Some(index) = name.strip_prefix(prefix).and_then(|it| it.parse::<usize>().ok()) else {
                continue;
            };
            ids[index] = text(lead, "id")?;
            left -= 1;
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    anyhow::ensure!(left == 0, "{left} leads are not listed");
    Ok(ids)
}

/// Makes a campaign over leads and launches it.
async fn launch(
    connection: &mut Connection,
    workspace: &str,
    body: &Value,
    leads: &[String],
) -> Result<String> {
    let path = format!("/v1/workspaces/{workspace}/campaigns");
    let id = text(&connection.call("POST", &path, None, body).await?.expect(201)?, "id")?;
    for leads in leads.chunks(MOST_LEADS) {
        let path = format!("/v1/campaigns/{id}/leads");
        connection.call("POST", &path, None, &json!({"leads": leads})).await?.expect(200)?;
    }
    act(connection, &id, "launch").await?;
    Ok(id)
}

async fn act(connection: &mut Connection, campaign: &str, what: &str) -> Result<Value> {
    connection.call("POST", &format!("/v1/campaigns/{campaign}/{what}"), None, &json!({})).await?.expect(200)
}

/// Makes and launches campaigns over several connections; each as `make` says from its number. Answers their ids in order.
async fn launch_all(
    server: &Server,
    workspace: &str,
    number: usize,
    make: impl Fn(usize) -> (Value, Vec<String>) + 'static,
) -> Result<Vec<String>> {
    let (next, make) = (Rc::new(RefCell::new(0..number)), Rc::new(make));
    let ids = Rc::new(RefCell::new(vec![String::new(); number]));
    let mut makers = Vec::new();
    for _ in 0..MAKERS {
        let (next, make, ids) = (next.clone(), make.clone(), ids.clone());
        let (mut connection, workspace) = (server.connect().await?, workspace.to_owned());
        makers.push(spawn_local(async move {
            loop {
                let Some(index) = next.borrow_mut().next() else { return Ok::<_, anyhow::Error>(()) };
                let (body, leads) = make(index);
                let id = launch(&mut connection, &workspace, &body, &leads).await?;
                ids.borrow_mut()[index] = id;
            }
        }));
    }
    for maker in makers {
        maker.await??;
    }
    Ok(ids.take())
}

/// All items of a list, page by page.
async fn all_items(connection: &mut Connection, path: &str) -> Result<Vec<Value>> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    let joint = if path.contains('?') { '&' } else { '?' };
    loop {
        let page = connection.get(&format!("{path}{joint}limit=500{cursor}")).await?;
        found.extend(items(&page)?.iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(found),
        }
    }
}

/// A mail step with a fixed text.
fn mail_step(subject: &str, after_days: i64) -> Value {
    json!({"channel": "email", "after_days": after_days, "subject": subject, "template": "Good day {{name}}."})
}

/// The campaign and the lead that an address made by [`create_leads`] with prefix `c{campaign}-` speaks of.
fn owner(address: &str) -> Result<(usize, usize)> {
    let name = address.strip_suffix("@example.com").and_then(|it| it.strip_prefix('c'));
    let pair = name.and_then(|it| it.split_once('-'));
    let (campaign, lead) = pair.with_context(|| format!("a mail to nobody: {address}"))?;
    Ok((campaign.parse()?, lead.parse()?))
}
