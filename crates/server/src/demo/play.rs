//! The demo: a sample workspace with too few credits, two campaigns, and a clock that runs fast.
//!
//! It uses the product as anybody would: over HTTP, with the operator's key. At the end it holds what was charged against
//! what the stand-ins logged.

use std::process::ExitCode;
use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::http_fakes::HttpFakes;
use super::smtp_sink::SmtpSink;
use crate::app::{App, Link, LinkRole, Start};
use crate::catalog::Catalog;
use crate::config::{
    Config, Cost, CostPer, Costs, EnrichmentConfig, HttpConfig, MailConfig, MessagesConfig, PaymentsConfig,
    ProvidersConfig, Secret, Trust, WebhooksConfig,
};
use crate::{audit, clock, config, id, server, store};

/// Credits the sample workspace begins with: too few for its campaigns.
const FIRST_CREDITS: i64 = 600;
/// How much time passes at a tick, in seconds.
const TICK_SECONDS: i64 = 3 * 3_600;
/// How long a tick takes when somebody watches.
const TICK: Duration = Duration::from_millis(700);
/// How many ticks the demo may take before it says that it hangs.
const MAX_TICKS: usize = 2_000;
/// The leads that both campaigns share out.
const LEADS: &str = include_str!("../../../../examples/leads.csv");

/// Where a person looks for it when nobody said where.
const USUAL: &str = "127.0.0.1:8080";
/// Wherever there is room.
const ANYWHERE: &str = "127.0.0.1:0";

/// Runs the demo: for a person, or by itself with `auto`.
///
/// # Errors
/// One line for the person who started it.
pub async fn run(auto: bool, listen: Option<&str>) -> Result<ExitCode, String> {
    let (sink, notices, fakes) = (
        started(SmtpSink::start().await)?,
        started(SmtpSink::start().await)?,
        started(HttpFakes::start().await)?,
    );
    let directory = config::scratch_directory(&format!("scrip-demo-{}", clock::fresh_id()));
    // Only a port that nobody asked for may be another one.
    let bound = server::bind(listen.unwrap_or(if auto { ANYWHERE } else { USUAL })).await;
    let (listener, address) = match bound {
        Err(_) if listen.is_none() => server::bind(ANYWHERE).await?,
        bound => bound?,
    };
    let operator_key = crate::app::hex(&clock::random::<16>());
    let start = Start {
        config: settings(&sink, &notices, &fakes),
        place: &store::Place::Directory(directory.clone()),
        manual: Some(clock::Clock::System.now()),
        operator_key: operator_key.clone(),
        public_url: format!("http://{address}"),
    };
    let app = App::start(start).await?;
    let serving = tokio::spawn(server::serve(app.clone(), listener, server::terminated()));
    let player = Player { client: Client::new(), base: format!("http://{address}"), key: operator_key };
    let workspace = player.prepare().await?;
    println!("{} leads imported, 2 campaigns launched, {FIRST_CREDITS} credits.", LEADS.lines().count() - 1);
    let outcome = if auto {
        player.play(&workspace).await?;
        verdict(&player, &workspace, &sink, &fakes, &store::Place::Directory(directory.clone())).await
    } else {
        println!(
            "\nOpen the dashboard:\n\n  {}\n\nTime runs fast. Buy a pack when the credits run out. Ctrl-C ends it.\n",
            link(&app, &workspace)?
        );
        // A call that the end of the server cut off is no failure.
        match player.watch(&app, &workspace).await {
            Err(why) if !app.is_stopping() => Err(why),
            _ => Ok(ExitCode::SUCCESS),
        }
    };
    app.stop();
    serving.abort();
    let _ = std::fs::remove_dir_all(&directory);
    outcome
}

fn started<T>(result: std::io::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("cannot start a local stand-in: {error}"))
}

fn settings(sink: &SmtpSink, notices: &SmtpSink, fakes: &HttpFakes) -> Config {
    let timeout = Duration::from_secs(20);
    let token = || Some(Secret::new(fakes.token.clone()));
    let http = |path: &str| HttpConfig {
        url: format!("{}/{path}", fakes.url),
        token: token(),
        idempotent: true,
        query: false,
        timeout,
    };
    let mail = |sink: &SmtpSink| MailConfig {
        url: Secret::new(sink.url.clone()),
        from: "Scrip demo <demo@example.com>".to_owned(),
        timeout,
    };
    let cost = |micros| Cost { micros, per: CostPer::Result };
    let enrichment = EnrichmentConfig {
        name: "local".to_owned(),
        fields: None,
        cost: cost(20_000),
        http: http("enrichment"),
    };
    Config {
        catalogs: vec![Catalog::builtin()],
        providers: ProvidersConfig {
            discovery: Some(http("discovery")),
            enrichment: vec![enrichment],
            linkedin: Some(http("linkedin")),
            messages: Some(MessagesConfig {
                base_url: format!("{}/v1", fakes.url),
                model: "local".to_owned(),
                token: token(),
                timeout,
            }),
            email: Some(mail(sink)),
            costs: Costs {
                discovery: cost(10_000),
                linkedin: cost(4_000),
                messages: Cost { micros: 1_500, per: CostPer::Call },
                email: cost(400),
            },
            currency: None,
        },
        payments: Some(PaymentsConfig::Sandbox),
        mail: Some(mail(notices)),
        webhooks: WebhooksConfig::default(),
        oidc: None,
        public_url: None,
        seal_key: None,
        trust: Trust::default(),
    }
}

