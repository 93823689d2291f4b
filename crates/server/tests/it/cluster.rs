//! A PostgreSQL server of a test's own, with the programs of the suite's: to be killed, or told to do what others would suffer
//! from.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::temp;

/// The server. It is gone with the test.
pub struct Cluster {
    home: PathBuf,
    programs: PathBuf,
    pub url: String,
    port: u16,
}

impl Cluster {
    /// `None` where the suite has no server, or not on this machine.
    pub fn start(name: &str) -> Option<Cluster> {
        let suite = std::env::var("SCRIP_TEST_DATABASE").ok();
        let bindir = "select setting from pg_config where name = 'BINDIR'".to_owned();
        let programs = suite.and_then(|suite| temp::administer(&suite, &[bindir])).map(PathBuf::from);
        let Some(programs) = programs.filter(|programs| programs.join("initdb").exists()) else {
            println!("{name}: nothing is tried, because SCRIP_TEST_DATABASE names no server of this machine");
            return None;
        };
        let cluster = Cluster::place(name, programs);
        let made = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"];
        assert!(cluster.run("initdb", &made), "a cluster is made");
        cluster.begin();
        Some(cluster)
    }

    /// A standby that follows this server. `None` where there is no program that copies one.
    pub fn standby(&self, name: &str) -> Option<Cluster> {
        if !self.programs.join("pg_basebackup").exists() {
            println!(
                "{name}: nothing is tried, because there is no pg_basebackup in {}",
                self.programs.display()
            );
            return None;
        }
        let standby = Cluster::place(name, self.programs.clone());
        standby.follow(self);
        Some(standby)
    }

    /// Where a server will be.
    fn place(name: &str, programs: PathBuf) -> Cluster {
        let home = temp::fresh(name);
        if is_root() {
            let owner = Command::new("chown").arg("postgres").arg(&home).status();
            assert!(owner.is_ok_and(|status| status.success()), "root needs a user `postgres` for this");
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("a bound address").port();
        let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
        Cluster { home, programs, url, port }
    }

    /// Forgets everything, and becomes a standby of another server.
    pub fn follow(&self, primary: &Cluster) {
        let _ = std::fs::remove_dir_all(self.data());
        let from = format!("host=127.0.0.1 port={} user=postgres", primary.port);
        let copied =
            self.run("pg_basebackup", &["-d", &from, "-X", "stream", "-c", "fast", "-R", "--no-sync"]);
        assert!(copied, "the primary is copied");
        self.begin();
    }

    /// Lets a standby take over.
    pub fn promote(&self) {
        assert!(self.run("pg_ctl", &["promote", "-w"]), "it takes over");
    }

    /// The address of a database of two servers, of which one takes writes.
    pub fn url_of(&self, other: &Cluster) -> String {
        format!("postgres://postgres@127.0.0.1:{},127.0.0.1:{}/postgres", self.port, other.port)
    }

    /// Starts the server; again, after a kill, as soon as the killed one's processes have seen that it is gone.
    pub fn begin(&self) {
        let Cluster { home, port, .. } = self;
        let sockets = home.display();
        let options = format!(
            "-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={sockets} -c fsync=off -c max_connections=50"
        );
        let log = home.join("log");
        let start = ["start", "-w", "-l", text(&log), "-o", &options];
        let begun = (0..50).any(|_| {
            let begun = self.run("pg_ctl", &start);
            if !begun {
                std::thread::sleep(std::time::Duration::from_millis(200));
            }
            begun
        });
        assert!(begun, "{}", std::fs::read_to_string(log).unwrap_or_default());
    }

    /// Ends the server as a power switch would.
    pub fn kill(&self) {
        let pid = std::fs::read_to_string(self.data().join("postmaster.pid")).expect("it runs");
        let pid = pid.lines().next().expect("a number").to_owned();
        let killed = Command::new("kill").args(["-9", &pid]).status();
        assert!(killed.is_ok_and(|status| status.success()));
    }

    /// Who may come in with what, from now on.
    pub fn admit(&self, rules: &str) {
        std::fs::write(self.data().join("pg_hba.conf"), rules).expect("written");
        assert!(self.run("pg_ctl", &["reload"]));
    }

    /// Runs statements; answers the first column of the last one's first row.
    pub fn administer(&self, statements: &[&str]) -> Option<String> {
        temp::administer(&self.url, &statements.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    fn run(&self, program: &str, arguments: &[&str]) -> bool {
        let program = self.programs.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.args(["-D", text(&self.data())]).args(arguments).current_dir("/");
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        quiet.status().is_ok_and(|status| status.success())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.run("pg_ctl", &["stop", "-m", "immediate"]);
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

/// PostgreSQL refuses to run as root.
fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}
