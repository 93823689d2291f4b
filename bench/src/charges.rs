//! `charges`: Scrip over HTTP against hand-written PostgreSQL, in alternating rounds of one run.

use crate::load::{Draw, Over, Purse, Until, Way, charge_all, check_purses, create_purses};
use crate::options::{Options, file_system};
use crate::postgres::{Postgres, Variant};
use crate::results::{machine, publish};
use crate::server::{Server, Site};
use crate::stats::{Row, milliseconds, ratio, thousands};
use anyhow::{Context, Result};
use std::path::Path;
use std::time::Duration;

const WORKSPACES: usize = 10_000;
const CLIENTS: [u64; 3] = [1, 8, 32];
/// The workloads, and how pgbench draws a workspace in each.
const WORKLOADS: [(&str, &str); 3] =
    [("W1", "random(1, 10000)"), ("W2", "1"), ("W3", "random_zipfian(1, 10000, 1.07)")];

/// The baseline's cluster and its rows, in a fixed order.
struct Baseline {
    postgres: Postgres,
    cases: Vec<Case>,
}

struct Case {
    variant: Variant,
    draw: &'static str,
    clients: u64,
    row: Row,
}

/// Scrip's server, what its workspaces must have left, and its rows.
struct Contender {
    site: Site,
    servers: Vec<Server>,
    purses: Vec<Purse>,
    rows: Vec<Course>,
}

/// One way to charge, over one kind of connection, with so many servers.
struct Course {
    way: Way,
    over: Over,
    servers: usize,
    row: Row,
}

pub(crate) async fn run(options: &Options, scratch: &Path) -> Result<()> {
    let mut baseline = match &options.only {
        Some(only) if !only.contains("postgres") => None,
        _ => Some(Baseline::start(scratch)?),
    };
    let cluster = match (&baseline, options.nodes) {
        (None, 1..) => Some(Postgres::start(scratch)?),
        _ => None,
    };
    let cluster = baseline.as_ref().map(|it| &it.postgres).or(cluster.as_ref());
    let mut contender = match &options.only {
        Some(only) if only.contains("postgres") => None,
        _ => Some(Contender::start(options, scratch, cluster).await?),
    };
    for round in 1..=options.rounds {
        println!("round {round} of {}", options.rounds);
        if let Some(baseline) = &mut baseline {
            baseline.round(options.seconds)?;
        }
        if let Some(contender) = &mut contender {
            contender.round(options.seconds).await?;
        }
    }
    let cases = baseline.iter().flat_map(|it| &it.cases).map(|it| &it.row);
    let table = table(cases.chain(contender.iter().flat_map(|it| it.rows.iter().map(|it| &it.row))));
    let compared = match (&baseline, &contender) {
        (Some(baseline), Some(contender)) => {
            Some((ratios(baseline, contender)?, baseline.postgres.version()?))
        }
        _ => None,
    };
    let exact = match contender {
        Some(contender) => contender.finish().await?,
        None => String::new(),
    };
    drop(baseline);
    match compared {
        // Half a comparison is printed, not recorded.
        None => println!("\n{table}\n{exact}"),
        Some((ratios, version)) => {
            let facts = facts(options, scratch, &version);
            publish(
                options.results.as_deref(),
                if options.nodes == 0 { "charges" } else { "charges on PostgreSQL" },
                &format!("{facts}\n\n{table}\n{ratios}\n{exact}"),
            )?;
        }
    }
    Ok(())
}

/// Over what Scrip is asked, and how that is called.
const OVERS: [(Over, &str); 2] = [(Over::Tcp, ""), (Over::Socket, ", Unix socket")];

/// The load of requests that store nothing.
const NO_LOAD: &str = "none";

impl Baseline {
    fn start(scratch: &Path) -> Result<Self> {
        let mut cases = Vec::new();
        for (workload, draw) in WORKLOADS {
            for (variant, name) in [(Variant::Statements, "statements"), (Variant::Function, "function")] {
                for clients in CLIENTS {
                    let plural = if clients == 1 { "" } else { "s" };
                    let row = Row::new(format!("PostgreSQL, {name}, {clients} client{plural}"), workload);
                    cases.push(Case { variant, draw, clients, row });
                }
            }
        }
        Ok(Self { postgres: Postgres::start(scratch)?, cases })
    }