/// A link that outlives the fast clock.
fn link(app: &App, workspace: &str) -> Result<String, String> {
    let workspace = id::parse_workspace(workspace).ok_or("the workspace has no id")?;
    let expires_at = app.clock.now().plus_seconds(10 * 365 * 86_400).0;
    Ok(app.portal_link(&Link {
        workspace: Some(workspace),
        role: LinkRole::Admin,
        email: None,
        return_url: None,
        expires_at,
    }))
}

struct Player {
    client: Client,
    base: String,
    key: String,
}

impl Player {
    async fn call(&self, method: Method, path: &str, body: Value) -> Result<Value, String> {
        let request = self.client.request(method, format!("{}{path}", self.base)).bearer_auth(&self.key);
        let request = request.header("Idempotency-Key", crate::app::hex(&clock::random::<16>()));
        let request = if body.is_null() { request } else { request.json(&body) };
        let response = request.send().await.map_err(|error| format!("{path}: {error}"))?;
        let (status, body) = (response.status(), response.text().await.unwrap_or_default());
        if !status.is_success() {
            return Err(format!("{path}: {status}: {body}"));
        }
        serde_json::from_str(&body).map_err(|error| format!("{path}: {error}"))
    }

    async fn post(&self, path: &str, body: Value) -> Result<Value, String> {
        self.call(Method::POST, path, body).await
    }

    async fn get(&self, path: &str) -> Result<Value, String> {
        self.call(Method::GET, path, Value::Null).await
    }

    /// Makes the workspace, imports the leads and launches both campaigns.
    async fn prepare(&self) -> Result<String, String> {
        let body = json!({ "name": "Sample workspace", "admin_email": "admin@example.com" });
        let workspace = text(&self.post("/v1/workspaces", body).await?, "id");
        let grant = json!({ "credits": FIRST_CREDITS, "kind": "bonus", "reason": "Welcome to the demo" });
        self.post(&format!("/v1/workspaces/{workspace}/grants"), grant).await?;
        let import =
            self.client.post(format!("{}/v1/workspaces/{workspace}/leads", self.base)).bearer_auth(&self.key);
        let import = import
            .header("content-type", "text/csv")
            .body(LEADS)
            .send()
            .await
            .map_err(|error| error.to_string())?;
        if !import.status().is_success() {
            return Err(format!("the leads were not imported: {}", import.text().await.unwrap_or_default()));
        }
        self.post(
            &format!("/v1/workspaces/{workspace}/searches/preview"),
            json!({ "query": { "first": 301 } }),
        )
        .await?;
        let leads = self.get(&format!("/v1/workspaces/{workspace}/leads?limit=500")).await?;
        let mut leads: Vec<String> =
            leads["items"].as_array().into_iter().flatten().map(|lead| text(lead, "id")).collect();
        leads.reverse();
        let half = leads.len() / 2;
        for (campaign, leads) in campaigns().into_iter().zip([&leads[..half], &leads[half..]]) {
            let campaign =
                text(&self.post(&format!("/v1/workspaces/{workspace}/campaigns"), campaign).await?, "id");
            self.post(&format!("/v1/campaigns/{campaign}/leads"), json!({ "leads": leads })).await?;
            self.post(&format!("/v1/campaigns/{campaign}/launch"), Value::Null).await?;
        }
        Ok(workspace)
    }

    /// Lets time pass and buys when the credits run out, until both campaigns are done.
    async fn play(&self, workspace: &str) -> Result<(), String> {
        for tick in 0..MAX_TICKS {
            let now = text(&self.post("/v1/clock/advance", json!({ "seconds": TICK_SECONDS })).await?, "now");
            let balance = self.get(&format!("/v1/workspaces/{workspace}/balance")).await?;
            let campaigns = self.campaigns(workspace).await?;
            if tick % 8 == 0 || balance["state"] == "out" {
                println!("{now}  {}", status_line(&balance, &campaigns));
            }
            if campaigns.iter().all(|campaign| campaign["status"] == "completed") {
                println!("{now}  {}", status_line(&balance, &campaigns));
                return Ok(());
            }
            if balance["state"] == "out" {
                let topup = self
                    .post(&format!("/v1/workspaces/{workspace}/topups"), json!({ "pack": "pack_1000" }))
                    .await?;
                self.post(
                    &format!("/v1/sandbox/topups/{}", text(&topup, "id")),
                    json!({ "outcome": "paid" }),
                )
                .await?;
                println!("{now}  bought 1,000 credits");
            }
        }
        Err("the campaigns did not come to an end".to_owned())
    }

