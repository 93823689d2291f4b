//! A `scrip serve` of our own: started, waited for, stopped kindly or killed, and audited.

use crate::http::{Connection, OPERATOR_KEY};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// What it takes to start the server again and again on the same data.
pub(crate) struct Site {
    pub(crate) scrip: PathBuf,
    pub(crate) data: PathBuf,
    /// A PostgreSQL database instead of the directory.
    pub(crate) database: Option<String>,
    pub(crate) config: Option<PathBuf>,
    pub(crate) clock: Option<String>,
}

/// A running server; dropping it kills it.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    socket: PathBuf,
}

impl Site {
    pub(crate) fn new(scrip: PathBuf, scratch: &Path) -> Self {
        Self { scrip, data: scratch.join("data"), database: None, config: None, clock: None }
    }

    /// Starts the server and waits until it can write.
    pub(crate) async fn start(&self) -> Result<Server> {
        let mut server = self.spawn()?;
        let begun = Instant::now();
        loop {
            if let Some(status) = server.child.try_wait()? {
                bail!("scrip serve ended with {status} while starting:\n{}", self.log_tail());
            }
            if server.is_ready().await {
                return Ok(server);
            }
            if begun.elapsed() > START_LIMIT {
                bail!("scrip serve was not ready after {START_LIMIT:?}:\n{}", self.log_tail());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Starts the server without waiting for anything.
    pub(crate) fn spawn(&self) -> Result<Server> {
        fs::create_dir_all(&self.data)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let socket = self.data.with_extension(format!("{port}.sock"));
        let log = self.log()?;
        let mut command = Command::new(&self.scrip);
        command.arg("serve").args(self.place()).args(["--listen", &format!("127.0.0.1:{port}")]);
        command.arg("--socket").arg(&socket);
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        if let Some(clock) = &self.clock {
            command.args(["--clock", clock]);
        }
        command.env("SCRIP_OPERATOR_KEY", OPERATOR_KEY).current_dir(self.data.parent().unwrap_or(&self.data));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start {}", self.scrip.display()))?;
        Ok(Server { child, port, socket })
    }

    /// Proves every invariant on the data directory; an error unless the audit finished clean.
    pub(crate) fn audit(&self) -> Result<()> {
        let output = Command::new(&self.scrip).arg("audit").args(self.place()).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stdout);
            bail!("scrip audit ended with {}: {said}", output.status);
        }
        Ok(())
    }

    /// The same, and how much memory it took at most, in KiB.
    pub(crate) fn audit_watched(&self) -> Result<u64> {
        let mut command = Command::new(&self.scrip);
        let mut child = command.arg("audit").args(self.place()).stdout(Stdio::null()).spawn()?;
        let mut peak = 0;
        loop {
            // At its very end a process has no memory to tell of.
            peak = memory_peak(child.id()).unwrap_or(0).max(peak);
            match child.try_wait()? {
                Some(status) if status.success() => return Ok(peak),
                Some(status) => bail!("scrip audit ended with {status}"),
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn place(&self) -> [OsString; 2] {
        match &self.database {
            Some(database) => ["--database".into(), database.into()],
            None => ["--data".into(), self.data.clone().into()],
        }
    }

    fn log(&self) -> Result<File> {
        Ok(OpenOptions::new().create(true).append(true).open(self.data.with_extension("log"))?)
    }

    fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.data.with_extension("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Server {
    /// SIGKILL, and the end of the process awaited, so that its lock on the data is gone.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM; the server must end by itself with exit code 0.
    pub(crate) async fn stop(mut self) -> Result<()> {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        let begun = Instant::now();
        while begun.elapsed() < STOP_LIMIT {
            if let Some(status) = self.child.try_wait()? {
                if !status.success() {
                    bail!("scrip serve ended with {status} after SIGTERM");
                }
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        bail!("scrip serve still ran {STOP_LIMIT:?} after SIGTERM");
    }

    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) async fn connect(&self) -> Result<Connection> {
        Ok(Connection::open(self.port).await?)
    }

    pub(crate) async fn connect_socket(&self) -> Result<Connection> {
        Ok(Connection::open_socket(&self.socket).await?)
    }

    async fn is_ready(&self) -> bool {
        let Ok(mut connection) = Connection::open(self.port).await else { return false };
        connection.send("GET", "/readyz", None, "").await.is_ok_and(|it| it.status == 200)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already ended is fine; there is nobody left to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process's resident memory, in KiB.
pub(crate) fn memory_used(process: u32) -> Result<u64> {
    memory(process, "VmRSS:")
}

/// The most it ever had, in KiB.
pub(crate) fn memory_peak(process: u32) -> Result<u64> {
    memory(process, "VmHWM:")
}

/// What a process has used of all cores so far, to the hundredth of a second.
pub(crate) fn processor_used(process: u32) -> Result<Duration> {
    let line = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name before them may contain blanks.
    let fields = line.rsplit(')').next().context("a process without figures")?.split_whitespace();
    let ticks = fields.skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}

fn memory(process: u32, what: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(what)).context("a process without memory")?;
    Ok(line.split_whitespace().next().context("no figure")?.parse()?)
}

/// The catalog's price of every operation, in credits.
pub(crate) async fn prices(connection: &mut Connection) -> Result<Vec<(String, i64)>> {
    let catalog = connection.get("/v1/catalog").await?;
    let operations = catalog["operations"].as_array().context("the catalog lists no operations")?;
    let price = |it: &Value| Some((it["operation"].as_str()?.to_owned(), it["price"].as_i64()?));
    operations
        .iter()
        .map(|it| price(it).with_context(|| format!("an operation without a price: {it}")))
        .collect()
}