    fn round(&mut self, seconds: u64) -> Result<()> {
        for case in &mut self.cases {
            let measured = self.postgres.charge(case.variant, case.draw, case.clients, seconds)?;
            progress(&mut case.row, measured);
        }
        Ok(())
    }

    fn row(&self, variant: Variant, workload: &str, clients: u64) -> Result<&Row> {
        let wanted =
            |it: &&Case| it.variant == variant && it.row.workload == workload && it.clients == clients;
        self.cases.iter().find(wanted).map(|it| &it.row).context("no such row")
    }

    fn best(&self, workload: &str) -> Result<&Row> {
        let rows = self.cases.iter().map(|it| &it.row).filter(|it| it.workload == workload);
        rows.max_by_key(|it| it.per_second()).context("no row of this workload")
    }
}

impl Contender {
    async fn start(options: &Options, scratch: &Path, cluster: Option<&Postgres>) -> Result<Self> {
        let mut site = Site::new(options.scrip()?, scratch);
        if let Some(cluster) = cluster.filter(|_| options.nodes > 0) {
            site.database = Some(cluster.database()?);
        }
        let mut servers = Vec::new();
        for _ in 0..options.nodes.max(1) {
            servers.push(site.start().await?);
        }
        let purses = create_purses(&servers[0], WORKSPACES).await?;
        let mut rows = Vec::new();
        let ways =
            [(Way::Single, "over HTTP", "64 connections"), (Way::Batch, "batches of 1 000", "4 connections")];
        for ((way, how, connections), (over, by)) in
            ways.into_iter().flat_map(|way| OVERS.map(|over| (way, over)))
        {
            for servers in if options.nodes > 1 { vec![1, options.nodes] } else { vec![1] } {
                let plural = if servers == 1 { "" } else { "s" };
                let whose = match options.nodes {
                    0 => "Scrip".to_owned(),
                    _ => format!("Scrip on PostgreSQL, {servers} node{plural}"),
                };
                let name = format!("{whose}, {how}{by}, {connections}");
                let row = |workload| Row::new(&name, workload);
                rows.extend(WORKLOADS.map(|(workload, _)| Course { way, over, servers, row: row(workload) }));
            }
        }
        for (over, by) in OVERS {
            let name = format!("Scrip, two GET /healthz in a charge's place{by}, 64 connections");
            rows.push(Course { way: Way::Nothing, over, servers: 1, row: Row::new(name, NO_LOAD) });
        }
        let only = options.only.as_deref().unwrap_or_default();
        rows.retain(|it| format!("{} {}", it.row.system, it.row.workload).to_lowercase().contains(only));
        Ok(Self { site, servers, purses, rows })
    }

    async fn round(&mut self, seconds: u64) -> Result<()> {
        for Course { way, over, servers, row } in &mut self.rows {
            let (purses, draw) = match row.workload {
                "W2" => (&mut self.purses[..1], Draw::uniform(1)),
                "W3" => (&mut self.purses[..], Draw::zipfian(WORKSPACES)),
                _ => (&mut self.purses[..], Draw::uniform(WORKSPACES)),
            };
            let until = Until::after(Duration::from_secs(seconds));
            progress(row, charge_all(&self.servers[..*servers], purses, draw, (*way, *over), until).await?);
        }
        Ok(())
    }

    fn row(&self, (way, over): (Way, Over), workload: &str, servers: usize) -> Result<&Row> {
        let wanted = |it: &&Course| {
            it.way == way && it.over == over && it.row.workload == workload && it.servers == servers
        };
        self.rows.iter().find(wanted).map(|it| &it.row).context("no such row")
    }

    /// Every credit accounted for, over the API and by the audit of the stopped server's data.
    async fn finish(self) -> Result<String> {
        check_purses(&self.servers[0], &self.purses).await?;
        for server in self.servers {
            server.stop().await?;
        }
        self.site.audit()?;
        let count = thousands(self.purses.len() as u64);
        Ok(format!(
            "Exact afterwards: the balance of each of the {count} workspaces equals its grant minus its settled charges, \
             nothing is held, and `scrip audit` is clean."
        ))
    }
}