    /// Lets time pass while a person looks on and buys.
    async fn watch(&self, app: &App, workspace: &str) -> Result<(), String> {
        let mut last = String::new();
        while !app.is_stopping() {
            tokio::time::sleep(TICK).await;
            let campaigns = self.campaigns(workspace).await?;
            let balance = self.get(&format!("/v1/workspaces/{workspace}/balance")).await?;
            let line = status_line(&balance, &campaigns);
            let state = format!(
                "{}{}",
                balance["state"],
                campaigns.iter().map(|c| c["status"].to_string()).collect::<String>()
            );
            if state != last {
                println!("{line}");
                last = state;
            }
            if campaigns.iter().any(|campaign| campaign["status"] != "completed") {
                self.post("/v1/clock/advance", json!({ "seconds": TICK_SECONDS })).await?;
            }
        }
        Ok(())
    }

    async fn campaigns(&self, workspace: &str) -> Result<Vec<Value>, String> {
        let list = self.get(&format!("/v1/workspaces/{workspace}/campaigns")).await?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }
}

fn campaigns() -> [Value; 2] {
    let step = |channel: &str, after_days: i64, generate: bool, subject: Value, template: &str| json!({ "channel": channel, "after_days": after_days, "generate": generate, "subject": subject, "template": template });
    let first = json!({
        "name": "Four steps",
        "enrich": ["contact", "company_size"],
        "steps": [
            step("email", 0, true, json!("A question for {{company}}"), "Ask for a short call."),
            step("linkedin_invite", 1, false, Value::Null, "Hello {{name}}, may I connect?"),
            step("email", 3, true, json!("Once more, {{name}}"), "Follow up on the first e-mail."),
            step("linkedin_message", 4, false, Value::Null, "Thank you for connecting, {{name}}."),
        ],
    });
    let second = json!({
        "name": "Two steps",
        "enrich": ["contact"],
        "steps": [
            step("email", 0, false, json!("Hello {{name}}"), "Hello {{name}}, this is about {{company}}."),
            step("email", 2, true, json!("One more thought"), "Write one more thought."),
        ],
    });
    [first, second]
}

fn status_line(balance: &Value, campaigns: &[Value]) -> String {
    let states: Vec<String> =
        campaigns.iter().rev().map(|c| format!("{} {}", text(c, "name"), text(c, "status"))).collect();
    format!("{:>6} credits, {:<8}  {}", balance["available"], text(balance, "state"), states.join(", "))
}

fn text(value: &Value, field: &str) -> String {
    value[field].as_str().unwrap_or_default().to_owned()
}

/// Holds what was charged against what the stand-ins logged, and asks the audit.
async fn verdict(
    player: &Player,
    workspace: &str,
    sink: &SmtpSink,
    fakes: &HttpFakes,
    place: &store::Place,
) -> Result<ExitCode, String> {
    let usage = player
        .get(&format!("/v1/workspaces/{workspace}/usage?from=2000-01-01T00:00:00Z&interval=month"))
        .await?;
    let outcomes = fakes.counts().outcomes;
    let logged = |action: &str, outcome: &str| {
        outcomes.get(&(action.to_owned(), outcome.to_owned())).copied().unwrap_or(0) as i64
    };
    let rows = [
        ("discovery_preview", logged("preview", "found") + logged("preview", "empty"), "previews answered"),
        ("contact_enrichment", logged("contact", "found"), "verified addresses returned"),
        ("field_enrichment", logged("field", "found"), "fields returned"),
        ("message_generation", logged("write", "written"), "messages written"),
        ("email_send", sink.accepted() as i64, "e-mails accepted by the SMTP server"),
        (
            "linkedin_send",
            logged("invite", "accepted") + logged("message", "accepted"),
            "LinkedIn sends accepted",
        ),
    ];
    let catalog = Catalog::builtin();
    println!(
        "\n{:<20} {:>6} {:>6} {:>8}   {:>6}  logged outside",
        "operation", "units", "price", "credits", "logged"
    );
    let (mut agree, mut total) = (true, 0);
    for (operation, logged, what) in rows {
        let groups = usage["buckets"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|b| b["groups"].as_array().into_iter().flatten());
        let mine: Vec<&Value> = groups.filter(|group| group["key"] == operation).collect();
        let sum = |field: &str| mine.iter().filter_map(|group| group[field].as_i64()).sum::<i64>();
        let (units, credits) = (sum("quantity"), sum("credits"));
        let price = catalog.operation(operation).map_or(0, |operation| operation.price);
        let same = units == logged && credits == units * price;
        (agree, total) = (agree && same, total + credits);
        println!(
            "{operation:<20} {units:>6} {price:>6} {credits:>8}   {logged:>6}  {what}{}",
            if same { "" } else { "   DIFFERS" }
        );
    }
    agree &= usage["total"].as_i64() == Some(total);
    println!("{:<20} {:>6} {:>6} {total:>8}", "total", "", "");
    let report = audit::audit(place)?;
    println!("\naudit: {}", if report.clean { "clean" } else { "BROKEN" });
    println!("credits and logs {}", if agree { "agree to the credit" } else { "DO NOT AGREE" });
    Ok(if agree && report.clean { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
