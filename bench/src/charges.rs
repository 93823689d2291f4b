//! `charges`: Scrip over HTTP against hand-written PostgreSQL, in alternating rounds of one run.

use crate::load::{Draw, Purse, Until, Way, charge_all, check_purses, create_purses};
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

/// One way to charge, with so many servers.
struct Course {
    way: Way,
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
        for (way, how) in
            [(Way::Single, "over HTTP, 64 connections"), (Way::Batch, "batches of 1 000, 4 connections")]
        {
            for servers in if options.nodes > 1 { vec![1, options.nodes] } else { vec![1] } {
                let plural = if servers == 1 { "" } else { "s" };
                let name = match options.nodes {
                    0 => format!("Scrip, {how}"),
                    _ => format!("Scrip on PostgreSQL, {servers} node{plural}, {how}"),
                };
                rows.extend(WORKLOADS.map(|(workload, _)| Course {
                    way,
                    servers,
                    row: Row::new(&name, workload),
                }));
            }
        }
        let name = "Scrip, two GET /healthz in a charge's place, 64 connections";
        rows.push(Course { way: Way::Nothing, servers: 1, row: Row::new(name, NO_LOAD) });
        let only = options.only.as_deref().unwrap_or_default();
        rows.retain(|it| format!("{} {}", it.row.system, it.row.workload).to_lowercase().contains(only));
        Ok(Self { site, servers, purses, rows })
    }

    async fn round(&mut self, seconds: u64) -> Result<()> {
        for Course { way, servers, row } in &mut self.rows {
            let (purses, draw) = match row.workload {
                "W2" => (&mut self.purses[..1], Draw::uniform(1)),
                "W3" => (&mut self.purses[..], Draw::zipfian(WORKSPACES)),
                _ => (&mut self.purses[..], Draw::uniform(WORKSPACES)),
            };
            let until = Until::after(Duration::from_secs(seconds));
            progress(row, charge_all(&self.servers[..*servers], purses, draw, *way, until).await?);
        }
        Ok(())
    }

    fn row(&self, way: Way, workload: &str, servers: usize) -> Result<&Row> {
        let wanted = |it: &&Course| it.way == way && it.row.workload == workload && it.servers == servers;
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
         PostgreSQL is driven by pgbench over a Unix socket with no HTTP in front; Scrip is asked over HTTP, with \
         authentication, hash chain, usage totals and idempotency on; both share the cores with their load generator.",
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
    let (uniform, hot) = (contender.row(Way::Single, "W1", 1)?, contender.row(Way::Single, "W2", 1)?);
    let mut text = String::from("| ratio | |\n|---|---|\n");
    let mut line = |label: &str, value: String| text.push_str(&format!("| {label} | {value} |\n"));
    let usual = baseline.row(Variant::Statements, "W1", 32)?;
    let rate = |a: &Row, b: &Row| format!("{}x", ratio(a.per_second(), b.per_second()));
    line("charges/s, W1: Scrip / PostgreSQL statements, 32 clients", rate(uniform, usual));
    for (way, name) in [(Way::Single, "Scrip"), (Way::Batch, "Scrip in batches")] {
        for (workload, _) in WORKLOADS {
            let (row, best) = (contender.row(way, workload, 1)?, baseline.best(workload)?);
            line(&format!("charges/s, {workload}: {name} / best row ({})", best.system), rate(row, best));
        }
    }
    line("charges/s: Scrip W2 / Scrip W1", rate(hot, uniform));
    let ceiling = contender.row(Way::Nothing, NO_LOAD, 1)?;
    line("two requests that store nothing / PostgreSQL statements, 32 clients, W1", rate(ceiling, usual));
    for Course { way, servers, row } in contender.rows.iter().filter(|it| it.servers > 1) {
        let (one, batch) =
            (contender.row(*way, row.workload, 1)?, if *way == Way::Batch { ", batches" } else { "" });
        line(&format!("charges/s, {}{batch}: {servers} nodes / 1 node", row.workload), rate(row, one));
    }
    for (row, workload) in [(uniform, "W1"), (hot, "W2")] {
        let usual = baseline.row(Variant::Statements, workload, 32)?;
        let value = format!("{}x", ratio(usual.p99_us(), row.p99_us()));
        line(&format!("p99, {workload}: PostgreSQL statements, 32 clients / Scrip"), value);
    }
    Ok(text)
}
