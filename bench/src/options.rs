//! The command line, and the directory a run works in.

use crate::rng::Rng;
use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) const USAGE: &str =
    "usage: bench charges        [--rounds 5] [--seconds 3] [--only WORDS] [--nodes N]: rows named so, on PostgreSQL, that many servers
       bench growth         [--entries 10000000] [--workspaces 100000]
       bench renewals       [--workspaces 100000] [--seconds 3]: so many plans in one second; so long idle
       bench live           [--streams 10000] [--workspaces 1000] [--seconds 30]
       bench pages          [--entries 10000000] [--workspaces 100000]
       bench kill           [--cycles 200] [--seed N]
       bench kill-campaigns [--cycles 40] [--seed N]
       bench campaigns many    [--campaigns 20] [--leads 50] [--cycles 20] [--seed N]: paused, killed, run dry and resumed so often
       bench campaigns resume  [--campaigns 5000] [--leads 2]: all of them by one top-up
       bench campaigns million [--leads 1000000]: in one campaign, against 10,000
       bench campaigns idle    [--campaigns 10000] [--seconds 60]: waiting for a day, and for credits
       bench campaigns between [--cycles 10000] [--seed N]: killed after the mail server's 250
       each with [--scrip PATH] [--dir DIR] [--results FILE]: the binary (default: built), where the data lives
       meanwhile, and where the figures go (default: bench/RESULTS.md)";

pub(crate) struct Options {
    pub(crate) command: String,
    /// Which part of `campaigns`.
    pub(crate) part: String,
    pub(crate) rounds: usize,
    pub(crate) seconds: u64,
    pub(crate) only: Option<String>,
    /// How many servers share a PostgreSQL database; 0: one, on a directory.
    pub(crate) nodes: usize,
    pub(crate) cycles: u64,
    pub(crate) entries: u64,
    pub(crate) workspaces: usize,
    /// How many streams are open at once.
    pub(crate) streams: usize,
    pub(crate) campaigns: usize,
    pub(crate) leads: usize,
    pub(crate) seed: u64,
    pub(crate) results: Option<PathBuf>,
    scrip: Option<PathBuf>,
    dir: PathBuf,
}

impl Options {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let command = words.next().context(USAGE)?;
        let part = if command == "campaigns" { words.next().context(USAGE)? } else { String::new() };
        let (campaigns, leads) = match part.as_str() {
            "resume" => (5_000, 2),
            "million" => (1, 1_000_000),
            "idle" => (10_000, 1),
            _ => (20, 50),
        };
        let cycles = match (command.as_str(), part.as_str()) {
            ("kill-campaigns", _) => 40,
            (_, "many") => 20,
            (_, "between") => 10_000,
            _ => 200,
        };
        let (seconds, workspaces) = match (command.as_str(), part.as_str()) {
            ("live", _) => (30, 1_000),
            (_, "idle") => (60, 100_000),
            _ => (3, 100_000),
        };
        let (seed, dir) = (Rng::from_clock().next(), std::env::temp_dir());
        let mut options = Self {
            command,
            part,
            rounds: 5,
            seconds,
            only: None,
            nodes: 0,
            cycles,
            entries: 10_000_000,
            workspaces,
            streams: 10_000,
            campaigns,
            leads,
            seed,
            results: None,
            scrip: None,
            dir,
        };
        while let Some(name) = words.next() {
            let value = words.next().with_context(|| format!("{name} needs a value\n{USAGE}"))?;
            let number = || value.parse::<u64>().with_context(|| format!("{name} {value} is not a number"));
            match name.as_str() {
                "--rounds" => options.rounds = usize::try_from(number()?.max(1))?,
                "--seconds" => options.seconds = number()?.max(1),
                "--only" => options.only = Some(value.to_lowercase()),
                "--nodes" => options.nodes = usize::try_from(number()?)?,
                "--entries" => options.entries = number()?.max(1_000),
                "--workspaces" => options.workspaces = usize::try_from(number()?.max(1))?,
                "--streams" => options.streams = usize::try_from(number()?.max(1))?,
                "--campaigns" => options.campaigns = usize::try_from(number()?.max(1))?,
                "--leads" => options.leads = usize::try_from(number()?.max(1))?,
                "--cycles" => options.cycles = number()?,
                "--seed" => options.seed = number()?,
                "--scrip" => options.scrip = Some(std::path::absolute(value)?),
                "--results" => options.results = Some(std::path::absolute(value)?),
                "--dir" => options.dir = std::path::absolute(value)?,
                _ => bail!("{name} {value} is not understood\n{USAGE}"),
            }
        }
        Ok(options)
    }

    /// A fresh directory of this run. On a memory file system an fsync costs nothing, so no figure would mean anything.
    pub(crate) fn make_scratch(&self) -> Result<PathBuf> {
        let scratch = self.dir.join(format!("scrip-bench-{}", std::process::id()));
        std::fs::create_dir_all(&scratch).with_context(|| format!("cannot create {}", scratch.display()))?;
        if file_system(&scratch) == "tmpfs" {
            std::fs::remove_dir(&scratch)?;
            bail!("{} is in memory; name a directory on a disk with --dir", self.dir.display());
        }
        Ok(scratch)
    }

    /// The binary under test: the one named, or this workspace's own release build.
    pub(crate) fn scrip(&self) -> Result<PathBuf> {
        if let Some(path) = &self.scrip {
            return Ok(path.clone());
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the bench crate has no parent")?;
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--release", "-p", "scrip"]).current_dir(root);
        // What `cargo run` tells about this package would make build scripts that look at it run anew.
        let told = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
        let ours = ["CARGO_MANIFEST", "CARGO_PKG", "CARGO_CRATE", "CARGO_BIN", "CARGO_PRIMARY"];
        for name in told.filter(|name| ours.iter().any(|prefix| name.starts_with(prefix))) {
            build.env_remove(name);
        }
        if !build.status()?.success() {
            bail!("cargo build --release -p scrip failed");
        }
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
        Ok(target.join("release/scrip"))
    }
}

/// The name of the file system under a path, as `stat` calls it.
pub(crate) fn file_system(path: &Path) -> String {
    let output = Command::new("stat").args(["-f", "-c", "%T"]).arg(path).output();
    output.map_or_else(|_| "unknown".into(), |it| String::from_utf8_lossy(&it.stdout).trim().to_owned())
}
