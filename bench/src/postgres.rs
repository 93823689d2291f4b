//! The baseline: a throwaway PostgreSQL with default durability, and hand-written charges driven by pgbench.
//!
//! A charge is two transactions (hold, settle), either statement by statement or as one function call each. There is no
//! HTTP in front of it, which favours it: a product would have to add that.

use crate::stats::Measured;
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const MISSING: &str = "PostgreSQL is missing; on Debian or Ubuntu: apt-get install postgresql";
const SETTINGS: &str = "
listen_addresses = ''
shared_buffers = '2GB'
max_wal_size = '8GB'
";

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variant {
    Statements,
    Function,
}

pub(crate) struct Postgres {
    child: Option<Child>,
    programs: PathBuf,
    dir: PathBuf,
    user: Option<[String; 2]>,
}

/// What pgbench counted and timed.
struct Counted {
    charges: u64,
    per_second: u64,
    latencies_us: Vec<u32>,
}

impl Postgres {
    /// Creates a cluster under `scratch`, starts it on a Unix socket in there and loads the schema.
    pub(crate) fn start(scratch: &Path) -> Result<Self> {
        let dir = scratch.join("postgres");
        fs::create_dir_all(&dir)?;
        let mut this = Self { child: None, programs: find_programs()?, dir, user: unprivileged_user()? };
        if let Some([user, _]) = &this.user {
            // Only to let that user create the cluster here; everything else it makes itself.
            run(Command::new("chown").arg(user).arg(&this.dir))?;
        }
        let cluster = this.dir.join("cluster");
        let mut initdb = this.command("initdb");
        run(initdb.args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "-D"]).arg(&cluster))?;
        fs::OpenOptions::new()
            .append(true)
            .open(cluster.join("postgresql.conf"))?
            .write_all(SETTINGS.as_bytes())?;
        let log = fs::File::create(this.dir.join("log"))?;
        let mut server = this.command("postgres");
        server.arg("-D").arg(&cluster).arg("-k").arg(&this.dir);
        this.child = Some(server.stdout(log.try_clone()?).stderr(log).stdin(Stdio::null()).spawn()?);
        this.wait_until_ready()?;
        this.sql(include_str!("../sql/schema.sql"))?;
        Ok(this)
    }

    /// Makes a database for a server of ours; answers how it is reached.
    pub(crate) fn database(&self) -> Result<String> {
        self.sql("create database scrip")?;
        Ok(format!("host={} user=postgres dbname=scrip", self.dir.display()))
    }

    pub(crate) fn version(&self) -> Result<String> {
        let said = run(self.command("postgres").arg("--version"))?;
        Ok(said.split_whitespace().nth(2).unwrap_or("?").to_owned())
    }

    /// Charges for some seconds on fresh tables with `clients` connections. `draw` is pgbench's word for the next workspace.
    pub(crate) fn charge(
        &self,
        variant: Variant,
        draw: &str,
        clients: u64,
        seconds: u64,
    ) -> Result<Measured> {
        self.sql(include_str!("../sql/reset.sql"))?;
        let counted = self.pgbench(variant, draw, clients, seconds)?;
        self.check(counted.charges)?;
        Ok(Measured::new(counted.per_second, counted.latencies_us))
    }

    fn pgbench(&self, variant: Variant, draw: &str, clients: u64, seconds: u64) -> Result<Counted> {
        let steps = match variant {
            Variant::Statements => include_str!("../sql/statements.sql"),
            Variant::Function => include_str!("../sql/function.sql"),
        };
        fs::write(self.dir.join("charge.pgbench"), format!("\\set ws {draw}\n{steps}"))?;
        let mut bench = self.command("pgbench");
        bench.args(["-n", "-M", "prepared", "-j", "2", "-U", "postgres", "-l", "--log-prefix=charge", "-h"]);
        bench.arg(&self.dir).args(["-f", "charge.pgbench"]);
        bench.args(["-c", &clients.to_string(), "-T", &seconds.to_string(), "postgres"]);
        let said = run(bench.current_dir(&self.dir))?;
        let figure = |label: &str| {
            let text = said.lines().find_map(|line| line.strip_prefix(label));
            let digits = text.and_then(|it| it.trim_start().split(|c: char| !c.is_ascii_digit()).next());
            digits
                .and_then(|it| it.parse::<u64>().ok())
                .with_context(|| format!("pgbench said no {label}: {said}"))
        };
        if figure("number of failed transactions:")? != 0 {
            bail!("pgbench had failures: {said}");
        }
        let latencies_us = self.take_latencies()?;
        Ok(Counted {
            charges: figure("number of transactions actually processed:")?,
            per_second: figure("tps =")?,
            latencies_us,
        })
    }

    /// The third column of every log file, which are then removed.
    fn take_latencies(&self) -> Result<Vec<u32>> {
        let mut latencies = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path
                .file_name()
                .is_some_and(|it| it.to_string_lossy().starts_with("charge.") && it != "charge.pgbench")
            {
                for line in fs::read_to_string(&path)?.lines() {
                    latencies
                        .push(line.split(' ').nth(2).context("an empty line in pgbench's log")?.parse()?);
                }
                fs::remove_file(path)?;
            }
        }
        Ok(latencies)
    }

    /// The baseline is exact as well: each charge settled once, nothing on hold, every credit accounted for.
    fn check(&self, charges: u64) -> Result<()> {
        let facts = self.sql(
            "select (select count(*) from holds where state = 1), (select count(*) from ledger),
                (select sum(held) from ws), (select 10000000000000 - sum(available) from ws)",
        )?;
        let expected = format!("{charges}|{}|0|{}", charges * 2, charges * 2);
        if facts.trim() != expected {
            bail!("PostgreSQL holds {}, expected {expected}", facts.trim());
        }
        Ok(())
    }

    fn sql(&self, text: &str) -> Result<String> {
        let mut psql = self.command("psql");
        psql.args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            "postgres",
            "-d",
            "postgres",
            "-h",
        ]);
        psql.arg(&self.dir).args(["-f", "-"]);
        let mut child = psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        child.stdin.take().context("psql has no input")?.write_all(text.as_bytes())?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("psql: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let begun = Instant::now();
        while self.sql("select 1").is_err() {
            let ended = self.child.as_mut().map_or(Ok(None), Child::try_wait)?;
            if ended.is_some() || begun.elapsed() > Duration::from_secs(30) {
                bail!("PostgreSQL did not start:\n{}", fs::read_to_string(self.dir.join("log"))?);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// One of PostgreSQL's programs, run as a user PostgreSQL accepts.
    fn command(&self, program: &str) -> Command {
        let path = self.programs.join(program);
        let mut command = match &self.user {
            None => return Command::new(path),
            Some([user, group]) => {
                let mut command = Command::new("setpriv");
                command.args([
                    format!("--reuid={user}"),
                    format!("--regid={group}"),
                    "--clear-groups".into(),
                ]);
                command
            }
        };
        command.arg(path);
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // The fast shutdown of a cluster nobody will read again; if it fails there is nothing left to do.
            let _ = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
            let _ = child.wait();
        }
    }
}

/// The newest installed version that has both the server and pgbench.
fn find_programs() -> Result<PathBuf> {
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = installed
        .filter_map(|it| Some((it.file_name().to_str()?.parse().ok()?, it.path().join("bin"))))
        .filter(|(_, programs)| programs.join("initdb").exists() && programs.join("pgbench").exists())
        .collect();
    found.sort();
    if let Some((_, programs)) = found.pop() {
        return Ok(programs);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut elsewhere = std::env::split_paths(&path);
    elsewhere.find(|it| it.join("initdb").exists() && it.join("pgbench").exists()).context(MISSING)
}

/// PostgreSQL refuses to run as root; then a user and group to run it as.
fn unprivileged_user() -> Result<Option<[String; 2]>> {
    if run(Command::new("id").arg("-u"))?.trim() != "0" {
        return Ok(None);
    }
    for user in ["postgres", "nobody"] {
        if let Ok(group) = run(Command::new("id").args(["-g", user])) {
            return Ok(Some([user.into(), group.trim().into()]));
        }
    }
    bail!("PostgreSQL does not run as root, and there is neither a user postgres nor nobody");
}

/// Runs to the end and returns what was printed; an error carries what was complained.
fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Skipped, and says so, where PostgreSQL is not installed.
    #[test]
    fn every_variant_charges_exactly() -> Result<()> {
        if let Err(error) = find_programs() {
            println!("skipped: {error}");
            return Ok(());
        }
        let scratch = std::env::temp_dir().join(format!("scrip-bench-test-{}", std::process::id()));
        let postgres = Postgres::start(&scratch)?;
        let draws = [
            (Variant::Statements, "random(1, 10000)"),
            (Variant::Statements, "random_zipfian(1, 10000, 1.07)"),
            (Variant::Function, "1"),
        ];
        for (variant, draw) in draws {
            let measured = postgres.charge(variant, draw, 8, 1)?;
            assert!(measured.per_second > 0 && measured.p50_us <= measured.p99_us && measured.p50_us > 0);
        }
        drop(postgres);
        Ok(fs::remove_dir_all(scratch)?)
    }
}