fn progress(row: &mut Row, measured: crate::stats::Measured) {
    let (rate, p99) = (thousands(measured.per_second), milliseconds(measured.p99_us));
    println!("  {} {}: {rate} charges/s, p99 {p99} ms", row.system, row.workload);
    row.rounds.push(measured);
}

fn facts(options: &Options, scratch: &Path, version: &str) -> String {
    let Options { rounds, seconds, nodes, .. } = options;
    let nodes = if *nodes == 0 { String::new() } else { format!(" --nodes {nodes}") };
    format!(
        "`cargo run --release -p bench -- charges --rounds {rounds} --seconds {seconds}{nodes}`\n\n\
         {}; {} file system; PostgreSQL {version}. Median [min-max] of {rounds} alternating rounds of {seconds} s. \
         A charge is a hold and its settle, two durable steps; latencies are of both together (for batches: of both \
         requests). W1: {} workspaces at random, W2: one hot workspace, W3: zipfian with 1.07. Keys are random. \
         PostgreSQL is driven by pgbench over a Unix socket with no HTTP in front; Scrip is asked over HTTP, on TCP and on \
         a Unix socket, with authentication, hash chain, usage totals and idempotency on; both share the cores with their load generator.",
        machine(),
        file_system(scratch),
        thousands(WORKSPACES as u64),
    )
}

fn table<'a>(rows: impl Iterator<Item = &'a Row>) -> String {
    let mut text = String::from("| system | load | charges/s | p50 ms | p99 ms |\n|---|---|---|---|---|\n");
    for row in rows {
        text.push_str(&row.line());
        text.push('\n');
    }
    text
}

fn ratios(baseline: &Baseline, contender: &Contender) -> Result<String> {
    let mut text = String::from("| ratio | |\n|---|---|\n");
    for (over, by) in OVERS {
        ratios_over(baseline, contender, (over, by), &mut text)?;
    }
    Ok(text)
}

fn ratios_over(
    baseline: &Baseline,
    contender: &Contender,
    (over, by): (Over, &str),
    text: &mut String,
) -> Result<()> {
    let single = |workload| contender.row((Way::Single, over), workload, 1);
    let (uniform, hot) = (single("W1")?, single("W2")?);
    let mut line = |label: &str, value: String| text.push_str(&format!("| {label} | {value} |\n"));
    let usual = baseline.row(Variant::Statements, "W1", 32)?;
    let rate = |a: &Row, b: &Row| format!("{}x", ratio(a.per_second(), b.per_second()));
    line(&format!("charges/s, W1: Scrip{by} / PostgreSQL statements, 32 clients"), rate(uniform, usual));
    for (way, name) in [(Way::Single, "Scrip"), (Way::Batch, "Scrip in batches")] {
        for (workload, _) in WORKLOADS {
            let (row, best) = (contender.row((way, over), workload, 1)?, baseline.best(workload)?);
            line(&format!("charges/s, {workload}: {name}{by} / best row ({})", best.system), rate(row, best));
        }
    }
    line(&format!("charges/s: Scrip W2 / Scrip W1{by}"), rate(hot, uniform));
    let ceiling = contender.row((Way::Nothing, over), NO_LOAD, 1)?;
    line(
        &format!("two requests that store nothing{by} / PostgreSQL statements, 32 clients, W1"),
        rate(ceiling, usual),
    );
    for it in contender.rows.iter().filter(|it| it.servers > 1 && it.over == over) {
        let Course { way, servers, row, .. } = it;
        let one = contender.row((*way, over), row.workload, 1)?;
        let batch = if *way == Way::Batch { ", batches" } else { "" };
        line(&format!("charges/s, {}{batch}{by}: {servers} nodes / 1 node", row.workload), rate(row, one));
    }
    for (row, workload) in [(uniform, "W1"), (hot, "W2")] {
        let usual = baseline.row(Variant::Statements, workload, 32)?;
        let value = format!("{}x", ratio(usual.p99_us(), row.p99_us()));
        line(&format!("p99, {workload}: PostgreSQL statements, 32 clients / Scrip{by}"), value);
    }
    Ok(())
}
